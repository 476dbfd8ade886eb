//! Effects → providers: bounded queues, a bounded number of hands, and outcomes back to the engine.
//!
//! Losing an effect loses nothing: each can be derived again from its row when it wakes. So a full queue drops, a
//! crash forgets, and the store alone says what is still wanted — every text and email is claimed by a durable commit
//! right before its first byte.

mod alimtalk;
mod parcel;
mod test_push;
mod text;

pub(crate) use parcel::open_body;

use crate::engine::Engine;
use crate::engine::desk::Handed;
use crate::engine::outcome::{Claim, Claimed, PushAnswered};
use crate::failpoint::{Point, hit};
use crate::providers::{Providers, PushProvider, TextBody, TextQuery, TextSend};
use crate::store::{FollowupRow, Row, Store, StoreError};
use crate::vault::Vault;
use crate::workspace::{Busy, Workspace};
use backstop_domain::Ms;
use backstop_domain::followup::{Channel, Effect, Event, Found, Mark, Outcome};
use backstop_domain::ids::DeviceId;
use backstop_wire::PushProvider as Via;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
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
/// Kept of a claim for storing the outcome.
const CLAIM_REST_MS: Ms = 1_000;
/// With less left of its claim a send is not begun: it would be a late one, of a claim that may be another's by then.
const MIN_SEND: Duration = Duration::from_secs(2);
/// Plans of one text, when each is stale by the time it is claimed.
const MAX_PLANS: usize = 4;
/// Pause before an outcome that could not be stored is offered again.
const STORE_RETRY: Duration = Duration::from_millis(200);

/// A text that is ready, and the provider that carries it.
type Ready = (String, TextSend);

/// Hands effects to whoever sends them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Performer {
    pushes: mpsc::Sender<Task>,
    texts: mpsc::Sender<Task>,
    emails: mpsc::Sender<Task>,
    tests: test_push::Tests,
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
    around: Arc<Vec<Arc<Row>>>,
    what: What,
    under_way: UnderWay,
}

#[derive(Clone, Copy)]
enum What {
    Push { device: DeviceId, attempt: u32, covers: u16, expires_at: Ms },
    Fallback(Channel),
    Ask { attempt: u32, inquiry: u8, since: Ms, mark: Mark },
}

/// Held until what came of an effect is durable: who drains and who waits for a workspace to settle see it.
pub(crate) struct UnderWay {
    _busy: Busy,
    _count: Count,
}

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
        let shop = Shop { store, vault, providers };
        let tests = test_push::Tests::new(shop.clone());
        let performer = Performer { pushes: push_in, texts: text_in, emails: email_in, tests, load: Arc::default() };
        (performer, Hands { pushes, texts, emails, shop })
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
            Effect::Ask { attempt, inquiry, since, mark } => (&self.texts, What::Ask { attempt, inquiry, since, mark }),
            // A claim's send is performed by the hand that claimed it, the others by the commit itself.
            Effect::Send { .. } | Effect::Suppress | Effect::Block(_) | Effect::Alarm(_) => return,
        };
        let under_way = self.begin(&workspace);
        let task = Task { ws: workspace, row, around, what, under_way };
        if queue.try_send(task).is_err() {
            metrics::counter!("backstop_effects_postponed_total").increment(1);
        }
    }

    /// Something begins to leave.
    fn begin(&self, workspace: &Workspace) -> UnderWay {
        self.load.sending.fetch_add(1, Ordering::AcqRel);
        UnderWay { _busy: workspace.activity.begin(), _count: Count(Arc::clone(&self.load)) }
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
        engine.start_loop("pushes", push_loop(engine.clone(), self.shop.clone(), self.pushes));
        engine.start_loop("texts", fallback_loop(engine.clone(), self.shop.clone(), self.texts));
        engine.start_loop("emails", fallback_loop(engine.clone(), self.shop, self.emails));
    }
}

