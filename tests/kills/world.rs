//! One server's world: its directory, its providers, its callers' keys, and what was seen of it.

use crate::doubles::{Arrived, MailLog, QUOTED, service_account, start_fcm, start_mail};
use crate::time::{nap_ms, now_ms};
use backstop_server::failpoint::Point;
use backstop_server::identity::customer_hash;
use backstop_tests::oracle::{AckAnswer, AckWord, Channel, Create, Effect, History, Ms, Up, View};
use backstop_tests::program::{Server, said};
use backstop_wire::time::from_rfc3339;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use tempfile::{TempDir, tempdir};
use tokio::sync::mpsc;
use tokio::task::block_in_place;

/// The least that is allowed, so that those nobody acks fall back while the test runs.
pub(crate) const ACK_WAIT_MS: Ms = 1_000;
/// A claim must outlast the two seconds a send is begun with and the one kept for storing its outcome.
pub(crate) const CLAIM_MS: Ms = 4_000;
pub(crate) const PHONES: usize = 8;
const FAILPOINT_LOG: &str = "failpoints.log";
/// How long a server may take to answer what it was asked before.
const IN_PROGRESS_MS: Ms = 20_000;
/// Follow-ups of one page of the list.
const PAGE: usize = 200;

/// What callers know.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) history: History,
    /// When each reply was first posted.
    pub(crate) asked: BTreeMap<String, Ms>,
    /// Posted, and no answer came: may be there or not, but never half.
    pub(crate) unanswered: BTreeSet<String>,
    /// Acked, and no answer came: the device tries again. Also some that were answered.
    pub(crate) acks_again: Vec<Arrived>,
}

/// Where its pushes come from.
enum Pushes {
    Fcm(tokio::sync::Mutex<mpsc::UnboundedReceiver<Arrived>>),
    /// The sandbox's outbox, and what was seen of it.
    Outbox(Mutex<BTreeSet<String>>),
}

pub(crate) struct World {
    pub(crate) name: String,
    pub(crate) dir: TempDir,
    env: Vec<(String, String)>,
    arguments: &'static [&'static str],
    pub(crate) api_key: String,
    app_key: String,
    identity_secret: String,
    /// A sandbox's second workspace, whose clock is turned.
    pub(crate) turned_key: Mutex<Option<String>>,
    /// Push token → the device's `Authorization`.
    phones: Mutex<BTreeMap<String, String>>,
    pub(crate) http: Client,
    pub(crate) facts: Mutex<Facts>,
    pushes: Pushes,
    mails: MailLog,
}

impl World {
    /// A live one: FCM and SMTP by their protocols.
    pub(crate) async fn live(name: &str) -> World {
        let (fcm, arrived) = start_fcm().await;
        let (port, mails) = start_mail().await;
        let env = [
            // One address is all phones here.
            ("LIMITS__ADDRESS_REQUESTS_PER_MINUTE", "1000000".to_owned()),
            ("LIMITS__DEVICE_REQUESTS_PER_MINUTE", "1000000".to_owned()),
            ("FCM__SERVICE_ACCOUNT", service_account(&fcm).to_string()),
            ("FCM__BASE_URL", fcm),
            ("PROVIDERS__SMTP__HOST", "127.0.0.1".to_owned()),
            ("PROVIDERS__SMTP__PORT", port.to_string()),
            ("PROVIDERS__SMTP__TLS", "none".to_owned()),
            ("PROVIDERS__SMTP__FROM", "follow-up@example.com".to_owned()),
        ];
        let dir = tempdir().unwrap();
        let created = block_in_place(|| said(&dir, &["workspace", "create", "acme"]));
        let created: Value = serde_json::from_str(&created).unwrap();
        let pushes = Pushes::Fcm(tokio::sync::Mutex::new(arrived));
        let mut world = World::of(name, dir, &created, pushes, mails);
        world.env.extend(env.map(|(name, value)| (format!("BACKSTOP__{name}"), value)));
        world.settle_in().await;
        world
    }

