//! Pushes by an app's own credentials: whose, since when, and that none is lost while a key is replaced.

use crate::apps::{apns, app, p8};
use crate::http_logs::Lines;
use crate::http_support::{Rig, Shop, phone, registration, reply};
use crate::providers_fcm_double::Google;
use axum::http::Method;
use backstop_domain::followup::Outcome;
use backstop_server::apps::accounts::{Accounts, Live, Vendors};
use backstop_server::clock::{Clock as _, Clocks, SystemClock};
use backstop_server::providers::apns::{ApnsConfig, ApnsCredential, ApnsNet};
use backstop_server::providers::{Checked, Checking, Provider, PushProvider, PushSend, Sending};
use backstop_server::registry::Registry;
use backstop_wire::Environment;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// One push that a vendor took.
#[derive(Clone, Debug, PartialEq)]
struct Taken {
    key_id: String,
    token: String,
    topic: Option<String>,
    followup_id: String,
}

/// What Apple and Google know, as far as credentials go.
#[derive(Default)]
struct World {
    /// Accounts made.
    made: Vec<String>,
    /// Keys that are refused.
    refused: HashSet<String>,
    taken: Vec<Taken>,
    refusals: usize,
}

/// Stands for both vendors.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<World>>);

struct Sender {
    key_id: String,
    world: Arc<Mutex<World>>,
}

impl Fake {
    fn refuse(&self, keys: &[&str]) {
        self.0.lock().unwrap().refused = keys.iter().map(|key| (*key).to_owned()).collect();
    }

    fn taken(&self) -> Vec<Taken> {
        self.0.lock().unwrap().taken.clone()
    }

    fn last_key(&self) -> String {
        self.taken().last().expect("a push left").key_id.clone()
    }

    fn sender(&self, key_id: &str) -> Arc<dyn PushProvider> {
        self.0.lock().unwrap().made.push(key_id.to_owned());
        Arc::new(Sender { key_id: key_id.to_owned(), world: self.0.clone() })
    }
}

impl Vendors for Fake {
    fn apns(&self, credential: &ApnsCredential) -> Result<Arc<dyn PushProvider>, String> {
        let sandbox = credential.environment == Environment::Sandbox;
        Ok(self.sender(&format!("{}{}", credential.key_id, if sandbox { "-sandbox" } else { "" })))
    }

    fn fcm(&self, service_account: &str) -> Result<Arc<dyn PushProvider>, String> {
        let file: Value = serde_json::from_str(service_account).unwrap();
        Ok(self.sender(file["private_key_id"].as_str().unwrap()))
    }

    fn is_google(&self, _: &str) -> bool {
        true
    }
}

impl Provider for Sender {
    fn name(&self) -> &'static str {
        "apns"
    }

    fn check(&self) -> Checking<'_> {
        Box::pin(async { Ok(Checked { message: "taken".into(), vendor_ahead_ms: None }) })
    }
}

impl PushProvider for Sender {
    fn send<'a>(&'a self, push: &'a PushSend) -> Sending<'a> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let mut world = self.world.lock().unwrap();
            if world.refused.contains(&self.key_id) {
                world.refusals += 1;
                return Outcome::Rejected { error: "InvalidProviderToken".into() };
            }
            world.taken.push(Taken {
                key_id: self.key_id.clone(),
                token: push.token.clone(),
                topic: push.topic.clone(),
                followup_id: push.envelope.followup_id.clone(),
            });
            Outcome::Accepted { provider_id: Some("apns-1".into()) }
        })
    }
}

async fn shop(rig: &Rig, name: &str) -> Shop {
    let shop = rig.shop(name).await;
    rig.put(&shop, "/v1/settings", json!({"phone_number": true, "email": true})).await.expect(200);
    rig.lucas(&shop).await;
    shop
}

async fn iphone(rig: &Rig, shop: &Shop, install_id: &str, topic: Option<&str>, environment: Option<&str>) {
    let mut body = registration(install_id, Some("lucas"));
    (body["platform"], body["provider"]) = ("ios".into(), "apns".into());
    (body["topic"], body["environment"]) = (topic.into(), environment.into());
    rig.device(shop, Method::POST, "/v1/devices", None, body).await.expect(200);
}

