//! Pieces of work and what each does on the desk — as the works of `server/src/engine`.

use crate::desk::Desk;
use crate::store::{ConversationRow, CustomerRow, DeviceRow, FollowupRow, Key, MessageRow, Row};
use backstop_domain::Ms;
use backstop_domain::device::{DeviceFacts, Standing};
use backstop_domain::followup::{
    self, AckVerdict, AuthorKind, Channel, Effect, Event, Kind, NewReply, Outcome, Reason, Reply,
};
use backstop_domain::ids::DeviceId;
use backstop_domain::presence::Presence;
use backstop_wire::{Alerts, Grade, PresenceState, PushProvider};

/// What only one push contained: follow-up, device, replies it showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Receipt {
    pub(crate) followup: i64,
    pub(crate) device: usize,
    pub(crate) covers: u16,
}

/// A reply as the company's backend posts it.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) message: u64,
    pub(crate) conversation: usize,
    pub(crate) kind: Option<Kind>,
    pub(crate) author: AuthorKind,
    pub(crate) chosen: Option<Vec<Channel>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Work {
    Post(Posted),
    Wrote { conversation: usize },
    Read { conversation: usize, message: u64 },
    Withdraw { message: u64 },
    Cancel { followup: i64 },
    Present { customer: usize, source: &'static str, state: PresenceState },
    Register { device: usize, customer: Option<usize>, token: u64, alerts: Alerts },
    LogOut { device: usize },
    Ack { receipt: Receipt, grade: Grade, recorded_at: Ms },
    Woke { followup: i64 },
    PushAnswered { followup: i64, device: usize, attempt: u32, outcome: Outcome },
    Claiming { followup: i64, channel: Channel },
    Said { followup: i64, channel: Channel, attempt: u32, outcome: Outcome },
    Reported { followup: i64, delivered: bool },
}

/// What a piece of work came to, for whoever waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answered {
    /// The verdict of an ack.
    pub(crate) ack: Option<(AckVerdict, bool)>,
    /// A claim that holds: its attempt.
    pub(crate) claim: Option<u32>,
    /// The replies of a conversation are seen up to here.
    pub(crate) seen: Option<(usize, i64)>,
    pub(crate) withdrawn: Option<u64>,
}

/// The world as far as the works need it.
pub(crate) struct Scene<'a> {
    /// Conversation → customer.
    pub(crate) customer_of: &'a [usize],
    /// Customer → conversations.
    pub(crate) conversations_of: &'a [Vec<usize>],
    /// Makes a late ack count: a mutant that the invariants must catch.
    pub(crate) ack_after_decision: bool,
}

impl Work {
    /// In one batch acks come before everything, deadlines after it: at one instant the ack wins (P8).
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Work::Ack { .. } => 0,
            Work::Woke { .. } | Work::Claiming { .. } => 2,
            _ => 1,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Work::Post(_) => "post",
            Work::Wrote { .. } => "wrote",
            Work::Read { .. } => "read",
            Work::Withdraw { .. } => "withdraw",
            Work::Cancel { .. } => "cancel",
            Work::Present { .. } => "present",
            Work::Register { .. } => "register",
            Work::LogOut { .. } => "log out",
            Work::Ack { .. } => "ack",
            Work::Woke { .. } => "woke",
            Work::PushAnswered { .. } => "push answered",
            Work::Claiming { .. } => "claiming",
            Work::Said { .. } => "said",
            Work::Reported { .. } => "reported",
        }
    }

    pub(crate) fn run(&self, desk: &mut Desk<'_>, scene: &Scene<'_>) -> Answered {
        let mut answered = Answered::default();
        match self {
            Work::Post(posted) => post(desk, scene, posted),
            Work::Wrote { conversation } => answered.seen = wrote(desk, scene, *conversation),
            Work::Read { conversation, message } => answered.seen = read(desk, scene, *conversation, *message),
            Work::Withdraw { message } => {
                if let Some(row) = desk.message(*message) {
                    desk.judge(row.followup, &Event::Withdrawn { seq: row.seq });
                    answered.withdrawn = Some(*message);
                }
            }
            Work::Cancel { followup } => {
                desk.judge(*followup, &Event::Cancel(Reason::CancelledByApi));
            }
            Work::Present { customer, source, state } => present(desk, scene, *customer, source, *state),
            Work::Register { device, customer, token, alerts } => {
                register(desk, scene, *device, *customer, *token, *alerts);
            }
            Work::LogOut { device } => log_out(desk, scene, *device),
            Work::Ack { receipt, grade, recorded_at } => {
                answered.ack = ack(desk, scene, *receipt, *grade, *recorded_at);
            }
            Work::Woke { followup } => {
                desk.judge(*followup, &Event::Woke);
            }
            Work::PushAnswered { followup, device, attempt, outcome } => {
                push_answered(desk, scene, *followup, *device, *attempt, outcome);
            }
            Work::Claiming { followup, channel } => answered.claim = claim(desk, *followup, *channel),
            Work::Said { followup, channel, attempt, outcome } => {
                let event = Event::FallbackAnswered { channel: *channel, attempt: *attempt, outcome: outcome.clone() };
                desk.judge(*followup, &event);
            }
            Work::Reported { followup, delivered } => {
                let report = Event::Reported { channel: Channel::Text, delivered: *delivered, error: None };
                desk.judge(*followup, &report);
            }
        }
        answered
    }
}

