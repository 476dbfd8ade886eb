//! The surface for the company's backend: keys, customers, messages, follow-ups, deliveries, settings.

use crate::http_support::{Rig, Shop, bearer, reply};
use axum::http::Method;
use backstop_server::audit::Who;
use backstop_server::store::Scope;
use backstop_server::vault::sha256;
use serde_json::{Value, json};

/// W4: one 401 shape, whatever is wrong with the key; a read key only reads; an app key is no backend key.
#[tokio::test]
async fn keys_open_what_their_scope_says() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.store.create_key(shop.id, sha256(b"sk_reads"), Scope::Read, 0, Who::cli()).await.unwrap();
    let path = "/v1/settings";
    let mut shapes = Vec::new();
    for value in ["", "Bearer", "Bearer ", "Bearer sk_other", "Basic sk_shop", "sk_shop", "Backstop-Device dev_x.y"] {
        let answer = rig.call(Method::GET, path, &[("authorization", value)], None).await;
        answer.refused(401, "unauthorized");
        shapes.push(answer.text);
    }
    shapes.dedup();
    assert_eq!(shapes.len(), 1, "one shape: an oracle for nobody");
    rig.call(Method::GET, path, &[], None).await.refused(401, "unauthorized");
    let reads = [("authorization", "bearer sk_reads")];
    rig.call(Method::GET, path, &reads, None).await.expect(200);
    rig.call(Method::PUT, path, &reads, Some(&json!({}))).await.refused(403, "forbidden");
    rig.call(Method::POST, "/v1/messages", &reads, Some(&reply("m"))).await.refused(403, "forbidden");
    rig.call(Method::GET, path, &[("authorization", "Bearer app_shop")], None).await.refused(403, "forbidden");
}

/// Bad input: a key revoked in flight dies within a second.
#[tokio::test]
async fn a_revoked_key_dies_within_a_second() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.get(&shop, "/v1/settings").await.expect(200);
    assert!(rig.store.revoke_key(sha256(shop.api_key.as_bytes()), 1, Who::cli()).await.unwrap());
    rig.advance(999);
    rig.get(&shop, "/v1/settings").await.expect(200);
    rig.advance(1);
    rig.get(&shop, "/v1/settings").await.refused(401, "unauthorized");
}

/// S8: full replacement, export of everything, erasure; all of it repeatable.
#[tokio::test]
async fn a_customer_is_put_shown_exported_and_erased() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.get(&shop, "/v1/customers/lucas").await.refused(404, "not_found");
    rig.lucas(&shop).await;
    let put = json!({"name": "Lucas Kim", "email": "lucas@example.com", "contact_source": "consent",
        "locale": "ko_KR", "time_zone": "Asia/Seoul"});
    let shown = rig.put(&shop, "/v1/customers/lucas", put.clone()).await.expect(200);
    let expected = json!({
        "customer_id": "lucas", "name": "Lucas Kim", "email": "lucas@example.com", "phone": null,
        "line_user_id": null, "contact_source": "consent", "locale": "ko-KR", "time_zone": "Asia/Seoul",
        "online": false,
        "created_at": "2026-11-22T18:00:00.000Z",
    });
    assert_eq!(shown, expected, "what was not given is gone");
    assert_eq!(rig.get(&shop, "/v1/customers/lucas").await.expect(200), expected);
    rig.phone(&shop, "lucas", "install-1").await;
    rig.post(&shop, "/v1/messages", reply("m1")).await.expect(202);
    let export = rig.get(&shop, "/v1/customers/lucas/export").await.expect(200);
    let more = json!({"contact_at": "2026-11-22T18:00:00.000Z", "engaged_at": null, "pages": []});
    let mut exported = expected.clone();
    exported.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    assert_eq!(export["customer"], exported);
    assert_eq!(export["messages"][0]["text"], "Your parcel leaves today.");
    assert_eq!(export["followups"][0]["message_ids"], json!(["m1"]));
    assert_eq!(export["devices"][0]["platform"], "android");
    assert!(!export.to_string().contains("token-install-1"), "tokens are not exported");
    let devices = rig.get(&shop, "/v1/customers/lucas/devices").await.expect(200);
    let mut exported = export["devices"][0].clone();
    assert_eq!(exported["install_id"], "install-1");
    for more in ["install_id", "token_gone_at", "counted_acks"] {
        assert!(exported.as_object_mut().unwrap().remove(more).is_some(), "{more}");
    }
    assert_eq!((&devices["data"][0], &devices["next_cursor"]), (&exported, &Value::Null));
    for _ in 0..2 {
        rig.delete(&shop, "/v1/customers/lucas").await.expect(204);
    }
    rig.get(&shop, "/v1/customers/lucas").await.refused(404, "not_found");
    rig.get(&shop, "/v1/customers/lucas/export").await.refused(404, "not_found");
}

