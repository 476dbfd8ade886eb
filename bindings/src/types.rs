//! Records and enums of the boundary.

/// Set-up of a [`Client`](crate::Client).
#[derive(Clone, uniffi::Record)]
pub struct ClientConfig {
    /// The server, `https://push.example.com`, with a path prefix if it has one.
    pub base_url: String,
    /// The workspace's `app_…` key.
    pub app_key: String,
    /// The phone's system.
    pub platform: Platform,
    /// `<platform>/<version>` of the façade, for the server's logs.
    pub sdk: String,
    /// A directory of the SDK's own that backups leave out; made if missing. `None` = memory, gone with the process.
    pub directory: Option<String>,
    /// Where the app's notification extension leaves its events (iOS: in the App Group).
    pub spool_directory: Option<String>,
    /// BCP 47, of the texts that the customer reads.
    pub locale: Option<String>,
    /// Root certificates in PEM beside Mozilla's, for servers under a company's own authority.
    pub extra_root_certificates: Vec<Vec<u8>>,
    /// Plain `http://` to other machines than this one. For debug builds.
    pub allow_http: bool,
}

/// The phone's system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Platform {
    /// Apple's.
    Ios,
    /// Google's.
    Android,
}

/// The push service that a token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum PushProvider {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging.
    Fcm,
}

/// Which of Apple's push environments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Environment {
    /// App Store and TestFlight builds.
    Production,
    /// Development builds.
    Sandbox,
}

/// Whether the system lets the app show notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Alerts {
    /// Shown in full.
    Allowed,
    /// Shown without sound or banner (iOS provisional, a quiet channel).
    Quiet,
    /// The customer said no.
    Denied,
    /// The app has not asked yet.
    NotAsked,
}

/// How far a push got, in rising order of what it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Grade {
    /// Arrived, but the customer cannot see it.
    Suppressed,
    /// Arrived in the app's process.
    Received,
    /// Handed to the system for display while alerts and the channel allow it.
    Displayed,
    /// The customer tapped it.
    Opened,
}

/// What the app did with a push that arrived.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Seen {
    /// `displayed` or `suppressed`, as the alerts that were reported last say.
    ByAlerts,
    /// It is shown.
    Displayed,
    /// It arrived and the app decides later whether it is shown.
    Received,
    /// It cannot be seen.
    Suppressed {
        /// Why, in one short word for the server's why-log: `channel_off`, `alerts_denied`.
        why: String,
    },
}

/// Proof by the company's backend that this is its customer.
#[derive(Clone, uniffi::Enum)]
pub enum Proof {
    /// Lower-case hex HMAC-SHA256 of the customer id under the workspace's secret.
    Hash {
        /// 64 characters.
        hash: String,
    },
    /// A JWT.
    Token {
        /// In its compact form.
        token: String,
    },
}

/// A push token as the system gave it.
#[derive(Clone, uniffi::Record)]
pub struct PushToken {
    /// Whose token it is.
    pub provider: PushProvider,
    /// The token; APNs device tokens in hex.
    pub token: String,
    /// The app's own name: bundle id, or Android application id.
    pub app: Option<String>,
    /// APNs environment; `None` = production.
    pub environment: Option<Environment>,
}

/// What a device says of itself to be believed: the two go together into the keychain that an extension shares.
#[derive(Clone, uniffi::Record)]
pub struct DeviceCredentials {
    /// `dev_…`
    pub device_id: String,
    /// A secret.
    pub device_key: String,
}

/// The push as the app shows it.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct Push {
    /// `fu_…`; empty for a test push.
    pub followup_id: String,
    /// Proves receipt; opaque.
    pub receipt: String,
    /// The company's id of the conversation.
    pub conversation_id: String,
    /// Who answered.
    pub title: String,
    /// What they said.
    pub body: String,
    /// Where a tap leads, if anywhere. Follow it through `handle_tap`, which checks its scheme and hands it out once.
    pub link: Option<String>,
    /// Pushes with the same key replace each other.
    pub collapse_key: String,
    /// RFC 3339 UTC: after this a text may have gone out instead.
    pub expires_at: String,
}

/// What became of one ack, in the server's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum AckResult {
    /// Recorded before a fallback was decided.
    Accepted,
    /// Recorded after it.
    Late,
    /// The same or a higher grade was recorded before.
    Duplicate,
    /// Everything else.
    Refused,
    /// A word of a newer server; final as well.
    Unknown,
}

/// The server's answer to one ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct AckOutcome {
    /// What became of it.
    pub result: AckResult,
    /// Whether it is enough to settle the follow-up as acked.
    pub counted: bool,
}

/// What became of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Acked {
    /// The server answered.
    Confirmed {
        /// What it said.
        outcome: AckOutcome,
    },
    /// It is durable on the device and goes with a later `flush`.
    Stored,
}