fn conversation_or_new(desk: &Desk<'_>, scene: &Scene<'_>, conversation: usize) -> ConversationRow {
    desk.conversation(conversation).unwrap_or_else(|| ConversationRow {
        customer: scene.customer_of[conversation],
        next_seq: 1,
        wrote: false,
        left_at: None,
        open: Vec::new(),
    })
}

/// D1, D2, D8, D9: the same id again is the same message.
fn post(desk: &mut Desk<'_>, scene: &Scene<'_>, posted: &Posted) {
    if desk.message(posted.message).is_some() {
        return;
    }
    let mut conversation = conversation_or_new(desk, scene, posted.conversation);
    let customer = conversation.customer;
    let who = desk.customer(customer).expect("customers are put first");
    let open: Vec<(i64, FollowupRow)> =
        conversation.open.iter().filter_map(|id| desk.followup(*id).map(|row| (*id, row))).collect();
    let open: Vec<(i64, FollowupRow)> = open.into_iter().filter(|(_, row)| row.state.is_open()).collect();
    conversation.open = open.iter().map(|(id, _)| *id).collect();
    let seq = conversation.next_seq;
    conversation.next_seq += 1;
    let message_id = posted.message.to_string();
    let reply = Reply { message_id, seq, accepted_at: desk.now, author: posted.author, withdrawn: false };
    let new = NewReply { kind: posted.kind, reply, chosen: posted.chosen.clone() };
    let (devices, policy, fresh) = (desk.devices(&who), desk.policy(customer), desk.fresh_id());
    let facts = desk.facts(&who, &devices, &conversation, policy, fresh);
    let joined = open.iter().rev().find_map(|(id, row)| {
        followup::join(&row.state, &new, &facts, desk.now, policy).map(|decision| (*id, decision))
    });
    let (id, decision) = joined.unwrap_or_else(|| {
        conversation.open.push(fresh);
        (fresh, followup::open(new, &facts, desk.now, policy).decision)
    });
    let row = FollowupRow { conversation: posted.conversation, customer, state: decision.next, wake: decision.wake };
    desk.put(Key::Message(posted.message), Row::Message(MessageRow { seq, followup: id }));
    desk.put(Key::Conversation(posted.conversation), Row::Conversation(conversation));
    desk.put(Key::Followup(id), Row::Followup(Box::new(row)));
    desk.effects.extend(decision.effects.into_iter().map(|effect| (id, effect)));
}

/// D5: the customer wrote back.
fn wrote(desk: &mut Desk<'_>, scene: &Scene<'_>, number: usize) -> Option<(usize, i64)> {
    let mut conversation = conversation_or_new(desk, scene, number);
    engaged(desk, conversation.customer);
    let seq = conversation.next_seq;
    conversation.next_seq += 1;
    conversation.wrote = true;
    let open = conversation.open.clone();
    desk.put(Key::Conversation(number), Row::Conversation(conversation));
    for id in open {
        desk.judge(id, &Event::Seen { through_seq: seq, why: Reason::CustomerWrote });
    }
    Some((number, seq))
}

