//! Firebase Cloud Messaging, HTTP v1.

use super::{PushSend, fit};
use backstop_wire::{PUSH_KEY, Push};
use fcm::{AndroidConfig, AndroidMessagePriority, FirebaseMap, IntoFirebaseMap, MessageBody, Receiver};
use serde_json::{Value, json};

/// The longest life Google allows a message.
const MAX_TTL_S: i64 = 28 * 24 * 3600;

/// The request body for `send`, at most 4,096 bytes; `None` when not even its ids fit.
///
/// A data message: Android hands it to the app whatever state that is in, and the app shows it.
pub fn body(send: &PushSend) -> Option<Value> {
    let left_s = (send.expires_at_ms - send.envelope.at_ms) / 1000;
    let ttl_s = left_s.clamp(1, MAX_TTL_S) as usize;
    fit::fit(&send.push, |push| message(push, &send.token, ttl_s))
}

fn message(push: &Push, token: &str, ttl_s: usize) -> Value {
    let mut android = AndroidConfig::new().priority(AndroidMessagePriority::High).ttl(ttl_s);
    if !push.collapse_key.is_empty() {
        android = android.collapse_key(&push.collapse_key);
    }
    let message = MessageBody::new(Receiver::token(token))
        .data(Data(serde_json::to_string(push).expect("a push has string keys only")))
        .expect("the key is not one of Google's reserved ones")
        .android(android);
    json!({ "message": message })
}

/// The data map of our message: one key with a JSON string, since FCM carries strings only.
struct Data(String);

impl IntoFirebaseMap for Data {
    fn as_map(&self) -> FirebaseMap {
        let mut map = FirebaseMap::new();
        map.insert(PUSH_KEY, &self.0);
        map
    }
}
