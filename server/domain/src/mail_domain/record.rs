//! What stands in DNS for a mail domain, and whether it is what has to stand there.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A record that is longer in all is none of ours: a key's has 410 bytes, and twice as long a key 753.
pub const MAX_RECORD_BYTES: usize = 1_024;
/// Of one character string of a TXT record.
const MAX_STRING_BYTES: usize = 255;
/// Of somebody else's record, in a message.
const MAX_QUOTED_CHARS: usize = 60;

/// What DNS said when asked for the TXT records of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These, each joined from its strings; none = there are none.
    Records(Vec<Vec<u8>>),
    /// Nothing, and why.
    Silence(String),
}

/// What that means for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it has to be.
    Good,
    /// It is not.
    Bad(Wrong),
    /// Nobody knows, and why.
    Unanswered(String),
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// There is none.
    Missing,
    /// There are as many, and receivers take any of them, or none.
    Several(usize),
    /// It has as many bytes.
    TooLong(usize),
    /// It is another kind of record, which begins like this.
    Other(String),
    /// It names one tag twice, or has one without a value.
    Malformed,
    /// It holds another public key.
    OtherKey,
    /// Its key was taken back: `p=` is empty.
    Revoked,
    /// Its `t=y` tells receivers to ignore the signature.
    Testing,
    /// This tag of it forbids what we do.
    Forbids(String),
    /// An SPF record without this mechanism.
    Lacks(String),
    /// A DMARC record without a policy.
    NoPolicy,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Missing => write!(f, "there is no such record (a new one can take an hour to be seen): publish it"),
            Wrong::Several(count) => write!(f, "there are {count} TXT records of that name: leave the one shown here"),
            Wrong::TooLong(bytes) => write!(f, "the record has {bytes} bytes: publish the one shown here"),
            Wrong::Other(begin) => write!(f, "the record begins with `{begin}`: publish the one shown here"),
            Wrong::Malformed => write!(f, "the record has a tag twice or without a value: publish the one shown here"),
            Wrong::OtherKey => write!(f, "the record holds another public key: publish the one shown here, uncut"),
            Wrong::Revoked => {
                write!(f, "the record's p= is empty, which takes the key back: publish the one shown here")
            }
            Wrong::Testing => write!(f, "the record's t=y tells receivers to ignore the signature: take the y out"),
            Wrong::Forbids(tag) => write!(f, "the record's `{tag}` forbids what is needed: publish the one shown here"),
            Wrong::Lacks(mechanism) => write!(f, "the record lacks `{mechanism}`: add it before the `all` at its end"),
            Wrong::NoPolicy => write!(f, "the record has no p=none, p=quarantine or p=reject: add one"),
        }
    }
}

/// What has to stand at a key's name.
pub fn dkim_value(public: &str) -> String {
    format!("v=DKIM1; k=rsa; p={public}")
}

/// A value as the character strings of one TXT record.
pub fn strings(value: &str) -> Vec<&str> {
    let mut rest = value;
    let mut strings = Vec::new();
    while rest.len() > MAX_STRING_BYTES {
        let end = (0..=MAX_STRING_BYTES).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (string, after) = rest.split_at(end);
        strings.push(string);
        rest = after;
    }
    strings.push(rest);
    strings
}

/// Whether a key's name has its record, and nothing else (RFC 6376 3.6.1).
pub fn dkim(answer: Answer, public: &str) -> Verdict {
    let records = match answer {
        Answer::Silence(why) => return Verdict::Unanswered(why),
        Answer::Records(records) => records,
    };
    match only(records).and_then(|record| dkim_record(&record, public)) {
        Ok(()) => Verdict::Good,
        Err(wrong) => Verdict::Bad(wrong),
    }
}

fn dkim_record(record: &str, public: &str) -> Result<(), Wrong> {
    let tags = tags(record)?;
    let tag = |name: &str| tags.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
    if tags.first().is_some_and(|(name, value)| *name == "v" && value != "DKIM1") || tag("p").is_none() {
        return Err(Wrong::Other(quoted(record)));
    }
    match tag("p") {
        Some("") => return Err(Wrong::Revoked),
        Some(key) if key != public => return Err(Wrong::OtherKey),
        _ => {}
    }
    let has = |list: &str, wanted: &[&str]| list.split(':').any(|item| wanted.contains(&item.trim()));
    for (name, wanted) in [("k", &["rsa"][..]), ("h", &["sha256"]), ("s", &["*", "email"])] {
        if let Some(value) = tag(name).filter(|value| !has(value, wanted)) {
            return Err(Wrong::Forbids(quoted(&format!("{name}={value}"))));
        }
    }
    if tag("t").is_some_and(|flags| has(flags, &["y"])) { Err(Wrong::Testing) } else { Ok(()) }
}

