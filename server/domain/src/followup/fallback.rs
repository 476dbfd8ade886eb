//! Text and email: the decision to fall back, the claims, the answers, the reports (P3, P4, P8, P13, D8).

use super::decide::{Draft, stop_pushes};
use super::effect::{Alarm, Effect};
use super::event::{Facts, NewReply};
use super::hops::{self, Told};
use super::money;
use super::outcome::{Found, Outcome};
use super::policy::Policy;
use super::reason::{Reason, Skip};
use super::state::{AuthorKind, Channel, Ended, Followup, Inquiry, Kind, LegStatus, Mark, Stage};
use crate::Ms;
use crate::customer::ContactSource;
use crate::text::TextPlan;

/// How long an email is tried; a text has `fallback_horizon`.
const EMAIL_HORIZON_MS: Ms = 24 * 3_600_000;
const ERASED: Ended = Ended::Cancelled(Reason::CustomerErased);
const BOTH: [Channel; 2] = [Channel::Text, Channel::Email];

/// The decision to fall back. It is the winner of P8 from its commit on; what can leave is offered, and if nothing
/// can, the follow-up failed.
pub(crate) fn fall_back(d: &mut Draft<'_>, event: &'static str, why: Reason, detail: Option<&str>) {
    stop_pushes(&mut d.f);
    let now = d.now;
    for channel in BOTH {
        let status = match route(d, channel) {
            Ok(()) => queued(d, channel),
            Err(skip) => {
                match skip {
                    Skip::TooOld => d.effects.push(Effect::Alarm(Alarm::Overdue)),
                    Skip::NoBalance => money::ask(d),
                    _ => {}
                }
                LegStatus::Skipped(skip)
            }
        };
        let leg = d.f.leg_mut(channel);
        leg.status = status;
        leg.at = now;
    }
    if !BOTH.iter().any(|c| d.f.leg(*c).status.is_due_or_will_be()) {
        d.f.stage = Stage::Failed { at: now, why: Reason::NoFallbackRoute };
        d.note(event, "failed", Reason::NoFallbackRoute, Some(why.as_str()));
        return;
    }
    d.f.stage = Stage::FallingBack { at: now, why, hold_until: hold(d), ended: None };
    let held = matches!(d.f.text.status, LegStatus::Held(_)).then_some(Reason::QuietHours.as_str());
    d.note(event, "fall_back", why, detail.or(held));
    offer(d);
}

/// Whether what the customer reads, writes or acknowledges may still stop something of it: it is open, or an SNS that
/// was taken may yet be reported failed and be followed (D5, T2).
pub fn hears(f: &Followup, facts: &Facts<'_>, now: Ms, policy: &Policy) -> bool {
    let text = &f.text;
    let may_fail = hops::is_sns(text) && matches!(text.status, LegStatus::Accepted | LegStatus::Unresolved);
    let may_be_followed = may_fail && !f.stopped && !text.then.is_empty();
    f.is_open() || may_be_followed && late_ms(&Draft::new(f, facts, now, policy), now) <= policy.fallback_horizon_ms
}

/// How a way out waits for a free hand; a text waits for the end of the quiet hours first (D10).
pub(super) fn queued(d: &Draft<'_>, channel: Channel) -> LegStatus {
    match quiet_until(d, channel) {
        Some(until) => LegStatus::Held(until),
        None => LegStatus::Queued(d.now + d.policy.offer_ms),
    }
}

/// D10: text alone is held, in the customer's time zone.
fn quiet_until(d: &Draft<'_>, channel: Channel) -> Option<Ms> {
    let quiet = d.policy.quiet.as_ref().filter(|_| channel == Channel::Text)?;
    quiet.until(d.now, d.facts.time_zone)
}

/// P13: by how much this instant is past the deadline, without the quiet hours between: they are nobody's delay (D10).
fn late_ms(d: &Draft<'_>, at: Ms) -> Ms {
    let (from, late_ms) = (d.f.deadline_at, at.saturating_sub(d.f.deadline_at));
    let quiet_ms = match &d.policy.quiet {
        Some(quiet) if late_ms > d.policy.fallback_horizon_ms => quiet.within(from, at, d.facts.time_zone),
        _ => 0,
    };
    // It was held by the hours of then, whatever they are by now.
    late_ms.saturating_sub(quiet_ms.max(d.f.text.held_ms))
}

