//! A workspace's mail domain: what the API takes and shows of it, how it is kept, and who looks after it.
//!
//! Secrets go one way: they are made here, sealed, opened when the workspace is loaded, and shown to nobody.

use super::dkim::NewKey;
use crate::registry::Registry;
use crate::store::{MailDomainRow, Store, StoreError, WorkspaceId};
use crate::vault::Vault;
use backstop_domain::Ms;
use backstop_domain::mail_domain::{
    Key, MailDomain, Record, Seen, Standing, State, dkim_value, is_domain, is_local_part, strings,
};
use backstop_wire::FieldError;
use backstop_wire::time::to_rfc3339;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;
use zeroize::Zeroizing;

/// How often it is looked whose turn it is.
const EVERY: Duration = Duration::from_secs(60);
/// Domains looked at in a row; what is left has its turn a minute later.
const AT_ONCE: usize = 50;
/// What a company that has no DMARC record may begin with.
const DMARC_TO_BEGIN_WITH: &str = "v=DMARC1; p=none";

/// A domain of yours that mail comes from.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MailDomainInput {
    /// The domain; other alphabets are taken and shown as `xn--…`.
    #[schema(example = "shop.example", max_length = 220)]
    pub domain: String,
    /// What stands before the `@` of the sender.
    #[schema(example = "support", max_length = 64)]
    pub from: String,
}

/// The domain as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct MailDomainView {
    /// The domain.
    #[schema(example = "shop.example")]
    pub domain: String,
    /// The sender, while a key of the domain signs.
    #[schema(example = "support@shop.example")]
    pub from: String,
    /// Whether mail comes from it now.
    pub state: MailDomainState,
    /// What has to stand in DNS, and whether it does.
    pub records: Vec<DnsRecordView>,
    /// Its keys, newest first.
    pub keys: Vec<MailKeyView>,
    /// When DNS was last asked.
    #[schema(format = DateTime)]
    pub checked_at: Option<String>,
    /// When it is asked next by itself: daily, hourly while the newest key is not seen.
    #[schema(format = DateTime)]
    pub next_check_at: String,
}

/// Whether mail comes from the company's own domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailDomainState {
    /// Mail comes from it, signed.
    Verified,
    /// A key's record was never seen: mail leaves from the deployment's domain.
    Pending,
    /// The record was seen before and is not as it has to be, or DNS was silent for three days: mail leaves from the
    /// deployment's domain.
    Failing,
}

impl From<State> for MailDomainState {
    fn from(state: State) -> MailDomainState {
        match state {
            State::Verified => MailDomainState::Verified,
            State::Pending => MailDomainState::Pending,
            State::Failing => MailDomainState::Failing,
        }
    }
}

/// A record to publish.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct DnsRecordView {
    /// What it is for.
    pub purpose: DnsPurpose,
    /// Whether mail waits for it to come from the domain.
    pub required: bool,
    /// Always `TXT`.
    #[serde(rename = "type")]
    #[schema(example = "TXT")]
    pub kind: &'static str,
    /// Its whole name.
    #[schema(example = "bs-0f1e2d3c4b._domainkey.shop.example")]
    pub name: String,
    /// Its value, for DNS consoles that part long ones themselves. For `spf`: what has to stand in the record that is
    /// there, or a whole one where there is none.
    pub value: String,
    /// The same as character strings of at most 255 bytes, for zone files.
    pub strings: Vec<String>,
    /// How it was found.
    pub status: DnsStatus,
    /// What that means, and what to do.
    pub message: String,
}

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DnsPurpose {
    /// The key that mail is signed with.
    Dkim,
    /// Which servers may send for the domain.
    Spf,
    /// What receivers do with mail that is not the domain's.
    Dmarc,
}

/// How a record was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DnsStatus {
    /// Nobody looked yet.
    Unchecked,
    /// As it has to be.
    Ok,
    /// There is none, or it is another one.
    Wrong,
    /// DNS was silent for too long.
    Unknown,
}

