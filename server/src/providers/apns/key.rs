//! Apple's signing key: a .p8 file is one PEM block of PKCS#8 on the curve P-256, and whatever else it is has a name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::EncodingKey;

/// No key of any kind is longer.
const MAX_KEY_BYTES: usize = 64 * 1024;
const PEM_LABEL: &str = "PRIVATE KEY";
/// 1.2.840.10045.2.1, an EC key; 1.2.840.10045.3.1.7, P-256; 1.2.840.113549.1.1.1, RSA; as they stand in PKCS#8.
const OID_EC: &[u8] = &[0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const OID_P256: &[u8] = &[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const OID_RSA: &[u8] = &[0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
/// How PKCS#12 begins behind the length of its sequence: version 3.
const PKCS12_VERSION: &[u8] = &[0x02, 0x01, 0x03];

/// What was given instead of a .p8 key, and what mends it. Never quotes any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing.
    #[error("is empty: give the content of the .p8 file as Apple hands it out")]
    Empty,
    /// A certificate with its key, for the older way to authenticate.
    #[error("is a .p12 (certificate and key): make a token signing key (.p8) under Keys in your Apple account")]
    Pkcs12,
    /// A certificate.
    #[error("is a certificate: make a token signing key (.p8) under Keys in your Apple account")]
    Certificate,
    /// Locked by a password.
    #[error("is encrypted with a password: give the .p8 as Apple hands it out, without one")]
    Encrypted,
    /// The half that everybody may have.
    #[error("is a public key: give the .p8 file, which begins with -----BEGIN PRIVATE KEY-----")]
    Public,
    /// SEC1 instead of PKCS#8.
    #[error("is an EC key in another form: give the .p8 as it is, or convert with `openssl pkcs8 -topk8 -nocrypt`")]
    Sec1,
    /// Another algorithm.
    #[error("is an RSA key: APNs wants the .p8 of a token signing key, made under Keys in your Apple account")]
    Rsa,
    /// Another curve.
    #[error("is not on the curve P-256 (prime256v1): give the .p8 of a token signing key made in your Apple account")]
    Curve,
    /// Base64 alone.
    #[error("has lost its first and last line: give the whole .p8, from -----BEGIN PRIVATE KEY----- to the end")]
    Bare,
    /// Cut off or changed.
    #[error("is damaged: give the .p8 file as Apple handed it out; it can be downloaded once, else make a new key")]
    Damaged,
    /// Anything else.
    #[error("is not a .p8 key: it begins with -----BEGIN PRIVATE KEY-----")]
    Unknown,
}

/// The key that signs, tried once.
pub(super) fn read(bytes: &[u8]) -> Result<EncodingKey, KeyError> {
    if bytes.len() > MAX_KEY_BYTES {
        return Err(KeyError::Unknown);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return Err(of_der(bytes)) };
    let text = text.trim_start_matches('\u{feff}').trim();
    let Some((label, body)) = pem(text)? else { return Err(bare(text)) };
    match label {
        PEM_LABEL if text.contains("ENCRYPTED") => return Err(KeyError::Encrypted),
        PEM_LABEL => {}
        "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
        "EC PRIVATE KEY" | "EC PARAMETERS" if text.contains("ENCRYPTED") => return Err(KeyError::Encrypted),
        "EC PRIVATE KEY" | "EC PARAMETERS" => return Err(KeyError::Sec1),
        "RSA PRIVATE KEY" => return Err(KeyError::Rsa),
        "PUBLIC KEY" | "RSA PUBLIC KEY" => return Err(KeyError::Public),
        "PKCS12" => return Err(KeyError::Pkcs12),
        label if label.contains("CERTIFICATE") => return Err(KeyError::Certificate),
        _ => return Err(KeyError::Unknown),
    }
    let der = decode(body).ok_or(KeyError::Damaged)?;
    if !holds(&der, OID_EC) {
        return Err(if holds(&der, OID_RSA) { KeyError::Rsa } else { other_algorithm(&der) });
    }
    if !holds(&der, OID_P256) {
        return Err(KeyError::Curve);
    }
    EncodingKey::from_ec_pem(text.as_bytes()).map_err(|_| KeyError::Damaged)
}

/// The first PEM block: its label, and what stands in it. `Ok(None)` = there is none.
fn pem(text: &str) -> Result<Option<(&str, &str)>, KeyError> {
    let Some((_, rest)) = text.split_once("-----BEGIN ") else { return Ok(None) };
    let (label, rest) = rest.split_once("-----").ok_or(KeyError::Damaged)?;
    let (body, _) = rest.split_once("-----END ").ok_or(KeyError::Damaged)?;
    Ok(Some((label, body)))
}

fn decode(body: &str) -> Option<Vec<u8>> {
    let packed: String = body.split_whitespace().collect();
    STANDARD.decode(packed).ok().filter(|der| der.first() == Some(&0x30))
}

/// Text without armour: base64 of something, or nothing we know.
fn bare(text: &str) -> KeyError {
    if text.is_empty() {
        return KeyError::Empty;
    }
    match decode(text).map(|der| of_der(&der)) {
        Some(KeyError::Unknown) | None => KeyError::Unknown,
        Some(named) => named,
    }
}

fn of_der(der: &[u8]) -> KeyError {
    if der.first() != Some(&0x30) {
        KeyError::Unknown
    } else if der.get(..16).unwrap_or(der).windows(PKCS12_VERSION.len()).any(|bytes| bytes == PKCS12_VERSION) {
        KeyError::Pkcs12
    } else if holds(der, OID_EC) && holds(der, OID_P256) && der.len() < 256 {
        KeyError::Bare
    } else if der.len() > 256 && (holds(der, OID_RSA) || holds(der, OID_EC)) {
        KeyError::Certificate
    } else {
        KeyError::Unknown
    }
}

/// PKCS#8 of an algorithm that is neither: Ed25519, X25519, …
fn other_algorithm(der: &[u8]) -> KeyError {
    if der.windows(2).any(|bytes| bytes == [0x06, 0x03]) { KeyError::Curve } else { KeyError::Damaged }
}

fn holds(der: &[u8], oid: &[u8]) -> bool {
    der.windows(oid.len()).any(|bytes| bytes == oid)
}