/// D5: the customer read up to a message.
fn read(desk: &mut Desk<'_>, scene: &Scene<'_>, number: usize, message: u64) -> Option<(usize, i64)> {
    let through_seq = desk.message(message)?.seq;
    let conversation = conversation_or_new(desk, scene, number);
    engaged(desk, conversation.customer);
    for id in conversation.open {
        desk.judge(id, &Event::Seen { through_seq, why: Reason::CustomerRead });
    }
    Some((number, through_seq))
}

fn engaged(desk: &mut Desk<'_>, customer: usize) {
    if let Some(mut row) = desk.customer(customer) {
        row.engaged_at = Some(desk.now);
        desk.put(Key::Customer(customer), Row::Customer(row));
    }
}

/// D3, D4: it can end a watch; coming online alone cancels nothing (D5).
fn present(desk: &mut Desk<'_>, scene: &Scene<'_>, customer: usize, source: &str, state: PresenceState) {
    let Some(mut row) = desk.customer(customer) else { return };
    let policy = &desk.policy(customer).presence;
    let before = row.presence.online_until(desk.now, policy);
    row.presence.report(source, state, None, desk.now, policy);
    if state == PresenceState::Active {
        row.engaged_at = Some(desk.now);
    }
    let after = row.presence.online_until(desk.now, policy);
    desk.put(Key::Customer(customer), Row::Customer(row));
    if before.is_some() && after.is_none() {
        for id in desk.open_of(customer, &scene.conversations_of[customer]) {
            if desk.followup(id).is_some_and(|row| row.state.stage == followup::Stage::Watching) {
                desk.judge(id, &Event::Woke);
            }
        }
    }
}

pub(crate) fn blank_customer(phone: bool, email: bool) -> CustomerRow {
    CustomerRow { devices: Vec::new(), presence: Presence::default(), engaged_at: None, phone, email }
}

/// C2, C3: what the app gave last.
fn register(
    desk: &mut Desk<'_>,
    scene: &Scene<'_>,
    device: usize,
    customer: Option<usize>,
    token: u64,
    alerts: Alerts,
) {
    let known = desk.device(device);
    let before = known.as_ref().and_then(|row| row.customer);
    let customer = customer.or(before);
    if let Some(old) = before.filter(|_| before != customer) {
        lose(desk, scene, old, device, Reason::NoDevice);
        unlink(desk, old, device);
    }
    let same = known.as_ref().filter(|row| row.token == token && row.facts.standing == Standing::Registered);
    let registered_at = same.map_or(desk.now, |row| row.registered_at);
    let facts = DeviceFacts {
        id: device_id(device),
        provider: PushProvider::Fcm,
        alerts,
        standing: Standing::Registered,
        confirmed_at: desk.now,
        used_at: desk.now,
        counted_acks: known.map(|row| row.facts.counted_acks).unwrap_or_default(),
    };
    desk.put(Key::Device(device), Row::Device(DeviceRow { customer, token, registered_at, facts }));
    let Some(customer) = customer else { return };
    let mut who = desk.customer(customer).expect("customers are put first");
    if !who.devices.contains(&device) {
        who.devices.push(device);
        desk.put(Key::Customer(customer), Row::Customer(who));
    }
    if !alerts.can_show() && before == Some(customer) {
        lose(desk, scene, customer, device, Reason::AlertsDenied);
    }
}

fn unlink(desk: &mut Desk<'_>, customer: usize, device: usize) {
    if let Some(mut who) = desk.customer(customer) {
        who.devices.retain(|d| *d != device);
        desk.put(Key::Customer(customer), Row::Customer(who));
    }
}

fn log_out(desk: &mut Desk<'_>, scene: &Scene<'_>, device: usize) {
    let Some(mut row) = desk.device(device) else { return };
    if let Some(customer) = row.customer.take() {
        lose(desk, scene, customer, device, Reason::NoDevice);
        unlink(desk, customer, device);
        desk.put(Key::Device(device), Row::Device(row));
    }
}

/// P5: nothing more can be hoped for from this device.
fn lose(desk: &mut Desk<'_>, scene: &Scene<'_>, customer: usize, device: usize, why: Reason) {
    for id in desk.open_of(customer, &scene.conversations_of[customer]) {
        desk.judge(id, &Event::DeviceLost { device: device_id(device), why });
    }
}

