//! The engine under what should not happen: faults of its own, rows that do not read, races within one batch.

use super::desk::{Again, Desk};
use super::work::Work;
use super::*;
use crate::clock::Clock;
use crate::engine::api::MessageBody;
use crate::providers::{Checking, Provider, PushProvider, PushSend, Sending};
use crate::registry::{Created, Deployment, DeploymentMail};
use crate::store::{Key, OpenOptions, Row, SqliteStore};
use crate::vault::Carrier;
use crate::wallet::Plans;
use backstop_domain::device::Standing;
use backstop_domain::followup::{AuthorKind, Kind, Outcome, Policy};
use backstop_wire::{Alerts, Grade, Platform, PushProvider as Via};
use std::collections::BTreeMap;
use std::time::Duration;

mod held;

struct Still;

impl Clock for Still {
    fn now_ms(&self) -> Ms {
        1_795_370_400_000
    }
}

struct Rig {
    engine: Engine,
    store: Arc<dyn Store>,
    ws: Arc<Workspace>,
    dir: tempfile::TempDir,
}

async fn rig(fcm: Option<Arc<dyn PushProvider>>) -> Rig {
    rig_on(fcm, |store| store).await
}

async fn rig_on(fcm: Option<Arc<dyn PushProvider>>, on: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Rig {
    let dir = tempfile::tempdir().expect("a folder");
    let options = OpenOptions { sandbox: true, serve: true, read_connections: 1 };
    let opened = SqliteStore::open(&dir.path().join("b.db"), options, &Vault::new(&[7; 32])).expect("a store");
    let store = on(Arc::new(opened));
    let parts = parts(&store, fcm);
    let created = Created {
        workspace: "shop".into(),
        api_key: "sk_shop".into(),
        app_key: "app_shop".into(),
        identity_secret: "0".repeat(64),
    };
    let id = parts.registry.create_with(&created).await.expect("a workspace");
    let ws = parts.registry.by_id(id).await.expect("a look").expect("there");
    Rig { engine: Engine::start(parts), store, ws, dir }
}

fn parts(store: &Arc<dyn Store>, fcm: Option<Arc<dyn PushProvider>>) -> Parts {
    let vault = Arc::new(Vault::new(&[7; 32]));
    let clocks = Arc::new(Clocks::new(Arc::new(Still)));
    let deployment = Deployment {
        sandbox: true,
        policy: Policy::sandbox(),
        plans: Plans::default(),
        public_url: None,
        opt_out: BTreeMap::new(),
        retention: Default::default(),
        mail: DeploymentMail::default(),
    };
    let registry = Arc::new(Registry::new(Arc::clone(store), vault.clone(), clocks.clone(), deployment));
    let providers = Providers { fcm, ..Providers::default() };
    Parts { store: Arc::clone(store), vault, clocks, registry, providers }
}

impl Rig {
    async fn put(&self, customer_id: &str) -> Result<CustomerView, EngineError> {
        self.engine.put_customer(&self.ws, customer_id.into(), CustomerInput::default()).await
    }

    async fn register(&self, install_id: &str, token: &str, by: Option<DeviceId>) -> Result<DeviceId, EngineError> {
        let registration = Registration {
            install_id: install_id.into(),
            platform: Platform::Android,
            provider: Via::Fcm,
            token: token.into(),
            topic: None,
            environment: None,
            alerts: Alerts::Allowed,
            wire: vec![1],
            locale: None,
            customer_id: Some("lucas".into()),
            authenticated_as: by,
        };
        self.engine.register_device(&self.ws, registration).await
    }

    async fn reply(&self, message_id: &str) -> Posted {
        self.engine.post_message(&self.ws, message(message_id)).await.expect("accepted")
    }

    async fn standing(&self, device: DeviceId) -> Standing {
        let rows = self.store.load(vec![Key::Device(self.ws.id, device)]).await.expect("a look");
        rows.into_iter().flatten().next().as_ref().and_then(Row::as_device).expect("a device").standing
    }
}

fn message(message_id: &str) -> PostMessage {
    PostMessage {
        message_id: message_id.into(),
        conversation_id: "c".into(),
        customer_id: "lucas".into(),
        kind: Some(Kind::Reply),
        author_kind: AuthorKind::Agent,
        body: MessageBody { author: None, text: "Hello".into(), link: None },
        channels: None,
        apps: None,
        customer: None,
        body_hash: [0; 32],
    }
}

/// A piece of work with a bug.
struct Faulty(oneshot::Sender<Result<(), StoreError>>);

impl Work for Faulty {
    fn wants(&self, _: &mut Desk<'_>) {}

    fn run(&mut self, _: &mut Desk<'_>) -> Result<(), Again> {
        panic!("a bug")
    }

    fn done(self: Box<Self>, result: Result<(), StoreError>) {
        let _ = self.0.send(result);
    }
}

/// Invariant 2: a fault in one piece of work ends that piece, and the loop decides on.
#[tokio::test]
async fn a_fault_in_one_piece_ends_that_piece_alone() {
    let rig = rig(None).await;
    let (to, answer) = oneshot::channel();
    rig.engine.push(Box::new(Faulty(to))).await;
    let (faulty, put) = tokio::join!(answer, rig.put("mia"));
    assert!(matches!(faulty, Ok(Err(StoreError::Corrupt(_)))));
    assert!(put.is_ok() && rig.put("lucas").await.is_ok());
    assert_eq!(rig.engine.broken(), None);
}

/// Invariant 2: a loop that a fault ended is noticed, so that the process is started anew.
#[tokio::test]
async fn a_loop_that_ends_by_a_fault_is_noticed() {
    let rig = rig(None).await;
    let mut broken = rig.engine.broken_watch();
    rig.engine.start_loop("timer", async { panic!("a bug") });
    broken.wait_for(Option::is_some).await.expect("the engine is there");
    assert_eq!(rig.engine.broken(), Some("timer"));
}

/// Invariant 2: a row that does not read fails who needs it, and nobody else in the batch.
#[tokio::test]
async fn a_row_that_does_not_read_fails_alone() {
    let rig = rig(None).await;
    rig.put("lucas").await.expect("put");
    rig.reply("m1").await;
    // What was written last is still at hand.
    rig.put("ada").await.expect("put");
    let db = rusqlite::Connection::open(rig.dir.path().join("b.db")).expect("the file");
    db.execute("UPDATE messages SET direction = 'nowhere'", []).expect("changed");
    let (withdrawn, put) = tokio::join!(rig.engine.withdraw_message(&rig.ws, "m1".into()), rig.put("mia"));
    assert!(matches!(withdrawn, Err(EngineError::Store(StoreError::Corrupt(_)))));
    put.expect("another's row");
}

/// Invariant 7: work for a workspace that is no more ends, rather than run for ever.
#[tokio::test]
async fn work_for_a_dropped_workspace_is_refused() {
    let rig = rig(None).await;
    rig.store.drop_workspace(rig.ws.id).await.expect("dropped");
    let put = tokio::time::timeout(Duration::from_secs(20), rig.put("mia")).await.expect("an answer");
    assert!(matches!(put, Err(EngineError::Store(StoreError::Unavailable(_)))));
}

/// C2: a token that was given up in the same batch is free; its former holder keeps the one it has now.
#[tokio::test]
async fn a_token_moves_within_one_batch() {
    let rig = rig(None).await;
    let first = rig.register("install-1", "token-1", None).await.expect("registered");
    let (again, second) =
        tokio::join!(rig.register("install-1", "token-2", Some(first)), rig.register("install-2", "token-1", None));
    assert_eq!(again, Ok(first));
    let second = second.expect("registered");
    assert_eq!((rig.standing(first).await, rig.standing(second).await), (Standing::Registered, Standing::Registered));
    let (one, other) =
        tokio::join!(rig.register("install-3", "token-3", None), rig.register("install-3", "token-3", None));
    assert_eq!(one, other);
}

/// Invariant 7: a customer has a bounded number of devices, the latest of them.
#[tokio::test]
async fn a_customer_keeps_the_latest_hundred_devices() {
    let rig = rig(None).await;
    let mut devices = Vec::new();
    for i in 0..101 {
        devices.push(rig.register(&format!("install-{i}"), &format!("token-{i}"), None).await.expect("registered"));
    }
    let keys = vec![Key::Customer(rig.ws.id, "lucas".into()), Key::Device(rig.ws.id, devices[0])];
    let rows = rig.store.load(keys).await.expect("a look");
    let row = |at: usize| rows[at].as_ref().expect("there");
    assert_eq!(row(0).as_customer().map(|c| c.devices.as_slice()), Some(&devices[1..]));
    assert_eq!(row(1).as_device().map(|d| d.customer_id.clone()), Some(None));
}

/// Says that a token is gone, once it may.
#[derive(Default)]
struct Slow {
    asked: tokio::sync::Notify,
    answer: tokio::sync::Notify,
}

impl Provider for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn check(&self) -> Checking<'_> {
        unreachable!("nobody asks")
    }
}

