//! The types of reports: which view each is, and how its rows are written.
//!
//! Contract: a workspace that has a view of a report's name gets its rows instead; what it is to be is told in `docs/guides/map-your-data.md`.

use std::collections::BTreeMap;

use model::format::FormatSpec;

use super::{Integers, Rows, Settings, Timestamps};

/// Bytes of a file at most: whoever asks for a part near the end of one has it unpacked from its beginning.
const FILE_BYTES: u64 = 32 << 20;

/// A type of report.
#[derive(Debug)]
pub(super) struct Report {
    /// In the path, in any case.
    pub(super) name: &'static str,
    /// Its rows of today (LR-20 to LR-26).
    pub(super) current: Form,
    /// Its rows of the older generation (LR-27), if they are others.
    pub(super) rest: Option<Form>,
}

/// How the rows of a report are made.
#[derive(Debug)]
pub(super) struct Form {
    /// The view.
    pub(super) view: &'static str,
    /// What it is, unless a workspace has its own.
    pub(super) sql: &'static str,
    /// The column that the window is on; of the rows that go in without one.
    pub(super) time: Option<&'static str>,
    /// The canonical datasets that it reads.
    pub(super) reads: &'static [&'static str],
    /// How its rows are written.
    pub(super) style: Style,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// As the settings say; null fields are left out.
    Chosen,
    /// As JSON resources: numbers as numbers, ISO 8601; null fields are left out.
    Resource,
    /// The same with null fields.
    Whole,
}

const fn current(
    view: &'static str,
    sql: &'static str,
    time: Option<&'static str>,
    reads: &'static [&'static str],
) -> Form {
    Form { view, sql, time, reads, style: Style::Chosen }
}

const fn rest(
    view: &'static str,
    sql: &'static str,
    time: Option<&'static str>,
    reads: &'static [&'static str],
) -> Form {
    Form { view, sql, time, reads, style: Style::Resource }
}

/// The union of all generations (LR-01).
pub(super) static REPORTS: [Report; 7] = [
    Report {
        name: "account",
        current: Form {
            style: Style::Resource,
            ..current(
                "liferay.account",
                include_str!("views/account.sql"),
                Some("dateCreated"),
                &["account"],
            )
        },
        rest: None,
    },
    Report {
        name: "event",
        current: current(
            "liferay.event",
            include_str!("views/event.sql"),
            Some("eventDate"),
            &["event"],
        ),
        rest: Some(rest(
            "liferay.event.rest",
            include_str!("views/event.rest.sql"),
            Some("startTime"),
            &["event"],
        )),
    },
    Report {
        name: "identity",
        current: current(
            "liferay.identity",
            include_str!("views/identity.sql"),
            Some("createDate"),
            &["identity", "individual"],
        ),
        rest: None,
    },
    Report {
        name: "individual",
        current: current(
            "liferay.individual",
            include_str!("views/individual.sql"),
            Some("createDate"),
            &["individual"],
        ),
        rest: Some(rest(
            "liferay.individual.rest",
            include_str!("views/individual.rest.sql"),
            Some("dateCreated"),
            &["individual"],
        )),
    },
    Report {
        name: "membership",
        current: current(
            "liferay.membership",
            include_str!("views/membership.sql"),
            Some("createDate"),
            &["membership"],
        ),
        rest: None,
    },
    Report {
        name: "page",
        current: current("liferay.page", include_str!("views/page.sql"), None, &["event"]),
        rest: Some(Form {
            style: Style::Whole,
            ..rest("liferay.page.rest", include_str!("views/page.rest.sql"), None, &["event"])
        }),
    },
    Report {
        name: "segment",
        current: current(
            "liferay.segment",
            include_str!("views/segment.sql"),
            Some("createDate"),
            &["segment"],
        ),
        rest: Some(rest(
            "liferay.segment.rest",
            include_str!("views/segment.rest.sql"),
            Some("dateCreated"),
            &["segment"],
        )),
    },
];

impl Report {
    /// Returns the report of that name. `DIFFERENCE:` in any case, where the vendor takes lower case alone (LR-01).
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        REPORTS.iter().find(|report| report.name.eq_ignore_ascii_case(name))
    }

    /// Returns the name as answers have it.
    pub(super) fn kind(&self) -> String {
        self.name.to_ascii_uppercase()
    }

    /// Returns how its rows are made.
    pub(super) fn form(&self, rows: Rows) -> &Form {
        match (rows, &self.rest) {
            (Rows::Rest, Some(rest)) => rest,
            _ => &self.current,
        }
    }
}

impl Form {
    /// Returns as what its rows are written: files that can be given out as one.
    pub(super) fn format(&self, settings: &Settings) -> FormatSpec {
        let is_chosen = self.style == Style::Chosen;
        let int64 = match settings.integers {
            Integers::String if is_chosen => "string",
            _ => "number",
        };
        let timestamps = match settings.timestamps {
            Timestamps::Sql if is_chosen => "sql",
            _ => "iso",
        };
        let nulls = if self.style == Style::Whole { "keep" } else { "omit" };
        let options = [
            ("gzip.members", "one"),
            ("jsonl.int64", int64),
            ("jsonl.nulls", nulls),
            ("jsonl.timestamps", timestamps),
        ];
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        FormatSpec {
            compression: Some("gzip".into()),
            file_bytes: Some(FILE_BYTES),
            options: options.map(owned).into_iter().collect::<BTreeMap<_, _>>(),
            ..FormatSpec::new("jsonl")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        for name in ["page", "PAGE", "Page"] {
            assert_eq!(Report::named(name).map(Report::kind).as_deref(), Some("PAGE"));
        }
        assert!(Report::named("pages").is_none() && Report::named("").is_none());
    }

    #[test]
    fn only_what_differs_has_an_older_form() {
        let of = |name| Report::named(name).expect("there is one");
        assert_eq!(of("event").form(Rows::Rest).view, "liferay.event.rest");
        assert_eq!(of("event").form(Rows::Current).view, "liferay.event");
        assert_eq!(of("membership").form(Rows::Rest).view, "liferay.membership");
    }
}
