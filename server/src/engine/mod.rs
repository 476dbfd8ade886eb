//! load → decide → commit, in batches: what arrives while a commit runs is decided, and forms the next one.
//!
//! Every change of state goes through here. A piece of work names the rows it wants, the domain decides on them, and
//! one durable commit holds what came of all of them; then callers are answered and effects handed to
//! [`crate::perform`]. Nothing here decides, and nothing here calls a provider.

pub mod api;
mod batch;
mod cache;
mod consent;
pub(crate) mod customer;
pub(crate) mod desk;
mod device;
pub(crate) mod find;
mod inbound;
mod judge;
mod link;
mod mail;
mod message;
pub(crate) mod optout;
pub(crate) mod outcome;
pub(crate) mod spending;
pub(crate) mod test_push;
pub mod wallet;
mod work;

use crate::audit::Who;
use crate::clock::Clocks;
use crate::perform::Performer;
use crate::providers::Providers;
use crate::registry::Registry;
use crate::store::{DeviceRow, Inbound, Lane, LinkKey, OptOutSource, Store, StoreError, SuppressionChannel, TopUpRow};
use crate::timer::{Place, Timer};
use crate::vault::Vault;
use crate::workspace::Workspace;
use api::{
    AckInput, CustomerInput, CustomerMessage, CustomerView, EngineError, MailReport, PostMessage, Posted, Present,
    Redeemed, Registration, Tested,
};
use backstop_domain::Ms;
use backstop_domain::customer::Consent;
use backstop_domain::followup::{Channel, Event, Outcome};
use backstop_domain::ids::{DeviceId, FollowupId};
use backstop_domain::wallet::{NoTopUp, Wallet};
use backstop_wire::AckOutcome;
use outcome::{Claimed, Planned};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use work::{Ask, Work};

/// The most pieces of work that wait; a caller beyond it is told to come back.
const MAX_QUEUED: usize = 16_384;
/// What a caller is told to wait when the queue is full: a few commits.
const OVERLOADED_RETRY_MS: Ms = 1_000;
/// How many due rows one step of a sandbox clock takes at a time.
const STEP_BATCH: usize = 1_000;

/// Everything the engine needs from outside.
pub struct Parts {
    /// The judge.
    pub store: Arc<dyn Store>,
    /// Keys and MACs.
    pub vault: Arc<Vault>,
    /// Time.
    pub clocks: Arc<Clocks>,
    /// Workspaces.
    pub registry: Arc<Registry>,
    /// What can be sent by.
    pub providers: Providers,
}

/// Takes requests and answers after they are durable. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    queue: mpsc::Sender<Box<dyn Work>>,
    store: Arc<dyn Store>,
    clocks: Arc<Clocks>,
    registry: Arc<Registry>,
    timer: Arc<Timer>,
    performer: Performer,
    /// Which of its loops a fault ended, if any.
    broken: watch::Sender<Option<&'static str>>,
}

/// Held by a loop that everything waits for: tells when a panic ends it.
struct Vital {
    name: &'static str,
    broken: watch::Sender<Option<&'static str>>,
}

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.broken.send_replace(Some(self.name));
        }
    }
}

/// How busy the engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Wake-ups in the timer's index.
    pub pending: usize,
    /// Pieces of work that wait for a commit.
    pub queued: usize,
    /// Sends that are under way or wait for a free hand.
    pub sending: usize,
}

impl Engine {
    /// Starts the loop, the timer and the hands that send. Call inside a tokio runtime.
    pub fn start(parts: Parts) -> Engine {
        let Parts { store, vault, clocks, registry, providers } = parts;
        let (queue, works) = mpsc::channel(MAX_QUEUED);
        let timer = Arc::new(Timer::new(Arc::clone(&clocks)));
        let (performer, hands) = Performer::new(Arc::clone(&store), Arc::clone(&vault), providers);
        let engine = Engine {
            queue,
            store: Arc::clone(&store),
            clocks: Arc::clone(&clocks),
            registry: Arc::clone(&registry),
            timer: Arc::clone(&timer),
            performer: performer.clone(),
            broken: watch::Sender::new(None),
        };
        let charges = registry.deployment().policy.wallet.is_some();
        let ids = desk::Ids::default();
        let batcher = batch::Batcher { store, vault, clocks, timer, performer, ids, charges };
        engine.start_loop("engine", batcher.run(works));
        hands.start(&engine);
        crate::timer::start(&engine);
        engine
    }

