//! `/v1/followups`: where each one stands, what was sent for it and why.

use super::Api;
use super::idempotency::Idempotency;
use super::request::{Answer, Backend, Params, Reply, Segment};
use super::view::{self, FollowupView, List};
use crate::engine::api::EngineError;
use crate::problem::Problem;
use crate::store::{FollowupFilter, FollowupRow, Key, Row};
use crate::workspace::Workspace;
use axum::extract::State;
use backstop_domain::followup::PublicState;
use backstop_domain::ids::FollowupId;
use serde::Deserialize;
use std::sync::Arc;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;
const STATES: [PublicState; 7] = [
    PublicState::Sending,
    PublicState::AwaitingAck,
    PublicState::FallingBack,
    PublicState::Acked,
    PublicState::FellBack,
    PublicState::Cancelled,
    PublicState::Failed,
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    customer_id: Option<String>,
    conversation_id: Option<String>,
    message_id: Option<String>,
    state: Option<String>,
    limit: Option<String>,
    after: Option<String>,
}

/// Lists follow-ups, newest first
#[utoipa::path(get, path = "/v1/followups", tag = "backend",
    params(
        ("customer_id" = Option<String>, Query, description = "Only this customer's"),
        ("conversation_id" = Option<String>, Query, description = "Only this conversation's"),
        ("message_id" = Option<String>, Query, description = "Only the one of this message"),
        ("state" = Option<super::openapi::FollowupState>, Query, description = "Only in this state"),
        ("limit" = Option<u32>, Query, description = "1–200, default 50"),
        ("after" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = List<FollowupView>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Params(params): Params<ListParams>,
) -> Answer {
    let limit = limit(params.limit.as_deref())?;
    let after = params
        .after
        .as_deref()
        .filter(|cursor| !cursor.is_empty())
        .map(|cursor| FollowupId::parse(cursor).ok_or_else(bad_cursor))
        .transpose()?;
    if let Some(state) = &params.state
        && !STATES.iter().any(|s| s.as_str() == state)
    {
        let words = STATES.map(PublicState::as_str).join(", ");
        return Err(Problem::invalid_field("state", "invalid", format!("give one of {words}")));
    }
    api.settle(&workspace).await;
    let filter = FollowupFilter {
        customer_id: params.customer_id,
        conversation_id: params.conversation_id,
        message_id: params.message_id,
        state: params.state,
        after,
        limit: limit + 1,
        ..FollowupFilter::default()
    };
    let mut rows = api.store.followups(workspace.id, filter).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.id.to_string());
    let mut data = Vec::with_capacity(rows.len());
    for row in &rows {
        data.extend(view(&api, row).await?);
    }
    Ok(Reply::ok(&List { data, next_cursor }))
}

/// Shows a follow-up
#[utoipa::path(get, path = "/v1/followups/{followup_id}", tag = "backend",
    params(("followup_id" = String, Path, description = "`fu_…`")),
    responses((status = 200, description = "The follow-up", body = FollowupView)))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Segment(followup_id): Segment,
) -> Answer {
    api.settle(&workspace).await;
    shown(&api, &workspace, id(&followup_id)?).await
}

/// Cancels a follow-up
///
/// Stops what has not left. Repeatable; the outcome that was committed first stays.
#[utoipa::path(post, path = "/v1/followups/{followup_id}/cancel", tag = "backend",
    params(("followup_id" = String, Path, description = "`fu_…`")),
    responses((status = 200, description = "The follow-up as it is now", body = FollowupView)))]
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Segment(followup_id): Segment,
    idempotency: Idempotency,
) -> Answer {
    let id = id(&followup_id)?;
    // The answer names the customer, so that it goes with them.
    let idempotency = match load(&api, &workspace, id).await? {
        Some(row) => idempotency.about(&row.customer_id),
        None => idempotency,
    };
    let act = async {
        api.engine.cancel(&workspace, id).await?;
        shown(&api, &workspace, id).await
    };
    idempotency.once(&api, &workspace, &[], act).await
}

async fn shown(api: &Api, workspace: &Workspace, id: FollowupId) -> Answer {
    let row = load(api, workspace, id).await?.ok_or(EngineError::UnknownFollowup)?;
    let view = view(api, &row).await?.ok_or(EngineError::UnknownFollowup)?;
    Ok(Reply::ok(&view))
}

/// The follow-up with its history; `None`: it only watches.
pub(super) async fn view(api: &Api, row: &FollowupRow) -> Result<Option<FollowupView>, Problem> {
    if row.state.public_state().is_none() {
        return Ok(None);
    }
    let history = api.store.history(row.workspace, row.id).await?;
    Ok(view::followup(row, history))
}

pub(super) async fn load(api: &Api, workspace: &Workspace, id: FollowupId) -> Result<Option<FollowupRow>, Problem> {
    let rows = api.store.load(vec![Key::Followup(workspace.id, id)]).await?;
    Ok(match rows.into_iter().next().flatten() {
        Some(Row::Followup(row)) => Some(Arc::unwrap_or_clone(row)),
        _ => None,
    })
}

fn id(text: &str) -> Result<FollowupId, Problem> {
    FollowupId::parse(text).ok_or_else(|| EngineError::UnknownFollowup.into())
}

/// `limit` of a list.
pub(super) fn limit(given: Option<&str>) -> Result<usize, Problem> {
    let Some(given) = given else { return Ok(DEFAULT_LIMIT) };
    let limit = given.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| Problem::invalid_field("limit", "out_of_range", format!("give 1 to {MAX_LIMIT}")))
}

pub(super) fn bad_cursor() -> Problem {
    Problem::invalid_field("after", "invalid", "give a next_cursor of this list")
}
