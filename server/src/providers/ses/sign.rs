//! AWS Signature Version 4, for SES.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign};
use aws_sigv4::sign::v4;
use std::time::{Duration, SystemTime};

/// The service that a signature is for; API v2 kept the name of v1.
const SERVICE: &str = "ses";

/// Signs with one access key, for one region.
pub(super) struct Signer {
    credentials: Credentials,
    region: String,
}

impl Signer {
    pub(super) fn new(key_id: &str, secret: &str, session_token: Option<String>, region: &str) -> Signer {
        let credentials = Credentials::new(key_id, secret, session_token, None, "configuration");
        Signer { credentials, region: region.to_owned() }
    }

    /// The headers to add; `None` = the request cannot be signed at all.
    pub(super) fn sign(&self, method: &str, url: &str, body: &[u8], now_ms: i64) -> Option<Vec<(String, String)>> {
        let identity = self.credentials.clone().into();
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now_ms).ok()?);
        let params: SigningParams<'_> = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(SERVICE)
            .time(at)
            .settings(SigningSettings::default())
            .build()
            .ok()?
            .into();
        let headers = [("content-type", "application/json")];
        let request = SignableRequest::new(method, url, headers.into_iter(), SignableBody::Bytes(body)).ok()?;
        let (signed, _) = sign(request, &params).ok()?.into_parts();
        Some(signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}
