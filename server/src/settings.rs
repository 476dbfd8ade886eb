//! A workspace's settings as the API shows them.

use serde::{Deserialize, Serialize};

/// What a workspace may adjust.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The company's name as customers see it; absent = the workspace's name.
    #[serde(default)]
    pub company_name: Option<String>,
}
