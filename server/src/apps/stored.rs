//! An app as it is kept: what may be shown in the clear, its secrets sealed beside it.

use super::MAX_APPS;
use super::accounts::Accounts;
use super::input::{AppInput, Given, error};
use crate::store::{AppRow, StoreError, WorkspaceId};
use crate::vault::{Vault, sha256};
use backstop_domain::Ms;
use backstop_wire::{Environment, FieldError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What may be shown of an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Config {
    pub(super) bundle_ids: Vec<String>,
    pub(super) packages: Vec<String>,
    pub(super) apns: Vec<KeyInfo>,
    /// Newest first, at most two.
    pub(super) fcm: Vec<AccountInfo>,
}

/// What may be shown of an APNs key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct KeyInfo {
    pub(super) team_id: String,
    pub(super) key_id: String,
    pub(super) environment: Environment,
    pub(super) topics: Vec<String>,
    pub(super) fingerprint: String,
    pub(super) added_at: Ms,
}

/// What may be shown of a service account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AccountInfo {
    pub(super) project_id: String,
    pub(super) client_email: String,
    pub(super) private_key_id: String,
    pub(super) fingerprint: String,
    pub(super) added_at: Ms,
}

impl AccountInfo {
    fn is_same(&self, other: &AccountInfo) -> bool {
        (&self.client_email, &self.private_key_id, &self.fingerprint, &self.project_id)
            == (&other.client_email, &other.private_key_id, &other.fingerprint, &other.project_id)
    }
}

/// What may not.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Secrets {
    /// PEM by `team_id/key_id`.
    apns: BTreeMap<String, String>,
    /// Key files, in the order of [`Config::fcm`].
    pub(super) fcm: Vec<String>,
}

impl Secrets {
    pub(super) fn apns_key(&self, key: &KeyInfo) -> Option<&str> {
        self.apns.get(&name(&key.team_id, &key.key_id)).map(String::as_str)
    }
}

fn name(team_id: &str, key_id: &str) -> String {
    format!("{team_id}/{key_id}")
}

pub(super) fn open(row: &AppRow, vault: &Vault) -> Result<(Config, Secrets), StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("{what} of an app of workspace {}", row.workspace.0));
    let config = serde_json::from_str(&row.config).map_err(|_| corrupt("the configuration"))?;
    let plain = vault.open(row.workspace, "apps", &row.app_id, "credentials", &row.credentials);
    let plain = zeroize::Zeroizing::new(plain.map_err(|_| corrupt("the credentials"))?);
    Ok((config, serde_json::from_slice(&plain).map_err(|_| corrupt("the credentials"))?))
}

/// What a PUT comes to.
pub enum Planned {
    /// All that is wrong with it.
    Invalid(Vec<FieldError>),
    /// It says what is stored already.
    Same,
    /// This row takes the place of the one before.
    Put(AppRow),
}

/// What the app `app_id` becomes by `input`, beside the others of its workspace.
pub fn plan(
    (workspace, app_id): (WorkspaceId, &str),
    input: &AppInput,
    rows: &[AppRow],
    (vault, accounts): (&Vault, &Accounts),
    now: Ms,
) -> Result<Planned, StoreError> {
    let mut errors = input.problems(accounts);
    let mut known = None;
    for row in rows {
        let (config, secrets) = open(row, vault)?;
        if row.app_id == app_id {
            known = Some((row, config, secrets));
        } else {
            errors.extend(taken("bundle_ids", &input.bundle_ids, &config.bundle_ids, &row.app_id));
            errors.extend(taken("packages", &input.packages, &config.packages, &row.app_id));
        }
    }
    if known.is_none() && rows.len() >= MAX_APPS {
        let message = format!("a workspace has at most {MAX_APPS} apps: delete one first");
        errors.push(error("app_id", "too_many", message));
    }
    let before = known.as_ref().map(|(_, config, secrets)| (config, secrets));
    let (config, secrets) = merge(input, before, &mut errors, now);
    if !errors.is_empty() {
        return Ok(Planned::Invalid(errors));
    }
    if before == Some((&config, &secrets)) {
        return Ok(Planned::Same);
    }
    let json = |error: serde_json::Error| StoreError::Corrupt(error.to_string());
    let plain = zeroize::Zeroizing::new(serde_json::to_vec(&secrets).map_err(json)?);
    Ok(Planned::Put(AppRow {
        workspace,
        app_id: app_id.to_owned(),
        config: serde_json::to_string(&config).map_err(json)?,
        credentials: vault.seal(workspace, "apps", app_id, "credentials", &plain),
        created_at: known.map_or(now, |(row, ..)| row.created_at),
        updated_at: now,
    }))
}

