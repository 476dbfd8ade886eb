//! The whole promise on one screen: (state, event, facts, now, policy) → decision.

use super::ack::{self, Acked};
use super::effect::{Decision, Effect, Note, Rest, Wake, WakeReason};
use super::event::{Event, Facts};
use super::fallback;
use super::money;
use super::policy::Policy;
use super::push;
use super::reason::Reason;
use super::state::{Ended, Followup, LegStatus, PushStatus, Stage};
use crate::Ms;
use crate::limits::Counters;
use crate::wallet::Change;

/// Judges one event. Total: whatever does not fit the stage is a note or nothing.
pub fn decide(before: &Followup, event: &Event, facts: &Facts<'_>, now: Ms, policy: &Policy) -> Decision {
    let mut draft = Draft::new(before, facts, now, policy);
    match event {
        Event::Woke => woke(&mut draft),
        Event::PushAnswered { device, attempt, outcome } => push::answered(&mut draft, *device, *attempt, outcome),
        Event::Acked { device, covers, grade, recorded_at, detail } => {
            ack::acked(&mut draft, *device, *covers, *grade, *recorded_at, detail.as_deref());
        }
        Event::AckedByNewer { device } => ack::acked_by_newer(&mut draft, *device),
        Event::DeviceLost { device, why } => push::device_lost(&mut draft, *device, *why),
        Event::Claiming(channel) => fallback::claim(&mut draft, *channel),
        Event::FallbackAnswered { channel, attempt, outcome } => {
            fallback::answered(&mut draft, *channel, *attempt, outcome);
        }
        Event::MayHaveLeft { attempt, error, mark } => fallback::may_have_left(&mut draft, *attempt, error, *mark),
        Event::Asked { attempt, inquiry, found } => fallback::asked(&mut draft, *attempt, *inquiry, found),
        Event::Reported { channel, attempt, delivered, provider_id, error } => {
            let fate =
                fallback::Fate { delivered: *delivered, provider_id: provider_id.as_deref(), error: error.as_deref() };
            fallback::reported(&mut draft, *channel, *attempt, &fate);
        }
        Event::Seen { through_seq, why } => seen(&mut draft, *through_seq, *why),
        Event::Withdrawn { seq } => withdrawn(&mut draft, *seq),
        Event::Cancel(why) => cancel(&mut draft, *why),
    }
    draft.finish(before)
}

/// A decision in the making.
pub(crate) struct Draft<'a> {
    pub(crate) f: Followup,
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) now: Ms,
    pub(crate) policy: &'a Policy,
    pub(crate) effects: Vec<Effect>,
    pub(crate) note: Option<Note>,
    pub(crate) rest: Option<Box<Rest>>,
    pub(crate) left: bool,
    pub(crate) returned: bool,
    pub(crate) counters: Option<Box<Counters>>,
    pub(crate) wallet: Option<Box<Change>>,
    pub(crate) acked: Option<Acked>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(f: &Followup, facts: &'a Facts<'a>, now: Ms, policy: &'a Policy) -> Draft<'a> {
        Draft {
            f: f.clone(),
            facts,
            now,
            policy,
            effects: Vec::new(),
            note: None,
            rest: None,
            left: false,
            returned: false,
            counters: None,
            wallet: None,
            acked: None,
        }
    }

    pub(crate) fn note(&mut self, event: &'static str, decision: &'static str, why: Reason, detail: Option<&str>) {
        self.note = Some(Note { event, decision, why, detail: detail.map(str::to_owned) });
    }

    pub(crate) fn finish(mut self, before: &Followup) -> Decision {
        money::settle(&mut self);
        let changed = self.f != *before || self.rest.is_some();
        Decision {
            wake: wake_of(&self.f),
            changed,
            note: self.note.filter(|_| changed),
            next: self.f,
            effects: self.effects,
            rest: self.rest,
            left: self.left,
            returned: self.returned,
            counters: self.counters,
            wallet: self.wallet,
            acked: self.acked,
        }
    }
}

/// When a state must be looked at again: derived from it, so that nothing is ever waited for that nobody armed.
pub(crate) fn wake_of(f: &Followup) -> Option<Wake> {
    let wake = |at, why| Some(Wake { at, why });
    match &f.stage {
        // `started_at` of a watching row is when its customer counts as offline.
        Stage::Watching => wake(f.started_at, WakeReason::Presence),
        Stage::Waiting => {
            let due = f.pushes.iter().filter_map(|p| match p.status {
                PushStatus::Claimed(at) => Some(Wake { at, why: WakeReason::ClaimExpiry }),
                PushStatus::Retry(at) => Some(Wake { at, why: WakeReason::Retry }),
                PushStatus::Accepted
                | PushStatus::TokenGone
                | PushStatus::Unseen
                | PushStatus::LoggedOut
                | PushStatus::Refused
                | PushStatus::Limited
                | PushStatus::Stopped => None,
            });
            due.chain([Wake { at: f.deadline_at, why: WakeReason::Deadline }]).min_by_key(|w| w.at)
        }
        Stage::FallingBack { .. } | Stage::FellBack { .. } => {
            let hold = match f.stage {
                Stage::FallingBack { hold_until, .. } => hold_until,
                _ => None,
            };
            let of_leg = |status: LegStatus| match (status, hold) {
                (LegStatus::Queued(_), Some(at)) => wake(at, WakeReason::RepeatGap),
                (LegStatus::Queued(at), None) => wake(at, WakeReason::Offer),
                (LegStatus::Held(at), _) => wake(at, WakeReason::Held),
                (LegStatus::Claimed(at), _) => wake(at, WakeReason::ClaimExpiry),
                (LegStatus::Retry(at), _) => wake(at, WakeReason::Retry),
                (LegStatus::Unknown(at), _) => wake(at, WakeReason::Report),
                (LegStatus::Asking(inquiry) | LegStatus::Confirming(inquiry), _) => match inquiry.at < inquiry.until {
                    true => wake(inquiry.at, WakeReason::Inquiry),
                    false => wake(inquiry.until, WakeReason::Report),
                },
                _ => None,
            };
            [of_leg(f.text.status), of_leg(f.email.status)].into_iter().flatten().min_by_key(|w| w.at)
        }
        Stage::Acked { .. } | Stage::Cancelled { .. } | Stage::Failed { .. } => None,
    }
}

