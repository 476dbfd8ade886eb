//! What can happen next, and what comes of it.

use crate::design::Design;
use crate::engine::{Model, hand};
use crate::oracle::{self, Broken, Met};
use crate::state::{Hand, State, TICK_MS};
use backstop_domain::followup::{Channel, Event, LegStatus, Outcome, Reason, WakeReason};
use stateright::Property;
use std::fmt;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Time passes; timers may be late, nodes may sleep.
    Tick,
    /// The agent writes again.
    Reply { node: usize },
    /// A node takes up an event.
    Work { node: usize, row: usize, event: Event, how: How },
    /// The slow commit of a node gets through, or comes too late.
    Finish { node: usize },
    /// The bytes of a text or email leave.
    Send { node: usize, hand: usize, heard: Heard },
    /// A push leaves.
    Push { node: usize, hand: usize, heard: Heard },
    /// The holder of a lease looks whether it is still its own.
    Check { node: usize, hand: usize },
    /// The holder of a claim sees that it is over, and does not send.
    GiveUp { node: usize, hand: usize },
    /// A node loses all it remembers.
    Crash { node: usize },
    /// The standby takes over, without the last commit.
    Failover,
}

/// How a commit goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum How {
    AtOnce,
    /// Others may come first.
    Slowly,
    /// The connection is lost: the node does not learn whether it was applied.
    Unconfirmed {
        applied: bool,
    },
}

/// What a node hears of its provider.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Heard {
    Accepted,
    /// The provider took it, and its answer was lost.
    SilenceAfterAll,
    /// The provider never got it.
    Silence,
    Refused,
    NotNow,
}

