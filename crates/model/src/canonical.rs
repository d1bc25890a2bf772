//! The canonical datasets: what doors that bring rows of their own fill, and what their reports read unless a workspace maps its own tables.
//!
//! Contract: a dataset of one of these names is made with these columns when a door first needs it; one that is there already gets the columns
//! that it lacks, and keeps its own. What each column is, and what becomes of it at which door, is told in `docs/guides/canonical-data.md`.

use crate::dataset::{DatasetKind, NewDataset};
use crate::ids::DatasetId;
use crate::schema::Schema;

/// The column of `event` that says when a row was received, if that was elsewhere.
pub const RECEIVED_AT: &str = "received_at";

/// A canonical dataset.
#[derive(Debug)]
pub struct Canonical {
    /// Its name.
    pub name: &'static str,
    /// What its rows are.
    pub kind: DatasetKind,
    /// The column that says when.
    pub time_column: &'static str,
    /// Its columns, as a `--schema` file has them.
    text: &'static str,
}

/// One of records, whose rows are fragments.
const fn records(name: &'static str, text: &'static str) -> Canonical {
    Canonical { name, kind: DatasetKind::Record, time_column: "created_at", text }
}

/// All of them.
pub static DATASETS: [Canonical; 7] = [
    Canonical {
        name: "event",
        kind: DatasetKind::Event,
        time_column: "time",
        text: include_str!("canonical/event.json"),
    },
    records("individual", include_str!("canonical/individual.json")),
    records("account", include_str!("canonical/account.json")),
    records("identity", include_str!("canonical/identity.json")),
    records("membership", include_str!("canonical/membership.json")),
    records("segment", include_str!("canonical/segment.json")),
    records("rule", include_str!("canonical/rule.json")),
];

impl Canonical {
    /// Returns the one of that name.
    ///
    /// ```
    /// let event = model::canonical::Canonical::named("event").expect("there is one");
    /// assert!(event.schema().check_time(event.time_column).is_ok());
    /// assert!(model::canonical::Canonical::named("orders").is_none());
    /// ```
    pub fn named(name: &str) -> Option<&'static Self> {
        DATASETS.iter().find(|one| one.name == name)
    }

    /// Returns its columns, each of which may be null.
    pub fn schema(&self) -> Schema {
        serde_json::from_str(self.text).expect("a test reads each of them")
    }

    /// Returns it as a dataset to be made.
    pub fn new_dataset(&self) -> NewDataset {
        NewDataset {
            id: DatasetId::mint(),
            name: self.name.into(),
            kind: self.kind,
            time_column: Some(self.time_column.into()),
            schema: self.schema(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_one_is_a_schema_with_its_time_column() {
        for one in &DATASETS {
            let schema = one.schema();
            schema.check_time(one.time_column).expect("a time");
            schema.check_kept().expect("files can hold it");
            assert!(schema.fields.iter().all(|field| field.nullable), "{}", one.name);
            assert_eq!(schema.evolve(&schema).expect("it fits itself"), schema);
        }
    }

    #[test]
    fn an_event_may_say_when_it_was_received() {
        let schema = DATASETS[0].schema();
        let field = schema.field(RECEIVED_AT).expect("it has the column");
        assert_eq!(field.kind.to_string(), "timestamp(us, UTC)");
    }

    #[test]
    fn the_guide_tells_of_every_column() {
        let guide = include_str!("../../../docs/guides/canonical-data.md");
        for one in &DATASETS {
            let from = guide.find(&format!("\n## `{}`\n", one.name)).expect("a heading for each");
            let section = guide[from + 1..].split("\n## ").next().expect("there is some text");
            let told: Vec<&str> = section
                .lines()
                .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name))
                .collect();
            let schema = one.schema();
            let columns: Vec<_> = schema.fields.iter().map(|field| field.name.as_str()).collect();
            assert_eq!(told, columns, "{}", one.name);
        }
    }
}
