//! `/sandbox/*`: each takes a workspace's own key and acts on that workspace alone.

use super::Sandbox;
use super::phones::{Behaviour as PhoneBehaviour, NewPhone, Phone};
use super::step::{MAX_ADVANCE_MS, Stepped};
use crate::http::openapi::Done;
use crate::http::request::{BACKEND_BYTES, Payload, Reply, Segment, backend, parse};
use crate::http::validate::caller_id;
use crate::problem::Problem;
use crate::providers::capture::{Behaviour, Captured, Channel};
use crate::registry::{CreateError, Created};
use crate::vault;
use crate::workspace::Workspace;
use axum::Router;
use axum::extract::{FromRequest, FromRequestParts, Query, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use backstop_domain::Ms;
use backstop_wire::{Platform, time::to_rfc3339};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

type Answer = Result<Reply, Problem>;

pub(super) fn router(sandbox: Sandbox) -> Router {
    routes().split_for_parts().0.with_state(sandbox)
}

/// What the routes say of themselves, for the API's document.
pub(crate) fn document() -> OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<Sandbox> {
    OpenApiRouter::new()
        .routes(routes!(create_workspace, drop_workspace))
        .routes(routes!(drop_named))
        .routes(routes!(clock))
        .routes(routes!(advance))
        .routes(routes!(outbox))
        .routes(routes!(set_provider))
        .routes(routes!(add_phone, phones))
        .routes(routes!(webhooks))
}

/// A whole list.
#[derive(Serialize, ToSchema)]
struct All<T: ToSchema> {
    data: Vec<T>,
}

/// The workspace whose key was sent.
struct Own(Arc<Workspace>);

impl FromRequestParts<Sandbox> for Own {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, sandbox: &Sandbox) -> Result<Own, Problem> {
        backend(&sandbox.0.api, &parts.headers, &parts.method, parts.uri.path()).await.map(Own)
    }
}

/// A JSON body, read and checked as everywhere.
struct Body<T>(T);

impl<T: DeserializeOwned> FromRequest<Sandbox> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, sandbox: &Sandbox) -> Result<Body<T>, Problem> {
        let Payload(bytes) = Payload::<BACKEND_BYTES>::from_request(request, &sandbox.0.api).await?;
        parse(&bytes).map(Body)
    }
}

/// Makes a workspace of a test's own
///
/// No key: whoever reaches a sandbox may use it.
#[utoipa::path(post, path = "/sandbox/workspaces", tag = "sandbox",
    responses((status = 200, description = "Its keys, shown once", body = Created)))]
async fn create_workspace(State(sandbox): State<Sandbox>) -> Answer {
    let random = vault::random_secret_hex();
    let name = format!("sandbox-{}", &random[..16]);
    match sandbox.0.api.registry.create(&name).await {
        Ok(created) => Ok(Reply::json(StatusCode::OK, &created)),
        Err(CreateError::Store(error)) => Err(error.into()),
        Err(error @ (CreateError::Name | CreateError::Taken)) => {
            Err(Problem::invalid_field("workspace", "invalid", error.to_string()))
        }
    }
}

/// Drops the key's workspace with everything in it
#[utoipa::path(delete, path = "/sandbox/workspaces", tag = "sandbox",
    responses((status = 200, description = "It is gone", body = Done)))]
async fn drop_workspace(State(sandbox): State<Sandbox>, Own(ws): Own) -> Answer {
    sandbox.drop_workspace(&ws).await?;
    Ok(Reply::done())
}

/// Drops the key's workspace, by its name
#[utoipa::path(delete, path = "/sandbox/workspaces/{name}", tag = "sandbox",
    params(("name" = String, Path, description = "The name of the key's workspace")),
    responses((status = 200, description = "It is gone", body = Done)))]
