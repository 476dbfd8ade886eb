//! The sandbox for Rust tests: a real server on a real port in this process, with a clock that the test turns.
//!
//! ```no_run
//! # async fn example() {
//! use backstop_server::testing::{Behaviour, Sandbox};
//! use serde_json::json;
//!
//! let sandbox = Sandbox::start().await;
//! let shop = sandbox.workspace().await;
//! shop.advance(0).await; // from here on, only we turn the clock
//! shop.put_customer("ann", json!({"name": "Ann", "phone": "+14155550123", "email": "ann@example.com"})).await;
//! shop.phone("ann", Behaviour::Silent).await;
//! let followup = shop.reply("ann", "It arrives today.").await;
//! shop.advance(29_999).await;
//! assert!(shop.outbox("sms").await.is_empty());
//! shop.advance(1).await;
//! assert_eq!(shop.outbox("sms").await.len(), 1);
//! assert_eq!(shop.followup(&followup).await["reason"], "no_ack");
//! # }
//! ```

use crate::app::{App, Mode, Time};
use crate::config::Config;
use crate::identity::customer_hash;
use crate::providers::capture::{Capture, MAX_PER_WORKSPACE};
use crate::vault;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// Longer than anything a sandbox answers takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// For the server's tasks to end when it is stopped.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A sandbox server on threads of its own. Dropping it stops it.
pub struct Sandbox {
    url: String,
    home: Home,
    client: Client,
    /// Requests run on the server's threads: connections outlive the test that opened them.
    handle: Handle,
    capture: Arc<Capture>,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
}

/// What may differ between two sandboxes.
pub(crate) struct Launch {
    pub(crate) listen: SocketAddr,
    /// Whether phones reach it over HTTP, rather than within the process.
    pub(crate) phones_over_http: bool,
}

impl Default for Launch {
    fn default() -> Launch {
        Launch { listen: SocketAddr::from(([127, 0, 0, 1], 0)), phones_over_http: false }
    }
}

/// Where its database lies.
enum Home {
    /// Removed with it.
    Own(PathBuf),
    Given(PathBuf),
}

impl Home {
    fn path(&self) -> &Path {
        match self {
            Home::Own(path) | Home::Given(path) => path,
        }
    }

    fn database(&self) -> PathBuf {
        self.path().join("backstop.db")
    }
}

/// How a virtual phone takes its pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Acks `displayed` at once.
    Ack,
    /// Acks `displayed` after so many milliseconds on the workspace's clock.
    AckAfter(i64),
    /// Never acks.
    Silent,
    /// Acks `suppressed` at once: it cannot show notifications.
    Suppressed,
    /// Its token is dead.
    TokenGone,
}

/// An answer of the server.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON; null when there was no body.
    pub body: Value,
    /// `Retry-After` in seconds.
    pub retry_after_s: Option<u64>,
}

impl Answer {
    /// The body of a 2xx answer.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {:#}", self.status, self.body);
        self.body
    }

    /// The code of a problem document.
    pub fn code(&self) -> &str {
        self.body["type"].as_str().and_then(|kind| kind.strip_prefix(backstop_wire::PROBLEM_PREFIX)).unwrap_or("")
    }
}

impl Sandbox {
    /// Starts one on a database of its own, gone when it is dropped.
    ///
    /// # Panics
    /// When it cannot start.
    pub async fn start() -> Sandbox {
        Sandbox::launch_own(Launch::default()).await
    }

    pub(crate) async fn launch_own(launch: Launch) -> Sandbox {
        let name = format!("backstop-{}", &vault::random_secret_hex()[..16]);
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        Sandbox::launch(Home::Own(path), launch).await
    }

    /// Starts one on the database in this directory, made if there is none; it stays.
    ///
    /// # Panics
    /// When it cannot start.
    pub async fn start_in(directory: &Path) -> Sandbox {
        std::fs::create_dir_all(directory).expect("the directory can be made");
        Sandbox::launch(Home::Given(directory.to_owned()), Launch::default()).await
    }

