//! A strict stand-in for Twilio's Messages API: refuses what Twilio refuses, counts what customers get, fails as told.

use crate::providers_fcm_double::TestClock;
use backstop_server::clock::Clock;
use backstop_server::providers::twilio::{TwilioConfig, signature};
use base64::Engine as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

pub(crate) const ACCOUNT: &str = "AC00000000000000000000000000000001";
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const OWN: &str = "+14155550100";
const KNOWN: [&str; 7] =
    ["To", "From", "MessagingServiceSid", "Body", "StatusCallback", "ValidityPeriod", "SmartEncoded"];
const PATIENCE: Duration = Duration::from_secs(60);

/// What it does with texts to one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    #[default]
    Take,
    TakeAndSayNothing,
    TakeAndReset,
    TakeAndFail,
    /// Takes it when [`Twilio::finish`] is called, and says nothing.
    TakeLate,
    LoseAndSayNothing,
    LoseAndReset,
    /// 429 once, then takes.
    TooMany,
    /// Reports delivery before it answers.
    ReportFirst,
    OptedOut,
}

/// A text that it took.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) sid: String,
    pub(crate) to: String,
    pub(crate) body: String,
    pub(crate) status: &'static str,
    pub(crate) callback: Option<String>,
    created_ms: i64,
}

#[derive(Default)]
struct Inside {
    manners: BTreeMap<String, Manner>,
    held: BTreeSet<String>,
    taken: Vec<Taken>,
    late: Vec<Taken>,
    asked: BTreeMap<String, usize>,
    looked_up: usize,
    posted: usize,
}

pub(crate) struct Twilio {
    pub(crate) url: String,
    clock: Arc<TestClock>,
    inside: Mutex<Inside>,
    released: Notify,
    http: reqwest::Client,
}

