//! What the loop does: pieces of work, each with the rows it needs, its decision and its answer.

use super::api::EngineError;
use super::desk::{Again, Desk};
use super::find::Find;
use super::wallet;
use crate::store::{StoreError, WorkspaceId};
use backstop_domain::ids::FollowupId;
use tokio::sync::oneshot;

/// In one batch acks come before everything and deadlines after it: at one instant the ack wins (P8). What falls due
/// is decided before anything is sent of what was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Ack,
    Call,
    Wake,
    Claim,
}

pub(crate) trait Work: Send + Sync {
    fn rank(&self) -> Rank {
        Rank::Call
    }

    /// How much of a batch it is.
    fn weight(&self) -> usize {
        1
    }

    /// Asks the desk for the rows it needs, as far as it can tell. Asked again until nothing new is wanted.
    fn wants(&self, desk: &mut Desk<'_>);

    /// Decides. May run again on fresh rows; only the last run counts.
    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again>;

    /// It is durable — or it did not happen.
    fn done(self: Box<Self>, result: Result<(), StoreError>);

    /// What it can be done in one by one, when it cannot be done as a whole. None: it is one thing.
    fn parts(&self) -> Vec<Box<dyn Work>> {
        Vec::new()
    }
}

/// What a caller asks for and waits for.
pub(crate) trait Ask: Send + Sync + 'static {
    /// What they hear.
    type Answer: Send + Sync;

    /// See [`Work::wants`].
    fn wants(&self, desk: &mut Desk<'_>);

    /// See [`Work::run`].
    fn decide(&self, desk: &mut Desk<'_>) -> Result<Result<Self::Answer, EngineError>, Again>;
}

/// Where the answer goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, EngineError>>;

/// An [`Ask`] on its way.
pub(super) struct Asked<A: Ask> {
    pub(super) ask: A,
    pub(super) result: Option<Result<A::Answer, EngineError>>,
    pub(super) to: Answer<A::Answer>,
}

impl<A: Ask> Work for Asked<A> {
    fn wants(&self, desk: &mut Desk<'_>) {
        self.ask.wants(desk);
    }

    fn run(&mut self, desk: &mut Desk<'_>) -> Result<(), Again> {
        self.result = Some(self.ask.decide(desk)?);
        Ok(())
    }

    fn done(self: Box<Self>, stored: Result<(), StoreError>) {
        let result = match (stored, self.result) {
            (Err(error), _) => Err(EngineError::Store(error)),
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(EngineError::Store(StoreError::Unavailable("the work was not run".into()))),
        };
        // Nobody waits any more: the caller went away. What was done stays done.
        let _ = self.to.send(result);
    }
}

/// Everything a decision about this follow-up needs: row, customer, devices, conversation, and the messages that may
/// move to another follow-up.
pub(crate) fn want_followup(desk: &mut Desk<'_>, ws: WorkspaceId, id: FollowupId) {
    let Some(row) = desk.want(Find::Followup(ws, id)) else { return };
    let Some(row) = row.as_followup() else { return };
    for reply in row.state.replies.iter().skip(1) {
        desk.want(Find::Message(ws, &reply.message_id));
    }
    desk.want(Find::Conversation(ws, &row.conversation_id, &row.customer_id));
    want_customer(desk, ws, &row.customer_id);
    wallet::want(desk, ws, Some(&row.state));
}

/// The customer and their devices.
pub(crate) fn want_customer(desk: &mut Desk<'_>, ws: WorkspaceId, customer_id: &str) {
    let Some(row) = desk.want(Find::Customer(ws, customer_id)) else { return };
    for id in row.as_customer().map(|row| row.devices.as_slice()).unwrap_or_default() {
        desk.want(Find::Device(ws, *id));
    }
}

/// The customer's open follow-ups, each with all it needs.
pub(crate) fn want_open(desk: &mut Desk<'_>, ws: WorkspaceId, customer_id: &str) {
    desk.want(Find::Open(ws, customer_id));
    if let Ok(open) = desk.open_of(ws, customer_id) {
        open.into_iter().for_each(|id| want_followup(desk, ws, id));
    }
}

/// The conversation's open follow-ups, each with all it needs.
pub(crate) fn want_conversation(desk: &mut Desk<'_>, ws: WorkspaceId, id: &str, of: &str) {
    let Some(row) = desk.want(Find::Conversation(ws, id, of)) else { return };
    for open in row.as_conversation().map(|row| row.open.as_slice()).unwrap_or_default() {
        want_followup(desk, ws, *open);
    }
}
