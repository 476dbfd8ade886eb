//! The sandbox: the real server with captured providers, clocks that a test turns, and phones that run the SDK.
//!
//! Nothing here decides and nothing here is faster than real: a sandbox workspace's follow-ups go through the same
//! engine, store and wire as all others. Three things differ: what would leave is captured, each workspace's clock can
//! be frozen and stepped ([`step`]), and its phones live in this process ([`phones`]).

mod phones;
mod routes;
mod step;

pub use phones::Network;
pub(crate) use routes::document;
pub use step::Stepped;

use crate::http::Api;
use crate::providers::capture::{Capture, CapturedPush, Channel, Report};
use crate::store::{Key, Row, StoreError};
use crate::workspace::Workspace;
use axum::Router;
use backstop_domain::followup::{self, Event, LegStatus};
use backstop_domain::ids::FollowupId;
use phones::Yard;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How long a question waits for what was committed before it.
const SETTLE: Duration = Duration::from_secs(5);
/// Looks at a row whose send has not been answered yet before its failure report is delivered all the same.
const REPORT_LOOKS: usize = 1_000;

/// Clocks, phones and outbox of all sandbox workspaces. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

struct Inner {
    api: Arc<Api>,
    capture: Arc<Capture>,
    network: Network,
    /// By the workspace's name, since that is what captured sends carry.
    yards: Mutex<HashMap<String, Arc<Yard>>>,
}

impl Sandbox {
    /// Takes over what `capture` captures. `network` is what the phones reach the server by.
    pub fn start(api: Arc<Api>, capture: Arc<Capture>, network: Network) -> Sandbox {
        let inner = Arc::new(Inner { api, capture, network, yards: Mutex::default() });
        let (for_pushes, for_reports) = (Arc::downgrade(&inner), Arc::downgrade(&inner));
        inner.capture.subscribe(move |push| arrived(&for_pushes, push));
        inner.capture.on_report(move |report| failed(&for_reports, report));
        Sandbox(inner)
    }

    /// The routes under `/sandbox`, for [`crate::http::router`].
    pub fn router(&self) -> Router {
        routes::router(self.clone())
    }

    /// What was captured.
    pub fn capture(&self) -> &Arc<Capture> {
        &self.0.capture
    }

    /// What was committed before the call is done when it returns, or 5 s later.
    async fn settle(&self, workspace: &Workspace) {
        let _ = tokio::time::timeout(SETTLE, workspace.activity.settled()).await;
    }

    fn yard(&self, workspace: &Workspace) -> Arc<Yard> {
        let mut yards = self.0.yards();
        Arc::clone(yards.entry(workspace.name.clone()).or_insert_with(|| Yard::new(workspace)))
    }

    async fn drop_workspace(&self, workspace: &Workspace) -> Result<(), StoreError> {
        let yard = self.yard(workspace);
        // An advance in progress ends first: it would step a clock that is no more.
        let _turn = yard.turn.lock().await;
        yard.clear();
        self.settle(workspace).await;
        self.0.api.registry.drop_workspace(workspace.id).await?;
        self.0.yards().remove(&workspace.name);
        self.0.capture.forget(&workspace.name);
        Ok(())
    }
}

impl Inner {
    fn yards(&self) -> MutexGuard<'_, HashMap<String, Arc<Yard>>> {
        self.yards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn existing(&self, workspace: &str) -> Option<Arc<Yard>> {
        self.yards().get(workspace).cloned()
    }
}

/// A captured push reaches its phone, if a virtual one holds the token. Runs within the send.
fn arrived(inner: &Weak<Inner>, push: &CapturedPush<'_>) {
    let Some(inner) = inner.upgrade() else { return };
    let Some(yard) = inner.existing(&push.send.envelope.workspace) else { return };
    if let Some(phone) = yard.phone(&push.send.token)
        && let Some(payload) = push.received()
    {
        yard.receive(&inner.api.clocks, phone, payload.to_string());
    }
}

/// A provider reports afterwards that what it took has failed.
fn failed(inner: &Weak<Inner>, report: Report) {
    let Some(inner) = inner.upgrade() else { return };
    let channel = match report.channel {
        Channel::Sms | Channel::Lms | Channel::Alimtalk | Channel::Line => followup::Channel::Text,
        Channel::Email => followup::Channel::Email,
        // Push networks report nothing afterwards.
        Channel::Push => return,
    };
    let (Some(yard), Some(id)) = (inner.existing(&report.workspace), FollowupId::parse(&report.followup_id)) else {
        return;
    };
    let busy = yard.activity.begin();
    tokio::spawn(async move {
        if let Ok(Some(ws)) = inner.api.registry.by_id(yard.workspace).await {
            answered(&inner, &ws, id, channel).await;
            let failure = Event::Reported {
                channel,
                attempt: report.attempt,
                delivered: false,
                provider_id: None,
                error: Some(report.error),
            };
            if let Err(error) = inner.api.engine.reported(&ws, id, failure, None).await {
                tracing::warn!(followup = %id, %error, "a captured failure report was not stored");
            }
        }
        drop(busy);
    });
}

/// Waits until the send's own answer is in, so that a sandbox always shows acceptance first, then the failure.
async fn answered(inner: &Inner, ws: &Workspace, id: FollowupId, channel: followup::Channel) {
    for _ in 0..REPORT_LOOKS {
        let rows = inner.api.store.load(vec![Key::Followup(ws.id, id)]).await.unwrap_or_default();
        let row = rows.first().and_then(Option::as_ref).and_then(Row::as_followup);
        if !row.is_some_and(|row| matches!(row.state.leg(channel).status, LegStatus::Claimed(_))) {
            return;
        }
        phones::pause_ms(2).await;
    }
}
