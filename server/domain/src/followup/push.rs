//! Pushes of a follow-up: who gets one, what their providers answered, when nothing can be hoped for (P1, P5, P10).

use super::decide::Draft;
use super::effect::Effect;
use super::event::{Facts, NewReply};
use super::fallback;
use super::outcome::Outcome;
use super::policy::Policy;
use super::reason::Reason;
use super::state::{Channel, Followup, Push, PushStatus, Stage};
use crate::Ms;
use crate::device::{DeviceFacts, NotLive};
use crate::ids::DeviceId;
use backstop_wire::Grade;

/// P10: a push that wakes a phone later than this would tell the customer twice.
const MIN_LIFE_MS: Ms = 1_000;

/// Gives every live device a push that shows all replies, or says why there is none to give.
pub(crate) fn address(d: &mut Draft<'_>) -> Result<(), Reason> {
    if !NewReply::allows(d.f.chosen.as_deref(), Channel::Push) {
        return Err(Reason::PushNotChosen);
    }
    let mut gone = 0;
    let mut denied = 0;
    let mut due = Vec::new();
    let mut targets = 0;
    for device in d.facts.devices.iter().filter(|device| targeted(d.f.apps.as_deref(), device)) {
        targets += 1;
        match device.live(d.now) {
            Err(NotLive::TokenGone) => gone += 1,
            Err(NotLive::AlertsDenied) => denied += 1,
            Ok(()) if d.policy.carries(device) => due.push(device),
            Ok(()) => {}
        }
    }
    due.retain(|device| claim(d, device));
    let ids: Vec<DeviceId> = due.iter().map(|f| f.id).collect();
    let expires_at = expires_at(d);
    d.effects.extend(sends(&d.f, &ids, expires_at));
    match (d.f.pushes.iter().any(Push::is_hopeful), targets) {
        (true, _) => Ok(()),
        (false, 0) => Err(Reason::NoDevice),
        (false, _) if denied > 0 => Err(Reason::AlertsDenied),
        (false, _) if gone > 0 => Err(Reason::TokenGone),
        (false, _) => Err(Reason::NoPushCredentials),
    }
}

/// Whether anybody is there to push to.
pub(crate) fn reachable(new: &NewReply, facts: &Facts<'_>, now: Ms, policy: &Policy) -> bool {
    let due = |d: &DeviceFacts| targeted(new.apps.as_deref(), d) && d.live(now).is_ok() && policy.carries(d);
    NewReply::allows(new.chosen.as_deref(), Channel::Push) && facts.devices.iter().any(due)
}

/// P1: whether a device is part of an app that the caller chose.
fn targeted(apps: Option<&[String]>, device: &DeviceFacts) -> bool {
    apps.is_none_or(|apps| device.app.as_deref().is_some_and(|own| apps.iter().any(|app| app == own)))
}

/// P1 for a follow-up that takes over another's replies: no second push where one that shows them all is out.
pub(crate) fn address_rest(d: &mut Draft<'_>, event: &'static str) {
    if let Err(why) = address(d) {
        let why = if d.f.pushes.is_empty() { why } else { reason_hopeless(&d.f, None) };
        fallback::fall_back(d, event, why, None);
    }
}

/// Whether a push goes to this device now.
fn claim(d: &mut Draft<'_>, device: &DeviceFacts) -> bool {
    let covers = d.f.count();
    let status = PushStatus::Claimed(d.now + d.policy.claim_ms);
    let at = d.now;
    match d.f.pushes.iter_mut().find(|p| p.device == device.id) {
        // Known dead in this follow-up stays dead.
        Some(push) if matches!(push.status, PushStatus::TokenGone | PushStatus::Refused) => return false,
        Some(push) if push.covers >= covers => return false,
        Some(push) => {
            push.covers = covers;
            push.attempt = push.attempt.saturating_add(1);
            push.status = status;
            push.at = at;
            push.elsewhere = None;
        }
        None => d.f.pushes.push(Push {
            device: device.id,
            via: device.provider,
            status,
            covers,
            attempt: 1,
            at,
            elsewhere: None,
            provider_id: None,
            error: None,
            acks: Vec::new(),
            acked: None,
        }),
    }
    true
}

/// P10: as long as its use — to the deadline, or long when nothing else can leave.
pub(crate) fn expires_at(d: &Draft<'_>) -> Ms {
    let fallback = [Channel::Text, Channel::Email].into_iter().any(|c| fallback::route(d, c).is_ok());
    if fallback { d.f.deadline_at.max(d.now + MIN_LIFE_MS) } else { d.now + d.policy.push_ttl_ms }
}

/// The sends of the claimed pushes to these devices.
pub(crate) fn sends(f: &Followup, devices: &[DeviceId], expires_at: Ms) -> Vec<Effect> {
    let claimed = f.pushes.iter().filter(|p| devices.contains(&p.device) && matches!(p.status, PushStatus::Claimed(_)));
    claimed.map(|p| Effect::SendPush { device: p.device, attempt: p.attempt, covers: p.covers, expires_at }).collect()
}

/// Pushes whose claim ended or whose retry is due go again: a repeat is harmless under one collapse id.
pub(crate) fn resend_due(d: &mut Draft<'_>) {
    let now = d.now;
    let mut due = Vec::new();
    for push in &mut d.f.pushes {
        if let PushStatus::Claimed(at) | PushStatus::Retry(at) = push.status
            && at <= now
        {
            push.status = PushStatus::Claimed(now + d.policy.claim_ms);
            push.attempt = push.attempt.saturating_add(1);
            push.at = now;
            due.push(push.device);
        }
    }
    if !due.is_empty() {
        d.note("retry", "push_again", Reason::Nothing, None);
    }
    let expires_at = expires_at(d);
    d.effects.extend(sends(&d.f, &due, expires_at));
}

