//! The judge: rows by key, commits with versions. One trait; SQL lives in the files below it.
//!
//! The engine loads rows, lets the domain decide and commits what came of it as [`Unit`]s: each unit is atomic, and
//! happens only if every row it replaces still has the version that was loaded. Several units share one durable
//! transaction (group commit). Every key carries its workspace: nothing is found across workspaces.

mod mail;
mod money;
mod parts;
mod row;
mod sqlite;

pub use mail::{EmailTemplateRow, MailChange, MailDomainRow, MailRows};
pub use money::{LedgerFilter, LedgerLine, TopUpRow, UsageLine, WalletRow};
pub use parts::{PartRow, Settled};
pub use sqlite::{OpenError, OpenOptions, SqliteStore};

use crate::audit;
use backstop_domain::apps::Origin;
use backstop_domain::customer::{Consent, ContactSource};
use backstop_domain::followup::{Followup, Wake};
use backstop_domain::ids::{DeviceId, FollowupId, SuppressionId};
use backstop_domain::limits::{self, Counter};
use backstop_domain::presence::Presence;
use backstop_domain::text::Link;
use backstop_domain::wallet::Month;
use backstop_domain::{Ms, device::Standing};
use backstop_wire::{Alerts, Environment, Platform, PushProvider};
use serde::{Deserialize, Serialize};
use std::pin::Pin;
use std::sync::Arc;

/// A workspace's row number; its name is what callers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkspaceId(pub i64);

/// Names one row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A customer by the caller's id.
    Customer(WorkspaceId, String),
    /// A customer's conversation: conversation id, customer id.
    Conversation(WorkspaceId, String, String),
    /// A message by the caller's id, of either direction.
    Message(WorkspaceId, String),
    /// A follow-up.
    Followup(WorkspaceId, FollowupId),
    /// A device.
    Device(WorkspaceId, DeviceId),
    /// The device with this `install_id`; answers [`Row::Found`].
    Install(WorkspaceId, String),
    /// The device that holds this push token, by [`token_hash`](DeviceRow::token_hash); answers [`Row::Found`].
    Token(WorkspaceId, [u8; 32]),
    /// Whether anything goes to the number or address of this [hash](SuppressionRow::number_hash).
    Suppression(WorkspaceId, [u8; 32]),
    /// A text's short link. Found without a workspace: its code is the secret, and its row says whose it is.
    Link(LinkKey),
    /// What the caps count of this scope (S4): see [`CounterRow::key`].
    Counter(WorkspaceId, limits::Scope, [u8; 16]),
    /// The workspace's wallet (S2).
    Wallet(WorkspaceId),
    /// A payment by the caller's id (S3).
    TopUp(WorkspaceId, String),
    /// The newest 200 follow-ups of a customer that have a wake-up left; answers [`Row::Open`].
    Open(WorkspaceId, String),
}

/// One row, whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// See [`CustomerRow`].
    Customer(CustomerRow),
    /// See [`ConversationRow`].
    Conversation(ConversationRow),
    /// See [`MessageRow`].
    Message(MessageRow),
    /// See [`FollowupRow`]. Shared with whoever sends for it.
    Followup(Arc<FollowupRow>),
    /// See [`DeviceRow`].
    Device(DeviceRow),
    /// See [`SuppressionRow`].
    Suppression(SuppressionRow),
    /// See [`LinkRow`].
    Link(LinkRow),
    /// See [`CounterRow`].
    Counter(CounterRow),
    /// See [`WalletRow`].
    Wallet(WalletRow),
    /// See [`TopUpRow`].
    TopUp(TopUpRow),
    /// Answer of [`Key::Install`] and [`Key::Token`].
    Found(DeviceId),
    /// Answer of [`Key::Open`].
    Open(Vec<FollowupId>),
}

