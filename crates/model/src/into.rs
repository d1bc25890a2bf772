//! Datasets as destinations: a run may deliver into the lake, where its seal is a commit.

use std::fmt;

use crate::failure::{Code, Failure, Fault};
use crate::ids::{BatchId, RunId, WorkspaceId};
use crate::names::{self, BadName};
use crate::part::PartId;

/// What such a destination begins with.
const SCHEME: &str = "dataset:";

/// A dataset of the run's own workspace as a destination.
///
/// ```
/// use model::into::{IntoDataset, Write};
/// let into = IntoDataset::parse("dataset:orders?batch=run&write=replace").expect("one").expect("fine");
/// assert_eq!((into.dataset.as_str(), into.write), ("orders", Write::Replace));
/// assert_eq!(into.to_string(), "dataset:orders?write=replace");
/// assert!(IntoDataset::parse("file:///out").is_none());
/// assert!(IntoDataset::parse("dataset:orders?write=x").expect("one").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntoDataset {
    /// Its name; the dataset is made if it is not there.
    pub dataset: String,
    /// What becomes of the rows that it has.
    pub write: Write,
    /// What can be taken back by itself later.
    pub batches: Batches,
}

/// What becomes of the rows that a dataset has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Write {
    /// They stay.
    #[default]
    Append,
    /// The run's rows come in their place.
    Replace,
}

/// What of a run is a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Batches {
    /// All of its rows.
    #[default]
    Run,
    /// Each file.
    File,
}

/// A destination that names a dataset in a way that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadInto {
    /// The name.
    #[error(transparent)]
    Name(#[from] BadName),
    /// An option.
    #[error(
        "`{option}` is no option of the destination `dataset:{dataset}`; there is `write=append`, `write=replace`, `batch=run` and `batch=file`, as in `dataset:{dataset}?write=replace&batch=file`"
    )]
    Option {
        /// The dataset.
        dataset: String,
        /// What was given.
        option: String,
    },
}

impl Failure for BadInto {
    fn code(&self) -> Code {
        Code::Invalid
    }

    fn fault(&self) -> Fault {
        Fault::Request
    }
}

impl IntoDataset {
    /// Reads a destination; `None` for one that is no dataset.
    ///
    /// # Errors
    ///
    /// A name that no dataset can have, and options that there are not.
    pub fn parse(destination: &str) -> Option<Result<Self, BadInto>> {
        let rest = destination.strip_prefix(SCHEME)?;
        let (dataset, options) = rest.split_once('?').unwrap_or((rest, ""));
        Some(Self::read(dataset, options))
    }

    /// Returns what the destination of a run means, which was checked when the run was asked for.
    pub fn of(destination: &str) -> Option<Self> {
        Self::parse(destination)?.ok()
    }

    fn read(dataset: &str, options: &str) -> Result<Self, BadInto> {
        names::check("a dataset", dataset)?;
        let mut into = Self {
            dataset: dataset.to_owned(),
            write: Write::default(),
            batches: Batches::default(),
        };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option {
                "write=append" => into.write = Write::Append,
                "write=replace" => into.write = Write::Replace,
                "batch=run" => into.batches = Batches::Run,
                "batch=file" => into.batches = Batches::File,
                _ => {
                    let (dataset, option) = (dataset.to_owned(), option.to_owned());
                    return Err(BadInto::Option { dataset, option });
                }
            }
        }
        Ok(into)
    }

    /// Returns the format of what goes to a destination unless another one is asked for.
    pub fn format(destination: &str) -> &'static str {
        if destination.starts_with(SCHEME) { "parquet" } else { "jsonl" }
    }

    /// Returns the batch of a part: it is known before there are rows, and the same for every holder of the run.
    pub fn batch(&self, run: &RunId, part: PartId) -> BatchId {
        match self.batches {
            Batches::Run => BatchId::new(run.as_str()),
            Batches::File => BatchId::new(format!("{run}-{part}")),
        }
    }

    /// Returns the folder of the lake in which runs of a workspace write what they deliver so.
    pub fn folder(workspace: &WorkspaceId) -> String {
        format!("data/runs/{workspace}")
    }
}

/// The one text of it.
impl fmt::Display for IntoDataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.dataset)?;
        let write = (self.write == Write::Replace).then_some("write=replace");
        let batches = (self.batches == Batches::File).then_some("batch=file");
        for (at, option) in [write, batches].into_iter().flatten().enumerate() {
            write!(f, "{}{option}", if at == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_has_one_text() {
        for (given, text) in [
            ("dataset:a", "dataset:a"),
            ("dataset:a?", "dataset:a"),
            ("dataset:a?write=append&batch=run", "dataset:a"),
            ("dataset:a?batch=file&write=replace", "dataset:a?write=replace&batch=file"),
            ("dataset:a?batch=file", "dataset:a?batch=file"),
        ] {
            let into = IntoDataset::parse(given).expect(given).expect(given);
            assert_eq!(into.to_string(), text);
            assert_eq!(IntoDataset::of(text), Some(into));
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (given, words) in [
            ("dataset:", "`` cannot be the name of a dataset"),
            ("dataset:../x", "`../x` cannot"),
            ("dataset:a?write=merge", "`write=merge` is no option"),
            ("dataset:a?write", "`write` is no option"),
        ] {
            let error = IntoDataset::parse(given).expect(given).expect_err(given).to_string();
            assert!(error.contains(words), "{error}");
            assert!(IntoDataset::of(given).is_none());
        }
        assert!(IntoDataset::parse("managed:///").is_none());
    }

    #[test]
    fn batches_are_named_by_the_run() {
        let (run, part) = (RunId::new("r1"), PartId::planned(2).remainder());
        let batch = |text| IntoDataset::of(text).expect(text).batch(&run, part).to_string();
        assert_eq!(batch("dataset:a"), "r1");
        assert_eq!(batch("dataset:a?batch=file"), "r1-00002-1");
    }
}
