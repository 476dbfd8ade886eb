//! Standard Webhooks: what we post to others is signed, and what they post to us is proven (W1, W2).
//!
//! The specification is at standardwebhooks.com; libraries for most languages verify what is signed here.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use axum::http::{HeaderMap, HeaderName};
use backstop_domain::Ms;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The id of a call: the same at each repeat of it.
pub const ID: HeaderName = HeaderName::from_static("webhook-id");
/// When it was signed, in seconds of Unix time.
pub const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// Its signatures, a space between them: after a rotation there is one by each secret.
pub const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// A call that was signed longer ago, or so much later than now, is refused.
const TOLERANCE_MS: Ms = 5 * 60_000;
/// More signatures, and a longer id, nobody gives.
const MAX_SIGNATURES: usize = 8;
const MAX_ID_BYTES: usize = 256;
/// What the specification takes for a secret, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret that two sides share.
#[derive(Clone)]
pub struct Secret(hmac::Key);

/// A call that is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// Its id: a repeat has the same.
    pub id: &'a str,
    /// When it was signed, to the second.
    pub at_ms: Ms,
}

/// Why a call is not proven, in words for whoever set it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// A header is missing, is there twice, or cannot be read.
    #[error("webhook-id, webhook-timestamp or webhook-signature is missing or unreadable: send each of them once")]
    Headers,
    /// Too old, or from the future.
    #[error("webhook-timestamp is more than five minutes off: sign each try anew, and check the clocks of both sides")]
    Time,
    /// Another secret, another body.
    #[error("no signature is right: sign `id.timestamp.body` with the same whsec_ secret, the body byte for byte")]
    Signature,
}

impl Secret {
    /// `whsec_` and the base64 of 24 to 64 bytes, with padding or without; `None` = it is none.
    pub fn parse(text: &str) -> Option<Secret> {
        let bytes = hmac_key(text.trim().strip_prefix("whsec_")?)?;
        SECRET_BYTES.contains(&bytes.len()).then(|| Secret(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The headers that a post of `body` at `now_ms` is proven by. `id` holds no full stop: it would be ambiguous.
    pub fn headers(&self, id: &str, now_ms: Ms, body: &[u8]) -> [(HeaderName, String); 3] {
        debug_assert!(!id.contains('.'), "an id with a full stop is ambiguous");
        let timestamp = now_ms.div_euclid(1_000).to_string();
        let signature = format!("v1,{}", STANDARD.encode(self.tag(id, &timestamp, body)));
        [(ID, id.to_owned()), (TIMESTAMP, timestamp), (SIGNATURE, signature)]
    }

    /// Whether a call was signed with this secret, about now.
    pub fn verify<'a>(&self, headers: &'a HeaderMap, now_ms: Ms, body: &[u8]) -> Result<Signed<'a>, NotSigned> {
        let header = |name: &HeaderName| {
            let mut values = headers.get_all(name).iter();
            let value = values.next().and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty());
            value.filter(|_| values.next().is_none()).ok_or(NotSigned::Headers)
        };
        let (id, timestamp, signatures) = (header(&ID)?, header(&TIMESTAMP)?, header(&SIGNATURE)?);
        let digits = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let seconds: i64 = timestamp.parse().ok().filter(|_| digits).ok_or(NotSigned::Headers)?;
        if id.len() > MAX_ID_BYTES {
            return Err(NotSigned::Headers);
        }
        let at_ms = seconds.saturating_mul(1_000);
        let tag = self.tag(id, timestamp, body);
        let is_right = |given: &str| {
            let given = given.strip_prefix("v1,").and_then(|given| STANDARD.decode(given).ok());
            given.is_some_and(|given| verify_slices_are_equal(tag.as_ref(), &given).is_ok())
        };
        if !signatures.split(' ').take(MAX_SIGNATURES).any(is_right) {
            return Err(NotSigned::Signature);
        }
        // Judged last: only who knows the secret hears of clocks.
        if at_ms.abs_diff(now_ms) > TOLERANCE_MS.unsigned_abs() + 999 {
            return Err(NotSigned::Time);
        }
        Ok(Signed { id, at_ms })
    }

