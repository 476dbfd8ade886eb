//! Words that occur nowhere else, in every field of a whole run of the real program: where they turn up again.

use crate::hostile_support::{Heard, World};
use crate::program::said;
use axum::http::Method;
use backstop_server::identity::customer_hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::Path;

/// What a customer is and has; none of it may be in a log, in a metric or in an error.
const PERSONAL: [(&str, &str); 13] = [
    ("name", "zyxname"),
    ("email", "zyxemail@zyxhost.example"),
    ("phone", "+821077665544"),
    ("text", "zyxtext says hello"),
    ("author", "zyxauthor"),
    ("link", "https://shop.example/zyxlink"),
    ("token", "zyxtoken:APA91b"),
    ("customer_id", "zyxcustomer"),
    ("conversation_id", "zyxconversation"),
    ("message_id", "zyxmessage"),
    ("install_id", "zyxinstall"),
    ("source_id", "zyxsource"),
    ("written", "zyxwritten by the customer"),
];

fn word(field: &str) -> &'static str {
    PERSONAL.iter().find(|(name, _)| *name == field).unwrap().1
}

/// The piece of each that nothing else contains.
fn canaries() -> Vec<&'static str> {
    let piece = |word: &'static str| word.split([' ', '@', ':', '/']).find(|piece| piece.starts_with("zyx"));
    PERSONAL.iter().map(|(_, word)| piece(word).unwrap_or("77665544")).collect()
}

