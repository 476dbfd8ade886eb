//! The rules of the follow-up, each by its id, on both sides of its numbers.

mod ack;
mod canary;
mod fallback;
mod invariants;
mod limits;
mod money;
mod quiet;
mod replies;
mod start;
mod text;
mod ways;

use super::*;
use crate::Ms;
use crate::customer::ContactSource;
use crate::device::{DeviceFacts, Standing};
use crate::ids::{DeviceId, FollowupId};
use crate::limits::Counters;
use crate::text::{Routes, TextPlan, TextService};
use crate::wallet::{Entry, Wallet};
use backstop_wire::{Alerts, Environment, Grade, PushProvider};

pub(super) const S: Ms = 1_000;
pub(super) const T0: Ms = 1_795_370_400_000;
pub(super) const A: DeviceId = DeviceId(1);
pub(super) const B: DeviceId = DeviceId(2);

/// A customer with phone and email, what is known around them, and their follow-up.
pub(super) struct Case {
    pub(super) policy: Policy,
    pub(super) phone: bool,
    pub(super) email: bool,
    pub(super) time_zone: Option<&'static str>,
    pub(super) source: ContactSource,
    pub(super) devices: Vec<DeviceFacts>,
    pub(super) online_until: Option<Ms>,
    pub(super) wrote: bool,
    pub(super) left_at: Option<Ms>,
    pub(super) engaged_at: Option<Ms>,
    pub(super) plan: Option<TextPlan>,
    pub(super) counters: Option<Counters>,
    pub(super) wallet: Option<Wallet>,
    pub(super) opted_out: bool,
    pub(super) address_marked: bool,
    pub(super) f: Followup,
    /// Everything that money did so far.
    pub(super) ledger: Vec<Entry>,
    /// Everything that was to be done so far.
    pub(super) effects: Vec<Effect>,
    pub(super) warnings: Vec<Warning>,
    pub(super) last: Decision,
}

pub(super) fn device(id: DeviceId) -> DeviceFacts {
    DeviceFacts {
        id,
        provider: PushProvider::Fcm,
        alerts: Alerts::Allowed,
        standing: Standing::Registered,
        confirmed_at: T0,
        used_at: T0,
        counted_acks: Vec::new(),
        app: None,
        carried: false,
    }
}

pub(super) fn report(channel: Channel, attempt: u32, delivered: bool, error: Option<&str>) -> Event {
    Event::Reported { channel, attempt, delivered, provider_id: None, error: error.map(str::to_owned) }
}

pub(super) fn reply(seq: i64, accepted_at: Ms) -> NewReply {
    let reply = Reply { message_id: format!("m{seq}"), seq, accepted_at, author: AuthorKind::Agent, withdrawn: false };
    NewReply { kind: None, reply, chosen: None, apps: None }
}

pub(super) fn accepted() -> Outcome {
    Outcome::Accepted { provider_id: Some("id".into()) }
}

pub(super) fn rejected() -> Outcome {
    Outcome::Rejected { error: "no".into() }
}

pub(super) fn token_gone() -> Outcome {
    Outcome::TokenGone { since_ms: None, error: "UNREGISTERED".into() }
}

pub(super) fn wrong_environment(tried: Environment) -> Outcome {
    Outcome::WrongEnvironment { tried, error: "BadDeviceToken".into() }
}

pub(super) fn retry_after(after_ms: Option<Ms>) -> Outcome {
    Outcome::RetryAfter { after_ms, error: "429".into() }
}

pub(super) fn postponed(after_ms: Option<Ms>) -> Outcome {
    Outcome::Postponed { after_ms, error: "rate_budget".into() }
}

pub(super) fn unknown() -> Outcome {
    Outcome::Unknown { error: "timeout".into() }
}

