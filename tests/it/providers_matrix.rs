//! The ambiguity matrix of pushes: each way an answer can get lost or late × when the phone acks, through the server.

use crate::http_support::{Phone, Rig, START_MS, Shop, hash, phone};
use crate::providers_apns_double::{Apple, Plan, TOPIC, Then, token};
use crate::providers_fcm_double::{Google, Scripted, TestClock};
use axum::http::Method;
use backstop_domain::followup::Outcome;
use backstop_server::providers::apns::{Apns, ApnsConfig};
use backstop_server::providers::fcm::{Fcm, FcmConfig};
use backstop_server::providers::{Checking, EmailProvider, EmailSend, Provider, Sending};
use backstop_wire::Environment;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

const TIMEOUT_MS: u64 = 500;

/// Counts what it takes, by address, and tells whoever waits.
struct Mailbox(watch::Sender<HashMap<String, usize>>);

impl Provider for Mailbox {
    fn name(&self) -> &'static str {
        "mailbox"
    }

    fn check(&self) -> Checking<'_> {
        unreachable!("nobody asks")
    }
}

impl EmailProvider for Mailbox {
    fn send<'a>(&'a self, email: &'a EmailSend) -> Sending<'a> {
        self.0.send_modify(|taken| *taken.entry(email.to.clone()).or_default() += 1);
        Box::pin(std::future::ready(Outcome::Accepted { provider_id: None }))
    }
}

impl Mailbox {
    fn new() -> Arc<Mailbox> {
        Arc::new(Mailbox(watch::channel(HashMap::new()).0))
    }

    fn to(&self, customer: &str) -> usize {
        self.0.borrow().get(&address(customer)).copied().unwrap_or(0)
    }

    /// Waits until each of them has one.
    async fn each_has_one(&self, customers: &[String]) {
        let all = |taken: &HashMap<String, usize>| customers.iter().all(|c| taken.contains_key(&address(c)));
        self.0.subscribe().wait_for(all).await.unwrap();
    }
}

fn address(customer: &str) -> String {
    format!("{customer}@example.com")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Via {
    Apns,
    Fcm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Timeout,
    Reset,
    ServerError,
    TooMany,
    Slow,
}

/// When the phone acks: before its provider has answered us, between that and the deadline, after the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Before,
    During,
    After,
}

struct Cell {
    via: Via,
    fault: Fault,
    when: When,
    customer: String,
    token: String,
    phone: Option<Phone>,
    followup: String,
}

impl Cell {
    fn all() -> Vec<Cell> {
        use Fault::{Reset, ServerError, Slow, Timeout, TooMany};
        let mut cells = Vec::new();
        for via in [Via::Apns, Via::Fcm] {
            for fault in [Timeout, Reset, ServerError, TooMany, Slow] {
                for when in [When::Before, When::During, When::After] {
                    let customer = format!("{via:?}-{fault:?}-{when:?}").to_lowercase();
                    let token = token(1_000 + cells.len() as u64);
                    cells.push(Cell { via, fault, when, customer, token, phone: None, followup: String::new() });
                }
            }
        }
        cells
    }

    /// The phone gets every push of these. Who acks before the answer needs it to wait; a slow one waits anyway.
    fn plan(&self) -> Plan {
        let scripted = |status, body: Value| Then::Answer(Scripted::new(status, body.to_string()));
        let then = match (self.fault, self.via) {
            (Fault::Timeout, _) => Then::Silence,
            (Fault::Reset, _) => Then::Reset,
            (Fault::ServerError, Via::Apns) => scripted(500, json!({ "reason": "InternalServerError" })),
            (Fault::ServerError, Via::Fcm) => {
                scripted(500, json!({ "error": { "code": 500, "message": "", "status": "INTERNAL" } }))
            }
            (Fault::TooMany, _) => {
                let mut answer = Scripted::new(429, "");
                answer.headers.insert("retry-after".into(), "60".into());
                Then::Answer(answer)
            }
            (Fault::Slow, _) => Then::Right,
        };
        Plan { taken: true, held: self.when == When::Before || self.fault == Fault::Slow, then }
    }

    /// Acked in time. Known to be limited beyond the deadline is not waited for (P5): then only who acked before.
    fn is_in_time(&self) -> bool {
        match self.when {
            When::Before => true,
            When::During => self.fault != Fault::TooMany,
            When::After => false,
        }
    }

    async fn register(&mut self, rig: &Rig, shop: &Shop) {
        let contact = json!({ "email": address(&self.customer) });
        rig.put(shop, &format!("/v1/customers/{}", self.customer), contact).await.expect(200);
        let body = match self.via {
            Via::Apns => ios(&self.customer, &self.token),
            Via::Fcm => json!({
                "install_id": self.customer, "platform": "android", "provider": "fcm", "token": self.token,
                "alerts": "allowed", "wire": [1], "customer_id": self.customer, "customer_hash": hash(&self.customer),
            }),
        };
        let registered = rig.device(shop, Method::POST, "/v1/devices", None, body).await.expect(200);
        self.phone = Some(phone(&registered));
    }