/// D9, W3: the same message again gets the same answer; another body under the same id is refused.
#[tokio::test]
async fn a_message_is_accepted_once() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.post(&shop, "/v1/messages", reply("m1")).await.refused(404, "not_found");
    rig.lucas(&shop).await;
    rig.phone(&shop, "lucas", "install-1").await;
    let first = rig.post(&shop, "/v1/messages", reply("m1")).await.expect(202);
    assert_eq!(first["state"], "sending");
    assert_eq!(first["accepted_at"], "2026-11-22T18:00:00.000Z");
    assert_eq!(first["deadline_at"], "2026-11-22T18:00:30.000Z");
    assert_eq!(first["warnings"][0]["code"], "no_customer_message");
    rig.advance(5_000);
    assert_eq!(rig.post(&shop, "/v1/messages", reply("m1")).await.expect(202), first);
    let mut other = reply("m1");
    other["text"] = "Another text.".into();
    rig.post(&shop, "/v1/messages", other).await.refused(409, "message_conflict");
    let shown = rig.get(&shop, "/v1/messages/m1").await.expect(200);
    assert_eq!(shown["followup_id"], first["followup_id"]);
    assert_eq!(shown["state"], "awaiting_ack");
    rig.get(&shop, "/v1/messages/m2").await.refused(404, "not_found");
    rig.delete(&shop, "/v1/messages/m1").await.expect(204);
    let cancelled = rig.get(&shop, "/v1/messages/m1").await.expect(200);
    assert_eq!((&cancelled["state"], &cancelled["reason"]), (&json!("cancelled"), &json!("message_deleted")));
}

/// D2, D5: watched while the customer is online, and read before anything left.
#[tokio::test]
async fn a_reply_to_an_online_customer_is_watched() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    let said = json!({"message_id": "u1", "conversation_id": "c1", "customer_id": "lucas", "text": "Where is it?"});
    assert_eq!(rig.post(&shop, "/v1/customer-messages", said.clone()).await.expect(200), json!({}));
    assert_eq!(rig.post(&shop, "/v1/customer-messages", said).await.expect(200), json!({}));
    let present = json!({"customer_id": "lucas", "source_id": "tab", "state": "active"});
    assert_eq!(rig.post(&shop, "/v1/presence", present).await.expect(200), json!({}));
    let answer = rig.post(&shop, "/v1/messages", reply("m1")).await.expect(200);
    let watching = json!({"followup_id": null, "state": "watching", "reason": "customer_online"});
    assert_eq!(answer, watching);
    assert_eq!(rig.get(&shop, "/v1/messages/m1").await.expect(200), watching);
    assert_eq!(rig.get(&shop, "/v1/followups").await.expect(200), json!({"data": [], "next_cursor": null}));
    let read = json!({"conversation_id": "c1", "customer_id": "lucas", "message_id": "m1"});
    assert_eq!(rig.post(&shop, "/v1/reads", read).await.expect(200), json!({}));
    let read = rig.get(&shop, "/v1/messages/m1").await.expect(200);
    assert_eq!((&read["state"], &read["reason"]), (&json!("watching"), &json!("customer_read")));
    rig.get(&shop, "/v1/messages/u1").await.refused(404, "not_found");
}

/// Ids are scoped: another workspace's are nobody's here.
#[tokio::test]
async fn another_workspace_sees_nothing() {
    let rig = Rig::new();
    let (shop, other) = (rig.shop("shop").await, rig.shop("other").await);
    rig.lucas(&shop).await;
    rig.phone(&shop, "lucas", "install-1").await;
    let posted = rig.post(&shop, "/v1/messages", reply("m1")).await.expect(202);
    let followup = posted["followup_id"].as_str().unwrap();
    for path in [
        "/v1/customers/lucas".to_owned(),
        "/v1/customers/lucas/devices".to_owned(),
        "/v1/customers/lucas/export".to_owned(),
        "/v1/messages/m1".to_owned(),
        format!("/v1/followups/{followup}"),
    ] {
        rig.get(&other, &path).await.refused(404, "not_found");
    }
    let none = json!({"data": [], "next_cursor": null});
    assert_eq!(rig.get(&other, "/v1/followups").await.expect(200), none);
    assert_eq!(rig.get(&other, &format!("/v1/deliveries?followup_id={followup}")).await.expect(200), none);
    rig.post(&other, "/v1/messages", reply("m1")).await.refused(404, "not_found");
    rig.post(&other, &format!("/v1/followups/{followup}/cancel"), Value::Null).await.refused(404, "not_found");
    rig.delete(&other, "/v1/messages/m1").await.refused(404, "not_found");
    rig.delete(&other, "/v1/customers/lucas").await.expect(204);
    rig.get(&shop, "/v1/customers/lucas").await.expect(200);
    assert_eq!(rig.get(&shop, &format!("/v1/followups/{followup}")).await.expect(200)["state"], "awaiting_ack");
}

