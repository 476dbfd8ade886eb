//! What a workspace's emails are made with: its domain and its templates, opened.

use super::dkim::Signer;
use super::domain::Secrets;
use crate::store::{EmailTemplateRow, MailRows, StoreError};
use crate::telemetry::ALARMS;
use crate::templates::{self, OwnTemplate, Source};
use crate::vault::Vault;
use backstop_domain::Ms;
use backstop_domain::mail_domain::MailDomain;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The domain and the templates of a workspace, ready for use. Replaced whole when one of them changes.
#[derive(Default)]
pub struct Company {
    /// As stored: tells whether anything changed.
    rows: MailRows,
    /// By selector.
    signers: BTreeMap<String, Arc<Signer>>,
    /// By locale.
    templates: BTreeMap<String, Arc<OwnTemplate>>,
}

/// Whom mail of the company's own domain comes from.
#[derive(Clone, Debug)]
pub struct OwnSender {
    /// The address.
    pub address: String,
    /// Proves the mail to be the domain's.
    pub signer: Arc<Signer>,
}

impl Company {
    /// Opens what is stored. A template that cannot be used any more rings, and the built-in one stands in.
    pub fn open(rows: MailRows, vault: &Vault) -> Result<Company, StoreError> {
        let mut signers = BTreeMap::new();
        if let Some(row) = &rows.domain {
            let secrets = Secrets::open(row, vault)?;
            for key in &row.state.keys {
                let signer = secrets
                    .get(&key.selector)
                    .and_then(|secret| Signer::new(&row.state.domain, &key.selector, &secret).ok());
                let corrupt = || StoreError::Corrupt(format!("a mail key of workspace {}", row.workspace.0));
                signers.insert(key.selector.clone(), Arc::new(signer.ok_or_else(corrupt)?));
            }
        }
        let templates = rows.templates.iter().filter_map(open_template).collect();
        Ok(Company { rows, signers, templates })
    }

    /// As stored.
    pub fn rows(&self) -> &MailRows {
        &self.rows
    }

    /// The company's own domain.
    pub fn domain(&self) -> Option<&MailDomain> {
        self.rows.domain.as_ref().map(|row| &row.state)
    }

    /// Whom mail comes from now; `None` = it leaves from the deployment's domain (E2).
    pub fn sender(&self, now: Ms) -> Option<OwnSender> {
        let domain = self.domain()?;
        let signer = self.signers.get(&domain.signing(now)?.selector)?;
        Some(OwnSender { address: domain.address(), signer: Arc::clone(signer) })
    }

    /// The template for a customer of this language: of the very locale, else of its language; else, where the built-in
    /// one does not speak it either, the English one.
    pub fn template(&self, locale: Option<&str>) -> Option<Arc<OwnTemplate>> {
        let spelled = locale.and_then(super::template::canonical);
        let locale = spelled.as_deref().unwrap_or("en");
        let language = locale.split('-').next().unwrap_or_default();
        let english = (!templates::speaks(locale)).then_some("en");
        let found = [Some(locale), Some(language), english].into_iter().flatten().find_map(|at| self.templates.get(at));
        found.cloned()
    }
}

fn open_template(row: &EmailTemplateRow) -> Option<(String, Arc<OwnTemplate>)> {
    let source = Source { subject: row.subject.clone(), mjml: row.mjml.clone(), text: row.text.clone() };
    match OwnTemplate::new(&source) {
        Ok(template) => Some((row.locale.clone(), Arc::new(template))),
        Err(flaw) => {
            metrics::counter!(ALARMS, "alarm" => "email_template").increment(1);
            let (workspace, locale) = (row.workspace.0, &row.locale);
            tracing::error!(
                workspace,
                locale,
                field = flaw.field,
                "a template does not read: the built-in one is used"
            );
            None
        }
    }
}
