//! The one writer: takes what arrived while it was busy, makes one durable transaction of it, then answers.
//!
//! A transaction runs in one of two ways. The quick way has no savepoints: a unit whose first write meets a conflict
//! has written nothing and is left out; a later conflict throws the whole transaction away, and it runs again the
//! careful way, where each unit has a savepoint to go back to. After that the writer stays careful for a while, so
//! that many conflicts do not make it do everything twice.

use super::audit;
use super::checkpoint::{self, Checkpoints};
use super::put::{self, Beside};
use super::wallet;
use crate::failpoint::{Point, hit, lies};
use crate::store::{Op, Row, StoreError, Unit, Verdict, WorkspaceId};
use rusqlite::{Connection, Error, ErrorCode, OptionalExtension as _, ffi};
use std::collections::HashMap;
use tokio::sync::{mpsc, oneshot, watch};

/// Calls that wait for the writer; a further one waits for its place.
pub(super) const QUEUE_CALLS: usize = 1024;
/// Calls that share a transaction at most.
const BATCH_CALLS: usize = 512;
/// Transactions run the careful way after one had to be repeated.
const CAREFUL_FOR: u32 = 64;

/// Something to be done within the next transaction.
pub(super) trait Job: Send {
    /// Does it. May be called again after a transaction was thrown away.
    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), Stop>;
    /// Tells the caller, after the transaction is durable or will not be.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// Why a job goes no further.
pub(super) enum Stop {
    /// It wrote half of something: throw the transaction away and repeat it the careful way.
    Repeat,
    /// The database said no.
    Sql(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Sql(error)
    }
}

/// Several units of one call.
pub(super) struct Commit {
    pub(super) units: Vec<Unit>,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) reply: oneshot::Sender<Result<Vec<Verdict>, StoreError>>,
}

/// Anything else that writes.
pub(super) struct Task<T, F> {
    pub(super) work: F,
    pub(super) value: Option<T>,
    pub(super) reply: oneshot::Sender<Result<T, StoreError>>,
}

impl Job for Commit {
    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), Stop> {
        self.verdicts.clear();
        for unit in &self.units {
            self.verdicts.push(batch.unit(unit)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        // Nobody waits any more: the commit stands all the same.
        let Commit { verdicts, reply, .. } = *self;
        let _ = reply.send(outcome.map(|()| verdicts));
    }
}

impl<T: Send, F: FnMut(&Connection) -> rusqlite::Result<T> + Send> Job for Task<T, F> {
    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), Stop> {
        batch.lanes.clear();
        self.value = Some((self.work)(batch.tx)?);
        batch.lanes.clear();
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Task { value, reply, .. } = *self;
        let _ = reply.send(outcome.and_then(|()| value.ok_or_else(|| StoreError::Unavailable("not run".into()))));
    }
}

/// One transaction while it is being written.
pub(super) struct Batch<'c> {
    tx: &'c Connection,
    careful: bool,
    /// The lane of each workspace met; `None` = there is no such workspace.
    lanes: HashMap<WorkspaceId, Option<i64>>,
    /// A customer was erased: no old page may stay behind.
    erased: bool,
}

impl Batch<'_> {
    fn unit(&mut self, unit: &Unit) -> Result<Verdict, Stop> {
        let mut beside = Beside::of(unit);
        if !self.careful {
            for (at, op) in unit.iter().enumerate() {
                match self.apply(op, &mut beside)? {
                    true => {}
                    false if at == 0 => return Ok(Verdict::Conflict),
                    false => return Err(Stop::Repeat),
                }
            }
            return Ok(Verdict::Done);
        }
        self.savepoint("unit", |batch| {
            for op in unit {
                if !batch.apply(op, &mut beside)? {
                    return Ok((false, Verdict::Conflict));
                }
            }
            Ok((true, Verdict::Done))
        })
    }

    /// `false` = conflict, and nothing was written.
    fn apply(&mut self, op: &Op, beside: &mut Beside) -> Result<bool, Stop> {
        let Some(lane) = self.lane(workspace_of(op))? else {
            return Ok(false);
        };
        Ok(match op {
            Op::Put(row) => match &**row {
                Row::Customer(row) => put::customer(self.tx, row)?,
                Row::Conversation(row) => put::conversation(self.tx, row, beside)?,
                Row::Message(row) => put::message(self.tx, row)?,
                Row::Followup(row) => put::followup(self.tx, row, lane, beside)?,
                Row::Device(row) => put::device(self.tx, row)?,
                Row::Suppression(row) => put::suppression(self.tx, row)?,
                Row::Link(row) => put::link(self.tx, row)?,
                Row::Counter(row) => put::counter(self.tx, row)?,
                Row::Wallet(row) => wallet::put(self.tx, row)?,
                Row::TopUp(row) => wallet::put_top_up(self.tx, row)?,
                // Answers of a load: there is nothing to write.
                Row::Found(_) | Row::Open(_) => true,
            },
            Op::Texted(ws, texted) => put::texted(self.tx, *ws, texted)?,
            Op::Inbound(ws, inbound) => put::inbound(self.tx, *ws, inbound)?,
            Op::Ledger(ws, line) => wallet::append(self.tx, *ws, line)?,
            Op::History(ws, id, entry) => put::history(self.tx, *ws, *id, entry, beside)?,
            Op::DeleteDevice(ws, id, version) => put::delete_device(self.tx, *ws, *id, *version)?,
            Op::Audit(ws, entry) => {
                audit::append(self.tx, *ws, entry)?;
                true
            }
            Op::Erase(ws, customer_id) => {
                put::erase(self.tx, *ws, customer_id)?;
                self.erased = true;
                true
            }
        })
    }

    fn lane(&mut self, workspace: Option<WorkspaceId>) -> Result<Option<i64>, Stop> {
        let Some(workspace) = workspace else {
            return Ok(Some(0));
        };
        if let Some(lane) = self.lanes.get(&workspace) {
            return Ok(*lane);
        }
        let sql = "SELECT CASE WHEN frozen_at IS NULL THEN 0 ELSE id END FROM workspaces WHERE id = ?1";
        let lane = self.tx.prepare_cached(sql)?.query_row([workspace.0], |row| row.get(0)).optional()?;
        self.lanes.insert(workspace, lane);
        Ok(lane)
    }

    /// Runs `work` so that it can be undone alone: when it says `false`, or fails.
    fn savepoint<T>(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Result<(bool, T), Stop>) -> Result<T, Stop> {
        let tx = self.tx;
        let run = |sql: String| tx.prepare_cached(&sql)?.execute([]);
        run(format!("SAVEPOINT {name}"))?;
        let result = work(self);
        // Some errors have ended the whole transaction already.
        if !tx.is_autocommit() {
            if !matches!(result, Ok((true, _))) {
                run(format!("ROLLBACK TO {name}"))?;
            }
            run(format!("RELEASE {name}"))?;
        }
        result.map(|(_, value)| value)
    }
}

