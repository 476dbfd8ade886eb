//! The world: one queue of what happens next, and everything that lives in it.

use crate::node::{Batch, Job, Node, Task};
use crate::oracle::{Oracle, Verdict};
use crate::phone::{Phone, PushMessage};
use crate::provider::Mood;
use crate::rng::Rng;
use crate::store::{Key, Row, Store};
use crate::trace::Trace;
use crate::work::{Receipt, Work, blank_customer};
use backstop_domain::Ms;
use backstop_domain::followup::{Channel, Policy, TextService};
use std::collections::BTreeMap;

pub(crate) const EPOCH_MS: Ms = 1_795_370_400_000;
pub(crate) const MINUTE: Ms = 60_000;
pub(crate) const HOUR: Ms = 60 * MINUTE;
/// How long healing may take: an email is tried for a day, and a read may come never.
const HEALING_MS: Ms = 26 * HOUR;
/// Steps without an end are a loop.
const MAX_STEPS: u64 = 40_000_000;

/// A deliberate fault of the shell around the rules. The invariants must catch each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Sends first and claims after.
    ClaimAfterSend,
    /// Counts an ack that came after the fallback was decided.
    AckAfterDecision,
    /// Takes a text that may have left for one that did not.
    BlindResend,
    /// Writes rows whatever their version.
    NoVersions,
    /// Trusts the index in memory alone: no sweep.
    NoSweep,
}

pub(crate) const MUTANTS: [Mutant; 5] =
    [Mutant::ClaimAfterSend, Mutant::AckAfterDecision, Mutant::BlindResend, Mutant::NoVersions, Mutant::NoSweep];

/// What happens next.
pub(crate) enum Action {
    Begin { node: usize, epoch: u32 },
    Commit { node: usize, epoch: u32, batch: Box<Batch> },
    Fire { node: usize, epoch: u32 },
    Sweep,
    Restart { node: usize },
    Hand { node: usize, epoch: u32, task: Task },
    Enqueue { node: usize, epoch: u32, job: Box<Job> },
    Send { node: usize, epoch: u32, followup: i64, channel: Channel, attempt: u32 },
    PushArrives { phone: usize, push: PushMessage },
    Request { phone: usize, number: u64, works: Vec<Work> },
    Response { phone: usize, number: u64, ok: bool },
    Patience { phone: usize, number: u64 },
    PhoneWake { phone: usize, at: Ms },
    Tap { phone: usize, receipt: Receipt, conversation: usize },
    Backend { op: u64 },
    Deliver { work: Work },
    Agent { conversation: usize },
    Burst { conversation: usize },
    Visit { customer: usize },
    Heartbeat { customer: usize, left: u32 },
    PhoneChaos { phone: usize },
    Weather,
    StoreOutage,
}

/// A call of the company's backend, repeated until it is answered.
pub(crate) struct Op {
    pub(crate) work: Work,
    pub(crate) done: bool,
}

