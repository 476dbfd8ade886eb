//! `/v1/settings`: what a workspace may adjust; PUT replaces it whole.

use super::Api;
use super::request::{Answer, BACKEND_BYTES, Backend, Payload, Reply, parse};
use crate::problem::Problem;
use crate::settings::{Settings, SettingsInput};
use crate::workspace::Workspace;
use axum::extract::State;
use std::sync::Arc;

/// Shows the settings in force
#[utoipa::path(get, path = "/v1/settings", tag = "backend",
    responses((status = 200, description = "Settings in force", body = Settings)))]
pub(super) async fn show(Backend(workspace): Backend) -> Answer {
    Ok(Reply::ok(&in_force(&workspace)))
}

/// Replaces the settings, whole
///
/// What is not given has its default again.
#[utoipa::path(put, path = "/v1/settings", tag = "backend", request_body = SettingsInput,
    responses((status = 200, description = "Settings in force", body = Settings)))]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let input: SettingsInput = parse(&body)?;
    let problems = input.problems();
    if !problems.is_empty() {
        return Err(Problem::invalid(problems));
    }
    let replaced = api.registry.replace_settings(workspace.id, &input).await?;
    let workspace = replaced.ok_or_else(Problem::unauthorized)?;
    Ok(Reply::ok(&in_force(&workspace)))
}

fn in_force(workspace: &Workspace) -> Settings {
    Settings { company_name: Some(workspace.display_name().to_owned()), ..workspace.settings.clone() }
}
