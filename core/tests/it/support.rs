//! A small server double that speaks the device API, in process or over HTTP, and does as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use backstop_core::wire::{AckBatch, AckOutcome, AckResult, AckResults, Problem, RegisterDevice};
use backstop_core::{
    Alerts, Clock, Config, DeviceRegistered, Home, Method, Platform, PushClient, PushProvider, PushToken, Request,
    Response, ResponseFuture, Transport, TransportError,
};
use tokio::sync::Semaphore;

/// A budget that only a hang uses up.
pub(crate) const AMPLE_MS: u64 = 20_000;

/// What the double does with the next request instead of its proper work.
#[derive(Clone, Debug)]
pub(crate) enum Instead {
    /// Answers this, having done nothing.
    Answer(u16, Option<u64>, String),
    /// Does its work, but the answer gets lost.
    LoseAnswer,
    /// No connection.
    Offline,
    /// Takes the request and never answers.
    Hang,
}

/// The double. Clones share everything.
#[derive(Clone, Default)]
pub(crate) struct Server {
    pub(crate) inner: Arc<Mutex<Inner>>,
    /// When set, a request in process waits here for its permit.
    pub(crate) gate: Option<Arc<Semaphore>>,
}

#[derive(Default)]
pub(crate) struct Inner {
    /// What to do instead, first come first served.
    pub(crate) instead: VecDeque<Instead>,
    /// When set, every request that has nothing else in `instead` meets it.
    pub(crate) always: Option<Instead>,
    /// `METHOD path` of every request that arrived.
    pub(crate) log: Vec<String>,
    /// The headers of every request that came over HTTP.
    pub(crate) headers: Vec<String>,
    /// Registrations as they came, with their authorization.
    pub(crate) registrations: Vec<(RegisterDevice, Option<String>)>,
    /// install_id → device.
    pub(crate) devices: BTreeMap<String, DeviceRegistered>,
    /// device id → customer.
    pub(crate) customers: BTreeMap<String, Option<String>>,
    /// `receipt grade` of every accepted ack, in order.
    pub(crate) acks: Vec<String>,
    /// Sizes of the ack batches.
    pub(crate) batches: Vec<usize>,
    /// Receipts that make a batch unreadable.
    pub(crate) poison: Vec<String>,
    /// Keys that are no longer accepted.
    pub(crate) revoked: Vec<String>,
    /// Proofs that are accepted; empty = all.
    pub(crate) proofs: Vec<String>,
    /// Test pushes go by APNs.
    pub(crate) apns_tests: bool,
    made: usize,
}

pub(crate) fn problem(status: u16, code: &str) -> Instead {
    Instead::Answer(status, None, problem_body(status, code))
}

fn problem_body(status: u16, code: &str) -> String {
    let kind = format!("urn:backstop:problem:{code}");
    let problem = Problem { kind, title: code.to_owned(), status, detail: None, errors: vec![] };
    serde_json::to_string(&problem).expect("a problem is JSON")
}

impl Server {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no test panics under the lock")
    }

    pub(crate) fn next(&self, instead: Instead) {
        self.lock().instead.push_back(instead);
    }

    pub(crate) fn always(&self, instead: Option<Instead>) {
        self.lock().always = instead;
    }

    pub(crate) fn acks(&self) -> Vec<String> {
        self.lock().acks.clone()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.lock().log.clone()
    }

    /// `None` = hang.
    pub(crate) fn serve(
        &self,
        method: &str,
        path: &str,
        authorization: Option<&str>,
        body: &[u8],
    ) -> Option<Result<Response, TransportError>> {
        let mut inner = self.lock();
        inner.log.push(format!("{method} {path}"));
        let instead = inner.instead.pop_front().or_else(|| inner.always.clone());
        match instead {
            Some(Instead::Hang) => None,
            Some(Instead::Offline) => Some(Err(TransportError::Connect)),
            Some(Instead::Answer(status, retry_after_ms, body)) => {
                Some(Ok(Response { status, retry_after_ms, body: body.into_bytes() }))
            }
            Some(Instead::LoseAnswer) => {
                inner.work(method, path, authorization, body);
                Some(Err(TransportError::Broken))
            }
            None => {
                let (status, body) = inner.work(method, path, authorization, body);
                Some(Ok(Response { status, retry_after_ms: None, body: body.into_bytes() }))
            }
        }
    }
}

impl Inner {
    fn work(&mut self, method: &str, path: &str, authorization: Option<&str>, body: &[u8]) -> (u16, String) {
        match (method, path) {
            ("POST", "/v1/devices") => self.register(authorization, body),
            ("POST", "/v1/acks") => self.take_acks(authorization, body),
            ("POST", "/v1/presence") if self.device_of(authorization).is_some() => (204, String::new()),
            ("POST", path) if path.ends_with("/test-push") && self.device_of(authorization).is_some() => {
                let provider = if self.apns_tests { "apns" } else { "fcm" };
                let at = "2026-11-22T18:00:00.000Z";
                (202, serde_json::json!({"provider": provider, "outcome": "accepted", "at": at}).to_string())
            }
            ("DELETE", path) if self.device_of(authorization).is_some_and(|id| path == format!("/v1/devices/{id}")) => {
                self.devices.retain(|_, device| path != format!("/v1/devices/{}", device.device_id));
                (204, String::new())
            }
            ("DELETE", path) if path.ends_with("/customer") => match self.device_of(authorization) {
                Some(device) => {
                    self.customers.insert(device, None);
                    (204, String::new())
                }
                None => (401, problem_body(401, "unauthorized")),
            },
            _ => (401, problem_body(401, "unauthorized")),
        }
    }

