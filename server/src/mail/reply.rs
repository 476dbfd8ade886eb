//! Signed addresses (E3): an answer to one of our mails, and the bounce of one, say themselves whose they are.
//!
//! `reply+TOKEN@reply_domain` stands in Reply-To, `bounce+TOKEN@reply_domain` is the envelope's sender. The token is
//! the follow-up under a MAC, in letters of one case, since mail servers on the way may fold that of a local part.

use crate::store::WorkspaceId;
use crate::vault::Vault;
use backstop_domain::Ms;
use backstop_domain::ids::FollowupId;
use data_encoding::BASE32_NOPAD;
use subtle::ConstantTimeEq as _;

/// An answer that comes later than this begins a conversation anew.
pub const TOKEN_LIFE_DAYS: u16 = 90;
const DAY_MS: Ms = 86_400_000;
/// Workspace, follow-up, day of expiry.
const FIELDS_BYTES: usize = 8 + 8 + 2;
/// 96 bits: a forger has to ask us about each guess.
const MAC_BYTES: usize = 12;
const TOKEN_BYTES: usize = FIELDS_BYTES + MAC_BYTES;
/// 30 bytes are exactly 48 characters: no unused bits, so no second spelling. With `bounce+` before it, it stays below
/// the 64 that a local part may have.
const TOKEN_CHARS: usize = TOKEN_BYTES / 5 * 8;

/// What an address of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// In Reply-To: what the customer writes comes here.
    Reply,
    /// The envelope's sender: what mail servers say of the mail comes here.
    Bounce,
}

/// What a true token says. Nothing is known of who uses it: whoever has seen the mail has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// Whose mail it is about.
    pub workspace: WorkspaceId,
    /// The follow-up whose email it is about; leads to conversation and customer.
    pub followup: FollowupId,
}

impl Purpose {
    const ALL: [Purpose; 2] = [Purpose::Reply, Purpose::Bounce];

    fn prefix(self) -> &'static str {
        match self {
            Purpose::Reply => "reply+",
            Purpose::Bounce => "bounce+",
        }
    }
}

/// The address that the email of this follow-up, begun at `started_at`, is answered at or bounces to. The same at each
/// repeat of the mail.
pub fn address(
    vault: &Vault,
    purpose: Purpose,
    (workspace, followup): (WorkspaceId, FollowupId),
    started_at: Ms,
    domain: &str,
) -> String {
    format!("{}{}@{domain}", purpose.prefix(), reply_token(vault, workspace, followup, started_at))
}

/// What an address of ours is for and what its token says, whatever the case it arrives in; `None` = it is no address
/// of ours at `domain`, was altered, or is too old.
pub fn open_address(vault: &Vault, address: &str, domain: &str, now: Ms) -> Option<(Purpose, Returned)> {
    let (local, at) = address.rsplit_once('@')?;
    if !at.eq_ignore_ascii_case(domain) {
        return None;
    }
    let purpose = Purpose::ALL.into_iter().find_map(|purpose| {
        let (prefix, token) = local.split_at_checked(purpose.prefix().len())?;
        prefix.eq_ignore_ascii_case(purpose.prefix()).then_some((purpose, token))
    });
    let (purpose, token) = purpose?;
    Some((purpose, open_reply_token(vault, token, now)?))
}

/// Names a follow-up to nobody but us.
pub fn reply_token(vault: &Vault, workspace: WorkspaceId, followup: FollowupId, started_at: Ms) -> String {
    let last_day = day(started_at).saturating_add(TOKEN_LIFE_DAYS);
    let mut bytes = [0; TOKEN_BYTES];
    bytes[..8].copy_from_slice(&workspace.0.to_be_bytes());
    bytes[8..16].copy_from_slice(&followup.0.to_be_bytes());
    bytes[16..FIELDS_BYTES].copy_from_slice(&last_day.to_be_bytes());
    let (fields, tag) = bytes.split_at_mut(FIELDS_BYTES);
    tag.copy_from_slice(&vault.reply_mac(fields)[..MAC_BYTES]);
    BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
}

