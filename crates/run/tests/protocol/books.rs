//! What a ledger in memory knows, and the rules by which it changes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use model::dataset::NewCommit;
use model::export::{Advance, Export, NewRun, Rerun};
use model::part::{Part, PartId, Receipt};
use model::ports::{CatalogError, Lease, LedgerError, Opened};
use model::run::{FrozenManifest, Intent, Plan, Run, RunState};
use model::{CommitNumber, RunId};

use crate::process::Injected;

#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) runs: BTreeMap<RunId, Row>,
    pub(crate) exports: BTreeMap<String, Export>,
    /// Runs in the order in which they were sealed.
    pub(crate) sealed: Vec<RunId>,
    /// Commits that runs made of a dataset, in order.
    pub(crate) committed: Vec<NewCommit>,
    /// Commits that are refused once more because the dataset was changed meanwhile.
    pub(crate) moved: u32,
    /// Whether the dataset refuses every commit.
    pub(crate) full: bool,
    pub(crate) renewed: u64,
    /// The id of the encoder that processes have.
    pub(crate) encoder: String,
}

impl Default for Books {
    fn default() -> Self {
        let (runs, exports, sealed) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let (committed, encoder) = (Vec::new(), "lines-1".into());
        Self { runs, exports, sealed, committed, moved: 0, full: false, renewed: 0, encoder }
    }
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) run: Run,
    pub(crate) parts: BTreeMap<PartId, Part>,
    pub(crate) intents: Vec<Intent>,
    pub(crate) pinned: bool,
    pub(crate) cleaned: bool,
}

impl From<Injected> for LedgerError {
    fn from(source: Injected) -> Self {
        let reason = "it broke off".to_owned();
        Self::Database { reason, retry: true, source: source.into() }
    }
}

pub(crate) fn refused(run: &Run, wanted: &'static str) -> LedgerError {
    LedgerError::State { run: run.id.clone(), state: run.state, wanted }
}

fn unbalanced(run: &Run, what: &str) -> LedgerError {
    LedgerError::Unbalanced { run: run.id.clone(), what: what.into() }
}

fn go_on(run: &Run) -> Result<(), LedgerError> {
    if run.cancel_asked { Err(LedgerError::Cancelling { run: run.id.clone() }) } else { Ok(()) }
}

impl Row {
    fn opened(&self) -> Opened {
        let run = self.run.clone();
        let (workspace, id, epoch) = (run.workspace.clone(), run.id.clone(), run.epoch);
        Opened { run, lease: Lease { workspace, run: id, epoch } }
    }

    fn step(&mut self, next: RunState) {
        assert!(self.run.state.may_become(next), "{:?} to {next:?}", self.run.state);
        self.run.state = next;
    }
}

impl Books {
    pub(crate) fn row(&mut self, run: &RunId) -> Result<&mut Row, LedgerError> {
        let missing =
            || LedgerError::NotFound { what: "run", name: run.to_string(), nearest: None };
        self.runs.get_mut(run).ok_or_else(missing)
    }

    pub(crate) fn held(&mut self, lease: &Lease) -> Result<&mut Row, LedgerError> {
        let row = self.row(&lease.run)?;
        if row.run.epoch != lease.epoch {
            return Err(LedgerError::Fenced { run: lease.run.clone() });
        }
        Ok(row)
    }

    pub(crate) fn open_rerun(&mut self, new: &Rerun) -> Result<Opened, LedgerError> {
        if let Some(row) = self.runs.get(&new.id) {
            return Ok(row.opened());
        }
        let old = self.row(&new.of)?;
        if old.run.state != RunState::Sealed {
            return Err(refused(&old.run, "be run again"));
        }
        let mut run = Run { id: new.id.clone(), owner: new.owner.clone(), ..old.run.clone() };
        (run.state, run.epoch, run.leased) = (RunState::Running, 1, true);
        (run.manifest, run.created_at, run.ended_at) = (None, new.now, None);
        if run.advance == Advance::Cursor {
            run.advance = Advance::Again;
        }
        let again = |part: &Part| Part { receipt: None, ..part.clone() };
        let parts: BTreeMap<_, _> = old.parts.iter().map(|(id, one)| (*id, again(one))).collect();
        if let Some(plan) = &mut run.plan {
            plan.parts = parts.len() as u64;
        }
        let row = Row { run, parts, intents: Vec::new(), pinned: true, cleaned: false };
        Ok(self.runs.entry(new.id.clone()).or_insert(row).opened())
    }

