//! Shared helpers of the tests.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

pub mod program;
