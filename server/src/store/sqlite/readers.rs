//! The readers: a few threads with a connection each. One look is one snapshot.

use super::writer::refused;
use crate::store::StoreError;
use rusqlite::{Connection, Error, ErrorCode};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Looks that wait for a reader; a further one waits for its place.
pub(super) const QUEUE_LOOKS: usize = 1024;
/// Looks that share a snapshot at most.
const BATCH_LOOKS: usize = 16;

/// Reads and answers.
pub(super) type Look = Box<dyn FnOnce(Result<&Connection, StoreError>) + Send>;

/// One reader's thread.
pub(super) struct Reader {
    pub(super) db: Connection,
    /// Shared by all readers: whoever is free takes what waits.
    pub(super) looks: Arc<Mutex<mpsc::Receiver<Look>>>,
}

impl Reader {
    /// Runs until every sender is gone and the queue is empty.
    pub(super) fn run(self) {
        let mut batch = Vec::with_capacity(BATCH_LOOKS);
        while self.take(&mut batch) {
            // The snapshot begins after its looks arrived: each sees every commit answered before it was asked.
            let begun = self.db.prepare_cached("BEGIN").and_then(|mut begin| begin.execute([]));
            for look in batch.drain(..) {
                let db = match &begun {
                    Ok(_) => Ok(&self.db),
                    Err(error) => Err(read_error(error)),
                };
                // One question's fault ends its answer, not the reader; the panic hook has logged it.
                let _ = catch_unwind(AssertUnwindSafe(|| look(db)));
            }
            if begun.is_ok()
                && let Err(error) = self.db.prepare_cached("COMMIT").and_then(|mut end| end.execute([]))
            {
                tracing::warn!(error = %refused(&error), "a read transaction did not end");
                let _ = self.db.execute_batch("ROLLBACK");
            }
        }
    }

    fn take(&self, batch: &mut Vec<Look>) -> bool {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.blocking_recv_many(batch, BATCH_LOOKS) > 0
    }
}

/// What an error of a read means to the caller.
pub(super) fn read_error(error: &Error) -> StoreError {
    match error {
        Error::FromSqlConversionFailure(..) | Error::InvalidColumnType(..) | Error::IntegralValueOutOfRange(..) => {
            StoreError::Corrupt(refused(error))
        }
        Error::SqliteFailure(failure, _)
            if matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) =>
        {
            StoreError::Corrupt(refused(error))
        }
        other => StoreError::Unavailable(refused(other)),
    }
}
