//! Texts through Twilio's API and mail through SMTP, by the whole server: whatever vendors do, never two texts, never
//! none (P8), opt-outs (T7) and reports (W2).

use crate::providers_fcm_double::Google;
use crate::providers_smtp_double::MailServer;
use crate::providers_support::AT_MS;
use crate::twilio_double::{ACCOUNT, Manner, Twilio};
use backstop_server::app::{App, Mode, Time};
use backstop_server::config::Config;
use backstop_server::engine::Engine;
use backstop_server::identity::customer_hash;
use backstop_server::providers::smtp::SmtpTls;
use reqwest::Method;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(120);

/// A server with real providers against doubles, on a clock that the test turns.
pub(crate) struct House {
    pub(crate) url: String,
    pub(crate) google: Arc<Google>,
    pub(crate) twilio: Arc<Twilio>,
    pub(crate) mail: MailServer,
    engine: Engine,
    rows: Connection,
    api_key: String,
    app_key: String,
    secret: Vec<u8>,
    http: reqwest::Client,
    _files: TempDir,
}

/// A phone that took a push.
pub(crate) struct Phone {
    key: String,
    token: String,
}

impl House {
    async fn open() -> House {
        House::open_with(SmtpTls::None, |_| {}).await
    }

    pub(crate) async fn open_with(tls: SmtpTls, change: impl FnOnce(&mut Config)) -> House {
        let google = Google::start(AT_MS).await;
        let twilio = Twilio::start(google.clock.clone()).await;
        let mail = MailServer::start(tls).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let files = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.store.url = format!("sqlite:{}/b.db", files.path().display());
        config.server.public_url = Some(url.clone());
        config.fcm = Some(google.config());
        config.providers.twilio = Some(twilio.config());
        let mut smtp = mail.config();
        smtp.timeout_ms = 1_500;
        config.providers.smtp = Some(smtp);
        change(&mut config);
        let app = App::build(&config, Time::Given(google.clock.clone()), Mode::Live).await.unwrap();
        let created = app.registry().create("shop").await.unwrap();
        let engine = app.engine().clone();
        tokio::spawn(app.serve(listener, std::future::pending()));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let rows = Connection::open_with_flags(files.path().join("b.db"), flags).unwrap();
        let house = House {
            url,
            google,
            twilio,
            mail,
            engine,
            rows,
            api_key: created.api_key,
            app_key: created.app_key,
            secret: hex::decode(created.identity_secret).unwrap(),
            http: reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap(),
            _files: files,
        };
        house.put("/v1/settings", json!({"phone_number": true, "email": true, "country": "US"})).await;
        house
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
    }

