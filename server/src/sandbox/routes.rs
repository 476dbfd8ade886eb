//! `/sandbox/*`: each takes a workspace's own key and acts on that workspace alone.

use super::Sandbox;
use super::phones::{Behaviour as PhoneBehaviour, NewPhone, Phone};
use super::step::MAX_ADVANCE_MS;
use crate::http::request::{BACKEND_BYTES, Payload, Reply, backend, parse};
use crate::http::validate::caller_id;
use crate::problem::Problem;
use crate::providers::capture::{Behaviour, Channel};
use crate::registry::CreateError;
use crate::vault;
use crate::workspace::Workspace;
use axum::Router;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{delete, get, post};
use backstop_domain::Ms;
use backstop_wire::{Platform, time::to_rfc3339};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

type Answer = Result<Reply, Problem>;

pub(super) fn router(sandbox: Sandbox) -> Router {
    Router::new()
        .route("/sandbox/workspaces", post(create_workspace).delete(drop_workspace))
        .route("/sandbox/workspaces/{name}", delete(drop_named))
        .route("/sandbox/clock", get(clock))
        .route("/sandbox/clock/advance", post(advance))
        .route("/sandbox/outbox", get(outbox))
        .route("/sandbox/providers/{channel}", post(set_provider))
        .route("/sandbox/phones", post(add_phone).get(phones))
        .route("/sandbox/webhooks", get(webhooks))
        .with_state(sandbox)
}

/// The workspace whose key was sent.
struct Own(Arc<Workspace>);

impl FromRequestParts<Sandbox> for Own {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, sandbox: &Sandbox) -> Result<Own, Problem> {
        backend(&sandbox.0.api, &parts.headers, &parts.method).await.map(Own)
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

/// No key: whoever reaches a sandbox may use it.
async fn create_workspace(State(sandbox): State<Sandbox>) -> Answer {
    let random = vault::random_secret_hex();
    let name = format!("sandbox-{}", &random[..16]);
    match sandbox.0.api.registry.create(&name).await {
        Ok(created) => Ok(Reply::json(StatusCode::CREATED, &created)),
        Err(CreateError::Store(error)) => Err(error.into()),
        Err(error @ (CreateError::Name | CreateError::Taken)) => {
            Err(Problem::invalid_field("workspace", "invalid", error.to_string()))
        }
    }
}

async fn drop_workspace(State(sandbox): State<Sandbox>, Own(ws): Own) -> Answer {
    sandbox.drop_workspace(&ws).await?;
    Ok(Reply::done())
}

async fn drop_named(State(sandbox): State<Sandbox>, Path(name): Path<String>, Own(ws): Own) -> Answer {
    if name != ws.name {
        return Err(Problem::not_found("this key is not of a workspace of that name"));
    }
    sandbox.drop_workspace(&ws).await?;
    Ok(Reply::done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    ms: Ms,
}

async fn advance(State(sandbox): State<Sandbox>, Own(ws): Own, Body(body): Body<Advance>) -> Answer {
    check_ms("ms", body.ms)?;
    Ok(Reply::ok(&sandbox.advance(&ws, body.ms).await?))
}

async fn clock(State(sandbox): State<Sandbox>, Own(ws): Own) -> Answer {
    let clocks = &sandbox.0.api.clocks;
    let frozen = clocks.frozen_at(ws.id).is_some();
    Ok(Reply::ok(&json!({ "now": to_rfc3339(clocks.now_ms(ws.id)), "frozen": frozen })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutboxFilter {
    channel: Option<String>,
    followup_id: Option<String>,
}

async fn outbox(State(sandbox): State<Sandbox>, Own(ws): Own, parts: OutboxQuery) -> Answer {
    let OutboxQuery(filter) = parts;
    // Nothing leaves by these yet, so that a test may already look.
    let none = matches!(filter.channel.as_deref(), Some("alimtalk" | "line"));
    let channel = filter.channel.as_deref().filter(|_| !none).map(channel).transpose()?;
    sandbox.settle(&ws).await;
    let mut rows = sandbox.0.capture.outbox(&ws.name, channel, filter.followup_id.as_deref());
    rows.retain(|_| !none);
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetProvider {
    behaviour: Behaviour,
    to: Option<String>,
    token: Option<String>,
    times: Option<u32>,
}

async fn set_provider(
    State(sandbox): State<Sandbox>,
    Path(name): Path<String>,
    Own(ws): Own,
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
    sandbox.0.capture.set_behaviour(&ws.name, channel, rule.behaviour, rule.to, rule.token, rule.times);
    Ok(Reply::done())
}

#[derive(Serialize)]
struct PhoneView<'a> {
    device_id: &'a str,
    customer_id: &'a str,
    token: &'a str,
    platform: Platform,
    behaviour: PhoneBehaviour,
    ack_after_ms: Ms,
}

fn view(phone: &Phone) -> PhoneView<'_> {
    PhoneView {
        device_id: &phone.device_id,
        customer_id: &phone.customer_id,
        token: &phone.token,
        platform: phone.platform,
        behaviour: phone.behaviour,
        ack_after_ms: phone.ack_after_ms,
    }
}

async fn add_phone(State(sandbox): State<Sandbox>, Own(ws): Own, Body(new): Body<NewPhone>) -> Answer {
    caller_id("customer_id", &new.customer_id)?;
    check_ms("ack_after_ms", new.ack_after_ms.unwrap_or(0))?;
    let phone = sandbox.add_phone(&ws, new).await?;
    Ok(Reply::json(StatusCode::CREATED, &view(&phone)))
}

async fn phones(State(sandbox): State<Sandbox>, Own(ws): Own) -> Answer {
    let phones = sandbox.yard(&ws).all();
    let phones: Vec<_> = phones.iter().map(|phone| view(phone)).collect();
    Ok(Reply::ok(&json!({ "data": phones })))
}

/// Nothing calls a webhook yet: the list is there so that a test can already ask.
async fn webhooks(Own(_): Own) -> Reply {
    Reply::ok(&json!({ "data": [] }))
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
        "sms" | "lms" | "text" | "xms" => Ok(Channel::Sms),
        "email" => Ok(Channel::Email),
        _ => Err(Problem::invalid_field("channel", "invalid", "give push, sms or email")),
    }
}
