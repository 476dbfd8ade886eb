//! Mail from the company's own domain: signed, checked in DNS, and judged by what others wrote.

use crate::dns_double::{DnsServer, Says};
use crate::http_support::{Rig, Shop, reply};
use crate::providers_smtp_double::{MailServer, python};
use backstop_server::mail::dns::Dns;
use backstop_server::mail::domain::Watch;
use backstop_server::providers::Providers;
use backstop_server::providers::capture::Channel;
use backstop_server::providers::smtp::SmtpTls;
use backstop_server::registry::DeploymentMail;
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;

const HOUR_MS: i64 = 3_600_000;

fn setup(dns: &DnsServer) -> DeploymentMail {
    DeploymentMail {
        reply_domain: Some("reply.mail.example".into()),
        spf: Some("include:_spf.mail.example".into()),
        dns: Dns::new(&[dns.address]),
    }
}

/// A workspace whose mail goes to a mail server that others wrote.
async fn shop(dns: &DnsServer, server: &MailServer) -> (Rig, Shop) {
    let smtp = Arc::new(server.client());
    let rig = Rig::with_mail(setup(dns), |captured| Providers { email: Some(smtp), ..captured });
    let shop = rig.shop("shop").await;
    rig.put(&shop, "/v1/settings", json!({"company_name": "Acme \"Störe\", Inc."})).await.expect(200);
    rig.lucas(&shop).await;
    (rig, shop)
}

/// Publishes every record that has to be there.
fn publish(dns: &DnsServer, view: &Value) {
    for record in view["records"].as_array().unwrap() {
        let strings = record["strings"].as_array().unwrap().iter().map(|s| s.as_str().unwrap().to_owned()).collect();
        dns.say(record["name"].as_str().unwrap(), Says::Txt(vec![strings]));
    }
}

/// A reply in a conversation of its own, and the mail that came of it.
async fn mail(rig: &Rig, shop: &Shop, server: &mut MailServer, id: &str) -> Value {
    let mut body = reply(id);
    body["conversation_id"] = format!("c-{id}").into();
    rig.post(shop, "/v1/messages", body).await.expect(202);
    server.mail().await
}

fn header<'a>(mail: &'a Value, name: &str) -> &'a str {
    let headers = mail["headers"].as_array().unwrap();
    headers.iter().find(|header| header[0] == name).map_or("", |header| header[1].as_str().unwrap())
}

