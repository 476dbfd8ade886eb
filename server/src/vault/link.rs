//! Codes of short links, and the log-ins they hand out (T8).

use super::{URL_SAFE_NO_PAD, Vault, mac, random, sha256};
use crate::store::{LinkKey, WorkspaceId};
use backstop_domain::Ms;
use base64::Engine as _;
use subtle::ConstantTimeEq as _;

/// The second it was made in, as far as [`TIME_BYTES`] hold it, and what nobody can guess.
const CODE_BYTES: usize = TIME_BYTES + SECRET_BYTES;
/// 194 days: far more than a link is kept.
const TIME_BYTES: usize = 3;
const SECRET_BYTES: usize = 12;
/// 15 bytes are exactly 20 characters: no second spelling.
pub const LINK_CODE_CHARS: usize = CODE_BYTES / 3 * 4;
/// Another server's clock may be ahead of ours by this much.
const AHEAD_S: i64 = 60;
/// The link's key, and the end of the log-in.
const LOGIN_FIELDS_BYTES: usize = 8 + 16 + 8;
const LOGIN_MAC_BYTES: usize = 16;
/// 48 bytes are exactly 64 characters.
const LOGIN_BYTES: usize = LOGIN_FIELDS_BYTES + LOGIN_MAC_BYTES;

/// A new link's code, and what it is stored under.
pub fn new_link_code(now_s: i64) -> (String, LinkKey) {
    let mut bytes = [0; CODE_BYTES];
    bytes[..TIME_BYTES].copy_from_slice(&now_s.to_be_bytes()[8 - TIME_BYTES..]);
    bytes[TIME_BYTES..].copy_from_slice(&random::<SECRET_BYTES>());
    let code = URL_SAFE_NO_PAD.encode(bytes);
    let key = LinkKey { made_at_s: now_s, hash: hash(&code) };
    (code, key)
}

/// What a link of this code is stored under, if there is one; `None` = it is no code.
pub fn link_key(code: &str, now_s: i64) -> Option<LinkKey> {
    if code.len() != LINK_CODE_CHARS {
        return None;
    }
    let bytes: [u8; CODE_BYTES] = URL_SAFE_NO_PAD.decode(code).ok()?.try_into().ok()?;
    let told = bytes[..TIME_BYTES].iter().fold(0, |told, byte| told << 8 | i64::from(*byte));
    let latest = now_s + AHEAD_S;
    let since = (latest - told).rem_euclid(1 << (8 * TIME_BYTES));
    Some(LinkKey { made_at_s: latest - since, hash: hash(code) })
}

fn hash(code: &str) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&sha256(code.as_bytes())[..16]);
    hash
}

impl Vault {
    /// A log-in of this link that is good until then. Nothing is stored of it: the link knows whether one was used.
    pub fn login_code(&self, workspace: WorkspaceId, link: LinkKey, until: Ms) -> String {
        let mut bytes = [0; LOGIN_BYTES];
        bytes[..8].copy_from_slice(&link.made_at_s.to_be_bytes());
        bytes[8..24].copy_from_slice(&link.hash);
        bytes[24..32].copy_from_slice(&until.to_be_bytes());
        let (fields, tag) = bytes.split_at_mut(LOGIN_FIELDS_BYTES);
        tag.copy_from_slice(&self.login_mac(workspace, fields)[..LOGIN_MAC_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Which link it is of and until when it is good, if it is ours, unaltered and of this workspace.
    pub fn open_login_code(&self, workspace: WorkspaceId, code: &str) -> Option<(LinkKey, Ms)> {
        if code.len() != LOGIN_BYTES / 3 * 4 {
            return None;
        }
        let bytes: [u8; LOGIN_BYTES] = URL_SAFE_NO_PAD.decode(code).ok()?.try_into().ok()?;
        let (fields, tag) = bytes.split_at(LOGIN_FIELDS_BYTES);
        if !bool::from(self.login_mac(workspace, fields)[..LOGIN_MAC_BYTES].ct_eq(tag)) {
            return None;
        }
        let int = |at: usize| fields[at..at + 8].try_into().map(i64::from_be_bytes).ok();
        let hash = fields[8..24].try_into().ok()?;
        Some((LinkKey { made_at_s: int(0)?, hash }, int(24)?))
    }

    fn login_mac(&self, workspace: WorkspaceId, fields: &[u8]) -> [u8; 32] {
        mac(&self.logins, &[&workspace.0.to_be_bytes(), fields])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_795_370_400;

    /// T8: a code is of its second, and found again for as long as a link is kept, also where the clock is behind.
    #[test]
    fn t8_a_code_leads_to_its_key() {
        let (code, key) = new_link_code(NOW_S);
        assert_eq!((code.len(), key.made_at_s), (20, NOW_S));
        for later_s in [-AHEAD_S, 0, 1, 90 * 86_400, (1 << 24) - AHEAD_S - 1] {
            assert_eq!(link_key(&code, NOW_S + later_s), Some(key), "{later_s}");
        }
        assert_ne!(link_key(&code, NOW_S - AHEAD_S - 1), Some(key));
        assert_ne!(new_link_code(NOW_S).0, code);
        for wrong in ["", "AAAA", &code[1..], &format!("{code}A"), &format!("{}=", &code[1..]), &"+".repeat(20)] {
            assert_eq!(link_key(wrong, NOW_S), None, "{wrong}");
        }
    }

    /// T8: a log-in opens in its workspace only, and no changed character does.
    #[test]
    fn t8_a_log_in_cannot_be_made_up() {
        let vault = Vault::new(&[7; 32]);
        let (_, key) = new_link_code(NOW_S);
        let code = vault.login_code(WorkspaceId(1), key, 42);
        assert_eq!((code.len(), vault.open_login_code(WorkspaceId(1), &code)), (64, Some((key, 42))));
        assert_eq!(vault.open_login_code(WorkspaceId(2), &code), None);
        for at in 0..code.len() {
            let mut changed = code.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(vault.open_login_code(WorkspaceId(1), std::str::from_utf8(&changed).unwrap()), None, "{at}");
        }
    }
}
