//! A strict stand-in for Solapi's messages API: refuses what Solapi refuses, with its codes, and fails as told.

use crate::twilio_double::{form, read_request};
use backstop_server::clock::Clock;
use backstop_server::providers::solapi::{SolapiConfig, proof};
use encoding_rs::EUC_KR;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

pub(crate) const KEY: &str = "NCSTESTTESTTEST1";
pub(crate) const SECRET: &str = "S0LAPITESTSECRETS0LAPITESTSECRET";
pub(crate) const WEBHOOK_SECRET: &str = "what the webhook was given";
pub(crate) const OWN: &str = "0212345678";
pub(crate) const PROFILE: &str = "KA01PF260101000000000shop";
pub(crate) const TEMPLATE: &str = "KA01TP260101000000000reply";
/// What Kakao approved.
pub(crate) const APPROVED: &str = "[#{회사}] #{고객명}님, 새 답변이 도착했습니다.\n\n#{답변}";
const KNOWN: [&str; 9] =
    ["to", "from", "text", "type", "subject", "country", "autoTypeDetect", "customFields", "kakaoOptions"];
const SKEW_MS: i64 = 15 * 60_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// What it does with texts to one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    #[default]
    Take,
    TakeAndSayNothing,
    TakeAndReset,
    TakeAndFail,
    LoseAndReset,
    TooMany,
    OptedOut,
    NoBalance,
}

/// A text that it took.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) to: String,
    /// What the customer reads.
    pub(crate) text: String,
    pub(crate) subject: Option<String>,
    pub(crate) custom: Value,
    pub(crate) code: String,
    created_ms: i64,
}

struct Inside {
    clock: Arc<dyn Clock>,
    manners: BTreeMap<String, Manner>,
    signatures: BTreeSet<String>,
    bodies: Vec<Value>,
    taken: Vec<Taken>,
    asked: Vec<String>,
}

pub(crate) struct Solapi {
    pub(crate) url: String,
    inside: Mutex<Inside>,
    http: reqwest::Client,
}

/// An HTTP answer; `None` = the connection ends without a word.
type Answer = Option<(u16, Value)>;