/// A reply joined: what had no way out may have one with it (D1).
pub(crate) fn reopen_skipped(d: &mut Draft<'_>) {
    for channel in BOTH {
        if matches!(d.f.leg(channel).status, LegStatus::Skipped(_)) && route(d, channel).is_ok() {
            let status = queued(d, channel);
            set(d, channel, status);
        }
    }
}

/// Whether this channel can carry the follow-up, judged when it is decided and again when it is sent.
pub(crate) fn route(d: &Draft<'_>, channel: Channel) -> Result<(), Skip> {
    let (facts, policy, f) = (d.facts, d.policy, &d.f);
    let (on, known) = match channel {
        Channel::Text => (policy.channels.phone_number, facts.phone),
        Channel::Email => (policy.channels.email, facts.email),
        Channel::Push => return Err(Skip::NotChosen),
    };
    // A row that watches has no deadline yet.
    let late_by_ms = if f.stage == Stage::Watching { 0 } else { late_ms(d, d.now) };
    if !NewReply::allows(f.chosen.as_deref(), channel) {
        Err(Skip::NotChosen)
    } else if !on {
        Err(Skip::SwitchedOff)
    } else if !known {
        Err(Skip::NoContact)
    } else if channel == Channel::Text && facts.opted_out {
        Err(Skip::OptedOut)
    } else if channel == Channel::Email && facts.address_marked {
        Err(Skip::AddressMarked)
    } else if f.kind == Kind::Outreach && facts.source == ContactSource::FollowUp {
        Err(Skip::Purpose)
    } else if channel == Channel::Text && !policy.channels.bot_text && f.unseen().all(|r| r.author == AuthorKind::Bot) {
        Err(Skip::BotAuthor)
    } else if policy.provider_name(channel).is_none() {
        Err(Skip::NoProvider)
    } else if channel == Channel::Text && late_by_ms > policy.fallback_horizon_ms {
        Err(Skip::TooOld)
    } else if money::is_empty(d, channel) {
        Err(Skip::NoBalance)
    } else {
        Ok(())
    }
}

/// D8: after a text or email left, the next follow-up's wait for the gap — unless its own have begun to leave. One that
/// left further ahead than a gap was timed by a clock that was set back since: nobody waits for that clock.
fn hold(d: &Draft<'_>) -> Option<Ms> {
    let begun = BOTH.iter().any(|c| d.f.leg(*c).has_begun());
    let gap_ms = d.policy.repeat_gap_ms;
    let left_at = d.facts.left_at.filter(|at| *at <= d.now.saturating_add(gap_ms))?;
    let until = left_at.saturating_add(gap_ms);
    (d.f.kind == Kind::Reply && !begun && until > d.now).then_some(until)
}

/// D10 once more at the claim, and D8 once the night is over: a text whose own email left long ago waits out what left
/// since, so that the texts of a night do not come at once.
fn held(d: &Draft<'_>, channel: Channel) -> Option<(Ms, Reason)> {
    if let Some(until) = quiet_until(d, channel) {
        return Some((until, Reason::QuietHours));
    }
    let gap_ms = d.policy.repeat_gap_ms;
    let left_at = d.facts.left_at.filter(|at| *at <= d.now)?;
    let until = left_at.saturating_add(gap_ms);
    let is_own = d.f.gap_at.is_none_or(|at| at == left_at || at.saturating_add(gap_ms) > d.now);
    let waits = channel == Channel::Text && d.f.kind == Kind::Reply && !d.f.text.has_begun();
    (waits && !is_own && until > d.now).then_some((until, Reason::RepeatGap))
}

/// Offers what is queued, unless it is held.
fn offer(d: &mut Draft<'_>) {
    if matches!(d.f.stage, Stage::FallingBack { hold_until: Some(_), .. }) {
        return;
    }
    let offer_at = d.now + d.policy.offer_ms;
    for channel in BOTH {
        let leg = d.f.leg_mut(channel);
        if let LegStatus::Queued(at) = &mut leg.status {
            *at = offer_at;
            d.effects.push(Effect::Offer(channel));
        }
    }
}

