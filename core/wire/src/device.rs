//! Registration of a device and its push token (C1–C4).

use serde::{Deserialize, Serialize};

/// The phone's operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// Apple's.
    Ios,
    /// Google's.
    Android,
}

/// The push service that the token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushProvider {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging.
    Fcm,
}

/// Which of Apple's push environments a token belongs to; ignored for FCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// App Store and TestFlight builds.
    Production,
    /// Development builds.
    Sandbox,
}

impl Environment {
    /// The one that this one is not.
    pub fn other(self) -> Environment {
        match self {
            Environment::Production => Environment::Sandbox,
            Environment::Sandbox => Environment::Production,
        }
    }
}

/// Whether the system lets the app show notifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alerts {
    /// Shown in full.
    Allowed,
    /// Shown without sound or banner (iOS provisional, a quiet channel).
    Quiet,
    /// The customer said no.
    Denied,
    /// The app has not asked yet.
    NotAsked,
    /// A word of a newer SDK; not live.
    #[serde(other)]
    Unknown,
}

impl Alerts {
    /// Whether a push can be seen at all (P1).
    pub fn can_show(self) -> bool {
        matches!(self, Alerts::Allowed | Alerts::Quiet)
    }
}

/// Body of `POST /v1/devices`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterDevice {
    /// Made once by the SDK at its first start, 1–128 characters.
    pub install_id: String,
    /// The phone's system.
    pub platform: Platform,
    /// Whose token it is.
    pub provider: PushProvider,
    /// The push token, 1–4,096 characters.
    pub token: String,
    /// APNs topic (the bundle id); ignored for FCM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// APNs environment, default production; ignored for FCM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The Android application id, which tells a company's apps apart; ignored for APNs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Whether notifications can be seen.
    pub alerts: Alerts,
    /// The payload versions this SDK understands.
    #[serde(default = "first_version")]
    pub wire: Vec<u32>,
    /// The customer who is logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    /// Proof of it: lower-case hex HMAC-SHA256 (C1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_hash: Option<String>,
    /// Proof of it: a JWT (C1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_token: Option<String>,
    /// BCP 47.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
}

fn first_version() -> Vec<u32> {
    vec![crate::WIRE_VERSION]
}

impl std::fmt::Debug for RegisterDevice {
    /// Tokens and proofs are secrets: a log line never holds them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegisterDevice")
            .field("platform", &self.platform)
            .field("provider", &self.provider)
            .field("alerts", &self.alerts)
            .finish_non_exhaustive()
    }
}

/// Answer of `POST /v1/devices`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRegistered {
    /// `dev_…`.
    pub device_id: String,
    /// The device's own key; the same at every retry.
    pub device_key: String,
}

impl std::fmt::Debug for DeviceRegistered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceRegistered").field("device_id", &self.device_id).finish_non_exhaustive()
    }
}
