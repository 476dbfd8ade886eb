//! Quiet hours (D10): hold texts while the clock on the recipient's wall says so.
//!
//! It is quiet exactly while that clock shows a time from the start on and before the end. So a time that a change of
//! clocks skips is passed at the change, and one that comes twice counts both times. The rules of all zones are
//! compiled in: the same decision is made on every machine.

mod zones;

pub use zones::zone_of_country;

use crate::Ms;
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

const MINUTE_MS: Ms = 60_000;
const DAY_MS: Ms = 86_400_000;
/// Changes of clocks within one stretch of quiet, and stretches within a span, that are looked at: both are few.
const MAX_STEPS: usize = 128;

/// Daily hours in which no text is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuietHours {
    /// Minutes from midnight at which they begin.
    pub start_minute: u16,
    /// Minutes from midnight at which they end; not the start. Before it = on the next day.
    pub end_minute: u16,
    /// IANA name; for recipients whose own zone is not known.
    pub time_zone: String,
}

/// Whether the rules of this zone are known: an IANA name such as `Asia/Seoul`.
pub fn is_time_zone(name: &str) -> bool {
    zone(name).is_some()
}

impl QuietHours {
    /// When the quiet that holds at `now` ends for somebody in this zone; `None` = it is not quiet.
    pub fn until(&self, now: Ms, time_zone: Option<&str>) -> Option<Ms> {
        let zone = self.zone(time_zone)?;
        self.is_quiet(&zone, now)?.then(|| self.turn(&zone, now))?
    }

    /// How much of a span is quiet for somebody in this zone.
    pub fn within(&self, from: Ms, to: Ms, time_zone: Option<&str>) -> Ms {
        let Some(zone) = self.zone(time_zone) else { return 0 };
        let (mut at, mut quiet_ms) = (from, 0);
        for _ in 0..MAX_STEPS {
            let (Some(quiet), Some(turn)) = (self.is_quiet(&zone, at), self.turn(&zone, at)) else { break };
            let end = turn.min(to);
            if quiet {
                quiet_ms += (end - at).max(0);
            }
            if turn >= to {
                break;
            }
            at = turn;
        }
        quiet_ms
    }

    /// The recipient's zone, else the workspace's.
    fn zone(&self, recipients: Option<&str>) -> Option<TimeZone> {
        recipients.and_then(zone).or_else(|| zone(&self.time_zone))
    }

    /// Whether the clock shows a quiet time.
    fn is_quiet(&self, zone: &TimeZone, at: Ms) -> Option<bool> {
        let (start, end) = (Ms::from(self.start_minute) * MINUTE_MS, Ms::from(self.end_minute) * MINUTE_MS);
        let shown = shown(zone, at)?;
        Some(if start < end { (start..end).contains(&shown) } else { shown >= start || shown < end })
    }

    /// The next instant at which quiet begins or ends.
    fn turn(&self, zone: &TimeZone, from: Ms) -> Option<Ms> {
        let quiet = self.is_quiet(zone, from)?;
        let goal = Ms::from(if quiet { self.end_minute } else { self.start_minute }) * MINUTE_MS;
        let mut at = from;
        for _ in 0..MAX_STEPS {
            let left = (goal - shown(zone, at)?).rem_euclid(DAY_MS);
            let due = at.checked_add(if left == 0 { DAY_MS } else { left })?;
            let change = zone.following(Timestamp::from_millisecond(at).ok()?).next();
            let change = change.map(|change| change.timestamp().as_millisecond());
            match change.filter(|change| *change <= due) {
                None => return Some(due),
                // The clock jumps: what it shows then decides.
                Some(change) if self.is_quiet(zone, change)? != quiet => return Some(change),
                Some(change) => at = change,
            }
        }
        None
    }
}

/// What the clock on the wall shows, in milliseconds since midnight.
fn shown(zone: &TimeZone, at: Ms) -> Option<Ms> {
    let offset = zone.to_offset(Timestamp::from_millisecond(at).ok()?);
    Some((at + Ms::from(offset.seconds()) * 1_000).rem_euclid(DAY_MS))
}

