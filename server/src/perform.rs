//! Effects → providers: bounded queues, a bounded number of hands, and outcomes back to the engine.
//!
//! Losing an effect loses nothing: each can be derived again from its row when it wakes. So a full queue drops, a
//! crash forgets, and the store alone says what is still wanted — every text and email is claimed by a durable commit
//! right before its first byte.

mod parcel;

use crate::engine::Engine;
use crate::engine::desk::Handed;
use crate::providers::{Providers, PushProvider};
use crate::store::{FollowupRow, Row, Store};
use crate::vault::Vault;
use crate::workspace::{Busy, Workspace};
use backstop_domain::Ms;
use backstop_domain::followup::{Channel, Effect, Event, Outcome};
use backstop_domain::ids::DeviceId;
use backstop_wire::PushProvider as Via;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc};

/// Effects of one kind that wait for a hand.
const MAX_WAITING: usize = 65_536;
/// Pushes sent at once.
const PUSH_HANDS: usize = 512;
/// Texts sent at once, and emails.
const FALLBACK_HANDS: usize = 128;
/// Pushes whose rows are loaded together.
const PUSH_BATCH: usize = 256;
/// A send that says nothing for this long may have happened. Below `claim_ms`, above every provider's own time-out.
const SEND_TIMEOUT: Duration = Duration::from_secs(12);
/// Pause before an outcome that could not be stored is offered again.
const STORE_RETRY: Duration = Duration::from_millis(200);

/// Hands effects to whoever sends them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Performer {
    pushes: mpsc::Sender<Task>,
    texts: mpsc::Sender<Task>,
    emails: mpsc::Sender<Task>,
    load: Arc<Load>,
}

#[derive(Default)]
struct Load {
    sending: AtomicUsize,
    idle: Notify,
}

/// One effect under way.
struct Task {
    ws: Arc<Workspace>,
    row: Arc<FollowupRow>,
    around: Arc<Vec<Row>>,
    what: What,
    busy: Busy,
    _count: Count,
}

#[derive(Clone, Copy)]
enum What {
    Push { device: DeviceId, attempt: u32, covers: u16, expires_at: Ms },
    Fallback(Channel),
}

/// Held while a task is under way.
struct Count(Arc<Load>);

