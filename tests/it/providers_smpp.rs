//! SMPP against an SMSC that others wrote: log-ins, windows, receipts in any order, what is lost on the way.

use crate::providers_smtp_double::make_certificates;
use crate::providers_support::{text_send, xms};
use crate::smsc_double::Smsc;
use backstop_domain::followup::Outcome;
use backstop_server::providers::smpp::{MessageIds, Smpp, SmppConfig, SmppTls};
use backstop_server::providers::{
    Ear, Fault, Hearing, PartState, Provider, ReportWord, SentPart, TextProvider, TextSend, Trunk, Trunks, Unheard,
    Word,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

const NUMBER: &str = "+821012345678";
const FOLLOWUP: &str = "fu_0000000000001";

/// Keeps ids as the store does, and notes what it hears.
struct Notes {
    known: Mutex<BTreeMap<String, SentPart>>,
    told: mpsc::UnboundedSender<Told>,
    /// Whether ids wait to be kept until the test lets them.
    slow: AtomicBool,
    go_on: Notify,
    deaf: AtomicBool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Kept(String),
    Settled(String, PartState),
    Text(String, String),
    Late(ReportWord),
}

impl Ear for Notes {
    fn hear<'a>(&'a self, _: &'static str, word: Word) -> Hearing<'a, ()> {
        Box::pin(async move {
            if self.deaf.load(Ordering::Relaxed) {
                return Err(Unheard);
            }
            let told = match word {
                Word::Text(text) => Told::Text(text.from, text.text),
                Word::Report(report) => Told::Late(report.word),
                #[allow(unreachable_patterns, reason = "SMPP says nothing else")]
                _ => return Ok(()),
            };
            let _ = self.told.send(told);
            Ok(())
        })
    }

    fn keep(&self, part: SentPart) -> Hearing<'_, ()> {
        Box::pin(async move {
            if self.slow.load(Ordering::Relaxed) {
                self.go_on.notified().await;
            }
            let _ = self.told.send(Told::Kept(part.id.clone()));
            self.known.lock().unwrap().insert(part.id.clone(), part);
            Ok(())
        })
    }

    fn settle<'a>(&'a self, _: &'static str, id: &'a str, state: PartState) -> Hearing<'a, bool> {
        Box::pin(async move {
            let known = self.known.lock().unwrap().contains_key(id);
            if known {
                let _ = self.told.send(Told::Settled(id.to_owned(), state));
            }
            Ok(known)
        })
    }
}

struct Rig {
    smsc: Smsc,
    smpp: Arc<Smpp>,
    notes: Arc<Notes>,
    told: mpsc::UnboundedReceiver<Told>,
    lines: Trunks,
}

impl Rig {
    async fn start() -> Rig {
        Rig::with(|config| config).await
    }

    async fn with(change: impl FnOnce(SmppConfig) -> SmppConfig) -> Rig {
        let smsc = Smsc::start().await;
        Rig::on(smsc, change)
    }

    fn on(smsc: Smsc, change: impl FnOnce(SmppConfig) -> SmppConfig) -> Rig {
        let smpp = Arc::new(Smpp::from_config(&change(config(smsc.port))).unwrap());
        let (sender, told) = mpsc::unbounded_channel();
        let notes = Arc::new(Notes {
            known: Mutex::default(),
            told: sender,
            slow: false.into(),
            go_on: Notify::new(),
            deaf: false.into(),
        });
        let ear: Arc<dyn Ear> = notes.clone();
        let trunk: Arc<dyn Trunk> = smpp.clone();
        let lines = Trunks::start(&[trunk], &ear);
        Rig { smsc, smpp, notes, told, lines }
    }

    fn send(&self, text: &str) -> tokio::task::JoinHandle<Outcome> {
        let (smpp, send) = (Arc::clone(&self.smpp), text_of(text));
        tokio::spawn(async move { smpp.send(&send).await })
    }

    async fn told(&mut self) -> Told {
        self.told.recv().await.unwrap()
    }

