//! What a workspace keeps for its email: its domain with the keys that sign for it, and its templates.

use super::WorkspaceId;
use backstop_domain::Ms;
use backstop_domain::mail_domain::MailDomain;

/// A workspace's own mail domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailDomainRow {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Everything the rules know of it; stored as JSON.
    pub state: MailDomain,
    /// Sealed JSON: selector to PKCS#8.
    pub secrets: Vec<u8>,
    /// When DNS is to be asked next.
    pub next_check_at: Ms,
    /// When it was first put, by the real clock.
    pub created_at: Ms,
}

/// A workspace's own template of an email.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailTemplateRow {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// BCP 47, in its canonical spelling.
    pub locale: String,
    /// Of the mail; a template itself.
    pub subject: String,
    /// Of the mail; a template itself.
    pub mjml: String,
    /// Of its plain text; `None` = the built-in one.
    pub text: Option<String>,
    /// When it was first put, by the real clock.
    pub created_at: Ms,
    /// When it last changed.
    pub updated_at: Ms,
}

/// All of a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailRows {
    /// Its own domain, if it has one.
    pub domain: Option<MailDomainRow>,
    /// In the order of their locales.
    pub templates: Vec<EmailTemplateRow>,
}

/// What changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailChange {
    /// The domain is this from now on.
    PutDomain(MailDomainRow),
    /// The domain goes, with its keys.
    DeleteDomain,
    /// The template of its locale is this from now on.
    PutTemplate(EmailTemplateRow),
    /// The template of this locale goes.
    DeleteTemplate(String),
}
