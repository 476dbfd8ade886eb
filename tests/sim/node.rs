//! A server: batches of work against the store, an index of wake-ups, hands that send. All of it is lost in a crash.

use crate::desk::Desk;
use crate::oracle::Verdict;
use crate::phone::PushMessage;
use crate::provider::{Fate, Mood};
use crate::store::{Key, Put, Row};
use crate::work::{Answered, Receipt, Scene, Work};
use crate::world::{Action, EPOCH_MS, HOUR, MINUTE, Mutant, World};
use backstop_domain::Ms;
use backstop_domain::followup::{AckVerdict, Channel, Effect, Outcome, Stage, WakeReason};
use backstop_domain::ids::FollowupId;
use std::collections::BTreeSet;

/// How often the store is asked for due rows that no index knows.
const SWEEP_MS: Ms = 250;
const STORE_RETRY_MS: Ms = 200;

pub(crate) struct Node {
    pub(crate) up: bool,
    pub(crate) epoch: u32,
    queue: Vec<Job>,
    /// A batch is under way, or about to be.
    busy: bool,
    index: BTreeSet<(Ms, i64)>,
    fire_at: Option<Ms>,
}

impl Default for Node {
    fn default() -> Node {
        Node { up: true, epoch: 0, queue: Vec::new(), busy: false, index: BTreeSet::new(), fire_at: None }
    }
}

/// Who waits for a piece of work.
#[derive(Clone, Debug)]
pub(crate) enum From {
    Nobody,
    Backend(u64),
    Phone(u64),
    /// A hand that wants to send.
    Claim,
    /// A hand with an outcome: it offers it until it is stored.
    Hand,
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) from: From,
}

/// One effect with a hand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    Push { followup: i64, device: usize, attempt: u32, covers: u16, expires_at: Ms },
    Fallback { followup: i64, channel: Channel },
}

/// Work that ran, with what it wants written and done.
struct Ran {
    job: Job,
    unit: Vec<Put>,
    effects: Vec<(i64, Effect)>,
    answered: Answered,
}

pub(crate) struct Batch {
    ran: Vec<Ran>,
}

