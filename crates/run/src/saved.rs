//! Saved exports: what a run of one is asked to do, and what is checked before one is saved.

use std::collections::BTreeSet;

use model::export::{Advance, Begin, Definition, Export, OpenSlot, SaveExport};
use model::group::{self, GroupTerms, SaveGroup};
use model::into::IntoDataset;
use model::job::JobLease;
use model::limits::GROUP_DATASETS_MAX;
use model::ports::Catalog;
use model::relation::{Relation, Source};
use model::schedule::{Mode, Schedule, Slot, Trigger};
use model::{DatasetId, WorkspaceId, names};

use crate::coordinator::{Coordinator, Request};
use crate::error::Error;
use crate::seal::check_whole;

impl Request {
    /// Returns what a run without a cursor is asked to do, over everything.
    pub fn single(workspace: WorkspaceId, definition: Definition) -> Self {
        Self {
            workspace,
            export: None,
            definition,
            advance: Advance::None,
            from: None,
            to: None,
            key: None,
            version: None,
            slot: None,
        }
    }

    /// Returns what a run of a saved export is asked to do; for a slot, with its window.
    pub fn of(export: Export, slot: Option<(&Slot, JobLease)>) -> Self {
        let Export { workspace, name, mut definition, schedule, version, .. } = export;
        let slot = slot.map(|(slot, lease)| {
            let is_window = matches!(schedule.mode, Mode::Window { .. }) && slot.since.is_some();
            if is_window {
                let selection = &mut definition.relation.selection;
                (selection.since, selection.until) = (slot.since, Some(slot.at));
            }
            OpenSlot { lease, is_window }
        });
        let advance = match schedule.mode {
            Mode::Incremental => Advance::Cursor,
            Mode::Full | Mode::Window { .. } => Advance::None,
        };
        let (from, to, key, version) = (None, None, None, Some(version));
        Self { workspace, export: Some(name), definition, advance, from, to, key, version, slot }
    }
}

impl Coordinator {
    /// Checks what an export is about to be saved as, like a run of it would be; returns the names of files that it would make now.
    ///
    /// # Errors
    ///
    /// As [`Coordinator::plan`], but for what it was saved as before; [`Error::WindowTwice`].
    pub async fn check_saved(
        &self,
        asked: &Request,
        name: &str,
        schedule: &Schedule,
    ) -> Result<Vec<String>, Error> {
        let mut probe = Request { export: Some(name.into()), ..asked.clone() };
        let now = self.ports.clock.now();
        let selection = &mut probe.definition.relation.selection;
        match schedule.mode {
            Mode::Incremental => probe.advance = Advance::Cursor,
            Mode::Full => probe.advance = Advance::None,
            Mode::Window { .. } if selection.since.is_some() || selection.until.is_some() => {
                return Err(Error::WindowTwice);
            }
            Mode::Window { .. } => {
                probe.advance = Advance::None;
                (selection.since, selection.until) = (Some(now), Some(now));
            }
        }
        if let Some(into) = IntoDataset::of(&probe.definition.destination) {
            check_whole(&into, !matches!(schedule.mode, Mode::Full))?;
        }
        Box::pin(self.check(&probe)).await
    }
}

/// A group that is about to be saved.
#[derive(Clone, Debug)]
pub struct AskedGroup {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Its name.
    pub name: String,
    /// What its exports have in common; the destination is a resolved one.
    pub terms: GroupTerms,
    /// Deliver everything once more.
    pub restart: bool,
    /// Who saves it.
    pub author: String,
}

impl Coordinator {
    /// Checks what a group is about to be saved as, dataset by dataset; returns what is to be saved.
    ///
    /// # Errors
    ///
    /// As [`Coordinator::check_saved`], with the dataset; [`Error::BadGroup`].
    pub async fn check_group(
        &self,
        catalog: &dyn Catalog,
        asked: AskedGroup,
    ) -> Result<SaveGroup, Error> {
        let AskedGroup { workspace, name, terms, restart, author } = asked;
        check_datasets(&terms.datasets)?;
        if let Some(into) = IntoDataset::of(&terms.destination) {
            check_whole(&into, terms.datasets.len() > 1)?;
        }
        let now = self.ports.clock.now();
        let mut members = Vec::with_capacity(terms.datasets.len());
        for dataset in &terms.datasets {
            let definition = Definition {
                relation: Relation {
                    source: Source::Dataset(dataset.clone()),
                    selection: terms.selection.clone(),
                },
                format: terms.format.clone(),
                destination: terms.destination.clone(),
                meaning: None,
            };
            let asked = Request::single(workspace.clone(), definition);
            let member = group::member(&name, dataset);
            names::check("the export of a dataset", &member)?;
            let of = |error: Error| Error::OfDataset {
                dataset: dataset.clone(),
                source: Box::new(error),
            };
            let watches = watched(catalog, &asked, &terms.schedule).await.map_err(of)?;
            Box::pin(self.check_saved(&asked, &member, &terms.schedule)).await.map_err(of)?;
            members.push(SaveExport {
                workspace: workspace.clone(),
                name: member,
                definition: asked.definition,
                schedule: terms.schedule.clone(),
                watches,
                begin: Begin::Beginning,
                bound: None,
                restart,
                author: author.clone(),
                now,
            });
        }
        Ok(SaveGroup { workspace, name, terms, members, author, now })
    }
}

fn check_datasets(datasets: &[String]) -> Result<(), Error> {
    let bad = |why: String| Err(Error::BadGroup { why });
    if datasets.is_empty() {
        return bad("it has no datasets; name some".into());
    }
    if datasets.len() > GROUP_DATASETS_MAX {
        return bad(format!("it has more than {GROUP_DATASETS_MAX} datasets; make several groups"));
    }
    let mut seen = BTreeSet::new();
    match datasets.iter().find(|dataset| !seen.insert(*dataset)) {
        Some(twice) => bad(format!("`{twice}` is named twice; name it once")),
        None => Ok(()),
    }
}

/// Refuses an export that would begin at the newest commit and has no cursor.
///
/// # Errors
///
/// [`Error::BeginsNow`].
pub fn check_begin(begin: Begin, schedule: &Schedule) -> Result<(), Error> {
    match begin {
        Begin::Now if schedule.mode != Mode::Incremental => Err(Error::BeginsNow),
        _ => Ok(()),
    }
}

/// Returns the dataset whose new rows start runs of an export.
///
/// # Errors
///
/// [`Error::NothingToWatch`] where its rows are not those of one dataset.
pub async fn watched(
    catalog: &dyn Catalog,
    asked: &Request,
    schedule: &Schedule,
) -> Result<Option<DatasetId>, Error> {
    match (&schedule.trigger, &asked.definition.relation.source) {
        (Trigger::OnData { .. }, Source::Dataset(name)) => {
            let dataset = catalog.dataset(&asked.workspace, name).await;
            Ok(Some(dataset.map_err(model::PortError::from)?.id))
        }
        (Trigger::OnData { .. }, _) => Err(Error::NothingToWatch),
        _ => Ok(None),
    }
}
