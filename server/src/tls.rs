//! TLS of our own: a certificate and its key, read again when their files change, under connections that go on.

use crate::config::TlsFiles;
use crate::telemetry::{ALARMS, TLS_NOT_AFTER};
use backstop_domain::Ms;
use backstop_wire::time::to_rfc3339;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Tools that renew certificates write files and tell nobody; a minute later the new one is shown.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// A certificate that ends soon rings again after this long.
const RING_EVERY_MS: Ms = 86_400_000;
/// With less than this left somebody should have renewed it.
pub const RENEW_MS: Ms = 14 * 86_400_000;

/// What is wrong with `[server.tls]`, and what mends it. Quotes neither file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("[server.tls] {key} {} cannot be read ({error}): name a file that this user may read", .path.display())]
    File {
        /// Which key of the configuration.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// No certificate in it.
    #[error("[server.tls] cert_file {} holds no certificate in PEM: give the server's first, then the chain above it",
        .0.display())]
    NoCertificate(PathBuf),
    /// A key that needs a password.
    #[error("[server.tls] key_file {} is encrypted: give it without a password, readable by this user only",
        .0.display())]
    EncryptedKey(PathBuf),
    /// No key in it.
    #[error("[server.tls] key_file {} holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)", .0.display())]
    NoKey(PathBuf),
    /// They do not belong together.
    #[error(
        "[server.tls] cert_file and key_file do not belong together: give the key that the certificate was made for"
    )]
    Mismatch,
    /// Its time is over.
    #[error("[server.tls] the certificate in {} ended at {}: renew it", .0.display(), to_rfc3339(*.1))]
    Expired(PathBuf, Ms),
    /// Its time has not come.
    #[error("[server.tls] the certificate in {} begins at {}: check this machine's clock, or wait", .0.display(),
        to_rfc3339(*.1))]
    NotYet(PathBuf, Ms),
    /// rustls cannot work with it.
    #[error("[server.tls] the certificate or its key cannot be used ({0}): RSA (2048 and up), ECDSA and Ed25519 can")]
    Unusable(rustls::Error),
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Names it is for.
    pub names: Vec<String>,
    /// When it begins.
    pub not_before: Ms,
    /// When it ends.
    pub not_after: Ms,
}

/// The certificate in use, for every listener that speaks TLS.
pub struct Tls {
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
    files: TlsFiles,
    /// What the files held when they were last looked at.
    seen: Mutex<Pair>,
    /// When the certificate in use ends.
    not_after: AtomicI64,
}

/// What both files hold.
#[derive(PartialEq, Eq)]
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// A handshake takes what stands here; connections that are open keep theirs.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Tls {
    /// Reads and checks both files; whatever would fail every handshake is an error now.
    pub fn load(files: &TlsFiles, now: Ms) -> Result<Tls, TlsError> {
        let pair = Pair::read(files)?;
        let (key, certificate) = pair.check(files, now)?;
        certificate.report(now);
        let shown = Arc::new(Shown(RwLock::new(Arc::new(key))));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Tls {
            acceptor,
            shown,
            files: files.clone(),
            seen: Mutex::new(pair),
            not_after: AtomicI64::new(certificate.not_after),
        })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Looks at the files; whether a new certificate is shown from now on. What cannot be used changes nothing: half a
    /// renewal is whole the next time.
    pub fn reload(&self, now: Ms) -> Result<bool, TlsError> {
        let pair = Pair::read(&self.files)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == pair {
            return Ok(false);
        }
        let (key, certificate) = pair.check(&self.files, now)?;
        certificate.report(now);
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
        self.not_after.store(certificate.not_after, Ordering::Relaxed);
        *seen = pair;
        Ok(true)
    }

    /// Looks at the files every minute, and at once on SIGHUP. Never ends.
    #[expect(clippy::disallowed_methods, reason = "how often files are looked at: no rule sees it")]
    pub(crate) async fn keep_fresh(&self, now: impl Fn() -> Ms) {
        let mut asked = signal(SignalKind::hangup()).ok();
        let mut rang_at = Ms::MIN;
        loop {
            let told = async {
                match &mut asked {
                    Some(signal) => signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = told => {}
            }
            match self.reload(now()) {
                Ok(true) => tracing::info!("the certificate was renewed; connections that are open go on"),
                Ok(false) => {}
                Err(error) => {
                    metrics::counter!(ALARMS, "alarm" => "tls_reload").increment(1);
                    tracing::error!(%error, "the certificate before goes on being shown");
                }
            }
            // Nobody renewed it: the files are what they were, and say nothing by themselves.
            let (at, ends_at) = (now(), self.not_after.load(Ordering::Relaxed));
            if ends_at.saturating_sub(at) < RENEW_MS && at.saturating_sub(rang_at) >= RING_EVERY_MS {
                rang_at = at;
                metrics::counter!(ALARMS, "alarm" => "tls_ends").increment(1);
                let ends_at = backstop_wire::time::to_rfc3339(ends_at);
                tracing::error!(ends_at, "the certificate of [server.tls] ends soon or has ended: renew it");
            }
        }
    }
}

