//! Presence: whether the customer counts as online, merged over all pages and devices (D3, D4).

use crate::Ms;
use backstop_wire::PresenceState;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most sources kept of one customer; the one silent for longest goes first.
pub const MAX_SOURCES: usize = 32;

/// How long a hidden source that says nothing is remembered.
const HIDDEN_KEPT_MS: Ms = 24 * 3_600_000;

/// The numbers of D3 and D4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresencePolicy {
    /// Without activity for this long = offline.
    pub idle_after_ms: Ms,
    /// Another page in front for this long = offline; 0 = at once.
    pub hidden_after_ms: Ms,
    /// An active source that says nothing for this long is gone.
    pub heartbeat_timeout_ms: Ms,
}

/// What is known of one page or device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The last report.
    pub reported_at: Ms,
    /// The last activity.
    pub active_at: Ms,
    /// Since when another page is in front; `None` = this one is.
    pub hidden_at: Option<Ms>,
}

/// All sources of one customer. Those that left are not kept: never seen = offline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    sources: BTreeMap<String, Source>,
}

impl Presence {
    /// Takes one report in. Every report is a heartbeat; `idle_ms` absent leaves the last activity where it was,
    /// except at the first report and at each change to active, where it is now.
    pub fn report(
        &mut self,
        source_id: &str,
        state: PresenceState,
        idle_ms: Option<Ms>,
        now: Ms,
        policy: &PresencePolicy,
    ) {
        self.sources.retain(|_, source| !is_gone(source, now, policy));
        let known = self.sources.get(source_id).copied();
        let was_active = known.is_some_and(|s| s.hidden_at.is_none());
        let hidden_at = match state {
            PresenceState::Left => {
                self.sources.remove(source_id);
                return;
            }
            PresenceState::Active => None,
            PresenceState::Hidden => Some(known.and_then(|s| s.hidden_at).unwrap_or(now)),
        };
        let active_at = match (idle_ms, known) {
            (Some(idle_ms), _) => now.saturating_sub(idle_ms.max(0)),
            (None, Some(source)) if state == PresenceState::Hidden || was_active => source.active_at,
            (None, _) => now,
        };
        self.sources.insert(source_id.to_owned(), Source { reported_at: now, active_at, hidden_at });
        while self.sources.len() > MAX_SOURCES {
            let oldest = self.sources.iter().min_by_key(|(_, s)| s.reported_at).map(|(id, _)| id.clone());
            self.sources.remove(&oldest.unwrap_or_default());
        }
    }

    /// What is remembered, by the ids that pages and devices gave.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.sources.iter().map(|(id, source)| (id.as_str(), source))
    }

    /// Until when the customer counts as online if nothing more is heard; `None` = offline now.
    pub fn online_until(&self, now: Ms, policy: &PresencePolicy) -> Option<Ms> {
        let known = self.sources.values().filter(|source| !is_ahead(source, now, policy));
        known.map(|source| until(source, policy)).max().filter(|until| *until > now)
    }
}

/// Whether it reported by a clock that was set back since: what it said holds for no time anybody could name. Clocks of
/// several servers differ by less than the time-out of a heartbeat.
fn is_ahead(source: &Source, now: Ms, policy: &PresencePolicy) -> bool {
    source.reported_at > now.saturating_add(policy.heartbeat_timeout_ms)
}

/// Whether its next report is a first one. An idle or hidden source is not gone: its idleness must go on growing.
fn is_gone(source: &Source, now: Ms, policy: &PresencePolicy) -> bool {
    let timeout_ms = if source.hidden_at.is_none() { policy.heartbeat_timeout_ms } else { HIDDEN_KEPT_MS };
    now >= source.reported_at.saturating_add(timeout_ms) || is_ahead(source, now, policy)
}

