//! Workspaces and their keys: made once, changed under way, never stored in the clear.

use crate::http_support::{Rig, SECRET, START_MS, hash, registration};
use axum::http::Method;
use backstop_server::audit::{Entry, Kind, Who};
use backstop_server::identity::customer_hash;
use backstop_server::registry::CreateError;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

const EC_PRIVATE: &str = include_str!("../fixtures/jwt/ec-private.pem");
const EC_PUBLIC: &str = include_str!("../fixtures/jwt/ec-public.pem");

/// A new workspace's keys work at once; they are nowhere in the database.
#[tokio::test]
async fn a_workspace_is_made_once() {
    let rig = Rig::new();
    let created = rig.registry.create("shop").await.unwrap();
    assert!(created.api_key.starts_with("sk_") && created.app_key.starts_with("app_"));
    assert_eq!(created.identity_secret.len(), 64);
    let authorization = format!("Bearer {}", created.api_key);
    rig.call(Method::GET, "/v1/settings", &[("authorization", &authorization)], None).await.expect(200);
    assert!(matches!(rig.registry.create("shop").await, Err(CreateError::Taken)));
    for name in ["", "Shop", "a b", "a/b", &"x".repeat(65)] {
        assert!(matches!(rig.registry.create(name).await, Err(CreateError::Name)), "{name}");
    }
    let secret = hex::decode(&created.identity_secret).unwrap();
    for entry in std::fs::read_dir(rig.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for needle in
            [created.api_key.as_bytes(), created.app_key.as_bytes(), &secret, created.identity_secret.as_bytes()]
        {
            assert!(!bytes.windows(needle.len()).any(|w| w == needle), "a secret is stored in the clear");
        }
    }
}

/// C1: after a rotation the new secret and the one before are valid, the one before that is not.
#[tokio::test]
async fn secrets_rotate_two_at_a_time() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let register = async |hash: &str| {
        let mut body = registration("install-1", Some("lucas"));
        body["customer_hash"] = hash.into();
        rig.device(&shop, Method::POST, "/v1/devices", None, body).await
    };
    let by = |secret: &str| customer_hash(&hex::decode(secret).unwrap(), "lucas");
    let second = rig.registry.rotate_secret(shop.id, &Who::cli()).await.unwrap().unwrap();
    register(&by(SECRET)).await.expect(200);
    register(&by(&second)).await.expect(200);
    let third = rig.registry.rotate_secret(shop.id, &Who::cli()).await.unwrap().unwrap();
    register(&by(&third)).await.expect(200);
    register(&by(&second)).await.expect(200);
    register(&hash("lucas")).await.refused(401, "identity_required");
}

/// C1: a token by a trusted key proves its subject, on a device and on a page.
#[tokio::test]
async fn a_token_proves_a_customer() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let claims = json!({"sub": "lucas", "aud": "shop", "exp": START_MS / 1000 + 3_600});
    let key = EncodingKey::from_ec_pem(EC_PRIVATE.as_bytes()).unwrap();
    let token = encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap();
    let mut body = registration("install-1", None);
    body["customer_token"] = token.clone().into();
    let register = async |body: Value| rig.device(&shop, Method::POST, "/v1/devices", None, body).await;
    register(body.clone()).await.refused(401, "identity_required");
    rig.registry.trust_key(shop.id, EC_PUBLIC.into(), &Who::cli()).await.unwrap();
    register(body).await.expect(200);
    let devices = rig.get(&shop, "/v1/customers/lucas/devices").await.expect(200);
    assert_eq!(devices["data"].as_array().unwrap().len(), 1);
    let page = json!({"source_id": "tab", "state": "active", "customer_token": token});
    rig.device(&shop, Method::POST, "/v1/presence", None, page.clone()).await.expect(200);
    assert_eq!(rig.get(&shop, "/v1/customers/lucas").await.expect(200)["online"], true);
    rig.advance(3_660_000);
    rig.device(&shop, Method::POST, "/v1/presence", None, page).await.refused(401, "identity_required");
}

/// What another process changed shows within a second; a dropped workspace's keys open nothing.
#[tokio::test]
async fn changes_from_outside_show_within_a_second() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let activity = rig.registry.by_id(shop.id).await.unwrap().unwrap().activity.clone();
    let mut row = rig.store.workspace(shop.id).await.unwrap().unwrap();
    row.settings = r#"{"email": false}"#.into();
    let entry = Entry { at: 1, kind: Kind::SettingsChanged, who: Who::cli(), detail: json!({}) };
    assert!(rig.store.update_workspace(row, entry).await.unwrap());
    rig.advance(1_000);
    assert_eq!(rig.get(&shop, "/v1/settings").await.expect(200)["email"], false);
    let now = rig.registry.cached(shop.id).unwrap();
    assert!(std::sync::Arc::ptr_eq(&activity, &now.activity), "all versions share what is under way");
    rig.registry.drop_workspace(shop.id).await.unwrap();
    rig.get(&shop, "/v1/settings").await.refused(401, "unauthorized");
    assert!(rig.registry.by_id(shop.id).await.unwrap().is_none() && rig.registry.cached(shop.id).is_none());
}
