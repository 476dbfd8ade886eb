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
    let left = std::fs::read_to_string(directory.path().join("backstop.off")).expect("readable");
    assert_eq!(left, "{}", "neither the device's key nor anything else stays");

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
    let directory = tempfile::tempdir().expect("a directory");
    let home = || Home::Directory(directory.path().to_owned());
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = open(home(), &server, &clock);
    client.set_token(token("token-1"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    server.always(Some(Instead::Offline));
    client.set_enabled(false, AMPLE_MS).await.expect("off");
    assert!(client.status().next_flush_in_ms.is_some());
    drop(client);

    let client = open(home(), &server, &clock);
    server.always(None);
    let forgets = || server.log().iter().filter(|line| *line == "DELETE /v1/devices/dev_1").count();
    let before = forgets();
    for _ in 0..3 {
        client.flush(AMPLE_MS).await.expect("flushed");
    }
    assert_eq!(forgets(), before + 1);
    assert_eq!(client.status().next_flush_in_ms, None);
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
