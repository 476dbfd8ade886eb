//! The OpenAPI document: committed as it is served, and every operation of it is there.

use crate::http_support::{Rig, bearer};
use axum::http::Method;
use backstop_server::http::document_json;
use serde_json::{Value, json};

/// The committed copy is what the handlers say: `cargo run -- openapi > server/openapi.json` writes it anew.
#[tokio::test]
async fn the_committed_document_is_the_served_one() {
    let served = Rig::new().call(Method::GET, "/openapi.json", &[], None).await;
    assert_eq!(served.text, document_json());
    let committed = include_str!("../../server/openapi.json");
    let mend = "write it anew: cargo run -- openapi > server/openapi.json";
    assert!(served.text == committed, "server/openapi.json is not what the server serves; {mend}");
}

/// W4: every operation has an id of its own, keys, and problems; no reference leads nowhere.
#[tokio::test]
async fn every_operation_is_whole_and_there() {
    let text = document_json();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let rig = Rig::new();
    let mut ids = std::collections::BTreeSet::new();
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path}");
            assert!(!operation["summary"].as_str().unwrap_or("").is_empty(), "{method} {path}");
            if operation["tags"][0] == "sandbox" {
                // They are there on a sandbox: see sandbox_basics.
                assert!(path.starts_with("/sandbox/"), "{path}");
                continue;
            }
            let for_machinery = operation["tags"][0] == "operations";
            let is_link = operation["tags"][0] == "links";
            assert_eq!(operation["security"].is_null(), for_machinery || is_link, "{method} {path}");
            assert_eq!(operation["responses"]["default"].is_null(), for_machinery, "{method} {path}");
            let concrete = path.replace(['{', '}'], "");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let answer = rig.call(method.clone(), &concrete, &[], None).await;
            let expected = if for_machinery {
                200
            } else if is_link {
                404
            } else if path == "/v1/presence" {
                415
            } else {
                401
            };
            assert_eq!(answer.status, expected, "{method} {path}: {}", answer.text);
        }
    }
    // What the server calls itself, and what is called back then, are operations of others.
    for webhook in document["webhooks"].as_object().unwrap().values() {
        let called_back = webhook["post"]["callbacks"].as_object().into_iter().flat_map(|all| all.values());
        let items = called_back.flat_map(|callback| callback.as_object().unwrap().values());
        for item in items.chain([webhook]) {
            assert!(ids.insert(item["post"]["operationId"].as_str().unwrap().to_owned()), "{item}");
        }
    }
    for link in text.split("\"operationId\": \"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(ids.contains(link), "an answer leads to {link}, which is no operation");
    }
    assert_eq!(operations, 77, "a new operation belongs into this count and into CHANGELOG");
    for reference in text.split("\"#/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document.pointer(&format!("/{reference}")).is_some(), "{reference} leads nowhere");
    }
}

/// W3: an operation that the document gives an `Idempotency-Key` looks at it, and no other does.
#[tokio::test]
async fn w3_the_key_of_a_request_is_looked_at_where_the_document_says() {
    let document: Value = serde_json::from_str(&document_json()).unwrap();
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let headers = [("authorization", bearer(&shop)), ("idempotency-key", "k".repeat(256))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (mut with, mut without) = (0, 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(operation) = item.get("post").filter(|operation| operation["tags"][0] == "backend") else { continue };
        let named = operation["parameters"].as_array().into_iter().flatten();
        let takes = named.filter(|parameter| parameter["name"] == "Idempotency-Key").count() == 1;
        let answer = rig.call(Method::POST, &path.replace(['{', '}'], ""), &headers, Some(&json!({}))).await;
        let looks = answer.text.contains("Idempotency-Key");
        assert_eq!(looks, takes, "{path}: {}", answer.text);
        if takes { with += 1 } else { without += 1 }
    }
    assert!(with >= 10 && without >= 5, "{with} {without}");
}
