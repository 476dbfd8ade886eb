//! Work of the conversation: replies, the customer's messages, reads, cancels.

use super::api::{CustomerInput, CustomerMessage, EngineError, MessageBody, PostMessage, Posted};
use super::customer;
use super::desk::{Again, Desk};
use super::judge::{devices, entry, facts, hand, judge};
use super::work::{Work, want_conversation, want_customer, want_followup};
use crate::store::{ConversationRow, Direction, FollowupRow, Key, MessageRow, Row, StoreError, WorkspaceId};
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::followup::{self, Decision, Event, NewReply, PublicState, Reason, Reply, Stage, Warning};
use backstop_domain::ids::FollowupId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Where the answer of a piece of work goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, EngineError>>;

/// Sends the answer of a run, or why it did not happen.
pub(super) fn answer<T>(to: Answer<T>, result: Option<Result<T, EngineError>>, stored: Result<(), StoreError>) {
    let result = match (stored, result) {
        (Err(error), _) => Err(EngineError::Store(error)),
        (Ok(()), Some(result)) => result,
        (Ok(()), None) => Err(EngineError::Store(StoreError::Unavailable("the work was not run".into()))),
    };
    // Nobody waits any more: the caller went away. What was done stays done.
    let _ = to.send(result);
}

/// What a message's row remembers of its answer.
#[derive(Serialize, Deserialize)]
struct Remembered {
    /// `None` = it was only watched then.
    state: Option<PublicState>,
    deadline_at: Ms,
    warnings: Vec<u8>,
}

const WARNINGS: [Warning; 2] = [Warning::NoCustomerMessage, Warning::NoFallbackRoute];

pub(super) struct Post {
    pub(super) ws: Arc<Workspace>,
    pub(super) message: PostMessage,
    pub(super) result: Option<Result<Posted, EngineError>>,
    pub(super) to: Answer<Posted>,
}

impl Work for Post {
    fn wants(&self, desk: &Desk<'_>, keys: &mut Vec<Key>) {
        let (ws, m) = (self.ws.id, &self.message);
        let key = Key::Message(ws, m.message_id.clone());
        if let Some(id) = desk.peek(&key).and_then(Row::as_message).and_then(|m| m.followup) {
            keys.push(Key::Followup(ws, id));
        }
        keys.push(key);
        want_customer(desk, ws, &m.customer_id, keys);
        want_conversation(desk, ws, &m.conversation_id, &m.customer_id, keys);
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        self.result = Some(self.post(desk)?);
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        answer(self.to, self.result, result);
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
        let Some(customer) = desk.customer(ws, &m.customer_id)?.cloned() else {
            return Ok(Err(EngineError::UnknownCustomer));
        };
        let device_facts = devices(desk, ws, Some(&customer))?;
        let mut conversation = conversation_or_new(desk, ws, &m.conversation_id, &m.customer_id)?;
        let open = open_followups(desk, &conversation)?;
        conversation.open = open.iter().map(|row| row.id).collect();
        let seq = conversation.next_seq;
        conversation.next_seq += 1;
        let reply =
            Reply { message_id: m.message_id.clone(), seq, accepted_at: now, author: m.author_kind, withdrawn: false };
        let new = NewReply { kind: m.kind, reply, chosen: m.channels.clone() };
        let id = FollowupId(desk.spare_id());
        let facts = facts(Some(&customer), &device_facts, Some(&conversation), now, &self.ws.policy, id);
        let joined = open.iter().rev().find_map(|row| {
            followup::join(&row.state, &new, &facts, now, &self.ws.policy).map(|decision| (row.clone(), decision))
        });
        let (row, decision, warnings) = match joined {
            Some((row, decision)) => (row, decision, Vec::new()),
            None => {
                let opened = followup::open(new, &facts, now, &self.ws.policy);
                conversation.open.push(id);
                (self.fresh(id, &opened.decision), opened.decision, opened.warnings)
            }
        };
        let row = FollowupRow { state: decision.next, wake: decision.wake, ..row };
        let posted = posted(&row, now, &warnings);
        let sealed = match customer::key(desk, &customer) {
            Ok(key) => seal(&key, ws, &m.message_id, &m.body),
            Err(error) => return Ok(Err(error)),
        };
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
        desk.put(Row::Followup(Box::new(row.clone())));
        if let Some(note) = &decision.note {
            desk.history(ws, row.id, entry(note, now));
        }
        hand(desk, &self.ws, row, decision.effects);
        Ok(Ok(posted))
    }

    fn put_customer(&self, desk: &mut Desk<'_>, now: Ms) -> Result<Result<(), EngineError>, Again> {
        let Some(input) = &self.message.customer else { return Ok(Ok(())) };
        customer::put(desk, self.ws.id, &self.message.customer_id, input, now)
    }

    fn fresh(&self, id: FollowupId, decision: &Decision) -> FollowupRow {
        FollowupRow {
            workspace: self.ws.id,
            id,
            customer_id: self.message.customer_id.clone(),
            conversation_id: self.message.conversation_id.clone(),
            version: 0,
            state: decision.next.clone(),
            wake: None,
        }
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
        open: Vec::new(),
    }))
}