    /// What is no JSON.
    pub(crate) async fn text(&self, path: &str) -> (u16, String) {
        let response = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) async fn backend(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let key = format!("Bearer {}", self.api_key);
        let (status, body) = self.call(method, path, &[("authorization", &key)], body).await;
        assert!((200..300).contains(&status), "{path}: {status} {body}");
        body
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Value {
        self.backend(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.backend(Method::GET, path, None).await
    }

    pub(crate) async fn customer(&self, id: &str, phone: &str, email: Option<&str>) {
        self.put(&format!("/v1/customers/{id}"), json!({"phone": phone, "email": email})).await;
    }

    pub(crate) async fn phone(&self, customer: &str) -> Phone {
        let body = json!({"install_id": customer, "platform": "android", "provider": "fcm", "token": customer,
            "alerts": "allowed", "wire": [1], "customer_id": customer,
            "customer_hash": customer_hash(&self.secret, customer)});
        let app = [("backstop-app", self.app_key.as_str())];
        let (status, device) = self.call(Method::POST, "/v1/devices", &app, Some(body)).await;
        assert_eq!(status, 200, "{device}");
        let word = |name: &str| device[name].as_str().unwrap().to_owned();
        Phone { key: format!("Backstop-Device {}.{}", word("device_id"), word("device_key")), token: customer.into() }
    }

    async fn ack(&self, phone: &Phone) {
        let receipt = {
            let seen = self.google.seen.lock().unwrap();
            let push = seen.messages.iter().find(|push| push["message"]["token"] == phone.token.as_str()).unwrap();
            let data: Value = serde_json::from_str(push["message"]["data"]["backstop"].as_str().unwrap()).unwrap();
            data["receipt"].as_str().unwrap().to_owned()
        };
        let headers = [("backstop-app", self.app_key.as_str()), ("authorization", phone.key.as_str())];
        let body = json!({"acks": [{"receipt": receipt, "grade": "displayed", "at": "2026-11-22T18:00:01.000Z"}]});
        let (status, answer) = self.call(Method::POST, "/v1/acks", &headers, Some(body)).await;
        assert_eq!((status, answer["results"][0]["result"] != "refused"), (200, true), "{answer}");
    }

    /// An agent's reply in a conversation of the customer's name; answers its follow-up.
    pub(crate) async fn reply(&self, customer: &str, message: &str) -> String {
        let body = json!({"message_id": message, "conversation_id": customer, "customer_id": customer, "kind": "reply",
            "author": {"name": "Kim"}, "text": format!("It arrives today, {message}.")});
        let posted = self.backend(Method::POST, "/v1/messages", Some(body)).await;
        posted["followup_id"].as_str().unwrap().to_owned()
    }

    async fn text_of(&self, followup: &str) -> Value {
        let shown = self.get(&format!("/v1/followups/{followup}")).await;
        let deliveries = shown["deliveries"].as_array().unwrap();
        deliveries.iter().find(|delivery| delivery["channel"] == "sms").cloned().unwrap_or(Value::Null)
    }

    /// Until nothing is due and nothing is under way.
    pub(crate) async fn settle(&self) {
        let due = "SELECT count(*) FROM followups WHERE wake_at <= ?1";
        let quiet = async {
            let mut times = 0;
            while times < 3 {
                let now = backstop_server::clock::Clock::now_ms(&*self.google.clock);
                let due: i64 = self.rows.query_row(due, [now], |row| row.get(0)).unwrap();
                let stats = self.engine.stats();
                let is_quiet = due == 0 && stats.sending == 0 && stats.queued == 0;
                times = if is_quiet { times + 1 } else { 0 };
                self.get("/v1/settings").await;
            }
        };
        tokio::time::timeout(PATIENCE, quiet).await.expect("it comes to rest");
    }

    pub(crate) async fn turn(&self, ms: i64) {
        self.google.clock.advance(ms);
        self.settle().await;
    }

    pub(crate) async fn until(&self, what: impl Fn() -> bool) {
        let there = async {
            while !what() {
                self.get("/v1/settings").await;
            }
        };
        tokio::time::timeout(PATIENCE, there).await.expect("it comes to that");
    }

    /// Distinct mails that the mail server took so far, by recipient.
    pub(crate) async fn mails(&mut self, wanted: &BTreeSet<String>) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        while !wanted.is_subset(&seen) {
            let mail = self.mail.mail().await;
            seen.extend(mail["to"].as_array().unwrap().iter().map(|to| to.as_str().unwrap().to_owned()));
        }
        seen
    }
}

/// When the phone acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ack {
    Never,
    Before,
    During,
    After,
}

/// In three houses: fewer failures each than the account's breaker opens at, and one whose account is told to wait.
const TAKEN: [Manner; 4] = [Manner::Take, Manner::TakeAndSayNothing, Manner::TakeAndReset, Manner::TakeAndFail];
const LATE_OR_LOST: [Manner; 4] =
    [Manner::TakeLate, Manner::LoseAndSayNothing, Manner::LoseAndReset, Manner::ReportFirst];

/// P8, invariants 2 and 4: whatever becomes of the send, whenever the ack comes: never two texts; none after an ack in
/// time; else one, and the mail beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p8_never_two_texts_and_never_none_whatever_twilio_does() {
    assert!(one_text_each(&TAKEN).await.looked_up() > 0);
    assert!(one_text_each(&LATE_OR_LOST).await.looked_up() > 0);
    one_text_each(&[Manner::TooMany]).await;
}

