//! Envelopes of Amazon SNS: proven by AWS's signature and by the topic, then opened.
//!
//! Any AWS account's topic is signed by the same keys: the signature says that SNS sent it, the topic whose it is.

use crate::providers::transport;
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use backstop_wire::time::from_rfc3339;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::Mutex;
use x509_parser::pem::parse_x509_pem;

/// SNS tries again for an hour at most; what is older is somebody else's copy.
const MAX_AGE_MS: i64 = 3_600_000;
/// Clocks differ.
const MAX_AHEAD_MS: i64 = 5 * 60_000;
/// AWS has one at a time for each region, and changes it once a year.
const MAX_CERTIFICATES: usize = 8;
const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;
/// SNS waits 15 s for our answer.
const MAX_FETCH_MS: u64 = 5_000;

/// An envelope as SNS posts it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope {
    r#type: String,
    message_id: String,
    topic_arn: String,
    #[serde(default)]
    subject: Option<String>,
    message: String,
    timestamp: String,
    signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: String,
    #[serde(default)]
    token: Option<String>,
    #[serde(default, rename = "SubscribeURL")]
    subscribe_url: Option<String>,
}

/// Why a call is not believed, or could not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is no envelope of SNS")]
    Unreadable,
    #[error("its topic is not in topic_arns")]
    OtherTopic,
    #[error("it is too old, or of the future")]
    Stale,
    #[error("its certificate or confirmation is not at SNS")]
    ForeignUrl,
    #[error("its certificate could not be fetched, or is none that is valid now")]
    NoCertificate,
    #[error("its signature is wrong")]
    Signature,
    #[error("the subscription could not be confirmed")]
    Unconfirmed,
}

/// The topics that may tell us something, and the certificates that prove it.
pub(super) struct Topics {
    arns: Vec<String>,
    http: reqwest::Client,
    /// Instead of SNS's own host.
    base: Option<Url>,
    /// By URL.
    certificates: Mutex<BTreeMap<String, Certificate>>,
}

/// What of a certificate is used: it came from SNS itself, by TLS.
#[derive(Clone)]
struct Certificate {
    key: Vec<u8>,
    from_ms: i64,
    until_ms: i64,
}

impl Topics {
    pub(super) fn new(arns: Vec<String>, base: Option<Url>, timeout_ms: u64) -> reqwest::Result<Topics> {
        let timeout_ms = timeout_ms.min(MAX_FETCH_MS);
        let anywhere = Url::parse("https://sns.amazonaws.com").expect("a constant");
        let builder = transport::builder(base.as_ref().unwrap_or(&anywhere), timeout_ms);
        let http = builder.timeout(Duration::from_millis(timeout_ms)).build()?;
        Ok(Topics { arns, http, base, certificates: Mutex::default() })
    }

    /// The message of a proven notification; `None` = it was about the subscription itself.
    pub(super) async fn open(&self, body: &[u8], now_ms: i64) -> Result<Option<String>, Fault> {
        let envelope: Envelope = serde_json::from_slice(body).map_err(|_| Fault::Unreadable)?;
        // Before anything is fetched: nobody else makes us call anywhere.
        if !self.arns.contains(&envelope.topic_arn) {
            return Err(Fault::OtherTopic);
        }
        if !envelope.is_of_now(now_ms) {
            return Err(Fault::Stale);
        }
        let signed = envelope.signed_text().ok_or(Fault::Unreadable)?;
        let certificate = self.certificate(&envelope.signing_cert_url, now_ms).await?;
        if !certificate.has_signed(&envelope, &signed, now_ms) {
            return Err(Fault::Signature);
        }
        match envelope.r#type.as_str() {
            "Notification" => Ok(Some(envelope.message)),
            "SubscriptionConfirmation" => self.confirm(&envelope).await.map(|()| None),
            _ => {
                tracing::warn!("an SNS topic of [providers.ses] topic_arns has unsubscribed this server");
                Ok(None)
            }
        }
    }

    async fn confirm(&self, envelope: &Envelope) -> Result<(), Fault> {
        let url = envelope.subscribe_url.as_deref().and_then(sns_url).ok_or(Fault::ForeignUrl)?;
        let answer = self.http.get(self.elsewhere(url)).send().await.map_err(|_| Fault::Unconfirmed)?;
        if !answer.status().is_success() {
            return Err(Fault::Unconfirmed);
        }
        tracing::info!("an SNS topic of [providers.ses] topic_arns tells this server of mail from now on");
        Ok(())
    }

    async fn certificate(&self, url: &str, now_ms: i64) -> Result<Certificate, Fault> {
        let parsed = sns_url(url).filter(|url| url.path().ends_with(".pem") && url.query().is_none());
        let parsed = parsed.ok_or(Fault::ForeignUrl)?;
        // One at a time: a burst of notifications fetches it once.
        let mut certificates = self.certificates.lock().await;
        if let Some(known) = certificates.get(url).filter(|known| known.is_valid(now_ms)) {
            return Ok(known.clone());
        }
        let response = self.http.get(self.elsewhere(parsed)).send().await.map_err(|_| Fault::NoCertificate)?;
        if response.status().as_u16() != 200 {
            return Err(Fault::NoCertificate);
        }
        let pem = transport::read_bounded(response).await;
        let fresh = Certificate::read(&pem).filter(|fresh| fresh.is_valid(now_ms)).ok_or(Fault::NoCertificate)?;
        if certificates.len() >= MAX_CERTIFICATES {
            certificates.clear();
        }
        certificates.insert(url.to_owned(), fresh.clone());
        Ok(fresh)
    }

    fn elsewhere(&self, mut url: Url) -> Url {
        let Some(base) = &self.base else { return url };
        let mut other = base.clone();
        other.set_path(url.path());
        other.set_query(url.query());
        std::mem::swap(&mut url, &mut other);
        url
    }
}

