//! What every request goes through: who asks, how much they may say, and whether it is the JSON that was expected.

use super::Api;
use crate::audit::{MAX_ACTOR_CHARS, Who};
use crate::problem::{Code, Problem};
use crate::store::Scope;
use crate::vault::{Vault, sha256};
use crate::workspace::Workspace;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use backstop_domain::ids::DeviceId;
use backstop_wire::{APP_HEADER, DEVICE_SCHEME, FieldError};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bodies of the backend.
pub(crate) const BACKEND_BYTES: usize = 256 * 1024;
/// Bodies of devices.
pub(super) const DEVICE_BYTES: usize = 64 * 1024;

/// What a handler comes to.
pub(super) type Answer = Result<Reply, Problem>;

/// A whole answer.
pub(crate) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Bytes,
    pub(super) headers: Vec<(&'static str, HeaderValue)>,
}

impl Reply {
    pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
        let body = serde_json::to_vec(body).expect("answers are strings, numbers and lists of them");
        Reply { status, content_type: Some("application/json"), body: body.into(), headers: Vec::new() }
    }

    pub(crate) fn ok(body: &impl Serialize) -> Reply {
        Reply::json(StatusCode::OK, body)
    }

    /// `{}`: done, and there is nothing to say.
    pub(crate) fn done() -> Reply {
        let body = Bytes::from_static(b"{}");
        Reply { status: StatusCode::OK, content_type: Some("application/json"), body, headers: Vec::new() }
    }

    pub(super) fn no_content() -> Reply {
        Reply { status: StatusCode::NO_CONTENT, content_type: None, body: Bytes::new(), headers: Vec::new() }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        // Most answers are about a person, and all of them are about now.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(content_type) = self.content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

/// The company's backend: Bearer `sk_…`. A `read` key may only GET, a `billing` key only what is about money.
pub(super) struct Backend(pub(super) Arc<Workspace>);

impl FromRequestParts<Arc<Api>> for Backend {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Backend, Problem> {
        backend(api, &parts.headers, &parts.method, parts.uri.path()).await.map(Backend)
    }
}

/// Who asks, for the audit log: the key that was shown, and who the caller says they are (`Backstop-Actor`).
pub(super) struct Caller(pub(super) Who);

const ACTOR_HEADER: &str = "backstop-actor";

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Caller, Problem> {
        let key = credentials(&parts.headers, "Bearer").ok_or_else(Problem::unauthorized)?;
        let actor = parts.headers.get(ACTOR_HEADER).map(|given| {
            let given = std::str::from_utf8(given.as_bytes()).ok();
            let printable = |text: &&str| !text.chars().any(char::is_control);
            let actor = given.filter(|text| (1..=MAX_ACTOR_CHARS).contains(&text.chars().count())).filter(printable);
            let message = format!("give 1 to {MAX_ACTOR_CHARS} printable characters in UTF-8");
            actor.map(str::to_owned).ok_or_else(|| Problem::invalid_field("Backstop-Actor", "invalid", message))
        });
        Ok(Caller(Who::key(&sha256(key.as_bytes()), actor.transpose()?)))
    }
}

/// What a key of the billing system reads: of money, and of nobody's texts.
fn is_of_money(path: &str) -> bool {
    path == "/v1/wallet" || path.starts_with("/v1/wallet/") || path == "/v1/usage"
}

pub(crate) async fn backend(
    api: &Api,
    headers: &HeaderMap,
    method: &Method,
    path: &str,
) -> Result<Arc<Workspace>, Problem> {
    let key = credentials(headers, "Bearer").ok_or_else(Problem::unauthorized)?;
    let (workspace, scope) = api.registry.by_key(key).await?.ok_or_else(Problem::unauthorized)?;
    match scope {
        Scope::Server => Ok(workspace),
        Scope::Read if matches!(*method, Method::GET | Method::HEAD) => Ok(workspace),
        Scope::Billing if matches!(*method, Method::GET | Method::HEAD) && is_of_money(path) => Ok(workspace),
        Scope::Read => Err(Problem::new(Code::Forbidden, "this key only reads; use one with scope server")),
        Scope::Billing => {
            Err(Problem::new(Code::Forbidden, "this key reads and tops up the wallet; use one with scope server"))
        }
        Scope::App => {
            Err(Problem::new(Code::Forbidden, "this is an app key; the backend's endpoints need a key sk_… of yours"))
        }
    }
}

