//! What POST /v1/messages takes, and when two requests are the same.

use super::*;
use crate::settings::SettingsInput;
use crate::store::WorkspaceId;
use backstop_domain::followup::Policy;
use serde_json::{Value, json};

fn workspace() -> Workspace {
    let policy = Policy::sandbox();
    Workspace {
        id: WorkspaceId(1),
        name: "shop".into(),
        settings_set: None,
        created_at: 0,
        settings: SettingsInput::default().in_force(&policy, true),
        policy,
        mail: Default::default(),
        canary: false,
        identity_secrets: Vec::new(),
        trusted_keys: Vec::new(),
        apps: Arc::default(),
        alimtalk: Arc::default(),
        activity: Arc::default(),
    }
}

fn body() -> Value {
    json!({
        "message_id": "m1", "conversation_id": "c1", "customer_id": "lucas", "author": {"name": "Mia"}, "text": "Hello",
    })
}

fn with(changes: Value) -> Result<PostMessage, backstop_wire::Problem> {
    let mut body = body();
    for (field, value) in changes.as_object().unwrap() {
        body[field] = value.clone();
    }
    let input = parse(body.to_string().as_bytes()).map_err(Problem::document)?;
    checked(&workspace(), &Vault::new(&[7; 32]), input).map_err(Problem::document)
}

fn refused(changes: Value) -> (String, Vec<String>) {
    let problem = with(changes).map(|_| ()).unwrap_err();
    (problem.code().to_owned(), problem.errors.into_iter().map(|e| e.field).collect())
}

/// D9: the same request in another spelling is the same; any other field makes it another.
#[test]
fn a_repeat_is_told_from_another_message() {
    let first = with(json!({})).unwrap().body_hash;
    let same = [
        json!({"author": {"name": "Mia", "kind": "agent"}}),
        json!({"kind": null, "link": null, "channels": null, "customer": null}),
        json!({"message_id": "another id is another message anyway"}),
    ];
    for same in same {
        assert_eq!(with(same.clone()).unwrap().body_hash, first, "{same}");
    }
    let others = [
        json!({"text": "Hello!"}),
        json!({"conversation_id": "c2"}),
        json!({"customer_id": "mia"}),
        json!({"kind": "reply"}),
        json!({"kind": "outreach"}),
        json!({"author": {"name": "Max"}}),
        json!({"author": {"name": "Mia", "kind": "bot"}}),
        json!({"link": "https://shop.example/"}),
        json!({"channels": ["email"]}),
        json!({"channels": ["text"]}),
        json!({"customer": {}}),
        json!({"customer": {"name": "Lucas"}}),
        json!({"customer": {"email": "lucas@example.com"}}),
        json!({"conversation_id": "c1lucas", "customer_id": "x"}),
    ];
    let mut hashes: Vec<_> = others.iter().map(|o| with(o.clone()).unwrap().body_hash).collect();
    hashes.push(first);
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), others.len() + 1, "each is another message");
    assert_eq!(
        with(json!({"channels": ["sms", "push", "email", "text"]})).unwrap().body_hash,
        with(json!({"channels": ["push", "text", "email"]})).unwrap().body_hash,
    );
}

/// D7: marketing is refused on this path, and so is a reply that begins like one.
#[test]
fn marketing_is_refused() {
    for changes in [json!({"kind": "marketing"}), json!({"text": "(광고) Sale"}), json!({"text": " \n(광고)Sale"})]
    {
        assert_eq!(refused(changes.clone()), ("marketing_refused".into(), vec![]), "{changes}");
    }
    assert!(with(json!({"text": "Is this an (광고)?"})).is_ok());
}

/// D6: outreach goes by text and email only.
#[test]
fn outreach_takes_no_push() {
    let invalid = |field: &str| ("invalid_request".to_owned(), vec![field.to_owned()]);
    assert_eq!(refused(json!({"kind": "outreach", "channels": ["push", "email"]})), invalid("channels"));
    assert!(with(json!({"kind": "outreach", "channels": ["sms", "email"]})).is_ok());
    assert!(with(json!({"kind": "outreach"})).is_ok());
}

/// Bad input: each field is named.
#[test]
fn bad_fields_are_named() {
    let cases = [
        (json!({"message_id": ""}), "message_id"),
        (json!({"customer_id": "a\u{0}b"}), "customer_id"),
        (json!({"conversation_id": "x".repeat(129)}), "conversation_id"),
        (json!({"text": ""}), "text"),
        (json!({"text": "x".repeat(10_001)}), "text"),
        (json!({"text": "a\u{0}b"}), "text"),
        (json!({"text": 7}), "text"),
        (json!({"link": "javascript:alert(1)"}), "link"),
        (json!({"channels": ["fax"]}), "channels[0]"),
        (json!({"channels": []}), "channels"),
        (json!({"kind": "spam"}), "kind"),
        (json!({"author": {}}), "author.name"),
        (json!({"author": {"name": ""}}), "author.name"),
        (json!({"author": {"name": "Mia", "avatar": "x"}}), "author.avatar"),
        (json!({"customer": {"phone": "abc"}}), "customer.phone"),
        (json!({"customer": {"mail": "x"}}), "customer.mail"),
        (json!({"txt": "Hello"}), "txt"),
    ];
    for (changes, field) in cases {
        assert_eq!(refused(changes.clone()), ("invalid_request".into(), vec![field.to_owned()]), "{changes}");
    }
    let many = refused(json!({"message_id": "", "text": "", "customer": {"email": "x", "phone": "y"}}));
    assert_eq!(many.1, ["message_id", "text", "customer.email", "customer.phone"], "all at once");
}
