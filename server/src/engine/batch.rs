//! The loop: take what has arrived, load, decide, commit, then answer and hand effects on.
//!
//! While a commit runs, what arrives is decided already, on the rows as that commit leaves them. It is committed next,
//! if that commit did what it was to do; otherwise it is thrown away and decided again. Nothing of it is told or done
//! before.

use super::desk::{Again, Count, Desk, Draft, Ids};
use super::work::Work;
use crate::clock::Clocks;
use crate::failpoint::{Point, hit};
use crate::perform::Performer;
use crate::store::{Reply, Store, StoreError, Verdict};
use crate::telemetry::TEXT_STOPS;
use crate::timer::Timer;
use crate::vault::Vault;
use backstop_domain::limits::Filled;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::mpsc;

/// The most pieces of work in one commit, about: it bounds what a slow disk makes anyone wait for others.
const MAX_BATCH: usize = 1024;
/// What arrives while a commit runs is decided this many at a time: loading costs the same for one as for a few.
pub(super) const CHUNK: usize = 16;
/// Rounds of loading after which a piece of work is answered without: no chain of wants is this long.
const MAX_ROUNDS: usize = 120;
/// Runs after which a piece of work gives up: it keeps losing against other nodes, or its workspace is gone.
const MAX_RUNS: u32 = 20;

pub(super) struct Batcher {
    pub(super) store: Arc<dyn Store>,
    pub(super) vault: Arc<Vault>,
    pub(super) clocks: Arc<Clocks>,
    pub(super) timer: Arc<Timer>,
    pub(super) performer: Performer,
    pub(super) ids: Ids,
    /// Whether workspaces pay for their texts (S2).
    pub(super) charges: bool,
}

struct Queued {
    work: Box<dyn Work>,
    runs: u32,
}

/// What was decided and is to be committed.
#[derive(Default)]
struct Batch {
    drafts: Vec<(Queued, Draft)>,
    weight: usize,
    /// Nothing may be decided on what it leaves before it is durable.
    last: bool,
}

/// A commit under way.
struct Flight<'s> {
    verdicts: Reply<'s, Vec<Verdict>>,
    batch: Batch,
    /// The unit of each piece; `None` = it writes nothing.
    slots: Vec<Option<usize>>,
}

/// Everything between the queue and the store.
struct Line<'s> {
    desk: Desk<'s>,
    waiting: Vec<Queued>,
    ready: Batch,
    flight: Option<Flight<'s>>,
}

/// The commit under way failed: what was decided on its rows is to be decided again.
struct Undone;

impl Batcher {
    /// Runs until every sender is gone and the queue is empty.
    pub(super) async fn run(self, mut queue: mpsc::Receiver<Box<dyn Work>>) {
        let desk = Desk::new(&self.vault, &self.clocks, &self.ids, self.charges);
        let mut line = Line { desk, waiting: Vec::new(), ready: Batch::default(), flight: None };
        let mut arrived: Vec<Box<dyn Work>> = Vec::with_capacity(MAX_BATCH);
        let mut ended = false;
        let mut deciding = None;
        loop {
            let room = MAX_BATCH.saturating_sub(line.waiting.len());
            if line.flight.is_none() && line.waiting.is_empty() {
                drop(deciding.take());
                if ended || queue.recv_many(&mut arrived, room).await == 0 {
                    return;
                }
                deciding = Some(self.timer.deciding.lock().await);
            } else if line.flight.is_none() {
                while arrived.len() < room
                    && let Ok(work) = queue.try_recv()
                {
                    arrived.push(work);
                }
            } else {
                tokio::select! {
                    biased;
                    verdicts = landing(&mut line.flight) => drop(self.land(&mut line, verdicts)),
                    count = queue.recv_many(&mut arrived, room), if room > 0 && !ended => ended = count == 0,
                }
            }
            hit(Point::BatchTaken);
            line.waiting.extend(arrived.drain(..).map(|work| Queued { work, runs: 0 }));
            if line.flight.is_none() || line.waiting.len() >= CHUNK {
                self.decide(&mut line).await;
            }
            if line.flight.is_none() {
                self.submit(&mut line).await;
            }
        }
    }