/// Pushes are claimed by the commit that asked for them; their rows are loaded many at a time.
async fn push_loop(engine: Engine, shop: Shop, mut queue: mpsc::Receiver<Task>) {
    let hands = Arc::new(Semaphore::new(PUSH_HANDS));
    let house = Arc::new((engine, shop));
    let mut tasks = Vec::with_capacity(PUSH_BATCH);
    while queue.recv_many(&mut tasks, PUSH_BATCH).await > 0 {
        let parcels = parcel::pushes(&house.1, &tasks).await;
        for (task, parcel) in tasks.drain(..).zip(parcels) {
            let Ok(permit) = Arc::clone(&hands).acquire_owned().await else { return };
            let house = Arc::clone(&house);
            let mut sending = Box::pin(async move {
                push(&house.0, &house.1.providers, task, parcel).await;
                drop(permit);
            });
            // Whoever answers at once costs no task. A fault ends this push alone; the panic hook has logged it.
            let mut at_once = |cx: &mut Context<'_>| catch_unwind(AssertUnwindSafe(|| sending.as_mut().poll(cx)));
            if let Ok(Poll::Pending) = poll_fn(|cx| Poll::Ready(at_once(cx))).await {
                tokio::spawn(sending);
            }
        }
    }
}

async fn push(engine: &Engine, providers: &Providers, task: Task, parcel: Result<parcel::Push, Outcome>) {
    let Task { ws, row, what, under_way, .. } = task;
    let What::Push { device, attempt, expires_at, .. } = what else { return };
    let (token_hash, elsewhere) =
        parcel.as_ref().map_or((None, None), |parcel| (Some(parcel.token_hash), parcel.elsewhere));
    let via = row.state.pushes.iter().find(|push| push.device == device).map(|push| push.via);
    let provider = parcel.as_ref().ok().and_then(|parcel| provider_of(providers, parcel.route.clone(), via?));
    let outcome = match (parcel, provider) {
        // P10: it waited too long for a hand, and text and email are on their way.
        _ if engine.clocks().now_ms(ws.id) >= expires_at => later("expired_before_sent"),
        (Ok(_), _) if ws.canary => taken_in(),
        (Ok(parcel), Some(provider)) => {
            hit(Point::PushSends);
            let outcome = tokio::time::timeout(SEND_TIMEOUT, provider.send(&parcel.send)).await;
            hit(Point::PushSent);
            counted(provider.name(), outcome.unwrap_or_else(|_| timed_out()))
        }
        (Err(error), _) => error,
        (_, None) => no_credentials(),
    };
    let id = row.id;
    let answered = PushAnswered { ws, id, device, attempt, outcome, token_hash, elsewhere, _under_way: under_way };
    engine.push_answered(answered).await;
}

/// The app's own way if it has one, else the deployment's (P12).
fn provider_of(providers: &Providers, route: Option<Arc<dyn PushProvider>>, via: Via) -> Option<Arc<dyn PushProvider>> {
    route.or_else(|| match via {
        Via::Fcm => providers.fcm.clone(),
        Via::Apns => providers.apns.clone(),
    })
}

/// Texts and emails: a free hand first, then the durable claim, then the first byte.
async fn fallback_loop(engine: Engine, shop: Shop, mut queue: mpsc::Receiver<Task>) {
    let hands = Arc::new(Semaphore::new(FALLBACK_HANDS));
    while let Ok(permit) = Arc::clone(&hands).acquire_owned().await {
        let Some(task) = queue.recv().await else { return };
        let (engine, shop) = (engine.clone(), shop.clone());
        tokio::spawn(async move {
            let mut task = task;
            // What was switched off while it waited for a hand does not leave.
            if let Ok(Some(ws)) = engine.registry().by_id(task.ws.id).await {
                task.ws = ws;
            }
            match task.what {
                What::Fallback(channel) => fall_back(&engine, &shop, &task, channel).await,
                What::Ask { attempt, inquiry, since, mark } => {
                    let (found, number) = inquire(&engine, &shop, &task, attempt, since, mark).await;
                    tell(&engine, &task, Event::Asked { attempt, inquiry, found }, number).await;
                }
                What::Push { .. } => {}
            }
            drop(permit);
        });
    }
}

