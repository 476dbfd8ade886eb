//! What texts and emails cost the workspace (S2): money is held by the claim, and from then on follows how the leg
//! stands. One place looks at every leg after every decision, so that no way through the rules forgets to settle.

use super::decide::Draft;
use super::reason::Skip;
use super::state::{Channel, Leg, LegStatus};
use crate::wallet::{Change, Charge, HoldState, Kind, NoMoney, Terms, Wallet};
use std::mem;

/// What becomes of the money of a leg that stands like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// It waits: the text may be leaving, or may have left.
    Held,
    /// It is spent: the text was taken, or may have left and nobody will ever say.
    Captured,
    /// It goes back: the text certainly did not leave, or failed after all.
    Back,
}

/// S2: before a text or email leaves, after everything else that could stop it. A repeat under the key of a try that
/// was paid for is one text.
pub(super) fn hold(d: &mut Draft<'_>, channel: Channel) -> Result<(), Skip> {
    let Some(terms) = &d.policy.wallet else { return Ok(()) };
    if d.f.leg(channel).hold.is_some() {
        return Ok(());
    }
    let Some(charge) = charge(d, channel)? else { return Ok(()) };
    let Some(mut change) = begin(d, terms) else { return Ok(()) };
    let held = change.hold(&charge, terms, d.now);
    d.wallet = Some(change);
    match held {
        Ok(hold) => d.f.leg_mut(channel).hold = Some(hold),
        Err(NoMoney::TooLow | NoMoney::OtherCurrency) => return Err(Skip::NoBalance),
    }
    Ok(())
}

/// What it costs; `None` = nothing is asked for it. A text whose price is not known is not sent at a loss.
fn charge(d: &Draft<'_>, channel: Channel) -> Result<Option<Charge>, Skip> {
    let prices = &d.policy.limits.prices;
    let attempt = d.f.leg(channel).attempt.saturating_add(1);
    match (channel, d.facts.plan) {
        (Channel::Text, Some(plan)) => {
            let charge = prices.of(plan, d.now).ok_or(Skip::PriceUnknown)?;
            Ok(Some(Charge { attempt, ..charge }))
        }
        (Channel::Email, _) => Ok(prices.charge(Kind::Email, None, 1, attempt, d.now)),
        (Channel::Text, None) | (Channel::Push, _) => Ok(None),
    }
}

/// P10: whether the wallet has not even the least that a text costs, as far as that is known here.
pub(super) fn is_empty(d: &Draft<'_>, channel: Channel) -> bool {
    let (Channel::Text, Some(terms), Some(wallet)) = (channel, &d.policy.wallet, d.facts.wallet) else { return false };
    let pays = |wallet: &Wallet| wallet.spendable_micros(d.now) >= terms.least_micros;
    d.f.text.hold.is_none() && !pays(wallet) && !pays(&Change::at(wallet, terms, d.now).wallet)
}

/// A text was not even tried to be paid: the billing system is asked all the same.
pub(super) fn ask(d: &mut Draft<'_>) {
    if let Some(terms) = &d.policy.wallet
        && let Some(mut change) = begin(d, terms)
    {
        change.ask_if_low(terms, d.now);
        d.wallet = Some(change);
    }
}

/// Settles what is due of every leg. Where the wallet is not known it stays as it is, and is settled the next time.
pub(super) fn settle(d: &mut Draft<'_>) {
    let is_due = |leg: &Leg| leg.hold.as_ref().is_some_and(|hold| !is_settled(due(leg), hold.state));
    if !legs(d).any(is_due) {
        return;
    }
    let terms = d.policy.wallet.clone().unwrap_or_else(|| Terms {
        currency: d.facts.wallet.map(|wallet| wallet.currency.clone()).unwrap_or_default(),
        ..Terms::default()
    });
    let Some(mut change) = begin(d, &terms) else { return };
    for leg in d.f.text.tried.iter_mut().chain([&mut d.f.email]) {
        move_money(&mut change, leg, d.now);
    }
    move_money(&mut change, &mut d.f.text, d.now);
    d.wallet = Some(change);
}

fn legs<'a>(d: &'a Draft<'_>) -> impl Iterator<Item = &'a Leg> {
    [&d.f.text, &d.f.email].into_iter().chain(&d.f.text.tried)
}

fn move_money(change: &mut Change, leg: &mut Leg, now: crate::Ms) {
    match (due(leg), leg.hold.take()) {
        (Due::Back, Some(hold)) => change.give_back(hold, now),
        (Due::Captured, Some(mut hold)) => {
            change.capture(&mut hold, now);
            leg.hold = Some(hold);
        }
        (Due::Held, hold) => leg.hold = hold,
        (Due::Back | Due::Captured, None) => {}
    }
}

fn is_settled(due: Due, state: HoldState) -> bool {
    match (due, state) {
        (Due::Held, _) | (Due::Captured, HoldState::Captured) => true,
        (Due::Captured, HoldState::Held) | (Due::Back, _) => false,
    }
}

/// Never charged for a definite failure; charged for what may have left once nobody will ever say.
fn due(leg: &Leg) -> Due {
    match leg.status {
        LegStatus::Accepted | LegStatus::Confirming(_) | LegStatus::Delivered | LegStatus::Unresolved => Due::Captured,
        LegStatus::Claimed(_) | LegStatus::Unknown(_) | LegStatus::Asking(_) => Due::Held,
        // A repeat under the key of a try that may have left.
        LegStatus::Queued(_) | LegStatus::Held(_) | LegStatus::Retry(_) if leg.left => Due::Held,
        LegStatus::Queued(_)
        | LegStatus::Held(_)
        | LegStatus::Retry(_)
        | LegStatus::Idle
        | LegStatus::Skipped(_)
        | LegStatus::Failed
        | LegStatus::Stopped => Due::Back,
    }
}

/// The wallet as this decision has left it so far, with what is due by now; `None` = it is not known here.
fn begin(d: &mut Draft<'_>, terms: &Terms) -> Option<Box<Change>> {
    let begun = mem::take(&mut d.wallet);
    begun.or_else(|| d.facts.wallet.map(|wallet| Box::new(Change::at(wallet, terms, d.now))))
}
