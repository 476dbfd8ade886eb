//! `/v1/suppressions`: numbers and addresses that are not written to, and lifting that (T7, E5).

use super::Api;
use super::followups::{bad_cursor, limit};
use super::request::{Answer, Backend, Caller, Params, Reply, Segment};
use super::view::List;
use crate::problem::Problem;
use crate::store::{OptOutSource, SuppressionChannel, SuppressionFilter, SuppressionRow};
use axum::extract::State;
use backstop_domain::ids::SuppressionId;
use backstop_wire::time::to_rfc3339;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A number or address that is not written to.
#[derive(Serialize, ToSchema)]
pub(super) struct Suppression {
    /// `sup_…`.
    suppression_id: String,
    /// What is not sent there: `text` (all texts), `alimtalk`, `line` or `email`.
    channel: SuppressionChannel,
    /// The last four characters of the number or LINE id; `null` = an address, or forgotten with the customer.
    number: Option<String>,
    /// The address, but for most of what is before the `@`; `null` = a number, or forgotten with the customer.
    address: Option<String>,
    /// How we know.
    source: OptOutSource,
    /// Since when.
    at: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    channel: Option<SuppressionChannel>,
    limit: Option<String>,
    after: Option<String>,
}

/// Lists numbers and addresses that are not written to, newest first
///
/// Numbers: they wrote STOP or its kin, or the provider says so. No text goes there until they write START or the
/// suppression is deleted; email still goes. Addresses: mail there came back, or its owner called it spam; texts still
/// go. Erasing a customer, or importing one again, changes nothing about it.
#[utoipa::path(get, path = "/v1/suppressions", tag = "backend",
    params(
        ("channel" = Option<SuppressionChannel>, Query, description = "Only of this channel"),
        ("limit" = Option<u32>, Query, description = "1–200, default 50"),
        ("after" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = List<Suppression>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Params(params): Params<ListParams>,
) -> Answer {
    let limit = limit(params.limit.as_deref())?;
    let cursor = params.after.as_deref().filter(|cursor| !cursor.is_empty());
    let after = cursor.map(|cursor| SuppressionId::parse(cursor).ok_or_else(bad_cursor)).transpose()?;
    let filter = SuppressionFilter { id: None, channel: params.channel, after, limit: limit + 1 };
    let mut rows = api.store.suppressions(workspace.id, filter).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|row| row.id.to_string());
    let data = rows.iter().map(|row| view(&api, row)).collect();
    Ok(Reply::ok(&List { data, next_cursor }))
}

/// Lifts a suppression
///
/// Of a number, only if the customer opted in again, by a way you can show: the law asks for it. The provider may still
/// refuse texts to the number until they write START to it. Of an address, once whoever has it says that it works.
#[utoipa::path(delete, path = "/v1/suppressions/{suppression_id}", tag = "backend",
    params(("suppression_id" = String, Path, description = "`sup_…`")),
    responses((status = 204, description = "It may be written to again")))]
pub(super) async fn lift(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Caller(who): Caller,
    Segment(id): Segment,
) -> Answer {
    let id = SuppressionId::parse(&id).ok_or_else(none)?;
    let filter = SuppressionFilter { id: Some(id), limit: 1, ..SuppressionFilter::default() };
    let row = api.store.suppressions(workspace.id, filter).await?.pop().ok_or_else(none)?;
    api.engine.opt_in(&workspace, row.number_hash, who).await?;
    Ok(Reply::no_content())
}

fn none() -> Problem {
    Problem::not_found("no such suppression in this workspace; GET /v1/suppressions lists those in force")
}

fn view(api: &Api, row: &SuppressionRow) -> Suppression {
    let opened = row
        .number
        .as_ref()
        .and_then(|sealed| api.vault.open(row.workspace, "suppressions", &row.id.to_string(), "number", sealed).ok());
    let opened = opened.and_then(|plain| String::from_utf8(plain).ok());
    let (number, address) = match row.channel {
        SuppressionChannel::Email => (None, opened.as_deref().map(masked_address)),
        SuppressionChannel::Text | SuppressionChannel::Alimtalk | SuppressionChannel::Line => {
            (opened.as_deref().map(masked), None)
        }
    };
    Suppression {
        suppression_id: row.id.to_string(),
        channel: row.channel,
        number,
        address,
        source: row.source,
        at: to_rfc3339(row.at),
    }
}

fn masked(number: &str) -> String {
    let digits: Vec<char> = number.chars().collect();
    format!("…{}", digits[digits.len().saturating_sub(4)..].iter().collect::<String>())
}

/// `l…@example.com`: enough to tell a typing mistake in the domain.
fn masked_address(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    format!("{}…@{domain}", local.chars().next().unwrap_or('…'))
}
