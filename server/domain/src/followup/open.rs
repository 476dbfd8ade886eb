//! How a follow-up begins, and how later replies join it (D1, D2, D6–D8, P1, P4).

use super::decide::{Draft, wake_of};
use super::effect::Decision;
use super::event::{Facts, NewReply};
use super::fallback;
use super::policy::Policy;
use super::push;
use super::reason::Reason;
use super::state::{Channel, Followup, Kind, Leg, LegStatus, MAX_REPLIES, Stage};
use crate::Ms;

/// Something the caller should know although the reply was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A `reply` in a conversation where no customer message was seen (D6).
    NoCustomerMessage,
    /// No text or email can leave: push only (S1, P10).
    NoFallbackRoute,
    /// An `outreach` to contact data that is said to come with a consent which nobody noted (S8).
    ConsentNotRecorded,
}

impl Warning {
    /// Stable code.
    pub fn code(self) -> &'static str {
        match self {
            Warning::NoCustomerMessage => "no_customer_message",
            Warning::NoFallbackRoute => "no_fallback_route",
            Warning::ConsentNotRecorded => "consent_not_recorded",
        }
    }

    /// What to do about it.
    pub fn message(self) -> &'static str {
        match self {
            Warning::NoCustomerMessage => {
                "no customer message was seen in this conversation; send them to POST /v1/customer-messages, or use \
                 kind \"outreach\" if the agent started the chat"
            }
            Warning::NoFallbackRoute => {
                "no text or email can leave for this customer: switch \"phone_number\" or \"email\" on in \
                 PUT /v1/settings and give the customer a phone or email"
            }
            Warning::ConsentNotRecorded => {
                "contact_source is \"consent\", but no consent for outreach is on record: note its purpose, wording \
                 and time with POST /v1/customers/{customer_id}/consents"
            }
        }
    }
}

/// A follow-up that begins, or a row that watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What came of it; `next` is the first state.
    pub decision: Decision,
    /// What the caller should know.
    pub warnings: Vec<Warning>,
}

/// Why this path refuses a text (D7); `None` = it does not. Marketing needs consents that nobody gave here.
pub fn refusal(marketing: bool, text: &str) -> Option<&'static str> {
    if marketing {
        Some("kind")
    } else if text.trim_start().starts_with("(광고)") {
        Some("text")
    } else {
        None
    }
}

/// D6: the caller's word, else a reply if the customer wrote in this conversation.
pub fn kind_of(given: Option<Kind>, wrote: bool) -> Kind {
    given.unwrap_or(if wrote { Kind::Reply } else { Kind::Outreach })
}

/// The first reply of a follow-up.
pub fn open(new: NewReply, facts: &Facts<'_>, now: Ms, policy: &Policy) -> Opened {
    let kind = kind_of(new.kind, facts.wrote);
    let blank = Followup {
        v: 1,
        kind,
        replies: vec![new.reply],
        seen: 0,
        started_at: now,
        deadline_at: 0,
        stage: Stage::Watching,
        pushes: Vec::new(),
        text: Leg::idle(now),
        email: Leg::idle(now),
        chosen: new.chosen,
        apps: new.apps,
        late_ack_at: None,
        rest: None,
        stopped: false,
        gap_at: None,
    };
    let mut d = Draft::new(&blank, facts, now, policy);
    let mut warnings = Vec::new();
    if kind == Kind::Reply && !facts.wrote {
        warnings.push(Warning::NoCustomerMessage);
    }
    match (kind, facts.online_until) {
        (Kind::Outreach, _) => {
            d.f.deadline_at = now;
            fallback::fall_back(&mut d, "accepted", Reason::Outreach, None);
        }
        (Kind::Reply, Some(until)) => {
            d.f.started_at = until;
            d.note("accepted", "watch", Reason::CustomerOnline, None);
        }
        (Kind::Reply, None) => {
            d.note("accepted", "push", Reason::LiveDevice, None);
            start(&mut d);
        }
    }
    if ![Channel::Text, Channel::Email].into_iter().any(|c| fallback::route(&d, c).is_ok()) {
        warnings.push(Warning::NoFallbackRoute);
    }
    let mut decision = d.finish(&blank);
    decision.changed = true;
    if decision.note.is_none() {
        decision.note = Some(super::effect::Note {
            event: "accepted",
            decision: "watch",
            why: Reason::CustomerOnline,
            detail: None,
        });
    }
    Opened { decision, warnings }
}

