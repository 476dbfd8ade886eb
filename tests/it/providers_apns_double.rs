//! A strict stand-in for one environment of APNs over HTTP/2, that can also fail in every way a network can.

use crate::providers_fcm_double::{Scripted, TestClock, pem};
use axum::body::Bytes;
use axum::http::{HeaderMap, Request, Response};
use backstop_server::clock::Clock;
use backstop_server::providers::apns::{Apns, ApnsConfig, ApnsCredential, ApnsNet};
use backstop_wire::Environment;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

pub(crate) const TEAM: &str = "TEAM123456";
pub(crate) const KEY_ID: &str = "ABCDE12345";
pub(crate) const TOPIC: &str = "com.example.shop";
/// Apple takes provider tokens of an hour, and this much of a clock that is ahead.
const MAX_AGE_S: i64 = 3_600;
const MAX_AHEAD_S: i64 = 300;
const CHANGES_AN_HOUR: usize = 4;

/// One for all tests.
static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().unwrap());

/// A device token of the right form.
pub(crate) fn token(n: u64) -> String {
    format!("{n:064x}")
}

/// The signing key as Apple hands it out.
pub(crate) fn p8() -> String {
    pem("PRIVATE KEY", &KEY.serialize_der())
}

/// The half of it that Apple keeps.
pub(crate) fn public_key() -> String {
    pem("PUBLIC KEY", &KEY.subject_public_key_info())
}

/// What happens to a request instead of what would be right.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Whether the phone gets it.
    pub(crate) taken: bool,
    /// Whether the answer waits for [`Fate::release`].
    pub(crate) held: bool,
    pub(crate) then: Then,
}

#[derive(Clone)]
pub(crate) enum Then {
    /// What would be right.
    Right,
    Answer(Scripted),
    /// Nothing, ever.
    Silence,
    /// The stream is reset; in HTTP/1 the connection is closed.
    Reset,
    /// The connection is closed.
    Close,
    /// Nothing on this connection is answered any more, no PING either: the path is dead, and nobody said so.
    Freeze,
    /// GOAWAY, and then what would be right.
    GoAway,
    /// Refused before anything was done with it.
    Refused,
}

impl Plan {
    pub(crate) fn taken(then: Then) -> Plan {
        Plan { taken: true, held: false, then }
    }

    pub(crate) fn lost(then: Then) -> Plan {
        Plan { taken: false, held: false, then }
    }
}

/// What is planned, for one token or for whatever comes next, and when held answers may go.
pub(crate) struct Fate {
    pub(crate) next: Mutex<VecDeque<Plan>>,
    pub(crate) of_token: Mutex<HashMap<String, Plan>>,
    pub(crate) release: watch::Sender<bool>,
}

impl Default for Fate {
    fn default() -> Fate {
        Fate { next: Mutex::default(), of_token: Mutex::default(), release: watch::channel(false).0 }
    }
}

impl Fate {
    pub(crate) fn of(&self, token: &str) -> Plan {
        let next = self.next.lock().unwrap().pop_front();
        let planned = next.or_else(|| self.of_token.lock().unwrap().get(token).cloned());
        planned.unwrap_or_else(|| Plan::taken(Then::Right))
    }

    pub(crate) fn then(&self, plan: Plan) {
        self.next.lock().unwrap().push_back(plan);
    }

    pub(crate) async fn released(&self, plan: &Plan) {
        if plan.held {
            let _ = self.release.subscribe().wait_for(|released| *released).await;
        }
    }
}

/// A push that reached its phone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Taken {
    pub(crate) token: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Value,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) taken: Vec<Taken>,
    /// Requests, refused ones too.
    pub(crate) requests: usize,
    pub(crate) connections: usize,
    /// Provider tokens → when they were first seen.
    pub(crate) provider_tokens: HashMap<String, i64>,
}

pub(crate) struct Apple {
    pub(crate) url: String,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) seen: Mutex<Seen>,
    pub(crate) fate: Fate,
    /// Tokens of the other environment.
    pub(crate) strangers: Mutex<BTreeSet<String>>,
    /// Told at each push that reached its phone.
    pub(crate) arrived: Notify,
    /// How far Apple's clock is ahead of the test's.
    pub(crate) ahead_ms: Mutex<i64>,
}