impl Twilio {
    pub(crate) async fn start(clock: Arc<TestClock>) -> Arc<Twilio> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let twilio = Arc::new(Twilio {
            url: format!("http://{}", listener.local_addr().unwrap()),
            clock,
            inside: Mutex::default(),
            released: Notify::new(),
            http: reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap(),
        });
        let this = Arc::clone(&twilio);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = Arc::clone(&this);
                tokio::spawn(async move { this.serve(stream).await });
            }
        });
        twilio
    }

    pub(crate) fn config(&self) -> TwilioConfig {
        TwilioConfig {
            account_sid: ACCOUNT.into(),
            auth_token: Some(TOKEN.into()),
            from: Some(OWN.into()),
            base_url: self.url.clone(),
            timeout_ms: 1_500,
            ..TwilioConfig::default()
        }
    }

    pub(crate) fn manner(&self, number: &str, manner: Manner) {
        self.inside().manners.insert(number.to_owned(), manner);
    }

    /// Texts to this number are not answered before [`Twilio::release`].
    pub(crate) fn hold(&self, number: &str) {
        self.inside().held.insert(number.to_owned());
    }

    pub(crate) fn release(&self) {
        self.inside().held.clear();
        self.released.notify_waiters();
    }

    /// What was taken late is taken now.
    pub(crate) fn finish(&self) {
        let mut inside = self.inside();
        let late = std::mem::take(&mut inside.late);
        inside.taken.extend(late);
    }

    /// What the customer gets.
    pub(crate) fn texts_to(&self, number: &str) -> Vec<Taken> {
        self.inside().taken.iter().filter(|text| text.to == number).cloned().collect()
    }

    /// Requests to send to this number.
    pub(crate) fn asked(&self, number: &str) -> usize {
        self.inside().asked.get(number).copied().unwrap_or(0)
    }

    /// Requests to send, to whomever, refused ones too.
    pub(crate) fn posted(&self) -> usize {
        self.inside().posted
    }

    pub(crate) fn looked_up(&self) -> usize {
        self.inside().looked_up
    }

    /// Reports what became of a text, and answers the status it gets.
    pub(crate) async fn report(&self, text: &Taken, status: &str, code: Option<u32>) -> u16 {
        let Some(url) = &text.callback else { return 0 };
        let code = code.map(|code| format!("&ErrorCode={code}")).unwrap_or_default();
        let to = text.to.replace('+', "%2B");
        let body = format!(
            "AccountSid={ACCOUNT}&MessageSid={}&MessageStatus={status}&To={to}&From=%2B14155550100{code}",
            text.sid
        );
        self.call(url, body, None).await
    }

    /// A text from a customer.
    pub(crate) async fn inbound(&self, url: &str, from: &str, text: &str) -> u16 {
        let body = format!("From={}&To={}&Body={text}", from.replace('+', "%2B"), OWN.replace('+', "%2B"));
        self.call(url, body, None).await
    }

    /// Calls us, signed, unless a signature is given.
    pub(crate) async fn call(&self, url: &str, body: String, forged: Option<&str>) -> u16 {
        let signature = forged.map_or_else(|| signature(TOKEN, url, body.as_bytes()), str::to_owned);
        let request = self.http.post(url).header("x-twilio-signature", signature);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        request.send().await.unwrap().status().as_u16()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    /// One request a connection.
    async fn serve(&self, mut stream: TcpStream) {
        let Some((head, body)) = read_request(&mut stream).await else { return };
        let answer = match head.split(' ').next() {
            Some("POST") => self.create(&head, &body).await,
            Some("GET") => Some(self.list(&head)),
            _ => Some((405, error(405, 20004), None)),
        };
        match answer {
            Some((status, body, retry_after)) => {
                let retry = retry_after.map(|s| format!("retry-after: {s}\r\n")).unwrap_or_default();
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} X\r\ndate: {}\r\ncontent-type: application/json\r\n{retry}content-length: \
                     {length}\r\nconnection: close\r\n\r\n",
                    self.date()
                );
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(body.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
            // Whoever called has gone by then, or is cut off.
            None => drop(stream),
        }
    }

    /// `None` = the connection ends without a word.
    async fn create(&self, head: &str, body: &str) -> Option<(u16, String, Option<u32>)> {
        self.inside().posted += 1;
        let fields = match self.checked(head, body) {
            Ok(fields) => fields,
            Err((status, code)) => return Some((status, error(status, code), None)),
        };
        let to = fields["To"].clone();
        let tries = {
            let mut inside = self.inside();
            let tries = inside.asked.entry(to.clone()).or_insert(0);
            *tries += 1;
            *tries
        };
        loop {
            let released = self.released.notified();
            if !self.inside().held.contains(&to) {
                break;
            }
            released.await;
        }
        let manner = self.inside().manners.get(&to).copied().unwrap_or_default();
        let (text, answer) = self.made(&to, &fields);
        let take = || self.inside().taken.push(text.clone());
        // A second try finds a vendor that is well again.
        match if tries > 1 { Manner::Take } else { manner } {
            Manner::Take => {
                take();
                Some((201, answer, None))
            }
            Manner::TakeAndSayNothing => {
                take();
                std::future::pending().await
            }
            Manner::TakeAndReset => {
                take();
                None
            }
            Manner::TakeAndFail => {
                take();
                Some((503, "<html>upstream</html>".into(), None))
            }
            Manner::TakeLate => {
                self.inside().late.push(text);
                std::future::pending().await
            }
            Manner::LoseAndSayNothing => std::future::pending().await,
            Manner::LoseAndReset => None,
            Manner::TooMany => Some((429, error(429, 20429), Some(2))),
            Manner::ReportFirst => {
                take();
                assert_eq!(self.report(&text, "delivered", None).await, 204);
                Some((201, answer, None))
            }
            Manner::OptedOut => Some((400, error(400, 21610), None)),
        }
    }

    fn made(&self, to: &str, fields: &BTreeMap<String, String>) -> (Taken, String) {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let sid = format!("SM{:032x}", NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let text = Taken {
            sid: sid.clone(),
            to: to.to_owned(),
            body: fields["Body"].clone(),
            status: "queued",
            callback: fields.get("StatusCallback").cloned(),
            created_ms: self.clock.now_ms(),
        };
        (text, json!({"sid": sid, "status": "queued", "num_segments": "1", "error_code": null}).to_string())
    }

    /// What Twilio refuses, with its codes.
    fn checked(&self, head: &str, body: &str) -> Result<BTreeMap<String, String>, (u16, u32)> {
        let path = format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json");
        if head.split(' ').nth(1) != Some(&path) {
            return Err((404, 20404));
        }
        self.authorized(head)?;
        let fields: BTreeMap<String, String> = form(body);
        let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or("");
        let to = field("To").strip_prefix('+').unwrap_or("");
        let must = |holds: bool, code: u32| if holds { Ok(()) } else { Err((400, code)) };
        must(fields.keys().all(|name| KNOWN.contains(&name.as_str())), 20001)?;
        must(!field("To").is_empty(), 21604)?;
        must((7..=15).contains(&to.len()) && to.bytes().all(|b| b.is_ascii_digit()), 21211)?;
        must(field("From").is_empty() != field("MessagingServiceSid").is_empty(), 21603)?;
        must(field("From").is_empty() || field("From") == OWN, 21606)?;
        must(!field("Body").is_empty(), 21602)?;
        must(field("Body").chars().count() <= 1_600, 21617)?;
        let validity: i64 = field("ValidityPeriod").parse().unwrap_or(0);
        must((1..=36_000).contains(&validity), 20001)?;
        let callback = field("StatusCallback");
        must(callback.is_empty() || callback.starts_with("http"), 21609)?;
        Ok(fields)
    }

    fn authorized(&self, head: &str) -> Result<(), (u16, u32)> {
        let login = base64::engine::general_purpose::STANDARD.encode(format!("{ACCOUNT}:{TOKEN}"));
        let wanted = format!("authorization: basic {}", login.to_lowercase());
        if head.lines().any(|line| line.to_lowercase() == wanted) { Ok(()) } else { Err((401, 20003)) }
    }

    fn list(&self, head: &str) -> (u16, String, Option<u32>) {
        if let Err((status, code)) = self.authorized(head) {
            return (status, error(status, code), None);
        }
        let query = head.split(' ').nth(1).and_then(|path| path.split_once('?')).map_or("", |(_, query)| query);
        let to = form(query).remove("To").unwrap_or_default();
        let mut inside = self.inside();
        inside.looked_up += 1;
        let of = |text: &Taken| {
            json!({"sid": text.sid, "to": text.to, "from": OWN, "body": text.body, "status": text.status,
                   "direction": "outbound-api", "error_code": null, "date_sent": null,
                   "date_created": rfc2822(text.created_ms)})
        };
        let messages: Vec<Value> = inside.taken.iter().rev().filter(|text| text.to == to).map(of).collect();
        (200, json!({"messages": messages, "next_page_uri": null}).to_string(), None)
    }

    fn date(&self) -> String {
        rfc2822(self.clock.now_ms()).replace("+0000", "GMT")
    }
}

fn error(status: u16, code: u32) -> String {
    json!({"code": code, "message": "Refused", "more_info": "https://www.twilio.com/docs/errors", "status": status})
        .to_string()
}

/// The double's clock reads 22 and 23 November 2026: enough for every test of it.
fn rfc2822(ms: i64) -> String {
    let day_ms = 86_400_000;
    let day = (ms - 1_795_305_600_000).div_euclid(day_ms);
    let name = ["Sun", "Mon"][usize::try_from(day).unwrap()];
    let s = ms.rem_euclid(day_ms) / 1_000;
    format!("{name}, {} Nov 2026 {:02}:{:02}:{:02} +0000", 22 + day, s / 3600, s / 60 % 60, s % 60)
}

pub(crate) fn form(text: &str) -> BTreeMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://x/?{text}")).unwrap();
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        match stream.read(&mut buffer).await {
            Ok(count @ 1..) if bytes.len() < 1_000_000 => bytes.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}
