//! Hands that send: claim, first byte, outcome — as `server/src/perform.rs`.
//!
//! An effect that is lost comes again when its row wakes.

use crate::mutant::Mutant;
use crate::node::{From, Job};
use crate::oracle::Verdict;
use crate::phone::PushMessage;
use crate::provider::{self, Fate, Mood};
use crate::work::{Receipt, Work};
use crate::world::{Action, MINUTE, Send, World};
use backstop_domain::Ms;
use backstop_domain::followup::{Channel, Effect, Found, Outcome};

/// Kept of a claim for storing the outcome.
const CLAIM_REST_MS: Ms = 1_000;
/// With less left of its claim a send is not begun.
const MIN_SEND_MS: Ms = 2_000;

/// One effect with a hand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    Push { followup: i64, device: usize, attempt: u32, covers: u16, expires_at: Ms },
    Fallback { followup: i64, channel: Channel },
    Ask { followup: i64, attempt: u32, inquiry: u8 },
}

impl World {
    pub(crate) fn take_in_hand(&mut self, node: usize, epoch: u32, followup: i64, effect: Effect) {
        let task = match effect {
            Effect::SendPush { device, attempt, covers, expires_at } => {
                let device = usize::try_from(device.0).expect("few devices");
                Task::Push { followup, device, attempt, covers, expires_at }
            }
            Effect::Offer(channel) => Task::Fallback { followup, channel },
            Effect::Ask { attempt, inquiry, .. } => Task::Ask { followup, attempt, inquiry },
            // A claim's send is performed by the hand that claimed it; no number opts out or blocks here.
            Effect::Send { .. } | Effect::Suppress | Effect::Block(_) => return,
            Effect::Alarm(_) => return self.oracle.reach("alarm"),
        };
        if self.mishap(30) {
            return self.oracle.reach("effect dropped");
        }
        let busy = self.mishap(100);
        let wait_ms = if busy { self.rng.between(10, 5_000) } else { self.rng.between(0, 10) };
        self.at(self.now + wait_ms, Action::Hand { node, epoch, task });
    }

    pub(crate) fn hand(&mut self, node: usize, epoch: u32, task: Task) -> Verdict {
        if !self.is_alive(node, epoch) {
            return Ok(());
        }
        match task {
            Task::Push { followup, device, attempt, covers, expires_at } => {
                self.push(node, epoch, Receipt { followup, device, covers }, attempt, expires_at)
            }
            Task::Ask { followup, attempt, inquiry } => {
                self.ask(node, epoch, followup, attempt, inquiry);
                Ok(())
            }
            Task::Fallback { followup, channel } => {
                let Some(row) = self.store.followup(followup) else { return Ok(()) };
                let (workspace, attempt) = (row.workspace, row.state.leg(channel).attempt + 1);
                if self.is(Mutant::ClaimAfterSend) {
                    let send = Send { followup, channel, attempt, until: Ms::MAX, checked: true };
                    self.send(node, epoch, send)?;
                }
                let claim = Job::new(workspace, Work::Claiming { followup, channel }, From::Claim);
                self.enqueue(node, epoch, claim);
                Ok(())
            }
        }
    }

