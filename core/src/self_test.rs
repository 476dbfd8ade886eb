//! What a self-test says: facts in, findings in words out. The same sentences on every platform.

use backstop_wire::{Alerts, Environment, TestOutcome, TestPushed};

use crate::client::{Acked, Failure, RegistrationStatus, Status};
use crate::error::TransportError;
use crate::machine::Customer;

/// The device's clock may differ by this much before the self-test says so.
const SKEW_MAX_MS: u64 = 300_000;
/// A registration older than this was not refreshed, as it should be every week.
const REGISTRATION_MAX_MS: i64 = 30 * 24 * 3_600_000;

/// What only the phone's system can tell; `None` = does not apply, or nobody can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub check: &'static str,
    /// How much it matters.
    pub level: FindingLevel,
    /// What was found, in a sentence.
    pub said: String,
    /// What mends it, in a sentence.
    pub mend: Option<String>,
}

/// A self-test's findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelfTest {
    /// Everything that was looked at, in the order in which it matters.
    pub findings: Vec<Finding>,
    /// From asking the server for a push to its arrival here.
    pub push_took_ms: Option<u64>,
    /// From its arrival to the server's answer to its ack.
    pub ack_took_ms: Option<u64>,
}

/// What became of the test push.
pub(crate) enum Trial {
    /// Nothing was asked: the device is not registered.
    NotTried,
    /// The server was not reached.
    Unreachable(TransportError),
    /// The server said no.
    Refused { status: u16, code: String },
    /// The server asked the push service.
    Pushed { answer: TestPushed, skew_ms: Option<i64>, arrival: Option<Arrival> },
}

/// A test push that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) took_ms: u64,
    /// Whether it came by way of the app's extension, which said so; `None` = not by iOS.
    pub(crate) by_extension: Option<bool>,
    /// What became of its ack, and when; inside, `None` = it could not even be kept.
    pub(crate) ack: Option<(Option<Acked>, u64)>,
}

impl DeviceFacts {
    /// What the server has to know of them before it sends a push.
    pub(crate) fn alerts_to_tell(&self) -> Option<Alerts> {
        match (self.alerts, self.channel_on) {
            (Some(Alerts::Allowed | Alerts::Quiet), Some(false)) => Some(Alerts::Denied),
            (alerts, _) => alerts.filter(|alerts| *alerts != Alerts::Unknown),
        }
    }
}

impl Finding {
    fn ok(check: &'static str, said: impl Into<String>) -> Finding {
        Finding { check, level: FindingLevel::Ok, said: said.into(), mend: None }
    }

    fn with(check: &'static str, level: FindingLevel, said: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { check, level, said: said.into(), mend: Some(mend.into()) }
    }

    fn failed(check: &'static str, said: impl Into<String>, mend: impl Into<String>) -> Finding {
        Self::with(check, FindingLevel::Failed, said, mend)
    }

    fn warning(check: &'static str, said: impl Into<String>, mend: impl Into<String>) -> Finding {
        Self::with(check, FindingLevel::Warning, said, mend)
    }

    fn unknown(check: &'static str, said: impl Into<String>, mend: impl Into<String>) -> Finding {
        Self::with(check, FindingLevel::Unknown, said, mend)
    }
}

