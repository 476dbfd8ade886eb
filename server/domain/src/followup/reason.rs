//! The words that say why: the closed list of reasons, and why a way out is none (S7).

use crate::limits::Scope;
use serde::{Deserialize, Serialize};

/// Why there is no such way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// The workspace switched it off (S1).
    SwitchedOff,
    /// No phone number or address is known.
    NoContact,
    /// The caller chose other channels.
    NotChosen,
    /// Only bots replied (D1).
    BotAuthor,
    /// The contact data serves only answers (S8).
    Purpose,
    /// No provider is configured.
    NoProvider,
    /// Too late for a text (P13).
    TooOld,
    /// Outreach has no number of the workspace's own to come from (T6).
    NoSender,
    /// The number it would come from is not one of the account's (T6).
    SenderUnregistered,
    /// As many texts left as may (S4).
    Capped(Scope),
    /// Texts to the number's country are off (S4).
    CountryOff,
    /// It would cost more than a text may (S4).
    PriceTooHigh,
    /// There is not enough money for it (S2).
    NoBalance,
    /// What it costs is not known, and it must be (S2, S4).
    PriceUnknown,
    /// Its owner is paid for what is sent there (S4).
    PremiumNumber,
    /// Nobody can have the number (S4).
    UnassignedNumber,
    /// The number opted out of the workspace's texts (T7).
    OptedOut,
    /// Mail to the address bounced, or its owner complained (E5).
    AddressMarked,
}

/// The closed list of reasons (S7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No device acked in time.
    NoAck,
    /// A counted ack came after the fallback was decided.
    AckLate,
    /// Acked.
    Acked,
    /// The ack of a newer push of the conversation settled it.
    AckedByNewer,
    /// Acks came, but of too low a grade.
    GradeTooLow,
    /// Acks came from devices that nobody looks at.
    DeviceUnattended,
    /// The push arrived and cannot be seen.
    Suppressed,
    /// Alerts are denied on every device.
    AlertsDenied,
    /// The channel is switched off on the device.
    ChannelOff,
    /// Every token is dead.
    TokenGone,
    /// The provider refused the push.
    PushRefused,
    /// The provider takes no push before the deadline.
    RateLimited,
    /// The customer has no device.
    NoDevice,
    /// The workspace or deployment sends no pushes.
    NoPushCredentials,
    /// The caller chose channels without push.
    PushNotChosen,
    /// The agent started the chat (D6).
    Outreach,
    /// No text or email can leave.
    NoFallbackRoute,
    /// Each channel failed for good.
    AllFailed,
    /// A live device exists: the push goes first and alone (P1).
    LiveDevice,
    /// The customer is looking.
    CustomerOnline,
    /// The customer went away without reading.
    CustomerLeft,
    /// The customer read it.
    CustomerRead,
    /// The customer wrote back.
    CustomerWrote,
    /// The caller cancelled it.
    CancelledByApi,
    /// The agent took it back.
    MessageDeleted,
    /// The customer was erased.
    CustomerErased,
    /// A text or email left moments ago (D8).
    RepeatGap,
    /// It is quiet where the customer is (D10).
    QuietHours,
    /// Too late for a text (P13).
    Overdue,
    /// One way of a text failed for good (T2).
    WayFailed,
    /// Nobody said in time what became of one way of a text (T2).
    WayUnknown,
    /// The channel cannot be used.
    ChannelUnavailable,
    /// It happened again, or changes nothing.
    Nothing,
}

impl Reason {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::NoAck => "no_ack",
            Reason::AckLate => "ack_late",
            Reason::Acked => "acked",
            Reason::AckedByNewer => "acked_by_newer",
            Reason::GradeTooLow => "grade_too_low",
            Reason::DeviceUnattended => "device_unattended",
            Reason::Suppressed => "suppressed",
            Reason::AlertsDenied => "alerts_denied",
            Reason::ChannelOff => "channel_off",
            Reason::TokenGone => "token_gone",
            Reason::PushRefused => "push_refused",
            Reason::RateLimited => "rate_limited",
            Reason::NoDevice => "no_device",
            Reason::NoPushCredentials => "no_push_credentials",
            Reason::PushNotChosen => "push_not_chosen",
            Reason::Outreach => "outreach",
            Reason::NoFallbackRoute => "no_fallback_route",
            Reason::AllFailed => "all_failed",
            Reason::LiveDevice => "live_device",
            Reason::CustomerOnline => "customer_online",
            Reason::CustomerLeft => "customer_left",
            Reason::CustomerRead => "customer_read",
            Reason::CustomerWrote => "customer_wrote",
            Reason::CancelledByApi => "cancelled_by_api",
            Reason::MessageDeleted => "message_deleted",
            Reason::CustomerErased => "customer_erased",
            Reason::RepeatGap => "repeat_gap",
            Reason::QuietHours => "quiet_hours",
            Reason::Overdue => "overdue",
            Reason::WayFailed => "way_failed",
            Reason::WayUnknown => "way_unknown",
            Reason::ChannelUnavailable => "channel_unavailable",
            Reason::Nothing => "nothing",
        }
    }
}

impl Skip {
    /// Whether it is a hard stop before money (S4, T6): the operator hears of each.
    pub fn is_stop(self) -> bool {
        match self {
            Skip::Capped(_)
            | Skip::CountryOff
            | Skip::PriceTooHigh
            | Skip::PriceUnknown
            | Skip::NoBalance
            | Skip::PremiumNumber
            | Skip::UnassignedNumber
            | Skip::NoSender
            | Skip::SenderUnregistered => true,
            Skip::SwitchedOff
            | Skip::NoContact
            | Skip::NotChosen
            | Skip::BotAuthor
            | Skip::Purpose
            | Skip::NoProvider
            | Skip::TooOld
            | Skip::OptedOut
            | Skip::AddressMarked => false,
        }
    }

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Skip::SwitchedOff => "switched_off",
            Skip::NoContact => "no_contact",
            Skip::NotChosen => "not_chosen",
            Skip::BotAuthor => "bot_author",
            Skip::Purpose => "purpose",
            Skip::NoProvider => "no_provider",
            Skip::TooOld => "too_old",
            Skip::NoSender => "no_sender",
            Skip::SenderUnregistered => "sender_unregistered",
            Skip::Capped(Scope::Number) => "capped:number",
            Skip::Capped(Scope::Prefix) => "capped:prefix",
            Skip::Capped(Scope::Customer) => "capped:customer",
            Skip::Capped(Scope::Conversation) => "capped:conversation",
            Skip::Capped(Scope::Workspace) => "capped:workspace",
            Skip::CountryOff => "country_off",
            Skip::PriceTooHigh => "price_too_high",
            Skip::NoBalance => "balance_too_low",
            Skip::PriceUnknown => "price_unknown",
            Skip::PremiumNumber => "premium_number",
            Skip::UnassignedNumber => "unassigned_number",
            Skip::OptedOut => "opted_out",
            Skip::AddressMarked => "address_marked",
        }
    }
}