/// Posts a reply and waits until its sends are done; answers its follow-up.
async fn sent(rig: &Rig, shop: &Shop, message_id: &str) -> Value {
    let mut body = reply(message_id);
    body["conversation_id"] = message_id.into();
    let posted = rig.post(shop, "/v1/messages", body).await.expect(202);
    rig.settled(shop).await;
    rig.get(shop, &format!("/v1/followups/{}", posted["followup_id"].as_str().unwrap())).await.expect(200)
}

fn keys(entries: &[Value]) -> Value {
    let mut app = app("com.acme.shop");
    app["apns"] = json!(entries);
    app
}

/// P1, P4, P12: without credentials a device is not live and nobody waits for it; with those of its app, it is, from
/// the next message on, and no other workspace's is.
#[tokio::test]
async fn p12_an_app_s_credentials_make_its_devices_live() {
    let fake = Fake::default();
    let rig = Rig::live(Arc::new(fake.clone()));
    let (acme, other) = (shop(&rig, "acme").await, shop(&rig, "other").await);
    for shop in [&acme, &other] {
        iphone(&rig, shop, "i1", Some("com.acme.shop"), None).await;
    }
    let live =
        async |shop: &Shop| rig.get(shop, "/v1/customers/lucas/devices").await.expect(200)["data"][0]["live"].clone();
    assert_eq!(
        (sent(&rig, &acme, "m1").await["reason"].clone(), live(&acme).await),
        ("no_push_credentials".into(), json!(false))
    );
    rig.put(&acme, "/v1/apps/shop", keys(&[apns("KEY1111111", Some(&p8()))])).await.expect(200);
    let followup = sent(&rig, &acme, "m2").await;
    assert_eq!((&followup["state"], live(&acme).await), (&json!("awaiting_ack"), json!(true)));
    assert_eq!(followup["deliveries"][0]["provider"], "apns");
    let taken = fake.taken();
    assert_eq!((taken.len(), taken[0].topic.as_deref()), (1, Some("com.acme.shop")));
    assert_eq!(sent(&rig, &other, "m3").await["reason"], "no_push_credentials");
    for (shop, advice) in [(&acme, "push_only"), (&other, "nothing_can_leave")] {
        let switched_off = rig.put(shop, "/v1/settings", json!({})).await.expect(200);
        assert_eq!(switched_off["warnings"][0]["code"], advice);
        rig.put(shop, "/v1/settings", json!({"phone_number": true, "email": true})).await.expect(200);
    }
    rig.delete(&acme, "/v1/apps/shop").await.expect(204);
    assert_eq!(sent(&rig, &acme, "m4").await["reason"], "no_push_credentials");
}

/// P5, P12: a test push leaves by the key that a follow-up's would, and says when there is none, or Apple refuses it.
#[tokio::test]
async fn p12_a_test_push_leaves_by_the_app_s_own_key() {
    let fake = Fake::default();
    let rig = Rig::live(Arc::new(fake.clone()));
    let acme = shop(&rig, "acme").await;
    let mut body = registration("i1", Some("lucas"));
    (body["platform"], body["provider"]) = ("ios".into(), "apns".into());
    (body["topic"], body["environment"]) = ("com.acme.shop".into(), "production".into());
    let lucas = phone(&rig.device(&acme, Method::POST, "/v1/devices", None, body).await.expect(200));
    let test = async || {
        rig.advance(60_000);
        let path = format!("/v1/devices/{}/test-push", lucas.id);
        let answer = rig.device(&acme, Method::POST, &path, Some(&lucas), Value::Null).await.expect(202);
        (answer["outcome"].clone(), answer["reason"].clone(), answer["environment"].clone())
    };
    assert_eq!(test().await, (json!("rejected"), json!("no_push_credentials"), Value::Null));
    rig.put(&acme, "/v1/apps/shop", keys(&[apns("KEY1111111", Some(&p8()))])).await.expect(200);
    assert_eq!(test().await, (json!("accepted"), Value::Null, json!("production")));
    assert_eq!((fake.taken().len(), fake.last_key()), (1, "KEY1111111".to_owned()));
    fake.refuse(&["KEY1111111"]);
    assert_eq!(test().await, (json!("rejected"), json!("InvalidProviderToken"), json!("production")));
    assert_eq!(fake.0.lock().unwrap().refusals, 1);
    // Its breaker holds for a test as for any push, and a test may be the one that tries it.
    let answer = sent(&rig, &acme, "m1").await;
    assert_eq!((&answer["reason"], fake.0.lock().unwrap().refusals), (&json!("push_refused"), 1));
    fake.refuse(&[]);
    assert_eq!(test().await.0, "accepted");
    assert_eq!(sent(&rig, &acme, "m2").await["state"], "awaiting_ack");
}