/// What the token says, if it is ours, unaltered and not too old.
pub fn open_reply_token(vault: &Vault, token: &str, now: Ms) -> Option<Returned> {
    if token.len() != TOKEN_CHARS {
        return None;
    }
    let bytes = BASE32_NOPAD.decode(token.to_ascii_uppercase().as_bytes()).ok()?;
    let bytes: [u8; TOKEN_BYTES] = bytes.try_into().ok()?;
    let (fields, tag) = bytes.split_at(FIELDS_BYTES);
    if !bool::from(vault.reply_mac(fields)[..MAC_BYTES].ct_eq(tag)) {
        return None;
    }
    let int = |at: usize| fields[at..at + 8].try_into().map(i64::from_be_bytes).ok();
    let last_day = u16::from_be_bytes([fields[16], fields[17]]);
    let returned = Returned { workspace: WorkspaceId(int(0)?), followup: FollowupId(int(8)?) };
    (day(now) <= last_day).then_some(returned)
}

/// Days since 1970, as far as two bytes hold them: until 2149.
fn day(at: Ms) -> u16 {
    u16::try_from(at.max(0) / DAY_MS).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Ms = 1_795_370_400_000;
    const OF: (WorkspaceId, FollowupId) = (WorkspaceId(7), FollowupId(0x0192_3456_789a_bcde));

    fn vault() -> Vault {
        Vault::new(&[7; 32])
    }

    fn returned() -> Returned {
        Returned { workspace: OF.0, followup: OF.1 }
    }

    /// E3: an address comes back in any case, fits a local part, and says what it is for.
    #[test]
    fn e3_an_address_leads_back_whatever_its_case() {
        let vault = vault();
        for purpose in Purpose::ALL {
            let made = address(&vault, purpose, OF, NOW, "reply.example.com");
            let (local, _) = made.split_once('@').unwrap();
            assert!(local.len() <= 64, "{local}");
            assert!(local.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'+'), "{local}");
            for spelled in [made.clone(), made.to_ascii_uppercase()] {
                let opened = open_address(&vault, &spelled, "reply.example.com", NOW);
                assert_eq!(opened, Some((purpose, returned())), "{spelled}");
            }
            assert_eq!(open_address(&vault, &made, "other.example.com", NOW), None);
        }
    }

    /// E3: it is good on its last day, and not on the next one.
    #[test]
    fn e3_a_token_ends_with_its_last_day() {
        let (vault, begun) = (vault(), NOW / DAY_MS * DAY_MS);
        let token = reply_token(&vault, OF.0, OF.1, begun);
        let end = begun + (Ms::from(TOKEN_LIFE_DAYS) + 1) * DAY_MS;
        assert_eq!(open_reply_token(&vault, &token, end - 1), Some(returned()));
        assert_eq!(open_reply_token(&vault, &token, end), None);
        assert_eq!(reply_token(&vault, OF.0, OF.1, begun + DAY_MS - 1), token, "the same at each repeat of a day");
    }

    /// E3: no changed character opens, nor another key's token, nor anything of another length or alphabet.
    #[test]
    fn e3_a_token_cannot_be_made_up() {
        let vault = vault();
        let token = reply_token(&vault, OF.0, OF.1, NOW);
        assert_eq!(token.len(), TOKEN_CHARS);
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'a' { b'b' } else { b'a' };
            assert_eq!(open_reply_token(&vault, std::str::from_utf8(&changed).unwrap(), NOW), None, "{at}");
        }
        assert_eq!(open_reply_token(&Vault::new(&[8; 32]), &token, NOW), None);
        let strange = [
            String::new(),
            token[1..].to_owned(),
            format!("{token}a"),
            format!("{}=", &token[1..]),
            format!("{}1", &token[1..]),
            "ü".repeat(24),
            " ".repeat(48),
        ];
        for wrong in strange {
            assert_eq!(open_reply_token(&vault, &wrong, NOW), None, "{wrong}");
        }
        for wrong in ["", "@", "reply+@x", "rep", "reply+", "ü@x", &format!("{token}@x"), &format!("replý+{token}@x")]
        {
            assert_eq!(open_address(&vault, wrong, "x", NOW), None, "{wrong}");
        }
    }
}
