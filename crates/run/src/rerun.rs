//! Writing the files of a sealed run again: the same rows, the same names, the same bytes.

use chrono::TimeDelta;
use model::export::{Rerun, RunKey};
use model::into::IntoDataset;
use model::run::Run;
use model::{RunId, WorkspaceId};

use crate::coordinator::{Coordinator, FIRST_EPOCH};
use crate::error::Error;
use crate::retry::patiently;

impl Coordinator {
    /// Opens a run that delivers what a sealed run has delivered, in a folder of its own, and leaves it to whoever resumes it next. No
    /// cursor moves.
    ///
    /// # Errors
    ///
    /// [`model::ports::LedgerError::Gone`] where the files that it read are not kept any more, [`Error::EncoderGone`] where this program would make other
    /// bytes, [`Error::WasStaged`] for rows that were put together for it alone. A key that a run was opened with before gives
    /// [`model::ports::LedgerError::Repeated`].
    pub async fn rerun(
        &self,
        workspace: &WorkspaceId,
        of: &RunId,
        key: Option<RunKey>,
    ) -> Result<Run, Error> {
        let Self { ports, settings } = self;
        let old = ports.ledger.run(workspace, of).await?;
        if let Some(into) = IntoDataset::of(&old.definition.destination) {
            return Err(Error::InDataset { run: old.id, dataset: into.dataset });
        }
        if let Some(plan) = &old.plan {
            if plan.relation.table.dataset.is_none() {
                return Err(Error::WasStaged { run: old.id });
            }
            let here = ports.encoder.check(&plan.encoding.spec, &plan.relation.output)?;
            if here.encoder != plan.encoding.encoder {
                return Err(Error::EncoderGone { run: old.id });
            }
        }
        ports.destinations.open(workspace, &old.definition.destination).await?;
        let minted = self.mint();
        let new = Rerun {
            id: minted.id,
            workspace: workspace.clone(),
            of: of.clone(),
            now: minted.at,
            owner: settings.owner.clone(),
            key,
            kept_since: minted.at - TimeDelta::days(settings.rerun_days),
        };
        let _guard = ports.liveness.hold(&new.id, FIRST_EPOCH)?;
        let opened = patiently(&*ports.pauses, || ports.ledger.open_rerun(&new)).await?;
        if let Err(error) = ports.ledger.release(&opened.lease).await {
            tracing::warn!(%error, "the lease could not be given back; it will lapse");
        }
        Ok(opened.run)
    }
}
