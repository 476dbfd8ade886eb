//! The accept loop: HTTP/1.1 whose time-outs work, bounded connections, and a drain that ends.
//!
//! A connection is always waiting for one thing, `Waiting`, and each kind of waiting on the caller has an end.
//! hyper's own header time-out also runs between two requests, so it cannot tell a caller that idles (fine for a
//! minute) from one that sends a byte a second (never fine). Bodies are bounded by the router, where they are read.

use crate::failpoint::{Point, hit};
use crate::http::Front;
use crate::telemetry::{HTTP_CONNECTIONS, HTTP_TIMEOUTS, TLS_FAILURES};
use crate::tls::Tls;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A request's line and headers; also what is buffered of a body that nobody reads yet.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// How long to rest when the system has no more files or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds on what a caller can hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Open connections; more wait to be accepted.
    pub max_connections: usize,
    /// From a request's first byte to the end of its headers.
    pub header_timeout: Duration,
    /// Between two requests, and for taking an answer.
    pub idle_timeout: Duration,
    /// For requests under way when the server stops.
    pub drain: Duration,
}

/// One address, and what is behind it.
pub struct Door {
    /// Where it listens.
    pub listener: TcpListener,
    /// What answers there.
    pub front: Front,
    /// `None` = plain HTTP.
    pub tls: Option<Arc<Tls>>,
}

/// What the connections are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Go on.
    Run,
    /// End after the request under way.
    Drain,
    /// End now.
    Close,
}

/// Serves all doors until `shutdown`, each with bounds of its own: whether all of them drained in time.
pub async fn serve_all(doors: Vec<Door>, bounds: Bounds, shutdown: impl Future<Output = ()>) -> bool {
    let (stop, stopped) = watch::channel(false);
    // Aborted if this is dropped.
    let mut serving = JoinSet::new();
    for door in doors {
        let mut stopped = stopped.clone();
        serving.spawn(serve(door, bounds, async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        }));
    }
    shutdown.await;
    stop.send_replace(true);
    let mut drained = true;
    while let Some(ended) = serving.join_next().await {
        drained &= ended.unwrap_or(false);
    }
    drained
}

/// Serves one door until `shutdown`, then lets requests under way end, as long as [`Bounds::drain`] says: answers
/// whether all did.
pub async fn serve(door: Door, bounds: Bounds, shutdown: impl Future<Output = ()>) -> bool {
    let Door { listener, front, tls } = door;
    let tls = tls.map(|tls| tls.acceptor());
    let slots = Arc::new(Semaphore::new(bounds.max_connections));
    let (orders, _) = watch::channel(Order::Run);
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let (stream, caller, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of files, or the caller has gone already: what is open goes on.
                tracing::warn!(%error, "a connection could not be accepted");
                pause(ACCEPT_PAUSE).await;
                continue;
            }
        };
        hit(Point::ServeAccepted);
        let (front, tls) = (front.clone(), tls.clone());
        let orders = orders.subscribe();
        // A panic ends this task alone; its slot comes back.
        tokio::spawn(async move {
            let _slot = slot;
            let _open = Open::count();
            if let Some(wire) = greet(stream, tls, bounds.header_timeout).await {
                Connection::new(wire, caller, front, bounds).run(orders).await;
            }
        });
    }
    drop(listener);
    hit(Point::DrainBegins);
    orders.send_replace(Order::Drain);
    let all = u32::try_from(bounds.max_connections).unwrap_or(u32::MAX);
    let drained = tokio::time::timeout(bounds.drain, slots.acquire_many(all)).await.is_ok();
    if !drained {
        tracing::warn!("requests were still under way at the end of the drain: closing their connections");
        orders.send_replace(Order::Close);
    }
    drained
}

/// Raises the process's limit of open files to `needed`, if it is lower; `Err` says what it stands at.
pub fn allow_open_files(needed: u64) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(limit.maximum.map_or(needed, |most| most.min(needed))), ..limit };
    let stands_at = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => limit.current,
    };
    match stands_at {
        Some(files) if files < needed => {
            Err(format!("the limit of open files is {files}, {needed} are needed: raise it (ulimit -n, LimitNOFILE=)"))
        }
        _ => Ok(()),
    }
}

/// The next caller, once there is room for one.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, caller) = listener.accept().await?;
    // Answers are small and complete: waiting to fill a packet only delays them.
    stream.set_nodelay(true)?;
    Ok((stream, caller, slot))
}

/// The handshake, which has as long as a request's head; `None` = there is nobody to talk to.
async fn greet(stream: TcpStream, tls: Option<TlsAcceptor>, within: Duration) -> Option<Wire> {
    let Some(tls) = tls else { return Some(Wire::Plain(stream)) };
    match tokio::time::timeout(within, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(Wire::Tls(Box::new(stream))),
        // Plain HTTP, a scanner, a caller that does not trust the certificate: nothing to answer by.
        Ok(Err(_)) => {
            metrics::counter!(TLS_FAILURES).increment(1);
            None
        }
        Err(_) => {
            metrics::counter!(HTTP_TIMEOUTS, "phase" => "handshake").increment(1);
            None
        }
    }
}

