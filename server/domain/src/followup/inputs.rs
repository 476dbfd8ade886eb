//! What a decision was made on, kept so that it can be made again (S7): what happened, and what was known around it.
//!
//! The state before is not kept: it is what the decisions before made of it. Nothing of a person is in it but that
//! there is a number, an address, a time zone, and devices with their times.

use super::decide::decide;
use super::effect::Note;
use super::event::{Event, Facts, NewReply};
use super::open::{join, open};
use super::policy::Policy;
use super::state::{Followup, Stage};
use crate::Ms;
use crate::customer::ContactSource;
use crate::device::{DeviceFacts, Standing};
use crate::ids::{DeviceId, FollowupId};
use crate::limits::Counters;
use crate::text::TextPlan;
use crate::wallet::Wallet;
use backstop_wire::{Alerts, PushProvider};
use serde::{Deserialize, Serialize};

/// What came to be judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It began with this reply.
    Opened(NewReply),
    /// This reply joined it.
    Joined(NewReply),
    /// It began as the rest of another (D8), as this.
    Rest(Box<Followup>),
    /// This happened.
    Event(Event),
}

/// What one decision was made on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// What came to be judged.
    #[serde(rename = "s")]
    pub step: Step,
    /// What was known.
    #[serde(rename = "k")]
    pub known: Known,
    /// When its clock was to start, of one that was only watched: that moves on without a word.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub watched_until: Option<Ms>,
    /// How often its provider had been asked what became of a text: that, too, is done without a word.
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<u8>,
    /// The version of the workspace's settings.
    #[serde(rename = "v")]
    pub settings: i64,
}

impl Inputs {
    /// Of something that happened to this follow-up.
    pub fn of(before: &Followup, event: &Event, facts: &Facts<'_>, settings: i64) -> Inputs {
        let watched_until = (before.stage == Stage::Watching).then_some(before.started_at);
        let asked = before.text.status.inquiry().map(|inquiry| inquiry.asked);
        Inputs { step: Step::Event(event.clone()), known: Known::of(facts), watched_until, asked, settings }
    }

    /// Of a reply that began one, or joined this one.
    pub fn of_reply(joined: Option<&Followup>, new: &NewReply, facts: &Facts<'_>, settings: i64) -> Inputs {
        let watched = joined.filter(|before| before.stage == Stage::Watching);
        let step = if joined.is_some() { Step::Joined(new.clone()) } else { Step::Opened(new.clone()) };
        let watched_until = watched.map(|before| before.started_at);
        Inputs { step, known: Known::of(facts), watched_until, asked: None, settings }
    }

    /// Of one that began as the rest of another.
    pub fn of_rest(state: &Followup, settings: i64) -> Inputs {
        let step = Step::Rest(Box::new(state.clone()));
        Inputs { step, known: Known::default(), watched_until: None, asked: None, settings }
    }
}

/// [`Facts`] as they are kept: short names, and nothing that says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    #[serde(rename = "p", default, skip_serializing_if = "is_false")]
    phone: bool,
    #[serde(rename = "e", default, skip_serializing_if = "is_false")]
    email: bool,
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    #[serde(rename = "c", default, skip_serializing_if = "is_account")]
    source: ContactSource,
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    devices: Vec<Device>,
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    online_until: Option<Ms>,
    #[serde(rename = "w", default, skip_serializing_if = "is_false")]
    wrote: bool,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    left_at: Option<Ms>,
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    engaged_at: Option<Ms>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    plan: Option<TextPlan>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    counters: Option<Counters>,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    wallet: Option<Wallet>,
    #[serde(rename = "x", default, skip_serializing_if = "is_false")]
    opted_out: bool,
    #[serde(rename = "m", default, skip_serializing_if = "is_false")]
    address_marked: bool,
}

/// [`DeviceFacts`] in their order: id, whose token, alerts, standing, confirmed, used, counted acks, app, carried.
type Device = (DeviceId, PushProvider, Alerts, Standing, Ms, Ms, Vec<Ms>, Option<String>, bool);

