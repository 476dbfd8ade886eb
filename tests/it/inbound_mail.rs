//! Answers by mail, machines that answer, and mails that come back, as a mail server hands them over.

use crate::http_support::{Answer, MAIL_DOMAIN, MAIL_SECRET, Rig, START_MS, Shop, reply};
use axum::body::Body;
use axum::http::Request;
use backstop_domain::Ms;
use backstop_domain::ids::FollowupId;
use backstop_server::mail::reply::{Purpose, TOKEN_LIFE_DAYS, address};
use backstop_server::vault::Vault;
use serde_json::{Value, json};

const DAY_MS: Ms = 86_400_000;

/// A company, Lucas, and a follow-up to him whose email has left.
struct House {
    rig: Rig,
    shop: Shop,
    followup: String,
}

impl House {
    async fn new() -> House {
        let rig = Rig::new();
        let shop = rig.shop("shop").await;
        rig.lucas(&shop).await;
        let followup = posted(&rig, &shop, "m-1").await;
        House { rig, shop, followup }
    }

    fn address(&self, purpose: Purpose) -> String {
        let id = FollowupId::parse(&self.followup).unwrap();
        address(&self.rig.vault, purpose, (self.shop.id, id), START_MS, MAIL_DOMAIN)
    }

    async fn mail(&self, mail: impl Into<Vec<u8>>) -> Answer {
        post(&self.rig, MAIL_DOMAIN, &[("authorization", &format!("Bearer {MAIL_SECRET}"))], mail.into()).await
    }

    /// What became of a mail: result and reason.
    async fn result(&self, mail: impl Into<Vec<u8>>) -> (String, Value) {
        let answer = self.mail(mail).await.expect(200);
        (answer["result"].as_str().unwrap().to_owned(), answer["reason"].clone())
    }

    async fn refused(&self, mail: impl Into<Vec<u8>>) -> String {
        let (result, reason) = self.result(mail).await;
        assert_eq!(result, "refused");
        reason.as_str().unwrap().to_owned()
    }

    async fn inbound(&self) -> Vec<Value> {
        let list = self.rig.get(&self.shop, "/v1/inbound-messages").await.expect(200);
        list["data"].as_array().unwrap().clone()
    }

    /// A plain letter to the follow-up's address.
    fn letter(&self, headers: &str, text: &str) -> String {
        let to = self.address(Purpose::Reply);
        format!("From: Lucas <Lucas@Example.com>\r\nTo: {to}\r\n{headers}\r\n{text}\r\n")
    }

    async fn email_of(&self, followup: &str) -> Value {
        let shown = self.rig.get(&self.shop, &format!("/v1/followups/{followup}")).await.expect(200);
        let deliveries = shown["deliveries"].as_array().unwrap().clone();
        deliveries.into_iter().find(|delivery| delivery["channel"] == "email").expect("an email")
    }
}

async fn posted(rig: &Rig, shop: &Shop, message_id: &str) -> String {
    let answer = rig.post(shop, "/v1/messages", reply(message_id)).await.expect(202);
    rig.settled(shop).await;
    answer["followup_id"].as_str().unwrap().to_owned()
}