/// P6–P9, D8: an ack of 1…n goes on to the follow-ups that took over replies it covers.
fn ack(
    desk: &mut Desk<'_>,
    scene: &Scene<'_>,
    receipt: Receipt,
    grade: Grade,
    recorded_at: Ms,
) -> Option<(AckVerdict, bool)> {
    desk.device(receipt.device)?;
    let (mut last, mut first_counted) = ((AckVerdict::Refused, false), false);
    let mut next = Some((receipt.followup, receipt.covers));
    while let Some((id, covers)) = next.take() {
        if scene.ack_after_decision {
            undecide(desk, id);
        }
        let device = device_id(receipt.device);
        let event = Event::Acked { device, covers, grade, recorded_at, detail: None };
        let Some(acked) = desk.judge(id, &event).and_then(|judged| judged.acked) else { break };
        last = (acked.verdict, acked.counted);
        first_counted |= acked.first_counted;
        let Some(row) = desk.followup(id) else { break };
        if acked.counted {
            let open = desk.conversation(row.conversation).map(|c| c.open).unwrap_or_default();
            for older in open.into_iter().filter(|open| *open < id) {
                desk.judge(older, &Event::AckedByNewer);
            }
        }
        let rest = row.state.rest.filter(|(_, from)| covers >= *from);
        next = rest.map(|(rest, from)| (rest.0, covers + 1 - from));
    }
    if first_counted && let Some(mut row) = desk.device(receipt.device) {
        let unread = &desk.policies[0].unread;
        let acks = std::mem::take(&mut row.facts.counted_acks);
        row.facts.counted_acks = DeviceFacts::with_counted_ack(acks, desk.now, unread);
        desk.put(Key::Device(receipt.device), Row::Device(row));
    }
    Some(last)
}

/// The mutant: forgets that a fallback was decided, so that a late ack counts.
fn undecide(desk: &mut Desk<'_>, id: i64) {
    if let Some(mut row) = desk.followup(id)
        && let followup::Stage::FallingBack { .. } = row.state.stage
    {
        row.state.stage = followup::Stage::Waiting;
        desk.put(Key::Followup(id), Row::Followup(Box::new(row)));
    }
}

/// C3, P5: the follow-up hears it first, then the device is buried for all.
fn push_answered(desk: &mut Desk<'_>, scene: &Scene<'_>, id: i64, device: usize, attempt: u32, outcome: &Outcome) {
    let sent_at = desk.followup(id).and_then(|row| {
        let push = row.state.pushes.iter().find(|p| p.device == device_id(device) && p.attempt == attempt)?;
        Some(push.at)
    });
    let row = desk.device(device);
    let gone = matches!(outcome, Outcome::TokenGone { .. });
    let older = row.as_ref().is_some_and(|row| sent_at.is_none_or(|at| at < row.registered_at));
    let heard = if gone && older {
        Outcome::RetryAfter { after_ms: None, error: "older token".into() }
    } else {
        outcome.clone()
    };
    let event = Event::PushAnswered { device: device_id(device), attempt, outcome: heard };
    desk.judge(id, &event);
    if let Some((rest, _)) = desk.followup(id).and_then(|row| row.state.rest) {
        desk.judge(rest.0, &event);
    }
    if let Some(mut row) = row.filter(|row| gone && !older && row.facts.standing == Standing::Registered) {
        row.facts.standing = Standing::TokenGone(desk.now);
        let customer = row.customer;
        desk.put(Key::Device(device), Row::Device(row));
        if let Some(customer) = customer {
            lose(desk, scene, customer, device, Reason::TokenGone);
        }
    }
}

fn claim(desk: &mut Desk<'_>, id: i64, channel: Channel) -> Option<u32> {
    let judged = desk.judge(id, &Event::Claiming(channel))?;
    judged.effects.iter().find_map(|effect| match effect {
        Effect::Send { attempt, .. } => Some(*attempt),
        Effect::SendPush { .. } | Effect::Offer(_) | Effect::Alarm(_) => None,
    })
}

pub(crate) fn device_id(device: usize) -> DeviceId {
    DeviceId(i64::try_from(device).expect("few devices"))
}
