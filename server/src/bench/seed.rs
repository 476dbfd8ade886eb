//! Fills a database with follow-ups that wait: copies of one that the server made, in large commits.

use super::host::{Host, store};
use super::traffic::{Line, all_pushed, reply, settled};
use crate::registry::Created;
use crate::store::{
    ConversationRow, CustomerRow, FollowupFilter, FollowupRow, HistoryEntry, Key, MessageRow, Op, Row, SqliteStore,
    Store as _, Unit, Verdict, WorkspaceId,
};
use crate::vault::{CustomerKey, Vault};
use backstop_domain::Ms;
use backstop_domain::followup::Wake;
use backstop_domain::ids::FollowupId;
use std::path::Path;
use std::sync::Arc;

/// Follow-ups of one commit.
const COMMIT: usize = 5_000;
/// Ids of copies are as far below the pattern's: about three minutes, so that they are distinct and look older.
const IDS_BELOW: i64 = 200_000_000_000;
const PATTERN: usize = 0;

/// When copies are due.
#[derive(Clone, Copy)]
pub(super) enum Due {
    /// One after the other, from then on: never during a measurement. Their texts are the pattern's and do not open.
    From(Ms),
    /// All at that instant. What they send can be sent.
    At(Ms),
}

/// A follow-up that waits for its ack, with everything around it.
pub(super) struct Pattern {
    ws: WorkspaceId,
    followup: FollowupRow,
    message: MessageRow,
    conversation: ConversationRow,
    history: Vec<HistoryEntry>,
    customers: Vec<(CustomerRow, CustomerKey)>,
    /// The text in the clear.
    body: Vec<u8>,
    next: usize,
}

/// Has the server make the follow-up that [`Pattern::find`] finds.
pub(super) async fn post_pattern(host: &Host, line: Line, workspace: &Created) -> Result<(), String> {
    line.drive(vec![reply(workspace, PATTERN, 0)]).await?;
    all_pushed(host, 1).await?;
    settled(host).await?;
    host.pushed.take();
    Ok(())
}

impl Pattern {
    /// The pattern of this workspace, whose customers are `u-0` to `u-{customers - 1}`; no server may be running.
    pub(super) async fn find(database: &Path, workspace: &Created, customers: usize) -> Result<Pattern, String> {
        let (store, vault) = store(database)?;
        let failed = |error: crate::store::StoreError| error.to_string();
        let ws = store.workspace_named(&workspace.workspace).await.map_err(failed)?.ok_or("no workspace")?.id;
        let filter =
            FollowupFilter { conversation_id: Some(format!("c-{PATTERN}")), limit: 1, ..FollowupFilter::default() };
        let followup = store.followups(ws, filter).await.map_err(failed)?.pop().ok_or("no pattern")?;
        let history = store.history(ws, followup.id).await.map_err(failed)?;
        let message_id = followup.state.replies[0].message_id.clone();
        let around = vec![
            Key::Message(ws, message_id.clone()),
            Key::Conversation(ws, followup.conversation_id.clone(), followup.customer_id.clone()),
        ];
        let mut around = store.load(around).await.map_err(failed)?.into_iter();
        let (Some(Some(Row::Message(message))), Some(Some(Row::Conversation(conversation)))) =
            (around.next(), around.next())
        else {
            return Err("the pattern has no message or no conversation".into());
        };
        let customers = all_customers(&store, &vault, ws, customers).await?;
        let sealed = message.body.as_deref().unwrap_or_default();
        let body = customers[0].1.open(ws, "messages", &message_id, "body", sealed).map_err(|e| e.to_string())?;
        Ok(Pattern { ws, followup, message, conversation, history, customers, body, next: 0 })
    }

    /// Adds `count` copies; no server may be running.
    pub(super) async fn add(&mut self, database: &Path, count: usize, due: Due) -> Result<(), String> {
        let (store, _) = store(database)?;
        let end = self.next + count;
        while self.next < end {
            let upto = end.min(self.next + COMMIT);
            let units = (self.next..upto).map(|n| self.copy(n, due)).collect();
            let verdicts = store.commit(units).await.map_err(|error| error.to_string())?;
            if !verdicts.iter().all(|verdict| *verdict == Verdict::Done) {
                return Err("a copy was in the way of another".into());
            }
            self.next = upto;
        }
        Ok(())
    }

    fn copy(&self, n: usize, due: Due) -> Unit {
        let (customer, key) = &self.customers[n % self.customers.len()];
        let message_id = uuid::Uuid::now_v7().to_string();
        let (mut followup, mut message) = (self.followup.clone(), self.message.clone());
        let mut conversation = self.conversation.clone();
        let id = FollowupId(followup.id.0 - IDS_BELOW + n as i64);
        let conversation_id = format!("w-{n}");
        let at = match due {
            Due::From(at) => at + n as Ms,
            Due::At(at) => at,
        };
        (followup.id, followup.version) = (id, 0);
        followup.customer_id.clone_from(&customer.customer_id);
        followup.conversation_id.clone_from(&conversation_id);
        followup.wake = followup.wake.map(|wake| Wake { at, ..wake });
        followup.state.deadline_at = at;
        followup.state.replies[0].message_id.clone_from(&message_id);
        if let (Some(push), Some(device)) = (followup.state.pushes.first_mut(), customer.devices.first()) {
            push.device = *device;
        }
        (conversation.version, conversation.open) = (0, vec![id]);
        conversation.customer_id.clone_from(&customer.customer_id);
        conversation.conversation_id.clone_from(&conversation_id);
        if matches!(due, Due::At(_)) {
            message.body = Some(key.seal(self.ws, "messages", &message_id, "body", &self.body));
        }
        (message.version, message.followup, message.message_id) = (0, Some(id), message_id);
        message.customer_id.clone_from(&customer.customer_id);
        message.conversation_id = conversation_id;
        let rows = [Row::Message(message), Row::Conversation(conversation), Row::Followup(Arc::new(followup))];
        let history = self.history.iter().map(|entry| Op::History(self.ws, id, entry.clone()));
        rows.map(Op::put).into_iter().chain(history).collect()
    }
}

async fn all_customers(
    store: &SqliteStore,
    vault: &Vault,
    ws: WorkspaceId,
    count: usize,
) -> Result<Vec<(CustomerRow, CustomerKey)>, String> {
    let mut customers = Vec::with_capacity(count);
    let keys: Vec<_> = (0..count).map(|n| Key::Customer(ws, format!("u-{n}"))).collect();
    for keys in keys.chunks(500) {
        for row in store.load(keys.to_vec()).await.map_err(|error| error.to_string())? {
            let Some(Row::Customer(row)) = row else { return Err("a customer is missing".into()) };
            let key = vault.unwrap_key(ws, &row.customer_id, &row.wrapped_key).map_err(|error| error.to_string())?;
            customers.push((row, key));
        }
    }
    Ok(customers)
}