/// A key as shown.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct MailKeyView {
    /// Its name below `_domainkey`.
    #[schema(example = "bs-0f1e2d3c4b")]
    pub selector: String,
    /// What it is good for.
    pub state: MailKeyState,
    /// When it was made.
    #[schema(format = DateTime)]
    pub made_at: String,
    /// For a replaced one: leave its record in DNS until then, since mail that it signed is on its way.
    #[schema(format = DateTime)]
    pub leave_until: Option<String>,
}

/// What a key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailKeyState {
    /// Its record is not seen as it has to be.
    Waiting,
    /// Mail is signed with it.
    Signing,
    /// A newer one signs.
    Replaced,
}

/// PKCS#8 by selector, base64 as JSON holds it.
#[derive(Default, Serialize, Deserialize)]
pub struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// Of a row.
    pub fn open(row: &MailDomainRow, vault: &Vault) -> Result<Secrets, StoreError> {
        let corrupt = || StoreError::Corrupt(format!("the mail keys of workspace {}", row.workspace.0));
        let plain = vault.open(row.workspace, "mail_domains", "", "secrets", &row.secrets).map_err(|_| corrupt())?;
        serde_json::from_slice(&Zeroizing::new(plain)).map_err(|_| corrupt())
    }

    /// The key of this selector.
    pub fn get(&self, selector: &str) -> Option<Zeroizing<Vec<u8>>> {
        STANDARD.decode(self.0.get(selector)?).ok().map(Zeroizing::new)
    }

    /// Takes a new key in; keys of `domain` that went are forgotten.
    pub fn add(&mut self, key: &NewKey, domain: &MailDomain) {
        self.0.insert(key.selector.clone(), STANDARD.encode(&key.secret));
        self.0.retain(|selector, _| domain.keys.iter().any(|key| key.selector == *selector));
    }

    /// For the store.
    pub fn seal(&self, workspace: WorkspaceId, vault: &Vault) -> Vec<u8> {
        let plain = Zeroizing::new(serde_json::to_vec(&self.0).expect("a map of strings"));
        vault.seal(workspace, "mail_domains", "", "secrets", &plain)
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        for secret in self.0.values_mut() {
            zeroize::Zeroize::zeroize(secret);
        }
    }
}

impl MailDomainInput {
    /// The domain as DNS spells it; or all that is wrong.
    pub fn checked(&self) -> Result<(String, String), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut error = |field: &str, message: &str| {
            errors.push(FieldError { field: field.into(), code: "invalid".into(), message: message.into() });
        };
        let domain = url::Host::parse(self.domain.trim_end_matches('.')).ok().map(|host| host.to_string());
        let domain = domain.filter(|domain| is_domain(domain));
        if domain.is_none() {
            error("domain", "give a domain of yours, such as shop.example, without http:// and without @");
        }
        if !is_local_part(&self.from) {
            error("from", "give what stands before the @, such as support: letters, digits, dots, - and _");
        }
        match domain {
            Some(domain) if errors.is_empty() => Ok((domain, self.from.clone())),
            _ => Err(errors),
        }
    }
}

/// A domain that has this key alone.
pub fn begin(domain: String, local_part: String, key: &NewKey, now: Ms) -> MailDomain {
    let keys = vec![fresh(key, now)];
    let (spf, dmarc) = (Record::default(), Record::default());
    MailDomain { domain, local_part, keys, spf, dmarc, checked_at: None }
}

/// A key that nobody has seen yet.
pub fn fresh(key: &NewKey, now: Ms) -> Key {
    let (selector, public) = (key.selector.clone(), key.public.clone());
    Key { selector, public, made_at: now, record: Record::default() }
}

impl MailDomainView {
    /// Of this domain; `mechanisms` = what the deployment's mail server needs in the SPF record.
    pub fn new(row: &MailDomainRow, mechanisms: Option<&str>, now: Ms) -> MailDomainView {
        let of = &row.state;
        let mut records: Vec<DnsRecordView> = of.keys.iter().map(|key| key_record(of, key, now)).collect();
        records.extend(mechanisms.map(|mechanisms| spf_record(of, mechanisms, now)));
        records.push(dmarc_record(of, now));
        MailDomainView {
            domain: of.domain.clone(),
            from: of.address(),
            state: of.state(now).into(),
            records,
            keys: (0..of.keys.len()).map(|at| key_view(of, at, now)).collect(),
            checked_at: of.checked_at.map(to_rfc3339),
            next_check_at: to_rfc3339(row.next_check_at),
        }
    }
}

