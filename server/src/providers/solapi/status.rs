//! Solapi's status codes, as a table: its own, not Kakao's, whose numbers say other things (3014, 3016, 3020 are
//! Kakao's; here a template that does not match is 3103, and 3107 a customer who blocked).
//!
//! Source: `api-reference/message-status-codes.md` of Solapi's documentation. Codes marked with † are not in it, but in
//! lists of others who send by Solapi.

use backstop_domain::followup::{BLOCKED, OPTED_OUT};

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Solapi has it, or the carrier does.
    Taken,
    /// It arrived.
    Delivered,
    /// Of this number or text: refused again whenever it is tried.
    Refused(&'static str),
    /// The number opted out of texts (T7).
    OptedOut,
    /// The recipient blocked the channel on KakaoTalk (T7).
    Blocked,
    /// Refused like every text of its kind, until somebody mends what is named here. The text itself is over.
    Ours(&'static str, &'static str),
    /// The account cannot send until somebody mends what is named here.
    Account(&'static str, &'static str),
    /// Not now.
    Later(&'static str),
}

use Meaning::{Account, Blocked, Delivered, Later, OptedOut, Ours, Refused, Taken};

const KEYS: &str = "[providers.solapi] api_key, api_secret: not this account's, or blocked by Solapi";
const SENDER: &str = "[providers.solapi] from, and senders of the settings: register the number in Solapi's console";
const BALANCE: &str = "the account at Solapi has no balance: charge it";
const PROFILE: &str = "sender_profile of the Alimtalk template: no such channel of this account, or Kakao blocked it";
const TEMPLATE: &str = "the Alimtalk template: content, buttons or variables differ from what Kakao approved; pause it \
                        with status \"paused\" until they are the same";

const CODES: &[(u16, Meaning)] = &[
    (2000, Taken),
    (3000, Taken),
    (4000, Delivered),
    // While it is taken in.
    (1010, Refused("incomplete")),
    (1011, Refused("malformed")),
    (1013, Refused("subject")),
    (1014, Refused("subject")),
    (1020, Account("credentials", KEYS)),
    (1021, Refused("unknown_message")),
    (1022, Refused("unknown_group")),
    (1024, Later("busy")),
    (1025, Refused("bad_type")),
    (1026, Refused("duplicate")),
    (1027, Refused("encoding")),
    (1028, Refused("characters")),
    (1029, Refused("characters")),
    (1030, Account("no_balance", BALANCE)),
    (1031, Refused("too_long")),
    (1032, Refused("custom_fields")),
    (1033, Refused("malformed")),
    (1041, Ours("sender_profile", PROFILE)),
    (1042, Ours("template", TEMPLATE)),
    (1043, Ours("template_mismatch", TEMPLATE)),
    (1044, Ours("template_mismatch", TEMPLATE)),
    (1045, Ours("template_mismatch", TEMPLATE)),
    (1046, Ours("template_mismatch", TEMPLATE)),
    (1047, Ours("template_mismatch", TEMPLATE)),
    (1048, Ours("template_mismatch", TEMPLATE)),
    (1049, Ours("template_mismatch", TEMPLATE)),
    (1050, Ours("template_mismatch", TEMPLATE)),
    (1052, Ours("template_mismatch", TEMPLATE)),
    (1058, Refused("no_route")),
    (1060, Refused("number_blocked")),
    (1061, OptedOut),
    (1062, Account("account", SENDER)),
    (1064, Refused("filtered")),
    // Within Solapi.
    (2011, Refused("malformed")),
    (2024, Later("busy")),
    (2060, Refused("number_blocked")),
    (2061, OptedOut),
    (2062, Account("account", SENDER)),
    (2063, Account("credentials", KEYS)),
    (2064, Refused("filtered")),
    (2230, Account("no_balance", BALANCE)),
    (2254, Refused("filtered")),
    // At the carrier.
    (3010, Refused("bad_number")),
    (3011, Refused("malformed")),
    (3012, Refused("carrier_failed")),
    (3013, Ours("bad_sender", SENDER)),
    (3014, Refused("unknown_failure")),
    (3024, Refused("carrier_failed")),
    (3031, Refused("not_sent")),
    (3032, Refused("no_subscriber")),
    (3040, Refused("expired")),
    (3041, Refused("unreachable")),
    (3042, Refused("unreachable")),
    (3043, Refused("unreachable")),
    (3044, Refused("handset_full")),
    (3045, Refused("suspended")),
    (3046, Refused("handset")),
    (3047, Refused("rejected_there")),
    (3048, Refused("unknown_failure")),
    (3050, Refused("handset")),
    (3051, Refused("unreachable")),
    (3052, Refused("deleted_there")),
    (3053, Refused("carrier_full")),
    (3054, Refused("filtered")),
    (3055, Refused("filtered")),
    (3056, Refused("network")),
    (3057, Refused("network")),
    (3058, Refused("no_route")),
    (3059, Ours("bad_sender", SENDER)),
    (3060, Refused("adults_only")),
    // †
    (3061, OptedOut),
    // At Kakao.
    (3101, Ours("sender_profile", PROFILE)),
    (3102, Refused("no_friend")),
    (3103, Ours("template_mismatch", TEMPLATE)),
    (3104, Refused("not_on_kakaotalk")),
    (3105, Ours("template", TEMPLATE)),
    (3106, Ours("sender_profile", PROFILE)),
    // Or 72 hours without KakaoTalk: Kakao does not tell the two apart.
    (3107, Blocked),
    (3108, Refused("hours")),
    // †
    (3109, Ours("template", TEMPLATE)),
    // †
    (3112, Refused("filtered")),
    // †
    (3113, Refused("filtered")),
    // †
    (3117, Ours("template", TEMPLATE)),
];

/// What this code means. One that is not in the table means what its group does: 1…, 2… and 3… are failures.
pub(super) fn meaning(code: u16) -> Option<Meaning> {
    let known = CODES.iter().find(|(known, _)| *known == code).map(|(_, meaning)| *meaning);
    known.or_else(|| (1_000..4_000).contains(&code).then_some(Refused("refused")))
}

/// A code as Solapi writes it: a string of four digits.
pub(super) fn parse(code: &str) -> Option<u16> {
    let is_code = code.len() == 4 && code.bytes().all(|byte| byte.is_ascii_digit());
    is_code.then(|| code.parse().ok()).flatten()
}

impl Meaning {
    /// In our words, the number behind it.
    pub(super) fn word(self, code: u16) -> String {
        match self {
            OptedOut => OPTED_OUT.into(),
            Blocked => BLOCKED.into(),
            Refused(word) | Later(word) | Ours(word, _) | Account(word, _) => format!("{word} {code}"),
            Taken | Delivered => code.to_string(),
        }
    }

    /// What somebody has to mend, or every text fails like this one.
    pub(super) fn mend(self) -> Option<&'static str> {
        match self {
            Ours(_, mend) | Account(_, mend) => Some(mend),
            Taken | Delivered | Refused(_) | OptedOut | Blocked | Later(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T2, T7: what is of the recipient, what is ours, and what nobody knows.
    #[test]
    fn codes_have_meanings() {
        let word = |code: u16| meaning(code).map(|meaning| meaning.word(code)).unwrap_or_default();
        assert_eq!(word(3107), "blocked");
        assert_eq!(word(3104), "not_on_kakaotalk 3104");
        assert_eq!(word(3103), "template_mismatch 3103");
        assert_eq!(word(1061), "opted_out");
        assert_eq!(word(3199), "refused 3199");
        assert_eq!((meaning(4000), meaning(2000), meaning(3000)), (Some(Delivered), Some(Taken), Some(Taken)));
        assert_eq!((meaning(5000), meaning(999), meaning(4001)), (None, None, None));
        assert!(meaning(3103).and_then(Meaning::mend).is_some() && meaning(3107).and_then(Meaning::mend).is_none());
        assert_eq!(
            (parse("3107"), parse("31070"), parse(""), parse("+107"), parse("TEST")),
            (Some(3107), None, None, None, None)
        );
    }

    #[test]
    fn each_code_is_there_once() {
        let mut codes: Vec<u16> = CODES.iter().map(|(code, _)| *code).collect();
        codes.sort_unstable();
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
