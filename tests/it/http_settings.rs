//! Settings with versions, who changed what, and what a push may say.

use crate::http_support::{Answer, Rig, Shop, bearer, reply};
use axum::http::Method;
use backstop_server::audit::key_id;
use backstop_server::providers::capture::Channel;
use backstop_server::vault::sha256;
use serde_json::{Value, json};

async fn put(rig: &Rig, shop: &Shop, headers: &[(&str, &str)], body: Value) -> Answer {
    let authorization = bearer(shop);
    let mut all = vec![("authorization", authorization.as_str())];
    all.extend_from_slice(headers);
    rig.call(Method::PUT, "/v1/settings", &all, Some(&body)).await
}

/// S1: each change is a version with its author; the same settings again are none.
#[tokio::test]
async fn s1_each_change_is_a_version_that_says_who_and_what() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let first = put(&rig, &shop, &[("backstop-actor", "Mina, 고객지원")], json!({"repeat_gap_ms": 60_000})).await;
    assert_eq!(first.headers["etag"], "\"2\"");
    let first = first.expect(200);
    let key = key_id(&sha256(shop.api_key.as_bytes()));
    assert_eq!(first["updated_by"], json!({"via": "api", "key_id": key, "actor": "Mina, 고객지원"}));
    put(&rig, &shop, &[], json!({"repeat_gap_ms": 60_000})).await.expect(200);
    rig.advance(5_000);
    put(&rig, &shop, &[], json!({"country": "KR"})).await.expect(200);
    let versions = rig.get(&shop, "/v1/settings/versions").await.expect(200);
    let expected = json!([
        {"version": 3, "at": "2026-11-22T18:00:05.000Z", "by": {"via": "api", "key_id": key}, "changes": [
            {"field": "country", "old": null, "new": "KR"}, {"field": "repeat_gap_ms", "old": 60_000, "new": null}]},
        {"version": 2, "at": "2026-11-22T18:00:00.000Z",
            "by": {"via": "api", "key_id": key, "actor": "Mina, 고객지원"},
            "changes": [{"field": "repeat_gap_ms", "old": null, "new": 60_000}]},
    ]);
    assert_eq!(versions, json!({"data": expected, "next_cursor": null}));
    let page = rig.get(&shop, "/v1/settings/versions?limit=1").await.expect(200);
    assert_eq!(page["data"], json!([expected[0]]));
    let after = format!("/v1/settings/versions?limit=1&after={}", page["next_cursor"].as_str().unwrap());
    assert_eq!(rig.get(&shop, &after).await.expect(200), json!({"data": [expected[1]], "next_cursor": null}));
}

/// W4: with `If-Match` a change builds on what was read, or is refused and nothing is half-done.
#[tokio::test]
async fn w4_a_change_of_what_changed_meanwhile_is_refused() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let read = rig.get(&shop, "/v1/settings").await;
    let tag = read.headers["etag"].to_str().unwrap().to_owned();
    put(&rig, &shop, &[("if-match", &tag)], json!({"email": false})).await.expect(200);
    let late = put(&rig, &shop, &[("if-match", &tag)], json!({"phone_number": false})).await;
    late.refused(412, "precondition_failed");
    let now = rig.get(&shop, "/v1/settings").await.expect(200);
    assert_eq!((&now["email"], &now["phone_number"], &now["version"]), (&json!(false), &json!(true), &json!(2)));
    for any in ["*", "\"2\"", "W/\"2\""] {
        put(&rig, &shop, &[("if-match", any)], json!({"email": false})).await.expect(200);
    }
    for wrong in ["2", "\"2\", \"3\"", "\"x\"", ""] {
        let refused = put(&rig, &shop, &[("if-match", wrong)], json!({})).await;
        refused.refused(400, "invalid_request");
        assert_eq!(refused.fields(), ["If-Match"]);
    }
    for wrong in ["", "a\tb", &"m".repeat(129)] {
        let refused = put(&rig, &shop, &[("backstop-actor", wrong)], json!({})).await;
        assert_eq!(refused.fields(), ["Backstop-Actor"], "{wrong:?}");
    }
}

/// S1: what was read can be sent back whole, and changes nothing but what was changed in it.
#[tokio::test]
async fn s1_what_was_read_is_written_back() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let mut read = rig.get(&shop, "/v1/settings").await.expect(200);
    read["repeat_gap_ms"] = json!(60_000);
    let written = put(&rig, &shop, &[], read.clone()).await.expect(200);
    assert_eq!((&written["repeat_gap_ms"], &written["version"]), (&json!(60_000), &json!(2)));
    for shown in ["version", "updated_at", "updated_by", "warnings"] {
        read[shown] = written[shown].clone();
    }
    assert_eq!(written, read);
    let refused = put(&rig, &shop, &[], json!({"version": 2, "emails": true})).await;
    assert_eq!(refused.fields(), ["emails"]);
}