/// A free hand asks to send now: still wanted, still allowed, and nobody else's.
pub(crate) fn claim(d: &mut Draft<'_>, channel: Channel) {
    let (now, open) = (d.now, matches!(d.f.stage, Stage::FallingBack { .. } | Stage::FellBack { .. }));
    let due = match d.f.leg(channel).status {
        LegStatus::Queued(_) => true,
        LegStatus::Retry(at) => at <= now,
        _ => false,
    };
    if !open || !due {
        return;
    }
    if let Some(until) = hold(d) {
        if let Stage::FallingBack { hold_until, .. } = &mut d.f.stage {
            *hold_until = Some(until);
            d.note("claim", "hold", Reason::RepeatGap, None);
        }
        return;
    }
    // Two follow-ups of a conversation do not begin at one instant: each must know whose gap it is, since a refusal
    // ends its own (see `answered`). This one is offered again.
    if d.f.kind == Kind::Reply && d.facts.left_at == Some(now) && d.f.gap_at != Some(now) {
        return;
    }
    if route(d, channel).is_ok()
        && let Some((until, why)) = held(d, channel)
    {
        set(d, channel, LegStatus::Held(until));
        d.note("claim", "hold", why, None);
        return;
    }
    if channel == Channel::Text && hops::has_arrived(&d.f.text) {
        hops::spare(d);
        return settle(d);
    }
    let plan = d.facts.plan.filter(|_| channel == Channel::Text);
    if plan.is_some_and(|plan| !plan.shows(&d.f) || !plan.follows(&d.f.text)) {
        return;
    }
    let refusal = plan.and_then(|plan| plan.refusal(d.f.kind));
    if let Err(skip) = route(d, channel).and(refusal.map_or(Ok(()), Err)).and_then(|()| spend(d, channel)) {
        if skip == Skip::TooOld {
            d.effects.push(Effect::Alarm(Alarm::Overdue));
        }
        if d.f.leg(channel).left {
            leave_open(d, channel);
        } else if plan.is_some_and(|plan| hops::pass_over(d, plan, skip)) {
            d.note("claim", "next_way", Reason::ChannelUnavailable, Some(skip.as_str()));
            return offer(d);
        } else {
            set(d, channel, LegStatus::Skipped(skip));
        }
        d.note("claim", "skip", Reason::ChannelUnavailable, Some(skip.as_str()));
        return settle(d);
    }
    take(d, channel, plan);
}

/// It is claimed: from here on its bytes may leave.
fn take(d: &mut Draft<'_>, channel: Channel, plan: Option<&TextPlan>) {
    let now = d.now;
    let provider = plan.map_or_else(|| d.policy.provider_name(channel), |plan| Some(plan.hop.via.clone()));
    let until = now + d.policy.claim_ms;
    let leg = d.f.leg_mut(channel);
    leg.attempt = leg.attempt.saturating_add(1);
    // What may have left by a way is still that, though its repeat could not be put together.
    if channel == Channel::Email || plan.is_some() || !leg.left {
        leg.provider = provider;
        leg.segments = plan.map(|plan| plan.segments);
        leg.form = plan.map(|plan| plan.form);
    }
    if channel == Channel::Text {
        // A repeat under its key is planned for its own way alone: what follows it was known before.
        if !leg.left {
            leg.then = plan.map(|plan| plan.then.clone()).unwrap_or_default();
        }
        leg.since.get_or_insert(now);
    }
    let attempt = leg.attempt;
    set(d, channel, LegStatus::Claimed(until));
    if let Stage::FallingBack { hold_until, .. } = &mut d.f.stage {
        *hold_until = None;
    }
    // Another follow-up of the conversation must not slip in before the answer.
    // Outreach waits for no gap and so begins one only when it really left.
    if d.f.kind == Kind::Reply {
        d.left = true;
        d.f.gap_at = Some(now);
    }
    d.effects.push(Effect::Send { channel, attempt });
    let why = d.f.reason().unwrap_or(Reason::Nothing);
    let passed = plan.and_then(|plan| plan.passed.as_deref());
    d.note("claim", if channel == Channel::Email { "send_email" } else { "send_text" }, why, passed);
}

