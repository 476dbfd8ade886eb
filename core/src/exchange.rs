//! Requests of the device API, and what each answer means to the machine.

use backstop_wire::{
    Ack, AckBatch, AckOutcome, AckResults, DEVICE_SCHEME, DeviceRegistered, PROBLEM_PREFIX, PushProvider,
    RegisterDevice, WIRE_VERSION,
};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Proof};
use crate::machine::Answer;
use crate::store::Facts;
use crate::transport::{Method, Request, Response};

/// `Authorization` of a device.
pub(crate) fn authorization(device: &DeviceRegistered) -> String {
    format!("{DEVICE_SCHEME} {}.{}", device.device_id, device.device_key)
}

/// Serializes a wire type.
pub(crate) fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("wire types have string keys and no failing serializer")
}

/// `POST /v1/acks`.
pub(crate) fn acks(device: &DeviceRegistered, acks: Vec<Ack>) -> Request {
    Request {
        method: Method::Post,
        path: "/v1/acks".to_owned(),
        authorization: Some(authorization(device)),
        body: json(&AckBatch { acks }),
    }
}

/// `DELETE /v1/devices/{id}/customer`.
pub(crate) fn log_out(device: &DeviceRegistered) -> Request {
    Request {
        method: Method::Delete,
        path: format!("/v1/devices/{}/customer", device.device_id),
        authorization: Some(authorization(device)),
        body: Vec::new(),
    }
}

/// `DELETE /v1/devices/{id}`.
pub(crate) fn forget(device: &DeviceRegistered) -> Request {
    Request {
        method: Method::Delete,
        path: format!("/v1/devices/{}", device.device_id),
        authorization: Some(authorization(device)),
        body: Vec::new(),
    }
}

/// `POST /v1/devices/{id}/test-push`.
pub(crate) fn test_push(device: &DeviceRegistered) -> Request {
    Request {
        method: Method::Post,
        path: format!("/v1/devices/{}/test-push", device.device_id),
        authorization: Some(authorization(device)),
        body: b"{}".to_vec(),
    }
}

/// `POST /v1/devices`; `None` without a token.
pub(crate) fn register(config: &Config, facts: &Facts, prove: bool) -> Option<Request> {
    let token = facts.token.as_ref()?;
    let customer = facts.customer.as_ref().filter(|_| prove);
    let (hash, jwt) = match customer {
        Some((_, Proof::Hash(hash))) => (Some(hash.clone()), None),
        Some((_, Proof::Token(token))) => (None, Some(token.clone())),
        None => (None, None),
    };
    let body = RegisterDevice {
        install_id: facts.install_id.clone(),
        platform: config.platform,
        provider: token.provider,
        token: token.token.clone(),
        topic: token.topic.clone().filter(|_| token.provider == PushProvider::Apns),
        package: token.topic.clone().filter(|_| token.provider == PushProvider::Fcm),
        environment: token.environment,
        alerts: facts.alerts,
        wire: vec![WIRE_VERSION],
        customer_id: customer.map(|(id, _)| id.clone()),
        customer_hash: hash,
        customer_token: jwt,
        locale: config.locale.clone().filter(|locale| is_tag(locale)),
    };
    Some(Request {
        method: Method::Post,
        path: "/v1/devices".to_owned(),
        authorization: facts.device.as_ref().map(authorization),
        body: json(&body),
    })
}

