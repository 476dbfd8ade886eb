//! `GET /v1/golive`: what a workspace still needs, with the mend of each, asked at most once a minute.

use crate::http_support::{Rig, Shop};
use crate::providers_fcm_double::Google;
use backstop_server::apps::accounts::Live;
use backstop_server::clock::{Clock, SystemClock};
use backstop_server::providers::apns::{ApnsConfig, ApnsNet};
use serde_json::{Value, json};
use std::sync::Arc;

async fn look(rig: &Rig, shop: &Shop) -> Value {
    rig.get(shop, "/v1/golive").await.expect(200)
}

fn found<'a>(looked: &'a Value, check: &str) -> &'a Value {
    let all = looked["data"].as_array().unwrap();
    all.iter().find(|found| found["check"] == check).unwrap_or_else(|| panic!("nothing about {check}: {looked}"))
}

async fn rig() -> (Rig, Shop, Arc<Google>) {
    let google = Google::start(SystemClock::start().now_ms() + 120_000).await;
    let apns = ApnsNet::from_config(&ApnsConfig::default(), google.clock.clone()).unwrap();
    let rig = Rig::live(Arc::new(Live { apns, fcm: google.config(), clock: google.clock.clone() }));
    let shop = rig.shop("acme").await;
    (rig, shop, google)
}

/// S1: what is missing in a new workspace is said with its mend, and is gone when it is there.
#[tokio::test]
async fn what_a_workspace_needs_is_said_until_it_is_there() {
    let (rig, shop, _google) = rig().await;
    let first = look(&rig, &shop).await;
    for check in ["settings", "device", "test_push", "canary"] {
        let found = found(&first, check);
        assert_eq!(found["status"], "warning", "{found}");
        assert!(found["mend"].as_str().is_some_and(|mend| mend.len() > 10), "{found}");
    }
    let chosen = json!({ "phone_number": true, "email": true, "country": "KR", "canary": true });
    rig.put(&shop, "/v1/settings", chosen).await.expect(200);
    rig.phone(&shop, "lucas", "install-1").await;
    assert_eq!(look(&rig, &shop).await, first, "asked a moment ago");
    rig.advance(60_000);
    let second = look(&rig, &shop).await;
    assert_eq!(
        (&found(&second, "country")["status"], &found(&second, "device")["status"]),
        (&json!("ok"), &json!("ok"))
    );
    assert_eq!(found(&second, "canary")["status"], "unknown", "the first one is under way");
    rig.put(&shop, "/v1/settings", json!({ "phone_number": true, "email": true })).await.expect(200);
    rig.advance(60_000);
    assert_eq!(found(&look(&rig, &shop).await, "country")["status"], "warning");
}

/// Each app's own credentials are asked of their vendor: taken, or refused in words, and no secret comes back.
#[tokio::test]
async fn an_apps_credentials_are_asked_of_their_vendor() {
    let (rig, shop, google) = rig().await;
    let put = async |file: &Value| {
        let app = json!({ "packages": ["com.acme.shop"], "fcm": { "service_account": file } });
        rig.put(&shop, "/v1/apps/shop", app).await.expect(200);
    };
    put(&google.key_file()).await;
    let looked = look(&rig, &shop).await;
    assert_eq!(found(&looked, "apps.shop")["status"], "ok", "{looked}");
    assert_eq!(google.seen.lock().unwrap().messages.len(), 0, "nothing was sent");
    rig.delete(&shop, "/v1/apps/shop").await;
    let mut unknown = google.key_file();
    unknown["private_key_id"] = "key-unknown-to-google".into();
    put(&unknown).await;
    rig.advance(60_000);
    let looked = look(&rig, &shop).await;
    let found = found(&looked, "apps.shop");
    assert_eq!(found["status"], "failed", "{found}");
    assert!(found["mend"].as_str().unwrap().contains("make a new key"), "{found}");
    let secret = unknown["private_key"].as_str().unwrap().lines().nth(1).unwrap();
    assert!(!looked.to_string().contains(secret));
}

/// Another workspace's findings are its own.
#[tokio::test]
async fn a_workspace_hears_of_itself_only() {
    let (rig, shop, google) = rig().await;
    let other = rig.shop("other").await;
    let app = json!({ "packages": ["com.acme.shop"], "fcm": { "service_account": google.key_file() } });
    rig.put(&shop, "/v1/apps/shop", app).await.expect(200);
    rig.phone(&shop, "lucas", "install-1").await;
    let looked = look(&rig, &other).await;
    assert!(!looked.to_string().contains("apps.shop"), "{looked}");
    assert_eq!(found(&looked, "device")["status"], "warning");
}