fn woke(d: &mut Draft<'_>) {
    match d.f.stage {
        Stage::Watching => match d.facts.online_until.filter(|until| *until > d.now) {
            Some(until) => d.f.started_at = until,
            None => {
                d.note("presence", "start", Reason::CustomerLeft, None);
                super::open::start(d);
            }
        },
        Stage::Waiting if d.now >= d.f.deadline_at => {
            let why = push::reason_at_deadline(&d.f, d.policy);
            fallback::fall_back(d, "deadline", why, None);
        }
        Stage::Waiting => push::resend_due(d),
        Stage::FallingBack { .. } | Stage::FellBack { .. } => fallback::woke(d),
        Stage::Acked { .. } | Stage::Cancelled { .. } | Stage::Failed { .. } => {}
    }
}

/// D5: the customer has seen replies 1…k.
fn seen(d: &mut Draft<'_>, through_seq: i64, why: Reason) {
    let k = d.f.replies.iter().filter(|r| r.seq <= through_seq).count();
    let k = u16::try_from(k).unwrap_or(u16::MAX);
    if k <= d.f.seen {
        return;
    }
    if d.f.unseen_after(k).next().is_none() {
        d.f.seen = k;
        return cancel(d, why);
    }
    match d.f.stage {
        Stage::Waiting => {
            split(d, k, "seen", why);
            stop_pushes(&mut d.f);
            d.f.stage = Stage::Cancelled { at: d.now, why };
            d.note("seen", "cancel", why, None);
        }
        Stage::Watching | Stage::FallingBack { .. } | Stage::FellBack { .. } => {
            d.f.seen = k;
            d.note("seen", "shorten", why, None);
        }
        Stage::Acked { .. } | Stage::Cancelled { .. } | Stage::Failed { .. } => {}
    }
}

/// The agent took a reply back: it stops what has not left, or shortens it.
fn withdrawn(d: &mut Draft<'_>, seq: i64) {
    let Some(reply) = d.f.replies.iter_mut().find(|r| r.seq == seq && !r.withdrawn) else { return };
    reply.withdrawn = true;
    d.note("withdrawn", "shorten", Reason::MessageDeleted, None);
    if d.f.unseen().next().is_none() {
        cancel(d, Reason::MessageDeleted);
    }
}

/// Stops whatever has not left yet.
pub(crate) fn cancel(d: &mut Draft<'_>, why: Reason) {
    match d.f.stage {
        Stage::Watching => {
            // Its clock never started: it never was a follow-up.
            d.f.deadline_at = 0;
            d.f.stage = Stage::Cancelled { at: d.now, why };
            d.note("cancel", "cancel", why, None);
        }
        Stage::Waiting => {
            stop_pushes(&mut d.f);
            d.f.stage = Stage::Cancelled { at: d.now, why };
            d.note("cancel", "cancel", why, None);
        }
        Stage::FallingBack { .. } | Stage::FellBack { .. } => {
            fallback::stop(d, Ended::Cancelled(why));
            d.note("cancel", "stop", why, None);
        }
        Stage::Acked { .. } | Stage::Cancelled { .. } | Stage::Failed { .. } => {}
    }
}

/// What has not left does not leave any more.
pub(crate) fn stop_pushes(f: &mut Followup) {
    for push in &mut f.pushes {
        if matches!(push.status, PushStatus::Retry(_)) {
            push.status = PushStatus::Stopped;
        }
    }
}

/// D8: the replies after the first `k` live on as a follow-up of their own, due when their own first one says.
/// Pushes that already show them need not go again; what their providers answer is told to both.
pub(crate) fn split(d: &mut Draft<'_>, k: u16, event: &'static str, why: Reason) {
    let (now, policy) = (d.now, d.policy);
    let replies = d.f.replies.split_off(k as usize);
    let Some(first) = replies.first() else { return };
    // Replies that landed while the customer was online count from the moment they left (D2).
    let started_at = d.f.started_at.max(first.accepted_at);
    let next = Followup {
        started_at,
        deadline_at: started_at.saturating_add(policy.ack_wait_ms),
        stage: Stage::Waiting,
        pushes: d.f.pushes.iter().filter_map(|p| p.showing_after(k)).collect(),
        seen: d.f.seen.saturating_sub(k),
        rest: None,
        late_ack_at: None,
        replies,
        ..d.f.clone()
    };
    d.f.seen = k;
    let id = d.facts.spare;
    d.f.rest = Some((id, k.saturating_add(1)));
    let mut rest = Draft::new(&next, d.facts, now, policy);
    rest.note(event, "rest", why, None);
    push::address_rest(&mut rest, event);
    let note = rest.note.take().unwrap_or(Note { event, decision: "rest", why, detail: None });
    let wake = wake_of(&rest.f);
    d.rest = Some(Box::new(Rest { id, next: rest.f, effects: rest.effects, wake, note }));
}
