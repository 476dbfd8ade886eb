//! Pieces of work and what each does on the desk — as the works of `server/src/engine`.

use crate::desk::Desk;
use crate::mutant::Mutant;
use crate::store::{ConversationRow, CustomerRow, FollowupRow, Key, MessageRow, Row};
use backstop_domain::Ms;
use backstop_domain::followup::{
    self, AckVerdict, AuthorKind, Channel, Effect, Event, Found, Kind, LegStatus, Mark, NewReply, Outcome, Reason,
    Reply,
};
use backstop_domain::ids::DeviceId;
use backstop_domain::presence::Presence;
use backstop_wire::{Alerts, Grade, PresenceState};
use std::rc::Rc;

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
    Ack { device: usize, receipt: Receipt, grade: Grade, recorded_at: Ms },
    Woke { followup: i64 },
    PushAnswered { followup: i64, device: usize, attempt: u32, token: u64, outcome: Outcome },
    Claiming { followup: i64, channel: Channel },
    Said { followup: i64, channel: Channel, attempt: u32, outcome: Outcome },
    MayHaveLeft { followup: i64, attempt: u32 },
    Asked { followup: i64, attempt: u32, inquiry: u8, found: Found },
    Reported { followup: i64, channel: Channel, attempt: u32, delivered: bool },
}

/// What a piece of work came to, for whoever waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answered {
    /// The number of a posted message in its conversation: the same at every repeat.
    pub(crate) posted: Option<i64>,
    /// The verdict of an ack.
    pub(crate) ack: Option<(AckVerdict, bool)>,
    /// A claim that holds: its attempt, and when it ends.
    pub(crate) claim: Option<(u32, Ms)>,
    /// The replies of a conversation are seen up to here.
    pub(crate) seen: Option<(usize, i64)>,
    pub(crate) withdrawn: Option<u64>,
}

/// The world as far as the works need it.
pub(crate) struct Scene<'a> {
    /// Conversation → customer.
    pub(crate) customer_of: &'a [usize],
    pub(crate) mutant: Option<Mutant>,
}

impl Scene<'_> {
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
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

    /// Of which send it tells what became of it.
    pub(crate) fn outcome_of(&self) -> Option<(i64, Channel, u32)> {
        match self {
            Work::Said { followup, channel, attempt, .. } => Some((*followup, *channel, *attempt)),
            Work::MayHaveLeft { followup, attempt } => Some((*followup, Channel::Text, *attempt)),
            _ => None,
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
            Work::MayHaveLeft { .. } => "may have left",
            Work::Asked { .. } => "asked",
            Work::Reported { .. } => "reported",
        }
    }

    pub(crate) fn run(&self, desk: &mut Desk<'_>, scene: &Scene<'_>) -> Answered {
        let mut answered = Answered::default();
        match self {
            Work::Post(posted) => answered.posted = Some(post(desk, scene, posted)),
            Work::Wrote { conversation } => answered.seen = wrote(desk, scene, *conversation),
            Work::Read { conversation, message } => answered.seen = read(desk, scene, *conversation, *message),
            Work::Withdraw { message } => {
                if let Some(row) = desk.message(desk.workspace, *message) {
                    desk.judge(row.followup, &Event::Withdrawn { seq: row.seq });
                    answered.withdrawn = Some(*message);
                }
            }
            Work::Cancel { followup } => cancel(desk, scene, *followup),
            Work::Present { customer, source, state } => present(desk, *customer, source, *state),
            Work::Register { device, customer, token, alerts } => {
                crate::registry::register(desk, *device, *customer, *token, *alerts);
            }
            Work::LogOut { device } => crate::registry::log_out(desk, *device),
            Work::Ack { device, receipt, grade, recorded_at } => {
                answered.ack = ack(desk, scene, *device, *receipt, *grade, *recorded_at);
            }
            Work::Woke { followup } => woke(desk, scene, *followup),
            Work::PushAnswered { followup, device, attempt, token, outcome } => {
                crate::registry::push_answered(desk, *followup, *device, *attempt, *token, outcome);
            }
            Work::Claiming { followup, channel } => answered.claim = claim(desk, *followup, *channel),
            Work::Said { followup, channel, attempt, outcome } => {
                let event = Event::FallbackAnswered { channel: *channel, attempt: *attempt, outcome: outcome.clone() };
                desk.judge(*followup, &event);
            }
            Work::MayHaveLeft { followup, attempt } => {
                let mark = Mark { number: 1, body: 1 };
                desk.judge(*followup, &Event::MayHaveLeft { attempt: *attempt, error: "timeout".into(), mark });
            }
            Work::Asked { followup, attempt, inquiry, found } => {
                let event = Event::Asked { attempt: *attempt, inquiry: *inquiry, found: found.clone() };
                desk.judge(*followup, &event);
            }
            Work::Reported { followup, channel, attempt, delivered } => {
                let (channel, attempt, delivered) = (*channel, *attempt, *delivered);
                desk.judge(*followup, &Event::Reported { channel, attempt, delivered, provider_id: None, error: None });
            }
        }
        answered
    }
}

