//! Texts to Korea by the whole server: an Alimtalk through Solapi, its reports, and the SMS or LMS that follows.

use crate::alimtalk::template;
use crate::flow_texts::House;
use crate::providers_fcm_double::TestClock;
use crate::providers_support::AT_MS;
use crate::solapi_double::{APPROVED, KEY, PROFILE, Solapi, TEMPLATE, Taken, WEBHOOK_SECRET};
use backstop_server::providers::smtp::SmtpTls;
use backstop_server::providers::solapi::{SolapiConfig, proof};
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::sync::Arc;

/// A house whose texts go by Solapi, and a customer in Korea for each number.
async fn korea(template: Option<Value>) -> (House, Arc<Solapi>) {
    korea_at(template, None).await
}

/// The same with an account by which so many a second may leave.
async fn korea_at(template: Option<Value>, max_per_second: Option<NonZeroU32>) -> (House, Arc<Solapi>) {
    let solapi = Solapi::start(TestClock::at(AT_MS)).await;
    let config = SolapiConfig { max_per_second, ..solapi.config() };
    let house = House::open_with(SmtpTls::None, move |all| all.providers.solapi = Some(config)).await;
    solapi.keep_time(house.google.clock.clone());
    if let Some(template) = template {
        house.put(&format!("/v1/alimtalk-templates/{TEMPLATE}"), template).await;
    }
    let settings = json!({"phone_number": true, "email": true, "country": "KR", "company_name": "바다상점",
                          "sns": ["alimtalk"]});
    house.put("/v1/settings", settings).await;
    (house, solapi)
}

fn approved() -> Value {
    let mut approved = template();
    approved["sender_profile"] = json!(PROFILE);
    approved["content"] = json!(APPROVED);
    // As the links of a server on this machine begin.
    approved["buttons"][0]["url"] = json!("http://#{링크}");
    approved
}

fn webhook(house: &House) -> String {
    format!("{}/in/solapi/{KEY}", house.url)
}

fn kinds(texts: &[Taken]) -> Vec<&str> {
    texts.iter().map(|text| text.kind.as_str()).collect()
}

/// Channel, status and error of each line of a text.
fn lines(followup: &Value) -> Vec<(String, String, String)> {
    let word = |delivery: &Value, field: &str| delivery[field].as_str().unwrap_or("").to_owned();
    let texts = followup["deliveries"].as_array().unwrap().iter().filter(|delivery| delivery["channel"] != "email");
    texts.map(|line| (word(line, "channel"), word(line, "status"), word(line, "error"))).collect()
}

fn line(channel: &str, status: &str, error: &str) -> (String, String, String) {
    (channel.into(), status.into(), error.into())
}

/// T2: what our own limit holds back waits its second and goes as an Alimtalk, too, and not as an SMS.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t2_our_own_limit_is_no_failure_of_an_alimtalk() {
    let (house, solapi) = korea_at(Some(approved()), NonZeroU32::new(1)).await;
    for n in 1..=2 {
        house.put(&format!("/v1/customers/c{n}"), json!({"phone": format!("+82102000000{n}"), "name": "김하나"})).await;
        house.reply(&format!("c{n}"), &format!("m{n}")).await;
    }
    house.settle().await;
    house.turn(1_000).await;
    house.turn(1_000).await;
    for n in 1..=2 {
        assert_eq!(kinds(&solapi.texts_to(&format!("0102000000{n}"))), ["ATA"], "c{n}");
    }
}

/// T1, T2, T3, T7, W2: an Alimtalk goes out; the customer has blocked it, the report says so, and the SMS follows by
/// itself, once, whatever is reported again. The next reply goes by SMS at once: the block ends that route only.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t2_a_blocked_alimtalk_is_followed_by_one_text() {
    let (house, solapi) = korea(Some(approved())).await;
    let number = "01020000001";
    house.put("/v1/customers/c1", json!({"phone": "+821020000001", "name": "김하나"})).await;
    let followup = house.reply("c1", "m1").await;
    house.settle().await;
    let sent = solapi.texts_to(number);
    assert_eq!(kinds(&sent), ["ATA"]);
    assert_eq!(sent[0].text, "[바다상점] 김하나님, 새 답변이 도착했습니다.\n\nIt arrives today, m1.");
    assert_eq!(solapi.report(&webhook(&house), &[(&sent[0], "3107")]).await, 200);
    house.settle().await;
    let sent = solapi.texts_to(number);
    assert_eq!(kinds(&sent)[0], "ATA");
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(sent[1].kind == "SMS" || sent[1].kind == "LMS", "{sent:?}");
    for code in ["3107", "2000", "3000"] {
        assert_eq!(solapi.report(&webhook(&house), &[(&sent[0], code)]).await, 200);
    }
    assert_eq!(solapi.report(&webhook(&house), &[(&sent[1], "4000")]).await, 200);
    house.turn(600_000).await;
    assert_eq!(solapi.texts_to(number).len(), 2, "once");
    let shown = house.get(&format!("/v1/followups/{followup}")).await;
    let channel = sent[1].kind.to_lowercase();
    assert_eq!(lines(&shown), [line("alimtalk", "failed", "blocked"), line(&channel, "delivered", "")], "{shown}");
    assert_eq!(shown["state"], "fell_back", "{shown}");
    house.reply("c1", "m2").await;
    house.settle().await;
    house.turn(200_000).await;
    let sent = solapi.texts_to(number);
    assert_eq!(sent.len(), 3);
    assert_ne!(sent[2].kind, "ATA", "{sent:?}");
}

