//! Holds every answer of every HTTP test to the OpenAPI document: status, fields, kinds, nothing undocumented.

use axum::http::Method;
use backstop_server::http::document_json;
use serde_json::Value;
use std::sync::LazyLock;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&document_json()).unwrap());

/// Panics unless the document says that this may be answered.
pub fn hold(method: &Method, path: &str, status: u16, content_type: &str, body: &Value) {
    let Some(operation) = operation(method, path) else {
        // What vendors and mail servers call is theirs alone, and in no document for the company.
        let is_theirs = path == "/openapi.json" || path.starts_with("/in/");
        assert!(status >= 400 || is_theirs || *method == Method::OPTIONS, "{method} {path} is undocumented");
        return;
    };
    let responses = &operation["responses"];
    let response = match &responses[status.to_string()] {
        Value::Null => &responses["default"],
        response => response,
    };
    assert!(!response.is_null(), "{method} {path}: {status} is undocumented");
    let media_type = content_type.split(';').next().unwrap_or("");
    match response["content"].as_object() {
        None => assert!(media_type.is_empty(), "{method} {path}: {status} has a body"),
        Some(content) => {
            let schema =
                content.get(media_type).unwrap_or_else(|| panic!("{method} {path}: {media_type} undocumented"));
            if media_type.ends_with("json") {
                let errors = differences(&schema["schema"], body, "");
                assert!(errors.is_empty(), "{method} {path} {status}: {errors:?} in {body}");
            }
        }
    }
}

fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let path = path.split('?').next().unwrap_or(path);
    let fits = |template: &str| {
        let (mut a, mut b) = (template.split('/'), path.split('/'));
        loop {
            match (a.next(), b.next()) {
                (None, None) => return true,
                (Some(t), Some(p)) if t == p || (t.starts_with('{') && !p.is_empty()) => {}
                _ => return false,
            }
        }
    };
    let item = DOCUMENT["paths"].as_object()?.iter().find(|(template, _)| fits(template))?.1;
    item.get(method.as_str().to_lowercase())
}

/// What of a value its schema does not say.
fn differences(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').unwrap();
        return differences(DOCUMENT.pointer(pointer).unwrap(), value, at);
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(options) = schema[choice].as_array() {
            let mut tried = options.iter().map(|option| differences(option, value, at));
            let first = tried.next().unwrap_or_default();
            return if first.is_empty() || tried.any(|errors| errors.is_empty()) { Vec::new() } else { first };
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        // Flattened parts: together they say every field.
        let known = parts.iter().flat_map(fields).collect::<Vec<_>>();
        let own: Vec<_> = parts.iter().flat_map(|part| differences(part, value, at)).collect();
        return own.into_iter().filter(|e| !known.iter().any(|k| *e == format!("{at}.{k} is undocumented"))).collect();
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return vec![format!("{at} is {value}, which is none of its words")];
    }
    if schema.as_object().is_some_and(|words| words.keys().all(|word| word == "description")) {
        // Somebody else's format, such as a captured push.
        return Vec::new();
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = match &schema["type"] {
        Value::String(one) => one == kind,
        Value::Array(several) => several.iter().any(|one| one == kind),
        _ => true,
    };
    if !fits {
        return vec![format!("{at} is {kind}, not {}", schema["type"])];
    }
    match value {
        Value::Array(items) => items.iter().flat_map(|item| differences(&schema["items"], item, at)).collect(),
        Value::Object(object) => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let missing =
                required.filter(|name| !object.contains_key(*name)).map(|name| format!("{at}.{name} is missing"));
            let inside = object.iter().flat_map(|(name, value)| match &schema["properties"][name] {
                Value::Null if schema["additionalProperties"].is_object() => {
                    differences(&schema["additionalProperties"], value, &format!("{at}.{name}"))
                }
                Value::Null => vec![format!("{at}.{name} is undocumented")],
                schema => differences(schema, value, &format!("{at}.{name}")),
            });
            missing.chain(inside).collect()
        }
        _ => Vec::new(),
    }
}

fn fields(schema: &Value) -> Vec<String> {
    match schema["$ref"].as_str() {
        Some(reference) => fields(DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).unwrap()),
        None => schema["properties"].as_object().map(|p| p.keys().cloned().collect()).unwrap_or_default(),
    }
}

/// The check itself can fail: on a field, a kind, a word, a status, a body that should not be there.
#[test]
fn an_undocumented_answer_is_caught() {
    let caught = |method: Method, path: &str, status: u16, content_type: &str, body: Value| {
        std::panic::catch_unwind(|| hold(&method, path, status, content_type, &body)).is_err()
    };
    let watching = |state: Value| serde_json::json!({"followup_id": null, "state": state, "reason": "customer_online"});
    let json = "application/json";
    assert!(!caught(Method::GET, "/v1/messages/m", 200, json, watching("watching".into())));
    assert!(!caught(Method::DELETE, "/v1/messages/m", 204, "", Value::Null));
    let mut more = watching("watching".into());
    more["secret"] = 1.into();
    assert!(caught(Method::GET, "/v1/messages/m", 200, json, more));
    assert!(caught(Method::GET, "/v1/messages/m", 200, json, watching(7.into())));
    assert!(caught(Method::GET, "/v1/messages/m", 200, json, Value::Null));
    assert!(caught(Method::GET, "/v1/messages/m", 200, "text/html", watching("watching".into())));
    assert!(caught(Method::GET, "/v1/messages/m", 404, json, watching("watching".into())));
    assert!(caught(Method::DELETE, "/v1/messages/m", 204, json, serde_json::json!({})));
    let words = serde_json::json!({"results": [{"result": "maybe", "counted": true}]});
    assert!(caught(Method::POST, "/v1/acks", 200, json, words));
}
