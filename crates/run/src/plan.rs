//! Planning: which rows, cut into which files.
//!
//! [`draft`] binds, checks and samples; it writes nothing unless the relation has to be staged. A
//! coordinator drafts once at a tentative range, so that every mistake of the request shows before
//! anything is written, and once more at the range that the ledger pinned.

use std::sync::Arc;

use model::export::{Advance, Definition, Export, Meaning};
use model::format::Encoding;
use model::into::IntoDataset;
use model::limits::PARTS_PER_INSERT;
use model::naming;
use model::part::{Input, Part, PartId};
use model::ports::{Bind, LedgerError, NameContext, Stage};
use model::relation::BoundRelation;
use model::run::{Plan, Run};
use model::{CommitNumber, PortError, WorkspaceId};

use crate::coordinator::{Coordinator, Request};
use crate::draft::{Draft, draft};
use crate::error::Error;
use crate::retry::patiently;
use crate::seal::{check_files, check_whole};
use crate::session::Session;

/// What an export would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// The exclusive lower end of the range.
    pub from: CommitNumber,
    /// The inclusive upper end of the range.
    pub to: CommitNumber,
    /// How input rows become output rows.
    pub relation: BoundRelation,
    /// How output rows become bytes.
    pub encoding: Encoding,
    /// Commits of kind replace or revert in the range.
    pub reset: Vec<CommitNumber>,
    /// Whether the relation has to be computed first; then its parts are not known yet.
    pub staged: bool,
    /// The folder that a run now would have, relative to the destination's root.
    pub folder: String,
    /// The files, in order.
    pub parts: Vec<PlannedPart>,
    /// Rows that come out.
    pub rows: Amount,
    /// Bytes of all files together.
    pub bytes: Amount,
}

/// A file to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPart {
    /// Its name, relative to the run's folder.
    pub name: String,
    /// Input rows that go into it.
    pub rows: u64,
}

/// A number that is known, guessed from a sample, or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Counted.
    Exact(u64),
    /// Projected from a sample.
    Estimate(u64),
    /// Not to be had without doing the work.
    Unknown,
}

impl Coordinator {
    /// Says what an export would do, and writes nothing.
    ///
    /// # Errors
    ///
    /// The same as [`Coordinator::start`] for a request that cannot work, but for ranges that the
    /// ledger refuses.
    pub async fn plan(&self, request: &Request) -> Result<Forecast, Error> {
        let probe = self.probe(request, &self.mint()).await?;
        let Probe { bind, draft, folder, names, .. } = probe;
        let (relations, parts) = (&self.ports.relations, draft.parts());
        let staged = !draft.row_by_row && draft.inputs.is_empty();
        let (rows, bytes) = if staged {
            (Amount::Exact(relations.count(&bind).await?), Amount::Unknown)
        } else {
            draft.amounts()
        };
        let part = |(name, inputs): (String, Vec<Input>)| PlannedPart {
            name,
            rows: inputs.iter().map(|input| input.rows).sum(),
        };
        let parts = names.into_iter().zip(parts).map(part).collect();
        let Draft { relation, encoding, reset, .. } = draft;
        let relation = Arc::unwrap_or_clone(relation);
        let (from, to) = (bind.from, bind.to);
        Ok(Forecast { from, to, relation, encoding, reset, staged, folder, parts, rows, bytes })
    }

    /// Checks a request whose export is about to be saved, whatever it was saved as before; returns the paths of files that it would make now.
    ///
    /// # Errors
    ///
    /// As [`Coordinator::plan`].
    pub async fn check(&self, request: &Request) -> Result<Vec<String>, Error> {
        let Probe { folder, names, .. } =
            Box::pin(self.probe_as(request, &self.mint(), None)).await?;
        if IntoDataset::of(&request.definition.destination).is_some() {
            // They have no names that anybody sees.
            return Ok(Vec::new());
        }
        Ok(names.into_iter().map(|name| format!("{folder}/{name}")).collect())
    }

