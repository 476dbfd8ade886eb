//! What customers agreed to: noted, withdrawn, and what it lets through (S8, D6).

use crate::flow::{DAY_MS, delivery, post, sent, shop};
use backstop_server::testing::Workspace;
use serde_json::{Value, json};

/// An outreach to Ann; what became of the email, and which warnings there were.
async fn outreach(shop: &Workspace, id: &str) -> (String, Value) {
    let posted = post(shop, id, json!({"kind": "outreach", "conversation_id": id, "channels": ["email"]})).await.ok();
    let followup = shop.followup(posted["followup_id"].as_str().unwrap()).await;
    let codes: Vec<&Value> = posted["warnings"].as_array().unwrap().iter().map(|warning| &warning["code"]).collect();
    (delivery(&followup, "email"), json!(codes))
}

async fn known_by(shop: &Workspace, source: &str) {
    shop.put_customer("ann", json!({"email": "ann@example.com", "contact_source": source})).await;
}

/// S8, D6: contact data that was given to be answered serves a chat that the company begins only with a consent.
#[tokio::test]
async fn s8_an_outreach_needs_more_than_an_inquiry() {
    let shop = shop().await;
    known_by(&shop, "follow_up").await;
    assert_eq!(outreach(&shop, "o1").await.0, "skipped:purpose");
    let consents = "/v1/customers/ann/consents";
    let other = json!({"purpose": "newsletter", "wording_version": "1"});
    shop.post(consents, other).await.ok();
    assert_eq!(outreach(&shop, "o2").await.0, "skipped:purpose");
    let given = json!({"purpose": "outreach", "wording_version": "2026-11", "source": "checkout"});
    let noted = shop.post(consents, given.clone()).await.ok();
    assert_eq!(noted["data"].as_array().unwrap().len(), 2);
    assert_eq!(noted["data"][1]["withdrawn_at"], Value::Null);
    assert_eq!(shop.post(consents, given).await.ok(), noted, "noted once: the clock stands still");
    assert_eq!(outreach(&shop, "o3").await, ("accepted".into(), json!([])));
    shop.delete(&format!("{consents}/outreach")).await.ok();
    shop.delete(&format!("{consents}/outreach")).await.ok();
    assert_eq!(outreach(&shop, "o4").await.0, "skipped:purpose");
    let listed = shop.get(consents).await.ok();
    assert_ne!(listed["data"][1]["withdrawn_at"], Value::Null, "what was agreed to stays on record: {listed}");
    assert_eq!(sent(&shop).await, (0, 1));
}

/// S8: contact data that is said to come with a consent is taken, with a warning until somebody says which; a withdrawn
/// one ends outreach wherever the contact data came from.
#[tokio::test]
async fn s8_a_consent_that_nobody_noted_is_warned_of() {
    let shop = shop().await;
    known_by(&shop, "consent").await;
    assert_eq!(outreach(&shop, "o1").await, ("accepted".into(), json!(["consent_not_recorded"])));
    let given = json!({"purpose": "outreach", "wording_version": "1", "at": "2026-01-02T03:04:05.000Z"});
    shop.post("/v1/customers/ann/consents", given).await.ok();
    assert_eq!(outreach(&shop, "o2").await, ("accepted".into(), json!([])));
    shop.delete("/v1/customers/ann/consents/outreach").await.ok();
    for source in ["consent", "account"] {
        known_by(&shop, source).await;
        assert_eq!(outreach(&shop, source).await.0, "skipped:purpose", "{source}");
    }
    let reply = post(&shop, "r1", json!({"kind": "reply"})).await.ok();
    let followup = shop.followup(reply["followup_id"].as_str().unwrap()).await;
    assert_eq!(delivery(&followup, "email"), "accepted", "an answer is no outreach");
}

