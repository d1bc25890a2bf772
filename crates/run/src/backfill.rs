//! Delivering what came before an export began.
//!
//! It is an export of its own, with a cursor of its own, from the first commit to the one after which the other began: so
//! the two can neither overlap nor leave a gap, whatever runs when.

use model::document::Basis;
use model::export::{Begin, Export, SaveExport};
use model::ports::{Exports, LedgerError};
use model::schedule::{Mode, Schedule};
use model::{CommitNumber, WorkspaceId, names};

use crate::coordinator::{Coordinator, Request};
use crate::error::Error;

impl Coordinator {
    /// Returns what a run is asked to do that delivers what came before an export began, up to `to` or all that is left of it; saves the export that it is of,
    /// if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::NothingBefore`] for an export that began at the first commit, [`Error::Backfilled`] where nothing is left.
    pub async fn backfill(
        &self,
        exports: &dyn Exports,
        (workspace, name): (&WorkspaceId, &str),
        (to, author): (Option<CommitNumber>, &str),
    ) -> Result<Request, Error> {
        let ledger = &self.ports.ledger;
        let of = ledger.export(workspace, name).await?;
        if of.schedule.mode != Mode::Incremental || of.began == CommitNumber(0) {
            return Err(Error::NothingBefore { export: of.name });
        }
        let backfill = match ledger.export(workspace, &of.backfill_name()).await {
            Err(LedgerError::NotFound { .. }) => {
                names::check("the export of a backfill", &of.backfill_name())?;
                let save = save(&of, author, self.ports.clock.now());
                match exports.save_export(&save, &Basis::Nothing).await {
                    // Of two that ask for the first time one was faster.
                    Err(LedgerError::Exists { export }) => {
                        ledger.export(workspace, &export).await?
                    }
                    saved => saved?,
                }
            }
            found => found?,
        };
        let (bound, export) = (of.began, backfill.name.clone());
        if backfill.bound != Some(bound) {
            return Err(Error::OtherBackfill { export, bound });
        }
        if backfill.cursor >= bound {
            return Err(Error::Backfilled { export, bound });
        }
        Ok(Request { to, ..Request::of(backfill, None) })
    }
}

fn save(of: &Export, author: &str, now: chrono::DateTime<chrono::Utc>) -> SaveExport {
    SaveExport {
        workspace: of.workspace.clone(),
        name: of.backfill_name(),
        definition: of.definition.clone(),
        schedule: Schedule::default(),
        watches: None,
        begin: Begin::Beginning,
        bound: Some(of.began),
        restart: false,
        author: author.to_owned(),
        now,
    }
}