    async fn launch(home: Home, launch: Launch) -> Sandbox {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("backstop-sandbox")
            .enable_all()
            .build()
            .expect("threads can be started");
        let capture = Capture::new(MAX_PER_WORKSPACE);
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = oneshot::channel();
        let (database, captured) = (home.database(), Arc::clone(&capture));
        runtime.spawn(async move {
            let mut config = Config::default();
            config.store.url = format!("sqlite:{}", database.display());
            let listener = TcpListener::bind(launch.listen).await.expect("a loopback port is free");
            let address = listener.local_addr().expect("a bound socket has an address");
            let url = format!("http://{address}");
            config.server.public_url = Some(url.clone());
            let phones_by = launch.phones_over_http.then(|| url.clone());
            let mode = Mode::Sandbox { capture: captured, phones_by };
            let app = App::build(&config, Time::System, mode).await.expect("a sandbox starts");
            let _ = ready.send(url);
            let told = async move {
                let _ = stopped.await;
            };
            app.serve(listener, told).await;
        });
        let url = is_ready.await.expect("the sandbox starts");
        let handle = runtime.handle().clone();
        let client = Client::builder().timeout(ANSWER_TIMEOUT).no_proxy().build().expect("a client without options");
        Sandbox { url, home, client, handle, capture, runtime: Some(runtime), stop: Some(stop) }
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its database.
    pub fn database(&self) -> PathBuf {
        self.home.database()
    }

    /// Everything it captured, for tests that want to look without asking.
    pub fn capture(&self) -> &Arc<Capture> {
        &self.capture
    }

    /// A fresh workspace with keys of its own: tests beside each other do not meet.
    pub async fn workspace(&self) -> Workspace {
        let none = Workspace::new(self, Keys::default());
        let keys = none.post("/sandbox/workspaces", json!({})).await.ok();
        Workspace::new(self, serde_json::from_value(keys).expect("a workspace has these keys"))
    }

    /// The workspace with these keys, after a restart.
    pub fn workspace_of(&self, keys: Keys) -> Workspace {
        Workspace::new(self, keys)
    }

    /// Stops everything where it stands, as a crash would: nothing is drained, what was not stored is gone. The
    /// directory stays if it was given.
    pub async fn kill(mut self) {
        let runtime = self.runtime.take();
        self.stop = self.stop.take();
        let ended = tokio::task::spawn_blocking(move || {
            if let Some(runtime) = runtime {
                runtime.shutdown_timeout(STOP_TIMEOUT);
            }
        });
        ended.await.expect("stopping does not panic");
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let runtime = self.runtime.take();
        let own = match &self.home {
            Home::Own(path) => Some(path.clone()),
            Home::Given(_) => None,
        };
        // A runtime cannot be ended from within another one.
        let ended = std::thread::spawn(move || {
            if let Some(runtime) = runtime {
                runtime.shutdown_timeout(STOP_TIMEOUT);
            }
            if let Some(path) = own {
                let _ = std::fs::remove_dir_all(path);
            }
        });
        let _ = ended.join();
    }
}

/// A workspace's keys.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Keys {
    /// Its name.
    pub workspace: String,
    /// `sk_…`.
    pub api_key: String,
    /// `app_…`.
    pub app_key: String,
    /// Signs customer ids (C1), in hexadecimal.
    pub identity_secret: String,
}

/// One workspace of a sandbox, seen from the company's backend.
pub struct Workspace {
    url: String,
    keys: Keys,
    client: Client,
    handle: Handle,
    messages: AtomicU64,
    last_reply: Mutex<String>,
}

impl Workspace {
    fn new(sandbox: &Sandbox, keys: Keys) -> Workspace {
        Workspace {
            url: sandbox.url.clone(),
            keys,
            client: sandbox.client.clone(),
            handle: sandbox.handle.clone(),
            messages: AtomicU64::new(0),
            last_reply: Mutex::default(),
        }
    }

