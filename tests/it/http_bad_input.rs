//! Bad input at the edge: each is met with a problem document, and nothing is half-done.

use crate::http_support::{Rig, bearer, registration, reply};
use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

async fn raw(rig: &Rig, key: &str, content_type: &str, body: impl Into<Body>) -> crate::http_support::Answer {
    let request = Request::post("/v1/messages").header("authorization", key).header("content-type", content_type);
    rig.send(request.body(body.into()).unwrap()).await
}

/// Bad input: another content type, 1 MB, invalid UTF-8, NUL, deep JSON, cut JSON.
#[tokio::test]
async fn bodies_that_are_not_what_they_should_be() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.lucas(&shop).await;
    let key = bearer(&shop);
    let json = "application/json";
    raw(&rig, &key, "text/plain", reply("m").to_string()).await.refused(415, "unsupported_media_type");
    raw(&rig, &key, json, vec![b' '; 1_000_000]).await.refused(413, "payload_too_large");
    let mut large = reply("m");
    large["text"] = "x".repeat(300_000).into();
    raw(&rig, &key, json, large.to_string()).await.refused(413, "payload_too_large");
    let text = reply("m").to_string();
    let mut invalid = text.clone().into_bytes();
    let at = text.find("parcel").unwrap();
    invalid[at] = 0xff;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [invalid, deep.into_bytes(), text.as_bytes()[..40].to_vec(), Vec::new(), b"null".to_vec()] {
        raw(&rig, &key, json, body).await.refused(400, "invalid_request");
    }
    let nul = text.replace("parcel", "par\\u0000cel");
    let refused = raw(&rig, &key, json, nul).await;
    assert_eq!(refused.fields(), ["text"]);
    rig.get(&shop, "/v1/messages/m").await.refused(404, "not_found");
}

/// Bad input: unknown fields are refused for backends with the ones there are.
#[tokio::test]
async fn unknown_fields_are_refused_with_the_known_ones() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let cases = [
        (
            "/v1/messages",
            {
                let mut m = reply("m");
                m["urgent"] = json!(true);
                m
            },
            "urgent",
            "`message_id`",
        ),
        (
            "/v1/reads",
            json!({"conversation_id": "c", "customer_id": "l", "message_id": "m", "x": 1}),
            "x",
            "`customer_id`",
        ),
        ("/v1/customer-messages", json!({"txt": "hi"}), "txt", "`text`"),
        ("/v1/presence", json!({"customer": "x"}), "customer", "`customer_id`"),
    ];
    for (path, body, field, known) in cases {
        let answer = rig.post(&shop, path, body).await;
        answer.refused(400, "invalid_request");
        assert_eq!(answer.fields(), [field], "{path}");
        assert!(answer.json["errors"][0]["message"].as_str().unwrap().contains(known), "{}", answer.text);
        assert_eq!(answer.json["errors"][0]["code"], "unknown_field");
    }
    let answer = rig.put(&shop, "/v1/customers/lucas", json!({"phone_number": "+821012345678"})).await;
    assert_eq!(answer.fields(), ["phone_number"]);
}

/// Bad input: unknown ids, and what to do about them.
#[tokio::test]
async fn unknown_ids_say_what_to_do() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let unknown = rig.post(&shop, "/v1/messages", reply("m")).await;
    unknown.refused(404, "not_found");
    assert!(unknown.json["detail"].as_str().unwrap().contains("PUT /v1/customers"), "{}", unknown.text);
    let read = json!({"conversation_id": "c", "customer_id": "lucas", "message_id": "m"});
    rig.post(&shop, "/v1/reads", read.clone()).await.refused(404, "not_found");
    rig.lucas(&shop).await;
    rig.post(&shop, "/v1/reads", read).await.refused(404, "not_found");
    let mut with_customer = reply("m");
    with_customer["customer_id"] = "new".into();
    with_customer["customer"] = json!({"email": "new@example.com"});
    rig.post(&shop, "/v1/messages", with_customer).await.expect(202);
}

/// W4: no path and no method answers in another form than a problem.
#[tokio::test]
async fn paths_and_methods_that_are_not_there() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    for path in ["/", "/v1", "/v1/nothing", "/v2/messages", "/v1/messages/", "/v1/customers//export"] {
        rig.get(&shop, path).await.refused(404, "not_found");
    }
    rig.call(Method::PATCH, "/v1/messages", &[], None).await.refused(405, "method_not_allowed");
    rig.get(&shop, "/v1/messages").await.refused(405, "method_not_allowed");
    rig.get(&shop, "/v1/customers/%FF").await.refused(400, "invalid_request");
    rig.get(&shop, "/v1/customers/%00").await.refused(400, "invalid_request");
    rig.get(&shop, &format!("/v1/customers/{}", "x".repeat(129))).await.refused(400, "invalid_request");
    rig.get(&shop, "/v1/customers/%ED%95%9C").await.refused(404, "not_found");
}

/// Bad input on the device surface.
#[tokio::test]
async fn registrations_are_checked() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let cases = [
        (json!({"install_id": ""}), "install_id"),
        (json!({"install_id": "x".repeat(129)}), "install_id"),
        (json!({"token": ""}), "token"),
        (json!({"token": "a b"}), "token"),
        (json!({"token": "x".repeat(4_097)}), "token"),
        (json!({"platform": "symbian"}), "platform"),
        (json!({"wire": []}), "wire"),
        (json!({"wire": "1"}), "wire"),
        (json!({"topic": "a\nb"}), "topic"),
        (json!({"customer_id": ""}), "customer_id"),
    ];
    for (change, field) in cases {
        let mut body = registration("install-1", None);
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = rig.device(&shop, Method::POST, "/v1/devices", None, body).await;
        answer.refused(400, "invalid_request");
        assert_eq!(answer.fields(), [field], "{change}");
        assert!(!answer.text.contains("token-install-1"), "no value is repeated");
    }
    let mut large = registration("install-1", None);
    large["x"] = "y".repeat(70_000).into();
    rig.device(&shop, Method::POST, "/v1/devices", None, large).await.refused(413, "payload_too_large");
    let other = [("backstop-app", "app_other")];
    let body: Value = registration("install-1", None);
    rig.call(Method::POST, "/v1/devices", &other, Some(&body)).await.refused(401, "unauthorized");
    rig.call(Method::POST, "/v1/devices", &[], Some(&body)).await.refused(401, "unauthorized");
    rig.call(Method::POST, "/v1/devices", &[("backstop-app", "sk_shop")], Some(&body))
        .await
        .refused(401, "unauthorized");
}