impl World {
    /// A node that is up, if any.
    pub(crate) fn some_node(&mut self) -> Option<(usize, u32)> {
        let up: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node].up).collect();
        if up.is_empty() {
            return None;
        }
        let node = *self.rng.pick(&up);
        Some((node, self.nodes[node].epoch))
    }

    /// Work for whichever node is there; without one it is not heard.
    pub(crate) fn deliver(&mut self, work: Work, from: From) {
        match self.some_node() {
            Some((node, epoch)) => self.enqueue(node, epoch, Job { work, from }),
            None => self.answer(usize::MAX, Job { work, from }, None),
        }
    }

    fn is_alive(&self, node: usize, epoch: u32) -> bool {
        self.nodes[node].up && self.nodes[node].epoch == epoch
    }

    pub(crate) fn enqueue(&mut self, node: usize, epoch: u32, job: Job) {
        if !self.is_alive(node, epoch) {
            return;
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
        jobs.sort_by_key(|job| job.work.rank());
        let scene = Scene {
            customer_of: &self.customer_of,
            conversations_of: &self.conversations_of,
            ack_after_decision: self.mutant == Some(Mutant::AckAfterDecision),
        };
        let mut desk = Desk::new(&self.store, self.now, &self.policies, &self.workspace_of, &mut self.next_id);
        let mut ran = Vec::with_capacity(jobs.len());
        for job in jobs {
            let answered = job.work.run(&mut desk, &scene);
            let (unit, effects) = desk.take();
            ran.push(Ran { job, unit, effects, answered });
        }
        let slow = self.mishap(5);
        let latency_ms = if slow { self.rng.between(20, 1_500) } else { self.rng.between(1, 15) };
        self.at(self.now + latency_ms, Action::Commit { node, epoch, batch: Box::new(Batch { ran }) });
    }

    /// The commit point: each unit happens whole or not at all, and the node may die on either side of it.
    pub(crate) fn commit(&mut self, node: usize, epoch: u32, batch: Batch) -> Verdict {
        if !self.is_alive(node, epoch) {
            return Ok(());
        }
        if self.mishap(2) {
            self.oracle.reach("crash before commit");
            self.crash(node);
            return Ok(());
        }
        self.nodes[node].busy = false;
        if self.now < self.store_down_until {
            batch.ran.into_iter().for_each(|ran| self.answer(node, ran.job, None));
            self.rouse(node);
            return Ok(());
        }
        let (mut done, mut left_out) = (Vec::with_capacity(batch.ran.len()), BTreeSet::new());
        for ran in batch.ran {
            // What builds on a unit that was left out is left out too; versions alone would not tell, since another
            // node may have written the very version it expects.
            let built_on_air = ran.unit.iter().any(|(key, ..)| left_out.contains(key));
            if self.mutant != Some(Mutant::NoVersions) && (built_on_air || !self.store.fits(&ran.unit)) {
                self.oracle.reach("conflict");
                left_out.extend(ran.unit.iter().map(|(key, ..)| *key));
                self.nodes[node].queue.push(ran.job);
                continue;
            }
            self.write(&ran)?;
            done.push(ran);
        }
        self.watch_sweep();
        if self.mishap(2) {
            self.oracle.reach("crash after commit");
            self.crash(node);
            return Ok(());
        }
        let unsaid = self.mishap(1);
        for ran in done {
            if unsaid {
                self.oracle.reach("commit not confirmed");
                self.answer(node, ran.job, None);
                continue;
            }
            self.rearm(node, &ran.unit);
            for (followup, effect) in ran.effects {
                self.take_in_hand(node, epoch, followup, effect);
            }
            self.answer(node, ran.job, Some(ran.answered));
        }
        self.rouse(node);
        Ok(())
    }

    /// Durable from here on: the oracle sees every row as it changes.
    fn write(&mut self, ran: &Ran) -> Verdict {
        for (key, _, row) in &ran.unit {
            let (Key::Followup(id), Row::Followup(after)) = (key, row) else { continue };
            let before = self.store.followup(FollowupId(*id)).cloned();
            if let (Work::Woke { followup }, Some(wake)) = (&ran.job.work, before.as_ref().and_then(|row| row.wake))
                && followup == id
            {
                self.oracle.woke(*id, wake.at, self.now)?;
            }
            self.trace.line(
                self.now - EPOCH_MS,
                format_args!(
                    "{} {id}: {:?} text {:?} email {:?}",
                    ran.job.work.name(),
                    after.state.stage,
                    after.state.text.status,
                    after.state.email.status
                ),
            );
            let policy = &self.policies[self.workspace_of[after.customer]];
            self.oracle.committed(*id, before.as_ref(), after, self.now, policy)?;
        }
        if let Some((conversation, seq)) = ran.answered.seen {
            self.oracle.saw(conversation, seq);
        }
        if let Some(message) = ran.answered.withdrawn {
            self.oracle.withdrew(message);
        }
        self.store.write(&ran.unit);
        Ok(())
    }

    /// Tells whoever waits; `None` = it did not happen, as far as the server knows.
    fn answer(&mut self, node: usize, job: Job, answered: Option<Answered>) {
        let heard = answered.is_some() && !self.mishap(30);
        match job.from {
            From::Nobody => {}
            From::Backend(op) => {
                if heard {
                    self.answered_backend(op, &job.work);
                }
            }
            From::Phone(request) => self.answered_phone(request, answered),
            From::Claim => {
                if let (Work::Claiming { followup, channel }, Some(attempt)) =
                    (job.work, answered.and_then(|a| a.claim))
                {
                    let epoch = self.nodes[node].epoch;
                    // A hand that is paused between its claim and its first byte: nothing else may go wrong by it.
                    let pause_ms = if self.mishap(10) { self.rng.between(100, 60_000) } else { self.rng.between(0, 3) };
                    let send = Action::Send { node, epoch, followup, channel, attempt };
                    self.at(self.now + pause_ms, send);
                }
            }
            From::Hand => {
                if answered.is_none() && node != usize::MAX {
                    let epoch = self.nodes[node].epoch;
                    let again = Action::Enqueue { node, epoch, job: Box::new(job) };
                    self.at(self.now + STORE_RETRY_MS, again);
                }
            }
        }
    }

    fn answered_phone(&mut self, request: u64, answered: Option<Answered>) {
        if let Some((verdict, counted)) = answered.as_ref().and_then(|a| a.ack) {
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
            if !self.mishap(50) {
                self.later(20, 300, Action::Response { phone, number, ok });
            }
        }
    }

    fn take_in_hand(&mut self, node: usize, epoch: u32, followup: i64, effect: Effect) {
        let task = match effect {
            Effect::SendPush { device, attempt, covers, expires_at } => {
                let device = usize::try_from(device.0).expect("few devices");
                Task::Push { followup, device, attempt, covers, expires_at }
            }
            Effect::Offer(channel) => Task::Fallback { followup, channel },
            // A claim's send is performed by the hand that claimed it.
            Effect::Send { .. } => return,
            Effect::Alarm(_) => return self.oracle.reach("alarm"),
        };
        if self.mishap(3) {
            return self.oracle.reach("effect dropped");
        }
        let busy = self.mishap(10);
        let wait_ms = if busy { self.rng.between(10, 5_000) } else { self.rng.between(0, 10) };
        self.at(self.now + wait_ms, Action::Hand { node, epoch, task });
    }

    pub(crate) fn hand(&mut self, node: usize, epoch: u32, task: Task) -> Verdict {
        if !self.is_alive(node, epoch) {
            return Ok(());
        }
        match task {
            Task::Push { .. } => self.push(node, epoch, task),
            Task::Fallback { followup, channel } => {
                let claim = Job { work: Work::Claiming { followup, channel }, from: From::Claim };
                if self.mutant == Some(Mutant::ClaimAfterSend) {
                    let attempt =
                        self.store.followup(FollowupId(followup)).map_or(1, |f| f.state.leg(channel).attempt + 1);
                    self.send(node, epoch, followup, channel, attempt)?;
                }
                self.enqueue(node, epoch, claim);
            }
        }
        Ok(())
    }

    /// The push service takes it for a token; the phone may never see it.
    fn push(&mut self, node: usize, epoch: u32, task: Task) {
        let Task::Push { followup, device, attempt, covers, expires_at } = task else { return };
        let Some(row) = self.store.device(device).cloned() else { return };
        let phone = &self.phones[device];
        let dead = phone.dead.contains(&row.token);
        let fate = if dead {
            let outcome = Outcome::TokenGone { since_ms: None, error: "UNREGISTERED".into() };
            Fate { taken: false, outcome, after_ms: self.rng.between(20, 400) }
        } else {
            self.push_mood.fate(&mut self.rng)
        };
        self.trace.line(
            self.now - EPOCH_MS,
            format_args!("push {followup} to {device} (try {attempt}, {covers} replies): {}", fate.outcome.label()),
        );
        if fate.taken && !self.mishap(30) {
            let conversation = self.store.followup(FollowupId(followup)).map_or(0, |row| row.conversation);
            let receipt = Receipt { followup, device, covers };
            let push = PushMessage { receipt, conversation, token: row.token, expires_at };
            let slow = self.mishap(50);
            let delay_ms = if slow { self.rng.between(1_000, 40_000) } else { self.rng.between(50, 900) };
            if self.mishap(20) {
                self.later(0, 60_000, Action::PushArrives { phone: device, push: push.clone() });
            }
            self.at(self.now + delay_ms, Action::PushArrives { phone: device, push });
        }
        let work = Work::PushAnswered { followup, device, attempt, outcome: fate.outcome };
        let job = Box::new(Job { work, from: From::Nobody });
        self.at(self.now + fate.after_ms, Action::Enqueue { node, epoch, job });
    }

    /// The first byte of a text or email.
    pub(crate) fn send(&mut self, node: usize, epoch: u32, followup: i64, channel: Channel, attempt: u32) -> Verdict {
        if !self.is_alive(node, epoch) {
            return Ok(());
        }
        self.oracle.sending(&self.store, followup, channel, attempt)?;
        let mood = if channel == Channel::Text { self.text_mood } else { self.email_mood };
        let mut fate: Fate = if self.chaos { mood.fate(&mut self.rng) } else { Mood::Good.fate(&mut self.rng) };
        let label = fate.outcome.label();
        self.trace.line(
            self.now - EPOCH_MS,
            format_args!("send {channel:?} {followup} (try {attempt}): taken {}, says {label}", fate.taken),
        );
        let row = self.store.followup(FollowupId(followup)).cloned().ok_or("a send of nothing")?;
        if fate.taken {
            let policy = &self.policies[self.workspace_of[row.customer]];
            self.oracle.accepted(&row, followup, channel, policy)?;
            if channel == Channel::Text && self.rng.chance(300) {
                let work = Work::Reported { followup, delivered: self.rng.chance(800) };
                self.later(10, 10 * MINUTE, Action::Deliver { work });
            }
        }
        if self.mutant == Some(Mutant::BlindResend) && matches!(fate.outcome, Outcome::Unknown { .. }) {
            fate.outcome = Outcome::RetryAfter { after_ms: None, error: "timeout".into() };
        }
        let work = Work::Said { followup, channel, attempt, outcome: fate.outcome };
        let job = Box::new(Job { work, from: From::Hand });
        self.at(self.now + fate.after_ms, Action::Enqueue { node, epoch, job });
        Ok(())
    }

    /// Everything not committed is gone: queue, index, effects, calls under way.
    fn crash(&mut self, node: usize) {
        self.trace.line(self.now - EPOCH_MS, format_args!("node {node} crashes"));
        let epoch = self.nodes[node].epoch + 1;
        self.nodes[node] = Node { up: false, epoch, ..Node::default() };
        if self.nodes.iter().all(|node| !node.up) {
            self.all_down_since = Some(self.now);
        }
        let down_ms = match self.rng.below(1_000) {
            0 => self.rng.between(6 * HOUR, 8 * HOUR),
            1..50 => self.rng.between(MINUTE, 30 * MINUTE),
            _ => self.rng.between(100, MINUTE),
        };
        self.at(self.now + down_ms, Action::Restart { node });
    }

    /// The index is filled from the store; offers nobody took are due at once.
    pub(crate) fn restart(&mut self, node: usize) {
        if self.nodes[node].up {
            return;
        }
        if let Some(since) = self.all_down_since.take() {
            self.oracle.outage(since, self.now);
        }
        self.trace.line(self.now - EPOCH_MS, format_args!("node {node} is back"));
        let epoch = self.nodes[node].epoch;
        let mut this = Node { epoch, ..Node::default() };
        for (id, wake) in self.store.pending() {
            this.index.insert((if wake.why == WakeReason::Offer { 0 } else { wake.at }, id));
        }
        self.nodes[node] = this;
        self.arm(node);
        self.watch_sweep();
    }

    fn rearm(&mut self, node: usize, unit: &[Put]) {
        for (key, _, row) in unit {
            if let (Key::Followup(id), Row::Followup(row)) = (key, row)
                && let Some(wake) = row.wake
            {
                self.nodes[node].index.insert((wake.at, *id));
            }
        }
        self.arm(node);
    }

    fn arm(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        let Some((at, _)) = this.index.first().copied() else { return };
        let at = at.max(self.now);
        if this.fire_at.is_none_or(|armed| at < armed) {
            this.fire_at = Some(at);
            let epoch = this.epoch;
            self.at(at, Action::Fire { node, epoch });
        }
    }

    pub(crate) fn fire(&mut self, node: usize, epoch: u32) {
        if !self.is_alive(node, epoch) {
            return;
        }
        self.nodes[node].fire_at = None;
        while let Some((at, id)) = self.nodes[node].index.first().copied().filter(|(at, _)| *at <= self.now) {
            self.nodes[node].index.remove(&(at, id));
            // An entry that a later commit moved is found out by the state; skip what is plainly not due.
            let wake = self.store.followup(FollowupId(id)).and_then(|row| row.wake);
            if wake.is_some_and(|wake| wake.at <= self.now || wake.why == WakeReason::Offer) {
                self.enqueue(node, epoch, Job { work: Work::Woke { followup: id }, from: From::Nobody });
            }
        }
        self.arm(node);
    }

    /// Looks at the store's own index at the next round moment after something is overdue.
    fn watch_sweep(&mut self) {
        let Some(first) = self.store.first_wake().filter(|_| self.mutant != Some(Mutant::NoSweep)) else { return };
        let round = |at: Ms| (at / SWEEP_MS + 1) * SWEEP_MS;
        let at = round((first + SWEEP_MS).max(self.now));
        if self.sweep_at.is_none_or(|armed| at < armed) {
            self.sweep_at = Some(at);
            self.at(at, Action::Sweep);
        }
    }

    pub(crate) fn sweep(&mut self) {
        self.sweep_at = None;
        let due = self.store.due(self.now - SWEEP_MS);
        for node in 0..self.nodes.len() {
            if !self.nodes[node].up {
                continue;
            }
            let epoch = self.nodes[node].epoch;
            for followup in &due {
                self.oracle.reach("swept");
                let work = Work::Woke { followup: *followup };
                self.enqueue(node, epoch, Job { work, from: From::Nobody });
            }
        }
        if self.nodes.iter().any(|node| node.up) {
            self.watch_sweep();
        }
    }

    /// Whether a follow-up of this conversation is still undecided.
    pub(crate) fn waits(&self, followup: i64) -> bool {
        self.store.followup(FollowupId(followup)).is_some_and(|row| row.state.stage == Stage::Waiting)
    }
}
