//! From one way of a text to the next: SNS before XMS, a second provider after a definite failure, and only one of
//! them by our doing (T1, T2).

use super::decide::Draft;
use super::effect::Effect;
use super::fallback::{Fate, queued, route, set};
use super::outcome::{BLOCKED, OPTED_OUT, Outcome};
use super::policy::SnsUnknown;
use super::reason::{Reason, Skip};
use super::state::{Channel, Inquiry, Leg, LegStatus};
use crate::Ms;
use crate::text::{Form, Hop, TextPlan, Way};

/// Ways of one text, at most: more than any deployment has.
const MAX_HOPS: usize = 8;

/// Whether what is under way, or was last, is an SNS.
pub(super) fn is_sns(leg: &Leg) -> bool {
    leg.form.is_some_and(|form| form.way() != Way::Xms)
}

/// Whether the newest try of this way repeats one that may have left under the same key.
pub(super) fn is_repeat(leg: &Leg, idempotent: bool) -> bool {
    let before = leg.tried.last().map_or(0, |tried| tried.attempt);
    let is_first = leg.attempt <= before.saturating_add(1);
    leg.left && !is_first && (idempotent || matches!(leg.status, LegStatus::Claimed(_)))
}

/// How long a report of a text is awaited that may have left.
pub(super) fn report_wait_ms(d: &Draft<'_>, channel: Channel) -> Ms {
    match channel == Channel::Text && is_sns(&d.f.text) {
        true => d.policy.sns.report_wait_ms,
        false => d.policy.report_wait_ms,
    }
}

/// Its provider took it. An SNS of a provider that says later whether it arrived has not arrived yet.
pub(super) fn accepted(d: &Draft<'_>, channel: Channel) -> LegStatus {
    let leg = d.f.leg(channel);
    let confirms = || d.policy.text_service(leg).is_some_and(|service| service.confirms);
    if channel != Channel::Text || !is_sns(leg) || !confirms() {
        return LegStatus::Accepted;
    }
    let until = d.now.saturating_add(d.policy.sns.report_wait_ms);
    let at = d.now.saturating_add(d.policy.ask_after_ms).min(until);
    let since = leg.since.unwrap_or(leg.at);
    LegStatus::Confirming(Inquiry { at, until, asked: 0, absent: None, since, mark: Default::default() })
}

/// T7: what the failure of a text says of the person it went to, whatever becomes of that text.
pub(super) fn heard_of_person(d: &mut Draft<'_>, form: Option<Form>, error: Option<&str>) {
    match (error, form.map(Form::way)) {
        (Some(OPTED_OUT), _) => d.effects.push(Effect::Suppress),
        (Some(BLOCKED), Some(way)) if way != Way::Xms => d.effects.push(Effect::Block(way)),
        _ => {}
    }
}

/// T2: this way failed for good; the next one is queued, if there is one. Its failure at once ends every way, its
/// report later only an SNS: a carrier that gave a text up would give it up again.
pub(super) fn failed(d: &mut Draft<'_>, by_report: bool) -> bool {
    let leg = &d.f.text;
    let error = leg.error.clone();
    let opted_out = error.as_deref() == Some(OPTED_OUT);
    if opted_out || by_report && !is_sns(leg) || !hop_on(d, false) {
        return false;
    }
    d.note("text", "next_way", Reason::WayFailed, error.as_deref());
    true
}

/// T2: nobody said in time what became of an SNS. No XMS if the email was accepted, unless the workspace decided
/// otherwise; a text that is then sent may be a second one, and the why-log says so.
pub(super) fn unconfirmed(d: &mut Draft<'_>) {
    let email = matches!(d.f.email.status, LegStatus::Accepted | LegStatus::Delivered);
    let replace = match d.policy.sns.unknown {
        SnsUnknown::EmailDecides => !email,
        SnsUnknown::Hold => false,
        SnsUnknown::Xms => true,
    };
    let taken = matches!(d.f.text.status, LegStatus::Confirming(_));
    set(d, Channel::Text, if taken { LegStatus::Accepted } else { LegStatus::Unresolved });
    if replace && hop_on(d, true) {
        d.note("report", "next_way", Reason::WayUnknown, Some("may_arrive_twice"));
    } else {
        d.note("report", if taken { "unconfirmed" } else { "unresolved" }, Reason::Nothing, None);
    }
}

/// What stops this way alone, before it is tried, leaves the text to the next one (T6, S4).
pub(super) fn pass_over(d: &mut Draft<'_>, plan: &TextPlan, skip: Skip) -> bool {
    if !matches!(skip, Skip::PriceUnknown | Skip::PriceTooHigh | Skip::SenderUnregistered) {
        return false;
    }
    let before = d.f.text.clone();
    let leg = &mut d.f.text;
    leg.provider = Some(plan.hop.via.clone());
    leg.form = Some(plan.form);
    leg.then = plan.then.clone();
    set(d, Channel::Text, LegStatus::Skipped(skip));
    let passed = hop_on(d, false);
    if !passed {
        d.f.text = before;
    }
    passed
}

