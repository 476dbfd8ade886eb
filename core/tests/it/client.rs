//! Registration and acks through the client: what reaches the server, in which order, and what survives.

use std::sync::Arc;

use backstop_core::machine::Customer;
use backstop_core::{
    AckResult, Acked, Alerts, Config, Error, Failure, Grade, Handled, Home, PresenceState, Proof, PushClient,
    RegistrationStatus, Storage, TransportError,
};

use tokio::sync::Semaphore;

use crate::support::*;

fn hash(text: &str) -> Proof {
    Proof::Hash(text.to_owned())
}

fn confirmed(acked: Acked) -> AckResult {
    match acked {
        Acked::Confirmed(outcome) => outcome.result,
        Acked::Stored => panic!("not uploaded"),
    }
}

/// P7, P11, C2: a token and a customer reach the server; a push is acknowledged as displayed and shown.
#[tokio::test]
async fn p7_c2_a_push_is_acknowledged_and_shown() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = open(Home::Memory, &server, &clock);
    let flushed = client.set_token(token("t"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    assert_eq!(flushed.registration, RegistrationStatus::Confirmed { at_ms: NOW_MS });
    let flushed = client.identify("lucas", hash("h"), AMPLE_MS).await.expect("stored");
    assert_eq!((flushed.pending, flushed.last_failure), (0, None));
    assert_eq!(flushed.next_flush_in_ms, Some(7 * 24 * 3_600_000));
    assert_eq!(client.status().customer, Customer::Bound);

    let Handled::Ours { push, ack } = client.handle_push(&payload("r1"), AMPLE_MS).await.expect("stored") else {
        panic!("ours");
    };
    assert_eq!((push.title.as_str(), confirmed(ack)), ("Ann", AckResult::Accepted));
    assert_eq!(server.acks(), ["r1 displayed"]);
    let inner = server.lock();
    assert_eq!(inner.customers["dev_1"].as_deref(), Some("lucas"));
    // The second registration proves itself with the key of the first.
    assert_eq!(inner.registrations[1].1.as_deref(), Some("Backstop-Device dev_1.key.1"));
}

/// P7: what the customer cannot see is `suppressed`, with the reason.
#[tokio::test]
async fn p7_a_push_that_cannot_be_seen_is_suppressed() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = registered(&server, &clock).await;
    for (alerts, expected) in [
        (Alerts::Denied, "r1 suppressed"),
        (Alerts::NotAsked, "r2 suppressed"),
        (Alerts::Quiet, "r3 displayed"),
        (Alerts::Allowed, "r4 displayed"),
    ] {
        client.set_alerts(alerts, AMPLE_MS).await.expect("stored");
        client.handle_push(&payload(&expected[..2]), AMPLE_MS).await.expect("stored");
        assert_eq!(server.acks().last().map(String::as_str), Some(expected));
    }
    assert_eq!(client.handle_push(r#"{"aps":{}}"#, AMPLE_MS).await, Ok(Handled::NotOurs));
}

/// P14: a tap is acknowledged as opened, and its link is handed out once, also after a cold start.
#[tokio::test]
async fn p14_a_tap_hands_out_its_link_once() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let directory = tempfile::tempdir().expect("a directory");
    let home = Home::Directory(directory.path().to_owned());
    let client = open(home.clone(), &server, &clock);
    client.set_token(token("t"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    drop(client);
    let client = open(home.clone(), &server, &clock);
    let tapped = client.handle_tap(&payload("r1"), &["https"], AMPLE_MS).await.expect("stored").expect("ours");
    assert_eq!(tapped.link.as_deref(), Some("https://x.example/1"));
    drop(client);
    let client = open(home, &server, &clock);
    let again = client.handle_tap(&payload("r1"), &["https"], AMPLE_MS).await.expect("stored").expect("ours");
    assert_eq!(again.link, None);
    assert_eq!(server.acks(), ["r1 opened"]);
    let other = client.handle_tap(&payload("r2"), &["acme"], AMPLE_MS).await.expect("stored").expect("ours");
    assert_eq!(other.link, None);
    assert_eq!(client.handle_tap("{}", &["https"], 0).await, Ok(None));
}

/// C4: recorded without a network, uploaded after a restart, in order and once.
#[tokio::test]
async fn c4_offline_acks_survive_a_restart_and_arrive_in_order_once() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let directory = tempfile::tempdir().expect("a directory");
    let home = Home::Directory(directory.path().to_owned());
    let client = open(home.clone(), &server, &clock);
    client.set_token(token("t"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    server.always(Some(Instead::Offline));
    for n in 0..250 {
        let acked = client.acknowledge(&format!("r{n}"), Grade::Displayed, None, 0).await;
        assert_eq!(acked, Ok(Acked::Stored));
    }
    assert_eq!(client.acknowledge("r0", Grade::Displayed, None, 0).await, Ok(Acked::Stored));
    assert_eq!(client.acknowledge("r0", Grade::Opened, None, 0).await, Ok(Acked::Stored));
    drop(client);

    server.always(None);
    let client = open(home.clone(), &server, &clock);
    assert_eq!((client.status().pending, client.status().storage), (251, Storage::Opened));
    let flushed = client.flush(AMPLE_MS).await.expect("flushed");
    assert_eq!((flushed.uploaded, flushed.pending), (251, 0));
    let mut expected: Vec<String> = (0..250).map(|n| format!("r{n} displayed")).collect();
    expected.push("r0 opened".to_owned());
    assert_eq!(server.acks(), expected);
    assert_eq!(server.lock().batches, [100, 100, 51]);
    drop(client);
    assert_eq!(open(home, &server, &clock).status().pending, 0);
}

/// C4: 429, 5xx, time-outs and lost answers are never final; `Retry-After` is honoured even by a flush.
#[tokio::test]
async fn c4_nothing_final_follows_from_a_troubled_server() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let unavailable = |status| Instead::Answer(status, None, String::new());
    let troubles = [unavailable(500), unavailable(503), unavailable(408), unavailable(425), Instead::LoseAnswer];
    for (n, trouble) in troubles.into_iter().enumerate() {
        let client = registered(&server, &clock).await;
        server.next(trouble.clone());
        client.acknowledge(&format!("r{n}"), Grade::Displayed, None, AMPLE_MS).await.expect("stored");
        clock.advance(500);
        assert_eq!(client.flush(AMPLE_MS).await.expect("flushed").pending, 0, "{trouble:?}");
    }
    let done = ["r0 displayed", "r1 displayed", "r2 displayed", "r3 displayed", "r4 displayed"];
    assert_eq!(server.acks(), done, "every one, once");
    let client = registered(&server, &clock).await;
    assert_eq!(client.acknowledge("last", Grade::Displayed, None, 0).await, Ok(Acked::Stored));
    server.next(Instead::Answer(429, Some(60_000), String::new()));
    let flushed = client.flush(AMPLE_MS).await.expect("flushed");
    assert_eq!((flushed.pending, flushed.next_flush_in_ms), (1, Some(60_000)));
    assert_eq!(flushed.last_failure, Some(Failure::Status { status: 429, code: None }));
    let before = server.log().len();
    clock.advance(59_999);
    client.flush(AMPLE_MS).await.expect("flushed");
    assert_eq!(server.log().len(), before, "nothing overrides the server's word");
    clock.advance(1);
    assert_eq!(client.flush(AMPLE_MS).await.expect("flushed").pending, 0);
    assert_eq!(server.acks().last().map(String::as_str), Some("last displayed"));
}

/// C4: a refused key is not final: the acks are kept, the device registers again, then they go.
#[tokio::test]
async fn c4_a_refused_key_leads_to_a_new_registration_and_then_the_ack() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = registered(&server, &clock).await;
    client.identify("lucas", hash("h"), AMPLE_MS).await.expect("stored");
    server.lock().revoked.push("key.1".to_owned());
    let acked = client.acknowledge("r", Grade::Displayed, None, AMPLE_MS).await.expect("stored");
    assert_eq!(confirmed(acked), AckResult::Accepted);
    let log = server.log();
    assert_eq!(log[log.len() - 3..], ["POST /v1/acks", "POST /v1/devices", "POST /v1/acks"]);
}

/// C4: one unreadable ack never takes good ones with it.
#[tokio::test]
async fn c4_a_bad_ack_is_found_without_losing_good_ones() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = registered(&server, &clock).await;
    server.lock().poison.extend(["r13".to_owned(), "r77".to_owned()]);
    server.always(Some(Instead::Offline));
    for n in 0..120 {
        client.acknowledge(&format!("r{n}"), Grade::Displayed, None, 0).await.expect("stored");
    }
    server.always(None);
    let flushed = client.flush(AMPLE_MS).await.expect("flushed");
    assert_eq!(flushed.pending, 0);
    let expected: Vec<String> = (0..120).filter(|n| ![13, 77].contains(n)).map(|n| format!("r{n} displayed")).collect();
    assert_eq!(server.acks(), expected);
    assert!(server.lock().batches.len() < 40, "{:?}", server.lock().batches);
    let acked = client.acknowledge("r13", Grade::Displayed, None, AMPLE_MS).await.expect("stored");
    assert_eq!(confirmed(acked), AckResult::Refused);
}

/// A call returns within its budget whatever the server does, and an abandoned request blocks nobody.
#[tokio::test]
async fn a_budget_holds_and_a_dropped_call_loses_nothing() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = registered(&server, &clock).await;
    server.next(Instead::Hang);
    assert_eq!(client.acknowledge("r1", Grade::Displayed, None, 500).await, Ok(Acked::Stored));
    assert_eq!(client.status().last_failure, Some(Failure::Transport(TransportError::Timeout)));

    server.next(Instead::Hang);
    let dropped = tokio::time::timeout(
        std::time::Duration::from_millis(10),
        client.acknowledge("r2", Grade::Displayed, None, AMPLE_MS),
    );
    assert!(dropped.await.is_err());
    assert_eq!(client.flush(AMPLE_MS).await.expect("flushed").uploaded, 2);
    assert_eq!(server.acks(), ["r1 displayed", "r2 displayed"]);
}

