//! Providers with moods: what they do with a send, what they say of it, and when they report.

use crate::rng::Rng;
use backstop_domain::Ms;
use backstop_domain::followup::Outcome;

/// The engine gives up on a provider after this long.
const TIMEOUT_MS: Ms = 12_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Slow,
    Rejecting,
    Throttling,
    Down,
    /// Takes it or not, and the connection breaks before the answer.
    Reset,
    /// Takes it or not, and answers with an error of its own.
    Failing,
    /// Says nothing at all until the engine gives up; takes it perhaps long after.
    Silent,
    Mixed,
}

/// What becomes of one send.
pub(crate) struct Fate {
    /// It is really taken, so long after the first byte.
    pub(crate) taken_after_ms: Option<Ms>,
    /// What the engine hears, and after how long.
    pub(crate) outcome: Outcome,
    pub(crate) after_ms: Ms,
    /// For the list of what was reached.
    pub(crate) name: &'static str,
}

impl Mood {
    pub(crate) fn any(rng: &mut Rng) -> Mood {
        use Mood::{Down, Failing, Good, Mixed, Rejecting, Reset, Silent, Slow, Throttling};
        *rng.pick(&[
            Good, Good, Good, Good, Good, Good, Slow, Slow, Rejecting, Throttling, Down, Reset, Failing, Silent, Mixed,
        ])
    }

    pub(crate) fn fate(self, rng: &mut Rng) -> Fate {
        match self {
            Mood::Good => taken(rng.between(20, 400)),
            Mood::Slow => taken(rng.between(400, 15_000)),
            Mood::Rejecting => refused(rng, Outcome::Rejected { error: "rejected".into() }, "provider rejects"),
            Mood::Throttling => {
                let after_ms = if rng.chance(500) { None } else { Some(rng.between(0, 90_000)) };
                refused(rng, Outcome::RetryAfter { after_ms, error: "429".into() }, "provider throttles")
            }
            Mood::Down => {
                let outcome = Outcome::RetryAfter { after_ms: None, error: "unreachable".into() };
                refused(rng, outcome, "provider down")
            }
            Mood::Reset => unclear(rng, "reset", 20, 2_000, "provider resets"),
            Mood::Failing => unclear(rng, "500", 20, 3_000, "provider fails after taking it"),
            Mood::Silent => {
                let taken_after_ms = rng.chance(600).then(|| rng.between(100, 60_000));
                let outcome = Outcome::Unknown { error: "timeout".into() };
                Fate { taken_after_ms, outcome, after_ms: TIMEOUT_MS, name: "provider silent" }
            }
            Mood::Mixed => match Mood::any(rng) {
                Mood::Mixed => taken(100),
                mood => mood.fate(rng),
            },
        }
    }
}

/// A slow provider took it; the engine may not have waited for the word.
fn taken(after_ms: Ms) -> Fate {
    let taken_after_ms = Some(after_ms / 2);
    if after_ms > TIMEOUT_MS {
        let outcome = Outcome::Unknown { error: "timeout".into() };
        return Fate { taken_after_ms, outcome, after_ms: TIMEOUT_MS, name: "provider too slow" };
    }
    let outcome = Outcome::Accepted { provider_id: Some("p".into()) };
    Fate { taken_after_ms, outcome, after_ms, name: "provider accepts" }
}

fn unclear(rng: &mut Rng, error: &str, from_ms: Ms, to_ms: Ms, name: &'static str) -> Fate {
    let after_ms = rng.between(from_ms, to_ms);
    let taken_after_ms = rng.chance(500).then_some(after_ms / 2);
    Fate { taken_after_ms, outcome: Outcome::Unknown { error: error.into() }, after_ms, name }
}

fn refused(rng: &mut Rng, outcome: Outcome, name: &'static str) -> Fate {
    Fate { taken_after_ms: None, outcome, after_ms: rng.between(10, 300), name }
}

/// What a provider reports later of a text it took: when, and whether it was delivered. None, one, doubled, early or
/// in contradiction of itself.
pub(crate) fn reports(rng: &mut Rng) -> Vec<(Ms, bool)> {
    let delivered = rng.chance(800);
    match rng.below(10) {
        0..=4 => Vec::new(),
        5..=6 => vec![(rng.between(1_000, 600_000), delivered)],
        // Before its own answer.
        7 => vec![(rng.between(1, 20), delivered)],
        8 => vec![(rng.between(1_000, 60_000), delivered), (rng.between(1_000, 90_000), delivered)],
        _ => vec![(rng.between(1_000, 60_000), delivered), (rng.between(1_000, 3_600_000), !delivered)],
    }
}
