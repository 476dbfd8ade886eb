//! The engine's double: load, call the real rules, commit under the row's version, hand the effects to the node.

use crate::design::{Design, START_MS, Search};
use crate::oracle::{self, Broken, Met};
use crate::state::{Commit, Hand, Node, Row, State, Store, TICK_MS, World};
use backstop_domain::Ms;
use backstop_domain::customer::ContactSource;
use backstop_domain::device::DeviceFacts;
use backstop_domain::followup::{AuthorKind, Channel, Decision, Effect, Event, Facts, Followup, LegStatus};
use backstop_domain::followup::{NewReply, Policy, Reply, Stage, decide, join, open};
use backstop_domain::ids::FollowupId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A search under way: what does not change from state to state.
pub(crate) struct Model {
    pub(crate) search: Search,
    pub(crate) policy: Policy,
    pub(crate) devices: Vec<DeviceFacts>,
    pub(crate) healed: oracle::Healed,
    /// One bit for each [`Met`].
    pub(crate) met: Arc<AtomicU32>,
    /// One bit for each rule that was found broken.
    pub(crate) found: AtomicU32,
}

impl Model {
    pub(crate) fn new(search: Search, met: Arc<AtomicU32>) -> Model {
        let (policy, devices) = (search.policy(), search.device_facts());
        Model { search, policy, devices, healed: oracle::Healed::default(), met, found: AtomicU32::new(0) }
    }

    pub(crate) fn meet(&self, met: Met) {
        self.met.fetch_or(1 << met as u32, Ordering::Relaxed);
    }

