//! What LINE's answers mean: a status, and one of few sentences.

use crate::providers::transport::wait_ms;
use backstop_domain::followup::Outcome;
use serde::Deserialize;

/// Where a text is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// To a user's id.
    Push,
    /// To a number.
    Notification,
}

impl Endpoint {
    pub(super) fn path(self) -> &'static str {
        match self {
            Endpoint::Push => "/v2/bot/message/push",
            Endpoint::Notification => "/bot/pnp/push",
        }
    }
}

/// An answer to a send.
pub(super) struct Reply<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) status: u16,
    pub(super) retry_after: Option<&'a str>,
    /// LINE's id of this request: whatever answers without one is not LINE.
    pub(super) request_id: Option<&'a str>,
    /// Of the request that was taken under the same retry key before.
    pub(super) accepted_request_id: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// What of the body is used; its sentences are LINE's own and name nobody.
#[derive(Deserialize)]
struct Body {
    message: String,
}

/// What LINE says when the month's messages are used up.
const MONTHLY_LIMIT: &str = "monthly limit";
/// What LINE says of a recipient that is none.
const NO_RECIPIENT: &str = "'to'";

impl Reply<'_> {
    /// LINE's sentence; `None` = it is not LINE that answers.
    fn message(&self) -> Option<String> {
        serde_json::from_slice::<Body>(self.body).ok().map(|body| body.message)
    }

    fn is_used_up(&self) -> bool {
        self.status == 429 && self.message().is_some_and(|message| message.contains(MONTHLY_LIMIT))
    }

    /// Which key of the configuration to look at, if this refuses the whole account.
    pub(super) fn mend(&self) -> Option<&'static str> {
        match (self.status, self.endpoint) {
            (401, _) => Some("[providers.line] channel_access_token: not this channel's, or it has expired"),
            (403, Endpoint::Push) => Some("[providers.line]: the account's plan does not allow pushes, or base_url"),
            (403, Endpoint::Notification) => {
                Some("[providers.line] notification: LINE has not sold notification messages to this account")
            }
            (429, _) if self.is_used_up() => Some("the month's messages are used up: raise the account's limit"),
            _ => None,
        }
    }

    /// What is about the account is a definite refusal, too: nothing left, and the text goes another way at once (T2).
    pub(super) fn outcome(&self) -> Outcome {
        let rejected = |error: &str| Outcome::Rejected { error: error.into() };
        let unknown = || Outcome::Unknown { error: format!("http_{}", self.status) };
        match self.status {
            200..=299 => match self.request_id {
                Some(id) => accepted(id),
                None => Outcome::Unknown { error: "unreadable_answer".into() },
            },
            // It went elsewhere, and we do not follow.
            300..=399 => self.later(format!("http_{}", self.status)),
            // Taken before, under the same key.
            409 if self.endpoint == Endpoint::Push => self.accepted_request_id.map_or_else(unknown, accepted),
            // Whoever was in between gave up waiting: the request itself may have gone on.
            408 | 409 | 499 => unknown(),
            401 | 403 => rejected(&format!("http_{}", self.status)),
            429 if self.is_used_up() => rejected("monthly_limit"),
            429 => self.later("too_many 429".into()),
            422 if self.endpoint == Endpoint::Notification => rejected("no_line_user 422"),
            400..=499 => match self.message() {
                Some(message) if message.contains(NO_RECIPIENT) => rejected("bad_recipient 400"),
                Some(_) => rejected(&format!("refused {}", self.status)),
                // Not LINE's word, but a proxy's before it.
                None => self.later(format!("http_{}", self.status)),
            },
            _ => unknown(),
        }
    }

    fn later(&self, error: String) -> Outcome {
        // A date needs a clock, and LINE gives seconds if anything.
        let seconds = self.retry_after.filter(|text| text.trim().parse::<u32>().is_ok());
        Outcome::RetryAfter { after_ms: wait_ms(seconds, 0), error }
    }
}

