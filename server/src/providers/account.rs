//! What an operator knows of an account, and what an answer says about the account rather than about its message.

use backstop_domain::breaker::Word;
use backstop_domain::followup::Outcome;
use std::num::NonZeroU32;

/// An account as an operator knows it. Without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Name in deliveries and metrics.
    pub name: &'static str,
    /// Whose it is, in words.
    pub vendor: &'static str,
    /// Which one: a key id, a project, a server.
    pub account: String,
    /// What may leave by it.
    pub rate: Option<Rate>,
    /// What to look at when the vendor refuses it.
    pub mend: &'static str,
    /// The section of the configuration that the deployment's own one is in.
    pub section: &'static str,
}

/// What may leave by an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// So many a second.
    PerSecond(NonZeroU32),
    /// So many a minute; the provider holds to it itself.
    PerMinute(u32),
}

impl About {
    /// Nothing but a name is known of it.
    pub fn named(name: &'static str) -> About {
        About { name, vendor: name, account: name.to_owned(), rate: None, mend: "check its credentials", section: "" }
    }
}

/// What this outcome says about the account that it came by. A word about one number, token, topic or sender number
/// says nothing against it: nobody's mistake stops what others send.
pub(super) fn word(outcome: &Outcome) -> Word {
    match outcome {
        Outcome::Accepted { .. } | Outcome::TokenGone { .. } | Outcome::WrongEnvironment { .. } => Word::Fine,
        Outcome::Unknown { .. } => Word::Failed,
        Outcome::Postponed { .. } => Word::Nothing,
        Outcome::Rejected { error } if is_own(error) => Word::Nothing,
        Outcome::Rejected { error } if is_of_account(error) => Word::Misconfigured,
        Outcome::Rejected { .. } => Word::Fine,
        Outcome::RetryAfter { error, after_ms } => later(error, after_ms.unwrap_or(0).max(0)),
    }
}

fn later(error: &str, after_ms: i64) -> Word {
    match first_word(error) {
        "rate_budget" => Word::Nothing,
        // Apple's for all of a team, Twilio's for all of an account; Apple's TooManyRequests is for one device.
        "TooManyProviderTokenUpdates" | "too_many" => Word::Wait(after_ms),
        // A gateway's for one text.
        "TooManyRequests" | "later" => Word::Fine,
        // Twilio: of 20000 to 20999 the account itself; others are about the number that a workspace sends from.
        "account" if error.starts_with("account 20") => Word::Misconfigured,
        "account" => Word::Fine,
        // SES: the domain of one company.
        "identity" => Word::Fine,
        _ if is_of_account(error) => Word::Misconfigured,
        code if is_smtp(code) => match code {
            // The server goes down, or its log-in does; any other such word is about one mail.
            "421" | "454" => Word::Failed,
            _ if code.starts_with('5') => Word::Misconfigured,
            _ => Word::Fine,
        },
        _ => Word::Failed,
    }
}

/// Found here, before anybody was asked.
fn is_own(error: &str) -> bool {
    matches!(
        error,
        "payload_too_large"
            | "bad_device_token"
            | "topic_not_configured"
            | "bad_topic"
            | "no_topic"
            | "no_push_credentials"
            | "bad_address"
    )
}

/// Who is refused, where it is not the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// These credentials, whatever they send.
    Credentials,
    /// These credentials for this one app or environment: others may carry it, and they may carry others.
    CredentialsHere,
    /// Whoever comes from here: another credential would be refused alike.
    Everybody,
}

/// The one table of codes that refuse who sends.
fn refused(error: &str) -> Option<Refused> {
    Some(match first_word(error) {
        "InvalidProviderToken"
        | "ExpiredProviderToken"
        | "MissingProviderToken"
        | "Forbidden"
        | "UNAUTHENTICATED"
        | "PERMISSION_DENIED"
        | "oauth_key"
        | "oauth_invalid_grant"
        | "oauth_invalid_client"
        | "oauth_unauthorized_client"
        | "oauth_access_denied"
        | "oauth_refused" => Refused::Credentials,
        // Said for a deleted key, too, while our clock is off.
        "oauth_clock_is_off" => Refused::Credentials,
        "BadEnvironmentKeyIdInToken" | "UnrelatedKeyIdInToken" | "SENDER_ID_MISMATCH" => Refused::CredentialsHere,
        // AWS: the key, its policy, its clock, or the whole account.
        "ExpiredTokenException"
        | "ExpiredToken"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "AccessDeniedException"
        | "AccessDenied"
        | "NotAuthorized"
        | "OptInRequired"
        | "AccountSuspendedException"
        | "AccountSuspended"
        | "SendingPausedException"
        | "SendingPaused"
        | "AccountSendingPausedException"
        | "NotFoundException"
        | "ConfigurationSetDoesNotExistException" => Refused::Everybody,
        // SMPP.
        "bind_refused" => Refused::Everybody,
        // Solapi's: its key, our clock, an account that nobody charged.
        "credentials" | "clock_is_off" | "no_balance" => Refused::Everybody,
        "http_401" | "http_403" | "monthly_limit" | "tls" | "no_common_authentication" | "starttls_not_offered" => {
            Refused::Everybody
        }
        // SMTP: no log-in, or a wrong one.
        code if is_smtp(code) && ("530"..="538").contains(&code) => Refused::Everybody,
        _ => return None,
    })
}