fn judge(dns: &DnsServer, mails: &[&str]) -> Vec<Value> {
    let mut process = python("dkim_judge.py").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let given = json!({"dns": dns.address.port(), "mails": mails});
    process.stdin.take().unwrap().write_all(format!("{given}\n").as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    said["verdicts"].as_array().unwrap().clone()
}

async fn judged(dns: &Arc<DnsServer>, mails: &[&Value]) -> Vec<Value> {
    let mails: Vec<String> = mails.iter().map(|mail| mail["raw"].as_str().unwrap().to_owned()).collect();
    let dns = dns.clone();
    // Beside the DNS server, which answers it.
    let judge = move || judge(&dns, &mails.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(judge).await.unwrap()
}

fn domain() -> Value {
    json!({"domain": "Shop.Example", "from": "support"})
}

fn status<'a>(view: &'a Value, purpose: &str) -> (&'a str, &'a str) {
    let record = view["records"].as_array().unwrap().iter().find(|record| record["purpose"] == purpose).unwrap();
    (record["status"].as_str().unwrap(), record["message"].as_str().unwrap())
}

/// E2, E3: from the deployment's domain until the key is seen, then from the company's, signed so that another's judge
/// says so, through rotation and failure; answers and bounces find their way in each case.
#[tokio::test(flavor = "multi_thread")]
async fn e2_mail_is_signed_while_the_key_is_seen() {
    let dns = Arc::new(DnsServer::start().await);
    let mut server = MailServer::start(SmtpTls::None).await;
    let (rig, shop) = shop(&dns, &server).await;
    rig.get(&shop, "/v1/email-domain").await.refused(404, "not_found");
    let made = rig.post(&shop, "/v1/email-domain", domain()).await.expect(200);
    assert_eq!((&made["state"], &made["from"]), (&json!("pending"), &json!("support@shop.example")));
    assert_eq!(rig.post(&shop, "/v1/email-domain", domain()).await.expect(200)["keys"], made["keys"], "a repeat");
    let unsigned = mail(&rig, &shop, &mut server, "m1").await;
    assert_eq!(header(&unsigned, "From"), "\"Acme \\\"Störe\\\", Inc.\" <follow-up@mail.example>");
    assert_eq!(header(&unsigned, "DKIM-Signature"), "");

    publish(&dns, &made);
    let seen = rig.post(&shop, "/v1/email-domain/check", Value::Null).await.expect(200);
    assert_eq!(seen["state"], "verified", "{seen}");
    for purpose in ["dkim", "spf", "dmarc"] {
        assert_eq!(status(&seen, purpose).0, "ok", "{seen}");
    }
    let first = mail(&rig, &shop, &mut server, "m2").await;
    assert_eq!(first["address_names"][0], json!(["Acme \"Störe\", Inc.", "support@shop.example"]));
    let (reply_to, bounce_to) = (header(&first, "Reply-To"), first["from"].as_str().unwrap());
    assert!(reply_to.contains("<reply+") && reply_to.ends_with("@reply.mail.example>"), "{reply_to}");
    let token = bounce_to.strip_prefix("bounce+").and_then(|rest| rest.strip_suffix("@reply.mail.example"));
    assert!(reply_to.contains(token.expect("an address of ours")), "{reply_to} {bounce_to}");
    assert!(header(&first, "Message-ID").ends_with("@mail.example>"), "the same whosever domain it comes from");
    let marker = "— Reply above this line —";
    assert!(first["parts"][0]["text"].as_str().unwrap().starts_with(marker), "{}", first["parts"][0]["text"]);
    assert!(first["parts"][1]["text"].as_str().unwrap().contains(marker), "{}", first["parts"][1]["text"]);
    assert_eq!((&first["defects"], &first["ascii"]), (&json!([]), &json!(true)));

    let rotated = rig.post(&shop, "/v1/email-domain/rotate", Value::Null).await.expect(200);
    let states =
        |view: &Value| view["keys"].as_array().unwrap().iter().map(|key| key["state"].clone()).collect::<Vec<_>>();
    assert_eq!(states(&rotated), ["waiting", "signing"]);
    let second = mail(&rig, &shop, &mut server, "m3").await;
    publish(&dns, &rotated);
    let seen = rig.post(&shop, "/v1/email-domain/check", Value::Null).await.expect(200);
    assert_eq!(states(&seen), ["signing", "replaced"]);
    assert_eq!(seen["keys"][1]["leave_until"], "2026-11-29T18:00:00.000Z");
    let third = mail(&rig, &shop, &mut server, "m4").await;

    let raw = |mail: &Value| String::from_utf8(base64(mail["raw"].as_str().unwrap())).unwrap();
    let forge = |from: &str, to: &str| {
        let forged = raw(&third).replacen(from, to, 1);
        assert_ne!(forged, raw(&third), "{from}");
        json!({"raw": encode(forged.as_bytes())})
    };
    let second_from = forge("\r\nFrom:", "\r\nFrom: ceo@shop.example\r\nFrom:");
    let no_answers = forge("\r\nReply-To:", "\r\nReply-To: evil@example.com\r\nX-Was:");
    let verdicts = judged(&dns, &[&unsigned, &first, &second, &third, &second_from, &no_answers]).await;
    let valid: Vec<&Value> = verdicts.iter().map(|verdict| &verdict["valid"]).collect();
    assert_eq!(valid, [false, true, true, true, false, false], "{verdicts:?}");
    assert_eq!(verdicts[1]["domain"], "shop.example");
    assert_eq!(verdicts[1]["selector"], made["keys"][0]["selector"]);
    assert_eq!(
        (&verdicts[2]["selector"], &verdicts[3]["selector"]),
        (&verdicts[1]["selector"], &rotated["keys"][0]["selector"])
    );

    // Both records go: back to the deployment's domain, and an audit line beside each turn.
    for record in rotated["records"].as_array().unwrap() {
        dns.forget(record["name"].as_str().unwrap());
    }
    let failing = rig.post(&shop, "/v1/email-domain/check", Value::Null).await.expect(200);
    assert_eq!(failing["state"], "failing");
    let last = mail(&rig, &shop, &mut server, "m5").await;
    assert_eq!(last["address_names"][0][1], "follow-up@mail.example");
    assert!(header(&last, "Reply-To").contains("reply+"), "answers go on");
    let log = rig.get(&shop, "/v1/audit?kind=mail_domain_checked").await.expect(200);
    let turns: Vec<&Value> = log["data"].as_array().unwrap().iter().map(|line| &line["detail"]["verified"]).collect();
    assert_eq!(turns, [&json!(false), &json!(true)]);
    rig.delete(&shop, "/v1/email-domain").await.expect(204);
    rig.get(&shop, "/v1/email-domain").await.refused(404, "not_found");
}

/// E2: a relay on the way (SES) gives the mail its own date and id, and may offer to unsubscribe: the signature holds.
#[tokio::test(flavor = "multi_thread")]
async fn e2_a_relay_may_stamp_the_mail() {
    let dns = Arc::new(DnsServer::start().await);
    let mut server = MailServer::start(SmtpTls::None).await;
    let (rig, shop) = shop(&dns, &server).await;
    let made = rig.post(&shop, "/v1/email-domain", domain()).await.expect(200);
    publish(&dns, &made);
    rig.post(&shop, "/v1/email-domain/check", Value::Null).await.expect(200);
    let sent = mail(&rig, &shop, &mut server, "m1").await;
    let mut stamped = String::from_utf8(base64(sent["raw"].as_str().unwrap())).unwrap();
    for (own, theirs) in [
        ("\r\nDate:", "\r\nDate: Mon, 23 Nov 2026 07:41:20 +0000\r\nX-Was-Date:"),
        ("\r\nMessage-ID:", "\r\nMessage-ID: <0100018f-1@eu-central-1.amazonses.com>\r\nX-Was-Id:"),
        ("\r\nMIME-Version:", "\r\nList-Unsubscribe: <https://relay.example/u/1>\r\nMIME-Version:"),
    ] {
        assert!(stamped.contains(own), "{own}");
        stamped = stamped.replacen(own, theirs, 1);
    }
    let verdicts = judged(&dns, &[&sent, &json!({"raw": encode(stamped.as_bytes())})]).await;
    let valid: Vec<&Value> = verdicts.iter().map(|verdict| &verdict["valid"]).collect();
    assert_eq!(valid, [true, true], "{verdicts:?}");
}

/// E1: the mails of one conversation are one thread in the customer's mailbox, those of another are not; the header
/// tells nothing of the conversation.
#[tokio::test(flavor = "multi_thread")]
async fn e1_mails_of_one_conversation_are_one_thread() {
    let dns = DnsServer::start().await;
    let mut server = MailServer::start(SmtpTls::None).await;
    let (rig, shop) = shop(&dns, &server).await;
    let mut threads = Vec::new();
    for (id, conversation) in [("m1", "c1"), ("m2", "c1"), ("m3", "c2")] {
        let mut body = reply(id);
        body["conversation_id"] = conversation.into();
        rig.post(&shop, "/v1/messages", body).await.expect(202);
        let mail = server.mail().await;
        let thread = header(&mail, "References").to_owned();
        assert_eq!(thread, header(&mail, "In-Reply-To"));
        assert!(thread.starts_with('<') && thread.ends_with("@mail.example>"), "{thread}");
        assert_ne!(thread, header(&mail, "Message-ID"));
        threads.push(thread);
        rig.settled(&shop).await;
        rig.advance(300_000);
    }
    assert_eq!(threads[0], threads[1]);
    assert_ne!(threads[0], threads[2]);
}

/// E2: an answer that lies, breaks off or never comes leads to no signature and says what was seen.
#[tokio::test(flavor = "multi_thread")]
async fn e2_a_lying_dns_never_verifies() {
    let dns = DnsServer::start().await;
    let rig = Rig::with_mail(setup(&dns), |captured| captured);
    let shop = rig.shop("shop").await;
    let made = rig.post(&shop, "/v1/email-domain", domain()).await.expect(200);
    let (name, value) = (made["records"][0]["name"].as_str().unwrap(), made["records"][0]["value"].as_str().unwrap());
    let halves = || vec![value[..200].to_owned(), value[200..].to_owned()];
    let long = vec!["x".repeat(220); 5];
    for (says, status_is, told) in [
        (Says::Txt(vec![]), "wrong", "not verified: there is no such record"),
        (Says::Txt(vec![halves(), vec!["v=spf1 -all".into()]]), "wrong", "there are 2 TXT records"),
        (Says::Txt(vec![vec!["v=DKIM1; k=rsa; p=AAAA".into()]]), "wrong", "holds another public key"),
        (Says::Txt(vec![long]), "wrong", "the record has 1100 bytes"),
        (Says::Txt(vec![vec!["<script>".into()]]), "wrong", "begins with `<script>`"),
        (Says::Alias(name.to_owned()), "", "not verified"),
        (Says::Alias("loop.shop.example".into()), "", "not verified"),
        (Says::Failure, "", "DNS answered with a failure"),
        (Says::Rubbish, "", "at the last look"),
        (Says::Silence, "", "at the last look DNS did not answer in time"),
    ] {
        dns.say(name, says);
        dns.say("loop.shop.example", Says::Alias(name.to_owned()));
        let seen = rig.post(&shop, "/v1/email-domain/check", Value::Null).await.expect(200);
        let (status, message) = status(&seen, "dkim");
        assert_ne!(seen["state"], "verified", "{told}: {message}");
        assert!(message.contains(told), "{told}: {message}");
        assert!(status_is.is_empty() || status == status_is, "{told}: {status}");
    }
    // By way of another name, as a provider of DNS may have it.
    dns.say(name, Says::Alias("key.elsewhere.example".into()));
    dns.say("key.elsewhere.example", Says::Txt(vec![halves()]));
    let seen = rig.post(&shop, "/v1/email-domain/check", Value::Null).await.expect(200);
    assert_eq!(seen["state"], "verified", "{seen}");
    assert!(status(&seen, "spf").1.contains("no such record") && status(&seen, "dmarc").1.contains("no such record"));
    dns.txt("shop.example", "v=spf1 mx -all");
    dns.txt("_dmarc.shop.example", "v=DMARC1");
    let seen = rig.post(&shop, "/v1/email-domain/check", Value::Null).await.expect(200);
    assert!(status(&seen, "spf").1.contains("lacks `include:_spf.mail.example`"), "{seen}");
    assert!(status(&seen, "dmarc").1.contains("has no p=none"), "{seen}");
    assert_eq!(seen["state"], "verified", "mail does not wait for these two");
    // What the outbox of a sandbox shows is what would leave.
    rig.lucas(&shop).await;
    rig.post(&shop, "/v1/messages", reply("m1")).await.expect(202);
    rig.get(&shop, "/v1/followups").await.expect(200);
    let mail = rig.capture.outbox("shop", Some(Channel::Email), None)[0].payload.clone();
    assert_eq!(mail["from"], "shop <support@shop.example>");
    let envelope_from = mail["envelope_from"].as_str().unwrap();
    assert!(envelope_from.starts_with("bounce+") && envelope_from.ends_with("@reply.mail.example"), "{envelope_from}");
    let signature = mail["headers"]["DKIM-Signature"].as_str().unwrap();
    assert!(
        signature.contains("d=shop.example;") && signature.contains(" b=") && !signature.contains('\n'),
        "{signature}"
    );
    assert!(mail["headers"]["Reply-To"].as_str().unwrap().starts_with("shop <reply+"), "{}", mail["headers"]);
}

/// E2: DNS is asked by itself, hourly until the key is seen and daily then.
#[tokio::test(flavor = "multi_thread")]
async fn e2_a_domain_is_looked_at_by_itself() {
    let dns = DnsServer::start().await;
    let rig = Rig::with_mail(setup(&dns), |captured| captured);
    let shop = rig.shop("shop").await;
    let watch = Watch::new(rig.registry.clone(), rig.store.clone());
    let made = rig.post(&shop, "/v1/email-domain", domain()).await.expect(200);
    let state = async || rig.get(&shop, "/v1/email-domain").await.expect(200)["state"].clone();
    watch.tick().await;
    publish(&dns, &made);
    rig.advance(HOUR_MS - 1);
    watch.tick().await;
    assert_eq!(state().await, "pending");
    rig.advance(1);
    watch.tick().await;
    assert_eq!(state().await, "verified");
    dns.forget(made["records"][0]["name"].as_str().unwrap());
    rig.advance(24 * HOUR_MS - 1);
    watch.tick().await;
    assert_eq!(state().await, "verified");
    rig.advance(1);
    watch.tick().await;
    assert_eq!(state().await, "failing");
}

/// E2, W4: what is no domain of mail is refused, with its field.
#[tokio::test]
async fn e2_what_is_no_domain_is_refused() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    for (domain, from, field) in [
        ("", "support", "domain"),
        ("shop", "support", "domain"),
        ("127.0.0.1", "support", "domain"),
        ("https://shop.example", "support", "domain"),
        ("a@shop.example", "support", "domain"),
        ("shop.example\r\nX: y", "support", "domain"),
        ("shop.example", "", "from"),
        ("shop.example", "a b", "from"),
        ("shop.example", "a\r\nBcc: x", "from"),
        ("shop.example", "\"a\"", "from"),
    ] {
        let answer = rig.post(&shop, "/v1/email-domain", json!({"domain": domain, "from": from})).await;
        answer.refused(400, "invalid_request");
        assert_eq!(answer.fields(), [field], "{domain:?} {from:?}");
    }
    let spelled = json!({"domain": "회사.한국", "from": "hello"});
    let made = rig.post(&shop, "/v1/email-domain", spelled).await.expect(200);
    assert_eq!(made["domain"], "xn--vf4b131b.xn--3e0b707e");
    for path in ["check", "rotate"] {
        let other = rig.shop(path).await;
        let path = format!("/v1/email-domain/{path}");
        rig.post(&other, &path, Value::Null).await.refused(404, "not_found");
    }
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

fn encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