/// A customer. `version` is 1 when first written and grows by one at each write; so in every row.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomerRow {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The caller's id.
    pub customer_id: String,
    /// The version that was loaded; 0 = not stored yet.
    pub version: i64,
    /// The customer's own key, wrapped by the vault. Erasing it shreds everything sealed under it.
    pub wrapped_key: Vec<u8>,
    /// Sealed JSON `{name?, email?, phone?}`; `None` = nothing known.
    pub contact: Option<Vec<u8>>,
    /// Whether `contact` holds something that a text can go to: a phone number, a LINE user.
    pub has_phone: bool,
    /// Whether `contact` holds an email address.
    pub has_email: bool,
    /// When `contact` last changed; 0 = not since this is kept.
    pub contact_at: Ms,
    /// Where the contact data came from (S8).
    pub contact_source: ContactSource,
    /// What the customer agreed to, oldest first (S8).
    pub consents: Vec<Consent>,
    /// BCP 47.
    pub locale: Option<String>,
    /// IANA name.
    pub time_zone: Option<String>,
    /// The customer's devices.
    pub devices: Vec<DeviceId>,
    /// Who is looking.
    pub presence: Presence,
    /// The last read, message or active presence (P6).
    pub engaged_at: Option<Ms>,
    /// When first seen.
    pub created_at: Ms,
}

/// One customer's side of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversationRow {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The caller's id.
    pub conversation_id: String,
    /// The caller's id of the customer.
    pub customer_id: String,
    /// See [`CustomerRow`].
    pub version: i64,
    /// Number of the next message, from 1.
    pub next_seq: i64,
    /// When the customer last wrote here (D6).
    pub wrote_at: Option<Ms>,
    /// When a text or email last left (D8).
    pub left_at: Option<Ms>,
    /// When an SMS or LMS first left or may have: the next ones need no line on how to opt out.
    pub texted_at: Option<Ms>,
    /// Follow-ups of it that may still be open or be followed, oldest first; others are dropped at the next write.
    pub open: Vec<FollowupId>,
}

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The company's agent or bot.
    ToCustomer,
    /// The customer.
    FromCustomer,
}

/// One message. Its text is sealed under the customer's key.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageRow {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The caller's id.
    pub message_id: String,
    /// See [`CustomerRow`].
    pub version: i64,
    /// The caller's id of the conversation.
    pub conversation_id: String,
    /// The caller's id of the customer.
    pub customer_id: String,
    /// Number within the conversation, from 1.
    pub seq: i64,
    /// Who wrote it.
    pub direction: Direction,
    /// SHA-256 of the request, so that a repeat is told from a conflict (D9).
    pub body_hash: [u8; 32],
    /// Sealed JSON `{author, text, link?}`; `None` = withdrawn, erased or past its retention.
    pub body: Option<Vec<u8>>,
    /// Its follow-up — or the row that watches it (D2); always of the same customer.
    pub followup: Option<FollowupId>,
    /// What the caller was answered, as JSON, for repeats.
    pub answer: String,
    /// When it was accepted.
    pub accepted_at: Ms,
}

/// A follow-up: the domain's state and what finds it again.
#[derive(Clone, Debug, PartialEq)]
pub struct FollowupRow {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Ours.
    pub id: FollowupId,
    /// The caller's id of the customer.
    pub customer_id: String,
    /// The caller's id of the conversation.
    pub conversation_id: String,
    /// See [`CustomerRow`].
    pub version: i64,
    /// Everything the rules know of it. Stored as JSON beside a column with [`Followup::public_state`] for lists;
    /// a row whose public state is `None` (watching) is in no list.
    pub state: Followup,
    /// The next instant at which it must be judged.
    pub wake: Option<Wake>,
}

/// A device and its push token.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceRow {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Ours.
    pub id: DeviceId,
    /// See [`CustomerRow`].
    pub version: i64,
    /// The SDK's own id of the installation; unique in the workspace.
    pub install_id: String,
    /// Whose it is; `None` = nobody is logged in.
    pub customer_id: Option<String>,
    /// The phone's system.
    pub platform: Platform,
    /// Whose token it is.
    pub provider: PushProvider,
    /// The token, sealed by the vault.
    pub token: Vec<u8>,
    /// Keyed hash of provider and token; unique in the workspace.
    pub token_hash: [u8; 32],
    /// The app's name at its push service: APNs topic, or Android package.
    pub topic: Option<String>,
    /// APNs environment.
    pub environment: Option<Environment>,
    /// Whether notifications can be seen.
    pub alerts: Alerts,
    /// Payload versions it understands (W5).
    pub wire: Vec<u32>,
    /// BCP 47.
    pub locale: Option<String>,
    /// Whether the push provider still takes the token (C3).
    pub standing: Standing,
    /// When this token was first registered.
    pub registered_at: Ms,
    /// When it was last confirmed by a registration.
    pub confirmed_at: Ms,
    /// When the app on it was last used (P6).
    pub used_at: Ms,
    /// Its newest counted acks, at most three, oldest first (P6).
    pub counted_acks: Vec<Ms>,
}

