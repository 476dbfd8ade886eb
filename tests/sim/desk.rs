//! The engine's desk: rows as the work before left them, facts from rows, rows from decisions — as `server/src/engine`.

use crate::store::{ConversationRow, CustomerRow, DeviceRow, FollowupRow, Key, MessageRow, Put, Row, Store};
use crate::work::device_id;
use backstop_domain::Ms;
use backstop_domain::customer::ContactSource;
use backstop_domain::device::DeviceFacts;
use backstop_domain::followup::{self, Acked, Decision, Effect, Event, Facts, Policy};
use backstop_domain::ids::FollowupId;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Rows that earlier batches of a node worked on: version and row.
pub(crate) type Cache = BTreeMap<Key, (u64, Row)>;

/// Rows a batch works on, and what the current work stages.
pub(crate) struct Desk<'a> {
    store: &'a Store,
    cache: &'a Cache,
    /// Loaded, or written by work before; `None` = there is no such row.
    rows: BTreeMap<Key, Option<(u64, Row)>>,
    staged: BTreeMap<Key, (u64, Row)>,
    pub(crate) effects: Vec<(i64, Effect)>,
    /// By the node's clock.
    pub(crate) now: Ms,
    /// Whose key the current work came with.
    pub(crate) workspace: usize,
    pub(crate) policies: &'a [Policy],
    next_id: &'a mut i64,
    /// Calls of the rules.
    pub(crate) decisions: u64,
}

