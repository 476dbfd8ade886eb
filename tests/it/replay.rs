//! Decisions made again: alike by the same rules, otherwise by other settings, not at all once erased (S7).

use crate::flow::{Device, post, presence, shop};
use crate::program::{Server, run, said};
use backstop_server::testing::{Behaviour, Workspace};
use serde_json::{Value, json};
use tempfile::tempdir;

async fn explained(shop: &Workspace, id: &str) -> Value {
    shop.get(&format!("/v1/followups/{id}/explain?replay=true")).await.ok()
}

fn id_of(posted: &Value) -> String {
    posted["followup_id"].as_str().unwrap().to_owned()
}

/// A silent phone; the follow-up falls back.
async fn fell_back(shop: &Workspace) -> String {
    shop.phone("ann", Behaviour::Silent).await;
    let id = id_of(&post(shop, "r1", json!({"kind": "reply"})).await.ok());
    shop.advance(30_000).await;
    id
}

/// S7: whatever became of them, follow-ups are decided alike by the rules that decided them.
#[tokio::test]
async fn s7_the_same_rules_decide_alike() {
    let shop = shop().await;
    let mut ids = vec![fell_back(&shop).await];
    shop.advance(200_000).await;
    let device = Device::register(&shop, "ann", "token").await;
    ids.push(id_of(&post(&shop, "r2", json!({"kind": "reply"})).await.ok()));
    let first = device.receipts(&shop).await.pop().unwrap();
    // It joins, is not shown by the push that is acked, and lives on.
    post(&shop, "r3", json!({"kind": "reply"})).await.ok();
    device.ack(&shop, &first, "displayed").await;
    ids.push(id_of(&shop.get("/v1/messages/r3").await.ok()));
    shop.advance(200_000).await;
    presence(&shop, "tab", "active", None).await;
    post(&shop, "r4", json!({"kind": "reply", "conversation_id": "other"})).await.ok();
    shop.advance(1_000).await;
    presence(&shop, "tab", "left", None).await;
    ids.push(id_of(&shop.get("/v1/messages/r4").await.ok()));
    shop.advance(200_000).await;
    assert_ne!(ids[1], ids[2], "the rest is a follow-up of its own");
    for id in &ids {
        let told = explained(&shop, id).await;
        let decisions = shop.followup(id).await["history"].as_array().unwrap().len();
        assert_eq!(told["replay"]["same"], true, "{told:#}");
        assert_eq!(told["replay"]["alike"], decisions);
        assert!(told["sentences"][0].as_str().unwrap().starts_with(id.as_str()));
    }
    let plain = shop.get(&format!("/v1/followups/{}/explain", ids[0])).await.ok();
    assert_eq!(plain["replay"], Value::Null);
    assert_eq!(shop.get("/v1/followups/fu_0000000000001/explain").await.status, 404);
}

/// S7: by other settings a decision may be another one; where, and which, is said, and nothing is changed by asking.
#[tokio::test]
async fn s7_other_settings_decide_otherwise() {
    let shop = shop().await;
    let id = fell_back(&shop).await;
    let before = shop.followup(&id).await;
    let settings = json!({"phone_number": false, "email": false});
    assert_eq!(shop.request(reqwest::Method::PUT, "/v1/settings", Some(settings)).await.status, 200);
    let told = explained(&shop, &id).await;
    let replay = &told["replay"];
    assert_eq!(
        (&replay["same"], &replay["settings_then"], &replay["settings_now"]),
        (&json!(false), &json!(1), &json!(2))
    );
    let (then, now) = (&replay["differs"]["then"], &replay["differs"]["now"]);
    assert_eq!((&then["event"], &then["decision"]), (&json!("deadline"), &json!("fall_back")));
    assert_eq!((&now["decision"], &now["why"]), (&json!("failed"), &json!("no_fallback_route")));
    let words = replay["sentences"].to_string();
    assert!(words.contains("version 1 of the settings") && words.contains("Now it would be: "), "{words}");
    assert_eq!(shop.followup(&id).await, before);
}

/// S7, S8: what a decision was made on goes with the customer; what was decided is still told.
#[tokio::test]
async fn s7_what_was_erased_is_not_replayed() {
    let shop = shop().await;
    let id = fell_back(&shop).await;
    shop.delete("/v1/customers/ann").await.ok();
    let told = explained(&shop, &id).await;
    assert_eq!((&told["replay"]["incomplete"], &told["replay"]["alike"]), (&json!("not_kept"), &json!(0)), "{told:#}");
    assert!(told["sentences"].as_array().unwrap().len() > 3);
    assert!(!told.to_string().contains("ann"), "{told:#}");
}

/// S7: the same beside a running server, by its configuration.
#[tokio::test(flavor = "multi_thread")]
async fn s7_the_command_line_replays() {
    let dir = tempdir().unwrap();
    let server = Server::start(&dir, &["--sandbox"], &[]).unwrap();
    let reply = json!({
        "message_id": "m-1", "conversation_id": "c-1", "customer_id": "ada", "kind": "reply",
        "author": { "name": "Grace" }, "text": "Your parcel is there.", "customer": { "phone": "+821012345678" },
    });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("{}/v1/messages", server.url)).bearer_auth("sk_sandbox").json(&reply);
    let posted: Value = request.send().await.unwrap().json().await.unwrap();
    let id = id_of(&posted);
    let shown = client.get(format!("{}/v1/followups/{id}", server.url)).bearer_auth("sk_sandbox");
    assert_eq!(shown.send().await.unwrap().status(), 200);
    let told = said(&dir, &["explain", &id, "--replay"]);
    assert!(told.contains("decisions would all be the same."), "{told}");
    assert!(!said(&dir, &["explain", &id]).contains("Made again"));
    assert_eq!(run(&dir, &["explain", "fu_0000000000001", "--replay"]).status.code(), Some(1));
}
