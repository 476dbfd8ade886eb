//! A company's own mail domain (E2): its keys, what DNS says of them, and which one signs, if any.
//!
//! A key signs only while its record in DNS was seen as it has to be. So publishing the record is what proves the
//! domain to be the company's, and whatever an answer says wrong ends in mail from the deployment's domain, never in a
//! signature that receivers refuse.

mod record;

pub use record::{Answer, MAX_RECORD_BYTES, Verdict, Wrong, dkim, dkim_value, dmarc, spf, strings};

use crate::Ms;
use serde::{Deserialize, Serialize};

/// The one in use and the one that takes its place.
pub const MAX_KEYS: usize = 2;
/// How long a record counts that was seen as it has to be, while DNS does not answer: a weekend's outage is no reason
/// to change the sender.
pub const TRUST_MS: Ms = 72 * HOUR_MS;
/// Between two looks at a domain that signs.
pub const CHECK_EVERY_MS: Ms = 24 * HOUR_MS;
/// Between two looks at a domain whose newest key does not sign yet, or no longer.
pub const RECHECK_MS: Ms = HOUR_MS;
/// A key that signed stays in DNS for as long after its successor's first mail: what it signed is still on its way.
pub const LINGER_MS: Ms = 7 * 24 * HOUR_MS;
/// 253 less what stands before it in a key's name.
pub const MAX_DOMAIN_CHARS: usize = 220;
const HOUR_MS: Ms = 3_600_000;

/// A company's mail domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailDomain {
    /// In lower case, as DNS spells it.
    pub domain: String,
    /// What stands before the `@` of its sender.
    pub local_part: String,
    /// Newest first.
    pub keys: Vec<Key>,
    /// The domain's SPF record; only advice hangs on it.
    pub spf: Record,
    /// The domain's DMARC record; only advice hangs on it.
    pub dmarc: Record,
    /// When DNS was last asked.
    pub checked_at: Option<Ms>,
}

/// A signing key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its name below `_domainkey`.
    pub selector: String,
    /// The public key as DNS spells it: base64 of its SubjectPublicKeyInfo.
    pub public: String,
    /// When it was made.
    pub made_at: Ms,
    /// Its record.
    pub record: Record,
}

/// What is known of one record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The last definite word on it.
    pub seen: Seen,
    /// Why the last look came to nothing, if it did.
    pub unanswered: Option<String>,
}

/// The last definite word on a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// There was none yet.
    #[default]
    Never,
    /// As it has to be.
    Good {
        /// Without a break.
        since: Ms,
        /// When it was last seen.
        at: Ms,
    },
    /// Not as it has to be.
    Bad {
        /// When it was last seen.
        at: Ms,
        /// What is wrong with it.
        wrong: Wrong,
        /// When it was last seen as it has to be, if ever.
        good_until: Option<Ms>,
    },
}

/// Whether mail comes from the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does, signed.
    Verified,
    /// No key's record was ever seen as it has to be: somebody is still at it.
    Pending,
    /// One was, and no longer is, or DNS has been silent for too long.
    Failing,
}

/// What a key is good for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its record is not seen as it has to be.
    Waiting,
    /// Mail is signed with it.
    Signing,
    /// A newer one signs. Its record may go after `leave_until`.
    Replaced {
        /// Until then mail that it signed may be on its way.
        leave_until: Ms,
    },
}

/// What all the looks of one check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looks {
    /// Selector and verdict.
    pub keys: Vec<(String, Verdict)>,
    /// `None` = it was not looked for.
    pub spf: Option<Verdict>,
    /// The domain's own record, or that of a domain above it.
    pub dmarc: Verdict,
}

/// Whether this is a domain's name as DNS spells it, in lower case; other alphabets come as `xn--…`.
pub fn is_domain(name: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let labels: Vec<&str> = name.split('.').collect();
    let is_address = labels.last().is_none_or(|top| top.bytes().all(|b| b.is_ascii_digit()));
    name.len() <= MAX_DOMAIN_CHARS && labels.len() >= 2 && labels.into_iter().all(is_label) && !is_address
}

/// Whether this can stand before the `@` of a sender: what every mail server takes without quotes.
pub fn is_local_part(text: &str) -> bool {
    let is_atom = |atom: &str| {
        !atom.is_empty() && atom.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
    };
    text.len() <= 64 && text.split('.').all(is_atom)
}

impl MailDomain {
    /// The sender's address.
    pub fn address(&self) -> String {
        format!("{}@{}", self.local_part, self.domain)
    }

