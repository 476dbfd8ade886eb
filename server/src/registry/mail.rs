//! A workspace's mail domain and email templates, changed as everything of a workspace: read, planned, replaced if
//! nobody else was quicker.

use super::{MAX_TRIES, Registry, too_busy};
use crate::audit::{Entry, Kind, Who};
use crate::mail::dkim::{NewKey, new_key};
use crate::mail::domain::{Secrets, begin, fresh};
use crate::mail::template::MAX_TEMPLATES;
use crate::store::{EmailTemplateRow, MailChange, MailDomainRow, MailRows, StoreError, WorkspaceId, WorkspaceRow};
use crate::telemetry::ALARMS;
use crate::templates::Source;
use crate::workspace::Workspace;
use backstop_domain::Ms;
use backstop_domain::mail_domain::{MailDomain, State};
use serde_json::{Value, json};
use std::sync::Arc;

/// What came of a change.
pub enum MailChanged {
    /// The workspace as it is now.
    Done(Arc<Workspace>),
    /// There is no such domain, template or workspace.
    Gone,
    /// There are as many templates as there may be.
    TooMany,
}

/// What a change comes to, once what is there was read.
enum Plan {
    /// Nothing is to be changed.
    Same,
    Gone,
    TooMany,
    Change(Box<MailChange>, Option<(Kind, Value)>),
}

impl Registry {
    /// By the real clock.
    pub fn now_ms(&self) -> Ms {
        self.clocks.real_ms()
    }

    /// Makes this the workspace's mail domain. One that is already keeps its keys.
    pub async fn put_mail_domain(
        &self,
        id: WorkspaceId,
        domain: &str,
        local_part: &str,
        who: &Who,
    ) -> Result<MailChanged, StoreError> {
        let known = self.store.mail(id).await?.domain.is_some_and(|row| row.state.domain == domain);
        let key = if known { None } else { Some(made().await?) };
        self.change_mail_by(id, who, |rows, now| {
            let detail = json!({ "change": "put", "domain": domain, "from": local_part });
            let known = rows.domain.as_ref().filter(|row| row.state.domain == domain);
            let row = match known {
                Some(row) if row.state.local_part == local_part => return Ok(Plan::Same),
                Some(row) => {
                    let state = MailDomain { local_part: local_part.to_owned(), ..row.state.clone() };
                    MailDomainRow { state, ..row.clone() }
                }
                None => {
                    // Another took its place since it was looked at.
                    let key = key.as_ref().ok_or_else(too_busy)?;
                    let state = begin(domain.to_owned(), local_part.to_owned(), key, now);
                    let mut secrets = Secrets::default();
                    secrets.add(key, &state);
                    let secrets = secrets.seal(id, &self.vault);
                    MailDomainRow { workspace: id, state, secrets, next_check_at: now, created_at: now }
                }
            };
            Ok(put_domain(row, now, Some((Kind::MailDomainChanged, detail))))
        })
        .await
    }

    /// Makes a new key for the mail domain; the one in use signs until the new one was seen.
    pub async fn rotate_mail_key(&self, id: WorkspaceId, who: &Who) -> Result<MailChanged, StoreError> {
        let key = made().await?;
        self.change_mail_by(id, who, |rows, now| {
            let Some(mut row) = rows.domain else { return Ok(Plan::Gone) };
            let mut secrets = Secrets::open(&row, &self.vault)?;
            row.state.rotate(fresh(&key, now), now);
            secrets.add(&key, &row.state);
            row.secrets = secrets.seal(id, &self.vault);
            let detail = json!({ "change": "rotated", "domain": row.state.domain, "selector": key.selector });
            Ok(put_domain(row, now, Some((Kind::MailDomainChanged, detail))))
        })
        .await
    }

    /// Forgets the mail domain with its keys.
    pub async fn delete_mail_domain(&self, id: WorkspaceId, who: &Who) -> Result<MailChanged, StoreError> {
        self.change_mail_by(id, who, |rows, _| {
            let Some(row) = rows.domain else { return Ok(Plan::Gone) };
            let detail = json!({ "change": "deleted", "domain": row.state.domain });
            Ok(Plan::Change(Box::new(MailChange::DeleteDomain), Some((Kind::MailDomainChanged, detail))))
        })
        .await
    }

