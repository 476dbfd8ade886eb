//! A workspace's wallet (S2, S3): a row that decisions read and write beside their own, and that calls top up.

use super::api::EngineError;
use super::desk::{Again, Count, Desk};
use super::find::Find;
use super::work::Ask;
use crate::audit::{Entry, Kind, Who};
use crate::store::{LedgerLine, Row, TopUpRow, WalletRow, WorkspaceId};
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::followup::Followup;
use backstop_domain::ids::FollowupId;
use backstop_domain::wallet::{Change, NoTopUp, Wallet};
use std::sync::Arc;

/// A wallet on the desk, and the version that it was loaded at.
pub(super) struct Balance {
    pub(super) wallet: Wallet,
    version: i64,
}

impl Balance {
    /// The workspace's; an empty one if nothing ever happened to it.
    pub(super) fn read(desk: &Desk<'_>, ws: WorkspaceId, currency: &str) -> Result<Balance, Again> {
        let row = desk.get(Find::Wallet(ws))?.and_then(|row| row.as_wallet());
        let empty = || Balance { wallet: Wallet::empty(currency), version: 0 };
        Ok(row.map_or_else(empty, |row| Balance { wallet: row.wallet.clone(), version: row.version }))
    }

    /// The wallet and its new entries, in the commit of whatever changed them.
    pub(super) fn write(self, desk: &mut Desk<'_>, ws: &Workspace, of: Option<FollowupId>, change: Change) {
        if !change.differs_from(&self.wallet) {
            return;
        }
        let low = self.falls_low(ws, &change.wallet, desk.now(ws.id));
        desk.draft.counts.extend(low.map(|alarm| Count::WalletLow(ws.id, alarm)));
        desk.put(Row::Wallet(WalletRow { workspace: ws.id, version: self.version, wallet: change.wallet }));
        for entry in change.entries {
            let followup = of.filter(|_| entry.charge.is_some());
            desk.ledger(ws.id, LedgerLine { followup, entry });
        }
    }

    /// What the operator hears of, once as it happens: there is no money left for any text, or little.
    fn falls_low(&self, ws: &Workspace, after: &Wallet, now: Ms) -> Option<&'static str> {
        let terms = ws.policy.wallet.as_ref()?;
        let falls = |below: i64| self.wallet.spendable_micros(now) >= below && after.spendable_micros(now) < below;
        let alarms = [(terms.least_micros, "wallet_empty"), (terms.alarm_below_micros, "wallet_low")];
        alarms.into_iter().find_map(|(below, alarm)| falls(below).then_some(alarm))
    }
}

/// Asks for the wallet where texts are paid, or something of this follow-up is still to be settled.
pub(super) fn want(desk: &mut Desk<'_>, ws: WorkspaceId, f: Option<&Followup>) {
    if desk.charges || f.is_some_and(Followup::has_hold) {
        desk.want(Find::Wallet(ws));
    }
}

/// What a decision about this follow-up is to know of the wallet.
pub(super) fn read(desk: &Desk<'_>, ws: &Workspace, f: Option<&Followup>) -> Result<Option<Balance>, Again> {
    if !desk.charges && !f.is_some_and(Followup::has_hold) {
        return Ok(None);
    }
    let currency = ws.policy.wallet.as_ref().map_or("", |terms| terms.currency.as_str());
    Balance::read(desk, ws.id, currency).map(Some)
}

/// The wallet as it is now: what is due of it is written first.
pub(super) struct Look {
    pub(super) ws: Arc<Workspace>,
}

impl Ask for Look {
    type Answer = Wallet;

    fn wants(&self, desk: &mut Desk<'_>) {
        desk.want(Find::Wallet(self.ws.id));
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<Wallet, EngineError>, Again> {
        let Some(terms) = &self.ws.policy.wallet else { return Ok(Err(EngineError::NobodyIsCharged)) };
        let balance = Balance::read(desk, self.ws.id, &terms.currency)?;
        let mut change = Change::at(&balance.wallet, terms, desk.now(self.ws.id));
        // Before a text is lost for want of money.
        change.ask_if_low(terms, desk.now(self.ws.id));
        let wallet = change.wallet.clone();
        balance.write(desk, &self.ws, None, change);
        Ok(Ok(wallet))
    }
}

/// Money was paid in.
pub(super) struct TopUp {
    pub(super) ws: Arc<Workspace>,
    pub(super) paid: Paid,
    pub(super) who: Who,
}

/// A payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// The caller's id of it.
    pub top_up_id: String,
    /// How much.
    pub amount_micros: i64,
    /// In what; `None` = in the wallet's.
    pub currency: Option<String>,
    /// The question of ours that it answers.
    pub ask: Option<u32>,
}