/// C4: a hundred callers at once, one request at a time, each with its own answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c4_concurrent_callers_share_uploads() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = registered(&server, &clock).await;
    let calls: Vec<_> = (0..200)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.acknowledge(&format!("r{n}"), Grade::Displayed, None, AMPLE_MS).await })
        })
        .collect();
    for call in calls {
        assert_eq!(confirmed(call.await.expect("no panic").expect("stored")), AckResult::Accepted);
    }
    assert_eq!(server.acks().len(), 200);
    assert_eq!(client.status().pending, 0);
}

/// C4: who waits for another caller's request goes on when it ends, answered or given up; not when time is up.
#[tokio::test]
async fn c4_waiting_callers_go_on_when_the_request_in_flight_ends() {
    const HOURS_MS: u64 = 36_000_000;
    let gate = Arc::new(Semaphore::new(1));
    let server = Server { gate: Some(gate.clone()), ..Server::default() };
    let client = registered(&server, &TestClock::at(NOW_MS)).await;
    let opened = async {
        tokio::task::yield_now().await;
        gate.add_permits(2);
    };
    let both = async {
        tokio::join!(
            client.acknowledge("r1", Grade::Displayed, None, HOURS_MS),
            client.acknowledge("r2", Grade::Displayed, None, HOURS_MS),
            opened
        )
    };
    let (first, second, ()) = within_seconds(both).await;
    assert_eq!([first, second].map(|acked| confirmed(acked.expect("stored"))), [AckResult::Accepted; 2]);

    let given_up = async {
        let short = std::time::Duration::from_millis(20);
        let call = client.acknowledge("r3", Grade::Displayed, None, HOURS_MS);
        assert!(tokio::time::timeout(short, call).await.is_err());
        gate.add_permits(1);
    };
    let both = async { tokio::join!(given_up, client.acknowledge("r4", Grade::Displayed, None, HOURS_MS)) };
    let ((), fourth) = within_seconds(both).await;
    assert_eq!(confirmed(fourth.expect("stored")), AckResult::Accepted);
    assert_eq!(server.lock().batches, [1, 1, 2]);
}

