//! Work of the conversation: replies, the customer's messages, reads, cancels.

use super::api::{CustomerInput, CustomerMessage, EngineError, MessageBody, PostMessage, Posted};
use super::customer;
use super::desk::{Again, Desk};
use super::find::Find;
use super::judge::{devices, entry, facts, judge, put, settings};
use super::wallet;
use super::work::{Ask, want_conversation, want_customer, want_followup};
use crate::store::{ConversationRow, CustomerRow, Direction, FollowupRow, MessageRow, Row, WorkspaceId};
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::customer::Outreach;
use backstop_domain::followup::{
    self, Effect, Event, Facts, Inputs, Kind, NewReply, Note, PublicState, Reason, Reply, Stage, Warning,
};
use backstop_domain::ids::FollowupId;
use backstop_domain::wallet::{Change, Wallet};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a message's row remembers of its answer.
#[derive(Serialize, Deserialize)]
struct Remembered {
    /// `None` = it was only watched then.
    state: Option<PublicState>,
    deadline_at: Ms,
    warnings: Vec<u8>,
}

/// The row of a reply's follow-up, what is to be done, what is noted, what the caller should know, what money moved,
/// what it was decided on.
type Placed = (FollowupRow, Vec<Effect>, Option<Note>, Vec<Warning>, Option<Box<Change>>, Inputs);

/// Their places are stored: new ones come last.
const WARNINGS: [Warning; 3] = [Warning::NoCustomerMessage, Warning::NoFallbackRoute, Warning::ConsentNotRecorded];

pub(super) struct Post {
    pub(super) ws: Arc<Workspace>,
    pub(super) message: PostMessage,
}

impl Ask for Post {
    type Answer = Posted;

    fn wants(&self, desk: &mut Desk<'_>) {
        let (ws, m) = (self.ws.id, &self.message);
        let known = desk.want(Find::Message(ws, &m.message_id));
        if let Some(id) = known.as_ref().and_then(|row| row.as_message()).and_then(|m| m.followup) {
            desk.want(Find::Followup(ws, id));
        }
        match &m.customer {
            Some(input) => customer::want_put(desk, ws, &m.customer_id, input),
            None => want_customer(desk, ws, &m.customer_id),
        }
        want_conversation(desk, ws, &m.conversation_id, &m.customer_id);
        wallet::want(desk, ws, None);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<Posted, EngineError>, Again> {
        self.post(desk)
    }
}

impl Post {
    fn post(&self, desk: &mut Desk<'_>) -> Result<Result<Posted, EngineError>, Again> {
        let (ws, m) = (self.ws.id, &self.message);
        let now = desk.now(ws);
        if let Some(known) = desk.message(ws, &m.message_id)? {
            return repeat(desk, known, m);
        }
        if let Err(error) = self.put_customer(desk, now)? {
            return Ok(Err(error));
        }
        let customer = desk.hold(Find::Customer(ws, &m.customer_id))?;
        let Some(customer) = customer.as_ref().and_then(|row| row.as_customer()) else {
            return Ok(Err(EngineError::UnknownCustomer));
        };
        let sealed = match customer::key(desk, customer) {
            Ok(key) => seal(&key, ws, &m.message_id, &m.body),
            Err(error) => return Ok(Err(error)),
        };
        let mut conversation = conversation_or_new(desk, ws, &m.conversation_id, &m.customer_id)?;
        let seq = conversation.next_seq;
        conversation.next_seq += 1;
        let balance = wallet::read(desk, &self.ws, None)?;
        let known = balance.as_ref().map(|balance| &balance.wallet);
        let (row, effects, note, warnings, money, inputs) =
            self.place(desk, customer, &mut conversation, seq, (now, known))?;
        let posted = posted(&row, now, &warnings);
        desk.put(Row::Message(MessageRow {
            workspace: ws,
            message_id: m.message_id.clone(),
            version: 0,
            conversation_id: m.conversation_id.clone(),
            customer_id: m.customer_id.clone(),
            seq,
            direction: Direction::ToCustomer,
            body_hash: m.body_hash,
            body: Some(sealed),
            followup: Some(row.id),
            answer: remember(&row, &warnings),
            accepted_at: now,
        }));
        desk.put(Row::Conversation(conversation));
        if let Some(note) = &note {
            desk.history(ws, row.id, entry(note, now, Some(&inputs)));
        }
        if let (Some(balance), Some(change)) = (balance, money) {
            balance.write(desk, &self.ws, Some(row.id), *change);
        }
        put(desk, &self.ws, row, effects);
        Ok(Ok(posted))
    }