impl PushProvider for Slow {
    fn send<'a>(&'a self, _: &'a PushSend) -> Sending<'a> {
        Box::pin(async {
            self.asked.notify_one();
            self.answer.notified().await;
            Outcome::TokenGone { since_ms: None, error: "UNREGISTERED".into() }
        })
    }
}

/// C3: a late word about a token that was replaced meanwhile says nothing of the new one. A drain waits for it.
#[tokio::test]
async fn a_word_about_a_replaced_token_leaves_the_new_one() {
    let slow = Arc::new(Slow::default());
    let rig = rig(Some(slow.clone())).await;
    let device = rig.register("install-1", "token-1", None).await.expect("registered");
    rig.reply("m1").await;
    slow.asked.notified().await;
    rig.register("install-1", "token-2", Some(device)).await.expect("replaced");
    assert_eq!(rig.engine.stats().sending, 1, "it is under way");
    slow.answer.notify_one();
    rig.engine.drain(10_000).await;
    assert_eq!((rig.engine.stats().sending, rig.standing(device).await), (0, Standing::Registered));
}

/// C3: a word about the token that the device has buries it.
#[tokio::test]
async fn a_word_about_the_token_in_use_buries_it() {
    let slow = Arc::new(Slow::default());
    let rig = rig(Some(slow.clone())).await;
    let device = rig.register("install-1", "token-1", None).await.expect("registered");
    rig.reply("m1").await;
    slow.asked.notified().await;
    slow.answer.notify_one();
    rig.engine.drain(10_000).await;
    assert!(matches!(rig.standing(device).await, Standing::TokenGone(_)));
}