fn conversation_or_new(desk: &mut Desk<'_>, scene: &Scene<'_>, conversation: usize) -> ConversationRow {
    desk.conversation(conversation).map(|row| row.as_ref().clone()).unwrap_or_else(|| ConversationRow {
        customer: scene.customer_of[conversation],
        next_seq: 1,
        wrote: false,
        left_at: None,
        open: Vec::new(),
    })
}

/// D1, D2, D8, D9: the same id again is the same message; its number is answered.
fn post(desk: &mut Desk<'_>, scene: &Scene<'_>, posted: &Posted) -> i64 {
    let shelf = if scene.is(Mutant::ForeignMessage) { 0 } else { desk.workspace };
    let key = Key::Message(shelf, posted.message);
    let known = desk.message(shelf, posted.message).filter(|_| !scene.is(Mutant::RepeatIsNew));
    if let Some(known) = known {
        return known.seq;
    }
    let mut conversation = conversation_or_new(desk, scene, posted.conversation);
    let customer = conversation.customer;
    let who = desk.customer(customer).expect("customers are put first");
    let open: Vec<(i64, Rc<FollowupRow>)> =
        conversation.open.iter().filter_map(|id| desk.followup(*id).map(|row| (*id, row))).collect();
    let open: Vec<_> = open.into_iter().filter(|(_, row)| row.state.is_open()).collect();
    conversation.open = open.iter().map(|(id, _)| *id).collect();
    let seq = conversation.next_seq;
    conversation.next_seq += 1;
    let message_id = posted.message.to_string();
    let reply = Reply { message_id, seq, accepted_at: desk.now, author: posted.author, withdrawn: false };
    let new = NewReply { kind: posted.kind, reply, chosen: posted.chosen.clone(), apps: None };
    let (devices, policy, fresh) = (desk.devices(&who), desk.policy(), desk.fresh_id());
    let facts = desk.facts(&who, &devices, &conversation, fresh);
    let joined = open
        .iter()
        .rev()
        .find_map(|(id, row)| followup::join(&row.state, &new, &facts, desk.now, policy).map(|decided| (*id, decided)));
    let (id, decision) = joined.unwrap_or_else(|| {
        conversation.open.push(fresh);
        (fresh, followup::open(new, &facts, desk.now, policy).decision)
    });
    desk.decisions += 1;
    let (workspace, conversation_of) = (desk.workspace, posted.conversation);
    let (state, wake) = (decision.next, decision.wake);
    let row = FollowupRow { workspace, conversation: conversation_of, customer, state, wake };
    desk.put(key, Row::Message(MessageRow { seq, followup: id }));
    desk.put(Key::Conversation(posted.conversation), Row::Conversation(Rc::new(conversation)));
    desk.put(Key::Followup(id), Row::Followup(Rc::new(row)));
    desk.effects.extend(decision.effects.into_iter().map(|effect| (id, effect)));
    seq
}

/// D5: the customer wrote back.
fn wrote(desk: &mut Desk<'_>, scene: &Scene<'_>, number: usize) -> Option<(usize, i64)> {
    let mut conversation = conversation_or_new(desk, scene, number);
    engaged(desk, conversation.customer);
    let seq = conversation.next_seq;
    conversation.next_seq += 1;
    conversation.wrote = true;
    let open = conversation.open.clone();
    desk.put(Key::Conversation(number), Row::Conversation(Rc::new(conversation)));
    for id in open {
        desk.judge(id, &Event::Seen { through_seq: seq, why: Reason::CustomerWrote });
    }
    Some((number, seq))
}

/// D5: the customer read up to a message.
fn read(desk: &mut Desk<'_>, scene: &Scene<'_>, number: usize, message: u64) -> Option<(usize, i64)> {
    let through_seq = desk.message(desk.workspace, message)?.seq;
    let conversation = conversation_or_new(desk, scene, number);
    engaged(desk, conversation.customer);
    for id in conversation.open {
        desk.judge(id, &Event::Seen { through_seq, why: Reason::CustomerRead });
    }
    Some((number, through_seq))
}

fn engaged(desk: &mut Desk<'_>, customer: usize) {
    if let Some(row) = desk.customer(customer) {
        let row = CustomerRow { engaged_at: Some(desk.now), ..row.as_ref().clone() };
        desk.put(Key::Customer(customer), Row::Customer(Rc::new(row)));
    }
}

/// A follow-up of another workspace is none.
fn cancel(desk: &mut Desk<'_>, scene: &Scene<'_>, id: i64) {
    if scene.is(Mutant::ForeignCancel)
        && let Some(row) = desk.any_followup(id)
    {
        let own = std::mem::replace(&mut desk.workspace, row.workspace);
        desk.judge(id, &Event::Cancel(Reason::CancelledByApi));
        desk.workspace = own;
        return;
    }
    if desk.followup(id).is_some_and(|row| row.state.stage != followup::Stage::Watching) {
        desk.judge(id, &Event::Cancel(Reason::CancelledByApi));
    }
}