impl Ask for TopUp {
    type Answer = Result<TopUpRow, NoTopUp>;

    fn wants(&self, desk: &mut Desk<'_>) {
        desk.want(Find::Wallet(self.ws.id));
        desk.want(Find::TopUp(self.ws.id, &self.paid.top_up_id));
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<Self::Answer, EngineError>, Again> {
        let (ws, paid) = (self.ws.id, &self.paid);
        let Some(terms) = &self.ws.policy.wallet else { return Ok(Err(EngineError::NobodyIsCharged)) };
        let known = desk.get(Find::TopUp(ws, &paid.top_up_id))?.and_then(|row| row.as_top_up());
        if let Some(known) = known {
            let known_currency = Balance::read(desk, ws, &terms.currency)?.wallet.currency;
            let same = known.amount_micros == paid.amount_micros
                && known.ask == paid.ask
                && paid.currency.as_ref().is_none_or(|currency| *currency == known_currency);
            return Ok(if same { Ok(Ok(known.clone())) } else { Err(EngineError::TopUpConflict) });
        }
        let (now, balance) = (desk.now(ws), Balance::read(desk, ws, &terms.currency)?);
        let mut change = Change::at(&balance.wallet, terms, now);
        let currency = paid.currency.clone().unwrap_or_else(|| change.wallet.currency.clone());
        if let Err(why) = change.top_up(paid.amount_micros, &currency, paid.ask, now) {
            return Ok(Ok(Err(why)));
        }
        let row = TopUpRow {
            workspace: ws,
            top_up_id: paid.top_up_id.clone(),
            version: 0,
            at: now,
            amount_micros: paid.amount_micros,
            ask: paid.ask,
            seq: change.wallet.entries,
        };
        balance.write(desk, &self.ws, None, change);
        let detail = serde_json::json!({ "amount_micros": row.amount_micros, "currency": currency, "entry": row.seq });
        let entry = Entry { at: desk.real_now(), kind: Kind::WalletToppedUp, who: self.who.clone(), detail };
        desk.put(Row::TopUp(row.clone()));
        desk.audit(ws, entry);
        Ok(Ok(Ok(row)))
    }
}

/// The billing system pays nothing.
pub(super) struct Decline {
    pub(super) ws: Arc<Workspace>,
    pub(super) ask: u32,
}

impl Ask for Decline {
    type Answer = ();

    fn wants(&self, desk: &mut Desk<'_>) {
        desk.want(Find::Wallet(self.ws.id));
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<(), EngineError>, Again> {
        let Some(terms) = &self.ws.policy.wallet else { return Ok(Err(EngineError::NobodyIsCharged)) };
        let balance = Balance::read(desk, self.ws.id, &terms.currency)?;
        let mut change = Change::at(&balance.wallet, terms, desk.now(self.ws.id));
        let declined = change.decline(self.ask);
        balance.write(desk, &self.ws, None, change);
        Ok(declined.map_err(|_| EngineError::UnknownAsk))
    }
}

/// What became of asking the billing system.
pub(super) struct BillingAsked {
    pub(super) ws: Arc<Workspace>,
    pub(super) ask: u32,
    /// Whether it has heard the question.
    pub(super) reached: bool,
    /// By the real clock.
    pub(super) at: Ms,
}

impl Ask for BillingAsked {
    type Answer = ();

    fn wants(&self, desk: &mut Desk<'_>) {
        desk.want(Find::Wallet(self.ws.id));
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<(), EngineError>, Again> {
        let Some(terms) = &self.ws.policy.wallet else { return Ok(Ok(())) };
        let balance = Balance::read(desk, self.ws.id, &terms.currency)?;
        let mut change = Change::at(&balance.wallet, terms, desk.now(self.ws.id));
        change.asked(self.ask, self.reached, self.at);
        balance.write(desk, &self.ws, None, change);
        Ok(Ok(()))
    }
}