    /// A sandbox: texts and emails are captured, with a log that outlives the server.
    pub(crate) async fn sandbox(name: &str) -> World {
        let keys = json!({
            "api_key": "sk_sandbox", "app_key": "app_sandbox", "identity_secret": "0".repeat(64),
        });
        let pushes = Pushes::Outbox(Mutex::default());
        let mut world = World::of(name, tempdir().unwrap(), &keys, pushes, MailLog::default());
        world.arguments = &["--sandbox"];
        world.settle_in().await;
        world
    }

    fn of(name: &str, dir: TempDir, keys: &Value, pushes: Pushes, mails: MailLog) -> World {
        let word = |key: &str| keys[key].as_str().unwrap().to_owned();
        let env = [
            ("BACKSTOP__FOLLOWUP__ACK_WAIT_MS".to_owned(), ACK_WAIT_MS.to_string()),
            ("BACKSTOP_FAILPOINTS_CLAIM_MS".to_owned(), CLAIM_MS.to_string()),
            ("BACKSTOP_FAILPOINTS_LOG".to_owned(), FAILPOINT_LOG.to_owned()),
        ];
        let history = History { ack_wait_ms: ACK_WAIT_MS, ..History::default() };
        World {
            name: name.into(),
            dir,
            env: env.into(),
            arguments: &[],
            api_key: word("api_key"),
            app_key: word("app_key"),
            identity_secret: word("identity_secret"),
            turned_key: Mutex::default(),
            phones: Mutex::default(),
            http: Client::builder().no_proxy().build().unwrap(),
            facts: Mutex::new(Facts { history, ..Facts::default() }),
            pushes,
            mails,
        }
    }