/// Invariants 2 and 3: of the acks of one request, one that cannot be decided on fails, and the others count.
#[tokio::test]
async fn an_ack_that_cannot_be_decided_on_takes_no_other_along() {
    let rig = rig(Some(Arc::new(Slow::default()))).await;
    let device = rig.register("install-1", "token-1", None).await.expect("registered");
    let (mut acks, mut followups) = (Vec::new(), Vec::new());
    for id in ["m1", "m2", "m3"] {
        let own = PostMessage { conversation_id: id.into(), ..message(id) };
        let posted = rig.engine.post_message(&rig.ws, own).await.expect("accepted");
        let Posted::Followup { followup_id, .. } = posted else { panic!("nobody is online") };
        let receipt = Some(Carrier::Followup { id: followup_id, covers: 1 });
        acks.push(AckInput { receipt, grade: Grade::Displayed, recorded_at: 0, detail: None });
        followups.push(followup_id);
    }
    // One that has nothing at hand.
    let again = Engine::start(parts(&rig.store, None));
    let db = rusqlite::Connection::open(rig.dir.path().join("b.db")).expect("the file");
    let conversation = db.execute("UPDATE conversations SET open = 'x' WHERE conversation_id = 'm2'", []);
    assert_eq!(conversation.expect("changed"), 1);
    let answer = again.acks(&rig.ws, device, acks.clone()).await;
    assert!(matches!(answer, Err(EngineError::Store(StoreError::Corrupt(_)))), "{answer:?}");
    let rows =
        rig.store.load(followups.into_iter().map(|id| Key::Followup(rig.ws.id, id)).collect()).await.expect("a look");
    let acked = rows.iter().flatten().filter_map(Row::as_followup).map(|row| !row.state.is_open());
    assert_eq!(acked.collect::<Vec<_>>(), [true, false, true]);
}
