//! Saved exports: what a run of one is asked to do, and what is checked before one is saved.

use model::DatasetId;
use model::export::{Advance, Export, OpenSlot};
use model::job::JobLease;
use model::ports::Catalog;
use model::relation::Source;
use model::schedule::{Mode, Schedule, Slot, Trigger};

use crate::coordinator::{Coordinator, Request};
use crate::error::Error;

impl Request {
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
        Box::pin(self.check(&probe)).await
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
