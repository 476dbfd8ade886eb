//! Agents who write, customers who come and go, phones in pockets, and the networks between.

use crate::mutant::Mutant;
use crate::node::{From, Job};
use crate::phone::{Phone, PushMessage};
use crate::work::{Posted, Receipt, Work};
use crate::world::{Action, MINUTE, Op, Pending, World};
use backstop_core::machine::Event;
use backstop_domain::Ms;
use backstop_domain::followup::{AuthorKind, Channel, Kind};
use backstop_wire::{Alerts, Grade, PresenceState};

/// A phone gives a request up after this long.
const PATIENCE_MS: Ms = 10_000;
const HEARTBEAT_MS: Ms = 30_000;

impl World {
    /// An agent turns to a conversation: a burst of replies, then a while nothing.
    pub(crate) fn agent(&mut self, conversation: usize) {
        if !self.chaos {
            return;
        }
        let mut at = self.now;
        for _ in 0..*self.rng.pick(&[1, 1, 1, 2, 2, 3, 5]) {
            self.at(at, Action::Burst { conversation });
            at += self.rng.between(0, 25_000);
        }
        self.later(MINUTE, 25 * MINUTE, Action::Agent { conversation });
    }

    pub(crate) fn burst(&mut self, conversation: usize) {
        if !self.chaos {
            return;
        }
        let workspace = self.workspace_of[self.customer_of[conversation]];
        self.messages[workspace] += 1;
        self.oracle.messages += 1;
        let message = self.messages[workspace];
        let kind = match self.rng.below(20) {
            0 => Some(Kind::Outreach),
            1..=12 => Some(Kind::Reply),
            _ => None,
        };
        let author = if self.rng.chance(100) { AuthorKind::Bot } else { AuthorKind::Agent };
        let chosen = match self.rng.below(30) {
            0 => Some(vec![Channel::Email]),
            1 => Some(vec![Channel::Push]),
            _ => None,
        };
        self.last_message.insert(conversation, message);
        self.call(workspace, Work::Post(Posted { message, conversation, kind, author, chosen }));
        if self.rng.chance(20) {
            self.later(0, MINUTE, Action::Deliver { workspace, work: Box::new(Work::Withdraw { message }) });
        }
    }

    /// A call of the backend, repeated until it is answered.
    fn call(&mut self, workspace: usize, work: Work) {
        let op = self.fresh();
        self.ops.insert(op, Op { workspace, work });
        self.at(self.now, Action::Backend { op });
    }

    pub(crate) fn backend(&mut self, op: u64) {
        let Some(Op { workspace, work }) = self.ops.get(&op) else { return };
        let (workspace, work) = (*workspace, work.clone());
        if self.mishap(200) {
            // Twice, by an impatient proxy.
            self.deliver(workspace, work.clone(), From::Backend(op));
        }
        if !self.mishap(200) {
            self.deliver(workspace, work, From::Backend(op));
        }
        self.later(1_000, 4_000, Action::Backend { op });
    }

    pub(crate) fn answered_backend(&mut self, op: u64, job: &Job) {
        if let Work::Post(posted) = &job.work {
            let followup = self.store.followup_of(job.workspace, posted.message);
            if let Some(followup) = followup.filter(|_| self.rng.chance(10)) {
                // Some backend uses the id of another company's follow-up: it must be as if there were none.
                let foreign = self.rng.chance(500);
                let workspaces = i64::try_from(self.policies.len()).expect("few");
                let workspace = if foreign { self.rng.below(workspaces) } else { -1 };
                let workspace = usize::try_from(workspace).unwrap_or(job.workspace);
                if workspace != job.workspace {
                    self.oracle.reach("foreign cancel");
                }
                self.later(0, MINUTE, Action::Deliver { workspace, work: Box::new(Work::Cancel { followup }) });
            }
        }
        self.ops.remove(&op);
    }

