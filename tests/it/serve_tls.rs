//! TLS of our own: files that cannot work are refused in words, and a renewed certificate breaks no request.

use crate::program::{Server, run, said};
use crate::providers_fcm_double::pem;
use backstop_server::clock::{Clock, SystemClock};
use backstop_server::config::TlsFiles;
use backstop_server::serve::{Bounds, Door, serve};
use backstop_server::tls::Tls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use reqwest::tls::{TlsInfo, Version};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::{TempDir, tempdir};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub const ENV: [(&str, &str); 2] =
    [("BACKSTOP__SERVER__TLS__CERT_FILE", "tls.pem"), ("BACKSTOP__SERVER__TLS__KEY_FILE", "tls.key")];

/// An authority of our own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    /// Certificate and key in PEM, and the certificate in DER.
    pub fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let der = certificate.der().to_vec();
        (pem("CERTIFICATE", &der), pem("PRIVATE KEY", &key.serialize_der()), der)
    }

    /// A client that trusts it; a connection of its own for each request unless `kept`.
    fn client(&self, kept: bool, newest: Version) -> reqwest::Client {
        let root = reqwest::Certificate::from_der(self.0.der()).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]).tls_info(true);
        let client = if kept { client } else { client.pool_max_idle_per_host(0) };
        client.tls_version_max(newest).build().unwrap()
    }
}

pub fn put(dir: &Path, certificate: &str, key: &str) {
    std::fs::write(dir.join("tls.pem"), certificate).unwrap();
    std::fs::write(dir.join("tls.key"), key).unwrap();
}

fn url(server: &Server) -> String {
    server.url.replace("http://127.0.0.1", "https://localhost") + "/healthz"
}

/// What a caller without a past sees: one that was here before resumes its session and is shown nothing.
async fn newly_shown(authority: &Authority, url: &str) -> Vec<u8> {
    shown(&authority.client(false, Version::TLS_1_3), url).await
}

async fn shown(client: &reqwest::Client, url: &str) -> Vec<u8> {
    let answer = client.get(url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_11));
    answer.extensions().get::<TlsInfo>().unwrap().peer_certificate().unwrap().to_vec()
}