/// S4: the last word before a text costs something. A repeat under the key of a try that was counted is one text.
fn spend(d: &mut Draft<'_>, channel: Channel) -> Result<(), Skip> {
    let (Channel::Text, Some(plan)) = (channel, d.facts.plan) else { return money::hold(d, channel) };
    let limits = &d.policy.limits;
    limits.allow(plan, d.now)?;
    let (None, Some(counters)) = (d.f.text.counted_at, d.facts.counters) else { return money::hold(d, channel) };
    let (counters, filled) = counters.take(&limits.caps, d.now)?;
    money::hold(d, channel)?;
    d.f.text.counted_at = Some(d.now);
    d.counters = Some(Box::new(counters));
    d.effects.extend(filled.into_iter().map(|filled| Effect::Alarm(Alarm::Filled(filled))));
    Ok(())
}

/// S4: what was counted certainly did not leave. Where the counters are not known it stays counted, and the next try
/// is not counted again.
fn give_back(d: &mut Draft<'_>, channel: Channel) {
    if channel == Channel::Text && !d.f.text.left {
        uncount(d);
    }
}

/// The same of what was taken and failed: an SNS that did not arrive is no text.
fn uncount(d: &mut Draft<'_>) {
    if let (Some(counters), Some(at)) = (d.facts.counters, d.f.text.counted_at) {
        d.f.text.counted_at = None;
        d.counters = Some(Box::new(counters.give_back(at)));
    }
}

/// A text or email provider answered.
pub(crate) fn answered(d: &mut Draft<'_>, channel: Channel, attempt: u32, outcome: &Outcome) {
    let idempotent = d.policy.idempotent(channel, d.f.leg(channel));
    let earlier = channel == Channel::Text && hops::told_of_earlier(d, attempt, Told::Answer(outcome));
    let leg = d.f.leg_mut(channel);
    if earlier || attempt == 0 || leg.attempt != attempt || !leg.awaits(outcome) {
        return;
    }
    let event = if channel == Channel::Email { "email" } else { "text" };
    d.note(event, outcome.label(), Reason::Nothing, outcome.error());
    let leg = d.f.leg_mut(channel);
    leg.error = outcome.error().map(str::to_owned);
    let form = leg.form;
    if let (Channel::Text, Outcome::Rejected { error }) = (channel, outcome) {
        hops::heard_of_person(d, form, Some(error));
    }
    let leg = d.f.leg_mut(channel);
    match outcome {
        Outcome::Accepted { provider_id } => {
            leg.provider_id = provider_id.clone();
            let status = hops::accepted(d, channel);
            set(d, channel, status);
            left(d, channel);
        }
        // The refusal of a repeat says nothing of the try before it, which may have left under the same key.
        Outcome::Rejected { .. } if channel == Channel::Text && hops::is_repeat(leg, idempotent) => {
            leave_open(d, channel);
        }
        Outcome::TokenGone { .. } | Outcome::WrongEnvironment { .. } | Outcome::Rejected { .. } => {
            give_back(d, channel);
            set(d, channel, LegStatus::Failed);
            if channel == Channel::Text && hops::failed(d, false) {
                offer(d);
            }
        }
        Outcome::RetryAfter { after_ms, .. } | Outcome::Postponed { after_ms, .. } => {
            let is_ours = matches!(outcome, Outcome::Postponed { .. });
            // Never repeated while unknown, so this word is about its only open try.
            leg.left &= idempotent;
            let at = again_at(d, channel, after_ms.unwrap_or(0));
            let sns_waits = |until| is_ours && at <= until;
            let waits = d.f.leg(channel).left || sns_until(d, channel).is_none_or(sns_waits);
            give_back(d, channel);
            // T2: an SNS that its provider does not take now has failed: the next way can be tried. Our own reasons not
            // to ask it are no failure of the way, for as long as its report would be awaited.
            if !waits {
                set(d, channel, LegStatus::Failed);
            }
            if !waits && hops::failed(d, false) {
                offer(d);
            } else {
                again(d, channel, after_ms.unwrap_or(0));
            }
        }
        Outcome::Unknown { .. } => unknown(d, channel),
    }
    let its_gap = d.f.gap_at.is_some() && d.f.gap_at == d.facts.left_at;
    d.returned = its_gap && !BOTH.iter().any(|c| d.f.leg(*c).has_begun());
    settle(d);
}

/// May have left. Repeated where a repeat is one effect; else a report is awaited and nothing is sent again.
fn unknown(d: &mut Draft<'_>, channel: Channel) {
    left(d, channel);
    if d.policy.idempotent(channel, d.f.leg(channel)) {
        again(d, channel, 0);
    } else {
        set(d, channel, LegStatus::Unknown(d.now + hops::report_wait_ms(d, channel)));
    }
}