/// Whoever may add money: the billing system, or the company itself where the deployment says so.
pub(super) struct Billing(pub(super) Arc<Workspace>);

impl FromRequestParts<Arc<Api>> for Billing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Billing, Problem> {
        let key = credentials(&parts.headers, "Bearer").ok_or_else(Problem::unauthorized)?;
        let (workspace, scope) = api.registry.by_key(key).await?.ok_or_else(Problem::unauthorized)?;
        match scope {
            Scope::Billing => Ok(Billing(workspace)),
            Scope::Server if api.registry.deployment().plans.server_keys_top_up => Ok(Billing(workspace)),
            Scope::Server | Scope::Read | Scope::App => {
                let detail = "this key adds no money; the operator makes one that does with `backstop key create \
                              --scope billing`, or sets wallet.server_keys_top_up";
                Err(Problem::new(Code::Forbidden, detail))
            }
        }
    }
}

/// An app or a web page: `Backstop-App: app_…`. Public by nature, so its address is rate-limited.
pub(super) struct App(pub(super) Arc<Workspace>);

impl FromRequestParts<Arc<Api>> for App {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<App, Problem> {
        api.limits.check_address(parts)?;
        let key = parts.headers.get(APP_HEADER).and_then(|v| v.to_str().ok()).ok_or_else(Problem::unauthorized)?;
        app(api, key.trim()).await.map(App)
    }
}

pub(super) async fn app(api: &Api, key: &str) -> Result<Arc<Workspace>, Problem> {
    match api.registry.by_key(key).await? {
        Some((workspace, Scope::App)) => Ok(workspace),
        _ => Err(Problem::unauthorized()),
    }
}

/// A device: its app's key, and `Authorization: Backstop-Device <id>.<key>`.
pub(super) struct Device {
    pub(super) workspace: Arc<Workspace>,
    pub(super) id: DeviceId,
}

impl FromRequestParts<Arc<Api>> for Device {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Device, Problem> {
        let App(workspace) = App::from_request_parts(parts, api).await?;
        let id = device_id(api, &workspace, &parts.headers).ok_or_else(Problem::unauthorized)?;
        api.limits.check_device(workspace.id, id)?;
        Ok(Device { workspace, id })
    }
}

impl Device {
    /// A device acts on itself only.
    pub(super) fn must_be(&self, id: &str) -> Result<(), Problem> {
        if DeviceId::parse(id) == Some(self.id) { Ok(()) } else { Err(Problem::unauthorized()) }
    }
}

/// The device whose key is shown, if it is that device's.
pub(super) fn device_id(api: &Api, workspace: &Workspace, headers: &HeaderMap) -> Option<DeviceId> {
    device_of(&api.vault, workspace, credentials(headers, DEVICE_SCHEME)?)
}

/// `<device_id>.<device_key>`, if they belong together.
pub(super) fn device_of(vault: &Vault, workspace: &Workspace, credentials: &str) -> Option<DeviceId> {
    let (id, key) = credentials.split_once('.')?;
    let id = DeviceId::parse(id)?;
    vault.device_key_matches(workspace.id, id, key).then_some(id)
}

/// What follows the scheme of the `Authorization` header; schemes are told apart without regard to case (RFC 9110).
pub(super) fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let (given, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// One path segment, decoded.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Segment, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(id) = path.map_err(|_| Problem::new(Code::InvalidRequest, "the path is not valid UTF-8"))?;
        if id.is_empty() {
            return Err(no_route().await);
        }
        super::validate::caller_id("path", &id)?;
        Ok(Segment(id))
    }
}