/// Everything there is to say.
pub(crate) fn judge(
    facts: &DeviceFacts,
    status: &Status,
    environment: Option<Environment>,
    trial: &Trial,
    wall_ms: i64,
) -> SelfTest {
    if !status.enabled {
        let finding = Finding::failed("enabled", "the SDK is switched off", "switch it on with setEnabled(true)");
        return SelfTest { findings: vec![finding], ..SelfTest::default() };
    }
    let mut findings = vec![reachable(status, trial), registration(status, wall_ms), customer(status)];
    findings.extend(permission(facts));
    findings.extend(facts.channel_on.map(channel));
    findings.extend(facts.push_service_problem.as_deref().map(push_service));
    findings.extend(facts.background_allowed.map(background));
    let registered = environment.unwrap_or(Environment::Production);
    let found = match trial {
        // Of a push that was refused it is only the one that was asked last.
        Trial::Pushed { answer, .. } if answer.outcome == TestOutcome::Accepted => answer.environment,
        _ => None,
    };
    findings.extend(signing(facts.signed_environment, registered, found));
    findings.extend(facts.app_group_opens.map(app_group));
    findings.extend(facts.extension_present.map(extension));
    findings.extend(facts.keychain_shared.map(keychain));
    let (mut push_took_ms, mut ack_took_ms) = (None, None);
    if let Trial::Pushed { answer, skew_ms, arrival } = trial {
        findings.extend(skew_ms.map(clock));
        if let Some(arrival) = arrival {
            push_took_ms = Some(arrival.took_ms);
            ack_took_ms = arrival.ack.map(|(_, took_ms)| took_ms);
        }
        findings.extend(test_push(answer, *arrival));
    } else {
        findings.extend(not_pushed(trial));
    }
    SelfTest { findings, push_took_ms, ack_took_ms }
}

fn reachable(status: &Status, trial: &Trial) -> Finding {
    const CHECK: &str = "server";
    let (transport, answered) = match (trial, &status.last_failure, &status.registration) {
        (Trial::Unreachable(error), _, _) | (Trial::NotTried, Some(Failure::Transport(error)), _) => {
            (Some(error), None)
        }
        (Trial::Refused { status, code }, _, _) => (None, Some((*status, code.is_empty()))),
        (Trial::NotTried, Some(Failure::Status { status, code }), _) => (None, Some((*status, code.is_none()))),
        (Trial::NotTried, None, RegistrationStatus::NoToken | RegistrationStatus::Pending) => {
            return Finding::unknown(CHECK, "nothing was asked of the server yet", "mend what is said below");
        }
        _ => return Finding::ok(CHECK, "the server answers"),
    };
    match (transport, answered) {
        (None, Some((500.., false))) => {
            Finding::unknown(CHECK, "the server cannot answer at the moment", "try again; look at the server's /readyz")
        }
        (None, Some((status, true))) => Finding::failed(
            CHECK,
            format!("something answered {status} that is not the server"),
            "check baseUrl, and what stands between device and server",
        ),
        (None, _) => Finding::ok(CHECK, "the server answers"),
        (Some(TransportError::Connect), _) => Finding::failed(
            CHECK,
            "no connection to the server",
            "check the device's network and that baseUrl is the server's public address",
        ),
        (Some(TransportError::Timeout), _) => {
            Finding::failed(CHECK, "the server did not answer in time", "check the device's network and the server")
        }
        (Some(TransportError::Tls { reason }), _) => Finding::failed(
            CHECK,
            format!("the server's certificate is not trusted: {reason}"),
            "use a certificate of a public authority for that name, or give the company's own authority in \
             extraRootCertificates; check the device's date",
        ),
        (Some(TransportError::Broken), _) => Finding::failed(
            CHECK,
            "something answered that is not the server",
            "check baseUrl, and what stands between device and server",
        ),
    }
}

fn customer(status: &Status) -> Finding {
    const CHECK: &str = "customer";
    match status.customer {
        Customer::Bound | Customer::BoundByKey => Finding::ok(CHECK, "a customer is logged in"),
        Customer::Nobody | Customer::LoggedOut => Finding::warning(
            CHECK,
            "nobody is logged in: replies go to customers, so none will be pushed to this device",
            "call logIn with the customer's id and the proof from your backend",
        ),
        Customer::Claimed | Customer::Replacing => Finding::failed(
            CHECK,
            "the server has not confirmed who is logged in",
            "look at the other findings, then flush",
        ),
    }
}

