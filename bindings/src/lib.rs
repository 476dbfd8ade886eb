//! The SDK as Kotlin and Swift see it: every method forwards to `backstop-core`.
//!
//! The façades in `android/` and `ios/` are the public API; what is generated from here stays internal to them. Three
//! rules keep the boundary safe:
//!
//! - every exported function returns a `Result`, so that a panic becomes an error of the caller and never a crash;
//! - nothing is called back: callers pull, within a budget of time, and cancel by a [`Cancel`] handle, since a
//!   cancelled Swift task does not reach Rust;
//! - configuration crosses as one record, errors as at most eight cases, each something that the caller can do.

uniffi::setup_scaffolding!();

mod client;
mod convert;
mod error;
mod extension;
mod logs;
mod types;

pub use client::{Cancel, Client, parse_push, sdk_version};
pub use error::SdkError;
pub use extension::{Extension, ExtensionConfig, Spooled};
pub use logs::{LogLevel, LogLine, next_logs, set_log_level};
pub use types::{
    AckOutcome, AckResult, Acked, Alerts, ClientConfig, Customer, DeviceCredentials, DeviceFacts, Environment, Finding,
    FindingLevel, Flushed, Grade, Handled, Platform, PresenceState, Proof, Push, PushProvider, PushToken, Registration,
    Seen, SelfTest, Status, Storage, Tapped,
};