impl DeviceRow {
    /// What it says of the app that it is part of.
    pub fn origin(&self) -> Origin<'_> {
        Origin { provider: self.provider, name: self.topic.as_deref(), environment: self.environment }
    }
}

/// A number or address that a workspace sends nothing to by one of its channels (T7, E5). It outlives the customer: an
/// opt-out is not undone by erasing and importing again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuppressionRow {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Ours.
    pub id: SuppressionId,
    /// See [`CustomerRow`].
    pub version: i64,
    /// What is not sent there.
    pub channel: SuppressionChannel,
    /// Keyed hash of channel and number or address; unique in the workspace.
    pub number_hash: [u8; 32],
    /// The number or address, sealed by the vault; `None` = forgotten with whose it was.
    pub number: Option<Vec<u8>>,
    /// How we know.
    pub source: OptOutSource,
    /// Since when; of strikes, the first one's time.
    pub at: Ms,
    /// Whether it is in force.
    pub standing: SuppressionStanding,
}

impl SuppressionRow {
    /// Whether nothing is sent there.
    pub fn is_in_force(&self) -> bool {
        self.standing == SuppressionStanding::InForce
    }
}

/// What a suppression keeps from whoever it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuppressionChannel {
    /// All texts to a number.
    Text,
    /// Alimtalk to a number.
    Alimtalk,
    /// LINE to a user.
    Line,
    /// Email to an address.
    Email,
}

/// How a suppression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuppressionStanding {
    /// Nothing goes there.
    InForce,
    /// It was lifted then.
    Lifted(Ms),
    /// Not yet: mails to the address failed so many times (E5).
    Struck(u8),
}

/// How we know that somebody is not to be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptOutSource {
    /// They wrote STOP or its kin.
    Stop,
    /// The provider said so.
    Provider,
    /// Mail to the address came back.
    Bounce,
    /// Its owner called a mail of ours spam.
    Complaint,
    /// The company's own list said so.
    Import,
}

impl OptOutSource {
    /// All of them.
    pub const ALL: [OptOutSource; 5] = [
        OptOutSource::Stop,
        OptOutSource::Provider,
        OptOutSource::Bounce,
        OptOutSource::Complaint,
        OptOutSource::Import,
    ];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            OptOutSource::Stop => "stop",
            OptOutSource::Provider => "provider",
            OptOutSource::Bounce => "bounce",
            OptOutSource::Complaint => "complaint",
            OptOutSource::Import => "import",
        }
    }

    /// The one of this word.
    pub fn parse(word: &str) -> Option<OptOutSource> {
        OptOutSource::ALL.into_iter().find(|source| source.as_str() == word)
    }
}

/// A text to a number, from a number of the account: whom a STOP is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texted {
    /// Keyed hash of the number it goes to.
    pub number_hash: [u8; 32],
    /// The account's number; empty = the account picks one.
    pub sender: String,
    /// The follow-up whose text it is.
    pub followup: FollowupId,
    /// When.
    pub at: Ms,
}

/// The last text of a workspace to a number: whom a STOP is for, and what an answer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LastText {
    /// When.
    pub at: Ms,
    /// Whose.
    pub workspace: WorkspaceId,
    /// `None` = it left before follow-ups were kept.
    pub followup: Option<FollowupId>,
}

/// An answer by mail or text: beside the message that it is, how it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// The message.
    pub message_id: String,
    /// The way it came.
    pub channel: InboundChannel,
    /// The follow-up that it answers.
    pub followup: Option<FollowupId>,
    /// It came by mail, and not from the customer's own address.
    pub from_other: bool,
}

/// By what an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InboundChannel {
    /// By mail.
    Email,
    /// By text.
    Sms,
    /// By LINE.
    Line,
}

