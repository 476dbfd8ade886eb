//! Money: wallets, the ledger that tells of them, what it adds up to, and payments by the caller's id (S2, S3, S9).

use super::codec::{json, to_json, unreadable};
use super::load::{many, one};
use super::put;
use crate::store::{LedgerFilter, LedgerLine, TopUpRow, UsageLine, WalletRow, WorkspaceId};
use backstop_domain::Ms;
use backstop_domain::ids::FollowupId;
use backstop_domain::text::Country;
use backstop_domain::wallet::{Account, Charge, Entry, EntryKind, Kind, Month};
use rusqlite::{Connection, Result, Row, params};

pub(super) fn load(db: &Connection, ws: WorkspaceId) -> Result<Option<WalletRow>> {
    let sql = "SELECT version, state FROM wallets WHERE workspace = ?1";
    one(db, sql, params![ws.0], |row| {
        Ok(WalletRow { workspace: ws, version: row.get(0)?, wallet: json(row, 1, "wallets.state")? })
    })
}

pub(super) fn put(tx: &Connection, row: &WalletRow) -> Result<bool> {
    let sql = if row.version == 1 {
        "INSERT INTO wallets (workspace, version, currency, state, ask_due_at) VALUES (?1, ?2 + 1, ?3, ?4, ?5)
         ON CONFLICT DO NOTHING"
    } else {
        "UPDATE wallets SET version = ?2 + 1, currency = ?3, state = ?4, ask_due_at = ?5
         WHERE workspace = ?1 AND version = ?2"
    };
    let (wallet, due_at) = (&row.wallet, row.wallet.asking.open().and_then(|ask| ask.due_at));
    put::one(tx, sql, params![row.workspace.0, row.version - 1, wallet.currency, to_json(wallet)?, due_at])
}

pub(super) fn load_top_up(db: &Connection, ws: WorkspaceId, id: &str) -> Result<Option<TopUpRow>> {
    let sql = "SELECT version, at, amount_micros, ask, seq FROM top_ups WHERE workspace = ?1 AND top_up_id = ?2";
    one(db, sql, params![ws.0, id], |row| {
        Ok(TopUpRow {
            workspace: ws,
            top_up_id: id.to_owned(),
            version: row.get(0)?,
            at: row.get(1)?,
            amount_micros: row.get(2)?,
            ask: row.get(3)?,
            seq: row.get(4)?,
        })
    })
}

/// Never changes once it is there.
pub(super) fn put_top_up(tx: &Connection, row: &TopUpRow) -> Result<bool> {
    let sql = "INSERT INTO top_ups (workspace, top_up_id, version, at, amount_micros, ask, seq)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
    let values = params![row.workspace.0, row.top_up_id, row.version, row.at, row.amount_micros, row.ask, row.seq];
    Ok(row.version == 1 && put::one(tx, sql, values)?)
}

/// One entry, and what it adds to its month's usage.
pub(super) fn append(tx: &Connection, ws: WorkspaceId, line: &LedgerLine) -> Result<bool> {
    let LedgerLine { followup, entry } = line;
    let charge = entry.charge.as_ref();
    let country = charge.map(|charge| country_word(charge.country.as_ref()));
    let sql = "INSERT INTO ledger (workspace, seq, at, kind, debit, credit, amount_micros, grant_seq, followup, what,
                   country, attempt, parts, price_micros, pu_milli)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    let values = params![
        ws.0,
        entry.seq,
        entry.at,
        entry.kind.as_str(),
        entry.debit.as_str(),
        entry.credit.as_str(),
        entry.amount_micros,
        entry.grant,
        followup.map(|id| id.0),
        charge.map(|charge| charge.kind.as_str()),
        country,
        charge.map(|charge| charge.attempt),
        charge.map(|charge| charge.parts),
        charge.map(|charge| charge.micros),
        charge.map(|charge| charge.pu_milli),
    ];
    let sign = match entry.kind {
        EntryKind::Capture => 1,
        EntryKind::Refund => -1,
        EntryKind::TopUp | EntryKind::Grant | EntryKind::Hold | EntryKind::Release | EntryKind::Expire => 0,
    };
    let added = put::one(tx, sql, values)?;
    match charge.filter(|_| added && sign != 0) {
        Some(charge) => add_up(tx, ws, Month::of(entry.at), charge, sign),
        None => Ok(added),
    }
}

