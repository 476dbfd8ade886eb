//! What an erasure leaves of a customer, and what it must (S8, T7).

use crate::http_support::{Rig, Shop, bearer, reply};
use axum::http::Method;
use backstop_domain::followup::{Channel, Event, LegStatus, OPTED_OUT, Outcome};
use backstop_domain::ids::FollowupId;
use backstop_server::providers::{Checked, Checking, Provider, Providers, Sending, TextProvider, TextSend};
use backstop_server::store::{Key, OptOutSource, Row, SuppressionChannel};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Says nothing of a text until it is let go, and then that it may have left; it could be asked for it.
struct Silent {
    asked: Semaphore,
    let_go: Semaphore,
}

impl Provider for Silent {
    fn name(&self) -> &'static str {
        "silent"
    }

    fn check(&self) -> Checking<'_> {
        Box::pin(async { Ok(Checked { message: "taken".into(), vendor_ahead_ms: None }) })
    }
}

impl TextProvider for Silent {
    fn idempotent(&self) -> bool {
        false
    }

    fn send<'a>(&'a self, _: &'a TextSend) -> Sending<'a> {
        Box::pin(async move {
            self.asked.add_permits(1);
            let _permit = self.let_go.acquire().await;
            Outcome::Unknown { error: "timeout".into() }
        })
    }

    fn can_find(&self) -> bool {
        true
    }
}

/// S8: erased while its text was leaving: what is heard of that afterwards keeps nothing that the customer could be
/// found by, neither with the follow-up nor with its history.
#[tokio::test]
async fn s8_what_is_heard_after_an_erasure_keeps_nothing_of_the_person() {
    let silent = Arc::new(Silent { asked: Semaphore::new(0), let_go: Semaphore::new(0) });
    let provider = Arc::clone(&silent);
    let rig = Rig::with_providers(|providers| Providers { text: vec![provider], ..providers });
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    let id = rig.post(&shop, "/v1/messages", reply("m-1")).await.expect(202)["followup_id"].clone();
    let id = FollowupId::parse(id.as_str().unwrap()).unwrap();
    silent.asked.acquire().await.unwrap().forget();
    rig.delete(&shop, "/v1/customers/lucas").await.expect(204);
    silent.let_go.add_permits(1);
    rig.settled(&shop).await;
    let rows = rig.store.load(vec![Key::Followup(shop.id, id)]).await.unwrap();
    let row = rows.iter().flatten().find_map(Row::as_followup).unwrap();
    assert!(matches!(row.state.text.status, LegStatus::Unknown(_)), "{:?}", row.state.text);
    let history = rig.store.history(shop.id, id).await.unwrap();
    let last = history.last().expect("it is told that it may have left");
    assert_eq!((last.decision.as_str(), &last.inputs), ("unknown", &None));
}

/// S8, T7: an opt-out is exported with whose it is; an erasure forgets the number and keeps the mark, so that
/// nothing is texted to it when it is imported again.
#[tokio::test]
async fn s8_an_opt_out_outlives_whose_it_was() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    let ws = rig.registry.by_id(shop.id).await.unwrap().unwrap();
    for (channel, to) in [(SuppressionChannel::Text, "+821012345678"), (SuppressionChannel::Email, "lucas@example.com")]
    {
        rig.engine.opt_out(&ws, channel, to.into(), OptOutSource::Stop).await.unwrap();
    }
    rig.engine.opt_out(&ws, SuppressionChannel::Text, "+821099999999".into(), OptOutSource::Stop).await.unwrap();
    let exported = rig.get(&shop, "/v1/customers/lucas/export").await.expect(200);
    let channels: Vec<&Value> = exported["suppressions"].as_array().unwrap().iter().map(|s| &s["channel"]).collect();
    assert_eq!(channels, [&json!("text"), &json!("email")], "{exported:#}");
    let listed = async || {
        let listed = rig.get(&shop, "/v1/suppressions").await.expect(200);
        listed["data"].as_array().unwrap().iter().filter(|s| s["number"].is_null() && s["address"].is_null()).count()
    };
    assert_eq!(listed().await, 0);
    rig.delete(&shop, "/v1/customers/lucas").await.expect(204);
    assert_eq!(listed().await, 2, "another one's number is still shown");
    rig.lucas(&shop).await;
    let exported = rig.get(&shop, "/v1/customers/lucas/export").await.expect(200);
    assert_eq!(exported["suppressions"].as_array().unwrap().len(), 2, "imported again, and marked as before");
}

const OLD: &str = "+821012345678";

/// How many marks are in force, and how many of them show a number or address.
async fn marks(rig: &Rig, shop: &Shop) -> (usize, usize) {
    let listed = rig.get(shop, "/v1/suppressions").await.expect(200);
    let listed = listed["data"].as_array().unwrap();
    let shown = listed.iter().filter(|mark| !mark["number"].is_null() || !mark["address"].is_null());
    (listed.len(), shown.count())
}

