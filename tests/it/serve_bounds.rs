//! What a caller can hold of the accept loop, and how it ends.

use axum::Router;
use axum::routing::get;
use backstop_server::serve::{Bounds, Door, allow_open_files, serve};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<bool>,
}

impl Running {
    async fn start(router: Router, bounds: Bounds) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let door = Door { listener, front: router.into(), tls: None };
        let ended = tokio::spawn(serve(door, bounds, shutdown));
        Running { address, stop, ended }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

fn bounds() -> Bounds {
    Bounds {
        max_connections: 2_000,
        header_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_secs(60),
        drain: Duration::from_secs(10),
    }
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

async fn ask(stream: &mut TcpStream) -> io::Result<String> {
    stream.write_all(ASK).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut buf = [0; 1024];
        match stream.read(&mut buf).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => answer.extend_from_slice(&buf[..n]),
        }
    }
    Ok(String::from_utf8(answer).unwrap())
}

/// Ends when the server has closed the connection.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

/// A byte now and then keeps no connection open past the header time-out, a thousand times at once, and whoever asks
/// properly is served meanwhile. Invariant 7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_that_send_a_byte_now_and_then_hold_nothing() {
    allow_open_files(4_000).unwrap();
    let running = Running::start(hello(), Bounds { header_timeout: Duration::from_secs(2), ..bounds() }).await;
    let mut slow = Vec::new();
    for _ in 0..1_000 {
        slow.push(running.connect().await);
    }
    let mut proper = running.connect().await;
    #[expect(clippy::disallowed_methods, reason = "a slow caller is made of waiting")]
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut served = 0;
    let mut sent = 0;
    while !slow.is_empty() {
        ticks.tick().await;
        let byte = &ASK[sent % 20..=sent % 20];
        sent += 1;
        slow.retain(|stream| {
            let mut seen = [0];
            let open = matches!(stream.try_read(&mut seen), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            open && stream.try_write(byte).is_ok()
        });
        assert!(ask(&mut proper).await.unwrap().starts_with("HTTP/1.1 200 OK"));
        served += 1;
        assert!(sent < 600, "{} connections are still held after a minute", slow.len());
    }
    assert!(served >= 15, "the slow ones were closed after {served} rounds: sooner than the time-out");
}

/// What is no HTTP is told so, before the connection is closed.
#[tokio::test]
async fn what_is_no_http_is_answered() {
    let running = Running::start(hello(), bounds()).await;
    for head in ["no colon\r\n\r\nmore", "GET / HTTP/1.1\r\nX Y: a\r\n\r\nmore", "GET / HTTP/1.1\r\n: a\r\n\r\n"] {
        let mut caller = running.connect().await;
        caller.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = caller.read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer:?}");
    }
}

/// Idling between requests is fine for longer than headers may take.
#[tokio::test]
async fn an_idle_connection_outlives_the_header_timeout() {
    let running = Running::start(hello(), bounds()).await;
    let mut idle = running.connect().await;
    ask(&mut idle).await.unwrap();
    // Lasts as long as the header time-out.
    let mut slow = running.connect().await;
    slow.write_all(b"GET").await.unwrap();
    closed(&mut slow).await;
    ask(&mut idle).await.unwrap();
    // The second request of a connection has a time-out for its headers too.
    idle.write_all(b"GET").await.unwrap();
    closed(&mut idle).await;
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let running = Running::start(hello(), Bounds { idle_timeout: Duration::from_millis(200), ..bounds() }).await;
    let mut idle = running.connect().await;
    ask(&mut idle).await.unwrap();
    closed(&mut idle).await;
}

#[tokio::test]
async fn more_callers_than_there_is_room_for_wait() {
    let running = Running::start(hello(), Bounds { max_connections: 1, ..bounds() }).await;
    let mut first = running.connect().await;
    ask(&mut first).await.unwrap();
    let mut second = running.connect().await;
    second.write_all(ASK).await.unwrap();
    ask(&mut first).await.unwrap();
    let mut nothing = [0];
    let waits = second.try_read(&mut nothing).unwrap_err();
    assert_eq!(waits.kind(), io::ErrorKind::WouldBlock);
    drop(first);
    assert_eq!(second.read(&mut nothing).await.unwrap(), 1);
}

/// I15: what is under way ends, what idles is closed, nobody new comes in.
#[tokio::test]
async fn a_drain_lets_requests_under_way_end() {
    let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (asked, go_on) = (asked.clone(), go_on.clone());
        async move || {
            asked.notify_one();
            go_on.notified().await;
            "hello"
        }
    };
    let running = Running::start(hello().route("/slow", get(handler)), bounds()).await;
    let mut idle = running.connect().await;
    ask(&mut idle).await.unwrap();
    let mut busy = running.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    asked.notified().await;
    running.stop.send(()).unwrap();
    closed(&mut idle).await;
    let refused = TcpStream::connect(running.address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    go_on.notify_one();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"), "{answer}");
    assert!(running.ended.await.unwrap());
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let asked = Arc::new(Notify::new());
    let handler = {
        let asked = asked.clone();
        async move || {
            asked.notify_one();
            std::future::pending::<()>().await;
        }
    };
    let bounds = Bounds { drain: Duration::from_millis(50), ..bounds() };
    let running = Running::start(Router::new().route("/", get(handler)), bounds).await;
    let mut stuck = running.connect().await;
    stuck.write_all(ASK).await.unwrap();
    asked.notified().await;
    running.stop.send(()).unwrap();
    assert!(!running.ended.await.unwrap());
    closed(&mut stuck).await;
}

#[tokio::test]
async fn a_panic_ends_one_connection() {
    let router = hello().route(
        "/panic",
        get(async || {
            if true {
                panic!("on purpose")
            }
        }),
    );
    let running = Running::start(router, Bounds { max_connections: 2, ..bounds() }).await;
    for _ in 0..3 {
        let mut struck = running.connect().await;
        struck.write_all(b"GET /panic HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        closed(&mut struck).await;
    }
    let mut other = running.connect().await;
    ask(&mut other).await.unwrap();
}