/// A provider answered for one device.
pub(crate) fn answered(d: &mut Draft<'_>, device: DeviceId, attempt: u32, outcome: &Outcome) {
    let (now, deadline_at) = (d.now, d.f.deadline_at);
    let backoff_ms = d.policy.backoff_ms(attempt);
    let Some(push) = d.f.pushes.iter_mut().find(|p| p.device == device) else { return };
    if let Outcome::Accepted { provider_id } = outcome {
        let provider_id = provider_id.clone().or_else(|| Some(String::new()));
        push.provider_id = push.provider_id.take().filter(|_| push.attempt != attempt).or(provider_id);
    }
    // An answer to an older version says nothing of the newer one, which may have gone to a newer token.
    if push.attempt != attempt || !matches!(push.status, PushStatus::Claimed(_)) {
        // Its id alone may be news.
        return d.note("push", outcome.label(), Reason::Nothing, None);
    }
    push.at = now;
    push.error = outcome.error().map(str::to_owned);
    let outcome = push.judged(outcome);
    let outcome = outcome.as_ref();
    let mut again = None;
    push.status = match outcome {
        // C3: the other environment is tried at once, and once.
        Outcome::WrongEnvironment { tried, .. } if d.f.stage == Stage::Waiting => {
            push.elsewhere = Some(tried.other());
            push.attempt = push.attempt.saturating_add(1);
            again = Some(device);
            PushStatus::Claimed(now + d.policy.claim_ms)
        }
        Outcome::WrongEnvironment { .. } => PushStatus::Stopped,
        Outcome::Accepted { .. } => PushStatus::Accepted,
        Outcome::TokenGone { .. } => PushStatus::TokenGone,
        Outcome::Rejected { .. } => PushStatus::Refused,
        Outcome::RetryAfter { after_ms, .. } | Outcome::Postponed { after_ms, .. } => {
            match now.saturating_add(after_ms.unwrap_or(0).max(backoff_ms)) {
                at if at < deadline_at => PushStatus::Retry(at),
                _ => PushStatus::Limited,
            }
        }
        // It may have arrived: worth waiting for, and worth repeating under the same collapse id.
        Outcome::Unknown { .. } if now + backoff_ms < deadline_at => PushStatus::Retry(now + backoff_ms),
        Outcome::Unknown { .. } => PushStatus::Accepted,
    };
    if d.f.stage != Stage::Waiting {
        super::decide::stop_pushes(&mut d.f);
    }
    d.note("push", outcome.label(), Reason::Nothing, outcome.error());
    if again.is_some() {
        let expires_at = expires_at(d);
        d.effects.extend(sends(&d.f, again.as_slice(), expires_at));
    }
    fall_back_if_hopeless(d, "push", None);
}

/// A device logged out, denied alerts or lost its token: what it still shows may never be seen.
pub(crate) fn device_lost(d: &mut Draft<'_>, device: DeviceId, why: Reason) {
    let now = d.now;
    let Some(push) = d.f.pushes.iter_mut().find(|p| p.device == device && p.is_hopeful()) else { return };
    push.status = match why {
        Reason::TokenGone => PushStatus::TokenGone,
        Reason::NoDevice => PushStatus::LoggedOut,
        _ => PushStatus::Unseen,
    };
    push.at = now;
    d.note("device", "lost", why, None);
    fall_back_if_hopeless(d, "device", None);
}

/// P5: known dead is not waited for.
pub(crate) fn fall_back_if_hopeless(d: &mut Draft<'_>, event: &'static str, detail: Option<&str>) {
    if d.f.stage == Stage::Waiting && !d.f.pushes.iter().any(Push::is_hopeful) {
        let why = reason_hopeless(&d.f, detail);
        fallback::fall_back(d, event, why, detail);
    }
}

/// Why nothing can be hoped for; the reason nearest to an arrival first.
fn reason_hopeless(f: &Followup, detail: Option<&str>) -> Reason {
    if f.pushes.iter().any(|p| matches!(p.acked, Some((Grade::Suppressed, ..)))) {
        return match detail {
            Some("channel_off") => Reason::ChannelOff,
            Some("alerts_denied") => Reason::AlertsDenied,
            _ => Reason::Suppressed,
        };
    }
    let any = |status| f.pushes.iter().any(|p| p.status == status);
    if any(PushStatus::Limited) {
        Reason::RateLimited
    } else if any(PushStatus::Refused) {
        Reason::PushRefused
    } else if any(PushStatus::Unseen) {
        Reason::AlertsDenied
    } else if any(PushStatus::LoggedOut) {
        Reason::NoDevice
    } else {
        Reason::TokenGone
    }
}

/// Why the deadline came without a counted ack.
pub(crate) fn reason_at_deadline(f: &Followup, policy: &Policy) -> Reason {
    match f.pushes.iter().filter_map(|p| p.acked.map(|(grade, ..)| grade)).max() {
        None => Reason::NoAck,
        Some(Grade::Suppressed) => Reason::Suppressed,
        Some(grade) if grade < policy.ack_grade => Reason::GradeTooLow,
        Some(_) => Reason::DeviceUnattended,
    }
}
