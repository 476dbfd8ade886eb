//! The extension's spool: complete files only, taken over once, bounded.

use std::fs;

use backstop_core::{Error, Grade, Home, PushClient, Spool};

use crate::support::*;

fn client() -> (PushClient, Server) {
    let server = Server::default();
    (open(Home::Memory, &server, &TestClock::at(NOW_MS)), server)
}

fn files(directory: &tempfile::TempDir) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory).expect("readable").map(|e| e.expect("readable").path()).collect();
    files.sort();
    files
}

/// C4: what the extension recorded is uploaded by the app, in order, each once.
#[tokio::test]
async fn c4_spooled_acks_are_taken_over_in_order_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = Spool::new(directory.path());
    for (n, grade) in [(3, Grade::Opened), (1, Grade::Displayed), (2, Grade::Suppressed)] {
        spool.record(&format!("r{n}"), grade, Some("x").filter(|_| n == 2), NOW_MS + n).expect("recorded");
    }
    let kept = files(&directory);
    let copies: Vec<_> = kept.iter().map(|path| fs::read(path).expect("readable")).collect();
    let (client, server) = client();
    assert_eq!(client.ingest(&spool), Ok(3));
    assert_eq!(files(&directory), Vec::<std::path::PathBuf>::new());
    assert_eq!(client.status().pending, 3);

    // As after a crash between the commit and the removal of the files.
    for (path, bytes) in kept.iter().zip(&copies) {
        fs::write(path, bytes).expect("written");
    }
    assert_eq!(client.ingest(&spool), Ok(3));
    assert_eq!(client.status().pending, 3, "the same events are the same rows");
    assert_eq!(client.ingest(&spool), Ok(0));
    client.set_token(token("t"), backstop_core::Alerts::Allowed, AMPLE_MS).await.expect("stored");
    assert_eq!(client.status().pending, 0);
    assert_eq!(server.acks(), ["r1 displayed", "r2 suppressed", "r3 opened"]);
}

/// The app's own spool directory is taken over at start and at every flush.
#[tokio::test]
async fn c4_the_home_directorys_spool_is_watched() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = Spool::new(directory.path().join("spool"));
    spool.record("before", Grade::Displayed, None, NOW_MS).expect("recorded");
    let server = Server::default();
    let client = open(Home::Directory(directory.path().to_owned()), &server, &TestClock::at(NOW_MS));
    assert_eq!(client.status().pending, 1);
    client.set_token(token("t"), backstop_core::Alerts::Allowed, AMPLE_MS).await.expect("stored");
    spool.record("after", Grade::Displayed, None, NOW_MS).expect("recorded");
    assert_eq!(client.flush(AMPLE_MS).await.expect("flushed").uploaded, 1);
    assert_eq!(server.acks(), ["before displayed", "after displayed"]);
}

/// Torn, foreign and hostile files are dropped; unfinished ones get an hour.
#[test]
fn torn_files_do_not_stop_the_good_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = Spool::new(directory.path());
    spool.record("good", Grade::Displayed, None, NOW_MS).expect("recorded");
    let whole = fs::read(&files(&directory)[0]).expect("readable");
    let put = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).expect("written");
    put("000000000000001-torn.ack", &whole[..whole.len() / 2]);
    put("000000000000002-empty.ack", b"");
    put("000000000000003-binary.ack", &[0xff; 500]);
    put("000000000000004-huge.ack", &vec![b' '; 1_000_000]);
    put("000000000000005-deep.ack", "[".repeat(8_000).as_bytes());
    put("000000000000006-grade.ack", br#"{"receipt":"r","grade":"brand_new","recorded_at_ms":1}"#);
    put("000000000000007-receipt.ack", br#"{"receipt":"a b","grade":"opened","recorded_at_ms":1}"#);
    put("notes.txt", b"not ours");
    let recent = format!("{:015}-recent.tmp", NOW_MS - 3_600_000);
    let left_over = format!("{:015}-left.tmp", NOW_MS - 3_600_001);
    put(&recent, b"{");
    put(&left_over, b"{");
    let (client, _) = client();
    assert_eq!(client.ingest(&spool), Ok(1));
    let left: Vec<_> = files(&directory).iter().filter_map(|p| Some(p.file_name()?.to_str()?.to_owned())).collect();
    assert_eq!(left, [recent.as_str(), "notes.txt"]);
}

/// The spool is bounded: the oldest make room. A missing one is empty, and bad arguments leave no file.
#[test]
fn a_spool_is_bounded() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = Spool::new(directory.path().join("made/when/needed"));
    let (client, _) = client();
    assert_eq!(client.ingest(&spool), Ok(0));
    for receipt in ["", "a b", "x\0"] {
        let refused = spool.record(receipt, Grade::Displayed, None, NOW_MS);
        assert!(matches!(refused, Err(Error::InvalidArgument { name: "receipt", .. })));
    }
    for n in 0..1_003 {
        spool.record(&format!("r{n}"), Grade::Displayed, None, NOW_MS + n).expect("recorded");
    }
    assert_eq!(client.ingest(&spool), Ok(1_000));
    assert_eq!(client.status().pending, 1_000);
}

/// C4: one event that cannot be read keeps none of the others, and files of the host app's are left alone.
#[tokio::test]
async fn c4_one_event_in_the_way_stops_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let spool = Spool::new(directory.path());
    spool.record("r1", Grade::Displayed, None, NOW_MS).expect("recorded");
    let in_the_way = directory.path().join("000000000000001-x.ack");
    fs::create_dir(&in_the_way).expect("made");
    let hosts = [directory.path().join("upload.tmp"), directory.path().join("notes.ack")];
    for path in &hosts {
        fs::write(path, b"the host app's").expect("written");
    }
    let (client, _) = client();
    assert_eq!(client.ingest(&spool), Ok(1));
    assert!(hosts.iter().all(|path| path.exists()));
    assert_eq!(files(&directory).len(), 3);
}