    async fn receipt(&mut self, on: &Value, text: &str) {
        let fields = json!({ "esm_class": 4, "source_addr": "821012345678", "short_message": text });
        self.smsc.send(on, "deliver_sm", fields).await;
    }
}

fn config(port: u16) -> SmppConfig {
    SmppConfig {
        host: "127.0.0.1".into(),
        port: Some(port),
        tls: SmppTls::None,
        system_id: "backstop".into(),
        password: Some("secret".into()),
        from: "+14155550100".into(),
        reconnect_ms: 50,
        timeout_ms: 5_000,
        ..SmppConfig::default()
    }
}

fn text_of(text: &str) -> TextSend {
    TextSend { from: None, body: xms(text), ..text_send(FOLLOWUP, NUMBER) }
}

fn accepted(id: &str) -> Outcome {
    Outcome::Accepted { provider_id: Some(id.into()) }
}

fn later(error: &str) -> Outcome {
    Outcome::RetryAfter { after_ms: None, error: error.into() }
}

/// P12: a log-in that the SMSC refuses is the account's fault, for the check and for what is sent.
#[tokio::test]
async fn p12_a_refused_bind_names_the_account() {
    let mut rig = Rig::start().await;
    let bind = rig.smsc.next("bind_transceiver").await;
    assert_eq!((&bind["system_id"], &bind["password"]), (&json!("backstop"), &json!("secret")));
    assert_eq!(bind["interface_version"], 0x34);
    rig.smsc.answer(&bind, json!({ "command_status": 0x0d })).await;
    assert_eq!(rig.send("Hi").await.unwrap(), later("bind_refused 0xd"));
    let smpp = Arc::clone(&rig.smpp);
    let check = tokio::spawn(async move { smpp.check().await.unwrap_err() });
    let bind = rig.smsc.next("bind_transceiver").await;
    rig.smsc.answer(&bind, json!({ "command_status": 0x0e })).await;
    let error = check.await.unwrap();
    assert_eq!(error.fault, Fault::Refused);
    assert!(error.message.contains("(0xe)") && error.mend.contains("system_id"), "{error}");
    assert!(!error.to_string().contains("secret"));
}

/// P12: an SMSC that still holds the last connection, or is busy, says nothing against the account: it is tried again.
#[tokio::test]
async fn p12_a_bind_that_comes_too_early_is_no_wrong_password() {
    let mut rig = Rig::start().await;
    for status in [0x05, 0x08, 0x14, 0x58] {
        let bind = rig.smsc.next("bind_transceiver").await;
        rig.smsc.answer(&bind, json!({ "command_status": status })).await;
        let outcome = loop {
            // Until the answer is read, what was said before it stands.
            let outcome = rig.send("Hi").await.unwrap();
            let Outcome::RetryAfter { error, .. } = &outcome else { panic!("{outcome:?}") };
            if error.ends_with(&format!("0x{status:x}")) {
                break outcome;
            }
        };
        assert_eq!(outcome, later(&format!("bind_later 0x{status:x}")));
    }
    rig.smsc.bind().await;
}

/// T4: a short text is one submit_sm in the alphabet that it was counted in, and asks for a receipt.
#[tokio::test]
async fn t4_a_text_goes_as_one_part() {
    let mut rig = Rig::start().await;
    rig.smsc.bind().await;
    let sent = rig.send("Grüße [€5] @home");
    let part = rig.smsc.take("A1").await;
    assert_eq!(part["text"], "Grüße [€5] @home");
    assert_eq!((&part["from"], &part["from_ton"], &part["from_npi"]), (&json!("14155550100"), &json!(1), &json!(1)));
    assert_eq!((&part["to"], &part["to_ton"]), (&json!("821012345678"), &json!(1)));
    assert_eq!(
        (&part["data_coding"], &part["registered_delivery"], &part["esm_class"]),
        (&json!(0), &json!(1), &json!(0))
    );
    assert_eq!(sent.await.unwrap(), accepted("A1"));
    let sent = rig.send("안녕하세요 👋");
    let part = rig.smsc.take("A2").await;
    assert_eq!((&part["text"], &part["data_coding"]), (&json!("안녕하세요 👋"), &json!(8)));
    assert_eq!(sent.await.unwrap(), accepted("A2"));
    rig.lines.stop().await;
    rig.smsc.next("unbind").await;
}