/// A push that was ours.
#[derive(Clone, uniffi::Record)]
pub struct Handled {
    /// What to show.
    pub push: Push,
    /// What became of its acknowledgement.
    pub ack: Acked,
}

/// A tap on a push that was ours.
#[derive(Clone, uniffi::Record)]
pub struct Tapped {
    /// The push.
    pub push: Push,
    /// The link: once for each push, and only if its scheme is allowed.
    pub link: Option<String>,
    /// What became of the `opened` acknowledgement; `None` = it could not be kept, which does not keep the customer
    /// from the chat.
    pub ack: Option<Acked>,
}

/// Where the registration stands.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Registration {
    /// The app has given no push token.
    NoToken,
    /// What the app gave last has not reached the server.
    Pending,
    /// The server knows what the app gave last.
    Confirmed {
        /// When it said so, by the device's clock.
        at_ms: i64,
    },
    /// The server refuses it; `identity_required` asks for a fresh proof.
    Refused {
        /// The problem's code.
        code: String,
    },
}

/// Who is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Customer {
    /// Nobody, or the log-out is not confirmed yet.
    Nobody,
    /// A log-in that the server has not confirmed.
    Claimed,
    /// The server knows it.
    Bound,
}

/// What a call got done, and when to come back.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Flushed {
    /// Acks that the server answered since the call began.
    pub uploaded: u64,
    /// Acks that still wait.
    pub pending: u64,
    /// Where the registration stands.
    pub registration: Registration,
    /// When to call `flush` next; `None` = only when something new happens.
    pub next_flush_in_ms: Option<u64>,
    /// Why the last request got no final answer, in a sentence.
    pub last_failure: Option<String>,
}

/// How the storage was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Storage {
    /// There was none; it was made.
    Created,
    /// It was there.
    Opened,
    /// It was there in an older form.
    Upgraded,
    /// It was damaged and lies beside the new one; give token and customer again.
    Replaced,
    /// The SDK is switched off: there is none.
    Off,
}

/// What is known of this installation, without secrets.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Status {
    /// Whether the SDK is switched on.
    pub enabled: bool,
    /// Made once by the SDK; empty when it is switched off.
    pub install_id: String,
    /// Given by the server.
    pub device_id: Option<String>,
    /// Where the registration stands.
    pub registration: Registration,
    /// Who is logged in, as far as the server knows.
    pub customer: Customer,
    /// Whether notifications can be seen, as the app said last.
    pub alerts: Alerts,
    /// Acks that still wait.
    pub pending: u64,
    /// When to call `flush` next.
    pub next_flush_in_ms: Option<u64>,
    /// Why the last request got no final answer, in a sentence.
    pub last_failure: Option<String>,
    /// How the storage was found.
    pub storage: Storage,
}

/// What a page or device says of its customer's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum PresenceState {
    /// In front of the customer.
    Active,
    /// Another window is in front.
    Hidden,
    /// In the background.
    Left,
}

/// What only the phone's system can tell a self-test; `None` = does not apply, or nobody can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, uniffi::Record)]
pub struct DeviceFacts {
    /// Whether the system shows the app's notifications.
    pub alerts: Option<Alerts>,
    /// Android: whether the channel that pushes are shown in is switched on.
    pub channel_on: Option<bool>,
    /// Android: whether the system lets the app work in the background.
    pub background_allowed: Option<bool>,
    /// Android: what the push service says is wrong with it; empty = nothing.
    pub push_service_problem: Option<String>,
    /// iOS: the environment that the app is signed for (`aps-environment`).
    pub signed_environment: Option<Environment>,
    /// iOS: whether the App Group's container opens.
    pub app_group_opens: Option<bool>,
    /// iOS: whether the app carries a notification service extension.
    pub extension_present: Option<bool>,
    /// iOS: whether the device's key can be read from the keychain group that the extension shares.
    pub keychain_shared: Option<bool>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum FindingLevel {
    /// As it should be.
    Ok,
    /// Works, and could be better.
    Warning,
    /// Has to be mended.
    Failed,
    /// Could not be found out.
    Unknown,
}

/// One thing that a self-test looked at.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Finding {
    /// Which: `server`, `registration`, `customer`, `permission`, `channel`, `test_push`, …
    pub check: String,
    /// How much it matters.
    pub level: FindingLevel,
    /// What was found, in a sentence.
    pub said: String,
    /// What mends it, in a sentence.
    pub mend: Option<String>,
}

/// A self-test's findings.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct SelfTest {
    /// Everything that was looked at, in the order in which it matters.
    pub findings: Vec<Finding>,
    /// From asking the server for a push to its arrival here.
    pub push_took_ms: Option<u64>,
    /// From its arrival to the server's answer to its ack.
    pub ack_took_ms: Option<u64>,
}