/// D8: a further reply joins a follow-up that watches, waits for an ack or waits out the gap.
/// `None` = it starts its own.
pub fn join(before: &Followup, new: &NewReply, facts: &Facts<'_>, now: Ms, policy: &Policy) -> Option<Decision> {
    let joins = kind_of(new.kind, facts.wrote) == Kind::Reply
        && before.kind == Kind::Reply
        && before.replies.len() < MAX_REPLIES
        && before.chosen == new.chosen
        && before.apps == new.apps
        && match before.stage {
            Stage::Watching => true,
            // Once its deadline is due it is as good as decided.
            Stage::Waiting => now < before.deadline_at,
            // With nobody to push to, a follow-up of its own would only queue up behind this one's text and email.
            Stage::FallingBack { hold_until: Some(until), .. } if now < until => {
                facts.online_until.is_none() && !push::reachable(new, facts, now, policy)
            }
            // Nor with its text alone left to go, in the morning (D10).
            Stage::FallingBack { .. } => {
                matches!(before.text.status, LegStatus::Held(until) if now < until)
                    && matches!(before.email.status, LegStatus::Skipped(_))
                    && !before.text.has_begun()
                    && facts.online_until.is_none()
                    && !push::reachable(new, facts, now, policy)
            }
            _ => false,
        };
    if !joins {
        return None;
    }
    let mut d = Draft::new(before, facts, now, policy);
    d.f.replies.push(new.reply.clone());
    match (&d.f.stage, facts.online_until) {
        (Stage::Watching, Some(until)) => {
            d.f.started_at = until;
            d.note("joined", "watch", Reason::CustomerOnline, None);
        }
        (Stage::Watching, None) => {
            d.note("joined", "push", Reason::CustomerLeft, None);
            // The new reply makes it fresh.
            d.f.started_at = now;
            start(&mut d);
        }
        (Stage::FallingBack { .. }, _) => {
            fallback::reopen_skipped(&mut d);
            let for_the_gap = matches!(d.f.stage, Stage::FallingBack { hold_until: Some(until), .. } if now < until);
            let why = if for_the_gap { Reason::RepeatGap } else { Reason::QuietHours };
            d.note("joined", "hold", why, None);
        }
        _ => {
            d.note("joined", "push", Reason::LiveDevice, None);
            // A device that went silent in this follow-up gives its reason at the deadline.
            let _ = push::address(&mut d);
            push::fall_back_if_hopeless(&mut d, "joined", None);
        }
    }
    Some(d.finish(before))
}

/// The clock starts: pushes first and alone, or — with nobody to push to — text and email at once.
pub(crate) fn start(d: &mut Draft<'_>) {
    // P13: nobody was there to start it when the customer left, for longer than anything is worth waiting for.
    let due_at = d.f.started_at.saturating_add(d.policy.ack_wait_ms);
    if d.now.saturating_sub(due_at) > d.policy.fallback_horizon_ms {
        d.f.deadline_at = due_at;
        d.f.stage = Stage::Waiting;
        return fallback::fall_back(d, "started", Reason::Overdue, None);
    }
    d.f.started_at = d.now;
    d.f.deadline_at = d.now + d.policy.ack_wait_ms;
    d.f.stage = Stage::Waiting;
    if let Err(why) = push::address(d) {
        fallback::fall_back(d, "started", why, None);
    }
}

/// When a state must be looked at again; `None` = never.
pub fn wake(f: &Followup) -> Option<super::effect::Wake> {
    wake_of(f)
}