/// What the audit log says of an app: which it is, and which keys it has from now on.
pub fn told(row: &AppRow) -> Result<Value, StoreError> {
    let unreadable = |error: serde_json::Error| StoreError::Corrupt(format!("an app's configuration: {error}"));
    let config: Config = serde_json::from_str(&row.config).map_err(unreadable)?;
    let apns: Vec<&str> = config.apns.iter().map(|key| key.key_id.as_str()).collect();
    let fcm: Vec<&str> = config.fcm.iter().map(|account| account.private_key_id.as_str()).collect();
    Ok(json!({ "app_id": row.app_id, "apns_key_ids": apns, "fcm_private_key_ids": fcm }))
}

/// One name, one app: a device that says it must find exactly one.
fn taken(field: &str, given: &[String], theirs: &[String], app_id: &str) -> Vec<FieldError> {
    let clashes = given.iter().enumerate().filter(|(_, name)| theirs.contains(name));
    let message = format!("the app {app_id} of this workspace has it already: take it out there or here");
    clashes.map(|(at, _)| error(&format!("{field}[{at}]"), "taken", message.clone())).collect()
}

fn merge(
    input: &AppInput,
    before: Option<(&Config, &Secrets)>,
    errors: &mut Vec<FieldError>,
    now: Ms,
) -> (Config, Secrets) {
    let mut config = Config {
        bundle_ids: input.bundle_ids.clone(),
        packages: input.packages.clone(),
        apns: Vec::new(),
        fcm: Vec::new(),
    };
    let mut secrets = Secrets::default();
    for (at, given) in input.apns.iter().enumerate() {
        let name = name(&given.team_id, &given.key_id);
        let stored = before.and_then(|(_, secrets)| secrets.apns.get(&name));
        // One key_id is one key, at whichever of its entries it was given.
        let mut same = input.apns.iter().filter(|o| o.team_id == given.team_id && o.key_id == given.key_id);
        let Some(key) = same.find_map(|other| other.key.as_ref()).or(stored) else {
            let message = "give the key (the content of the .p8 file): none is stored for this team_id and key_id";
            errors.push(error(&format!("apns[{at}].key"), "missing", message));
            continue;
        };
        let fingerprint = fingerprint(key);
        let since = before.and_then(|(config, _)| {
            config.apns.iter().find(|k| k.key_id == given.key_id && k.fingerprint == fingerprint).map(|k| k.added_at)
        });
        config.apns.push(KeyInfo {
            team_id: given.team_id.clone(),
            key_id: given.key_id.clone(),
            environment: given.environment,
            topics: given.topics.clone(),
            fingerprint,
            added_at: since.unwrap_or(now),
        });
        secrets.apns.insert(name, key.clone());
    }
    if let Some(given) = &input.fcm {
        merge_fcm(given.read(), given.drop_previous, before, (&mut config, &mut secrets), errors, now);
    }
    (config, secrets)
}

fn merge_fcm(
    given: Given,
    drop_previous: bool,
    before: Option<(&Config, &Secrets)>,
    (config, secrets): (&mut Config, &mut Secrets),
    errors: &mut Vec<FieldError>,
    now: Ms,
) {
    let mut accounts: Vec<(AccountInfo, String)> = before.map_or_else(Vec::new, |(config, secrets)| {
        config.fcm.iter().cloned().zip(secrets.fcm.iter().cloned()).collect()
    });
    match given {
        // What is wrong with it is among the errors already.
        Given::Unusable => return,
        Given::Nothing if accounts.is_empty() => {
            let message = "give the key file of a service account: none is stored for this app";
            return errors.push(error("fcm.service_account", "missing", message));
        }
        Given::Nothing => {}
        Given::Account { json, project_id, client_email, private_key_id, private_key } => {
            let fingerprint = fingerprint(&private_key);
            let about = AccountInfo { project_id, client_email, private_key_id, fingerprint, added_at: now };
            if accounts.first().is_none_or(|(first, _)| !first.is_same(&about)) {
                // Another project's tokens are not this one's: its account must never be tried for them.
                accounts.retain(|(old, _)| !old.is_same(&about) && old.project_id == about.project_id);
                accounts.insert(0, (about, json));
            }
        }
    }
    accounts.truncate(if drop_previous { 1 } else { 2 });
    (config.fcm, secrets.fcm) = accounts.into_iter().unzip();
}

/// Tells keys apart, however their lines are broken. A private key cannot be guessed, so its plain hash says nothing.
fn fingerprint(pem: &str) -> String {
    let body: String =
        pem.lines().filter(|line| !line.starts_with("-----")).flat_map(|line| line.split_whitespace()).collect();
    hex::encode(&sha256(body.as_bytes())[..8])
}