fn registration(status: &Status, wall_ms: i64) -> Finding {
    const CHECK: &str = "registration";
    match &status.registration {
        RegistrationStatus::NoToken => Finding::failed(
            CHECK,
            "the app has given no push token",
            "pass the token that the system gives to setPushToken, at every start",
        ),
        RegistrationStatus::Pending => Finding::failed(
            CHECK,
            "the server has not taken the registration yet",
            "look at the other findings, then flush",
        ),
        RegistrationStatus::Refused { code } if code == "identity_required" => Finding::failed(
            CHECK,
            "the server does not accept the customer's proof",
            "log in again with a fresh hash or token made by your backend",
        ),
        RegistrationStatus::Refused { code } => Finding::failed(
            CHECK,
            format!("the server refuses the registration: {code}"),
            "check appKey, and that the app's bundle id or package is listed in PUT /v1/apps",
        ),
        RegistrationStatus::Confirmed { at_ms } if wall_ms.saturating_sub(*at_ms) > REGISTRATION_MAX_MS => {
            Finding::warning(CHECK, "the registration is older than 30 days", "call flush at every start")
        }
        RegistrationStatus::Confirmed { .. } => Finding::ok(CHECK, "the server knows this device and its token"),
    }
}

fn permission(facts: &DeviceFacts) -> Option<Finding> {
    const CHECK: &str = "permission";
    Some(match facts.alerts? {
        Alerts::Allowed => Finding::ok(CHECK, "notifications are allowed"),
        Alerts::Quiet => Finding::warning(
            CHECK,
            "notifications are delivered quietly",
            "ask for full permission, or raise the channel's importance",
        ),
        Alerts::Denied => Finding::failed(
            CHECK,
            "the customer does not allow notifications",
            "ask them to switch notifications on in the system's settings; until then texts go at once",
        ),
        Alerts::NotAsked => Finding::failed(
            CHECK,
            "the app has not asked for permission to notify",
            "ask for it; until then texts go at once",
        ),
        Alerts::Unknown => return None,
    })
}

fn channel(on: bool) -> Finding {
    if on {
        return Finding::ok("channel", "the notification channel is on");
    }
    let mend = "ask the customer to switch it on in the system's settings, or show pushes in another channel";
    Finding::failed("channel", "the notification channel is switched off", mend)
}

fn push_service(problem: &str) -> Finding {
    const CHECK: &str = "push_service";
    if problem.is_empty() {
        return Finding::ok(CHECK, "the push service is there");
    }
    Finding::failed(CHECK, format!("the push service does not work: {problem}"), "update or enable it on this device")
}

fn background(allowed: bool) -> Finding {
    if allowed {
        return Finding::ok("background", "the app may work in the background");
    }
    let mend = "take the restriction away in the system's battery settings";
    Finding::warning("background", "the system restricts the app in the background", mend)
}

/// `found` is the environment that the token turned out to be of.
fn signing(signed: Option<Environment>, registered: Environment, found: Option<Environment>) -> Option<Finding> {
    const CHECK: &str = "environment";
    let mend = "leave the environment out of setPushToken, or give the one of the aps-environment entitlement";
    match (signed, found) {
        (_, Some(found)) if found != registered => Some(Finding::warning(
            CHECK,
            "the token is registered for the other APNs environment than it belongs to; the server found out",
            mend,
        )),
        (Some(signed), None) if signed != registered => Some(Finding::failed(
            CHECK,
            "the token is registered for the other APNs environment than the app is signed for",
            mend,
        )),
        (None, None) => None,
        _ => Some(Finding::ok(CHECK, "the token is registered for the APNs environment that it belongs to")),
    }
}

fn app_group(opens: bool) -> Finding {
    if opens {
        return Finding::ok("app_group", "the App Group's container opens");
    }
    let mend =
        "add the App Group to the entitlements of the app and of its extension, and give its name in the configuration";
    Finding::failed("app_group", "the App Group's container does not open", mend)
}

fn extension(present: bool) -> Finding {
    if present {
        return Finding::ok("extension", "the app carries a notification service extension");
    }
    let mend = "add a Notification Service Extension target whose class is BackstopNotificationService";
    Finding::failed("extension", "the app carries no notification service extension", mend)
}

fn keychain(shared: bool) -> Finding {
    if shared {
        return Finding::ok("keychain", "the extension can read the device's key");
    }
    let mend =
        "add the same Keychain Sharing group to the app and to its extension, and give its name in the configuration";
    Finding::failed("keychain", "the device's key is not in a keychain group that the extension shares", mend)
}