/// A request of a phone at the server: answered when each of its works is.
pub(crate) struct Pending {
    pub(crate) phone: usize,
    pub(crate) number: u64,
    pub(crate) left: usize,
    pub(crate) ok: bool,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: Ms,
    pub(crate) queue: BTreeMap<(Ms, u64), Action>,
    sequence: u64,
    pub(crate) trace: Trace,
    pub(crate) oracle: Oracle,
    pub(crate) store: Store,
    pub(crate) store_down_until: Ms,
    pub(crate) sweep_at: Option<Ms>,
    pub(crate) all_down_since: Option<Ms>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) phones: Vec<Phone>,
    pub(crate) policies: Vec<Policy>,
    pub(crate) workspace_of: Vec<usize>,
    pub(crate) customer_of: Vec<usize>,
    pub(crate) conversations_of: Vec<Vec<usize>>,
    pub(crate) push_mood: Mood,
    pub(crate) text_mood: Mood,
    pub(crate) email_mood: Mood,
    pub(crate) ops: BTreeMap<u64, Op>,
    pub(crate) pendings: BTreeMap<u64, Pending>,
    pub(crate) last_message: BTreeMap<usize, u64>,
    pub(crate) next_id: i64,
    pub(crate) next_number: u64,
    pub(crate) chaos: bool,
    pub(crate) mutant: Option<Mutant>,
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>, keep_trace: bool) -> World {
        let mut world = World {
            rng: Rng::new(seed),
            now: EPOCH_MS,
            queue: BTreeMap::new(),
            sequence: 0,
            trace: Trace::new(keep_trace),
            oracle: Oracle::default(),
            store: Store::default(),
            store_down_until: 0,
            sweep_at: None,
            all_down_since: None,
            nodes: Vec::new(),
            phones: Vec::new(),
            policies: Vec::new(),
            workspace_of: Vec::new(),
            customer_of: Vec::new(),
            conversations_of: Vec::new(),
            push_mood: Mood::Good,
            text_mood: Mood::Good,
            email_mood: Mood::Good,
            ops: BTreeMap::new(),
            pendings: BTreeMap::new(),
            last_message: BTreeMap::new(),
            next_id: 0,
            next_number: 0,
            chaos: true,
            mutant,
        };
        world.people();
        world
    }

    /// Workspaces, customers with their conversations and phones, nodes; each seed has its own.
    fn people(&mut self) {
        for _ in 0..self.rng.between(1, 3) {
            let policy = self.policy();
            self.policies.push(policy);
        }
        let policy_count = self.policies.len();
        for customer in 0..usize::try_from(self.rng.between(2, 8)).expect("few") {
            let workspace = self.rng.index(policy_count);
            self.workspace_of.push(workspace);
            let row = blank_customer(self.rng.chance(850), self.rng.chance(850));
            self.store.write(&[(Key::Customer(customer), 0, Row::Customer(row))]);
            self.conversations_of.push(Vec::new());
            for _ in 0..self.rng.between(1, 2) {
                self.conversations_of[customer].push(self.customer_of.len());
                self.customer_of.push(customer);
            }
            for _ in 0..*self.rng.pick(&[0, 1, 1, 1, 2, 3]) {
                let (phone, token) = (self.phones.len(), self.fresh());
                self.phones.push(Phone::new(phone, customer, token));
            }
        }
        for _ in 0..self.rng.between(1, 2) {
            self.nodes.push(Node::default());
        }
        self.wake_everyone();
    }

    fn policy(&mut self) -> Policy {
        let mut policy = Policy::sandbox();
        policy.ack_wait_ms = *self.rng.pick(&[30_000, 30_000, 30_000, 10_000, 1_000]);
        policy.channels.bot_text = self.rng.chance(300);
        policy.channels.phone_number = self.rng.chance(900);
        policy.channels.email = self.rng.chance(900);
        policy.services.text = Some(TextService { name: "text".into(), idempotent: self.rng.chance(300) });
        policy
    }

    fn wake_everyone(&mut self) {
        for phone in 0..self.phones.len() {
            self.phone_event(phone, backstop_core::machine::Event::LoggedIn);
            self.phone_event(phone, backstop_core::machine::Event::DetailsChanged { token_known: true });
            self.later(MINUTE, 40 * MINUTE, Action::PhoneChaos { phone });
        }
        for conversation in 0..self.customer_of.len() {
            self.later(0, 10 * MINUTE, Action::Agent { conversation });
        }
        for customer in 0..self.workspace_of.len() {
            self.later(0, 20 * MINUTE, Action::Visit { customer });
        }
        self.later(0, 10 * MINUTE, Action::Weather);
        self.later(0, 2 * HOUR, Action::StoreOutage);
    }

    /// A number that was never used.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub(crate) fn at(&mut self, at: Ms, action: Action) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), action);
    }

    pub(crate) fn later(&mut self, from_ms: Ms, to_ms: Ms, action: Action) {
        let at = self.now + self.rng.between(from_ms, to_ms);
        self.at(at, action);
    }

    /// In chaos, true so many times in a thousand.
    pub(crate) fn mishap(&mut self, per_mille: i64) -> bool {
        self.chaos && self.rng.chance(per_mille)
    }

    /// Chaos for so long, then healing until everything is quiet; the simulated time it took.
    pub(crate) fn run(&mut self, chaos_ms: Ms) -> Result<Ms, String> {
        let end = self.now + chaos_ms;
        let mut steps = 0;
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), action) = entry.remove_entry();
            self.step(at, action, &mut steps)?;
        }
        self.now = end;
        self.heal();
        while let Some(((at, _), action)) = self.queue.pop_first() {
            if at > end + HEALING_MS {
                break;
            }
            self.step(at, action, &mut steps)?;
            if self.is_quiet() {
                break;
            }
        }
        self.oracle.settled(&self.store)?;
        if let Some(phone) = self.phones.iter().find(|phone| phone.unsent() > 0) {
            return Err(format!("phone {} never got rid of {} acks", phone.device, phone.unsent()));
        }
        Ok(self.now - EPOCH_MS)
    }

    fn step(&mut self, at: Ms, action: Action, steps: &mut u64) -> Verdict {
        self.now = at;
        *steps += 1;
        if *steps > MAX_STEPS {
            return Err("it never comes to rest".into());
        }
        self.happen(action)
    }

    /// Nothing open, nothing on its way.
    fn is_quiet(&self) -> bool {
        self.store.first_wake().is_none()
            && self.ops.values().all(|op| op.done)
            && self.phones.iter().all(|p| p.unsent() == 0 && !p.is_waiting() && p.kept.is_empty())
            && !self.queue.values().any(|action| {
                matches!(
                    action,
                    Action::PushArrives { .. }
                        | Action::Request { .. }
                        | Action::Commit { .. }
                        | Action::Begin { .. }
                        | Action::Send { .. }
                        | Action::Enqueue { .. }
                        | Action::Deliver { .. }
                        | Action::Tap { .. }
                )
            })
    }

    /// Everything works from now on, and nobody writes any more.
    fn heal(&mut self) {
        self.chaos = false;
        self.trace.line(self.now - EPOCH_MS, format_args!("-- healing"));
        (self.push_mood, self.text_mood, self.email_mood) = (Mood::Good, Mood::Good, Mood::Good);
        self.store_down_until = self.now;
        for node in 0..self.nodes.len() {
            if !self.nodes[node].up {
                self.restart(node);
            }
        }
        for phone in 0..self.phones.len() {
            self.phone_online(phone);
        }
    }

    fn happen(&mut self, action: Action) -> Verdict {
        match action {
            Action::Begin { node, epoch } => self.begin(node, epoch),
            Action::Commit { node, epoch, batch } => return self.commit(node, epoch, *batch),
            Action::Fire { node, epoch } => self.fire(node, epoch),
            Action::Sweep => self.sweep(),
            Action::Restart { node } => self.restart(node),
            Action::Hand { node, epoch, task } => return self.hand(node, epoch, task),
            Action::Enqueue { node, epoch, job } => self.enqueue(node, epoch, *job),
            Action::Send { node, epoch, followup, channel, attempt } => {
                return self.send(node, epoch, followup, channel, attempt);
            }
            Action::PushArrives { phone, push } => self.push_arrives(phone, push),
            Action::Request { phone, number, works } => self.request(phone, number, works),
            Action::Response { phone, number, ok } => self.response(phone, number, ok),
            Action::Patience { phone, number } => self.response(phone, number, false),
            Action::PhoneWake { phone, at } => self.phone_wake(phone, at),
            Action::Tap { phone, receipt, conversation } => self.tap(phone, receipt, conversation),
            Action::Backend { op } => self.backend(op),
            Action::Deliver { work } => self.deliver(work, crate::node::From::Nobody),
            Action::Agent { conversation } => self.agent(conversation),
            Action::Burst { conversation } => self.burst(conversation),
            Action::Visit { customer } => self.visit(customer),
            Action::Heartbeat { customer, left } => self.heartbeat(customer, left),
            Action::PhoneChaos { phone } => self.phone_chaos(phone),
            Action::Weather => self.weather(),
            Action::StoreOutage => self.store_outage(),
        }
        Ok(())
    }

    fn weather(&mut self) {
        if !self.chaos {
            return;
        }
        self.push_mood = Mood::any(&mut self.rng);
        self.text_mood = Mood::any(&mut self.rng);
        self.email_mood = Mood::any(&mut self.rng);
        self.later(MINUTE, 20 * MINUTE, Action::Weather);
    }

    fn store_outage(&mut self) {
        if !self.chaos {
            return;
        }
        self.store_down_until = self.now + self.rng.between(100, 60_000);
        self.oracle.outage(self.now, self.store_down_until);
        self.oracle.reach("store outage");
        self.later(10 * MINUTE, 2 * HOUR, Action::StoreOutage);
    }
}
