//! The pure device machine: `decide` on (state, event, time, random bits); no clock, no socket, no file.
//!
//! The shell ([`PushClient`](crate::PushClient)) feeds it what happened and does what it asks for; a simulation can
//! do both without any I/O. What it promises, whatever happens in whatever order:
//!
//! - a recorded ack stays pending until the server answered it, or it left for one of the reasons of [`Settled`];
//! - nothing final ever follows from 429, 5xx, 401 or a broken network;
//! - acks leave in the order of recording, at most 100 together, before anything else that waits;
//! - one request is in flight at a time, and none before the time the server named.

pub use crate::backoff::{ceiling_ms, delay_ms};
pub use crate::decide::{Decision, Wake, WakeReason, decide};
pub use crate::effect::{Effect, Settled};
pub use crate::event::{Answer, Event};
pub use crate::policy::Policy;
pub use crate::state::{AckId, Credentials, Customer, Hold, InFlight, PendingAck, Registration, State};
