//! What may be done with a customer's contact data (S8).

use serde::{Deserialize, Serialize};

/// Where contact data comes from, hence what it may be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContactSource {
    /// The customer's account with the company.
    #[default]
    Account,
    /// Left in the chat, for the answer to this inquiry alone.
    FollowUp,
    /// Given with an explicit consent.
    Consent,
}
