//! An SMSC that others wrote (npm `smpp`), led by the test: it says what came, and does what it is told.

use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Smsc {
    _process: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) port: u16,
}

impl Smsc {
    pub(crate) async fn start() -> Smsc {
        Smsc::with(None).await
    }

    /// With TLS, by this key and certificate in PEM.
    pub(crate) async fn with_tls(key: &Path, certificate: &Path) -> Smsc {
        Smsc::with(Some((key, certificate))).await
    }

    async fn with(tls: Option<(&Path, &Path)>) -> Smsc {
        let modules = std::env::var_os("BACKSTOP_NODE_MODULES").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/../tools/node/node_modules")),
            PathBuf::from,
        );
        let package = modules.join("smpp");
        assert!(package.is_dir(), "{}: tests/run installs it", package.display());
        let mut command = Command::new("node");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/doubles/smsc.cjs")).arg(package);
        if let Some((key, certificate)) = tls {
            command.arg(key).arg(certificate);
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("node: {error}; tests/run installs it"));
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let stdin = process.stdin.take().unwrap();
        let mut smsc = Smsc { _process: process, stdin, lines, port: 0 };
        smsc.port = u16::try_from(smsc.next("listening").await["port"].as_u64().unwrap()).unwrap();
        smsc
    }

    /// The next PDU of this kind; what comes before it is passed over.
    pub(crate) async fn next(&mut self, on: &str) -> Value {
        loop {
            let event = self.any().await;
            if event["on"] == on {
                return event;
            }
        }
    }

    pub(crate) async fn any(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("something comes in time");
        serde_json::from_str(&line.unwrap().expect("the SMSC runs")).unwrap()
    }

    /// Answers a request that the test was told of.
    pub(crate) async fn answer(&mut self, request: &Value, fields: Value) {
        let command = format!("{}_resp", request["on"].as_str().unwrap());
        self.order(json!({
            "do": "answer", "conn": request["conn"], "command": command, "sequence": request["sequence"],
            "fields": fields,
        }))
        .await;
    }

    /// Sends a PDU of its own on the connection that `on` came by.
    pub(crate) async fn send(&mut self, on: &Value, command: &str, fields: Value) {
        self.order(json!({ "do": "send", "conn": on["conn"], "command": command, "fields": fields })).await;
    }

    pub(crate) async fn raw(&mut self, on: &Value, bytes: &[u8]) {
        self.order(json!({ "do": "raw", "conn": on["conn"], "hex": hex::encode(bytes) })).await;
    }

    /// Cuts the connection.
    pub(crate) async fn drop_connection(&mut self, on: &Value) {
        self.order(json!({ "do": "drop", "conn": on["conn"] })).await;
    }

    /// Leaves requests of this kind without an answer from now on.
    pub(crate) async fn mute(&mut self, command: &str) {
        self.order(json!({ "do": "mute", "command": command })).await;
    }

    /// Takes the log-in that comes.
    pub(crate) async fn bind(&mut self) -> Value {
        let bind = self.next("bind_transceiver").await;
        self.answer(&bind, json!({ "command_status": 0, "system_id": "smsc" })).await;
        bind
    }

    /// Takes the part that comes, under this id.
    pub(crate) async fn take(&mut self, id: &str) -> Value {
        let part = self.next("submit_sm").await;
        self.answer(&part, json!({ "command_status": 0, "message_id": id })).await;
        part
    }

    async fn order(&mut self, order: Value) {
        use tokio::io::AsyncWriteExt as _;
        let mut line = Vec::new();
        writeln!(line, "{order}").unwrap();
        self.stdin.write_all(&line).await.unwrap();
    }
}
