//! Whether settings can work: each field by itself, then those that depend on one another.

use super::{Settings, SettingsInput, region};
use backstop_domain::followup::Services;
use backstop_wire::{FieldError, Grade};

const MAX_COMPANY_NAME_CHARS: usize = 100;
const MAX_LINK_SCHEMES: usize = 20;
/// Schemes that run, read or hide something: no list allows them (P14).
const DANGEROUS_SCHEMES: &[&str] =
    &["javascript", "vbscript", "data", "file", "blob", "about", "content", "intent", "filesystem", "view-source"];

/// Something to know about settings that were taken. The words of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Neither a push, nor a text, nor an email can leave.
    NothingCanLeave,
    /// S1: both switches are off.
    PushOnly,
    /// Texts are on, and the deployment has no account for them.
    NoTextProvider,
    /// Emails are on, and the deployment has no account for them.
    NoEmailProvider,
    /// The heartbeats' time-out is never reached.
    HeartbeatAfterIdle,
}

impl Advice {
    /// Stable code.
    pub fn code(self) -> &'static str {
        match self {
            Advice::NothingCanLeave => "nothing_can_leave",
            Advice::PushOnly => "push_only",
            Advice::NoTextProvider => "no_text_provider",
            Advice::NoEmailProvider => "no_email_provider",
            Advice::HeartbeatAfterIdle => "heartbeat_after_idle",
        }
    }

    /// What to do about it.
    pub fn message(self) -> &'static str {
        match self {
            Advice::NothingCanLeave => {
                "both switches are off and no push credentials are configured: nothing reaches a customer who is away; \
                 switch \"phone_number\" or \"email\" on"
            }
            Advice::PushOnly => {
                "both switches are off: a push that is not acknowledged is followed by nothing; switch \
                 \"phone_number\" or \"email\" on"
            }
            Advice::NoTextProvider => "\"phone_number\" is on, but the deployment has no text account: no text leaves",
            Advice::NoEmailProvider => "\"email\" is on, but the deployment has no mail account: no email leaves",
            Advice::HeartbeatAfterIdle => {
                "\"heartbeat_timeout_ms\" is more than \"idle_after_ms\": a page that went silent counts as online \
                 until it idles"
            }
        }
    }
}

impl Settings {
    /// What the company should know although these settings were taken.
    pub fn advice(&self, services: &Services) -> Vec<Advice> {
        let mut advice = Vec::new();
        match (self.phone_number || self.email, services.fcm || services.apns) {
            (false, false) => advice.push(Advice::NothingCanLeave),
            (false, true) => advice.push(Advice::PushOnly),
            (true, _) => {}
        }
        if self.phone_number && services.text.is_none() {
            advice.push(Advice::NoTextProvider);
        }
        if self.email && services.email.is_none() {
            advice.push(Advice::NoEmailProvider);
        }
        if self.heartbeat_timeout_ms > self.idle_after_ms {
            advice.push(Advice::HeartbeatAfterIdle);
        }
        advice
    }

    /// Settings that cannot work together, as far as each by itself can.
    pub fn contradictions(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.push_ttl_ms < self.ack_wait_ms {
            let message =
                format!("give at least ack_wait_ms, {}: a push must live until it is decided", self.ack_wait_ms);
            errors.push(error("push_ttl_ms", "contradiction", message));
        }
        if self.fallback_horizon_ms <= self.repeat_gap_ms {
            let message = format!(
                "give more than repeat_gap_ms, {}: a text that waited out the gap would be too old to leave",
                self.repeat_gap_ms
            );
            errors.push(error("fallback_horizon_ms", "contradiction", message));
        }
        errors
    }
}

impl SettingsInput {
    /// What is wrong with it, field by field; empty = nothing.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (field, value, range) in self.numbers() {
            if !range.contains(&value) {
                let message = format!("give a number from {} to {}", range.start(), range.end());
                errors.push(error(field, "out_of_range", message));
            }
        }
        if self.ack_grade.is_some_and(|g| !matches!(g, Grade::Received | Grade::Displayed | Grade::Opened)) {
            errors.push(error("ack_grade", "invalid", "give received, displayed or opened"));
        }
        if let Some(name) = &self.company_name {
            let chars = name.chars().count();
            if chars == 0 || chars > MAX_COMPANY_NAME_CHARS || name.chars().any(char::is_control) {
                let message = format!("give 1 to {MAX_COMPANY_NAME_CHARS} characters without line breaks");
                errors.push(error("company_name", "invalid", message));
            }
        }
        if self.country.as_ref().is_some_and(|c| region(c).is_none()) {
            errors.push(error("country", "invalid", "give an ISO 3166 code of two capital letters, such as KR"));
        }
        errors.extend(self.link_schemes.iter().flat_map(|schemes| scheme_problems(schemes)));
        errors
    }
}

fn scheme_problems(schemes: &[String]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if schemes.len() > MAX_LINK_SCHEMES {
        let message = format!("give at most {MAX_LINK_SCHEMES} schemes");
        errors.push(error("link_schemes", "too_long", message));
    }
    for (i, scheme) in schemes.iter().enumerate().take(MAX_LINK_SCHEMES) {
        if !is_scheme(scheme) {
            let message = "give a scheme in lower case without the colon, such as https or myshop";
            errors.push(error(&format!("link_schemes[{i}]"), "invalid", message));
        } else if DANGEROUS_SCHEMES.contains(&scheme.as_str()) {
            let message = "this scheme can run or read something on the phone and is never allowed";
            errors.push(error(&format!("link_schemes[{i}]"), "not_allowed", message));
        }
    }
    errors
}

/// RFC 3986, lower case.
fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 40
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.'))
}

fn error(field: &str, code: &str, message: impl Into<String>) -> FieldError {
    FieldError { field: field.into(), code: code.into(), message: message.into() }
}
