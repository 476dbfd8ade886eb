//! The promise: one decision per follow-up, made at most 30 seconds after it starts and never both ways.
//!
//! [`open()`] and [`decide()`] are pure and total: (state, event, facts, now, policy) → [`Decision`]. What is not in
//! this table is a note or nothing; an empty effect list is a valid answer, and nothing is "impossible".
//!
//! | stage | pushes answered | acked | due | text or email answered | read, wrote back, cancelled |
//! |---|---|---|---|---|---|
//! | Watching | – | – | still online → wait on; offline → Waiting, or FallingBack with no live device | – | all of it → Cancelled |
//! | Waiting | accepted → note; retry → within the deadline; every device hopeless → FallingBack | counted → Acked, and a new follow-up of the replies it did not show; suppressed and nobody else to hope for → FallingBack; else note | deadline → FallingBack; claim expired, retry → push again | – | all of it → Cancelled; a part → Cancelled with that part, and a new follow-up of the rest |
//! | FallingBack | – | late: stops what has not left; nothing left in flight → FellBack | gap over, offer, retry, claim expired → offer again or unknown; a text that may have left → its provider is asked | accepted → FellBack; rejected → the other channel; none left → Failed | stops what has not left; nothing left or in flight → Cancelled |
//! | FellBack | – | late, as above | as above | note | as above; the outcome stays |
//! | Acked, Cancelled, Failed | – | same answer again, uncounted, late | – | – | – |
//!
//! FallingBack is entered only through one function that finds no channel → Failed at once. A reply joins a follow-up
//! that watches, that waits for an ack, or whose text and email wait out the gap while there is nobody to push to.

mod ack;
mod decide;
mod effect;
mod event;
mod fallback;
mod hops;
mod inputs;
mod money;
mod open;
mod outcome;
mod policy;
mod push;
mod reason;
mod state;
#[cfg(test)]
mod tests;

pub use ack::{AckVerdict, Acked};
pub use decide::decide;
pub use effect::{Alarm, Decision, Effect, Note, Rest, Wake, WakeReason};
pub use event::{Event, Facts, NewReply};
pub use fallback::hears;
pub use inputs::{Inputs, Known, Replay, Step};
pub use open::{Opened, Warning, join, kind_of, open, refusal, wake};
pub use outcome::{BLOCKED, Found, OPTED_OUT, Outcome};
pub use policy::{Channels, Policy, Services, Sns, SnsUnknown};
pub use reason::{Reason, Skip};
pub use state::{
    AuthorKind, Channel, Ended, Followup, Inquiry, Kind, Leg, LegStatus, MAX_REPLIES, Mark, PublicState, Push,
    PushStatus, Reply, Stage,
};