    pub(crate) fn open(&mut self, new: &NewRun, head: CommitNumber) -> Result<Opened, LedgerError> {
        if let Some(row) = self.runs.get(&new.id) {
            return Ok(row.opened());
        }
        let cursor = self.cursor_for(new)?;
        let (from, to) = range(new, head, cursor)?;
        let export = new.export.clone().map(|name| {
            let saved = self.exports.entry(name.clone()).or_insert_with(|| {
                Export::new(new.workspace.clone(), name, new.definition.clone(), new.now)
            });
            // Only one that was never sealed may differ.
            saved.definition = new.definition.clone();
            saved.id.clone()
        });
        let run = Run {
            id: new.id.clone(),
            workspace: new.workspace.clone(),
            export,
            export_name: new.export.clone(),
            definition: new.definition.clone(),
            advance: new.advance,
            state: RunState::Planning,
            from,
            to,
            epoch: 1,
            cancel_asked: false,
            plan: None,
            manifest: None,
            error: None,
            owner: new.owner.clone(),
            leased: true,
            created_at: new.now,
            ended_at: None,
        };
        let row =
            Row { run, parts: BTreeMap::new(), intents: Vec::new(), pinned: true, cleaned: false };
        let opened = row.opened();
        assert!(self.runs.insert(new.id.clone(), row).is_none());
        Ok(opened)
    }

    fn was_never_sealed(&self, export: &Export) -> bool {
        let mut runs = self.runs.values().map(|row| &row.run);
        let open = runs.any(|run| run.export.as_ref() == Some(&export.id) && !run.state.is_final());
        export.last_run.is_none() && !open
    }

    fn cursor_for(&self, new: &NewRun) -> Result<CommitNumber, LedgerError> {
        let Some(name) = &new.export else { return Ok(CommitNumber(0)) };
        let open = |row: &&Row| {
            let run = &row.run;
            run.export_name.as_ref() == Some(name)
                && run.advance == Advance::Cursor
                && !run.state.is_final()
        };
        if new.advance == Advance::Cursor
            && let Some(row) = self.runs.values().find(open)
        {
            return Err(LedgerError::Open { export: name.clone(), run: row.run.id.clone() });
        }
        let Some(saved) = self.exports.get(name) else { return Ok(CommitNumber(0)) };
        match saved.definition.difference(&new.definition) {
            None => Ok(saved.cursor),
            Some(_) if self.was_never_sealed(saved) => Ok(saved.cursor),
            Some((property, saved, asked)) => {
                Err(LedgerError::Differs { export: name.clone(), property, saved, asked })
            }
        }
    }
}

fn range(
    new: &NewRun,
    head: CommitNumber,
    cursor: CommitNumber,
) -> Result<(CommitNumber, CommitNumber), LedgerError> {
    let again = new.advance == Advance::Again;
    let moves = new.advance == Advance::Cursor;
    let from = new.from.unwrap_or(if moves { cursor } else { CommitNumber(0) });
    let to = new.to.unwrap_or(if again { cursor } else { head });
    let export = new.export.clone().unwrap_or_default();
    if to > head {
        return Err(LedgerError::NoCommit { asked: to, head });
    }
    if moves && from > cursor {
        return Err(LedgerError::Gap { export, cursor, from });
    }
    if moves && (from < cursor || to < cursor) {
        return Err(LedgerError::Overlap { export, cursor, from, to });
    }
    if again && to > cursor {
        return Err(LedgerError::NotDelivered { export, cursor, from, to });
    }
    if from > to {
        return Err(LedgerError::Backwards { from, to });
    }
    Ok((from, to))
}

