//! Retention (S8): what has outlived its purpose goes, a little at a time, so that nobody waits for it.

use crate::engine::Engine;
use crate::failpoint::{Point, hit};
use crate::store::{Store, StoreError, WorkspaceId};
use crate::timer::nap;
use backstop_domain::Ms;
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::Notify;

const HOUR_MS: Ms = 3_600_000;
const DAY_MS: Ms = 24 * HOUR_MS;
/// How long message texts are kept at most.
const TEXT_DAYS: i64 = 90;
/// How long follow-ups, their history and deliveries are kept at most.
const HISTORY_DAYS: i64 = 365;
/// How long answers to an `Idempotency-Key` are kept (W3).
const ANSWER_KEPT_MS: Ms = DAY_MS;
/// Rows one step takes: it shares the writer with everyone else.
const ROWS: usize = 500;
const PAUSE_MS: Ms = 100;
const EVERY_MS: Ms = 600_000;

/// `[retention]`: how long what is said and sent is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Days that texts of messages and the links in them are kept.
    pub text_days: i64,
    /// Days that follow-ups with their deliveries and history are kept, and ids of messages.
    pub history_days: i64,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { text_days: TEXT_DAYS, history_days: HISTORY_DAYS }
    }
}

impl Retention {
    /// What is wrong with it: the key, and how to mend it.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let Retention { text_days, history_days } = *self;
        let mut problems = Vec::new();
        if !(1..=TEXT_DAYS).contains(&text_days) {
            let mend = format!("is {text_days}: must be 1 to {TEXT_DAYS}, what the rules allow at most");
            problems.push(("retention.text_days", mend));
        }
        if !(1..=HISTORY_DAYS).contains(&history_days) {
            let mend = format!("is {history_days}: must be 1 to {HISTORY_DAYS}, what the rules allow at most");
            problems.push(("retention.history_days", mend));
        } else if history_days < text_days {
            let mend =
                format!("is {history_days}: must be at least text_days, {text_days}: a text goes with its message");
            problems.push(("retention.history_days", mend));
        }
        problems
    }

    fn texts_before(&self, now: Ms) -> Ms {
        now - self.text_days * DAY_MS
    }

    fn history_before(&self, now: Ms) -> Ms {
        now - self.history_days * DAY_MS
    }
}

/// Runs until the engine stops.
pub(crate) async fn keep_house(engine: Engine) {
    let timer = Arc::clone(engine.timer());
    let never = Notify::new();
    let kept = engine.registry().deployment().retention;
    while !timer.is_stopped() {
        let now = engine.clocks().real_ms();
        hit(Point::HouseKept);
        let (texts_before, history_before) = (kept.texts_before(now), kept.history_before(now));
        let retired = engine.store().retire(texts_before, history_before, now - ANSWER_KEPT_MS, ROWS);
        match retired.await {
            Ok(rows) if rows >= ROWS => nap(&never, PAUSE_MS).await,
            Ok(_) => nap(&never, EVERY_MS).await,
            Err(error) => {
                tracing::error!(%error, "retention waits for the store");
                nap(&never, EVERY_MS).await;
            }
        }
    }
}

/// The same for a workspace whose clock was turned from one instant to another: everything of it that is due by then,
/// looked for whenever a full hour is passed.
pub(crate) async fn turned(
    store: &Arc<dyn Store>,
    kept: Retention,
    workspace: WorkspaceId,
    from: Ms,
    to: Ms,
) -> Result<(), StoreError> {
    if from.div_euclid(HOUR_MS) == to.div_euclid(HOUR_MS) {
        return Ok(());
    }
    let (texts_before, history_before) = (kept.texts_before(to), kept.history_before(to));
    while store.retire_in(workspace, texts_before, history_before, ROWS).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S8: shorter than the rules say is fine, longer is not.
    #[test]
    fn retention_can_only_be_shortened() {
        let keys = |text_days, history_days| {
            let problems = Retention { text_days, history_days }.problems();
            problems.into_iter().map(|(key, _)| key.trim_start_matches("retention.")).collect::<Vec<_>>()
        };
        assert!(keys(90, 365).is_empty() && keys(1, 1).is_empty());
        assert_eq!(keys(91, 365), ["text_days"]);
        assert_eq!(keys(0, 365), ["text_days"]);
        assert_eq!(keys(90, 366), ["history_days"]);
        assert_eq!(keys(30, 29), ["history_days"]);
        let now = 400 * DAY_MS;
        let kept = Retention::default();
        assert_eq!((kept.texts_before(now), kept.history_before(now)), (310 * DAY_MS, 35 * DAY_MS));
    }
}
