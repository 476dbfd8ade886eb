//! The vault: what is stored is sealed, and what a device or a caller hands back is proven to be ours.
//!
//! One data key per deployment. Every use has a sub-key of its own (HKDF-SHA256), so that no two uses can be played
//! against each other. Sealed values carry where they belong (workspace, table, id, column) as associated data: a
//! value copied to another place does not open. Customers' data is sealed under the customer's own key, which is
//! stored wrapped; deleting that one blob shreds everything sealed under it (S8).

mod data_key;
mod link;

pub use data_key::{DataKey, DataKeyError};
pub use link::{LINK_CODE_CHARS, link_key, new_link_code};

use crate::mail::address::comparable;
use crate::store::{SuppressionChannel, WorkspaceId};
use backstop_domain::Ms;
use backstop_domain::ids::{DeviceId, FollowupId};
use backstop_domain::limits::Scope;
use backstop_wire::PushProvider;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// First byte of everything sealed.
const SEAL_VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// Follow-up, device, replies covered, expiry.
const RECEIPT_FIELDS_BYTES: usize = 8 + 8 + 2 + 8;
const RECEIPT_MAC_BYTES: usize = 16;
/// 42 bytes are exactly 56 characters: no unused bits, so no second spelling of a receipt.
const RECEIPT_BYTES: usize = RECEIPT_FIELDS_BYTES + RECEIPT_MAC_BYTES;
const RECEIPT_CHARS: usize = RECEIPT_BYTES / 3 * 4;
/// In the place of a follow-up's id: the push was a test. No follow-up has it, since ids begin with the time.
const NO_FOLLOWUP: FollowupId = FollowupId(0);

/// Why something sealed does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Sealed by a newer version: run that version.
    #[error("sealed in form {0}, which this version does not know")]
    Version(u8),
    /// Another key, another place, shredded or altered: it is lost unless the right key turns up.
    #[error("does not open: sealed with another key or for another place, or altered")]
    Unreadable,
}

/// All sub-keys of the deployment's data key, ready for use.
#[derive(Clone)]
pub struct Vault {
    check_value: [u8; 16],
    seal: XChaCha20Poly1305,
    wrap: XChaCha20Poly1305,
    receipts: Hmac<Sha256>,
    devices: Hmac<Sha256>,
    blind: Hmac<Sha256>,
    logs: Hmac<Sha256>,
    echo: Hmac<Sha256>,
    logins: Hmac<Sha256>,
    replies: Hmac<Sha256>,
}

/// One customer's own key.
#[derive(Clone)]
pub struct CustomerKey(XChaCha20Poly1305);

/// What a true receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The push that carried it.
    pub carrier: Carrier,
    /// The device that the push went to.
    pub device: DeviceId,
    /// It is good until then, exclusive.
    pub expires_at: Ms,
}

/// The push that carried a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A follow-up's.
    Followup {
        /// Which.
        id: FollowupId,
        /// Replies 1…n that the push showed.
        covers: u16,
    },
    /// A test of the device: it stands for no reply, and its ack settles nothing.
    Test,
}

impl Vault {
    /// The vault of this data key.
    pub fn new(data_key: &[u8; 32]) -> Vault {
        let hkdf = Hkdf::<Sha256>::new(Some(b"backstop/vault/1"), data_key);
        let sub_key = |purpose: &str| {
            let mut key = Zeroizing::new([0u8; 32]);
            hkdf.expand(purpose.as_bytes(), key.as_mut()).expect("32 bytes are within what HKDF can give");
            key
        };
        let mac = |purpose: &str| Hmac::new_from_slice(sub_key(purpose).as_ref()).expect("HMAC takes any length");
        let mut check_value = [0; 16];
        check_value.copy_from_slice(&sub_key("check")[..16]);
        Vault {
            check_value,
            seal: cipher(&sub_key("seal")),
            wrap: cipher(&sub_key("wrap")),
            receipts: mac("receipts"),
            devices: mac("devices"),
            blind: mac("blind"),
            logs: mac("logs"),
            echo: mac("echo"),
            logins: mac("logins"),
            replies: mac("replies"),
        }
    }