/// P12: of several apps, environments and keys, the one whose names and environment are the device's; then the newer.
#[tokio::test]
async fn p12_a_push_leaves_by_the_key_that_is_meant_for_it() {
    let fake = Fake::default();
    let rig = Rig::live(Arc::new(fake.clone()));
    let acme = shop(&rig, "acme").await;
    let mut in_sandbox = apns("KEY2222222", Some(&p8()));
    in_sandbox["environment"] = "sandbox".into();
    rig.put(&acme, "/v1/apps/shop", keys(&[apns("KEY1111111", Some(&p8())), in_sandbox.clone()])).await.expect(200);
    let mut staff = app("com.acme.staff");
    staff["apns"] = json!([apns("KEY3333333", Some(&p8()))]);
    rig.put(&acme, "/v1/apps/staff", staff).await.expect(200);
    for (n, (topic, environment, expected)) in [
        ("com.acme.shop", None, "KEY1111111"),
        ("com.acme.shop", Some("production"), "KEY1111111"),
        ("com.acme.shop", Some("sandbox"), "KEY2222222-sandbox"),
        ("com.acme.staff", Some("sandbox"), "KEY3333333"),
    ]
    .into_iter()
    .enumerate()
    {
        iphone(&rig, &acme, "i1", Some(topic), environment).await;
        sent(&rig, &acme, &format!("m{n}")).await;
        assert_eq!((fake.taken().len(), fake.last_key()), (n + 1, expected.to_owned()), "{topic} {environment:?}");
    }
    iphone(&rig, &acme, "i1", None, None).await;
    assert_eq!(sent(&rig, &acme, "nobody's").await["reason"], "no_push_credentials", "of which app, nobody knows");
    rig.delete(&acme, "/v1/apps/staff").await.expect(204);
    rig.advance(5_000);
    let newer = [apns("KEY1111111", None), in_sandbox, apns("KEY4444444", Some(&p8()))];
    rig.put(&acme, "/v1/apps/shop", keys(&newer)).await.expect(200);
    sent(&rig, &acme, "only-app").await;
    assert_eq!(fake.last_key(), "KEY4444444", "the newer of two");
}