impl Drop for Count {
    fn drop(&mut self) {
        if self.0.sending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// The receiving ends, until they are started.
pub(crate) struct Hands {
    pushes: mpsc::Receiver<Task>,
    texts: mpsc::Receiver<Task>,
    emails: mpsc::Receiver<Task>,
    shop: Shop,
}

/// What every hand works with.
#[derive(Clone)]
struct Shop {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    providers: Providers,
}

impl Performer {
    pub(crate) fn new(store: Arc<dyn Store>, vault: Arc<Vault>, providers: Providers) -> (Performer, Hands) {
        let (push_in, pushes) = mpsc::channel(MAX_WAITING);
        let (text_in, texts) = mpsc::channel(MAX_WAITING);
        let (email_in, emails) = mpsc::channel(MAX_WAITING);
        let performer = Performer { pushes: push_in, texts: text_in, emails: email_in, load: Arc::default() };
        (performer, Hands { pushes, texts, emails, shop: Shop { store, vault, providers } })
    }

    /// Queues an effect; drops it when the queue is full: its row wakes again.
    pub(crate) fn hand(&self, handed: Handed) {
        let Handed { workspace, row, effect, around } = handed;
        let (queue, what) = match effect {
            Effect::SendPush { device, attempt, covers, expires_at } => {
                (&self.pushes, What::Push { device, attempt, covers, expires_at })
            }
            Effect::Offer(Channel::Email) => (&self.emails, What::Fallback(Channel::Email)),
            Effect::Offer(channel) => (&self.texts, What::Fallback(channel)),
            // A claim's send is performed by the hand that claimed it.
            Effect::Send { .. } | Effect::Alarm(_) => return,
        };
        self.load.sending.fetch_add(1, Ordering::AcqRel);
        let busy = workspace.activity.begin();
        let task = Task { ws: workspace, row, around, what, busy, _count: Count(Arc::clone(&self.load)) };
        if queue.try_send(task).is_err() {
            metrics::counter!("backstop_effects_postponed_total").increment(1);
        }
    }

    /// Effects under way.
    pub(crate) fn sending(&self) -> usize {
        self.load.sending.load(Ordering::Acquire)
    }

    /// Waits until nothing is under way, at most this long.
    pub(crate) async fn drain(&self, within_ms: u64) {
        let idle = async {
            loop {
                let idle = self.load.idle.notified();
                tokio::pin!(idle);
                idle.as_mut().enable();
                if self.sending() == 0 {
                    return;
                }
                idle.await;
            }
        };
        if tokio::time::timeout(Duration::from_millis(within_ms), idle).await.is_err() {
            tracing::warn!(sending = self.sending(), "stopped while sends were under way; they are judged again");
        }
    }
}

impl Hands {
    pub(crate) fn start(self, engine: &Engine) {
        tokio::spawn(push_loop(engine.clone(), self.shop.clone(), self.pushes));
        tokio::spawn(fallback_loop(engine.clone(), self.shop.clone(), self.texts));
        tokio::spawn(fallback_loop(engine.clone(), self.shop, self.emails));
    }
}

/// Pushes are claimed by the commit that asked for them; their rows are loaded many at a time.
async fn push_loop(engine: Engine, shop: Shop, mut queue: mpsc::Receiver<Task>) {
    let hands = Arc::new(Semaphore::new(PUSH_HANDS));
    let mut tasks = Vec::with_capacity(PUSH_BATCH);
    while queue.recv_many(&mut tasks, PUSH_BATCH).await > 0 {
        let parcels = parcel::pushes(&shop, &tasks).await;
        for (task, parcel) in tasks.drain(..).zip(parcels) {
            let What::Push { device, attempt, .. } = task.what else { continue };
            let provider = provider_of(&shop.providers, &task.row, device);
            let Ok(permit) = Arc::clone(&hands).acquire_owned().await else { return };
            let engine = engine.clone();
            tokio::spawn(async move {
                let outcome = match (parcel, provider) {
                    (Ok(send), Some(provider)) => {
                        let outcome = tokio::time::timeout(SEND_TIMEOUT, provider.send(&send)).await;
                        counted(provider.name(), outcome.unwrap_or_else(|_| timed_out()))
                    }
                    (Err(error), _) => error,
                    (_, None) => Outcome::Rejected { error: "no_push_credentials".into() },
                };
                engine.push_answered(task.ws, task.row.id, device, attempt, outcome, task.busy).await;
                drop(permit);
            });
        }
    }
}

fn provider_of(providers: &Providers, row: &FollowupRow, device: DeviceId) -> Option<Arc<dyn PushProvider>> {
    let via = row.state.pushes.iter().find(|push| push.device == device)?.via;
    match via {
        Via::Fcm => providers.fcm.clone(),
        Via::Apns => providers.apns.clone(),
    }
}

/// Texts and emails: a free hand first, then the durable claim, then the first byte.
async fn fallback_loop(engine: Engine, shop: Shop, mut queue: mpsc::Receiver<Task>) {
    let hands = Arc::new(Semaphore::new(FALLBACK_HANDS));
    while let Ok(permit) = Arc::clone(&hands).acquire_owned().await {
        let Some(task) = queue.recv().await else { return };
        let (engine, shop) = (engine.clone(), shop.clone());
        tokio::spawn(async move {
            fall_back(&engine, &shop, task).await;
            drop(permit);
        });
    }
}

async fn fall_back(engine: &Engine, shop: &Shop, task: Task) {
    let What::Fallback(channel) = task.what else { return };
    let Some(attempt) = engine.claim(&task.ws, task.row.id, channel).await else { return };
    let at = engine.clocks().now_ms(task.ws.id);
    let outcome = match channel {
        Channel::Email => send_email(shop, &task, attempt, at).await,
        Channel::Text | Channel::Push => send_text(shop, &task, attempt, at).await,
    };
    let event = Event::FallbackAnswered { channel, attempt, outcome };
    // Nobody else knows it: it is offered until it is stored, or until the claim's expiry makes it unknown.
    while let Err(error) = engine.said(&task.ws, task.row.id, event.clone()).await {
        tracing::error!(followup = %task.row.id, %error, "an outcome waits for the store");
        pause(STORE_RETRY).await;
        if engine.is_closed() {
            return;
        }
    }
}

async fn send_text(shop: &Shop, task: &Task, attempt: u32, at: Ms) -> Outcome {
    let Some(provider) = &shop.providers.text else { return Outcome::Rejected { error: "no_provider".into() } };
    match parcel::text(shop, &task.ws, &task.row, attempt, at).await {
        Ok(send) => {
            let outcome = tokio::time::timeout(SEND_TIMEOUT, provider.send(&send)).await;
            counted(provider.name(), outcome.unwrap_or_else(|_| timed_out()))
        }
        Err(error) => error,
    }
}

async fn send_email(shop: &Shop, task: &Task, attempt: u32, at: Ms) -> Outcome {
    let Some(provider) = &shop.providers.email else { return Outcome::Rejected { error: "no_provider".into() } };
    match parcel::email(shop, &task.ws, &task.row, attempt, at).await {
        Ok(send) => {
            let outcome = tokio::time::timeout(SEND_TIMEOUT, provider.send(&send)).await;
            counted(provider.name(), outcome.unwrap_or_else(|_| timed_out()))
        }
        Err(error) => error,
    }
}

fn timed_out() -> Outcome {
    Outcome::Unknown { error: "timeout".into() }
}

fn counted(provider: &'static str, outcome: Outcome) -> Outcome {
    let label = outcome.label();
    metrics::counter!("backstop_provider_requests_total", "provider" => provider, "outcome" => label).increment(1);
    outcome
}

#[expect(clippy::disallowed_methods, reason = "a store that is away is asked again, not hammered")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