/// Asks, and keeps what errors said and which secrets went through.
struct Run<'a> {
    world: &'a World,
    bearer: (&'static str, String),
    app: (&'static str, String),
    problems: Vec<String>,
    secrets: Vec<String>,
    asked: usize,
}

impl Run<'_> {
    async fn ask(&mut self, method: Method, path: &str, headers: &[(&'static str, String)], body: Value) -> Heard {
        let body = (!body.is_null()).then_some(body);
        let heard = self.world.ask(method.clone(), path, headers, body.as_ref()).await;
        assert!(heard.status < 500, "{method} {path}: {}", heard.text);
        if heard.status >= 400 {
            self.problems.push(heard.text.clone());
        }
        heard
    }

    async fn backend(&mut self, method: Method, path: &str, body: Value) -> Heard {
        self.asked += 1;
        let headers = [self.bearer.clone(), ("idempotency-key", format!("zyxidempotency{}", self.asked))];
        self.ask(method, path, &headers, body).await
    }

    async fn advance(&mut self, ms: i64) {
        let bearer = [self.bearer.clone()];
        self.ask(Method::POST, "/sandbox/clock/advance", &bearer, json!({ "ms": ms })).await.ok();
    }

    async fn reply(&mut self, n: usize) -> Heard {
        let body = json!({
            "message_id": format!("{}{n}", word("message_id")), "conversation_id": word("conversation_id"),
            "customer_id": word("customer_id"), "kind": "reply", "author": {"name": word("author")},
            "text": format!("{} {n}", word("text")), "link": word("link"),
        });
        self.backend(Method::POST, "/v1/messages", body).await
    }
}

/// A whole life: known, registered, told, acknowledged, told again, silent, told by text and email, provider after
/// provider failing; answers the ids of its follow-ups.
async fn live(run: &mut Run<'_>, secret: &str) -> Vec<String> {
    let customer = format!("/v1/customers/{}", word("customer_id"));
    let data = json!({"name": word("name"), "email": word("email"), "phone": word("phone")});
    run.backend(Method::PUT, &customer, data).await.ok();
    let proof = customer_hash(&hex::decode(secret).unwrap(), word("customer_id"));
    let install = json!({
        "install_id": word("install_id"), "platform": "android", "provider": "fcm", "token": word("token"),
        "alerts": "allowed", "wire": [1], "customer_id": word("customer_id"), "customer_hash": proof,
    });
    let app = [run.app.clone()];
    let device = run.ask(Method::POST, "/v1/devices", &app, install).await.ok();
    let key = device["device_key"].as_str().unwrap();
    let device_key = ("authorization", format!("Backstop-Device {}.{key}", device["device_id"].as_str().unwrap()));
    let sdk = ("backstop-sdk", "android/zyxsdk".to_owned());
    let as_device = [run.app.clone(), device_key, sdk, ("x-forwarded-for", "203.0.113.77".to_owned())];
    let wrote = json!({"message_id": "zyxmessage-in", "conversation_id": word("conversation_id"),
        "customer_id": word("customer_id"), "text": word("written")});
    run.backend(Method::POST, "/v1/customer-messages", wrote).await.ok();
    for state in ["active", "left"] {
        let seen = json!({"source_id": word("source_id"), "state": state});
        run.ask(Method::POST, "/v1/presence", &as_device, seen).await.ok();
    }
    let mut followups = Vec::new();
    let behaviours =
        ["accept", "accept", "reject", "rate_limit", "timeout", "accept_then_timeout", "report_failed", "token_gone"];
    for (n, behaviour) in behaviours.into_iter().enumerate() {
        for channel in ["push", "sms", "email"] {
            let to = if channel == "email" { word("email") } else { word("phone") };
            let rule = match channel {
                "push" => json!({"behaviour": behaviour, "token": word("token")}),
                _ => json!({"behaviour": behaviour.replace("token_gone", "reject"), "to": to}),
            };
            run.backend(Method::POST, &format!("/sandbox/providers/{channel}"), rule).await.ok();
        }
        let posted = run.reply(n).await.ok();
        followups.push(posted["followup_id"].as_str().unwrap().to_owned());
        // The first is acked in time, every other one too late.
        let bearer = [run.bearer.clone()];
        let wait_ms = if n == 0 { 1_000 } else { 31_000 };
        run.advance(wait_ms).await;
        let sent = run.ask(Method::GET, "/sandbox/outbox?channel=push", &bearer, Value::Null).await.ok();
        if let Some(push) = sent["data"].as_array().unwrap().last() {
            let data = push["payload"]["message"]["data"]["backstop"].as_str().unwrap();
            let push: Value = serde_json::from_str(data).unwrap();
            let receipt = push["receipt"].as_str().unwrap().to_owned();
            run.secrets.push(receipt.clone());
            let ack =
                |receipt: &str| json!({"receipt": receipt, "grade": "displayed", "at": "zyxat", "detail": "zyx d"});
            let acks = json!({"acks": [ack(&receipt), ack("zyxreceipt")]});
            run.ask(Method::POST, "/v1/acks", &as_device, acks).await.ok();
        }
        run.advance(1_000_000).await;
    }
    let read = json!({"conversation_id": word("conversation_id"), "customer_id": word("customer_id"),
        "message_id": format!("{}1", word("message_id"))});
    run.backend(Method::POST, "/v1/reads", read).await.ok();
    run.secrets.extend([key.to_owned(), proof]);
    followups
}

/// Everything wrong that a caller can do with these words.
async fn err(run: &mut Run<'_>) {
    let customer = format!("/v1/customers/{}", word("customer_id"));
    let message = |change: Value| {
        let mut body = json!({"message_id": "zyxmessage1", "conversation_id": word("conversation_id"),
            "customer_id": word("customer_id"), "author": {"name": word("author")}, "text": word("text")});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    let wrong = [
        message(json!({})),
        message(json!({"message_id": "zyxmessage-new", "customer_id": "zyxcustomer-unknown"})),
        message(json!({"text": [word("text")]})),
        message(json!({"text": format!("(광고) {}", word("text"))})),
        message(json!({"kind": word("text")})),
        message(json!({"link": "javascript:zyxlink"})),
        message(json!({"link": format!("zyxlink {}", word("text"))})),
        message(json!({"channels": [word("text")]})),
        message(json!({"author": word("author")})),
        message(json!({"author": {"name": word("author"), "kind": word("author")}})),
        message(json!({"customer": {"email": "zyxemail", "phone": "zyx77665544", "locale": "zyxname!",
            "time_zone": "zyxname/zyxname", "contact_source": word("name"), "name": "zyxname\u{0}"}})),
        message(json!({"customer": {"name": {"zyx": word("name")}}})),
        json!([word("text")]),
        json!(word("text")),
    ];
    for body in wrong {
        let heard = run.backend(Method::POST, "/v1/messages", body).await;
        assert!(heard.status >= 400, "{}", heard.text);
    }
    for path in [
        "/v1/customers/zyxcustomer-unknown",
        "/v1/messages/zyxmessage-unknown",
        "/v1/followups/zyxmessage",
        "/v1/zyxname?phone=+821077665544",
        "/v1/followups?zyxname=zyxtext",
        "/v1/followups?state=zyxtext",
        "/v1/followups?after=zyxtext&limit=zyxtext",
        "/v1/deliveries?after=zyxtext",
        "/v1/customers/zyxcustomer/export?after=zyxtext",
        "/sandbox/outbox?channel=zyxtext",
        "/v1/customers/zyxcustomer%00",
    ] {
        let heard = run.backend(Method::GET, path, Value::Null).await;
        assert!(heard.status >= 400, "{path}: {}", heard.text);
    }
    run.backend(Method::PATCH, &customer, json!({"name": word("name")})).await;
    run.backend(Method::PUT, "/v1/settings", json!({"company_name": ["zyxname"], "country": "zyxname"})).await;
    let key = [("authorization", "Bearer sk_zyxkey".to_owned())];
    run.ask(Method::GET, &customer, &key, Value::Null).await;
    let app = [run.app.clone()];
    let install = |change: Value| {
        let mut body = json!({"install_id": "zyxinstall2", "platform": "android", "provider": "fcm", "wire": [1],
            "token": word("token"), "alerts": "allowed", "customer_id": word("customer_id")});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    for change in [
        json!({}),
        json!({"customer_hash": "zyxhash"}),
        json!({"customer_token": "zyxheader.zyxclaims.zyxsignature"}),
        json!({"platform": "zyxplatform"}),
        json!({"token": "zyxtoken with spaces"}),
        json!({"install_id": word("install_id"), "customer_id": null}),
    ] {
        let heard = run.ask(Method::POST, "/v1/devices", &app, install(change)).await;
        assert!(heard.status >= 400, "{}", heard.text);
    }
}

/// Which of the needles are in the file.
fn found(path: &Path, needles: &[&str]) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap();
    let has = |needle: &&&str| bytes.windows(needle.len()).any(|w| w.eq_ignore_ascii_case(needle.as_bytes()));
    needles.iter().filter(has).map(|needle| format!("{needle} in {}", path.display())).collect()
}

/// The same of each needle in UTF-16, hexadecimal digits and base64, wherever in a group of three its bytes begin.
fn spelled_otherwise(path: &Path, needles: &[&str]) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap();
    let spellings = |needle: &str| {
        let wide = |of: fn(u16) -> [u8; 2]| needle.encode_utf16().flat_map(of).collect::<Vec<u8>>();
        let mut all = vec![wide(u16::to_le_bytes), wide(u16::to_be_bytes), hex::encode(needle).into_bytes()];
        all.push(hex::encode_upper(needle).into_bytes());
        for before in 0..3 {
            let text = STANDARD.encode([&vec![0; before], needle.as_bytes()].concat());
            // Without the characters that what stands around it has a part in.
            let whole = &text[(before * 8).div_ceil(6)..(before + needle.len()) * 8 / 6];
            all.extend([whole.to_owned().into_bytes(), whole.replace('+', "-").replace('/', "_").into_bytes()]);
        }
        all
    };
    let has = |spelled: &Vec<u8>| bytes.windows(spelled.len()).any(|window| window == spelled);
    let held = needles.iter().filter(|needle| spellings(needle).iter().any(has));
    held.map(|needle| format!("{needle} in {}", path.display())).collect()
}

/// Keyed hashes by which rows of the customer are found; those of an opt-out outlive them.
fn hashes(dir: &Path) -> Vec<Vec<u8>> {
    let path = dir.join("backstop.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    let column = |sql: &str| {
        let mut statement = db.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>()
    };
    let customer = word("customer_id");
    let of_messages = format!("SELECT body_hash FROM messages WHERE customer_id = '{customer}'");
    let of_devices = format!("SELECT token_hash FROM devices WHERE customer_id = '{customer}'");
    let all = [column(&of_messages), column(&of_devices)].concat();
    assert!(all.len() > 8, "the test looks for what is there");
    all
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}

/// Invariant 9, S8, T12, T13, T24: at the finest log level, nothing personal and no secret in any log line, metric or
/// error; what a person reads is not in the database in the clear; after the erasure nothing of theirs is.
#[tokio::test(flavor = "multi_thread")]
async fn canaries_are_found_nowhere() {
    let env = [("BACKSTOP__LOG__LEVEL", "trace")];
    let world = World::start(&env);
    let made = world.ask(Method::POST, "/sandbox/workspaces", &[], None).await.ok();
    let made = |field: &str| made[field].as_str().unwrap().to_owned();
    let (api_key, app_key, secret) = (made("api_key"), made("app_key"), made("identity_secret"));
    let mut run = Run {
        world: &world,
        bearer: ("authorization", format!("Bearer {api_key}")),
        app: ("backstop-app", app_key.clone()),
        problems: Vec::new(),
        asked: 0,
        secrets: vec![api_key, app_key, secret.clone(), "sk_zyxkey".into(), "zyxidempotency".into()],
    };
    run.advance(0).await;
    let followups = live(&mut run, &secret).await;
    err(&mut run).await;
    let canaries = canaries();
    let none = |text: &str, but: &[&str], what: &str| {
        for needle in canaries.iter().filter(|n| !but.contains(n)) {
            let line = text.lines().find(|line| line.to_lowercase().contains(needle));
            assert_eq!(line, None, "{needle} is in {what}");
        }
    };
    assert!(run.problems.len() > 30, "few went wrong");
    run.problems.iter().for_each(|problem| none(problem, &[], "an error"));
    let metrics = world.ask(Method::GET, "/metrics", &[], None).await.text;
    assert!(metrics.contains("backstop_followups_total"), "{metrics}");
    none(&metrics, &[], "the metrics");
    for followup in &followups {
        // Ids of callers stand in its first sentence: an operator asks about a customer.
        let told = said(&world.dir, &["explain", followup]);
        none(&told, &["zyxcustomer", "zyxconversation"], "what explain says");
    }
    // What a person can be reached at or reads is sealed before it is written.
    let sealed = ["zyxname", "zyxemail", "77665544", "zyxtext", "zyxauthor", "zyxlink", "zyxwritten", "zyxtoken"];
    let secrets: Vec<&str> = run.secrets.iter().map(String::as_str).collect();
    for file in files(world.dir.path()) {
        assert_eq!(found(&file, &[&sealed[..], &secrets[..2]].concat()), Vec::<String>::new(), "before the erasure");
    }
    let hashes = hashes(world.dir.path());
    let customer = format!("/v1/customers/{}", word("customer_id"));
    run.backend(Method::DELETE, &customer, Value::Null).await.ok();
    // A message's id stays, so that the same one is never told again; it is the company's, and names nobody.
    let erased: Vec<&str> = canaries.iter().copied().filter(|needle| *needle != "zyxmessage").collect();
    for file in files(world.dir.path()) {
        assert_eq!(found(&file, &erased), Vec::<String>::new(), "once the erasure is answered");
        assert_eq!(spelled_otherwise(&file, &erased), Vec::<String>::new(), "once the erasure is answered");
        let bytes = std::fs::read(&file).unwrap();
        let left = hashes.iter().find(|hash| bytes.windows(hash.len()).any(|window| window == **hash));
        assert_eq!(left, None, "a keyed hash is left in {}", file.display());
    }
    let secrets = run.secrets.clone();
    let World { server, dir, .. } = world;
    server.terminate();
    let (status, log) = server.ended();
    assert!(status.success());
    assert!(log.iter().filter(|line| line.contains("/v1/messages")).count() > 10, "requests are logged: {log:#?}");
    let log = log.join("\n");
    none(&log, &[], "the log");
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()) && !metrics.contains(secret.as_str()), "{secret} is in the log");
    }
    for file in files(dir.path()) {
        assert_eq!(found(&file, &erased), Vec::<String>::new(), "after the erasure");
    }
}
