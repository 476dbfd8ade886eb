//! `/v1/wallet`: what texts are paid from, the ledger of it, payments, and the billing system's no (S2, S3).

use super::Api;
use super::followups::{bad_cursor, limit};
use super::request::{Answer, BACKEND_BYTES, Backend, Billing, Caller, Params, Payload, Reply, Segment, parse};
use super::validate::Check;
use super::view::{List, Price};
use crate::engine::api::EngineError;
use crate::engine::wallet::Paid;
use crate::problem::Problem;
use crate::store::{LedgerFilter, LedgerLine};
use crate::workspace::Workspace;
use axum::extract::State;
use backstop_domain::wallet::{Account, Asking, EntryKind, Kind, MAX_BALANCE_MICROS, NoTopUp, Wallet};
use backstop_wire::time::to_rfc3339;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Entries that the wallet itself shows.
const SHOWN_ENTRIES: usize = 10;
const ASK_PREFIX: &str = "ask_";

/// A wallet.
#[derive(Serialize, ToSchema)]
pub(super) struct WalletView {
    /// Whether texts are paid for: `false` where the deployment has no prices, and then all of this is nothing.
    charged: bool,
    /// What the next text could cost: grants and what is available.
    balance: Price,
    /// Topped up and not spent.
    available: Price,
    /// Set aside for texts whose provider has not settled them.
    held: Price,
    /// Money for a time; the soonest to expire is spent first.
    grants: Vec<GrantView>,
    auto_charge: AutoChargeView,
    /// The newest entries; `GET /v1/wallet/entries` has all.
    entries: Vec<EntryView>,
}

/// Money for a time.
#[derive(Serialize, ToSchema)]
struct GrantView {
    /// The number of the entry that gave it.
    grant_id: i64,
    /// Neither spent nor set aside.
    remaining: Price,
    /// The first instant at which it is gone.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Asking the billing system for money: the setting `auto_charge`, and how it stands.
#[derive(Serialize, ToSchema)]
struct AutoChargeView {
    state: AutoChargeState,
    /// It is asked when the balance is below this.
    threshold: Option<Price>,
    /// For this much.
    amount: Option<Price>,
    /// The open question; its answer is a top-up that names it, or a decline.
    ask: Option<AskView>,
}

/// How asking for money stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum AutoChargeState {
    /// The settings have no `auto_charge`.
    Off,
    /// It asks when the balance falls below the threshold.
    Ready,
    /// It asks, and the billing system has not heard it yet.
    Asking,
    /// The billing system has heard it and not answered.
    AwaitingAnswer,
    /// The billing system declined: it is asked again when the balance falls below the threshold anew.
    Declined,
}

/// A question to the billing system.
#[derive(Serialize, ToSchema)]
struct AskView {
    /// `ask_…`
    ask_id: String,
    amount: Price,
    #[schema(format = DateTime)]
    asked_at: String,
    /// Times that it could not be delivered.
    tries: u32,
}

/// Money that moved: out of one account, into another. Never edited.
#[derive(Serialize, ToSchema)]
pub(super) struct EntryView {
    /// Its number in the wallet, from 1, without a gap.
    entry: i64,
    #[schema(format = DateTime)]
    at: String,
    /// `top_up`, `grant`, `hold`, `capture`, `release`, `refund` or `expire`.
    #[schema(value_type = String)]
    kind: &'static str,
    /// Out of `external`, `grants`, `available`, `held` or `spent`.
    #[schema(value_type = String)]
    debit: &'static str,
    /// Into `grants`, `available`, `held`, `spent` or `expired`.
    #[schema(value_type = String)]
    credit: &'static str,
    amount: Price,
    /// The grant that was given, came from or went back to.
    grant_id: Option<i64>,
    followup_id: Option<String>,
    charge: Option<ChargeView>,
}

/// What was paid for, by the price list of that moment.
#[derive(Serialize, ToSchema)]
struct ChargeView {
    /// `sms`, `lms`, `alimtalk`, `line` or `email`.
    #[schema(value_type = String)]
    kind: &'static str,
    country: Option<String>,
    /// Which try.
    attempt: u32,
    parts: u16,
    /// Thousandths of post units, of all parts.
    pu_milli: i64,
    /// Of all parts.
    price: Price,
}

/// Body of `POST /v1/wallet/top-ups`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TopUpInput {
    /// Your id of the payment: sent again, it adds nothing.
    #[schema(example = "invoice-2026-11-0042")]
    top_up_id: String,
    /// In millionths of the currency.
    #[schema(example = 20_000_000)]
    amount_micros: i64,
    /// ISO 4217; must be the wallet's. Absent = the wallet's.
    #[serde(default)]
    #[schema(example = "USD")]
    currency: Option<String>,
    /// The question that it answers, if one asked for it.
    #[serde(default)]
    #[schema(example = "ask_1")]
    ask_id: Option<String>,
}

