//! HTTP dates: all three forms are read strictly, one is written (RFC 9110 §5.6.7).
//!
//! A weekday must be a weekday's name but need not be the right one: the rest of the date says enough. Names
//! and `GMT` are case-sensitive, as the RFC has them.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Wall;

/// What a date field of a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateField {
    /// The field is absent.
    Missing,
    /// It is there and no valid date, or one of several lines is none: for `Expires` that means already
    /// expired (RFC 9111 §5.3).
    Invalid,
    /// A date; the earliest where there are several lines.
    At(Wall),
}

impl DateField {
    /// The date, where there is a valid one.
    pub const fn at(self) -> Option<Wall> {
        match self {
            Self::At(at) => Some(at),
            Self::Missing | Self::Invalid => None,
        }
    }
}

/// Reads a date field. Of several lines the earliest date counts: RFC 9111 §4.2.1 leaves a cache the choice
/// between the first and taking the response for stale, and the earliest is always one of the two.
pub fn field(headers: &HeaderMap, name: &HeaderName, now: Wall) -> DateField {
    let mut found = DateField::Missing;
    for value in headers.get_all(name) {
        let Some(at) = parse(value.as_bytes(), now) else { return DateField::Invalid };
        found = match found {
            DateField::At(earlier) => DateField::At(earlier.min(at)),
            _ => DateField::At(at),
        };
    }
    found
}

/// A date in any of the three forms; dates before 1970 become 1970. `now` decides the century of a two-digit
/// year: one that would be more than 50 years ahead is in the past.
pub fn parse(value: &[u8], now: Wall) -> Option<Wall> {
    match value.get(3)? {
        b',' => imf_fixdate(value),
        b' ' => asctime(value),
        _ => rfc850(value, now),
    }
}