/// The two last segments of a path: an id, and what of it is meant.
pub(super) struct TwoSegments(pub(super) String, pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for TwoSegments {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<TwoSegments, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((id, of_it)) = path.map_err(|_| Problem::new(Code::InvalidRequest, "the path is not valid UTF-8"))?;
        if id.is_empty() || of_it.is_empty() {
            return Err(no_route().await);
        }
        super::validate::caller_id("path", &id)?;
        super::validate::caller_id("path", &of_it)?;
        Ok(TwoSegments(id, of_it))
    }
}

/// Query parameters; unknown ones are refused, since a filter that is not applied misleads.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Api>> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Params<T>, Problem> {
        Query::try_from_uri(&parts.uri).map(|Query(params)| Params(params)).map_err(|rejection| {
            // Their message ends with what was expected; no value is repeated.
            let text = rejection.body_text();
            let known = text.split_once(", expected ").map_or("each parameter once", |(_, known)| known);
            let message = format!("the query is not understood: expected {known}");
            Problem::invalid_field("query", "unknown_parameter", message)
        })
    }
}

/// A JSON body of at most `LIMIT` bytes, read within the deadline, not parsed yet.
pub(crate) struct Payload<const LIMIT: usize>(pub(crate) Bytes);

impl<const LIMIT: usize> FromRequest<Arc<Api>> for Payload<LIMIT> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Payload<LIMIT>, Problem> {
        let (parts, body) = request.into_parts();
        must_be_json(&parts.headers)?;
        read_body(&parts.headers, body, LIMIT, api.limits.body_timeout).await.map(Payload)
    }
}

/// A body that may be left out. Of a JSON object nothing is read: a device may be newer.
pub(super) struct NoBody;

impl FromRequest<Arc<Api>> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<NoBody, Problem> {
        #[derive(Deserialize)]
        struct Anything {}
        let (parts, body) = request.into_parts();
        let body = read_body(&parts.headers, body, DEVICE_BYTES, api.limits.body_timeout).await?;
        if body.is_empty() {
            return Ok(NoBody);
        }
        must_be_json(&parts.headers)?;
        parse(&body).map(|Anything {}| NoBody)
    }
}

fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let mut parts = given.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or("").to_ascii_lowercase();
    let is_json = media_type == "application/json"
        || media_type.strip_prefix("application/").is_some_and(|subtype| subtype.ends_with("+json"));
    let is_utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    // Nothing unpacks bodies here: a bomb would unpack to more than any limit.
    let is_plain = headers.get(header::CONTENT_ENCODING).is_none_or(|v| v.as_bytes().eq_ignore_ascii_case(b"identity"));
    if is_json && is_utf8 && is_plain {
        return Ok(());
    }
    let detail = "send JSON in UTF-8, not compressed, with Content-Type: application/json";
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

/// The deadline is for the whole body: a caller that sends a byte a second is refused like one that sends none.
pub(super) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    within: std::time::Duration,
) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::PayloadTooLarge, format!("a body here has at most {limit} bytes"));
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    if declared.is_some_and(|bytes: u64| bytes > limit as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(within, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(Code::InvalidRequest, "the body ended early")),
        Err(_) => Err(Problem::new(Code::RequestTimeout, format!("the body took longer than {} s", within.as_secs()))),
    }
}

/// The body as a JSON object; what is wrong with it is said with field and position, without repeating a value.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // A list of the fields' values in their order would be taken for them.
    if is_list(body) {
        return Err(Problem::invalid_field("body", "invalid", "expected an object, not a list"));
    }
    parse_any(body)
}