async fn post(rig: &Rig, domain: &str, headers: &[(&str, &str)], mail: Vec<u8>) -> Answer {
    let mut request = Request::post(format!("/in/mail/{domain}"));
    if headers.iter().all(|(name, _)| *name != "content-type") {
        request = request.header("content-type", "message/rfc822");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    rig.send(request.body(Body::from(mail)).unwrap()).await
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/fixtures/mail/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn filled(name: &str, values: &[(&str, &str)]) -> Vec<u8> {
    let mut mail = fixture(name);
    for (key, value) in values {
        let text = mail.iter().map(|byte| char::from(*byte)).collect::<String>();
        mail = text.replace(key, value).chars().map(|c| c as u8).collect();
    }
    mail
}

/// E3, D5: an answer by mail is the customer's message, once however often it is handed over, and stops what has not
/// left; the company reads it in a list.
#[tokio::test]
async fn e3_an_answer_is_the_customers_message_once() {
    let house = House::new().await;
    house.rig.phone(&house.shop, "lucas", "phone").await;
    let waiting = posted(&house.rig, &house.shop, "m-2").await;
    let letter = house.letter("Message-ID: <1@example.com>\r\n", "Yes please.\r\n-- \r\nLucas");
    let taken = house.mail(letter.clone()).await.expect(200);
    assert_eq!((&taken["result"], &taken["reason"]), (&json!("taken_in"), &Value::Null));
    let again = house.mail(letter).await.expect(200);
    assert_eq!((&again["result"], &again["message_id"]), (&json!("repeated"), &taken["message_id"]));
    let inbound = house.inbound().await;
    let [one] = inbound.as_slice() else { panic!("{inbound:?}") };
    assert_eq!(
        (&one["text"], &one["customer_id"], &one["conversation_id"], &one["channel"], &one["from_other_address"]),
        (&json!("Yes please."), &json!("lucas"), &json!("c1"), &json!("email"), &json!(false))
    );
    assert_eq!((&one["message_id"], &one["followup_id"]), (&taken["message_id"], &json!(house.followup)));
    let cancelled = house.rig.get(&house.shop, &format!("/v1/followups/{waiting}")).await.expect(200);
    assert_eq!((&cancelled["state"], &cancelled["reason"]), (&json!("cancelled"), &json!("customer_wrote")));
    let second = house.letter("Message-ID: <2@example.com>\r\n", "And the bill?");
    assert_eq!(house.result(second).await.0, "taken_in");
    let after = one["inbound_id"].as_str().unwrap();
    let page = house.rig.get(&house.shop, &format!("/v1/inbound-messages?after={after}")).await.expect(200);
    assert_eq!((page["data"].as_array().unwrap().len(), &page["data"][0]["text"]), (1, &json!("And the bill?")));
    house.rig.get(&house.shop, "/v1/inbound-messages?after=x").await.refused(400, "invalid_request");
}

/// E3: mails as programs in three languages write them, in the charsets they write.
#[tokio::test]
async fn e3_answers_of_real_programs_are_read() {
    let house = House::new().await;
    let names = [
        "gmail-ko",
        "apple-ja-iso2022jp",
        "naver-euckr",
        "daum",
        "outlook-html",
        "gmail-attachments",
        "thunderbird-inline",
        "yahoo-ja-sjis",
    ];
    for name in names {
        let mail = filled(&format!("{name}.eml"), &[("{ADDRESS}", &house.address(Purpose::Reply))]);
        assert_eq!(house.result(mail).await.0, "taken_in", "{name}");
        let expected = String::from_utf8(fixture(&format!("{name}.txt"))).unwrap();
        assert_eq!(house.inbound().await.last().unwrap()["text"], expected.trim_end(), "{name}");
    }
}

/// E3: whoever else the mail went to may answer, too: it is kept and marked, and neither stops anything nor counts as
/// the customer's sign of life.
#[tokio::test]
async fn e3_an_answer_from_another_address_is_marked_and_stops_nothing() {
    let house = House::new().await;
    house.rig.phone(&house.shop, "lucas", "phone").await;
    let waiting = posted(&house.rig, &house.shop, "m-2").await;
    let to = house.address(Purpose::Reply);
    for from in ["From: Eve <eve@evil.example>\r\n", ""] {
        let mail = format!("{from}To: {to}\r\nMessage-ID: <{}@x>\r\n\r\nCancel it all", from.len());
        assert_eq!(house.result(mail).await.0, "taken_in");
        assert_eq!(house.inbound().await.last().unwrap()["from_other_address"], json!(true));
    }
    let shown = house.rig.get(&house.shop, &format!("/v1/followups/{waiting}")).await.expect(200);
    assert!(["sending", "awaiting_ack"].contains(&shown["state"].as_str().unwrap()), "{}", shown["state"]);
}

/// E3: whoever signs as two, or as somebody and the customer, is nobody whom we know: kept, marked, stopping nothing.
#[tokio::test]
async fn e3_a_mail_of_two_authors_is_nobodys() {
    let house = House::new().await;
    house.rig.phone(&house.shop, "lucas", "phone").await;
    let waiting = posted(&house.rig, &house.shop, "m-2").await;
    let to = house.address(Purpose::Reply);
    let (lucas, eve) = ("From: lucas@example.com\r\n", "From: eve@evil.example\r\n");
    for (id, from) in [
        ("1", format!("{eve}{lucas}")),
        ("2", format!("{lucas}{eve}")),
        ("3", "From: lucas@example.com, eve@evil.example\r\n".into()),
        ("4", "From: eve@evil.example, lucas@example.com\r\n".into()),
    ] {
        let mail = format!("{from}To: {to}\r\nMessage-ID: <{id}@two>\r\n\r\nCancel it all");
        assert_eq!(house.result(mail).await.0, "taken_in", "{from}");
        assert_eq!(house.inbound().await.last().unwrap()["from_other_address"], json!(true), "{from}");
    }
    let shown = house.rig.get(&house.shop, &format!("/v1/followups/{waiting}")).await.expect(200);
    assert!(["sending", "awaiting_ack"].contains(&shown["state"].as_str().unwrap()), "{}", shown["state"]);
}

/// E3: what an attachment is called says nothing of what it is: the answer beside it is read.
#[tokio::test]
async fn e3_an_attachments_name_hides_no_answer() {
    let house = House::new().await;
    for (id, kind) in [
        ("1", "application/pdf; name=\"Global Invoice.pdf\""),
        ("2", "application/pdf;\r\n\tname=\"digest of rfc822.pdf\""),
        ("3", "application/pdf; x=y;\r\n name*0=\"Weekly\";\r\n name*1=\" digest.pdf\""),
    ] {
        let headers = format!("Message-ID: <{id}@named>\r\nContent-Type: multipart/mixed; boundary=b\r\n");
        let parts = format!(
            "--b\r\n\r\nSee below.\r\n--b\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment\r\n\r\nQUJD\r\n--b--"
        );
        assert_eq!(house.result(house.letter(&headers, &parts)).await, ("taken_in".into(), Value::Null), "{kind}");
        let text = house.inbound().await.last().unwrap()["text"].as_str().unwrap().to_owned();
        assert!(text.starts_with("See below.\n[attached, not kept: "), "{text}");
    }
}

/// E3: some programs write the answer into the HTML alone, beside an empty plain text.
#[tokio::test]
async fn e3_an_answer_in_the_html_alone_is_read() {
    let house = House::new().await;
    let headers = "Message-ID: <html@x>\r\nContent-Type: multipart/alternative; boundary=b\r\n";
    let parts = "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n \u{a0}\r\n\r\n--b\r\n\
                 Content-Type: text/html; charset=utf-8\r\n\r\n<div>Yes, <b>tomorrow</b>.</div>\r\n--b--";
    assert_eq!(house.result(house.letter(headers, parts)).await, ("taken_in".into(), Value::Null));
    assert_eq!(house.inbound().await.last().unwrap()["text"], "Yes, tomorrow.");
}

/// E3, E5: a domain in another alphabet is one domain in either spelling: written to, marked, and known in an answer.
#[tokio::test]
async fn e3_both_spellings_of_a_domain_are_one_address() {
    let (spoken, in_dns) = ("회사.한국", "xn--vf4b131b.xn--3e0b707e");
    for (given, other) in [(spoken, in_dns), (in_dns, spoken)] {
        let rig = Rig::new();
        let shop = rig.shop("shop").await;
        let lucas = json!({"name": "Lucas", "phone": "+821012345678", "email": format!("Lucas@{given}")});
        rig.put(&shop, "/v1/customers/lucas", lucas.clone()).await.expect(200);
        let followup = posted(&rig, &shop, "m-1").await;
        let house = House { rig, shop, followup };
        assert_eq!(house.email_of(&house.followup).await["status"], "accepted", "{given}");
        let sent = house.rig.capture.outbox("shop", None, Some(&house.followup));
        let to = sent.iter().find_map(|send| send.payload["to"].as_str().filter(|to| to.contains('@')));
        assert_eq!(to, Some(format!("Lucas <Lucas@{in_dns}>").as_str()));

        let letter =
            house.letter("Message-ID: <1@x>\r\n", "Yes").replace("Lucas@Example.com", &format!("lucas@{other}"));
        assert_eq!(house.result(letter).await.0, "taken_in");
        assert_eq!(house.inbound().await.last().unwrap()["from_other_address"], json!(false), "{given} {other}");

        let to = house.address(Purpose::Bounce);
        let bounce = String::from_utf8(fixture("bounce-postfix.eml")).unwrap().replace("{ADDRESS}", &to);
        let bounce = bounce.replace("{RECIPIENT}", &format!("lucas@{other}"));
        let bounce = bounce.replace("{ACTION}", "failed").replace("{STATUS}", "5.1.1");
        assert_eq!(house.result(bounce).await.0, "noted");
        let listed = house.rig.get(&house.shop, "/v1/suppressions?channel=email").await.expect(200);
        assert_eq!(listed["data"][0]["address"], json!(format!("L…@{in_dns}")), "{given} {other}");

        let listed = house.rig.shop("listed").await;
        let entries = json!({"entries": [format!("lucas@{other}")]});
        let imported = house.rig.post(&listed, "/v1/suppressions/import", entries).await.expect(200);
        assert_eq!(imported["added"], 1);
        house.rig.put(&listed, "/v1/customers/lucas", lucas).await.expect(200);
        let answer = house.rig.post(&listed, "/v1/messages", reply("m-1")).await.expect(202);
        house.rig.settled(&listed).await;
        let path = format!("/v1/followups/{}", answer["followup_id"].as_str().unwrap());
        let shown = house.rig.get(&listed, &path).await.expect(200);
        let deliveries = shown["deliveries"].as_array().unwrap();
        assert!(deliveries.iter().any(|delivery| delivery["error"] == "address_marked"), "{given} {other} {shown}");
    }
}

/// E3: the envelope is believed before the headers, an address in any case; one that is forged, too old, another
/// deployment's or of somebody erased leads nowhere.
#[tokio::test]
async fn e3_only_a_true_address_leads_to_a_conversation() {
    let house = House::new().await;
    let to = house.address(Purpose::Reply);
    let secret = format!("Bearer {MAIL_SECRET}");
    let envelope = to.to_uppercase();
    let headers = [("authorization", secret.as_str()), ("backstop-envelope-to", envelope.as_str())];
    let mail = b"From: lucas@example.com\r\nTo: Shop <chat@shop.example>\r\nMessage-ID: <e@x>\r\n\r\nHello".to_vec();
    let taken = post(&house.rig, MAIL_DOMAIN, &headers, mail).await.expect(200);
    assert_eq!(taken["result"], "taken_in");
    let id = FollowupId::parse(&house.followup).unwrap();
    let other = Vault::new(&[8; 32]);
    let forged = address(&other, Purpose::Reply, (house.shop.id, id), START_MS, MAIL_DOMAIN);
    let elsewhere = to.replace(MAIL_DOMAIN, "reply.other.example");
    for wrong in [forged.as_str(), elsewhere.as_str(), "reply+@reply.example.com", "x", ""] {
        let mail = format!("From: lucas@example.com\r\nTo: {wrong}\r\n\r\nHello");
        assert_eq!(house.refused(mail).await, "unknown_address", "{wrong}");
    }
    let bounce = format!("From: lucas@example.com\r\nTo: {}\r\n\r\nHello", house.address(Purpose::Bounce));
    assert_eq!(house.refused(bounce).await, "no_report");
    house.rig.advance((Ms::from(TOKEN_LIFE_DAYS) + 1) * DAY_MS);
    assert_eq!(house.refused(house.letter("", "late")).await, "unknown_address");
    let house = House::new().await;
    house.rig.delete(&house.shop, "/v1/customers/lucas").await.expect(204);
    assert_eq!(house.refused(house.letter("", "erased")).await, "unknown_address");
    assert_eq!(house.inbound().await, Vec::<Value>::new());
}

/// E4: automatic answers, notices, and our own mails are answered with 200 and become nothing.
#[tokio::test]
async fn e4_no_machine_becomes_a_customer() {
    let house = House::new().await;
    for (headers, why) in [
        ("Auto-Submitted: auto-replied\r\n", "auto_submitted"),
        ("Auto-Submitted: auto-generated (vacation)\r\n", "auto_submitted"),
        ("X-Auto-Response-Suppress: All\r\n", "auto_response"),
        ("Precedence: auto_reply\r\n", "auto_response"),
        ("X-Autoreply: yes\r\n", "auto_response"),
        ("Return-Path: <>\r\n", "null_return_path"),
    ] {
        assert_eq!(house.refused(house.letter(headers, "I am away")).await, why, "{headers}");
    }
    let vacation = filled("vacation-exchange.eml", &[("{ADDRESS}", &house.address(Purpose::Reply))]);
    assert_eq!(house.refused(vacation).await, "auto_submitted");
    let secret = format!("Bearer {MAIL_SECRET}");
    let headers = [("authorization", secret.as_str()), ("backstop-envelope-from", "<>")];
    let answer = post(&house.rig, MAIL_DOMAIN, &headers, house.letter("", "x").into()).await.expect(200);
    assert_eq!(answer["reason"], "null_return_path");
    // As Postfix's pipe hands the null sender on, unless it is told otherwise.
    let headers = [("authorization", secret.as_str()), ("backstop-envelope-from", "<MAILER-DAEMON>")];
    let answer = post(&house.rig, MAIL_DOMAIN, &headers, house.letter("", "x").into()).await.expect(200);
    assert_eq!(answer["reason"], "null_return_path");
    let to = house.address(Purpose::Reply);
    let from_us = format!("From: <{to}>\r\nTo: {to}\r\n\r\nHello");
    assert_eq!(house.refused(from_us).await, "own_mail");
    assert_eq!(house.inbound().await, Vec::<Value>::new());
    let list = house.letter("Precedence: bulk\r\nAuto-Submitted: no\r\nMessage-ID: <l@x>\r\n", "a person");
    assert_eq!(house.result(list).await.0, "taken_in");
}

/// E4: a mail under the Message-ID that our own mail has is our own; one that only quotes ours says nothing new.
#[tokio::test]
async fn e4_our_own_message_id_never_becomes_a_message() {
    let house = House::new().await;
    let sent = house.rig.capture.outbox("shop", None, Some(&house.followup));
    let own = sent.iter().find_map(|send| send.payload["headers"]["Message-ID"].as_str()).expect("an email left");
    assert_eq!(house.refused(house.letter(&format!("Message-ID: {own}\r\n"), "looped")).await, "own_mail");
    // Under the id that SES gave it instead.
    let email = house.email_of(&house.followup).await;
    let given = email["provider_id"].as_str().expect("the provider's id");
    let restamped = format!("Message-ID: <{given}@eu-central-1.amazonses.com>\r\n");
    assert_eq!(house.refused(house.letter(&restamped, "looped")).await, "own_mail");
    let headers = format!("Message-ID: <q@x>\r\nIn-Reply-To: {own}\r\nReferences: {own}\r\n");
    let quoting = "> Your parcel leaves today.\r\n>\r\n> Shop\r\n\r\nSent from my iPhone";
    assert_eq!(house.refused(house.letter(&headers, quoting)).await, "nothing_new");
    assert_eq!(house.result(house.letter(&headers, &format!("Thanks!\r\n{quoting}"))).await.0, "taken_in");
    assert_eq!(house.inbound().await.len(), 1);
}

/// E4: however two programs answer each other, it ends: so many answers an hour and no more.
#[tokio::test]
async fn e4_a_loop_that_hides_itself_ends() {
    let house = House::new().await;
    let mut taken = 0;
    for n in 0..40 {
        let (result, reason) = house.result(house.letter(&format!("Message-ID: <{n}@loop>\r\n"), "again")).await;
        taken += usize::from(result == "taken_in");
        assert!(result == "taken_in" || reason == "too_many", "{result} {reason}");
    }
    assert_eq!((taken, house.inbound().await.len()), (30, 30));
}

/// E4: a program that is answered by an agent's program gets a new follow-up each time; that loop ends, too.
#[tokio::test]
async fn e4_a_loop_through_new_followups_ends() {
    let mut house = House::new().await;
    house.rig.put(&house.shop, "/v1/settings", json!({"repeat_gap_ms": 0})).await.expect(200);
    let (mut taken, mut followups) = (0, std::collections::BTreeSet::new());
    for n in 0..40 {
        let letter = house.letter(&format!("Message-ID: <{n}@loop>\r\n"), "again");
        taken += usize::from(house.result(letter).await.0 == "taken_in");
        house.rig.advance(1_000);
        house.followup = posted(&house.rig, &house.shop, &format!("again-{n}")).await;
        followups.insert(house.followup.clone());
    }
    assert!(followups.len() > 30, "{}", followups.len());
    assert_eq!(taken, 30);
}

/// E5: a mail that comes back for good ends the delivery and marks the address; nothing is written there until that is
/// lifted, texts go.
#[tokio::test]
async fn e5_a_dead_address_is_marked_until_lifted() {
    let house = House::new().await;
    let bounce = |status: &str| {
        let to = house.address(Purpose::Bounce);
        let values = [("{ADDRESS}", to.as_str()), ("{RECIPIENT}", "Lucas@example.com"), ("{ACTION}", "failed")];
        filled("bounce-postfix.eml", &[&values[..], &[("{STATUS}", status)]].concat())
    };
    assert_eq!(house.result(bounce("5.1.1")).await, ("noted".into(), Value::Null));
    let email = house.email_of(&house.followup).await;
    assert_eq!((&email["status"], &email["error"]), (&json!("failed"), &json!("5.1.1")));
    let listed = house.rig.get(&house.shop, "/v1/suppressions?channel=email").await.expect(200);
    let [mark] = listed["data"].as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert_eq!(
        (&mark["address"], &mark["number"], &mark["source"], &mark["channel"]),
        (&json!("l…@example.com"), &Value::Null, &json!("bounce"), &json!("email"))
    );
    let texts = house.rig.get(&house.shop, "/v1/suppressions?channel=text").await.expect(200);
    assert_eq!(texts["data"], json!([]));
    house.rig.advance(300_000);
    let next = posted(&house.rig, &house.shop, "m-2").await;
    let email = house.email_of(&next).await;
    assert_eq!((&email["status"], &email["error"]), (&json!("skipped"), &json!("address_marked")));
    let id = mark["suppression_id"].as_str().unwrap();
    house.rig.delete(&house.shop, &format!("/v1/suppressions/{id}")).await.expect(204);
    assert_eq!(house.result(bounce("5.1.1")).await.0, "noted", "a repeat is no news");
    house.rig.advance(300_000);
    let third = posted(&house.rig, &house.shop, "m-3").await;
    assert_eq!(house.email_of(&third).await["status"], "accepted");
}

/// E5: a server that took a mail may send it back later; told in the other order, it came back all the same.
#[tokio::test]
async fn e5_a_mail_that_was_delivered_and_came_back_marks_the_address() {
    for words in [[("delivered", "2.0.0"), ("failed", "5.1.1")], [("failed", "5.1.1"), ("delivered", "2.0.0")]] {
        let house = House::new().await;
        for (action, status) in words {
            let to = house.address(Purpose::Bounce);
            let values = [("{ADDRESS}", to.as_str()), ("{RECIPIENT}", "lucas@example.com")];
            let report =
                filled("bounce-postfix.eml", &[&values[..], &[("{ACTION}", action), ("{STATUS}", status)]].concat());
            assert_eq!(house.result(report).await, ("noted".into(), Value::Null), "{action}");
        }
        let email = house.email_of(&house.followup).await;
        assert_eq!((&email["status"], &email["error"]), (&json!("failed"), &json!("5.1.1")), "{words:?}");
        let listed = house.rig.get(&house.shop, "/v1/suppressions?channel=email").await.expect(200);
        assert_eq!((listed["data"].as_array().unwrap().len(), &listed["data"][0]["source"]), (1, &json!("bounce")));
    }
}

/// E5: a full mailbox marks at the third time, each of another mail; what is still tried, or about another address, is
/// nothing.
#[tokio::test]
async fn e5_what_may_pass_marks_after_three_times() {
    let mut house = House::new().await;
    let marks = async |house: &House| {
        let listed = house.rig.get(&house.shop, "/v1/suppressions").await.expect(200);
        listed["data"].as_array().unwrap().len()
    };
    let bounce = |house: &House, action: &str, recipient: &str| {
        let to = house.address(Purpose::Bounce);
        let values = [("{ADDRESS}", to.as_str()), ("{RECIPIENT}", recipient), ("{ACTION}", action)];
        filled("bounce-postfix.eml", &[&values[..], &[("{STATUS}", "5.2.2")]].concat())
    };
    for n in 2..=4 {
        assert_eq!(house.refused(bounce(&house, "delayed", "lucas@example.com")).await, "not_final");
        for _ in 0..3 {
            assert_eq!(house.result(bounce(&house, "failed", "lucas@example.com")).await.0, "noted");
        }
        assert_eq!(marks(&house).await, usize::from(n == 4), "after {} mails", n - 1);
        house.rig.advance(300_000);
        house.followup = posted(&house.rig, &house.shop, &format!("m-{n}")).await;
    }
    let other = House::new().await;
    for _ in 0..4 {
        other.result(bounce(&other, "failed", "somebody@else.example")).await;
    }
    assert_eq!(marks(&other).await, 0);
    assert_eq!(other.email_of(&other.followup).await["status"], "failed");
}

/// E5: a complaint marks the address, found by what the report gives back; other feedback does not.
#[tokio::test]
async fn e5_a_complaint_marks_the_address() {
    let house = House::new().await;
    let to = house.address(Purpose::Bounce);
    let feedback = |kind: &str| filled("complaint-arf.eml", &[("{ADDRESS}", &to), ("{TYPE}", kind)]);
    assert_eq!(house.refused(feedback("not-spam")).await, "no_complaint");
    assert_eq!(house.result(feedback("abuse")).await.0, "noted");
    let listed = house.rig.get(&house.shop, "/v1/suppressions").await.expect(200);
    assert_eq!(listed["data"][0]["source"], "complaint");
    assert_eq!(house.email_of(&house.followup).await["status"], "delivered");
}

/// E3, W4: who is not the mail server, or sends no mail, is told so and changes nothing.
#[tokio::test]
async fn e3_only_the_mail_server_hands_over() {
    let house = House::new().await;
    let mail = || house.letter("", "Hello").into_bytes();
    let secret = format!("Bearer {MAIL_SECRET}");
    for wrong in ["Bearer x", "Bearer ", "Basic eDp4", "Basic !!", &format!("Bearer {MAIL_SECRET} x"), &secret[..20]] {
        let answer = post(&house.rig, MAIL_DOMAIN, &[("authorization", wrong)], mail()).await;
        answer.refused(401, "unauthorized");
    }
    post(&house.rig, MAIL_DOMAIN, &[], mail()).await.refused(401, "unauthorized");
    post(&house.rig, "other.example", &[("authorization", &secret)], mail()).await.refused(404, "not_found");
    for (name, value) in [("content-type", "text/plain"), ("content-encoding", "gzip")] {
        let answer = post(&house.rig, MAIL_DOMAIN, &[("authorization", &secret), (name, value)], mail()).await;
        answer.refused(415, "unsupported_media_type");
    }
    assert_eq!(house.inbound().await, Vec::<Value>::new());
    // As `mailserver:the-mail-servers-own-secret`.
    let basic = "Basic bWFpbHNlcnZlcjp0aGUtbWFpbC1zZXJ2ZXJzLW93bi1zZWNyZXQ=";
    let answer = post(&house.rig, MAIL_DOMAIN, &[("authorization", basic)], mail()).await.expect(200);
    assert_eq!(answer["result"], "taken_in");
}

/// E3, invariant 7: a mail of 30 MB is refused, one of 20 MB with an attachment is read; what is no mail, or is made to
/// take long or much, ends soon, is answered, and becomes nothing that its sender did not write.
#[tokio::test]
async fn e3_hostile_mails_end() {
    let house = House::new().await;
    house.mail(vec![b'x'; 30 * 1024 * 1024]).await.refused(413, "payload_too_large");
    let to = house.address(Purpose::Reply);
    let from = "From: lucas@example.com";
    let mut large = format!(
        "{from}\r\nTo: {to}\r\nMessage-ID: <large@x>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\
         See below.\r\n--b\r\nContent-Type: video/mp4; name=clip.mp4\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    );
    large.push_str(&"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU2Nzg5\r\n".repeat(400_000));
    large.push_str("--b--\r\n");
    assert_eq!(house.result(large).await.0, "taken_in");
    let text = house.inbound().await.last().unwrap()["text"].clone();
    assert_eq!(text, "See below.\n[attached, not kept: clip.mp4]");
    for (name, mail, reason) in hostile(&to) {
        let (result, why) = house.result(mail).await;
        assert_eq!((result.as_str(), why.as_str()), ("refused", Some(reason)), "{name}");
    }
    assert_eq!(house.inbound().await.len(), 1);
    for (name, mail) in strange(&to) {
        assert_eq!(house.result(mail).await.0, "taken_in", "{name}");
        let text = house.inbound().await.last().unwrap()["text"].as_str().unwrap().to_owned();
        assert!(text.chars().count() <= 10_000 && !text.chars().any(|c| c.is_control() && c != '\n'), "{name}");
    }
}

fn hostile(to: &str) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let head = format!("From: lucas@example.com\r\nTo: {to}\r\n");
    let nested = format!("{head}{}", "Content-Type: message/rfc822\r\n\r\n".repeat(100_000));
    let encoded = format!("{head}Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8=");
    let commented = format!("{head}{}", "Content-Type: (;) message/rfc822\r\n\r\n".repeat(1_000));
    let folded = format!("{head}{}", "Content-Type: message\r\n /rfc822; name=a\r\n\r\n".repeat(1_000));
    let digests = format!("{head}{}", "Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\n".repeat(1_000));
    let headers = format!("{}{head}\r\nHello", "X-A: b\r\n".repeat(1_000_000));
    let mut parts = format!("{head}Content-Type: multipart/mixed; boundary=b0\r\n\r\n");
    for n in 0..20_000 {
        parts.push_str(&format!("--b{n}\r\nContent-Type: multipart/mixed; boundary=b{}\r\n\r\n", n + 1));
    }
    vec![
        ("empty", Vec::new(), "unreadable"),
        ("noise", (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect(), "unknown_address"),
        ("nested", nested.into(), "too_nested"),
        ("encoded", encoded.into(), "too_nested"),
        ("digests", digests.into(), "too_nested"),
        ("a comment before the type", commented.into(), "too_nested"),
        ("a type on two lines", folded.into(), "too_nested"),
        ("a million headers", headers.into(), "unknown_address"),
        ("parts in parts", parts.into(), "nothing_new"),
        ("no body", head.into(), "nothing_new"),
    ]
}

fn strange(to: &str) -> Vec<(&'static str, Vec<u8>)> {
    let head = |id: &str| format!("From: lucas@example.com\r\nTo: {to}\r\nMessage-ID: <{id}@strange>\r\n");
    let deep = format!("{}Content-Type: text/html\r\n\r\n{}Hello", head("deep"), "<div>".repeat(15_000));
    let tags = format!("{}Content-Type: text/html\r\n\r\n{}Hello", head("tags"), "<b><i>".repeat(40_000));
    let table = format!("{}Content-Type: text/html\r\n\r\n{}Hello", head("table"), "<table><tr><td>".repeat(3_000));
    let latin =
        [head("latin").as_bytes(), b"Content-Type: text/plain; charset=us-ascii\r\n\r\nYes \x96 caf\xe9\xff\x00"]
            .concat();
    let lies = format!("{}Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$B!!\x1b(B and \x1b$", head("lies"));
    let long = format!("{}\r\n{}", head("long"), "가나다라 ".repeat(20_000));
    let name = format!(
        "{}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: a/b; name=\"x\\\r\n\t\u{7}.zip\"\r\n\
         Content-Disposition: attachment\r\n\r\nPK\r\n--b--",
        head("name")
    );
    vec![
        ("deep html", deep.into()),
        ("many tags", tags.into()),
        ("tables in tables", table.into()),
        ("another charset than said", latin),
        ("a broken charset", lies.into()),
        ("a long one", long.into()),
        ("an attachment's odd name", name.into()),
    ]
}
