//! What pushes of apps leave by: one account a credential, shared by all who have it, and two when one is replaced.

use super::input::ApnsInput;
use super::stored::{AccountInfo, KeyInfo};
use crate::clock::Clock;
use crate::providers::apns::{Apns, ApnsCredential, ApnsCredentialError, ApnsNet};
use crate::providers::fcm::{self, Fcm, FcmConfig, FcmConfigError};
use crate::providers::{
    CheckError, Checked, Checking, Fault, Guarded, Provider, PushProvider, PushSend, Sending, may_go_by_others,
};
use crate::vault::sha256;
use backstop_domain::Ms;
use backstop_domain::followup::Outcome;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// An account that was refused is left alone for this long while another one works.
const REFUSED_MS: Ms = 60_000;

/// Makes what sends. The vendors' in a live deployment; a test may give its own.
pub trait Vendors: Send + Sync + 'static {
    /// By this key. `Err` says why it cannot be, without secrets.
    fn apns(&self, credential: &ApnsCredential) -> Result<Arc<dyn PushProvider>, String>;
    /// By this key file.
    fn fcm(&self, service_account: &str) -> Result<Arc<dyn PushProvider>, String>;
    /// Whether this host stands for Google: a key file says itself where it logs in, and a workspace's must not make
    /// this server call whom it likes.
    fn is_google(&self, host: &str) -> bool;
}

/// Apple and Google, as the configuration says they are reached.
pub struct Live {
    /// The way to Apple.
    pub apns: ApnsNet,
    /// The way to Google; its own account is not used.
    pub fcm: FcmConfig,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Vendors for Live {
    fn apns(&self, credential: &ApnsCredential) -> Result<Arc<dyn PushProvider>, String> {
        let apns = Apns::new(credential, &self.apns).map_err(|error| error.to_string())?;
        Ok(Arc::new(apns))
    }

    fn fcm(&self, service_account: &str) -> Result<Arc<dyn PushProvider>, String> {
        let account = Some(service_account.to_owned());
        let config = FcmConfig { service_account_file: None, service_account: account, ..self.fcm.clone() };
        let fcm = Fcm::from_config(&config, Arc::clone(&self.clock)).map_err(|error| error.to_string())?;
        Ok(Arc::new(fcm))
    }

    fn is_google(&self, host: &str) -> bool {
        let own = reqwest::Url::parse(&self.fcm.base_url).ok();
        host == "accounts.google.com"
            || host.ends_with(".googleapis.com")
            || own.is_some_and(|url| url.authority() == host)
    }
}

/// The accounts of all apps of a deployment.
pub struct Accounts {
    /// `None` = nothing leaves by an app's own credentials: the sandbox, commands.
    vendors: Option<Arc<dyn Vendors>>,
    clock: Arc<dyn Clock>,
    /// Those in use, by what they are made of: one credential, one set of connections.
    known: Mutex<HashMap<[u8; 32], Weak<Account>>>,
}

/// One credential at work.
pub struct Account {
    provider: Arc<Guarded<dyn PushProvider>>,
    /// Names it in the log; not a secret.
    key_id: String,
    clock: Arc<dyn Clock>,
    /// It was refused; until then another one goes first.
    refused_until: AtomicI64,
}

impl Accounts {
    /// Accounts with these vendors.
    pub fn new(vendors: Arc<dyn Vendors>, clock: Arc<dyn Clock>) -> Accounts {
        Accounts { vendors: Some(vendors), ..Accounts::none(clock) }
    }

    /// None, whatever the apps have: nothing leaves by their own credentials.
    pub fn none(clock: Arc<dyn Clock>) -> Accounts {
        Accounts { vendors: None, clock, known: Mutex::default() }
    }

    pub(super) fn apns(&self, about: &KeyInfo, topics: &[String], key: &str) -> Option<Arc<Account>> {
        let mut parts = vec!["apns", &about.team_id, &about.key_id, key];
        parts.push(if about.environment == backstop_wire::Environment::Sandbox { "sandbox" } else { "production" });
        parts.extend(topics.iter().map(String::as_str));
        let credential = || ApnsCredential {
            team_id: about.team_id.clone(),
            key_id: about.key_id.clone(),
            key: key.as_bytes().to_vec(),
            environment: about.environment,
            topics: topics.to_vec(),
        };
        self.account(&parts, &about.key_id, |vendors| vendors.apns(&credential()))
    }

    pub(super) fn fcm(&self, about: &AccountInfo, json: &str) -> Option<Arc<Account>> {
        self.account(&["fcm", json], &about.private_key_id, |vendors| vendors.fcm(json))
    }

    /// What is wrong with a key file, as a sentence.
    pub(super) fn fcm_problem(&self, json: &str) -> Option<String> {
        let download = "make a new key for the service account and give its file as it is";
        match fcm::log_in_host(json) {
            Ok(host) if self.vendors.as_deref().is_none_or(|vendors| vendors.is_google(&host)) => None,
            Ok(_) => Some(format!("its token_uri is not Google's: {download}")),
            Err(FcmConfigError::AccountKind { .. }) => {
                Some("its type is not service_account: make a key for a service account, not for a user or app".into())
            }
            Err(FcmConfigError::AccountField { field, .. }) => {
                Some(format!("its field {field} is missing or unusable: {download}"))
            }
            Err(FcmConfigError::AccountKey { .. }) => {
                Some(format!("its private_key is not an RSA key in PEM: {download}"))
            }
            Err(_) => Some(format!("this is not the key file of a service account: {download}")),
        }
    }

