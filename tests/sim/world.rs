//! The world: one queue of what happens next, and everything that lives in it.

use crate::hands::Task;
use crate::mutant::Mutant;
use crate::node::{Batch, Job, Node, Told};
use crate::oracle::{Oracle, Verdict};
use crate::phone::{Phone, PushMessage};
use crate::provider::Mood;
use crate::rng::Rng;
use crate::store::{Key, Row, Store};
use crate::trace::Trace;
use crate::work::{Receipt, Work, blank_customer};
use backstop_domain::Ms;
use backstop_domain::followup::{Channel, Policy};
use backstop_domain::quiet::QuietHours;
use backstop_domain::text::TextService;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

pub(crate) const EPOCH_MS: Ms = 1_795_370_400_000;
pub(crate) const MINUTE: Ms = 60_000;
pub(crate) const HOUR: Ms = 60 * MINUTE;
/// How long healing may take: an email is tried for a day, and a read may come never.
/// Where workspaces are (D10).
pub(crate) const HOME: &str = "Asia/Seoul";
pub(crate) const HOME_OFFSET_MINUTES: Ms = 540;
/// Where customers are, and what their clocks show after UTC, in minutes; `None` = not known, as at home.
const ZONES: [(Option<&str>, Ms); 4] = [
    (None, HOME_OFFSET_MINUTES),
    (None, HOME_OFFSET_MINUTES),
    (Some("Asia/Kolkata"), 330),
    (Some("America/Bogota"), -300),
];
const HEALING_MS: Ms = 26 * HOUR;
/// Steps without an end are a loop.
const MAX_STEPS: u64 = 40_000_000;

/// What happens next. Small, since the queue moves them about.
pub(crate) enum Action {
    Begin { node: usize, epoch: u32 },
    Commit { node: usize, epoch: u32, batch: Box<Batch> },
    Told { node: usize, epoch: u32, told: Box<Told> },
    Fire { node: usize, epoch: u32 },
    Hand { node: usize, epoch: u32, task: Task },
    Enqueue { node: usize, epoch: u32, job: Box<Job> },
    Send { node: usize, epoch: u32, send: Send },
    Taken { followup: i64, channel: Channel, attempt: u32 },
    Sweep,
    Restart { node: usize },
    Resume,
    Trouble,
    Weather,
    PushArrives { phone: usize, push: Box<PushMessage> },
    Request { phone: usize, number: u64, works: Vec<Work> },
    Response { phone: usize, number: u64, ok: bool },
    Patience { phone: usize, number: u64 },
    PhoneWake { phone: usize, at: Ms },
    Tap { phone: usize, receipt: Receipt, conversation: usize },
    Forge { phone: usize, receipt: Receipt },
    Backend { op: u64 },
    Deliver { workspace: usize, work: Box<Work> },
    Agent { conversation: usize },
    Burst { conversation: usize },
    Visit { customer: usize },
    Heartbeat { customer: usize, left: u32 },
    PhoneChaos { phone: usize },
}

const _: () = assert!(size_of::<Action>() <= 64);

/// A text or email with the hand that claimed it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Send {
    pub(crate) followup: i64,
    pub(crate) channel: Channel,
    pub(crate) attempt: u32,
    /// When its claim ends, by the node's clock.
    pub(crate) until: Ms,
    /// The hand has looked at the clock: nothing keeps its first byte from leaving any more.
    pub(crate) checked: bool,
}

