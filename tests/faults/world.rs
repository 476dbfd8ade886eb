//! A company whose server's disk fails: its backend and phones speak HTTP, its pushes and mails reach doubles that
//! outlive the server, and an oracle keeps what was answered.

use crate::program::{Server, said};
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use backstop_server::identity::customer_hash;
use base64::Engine as _;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::block_in_place;

/// The floor of the configuration: those nobody acks fall back while the test runs.
pub(crate) const ACK_WAIT_MS: i64 = 1_000;
const PHONES: usize = 4;

/// Signs assertions that the double does not check.
static KEY: LazyLock<String> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(key.serialize_der());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
});

/// A push as a phone receives it.
pub(crate) struct Arrived {
    token: String,
    followup_id: String,
    receipt: String,
}

/// A mail as its reader's server receives it.
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) message_id: String,
    /// The reply that it carries, if its text begins with the reply's id.
    pub(crate) reply: String,
    pub(crate) at_ms: i64,
}

async fn start_fcm() -> (String, mpsc::UnboundedReceiver<Arrived>) {
    let (pushes, arrived) = mpsc::unbounded_channel();
    let send = async |State(pushes): State<mpsc::UnboundedSender<Arrived>>, Json(body): Json<Value>| {
        let message = &body["message"];
        let data: Value = serde_json::from_str(message["data"]["backstop"].as_str().unwrap()).unwrap();
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let (token, followup_id) = (word(&message["token"]), word(&data["followup_id"]));
        let _ = pushes.send(Arrived { token, followup_id, receipt: word(&data["receipt"]) });
        Json(json!({ "name": "projects/acme-demo/messages/1" }))
    };
    let grant = async || Json(json!({ "access_token": "t", "expires_in": 3599, "token_type": "Bearer" }));
    let router = Router::new()
        .route("/token", post(grant))
        .route("/v1/projects/acme-demo/messages:send", post(send))
        .with_state(pushes);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, arrived)
}

/// Takes every mail.
async fn start_mail(mails: Arc<Mutex<Vec<Mail>>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mails = mails.clone();
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                let (mut in_mail, mut to, mut message_id, mut reply) =
                    (false, String::new(), String::new(), String::new());
                let mut answer = Some("220 mail.test\r\n");
                loop {
                    if let Some(answer) = answer
                        && write.write_all(answer.as_bytes()).await.is_err()
                    {
                        return;
                    }
                    let Ok(Some(line)) = lines.next_line().await else { return };
                    if let Some(address) = line.strip_prefix("RCPT TO:<").and_then(|rest| rest.split('>').next()) {
                        to = address.to_owned();
                    }
                    if let Some(id) = line.strip_prefix("Message-ID: ") {
                        message_id = id.to_owned();
                    }
                    if let Some(at) = line.find("m-").filter(|_| in_mail) {
                        let id = line[at + 2..].split(|c: char| !c.is_ascii_digit() && c != '-').next();
                        reply = format!("m-{}", id.unwrap_or_default());
                    }
                    (in_mail, answer) = match (in_mail, line.as_str()) {
                        (true, ".") => {
                            let (to, message_id, reply) = (to.clone(), message_id.clone(), reply.clone());
                            mails.lock().unwrap().push(Mail { to, message_id, reply, at_ms: now_ms() });
                            (false, Some("250 ok\r\n"))
                        }
                        (true, _) => (true, None),
                        (false, "DATA") => (true, Some("354 go on\r\n")),
                        (false, _) => (false, Some("250 ok\r\n")),
                    };
                }
            });
        }
    });
    port
}

/// The machine's wall clock, which the server's times are compared with.
#[expect(clippy::disallowed_methods, reason = "an outsider's watch: when a mail arrived")]
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// What was answered.
#[derive(Default)]
pub(crate) struct Told {
    /// Message → follow-up, as a 202 said.
    pub(crate) created: BTreeMap<String, String>,
    /// Follow-ups with an ack that was accepted and counted.
    pub(crate) acked: BTreeSet<String>,
    /// Refused with "nothing was stored".
    pub(crate) refused: BTreeSet<String>,
    /// No answer came, or one that leaves it open.
    pub(crate) open: BTreeSet<String>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done, and durable.
    Done,
    /// 503 `store_unavailable`: nothing was stored.
    Refused,
    /// No answer, or 503 that says it does not know.
    Open,
}

