//! What must be done, and when to look again.

use super::ack::Acked;
use super::reason::Reason;
use super::state::{Channel, Followup, Mark};
use crate::Ms;
use crate::ids::{DeviceId, FollowupId};
use crate::limits::{Counters, Filled};
use crate::text::Way;
use crate::wallet::Change;
use serde::{Deserialize, Serialize};

/// Something for the shell to do after the commit. All of them can be derived again from the state at `wake`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this push; its claim is part of the commit.
    SendPush {
        /// To whom.
        device: DeviceId,
        /// Which try.
        attempt: u32,
        /// Replies it shows.
        covers: u16,
        /// When it is of no more use (P10).
        expires_at: Ms,
    },
    /// Find a free hand for this channel, then come back with [`super::Event::Claiming`].
    Offer(Channel),
    /// Send this text or email; its claim is part of the commit.
    Send {
        /// Which way.
        channel: Channel,
        /// Which try.
        attempt: u32,
    },
    /// Ask the provider what became of a text that may have left, then come back with [`super::Event::Asked`].
    Ask {
        /// Which try.
        attempt: u32,
        /// The how manieth time.
        inquiry: u8,
        /// It left after this, if it left.
        since: Ms,
        /// What it is found by.
        mark: Mark,
    },
    /// The number that this text went to opted out: keep it from all texts of the workspace (T7).
    Suppress,
    /// The recipient of this text blocked that way: keep to the others (T7).
    Block(Way),
    /// Tell the operator.
    Alarm(Alarm),
}

/// What an operator must hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A text was not sent because it was too old (P13).
    Overdue,
    /// The workspace has come this close to a cap of its texts (S4).
    Filled(Filled),
}

/// When to judge again, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// When.
    pub at: Ms,
    /// What for.
    pub why: WakeReason,
}

/// What a wake-up is for. Shown in logs; the rules judge by state and time alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WakeReason {
    /// The customer counts as offline then (D2).
    Presence,
    /// The follow-up is decided then (P3).
    Deadline,
    /// A claim ends.
    ClaimExpiry,
    /// A try is due.
    Retry,
    /// A channel was offered and nobody took it: judged at once after a restart.
    Offer,
    /// The repeat gap is over (D8).
    RepeatGap,
    /// A report was awaited until then.
    Report,
    /// The provider is asked then what became of a text.
    Inquiry,
    /// A text was held until then (D10).
    Held,
}

/// One line for the history (S7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What happened.
    pub event: &'static str,
    /// What was decided.
    pub decision: &'static str,
    /// Why.
    pub why: Reason,
    /// A provider's or device's code that was an input of it.
    pub detail: Option<String>,
}

/// The follow-up of the replies that were not acked or read (D8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Its id: the spare one of the facts.
    pub id: FollowupId,
    /// Its state.
    pub next: Followup,
    /// What to do for it.
    pub effects: Vec<Effect>,
    /// When to judge it.
    pub wake: Option<Wake>,
    /// Its first line of history.
    pub note: Note,
}

/// What came of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The state from now on.
    pub next: Followup,
    /// Whether it differs from before: if not, nothing is written.
    pub changed: bool,
    /// After the commit.
    pub effects: Vec<Effect>,
    /// When to look again; `None` = never.
    pub wake: Option<Wake>,
    /// For the history; `None` = not worth a line (the same work offered again).
    pub note: Option<Note>,
    /// Replies that live on.
    pub rest: Option<Box<Rest>>,
    /// A text or email leaves or was accepted now: the conversation's gap starts (D8).
    pub left: bool,
    /// What was to leave certainly did not: the conversation's gap is over (D8).
    pub returned: bool,
    /// What the caps count from now on, if it changes (S4).
    pub counters: Option<Box<Counters>>,
    /// The workspace's money from now on, if it moves, and what tells of it (S2).
    pub wallet: Option<Box<Change>>,
    /// The answer to an ack event.
    pub acked: Option<Acked>,
}