    /// The customer opens the page: perhaps reads, writes, looks away, vanishes.
    pub(crate) fn visit(&mut self, customer: usize) {
        if !self.chaos {
            return;
        }
        self.present(customer, PresenceState::Active);
        let heartbeats = u32::try_from(self.rng.below(12)).expect("few");
        self.at(self.now + HEARTBEAT_MS, Action::Heartbeat { customer, left: heartbeats });
        let conversation = *self.rng.pick(&self.conversations_of[customer]);
        if self.rng.chance(500) {
            self.reads(conversation);
        }
        if self.rng.chance(400) {
            let workspace = self.workspace_of[customer];
            self.later(0, 2 * MINUTE, Action::Deliver { workspace, work: Box::new(Work::Wrote { conversation }) });
        }
        self.later(2 * MINUTE, 40 * MINUTE, Action::Visit { customer });
    }

    fn reads(&mut self, conversation: usize) {
        if let Some(message) = self.last_message.get(&conversation).copied() {
            let workspace = self.workspace_of[self.customer_of[conversation]];
            self.later(0, 20_000, Action::Deliver { workspace, work: Box::new(Work::Read { conversation, message }) });
        }
    }

    fn present(&mut self, customer: usize, state: PresenceState) {
        self.deliver(self.workspace_of[customer], Work::Present { customer, source: "page", state }, From::Nobody);
    }

    pub(crate) fn heartbeat(&mut self, customer: usize, left: u32) {
        match (left, self.rng.below(10)) {
            (0, 0..=3) => self.present(customer, PresenceState::Left),
            (0, 4..=6) => self.present(customer, PresenceState::Hidden),
            // The tab was killed: the dead-man switch tells (D4).
            (0, _) => {}
            _ => {
                self.present(customer, PresenceState::Active);
                self.at(self.now + HEARTBEAT_MS, Action::Heartbeat { customer, left: left - 1 });
            }
        }
    }

    pub(crate) fn push_arrives(&mut self, phone: usize, push: PushMessage) {
        let this = &mut self.phones[phone];
        if self.now >= push.expires_at || this.dead.contains(&push.token) {
            return self.oracle.reach("push expired");
        }
        if !this.online {
            // One a conversation: the newest stays.
            let older = this.kept.get(&push.conversation).is_some_and(|kept| kept.receipt > push.receipt);
            if !older {
                this.kept.insert(push.conversation, push);
            }
            return;
        }
        let grade = if this.alerts.can_show() { Grade::Displayed } else { Grade::Suppressed };
        self.acknowledge(phone, push.conversation, push.receipt, grade);
        if grade == Grade::Displayed && self.rng.chance(250) {
            let tap = Action::Tap { phone, receipt: push.receipt, conversation: push.conversation };
            self.later(500, 2 * MINUTE, tap);
        }
    }

    fn acknowledge(&mut self, phone: usize, conversation: usize, receipt: Receipt, grade: Grade) {
        self.say(format_args!("phone {phone} records {grade:?} of {receipt:?}"));
        self.oracle.recorded(conversation, receipt, grade);
        if self.mishap(100) {
            let forger = self.rng.index(self.phones.len());
            self.later(0, 2 * MINUTE, Action::Forge { phone: forger, receipt });
        }
        let event = self.phones[phone].record(receipt, grade, self.now);
        if self.mishap(200) {
            // Killed between the record and the upload: what is durable comes with the next start.
            self.oracle.reach("killed after record");
            self.phone_event(phone, event);
            return self.phone_killed(phone);
        }
        self.phone_event(phone, event);
    }

    fn phone_killed(&mut self, phone: usize) {
        if self.is(Mutant::PhoneForgets) {
            self.phones[phone].forget();
        }
        self.phone_event(phone, Event::Abandoned);
    }

    /// P11: somebody else got hold of a receipt: another phone, of whatever company.
    pub(crate) fn forge(&mut self, phone: usize, receipt: Receipt) {
        if phone == receipt.device {
            return;
        }
        let (workspace, recorded_at) = (self.phones[phone].workspace, self.now);
        let work = Work::Ack { device: phone, receipt, grade: Grade::Opened, recorded_at };
        self.deliver(workspace, work, From::Forger);
    }