    /// Asks DNS for the mail domain and takes in what it says. Rings when mail no longer comes from it.
    pub async fn check_mail_domain(&self, id: WorkspaceId) -> Result<MailChanged, StoreError> {
        let mail = &self.deployment.mail;
        let Some(asked) = self.store.mail(id).await?.domain else { return Ok(MailChanged::Gone) };
        let looks = mail.dns.look(&asked.state, mail.spf.as_deref()).await;
        self.change_mail_by(id, &Who::server(), |rows, now| {
            // Another domain by now: what was heard says nothing of it.
            let Some(mut row) = rows.domain.filter(|row| row.state.domain == asked.state.domain) else {
                return Ok(Plan::Same);
            };
            // As the last look left it: a record that was good for too long is found out here.
            let before = row.state.state(row.state.checked_at.unwrap_or(now));
            row.state.looked(looks.clone(), now);
            let after = row.state.state(now);
            let told = (before != after && (before == State::Verified || after == State::Verified)).then(|| {
                let verified = after == State::Verified;
                (Kind::MailDomainChecked, json!({ "domain": row.state.domain, "verified": verified }))
            });
            if before == State::Verified && after != before {
                metrics::counter!(ALARMS, "alarm" => "mail_domain").increment(1);
                let workspace = id.0;
                tracing::error!(
                    workspace,
                    "the domain's key is not seen in DNS: mail leaves from the deployment's domain"
                );
            }
            Ok(put_domain(row, now, told))
        })
        .await
    }

    /// Keeps a template, which was checked, for customers of this locale.
    pub async fn put_email_template(
        &self,
        id: WorkspaceId,
        locale: &str,
        source: &Source,
        who: &Who,
    ) -> Result<MailChanged, StoreError> {
        self.change_mail_by(id, who, |rows, now| {
            let known = rows.templates.iter().find(|row| row.locale == locale);
            let row = EmailTemplateRow {
                workspace: id,
                locale: locale.to_owned(),
                subject: source.subject.clone(),
                mjml: source.mjml.clone(),
                text: source.text.clone(),
                created_at: known.map_or(now, |row| row.created_at),
                updated_at: now,
            };
            match known {
                Some(known) if EmailTemplateRow { updated_at: now, ..known.clone() } == row => return Ok(Plan::Same),
                None if rows.templates.len() >= MAX_TEMPLATES => return Ok(Plan::TooMany),
                _ => {}
            }
            let told = (Kind::EmailTemplateChanged, json!({ "change": "put", "locale": locale }));
            Ok(Plan::Change(Box::new(MailChange::PutTemplate(row)), Some(told)))
        })
        .await
    }

    /// Deletes the template of this locale.
    pub async fn delete_email_template(
        &self,
        id: WorkspaceId,
        locale: &str,
        who: &Who,
    ) -> Result<MailChanged, StoreError> {
        self.change_mail_by(id, who, |rows, _| {
            if rows.templates.iter().all(|row| row.locale != locale) {
                return Ok(Plan::Gone);
            }
            let told = (Kind::EmailTemplateChanged, json!({ "change": "deleted", "locale": locale }));
            Ok(Plan::Change(Box::new(MailChange::DeleteTemplate(locale.to_owned())), Some(told)))
        })
        .await
    }

    async fn change_mail_by(
        &self,
        id: WorkspaceId,
        who: &Who,
        mut plan: impl FnMut(MailRows, Ms) -> Result<Plan, StoreError>,
    ) -> Result<MailChanged, StoreError> {
        for _ in 0..MAX_TRIES {
            let Some(row) = self.store.workspace(id).await? else { return Ok(MailChanged::Gone) };
            let rows = self.store.mail(id).await?;
            let at = self.now_ms();
            let (change, told) = match plan(rows, at)? {
                Plan::Same => return self.remember(row, at).await.map(MailChanged::Done),
                Plan::Gone => return Ok(MailChanged::Gone),
                Plan::TooMany => return Ok(MailChanged::TooMany),
                Plan::Change(change, told) => (*change, told),
            };
            let entry = told.map(|(kind, detail)| Entry { at, kind, who: who.clone(), detail });
            if self.store.change_mail(id, row.version, change, entry).await? {
                let row = WorkspaceRow { version: row.version + 1, ..row };
                return self.remember(row, at).await.map(MailChanged::Done);
            }
        }
        Err(too_busy())
    }
}

fn put_domain(row: MailDomainRow, now: Ms, told: Option<(Kind, Value)>) -> Plan {
    let next_check_at = row.state.next_check_at(now);
    Plan::Change(Box::new(MailChange::PutDomain(MailDomainRow { next_check_at, ..row })), told)
}

/// Not on a thread that answers others: it takes a while.
async fn made() -> Result<NewKey, StoreError> {
    let made = tokio::task::spawn_blocking(new_key).await;
    made.ok().and_then(Result::ok).ok_or_else(|| StoreError::Unavailable("no mail key can be made".into()))
}