/// What bytes come and go by.
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One caller's connection.
struct Connection {
    http: http1::Connection<Watched, Handler>,
    waiting: Arc<Waits>,
}

impl Connection {
    fn new(wire: Wire, caller: SocketAddr, front: Front, bounds: Bounds) -> Connection {
        let waiting = Arc::new(Waits::new(bounds));
        let io = Watched { inner: TokioIo::new(wire), waiting: waiting.clone() };
        let handler = Handler { front, caller, waiting: waiting.clone() };
        let http =
            http1::Builder::new().header_read_timeout(None).max_buf_size(MAX_HEAD_BYTES).serve_connection(io, handler);
        Connection { http, waiting }
    }

    async fn run(self, mut orders: watch::Receiver<Order>) {
        let mut http = pin!(self.http);
        let mut patience = pin!(self.waiting.end());
        let mut draining = false;
        loop {
            tokio::select! {
                // In this order: what the connection does in a poll, its patience must see in the same one.
                biased;
                // An error is the caller's: it went away, or did not speak HTTP.
                _ = &mut http => return,
                () = &mut patience => return,
                Ok(()) = orders.changed() => {}
            }
            match *orders.borrow_and_update() {
                Order::Run => {}
                Order::Drain if draining => {}
                Order::Drain => {
                    draining = true;
                    http.as_mut().graceful_shutdown();
                }
                Order::Close => return,
            }
        }
    }
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// For the first byte of a request, or for the caller to take the last answer.
    Request { until: Instant },
    /// For the rest of the headers.
    Head { until: Instant },
    /// For the router.
    Answer,
}

/// What one connection waits for, shared by its socket, its handler and its timer; all three run in one task.
struct Waits {
    now: Mutex<Waiting>,
    bounds: Bounds,
}

impl Waits {
    fn new(bounds: Bounds) -> Waits {
        // A caller that connects has something to say: its first request has no idle time.
        Waits { now: Mutex::new(Waiting::Head { until: later(bounds.header_timeout) }), bounds }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes came in.
    fn heard(&self) {
        let mut now = self.lock();
        if matches!(*now, Waiting::Request { .. }) {
            *now = Waiting::Head { until: later(self.bounds.header_timeout) };
        }
    }

    /// The headers are complete.
    fn asked(&self) {
        *self.lock() = Waiting::Answer;
    }

    /// The answer is there to be taken.
    fn answered(&self) {
        *self.lock() = Waiting::Request { until: later(self.bounds.idle_timeout) };
    }

    /// Ends when the caller has made us wait too long.
    #[expect(
        clippy::disallowed_methods,
        reason = "time-outs of sockets run on the runtime's clock, which no rule sees"
    )]
    fn end(self: Arc<Waits>) -> Patience {
        let sleep = Box::pin(tokio::time::sleep_until(later(self.bounds.header_timeout)));
        Patience { waits: self, sleep }
    }
}

/// Ends when [`Waiting`] has gone on for too long. Polled with its connection, in one task; its timer is only moved
/// when it would ring too late, so a busy connection never touches it.
struct Patience {
    waits: Arc<Waits>,
    sleep: Pin<Box<Sleep>>,
}

impl Future for Patience {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let waiting = *self.waits.lock();
            let (until, phase) = match waiting {
                Waiting::Request { until } => (until, "idle"),
                Waiting::Head { until } => (until, "head"),
                // Whatever ends it polls us again.
                Waiting::Answer => return Poll::Pending,
            };
            if self.sleep.deadline() > until {
                self.sleep.as_mut().reset(until);
            }
            ready!(self.sleep.as_mut().poll(cx));
            if passed(until) {
                metrics::counter!(HTTP_TIMEOUTS, "phase" => phase).increment(1);
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(until);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Wire::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }
}

/// A socket that notes when bytes come in.
struct Watched {
    inner: TokioIo<Wire>,
    waiting: Arc<Waits>,
}

impl Read for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        self.waiting.heard();
        Poll::Ready(read)
    }
}

impl Write for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}

/// Hands a request to the router, with its caller's address.
struct Handler {
    front: Front,
    caller: SocketAddr,
    waiting: Arc<Waits>,
}

impl Service<Request<Incoming>> for Handler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.waiting.asked();
        request.extensions_mut().insert(ConnectInfo(self.caller));
        let answer = self.front.answer(request.map(Body::new));
        let waiting = self.waiting.clone();
        Box::pin(async move {
            let answer = answer.await;
            waiting.answered();
            hit(Point::ServeAnswering);
            answer
        })
    }
}

/// Counts a connection while it is open.
struct Open;

impl Open {
    fn count() -> Open {
        metrics::gauge!(HTTP_CONNECTIONS).increment(1);
        Open
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!(HTTP_CONNECTIONS).decrement(1);
    }
}

#[expect(clippy::disallowed_methods, reason = "time-outs of sockets run on the runtime's clock, which no rule sees")]
fn later(wait: Duration) -> Instant {
    Instant::now() + wait
}

#[expect(clippy::disallowed_methods, reason = "time-outs of sockets run on the runtime's clock, which no rule sees")]
fn passed(until: Instant) -> bool {
    Instant::now() >= until
}

#[expect(clippy::disallowed_methods, reason = "the system has no room: only waiting makes some")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
