//! What an SMSC's command_status means: the one table of its codes.

use backstop_domain::followup::Outcome;

pub(super) const OK: u32 = 0x00;
pub(super) const ALREADY_BOUND: u32 = 0x05;
/// What we answer when the store cannot take a message in: the SMSC delivers it again.
pub(super) const TRY_AGAIN: u32 = 0x64;
/// What we answer to what does not read: it would not read the next time, either.
pub(super) const UNREADABLE: u32 = 0x65;
/// After "too fast", where the SMSC does not say for how long.
const THROTTLE_WAIT_MS: i64 = 1_000;

/// What a code is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of this number or text: refused again whenever it is tried.
    Refused(&'static str),
    /// Too much at a time, of the whole account.
    TooMany,
    /// Not now.
    Later(&'static str),
    /// The sender or the account is set up wrongly: it goes once that is mended.
    Account,
}

fn kind(status: u32) -> Kind {
    match status {
        0x58 | 0x14 => Kind::TooMany,
        // Not bound any more: the session is about to end.
        0x04 => Kind::Later("not_bound"),
        0x08 | 0x64 | 0xfe | 0xff => Kind::Later("smsc_error"),
        0x0a | 0x0d | 0x0e | 0x0f | 0x15 | 0x48 | 0x49 | 0x53 => Kind::Account,
        0x0b | 0x50 | 0x51 => Kind::Refused("bad_number"),
        0x01 => Kind::Refused("too_long"),
        0x61 | 0x62 => Kind::Refused("bad_time"),
        _ => Kind::Refused("refused"),
    }
}

/// A status in our words, its number behind it.
pub(super) fn word(status: u32) -> String {
    let word = match kind(status) {
        Kind::Refused(word) | Kind::Later(word) => word,
        Kind::TooMany => "too_many",
        Kind::Account => "account",
    };
    format!("{word} 0x{status:x}")
}

pub(super) fn is_too_many(status: u32) -> bool {
    kind(status) == Kind::TooMany
}

/// Whether a log-in that is answered so may be taken the next time.
pub(super) fn is_passing(status: u32) -> bool {
    status == ALREADY_BOUND || matches!(kind(status), Kind::TooMany | Kind::Later(_))
}

/// The refusal of a text of which nothing was taken before.
pub(super) fn outcome(status: u32) -> Outcome {
    let error = word(status);
    match kind(status) {
        Kind::Refused(_) => Outcome::Rejected { error },
        Kind::TooMany => Outcome::RetryAfter { after_ms: Some(THROTTLE_WAIT_MS), error },
        Kind::Later(_) | Kind::Account => Outcome::RetryAfter { after_ms: None, error },
    }
}

/// Which key of the configuration to look at, if this refuses more than one text.
pub(super) fn mend(status: u32) -> Option<&'static str> {
    (kind(status) == Kind::Account).then_some(match status {
        0x0a | 0x48 | 0x49 => {
            "[providers.smpp] from, source_ton, source_npi, and the workspaces' senders: the SMSC takes them not"
        }
        _ => "[providers.smpp] system_id, password, system_type",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes of SMPP 3.4 that a submit_sm is refused with, and what each becomes.
    #[test]
    fn statuses_become_outcomes() {
        let later = |after_ms, error: &str| Outcome::RetryAfter { after_ms, error: error.into() };
        let rejected = |error: &str| Outcome::Rejected { error: error.into() };
        for (status, becomes) in [
            (0x58, later(Some(1_000), "too_many 0x58")),
            (0x14, later(Some(1_000), "too_many 0x14")),
            (0x08, later(None, "smsc_error 0x8")),
            (0x64, later(None, "smsc_error 0x64")),
            (0x04, later(None, "not_bound 0x4")),
            (0x0a, later(None, "account 0xa")),
            (0x0b, rejected("bad_number 0xb")),
            (0x01, rejected("too_long 0x1")),
            (0x45, rejected("refused 0x45")),
            (0x65, rejected("refused 0x65")),
            (0x400, rejected("refused 0x400")),
        ] {
            assert_eq!(outcome(status), becomes, "{status:x}");
        }
        assert!(mend(0x0a).is_some_and(|mend| mend.contains("from")));
        assert_eq!(mend(0x0b), None);
    }
}