/// P5: while a key is replaced — the new one not taken yet, then the old one not any more — no push is lost, none is
/// sent twice, and connections of what did not change are kept.
#[tokio::test]
async fn p5_a_key_is_replaced_under_load_and_no_push_is_lost() {
    let fake = Fake::default();
    let rig = Arc::new(Rig::live(Arc::new(fake.clone())));
    let acme = shop(&rig, "acme").await;
    iphone(&rig, &acme, "i1", Some("com.acme.shop"), None).await;
    rig.put(&acme, "/v1/apps/shop", keys(&[apns("KEY1111111", Some(&p8()))])).await.expect(200);
    let key = p8();
    let both = keys(&[apns("KEY1111111", None), apns("KEY2222222", Some(&key))]);
    let mut posted = 0;
    for phase in 0..4 {
        rig.advance(1_000);
        let mut posts = tokio::task::JoinSet::new();
        for n in 0..50 {
            let (rig, acme) = (rig.clone(), acme.clone());
            let mut body = reply(&format!("m{phase}-{n}"));
            body["conversation_id"] = format!("c{phase}-{n}").into();
            posts.spawn(async move { rig.post(&acme, "/v1/messages", body).await.expect(202) });
        }
        let change = async {
            match phase {
                // Apple does not know the new key yet.
                0 => {
                    fake.refuse(&["KEY2222222"]);
                    rig.put(&acme, "/v1/apps/shop", both.clone()).await.expect(200);
                }
                1 => drop(rig.put(&acme, "/v1/settings", json!({"phone_number": true})).await.expect(200)),
                // Now it does, and the old one is revoked.
                2 => {
                    fake.refuse(&["KEY1111111"]);
                    rig.advance(60_000);
                }
                _ => drop(rig.put(&acme, "/v1/apps/shop", keys(&[apns("KEY2222222", None)])).await.expect(200)),
            }
        };
        let ((), answers) = tokio::join!(change, posts.join_all());
        posted += answers.len();
        rig.settled(&acme).await;
    }
    let taken = fake.taken();
    let followups: HashSet<_> = taken.iter().map(|push| &push.followup_id).collect();
    assert_eq!((taken.len(), followups.len()), (posted, posted), "each push left once");
    assert_eq!(fake.last_key(), "KEY2222222");
    let world = fake.0.lock().unwrap();
    assert_eq!(world.made, ["KEY1111111", "KEY2222222"], "each account was made once");
    assert!((1..posted).contains(&world.refusals), "a refused key is not tried for every push: {}", world.refusals);
}