    /// P14: the customer taps: opened, and they look at the conversation.
    pub(crate) fn tap(&mut self, phone: usize, receipt: Receipt, conversation: usize) {
        self.acknowledge(phone, conversation, receipt, Grade::Opened);
        if self.chaos {
            let customer = self.customer_of[conversation];
            self.present(customer, PresenceState::Active);
            self.at(self.now + HEARTBEAT_MS, Action::Heartbeat { customer, left: 0 });
            self.reads(conversation);
        }
    }

    /// Feeds the phone's machine and does what it asks.
    pub(crate) fn phone_event(&mut self, phone: usize, event: Event) {
        let jitter = self.rng.bits();
        let asked = self.phones[phone].step(event, self.now, jitter);
        assert_eq!(asked.dropped, 0, "the device dropped an ack that was never answered");
        if let Some(works) = asked.request {
            let number = self.phones[phone].request;
            self.at(self.now + PATIENCE_MS, Action::Patience { phone, number });
            if self.phones[phone].online && !self.mishap(500) {
                if self.mishap(300) {
                    self.later(20, 30_000, Action::Request { phone, number, works: works.clone() });
                }
                self.later(20, 300, Action::Request { phone, number, works });
            }
        } else if let Some(at) = self.phones[phone].wake_at {
            self.at(at, Action::PhoneWake { phone, at });
        }
    }

    pub(crate) fn phone_wake(&mut self, phone: usize, at: Ms) {
        if self.phones[phone].wake_at == Some(at) {
            self.phone_event(phone, Event::Wake);
        }
    }

    pub(crate) fn request(&mut self, phone: usize, number: u64, works: Vec<Work>) {
        let Some((node, epoch)) = self.some_node() else {
            return self.later(20, 300, Action::Response { phone, number, ok: false });
        };
        let request = self.fresh();
        self.pendings.insert(request, Pending { phone, number, left: works.len(), ok: true });
        let workspace = self.phones[phone].workspace;
        for work in works {
            self.enqueue(node, epoch, Job::new(workspace, work, From::Phone(request)));
        }
    }

    pub(crate) fn response(&mut self, phone: usize, number: u64, ok: bool) {
        let this = &self.phones[phone];
        if this.request == number && this.is_waiting() {
            self.phone_event(phone, Phone::answer(ok));
        }
    }

    pub(crate) fn phone_online(&mut self, phone: usize) {
        self.phones[phone].online = true;
        let kept = std::mem::take(&mut self.phones[phone].kept);
        for push in kept.into_values() {
            self.later(100, 3_000, Action::PushArrives { phone, push: Box::new(push) });
        }
        self.phone_event(phone, Event::Flush);
    }

    /// A pocket's day: no network, killed, a new token, alerts off and on, somebody else logs in.
    pub(crate) fn phone_chaos(&mut self, phone: usize) {
        if !self.chaos {
            return;
        }
        match self.rng.below(10) {
            0..=3 => {
                self.phones[phone].online = false;
                self.later(1_000, 15 * MINUTE, Action::PhoneChaos { phone });
                return;
            }
            4 => self.phone_killed(phone),
            5 => {
                let old = self.phones[phone].token;
                self.phones[phone].dead.push(old);
                self.phones[phone].token = self.fresh();
                self.phone_event(phone, Event::DetailsChanged { token_known: true });
            }
            6 => {
                let denied = self.phones[phone].alerts == Alerts::Denied;
                self.phones[phone].alerts = if denied { Alerts::Allowed } else { Alerts::Denied };
                self.phone_event(phone, Event::DetailsChanged { token_known: true });
            }
            7 => self.log_in_or_out(phone),
            _ => {}
        }
        if !self.phones[phone].online {
            self.phone_online(phone);
        }
        self.later(MINUTE, 40 * MINUTE, Action::PhoneChaos { phone });
    }

    fn log_in_or_out(&mut self, phone: usize) {
        if self.phones[phone].logged_in {
            self.phones[phone].logged_in = false;
            return self.phone_event(phone, Event::LoggedOut);
        }
        let workspace = self.phones[phone].workspace;
        let others: Vec<usize> = (0..self.workspace_of.len()).filter(|c| self.workspace_of[*c] == workspace).collect();
        self.phones[phone].customer = *self.rng.pick(&others);
        self.phones[phone].logged_in = true;
        self.phone_event(phone, Event::LoggedIn);
    }
}