    fn device_of(&self, authorization: Option<&str>) -> Option<String> {
        let (id, key) = authorization?.strip_prefix("Backstop-Device ")?.split_once('.')?;
        let known = self.devices.values().any(|d| d.device_id == id && d.device_key == key);
        (known && !self.revoked.iter().any(|r| r == key)).then(|| id.to_owned())
    }

    fn register(&mut self, authorization: Option<&str>, body: &[u8]) -> (u16, String) {
        let Ok(wanted) = serde_json::from_slice::<RegisterDevice>(body) else {
            return (400, problem_body(400, "invalid_request"));
        };
        self.registrations.push((wanted.clone(), authorization.map(str::to_owned)));
        let proof = wanted.customer_hash.as_ref().or(wanted.customer_token.as_ref());
        let proven = proof.is_some_and(|p| self.proofs.is_empty() || self.proofs.contains(p));
        if wanted.customer_id.is_some() && !proven {
            return (401, problem_body(401, "identity_required"));
        }
        let keyed = self.device_of(authorization);
        let known = self.devices.get(&wanted.install_id).cloned();
        let device = match known {
            Some(device) if proven || keyed.as_ref() == Some(&device.device_id) => {
                self.revoked.retain(|key| *key != device.device_key);
                device
            }
            Some(_) => return (401, problem_body(401, "device_proof_required")),
            None => {
                self.made += 1;
                DeviceRegistered { device_id: format!("dev_{}", self.made), device_key: format!("key.{}", self.made) }
            }
        };
        if let Some(customer) = wanted.customer_id {
            self.customers.insert(device.device_id.clone(), Some(customer));
        }
        self.devices.insert(wanted.install_id, device.clone());
        (200, serde_json::to_string(&device).expect("JSON"))
    }

    fn take_acks(&mut self, authorization: Option<&str>, body: &[u8]) -> (u16, String) {
        if self.device_of(authorization).is_none() {
            return (401, problem_body(401, "unauthorized"));
        }
        let Ok(batch) = serde_json::from_slice::<AckBatch>(body) else {
            return (400, problem_body(400, "invalid_request"));
        };
        self.batches.push(batch.acks.len());
        if batch.acks.len() > 100 || batch.acks.iter().any(|ack| self.poison.contains(&ack.receipt)) {
            return (400, problem_body(400, "invalid_request"));
        }
        let results = batch.acks.iter().map(|ack| {
            let entry = format!("{} {}", ack.receipt, ack.grade.as_str());
            let duplicate = self.acks.contains(&entry);
            if !duplicate {
                self.acks.push(entry);
            }
            let result = if duplicate { AckResult::Duplicate } else { AckResult::Accepted };
            AckOutcome { result, counted: !duplicate }
        });
        let results = AckResults { results: results.collect() };
        (200, serde_json::to_string(&results).expect("JSON"))
    }
}

impl Transport for Server {
    fn send(&self, request: Request, _timeout_ms: u64) -> ResponseFuture<'_> {
        let method = match request.method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        };
        Box::pin(async move {
            if let Some(gate) = &self.gate {
                gate.acquire().await.expect("open").forget();
            }
            match self.serve(method, &request.path, request.authorization.as_deref(), &request.body) {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        })
    }
}

/// A clock that moves when told.
#[derive(Clone, Default)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn at(ms: i64) -> Self {
        TestClock(Arc::new(AtomicI64::new(ms)))
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn wall_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn elapsed_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub(crate) const NOW_MS: i64 = 1_795_370_400_000;

pub(crate) fn config(home: Home) -> Config {
    Config {
        base_url: "http://127.0.0.1:9".to_owned(),
        app_key: "app_test".to_owned(),
        platform: Platform::Android,
        sdk: "rust/0.1.0".to_owned(),
        home,
        spool_directory: None,
        locale: None,
        extra_root_certificates: vec![],
        allow_http: false,
    }
}

pub(crate) fn open(home: Home, server: &Server, clock: &TestClock) -> PushClient {
    PushClient::open_with(config(home), Arc::new(server.clone()), Arc::new(clock.clone())).expect("opens")
}

pub(crate) fn token(text: &str) -> PushToken {
    PushToken { provider: PushProvider::Fcm, token: text.to_owned(), topic: None, environment: None }
}

/// A registered client in memory.
pub(crate) async fn registered(server: &Server, clock: &TestClock) -> PushClient {
    let client = open(Home::Memory, server, clock);
    client.set_token(token("token-1"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    client
}

pub(crate) fn payload(receipt: &str) -> String {
    serde_json::json!({"backstop": {"v": 1, "receipt": receipt, "title": "Ann", "link": "https://x.example/1"}})
        .to_string()
}
