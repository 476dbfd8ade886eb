//! Calls of a gateway: proven by their signature, then read as a report or as a text from a customer.

use super::reply::{failure, id};
use super::wire::{GatewayCall, GatewayKeyword, GatewayReference, GatewayReportStatus};
use crate::providers::{Call, Extent, InboundText, Refused, Report, ReportWord, Word};
use crate::signing::Secret;
use backstop_domain::ids::FollowupId;
use backstop_domain::text::Way;

/// Reads a call whose signature is right. What cannot be read is told to whoever wrote the gateway.
pub(super) fn read(secret: &Secret, now_ms: i64, call: &Call<'_>) -> Result<Vec<Word>, Refused> {
    let refused = |_| Refused { url: call.path_and_query.split('?').next().unwrap_or_default().to_owned() };
    let signed = secret.verify(call.headers, now_ms, call.body).map_err(refused)?;
    let word = match serde_json::from_slice(call.body) {
        Ok(said) => word(said, signed.id),
        // What serde says of it may quote a number.
        Err(_) => Err(("type", "give report or text, and its fields as GatewayCall of the OpenAPI document has them")),
    };
    Ok(vec![word.unwrap_or_else(|(field, mend)| Word::Unreadable { field, mend })])
}

/// The field that is wrong, and what to do about it.
type Wrong = (&'static str, &'static str);

fn word(said: GatewayCall, call_id: &str) -> Result<Word, Wrong> {
    match said {
        GatewayCall::Report { reference, status, code, provider_id, to } => {
            let GatewayReference { workspace, followup_id, attempt } = reference;
            let no_followup = ("reference.followup_id", "give the reference back as it came with the text");
            Ok(Word::Report(Report {
                workspace,
                followup: FollowupId::parse(&followup_id).ok_or(no_followup)?,
                attempt,
                to: to.map(|to| e164("to", to)).transpose()?,
                provider_id: provider_id.and_then(id),
                word: match status {
                    GatewayReportStatus::Accepted => ReportWord::Taken,
                    GatewayReportStatus::Delivered => ReportWord::Delivered,
                    GatewayReportStatus::Failed => ReportWord::Failed(failure(code.as_deref())),
                },
            }))
        }
        GatewayCall::Text { from, to, text, keyword } => Ok(Word::Text(InboundText {
            way: Way::Xms,
            id: Some(call_id.to_owned()),
            from: e164("from", from)?,
            to: e164("to", to)?,
            text,
            keyword: keyword.map(|keyword| match keyword {
                GatewayKeyword::Stop => "STOP".into(),
                GatewayKeyword::Start => "START".into(),
            }),
            extent: Extent::Whole,
        })),
    }
}

fn e164(field: &'static str, number: String) -> Result<String, Wrong> {
    let digits = number.strip_prefix('+').unwrap_or("");
    let is_one = (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_one { Ok(number) } else { Err((field, "give the number in E.164, such as +818012345678")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderMap;
    use serde_json::{Value, json};

    const NOW: i64 = 1_795_370_400_000;

    fn secret() -> Secret {
        Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()
    }

    fn heard(body: &[u8], signed_at: i64, now: i64) -> Result<Vec<Word>, Refused> {
        let headers: HeaderMap =
            secret().headers("evt-1", signed_at, body).into_iter().map(|(n, v)| (n, v.parse().unwrap())).collect();
        read(&secret(), now, &Call { path_and_query: "/in/gateway/default?x", headers: &headers, body })
    }

    fn says(body: &Value) -> Word {
        heard(body.to_string().as_bytes(), NOW, NOW).unwrap().pop().unwrap()
    }

    fn unreadable(body: &Value) -> &'static str {
        match says(body) {
            Word::Unreadable { field, .. } => field,
            _ => panic!("{body} was read"),
        }
    }

    /// W2: only who knows the secret is heard, and only for five minutes.
    #[test]
    fn w2_a_call_is_the_gateways_by_its_signature() {
        let refused = Err(Refused { url: "/in/gateway/default".into() });
        assert!(heard(b"{}", NOW, NOW).is_ok());
        assert!(heard(b"{}", NOW - 300_000, NOW).is_ok());
        assert_eq!(heard(b"{}", NOW - 301_000, NOW), refused);
        let headers = HeaderMap::new();
        let bare = Call { path_and_query: "/in/gateway/default", headers: &headers, body: b"{}" };
        assert_eq!(read(&secret(), NOW, &bare), refused);
    }

    /// W2: a report names its try by the reference that was given with the text.
    #[test]
    fn w2_a_report_finds_its_try() {
        let followup = FollowupId(NOW << 20);
        let reference = json!({ "workspace": "shop", "followup_id": followup.to_string(), "attempt": 2 });
        let report = |status: &str, code: Value| {
            says(&json!({ "type": "report", "reference": reference, "status": status, "code": code,
                          "provider_id": "m-1", "to": "+818012345678", "later_field": 1 }))
        };
        let is = |word| {
            Word::Report(Report {
                workspace: "shop".into(),
                followup,
                attempt: 2,
                to: Some("+818012345678".into()),
                provider_id: Some("m-1".into()),
                word,
            })
        };
        assert!(report("accepted", Value::Null) == is(ReportWord::Taken));
        assert!(report("delivered", Value::Null) == is(ReportWord::Delivered));
        assert!(report("failed", json!("landline")) == is(ReportWord::Failed("refused landline".into())));
        assert!(report("failed", json!("opted_out")) == is(ReportWord::Failed("opted_out".into())));
        let wrong = |field: &str, value: Value| {
            let mut body = json!({ "type": "report", "reference": reference, "status": "delivered" });
            body[field] = value;
            unreadable(&body)
        };
        assert_eq!(wrong("status", json!("read")), "type");
        let strange = json!({ "workspace": "shop", "followup_id": "fu_", "attempt": 1 });
        assert_eq!(wrong("reference", strange), "reference.followup_id");
        assert_eq!(wrong("to", json!("080-1234-5678")), "to");
    }

    /// T7, T9: an answer is a text, its repeat is known by the call's id; what is wrong with it is said.
    #[test]
    fn t9_an_answer_is_read() {
        let text = json!({ "type": "text", "from": "+818012345678", "to": "+815012345678", "text": "Thanks!" });
        let said = |keyword: Option<&str>| {
            Word::Text(InboundText {
                way: Way::Xms,
                id: Some("evt-1".into()),
                from: "+818012345678".into(),
                to: "+815012345678".into(),
                text: "Thanks!".into(),
                keyword: keyword.map(str::to_owned),
                extent: Extent::Whole,
            })
        };
        assert!(says(&text) == said(None));
        let with = |field: &str, value: Value| {
            let mut body = text.clone();
            body[field] = value;
            body
        };
        assert!(says(&with("keyword", json!("STOP"))) == said(Some("STOP")));
        assert_eq!(unreadable(&with("keyword", json!("stop"))), "type");
        assert_eq!(unreadable(&with("from", json!("Acme"))), "from");
        assert_eq!(unreadable(&with("to", json!(""))), "to");
        assert_eq!(unreadable(&json!({ "type": "photo" })), "type");
        assert!(matches!(heard(b"\xff", NOW, NOW).unwrap()[0], Word::Unreadable { .. }));
    }
}