    /// Adds to the environment of every later start.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.env.push((name.into(), value));
    }

    pub(crate) fn is_sandbox(&self) -> bool {
        matches!(self.pushes, Pushes::Outbox(_))
    }

    async fn settle_in(&mut self) {
        let server = self.start("").unwrap();
        let settings = json!({ "email": true, "phone_number": true });
        let put = self.backend(self.http.put(format!("{}/v1/settings", server.url)).json(&settings));
        let answer = put.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        for n in 0..PHONES {
            let contact = json!({ "email": format!("u-{n}@example.com"), "phone": format!("+8210555500{n:02}") });
            let put = self.backend(self.http.put(format!("{}/v1/customers/u-{n}", server.url)).json(&contact));
            assert!(put.send().await.unwrap().status().is_success());
            assert_eq!(self.register(&server.url, n).await, Some(()));
        }
        if self.is_sandbox() {
            let made = self.http.post(format!("{}/sandbox/workspaces", server.url)).send().await.unwrap();
            let made: Value = made.json().await.unwrap();
            *self.turned_key.lock().unwrap() = made["api_key"].as_str().map(str::to_owned);
        }
        self.killed(server);
    }

    pub(crate) fn backend(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(&self.api_key)
    }

    /// Registers phone `n`, again or for the first time; `None` = no answer.
    pub(crate) async fn register(&self, url: &str, n: usize) -> Option<()> {
        let (customer, token) = (format!("u-{n}"), format!("token-{n}"));
        let device = json!({
            "install_id": format!("i-{n}"), "platform": "android", "provider": "fcm", "token": token,
            "alerts": "allowed", "wire": [1], "customer_id": customer,
            "customer_hash": customer_hash(&hex::decode(&self.identity_secret).unwrap(), &customer),
        });
        let post = self.http.post(format!("{url}/v1/devices")).header("backstop-app", &self.app_key);
        let (status, device) = answer(post.json(&device)).await?;
        assert_eq!(status, 200, "{device}");
        let word = |key: &str| device[key].as_str().unwrap_or_else(|| panic!("{device}"));
        let authorization = format!("Backstop-Device {}.{}", word("device_id"), word("device_key"));
        let before = self.phones.lock().unwrap().insert(token, authorization.clone());
        assert!(before.is_none_or(|before| before == authorization), "a repeated registration made another device");
        Some(())
    }

    /// Starts it, to act at `failpoints`; `Err` = it ended before it listened.
    pub(crate) fn start(&self, failpoints: &str) -> Result<Server, String> {
        let mut env: Vec<(&str, &str)> = self.env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        env.push(("BACKSTOP_FAILPOINTS", failpoints));
        let started = block_in_place(|| Server::start(&self.dir, self.arguments, &env));
        if started.is_ok() {
            self.up(true);
        }
        started
    }

    /// From now on it can work. `same_time` = see [`Up`].
    pub(crate) fn up(&self, same_time: bool) {
        self.facts.lock().unwrap().history.up.push(Up { from: now_ms(), to: Ms::MAX, same_time });
    }

    /// From `at` on it cannot.
    pub(crate) fn down(&self, at: Ms) {
        if let Some(up) = self.facts.lock().unwrap().history.up.last_mut() {
            up.to = up.to.min(at);
        }
    }

    pub(crate) fn killed(&self, server: Server) {
        self.down(now_ms());
        block_in_place(|| server.kill());
    }

    /// Names after `word` in the log of the failpoints: `hit`, `act`.
    pub(crate) fn logged(&self, word: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.dir.path().join(FAILPOINT_LOG)).unwrap_or_default();
        log.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).map(str::to_owned).collect()
    }

    pub(crate) fn has_acted(&self, point: Point) -> bool {
        self.logged("act").iter().any(|name| name == point.name())
    }

    /// Posts one reply in a conversation of its own; whether it was answered.
    pub(crate) async fn post(&self, url: &str, message: &str) -> bool {
        let customer = message.bytes().map(usize::from).sum::<usize>() % PHONES;
        let body = json!({
            "message_id": message, "conversation_id": format!("c-{message}"), "customer_id": format!("u-{customer}"),
            "kind": "reply", "author": { "name": "Grace" }, "text": format!("{QUOTED}{message} is there."),
        });
        let asked_at = now_ms();
        let asked_at = {
            let mut facts = self.facts.lock().unwrap();
            // Until it is answered: the server may die first.
            facts.unanswered.insert(message.into());
            *facts.asked.entry(message.into()).or_insert(asked_at)
        };
        let give_up_at = now_ms() + IN_PROGRESS_MS;
        let (status, answer) = loop {
            let mut request = self.backend(self.http.post(format!("{url}/v1/messages"))).json(&body);
            if customer.is_multiple_of(2) {
                request = request.header("idempotency-key", message);
            }
            let Some((status, answer)) = answer(request).await else { return false };
            // The same was posted before its caller gave up on a server that stood still: it is answered first.
            if answer["type"] != "urn:backstop:problem:request_in_progress" || now_ms() > give_up_at {
                break (status, answer);
            }
            nap_ms(20).await;
        };
        // A server that is going down may say so.
        if status == 503 {
            return false;
        }
        assert_eq!(status, 202, "{answer}");
        let word = |key: &str| answer[key].as_str().unwrap().to_owned();
        let (followup, deadline_at) = (word("followup_id"), from_rfc3339(&word("deadline_at")).unwrap());
        let mut facts = self.facts.lock().unwrap();
        facts.unanswered.remove(message);
        facts.history.creates.push(Create { message: message.into(), followup, asked_at, deadline_at });
        true
    }

    /// The next push that a phone receives.
    pub(crate) async fn next_push(&self, url: &str) -> Option<Arrived> {
        let seen = match &self.pushes {
            Pushes::Fcm(arrived) => return arrived.lock().await.recv().await,
            Pushes::Outbox(seen) => seen,
        };
        loop {
            let outbox = self.backend(self.http.get(format!("{url}/sandbox/outbox?channel=push")));
            let (status, outbox) = answer(outbox).await?;
            assert!(status == 200 || status == 503, "{outbox}");
            for row in outbox["data"].as_array().into_iter().flatten() {
                let push = Arrived::of_fcm(&row["payload"]).expect("a push of ours");
                if seen.lock().unwrap().insert(push.receipt.clone()) {
                    return Some(push);
                }
            }
            nap_ms(50).await;
        }
    }

    /// Acks as the device does; `None` = no answer came, and it will try again.
    pub(crate) async fn ack(&self, url: &str, push: Arrived) -> Option<()> {
        let ack = json!({ "receipt": push.receipt, "grade": "displayed", "at": "2026-11-22T18:00:00.000Z" });
        let authorization = self.phones.lock().unwrap()[&push.token].clone();
        let request = self.http.post(format!("{url}/v1/acks")).header("backstop-app", &self.app_key);
        let request = request.header("authorization", authorization).json(&json!({ "acks": [ack] }));
        let answered = answer(request).await.filter(|(status, _)| *status != 503);
        let mut facts = self.facts.lock().unwrap();
        let Some((status, answer)) = answered else {
            facts.acks_again.push(push);
            return None;
        };
        assert_eq!(status, 200, "{answer}");
        let result = &answer["results"][0];
        let word = match result["result"].as_str() {
            Some("accepted") => AckWord::Accepted { counted: result["counted"] == true },
            Some("late") => AckWord::Late,
            Some("duplicate") => AckWord::Duplicate,
            _ => AckWord::Refused,
        };
        facts.history.acks.push(AckAnswer { receipt: push.receipt.clone(), followup: push.followup_id.clone(), word });
        // Some answers never reach their device.
        if word != AckWord::Duplicate && facts.history.acks.len().is_multiple_of(7) {
            facts.acks_again.push(push);
        }
        Some(())
    }

    /// What was not answered is asked again, as callers and devices do.
    pub(crate) async fn repeat(&self, url: &str) {
        let (posts, acks) = {
            let mut facts = self.facts.lock().unwrap();
            (facts.unanswered.clone(), std::mem::take(&mut facts.acks_again))
        };
        for message in posts {
            self.post(url, &message).await;
        }
        for push in acks {
            let _ = self.ack(url, push).await;
        }
    }

    /// Looks at one reply; `None` = no answer.
    pub(crate) async fn look(&self, url: &str, message: &str) -> Option<()> {
        let (status, shown) = answer(self.backend(self.http.get(format!("{url}/v1/messages/{message}")))).await?;
        assert_eq!(status, 200, "{message} was answered with 202 and is gone: {shown}");
        self.facts.lock().unwrap().history.views.push(view(&shown));
        Some(())
    }

    /// Every follow-up, as the list shows it; whether all are through, text and email alike.
    pub(crate) async fn look_at_all(&self, url: &str) -> bool {
        let (mut after, mut views) = (String::new(), Vec::new());
        loop {
            let page = format!("{url}/v1/followups?limit={PAGE}{after}");
            let (status, page) = answer(self.backend(self.http.get(page))).await.expect("an answer");
            assert_eq!(status, 200, "{page}");
            views.extend(page["data"].as_array().unwrap().iter().map(view));
            let Some(next) = page["next_cursor"].as_str() else { break };
            after = format!("&after={next}");
        }
        let is_open = |view: &View| matches!(view.state.as_str(), "sending" | "awaiting_ack" | "falling_back");
        let settled = !views.iter().any(|view| is_open(view) || view.is_leaving);
        self.facts.lock().unwrap().history.views.extend(views);
        settled
    }

    /// Waits until no follow-up is open, looks at all of them, and answers what was seen in all.
    pub(crate) async fn end(&self, url: &str, stalls: Vec<(Ms, Ms)>) -> History {
        for state in ["sending", "awaiting_ack", "falling_back"] {
            let asked_at = now_ms();
            loop {
                let open = format!("{url}/v1/followups?state={state}&limit={PAGE}");
                let (_, page) = answer(self.backend(self.http.get(open))).await.expect("an answer");
                if page["data"].as_array().unwrap().iter().all(|shown| view(shown).awaits_report) {
                    break;
                }
                assert!(now_ms() < asked_at + 60_000, "{}: some are still {state}: {page}", self.name);
                nap_ms(100).await;
            }
        }
        // A text that waits for its turn while the email is out leaves within seconds.
        let asked_at = now_ms();
        while !self.look_at_all(url).await && self.is_leaving() {
            assert!(now_ms() < asked_at + 60_000, "{}: some texts or emails do not leave", self.name);
            nap_ms(100).await;
        }
        let mut history = self.facts.lock().unwrap().history.clone();
        history.stalls = stalls;
        history.effects = self.effects();
        history
    }

    /// Whether some text or email was still to leave when each follow-up was last looked at.
    fn is_leaving(&self) -> bool {
        let facts = self.facts.lock().unwrap();
        let last: BTreeMap<_, _> = facts.history.views.iter().map(|view| (&view.followup, view.is_leaving)).collect();
        last.into_values().any(|is_leaving| is_leaving)
    }

    /// What the providers took.
    pub(crate) fn effects(&self) -> Vec<Effect> {
        let mut effects = self.mails.lock().unwrap().clone();
        for taken in self.logged("taken") {
            let [channel, followup, key, at] = taken.split(' ').collect::<Vec<_>>()[..] else { panic!("{taken}") };
            let channel = match channel {
                "sms" => Channel::Text,
                "email" => Channel::Email,
                _ => continue,
            };
            let at = at.parse().unwrap();
            effects.push(Effect { channel, about: followup.into(), key: key.into(), at });
        }
        effects
    }

    /// Turns the clock of the sandbox's second workspace on.
    pub(crate) async fn turn(&self, url: &str) -> Option<()> {
        let key = self.turned_key.lock().unwrap().clone()?;
        let advance = self.http.post(format!("{url}/sandbox/clock/advance")).bearer_auth(key);
        let (status, stands) = answer(advance.json(&json!({ "ms": 100 }))).await?;
        if status == 200 {
            let now = stands["now"].as_str().and_then(from_rfc3339).expect("where the clock stands");
            self.facts.lock().unwrap().history.clocks.push(now);
        }
        Some(())
    }
}

