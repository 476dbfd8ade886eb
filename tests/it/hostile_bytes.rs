//! What no client sends, written to the socket of the real program byte by byte: framing that two servers would read
//! differently, heads without end, bodies that no parser likes. Each is met with one refusal or with silence.

use crate::hostile_support::{Company, World};
use axum::http::Method;
use serde_json::{Value, json};
use std::fmt::Write as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Everything that comes back until the server ends the connection.
async fn answers(world: &World, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.server.url.strip_prefix("http://").unwrap()).await.unwrap();
    // The server may refuse and close before it has read all.
    let _ = stream.write_all(bytes).await;
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard).await;
    String::from_utf8_lossy(&heard).into_owned()
}

/// The statuses of all answers in it.
fn statuses(heard: &str) -> Vec<u16> {
    let lines = heard.split("HTTP/1.1 ").skip(1);
    lines.filter_map(|line| line.get(..3)?.parse().ok()).collect()
}

/// A request that is hidden where a body ends or goes on, depending on who reads: it would erase the customer.
fn hidden(mine: &Company) -> String {
    let customer = mine.id("customer_id").unwrap();
    format!("DELETE /v1/customers/{customer} HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {}\r\n\r\n", mine.api_key)
}

/// The head of a request with a body, and further header lines.
fn post(mine: &Company, lines: &str) -> String {
    let key = &mine.api_key;
    format!(
        "POST /v1/reads HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n{lines}"
    )
}

/// Framing that is said twice, wrongly, or in a way that some read and some do not. Each has the hidden request behind.
fn framings(mine: &Company) -> Vec<(&'static str, String)> {
    let hidden = hidden(mine);
    let n = hidden.len();
    let with = |lines: String, body: &str| format!("{}{body}{hidden}", post(mine, &format!("{lines}\r\n")));
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        ("length and chunks", with(format!("Content-Length: {}\r\n{chunked}", n + 5), "0\r\n\r\n")),
        ("chunks and length", with(format!("{chunked}Content-Length: {}\r\n", n + 5), "0\r\n\r\n")),
        ("two lengths", with(format!("Content-Length: 2\r\nContent-Length: {}\r\n", n + 2), "{}")),
        ("two lengths in one", with(format!("Content-Length: 2, {}\r\n", n + 2), "{}")),
        ("a signed length", with("Content-Length: +2\r\n".into(), "{}")),
        ("a negative length", with("Content-Length: -2\r\n".into(), "{}")),
        ("a length in hexadecimal", with("Content-Length: 0x2\r\n".into(), "{}")),
        ("an empty length", with("Content-Length: \r\n".into(), "")),
        ("a length beyond all", with("Content-Length: 99999999999999999999999999\r\n".into(), "{}")),
        ("a space before the colon", with(format!("Content-Length : {n}\r\n"), "")),
        ("chunks before the colon", with("Transfer-Encoding : chunked\r\n".into(), "0\r\n\r\n")),
        ("unknown coding", with("Transfer-Encoding: xchunked\r\n".into(), "0\r\n\r\n")),
        ("chunked not last", with("Transfer-Encoding: chunked, identity\r\n".into(), "0\r\n\r\n")),
        ("a folded coding", with("Transfer-Encoding:\r\n chunked\r\n".into(), "0\r\n\r\n")),
        ("a folded length", with(format!("Content-Length:\r\n {n}\r\n"), "")),
        ("a quoted coding", with("Transfer-Encoding: \"chunked\"\r\n".into(), "0\r\n\r\n")),
        ("a vertical tab", with("Transfer-Encoding:\u{b}chunked\r\n".into(), "0\r\n\r\n")),
        ("a bare CR", with("X: a\rTransfer-Encoding: chunked\r\n".into(), "0\r\n\r\n")),
        ("a NUL", with("X: a\0b\r\n".into(), "")),
        ("a name with a NUL", with("X\0: a\r\n".into(), "")),
        ("a name with a space", with("X Y: a\r\n".into(), "")),
        ("no name", with(": a\r\n".into(), "")),
        ("no colon", with("XY\r\n".into(), "")),
        ("a chunk longer than numbers go", with(chunked.into(), "10000000000000002\r\n{}\r\n0\r\n\r\n")),
        ("a negative chunk", with(chunked.into(), "-2\r\n{}\r\n0\r\n\r\n")),
        ("a chunk that says 0x2", with(chunked.into(), "0x2\r\n{}\r\n0\r\n\r\n")),
        ("a chunk without end", with(chunked.into(), "2\r\n{}XX0\r\n\r\n")),
        ("an endless chunk extension", with(chunked.into(), &format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(40_000)))),
        ("endless trailers", with(chunked.into(), &format!("0\r\n{}\r\n", "X: y\r\n".repeat(10_000)))),
    ]
}

