//! Hard stops before money (S4): what may leave, judged at the claim, the last point before it costs something.
//!
//! Counters are rows that change in the commit of the claim itself, so that the caps hold exactly, however many claim
//! at once. A window is an hour or a day of the clock (UTC): what is spent around its end can be two caps within one
//! hour, and the cap of the day stands above it.

use crate::Ms;
use crate::followup::Skip;
use crate::text::{Country, NumberKind, TextPlan};
use crate::wallet::PriceList;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const HOUR_MS: Ms = 3_600_000;
const DAY_MS: Ms = 24 * HOUR_MS;
/// Of the workspace's cap, in percent: each rings once a window.
pub const ALARMS_PERCENT: [u8; 3] = [50, 80, 100];

/// What texts are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One phone number.
    Number,
    /// All numbers that differ in their last four digits only: who pumps texts owns such blocks.
    Prefix,
    /// One customer.
    Customer,
    /// One conversation.
    Conversation,
    /// All of the workspace.
    Workspace,
}

/// Hour or day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// From full hour to full hour.
    Hour,
    /// From midnight to midnight, UTC.
    Day,
}

/// The most texts of one scope; `None` = any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cap {
    /// In one hour.
    pub per_hour: Option<u32>,
    /// In one day.
    pub per_day: Option<u32>,
}

/// A cap for each scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps([Cap; 5]);

/// What a workspace may spend on texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many may leave.
    pub caps: Caps,
    /// Where to; `None` = anywhere.
    pub countries: Option<Vec<Country>>,
    /// Whether numbers that are premium or nobody's are refused.
    pub ordinary_numbers_only: bool,
    /// The most that one text may cost; `None` = anything, and a price need not be known.
    pub max_price_micros: Option<i64>,
    /// What texts cost.
    pub prices: Arc<PriceList>,
}

/// How many texts of one scope left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// In the last hour that was counted.
    pub hour: Tally,
    /// In the last day that was counted.
    pub day: Tally,
}

/// The count of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Number of the window: hours or days since 1970.
    pub window: i64,
    /// Texts that left in it.
    pub count: u32,
    /// The highest alarm that rang in it, in percent.
    pub rang: u8,
}

/// One counter a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters([Counter; 5]);

/// A text was counted that fills a cap of the workspace this far, for the first time in its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Which of its caps.
    pub window: Window,
    /// One of [`ALARMS_PERCENT`].
    pub percent: u8,
}

impl Limits {
    /// No limits: the sandbox's.
    pub fn none() -> Limits {
        Limits {
            caps: Caps::default(),
            countries: None,
            ordinary_numbers_only: false,
            max_price_micros: None,
            prices: Arc::default(),
        }
    }

    /// Whether there is anything to judge, so that a plan has to be made.
    pub fn judges(&self) -> bool {
        *self != Limits { prices: Arc::clone(&self.prices), ..Limits::none() }
    }

    /// Whether this text may leave at all, whatever left before.
    pub(crate) fn allow(&self, plan: &TextPlan, now: Ms) -> Result<(), Skip> {
        if self.ordinary_numbers_only {
            match plan.number {
                NumberKind::Ordinary => {}
                NumberKind::Premium => return Err(Skip::PremiumNumber),
                NumberKind::Unassigned => return Err(Skip::UnassignedNumber),
            }
        }
        let on = |countries: &Vec<Country>| plan.country.is_some_and(|country| countries.contains(&country));
        if !self.countries.as_ref().is_none_or(on) {
            return Err(Skip::CountryOff);
        }
        let Some(max_micros) = self.max_price_micros else { return Ok(()) };
        match self.prices.of(plan, now) {
            None => Err(Skip::PriceUnknown),
            Some(charge) if charge.micros > max_micros => Err(Skip::PriceTooHigh),
            Some(_) => Ok(()),
        }
    }
}

impl Caps {
    /// All of them, each with its scope.
    pub fn of(caps: impl IntoIterator<Item = (Scope, Cap)>) -> Caps {
        caps.into_iter().fold(Caps::default(), |mut all, (scope, cap)| {
            all.0[scope as usize] = cap;
            all
        })
    }

    /// The cap of this scope.
    pub fn cap(&self, scope: Scope) -> Cap {
        self.0[scope as usize]
    }

    /// Whether anything has to be counted.
    pub fn counts(&self) -> bool {
        *self != Caps::default()
    }