impl Solapi {
    pub(crate) async fn start(clock: Arc<dyn Clock>) -> Arc<Solapi> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let solapi = Arc::new(Solapi {
            url: format!("http://{}", listener.local_addr().unwrap()),
            inside: Mutex::new(Inside {
                clock,
                manners: BTreeMap::new(),
                signatures: BTreeSet::new(),
                bodies: Vec::new(),
                taken: Vec::new(),
                asked: Vec::new(),
            }),
            http: reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap(),
        });
        let this = Arc::clone(&solapi);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = Arc::clone(&this);
                tokio::spawn(async move { this.serve(stream).await });
            }
        });
        solapi
    }

    /// From now on its time is this clock's.
    pub(crate) fn keep_time(&self, clock: Arc<dyn Clock>) {
        self.inside().clock = clock;
    }

    pub(crate) fn config(&self) -> SolapiConfig {
        SolapiConfig {
            api_key: KEY.into(),
            api_secret: Some(SECRET.into()),
            from: OWN.into(),
            webhook_secret: Some(WEBHOOK_SECRET.into()),
            base_url: self.url.clone(),
            timeout_ms: 1_500,
            ..SolapiConfig::default()
        }
    }

    pub(crate) fn manner(&self, number: &str, manner: Manner) {
        self.inside().manners.insert(number.to_owned(), manner);
    }

    /// What the customer gets.
    pub(crate) fn texts_to(&self, number: &str) -> Vec<Taken> {
        self.inside().taken.iter().filter(|text| text.to == number).cloned().collect()
    }

    /// Every body that was posted, as it came.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.inside().bodies.clone()
    }

    /// What it was asked for, by its lists.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.inside().asked.clone()
    }

    /// What became of a text, for whoever asks.
    pub(crate) fn becomes(&self, id: &str, code: &str) {
        self.inside().taken.iter_mut().filter(|text| text.id == id).for_each(|text| text.code = code.to_owned());
    }

    /// Reports what became of texts, to the webhook at `url`; answers the status it gets.
    pub(crate) async fn report(&self, url: &str, texts: &[(&Taken, &str)]) -> u16 {
        let event = |(text, code): &(&Taken, &str)| {
            json!({"messageId": text.id, "groupId": "G4V1", "type": text.kind, "to": text.to, "from": OWN,
                   "statusCode": code, "statusMessage": "…", "dateReported": "2026-11-22T18:00:40.000Z",
                   "customFields": text.custom})
        };
        let body: Vec<Value> = texts.iter().map(event).collect();
        self.call(url, &json!(body), &proof(WEBHOOK_SECRET)).await
    }

    /// Calls the webhook at `url` with this proof.
    pub(crate) async fn call(&self, url: &str, body: &Value, proof: &str) -> u16 {
        let request = self.http.post(url).header("x-solapi-event-name", "SINGLE-REPORT");
        request.header("x-solapi-secret", proof).json(body).send().await.unwrap().status().as_u16()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    fn now_ms(&self) -> i64 {
        self.inside().clock.now_ms()
    }

    /// One request a connection.
    async fn serve(&self, mut stream: TcpStream) {
        let Some((head, body)) = read_request(&mut stream).await else { return };
        let path = head.split(' ').nth(1).unwrap_or("").to_owned();
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        let answer = match (head.split(' ').next().unwrap_or(""), path) {
            _ if self.authorized(&head).is_err() => self.authorized_answer(&head),
            ("POST", "/messages/v4/send-many/detail") => self.take(&head, &body).await,
            ("GET", "/messages/v4/list") => Some((200, self.list(query))),
            ("GET", "/cash/v1/balance") => Some((200, json!({"balance": 1_000, "point": 0}))),
            _ => Some((404, error("ResourceNotFound"))),
        };
        let Some((status, body)) = answer else { return };
        let (date, body) = (self.date(), body.to_string());
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\ndate: {date}\r\ncontent-type: application/json\r\ncontent-length: \
             {length}\r\nconnection: close\r\n\r\n"
        );
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(body.as_bytes()).await;
        let _ = stream.shutdown().await;
    }

    fn date(&self) -> String {
        let at = jiff::Timestamp::from_millisecond(self.now_ms()).unwrap();
        at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    fn authorized_answer(&self, head: &str) -> Answer {
        self.authorized(head).err().map(|code| (403, error(code)))
    }

    /// The signature, by another implementation of HMAC than the one that made it.
    fn authorized(&self, head: &str) -> Result<(), &'static str> {
        let header = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("authorization").then_some(value)
        });
        let fields = header.and_then(|header| header.strip_prefix("HMAC-SHA256 ")).ok_or("Unauthorized")?;
        let fields: BTreeMap<&str, &str> = fields.split(", ").filter_map(|field| field.split_once('=')).collect();
        let field = |name: &str| fields.get(name).copied().ok_or("Unauthorized");
        let (date, salt, signature) = (field("date")?, field("salt")?, field("signature")?);
        if field("apiKey")? != KEY {
            return Err("InvalidAPIKey");
        }
        let at: jiff::Timestamp = date.parse().map_err(|_| "Unauthorized")?;
        if (at.as_millisecond() - self.now_ms()).abs() >= SKEW_MS {
            return Err("RequestTimeTooSkewed");
        }
        if !(12..=64).contains(&salt.len()) {
            return Err("Unauthorized");
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("{date}{salt}").as_bytes());
        if hex::encode(mac.finalize().into_bytes()) != signature {
            return Err("SignatureDoesNotMatch");
        }
        Ok(())
    }

    /// No signature goes twice.
    fn is_repeated(&self, head: &str) -> bool {
        let signature = head.split("signature=").nth(1).and_then(|rest| rest.lines().next()).unwrap_or("");
        !self.inside().signatures.insert(signature.to_owned())
    }

    async fn take(&self, head: &str, body: &str) -> Answer {
        if self.is_repeated(head) {
            return Some((403, error("DuplicatedSignature")));
        }
        let is_json = head.lines().any(|line| line.to_lowercase().starts_with("content-type: application/json"));
        let Some(request) = serde_json::from_str::<Value>(body).ok().filter(|_| is_json) else {
            return Some((400, error("ValidationError")));
        };
        self.inside().bodies.push(request.clone());
        let Some([message]) = request["messages"].as_array().map(Vec::as_slice) else {
            return Some((400, error("ValidationError")));
        };
        let to = message["to"].as_str().unwrap_or("").to_owned();
        let manner = self.inside().manners.get(&to).copied().unwrap_or_default();
        match manner {
            Manner::LoseAndReset => return None,
            Manner::TooMany => return Some((429, error("TooManyRequests"))),
            _ => {}
        }
        let code = match manner {
            Manner::OptedOut => Err("1061"),
            Manner::NoBalance => Err("1030"),
            _ => checked(message),
        };
        let text = match code {
            Ok(text) => text,
            Err(code) => return Some((200, answer(&request, None, Some((message, code))))),
        };
        let taken = self.made(message, text);
        self.inside().taken.push(taken.clone());
        match manner {
            Manner::TakeAndSayNothing => std::future::pending().await,
            Manner::TakeAndReset => None,
            Manner::TakeAndFail => Some((500, error("InternalError"))),
            _ => Some((200, answer(&request, Some(&taken), None))),
        }
    }

    fn made(&self, message: &Value, text: String) -> Taken {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        Taken {
            id: format!("M4V{:028}", NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
            kind: message["type"].as_str().unwrap().to_owned(),
            to: message["to"].as_str().unwrap().to_owned(),
            text,
            subject: message["subject"].as_str().map(str::to_owned),
            custom: message["customFields"].clone(),
            code: "2000".into(),
            created_ms: self.now_ms(),
        }
    }

    fn list(&self, query: &str) -> Value {
        let fields = form(query);
        let mut inside = self.inside();
        inside.asked.push(query.to_owned());
        let is_meant = |text: &&Taken| {
            fields.get("to").is_none_or(|to| *to == text.to)
                && fields.get("messageId").is_none_or(|id| *id == text.id)
                && fields.get("groupId").is_none_or(|id| id == "G4V1")
        };
        let shown = |text: &Taken| {
            let at = jiff::Timestamp::from_millisecond(text.created_ms).unwrap().to_string();
            let message = json!({"messageId": text.id, "groupId": "G4V1", "type": text.kind, "to": text.to,
                "text": text.text, "statusCode": text.code, "customFields": text.custom, "dateCreated": at});
            (text.id.clone(), message)
        };
        let messages: Map<String, Value> = inside.taken.iter().filter(is_meant).map(shown).collect();
        json!({"startKey": null, "nextKey": null, "limit": 100, "messageList": messages})
    }
}

