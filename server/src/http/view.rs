//! Follow-ups and their deliveries as the API shows them: derived from the state, never stored.

use super::openapi as words;
use crate::store::{FollowupRow, HistoryEntry};
use backstop_domain::Ms;
use backstop_domain::followup::{Kind, Leg, LegStatus, Push, PushStatus};
use backstop_wire::time::to_rfc3339;
use backstop_wire::{Grade, PushProvider};
use serde::Serialize;
use utoipa::ToSchema;

/// One follow-up with everything that was sent for it and why.
#[derive(Serialize, ToSchema)]
pub struct FollowupView {
    /// `fu_…`.
    #[schema(example = "fu_1hb5bjpj80000")]
    pub followup_id: String,
    /// The caller's id of the customer.
    pub customer_id: String,
    /// The caller's id of the conversation.
    pub conversation_id: String,
    /// The replies in it, oldest first.
    pub message_ids: Vec<String>,
    /// `reply` or `outreach`.
    #[schema(value_type = words::FollowupKind)]
    pub kind: &'static str,
    /// `sending`, `awaiting_ack`, `falling_back`, `acked`, `fell_back`, `cancelled` or `failed`.
    #[schema(value_type = words::FollowupState)]
    pub state: &'static str,
    /// When its first reply was accepted.
    #[schema(format = DateTime)]
    pub accepted_at: String,
    /// When it is decided at the latest.
    #[schema(format = DateTime)]
    pub deadline_at: String,
    /// The commit of the outcome; for a fallback, of the decision to fall back.
    #[schema(format = DateTime)]
    pub decided_at: Option<String>,
    /// The first ack that would have counted, had it come in time.
    #[schema(format = DateTime)]
    pub late_ack_at: Option<String>,
    /// Why it stands where it stands.
    #[schema(example = "no_ack")]
    pub reason: Option<&'static str>,
    /// What was sent, or why not.
    pub deliveries: Vec<DeliveryView>,
    /// Every decision with its cause and reason.
    pub history: Vec<HistoryView>,
}

/// One way out of a follow-up.
#[derive(Clone, Serialize, ToSchema)]
pub struct DeliveryView {
    /// `push`, `alimtalk`, `line`, `sms`, `lms` or `email`.
    #[schema(value_type = words::DeliveryChannel)]
    pub channel: &'static str,
    /// Who carried it.
    pub provider: Option<String>,
    /// The provider's id of it.
    pub provider_id: Option<String>,
    /// `dev_…`, for a push.
    pub device_id: Option<String>,
    /// `queued`, `claimed`, `accepted`, `delivered`, `failed`, `unknown`, `stopped` or `skipped`.
    #[schema(value_type = words::DeliveryStatus)]
    pub status: &'static str,
    /// Parts of a text; `null` = unknown.
    pub segments: Option<u32>,
    /// `null` = unknown.
    pub price: Option<Price>,
    /// When its status last changed.
    #[schema(format = DateTime)]
    pub at: String,
    /// The vendor's code, or why it was skipped.
    pub error: Option<String>,
    /// The device's own word.
    pub ack: Option<AckView>,
    /// Whether anybody began to send it. Not shown.
    #[serde(skip)]
    pub set_out: bool,
}

/// Money.
#[derive(Clone, Serialize, ToSchema)]
pub struct Price {
    /// Millionths of the currency's unit.
    pub amount_micros: i64,
    /// ISO 4217.
    pub currency: String,
}

/// The highest ack of a push.
#[derive(Clone, Serialize, ToSchema)]
pub struct AckView {
    /// `received`, `displayed`, `opened` or `suppressed`.
    #[schema(value_type = words::AckGrade)]
    pub grade: &'static str,
    /// By the device's clock.
    #[schema(format = DateTime)]
    pub recorded_at: String,
    /// By ours.
    #[schema(format = DateTime)]
    pub received_at: String,
}

/// One decision.
#[derive(Serialize, ToSchema)]
pub struct HistoryView {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What happened.
    pub event: String,
    /// What was decided.
    pub decision: String,
    /// Why.
    pub why: String,
}

