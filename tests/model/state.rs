//! One state of the whole: the store, the nodes' memories, the outside world — and which states are the same.

use crate::design::Budget;
use crate::oracle::Broken;
use backstop_domain::Ms;
use backstop_domain::followup::{
    Channel, Decision, Event, Followup, Inquiry, Leg, LegStatus, PublicState, Push, PushStatus,
};
use backstop_domain::followup::{Stage, Wake, WakeReason};
use backstop_domain::ids::DeviceId;
use backstop_wire::Grade;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::mem::discriminant;
use std::sync::Arc;

/// Time moves in steps of this; every duration of the policy is a multiple of it.
pub(crate) const TICK_MS: Ms = 10_000;

/// Everything there is at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    pub(crate) now: Ms,
    pub(crate) store: Store,
    /// The store without its last commit, where a failover may bring that back.
    pub(crate) standby: Option<Store>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) world: Vec<World>,
    pub(crate) left: Budget,
    pub(crate) broken: Option<Broken>,
}

/// The database: rows with versions, one conversation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Store {
    /// Follow-up n has id n + 1.
    pub(crate) rows: Vec<Row>,
    pub(crate) conversation: u32,
    pub(crate) left_at: Option<Ms>,
}

/// One follow-up.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) version: u32,
    pub(crate) state: Arc<Followup>,
    pub(crate) wake: Option<Wake>,
}

/// A server. All of it is gone after a crash.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Node {
    pub(crate) hands: Vec<Hand>,
    pub(crate) slow: Option<Box<Commit>>,
}

/// Something a node is about to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Hand {
    /// Ask for the claim.
    Offer { row: usize, channel: Channel },
    /// Claimed: send. `checked`: it looked again whether the claim is its own (only where a design does that).
    Send { row: usize, channel: Channel, attempt: u32, until: Ms, checked: bool },
    /// Send a push.
    Push { row: usize, device: DeviceId, attempt: u32, covers: u16, expires_at: Ms, until: Ms },
    /// Store what a provider answered.
    Answer { row: usize, event: Event, until: Ms },
}

/// A decision that waits to be committed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Commit {
    pub(crate) row: usize,
    pub(crate) event: Event,
    pub(crate) row_version: u32,
    pub(crate) conversation_version: u32,
    pub(crate) decided_at: Ms,
    pub(crate) decision: Decision,
}

/// What really happened around one follow-up; nobody in the system sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct World {
    /// Versions of its push that reached a device.
    pub(crate) pushed: Vec<(DeviceId, u16)>,
    /// Texts on the customer's phone.
    pub(crate) texts: u8,
    /// Emails in the customer's inbox: repeats under one key are one.
    pub(crate) emails: u8,
    /// What the text provider reports.
    pub(crate) report: Option<bool>,
    /// Claims that were committed.
    pub(crate) claimed: Vec<(Channel, u32)>,
    /// A counted ack was committed before the decision to fall back.
    pub(crate) acked: bool,
    /// The first outcome that was committed.
    pub(crate) outcome: Option<PublicState>,
}

impl Hand {
    /// When the claim ends that it works under.
    pub(crate) fn until(&self) -> Option<Ms> {
        match self {
            Hand::Offer { .. } => None,
            Hand::Send { until, .. } | Hand::Push { until, .. } | Hand::Answer { until, .. } => Some(*until),
        }
    }

    /// Whether this is where the event comes from.
    pub(crate) fn gives(&self, of: usize, what: &Event) -> bool {
        match (self, what) {
            (Hand::Offer { row, channel }, Event::Claiming(asked)) => (*row, *channel) == (of, *asked),
            (Hand::Answer { row, event, .. }, _) => *row == of && event == what,
            _ => false,
        }
    }
}