/// S1: of changes at one time none is lost: each makes a version, and each version says what it replaced.
#[tokio::test(flavor = "multi_thread")]
async fn s1_changes_at_one_time_are_all_versions() {
    let rig = std::sync::Arc::new(Rig::new());
    let shop = rig.shop("shop").await;
    let calls: Vec<_> = (1..=8)
        .map(|n| {
            let (rig, shop) = (rig.clone(), shop.clone());
            tokio::spawn(async move {
                if n % 2 == 0 {
                    let who = backstop_server::audit::Who::cli();
                    return drop(rig.registry.rotate_secret(shop.id, &who).await.unwrap().unwrap());
                }
                put(&rig, &shop, &[], json!({"repeat_gap_ms": n})).await.expect(200);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    let versions = rig.get(&shop, "/v1/settings/versions").await.expect(200);
    let versions = versions["data"].as_array().unwrap();
    assert_eq!(versions.iter().map(|v| v["version"].clone()).collect::<Vec<_>>(), [5, 4, 3, 2]);
    for pair in versions.windows(2) {
        assert_eq!(pair[0]["changes"][0]["old"], pair[1]["changes"][0]["new"]);
    }
    let secrets = rig.get(&shop, "/v1/audit?kind=identity_secret_rotated").await.expect(200);
    assert_eq!(secrets["data"].as_array().unwrap().len(), 4);
}

/// S1, W4: what cannot work together is refused with both names; what works badly is taken with a warning.
#[tokio::test]
async fn s1_settings_are_judged_as_a_whole() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let apart = [
        (json!({"push_ttl_ms": 30_000}), json!({"push_ttl_ms": 29_999}), "push_ttl_ms"),
        (json!({"push_ttl_ms": 1_000, "ack_wait_ms": 1_000}), json!({"push_ttl_ms": 1_000}), "push_ttl_ms"),
        (json!({"fallback_horizon_ms": 180_001}), json!({"fallback_horizon_ms": 180_000}), "fallback_horizon_ms"),
    ];
    for (fits, contradicts, field) in apart {
        put(&rig, &shop, &[], fits).await.expect(200);
        let refused = put(&rig, &shop, &[], contradicts).await;
        refused.refused(400, "invalid_request");
        assert_eq!(refused.fields(), [field]);
    }
    let codes = async |body: Value| {
        let shown = put(&rig, &shop, &[], body).await.expect(200);
        shown["warnings"].as_array().unwrap().iter().map(|w| w["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(codes(json!({"phone_number": false})).await, [""; 0]);
    assert_eq!(codes(json!({"phone_number": false, "email": false})).await, ["push_only"]);
    let silent = json!({"idle_after_ms": 59_999, "heartbeat_timeout_ms": 60_000});
    assert_eq!(codes(silent).await, ["heartbeat_after_idle"]);
}

/// S8: the log says what was done and by whom, and neither a secret nor a person; it is never changed.
#[tokio::test]
async fn s8_the_audit_log_names_no_customer() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    let authorization = bearer(&shop);
    let headers = [("authorization", authorization.as_str()), ("backstop-actor", "mina")];
    rig.call(Method::DELETE, "/v1/customers/lucas", &headers, None).await.expect(204);
    rig.call(Method::DELETE, "/v1/customers/lucas", &headers, None).await.expect(204);
    put(&rig, &shop, &[], json!({"email": false})).await.expect(200);
    let log = rig.get(&shop, "/v1/audit").await;
    assert!(!log.text.contains("lucas") && !log.text.contains(&shop.api_key));
    let log = log.expect(200);
    let kinds: Vec<_> = log["data"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["settings_changed", "customer_erased"], "an erasure of nobody is none");
    assert_eq!(log["data"][1]["by"]["actor"], "mina");
    let one = rig.get(&shop, "/v1/audit?kind=customer_erased&limit=1").await.expect(200);
    assert_eq!((one["data"].as_array().unwrap().len(), &one["next_cursor"]), (1, &Value::Null));
    let other = rig.shop("other").await;
    assert_eq!(rig.get(&other, "/v1/audit").await.expect(200)["data"], json!([]), "of its own workspace only");
    for (query, field) in [("kind=nothing", "kind"), ("limit=0", "limit"), ("limit=201", "limit"), ("after=x", "after")]
    {
        let refused = rig.get(&shop, &format!("/v1/audit?{query}")).await;
        assert_eq!(refused.fields(), [field]);
    }
    let db = rusqlite::Connection::open(rig.path().join("backstop.db")).unwrap();
    for sql in ["UPDATE audit SET who = '{}'", "DELETE FROM audit"] {
        assert!(db.execute(sql, []).unwrap_err().to_string().contains("only added to"), "{sql}");
    }
}

/// S10: what a push does not show is in no request to a push vendor.
#[tokio::test]
async fn s10_a_push_says_what_the_workspace_lets_it_say() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    rig.phone(&shop, "lucas", "install-1").await;
    let cases = [("full", "Mina", Some("Your order")), ("sender_only", "Mina", None), ("none", "shop", None)];
    for (n, (content, title, text)) in cases.into_iter().enumerate() {
        put(&rig, &shop, &[], json!({"push_content": content})).await.expect(200);
        let mut body = reply(&format!("m{n}"));
        (body["author"], body["text"]) = (json!({"name": "Mina"}), "Your order is on its way.".into());
        body["conversation_id"] = format!("chat-{n}").into();
        let posted = rig.post(&shop, "/v1/messages", body).await.expect(202);
        let id = posted["followup_id"].as_str().unwrap();
        // A read waits until what was committed is done.
        rig.get(&shop, &format!("/v1/followups/{id}")).await.expect(200);
        let payload = rig.capture.outbox(&shop.name, Some(Channel::Push), Some(id))[0].payload.to_string();
        assert!(payload.contains(title), "{content}: {payload}");
        assert_eq!(payload.contains("Your order"), text.is_some(), "{content}: {payload}");
        assert_eq!(payload.contains("Mina"), title == "Mina", "{content}: {payload}");
        assert_eq!(payload.contains("You have a new reply"), text.is_none(), "{content}: {payload}");
    }
    let wrong = put(&rig, &shop, &[], json!({"push_content": "some"})).await;
    wrong.refused(400, "invalid_request");
    assert_eq!(wrong.fields(), ["push_content"]);
}
