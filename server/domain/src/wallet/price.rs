//! What texts cost (S2, S5): one dated list by country and kind, in money and in post units.
//!
//! A post unit (PU) is the deployment's own measure, such as one SMS at home: each price says how many units it is, so
//! that usage can be told in them whatever the money's worth.

use super::entry::{Charge, Kind};
use crate::Ms;
use crate::text::{Country, TextPlan};

/// The price of one part from some day on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// The first instant at which it holds.
    pub from: Ms,
    /// Where to; `None` = to every country without a price of its own.
    pub country: Option<Country>,
    /// Of what.
    pub kind: Kind,
    /// In millionths of the list's currency.
    pub micros: i64,
    /// In thousandths of a post unit.
    pub pu_milli: i64,
}

/// What everything costs, in one currency.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceList {
    /// ISO 4217.
    pub currency: String,
    /// In any order.
    pub prices: Vec<Price>,
}

impl PriceList {
    /// The price of one part now: the newest of the country, else the newest of all others. `None` = none is known.
    pub fn unit(&self, kind: Kind, country: Option<Country>, now: Ms) -> Option<&Price> {
        let newest = |country: Option<Country>| {
            let of_kind = self.prices.iter().filter(|price| price.kind == kind && price.country == country);
            of_kind.filter(|price| price.from <= now).max_by_key(|price| price.from)
        };
        country.and_then(|country| newest(Some(country))).or_else(|| newest(None))
    }

    /// What this text would cost now, all its parts; `None` = no price is known.
    pub fn of(&self, plan: &TextPlan, now: Ms) -> Option<Charge> {
        self.charge(Kind::of(plan.form), plan.country, plan.segments, 0, now)
    }

    /// What so many parts cost now; `None` = no price is known.
    pub fn charge(&self, kind: Kind, country: Option<Country>, parts: u16, attempt: u32, now: Ms) -> Option<Charge> {
        let unit = self.unit(kind, country, now)?;
        let times = |amount: i64| amount.saturating_mul(i64::from(parts));
        let (micros, pu_milli) = (times(unit.micros), times(unit.pu_milli));
        Some(Charge { kind, country, attempt, parts, micros, pu_milli })
    }
}
