//! The engine's desk: rows as the work before left them, facts from rows, rows from decisions — as `server/src/engine`.

use crate::store::{ConversationRow, CustomerRow, DeviceRow, FollowupRow, Key, MessageRow, Put, Row, Store};
use backstop_domain::Ms;
use backstop_domain::customer::ContactSource;
use backstop_domain::device::DeviceFacts;
use backstop_domain::followup::{self, Acked, Decision, Effect, Event, Facts, Policy};
use backstop_domain::ids::FollowupId;
use std::collections::BTreeMap;

/// Rows a batch works on, and what the current work stages.
pub(crate) struct Desk<'a> {
    store: &'a Store,
    before: BTreeMap<Key, (u64, Row)>,
    staged: BTreeMap<Key, (u64, Row)>,
    pub(crate) effects: Vec<(i64, Effect)>,
    pub(crate) now: Ms,
    pub(crate) policies: &'a [Policy],
    pub(crate) workspace_of: &'a [usize],
    next_id: &'a mut i64,
}

/// What the caller of [`Desk::judge`] may need of it.
pub(crate) struct Judged {
    pub(crate) acked: Option<Acked>,
    pub(crate) effects: Vec<Effect>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(
        store: &'a Store,
        now: Ms,
        policies: &'a [Policy],
        workspace_of: &'a [usize],
        next_id: &'a mut i64,
    ) -> Desk<'a> {
        let (before, staged) = (BTreeMap::new(), BTreeMap::new());
        Desk { store, before, staged, effects: Vec::new(), now, policies, workspace_of, next_id }
    }

    /// The current work is through: its writes, and its effects.
    pub(crate) fn take(&mut self) -> (Vec<Put>, Vec<(i64, Effect)>) {
        let staged = std::mem::take(&mut self.staged);
        let unit = staged.iter().map(|(key, (version, row))| (*key, *version, row.clone())).collect();
        self.before.extend(staged.into_iter().map(|(key, (version, row))| (key, (version + 1, row))));
        (unit, std::mem::take(&mut self.effects))
    }

    pub(crate) fn fresh_id(&mut self) -> i64 {
        *self.next_id += 1;
        *self.next_id
    }

    fn get(&self, key: Key) -> Option<&Row> {
        let row = self.staged.get(&key).or_else(|| self.before.get(&key)).map(|(_, row)| row);
        row.or_else(|| self.store.get(key).map(|(_, row)| row))
    }

    pub(crate) fn put(&mut self, key: Key, row: Row) {
        let version = match (self.staged.get(&key), self.before.get(&key)) {
            (Some((version, _)), _) | (None, Some((version, _))) => *version,
            (None, None) => self.store.get(key).map_or(0, |(version, _)| version),
        };
        self.staged.insert(key, (version, row));
    }

    pub(crate) fn customer(&self, customer: usize) -> Option<CustomerRow> {
        match self.get(Key::Customer(customer)) {
            Some(Row::Customer(row)) => Some(row.clone()),
            _ => None,
        }
    }

    pub(crate) fn conversation(&self, conversation: usize) -> Option<ConversationRow> {
        match self.get(Key::Conversation(conversation)) {
            Some(Row::Conversation(row)) => Some(row.clone()),
            _ => None,
        }
    }

    pub(crate) fn device(&self, device: usize) -> Option<DeviceRow> {
        match self.get(Key::Device(device)) {
            Some(Row::Device(row)) => Some(row.clone()),
            _ => None,
        }
    }

    pub(crate) fn message(&self, message: u64) -> Option<MessageRow> {
        match self.get(Key::Message(message)) {
            Some(Row::Message(row)) => Some(row.clone()),
            _ => None,
        }
    }

    pub(crate) fn followup(&self, id: i64) -> Option<FollowupRow> {
        match self.get(Key::Followup(id)) {
            Some(Row::Followup(row)) => Some(row.as_ref().clone()),
            _ => None,
        }
    }

    /// The customer's open follow-ups, oldest first.
    pub(crate) fn open_of(&self, customer: usize, conversations: &[usize]) -> Vec<i64> {
        let mut open: Vec<i64> =
            conversations.iter().filter_map(|c| self.conversation(*c)).flat_map(|c| c.open).collect();
        open.retain(|id| self.followup(*id).is_some_and(|row| row.customer == customer && row.state.is_open()));
        open.sort_unstable();
        open
    }

    pub(crate) fn devices(&self, customer: &CustomerRow) -> Vec<DeviceFacts> {
        customer.devices.iter().filter_map(|d| self.device(*d)).map(|row| row.facts).collect()
    }

    pub(crate) fn policy(&self, customer: usize) -> &'a Policy {
        &self.policies[self.workspace_of[customer]]
    }

    pub(crate) fn facts<'f>(
        &self,
        who: &CustomerRow,
        devices: &'f [DeviceFacts],
        conversation: &ConversationRow,
        policy: &Policy,
        spare: i64,
    ) -> Facts<'f> {
        Facts {
            phone: who.phone,
            email: who.email,
            source: ContactSource::Account,
            devices,
            online_until: who.presence.online_until(self.now, &policy.presence),
            wrote: conversation.wrote,
            left_at: conversation.left_at,
            engaged_at: who.engaged_at,
            spare: FollowupId(spare),
        }
    }

    /// Judges one event of one follow-up and stages what comes of it.
    pub(crate) fn judge(&mut self, id: i64, event: &Event) -> Option<Judged> {
        let row = self.followup(id)?;
        let who = self.customer(row.customer)?;
        let conversation = self.conversation(row.conversation)?;
        let (devices, spare, policy) = (self.devices(&who), self.fresh_id(), self.policy(row.customer));
        let facts = self.facts(&who, &devices, &conversation, policy, spare);
        let decision = followup::decide(&row.state, event, &facts, self.now, policy);
        let judged = Judged { acked: decision.acked, effects: decision.effects.clone() };
        if decision.changed {
            self.stage(id, row, decision, conversation);
        }
        Some(judged)
    }

    fn stage(&mut self, id: i64, before: FollowupRow, decision: Decision, mut conversation: ConversationRow) {
        if decision.left || decision.returned || decision.rest.is_some() {
            if decision.left {
                conversation.left_at = Some(self.now);
            }
            if decision.returned {
                conversation.left_at = None;
            }
            conversation.open.extend(decision.rest.as_ref().map(|rest| rest.id.0));
            self.put(Key::Conversation(before.conversation), Row::Conversation(conversation));
        }
        let row = FollowupRow { state: decision.next, wake: decision.wake, ..before };
        self.put(Key::Followup(id), Row::Followup(Box::new(row.clone())));
        self.effects.extend(decision.effects.into_iter().map(|effect| (id, effect)));
        let Some(rest) = decision.rest else { return };
        for reply in &rest.next.replies {
            let message = reply.message_id.parse().expect("message ids are numbers here");
            if let Some(row) = self.message(message) {
                self.put(Key::Message(message), Row::Message(MessageRow { followup: rest.id.0, ..row }));
            }
        }
        let row = FollowupRow { state: rest.next, wake: rest.wake, ..row };
        self.put(Key::Followup(rest.id.0), Row::Followup(Box::new(row)));
        self.effects.extend(rest.effects.into_iter().map(|effect| (rest.id.0, effect)));
    }
}
