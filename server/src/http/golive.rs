//! `GET /v1/golive`: what still stands between a workspace and its launch.

use super::Api;
use super::request::{Answer, Backend, Reply};
use crate::golive::Finding;
use axum::extract::State;
use backstop_wire::time::to_rfc3339;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// What was found.
#[derive(Serialize, ToSchema)]
pub(super) struct Looked {
    /// When; at most a minute ago.
    #[schema(format = DateTime)]
    checked_at: String,
    /// A finding a thing.
    data: Vec<Finding>,
}

/// Checks what a launch needs
///
/// Credentials, the way here, the machine, the settings, a device, a test push, the canary: each with what mends it.
/// Nothing is sent to anybody. Vendors are asked at most once a minute; in between the answer is the same.
#[utoipa::path(get, path = "/v1/golive", tag = "backend",
    responses((status = 200, description = "A finding a thing", body = Looked)))]
pub(super) async fn look(State(api): State<Arc<Api>>, Backend(workspace): Backend) -> Answer {
    let look = api.golive.look(&*api.store, &workspace).await?;
    Ok(Reply::ok(&Looked { checked_at: to_rfc3339(look.at), data: look.findings }))
}