    async fn post(&mut self, rig: &Rig, shop: &Shop) {
        let posted = rig.post(shop, "/v1/messages", reply(&self.customer, "1")).await.expect(202);
        assert_eq!(posted["state"], "sending", "{posted}");
        self.followup = posted["followup_id"].as_str().unwrap().to_owned();
    }

    /// What the phone got: of all of them the receipt is the same one's.
    fn receipt(&self, apple: &Apple, google: &Google) -> String {
        match self.via {
            Via::Apns => {
                let seen = apple.seen.lock().unwrap();
                let taken = seen.taken.iter().find(|taken| taken.token == self.token).unwrap();
                taken.body["backstop"]["receipt"].as_str().unwrap().to_owned()
            }
            Via::Fcm => {
                let seen = google.seen.lock().unwrap();
                let mut messages = seen.messages.iter().map(|message| &message["message"]);
                let message = messages.find(|message| message["token"] == *self.token).unwrap();
                let push: Value = serde_json::from_str(message["data"]["backstop"].as_str().unwrap()).unwrap();
                push["receipt"].as_str().unwrap().to_owned()
            }
        }
    }

    async fn ack(&self, rig: &Rig, shop: &Shop, receipt: &str) -> Value {
        let phone = self.phone.as_ref().unwrap();
        rig.acks(shop, phone, &[(receipt, "displayed")]).await.expect(200)["results"][0].clone()
    }
}

fn ios(customer: &str, token: &str) -> Value {
    json!({
        "install_id": customer, "platform": "ios", "provider": "apns", "token": token, "topic": TOPIC,
        "environment": "production", "alerts": "allowed", "wire": [1], "customer_id": customer,
        "customer_hash": hash(customer),
    })
}

fn reply(customer: &str, n: &str) -> Value {
    json!({
        "message_id": format!("{customer}-{n}"), "conversation_id": format!("{customer}-{n}"), "customer_id": customer,
        "kind": "reply", "author": { "name": "Mia" }, "text": "Your parcel leaves today.",
    })
}

/// Waits until a double has told of so many.
async fn arrived(told: &Notify, count: impl Fn() -> usize, wanted: usize) {
    loop {
        let next = told.notified();
        tokio::pin!(next);
        next.as_mut().enable();
        if count() >= wanted {
            return;
        }
        next.await;
    }
}

async fn rig(apple: &Apple, google: &Google, apns: &ApnsConfig) -> (Rig, Shop, Arc<Mailbox>) {
    let mailbox = Mailbox::new();
    let apns = Apns::from_config(apns, apple.clock.clone()).unwrap();
    let fcm = FcmConfig { timeout_ms: TIMEOUT_MS, ..google.config() };
    let fcm = Fcm::from_config(&fcm, google.clock.clone()).unwrap();
    let email = mailbox.clone();
    let rig = Rig::with_providers(move |mut providers| {
        providers.apns = Some(Arc::new(apns));
        providers.fcm = Some(Arc::new(fcm));
        providers.email = Some(email);
        providers.text.clear();
        providers
    });
    let shop = rig.shop("acme").await;
    (rig, shop, mailbox)
}

async fn doubles() -> (Arc<Apple>, Arc<Google>) {
    let clock = TestClock::at(START_MS);
    (Apple::start(clock.clone()).await, Google::start_by(clock).await)
}