/// A payment, as it was added.
#[derive(Serialize, ToSchema)]
pub(super) struct TopUpView {
    top_up_id: String,
    amount: Price,
    ask_id: Option<String>,
    #[schema(format = DateTime)]
    at: String,
    /// Its entry in the ledger.
    entry: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    limit: Option<String>,
    after: Option<String>,
}

/// Shows the wallet
///
/// A grant whose time is over is taken out, and this month's is given, before it is shown.
#[utoipa::path(get, path = "/v1/wallet", tag = "backend",
    responses((status = 200, description = "The wallet", body = WalletView)))]
pub(super) async fn show(State(api): State<Arc<Api>>, Backend(workspace): Backend) -> Answer {
    api.settle(&workspace).await;
    let (charged, wallet) = match api.engine.wallet(&workspace).await {
        Ok(wallet) => (true, wallet),
        Err(EngineError::NobodyIsCharged) => (false, Wallet::empty(&workspace.policy.limits.prices.currency)),
        Err(error) => return Err(error.into()),
    };
    let filter = LedgerFilter { before: None, limit: SHOWN_ENTRIES };
    let entries = api.store.ledger(workspace.id, filter).await?;
    let money = |amount_micros| Price { amount_micros, currency: wallet.currency.clone() };
    let grants = wallet.grants.iter().map(|grant| GrantView {
        grant_id: grant.id,
        remaining: money(grant.remaining_micros),
        expires_at: to_rfc3339(grant.expires_at),
    });
    Ok(Reply::ok(&WalletView {
        charged,
        balance: money(wallet.spendable_micros(api.clocks.now_ms(workspace.id))),
        available: money(wallet.available_micros),
        held: money(wallet.held_micros),
        grants: grants.collect(),
        auto_charge: auto_charge(&workspace, &wallet),
        entries: entries.iter().map(|line| entry(line, &wallet.currency)).collect(),
    }))
}

/// Lists the ledger, newest first
#[utoipa::path(get, path = "/v1/wallet/entries", tag = "backend",
    params(
        ("limit" = Option<u32>, Query, description = "1–200, default 50"),
        ("after" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = List<EntryView>)))]
pub(super) async fn entries(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Params(params): Params<ListParams>,
) -> Answer {
    api.settle(&workspace).await;
    let limit = limit(params.limit.as_deref())?;
    let cursor = params.after.as_deref().filter(|cursor| !cursor.is_empty());
    let seq = |cursor: &str| cursor.parse::<i64>().ok().filter(|seq| *seq > 0 && seq.to_string() == cursor);
    let before = cursor.map(|cursor| seq(cursor).ok_or_else(bad_cursor)).transpose()?;
    let mut lines = api.store.ledger(workspace.id, LedgerFilter { before, limit: limit + 1 }).await?;
    let more = lines.len() > limit;
    lines.truncate(limit);
    let next_cursor = lines.last().filter(|_| more).map(|line| line.entry.seq.to_string());
    let currency = &workspace.policy.limits.prices.currency;
    let data = lines.iter().map(|line| entry(line, currency)).collect();
    Ok(Reply::ok(&List { data, next_cursor }))
}

/// Adds paid money
///
/// By the billing system: a key of scope `billing`, or of scope `server` where the deployment lets workspaces top up
/// themselves, as every sandbox does. The same `top_up_id` with the same body answers the same again.
#[utoipa::path(post, path = "/v1/wallet/top-ups", tag = "backend", request_body = TopUpInput,
    responses((status = 200, description = "It is in the ledger, once", body = TopUpView)))]
pub(super) async fn top_up(
    State(api): State<Arc<Api>>,
    Billing(workspace): Billing,
    Caller(who): Caller,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let input: TopUpInput = parse(&body)?;
    let mut check = Check::default();
    check.id("top_up_id", &input.top_up_id);
    let ask = input.ask_id.as_deref().map(|id| parse_ask(id).unwrap_or(0));
    check.finish()?;
    let TopUpInput { top_up_id, amount_micros, currency, .. } = input;
    let paid = Paid { top_up_id, amount_micros, currency, ask };
    let row = api.engine.top_up(&workspace, paid, who).await?.map_err(|why| refused(why, &workspace))?;
    Ok(Reply::ok(&TopUpView {
        top_up_id: row.top_up_id,
        amount: Price { amount_micros: row.amount_micros, currency: workspace.policy.limits.prices.currency.clone() },
        ask_id: row.ask.map(print_ask),
        at: to_rfc3339(row.at),
        entry: row.seq,
    }))
}