fn accepted(id: &str) -> Outcome {
    let is_id = !id.is_empty() && id.len() <= 100 && id.bytes().all(|byte| byte.is_ascii_graphic());
    Outcome::Accepted { provider_id: is_id.then(|| id.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Endpoint::{Notification, Push};

    const ID: &str = "5e0a2f2c-8b1e-4ea9-bb34-1c8b0a5a11f0";
    const BEFORE: &str = "11111111-8b1e-4ea9-bb34-1c8b0a5a11f0";

    fn reply<'a>(endpoint: Endpoint, status: u16, id: Option<&'a str>, body: &'a str) -> Reply<'a> {
        let (retry_after, before) = (Some("7"), Some(BEFORE).filter(|_| status == 409));
        Reply { endpoint, status, retry_after, request_id: id, accepted_request_id: before, body: body.as_bytes() }
    }

    fn in_words(outcome: Outcome) -> String {
        match outcome {
            Outcome::Accepted { provider_id } => format!("accepted {}", provider_id.unwrap_or_default()),
            Outcome::RetryAfter { after_ms, error } => format!("later {after_ms:?} {error}"),
            other => format!("{} {}", other.label(), other.error().unwrap_or_default()),
        }
    }

    /// T2: recorded answers, and what each becomes.
    #[test]
    fn t2_answers_become_outcomes() {
        let sent = r#"{"sentMessages":[{"id":"461230966842064897","quoteToken":"IStG5h1Tz7b..."}]}"#;
        let taken = r#"{"message":"The retry key is already accepted","sentMessages":[{"id":"461230966842064897"}]}"#;
        let no_user = r#"{"message":"The property, 'to', in the request body is invalid (line: -, column: -)"}"#;
        let details = r#"{"message":"The request body has 1 error(s)","details":[{"message":"May not be empty",
                          "property":"messages[0].text"}]}"#;
        let month = r#"{"message":"You have reached your monthly limit."}"#;
        let fast = r#"{"message":"The API rate limit has been exceeded. Try again later."}"#;
        let page = "<html>blocked by the proxy</html>";
        for (endpoint, status, body, becomes) in [
            (Push, 200, sent, format!("accepted {ID}")),
            (Push, 200, "", format!("accepted {ID}")),
            (Push, 409, taken, format!("accepted {BEFORE}")),
            (Notification, 200, "{}", format!("accepted {ID}")),
            (Notification, 202, "{}", format!("accepted {ID}")),
            (Notification, 409, taken, "unknown http_409".into()),
            (Push, 400, no_user, "rejected bad_recipient 400".into()),
            (Push, 400, details, "rejected refused 400".into()),
            (Push, 400, r#"{"message":"Failed to send messages"}"#, "rejected refused 400".into()),
            (Push, 404, r#"{"message":"Not found"}"#, "rejected refused 404".into()),
            (Push, 422, r#"{"message":"?"}"#, "rejected refused 422".into()),
            (Notification, 422, r#"{"message":"Failed to send messages"}"#, "rejected no_line_user 422".into()),
            (Notification, 422, "", "rejected no_line_user 422".into()),
            (Push, 401, r#"{"message":"Authentication failed. …"}"#, "rejected http_401".into()),
            (Push, 403, r#"{"message":"Your account does not have access to this API"}"#, "rejected http_403".into()),
            (Notification, 403, page, "rejected http_403".into()),
            (Push, 429, month, "rejected monthly_limit".into()),
            (Push, 429, fast, "later Some(7000) too_many 429".into()),
            (Push, 429, "", "later Some(7000) too_many 429".into()),
            (Push, 400, page, "later Some(7000) http_400".into()),
            (Push, 302, "", "later Some(7000) http_302".into()),
            (Push, 408, "", "unknown http_408".into()),
            (Push, 500, r#"{"message":"Internal server error"}"#, "unknown http_500".into()),
            (Push, 503, page, "unknown http_503".into()),
            (Push, 101, "", "unknown http_101".into()),
        ] {
            assert_eq!(in_words(reply(endpoint, status, Some(ID), body).outcome()), becomes, "{status} {body}");
        }
        // A hotel's page is not LINE's yes; what may have been taken is asked for again under its key.
        assert_eq!(in_words(reply(Push, 200, None, page).outcome()), "unknown unreadable_answer");
        let nameless = Reply { accepted_request_id: None, ..reply(Push, 409, Some(ID), taken) };
        assert_eq!(in_words(nameless.outcome()), "unknown http_409");
        let date = Reply { retry_after: Some("Wed, 21 Oct 2015 07:28:00 GMT"), ..reply(Push, 429, Some(ID), fast) };
        assert_eq!(in_words(date.outcome()), "later None too_many 429");
        assert_eq!(in_words(accepted("two words")), "accepted ");
    }

    /// The operator hears what to look at, of the account's faults alone.
    #[test]
    fn an_account_that_is_refused_names_the_mend() {
        let mend = |endpoint, status, body: &str| reply(endpoint, status, None, body).mend();
        assert!(mend(Push, 401, "").unwrap().contains("channel_access_token"));
        assert!(mend(Notification, 403, "").unwrap().contains("notification"));
        assert!(mend(Push, 429, r#"{"message":"You have reached your monthly limit."}"#).unwrap().contains("month"));
        assert_eq!(mend(Push, 429, "slow down"), None);
        assert_eq!(mend(Push, 400, r#"{"message":"'to'"}"#), None);
    }
}