/// P2, P3, P5, P8: whatever becomes of the provider's answer, there is one outcome: acked in time and nothing else is
/// sent, or one email.
#[tokio::test]
async fn p8_lost_and_late_answers_of_push_providers_decide_nothing() {
    let (apple, google) = doubles().await;
    let apns = ApnsConfig { timeout_ms: TIMEOUT_MS, ..apple.config() };
    let (rig, shop, mailbox) = rig(&apple, &google, &apns).await;
    let mut cells = Cell::all();
    for cell in &mut cells {
        cell.register(&rig, &shop).await;
        let fate = if cell.via == Via::Apns { &apple.fate } else { &google.fate };
        fate.of_token.lock().unwrap().insert(cell.token.clone(), cell.plan());
    }
    for cell in &mut cells {
        cell.post(&rig, &shop).await;
    }
    let half = cells.len() / 2;
    arrived(&apple.arrived, || apple.seen.lock().unwrap().taken.len(), half).await;
    arrived(&google.arrived, || google.seen.lock().unwrap().messages.len(), half).await;
    let receipts: Vec<String> = cells.iter().map(|cell| cell.receipt(&apple, &google)).collect();
    let of = |when| cells.iter().zip(&receipts).filter(move |(cell, _)| cell.when == when);
    for (cell, receipt) in of(When::Before) {
        assert_eq!(cell.ack(&rig, &shop, receipt).await, json!({ "result": "accepted", "counted": true }));
    }
    apple.fate.release.send_replace(true);
    google.fate.release.send_replace(true);
    for (cell, receipt) in of(When::During) {
        // A read waits until what was committed is done: the provider's answer, or that there is none, is known.
        rig.get(&shop, &format!("/v1/followups/{}", cell.followup)).await.expect(200);
        let result = if cell.is_in_time() { "accepted" } else { "late" };
        assert_eq!(cell.ack(&rig, &shop, receipt).await["result"], result, "{}", cell.customer);
    }
    rig.advance(30_000);
    let unacked: Vec<String> = cells.iter().filter(|cell| !cell.is_in_time()).map(|c| c.customer.clone()).collect();
    mailbox.each_has_one(&unacked).await;
    for (cell, receipt) in of(When::After) {
        assert_eq!(cell.ack(&rig, &shop, receipt).await["result"], "late", "{}", cell.customer);
    }
    for (cell, receipt) in cells.iter().zip(&receipts) {
        let shown = rig.get(&shop, &format!("/v1/followups/{}", cell.followup)).await.expect(200);
        let state = if cell.is_in_time() { "acked" } else { "fell_back" };
        assert_eq!(shown["state"], state, "{}: {shown:#}", cell.customer);
        assert_eq!(mailbox.to(&cell.customer), usize::from(!cell.is_in_time()), "{}", cell.customer);
        let again = cell.ack(&rig, &shop, receipt).await;
        assert_eq!(again["result"], "duplicate", "{}", cell.customer);
    }
    let seen = apple.seen.lock().unwrap();
    for cell in cells.iter().filter(|cell| cell.via == Via::Apns) {
        let mut ids: Vec<_> = seen.taken.iter().filter(|taken| taken.token == cell.token).collect();
        ids.dedup_by_key(|taken| (taken.headers["apns-id"].clone(), taken.headers["apns-collapse-id"].clone()));
        assert_eq!(ids.len(), 1, "{}: a repeat is the same push", cell.customer);
    }
}

/// C3: a token of the other environment is found at once, and the next push goes there first.
#[tokio::test]
async fn c3_the_environment_that_took_a_token_is_remembered() {
    let (production, google) = doubles().await;
    let sandbox = Apple::start(production.clock.clone()).await;
    let apns = ApnsConfig { sandbox_base_url: sandbox.url.clone(), ..production.config() };
    let (rig, shop, _) = rig(&production, &google, &apns).await;
    production.strangers.lock().unwrap().insert(token(7));
    rig.lucas(&shop).await;
    rig.device(&shop, Method::POST, "/v1/devices", None, ios("lucas", &token(7))).await.expect(200);
    let environment = async || {
        let devices = rig.get(&shop, "/v1/customers/lucas/devices").await.expect(200);
        devices["data"][0]["environment"].as_str().unwrap().to_owned()
    };
    assert_eq!(environment().await, "production");
    for n in 1..=2 {
        let posted = rig.post(&shop, "/v1/messages", reply("lucas", &n.to_string())).await.expect(202);
        let id = posted["followup_id"].as_str().unwrap();
        let shown = rig.get(&shop, &format!("/v1/followups/{id}")).await.expect(200);
        assert_eq!(shown["state"], "awaiting_ack", "{shown:#}");
        assert_eq!(environment().await, "sandbox");
        let requests = |apple: &Apple| apple.seen.lock().unwrap().requests;
        assert_eq!((requests(&production), requests(&sandbox)), (1, n), "asked for once, and remembered");
    }
    assert_eq!(Environment::Sandbox.other(), Environment::Production);
}

/// C3, P5: a token that both environments refuse is dead, and is not waited for.
#[tokio::test]
async fn c3_a_token_that_both_environments_refuse_is_gone() {
    let (apple, google) = doubles().await;
    let (rig, shop, mailbox) = rig(&apple, &google, &apple.config()).await;
    apple.strangers.lock().unwrap().insert(token(7));
    rig.lucas(&shop).await;
    rig.device(&shop, Method::POST, "/v1/devices", None, ios("lucas", &token(7))).await.expect(200);
    let posted = rig.post(&shop, "/v1/messages", reply("lucas", "1")).await.expect(202);
    mailbox.each_has_one(&["lucas".to_owned()]).await;
    let id = posted["followup_id"].as_str().unwrap();
    let shown = rig.get(&shop, &format!("/v1/followups/{id}")).await.expect(200);
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("fell_back"), &json!("token_gone")), "{shown:#}");
    let devices = rig.get(&shop, "/v1/customers/lucas/devices").await.expect(200);
    assert_eq!(devices["data"][0]["standing"], "token_gone", "{devices:#}");
    let again = rig.post(&shop, "/v1/messages", reply("lucas", "2")).await.expect(202);
    assert_eq!(again["state"], "falling_back");
    assert_eq!(apple.seen.lock().unwrap().requests, 2, "each environment was asked once");
}