/// As Solapi judges one message; `Ok` = what the customer reads.
fn checked(message: &Value) -> Result<String, &'static str> {
    let must = |holds: bool, code: &'static str| if holds { Ok(()) } else { Err(code) };
    let word = |name: &str| message[name].as_str().unwrap_or("");
    let fields = message.as_object().ok_or("1011")?;
    must(fields.keys().all(|name| KNOWN.contains(&name.as_str())), "1011")?;
    let (to, kind) = (word("to"), word("type"));
    must(!to.is_empty() && !word("from").is_empty(), "1010")?;
    must((9..=11).contains(&to.len()) && to.starts_with('0') && to.bytes().all(|b| b.is_ascii_digit()), "1011")?;
    must(word("from") == OWN, "1062")?;
    must(word("country") == "82" && message["autoTypeDetect"] == false, "1011")?;
    must(["SMS", "LMS", "ATA"].contains(&kind), "1025")?;
    let is_custom =
        |(name, value): (&String, &Value)| name.len() <= 30 && value.as_str().is_some_and(|v| v.len() <= 100);
    must(message["customFields"].as_object().is_some_and(|fields| fields.iter().all(is_custom)), "1032")?;
    if kind == "ATA" {
        return filled(&message["kakaoOptions"]);
    }
    must(message["kakaoOptions"].is_null(), "1033")?;
    let (text, subject) = (word("text"), word("subject"));
    must(!text.is_empty(), "1010")?;
    must(!text.chars().any(|c| c.is_control() && c != '\n'), "1028")?;
    let (bytes, _, replaced) = EUC_KR.encode(text);
    must(!replaced, "1029")?;
    must(bytes.len() <= if kind == "SMS" { 90 } else { 2_000 }, "1031")?;
    must(kind == "LMS" || subject.is_empty(), "1013")?;
    must(EUC_KR.encode(subject).0.len() <= 40, "1014")?;
    Ok(text.to_owned())
}

/// The approved template with its values, and nothing else.
fn filled(options: &Value) -> Result<String, &'static str> {
    let must = |holds: bool, code: &'static str| if holds { Ok(()) } else { Err(code) };
    assert_eq!(options["disableSms"], true, "the fallback is ours alone");
    must(options["pfId"] == PROFILE, "1041")?;
    must(options["templateId"] == TEMPLATE, "1042")?;
    let mut text = APPROVED.to_owned();
    for (name, value) in options["variables"].as_object().ok_or("1043")? {
        must(name.starts_with("#{") && name.ends_with('}') && !name.contains('.'), "1043")?;
        text = text.replace(name, value.as_str().ok_or("1043")?);
    }
    must(!text.contains("#{"), "1043")?;
    must(text.encode_utf16().count() <= 1_000, "1031")?;
    Ok(text)
}

fn answer(request: &Value, taken: Option<&Taken>, failed: Option<(&Value, &str)>) -> Value {
    let failed: Vec<Value> = failed
        .into_iter()
        .map(|(message, code)| {
            json!({"messageId": "M4VFAILED", "to": message["to"], "from": message["from"], "type": message["type"],
                   "country": "82", "accountId": "1", "statusCode": code, "statusMessage": "…"})
        })
        .collect();
    let listed = |text: &Taken| {
        let custom = &text.custom;
        json!({"messageId": text.id, "statusCode": "2000", "statusMessage": "…", "customFields": custom})
    };
    let listed: Vec<Value> = taken.into_iter().map(listed).collect();
    let count = json!({"total": 1, "sentTotal": 0, "sentFailed": 0, "sentSuccess": 0, "sentPending": 0,
        "sentReplacement": 0, "refund": 0, "registeredFailed": failed.len(), "registeredSuccess": listed.len()});
    let mut answer = json!({
        "groupInfo": {"groupId": "G4V1", "status": "SENDING", "count": count},
        "failedMessageList": failed,
    });
    if request["showMessageList"] == true {
        answer["messageList"] = json!(listed);
    }
    answer
}

fn error(code: &str) -> Value {
    json!({"errorCode": code, "errorMessage": "…"})
}
