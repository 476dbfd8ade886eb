//! What an operator sees of a running server: log lines, metrics, and one line for a panic. Nothing personal in any.

use crate::config::{Log, LogFormat, LogLevel};
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::any::Any;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Test pushes of devices, by `outcome`: no part of any number of follow-ups.
pub const TEST_PUSHES: &str = "backstop_test_pushes_total";
/// Follow-ups by outcome: `outcome` = `acked`, `fell_back`, `cancelled`, `failed`.
pub const FOLLOWUPS: &str = "backstop_followups_total";
/// Wake-ups that are left.
pub const PENDING_FOLLOWUPS: &str = "backstop_pending_followups";
/// From a deadline to the commit of its decision.
pub const DEADLINE_LATENESS: &str = "backstop_deadline_lateness_seconds";
/// From a follow-up's start to the ack that settled it.
pub const ACK_LATENCY: &str = "backstop_ack_latency_seconds";
/// Requests to providers: `provider`, `outcome` (the domain's five words).
pub const PROVIDER_REQUESTS: &str = "backstop_provider_requests_total";
/// Units that shared one durable commit.
pub const COMMIT_BATCH_SIZE: &str = "backstop_commit_batch_size";
/// Answers by route template and status.
pub const HTTP_REQUESTS: &str = "backstop_http_requests_total";
/// Open connections.
pub const HTTP_CONNECTIONS: &str = "backstop_http_connections";
/// Connections closed on a caller that was too slow: `phase` = `handshake`, `head` or `idle`.
pub const HTTP_TIMEOUTS: &str = "backstop_http_timeouts_total";
/// Canaries that ended, by `result` = `well` or `down`.
pub const CANARIES: &str = "backstop_canary_total";
/// Workspaces whose last canary was not decided in time.
pub const CANARIES_DOWN: &str = "backstop_canary_down_workspaces";
/// TLS handshakes that failed.
pub const TLS_FAILURES: &str = "backstop_tls_handshake_failures_total";
/// When the certificate of our own TLS ends.
pub const TLS_NOT_AFTER: &str = "backstop_tls_not_after_timestamp_seconds";
/// Batches that the store refused.
pub const COMMIT_ERRORS: &str = "backstop_commit_errors_total";
/// Sends that waited for another wake-up because their queue was full.
pub const EFFECTS_POSTPONED: &str = "backstop_effects_postponed_total";
/// What somebody should look at, by `alarm`.
pub const ALARMS: &str = "backstop_alarms_total";
/// Accounts whose circuit breaker is not closed, by `provider`.
pub const BREAKER_STATE: &str = "backstop_breaker_state";
/// Breakers that opened: `provider`, `why` = `misconfigured`, `failing` or `asked`.
pub const BREAKER_OPENED: &str = "backstop_breaker_opened_total";
/// Sends that were answered without a call, since their account's breaker is open: `provider`.
pub const BREAKER_HELD: &str = "backstop_breaker_held_total";
/// Texts that were stopped before they cost anything, by `reason`.
pub const TEXT_STOPS: &str = "backstop_text_stops_total";
/// How far the wall clock has stepped away from the server's.
pub const CLOCK_OFFSET: &str = "backstop_wall_clock_offset_seconds";
/// Panics; each is a bug.
pub const PANICS: &str = "backstop_panics_total";

/// Milliseconds matter below a second, seconds up to the promise's 30, and minutes after an outage.
const LATENESS_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0, 3600.0];
const ACK_SECONDS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 25.0, 30.0, 60.0, 600.0];
const BATCH_SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

/// Sends log lines to stderr, and panics to the log. Once a process; a second call changes nothing.
pub fn start_logging(log: &Log) {
    // Other people's code may log what passes through it below `warn`: an SMTP dialogue, a request with its headers.
    let filter = EnvFilter::new(format!("warn,backstop_server={level},backstop={level}", level = log.level.as_str()));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    let lines = lines.with_writer(BoxMakeWriter::new(std::io::stderr));
    let installed = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
        LogFormat::Text => lines.try_init(),
    };
    if installed.is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
}

/// One line, without what may be personal: a message put together at run time can hold what a caller sent.
fn log_panic(panic: &PanicHookInfo<'_>) {
    metrics::counter!(PANICS).increment(1);
    let message = constant(panic.payload());
    let place = panic.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    tracing::error!(place, thread, message, "panic: this is a bug");
}

/// A panic's message, if it was written into the program.
fn constant(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(message withheld)")
}

