//! A server's loop: what has arrived is loaded, decided and committed in one batch — as `server/src/engine/batch.rs`.
//! Everything in here is lost in a crash.

use crate::desk::{Cache, Desk};
use crate::mutant::Mutant;
use crate::oracle::{Verdict, When};
use crate::store::{Key, Mode, Put, Row};
use crate::work::{Answered, Scene, Work};
use crate::world::{Action, World};
use backstop_domain::Ms;
use backstop_domain::followup::{AckVerdict, Effect, Stage};
use std::collections::BTreeSet;

/// Pause before an outcome that could not be stored is offered again.
const STORE_RETRY_MS: Ms = 200;
/// Runs after which a piece of work gives up: it keeps losing against other nodes.
const MAX_RUNS: u32 = 20;
/// Rows a node keeps between batches.
const CACHE_ROWS: usize = 4_096;
/// What may wait at a node: everything that asks is bounded (invariant 7).
const MAX_WAITING: usize = 20_000;

#[derive(Default)]
pub(crate) struct Node {
    pub(crate) down: bool,
    /// How often it has crashed: what was under way before is not of this run.
    pub(crate) epoch: u32,
    /// Stopped until then, with everything it holds in its hands.
    pub(crate) paused_until: Ms,
    /// Wall minus elapsed time, as it was when the clock was set.
    pub(crate) anchor_ms: Ms,
    queue: Vec<Job>,
    /// A batch is under way, or about to be.
    busy: bool,
    cache: Cache,
    pub(crate) index: BTreeSet<(Ms, i64)>,
    pub(crate) fire_at: Option<Ms>,
}

impl Node {
    /// Up again with nothing in its hands, or down and gone with everything it had.
    pub(crate) fn anew(down: bool, epoch: u32, anchor_ms: Ms) -> Node {
        Node { down, epoch, anchor_ms, ..Node::default() }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.busy
    }
}

/// Who waits for a piece of work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    Nobody,
    Backend(u64),
    Phone(u64),
    /// Somebody who acks with a receipt that is not theirs.
    Forger,
    /// A hand that wants to send.
    Claim,
    /// A hand with an outcome: it offers it until it is stored.
    Hand,
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) workspace: usize,
    pub(crate) work: Work,
    pub(crate) from: From,
    pub(crate) runs: u32,
}

impl Job {
    pub(crate) fn new(workspace: usize, work: Work, from: From) -> Job {
        Job { workspace, work, from, runs: 0 }
    }
}

/// Work that ran, with what it wants written and done.
pub(crate) struct Ran {
    job: Job,
    unit: Vec<Put>,
    effects: Vec<(i64, Effect)>,
    answered: Answered,
}

pub(crate) struct Batch {
    ran: Vec<Ran>,
    leave: Cache,
    when: When,
}

/// What the store said of a batch.
pub(crate) enum Told {
    /// Each unit's verdict: whether it is durable.
    Judged { ran: Vec<(Ran, bool)>, leave: Cache },
    /// None of it, or nobody knows.
    Failed { jobs: Vec<Job> },
}

impl World {
    /// The node's own time: elapsed time from where its clock was set.
    pub(crate) fn node_now(&self, node: usize) -> Ms {
        let now = self.now + self.nodes[node].anchor_ms;
        match self.mutant {
            Some(Mutant::WallClock) => self.now + self.wall_ms,
            Some(Mutant::RoundsUp) => (now + 999) / 1_000 * 1_000,
            _ => now,
        }
    }

    /// A node that is up, if any. A paused one takes connections, too.
    pub(crate) fn some_node(&mut self) -> Option<(usize, u32)> {
        let up: Vec<usize> = (0..self.nodes.len()).filter(|node| !self.nodes[*node].down).collect();
        if up.is_empty() {
            return None;
        }
        let node = *self.rng.pick(&up);
        Some((node, self.nodes[node].epoch))
    }

    /// Work for whichever node is there; without one it is not heard.
    pub(crate) fn deliver(&mut self, workspace: usize, work: Work, from: From) {
        if let Some((node, epoch)) = self.some_node() {
            self.enqueue(node, epoch, Job::new(workspace, work, from));
        }
    }

    pub(crate) fn is_alive(&self, node: usize, epoch: u32) -> bool {
        !self.nodes[node].down && self.nodes[node].epoch == epoch
    }

    pub(crate) fn enqueue(&mut self, node: usize, epoch: u32, job: Job) {
        if !self.is_alive(node, epoch) {
            return;
        }
        if let (From::Hand, Some((followup, channel, attempt))) = (job.from, job.work.outcome_of()) {
            self.oracle.heard(followup, channel, attempt, node);
        }
        self.nodes[node].queue.push(job);
        self.rouse(node);
    }