/// T4: a long one goes in parts that the phone joins, or as one payload.
#[tokio::test]
async fn t4_a_long_text_is_joined_by_its_header() {
    let mut rig = Rig::start().await;
    rig.smsc.bind().await;
    let long = "가나다라마바사아자차".repeat(10);
    let sent = rig.send(&long);
    let first = rig.smsc.take("1").await;
    let second = rig.smsc.take("2").await;
    assert_eq!(sent.await.unwrap(), accepted("1"));
    let text = |part: &Value| part["text"].as_str().unwrap().to_owned();
    assert_eq!(text(&first) + &text(&second), long);
    let header = |part: &Value| hex::decode(part["udh"][0].as_str().unwrap()).unwrap();
    let (first, second) = (header(&first), header(&second));
    assert_eq!((&first[..2], &first[3..], &second[3..]), (&[0, 3][..], &[2, 1][..], &[2, 2][..]));
    assert_eq!(first[2], second[2], "one reference");
    let mut rig = Rig::with(|config| SmppConfig { message_payload: true, ..config }).await;
    rig.smsc.bind().await;
    let sent = rig.send(&long);
    let part = rig.smsc.take("3").await;
    assert_eq!(part["payload"], long);
    assert_eq!(sent.await.unwrap(), accepted("3"));
}

/// What an SMSC refuses: for good, for now, or a later part of what it took.
#[tokio::test]
async fn a_refusal_is_definite_until_a_part_was_taken() {
    let mut rig = Rig::start().await;
    rig.smsc.bind().await;
    for (status, outcome) in [
        (0x0b, Outcome::Rejected { error: "bad_number 0xb".into() }),
        (0x58, Outcome::RetryAfter { after_ms: Some(1_000), error: "too_many 0x58".into() }),
        (0x14, Outcome::RetryAfter { after_ms: Some(1_000), error: "too_many 0x14".into() }),
        (0x08, later("smsc_error 0x8")),
    ] {
        let sent = rig.send("Hi");
        let part = rig.smsc.next("submit_sm").await;
        rig.smsc.answer(&part, json!({ "command_status": status })).await;
        assert_eq!(sent.await.unwrap(), outcome);
    }
    let long = "x".repeat(200);
    let sent = rig.send(&long);
    rig.smsc.take("1").await;
    let part = rig.smsc.next("submit_sm").await;
    rig.smsc.answer(&part, json!({ "command_status": 0x58 })).await;
    let again = rig.smsc.take("2").await;
    assert_eq!(again["text"], part["text"], "what was refused as too fast goes again");
    assert_eq!(sent.await.unwrap(), accepted("1"));
    let sent = rig.send(&long);
    rig.smsc.take("3").await;
    let part = rig.smsc.next("submit_sm").await;
    rig.smsc.answer(&part, json!({ "command_status": 0x45 })).await;
    assert_eq!(sent.await.unwrap(), Outcome::Unknown { error: "partly_sent: refused 0x45".into() });
}

/// A connection that ends under a text leaves it unknown, and it is not sent again; the next one goes by a new one.
#[tokio::test]
async fn a_text_under_a_lost_connection_is_unknown() {
    let mut rig = Rig::start().await;
    rig.smsc.bind().await;
    let sent = rig.send("Hi");
    let part = rig.smsc.next("submit_sm").await;
    rig.smsc.drop_connection(&part).await;
    assert_eq!(sent.await.unwrap(), Outcome::Unknown { error: "connection_lost".into() });
    rig.smsc.bind().await;
    // Until the log-in is answered, texts are told that there is no line.
    let sent = loop {
        let mut sent = rig.send("Next");
        let event = rig.smsc.any();
        tokio::select! {
            event = event => {
                assert_eq!(event["text"], "Next", "{event}");
                rig.smsc.answer(&event, json!({ "command_status": 0, "message_id": "9" })).await;
                break sent.await.unwrap();
            }
            outcome = &mut sent => assert_eq!(outcome.unwrap(), later("connection_lost")),
        }
    };
    assert_eq!(sent, accepted("9"));
}

