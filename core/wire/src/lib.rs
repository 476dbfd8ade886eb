//! What a device and the server say to each other: JSON shapes, and nothing else.
//!
//! Both sides use these types, so that a change of the contract is a change of one file. Devices ignore fields
//! they do not know and decode unknown enum values as `Unknown`: a server may be newer than an app by years (W5).
//! Golden JSON of every shape lies in `tests/fixtures/wire`.

mod ack;
mod device;
mod presence;
mod problem;
mod push;
mod test_push;
pub mod time;

pub use ack::{Ack, AckBatch, AckOutcome, AckResult, AckResults, Grade, MAX_ACKS};
pub use device::{Alerts, DeviceRegistered, Environment, Platform, PushProvider, RegisterDevice};
pub use presence::{PresenceReport, PresenceState};
pub use problem::{FieldError, PROBLEM_PREFIX, Problem};
pub use push::{PUSH_KEY, Push, WIRE_VERSION};
pub use test_push::{TestOutcome, TestPushed};

/// The header that names the app a device speaks for; its value is the workspace's app key.
pub const APP_HEADER: &str = "backstop-app";
/// The optional header with `<platform>/<version>` of the SDK.
pub const SDK_HEADER: &str = "backstop-sdk";
/// The authorization scheme of a device: `Authorization: Backstop-Device <device_id>.<device_key>`.
pub const DEVICE_SCHEME: &str = "Backstop-Device";
