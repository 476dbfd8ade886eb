//! The loop: take what has arrived, load, decide, commit once, then answer and hand effects on.

use super::cache::Cache;
use super::desk::{Count, Desk, Draft, Ids};
use super::work::Work;
use crate::clock::Clocks;
use crate::perform::Performer;
use crate::store::{Key, Store, StoreError, Verdict};
use crate::timer::Timer;
use crate::vault::Vault;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The most pieces of work in one commit: it bounds what a slow disk makes anyone wait for others.
const MAX_BATCH: usize = 1024;
/// Rounds of loading after which a piece of work is answered without: no chain of wants is this long.
const MAX_ROUNDS: usize = 120;
/// Runs after which a piece of work gives up: it keeps losing against other nodes, or its workspace is gone.
const MAX_RUNS: u32 = 20;

pub(super) struct Queued {
    pub(super) work: Box<dyn Work>,
    pub(super) runs: u32,
}

pub(super) struct Batcher {
    pub(super) store: Arc<dyn Store>,
    pub(super) vault: Arc<Vault>,
    pub(super) clocks: Arc<Clocks>,
    pub(super) timer: Arc<Timer>,
    pub(super) performer: Performer,
    pub(super) ids: Ids,
}

impl Batcher {
    /// Runs until every sender is gone and the queue is empty.
    pub(super) async fn run(self, mut queue: mpsc::Receiver<Box<dyn Work>>) {
        let mut cache = Cache::default();
        let mut again: Vec<Queued> = Vec::new();
        let mut arrived: Vec<Box<dyn Work>> = Vec::with_capacity(MAX_BATCH);
        loop {
            let room = MAX_BATCH.saturating_sub(again.len()).max(1);
            if again.is_empty() {
                if queue.recv_many(&mut arrived, room).await == 0 {
                    return;
                }
            } else {
                while arrived.len() < room
                    && let Ok(work) = queue.try_recv()
                {
                    arrived.push(work);
                }
            }
            let mut batch = std::mem::take(&mut again);
            batch.extend(arrived.drain(..).map(|work| Queued { work, runs: 0 }));
            batch.sort_by_key(|queued| queued.work.rank());
            metrics::histogram!("backstop_commit_batch_size").record(batch.len() as f64);
            again = self.whole(batch, &mut cache).await;
        }
    }

    /// The batch at once, or — while some row of it does not read — in halves, in order: whoever needs that row fails
    /// alone.
    async fn whole(&self, batch: Vec<Queued>, cache: &mut Cache) -> Vec<Queued> {
        let (mut parts, mut again) = (vec![batch], Vec::new());
        while let Some(mut part) = parts.pop() {
            let mut desk = Desk::new(&self.vault, &self.clocks, &self.ids);
            match self.load(&mut desk, &part, cache).await {
                Ok(()) => again.extend(self.batch(part, desk, cache).await),
                Err(StoreError::Corrupt(_)) if part.len() > 1 => {
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([rest, part]);
                }
                Err(error) => part.into_iter().for_each(|queued| queued.work.done(Err(error.clone()))),
            }
        }
        again
    }

    /// One batch whose rows are on the desk; answers what must run again.
    async fn batch(&self, batch: Vec<Queued>, mut desk: Desk<'_>, cache: &mut Cache) -> Vec<Queued> {
        let (ran, mut again) = run_all(&mut desk, batch);
        let (mut units, mut slots) = (Vec::new(), Vec::with_capacity(ran.len()));
        let mut drafts: Vec<(Queued, Draft)> = Vec::with_capacity(ran.len());
        for (queued, mut draft) in ran {
            let unit = std::mem::take(&mut draft.unit);
            slots.push(if unit.is_empty() { None } else { Some(units.len()) });
            if !unit.is_empty() {
                units.push(unit);
            }
            drafts.push((queued, draft));
        }
        let verdicts = if units.is_empty() { Ok(Vec::new()) } else { self.store.commit(units).await };
        match verdicts {
            Err(error) => {
                cache.clear();
                metrics::counter!("backstop_commit_errors_total").increment(1);
                tracing::error!(%error, "a batch was not committed");
                drafts.into_iter().for_each(|(queued, _)| queued.work.done(Err(error.clone())));
            }
            Ok(verdicts) => {
                let conflict = verdicts.contains(&Verdict::Conflict);
                let wiped = conflict || drafts.iter().any(|(_, draft)| draft.last_of_batch);
                if wiped {
                    cache.clear();
                } else {
                    desk.leave(cache);
                }
                for ((mut queued, draft), slot) in drafts.into_iter().zip(slots) {
                    let done = match slot {
                        Some(slot) => verdicts.get(slot) == Some(&Verdict::Done),
                        // It wrote nothing, but may have read what was not committed.
                        None => !conflict,
                    };
                    if done {
                        self.settle(draft);
                        queued.work.done(Ok(()));
                    } else {
                        // A conflict of its own; one that never ends must not keep the loop busy for ever.
                        queued.runs += u32::from(slot.is_some());
                        again.push(queued);
                    }
                }
            }
        }
        give_up(again)
    }

