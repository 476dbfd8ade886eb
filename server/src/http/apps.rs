//! `/v1/apps`: the company's mobile apps with their push credentials, which go in and never come out.

use super::Api;
use super::request::{Answer, BACKEND_BYTES, Backend, Caller, Payload, Reply, Segment, parse};
use super::view::List;
use crate::apps::{AppInput, AppView};
use crate::problem::Problem;
use crate::registry::AppChanged;
use axum::extract::State;
use std::sync::Arc;

/// Puts an app with its credentials, whole
///
/// Keys are checked before they are taken, sealed, and never shown again. What is left out of `apns` or `fcm` is
/// forgotten; a key that is left out of an entry that is known stays. Takes effect within a second.
#[utoipa::path(put, path = "/v1/apps/{app_id}", tag = "backend", request_body = AppInput,
    params(
        ("app_id" = String, Path, description = "Your id of it"),
        ("Backstop-Actor" = Option<String>, Header, description = "Who does it, by the caller's word, for the log"),
    ),
    responses((status = 200, description = "As it is now", body = AppView)))]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Caller(who): Caller,
    Segment(app_id): Segment,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let input: AppInput = parse(&body)?;
    match api.registry.put_app(workspace.id, &app_id, &input, &who).await? {
        AppChanged::Done(workspace) => shown(workspace.apps.view(&app_id)),
        AppChanged::Invalid(errors) => Err(Problem::invalid(errors)),
        AppChanged::Gone => Err(Problem::unauthorized()),
    }
}

/// Lists the apps of the workspace
#[utoipa::path(get, path = "/v1/apps", tag = "backend",
    responses((status = 200, description = "All of them", body = List<AppView>)))]
pub(super) async fn list(Backend(workspace): Backend) -> Answer {
    Ok(Reply::ok(&List { data: workspace.apps.views(), next_cursor: None }))
}

/// Shows an app
#[utoipa::path(get, path = "/v1/apps/{app_id}", tag = "backend",
    params(("app_id" = String, Path, description = "Your id of it")),
    responses((status = 200, description = "Without its keys", body = AppView)))]
pub(super) async fn show(Backend(workspace): Backend, Segment(app_id): Segment) -> Answer {
    shown(workspace.apps.view(&app_id))
}

/// Deletes an app with its credentials
///
/// Its devices stay registered; they are pushed to by the deployment's credentials, if there are any.
#[utoipa::path(delete, path = "/v1/apps/{app_id}", tag = "backend",
    params(
        ("app_id" = String, Path, description = "Your id of it"),
        ("Backstop-Actor" = Option<String>, Header, description = "Who does it, by the caller's word, for the log"),
    ),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Caller(who): Caller,
    Segment(app_id): Segment,
) -> Answer {
    api.registry.delete_app(workspace.id, &app_id, &who).await?;
    Ok(Reply::no_content())
}

fn shown(app: Option<AppView>) -> Answer {
    let app = app.ok_or_else(|| Problem::not_found("there is no such app in this workspace; PUT makes it"))?;
    Ok(Reply::ok(&app))
}
