//! Where the texts of a follow-up are counted (S4): rows that are read with a claim and written in its commit.

use super::desk::{Again, Desk};
use super::find::Find;
use crate::store::{CounterRow, FollowupRow, Row, WorkspaceId};
use crate::vault::Vault;
use backstop_domain::limits::{Counters, Scope};

/// The last digits of a number that its block leaves open: 10,000 numbers.
const PREFIX_OPEN_DIGITS: usize = 4;

/// Stands for the number that a text goes to, and for its block of numbers.
#[derive(Clone, Copy)]
pub(crate) struct Destination {
    number: [u8; 16],
    prefix: [u8; 16],
}

/// Where one text is counted: a key a scope, in the order of [`Scope::ALL`].
pub(super) struct Purse {
    workspace: WorkspaceId,
    keys: [[u8; 16]; 5],
}

impl Destination {
    /// Of an E.164 number.
    pub(crate) fn of(vault: &Vault, ws: WorkspaceId, e164: &str) -> Destination {
        let prefix = e164.get(..e164.len().saturating_sub(PREFIX_OPEN_DIGITS)).unwrap_or_default();
        Destination {
            number: vault.counter_key(ws, Scope::Number, e164),
            prefix: vault.counter_key(ws, Scope::Prefix, prefix),
        }
    }

    /// Its key in one of the two scopes that are about numbers.
    pub(crate) fn key(&self, scope: Scope) -> Option<[u8; 16]> {
        match scope {
            Scope::Number => Some(self.number),
            Scope::Prefix => Some(self.prefix),
            Scope::Customer | Scope::Conversation | Scope::Workspace => None,
        }
    }
}

impl Purse {
    pub(super) fn of(vault: &Vault, row: &FollowupRow, to: &Destination) -> Purse {
        let ws = row.workspace;
        let key = |scope| match scope {
            Scope::Number => to.number,
            Scope::Prefix => to.prefix,
            Scope::Customer => vault.counter_key(ws, scope, &row.customer_id),
            Scope::Conversation => vault.counter_key(ws, scope, &row.conversation_id),
            Scope::Workspace => vault.counter_key(ws, scope, ""),
        };
        Purse { workspace: ws, keys: Scope::ALL.map(key) }
    }

    fn finds(&self) -> impl Iterator<Item = Find<'_>> {
        Scope::ALL.into_iter().zip(&self.keys).map(|(scope, key)| Find::Counter(self.workspace, scope, key))
    }

    pub(super) fn want(&self, desk: &mut Desk<'_>) {
        self.finds().for_each(|key| {
            desk.want(key);
        });
    }

    pub(super) fn read(&self, desk: &Desk<'_>) -> Result<Counters, Again> {
        let mut counters = Vec::with_capacity(self.keys.len());
        for key in self.finds() {
            counters.push(desk.get(key)?.and_then(|row| row.as_counter()).map(|row| row.counter).unwrap_or_default());
        }
        Ok(Counters::read(|scope| counters[scope as usize]))
    }

    pub(super) fn write(&self, desk: &mut Desk<'_>, counters: &Counters) -> Result<(), Again> {
        for (scope, key) in Scope::ALL.into_iter().zip(self.keys) {
            let counter = counters.of(scope);
            let before =
                desk.get(Find::Counter(self.workspace, scope, &key))?.and_then(|row| row.as_counter()).copied();
            if before.is_none_or(|row| row.counter != counter) {
                let version = before.map_or(0, |row| row.version);
                desk.put(Row::Counter(CounterRow { workspace: self.workspace, scope, key, version, counter }));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S4: a block is all numbers that differ in their last four digits; workspaces and scopes share no key.
    #[test]
    fn a_block_is_ten_thousand_numbers() {
        let vault = Vault::new(&[7; 32]);
        let of = |ws, e164| Destination::of(&vault, WorkspaceId(ws), e164);
        let ours = of(1, "+821012345678");
        assert_ne!(ours.number, of(1, "+821012345679").number);
        assert_eq!(ours.prefix, of(1, "+821012340000").prefix);
        assert_ne!(ours.prefix, of(1, "+821012355678").prefix);
        assert_ne!((ours.number, ours.prefix), (of(2, "+821012345678").number, of(2, "+821012345678").prefix));
        assert_ne!(of(1, "+82101234").number, of(1, "+821012345678").prefix);
        assert_eq!(of(1, "+1").prefix, of(1, "").prefix, "too short for a block of its own");
    }
}