/// Declines to top up
///
/// The answer of a billing system that does not pay. It is asked again when the balance was above the threshold and
/// falls below it anew.
#[utoipa::path(post, path = "/v1/wallet/asks/{ask_id}/decline", tag = "backend",
    params(("ask_id" = String, Path, description = "`ask_…`")),
    responses((status = 204, description = "The question is closed")))]
pub(super) async fn decline(State(api): State<Arc<Api>>, Billing(workspace): Billing, Segment(id): Segment) -> Answer {
    let ask = parse_ask(&id).ok_or(EngineError::UnknownAsk)?;
    api.engine.decline_ask(&workspace, ask).await?;
    Ok(Reply::no_content())
}

/// `ask_7`.
pub(crate) fn print_ask(id: u32) -> String {
    format!("{ASK_PREFIX}{id}")
}

fn parse_ask(text: &str) -> Option<u32> {
    let id = text.strip_prefix(ASK_PREFIX)?.parse().ok()?;
    (id > 0 && print_ask(id) == text).then_some(id)
}

fn refused(why: NoTopUp, workspace: &Workspace) -> Problem {
    let currency = &workspace.policy.limits.prices.currency;
    match why {
        NoTopUp::NotPositive => {
            Problem::invalid_field("amount_micros", "out_of_range", "give 1 or more, in millionths".to_owned())
        }
        NoTopUp::TooMuch => {
            let message = format!("the wallet would hold more than {MAX_BALANCE_MICROS}: give less");
            Problem::invalid_field("amount_micros", "out_of_range", message)
        }
        NoTopUp::OtherCurrency => {
            Problem::invalid_field("currency", "invalid", format!("the wallet is in {currency}: give that, or nothing"))
        }
        NoTopUp::NoSuchAsk => {
            let message = "no such question is open: GET /v1/wallet shows the one that is, or leave it out";
            Problem::invalid_field("ask_id", "not_open", message.to_owned())
        }
    }
}

fn auto_charge(workspace: &Workspace, wallet: &Wallet) -> AutoChargeView {
    let auto = workspace.policy.wallet.as_ref().and_then(|terms| terms.auto_charge);
    let money = |amount_micros| Price { amount_micros, currency: wallet.currency.clone() };
    let state = match wallet.asking {
        Asking::Open(ask) if ask.due_at.is_some() => AutoChargeState::Asking,
        Asking::Open(_) => AutoChargeState::AwaitingAnswer,
        Asking::Idle | Asking::Declined if auto.is_none() => AutoChargeState::Off,
        Asking::Declined => AutoChargeState::Declined,
        Asking::Idle => AutoChargeState::Ready,
    };
    AutoChargeView {
        state,
        threshold: auto.map(|auto| money(auto.threshold_micros)),
        amount: auto.map(|auto| money(auto.amount_micros)),
        ask: wallet.asking.open().map(|ask| AskView {
            ask_id: print_ask(ask.id),
            amount: money(ask.amount_micros),
            asked_at: to_rfc3339(ask.at),
            tries: ask.tries,
        }),
    }
}

fn entry(line: &LedgerLine, currency: &str) -> EntryView {
    let LedgerLine { followup, entry } = line;
    let money = |amount_micros| Price { amount_micros, currency: currency.to_owned() };
    EntryView {
        entry: entry.seq,
        at: to_rfc3339(entry.at),
        kind: EntryKind::as_str(entry.kind),
        debit: Account::as_str(entry.debit),
        credit: Account::as_str(entry.credit),
        amount: money(entry.amount_micros),
        grant_id: entry.grant,
        followup_id: followup.map(|id| id.to_string()),
        charge: entry.charge.as_ref().map(|charge| ChargeView {
            kind: Kind::as_str(charge.kind),
            country: charge.country.map(|country| country.to_string()),
            attempt: charge.attempt,
            parts: charge.parts,
            pu_milli: charge.pu_milli,
            price: money(charge.micros),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S3: a question is named in one way.
    #[test]
    fn a_question_is_named_in_one_way() {
        assert_eq!(parse_ask("ask_7"), Some(7));
        for bad in ["", "7", "ask_", "ask_0", "ask_07", "ask_-1", "ask_4294967296", "ASK_7"] {
            assert_eq!(parse_ask(bad), None, "{bad}");
        }
    }
}