/// Status and body; `None` = the server was gone before it was whole.
pub(crate) async fn answer(request: RequestBuilder) -> Option<(u16, Value)> {
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    let body = answer.bytes().await.ok()?;
    Some((status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).ok()? }))
}

fn view(shown: &Value) -> View {
    let time = |key: &str| shown[key].as_str().and_then(from_rfc3339);
    let word = |key: &str| shown[key].as_str().map(str::to_owned);
    let deliveries = shown["deliveries"].as_array().into_iter().flatten();
    let left = deliveries.filter(|d| !matches!(d["status"].as_str(), Some("queued" | "stopped" | "skipped")));
    let channels = left.filter_map(|delivery| match delivery["channel"].as_str() {
        Some("push") | None => None,
        Some("email") => Some(Channel::Email),
        Some(_) => Some(Channel::Text),
    });
    let mut all = shown["deliveries"].as_array().into_iter().flatten();
    let is_unknown = all.any(|d| d["channel"] != "push" && d["status"] == "unknown");
    let acked_late = time("late_ack_at").is_some();
    let mut all = shown["deliveries"].as_array().into_iter().flatten();
    let is_leaving = shown["state"] == "fell_back" && all.any(|d| d["channel"] != "push" && d["status"] == "queued");
    View {
        followup: word("followup_id").unwrap_or_default(),
        state: word("state").unwrap_or_default(),
        reason: word("reason"),
        deadline_at: time("deadline_at").unwrap_or_default(),
        decided_at: time("decided_at"),
        acked_late,
        awaits_report: shown["state"] == "falling_back" && acked_late && is_unknown,
        is_leaving,
        deliveries: channels.collect(),
    }
}