    /// Decides what waits, as far as it fits into the batch.
    async fn decide<'s>(&'s self, line: &mut Line<'s>) {
        if line.ready.last || line.flight.as_ref().is_some_and(|flight| flight.batch.last) {
            return;
        }
        let mut weight = line.ready.weight;
        let fits = line.waiting.iter().position(|queued| {
            let full = weight >= MAX_BATCH;
            weight += queued.work.weight();
            full
        });
        let rest = line.waiting.split_off(fits.unwrap_or(line.waiting.len()));
        let mut chunk = std::mem::replace(&mut line.waiting, rest);
        chunk.sort_by_key(|queued| queued.work.rank());
        let mut parts = vec![chunk];
        let mut again = Vec::new();
        while let Some(mut part) = parts.pop() {
            match self.load(line, &part).await {
                Ok(Ok(())) if !line.ready.last => {
                    hit(Point::BatchLoaded);
                    again.extend(run(&mut line.desk, &mut line.ready, part));
                }
                Ok(_) => again.extend(part),
                // Whoever needs a row that does not read fails alone: the others in halves, in order.
                Err(StoreError::Corrupt(_)) if part.len() > 1 => {
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([rest, part]);
                }
                Err(StoreError::Corrupt(_)) if part.iter().any(|queued| !queued.work.parts().is_empty()) => {
                    parts.push(part.iter().flat_map(in_parts).collect());
                }
                Err(error) => part.into_iter().for_each(|queued| queued.work.done(Err(error.clone()))),
            }
        }
        // Before what came later.
        line.waiting.splice(0..0, give_up(again));
    }

    /// Puts everything on the desk that these need. The commit under way may land meanwhile.
    async fn load<'s>(&'s self, line: &mut Line<'s>, part: &[Queued]) -> Result<Result<(), Undone>, StoreError> {
        // A piece whose wants are all there is not asked again: what it wants follows from rows it wanted.
        let mut asking: Vec<&Queued> = part.iter().collect();
        for _ in 0..MAX_ROUNDS {
            asking.retain(|queued| {
                queued.work.wants(&mut line.desk);
                line.desk.is_unmet()
            });
            let keys = line.desk.take_missing();
            if keys.is_empty() {
                return Ok(Ok(()));
            }
            let mut loading = self.store.load(keys.clone());
            let rows = loop {
                tokio::select! {
                    biased;
                    verdicts = landing(&mut line.flight) => {
                        if let Err(undone) = self.land(line, verdicts) {
                            return Ok(Err(undone));
                        }
                    }
                    rows = &mut loading => break rows?,
                }
            };
            keys.into_iter().zip(rows).for_each(|(key, row)| line.desk.place(key, row));
        }
        Ok(Ok(()))
    }
    /// Has what was decided committed.
    async fn submit<'s>(&'s self, line: &mut Line<'s>) {
        let mut batch = std::mem::take(&mut line.ready);
        if batch.drafts.is_empty() {
            return;
        }
        hit(Point::BatchDecided);
        metrics::histogram!("backstop_commit_batch_size").record(batch.weight as f64);
        line.desk.turn();
        let (mut units, mut slots) = (Vec::new(), Vec::with_capacity(batch.drafts.len()));
        for (_, draft) in &mut batch.drafts {
            let unit = std::mem::take(&mut draft.unit);
            slots.push(if unit.is_empty() { None } else { Some(units.len()) });
            if !unit.is_empty() {
                units.push(unit);
            }
        }
        if units.is_empty() {
            self.settle(batch.drafts);
            return;
        }
        let mut flight = Flight { verdicts: self.store.commit(units), batch, slots };
        // It begins when it is polled.
        let landed = poll_fn(|cx| Poll::Ready(flight.verdicts.as_mut().poll(cx))).await;
        line.flight = Some(flight);
        if let Poll::Ready(verdicts) = landed {
            drop(self.land(line, verdicts));
        }
    }

    /// The commit under way has ended.
    fn land(&self, line: &mut Line<'_>, verdicts: Result<Vec<Verdict>, StoreError>) -> Result<(), Undone> {
        let Some(Flight { batch, slots, .. }) = line.flight.take() else { return Ok(()) };
        hit(Point::BatchCommitted);
        let verdicts = match verdicts {
            Ok(verdicts) => verdicts,
            Err(error) => {
                metrics::counter!("backstop_commit_errors_total").increment(1);
                tracing::error!(%error, "a batch was not committed");
                batch.drafts.into_iter().for_each(|(queued, _)| queued.work.done(Err(error.clone())));
                line.start_over(Vec::new());
                return Err(Undone);
            }
        };
        let conflict = verdicts.contains(&Verdict::Conflict);
        let (mut done, mut lost) = (Vec::with_capacity(batch.drafts.len()), Vec::new());
        for ((mut queued, draft), slot) in batch.drafts.into_iter().zip(slots) {
            // What wrote nothing may have read what was not committed.
            if slot.map_or(!conflict, |slot| verdicts.get(slot) == Some(&Verdict::Done)) {
                done.push((queued, draft));
            } else {
                // A conflict of its own; one that never ends must not keep the loop busy for ever.
                queued.runs += u32::from(slot.is_some());
                lost.push(queued);
            }
        }
        self.settle(done);
        if conflict {
            line.start_over(give_up(lost));
            return Err(Undone);
        }
        if batch.last {
            line.desk.clear();
        }
        Ok(())
    }

    /// They are durable: arm the timer, hand the effects on, count, answer.
    fn settle(&self, mut drafts: Vec<(Queued, Draft)>) {
        let rearmed: Vec<_> = drafts.iter_mut().flat_map(|(_, draft)| draft.rearmed.drain(..)).collect();
        self.timer.rearm(&rearmed);
        for (queued, draft) in drafts {
            draft.effects.into_iter().for_each(|handed| self.performer.hand(handed));
            draft.counts.into_iter().for_each(count);
            queued.work.done(Ok(()));
        }
        hit(Point::BatchSettled);
    }
}

