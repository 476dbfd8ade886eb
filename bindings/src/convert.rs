//! From the core's words to the boundary's, and back.

use backstop_core as core;

use crate::extension::ExtensionConfig;
use crate::types::{
    AckOutcome, AckResult, Acked, Alerts, ClientConfig, Customer, DeviceCredentials, DeviceFacts, Environment, Finding,
    FindingLevel, Flushed, Grade, Handled, Platform, PresenceState, Proof, Push, PushProvider, PushToken, Registration,
    Seen, SelfTest, Status, Storage,
};

/// Conversions between an enum and the core's enum of the same cases.
macro_rules! same_cases {
    ($name:ident: $($case:ident),+) => {
        impl From<$name> for core::$name {
            fn from(value: $name) -> Self {
                match value { $($name::$case => core::$name::$case),+ }
            }
        }
    };
}

same_cases!(Platform: Ios, Android);
same_cases!(PushProvider: Apns, Fcm);
same_cases!(Environment: Production, Sandbox);
same_cases!(Alerts: Allowed, Quiet, Denied, NotAsked);
same_cases!(Grade: Suppressed, Received, Displayed, Opened);
same_cases!(PresenceState: Active, Hidden, Left);

impl From<ClientConfig> for core::Config {
    fn from(config: ClientConfig) -> Self {
        core::Config {
            base_url: config.base_url,
            app_key: config.app_key,
            platform: config.platform.into(),
            sdk: config.sdk,
            home: config.directory.map_or(core::Home::Memory, |directory| core::Home::Directory(directory.into())),
            spool_directory: config.spool_directory.map(Into::into),
            locale: config.locale,
            extra_root_certificates: config.extra_root_certificates,
            allow_http: config.allow_http,
        }
    }
}

impl From<ExtensionConfig> for core::ExtensionConfig {
    fn from(config: ExtensionConfig) -> Self {
        core::ExtensionConfig {
            base_url: config.base_url,
            app_key: config.app_key,
            sdk: config.sdk,
            spool_directory: config.spool_directory.into(),
            device: config.credentials.map(Into::into),
            extra_root_certificates: config.extra_root_certificates,
            allow_http: config.allow_http,
        }
    }
}

impl From<DeviceCredentials> for core::DeviceRegistered {
    fn from(device: DeviceCredentials) -> Self {
        core::DeviceRegistered { device_id: device.device_id, device_key: device.device_key }
    }
}

impl From<core::DeviceRegistered> for DeviceCredentials {
    fn from(device: core::DeviceRegistered) -> Self {
        DeviceCredentials { device_id: device.device_id, device_key: device.device_key }
    }
}

impl From<Proof> for core::Proof {
    fn from(proof: Proof) -> Self {
        match proof {
            Proof::Hash { hash } => core::Proof::Hash(hash),
            Proof::Token { token } => core::Proof::Token(token),
        }
    }
}

impl From<PushToken> for core::PushToken {
    fn from(token: PushToken) -> Self {
        core::PushToken {
            provider: token.provider.into(),
            token: token.token,
            topic: token.app,
            environment: token.environment.map(Into::into),
        }
    }
}

impl From<Seen> for core::Seen {
    fn from(seen: Seen) -> Self {
        match seen {
            Seen::ByAlerts => core::Seen::ByAlerts,
            Seen::Displayed => core::Seen::Displayed,
            Seen::Received => core::Seen::Received,
            Seen::Suppressed { why } => core::Seen::Suppressed { why },
        }
    }
}

impl From<DeviceFacts> for core::DeviceFacts {
    fn from(facts: DeviceFacts) -> Self {
        core::DeviceFacts {
            alerts: facts.alerts.map(Into::into),
            channel_on: facts.channel_on,
            background_allowed: facts.background_allowed,
            push_service_problem: facts.push_service_problem,
            signed_environment: facts.signed_environment.map(Into::into),
            app_group_opens: facts.app_group_opens,
            extension_present: facts.extension_present,
            keychain_shared: facts.keychain_shared,
        }
    }
}

