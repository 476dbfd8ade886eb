//! What vendors over HTTP share of the way out: addresses, connections that are given up when they are dead, what is
//! known of a request that got no answer, and answers.

use crate::providers::fit;
use backstop_domain::followup::Outcome;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, Url};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An answer is read this far; the vendors' are a few hundred bytes.
const MAX_REPLY_BYTES: usize = 64 * 1024;
/// How long a connection may take at most. It ends before the whole time-out does: while connecting, nothing was sent.
const CONNECT_TIMEOUT_MS: u64 = 5_000;
/// After so many time-outs in a row, with no answer between them, the path is taken for dead.
const DEAD_AFTER: u32 = 2;
/// No header makes us wait longer.
const MAX_WAIT_MS: i64 = 86_400_000;

const _: () = assert!(fit::MAX_REQUEST_BYTES < MAX_REPLY_BYTES);

/// `https`, or `http` to this very machine: a token must not cross a network in the clear.
pub(crate) fn checked_url(url: &str) -> Option<Url> {
    let url = Url::parse(url).ok()?;
    let safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url.host_str()?));
    (safe && url.username().is_empty() && url.password().is_none()).then_some(url)
}

/// The same, of a host alone.
pub(super) fn checked_host(url: &str) -> Option<Url> {
    checked_url(url).filter(|url| url.path() == "/" && url.query().is_none() && url.fragment().is_none())
}

pub(super) fn is_loopback(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// What every client of ours has in common.
pub(crate) fn builder(base: &Url, timeout_ms: u64) -> ClientBuilder {
    let builder = Client::builder()
        .user_agent(concat!("backstop/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_millis((timeout_ms / 2).min(CONNECT_TIMEOUT_MS)));
    if base.host_str().is_some_and(is_loopback) { builder.no_proxy() } else { builder }
}

type Build = Box<dyn Fn() -> reqwest::Result<Client> + Send + Sync>;

/// Several connections to one host, taken in turn. A client of its own each, since one client shares one HTTP/2
/// connection; GOAWAY and closed ones are replaced by the client, silent ones here.
pub(super) struct Lanes {
    vendor: &'static str,
    build: Build,
    lanes: Vec<Mutex<Lane>>,
    next: AtomicUsize,
}

struct Lane {
    client: Client,
    /// Which client it is, so that a late time-out does not count against a newer one.
    number: u64,
    silent: u32,
}

/// A lane for one request. Say how it ended.
pub(super) struct Picked<'a> {
    lanes: &'a Lanes,
    at: usize,
    number: u64,
    pub(super) client: Client,
}

impl Lanes {
    pub(super) fn new(
        vendor: &'static str,
        count: usize,
        build: impl Fn() -> reqwest::Result<Client> + Send + Sync + 'static,
    ) -> reqwest::Result<Lanes> {
        let lane = |_| Ok(Mutex::new(Lane { client: build()?, number: 0, silent: 0 }));
        let lanes = (0..count.max(1)).map(lane).collect::<reqwest::Result<_>>()?;
        Ok(Lanes { vendor, build: Box::new(build), lanes, next: AtomicUsize::new(0) })
    }

    pub(super) fn pick(&self) -> Picked<'_> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        let lane = self.lane(at);
        Picked { lanes: self, at, number: lane.number, client: lane.client.clone() }
    }

    fn lane(&self, at: usize) -> MutexGuard<'_, Lane> {
        self.lanes[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Picked<'_> {
    /// Something came back: the path is alive.
    pub(super) fn answered(&self) {
        let mut lane = self.lanes.lane(self.at);
        if lane.number == self.number {
            lane.silent = 0;
        }
    }

    /// Nothing came back in time. After some of these in a row the next request opens a connection of its own.
    pub(super) fn timed_out(&self) {
        let mut lane = self.lanes.lane(self.at);
        if lane.number != self.number {
            return;
        }
        lane.silent += 1;
        if lane.silent < DEAD_AFTER {
            return;
        }
        // What is under way on the old one ends by itself.
        match (self.lanes.build)() {
            Ok(client) => *lane = Lane { client, number: lane.number + 1, silent: 0 },
            Err(error) => tracing::error!(%error, vendor = self.lanes.vendor, "no new connection could be made"),
        }
        let vendor = self.lanes.vendor;
        metrics::counter!("backstop_push_connections_replaced_total", "provider" => vendor).increment(1);
        tracing::warn!(vendor, "a connection answered nothing {DEAD_AFTER} times in a row and was given up");
    }
}

/// Hands a request over. `sent` tells from then on, to whoever gives up waiting, that it may have left; `Err` = what
/// stands in for an answer: without a connection nothing left, after that nobody knows.
pub(super) async fn hand_over(request: RequestBuilder, sent: &AtomicBool) -> Result<Response, Outcome> {
    sent.store(true, Ordering::Relaxed);
    request.send().await.map_err(|error| match error.is_connect() {
        true => Outcome::RetryAfter { after_ms: None, error: "unreachable".into() },
        false => Outcome::Unknown { error: "connection_lost".into() },
    })
}

/// Delivers within its time. What was handed over by its end may have left, the rest certainly did not.
pub(super) async fn within(
    timeout: Duration,
    sent: &AtomicBool,
    delivering: impl Future<Output = Outcome> + Send,
) -> Outcome {
    let outcome = tokio::time::timeout(timeout, delivering).await;
    outcome.unwrap_or_else(|_| match sent.load(Ordering::Relaxed) {
        true => Outcome::Unknown { error: "timeout".into() },
        false => Outcome::RetryAfter { after_ms: None, error: "timeout".into() },
    })
}

/// As much of the body as came, up to a bound: the status is the vendor's word already.
pub(super) async fn read_bounded(mut response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_REPLY_BYTES {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_REPLY_BYTES - body.len())]);
    }
    body
}