fn open_followups(desk: &Desk<'_>, conversation: &ConversationRow) -> Result<Vec<FollowupRow>, Again> {
    let mut open = Vec::new();
    for id in &conversation.open {
        if let Some(row) = desk.followup(conversation.workspace, *id)?.filter(|row| row.state.is_open()) {
            open.push(row.clone());
        }
    }
    Ok(open)
}

/// The customer wrote: nothing that has not left is wanted any more (D5).
pub(super) struct FromCustomer {
    pub(super) ws: Arc<Workspace>,
    pub(super) message: CustomerMessage,
    pub(super) result: Option<Result<(), EngineError>>,
    pub(super) to: Answer<()>,
}

impl Work for FromCustomer {
    fn wants(&self, desk: &Desk<'_>, keys: &mut Vec<Key>) {
        let (ws, m) = (self.ws.id, &self.message);
        keys.push(Key::Message(ws, m.message_id.clone()));
        want_customer(desk, ws, &m.customer_id, keys);
        want_conversation(desk, ws, &m.conversation_id, &m.customer_id, keys);
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        self.result = Some(self.write(desk)?);
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        answer(self.to, self.result, result);
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
        who.engaged_at = Some(now);
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
        conversation.wrote_at = Some(now);
        let open = conversation.open.clone();
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
    pub(super) result: Option<Result<(), EngineError>>,
    pub(super) to: Answer<()>,
}

impl Work for Read {
    fn wants(&self, desk: &Desk<'_>, keys: &mut Vec<Key>) {
        keys.push(Key::Message(self.ws.id, self.message_id.clone()));
        want_customer(desk, self.ws.id, &self.customer_id, keys);
        want_conversation(desk, self.ws.id, &self.conversation_id, &self.customer_id, keys);
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        self.result = Some(self.read(desk)?);
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        answer(self.to, self.result, result);
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
    pub(super) result: Option<Result<(), EngineError>>,
    pub(super) to: Answer<()>,
}

impl Work for Cancel {
    fn wants(&self, desk: &Desk<'_>, keys: &mut Vec<Key>) {
        want_followup(desk, self.ws.id, self.id, keys);
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        let known = desk.followup(self.ws.id, self.id)?.is_some_and(|row| row.state.stage != Stage::Watching);
        self.result = Some(if known {
            judge(desk, &self.ws, self.id, &Event::Cancel(Reason::CancelledByApi))?;
            Ok(())
        } else {
            Err(EngineError::UnknownFollowup)
        });
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        answer(self.to, self.result, result);
    }
}

/// The agent takes a reply back: its text goes, and what has not left stays.
pub(super) struct Withdraw {
    pub(super) ws: Arc<Workspace>,
    pub(super) message_id: String,
    pub(super) result: Option<Result<(), EngineError>>,
    pub(super) to: Answer<()>,
}

impl Work for Withdraw {
    fn wants(&self, desk: &Desk<'_>, keys: &mut Vec<Key>) {
        let key = Key::Message(self.ws.id, self.message_id.clone());
        if let Some(id) = desk.peek(&key).and_then(Row::as_message).and_then(|m| m.followup) {
            want_followup(desk, self.ws.id, id, keys);
        }
        keys.push(key);
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        let known = desk.message(self.ws.id, &self.message_id)?;
        let Some(mut message) = known.filter(|m| m.direction == Direction::ToCustomer).cloned() else {
            self.result = Some(Err(EngineError::UnknownMessage));
            return Ok(());
        };
        self.result = Some(Ok(()));
        let (followup, seq) = (message.followup, message.seq);
        if message.body.take().is_some() {
            desk.put(Row::Message(message));
        }
        if let Some(id) = followup {
            judge(desk, &self.ws, id, &Event::Withdrawn { seq })?;
        }
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        answer(self.to, self.result, result);
    }
}

/// Puts a customer's data without a message.
pub(super) struct PutCustomer {
    pub(super) ws: Arc<Workspace>,
    pub(super) customer_id: String,
    pub(super) input: CustomerInput,
    pub(super) result: Option<Result<(Ms, bool), EngineError>>,
    pub(super) to: Answer<(Ms, bool)>,
}

impl Work for PutCustomer {
    fn wants(&self, desk: &Desk<'_>, keys: &mut Vec<Key>) {
        want_customer(desk, self.ws.id, &self.customer_id, keys);
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        let now = desk.now(self.ws.id);
        let put = customer::put(desk, self.ws.id, &self.customer_id, &self.input, now)?;
        let row = desk.customer(self.ws.id, &self.customer_id)?;
        let online = row.is_some_and(|c| c.presence.online_until(now, &self.ws.policy.presence).is_some());
        let created_at = row.map_or(now, |c| c.created_at);
        self.result = Some(put.map(|()| (created_at, online)));
        Ok(())
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        answer(self.to, self.result, result);
    }
}
