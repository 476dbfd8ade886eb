//! The same for one workspace: what the deployment has, and what the workspace itself still needs.

use super::accounts::account;
use super::{Finding, PATIENCE, Status, deployment};
use crate::canary::{Canary, Fate};
use crate::clock::{Clock, Clocks};
use crate::config::Config;
use crate::http::test_sends::PUSH_CONVERSATION;
use crate::store::{FollowupFilter, Store, StoreError, WorkspaceId};
use crate::vault::Vault;
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::followup::PublicState;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinSet;

/// Vendors are asked at most this often, however often we are.
const EVERY_MS: Ms = 60_000;
/// Workspaces whose findings are kept; with more the oldest are looked for anew.
const MAX_KEPT: usize = 1_000;

/// Looks, and keeps what was found for a minute.
pub struct GoLive {
    /// `None` = nothing real is sent: there is nobody to ask.
    config: Option<Config>,
    vault: Arc<Vault>,
    clocks: Arc<Clocks>,
    canary: Arc<Canary>,
    deployment: Kept,
    workspaces: Mutex<HashMap<WorkspaceId, Arc<Kept>>>,
}

/// What was found last, and when. Held while somebody looks: the others wait for that look.
type Kept = tokio::sync::Mutex<Option<Look>>;

/// What was found.
#[derive(Clone)]
pub struct Look {
    /// When.
    pub at: Ms,
    /// A finding a thing.
    pub findings: Vec<Finding>,
}

impl GoLive {
    /// `config` of a server that sends; `None` = a sandbox.
    pub fn new(config: Option<Config>, vault: Arc<Vault>, clocks: Arc<Clocks>, canary: Arc<Canary>) -> GoLive {
        let (deployment, workspaces) = (Kept::default(), Mutex::default());
        GoLive { config, vault, clocks, canary, deployment, workspaces }
    }

    /// Everything that concerns this workspace, at most a minute old.
    pub async fn look(&self, store: &dyn Store, ws: &Workspace) -> Result<Look, StoreError> {
        let kept = self.kept(ws.id);
        let mut kept = kept.lock().await;
        let now = self.clocks.real_ms();
        if let Some(look) = kept.as_ref().filter(|look| is_fresh(look, now)) {
            return Ok(look.clone());
        }
        let mut findings = self.deployment().await;
        findings.extend(self.workspace(store, ws).await?);
        let look = Look { at: now, findings };
        *kept = Some(look.clone());
        Ok(look)
    }

    fn kept(&self, ws: WorkspaceId) -> Arc<Kept> {
        let mut all = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_KEPT && !all.contains_key(&ws) {
            all.clear();
        }
        Arc::clone(all.entry(ws).or_default())
    }

    async fn deployment(&self) -> Vec<Finding> {
        let Some(config) = &self.config else { return Vec::new() };
        let mut kept = self.deployment.lock().await;
        let now = self.clocks.real_ms();
        if let Some(look) = kept.as_ref().filter(|look| is_fresh(look, now)) {
            return look.findings.clone();
        }
        let clock: &Arc<dyn Clock> = self.clocks.real();
        let findings = deployment(config, clock, Some(&self.vault), true).await;
        *kept = Some(Look { at: now, findings: findings.clone() });
        findings
    }

    async fn workspace(&self, store: &dyn Store, ws: &Workspace) -> Result<Vec<Finding>, StoreError> {
        let mut found = settings(ws);
        found.extend(credentials(ws).await);
        found.extend(country(ws));
        found.push(match store.any_device(ws.id).await? {
            true => Finding::ok("device", "an app has registered a device"),
            false => {
                let mend = "start the app with the SDK on a phone, logged in, with notifications allowed";
                Finding::warning("device", "no app has registered a device yet", mend)
            }
        });
        found.push(test_followup(store, ws).await?);
        found.push(canary(ws, self.canary.fate(ws.id)));
        Ok(found)
    }
}

fn is_fresh(look: &Look, now: Ms) -> bool {
    (0..EVERY_MS).contains(&(now - look.at))
}

/// S1, P12: what is switched on, and has something to leave by.
fn settings(ws: &Workspace) -> Vec<Finding> {
    let services = &ws.services();
    let mut found: Vec<Finding> = ws
        .advice(services)
        .into_iter()
        .map(|advice| Finding::warning("settings", advice.message(), "PUT /v1/settings, or mend the server's accounts"))
        .collect();
    if found.is_empty() {
        found.push(Finding::ok("settings", "what is switched on has something to leave by"));
    }
    if !services.fcm && !services.apns && ws.apps.rows().is_empty() {
        let mend = "PUT /v1/apps/{app_id} with the app's credentials, if it has one";
        found.push(Finding::warning("push", "there are no push credentials: no push leaves", mend));
    }
    found
}

/// Each app's own credentials, all asked at once.
pub(crate) async fn credentials(ws: &Workspace) -> Vec<Finding> {
    let mut asking = JoinSet::new();
    for (at, (app_id, sender)) in ws.apps.accounts().into_iter().enumerate() {
        let check = format!("apps.{app_id}");
        asking.spawn(async move {
            let heard = tokio::time::timeout(PATIENCE, sender.check()).await.ok();
            (at, account(&check, heard).0)
        });
    }
    let mut found = asking.join_all().await;
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, finding)| finding).collect()
}

fn country(ws: &Workspace) -> Option<Finding> {
    let finding = match &ws.settings.country {
        Some(country) => Finding::ok("country", format!("national numbers are read as {country}")),
        None => {
            let mend = "PUT /v1/settings with country, such as KR";
            Finding::warning("country", "no country: only numbers that begin with + are understood", mend)
        }
    };
    ws.settings.phone_number.then_some(finding)
}

async fn test_followup(store: &dyn Store, ws: &Workspace) -> Result<Finding, StoreError> {
    let conversation_id = Some(PUSH_CONVERSATION.to_owned());
    let newest = store.followups(ws.id, FollowupFilter { conversation_id, limit: 1, ..Default::default() }).await?;
    let mend = "POST /v1/test-sends with channel push and a customer whose phone you hold";
    let state = newest.first().and_then(|row| row.state.public_state());
    Ok(match state {
        Some(PublicState::Acked) => Finding::ok("test_push", "the newest test push was acknowledged by a phone"),
        Some(PublicState::Sending | PublicState::AwaitingAck) => {
            Finding::unknown("test_push", "the newest test push is still on its way", "look again in a minute")
        }
        Some(_) => Finding::failed("test_push", "the newest test push was not acknowledged", mend),
        None => Finding::warning("test_push", "no test push was sent yet", mend),
    })
}

fn canary(ws: &Workspace, fate: Option<Fate>) -> Finding {
    let check = "canary";
    match fate {
        _ if !ws.settings.canary => {
            let mend = "PUT /v1/settings with canary true: it costs nobody a text";
            Finding::warning(check, "no follow-up a minute shows that the server decides", mend)
        }
        None | Some(Fate::Flying) => Finding::unknown(check, "the first one is under way", "look again in a minute"),
        Some(Fate::Well) => Finding::ok(check, "the last one was decided and handed over in time"),
        Some(Fate::Down(reason)) => Finding::other(
            Status::Failed,
            check,
            format!("the last one {reason}"),
            "look at /readyz and the server's log",
        ),
    }
}
