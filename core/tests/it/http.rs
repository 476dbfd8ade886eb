//! The real transport over real sockets: headers, TLS, and servers that misbehave.

use std::net::SocketAddr;
use std::sync::Arc;

use backstop_core::{
    Acked, Alerts, Config, Error, Failure, Grade, Home, HttpTransport, Method, Platform, Proof, PushClient,
    RegistrationStatus, Request, Transport, TransportError,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::*;

/// An authority that nobody trusts but who is told to, and the leaves it signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: Vec<u8>,
}

/// A server's certificate and key.
#[derive(Clone)]
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let der = params.self_signed(&key).expect("signed").der().to_vec();
        let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der));
        Authority { issuer: Issuer::new(params, key), pem: pem.into_bytes() }
    }

    fn sign(&self, names: &[&str], last_year: i32) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Identity { certificate: certificate.der().clone(), key: key.serialize_der() }
    }
}

/// Serves the double on a free port, or on a given one; with TLS if an identity is given.
pub(crate) async fn listen(server: &Server, address: Option<SocketAddr>, identity: Option<Identity>) -> SocketAddr {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(address.unwrap_or(any)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (server, acceptor) = (server.clone(), identity.map(acceptor));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            let (server, acceptor) = (server.clone(), acceptor.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => serve(stream, server).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(stream, server).await;
                        }
                    }
                }
            });
        }
    });
    address
}

fn acceptor(identity: Identity) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(identity.key).expect("PKCS #8");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring")
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate], key)
        .expect("the key is the certificate's");
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, server: Server) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let server = server.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
            let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok());
            let names = ["backstop-app", "backstop-sdk", "content-type", "user-agent"];
            let seen = names.map(|name| header(name).unwrap_or("-").to_owned());
            server.lock().headers.push(seen.join(" "));
            let answer = server.serve(head.method.as_str(), head.uri.path(), header("authorization"), &body);
            let response = match answer {
                Some(Ok(response)) => response,
                Some(Err(_)) => return Err(std::io::Error::other("dropped")),
                None => std::future::pending().await,
            };
            let mut builder = hyper::Response::builder().status(response.status);
            if let Some(ms) = response.retry_after_ms {
                builder = builder.header("retry-after", ms / 1000);
            }
            if (300..400).contains(&response.status) {
                builder = builder.header("location", "/elsewhere");
            }
            Ok(builder.body(Full::new(Bytes::from(response.body))).expect("valid headers"))
        }
    });
    // A connection that breaks is the client's to notice.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn at(base_url: String) -> Config {
    Config { base_url, platform: Platform::Ios, ..config(Home::Memory) }
}

/// One request, one answer: no retry can hide what happened.
async fn sent(config: &Config) -> Result<u16, TransportError> {
    let transport = HttpTransport::new(config).expect("valid");
    transport.send(request(), AMPLE_MS).await.map(|response| response.status)
}

fn request() -> Request {
    Request { method: Method::Get, path: "/v1/x".to_owned(), authorization: None, body: vec![] }
}

