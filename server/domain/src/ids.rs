//! Ids of ours: a prefix and 13 characters of base 32 that sort by time.

use serde::{Deserialize, Serialize};

/// Crockford's alphabet: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: usize = 13;

/// A follow-up's id, `fu_…`. Larger is younger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FollowupId(pub i64);

/// A device's id, `dev_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceId(pub i64);

/// A line of the audit log, `aud_…`. Larger is younger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AuditId(pub i64);

/// A number that opted out, `sup_…`. Larger is younger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SuppressionId(pub i64);

/// An answer by mail or text, `inb_…`. Larger came later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InboundId(pub i64);

impl std::fmt::Display for InboundId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&print("inb_", self.0))
    }
}

impl InboundId {
    /// The id printed as `text`; `None` unless it is exactly what [`std::fmt::Display`] prints.
    pub fn parse(text: &str) -> Option<Self> {
        parse("inb_", text).map(Self)
    }
}

impl std::fmt::Display for SuppressionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&print("sup_", self.0))
    }
}

impl SuppressionId {
    /// The id printed as `text`; `None` unless it is exactly what [`std::fmt::Display`] prints.
    pub fn parse(text: &str) -> Option<Self> {
        parse("sup_", text).map(Self)
    }
}

impl std::fmt::Display for FollowupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&print("fu_", self.0))
    }
}

impl std::fmt::Display for DeviceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&print("dev_", self.0))
    }
}

impl std::fmt::Display for AuditId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&print("aud_", self.0))
    }
}

impl AuditId {
    /// The id printed as `text`; `None` unless it is exactly what [`std::fmt::Display`] prints.
    pub fn parse(text: &str) -> Option<Self> {
        parse("aud_", text).map(Self)
    }
}

impl FollowupId {
    /// The id printed as `text`; `None` unless it is exactly what [`std::fmt::Display`] prints.
    pub fn parse(text: &str) -> Option<Self> {
        parse("fu_", text).map(Self)
    }
}

impl DeviceId {
    /// The id printed as `text`; `None` unless it is exactly what [`std::fmt::Display`] prints.
    pub fn parse(text: &str) -> Option<Self> {
        parse("dev_", text).map(Self)
    }
}

fn print(prefix: &str, id: i64) -> String {
    let mut out = String::with_capacity(prefix.len() + DIGITS);
    out.push_str(prefix);
    for i in (0..DIGITS).rev() {
        out.push(ALPHABET[((id as u64) >> (5 * i) & 31) as usize] as char);
    }
    out
}

fn parse(prefix: &str, text: &str) -> Option<i64> {
    let digits = text.strip_prefix(prefix)?.as_bytes();
    if digits.len() != DIGITS {
        return None;
    }
    let mut id: u64 = 0;
    for (i, c) in digits.iter().enumerate() {
        let d = ALPHABET.iter().position(|a| a == c)? as u64;
        // 13 digits hold 65 bits; ids use 63.
        if i == 0 && d > 7 {
            return None;
        }
        id = id << 5 | d;
    }
    i64::try_from(id).ok()
}

/// The next id: milliseconds in the high 43 bits, 20 bits of `random` below, always above `last`.
pub fn next_id(last: i64, now_ms: i64, random: u32) -> i64 {
    let fresh = now_ms.max(0) << 20 | i64::from(random & 0xF_FFFF);
    if fresh > last { fresh } else { last + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_sorts_by_time() {
        let a = FollowupId(next_id(0, 1_795_370_400_000, 7));
        let b = FollowupId(next_id(a.0, 1_795_370_400_001, 1));
        assert_eq!(FollowupId::parse(&a.to_string()), Some(a));
        assert!(a.to_string() < b.to_string());
        assert_eq!(next_id(b.0, 0, 0), b.0 + 1);
    }

    #[test]
    fn other_spellings_are_no_ids() {
        let a = FollowupId(1_795_370_400_000 << 20).to_string();
        for bad in ["", "fu_", &a.to_uppercase(), &a.replace("fu_", "dev_"), &format!("{a}0"), "fu_zzzzzzzzzzzzz"] {
            assert_eq!(FollowupId::parse(bad), None, "{bad}");
        }
    }
}
