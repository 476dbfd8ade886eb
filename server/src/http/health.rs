//! Health, readiness and metrics: for the machinery around the server, without a key.

use super::Api;
use super::request::{Answer, Reply};
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Alive.
#[derive(Serialize, ToSchema)]
pub(super) struct Alive {
    /// `ok`.
    status: &'static str,
}

/// Whether requests should come here.
#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    /// `ok` or `unavailable`.
    status: &'static str,
    /// `ok`, or why nothing can be stored.
    store: String,
    /// Version of the store's schema; `null` = it did not answer.
    schema: Option<i64>,
    /// `ok`, or what is wrong with the timers.
    timers: String,
    /// `single`, `ha-strict` or `ha-async`.
    class: Option<&'static str>,
}

/// Says that the process runs
#[utoipa::path(get, path = "/healthz", tag = "operations",
    responses((status = 200, description = "It runs", body = Alive)))]
pub(super) async fn healthz() -> Answer {
    Ok(Reply::ok(&Alive { status: "ok" }))
}

/// Says whether requests can be served
#[utoipa::path(get, path = "/readyz", tag = "operations", responses(
    (status = 200, description = "They can", body = Ready),
    (status = 503, description = "They cannot, and why", body = Ready),
))]
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Answer {
    let timers = (api.ready)();
    let health = api.store.health().await;
    let store = match &health {
        Ok(health) => health.writable.clone(),
        Err(error) => Err(error.to_string()),
    };
    let ready = store.is_ok() && timers.is_ok();
    let word = |check: Result<(), String>| check.err().unwrap_or_else(|| "ok".into());
    let body = Ready {
        status: if ready { "ok" } else { "unavailable" },
        store: word(store),
        schema: health.as_ref().ok().map(|h| h.schema),
        timers: word(timers),
        class: health.as_ref().ok().map(|h| h.class),
    };
    Ok(Reply::json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body))
}

/// Shows metrics as Prometheus text
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Prometheus text", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Answer {
    let mut reply = Reply::done();
    reply.content_type = Some("text/plain; version=0.0.4; charset=utf-8");
    reply.body = (api.metrics)().into();
    Ok(reply)
}