/// C1, C4, P7: the whole way over a socket, and the headers that the server counts on.
#[tokio::test]
async fn c4_p7_the_whole_way_over_http() {
    let server = Server::default();
    let address = listen(&server, None, None).await;
    let client = PushClient::open(at(format!("http://{address}"))).expect("opens");
    client.identify("lucas", Proof::Hash("h".to_owned()), 0).await.expect("stored");
    let flushed = client.set_token(token("t"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    assert!(matches!(flushed.registration, RegistrationStatus::Confirmed { .. }), "{flushed:?}");
    let acked = client.acknowledge("r1", Grade::Displayed, None, AMPLE_MS).await.expect("stored");
    assert!(matches!(acked, Acked::Confirmed(_)));
    client.log_out(AMPLE_MS).await.expect("stored");
    assert_eq!(server.log(), ["POST /v1/devices", "POST /v1/acks", "DELETE /v1/devices/dev_1/customer"]);
    let agent = concat!("backstop-core/", env!("CARGO_PKG_VERSION"));
    let (with_body, without) =
        (format!("app_test rust/0.1.0 application/json {agent}"), format!("app_test rust/0.1.0 - {agent}"));
    assert_eq!(server.lock().headers, [with_body.clone(), with_body, without]);
}

/// C4: recorded while nothing listens, delivered by a later flush once something does.
#[tokio::test]
async fn c4_offline_then_flushed_over_http() {
    let server = Server::default();
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = free.local_addr().expect("bound");
    drop(free);
    let client = PushClient::open(at(format!("http://{address}"))).expect("opens");
    assert_eq!(sent(&at(format!("http://{address}"))).await, Err(TransportError::Connect));
    client.set_token(token("t"), Alerts::Allowed, 0).await.expect("stored");
    assert_eq!(client.acknowledge("r1", Grade::Displayed, None, 0).await, Ok(Acked::Stored));
    listen(&server, Some(address), None).await;
    let flushed = client.flush(AMPLE_MS).await.expect("flushed");
    assert_eq!((flushed.uploaded, flushed.pending, flushed.last_failure), (1, 0, None));
    assert_eq!(server.acks(), ["r1 displayed"]);
}

/// A server is trusted only by name, time and authority; what is wrong is said, and nothing was sent.
#[tokio::test]
async fn a_wrong_certificate_is_a_typed_error() {
    let (server, authority) = (Server::default(), Authority::new());
    let here = ["localhost", "127.0.0.1"];
    let good = listen(&server, None, Some(authority.sign(&here, 2120))).await;
    let trusting = Config {
        extra_root_certificates: vec![authority.pem.clone()],
        ..at(format!("https://localhost:{}", good.port()))
    };
    let client = PushClient::open(trusting.clone()).expect("opens");
    let ok = client.set_token(token("t"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    assert!(matches!(ok.registration, RegistrationStatus::Confirmed { .. }), "{ok:?}");
    let at_url = |url: String| Config { base_url: url, ..trusting.clone() };
    assert_eq!(sent(&at_url(format!("https://{good}"))).await, Ok(401), "by address");
    let requests = server.log().len();

    let expired = listen(&server, None, Some(authority.sign(&here, 2021))).await;
    let other_name = listen(&server, None, Some(authority.sign(&["push.example.com"], 2120))).await;
    // TLS spoken to a plain port, and plain HTTP to a TLS port.
    let plain = listen(&server, None, None).await;
    for (config, word) in [
        (Config { extra_root_certificates: vec![], ..trusting.clone() }, "UnknownIssuer"),
        (at_url(format!("https://{expired}")), "expired"),
        (at_url(format!("https://{other_name}")), "not valid for name"),
        (at_url(format!("https://{plain}")), "corrupt"),
    ] {
        match sent(&config).await {
            Err(TransportError::Tls { reason }) => assert!(reason.contains(word), "{reason}"),
            other => panic!("{word}: {other:?}"),
        }
    }
    assert_eq!(sent(&at_url(format!("http://{good}"))).await, Err(TransportError::Broken));
    assert_eq!(server.log().len(), requests);
}

/// Roots that are none are named when the client is opened.
#[test]
fn extra_roots_must_be_certificates() {
    let key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let nothing = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let swapped = [b"".to_vec(), b"not PEM".to_vec(), key.to_vec(), nothing.to_vec()];
    for roots in swapped {
        let config = Config { extra_root_certificates: vec![roots], ..at("https://localhost".to_owned()) };
        let opened = PushClient::open(config).map(|_| ());
        assert!(matches!(opened, Err(Error::InvalidConfig { key: "extra_root_certificates", .. })), "{opened:?}");
    }
}

/// A redirect is not followed, `Retry-After` is read, and an answer that is not the server's is not final.
#[tokio::test]
async fn answers_that_are_no_answers_are_never_final() {
    let server = Server::default();
    let address = listen(&server, None, None).await;
    let client = PushClient::open(at(format!("http://{address}"))).expect("opens");
    client.set_token(token("t"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    let page = "<html>Welcome to the hotel</html>".to_owned();
    for status in [302, 200, 404, 511] {
        server.next(Instead::Answer(status, None, page.clone()));
        let acked = client.acknowledge(&format!("r-{status}"), Grade::Displayed, None, AMPLE_MS).await;
        assert!(matches!(acked, Ok(Acked::Confirmed(_))), "{status}: tried again, and done");
    }
    server.next(Instead::Answer(503, Some(3_600_000), page));
    assert_eq!(client.acknowledge("r-503", Grade::Displayed, None, AMPLE_MS).await, Ok(Acked::Stored));
    let next_ms = client.status().next_flush_in_ms.expect("waits");
    assert!((3_500_000..=3_600_000).contains(&next_ms), "{next_ms}");
    assert_eq!(client.status().last_failure, Some(Failure::Status { status: 503, code: None }));
    assert!(!server.log().iter().any(|line| line.contains("elsewhere")));
}

/// What a broken or hostile server can do to a response: each is a typed failure, bounded in memory and time.
#[tokio::test]
async fn responses_are_bounded() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: ";
    let huge = format!("{head}1000000\r\n\r\n{}", "x".repeat(1_000_000));
    let too_many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    for (bytes, expected) in [
        (huge, Err(TransportError::Broken)),
        (format!("{head}100\r\n\r\ncut off"), Err(TransportError::Broken)),
        ("no HTTP at all".to_owned(), Err(TransportError::Broken)),
        (too_many_headers, Err(TransportError::Broken)),
        (format!("{head}2\r\n\r\n{{}}"), Ok(200)),
    ] {
        let shown = bytes[..bytes.len().min(60)].to_owned();
        let address = answer_raw(bytes, false).await;
        let transport = HttpTransport::new(&at(format!("http://{address}"))).expect("valid");
        assert_eq!(transport.send(request(), AMPLE_MS).await.map(|r| r.status), expected, "{shown}");
    }
    let address = answer_raw(format!("{head}100\r\n\r\nstuck"), true).await;
    let transport = HttpTransport::new(&at(format!("http://{address}"))).expect("valid");
    assert_eq!(transport.send(request(), 100).await, Err(TransportError::Timeout));
}

async fn answer_raw(bytes: String, keep_open: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut stream, _): (TcpStream, _) = listener.accept().await.expect("accepts");
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await;
        let _ = stream.write_all(bytes.as_bytes()).await;
        if keep_open {
            std::future::pending::<()>().await;
        }
    });
    address
}

/// A path prefix of the base URL stays, and no proxy of the environment is asked for loopback.
#[tokio::test]
async fn the_base_urls_path_is_kept() {
    let server = Server::default();
    let address = listen(&server, None, None).await;
    let transport = HttpTransport::new(&at(format!("http://{address}/behind/a/proxy"))).expect("valid");
    let status = transport.send(request(), AMPLE_MS).await.map(|r| r.status);
    assert_eq!((status, server.log()), (Ok(401), vec!["GET /behind/a/proxy/v1/x".to_owned()]));
}