/// The body up to a bound; `Err` = what came of one that was longer, or cut off.
pub(super) async fn read_whole(mut response: reqwest::Response, max: usize) -> Result<Vec<u8>, Vec<u8>> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body),
            Ok(Some(chunk)) if body.len() + chunk.len() <= max => body.extend_from_slice(&chunk),
            Ok(Some(_)) | Err(_) => return Err(body),
        }
    }
}

/// The text of `Retry-After`.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<String> {
    headers.get(RETRY_AFTER)?.to_str().ok().map(str::to_owned)
}

/// What `Retry-After` asks for: seconds, or a date.
pub(super) fn wait_ms(retry_after: Option<&str>, now_ms: i64) -> Option<i64> {
    let text = retry_after?.trim();
    let asked_ms = match text.parse::<u32>() {
        Ok(seconds) => Some(i64::from(seconds) * 1000),
        Err(_) => date_ms(text).map(|at| at.saturating_sub(now_ms)),
    };
    asked_ms.map(|ms| ms.clamp(0, MAX_WAIT_MS))
}

/// The vendor's clock minus ours, by the `Date` of its answer: whole seconds, so half of one is added.
pub(super) fn vendor_ahead_ms(headers: &HeaderMap, now_ms: i64) -> Option<i64> {
    let date = date_ms(headers.get(DATE)?.to_str().ok()?)?;
    Some(date.saturating_add(500).saturating_sub(now_ms))
}

fn date_ms(text: &str) -> Option<i64> {
    DateTimeParser::new().parse_timestamp(text).ok().map(|at| at.as_millisecond())
}

/// A clock that is off by more than this explains a refused token.
const CLOCK_OFF_MS: i64 = 5 * 60_000;

/// Whether our clock is wrong enough to be the reason, in words.
pub(super) fn clock_is_off(vendor_ahead_ms: Option<i64>) -> Option<String> {
    let ahead_ms = vendor_ahead_ms.filter(|ms| ms.saturating_abs() >= CLOCK_OFF_MS)?;
    let (minutes, way) = ((ahead_ms.saturating_abs() + 30_000) / 60_000, if ahead_ms > 0 { "slow" } else { "fast" });
    Some(format!("this server's clock is {minutes} min {way}"))
}