/// What `check-config` says of the files, without keeping them.
pub fn check(files: &TlsFiles, now: Ms) -> Result<Certificate, TlsError> {
    Ok(Pair::read(files)?.check(files, now)?.1)
}

impl Pair {
    fn read(files: &TlsFiles) -> Result<Pair, TlsError> {
        let read = |key: &'static str, path: &Path| {
            std::fs::read(path).map_err(|error| TlsError::File { key, path: path.to_owned(), error })
        };
        Ok(Pair { certificate: read("cert_file", files.cert_file())?, key: read("key_file", files.key_file())? })
    }

    fn check(&self, files: &TlsFiles, now: Ms) -> Result<(CertifiedKey, Certificate), TlsError> {
        let (cert_path, key_path) = (files.cert_file(), files.key_file());
        let no_certificate = || TlsError::NoCertificate(cert_path.to_owned());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| no_certificate())?;
        let certificate = chain.first().and_then(|leaf| Certificate::read(leaf)).ok_or_else(no_certificate)?;
        let is_encrypted = self.key.windows(9).any(|word| word == b"ENCRYPTED");
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| match is_encrypted {
            true => TlsError::EncryptedKey(key_path.to_owned()),
            false => TlsError::NoKey(key_path.to_owned()),
        })?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch,
            other => TlsError::Unusable(other),
        })?;
        if now > certificate.not_after {
            return Err(TlsError::Expired(cert_path.to_owned(), certificate.not_after));
        }
        if now < certificate.not_before {
            return Err(TlsError::NotYet(cert_path.to_owned(), certificate.not_before));
        }
        Ok((key, certificate))
    }
}

impl Certificate {
    /// Of DER bytes; `None` = they are no certificate.
    pub fn read(der: &[u8]) -> Option<Certificate> {
        let (_, x509) = X509Certificate::from_der(der).ok()?;
        let names = x509.subject_alternative_name().ok().flatten().map(|names| names.value.general_names.iter());
        let names = names.into_iter().flatten().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        let validity = x509.validity();
        Some(Certificate {
            names: names.collect(),
            not_before: validity.not_before.timestamp().saturating_mul(1_000),
            not_after: validity.not_after.timestamp().saturating_mul(1_000),
        })
    }

    /// Whole days that are left.
    pub fn days_left(&self, now: Ms) -> i64 {
        (self.not_after - now) / 86_400_000
    }

    fn report(&self, now: Ms) {
        metrics::gauge!(TLS_NOT_AFTER).set(self.not_after as f64 / 1_000.0);
        if self.not_after - now < RENEW_MS {
            tracing::warn!(days_left = self.days_left(now), "the certificate of [server.tls] ends soon: renew it");
        }
    }
}