fn workspace_of(op: &Op) -> Option<WorkspaceId> {
    match op {
        Op::Put(row) => match &**row {
            Row::Customer(row) => Some(row.workspace),
            Row::Conversation(row) => Some(row.workspace),
            Row::Message(row) => Some(row.workspace),
            Row::Followup(row) => Some(row.workspace),
            Row::Device(row) => Some(row.workspace),
            Row::Suppression(row) => Some(row.workspace),
            Row::Link(row) => Some(row.workspace),
            Row::Counter(row) => Some(row.workspace),
            Row::Wallet(row) => Some(row.workspace),
            Row::TopUp(row) => Some(row.workspace),
            Row::Found(_) | Row::Open(_) => None,
        },
        Op::Ledger(ws, _)
        | Op::History(ws, ..)
        | Op::DeleteDevice(ws, ..)
        | Op::Audit(ws, _)
        | Op::Erase(ws, _)
        | Op::Texted(ws, _)
        | Op::Inbound(ws, _) => Some(*ws),
    }
}

/// The writer's thread.
pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) checkpoints: Checkpoints,
    /// Set once the file cannot be trusted any more; nothing is written after that.
    pub(super) poison: watch::Sender<Option<String>>,
    pub(super) careful_left: u32,
}

impl Writer {
    /// Runs until every sender is gone and the queue is empty.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
        let mut batch = Vec::with_capacity(BATCH_CALLS);
        while jobs.blocking_recv_many(&mut batch, BATCH_CALLS) > 0 {
            self.commit(&mut batch);
        }
        checkpoint::leave(&self.db, &self.poison);
    }

    fn commit(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        hit(Point::WriteBegins);
        let poisoned = self.poison.borrow().clone();
        let outcome = match poisoned {
            Some(why) => Err(StoreError::Unavailable(why)),
            None => self.transact(jobs),
        };
        match outcome {
            Ok((outcomes, erased)) => {
                if erased {
                    self.checkpoints.erased();
                }
                for (job, outcome) in jobs.drain(..).zip(outcomes) {
                    job.answer(outcome);
                }
                hit(Point::WriteAnswered);
                self.checkpoints.after_commit(&self.db, &self.poison);
            }
            Err(error) => {
                for job in jobs.drain(..) {
                    job.answer(Err(error.clone()));
                }
                self.checkpoints.after_failure(&self.db, &self.poison);
            }
        }
    }

    /// Each job's outcome and whether somebody was erased, or why nothing at all happened.
    fn transact(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(Vec<Result<(), StoreError>>, bool), StoreError> {
        let mut careful = self.careful_left > 0;
        self.careful_left = self.careful_left.saturating_sub(1);
        loop {
            match self.attempt(jobs, careful) {
                Ok(done) => return Ok(done),
                Err(Stop::Repeat) => {
                    careful = true;
                    self.careful_left = CAREFUL_FOR;
                }
                Err(Stop::Sql(error)) => return Err(self.failed(&error, false)),
            }
            self.roll_back();
        }
    }

    fn attempt(
        &mut self,
        jobs: &mut [Box<dyn Job>],
        careful: bool,
    ) -> Result<(Vec<Result<(), StoreError>>, bool), Stop> {
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        hit(Point::WriteBegun);
        let mut batch = Batch { tx: &self.db, careful, lanes: HashMap::new(), erased: false };
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs.iter_mut() {
            if !careful {
                // What one job cannot write must not undo the others': each alone, then.
                job.run(&mut batch).map_err(|stop| match stop {
                    Stop::Sql(error) if !ends_transaction(&error) => Stop::Repeat,
                    stop => stop,
                })?;
                outcomes.push(Ok(()));
                continue;
            }
            outcomes.push(match batch.savepoint("job", |batch| job.run(batch).map(|()| (true, ()))) {
                Ok(()) => Ok(()),
                Err(Stop::Sql(error)) if !ends_transaction(&error) => Err(StoreError::Corrupt(refused(&error))),
                Err(stop) => return Err(stop),
            });
        }
        let erased = batch.erased;
        hit(Point::WriteCommits);
        if lies(Point::WriteCommits) {
            self.roll_back();
            return Ok((outcomes, erased));
        }
        match self.db.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])) {
            Ok(_) => {
                hit(Point::WriteCommitted);
                Ok((outcomes, erased))
            }
            Err(error) => {
                let error = self.failed(&error, true);
                Ok((jobs.iter().map(|_| Err(error.clone())).collect(), false))
            }
        }
    }

    /// Cleans up after a failure and says what the callers hear.
    fn failed(&self, error: &Error, at_commit: bool) -> StoreError {
        self.roll_back();
        let (said, trust) = judge(error, at_commit);
        if trust == Trust::Lost {
            tracing::error!(error = %said, "the database file is not trusted any more: restart");
            self.poison.send_replace(Some(said.to_string()));
        } else {
            tracing::warn!(error = %said, "a transaction failed");
        }
        said
    }

    fn roll_back(&self) {
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            self.poison.send_replace(Some(format!("cannot roll back: {}", refused(&error))));
        }
    }
}