    /// The key that signs now; `None` = mail leaves from the deployment's domain.
    pub fn signing(&self, now: Ms) -> Option<&Key> {
        self.keys.iter().find(|key| key.record.is_good(now))
    }

    /// Whether mail comes from it.
    pub fn state(&self, now: Ms) -> State {
        let was_good = |key: &Key| matches!(key.record.seen, Seen::Good { .. } | Seen::Bad { good_until: Some(_), .. });
        match self.signing(now) {
            Some(_) => State::Verified,
            None if self.keys.iter().any(was_good) => State::Failing,
            None => State::Pending,
        }
    }

    /// What the key at this place is good for.
    pub fn standing(&self, at: usize, now: Ms) -> Standing {
        let newer = self.keys[..at].iter().find(|key| key.record.is_good(now));
        match (newer.map(|key| &key.record.seen), self.keys[at].record.is_good(now)) {
            (Some(Seen::Good { since, .. }), _) => Standing::Replaced { leave_until: since + LINGER_MS },
            (_, true) => Standing::Signing,
            (_, false) => Standing::Waiting,
        }
    }

    /// Takes in a new key. It signs from its first good look on; until then the one that signs now goes on.
    pub fn rotate(&mut self, key: Key, now: Ms) {
        let in_use = self.signing(now).or(self.keys.first()).cloned();
        self.keys = std::iter::once(key).chain(in_use).take(MAX_KEYS).collect();
    }

    /// Takes in what DNS said.
    pub fn looked(&mut self, looks: Looks, now: Ms) {
        for key in &mut self.keys {
            // A key that came while DNS was asked has no verdict yet.
            if let Some((_, verdict)) = looks.keys.iter().find(|(selector, _)| *selector == key.selector) {
                key.record.looked(verdict.clone(), now);
            }
        }
        if let Some(spf) = looks.spf {
            self.spf.looked(spf, now);
        }
        self.dmarc.looked(looks.dmarc, now);
        self.checked_at = Some(now);
    }

    /// When DNS is asked next by itself.
    pub fn next_check_at(&self, now: Ms) -> Ms {
        let newest_signs = self.keys.first().is_some_and(|key| key.record.is_good(now));
        let wait_ms = if newest_signs { CHECK_EVERY_MS } else { RECHECK_MS };
        self.checked_at.map_or(now, |at| at + wait_ms)
    }
}

impl Record {
    /// Whether it is taken to be as it has to be.
    pub fn is_good(&self, now: Ms) -> bool {
        matches!(self.seen, Seen::Good { at, .. } if now - at < TRUST_MS)
    }