/// Collects metrics from now on. One recorder a process: servers that share a process share their numbers.
pub fn start_metrics() -> Metrics {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    let handle = HANDLE.get_or_init(|| {
        let recorder = recorder();
        let handle = recorder.handle();
        // Fails only if something else in the process records already: then `/metrics` shows nothing of ours.
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is in place: /metrics stays empty");
        }
        describe();
        handle
    });
    Metrics { handle: handle.clone() }
}

/// What was counted so far.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Everything in the Prometheus text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds samples into buckets; call it every few seconds, or samples pile up until somebody looks.
    pub fn tidy(&self) {
        self.handle.run_upkeep();
    }
}

fn recorder() -> metrics_exporter_prometheus::PrometheusRecorder {
    let buckets = [(DEADLINE_LATENESS, LATENESS_SECONDS), (ACK_LATENCY, ACK_SECONDS), (COMMIT_BATCH_SIZE, BATCH_SIZES)];
    let builder = buckets.into_iter().fold(PrometheusBuilder::new(), |builder, (name, values)| {
        builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), values).expect("no bucket list is empty")
    });
    builder.build_recorder()
}

fn describe() {
    describe_counter!(FOLLOWUPS, "Follow-ups decided, by outcome.");
    describe_gauge!(PENDING_FOLLOWUPS, "Wake-ups that are left.");
    describe_histogram!(DEADLINE_LATENESS, Unit::Seconds, "From a deadline to the commit of its decision.");
    describe_histogram!(ACK_LATENCY, Unit::Seconds, "From a follow-up's start to the ack that settled it.");
    describe_counter!(PROVIDER_REQUESTS, "Requests to providers, by provider and outcome.");
    describe_histogram!(COMMIT_BATCH_SIZE, "Units that shared one durable commit.");
    describe_counter!(TEST_PUSHES, "Test pushes that devices asked for, by outcome.");
    describe_counter!(COMMIT_ERRORS, "Batches that the store refused.");
    describe_counter!(EFFECTS_POSTPONED, "Sends that waited for another wake-up because their queue was full.");
    describe_counter!(HTTP_REQUESTS, "Answers, by route template and status.");
    describe_gauge!(HTTP_CONNECTIONS, "Open connections.");
    describe_counter!(HTTP_TIMEOUTS, "Connections closed on a caller that was too slow, by phase.");
    describe_counter!(CANARIES, "Canaries that ended, by result.");
    describe_gauge!(CANARIES_DOWN, "Workspaces whose last canary was not decided in time.");
    describe_counter!(TLS_FAILURES, "TLS handshakes that failed.");
    describe_gauge!(TLS_NOT_AFTER, Unit::Seconds, "When the certificate of [server.tls] ends.");
    describe_counter!(ALARMS, "What somebody should look at, by name.");
    describe_gauge!(CLOCK_OFFSET, Unit::Seconds, "How far the wall clock has stepped away from the server's.");
    describe_gauge!(BREAKER_STATE, "Accounts whose circuit breaker is not closed, by provider.");
    describe_counter!(BREAKER_OPENED, "Circuit breakers that opened, by provider and why.");
    describe_counter!(BREAKER_HELD, "Sends answered without a call because of an open breaker, by provider.");
    describe_counter!(TEXT_STOPS, "Texts stopped before they cost anything, by reason.");
    describe_counter!(PANICS, "Panics; each is a bug.");
}

impl LogLevel {
    fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 9: what is put together at run time can hold what a caller sent.
    #[test]
    fn what_a_panic_says_is_logged_if_it_is_a_constant() {
        assert_eq!(constant(&"a row is gone"), "a row is gone");
        assert_eq!(constant(&format!("no customer {}", "lucas@example.com")), "(message withheld)");
        assert_eq!(constant(&7), "(message withheld)");
    }

    #[test]
    fn histograms_have_fixed_buckets() {
        let recorder = recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::histogram!(DEADLINE_LATENESS).record(0.0007);
            metrics::counter!(FOLLOWUPS, "outcome" => "acked").increment(1);
        });
        let text = handle.render();
        assert!(text.contains("backstop_deadline_lateness_seconds_bucket{le=\"0.001\"} 1"), "{text}");
        assert!(text.contains("backstop_followups_total{outcome=\"acked\"} 1"), "{text}");
        assert!(text.contains("# HELP backstop_followups_total "), "{text}");
    }
}