    /// Which of its loops a fault has ended, if any. Nothing of that kind is done any more: the process should end and
    /// be started anew.
    pub fn broken(&self) -> Option<&'static str> {
        *self.broken.borrow()
    }

    /// Tells as soon as [`Engine::broken`] changes.
    pub fn broken_watch(&self) -> watch::Receiver<Option<&'static str>> {
        self.broken.subscribe()
    }

    /// Starts one of the loops that everything waits for.
    pub(crate) fn start_loop(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let vital = Vital { name, broken: self.broken.clone() };
        tokio::spawn(async move {
            let _vital = vital;
            work.await;
        });
    }

    /// Stops the timer, then waits until nothing is under way, at most `within_ms`.
    pub async fn drain(&self, within_ms: u64) {
        self.timer.stop();
        self.performer.drain(within_ms).await;
    }

    /// How busy it is.
    pub fn stats(&self) -> Stats {
        Stats {
            pending: self.timer.len(),
            queued: MAX_QUEUED - self.queue.capacity(),
            sending: self.performer.sending(),
        }
    }

    /// Puts a customer's data, whole.
    pub async fn put_customer(
        &self,
        ws: &Arc<Workspace>,
        customer_id: String,
        input: CustomerInput,
    ) -> Result<CustomerView, EngineError> {
        let shown = (customer_id.clone(), input.clone());
        let ws = Arc::clone(ws);
        let (created_at, online) = self.ask(message::PutCustomer { ws, customer_id, input }).await?;
        Ok(CustomerView { customer_id: shown.0, input: shown.1, created_at, online })
    }

    /// Erases a customer; `false` = there was none.
    pub async fn erase_customer(
        &self,
        ws: &Arc<Workspace>,
        customer_id: String,
        who: Who,
    ) -> Result<bool, EngineError> {
        let ws = Arc::clone(ws);
        self.ask(customer::Erase { ws, customer_id, who }).await
    }

    /// Adds a customer's consent; answers all of them.
    pub async fn give_consent(
        &self,
        ws: &Arc<Workspace>,
        customer_id: String,
        consent: Consent,
    ) -> Result<Vec<Consent>, EngineError> {
        let ws = Arc::clone(ws);
        self.ask(consent::Give { ws, customer_id, consent }).await
    }

    /// Withdraws a customer's consent; `false` = there never was one for this purpose.
    pub async fn withdraw_consent(
        &self,
        ws: &Arc<Workspace>,
        customer_id: String,
        purpose: String,
    ) -> Result<bool, EngineError> {
        let ws = Arc::clone(ws);
        self.ask(consent::Withdraw { ws, customer_id, purpose }).await
    }

    /// Accepts an agent's reply.
    pub async fn post_message(&self, ws: &Arc<Workspace>, message: PostMessage) -> Result<Posted, EngineError> {
        let ws = Arc::clone(ws);
        self.ask(message::Post { ws, message }).await
    }

    /// Takes an agent's reply back.
    pub async fn withdraw_message(&self, ws: &Arc<Workspace>, message_id: String) -> Result<(), EngineError> {
        let ws = Arc::clone(ws);
        self.ask(message::Withdraw { ws, message_id }).await
    }

    /// Takes a customer's message in.
    pub async fn customer_message(&self, ws: &Arc<Workspace>, message: CustomerMessage) -> Result<(), EngineError> {
        let ws = Arc::clone(ws);
        self.ask(message::FromCustomer { ws, message, is_sign_of_life: true }).await
    }

    /// Takes an answer by mail or text in as the customer's message (E3, T9); answers whether it is new.
    pub async fn take_in(
        &self,
        ws: &Arc<Workspace>,
        message: CustomerMessage,
        inbound: Inbound,
    ) -> Result<bool, EngineError> {
        self.ask(inbound::TakeIn::new(Arc::clone(ws), message, inbound)).await
    }

    /// The customer has read the conversation up to this message.
    pub async fn read(
        &self,
        ws: &Arc<Workspace>,
        conversation_id: String,
        customer_id: String,
        message_id: String,
    ) -> Result<(), EngineError> {
        let ws = Arc::clone(ws);
        self.ask(message::Read { ws, conversation_id, customer_id, message_id }).await
    }

    /// Takes presence reports in, in order.
    pub async fn presence(&self, ws: &Arc<Workspace>, reports: Vec<Present>) -> Result<(), EngineError> {
        let mut answers = Vec::with_capacity(reports.len());
        for present in reports {
            let (to, answer) = oneshot::channel();
            let ask = customer::Report { ws: Arc::clone(ws), present };
            self.submit(Box::new(work::Asked { ask, result: None, to }))?;
            answers.push(answer);
        }
        for answer in answers {
            answer.await.map_err(|_| gone())??;
        }
        Ok(())
    }

    /// Registers a device or confirms it.
    pub async fn register_device(
        &self,
        ws: &Arc<Workspace>,
        registration: Registration,
    ) -> Result<DeviceId, EngineError> {
        let ws = Arc::clone(ws);
        self.ask(device::Register { ws, registration }).await
    }

    /// Removes a device.
    pub async fn delete_device(&self, ws: &Arc<Workspace>, device: DeviceId) -> Result<(), EngineError> {
        let ws = Arc::clone(ws);
        self.ask(device::Leave { ws, device, delete: true }).await
    }

    /// Logs the customer out of a device; its acks stay valid.
    pub async fn log_out(&self, ws: &Arc<Workspace>, device: DeviceId) -> Result<(), EngineError> {
        let ws = Arc::clone(ws);
        self.ask(device::Leave { ws, device, delete: false }).await
    }

    /// Pushes to a device and tells what came of it. There is no follow-up to it.
    pub async fn test_push(&self, ws: &Arc<Workspace>, device: DeviceRow) -> Result<Tested, EngineError> {
        self.performer.test(self, ws, device).await
    }

    /// Keeps what a test push found out about its token; answers what that means for the token as it is now.
    pub(crate) async fn token_tested(&self, tested: test_push::TokenTested) -> Result<Outcome, EngineError> {
        self.ask(tested).await
    }

    /// Takes a device's acks in; answers in their order.
    pub async fn acks(
        &self,
        ws: &Arc<Workspace>,
        device: DeviceId,
        acks: Vec<AckInput>,
    ) -> Result<Vec<AckOutcome>, EngineError> {
        if acks.is_empty() {
            return Ok(Vec::new());
        }
        let (to, answer) = oneshot::channel();
        self.submit(Box::new(device::Acks::new(Arc::clone(ws), device, acks, to)))?;
        answer.await.map_err(|_| gone())?
    }

    /// Uses a short link's log-in up; it was handed out by us and is good until then.
    pub async fn redeem(&self, ws: &Arc<Workspace>, link: LinkKey, until: Ms) -> Result<Redeemed, EngineError> {
        let ws = Arc::clone(ws);
        self.ask(link::Redeem { ws, link, until }).await
    }

    /// Stops what has not left of a follow-up.
    pub async fn cancel(&self, ws: &Arc<Workspace>, id: FollowupId) -> Result<(), EngineError> {
        let ws = Arc::clone(ws);
        self.ask(message::Cancel { ws, id }).await
    }

    /// Judges every row of a frozen workspace that is due at or before `until`, now; answers how many changed.
    pub async fn wake_due(&self, ws: &Arc<Workspace>, until: Ms) -> Result<usize, EngineError> {
        let due = self.store.due(Lane::Frozen(ws.id), until, STEP_BATCH).await?;
        let mut answers = Vec::with_capacity(due.len());
        for due in due {
            let (to, answer) = oneshot::channel();
            let work = outcome::Woke { ws: Arc::clone(ws), id: due.id, changed: false, to: Some(to), _place: None };
            self.push(Box::new(work)).await;
            answers.push(answer);
        }
        let mut changed = 0;
        for answer in answers {
            changed += usize::from(answer.await.map_err(|_| gone())?);
        }
        Ok(changed)
    }

    /// A provider's later word about a text or email.
    /// Answers whether there is such a follow-up.
    pub async fn reported(
        &self,
        ws: &Arc<Workspace>,
        id: FollowupId,
        word: Event,
        number: Option<String>,
    ) -> Result<bool, EngineError> {
        Ok(self.said(ws, id, word, number).await?)
    }

    /// A mail server's later word about an email (E5). Answers whether there is such a follow-up.
    pub async fn mail_reported(&self, ws: &Arc<Workspace>, report: MailReport) -> Result<bool, EngineError> {
        let ws = Arc::clone(ws);
        self.ask(mail::MailReported { ws, report }).await
    }

    /// The workspace's wallet, after what is due of it (S3).
    pub async fn wallet(&self, ws: &Arc<Workspace>) -> Result<Wallet, EngineError> {
        let ws = Arc::clone(ws);
        self.ask(wallet::Look { ws }).await
    }

    /// Adds paid money, once by the caller's id (S3).
    pub async fn top_up(
        &self,
        ws: &Arc<Workspace>,
        paid: wallet::Paid,
        who: Who,
    ) -> Result<Result<TopUpRow, NoTopUp>, EngineError> {
        let ws = Arc::clone(ws);
        self.ask(wallet::TopUp { ws, paid, who }).await
    }

    /// The billing system pays nothing (S3).
    pub async fn decline_ask(&self, ws: &Arc<Workspace>, ask: u32) -> Result<(), EngineError> {
        let ws = Arc::clone(ws);
        self.ask(wallet::Decline { ws, ask }).await
    }

    /// Whether the billing system has heard a question, at this instant of the real clock (S3).
    pub(crate) async fn billing_asked(
        &self,
        ws: &Arc<Workspace>,
        ask: u32,
        reached: bool,
        at: Ms,
    ) -> Result<(), EngineError> {
        let ws = Arc::clone(ws);
        self.ask(wallet::BillingAsked { ws, ask, reached, at }).await
    }

    /// Keeps a number or address from a channel of a workspace (T7, E5).
    pub async fn opt_out(
        &self,
        ws: &Arc<Workspace>,
        channel: SuppressionChannel,
        to: String,
        source: OptOutSource,
    ) -> Result<(), EngineError> {
        self.opt_out_after(ws, None, channel, to, source).await
    }

    /// The same, of whom this follow-up was sent to last.
    pub async fn opt_out_after(
        &self,
        ws: &Arc<Workspace>,
        last: Option<FollowupId>,
        channel: SuppressionChannel,
        to: String,
        source: OptOutSource,
    ) -> Result<(), EngineError> {
        let ws = Arc::clone(ws);
        self.ask(optout::OptOut { ws, channel, to, source, last }).await
    }

    /// Keeps a list of numbers and addresses from texts and emails, all of it or nothing; answers how many are new.
    pub async fn import_suppressions(
        &self,
        ws: &Arc<Workspace>,
        list: Vec<(SuppressionChannel, String, OptOutSource)>,
        who: Who,
    ) -> Result<usize, EngineError> {
        let ws = Arc::clone(ws);
        self.ask(optout::Import { ws, list, who }).await
    }

    /// Lets a suppressed number or address be written to again (T7, E5); answers whether it could not be before.
    pub async fn opt_in(&self, ws: &Arc<Workspace>, number_hash: [u8; 32], who: Who) -> Result<bool, EngineError> {
        let ws = Arc::clone(ws);
        self.ask(optout::OptIn { ws, number_hash, who }).await
    }

    pub(crate) async fn said(
        &self,
        ws: &Arc<Workspace>,
        id: FollowupId,
        event: Event,
        number: Option<String>,
    ) -> Result<bool, StoreError> {
        let (to, answer) = oneshot::channel();
        self.push(Box::new(outcome::Said { ws: Arc::clone(ws), id, event, number, known: false, to })).await;
        answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("shutting down".into())))
    }

    pub(crate) async fn claim(
        &self,
        ws: &Arc<Workspace>,
        id: FollowupId,
        channel: Channel,
        planned: Option<Planned>,
    ) -> Claimed {
        let (to, answer) = oneshot::channel();
        let ws = Arc::clone(ws);
        self.push(Box::new(outcome::Claiming { ws, id, channel, planned, answer: Claimed::No, to })).await;
        answer.await.unwrap_or(Claimed::No)
    }

    pub(crate) async fn push_answered(&self, answered: outcome::PushAnswered) {
        self.push(Box::new(answered)).await;
    }

    /// Wake-ups of the timer, in order; the place of one that is not taken in comes free.
    pub(crate) async fn woke(&self, woken: Vec<(Arc<Workspace>, FollowupId, Place)>) {
        let Ok(room) = self.queue.reserve_many(woken.len()).await else { return };
        for (room, (ws, id, place)) in room.zip(woken) {
            room.send(Box::new(outcome::Woke { ws, id, changed: false, to: None, _place: Some(place) }));
        }
    }

    /// Whether the loop is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) fn clocks(&self) -> &Arc<Clocks> {
        &self.clocks
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    pub(crate) fn timer(&self) -> &Arc<Timer> {
        &self.timer
    }

    /// Work of our own waits for room; it is bounded by the hands and the timer.
    async fn push(&self, work: Box<dyn Work>) {
        if let Err(mpsc::error::TrySendError::Full(work)) = self.queue.try_send(work) {
            // The loop ends only with the process.
            let _ = self.queue.send(work).await;
        }
    }

    /// A caller's work does not wait for room: better refused now than answered after their time-out.
    fn submit(&self, work: Box<dyn Work>) -> Result<(), EngineError> {
        self.queue.try_send(work).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => EngineError::Overloaded { retry_after_ms: OVERLOADED_RETRY_MS },
            mpsc::error::TrySendError::Closed(_) => gone(),
        })
    }

    async fn ask<A: Ask>(&self, ask: A) -> Result<A::Answer, EngineError> {
        let (to, answer) = oneshot::channel();
        self.submit(Box::new(work::Asked { ask, result: None, to }))?;
        answer.await.map_err(|_| gone())?
    }
}

pub(crate) fn gone() -> EngineError {
    EngineError::Store(StoreError::Unavailable("shutting down".into()))
}

#[cfg(test)]
mod tests;