    fn rouse(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        if !this.busy && !this.queue.is_empty() {
            this.busy = true;
            let epoch = this.epoch;
            self.at(self.now, Action::Begin { node, epoch });
        }
    }

    /// Loads, decides; the commit comes a little later.
    pub(crate) fn begin(&mut self, node: usize, epoch: u32) {
        if !self.is_alive(node, epoch) {
            return;
        }
        let mut jobs = std::mem::take(&mut self.nodes[node].queue);
        if matches!(self.store.mode(self.now), Mode::Down(_)) {
            // Nothing can be loaded.
            let told = Box::new(Told::Failed { jobs });
            return self.at(self.now + 1, Action::Told { node, epoch, told });
        }
        if self.is(Mutant::DeadlinesFirst) {
            jobs.sort_by_key(|job| std::cmp::Reverse(job.work.rank()));
        } else {
            jobs.sort_by_key(|job| job.work.rank());
        }
        let when = When { elapsed: self.now, told: self.node_now(node) };
        let scene = Scene { customer_of: &self.customer_of, mutant: self.mutant };
        let cache = &self.nodes[node].cache;
        let mut desk = Desk::new(&self.store, cache, when.told, &self.policies, &mut self.next_id);
        let mut ran = Vec::with_capacity(jobs.len());
        for job in jobs {
            desk.workspace = job.workspace;
            let answered = job.work.run(&mut desk, &scene);
            let (unit, effects) = desk.take();
            ran.push(Ran { job, unit, effects, answered });
        }
        self.oracle.decisions += desk.decisions;
        let leave = desk.leave();
        if self.is(Mutant::EffectsFirst) {
            for (followup, effect) in ran.iter_mut().flat_map(|ran| std::mem::take(&mut ran.effects)) {
                self.take_in_hand(node, epoch, followup, effect);
            }
        }
        if self.is(Mutant::AnswersFirst) {
            for ran in &mut ran {
                let job = Job { from: std::mem::replace(&mut ran.job.from, From::Nobody), ..ran.job.clone() };
                // A forger is answered, too, but nothing can be wrong about that.
                let _ = self.answer(node, job, Some(ran.answered.clone()));
            }
        }
        let slow = self.mishap(50);
        let latency_ms = if slow { self.rng.between(20, 1_500) } else { self.rng.between(1, 15) };
        let batch = Box::new(Batch { ran, leave, when });
        self.at(self.now + latency_ms, Action::Commit { node, epoch, batch });
    }

    /// The commit point: each unit happens whole or not at all, and the node may die on either side of it.
    pub(crate) fn commit(&mut self, node: usize, epoch: u32, batch: Box<Batch>) -> Verdict {
        if !self.is_alive(node, epoch) {
            return Ok(());
        }
        if self.mishap(8) {
            self.oracle.reach("crash before commit");
            self.half_a_unit(&batch);
            self.crash(node);
            return Ok(());
        }
        match self.store.mode(self.now) {
            Mode::Stalled(until) => {
                self.at(until, Action::Commit { node, epoch, batch });
                return Ok(());
            }
            Mode::Down(_) | Mode::Full(_) => {
                let jobs = batch.ran.into_iter().map(|ran| ran.job).collect();
                return self.told(node, epoch, Told::Failed { jobs });
            }
            Mode::Up => {}
        }
        let told = self.judge_units(*batch)?;
        self.watch_sweep();
        if self.mishap(8) {
            self.oracle.reach("crash after commit");
            self.crash(node);
            return Ok(());
        }
        let told = if self.mishap(8) {
            self.oracle.reach("commit not confirmed");
            let Told::Judged { ran, .. } = told else { return Ok(()) };
            Told::Failed { jobs: ran.into_iter().map(|(ran, _)| ran.job).collect() }
        } else {
            told
        };
        self.at(self.now, Action::Told { node, epoch, told: Box::new(told) });
        Ok(())
    }

