//! Virtual phones: the real SDK core behind a captured push token, on its workspace's clock.
//!
//! They live in memory: after a restart their devices are registered still, and as silent as phones in a drawer.

use super::{Inner, Sandbox};
use crate::audit::Who;
use crate::clock::Clocks;
use crate::identity::customer_hash;
use crate::problem::{Code, Problem};
use crate::providers::capture::{Behaviour as Answer, Channel};
use crate::store::{Scope, WorkspaceId};
use crate::vault;
use crate::workspace::{Activity, Workspace};
use axum::Router;
use axum::body::Body;
use backstop_core::{
    AckOutcome, AckResult, Acked, Alerts, Config, Environment, Error, Grade, Handled, Home, HttpTransport,
    MAX_RESPONSE_BYTES, Platform, Proof, PushClient, PushProvider, PushToken, RegistrationStatus, Request, Response,
    ResponseFuture, Transport, TransportError,
};
use backstop_domain::Ms;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tower::ServiceExt as _;
use utoipa::ToSchema;

/// Phones a workspace has at most.
const MAX_PHONES: usize = 1_000;
/// Reactions that may wait in a workspace; pushes beyond it find the phone asleep.
const MAX_AGENDA: usize = 50_000;
/// What a phone gives one call, as an app would.
const BUDGET_MS: u64 = 8_000;

/// What virtual phones reach the server by.
#[derive(Clone)]
pub enum Network {
    /// Requests are handed to this router in process: the same bytes, without sockets.
    InProcess(Router),
    /// Over HTTP, to this base URL.
    Http(String),
}

/// How a phone takes a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PhoneBehaviour)]
pub(super) enum Behaviour {
    /// Shows it and acks `displayed`.
    Ack,
    /// Is switched off: never acks.
    Silent,
    /// Gets it and cannot show it: acks `suppressed`.
    Suppressed,
    /// The app was removed: its token is dead.
    TokenGone,
}

/// A phone to make.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPhone {
    pub(super) customer_id: String,
    pub(super) behaviour: Behaviour,
    /// By the workspace's clock; 0 = at once.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0)]
    pub(super) ack_after_ms: Option<Ms>,
    /// `android` (default) or `ios`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(super) platform: Option<Platform>,
}

/// A virtual phone.
pub(super) struct Phone {
    pub(super) customer_id: String,
    pub(super) device_id: String,
    pub(super) token: String,
    pub(super) platform: Platform,
    pub(super) behaviour: Behaviour,
    pub(super) ack_after_ms: Ms,
    client: PushClient,
}

/// A phone's next step.
pub(super) struct Reaction {
    phone: Arc<Phone>,
    /// `None` = what could not be uploaded is tried again.
    payload: Option<String>,
}

/// The phones of a workspace and what they are about to do.
pub(super) struct Yard {
    pub(super) workspace: WorkspaceId,
    pub(super) activity: Arc<Activity>,
    /// Held by the one advance that is in progress.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Acks of phones that the server took.
    pub(super) reacted: AtomicUsize,
    /// An app key of the phones' own: keys are stored as hashes, so a known one cannot be had.
    app_key: tokio::sync::OnceCell<String>,
    phones: Mutex<HashMap<String, Arc<Phone>>>,
    /// By the workspace's clock; the number keeps the order of arrival.
    agenda: Mutex<BTreeMap<(Ms, u64), Reaction>>,
    arrivals: AtomicU64,
}

impl Yard {
    pub(super) fn new(workspace: &Workspace) -> Arc<Yard> {
        Arc::new(Yard {
            workspace: workspace.id,
            activity: Arc::clone(&workspace.activity),
            turn: tokio::sync::Mutex::default(),
            reacted: AtomicUsize::new(0),
            app_key: tokio::sync::OnceCell::new(),
            phones: Mutex::default(),
            agenda: Mutex::default(),
            arrivals: AtomicU64::new(0),
        })
    }

    pub(super) fn phone(&self, token: &str) -> Option<Arc<Phone>> {
        lock(&self.phones).get(token).cloned()
    }

    /// In the order they were made.
    pub(super) fn all(&self) -> Vec<Arc<Phone>> {
        let mut phones: Vec<_> = lock(&self.phones).values().cloned().collect();
        phones.sort_by(|a, b| a.device_id.cmp(&b.device_id));
        phones
    }

    pub(super) fn clear(&self) {
        lock(&self.phones).clear();
        lock(&self.agenda).clear();
    }

    /// When a phone does something next.
    pub(super) fn next(&self) -> Option<Ms> {
        lock(&self.agenda).keys().next().map(|(at, _)| *at)
    }

    /// The earliest reaction that is due.
    pub(super) fn take_due(&self, now: Ms) -> Option<Reaction> {
        let mut agenda = lock(&self.agenda);
        let first = agenda.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(first.remove())
    }

