//! Named points at which a test kills, stops or slows the process; nothing at all without the feature `failpoints`.
//!
//! `BACKSTOP_FAILPOINTS=write_before_commit:3=kill,serve_accepted:1=pause_50` acts at the third and at the first hit of
//! the two. `BACKSTOP_FAILPOINTS_LOG` names a file that gets a line for each point when it is first hit, when it acts,
//! and for each send that a captured provider took: it outlives the process, as a real provider's log does.

#[cfg(not(feature = "failpoints"))]
use crate::providers::Envelope;

macro_rules! points {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Where something can be made to happen. A run of the kills that never hits one of them fails.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($(#[doc = $doc])+ $variant,)+
        }

        #[cfg(feature = "failpoints")]
        impl Point {
            /// All of them.
            pub const ALL: &'static [Point] = &[$(Point::$variant),+];

            /// As in `BACKSTOP_FAILPOINTS`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Point::$variant => $name,)+
                }
            }
        }
    };
}

points! {
    /// The store's file is there and empty.
    BootFileMade = "boot_file_made",
    /// A step of the schema is written, not committed.
    BootMigrating = "boot_migrating",
    /// The schema is up to date, nothing else is done.
    BootMigrated = "boot_migrated",
    /// The clock's anchor is read, or kept for the next run.
    BootClock = "boot_clock",
    /// A page of pending rows is about to enter the timer's index.
    BootIndex = "boot_index",
    /// The loops run, nobody is listened to yet.
    BootEngine = "boot_engine",
    /// The port is open.
    BootListening = "boot_listening",
    /// A caller's connection was accepted.
    ServeAccepted = "serve_accepted",
    /// An answer is ready: what it says is durable, and the caller knows nothing of it.
    ServeAnswering = "serve_answering",
    /// A batch of work was taken from the queue.
    BatchTaken = "batch_taken",
    /// Its rows are loaded.
    BatchLoaded = "batch_loaded",
    /// It is decided on, and not committed.
    BatchDecided = "batch_decided",
    /// It is durable: no timer is armed, no effect handed on, nobody answered.
    BatchCommitted = "batch_committed",
    /// Its effects are handed on and its callers answered.
    BatchSettled = "batch_settled",
    /// The writer has work and has not begun.
    WriteBegins = "write_begins",
    /// Its transaction is open and empty.
    WriteBegun = "write_begun",
    /// Everything is written, nothing committed.
    WriteCommits = "write_commits",
    /// It is committed, and nobody knows.
    WriteCommitted = "write_committed",
    /// Everybody is answered.
    WriteAnswered = "write_answered",
    /// The WAL is about to be copied back.
    CheckpointCopies = "checkpoint_copies",
    /// It was.
    CheckpointCopied = "checkpoint_copied",
    /// The WAL is about to be cut off.
    CheckpointCutsOff = "checkpoint_cuts_off",
    /// The writer is about to begin the WAL anew.
    CheckpointStartsOver = "checkpoint_starts_over",
    /// Retention is about to take what has outlived its purpose.
    HouseKept = "house_kept",
    /// Wake-ups left the index and have not reached the engine.
    TimerFires = "timer_fires",
    /// A wake-up is with the engine.
    TimerFired = "timer_fired",
    /// The store is about to be asked for what the index does not know.
    SweepLooks = "sweep_looks",
    /// A push has its rows and is not sent.
    PushSends = "push_sends",
    /// Its provider answered, and that is not stored.
    PushSent = "push_sent",
    /// A request to FCM is about to leave.
    FcmSends = "fcm_sends",
    /// A hand has a text or email, and no claim.
    FallbackClaims = "fallback_claims",
    /// The claim is durable, and no byte has left.
    FallbackClaimed = "fallback_claimed",
    /// The provider answered, and that is not stored.
    FallbackSent = "fallback_sent",
    /// It is stored.
    FallbackStored = "fallback_stored",
    /// The mail server waits for the mail itself.
    SmtpData = "smtp_data",
    /// The mail server has taken it.
    SmtpTaken = "smtp_taken",
    /// A captured text or email is with its provider, which has not answered.
    CaptureTaken = "capture_taken",
    /// Acks are opened and have not reached the engine.
    AcksOpened = "acks_opened",
    /// They are durable, and the device does not know.
    AcksRecorded = "acks_recorded",
    /// A device is registered, and its key has not been told.
    DeviceRegistered = "device_registered",
    /// The request is done, and its answer not kept under its `Idempotency-Key`.
    AnswerKept = "answer_kept",
    /// A sandbox clock was moved in memory only.
    ClockMoved = "clock_moved",
    /// It was moved durably.
    ClockKept = "clock_kept",
    /// The port is closed, requests are under way.
    DrainBegins = "drain_begins",
    /// The requests have ended, sends are under way.
    DrainSends = "drain_sends",
    /// Everything has ended.
    DrainEnds = "drain_ends",
}

/// Execution is here.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) const fn hit(_: Point) {}