async fn fall_back(engine: &Engine, shop: &Shop, task: &Task, channel: Channel) {
    hit(Point::FallbackClaims);
    let (event, number) = match channel {
        Channel::Email => {
            let Claimed::Yes(claim) = engine.claim(&task.ws, task.row.id, channel, None).await else { return };
            hit(Point::FallbackClaimed);
            let outcome = send_email(engine, shop, task, claim).await;
            (Event::FallbackAnswered { channel, attempt: claim.attempt, outcome }, None)
        }
        Channel::Text | Channel::Push => {
            let Some((claim, text)) = claim_text(engine, shop, task).await else { return };
            hit(Point::FallbackClaimed);
            let number = text.as_ref().ok().map(|(_, send)| goes_to(send).to_owned());
            (send_text(engine, shop, task, claim, text).await, number)
        }
    };
    hit(Point::FallbackSent);
    tell(engine, task, event, number).await;
    hit(Point::FallbackStored);
}

/// Nobody else knows it: it is offered until it is stored.
async fn tell(engine: &Engine, task: &Task, event: Event, number: Option<String>) {
    while let Err(error) = engine.said(&task.ws, task.row.id, event.clone(), number.clone()).await {
        tracing::error!(followup = %task.row.id, %error, "an outcome waits for the store");
        // A row that does not read takes no outcome, and this hand is needed elsewhere.
        if engine.is_closed() || matches!(error, StoreError::Corrupt(_)) {
            return;
        }
        pause(STORE_RETRY).await;
    }
}

/// How long a send may take to end within its claim; `Err` = what stands in for it, since too little is left.
fn time_left(engine: &Engine, task: &Task, claim: Claim) -> Result<Duration, Outcome> {
    let left_ms = claim.until - CLAIM_REST_MS - engine.clocks().now_ms(task.ws.id);
    let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)).min(SEND_TIMEOUT);
    if left < MIN_SEND { Err(later("claim_nearly_over")) } else { Ok(left) }
}

/// A text is planned before it is claimed, so that the claim is judged by what it costs; what happens meanwhile makes
/// the plan stale. One that cannot be put together is claimed all the same: its leg ends with the reason.
async fn claim_text(engine: &Engine, shop: &Shop, task: &Task) -> Option<(Claim, Result<Ready, Outcome>)> {
    for _ in 0..MAX_PLANS {
        let (planned, text) = match text::plan(engine, shop, &task.ws, &task.row).await {
            Ok((planned, text)) => {
                let via = planned.plan.hop.via.clone();
                (Some(planned), Ok((via, text)))
            }
            Err(error) => (None, Err(error)),
        };
        match engine.claim(&task.ws, task.row.id, Channel::Text, planned).await {
            Claimed::Yes(claim) => return Some((claim, text)),
            Claimed::No => return None,
            Claimed::Stale => {}
        }
    }
    // It is offered again.
    None
}

async fn send_text(engine: &Engine, shop: &Shop, task: &Task, claim: Claim, text: Result<Ready, Outcome>) -> Event {
    let attempt = claim.attempt;
    let answered = |outcome| Event::FallbackAnswered { channel: Channel::Text, attempt, outcome };
    let ((via, send), left) = match text.and_then(|ready| Ok((ready, time_left(engine, task, claim)?))) {
        Ok(ready) => ready,
        Err(error) => return answered(error),
    };
    let Some(provider) = shop.providers.text_of(&via) else {
        return answered(Outcome::Rejected { error: "no_provider".into() });
    };
    let outcome = tokio::time::timeout(left, provider.send(&send)).await;
    match counted(provider.name(), outcome.unwrap_or_else(|_| timed_out())) {
        Outcome::Unknown { error } if provider.can_find() => {
            let mark = |text: &str| shop.vault.mark(task.ws.id, text);
            Event::MayHaveLeft { attempt, error, mark: Mark { number: mark(&send.to), body: mark(&plain(&send)) } }
        }
        outcome => answered(outcome),
    }
}

