//! A workspace's settings: what the API takes and shows, and what the rules take from it.
//!
//! `PUT /v1/settings` replaces them whole; what it does not name has its default again, which is why only what was
//! given is stored: a default that changes with the deployment changes for everyone who did not choose.

use backstop_domain::Ms;
use backstop_domain::device::UnreadPolicy;
use backstop_domain::followup::{Channels, Policy};
use backstop_domain::presence::PresencePolicy;
use backstop_wire::{FieldError, Grade};
use rlibphonenumber::Region;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use utoipa::ToSchema;

/// P3: within this, whatever is asked for.
pub const ACK_WAIT_MS: RangeInclusive<Ms> = 1_000..=30_000;

const DAY_MS: Ms = 86_400_000;
const MAX_COMPANY_NAME_CHARS: usize = 100;
const MAX_LINK_SCHEMES: usize = 20;
/// Schemes that run, read or hide something: no list allows them (P14).
const DANGEROUS_SCHEMES: &[&str] =
    &["javascript", "vbscript", "data", "file", "blob", "about", "content", "intent", "filesystem", "view-source"];

/// Body of `PUT /v1/settings`: full replacement, everything optional, absent = default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsInput {
    /// Send texts ("phone number"). Off in a new workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<bool>,
    /// Send emails. Off in a new workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<bool>,
    /// Whether a bot's reply starts a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bot_text: Option<bool>,
    /// The lowest grade of an ack that counts: `received`, `displayed` (default) or `opened`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ack_grade: Option<Grade>,
    /// How long a push may stay without an ack: 1,000–30,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_wait_ms: Option<i64>,
    /// After this many counted acks without a sign of life, a device no longer counts; 0 = never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread_limit: Option<u32>,
    /// Only acks at least this old tell that nobody looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread_after_ms: Option<i64>,
    /// Without activity for this long = offline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_after_ms: Option<i64>,
    /// Another page in front for this long = offline; 0 = at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_after_ms: Option<i64>,
    /// An active page that says nothing for this long is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_timeout_ms: Option<i64>,
    /// Between texts and emails of one conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_gap_ms: Option<i64>,
    /// How long a push lives when no text or email can leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_ttl_ms: Option<i64>,
    /// Later than this after its deadline a follow-up goes by email only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_horizon_ms: Option<i64>,
    /// The company's name as customers see it; default: the workspace's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company_name: Option<String>,
    /// ISO 3166 code of the country whose national phone numbers are read; default: only numbers with `+`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Schemes that `link` may have; default `https` and `http`. Add your app's own to link into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_schemes: Option<Vec<String>>,
}

/// Settings in force: answer of `GET /v1/settings`. See [`SettingsInput`] for what each means.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[expect(missing_docs, reason = "each field is described where it is given")]
pub struct Settings {
    pub phone_number: bool,
    pub email: bool,
    pub bot_text: bool,
    #[schema(value_type = String)]
    pub ack_grade: Grade,
    pub ack_wait_ms: i64,
    pub unread_limit: u32,
    pub unread_after_ms: i64,
    pub idle_after_ms: i64,
    pub hidden_after_ms: i64,
    pub heartbeat_timeout_ms: i64,
    pub repeat_gap_ms: i64,
    pub push_ttl_ms: i64,
    pub fallback_horizon_ms: i64,
    pub company_name: Option<String>,
    pub country: Option<String>,
    pub link_schemes: Vec<String>,
}

