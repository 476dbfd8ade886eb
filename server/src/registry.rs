//! Which workspaces there are, and whose key is whose: a small cache in front of the store.
//!
//! Nothing is believed for longer than a second: a revoked key dies in flight, and what another process changed shows.

mod alimtalk;
mod mail;

pub use alimtalk::AlimtalkChanged;
pub use mail::MailChanged;

use crate::alimtalk::Templates;
use crate::apps::accounts::Accounts;
use crate::apps::{AppInput, Apps, Planned, plan, told};
use crate::audit::{Entry, Kind, Who};
use crate::canary::is_cage;
use crate::clock::Clocks;
use crate::mail::Company;
use crate::mail::dns::Dns;
use crate::retention::Retention;
use crate::settings::{Settings, SettingsInput};
use crate::store::{AppChange, MailRows, Scope, SettingsSet, Store, StoreError, WorkspaceId, WorkspaceRow};
use crate::vault::{self, Vault, VaultError};
use crate::wallet::Plans;
use crate::workspace::{Activity, Workspace};
use backstop_domain::followup::Policy;
use backstop_domain::text::Country;
use backstop_domain::wallet::Terms;
use backstop_domain::{Ms, canary};
use backstop_wire::FieldError;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

/// How long a key or workspace is believed without asking the store.
const FRESH_MS: Ms = 1_000;
/// More keys than this in use within a second: the cache starts over.
const MAX_CACHED: usize = 20_000;
const MAX_KEY_BYTES: usize = 200;
/// Whoever finds a workspace changed by others this often in a row gives up.
const MAX_TRIES: usize = 16;
/// Secrets valid at once (C1).
const MAX_SECRETS: usize = 2;

/// What all workspaces of the deployment share.
#[derive(Clone)]
pub struct Deployment {
    /// Whether this is a sandbox: both switches of S1 are on, nothing real is sent.
    pub sandbox: bool,
    /// What workspaces are given (S3).
    pub plans: Plans,
    /// Services and waits of the deployment; a workspace's settings go over it.
    pub policy: Policy,
    /// How the world reaches it, without a slash at the end; `None` = nobody knows, and texts carry no short links.
    pub public_url: Option<String>,
    /// How to opt out, by country: the line of the first text of a conversation there.
    pub opt_out: BTreeMap<Country, String>,
    /// How long what is said and sent is kept.
    pub retention: Retention,
    /// What all mail has in common.
    pub mail: DeploymentMail,
}

/// What all mail of the deployment has in common.
#[derive(Clone, Default)]
pub struct DeploymentMail {
    /// Where answers and bounces come in (E3); `None` = nowhere.
    pub reply_domain: Option<String>,
    /// What the SPF record of a company's domain needs, if that is known.
    pub spf: Option<String>,
    /// Looks up what companies publish.
    pub dns: Dns,
}

/// Finds workspaces by key and by number.
pub struct Registry {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    clocks: Arc<Clocks>,
    deployment: Deployment,
    accounts: Arc<Accounts>,
    keys: RwLock<HashMap<[u8; 32], CachedKey>>,
    /// As many as the deployment has: their activity must not be forgotten while it lasts.
    workspaces: RwLock<HashMap<WorkspaceId, Cached>>,
}

/// Keys and secret of a new workspace: shown once, stored only as hashes and sealed.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Created {
    /// Its name: the `aud` of its customers' tokens.
    pub workspace: String,
    /// For the company's backend.
    pub api_key: String,
    /// For the company's apps and web pages.
    pub app_key: String,
    /// Signs customer ids (C1): 64 hexadecimal digits.
    pub identity_secret: String,
}

/// What came of replacing settings.
pub enum Replaced {
    /// The workspace as it is now.
    Done(Arc<Workspace>),
    /// They have this version by now, not the expected one.
    Stale(i64),
    /// There is no such workspace any more.
    Gone,
}

/// What came of changing an app.
pub enum AppChanged {
    /// The workspace as it is now.
    Done(Arc<Workspace>),
    /// Nothing changed: all that is wrong with what was given.
    Invalid(Vec<FieldError>),
    /// There is no such workspace, or app, any more.
    Gone,
}

/// Why no workspace was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Not `[a-z0-9-]{1,64}`.
    #[error("a workspace's name is 1 to 64 of a-z, 0-9 and -")]
    Name,
    /// There is one.
    #[error("a workspace of this name exists")]
    Taken,
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone, Copy)]
struct CachedKey {
    workspace: WorkspaceId,
    scope: Scope,
    checked_at: Ms,
}

