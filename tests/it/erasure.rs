//! What an erasure leaves of a customer, and what it must (S8, T7).

use crate::http_support::{Rig, reply};
use backstop_domain::followup::{LegStatus, Outcome};
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