/// Whether a domain's one SPF record (RFC 7208) has these mechanisms.
pub fn spf(answer: Answer, mechanisms: &str) -> Verdict {
    let is_spf = |record: &str| record.split(' ').next().is_some_and(|word| word.eq_ignore_ascii_case("v=spf1"));
    judged(answer, is_spf, |record| {
        let has = |wanted: &str| record.split_whitespace().any(|word| word.eq_ignore_ascii_case(wanted));
        match mechanisms.split_whitespace().find(|wanted| !has(wanted)) {
            Some(lacking) => Err(Wrong::Lacks(lacking.to_owned())),
            None => Ok(()),
        }
    })
}

/// Whether there is one DMARC record (RFC 7489), whatever its policy: ours passes each.
pub fn dmarc(answer: Answer) -> Verdict {
    let is_dmarc = |record: &str| record.split(';').next().is_some_and(|tag| tag.replace(' ', "") == "v=DMARC1");
    judged(answer, is_dmarc, |record| {
        let tags = tags(record)?;
        let has_policy = |name: &str, value: &str| name == "p" && ["none", "quarantine", "reject"].contains(&value);
        if tags.iter().any(|(name, value)| has_policy(name, value)) { Ok(()) } else { Err(Wrong::NoPolicy) }
    })
}

/// Judges the one record of its kind among others of the same name.
fn judged(answer: Answer, is_kind: impl Fn(&str) -> bool, judge: impl FnOnce(&str) -> Result<(), Wrong>) -> Verdict {
    let records = match answer {
        Answer::Silence(why) => return Verdict::Unanswered(why),
        Answer::Records(records) => records,
    };
    let text = |record: Vec<u8>| String::from_utf8(record).ok().filter(|record| is_kind(record));
    let of_kind: Vec<Vec<u8>> = records.into_iter().filter_map(text).map(String::into_bytes).collect();
    match only(of_kind).and_then(|record| judge(&record)) {
        Ok(()) => Verdict::Good,
        Err(wrong) => Verdict::Bad(wrong),
    }
}

fn only(mut records: Vec<Vec<u8>>) -> Result<String, Wrong> {
    match records.len() {
        0 => return Err(Wrong::Missing),
        1 => {}
        several => return Err(Wrong::Several(several)),
    }
    let record = records.remove(0);
    if record.len() > MAX_RECORD_BYTES {
        return Err(Wrong::TooLong(record.len()));
    }
    String::from_utf8(record).map_err(|error| Wrong::Other(quoted(&String::from_utf8_lossy(error.as_bytes()))))
}

/// `a=b; c=d`, blanks within values taken out, since DNS consoles break long ones.
fn tags(record: &str) -> Result<Vec<(&str, String)>, Wrong> {
    let mut tags: Vec<(&str, String)> = Vec::new();
    for tag in record.split(';').map(str::trim).filter(|tag| !tag.is_empty()) {
        let (name, value) = tag.split_once('=').ok_or_else(|| Wrong::Other(quoted(record)))?;
        let name = name.trim();
        if tags.iter().any(|(known, _)| *known == name) {
            return Err(Wrong::Malformed);
        }
        tags.push((name, value.split_whitespace().collect()));
    }
    Ok(tags)
}