    fn facts(&self, store: &Store) -> Facts<'_> {
        Facts {
            phone: true,
            email: true,
            time_zone: None,
            source: ContactSource::Account,
            devices: &self.devices,
            online_until: None,
            wrote: true,
            left_at: store.left_at,
            engaged_at: None,
            plan: None,
            counters: None,
            wallet: None,
            opted_out: false,
            address_marked: false,
            spare: FollowupId(store.rows.len() as i64 + 1),
        }
    }

    /// One reply was accepted by node 0, and its commit handed out what is to be done.
    pub(crate) fn first_state(&self) -> State {
        let store = Store { rows: Vec::new(), conversation: 0, left_at: None };
        let mut state = State {
            now: START_MS,
            store,
            standby: None,
            nodes: vec![Node::default(); self.search.nodes],
            world: Vec::new(),
            left: self.search.budget,
            broken: None,
        };
        self.reply(&mut state, 0);
        state
    }

    /// A reply joins the newest follow-up that takes it, or starts its own.
    pub(crate) fn reply(&self, state: &mut State, node: usize) {
        let now = state.now;
        let seq = state.store.rows.iter().map(|row| row.state.replies.len() as i64).sum::<i64>() + 1;
        let reply =
            Reply { message_id: format!("m{seq}"), seq, accepted_at: now, author: AuthorKind::Agent, withdrawn: false };
        let new = NewReply { kind: None, reply, chosen: None, apps: None };
        let facts = self.facts(&state.store);
        let rows = state.store.rows.iter().enumerate().rev();
        let joined = rows
            .into_iter()
            .find_map(|(at, row)| join(&row.state, &new, &facts, now, &self.policy).map(|decision| (at, decision)));
        self.remember_standby(state);
        state.store.conversation += 1;
        match joined {
            Some((at, decision)) => {
                self.meet(Met::Joined);
                self.apply(state, at, &decision, now);
                hand(&mut state.nodes[node], at, &decision.next, &decision.effects);
            }
            None => {
                if !state.store.rows.is_empty() {
                    self.meet(Met::SecondFollowup);
                }
                let opened = open(new, &facts, now, &self.policy).decision;
                let at = state.store.rows.len();
                state.store.rows.push(Row { version: 1, state: Arc::new(opened.next.clone()), wake: opened.wake });
                state.world.resize_with(at + 1, World::default);
                hand(&mut state.nodes[node], at, &opened.next, &opened.effects);
            }
        }
    }

    /// Loads and decides; `None` = nothing to be written, or no such row.
    pub(crate) fn prepare(&self, state: &mut State, row: usize, event: &Event) -> Option<Commit> {
        let store = &state.store;
        let stored = store.rows.get(row)?;
        let facts = self.facts(store);
        let mut before = Arc::clone(&stored.state);
        self.misread(&mut before, event, state.now);
        let mut decision = decide(&before, event, &facts, state.now, &self.policy);
        self.misjudge(&before, event, &mut decision, state.now);
        let again = decide(&decision.next, event, &facts, state.now, &self.policy);
        if again.changed {
            state.broken.get_or_insert(Broken::RepeatChanges);
        }
        if !decision.changed {
            return None;
        }
        if self.search.design == Design::LostWakeUp && matches!(event, Event::Claiming(_)) {
            decision.wake = None;
        }
        Some(Commit {
            row,
            event: event.clone(),
            row_version: stored.version,
            conversation_version: store.conversation,
            decided_at: state.now,
            decision,
        })
    }

    /// A lease that ended says nothing of what its holder did.
    fn misread(&self, before: &mut Arc<Followup>, event: &Event, now: Ms) {
        if *event != Event::Woke || !matches!(self.search.design, Design::LeaseOnly | Design::LeaseAndCheck) {
            return;
        }
        let f = Arc::make_mut(before);
        for leg in [&mut f.text, &mut f.email] {
            if matches!(leg.status, LegStatus::Claimed(until) if until <= now) {
                leg.status = LegStatus::Queued(now);
            }
        }
    }

    /// An ack that counts although the fallback was decided, since just then nothing is claimed.
    fn misjudge(&self, before: &Followup, event: &Event, decision: &mut Decision, now: Ms) {
        let Event::Acked { device, .. } = event else { return };
        let idle = |leg: LegStatus| matches!(leg, LegStatus::Queued(_) | LegStatus::Held(_) | LegStatus::Retry(_));
        let falling = matches!(before.stage, Stage::FallingBack { .. });
        if self.search.design != Design::AckBetweenTries || !falling || !idle(before.text.status) {
            return;
        }
        decision.next.stage = Stage::Acked { at: now, by: Some(*device) };
        decision.next.text.status = LegStatus::Stopped;
        decision.next.email.status = LegStatus::Stopped;
        decision.wake = None;
        if let Some(acked) = &mut decision.acked {
            acked.counted = true;
        }
    }

    /// One atomic commit; `false` = somebody was faster.
    pub(crate) fn commit(&self, state: &mut State, commit: &Commit) -> bool {
        let Commit { row, row_version, conversation_version, decision, event, decided_at } = commit;
        let Some(stored) = state.store.rows.get(*row) else { return false };
        let conversation = decision.left || decision.returned || decision.rest.is_some();
        let current =
            stored.version == *row_version && (!conversation || state.store.conversation == *conversation_version);
        if !current && self.search.design != Design::NoVersionGuard {
            self.meet(Met::Conflict);
            return false;
        }
        let before = Arc::clone(&stored.state);
        self.remember_standby(state);
        if conversation {
            state.store.conversation += 1;
        }
        self.apply(state, *row, decision, *decided_at);
        oracle::committed(self, state, *row, &before, event, decision);
        if decision.acked.is_some_and(|acked| acked.counted) {
            self.settle_older(state, *row, event, *decided_at);
        }
        true
    }

    /// P9: the same commit settles older follow-ups of the conversation.
    fn settle_older(&self, state: &mut State, row: usize, ack: &Event, now: Ms) {
        let Event::Acked { device, .. } = *ack else { return };
        let event = Event::AckedByNewer { device };
        for older in 0..row {
            let before = Arc::clone(&state.store.rows[older].state);
            let decision = decide(&before, &event, &self.facts(&state.store), now, &self.policy);
            if decision.changed {
                self.apply(state, older, &decision, now);
                oracle::committed(self, state, older, &before, &event, &decision);
            }
        }
    }

    /// The rows after a decision.
    pub(crate) fn apply(&self, state: &mut State, at: usize, decision: &Decision, now: Ms) {
        if decision.left {
            state.store.left_at = Some(now);
        } else if decision.returned {
            state.store.left_at = None;
        }
        let row = &mut state.store.rows[at];
        row.version += 1;
        row.state = Arc::new(decision.next.clone());
        row.wake = decision.wake;
        if let Some(rest) = &decision.rest {
            self.meet(Met::Split);
            // The devices keep what they were shown; a receipt of it acks the part that lives on here.
            let shown = self.carried(state, at, decision);
            state.store.rows.push(Row { version: 1, state: Arc::new(rest.next.clone()), wake: rest.wake });
            state.world.resize_with(state.store.rows.len(), World::default);
            if let Some(world) = state.world.last_mut() {
                world.pushed = shown;
            }
        }
    }

    fn carried(&self, state: &State, at: usize, decision: &Decision) -> Vec<(backstop_domain::ids::DeviceId, u16)> {
        let kept = decision.next.count();
        let beyond = |(device, covers): &(_, u16)| (*covers > kept).then(|| (*device, *covers - kept));
        state.world[at].pushed.iter().filter_map(beyond).collect()
    }

    fn remember_standby(&self, state: &mut State) {
        if self.search.design == Design::AsyncFailover {
            state.standby = Some(state.store.clone());
        }
    }
}

/// What the node that committed is to do now. The same work is not done twice at a time.
pub(crate) fn hand(node: &mut Node, row: usize, next: &Followup, effects: &[Effect]) {
    for effect in effects {
        let hand = match effect {
            Effect::Offer(channel) => Hand::Offer { row, channel: *channel },
            Effect::Send { channel, attempt } => {
                let until = claim_end(next, *channel);
                Hand::Send { row, channel: *channel, attempt: *attempt, until, checked: false }
            }
            Effect::SendPush { device, attempt, covers, expires_at } => {
                let until = next.pushes.iter().find(|push| push.device == *device).map_or(0, |push| push.at + TICK_MS);
                let (device, attempt, covers) = (*device, *attempt, *covers);
                Hand::Push { row, device, attempt, covers, expires_at: *expires_at, until }
            }
            // Its text provider cannot be asked.
            Effect::Ask { .. } | Effect::Suppress | Effect::Block(_) | Effect::Alarm(_) => continue,
        };
        if !node.hands.contains(&hand) {
            node.hands.push(hand);
        }
    }
}

fn claim_end(next: &Followup, channel: Channel) -> Ms {
    match next.leg(channel).status {
        LegStatus::Claimed(until) => until,
        _ => 0,
    }
}
