//! One connection to an SMSC at a time: bound, tested, asked for what the window allows, and made anew when it ends.

use super::join::Joiner;
use super::pdu::{
    self, BIND_TRANSCEIVER_RESP, DELIVER_SM, Frame, Frames, GENERIC_NACK, SUBMIT_SM_RESP, UNBIND, UNBIND_RESP,
};
use super::reply::{self, OK, TRY_AGAIN};
use super::{Account, EARLY_MS, Taken};
use crate::providers::Ear;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// What waits in front of the window; more is refused at once and tried again.
const MAX_QUEUE: usize = 1_000;
/// Answers that never came; the SMSC loses them, so the connection is not worth keeping.
const MAX_UNANSWERED: usize = 1_000;
/// Messages of the SMSC that are being taken in.
const MAX_JOBS: usize = 64;
const MAX_RECONNECT_MS: u64 = 30_000;
/// For a last word, when the server ends.
const GOODBYE_MS: u64 = 2_000;
const MAX_SEQUENCE: u32 = 0x7fff_ffff;

/// Any stream: plain, or TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where the line stands.
#[derive(Clone)]
pub(super) enum Link {
    /// Nobody has tried yet.
    Connecting,
    Up(mpsc::Sender<Order>),
    /// Why, in our words.
    Down(String),
}

/// Whether a text may still be taken back: until its first part is handed to the socket.
#[derive(Clone)]
pub(super) struct Claim(Arc<AtomicU8>);

const QUEUED: u8 = 0;
const WRITTEN: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Claim {
    pub(super) fn new() -> Claim {
        Claim(Arc::new(AtomicU8::new(QUEUED)))
    }

    /// Nothing more of it leaves from here on. Whether nothing had left.
    pub(super) fn withdraw(&self) -> bool {
        self.0.swap(WITHDRAWN, Ordering::AcqRel) == QUEUED
    }

    fn write(&self) -> bool {
        let written = |state| (state != WITHDRAWN).then_some(WRITTEN);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, written).is_ok()
    }
}

/// One part, to be sent.
pub(super) struct Order {
    /// Makes the PDU of a sequence number.
    pub(super) pdu: Box<dyn FnOnce(u32) -> Option<Vec<u8>> + Send>,
    pub(super) claim: Claim,
    pub(super) taken: Taken,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// What became of a part. Dropped without one = it may have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Taken(String),
    Refused(u32),
    /// The connection ended before it.
    Unsent,
}

/// Why there is no bound connection.
#[derive(Debug)]
pub(super) enum NoBind {
    Unreachable,
    Tls,
    /// Closed without a word.
    Closed,
    Timeout,
    /// Not now: it is busy, or has not let go of the last connection yet.
    Later(u32),
    Refused(u32),
}

impl NoBind {
    fn of(status: u32) -> NoBind {
        if reply::is_passing(status) { NoBind::Later(status) } else { NoBind::Refused(status) }
    }

    /// As a delivery's error.
    pub(super) fn word(&self) -> String {
        match self {
            NoBind::Unreachable => "unreachable".into(),
            NoBind::Tls => "tls".into(),
            NoBind::Closed => "bind_refused closed".into(),
            NoBind::Timeout => "timeout".into(),
            NoBind::Later(status) => format!("bind_later 0x{status:x}"),
            NoBind::Refused(status) => format!("bind_refused 0x{status:x}"),
        }
    }

    fn is_refusal(&self) -> bool {
        matches!(self, NoBind::Refused(_) | NoBind::Closed | NoBind::Tls)
    }
}

/// A bound connection.
pub(super) struct Bound {
    frames: Frames<ReadHalf<Box<dyn Stream>>>,
    writer: WriteHalf<Box<dyn Stream>>,
}

/// Binds a fresh connection.
pub(super) async fn bind(stream: Box<dyn Stream>, account: &Account) -> Result<Bound, NoBind> {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut frames = Frames::new(reader);
    let request = pdu::bind(&account.login, 1).ok_or(NoBind::Refused(reply::UNREADABLE))?;
    writer.write_all(&request).await.map_err(|_| NoBind::Closed)?;
    loop {
        let frame = frames.next().await.map_err(|_| NoBind::Closed)?.ok_or(NoBind::Closed)?;
        match (frame.command, frame.status) {
            (BIND_TRANSCEIVER_RESP, OK) => return Ok(Bound { frames, writer }),
            (BIND_TRANSCEIVER_RESP | GENERIC_NACK, status) => return Err(NoBind::of(status)),
            _ => {}
        }
    }
}

impl Bound {
    /// Ends it in good order, as far as the other side plays along.
    pub(super) async fn unbind(mut self) {
        if self.writer.write_all(&pdu::unbind(2)).await.is_err() {
            return;
        }
        while let Ok(Some(frame)) = self.frames.next().await {
            if frame.command == UNBIND_RESP {
                return;
            }
        }
    }
}

