//! Acknowledgements: the device's own word that a push reached it (P7, P11).

use serde::{Deserialize, Serialize};

/// The most acks one request carries.
pub const MAX_ACKS: usize = 100;

/// How far a push got on the device, in rising order: `Suppressed` arrived but cannot be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Arrived, but the customer cannot see it: alerts or the channel are off.
    Suppressed = 1,
    /// Arrived in the app's process.
    Received = 2,
    /// Handed to the system for display while alerts and the channel allow it.
    Displayed = 3,
    /// The customer tapped it.
    Opened = 4,
    /// A grade of a newer SDK; recorded, never counted. Below all others.
    #[serde(other)]
    Unknown = 0,
}

impl Grade {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Grade::Unknown => "unknown",
            Grade::Suppressed => "suppressed",
            Grade::Received => "received",
            Grade::Displayed => "displayed",
            Grade::Opened => "opened",
        }
    }
}

/// One acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The receipt that came in the push, as given.
    pub receipt: String,
    /// How far the push got.
    pub grade: Grade,
    /// When the device recorded it, RFC 3339 UTC by the device's clock. Reported, never trusted.
    pub at: String,
    /// Why, in one short word of the SDK's (`channel_off`, `alerts_denied`); for the why-log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Body of `POST /v1/acks`: 1 to [`MAX_ACKS`] acks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckBatch {
    /// The acks, answered in this order.
    pub acks: Vec<Ack>,
}

/// What became of one ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckResult {
    /// Valid, and recorded before a fallback was decided.
    Accepted,
    /// Valid, and recorded after the fallback was decided.
    Late,
    /// The same receipt with the same or a higher grade was recorded before.
    Duplicate,
    /// Everything else, in one shape: an oracle for nobody.
    Refused,
    /// A result of a newer server; final for the device.
    #[serde(other)]
    Unknown,
}

/// Result of one ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckOutcome {
    /// What became of it.
    pub result: AckResult,
    /// Whether this ack is enough to settle the follow-up as acked (P6, P7).
    pub counted: bool,
}

/// Answer of `POST /v1/acks`, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckResults {
    /// One result an ack.
    pub results: Vec<AckOutcome>,
}