async fn one_text_each(manners: &[Manner]) -> Arc<Twilio> {
    let mut house = House::open().await;
    let acks = [Ack::Never, Ack::Before, Ack::During, Ack::After];
    let mut cases = Vec::new();
    for (n, (manner, ack)) in manners.iter().flat_map(|manner| acks.map(|ack| (*manner, ack))).enumerate() {
        // Half of those that nobody acks have no other way out.
        let mail = !(ack == Ack::Never && n % 8 == 0);
        let (id, number, email) = (format!("c{n}"), format!("+1415200{:04}", 1_000 + n), format!("c{n}@example.com"));
        house.twilio.manner(&number, manner);
        if ack == Ack::During {
            house.twilio.hold(&number);
        }
        house.customer(&id, &number, mail.then_some(email.as_str())).await;
        let phone = house.phone(&id).await;
        let followup = house.reply(&id, &format!("m{n}")).await;
        cases.push((manner, ack, number, email, mail, phone, followup));
    }
    let pushed = cases.len();
    house.until(|| house.google.seen.lock().unwrap().messages.len() == pushed).await;
    house.settle().await;
    for (_, _, _, _, _, phone, _) in cases.iter().filter(|case| case.1 == Ack::Before) {
        house.ack(phone).await;
    }
    house.google.clock.advance(30_000);
    let fall_back: Vec<&str> = cases.iter().filter(|c| c.1 != Ack::Before).map(|c| c.2.as_str()).collect();
    // One is enough to make all others of the account wait.
    let asked = |number: &&str| house.twilio.asked(number) > 0;
    let waits = manners == [Manner::TooMany];
    house.until(|| if waits { fall_back.iter().any(asked) } else { fall_back.iter().all(asked) }).await;
    for (_, _, _, _, _, phone, _) in cases.iter().filter(|case| case.1 == Ack::During) {
        house.ack(phone).await;
    }
    house.twilio.release();
    house.settle().await;
    for (_, _, _, _, _, phone, _) in cases.iter().filter(|case| case.1 == Ack::After) {
        house.ack(phone).await;
    }
    house.turn(2_500).await;
    house.turn(26_000).await;
    // Later than any vendor should be: after it was asked once.
    house.turn(10_000).await;
    house.twilio.finish();
    for _ in 0..24 {
        house.turn(10_000).await;
    }
    let wanted: BTreeSet<String> = cases.iter().filter(|c| c.4 && c.1 != Ack::Before).map(|c| c.3.clone()).collect();
    let mailed = house.mails(&wanted).await;
    for (manner, ack, number, email, _, _, followup) in &cases {
        let (texts, case) = (house.twilio.texts_to(number).len(), format!("{manner:?} {ack:?}"));
        let shown = house.get(&format!("/v1/followups/{followup}")).await;
        if *ack == Ack::Before {
            assert_eq!((texts, shown["state"].as_str()), (0, Some("acked")), "{case}");
            assert!(!mailed.contains(email), "{case}");
            continue;
        }
        assert_eq!(shown["state"], "fell_back", "{case}: {shown}");
        // What was certainly not sent when the ack came is not sent after it.
        let stopped = matches!(manner, Manner::LoseAndSayNothing | Manner::LoseAndReset | Manner::TooMany);
        let expected = if stopped && *ack != Ack::Never { 0 } else { 1 };
        assert_eq!(texts, expected, "{case}: {shown}");
    }
    house.twilio
}

/// What comes before the "@" tells the mail server what to do: take and say nothing, take and hang up, take and fail,
/// refuse for now, take.
const MAIL_MANNERS: [&str; 5] = ["silent", "lost-late", "busy", "full", "ok"];

