//! `/v1/audit`: who changed what, and when.

use super::Api;
use super::followups::{bad_cursor, limit};
use super::request::{Answer, Backend, Params, Reply};
use super::view::List;
use crate::audit::{Kind, Stored, Who};
use crate::problem::Problem;
use crate::store::AuditFilter;
use crate::workspace::Workspace;
use axum::extract::State;
use backstop_domain::ids::AuditId;
use backstop_wire::time::to_rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

/// One line of the log.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditView {
    /// `aud_…`
    audit_id: String,
    #[schema(format = DateTime)]
    at: String,
    kind: Kind,
    by: Who,
    /// More of it, by kind.
    detail: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    kind: Option<String>,
    limit: Option<String>,
    after: Option<String>,
}

/// Which page of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<String>,
    after: Option<String>,
}

/// Lists changes, newest first
///
/// Settings, apps, keys, secrets, suppressions lifted, erasures (without saying whose), test sends. Each line was
/// written in one commit with its change; none is ever changed.
#[utoipa::path(get, path = "/v1/audit", tag = "backend",
    params(
        ("kind" = Option<Kind>, Query, description = "Only of this kind"),
        ("limit" = Option<u32>, Query, description = "1–200, default 50"),
        ("after" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = List<AuditView>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Params(params): Params<ListParams>,
) -> Answer {
    let known = |word: &str| {
        let words = Kind::ALL.map(Kind::as_str).join(", ");
        Kind::parse(word).ok_or_else(|| Problem::invalid_field("kind", "invalid", format!("give one of {words}")))
    };
    let kind = params.kind.as_deref().map(known).transpose()?;
    let wanted = Page { limit: params.limit, after: params.after };
    let (rows, next_cursor) = page(&api, &workspace, &wanted, kind).await?;
    let data = rows.into_iter().map(|Stored { id, entry }| AuditView {
        audit_id: AuditId(id).to_string(),
        at: to_rfc3339(entry.at),
        kind: entry.kind,
        by: entry.who,
        detail: entry.detail,
    });
    Ok(Reply::ok(&List { data: data.collect(), next_cursor }))
}

/// A page of the log, and where the next one begins.
pub(super) async fn page(
    api: &Api,
    workspace: &Workspace,
    page: &Page,
    kind: Option<Kind>,
) -> Result<(Vec<Stored>, Option<String>), Problem> {
    let limit = limit(page.limit.as_deref())?;
    let cursor = page.after.as_deref().filter(|cursor| !cursor.is_empty());
    let after = cursor.map(|cursor| AuditId::parse(cursor).ok_or_else(bad_cursor)).transpose()?;
    let filter = AuditFilter { kind, after: after.map(|id| id.0), limit: limit + 1 };
    let mut rows = api.store.audit(workspace.id, filter).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|row| AuditId(row.id).to_string());
    Ok((rows, next_cursor))
}
