//! The SDK's log, for the host app's own: lines wait in a bounded buffer until the façade pulls them.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, Once, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::error::SdkError;

/// The most lines that wait; beyond it the oldest go, and the next pull says how many.
const LINES_MAX: usize = 256;
/// The longest line.
const LINE_MAX_BYTES: usize = 1_024;

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, uniffi::Enum)]
pub enum LogLevel {
    /// Nothing.
    None,
    /// What lost something or needs a developer.
    Error,
    /// What went wrong and mends itself.
    Warn,
    /// What happened.
    Info,
    /// Everything.
    Debug,
}

/// One line: never a token, key, receipt, text or customer.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// What happened, with its details.
    pub message: String,
}

/// Says how much is logged from now on. Before the first call, nothing is.
#[uniffi::export]
pub fn set_log_level(level: LogLevel) -> Result<(), SdkError> {
    LEVEL.store(level as u8, Ordering::Relaxed);
    // Another subscriber of the same library may be there in tests: theirs stays.
    STARTED.call_once(|| drop(tracing::subscriber::set_global_default(Lines)));
    Ok(())
}

/// Takes the lines that wait, or waits for one at most that long.
#[uniffi::export(async_runtime = "tokio")]
pub async fn next_logs(wait_ms: u64) -> Result<Vec<LogLine>, SdkError> {
    let came = WAITING.came.notified();
    let lines = WAITING.take();
    if !lines.is_empty() || wait_ms == 0 {
        return Ok(lines);
    }
    // Nothing came: an empty answer, and the caller asks again.
    let _ = tokio::time::timeout(Duration::from_millis(wait_ms), came).await;
    Ok(WAITING.take())
}

static STARTED: Once = Once::new();
static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::None as u8);
static WAITING: LazyLock<Waiting> = LazyLock::new(Waiting::default);

#[derive(Default)]
struct Waiting {
    lines: Mutex<VecDeque<LogLine>>,
    dropped: AtomicU64,
    came: Notify,
}

impl Waiting {
    fn add(&self, line: LogLine) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= LINES_MAX {
            lines.pop_front();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        lines.push_back(line);
        drop(lines);
        self.came.notify_one();
    }

    fn take(&self) -> Vec<LogLine> {
        let mut lines: Vec<LogLine> = self.lines.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let message = format!("{dropped} older lines were dropped: nobody took them in time");
            lines.insert(0, LogLine { level: LogLevel::Warn, message });
        }
        lines
    }
}

/// Takes the events of our own crates; those of the libraries below stay silent.
struct Lines;

impl Subscriber for Lines {
    /// Asked each time for our own events, since the level may change; never for those below.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_ours(metadata) { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata) && level_of(metadata.level()) as u8 <= LEVEL.load(Ordering::Relaxed)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let mut message = text.message + &text.fields;
        if message.len() > LINE_MAX_BYTES {
            message.truncate(message.floor_char_boundary(LINE_MAX_BYTES));
        }
        WAITING.add(LogLine { level: level_of(event.metadata().level()), message });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && metadata.target().starts_with("backstop")
}

fn level_of(level: &Level) -> LogLevel {
    match *level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG | Level::TRACE => LogLevel::Debug,
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Vec<String> {
        WAITING.take().into_iter().map(|line| line.message).collect()
    }

    /// Invariant 7: one test, since the subscriber is the process's: the level may change at any time, and what nobody
    /// takes is bounded and said.
    #[test]
    fn lines_follow_the_level_and_are_bounded() {
        let log = || {
            tracing::warn!(n = 1, "warned");
            tracing::info!("told");
            tracing::error!(target: "hyper", "somebody else's");
        };
        log();
        assert_eq!(messages(), Vec::<String>::new());
        for (level, expected) in [
            (LogLevel::Warn, vec!["warned n=1"]),
            (LogLevel::Debug, vec!["warned n=1", "told"]),
            (LogLevel::None, vec![]),
            (LogLevel::Warn, vec!["warned n=1"]),
        ] {
            set_log_level(level).expect("set");
            log();
            assert_eq!(messages(), expected, "{level:?}");
        }
        for n in 0..LINES_MAX + 10 {
            tracing::warn!("{n} {}", "ä".repeat(LINE_MAX_BYTES));
        }
        let lines = messages();
        assert_eq!(lines.len(), LINES_MAX + 1);
        assert!(lines[0].starts_with("10 older lines were dropped"), "{}", lines[0]);
        assert!(lines.iter().all(|line| line.len() <= LINE_MAX_BYTES));
    }
}
