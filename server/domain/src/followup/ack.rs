//! An ack: the device's own word (P6–P9, P11, D8).

use super::decide::{Draft, split, stop_pushes};
use super::fallback;
use super::push;
use super::reason::Reason;
use super::state::{Ended, Push, PushStatus, Stage};
use crate::Ms;
use crate::ids::DeviceId;
use backstop_wire::Grade;

/// What the device is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// What became of it.
    pub verdict: AckVerdict,
    /// Whether it is enough to settle the follow-up (P6, P7).
    pub counted: bool,
    /// Whether it is this device's first counted ack of this follow-up: what P6 remembers.
    pub first_counted: bool,
}

/// What became of an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckVerdict {
    /// Recorded before a fallback was decided.
    Accepted,
    /// Recorded after it.
    Late,
    /// Same receipt, same or lower grade.
    Duplicate,
    /// Nothing that could be acked.
    Refused,
}

/// The receipt is genuine: it was MAC'd for this follow-up, this device and this many replies.
pub(crate) fn acked(d: &mut Draft<'_>, device: DeviceId, covers: u16, grade: Grade, at: Ms, detail: Option<&str>) {
    // A part of the replies may live on elsewhere by now; that part is acked there.
    let covers = covers.min(d.f.count());
    let refused = Acked { verdict: AckVerdict::Refused, counted: false, first_counted: false };
    let counts = counts(d, device, grade);
    let now = d.now;
    let Some(push) = d.f.pushes.iter_mut().find(|p| p.device == device && covers > 0) else {
        d.acked = Some(refused);
        return;
    };
    let known = push.acks.iter().filter(|(n, _)| *n == covers).map(|(_, g)| *g).max();
    if known.is_some_and(|known| known >= grade) {
        let counted = counts && matches!(d.f.stage, Stage::Acked { .. });
        d.acked = Some(Acked { verdict: AckVerdict::Duplicate, counted, first_counted: false });
        return;
    }
    let first = push.acks.iter().all(|(_, g)| *g < d.policy.ack_grade);
    record(push, covers, grade, at, now);
    let verdict = match d.f.stage {
        Stage::Watching | Stage::Waiting | Stage::Acked { .. } | Stage::Cancelled { .. } => AckVerdict::Accepted,
        Stage::FallingBack { .. } | Stage::FellBack { .. } | Stage::Failed { .. } => AckVerdict::Late,
    };
    let counted = counts && matches!(d.f.stage, Stage::Waiting | Stage::Acked { .. });
    d.note("ack", "note", Reason::Nothing, Some(grade.as_str()));
    match d.f.stage {
        Stage::Waiting if counts => settle(d, Some(device), covers),
        Stage::Waiting => {
            let why = why_uncounted(d, grade);
            d.note("ack", "note", why, detail.or(Some(grade.as_str())));
            push::fall_back_if_hopeless(d, "ack", detail);
        }
        Stage::FallingBack { .. } | Stage::FellBack { .. } | Stage::Failed { .. } if counts => late(d, covers),
        _ => {}
    }
    d.acked = Some(Acked { verdict, counted, first_counted: counted && first });
}

/// P9: platforms keep one notification per app while a phone is offline, so a newer ack settles older pushes.
pub(crate) fn acked_by_newer(d: &mut Draft<'_>, device: DeviceId) {
    // A phone keeps one notification an app: what came to one app says nothing of what went to others.
    if d.f.apps.is_some() && d.f.pushes.iter().all(|push| push.device != device) {
        return;
    }
    match d.f.stage {
        Stage::Waiting => {
            let all = d.f.count();
            settle(d, None, all);
        }
        Stage::FallingBack { .. } | Stage::FellBack { .. } => {
            let all = d.f.count();
            late(d, all);
        }
        Stage::Watching | Stage::Acked { .. } | Stage::Cancelled { .. } | Stage::Failed { .. } => {}
    }
}

/// P2, D8: acked with the replies 1…n that the push showed; the rest lives on.
fn settle(d: &mut Draft<'_>, by: Option<DeviceId>, covers: u16) {
    let why = if by.is_some() { Reason::Acked } else { Reason::AckedByNewer };
    if d.f.unseen_after(covers).next().is_some() {
        split(d, covers, "ack", why);
    }
    d.f.seen = d.f.seen.max(covers);
    stop_pushes(&mut d.f);
    d.f.stage = Stage::Acked { at: d.now, by };
    d.note("ack", "acked", why, None);
}

/// P8: after the decision an ack is late: it stops what has not left, and the outcome stays.
fn late(d: &mut Draft<'_>, covers: u16) {
    d.f.late_ack_at.get_or_insert(d.now);
    d.f.seen = d.f.seen.max(covers);
    if d.f.unseen().next().is_none() {
        fallback::stop(d, Ended::LateAck);
    }
    d.note("ack", "late", Reason::AckLate, None);
}

/// P6, P7: the grade the workspace asks for, from a device somebody looks at.
fn counts(d: &Draft<'_>, device: DeviceId, grade: Grade) -> bool {
    let attended = d.facts.devices.iter().find(|f| f.id == device);
    grade >= d.policy.ack_grade
        && grade > Grade::Suppressed
        && attended.is_some_and(|f| grade == Grade::Opened || f.counts(d.facts.engaged_at, d.now, &d.policy.unread))
}

fn why_uncounted(d: &Draft<'_>, grade: Grade) -> Reason {
    match grade {
        Grade::Suppressed => Reason::Suppressed,
        Grade::Unknown | Grade::Received | Grade::Displayed | Grade::Opened if grade < d.policy.ack_grade => {
            Reason::GradeTooLow
        }
        Grade::Unknown | Grade::Received | Grade::Displayed | Grade::Opened => Reason::DeviceUnattended,
    }
}

fn record(push: &mut Push, covers: u16, grade: Grade, recorded_at: Ms, now: Ms) {
    match push.acks.iter_mut().find(|(n, _)| *n == covers) {
        Some(known) => known.1 = grade,
        None => push.acks.push((covers, grade)),
    }
    // It arrived, whatever its provider said or did not say: it need not go again.
    if covers == push.covers && matches!(push.status, PushStatus::Claimed(_) | PushStatus::Retry(_)) {
        push.status = PushStatus::Accepted;
    }
    if push.acked.is_none_or(|(known, ..)| grade > known) {
        push.acked = Some((grade, recorded_at, now));
    }
}
