//! What is logged while people's data goes through: at the finest level, and nothing of theirs.

use crate::http_support::{Rig, bearer, hash, registration, reply};
use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;
use std::io;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
pub struct Lines(pub Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        self.clone()
    }
}

/// Invariant 9, S8: good and bad requests alike leave nothing personal and no secret in any line.
#[tokio::test]
async fn nothing_personal_is_logged() {
    let lines = Lines::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).json().with_writer(lines.clone()).finish();
    // While there is one subscriber alone, a line that another test's thread comes by first is off for all threads.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    // This runtime has one thread: its tasks log here too.
    let _here = tracing::subscriber::set_default(subscriber);
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let customer = json!({"name": "Wilhelmina Ochs", "phone": "+821099887766", "email": "wilhelmina@ochs.example",
        "locale": "ko", "time_zone": "Asia/Seoul"});
    rig.put(&shop, "/v1/customers/wilhelmina-1", customer).await.expect(200);
    let phone = rig.phone(&shop, "wilhelmina-1", "install-77").await;
    let mut message = reply("m-77");
    message["customer_id"] = "wilhelmina-1".into();
    message["text"] = "Your wombat is at the gate.".into();
    let posted = rig.post(&shop, "/v1/messages", message.clone()).await.expect(202);
    let followup = posted["followup_id"].as_str().unwrap();
    let receipt = rig.receipt(&shop, followup, &phone).await;
    rig.acks(&shop, &phone, &[(&receipt, "suppressed"), ("forged-receipt", "displayed")]).await.expect(200);
    let tested = format!("/v1/devices/{}/test-push", phone.id);
    for status in [202, 429] {
        rig.device(&shop, Method::POST, &tested, Some(&phone), json!({"wombat": 1})).await.expect(status);
    }
    rig.get(&shop, "/v1/customers/wilhelmina-1/export").await.expect(200);
    rig.get(&shop, "/v1/deliveries?customer_id=wilhelmina-1").await.expect(200);
    // Bad ones: another text, a wrong field, no JSON, a wrong proof, a wrong key, a path that is not there.
    message["text"] = "Your wombat has left.".into();
    rig.post(&shop, "/v1/messages", message.clone()).await.refused(409, "message_conflict");
    message["customer"] = json!({"phone": "wombat-number", "email": ["wilhelmina@ochs.example"]});
    rig.post(&shop, "/v1/messages", message).await.refused(400, "invalid_request");
    let raw = Request::post("/v1/messages").header("authorization", bearer(&shop));
    let raw = raw.header("content-type", "application/json").body(Body::from("{\"wombat")).unwrap();
    rig.send(raw).await.refused(400, "invalid_request");
    let mut another = registration("install-78", Some("wilhelmina-1"));
    another["customer_hash"] = hash("mia").into();
    rig.device(&shop, Method::POST, "/v1/devices", None, another).await.refused(401, "identity_required");
    rig.call(Method::GET, "/v1/settings", &[("authorization", "Bearer sk_wombat")], None)
        .await
        .refused(401, "unauthorized");
    rig.get(&shop, "/v1/wilhelmina-1?phone=+821099887766").await.refused(404, "not_found");
    rig.delete(&shop, "/v1/customers/wilhelmina-1").await.expect(204);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(text.lines().count() > 10 && text.contains("/v1/messages"), "requests are logged: {text}");
    let tokens = ["token-install-77", &phone.key, &receipt, "forged-receipt", &hash("mia"), &hash("wilhelmina-1")];
    let keys = [shop.api_key.as_str(), &shop.app_key, "sk_wombat"];
    for word in ["ilhelmina", "Ochs", "99887766", "wombat", "install-77", "m-77"].iter().chain(&tokens).chain(&keys) {
        let line = text.lines().find(|line| line.contains(word));
        assert_eq!(line, None, "{word} is in a log line");
    }
}
