//! A cheap load generator: keep-alive HTTP/1.1 over plain sockets, requests built beforehand, one by one on each.

use rustix::time::{ClockId, clock_gettime};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Whole requests, head and body.
pub(super) type Requests = Arc<Vec<Vec<u8>>>;

/// What came of a run.
pub(super) struct Run {
    /// From the first byte to the last answer.
    pub(super) elapsed: Duration,
    /// Of each request, sorted.
    pub(super) latencies_us: Vec<u32>,
    /// Bodies of the answers, in the order of the requests, if they were asked for.
    pub(super) answers: Vec<Vec<u8>>,
}

impl Run {
    /// Requests a second.
    pub(super) fn rate(&self) -> f64 {
        self.latencies_us.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Builds one request; `extra` are whole header lines.
pub(super) fn request(method: &str, path: &str, extra: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: bench\r\n{extra}content-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// Sends all requests over `connections` connections, each as soon as one is free; every answer must be 2xx.
pub(super) async fn drive(
    server: SocketAddr,
    connections: usize,
    requests: Requests,
    keep_answers: bool,
) -> Result<Run, String> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut callers = Vec::with_capacity(connections);
    for _ in 0..connections {
        let stream = TcpStream::connect(server).await.map_err(|error| format!("cannot connect: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        callers.push(Caller { stream, buffer: Vec::with_capacity(16 * 1024) });
    }
    let began = now();
    let mut tasks = tokio::task::JoinSet::new();
    for caller in callers {
        tasks.spawn(caller.work(Arc::clone(&requests), Arc::clone(&next), keep_answers));
    }
    let (mut latencies_us, mut answers) = (Vec::with_capacity(requests.len()), Vec::new());
    while let Some(done) = tasks.join_next().await {
        let done = done.map_err(|error| error.to_string())??;
        for (index, took_us, answer) in done {
            latencies_us.push(took_us);
            if keep_answers {
                answers.push((index, answer));
            }
        }
    }
    let elapsed = since(began);
    latencies_us.sort_unstable();
    answers.sort_unstable_by_key(|(index, _)| *index);
    Ok(Run { elapsed, latencies_us, answers: answers.into_iter().map(|(_, answer)| answer).collect() })
}

/// One connection.
pub(super) struct Caller {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Caller {
    /// A connection for single requests.
    pub(super) async fn connect(server: SocketAddr) -> Result<Caller, String> {
        let stream = TcpStream::connect(server).await.map_err(|error| format!("cannot connect: {error}"))?;
        Ok(Caller { stream, buffer: Vec::new() })
    }

    async fn work(
        mut self,
        requests: Requests,
        next: Arc<AtomicUsize>,
        keep_answers: bool,
    ) -> Result<Vec<(usize, u32, Vec<u8>)>, String> {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(request) = requests.get(index) else { return Ok(done) };
            let began = now();
            let body = self.ask(request).await?;
            let took_us = micros(began);
            done.push((index, took_us, if keep_answers { body.to_vec() } else { Vec::new() }));
        }
    }

    /// One request, and the body of its answer.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<&[u8], String> {
        self.stream.write_all(request).await.map_err(|error| error.to_string())?;
        self.buffer.clear();
        let mut whole = None;
        loop {
            if let Some((body, end)) = whole
                && self.buffer.len() >= end
            {
                let answer = &self.buffer[..end];
                return match answer.get(9) {
                    Some(b'2') => Ok(&answer[body..]),
                    _ => Err(format!("refused: {}", String::from_utf8_lossy(answer))),
                };
            }
            let read = self.stream.read_buf(&mut self.buffer).await.map_err(|error| error.to_string())?;
            if read == 0 {
                return Err("the server closed the connection".into());
            }
            whole = whole.or_else(|| extent(&self.buffer));
        }
    }
}

/// Where an answer's body begins and ends, once its head is there.
fn extent(buffer: &[u8]) -> Option<(usize, usize)> {
    let head_end = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&buffer[..head_end]).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    Some((head_end, head_end + length.unwrap_or(0)))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time; no rule sees it")]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time; no rule sees it")]
pub(super) fn since(began: Instant) -> Duration {
    began.elapsed()
}

/// How long it took, in microseconds.
pub(super) fn micros(began: Instant) -> u32 {
    u32::try_from(since(began).as_micros()).unwrap_or(u32::MAX)
}

/// Does `count` calls, `lanes` at a time, each lane as soon as its last call ended.
pub(super) async fn closed<F, C>(count: usize, lanes: usize, call: F) -> Result<Run, String>
where
    F: Fn(usize) -> C + Clone + Send + 'static,
    C: Future<Output = Result<(), String>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    let began = now();
    for _ in 0..lanes.min(count) {
        let (next, call) = (Arc::clone(&next), call.clone());
        tasks.spawn(async move {
            let mut took_us = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return Ok::<_, String>(took_us);
                }
                let began = now();
                call(n).await?;
                took_us.push(micros(began));
            }
        });
    }
    let mut latencies_us = Vec::with_capacity(count);
    while let Some(done) = tasks.join_next().await {
        latencies_us.append(&mut done.map_err(|error| error.to_string())??);
    }
    let elapsed = since(began);
    latencies_us.sort_unstable();
    Ok(Run { elapsed, latencies_us, answers: Vec::new() })
}

/// Processor time so far, in microseconds: of the server, which is the whole process without this thread, and of the
/// generator, which is this thread.
pub(super) fn cpu_us() -> (i64, i64) {
    let own = clock_us(ClockId::ThreadCPUTime);
    (clock_us(ClockId::ProcessCPUTime) - own, own)
}

/// Of the whole process.
pub(super) fn process_cpu_us() -> i64 {
    clock_us(ClockId::ProcessCPUTime)
}

fn clock_us(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
}