/// P8, invariants 2 and 4: whatever becomes of the mail, whenever the ack comes: one text, and the mail, however often
/// it is repeated, is one mail by its Message-ID; nothing at all after an ack in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p8_never_two_mails_and_never_none_whatever_the_mail_server_does() {
    let mut house = House::open().await;
    let acks = [Ack::Never, Ack::Before, Ack::During, Ack::After];
    let mut cases = Vec::new();
    for (n, (manner, ack)) in MAIL_MANNERS.iter().flat_map(|manner| acks.map(|ack| (*manner, ack))).enumerate() {
        let (id, number, email) =
            (format!("c{n}"), format!("+1415200{:04}", 3_000 + n), format!("{manner}@c{n}.example"));
        if ack == Ack::During {
            house.twilio.hold(&number);
        }
        house.customer(&id, &number, Some(email.as_str())).await;
        let phone = house.phone(&id).await;
        let followup = house.reply(&id, &format!("m{n}")).await;
        cases.push((manner, ack, number, email, phone, followup));
    }
    let pushed = cases.len();
    house.until(|| house.google.seen.lock().unwrap().messages.len() == pushed).await;
    house.settle().await;
    for (_, _, _, _, phone, _) in cases.iter().filter(|case| case.1 == Ack::Before) {
        house.ack(phone).await;
    }
    house.google.clock.advance(30_000);
    let fall_back: Vec<&str> = cases.iter().filter(|c| c.1 != Ack::Before).map(|c| c.2.as_str()).collect();
    house.until(|| fall_back.iter().all(|number| house.twilio.asked(number) > 0)).await;
    for (_, _, _, _, phone, _) in cases.iter().filter(|case| case.1 == Ack::During) {
        house.ack(phone).await;
    }
    house.twilio.release();
    house.settle().await;
    for (_, _, _, _, phone, _) in cases.iter().filter(|case| case.1 == Ack::After) {
        house.ack(phone).await;
    }
    for _ in 0..3 {
        house.turn(5_000).await;
    }
    for (manner, ack, number, _, _, followup) in &cases {
        let case = format!("{manner} {ack:?}");
        let shown = house.get(&format!("/v1/followups/{followup}")).await;
        let (texts, state) = if *ack == Ack::Before { (0, "acked") } else { (1, "fell_back") };
        assert_eq!((house.twilio.texts_to(number).len(), &shown["state"]), (texts, &json!(state)), "{case}: {shown}");
    }
    // Those that nobody acked: each was taken, and those that were repeated are one mail.
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let unacked = |manner: &str| manner != "full";
    let wanted: Vec<(&str, &str)> =
        cases.iter().filter(|c| c.1 == Ack::Never && unacked(c.0)).map(|c| (c.0, c.3.as_str())).collect();
    let enough = |times: &BTreeMap<String, usize>| {
        let least = |manner: &str| if manner == "ok" { 1 } else { 2 };
        wanted.iter().all(|(manner, email)| times.get(*email).copied().unwrap_or(0) >= least(manner))
    };
    while !enough(&times) {
        let mail = house.mail.mail().await;
        let to = mail["to"][0].as_str().unwrap().to_owned();
        let headers = mail["headers"].as_array().unwrap();
        let id = headers.iter().find(|header| header[0] == "Message-ID").unwrap()[1].as_str().unwrap().to_owned();
        assert!(cases.iter().all(|case| case.1 != Ack::Before || case.3 != to), "{to} after an ack in time");
        *times.entry(to.clone()).or_default() += 1;
        ids.entry(to).or_default().insert(id);
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
}

/// W2: a report settles its text once, in any order, as often as it comes; a forged one is refused; what is unknown is
/// answered like what is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w2_reports_are_verified_repeatable_and_in_any_order() {
    let house = House::open().await;
    let number = "+14152001001";
    house.customer("ann", number, None).await;
    let followup = house.reply("ann", "m1").await;
    house.until(|| house.twilio.texts_to(number).len() == 1).await;
    house.settle().await;
    let text = house.twilio.texts_to(number).remove(0);
    let status = async || house.text_of(&followup).await["status"].as_str().unwrap_or_default().to_owned();
    assert_eq!(status().await, "accepted");
    assert_eq!(house.text_of(&followup).await["provider_id"], text.sid.as_str());
    let url = text.callback.clone().unwrap();
    let body = format!("MessageSid={}&MessageStatus=delivered", text.sid);
    assert_eq!(house.twilio.call(&url, body.clone(), Some("Zm9yZ2Vk")).await, 403);
    let other = url.replace("attempt=1", "attempt=2");
    let signature = backstop_server::providers::twilio::signature(crate::twilio_double::TOKEN, &url, body.as_bytes());
    assert_eq!(house.twilio.call(&other, body, Some(&signature)).await, 403, "the query is signed, too");
    assert_eq!(status().await, "accepted", "refused calls change nothing");
    for (word, becomes) in [
        ("sent", "accepted"),
        ("delivered", "delivered"),
        ("sent", "delivered"),
        ("delivered", "delivered"),
        ("undelivered", "delivered"),
    ] {
        assert_eq!(house.twilio.report(&text, word, None).await, 204);
        assert_eq!(status().await, becomes, "{word}");
    }
    let unknown = url.replace(followup.as_str(), "fu_0000000000001");
    assert_eq!(house.twilio.call(&unknown, "MessageSid=x&MessageStatus=sent".into(), None).await, 204);
    let elsewhere = format!("{}/in/twilio/{}", house.url, ACCOUNT.replace('1', "2"));
    assert_eq!(house.twilio.call(&elsewhere, "MessageStatus=sent".into(), None).await, 404);
    let huge = format!("Body={}", "x".repeat(100_000));
    assert_eq!(house.twilio.call(&url, huge, None).await, 413);
}