impl Apple {
    pub(crate) async fn start(clock: Arc<TestClock>) -> Arc<Apple> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let apple = Arc::new(Apple {
            url: format!("http://{}", listener.local_addr().unwrap()),
            clock,
            seen: Mutex::default(),
            fate: Fate::default(),
            strangers: Mutex::default(),
            arrived: Notify::new(),
            ahead_ms: Mutex::default(),
        });
        let accepting = apple.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().connection(stream));
            }
        });
        apple
    }

    /// `[apns]` of a deployment whose both environments are this double.
    pub(crate) fn config(&self) -> ApnsConfig {
        ApnsConfig {
            key: Some(p8()),
            key_id: KEY_ID.into(),
            team_id: TEAM.into(),
            topics: vec![TOPIC.into()],
            base_url: self.url.clone(),
            sandbox_base_url: self.url.clone(),
            ..ApnsConfig::default()
        }
    }

    pub(crate) fn client(&self) -> Apns {
        self.client_with(&self.config())
    }

    pub(crate) fn client_with(&self, config: &ApnsConfig) -> Apns {
        Apns::from_config(config, self.clock.clone()).unwrap()
    }

    pub(crate) fn net(&self) -> ApnsNet {
        ApnsNet::from_config(&self.config(), self.clock.clone()).unwrap()
    }

    fn now_s(&self) -> i64 {
        (self.clock.now_ms() + *self.ahead_ms.lock().unwrap()) / 1000
    }

    async fn connection(self: Arc<Apple>, stream: TcpStream) {
        self.seen.lock().unwrap().connections += 1;
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        let wish = Arc::new(Wish::default());
        loop {
            tokio::select! {
                accepted = connection.accept() => {
                    let Some(Ok((request, respond))) = accepted else { return };
                    tokio::spawn(self.clone().answer(request, respond, wish.clone()));
                }
                () = wish.close.notified() => return,
                () = wish.freeze.notified() => std::future::pending().await,
                () = wish.go_away.notified() => go_away(&mut connection),
            }
        }
    }

    async fn answer(self: Arc<Apple>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>, wish: Arc<Wish>) {
        let (head, mut stream) = request.into_parts();
        let mut body = Vec::new();
        while let Some(Ok(chunk)) = stream.data().await {
            let _ = stream.flow_control().release_capacity(chunk.len());
            body.extend_from_slice(&chunk);
        }
        self.seen.lock().unwrap().requests += 1;
        let token = head.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        let plan = self.fate.of(&token);
        let judged = self.judge(head.method.as_str(), head.uri.path(), &head.headers, &body);
        if let (true, Ok(taken)) = (plan.taken, &judged) {
            self.seen.lock().unwrap().taken.push(taken.clone());
            self.arrived.notify_waiters();
        }
        self.fate.released(&plan).await;
        let right = match &judged {
            Ok(_) => Scripted::new(200, ""),
            Err((status, reason)) => Scripted::new(*status, json!({ "reason": reason }).to_string()),
        };
        match plan.then {
            Then::Right => self.say(&mut respond, &head.headers, right),
            Then::Answer(scripted) => self.say(&mut respond, &head.headers, scripted),
            Then::Silence => std::future::pending().await,
            Then::Reset => respond.send_reset(Reason::INTERNAL_ERROR),
            Then::Refused => respond.send_reset(Reason::REFUSED_STREAM),
            Then::Close => wish.close.notify_one(),
            Then::Freeze => {
                wish.freeze.notify_one();
                std::future::pending().await
            }
            Then::GoAway => {
                wish.go_away.notify_one();
                self.say(&mut respond, &head.headers, right);
            }
        }
    }

    fn say(&self, respond: &mut SendResponse<Bytes>, asked: &HeaderMap, scripted: Scripted) {
        let mut response = Response::builder().status(scripted.status);
        if let Some(id) = asked.get("apns-id").filter(|_| !scripted.headers.contains_key("no-apns-id")) {
            response = response.header("apns-id", id);
        }
        let date = http_date(self.now_s());
        for (name, value) in scripted.headers.iter().filter(|(name, _)| *name != "no-apns-id") {
            response = response.header(name, value);
        }
        let Ok(mut stream) = respond.send_response(response.header("date", date).body(()).unwrap(), false) else {
            return;
        };
        let _ = stream.send_data(Bytes::from(scripted.body), true);
    }

    /// What Apple refuses, in about Apple's order.
    fn judge(&self, method: &str, path: &str, headers: &HeaderMap, body: &[u8]) -> Result<Taken, (u16, &'static str)> {
        let must = |holds: bool, status, reason| if holds { Ok(()) } else { Err((status, reason)) };
        let one = |name: &str| {
            let mut values = headers.get_all(name).iter();
            let value = values.next().and_then(|value| value.to_str().ok());
            if values.next().is_some() { Err((400, "DuplicateHeaders")) } else { Ok(value) }
        };
        must(method == "POST", 405, "MethodNotAllowed")?;
        let token = path.strip_prefix("/3/device/").ok_or((404, "BadPath"))?;
        must(!token.is_empty(), 400, "MissingDeviceToken")?;
        self.judge_provider_token(one("authorization")?)?;
        must(token.len() == 64 && token.bytes().all(|b| b.is_ascii_hexdigit()), 400, "BadDeviceToken")?;
        let stranger = self.strangers.lock().unwrap().contains(token) || token.bytes().all(|b| b == b'0');
        must(!stranger, 400, "BadDeviceToken")?;
        must(one("apns-topic")?.ok_or((400, "MissingTopic"))? == TOPIC, 400, "TopicDisallowed")?;
        must(one("apns-push-type")? == Some("alert"), 400, "InvalidPushType")?;
        must(matches!(one("apns-priority")?, Some("10" | "5")), 400, "BadPriority")?;
        let expiration: Option<i64> = one("apns-expiration")?.and_then(|at| at.parse().ok());
        must(expiration.is_some_and(|at| at == 0 || at > self.now_s()), 400, "BadExpirationDate")?;
        let id = one("apns-id")?.unwrap_or("00000000-0000-4000-8000-000000000000");
        let is_uuid = id.len() == 36 && id.bytes().all(|b| b == b'-' || matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        must(is_uuid && id.split('-').map(str::len).eq([8, 4, 4, 4, 12]), 400, "BadMessageId")?;
        must(one("apns-collapse-id")?.is_none_or(|id| (1..=64).contains(&id.len())), 400, "BadCollapseId")?;
        must(!body.is_empty(), 400, "PayloadEmpty")?;
        must(body.len() <= 4096, 413, "PayloadTooLarge")?;
        let body: Value = serde_json::from_slice(body).map_err(|_| (400, "PayloadEmpty"))?;
        let alert = &body["aps"]["alert"];
        must(alert.is_string() || alert["body"].is_string(), 400, "PayloadEmpty")?;
        let named = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        Ok(Taken { token: token.to_owned(), headers: named.collect(), body })
    }

    fn judge_provider_token(&self, authorization: Option<&str>) -> Result<(), (u16, &'static str)> {
        let bearer = authorization.and_then(|value| value.strip_prefix("bearer "));
        let bearer = bearer.ok_or((403, "MissingProviderToken"))?;
        let key = DecodingKey::from_ec_pem(public_key().as_bytes()).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["iss"]);
        validation.set_issuer(&[TEAM]);
        let invalid = (403, "InvalidProviderToken");
        let decoded = jsonwebtoken::decode::<Value>(bearer, &key, &validation).map_err(|_| invalid)?;
        if decoded.header.kid.as_deref() != Some(KEY_ID) {
            return Err(invalid);
        }
        let age_s = self.now_s() - decoded.claims["iat"].as_i64().ok_or(invalid)?;
        if age_s > MAX_AGE_S {
            return Err((403, "ExpiredProviderToken"));
        }
        if age_s < -MAX_AHEAD_S {
            return Err(invalid);
        }
        let mut seen = self.seen.lock().unwrap();
        let now_s = self.now_s();
        seen.provider_tokens.entry(bearer.to_owned()).or_insert(now_s);
        let recent = seen.provider_tokens.values().filter(|at| now_s - **at < 3_600).count();
        if recent > CHANGES_AN_HOUR { Err((429, "TooManyProviderTokenUpdates")) } else { Ok(()) }
    }
}

/// What a request wants of its connection.
#[derive(Default)]
struct Wish {
    close: Notify,
    freeze: Notify,
    go_away: Notify,
}

fn go_away(connection: &mut Connection<TcpStream, Bytes>) {
    connection.graceful_shutdown();
}

/// `Date` at this second.
pub(crate) fn http_date(at_s: i64) -> String {
    let at = jiff::Timestamp::from_second(at_s).unwrap();
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap()
}

/// A credential of the test's team.
pub(crate) fn credential(environment: Environment) -> ApnsCredential {
    ApnsCredential {
        team_id: TEAM.into(),
        key_id: KEY_ID.into(),
        key: p8().into_bytes(),
        environment,
        topics: vec![TOPIC.into()],
    }
}
