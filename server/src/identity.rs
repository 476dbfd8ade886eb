//! Who a customer is, proven by the workspace: an HMAC of the customer id, or a JWT (C1).
//!
//! Without proof no token is bound to a known customer. A wrong proof is refused, never ignored: a caller that sends
//! one believes that it is someone.

use crate::workspace::Workspace;
use backstop_domain::Ms;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// A JWT lives at most this long from now.
const MAX_TOKEN_LIFE_S: f64 = 24.0 * 3600.0;
/// Clocks of the company's servers may differ by this.
const LEEWAY_S: f64 = 60.0;
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// What a caller says and shows of a customer.
#[derive(Clone, Copy, Default)]
pub struct Claim<'a> {
    /// Who they say they are.
    pub customer_id: Option<&'a str>,
    /// Lower-case hex of HMAC-SHA256(identity secret, customer id).
    pub hash: Option<&'a str>,
    /// A JWT whose `sub` is the customer id.
    pub token: Option<&'a str>,
}

/// Why nobody is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A customer id came without proof.
    #[error("customer_id needs customer_hash or customer_token; your backend makes them with the identity secret")]
    Missing,
    /// The hash does not belong to this customer id.
    #[error(
        "customer_hash does not fit: lower-case hex of HMAC-SHA256 over the exact customer_id, keyed with the \
         hex-decoded identity secret"
    )]
    Hash,
    /// The token does not verify.
    #[error(
        "customer_token does not verify: ES256, RS256 or HS256 by a key of this workspace, with sub (the customer), \
         aud (the workspace's name) and exp at most 24 hours ahead"
    )]
    Token,
    /// The token speaks for another customer.
    #[error("customer_token is for another customer than customer_id")]
    Another,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    nbf: Option<f64>,
}

/// The proven customer; `None` = nobody claims to be logged in. `now_ms` is real time.
pub fn prove(workspace: &Workspace, claim: Claim<'_>, now_ms: Ms) -> Result<Option<String>, IdentityError> {
    let by_token =
        claim.token.map(|token| subject(workspace, token, now_ms).ok_or(IdentityError::Token)).transpose()?;
    match (claim.customer_id, claim.hash, by_token) {
        (None, None, subject) => Ok(subject),
        (None, Some(_), _) => Err(IdentityError::Hash),
        (Some(_), None, None) => Err(IdentityError::Missing),
        (Some(id), Some(hash), _) if !hash_fits(workspace, id, hash) => Err(IdentityError::Hash),
        (Some(id), _, Some(subject)) if subject != id => Err(IdentityError::Another),
        (Some(id), ..) => Ok(Some(id.to_owned())),
    }
}

/// What the company's backend computes for its customer.
pub fn customer_hash(secret: &[u8], customer_id: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(customer_id.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// Whether a PEM public key can sign customers' tokens; checked before it is trusted.
pub fn is_public_key(pem: &str) -> bool {
    pem.contains("PUBLIC KEY")
        && (DecodingKey::from_ec_pem(pem.as_bytes()).is_ok() || DecodingKey::from_rsa_pem(pem.as_bytes()).is_ok())
}

/// Every valid secret is tried, whichever fits: the time taken tells nothing.
fn hash_fits(workspace: &Workspace, customer_id: &str, hash: &str) -> bool {
    let fits = workspace.identity_secrets.iter().fold(subtle::Choice::from(0), |fits, secret| {
        fits | customer_hash(secret, customer_id).as_bytes().ct_eq(hash.as_bytes())
    });
    fits.into()
}

/// Whom a token speaks for. The algorithm chooses the kind of key, so that no key is used as another kind.
fn subject(workspace: &Workspace, token: &str, now_ms: Ms) -> Option<String> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let algorithm = jsonwebtoken::decode_header(token).ok()?.alg;
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[&workspace.name]);
    validation.set_required_spec_claims(&["sub", "aud", "exp"]);
    // Checked below, against our own clock.
    validation.validate_exp = false;
    let keys = keys(workspace, algorithm);
    let claims = keys.iter().find_map(|key| jsonwebtoken::decode::<Claims>(token, key, &validation).ok())?.claims;
    let now_s = now_ms as f64 / 1000.0;
    let alive = claims.exp > now_s - LEEWAY_S
        && claims.exp <= now_s + MAX_TOKEN_LIFE_S + LEEWAY_S
        && claims.nbf.is_none_or(|nbf| nbf <= now_s + LEEWAY_S);
    let named =
        !claims.sub.is_empty() && claims.sub.chars().count() <= 128 && !claims.sub.chars().any(char::is_control);
    (alive && named).then_some(claims.sub)
}

fn keys(workspace: &Workspace, algorithm: Algorithm) -> Vec<DecodingKey> {
    let trusted = workspace.trusted_keys.iter().map(String::as_bytes);
    match algorithm {
        // Many libraries take the secret as text: its 64 characters are accepted beside the 32 bytes they spell.
        Algorithm::HS256 => {
            let secrets = workspace.identity_secrets.iter();
            let both = secrets
                .flat_map(|s| [DecodingKey::from_secret(s), DecodingKey::from_secret(hex::encode(s).as_bytes())]);
            both.collect()
        }
        Algorithm::ES256 => trusted.filter_map(|pem| DecodingKey::from_ec_pem(pem).ok()).collect(),
        Algorithm::RS256 => trusted.filter_map(|pem| DecodingKey::from_rsa_pem(pem).ok()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