/// What a text is counted and suppressed by.
fn goes_to(send: &TextSend) -> &str {
    match &send.body {
        TextBody::Line(line) if send.to.is_empty() => line.user_id.as_deref().unwrap_or_default(),
        _ => &send.to,
    }
}

/// A text as it is told from others: a provider may be free with spaces and line breaks.
fn plain(send: &TextSend) -> String {
    match &send.body {
        TextBody::Xms { text, .. } => squeezed(text),
        TextBody::Alimtalk(alimtalk) => squeezed(&alimtalk.text),
        TextBody::Line(line) => squeezed(&line.text),
    }
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Asks the provider for a text that may have left.
async fn inquire(
    engine: &Engine,
    shop: &Shop,
    task: &Task,
    attempt: u32,
    since: Ms,
    mark: Mark,
) -> (Found, Option<String>) {
    let (vault, ws) = (&shop.vault, task.ws.id);
    let unclear = (Found::Unclear, None);
    let leg = &task.row.state.text;
    let Some(provider) = leg.provider.as_ref().and_then(|name| shop.providers.text_of(name)) else { return unclear };
    let provider_id = leg.provider_id.as_deref().filter(|id| !id.is_empty());
    // Another number by now says nothing of what went to the one before, unless the vendor named it.
    let is_same = |to: &String| provider_id.is_some() || vault.mark(ws, to) == mark.number;
    let Some(to) = parcel::number(shop, &task.row).await.filter(is_same) else { return unclear };
    let is_it = |text: &str| vault.mark(ws, &squeezed(text)) == mark.body;
    let followup_id = task.row.id.to_string();
    let age_ms = engine.clocks().now_ms(ws) - since;
    let query = TextQuery { to: &to, age_ms, is_it: &is_it, provider_id, followup_id: &followup_id, attempt };
    let Some(finding) = provider.find(&query) else { return unclear };
    let found = tokio::time::timeout(SEND_TIMEOUT, finding).await.unwrap_or(Found::Unclear);
    let label = match &found {
        Found::Taken { .. } | Found::Delivered { .. } | Found::Failed { .. } => "found",
        Found::Absent => "absent",
        Found::Unclear => "unclear",
    };
    metrics::counter!("backstop_provider_inquiries_total", "provider" => provider.name(), "found" => label)
        .increment(1);
    (found, Some(to))
}

async fn send_email(engine: &Engine, shop: &Shop, task: &Task, claim: Claim) -> Outcome {
    let at = engine.clocks().now_ms(task.ws.id);
    let parcel = parcel::email(engine, shop, &task.ws, &task.row, (claim.attempt, at)).await;
    let ready = parcel.and_then(|send| Ok((send, time_left(engine, task, claim)?)));
    if task.ws.canary {
        return ready.map_or_else(|error| error, |_| taken_in());
    }
    let Some(provider) = &shop.providers.email else { return Outcome::Rejected { error: "no_provider".into() } };
    match ready {
        Ok((send, left)) => {
            let outcome = tokio::time::timeout(left, provider.send(&send)).await;
            counted(provider.name(), outcome.unwrap_or_else(|_| timed_out()))
        }
        Err(error) => error,
    }
}

/// Nothing left the house; it is worth another try.
fn later(error: &str) -> Outcome {
    Outcome::Postponed { after_ms: None, error: error.to_owned() }
}

/// A canary's push or email came as far as it shall.
fn taken_in() -> Outcome {
    Outcome::Accepted { provider_id: None }
}

fn no_credentials() -> Outcome {
    Outcome::Rejected { error: "no_push_credentials".into() }
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
