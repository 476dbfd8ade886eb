//! Money that comes by itself (S3): the month's grant, and the billing system that is asked once until it answers.

use super::entry::{Account, EntryKind};
use super::{Change, Grant, MAX_BALANCE_MICROS, Month};
use crate::Ms;
use serde::{Deserialize, Serialize};

/// First wait before the billing system is asked again; doubles each time.
const ASK_RETRY_BASE_MS: Ms = 1_000;
/// Longest wait between two tries.
const ASK_RETRY_MAX_MS: Ms = 3_600_000;

/// What a wallet's money comes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// ISO 4217, of the price list.
    pub currency: String,
    /// What a wallet begins with: the sandbox's.
    pub opening_micros: i64,
    /// Given each month, for the month: paid plans.
    pub monthly_grant_micros: i64,
    /// Ask for money when little is left.
    pub auto_charge: Option<AutoCharge>,
    /// The least that a text costs, whatever its kind and country: with less than that, none is tried.
    pub least_micros: i64,
    /// Below this the operator hears of it.
    pub alarm_below_micros: i64,
}

/// When money is asked for, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoCharge {
    /// When there is less than this.
    pub threshold_micros: i64,
    /// How much.
    pub amount_micros: i64,
}

/// Whether the billing system is being asked. There is never more than one question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asking {
    /// No.
    #[default]
    Idle,
    /// Yes, and it has not answered.
    Open(Ask),
    /// It declined: it is asked again once there was enough for a while.
    Declined,
}

/// A question to the billing system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Its number in the wallet, from 1: what the answer names.
    pub id: u32,
    /// How much is asked for.
    pub amount_micros: i64,
    /// When, by the workspace's clock.
    pub at: Ms,
    /// Times that it could not be delivered.
    #[serde(default)]
    pub tries: u32,
    /// When it is delivered next, by the real clock; `None` = it was, and the answer is awaited.
    pub due_at: Option<Ms>,
}

/// No such question is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchAsk;

impl Change {
    /// What is due by now, each once however often it is looked at.
    pub(super) fn fall_due(&mut self, terms: &Terms, now: Ms) {
        if self.wallet.entries == 0 && terms.opening_micros > 0 {
            let accounts = (Account::External, Account::Available);
            self.post(now, EntryKind::TopUp, accounts, terms.opening_micros.min(MAX_BALANCE_MICROS), None, None);
        }
        self.expire(now);
        self.grant_for(Month::of(now), terms, now);
    }

    fn expire(&mut self, now: Ms) {
        let over: Vec<Grant> = self.wallet.grants.iter().copied().filter(|grant| grant.expires_at <= now).collect();
        for grant in over {
            if grant.remaining_micros > 0 {
                let accounts = (Account::Grants, Account::Expired);
                self.post(now, EntryKind::Expire, accounts, grant.remaining_micros, Some(grant.id), None);
            }
            self.wallet.grants.retain(|live| live.id != grant.id);
        }
    }

    /// A clock that is set back grants no month twice.
    fn grant_for(&mut self, month: Month, terms: &Terms, now: Ms) {
        let micros = terms.monthly_grant_micros.min(MAX_BALANCE_MICROS - self.wallet.total_micros());
        if micros <= 0 || self.wallet.currency != terms.currency || self.wallet.granted >= Some(month) {
            return;
        }
        let grant = Grant { id: self.wallet.entries + 1, remaining_micros: 0, expires_at: month.end() };
        self.wallet.grants.push(grant);
        self.wallet.grants.sort_by_key(|grant| (grant.expires_at, grant.id));
        self.wallet.granted = Some(month);
        self.post(now, EntryKind::Grant, (Account::External, Account::Grants), micros, None, None);
    }

    /// Who declined is asked again for what falls below the threshold anew.
    pub(super) fn rearm(&mut self, terms: &Terms, now: Ms) {
        let enough = |auto: AutoCharge| self.wallet.spendable_micros(now) >= auto.threshold_micros;
        if self.wallet.asking == Asking::Declined && terms.auto_charge.is_none_or(enough) {
            self.wallet.asking = Asking::Idle;
        }
    }

    /// Asks for money if there is less than there should be, and nobody is being asked.
    pub fn ask_if_low(&mut self, terms: &Terms, now: Ms) {
        let Some(auto) = terms.auto_charge else { return };
        if self.wallet.asking == Asking::Idle && self.wallet.spendable_micros(now) < auto.threshold_micros {
            self.wallet.asks += 1;
            let id = self.wallet.asks;
            let ask = Ask { id, amount_micros: auto.amount_micros, at: now, tries: 0, due_at: Some(0) };
            self.wallet.asking = Asking::Open(ask);
        }
    }

    /// The billing system says no.
    pub fn decline(&mut self, id: u32) -> Result<(), NoSuchAsk> {
        self.wallet.asking.answered(id)?;
        self.wallet.asking = Asking::Declined;
        Ok(())
    }

    /// The question reached the billing system, or has to go again: waits by the real clock.
    pub fn asked(&mut self, id: u32, reached: bool, real_now: Ms) {
        if let Asking::Open(ask) = &mut self.wallet.asking
            && ask.id == id
            && ask.due_at.is_some()
        {
            let wait_ms = ASK_RETRY_BASE_MS.saturating_mul(1 << ask.tries.min(20)).min(ASK_RETRY_MAX_MS);
            ask.due_at = if reached { None } else { Some(real_now.saturating_add(wait_ms)) };
            ask.tries = ask.tries.saturating_add(u32::from(!reached));
        }
    }
}

impl Asking {
    /// Whether nobody is asked, and nobody declined.
    pub fn is_idle(&self) -> bool {
        *self == Asking::Idle
    }

    /// The open question.
    pub fn open(&self) -> Option<Ask> {
        if let Asking::Open(ask) = self { Some(*ask) } else { None }
    }

    pub(super) fn answered(&mut self, id: u32) -> Result<(), NoSuchAsk> {
        match self.open() {
            Some(ask) if ask.id == id => {
                *self = Asking::Idle;
                Ok(())
            }
            _ => Err(NoSuchAsk),
        }
    }
}