    async fn load(&self, desk: &mut Desk<'_>, batch: &[Queued], cache: &mut Cache) -> Result<(), StoreError> {
        let mut wanted: Vec<Key> = Vec::new();
        // A piece whose wants are all there is not asked again: what it wants follows from rows it wanted.
        let mut asking: Vec<&Queued> = batch.iter().collect();
        for _ in 0..MAX_ROUNDS {
            let mut missing: HashSet<Key> = HashSet::new();
            asking.retain(|queued| {
                queued.work.wants(desk, &mut wanted);
                let before = wanted.len();
                wanted.retain(|key| !desk.has(key));
                let complete = before > 0 && wanted.is_empty();
                missing.extend(wanted.drain(..));
                !complete
            });
            if missing.is_empty() {
                return Ok(());
            }
            let mut keys: Vec<Key> = Vec::with_capacity(missing.len());
            for key in missing {
                match cache.get(&key) {
                    Some(row) => desk.place(key, Some(row)),
                    None => keys.push(key),
                }
            }
            if keys.is_empty() {
                continue;
            }
            let rows = self.store.load(keys.clone()).await?;
            keys.into_iter().zip(rows).for_each(|(key, row)| desk.place(key, row));
        }
        Ok(())
    }

    /// It is durable: arm the timer, hand the effects on, count.
    fn settle(&self, draft: Draft) {
        self.timer.rearm(&draft.rearmed);
        draft.effects.into_iter().for_each(|handed| self.performer.hand(handed));
        draft.counts.into_iter().for_each(count);
    }
}

/// Runs each piece on what the ones before left.
fn run_all(desk: &mut Desk<'_>, batch: Vec<Queued>) -> (Vec<(Queued, Draft)>, Vec<Queued>) {
    let (mut ran, mut again) = (Vec::with_capacity(batch.len()), Vec::new());
    let mut closed = false;
    for mut queued in batch {
        if closed {
            again.push(queued);
            continue;
        }
        // A fault of one piece must not end the loop that decides everything; the panic hook has logged it.
        match catch_unwind(AssertUnwindSafe(|| queued.work.run(desk))) {
            Ok(Ok(())) => {
                let draft = desk.take();
                closed = draft.last_of_batch;
                ran.push((queued, draft));
            }
            Ok(Err(super::desk::Again)) => {
                desk.discard();
                queued.runs += 1;
                again.push(queued);
            }
            Err(_) => {
                desk.discard();
                queued.work.done(Err(StoreError::Corrupt("it cannot be decided on: the log says where".into())));
            }
        }
    }
    (ran, again)
}

fn give_up(again: Vec<Queued>) -> Vec<Queued> {
    let (tired, again): (Vec<_>, Vec<_>) = again.into_iter().partition(|queued| queued.runs >= MAX_RUNS);
    for queued in tired {
        queued.work.done(Err(StoreError::Unavailable("other work kept changing the same rows".into())));
    }
    again
}

fn count(count: Count) {
    match count {
        Count::Outcome(outcome) => metrics::counter!("backstop_followups_total", "outcome" => outcome).increment(1),
        Count::LatenessMs(ms) => {
            metrics::histogram!("backstop_deadline_lateness_seconds").record(ms as f64 / 1000.0);
        }
        Count::AckLatencyMs(ms) => metrics::histogram!("backstop_ack_latency_seconds").record(ms as f64 / 1000.0),
        Count::Alarm(alarm) => {
            tracing::error!(alarm, "a text was too old to be sent; email only");
            metrics::counter!("backstop_alarms_total", "alarm" => alarm).increment(1);
        }
    }
}
