//! `GET /v1/followups/{followup_id}/explain`: a follow-up in sentences, and its decisions made again (S7).

use super::Api;
use super::request::{Answer, Backend, Params, Reply, Segment};
use super::view::HistoryView;
use crate::engine::api::EngineError;
use crate::explain::{replay_sentences, sentences};
use crate::replay::{Replayed, Said, replay};
use axum::extract::State;
use backstop_domain::Ms;
use backstop_domain::ids::FollowupId;
use backstop_wire::time::to_rfc3339;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainParams {
    replay: Option<bool>,
}

/// A follow-up in sentences.
#[derive(Serialize, ToSchema)]
pub(super) struct Explained {
    followup_id: String,
    /// What it is, each decision at its time, where it stands, what became of each way out. Names ids of callers.
    sentences: Vec<String>,
    /// Unless it is asked for: `null`.
    replay: Option<ReplayView>,
}

/// Decisions made again by the rules and settings of now.
#[derive(Serialize, ToSchema)]
#[schema(as = Replay)]
struct ReplayView {
    /// Whether every decision would be the same.
    same: bool,
    /// Decisions that were made again and came to the same.
    alike: usize,
    /// The first that would be another one; what followed from it cannot be told.
    differs: Option<DifferenceView>,
    /// Why not all were made again: `not_kept` (erased, or older than what is kept) or `not_understood` (kept by
    /// another version).
    incomplete: Option<&'static str>,
    /// The version of the settings that the first decision was made by.
    settings_then: Option<i64>,
    /// That of now.
    settings_now: i64,
    /// The same in words.
    sentences: Vec<String>,
}

/// A decision that would be another one.
#[derive(Serialize, ToSchema)]
#[schema(as = Difference)]
struct DifferenceView {
    then: HistoryView,
    /// `null` = nothing would come of what happened.
    now: Option<HistoryView>,
}

/// Explains a follow-up in sentences
///
/// With `replay=true` its decisions are made again, each on what it was made on, by the rules and settings of now:
/// where they would be others, and what. Nothing is changed by it.
#[utoipa::path(get, path = "/v1/followups/{followup_id}/explain", tag = "backend",
    params(
        ("followup_id" = String, Path, description = "`fu_…`"),
        ("replay" = Option<bool>, Query, description = "Whether to make its decisions again"),
    ),
    responses((status = 200, description = "What happened and why", body = Explained)))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Segment(followup_id): Segment,
    Params(params): Params<ExplainParams>,
) -> Answer {
    api.settle(&workspace).await;
    let id = FollowupId::parse(&followup_id).ok_or(EngineError::UnknownFollowup)?;
    let row = super::followups::load(&api, &workspace, id).await?;
    let row = row.filter(|row| row.state.public_state().is_some()).ok_or(EngineError::UnknownFollowup)?;
    let history = api.store.history(workspace.id, id).await?;
    let wanted = params.replay.unwrap_or(false);
    let settings_now = workspace.settings_set.as_ref().map_or(1, |set| set.version);
    let replay = wanted.then(|| view(replay(&history, &workspace.policy), settings_now));
    Ok(Reply::ok(&Explained { followup_id, sentences: sentences(&row, &history), replay }))
}

fn view(replayed: Replayed, settings_now: i64) -> ReplayView {
    let shown = |at: Ms, Said { event, decision, why }| HistoryView { at: to_rfc3339(at), event, decision, why };
    ReplayView {
        same: replayed.is_same(),
        alike: replayed.alike,
        sentences: replay_sentences(&replayed, settings_now),
        incomplete: replayed.incomplete.map(|why| why.as_str()),
        settings_then: replayed.settings_then,
        settings_now,
        differs: replayed.differs.map(|d| {
            let now = d.now.map(|now| shown(d.at, now));
            DifferenceView { then: shown(d.at, d.then), now }
        }),
    }
}
