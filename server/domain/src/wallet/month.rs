//! A month of the calendar, UTC: what grants last for and usage is added up by (S3, S9).

use crate::Ms;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Months since the year 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Month(i32);

impl Month {
    /// The one that this instant is in.
    pub fn of(at: Ms) -> Month {
        let date = Timestamp::from_millisecond(at).unwrap_or_default().to_zoned(TimeZone::UTC).date();
        Month(i32::from(date.year()) * 12 + i32::from(date.month()) - 1)
    }

    /// `2026-11`; `None` unless `text` is exactly what [`fmt::Display`] prints.
    pub fn parse(text: &str) -> Option<Month> {
        let (year, month) = text.split_once('-')?;
        let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
        let fits = digits(year, 4) && digits(month, 2);
        let (year, month): (i32, i32) = (year.parse().ok()?, month.parse().ok()?);
        (fits && (1970..=9998).contains(&year) && (1..=12).contains(&month)).then_some(Month(year * 12 + month - 1))
    }

    /// Its first instant.
    pub fn start(self) -> Ms {
        let (year, month) = (i16::try_from(self.year()), i8::try_from(self.0.rem_euclid(12) + 1));
        let first = year.ok().zip(month.ok()).and_then(|(year, month)| Date::new(year, month, 1).ok());
        first.and_then(|date| date.to_zoned(TimeZone::UTC).ok()).map_or(Ms::MAX, |at| at.timestamp().as_millisecond())
    }

    /// The first instant of the next one.
    pub fn end(self) -> Ms {
        Month(self.0 + 1).start()
    }

    fn year(self) -> i32 {
        self.0.div_euclid(12)
    }

    /// The number that it is stored as.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year(), self.0.rem_euclid(12) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S3, S9: both sides of a month's end, of a year's, of February's.
    #[test]
    fn a_month_ends_where_the_next_begins() {
        for (text, days) in [("2026-11", 30), ("2026-12", 31), ("2026-02", 28), ("2028-02", 29), ("2100-02", 28)] {
            let month = Month::parse(text).expect("a month");
            assert_eq!(month.to_string(), text);
            assert_eq!(month.end() - month.start(), days * 86_400_000, "{text}");
            assert_eq!((Month::of(month.start()), Month::of(month.end() - 1)), (month, month));
            assert_eq!(
                (Month::of(month.end()).start(), Month::of(month.start() - 1).end()),
                (month.end(), month.start())
            );
        }
        assert_eq!(Month::parse("2026-11").map(Month::start), Some(1_793_491_200_000));
    }

    /// W4: other spellings are no months.
    #[test]
    fn a_month_is_written_in_one_way() {
        for bad in ["", "2026", "2026-1", "2026-13", "2026-00", "26-11", "2026-11-01", "+026-11", "1969-12", "9999-01"]
        {
            assert_eq!(Month::parse(bad), None, "{bad}");
        }
    }
}
