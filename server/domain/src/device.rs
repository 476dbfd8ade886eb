//! Devices: which are live, and whose acks count (P1, P5, P6, C3).

use crate::Ms;
use crate::ids::DeviceId;
use backstop_wire::{Alerts, PushProvider};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Tokens not confirmed for this long are dropped (C3; FCM expires them after 270 days).
pub const TOKEN_DROPPED_MS: Ms = 270 * 86_400_000;
/// Only devices used within this count (P6); tokens not confirmed for this long are stale (C3).
pub const USE_WINDOW_MS: Ms = 30 * 86_400_000;

/// Whether the push provider still takes the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// As far as we know.
    Registered,
    /// The provider said that it is gone, at this time by our clock.
    TokenGone(Ms),
}

/// What the rules need to know of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Which.
    pub id: DeviceId,
    /// Whose token.
    pub provider: PushProvider,
    /// Whether notifications can be seen.
    pub alerts: Alerts,
    /// Whether the token is alive.
    pub standing: Standing,
    /// When the token was last confirmed.
    pub confirmed_at: Ms,
    /// When the app was last used.
    pub used_at: Ms,
    /// Its newest counted acks, oldest first.
    pub counted_acks: Vec<Ms>,
    /// The app that it is part of, if that is known.
    pub app: Option<Arc<str>>,
    /// That app has credentials that reach it; without, it takes those of the deployment (P12).
    pub carried: bool,
}

/// Why a push to a device is of no use, known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLive {
    /// The provider said so, or it was not confirmed for 270 days.
    TokenGone,
    /// The customer said no, or was never asked.
    AlertsDenied,
}

/// The numbers of P6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadPolicy {
    /// After this many counted acks without a sign of life, the next does not count.
    pub unread_limit: u32,
    /// Only acks at least this old tell anything.
    pub unread_after_ms: Ms,
}

impl DeviceFacts {
    /// Whether a push goes to it (P1).
    pub fn live(&self, now: Ms) -> Result<(), NotLive> {
        if self.standing != Standing::Registered || now.saturating_sub(self.confirmed_at) >= TOKEN_DROPPED_MS {
            Err(NotLive::TokenGone)
        } else if !self.alerts.can_show() {
            Err(NotLive::AlertsDenied)
        } else {
            Ok(())
        }
    }

    /// Whether its next ack may count (P6): used within 30 days, and not a tablet in a drawer.
    pub fn counts(&self, engaged_at: Option<Ms>, now: Ms, policy: &UnreadPolicy) -> bool {
        now.saturating_sub(self.used_at) < USE_WINDOW_MS && !self.unattended(engaged_at, now, policy)
    }

    /// Whether its last counted acks all came to nothing (P6).
    pub fn unattended(&self, engaged_at: Option<Ms>, now: Ms, policy: &UnreadPolicy) -> bool {
        let unread = self
            .counted_acks
            .iter()
            .rev()
            .take(policy.unread_limit as usize)
            .filter(|at| engaged_at.is_none_or(|e| e < **at) && now.saturating_sub(**at) >= policy.unread_after_ms)
            .count();
        policy.unread_limit > 0 && unread >= policy.unread_limit as usize
    }

    /// `counted_acks` after one more, no longer than the limit needs.
    pub fn with_counted_ack(mut acks: Vec<Ms>, at: Ms, policy: &UnreadPolicy) -> Vec<Ms> {
        acks.push(at);
        let excess = acks.len().saturating_sub(policy.unread_limit as usize);
        acks.drain(..excess);
        acks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: UnreadPolicy = UnreadPolicy { unread_limit: 3, unread_after_ms: 3_600_000 };
    const HOUR: Ms = 3_600_000;

    fn device(acks: &[Ms], used_at: Ms) -> DeviceFacts {
        DeviceFacts {
            id: DeviceId(1),
            provider: PushProvider::Fcm,
            alerts: Alerts::Allowed,
            standing: Standing::Registered,
            confirmed_at: used_at,
            used_at,
            counted_acks: acks.to_vec(),
            app: None,
            carried: false,
        }
    }

    /// P6: three counted acks, each an hour old, and no sign of life.
    #[test]
    fn a_device_that_nobody_looks_at_stops_counting() {
        let now = 10 * HOUR;
        assert!(device(&[1, 2], 0).counts(None, now, &POLICY));
        assert!(!device(&[1, 2, 3], 0).counts(None, now, &POLICY));
        assert!(device(&[1, 2, 3], 0).counts(Some(3), now, &POLICY), "a read after the last one resets it");
        assert!(device(&[1, 2, now - HOUR + 1], 0).counts(None, now, &POLICY), "one is younger than an hour");
        assert!(!device(&[1, 2, now - HOUR], 0).counts(None, now, &POLICY));
    }

    /// P6: used within 30 days; C3: dropped after 270.
    #[test]
    fn an_unused_device_does_not_count_and_a_forgotten_one_is_not_live() {
        assert!(device(&[], 0).counts(None, USE_WINDOW_MS - 1, &POLICY));
        assert!(!device(&[], 0).counts(None, USE_WINDOW_MS, &POLICY));
        assert_eq!(device(&[], 0).live(TOKEN_DROPPED_MS - 1), Ok(()));
        assert_eq!(device(&[], 0).live(TOKEN_DROPPED_MS), Err(NotLive::TokenGone));
    }

    /// P1: `denied` and `not_asked` are not live.
    #[test]
    fn only_visible_alerts_are_live() {
        for (alerts, live) in [
            (Alerts::Allowed, true),
            (Alerts::Quiet, true),
            (Alerts::Denied, false),
            (Alerts::NotAsked, false),
            (Alerts::Unknown, false),
        ] {
            assert_eq!(DeviceFacts { alerts, ..device(&[], 0) }.live(0).is_ok(), live, "{alerts:?}");
        }
    }
}
