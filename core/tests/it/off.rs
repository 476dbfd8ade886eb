//! Switched off: nothing stays on the device, the server forgets it, and only the app's word changes that.

use std::path::Path;

use backstop_core::machine::Customer;
use backstop_core::{Alerts, Error, Grade, Handled, Home, Proof, RegistrationStatus, Seen, Storage};

use crate::support::*;

fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.push(path.file_name().expect("a name").to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// C4, S8: what was kept is deleted, acks on their way with it, and the server is asked to forget the device; a restart
/// does not bring anything back.
#[tokio::test]
async fn off_deletes_everything_and_stays_off() {
    let directory = tempfile::tempdir().expect("a directory");
    let home = || Home::Directory(directory.path().to_owned());
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = open(home(), &server, &clock);
    client.set_token(token("token-1"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    client.identify("lucas", Proof::Hash("hash".to_owned()), AMPLE_MS).await.expect("stored");
    client.acknowledge("receipt-1", Grade::Displayed, None, 0).await.expect("kept");
    backstop_core::Spool::new(directory.path().join("spool"))
        .record("receipt-2", Grade::Displayed, None, NOW_MS)
        .expect("kept");

    client.set_enabled(false, AMPLE_MS).await.expect("off");
    assert_eq!(files(directory.path()), ["backstop.off"]);
    assert!(server.log().contains(&"DELETE /v1/devices/dev_1".to_owned()));

    for client in [client, open(home(), &server, &clock)] {
        let status = client.status();
        assert!(!status.enabled && status.install_id.is_empty() && status.device_id.is_none());
        assert_eq!((status.storage, status.pending, status.next_flush_in_ms), (Storage::Off, 0, None));
        let before = server.log().len();
        assert_eq!(client.set_token(token("t"), Alerts::Allowed, AMPLE_MS).await, Err(Error::Disabled));
        assert_eq!(client.log_out(AMPLE_MS).await, Err(Error::Disabled));
        assert_eq!(client.acknowledge("r", Grade::Displayed, None, AMPLE_MS).await, Err(Error::Disabled));
        assert_eq!(client.handle_push(&payload("r"), AMPLE_MS).await, Err(Error::Disabled));
        assert_eq!(client.handle_push("{}", AMPLE_MS).await, Ok(Handled::NotOurs), "the app's own pushes go on");
        client.flush(AMPLE_MS).await.expect("nothing to do");
        assert_eq!(server.log().len(), before, "nothing is sent");
    }
}

/// P14: switched off, a push that is still there leads to its chat all the same.
#[tokio::test]
async fn p14_a_tap_on_an_old_push_opens_the_chat_when_off() {
    let client = registered(&Server::default(), &TestClock::at(NOW_MS)).await;
    client.set_enabled(false, AMPLE_MS).await.expect("off");
    let tapped = client.handle_tap(&payload("r"), &["https"], AMPLE_MS).await.expect("taken").expect("ours");
    assert_eq!(tapped.link.as_deref(), Some("https://x.example/1"));
    assert_eq!(tapped.ack, Err(Error::Disabled));
}

/// Offline, the device's name is kept until the server forgot it, and nothing else; a later flush tells it, once.
#[tokio::test]
async fn off_without_a_network_is_told_later() {
    for restart in [false, true] {
        told_later(restart).await;
    }
}

async fn told_later(restart: bool) {
    let directory = tempfile::tempdir().expect("a directory");
    let home = || Home::Directory(directory.path().to_owned());
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = open(home(), &server, &clock);
    client.set_token(token("token-1"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    server.always(Some(Instead::Offline));
    client.set_enabled(false, AMPLE_MS).await.expect("off");
    assert!(client.status().next_flush_in_ms.is_some());
    assert_eq!(files(directory.path()), ["backstop.forget", "backstop.off"]);
    // A proxy's answer says nothing, and one about a key is not about the device.
    for instead in [Instead::Answer(404, None, "<html>".to_owned()), problem(401, "unauthorized")] {
        server.always(Some(instead));
        client.flush(AMPLE_MS).await.expect("flushed");
    }
    drop(client);

    let client = open(home(), &server, &clock);
    // Nor does switching on settle it.
    client.set_enabled(true, AMPLE_MS).await.expect("on");
    client.set_enabled(false, AMPLE_MS).await.expect("off");
    let client = if restart { open(home(), &server, &clock) } else { client };
    server.always(None);
    let forgets = || server.log().iter().filter(|line| *line == "DELETE /v1/devices/dev_1").count();
    let before = forgets();
    for _ in 0..3 {
        client.flush(AMPLE_MS).await.expect("flushed");
    }
    assert_eq!(forgets(), before + 1);
    assert_eq!(client.status().next_flush_in_ms, None);
    assert_eq!(files(directory.path()), ["backstop.off"]);
}

/// On again: a new installation, that asks the app for token and customer.
#[tokio::test]
async fn on_again_starts_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let home = || Home::Directory(directory.path().to_owned());
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = open(home(), &server, &clock);
    client.set_token(token("token-1"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    let before = client.status();
    client.set_enabled(false, AMPLE_MS).await.expect("off");
    client.set_enabled(true, AMPLE_MS).await.expect("on");
    client.set_enabled(true, AMPLE_MS).await.expect("still on");
    let status = client.status();
    assert_eq!((status.registration, status.customer), (RegistrationStatus::NoToken, Customer::Nobody));
    assert_ne!(status.install_id, before.install_id);
    client.set_token(token("token-1"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    assert_eq!(client.status().device_id.as_deref(), Some("dev_2"));
    let handled = client.handle_push_seen(&payload("r"), Seen::Displayed, AMPLE_MS).await;
    assert!(matches!(handled, Ok(Handled::Ours { .. })));
    assert_eq!(open(home(), &server, &clock).status().install_id, client.status().install_id);
}

/// A switch that was cut short after its first write is finished by the next start.
#[tokio::test]
async fn a_switch_cut_short_is_finished_at_the_next_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let home = || Home::Directory(directory.path().to_owned());
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = open(home(), &server, &clock);
    client.set_token(token("token-1"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    drop(client);
    // Torn, too: that it is there says that the SDK is off.
    std::fs::write(directory.path().join("backstop.off"), b"{\"forg").expect("written");
    assert!(!open(home(), &server, &clock).status().enabled);
    assert_eq!(files(directory.path()), ["backstop.off"]);
}

/// Calls under way end with the switch: none of them registers the device again, and one that was given to a
/// registration on its way is forgotten, too.
#[tokio::test]
async fn calls_under_way_bring_nothing_back() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let server = Server { gate: Some(gate.clone()), ..Server::default() };
    let client = open(Home::Memory, &server, &TestClock::at(NOW_MS));
    let registering = {
        let client = client.clone();
        tokio::spawn(async move { client.set_token(token("token-1"), Alerts::Allowed, AMPLE_MS).await })
    };
    while client.status().registration != RegistrationStatus::Pending {
        tokio::task::yield_now().await;
    }
    let switching = {
        let client = client.clone();
        tokio::spawn(async move { client.set_enabled(false, AMPLE_MS).await })
    };
    while client.status().enabled {
        tokio::task::yield_now().await;
    }
    gate.add_permits(100);
    registering.await.expect("ended").expect("stored before");
    switching.await.expect("ended").expect("off");
    client.flush(AMPLE_MS).await.expect("flushed");
    assert_eq!(server.log(), ["POST /v1/devices", "DELETE /v1/devices/dev_1"]);
    assert!(server.lock().devices.is_empty());
}

/// An ack on its way when the SDK is switched off is not promised any more, and is not sent.
#[tokio::test]
async fn an_ack_under_way_is_not_promised_when_off() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    let server = Server { gate: Some(gate.clone()), ..Server::default() };
    let client = registered(&server, &TestClock::at(NOW_MS)).await;
    let acking = {
        let client = client.clone();
        tokio::spawn(async move { client.acknowledge("r-2", Grade::Displayed, None, AMPLE_MS).await })
    };
    while client.status().pending == 0 {
        tokio::task::yield_now().await;
    }
    server.always(Some(Instead::Offline));
    client.set_enabled(false, 0).await.expect("off");
    gate.add_permits(100);
    assert_eq!(acking.await.expect("ended"), Err(Error::Disabled));
}

/// What cannot be remembered is said; the SDK is off and its data gone all the same.
#[tokio::test]
async fn off_that_cannot_be_remembered_is_said_and_tried_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let home = Home::Directory(directory.path().to_owned());
    let client = open(home, &Server::default(), &TestClock::at(NOW_MS));
    client.set_token(token("token-1"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    let in_the_way = directory.path().join("backstop.off.tmp");
    std::fs::create_dir(&in_the_way).expect("made");
    assert!(matches!(client.set_enabled(false, AMPLE_MS).await, Err(Error::Storage { .. })));
    assert!(!client.status().enabled);
    assert_eq!(files(directory.path()), Vec::<String>::new());
    std::fs::remove_dir(&in_the_way).expect("removed");
    client.set_enabled(false, AMPLE_MS).await.expect("off");
    assert_eq!(files(directory.path()), ["backstop.off"]);
}