/// S8: a consent is checked field by field, kept with the customer, exported, and gone with them.
#[tokio::test]
async fn s8_consents_are_checked_exported_and_erased() {
    let shop = shop().await;
    let path = "/v1/customers/ann/consents";
    for (change, field) in [
        (json!({"purpose": ""}), "purpose"),
        (json!({"purpose": "Out reach"}), "purpose"),
        (json!({"wording_version": ""}), "wording_version"),
        (json!({"wording_version": "x".repeat(65)}), "wording_version"),
        (json!({"source": "two\nlines"}), "source"),
        (json!({"at": "yesterday"}), "at"),
        (json!({"at": "2999-01-01T00:00:00Z"}), "at"),
        (json!({"granted": true}), "granted"),
    ] {
        let mut body = json!({"purpose": "outreach", "wording_version": "1"});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let refused = shop.post(path, body.clone()).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_request"), "{body}");
        assert_eq!(refused.body["errors"][0]["field"], field, "{}", refused.body);
    }
    assert_eq!(shop.get(path).await.ok()["data"], json!([]));
    assert_eq!(shop.delete(&format!("{path}/newsletter")).await.status, 404);
    for unknown in ["/v1/customers/nobody/consents", "/v1/customers/nobody/consents/outreach"] {
        assert_eq!(shop.delete(unknown).await.status / 100, 4);
    }
    let given = json!({"purpose": "outreach", "wording_version": "1", "source": "fair"});
    let noted = shop.post(path, given).await.ok();
    let exported = shop.get("/v1/customers/ann/export").await.ok();
    assert_eq!(exported["consents"], noted["data"]);
    shop.delete("/v1/customers/ann").await.ok();
    assert_eq!(shop.get(path).await.status, 404);
    shop.advance(DAY_MS).await;
    shop.put_customer("ann", json!({"email": "ann@example.com"})).await;
    assert_eq!(shop.get(path).await.ok()["data"], json!([]), "another person");
}

/// S8, D6: outreach may go without a consent, and so it is objected to without one.
#[tokio::test]
async fn s8_outreach_is_objected_to_without_a_consent() {
    let shop = shop().await;
    let path = "/v1/customers/ann/consents";
    assert_eq!(outreach(&shop, "o1").await.0, "accepted", "of an account");
    for _ in 0..2 {
        assert_eq!(shop.delete(&format!("{path}/outreach")).await.status, 204);
    }
    let listed = shop.get(path).await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
    let objection = &listed["data"][0];
    assert_eq!((&objection["wording_version"], &objection["purpose"]), (&Value::Null, &json!("outreach")));
    assert_eq!(objection["withdrawn_at"], objection["at"]);
    for source in ["account", "consent", "follow_up"] {
        known_by(&shop, source).await;
        assert_eq!(outreach(&shop, source).await.0, "skipped:purpose", "{source}");
    }
    let exported = shop.get("/v1/customers/ann/export").await.ok();
    assert_eq!(exported["consents"], listed["data"]);
}

/// S8: a consent from before a withdrawal that is noted after it undoes nothing; one from after it does.
#[tokio::test]
async fn s8_a_late_note_undoes_no_withdrawal() {
    let shop = shop().await;
    let path = "/v1/customers/ann/consents";
    let given = |at: &str| json!({"purpose": "outreach", "wording_version": at, "at": at});
    shop.post(path, given("2026-01-02T03:04:05Z")).await.ok();
    assert_eq!(shop.delete(&format!("{path}/outreach")).await.status, 204);
    let noted = shop.post(path, given("2026-03-01T00:00:00Z")).await.ok();
    assert_ne!(noted["data"][1]["withdrawn_at"], Value::Null, "{noted}");
    assert_eq!(outreach(&shop, "o1").await.0, "skipped:purpose");
    shop.advance(1).await;
    shop.post(path, json!({"purpose": "outreach", "wording_version": "2"})).await.ok();
    assert_eq!(outreach(&shop, "o2").await.0, "accepted");
}