fn add_up(tx: &Connection, ws: WorkspaceId, month: Month, charge: &Charge, sign: i64) -> Result<bool> {
    let sql = "INSERT INTO usage_months (workspace, month, what, country, texts, parts, pu_milli, micros)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               ON CONFLICT DO UPDATE SET texts = texts + excluded.texts, parts = parts + excluded.parts,
                   pu_milli = pu_milli + excluded.pu_milli, micros = micros + excluded.micros";
    let values = params![
        ws.0,
        month.number(),
        charge.kind.as_str(),
        country_word(charge.country.as_ref()),
        sign,
        sign * i64::from(charge.parts),
        sign * charge.pu_milli,
        sign * charge.micros,
    ];
    put::one(tx, sql, values)
}

/// Newest first.
pub(super) fn entries(db: &Connection, ws: WorkspaceId, filter: LedgerFilter) -> Result<Vec<LedgerLine>> {
    let sql = "SELECT seq, at, kind, debit, credit, amount_micros, grant_seq, followup, what, country, attempt, parts,
                   price_micros, pu_milli
               FROM ledger WHERE workspace = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3";
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    many(db, sql, params![ws.0, filter.before.unwrap_or(i64::MAX), limit], line)
}

fn line(row: &Row<'_>) -> Result<LedgerLine> {
    let followup: Option<i64> = row.get(7)?;
    let what: Option<String> = row.get(8)?;
    let charge = match what {
        Some(what) => Some(Charge {
            kind: Kind::parse(&what).ok_or_else(|| unreadable("ledger.what"))?,
            country: country(row, 9, "ledger.country")?,
            attempt: row.get(10)?,
            parts: row.get(11)?,
            micros: row.get(12)?,
            pu_milli: row.get(13)?,
        }),
        None => None,
    };
    let account = |at: usize, column| {
        let word: String = row.get(at)?;
        Account::parse(&word).ok_or_else(|| unreadable(column))
    };
    let kind: String = row.get(2)?;
    let entry = Entry {
        seq: row.get(0)?,
        at: row.get(1)?,
        kind: EntryKind::parse(&kind).ok_or_else(|| unreadable("ledger.kind"))?,
        debit: account(3, "ledger.debit")?,
        credit: account(4, "ledger.credit")?,
        amount_micros: row.get(5)?,
        grant: row.get(6)?,
        charge,
    };
    Ok(LedgerLine { followup: followup.map(FollowupId), entry })
}

/// In the order of kinds and countries.
pub(super) fn usage(db: &Connection, ws: WorkspaceId, month: Month) -> Result<Vec<UsageLine>> {
    let sql = "SELECT what, country, texts, parts, pu_milli, micros FROM usage_months
               WHERE workspace = ?1 AND month = ?2 ORDER BY what, country";
    many(db, sql, params![ws.0, month.number()], |row| {
        let what: String = row.get(0)?;
        Ok(UsageLine {
            kind: Kind::parse(&what).ok_or_else(|| unreadable("usage_months.what"))?,
            country: country(row, 1, "usage_months.country")?,
            texts: row.get(2)?,
            parts: row.get(3)?,
            pu_milli: row.get(4)?,
            micros: row.get(5)?,
        })
    })
}

/// Workspaces whose billing system is to be asked by now, the longest due first.
pub(super) fn asking(db: &Connection, until: Ms, limit: usize) -> Result<Vec<WorkspaceId>> {
    let sql = "SELECT workspace FROM wallets INDEXED BY wallets_asking
               WHERE ask_due_at IS NOT NULL AND ask_due_at <= ?1 ORDER BY ask_due_at LIMIT ?2";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    many(db, sql, params![until, limit], |row| Ok(WorkspaceId(row.get(0)?)))
}

pub(super) fn currencies(db: &Connection) -> Result<Vec<String>> {
    many(db, "SELECT DISTINCT currency FROM wallets ORDER BY currency", [], |row| row.get(0))
}

fn country_word(country: Option<&Country>) -> &str {
    country.map_or("", Country::as_str)
}

fn country(row: &Row<'_>, at: usize, column: &'static str) -> Result<Option<Country>> {
    let word: String = row.get(at)?;
    match word.as_str() {
        "" => Ok(None),
        word => Country::parse(word).ok_or_else(|| unreadable(column)).map(Some),
    }
}