impl stateright::Model for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.first_state()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.is_some() {
            return;
        }
        if state.store.rows.iter().any(|row| row.state.is_open()) && paused(state) <= state.left.pauses {
            actions.push(Action::Tick);
        }
        if state.standby.is_some() && state.left.failovers > 0 {
            actions.push(Action::Failover);
        }
        for (node, memory) in state.nodes.iter().enumerate() {
            if memory.slow.is_some() {
                actions.push(Action::Finish { node });
            } else {
                self.work(state, node, actions);
            }
            let busy = memory.slow.is_some() || !memory.hands.is_empty();
            if busy && state.left.crashes > 0 {
                actions.push(Action::Crash { node });
            }
            for (at, hand) in memory.hands.iter().enumerate() {
                self.perform(state, node, at, hand, actions);
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Tick => {
                state.left.pauses -= paused(&state);
                state.now += TICK_MS;
            }
            Action::Reply { node } => {
                state.left.replies -= 1;
                self.reply(&mut state, node);
            }
            Action::Work { node, row, event, how } => self.take_up(&mut state, node, row, &event, how)?,
            Action::Finish { node } => self.finish(&mut state, node)?,
            Action::Send { node, hand, heard } => self.send(&mut state, node, hand, heard)?,
            Action::Push { node, hand, heard } => self.push(&mut state, node, hand, heard)?,
            Action::Check { node, hand } => check(&mut state, node, hand)?,
            Action::GiveUp { node, hand } => self.give_up(&mut state, node, hand)?,
            Action::Crash { node } => {
                state.left.crashes -= 1;
                state.nodes[node] = Default::default();
            }
            Action::Failover => {
                state.left.failovers -= 1;
                state.store = state.standby.take()?;
                state.nodes.iter_mut().for_each(|node| node.slow = None);
            }
        }
        oracle::compare(self, &mut state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Model>> {
        oracle::properties()
    }
}

/// Claims that end with the next tick while their holders still hold them.
fn paused(state: &State) -> u8 {
    let ends = |until: i64| until > state.now && until <= state.now + TICK_MS;
    let hands = state.nodes.iter().flat_map(|node| &node.hands);
    u8::try_from(hands.filter(|hand| hand.until().is_some_and(ends)).count()).unwrap_or(u8::MAX)
}

impl Model {
    /// Events that a node may take up.
    fn work(&self, state: &State, node: usize, actions: &mut Vec<Action>) {
        let mut add = |row: usize, event: Event| {
            actions.push(Action::Work { node, row, event: event.clone(), how: How::AtOnce });
            if state.left.slow > 0 && !matches!(event, Event::Reported { .. } | Event::Seen { .. }) {
                actions.push(Action::Work { node, row, event: event.clone(), how: How::Slowly });
            }
            if state.left.failovers > 0 && self.search.design != Design::AsyncFailover {
                for applied in [false, true] {
                    let how = How::Unconfirmed { applied };
                    actions.push(Action::Work { node, row, event: event.clone(), how });
                }
            }
        };
        let hands = &state.nodes[node].hands;
        for (at, row) in state.store.rows.iter().enumerate() {
            let offered = hands.iter().any(|hand| matches!(hand, Hand::Offer { row, .. } if *row == at));
            let restarted = row.wake.is_some_and(|wake| wake.why == WakeReason::Offer) && !offered;
            if restarted || row.wake.is_some_and(|wake| wake.at <= state.now) {
                add(at, Event::Woke);
            }
            for event in self.said_outside(state, at) {
                add(at, event);
            }
        }
        for hand in hands {
            match hand {
                Hand::Offer { row, channel } => add(*row, Event::Claiming(*channel)),
                Hand::Answer { row, event, .. } => add(*row, event.clone()),
                Hand::Send { .. } | Hand::Push { .. } => {}
            }
        }
        if state.left.replies > 0 {
            actions.push(Action::Reply { node });
        }
    }

    /// What phones, customers and the text provider may say now: early, late, and any number of times.
    fn said_outside(&self, state: &State, row: usize) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(world) = state.world.get(row) else { return events };
        for (device, covers) in &world.pushed {
            for grade in self.search.grades {
                events.push(Event::Acked {
                    device: *device,
                    covers: *covers,
                    grade: *grade,
                    recorded_at: state.now,
                    detail: None,
                });
            }
        }
        if world.texts > 0 {
            for delivered in [true, false] {
                let free = delivered || state.left.faults > 0;
                if world.report.map_or(free, |said| said == delivered) {
                    events.push(reported(state, row, delivered));
                }
            }
        }
        if state.left.reads > 0 {
            events.push(Event::Seen { through_seq: i64::MAX, why: Reason::CustomerRead });
        }
        events
    }

    /// What a node may do with what it holds.
    fn perform(&self, state: &State, node: usize, at: usize, held: &Hand, actions: &mut Vec<Action>) {
        let faulty = state.left.faults > 0;
        match held {
            Hand::Send { checked, until, .. } => {
                if self.search.design == Design::LeaseAndCheck && !checked {
                    return actions.push(Action::Check { node, hand: at });
                }
                actions.push(Action::Send { node, hand: at, heard: Heard::Accepted });
                let others = [Heard::SilenceAfterAll, Heard::Silence, Heard::Refused, Heard::NotNow];
                for heard in others.into_iter().filter(|_| faulty) {
                    actions.push(Action::Send { node, hand: at, heard });
                }
                if *until <= state.now {
                    actions.push(Action::GiveUp { node, hand: at });
                }
            }
            Hand::Push { .. } => {
                actions.push(Action::Push { node, hand: at, heard: Heard::Accepted });
                let others = [Heard::SilenceAfterAll, Heard::Silence, Heard::Refused, Heard::NotNow];
                for heard in others.into_iter().filter(|_| faulty) {
                    actions.push(Action::Push { node, hand: at, heard });
                }
            }
            Hand::Offer { .. } | Hand::Answer { .. } => {}
        }
    }

    fn take_up(&self, state: &mut State, node: usize, row: usize, event: &Event, how: How) -> Option<()> {
        match event {
            Event::Seen { .. } => state.left.reads -= 1,
            Event::Reported { delivered, .. } => {
                if !delivered && state.world[row].report.is_none() {
                    state.left.faults -= 1;
                }
                state.world[row].report = Some(*delivered);
            }
            _ => {}
        }
        let Some(commit) = self.prepare(state, row, event) else {
            // Nothing to write: whoever asked is answered. A pass that changed nothing is no step.
            return (how == How::AtOnce && consume(state, node, row, event)).then_some(());
        };
        match how {
            How::AtOnce => {
                self.commit(state, &commit);
                consume(state, node, row, event);
                self.hand_out(state, node, row, &commit.decision);
            }
            How::Slowly => {
                state.left.slow -= 1;
                if self.search.design == Design::SendBeforeClaim {
                    hand(&mut state.nodes[node], row, &commit.decision.next, &commit.decision.effects);
                }
                state.nodes[node].slow = Some(Box::new(commit));
            }
            How::Unconfirmed { applied } => {
                self.meet(Met::Unconfirmed);
                state.left.failovers -= 1;
                if applied {
                    self.commit(state, &commit);
                }
                // Nobody sends under a claim that is not certain; an answer is kept until it is stored.
                if matches!(event, Event::Claiming(_)) {
                    consume(state, node, row, event);
                }
            }
        }
        Some(())
    }

    fn hand_out(&self, state: &mut State, node: usize, row: usize, decision: &backstop_domain::followup::Decision) {
        hand(&mut state.nodes[node], row, &decision.next, &decision.effects);
        if let Some(rest) = &decision.rest {
            let at = state.store.rows.len() - 1;
            hand(&mut state.nodes[node], at, &rest.next, &rest.effects);
        }
    }

    fn finish(&self, state: &mut State, node: usize) -> Option<()> {
        let commit = state.nodes[node].slow.take()?;
        // A conflict leaves the work where it was: it is decided again.
        if self.commit(state, &commit) {
            consume(state, node, commit.row, &commit.event);
            if self.search.design != Design::SendBeforeClaim {
                self.hand_out(state, node, commit.row, &commit.decision);
            }
        }
        Some(())
    }

    fn send(&self, state: &mut State, node: usize, at: usize, heard: Heard) -> Option<()> {
        let Hand::Send { row, channel, attempt, until, .. } = state.nodes[node].hands.remove(at) else { return None };
        let world = &mut state.world[row];
        if !world.claimed.contains(&(channel, attempt)) {
            state.broken.get_or_insert(Broken::SentBeforeClaim);
        }
        if world.acked {
            state.broken.get_or_insert(Broken::SentAfterAck);
        }
        if until <= state.now {
            self.meet(Met::LateSend);
        }
        let took = matches!(heard, Heard::Accepted | Heard::SilenceAfterAll);
        if took && channel == Channel::Email {
            if world.emails > 0 {
                self.meet(Met::RepeatedEmail);
            }
            world.emails = 1;
        } else if took {
            world.texts = if self.search.text_key { 1 } else { world.texts.saturating_add(1) };
        }
        state.left.faults -= u8::from(heard != Heard::Accepted);
        let event = Event::FallbackAnswered { channel, attempt, outcome: outcome(heard, false) };
        state.nodes[node].hands.push(Hand::Answer { row, event, until });
        Some(())
    }

    /// A push may arrive or not; a phone that says nothing is one that it did not reach. What the provider says is
    /// stored at once, or never: a claim that ends is pushed again, and a second push is harmless.
    fn push(&self, state: &mut State, node: usize, at: usize, heard: Heard) -> Option<()> {
        let held = state.nodes[node].hands.remove(at);
        let Hand::Push { row, device, attempt, covers, expires_at, .. } = held else { return None };
        state.left.faults -= u8::from(heard != Heard::Accepted);
        if state.now < expires_at && matches!(heard, Heard::Accepted | Heard::SilenceAfterAll) {
            self.arrive(state, row, device, covers);
        }
        if heard == Heard::Silence {
            return Some(());
        }
        let heard = if state.now < expires_at { heard } else { Heard::NotNow };
        let event = Event::PushAnswered { device, attempt, outcome: outcome(heard, true) };
        if let Some(commit) = self.prepare(state, row, &event) {
            self.commit(state, &commit);
            self.hand_out(state, node, row, &commit.decision);
        }
        Some(())
    }

    /// It shows its replies, and thereby those of them that live on elsewhere by now.
    fn arrive(&self, state: &mut State, row: usize, device: backstop_domain::ids::DeviceId, covers: u16) {
        let shown = (device, covers);
        if !state.world[row].pushed.contains(&shown) {
            state.world[row].pushed.push(shown);
        }
        let Some(stored) = state.store.rows.get(row) else { return };
        if let Some((rest, from)) = stored.state.rest
            && covers >= from
        {
            let rest = usize::try_from(rest.0 - 1).unwrap_or(usize::MAX);
            if rest < state.world.len() {
                self.arrive(state, rest, device, covers - from + 1);
            }
        }
    }

    fn give_up(&self, state: &mut State, node: usize, at: usize) -> Option<()> {
        let Hand::Send { row, channel, attempt, until, .. } = state.nodes[node].hands.remove(at) else { return None };
        self.meet(Met::ClaimNoticed);
        let event = Event::FallbackAnswered { channel, attempt, outcome: outcome(Heard::NotNow, false) };
        state.nodes[node].hands.push(Hand::Answer { row, event, until });
        Some(())
    }
}

