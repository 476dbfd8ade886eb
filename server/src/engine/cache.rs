//! Rows that the last batches worked on: what is acked or answered now was written a moment ago.
//!
//! Only the loop reads and writes it, and only after a commit. Nothing hangs on its truth: a row that another node
//! changed has another version in the store, the commit conflicts, and the loop forgets everything and loads.

use crate::store::{Key, Row};
use std::collections::HashMap;

/// Rows a generation holds; two generations live. About 1 kB each.
const GENERATION_ROWS: usize = 16_384;

#[derive(Default)]
pub(crate) struct Cache {
    young: HashMap<Key, Row>,
    old: HashMap<Key, Row>,
}

impl Cache {
    pub(crate) fn get(&mut self, key: &Key) -> Option<Row> {
        if let Some(row) = self.young.get(key) {
            return Some(row.clone());
        }
        let row = self.old.remove(key)?;
        self.keep(key.clone(), row.clone());
        Some(row)
    }

    /// Messages are read once and answers of look-ups depend on other rows: neither is kept.
    pub(crate) fn keep(&mut self, key: Key, row: Row) {
        let kept = matches!(row, Row::Customer(_) | Row::Conversation(_) | Row::Followup(_) | Row::Device(_));
        if !kept {
            return;
        }
        if self.young.len() >= GENERATION_ROWS {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, row);
    }

    pub(crate) fn forget(&mut self, key: &Key) {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub(crate) fn clear(&mut self) {
        *self = Cache::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{ConversationRow, WorkspaceId};

    fn row(id: usize) -> (Key, Row) {
        let row = Row::Conversation(ConversationRow {
            workspace: WorkspaceId(1),
            conversation_id: id.to_string(),
            customer_id: "c".into(),
            version: 1,
            next_seq: 1,
            wrote_at: None,
            left_at: None,
            open: Vec::new(),
        });
        (row.key(), row)
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
            assert!(id % 1_000 != 0 || cache.get(&used).is_some());
        }
        assert!(cache.young.len() + cache.old.len() <= 2 * GENERATION_ROWS);
        assert!(cache.get(&row(1).0).is_none());
        cache.forget(&used);
        assert!(cache.get(&used).is_none());
    }
}
