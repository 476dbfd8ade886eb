//! What an erasure leaves of a customer, and what it must (S8, T7).

use crate::http_support::Rig;
use backstop_server::store::{OptOutSource, SuppressionChannel};
use serde_json::{Value, json};

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