async fn drop_named(State(sandbox): State<Sandbox>, Own(ws): Own, Segment(name): Segment) -> Answer {
    if name != ws.name {
        return Err(Problem::not_found("this key is not of a workspace of that name"));
    }
    sandbox.drop_workspace(&ws).await?;
    Ok(Reply::done())
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Advance {
    /// 0 to a year; 0 freezes the clock where it is.
    #[schema(value_type = i64, minimum = 0)]
    ms: Ms,
}

/// Freezes the workspace's clock, and moves it on
///
/// It steps through due instants in order: decides at that instant, performs, folds the outcomes in. From the first
/// call on only this moves the clock, and never back.
#[utoipa::path(post, path = "/sandbox/clock/advance", tag = "sandbox", request_body = Advance,
    responses((status = 200, description = "Everything up to there is settled", body = Stepped)))]
async fn advance(State(sandbox): State<Sandbox>, Own(ws): Own, Body(body): Body<Advance>) -> Answer {
    check_ms("ms", body.ms)?;
    Ok(Reply::ok(&sandbox.advance(&ws, body.ms).await?))
}

/// Where a workspace's clock stands.
#[derive(Serialize, ToSchema)]
#[schema(as = SandboxClock)]
struct Stands {
    #[schema(format = DateTime)]
    now: String,
    /// Whether only `POST /sandbox/clock/advance` moves it.
    frozen: bool,
}

/// Shows the workspace's clock
#[utoipa::path(get, path = "/sandbox/clock", tag = "sandbox",
    responses((status = 200, description = "Its time", body = Stands)))]
async fn clock(State(sandbox): State<Sandbox>, Own(ws): Own) -> Answer {
    let clocks = &sandbox.0.api.clocks;
    let frozen = clocks.frozen_at(ws.id).is_some();
    Ok(Reply::ok(&Stands { now: to_rfc3339(clocks.now_ms(ws.id)), frozen }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutboxFilter {
    channel: Option<String>,
    followup_id: Option<String>,
}

/// Lists what would have left, oldest first
///
/// One row per effect: a repeat updates `attempt`. It waits up to 5 s for what was committed before it. Kept in
/// memory, the newest 50,000; deliveries are the durable record.
#[utoipa::path(get, path = "/sandbox/outbox", tag = "sandbox",
    params(
        ("channel" = Option<Channel>, Query, description = "Only this channel"),
        ("followup_id" = Option<String>, Query, description = "Only this follow-up's"),
    ),
    responses((status = 200, description = "All of it", body = All<Captured>)))]
async fn outbox(State(sandbox): State<Sandbox>, Own(ws): Own, parts: OutboxQuery) -> Answer {
    let OutboxQuery(filter) = parts;
    let channel = filter.channel.as_deref().map(channel).transpose()?;
    sandbox.settle(&ws).await;
    let rows = sandbox.0.capture.outbox(&ws.name, channel, filter.followup_id.as_deref());
    let rows: Vec<_> = rows.iter().map(Arc::as_ref).collect();
    Ok(Reply::ok(&json!({ "data": rows })))
}

struct OutboxQuery(OutboxFilter);

impl FromRequestParts<Sandbox> for OutboxQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Sandbox) -> Result<OutboxQuery, Problem> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(filter)| OutboxQuery(filter))
            .map_err(|_| Problem::invalid_field("query", "unknown_parameter", "give channel, followup_id, or neither"))
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetProvider {
    behaviour: Behaviour,
    /// Only to this number or address.
    to: Option<String>,
    /// Only to this push token.
    token: Option<String>,
    /// Only so many times; absent = from now on.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 4_294_967_295_u64)]
    times: Option<u32>,
}

/// Says how captured providers answer
///
/// Of several rules that fit a send, the latest decides.
#[utoipa::path(post, path = "/sandbox/providers/{channel}", tag = "sandbox", request_body = SetProvider,
    params(("channel" = Channel, Path, description = "Whose providers")),
    responses((status = 200, description = "From now on", body = Done)))]