impl Envelope {
    fn is_of_now(&self, now_ms: i64) -> bool {
        let age_ms = from_rfc3339(&self.timestamp).map(|at| now_ms.saturating_sub(at));
        age_ms.is_some_and(|age_ms| (-MAX_AHEAD_MS..=MAX_AGE_MS).contains(&age_ms))
    }

    /// Its fields in the order that SNS signs them in; `None` = of a kind that we do not know.
    fn signed_text(&self) -> Option<String> {
        let is_notice = match self.r#type.as_str() {
            "Notification" => true,
            "SubscriptionConfirmation" | "UnsubscribeConfirmation" => false,
            _ => return None,
        };
        let mut fields = vec![("Message", self.message.as_str()), ("MessageId", &self.message_id)];
        match is_notice {
            true => fields.extend(self.subject.as_deref().map(|subject| ("Subject", subject))),
            false => fields.push(("SubscribeURL", self.subscribe_url.as_deref()?)),
        }
        fields.push(("Timestamp", &self.timestamp));
        if !is_notice {
            fields.push(("Token", self.token.as_deref()?));
        }
        fields.extend([("TopicArn", self.topic_arn.as_str()), ("Type", &self.r#type)]);
        Some(fields.into_iter().map(|(name, value)| format!("{name}\n{value}\n")).collect())
    }
}

impl Certificate {
    fn read(pem: &[u8]) -> Option<Certificate> {
        if pem.len() > MAX_CERTIFICATE_BYTES {
            return None;
        }
        let (_, pem) = parse_x509_pem(pem).ok()?;
        let certificate = pem.parse_x509().ok()?;
        let validity = certificate.validity();
        Some(Certificate {
            key: certificate.public_key().subject_public_key.data.to_vec(),
            from_ms: validity.not_before.timestamp().saturating_mul(1_000),
            until_ms: validity.not_after.timestamp().saturating_mul(1_000),
        })
    }

    fn is_valid(&self, now_ms: i64) -> bool {
        (self.from_ms..=self.until_ms).contains(&now_ms)
    }

    fn has_signed(&self, envelope: &Envelope, text: &str, now_ms: i64) -> bool {
        let Ok(signature) = STANDARD.decode(&envelope.signature) else { return false };
        let scheme = match envelope.signature_version.as_str() {
            // The vendor's choice of hash, until the topic's owner asks for version 2.
            "1" => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            "2" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return false,
        };
        self.is_valid(now_ms) && UnparsedPublicKey::new(scheme, &self.key).verify(text.as_bytes(), &signature).is_ok()
    }
}

/// `https://sns.REGION.amazonaws.com/…`, and nowhere else.
fn sns_url(url: &str) -> Option<Url> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?.strip_prefix("sns.")?;
    let region = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let is_region = (3..=32).contains(&region.len())
        && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let is_bare = url.username().is_empty() && url.password().is_none() && url.port().is_none();
    (url.scheme() == "https" && is_region && is_bare).then_some(url)
}

pub(super) fn is_signed(envelope: &[u8], certificate: &[u8], now_ms: i64) -> bool {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(envelope) else { return false };
    let Some(certificate) = Certificate::read(certificate) else { return false };
    envelope.signed_text().is_some_and(|text| certificate.has_signed(&envelope, &text, now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// W2: what we fetch on a stranger's word lies at SNS, or is not fetched.
    #[test]
    fn only_sns_is_asked_for_its_certificate() {
        let good = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123.pem";
        assert!(sns_url(good).is_some());
        assert!(sns_url("https://sns.cn-north-1.amazonaws.com.cn/a.pem").is_some());
        for foreign in [
            "http://sns.eu-central-1.amazonaws.com/a.pem",
            "https://sns.eu-central-1.amazonaws.com.evil.example/a.pem",
            "https://evil.example/sns.eu-central-1.amazonaws.com/a.pem",
            "https://sns.eu-central-1.amazonaws.com@evil.example/a.pem",
            "https://user@sns.eu-central-1.amazonaws.com/a.pem",
            "https://sns.eu-central-1.amazonaws.com:8443/a.pem",
            "https://sns.evil.example.amazonaws.com/a.pem",
            "https://bucket.s3.eu-central-1.amazonaws.com/a.pem",
            "https://sns.amazonaws.com/a.pem",
            "https://sns..amazonaws.com/a.pem",
            "https://xsns.eu-central-1.amazonaws.com/a.pem",
            "file:///etc/passwd",
            "",
        ] {
            assert!(sns_url(foreign).is_none(), "{foreign}");
        }
    }
}
