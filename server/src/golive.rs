//! Whether everything outside is as the configuration says: a finding a thing, and what mends it.
//!
//! Nothing is sent to anybody: a vendor is asked in a way that it judges and does not carry out. Each check ends within
//! ten seconds, and all run at once.

mod accounts;
mod machine;
mod site;
mod workspace;

pub use machine::needed_files;
pub use workspace::GoLive;
pub(crate) use workspace::credentials;

use crate::clock::Clock;
use crate::config::Config;
use crate::vault::Vault;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// For one check, whatever it waits for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, and somebody should know.
    Warning,
    /// It does not work: see `mend`.
    Failed,
    /// It could not be found out now.
    Unknown,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// What was looked at.
    #[schema(example = "public_url")]
    pub check: String,
    /// How it stands.
    pub status: Status,
    /// What was found.
    pub message: String,
    /// What to do; `null` = nothing.
    pub mend: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding { check: check.into(), status: Status::Ok, message: message.into(), mend: None }
    }

    pub(crate) fn other(
        status: Status,
        check: impl Into<String>,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        Finding { check: check.into(), status, message: message.into(), mend: Some(mend.into()) }
    }

    pub(crate) fn failed(check: impl Into<String>, message: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding::other(Status::Failed, check, message, mend)
    }

    pub(crate) fn warning(check: impl Into<String>, message: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding::other(Status::Warning, check, message, mend)
    }

    pub(crate) fn unknown(check: impl Into<String>, message: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding::other(Status::Unknown, check, message, mend)
    }

    /// As a line of `check-config`.
    pub fn line(&self) -> String {
        let word = match self.status {
            Status::Ok => "ok   ",
            Status::Warning => "warn ",
            Status::Failed => "BAD  ",
            Status::Unknown => "?    ",
        };
        let mend = self.mend.as_ref().map(|mend| format!(": {mend}")).unwrap_or_default();
        format!("{word} {:<9} {}{mend}", self.check, self.message)
    }
}

/// Everything of the deployment: the machine, the site and the accounts. `vault` = of the store, if there is one;
/// `running` = this process is the server.
pub async fn deployment(config: &Config, clock: &Arc<dyn Clock>, vault: Option<&Vault>, running: bool) -> Vec<Finding> {
    let (machine, site, accounts) =
        tokio::join!(machine::look(config), site::look(config, clock, vault, running), accounts::look(config, clock),);
    [machine, site, accounts].concat()
}

/// What a check comes to, or that it took too long.
async fn bounded(check: &str, look: impl Future<Output = Finding>) -> Finding {
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(finding) => finding,
        Err(_) => late(check),
    }
}

fn late(check: &str) -> Finding {
    let message = format!("nothing was heard within {} s", PATIENCE.as_secs());
    Finding::failed(check, message, "check the network from this machine: name look-up, firewall, proxy")
}
