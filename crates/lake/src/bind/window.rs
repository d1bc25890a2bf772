//! Time windows as conditions.

use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use model::relation::Selection;

use crate::session::{Error, quote};

/// Nanoseconds of a second.
const SECOND: i128 = 1_000_000_000;

/// Nanoseconds of a day.
const DAY: i128 = 86_400 * SECOND;

/// The side of a window.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Since,
    Until,
}

/// Returns the conditions `since <= column < until`, exact in the column's own precision.
///
/// Shape: a time without a zone is taken as UTC, a date as its midnight in UTC. `name` is the dataset or
/// view, for messages.
pub(crate) fn conditions(
    selection: &Selection,
    name: &str,
    column: &str,
    kind: &DataType,
) -> Result<Vec<String>, Error> {
    let sides = [(Side::Since, selection.since), (Side::Until, selection.until)];
    let mut out = Vec::new();
    for (side, at) in sides {
        let Some(at) = at else { continue };
        let condition = match kind {
            DataType::Timestamp(unit, _) => timestamp(side, *unit, at, kind, column),
            DataType::Date32 => date(side, at, column),
            _ => {
                let kind =
                    model::schema::Schema::from_arrow(&datafusion::arrow::datatypes::Schema::new(
                        vec![datafusion::arrow::datatypes::Field::new(column, kind.clone(), true)],
                    ))
                    .map_or_else(|_| kind.to_string(), |schema| schema.fields[0].kind.to_string());
                return Err(Error::NotTime { name: name.into(), column: column.into(), kind });
            }
        };
        out.push(condition);
    }
    Ok(out)
}

fn comparison(side: Side) -> &'static str {
    match side {
        Side::Since => ">=",
        Side::Until => "<",
    }
}

/// Returns the first tick of a time column's type at or after `at`; none if the type is no time.
pub(crate) fn bound_ticks(at: DateTime<Utc>, kind: &DataType) -> Option<i128> {
    let tick = match kind {
        DataType::Timestamp(unit, _) => tick(*unit),
        DataType::Date32 => DAY,
        _ => return None,
    };
    Some(ceil(nanos(at), tick))
}

/// Returns the nanoseconds of a unit.
fn tick(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => SECOND,
        TimeUnit::Millisecond => SECOND / 1_000,
        TimeUnit::Microsecond => SECOND / 1_000_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// A bound between two ticks is raised to the next: that moves no row to the other side.
fn timestamp(
    side: Side,
    unit: TimeUnit,
    at: DateTime<Utc>,
    kind: &DataType,
    column: &str,
) -> String {
    let Ok(ticks) = i64::try_from(ceil(nanos(at), tick(unit))) else {
        // The column cannot hold times as far away as the bound: all of them are on one side of it.
        let all_times = (side == Side::Since) == (nanos(at) < 0);
        return if all_times { format!("{} IS NOT NULL", quote(column)) } else { "false".into() };
    };
    let (column, compare) = (quote(column), comparison(side));
    let kind = kind.to_string().replace('\'', "''");
    format!("{column} {compare} arrow_cast({ticks}, '{kind}')")
}

fn date(side: Side, at: DateTime<Utc>, column: &str) -> String {
    let days = ceil(nanos(at), DAY);
    let (column, compare) = (quote(column), comparison(side));
    format!("{column} {compare} arrow_cast(arrow_cast({days}, 'Int32'), 'Date32')")
}

fn nanos(at: DateTime<Utc>) -> i128 {
    i128::from(at.timestamp()) * SECOND + i128::from(at.timestamp_subsec_nanos())
}

fn ceil(value: i128, unit: i128) -> i128 {
    value.div_euclid(unit) + i128::from(value.rem_euclid(unit) != 0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn check(kind: &DataType, since: &str, expected: &str) {
        let since = Some(since.parse().unwrap());
        let selection = Selection { since, ..Selection::default() };
        let found = conditions(&selection, "d", "at", kind).unwrap();
        assert_eq!(found, [expected]);
    }

    #[test]
    fn bounds_are_raised_to_the_precision_of_the_column() {
        let seconds = DataType::Timestamp(TimeUnit::Second, None);
        check(&seconds, "1970-01-01T00:00:01Z", "\"at\" >= arrow_cast(1, 'Timestamp(s)')");
        check(&seconds, "1970-01-01T00:00:01.5Z", "\"at\" >= arrow_cast(2, 'Timestamp(s)')");
        check(&seconds, "1970-01-01T00:00:01.0000005Z", "\"at\" >= arrow_cast(2, 'Timestamp(s)')");
        let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
        check(
            &nanos,
            "1970-01-01T00:00:00.000000500Z",
            "\"at\" >= arrow_cast(500, 'Timestamp(ns)')",
        );
        check(&seconds, "1969-12-31T23:59:58.5Z", "\"at\" >= arrow_cast(-1, 'Timestamp(s)')");
        // Rows without a time are in no window.
        check(&nanos, "0001-01-01T00:00:00Z", "\"at\" IS NOT NULL");
        check(&nanos, "9999-01-01T00:00:00Z", "false");
        let date = "\"at\" >= arrow_cast(arrow_cast(1, 'Int32'), 'Date32')";
        check(&DataType::Date32, "1970-01-01T00:00:00.000001Z", date);
    }

    #[test]
    fn text_is_not_a_time() {
        let since = Some("2026-01-01T00:00:00Z".parse().unwrap());
        let selection = Selection { since, ..Selection::default() };
        let error = conditions(&selection, "d", "at", &DataType::Utf8).unwrap_err();
        assert!(error.to_string().contains("`at` of `d` is `string`"), "{error}");
    }
}
