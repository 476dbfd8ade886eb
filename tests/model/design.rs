//! What is searched: the design as it is, with how many faults, or a design that is known to fail.

use crate::state::TICK_MS;
use backstop_domain::device::{DeviceFacts, Standing};
use backstop_domain::followup::{Channels, Policy};
use backstop_domain::ids::DeviceId;
use backstop_domain::text::TextService;
use backstop_wire::{Alerts, Grade, PushProvider};

/// When everything begins. Far from zero, so that no difference of times is below it.
pub(crate) const START_MS: i64 = 1_000 * TICK_MS;

/// How claims, acks and the store are dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Design {
    /// As built.
    Production,
    /// A claim is only a lease: when it ends, another node sends.
    LeaseOnly,
    /// The same, and whoever holds it looks whether it still does right before it sends.
    LeaseAndCheck,
    /// The standby that takes over lacks the last commit.
    AsyncFailover,
    /// A text whose claim ended is tried again under its key, and an ack between two tries still counts.
    AckBetweenTries,
    /// What may have been sent is sent again, although the provider knows no key.
    ResendUnknown,
    /// A commit replaces whatever version the row has by then.
    NoVersionGuard,
    /// The bytes leave while the claim is being committed.
    SendBeforeClaim,
    /// The commit of a claim arms no wake-up.
    LostWakeUp,
}

/// How many of each may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Nodes that lose their memory.
    pub(crate) crashes: u8,
    /// Claims that end while their holder, paused, has not stored what came of them.
    pub(crate) pauses: u8,
    /// Commits that take so long that others come first.
    pub(crate) slow: u8,
    /// Failovers: a commit whose answer is lost, done or not — or, asynchronous, one that is undone.
    pub(crate) failovers: u8,
    /// Answers of providers other than "accepted".
    pub(crate) faults: u8,
    /// The customer reads everything.
    pub(crate) reads: u8,
    /// Agents' replies after the first.
    pub(crate) replies: u8,
}

/// One search through everything that can happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search {
    pub(crate) name: &'static str,
    pub(crate) design: Design,
    pub(crate) nodes: usize,
    pub(crate) devices: usize,
    /// Whether the text provider takes a key under which a repeat is one effect.
    pub(crate) text_key: bool,
    /// Whether the workspace sends emails too: most of what can go wrong needs the text alone.
    pub(crate) email: bool,
    /// The grades that devices ack with.
    pub(crate) grades: &'static [Grade],
    pub(crate) budget: Budget,
}

impl Search {
    /// The production policy with every duration a few ticks, so that what can coincide does.
    pub(crate) fn policy(&self) -> Policy {
        let sandbox = Policy::sandbox();
        // A shell that believes in a key where there is none sends again what it does not know.
        let idempotent = self.text_key || self.design == Design::ResendUnknown;
        let mut services = sandbox.services.clone();
        services.text = vec![TextService { idempotent, ..TextService::xms("text") }];
        let channels = Channels { email: self.email, ..sandbox.channels };
        Policy {
            channels,
            ack_wait_ms: 2 * TICK_MS,
            repeat_gap_ms: TICK_MS,
            fallback_horizon_ms: 3 * TICK_MS,
            claim_ms: TICK_MS,
            offer_ms: TICK_MS,
            retry_base_ms: TICK_MS,
            retry_max_ms: TICK_MS,
            report_wait_ms: TICK_MS,
            ask_after_ms: TICK_MS,
            services,
            ..sandbox
        }
    }

    pub(crate) fn device_facts(&self) -> Vec<DeviceFacts> {
        let device = |id| DeviceFacts {
            id: DeviceId(id),
            provider: PushProvider::Fcm,
            alerts: Alerts::Allowed,
            standing: Standing::Registered,
            confirmed_at: START_MS,
            used_at: START_MS,
            counted_acks: Vec::new(),
            app: None,
            carried: false,
        };
        (1..).take(self.devices).map(device).collect()
    }
}