/// Two states are one if nothing that happens later can tell them apart: times count by their distance from now, and
/// nodes by what they remember, not by their number.
impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let State { now, store, standby, nodes, world, left, broken } = self;
        let mut seen = Seen { now: *now, hasher };
        seen.store(store);
        standby.is_some().hash(seen.hasher);
        if let Some(standby) = standby {
            seen.store(standby);
            for (row, ours) in standby.rows.iter().zip(&store.rows) {
                (ours.version - row.version).hash(seen.hasher);
            }
            (store.conversation - standby.conversation).hash(seen.hasher);
        }
        let mut memories: Vec<u64> = nodes.iter().map(|node| memory(node, store, *now)).collect();
        memories.sort_unstable();
        memories.hash(hasher);
        for World { pushed, texts, emails, report, claimed, acked, outcome } in world {
            (pushed, texts, emails, report, claimed, acked, outcome).hash(hasher);
        }
        (left, broken).hash(hasher);
    }
}

/// The store as the rules see it at this time.
pub(crate) fn store_hash(store: &Store, now: Ms) -> u64 {
    let mut hasher = DefaultHasher::new();
    Seen { now, hasher: &mut hasher }.store(store);
    hasher.finish()
}

fn memory(node: &Node, store: &Store, now: Ms) -> u64 {
    let mut hands: Vec<u64> = node.hands.iter().map(|hand| hand_hash(hand, now)).collect();
    hands.sort_unstable();
    let mut hasher = DefaultHasher::new();
    hands.hash(&mut hasher);
    if let Some(commit) = &node.slow {
        let Commit { row, event, row_version, conversation_version, decided_at, decision } = &**commit;
        let version = store.rows.get(*row).map(|row| (i64::from(row.version) - i64::from(*row_version)).clamp(-2, 2));
        let conversation = i64::from(store.conversation) - i64::from(*conversation_version);
        (row, version, conversation.clamp(-2, 2), gap(*decided_at, now)).hash(&mut hasher);
        (decision.effects.len(), decision.left, decision.returned).hash(&mut hasher);
        let mut seen = Seen { now, hasher: &mut hasher };
        seen.event(event);
        seen.followup(&decision.next, None);
        if let Some(rest) = &decision.rest {
            seen.followup(&rest.next, None);
        }
    }
    hasher.finish()
}

fn hand_hash(hand: &Hand, now: Ms) -> u64 {
    let mut hasher = DefaultHasher::new();
    let seen = Seen { now, hasher: &mut hasher };
    discriminant(hand).hash(seen.hasher);
    let ahead = |at: &Ms| ahead(*at, now);
    match hand {
        Hand::Offer { row, channel } => (row, channel).hash(seen.hasher),
        Hand::Send { row, channel, attempt, until, checked } => {
            (row, channel, attempt, ahead(until), checked).hash(seen.hasher);
        }
        Hand::Push { row, device, attempt, covers, expires_at, until } => {
            (row, device, attempt, covers, ahead(expires_at), ahead(until)).hash(seen.hasher);
        }
        Hand::Answer { row, event, until } => {
            (row, ahead(until)).hash(seen.hasher);
            Seen { now, hasher: &mut hasher }.event(event);
        }
    }
    hasher.finish()
}

/// How far ahead a time is; what is past is past.
fn ahead(at: Ms, now: Ms) -> Ms {
    ((at - now) / TICK_MS).max(0)
}

/// How far away a time is, either way; the policy looks back three ticks.
fn away(at: Ms, now: Ms) -> Ms {
    ((at - now) / TICK_MS).max(-5)
}

/// How long ago the gap began: it lasts one tick.
fn gap(at: Ms, now: Ms) -> Ms {
    away(at, now).max(-1)
}

struct Seen<'a, H> {
    now: Ms,
    hasher: &'a mut H,
}