    /// These, where they are lower than `ceiling`'s.
    pub fn within(&self, ceiling: &Caps) -> Caps {
        Caps::of(Scope::ALL.map(|scope| {
            let (mine, most) = (self.cap(scope), ceiling.cap(scope));
            let lower = |a: Option<u32>, b: Option<u32>| a.into_iter().chain(b).min();
            let cap = Cap { per_hour: lower(mine.per_hour, most.per_hour), per_day: lower(mine.per_day, most.per_day) };
            (scope, cap)
        }))
    }
}

impl Counters {
    /// Each read by `read`.
    pub fn read(mut read: impl FnMut(Scope) -> Counter) -> Counters {
        Counters(Scope::ALL.map(&mut read))
    }

    /// The counter of this scope.
    pub fn of(&self, scope: Scope) -> Counter {
        self.0[scope as usize]
    }

    /// Counts one text that is about to leave, or says which cap is full. What rings is for the operator.
    pub(crate) fn take(&self, caps: &Caps, now: Ms) -> Result<(Counters, Vec<Filled>), Skip> {
        let mut next = *self;
        let mut filled = Vec::new();
        for scope in Scope::ALL {
            let (cap, counter) = (caps.cap(scope), &mut next.0[scope as usize]);
            *counter = counter.at(now);
            for (window, most) in [(Window::Hour, cap.per_hour), (Window::Day, cap.per_day)] {
                let tally = counter.tally_mut(window);
                let Some(most) = most else { continue };
                if tally.count >= most {
                    return Err(Skip::Capped(scope));
                }
                let percent = tally.ring(tally.count.saturating_add(1), most);
                filled.extend(percent.filter(|_| scope == Scope::Workspace).map(|percent| Filled { window, percent }));
            }
            counter.hour.count = counter.hour.count.saturating_add(1);
            counter.day.count = counter.day.count.saturating_add(1);
        }
        Ok((next, filled))
    }

    /// The text that was counted at `taken_at` certainly did not leave.
    pub(crate) fn give_back(&self, taken_at: Ms) -> Counters {
        let mut next = *self;
        for counter in &mut next.0 {
            for window in [Window::Hour, Window::Day] {
                let tally = counter.tally_mut(window);
                if tally.window == window.number(taken_at) {
                    tally.count = tally.count.saturating_sub(1);
                }
            }
        }
        next
    }
}

impl Counter {
    /// What it counts now: a window that is over counts nothing.
    pub fn at(self, now: Ms) -> Counter {
        Counter { hour: self.hour.at(Window::Hour.number(now)), day: self.day.at(Window::Day.number(now)) }
    }

    /// The count of this window.
    pub fn tally(&self, window: Window) -> Tally {
        match window {
            Window::Hour => self.hour,
            Window::Day => self.day,
        }
    }

    fn tally_mut(&mut self, window: Window) -> &mut Tally {
        match window {
            Window::Hour => &mut self.hour,
            Window::Day => &mut self.day,
        }
    }
}

impl Tally {
    /// The window that follows is kept, too: a clock that was set back a little frees nothing. One far ahead was
    /// counted by a clock that was wrong, and nobody waits for that clock.
    fn at(self, window: i64) -> Tally {
        if self.window == window || self.window == window.saturating_add(1) {
            self
        } else {
            Tally { window, count: 0, rang: 0 }
        }
    }

    /// The alarm that rings at this count, if it has not rung in this window.
    fn ring(&mut self, count: u32, most: u32) -> Option<u8> {
        let reached = |percent: u8| u64::from(count) * 100 >= u64::from(most) * u64::from(percent);
        let percent = ALARMS_PERCENT.into_iter().rev().find(|percent| reached(*percent))?;
        let rings = percent > self.rang;
        self.rang = self.rang.max(percent);
        rings.then_some(percent)
    }
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 5] = [Scope::Number, Scope::Prefix, Scope::Customer, Scope::Conversation, Scope::Workspace];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Number => "number",
            Scope::Prefix => "prefix",
            Scope::Customer => "customer",
            Scope::Conversation => "conversation",
            Scope::Workspace => "workspace",
        }
    }
}

impl Window {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Window::Hour => "hour",
            Window::Day => "day",
        }
    }

    /// When the window that `now` is in ends.
    pub fn end(self, now: Ms) -> Ms {
        self.number(now).saturating_add(1).saturating_mul(self.length_ms())
    }

    fn number(self, now: Ms) -> i64 {
        now.div_euclid(self.length_ms())
    }

    fn length_ms(self) -> Ms {
        match self {
            Window::Hour => HOUR_MS,
            Window::Day => DAY_MS,
        }
    }
}

#[cfg(test)]
mod tests;
