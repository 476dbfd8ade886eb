//! Long texts from phones come part by part, in any order: they are joined before anybody reads them.
//!
//! A part is answered when what it belongs to was taken in, so that the SMSC delivers all of it again where that never
//! happens. One that waits for the answer before it delivers the next part gets it a little later, and is joined by
//! nobody: what there is of a text is taken in as it came.

use super::pdu::Place;
use crate::providers::Unheard;
use std::collections::HashMap;
use std::sync::Mutex;
use tokio::sync::oneshot;

/// How long a part waits for the others; SMSCs wait longer for an answer.
pub(super) const JOIN_MS: u64 = 5_000;
/// Parts that wait at once. What comes beyond is taken in alone: receipts must come through.
const MAX_WAITING: usize = 32;

/// Which text a part is of: its numbers as they were read, its reference, how many parts it has.
pub(super) type Key = (String, String, u16, u8);

/// A part that came.
pub(super) struct Piece {
    /// The request that it came by.
    pub(super) sequence: u32,
    pub(super) place: Place,
    pub(super) data_coding: u8,
    pub(super) octets: Vec<u8>,
    /// What became of the text, for who waits to answer the request.
    pub(super) told: oneshot::Sender<Result<(), Unheard>>,
}

/// The parts of one connection that wait for others.
#[derive(Default)]
pub(super) struct Joiner(Mutex<HashMap<Key, Vec<Piece>>>);

impl Joiner {
    /// Puts a part beside the others of its text. Answers all of them, in order, if it was the last, or if no more may
    /// wait; `None` = it waits.
    pub(super) fn add(&self, key: &Key, piece: Piece) -> Option<Vec<Piece>> {
        let mut texts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let waiting: usize = texts.values().map(Vec::len).sum();
        let pieces = texts.entry(key.clone()).or_default();
        // Delivered again: whoever waited with the earlier one has given up.
        pieces.retain(|known| known.place.at != piece.place.at);
        pieces.push(piece);
        let is_done = pieces.len() >= usize::from(key.3) || waiting >= MAX_WAITING;
        is_done.then(|| ordered(texts.remove(key).unwrap_or_default()))
    }

    /// Takes back what there is of a text; `None` = the part of this request is in other hands already.
    pub(super) fn take(&self, key: &Key, sequence: u32) -> Option<Vec<Piece>> {
        let mut texts = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_there = texts.get(key)?.iter().any(|piece| piece.sequence == sequence);
        is_there.then(|| ordered(texts.remove(key).unwrap_or_default()))
    }
}

fn ordered(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.sort_by_key(|piece| piece.place.at);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(sequence: u32, at: u8, total: u8) -> Piece {
        let place = Place { reference: 7, total, at };
        Piece { sequence, place, data_coding: 0, octets: vec![at], told: oneshot::channel().0 }
    }

    fn key(from: &str, total: u8) -> Key {
        (from.into(), "+14155550100".into(), 7, total)
    }

    fn places(pieces: Option<Vec<Piece>>) -> Option<Vec<u8>> {
        pieces.map(|pieces| pieces.iter().map(|piece| piece.place.at).collect())
    }

    /// T9: in any order, twice over, and of several people at once; what is missing for long is left out.
    #[test]
    fn t9_parts_are_joined_in_their_order() {
        let joiner = Joiner::default();
        let (ann, ben) = (key("+14155550123", 3), key("+14155550124", 2));
        assert_eq!(places(joiner.add(&ann, piece(1, 3, 3))), None);
        assert_eq!(places(joiner.add(&ben, piece(2, 2, 2))), None);
        assert_eq!(places(joiner.add(&ann, piece(3, 1, 3))), None);
        assert_eq!(places(joiner.add(&ann, piece(4, 3, 3))), None, "again");
        assert_eq!(places(joiner.add(&ben, piece(5, 1, 2))), Some(vec![1, 2]));
        assert_eq!(places(joiner.take(&ben, 5)), None, "taken in");
        assert_eq!(places(joiner.take(&ann, 1)), None, "delivered again since");
        assert_eq!(places(joiner.take(&ann, 3)), Some(vec![1, 3]));
        assert!(joiner.0.lock().unwrap().is_empty());
    }

    /// A crowd of beginnings is not kept waiting.
    #[test]
    fn no_more_than_some_wait() {
        let joiner = Joiner::default();
        for n in 0..32 {
            assert_eq!(places(joiner.add(&key(&format!("+1415555{n:04}"), 2), piece(n, 2, 2))), None);
        }
        assert_eq!(places(joiner.add(&key("+14155559999", 2), piece(99, 2, 2))), Some(vec![2]));
    }
}