impl<H: Hasher> Seen<'_, H> {
    fn store(&mut self, store: &Store) {
        let Store { rows, conversation: _, left_at } = store;
        left_at.map(|at| gap(at, self.now)).hash(self.hasher);
        rows.len().hash(self.hasher);
        for Row { version: _, state, wake } in rows {
            self.followup(state, *left_at);
            wake.map(|w| (ahead(w.at, self.now), w.why == WakeReason::Offer)).hash(self.hasher);
        }
    }

    /// Every field of it by name, so that a new one is thought of here.
    fn followup(&mut self, f: &Followup, left_at: Option<Ms>) {
        let Followup { v: _, kind, replies, seen, started_at, deadline_at, stage, pushes, text, email, .. } = f;
        let Followup { chosen: _, late_ack_at, rest, stopped, gap_at, .. } = f;
        let now = self.now;
        (kind, replies.len(), seen, late_ack_at.is_some(), rest, stopped).hash(self.hasher);
        if f.is_open() {
            away(*deadline_at, now).hash(self.hasher);
            (gap_at.map(|at| gap(at, now)), *gap_at == left_at).hash(self.hasher);
        }
        discriminant(stage).hash(self.hasher);
        match stage {
            Stage::Watching | Stage::Waiting => {
                away(*started_at, now).hash(self.hasher);
                replies.iter().for_each(|reply| away(reply.accepted_at, now).hash(self.hasher));
            }
            Stage::FallingBack { at: _, why: _, hold_until, ended } => {
                (hold_until.map(|at| ahead(at, now)), ended.as_ref().map(discriminant)).hash(self.hasher);
            }
            Stage::Acked { .. } | Stage::FellBack { .. } | Stage::Cancelled { .. } | Stage::Failed { .. } => {}
        }
        pushes.iter().for_each(|push| self.push(push));
        [text, email].into_iter().for_each(|leg| self.leg(leg));
    }

    fn push(&mut self, push: &Push) {
        let Push { device, via: _, status, covers, attempt, at: _, provider_id: _, error: _, acks, acked, elsewhere } =
            push;
        (device, covers, attempt, acked.map(|(grade, ..)| rank(grade)), elsewhere.is_some()).hash(self.hasher);
        acks.iter().for_each(|(covers, grade)| (covers, rank(*grade)).hash(self.hasher));
        discriminant(status).hash(self.hasher);
        if let PushStatus::Claimed(at) | PushStatus::Retry(at) = status {
            ahead(*at, self.now).hash(self.hasher);
        }
    }

    fn leg(&mut self, leg: &Leg) {
        let Leg {
            status,
            attempt,
            left,
            at: _,
            provider: _,
            provider_id: _,
            error: _,
            segments: _,
            counted_at: _,
            hold: _,
            held_ms: _,
            form: _,
            since: _,
            then,
            tried,
        } = leg;
        (discriminant(status), attempt, left, then.len(), tried.len()).hash(self.hasher);
        if let LegStatus::Queued(at)
        | LegStatus::Held(at)
        | LegStatus::Claimed(at)
        | LegStatus::Retry(at)
        | LegStatus::Unknown(at) = status
        {
            ahead(*at, self.now).hash(self.hasher);
        }
        if let LegStatus::Asking(Inquiry { at, until, asked, absent, since: _, mark: _ }) = status {
            (ahead(*at, self.now), ahead(*until, self.now), asked, absent).hash(self.hasher);
        }
    }

    fn event(&mut self, event: &Event) {
        discriminant(event).hash(self.hasher);
        match event {
            Event::PushAnswered { device, attempt, outcome } => {
                (device, attempt, discriminant(outcome)).hash(self.hasher);
            }
            Event::FallbackAnswered { channel, attempt, outcome } => {
                (channel, attempt, discriminant(outcome)).hash(self.hasher);
            }
            Event::Acked { device, covers, grade, .. } => (device, covers, rank(*grade)).hash(self.hasher),
            Event::Claiming(channel) => channel.hash(self.hasher),
            Event::Reported { channel, attempt, delivered, .. } => (channel, attempt, delivered).hash(self.hasher),
            Event::MayHaveLeft { attempt, .. } => attempt.hash(self.hasher),
            Event::Asked { attempt, inquiry, found } => (attempt, inquiry, discriminant(found)).hash(self.hasher),
            Event::Woke
            | Event::AckedByNewer { .. }
            | Event::DeviceLost { .. }
            | Event::Seen { .. }
            | Event::Withdrawn { .. }
            | Event::Cancel(_) => {}
        }
    }
}

fn rank(grade: Grade) -> &'static str {
    grade.as_str()
}
