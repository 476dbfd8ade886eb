//! Rows of a workspace's money: the wallet, what came in, and the lines that tell of every change (S2, S3, S9).

use super::WorkspaceId;
use backstop_domain::Ms;
use backstop_domain::ids::FollowupId;
use backstop_domain::text::Country;
use backstop_domain::wallet::{self, Wallet};

/// A workspace's money (S2). Written beside the [`LedgerLine`]s that tell of its change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletRow {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// See [`super::CustomerRow`].
    pub version: i64,
    /// What is in it.
    pub wallet: Wallet,
}

/// A payment (S3). Written once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopUpRow {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The caller's id.
    pub top_up_id: String,
    /// See [`super::CustomerRow`].
    pub version: i64,
    /// When, by the workspace's clock.
    pub at: Ms,
    /// How much.
    pub amount_micros: i64,
    /// The question to the billing system that it answered.
    pub ask: Option<u32>,
    /// Its entry in the ledger.
    pub seq: i64,
}

/// An entry of the ledger, and the follow-up whose text it was for: not who that was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerLine {
    /// What was paid for.
    pub followup: Option<FollowupId>,
    /// The entry.
    pub entry: wallet::Entry,
}

/// Filter of [`super::Store::ledger`]; newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerFilter {
    /// Only entries before this one.
    pub before: Option<i64>,
    /// At most this many.
    pub limit: usize,
}

/// Captures without refunds of one month, kind and country.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageLine {
    /// What.
    pub kind: wallet::Kind,
    /// Where to.
    pub country: Option<Country>,
    /// Texts or emails.
    pub texts: i64,
    /// Their parts.
    pub parts: i64,
    /// Their post units, in thousandths.
    pub pu_milli: i64,
    /// What they cost.
    pub micros: i64,
}
