//! What must hold in every state, and that from every state it goes on to an outcome.

use crate::design::Design;
use crate::engine::Model;
use crate::state::{Hand, Row, State, Store, store_hash};
use backstop_domain::followup::wake;
use backstop_domain::followup::{Channel, Decision, Effect, Event, Followup, LegStatus, Outcome, PublicState, Stage};
use stateright::Property;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

/// A rule that was broken on the way to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Broken {
    TwoOutcomes,
    SentAfterAck,
    SecondText,
    TwoHolders,
    RepeatChanges,
    ClaimAfterLateAck,
    SentBeforeClaim,
    RecordLies,
    Stuck,
}

/// What the searches of the design as built must come across: a search that reaches nothing proves nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Met {
    Acked,
    FellBack,
    Failed,
    Cancelled,
    LateAck,
    Conflict,
    LateSend,
    UnknownText,
    RepeatedEmail,
    Unconfirmed,
    Joined,
    Split,
    SettledByNewer,
    ClaimNoticed,
    Report,
    SecondFollowup,
}

impl Met {
    pub(crate) const ALL: [Met; 16] = [
        Met::Acked,
        Met::FellBack,
        Met::Failed,
        Met::Cancelled,
        Met::LateAck,
        Met::Conflict,
        Met::LateSend,
        Met::UnknownText,
        Met::RepeatedEmail,
        Met::Unconfirmed,
        Met::Joined,
        Met::Split,
        Met::SettledByNewer,
        Met::ClaimNoticed,
        Met::Report,
        Met::SecondFollowup,
    ];
}

pub(crate) const ONE_OUTCOME: &str = "one outcome is committed";
pub(crate) const SILENCE: &str = "after a counted ack was committed in time nothing leaves";
pub(crate) const ONE_TEXT: &str = "one text at most";
pub(crate) const NOT_BEFORE_CLAIM: &str = "no byte leaves before its claim is committed";
pub(crate) const STUCK: &str = "from every state, once nothing fails any more, each follow-up comes to its end";

/// Every rule by its sentence.
pub(crate) fn properties() -> Vec<Property<Model>> {
    vec![
        Property::always(ONE_OUTCOME, |m, s| m.holds(Broken::TwoOutcomes, s)),
        Property::always(SILENCE, |m, s| m.holds(Broken::SentAfterAck, s)),
        Property::always(ONE_TEXT, |m, s| m.holds(Broken::SecondText, s)),
        Property::always("one node holds a live claim", |m, s| m.holds(Broken::TwoHolders, s)),
        Property::always("a repeated event changes nothing", |m, s| m.holds(Broken::RepeatChanges, s)),
        Property::always("after a late ack nothing is claimed", |m, s| m.holds(Broken::ClaimAfterLateAck, s)),
        Property::always(NOT_BEFORE_CLAIM, |m, s| m.holds(Broken::SentBeforeClaim, s)),
        Property::always("the record does not deny what was sent, and wakes when it must", |m, s| {
            m.holds(Broken::RecordLies, s)
        }),
        Property::always(STUCK, |m, s| m.first(Broken::Stuck, m.heals(s))),
    ]
}

/// Judges one commit by the state before and after it.
pub(crate) fn committed(
    model: &Model,
    state: &mut State,
    row: usize,
    before: &Followup,
    event: &Event,
    decision: &Decision,
) {
    let after = &decision.next;
    let mut broken = None;
    for effect in &decision.effects {
        if let Effect::Send { channel, attempt } = effect {
            state.world[row].claimed.push((*channel, *attempt));
            if before.late_ack_at.is_some() && before.unseen().next().is_none() {
                broken = Some(Broken::ClaimAfterLateAck);
            }
            if has_live_holder(state, row, *channel) && model.search.design != Design::SendBeforeClaim {
                broken = Some(Broken::TwoHolders);
            }
        }
    }
    let world = &mut state.world[row];
    let outcome = after.public_state().filter(|state| state.is_outcome());
    // A standby that lacks it may lose an outcome, too; what is shown there is what the customer gets.
    let kept = model.search.design != Design::AsyncFailover;
    if kept && world.outcome.is_some() && outcome != world.outcome {
        broken = Some(Broken::TwoOutcomes);
    }
    world.outcome = world.outcome.or(outcome);
    world.acked |= matches!(after.stage, Stage::Acked { .. });
    met(model, before, event, after, outcome);
    if let Some(broken) = broken {
        state.broken.get_or_insert(broken);
    }
}

fn has_live_holder(state: &State, row: usize, channel: Channel) -> bool {
    let holds = |hand: &Hand| match hand {
        Hand::Send { row: of, channel: by, until, .. } => (*of, *by) == (row, channel) && *until > state.now,
        _ => false,
    };
    state.nodes.iter().flat_map(|node| &node.hands).any(holds)
}