/// An answer as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredInbound {
    /// Grows in the order of the commits.
    pub id: i64,
    /// How it came.
    pub inbound: Inbound,
    /// What it is.
    pub message: MessageRow,
}

/// Filter of [`Store::suppressions`]; newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SuppressionFilter {
    /// Only this one.
    pub id: Option<SuppressionId>,
    /// Only of this channel.
    pub channel: Option<SuppressionChannel>,
    /// Only older than this.
    pub after: Option<SuppressionId>,
    /// At most this many.
    pub limit: usize,
}

/// What a short link is stored under: a time first, so that new links land on the same few pages, then a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey {
    /// When it was made, in seconds by the real clock.
    pub made_at_s: i64,
    /// Of its code.
    pub hash: [u8; 16],
}

/// A text's short link (T8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRow {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// What it is found by.
    pub key: LinkKey,
    /// See [`CustomerRow`].
    pub version: i64,
    /// What it leads to; erased or past its retention, it leads nowhere.
    pub followup: FollowupId,
    /// How long it is good, and whether its log-in is.
    pub link: Link,
}

/// How many texts left (S4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterRow {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// What it counts by.
    pub scope: limits::Scope,
    /// Keyed hash of the number, prefix, customer or conversation: nobody reads it back.
    pub key: [u8; 16],
    /// See [`CustomerRow`].
    pub version: i64,
    /// What it counts.
    pub counter: Counter,
}

/// One line of a follow-up's history: a decision, its cause and its reason (S7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When.
    pub at: Ms,
    /// What happened.
    pub event: String,
    /// What was decided.
    pub decision: String,
    /// Why.
    pub why: String,
    /// JSON: what it was decided on, for a replay; `None` = from before this is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<String>,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Writes a row whole, with this very version: it replaces the one before, and at 1 it must not exist yet. Shared
    /// with whoever goes on working with it; see [`Op::put`].
    Put(Arc<Row>),
    /// Appends to a follow-up's history.
    History(WorkspaceId, FollowupId, HistoryEntry),
    /// Deletes the device, if it still has this version.
    DeleteDevice(WorkspaceId, DeviceId, i64),
    /// Remembers that this workspace texts this number; a newer one of the same replaces it.
    Texted(WorkspaceId, Texted),
    /// An answer came by mail or text, beside the message that it is.
    Inbound(WorkspaceId, Inbound),
    /// Adds an entry to the ledger, and to its month's usage.
    Ledger(WorkspaceId, LedgerLine),
    /// Adds a line to the audit log, beside the change it tells of.
    Audit(WorkspaceId, audit::Entry),
    /// Removes the customer's row and key, devices, conversations and the bodies of their messages. What stays of
    /// follow-ups and message ids names nobody.
    Erase(WorkspaceId, String),
}

impl Op {
    /// Writes the successor of a row: `row.version` is the version that was loaded, 0 = it must not exist.
    pub fn put(mut row: Row) -> Op {
        row.set_version(row.version() + 1);
        Op::Put(Arc::new(row))
    }
}

/// Writes that happen together or not at all.
pub type Unit = Vec<Op>;

/// What became of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Durable.
    Done,
    /// A row had another version, or a unique id was taken: load and decide again.
    Conflict,
}

/// Why the store could not answer; what the caller can do is in each.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    /// Nothing was written; the same call may work later (disk full, busy, shutting down).
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The outcome of the commit is not known; load before acting.
    #[error("the store did not say whether it committed: {0}")]
    Unknown(String),
    /// A row does not read: stop and look.
    #[error("the store holds a row that does not read: {0}")]
    Corrupt(String),
}

/// A pending wake-up as the timer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Which.
    pub id: FollowupId,
    /// When, and what for.
    pub wake: Wake,
}

/// Whose clock a row's wake-up runs on: real time, or one sandbox workspace's frozen clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Real time.
    Real,
    /// This workspace's own, frozen clock.
    Frozen(WorkspaceId),
}

