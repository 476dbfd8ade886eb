//! The disk fails: full, broken, slow, or without power. What was answered stays, and what stays is whole.
//!
//! Needs root, and a C compiler for the shim that spoils calls.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test may stop and may speak")]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

mod alone;
mod errors;
mod full;
mod power;
mod power_server;
mod sdk;
mod shim;
mod stall;
#[path = "../it/store_rows.rs"]
#[allow(dead_code, reason = "the integration tests need more of it")]
mod store_rows;
mod world;

use backstop_tests::program;
