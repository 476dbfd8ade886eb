//! What can happen to a follow-up, and what is known when it does.

use super::outcome::{Found, Outcome};
use super::reason::Reason;
use super::state::{AuthorKind, Channel, Kind, Mark, Reply};
use crate::Ms;
use crate::customer::ContactSource;
use crate::device::DeviceFacts;
use crate::ids::{DeviceId, FollowupId};
use crate::limits::Counters;
use crate::text::TextPlan;
use crate::wallet::Wallet;
use backstop_wire::Grade;
use serde::{Deserialize, Serialize};

/// An agent's reply as accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewReply {
    /// What the caller says it is; `None` = derived (D6).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The reply.
    pub reply: Reply,
    /// Channels the caller chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Vec<Channel>>,
    /// Apps the caller chose, sorted; all when absent (P1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<Vec<String>>,
}

/// What is known around a follow-up when it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// A phone number is known.
    pub phone: bool,
    /// An address is known.
    pub email: bool,
    /// The customer's time zone, if known (D10).
    pub time_zone: Option<&'a str>,
    /// What they may be used for.
    pub source: ContactSource,
    /// The customer's devices.
    pub devices: &'a [DeviceFacts],
    /// Until when the customer counts as online; `None` = offline.
    pub online_until: Option<Ms>,
    /// The customer wrote in this conversation (D6).
    pub wrote: bool,
    /// When a text or email of this conversation last left (D8).
    pub left_at: Option<Ms>,
    /// The customer's last sign of life (P6).
    pub engaged_at: Option<Ms>,
    /// The text that asks to be claimed; `None` = it is not planned, since there is nothing that could leave.
    pub plan: Option<&'a TextPlan>,
    /// What the caps have counted where this text goes (S4); `None` = nobody knows, and nothing is counted.
    pub counters: Option<Counters>,
    /// What the workspace's texts are paid from (S2); `None` = nobody knows, and nothing is paid or settled.
    pub wallet: Option<&'a Wallet>,
    /// The number opted out of the workspace's texts, as far as it is known here: always when a text is claimed (T7).
    pub opted_out: bool,
    /// The address is not to be written to, as far as it is known here: always when an email is claimed (E5).
    pub address_marked: bool,
    /// An unused id, should replies live on as a follow-up of their own.
    pub spare: FollowupId,
}

/// What can happen. Kept with each decision, hence the same words for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Its wake-up is due.
    Woke,
    /// A push provider answered.
    PushAnswered {
        /// For which device.
        device: DeviceId,
        /// Which try.
        attempt: u32,
        /// What.
        outcome: Outcome,
    },
    /// A device says a push arrived; its receipt is genuine.
    Acked {
        /// Which.
        device: DeviceId,
        /// Replies that push showed.
        covers: u16,
        /// How far it got.
        grade: Grade,
        /// By the device's clock.
        recorded_at: Ms,
        /// The SDK's word for why (`channel_off`).
        detail: Option<String>,
    },
    /// A newer push of the conversation was acked (P9).
    AckedByNewer {
        /// By which device.
        device: DeviceId,
    },
    /// A device cannot be reached or seen any more, or is another customer's.
    DeviceLost {
        /// Which.
        device: DeviceId,
        /// Why.
        why: Reason,
    },
    /// A free hand asks to send this channel now.
    Claiming(Channel),
    /// A text or email provider answered.
    FallbackAnswered {
        /// Which way.
        channel: Channel,
        /// Which try.
        attempt: u32,
        /// What.
        outcome: Outcome,
    },
    /// A text may have left, and its provider can be asked for it.
    MayHaveLeft {
        /// Which try.
        attempt: u32,
        /// What was seen.
        error: String,
        /// What it is found by.
        mark: Mark,
    },
    /// The provider said what it knows of a text that may have left.
    Asked {
        /// Which try.
        attempt: u32,
        /// The how manieth time it was asked.
        inquiry: u8,
        /// What it knows.
        found: Found,
    },
    /// A provider reported later what became of it.
    Reported {
        /// Which way.
        channel: Channel,
        /// Which try.
        attempt: u32,
        /// Whether it was delivered.
        delivered: bool,
        /// The vendor's id of it.
        provider_id: Option<String>,
        /// The vendor's code.
        error: Option<String>,
    },
    /// The customer has seen the conversation up to this number.
    Seen {
        /// Number of the last message seen.
        through_seq: i64,
        /// How we know: [`Reason::CustomerRead`] or [`Reason::CustomerWrote`].
        why: Reason,
    },
    /// The agent took a reply back.
    Withdrawn {
        /// Its number.
        seq: i64,
    },
    /// Stop what has not left.
    Cancel(Reason),
}

impl NewReply {
    /// Whether the caller allows this channel.
    pub(crate) fn allows(chosen: Option<&[Channel]>, channel: Channel) -> bool {
        chosen.is_none_or(|c| c.contains(&channel))
    }

    /// Whether a person wrote it.
    pub fn by_agent(&self) -> bool {
        self.reply.author == AuthorKind::Agent
    }
}
