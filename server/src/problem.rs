//! Errors as callers see them: RFC 9457, a stable code, and what the caller can do (W4).
//!
//! The one place that knows which HTTP status an error of the engine, the store or a proof has.

use crate::engine::api::EngineError;
use crate::identity::IdentityError;
use crate::store::StoreError;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use backstop_domain::Ms;
use backstop_wire as wire;
use backstop_wire::{FieldError, PROBLEM_PREFIX};
use std::borrow::Cow;

/// Wait this long when the store cannot say when it is back.
const STORE_RETRY_MS: Ms = 2_000;
/// A request that is being answered is answered by then.
const IN_PROGRESS_RETRY_MS: Ms = 1_000;

/// An error on its way to the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after_ms: Option<Ms>,
}

/// Every code there is. Stable: clients decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the word is the code; `Code::parts` says what each means")]
pub enum Code {
    InvalidRequest,
    Unauthorized,
    IdentityRequired,
    DeviceProofRequired,
    Forbidden,
    NotFound,
    Gone,
    MethodNotAllowed,
    RequestTimeout,
    MessageConflict,
    TopUpConflict,
    RequestInProgress,
    PreconditionFailed,
    PayloadTooLarge,
    UnsupportedMediaType,
    IdempotencyKeyReused,
    MarketingRefused,
    RateLimited,
    Internal,
    StoreUnavailable,
}

impl Code {
    /// All of them, for the documentation.
    pub const ALL: &[Code] = &[
        Code::InvalidRequest,
        Code::Unauthorized,
        Code::IdentityRequired,
        Code::DeviceProofRequired,
        Code::Forbidden,
        Code::NotFound,
        Code::Gone,
        Code::MethodNotAllowed,
        Code::RequestTimeout,
        Code::MessageConflict,
        Code::TopUpConflict,
        Code::RequestInProgress,
        Code::PreconditionFailed,
        Code::PayloadTooLarge,
        Code::UnsupportedMediaType,
        Code::IdempotencyKeyReused,
        Code::MarketingRefused,
        Code::RateLimited,
        Code::Internal,
        Code::StoreUnavailable,
    ];