async fn within_seconds<T>(calls: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(10), calls).await.expect("nobody waits for its budget")
}

/// C2: a log-out is durable, reaches the server before anyone else is logged in, and leaves acks valid.
#[tokio::test]
async fn c2_a_log_out_without_a_network_is_made_up_for() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let directory = tempfile::tempdir().expect("a directory");
    let home = Home::Directory(directory.path().to_owned());
    let client = open(home.clone(), &server, &clock);
    client.set_token(token("t"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    client.identify("ann", hash("a"), AMPLE_MS).await.expect("stored");
    server.always(Some(Instead::Offline));
    client.acknowledge("r", Grade::Displayed, None, 0).await.expect("stored");
    let flushed = client.log_out(0).await.expect("stored");
    assert_eq!(flushed.registration, RegistrationStatus::Pending);
    drop(client);

    server.always(None);
    server.lock().proofs.push("a".to_owned());
    let client = open(home, &server, &clock);
    let flushed = client.identify("bob", hash("forged"), AMPLE_MS).await.expect("stored");
    assert_eq!(flushed.registration, RegistrationStatus::Refused { code: "identity_required".to_owned() });
    assert_eq!(server.acks(), ["r displayed"], "acks stay valid");
    assert_eq!(server.lock().customers["dev_1"], None, "the former customer is gone although the new one is refused");
    server.lock().proofs.push("b".to_owned());
    client.identify("bob", hash("b"), AMPLE_MS).await.expect("stored");
    assert_eq!(server.lock().customers["dev_1"].as_deref(), Some("bob"));
    client.log_out(AMPLE_MS).await.expect("stored");
    assert_eq!(client.status().customer, Customer::Nobody);
    assert_eq!(server.lock().customers["dev_1"], None);
}

/// C2: one customer follows another without a log-out in between: refused or not, the former one is gone.
#[tokio::test]
async fn c2_the_former_customer_is_logged_out_before_the_next_is_in() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = registered(&server, &clock).await;
    server.lock().proofs.extend(["a".to_owned(), "a-renewed".to_owned()]);
    client.identify("ann", hash("a"), AMPLE_MS).await.expect("stored");
    client.identify("ann", hash("a-renewed"), AMPLE_MS).await.expect("stored");
    assert_eq!(server.log().len(), 2, "a renewed proof of a bound customer costs nothing");
    let flushed = client.identify("bob", hash("forged"), AMPLE_MS).await.expect("stored");
    assert_eq!(flushed.registration, RegistrationStatus::Refused { code: "identity_required".to_owned() });
    assert_eq!(server.lock().customers["dev_1"], None);
    server.lock().proofs.push("b".to_owned());
    client.identify("bob", hash("b"), AMPLE_MS).await.expect("stored");
    assert_eq!(server.lock().customers["dev_1"].as_deref(), Some("bob"));
    let log = server.log();
    let log_outs = log.iter().filter(|line| line.starts_with("DELETE")).count();
    assert_eq!((log_outs, client.status().customer), (1, Customer::Bound));
}

