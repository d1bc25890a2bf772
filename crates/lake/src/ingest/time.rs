//! Reads times from text.
//!
//! Contract: RFC 3339, with a space in place of the `T` too, seconds and their fraction optional, a zone
//! optional (`Z`, `+02:00`, `+0200`, `+02`), and a date alone, which is midnight. Nothing is rounded: what
//! a unit cannot hold is refused.

use chrono::{NaiveDate, NaiveTime};
use model::schema::Unit;

/// A time as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instant {
    /// Seconds since 1970, in UTC if `zoned`, else on the wall.
    seconds: i64,
    nanos: u32,
    /// Whether a zone was written.
    pub(super) zoned: bool,
    /// Digits of the fraction.
    pub(super) digits: usize,
}

impl Instant {
    /// Returns the count of units since 1970; `None` if digits would be lost or it does not fit.
    pub(super) fn count(self, unit: Unit) -> Option<i64> {
        let per_second = per_second(unit);
        let step = 1_000_000_000 / per_second;
        let nanos = i64::from(self.nanos);
        if nanos % step != 0 {
            return None;
        }
        // The first second of a range holds values although its own count lies before it.
        let whole = i128::from(self.seconds) * i128::from(per_second);
        i64::try_from(whole + i128::from(nanos / step)).ok()
    }
}

/// Returns units in a second.
pub(super) fn per_second(unit: Unit) -> i64 {
    match unit {
        Unit::S => 1,
        Unit::Ms => 1_000,
        Unit::Us => 1_000_000,
        Unit::Ns => 1_000_000_000,
    }
}

/// Reads a date and time.
pub(super) fn instant(text: &str) -> Option<Instant> {
    let date = date(text.get(..10)?)?;
    let rest = &text[10..];
    let midnight = date.and_time(NaiveTime::MIN).and_utc().timestamp();
    if rest.is_empty() {
        return Some(Instant { seconds: midnight, nanos: 0, zoned: false, digits: 0 });
    }
    let clock = rest.strip_prefix(['T', 't', ' '])?;
    let zone_at = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(zone_at);
    let (seconds, nanos, digits) = clock_time(clock)?;
    let offset = offset(zone)?;
    let seconds = midnight + seconds - offset.unwrap_or(0);
    Some(Instant { seconds, nanos, zoned: offset.is_some(), digits })
}

/// Reads a date, `YYYY-MM-DD`.
pub(super) fn date(text: &str) -> Option<NaiveDate> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let year = i32::try_from(number(text.get(..4)?)?).ok()?;
    let month = u32::try_from(number(text.get(5..7)?)?).ok()?;
    let day = u32::try_from(number(text.get(8..)?)?).ok()?;
    NaiveDate::from_ymd_opt(year, month, day)
}

/// Reads a time of day; returns units since midnight.
pub(super) fn time_of_day(text: &str, unit: Unit) -> Option<i64> {
    let (seconds, nanos, digits) = clock_time(text)?;
    Instant { seconds, nanos, zoned: false, digits }.count(unit)
}

/// `HH:MM[:SS[.f…]]` as seconds, nanoseconds and digits of the fraction.
fn clock_time(text: &str) -> Option<(i64, u32, usize)> {
    let bytes = text.as_bytes();
    if bytes.len() < 5 || bytes[2] != b':' {
        return None;
    }
    let hour = number(text.get(..2)?)?;
    let minute = number(text.get(3..5)?)?;
    let rest = &text[5..];
    let (second, fraction) = if rest.is_empty() {
        (0, "")
    } else {
        let rest = rest.strip_prefix(':')?;
        let second = number(rest.get(..2)?)?;
        match rest[2..].strip_prefix('.') {
            Some(fraction) if !fraction.is_empty() => (second, fraction),
            None if rest.len() == 2 => (second, ""),
            _ => return None,
        }
    };
    if hour > 23 || minute > 59 || second > 59 || fraction.len() > 9 {
        return None;
    }
    let nanos = if fraction.is_empty() {
        0
    } else {
        let scale = 10_u32.pow(9 - u32::try_from(fraction.len()).ok()?);
        u32::try_from(number(fraction)?).ok()? * scale
    };
    Some((hour * 3600 + minute * 60 + second, nanos, fraction.len()))
}

/// Seconds east of UTC; `Some(None)` where nothing is written.
#[expect(clippy::option_option, reason = "not a zone, no zone, a zone")]
fn offset(text: &str) -> Option<Option<i64>> {
    let sign = match text.as_bytes().first() {
        None => return Some(None),
        Some(b'Z' | b'z') => return (text.len() == 1).then_some(Some(0)),
        Some(b'-') => -1,
        Some(_) => 1,
    };
    let (hours, minutes) = match text.len() {
        3 => (number(text.get(1..)?)?, 0),
        5 => (number(text.get(1..3)?)?, number(text.get(3..)?)?),
        6 if text.as_bytes()[3] == b':' => (number(text.get(1..3)?)?, number(text.get(4..)?)?),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(Some(sign * (hours * 3600 + minutes * 60)))
}

fn number(text: &str) -> Option<i64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_common_forms() {
        let check = |text: &str, want: Option<(i64, bool)>| {
            let got = instant(text).map(|at| (at.count(Unit::Ns).expect("fits"), at.zoned));
            assert_eq!(got, want, "{text}");
        };
        let second = 1_000_000_000;
        check("1970-01-01T00:00:01Z", Some((second, true)));
        check("1970-01-01T00:00:01.5+00:00", Some((second + 500_000_000, true)));
        check("1970-01-01 02:00:01 ", None);
        check("1970-01-01 02:00:01+0200", Some((second, true)));
        check("1970-01-01 00:00:01", Some((second, false)));
        check("1970-01-01 00:01", Some((60 * second, false)));
        check("1970-01-02", Some((86_400 * second, false)));
        check("1970-01-01T00:00:00.123456789Z", Some((123_456_789, true)));
        check("1970-02-30", None);
        check("1970-01-01T24:00:00Z", None);
        check("1970-01-01T00:00:00.Z", None);
        check("1970-01-01T00:00:00é", None);
        check("hello", None);
        check("", None);
    }

    #[test]
    fn refuses_to_lose_digits() {
        let at = instant("2020-01-01T00:00:00.000000001Z").expect("a time");
        assert_eq!(at.count(Unit::Us), None);
        assert_eq!(instant("9999-01-01").expect("a time").count(Unit::Ns), None);
        assert_eq!(time_of_day("00:00:01.5", Unit::Ms), Some(1500));
    }
}