/// It may have left, and is not tried again. An SNS is waited for as long as its report would be (T2); of any other
/// text nobody will ever say.
fn leave_open(d: &mut Draft<'_>, channel: Channel) {
    let until = sns_until(d, channel);
    if until.is_some_and(|until| until <= d.now) {
        hops::unconfirmed(d);
        return offer(d);
    }
    let status = until.map_or(LegStatus::Unresolved, LegStatus::Unknown);
    // Told again it stands since it was told first.
    if d.f.leg(channel).status != status {
        set(d, channel, status);
    }
}

/// T2: until when an SNS is repeated, and awaited; `None` = it is none.
fn sns_until(d: &Draft<'_>, channel: Channel) -> Option<Ms> {
    let leg = Some(d.f.leg(channel)).filter(|leg| channel == Channel::Text && hops::is_sns(leg))?;
    Some(leg.since?.saturating_add(d.policy.sns.report_wait_ms))
}

/// It left, or may have. The gap that it began moves along and stays its own: a late word that nothing left still ends
/// it, and its other channel, which may ask this very millisecond, is not taken for another follow-up's.
fn left(d: &mut Draft<'_>, channel: Channel) {
    if d.f.gap_at == d.facts.left_at {
        d.f.gap_at = Some(d.now);
    }
    d.left = true;
    d.f.leg_mut(channel).left = true;
}

/// The same of a text whose provider can be asked. Its sender says so itself, hence sends it no more: a provider that
/// knows nothing of it long after knows nothing for good. Who says nothing until its claim ends may be paused before
/// the first byte, and that text is only waited for.
pub(crate) fn may_have_left(d: &mut Draft<'_>, attempt: u32, error: &str, mark: Mark) {
    let (was, since) = (d.f.text.status, d.f.text.at);
    answered(d, Channel::Text, attempt, &Outcome::Unknown { error: error.to_owned() });
    if let (LegStatus::Claimed(_), LegStatus::Unknown(until)) = (was, d.f.text.status) {
        let at = d.now.saturating_add(d.policy.ask_after_ms);
        let inquiry = Inquiry { at, until, asked: 0, absent: None, since, mark };
        set(d, Channel::Text, LegStatus::Asking(inquiry));
        d.note("text", "ask", Reason::Nothing, Some(error));
    }
}

/// The provider of a text that may have left was asked.
pub(crate) fn asked(d: &mut Draft<'_>, attempt: u32, number: u8, found: &Found) {
    match found {
        Found::Taken { provider_id } => {
            answered(d, Channel::Text, attempt, &Outcome::Accepted { provider_id: provider_id.clone() });
        }
        Found::Delivered { provider_id } => {
            let fate = Fate { delivered: true, provider_id: provider_id.as_deref(), error: None };
            reported(d, Channel::Text, attempt, &fate);
        }
        Found::Failed { provider_id, error } => {
            let fate = Fate { delivered: false, provider_id: provider_id.as_deref(), error: Some(error) };
            reported(d, Channel::Text, attempt, &fate);
        }
        Found::Absent => absent(d, attempt, number),
        Found::Unclear => {}
    }
}

/// It knows of no such text. The first time it may not have noted it down yet; a second time, later, is certain.
fn absent(d: &mut Draft<'_>, attempt: u32, number: u8) {
    let LegStatus::Asking(inquiry) = d.f.text.status else { return };
    // One that took long counts, too: the second was asked a wait later than the first.
    if d.f.text.attempt != attempt || number == 0 || number > inquiry.asked {
        return;
    }
    match inquiry.absent {
        None => {
            set(d, Channel::Text, LegStatus::Asking(Inquiry { absent: Some(number), ..inquiry }));
            d.note("text", "not_found", Reason::Nothing, None);
        }
        Some(first) if first < number => {
            let not_sent = Outcome::RetryAfter { after_ms: None, error: "not_found_twice".into() };
            answered(d, Channel::Text, attempt, &not_sent);
        }
        Some(_) => {}
    }
}

/// When it is tried again at the soonest.
fn again_at(d: &Draft<'_>, channel: Channel, after_ms: Ms) -> Ms {
    d.now.saturating_add(after_ms.max(d.policy.backoff_ms(d.f.leg(channel).attempt)))
}