struct Cached {
    workspace: Arc<Workspace>,
    row: WorkspaceRow,
    checked_at: Ms,
}

impl Registry {
    /// Knows nothing yet.
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>, clocks: Arc<Clocks>, deployment: Deployment) -> Registry {
        let (keys, workspaces) = (RwLock::default(), RwLock::default());
        let accounts = Arc::new(Accounts::none(Arc::clone(clocks.real())));
        Registry { store, vault, clocks, deployment, accounts, keys, workspaces }
    }

    /// Pushes of apps leave by these; without, all leave by the deployment's.
    pub fn with_accounts(self, accounts: Accounts) -> Registry {
        Registry { accounts: Arc::new(accounts), ..self }
    }

    /// What all workspaces share.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The workspace of a key, and what the key may do; `None` = no such key, or revoked.
    pub async fn by_key(&self, key: &str) -> Result<Option<(Arc<Workspace>, Scope)>, StoreError> {
        if key.len() > MAX_KEY_BYTES {
            return Ok(None);
        }
        let hash = vault::sha256(key.as_bytes());
        let now = self.clocks.real_ms();
        let known = read(&self.keys).get(&hash).copied();
        let (workspace, scope) = match known.filter(|k| is_fresh(k.checked_at, now)) {
            Some(key) => (key.workspace, key.scope),
            None => match self.store.key(hash).await? {
                Some((workspace, scope)) => {
                    insert(&self.keys, hash, CachedKey { workspace, scope, checked_at: now });
                    (workspace, scope)
                }
                None => {
                    write(&self.keys).remove(&hash);
                    return Ok(None);
                }
            },
        };
        Ok(self.by_id(workspace).await?.map(|w| (w, scope)))
    }

    /// A workspace by number.
    pub async fn by_id(&self, id: WorkspaceId) -> Result<Option<Arc<Workspace>>, StoreError> {
        let now = self.clocks.real_ms();
        let known =
            read(&self.workspaces).get(&id).filter(|c| is_fresh(c.checked_at, now)).map(|c| Arc::clone(&c.workspace));
        if known.is_some() {
            return Ok(known);
        }
        match self.store.workspace(id).await? {
            Some(row) => self.remember(row, now).await.map(Some),
            None => {
                self.forget(id);
                Ok(None)
            }
        }
    }

    /// A workspace by name.
    pub async fn by_name(&self, name: &str) -> Result<Option<Arc<Workspace>>, StoreError> {
        let now = self.clocks.real_ms();
        match self.store.workspace_named(name).await? {
            Some(row) => self.remember(row, now).await.map(Some),
            None => Ok(None),
        }
    }

    /// A workspace that was used before, as last seen.
    pub fn cached(&self, id: WorkspaceId) -> Option<Arc<Workspace>> {
        read(&self.workspaces).get(&id).map(|c| Arc::clone(&c.workspace))
    }

    /// Makes a workspace with fresh keys.
    pub async fn create(&self, name: &str) -> Result<Created, CreateError> {
        let created = Created {
            workspace: name.to_owned(),
            api_key: vault::random_key("sk_"),
            app_key: vault::random_key("app_"),
            identity_secret: vault::random_secret_hex(),
        };
        self.create_with(&created).await?;
        Ok(created)
    }

    /// Makes a workspace with these keys: the sandbox's are public knowledge.
    pub async fn create_with(&self, created: &Created) -> Result<WorkspaceId, CreateError> {
        let name = &created.workspace;
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
            return Err(CreateError::Name);
        }
        let row = WorkspaceRow {
            id: WorkspaceId(0),
            version: 1,
            name: name.clone(),
            identity_secrets: vec![self.seal_secret(name, &created.identity_secret)],
            trusted_keys: Vec::new(),
            settings: "{}".into(),
            settings_set: None,
            frozen_at: None,
            created_at: self.clocks.real_ms(),
        };
        let hash = |key: &str| vault::sha256(key.as_bytes());
        let keys = vec![(hash(&created.api_key), Scope::Server), (hash(&created.app_key), Scope::App)];
        self.store.create_workspace(row, keys).await?.ok_or(CreateError::Taken)
    }

    /// Makes the workspace of another one's canaries: its settings, no keys.
    pub(crate) async fn create_beside(&self, of: WorkspaceId, name: &str) -> Result<Arc<Workspace>, CreateError> {
        let gone = || StoreError::Unavailable("the workspace is being dropped".into());
        let row = self.store.workspace(of).await?.ok_or_else(gone)?;
        let row = WorkspaceRow {
            id: WorkspaceId(0),
            version: 1,
            name: name.to_owned(),
            identity_secrets: Vec::new(),
            trusted_keys: Vec::new(),
            settings_set: None,
            frozen_at: None,
            created_at: self.clocks.real_ms(),
            ..row
        };
        let id = self.store.create_workspace(row, Vec::new()).await?.ok_or(CreateError::Taken)?;
        Ok(self.by_id(id).await?.ok_or_else(gone)?)
    }

    /// Replaces the settings, which were checked, if they still have the `expected` version. What is the same as before
    /// makes no new version.
    pub async fn replace_settings(
        &self,
        id: WorkspaceId,
        settings: &SettingsInput,
        expected: Option<i64>,
        who: &Who,
    ) -> Result<Replaced, StoreError> {
        let corrupt = |error: serde_json::Error| StoreError::Corrupt(format!("settings of a workspace: {error}"));
        let text = serde_json::to_string(settings).map_err(corrupt)?;
        let mut stale = None;
        let replaced = self
            .change(
                id,
                |row, at| {
                    let version = row.settings_set.as_ref().map_or(1, |set| set.version);
                    stale = expected.filter(|expected| *expected != version).map(|_| version);
                    let before: SettingsInput = serde_json::from_str(&row.settings).map_err(corrupt)?;
                    let changes = before.changes_to(settings);
                    if stale.is_some() || changes.is_empty() {
                        return Ok(None);
                    }
                    row.settings.clone_from(&text);
                    row.settings_set = Some(SettingsSet { version: version + 1, at, who: who.clone() });
                    Ok(Some((Kind::SettingsChanged, json!({ "version": version + 1, "changes": changes }))))
                },
                who,
            )
            .await?;
        Ok(match (stale, replaced) {
            (Some(version), _) => Replaced::Stale(version),
            (None, Some(workspace)) => Replaced::Done(workspace),
            (None, None) => Replaced::Gone,
        })
    }

    /// Trusts one more public key, which was checked, to sign customers' tokens (C1).
    pub async fn trust_key(
        &self,
        id: WorkspaceId,
        pem: String,
        who: &Who,
    ) -> Result<Option<Arc<Workspace>>, StoreError> {
        let detail = json!({ "sha256": hex::encode(vault::sha256(pem.as_bytes())) });
        self.change(
            id,
            |row, _| {
                row.trusted_keys.retain(|known| *known != pem);
                row.trusted_keys.push(pem.clone());
                Ok(Some((Kind::TrustedKeyAdded, detail.clone())))
            },
            who,
        )
        .await
    }

    /// Makes a new identity secret; the one before it stays valid until the next rotation (C1).
    pub async fn rotate_secret(&self, id: WorkspaceId, who: &Who) -> Result<Option<String>, StoreError> {
        let secret = vault::random_secret_hex();
        let changed = self
            .change(
                id,
                |row, _| {
                    row.identity_secrets.insert(0, self.seal_secret(&row.name, &secret));
                    row.identity_secrets.truncate(MAX_SECRETS);
                    Ok(Some((Kind::IdentitySecretRotated, json!({}))))
                },
                who,
            )
            .await?;
        Ok(changed.map(|_| secret))
    }

    /// Drops a workspace with everything in it (sandbox).
    pub async fn drop_workspace(&self, id: WorkspaceId) -> Result<(), StoreError> {
        self.store.drop_workspace(id).await?;
        self.forget(id);
        self.clocks.forget(id);
        Ok(())
    }

    /// Reads, changes and replaces what was read, with what the log says of it; again if somebody else was quicker.
    /// `None` of `change` = leave it as it is.
    async fn change(
        &self,
        id: WorkspaceId,
        mut change: impl FnMut(&mut WorkspaceRow, Ms) -> Result<Option<(Kind, Value)>, StoreError>,
        who: &Who,
    ) -> Result<Option<Arc<Workspace>>, StoreError> {
        for _ in 0..MAX_TRIES {
            let Some(mut row) = self.store.workspace(id).await? else { return Ok(None) };
            let at = self.clocks.real_ms();
            let Some((kind, detail)) = change(&mut row, at)? else { return self.remember(row, at).await.map(Some) };
            let entry = Entry { at, kind, who: who.clone(), detail };
            if self.store.update_workspace(row.clone(), entry).await? {
                row.version += 1;
                return self.remember(row, at).await.map(Some);
            }
        }
        Err(too_busy())
    }

    /// Puts an app with its credentials. What is stored already makes no change.
    pub async fn put_app(
        &self,
        id: WorkspaceId,
        app_id: &str,
        input: &AppInput,
        who: &Who,
    ) -> Result<AppChanged, StoreError> {
        for _ in 0..MAX_TRIES {
            let Some(row) = self.store.workspace(id).await? else { return Ok(AppChanged::Gone) };
            let apps = self.store.apps(id).await?;
            let at = self.clocks.real_ms();
            let app = match plan((id, app_id), input, &apps, (&self.vault, &self.accounts), at)? {
                Planned::Invalid(errors) => return Ok(AppChanged::Invalid(errors)),
                Planned::Same => return self.remember(row, at).await.map(AppChanged::Done),
                Planned::Put(app) => app,
            };
            let entry = Entry { at, kind: Kind::AppChanged, who: who.clone(), detail: told(&app)? };
            if let Some(workspace) = self.change_app(row, AppChange::Put(app), entry).await? {
                return Ok(AppChanged::Done(workspace));
            }
        }
        Err(too_busy())
    }

    /// Deletes an app with its credentials.
    pub async fn delete_app(&self, id: WorkspaceId, app_id: &str, who: &Who) -> Result<AppChanged, StoreError> {
        for _ in 0..MAX_TRIES {
            let Some(row) = self.store.workspace(id).await? else { return Ok(AppChanged::Gone) };
            if self.store.apps(id).await?.iter().all(|app| app.app_id != app_id) {
                return Ok(AppChanged::Gone);
            }
            let detail = json!({ "app_id": app_id });
            let entry = Entry { at: self.clocks.real_ms(), kind: Kind::AppDeleted, who: who.clone(), detail };
            if let Some(workspace) = self.change_app(row, AppChange::Delete(app_id.to_owned()), entry).await? {
                return Ok(AppChanged::Done(workspace));
            }
        }
        Err(too_busy())
    }

    /// `None` = somebody else was quicker.
    async fn change_app(
        &self,
        row: WorkspaceRow,
        change: AppChange,
        entry: Entry,
    ) -> Result<Option<Arc<Workspace>>, StoreError> {
        let at = entry.at;
        if !self.store.change_app(row.id, row.version, change, entry).await? {
            return Ok(None);
        }
        self.remember(WorkspaceRow { version: row.version + 1, ..row }, at).await.map(Some)
    }

    /// Takes a row in: an unchanged one keeps the workspace in use, a changed one keeps its activity.
    async fn remember(&self, row: WorkspaceRow, now: Ms) -> Result<Arc<Workspace>, StoreError> {
        if let Some(at) = row.frozen_at {
            self.clocks.freeze(row.id, at);
        }
        if let Some(known) = write(&self.workspaces).get_mut(&row.id)
            && is_same(&known.row, &row)
        {
            *known = Cached { workspace: Arc::clone(&known.workspace), row, checked_at: now };
            return Ok(Arc::clone(&known.workspace));
        }
        let apps = self.apps_of(row.id).await?;
        let mail = self.mail_of(row.id).await?;
        let alimtalk = self.alimtalk_of(row.id).await?;
        let mut all = write(&self.workspaces);
        let known = all.get(&row.id);
        // Read before this one, and slower.
        if let Some(newer) = known.filter(|known| known.row.version > row.version) {
            return Ok(Arc::clone(&newer.workspace));
        }
        let activity = known.map(|known| Arc::clone(&known.workspace.activity)).unwrap_or_default();
        let workspace = Arc::new(self.open(&row, (apps, mail, alimtalk), activity)?);
        all.insert(row.id, Cached { workspace: Arc::clone(&workspace), row, checked_at: now });
        Ok(workspace)
    }

    /// The apps as they are stored now; the ones in use, if they are.
    async fn apps_of(&self, id: WorkspaceId) -> Result<Arc<Apps>, StoreError> {
        let rows = self.store.apps(id).await?;
        let known = self.cached(id).map(|workspace| Arc::clone(&workspace.apps));
        if let Some(known) = known.filter(|known| known.rows() == rows) {
            return Ok(known);
        }
        if rows.is_empty() {
            return Ok(Arc::default());
        }
        let (vault, accounts) = (Arc::clone(&self.vault), Arc::clone(&self.accounts));
        // Each new account reads the machine's certificates.
        let opened = tokio::task::spawn_blocking(move || Apps::open(rows, &vault, &accounts)).await;
        opened.unwrap_or_else(|_| Err(StoreError::Unavailable("opening the apps did not end".into()))).map(Arc::new)
    }

    /// Domain and templates as they are stored now; the ones in use, if they are.
    async fn mail_of(&self, id: WorkspaceId) -> Result<Arc<Company>, StoreError> {
        let rows = self.store.mail(id).await?;
        let known = self.cached(id).map(|workspace| Arc::clone(&workspace.mail));
        if let Some(known) = known.filter(|known| *known.rows() == rows) {
            return Ok(known);
        }
        if rows == MailRows::default() {
            return Ok(Arc::default());
        }
        let vault = Arc::clone(&self.vault);
        // Templates are made into HTML.
        let opened = tokio::task::spawn_blocking(move || Company::open(rows, &vault)).await;
        opened.unwrap_or_else(|_| Err(StoreError::Unavailable("opening the mail did not end".into()))).map(Arc::new)
    }

    fn open(
        &self,
        row: &WorkspaceRow,
        (apps, mail, alimtalk): (Arc<Apps>, Arc<Company>, Arc<Templates>),
        activity: Arc<Activity>,
    ) -> Result<Workspace, StoreError> {
        let corrupt = |what: &str| StoreError::Corrupt(format!("{what} of workspace {}", row.name));
        let input: SettingsInput = serde_json::from_str(&row.settings).map_err(|_| corrupt("settings"))?;
        let settings: Settings = input.in_force(&self.deployment.policy, self.deployment.sandbox);
        let canary = is_cage(&row.name);
        let monthly_grant_micros = self.deployment.plans.monthly_grant_micros(&row.name);
        let policy = settings.policy(&self.deployment.policy);
        let wallet = policy.wallet.clone().map(|terms| Terms { monthly_grant_micros, ..terms });
        let policy = Policy { wallet, ..policy };
        let secrets = row.identity_secrets.iter().map(|sealed| self.open_secret(&row.name, sealed));
        Ok(Workspace {
            id: row.id,
            name: row.name.clone(),
            policy: if canary { canary::policy(policy) } else { policy },
            settings,
            settings_set: row.settings_set.clone(),
            created_at: row.created_at,
            identity_secrets: secrets.collect::<Result<_, _>>().map_err(|_| corrupt("an identity secret"))?,
            trusted_keys: row.trusted_keys.clone(),
            apps,
            mail,
            alimtalk,
            canary,
            activity,
        })
    }

    /// Sealed before the workspace has a number: its name is its place.
    fn seal_secret(&self, name: &str, secret_hex: &str) -> Vec<u8> {
        let secret = hex::decode(secret_hex).unwrap_or_else(|_| secret_hex.as_bytes().to_vec());
        self.vault.seal(WorkspaceId(0), "workspaces", name, "identity_secrets", &secret)
    }

    fn open_secret(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        self.vault.open(WorkspaceId(0), "workspaces", name, "identity_secrets", sealed)
    }

    fn forget(&self, id: WorkspaceId) {
        write(&self.workspaces).remove(&id);
        write(&self.keys).retain(|_, key| key.workspace != id);
    }
}

fn too_busy() -> StoreError {
    StoreError::Unavailable("others keep changing this workspace".into())
}

/// Whether nothing changed that a workspace in use shows; its clock is kept elsewhere, and changes no version.
fn is_same(known: &WorkspaceRow, row: &WorkspaceRow) -> bool {
    known.version == row.version
}

/// A clock that went back makes everything stale.
fn is_fresh(checked_at: Ms, now: Ms) -> bool {
    (0..FRESH_MS).contains(&(now - checked_at))
}

fn insert(keys: &RwLock<HashMap<[u8; 32], CachedKey>>, hash: [u8; 32], key: CachedKey) {
    let mut keys = write(keys);
    if keys.len() >= MAX_CACHED {
        keys.clear();
    }
    keys.insert(hash, key);
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
