//! The notification extension: on disk first, one request, and the app finishes what it could not.

use std::path::Path;
use std::sync::Arc;

use backstop_core::{
    AckOutcome, AckResult, Acked, Alerts, Config, DeviceRegistered, Error, Extension, ExtensionConfig, Grade, Home,
    PushClient,
};

use crate::support::*;

fn extension(spool: &Path, server: &Server, device: Option<DeviceRegistered>) -> Extension {
    let config = ExtensionConfig {
        base_url: "http://127.0.0.1:9".to_owned(),
        app_key: "app_test".to_owned(),
        sdk: "ios/0.1.0".to_owned(),
        spool_directory: spool.to_owned(),
        device,
        extra_root_certificates: vec![],
        allow_http: false,
    };
    Extension::open_with(config, Arc::new(server.clone()), Arc::new(TestClock::at(NOW_MS))).expect("opens")
}

/// The app, which shares only the spool with its extension.
async fn app(spool: &Path, server: &Server) -> PushClient {
    let config = Config { spool_directory: Some(spool.to_owned()), ..config(Home::Memory) };
    let clock = Arc::new(TestClock::at(NOW_MS));
    let client = PushClient::open_with(config, Arc::new(server.clone()), clock).expect("opens");
    client.set_token(token("token-1"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    client
}

fn waiting(spool: &Path) -> usize {
    std::fs::read_dir(spool).map_or(0, Iterator::count)
}

const ACCEPTED: Acked = Acked::Confirmed(AckOutcome { result: AckResult::Accepted, counted: true });

/// C4: recorded, sent, answered, and nothing left behind.
#[tokio::test]
async fn c4_an_answered_ack_leaves_nothing_on_disk() {
    let spool = tempfile::tempdir().expect("a directory");
    let server = Server::default();
    let device = app(spool.path(), &server).await.device();
    let extension = extension(spool.path(), &server, device);
    let spooled = extension.record("r-1", Grade::Displayed, None).expect("recorded");
    assert_eq!(waiting(spool.path()), 1, "on disk before anything is sent");
    assert_eq!(extension.send(&spooled, AMPLE_MS).await, ACCEPTED);
    assert_eq!(waiting(spool.path()), 0);
    assert_eq!(server.acks(), ["r-1 displayed"]);
}

/// C4: whatever happens to the request, the ack waits for the app, which sends it once.
#[tokio::test]
async fn c4_what_the_extension_cannot_finish_the_app_does() {
    for (instead, device_known) in [
        (Some(Instead::Offline), true),
        (Some(Instead::Hang), true),
        (Some(Instead::LoseAnswer), true),
        (Some(problem(401, "unauthorized")), true),
        (Some(problem(429, "rate_limited")), true),
        (Some(Instead::Answer(200, None, "<html>a captive portal</html>".to_owned())), true),
        // Under a key that is not the device's any more.
        (Some(Instead::Answer(200, None, r#"{"results":[{"result":"refused","counted":false}]}"#.to_owned())), true),
        (None, false),
    ] {
        let spool = tempfile::tempdir().expect("a directory");
        let server = Server::default();
        let client = app(spool.path(), &server).await;
        let extension = extension(spool.path(), &server, client.device().filter(|_| device_known));
        instead.clone().into_iter().for_each(|instead| server.next(instead));
        let spooled = extension.record("r-1", Grade::Displayed, None).expect("recorded");
        assert_eq!(extension.send(&spooled, 50).await, Acked::Stored, "{instead:?}");
        assert_eq!(waiting(spool.path()), 1, "{instead:?}");
        client.flush(AMPLE_MS).await.expect("flushed");
        assert_eq!((waiting(spool.path()), server.acks()), (0, vec!["r-1 displayed".to_owned()]), "{instead:?}");
    }
}

/// C4: on a disk that takes nothing the ack goes out at once, or the caller is told.
#[tokio::test]
async fn c4_an_ack_that_cannot_be_recorded_is_sent_or_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let blocked = directory.path().join("file");
    std::fs::write(&blocked, b"").expect("written");
    let server = Server::default();
    let device = app(&directory.path().join("spool"), &server).await.device();
    let extension = extension(&blocked.join("spool"), &server, device);
    assert!(matches!(extension.record("r-1", Grade::Displayed, None), Err(Error::Storage { .. })));
    let sent = extension.send_unrecorded("r-1", Grade::Displayed, None, AMPLE_MS).await;
    assert_eq!(sent, Ok(Some(AckOutcome { result: AckResult::Accepted, counted: true })));
    server.next(Instead::Offline);
    assert_eq!(extension.send_unrecorded("r-2", Grade::Displayed, None, AMPLE_MS).await, Ok(None));
}

/// Bad input names what is wrong, and nothing is written.
#[tokio::test]
async fn bad_input_is_refused_before_anything_is_written() {
    let spool = tempfile::tempdir().expect("a directory");
    let extension = extension(spool.path(), &Server::default(), None);
    for receipt in ["", "a b"] {
        let refused = extension.record(receipt, Grade::Suppressed, None).map(drop);
        assert!(matches!(refused, Err(Error::InvalidArgument { name: "receipt", .. })), "{refused:?}");
    }
    assert_eq!(waiting(spool.path()), 0);
}
