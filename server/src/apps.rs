//! A workspace's apps: what the API takes and shows of them, how they are kept, and by what their pushes leave.
//!
//! Secrets go one way: they are sealed when they come, opened when the workspace is loaded, and shown to nobody.

pub mod accounts;
mod input;
mod stored;

pub use input::{ApnsInput, AppInput, FcmInput};
pub use stored::{Planned, plan, told};

use crate::providers::PushProvider as Sender;
use crate::store::{AppRow, StoreError};
use crate::vault::Vault;
use accounts::{Account, Accounts};
use backstop_domain::apps::{self as rules, ApnsKey, Origin, app_of};
use backstop_wire::time::to_rfc3339;
use backstop_wire::{Environment, PushProvider};
use serde::Serialize;
use std::sync::Arc;
use stored::{Config, Secrets};
use utoipa::ToSchema;

/// Apps of a workspace.
pub const MAX_APPS: usize = 20;

/// The apps of a workspace, opened. Replaced whole when one of them changes; accounts that stay keep their connections.
#[derive(Default)]
pub struct Apps {
    /// As stored: tells whether anything changed.
    rows: Vec<AppRow>,
    configs: Vec<Config>,
    rules: Vec<rules::App>,
    senders: Vec<Senders>,
}

/// The accounts of one app, newest first.
struct Senders {
    apns: Vec<(ApnsKey, Arc<Account>)>,
    fcm: Vec<Arc<Account>>,
}

impl Apps {
    /// Opens what is stored.
    pub fn open(rows: Vec<AppRow>, vault: &Vault, accounts: &Accounts) -> Result<Apps, StoreError> {
        let mut apps = Apps::default();
        for row in &rows {
            let (config, secrets) = stored::open(row, vault)?;
            let senders = Senders::new(&config, &secrets, accounts);
            apps.rules.push(rules::App {
                id: row.app_id.as_str().into(),
                bundle_ids: config.bundle_ids.clone(),
                packages: config.packages.clone(),
                apns: senders.apns.iter().map(|(key, _)| key.clone()).collect(),
                fcm: !senders.fcm.is_empty(),
            });
            apps.configs.push(config);
            apps.senders.push(senders);
        }
        apps.rows = rows;
        Ok(apps)
    }

    /// As stored.
    pub fn rows(&self) -> &[AppRow] {
        &self.rows
    }

    /// The app that a device is part of, as the rules see it.
    pub fn of(&self, origin: &Origin<'_>) -> Option<&rules::App> {
        app_of(&self.rules, origin).map(|at| &self.rules[at])
    }

    /// Whether one of them has credentials for this service.
    pub fn have(&self, provider: PushProvider) -> bool {
        self.rules.iter().any(|app| match provider {
            PushProvider::Fcm => app.fcm,
            PushProvider::Apns => !app.apns.is_empty(),
        })
    }

    /// Whether there is an app of this id.
    pub fn has(&self, app_id: &str) -> bool {
        self.rows.iter().any(|row| row.app_id == app_id)
    }

    /// By what a push to this device leaves, if its app has credentials of its own for it.
    pub fn route(&self, origin: &Origin<'_>) -> Option<Arc<dyn Sender>> {
        let senders = &self.senders[app_of(&self.rules, origin)?];
        let accounts = match origin.provider {
            PushProvider::Fcm => senders.fcm.clone(),
            PushProvider::Apns => senders.keys_for(origin),
        };
        accounts::route(accounts)
    }

    /// Every account beside the name of its app: what a check of all of them asks.
    pub fn accounts(&self) -> Vec<(&str, Arc<dyn Sender>)> {
        let apps = self.rows.iter().zip(&self.senders);
        apps.flat_map(|(row, senders)| {
            let keys = senders.apns.iter().map(|(_, account)| account);
            keys.chain(&senders.fcm).map(|account| (row.app_id.as_str(), account.sender()))
        })
        .collect()
    }

    /// All of them as the API shows them.
    pub fn views(&self) -> Vec<AppView> {
        self.rows.iter().zip(&self.configs).map(|(row, config)| AppView::new(row, config)).collect()
    }

    /// One of them.
    pub fn view(&self, app_id: &str) -> Option<AppView> {
        let at = self.rows.iter().position(|row| row.app_id == app_id)?;
        Some(AppView::new(&self.rows[at], &self.configs[at]))
    }
}

