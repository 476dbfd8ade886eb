//! Body of `PUT /v1/apps/{app_id}`, and all that can be wrong with it.

use super::accounts::{self, Accounts};
use backstop_wire::{Environment, FieldError};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashSet;
use utoipa::ToSchema;

/// Builds of one app: variants, white labels.
const MAX_NAMES: usize = 20;
const MAX_NAME_CHARS: usize = 255;
/// Two teams or environments, two keys each.
const MAX_APNS: usize = 4;
/// Valid at once for one team and environment: the one in use and the one before it.
const MAX_KEYS_OF_ONE: usize = 2;
const MAX_KEY_BYTES: usize = 8 * 1024;
const MAX_ACCOUNT_BYTES: usize = 16 * 1024;
/// What Apple appends to a bundle id for pushes of other kinds.
const OTHER_KINDS: &[&str] = &[".voip", ".complication", ".pushkit.fileprovider", ".location-query", ".push-type."];

/// An app with its credentials; full replacement. Secrets are never shown again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AppInput {
    /// Names of its iOS builds: a device whose `topic` is one of them belongs to this app.
    #[serde(default)]
    #[schema(example = json!(["com.example.shop"]), max_items = 20)]
    pub bundle_ids: Vec<String>,
    /// Names of its Android builds: a device whose `package` is one of them belongs to this app.
    #[serde(default)]
    #[schema(example = json!(["com.example.shop"]), max_items = 20)]
    pub packages: Vec<String>,
    /// APNs keys; none = the deployment's. Two keys of one team and environment are valid at once, so that one can be
    /// replaced: put both, and leave the old one out once the new one works.
    #[serde(default)]
    #[schema(max_items = 4)]
    pub apns: Vec<ApnsInput>,
    /// Firebase; absent = the deployment's.
    #[serde(default)]
    pub fcm: Option<FcmInput>,
}

/// A token signing key of an Apple team.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApnsInput {
    /// Ten characters, from Membership details in your Apple account.
    #[schema(example = "A1B2C3D4E5")]
    pub team_id: String,
    /// Ten characters, as in the file's name `AuthKey_K1L2M3N4P5.p8`.
    #[schema(example = "K1L2M3N4P5")]
    pub key_id: String,
    /// Content of the .p8 file. Leave it out to keep the one stored for this `team_id` and `key_id`.
    #[serde(default)]
    pub key: Option<String>,
    /// What it is meant for: `production` for App Store and TestFlight builds, `sandbox` for development builds.
    #[schema(value_type = crate::http::openapi::Environment)]
    pub environment: Environment,
    /// The bundle ids that it pushes to; absent = all of the app.
    #[serde(default)]
    pub topics: Vec<String>,
}

/// The app's Firebase project.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FcmInput {
    /// The key file of a service account, as an object or as text. Leave it out to keep what is stored. A new one of
    /// the same project is used from now on; the one before stays valid until `drop_previous`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub service_account: Option<Value>,
    /// Forget the account before the newest.
    #[serde(default)]
    pub drop_previous: bool,
}

/// A service account as it was given.
pub(super) enum Given {
    Nothing,
    Unusable,
    Account { json: String, project_id: String, client_email: String, private_key_id: String, private_key: String },
}

impl AppInput {
    /// What is wrong with it by itself, field by field; empty = nothing.
    pub(super) fn problems(&self, accounts: &Accounts) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.bundle_ids.is_empty() && self.packages.is_empty() {
            let message = "name at least one: bundle_ids of the iOS builds or packages of the Android builds";
            errors.push(error("bundle_ids", "missing", message));
        }
        let example = "such as com.example.shop: letters, digits, dots and hyphens";
        errors.extend(names("bundle_ids", &self.bundle_ids, b".-_", example));
        let example = "such as com.example.shop: letters, digits, dots and underscores";
        errors.extend(names("packages", &self.packages, b"._", example));
        if self.apns.len() > MAX_APNS {
            errors.push(error("apns", "too_long", format!("give at most {MAX_APNS} keys")));
        }
        if !self.apns.is_empty() && self.bundle_ids.is_empty() {
            errors.push(error("bundle_ids", "missing", "name the bundle ids that the keys in apns push to"));
        }
        for at in 0..self.apns.len().min(MAX_APNS) {
            errors.extend(self.apns_problems(at));
        }
        errors.extend(self.fcm.as_ref().and_then(|fcm| fcm.problem(accounts)));
        errors
    }

    fn apns_problems(&self, at: usize) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (given, before) = (&self.apns[at], &self.apns[..at]);
        let field = |name: &str| format!("apns[{at}].{name}");
        for (topic_at, topic) in given.topics.iter().enumerate().take(MAX_NAMES) {
            if !self.bundle_ids.contains(topic) {
                let message = match OTHER_KINDS.iter().any(|kind| topic.contains(kind)) {
                    true => "this topic is for pushes of another kind: name the bundle id alone",
                    false => "this is none of the app's bundle_ids: name it there, too, or take it out here",
                };
                errors.push(error(&format!("apns[{at}].topics[{topic_at}]"), "unknown_bundle_id", message));
            }
        }
        if given.topics.len() > MAX_NAMES {
            errors.push(error(&field("topics"), "too_long", format!("give at most {MAX_NAMES}")));
        }
        let same_place = |other: &&ApnsInput| other.team_id == given.team_id && other.environment == given.environment;
        if before.iter().filter(same_place).any(|other| other.key_id == given.key_id) {
            errors.push(error(&field("key_id"), "duplicate", "this key is given twice for the same environment"));
        } else if before.iter().filter(same_place).count() >= MAX_KEYS_OF_ONE {
            let message = format!("at most {MAX_KEYS_OF_ONE} keys of one team and environment are valid at once");
            errors.push(error(&field("key_id"), "too_many", message));
        }
        let same_key = |other: &&ApnsInput| other.team_id == given.team_id && other.key_id == given.key_id;
        let contradicts = |other: &ApnsInput| other.key.is_some() && given.key.is_some() && other.key != given.key;
        if before.iter().find(same_key).is_some_and(contradicts) {
            errors.push(error(&field("key"), "contradiction", "another key was given for the same key_id"));
        }
        if given.key.as_ref().is_some_and(|key| key.len() > MAX_KEY_BYTES) {
            errors.push(error(&field("key"), "too_long", "give the content of the .p8 file alone"));
        } else if let Some((name, message)) = accounts::apns_problem(given) {
            errors.push(error(&field(name), "invalid", message));
        }
        errors
    }
}