/// An answer that comes when nobody waits for it any more is told as a report.
#[tokio::test]
async fn w2_a_late_answer_is_heard() {
    let mut rig = Rig::with(|config| SmppConfig { timeout_ms: 300, ..config }).await;
    rig.smsc.bind().await;
    let sent = rig.send("Hi");
    let part = rig.smsc.next("submit_sm").await;
    assert_eq!(sent.await.unwrap(), Outcome::Unknown { error: "timeout".into() });
    rig.smsc.answer(&part, json!({ "command_status": 0, "message_id": "7" })).await;
    assert_eq!(rig.told().await, Told::Kept("7".into()));
    assert_eq!(rig.told().await, Told::Late(ReportWord::Taken));
    // A refusal is what it would have been in time: for good or for now, and no failure of what was taken.
    for (status, refusal) in [
        (0x0b, Outcome::Rejected { error: "bad_number 0xb".into() }),
        (0x58, Outcome::RetryAfter { after_ms: Some(1_000), error: "too_many 0x58".into() }),
    ] {
        let sent = rig.send("Hi");
        let part = rig.smsc.next("submit_sm").await;
        assert_eq!(sent.await.unwrap(), Outcome::Unknown { error: "timeout".into() });
        rig.smsc.answer(&part, json!({ "command_status": status })).await;
        assert_eq!(rig.told().await, Told::Late(ReportWord::Refused(refusal)));
    }
}

/// No more than the window is under way; what waits goes when there is room, and leaves no trace when it gave up.
#[tokio::test]
async fn the_window_holds() {
    let mut rig = Rig::with(|config| SmppConfig { window: 2, ..config }).await;
    rig.smsc.bind().await;
    let sent: Vec<_> = ["a", "b", "c"].map(|text| rig.send(text)).into();
    let first = rig.smsc.next("submit_sm").await;
    let second = rig.smsc.next("submit_sm").await;
    // The SMSC's own word comes through meanwhile, and nothing else before it.
    rig.smsc.send(&first, "enquire_link", json!({})).await;
    assert_eq!(rig.smsc.any().await["on"], "enquire_link_resp");
    rig.smsc.answer(&second, json!({ "command_status": 0, "message_id": "2" })).await;
    let third = rig.smsc.take("3").await;
    rig.smsc.answer(&first, json!({ "command_status": 0, "message_id": "1" })).await;
    let mut texts: Vec<_> = [&first, &second, &third].map(|part| part["text"].as_str().unwrap().to_owned()).into();
    texts.sort();
    assert_eq!(texts, ["a", "b", "c"]);
    for sent in sent {
        assert_eq!(sent.await.unwrap().label(), "accepted");
    }
}

/// W2: receipts in both forms; one that overtakes its text's answer, or the answer's way into the store, waits.
#[tokio::test]
async fn w2_a_receipt_finds_its_text_in_any_order() {
    let mut rig = Rig::with(|config| SmppConfig { message_id: MessageIds::Hex, ..config }).await;
    let bind = rig.smsc.bind().await;
    let sent = rig.send("Hi");
    let part = rig.smsc.next("submit_sm").await;
    rig.receipt(&part, "id:0000000031 sub:001 dlvrd:001 stat:DELIVRD err:000 text:").await;
    rig.smsc.answer(&part, json!({ "command_status": 0, "message_id": "1F" })).await;
    assert_eq!(sent.await.unwrap(), accepted("1F"));
    assert_eq!(rig.told().await, Told::Kept("31".into()));
    assert_eq!(rig.told().await, Told::Settled("31".into(), PartState::Delivered));
    assert_eq!(rig.smsc.next("deliver_sm_resp").await["status"], 0);
    // The store is slow.
    rig.notes.slow.store(true, Ordering::Relaxed);
    let sent = rig.send("Hi");
    rig.smsc.take("20").await;
    let fields = json!({ "esm_class": 4, "receipted_message_id": "20", "message_state": 5, "short_message": "" });
    rig.smsc.send(&bind, "deliver_sm", fields).await;
    rig.smsc.send(&bind, "enquire_link", json!({})).await;
    assert_eq!(rig.smsc.next("enquire_link_resp").await["status"], 0, "nothing waits behind it");
    rig.notes.go_on.notify_one();
    assert_eq!(sent.await.unwrap(), accepted("20"));
    assert_eq!(rig.told().await, Told::Kept("32".into()));
    assert_eq!(rig.told().await, Told::Settled("32".into(), PartState::Failed("undeliverable".into())));
    // One of somebody else's text is answered all the same.
    rig.receipt(&bind, "id:999 stat:DELIVRD").await;
    assert_eq!(rig.smsc.next("deliver_sm_resp").await["status"], 0);
}