    fn account(
        &self,
        parts: &[&str],
        key_id: &str,
        make: impl FnOnce(&dyn Vendors) -> Result<Arc<dyn PushProvider>, String>,
    ) -> Option<Arc<Account>> {
        let vendors = self.vendors.as_deref()?;
        let digest = digest(parts);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, account| account.strong_count() > 0);
        if let Some(account) = known.get(&digest).and_then(Weak::upgrade) {
            return Some(account);
        }
        let provider = make(vendors)
            .inspect_err(|error| tracing::error!(key_id, error, "an app's credentials cannot be used: put them again"));
        let account = Arc::new(Account {
            provider: Guarded::push(provider.ok()?, &self.clock),
            key_id: key_id.to_owned(),
            clock: Arc::clone(&self.clock),
            refused_until: AtomicI64::new(i64::MIN),
        });
        known.insert(digest, Arc::downgrade(&account));
        Some(account)
    }
}

/// Each part after its length: no two lists of parts give the same.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    sha256(&bytes)
}

impl Account {
    /// By what its pushes leave.
    pub(super) fn sender(&self) -> Arc<dyn PushProvider> {
        self.provider.clone()
    }

    fn is_refused(&self) -> bool {
        self.clock.now_ms() < self.refused_until.load(Ordering::Relaxed)
    }

    /// Says once in a while that the vendor does not take these credentials.
    fn refuse(&self, error: &str) {
        let provider = self.provider.name();
        metrics::counter!("backstop_credentials_refused_total", "provider" => provider).increment(1);
        if !self.is_refused() {
            tracing::error!(
                provider,
                key_id = self.key_id,
                error,
                "the vendor refuses the newest credentials of an app: pushes leave by those before; see PUT /v1/apps"
            );
        }
        self.refused_until.store(self.clock.now_ms() + REFUSED_MS, Ordering::Relaxed);
    }
}

/// The accounts that a push may leave by: the first, and the next when the vendor refuses its credentials. What was
/// refused did not leave, so nothing is sent twice.
struct Route(Vec<Arc<Account>>);

/// The way of a push that may leave by these, in this order; `None` without any.
pub(super) fn route(mut accounts: Vec<Arc<Account>>) -> Option<Arc<dyn PushProvider>> {
    match accounts.len() {
        0 => None,
        1 => accounts.pop().map(|account| account.sender()),
        _ => Some(Arc::new(Route(accounts))),
    }
}

impl Route {
    async fn deliver(&self, push: &PushSend) -> Outcome {
        // Those that were refused a moment ago go last; the sort keeps the order otherwise.
        let mut accounts: Vec<&Arc<Account>> = self.0.iter().collect();
        accounts.sort_by_key(|account| account.is_refused());
        let mut refused = Outcome::Rejected { error: "no_push_credentials".into() };
        let mut left_alone = Vec::new();
        for (at, account) in accounts.iter().enumerate() {
            refused = match account.provider.offer(push).await {
                Ok(outcome) if may_go_by_others(&outcome) => {
                    if at + 1 < accounts.len() {
                        account.refuse(outcome.error().unwrap_or_default());
                    }
                    outcome
                }
                Err(outcome) if may_go_by_others(&outcome) => {
                    left_alone.push(account);
                    outcome
                }
                Ok(outcome) | Err(outcome) => return outcome,
            };
        }
        // Another push may be finding one of them well again.
        match left_alone.into_iter().find(|account| !account.provider.is_open()) {
            Some(account) => account.provider.send_along(push).await,
            None => refused,
        }
    }
}

impl Route {
    /// Each must be taken: one that is refused while another works is what an operator wants to hear of.
    async fn probe(&self) -> Result<Checked, CheckError> {
        let mut checked = None;
        for account in &self.0 {
            checked = Some(account.provider.check().await?);
        }
        let nothing = || CheckError {
            fault: Fault::Refused,
            message: "there are no credentials".into(),
            mend: "put some with PUT /v1/apps/{app_id}".into(),
        };
        checked.ok_or_else(nothing)
    }
}

impl Provider for Route {
    fn name(&self) -> &'static str {
        self.0.first().map_or("none", |account| account.provider.name())
    }

    fn check(&self) -> Checking<'_> {
        Box::pin(self.probe())
    }
}

impl PushProvider for Route {
    fn send<'a>(&'a self, push: &'a PushSend) -> Sending<'a> {
        Box::pin(self.deliver(push))
    }
}

/// What is wrong with an APNs key, and in which field. A key that is left out may be stored already.
pub(super) fn apns_problem(given: &ApnsInput) -> Option<(&'static str, String)> {
    let credential = ApnsCredential {
        team_id: given.team_id.clone(),
        key_id: given.key_id.clone(),
        key: given.key.clone().unwrap_or_default().into_bytes(),
        environment: given.environment,
        // Compared with the app's bundle ids, which are checked where they stand.
        topics: Vec::new(),
    };
    match credential.validate() {
        Ok(()) => None,
        Err(ApnsCredentialError::Key(_)) if given.key.is_none() => None,
        Err(error) => Some((error.field(), error.to_string())),
    }
}