/// P5: the breaker of one app's key is that key's own: it opens at the first refusal, says so with the app's name, and
/// stops neither another app nor another workspace, which sees nothing of it.
#[tokio::test]
async fn p5_a_refused_key_is_left_alone_and_no_other() {
    let fake = Fake::default();
    let rig = Rig::live(Arc::new(fake.clone()));
    let (acme, other) = (shop(&rig, "acme").await, shop(&rig, "other").await);
    let providers = async |shop: &Shop| rig.get(shop, "/v1/providers").await.expect(200)["data"].clone();
    let mut staff = app("com.acme.staff");
    staff["apns"] = json!([apns("KEY3333333", Some(&p8()))]);
    rig.put(&acme, "/v1/apps/shop", keys(&[apns("KEY1111111", Some(&p8()))])).await.expect(200);
    rig.put(&acme, "/v1/apps/staff", staff).await.expect(200);
    fake.refuse(&["KEY1111111"]);
    iphone(&rig, &acme, "i1", Some("com.acme.shop"), None).await;
    for message in ["m1", "m2"] {
        let refused = sent(&rig, &acme, message).await;
        assert_eq!((&refused["state"], &refused["reason"]), (&json!("fell_back"), &json!("push_refused")));
        assert_eq!(refused["deliveries"][0]["error"], "InvalidProviderToken");
    }
    assert_eq!(fake.0.lock().unwrap().refusals, 1, "the second was answered without a call");
    iphone(&rig, &acme, "i1", Some("com.acme.staff"), None).await;
    assert_eq!(sent(&rig, &acme, "m3").await["state"], "awaiting_ack");
    let apps = providers(&acme).await;
    let stands = |app_id: &str| {
        let found = apps.as_array().unwrap().iter().find(|row| row["app_id"] == app_id).unwrap();
        (found["state"].clone(), found["last_error"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(stands("staff"), (json!("closed"), String::new()));
    let (state, error) = stands("shop");
    assert_eq!(state, "open");
    assert!(error.contains("InvalidProviderToken") && error.ends_with("of app shop"), "{error}");
    let others = providers(&other).await;
    assert!(others.as_array().unwrap().iter().all(|row| row["app_id"].is_null()), "{others}");
    // Taken back at the vendor's, it is tried by the next push after a while.
    fake.refuse(&[]);
    rig.advance(5_000);
    iphone(&rig, &acme, "i1", Some("com.acme.shop"), None).await;
    assert_eq!(sent(&rig, &acme, "m4").await["state"], "awaiting_ack");
    assert_eq!(providers(&acme).await.as_array().unwrap().iter().filter(|row| row["state"] != "closed").count(), 0);
}

/// P12: a change in one process shows in another within a second; until then what was there goes on.
#[tokio::test]
async fn a_change_shows_in_other_processes_within_a_second() {
    let rig = Rig::live(Arc::new(Fake::default()));
    let acme = shop(&rig, "acme").await;
    let clocks = Arc::new(Clocks::new(rig.clock()));
    let deployment = rig.registry.deployment().clone();
    let elsewhere = Registry::new(rig.store.clone(), rig.vault.clone(), clocks.clone(), deployment)
        .with_accounts(Accounts::new(Arc::new(Fake::default()), rig.clock()));
    let views = async || elsewhere.by_id(acme.id).await.unwrap().unwrap().apps.views();
    assert!(views().await.is_empty());
    let put = rig.put(&acme, "/v1/apps/shop", keys(&[apns("KEY1111111", Some(&p8()))])).await.expect(200);
    rig.advance(1_000);
    assert_eq!(serde_json::to_value(views().await).unwrap(), json!([put]));
}

/// P5: Google refuses the newest account (`invalid_grant`): the one before carries, the log says so once and holds no
/// key. The real client against the strict double.
#[tokio::test]
async fn p5_a_refused_service_account_leaves_the_push_to_the_one_before() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(lines.clone()).finish();
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let _here = tracing::subscriber::set_default(subscriber);
    // The real time, since the double's answers are dated by it.
    let google = Google::start(SystemClock::start().now_ms()).await;
    let net = ApnsNet::from_config(&ApnsConfig::default(), google.clock.clone()).unwrap();
    let live = Live { apns: net, fcm: google.config(), clock: google.clock.clone() };
    let rig = Rig::live(Arc::new(live));
    let acme = shop(&rig, "acme").await;
    rig.device(&acme, Method::POST, "/v1/devices", None, registration("a1", Some("lucas"))).await.expect(200);
    let put = async |file: Value| {
        let mut app = app("com.acme.shop");
        app["fcm"] = json!({"service_account": file});
        rig.put(&acme, "/v1/apps/shop", app).await
    };
    put(google.key_file()).await.expect(200);
    assert_eq!(sent(&rig, &acme, "m1").await["state"], "awaiting_ack");
    let mut unknown = google.key_file();
    unknown["private_key_id"] = "key-unknown-to-google".into();
    put(unknown.clone()).await.expect(200);
    for message in ["m2", "m3"] {
        assert_eq!(sent(&rig, &acme, message).await["state"], "awaiting_ack");
    }
    assert_eq!(google.seen.lock().unwrap().messages.len(), 3);
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let said: Vec<_> = log.lines().filter(|line| line.contains("refuses the newest credentials")).collect();
    assert!(said.len() == 1 && said[0].contains("key-unknown-to-google"), "{said:?}");
    let secret = unknown["private_key"].as_str().unwrap().lines().nth(1).unwrap().to_owned();
    assert!(!log.contains(&secret));
    // Alone, it carries nothing: the push is refused and text and email go at once.
    let alone = json!({"bundle_ids": [], "packages": ["com.acme.shop"], "fcm": {"drop_previous": true}});
    rig.put(&acme, "/v1/apps/shop", alone).await.expect(200);
    let refused = sent(&rig, &acme, "m4").await;
    assert_eq!((&refused["reason"], &refused["state"]), (&json!("push_refused"), &json!("fell_back")));
    assert_eq!(refused["deliveries"][0]["error"], "oauth_invalid_grant");
    // A key file says where it logs in; a workspace's must not make this server call whom it likes.
    unknown["token_uri"] = "https://metadata.internal/token".into();
    assert_eq!(put(unknown).await.fields(), ["fcm.service_account"]);
}