impl SettingsInput {
    /// What is wrong with it, field by field; empty = nothing.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let numbers: [(&str, Option<i64>, RangeInclusive<i64>); 9] = [
            ("ack_wait_ms", self.ack_wait_ms, ACK_WAIT_MS),
            ("unread_limit", self.unread_limit.map(i64::from), 0..=20),
            ("unread_after_ms", self.unread_after_ms, 0..=30 * DAY_MS),
            ("idle_after_ms", self.idle_after_ms, 1_000..=DAY_MS),
            ("hidden_after_ms", self.hidden_after_ms, 0..=DAY_MS),
            ("heartbeat_timeout_ms", self.heartbeat_timeout_ms, 1_000..=DAY_MS),
            ("repeat_gap_ms", self.repeat_gap_ms, 0..=DAY_MS),
            // FCM keeps a message for at most four weeks.
            ("push_ttl_ms", self.push_ttl_ms, 1_000..=28 * DAY_MS),
            ("fallback_horizon_ms", self.fallback_horizon_ms, 1_000..=30 * DAY_MS),
        ];
        for (field, value, range) in numbers {
            if value.is_some_and(|v| !range.contains(&v)) {
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

    /// Everything that was not chosen has its default: the rules' numbers, the deployment's `ack_wait`, and the
    /// switches (S1) as `switched_on` says.
    pub fn in_force(self, deployment: &Policy, switched_on: bool) -> Settings {
        let defaults = Policy { ack_wait_ms: deployment.ack_wait_ms, ..Policy::sandbox() };
        Settings {
            phone_number: self.phone_number.unwrap_or(switched_on),
            email: self.email.unwrap_or(switched_on),
            bot_text: self.bot_text.unwrap_or(false),
            ack_grade: self.ack_grade.unwrap_or(defaults.ack_grade),
            ack_wait_ms: self.ack_wait_ms.unwrap_or(defaults.ack_wait_ms),
            unread_limit: self.unread_limit.unwrap_or(defaults.unread.unread_limit),
            unread_after_ms: self.unread_after_ms.unwrap_or(defaults.unread.unread_after_ms),
            idle_after_ms: self.idle_after_ms.unwrap_or(defaults.presence.idle_after_ms),
            hidden_after_ms: self.hidden_after_ms.unwrap_or(defaults.presence.hidden_after_ms),
            heartbeat_timeout_ms: self.heartbeat_timeout_ms.unwrap_or(defaults.presence.heartbeat_timeout_ms),
            repeat_gap_ms: self.repeat_gap_ms.unwrap_or(defaults.repeat_gap_ms),
            push_ttl_ms: self.push_ttl_ms.unwrap_or(defaults.push_ttl_ms),
            fallback_horizon_ms: self.fallback_horizon_ms.unwrap_or(defaults.fallback_horizon_ms),
            company_name: self.company_name,
            country: self.country,
            link_schemes: self.link_schemes.unwrap_or_else(|| vec!["https".into(), "http".into()]),
        }
    }
}

impl Settings {
    /// What the rules take as given: these settings over the deployment's services and waits.
    pub fn policy(&self, deployment: &Policy) -> Policy {
        Policy {
            ack_wait_ms: self.ack_wait_ms,
            ack_grade: self.ack_grade,
            unread: UnreadPolicy { unread_limit: self.unread_limit, unread_after_ms: self.unread_after_ms },
            presence: PresencePolicy {
                idle_after_ms: self.idle_after_ms,
                hidden_after_ms: self.hidden_after_ms,
                heartbeat_timeout_ms: self.heartbeat_timeout_ms,
            },
            repeat_gap_ms: self.repeat_gap_ms,
            push_ttl_ms: self.push_ttl_ms,
            fallback_horizon_ms: self.fallback_horizon_ms,
            channels: Channels { phone_number: self.phone_number, email: self.email, bot_text: self.bot_text },
            ..deployment.clone()
        }
    }

    /// The country whose national numbers are read (T4).
    pub fn region(&self) -> Option<Region> {
        self.country.as_deref().and_then(region)
    }
}

/// Two capital letters that name a country with phone numbers.
fn region(code: &str) -> Option<Region> {
    let capital = code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase());
    capital.then(|| Region::from_code(code).ok()).flatten()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(input: SettingsInput) -> Vec<String> {
        input.problems().into_iter().map(|e| e.field).collect()
    }

    /// S1: both switches are off in a new workspace and on in the sandbox; every other default is the rule's.
    #[test]
    fn defaults_are_the_rules() {
        let deployment = Policy { ack_wait_ms: 20_000, ..Policy::sandbox() };
        let new = SettingsInput::default().in_force(&deployment, false);
        assert!(!new.phone_number && !new.email && !new.bot_text);
        let sandbox = SettingsInput::default().in_force(&deployment, true);
        assert_eq!(sandbox.policy(&deployment), deployment, "20,000 is the deployment's, the rest the rules'");
    }

    /// P3: 1,000–30,000, both sides of each end.
    #[test]
    fn ack_wait_is_a_ceiling_of_30_s() {
        for (ack_wait_ms, taken) in [(999, false), (1_000, true), (30_000, true), (30_001, false)] {
            let input = SettingsInput { ack_wait_ms: Some(ack_wait_ms), ..SettingsInput::default() };
            assert_eq!(fields(input).is_empty(), taken, "{ack_wait_ms}");
        }
    }

    /// W4: every wrong field is named at once.
    #[test]
    fn every_wrong_field_is_named() {
        let input = SettingsInput {
            ack_grade: Some(Grade::Suppressed),
            hidden_after_ms: Some(-1),
            company_name: Some("Shop\r\nBcc: a@b".into()),
            country: Some("kr".into()),
            link_schemes: Some(vec!["https".into(), "javascript".into(), "My App".into()]),
            ..SettingsInput::default()
        };
        let expected =
            ["hidden_after_ms", "ack_grade", "company_name", "country", "link_schemes[1]", "link_schemes[2]"];
        assert_eq!(fields(input), expected);
    }

    #[test]
    fn what_was_chosen_reads_back_and_unknown_fields_do_not() {
        let input = SettingsInput { country: Some("KR".into()), email: Some(true), ..SettingsInput::default() };
        let text = serde_json::to_string(&input).unwrap();
        assert_eq!(serde_json::from_str::<SettingsInput>(&text).unwrap(), input);
        assert_eq!(input.in_force(&Policy::sandbox(), false).region(), Some(Region::KR));
        assert!(serde_json::from_str::<SettingsInput>(r#"{"emails": true}"#).is_err());
    }
}