    /// The follow-up that the reply joins, or one of its own.
    fn place(
        &self,
        desk: &Desk<'_>,
        customer: &CustomerRow,
        conversation: &mut ConversationRow,
        seq: i64,
        (now, wallet): (Ms, Option<&Wallet>),
    ) -> Result<Placed, Again> {
        let m = &self.message;
        let devices = devices(desk, &self.ws, Some(customer))?;
        let reply =
            Reply { message_id: m.message_id.clone(), seq, accepted_at: now, author: m.author_kind, withdrawn: false };
        let new = NewReply { kind: m.kind, reply, chosen: m.channels.clone(), apps: m.apps.clone() };
        let id = FollowupId(desk.spare_id());
        let facts = facts(Some(customer), &devices, Some(conversation), now, &self.ws.policy, id);
        let facts = Facts { wallet, ..facts };
        let heard = followups(desk, conversation)?;
        let heard = heard.iter().filter_map(|row| row.as_followup());
        let heard: Vec<&FollowupRow> =
            heard.filter(|row| followup::hears(&row.state, &facts, now, &self.ws.policy)).collect();
        conversation.open = heard.iter().map(|row| row.id).collect();
        let joined = heard.iter().rev().find_map(|row| {
            followup::join(&row.state, &new, &facts, now, &self.ws.policy).map(|decision| (*row, decision))
        });
        let inputs = |joined: Option<&FollowupRow>| {
            Inputs::of_reply(joined.map(|row| &row.state), &new, &facts, settings(&self.ws))
        };
        if let Some((row, decision)) = joined {
            let (inputs, row) = (inputs(Some(row)), row.with(decision.next, decision.wake));
            return Ok((row, decision.effects, decision.note, Vec::new(), decision.wallet, inputs));
        }
        let inputs = inputs(None);
        let mut opened = followup::open(new, &facts, now, &self.ws.policy);
        let basis = Outreach::of(customer.contact_source, &customer.consents);
        if opened.decision.next.kind == Kind::Outreach && basis == Outreach::Unrecorded {
            opened.warnings.push(Warning::ConsentNotRecorded);
        }
        conversation.open.push(id);
        let followup::Decision { next, wake, effects, note, wallet, .. } = opened.decision;
        let row = FollowupRow {
            workspace: self.ws.id,
            id,
            customer_id: m.customer_id.clone(),
            conversation_id: m.conversation_id.clone(),
            version: 0,
            state: next,
            wake,
        };
        Ok((row, effects, note, opened.warnings, wallet, inputs))
    }

