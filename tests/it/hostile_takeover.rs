//! What a customer can do who learned the `install_id` of another one's phone, and what not: as SECURITY.md says.

use crate::hostile_support::{Company, World};
use axum::http::Method;
use backstop_server::identity::customer_hash;
use serde_json::{Value, json};

fn registration(mine: &Company, customer_id: &str, token: &str) -> Value {
    let secret = hex::decode(&mine.secret).unwrap();
    json!({
        "install_id": mine.id("install_id").unwrap(), "platform": "android", "provider": "fcm", "token": token,
        "alerts": "allowed", "wire": [1], "customer_id": customer_id,
        "customer_hash": customer_hash(&secret, customer_id),
    })
}

async fn register(world: &World, mine: &Company, body: &Value) -> Value {
    let app = [("backstop-app", mine.app_key.clone())];
    world.ask(Method::POST, "/v1/devices", &app, Some(body)).await.ok()
}

/// A reply to the customer; answers its follow-up as it stands when all is done.
async fn told(world: &World, mine: &Company, customer_id: &str, message_id: &str) -> Value {
    let message = json!({
        "message_id": message_id, "conversation_id": message_id, "customer_id": customer_id, "kind": "reply",
        "author": {"name": "Mia"}, "text": "Your parcel leaves today.",
    });
    let posted = world.ask(Method::POST, "/v1/messages", &mine.bearer(), Some(&message)).await.ok();
    shown(world, mine, posted["followup_id"].as_str().unwrap()).await
}

async fn shown(world: &World, mine: &Company, followup_id: &str) -> Value {
    world.ask(Method::GET, &format!("/v1/followups/{followup_id}"), &mine.bearer(), None).await.ok()
}

/// The tokens that pushes went to, in order.
async fn pushed_to(world: &World, mine: &Company) -> Vec<String> {
    let sent = world.ask(Method::GET, "/sandbox/outbox?channel=push", &mine.bearer(), None).await.ok();
    sent["data"].as_array().unwrap().iter().map(|push| push["to"].as_str().unwrap().to_owned()).collect()
}

/// C1, C2, P11: the installation changes hands; what was meant for the one never goes to the other, nobody is kept
/// silent, and the true phone takes it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_taken_over_installation_gives_away_no_text_and_silences_nobody() {
    let world = World::start(&[]);
    let mine = world.company("mine").await;
    let victim = mine.id("customer_id").unwrap();
    world.ask(Method::PUT, "/v1/customers/mallory", &mine.bearer(), Some(&json!({"email": "m@x.example"}))).await.ok();
    assert_eq!(shown(&world, &mine, &mine.followup_id).await["state"], "awaiting_ack");
    let taken = register(&world, &mine, &registration(&mine, "mallory", "token-of-mallory")).await;
    assert_eq!((&taken["device_id"], &taken["device_key"]), (&json!(mine.device_id), &json!(mine.device_key)));
    // What waited for the victim's ack waits no longer: text and email leave.
    assert_eq!(shown(&world, &mine, &mine.followup_id).await["state"], "fell_back");
    let forged = json!({"acks": [{"receipt": "x".repeat(56), "grade": "opened", "at": "2026-11-22T18:00:00.000Z"}]});
    let results = world.ask(Method::POST, "/v1/acks", &mine.device(), Some(&forged)).await.ok();
    assert_eq!(results["results"][0], json!({"result": "refused", "counted": false}));
    let of_victim = told(&world, &mine, &victim, "to-the-victim").await;
    assert_eq!((&of_victim["state"], &of_victim["reason"]), (&json!("fell_back"), &json!("no_device")));
    assert_eq!(told(&world, &mine, "mallory", "to-mallory").await["state"], "awaiting_ack");
    assert_eq!(pushed_to(&world, &mine).await, ["token-mine", "token-of-mallory"]);
    register(&world, &mine, &registration(&mine, &victim, "token-mine-2")).await;
    assert_eq!(told(&world, &mine, &victim, "again").await["state"], "awaiting_ack");
    assert_eq!(pushed_to(&world, &mine).await, ["token-mine", "token-of-mallory", "token-mine-2"]);
}
