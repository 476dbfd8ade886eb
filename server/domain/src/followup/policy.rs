//! The numbers and switches a decision takes as given; each default is the rule's.

use super::state::{Channel, Leg};
use crate::Ms;
use crate::device::{DeviceFacts, UnreadPolicy};
use crate::limits::Limits;
use crate::presence::PresencePolicy;
use crate::quiet::QuietHours;
use crate::text::{Routes, TextService, Way};
use crate::wallet::Terms;
use backstop_wire::{Grade, PushProvider};
use serde::{Deserialize, Serialize};

/// What the deployment can send by. A workspace's apps may have push credentials of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// An FCM account is configured.
    pub fcm: bool,
    /// An APNs key is configured.
    pub apns: bool,
    /// The text providers.
    pub text: Vec<TextService>,
    /// Which of them carry XMS where.
    pub routes: Routes,
    /// The email provider's name, if any.
    pub email: Option<String>,
}

/// The workspace's two switches (S1) and what follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// "phone number": all text.
    pub phone_number: bool,
    /// Email.
    pub email: bool,
    /// Whether a bot's reply starts a text (D1).
    pub bot_text: bool,
}

/// T2: what follows an SNS of which nobody knows whether it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sns {
    /// How long its report is awaited.
    pub report_wait_ms: Ms,
    /// What happens then.
    pub unknown: SnsUnknown,
}

/// What happens when no report of an SNS came in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnsUnknown {
    /// No XMS if the email was accepted, else XMS.
    #[default]
    EmailDecides,
    /// No XMS.
    Hold,
    /// XMS, though it may be a second text.
    Xms,
}

/// Everything adjustable that [`super::decide()`] knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// P3: a ceiling, 1,000–30,000.
    pub ack_wait_ms: Ms,
    /// P7: the grade that counts.
    pub ack_grade: Grade,
    /// P6.
    pub unread: UnreadPolicy,
    /// D3, D4.
    pub presence: PresencePolicy,
    /// D8: between texts and emails of one conversation.
    pub repeat_gap_ms: Ms,
    /// P10: how long a push lives when nothing else can leave.
    pub push_ttl_ms: Ms,
    /// P13: later than this, email only.
    pub fallback_horizon_ms: Ms,
    /// S1, D1.
    pub channels: Channels,
    /// D10; `None` = no hour is quiet.
    pub quiet: Option<QuietHours>,
    /// P12.
    pub services: Services,
    /// S4.
    pub limits: Limits,
    /// S2, S3; `None` = nobody is charged.
    pub wallet: Option<Terms>,
    /// How long one claimed attempt may take, above every provider time-out.
    pub claim_ms: Ms,
    /// After this a queued channel that nobody claimed is offered again.
    pub offer_ms: Ms,
    /// First wait between tries; doubles each time.
    pub retry_base_ms: Ms,
    /// Longest wait between tries.
    pub retry_max_ms: Ms,
    /// How long a report of an unknown outcome is awaited.
    pub report_wait_ms: Ms,
    /// What becomes of an SNS that nobody confirms.
    pub sns: Sns,
    /// How long after a text may have left its provider is asked for it, and how long between two such questions. Two
    /// that find nothing mean that it did not leave: longer than any provider takes to note down what it took.
    pub ask_after_ms: Ms,
}

impl Policy {
    /// The defaults of the rules, everything switched on and `capture` behind every channel: the sandbox's policy.
    pub fn sandbox() -> Policy {
        Policy {
            ack_wait_ms: 30_000,
            ack_grade: Grade::Displayed,
            unread: UnreadPolicy { unread_limit: 3, unread_after_ms: 3_600_000 },
            presence: PresencePolicy { idle_after_ms: 270_000, hidden_after_ms: 270_000, heartbeat_timeout_ms: 60_000 },
            repeat_gap_ms: 180_000,
            push_ttl_ms: 86_400_000,
            fallback_horizon_ms: 6 * 3_600_000,
            channels: Channels { phone_number: true, email: true, bot_text: false },
            quiet: None,
            services: Services {
                fcm: true,
                apns: true,
                text: vec![TextService {
                    ways: vec![Way::Alimtalk, Way::Line, Way::Xms],
                    is_shared: false,
                    ..TextService::xms("capture")
                }],
                routes: Routes::default(),
                email: Some("capture".into()),
            },
            limits: Limits::none(),
            wallet: None,
            claim_ms: 15_000,
            offer_ms: 5_000,
            retry_base_ms: 1_000,
            retry_max_ms: 300_000,
            report_wait_ms: 180_000,
            sns: Sns { report_wait_ms: 180_000, unknown: SnsUnknown::EmailDecides },
            ask_after_ms: 30_000,
        }
    }

    /// P1, P12: by credentials of its app, else by the deployment's.
    pub fn carries(&self, device: &DeviceFacts) -> bool {
        device.carried
            || match device.provider {
                PushProvider::Fcm => self.services.fcm,
                PushProvider::Apns => self.services.apns,
            }
    }

    pub(crate) fn provider_name(&self, channel: Channel) -> Option<String> {
        match channel {
            Channel::Text => self.services.text.first().map(|text| text.name.clone()),
            Channel::Email => self.services.email.clone(),
            Channel::Push => None,
        }
    }

    /// The provider that a text is or was tried by.
    pub(crate) fn text_service(&self, leg: &Leg) -> Option<&TextService> {
        self.services.text.iter().find(|text| leg.provider.as_deref() == Some(text.name.as_str()))
    }

    /// Whether repeating an unknown outcome of this leg is one effect. Email is: its Message-ID is fixed.
    pub(crate) fn idempotent(&self, channel: Channel, leg: &Leg) -> bool {
        match channel {
            Channel::Text => self.text_service(leg).is_some_and(|text| text.idempotent),
            Channel::Email | Channel::Push => true,
        }
    }

    /// Wait before try `attempt + 1`, without jitter: one row, one timer, no herd.
    pub(crate) fn backoff_ms(&self, attempt: u32) -> Ms {
        let doubled = self.retry_base_ms.saturating_mul(1 << attempt.saturating_sub(1).min(20));
        doubled.min(self.retry_max_ms)
    }
}
