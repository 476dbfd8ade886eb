//! Providers with moods: what they do with a send, and what they say of it.

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
    Unclear,
    Mixed,
}

/// What becomes of one send.
pub(crate) struct Fate {
    /// It was really taken.
    pub(crate) taken: bool,
    /// What the engine hears, and after how long.
    pub(crate) outcome: Outcome,
    pub(crate) after_ms: Ms,
}

impl Mood {
    pub(crate) fn any(rng: &mut Rng) -> Mood {
        use Mood::{Down, Good, Mixed, Rejecting, Slow, Throttling, Unclear};
        *rng.pick(&[Good, Good, Good, Good, Good, Slow, Slow, Rejecting, Throttling, Down, Unclear, Mixed])
    }

    pub(crate) fn fate(self, rng: &mut Rng) -> Fate {
        match self {
            Mood::Good => taken(rng.between(20, 400)),
            Mood::Slow => taken(rng.between(400, 15_000)),
            Mood::Rejecting => refused(rng, Outcome::Rejected { error: "rejected".into() }),
            Mood::Throttling => {
                let after_ms = if rng.chance(500) { None } else { Some(rng.between(0, 90_000)) };
                refused(rng, Outcome::RetryAfter { after_ms, error: "429".into() })
            }
            Mood::Down => refused(rng, Outcome::RetryAfter { after_ms: None, error: "unreachable".into() }),
            Mood::Unclear => {
                let outcome = Outcome::Unknown { error: "timeout".into() };
                Fate { taken: rng.chance(500), outcome, after_ms: rng.between(5_000, TIMEOUT_MS) }
            }
            Mood::Mixed => Mood::any(rng).fate_once(rng),
        }
    }

    fn fate_once(self, rng: &mut Rng) -> Fate {
        if self == Mood::Mixed { taken(100) } else { self.fate(rng) }
    }
}

/// A slow provider took it; the engine may not have waited for the word.
fn taken(after_ms: Ms) -> Fate {
    if after_ms > TIMEOUT_MS {
        return Fate { taken: true, outcome: Outcome::Unknown { error: "timeout".into() }, after_ms: TIMEOUT_MS };
    }
    Fate { taken: true, outcome: Outcome::Accepted { provider_id: Some("p".into()) }, after_ms }
}

fn refused(rng: &mut Rng, outcome: Outcome) -> Fate {
    Fate { taken: false, outcome, after_ms: rng.between(10, 300) }
}