/// Puts what was tried aside and queues what is next; `false` = there is nothing next, or it is not wanted any more.
fn hop_on(d: &mut Draft<'_>, only_xms: bool) -> bool {
    let text = &d.f.text;
    if d.f.stopped || has_arrived(text) || text.tried.len() >= MAX_HOPS || route(d, Channel::Text).is_err() {
        return false;
    }
    let leg = &mut d.f.text;
    leg.then.retain(|hop| !only_xms || hop.way == Way::Xms);
    if leg.then.is_empty() {
        return false;
    }
    let mut next = Leg {
        attempt: leg.attempt,
        then: std::mem::take(&mut leg.then),
        tried: std::mem::take(&mut leg.tried),
        held_ms: leg.held_ms,
        ..Leg::idle(d.now)
    };
    next.tried.push(leg.clone());
    d.f.text = next;
    let status = queued(d, Channel::Text);
    set(d, Channel::Text, status);
    true
}

/// Which way before the present one this try was.
fn before(leg: &Leg, attempt: u32) -> Option<usize> {
    leg.tried.iter().position(|tried| attempt <= tried.attempt)
}

/// A late answer or report about a way that was given up; `false` = it is about the present one.
pub(super) fn told_of_earlier(d: &mut Draft<'_>, attempt: u32, told: Told<'_>) -> bool {
    let Some(n) = before(&d.f.text, attempt) else { return false };
    let now = d.now;
    let under_key = d.policy.idempotent(Channel::Text, &d.f.text.tried[n]);
    let earlier = n.checked_sub(1).map_or(0, |n| d.f.text.tried[n].attempt);
    let form = d.f.text.tried[n].form;
    let leg = &mut d.f.text.tried[n];
    // What failed for good stays failed, what arrived stays there; the rest may be said better.
    let open = matches!(leg.status, LegStatus::Accepted | LegStatus::Unresolved)
        && (leg.attempt == attempt || under_key && matches!(told, Told::Fate(_)));
    let (status, error, id) = match told {
        Told::Answer(Outcome::Accepted { provider_id }) => (LegStatus::Accepted, None, provider_id.as_deref()),
        // See `is_repeat`.
        Told::Answer(Outcome::Rejected { .. }) if under_key && attempt > earlier.saturating_add(1) => return true,
        Told::Answer(Outcome::Rejected { error }) => (LegStatus::Failed, Some(error.as_str()), None),
        Told::Answer(_) => return true,
        Told::Fate(Fate { delivered: true, provider_id, .. }) => (LegStatus::Delivered, None, *provider_id),
        Told::Fate(Fate { error, provider_id, .. }) => (LegStatus::Failed, *error, *provider_id),
    };
    if !open || leg.status == status {
        return true;
    }
    leg.status = status;
    leg.at = now;
    leg.error = error.map(str::to_owned);
    leg.provider_id = id.map(str::to_owned).or(leg.provider_id.take());
    let event = if matches!(told, Told::Fate(_)) { "report" } else { "text" };
    let word = match status {
        LegStatus::Delivered => "delivered_before",
        LegStatus::Failed => "failed_before",
        _ => "accepted_before",
    };
    d.note(event, word, Reason::Nothing, error);
    heard_of_person(d, form, error);
    if status == LegStatus::Delivered {
        spare(d);
    }
    true
}

/// What is told of a way that was given up.
#[derive(Clone, Copy)]
pub(super) enum Told<'a> {
    /// The answer to its send.
    Answer(&'a Outcome),
    /// What became of it.
    Fate(&'a Fate<'a>),
}

/// Whether a way that was given up arrived after all.
pub(super) fn has_arrived(leg: &Leg) -> bool {
    leg.tried.iter().any(|tried| tried.status == LegStatus::Delivered)
}

/// It arrived after all: what has not begun to leave in its place does not leave.
pub(super) fn spare(d: &mut Draft<'_>) {
    if d.f.text.status.is_due_or_will_be() {
        let status = d.f.text.stopped();
        set(d, Channel::Text, status);
    }
}

impl Leg {
    /// What a text was, or would be, sent as.
    pub fn form(&self) -> Form {
        self.form.unwrap_or(Form::Sms)
    }

    /// Which of these ways are open to a text: none that was given up; after one that may have arrived, XMS alone; and
    /// what may have left goes again by the provider that knows its key, or not at all.
    pub fn open<'a>(&'a self, hops: &'a [Hop]) -> impl Iterator<Item = &'a Hop> {
        let is = |leg: &Leg, hop: &Hop| leg.provider.as_ref() == Some(&hop.via) && leg.form().way() == hop.way;
        let unknown = self.tried.iter().any(|leg| !matches!(leg.status, LegStatus::Failed | LegStatus::Skipped(_)));
        hops.iter().filter(move |hop| {
            let given_up = self.tried.iter().any(|leg| is(leg, hop));
            !given_up && (!unknown || hop.way == Way::Xms) && (!self.left || is(self, hop))
        })
    }
}