/// A workspace as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceRow {
    /// Row number.
    pub id: WorkspaceId,
    /// Grows with each change: [`Store::update_workspace`] replaces only what was read.
    pub version: i64,
    /// Name, unique: `[a-z0-9-]{1,64}`.
    pub name: String,
    /// Identity secrets, sealed by the vault, newest first; at most two are valid (C1).
    pub identity_secrets: Vec<Vec<u8>>,
    /// PEM public keys that may sign customers' JWTs (C1).
    pub trusted_keys: Vec<String>,
    /// Settings as the API shows them, JSON.
    pub settings: String,
    /// Their version, and who set them; `None` = nobody since the workspace was made.
    pub settings_set: Option<SettingsSet>,
    /// Where its clock stands, if it was frozen (sandbox).
    pub frozen_at: Option<Ms>,
    /// When it was made.
    pub created_at: Ms,
}

/// When settings were last replaced, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsSet {
    /// 1 = those of the workspace's making.
    pub version: i64,
    /// When, by the real clock.
    pub at: Ms,
    /// By whom.
    pub who: audit::Who,
}

/// Filter of [`Store::audit`]; newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only of this kind.
    pub kind: Option<audit::Kind>,
    /// Only older than this line.
    pub after: Option<i64>,
    /// At most this many.
    pub limit: usize,
}

/// One mobile app of a workspace, with its credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppRow {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The caller's id.
    pub app_id: String,
    /// JSON; nothing secret.
    pub config: String,
    /// Sealed by the vault.
    pub credentials: Vec<u8>,
    /// When it was first put, by the real clock.
    pub created_at: Ms,
    /// When it last changed.
    pub updated_at: Ms,
}

/// What becomes of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppChange {
    /// It is this from now on.
    Put(AppRow),
    /// The app of this id goes.
    Delete(String),
}

/// One Alimtalk template of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlimtalkRow {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The relay's id of it.
    pub template_id: String,
    /// JSON, as it was put.
    pub config: String,
    /// When it was first put, by the real clock.
    pub created_at: Ms,
    /// When it last changed.
    pub updated_at: Ms,
}

/// What becomes of an Alimtalk template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlimtalkChange {
    /// It is this from now on.
    Put(AlimtalkRow),
    /// The template of this id goes.
    Delete(String),
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The company's backend: everything under Bearer.
    Server,
    /// Reads only.
    Read,
    /// The billing system: reads wallet and usage, and adds money.
    Billing,
    /// An app: device endpoints and web presence. Public by nature.
    App,
}

/// Filter of [`Store::followups`]; newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FollowupFilter {
    /// Only this customer's.
    pub customer_id: Option<String>,
    /// Only this conversation's.
    pub conversation_id: Option<String>,
    /// Only the one of this message.
    pub message_id: Option<String>,
    /// Only in this public state.
    pub state: Option<String>,
    /// Only older than this.
    pub after: Option<FollowupId>,
    /// Only this one and newer.
    pub from: Option<FollowupId>,
    /// At most this many.
    pub limit: usize,
}

/// Answer to a repeated `Idempotency-Key` (W3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// SHA-256 of method, path and body of the first request.
    pub request_hash: [u8; 32],
    /// HTTP status of the first answer.
    pub status: u16,
    /// Body of the first answer, sealed by the vault.
    pub body: Vec<u8>,
    /// When, by the real clock.
    pub at: Ms,
}

/// Health as `/readyz` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether a durable write works now; `Err` says why not.
    pub writable: Result<(), String>,
    /// Schema version.
    pub schema: i64,
    /// `single` or `ha-strict` / `ha-async`.
    pub class: &'static str,
}