impl Case {
    /// The surroundings, with these devices and no follow-up yet.
    pub(super) fn around(devices: &[DeviceId]) -> Case {
        let blank = blank();
        Case {
            policy: Policy::sandbox(),
            phone: true,
            email: true,
            time_zone: None,
            source: ContactSource::Account,
            devices: devices.iter().copied().map(device).collect(),
            online_until: None,
            wrote: true,
            left_at: None,
            engaged_at: None,
            plan: None,
            counters: None,
            wallet: None,
            opted_out: false,
            address_marked: false,
            last: unchanged(&blank),
            f: blank,
            effects: Vec::new(),
            ledger: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// One reply at `T0`; every push accepted 100 ms later.
    pub(super) fn pushed(devices: &[DeviceId]) -> Case {
        let mut case = Case::around(devices);
        case.open(T0, reply(1, T0));
        for device in devices {
            case.push_answered(100, *device, accepted());
        }
        case
    }

    /// Nobody to push to: text and email offered at `T0`.
    pub(super) fn falling_back() -> Case {
        let mut case = Case::around(&[]);
        case.open(T0, reply(1, T0));
        case
    }

    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            phone: self.phone,
            email: self.email,
            time_zone: self.time_zone,
            source: self.source,
            devices: &self.devices,
            online_until: self.online_until,
            wrote: self.wrote,
            left_at: self.left_at,
            engaged_at: self.engaged_at,
            plan: self.plan.as_ref(),
            counters: self.counters,
            wallet: self.wallet.as_ref(),
            opted_out: self.opted_out,
            address_marked: self.address_marked,
            spare: FollowupId(77),
        }
    }

    pub(super) fn open(&mut self, now: Ms, new: NewReply) -> &mut Case {
        let Opened { decision, warnings } = open(new, &self.facts(), now, &self.policy);
        self.warnings = warnings;
        self.take(decision)
    }

    /// Whether the reply joined.
    pub(super) fn join(&mut self, after_ms: Ms, new: NewReply) -> bool {
        let decision = join(&self.f, &new, &self.facts(), T0 + after_ms, &self.policy);
        let joined = decision.is_some();
        decision.into_iter().for_each(|d| {
            self.take(d);
        });
        joined
    }

    /// The next reply, numbered and accepted then.
    pub(super) fn joins(&mut self, after_ms: Ms) -> bool {
        self.join(after_ms, reply(self.f.replies.len() as i64 + 1, T0 + after_ms))
    }

    /// An event this long after `T0`.
    pub(super) fn at(&mut self, after_ms: Ms, event: &Event) -> &mut Case {
        let decision = decide(&self.f, event, &self.facts(), T0 + after_ms, &self.policy);
        let again = decide(&decision.next, event, &self.facts(), T0 + after_ms, &self.policy);
        assert_eq!(again.next, decision.next, "the same event again changed something");
        self.take(decision)
    }

    /// A hand asks to send a text that would be this.
    pub(super) fn claiming(&mut self, after_ms: Ms, plan: &TextPlan) -> &mut Case {
        let facts = Facts { plan: Some(plan), ..self.facts() };
        let decision = decide(&self.f, &Event::Claiming(Channel::Text), &facts, T0 + after_ms, &self.policy);
        self.take(decision)
    }

    fn take(&mut self, decision: Decision) -> &mut Case {
        self.f = decision.next.clone();
        self.effects.extend(decision.effects.clone());
        if decision.left {
            self.left_at = Some(self.f.text.at.max(self.f.email.at));
        }
        if decision.returned {
            self.left_at = None;
        }
        if let Some(counters) = &decision.counters {
            self.counters = Some(**counters);
        }
        if let Some(change) = &decision.wallet {
            self.wallet = Some(change.wallet.clone());
            self.ledger.extend(change.entries.clone());
        }
        self.last = decision;
        self
    }

    pub(super) fn woke(&mut self, after_ms: Ms) -> &mut Case {
        self.at(after_ms, &Event::Woke)
    }

    pub(super) fn push_answered(&mut self, after_ms: Ms, device: DeviceId, outcome: Outcome) -> &mut Case {
        let attempt = self.push(device).attempt;
        self.at(after_ms, &Event::PushAnswered { device, attempt, outcome })
    }

    pub(super) fn acked(&mut self, after_ms: Ms, device: DeviceId, covers: u16, grade: Grade) -> Acked {
        let event = Event::Acked { device, covers, grade, recorded_at: T0 + after_ms, detail: None };
        let decision = decide(&self.f, &event, &self.facts(), T0 + after_ms, &self.policy);
        self.take(decision);
        self.last.acked.expect("an ack is answered")
    }

