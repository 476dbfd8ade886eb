//! Apple Push Notification service: the request body.

use super::{PushSend, fit};
use a2::{DefaultNotificationBuilder, NotificationBuilder, NotificationOptions};
use backstop_wire::{PUSH_KEY, Push};
use serde_json::Value;

/// The request body for `send`, at most 4,096 bytes; `None` when not even its ids fit.
///
/// `mutable-content` makes iOS run the app's notification service extension, which acknowledges before it shows.
pub fn body(send: &PushSend) -> Option<Value> {
    fit::fit(&send.push, |push| notification(push, &send.token))
}

fn notification(push: &Push, token: &str) -> Value {
    let mut notification = DefaultNotificationBuilder::new()
        .title(&push.title)
        .body(&push.body)
        .sound("default")
        .mutable_content()
        .active_interruption_level();
    if !push.conversation_id.is_empty() {
        notification = notification.thread_id(&push.conversation_id);
    }
    let mut payload = notification.build(token, NotificationOptions::default());
    payload.add_custom_data(PUSH_KEY, push).expect("a push has string keys only");
    serde_json::to_value(&payload).expect("a payload has string keys only")
}