fn key_view(of: &MailDomain, at: usize, now: Ms) -> MailKeyView {
    let (state, leave_until) = match of.standing(at, now) {
        Standing::Waiting => (MailKeyState::Waiting, None),
        Standing::Signing => (MailKeyState::Signing, None),
        Standing::Replaced { leave_until } => (MailKeyState::Replaced, Some(to_rfc3339(leave_until))),
    };
    let key = &of.keys[at];
    MailKeyView { selector: key.selector.clone(), state, made_at: to_rfc3339(key.made_at), leave_until }
}

fn key_record(of: &MailDomain, key: &Key, now: Ms) -> DnsRecordView {
    let name = format!("{}._domainkey.{}", key.selector, of.domain);
    let good = "verified: what is signed with this key is known to be yours";
    record(DnsPurpose::Dkim, name, dkim_value(&key.public), &key.record, good, now)
}

fn spf_record(of: &MailDomain, mechanisms: &str, now: Ms) -> DnsRecordView {
    let value = format!("v=spf1 {mechanisms} ~all");
    let good = "the mail server may send for the domain";
    record(DnsPurpose::Spf, of.domain.clone(), value, &of.spf, good, now)
}

fn dmarc_record(of: &MailDomain, now: Ms) -> DnsRecordView {
    let name = format!("_dmarc.{}", of.domain);
    let good = "there is one, and mail that is signed with the domain's key passes it";
    record(DnsPurpose::Dmarc, name, DMARC_TO_BEGIN_WITH.into(), &of.dmarc, good, now)
}

fn record(purpose: DnsPurpose, name: String, value: String, of: &Record, good: &str, now: Ms) -> DnsRecordView {
    let (status, message) = match &of.seen {
        Seen::Never => (DnsStatus::Unchecked, "nobody looked yet: POST /v1/email-domain/check".to_owned()),
        Seen::Good { .. } if of.is_good(now) => (DnsStatus::Ok, good.to_owned()),
        Seen::Good { .. } => (DnsStatus::Unknown, "not verified: DNS has been silent for three days".to_owned()),
        Seen::Bad { wrong, .. } => (DnsStatus::Wrong, format!("not verified: {wrong}")),
    };
    let message = match &of.unanswered {
        Some(why) => format!("{message}; at the last look {why}"),
        None => message,
    };
    let parts = strings(&value).into_iter().map(str::to_owned).collect();
    let required = purpose == DnsPurpose::Dkim;
    DnsRecordView { purpose, required, kind: "TXT", name, value, strings: parts, status, message }
}

/// Looks after the domains of all workspaces: daily, or hourly while one waits for its record.
pub struct Watch {
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
}

impl Watch {
    /// Nobody is asked before the first minute.
    pub fn new(registry: Arc<Registry>, store: Arc<dyn Store>) -> Watch {
        Watch { registry, store }
    }

    /// Looks every minute whose turn it is. Never ends.
    #[expect(clippy::disallowed_methods, reason = "how often DNS is asked: no rule sees it")]
    pub(crate) async fn keep(&self) {
        let mut minutes = tokio::time::interval(EVERY);
        minutes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            minutes.tick().await;
            self.tick().await;
        }
    }

    /// Asks DNS for each domain that is due.
    pub async fn tick(&self) {
        let due = match self.store.mail_domains_due(self.registry.now_ms(), AT_ONCE).await {
            Ok(due) => due,
            Err(error) => return tracing::warn!(%error, "mail domains are looked at later"),
        };
        for id in due {
            if let Err(error) = self.registry.check_mail_domain(id).await {
                tracing::warn!(workspace = id.0, %error, "a mail domain is looked at later");
            }
        }
    }
}