/// Whether the next message by this account would be refused, too.
fn is_of_account(error: &str) -> bool {
    matches!(refused(error), Some(Refused::Credentials | Refused::Everybody))
}

/// Whether other credentials may carry what these did not: the vendor refuses who sends, and nothing left.
pub(crate) fn may_go_by_others(outcome: &Outcome) -> bool {
    let Outcome::Rejected { error } = outcome else { return false };
    matches!(refused(error), Some(Refused::Credentials | Refused::CredentialsHere))
}

fn first_word(error: &str) -> &str {
    error.split([':', ' ']).next().unwrap_or_default()
}

fn is_smtp(word: &str) -> bool {
    word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P5: what other credentials may carry is what these were refused for, and nothing that may have left.
    #[test]
    fn what_is_refused_to_one_key_may_go_by_another() {
        let rejected = |error: &str| may_go_by_others(&Outcome::Rejected { error: error.into() });
        for error in [
            "InvalidProviderToken: our clock is 3600 s behind",
            "oauth_clock_is_off",
            "SENDER_ID_MISMATCH",
            "Forbidden",
        ] {
            assert!(rejected(error), "{error}");
        }
        for error in ["http_403", "tls", "BadTopic", "535 5.7.8", "payload_too_large", ""] {
            assert!(!rejected(error), "{error}");
        }
        assert!(!may_go_by_others(&Outcome::Unknown { error: "Forbidden".into() }));
        assert!(!may_go_by_others(&Outcome::RetryAfter { after_ms: None, error: "Forbidden".into() }));
    }

    /// P5: what is about the account, and what is about one message.
    #[test]
    fn words_about_the_account_are_told_from_words_about_a_message() {
        let rejected = |error: &str| word(&Outcome::Rejected { error: error.into() });
        let later = |error: &str| word(&Outcome::RetryAfter { after_ms: Some(7), error: error.into() });
        for error in ["InvalidProviderToken", "Forbidden", "PERMISSION_DENIED", "oauth_invalid_grant", "530 5.7.0"] {
            assert_eq!(rejected(error), Word::Misconfigured, "{error}");
        }
        assert_eq!(rejected("InvalidProviderToken: our clock is 3600 s behind"), Word::Misconfigured);
        for error in ["BadTopic", "BadEnvironmentKeyIdInToken", "550 5.1.1", "opted_out", "bad_number 21211"] {
            assert_eq!(rejected(error), Word::Fine, "{error}");
        }
        assert_eq!((rejected("monthly_limit"), rejected("refused http_401")), (Word::Misconfigured, Word::Fine));
        assert_eq!(rejected("payload_too_large"), Word::Nothing);
        for (error, says) in [
            ("account 20003", Word::Misconfigured),
            ("account 21606", Word::Fine),
            ("account 1062", Word::Fine),
            ("credentials InvalidAPIKey", Word::Misconfigured),
            ("no_balance 1030", Word::Misconfigured),
            ("http_403", Word::Misconfigured),
            ("535 5.7.8", Word::Misconfigured),
            ("554 5.7.1", Word::Misconfigured),
            ("tls", Word::Misconfigured),
            ("450 4.2.1", Word::Fine),
            ("421 4.3.0", Word::Failed),
            ("too_many 20429", Word::Wait(7)),
            ("TooManyProviderTokenUpdates", Word::Wait(7)),
            ("TooManyRequests", Word::Fine),
            ("later busy", Word::Fine),
            ("rate_budget", Word::Nothing),
            ("unreachable", Word::Failed),
            ("UNAVAILABLE", Word::Failed),
            ("oauth_unreachable", Word::Failed),
        ] {
            assert_eq!(later(error), says, "{error}");
        }
        assert_eq!(word(&Outcome::Unknown { error: "timeout".into() }), Word::Failed);
        assert_eq!(word(&Outcome::Accepted { provider_id: None }), Word::Fine);
    }
}