    /// Claims the channel and gives the provider's answer.
    pub(super) fn sent(&mut self, after_ms: Ms, channel: Channel, outcome: Outcome) -> &mut Case {
        self.claimed(after_ms, channel);
        let attempt = self.f.leg(channel).attempt;
        self.at(after_ms, &Event::FallbackAnswered { channel, attempt, outcome })
    }

    pub(super) fn claimed(&mut self, after_ms: Ms, channel: Channel) -> &mut Case {
        self.at(after_ms, &Event::Claiming(channel));
        assert!(matches!(self.f.leg(channel).status, LegStatus::Claimed(_)), "{channel:?}: {:?}", self.f.leg(channel));
        self
    }

    pub(super) fn push(&self, device: DeviceId) -> &Push {
        self.f.pushes.iter().find(|p| p.device == device).expect("it was pushed to")
    }

    pub(super) fn state(&self) -> Option<PublicState> {
        self.f.public_state()
    }

    pub(super) fn reason(&self) -> Reason {
        self.f.reason().expect("decided")
    }

    /// Texts and emails that began to leave.
    pub(super) fn sends(&self, channel: Channel) -> usize {
        self.effects.iter().filter(|e| matches!(e, Effect::Send { channel: c, .. } if *c == channel)).count()
    }

    pub(super) fn offers(&self) -> Vec<Channel> {
        let offers = self.effects.iter().filter_map(|e| match e {
            Effect::Offer(channel) => Some(*channel),
            _ => None,
        });
        offers.collect()
    }

    /// (device, attempt, covers, life in ms after `T0`) of each push that was to be sent.
    pub(super) fn pushes(&self) -> Vec<(DeviceId, u32, u16, Ms)> {
        let pushes = self.effects.iter().filter_map(|e| match e {
            Effect::SendPush { device, attempt, covers, expires_at } => {
                Some((*device, *attempt, *covers, *expires_at - T0))
            }
            _ => None,
        });
        pushes.collect()
    }

    /// How the provider was asked for the text so far.
    pub(super) fn inquiries(&self) -> Vec<u8> {
        let number = |effect: &Effect| match effect {
            Effect::Ask { inquiry, .. } => Some(*inquiry),
            _ => None,
        };
        self.effects.iter().filter_map(number).collect()
    }

    pub(super) fn alarms(&self) -> usize {
        self.effects.iter().filter(|e| matches!(e, Effect::Alarm(_))).count()
    }

    /// The wake-up, after `T0`.
    pub(super) fn wake(&self) -> Option<(Ms, WakeReason)> {
        assert_eq!(wake(&self.f), self.last.wake);
        self.last.wake.map(|w| (w.at - T0, w.why))
    }

    /// The follow-up of the rest, in the same surroundings.
    pub(super) fn rest(&self) -> Case {
        let rest = self.last.rest.as_ref().expect("replies live on");
        assert_eq!(self.f.rest.map(|(id, _)| id), Some(rest.id));
        let mut case = Case::around(&[]);
        case.policy = self.policy.clone();
        case.devices = self.devices.clone();
        case.left_at = self.left_at;
        case.f = rest.next.clone();
        case.effects = rest.effects.clone();
        case.last = Decision { wake: rest.wake, effects: rest.effects.clone(), ..unchanged(&rest.next) };
        case
    }
}

pub(super) fn unchanged(f: &Followup) -> Decision {
    Decision {
        next: f.clone(),
        changed: false,
        effects: Vec::new(),
        wake: wake(f),
        note: None,
        rest: None,
        left: false,
        returned: false,
        counters: None,
        wallet: None,
        acked: None,
    }
}

fn blank() -> Followup {
    Followup {
        v: 1,
        kind: Kind::Reply,
        replies: vec![reply(1, T0).reply],
        seen: 0,
        started_at: T0,
        deadline_at: 0,
        stage: Stage::Watching,
        pushes: Vec::new(),
        text: Leg::idle(T0),
        email: Leg::idle(T0),
        chosen: None,
        apps: None,
        late_ack_at: None,
        rest: None,
        stopped: false,
        gap_at: None,
    }
}