fn check(state: &mut State, node: usize, at: usize) -> Option<()> {
    let Hand::Send { row, channel, attempt, checked, .. } = &mut state.nodes[node].hands[at] else { return None };
    let leg = state.store.rows.get(*row)?.state.leg(*channel);
    let own = leg.attempt == *attempt && matches!(leg.status, LegStatus::Claimed(until) if until > state.now);
    *checked = true;
    if !own {
        state.nodes[node].hands.remove(at);
    }
    Some(())
}

/// The report of the newest try.
fn reported(state: &State, row: usize, delivered: bool) -> Event {
    let attempt = state.store.rows[row].state.text.attempt;
    Event::Reported { channel: Channel::Text, attempt, delivered, provider_id: None, error: None }
}

/// Takes out of the node's memory what the event came from; `false` = it came from elsewhere.
fn consume(state: &mut State, node: usize, row: usize, event: &Event) -> bool {
    let hands = &mut state.nodes[node].hands;
    let before = hands.len();
    hands.retain(|hand| !hand.gives(row, event));
    hands.len() < before
}

fn outcome(heard: Heard, push: bool) -> Outcome {
    match heard {
        Heard::Accepted => Outcome::Accepted { provider_id: None },
        Heard::SilenceAfterAll | Heard::Silence => Outcome::Unknown { error: String::new() },
        Heard::Refused if push => Outcome::TokenGone { since_ms: None, error: String::new() },
        Heard::Refused => Outcome::Rejected { error: String::new() },
        Heard::NotNow => Outcome::RetryAfter { after_ms: None, error: String::new() },
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |node: &usize| char::from(b'A' + u8::try_from(*node).unwrap_or(25).min(25));
        match self {
            Action::Tick => write!(f, "10 s pass"),
            Action::Reply { node } => write!(f, "{}: another reply is accepted", name(node)),
            Action::Work { node, row, event, how } => {
                let word = match event {
                    Event::Woke => "wakes".to_owned(),
                    Event::Acked { device, covers, .. } => {
                        format!("takes the ack of device {} for {covers} replies of", device.0)
                    }
                    Event::Claiming(channel) => format!("claims the {channel:?} of"),
                    Event::FallbackAnswered { channel, outcome, .. } => {
                        format!("stores \"{}\" for the {channel:?} of", outcome.label())
                    }
                    Event::PushAnswered { outcome, .. } => format!("stores \"{}\" for the push of", outcome.label()),
                    Event::Reported { delivered, .. } => format!("stores the report delivered={delivered} for"),
                    other => format!("takes {other:?} for"),
                };
                write!(f, "{}: {word} follow-up {}", name(node), row + 1)?;
                match how {
                    How::AtOnce => Ok(()),
                    How::Slowly => write!(f, ", and its commit takes long"),
                    How::Unconfirmed { applied } => write!(f, ", not confirmed (applied: {applied})"),
                }
            }
            Action::Finish { node } => write!(f, "{}: its slow commit arrives", name(node)),
            Action::Send { node, heard, .. } => write!(f, "{}: sends, and hears {heard:?}", name(node)),
            Action::Push { node, heard, .. } => write!(f, "{}: pushes, and hears {heard:?}", name(node)),
            Action::Check { node, .. } => write!(f, "{}: looks whether its claim still stands", name(node)),
            Action::GiveUp { node, .. } => write!(f, "{}: sees that its claim is over", name(node)),
            Action::Crash { node } => write!(f, "{}: crashes", name(node)),
            Action::Failover => write!(f, "the standby takes over without the last commit"),
        }
    }
}