/// Whether the file can be worked with after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Kept,
    Lost,
}

/// What an error means to callers, and to the file.
///
/// A full disk goes by. Any other failure to read or write may have left the kernel's pages unlike the disk's, and a
/// later fsync that succeeds says nothing about them: the only cure is to open the file anew.
pub(super) fn judge(error: &Error, at_commit: bool) -> (StoreError, Trust) {
    let Error::SqliteFailure(failure, _) = error else {
        return (StoreError::Unavailable(refused(error)), Trust::Kept);
    };
    // These fail for lack of space or memory before anything is written.
    let passing =
        [ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_SHMMAP, ffi::SQLITE_IOERR_NOMEM, ffi::SQLITE_IOERR_LOCK];
    match failure.code {
        ErrorCode::DiskFull => (StoreError::Unavailable("the disk is full".into()), Trust::Kept),
        ErrorCode::SystemIoFailure if passing.contains(&failure.extended_code) => {
            (StoreError::Unavailable(refused(error)), Trust::Kept)
        }
        ErrorCode::SystemIoFailure if at_commit => (StoreError::Unknown(refused(error)), Trust::Lost),
        ErrorCode::SystemIoFailure => (StoreError::Unavailable(refused(error)), Trust::Lost),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => (StoreError::Corrupt(refused(error)), Trust::Lost),
        _ => (StoreError::Unavailable(refused(error)), Trust::Kept),
    }
}

/// Whether nobody's work in this transaction can stand, as opposed to one job's.
fn ends_transaction(error: &Error) -> bool {
    let Error::SqliteFailure(failure, _) = error else {
        return false;
    };
    !matches!(
        failure.code,
        ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig | ErrorCode::ParameterOutOfRange
    )
}

/// An error in words that hold no value of any row.
pub(super) fn refused(error: &Error) -> String {
    match error {
        Error::SqliteFailure(failure, Some(words)) => format!("{words} (SQLite {})", failure.extended_code),
        Error::SqliteFailure(failure, None) => format!("{failure} (SQLite {})", failure.extended_code),
        Error::FromSqlConversionFailure(_, _, cause) => cause.to_string(),
        Error::InvalidColumnType(_, column, _) => format!("column {column}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(extended_code: i32) -> Error {
        Error::SqliteFailure(ffi::Error::new(extended_code), None)
    }

    /// Invariant 3: after a failed fsync nobody hears "done", and nothing is written over it.
    #[test]
    fn a_failed_fsync_is_unknown_and_ends_the_trust() {
        let (said, trust) = judge(&failure(ffi::SQLITE_IOERR_FSYNC), true);
        assert!(matches!(said, StoreError::Unknown(_)));
        assert_eq!(trust, Trust::Lost);
        assert_eq!(judge(&failure(ffi::SQLITE_IOERR_WRITE), false).1, Trust::Lost);
        assert_eq!(judge(&failure(ffi::SQLITE_CORRUPT), false).1, Trust::Lost);
    }

    /// W4: a full disk is a passing state.
    #[test]
    fn a_full_disk_goes_by() {
        for at_commit in [false, true] {
            for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_BUSY] {
                let (said, trust) = judge(&failure(code), at_commit);
                assert!(matches!(said, StoreError::Unavailable(_)), "{code}");
                assert_eq!(trust, Trust::Kept, "{code}");
            }
        }
    }
}
