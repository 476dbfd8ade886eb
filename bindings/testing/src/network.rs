//! A server inside the test's process: it answers the device API, or misbehaves as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backstop_core::wire::{AckBatch, AckOutcome, AckResult, AckResults};
use backstop_core::{Clock, TransportError};
use backstop_core::{DeviceRegistered, PushClient, Request, Response, ResponseFuture, SystemClock, Transport};
use backstop_ffi::{Client, ClientConfig, SdkError};
use serde_json::{Value, json};

use crate::clock::TestClock;

/// What the network does with a request.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum NetworkBehaviour {
    /// The server takes it.
    Work,
    /// There is no connection.
    Offline,
    /// Nobody ever answers.
    Hang,
    /// The server takes it, and its answer gets lost.
    LoseAnswer,
    /// The server refuses it.
    Refuse {
        /// The HTTP status.
        status: u16,
        /// The problem's code (`rate_limited`).
        code: String,
        /// `Retry-After`.
        retry_after_ms: Option<u64>,
    },
    /// A defect of the SDK itself: a panic inside the call.
    Panic,
}

/// A request that reached the network.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct SentRequest {
    /// `POST`.
    pub method: String,
    /// `/v1/acks`.
    pub path: String,
    /// JSON, or empty.
    pub body: String,
}

/// An ack that the server took.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct SentAck {
    /// Of which push.
    pub receipt: String,
    /// `displayed`.
    pub grade: String,
    /// Why, for `suppressed`.
    pub detail: Option<String>,
}

/// A network and a server in the test's hand. It takes every registration, and every ack once.
#[derive(Clone, uniffi::Object)]
pub struct TestNetwork {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    always: Option<NetworkBehaviour>,
    next: VecDeque<NetworkBehaviour>,
    requests: Vec<SentRequest>,
    acks: Vec<SentAck>,
    devices: usize,
}

#[uniffi::export]
impl TestNetwork {
    /// A network that works.
    #[uniffi::constructor]
    pub fn new() -> Result<Arc<Self>, SdkError> {
        Ok(Arc::new(TestNetwork { inner: Arc::default() }))
    }

    /// From now on, until told otherwise.
    pub fn behave(&self, behaviour: NetworkBehaviour) -> Result<(), SdkError> {
        self.lock().always = Some(behaviour);
        Ok(())
    }

    /// For one request, after those that were told before.
    pub fn behave_once(&self, behaviour: NetworkBehaviour) -> Result<(), SdkError> {
        self.lock().next.push_back(behaviour);
        Ok(())
    }

    /// Every request that was made, answered or not.
    pub fn requests(&self) -> Result<Vec<SentRequest>, SdkError> {
        Ok(self.lock().requests.clone())
    }

    /// Every ack that the server took, in order, each once.
    pub fn acks(&self) -> Result<Vec<SentAck>, SdkError> {
        Ok(self.lock().acks.clone())
    }
}

impl TestNetwork {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client on this network and clock; without a clock it has the device's own.
#[uniffi::export]
pub fn open_for_testing(
    config: ClientConfig,
    network: Arc<TestNetwork>,
    clock: Option<Arc<TestClock>>,
) -> Result<Arc<Client>, SdkError> {
    let clock: Arc<dyn Clock> = match clock {
        Some(clock) => clock,
        None => Arc::new(SystemClock),
    };
    Ok(Client::around(PushClient::open_with(config.into(), network, clock)?))
}

/// The payload of a push as it arrives in the app: the FCM data map as JSON, or with `apns` the `userInfo`.
#[uniffi::export]
pub fn simulated_push(
    receipt: String,
    title: String,
    body: String,
    link: Option<String>,
    apns: bool,
) -> Result<String, SdkError> {
    let inner = json!({
        "v": 1, "followup_id": "fu_simulated", "receipt": receipt, "conversation_id": "simulated", "title": title,
        "body": body, "link": link, "collapse_key": "simulated", "expires_at": "2100-01-01T00:00:00.000Z",
    });
    let payload = if apns {
        json!({"aps": {"alert": {"title": title, "body": body}, "mutable-content": 1}, "backstop": inner})
    } else {
        json!({"backstop": inner.to_string()})
    };
    Ok(payload.to_string())
}

impl Transport for TestNetwork {
    fn send(&self, request: Request, _timeout_ms: u64) -> ResponseFuture<'_> {
        let mut inner = self.lock();
        inner.requests.push(SentRequest {
            method: request.method.as_str().to_owned(),
            path: request.path.clone(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
        });
        let behaviour = inner.next.pop_front().or_else(|| inner.always.clone()).unwrap_or(NetworkBehaviour::Work);
        let result = match behaviour {
            NetworkBehaviour::Work => Ok(inner.work(&request)),
            NetworkBehaviour::Offline => Err(TransportError::Connect),
            NetworkBehaviour::LoseAnswer => {
                inner.work(&request);
                Err(TransportError::Broken)
            }
            NetworkBehaviour::Refuse { status, code, retry_after_ms } => Ok(problem(status, &code, retry_after_ms)),
            NetworkBehaviour::Hang => return Box::pin(std::future::pending()),
            NetworkBehaviour::Panic => return Box::pin(async { panic!("a panic that a test asked for") }),
        };
        Box::pin(async move { result })
    }
}

impl Inner {
    fn work(&mut self, request: &Request) -> Response {
        let answer = match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/v1/devices") => self.register(),
            ("POST", "/v1/acks") => match serde_json::from_slice::<AckBatch>(&request.body) {
                Ok(batch) => self.acknowledge(batch),
                Err(_) => return problem(400, "invalid_request", None),
            },
            ("POST", path) if path.ends_with("/test-push") => json!({
                // A server without a clock: nothing is said of the device's.
                "provider": "fcm", "outcome": "accepted", "reason": null, "environment": null, "at": "",
            }),
            // Presence, a log-out, a device to forget.
            _ => return Response { status: 204, retry_after_ms: None, body: Vec::new() },
        };
        Response { status: 200, retry_after_ms: None, body: answer.to_string().into_bytes() }
    }

    fn register(&mut self) -> Value {
        self.devices += 1;
        let device = DeviceRegistered { device_id: "dev_simulated".to_owned(), device_key: "key".to_owned() };
        serde_json::to_value(device).unwrap_or_default()
    }

    fn acknowledge(&mut self, batch: AckBatch) -> Value {
        let results = batch.acks.into_iter().map(|ack| {
            let ack = SentAck { receipt: ack.receipt, grade: ack.grade.as_str().to_owned(), detail: ack.detail };
            let known = self.acks.contains(&ack);
            if !known {
                self.acks.push(ack);
            }
            let result = if known { AckResult::Duplicate } else { AckResult::Accepted };
            AckOutcome { result, counted: true }
        });
        let results = AckResults { results: results.collect() };
        serde_json::to_value(results).unwrap_or_default()
    }
}

fn problem(status: u16, code: &str, retry_after_ms: Option<u64>) -> Response {
    let body = json!({"type": format!("urn:backstop:problem:{code}"), "title": code, "status": status});
    Response { status, retry_after_ms, body: body.to_string().into_bytes() }
}
