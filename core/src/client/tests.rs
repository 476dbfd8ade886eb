//! A full disk, which only a look inside can bring about: what can still be done is done, and the rest is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backstop_wire::{AckOutcome, AckResult, Alerts, Grade, Platform, PushProvider};

use super::*;
use crate::config::Home;
use crate::transport::{Response, ResponseFuture};

/// Takes everything, or is offline.
#[derive(Default)]
struct Net {
    offline: AtomicBool,
}

impl Transport for Net {
    fn send(&self, request: Request, _timeout_ms: u64) -> ResponseFuture<'_> {
        let body = match request.path.as_str() {
            "/v1/devices" => r#"{"device_id":"dev_1","device_key":"key"}"#,
            _ => r#"{"results":[{"result":"accepted","counted":true}]}"#,
        };
        let response = Response { status: 200, retry_after_ms: None, body: body.into() };
        let offline = self.offline.load(Ordering::SeqCst);
        Box::pin(async move { if offline { Err(TransportError::Connect) } else { Ok(response) } })
    }
}

fn token(text: &str) -> PushToken {
    PushToken { provider: PushProvider::Fcm, token: text.to_owned(), topic: None, environment: None }
}

async fn registered() -> (PushClient, Arc<Net>) {
    let net = Arc::new(Net::default());
    let config = Config {
        base_url: "http://127.0.0.1:9".to_owned(),
        app_key: "app".to_owned(),
        platform: Platform::Android,
        sdk: "rust/0".to_owned(),
        home: Home::Memory,
        spool_directory: None,
        locale: None,
        extra_root_certificates: vec![],
        allow_http: false,
    };
    let client = PushClient::open_with(config, net.clone(), Arc::new(SystemClock)).expect("opens");
    client.set_token(token("t"), Alerts::Allowed, 1_000).await.expect("stored");
    (client, net)
}

/// C4: on a full disk an ack still goes out at once; only when that fails too the caller is told, and nothing is
/// half-done.
#[tokio::test]
async fn c4_an_ack_on_a_full_disk_is_uploaded_or_refused_but_never_forgotten() {
    let (client, net) = registered().await;
    client.on().expect("on").lock().store.fill_up();
    let receipt = "r".repeat(2_000);
    let accepted = AckOutcome { result: AckResult::Accepted, counted: true };
    let acked = client.acknowledge(&receipt, Grade::Displayed, None, 1_000).await;
    assert_eq!(acked, Ok(Acked::Confirmed(accepted)));
    assert_eq!(client.acknowledge(&receipt, Grade::Displayed, None, 0).await, Err(Error::StorageFull));
    net.offline.store(true, Ordering::SeqCst);
    assert_eq!(client.acknowledge(&receipt, Grade::Displayed, None, 100).await, Err(Error::StorageFull));
    assert_eq!(client.status().pending, 0);

    client.on().expect("on").lock().store.make_room();
    assert_eq!(client.acknowledge(&receipt, Grade::Displayed, None, 0).await, Ok(Acked::Stored));
    net.offline.store(false, Ordering::SeqCst);
    assert_eq!(client.flush(1_000).await.map(|flushed| flushed.uploaded), Ok(1));
}

/// C2: a token or log-in that cannot be stored is refused as a whole; what was given before stays.
#[tokio::test]
async fn c2_nothing_half_done_on_a_full_disk() {
    let (client, _) = registered().await;
    client.on().expect("on").lock().store.fill_up();
    let long = "t".repeat(4_000);
    assert_eq!(client.set_token(token(&long), Alerts::Denied, 1_000).await, Err(Error::StorageFull));
    let refused = client.identify("lucas", Proof::Token(long.clone()), 1_000).await;
    assert_eq!(refused, Err(Error::StorageFull));
    let status = client.status();
    assert_eq!((status.alerts, status.customer), (Alerts::Allowed, Customer::Nobody));
    assert!(matches!(status.registration, RegistrationStatus::Confirmed { .. }));
    client.on().expect("on").lock().store.make_room();
    client.identify("lucas", Proof::Token(long), 1_000).await.expect("stored");
    assert_eq!(client.status().customer, Customer::Bound);
}

/// Invariant 3: every commit reaches the disk before a call returns; only the loss of power would show otherwise.
#[test]
fn commits_are_durable() {
    let directory = tempfile::tempdir().expect("a directory");
    let home = Home::Directory(directory.path().to_owned());
    let (store, _, _) = crate::store::Store::open(&home).expect("opens");
    assert_eq!(store.durability(), ("wal".to_owned(), 2, 1));
}

/// A panic under the lock costs nothing: the state is the storage's, as after a start.
#[tokio::test]
async fn a_panic_under_the_lock_is_recovered_from() {
    let (client, net) = registered().await;
    net.offline.store(true, Ordering::SeqCst);
    client.acknowledge("receipt", Grade::Displayed, None, 0).await.expect("kept");
    let shell = client.on().expect("on");
    let panicking = std::thread::spawn(move || {
        let mut shared = shell.lock();
        shared.state = crate::machine::State::default();
        panic!("as a defect would");
    });
    assert!(panicking.join().is_err());
    let status = client.status();
    assert_eq!(status.pending, 1);
    assert!(matches!(status.registration, RegistrationStatus::Confirmed { .. }));
    net.offline.store(false, Ordering::SeqCst);
    assert_eq!(client.flush(1_000).await.map(|flushed| flushed.uploaded), Ok(1));
}

/// A clock that panics when it is told to, under the client's lock.
struct Panicking(AtomicBool);

impl Clock for Panicking {
    fn wall_ms(&self) -> i64 {
        0
    }

    fn elapsed_ms(&self) -> i64 {
        assert!(!self.0.load(Ordering::SeqCst), "as a defect would");
        0
    }
}

/// A panic inside a call ends that call, and no other: what was recorded is there, and nobody waits for ever.
#[tokio::test]
async fn a_panic_inside_a_call_ends_that_call_alone() {
    let clock = Arc::new(Panicking(AtomicBool::new(false)));
    let config = Config { base_url: "http://127.0.0.1:9".to_owned(), ..registered().await.0.inner.config.clone() };
    let client = PushClient::open_with(config, Arc::new(Net::default()), clock.clone()).expect("opens");
    client.set_token(token("t"), Alerts::Allowed, 1_000).await.expect("stored");
    clock.0.store(true, Ordering::SeqCst);
    let acking = {
        let client = client.clone();
        tokio::spawn(async move { client.acknowledge("receipt", Grade::Displayed, None, 1_000).await })
    };
    assert!(acking.await.is_err_and(|error| error.is_panic()));
    clock.0.store(false, Ordering::SeqCst);
    assert_eq!(client.flush(1_000).await.map(|flushed| flushed.uploaded), Ok(1));
}