/// Heads that are no HTTP/1.1, or too much of it.
fn heads(mine: &Company) -> Vec<(&'static str, Vec<u8>)> {
    let many = (0..1_000).fold(String::new(), |mut all, i| {
        let _ = write!(all, "X-{i}: y\r\n");
        all
    });
    let text = |lines: &str| format!("{}\r\n", post(mine, lines)).into_bytes();
    vec![
        ("1,000 headers", text(&many)),
        ("a header of 64 KiB", text(&format!("X: {}\r\n", "y".repeat(65_536)))),
        ("a path of 64 KiB", format!("GET /{} HTTP/1.1\r\nHost: b\r\n\r\n", "y".repeat(65_535)).into_bytes()),
        ("HTTP/0.9", b"GET /healthz\r\n\r\n".to_vec()),
        ("HTTP/3.0", b"GET /healthz HTTP/3.0\r\nHost: b\r\n\r\n".to_vec()),
        ("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(40)),
        ("no method", b" / HTTP/1.1\r\nHost: b\r\n\r\n".to_vec()),
        ("a method without end", b"G".repeat(40_000)),
        ("a path that is none", b"GET healthz HTTP/1.1\r\nHost: b\r\n\r\n".to_vec()),
        ("a path with a NUL", b"GET /heal\0thz HTTP/1.1\r\nHost: b\r\n\r\n".to_vec()),
        ("nothing but line ends", b"\r\n".repeat(40_000)),
        ("bytes", (0..=255).cycle().take(50_000).collect()),
    ]
}

/// T15, T16, W4: no framing lets a second request hide in the first one's body, and no head is more than refused.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_hides_in_a_body() {
    // Who waits for more than was sent waits no longer than this.
    let timeouts = ["HEADER", "BODY", "IDLE"].map(|phase| format!("BACKSTOP__SERVER__{phase}_TIMEOUT_MS"));
    let world = World::start(&timeouts.each_ref().map(|name| (name.as_str(), "1000")));
    let mine = world.company("mine").await;
    // What hides would do its work, if it were read.
    let victim = world.company("victim").await;
    let heard = answers(&world, hidden(&victim).as_bytes()).await;
    assert_eq!(statuses(&heard), [204], "{heard}");
    for (what, bytes) in framings(&mine) {
        let heard = answers(&world, bytes.as_bytes()).await;
        let statuses = statuses(&heard);
        assert!(statuses.len() <= 1, "{what}: a second request was read: {heard}");
        assert!(statuses.iter().all(|s| (400..500).contains(s)), "{what}: {heard}");
    }
    for (what, bytes) in heads(&mine) {
        let heard = answers(&world, &bytes).await;
        let statuses = statuses(&heard);
        assert!(statuses.len() <= 1 && statuses.iter().all(|s| (400..500).contains(s)), "{what}: {heard}");
    }
    let path = format!("/v1/customers/{}", mine.id("customer_id").unwrap());
    world.ask(Method::GET, &path, &mine.bearer(), None).await.ok();
}