    fn tag(&self, id: &str, timestamp: &str, body: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            context.update(part);
        }
        context.sign()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn hmac_key(base64: &str) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    let decoded = STANDARD.decode(base64).or_else(|_| STANDARD_NO_PAD.decode(base64));
    decoded.ok().map(zeroize::Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID_GIVEN: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: Ms = 1_614_265_330_000;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const RIGHT: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn headers(id: &str, timestamp: &str, signature: &str) -> HeaderMap {
        [(ID, id), (TIMESTAMP, timestamp), (SIGNATURE, signature)]
            .into_iter()
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect()
    }

    /// W1, W2: the vector of the specification is signed and proven; anything changed in it is refused.
    #[test]
    fn the_specifications_vector_is_signed_and_proven() {
        let secret = Secret::parse(SECRET).unwrap();
        let ours = secret.headers(ID_GIVEN, AT + 999, BODY).map(|(_, value)| value);
        assert_eq!(ours, [ID_GIVEN, "1614265330", RIGHT]);
        let says = |id: &str, timestamp: &str, signature: &str, now, body: &[u8]| {
            secret.verify(&headers(id, timestamp, signature), now, body).map(|signed| signed.at_ms)
        };
        let at = "1614265330";
        assert_eq!(says(ID_GIVEN, at, RIGHT, AT, BODY), Ok(AT));
        let rotated = format!("v1,AAAA v1a,{} {RIGHT}", "A".repeat(86));
        assert_eq!(says(ID_GIVEN, at, &rotated, AT, BODY), Ok(AT), "one of several");
        assert_eq!(says(ID_GIVEN, at, RIGHT, AT + 300_999, BODY), Ok(AT));
        assert_eq!(says(ID_GIVEN, at, RIGHT, AT - 300_000, BODY), Ok(AT));
        for now in [AT + 301_000, AT - 301_000] {
            assert_eq!(says(ID_GIVEN, at, RIGHT, now, BODY), Err(NotSigned::Time));
        }
        for (id, timestamp, signature, body) in [
            ("msg_other", at, RIGHT, BODY),
            (ID_GIVEN, "1614265331", RIGHT, BODY),
            (ID_GIVEN, at, &RIGHT[3..], BODY),
            (ID_GIVEN, at, "v1,", BODY),
            (ID_GIVEN, at, &RIGHT.replace("v1,", "v2,"), BODY),
            (ID_GIVEN, at, RIGHT, &BODY[1..]),
            (ID_GIVEN, at, &format!("{} {RIGHT}", ["v1,AAAA"; 8].join(" ")), BODY),
        ] {
            assert_eq!(says(id, timestamp, signature, AT, body), Err(NotSigned::Signature), "{signature}");
        }
        for timestamp in ["+1614265330", "-1", "1614265330.0", "soon", "99999999999999999999"] {
            assert_eq!(says(ID_GIVEN, timestamp, RIGHT, AT, BODY), Err(NotSigned::Headers), "{timestamp}");
        }
        assert_eq!(says(&"x".repeat(257), at, RIGHT, AT, BODY), Err(NotSigned::Headers));
        let mut twice = headers(ID_GIVEN, at, RIGHT);
        twice.append(ID, "msg_other".parse().unwrap());
        assert_eq!(secret.verify(&twice, AT, BODY), Err(NotSigned::Headers));
        assert_eq!(secret.verify(&HeaderMap::new(), AT, BODY), Err(NotSigned::Headers));
    }

    /// W1: a secret is 24 to 64 bytes in base64 after `whsec_`; it is never shown.
    #[test]
    fn a_secret_has_a_length() {
        let of = |bytes: usize| Secret::parse(&format!("whsec_{}", STANDARD.encode(vec![7; bytes])));
        for (bytes, is_one) in [(23, false), (24, true), (64, true), (65, false)] {
            assert_eq!(of(bytes).is_some(), is_one, "{bytes}");
        }
        let unpadded = format!("whsec_{}\n", STANDARD.encode([7; 32]).trim_end_matches('='));
        assert!(Secret::parse(&unpadded).is_some());
        for wrong in ["", "whsec_", SECRET.trim_start_matches("whsec_"), "whsec_!!!"] {
            assert!(Secret::parse(wrong).is_none(), "{wrong}");
        }
        assert_eq!(format!("{:?}", of(24)), "Some(Secret(…))");
    }
}
