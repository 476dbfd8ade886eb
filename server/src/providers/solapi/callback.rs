//! Calls of Solapi: proven by the secret that its webhook was given, then read as reports of texts.
//!
//! A call is an array of events (`SINGLE-REPORT`), each a message or, in older webhooks, a message within `data`. What
//! people write back comes by none of them: Solapi's numbers receive nothing.

use super::status::{Meaning, meaning, parse};
use super::{alarm, number, reply};
use crate::providers::{Call, Refused, Report, ReportWord, Word};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use backstop_domain::ids::FollowupId;
use serde::Deserialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// Events of one call that are read.
const MAX_EVENTS: usize = 2_000;

/// What proves a call, and where.
pub(super) struct Secret {
    header: String,
    secret: Zeroizing<String>,
    /// The vendor's choice: SHA-1 of the secret, in hexadecimal. Who knows it may call, as who knows the secret.
    hashed: Zeroizing<String>,
}

impl Secret {
    pub(super) fn new(header: &str, secret: &str) -> Secret {
        let hashed = Zeroizing::new(proof(secret));
        Secret { header: header.to_owned(), secret: Zeroizing::new(secret.to_owned()), hashed }
    }

    /// Documented is the hash; webhooks that carry the secret as it is were seen, too.
    fn is_proven_by(&self, call: &Call<'_>) -> bool {
        let Some(given) = call.header(&self.header) else { return false };
        let same = |known: &str| verify_slices_are_equal(known.as_bytes(), given.as_bytes()).is_ok();
        // Both, always: the time tells nothing of either.
        same(&self.hashed) | same(&self.secret)
    }
}

pub(super) fn proof(secret: &str) -> String {
    hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(default)]
    message_id: Option<String>,
    #[serde(default)]
    status_code: Option<String>,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    custom_fields: Option<Map<String, Value>>,
}

/// Reads a call that is proven.
pub(super) fn read(secret: &Secret, call: &Call<'_>) -> Result<Vec<Word>, Refused> {
    if !secret.is_proven_by(call) {
        let path = call.path_and_query.split_once('?').map_or(call.path_and_query, |(path, _)| path);
        return Err(Refused { url: path.to_owned() });
    }
    let events: Vec<Value> = serde_json::from_slice(call.body).unwrap_or_default();
    let reports = events.into_iter().take(MAX_EVENTS).filter_map(report);
    Ok(reports.map(Word::Report).collect())
}

/// `None` = it is about none of our texts.
fn report(mut event: Value) -> Option<Report> {
    if let Some(inner) = event.get_mut("data").filter(|inner| inner.is_object()) {
        event = inner.take();
    }
    let event: Event = serde_json::from_value(event).ok()?;
    let named = |name: &str| event.custom_fields.as_ref().and_then(|fields| fields.get(name)?.as_str());
    let code = parse(event.status_code.as_deref()?)?;
    let meaning = meaning(code)?;
    if let Some(mend) = meaning.mend() {
        alarm(mend, Some(code));
    }
    Some(Report {
        workspace: named("workspace")?.to_owned(),
        followup: FollowupId::parse(named("followup")?)?,
        attempt: named("attempt")?.parse().ok()?,
        to: event.to.as_deref().and_then(number::e164),
        provider_id: event.message_id.clone().filter(|id| reply::is_id(id)),
        word: match meaning {
            Meaning::Taken => ReportWord::Taken,
            Meaning::Delivered => ReportWord::Delivered,
            failed => ReportWord::Failed(failed.word(code)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderMap, HeaderValue};
    use serde_json::json;

    impl std::fmt::Debug for Report {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "Report({:?})", self.word)
        }
    }

    const SECRET: &str = "test-secret";
    /// By another implementation (OpenSSL's).
    const HASHED: &str = "fe1bae27cb7c1fb823f496f286e78f1d2ae87734";

    fn heard(header: &str, value: Option<&str>, body: &str) -> Option<Vec<Report>> {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.append("x-solapi-secret", HeaderValue::from_str(value).unwrap());
        }
        let call = Call { path_and_query: "/in/solapi/KEY?a=1", headers: &headers, body: body.as_bytes() };
        let words = read(&Secret::new(header, SECRET), &call).ok()?;
        let report = |word| if let Word::Report(report) = word { Some(report) } else { None };
        Some(words.into_iter().filter_map(report).collect())
    }

    /// W2: without the secret nobody is heard.
    #[test]
    fn w2_a_call_is_proven_by_its_secret() {
        let known = "x-solapi-secret";
        assert_eq!(proof(SECRET), HASHED);
        assert_eq!(heard(known, Some(HASHED), "[]"), Some(vec![]));
        assert_eq!(heard(known, Some(SECRET), "[]"), Some(vec![]));
        for forged in [None, Some(""), Some("test-secre"), Some("FE1BAE27CB7C1FB823F496F286E78F1D2AE87734")] {
            assert_eq!(heard(known, forged, "[]"), None, "{forged:?}");
        }
        assert_eq!(heard("x-other", Some(HASHED), "[]"), None);
        let mut twice = HeaderMap::new();
        twice.append("x-solapi-secret", HeaderValue::from_static(HASHED));
        twice.append("x-solapi-secret", HeaderValue::from_static(HASHED));
        let call = Call { path_and_query: "/in/solapi/KEY", headers: &twice, body: b"[]" };
        assert!(read(&Secret::new(known, SECRET), &call).is_err());
    }

    /// W2: each event of the array is a report, in both shapes; what is none of ours, or strange, says nothing.
    #[test]
    fn w2_reports_come_as_an_array() {
        let id = FollowupId(1_795_370_400_000 << 20);
        let named = json!({"workspace": "shop", "followup": id.to_string(), "attempt": "2"});
        let event = |code: &str| {
            json!({"messageId": "M4V1", "groupId": "G4V1", "type": "ATA", "to": "01012345678", "from": "0212345678",
                   "statusCode": code, "statusMessage": "…", "customFields": named})
        };
        let report = |word| Report {
            workspace: "shop".into(),
            followup: id,
            attempt: 2,
            to: Some("+821012345678".into()),
            provider_id: Some("M4V1".into()),
            word,
        };
        let inner = json!({"eventDataId": "e1", "data": event("3107"), "retryCount": 0});
        let strange = json!({"messageId": "M4V2", "statusCode": "4000"});
        let of_others = json!({"messageId": "M4V3", "statusCode": "4000", "customFields": {"deliveryId": "1"}});
        let bad = json!({"statusCode": 4000, "customFields": named});
        let body =
            json!([event("4000"), inner, strange, of_others, bad, 1, null, event("2000"), event("9")]).to_string();
        let failed = ReportWord::Failed("blocked".into());
        let all = vec![report(ReportWord::Delivered), report(failed), report(ReportWord::Taken)];
        assert_eq!(heard("x-solapi-secret", Some(HASHED), &body), Some(all));
        for strange in ["", "{}", "[", "null", "{\"data\":[]}"] {
            assert_eq!(heard("x-solapi-secret", Some(HASHED), strange), Some(vec![]), "{strange}");
        }
    }
}
