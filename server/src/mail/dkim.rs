//! Signatures of a company's own domain (E2, RFC 6376): keys are made here, and mail is signed as it leaves.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_auth::common::crypto::{RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::{DkimSigner, Done};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

/// Each is signed as often as it stands in the mail, and once more: a second one, put in on the way, breaks the
/// signature. What relays write anew or add is not among them, since no signature would hold: SES gives each mail a
/// `Date` and a `Message-ID` of its own, others a `List-Unsubscribe`.
const SIGNED: [&str; 8] = ["From", "To", "Cc", "Subject", "Reply-To", "Auto-Submitted", "MIME-Version", "Content-Type"];
const SELECTOR_CHARS: usize = 10;

/// A new key.
pub struct NewKey {
    /// PKCS#8, DER.
    pub secret: Zeroizing<Vec<u8>>,
    /// SubjectPublicKeyInfo, base64: as DNS spells it.
    pub public: String,
    /// Derived from the public key, so that two companies, or two deployments of one, never take the same.
    pub selector: String,
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key can be made or read")]
pub struct NoKey;

/// A key in use.
pub struct Signer(DkimSigner<RsaKey<Sha256>, Done>);

/// Makes a key: RSA with 2,048 bits, the longest that every receiver and DNS console takes. Takes a tenth of a second.
pub fn new_key() -> Result<NewKey, NoKey> {
    let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| NoKey)?;
    let secret: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| NoKey)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| NoKey)?;
    let name = hex::encode(crate::vault::sha256(public.as_ref()));
    Ok(NewKey {
        secret: Zeroizing::new(secret.as_ref().to_vec()),
        public: STANDARD.encode(public.as_ref()),
        selector: format!("bs-{}", &name[..SELECTOR_CHARS]),
    })
}

impl Signer {
    /// Signs for `domain` with this key.
    pub fn new(domain: &str, selector: &str, secret: &[u8]) -> Result<Signer, NoKey> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(secret));
        let key = RsaKey::<Sha256>::from_key_der(key).map_err(|_| NoKey)?;
        let headers = SIGNED.iter().flat_map(|name| [*name, *name]);
        Ok(Signer(DkimSigner::from_key(key).domain(domain).selector(selector).headers(headers)))
    }

    /// The mail with its signature on top. Its time is the machine's: receivers compare it with theirs.
    pub fn sign(&self, mail: &[u8]) -> Result<Vec<u8>, NoKey> {
        let signature = self.0.sign(mail).map_err(|_| NoKey)?;
        let mut signed = Vec::with_capacity(mail.len() + 1_024);
        signature.write_header(&mut signed);
        signed.extend_from_slice(mail);
        Ok(signed)
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &[u8] = b"From: a@shop.example\r\nTo: b@example.com\r\nSubject: Hi\r\n\r\nHello\r\n";

    /// E2: a key's record fits DNS, its name is its own, and its signature covers what it has to, twice.
    #[test]
    fn e2_a_new_key_signs_and_no_two_are_the_same() {
        let (one, two) = (new_key().unwrap(), new_key().unwrap());
        assert_ne!((&one.selector, &one.public), (&two.selector, &two.public));
        assert_eq!((one.public.len(), one.selector.len()), (392, 13));
        let signer = Signer::new("shop.example", &one.selector, &one.secret).unwrap();
        let signed = String::from_utf8(signer.sign(MAIL).unwrap()).unwrap();
        let (header, rest) = signed.split_at(signed.len() - MAIL.len());
        assert_eq!(rest.as_bytes(), MAIL);
        assert!(header.starts_with("DKIM-Signature: v=1; a=rsa-sha256; s=bs-") && header.ends_with("\r\n"), "{header}");
        let flat = header.split_whitespace().collect::<String>();
        let covered = flat.split("h=").nth(1).and_then(|rest| rest.split(';').next()).unwrap().to_lowercase();
        for rewritten in ["date", "message-id", "list-unsubscribe", "references", "in-reply-to"] {
            assert!(!covered.split(':').any(|covered| covered == rewritten), "{rewritten}: {covered}");
        }
        for name in SIGNED {
            let times = covered.split(':').filter(|covered| *covered == name.to_lowercase()).count();
            let there = usize::from(["From", "To", "Subject"].contains(&name));
            assert!(times > there, "{name}: {covered}");
        }
        assert!(Signer::new("shop.example", "x", b"no key").is_err());
        assert_eq!(format!("{signer:?}"), "Signer { .. }");
    }
}
