//! Health, readiness and metrics: for the machinery around the server, without a key.

use super::Api;
use super::request::{Answer, Reply};
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use utoipa::ToSchema;

/// Alive.
#[derive(Serialize, ToSchema)]
pub(super) struct Alive {
    /// `ok`.
    status: &'static str,
    /// Only to a `nonce` that this deployment made, as `check-config --live` does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    echo: Option<Echo>,
}

/// Proves to a server's own deployment that it is reached, and by what.
#[derive(Serialize, ToSchema)]
struct Echo {
    /// What only a holder of the data key can say.
    proof: String,
    /// Who connected.
    peer: String,
    /// Whether that is a trusted proxy.
    trusted: bool,
    /// Whether it says where requests come from.
    forwarded: bool,
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
    params(("nonce" = Option<String>, Query, description = "A deployment's own question whether it is reached")),
    responses((status = 200, description = "It runs", body = Alive)))]
pub(super) async fn healthz(State(api): State<Arc<Api>>, parts: Parts) -> Answer {
    let challenge = parts.uri.query().and_then(|query| query.strip_prefix("nonce="));
    let proof = challenge.and_then(|challenge| api.vault.answer(challenge));
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
    let echo = proof.zip(peer).map(|(proof, peer)| Echo {
        proof,
        peer: peer.to_string(),
        trusted: api.limits.trusts(peer),
        forwarded: api.limits.is_forwarded(&parts),
    });
    Ok(Reply::ok(&Alive { status: "ok", echo }))
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
