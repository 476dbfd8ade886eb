//! `POST /v1/presence`: whether the customer is looking (D3, D4), said by the backend, a device or a web page.

use super::request::{
    Answer, App, BACKEND_BYTES, Device, Payload, Reply, app, backend, credentials, parse_one_or_many,
};
use super::validate::Check;
use super::{Api, openapi as words};
use crate::engine::api::Present;
use crate::identity::{Claim, prove};
use crate::problem::{Code, Problem};
use crate::store::{Key, Row};
use crate::workspace::Workspace;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use backstop_wire::{APP_HEADER, DEVICE_SCHEME, PresenceReport, PresenceState};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

const MAX_REPORTS: usize = 500;
/// A page's reports each come with a proof, and a device has few screens.
const MAX_OWN_REPORTS: usize = 20;
/// A report may be this much older than now: longer ago says nothing more.
const MAX_IDLE_MS: i64 = 365 * 86_400_000;

/// What a backend says of one page or device; also an array of up to 500.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BackendReport {
    /// Your id of the customer.
    #[schema(example = "lucas")]
    customer_id: String,
    /// The page's or device's own id.
    #[schema(example = "tab-1")]
    source_id: String,
    /// `active`, `hidden` or `left`.
    #[schema(value_type = words::PresenceState)]
    state: PresenceState,
    /// Milliseconds since the last activity; absent = the last activity stays.
    #[serde(default)]
    idle_ms: Option<i64>,
}

/// What a web page says of itself: the app key in the header or in the body, and the customer's proof.
#[derive(Deserialize, ToSchema)]
pub(super) struct PageReport {
    /// Instead of the header, for callers that cannot set one (`navigator.sendBeacon`).
    #[serde(default)]
    app_key: Option<String>,
    /// The customer.
    #[serde(default)]
    customer_id: Option<String>,
    /// Proof: lower-case hex of HMAC-SHA256.
    #[serde(default)]
    customer_hash: Option<String>,
    /// Proof: a JWT.
    #[serde(default)]
    customer_token: Option<String>,
    /// The page's own id.
    source_id: String,
    /// `active`, `hidden` or `left`.
    #[schema(value_type = words::PresenceState)]
    state: PresenceState,
    /// Milliseconds since the last activity.
    #[serde(default)]
    idle_ms: Option<i64>,
}

/// Any of the bodies, for the document.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the bodies of one endpoint")]
pub(super) enum PresenceBody {
    Backend(BackendReport),
    Batch(Vec<BackendReport>),
    Page(PageReport),
    Pages(Vec<PageReport>),
}

/// Reports whether the customer is looking
///
/// Every call is a heartbeat. From the backend with its key (one report or an array), from a device with its key (the
/// customer is the device's own), from a web page with the app key and the customer's proof. These two may send up to
/// 20 reports in an array.
#[utoipa::path(post, path = "/v1/presence", tag = "presence", request_body = PresenceBody,
    responses((status = 200, description = "Noted", body = super::openapi::Done)))]
