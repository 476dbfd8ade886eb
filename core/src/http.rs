//! The real transport: HTTP over rustls with ring, bundled roots and the app's extra ones.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backstop_wire::time::from_rfc3339;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use url::Url;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::error::{Error, TransportError};
use crate::transport::{MAX_RESPONSE_BYTES, Method, Request, Response, ResponseFuture, Transport};

/// Talks HTTP/1.1 to the server named in the configuration. Needs a tokio runtime.
#[derive(Debug)]
pub struct HttpTransport {
    connections: Mutex<Connections>,
    tls: rustls::ClientConfig,
    base: Url,
    config: Config,
}

/// Connections, and when they were last of use by the clock that counts sleep.
///
/// A phone that slept wakes with connections that everyone else has forgotten, and a pool that measures with a clock
/// which stood still meanwhile takes them for fresh: the ack would wait for a time-out.
#[derive(Debug)]
struct Connections {
    client: reqwest::Client,
    used_ms: i64,
}

/// An idle connection older than this is not used again. Acks of one flush share theirs.
const IDLE_MAX_MS: i64 = 20_000;

impl HttpTransport {
    /// Checks the configuration and prepares the connection; opens none.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let base = config.checked_base_url()?;
        let tls = tls_config(config, base.scheme() == "https")?;
        let connections = Mutex::new(Connections { client: client(&tls, &base)?, used_ms: SystemClock.elapsed_ms() });
        Ok(HttpTransport { connections, tls, base, config: config.clone() })
    }

    /// Connections that were in use a moment ago, or new ones.
    fn client(&self) -> reqwest::Client {
        let now_ms = SystemClock.elapsed_ms();
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ms.saturating_sub(connections.used_ms) > IDLE_MAX_MS
            && let Ok(fresh) = client(&self.tls, &self.base)
        {
            connections.client = fresh;
        }
        connections.used_ms = now_ms;
        connections.client.clone()
    }

    async fn exchange(&self, request: Request, timeout_ms: u64) -> Result<Response, TransportError> {
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Delete => reqwest::Method::DELETE,
        };
        let url = self.base.join(request.path.trim_start_matches('/')).map_err(|_| TransportError::Broken)?;
        let headers = request.headers(&self.config);
        let mut outgoing = self.client().request(method, url).timeout(Duration::from_millis(timeout_ms));
        for (name, value) in headers {
            outgoing = outgoing.header(name, value);
        }
        let mut incoming = outgoing.body(request.body).send().await.map_err(|e| classify(&e))?;
        let (status, retry_after_ms) = (incoming.status().as_u16(), retry_after_ms(incoming.headers()));
        let mut body = Vec::new();
        while let Some(chunk) = incoming.chunk().await.map_err(|e| classify(&e))? {
            if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                return Err(TransportError::Broken);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, retry_after_ms, body })
    }
}

fn client(tls: &rustls::ClientConfig, base: &Url) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        // Always our own TLS set-up: the library's default would ask for a process-wide provider, and on Android for a
        // Java virtual machine. Its clones share their sessions, so that a new connection resumes.
        .tls_backend_preconfigured(tls.clone())
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent(concat!("backstop-core/", env!("CARGO_PKG_VERSION")));
    if base.scheme() == "http" {
        // A proxy of the environment cannot reach this machine's loopback.
        builder = builder.no_proxy();
    }
    builder
        .build()
        .map_err(|_| Error::InvalidConfig { key: "base_url", reason: "no HTTP client can be made".to_owned() })
}

impl Transport for HttpTransport {
    fn send(&self, request: Request, timeout_ms: u64) -> ResponseFuture<'_> {
        Box::pin(self.exchange(request, timeout_ms))
    }
}

fn tls_config(config: &Config, bundled: bool) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    if bundled {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let wrong = |reason: &str| Error::InvalidConfig { key: "extra_root_certificates", reason: reason.to_owned() };
    for pem in &config.extra_root_certificates {
        let mut found = false;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| wrong("is not PEM"))?;
            roots.add(certificate).map_err(|_| wrong("holds a certificate that cannot be a root"))?;
            found = true;
        }
        if !found {
            return Err(wrong("holds no certificate"));
        }
    }
    let provider = CryptoProvider { key_provider: &NoKeys, ..rustls::crypto::ring::default_provider() };
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("ring supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

/// A device has a key of the server's, not a certificate: without anything to sign, an app need not carry RSA.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("a device has no certificate".to_owned()))
    }
}

/// A library's error in our words. Its text is dropped: it names the URL.
fn classify(error: &reqwest::Error) -> TransportError {
    if error.is_timeout() {
        return TransportError::Timeout;
    }
    let mut next = std::error::Error::source(error);
    while let Some(inner) = next {
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return TransportError::Tls { reason: tls.to_string() };
        }
        // An I/O error names as its source what lies below the error it wraps, not that error itself.
        let wrapped = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = wrapped.map(|e| e as &(dyn std::error::Error + 'static)).or_else(|| inner.source());
    }
    if error.is_connect() { TransportError::Connect } else { TransportError::Broken }
}

/// `Retry-After` in seconds, or as a date measured against the response's own `Date`, since the device's clock may
/// be wrong.
fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1000));
    }
    let served = from_http_date(headers.get(DATE)?.to_str().ok()?)?;
    u64::try_from(from_http_date(text)?.saturating_sub(served)).ok().or(Some(0))
}

/// The one date form that servers may still send: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn from_http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time, zone) = (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    (zone == "GMT").then(|| from_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z"))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(retry_after: &str, date: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry_after.parse().expect("a header value"));
        if let Some(date) = date {
            headers.insert(DATE, date.parse().expect("a header value"));
        }
        headers
    }

    #[test]
    fn retry_after_is_read_in_both_forms_without_the_devices_clock() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(retry_after_ms(&headers("120", None)), Some(120_000));
        assert_eq!(retry_after_ms(&headers("0", None)), Some(0));
        assert_eq!(retry_after_ms(&headers("Sun, 06 Nov 1994 08:50:37 GMT", date)), Some(60_000));
        assert_eq!(retry_after_ms(&headers("Sun, 06 Nov 1994 08:49:00 GMT", date)), Some(0));
        for none in ["", "soon", "-5", "Sun, 06 Nov 1994 08:50:37 GMT", "Sun, 06 Foo 1994 08:50:37 GMT"] {
            assert_eq!(retry_after_ms(&headers(none, None)), None, "{none}");
        }
        assert_eq!(retry_after_ms(&headers("99999999999999999999", None)), None);
        assert_eq!(retry_after_ms(&headers("18446744073709551615", None)), Some(u64::MAX));
    }
}