async fn several(rig: &Rig, shop: &Shop) -> Vec<String> {
    let mut ids = Vec::new();
    for i in 0..5 {
        let customer = format!("customer-{i}");
        let body = json!({"phone": "+821012345678", "email": "x@example.com"});
        rig.put(shop, &format!("/v1/customers/{customer}"), body).await.expect(200);
        let mut message = reply(&format!("m{i}"));
        message["customer_id"] = customer.into();
        message["conversation_id"] = format!("c{i}").into();
        let posted = rig.post(shop, "/v1/messages", message).await.expect(202);
        ids.push(posted["followup_id"].as_str().unwrap().to_owned());
    }
    ids.reverse();
    ids
}

/// Pages of a list: newest first, each row once.
async fn pages(rig: &Rig, shop: &Shop, path: &str, id: impl Fn(&Value) -> String) -> Vec<String> {
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = rig.get(shop, &format!("{path}{after}")).await.expect(200);
        seen.extend(page["data"].as_array().unwrap().iter().map(&id));
        match page["next_cursor"].as_str() {
            Some(cursor) => after = format!("&after={cursor}"),
            None => return seen,
        }
        assert!(seen.len() < 100, "an endless list");
    }
}

/// P4, S6: without a device text and email go at once; lists filter and page.
#[tokio::test]
async fn followups_and_deliveries_are_listed() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let ids = several(&rig, &shop).await;
    let id = |row: &Value| row["followup_id"].as_str().unwrap().to_owned();
    for limit in [1, 2, 3, 5, 200] {
        assert_eq!(pages(&rig, &shop, &format!("/v1/followups?limit={limit}"), id).await, ids, "{limit}");
        let twice: Vec<_> = ids.iter().flat_map(|id| [id.clone(), id.clone()]).collect();
        assert_eq!(pages(&rig, &shop, &format!("/v1/deliveries?limit={limit}"), id).await, twice, "{limit}");
        let texts = format!("/v1/deliveries?channel=sms&status=accepted&limit={limit}");
        assert_eq!(pages(&rig, &shop, &texts, id).await, ids, "{limit}");
    }
    for (filter, expected) in [
        ("customer_id=customer-1", vec![ids[3].clone()]),
        ("conversation_id=c0", vec![ids[4].clone()]),
        ("message_id=m4", vec![ids[0].clone()]),
        ("state=fell_back&limit=2", ids.clone()),
        ("state=acked", vec![]),
    ] {
        assert_eq!(pages(&rig, &shop, &format!("/v1/followups?{filter}"), id).await, expected, "{filter}");
    }
    let shown = rig.get(&shop, &format!("/v1/followups/{}", ids[0])).await.expect(200);
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("fell_back"), &json!("no_device")));
    assert_eq!(shown["decided_at"], shown["accepted_at"]);
    assert_eq!(shown["deliveries"][1]["channel"], "email");
    assert_eq!(shown["deliveries"][0]["provider"], "capture");
    assert!(!shown["history"].as_array().unwrap().is_empty());
    for (path, field) in [
        ("/v1/followups?limit=0", "limit"),
        ("/v1/followups?limit=201", "limit"),
        ("/v1/followups?limit=x", "limit"),
        ("/v1/followups?after=x", "after"),
        ("/v1/followups?state=gone", "state"),
        ("/v1/deliveries?channel=fax", "channel"),
        ("/v1/deliveries?status=lost", "status"),
        ("/v1/deliveries?after=fu_x.1", "after"),
        ("/v1/followups?custmer_id=lucas", "query"),
    ] {
        let answer = rig.get(&shop, path).await;
        answer.refused(400, "invalid_request");
        assert_eq!(answer.fields(), [field], "{path}");
    }
}

