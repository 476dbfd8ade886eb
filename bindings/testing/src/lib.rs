//! What tests of host apps need: the SDK on a network and a clock of the test's own, and a sandbox server to talk to.
//!
//! A library of its own that holds all of `backstop-ffi`, too: apps ship that one, their tests load this one.

uniffi::setup_scaffolding!();
backstop_ffi::uniffi_reexport_scaffolding!();

mod clock;
mod network;
mod sandbox;

pub use clock::TestClock;
pub use network::{NetworkBehaviour, SentAck, SentRequest, TestNetwork, open_for_testing, simulated_push};
pub use sandbox::{CapturedSend, FollowupView, Sandbox, TestError};
