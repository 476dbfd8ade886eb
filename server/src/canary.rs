//! Canaries: a follow-up a minute that goes the whole way of a real one and reaches nobody, or rings.
//!
//! A workspace that wants one has a second workspace beside it, of a name that no other can have. Its one device is
//! nobody's, and what would leave is taken in by [`crate::perform`]. So a canary is in no list and no count of the
//! workspace that it sings for, and it is dropped whole, again and again: nothing piles up, and nothing is left of a
//! server that died.

use crate::clock::Clocks;
use crate::engine::Engine;
use crate::engine::api::{CustomerInput, EngineError, MessageBody, PostMessage, Posted, Registration};
use crate::registry::{CreateError, Registry};
use crate::store::{Key, Row, Store, StoreError, WorkspaceId};
use crate::telemetry::{ALARMS, CANARIES, CANARIES_DOWN};
use crate::workspace::Workspace;
use backstop_domain::canary::{Verdict, verdict};
use backstop_domain::followup::{AuthorKind, Channel, Kind};
use backstop_domain::ids::FollowupId;
use backstop_wire::{Alerts, Platform, PushProvider};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(60);
/// For one canary's start; an engine that does not answer is what it is there to find.
const PATIENCE: Duration = Duration::from_secs(10);
/// After as many, a cage is cleaned: its rows are dropped.
const CLEANED_AFTER: u32 = 60;
/// What stands behind the workspace's name. No other name may hold it.
const BESIDE: &str = ":canary";
const NOBODY: &str = "canary";

/// How the last canary of a workspace fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is the first one, and not due yet.
    Flying,
    /// Decided and handed over in time.
    Well,
    /// It was not: "the last one …".
    Down(&'static str),
}

/// Sends them out and looks after them.
pub struct Canary {
    engine: Engine,
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    clocks: Arc<Clocks>,
    cages: Mutex<HashMap<WorkspaceId, Cage>>,
}

/// The canaries of one workspace.
#[derive(Clone)]
struct Cage {
    /// The workspace beside it; `None` = to be made anew.
    home: Option<WorkspaceId>,
    flown: u32,
    flying: Option<FollowupId>,
    fate: Fate,
}

/// Why none could be sent out.
#[derive(Debug, thiserror::Error)]
enum Grounded {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error("it was taken for somebody who is online")]
    Watched,
}

impl From<StoreError> for Grounded {
    fn from(error: StoreError) -> Grounded {
        Grounded::Engine(error.into())
    }
}

/// Whether this is the name of a workspace that only canaries live in.
pub(crate) fn is_cage(name: &str) -> bool {
    name.ends_with(BESIDE)
}

impl Canary {
    /// None flies before the first [`Canary::tick`].
    pub fn new(engine: Engine, store: Arc<dyn Store>, registry: Arc<Registry>, clocks: Arc<Clocks>) -> Canary {
        Canary { engine, store, registry, clocks, cages: Mutex::default() }
    }

    /// How the workspace's last one fared; `None` = it has none.
    pub fn fate(&self, ws: WorkspaceId) -> Option<Fate> {
        self.cages().get(&ws).map(|cage| cage.fate)
    }