    /// Tells this data key from another without revealing it; kept in the store.
    pub fn check_value(&self) -> [u8; 16] {
        self.check_value
    }

    /// A fresh key for a customer, and its wrapped form for the store.
    pub fn new_customer_key(&self, workspace: WorkspaceId, customer_id: &str) -> (CustomerKey, Vec<u8>) {
        let key = Zeroizing::new(random::<32>());
        let wrapped = seal(&self.wrap, workspace, "customers", customer_id, "wrapped_key", key.as_ref());
        (CustomerKey(cipher(&key)), wrapped)
    }

    /// The customer's key, from its wrapped form.
    pub fn unwrap_key(
        &self,
        workspace: WorkspaceId,
        customer_id: &str,
        wrapped: &[u8],
    ) -> Result<CustomerKey, VaultError> {
        let key = Zeroizing::new(open(&self.wrap, workspace, "customers", customer_id, "wrapped_key", wrapped)?);
        let key: &[u8; 32] = key.as_slice().try_into().map_err(|_| VaultError::Unreadable)?;
        Ok(CustomerKey(cipher(key)))
    }

    /// Seals what belongs to a workspace: its secrets, push tokens.
    pub fn seal(&self, workspace: WorkspaceId, table: &str, id: &str, column: &str, plain: &[u8]) -> Vec<u8> {
        seal(&self.seal, workspace, table, id, column, plain)
    }

    /// Opens what [`Vault::seal`] sealed for the same place.
    pub fn open(
        &self,
        workspace: WorkspaceId,
        table: &str,
        id: &str,
        column: &str,
        sealed: &[u8],
    ) -> Result<Vec<u8>, VaultError> {
        open(&self.seal, workspace, table, id, column, sealed)
    }

    /// Finds a push token again without storing it in the clear.
    pub fn token_hash(&self, workspace: WorkspaceId, provider: PushProvider, token: &str) -> [u8; 32] {
        let provider = match provider {
            PushProvider::Apns => 1,
            PushProvider::Fcm => 2,
        };
        mac(&self.blind, &[&workspace.0.to_be_bytes(), &[provider], token.as_bytes()])
    }

    /// Tells a repeated request from another one under the same id. Keyed: texts and numbers are easily guessed, and
    /// this outlives their erasure.
    pub fn body_hash(&self, workspace: WorkspaceId, body: &[u8]) -> [u8; 32] {
        // 3 is no push provider: no token hashes like a body.
        mac(&self.blind, &[&workspace.0.to_be_bytes(), &[3], body])
    }

    /// Finds a phone number again without storing it in the clear; the same in all workspaces.
    pub fn number_hash(&self, number: &str) -> [u8; 32] {
        mac(&self.blind, &[&0i64.to_be_bytes(), &[5], number.as_bytes()])
    }

    /// Finds a suppression again: a number or address, by channel. Those of texts are found by the number's own hash.
    pub fn suppression_hash(&self, channel: SuppressionChannel, to: &str) -> [u8; 32] {
        let kind = match channel {
            SuppressionChannel::Text => return self.number_hash(to),
            SuppressionChannel::Alimtalk => 6,
            SuppressionChannel::Line => 7,
            SuppressionChannel::Email => 8,
        };
        let to = if channel == SuppressionChannel::Email { comparable(to) } else { to.to_owned() };
        mac(&self.blind, &[&0i64.to_be_bytes(), &[kind], to.as_bytes()])
    }

    /// A short keyed hash by which a text is told from others to the same number.
    pub fn mark(&self, workspace: WorkspaceId, text: &str) -> u64 {
        let hash = mac(&self.blind, &[&workspace.0.to_be_bytes(), &[4], text.as_bytes()]);
        hash.iter().take(8).fold(0, |mark, byte| mark << 8 | u64::from(*byte))
    }

    /// Stands for a conversation in the headers of its mails: the same in each, and nobody reads it back.
    pub fn thread_id(&self, workspace: WorkspaceId, conversation_id: &str) -> String {
        hex::encode(&mac(&self.blind, &[&workspace.0.to_be_bytes(), &[9], conversation_id.as_bytes()])[..16])
    }