    /// A push arrives. What a phone does at once is under way before the send is over, so that whoever waits for the
    /// workspace to settle waits for it, too.
    pub(super) fn receive(self: &Arc<Self>, clocks: &Arc<Clocks>, phone: Arc<Phone>, payload: String) {
        let after_ms = match phone.behaviour {
            Behaviour::Ack | Behaviour::Suppressed => phone.ack_after_ms,
            Behaviour::Silent | Behaviour::TokenGone => return,
        };
        let reaction = Reaction { phone, payload: Some(payload) };
        if after_ms > 0 {
            return self.plan(clocks, after_ms, reaction);
        }
        let (yard, clocks, busy) = (Arc::clone(self), Arc::clone(clocks), self.activity.begin());
        tokio::spawn(async move {
            yard.react(&clocks, reaction).await;
            drop(busy);
        });
    }

    /// On a running clock a task waits for it; on a frozen one the advance that gets there takes it.
    fn plan(self: &Arc<Self>, clocks: &Arc<Clocks>, after_ms: Ms, reaction: Reaction) {
        let key = (clocks.now_ms(self.workspace) + after_ms, self.arrivals.fetch_add(1, Ordering::Relaxed));
        let mut agenda = lock(&self.agenda);
        if agenda.len() >= MAX_AGENDA {
            return;
        }
        agenda.insert(key, reaction);
        drop(agenda);
        if clocks.frozen_at(self.workspace).is_some() {
            return;
        }
        let (yard, clocks) = (Arc::clone(self), Arc::clone(clocks));
        tokio::spawn(async move {
            pause_ms(u64::try_from(after_ms).unwrap_or(0)).await;
            if clocks.frozen_at(yard.workspace).is_some() {
                return;
            }
            let busy = yard.activity.begin();
            let reaction = lock(&yard.agenda).remove(&key);
            if let Some(reaction) = reaction {
                yard.react(&clocks, reaction).await;
            }
            drop(busy);
        });
    }

    /// The phone does what it does with a push; what it could not upload it plans again, as the SDK says.
    pub(super) async fn react(self: &Arc<Self>, clocks: &Arc<Clocks>, reaction: Reaction) {
        let Reaction { phone, payload } = reaction;
        let client = &phone.client;
        let acked = match (payload, phone.behaviour) {
            (None, _) => client.flush(BUDGET_MS).await.map(|flushed| match flushed.uploaded {
                0 => None,
                _ => Some(Acked::Confirmed(AckOutcome { result: AckResult::Accepted, counted: true })),
            }),
            (Some(payload), Behaviour::Suppressed) => suppress(client, &payload).await,
            (Some(payload), _) => match client.handle_push(&payload, BUDGET_MS).await {
                Ok(Handled::Ours { ack, .. }) => Ok(Some(ack)),
                Ok(Handled::NotOurs) => Ok(None),
                Err(error) => Err(error),
            },
        };
        match acked {
            Ok(Some(Acked::Confirmed(outcome))) if matches!(outcome.result, AckResult::Accepted | AckResult::Late) => {
                self.reacted.fetch_add(1, Ordering::AcqRel);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a virtual phone failed"),
        }
        let status = client.status();
        if let Some(after_ms) = status.next_flush_in_ms.filter(|_| status.pending > 0) {
            let after_ms = Ms::try_from(after_ms).unwrap_or(Ms::MAX / 2).max(1);
            self.plan(clocks, after_ms, Reaction { phone: Arc::clone(&phone), payload: None });
        }
    }
}

/// The push arrived, and the customer switched its channel off.
async fn suppress(client: &PushClient, payload: &str) -> Result<Option<Acked>, Error> {
    let Some(push) = PushClient::parse_push(payload) else { return Ok(None) };
    client.acknowledge(&push.receipt, Grade::Suppressed, Some("channel_off"), BUDGET_MS).await.map(Some)
}

impl Sandbox {
    /// Makes a phone: it opens the SDK, logs the customer in with a true proof, and registers a token of its own.
    pub(super) async fn add_phone(&self, ws: &Arc<Workspace>, new: NewPhone) -> Result<Arc<Phone>, Problem> {
        let yard = self.yard(ws);
        if lock(&yard.phones).len() >= MAX_PHONES {
            let message = format!("a sandbox workspace has at most {MAX_PHONES} phones; use another workspace");
            return Err(Problem::invalid_field("customer_id", "too_many", message));
        }
        let app_key = yard.app_key.get_or_try_init(|| self.new_app_key(ws)).await?.clone();
        let platform = new.platform.unwrap_or(Platform::Android);
        let token = push_token(platform);
        let client = self.0.open_client(ws, app_key, platform).map_err(|error| failed(&error.to_string()))?;
        if new.behaviour == Behaviour::TokenGone {
            let token = Some(token.token.clone());
            self.0.capture.set_behaviour(&ws.name, Channel::Push, Answer::TokenGone, None, token, None);
        }
        let device_id = register(&client, ws, &new.customer_id, token.clone()).await?;
        let phone = Arc::new(Phone {
            customer_id: new.customer_id,
            device_id,
            token: token.token,
            platform,
            behaviour: new.behaviour,
            ack_after_ms: new.ack_after_ms.unwrap_or(0),
            client,
        });
        lock(&yard.phones).insert(phone.token.clone(), Arc::clone(&phone));
        Ok(phone)
    }