/// T1, T2: delivered, an Alimtalk is followed by nothing; refused at once, or without a template, the text goes by SMS.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t2_one_of_the_two_reaches_the_customer() {
    let (house, solapi) = korea(Some(approved())).await;
    house.customer("c1", "+821020000001", None).await;
    house.reply("c1", "m1").await;
    house.settle().await;
    let sent = solapi.texts_to("01020000001");
    assert!(sent[0].text.starts_with("[바다상점] 고객님, "), "{sent:?}");
    assert_eq!(solapi.report(&webhook(&house), &[(&sent[0], "4000")]).await, 200);
    house.turn(600_000).await;
    assert_eq!(kinds(&solapi.texts_to("01020000001")), ["ATA"]);
    let mut other = approved();
    other["sender_profile"] = json!("KA01PFOTHER");
    house.put(&format!("/v1/alimtalk-templates/{TEMPLATE}"), other).await;
    house.customer("c2", "+821020000002", None).await;
    let followup = house.reply("c2", "m2").await;
    house.settle().await;
    assert_ne!(kinds(&solapi.texts_to("01020000002")), ["ATA"]);
    let shown = house.get(&format!("/v1/followups/{followup}")).await;
    assert_eq!(lines(&shown)[0], line("alimtalk", "failed", "sender_profile 1041"), "{shown}");
    let mut paused = approved();
    paused["status"] = json!("paused");
    house.put(&format!("/v1/alimtalk-templates/{TEMPLATE}"), paused).await;
    house.customer("c3", "+821020000003", None).await;
    let followup = house.reply("c3", "m3").await;
    house.settle().await;
    assert_eq!(solapi.texts_to("01020000003").len(), 1);
    let shown = house.get(&format!("/v1/followups/{followup}")).await;
    assert_eq!(lines(&shown).len(), 1, "{shown}");
    assert!(shown["history"].to_string().contains("no_template"), "{shown}");
}

/// W2: a report that is not Solapi's is refused and changes nothing; one about an id of nobody's says as little.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn w2_forged_reports_of_solapi_change_nothing() {
    let (house, solapi) = korea(Some(approved())).await;
    house.customer("c1", "+821020000001", None).await;
    let followup = house.reply("c1", "m1").await;
    house.settle().await;
    let sent = solapi.texts_to("01020000001").pop().unwrap();
    let event = |followup: &str, workspace: &str| {
        json!([{"messageId": sent.id, "statusCode": "3107", "to": sent.to,
                "customFields": {"workspace": workspace, "followup": followup, "attempt": "1"}}])
    };
    let before = house.get(&format!("/v1/followups/{followup}")).await;
    let url = webhook(&house);
    for forged in ["", "x", &proof("another secret"), &proof(WEBHOOK_SECRET)[1..]] {
        assert_eq!(solapi.call(&url, &event(&followup, "shop"), forged).await, 403, "{forged}");
    }
    let mine = proof(WEBHOOK_SECRET);
    for (followup, workspace) in [("fu_0000000000001", "shop"), (followup.as_str(), "other"), ("x", "shop")] {
        assert_eq!(solapi.call(&url, &event(followup, workspace), &mine).await, 200);
    }
    for strange in [json!({}), json!([1, null, {"data": 1}]), json!([{"statusCode": "3107"}])] {
        assert_eq!(solapi.call(&url, &strange, &mine).await, 200, "{strange}");
    }
    assert_eq!(solapi.call(&format!("{}/in/solapi/OTHER", house.url), &json!([]), &mine).await, 404);
    house.settle().await;
    assert_eq!(house.get(&format!("/v1/followups/{followup}")).await, before);
    assert_eq!(solapi.texts_to("01020000001").len(), 1);
}

/// T4: what is longer than Solapi's SMS goes as LMS, whatever other relays would take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_kr_140_is_no_more_than_solapi_sells() {
    let (house, solapi) = korea(None).await;
    let settings = json!({"phone_number": true, "country": "KR", "sms_profile": "kr-140"});
    house.put("/v1/settings", settings).await;
    house.customer("c1", "+821020000002", None).await;
    house.reply("c1", "m234567890123456789012345678901").await;
    house.settle().await;
    let sent = solapi.texts_to("01020000002");
    assert_eq!(kinds(&sent), ["LMS"], "{sent:?}");
    assert!((91..=140).contains(&sent[0].text.len()), "{}", sent[0].text);
}