    /// Stands for a number, customer or conversation whose texts are counted (S4).
    pub fn counter_key(&self, workspace: WorkspaceId, scope: Scope, of: &str) -> [u8; 16] {
        // 16 to 20 are nothing else's first byte.
        let hash = mac(&self.blind, &[&workspace.0.to_be_bytes(), &[16 + scope as u8], of.as_bytes()]);
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        key
    }

    /// The device's own key. Derived, so the same at every retry of a registration.
    pub fn device_key(&self, workspace: WorkspaceId, device: DeviceId) -> String {
        URL_SAFE_NO_PAD.encode(self.device_key_bytes(workspace, device))
    }

    /// Whether this is that device's key, in its one spelling (P11).
    pub fn device_key_matches(&self, workspace: WorkspaceId, device: DeviceId, given: &str) -> bool {
        // Compared as text: a spelling that merely decodes to the same bytes is another text.
        self.device_key(workspace, device).as_bytes().ct_eq(given.as_bytes()).into()
    }

    /// The receipt that only this push carries (P11): fields ‖ MAC, in canonical base64url.
    pub fn receipt(
        &self,
        workspace: WorkspaceId,
        followup: FollowupId,
        device: DeviceId,
        covers: u16,
        expires_at: Ms,
    ) -> String {
        let mut bytes = [0u8; RECEIPT_BYTES];
        bytes[..8].copy_from_slice(&followup.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&device.0.to_be_bytes());
        bytes[16..18].copy_from_slice(&covers.to_be_bytes());
        bytes[18..26].copy_from_slice(&expires_at.to_be_bytes());
        let (fields, tag) = bytes.split_at_mut(RECEIPT_FIELDS_BYTES);
        tag.copy_from_slice(&self.receipt_mac(workspace, fields)[..RECEIPT_MAC_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The receipt that only this test push carries.
    pub fn test_receipt(&self, workspace: WorkspaceId, device: DeviceId, expires_at: Ms) -> String {
        self.receipt(workspace, NO_FOLLOWUP, device, 0, expires_at)
    }

    /// What the receipt says, if it is ours, unaltered, of this workspace and not expired.
    pub fn open_receipt(&self, workspace: WorkspaceId, receipt: &str, now: Ms) -> Option<Receipt> {
        if receipt.len() != RECEIPT_CHARS {
            return None;
        }
        // The engine refuses padding, foreign characters and unused bits that are not zero.
        let bytes: [u8; RECEIPT_BYTES] = URL_SAFE_NO_PAD.decode(receipt).ok()?.try_into().ok()?;
        let (fields, tag) = bytes.split_at(RECEIPT_FIELDS_BYTES);
        let expected = self.receipt_mac(workspace, fields);
        if !bool::from(expected[..RECEIPT_MAC_BYTES].ct_eq(tag)) || URL_SAFE_NO_PAD.encode(bytes) != receipt {
            return None;
        }
        let int = |at: usize| fields[at..at + 8].try_into().map(i64::from_be_bytes).ok();
        let carrier = match FollowupId(int(0)?) {
            NO_FOLLOWUP => Carrier::Test,
            id => Carrier::Followup { id, covers: u16::from_be_bytes([fields[16], fields[17]]) },
        };
        let receipt = Receipt { carrier, device: DeviceId(int(8)?), expires_at: int(18)? };
        (now < receipt.expires_at).then_some(receipt)
    }

    /// A question that only a holder of this data key can make and answer: finds out who is behind a URL.
    pub fn challenge(&self) -> String {
        let nonce = random::<16>();
        hex::encode([&nonce[..], &mac(&self.echo, &[b"ask", &nonce])[..16]].concat())
    }

    /// The answer to a challenge that was made with this key.
    pub fn answer(&self, challenge: &str) -> Option<String> {
        let bytes: [u8; 32] = hex::decode(challenge).ok()?.try_into().ok()?;
        let (nonce, tag) = bytes.split_at(16);
        let ours = bool::from(mac(&self.echo, &[b"ask", nonce])[..16].ct_eq(tag));
        ours.then(|| hex::encode(mac(&self.echo, &[b"answer", nonce])))
    }

    /// Stands for a caller's id in logs: the same id gives the same 16 characters, and nobody reads it back.
    pub fn log_id(&self, workspace: WorkspaceId, caller_id: &str) -> String {
        hex::encode(&mac(&self.logs, &[&workspace.0.to_be_bytes(), caller_id.as_bytes()])[..8])
    }

    /// Proves an address that mail is answered at to be ours (E3); the fields say whose it is.
    pub(crate) fn reply_mac(&self, fields: &[u8]) -> [u8; 32] {
        mac(&self.replies, &[fields])
    }

    fn device_key_bytes(&self, workspace: WorkspaceId, device: DeviceId) -> [u8; 32] {
        mac(&self.devices, &[&workspace.0.to_be_bytes(), &device.0.to_be_bytes()])
    }

    fn receipt_mac(&self, workspace: WorkspaceId, fields: &[u8]) -> [u8; 32] {
        mac(&self.receipts, &[&workspace.0.to_be_bytes(), fields])
    }
}

impl CustomerKey {
    /// Seals what belongs to the customer: contact data, texts.
    pub fn seal(&self, workspace: WorkspaceId, table: &str, id: &str, column: &str, plain: &[u8]) -> Vec<u8> {
        seal(&self.0, workspace, table, id, column, plain)
    }

    /// Opens what [`CustomerKey::seal`] sealed for the same place.
    pub fn open(
        &self,
        workspace: WorkspaceId,
        table: &str,
        id: &str,
        column: &str,
        sealed: &[u8],
    ) -> Result<Vec<u8>, VaultError> {
        open(&self.0, workspace, table, id, column, sealed)
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CustomerKey").finish_non_exhaustive()
    }
}

/// SHA-256.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// A new API or app key: the prefix and 43 characters of base64url.
pub fn random_key(prefix: &str) -> String {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random::<32>()))
}

/// A new secret: 64 hexadecimal digits.
pub fn random_secret_hex() -> String {
    hex::encode(random::<32>())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has randomness; without it nothing here is safe");
    bytes
}

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

/// Parts are of fixed length except the last, so that no two lists of parts give the same input.
fn mac(keyed: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed.clone();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn seal(cipher: &XChaCha20Poly1305, ws: WorkspaceId, table: &str, id: &str, column: &str, plain: &[u8]) -> Vec<u8> {
    let nonce: [u8; NONCE_BYTES] = random();
    let aad = place(ws, table, id, column);
    let payload = Payload { msg: plain, aad: &aad };
    let sealed = cipher.encrypt(&XNonce::from(nonce), payload).expect("a plaintext is far below 256 GiB");
    let mut out = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
    out.push(SEAL_VERSION);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&sealed);
    out
}

fn open(
    cipher: &XChaCha20Poly1305,
    ws: WorkspaceId,
    table: &str,
    id: &str,
    column: &str,
    sealed: &[u8],
) -> Result<Vec<u8>, VaultError> {
    let (version, rest) = sealed.split_first().ok_or(VaultError::Unreadable)?;
    if *version != SEAL_VERSION {
        return Err(VaultError::Version(*version));
    }
    if rest.len() < NONCE_BYTES + TAG_BYTES {
        return Err(VaultError::Unreadable);
    }
    let (nonce, msg) = rest.split_at(NONCE_BYTES);
    let nonce = XNonce::try_from(nonce).map_err(|_| VaultError::Unreadable)?;
    let aad = place(ws, table, id, column);
    cipher.decrypt(&nonce, Payload { msg, aad: &aad }).map_err(|_| VaultError::Unreadable)
}

/// Where a value belongs. Each part is preceded by its length: ("ab", "c") is not ("a", "bc").
fn place(workspace: WorkspaceId, table: &str, id: &str, column: &str) -> Vec<u8> {
    let mut aad = Vec::with_capacity(1 + 8 + 3 * 8 + table.len() + id.len() + column.len());
    aad.push(SEAL_VERSION);
    aad.extend_from_slice(&workspace.0.to_be_bytes());
    for part in [table, id, column] {
        aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
        aad.extend_from_slice(part.as_bytes());
    }
    aad
}

#[cfg(test)]
mod tests;
