//! A phone: the SDK core's own machine, what is durable on it, and what its platform keeps for it.

use crate::work::{Receipt, Work};
use crate::world::HOUR;
use backstop_core::machine::{self, AckId, Answer, Effect, Event, InFlight, PendingAck, Policy, State};
use backstop_domain::Ms;
use backstop_wire::{Alerts, Grade};
use std::collections::BTreeMap;

/// A push as the platform holds it.
#[derive(Clone, Debug)]
pub(crate) struct PushMessage {
    pub(crate) receipt: Receipt,
    pub(crate) conversation: usize,
    pub(crate) token: u64,
    pub(crate) expires_at: Ms,
}

pub(crate) struct Phone {
    pub(crate) device: usize,
    /// The company whose app it is.
    pub(crate) workspace: usize,
    pub(crate) customer: usize,
    pub(crate) logged_in: bool,
    pub(crate) token: u64,
    /// Tokens of this phone that the provider no longer knows.
    pub(crate) dead: Vec<u64>,
    pub(crate) alerts: Alerts,
    pub(crate) online: bool,
    /// Kept by the platform while it is offline: one a conversation (one collapse id each).
    pub(crate) kept: BTreeMap<usize, PushMessage>,
    state: State,
    receipts: BTreeMap<AckId, Receipt>,
    next_ack: AckId,
    /// Number of the request in flight; answers to others come too late.
    pub(crate) request: u64,
    /// The wake-up that is armed.
    pub(crate) wake_at: Option<Ms>,
}

/// What the machine asked for.
#[derive(Default)]
pub(crate) struct Asked {
    /// A request to the server: one piece of work each.
    pub(crate) request: Option<Vec<Work>>,
    /// Acks that left the device without an answer. There must be none.
    pub(crate) dropped: usize,
}

impl Phone {
    pub(crate) fn new(device: usize, workspace: usize, customer: usize, token: u64) -> Phone {
        Phone {
            device,
            workspace,
            customer,
            logged_in: true,
            token,
            dead: Vec::new(),
            alerts: Alerts::Allowed,
            online: true,
            kept: BTreeMap::new(),
            state: State::default(),
            receipts: BTreeMap::new(),
            next_ack: 0,
            request: 0,
            wake_at: None,
        }
    }

    /// Feeds the machine and collects what it wants.
    pub(crate) fn step(&mut self, event: Event, now: Ms, jitter: u64) -> Asked {
        let state = std::mem::take(&mut self.state);
        let decision = machine::decide(state, event, now + self.ahead_ms(), jitter, &Policy::default());
        self.state = decision.state;
        self.wake_at = decision.wake.map(|wake| wake.at_ms - self.ahead_ms());
        let mut asked = Asked::default();
        for effect in decision.effects {
            match effect {
                Effect::UploadAcks { ids } => asked.request = Some(self.uploads(&ids)),
                Effect::Register { prove, .. } => {
                    let customer = prove.then_some(self.customer);
                    let (device, token, alerts) = (self.device, self.token, self.alerts);
                    asked.request = Some(vec![Work::Register { device, customer, token, alerts }]);
                }
                Effect::LogOut => asked.request = Some(vec![Work::LogOut { device: self.device }]),
                Effect::DeleteAcks { ids, why } => {
                    let answered = why == machine::Settled::Answered;
                    asked.dropped += if answered { 0 } else { ids.len() };
                    ids.iter().for_each(|id| {
                        self.receipts.remove(id);
                    });
                }
                Effect::SaveRegistration | Effect::NewInstall => {}
            }
        }
        self.request += u64::from(asked.request.is_some());
        asked
    }

    fn uploads(&self, ids: &[AckId]) -> Vec<Work> {
        let acks = ids.iter().filter_map(|id| {
            let (ack, receipt) = (self.state.pending.get(id)?, self.receipts.get(id)?);
            let device = self.device;
            Some(Work::Ack { device, receipt: *receipt, grade: ack.grade, recorded_at: ack.recorded_at_ms })
        });
        acks.collect()
    }

    /// The ack is durable from here on.
    pub(crate) fn record(&mut self, receipt: Receipt, grade: Grade, now: Ms) -> Event {
        self.next_ack += 1;
        self.receipts.insert(self.next_ack, receipt);
        Event::Recorded(PendingAck { id: self.next_ack, grade, recorded_at_ms: now + self.ahead_ms() })
    }

    /// Its clock is as wrong as clocks of phones are; nobody may go by it.
    fn ahead_ms(&self) -> Ms {
        [0, 3_000, -HOUR, 400 * 24 * HOUR, -20_000 * 24 * HOUR][self.device % 5]
    }

    /// A phone that keeps its acks in memory alone: a mutant.
    pub(crate) fn forget(&mut self) {
        self.state.pending.clear();
        self.receipts.clear();
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.state.in_flight != InFlight::Nothing
    }

    pub(crate) fn unsent(&self) -> usize {
        self.state.pending.len()
    }

    pub(crate) fn answer(ok: bool) -> Event {
        Event::Answered(if ok { Answer::Done } else { Answer::Failed { retry_after_ms: None } })
    }
}