/// Keeps the line up until `stop`.
pub(super) async fn keep(account: Arc<Account>, ear: Arc<dyn Ear>, mut stop: watch::Receiver<bool>) {
    let mut wait_ms = account.reconnect_ms;
    loop {
        let connected = tokio::select! {
            connected = account.connect() => connected,
            () = stopped(&mut stop) => return,
        };
        let (error, is_refused) = match connected {
            Ok(bound) => {
                wait_ms = account.reconnect_ms;
                tracing::info!(host = account.host, "bound to the SMSC");
                let (orders, queue) = mpsc::channel(MAX_QUEUE);
                account.link.send_replace(Link::Up(orders));
                let session = Session::new(bound, Arc::clone(&account), Arc::clone(&ear));
                let ended = session.run(queue, &mut stop).await;
                account.link.send_replace(Link::Down("connection_lost".into()));
                match ended {
                    Ended::Stopped => return,
                    Ended::Lost(why) => tracing::warn!(host = account.host, why, "the SMSC's connection has ended"),
                }
                ("connection_lost".to_owned(), false)
            }
            Err(error) => {
                account.complain(&error);
                (error.word(), error.is_refusal())
            }
        };
        account.link.send_replace(Link::Down(error));
        if is_refused {
            wait_ms = wait_ms.max(MAX_RECONNECT_MS.min(account.reconnect_ms.saturating_mul(30)));
        }
        tokio::select! {
            () = pause(wait_ms) => {}
            () = stopped(&mut stop) => return,
        }
        wait_ms = wait_ms.saturating_mul(2).min(MAX_RECONNECT_MS);
    }
}

