//! What callers ask of the engine, and what they get: requests already parsed, identities already proven.

use crate::store::StoreError;
use crate::vault::Carrier;
use backstop_domain::Ms;
use backstop_domain::customer::ContactSource;
use backstop_domain::followup::{AuthorKind, Channel, Kind, Outcome, PublicState, Warning};
use backstop_domain::ids::{DeviceId, FollowupId};
use backstop_domain::mail::Verdict;
use backstop_domain::text::NoLogin;
use backstop_wire::{Alerts, Environment, Grade, Platform, PresenceState, PushProvider};
use serde::{Deserialize, Serialize};

/// Contact data and preferences of a customer; full replacement.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CustomerInput {
    /// Display name.
    pub name: Option<String>,
    /// Address, checked.
    pub email: Option<String>,
    /// E.164, checked.
    pub phone: Option<String>,
    /// LINE user id, checked.
    pub line_user_id: Option<String>,
    /// What the contact data may be used for.
    pub contact_source: ContactSource,
    /// BCP 47.
    pub locale: Option<String>,
    /// IANA name.
    pub time_zone: Option<String>,
}

/// Contact data as sealed in the customer's row.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Contact {
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// E.164.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// LINE user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_user_id: Option<String>,
}

/// A customer as shown.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomerView {
    /// The caller's id.
    pub customer_id: String,
    /// What was put.
    pub input: CustomerInput,
    /// When first seen.
    pub created_at: Ms,
    /// Whether the customer counts as online now.
    pub online: bool,
}

/// A message's content as sealed in its row.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageBody {
    /// The author's name; absent for the customer's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What they said.
    pub text: String,
    /// Where the conversation goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// An agent's reply.
#[derive(Clone, PartialEq, Eq)]
pub struct PostMessage {
    /// The caller's id of it.
    pub message_id: String,
    /// The caller's id of the conversation.
    pub conversation_id: String,
    /// The caller's id of the customer.
    pub customer_id: String,
    /// The caller's word for what it is. Marketing is refused before (D7).
    pub kind: Option<Kind>,
    /// Who wrote it.
    pub author_kind: AuthorKind,
    /// Content.
    pub body: MessageBody,
    /// Channels the caller chose, sorted, without duplicates.
    pub channels: Option<Vec<Channel>>,
    /// Apps the caller chose, sorted, without duplicates (P1).
    pub apps: Option<Vec<String>>,
    /// Customer data to put in the same step.
    pub customer: Option<CustomerInput>,
    /// SHA-256 of the request as understood: same id + other hash = conflict (D9).
    pub body_hash: [u8; 32],
}

/// Answer to an accepted reply; the same again for a repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// It is (in) a follow-up.
    Followup {
        /// Which.
        followup_id: FollowupId,
        /// Where it stood when the reply was accepted.
        state: PublicState,
        /// When the reply was accepted.
        accepted_at: Ms,
        /// When the follow-up is decided at the latest.
        deadline_at: Ms,
        /// What the caller should know.
        warnings: Vec<Warning>,
    },
    /// The customer is online: watched until they leave or read (D2).
    Watching,
}

/// Where a message is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageStatus {
    /// In this follow-up.
    Followup(FollowupId),
    /// Watched, or read while it was.
    Watching {
        /// Whether the customer has read it or wrote back.
        ended: bool,
    },
    /// The customer's own.
    FromCustomer,
}

/// A customer's message.
#[derive(Clone, PartialEq, Eq)]
pub struct CustomerMessage {
    /// The caller's id of it.
    pub message_id: String,
    /// The caller's id of the conversation.
    pub conversation_id: String,
    /// The caller's id of the customer; made known if new.
    pub customer_id: String,
    /// What they said.
    pub text: String,
    /// See [`PostMessage::body_hash`].
    pub body_hash: [u8; 32],
}

/// What a mail server says later of an email (E5).
#[derive(Clone, PartialEq, Eq)]
pub struct MailReport {
    /// Whose.
    pub followup: FollowupId,
    /// Which try; `None` = the newest.
    pub attempt: Option<u32>,
    /// The address that it is about; `None` = the one that the mail went to.
    pub recipient: Option<String>,
    /// The vendor's id of it.
    pub provider_id: Option<String>,
    /// What became of it.
    pub word: MailWord,
}