pub(super) async fn post(State(api): State<Arc<Api>>, request: Request) -> Response<Body> {
    let answer = report(&api, request).await;
    let mut response = answer.into_response();
    // Web pages of any origin may say so: what they may do hangs on their proof, and no cookie is involved.
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// What browsers ask before a page may send JSON with a header of its own.
pub(super) async fn preflight() -> Response<Body> {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type, backstop-app, backstop-sdk"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn report(api: &Arc<Api>, request: Request) -> Answer {
    let (mut parts, body) = request.into_parts();
    let (workspace, reports) = if credentials(&parts.headers, "Bearer").is_some() {
        let workspace = backend(api, &parts.headers, &parts.method, parts.uri.path()).await?;
        let reports = from_backend(&read(api, &parts, body).await?)?;
        (workspace, reports)
    } else if credentials(&parts.headers, DEVICE_SCHEME).is_some() {
        let device = Device::from_request_parts(&mut parts, api).await?;
        let reports = from_device(api, &device, &read(api, &parts, body).await?).await?;
        (device.workspace, reports)
    } else if parts.headers.contains_key(APP_HEADER) {
        let App(workspace) = App::from_request_parts(&mut parts, api).await?;
        let reports = from_pages(api, &workspace, read_pages(&read(api, &parts, body).await?)?)?;
        (workspace, reports)
    } else {
        api.limits.check_address(&parts)?;
        let pages = read_pages(&read(api, &parts, body).await?)?;
        let key = pages.iter().find_map(|page| page.app_key.as_deref()).ok_or_else(Problem::unauthorized)?;
        let workspace = app(api, key).await?;
        let reports = from_pages(api, &workspace, pages)?;
        (workspace, reports)
    };
    api.engine.presence(&workspace, reports).await?;
    Ok(Reply::done())
}

async fn read(api: &Arc<Api>, parts: &Parts, body: Body) -> Result<axum::body::Bytes, Problem> {
    let mut request = Request::new(body);
    *request.headers_mut() = parts.headers.clone();
    Payload::<BACKEND_BYTES>::from_request(request, api).await.map(|Payload(body)| body)
}

fn from_backend(body: &[u8]) -> Result<Vec<Present>, Problem> {
    let (reports, is_list) = parse_one_or_many::<BackendReport>(body, MAX_REPORTS)?;
    let mut check = Check::default();
    for (i, report) in reports.iter().enumerate() {
        let at = place(i, is_list);
        check.id(&format!("{at}customer_id"), &report.customer_id);
        check_source(&mut check, &at, &report.source_id, report.idle_ms);
    }
    check.finish()?;
    let present = |r: BackendReport| Present {
        customer_id: r.customer_id,
        source_id: r.source_id,
        state: r.state,
        idle_ms: r.idle_ms,
        device: None,
    };
    Ok(reports.into_iter().map(present).collect())
}

/// The customer is whoever is logged in on the device.
async fn from_device(api: &Api, device: &Device, body: &[u8]) -> Result<Vec<Present>, Problem> {
    let (reports, is_list) = parse_one_or_many::<PresenceReport>(body, MAX_OWN_REPORTS)?;
    let mut check = Check::default();
    for (i, report) in reports.iter().enumerate() {
        check_source(&mut check, &place(i, is_list), &report.source_id, report.idle_ms);
    }
    check.finish()?;
    let rows = api.store.load(vec![Key::Device(device.workspace.id, device.id)]).await?;
    let Some(Row::Device(row)) = rows.into_iter().next().flatten() else { return Err(Problem::unauthorized()) };
    let nobody = || Problem::new(Code::IdentityRequired, "nobody is logged in on this device");
    let customer_id = row.customer_id.ok_or_else(nobody)?;
    let present = |r: PresenceReport| Present {
        customer_id: customer_id.clone(),
        source_id: r.source_id,
        state: r.state,
        idle_ms: r.idle_ms,
        device: Some(device.id),
    };
    Ok(reports.into_iter().map(present).collect())
}

fn read_pages(body: &[u8]) -> Result<Vec<PageReport>, Problem> {
    let (pages, is_list) = parse_one_or_many::<PageReport>(body, MAX_OWN_REPORTS)?;
    let mut check = Check::default();
    for (i, page) in pages.iter().enumerate() {
        let at = place(i, is_list);
        if let Some(id) = &page.customer_id {
            check.id(&format!("{at}customer_id"), id);
        }
        check_source(&mut check, &at, &page.source_id, page.idle_ms);
    }
    check.finish()?;
    Ok(pages)
}

/// All of them or none: a proof that does not fit refuses its neighbours, too.
fn from_pages(api: &Api, workspace: &Workspace, pages: Vec<PageReport>) -> Result<Vec<Present>, Problem> {
    pages.into_iter().map(|page| from_page(api, workspace, page)).collect()
}

fn from_page(api: &Api, workspace: &Workspace, page: PageReport) -> Result<Present, Problem> {
    let claim = Claim {
        customer_id: page.customer_id.as_deref(),
        hash: page.customer_hash.as_deref(),
        token: page.customer_token.as_deref(),
    };
    let nobody = || Problem::new(Code::IdentityRequired, "say whose presence it is: customer_id and its proof");
    let customer_id = prove(workspace, claim, api.clocks.real_ms())?.ok_or_else(nobody)?;
    Ok(Present { customer_id, source_id: page.source_id, state: page.state, idle_ms: page.idle_ms, device: None })
}

/// What the path of a field of one report begins with.
fn place(i: usize, is_list: bool) -> String {
    if is_list { format!("[{i}].") } else { String::new() }
}

fn check_source(check: &mut Check, at: &str, source_id: &str, idle_ms: Option<i64>) {
    check.id(&format!("{at}source_id"), source_id);
    if idle_ms.is_some_and(|idle| !(0..=MAX_IDLE_MS).contains(&idle)) {
        check.error(&format!("{at}idle_ms"), "out_of_range", format!("give 0 to {MAX_IDLE_MS} milliseconds (a year)"));
    }
}