/// W2: a text that the SMSC never answers makes receipts wait for its id, and not for ever.
#[tokio::test]
async fn w2_an_answer_that_never_comes_is_not_waited_for() {
    let mut rig = Rig::with(|config| SmppConfig { timeout_ms: 300, ..config }).await;
    let bind = rig.smsc.bind().await;
    let sent = rig.send("Hi");
    rig.smsc.next("submit_sm").await;
    assert_eq!(sent.await.unwrap().label(), "unknown");
    let receipts = async {
        for _ in 0..4 {
            rig.receipt(&bind, "id:999 stat:DELIVRD").await;
            assert_eq!(rig.smsc.next("deliver_sm_resp").await["status"], 0);
        }
    };
    // Each would wait five seconds.
    tokio::time::timeout(Duration::from_secs(15), receipts).await.expect("one waits for all");
}

/// T7, T9: what people write comes in, in any alphabet; while it cannot be kept the SMSC is asked to come again.
#[tokio::test]
async fn t9_a_text_from_a_phone_comes_in() {
    let mut rig = Rig::start().await;
    let bind = rig.smsc.bind().await;
    let wrote = |coding: u8, text: &str| {
        json!({
            "source_addr_ton": 1, "source_addr": "821012345678", "destination_addr": "14155550100",
            "data_coding": coding, "short_message": text,
        })
    };
    for (coding, text) in [(0, "STOP @ once {€}"), (8, "고마워요 👋"), (3, "Grüße")] {
        rig.smsc.send(&bind, "deliver_sm", wrote(coding, text)).await;
        assert_eq!(rig.told().await, Told::Text(NUMBER.into(), text.into()));
        assert_eq!(rig.smsc.next("deliver_sm_resp").await["status"], 0);
    }
    rig.notes.deaf.store(true, Ordering::Relaxed);
    rig.smsc.send(&bind, "deliver_sm", wrote(0, "again")).await;
    assert_eq!(rig.smsc.next("deliver_sm_resp").await["status"], 0x64);
}

/// T9: a long text comes in parts, in any order, and is read as one: by the header before it, or by the SMSC's fields.
/// A part is answered when all of them are taken in.
#[tokio::test]
async fn t9_a_long_text_from_a_phone_is_one_text() {
    let mut rig = Rig::start().await;
    let bind = rig.smsc.bind().await;
    // A surrogate pair, torn between the two.
    let octets: Vec<u8> = "고마워요 👋".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let (first, second) = octets.split_at(octets.len() - 2);
    for (sequence, at, said) in [(8u8, 2, second), (9, 1, first)] {
        let head = b"\0\x01\x01821012345678\0\x01\x0114155550100\0\x40\0\0\0\0\0\0\x08\0";
        let text = [&[5, 0, 3, 77, 2, at], said].concat();
        let body = [&head[..], &[text.len() as u8], &text].concat();
        let length = (16 + body.len() as u32).to_be_bytes();
        rig.smsc.raw(&bind, &[&length[..], &[0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, sequence], &body].concat()).await;
    }
    assert_eq!(rig.told().await, Told::Text(NUMBER.into(), "고마워요 👋".into()));
    for _ in 0..2 {
        assert_eq!(rig.smsc.next("deliver_sm_resp").await["status"], 0);
    }
    for (at, said) in [(3, "stop"), (1, "I cannot "), (2, "and will not ")] {
        let part = json!({
            "source_addr_ton": 1, "source_addr": "821012345678", "destination_addr": "14155550100",
            "sar_msg_ref_num": 300, "sar_total_segments": 3, "sar_segment_seqnum": at, "short_message": said,
        });
        rig.smsc.send(&bind, "deliver_sm", part).await;
    }
    assert_eq!(rig.told().await, Told::Text(NUMBER.into(), "I cannot and will not stop".into()));
    for _ in 0..3 {
        assert_eq!(rig.smsc.next("deliver_sm_resp").await["status"], 0);
    }
}

