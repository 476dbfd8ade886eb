//! Judges what servers did that were killed, stopped and turned: from outside alone.
//!
//! It knows what clients asked and were answered, what the providers took, what the API shows, and when a server was
//! running. It does not know how Backstop works; each rule it holds a history to is one line of the promise.

use std::collections::{BTreeMap, BTreeSet};

/// Milliseconds since 1970 by the harness's own clock, which nothing turns.
pub type Ms = i64;

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// How long a push may go unacknowledged.
    pub ack_wait_ms: Ms,
    /// Replies that were answered with 202, repeats too.
    pub creates: Vec<Create>,
    /// Acks that were answered, repeats too, in the order of their answers.
    pub acks: Vec<AckAnswer>,
    /// Replies that somebody tried to stop, answered or not.
    pub stopped: BTreeSet<String>,
    /// Texts and emails, as their providers' own logs have them.
    pub effects: Vec<Effect>,
    /// What the API showed, in order.
    pub views: Vec<View>,
    /// When a server was up, in order.
    pub up: Vec<Up>,
    /// When the whole machine, and so the harness itself, stood still.
    pub stalls: Vec<(Ms, Ms)>,
    /// Where a sandbox's clock stood, as answered, in order.
    pub clocks: Vec<Ms>,
}

/// A reply that was answered.
#[derive(Clone, Debug)]
pub struct Create {
    /// The caller's id.
    pub message: String,
    /// As answered.
    pub followup: String,
    /// When the caller first began to ask.
    pub asked_at: Ms,
    /// As answered, by the server's clock.
    pub deadline_at: Ms,
}

/// What a device heard of its ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckWord {
    /// Recorded before a fallback was decided; `counted` = it settles the follow-up.
    Accepted {
        /// See there.
        counted: bool,
    },
    /// After.
    Late,
    /// Known.
    Duplicate,
    /// Everything else: never said to a genuine one.
    Refused,
}

/// An ack that was answered.
#[derive(Clone, Debug)]
pub struct AckAnswer {
    /// What the push carried.
    pub receipt: String,
    /// Of which follow-up.
    pub followup: String,
    /// The answer.
    pub word: AckWord,
}

/// By what a fallback travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// Each one that a provider takes is one too many after the first.
    Text,
    /// A repeat under the same Message-ID is the same mail.
    Email,
}

/// Something that a provider took.
#[derive(Clone, Debug)]
pub struct Effect {
    /// By what.
    pub channel: Channel,
    /// The follow-up (`fu_…`), or a reply that it quotes.
    pub about: String,
    /// Message-ID or effect key.
    pub key: String,
    /// When it was taken.
    pub at: Ms,
}

/// A follow-up as the API shows it.
#[derive(Clone, Debug)]
pub struct View {
    /// Which.
    pub followup: String,
    /// `acked`, `fell_back`, …
    pub state: String,
    /// `no_ack`, …
    pub reason: Option<String>,
    /// By the server's clock.
    pub deadline_at: Ms,
    /// By the server's clock.
    pub decided_at: Option<Ms>,
    /// An ack came after the decision: it stops what has not left, be it everything.
    pub acked_late: bool,
    /// What was sent may have arrived or not, and a late ack forbids to send it again: it waits minutes for a report.
    pub awaits_report: bool,
    /// A text or email of it is still to leave, after the other one did.
    pub is_leaving: bool,
    /// Its deliveries that are no pushes.
    pub deliveries: Vec<Channel>,
}

impl View {
    fn is_final(&self) -> bool {
        matches!(self.state.as_str(), "acked" | "fell_back" | "cancelled" | "failed")
    }
}

/// A server that could work: from when it listened, or went on, to when it was killed, or stopped.
#[derive(Clone, Copy, Debug)]
pub struct Up {
    /// Inclusive.
    pub from: Ms,
    /// Exclusive; `Ms::MAX` = it still can.
    pub to: Ms,
    /// Whether the times that the server shows can be compared with the harness's: not after a turn of the wall clock.
    pub same_time: bool,
}