    fn put_customer(&self, desk: &mut Desk<'_>, now: Ms) -> Result<Result<(), EngineError>, Again> {
        let Some(input) = &self.message.customer else { return Ok(Ok(())) };
        customer::put(desk, self.ws.id, &self.message.customer_id, input, now)
    }
}

/// The same id again: the same answer, or a conflict (D9).
fn repeat(desk: &Desk<'_>, known: &MessageRow, m: &PostMessage) -> Result<Result<Posted, EngineError>, Again> {
    if known.direction != Direction::ToCustomer || known.body_hash != m.body_hash {
        return Ok(Err(EngineError::MessageConflict));
    }
    let Some(id) = known.followup else { return Ok(Ok(Posted::Watching)) };
    let Some(row) = desk.followup(known.workspace, id)? else { return Ok(Ok(Posted::Watching)) };
    if row.state.public_state().is_none() {
        return Ok(Ok(Posted::Watching));
    }
    let remembered: Option<Remembered> = serde_json::from_str(&known.answer).ok();
    // What was only watched then is answered as its follow-up's start would have been.
    let started = if row.state.pushes.is_empty() { PublicState::FallingBack } else { PublicState::Sending };
    let first = remembered.as_ref().and_then(|r| r.state).unwrap_or(started);
    let warnings = remembered.map(|r| r.warnings).unwrap_or_default();
    Ok(Ok(Posted::Followup {
        followup_id: id,
        state: first,
        accepted_at: known.accepted_at,
        deadline_at: row.state.deadline_at,
        warnings: warnings.iter().filter_map(|i| WARNINGS.get(*i as usize).copied()).collect(),
    }))
}

fn posted(row: &FollowupRow, accepted_at: Ms, warnings: &[Warning]) -> Posted {
    match row.state.public_state() {
        None => Posted::Watching,
        Some(state) => Posted::Followup {
            followup_id: row.id,
            state,
            accepted_at,
            deadline_at: row.state.deadline_at,
            warnings: warnings.to_vec(),
        },
    }
}

fn remember(row: &FollowupRow, warnings: &[Warning]) -> String {
    let warnings = warnings.iter().filter_map(|w| WARNINGS.iter().position(|known| known == w)).map(|i| i as u8);
    let remembered = Remembered {
        state: row.state.public_state(),
        deadline_at: row.state.deadline_at,
        warnings: warnings.collect(),
    };
    serde_json::to_string(&remembered).expect("numbers and words serialize")
}

fn seal(key: &crate::vault::CustomerKey, ws: WorkspaceId, message_id: &str, body: &MessageBody) -> Vec<u8> {
    let plain = serde_json::to_vec(body).expect("strings serialize");
    key.seal(ws, "messages", message_id, "body", &plain)
}

pub(super) fn conversation_or_new(
    desk: &Desk<'_>,
    ws: WorkspaceId,
    conversation_id: &str,
    customer_id: &str,
) -> Result<ConversationRow, Again> {
    Ok(desk.conversation(ws, conversation_id, customer_id)?.cloned().unwrap_or_else(|| ConversationRow {
        workspace: ws,
        conversation_id: conversation_id.to_owned(),
        customer_id: customer_id.to_owned(),
        version: 0,
        next_seq: 1,
        wrote_at: None,
        left_at: None,
        texted_at: None,
        open: Vec::new(),
    }))
}

/// Those that what happens in the conversation is told to.
fn followups(desk: &Desk<'_>, conversation: &ConversationRow) -> Result<Vec<Arc<Row>>, Again> {
    let mut rows = Vec::new();
    for id in &conversation.open {
        rows.extend(desk.hold(Find::Followup(conversation.workspace, *id))?);
    }
    Ok(rows)
}

/// The customer wrote: nothing that has not left is wanted any more (D5).
pub(super) struct FromCustomer {
    pub(super) ws: Arc<Workspace>,
    pub(super) message: CustomerMessage,
    /// Whether it is known to be the customer who wrote.
    pub(super) is_sign_of_life: bool,
}

impl Ask for FromCustomer {
    type Answer = ();

    fn wants(&self, desk: &mut Desk<'_>) {
        let (ws, m) = (self.ws.id, &self.message);
        desk.want(Find::Message(ws, &m.message_id));
        want_customer(desk, ws, &m.customer_id);
        want_conversation(desk, ws, &m.conversation_id, &m.customer_id);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<(), EngineError>, Again> {
        self.write(desk)
    }
}

impl FromCustomer {
    fn write(&self, desk: &mut Desk<'_>) -> Result<Result<(), EngineError>, Again> {
        let (ws, m) = (self.ws.id, &self.message);
        let now = desk.now(ws);
        if let Some(known) = desk.message(ws, &m.message_id)? {
            let same = known.direction == Direction::FromCustomer && known.body_hash == m.body_hash;
            return Ok(if same { Ok(()) } else { Err(EngineError::MessageConflict) });
        }
        let mut who = customer::or_new(desk, ws, &m.customer_id, now)?;
        if self.is_sign_of_life {
            who.engaged_at = Some(now);
        }
        let sealed = match customer::key(desk, &who) {
            Ok(key) => {
                let body = MessageBody { author: None, text: m.text.clone(), link: None };
                seal(&key, ws, &m.message_id, &body)
            }
            Err(error) => return Ok(Err(error)),
        };
        desk.put(Row::Customer(who));
        let mut conversation = conversation_or_new(desk, ws, &m.conversation_id, &m.customer_id)?;
        let seq = conversation.next_seq;
        conversation.next_seq += 1;
        let open = if self.is_sign_of_life { conversation.open.clone() } else { Vec::new() };
        if self.is_sign_of_life {
            conversation.wrote_at = Some(now);
        }
        desk.put(Row::Conversation(conversation));
        desk.put(Row::Message(MessageRow {
            workspace: ws,
            message_id: m.message_id.clone(),
            version: 0,
            conversation_id: m.conversation_id.clone(),
            customer_id: m.customer_id.clone(),
            seq,
            direction: Direction::FromCustomer,
            body_hash: m.body_hash,
            body: Some(sealed),
            followup: None,
            answer: String::new(),
            accepted_at: now,
        }));
        let event = Event::Seen { through_seq: seq, why: Reason::CustomerWrote };
        for id in open {
            judge(desk, &self.ws, id, &event)?;
        }
        Ok(Ok(()))
    }
}

/// The customer has read the conversation up to a message (D5, cumulative).
pub(super) struct Read {
    pub(super) ws: Arc<Workspace>,
    pub(super) conversation_id: String,
    pub(super) customer_id: String,
    pub(super) message_id: String,
}

impl Ask for Read {
    type Answer = ();