/// C1, C3: a token changes after the customer's JWT expired: the device's key keeps the binding.
#[tokio::test]
async fn c1_a_stale_proof_does_not_stop_a_token_refresh() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = registered(&server, &clock).await;
    client.identify("ann", Proof::Token("jwt".to_owned()), AMPLE_MS).await.expect("stored");
    server.lock().proofs.push("only a fresh one".to_owned());
    let flushed = client.set_token(token("token-2"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    assert_eq!(flushed.registration, RegistrationStatus::Confirmed { at_ms: NOW_MS });
    let (last, _) = server.lock().registrations.last().cloned().expect("registered");
    assert_eq!((last.token.as_str(), last.customer_id), ("token-2", None));
    assert_eq!(client.status().customer, Customer::BoundByKey);
    let flushed = client.identify("ann", Proof::Token("only a fresh one".to_owned()), AMPLE_MS).await.expect("stored");
    assert_eq!(flushed.last_failure, None);
    assert_eq!(client.status().customer, Customer::Bound);
}

/// C4: the answer to the very first registration is lost, and with it the key: the device starts over.
#[tokio::test]
async fn c4_a_lost_first_answer_does_not_lock_the_device_out() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = open(Home::Memory, &server, &clock);
    let first = client.status().install_id;
    server.next(Instead::LoseAnswer);
    client.set_token(token("t"), Alerts::Allowed, 0).await.expect("stored");
    assert!(client.device().is_none());
    client.flush(AMPLE_MS).await.expect("flushed");
    let flushed = client.flush(AMPLE_MS).await.expect("flushed");
    assert_eq!(flushed.registration, RegistrationStatus::Confirmed { at_ms: NOW_MS });
    assert_ne!(client.status().install_id, first);
}

