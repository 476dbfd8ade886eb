//! The whole server behind its router, in this process: real store, engine and vault, captured sends, a clock by hand.

use crate::http_contract;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use backstop_domain::Ms;
use backstop_domain::followup::Policy;
use backstop_domain::ids::{DeviceId, FollowupId};
use backstop_domain::text::Routes;
use backstop_server::apps::accounts::{Accounts, Vendors};
use backstop_server::canary::Canary;
use backstop_server::clock::{Clock, Clocks};
use backstop_server::engine::{Engine, Parts};
use backstop_server::golive::GoLive;
use backstop_server::http::{Api, Limits, MailIn, TestPushes, TestSends, router};
use backstop_server::providers::capture::{Capture, Channel};
use backstop_server::providers::{EmailProvider, Providers, TextProvider};
use backstop_server::registry::{Created, Deployment, DeploymentMail, Registry};
use backstop_server::store::{OpenOptions, SqliteStore, Store, WorkspaceId};
use backstop_server::vault::Vault;
use backstop_server::wallet::Plans;
use backstop_wire::PushProvider;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tower::ServiceExt as _;

/// 2026-11-22T18:00:00Z.
pub const START_MS: Ms = 1_795_370_400_000;
/// Where answers by mail come in, and what the mail server there proves itself with.
pub const MAIL_DOMAIN: &str = "reply.example.com";
pub const MAIL_SECRET: &str = "the-mail-servers-own-secret";
pub const SECRET: &str = "4629de5def93d6a2abea6afa9bd5476d9c6cbc04223f9a2f7e517b535dde3e25";

pub struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now_ms(&self) -> Ms {
        self.0.load(Ordering::Acquire)
    }
}

pub struct Rig {
    pub router: Router,
    pub engine: Engine,
    pub store: Arc<dyn Store>,
    pub vault: Arc<Vault>,
    pub registry: Arc<Registry>,
    pub capture: Arc<Capture>,
    pub canary: Arc<Canary>,
    clocks: Arc<Clocks>,
    clock: Arc<HandClock>,
    dir: tempfile::TempDir,
}

/// A workspace and how to speak for it.
#[derive(Clone)]
pub struct Shop {
    pub name: String,
    pub id: WorkspaceId,
    pub api_key: String,
    pub app_key: String,
}

/// A registered device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phone {
    pub id: String,
    pub key: String,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Answer {
    /// The problem's code, if it is one in the right form.
    pub fn code(&self) -> &str {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        assert_eq!(self.json["status"], self.status.as_u16(), "{}", self.text);
        self.json["type"].as_str().unwrap().strip_prefix("urn:backstop:problem:").unwrap()
    }

    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json
    }

    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.code()), (status, code), "{}", self.text);
    }

    pub fn fields(&self) -> Vec<&str> {
        self.json["errors"]
            .as_array()
            .map(|e| e.iter().filter_map(|e| e["field"].as_str()).collect())
            .unwrap_or_default()
    }
}

impl Rig {
    pub fn new() -> Rig {
        Rig::with_limits(Limits::none())
    }

    pub fn with_limits(limits: Limits) -> Rig {
        Rig::with(limits, |store| store)
    }