/// D3, D4: it can end a watch; coming online alone cancels nothing (D5).
fn present(desk: &mut Desk<'_>, customer: usize, source: &str, state: PresenceState) {
    let Some(row) = desk.customer(customer) else { return };
    let mut row = row.as_ref().clone();
    let policy = &desk.policy().presence;
    let before = row.presence.online_until(desk.now, policy);
    row.presence.report(source, state, None, desk.now, policy);
    if state == PresenceState::Active {
        row.engaged_at = Some(desk.now);
    }
    let after = row.presence.online_until(desk.now, policy);
    desk.put(Key::Customer(customer), Row::Customer(Rc::new(row)));
    if state != PresenceState::Active && after < before {
        for id in desk.open_of(customer) {
            if desk.followup(id).is_some_and(|row| row.state.stage == followup::Stage::Watching) {
                desk.judge(id, &Event::Woke);
            }
        }
    }
}

pub(crate) fn blank_customer(phone: bool, email: bool, time_zone: Option<&'static str>) -> CustomerRow {
    let (devices, presence) = (Vec::new(), Presence::default());
    CustomerRow { devices, presence, engaged_at: None, phone, email, time_zone }
}

/// P6–P9, P11, D8: an ack of 1…n goes on to the follow-ups that took over replies it covers. A receipt counts only from
/// the device whose push carried it.
fn ack(
    desk: &mut Desk<'_>,
    scene: &Scene<'_>,
    device: usize,
    receipt: Receipt,
    grade: Grade,
    recorded_at: Ms,
) -> Option<(AckVerdict, bool)> {
    let workspace = desk.workspace;
    desk.device(device).filter(|row| row.workspace == workspace)?;
    let (mut last, mut first_counted) = ((AckVerdict::Refused, false), false);
    let genuine = receipt.device == device || scene.is(Mutant::ReceiptUnbound);
    let mut next = genuine.then_some((receipt.followup, receipt.covers));
    while let Some((id, covers)) = next.take() {
        if scene.is(Mutant::AckAfterDecision) {
            undecide(desk, id);
        }
        let event = Event::Acked { device: device_id(device), covers, grade, recorded_at, detail: None };
        let Some(acked) = desk.judge(id, &event).and_then(|judged| judged.acked) else { break };
        last = (acked.verdict, acked.counted);
        first_counted |= acked.first_counted;
        let Some(row) = desk.followup(id) else { break };
        if acked.counted {
            let open = desk.conversation(row.conversation).map(|c| c.open.clone()).unwrap_or_default();
            for older in open.into_iter().filter(|open| *open < id) {
                desk.judge(older, &Event::AckedByNewer { device: device_id(device) });
            }
        }
        let rest = row.state.rest.filter(|(_, from)| covers >= *from);
        next = rest.map(|(rest, from)| (rest.0, covers + 1 - from));
    }
    crate::registry::remember(desk, device, grade, first_counted);
    Some(last)
}

/// The mutant: forgets that a fallback was decided, so that a late ack counts.
fn undecide(desk: &mut Desk<'_>, id: i64) {
    if let Some(row) = desk.followup(id)
        && let followup::Stage::FallingBack { .. } = row.state.stage
    {
        let mut row = row.as_ref().clone();
        row.state.stage = followup::Stage::Waiting;
        desk.put(Key::Followup(id), Row::Followup(Rc::new(row)));
    }
}

fn woke(desk: &mut Desk<'_>, scene: &Scene<'_>, id: i64) {
    if scene.is(Mutant::LeaseOnly)
        && let Some(row) = desk.followup(id)
    {
        for channel in [Channel::Text, Channel::Email] {
            let leg = row.state.leg(channel);
            if matches!(leg.status, LegStatus::Claimed(until) if until <= desk.now) {
                let outcome = Outcome::RetryAfter { after_ms: None, error: "lease_over".into() };
                desk.judge(id, &Event::FallbackAnswered { channel, attempt: leg.attempt, outcome });
            }
        }
    }
    desk.judge(id, &Event::Woke);
}

fn claim(desk: &mut Desk<'_>, id: i64, channel: Channel) -> Option<(u32, Ms)> {
    let judged = desk.judge(id, &Event::Claiming(channel))?;
    let attempt = judged.effects.iter().find_map(|effect| match effect {
        Effect::Send { attempt, .. } => Some(*attempt),
        _ => None,
    })?;
    match desk.followup(id)?.state.leg(channel).status {
        LegStatus::Claimed(until) => Some((attempt, until)),
        _ => None,
    }
}

pub(crate) fn device_id(device: usize) -> DeviceId {
    DeviceId(i64::try_from(device).expect("few devices"))
}