/// Bodies that a parser, a number, a string or a stack could stumble over; all are JSON or nearly.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let object = |inside: &str| format!("{{{inside}}}").into_bytes();
    let nested = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n)).into_bytes();
    let mut invalid = object(r#""message_id":"??""#);
    invalid[15] = 0xff;
    vec![
        ("lists in lists", nested("[", "]", 20_000)),
        ("objects in objects", nested(r#"{"message_id":"#, "}", 2_000)),
        (
            "objects in a field",
            object(&format!(r#""customer":{}"#, String::from_utf8(nested(r#"{"a":"#, "}", 900)).unwrap())),
        ),
        ("lists without end", b"[".repeat(60_000)),
        ("a number beyond all", object(r#""idle_ms":1e99999"#)),
        ("a number of 50,000 digits", object(&format!(r#""idle_ms":{}"#, "9".repeat(50_000)))),
        ("a fraction of 50,000 digits", object(&format!(r#""idle_ms":0.{}"#, "1".repeat(50_000)))),
        ("NaN", object(r#""idle_ms":NaN"#)),
        ("the same key twice", object(r#""message_id":"a","message_id":"b","customer_id":"c","customer_id":"d""#)),
        ("10,000 keys", object(&vec![r#""a":1"#; 10_000].join(","))),
        ("half a surrogate pair", object(r#""message_id":"\ud800","text":"\udc00\ud800""#)),
        ("a NUL", object(r#""message_id":"a\u0000b""#)),
        ("invalid UTF-8", invalid),
        ("UTF-16", object(r#""a":1"#).iter().flat_map(|b| [*b, 0]).collect()),
        ("a byte order mark", [&b"\xef\xbb\xbf"[..], &object("")].concat()),
        ("a string of 1 MB", object(&format!(r#""text":"{}""#, "x".repeat(1_000_000)))),
        ("a string of 9,000 escapes", object(&format!(r#""text":"{}""#, r"\u0061".repeat(9_000)))),
        ("a comment", b"/* */ {}".to_vec()),
        ("something after it", b"{} {}".to_vec()),
        ("only spaces", b" ".repeat(60_000)),
        ("__proto__", object(r#""__proto__":{"customer_id":"a"}"#)),
    ]
}

/// T15, T20, W4, invariant 7: 10,000 such bodies, at each operation that takes one: each is refused with its code, and
/// the process does not grow.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_bodies_are_refused_and_leave_nothing() {
    let world = World::start(&[]);
    let mine = world.company("mine").await;
    let document: Value = serde_json::from_str(&backstop_server::http::document_json()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(_, o)| !o["requestBody"].is_null()) {
            let path = path.replace("{customer_id}", "lucas").replace("{channel}", "push");
            let is_device = operation["tags"][0] == "device";
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            operations.push((method, path, if is_device { mine.device() } else { mine.bearer() }));
        }
    }
    assert!(operations.len() >= 9, "operations with a body were missed");
    // A connection each: who refuses a body by its length closes.
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let send = async |(method, path, headers): &(Method, String, Vec<(&'static str, String)>), body: &[u8]| {
        let mut request = client.request(method.clone(), format!("{}{path}", world.server.url));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        match request.header("content-type", "application/json").body(body.to_vec()).send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap()),
            // Refused by its length and closed, while the rest was still being written.
            Err(error) if body.len() > 256 * 1_024 => (413, format!("{error}")),
            Err(error) => panic!("{method} {path}: {error}"),
        }
    };
    let bodies = bodies();
    let mut sent = 0;
    let mut settled_kib = 0;
    while sent < 10_000 {
        for (operation, (what, body)) in operations.iter().flat_map(|o| bodies.iter().map(move |b| (o, b))) {
            let (status, text) = send(operation, body).await;
            sent += 1;
            let problem: Value = serde_json::from_str(&text).unwrap_or(json!({}));
            let code = problem["type"].as_str().unwrap_or("none").trim_start_matches("urn:backstop:problem:");
            let right = matches!((status, code), (400, "invalid_request") | (413, "payload_too_large" | "none"));
            // What reads is looked up: no template is there to be shown with it.
            let right = right || (status, code) == (404, "not_found") && operation.1.contains("{template_id}");
            assert!(right, "{} {}: {what}: {status} {text}", operation.0, operation.1);
            assert!(text.len() < 2_000, "{} {}: {what}: it is repeated: {text}", operation.0, operation.1);
        }
        // The first rounds fill what is kept at hand.
        settled_kib = if sent < 2_000 { world.server.memory_kib() } else { settled_kib };
    }
    let grown_kib = world.server.memory_kib().saturating_sub(settled_kib);
    println!(
        "{sent} hostile bodies: {settled_kib} KiB resident after the first rounds, {grown_kib} KiB more at the end"
    );
    assert!(grown_kib < 64 * 1024, "it grew by {grown_kib} KiB");
}