/// One JSON object, or a list of up to `max`; whether it was a list.
pub(super) fn parse_one_or_many<T: DeserializeOwned>(body: &[u8], max: usize) -> Result<(Vec<T>, bool), Problem> {
    if !is_list(body) {
        return Ok((vec![parse_any(body)?], false));
    }
    let many: Vec<T> = parse_any(body)?;
    if (1..=max).contains(&many.len()) {
        return Ok((many, true));
    }
    Err(Problem::invalid_field("body", "out_of_range", format!("give 1 to {max} reports")))
}

fn is_list(body: &[u8]) -> bool {
    body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[')
}

fn parse_any<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Err(Problem::new(Code::InvalidRequest, "the body is empty: send JSON"));
    }
    serde_json::from_slice(body).or_else(|_| {
        // Once more, this time keeping track of the path; good bodies do not pay for it.
        let mut json = serde_json::Deserializer::from_slice(body);
        let parsed: Result<T, _> = serde_path_to_error::deserialize(&mut json);
        match parsed {
            Ok(parsed) => json.end().map(|()| parsed).map_err(|error| syntax(&error)),
            Err(error) => Err(explain(body, &error.path().to_string(), error.inner())),
        }
    })
}

fn syntax(error: &serde_json::Error) -> Problem {
    let position = format!("line {} column {}", error.line(), error.column());
    Problem::new(Code::InvalidRequest, format!("the body is not JSON in UTF-8: look at {position}"))
}

fn explain(body: &[u8], path: &str, error: &serde_json::Error) -> Problem {
    if error.to_string().starts_with("recursion limit") {
        let position = format!("line {} column {}", error.line(), error.column());
        return Problem::new(Code::InvalidRequest, format!("the JSON is nested too deeply: look at {position}"));
    }
    // Where one of several words is expected, serde_json calls anything but a string a mistake of syntax.
    if !error.is_data() && serde_json::from_slice::<IgnoredAny>(body).is_err() {
        return syntax(error);
    }
    let text = error.to_string();
    // The words end with " at line 1 column 2".
    let words = text.rsplit_once(" at line ").map_or(text.as_str(), |(words, _)| words);
    let expected = words.split_once("expected ").map(|(_, expected)| expected);
    let path = if path == "." { "" } else { path.trim_start_matches('.') };
    let named = |prefix: &str| words.strip_prefix(prefix).and_then(|rest| rest.split('`').nth(1));
    if let Some(field) = named("missing field ") {
        return Problem::invalid_field(&join(path, field), "missing", "give this field");
    }
    if let Some(field) = named("unknown field ") {
        // The path may or may not name the field already.
        let whole = if path.ends_with(field) { path.to_owned() } else { join(path, field) };
        let message = match expected {
            Some(known) => format!("there is no such field; there is {known}"),
            None => "there is no such field".into(),
        };
        return Problem::invalid_field(&whole, "unknown_field", message);
    }
    if let Some(field) = named("duplicate field ") {
        let whole = if path.ends_with(field) { path.to_owned() } else { join(path, field) };
        return Problem::invalid_field(&whole, "duplicate_field", "give this field once");
    }
    let field = if path.is_empty() { "body" } else { path };
    let position = format!("line {} column {}", error.line(), error.column());
    let message = match expected {
        Some(expected) => format!("expected {} ({position})", in_words(expected)),
        None => format!("not a valid value ({position})"),
    };
    Problem::invalid(vec![FieldError { field: field.into(), code: "invalid".into(), message }])
}

/// JSON's words for what Rust's libraries expect.
fn in_words(expected: &str) -> &str {
    match expected {
        "a sequence" => "a list",
        "a map" => "an object",
        "a boolean" => "true or false",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        _ if expected.starts_with("struct ") => "an object",
        other => other,
    }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

pub(super) async fn no_route() -> Problem {
    Problem::not_found("there is no such path; GET /openapi.json lists them")
}

pub(super) async fn no_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "this path takes other methods; GET /openapi.json lists them")
}

#[cfg(test)]
mod tests;