impl Books {
    pub(crate) fn take_over(
        &mut self,
        run: &RunId,
        owner: &str,
        dead: Option<u64>,
    ) -> Result<Opened, LedgerError> {
        let row = self.row(run)?;
        if row.run.state.is_final() {
            return Err(refused(&row.run, "be taken over"));
        }
        if row.run.leased && dead != Some(row.run.epoch) {
            let owner = row.run.owner.clone();
            return Err(LedgerError::Leased { run: run.clone(), owner });
        }
        row.run.epoch += 1;
        row.run.leased = true;
        row.run.owner = owner.into();
        Ok(row.opened())
    }

    pub(crate) fn add_parts(&mut self, lease: &Lease, parts: &[Part]) -> Result<(), LedgerError> {
        let row = self.held(lease)?;
        if row.run.state != RunState::Planning {
            return Err(refused(&row.run, "take parts"));
        }
        for part in parts {
            let there = row.parts.entry(part.id).or_insert_with(|| part.clone());
            if there != part {
                return Err(unbalanced(&row.run, "another part is there"));
            }
        }
        Ok(())
    }

    pub(crate) fn planned(&mut self, lease: &Lease, plan: &Plan) -> Result<(), LedgerError> {
        let row = self.held(lease)?;
        if row.run.state == RunState::Running && row.run.plan.as_ref() == Some(plan) {
            return Ok(());
        }
        if row.run.state != RunState::Planning {
            return Err(refused(&row.run, "be planned"));
        }
        let rows: u64 = row.parts.values().map(Part::rows_planned).sum();
        if (row.parts.len() as u64, rows) != (plan.parts, plan.rows) {
            return Err(unbalanced(&row.run, "the plan"));
        }
        row.step(RunState::Running);
        row.run.plan = Some(plan.clone());
        Ok(())
    }

    pub(crate) fn intend(
        &mut self,
        lease: &Lease,
        part: PartId,
        intent: &Intent,
    ) -> Result<(), LedgerError> {
        let row = self.held(lease)?;
        let state = matches!(row.run.state, RunState::Running | RunState::Sealing);
        if !state || !row.parts.contains_key(&part) {
            return Err(refused(&row.run, "write a part"));
        }
        go_on(&row.run)?;
        assert_eq!(intent.epoch, lease.epoch);
        if !row.intents.contains(intent) {
            row.intents.push(intent.clone());
        }
        Ok(())
    }

    pub(crate) fn finish_part(
        &mut self,
        lease: &Lease,
        id: PartId,
        (receipt, remainder): (&Receipt, Option<&Part>),
    ) -> Result<(), LedgerError> {
        let row = self.held(lease)?;
        if row.run.state != RunState::Running {
            return Err(refused(&row.run, "finish a part"));
        }
        let intended = row.intents.iter().any(|intent| intent.key == receipt.key);
        assert!(intended, "a part was written without an intent");
        let mut part = row.parts.get(&id).cloned().expect("a known part");
        if let Some(there) = &part.receipt {
            let rest = remainder.is_none_or(|rest| row.parts.contains_key(&rest.id));
            let same = there == receipt && rest;
            return if same { Ok(()) } else { Err(unbalanced(&row.run, "another receipt")) };
        }
        if receipt.rows_read > part.rows_planned() {
            return Err(unbalanced(&row.run, "more rows than planned"));
        }
        let rest = part.cut(receipt.rows_read);
        match remainder {
            None if rest.is_empty() => {}
            Some(remainder) if remainder.inputs == rest && !rest.is_empty() => {
                assert_eq!(remainder.id, id.remainder());
                assert!(row.parts.insert(remainder.id, remainder.clone()).is_none());
            }
            _ => return Err(unbalanced(&row.run, "the remainder")),
        }
        part.receipt = Some(receipt.clone());
        row.parts.insert(id, part);
        Ok(())
    }