impl Known {
    /// Of the facts that a decision was made on.
    pub fn of(facts: &Facts<'_>) -> Known {
        let Facts {
            phone,
            email,
            time_zone,
            source,
            devices,
            online_until,
            wrote,
            left_at,
            engaged_at,
            plan,
            counters,
            wallet,
            opted_out,
            address_marked,
            spare: _,
        } = facts;
        Known {
            phone: *phone,
            email: *email,
            time_zone: time_zone.map(str::to_owned),
            source: *source,
            devices: devices.iter().map(kept).collect(),
            online_until: *online_until,
            wrote: *wrote,
            left_at: *left_at,
            engaged_at: *engaged_at,
            plan: plan.cloned(),
            counters: *counters,
            wallet: wallet.cloned(),
            opted_out: *opted_out,
            address_marked: *address_marked,
        }
    }

    fn facts<'a>(&'a self, devices: &'a [DeviceFacts]) -> Facts<'a> {
        Facts {
            phone: self.phone,
            email: self.email,
            time_zone: self.time_zone.as_deref(),
            source: self.source,
            devices,
            online_until: self.online_until,
            wrote: self.wrote,
            left_at: self.left_at,
            engaged_at: self.engaged_at,
            plan: self.plan.as_ref(),
            counters: self.counters,
            wallet: self.wallet.as_ref(),
            opted_out: self.opted_out,
            address_marked: self.address_marked,
            // What is split off gets an id that nothing else depends on.
            spare: FollowupId(0),
        }
    }
}

fn kept(device: &DeviceFacts) -> Device {
    let DeviceFacts { id, provider, alerts, standing, confirmed_at, used_at, counted_acks, app, carried } = device;
    let app = app.as_deref().map(str::to_owned);
    (*id, *provider, *alerts, *standing, *confirmed_at, *used_at, counted_acks.clone(), app, *carried)
}

fn device(kept: &Device) -> DeviceFacts {
    let (id, provider, alerts, standing, confirmed_at, used_at, counted_acks, app, carried) = kept.clone();
    let app = app.map(Into::into);
    DeviceFacts { id, provider, alerts, standing, confirmed_at, used_at, counted_acks, app, carried }
}

/// Makes the decisions of one follow-up again, each on what the ones before made of it.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    state: Option<Followup>,
}

impl Replay {
    /// What would be noted of this decision now; `None` = nothing, since nothing would come of it.
    pub fn decide(&mut self, at: Ms, inputs: &Inputs, policy: &Policy) -> Option<Note> {
        let devices: Vec<DeviceFacts> = inputs.known.devices.iter().map(device).collect();
        let facts = inputs.known.facts(&devices);
        if let (Some(state), Some(at)) = (&mut self.state, inputs.watched_until) {
            state.started_at = at;
        }
        let inquiry = self.state.as_mut().and_then(|state| state.text.status.inquiry_mut());
        if let (Some(inquiry), Some(asked)) = (inquiry, inputs.asked) {
            inquiry.asked = asked;
        }
        let decision = match (&inputs.step, &self.state) {
            (Step::Opened(new), _) => open(new.clone(), &facts, at, policy).decision,
            (Step::Rest(state), _) => {
                self.state = Some((**state).clone());
                return None;
            }
            (Step::Joined(new), Some(before)) => join(before, new, &facts, at, policy)?,
            (Step::Event(event), Some(before)) => decide(before, event, &facts, at, policy),
            (Step::Joined(_) | Step::Event(_), None) => return None,
        };
        self.state = Some(decision.next);
        decision.note
    }

    /// How it stands after the decisions so far.
    pub fn state(&self) -> Option<&Followup> {
        self.state.as_ref()
    }
}

fn is_false(given: &bool) -> bool {
    !given
}

fn is_account(source: &ContactSource) -> bool {
    *source == ContactSource::Account
}