/// A delivery with the follow-up it belongs to.
#[derive(Serialize, ToSchema)]
pub struct DeliveryRow {
    /// `fu_…`.
    pub followup_id: String,
    /// The caller's id of the customer.
    pub customer_id: String,
    /// The caller's id of the conversation.
    pub conversation_id: String,
    /// Where it went, masked; `null` for a push, for what never set out, and where the contact data changed since.
    #[schema(example = "+82 10-****-5678")]
    pub to: Option<String>,
    /// Why it was sent.
    #[schema(example = "no_ack")]
    pub why: Option<&'static str>,
    /// The delivery.
    #[serde(flatten)]
    pub delivery: DeliveryView,
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct List<T: ToSchema> {
    /// Newest first.
    pub(super) data: Vec<T>,
    /// Give it as `after` for the next page; `null` = this was the last one.
    pub(super) next_cursor: Option<String>,
}

/// `None`: it is not a follow-up (yet).
pub(super) fn followup(row: &FollowupRow, history: Vec<HistoryEntry>) -> Option<FollowupView> {
    let f = &row.state;
    let state = f.public_state()?;
    Some(FollowupView {
        followup_id: row.id.to_string(),
        customer_id: row.customer_id.clone(),
        conversation_id: row.conversation_id.clone(),
        message_ids: f.replies.iter().map(|r| r.message_id.clone()).collect(),
        kind: match f.kind {
            Kind::Reply => "reply",
            Kind::Outreach => "outreach",
        },
        state: state.as_str(),
        accepted_at: to_rfc3339(f.replies.first().map_or(f.started_at, |r| r.accepted_at)),
        deadline_at: to_rfc3339(f.deadline_at),
        decided_at: f.decided_at().map(to_rfc3339),
        late_ack_at: f.late_ack_at.map(to_rfc3339),
        reason: f.reason().map(|r| r.as_str()),
        deliveries: deliveries(row),
        history: history.into_iter().map(decision).collect(),
    })
}

/// Pushes first, then the text, a line for each way it took, then the email; a leg that nobody decided on is not shown.
pub(super) fn deliveries(row: &FollowupRow) -> Vec<DeliveryView> {
    let pushes = row.state.pushes.iter().map(push);
    let text = &row.state.text;
    let legs = text.tried.iter().chain([text]).map(|text| (text.form().as_str(), text));
    let legs = legs.chain([("email", &row.state.email)]);
    pushes.chain(legs.filter_map(|(channel, l)| leg(channel, l))).collect()
}

fn decision(entry: HistoryEntry) -> HistoryView {
    HistoryView { at: to_rfc3339(entry.at), event: entry.event, decision: entry.decision, why: entry.why }
}

fn push(push: &Push) -> DeliveryView {
    let (status, error) = match push.status {
        // The device itself says that it has it, whatever became of the provider's answer.
        _ if push.acked.is_some() => ("delivered", None),
        PushStatus::Claimed(_) => ("claimed", None),
        // Its provider never answered, and there was no time to ask again.
        PushStatus::Accepted if push.provider_id.is_none() && push.error.is_some() => ("unknown", None),
        PushStatus::Accepted => ("accepted", None),
        PushStatus::Retry(_) => ("queued", None),
        PushStatus::TokenGone => ("failed", Some("token_gone")),
        PushStatus::Unseen => ("failed", Some("cannot_be_seen")),
        PushStatus::LoggedOut => ("failed", Some("logged_out")),
        PushStatus::Refused => ("failed", Some("refused")),
        PushStatus::Limited => ("failed", Some("rate_limited")),
        PushStatus::Stopped => ("stopped", None),
    };
    DeliveryView {
        channel: "push",
        provider: Some(
            match push.via {
                PushProvider::Apns => "apns",
                PushProvider::Fcm => "fcm",
            }
            .into(),
        ),
        provider_id: not_empty(&push.provider_id),
        device_id: Some(push.device.to_string()),
        status,
        segments: None,
        price: None,
        at: to_rfc3339(push.at),
        error: push.error.clone().or_else(|| error.map(str::to_owned)),
        ack: push.acked.map(|(grade, recorded_at, received_at)| ack(grade, recorded_at, received_at)),
        set_out: true,
    }
}

fn ack(grade: Grade, recorded_at: Ms, received_at: Ms) -> AckView {
    AckView { grade: grade.as_str(), recorded_at: to_rfc3339(recorded_at), received_at: to_rfc3339(received_at) }
}

fn leg(channel: &'static str, leg: &Leg) -> Option<DeliveryView> {
    let (status, why) = match leg.status {
        LegStatus::Idle => return None,
        LegStatus::Skipped(why) => ("skipped", Some(why.as_str())),
        LegStatus::Queued(_) | LegStatus::Held(_) | LegStatus::Retry(_) => ("queued", None),
        LegStatus::Claimed(_) => ("claimed", None),
        LegStatus::Accepted | LegStatus::Confirming(_) => ("accepted", None),
        LegStatus::Delivered => ("delivered", None),
        LegStatus::Unknown(_) | LegStatus::Asking(_) | LegStatus::Unresolved => ("unknown", None),
        LegStatus::Failed => ("failed", None),
        LegStatus::Stopped => ("stopped", None),
    };
    Some(DeliveryView {
        channel,
        provider: leg.provider.clone(),
        provider_id: not_empty(&leg.provider_id),
        device_id: None,
        status,
        segments: leg.segments.map(u32::from),
        price: leg
            .hold
            .as_ref()
            .map(|hold| Price { amount_micros: hold.charge.micros, currency: hold.currency.clone() }),
        at: to_rfc3339(leg.at),
        error: why.map(str::to_owned).or_else(|| leg.error.clone()),
        ack: None,
        // A way begins with the tries of those before it.
        set_out: leg.attempt > leg.tried.last().map_or(0, |before| before.attempt),
    })
}

/// A provider that gives no id is remembered as having accepted with an empty one.
fn not_empty(id: &Option<String>) -> Option<String> {
    id.clone().filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests;