    /// Looks and sends every minute. Never ends.
    #[expect(clippy::disallowed_methods, reason = "how often a canary flies: no rule sees it")]
    pub(crate) async fn keep(&self) {
        let mut minutes = tokio::time::interval(EVERY);
        minutes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            minutes.tick().await;
            self.tick().await;
        }
    }

    /// Looks after those that fly, and sends out the next ones.
    pub async fn tick(&self) {
        match tokio::time::timeout(PATIENCE, self.wanted()).await {
            Ok(Ok(wanted)) => {
                self.retire(&wanted).await;
                for ws in wanted {
                    self.look_after(&ws).await;
                }
            }
            Ok(Err(_)) | Err(_) => {
                let known: Vec<WorkspaceId> = self.cages().keys().copied().collect();
                known
                    .into_iter()
                    .for_each(|ws| self.report(ws, "", Fate::Down("could not be sent: the store is away")));
            }
        }
        let down = self.cages().values().filter(|cage| matches!(cage.fate, Fate::Down(_))).count();
        metrics::gauge!(CANARIES_DOWN).set(down as f64);
    }

    /// Every workspace whose settings ask for one.
    async fn wanted(&self) -> Result<Vec<Arc<Workspace>>, StoreError> {
        let mut wanted = Vec::new();
        for row in self.store.workspaces().await?.into_iter().filter(|row| !is_cage(&row.name)) {
            wanted.extend(self.registry.by_id(row.id).await?.filter(|ws| ws.settings.canary));
        }
        Ok(wanted)
    }

    /// Cages that nobody asks for any more go.
    async fn retire(&self, wanted: &[Arc<Workspace>]) {
        let unwanted = |id: &WorkspaceId| wanted.iter().all(|ws| ws.id != *id);
        let gone: Vec<(WorkspaceId, Cage)> =
            self.cages().iter().filter(|(id, _)| unwanted(id)).map(|(id, cage)| (*id, cage.clone())).collect();
        for (id, cage) in gone {
            if let Some(home) = cage.home
                && let Err(error) = self.registry.drop_workspace(home).await
            {
                tracing::warn!(%error, "a canary's rows are dropped at the next look");
                continue;
            }
            self.cages().remove(&id);
        }
    }

    async fn look_after(&self, ws: &Arc<Workspace>) {
        let mut cage = self.cages().get(&ws.id).cloned().unwrap_or(Cage {
            home: None,
            flown: 0,
            flying: None,
            fate: Fate::Flying,
        });
        if let (Some(home), Some(id)) = (cage.home, cage.flying) {
            match self.judged(home, id).await {
                // One at a time: it is looked at again.
                Some(Verdict::Pending) => return,
                Some(verdict) => cage.fate = verdict.complaint().map_or(Fate::Well, Fate::Down),
                None => cage.fate = Fate::Down("could not be looked at: the store is away"),
            }
            cage.flying = None;
        }
        let sent = tokio::time::timeout(PATIENCE, self.send(ws, &mut cage)).await;
        if !matches!(sent, Ok(Ok(()))) {
            cage.fate = Fate::Down("could not be sent");
            if let Ok(Err(error)) = sent {
                tracing::warn!(%error, workspace = ws.name, "no canary was sent");
            }
        }
        let fate = cage.fate;
        self.cages().insert(ws.id, cage);
        self.report(ws.id, &ws.name, fate);
    }

    async fn judged(&self, home: WorkspaceId, id: FollowupId) -> Option<Verdict> {
        let load = self.store.load(vec![Key::Followup(home, id)]);
        let rows = tokio::time::timeout(PATIENCE, load).await.ok()?.ok()?;
        let row = rows.first().and_then(Option::as_ref).and_then(Row::as_followup)?;
        Some(verdict(&row.state, self.clocks.now_ms(home)))
    }

    /// The next one, from a clean cage if that is due.
    async fn send(&self, ws: &Arc<Workspace>, cage: &mut Cage) -> Result<(), Grounded> {
        if cage.flown >= CLEANED_AFTER {
            cage.home = None;
        }
        let known = match cage.home {
            Some(home) => self.registry.by_id(home).await?,
            None => None,
        };
        let home = match known {
            Some(home) => home,
            None => {
                let home = self.clean(ws).await?;
                (cage.home, cage.flown) = (Some(home.id), 0);
                home
            }
        };
        cage.flown += 1;
        let n = cage.flown;
        match self.engine.post_message(&home, message(n)).await? {
            Posted::Followup { followup_id, .. } => cage.flying = Some(followup_id),
            Posted::Watching => return Err(Grounded::Watched),
        }
        Ok(())
    }

    /// A workspace of their own, with one device and nothing else in it.
    async fn clean(&self, ws: &Arc<Workspace>) -> Result<Arc<Workspace>, Grounded> {
        let name = format!("{}{BESIDE}", ws.name);
        if let Some(before) = self.registry.by_name(&name).await? {
            self.registry.drop_workspace(before.id).await?;
        }
        let home = self.registry.create_beside(ws.id, &name).await?;
        self.engine.register_device(&home, device()).await?;
        Ok(home)
    }

    fn report(&self, ws: WorkspaceId, name: &str, fate: Fate) {
        if let Some(cage) = self.cages().get_mut(&ws) {
            cage.fate = fate;
        }
        let result = match fate {
            Fate::Flying => return,
            Fate::Well => "well",
            Fate::Down(_) => "down",
        };
        metrics::counter!(CANARIES, "result" => result).increment(1);
        if let Fate::Down(reason) = fate {
            metrics::counter!(ALARMS, "alarm" => "canary").increment(1);
            tracing::error!(workspace = name, reason, "the canary is down: real follow-ups may fare like it");
        }
    }

    fn cages(&self) -> MutexGuard<'_, HashMap<WorkspaceId, Cage>> {
        self.cages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn device() -> Registration {
    Registration {
        install_id: NOBODY.into(),
        platform: Platform::Android,
        provider: PushProvider::Fcm,
        token: NOBODY.into(),
        topic: None,
        environment: None,
        alerts: Alerts::Allowed,
        wire: vec![backstop_wire::WIRE_VERSION],
        locale: None,
        customer_id: Some(NOBODY.into()),
        authenticated_as: None,
    }
}

fn message(n: u32) -> PostMessage {
    PostMessage {
        message_id: format!("{NOBODY}-{n}"),
        // Of its own: one that fell back must not hold the next one's email.
        conversation_id: format!("{NOBODY}-{n}"),
        customer_id: NOBODY.into(),
        kind: Some(Kind::Reply),
        author_kind: AuthorKind::Agent,
        body: MessageBody { author: Some(NOBODY.into()), text: NOBODY.into(), link: None },
        apps: None,
        channels: Some(vec![Channel::Push, Channel::Email]),
        customer: Some(CustomerInput { email: Some("canary@canary.invalid".into()), ..CustomerInput::default() }),
        body_hash: [0; 32],
    }
}
