//! Decisions made again, on what they were made on, by the rules and settings of now (S7).

use crate::store::HistoryEntry;
use backstop_domain::Ms;
use backstop_domain::followup::{Inputs, Note, Policy, Reason, Replay, Step};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Decisions that were made again and came to the same.
    pub alike: usize,
    /// The first that came to something else: what followed from it cannot be told.
    pub differs: Option<Differs>,
    /// Why not all were made again.
    pub incomplete: Option<Incomplete>,
    /// The version of the settings that the first was made by.
    pub settings_then: Option<i64>,
}

/// A decision that would be another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differs {
    /// When it was made.
    pub at: Ms,
    /// What it was.
    pub then: Said,
    /// What it would be; `None` = nothing would come of what happened.
    pub now: Option<Said>,
}

/// A line of history without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// What happened.
    pub event: String,
    /// What was decided.
    pub decision: String,
    /// Why.
    pub why: String,
}

/// Why a decision was not made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// What it was made on is not there: it was erased, or it is older than its being kept.
    NotKept,
    /// It was kept in words that this version does not know.
    NotUnderstood,
}

impl Incomplete {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Incomplete::NotKept => "not_kept",
            Incomplete::NotUnderstood => "not_understood",
        }
    }
}

impl Replayed {
    /// Whether every decision would be the same now.
    pub fn is_same(&self) -> bool {
        self.differs.is_none() && self.incomplete.is_none()
    }
}

/// Makes the decisions of a history again, up to the first that comes to something else.
pub fn replay(history: &[HistoryEntry], policy: &Policy) -> Replayed {
    let mut replayed = Replayed { alike: 0, differs: None, incomplete: None, settings_then: None };
    let mut replay = Replay::default();
    for entry in history {
        let Some(kept) = &entry.inputs else {
            replayed.incomplete = Some(Incomplete::NotKept);
            break;
        };
        let Ok(inputs) = serde_json::from_str::<Inputs>(kept) else {
            replayed.incomplete = Some(Incomplete::NotUnderstood);
            break;
        };
        replayed.settings_then.get_or_insert(inputs.settings);
        let now = replay.decide(entry.at, &inputs, policy).map(|note| said(&note));
        let then = Said { event: entry.event.clone(), decision: entry.decision.clone(), why: entry.why.clone() };
        // What was split off another began as it was split.
        if !matches!(inputs.step, Step::Rest(_)) && now.as_ref() != Some(&then) {
            replayed.differs = Some(Differs { at: entry.at, then, now });
            break;
        }
        replayed.alike += 1;
    }
    replayed
}

/// As a history says it.
pub(crate) fn said(note: &Note) -> Said {
    let detail = note.detail.as_deref().filter(|detail| !detail.is_empty());
    Said {
        event: detail.map_or_else(|| note.event.to_owned(), |detail| format!("{}:{detail}", note.event)),
        decision: note.decision.to_owned(),
        why: if note.why == Reason::Nothing { String::new() } else { note.why.as_str().to_owned() },
    }
}