/// Tries again later, unless it was stopped meanwhile or will be too old.
fn again(d: &mut Draft<'_>, channel: Channel, after_ms: Ms) {
    let horizon_ms = if channel == Channel::Email { EMAIL_HORIZON_MS } else { d.policy.fallback_horizon_ms };
    let leg = d.f.leg(channel);
    let at = again_at(d, channel, after_ms);
    let late_ms = if channel == Channel::Email { at.saturating_sub(d.f.deadline_at) } else { late_ms(d, at) };
    let too_late = late_ms > horizon_ms;
    // T2: an SNS is not repeated for longer than its report would be awaited, and is decided when that is over.
    if leg.left && !d.f.stopped && sns_until(d, channel).is_some_and(|until| at > until) {
        return leave_open(d, channel);
    }
    let leg = d.f.leg(channel);
    let status = match (d.f.stopped, too_late, leg.left) {
        (true, ..) => leg.stopped(),
        (false, false, _) => LegStatus::Retry(at),
        (false, true, true) => LegStatus::Unresolved,
        (false, true, false) => LegStatus::Failed,
    };
    if status == LegStatus::Failed && channel == Channel::Text {
        d.effects.push(Effect::Alarm(Alarm::Overdue));
    }
    set(d, channel, status);
}

/// Gap over, nobody took the offer, claim ended, try due, no report came.
pub(crate) fn woke(d: &mut Draft<'_>) {
    let now = d.now;
    if matches!(d.f.stage, Stage::FallingBack { hold_until: Some(until), .. } if until <= now) {
        let again = hold(d);
        if let Stage::FallingBack { hold_until, .. } = &mut d.f.stage {
            *hold_until = again;
        }
    }
    for channel in BOTH {
        match d.f.leg(channel).status {
            LegStatus::Claimed(until) if until <= now => {
                d.f.leg_mut(channel).error = Some("claim_expired".into());
                unknown(d, channel);
                d.note("claim", "unknown", Reason::Nothing, Some("claim_expired"));
            }
            LegStatus::Unknown(until)
            | LegStatus::Asking(Inquiry { until, .. })
            | LegStatus::Confirming(Inquiry { until, .. })
                if until <= now =>
            {
                if channel == Channel::Text && hops::is_sns(&d.f.text) {
                    hops::unconfirmed(d);
                } else {
                    set(d, channel, LegStatus::Unresolved);
                    d.note("report", "unresolved", Reason::Nothing, None);
                }
            }
            LegStatus::Asking(inquiry) if inquiry.at <= now => ask(d, channel, inquiry, LegStatus::Asking),
            LegStatus::Confirming(inquiry) if inquiry.at <= now => ask(d, channel, inquiry, LegStatus::Confirming),
            LegStatus::Held(until) if until <= now => {
                let leg = d.f.leg_mut(channel);
                leg.held_ms = leg.held_ms.saturating_add(until.saturating_sub(leg.at).max(0));
                let status = queued(d, channel);
                set(d, channel, status);
                if !matches!(status, LegStatus::Held(_)) {
                    d.note("held", "over", Reason::Nothing, None);
                }
            }
            LegStatus::Retry(at) if at <= now => {
                set(d, channel, LegStatus::Queued(now));
            }
            _ => {}
        }
    }
    offer(d);
    settle(d);
}

fn ask(d: &mut Draft<'_>, channel: Channel, inquiry: Inquiry, asking: fn(Inquiry) -> LegStatus) {
    let number = inquiry.asked.saturating_add(1);
    let at = d.now.saturating_add(d.policy.ask_after_ms);
    let attempt = d.f.leg(channel).attempt;
    set(d, channel, asking(Inquiry { at: at.min(inquiry.until), asked: number, ..inquiry }));
    let Inquiry { since, mark, .. } = inquiry;
    d.effects.push(Effect::Ask { attempt, inquiry: number, since, mark });
}

/// What a provider says became of something it took.
#[derive(Clone, Copy)]
pub(crate) struct Fate<'a> {
    pub(crate) delivered: bool,
    pub(crate) provider_id: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
}