async fn set_provider(
    State(sandbox): State<Sandbox>,
    Own(ws): Own,
    Segment(name): Segment,
    Body(rule): Body<SetProvider>,
) -> Answer {
    let channel = channel(&name)?;
    if rule.times == Some(0) {
        return Err(Problem::invalid_field("times", "out_of_range", "give 1 or more, or leave it out for always"));
    }
    for (field, value) in [("to", &rule.to), ("token", &rule.token)] {
        if value.as_ref().is_some_and(|value| value.is_empty() || value.len() > 4_096) {
            return Err(Problem::invalid_field(field, "invalid", "give 1 to 4,096 bytes, or leave it out for all"));
        }
    }
    if rule.token.is_some() && channel != Channel::Push {
        return Err(Problem::invalid_field("token", "not_allowed", "only a push has a token; use to"));
    }
    // Failure reports of a workspace find it by its yard.
    let _ = sandbox.yard(&ws);
    sandbox.0.capture.set_behaviour(&ws.name, channel, rule.behaviour, rule.to, rule.token, rule.times);
    Ok(Reply::done())
}

/// A virtual phone.
#[derive(Serialize, ToSchema)]
#[schema(as = Phone)]
struct PhoneView {
    /// `dev_…`.
    device_id: String,
    customer_id: String,
    /// Its push token.
    token: String,
    #[schema(value_type = String)]
    platform: Platform,
    behaviour: PhoneBehaviour,
    #[schema(value_type = i64)]
    ack_after_ms: Ms,
}

fn view(phone: &Phone) -> PhoneView {
    PhoneView {
        device_id: phone.device_id.clone(),
        customer_id: phone.customer_id.clone(),
        token: phone.token.clone(),
        platform: phone.platform,
        behaviour: phone.behaviour,
        ack_after_ms: phone.ack_after_ms,
    }
}

/// Makes a virtual phone
///
/// It runs the real SDK inside the server, on the workspace's clock: logs the customer in, registers a token of its
/// own, and takes its pushes as told. Gone after a restart.
#[utoipa::path(post, path = "/sandbox/phones", tag = "sandbox", request_body = NewPhone,
    responses((status = 200, description = "It is registered", body = PhoneView)))]
async fn add_phone(State(sandbox): State<Sandbox>, Own(ws): Own, Body(new): Body<NewPhone>) -> Answer {
    caller_id("customer_id", &new.customer_id)?;
    check_ms("ack_after_ms", new.ack_after_ms.unwrap_or(0))?;
    let phone = sandbox.add_phone(&ws, new).await?;
    Ok(Reply::json(StatusCode::OK, &view(&phone)))
}

/// Lists the virtual phones
#[utoipa::path(get, path = "/sandbox/phones", tag = "sandbox",
    responses((status = 200, description = "All of them", body = All<PhoneView>)))]
async fn phones(State(sandbox): State<Sandbox>, Own(ws): Own) -> Answer {
    let data = sandbox.yard(&ws).all().iter().map(|phone| view(phone)).collect();
    Ok(Reply::ok(&All { data }))
}

/// A call of a webhook.
#[derive(Serialize, ToSchema)]
struct WebhookCall {}

/// Lists captured webhook calls
///
/// Nothing calls a webhook yet: the list is there so that a test can already ask.
#[utoipa::path(get, path = "/sandbox/webhooks", tag = "sandbox",
    responses((status = 200, description = "All of them", body = All<WebhookCall>)))]
async fn webhooks(_own: Own) -> Reply {
    Reply::ok(&All::<WebhookCall> { data: Vec::new() })
}

fn check_ms(field: &str, ms: Ms) -> Result<(), Problem> {
    if (0..=MAX_ADVANCE_MS).contains(&ms) {
        return Ok(());
    }
    Err(Problem::invalid_field(field, "out_of_range", format!("give 0 to {MAX_ADVANCE_MS} (a year)")))
}

fn channel(name: &str) -> Result<Channel, Problem> {
    match name {
        "push" => Ok(Channel::Push),
        "sms" | "text" | "xms" => Ok(Channel::Sms),
        "lms" => Ok(Channel::Lms),
        "alimtalk" => Ok(Channel::Alimtalk),
        "line" => Ok(Channel::Line),
        "email" => Ok(Channel::Email),
        _ => Err(Problem::invalid_field("channel", "invalid", "give push, alimtalk, line, sms, lms or email")),
    }
}