/// What the caller of [`Desk::judge`] may need of it.
pub(crate) struct Judged {
    pub(crate) acked: Option<Acked>,
    pub(crate) effects: Vec<Effect>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(
        store: &'a Store,
        cache: &'a Cache,
        now: Ms,
        policies: &'a [Policy],
        next_id: &'a mut i64,
    ) -> Desk<'a> {
        let (rows, staged) = (BTreeMap::new(), BTreeMap::new());
        Desk { store, cache, rows, staged, effects: Vec::new(), now, workspace: 0, policies, next_id, decisions: 0 }
    }

    /// The current work is through: its writes, and its effects.
    pub(crate) fn take(&mut self) -> (Vec<Put>, Vec<(i64, Effect)>) {
        let staged = std::mem::take(&mut self.staged);
        let unit = staged.iter().map(|(key, (version, row))| (*key, *version, row.clone())).collect();
        self.rows.extend(staged.into_iter().map(|(key, (version, row))| (key, Some((version + 1, row)))));
        (unit, std::mem::take(&mut self.effects))
    }

    /// What is kept for the next batch, once this one is durable. Messages are read once.
    pub(crate) fn leave(self) -> Cache {
        let kept = self.rows.into_iter().filter(|(key, _)| !matches!(key, Key::Message(..)));
        kept.filter_map(|(key, row)| Some((key, row?))).collect()
    }

    pub(crate) fn policy(&self) -> &'a Policy {
        &self.policies[self.workspace]
    }

    pub(crate) fn fresh_id(&mut self) -> i64 {
        *self.next_id += 1;
        *self.next_id
    }

    fn load(&mut self, key: Key) -> Option<&(u64, Row)> {
        let (cache, store) = (self.cache, self.store);
        let loaded = self.rows.entry(key).or_insert_with(|| cache.get(&key).or_else(|| store.get(key)).cloned());
        loaded.as_ref()
    }

    fn get(&mut self, key: Key) -> Option<Row> {
        if let Some((_, row)) = self.staged.get(&key) {
            return Some(row.clone());
        }
        self.load(key).map(|(_, row)| row.clone())
    }

    pub(crate) fn put(&mut self, key: Key, row: Row) {
        let version = match self.staged.get(&key) {
            Some((version, _)) => *version,
            None => self.load(key).map_or(0, |(version, _)| *version),
        };
        self.staged.insert(key, (version, row));
    }

    pub(crate) fn customer(&mut self, customer: usize) -> Option<Rc<CustomerRow>> {
        match self.get(Key::Customer(customer)) {
            Some(Row::Customer(row)) => Some(row),
            _ => None,
        }
    }

    pub(crate) fn conversation(&mut self, conversation: usize) -> Option<Rc<ConversationRow>> {
        match self.get(Key::Conversation(conversation)) {
            Some(Row::Conversation(row)) => Some(row),
            _ => None,
        }
    }

    pub(crate) fn device(&mut self, device: usize) -> Option<Rc<DeviceRow>> {
        match self.get(Key::Device(device)) {
            Some(Row::Device(row)) => Some(row),
            _ => None,
        }
    }

    pub(crate) fn message(&mut self, workspace: usize, message: u64) -> Option<MessageRow> {
        match self.get(Key::Message(workspace, message)) {
            Some(Row::Message(row)) => Some(row),
            _ => None,
        }
    }

    /// The follow-up, if it is of the workspace whose key the work came with.
    pub(crate) fn followup(&mut self, id: i64) -> Option<Rc<FollowupRow>> {
        let workspace = self.workspace;
        self.any_followup(id).filter(|row| row.workspace == workspace)
    }

    pub(crate) fn any_followup(&mut self, id: i64) -> Option<Rc<FollowupRow>> {
        match self.get(Key::Followup(id)) {
            Some(Row::Followup(row)) => Some(row),
            _ => None,
        }
    }

    /// The customer's open follow-ups, oldest first: the store's, and those of work before this one.
    pub(crate) fn open_of(&mut self, customer: usize) -> Vec<i64> {
        let mut open: Vec<i64> = self.store.open_of(customer).collect();
        for (key, row) in &self.rows {
            if let (Key::Followup(id), Some((_, Row::Followup(row)))) = (key, row)
                && row.customer == customer
                && row.state.is_open()
                && !open.contains(id)
            {
                open.push(*id);
            }
        }
        open.sort_unstable();
        open
    }

    pub(crate) fn devices(&mut self, customer: &CustomerRow) -> Vec<DeviceFacts> {
        customer.devices.iter().filter_map(|d| self.device(*d)).map(|row| row.facts.clone()).collect()
    }

    pub(crate) fn facts<'f>(
        &self,
        who: &CustomerRow,
        devices: &'f [DeviceFacts],
        conversation: &ConversationRow,
        spare: i64,
    ) -> Facts<'f> {
        Facts {
            phone: who.phone,
            email: who.email,
            time_zone: who.time_zone,
            source: ContactSource::Account,
            devices,
            online_until: who.presence.online_until(self.now, &self.policy().presence),
            wrote: conversation.wrote,
            left_at: conversation.left_at,
            engaged_at: who.engaged_at,
            plan: None,
            counters: None,
            wallet: None,
            opted_out: false,
            address_marked: false,
            spare: FollowupId(spare),
        }
    }

    /// Judges one event of one follow-up and stages what comes of it.
    pub(crate) fn judge(&mut self, id: i64, event: &Event) -> Option<Judged> {
        let row = self.followup(id)?;
        let who = self.customer(row.customer)?;
        let conversation = self.conversation(row.conversation)?;
        let mut devices = self.devices(&who);
        // The acks of a device that logged out meanwhile stay valid.
        if let Event::Acked { device, .. } = event
            && devices.iter().all(|known| known.id != *device)
        {
            let number = usize::try_from(device.0).expect("few devices");
            devices.extend(self.device(number).map(|row| row.facts.clone()));
            debug_assert_eq!(device_id(number), *device);
        }
        let (spare, policy) = (self.fresh_id(), self.policy());
        let facts = self.facts(&who, &devices, &conversation, spare);
        self.decisions += 1;
        let decision = followup::decide(&row.state, event, &facts, self.now, policy);
        let judged = Judged { acked: decision.acked, effects: decision.effects.clone() };
        if decision.changed {
            self.stage(id, &row, decision, &conversation);
        }
        Some(judged)
    }

    fn stage(&mut self, id: i64, before: &FollowupRow, decision: Decision, conversation: &ConversationRow) {
        if decision.left || decision.returned || decision.rest.is_some() {
            let mut conversation = conversation.clone();
            if decision.left {
                conversation.left_at = Some(self.now);
            } else if decision.returned {
                conversation.left_at = None;
            }
            conversation.open.extend(decision.rest.as_ref().map(|rest| rest.id.0));
            self.put(Key::Conversation(before.conversation), Row::Conversation(Rc::new(conversation)));
        }
        let same = (before.workspace, before.conversation, before.customer);
        let (workspace, conversation, customer) = same;
        let row = FollowupRow { workspace, conversation, customer, state: decision.next, wake: decision.wake };
        self.put(Key::Followup(id), Row::Followup(Rc::new(row)));
        self.effects.extend(decision.effects.into_iter().map(|effect| (id, effect)));
        let Some(rest) = decision.rest else { return };
        for reply in &rest.next.replies {
            let message = reply.message_id.parse().expect("message ids are numbers here");
            if let Some(row) = self.message(workspace, message) {
                let row = MessageRow { followup: rest.id.0, ..row };
                self.put(Key::Message(workspace, message), Row::Message(row));
            }
        }
        let row = FollowupRow { workspace, conversation, customer, state: rest.next, wake: rest.wake };
        self.put(Key::Followup(rest.id.0), Row::Followup(Rc::new(row)));
        self.effects.extend(rest.effects.into_iter().map(|effect| (rest.id.0, effect)));
    }
}