/// C3: a confirmed registration costs nothing for 7 days and is then confirmed again.
#[tokio::test]
async fn c3_a_registration_is_confirmed_again_after_seven_days() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = registered(&server, &clock).await;
    clock.advance(7 * 24 * 3_600_000 - 1);
    client.flush(AMPLE_MS).await.expect("flushed");
    client.set_token(token("token-1"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    assert_eq!(server.log().len(), 1);
    clock.advance(1);
    client.flush(AMPLE_MS).await.expect("flushed");
    assert_eq!(server.log().len(), 2);
}

/// D4: presence is best effort, under the device's own key, and never queued.
#[tokio::test]
async fn d4_presence_is_sent_or_forgotten() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = open(Home::Memory, &server, &clock);
    assert_eq!(client.presence(PresenceState::Active, Some(0), AMPLE_MS).await, Err(Error::NotRegistered));
    client.set_token(token("t"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
    assert_eq!(client.presence(PresenceState::Active, Some(0), AMPLE_MS).await, Ok(()));
    server.next(Instead::Offline);
    let offline = client.presence(PresenceState::Left, None, AMPLE_MS).await;
    assert_eq!(offline, Err(Error::Transport(TransportError::Connect)));
    server.next(problem(429, "rate_limited"));
    let refused = client.presence(PresenceState::Left, None, AMPLE_MS).await;
    assert_eq!(refused, Err(Error::Refused { status: 429, code: "rate_limited".to_owned() }));
    assert_eq!(client.flush(AMPLE_MS).await.expect("flushed").pending, 0);
    assert_eq!(server.log().iter().filter(|line| line.ends_with("/presence")).count(), 3);
}

/// Bad arguments are named and leave no trace.
#[tokio::test]
async fn bad_arguments_are_refused_before_anything_is_stored() {
    let (server, clock) = (Server::default(), TestClock::at(NOW_MS));
    let client = registered(&server, &clock).await;
    let named = |result: Result<_, Error>| match result {
        Err(Error::InvalidArgument { name, .. }) => name,
        _ => panic!("taken"),
    };
    let long = "x".repeat(1_000_000);
    for receipt in ["", "a b", "nul\0", "é", long.as_str()] {
        assert_eq!(named(client.acknowledge(receipt, Grade::Displayed, None, 0).await), "receipt");
    }
    assert_eq!(named(client.acknowledge("r", Grade::Unknown, None, 0).await), "grade");
    for id in ["", "a\0", long.as_str(), "x".repeat(129).as_str()] {
        assert_eq!(named(client.identify(id, hash("h"), 0).await.map(|_| Acked::Stored)), "customer_id");
    }
    assert_eq!(named(client.identify("ann", hash(""), 0).await.map(|_| Acked::Stored)), "proof");
    let tokens = [token(""), token(&long)];
    for token in tokens {
        assert_eq!(named(client.set_token(token, Alerts::Allowed, 0).await.map(|_| Acked::Stored)), "token");
    }
    assert_eq!(client.status().pending, 0);
    assert_eq!(server.log().len(), 1);
}

/// Every future can move between threads: a host's executor may be any.
#[test]
fn the_client_and_its_calls_are_send() {
    fn is_send<T: Send>(_: &T) {}
    let client = open(Home::Memory, &Server::default(), &TestClock::at(NOW_MS));
    is_send(&client);
    is_send(&client.flush(0));
    is_send(&client.handle_push("", 0));
    is_send(&client.identify("a", hash("b"), 0));
    is_send(&client.presence(PresenceState::Left, None, 0));
}

/// A language from the phone's settings is told, and an odd one never stands in the way.
#[tokio::test]
async fn an_odd_language_is_left_out() {
    for (locale, told) in [
        (Some("ko"), Some("ko")),
        (Some("zh-Hans-CN"), Some("zh-Hans-CN")),
        (Some("pt_BR"), Some("pt_BR")),
        (None, None),
        (Some(""), None),
        (Some("en\u{0}"), None),
        (Some("en-u-ca-gregory-cu-usd-hc-h23-nu-latn-rg-uszzzz-sd-uszzzz-tz-usnyc-x-longer"), None),
    ] {
        let server = Server::default();
        let config = Config { locale: locale.map(str::to_owned), ..config(Home::Memory) };
        let client = PushClient::open_with(config, Arc::new(server.clone()), Arc::new(TestClock::at(NOW_MS)));
        client.expect("opens").set_token(token("t"), Alerts::Allowed, AMPLE_MS).await.expect("stored");
        assert_eq!(server.lock().registrations[0].0.locale.as_deref(), told, "{locale:?}");
    }
}

/// P7: an ack is worth more than its reason: a bad one is left out.
#[tokio::test]
async fn p7_a_bad_reason_costs_no_ack() {
    let server = Server::default();
    let client = registered(&server, &TestClock::at(NOW_MS)).await;
    for (n, detail) in ["", "two words", "Ann's phone", "x".repeat(65).as_str()].into_iter().enumerate() {
        let acked = client.acknowledge(&format!("r-{n}"), Grade::Suppressed, Some(detail), AMPLE_MS).await;
        assert_eq!(confirmed(acked.expect("kept")), AckResult::Accepted, "{detail}");
    }
    assert_eq!(server.acks().len(), 4);
}