    fn looked(&mut self, verdict: Verdict, now: Ms) {
        self.unanswered = None;
        match (verdict, &self.seen) {
            (Verdict::Good, Seen::Good { since, .. }) => self.seen = Seen::Good { since: *since, at: now },
            (Verdict::Good, _) => self.seen = Seen::Good { since: now, at: now },
            (Verdict::Bad(wrong), seen) => {
                let good_until = match seen {
                    Seen::Never => None,
                    Seen::Good { at, .. } => Some(*at),
                    Seen::Bad { good_until, .. } => *good_until,
                };
                self.seen = Seen::Bad { at: now, wrong, good_until };
            }
            (Verdict::Unanswered(why), _) => self.unanswered = Some(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(selector: &str) -> Key {
        Key { selector: selector.into(), public: "MIIB".into(), made_at: 0, record: Record::default() }
    }

    fn domain() -> MailDomain {
        MailDomain {
            domain: "shop.example".into(),
            local_part: "support".into(),
            keys: vec![key("one")],
            spf: Record::default(),
            dmarc: Record::default(),
            checked_at: None,
        }
    }

    fn looks(keys: &[(&str, Verdict)]) -> Looks {
        let keys = keys.iter().map(|(selector, verdict)| ((*selector).to_owned(), verdict.clone())).collect();
        Looks { keys, spf: None, dmarc: Verdict::Bad(Wrong::Missing) }
    }

    fn signs(domain: &MailDomain, now: Ms) -> Option<&str> {
        domain.signing(now).map(|key| key.selector.as_str())
    }

    #[test]
    fn a_domain_is_spelled_as_in_dns() {
        let long = format!("{}.example", "a".repeat(63));
        let all = [&"abc.".repeat(MAX_DOMAIN_CHARS / 4), "x.kr"].concat();
        for good in ["shop.example", "xn--hq1bm8jm9l.kr", "a.b.c.d2", &long, &all[4..]] {
            assert!(is_domain(good), "{good}");
        }
        for wrong in [
            "",
            "shop",
            "Shop.example",
            "shop.example.",
            ".example",
            "a..b",
            "-a.example",
            "a-.example",
            "127.0.0.1",
            "회사.kr",
            "a b.example",
            "a_b.example",
            "shop.example\n",
            &format!("a{long}"),
            &all,
        ] {
            assert!(!is_domain(wrong), "{wrong}");
        }
        assert!(is_local_part("hello.world+x") && is_local_part(&"x".repeat(64)));
        for wrong in ["", ".a", "a.", "a..b", "a b", "a@b", "\"a\"", "안녕", "a\r\n", &"x".repeat(65)] {
            assert!(!is_local_part(wrong), "{wrong}");
        }
    }

    /// E2: a key signs from its first good look on, and not after a bad one.
    #[test]
    fn e2_a_key_signs_while_its_record_is_as_it_has_to_be() {
        let mut domain = domain();
        assert_eq!((signs(&domain, 0), domain.standing(0, 0)), (None, Standing::Waiting));
        domain.looked(looks(&[("one", Verdict::Bad(Wrong::Missing))]), 5);
        assert_eq!((signs(&domain, 5), domain.state(5)), (None, State::Pending));
        domain.looked(looks(&[("one", Verdict::Good)]), 10);
        assert_eq!((signs(&domain, 10), domain.standing(0, 10)), (Some("one"), Standing::Signing));
        assert_eq!(domain.state(10), State::Verified);
        for wrong in [Wrong::OtherKey, Wrong::Missing] {
            domain.looked(looks(&[("one", Verdict::Bad(wrong))]), 20);
            assert_eq!((signs(&domain, 20), domain.state(20)), (None, State::Failing));
        }
        domain.looked(looks(&[("one", Verdict::Good)]), 30);
        assert_eq!(domain.keys[0].record.seen, Seen::Good { since: 30, at: 30 });
    }

    /// E2: silence changes nothing, for three days and not for longer.
    #[test]
    fn e2_a_silent_dns_is_no_bad_word_for_three_days() {
        let mut domain = domain();
        domain.looked(looks(&[("one", Verdict::Good)]), 0);
        domain.looked(looks(&[("one", Verdict::Unanswered("timeout".into()))]), 1_000);
        assert_eq!(domain.keys[0].record.unanswered.as_deref(), Some("timeout"));
        assert_eq!(signs(&domain, TRUST_MS - 1), Some("one"));
        assert_eq!(signs(&domain, TRUST_MS), None);
    }

    /// E2: a new key takes over once it was seen; the old one stands by, and may go after a week.
    #[test]
    fn e2_a_rotation_never_leaves_mail_unsigned() {
        let mut domain = domain();
        domain.looked(looks(&[("one", Verdict::Good)]), 0);
        domain.rotate(key("two"), 10);
        assert_eq!((signs(&domain, 10), domain.standing(0, 10)), (Some("one"), Standing::Waiting));
        // Nobody published the second one, and a third comes: the one that signs stays.
        domain.rotate(key("three"), 20);
        assert_eq!(domain.keys.iter().map(|key| key.selector.as_str()).collect::<Vec<_>>(), ["three", "one"]);
        domain.looked(looks(&[("three", Verdict::Good), ("one", Verdict::Good)]), 30);
        assert_eq!(signs(&domain, 30), Some("three"));
        assert_eq!(domain.standing(1, 30), Standing::Replaced { leave_until: 30 + LINGER_MS });
        // Its record vanishes: the one before, which is still there, steps in.
        domain.looked(looks(&[("three", Verdict::Bad(Wrong::Missing)), ("one", Verdict::Good)]), 40);
        assert_eq!((signs(&domain, 40), domain.standing(1, 40)), (Some("one"), Standing::Signing));
    }

    /// E2: daily where it signs, hourly where somebody waits for it.
    #[test]
    fn e2_dns_is_asked_daily_or_hourly() {
        let mut domain = domain();
        assert_eq!(domain.next_check_at(5), 5, "never looked: now");
        domain.looked(looks(&[("one", Verdict::Bad(Wrong::Missing))]), 10);
        assert_eq!(domain.next_check_at(10), 10 + RECHECK_MS);
        domain.looked(looks(&[("one", Verdict::Good)]), 20);
        assert_eq!(domain.next_check_at(20), 20 + CHECK_EVERY_MS);
        domain.rotate(key("two"), 30);
        assert_eq!(domain.next_check_at(30), 20 + RECHECK_MS);
    }
}
