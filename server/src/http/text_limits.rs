//! `GET /v1/limits`: what texts may cost a workspace, how much of it is used, and when it is free again (S4).

use super::Api;
use super::request::{Answer, Backend, Params, Reply};
use crate::engine::customer::open_contact;
use crate::engine::spending::Destination;
use crate::problem::Problem;
use crate::store::{Key, Row, WorkspaceId};
use axum::extract::State;
use backstop_domain::Ms;
use backstop_domain::limits::{Cap, Counter, Scope, Window};
use backstop_wire::time::to_rfc3339;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Limits in force.
#[derive(Serialize, ToSchema)]
pub(super) struct LimitsView {
    /// One a scope and window that has a cap.
    data: Vec<CapView>,
    /// Countries that texts go to; `null` = any.
    countries: Option<Vec<String>>,
    /// The most that one text may cost, in millionths of `currency`; `null` = anything.
    max_price_micros: Option<i64>,
    /// Of all prices (ISO 4217).
    currency: String,
}

/// One cap.
#[derive(Serialize, ToSchema)]
struct CapView {
    /// `number`, `prefix`, `customer`, `conversation` or `workspace`.
    scope: &'static str,
    /// `hour` or `day`, UTC.
    window: &'static str,
    /// Texts that may leave in one window.
    cap: u32,
    /// Texts that left in this one; `null` where it was not said whose.
    used: Option<u32>,
    /// When the window ends and the count begins anew.
    #[schema(format = DateTime)]
    ends_at: String,
}

/// Whose usage is asked for besides the workspace's.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Whose {
    customer_id: Option<String>,
    conversation_id: Option<String>,
}

/// Shows the limits on texts and what is used of them
///
/// The workspace's own usage always; with a customer or a conversation also theirs, and that of the customer's number.
#[utoipa::path(get, path = "/v1/limits", tag = "backend",
    params(
        ("customer_id" = Option<String>, Query, description = "Also what was used for this customer and their number"),
        ("conversation_id" = Option<String>, Query, description = "Also what was used in this conversation"),
    ),
    responses((status = 200, description = "Limits in force", body = LimitsView)))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Params(whose): Params<Whose>,
) -> Answer {
    api.settle(&workspace).await;
    let limits = &workspace.policy.limits;
    let now = api.clocks.now_ms(workspace.id);
    let mut data = Vec::new();
    for (scope, key) in keys(&api, workspace.id, &whose).await? {
        let counter = match key {
            Some(key) => Some(counter(&api, workspace.id, scope, key).await?.at(now)),
            None => None,
        };
        data.extend(views(scope, limits.caps.cap(scope), counter, now));
    }
    Ok(Reply::ok(&LimitsView {
        data,
        countries: limits.countries.as_ref().map(|countries| countries.iter().map(ToString::to_string).collect()),
        max_price_micros: limits.max_price_micros,
        currency: limits.prices.currency.clone(),
    }))
}

/// Each scope with the key it is counted by, where it is known whose.
async fn keys(api: &Api, ws: WorkspaceId, whose: &Whose) -> Result<[(Scope, Option<[u8; 16]>); 5], Problem> {
    let to = match &whose.customer_id {
        Some(customer_id) => destination(api, ws, customer_id).await?,
        None => None,
    };
    let key = |scope| match scope {
        Scope::Number | Scope::Prefix => to.and_then(|to| to.key(scope)),
        Scope::Customer => whose.customer_id.as_deref().map(|id| api.vault.counter_key(ws, scope, id)),
        Scope::Conversation => whose.conversation_id.as_deref().map(|id| api.vault.counter_key(ws, scope, id)),
        Scope::Workspace => Some(api.vault.counter_key(ws, scope, "")),
    };
    Ok(Scope::ALL.map(|scope| (scope, key(scope))))
}

/// Of the customer's number, if there is one.
async fn destination(api: &Api, ws: WorkspaceId, customer_id: &str) -> Result<Option<Destination>, Problem> {
    let rows = api.store.load(vec![Key::Customer(ws, customer_id.to_owned())]).await?;
    let Some(Row::Customer(row)) = rows.into_iter().next().flatten() else { return Ok(None) };
    let key = api.vault.unwrap_key(ws, customer_id, &row.wrapped_key);
    let key = key.map_err(|error| crate::store::StoreError::Corrupt(error.to_string()))?;
    Ok(open_contact(&key, &row)?.phone.map(|phone| Destination::of(&api.vault, ws, &phone)))
}

async fn counter(api: &Api, ws: WorkspaceId, scope: Scope, key: [u8; 16]) -> Result<Counter, Problem> {
    let rows = api.store.load(vec![Key::Counter(ws, scope, key)]).await?;
    let row = rows.into_iter().next().flatten();
    Ok(row.as_ref().and_then(Row::as_counter).map(|row| row.counter).unwrap_or_default())
}

fn views(scope: Scope, cap: Cap, counter: Option<Counter>, now: Ms) -> impl Iterator<Item = CapView> {
    let windows = [(Window::Hour, cap.per_hour), (Window::Day, cap.per_day)];
    windows.into_iter().filter_map(move |(window, cap)| {
        Some(CapView {
            scope: scope.as_str(),
            window: window.as_str(),
            cap: cap?,
            used: counter.map(|counter| counter.tally(window).count),
            ends_at: to_rfc3339(window.end(now)),
        })
    })
}