/// The latest a decision may come, while a server runs.
const LATE_MS: Ms = 1_000;
/// The same for what was overdue when a server started.
const OVERDUE_MS: Ms = 3_000;
/// The harness's clock and the server's are read one after the other, and cut to milliseconds.
const READING_MS: Ms = 2;

/// A broken promise; the text says which.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// A reply that was answered with 202 is not there.
    Lost(String),
    /// A repeat of a reply was answered otherwise.
    AnswerChanged(String),
    /// A follow-up never came to an outcome.
    Undecided(String),
    /// An outcome became another, or another instant's.
    OutcomeChanged(String),
    /// An accepted, counted ack did not settle its follow-up.
    AckLost(String),
    /// A genuine ack was refused.
    AckRefused(String),
    /// A repeated ack was answered as if it were new.
    AckCountedTwice(String),
    /// Something left for a follow-up that was acknowledged.
    SpokeAfterAck(String),
    /// More than one text, or emails under more than one Message-ID.
    Twice(String, Channel),
    /// A fallback left, or was decided, before its time.
    Early(String),
    /// It was decided too late.
    Late(String),
    /// Something left, and the store knows nothing of it.
    Unclaimed(String, Channel),
    /// A provider took something about nothing that was asked.
    Stray(String),
    /// It is said to have fallen back, or to have failed, and nothing left while providers take everything.
    NothingLeft(String),
    /// Cancelled, and nobody had asked for that.
    Unasked(String),
    /// A sandbox's clock went back.
    ClockWentBack,
}

/// All that is wrong with it. The run must be over: everything that was created has been shown since.
pub fn judge(history: &History) -> BTreeSet<Violation> {
    let mut found = BTreeSet::new();
    let case = Case::of(history, &mut found);
    for (followup, create) in &case.created {
        match case.last.get(followup) {
            None => {
                found.insert(Violation::Lost(followup.clone()));
            }
            Some(view) => case.judge_one(followup, create, view, &mut found),
        }
    }
    case.judge_acks(&mut found);
    judge_outcomes(history, &mut found);
    if history.clocks.windows(2).any(|pair| pair[1] < pair[0]) {
        found.insert(Violation::ClockWentBack);
    }
    found
}

/// A history, looked up by follow-up.
struct Case<'a> {
    history: &'a History,
    created: BTreeMap<String, &'a Create>,
    last: BTreeMap<String, &'a View>,
    effects: BTreeMap<String, Vec<&'a Effect>>,
}

