//! The real server is killed, stopped, turned and drained under load, and asked afterwards for everything it promised.
//!
//! The load speaks HTTP; pushes leave by FCM's protocol and mails by SMTP, to doubles that outlive the server. No text
//! provider exists yet, so texts are those of a sandbox, whose capture keeps a log that outlives it as well. What was
//! seen goes to the oracle (`oracle.rs`), which knows nothing of how Backstop works.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test may stop and may speak")]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

mod clocks;
mod doubles;
mod drains;
mod kills;
mod load;
mod mutants;
mod pauses;
mod time;
mod world;

use backstop_tests::oracle::{History, judge};

/// More of everything.
fn is_long() -> bool {
    std::env::var_os("BACKSTOP_LONG").is_some_and(|value| value == "1")
}

/// The history holds; else the test ends with everything that does not.
fn assert_sound(world: &str, history: &History) {
    let found = judge(history);
    assert!(found.is_empty(), "{world}: {} broken promises: {found:#?}", found.len());
}