/// A quiet line is tested; one that does not answer is given up, and a new one made.
#[tokio::test]
async fn a_dead_line_is_noticed_and_made_anew() {
    let mut rig = Rig::with(|config| SmppConfig { enquire_link_ms: 100, timeout_ms: 200, ..config }).await;
    rig.smsc.bind().await;
    rig.smsc.next("enquire_link").await;
    rig.smsc.next("enquire_link").await;
    rig.smsc.mute("enquire_link").await;
    rig.smsc.next("close").await;
    rig.smsc.bind().await;
}

/// Bytes that are no SMPP end the connection, not the server; the SMSC's goodbye is answered.
#[tokio::test]
async fn nonsense_and_goodbyes_end_one_connection_only() {
    let mut rig = Rig::start().await;
    let bind = rig.smsc.bind().await;
    rig.smsc.raw(&bind, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    rig.smsc.next("close").await;
    let bind = rig.smsc.bind().await;
    // A deliver_sm whose TLV is longer than itself, and a request that nobody knows.
    let head = |command: u32, body: &[u8]| {
        let mut bytes = (16 + body.len() as u32).to_be_bytes().to_vec();
        bytes.extend(command.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 9]);
        bytes.extend(body);
        bytes
    };
    let body =
        [&b"\0\x01\x01821012345678\0\x01\x0114155550100\0\0\0\0\0\0\0\0\0\0\x02Hi"[..], &[0, 0x1e, 0, 200, 1]].concat();
    rig.smsc.raw(&bind, &head(5, &body)).await;
    assert_eq!(rig.told().await, Told::Text(NUMBER.into(), "Hi".into()));
    rig.smsc.raw(&bind, &head(5, b"\0")).await;
    assert_eq!(rig.smsc.next("deliver_sm_resp").await["status"], 0, "of the first");
    assert_eq!(rig.smsc.next("deliver_sm_resp").await["status"], 0x65, "it will not read the next time, either");
    rig.smsc.send(&bind, "unbind", json!({})).await;
    rig.smsc.next("unbind_resp").await;
    rig.smsc.bind().await;
}

/// By TLS to the name in the certificate, and to nobody else.
#[tokio::test]
async fn tls_is_to_the_name_in_the_certificate() {
    let files = make_certificates();
    let of = |name: &str| files.path().join(name);
    let authority = of("ca.pem");
    let tls = |host: &str, ca_file: Option<&std::path::PathBuf>, config| SmppConfig {
        host: host.into(),
        tls: SmppTls::Required,
        ca_file: ca_file.cloned(),
        ..config
    };
    let smsc = Smsc::with_tls(&of("server.key"), &of("server.pem")).await;
    let port = smsc.port;
    let mut rig = Rig::on(smsc, |config| tls("localhost", Some(&authority), config));
    rig.smsc.bind().await;
    let sent = rig.send("Hi");
    rig.smsc.take("1").await;
    assert_eq!(sent.await.unwrap(), accepted("1"));
    for (host, ca_file) in [("localhost", None), ("127.0.0.1", Some(&authority))] {
        let smpp = Smpp::from_config(&tls(host, ca_file, config(port))).unwrap();
        let error = smpp.check().await.unwrap_err();
        assert!(error.fault == Fault::Refused && error.message.contains("certificate"), "{host}: {error}");
    }
}