/// An IMF-fixdate, the only form we write.
pub fn format(at: Wall) -> HeaderValue {
    let text = httpdate::fmt_http_date(SystemTime::from(at.min(LAST)));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

/// The last second that an IMF-fixdate can express: the end of the year 9999.
const LAST: Wall = Wall::from_secs(253_402_300_799);

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
const LONG_DAYS: [&[u8]; 7] =
    [b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday", b"Sunday"];

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(value: &[u8]) -> Option<Wall> {
    let mut cursor = Cursor(value);
    cursor.one_of(&DAYS)?;
    cursor.literal(b", ")?;
    let day = cursor.number(2)?;
    cursor.literal(b" ")?;
    let month = cursor.one_of(&MONTHS)?;
    cursor.literal(b" ")?;
    let year = cursor.number(4)?;
    cursor.literal(b" ")?;
    let second = cursor.time_of_day()?;
    cursor.literal(b" GMT")?;
    cursor.end()?;
    assemble(year, month, day, second)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(value: &[u8], now: Wall) -> Option<Wall> {
    let mut cursor = Cursor(value);
    cursor.one_of(&LONG_DAYS)?;
    cursor.literal(b", ")?;
    let day = cursor.number(2)?;
    cursor.literal(b"-")?;
    let month = cursor.one_of(&MONTHS)?;
    cursor.literal(b"-")?;
    let short = cursor.number(2)?;
    cursor.literal(b" ")?;
    let second = cursor.time_of_day()?;
    cursor.literal(b" GMT")?;
    cursor.end()?;
    let this_year = year_of(now);
    let mut year = this_year - this_year % 100 + short;
    if year + 50 < this_year {
        year += 100;
    }
    if year > this_year + 50 {
        year -= 100;
    }
    assemble(year, month, day, second)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(value: &[u8]) -> Option<Wall> {
    let mut cursor = Cursor(value);
    cursor.one_of(&DAYS)?;
    cursor.literal(b" ")?;
    let month = cursor.one_of(&MONTHS)?;
    cursor.literal(b" ")?;
    let day = if cursor.literal(b" ").is_some() { cursor.number(1)? } else { cursor.number(2)? };
    cursor.literal(b" ")?;
    let second = cursor.time_of_day()?;
    cursor.literal(b" ")?;
    let year = cursor.number(4)?;
    cursor.end()?;
    assemble(year, month, day, second)
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn literal(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    /// The index of the name that comes next.
    fn one_of(&mut self, names: &[&[u8]]) -> Option<usize> {
        let index = names.iter().position(|name| self.0.starts_with(name))?;
        self.literal(names.get(index)?)?;
        Some(index)
    }

    /// Exactly this many digits.
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        number
            .iter()
            .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    }

    /// `08:49:37` in seconds; 60 seconds are a leap second.
    fn time_of_day(&mut self) -> Option<i64> {
        let hour = self.number(2)?;
        self.literal(b":")?;
        let minute = self.number(2)?;
        self.literal(b":")?;
        let second = self.number(2)?;
        (hour < 24 && minute < 60 && second <= 60).then_some((hour * 60 + minute) * 60 + second)
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// `month` counts from 0.
fn assemble(year: i64, month: usize, day: i64, second: i64) -> Option<Wall> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month = i64::try_from(month).ok()?;
    let last = match month {
        1 if leap => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    if day < 1 || day > last {
        return None;
    }
    let seconds = days_from_epoch(year, month, day) * 86_400 + second;
    Some(Wall::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Days from 1970-01-01 in the Gregorian calendar. Years are counted from March, so that the leap day is a
/// year's last day; 719 468 days lie between 0000-03-01 and the epoch.
const fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// The calendar year of a point in time.
fn year_of(at: Wall) -> i64 {
    let days = i64::try_from(at.min(LAST).secs() / 86_400).unwrap_or_default();
    // A year has at least 365 days, so this guess is at or after the year sought.
    let mut year = 1970 + days / 365;
    while days_from_epoch(year, 0, 1) > days {
        year -= 1;
    }
    year
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{NOW, headers};
    use super::*;

    /// RFC 9110 §5.6.7: the three forms of one moment.
    #[test]
    fn three_forms() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(parse(text.as_bytes(), NOW), Some(Wall::from_secs(784_111_777)), "{text}");
        }
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Wed, 31 Dec 1969 23:59:59 GMT", 0),
            ("Thu, 29 Feb 2024 23:59:60 GMT", 1_709_251_200),
            ("Tue Feb 29 00:00:00 2000", 951_782_400),
            ("Thu Aug 18 02:01:18 2050", 2_544_400_878),
        ] {
            assert_eq!(parse(text.as_bytes(), NOW), Some(Wall::from_secs(seconds)), "{text}");
        }
    }

    /// RFC 9110 §5.6.7: a two-digit year more than 50 years ahead is in the past. It is 2025.
    #[test]
    fn two_digit_years() {
        for (year, full) in
            [("25", "2025"), ("50", "2050"), ("75", "2075"), ("76", "1976"), ("94", "1994"), ("00", "2000")]
        {
            let short = parse(format!("Monday, 03-Mar-{year} 00:00:00 GMT").as_bytes(), NOW);
            let long = parse(format!("Mon, 03 Mar {full} 00:00:00 GMT").as_bytes(), NOW);
            assert!(short.is_some());
            assert_eq!(short, long, "{year}");
        }
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "0",
            "-1",
            "foo",
            "Sun",
            "Sun,",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18",
            "Thu, 18 Aug 2050 02:01:18 GMT+1",
            "THU, 18 Aug 2050 02:01:18 GMT",
            "Thu, 18 AUG 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 24:00:00 GMT",
            "Thu, 18 Aug 2050 02:60:18 GMT",
            "Thu, 18 Aug 2050 02:01:61 GMT",
            "Thu, 00 Aug 2050 02:01:18 GMT",
            "Wed, 29 Feb 2023 00:00:00 GMT",
            "Mon, 29 Feb 2100 00:00:00 GMT",
            "Mon, 31 Apr 2023 00:00:00 GMT",
            "Thu Aug 8 02:01:18 2050",
            "Thu, 18-Aug-50 02:01:18 GMT",
        ] {
            assert_eq!(parse(text.as_bytes(), NOW), None, "{text}");
        }
    }

    #[test]
    fn several_lines_count_as_the_earliest() {
        let (early, late) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT");
        let expires = http::header::EXPIRES;
        let read = |fields: &[(&str, &str)]| field(&headers(fields), &expires, NOW);
        assert_eq!(read(&[]), DateField::Missing);
        assert_eq!(
            read(&[("expires", late), ("expires", early)]),
            DateField::At(Wall::from_secs(784_111_777))
        );
        assert_eq!(read(&[("expires", late), ("expires", "0")]), DateField::Invalid);
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(seconds in 0..=LAST.secs()) {
            let text = format(Wall::from_secs(seconds));
            prop_assert_eq!(parse(text.as_bytes(), NOW), Some(Wall::from_secs(seconds)));
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, at: u64) {
            parse(&bytes, Wall::from_millis(at));
            format(Wall::from_millis(at));
        }

        #[test]
        fn nearly_dates_are_survived(text in "[A-Z][a-z]{2,8}[, ]{1,2}[0-9A-Za-z :-]{0,24}( GMT)?") {
            parse(text.as_bytes(), NOW);
        }
    }
}