impl FcmInput {
    pub(super) fn read(&self) -> Given {
        let Some(text) = self.text() else { return Given::Nothing };
        let Some(file) = object(&text) else { return Given::Unusable };
        let word = |name: &str| file.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Given::Account {
            project_id: word("project_id"),
            client_email: word("client_email"),
            private_key_id: word("private_key_id"),
            private_key: word("private_key"),
            json: text,
        }
    }

    fn problem(&self, accounts: &Accounts) -> Option<FieldError> {
        let text = self.text()?;
        let wrong = |message: &str| Some(error("fcm.service_account", "invalid", message));
        if text.len() > MAX_ACCOUNT_BYTES {
            return wrong("give the JSON key file of a service account alone");
        }
        let Some(file) = object(&text) else {
            return wrong("this is not JSON: give the key file of a service account as Google hands it out");
        };
        if let Some(message) = another_file(&file) {
            return wrong(message);
        }
        accounts.fcm_problem(&text).and_then(|message| wrong(&message))
    }

    /// An object is as good as the text of it.
    fn text(&self) -> Option<String> {
        match self.service_account.as_ref()? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

type Object = serde_json::Map<String, Value>;

fn object(text: &str) -> Option<Object> {
    serde_json::from_str(text).ok()
}

/// What else Google calls credentials, and where the right file is.
fn another_file(file: &Object) -> Option<&'static str> {
    let has = |name: &str| file.contains_key(name);
    let kind = file.get("type").and_then(Value::as_str);
    if file.get("disabled").and_then(Value::as_bool) == Some(true) {
        Some("this account or key is disabled: enable it in the Google Cloud console, or make a new key")
    } else if has("web") || has("installed") {
        Some(
            "this is an OAuth client, which users log in with: make a key under Project settings, Service accounts in \
             the Firebase console",
        )
    } else if has("project_info") {
        Some(
            "this is google-services.json, which the app is built with: make a key under Project settings, Service \
             accounts in the Firebase console",
        )
    } else if has("apiKey") {
        Some(
            "this is the configuration of a web app: make a key under Project settings, Service accounts in the \
             Firebase console",
        )
    } else if has("privateKeyData") {
        Some("this is Google's answer to making a key: the key file is what its privateKeyData holds in base64")
    } else if has("validAfterTime") || has("validBeforeTime") || has("keyOrigin") {
        Some("this describes a key and does not hold it, perhaps an expired one: make a new key and give its file")
    } else if matches!(kind, Some("authorized_user")) {
        Some("this is a user's log-in (gcloud): make a key for a service account")
    } else if matches!(kind, Some("external_account" | "impersonated_service_account")) {
        Some("this is a reference to another log-in: make a key for a service account")
    } else {
        None
    }
}

fn names(field: &str, given: &[String], marks: &[u8], example: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if given.len() > MAX_NAMES {
        errors.push(error(field, "too_long", format!("give at most {MAX_NAMES}")));
    }
    let mut seen = HashSet::new();
    for (at, name) in given.iter().enumerate().take(MAX_NAMES) {
        let good = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte));
        if !good || !(1..=MAX_NAME_CHARS).contains(&name.len()) {
            errors.push(error(&format!("{field}[{at}]"), "invalid", format!("give a name {example}")));
        } else if !seen.insert(name) {
            errors.push(error(&format!("{field}[{at}]"), "duplicate", "this name is given twice"));
        }
    }
    errors
}

pub(super) fn error(field: &str, code: &str, message: impl Into<String>) -> FieldError {
    FieldError { field: field.into(), code: code.into(), message: message.into() }
}
