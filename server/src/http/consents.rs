//! `/v1/customers/{customer_id}/consents`: what a customer agreed that their contact data may serve (S8).

use super::Api;
use super::idempotency::Idempotency;
use super::request::{Answer, BACKEND_BYTES, Backend, Payload, Reply, Segment, TwoSegments, parse};
use super::validate::Check;
use crate::engine::api::EngineError;
use crate::problem::{Code, Problem};
use crate::store::{Key, Row};
use axum::extract::State;
use backstop_domain::Ms;
use backstop_domain::customer::Consent;
use backstop_wire::time::{from_rfc3339, to_rfc3339};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

const MAX_WORD_CHARS: usize = 64;
/// How far the clock of who noted the consent may be ahead of ours.
const AHEAD_MS: Ms = 300_000;

/// A consent as the company noted it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsentInput {
    /// What for: `outreach` (chats that you begin), or a word of your own: `a`–`z`, `0`–`9`, `_`, `-`, `.`.
    #[schema(example = "outreach")]
    purpose: String,
    /// Which wording the customer agreed to.
    #[schema(example = "2026-11")]
    wording_version: String,
    /// When; default now. One from before a withdrawal stays withdrawn.
    #[serde(default)]
    #[schema(format = DateTime)]
    at: Option<String>,
    /// Where, such as `checkout`.
    #[serde(default)]
    #[schema(example = "checkout")]
    source: Option<String>,
}

/// A consent.
#[derive(Serialize, ToSchema)]
#[schema(as = Consent)]
pub(super) struct ConsentView {
    purpose: String,
    /// `null` = the customer never agreed, and objected.
    wording_version: Option<String>,
    #[schema(format = DateTime)]
    at: String,
    source: Option<String>,
    /// `null` = it stands, unless a later one of the same purpose took its place.
    #[schema(format = DateTime)]
    withdrawn_at: Option<String>,
}

/// A customer's consents.
#[derive(Serialize, ToSchema)]
pub(super) struct Consents {
    /// Oldest first; the last one of a purpose counts.
    data: Vec<ConsentView>,
    /// Always `null`: a customer's consents are one page.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<()>,
}

/// Notes a consent of a customer
///
/// With one for `outreach`, chats that you begin may use contact data that was given to be answered
/// (`contact_source: "follow_up"`). The same again changes nothing. The newest 32 are kept, the last word on `outreach`
/// always.
#[utoipa::path(post, path = "/v1/customers/{customer_id}/consents", tag = "backend", request_body = ConsentInput,
    params(("customer_id" = String, Path, description = "Your id")),
    responses((status = 200, description = "All consents of the customer", body = Consents)))]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Segment(customer_id): Segment,
    idempotency: Idempotency,
    Payload(body): Payload<BACKEND_BYTES>,
) -> Answer {
    let consent = checked(parse(&body)?, api.clocks.now_ms(workspace.id))?;
    let idempotency = idempotency.about(&customer_id);
    let act = async { Ok(shown(api.engine.give_consent(&workspace, customer_id, consent).await?)) };
    idempotency.once(&api, &workspace, &body, act).await
}

/// Lists a customer's consents
#[utoipa::path(get, path = "/v1/customers/{customer_id}/consents", tag = "backend",
    params(("customer_id" = String, Path, description = "Your id")),
    responses((status = 200, description = "The consents, also what was withdrawn", body = Consents)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    Segment(customer_id): Segment,
) -> Answer {
    let rows = api.store.load(vec![Key::Customer(workspace.id, customer_id)]).await?;
    match rows.into_iter().next().flatten() {
        Some(Row::Customer(row)) => Ok(shown(row.consents)),
        _ => Err(EngineError::UnknownCustomer.into()),
    }
}

/// Withdraws a customer's consent, or notes an objection to `outreach`
///
/// From then on the contact data does not serve this purpose, wherever it came from, until there is a new consent.
/// What was agreed to when stays on record. Repeatable. `outreach` may go without a consent, so that it is objected to
/// without one.
#[utoipa::path(delete, path = "/v1/customers/{customer_id}/consents/{purpose}", tag = "backend",
    params(
        ("customer_id" = String, Path, description = "Your id"),
        ("purpose" = String, Path, description = "Such as `outreach`"),
    ),
    responses((status = 204, description = "It is withdrawn")))]
pub(super) async fn withdraw(
    State(api): State<Arc<Api>>,
    Backend(workspace): Backend,
    TwoSegments(customer_id, purpose): TwoSegments,
) -> Answer {
    if api.engine.withdraw_consent(&workspace, customer_id, purpose).await? {
        Ok(Reply::no_content())
    } else {
        Err(Problem::new(Code::NotFound, "this customer never gave a consent for this purpose"))
    }
}

pub(super) fn view(consent: Consent) -> ConsentView {
    ConsentView {
        purpose: consent.purpose,
        wording_version: consent.wording_version,
        at: to_rfc3339(consent.at),
        source: consent.source,
        withdrawn_at: consent.withdrawn_at.map(to_rfc3339),
    }
}

fn shown(consents: Vec<Consent>) -> Reply {
    Reply::ok(&Consents { data: consents.into_iter().map(view).collect(), next_cursor: None })
}

fn checked(input: ConsentInput, now: Ms) -> Result<Consent, Problem> {
    let mut check = Check::default();
    let spelled = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.');
    if input.purpose.is_empty() || input.purpose.len() > MAX_WORD_CHARS || !input.purpose.bytes().all(spelled) {
        check.error("purpose", "invalid", "give outreach, or a word of 1 to 64 of a-z, 0-9, _, - and .");
    }
    check.word("wording_version", &input.wording_version, MAX_WORD_CHARS);
    if let Some(source) = &input.source {
        check.word("source", source, MAX_WORD_CHARS);
    }
    let at = match input.at.as_deref().map(from_rfc3339) {
        None => now,
        Some(Some(at)) if (0..=now.saturating_add(AHEAD_MS)).contains(&at) => at,
        Some(Some(_)) => {
            check.error("at", "out_of_range", "give a time between 1970 and now");
            now
        }
        Some(None) => {
            check.error("at", "invalid", "give an RFC 3339 time such as 2026-11-23T09:00:00Z");
            now
        }
    };
    check.finish()?;
    let ConsentInput { purpose, wording_version, source, .. } = input;
    Ok(Consent { purpose, wording_version: Some(wording_version), at, source, withdrawn_at: None })
}