/// The beginning of what strangers wrote, fit to be shown.
fn quoted(text: &str) -> String {
    let shown = text.chars().take(MAX_QUOTED_CHARS).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' });
    shown.filter(|c| *c != '`').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A";

    fn said(records: &[&str]) -> Answer {
        Answer::Records(records.iter().map(|record| record.as_bytes().to_vec()).collect())
    }

    /// E2: the record in any spelling that receivers take.
    #[test]
    fn e2_a_good_record_is_good_however_it_is_spelled() {
        for record in [
            &dkim_value(KEY),
            &format!("v=DKIM1;k=rsa;p={KEY};"),
            &format!("p={KEY}"),
            &format!("v=DKIM1; h=sha1:sha256; s=email; t=s; n=a note; p={} {}", &KEY[..10], &KEY[10..]),
            &format!("  v = DKIM1 ; s=* ; p = {KEY}"),
        ] {
            assert_eq!(dkim(said(&[record]), KEY), Verdict::Good, "{record}");
        }
    }

    /// E2: an answer that lies never leads to a signature, and says what was seen.
    #[test]
    fn e2_a_lying_answer_is_never_good() {
        let good = dkim_value(KEY);
        let long = format!("{good};{}", " ".repeat(MAX_RECORD_BYTES - good.len()));
        for (records, wrong, says) in [
            (vec![], Wrong::Missing, "no such record"),
            (vec![good.as_str(), good.as_str()], Wrong::Several(2), "2 TXT records"),
            (vec![good.as_str(), "v=spf1 -all"], Wrong::Several(2), "2 TXT records"),
            (vec![long.as_str()], Wrong::TooLong(MAX_RECORD_BYTES + 1), "1025 bytes"),
            (vec!["v=DKIM1; k=rsa; p=AAAA"], Wrong::OtherKey, "another public key"),
            (vec![&good[..good.len() - 1]], Wrong::OtherKey, "uncut"),
            (vec!["v=DKIM1; p="], Wrong::Revoked, "takes the key back"),
            (vec!["v=spf1 -all"], Wrong::Other("v=spf1 -all".into()), "`v=spf1 -all`"),
            (vec![&format!("v=DKIM2; p={KEY}")], Wrong::Other(format!("v=DKIM2; p={KEY}")), "v=DKIM2"),
            (vec!["\u{7}`<b>"], Wrong::Other("?<b>".into()), "`?<b>`"),
            (vec![&format!("p={KEY}; p={KEY}")], Wrong::Malformed, "twice"),
            (vec![&format!("{good}; t=y:s")], Wrong::Testing, "t=y"),
            (vec![&format!("k=ed25519; p={KEY}")], Wrong::Forbids("k=ed25519".into()), "`k=ed25519`"),
            (vec![&format!("h=sha1; p={KEY}")], Wrong::Forbids("h=sha1".into()), "`h=sha1`"),
            (vec![&format!("s=tlsrpt; p={KEY}")], Wrong::Forbids("s=tlsrpt".into()), "`s=tlsrpt`"),
        ] {
            assert_eq!(dkim(said(&records), KEY), Verdict::Bad(wrong.clone()), "{records:?}");
            assert!(wrong.to_string().contains(says), "{wrong}");
        }
        let at_limit = &long[..MAX_RECORD_BYTES];
        assert_eq!(dkim(said(&[at_limit]), KEY), Verdict::Good);
        assert_eq!(dkim(Answer::Silence("timeout".into()), KEY), Verdict::Unanswered("timeout".into()));
        assert_eq!(dkim(Answer::Records(vec![vec![0xff, 0xfe]]), KEY), Verdict::Bad(Wrong::Other("??".into())));
    }

    /// E2: SPF and DMARC stand among other records of their name.
    #[test]
    fn e2_spf_and_dmarc_are_found_among_others() {
        let ours = "include:_spf.mail.example";
        assert_eq!(
            spf(said(&["google-site-verification=x", "v=spf1 mx INCLUDE:_spf.mail.example ~all"]), ours),
            Verdict::Good
        );
        for (records, wrong) in [
            (vec!["v=spf10 include:_spf.mail.example"], Wrong::Missing),
            (vec!["v=spf1 -all"], Wrong::Lacks(ours.into())),
            (vec!["v=spf1 include:_spf.mail.example", "v=spf1 -all"], Wrong::Several(2)),
        ] {
            assert_eq!(spf(said(&records), ours), Verdict::Bad(wrong), "{records:?}");
        }
        assert_eq!(dmarc(said(&["v=DMARC1; p=none; rua=mailto:a@shop.example"])), Verdict::Good);
        assert_eq!(dmarc(said(&["v=DMARC1"])), Verdict::Bad(Wrong::NoPolicy));
        assert_eq!(dmarc(said(&["x"])), Verdict::Bad(Wrong::Missing));
    }

    /// E2: a key's record fits two strings of a TXT record.
    #[test]
    fn e2_a_long_value_comes_in_strings_of_255_bytes() {
        for (bytes, lengths) in [(1, vec![1]), (255, vec![255]), (256, vec![255, 1]), (410, vec![255, 155])] {
            let value = "x".repeat(bytes);
            assert_eq!(strings(&value).iter().map(|string| string.len()).collect::<Vec<_>>(), lengths);
            assert_eq!(strings(&value).concat(), value);
        }
    }
}