/// A provider's later word, which may overtake its first one. After the outcome it changes the delivery only.
pub(crate) fn reported(d: &mut Draft<'_>, channel: Channel, attempt: u32, fate: &Fate<'_>) {
    if channel == Channel::Text && attempt > 0 && hops::told_of_earlier(d, attempt, Told::Fate(fate)) {
        return settle(d);
    }
    // Under a key the tries of one way are one text: a word about any of them is about the newest.
    let newest = attempt == d.f.leg(channel).attempt || d.policy.idempotent(channel, d.f.leg(channel));
    let leg = d.f.leg_mut(channel);
    let open = match leg.status {
        LegStatus::Claimed(_)
        | LegStatus::Accepted
        | LegStatus::Unknown(_)
        | LegStatus::Asking(_)
        | LegStatus::Confirming(_)
        | LegStatus::Unresolved => newest,
        // Thought not to have left, and delivered after all: spared the next try.
        LegStatus::Queued(_) | LegStatus::Held(_) | LegStatus::Retry(_) => fate.delivered || newest && leg.left,
        // E5: a server that took a mail may still send it back.
        LegStatus::Delivered => channel == Channel::Email && newest && !fate.delivered,
        _ => false,
    };
    if !open || attempt == 0 || attempt > leg.attempt {
        return;
    }
    let Fate { delivered, provider_id, error } = *fate;
    leg.error = error.map(str::to_owned);
    leg.provider_id = provider_id.map(str::to_owned).or(leg.provider_id.take());
    d.left = delivered && !leg.left;
    leg.left |= delivered;
    let form = leg.form;
    if channel == Channel::Text {
        hops::heard_of_person(d, form, error);
    }
    set(d, channel, if delivered { LegStatus::Delivered } else { LegStatus::Failed });
    d.note("report", if delivered { "delivered" } else { "failed" }, Reason::Nothing, error);
    if !delivered && channel == Channel::Text {
        if hops::is_sns(&d.f.text) {
            uncount(d);
        }
        if hops::failed(d, true) {
            offer(d);
        }
    }
    settle(d);
}

/// Stops what has not left; what is in flight is awaited.
pub(crate) fn stop(d: &mut Draft<'_>, why: Ended) {
    d.f.stopped = true;
    for channel in BOTH {
        if d.f.leg(channel).status.is_due_or_will_be() {
            set(d, channel, d.f.leg(channel).stopped());
        }
        // S8: what a text is asked for by goes with whom it went to.
        match d.f.leg(channel).status {
            LegStatus::Asking(_) if why == ERASED => set(d, channel, LegStatus::Unresolved),
            LegStatus::Confirming(_) if why == ERASED => set(d, channel, LegStatus::Accepted),
            _ => {}
        }
    }
    if let Stage::FallingBack { ended, .. } = &mut d.f.stage {
        ended.get_or_insert(why);
    }
    settle(d);
}

/// `falling_back` ends at the first acceptance, or when nothing is left that could be accepted.
fn settle(d: &mut Draft<'_>) {
    let Stage::FallingBack { at, why, ended, .. } = d.f.stage else { return };
    let legs = [d.f.text.status, d.f.email.status];
    let taken = |l: &LegStatus| matches!(l, LegStatus::Accepted | LegStatus::Confirming(_) | LegStatus::Delivered);
    let tried = || d.f.text.tried.iter().map(|leg| leg.status);
    if legs.iter().any(taken) || tried().any(|l| taken(&l)) {
        d.f.stage = Stage::FellBack { at, why };
    } else if !legs.iter().any(|l| l.is_moving()) {
        let may_have_left = legs.into_iter().chain(tried()).any(|l| l == LegStatus::Unresolved);
        d.f.stage = match ended {
            _ if may_have_left => Stage::FellBack { at, why },
            Some(Ended::LateAck) => Stage::FellBack { at, why: Reason::AckLate },
            Some(Ended::Cancelled(why)) => Stage::Cancelled { at: d.now, why },
            None if legs.iter().all(|l| matches!(l, LegStatus::Skipped(_))) => {
                Stage::Failed { at: d.now, why: Reason::NoFallbackRoute }
            }
            None => Stage::Failed { at: d.now, why: Reason::AllFailed },
        };
    }
}

pub(super) fn set(d: &mut Draft<'_>, channel: Channel, status: LegStatus) {
    let at = d.now;
    let leg = d.f.leg_mut(channel);
    leg.status = status;
    leg.at = at;
}