    /// `wrap` may stand between the server and its store.
    pub fn with(limits: Limits, wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Rig {
        Rig::build(limits, None, wrap, |captured| captured, TestPushes::default(), DeploymentMail::default())
    }

    /// Not a sandbox: the deployment has no push credentials, apps send by those of their own through these vendors.
    /// Texts and emails are captured.
    pub fn live(vendors: Arc<dyn Vendors>) -> Rig {
        let mail = DeploymentMail::default();
        Rig::build(Limits::none(), Some(vendors), |store| store, |captured| captured, TestPushes::default(), mail)
    }

    /// `change` may put others in the place of captured providers.
    pub fn with_providers(change: impl FnOnce(Providers) -> Providers) -> Rig {
        Rig::with_test_pushes(change, TestPushes::default())
    }

    /// The same, and bounds of its own for test pushes.
    pub fn with_test_pushes(change: impl FnOnce(Providers) -> Providers, test_pushes: TestPushes) -> Rig {
        Rig::build(Limits::none(), None, |store| store, change, test_pushes, DeploymentMail::default())
    }

    /// Mail of another set-up, and by other providers.
    pub fn with_mail(mail: DeploymentMail, change: impl FnOnce(Providers) -> Providers) -> Rig {
        Rig::build(Limits::none(), None, |store| store, change, TestPushes::default(), mail)
    }

    fn build(
        limits: Limits,
        vendors: Option<Arc<dyn Vendors>>,
        wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
        change: impl FnOnce(Providers) -> Providers,
        test_pushes: TestPushes,
        mail: DeploymentMail,
    ) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let vault = Arc::new(Vault::new(&[7; 32]));
        let options = OpenOptions { sandbox: true, serve: true, read_connections: 2 };
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(&dir.path().join("backstop.db"), options, &vault).unwrap());
        let store = wrap(store);
        let clock = Arc::new(HandClock(AtomicI64::new(START_MS)));
        let clocks = Arc::new(Clocks::new(clock.clone()));
        let capture = Capture::new(1_000);
        let providers = Providers {
            fcm: vendors.is_none().then(|| capture.push(PushProvider::Fcm)),
            apns: vendors.is_none().then(|| capture.push(PushProvider::Apns)),
            text: vec![capture.clone() as Arc<dyn TextProvider>],
            routes: Routes::default(),
            email: Some(capture.clone() as Arc<dyn EmailProvider>),
            callbacks: Vec::new(),
            trunks: Vec::new(),
        };
        let providers = change(providers);
        let policy = Policy { services: providers.services(), ..Policy::sandbox() };
        let deployment = Deployment {
            sandbox: vendors.is_none(),
            policy,
            plans: Plans::default(),
            public_url: Some("https://t.example".into()),
            opt_out: Default::default(),
            retention: Default::default(),
            mail,
        };
        let registry = Registry::new(store.clone(), vault.clone(), clocks.clone(), deployment);
        let registry = Arc::new(match vendors {
            Some(vendors) => registry.with_accounts(Accounts::new(vendors, clock.clone())),
            None => registry,
        });
        let shown = providers.clone();
        let engine = Engine::start(Parts {
            store: store.clone(),
            vault: vault.clone(),
            clocks: clocks.clone(),
            registry: registry.clone(),
            providers,
        });
        let canary = Canary::new(engine.clone(), store.clone(), registry.clone(), clocks.clone());
        let canary = Arc::new(canary);
        let api = Arc::new(Api {
            engine: engine.clone(),
            store: store.clone(),
            vault: vault.clone(),
            clocks: clocks.clone(),
            registry: registry.clone(),
            limits,
            golive: GoLive::new(None, vault.clone(), clocks.clone(), canary.clone()),
            test_sends: TestSends::new(vec!["+821011112222".into()]),
            test_pushes,
            metrics: Arc::new(|| "backstop_up 1\n".into()),
            callbacks: shown.callbacks.clone(),
            providers: shown,
            mail_in: Some(MailIn::new(MAIL_DOMAIN, MAIL_SECRET)),
            ready: Arc::new(|| Ok(())),
        });
        Rig { router: router(api, None), engine, store, vault, registry, capture, canary, clocks, clock, dir }
    }

    pub fn advance(&self, ms: Ms) {
        self.clock.0.fetch_add(ms, Ordering::AcqRel);
    }

    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// As after a restart: it knows nothing of what the one before sent out.
    pub fn another_canary(&self) -> Canary {
        Canary::new(self.engine.clone(), self.store.clone(), self.registry.clone(), self.clocks.clone())
    }

    pub fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Waits until nothing is under way for a workspace.
    pub async fn settled(&self, shop: &Shop) {
        self.registry.by_id(shop.id).await.unwrap().unwrap().activity.settled().await;
    }

    /// A workspace whose identity secret is [`SECRET`].
    pub async fn shop(&self, name: &str) -> Shop {
        let created = Created {
            workspace: name.into(),
            api_key: format!("sk_{name}"),
            app_key: format!("app_{name}"),
            identity_secret: SECRET.into(),
        };
        let id = self.registry.create_with(&created).await.unwrap();
        Shop { name: name.into(), id, api_key: created.api_key, app_key: created.app_key }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().to_string());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        let content_type = parts.headers.get("content-type").map_or("", |v| v.to_str().unwrap());
        http_contract::hold(&method, &path, parts.status.as_u16(), content_type, &json);
        Answer { status: parts.status, headers: parts.headers, text, json }
    }

    pub async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            // Also what is not ASCII: a header is bytes.
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    pub async fn get(&self, shop: &Shop, path: &str) -> Answer {
        self.call(Method::GET, path, &[("authorization", &bearer(shop))], None).await
    }

    pub async fn put(&self, shop: &Shop, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, &[("authorization", &bearer(shop))], Some(&body)).await
    }

    pub async fn post(&self, shop: &Shop, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, &[("authorization", &bearer(shop))], Some(&body)).await
    }

    pub async fn delete(&self, shop: &Shop, path: &str) -> Answer {
        self.call(Method::DELETE, path, &[("authorization", &bearer(shop))], None).await
    }

    /// As an app, or — with a phone — as that device.
    pub async fn device(&self, shop: &Shop, method: Method, path: &str, phone: Option<&Phone>, body: Value) -> Answer {
        let authorization = phone.map(|p| format!("Backstop-Device {}.{}", p.id, p.key));
        let mut headers = vec![("backstop-app", shop.app_key.as_str())];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        let body = (!body.is_null()).then_some(&body);
        self.call(method, path, &headers, body).await
    }

    /// A phone of a customer, proven.
    pub async fn phone(&self, shop: &Shop, customer_id: &str, install_id: &str) -> Phone {
        let body = registration(install_id, Some(customer_id));
        phone(&self.device(shop, Method::POST, "/v1/devices", None, body).await.expect(200))
    }

    pub async fn acks(&self, shop: &Shop, phone: &Phone, receipts: &[(&str, &str)]) -> Answer {
        let at = "2026-11-22T18:00:01.000Z";
        let acks: Vec<_> =
            receipts.iter().map(|(receipt, grade)| json!({"receipt": receipt, "grade": grade, "at": at})).collect();
        self.device(shop, Method::POST, "/v1/acks", Some(phone), json!({ "acks": acks })).await
    }

    /// Lucas with phone number and email.
    pub async fn lucas(&self, shop: &Shop) {
        let body = json!({"name": "Lucas", "phone": "+821012345678", "email": "lucas@example.com"});
        self.put(shop, "/v1/customers/lucas", body).await.expect(200);
    }

    /// The receipt in the captured push of a follow-up to this phone.
    pub async fn receipt(&self, shop: &Shop, followup_id: &str, phone: &Phone) -> String {
        // A read waits until what was committed is done.
        self.get(shop, &format!("/v1/followups/{followup_id}")).await.expect(200);
        let sends = self.capture.outbox(&shop.name, Some(Channel::Push), Some(followup_id));
        let send = sends.iter().rfind(|s| s.device_id.as_deref() == Some(&phone.id)).expect("a push left");
        let text = send.payload.pointer("/message/data/backstop").and_then(Value::as_str).expect("an FCM body");
        let push: backstop_wire::Push = serde_json::from_str(text).unwrap();
        push.receipt
    }

    /// A true receipt of the vault's own making, for what no push carried.
    pub fn forge(&self, shop: &Shop, followup_id: &str, phone: &Phone, covers: u16, expires_at: Ms) -> String {
        let followup = FollowupId::parse(followup_id).unwrap();
        let device = DeviceId::parse(&phone.id).unwrap();
        self.vault.receipt(shop.id, followup, device, covers, expires_at)
    }
}

pub fn bearer(shop: &Shop) -> String {
    format!("Bearer {}", shop.api_key)
}

pub fn phone(registered: &Value) -> Phone {
    let text = |field: &str| registered[field].as_str().unwrap().to_owned();
    Phone { id: text("device_id"), key: text("device_key") }
}

pub fn hash(customer_id: &str) -> String {
    backstop_server::identity::customer_hash(&hex::decode(SECRET).unwrap(), customer_id)
}

pub fn registration(install_id: &str, customer_id: Option<&str>) -> Value {
    let mut body = json!({
        "install_id": install_id, "platform": "android", "provider": "fcm", "token": format!("token-{install_id}"),
        "alerts": "allowed", "wire": [1],
    });
    if let Some(id) = customer_id {
        body["customer_id"] = id.into();
        body["customer_hash"] = hash(id).into();
    }
    body
}

pub fn reply(message_id: &str) -> Value {
    json!({
        "message_id": message_id, "conversation_id": "c1", "customer_id": "lucas", "kind": "reply",
        "author": {"name": "Mia"}, "text": "Your parcel leaves today.", "link": "https://shop.example/chat/1",
    })
}
