//! Shared helpers of the tests.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

#[path = "kills/oracle.rs"]
pub mod oracle;
pub mod program;