/// Whether what comes next is to be left out and said to be done all the same: a bug on purpose.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) const fn lies(_: Point) -> bool {
    false
}

/// A captured provider took a send: its own log of it.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) const fn taken(_: &str, _: &Envelope) {}

/// How long a claim holds.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) const fn claim_ms(default: i64) -> i64 {
    default
}

#[cfg(feature = "failpoints")]
pub(crate) use armed::{claim_ms, hit, lies, taken};

#[cfg(feature = "failpoints")]
mod armed {
    use super::Point;
    use crate::providers::Envelope;
    use rustix::process::{Signal, getpid, kill_process};
    use std::fs::{File, OpenOptions};
    use std::io::Write as _;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::Duration;

    static PLAN: LazyLock<Plan> = LazyLock::new(Plan::of_environment);

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Action {
        /// SIGKILL.
        Kill,
        /// SIGSTOP, until somebody sends SIGCONT.
        Stop,
        /// This thread waits.
        PauseMs(u64),
        /// See [`lies`].
        Lie,
    }

    struct Armed {
        point: Point,
        action: Action,
        left: AtomicU32,
    }

    struct Plan {
        armed: Vec<Armed>,
        seen: [AtomicBool; Point::ALL.len()],
        log: Option<File>,
        claim_ms: Option<i64>,
    }

    impl Plan {
        fn of_environment() -> Plan {
            let value = |name: &str| std::env::var(name).ok();
            let plan = value("BACKSTOP_FAILPOINTS").unwrap_or_default();
            let open = |path| OpenOptions::new().create(true).append(true).open(path).expect("a file to log hits in");
            Plan {
                armed: plan.split(',').filter(|part| !part.is_empty()).map(parse).collect(),
                seen: [const { AtomicBool::new(false) }; Point::ALL.len()],
                log: value("BACKSTOP_FAILPOINTS_LOG").map(open),
                claim_ms: value("BACKSTOP_FAILPOINTS_CLAIM_MS").map(|ms| ms.parse().expect("milliseconds")),
            }
        }

        /// One write a line, so that lines of several threads stay whole and the last one outlives the process.
        fn log(&self, line: &str) {
            if let Some(mut log) = self.log.as_ref() {
                let _ = log.write_all(line.as_bytes());
            }
        }

        fn act(&self, point: Point, is_wanted: impl Fn(Action) -> bool) -> Option<Action> {
            if !self.seen[point as usize].swap(true, Ordering::Relaxed) {
                self.log(&format!("hit {}\n", point.name()));
            }
            let wanted = |armed: &&Armed| armed.point == point && is_wanted(armed.action);
            let counts = |armed: &Armed| {
                let one_less = |left: u32| left.checked_sub(1);
                armed.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less) == Ok(1)
            };
            // Each one counts every hit.
            let action = self.armed.iter().filter(wanted).filter(|armed| counts(armed)).last()?.action;
            self.log(&format!("act {}\n", point.name()));
            Some(action)
        }
    }

    /// `point:nth=action`
    fn parse(part: &str) -> Armed {
        let told = part.split_once('=').and_then(|(place, action)| {
            let (name, nth) = place.split_once(':')?;
            let point = Point::ALL.iter().copied().find(|point| point.name() == name)?;
            let action = match action {
                "kill" => Action::Kill,
                "stop" => Action::Stop,
                "lie" => Action::Lie,
                pause => Action::PauseMs(pause.strip_prefix("pause_")?.parse().ok()?),
            };
            Some(Armed { point, action, left: AtomicU32::new(nth.parse().ok()?) })
        });
        told.unwrap_or_else(|| panic!("BACKSTOP_FAILPOINTS: `{part}` is not point:nth=kill|stop|lie|pause_MS"))
    }

    /// Execution is here.
    #[expect(clippy::disallowed_methods, reason = "a pause at a chosen point is what a test asked for")]
    pub(crate) fn hit(point: Point) {
        match PLAN.act(point, |action| action != Action::Lie) {
            Some(Action::Kill) => {
                let _ = kill_process(getpid(), Signal::KILL);
            }
            Some(Action::Stop) => {
                let _ = kill_process(getpid(), Signal::STOP);
            }
            Some(Action::PauseMs(ms)) => std::thread::sleep(Duration::from_millis(ms)),
            Some(Action::Lie) | None => {}
        }
    }

    /// Whether what comes next is to be left out and said to be done all the same: a bug on purpose.
    pub(crate) fn lies(point: Point) -> bool {
        PLAN.act(point, |action| action == Action::Lie).is_some()
    }

    /// A captured provider took a send: its own log of it.
    pub(crate) fn taken(channel: &str, send: &Envelope) {
        let Envelope { followup_id, effect_key, at_ms, .. } = send;
        PLAN.log(&format!("taken {channel} {followup_id} {effect_key} {at_ms}\n"));
    }

    /// How long a claim holds.
    pub(crate) fn claim_ms(default: i64) -> i64 {
        PLAN.claim_ms.unwrap_or(default)
    }
}