    /// The push service takes it for a token; the phone may never see it.
    fn push(&mut self, node: usize, epoch: u32, receipt: Receipt, attempt: u32, expires_at: Ms) -> Verdict {
        let Receipt { followup, device, covers } = receipt;
        let Some(row) = self.store.device(device) else { return Ok(()) };
        let (token, workspace) = (row.token, row.workspace);
        let (now, expires) = (self.node_now(node), expires_at);
        let fate = if now >= expires && !self.is(Mutant::PushTooLate) {
            // P10: it waited too long for a hand, and text and email are on their way.
            self.oracle.reach("push expired before it was sent");
            let outcome = Outcome::Postponed { after_ms: None, error: "expired_before_sent".into() };
            Fate { taken_after_ms: None, outcome, after_ms: 0, name: "not pushed" }
        } else {
            self.oracle.pushing(&self.store, receipt, attempt, now >= expires)?;
            self.push_fate(device, token)
        };
        self.oracle.reach(fate.name);
        self.say(format_args!(
            "push {followup} to {device} (try {attempt}, {covers} replies): {}",
            fate.outcome.label()
        ));
        if fate.taken_after_ms.is_some() && !self.mishap(300) {
            self.carry(receipt, token, expires_at - self.nodes[node].anchor_ms);
        }
        let work = Work::PushAnswered { followup, device, attempt, token, outcome: fate.outcome };
        let job = Box::new(Job::new(workspace, work, From::Nobody));
        self.at(self.now + fate.after_ms, Action::Enqueue { node, epoch, job });
        Ok(())
    }

    fn push_fate(&mut self, device: usize, token: u64) -> Fate {
        if self.phones[device].dead.contains(&token) {
            let outcome = Outcome::TokenGone { since_ms: None, error: "UNREGISTERED".into() };
            return Fate { taken_after_ms: None, outcome, after_ms: self.rng.between(20, 400), name: "token is gone" };
        }
        self.push_mood.fate(&mut self.rng)
    }

    /// On its way to the phone, perhaps slowly, perhaps twice.
    fn carry(&mut self, receipt: Receipt, token: u64, expires_at: Ms) {
        let phone = receipt.device;
        let conversation = self.store.followup(receipt.followup).map_or(0, |row| row.conversation);
        let push = Box::new(PushMessage { receipt, conversation, token, expires_at });
        let slow = self.mishap(500);
        let delay_ms = if slow { self.rng.between(1_000, 40_000) } else { self.rng.between(50, 900) };
        if self.mishap(200) {
            self.later(0, MINUTE, Action::PushArrives { phone, push: push.clone() });
        }
        self.at(self.now + delay_ms, Action::PushArrives { phone, push });
    }

    /// The claim is durable: the first byte follows, unless too little of it is left.
    pub(crate) fn claimed(&mut self, node: usize, followup: i64, channel: Channel, claim: (u32, Ms)) {
        let (attempt, until) = claim;
        let epoch = self.nodes[node].epoch;
        let slow = self.mishap(100);
        let pause_ms = if slow { self.rng.between(100, MINUTE) } else { self.rng.between(0, 3) };
        let send = Send { followup, channel, attempt, until, checked: false };
        self.at(self.now + pause_ms, Action::Send { node, epoch, send });
    }

    /// The first byte of a text or email.
    pub(crate) fn send(&mut self, node: usize, epoch: u32, send: Send) -> Verdict {
        if !self.is_alive(node, epoch) {
            return Ok(());
        }
        let Send { followup, channel, attempt, until, checked } = send;
        let left_ms = (until - CLAIM_REST_MS).saturating_sub(self.node_now(node));
        if !checked && left_ms < MIN_SEND_MS {
            self.oracle.reach("claim nearly over");
            self.oracle.definite(followup, channel, attempt);
            let outcome = Outcome::Postponed { after_ms: None, error: "claim_nearly_over".into() };
            self.outcome(node, epoch, send, outcome, 0);
            return Ok(());
        }
        if !checked && self.mishap(100) {
            // A hand that is paused between its look at the clock and its first byte: nothing else may go wrong by it.
            self.later(100, MINUTE, Action::Send { node, epoch, send: Send { checked: true, ..send } });
            return Ok(());
        }
        if left_ms < 0 {
            self.oracle.reach("sent after its claim");
        }
        self.oracle.sending(&self.store, followup, channel, attempt, self.now)?;
        let mood = if channel == Channel::Text { self.text_mood } else { self.email_mood };
        let fate: Fate = if self.chaos { mood.fate(&mut self.rng) } else { Mood::Good.fate(&mut self.rng) };
        self.oracle.reach(fate.name);
        let (taken, label) = (fate.taken_after_ms.is_some(), fate.outcome.label());
        self.say(format_args!("send {channel:?} {followup} (try {attempt}): taken {taken}, says {label}"));
        if let Some(after_ms) = fate.taken_after_ms {
            self.at(self.now + after_ms, Action::Taken { followup, channel, attempt });
        }
        self.outcome(node, epoch, send, fate.outcome, fate.after_ms);
        Ok(())
    }

