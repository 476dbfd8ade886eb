//! Presence reports: whether the customer is looking (D3, D4).

use serde::{Deserialize, Serialize};

/// What one page or device says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresenceState {
    /// In front of the customer.
    Active,
    /// Another page, tab or window is in front.
    Hidden,
    /// Closed; on a phone, in the background.
    Left,
}

/// One report of `POST /v1/presence`; every one is a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceReport {
    /// The page's or device's own id, 1–128 characters.
    pub source_id: String,
    /// What it says.
    pub state: PresenceState,
    /// Milliseconds since the last activity; absent = the last activity stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<i64>,
    /// Needed from the backend and web pages; a device's own customer otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
}
