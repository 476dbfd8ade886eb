//! What a vendor's reports name texts by, where they name nothing else: its own ids, part by part.

use super::WorkspaceId;
use backstop_domain::ids::FollowupId;

/// A part that a vendor has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRow {
    /// The vendor.
    pub provider: String,
    /// The vendor's id of it.
    pub id: String,
    /// Whose.
    pub workspace: WorkspaceId,
    /// Of which text.
    pub followup: FollowupId,
    /// Which try of it.
    pub attempt: u32,
    /// How many parts the text has.
    pub parts: u16,
}

/// Where the parts of a text stand, after one more report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The part that the report named.
    pub part: PartRow,
    /// Parts that were delivered.
    pub delivered: u16,
    /// Whether any failed.
    pub failed: bool,
}