    fn outcome(&mut self, node: usize, epoch: u32, send: Send, mut outcome: Outcome, after_ms: Ms) {
        let Send { followup, channel, attempt, .. } = send;
        let Some(workspace) = self.store.followup(followup).map(|row| row.workspace) else { return };
        if let Outcome::RetryAfter { after_ms: asked_ms, .. } | Outcome::Postponed { after_ms: asked_ms, .. } =
            &mut outcome
        {
            self.oracle.definite(followup, channel, attempt);
            if let Some(asked_ms) = asked_ms {
                self.oracle.asked(followup, channel, attempt, self.now + after_ms + *asked_ms);
                *asked_ms = if self.is(Mutant::RetryAtOnce) { 0 } else { *asked_ms };
            }
        }
        if self.is(Mutant::BlindResend) && matches!(outcome, Outcome::Unknown { .. }) {
            outcome = Outcome::RetryAfter { after_ms: None, error: "timeout".into() };
        }
        let work = match outcome {
            Outcome::Unknown { .. } if channel == Channel::Text && self.asks[workspace] => {
                Work::MayHaveLeft { followup, attempt }
            }
            outcome => Work::Said { followup, channel, attempt, outcome },
        };
        let job = Box::new(Job::new(workspace, work, From::Hand));
        self.at(self.now + after_ms, Action::Enqueue { node, epoch, job });
    }

    /// The provider is asked for a text that may have left: it knows what it took so far, if it answers.
    fn ask(&mut self, node: usize, epoch: u32, followup: i64, attempt: u32, inquiry: u8) {
        let Some(workspace) = self.store.followup(followup).map(|row| row.workspace) else { return };
        self.oracle.reach("asked");
        let is_there = self.texts.contains(&(followup, attempt));
        let found = match is_there {
            _ if self.mishap(1_000) => Found::Unclear,
            true => Found::Taken { provider_id: Some("p".into()) },
            false => Found::Absent,
        };
        if found == Found::Absent {
            self.oracle.absent(followup, attempt, inquiry);
        } else if is_there {
            self.oracle.reach("found by asking");
        }
        let work = match found {
            Found::Absent if self.is(Mutant::AskedOnce) => {
                let outcome = Outcome::RetryAfter { after_ms: None, error: "not_found".into() };
                Work::Said { followup, channel: Channel::Text, attempt, outcome }
            }
            found => Work::Asked { followup, attempt, inquiry, found },
        };
        let job = Box::new(Job::new(workspace, work, From::Nobody));
        let after_ms = self.rng.between(20, 12_000);
        self.at(self.now + after_ms, Action::Enqueue { node, epoch, job });
    }

    /// A provider takes it: from here on the customer will see it. Later it may report, or not, or twice.
    pub(crate) fn taken(&mut self, followup: i64, channel: Channel, attempt: u32) -> Verdict {
        let Some(row) = self.store.followup(followup) else {
            return Err(format!("{followup} was sent and is not stored"));
        };
        let workspace = row.workspace;
        let policy = &self.policies[workspace];
        self.oracle.accepted(row, followup, channel, policy)?;
        if channel == Channel::Text {
            self.texts.insert((followup, attempt));
        }
        for (after_ms, delivered) in provider::reports(&mut self.rng) {
            self.oracle.reach("report");
            let work = Box::new(Work::Reported { followup, channel, attempt, delivered });
            self.at(self.now + after_ms, Action::Deliver { workspace, work });
        }
        Ok(())
    }
}