/// The company, on a disk of its own, and the world around it.
pub(crate) struct World {
    /// A data directory with one workspace, made on a sound disk. Runs begin with a copy of it.
    template: TempDir,
    env: Vec<(String, String)>,
    api_key: String,
    app_key: String,
    /// Push token → the device's `Authorization`.
    phones: BTreeMap<String, String>,
    http: Client,
    pub(crate) told: Mutex<Told>,
    pub(crate) mails: Arc<Mutex<Vec<Mail>>>,
    arrived: tokio::sync::Mutex<mpsc::UnboundedReceiver<Arrived>>,
}

impl World {
    pub(crate) async fn make() -> World {
        let template = tempfile::tempdir().unwrap();
        let mails = Arc::default();
        let (fcm, arrived) = start_fcm().await;
        let account = json!({
            "type": "service_account", "project_id": "acme-demo", "private_key_id": "key-1", "private_key": *KEY,
            "client_email": "push@acme-demo.iam.gserviceaccount.com", "client_id": "1",
            "token_uri": format!("{fcm}/token"),
        });
        let env = [
            ("FOLLOWUP__ACK_WAIT_MS", ACK_WAIT_MS.to_string()),
            // One address is all phones here.
            ("LIMITS__ADDRESS_REQUESTS_PER_MINUTE", "1000000".to_owned()),
            ("LIMITS__DEVICE_REQUESTS_PER_MINUTE", "1000000".to_owned()),
            ("FCM__SERVICE_ACCOUNT", account.to_string()),
            ("FCM__BASE_URL", fcm),
            ("PROVIDERS__SMTP__HOST", "127.0.0.1".to_owned()),
            ("PROVIDERS__SMTP__PORT", start_mail(Arc::clone(&mails)).await.to_string()),
            ("PROVIDERS__SMTP__TLS", "none".to_owned()),
            ("PROVIDERS__SMTP__FROM", "follow-up@example.com".to_owned()),
        ];
        let created = block_in_place(|| said(&template, &["workspace", "create", "acme"]));
        let created: Value = serde_json::from_str(&created).unwrap();
        let word = |key: &str| created[key].as_str().unwrap().to_owned();
        let mut world = World {
            template,
            env: env.map(|(name, value)| (format!("BACKSTOP__{name}"), value)).into(),
            api_key: word("api_key"),
            app_key: word("app_key"),
            phones: BTreeMap::new(),
            http: Client::builder().no_proxy().build().unwrap(),
            told: Mutex::default(),
            mails,
            arrived: tokio::sync::Mutex::new(arrived),
        };
        let server = world.start(&world.template, &[]).unwrap();
        let (status, answer) =
            world.backend(Method::PUT, &server.url, "/v1/settings", Some(json!({"email": true}))).await;
        assert_eq!(status, 200, "{answer}");
        for n in 0..PHONES {
            world.register(&server.url, n, &hex::decode(word("identity_secret")).unwrap()).await;
        }
        server.terminate();
        let (status, log) = block_in_place(|| server.ended());
        assert!(status.success(), "{log:?}");
        world
    }

    async fn register(&mut self, url: &str, n: usize, secret: &[u8]) {
        let (customer, token) = (format!("u-{n}"), format!("token-{n}"));
        let contact = json!({ "email": format!("u-{n}@example.com") });
        let path = format!("/v1/customers/{customer}");
        let (status, answer) = self.backend(Method::PUT, url, &path, Some(contact)).await;
        assert!((200..300).contains(&status), "{answer}");
        let device = json!({
            "install_id": format!("i-{n}"), "platform": "android", "provider": "fcm", "token": token,
            "alerts": "allowed", "wire": [1], "customer_id": customer,
            "customer_hash": customer_hash(secret, &customer),
        });
        let post = self.http.post(format!("{url}/v1/devices")).header("backstop-app", &self.app_key);
        let device: Value = post.json(&device).send().await.unwrap().json().await.unwrap();
        let word = |key: &str| device[key].as_str().unwrap_or_else(|| panic!("{device}"));
        let authorization = format!("Backstop-Device {}.{}", word("device_id"), word("device_key"));
        self.phones.insert(token, authorization);
    }

