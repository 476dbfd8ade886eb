//! Solapi's signature: HMAC-SHA256 over the time and a salt, each pair used once.

use aws_lc_rs::hmac;
use jiff::Timestamp;

/// Long enough that no two requests ever share a signature.
pub(super) fn salt() -> String {
    crate::vault::random_secret_hex()
}

/// The whole header. Solapi takes it within 15 minutes of its own clock, and once.
pub(super) fn authorization(api_key: &str, api_secret: &str, now_ms: i64, salt: &str) -> String {
    let time = Timestamp::from_millisecond(now_ms).unwrap_or_default();
    let date = time.strftime("%Y-%m-%dT%H:%M:%SZ");
    let key = hmac::Key::new(hmac::HMAC_SHA256, api_secret.as_bytes());
    let signature = hex::encode(hmac::sign(&key, format!("{date}{salt}").as_bytes()));
    format!("HMAC-SHA256 apiKey={api_key}, date={date}, salt={salt}, signature={signature}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value is another implementation's (OpenSSL's).
    #[test]
    fn a_signature_is_over_time_and_salt() {
        let header = authorization("NCSAYU7YDBXYORXC", "secret", 1_561_941_708_123, "jqsba2jxjnrjor");
        assert_eq!(
            header,
            "HMAC-SHA256 apiKey=NCSAYU7YDBXYORXC, date=2019-07-01T00:41:48Z, salt=jqsba2jxjnrjor, \
             signature=4297539ca79c85dd83b60cbddae60942710223ddcafc4bf02275193a649057ce"
        );
        assert_ne!(salt(), salt());
        assert!((12..=64).contains(&salt().len()));
    }
}