/// T7: STOP ends all text of the workspace to that number, whoever has it and whatever is imported; START lifts it, and
/// so does the workspace. Email goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t7_a_number_that_opted_out_gets_no_text_until_it_opts_in() {
    let house = House::open().await;
    let (number, inbound) = ("+14152001002", format!("{}/in/twilio/{ACCOUNT}", house.url));
    let texts = async |customer: &str, message: &str| {
        house.customer(customer, number, None).await;
        let followup = house.reply(customer, message).await;
        house.settle().await;
        (house.twilio.texts_to(number).len(), house.text_of(&followup).await["error"].clone())
    };
    assert_eq!(house.twilio.inbound(&inbound, number, "STOP").await, 200);
    assert_eq!(house.get("/v1/suppressions").await["data"], json!([]), "nobody texted them");
    assert_eq!(texts("ann", "m1").await.0, 1);
    assert_eq!(house.twilio.inbound(&inbound, number, "please+stop+writing+me+essays").await, 200);
    assert_eq!(texts("ann-2", "m2").await.0, 2, "a sentence is no opt-out");
    for _ in 0..2 {
        assert_eq!(house.twilio.inbound(&inbound, number, "Stop.").await, 200);
    }
    let listed = house.get("/v1/suppressions").await;
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["data"][0]["number"]), (1, &json!("…1002")));
    assert_eq!(listed["data"][0]["source"], "stop");
    assert_eq!(texts("bob", "m3").await, (2, json!("opted_out")), "another customer with that number");
    house.backend(Method::DELETE, "/v1/customers/bob", None).await;
    assert_eq!(texts("bob", "m4").await, (2, json!("opted_out")), "erased and imported again");
    assert_eq!(house.twilio.inbound(&inbound, number, "START").await, 200);
    assert_eq!(texts("carol", "m5").await.0, 3);

    house.twilio.manner("+14152001003", Manner::OptedOut);
    house.customer("dave", "+14152001003", None).await;
    house.reply("dave", "m6").await;
    house.settle().await;
    let listed = house.get("/v1/suppressions").await;
    assert_eq!((&listed["data"][0]["number"], &listed["data"][0]["source"]), (&json!("…1003"), &json!("provider")));
    let id = listed["data"][0]["suppression_id"].as_str().unwrap();
    house.backend(Method::DELETE, &format!("/v1/suppressions/{id}"), None).await;
    assert_eq!(house.get("/v1/suppressions").await["data"], json!([]));
    let audit = house.get("/v1/audit?kind=suppression_lifted").await;
    assert_eq!(audit["data"].as_array().unwrap().len(), 2, "by START, and by the workspace");
}

/// T4, T5, T8: without a public URL a text ends with the message's own link: whole, in letters that every route
/// carries, and not at all where it would leave no room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_a_messages_own_link_keeps_the_limits() {
    let house = House::open_with(SmtpTls::None, |config| config.server.public_url = None).await;
    let long = format!("https://shop.example/{}", "a".repeat(1_000));
    let links =
        [("https://shop.example/café’s", Some("https://shop.example/caf%C3%A9%E2%80%99s")), (long.as_str(), None)];
    for (n, (link, ends_with)) in links.into_iter().enumerate() {
        let (id, number) = (format!("c{n}"), format!("+1415200200{n}"));
        house.customer(&id, &number, None).await;
        let body = json!({"message_id": id, "conversation_id": id, "customer_id": id, "kind": "reply",
            "author": {"name": "Kim"}, "text": "It arrives today.", "link": link});
        let posted = house.backend(Method::POST, "/v1/messages", Some(body)).await;
        house.settle().await;
        let texts = house.twilio.texts_to(&number);
        let [text] = texts.as_slice() else { panic!("{texts:?}") };
        assert!(text.body.contains("It arrives today."), "{}", text.body);
        assert_eq!(text.body.lines().find(|line| line.starts_with("https:")), ends_with);
        let delivery = house.text_of(posted["followup_id"].as_str().unwrap()).await;
        assert!(delivery["segments"].as_u64().is_some_and(|segments| segments <= 3), "{delivery}");
    }
}
