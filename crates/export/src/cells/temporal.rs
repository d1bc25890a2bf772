//! Dates, times, durations and intervals as ISO 8601, for every value that the types can hold.
//!
//! The digits of the second's fraction are those of the stored unit, always. Years outside 0 to 9999 are
//! written with a sign, as ISO 8601 demands. Nothing is rounded and nothing overflows.

use std::cell::{Cell, RefCell};

use super::Text;
use super::text::Piece;

const SECONDS_PER_DAY: i64 = 86_400;

/// Ticks per second and the digits of a fraction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Precision {
    ticks: u64,
    digits: usize,
}

pub(super) const SECONDS: Precision = Precision { ticks: 1, digits: 0 };
pub(super) const MILLIS: Precision = Precision { ticks: 1_000, digits: 3 };
pub(super) const MICROS: Precision = Precision { ticks: 1_000_000, digits: 6 };
pub(super) const NANOS: Precision = Precision { ticks: 1_000_000_000, digits: 9 };

impl Precision {
    pub(super) fn split(self, value: i64) -> (i64, u64) {
        // Divisions by constants are much faster.
        match self.ticks {
            1 => (value, 0),
            1_000 => divide::<1_000>(value),
            1_000_000 => divide::<1_000_000>(value),
            _ => divide::<1_000_000_000>(value),
        }
    }
}

fn divide<const TICKS: i64>(value: i64) -> (i64, u64) {
    (value.div_euclid(TICKS), value.rem_euclid(TICKS).cast_unsigned())
}

/// Appends `2020-02-29`.
pub(super) fn date(days: i64, out: &mut Text) {
    let (year, month, day) = civil(days);
    push_year(year, out);
    out.push(b'-');
    push_two(month, out);
    out.push(b'-');
    push_two(day, out);
}

/// Writes instants, and remembers the day of the one before: neighbours mostly share it.
pub(super) struct Instants {
    precision: Precision,
    /// What stands behind the digits.
    end: Piece,
    day: Cell<i64>,
    /// What stands between day and time.
    between: u8,
    /// `2020-02-29T`.
    prefix: RefCell<Piece>,
}

impl Instants {
    pub(super) fn new(precision: Precision, (between, end): (u8, &[u8])) -> Self {
        let first = [b"1970-01-01".as_slice(), &[between]].concat();
        let (day, prefix) = (Cell::new(0), RefCell::new(Piece::new(&first)));
        Self { precision, end: Piece::new(end), day, between, prefix }
    }

    /// Appends `2020-02-29T12:30:00.123` and the end.
    pub(super) fn write(&self, value: i64, out: &mut Text) {
        let (seconds, fraction) = self.precision.split(value);
        let day = seconds.div_euclid(SECONDS_PER_DAY);
        if self.day.get() != day {
            let mut prefix = Text::default();
            date(day, &mut prefix);
            prefix.push(self.between);
            self.day.set(day);
            self.prefix.replace(Piece::new(prefix.as_slice()));
        }
        out.piece(&self.prefix.borrow());
        push_clock(seconds.rem_euclid(SECONDS_PER_DAY).cast_unsigned(), out);
        push_fraction(fraction, self.precision.digits, out);
        out.piece(&self.end);
    }
}

/// Appends `12:30:00.123`. A value outside the day, which no sane writer stores, keeps its hours or sign.
pub(super) fn time(value: i64, precision: Precision, out: &mut Text) {
    if value < 0 {
        out.push(b'-');
    }
    let value = value.unsigned_abs();
    push_clock(value / precision.ticks, out);
    push_fraction(value % precision.ticks, precision.digits, out);
}

/// Appends `PT90061.000001S`; a negative one starts with `-`.
pub(super) fn duration(value: i64, precision: Precision, out: &mut Text) {
    if value < 0 {
        out.push(b'-');
    }
    let value = value.unsigned_abs();
    out.extend_from_slice(b"PT");
    push_number(value / precision.ticks, out);
    push_fraction(value % precision.ticks, precision.digits, out);
    out.push(b'S');
}

/// Appends `P14M3DT1.500000000S`; each number has its own sign, zero ones are left out, none is `PT0S`.
pub(super) fn interval(months: i32, days: i32, nanos: i64, out: &mut Text) {
    if months == 0 && days == 0 && nanos == 0 {
        out.extend_from_slice(b"PT0S");
        return;
    }
    out.push(b'P');
    for (number, letter) in [(months, b'M'), (days, b'D')] {
        if number != 0 {
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            out.push(letter);
        }
    }
    if nanos != 0 {
        out.push(b'T');
        if nanos < 0 {
            out.push(b'-');
        }
        let nanos = nanos.unsigned_abs();
        push_number(nanos / NANOS.ticks, out);
        push_fraction(nanos % NANOS.ticks, NANOS.digits, out);
        out.push(b'S');
    }
}