    /// Checks all of a request that can be checked before anything is written.
    pub(crate) async fn probe(&self, request: &Request, run: &Minted) -> Result<Probe, Error> {
        if request.advance != Advance::None && request.export.is_none() {
            return Err(Error::Unnamed);
        }
        let saved = self.saved(request).await?;
        Box::pin(self.probe_as(request, run, saved)).await
    }

    async fn probe_as(
        &self,
        request: &Request,
        run: &Minted,
        saved: Option<Export>,
    ) -> Result<Probe, Error> {
        let cursor = saved.as_ref().map_or(CommitNumber(0), |export| export.cursor);
        let (from, to) = self.tentative(request, cursor).await?;
        let bind = Bind {
            workspace: request.workspace.clone(),
            relation: request.definition.relation.clone(),
            from,
            to,
            now: run.at,
            stage: Stage::Check,
        };
        let format = &request.definition.format;
        let draft = draft(&*self.ports.relations, &*self.ports.encoder, &bind, format).await?;
        let meaning = Some(Meaning::of(&draft.relation));
        let definition = Definition { meaning, ..request.definition.clone() };
        fits(saved.as_ref(), &definition.kept(request.slot.as_ref()))?;
        let label = request.definition.relation.source.label();
        if request.advance != Advance::None && !draft.row_by_row {
            return Err(Error::NotIncremental { relation: label.to_owned() });
        }
        let context = NameContext {
            export: request.export.clone().unwrap_or_else(|| label.to_owned()),
            run: run.id.to_string(),
            from: from.0,
            to: to.0,
            opened_at: run.at,
        };
        let into = IntoDataset::of(&definition.destination);
        let folder = match &request.definition.format.folder {
            _ if into.is_some() => context.run.clone(),
            Some(template) => naming::folder(template, &context).map_err(PortError::from)?,
            None => format!("{}/{}", context.export, context.run),
        };
        let names = draft.names(&*self.ports.encoder, &context)?;
        naming::check_whole(&folder, &names).map_err(PortError::from)?;
        if let Some(into) = into {
            let is_window = request.slot.as_ref().is_some_and(|slot| slot.is_window);
            let is_part = request.advance != Advance::None || request.from.is_some() || is_window;
            check_whole(&into, is_part)?;
            check_files(&into, u64::from(draft.parts))?;
            let form = (&draft.relation.output, &draft.encoding);
            self.ports.intake.check(&into, &bind, form).await?;
        }
        Ok(Probe { bind, draft, folder, names, definition })
    }

    /// Returns the saved export, if there is one, after checking that it is the same.
    async fn saved(&self, request: &Request) -> Result<Option<Export>, Error> {
        let Some(name) = &request.export else { return Ok(None) };
        let saved = match self.ports.ledger.export(&request.workspace, name).await {
            Ok(saved) => Some(saved),
            Err(LedgerError::NotFound { .. }) if request.version.is_none() => None,
            Err(error) => return Err(error.into()),
        };
        if let (Some(saved), Some(version)) = (&saved, request.version)
            && saved.version != version
        {
            return Err(LedgerError::Changed { export: name.clone() }.into());
        }
        fits(saved.as_ref(), &request.definition.kept(request.slot.as_ref()))?;
        Ok(saved)
    }

    async fn tentative(
        &self,
        request: &Request,
        cursor: CommitNumber,
    ) -> Result<(CommitNumber, CommitNumber), Error> {
        let from = match request.advance {
            Advance::Cursor => request.from.unwrap_or(cursor),
            Advance::Again | Advance::None => request.from.unwrap_or_default(),
        };
        let to = match (request.to, request.advance) {
            (Some(to), _) => to,
            (None, Advance::Again) => cursor,
            (None, _) => self.head(&request.workspace).await?,
        };
        let head = self.head(&request.workspace).await?;
        match (&request.export, request.from) {
            _ if from <= to => Ok((from, to)),
            (_, Some(asked)) if asked > head => Err(LedgerError::NoCommit { asked, head }.into()),
            // What was not asked for is the cursor: everything up to there is delivered.
            (Some(export), None) => {
                let export = export.clone();
                Err(LedgerError::Overlap { export, cursor, from: CommitNumber(0), to }.into())
            }
            _ => Err(LedgerError::Backwards { from, to }.into()),
        }
    }

