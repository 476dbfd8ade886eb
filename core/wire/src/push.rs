//! The push as the app receives it: one reserved key beside whatever else the host app sends itself.

use serde::{Deserialize, Serialize};

/// The reserved key of a push payload: an object for APNs, a JSON string in FCM's `data`.
pub const PUSH_KEY: &str = "backstop";

/// The newest payload version this crate describes.
pub const WIRE_VERSION: u32 = 1;

/// Content of the reserved key. Only `receipt` is needed to acknowledge, whatever the version (W5).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// Payload version.
    #[serde(default)]
    pub v: u32,
    /// `fu_…`; empty for a test push.
    #[serde(default)]
    pub followup_id: String,
    /// Proves receipt: MAC'd by the server, opaque to the device (P11).
    pub receipt: String,
    /// The caller's id of the conversation.
    #[serde(default)]
    pub conversation_id: String,
    /// Who answered.
    #[serde(default)]
    pub title: String,
    /// What they said, cut at a grapheme to fit.
    #[serde(default)]
    pub body: String,
    /// Where a tap leads, if anywhere.
    #[serde(default)]
    pub link: Option<String>,
    /// Pushes with the same key replace each other (D8).
    #[serde(default)]
    pub collapse_key: String,
    /// RFC 3339 UTC: after this a text may have gone out instead (P10).
    #[serde(default)]
    pub expires_at: String,
}

impl std::fmt::Debug for Push {
    /// The text is personal and the receipt a secret: neither is printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push").field("v", &self.v).field("followup_id", &self.followup_id).finish_non_exhaustive()
    }
}
