//! Rows that the last batches worked on: what is acked or answered now was written a moment ago.
//!
//! Only the loop reads and writes it, and only what is durable comes here. It is true while one server has the store to
//! itself, as with SQLite. Where others write, too, a decision that writes on a stale row meets a conflict and is made
//! again, but one that writes nothing meets none: such a store must not be cached for (see ARCHITECTURE.md).

use super::find::{ByKey, Find};
use crate::store::{Key, Row};
use std::sync::Arc;

/// Rows a generation holds; two generations live. About 1 kB each.
const GENERATION_ROWS: usize = 16_384;

#[derive(Default)]
pub(crate) struct Cache {
    young: ByKey<Arc<Row>>,
    old: ByKey<Arc<Row>>,
}

impl Cache {
    pub(crate) fn get(&self, key: Find<'_>) -> Option<&Arc<Row>> {
        self.young.get(&key).or_else(|| self.old.get(&key))
    }

    /// What is used stays for longer.
    pub(crate) fn touch(&mut self, key: Find<'_>) -> Option<&Arc<Row>> {
        if self.old.contains_key(&key)
            && let Some((key, row)) = self.old.remove_entry(&key)
        {
            self.keep(key, row);
        }
        self.get(key)
    }

    /// Whether rows of this kind are kept. Messages are read once, and answers of look-ups depend on other rows.
    pub(crate) fn takes(row: &Row) -> bool {
        matches!(row, Row::Customer(_) | Row::Conversation(_) | Row::Followup(_) | Row::Device(_) | Row::Wallet(_))
    }

    pub(crate) fn keep(&mut self, key: Key, row: Arc<Row>) {
        if !Cache::takes(&row) {
            return;
        }
        if self.young.len() >= GENERATION_ROWS {
            // The tables stay: growing them anew each time cost more than everything else here.
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.old.remove(&Find::of(&key));
        self.young.insert(key, row);
    }

    pub(crate) fn forget(&mut self, key: &Key) {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{ConversationRow, WorkspaceId};

    fn row(id: usize) -> (Key, Arc<Row>) {
        let row = Row::Conversation(ConversationRow {
            workspace: WorkspaceId(1),
            conversation_id: id.to_string(),
            customer_id: "c".into(),
            version: 1,
            next_seq: 1,
            wrote_at: None,
            left_at: None,
            texted_at: None,
            open: Vec::new(),
        });
        (row.key(), Arc::new(row))
    }

    /// Invariant 7: memory is bounded, and what is used stays.
    #[test]
    fn it_keeps_what_is_used_and_no_more_than_two_generations() {
        let mut cache = Cache::default();
        let (used, value) = row(0);
        cache.keep(used.clone(), value);
        for id in 1..5 * GENERATION_ROWS {
            let (key, value) = row(id);
            cache.keep(key, value);
            assert!(id % 1_000 != 0 || cache.touch(Find::of(&used)).is_some());
        }
        assert!(cache.young.len() + cache.old.len() <= 2 * GENERATION_ROWS);
        assert!(cache.get(Find::of(&row(1).0)).is_none());
        cache.forget(&used);
        assert!(cache.get(Find::of(&used)).is_none());
    }
}