    /// Fills `directory` with a copy of the company's data, and waits until it is on the disk.
    pub(crate) fn copy_into(&self, directory: &Path) {
        for file in std::fs::read_dir(&self.template).unwrap() {
            let file = file.unwrap();
            let copy = directory.join(file.file_name());
            std::fs::copy(file.path(), &copy).unwrap();
            std::fs::File::open(copy).unwrap().sync_all().unwrap();
        }
        std::fs::File::open(directory).unwrap().sync_all().unwrap();
    }

    /// Forgets what was told: another copy of the data begins.
    pub(crate) fn begin_anew(&self) {
        *self.told.lock().unwrap() = Told::default();
        self.mails.lock().unwrap().clear();
        let mut arrived = self.arrived.try_lock().expect("no phone waits between two copies");
        while arrived.try_recv().is_ok() {}
    }

    /// Starts the server on the data in `directory`.
    pub(crate) fn start(&self, directory: &TempDir, env: &[(String, String)]) -> Result<Server, String> {
        let env: Vec<(&str, &str)> = self.env.iter().chain(env).map(|(name, v)| (name.as_str(), v.as_str())).collect();
        block_in_place(|| Server::start(directory, &[], &env))
    }

    async fn answer(request: RequestBuilder) -> Option<(u16, Value)> {
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.unwrap_or(Value::Null)))
    }

    /// A request of the backend that must be answered.
    pub(crate) async fn backend(&self, how: Method, url: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = self.http.request(how, format!("{url}{path}")).bearer_auth(&self.api_key);
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        Self::answer(request).await.unwrap_or_else(|| panic!("{path}: no answer"))
    }

    /// Whether it says that it is ready.
    pub(crate) async fn is_ready(&self, url: &str) -> bool {
        let answer = Self::answer(self.http.get(format!("{url}/readyz"))).await;
        matches!(answer, Some((200, _)))
    }

    /// Erases a customer that nobody knows: what a backend may do at any time, and what cuts the WAL off.
    pub(crate) async fn erase(&self, url: &str, customer: &str) -> Answer {
        let url = format!("{url}/v1/customers/{customer}");
        let put = self.http.put(&url).bearer_auth(&self.api_key).json(&json!({ "name": "Lucas" }));
        let put = kind_of(&Self::answer(put).await);
        let delete = kind_of(&Self::answer(self.http.delete(&url).bearer_auth(&self.api_key)).await);
        if put == Answer::Done { delete } else { put }
    }

    /// Posts one reply in a conversation of its own. An even `n` is for a phone; an odd one for somebody who has none
    /// and whose address is the message's own, so that its mail can be told from all others.
    pub(crate) async fn post(&self, url: &str, message: &str, n: usize, text: &str) -> Answer {
        let mut body = json!({
            "message_id": message, "conversation_id": format!("c-{message}"), "customer_id": format!("u-{message}"),
            "kind": "reply", "author": { "name": "Grace" }, "text": text,
        });
        if n.is_multiple_of(2) {
            body["customer_id"] = format!("u-{}", n / 2 % PHONES).into();
        } else {
            body["customer"] = json!({ "email": format!("{message}@example.com") });
        }
        let request = self.http.post(format!("{url}/v1/messages")).bearer_auth(&self.api_key).json(&body);
        let answer = Self::answer(request).await;
        let kind = kind_of(&answer);
        let mut told = self.told.lock().unwrap();
        told.open.remove(message);
        told.refused.remove(message);
        match kind {
            Answer::Done => {
                let followup = answer.unwrap().1["followup_id"].as_str().unwrap().to_owned();
                let before = told.created.insert(message.into(), followup.clone());
                assert!(before.is_none_or(|before| before == followup), "{message} is in another follow-up");
            }
            Answer::Refused => drop(told.refused.insert(message.into())),
            Answer::Open => drop(told.open.insert(message.into())),
        }
        kind
    }

    /// The next push that reaches a phone.
    pub(crate) async fn arrived(&self) -> Arrived {
        self.arrived.lock().await.recv().await.expect("the double runs as long as this")
    }

    /// The phone acknowledges it.
    pub(crate) async fn ack(&self, url: &str, push: &Arrived) -> Answer {
        let ack = json!({ "receipt": push.receipt, "grade": "displayed", "at": "2026-11-22T18:00:00.000Z" });
        let request = self.http.post(format!("{url}/v1/acks")).header("backstop-app", &self.app_key);
        let request = request.header("authorization", &self.phones[&push.token]).json(&json!({ "acks": [ack] }));
        let answer = Self::answer(request).await;
        let kind = kind_of(&answer);
        if let (Answer::Done, Some((_, answer))) = (kind, answer) {
            let result = &answer["results"][0];
            if result["result"] == "accepted" && result["counted"] == true {
                self.told.lock().unwrap().acked.insert(push.followup_id.clone());
            }
        }
        kind
    }

    /// Everything that was answered is there, what was refused is not, and no mail has gone twice.
    pub(crate) async fn check(&self, url: &str) {
        let (created, refused) = {
            let told = self.told.lock().unwrap();
            (told.created.clone(), told.refused.clone())
        };
        for (message, followup) in created {
            let (status, shown) = self.backend(Method::GET, url, &format!("/v1/messages/{message}"), None).await;
            assert_eq!(status, 200, "{message} was answered with 202 and is gone: {shown}");
            assert_eq!(shown["followup_id"], followup.as_str(), "{shown}");
            let others = shown["deliveries"].as_array().unwrap().iter().any(|d| d["channel"] != "push");
            if self.told.lock().unwrap().acked.contains(&followup) {
                assert_eq!(shown["state"], "acked", "an accepted, counted ack was lost: {shown}");
                assert!(!others, "an acked one fell back: {shown}");
            }
        }
        for message in refused {
            let (status, shown) = self.backend(Method::GET, url, &format!("/v1/messages/{message}"), None).await;
            assert_eq!(status, 404, "{message} was refused and is there: {shown}");
        }
        let mut effects: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for mail in self.mails.lock().unwrap().iter() {
            effects.entry(mail.to.clone()).or_default().insert(mail.message_id.clone());
        }
        let twice = effects.iter().find(|(to, ids)| !to.starts_with("u-") && ids.len() > 1);
        assert_eq!(twice, None, "two mails of one follow-up");
    }

    /// What was refused or left open is posted again: it is there once, or it is new.
    pub(crate) async fn repeat(&self, url: &str, text: &str) {
        let again: Vec<String> = {
            let told = self.told.lock().unwrap();
            told.open.iter().chain(&told.refused).cloned().collect()
        };
        for message in again {
            let n = message.rsplit('-').next().unwrap().parse().unwrap();
            assert_eq!(self.post(url, &message, n, text).await, Answer::Done, "{message}");
        }
    }
}

fn kind_of(answer: &Option<(u16, Value)>) -> Answer {
    match answer {
        None => Answer::Open,
        Some((200..300, Value::Null)) => Answer::Done,
        Some((200..300, _)) => Answer::Done,
        Some((503, problem)) => {
            assert_eq!(problem["type"], "urn:backstop:problem:store_unavailable", "{problem}");
            let detail = problem["detail"].as_str().unwrap_or_default();
            if detail.starts_with("nothing was stored") { Answer::Refused } else { Answer::Open }
        }
        Some((status, answer)) => panic!("{status}: {answer}"),
    }
}