fn zone(name: &str) -> Option<TimeZone> {
    // The compiled-in rules alone: no file is read, and every node knows the same ones.
    TimeZoneDatabase::bundled().get(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(start: &str, end: &str, time_zone: &str) -> QuietHours {
        let minute = |text: &str| {
            let (hour, minute) = text.split_once(':').unwrap();
            hour.parse::<u16>().unwrap() * 60 + minute.parse::<u16>().unwrap()
        };
        QuietHours { start_minute: minute(start), end_minute: minute(end), time_zone: time_zone.into() }
    }

    fn at(text: &str) -> Ms {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn until(hours: &QuietHours, now: &str) -> Option<String> {
        hours.until(at(now), None).map(|at| Timestamp::from_millisecond(at).unwrap().to_string())
    }

    /// D10: from 21:00 on and until 08:00, both sides of each end, over midnight.
    #[test]
    fn d10_the_night_is_quiet() {
        let night = hours("21:00", "08:00", "Asia/Seoul");
        for (now, end) in [
            ("2026-11-23T11:59:59.999Z", None),
            ("2026-11-23T12:00:00Z", Some("2026-11-23T23:00:00Z")),
            ("2026-11-23T15:00:00Z", Some("2026-11-23T23:00:00Z")),
            ("2026-11-23T22:59:59.999Z", Some("2026-11-23T23:00:00Z")),
            ("2026-11-23T23:00:00Z", None),
        ] {
            assert_eq!(until(&night, now).as_deref(), end, "{now}");
        }
        let noon = hours("12:00", "13:00", "Asia/Seoul");
        assert_eq!(until(&noon, "2026-11-23T03:30:00Z").unwrap(), "2026-11-23T04:00:00Z");
        assert_eq!(until(&noon, "2026-11-23T04:00:00Z"), None);
    }

    /// D10: a night is an hour shorter or longer where the clocks change in it.
    #[test]
    fn d10_the_end_is_what_the_clock_shows() {
        let night = hours("21:00", "08:00", "Europe/Berlin");
        // Clocks go from 02:00 to 03:00, and from 03:00 back to 02:00.
        assert_eq!(until(&night, "2026-03-28T20:00:00Z").unwrap(), "2026-03-29T06:00:00Z");
        assert_eq!(until(&night, "2026-10-24T19:00:00Z").unwrap(), "2026-10-25T07:00:00Z");
    }

    /// D10: an end or a start that a change of clocks skips is passed at the change.
    #[test]
    fn d10_a_skipped_time_is_passed_at_the_change() {
        // 01:59:59 is followed by 03:00 at 01:00Z.
        let ends = hours("22:00", "02:30", "Europe/Berlin");
        assert_eq!(until(&ends, "2026-03-28T23:00:00Z").unwrap(), "2026-03-29T01:00:00Z");
        assert_eq!(until(&ends, "2026-03-29T01:00:00Z"), None);
        let starts = hours("02:30", "08:00", "Europe/Berlin");
        assert_eq!(until(&starts, "2026-03-29T00:59:59.999Z"), None);
        assert_eq!(until(&starts, "2026-03-29T01:00:00Z").unwrap(), "2026-03-29T06:00:00Z");
        let gone = hours("02:00", "03:00", "Europe/Berlin");
        assert_eq!(gone.within(at("2026-03-28T12:00:00Z"), at("2026-03-29T12:00:00Z"), None), 0);
    }

    /// D10: a time that comes twice counts both times.
    #[test]
    fn d10_a_time_that_comes_twice_is_quiet_twice() {
        // 02:59:59 is followed by 02:00 at 01:00Z.
        let twice = hours("22:00", "02:30", "Europe/Berlin");
        assert_eq!(until(&twice, "2026-10-24T23:00:00Z").unwrap(), "2026-10-25T00:30:00Z");
        assert_eq!(until(&twice, "2026-10-25T00:45:00Z"), None, "02:45, the first time");
        assert_eq!(until(&twice, "2026-10-25T01:00:00Z").unwrap(), "2026-10-25T01:30:00Z", "02:00 again");
        let day = (at("2026-10-24T12:00:00Z"), at("2026-10-25T12:00:00Z"));
        assert_eq!(twice.within(day.0, day.1, None), 5 * 3_600_000, "4.5 h, and half an hour again");
    }

    /// D10: zones of half hours, of a change at midnight, of a day that was left out.
    #[test]
    fn d10_odd_zones_are_exact() {
        let night = |zone| hours("21:00", "08:00", zone);
        assert_eq!(until(&night("Asia/Kolkata"), "2026-11-23T15:30:00Z").unwrap(), "2026-11-24T02:30:00Z");
        assert_eq!(until(&night("Australia/Lord_Howe"), "2026-10-03T11:00:00Z").unwrap(), "2026-10-03T21:00:00Z");
        // Midnight to 00:59:59 did not exist on this day.
        assert_eq!(until(&hours("00:00", "01:00", "America/Sao_Paulo"), "2018-11-04T03:00:00Z"), None);
        // Samoa went from the end of the 29th to the 31st.
        assert_eq!(until(&night("Pacific/Apia"), "2011-12-30T09:00:00Z").unwrap(), "2011-12-30T18:00:00Z");
    }

    /// D10: the recipient's zone, else the workspace's; nobody's is UTC by itself.
    #[test]
    fn d10_the_recipients_zone_goes_first() {
        let night = hours("21:00", "08:00", "Asia/Seoul");
        let now = at("2026-11-23T21:00:00Z");
        assert!(night.until(now, None).is_some() && night.until(now, Some("Mars/Olympus")).is_some());
        assert_eq!(night.until(now, Some("America/New_York")), None, "16:00 there");
        assert_eq!(hours("21:00", "08:00", "").until(now, None), None);
    }

    /// D10, P13: how much of a span was quiet, however long it is.
    #[test]
    fn d10_the_quiet_of_a_span_is_summed() {
        let night = hours("21:00", "08:00", "Asia/Seoul");
        let evening = at("2026-11-23T11:00:00Z");
        assert_eq!(night.within(evening, evening + DAY_MS, None), 11 * 3_600_000);
        assert_eq!(night.within(evening, evening + 3_600_000, None), 0);
        assert_eq!(night.within(evening, evening + 3_600_001, None), 1);
        assert_eq!(night.within(evening + 7_200_000, evening + 7_200_000, None), 0);
        assert_eq!(night.within(evening, evening + 30 * DAY_MS, None), 330 * 3_600_000);
        assert!(night.within(evening, evening + 3_650 * DAY_MS, None) < 70 * DAY_MS, "and ends");
        assert_eq!(night.within(Ms::MAX - 1, Ms::MAX, None), 0, "beyond all calendars");
    }

    /// D10: every zone of the table is a zone; a country with several has none.
    #[test]
    fn d10_countries_of_one_zone_have_it() {
        assert_eq!(zone_of_country("KR"), Some("Asia/Seoul"));
        assert_eq!(zone_of_country("DE"), Some("Europe/Berlin"));
        for several in ["US", "BR", "AU", "RU", "ES", "XX", ""] {
            assert_eq!(zone_of_country(several), None, "{several}");
        }
        for a in b'A'..=b'Z' {
            for b in b'A'..=b'Z' {
                let code = [a as char, b as char].iter().collect::<String>();
                assert!(zone_of_country(&code).is_none_or(is_time_zone), "{code}");
            }
        }
    }
}
