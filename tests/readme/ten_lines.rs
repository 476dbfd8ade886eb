//! The promise in ten lines, as a Rust test: the README shows this file.

use backstop_server::testing::{Behaviour, Sandbox};
use serde_json::json;

/// P3
#[tokio::test]
async fn a_silent_phone_is_followed_by_a_text_at_30_s() {
    let sandbox = Sandbox::start().await;
    let shop = sandbox.workspace().await;
    shop.advance(0).await; // from here on, only we turn the clock
    shop.put_customer("ann", json!({"name": "Ann", "phone": "+14155550123", "email": "ann@example.com"})).await;
    shop.phone("ann", Behaviour::Silent).await;
    let followup = shop.reply("ann", "It arrives today.").await;
    shop.advance(29_999).await;
    assert!(shop.outbox("sms").await.is_empty());
    shop.advance(1).await;
    assert_eq!(shop.outbox("sms").await.len(), 1);
    assert_eq!(shop.followup(&followup).await["reason"], "no_ack");
}