    pub(crate) fn freeze(
        &mut self,
        lease: &Lease,
        frozen: &FrozenManifest,
    ) -> Result<(), LedgerError> {
        let row = self.held(lease)?;
        if row.run.state == RunState::Sealing && row.run.manifest.as_ref() == Some(frozen) {
            return Ok(());
        }
        if row.run.state != RunState::Running {
            return Err(refused(&row.run, "be sealed"));
        }
        go_on(&row.run)?;
        let (mut read, mut sums) = (0, (0, 0, 0));
        for part in row.parts.values() {
            let Some(receipt) = &part.receipt else {
                return Err(unbalanced(&row.run, "a part is not written"));
            };
            read += receipt.rows_read;
            sums.0 += receipt.rows;
            sums.1 += receipt.bytes;
            sums.2 += u64::from(receipt.rows > 0);
        }
        let planned = row.run.plan.as_ref().map(|plan| plan.rows);
        if planned != Some(read) || sums != (frozen.rows, frozen.bytes, frozen.files) {
            return Err(unbalanced(&row.run, "the sums"));
        }
        row.step(RunState::Sealing);
        row.run.manifest = Some(frozen.clone());
        Ok(())
    }

    pub(crate) fn seal(&mut self, lease: &Lease, now: DateTime<Utc>) -> Result<(), LedgerError> {
        let row = self.held(lease)?;
        if row.run.state == RunState::Sealed {
            return Ok(());
        }
        if row.run.state != RunState::Sealing {
            return Err(refused(&row.run, "be sealed"));
        }
        row.step(RunState::Sealed);
        row.pinned = false;
        row.run.ended_at = Some(now);
        let run = row.run.clone();
        if run.advance == Advance::Cursor {
            let name = run.export_name.expect("a cursor has a name");
            let export = self.exports.get_mut(&name).expect("saved when the run was opened");
            assert_eq!(export.cursor, run.from, "the cursor moved under an open run");
            export.cursor = run.to;
            export.last_run = Some(run.id.clone());
        }
        self.sealed.push(run.id);
        Ok(())
    }

    pub(crate) fn seal_into(
        &mut self,
        lease: &Lease,
        (frozen, commits): (&FrozenManifest, &[NewCommit]),
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let row = self.held(lease)?;
        match row.run.state {
            RunState::Sealed => return Ok(()),
            RunState::Running => go_on(&row.run)?,
            _ => return Err(refused(&row.run, "be sealed")),
        }
        if self.moved > 0 {
            self.moved -= 1;
            return Err(CatalogError::Moved.into());
        }
        if self.full {
            let name = "copy".to_owned();
            return Err(CatalogError::NotFound { what: "dataset", name, nearest: None }.into());
        }
        self.freeze(lease, frozen)?;
        self.committed.extend(commits.iter().cloned());
        self.seal(lease, now)
    }

    pub(crate) fn end(
        &mut self,
        lease: &Lease,
        (state, reason): (RunState, &str),
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let row = self.held(lease)?;
        if row.run.state == state {
            return Ok(());
        }
        if !row.run.state.may_become(state) {
            return Err(refused(&row.run, "end"));
        }
        row.step(state);
        row.pinned = false;
        row.run.error = Some(reason.into());
        row.run.ended_at = Some(now);
        Ok(())
    }

    pub(crate) fn ask_cancel(&mut self, run: &RunId) -> Result<Run, LedgerError> {
        let row = self.row(run)?;
        if !matches!(row.run.state, RunState::Planning | RunState::Running) {
            return Err(refused(&row.run, "be cancelled"));
        }
        row.run.cancel_asked = true;
        Ok(row.run.clone())
    }
}
