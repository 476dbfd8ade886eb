//! What the engine makes of the store's answers.

use crate::http_support::Rig;
use serde_json::json;
use std::time::Duration;

/// W4: a workspace that goes while a request for it is on its way ends that request; nothing spins.
#[tokio::test]
async fn a_request_for_a_dropped_workspace_ends() {
    let rig = Rig::new();
    let shop = rig.shop("gone").await;
    let post = async |message_id: &str| {
        let body = json!({"message_id": message_id, "conversation_id": "chat", "customer_id": message_id,
            "author": {"name": "Mina"}, "text": "hello", "kind": "reply", "customer": {"name": "Lucas"}});
        let request = axum::http::Request::post("/v1/messages")
            .header("authorization", format!("Bearer {}", shop.api_key))
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body.to_string()))
            .unwrap();
        tokio::time::timeout(Duration::from_secs(20), rig.send(request)).await.expect("it ends")
    };
    post("known").await.expect(202);
    rig.store.drop_workspace(shop.id).await.unwrap();
    let answer = post("late").await;
    assert!(matches!(answer.status.as_u16(), 401 | 503), "{}", answer.text);
}
