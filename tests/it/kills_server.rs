//! The real server is killed under load, again and again, and asked afterwards for everything it had answered.
//!
//! The load speaks real HTTP; pushes leave by FCM's protocol and mails by SMTP, to doubles that outlive the server.
//! The oracle knows only what was answered: that must all be there, and what it says must not change.

use crate::program::{Server, said};
use crate::providers_fcm_double::Google;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use backstop_server::identity::customer_hash;
use backstop_wire::time::from_rfc3339;
use reqwest::Client;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::{TempDir, tempdir};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinSet, block_in_place};

const KILLS: usize = 50;
const POSTERS: usize = 4;
const HANDS: usize = 4;
const PHONES: usize = 8;
/// Short, so that those nobody acks fall back while the test runs.
const ACK_WAIT_MS: &str = "1000";

/// A push as a phone receives it.
struct Arrived {
    token: String,
    followup_id: String,
    receipt: String,
}

/// Grants every access token and takes every push; each goes on to the phones.
async fn start_fcm() -> (String, mpsc::UnboundedReceiver<Arrived>) {
    let (pushes, arrived) = mpsc::unbounded_channel();
    let send = async |State(pushes): State<mpsc::UnboundedSender<Arrived>>, Json(body): Json<Value>| {
        let message = &body["message"];
        let data: Value = serde_json::from_str(message["data"]["backstop"].as_str().unwrap()).unwrap();
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let push = Arrived {
            token: word(&message["token"]),
            followup_id: word(&data["followup_id"]),
            receipt: word(&data["receipt"]),
        };
        let _ = pushes.send(push);
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
async fn start_mail() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                let mut in_mail = false;
                let mut answer = Some("220 mail.test\r\n");
                loop {
                    if let Some(answer) = answer
                        && write.write_all(answer.as_bytes()).await.is_err()
                    {
                        return;
                    }
                    let Ok(Some(line)) = lines.next_line().await else { return };
                    (in_mail, answer) = match (in_mail, line.as_str()) {
                        (true, ".") | (false, "RSET" | "NOOP") => (false, Some("250 ok\r\n")),
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

/// What was answered.
#[derive(Default)]
struct Oracle {
    /// Message → follow-up, as a 202 said.
    created: BTreeMap<String, String>,
    /// Follow-ups with an ack that was accepted and counted.
    acked: BTreeSet<String>,
    /// Posted, and no answer came: may be there or not, but never half.
    unanswered: BTreeSet<String>,
    /// Outcomes that were seen: none may change.
    outcomes: BTreeMap<String, String>,
}

/// How much load a round takes: what is left of it, and word when nothing is.
struct Enough {
    replies: AtomicIsize,
    acks: AtomicIsize,
    reached: Notify,
}

impl Enough {
    fn of(replies: usize, acks: usize) -> Enough {
        let count = |n: usize| AtomicIsize::new(n.cast_signed());
        Enough { replies: count(replies), acks: count(acks), reached: Notify::new() }
    }

    fn one(&self, of: &AtomicIsize) {
        of.fetch_sub(1, Ordering::Relaxed);
        if self.replies.load(Ordering::Relaxed) <= 0 && self.acks.load(Ordering::Relaxed) <= 0 {
            self.reached.notify_one();
        }
    }
}

struct World {
    dir: TempDir,
    env: Vec<(String, String)>,
    api_key: String,
    app_key: String,
    /// Push token → the device's `Authorization`.
    phones: BTreeMap<String, String>,
    http: Client,
    oracle: Mutex<Oracle>,
    arrived: tokio::sync::Mutex<mpsc::UnboundedReceiver<Arrived>>,
}

impl World {
    async fn make() -> World {
        let dir = tempdir().unwrap();
        let (fcm, arrived) = start_fcm().await;
        let mut account = Google::start(0).await.key_file();
        account["token_uri"] = format!("{fcm}/token").into();
        let env = [
            ("FOLLOWUP__ACK_WAIT_MS", ACK_WAIT_MS.to_owned()),
            // One address is all phones here.
            ("LIMITS__ADDRESS_REQUESTS_PER_MINUTE", "1000000".to_owned()),
            ("LIMITS__DEVICE_REQUESTS_PER_MINUTE", "1000000".to_owned()),
            ("FCM__SERVICE_ACCOUNT", account.to_string()),
            ("FCM__BASE_URL", fcm),
            ("PROVIDERS__SMTP__HOST", "127.0.0.1".to_owned()),
            ("PROVIDERS__SMTP__PORT", start_mail().await.to_string()),
            ("PROVIDERS__SMTP__TLS", "none".to_owned()),
            ("PROVIDERS__SMTP__FROM", "follow-up@example.com".to_owned()),
        ];
        let created = block_in_place(|| said(&dir, &["workspace", "create", "acme"]));
        let created: Value = serde_json::from_str(&created).unwrap();
        let word = |key: &str| created[key].as_str().unwrap().to_owned();
        let mut world = World {
            dir,
            env: env.map(|(name, value)| (format!("BACKSTOP__{name}"), value)).into(),
            api_key: word("api_key"),
            app_key: word("app_key"),
            phones: BTreeMap::new(),
            http: Client::builder().no_proxy().build().unwrap(),
            oracle: Mutex::default(),
            arrived: tokio::sync::Mutex::new(arrived),
        };
        let server = world.start();
        let settings = json!({ "email": true });
        let put = world.http.put(format!("{}/v1/settings", server.url)).bearer_auth(&world.api_key).json(&settings);
        assert!(put.send().await.unwrap().status().is_success());
        for n in 0..PHONES {
            world.register(&server, n, &hex::decode(word("identity_secret")).unwrap()).await;
        }
        server.kill();
        world
    }

    async fn register(&mut self, server: &Server, n: usize, secret: &[u8]) {
        let (customer, token) = (format!("u-{n}"), format!("token-{n}"));
        let contact = json!({ "email": format!("u-{n}@example.com") });
        let put = self.http.put(format!("{}/v1/customers/{customer}", server.url)).bearer_auth(&self.api_key);
        assert!(put.json(&contact).send().await.unwrap().status().is_success());
        let device = json!({
            "install_id": format!("i-{n}"), "platform": "android", "provider": "fcm", "token": token,
            "alerts": "allowed", "wire": [1], "customer_id": customer,
            "customer_hash": customer_hash(secret, &customer),
        });
        let post = self.http.post(format!("{}/v1/devices", server.url)).header("backstop-app", &self.app_key);
        let device: Value = post.json(&device).send().await.unwrap().json().await.unwrap();
        let word = |key: &str| device[key].as_str().unwrap_or_else(|| panic!("{device}"));
        let authorization = format!("Backstop-Device {}.{}", word("device_id"), word("device_key"));
        self.phones.insert(token, authorization);
    }

    fn start(&self) -> Server {
        let env: Vec<(&str, &str)> = self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        block_in_place(|| Server::start(&self.dir, &[], &env)).unwrap()
    }

    /// Posts one reply in a conversation of its own; whether it was answered.
    async fn post(&self, url: &str, message: &str, customer: usize) -> bool {
        let body = json!({
            "message_id": message, "conversation_id": format!("c-{message}"), "customer_id": format!("u-{customer}"),
            "kind": "reply", "author": { "name": "Grace" }, "text": "Your parcel is there.",
        });
        let request = self.http.post(format!("{url}/v1/messages")).bearer_auth(&self.api_key).json(&body);
        let answer = match request.send().await {
            Ok(answer) => {
                let status = answer.status();
                answer.json::<Value>().await.ok().map(|body| (status, body))
            }
            Err(_) => None,
        };
        let mut oracle = self.oracle.lock().unwrap();
        let Some((status, answer)) = answer else {
            oracle.unanswered.insert(message.into());
            return false;
        };
        // A server that is going down may say so.
        if status == 503 {
            oracle.unanswered.insert(message.into());
            return false;
        }
        assert_eq!(status, 202, "{answer}");
        oracle.unanswered.remove(message);
        let followup = answer["followup_id"].as_str().unwrap().to_owned();
        let before = oracle.created.insert(message.into(), followup.clone());
        assert!(before.is_none_or(|before| before == followup), "{message} is in another follow-up");
        true
    }

    /// Plays the phones: every second push is acked, at once. `None` = the server is gone; else whether it counted.
    async fn ack_next(&self, url: &str) -> Option<bool> {
        let push = self.arrived.lock().await.recv().await?;
        if push.followup_id.bytes().map(usize::from).sum::<usize>() % 2 == 0 {
            return Some(false);
        }
        let ack = json!({ "receipt": push.receipt, "grade": "displayed", "at": "2026-11-22T18:00:00.000Z" });
        let request = self.http.post(format!("{url}/v1/acks")).header("backstop-app", &self.app_key);
        let request = request.header("authorization", &self.phones[&push.token]).json(&json!({ "acks": [ack] }));
        let answer = request.send().await.ok()?;
        let status = answer.status();
        let answer = answer.json::<Value>().await.ok()?;
        assert!(status == 200 || status == 503, "{answer}");
        let result = &answer["results"][0];
        let counted = result["result"] == "accepted" && result["counted"] == true;
        if counted {
            self.oracle.lock().unwrap().acked.insert(push.followup_id);
        }
        (status == 200).then_some(counted)
    }

    /// Posts and acks until so many replies were answered and so many acks counted, then `stop`s the server.
    async fn load_until(self: &Arc<Self>, server: Server, round: usize, enough: Enough, stop: impl FnOnce(Server)) {
        let enough = Arc::new(enough);
        let mut load = JoinSet::new();
        for poster in 0..POSTERS {
            let (world, url, enough) = (self.clone(), server.url.clone(), enough.clone());
            load.spawn(async move {
                for n in 0.. {
                    if !world.post(&url, &format!("m-{round}-{poster}-{n}"), (poster + n) % PHONES).await {
                        return;
                    }
                    enough.one(&enough.replies);
                }
            });
        }
        let mut phones = JoinSet::new();
        for _ in 0..HANDS {
            let (world, url, enough) = (self.clone(), server.url.clone(), enough.clone());
            phones.spawn(async move {
                while let Some(counted) = world.ack_next(&url).await {
                    if counted {
                        enough.one(&enough.acks);
                    }
                }
            });
        }
        enough.reached.notified().await;
        block_in_place(|| stop(server));
        while let Some(ended) = load.join_next().await {
            ended.unwrap();
        }
        phones.shutdown().await;
    }

    async fn get(&self, url: String) -> (u16, Value) {
        let answer = self.http.get(url).bearer_auth(&self.api_key).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Everything that was answered is there, and no outcome has changed. `messages` = which to ask for.
    async fn check(&self, url: &str, of_round: Option<usize>) {
        let begins = of_round.map(|round| format!("m-{round}-")).unwrap_or_default();
        let created: Vec<(String, String)> = {
            let oracle = self.oracle.lock().unwrap();
            oracle.created.iter().filter(|(m, _)| m.starts_with(&begins)).map(|(m, f)| (m.clone(), f.clone())).collect()
        };
        for (message, followup) in created {
            let (status, shown) = self.get(format!("{url}/v1/messages/{message}")).await;
            assert_eq!(status, 200, "{message} was answered with 202 and is gone: {shown}");
            assert_eq!(shown["followup_id"], followup.as_str(), "{shown}");
            let state = shown["state"].as_str().unwrap().to_owned();
            let mut oracle = self.oracle.lock().unwrap();
            if oracle.acked.contains(&followup) {
                assert_eq!(state, "acked", "an accepted, counted ack was lost: {shown}");
                let others = shown["deliveries"].as_array().unwrap().iter().any(|d| d["channel"] != "push");
                assert!(!others, "an acked one fell back: {shown}");
            }
            let decided_at = shown["decided_at"].as_str().and_then(from_rfc3339);
            if shown["reason"] == "no_ack" {
                let deadline_at = shown["deadline_at"].as_str().and_then(from_rfc3339);
                assert!(decided_at >= deadline_at, "decided early: {shown}");
            }
            if matches!(state.as_str(), "acked" | "fell_back" | "cancelled" | "failed") {
                let before = oracle.outcomes.insert(followup, state.clone());
                assert!(before.is_none_or(|before| before == state), "the outcome changed: {shown}");
            }
        }
    }

    /// What was not answered is posted again: it is there once, or it is new; never refused and never half there.
    async fn repeat_unanswered(&self, url: &str) {
        let unanswered = self.oracle.lock().unwrap().unanswered.clone();
        for message in unanswered {
            let mut place = message.split('-').skip(2).map(|part| part.parse::<usize>().unwrap());
            let customer = place.by_ref().sum::<usize>() % PHONES;
            assert!(self.post(url, &message, customer).await, "{message}");
        }
    }

    /// Waits until every follow-up is decided and done.
    #[expect(clippy::disallowed_methods, reason = "claims of a killed server run out in their own time")]
    async fn all_decided(&self, url: &str) {
        let mut looks = tokio::time::interval(Duration::from_millis(250));
        for _ in 0..400 {
            looks.tick().await;
            let mut open = 0;
            for state in ["sending", "awaiting_ack", "falling_back"] {
                let (_, page) = self.get(format!("{url}/v1/followups?state={state}&limit=1")).await;
                open += page["data"].as_array().unwrap().len();
            }
            if open == 0 {
                return;
            }
        }
        panic!("some follow-ups are still open 100 s after the last restart");
    }
}

/// P8, D9, invariants 1 to 4: kill -9 fifty times under load; nothing that was answered is lost, what was acked never
/// falls back, no outcome changes, nothing is decided early, and everything is decided in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_kills_under_load_lose_nothing_that_was_answered() {
    let world = Arc::new(World::make().await);
    for round in 0..KILLS {
        let server = world.start();
        if round > 0 {
            world.repeat_unanswered(&server.url).await;
            world.check(&server.url, Some(round - 1)).await;
        }
        world.load_until(server, round, Enough::of(3 + round * 37 % 60, round % 10), Server::kill).await;
    }
    let server = world.start();
    world.repeat_unanswered(&server.url).await;
    world.all_decided(&server.url).await;
    world.check(&server.url, None).await;
    let oracle = world.oracle.lock().unwrap();
    let (created, acked) = (oracle.created.len(), oracle.acked.len());
    println!("{KILLS} kills: {created} replies answered, {acked} acks counted, all there");
    assert!(created > KILLS * 20 && acked > KILLS * 4, "too little load to tell: {created} replies, {acked} acks");
    assert_eq!(oracle.outcomes.len(), created, "one outcome each");
}

/// I15: SIGTERM under load. What was answered is there, the process ends by itself with 0 and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_under_load_drains() {
    let world = Arc::new(World::make().await);
    for round in 0..3 {
        let server = world.start();
        let stop = |server: Server| {
            server.terminate();
            let (status, log) = server.ended();
            assert_eq!(status.code(), Some(0), "{log:?}");
            let last: Value = serde_json::from_str(log.last().unwrap()).unwrap();
            assert_eq!(last["message"], "stopped; everything under way had ended", "{log:?}");
            let personal = log.iter().find(|line| ["@example.com", "parcel", "Grace"].iter().any(|w| line.contains(w)));
            assert_eq!(personal, None, "invariant 9: nothing personal in a log line");
        };
        world.load_until(server, round, Enough::of(50, 5), stop).await;
        let server = world.start();
        world.check(&server.url, Some(round)).await;
        server.kill();
    }
}