    /// A unit in conflict is left out whole, and so is what builds on it; versions alone would not tell, since another
    /// node may have written the very version it expects.
    fn judge_units(&mut self, batch: Batch) -> Result<Told, String> {
        let Batch { ran, leave, when } = batch;
        let mut judged = Vec::with_capacity(ran.len());
        let (mut left_out, mut decided) = (BTreeSet::new(), BTreeSet::new());
        for ran in ran {
            let on_air = ran.unit.iter().any(|(key, ..)| left_out.contains(key));
            let fits = match self.mutant {
                Some(Mutant::NoVersions) => true,
                Some(Mutant::BuildsOnAir) => self.store.fits(&ran.unit),
                _ => !on_air && self.store.fits(&ran.unit),
            };
            if !fits {
                self.oracle.reach(if on_air { "left out with a conflict" } else { "conflict" });
                left_out.extend(ran.unit.iter().map(|(key, ..)| *key));
                judged.push((ran, false));
                continue;
            }
            self.one_instant(&ran, &mut decided)?;
            self.write(&ran, when)?;
            judged.push((ran, true));
        }
        Ok(Told::Judged { ran: judged, leave })
    }

    /// P8: in one batch the ack comes before the deadline.
    fn one_instant(&mut self, ran: &Ran, decided: &mut BTreeSet<i64>) -> Verdict {
        match &ran.job.work {
            Work::Woke { followup } => {
                let waits = self.store.followup(*followup).is_some_and(|row| row.state.stage == Stage::Waiting);
                if waits && !ran.unit.is_empty() {
                    decided.insert(*followup);
                }
            }
            Work::Ack { receipt, .. } => {
                let late = matches!(ran.answered.ack, Some((AckVerdict::Late, _)));
                if late && decided.contains(&receipt.followup) {
                    return Err(format!("the ack of {} came with its deadline and lost", receipt.followup));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Durable from here on: the oracle sees every row as it changes.
    fn write(&mut self, ran: &Ran, when: When) -> Verdict {
        for (key, version, row) in &ran.unit {
            self.isolated(ran.job.workspace, *key, row)?;
            let (Key::Followup(id), Row::Followup(after)) = (key, row) else { continue };
            let (name, workspace) = (ran.job.work.name(), after.workspace);
            let leg = (&after.state.text.status, &after.state.email.status);
            self.say(format_args!(
                "[{workspace}] {name} → {id}: {:?} text {:?} email {:?}",
                after.state.stage, leg.0, leg.1
            ));
            let before = self.store.followup(*id);
            let policy = &self.policies[after.workspace];
            self.oracle.committed(*id, *version, before, after, when, self.now, policy)?;
        }
        if let Some((conversation, seq)) = ran.answered.seen {
            self.oracle.saw(conversation, seq);
        }
        if let Some(message) = ran.answered.withdrawn {
            self.oracle.withdrew(ran.job.workspace, message);
        }
        self.store.write(&ran.unit, self.now);
        if self.is(Mutant::LostWakeup)
            && let Some((Key::Followup(id), ..)) = ran.unit.last()
            && self.rng.chance(3)
        {
            self.store.forget_wake(*id);
        }
        Ok(())
    }

    /// No row of one workspace is ever written with the key of another.
    fn isolated(&self, workspace: usize, key: Key, row: &Row) -> Verdict {
        let of = match (key, row) {
            (Key::Customer(customer), _) => self.workspace_of[customer],
            (Key::Conversation(conversation), _) => self.workspace_of[self.customer_of[conversation]],
            (Key::Message(workspace, _), _) => workspace,
            (_, Row::Device(device)) => device.workspace,
            (_, Row::Followup(row)) => self.workspace_of[row.customer],
            _ => workspace,
        };
        if of == workspace { Ok(()) } else { Err(format!("workspace {workspace} wrote {key:?} of workspace {of}")) }
    }

    /// The mutant: a unit is not written at once.
    fn half_a_unit(&mut self, batch: &Batch) {
        if self.is(Mutant::HalfUnit)
            && let Some(ran) = batch.ran.iter().find(|ran| ran.unit.len() > 1 && self.store.fits(&ran.unit))
        {
            self.store.write(&ran.unit[1..], self.now);
        }
    }

    /// The node hears of its batch: effects and answers only now.
    pub(crate) fn told(&mut self, node: usize, epoch: u32, told: Told) -> Verdict {
        if !self.is_alive(node, epoch) {
            return Ok(());
        }
        self.nodes[node].busy = false;
        let keeps = self.is(Mutant::KeepsCache);
        match told {
            Told::Failed { jobs } => {
                if !keeps {
                    self.nodes[node].cache.clear();
                }
                for job in jobs {
                    self.answer(node, job, None)?;
                }
            }
            Told::Judged { ran, leave } => {
                let conflict = ran.iter().any(|(_, done)| !done);
                // Rows kept between batches are true only where nobody else writes: a decision that writes nothing
                // meets no conflict, and would go by old rows for ever.
                let alone = self.nodes.len() == 1 || self.is(Mutant::CacheOfMany);
                let cache = &mut self.nodes[node].cache;
                if conflict && !keeps || !alone || cache.len() > CACHE_ROWS {
                    cache.clear();
                } else {
                    cache.extend(leave);
                }
                for (ran, done) in ran {
                    // What wrote nothing may have read what was not committed.
                    if !done || conflict && ran.unit.is_empty() {
                        self.again(node, ran.job, done)?;
                    } else {
                        self.done(node, epoch, ran)?;
                    }
                }
            }
        }
        if self.nodes[node].queue.len() > MAX_WAITING {
            return Err(format!("{} pieces of work wait at node {node}", self.nodes[node].queue.len()));
        }
        self.rouse(node);
        Ok(())
    }

    fn again(&mut self, node: usize, mut job: Job, wrote_nothing: bool) -> Verdict {
        job.runs += u32::from(!wrote_nothing);
        if job.runs >= MAX_RUNS {
            self.oracle.reach("gave up");
            return self.answer(node, job, None);
        }
        self.nodes[node].queue.push(job);
        Ok(())
    }

    fn done(&mut self, node: usize, epoch: u32, ran: Ran) -> Verdict {
        self.rearm(node, &ran.unit);
        for (key, version, _) in &ran.unit {
            if let Key::Followup(id) = key {
                self.oracle.durable(*id, version + 1);
            }
        }
        for (followup, effect) in ran.effects {
            self.take_in_hand(node, epoch, followup, effect);
        }
        self.answer(node, ran.job, Some(ran.answered))
    }

    /// Tells whoever waits; `None` = it did not happen, as far as the server knows.
    fn answer(&mut self, node: usize, job: Job, answered: Option<Answered>) -> Verdict {
        match job.from {
            From::Nobody => {}
            From::Backend(op) => {
                let Some(answered) = answered else { return Ok(()) };
                if let (Work::Post(posted), Some(seq)) = (&job.work, answered.posted) {
                    self.oracle.posted(job.workspace, posted.message, seq)?;
                }
                if !self.mishap(300) {
                    self.answered_backend(op, &job);
                }
            }
            From::Phone(request) => self.answered_phone(request, answered),
            From::Forger => {
                if let Some((verdict, counted)) = answered.and_then(|a| a.ack) {
                    self.oracle.reach("forged ack refused");
                    if verdict != AckVerdict::Refused || counted {
                        return Err(format!("somebody else's receipt was answered {verdict:?}: {:?}", job.work));
                    }
                }
            }
            From::Claim => {
                if let (Work::Claiming { followup, channel }, Some(claim)) = (&job.work, answered.and_then(|a| a.claim))
                {
                    self.claimed(node, *followup, *channel, claim);
                }
            }
            From::Hand => self.stored_or_again(node, job, answered.is_some()),
        }
        Ok(())
    }

    /// Nobody else knows an outcome: it is offered until it is stored.
    fn stored_or_again(&mut self, node: usize, job: Job, stored: bool) {
        let Some((followup, channel, attempt)) = job.work.outcome_of() else { return };
        if stored {
            self.oracle.outcome_stored(followup, channel, attempt);
        } else if !self.is(Mutant::OutcomeDropped) {
            self.oracle.reach("outcome offered again");
            let epoch = self.nodes[node].epoch;
            let job = Box::new(Job { runs: 0, ..job });
            self.at(self.now + STORE_RETRY_MS, Action::Enqueue { node, epoch, job });
        }
    }

    fn answered_phone(&mut self, request: u64, answered: Option<Answered>) {
        if let Some((verdict, counted)) = answered.as_ref().and_then(|a| a.ack) {
            self.oracle.acks += 1;
            self.oracle.reach(match (verdict, counted) {
                (AckVerdict::Accepted, true) => "ack counted",
                (AckVerdict::Accepted, false) => "ack uncounted",
                (AckVerdict::Late, _) => "ack answered late",
                (AckVerdict::Duplicate, _) => "ack duplicate",
                (AckVerdict::Refused, _) => "ack refused",
            });
        }
        let Some(pending) = self.pendings.get_mut(&request) else { return };
        pending.left = pending.left.saturating_sub(1);
        pending.ok &= answered.is_some();
        if pending.left == 0 {
            let (phone, number, ok) = (pending.phone, pending.number, pending.ok);
            self.pendings.remove(&request);
            if !self.mishap(500) {
                self.later(20, 300, Action::Response { phone, number, ok });
            }
        }
    }
}