/// A call of the company's backend, repeated until it is answered.
pub(crate) struct Op {
    pub(crate) workspace: usize,
    pub(crate) work: Work,
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
    /// Elapsed time: what no clock of the world can show but every promise is measured by.
    pub(crate) now: Ms,
    /// How far the wall and database clock is from it.
    pub(crate) wall_ms: Ms,
    pub(crate) queue: BTreeMap<(Ms, u64), Action>,
    sequence: u64,
    pub(crate) trace: Trace,
    pub(crate) oracle: Oracle,
    pub(crate) store: Store,
    pub(crate) sweep_at: Option<Ms>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) phones: Vec<Phone>,
    pub(crate) policies: Vec<Policy>,
    /// Workspaces whose text provider can be asked for what it took.
    pub(crate) asks: Vec<bool>,
    /// Texts that their provider took: follow-up, try.
    pub(crate) texts: BTreeSet<(i64, u32)>,
    pub(crate) workspace_of: Vec<usize>,
    pub(crate) customer_of: Vec<usize>,
    pub(crate) conversations_of: Vec<Vec<usize>>,
    pub(crate) push_mood: Mood,
    pub(crate) text_mood: Mood,
    pub(crate) email_mood: Mood,
    pub(crate) ops: BTreeMap<u64, Op>,
    pub(crate) pendings: BTreeMap<u64, Pending>,
    pub(crate) last_message: BTreeMap<usize, u64>,
    /// Each workspace counts its messages by itself: their ids are the same everywhere.
    pub(crate) messages: Vec<u64>,
    pub(crate) next_id: i64,
    pub(crate) next_number: u64,
    pub(crate) chaos: bool,
    pub(crate) mutant: Option<Mutant>,
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Option<Mutant>, keep_trace: bool) -> World {
        let loses = matches!(mutant, Some(Mutant::NormalSync | Mutant::AsyncFailover));
        let mut world = World {
            rng: Rng::new(seed),
            now: EPOCH_MS,
            wall_ms: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            trace: Trace::new(keep_trace),
            oracle: Oracle::default(),
            store: Store::new(loses),
            sweep_at: None,
            nodes: Vec::new(),
            phones: Vec::new(),
            policies: Vec::new(),
            asks: Vec::new(),
            texts: BTreeSet::new(),
            workspace_of: Vec::new(),
            customer_of: Vec::new(),
            conversations_of: Vec::new(),
            push_mood: Mood::Good,
            text_mood: Mood::Good,
            email_mood: Mood::Good,
            ops: BTreeMap::new(),
            pendings: BTreeMap::new(),
            last_message: BTreeMap::new(),
            messages: Vec::new(),
            next_id: 0,
            next_number: 0,
            chaos: true,
            mutant,
        };
        world.people();
        world
    }

    /// Workspaces, customers with their conversations and phones, nodes; each seed has its own. Most worlds are busy,
    /// one in eight has so few customers that it comes to rest now and then.
    fn people(&mut self) {
        for _ in 0..self.rng.between(1, 4) {
            let policy = self.policy();
            self.policies.push(policy);
            let asks = self.rng.chance(600);
            self.asks.push(asks);
            self.messages.push(0);
        }
        let policy_count = self.policies.len();
        let customers = if self.rng.chance(125) { self.rng.between(1, 4) } else { self.rng.between(32, 56) };
        for customer in 0..usize::try_from(customers).expect("few") {
            let workspace = self.rng.index(policy_count);
            self.workspace_of.push(workspace);
            let (zone, offset) = *self.rng.pick(&ZONES);
            self.oracle.offsets.push(offset);
            let zone = if self.is(Mutant::HomeClock) { None } else { zone };
            let row = blank_customer(self.rng.chance(850), self.rng.chance(850), zone);
            self.store.write(&[(Key::Customer(customer), 0, Row::Customer(Rc::new(row)))], self.now);
            self.conversations_of.push(Vec::new());
            for _ in 0..*self.rng.pick(&[1, 1, 2, 2, 3]) {
                self.conversations_of[customer].push(self.customer_of.len());
                self.customer_of.push(customer);
            }
            for _ in 0..*self.rng.pick(&[0, 1, 1, 1, 2, 3]) {
                let (phone, token) = (self.phones.len(), self.fresh());
                self.phones.push(Phone::new(phone, workspace, customer, token));
            }
        }
        for _ in 0..*self.rng.pick(&[1, 1, 2, 2, 3]) {
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
        if self.rng.chance(400) {
            let (start, long) = (self.rng.between(0, 24 * 60 - 1), self.rng.between(5, 240));
            let minute = |minute: Ms| u16::try_from(minute % (24 * 60)).expect("a minute of a day");
            let (start_minute, end_minute, time_zone) = (minute(start), minute(start + long), HOME.into());
            policy.quiet = Some(QuietHours { start_minute, end_minute, time_zone });
        }
        policy.services.text = vec![TextService { idempotent: self.rng.chance(300), ..TextService::xms("text") }];
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
        self.later(0, 20 * MINUTE, Action::Trouble);
    }

    /// A number that was never used.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub(crate) fn at(&mut self, at: Ms, action: Action) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), action);
    }

    pub(crate) fn later(&mut self, from_ms: Ms, to_ms: Ms, action: Action) {
        let at = self.now + self.rng.between(from_ms, to_ms);
        self.at(at, action);
    }

    /// In chaos, true so many times in ten thousand.
    pub(crate) fn mishap(&mut self, per_myriad: i64) -> bool {
        self.chaos && self.rng.below(10_000) < per_myriad
    }

    pub(crate) fn say(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.line(self.now - EPOCH_MS, what);
    }

    /// Chaos for so long, then healing until everything is quiet.
    pub(crate) fn run(&mut self, chaos_ms: Ms) -> Verdict {
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
        self.settled()
    }

    /// Everything is quiet: nothing is open, nothing is lost, nothing was left to grow.
    fn settled(&mut self) -> Verdict {
        self.oracle.settled(&self.store, self.policies.len())?;
        if let Some(phone) = self.phones.iter().find(|phone| phone.unsent() > 0) {
            return Err(format!("phone {} never got rid of {} acks", phone.device, phone.unsent()));
        }
        if let Some(node) = self.nodes.iter().position(|node| node.waiting() > 0) {
            return Err(format!("node {node} never got through its queue of {}", self.nodes[node].waiting()));
        }
        if !self.ops.is_empty() {
            return Err(format!("{} calls of backends were never answered", self.ops.len()));
        }
        Ok(())
    }

    fn step(&mut self, at: Ms, action: Action, steps: &mut u64) -> Verdict {
        self.now = at;
        *steps += 1;
        if *steps > MAX_STEPS {
            return Err("it never comes to rest".into());
        }
        self.oracle.nothing_is_overdue(at)?;
        match self.deferred(action) {
            Some(action) => self.happen(action),
            None => Ok(()),
        }
    }

    /// Nothing open, nothing on its way.
    fn is_quiet(&self) -> bool {
        self.store.first_wake().is_none()
            && self.ops.is_empty()
            && self.phones.iter().all(|p| p.unsent() == 0 && !p.is_waiting() && p.kept.is_empty())
            && !self.queue.values().any(|action| {
                matches!(
                    action,
                    Action::PushArrives { .. }
                        | Action::Request { .. }
                        | Action::Commit { .. }
                        | Action::Told { .. }
                        | Action::Begin { .. }
                        | Action::Hand { .. }
                        | Action::Send { .. }
                        | Action::Taken { .. }
                        | Action::Enqueue { .. }
                        | Action::Deliver { .. }
                        | Action::Forge { .. }
                        | Action::Tap { .. }
                )
            })
    }

    fn happen(&mut self, action: Action) -> Verdict {
        match action {
            Action::Begin { node, epoch } => self.begin(node, epoch),
            Action::Commit { node, epoch, batch } => return self.commit(node, epoch, batch),
            Action::Told { node, epoch, told } => return self.told(node, epoch, *told),
            Action::Fire { node, epoch } => self.fire(node, epoch),
            Action::Hand { node, epoch, task } => return self.hand(node, epoch, task),
            Action::Enqueue { node, epoch, job } => self.enqueue(node, epoch, *job),
            Action::Send { node, epoch, send } => return self.send(node, epoch, send),
            Action::Taken { followup, channel, attempt } => return self.taken(followup, channel, attempt),
            Action::Sweep => self.sweep(),
            Action::Restart { node } => self.restart(node),
            Action::Resume => self.resume(),
            Action::Trouble => self.trouble(),
            Action::Weather => self.weather(),
            Action::PushArrives { phone, push } => self.push_arrives(phone, *push),
            Action::Request { phone, number, works } => self.request(phone, number, works),
            Action::Response { phone, number, ok } => self.response(phone, number, ok),
            Action::Patience { phone, number } => self.response(phone, number, false),
            Action::PhoneWake { phone, at } => self.phone_wake(phone, at),
            Action::Tap { phone, receipt, conversation } => self.tap(phone, receipt, conversation),
            Action::Forge { phone, receipt } => self.forge(phone, receipt),
            Action::Backend { op } => self.backend(op),
            Action::Deliver { workspace, work } => self.deliver(workspace, *work, crate::node::From::Nobody),
            Action::Agent { conversation } => self.agent(conversation),
            Action::Burst { conversation } => self.burst(conversation),
            Action::Visit { customer } => self.visit(customer),
            Action::Heartbeat { customer, left } => self.heartbeat(customer, left),
            Action::PhoneChaos { phone } => self.phone_chaos(phone),
        }
        Ok(())
    }
}