/// A reply to Lucas, whose text and email leave at once.
async fn replied(rig: &Rig, shop: &Shop, message_id: &str) -> Value {
    let posted = rig.post(shop, "/v1/messages", reply(message_id)).await.expect(202);
    rig.settled(shop).await;
    rig.get(shop, &format!("/v1/followups/{}", posted["followup_id"].as_str().unwrap())).await.expect(200)
}

fn id_of(followup: &Value) -> FollowupId {
    FollowupId::parse(followup["followup_id"].as_str().unwrap()).unwrap()
}

/// S8, T7, E5: the number and the address that a customer had before are forgotten when others take their place: an
/// erasure knows only those. Their marks stay in force.
#[tokio::test]
async fn s8_what_was_replaced_is_forgotten_and_stays_marked() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    let ws = rig.registry.by_id(shop.id).await.unwrap().unwrap();
    for (channel, to) in [(SuppressionChannel::Text, OLD), (SuppressionChannel::Email, "lucas@example.com")] {
        rig.engine.opt_out(&ws, channel, to.into(), OptOutSource::Bounce).await.unwrap();
    }
    rig.lucas(&shop).await;
    assert_eq!(marks(&rig, &shop).await, (2, 2), "put again as it was");
    let moved = json!({"phone": "+821087654321", "email": "lucas@example.com"});
    rig.put(&shop, "/v1/customers/lucas", moved).await.expect(200);
    assert_eq!(marks(&rig, &shop).await, (2, 1), "the number is another one, the address is not");
    let mut message = reply("m-1");
    message["customer"] = json!({"phone": "+821087654321", "email": "new@example.com"});
    rig.post(&shop, "/v1/messages", message).await.expect(202);
    rig.settled(&shop).await;
    rig.delete(&shop, "/v1/customers/lucas").await.expect(204);
    assert_eq!(marks(&rig, &shop).await, (2, 0));
    rig.lucas(&shop).await;
    rig.advance(300_000);
    let followup = replied(&rig, &shop, "m-2").await;
    assert_eq!(followup["state"], "failed", "{followup:#}");
}

/// S8, T7: a STOP and a provider's refusal that come after the customer was erased, or has another number, mark the
/// number and name nobody: no erasure would find it again.
#[tokio::test]
async fn s8_an_opt_out_of_somebody_erased_names_nobody() {
    for late in ["stop", "refused"] {
        for gone in [true, false] {
            let rig = Rig::new();
            let shop = rig.shop("shop").await;
            rig.lucas(&shop).await;
            let ws = rig.registry.by_id(shop.id).await.unwrap().unwrap();
            let id = id_of(&replied(&rig, &shop, "m-1").await);
            if gone {
                rig.delete(&shop, "/v1/customers/lucas").await.expect(204);
            } else {
                rig.put(&shop, "/v1/customers/lucas", json!({"phone": "+821087654321"})).await.expect(200);
            }
            if late == "stop" {
                let (channel, source) = (SuppressionChannel::Text, OptOutSource::Stop);
                rig.engine.opt_out_after(&ws, Some(id), channel, OLD.into(), source).await.unwrap();
            } else {
                let (channel, provider_id, error) = (Channel::Text, None, Some(OPTED_OUT.to_owned()));
                let event = Event::Reported { channel, attempt: 1, delivered: false, provider_id, error };
                rig.engine.reported(&ws, id, event, Some(OLD.into())).await.unwrap();
            }
            assert_eq!(marks(&rig, &shop).await, (1, 0), "{late} {gone}");
            rig.delete(&shop, "/v1/customers/lucas").await.expect(204);
            rig.lucas(&shop).await;
            rig.advance(300_000);
            let followup = replied(&rig, &shop, "m-2").await;
            assert!(followup.to_string().contains("opted_out"), "{late} {gone}: in force: {followup:#}");
        }
    }
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    let ws = rig.registry.by_id(shop.id).await.unwrap().unwrap();
    let id = id_of(&replied(&rig, &shop, "m-1").await);
    let (channel, source) = (SuppressionChannel::Text, OptOutSource::Stop);
    rig.engine.opt_out_after(&ws, Some(id), channel, OLD.into(), source).await.unwrap();
    assert_eq!(marks(&rig, &shop).await, (1, 1), "a customer's own");
}

/// W3, S8: what was answered to a cancel names the customer, and goes with them.
#[tokio::test]
async fn s8_a_kept_cancel_is_erased_with_its_customer() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    let followup = replied(&rig, &shop, "m-1").await;
    let path = format!("/v1/followups/{}/cancel", followup["followup_id"].as_str().unwrap());
    let authorization = bearer(&shop);
    let headers = [("authorization", authorization.as_str()), ("idempotency-key", "k1")];
    let cancel = || rig.call(Method::POST, &path, &headers, None);
    let first = cancel().await.expect(200);
    assert_eq!(first["customer_id"], "lucas");
    let again = cancel().await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(200), first);
    rig.delete(&shop, "/v1/customers/lucas").await.expect(204);
    cancel().await.refused(404, "not_found");
}