/// The answer of a store call.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What every engine of storage does. `tests/it/store_conformance.rs` says what it means.
pub trait Store: Send + Sync + 'static {
    /// Rows in the order of the keys. Sees every commit that was answered.
    fn load(&self, keys: Vec<Key>) -> Reply<'_, Vec<Option<Row>>>;
    /// All units in one durable transaction; a unit in conflict is left out whole. Answers after it is durable.
    /// A later unit may build on rows that an earlier one of the same call writes; if that one is left out, so is it.
    /// Where other nodes write too, versions alone do not tell: another may have written the very version it expects.
    /// Cancel-safe: dropping the future never cuts a commit in half. `Err(Unavailable)` = none of the units happened.
    fn commit(&self, units: Vec<Unit>) -> Reply<'_, Vec<Verdict>>;

    /// Wake-ups of a lane at or before `until`, earliest first.
    fn due(&self, lane: Lane, until: Ms, limit: usize) -> Reply<'_, Vec<Due>>;
    /// Every wake-up of the real lane after `(at, id)`, in that order, for the timer's index at start.
    fn pending(&self, after: (Ms, FollowupId), limit: usize) -> Reply<'_, Vec<Due>>;
    /// How many wake-ups are left, in all lanes.
    fn pending_count(&self) -> Reply<'_, u64>;

    /// Follow-ups for lists, newest first.
    fn followups(&self, workspace: WorkspaceId, filter: FollowupFilter) -> Reply<'_, Vec<FollowupRow>>;
    /// A follow-up's history, oldest first.
    fn history(&self, workspace: WorkspaceId, id: FollowupId) -> Reply<'_, Vec<HistoryEntry>>;
    /// All messages of a customer, oldest first, paged by `(accepted_at, message_id)`: for export.
    fn messages_of(
        &self,
        workspace: WorkspaceId,
        customer_id: &str,
        after: (Ms, String),
        limit: usize,
    ) -> Reply<'_, Vec<MessageRow>>;

    /// A customer's conversations in the order of their ids, those after `after`: for export.
    fn conversations_of(
        &self,
        workspace: WorkspaceId,
        customer_id: &str,
        after: &str,
        limit: usize,
    ) -> Reply<'_, Vec<ConversationRow>>;

    /// Whether any app of the workspace has registered a device.
    fn any_device(&self, workspace: WorkspaceId) -> Reply<'_, bool>;
    /// Suppressions in force.
    fn suppressions(&self, workspace: WorkspaceId, filter: SuppressionFilter) -> Reply<'_, Vec<SuppressionRow>>;
    /// The ledger of a workspace's wallet, newest first.
    fn ledger(&self, workspace: WorkspaceId, filter: LedgerFilter) -> Reply<'_, Vec<LedgerLine>>;
    /// What the ledger's captures and refunds of a month come to, by kind and country.
    fn usage(&self, workspace: WorkspaceId, month: Month) -> Reply<'_, Vec<UsageLine>>;
    /// Workspaces whose billing system is to be asked at or before `until`, the longest due first.
    fn asking(&self, until: Ms, limit: usize) -> Reply<'_, Vec<WorkspaceId>>;
    /// The currencies that there are wallets in.
    fn currencies(&self) -> Reply<'_, Vec<String>>;
    /// The last text of each workspace to a number, from this number of the account or one that it picked, at or after
    /// `since`; newest first. An empty `sender` = from whichever.
    fn texted(&self, number_hash: [u8; 32], sender: &str, since: Ms) -> Reply<'_, Vec<LastText>>;
    /// Answers by mail and text after this one, oldest first; not those of customers who were erased.
    fn inbound(&self, workspace: WorkspaceId, after: i64, limit: usize) -> Reply<'_, Vec<StoredInbound>>;

    /// Keeps by which id a vendor's reports name a part of a text.
    fn keep_part(&self, part: PartRow) -> Reply<'_, ()>;
    /// Notes what became of a part; the first word on it stands. `None` = no such part is known.
    fn settle_part(&self, provider: &str, id: &str, delivered: bool) -> Reply<'_, Option<Settled>>;

    /// Makes a workspace with its keys (hashes); fails with `None` when the name is taken.
    fn create_workspace(&self, workspace: WorkspaceRow, keys: Vec<([u8; 32], Scope)>)
    -> Reply<'_, Option<WorkspaceId>>;
    /// One workspace.
    fn workspace(&self, id: WorkspaceId) -> Reply<'_, Option<WorkspaceRow>>;
    /// One workspace by name.
    fn workspace_named(&self, name: &str) -> Reply<'_, Option<WorkspaceRow>>;
    /// All workspaces.
    fn workspaces(&self) -> Reply<'_, Vec<WorkspaceRow>>;
    /// Replaces what may change of a workspace (secrets, trusted keys, settings) and says so in the audit log; `false`
    /// = it has another version by now, and nothing was written.
    fn update_workspace(&self, workspace: WorkspaceRow, audit: audit::Entry) -> Reply<'_, bool>;
    /// The audit log, newest first.
    fn audit(&self, workspace: WorkspaceId, filter: AuditFilter) -> Reply<'_, Vec<audit::Stored>>;
    /// The apps of a workspace, in the order of their ids.
    fn apps(&self, workspace: WorkspaceId) -> Reply<'_, Vec<AppRow>>;
    /// Puts or deletes an app and says so in the audit log; `false` = its workspace has another version than this by
    /// now, and nothing was written. Grows that version.
    fn change_app(
        &self,
        workspace: WorkspaceId,
        version: i64,
        change: AppChange,
        audit: audit::Entry,
    ) -> Reply<'_, bool>;
    /// What a workspace keeps for its email.
    fn mail(&self, workspace: WorkspaceId) -> Reply<'_, MailRows>;
    /// Changes it, as [`Store::change_app`] does with apps; without an entry the audit log stays as it is.
    fn change_mail(
        &self,
        workspace: WorkspaceId,
        version: i64,
        change: MailChange,
        audit: Option<audit::Entry>,
    ) -> Reply<'_, bool>;
    /// Workspaces whose mail domain is to be looked at by then, the longest due first.
    fn mail_domains_due(&self, until: Ms, limit: usize) -> Reply<'_, Vec<WorkspaceId>>;
    /// The Alimtalk templates of a workspace, in the order of their ids.
    fn alimtalk_templates(&self, workspace: WorkspaceId) -> Reply<'_, Vec<AlimtalkRow>>;
    /// Puts or deletes an Alimtalk template and says so in the audit log; `false` = its workspace has another version
    /// than this by now.
    fn change_alimtalk_template(
        &self,
        workspace: WorkspaceId,
        version: i64,
        change: AlimtalkChange,
        audit: audit::Entry,
    ) -> Reply<'_, bool>;
    /// Freezes a workspace's clock or moves it on (never back), and moves its wake-ups to its own lane.
    fn freeze(&self, workspace: WorkspaceId, at: Ms) -> Reply<'_, ()>;
    /// Drops a workspace with everything in it.
    fn drop_workspace(&self, workspace: WorkspaceId) -> Reply<'_, ()>;
    /// Adds a key (SHA-256 of it) and says so in the audit log.
    fn create_key(
        &self,
        workspace: WorkspaceId,
        hash: [u8; 32],
        scope: Scope,
        at: Ms,
        who: audit::Who,
    ) -> Reply<'_, ()>;
    /// Takes a key out of use and says so in the audit log; `false` when there is none.
    fn revoke_key(&self, hash: [u8; 32], at: Ms, who: audit::Who) -> Reply<'_, bool>;
    /// Whose key this is, unless revoked.
    fn key(&self, hash: [u8; 32]) -> Reply<'_, Option<(WorkspaceId, Scope)>>;

    /// The stored answer for an idempotency key, if younger than `not_before`.
    fn stored_answer(&self, workspace: WorkspaceId, key: &str, not_before: Ms) -> Reply<'_, Option<StoredAnswer>>;
    /// Keeps an answer; the first one stays.
    fn keep_answer(&self, workspace: WorkspaceId, key: &str, answer: StoredAnswer) -> Reply<'_, ()>;

    /// Retention (S8): drops message bodies accepted before `texts_before`, closed follow-ups and messages from before
    /// `followups_before` and idempotency answers from before `answers_before`; at most `limit` rows a call. Answers
    /// how many went.
    fn retire(&self, texts_before: Ms, followups_before: Ms, answers_before: Ms, limit: usize) -> Reply<'_, usize>;
    /// The same of one workspace alone, by the times in its rows: its clock is its own, and what goes by real time does
    /// not go by it.
    fn retire_in(
        &self,
        workspace: WorkspaceId,
        texts_before: Ms,
        followups_before: Ms,
        limit: usize,
    ) -> Reply<'_, usize>;
    /// Answers when nothing of whoever was erased before is left in the store's files, nor in what was written ahead.
    fn scrubbed(&self) -> Reply<'_, ()>;
    /// Whether it works.
    fn health(&self) -> Reply<'_, Health>;
}