impl Line<'_> {
    /// What was decided on rows that did not come to be is decided again, after what was lost to others.
    fn start_over(&mut self, lost: Vec<Queued>) {
        self.desk.clear();
        let undone = std::mem::take(&mut self.ready).drafts.into_iter().map(|(queued, _)| queued);
        self.waiting.splice(0..0, lost.into_iter().chain(undone));
    }
}

/// Waits for the commit under way, for ever if there is none.
async fn landing(flight: &mut Option<Flight<'_>>) -> Result<Vec<Verdict>, StoreError> {
    match flight {
        Some(flight) => flight.verdicts.as_mut().await,
        None => pending().await,
    }
}

/// Runs each piece on what the ones before left; answers what must run again.
fn run(desk: &mut Desk<'_>, batch: &mut Batch, part: Vec<Queued>) -> Vec<Queued> {
    let mut again = Vec::new();
    for mut queued in part {
        if batch.last {
            again.push(queued);
            continue;
        }
        // A fault of one piece must not end the loop that decides everything; the panic hook has logged it.
        match catch_unwind(AssertUnwindSafe(|| queued.work.run(desk))) {
            Ok(Ok(())) => {
                let draft = desk.take();
                batch.last = draft.last_of_batch;
                batch.weight += queued.work.weight();
                batch.drafts.push((queued, draft));
            }
            Ok(Err(Again)) => {
                desk.discard();
                queued.runs += 1;
                again.push(queued);
            }
            Err(_) => {
                desk.discard();
                let parts = in_parts(&queued);
                if parts.is_empty() {
                    queued.work.done(Err(StoreError::Corrupt("it cannot be decided on: the log says where".into())));
                }
                again.extend(parts);
            }
        }
    }
    again
}

fn in_parts(queued: &Queued) -> Vec<Queued> {
    queued.work.parts().into_iter().map(|work| Queued { work, runs: queued.runs }).collect()
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
        Count::WalletLow(workspace, alarm) => {
            tracing::warn!(workspace = workspace.0, alarm, "a wallet fell low: texts end with the money; top it up");
            metrics::counter!("backstop_alarms_total", "alarm" => alarm).increment(1);
        }
        Count::Filled(workspace, Filled { window, percent }) => {
            let (workspace, window) = (workspace.0, window.as_str());
            let alarm = match percent {
                100 => {
                    tracing::error!(
                        workspace,
                        window,
                        "the texts of a workspace are at their cap: no more leave in it"
                    );
                    "text_cap_100"
                }
                80 => {
                    tracing::warn!(workspace, window, "the texts of a workspace are at 80 % of their cap");
                    "text_cap_80"
                }
                _ => {
                    tracing::warn!(workspace, window, "the texts of a workspace are at 50 % of their cap");
                    "text_cap_50"
                }
            };
            metrics::counter!("backstop_alarms_total", "alarm" => alarm).increment(1);
        }
        Count::TextStop(followup, reason) => {
            tracing::warn!(%followup, reason, "a text was stopped before it left; email still goes");
            metrics::counter!(TEXT_STOPS, "reason" => reason).increment(1);
        }
    }
}
