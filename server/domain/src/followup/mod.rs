//! The promise: one decision per follow-up.

mod outcome;

pub use outcome::Outcome;