/// A renewal under load: no request fails, new connections see the new certificate, and half a renewal changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_breaks_no_request() {
    let (dir, authority) = (tempdir().unwrap(), Authority::new());
    let first = authority.issue(|_| {});
    put(dir.path(), &first.0, &first.1);
    let server = Server::start(&dir, &[], &ENV).unwrap();
    let url = url(&server);
    assert_eq!(shown(&authority.client(false, Version::TLS_1_2), &url).await, first.2, "TLS 1.2 is spoken");
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = [true, true, false, false]
        .map(|kept| {
            let (client, url) = (authority.client(kept, Version::TLS_1_3), url.clone());
            let (stop, served) = (stop.clone(), served.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    shown(&client, &url).await;
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .into();
    for _ in 0..5 {
        let next = authority.issue(|_| {});
        let before = newly_shown(&authority, &url).await;
        // The certificate is there and its key is not yet.
        std::fs::write(dir.path().join("tls.pem"), &next.0).unwrap();
        let complaints = complaints(&server);
        server.hang_up();
        while self::complaints(&server) == complaints {
            assert_eq!(newly_shown(&authority, &url).await, before);
        }
        put(dir.path(), &next.0, &next.1);
        server.hang_up();
        while newly_shown(&authority, &url).await != next.2 {}
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(served.load(Ordering::Relaxed) > 20);
    // Whoever speaks no TLS gets nothing, and holds nothing up.
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(plain.get(format!("{}/healthz", server.url)).send().await.is_err());
    newly_shown(&authority, &url).await;
}

/// Invariant 7: a caller that never ends its handshake holds its place for as long as a request's head may take.
#[tokio::test]
async fn a_handshake_that_does_not_end_is_ended() {
    let (dir, authority) = (tempdir().unwrap(), Authority::new());
    let (certificate, key, _) = authority.issue(|_| {});
    put(dir.path(), &certificate, &key);
    let files = TlsFiles::new(dir.path().join("tls.pem"), dir.path().join("tls.key"));
    let tls = Arc::new(Tls::load(&files, SystemClock::start().now_ms()).unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hello = axum::Router::new().route("/", axum::routing::get(async || "hello"));
    let bounds = Bounds {
        max_connections: 1,
        header_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_secs(60),
        drain: Duration::from_secs(1),
    };
    let door = Door { listener, front: hello.into(), tls: Some(tls) };
    tokio::spawn(serve(door, bounds, std::future::pending()));
    for begun in [&b""[..], b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut slow = tokio::net::TcpStream::connect(address).await.unwrap();
        slow.write_all(begun).await.unwrap();
        let mut rest = Vec::new();
        let _ = slow.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP"), "no HTTP without TLS");
    }
    // The one place is free again.
    let url = format!("https://localhost:{}/", address.port());
    let answer = authority.client(false, Version::TLS_1_3).get(url).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "hello");
}

fn complaints(server: &Server) -> usize {
    server.log().iter().filter(|line| line.contains("do not belong together")).count()
}

/// Each pair that cannot work is refused by `serve` and `check-config`, with its mend, and quotes nothing of the key.
#[test]
fn files_that_cannot_work_are_named() {
    let authority = Authority::new();
    let (certificate, key, _) = authority.issue(|_| {});
    let (_, other_key, _) = authority.issue(|_| {});
    let (old, old_key, _) = authority.issue(|params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let (early, early_key, _) = authority.issue(|params| params.not_before = date_time_ymd(2999, 1, 1));
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    for (certificate, key, expected) in [
        (certificate.as_str(), other_key.as_str(), "cert_file and key_file do not belong together"),
        (&key, &certificate, "[server.tls] cert_file tls.pem holds no certificate in PEM"),
        ("", &key, "[server.tls] cert_file tls.pem holds no certificate in PEM"),
        (&certificate, &certificate, "[server.tls] key_file tls.key holds no private key in PEM"),
        (&certificate, &encrypted, "[server.tls] key_file tls.key is encrypted"),
        (&old, &old_key, "ended at 2021-01-01T00:00:00.000Z: renew it"),
        (&early, &early_key, "begins at 2999-01-01T00:00:00.000Z: check this machine's clock"),
    ] {
        let dir = tempdir().unwrap();
        put(dir.path(), certificate, key);
        refused(&dir, expected);
    }
    let dir = tempdir().unwrap();
    refused(&dir, "[server.tls] cert_file tls.pem cannot be read");
    std::fs::write(dir.path().join("backstop.toml"), "[server.tls]\ncert_file = \"tls.pem\"").unwrap();
    let half = run(&dir, &["--config", "backstop.toml", "serve"]);
    let said = String::from_utf8_lossy(&half.stderr);
    assert!(said.contains("[server.tls] key_file is missing: TLS needs cert_file and key_file"), "{said}");
}

fn refused(dir: &TempDir, expected: &str) {
    let served = Server::start(dir, &[], &ENV).err().unwrap();
    assert!(served.contains(expected) && served.ends_with("exit 78"), "{served}");
    assert!(!dir.path().join("backstop.db").exists(), "nothing is made before all of it is checked");
    let checked = crate::program::backstop(dir, &["check-config"]).envs(ENV).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(78), "{said}");
    assert!(said.contains("BAD   tls       ") && said.contains(expected), "{said}");
    assert!(!said.contains("BEGIN"), "{said}");
}

/// What is right is said with the days that are left.
#[test]
fn a_good_certificate_is_said_to_be_one() {
    let (dir, authority) = (tempdir().unwrap(), Authority::new());
    let (certificate, key, _) = authority.issue(|params| params.not_after = date_time_ymd(2999, 1, 1));
    put(dir.path(), &certificate, &key);
    let toml = "[server]\nmax_connections = 1000\ndevice_listen = \"127.0.0.1:8443\"\n\
                metrics_listen = \"127.0.0.1:9090\"\n\
                [server.tls]\ncert_file = \"tls.pem\"\nkey_file = \"tls.key\"";
    std::fs::write(dir.path().join("backstop.toml"), toml).unwrap();
    let checked = said(&dir, &["--config", "backstop.toml", "check-config"]);
    for line in [
        "ok    server    listen https://127.0.0.1:8080: backend\n",
        "ok    server    device_listen https://127.0.0.1:8443: devices\n",
        "ok    server    metrics_listen http://127.0.0.1:9090: metrics\n",
        "ok    server    reached at https://127.0.0.1:8080\n",
        "ok    tls       a certificate for ",
    ] {
        assert!(checked.contains(line), "{line}\n{checked}");
    }
}