    async fn head(&self, workspace: &WorkspaceId) -> Result<CommitNumber, Error> {
        Ok(self.ports.head.head(workspace).await?)
    }
}

/// A run's id and time before it exists.
pub(crate) struct Minted {
    pub(crate) id: model::RunId,
    pub(crate) at: chrono::DateTime<chrono::Utc>,
}

/// Refuses a definition that differs from one that was delivered. What was not, the ledger settles.
fn fits(saved: Option<&Export>, asked: &Definition) -> Result<(), Error> {
    match saved.filter(|saved| saved.last_run.is_some()) {
        Some(saved) => same(&saved.name, &saved.definition, asked),
        None => Ok(()),
    }
}

/// Refuses a definition that differs from what `export` is being delivered as.
pub(crate) fn same(export: &str, kept: &Definition, asked: &Definition) -> Result<(), Error> {
    match kept.difference(asked) {
        None => Ok(()),
        Some((property, saved, asked)) => {
            Err(LedgerError::Differs { export: export.into(), property, saved, asked }.into())
        }
    }
}

/// A request that was checked.
pub(crate) struct Probe {
    pub(crate) bind: Bind,
    draft: Draft,
    /// The folder that the run would have.
    folder: String,
    names: Vec<String>,
    /// The request's, with what its names stand for.
    pub(crate) definition: Definition,
}

/// Plans an opened run: `planning → running`.
pub(crate) async fn make(session: &Session) -> Result<Plan, Error> {
    let (run, ports) = (&session.run, &session.ports);
    let bind = Bind {
        workspace: run.workspace.clone(),
        relation: run.definition.relation.clone(),
        from: run.from,
        to: run.to,
        // The same for every holder, so that a plan made anew is the same plan.
        now: run.created_at,
        stage: Stage::Into { run: run.id.clone(), epoch: session.lease.epoch },
    };
    let draft = draft(&*ports.relations, &*ports.encoder, &bind, &run.definition.format);
    let draft = session.unless_stopped(draft).await?;
    check_meaning(run, &draft)?;
    if run.advance != Advance::None && !draft.row_by_row {
        let relation = run.definition.relation.source.label().to_owned();
        return Err(Error::NotIncremental { relation });
    }
    if let Some(into) = IntoDataset::of(&run.definition.destination) {
        check_files(&into, u64::from(draft.parts))?;
    }
    let names = draft.names(&*ports.encoder, &run.names())?;
    add_parts(session, draft.parts().zip(names)).await?;
    let plan = Plan {
        parts: u64::from(draft.parts),
        rows: draft.rows,
        reset: draft.reset,
        encoding: draft.encoding,
        relation: Arc::unwrap_or_clone(draft.relation),
        md5: run.definition.format.md5,
    };
    patiently(&*ports.pauses, || ports.ledger.planned(&session.lease, &plan)).await?;
    Ok(plan)
}

/// Refuses to go on with a run whose names have come to stand for something else since it was opened: its
/// rows are not the ones that were asked for.
fn check_meaning(run: &Run, draft: &Draft) -> Result<(), Error> {
    let meaning = Some(Meaning::of(&draft.relation));
    let now = Definition { meaning, ..run.definition.clone() };
    match run.definition.difference(&now) {
        None => Ok(()),
        Some((property, saved, asked)) => {
            let export = run.export_name.clone().unwrap_or_else(|| run.id.to_string());
            Err(LedgerError::Differs { export, property, saved, asked }.into())
        }
    }
}

async fn add_parts(
    session: &Session,
    mut cut: impl Iterator<Item = (Vec<Input>, String)>,
) -> Result<(), Error> {
    let ports = &session.ports;
    let mut sequence = 0;
    loop {
        session.check()?;
        let numbered = cut.by_ref().take(PARTS_PER_INSERT).map(|(inputs, name)| {
            let id = PartId::planned(sequence);
            sequence += 1;
            Part { id, inputs, name, receipt: None }
        });
        let batch: Vec<_> = numbered.collect();
        if batch.is_empty() {
            return Ok(());
        }
        patiently(&*ports.pauses, || ports.ledger.add_parts(&session.lease, &batch)).await?;
    }
}
