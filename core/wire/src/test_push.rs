//! The test push: what a device's self-test is told of one real push to itself.

use crate::{Environment, PushProvider};
use serde::{Deserialize, Serialize};

/// What became of a test push at the push service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestOutcome {
    /// The push service took it; whether it arrives, only the device can say.
    Accepted,
    /// The token is dead: the app has to get another one and register it.
    TokenGone,
    /// It did not and will not leave; the reason says what is to be mended.
    Rejected,
    /// Not now: the push service, or the account it is asked by, wants to be left alone for a while.
    RetryAfter,
    /// No answer in time, so it may arrive all the same; or a word of a newer server.
    #[serde(other)]
    Unknown,
}

impl TestOutcome {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            TestOutcome::Accepted => "accepted",
            TestOutcome::TokenGone => "token_gone",
            TestOutcome::Rejected => "rejected",
            TestOutcome::RetryAfter => "retry_after",
            TestOutcome::Unknown => "unknown",
        }
    }
}

/// Answer of `POST /v1/devices/{id}/test-push`, whose body is empty or `{}`.
///
/// The push that it tells of has no follow-up, and a receipt: its ack is `accepted` and counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestPushed {
    /// Whose service the device's token belongs to.
    pub provider: PushProvider,
    /// What it said.
    pub outcome: TestOutcome,
    /// The vendor's own word for why, or the server's (`no_push_credentials`); absent where there is nothing to say.
    #[serde(default)]
    pub reason: Option<String>,
    /// The APNs environment that was asked last; `None` for FCM, and where nothing was asked.
    #[serde(default)]
    pub environment: Option<Environment>,
    /// The server's clock at the answer, RFC 3339 UTC: what the device's own is compared with.
    pub at: String,
}