/// Returns year, month and day of a count of days since 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, u64, u64) {
    // Years begin in March here, so that the leap day is the last of the year.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month.cast_unsigned(), day.cast_unsigned())
}

fn push_year(year: i64, out: &mut Text) {
    if !(0..=9999).contains(&year) {
        out.push(if year < 0 { b'-' } else { b'+' });
    }
    let year = year.unsigned_abs();
    if year < 10_000 {
        push_two(year / 100, out);
        push_two(year % 100, out);
    } else {
        push_number(year, out);
    }
}

fn push_clock(seconds: u64, out: &mut Text) {
    match seconds / 3600 {
        hours @ 0..100 => push_two(hours, out),
        hours => push_number(hours, out),
    }
    out.push(b':');
    push_two(seconds / 60 % 60, out);
    out.push(b':');
    push_two(seconds % 60, out);
}

fn push_fraction(mut fraction: u64, digits: usize, out: &mut Text) {
    if digits == 0 {
        return;
    }
    let room = out.room(1 + 9);
    room[0] = b'.';
    for place in room[1..=digits].iter_mut().rev() {
        *place = digit(fraction % 10);
        fraction /= 10;
    }
    out.advance(1 + digits);
}

fn push_two(number: u64, out: &mut Text) {
    let room = out.room(2);
    room[0] = digit(number / 10);
    room[1] = digit(number % 10);
    out.advance(2);
}

fn push_number(number: u64, out: &mut Text) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn digit(number: u64) -> u8 {
    debug_assert!(number < 10, "callers pass one digit");
    b'0' | number.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, NaiveDate};
    use proptest::prelude::*;

    fn text(write: impl Fn(&mut Text)) -> String {
        let mut out = Text::default();
        write(&mut out);
        String::from_utf8(out.into_vec()).expect("ASCII")
    }

    fn at(value: i64, precision: Precision) -> String {
        text(|out| Instants::new(precision, (b'T', b"")).write(value, out))
    }

    #[test]
    fn the_fraction_has_the_stored_precision() {
        assert_eq!(at(0, SECONDS), "1970-01-01T00:00:00");
        assert_eq!(at(-1, MILLIS), "1969-12-31T23:59:59.999");
        assert_eq!(at(1_582_979_400_000_001, MICROS), "2020-02-29T12:30:00.000001");
        assert_eq!(at(1, NANOS), "1970-01-01T00:00:00.000000001");
    }

    #[test]
    fn years_outside_four_digits_have_a_sign() {
        assert_eq!(at(253_402_300_800, SECONDS), "+10000-01-01T00:00:00");
        assert_eq!(at(-62_167_219_201, SECONDS), "-0001-12-31T23:59:59");
        assert_eq!(at(i64::MIN, NANOS), "1677-09-21T00:12:43.145224192");
        assert_eq!(at(i64::MAX, SECONDS), "+292277026596-12-04T15:30:07");
        assert_eq!(at(i64::MIN, SECONDS), "-292277022657-01-27T08:29:52");
    }

    #[test]
    fn durations_and_intervals_keep_signs() {
        assert_eq!(text(|out| duration(-1_500, MILLIS, out)), "-PT1.500S");
        assert_eq!(text(|out| duration(90_061, SECONDS, out)), "PT90061S");
        assert_eq!(text(|out| duration(i64::MIN, NANOS, out)), "-PT9223372036.854775808S");
        assert_eq!(text(|out| interval(14, -3, -1_500_000_000, out)), "P14M-3DT-1.500000000S");
        assert_eq!(text(|out| interval(0, 0, 0, out)), "PT0S");
    }

    #[test]
    fn times_outside_the_day_do_not_break() {
        assert_eq!(text(|out| time(86_399_999, MILLIS, out)), "23:59:59.999");
        assert_eq!(text(|out| time(360_000, SECONDS, out)), "100:00:00");
        assert_eq!(text(|out| time(-1, SECONDS, out)), "-00:00:01");
    }

    proptest! {
        #[test]
        fn dates_agree_with_chrono(days in -719_162_i64..2_932_896) {
            let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date");
            let expected = epoch + chrono::TimeDelta::days(days);
            prop_assert_eq!(text(|out| date(days, out)), expected.format("%Y-%m-%d").to_string());
        }

        #[test]
        fn instants_agree_with_chrono(micros in -62_135_596_800_000_000_i64..253_402_300_799_999_999) {
            let expected = DateTime::from_timestamp_micros(micros).expect("in range");
            prop_assert_eq!(at(micros, MICROS), expected.format("%Y-%m-%dT%H:%M:%S%.6f").to_string());
        }
    }
}