/// S6: CSV on request, one line a delivery.
#[tokio::test]
async fn deliveries_are_exported_as_csv() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let ids = several(&rig, &shop).await;
    let headers = [("authorization", bearer(&shop)), ("accept", "text/csv".into())];
    let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let answer = rig.call(Method::GET, "/v1/deliveries?limit=3", &headers, None).await;
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8");
    let lines: Vec<_> = answer.text.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines[0].starts_with("followup_id,customer_id,conversation_id,channel,provider,"));
    assert!(lines[1].starts_with(&format!("{},customer-4,c4,sms,capture,", ids[0])), "{}", lines[1]);
    assert!(lines[1].contains(",accepted,"));
    let cursor = answer.headers["backstop-next-cursor"].to_str().unwrap();
    let rest = rig.call(Method::GET, &format!("/v1/deliveries?after={cursor}"), &headers, None).await;
    assert_eq!(rest.text.lines().count(), 1 + 7);
    assert!(rest.headers.get("backstop-next-cursor").is_none());
}

/// D5: a cancel stops what has not left, and says what it came to; again changes nothing.
#[tokio::test]
async fn a_followup_is_cancelled() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    rig.phone(&shop, "lucas", "install-1").await;
    let posted = rig.post(&shop, "/v1/messages", reply("m1")).await.expect(202);
    let path = format!("/v1/followups/{}/cancel", posted["followup_id"].as_str().unwrap());
    let first = rig.post(&shop, &path, Value::Null).await.expect(200);
    assert_eq!((&first["state"], &first["reason"]), (&json!("cancelled"), &json!("cancelled_by_api")));
    assert_eq!(rig.post(&shop, &path, Value::Null).await.expect(200)["state"], "cancelled");
    for unknown in ["/v1/followups/fu_0000000000001", "/v1/followups/m1", "/v1/followups/dev_0000000000001"] {
        rig.get(&shop, unknown).await.refused(404, "not_found");
    }
}

/// S1, W4: PUT replaces everything, GET shows everything, wrong numbers are named.
#[tokio::test]
async fn settings_are_replaced_whole() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let defaults = rig.get(&shop, "/v1/settings").await.expect(200);
    let expected = json!({
        "phone_number": true, "email": true, "bot_text": false, "canary": false, "ack_grade": "displayed",
        "ack_wait_ms": 30_000,
        "unread_limit": 3, "unread_after_ms": 3_600_000, "idle_after_ms": 270_000, "hidden_after_ms": 270_000,
        "heartbeat_timeout_ms": 60_000, "repeat_gap_ms": 180_000, "push_ttl_ms": 86_400_000,
        "fallback_horizon_ms": 21_600_000, "company_name": "shop", "country": null, "quiet_hours": null,
        "push_content": "full", "text_content": "full", "sms_profile": "kr-90",
        "link_schemes": ["https", "http"], "senders": {},
        "conversation_url": null, "link_hosts": null, "countries": null, "limits": null, "version": 1,
        "branding": null, "support_email": null, "sns": [], "sns_report_wait_ms": 180_000,
        "sns_unknown": "email_decides", "auto_charge": null, "text_routes": null,
        "updated_at": "2026-11-22T18:00:00.000Z", "updated_by": null, "warnings": [],
    });
    assert_eq!(defaults, expected);
    let put = rig.put(&shop, "/v1/settings", json!({"email": false, "ack_wait_ms": 1_000, "country": "KR"})).await;
    let changed = put.expect(200);
    assert_eq!((&changed["email"], &changed["ack_wait_ms"]), (&json!(false), &json!(1_000)));
    assert_eq!(rig.get(&shop, "/v1/settings").await.expect(200), changed);
    rig.put(&shop, "/v1/customers/mia", json!({"phone": "010-1234-5678"})).await.expect(200);
    let wrong = rig.put(&shop, "/v1/settings", json!({"ack_wait_ms": 30_001, "push_ttl_ms": 0})).await;
    wrong.refused(400, "invalid_request");
    assert_eq!(wrong.fields(), ["ack_wait_ms", "push_ttl_ms"]);
    let unknown = rig.put(&shop, "/v1/settings", json!({"quiet_hour": true})).await;
    assert_eq!(unknown.fields(), ["quiet_hour"]);
    assert_eq!(rig.get(&shop, "/v1/settings").await.expect(200), changed, "nothing is half-done");
    let mut back = rig.put(&shop, "/v1/settings", json!({})).await.expect(200);
    assert_eq!(back["version"], 3);
    for field in ["version", "updated_by"] {
        back[field] = defaults[field].clone();
    }
    assert_eq!(back, defaults);
}