impl Senders {
    fn new(config: &Config, secrets: &Secrets, accounts: &Accounts) -> Senders {
        let mut apns: Vec<_> = config
            .apns
            .iter()
            .filter_map(|key| {
                let topics = if key.topics.is_empty() { &config.bundle_ids } else { &key.topics };
                let account = accounts.apns(key, topics, secrets.apns_key(key)?)?;
                Some((key.added_at, ApnsKey { environment: key.environment, topics: topics.clone() }, account))
            })
            .collect();
        apns.sort_by_key(|(added_at, ..)| std::cmp::Reverse(*added_at));
        let fcm = config.fcm.iter().zip(&secrets.fcm).filter_map(|(about, json)| accounts.fcm(about, json));
        Senders { apns: apns.into_iter().map(|(_, key, account)| (key, account)).collect(), fcm: fcm.collect() }
    }

    /// Keys that reach the device: those of its environment first, then the newest first.
    fn keys_for(&self, origin: &Origin<'_>) -> Vec<Arc<Account>> {
        let mut keys: Vec<_> = self.apns.iter().filter(|(key, _)| key.reaches(origin)).collect();
        keys.sort_by_key(|(key, _)| !key.is_meant_for(origin));
        keys.into_iter().map(|(_, account)| Arc::clone(account)).collect()
    }
}

/// An app as shown: never a key.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AppView {
    /// Your id of it.
    #[schema(example = "shop")]
    pub app_id: String,
    /// Names of its iOS builds.
    #[schema(example = json!(["com.example.shop"]))]
    pub bundle_ids: Vec<String>,
    /// Names of its Android builds.
    #[schema(example = json!(["com.example.shop"]))]
    pub packages: Vec<String>,
    /// Its APNs keys. Of two that serve the same team and environment the one added last is used, and the other when
    /// Apple refuses it.
    pub apns: Vec<ApnsView>,
    /// Its Firebase project; `null` = the deployment's.
    pub fcm: Option<FcmView>,
    /// When it was first put.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// An APNs key as shown.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ApnsView {
    /// The team at Apple.
    #[schema(example = "A1B2C3D4E5")]
    pub team_id: String,
    /// The key's id at Apple.
    #[schema(example = "K1L2M3N4P5")]
    pub key_id: String,
    /// The environment it is meant for.
    #[schema(value_type = crate::http::openapi::Environment)]
    pub environment: Environment,
    /// The bundle ids it pushes to; empty = all of the app.
    pub topics: Vec<String>,
    /// Tells keys apart; nobody can make a key from it.
    pub fingerprint: String,
    /// When it was put here.
    #[schema(format = DateTime)]
    pub added_at: String,
}

/// Firebase as shown.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FcmView {
    /// The Firebase project.
    #[schema(example = "shop-12345")]
    pub project_id: String,
    /// The account in use first; then the one before it, which is used when Google refuses the first, until
    /// `drop_previous`.
    pub service_accounts: Vec<ServiceAccountView>,
}

/// A service account as shown.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ServiceAccountView {
    /// Its name at Google.
    pub client_email: String,
    /// The key's id at Google.
    pub private_key_id: String,
    /// Tells keys apart; nobody can make a key from it.
    pub fingerprint: String,
    /// When it was put here.
    #[schema(format = DateTime)]
    pub added_at: String,
}

impl AppView {
    fn new(row: &AppRow, config: &Config) -> AppView {
        let apns = config.apns.iter().map(|key| ApnsView {
            team_id: key.team_id.clone(),
            key_id: key.key_id.clone(),
            environment: key.environment,
            topics: key.topics.clone(),
            fingerprint: key.fingerprint.clone(),
            added_at: to_rfc3339(key.added_at),
        });
        let accounts = config.fcm.iter().map(|account| ServiceAccountView {
            client_email: account.client_email.clone(),
            private_key_id: account.private_key_id.clone(),
            fingerprint: account.fingerprint.clone(),
            added_at: to_rfc3339(account.added_at),
        });
        let fcm = config
            .fcm
            .first()
            .map(|first| FcmView { project_id: first.project_id.clone(), service_accounts: accounts.collect() });
        AppView {
            app_id: row.app_id.clone(),
            bundle_ids: config.bundle_ids.clone(),
            packages: config.packages.clone(),
            apns: apns.collect(),
            fcm,
            created_at: to_rfc3339(row.created_at),
            updated_at: to_rfc3339(row.updated_at),
        }
    }
}