fn clock(skew_ms: i64) -> Finding {
    if skew_ms.unsigned_abs() <= SKEW_MAX_MS {
        return Finding::ok("clock", "the device's clock agrees with the server's");
    }
    let (minutes, word) = (skew_ms.unsigned_abs() / 60_000, if skew_ms > 0 { "ahead of" } else { "behind" });
    let said = format!("the device's clock is {minutes} minutes {word} the server's");
    Finding::warning("clock", said, "set the device's date automatically; acks are counted all the same")
}

fn not_pushed(trial: &Trial) -> Option<Finding> {
    const CHECK: &str = "test_push";
    match trial {
        Trial::Refused { code, .. } if code == "rate_limited" => {
            Some(Finding::unknown(CHECK, "the server sends one test push a minute", "try again in a minute"))
        }
        Trial::Refused { status: 500.., .. } => {
            Some(Finding::unknown(CHECK, "the server cannot send a test push at the moment", "try again"))
        }
        Trial::Refused { status, code } => Some(Finding::failed(
            CHECK,
            format!("the server refuses to send a test push: {status} {code}"),
            "look the code up in the server's API document; an older server does not know test pushes",
        )),
        Trial::NotTried | Trial::Unreachable(_) => {
            Some(Finding::unknown(CHECK, "no test push was sent", "mend what is said above, then try again"))
        }
        Trial::Pushed { .. } => None,
    }
}

fn test_push(answer: &TestPushed, arrival: Option<Arrival>) -> Vec<Finding> {
    const CHECK: &str = "test_push";
    let reason = answer.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let mut findings = Vec::new();
    findings.push(match (answer.outcome, arrival) {
        (_, Some(arrival)) => Finding::ok(CHECK, format!("a test push arrived after {} ms", arrival.took_ms)),
        (TestOutcome::Accepted, None) => Finding::failed(
            CHECK,
            "the push service took the test push and it did not arrive",
            "hand every push to handlePush; on iOS keep the app in front during the self-test",
        ),
        (TestOutcome::TokenGone, None) => Finding::failed(
            CHECK,
            format!("the push service says that the token is dead{reason}"),
            "get a new token from the system and pass it to setPushToken",
        ),
        (TestOutcome::Rejected, None) => Finding::failed(
            CHECK,
            format!("the push service refuses the push{reason}"),
            match answer.reason.as_deref() {
                Some("no_push_credentials") => "give the app's push credentials with PUT /v1/apps",
                Some("topic_not_configured") => "list the app's bundle id or package in PUT /v1/apps",
                Some("BadDeviceToken" | "bad_device_token") => {
                    "pass the token of this very app to setPushToken, unchanged, and check the APNs environment"
                }
                _ => "check the app's credentials with `backstop check-config --live` or GET /v1/golive",
            },
        ),
        (TestOutcome::RetryAfter, None) => Finding::unknown(
            CHECK,
            format!("the push service takes nothing at the moment{reason}"),
            "try again in some minutes",
        ),
        (TestOutcome::Unknown, None) => Finding::unknown(
            CHECK,
            format!("the push service did not answer the server in time{reason}"),
            "try again; if it stays so, check the server's way to the push service",
        ),
    });
    let Some(arrival) = arrival else { return findings };
    findings.extend(arrival.by_extension.map(|ran| {
        if ran {
            return Finding::ok("extension_ran", "the notification service extension handled the test push");
        }
        Finding::failed(
            "extension_ran",
            "the test push did not come through the notification service extension",
            "check the extension's bundle id, deployment target and code signing; alerts must be allowed",
        )
    }));
    findings.push(match arrival.ack {
        Some((Some(Acked::Confirmed(_)), took_ms)) => {
            Finding::ok("ack", format!("its acknowledgement reached the server after {took_ms} ms"))
        }
        Some((None, _)) => {
            Finding::failed("ack", "its acknowledgement could neither be kept nor sent", "make room on the device")
        }
        Some((Some(Acked::Stored), _)) | None => Finding::failed(
            "ack",
            "its acknowledgement has not reached the server yet",
            "check the device's network; the ack is kept and sent later",
        ),
    });
    findings
}