    /// The word, the title and the status.
    pub fn parts(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            Code::InvalidRequest => ("invalid_request", "The request is not valid", StatusCode::BAD_REQUEST),
            Code::Unauthorized => ("unauthorized", "No valid key", StatusCode::UNAUTHORIZED),
            Code::IdentityRequired => ("identity_required", "The customer is not proven", StatusCode::UNAUTHORIZED),
            Code::DeviceProofRequired => {
                ("device_proof_required", "The device is not proven", StatusCode::UNAUTHORIZED)
            }
            Code::Forbidden => ("forbidden", "This key may not do that", StatusCode::FORBIDDEN),
            Code::NotFound => ("not_found", "There is no such thing", StatusCode::NOT_FOUND),
            Code::Gone => ("gone", "It was good once and is no more", StatusCode::GONE),
            Code::MethodNotAllowed => {
                ("method_not_allowed", "Another method is needed", StatusCode::METHOD_NOT_ALLOWED)
            }
            Code::RequestTimeout => ("request_timeout", "The request took too long", StatusCode::REQUEST_TIMEOUT),
            Code::MessageConflict => ("message_conflict", "The id names another message", StatusCode::CONFLICT),
            Code::TopUpConflict => ("top_up_conflict", "The id names another payment", StatusCode::CONFLICT),
            Code::RequestInProgress => {
                ("request_in_progress", "The same request is being answered", StatusCode::CONFLICT)
            }
            Code::PreconditionFailed => {
                ("precondition_failed", "It changed meanwhile", StatusCode::PRECONDITION_FAILED)
            }
            Code::PayloadTooLarge => ("payload_too_large", "The body is too large", StatusCode::PAYLOAD_TOO_LARGE),
            Code::UnsupportedMediaType => {
                ("unsupported_media_type", "The body is not JSON", StatusCode::UNSUPPORTED_MEDIA_TYPE)
            }
            Code::IdempotencyKeyReused => {
                ("idempotency_key_reused", "The key was used for another request", StatusCode::UNPROCESSABLE_ENTITY)
            }
            Code::MarketingRefused => {
                ("marketing_refused", "Marketing is not sent on this path", StatusCode::UNPROCESSABLE_ENTITY)
            }
            Code::RateLimited => ("rate_limited", "Too many requests", StatusCode::TOO_MANY_REQUESTS),
            Code::Internal => ("internal", "The server failed", StatusCode::INTERNAL_SERVER_ERROR),
            Code::StoreUnavailable => {
                ("store_unavailable", "Nothing can be stored now", StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }
}

impl Problem {
    /// A problem with its explanation.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { code, detail: detail.into(), errors: Vec::new(), retry_after_ms: None }
    }

    /// 400, with the fields that are wrong.
    pub fn invalid(errors: Vec<FieldError>) -> Problem {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.message),
            many => format!("{} fields are not valid; see errors", many.len()),
        };
        Problem { errors, ..Problem::new(Code::InvalidRequest, detail) }
    }

    /// 400 for one field.
    pub fn invalid_field(field: &str, code: &str, message: impl Into<String>) -> Problem {
        Problem::invalid(vec![FieldError { field: field.into(), code: code.into(), message: message.into() }])
    }

    /// 401 in its one shape: it tells nobody which keys exist.
    pub fn unauthorized() -> Problem {
        let detail = "no valid key: a backend sends `Authorization: Bearer sk_…`; an app sends `Backstop-App: app_…`, \
                      and its device beside it `Authorization: Backstop-Device <device_id>.<device_key>`";
        Problem::new(Code::Unauthorized, detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(Code::NotFound, detail)
    }

    /// 429: when to come back.
    pub fn rate_limited(retry_after_ms: Ms) -> Problem {
        let detail = "wait as long as Retry-After says, then send the same request again";
        Problem { retry_after_ms: Some(retry_after_ms), ..Problem::new(Code::RateLimited, detail) }
    }

    /// 409: the very request is under way; its answer will be there.
    pub fn in_progress() -> Problem {
        let detail = "a request with this Idempotency-Key is being answered: send the same again when Retry-After says";
        Problem { retry_after_ms: Some(IN_PROGRESS_RETRY_MS), ..Problem::new(Code::RequestInProgress, detail) }
    }

    /// What kind it is.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Its HTTP status.
    pub fn status(&self) -> StatusCode {
        self.code.parts().2
    }

    /// The document.
    pub fn document(self) -> wire::Problem {
        let (word, title, status) = self.code.parts();
        wire::Problem {
            kind: format!("{PROBLEM_PREFIX}{word}"),
            title: title.into(),
            status: status.as_u16(),
            detail: Some(self.detail.into_owned()),
            errors: self.errors,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let status = self.status();
        let challenge = (self.code == Code::Unauthorized).then_some("Bearer");
        let retry_after_s = self.retry_after_ms.map(|ms| (ms.max(1) as u64).div_ceil(1000));
        let body = serde_json::to_vec(&self.document()).expect("strings and numbers always serialize");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: HeaderValue| drop(headers.insert(name, value));
        set(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(scheme) = challenge {
            set(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
        }
        if let Some(seconds) = retry_after_s {
            set(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<StoreError> for Problem {
    /// The reason is for the operator's log: a caller can only wait.
    fn from(error: StoreError) -> Problem {
        match error {
            StoreError::Unavailable(_) => Problem {
                retry_after_ms: Some(STORE_RETRY_MS),
                ..Problem::new(Code::StoreUnavailable, "nothing was stored; send the same request again")
            },
            StoreError::Unknown(_) => Problem {
                retry_after_ms: Some(STORE_RETRY_MS),
                ..Problem::new(
                    Code::StoreUnavailable,
                    "it may or may not have been stored; send the same request again, ids make that safe",
                )
            },
            StoreError::Corrupt(why) => {
                tracing::error!(why, "the store holds a row that does not read");
                Problem::new(Code::Internal, "the request was not done; the operator's log says why")
            }
        }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Problem {
        let code = match error {
            EngineError::Store(error) => return error.into(),
            EngineError::Overloaded { retry_after_ms } => return Problem::rate_limited(retry_after_ms),
            EngineError::UnknownCustomer => {
                let detail = "no such customer in this workspace: send PUT /v1/customers/{customer_id} first, or give \
                              \"customer\" with the message";
                return Problem::not_found(detail);
            }
            EngineError::UnknownMessage
            | EngineError::UnknownFollowup
            | EngineError::UnknownDevice
            | EngineError::UnknownAsk => Code::NotFound,
            EngineError::NobodyIsCharged => Code::Forbidden,
            EngineError::TopUpConflict => Code::TopUpConflict,
            EngineError::MessageConflict => Code::MessageConflict,
            EngineError::DeviceProofRequired => Code::DeviceProofRequired,
        };
        Problem::new(code, error.to_string())
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Problem {
        Problem::new(Code::IdentityRequired, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// W4: one shape, one stable code an error; a caller told to wait is told how long.
    #[test]
    fn errors_become_problems() {
        let cases = [
            (EngineError::UnknownCustomer.into(), "not_found", 404, None),
            (EngineError::MessageConflict.into(), "message_conflict", 409, None),
            (EngineError::DeviceProofRequired.into(), "device_proof_required", 401, None),
            (EngineError::Overloaded { retry_after_ms: 1 }.into(), "rate_limited", 429, Some("1")),
            (Problem::from(StoreError::Unavailable("disk full".into())), "store_unavailable", 503, Some("2")),
            (StoreError::Corrupt("row 7".into()).into(), "internal", 500, None),
            (IdentityError::Missing.into(), "identity_required", 401, None),
        ];
        for (problem, code, status, retry_after) in cases {
            let document = problem.clone().document();
            assert_eq!(document.kind, format!("urn:backstop:problem:{code}"));
            assert_eq!((document.code(), document.status), (code, status));
            assert!(!document.detail.unwrap().contains("row 7"), "the inside stays inside");
            let response = problem.into_response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
            let given = response.headers().get(header::RETRY_AFTER).map(|v| v.to_str().unwrap().to_owned());
            assert_eq!(given.as_deref(), retry_after, "{code}");
        }
    }

    /// W4: codes are told apart, whatever is added.
    #[test]
    fn codes_are_unique() {
        let words: std::collections::BTreeSet<_> = Code::ALL.iter().map(|c| c.parts().0).collect();
        assert_eq!(words.len(), Code::ALL.len());
    }
}