impl<'a> Case<'a> {
    fn of(history: &'a History, found: &mut BTreeSet<Violation>) -> Case<'a> {
        let mut by_message: BTreeMap<&str, &Create> = BTreeMap::new();
        for create in &history.creates {
            let first = by_message.entry(&create.message).or_insert(create);
            if first.followup != create.followup || first.deadline_at != create.deadline_at {
                found.insert(Violation::AnswerChanged(create.message.clone()));
            }
        }
        let created: BTreeMap<String, &Create> =
            by_message.values().map(|create| (create.followup.clone(), *create)).collect();
        let mut effects: BTreeMap<String, Vec<&Effect>> = BTreeMap::new();
        for effect in &history.effects {
            let about = by_message.get(effect.about.as_str()).map_or(&effect.about, |create| &create.followup);
            if created.contains_key(about) {
                effects.entry(about.clone()).or_default().push(effect);
            } else {
                found.insert(Violation::Stray(about.clone()));
            }
        }
        let last = history.views.iter().map(|view| (view.followup.clone(), view)).collect();
        Case { history, created, last, effects }
    }

    fn effects(&self, followup: &str) -> &[&'a Effect] {
        self.effects.get(followup).map_or(&[], Vec::as_slice)
    }

    fn judge_one(&self, followup: &str, create: &Create, view: &View, found: &mut BTreeSet<Violation>) {
        let (effects, id) = (self.effects(followup), || followup.to_owned());
        let mut wrong = |is_wrong: bool, violation: Violation| {
            if is_wrong {
                found.insert(violation);
            }
        };
        let nothing_left = effects.is_empty();
        wrong(!view.is_final() && !view.awaits_report, Violation::Undecided(id()));
        wrong(view.state == "acked" && !nothing_left, Violation::SpokeAfterAck(id()));
        wrong(view.state == "fell_back" && nothing_left && !view.acked_late, Violation::NothingLeft(id()));
        wrong(view.state == "failed", Violation::NothingLeft(id()));
        let was_asked = self.history.stopped.contains(&create.message);
        wrong(view.state == "cancelled" && !was_asked, Violation::Unasked(id()));
        for channel in [Channel::Text, Channel::Email] {
            let of_channel: Vec<_> = effects.iter().filter(|effect| effect.channel == channel).collect();
            let keys: BTreeSet<_> = of_channel.iter().map(|effect| &effect.key).collect();
            let twice = keys.len() > 1 || (channel == Channel::Text && of_channel.len() > 1);
            wrong(twice, Violation::Twice(id(), channel));
            let unclaimed = !of_channel.is_empty() && !view.deliveries.contains(&channel);
            wrong(unclaimed, Violation::Unclaimed(id(), channel));
        }
        let may_leave = create.asked_at + self.history.ack_wait_ms - READING_MS;
        let left_early = effects.iter().any(|effect| effect.at < may_leave);
        let by_clock = view.reason.as_deref() == Some("no_ack");
        let decided_early = by_clock && view.decided_at.is_some_and(|at| at < view.deadline_at);
        wrong(left_early || decided_early, Violation::Early(id()));
        let fell_back = matches!(view.state.as_str(), "fell_back" | "failed");
        wrong(fell_back && self.is_late(view), Violation::Late(id()));
    }

    /// Whether some server that ran had the time to decide it and did not.
    fn is_late(&self, view: &View) -> bool {
        let Some(decided_at) = view.decided_at else { return false };
        self.history.up.iter().filter(|up| up.same_time).any(|up| {
            let begins = up.from.max(view.deadline_at);
            let patience = if up.from > view.deadline_at { OVERDUE_MS } else { LATE_MS };
            let stood_still: Ms = (self.history.stalls.iter())
                .map(|&(from, to)| (to.min(begins + patience) - from.max(begins)).max(0))
                .sum();
            let latest = begins + patience + stood_still;
            latest < up.to && decided_at > latest
        })
    }

    fn judge_acks(&self, found: &mut BTreeSet<Violation>) {
        let mut known: BTreeSet<&str> = BTreeSet::new();
        for ack in &self.history.acks {
            let id = || ack.followup.clone();
            let is_new = known.insert(&ack.receipt);
            match ack.word {
                AckWord::Refused => {
                    known.remove(ack.receipt.as_str());
                    found.insert(Violation::AckRefused(id()));
                }
                AckWord::Accepted { .. } | AckWord::Late if !is_new => {
                    found.insert(Violation::AckCountedTwice(id()));
                }
                AckWord::Accepted { counted: true } => {
                    let settled = self.last.get(&ack.followup).is_some_and(|view| view.state == "acked");
                    if !settled {
                        found.insert(Violation::AckLost(id()));
                    }
                    if !self.effects(&ack.followup).is_empty() {
                        found.insert(Violation::SpokeAfterAck(id()));
                    }
                }
                AckWord::Accepted { counted: false } | AckWord::Late | AckWord::Duplicate => {}
            }
        }
    }
}

/// An outcome that was shown once is shown for ever.
fn judge_outcomes(history: &History, found: &mut BTreeSet<Violation>) {
    let mut outcomes: BTreeMap<&str, &View> = BTreeMap::new();
    for view in &history.views {
        let changed = outcomes
            .get(view.followup.as_str())
            .is_some_and(|before| before.state != view.state || before.decided_at != view.decided_at);
        if changed {
            found.insert(Violation::OutcomeChanged(view.followup.clone()));
        }
        if view.is_final() {
            outcomes.entry(&view.followup).or_insert(view);
        }
    }
}