fn met(model: &Model, before: &Followup, event: &Event, after: &Followup, outcome: Option<PublicState>) {
    match outcome {
        Some(PublicState::Acked) if matches!(event, Event::AckedByNewer { .. }) => model.meet(Met::SettledByNewer),
        Some(PublicState::Acked) => model.meet(Met::Acked),
        Some(PublicState::FellBack) => model.meet(Met::FellBack),
        Some(PublicState::Failed) => model.meet(Met::Failed),
        Some(PublicState::Cancelled) => model.meet(Met::Cancelled),
        _ => {}
    }
    if before.late_ack_at.is_none() && after.late_ack_at.is_some() {
        model.meet(Met::LateAck);
    }
    if matches!(after.text.status, LegStatus::Unknown(_)) {
        model.meet(Met::UnknownText);
    }
    if matches!(event, Event::Reported { .. }) {
        model.meet(Met::Report);
    }
}

/// Judges what the rows say by what really happened; called whenever either changed.
pub(crate) fn compare(model: &Model, state: &mut State) {
    let mut broken = None;
    for (row, world) in state.store.rows.iter().zip(&state.world) {
        if world.texts > 1 {
            broken = Some(Broken::SecondText);
        } else if world.acked && (world.texts, world.emails) != (0, 0) {
            broken = Some(Broken::SentAfterAck);
        }
        if model.search.design == Design::AsyncFailover {
            continue;
        }
        let legs = [(&row.state.text, world.texts), (&row.state.email, world.emails)];
        for (leg, effects) in legs {
            // A provider that refused, or said "not now", or reported a failure had its say.
            let says_unsent = matches!(
                leg.status,
                LegStatus::Idle
                    | LegStatus::Skipped(_)
                    | LegStatus::Queued(_)
                    | LegStatus::Held(_)
                    | LegStatus::Retry(_)
                    | LegStatus::Stopped
            );
            if says_unsent && !leg.left && effects > 0 {
                broken = Some(Broken::RecordLies);
            }
        }
        if row.wake != wake(&row.state) && model.search.design != Design::LostWakeUp {
            broken = Some(Broken::RecordLies);
        }
    }
    if let Some(broken) = broken {
        state.broken.get_or_insert(broken);
    }
}

/// Stores from which the end is known to be reached.
#[derive(Default)]
pub(crate) struct Healed(Mutex<HashSet<u64>>);

/// More than any way to the end takes.
const MAX_STEPS: usize = 200;

impl Model {
    fn holds(&self, rule: Broken, state: &State) -> bool {
        self.first(rule, state.broken != Some(rule))
    }

    /// The checker remembers the last of what it finds in a stretch of states; the first is the shortest way there.
    fn first(&self, rule: Broken, holds: bool) -> bool {
        let bit = 1 << rule as u32;
        holds || self.found.fetch_or(bit, Ordering::Relaxed) & bit != 0
    }

    /// From here on nothing fails, and all that nodes remembered is lost: what is due wakes, what is offered is claimed
    /// and sent, providers accept. A search for cycles would have to assume that nodes are fair; this is how they are.
    fn heals(&self, state: &State) -> bool {
        let start = store_hash(&state.store, state.now);
        if self.known().contains(&start) {
            return true;
        }
        let mut way = vec![start];
        let mut healing = State { standby: None, ..state.clone() };
        healing.nodes.iter_mut().for_each(|node| *node = Default::default());
        for _ in 0..MAX_STEPS {
            let Some(at) = next_wake(&healing.store) else { break };
            healing.now = healing.now.max(at);
            self.heal_step(&mut healing);
            way.push(store_hash(&healing.store, healing.now));
            if self.known().contains(way.last().unwrap_or(&start)) {
                break;
            }
        }
        let ended = healing.store.rows.iter().all(|row| !row.state.is_open());
        let ends = ended || way.last().is_some_and(|last| way.len() > 1 && self.known().contains(last));
        if ends {
            self.known().extend(way);
        }
        ends
    }

    fn heal_step(&self, state: &mut State) {
        let due = |row: &Row| row.wake.is_some_and(|wake| wake.at <= state.now);
        let rows: Vec<usize> = (0..state.store.rows.len()).filter(|at| due(&state.store.rows[*at])).collect();
        for row in rows {
            self.heal_event(state, row, &Event::Woke);
        }
    }

    fn heal_event(&self, state: &mut State, row: usize, event: &Event) {
        let Some(commit) = self.prepare(state, row, event) else { return };
        self.apply(state, row, &commit.decision, state.now);
        for effect in &commit.decision.effects {
            let accepted = Outcome::Accepted { provider_id: None };
            let answer = match effect {
                Effect::Offer(channel) => Event::Claiming(*channel),
                Effect::Send { channel, attempt } => {
                    Event::FallbackAnswered { channel: *channel, attempt: *attempt, outcome: accepted }
                }
                Effect::SendPush { device, attempt, .. } => {
                    Event::PushAnswered { device: *device, attempt: *attempt, outcome: accepted }
                }
                Effect::Ask { .. } | Effect::Suppress | Effect::Block(_) | Effect::Alarm(_) => continue,
            };
            self.heal_event(state, row, &answer);
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<u64>> {
        self.healed.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a store wakes next.
fn next_wake(store: &Store) -> Option<i64> {
    store.rows.iter().filter_map(|row| row.wake).map(|wake| wake.at).min()
}
