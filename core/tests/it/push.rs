//! Whatever bytes a push brings: no panic, and nothing is ours without a receipt that it carried.

use backstop_core::{Push, PushClient};
use proptest::prelude::*;
use serde_json::{Value, json};

/// JSON of any shape, in which our key and its fields are not rare.
fn values() -> impl Strategy<Value = Value> {
    let texts = prop_oneof![Just("r-1".to_owned()), Just(r#"{"v":1,"receipt":"r-2"}"#.to_owned()), any::<String>()];
    let leaves = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        texts.prop_map(Value::from),
    ];
    leaves.prop_recursive(5, 60, 8, |inner| {
        let keys = prop_oneof![Just("backstop"), Just("receipt"), Just("v"), Just("title"), Just("link"), Just("aps")];
        let fields = prop::collection::vec((keys.prop_map(str::to_owned), inner.clone()), 0..8);
        prop_oneof![
            3 => fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::from),
        ]
    })
}

fn check(payload: &str, push: Option<Push>) {
    let Some(push) = push else { return };
    assert!((1..=2_048).contains(&push.receipt.len()) && push.receipt.bytes().all(|b| b.is_ascii_graphic()));
    assert!(payload.len() <= backstop_core::MAX_PAYLOAD_BYTES);
    // Acknowledging the fields that were read leads to the same receipt again.
    let again = PushClient::parse_push(&json!({"v": 1, "receipt": push.receipt}).to_string());
    assert_eq!(again.map(|p| p.receipt), Some(push.receipt));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// P11: any text at all.
    #[test]
    fn p11_any_text_is_survived(payload: String) {
        check(&payload, PushClient::parse_push(&payload));
    }

    /// P11, W5: any JSON, whole and cut anywhere.
    #[test]
    fn p11_any_json_is_survived(value in values(), cut: prop::sample::Index) {
        let payload = value.to_string();
        check(&payload, PushClient::parse_push(&payload));
        let end = (0..=cut.index(payload.len())).rev().find(|i| payload.is_char_boundary(*i)).unwrap_or(0);
        check(&payload[..end], PushClient::parse_push(&payload[..end]));
    }
}
