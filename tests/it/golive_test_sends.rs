//! Test-sends: by the real path, to one's own only, ten an hour, in the audit log.

use crate::http_support::{Rig, reply};
use backstop_server::providers::capture::Channel;
use serde_json::json;

/// S4, S7: a push, a text and an email leave as real ones do, marked as a test, and their fate can be read.
#[tokio::test]
async fn a_test_leaves_by_the_real_path_and_says_that_it_is_one() {
    let rig = Rig::new();
    let shop = rig.shop("acme").await;
    rig.lucas(&shop).await;
    let phone = rig.phone(&shop, "lucas", "install-1").await;
    for (channel, captured) in [("push", Channel::Push), ("sms", Channel::Lms), ("email", Channel::Email)] {
        let sent = rig.post(&shop, "/v1/test-sends", json!({ "channel": channel, "customer_id": "lucas" })).await;
        let sent = sent.expect(202);
        let id = sent["followup_id"].as_str().unwrap();
        let followup = rig.get(&shop, &format!("/v1/followups/{id}")).await.expect(200);
        let outbox = rig.capture.outbox("acme", None, Some(id));
        assert_eq!(outbox.len(), 1, "{channel} and nothing else: {followup}");
        assert_eq!(outbox[0].channel, captured);
        assert!(outbox[0].payload.to_string().contains("(test)"), "{}", outbox[0].payload);
        assert_eq!(followup["message_ids"], json!([sent["message_id"]]));
    }
    let pushed =
        rig.post(&shop, "/v1/test-sends", json!({ "channel": "push", "device_id": phone.id })).await.expect(202);
    let id = pushed["followup_id"].as_str().unwrap().to_owned();
    let receipt = rig.receipt(&shop, &id, &phone).await;
    rig.advance(1_500);
    rig.acks(&shop, &phone, &[(&receipt, "displayed")]).await.expect(200);
    let followup = rig.get(&shop, &format!("/v1/followups/{id}")).await.expect(200);
    assert_eq!(followup["state"], "acked", "{followup}");
    let looked = rig.get(&shop, "/v1/golive").await.expect(200);
    let found = looked["data"].as_array().unwrap().iter().find(|found| found["check"] == "test_push").unwrap();
    assert_eq!(found["status"], "ok", "{found}");
    let again = rig.get(&shop, "/v1/golive").await.expect(200);
    assert_eq!(again, looked, "asked once a minute");
}

/// Never to arbitrary people: each way to name one is checked, and what is refused sends nothing.
#[tokio::test]
async fn a_test_goes_to_ones_own_only() {
    let rig = Rig::new();
    let (shop, other) = (rig.shop("acme").await, rig.shop("other").await);
    rig.lucas(&shop).await;
    let phone = rig.phone(&shop, "lucas", "install-1").await;
    let refused = [
        (json!({ "channel": "sms", "to": "+821099999999" }), 400, "to"),
        (json!({ "channel": "email", "to": "+821011112222" }), 400, "to"),
        (json!({ "channel": "push", "to": "+821011112222" }), 400, "to"),
        (json!({ "channel": "sms", "device_id": phone.id }), 400, "device_id"),
        (json!({ "channel": "sms" }), 400, "customer_id"),
        (json!({ "channel": "sms", "customer_id": "lucas", "to": "+821011112222" }), 400, "customer_id"),
        (json!({ "channel": "fax", "customer_id": "lucas" }), 400, "channel"),
    ];
    for (body, status, field) in refused {
        let answer = rig.post(&shop, "/v1/test-sends", body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.fields()), (status, vec![field]), "{body}: {}", answer.text);
    }
    for body in [
        json!({ "channel": "sms", "customer_id": "nobody" }),
        json!({ "channel": "push", "device_id": "dev_0000000000001" }),
        json!({ "channel": "push", "device_id": "x" }),
    ] {
        rig.post(&shop, "/v1/test-sends", body).await.refused(404, "not_found");
    }
    let foreign = json!({ "channel": "push", "device_id": phone.id });
    rig.post(&other, "/v1/test-sends", foreign).await.refused(404, "not_found");
    rig.post(&other, "/v1/test-sends", json!({ "channel": "sms", "customer_id": "lucas" }))
        .await
        .refused(404, "not_found");
    assert!(rig.capture.outbox("acme", None, None).is_empty() && rig.capture.outbox("other", None, None).is_empty());
    let listed =
        rig.post(&shop, "/v1/test-sends", json!({ "channel": "sms", "to": "+821011112222" })).await.expect(202);
    let id = listed["followup_id"].as_str().unwrap();
    rig.get(&shop, &format!("/v1/followups/{id}")).await.expect(200);
    let outbox = rig.capture.outbox("acme", Some(Channel::Lms), Some(id));
    assert_eq!(outbox.len(), 1);
    assert_eq!(outbox[0].to, "+821011112222");
    // S8: whose number it is can be told and erased; the id does not give the number away.
    let followup = rig.get(&shop, &format!("/v1/followups/{id}")).await.expect(200);
    let owner = followup["customer_id"].as_str().unwrap();
    let plain = hex::encode(backstop_server::vault::sha256(b"+821011112222"));
    assert!(!owner.contains(&plain[..8]), "{owner}: anybody can try all numbers");
    let path = format!("/v1/customers/{owner}");
    assert_eq!(rig.get(&shop, &path).await.expect(200)["phone"], "+821011112222");
    rig.delete(&shop, &path).await.expect(204);
    rig.get(&shop, &path).await.refused(404, "not_found");
    assert_eq!(rig.get(&shop, &format!("/v1/followups/{id}")).await.expect(200)["customer_id"], "");
}

/// Invariant 7: ten an hour and workspace, told when there is one again; a repeat under its key is no second one.
#[tokio::test]
async fn tests_are_few() {
    let rig = Rig::new();
    let (shop, other) = (rig.shop("acme").await, rig.shop("other").await);
    rig.lucas(&shop).await;
    rig.lucas(&other).await;
    let body = json!({ "channel": "email", "customer_id": "lucas" });
    let key = [("authorization", "Bearer sk_acme"), ("idempotency-key", "once")];
    for _ in 0..3 {
        rig.call(axum::http::Method::POST, "/v1/test-sends", &key, Some(&body)).await.expect(202);
    }
    for _ in 1..10 {
        rig.post(&shop, "/v1/test-sends", body.clone()).await.expect(202);
    }
    rig.advance(1_000);
    let refused = rig.post(&shop, "/v1/test-sends", body.clone()).await;
    assert_eq!(refused.headers["retry-after"], "3599", "{}", refused.text);
    refused.refused(429, "rate_limited");
    rig.post(&other, "/v1/test-sends", body.clone()).await.expect(202);
    rig.advance(3_599_000);
    rig.post(&shop, "/v1/test-sends", body).await.expect(202);
    rig.post(&shop, "/v1/messages", reply("m-1")).await.expect(202);
}
