//! Runs `doubles/smtp_server.py`, a mail server that others wrote, and makes the certificates it shows.

use crate::providers_fcm_double::{TestClock, pem};
use crate::providers_support::AT_MS;
use backstop_server::providers::smtp::{Smtp, SmtpConfig, SmtpTls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc::{self, UnboundedReceiver};

pub(crate) const USERNAME: &str = "acme";
pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) struct MailServer {
    pub(crate) port: u16,
    pub(crate) clock: Arc<TestClock>,
    tls: SmtpTls,
    files: TempDir,
    events: UnboundedReceiver<String>,
    /// The server ends when this closes.
    _stdin: ChildStdin,
    _process: Child,
}

impl MailServer {
    pub(crate) async fn start(tls: SmtpTls) -> MailServer {
        Self::start_with(tls, json!({})).await
    }

    pub(crate) async fn start_with(tls: SmtpTls, extra: Value) -> MailServer {
        let files = make_certificates();
        let mut process = Command::from(python("smtp_server.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("Python: {error}; tests/run installs it"));
        let mut config = json!({
            "tls": match tls {
                SmtpTls::Required => "starttls",
                SmtpTls::Implicit => "implicit",
                SmtpTls::None => "none",
            },
            "certificate": files.path().join("server.pem"),
            "key": files.path().join("server.key"),
            "username": if tls == SmtpTls::None { "" } else { USERNAME },
            "password": PASSWORD,
        });
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let mut stdin = process.stdin.take().unwrap();
        stdin.write_all(format!("{config}\n").as_bytes()).await.unwrap();
        // Read at once, so that the server never waits for a test to listen.
        let (said, events) = mpsc::unbounded_channel();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let _ = said.send(line);
            }
        });
        let clock = TestClock::at(AT_MS);
        let mut server = MailServer { port: 0, clock, tls, files, events, _stdin: stdin, _process: process };
        server.port = server.event("listening").await["port"].as_u64().unwrap() as u16;
        server
    }

    pub(crate) fn config(&self) -> SmtpConfig {
        let login = |value: &str| (self.tls != SmtpTls::None).then(|| value.to_owned());
        SmtpConfig {
            host: "localhost".into(),
            port: Some(self.port),
            tls: self.tls,
            username: login(USERNAME),
            password: login(PASSWORD),
            from: "follow-up@mail.example".into(),
            ehlo_name: Some("node.example".into()),
            ca_file: (self.tls != SmtpTls::None).then(|| self.files.path().join("ca.pem")),
            ..SmtpConfig::default()
        }
    }

    pub(crate) fn client(&self) -> Smtp {
        self.client_with(&self.config())
    }

    pub(crate) fn client_with(&self, config: &SmtpConfig) -> Smtp {
        Smtp::from_config(config, self.clock.clone()).unwrap()
    }

    pub(crate) async fn next_event(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(30), self.events.recv()).await;
        let line = line.expect("the mail server says something").expect("the mail server lives");
        serde_json::from_str(&line).unwrap()
    }

    /// The next event, which is to be of this kind.
    pub(crate) async fn event(&mut self, kind: &str) -> Value {
        let event = self.next_event().await;
        assert_eq!(event["event"], kind, "{event}");
        event
    }

    /// The next mail, whatever comes before it.
    pub(crate) async fn mail(&mut self) -> Value {
        loop {
            let event = self.next_event().await;
            if event["event"] == "mail" {
                return event;
            }
        }
    }
}

/// Runs one of the doubles.
pub(crate) fn python(double: &str) -> std::process::Command {
    let python = std::env::var_os("BACKSTOP_PYTHON")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../.venv/bin/python3").into(), PathBuf::from);
    let mut command = std::process::Command::new(python);
    command.arg(format!("{}/doubles/{double}", env!("CARGO_MANIFEST_DIR")));
    command
}

/// An authority of our own, and a certificate of its for this machine.
pub(crate) fn make_certificates() -> TempDir {
    let files = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let write = |name: &str, label: &str, der: &[u8]| std::fs::write(files.path().join(name), pem(label, der)).unwrap();
    write("ca.pem", "CERTIFICATE", authority.der());
    write("server.pem", "CERTIFICATE", certificate.der());
    write("server.key", "PRIVATE KEY", &key.serialize_der());
    files
}
