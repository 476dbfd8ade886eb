//! The audit log: who changed what, and when. Only added to, in one commit with the change it tells of.
//!
//! An entry holds no secret and no personal data: a key is named by its fingerprint, an erased customer not at all.

use backstop_domain::Ms;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The longest `Backstop-Actor`, in characters.
pub const MAX_ACTOR_CHARS: usize = 128;

/// What was done. The words of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The settings were replaced: `detail` has their version and what changed.
    SettingsChanged,
    /// An app's identifiers or credentials were put.
    AppChanged,
    /// An app was deleted with its credentials.
    AppDeleted,
    /// The mail domain was put, got a new key, or was deleted: `detail` has which.
    MailDomainChanged,
    /// Mail leaves from the company's own domain from now on, or no longer: `detail` has which, and why.
    MailDomainChecked,
    /// An email template was put or deleted: `detail` has its locale.
    EmailTemplateChanged,
    /// An Alimtalk template was put.
    AlimtalkTemplateChanged,
    /// An Alimtalk template was deleted.
    AlimtalkTemplateDeleted,
    /// A key was made.
    KeyCreated,
    /// A key was taken out of use.
    KeyRevoked,
    /// The identity secret was replaced; the one before stays valid until the next time.
    IdentitySecretRotated,
    /// A public key may sign customers' tokens from now on.
    TrustedKeyAdded,
    /// A number may be texted again, or an address written to.
    SuppressionLifted,
    /// A list of numbers and addresses is not written to any more.
    SuppressionsImported,
    /// A customer was erased. Which one is not kept.
    CustomerErased,
    /// A test was sent.
    TestSend,
    /// Paid money was added to the wallet: `detail` has the amount and its entry.
    WalletToppedUp,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 17] = [
        Kind::SettingsChanged,
        Kind::AppChanged,
        Kind::AppDeleted,
        Kind::MailDomainChanged,
        Kind::MailDomainChecked,
        Kind::EmailTemplateChanged,
        Kind::AlimtalkTemplateChanged,
        Kind::AlimtalkTemplateDeleted,
        Kind::KeyCreated,
        Kind::KeyRevoked,
        Kind::IdentitySecretRotated,
        Kind::TrustedKeyAdded,
        Kind::SuppressionLifted,
        Kind::SuppressionsImported,
        Kind::CustomerErased,
        Kind::TestSend,
        Kind::WalletToppedUp,
    ];

    /// The word of the API and of the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::SettingsChanged => "settings_changed",
            Kind::AppChanged => "app_changed",
            Kind::AppDeleted => "app_deleted",
            Kind::MailDomainChanged => "mail_domain_changed",
            Kind::MailDomainChecked => "mail_domain_checked",
            Kind::EmailTemplateChanged => "email_template_changed",
            Kind::AlimtalkTemplateChanged => "alimtalk_template_changed",
            Kind::AlimtalkTemplateDeleted => "alimtalk_template_deleted",
            Kind::KeyCreated => "key_created",
            Kind::KeyRevoked => "key_revoked",
            Kind::IdentitySecretRotated => "identity_secret_rotated",
            Kind::TrustedKeyAdded => "trusted_key_added",
            Kind::SuppressionLifted => "suppression_lifted",
            Kind::SuppressionsImported => "suppressions_imported",
            Kind::CustomerErased => "customer_erased",
            Kind::TestSend => "test_send",
            Kind::WalletToppedUp => "wallet_topped_up",
        }
    }

    /// The kind of this word.
    pub fn parse(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// By what means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// A call with a key of the workspace.
    Api,
    /// A command on the server's machine.
    Cli,
    /// The server itself.
    Server,
}

/// Who did it, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Who {
    /// By what means.
    pub via: Via,
    /// Fingerprint of the key that was shown, `key_…`; `key create` prints it beside the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// `Backstop-Actor` as it was given: the caller's word, not checked by anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

impl Who {
    /// A command.
    pub fn cli() -> Who {
        Who { via: Via::Cli, key_id: None, actor: None }
    }

    /// The server itself.
    pub fn server() -> Who {
        Who { via: Via::Server, key_id: None, actor: None }
    }

    /// Whoever holds this key, and who they say they are.
    pub fn key(hash: &[u8; 32], actor: Option<String>) -> Who {
        Who { via: Via::Api, key_id: Some(key_id(hash)), actor }
    }
}

/// A key's fingerprint: tells keys apart, and nobody can make a key from it.
pub fn key_id(hash: &[u8; 32]) -> String {
    format!("key_{}", hex::encode(&hash[..8]))
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When, by the real clock.
    pub at: Ms,
    /// What.
    pub kind: Kind,
    /// Who.
    pub who: Who,
    /// More of it, a JSON object. Neither secrets nor personal data.
    pub detail: Value,
}

/// One line of the log as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Grows with each line.
    pub id: i64,
    /// The line.
    pub entry: Entry,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_word_of_its_own() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert_eq!(Kind::parse("settings"), None);
    }
}