/// What became of an email.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailWord {
    /// It is in the mailbox.
    Delivered,
    /// It came back.
    Failed {
        /// The server's code, without its words: `5.1.1`.
        code: String,
        /// What that says of the address.
        verdict: Verdict,
    },
    /// It arrived, and its reader called it spam.
    Complained,
}

/// What came of a short link's log-in (T8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// This is who clicked; nobody is told again.
    Yes {
        /// The caller's id of the customer.
        customer_id: String,
        /// The caller's id of the conversation.
        conversation_id: String,
        /// The follow-up whose text it was.
        followup_id: FollowupId,
    },
    /// It is not good any more.
    No(NoLogin),
    /// There is no such link, or its customer was erased.
    Unknown,
}

/// One presence report; `customer_id` is proven or the backend's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Whose.
    pub customer_id: String,
    /// Which page or device.
    pub source_id: String,
    /// What it says.
    pub state: PresenceState,
    /// Since the last activity.
    pub idle_ms: Option<Ms>,
    /// The device that says so, if one does: it counts as used (P6).
    pub device: Option<DeviceId>,
}

/// A registration; the customer is proven (C1).
#[derive(Clone, PartialEq, Eq)]
pub struct Registration {
    /// The SDK's id of the installation.
    pub install_id: String,
    /// The phone's system.
    pub platform: Platform,
    /// Whose token.
    pub provider: PushProvider,
    /// The token.
    pub token: String,
    /// The app's name at its push service: APNs topic, or Android package.
    pub topic: Option<String>,
    /// APNs environment.
    pub environment: Option<Environment>,
    /// Whether notifications can be seen.
    pub alerts: Alerts,
    /// Payload versions it understands.
    pub wire: Vec<u32>,
    /// BCP 47.
    pub locale: Option<String>,
    /// The proven customer; `None` = nobody claims to be logged in.
    pub customer_id: Option<String>,
    /// The device whose key was shown with the request, checked.
    pub authenticated_as: Option<DeviceId>,
}

/// One ack whose receipt was opened; `None` = it did not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckInput {
    /// The push that carried the receipt, if it is genuine and this device's.
    pub receipt: Option<Carrier>,
    /// How far the push got.
    pub grade: Grade,
    /// By the device's clock.
    pub recorded_at: Ms,
    /// The SDK's word for why.
    pub detail: Option<String>,
}

/// What became of a test push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// What the push service said, or what stands in for it.
    pub outcome: Outcome,
    /// The APNs environment that was asked last; `None` = none was, or the credential's own.
    pub environment: Option<Environment>,
}

/// Why the engine says no; what the caller can do is in each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// There is no such customer.
    #[error("no such customer in this workspace")]
    UnknownCustomer,
    /// There is no such message.
    #[error("no such message in this workspace")]
    UnknownMessage,
    /// There is no such follow-up.
    #[error("no such follow-up in this workspace")]
    UnknownFollowup,
    /// There is no such device.
    #[error("no such device in this workspace")]
    UnknownDevice,
    /// The id was used for another message, or this one's other fields differ (D9).
    #[error("this message_id was posted before with another body")]
    MessageConflict,
    /// The deployment has no prices.
    #[error("this deployment charges nobody: texts need no wallet until its configuration has wallet.prices")]
    NobodyIsCharged,
    /// The id was used for another payment.
    #[error("this top_up_id was used for another amount or question")]
    TopUpConflict,
    /// There is no such question.
    #[error("no such question is open: GET /v1/wallet shows the one that is")]
    UnknownAsk,
    /// A known installation needs its device key or a customer's proof.
    #[error("this install_id is known: send its device key or a customer's proof")]
    DeviceProofRequired,
    /// Too much is waiting; try again after this many milliseconds.
    #[error("the server is behind with its work")]
    Overloaded {
        /// When.
        retry_after_ms: Ms,
    },
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
}