/// The instant from which this source no longer speaks for the customer.
fn until(source: &Source, policy: &PresencePolicy) -> Ms {
    let idle = source.active_at.saturating_add(policy.idle_after_ms);
    match source.hidden_at {
        None => idle.min(source.reported_at.saturating_add(policy.heartbeat_timeout_ms)),
        // Browsers stop the timers of hidden pages: no heartbeat is expected of them.
        Some(hidden_at) => idle.min(hidden_at.saturating_add(policy.hidden_after_ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PresenceState::{Active, Hidden, Left};

    const POLICY: PresencePolicy =
        PresencePolicy { idle_after_ms: 270_000, hidden_after_ms: 270_000, heartbeat_timeout_ms: 60_000 };

    fn online(p: &Presence, now: Ms) -> bool {
        p.online_until(now, &POLICY).is_some()
    }

    /// D3: idle and hidden, at 269, 270 and 300 s.
    #[test]
    fn idle_and_hidden_end_at_270_s() {
        let mut hidden = Presence::default();
        hidden.report("tab", Hidden, None, 0, &POLICY);
        let mut idle = Presence::default();
        for at in (0..=300_000).step_by(30_000) {
            idle.report("tab", Active, None, at, &POLICY);
            for (now, expected) in [(269_000, true), (270_000, false), (300_000, false)] {
                if (at..at + 30_000).contains(&now) {
                    assert_eq!(online(&idle, now), expected, "idle {now}");
                }
                assert_eq!(online(&hidden, now), expected, "hidden {now}");
            }
        }
    }

    /// D3: left is at once, hidden_after 0 too, never seen is offline.
    #[test]
    fn left_and_never_seen_are_offline() {
        let mut p = Presence::default();
        assert!(!online(&p, 0));
        p.report("tab", Active, None, 0, &POLICY);
        p.report("tab", Left, None, 1, &POLICY);
        assert!(!online(&p, 1));
        let at_once = PresencePolicy { hidden_after_ms: 0, ..POLICY };
        p.report("tab", Hidden, None, 2, &at_once);
        assert!(p.online_until(2, &at_once).is_none());
    }

    /// D4: silence of an active source for 60 s; a second source keeps the customer online.
    #[test]
    fn a_silent_source_is_gone_after_60_s_and_sources_merge() {
        let mut p = Presence::default();
        p.report("tab", Active, None, 0, &POLICY);
        assert!(online(&p, 59_999) && !online(&p, 60_000));
        p.report("phone", Active, None, 30_000, &POLICY);
        assert_eq!(p.online_until(60_000, &POLICY), Some(90_000));
        p.report("phone", Left, None, 60_001, &POLICY);
        assert!(!online(&p, 60_001));
    }

    /// D3: `idle_ms` says when the last activity was; without it the last activity stays.
    #[test]
    fn idle_grows_until_activity_is_reported() {
        let mut p = Presence::default();
        p.report("tab", Active, Some(200_000), 0, &POLICY);
        assert_eq!(p.online_until(0, &POLICY), Some(60_000));
        p.report("tab", Active, None, 50_000, &POLICY);
        assert_eq!(p.online_until(50_000, &POLICY), Some(70_000));
        p.report("tab", Active, Some(0), 60_000, &POLICY);
        assert_eq!(p.online_until(60_000, &POLICY), Some(120_000));
        p.report("tab", Hidden, None, 61_000, &POLICY);
        p.report("tab", Active, None, 100_000, &POLICY);
        assert_eq!(p.online_until(100_000, &POLICY), Some(160_000), "a change to active is activity");
    }

    /// D4: the clock was set back by an hour since the last report: nobody is online for that hour, and the next report
    /// counts as a first one.
    #[test]
    fn a_clock_that_was_set_back_keeps_nobody_online() {
        const HOUR: Ms = 3_600_000;
        for state in [Active, Hidden] {
            let mut p = Presence::default();
            p.report("tab", state, None, HOUR, &POLICY);
            assert!(online(&p, HOUR - 60_000) && !online(&p, HOUR - 60_001) && !online(&p, 0), "{state:?}");
            p.report("tab", Active, None, 0, &POLICY);
            assert_eq!(p.online_until(0, &POLICY), Some(60_000), "{state:?}");
        }
    }

    /// D4: one customer's sources are bounded.
    #[test]
    fn sources_are_bounded() {
        let mut p = Presence::default();
        for i in 0..1000 {
            p.report(&format!("tab{i}"), Active, None, i, &POLICY);
        }
        assert_eq!(p.sources.len(), MAX_SOURCES);
    }
}