/// W3: the first answer again for 24 h; another body under the key is refused; another workspace has its own keys.
#[tokio::test]
async fn an_idempotency_key_gives_the_first_answer_again() {
    let rig = Rig::new();
    let (shop, other) = (rig.shop("shop").await, rig.shop("other").await);
    rig.lucas(&shop).await;
    rig.lucas(&other).await;
    rig.phone(&shop, "lucas", "install-1").await;
    let post = async |shop: &Shop, key: &str, body: Value| {
        let authorization = bearer(shop);
        let headers = [("authorization", authorization.as_str()), ("idempotency-key", key)];
        rig.call(Method::POST, "/v1/messages", &headers, Some(&body)).await
    };
    let first = post(&shop, "k1", reply("m1")).await.expect(202);
    rig.advance(10_000);
    let again = post(&shop, "k1", reply("m1")).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(202), first);
    post(&shop, "k1", reply("m2")).await.refused(422, "idempotency_key_reused");
    post(&other, "k1", reply("m2")).await.expect(202);
    rig.advance(24 * 3_600_000);
    assert!(post(&shop, "k1", reply("m1")).await.headers.get("idempotency-replayed").is_none());
    post(&shop, &"k".repeat(256), reply("m1")).await.refused(400, "invalid_request");
    post(&shop, "", reply("m1")).await.refused(400, "invalid_request");
    let file = std::fs::read(rig.path().join("backstop.db")).unwrap();
    let needle = first["followup_id"].as_str().unwrap().as_bytes();
    assert!(!file.windows(needle.len()).any(|w| w == needle), "kept answers are sealed");
}

/// W3: of requests that come at one time with one key, one is done; the others hear that it is under way, or that the
/// key is another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn w3_one_key_at_one_time_does_one_thing() {
    let rig = std::sync::Arc::new(Rig::new());
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    for (key, same) in [("same", true), ("other", false)] {
        let calls: Vec<_> = (0..12)
            .map(|n| {
                let (rig, shop) = (rig.clone(), shop.clone());
                tokio::spawn(async move {
                    let body = reply(&if same { key.to_owned() } else { format!("{key}-{n}") });
                    let authorization = bearer(&shop);
                    let headers = [("authorization", authorization.as_str()), ("idempotency-key", key)];
                    rig.call(Method::POST, "/v1/messages", &headers, Some(&body)).await
                })
            })
            .collect();
        let mut done = Vec::new();
        for call in calls {
            let answer = call.await.unwrap();
            match answer.status.as_u16() {
                202 => done.push(answer.json["followup_id"].clone()),
                409 => {
                    answer.refused(409, "request_in_progress");
                    assert!(same && answer.headers.contains_key("retry-after"));
                }
                _ => {
                    answer.refused(422, "idempotency_key_reused");
                    assert!(!same);
                }
            }
        }
        done.dedup();
        assert_eq!(done.len(), 1, "{key}: {done:?}");
        let again = reply(key);
        let authorization = bearer(&shop);
        let headers = [("authorization", authorization.as_str()), ("idempotency-key", key)];
        let after = rig.call(Method::POST, "/v1/messages", &headers, Some(&again)).await;
        assert_eq!(after.status.as_u16(), if same { 202 } else { 422 }, "and nothing of it stays behind");
    }
}

/// Operations: no key, no personal data.
#[tokio::test]
async fn health_needs_no_key() {
    let rig = Rig::new();
    assert_eq!(rig.call(Method::GET, "/healthz", &[], None).await.expect(200), json!({"status": "ok"}));
    let ready = rig.call(Method::GET, "/readyz", &[], None).await.expect(200);
    assert_eq!((&ready["status"], &ready["store"], &ready["class"]), (&json!("ok"), &json!("ok"), &json!("single")));
    let metrics = rig.call(Method::GET, "/metrics", &[], None).await;
    assert_eq!(metrics.text, "backstop_up 1\n");
    rig.engine.drain(1_000).await;
}

/// W3, S8: an answer that holds a customer's data is repeated as long as they are known, and goes with them.
#[tokio::test]
async fn a_kept_answer_is_erased_with_its_customer() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let authorization = bearer(&shop);
    let headers = [("authorization", authorization.as_str()), ("idempotency-key", "k1")];
    let lucas = json!({"name": "Lucas", "email": "lucas@example.com"});
    let put = || rig.call(Method::PUT, "/v1/customers/lucas", &headers, Some(&lucas));
    let first = put().await.expect(200);
    let again = put().await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(200), first);
    rig.delete(&shop, "/v1/customers/lucas").await.expect(204);
    put().await.refused(404, "not_found");
    rig.put(&shop, "/v1/customers/lucas", json!({})).await.expect(200);
    put().await.refused(404, "not_found");
}