fn is_tag(locale: &str) -> bool {
    (2..=64).contains(&locale.len()) && locale.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

/// An answer, read.
pub(crate) struct Answered {
    /// 2xx.
    pub(crate) done: bool,
    /// What it means to the machine.
    pub(crate) answer: Answer,
    /// The problem's code, if the server itself spoke.
    pub(crate) code: Option<String>,
}

/// Reads status and problem code. Only the server's own words are final: a proxy's or captive portal's 404 is not
/// one of its problem documents.
pub(crate) fn read_answer(response: &Response) -> Answered {
    let retry_after_ms = response.retry_after_ms;
    let failed = Answer::Failed { retry_after_ms };
    let code = problem_code(&response.body);
    let answer = match (response.status, code.as_deref()) {
        (200..=299, _) => Answer::Done,
        (429, _) => Answer::Throttled { retry_after_ms },
        (401, Some("device_proof_required")) => Answer::ProofRefused,
        (401, Some("identity_required")) => Answer::IdentityRefused,
        (401, _) | (403, Some(_)) => Answer::Unauthorized,
        (400 | 404 | 410 | 413 | 422, Some(_)) => Answer::Refused,
        _ => failed,
    };
    Answered { done: answer == Answer::Done, answer, code }
}

/// Whether the server does not know the device any more. A proxy's 404 says nothing of it; a 401 is about a key.
pub(crate) fn is_forgotten(response: &Response) -> bool {
    match response.status {
        204 => true,
        404 | 410 => problem_code(&response.body).is_some(),
        _ => false,
    }
}

/// One result for each of `sent` acks; `None` when that is not what the body says.
pub(crate) fn read_results(body: &[u8], sent: usize) -> Option<Vec<AckOutcome>> {
    let results = serde_json::from_slice::<AckResults>(body).ok()?.results;
    (results.len() == sent).then_some(results)
}

/// The device's id and key; `None` when they could not stand in a path and a header.
pub(crate) fn read_registered(body: &[u8]) -> Option<DeviceRegistered> {
    let device: DeviceRegistered = serde_json::from_slice(body).ok()?;
    let id_fits = |id: &str| {
        (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    let key_fits = |key: &str| (1..=512).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    (id_fits(&device.device_id) && key_fits(&device.device_key)).then_some(device)
}

fn problem_code(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        kind: String,
    }
    let typed: Typed = serde_json::from_slice(body).ok()?;
    let code = typed.kind.strip_prefix(PROBLEM_PREFIX)?;
    let fits = (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    fits.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: Option<&str>) -> Answer {
        let body = code.map_or(b"<html>no</html>".to_vec(), |code| {
            format!(r#"{{"type":"urn:backstop:problem:{code}","title":"t","status":{status}}}"#).into_bytes()
        });
        read_answer(&Response { status, retry_after_ms: None, body }).answer
    }

    /// C4: what is final and what is not, status by status; a proxy's page is never final.
    #[test]
    fn c4_only_the_servers_own_words_are_final() {
        let failed = Answer::Failed { retry_after_ms: None };
        for status in [400, 404, 410, 413, 422] {
            assert_eq!(answer(status, Some("invalid_request")), Answer::Refused, "{status}");
            assert_eq!(answer(status, None), failed, "{status}");
        }
        for status in [408, 425, 500, 502, 503, 504, 301, 302, 307, 405, 418, 511] {
            assert_eq!(answer(status, Some("store_unavailable")), failed, "{status}");
            assert_eq!(answer(status, None), failed, "{status}");
        }
        assert_eq!(answer(429, None), Answer::Throttled { retry_after_ms: None });
        assert_eq!(answer(401, None), Answer::Unauthorized);
        assert_eq!(answer(401, Some("unauthorized")), Answer::Unauthorized);
        assert_eq!(answer(401, Some("device_proof_required")), Answer::ProofRefused);
        assert_eq!(answer(401, Some("identity_required")), Answer::IdentityRefused);
        assert_eq!(answer(403, Some("forbidden")), Answer::Unauthorized);
        assert_eq!(answer(403, None), failed);
        assert_eq!(answer(204, None), Answer::Done);
    }

    #[test]
    fn results_must_match_what_was_sent() {
        let two = br#"{"results":[{"result":"accepted","counted":true},{"result":"brand_new","counted":false}]}"#;
        assert_eq!(read_results(two, 2).map(|r| r.len()), Some(2));
        for (body, sent) in [(&two[..], 1), (&two[..], 3), (b"{}", 0), (b"<html>", 1), (b"", 1)] {
            assert!(read_results(body, sent).is_none());
        }
    }

    #[test]
    fn a_device_id_that_would_change_the_path_is_not_taken() {
        let read = |id: &str, key: &str| {
            read_registered(serde_json::json!({"device_id": id, "device_key": key}).to_string().as_bytes())
        };
        assert!(read("dev_01J", "k-3_y.x").is_some());
        for (id, key) in [("", "k"), ("../x", "k"), ("a b", "k"), ("dev", ""), ("dev", "a\nb"), ("dev.x", "k")] {
            assert!(read(id, key).is_none(), "{id:?} {key:?}");
        }
    }
}