impl From<core::Push> for Push {
    fn from(push: core::Push) -> Self {
        Push {
            followup_id: push.followup_id,
            receipt: push.receipt,
            conversation_id: push.conversation_id,
            title: push.title,
            body: push.body,
            link: push.link,
            collapse_key: push.collapse_key,
            expires_at: push.expires_at,
        }
    }
}

impl From<core::AckOutcome> for AckOutcome {
    fn from(outcome: core::AckOutcome) -> Self {
        let result = match outcome.result {
            core::AckResult::Accepted => AckResult::Accepted,
            core::AckResult::Late => AckResult::Late,
            core::AckResult::Duplicate => AckResult::Duplicate,
            core::AckResult::Refused => AckResult::Refused,
            core::AckResult::Unknown => AckResult::Unknown,
        };
        AckOutcome { result, counted: outcome.counted }
    }
}

impl From<core::Acked> for Acked {
    fn from(acked: core::Acked) -> Self {
        match acked {
            core::Acked::Confirmed(outcome) => Acked::Confirmed { outcome: outcome.into() },
            core::Acked::Stored => Acked::Stored,
        }
    }
}

impl Handled {
    pub(crate) fn of(handled: core::Handled) -> Option<Handled> {
        match handled {
            core::Handled::NotOurs => None,
            core::Handled::Ours { push, ack } => Some(Handled { push: push.into(), ack: ack.into() }),
        }
    }
}

impl From<core::RegistrationStatus> for Registration {
    fn from(status: core::RegistrationStatus) -> Self {
        match status {
            core::RegistrationStatus::NoToken => Registration::NoToken,
            core::RegistrationStatus::Pending => Registration::Pending,
            core::RegistrationStatus::Confirmed { at_ms } => Registration::Confirmed { at_ms },
            core::RegistrationStatus::Refused { code } => Registration::Refused { code },
        }
    }
}

impl From<core::Flushed> for Flushed {
    fn from(flushed: core::Flushed) -> Self {
        Flushed {
            uploaded: flushed.uploaded,
            pending: flushed.pending as u64,
            registration: flushed.registration.into(),
            next_flush_in_ms: flushed.next_flush_in_ms,
            last_failure: flushed.last_failure.map(|failure| failure.to_string()),
        }
    }
}

impl From<core::Status> for Status {
    fn from(status: core::Status) -> Self {
        use core::machine::Customer as Inner;
        Status {
            enabled: status.enabled,
            install_id: status.install_id,
            device_id: status.device_id,
            registration: status.registration.into(),
            customer: match status.customer {
                Inner::Nobody | Inner::LoggedOut => Customer::Nobody,
                Inner::Claimed | Inner::Replacing => Customer::Claimed,
                Inner::Bound | Inner::BoundByKey => Customer::Bound,
            },
            alerts: match status.alerts {
                core::Alerts::Allowed => Alerts::Allowed,
                core::Alerts::Quiet => Alerts::Quiet,
                core::Alerts::Denied => Alerts::Denied,
                core::Alerts::NotAsked | core::Alerts::Unknown => Alerts::NotAsked,
            },
            pending: status.pending as u64,
            next_flush_in_ms: status.next_flush_in_ms,
            last_failure: status.last_failure.map(|failure| failure.to_string()),
            storage: match status.storage {
                core::Storage::Created => Storage::Created,
                core::Storage::Opened => Storage::Opened,
                core::Storage::Upgraded { .. } => Storage::Upgraded,
                core::Storage::Replaced => Storage::Replaced,
                core::Storage::Off => Storage::Off,
            },
        }
    }
}

impl From<core::SelfTest> for SelfTest {
    fn from(test: core::SelfTest) -> Self {
        let findings = test.findings.into_iter().map(|finding| Finding {
            check: finding.check.to_owned(),
            level: match finding.level {
                core::FindingLevel::Ok => FindingLevel::Ok,
                core::FindingLevel::Warning => FindingLevel::Warning,
                core::FindingLevel::Failed => FindingLevel::Failed,
                core::FindingLevel::Unknown => FindingLevel::Unknown,
            },
            said: finding.said,
            mend: finding.mend,
        });
        SelfTest { findings: findings.collect(), push_took_ms: test.push_took_ms, ack_took_ms: test.ack_took_ms }
    }
}