    /// Its keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The server's base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The proof that a customer is who they are (C1).
    ///
    /// # Panics
    /// When the secret is not hexadecimal.
    pub fn customer_hash(&self, customer_id: &str) -> String {
        let secret = hex::decode(&self.keys.identity_secret).expect("a secret is hexadecimal");
        customer_hash(&secret, customer_id)
    }

    /// Sends a request with the workspace's key.
    pub async fn request(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let key = format!("Bearer {}", self.keys.api_key);
        self.request_as(method, path, &[("authorization", &key)], body).await
    }

    /// Sends a request with these headers.
    ///
    /// # Panics
    /// When nothing answers.
    pub async fn request_as(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answered = self.handle.spawn(async move {
            let response = request.send().await?;
            let status = response.status().as_u16();
            let retry_after_s = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
            Ok::<_, reqwest::Error>((status, retry_after_s, response.text().await?))
        });
        let (status, retry_after_s, text) =
            answered.await.expect("the sandbox runs").expect("the sandbox answers a whole answer");
        let body =
            serde_json::from_str(&text).unwrap_or(if text.is_empty() { Value::Null } else { Value::String(text) });
        Answer { status, body, retry_after_s }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, None).await
    }

    /// POST.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.request(Method::POST, path, Some(body)).await
    }

    /// PUT.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.request(Method::PUT, path, Some(body)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path, None).await
    }

    /// Freezes the clock if it runs, and moves it on.
    pub async fn advance(&self, ms: i64) -> Value {
        self.post("/sandbox/clock/advance", json!({ "ms": ms })).await.ok()
    }

    /// Puts a customer's data.
    pub async fn put_customer(&self, customer_id: &str, data: Value) {
        self.put(&format!("/v1/customers/{customer_id}"), data).await.ok();
    }

    /// A new phone of the customer, running the SDK.
    pub async fn phone(&self, customer_id: &str, behaviour: Behaviour) -> Value {
        let (word, after_ms) = match behaviour {
            Behaviour::Ack => ("ack", 0),
            Behaviour::AckAfter(ms) => ("ack", ms),
            Behaviour::Silent => ("silent", 0),
            Behaviour::Suppressed => ("suppressed", 0),
            Behaviour::TokenGone => ("token_gone", 0),
        };
        let body = json!({"customer_id": customer_id, "behaviour": word, "ack_after_ms": after_ms});
        self.post("/sandbox/phones", body).await.ok()
    }

    /// Posts an agent's reply to the customer in a conversation of the same name; answers its follow-up's id, empty
    /// while the customer is online.
    pub async fn reply(&self, customer_id: &str, text: &str) -> String {
        let number = self.messages.fetch_add(1, Ordering::Relaxed) + 1;
        let message_id = format!("reply-{number}");
        *self.last_reply.lock().unwrap_or_else(PoisonError::into_inner) = message_id.clone();
        let posted = self.post_message(&message_id, customer_id, text).await.ok();
        posted["followup_id"].as_str().unwrap_or_default().to_owned()
    }

    /// The id of the newest [`Workspace::reply`].
    pub fn last_reply(&self) -> String {
        self.last_reply.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Posts an agent's reply to the customer in a conversation of the same name.
    pub async fn post_message(&self, message_id: &str, customer_id: &str, text: &str) -> Answer {
        let body = json!({
            "message_id": message_id,
            "conversation_id": customer_id,
            "customer_id": customer_id,
            "kind": "reply",
            "author": {"name": "Kim"},
            "text": text,
        });
        self.post("/v1/messages", body).await
    }

    /// A follow-up as the API shows it.
    pub async fn followup(&self, id: &str) -> Value {
        self.get(&format!("/v1/followups/{id}")).await.ok()
    }

    /// What was captured on a channel: `push`, `sms` or `email`.
    ///
    /// # Panics
    /// When the answer is not a list.
    pub async fn outbox(&self, channel: &str) -> Vec<Value> {
        let answer = self.get(&format!("/sandbox/outbox?channel={channel}")).await.ok();
        answer["data"].as_array().expect("the outbox is a list").clone()
    }
}