    fn wants(&self, desk: &mut Desk<'_>) {
        desk.want(Find::Message(self.ws.id, &self.message_id));
        want_customer(desk, self.ws.id, &self.customer_id);
        want_conversation(desk, self.ws.id, &self.conversation_id, &self.customer_id);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<(), EngineError>, Again> {
        self.read(desk)
    }
}

impl Read {
    fn read(&self, desk: &mut Desk<'_>) -> Result<Result<(), EngineError>, Again> {
        let ws = self.ws.id;
        let now = desk.now(ws);
        let Some(mut who) = desk.customer(ws, &self.customer_id)?.cloned() else {
            return Ok(Err(EngineError::UnknownCustomer));
        };
        let through_seq = match desk.message(ws, &self.message_id)? {
            Some(m) if m.conversation_id == self.conversation_id && m.customer_id == self.customer_id => m.seq,
            _ => return Ok(Err(EngineError::UnknownMessage)),
        };
        who.engaged_at = Some(now);
        desk.put(Row::Customer(who));
        let conversation = conversation_or_new(desk, ws, &self.conversation_id, &self.customer_id)?;
        let event = Event::Seen { through_seq, why: Reason::CustomerRead };
        for id in conversation.open {
            judge(desk, &self.ws, id, &event)?;
        }
        Ok(Ok(()))
    }
}

/// The caller stops a follow-up.
pub(super) struct Cancel {
    pub(super) ws: Arc<Workspace>,
    pub(super) id: FollowupId,
}

impl Ask for Cancel {
    type Answer = ();

    fn wants(&self, desk: &mut Desk<'_>) {
        want_followup(desk, self.ws.id, self.id);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<(), EngineError>, Again> {
        let known = desk.followup(self.ws.id, self.id)?.is_some_and(|row| row.state.stage != Stage::Watching);
        if !known {
            return Ok(Err(EngineError::UnknownFollowup));
        }
        judge(desk, &self.ws, self.id, &Event::Cancel(Reason::CancelledByApi))?;
        Ok(Ok(()))
    }
}

/// The agent takes a reply back: its text goes, and what has not left stays.
pub(super) struct Withdraw {
    pub(super) ws: Arc<Workspace>,
    pub(super) message_id: String,
}

impl Ask for Withdraw {
    type Answer = ();

    fn wants(&self, desk: &mut Desk<'_>) {
        let known = desk.want(Find::Message(self.ws.id, &self.message_id));
        if let Some(id) = known.as_ref().and_then(|row| row.as_message()).and_then(|m| m.followup) {
            want_followup(desk, self.ws.id, id);
        }
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<(), EngineError>, Again> {
        let known = desk.message(self.ws.id, &self.message_id)?;
        let Some(mut message) = known.filter(|m| m.direction == Direction::ToCustomer).cloned() else {
            return Ok(Err(EngineError::UnknownMessage));
        };
        let (followup, seq) = (message.followup, message.seq);
        if message.body.take().is_some() {
            desk.put(Row::Message(message));
        }
        if let Some(id) = followup {
            judge(desk, &self.ws, id, &Event::Withdrawn { seq })?;
        }
        Ok(Ok(()))
    }
}

/// Puts a customer's data without a message.
pub(super) struct PutCustomer {
    pub(super) ws: Arc<Workspace>,
    pub(super) customer_id: String,
    pub(super) input: CustomerInput,
}

impl Ask for PutCustomer {
    type Answer = (Ms, bool);

    fn wants(&self, desk: &mut Desk<'_>) {
        customer::want_put(desk, self.ws.id, &self.customer_id, &self.input);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<(Ms, bool), EngineError>, Again> {
        let now = desk.now(self.ws.id);
        let put = customer::put(desk, self.ws.id, &self.customer_id, &self.input, now)?;
        let row = desk.customer(self.ws.id, &self.customer_id)?;
        let online = row.is_some_and(|c| c.presence.online_until(now, &self.ws.policy.presence).is_some());
        let created_at = row.map_or(now, |c| c.created_at);
        Ok(put.map(|()| (created_at, online)))
    }
}
