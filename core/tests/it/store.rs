//! What lies on the device: it survives, it is upgraded, and damage is met without a fuss.

use std::fs;
use std::path::{Path, PathBuf};

use backstop_core::machine::Customer;
use backstop_core::{Acked, Alerts, Error, Grade, Handled, Home, Proof, PushClient, RegistrationStatus, Storage};
use rusqlite::Connection;

use crate::support::*;

struct Place {
    directory: tempfile::TempDir,
    server: Server,
    clock: TestClock,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Place { directory, server: Server::default(), clock: TestClock::at(NOW_MS) }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("backstop.sqlite")
    }

    fn home(&self) -> Home {
        Home::Directory(self.directory.path().to_owned())
    }

    fn open(&self) -> PushClient {
        open(self.home(), &self.server, &self.clock)
    }

    fn try_open(&self) -> Result<PushClient, Error> {
        let server = std::sync::Arc::new(self.server.clone());
        PushClient::open_with(config(self.home()), server, std::sync::Arc::new(self.clock.clone()))
    }

    /// A registered, logged-in device with two acks that wait.
    async fn fill(&self) -> PushClient {
        let client = self.open();
        client.set_token(token("push-token"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
        client.identify("lucas", Proof::Hash("5ecret-hash".to_owned()), AMPLE_MS).await.expect("stored");
        assert_eq!(client.acknowledge("r1", Grade::Displayed, None, 0).await, Ok(Acked::Stored));
        assert_eq!(client.acknowledge("r2", Grade::Suppressed, Some("channel_off"), 0).await, Ok(Acked::Stored));
        client
    }
}

fn bytes_of(directory: &Path) -> Vec<u8> {
    let files = fs::read_dir(directory).expect("readable").map(|entry| entry.expect("readable").path());
    files.filter(|path| path.is_file()).flat_map(|path| fs::read(path).expect("readable")).collect()
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// C4: everything that was given, confirmed or recorded is there again after a restart.
#[tokio::test]
async fn c4_a_reopened_store_knows_everything() {
    let place = Place::new();
    let before = place.fill().await.status();
    assert_eq!((before.storage, before.pending), (Storage::Created, 2));
    let client = place.open();
    let after = client.status();
    assert_eq!((after.storage, after.pending), (Storage::Opened, 2));
    assert_eq!((&after.install_id, &after.device_id), (&before.install_id, &before.device_id));
    assert_eq!((after.customer, after.alerts), (Customer::Bound, Alerts::Allowed));
    assert_eq!(after.registration, RegistrationStatus::Confirmed { at_ms: NOW_MS });
    assert_eq!(after.next_flush_in_ms, Some(0));
    client.flush(AMPLE_MS).await.expect("flushed");
    assert_eq!(place.server.acks(), ["r1 displayed", "r2 suppressed"]);
    assert_eq!(place.server.log().len(), 3, "the registration is not repeated");
}

/// The file that the first version wrote still opens with all it held. It is never made again.
#[tokio::test]
async fn c4_the_first_versions_file_is_understood() {
    let place = Place::new();
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store/v1.sqlite");
    fs::copy(frozen, place.file()).expect("copied");
    let client = place.open();
    let status = client.status();
    assert!(matches!(status.storage, Storage::Opened | Storage::Upgraded { from: 1 }), "{status:?}");
    assert_eq!((status.pending, status.customer, status.alerts), (2, Customer::Bound, Alerts::Allowed));
    assert_eq!(status.device_id.as_deref(), Some("dev_1"));
    place.server.always(Some(Instead::Offline));
    client.flush(0).await.expect("flushed");
    assert_eq!(client.status().pending, 2);
}

/// An empty file, and a database that nothing was ever put into, are set up.
#[test]
fn an_empty_file_is_set_up() {
    let place = Place::new();
    fs::write(place.file(), b"").expect("written");
    assert_eq!(place.open().status().storage, Storage::Created);
    let place = Place::new();
    Connection::open(place.file()).and_then(|c| c.execute_batch("PRAGMA user_version = 0; VACUUM;")).expect("made");
    assert_eq!(place.open().status().storage, Storage::Created);
    assert_eq!(place.open().status().storage, Storage::Opened);
}

/// Damage of every kind: the file is set aside as it was, a fresh one works, and the app is told.
#[tokio::test]
async fn a_damaged_file_is_set_aside() {
    type Damage = fn(&Path);
    let kinds: [(&str, Damage); 6] = [
        ("garbage", |path| fs::write(path, [7; 20_000]).expect("written")),
        ("cut", |path| {
            let bytes = fs::read(path).expect("readable");
            fs::write(path, &bytes[..bytes.len() / 2]).expect("written");
        }),
        ("scrambled", |path| {
            let mut bytes = fs::read(path).expect("readable");
            bytes[4096..].fill(0xa5);
            fs::write(path, bytes).expect("written");
        }),
        ("no table", |path| {
            Connection::open(path).and_then(|c| c.execute_batch("DROP TABLE acks")).expect("dropped");
        }),
        ("an unknown word", |path| {
            Connection::open(path)
                .and_then(|c| c.execute_batch("UPDATE device SET customer_state = 'x'"))
                .expect("set");
        }),
        ("a negative version", |path| {
            Connection::open(path).and_then(|c| c.execute_batch("PRAGMA user_version = -1")).expect("set");
        }),
    ];
    for (kind, damage) in kinds {
        let place = Place::new();
        drop(place.fill().await);
        damage(&place.file());
        let damaged = fs::read(place.file()).expect("readable");
        let client = place.open();
        assert_eq!(client.status().storage, Storage::Replaced, "{kind}");
        assert_eq!(client.status().registration, RegistrationStatus::NoToken, "{kind}");
        let aside = fs::read(place.directory.path().join("backstop.sqlite.damaged")).expect("set aside");
        assert!(aside == damaged, "{kind}: as it was");
        client.set_token(token("t"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
        let acked = client.acknowledge("r9", Grade::Displayed, None, AMPLE_MS).await;
        assert!(matches!(acked, Ok(Acked::Confirmed(_))), "{kind}: {acked:?}");
        drop(client);
        assert_eq!(place.open().status().storage, Storage::Opened, "{kind}");
    }
}

/// A newer SDK's file is refused, with both versions named, and not touched.
#[tokio::test]
async fn a_newer_store_is_left_untouched() {
    let place = Place::new();
    drop(place.fill().await);
    Connection::open(place.file()).and_then(|c| c.execute_batch("PRAGMA user_version = 99")).expect("set");
    let before = fs::read(place.file()).expect("readable");
    assert_eq!(place.try_open().map(|_| ()), Err(Error::StorageNewer { found: 99, known: 1 }));
    assert_eq!(fs::read(place.file()).expect("readable"), before);
}

/// A place that cannot be written is an error that says so, not a damaged file.
#[test]
fn an_impossible_place_is_a_typed_error() {
    let place = Place::new();
    let file = place.directory.path().join("file");
    fs::write(&file, b"x").expect("written");
    let opened = PushClient::open_with(
        config(Home::Directory(file.join("below"))),
        std::sync::Arc::new(place.server.clone()),
        std::sync::Arc::new(place.clock.clone()),
    );
    assert!(matches!(opened, Err(Error::Storage { .. })));
}

/// Two processes on one store: one installation, and each flushes what either recorded, once.
#[tokio::test]
async fn c4_two_clients_on_one_store_lose_and_double_nothing() {
    let place = Place::new();
    let (first, second) = (place.fill().await, place.open());
    assert_eq!(first.status().install_id, second.status().install_id);
    for n in 0..20 {
        let client = if n % 2 == 0 { &first } else { &second };
        assert_eq!(client.acknowledge(&format!("b{n}"), Grade::Displayed, None, 0).await, Ok(Acked::Stored));
    }
    assert_eq!(second.flush(AMPLE_MS).await.expect("flushed").pending, 0);
    assert_eq!(first.flush(AMPLE_MS).await.expect("flushed").pending, 0);
    assert_eq!(place.server.acks().len(), 22);
    assert_eq!(place.server.lock().batches.iter().sum::<usize>(), 22, "what one sent the other does not send again");
}

/// S8: no text, title or link of a push, and no receipt that was answered, stays on the device.
#[tokio::test]
async fn s8_nothing_personal_lies_on_the_device() {
    let place = Place::new();
    let client = place.fill().await;
    let payload =
        r#"{"v":1,"receipt":"opaque-receipt","title":"Ann Agent","body":"your order","link":"https://x.example/s"}"#;
    place.server.always(Some(Instead::Offline));
    assert!(matches!(client.handle_push(payload, 0).await, Ok(Handled::Ours { .. })));
    let bytes = bytes_of(place.directory.path());
    assert!(contains(&bytes, "opaque-receipt"));
    for personal in ["Ann Agent", "your order", "x.example"] {
        assert!(!contains(&bytes, personal), "{personal}");
    }
    place.server.always(None);
    client.flush(AMPLE_MS).await.expect("flushed");
    client.log_out(AMPLE_MS).await.expect("flushed");
    drop(client);
    let bytes = fs::read(place.file()).expect("readable");
    for gone in ["opaque-receipt", "lucas", "5ecret-hash"] {
        assert!(!contains(&bytes, gone), "{gone}");
    }
}