    async fn new_app_key(&self, ws: &Workspace) -> Result<String, Problem> {
        let key = vault::random_key("app_");
        let (hash, now) = (vault::sha256(key.as_bytes()), self.0.api.clocks.real_ms());
        self.0.api.store.create_key(ws.id, hash, Scope::App, now, Who::server()).await?;
        Ok(key)
    }
}

impl Inner {
    fn open_client(&self, ws: &Workspace, app_key: String, platform: Platform) -> Result<PushClient, Error> {
        let config = Config {
            base_url: match &self.network {
                Network::InProcess(_) => "http://localhost".into(),
                Network::Http(base_url) => base_url.clone(),
            },
            app_key,
            platform,
            sdk: format!("{}/{}", word(platform), env!("CARGO_PKG_VERSION")),
            home: Home::Memory,
            spool_directory: None,
            locale: None,
            extra_root_certificates: Vec::new(),
            allow_http: false,
        };
        let transport: Arc<dyn Transport> = match &self.network {
            Network::InProcess(router) => Arc::new(InProcess { router: router.clone(), config: config.clone() }),
            Network::Http(_) => Arc::new(HttpTransport::new(&config)?),
        };
        let clock = WorkspaceClock { clocks: Arc::clone(&self.api.clocks), workspace: ws.id };
        PushClient::open_with(config, transport, Arc::new(clock))
    }
}

async fn register(client: &PushClient, ws: &Workspace, customer_id: &str, token: PushToken) -> Result<String, Problem> {
    let secret = ws.identity_secrets.first().ok_or_else(|| failed("the workspace has no identity secret"))?;
    let proof = Proof::Hash(customer_hash(secret, customer_id));
    client.identify(customer_id, proof, BUDGET_MS).await.map_err(|error| failed(&error.to_string()))?;
    let flushed = client.set_token(token, Alerts::Allowed, BUDGET_MS).await;
    match flushed.map_err(|error| failed(&error.to_string()))?.registration {
        RegistrationStatus::Confirmed { .. } => {}
        RegistrationStatus::Refused { code } => return Err(failed(&format!("the server refused it: {code}"))),
        RegistrationStatus::NoToken | RegistrationStatus::Pending => {
            return Err(Problem::new(Code::StoreUnavailable, "the phone could not register; try again"));
        }
    }
    let device = client.device().ok_or_else(|| failed("the server gave it no id"))?;
    Ok(device.device_id)
}

fn failed(why: &str) -> Problem {
    tracing::warn!(why, "a virtual phone could not be made");
    Problem::new(Code::Internal, format!("the phone could not be made: {why}"))
}

/// Shaped like the networks' own: Apple's are 64 hexadecimal digits.
fn push_token(platform: Platform) -> PushToken {
    match platform {
        Platform::Ios => PushToken {
            provider: PushProvider::Apns,
            token: vault::random_secret_hex(),
            topic: Some("dev.backstop.phone".into()),
            environment: Some(Environment::Production),
        },
        Platform::Android => PushToken {
            provider: PushProvider::Fcm,
            token: vault::random_key("phone-"),
            topic: None,
            environment: None,
        },
    }
}

fn word(platform: Platform) -> &'static str {
    match platform {
        Platform::Ios => "ios",
        Platform::Android => "android",
    }
}

/// Hands requests to the server in process.
struct InProcess {
    router: Router,
    config: Config,
}

impl Transport for InProcess {
    fn send(&self, request: Request, timeout_ms: u64) -> ResponseFuture<'_> {
        let headers = request.headers(&self.config);
        let router = self.router.clone();
        Box::pin(async move {
            let mut out = axum::http::Request::builder().method(request.method.as_str()).uri(&request.path);
            for (name, value) in headers {
                out = out.header(name, value);
            }
            let out = out.body(Body::from(request.body)).map_err(|_| TransportError::Broken)?;
            let answer = async {
                let Ok(response) = router.oneshot(out).await;
                let status = response.status().as_u16();
                let retry_after_s = response.headers().get(axum::http::header::RETRY_AFTER);
                let retry_after_s: Option<u64> =
                    retry_after_s.and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
                let body = axum::body::to_bytes(response.into_body(), MAX_RESPONSE_BYTES).await;
                let body = body.map_err(|_| TransportError::Broken)?.to_vec();
                Ok(Response { status, retry_after_ms: retry_after_s.map(|s| s.saturating_mul(1_000)), body })
            };
            let answer = tokio::time::timeout(Duration::from_millis(timeout_ms), answer).await;
            answer.map_err(|_| TransportError::Timeout)?
        })
    }
}

/// A phone's clock is its workspace's.
struct WorkspaceClock {
    clocks: Arc<Clocks>,
    workspace: WorkspaceId,
}

impl backstop_core::Clock for WorkspaceClock {
    fn wall_ms(&self) -> i64 {
        self.clocks.now_ms(self.workspace)
    }

    fn elapsed_ms(&self) -> i64 {
        self.clocks.now_ms(self.workspace)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "a phone on a running clock waits in real time")]
pub(super) async fn pause_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
