//! `GET /v1/usage`: what a month's texts and emails were and cost, by kind and country (S9).

use super::Api;
use super::request::{Answer, Backend, Params, Reply};
use super::view::Price;
use crate::problem::Problem;
use crate::store::UsageLine;
use axum::extract::State;
use backstop_domain::wallet::{Kind, Month};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A month of the calendar, UTC.
#[derive(Serialize, ToSchema)]
pub(super) struct UsageView {
    /// `YYYY-MM`.
    #[schema(example = "2026-11")]
    month: String,
    /// By kind and country. A refund counts against the month that it was made in.
    data: Vec<UsageOf>,
    total: Total,
}

/// What was captured and not refunded of one kind to one country.
#[derive(Serialize, ToSchema)]
struct UsageOf {
    /// `sms`, `lms`, `alimtalk`, `line` or `email`.
    #[schema(value_type = String)]
    kind: &'static str,
    /// `null` = of no country.
    country: Option<String>,
    /// Texts or emails.
    count: i64,
    /// Their parts.
    parts: i64,
    /// Thousandths of post units.
    pu_milli: i64,
    /// What they cost.
    amount: Price,
    /// What one part costs now; `null` = the list has no price for it any more.
    price: Option<Price>,
}

/// All of it together.
#[derive(Serialize, ToSchema)]
struct Total {
    count: i64,
    parts: i64,
    pu_milli: i64,
    amount: Price,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageParams {
    month: Option<String>,
}

/// Adds up a month
///
/// Exactly what the ledger's captures and refunds of the month come to.
#[utoipa::path(get, path = "/v1/usage", tag = "backend",
    params(("month" = Option<String>, Query, description = "`YYYY-MM`, UTC; default this month")),
    responses((status = 200, description = "The month", body = UsageView)))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Params(params): Params<UsageParams>,
) -> Answer {
    api.settle(&workspace).await;
    let now = api.clocks.now_ms(workspace.id);
    let month = match &params.month {
        None => Month::of(now),
        Some(text) => Month::parse(text)
            .ok_or_else(|| Problem::invalid_field("month", "invalid", "give a month such as 2026-11".to_owned()))?,
    };
    let lines = api.store.usage(workspace.id, month).await?;
    let prices = &workspace.policy.limits.prices;
    let money = |amount_micros| Price { amount_micros, currency: prices.currency.clone() };
    let sum = |of: fn(&UsageLine) -> i64| lines.iter().map(of).sum::<i64>();
    let total = Total {
        count: sum(|line| line.texts),
        parts: sum(|line| line.parts),
        pu_milli: sum(|line| line.pu_milli),
        amount: money(sum(|line| line.micros)),
    };
    let data = lines.iter().map(|line| UsageOf {
        kind: Kind::as_str(line.kind),
        country: line.country.map(|country| country.to_string()),
        count: line.texts,
        parts: line.parts,
        pu_milli: line.pu_milli,
        amount: money(line.micros),
        price: prices.unit(line.kind, line.country, now).map(|price| money(price.micros)),
    });
    Ok(Reply::ok(&UsageView { month: month.to_string(), data: data.collect(), total }))
}