enum Ended {
    Stopped,
    Lost(&'static str),
}

/// A part that waits for its answer.
struct Waiting {
    taken: Taken,
    answer: oneshot::Sender<Answer>,
    /// While its answer is expected.
    open: Option<Open>,
    /// Ticks since it left.
    age: u64,
}

/// Counts a part whose id may still come, or be on its way into the store, for as long as it is held.
struct Open(watch::Sender<usize>);

impl Open {
    fn count(open: &watch::Sender<usize>) -> Open {
        open.send_modify(|open| *open += 1);
        Open(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

struct Session {
    bound: Bound,
    account: Arc<Account>,
    ear: Arc<dyn Ear>,
    waiting: HashMap<u32, Waiting>,
    sequence: u32,
    /// What is being taken in; each may answer a request of the SMSC.
    jobs: JoinSet<Option<(u32, u32)>>,
    /// Parts of what people write, until all of a text are here.
    joiner: Arc<Joiner>,
    /// Parts whose id may still come, or be on its way into the store.
    open: watch::Sender<usize>,
    /// Ticks since anything came.
    quiet: u64,
}

impl Session {
    fn new(bound: Bound, account: Arc<Account>, ear: Arc<dyn Ear>) -> Session {
        let (open, _) = watch::channel(0);
        let (waiting, jobs) = (HashMap::new(), JoinSet::new());
        let joiner = Arc::default();
        Session { bound, account, ear, waiting, sequence: 1, jobs, joiner, open, quiet: 0 }
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Order>, stop: &mut watch::Receiver<bool>) -> Ended {
        let tick_ms = (self.account.enquire_link_ms / 3).clamp(20, 1_000);
        let mut ticks = ticks(tick_ms);
        let ended = loop {
            let has_room = self.has_room();
            let step = tokio::select! {
                biased;
                () = stopped(stop) => break Ended::Stopped,
                frame = self.bound.frames.next() => match frame {
                    Ok(Some(frame)) => self.heard(frame).await,
                    Ok(None) => Err("closed"),
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => Err("not SMPP"),
                    Err(_) => Err("broken"),
                },
                Some(done) = self.jobs.join_next() => self.finish(done.unwrap_or(None)).await,
                Some(order) = queue.recv(), if has_room => self.submit(order).await,
                _ = ticks.tick() => self.ticked(tick_ms).await,
            };
            if let Err(why) = step {
                break Ended::Lost(why);
            }
        };
        queue.close();
        while let Ok(order) = queue.try_recv() {
            let _ = order.answer.send(Answer::Unsent);
        }
        let leaving = self.leave(matches!(ended, Ended::Stopped));
        let _ = tokio::time::timeout(Duration::from_millis(GOODBYE_MS), leaving).await;
        ended
    }

    /// Takes in what is here already, then says goodbye if anybody hears it.
    async fn leave(mut self, is_up: bool) {
        while let Some(done) = self.jobs.join_next().await {
            if is_up && self.finish(done.unwrap_or(None)).await.is_err() {
                return;
            }
        }
        if is_up {
            self.bound.unbind().await;
        }
    }

    /// Those that nobody waits for any more do not count: their answers may never come.
    fn has_room(&self) -> bool {
        self.waiting.values().filter(|waiting| !waiting.answer.is_closed()).count() < self.account.window
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let limit = Duration::from_millis(self.account.timeout_ms);
        match tokio::time::timeout(limit, self.bound.writer.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("broken"),
            Err(_) => Err("it takes nothing"),
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = if self.sequence >= MAX_SEQUENCE { 1 } else { self.sequence + 1 };
        self.sequence
    }

    async fn submit(&mut self, order: Order) -> Result<(), &'static str> {
        let sequence = self.next_sequence();
        let Some(bytes) = (order.pdu)(sequence) else {
            let _ = order.answer.send(Answer::Refused(reply::UNREADABLE));
            return Ok(());
        };
        if order.answer.is_closed() || !order.claim.write() {
            return Ok(());
        }
        if self.waiting.len() >= MAX_UNANSWERED {
            return Err("too much is unanswered");
        }
        let open = Some(Open::count(&self.open));
        self.waiting.insert(sequence, Waiting { taken: order.taken, answer: order.answer, open, age: 0 });
        self.write(&bytes).await
    }

    async fn heard(&mut self, frame: Frame) -> Result<(), &'static str> {
        self.quiet = 0;
        match frame.command {
            SUBMIT_SM_RESP | GENERIC_NACK => {
                self.answered(&frame);
                Ok(())
            }
            DELIVER_SM if self.jobs.len() >= MAX_JOBS => self.write(&pdu::answer(&frame, TRY_AGAIN)).await,
            DELIVER_SM => {
                let (account, ear) = (Arc::clone(&self.account), Arc::clone(&self.ear));
                let (open, joiner) = (self.open.subscribe(), Arc::clone(&self.joiner));
                self.jobs.spawn(async move {
                    let status = account.take_in(&frame, &*ear, open, &joiner).await;
                    Some((frame.sequence, status))
                });
                Ok(())
            }
            UNBIND => {
                self.write(&pdu::answer(&frame, OK)).await?;
                Err("it said goodbye")
            }
            _ if frame.is_request() => self.write(&pdu::answer(&frame, OK)).await,
            _ => Ok(()),
        }
    }

    fn answered(&mut self, frame: &Frame) {
        let Some(Waiting { taken, answer, open, .. }) = self.waiting.remove(&frame.sequence) else { return };
        let (ear, ids) = (Arc::clone(&self.ear), self.account.message_id);
        let id = frame.message_id().filter(|_| frame.status == OK);
        let status = frame.status;
        let open = open.unwrap_or_else(|| Open::count(&self.open));
        self.jobs.spawn(async move {
            match (status, id) {
                (OK, Some(id)) => {
                    // Before anybody hears of it: a receipt names nothing but this id.
                    taken.keep(&*ear, &id, ids).await;
                    if let Err(Answer::Taken(id)) = answer.send(Answer::Taken(id)) {
                        taken.tell_late(&*ear, Ok(id)).await;
                    }
                }
                // It is taken, and never heard of again: whoever waits learns that nothing is known.
                (OK, None) => drop(answer),
                (status, _) => {
                    if answer.send(Answer::Refused(status)).is_err() {
                        taken.tell_late(&*ear, Err(status)).await;
                    }
                }
            }
            drop(open);
            None
        });
    }

    async fn finish(&mut self, done: Option<(u32, u32)>) -> Result<(), &'static str> {
        match done {
            Some((sequence, status)) => self.write(&pdu::deliver_answer(sequence, status)).await,
            None => Ok(()),
        }
    }

    async fn ticked(&mut self, tick_ms: u64) -> Result<(), &'static str> {
        self.quiet += 1;
        // An answer that never comes must not keep every receipt of somebody else's text waiting for it.
        for waiting in self.waiting.values_mut() {
            waiting.age += 1;
            if waiting.age * tick_ms > EARLY_MS {
                waiting.open = None;
            }
        }
        let (asks, gives_up) = (self.account.enquire_link_ms, self.account.timeout_ms);
        let quiet_ms = self.quiet * tick_ms;
        if quiet_ms >= asks + gives_up {
            return Err("it does not answer");
        }
        if quiet_ms >= asks && quiet_ms - asks < tick_ms {
            let sequence = self.next_sequence();
            return self.write(&pdu::enquire_link(sequence)).await;
        }
        Ok(())
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

#[expect(clippy::disallowed_methods, reason = "a quiet socket is noticed on the runtime's clock, which no rule sees")]
fn ticks(tick_ms: u64) -> tokio::time::Interval {
    tokio::time::interval(Duration::from_millis(tick_ms))
}

#[expect(clippy::disallowed_methods, reason = "an SMSC that is down is left alone for a while")]
async fn pause(wait_ms: u64) {
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
}
