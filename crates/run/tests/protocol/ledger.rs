//! A ledger in memory that keeps the contract of the trait to the letter.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use model::export::{Advance, Export, NewRun, Rerun};
use model::part::{Part, PartId, Receipt};
use model::ports::{Lease, Ledger, LedgerError, Opened};
use model::run::{FrozenManifest, Intent, Plan, Run, RunState};
use model::{CommitNumber, RunId, WorkspaceId};

use crate::process::{Handle, Injected};

#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) runs: BTreeMap<RunId, Row>,
    pub(crate) exports: BTreeMap<String, Export>,
    /// Runs in the order in which they were sealed.
    pub(crate) sealed: Vec<RunId>,
    pub(crate) renewed: u64,
    /// The id of the encoder that processes have.
    pub(crate) encoder: String,
}

impl Default for Books {
    fn default() -> Self {
        let (runs, exports, sealed) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { runs, exports, sealed, renewed: 0, encoder: "lines-1".into() }
    }
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) run: Run,
    pub(crate) parts: BTreeMap<PartId, Part>,
    pub(crate) intents: Vec<Intent>,
    pub(crate) pinned: bool,
}

impl From<Injected> for LedgerError {
    fn from(source: Injected) -> Self {
        let reason = "it broke off".to_owned();
        Self::Database { reason, retry: true, source: source.into() }
    }
}

fn refused(run: &Run, wanted: &'static str) -> LedgerError {
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
    fn row(&mut self, run: &RunId) -> Result<&mut Row, LedgerError> {
        let missing =
            || LedgerError::NotFound { what: "run", name: run.to_string(), nearest: None };
        self.runs.get_mut(run).ok_or_else(missing)
    }

    fn held(&mut self, lease: &Lease) -> Result<&mut Row, LedgerError> {
        let row = self.row(&lease.run)?;
        if row.run.epoch != lease.epoch {
            return Err(LedgerError::Fenced { run: lease.run.clone() });
        }
        Ok(row)
    }

    fn open_rerun(&mut self, new: &Rerun) -> Result<Opened, LedgerError> {
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
        let row = Row { run, parts, intents: Vec::new(), pinned: true };
        Ok(self.runs.entry(new.id.clone()).or_insert(row).opened())
    }

    fn open(&mut self, new: &NewRun, head: CommitNumber) -> Result<Opened, LedgerError> {
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
        let row = Row { run, parts: BTreeMap::new(), intents: Vec::new(), pinned: true };
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
    fn take_over(
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

    fn add_parts(&mut self, lease: &Lease, parts: &[Part]) -> Result<(), LedgerError> {
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

    fn planned(&mut self, lease: &Lease, plan: &Plan) -> Result<(), LedgerError> {
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

    fn intend(&mut self, lease: &Lease, part: PartId, intent: &Intent) -> Result<(), LedgerError> {
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

    fn finish_part(
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

    fn freeze(&mut self, lease: &Lease, frozen: &FrozenManifest) -> Result<(), LedgerError> {
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

    fn seal(&mut self, lease: &Lease, now: DateTime<Utc>) -> Result<(), LedgerError> {
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

    fn end(
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

    fn ask_cancel(&mut self, run: &RunId) -> Result<Run, LedgerError> {
        let row = self.row(run)?;
        if !matches!(row.run.state, RunState::Planning | RunState::Running) {
            return Err(refused(&row.run, "be cancelled"));
        }
        row.run.cancel_asked = true;
        Ok(row.run.clone())
    }
}

impl Handle {
    async fn note<T>(
        &self,
        name: &str,
        op: impl FnOnce(&mut Books) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        if let Some(faults) = &self.0.faults
            && faults.refuse()
        {
            return Err(Injected.into());
        }
        let books = &self.0.world.books;
        let done = self.0.write(name, || op(&mut books.lock().unwrap())).await??;
        match &self.0.faults {
            Some(faults) if faults.lose_reply() => Err(Injected.into()),
            _ => Ok(done),
        }
    }

    async fn peek<T>(&self, op: impl FnOnce(&mut Books) -> T) -> T {
        let books = &self.0.world.books;
        self.0.look(|| op(&mut books.lock().unwrap())).await
    }
}

#[async_trait]
impl Ledger for Handle {
    async fn open_run(&self, new: &NewRun) -> Result<Opened, LedgerError> {
        let head = self.0.world.lake.lock().unwrap().head();
        self.note("open_run", |books| books.open(new, head)).await
    }

    async fn open_rerun(&self, new: &Rerun) -> Result<Opened, LedgerError> {
        self.note("open_rerun", |books| books.open_rerun(new)).await
    }

    async fn take_over(
        &self,
        _: &WorkspaceId,
        run: &RunId,
        owner: &str,
        dead: Option<u64>,
    ) -> Result<Opened, LedgerError> {
        self.note("take_over", |books| books.take_over(run, owner, dead)).await
    }

    async fn renew(&self, lease: &Lease) -> Result<bool, LedgerError> {
        let renew = |books: &mut Books| {
            books.renewed += 1;
            let row = books.held(lease)?;
            if row.run.state.is_final() {
                return Err(refused(&row.run, "be renewed"));
            }
            row.run.leased = true;
            Ok(row.run.cancel_asked)
        };
        self.note("renew", renew).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), LedgerError> {
        let release = |books: &mut Books| {
            if let Ok(row) = books.held(lease) {
                row.run.leased = false;
            }
            Ok(())
        };
        self.note("release", release).await
    }

    async fn add_parts(&self, lease: &Lease, parts: &[Part]) -> Result<(), LedgerError> {
        self.note("add_parts", |books| books.add_parts(lease, parts)).await
    }

    async fn clear_parts(&self, lease: &Lease) -> Result<(), LedgerError> {
        let clear = |books: &mut Books| {
            let row = books.held(lease)?;
            if row.run.state != RunState::Planning {
                return Err(refused(&row.run, "be planned anew"));
            }
            row.parts.clear();
            Ok(())
        };
        self.note("clear_parts", clear).await
    }

    async fn planned(&self, lease: &Lease, plan: &Plan) -> Result<(), LedgerError> {
        self.note("planned", |books| books.planned(lease, plan)).await
    }

    async fn intend(
        &self,
        lease: &Lease,
        part: PartId,
        intent: &Intent,
    ) -> Result<(), LedgerError> {
        self.note("intend", |books| books.intend(lease, part, intent)).await
    }

    async fn finish_part(
        &self,
        lease: &Lease,
        part: PartId,
        receipt: &Receipt,
        remainder: Option<&Part>,
    ) -> Result<(), LedgerError> {
        self.note("finish_part", |books| books.finish_part(lease, part, (receipt, remainder))).await
    }

    async fn freeze(&self, lease: &Lease, manifest: &FrozenManifest) -> Result<(), LedgerError> {
        self.note("freeze", |books| books.freeze(lease, manifest)).await
    }

    async fn sealed(&self, lease: &Lease, now: DateTime<Utc>) -> Result<(), LedgerError> {
        self.note("sealed", |books| books.seal(lease, now)).await
    }

    async fn end(
        &self,
        lease: &Lease,
        state: RunState,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        self.note("end", |books| books.end(lease, (state, reason), now)).await
    }

    async fn ask_cancel(&self, _: &WorkspaceId, run: &RunId) -> Result<Run, LedgerError> {
        self.note("ask_cancel", |books| books.ask_cancel(run)).await
    }

    async fn run(&self, _: &WorkspaceId, run: &RunId) -> Result<Run, LedgerError> {
        self.peek(|books| books.row(run).map(|row| row.run.clone())).await
    }

    async fn runs(
        &self,
        _: &WorkspaceId,
        before: Option<&RunId>,
        limit: u32,
    ) -> Result<Vec<Run>, LedgerError> {
        let list = |books: &mut Books| {
            let older = books.runs.values().rev().map(|row| row.run.clone());
            older.filter(|run| before.is_none_or(|b| run.id < *b)).take(limit as usize).collect()
        };
        Ok(self.peek(list).await)
    }

    async fn parts(
        &self,
        _: &WorkspaceId,
        run: &RunId,
        after: Option<PartId>,
        limit: u32,
    ) -> Result<Vec<Part>, LedgerError> {
        let list = |books: &mut Books| {
            let row = books.row(run)?;
            // Pages of at most two, so that paging is met by small runs, too.
            let behind = row.parts.values().filter(|part| after.is_none_or(|a| part.id > a));
            Ok(behind.take(limit.min(2) as usize).cloned().collect())
        };
        self.peek(list).await
    }

    async fn intents(&self, _: &WorkspaceId, run: &RunId) -> Result<Vec<Intent>, LedgerError> {
        self.peek(|books| books.row(run).map(|row| row.intents.clone())).await
    }

    async fn export(&self, _: &WorkspaceId, name: &str) -> Result<Export, LedgerError> {
        let missing = || LedgerError::NotFound { what: "export", name: name.into(), nearest: None };
        self.peek(|books| books.exports.get(name).cloned()).await.ok_or_else(missing)
    }

    async fn open_run_of(&self, _: &WorkspaceId, export: &str) -> Result<Option<Run>, LedgerError> {
        let find = |books: &mut Books| {
            let mut runs = books.runs.values().map(|row| &row.run);
            let open = runs.find(|run| {
                run.export_name.as_deref() == Some(export)
                    && run.advance == Advance::Cursor
                    && !run.state.is_final()
            });
            open.cloned()
        };
        Ok(self.peek(find).await)
    }

    async fn sealed_at(
        &self,
        _: &WorkspaceId,
        export: &str,
        to: CommitNumber,
    ) -> Result<Option<Run>, LedgerError> {
        let find = |books: &mut Books| {
            let mut newest_first = books.sealed.iter().rev().map(|id| &books.runs[id].run);
            let found = newest_first.find(|run| {
                run.export_name.as_deref() == Some(export)
                    && run.advance == Advance::Cursor
                    && run.to == to
            });
            found.cloned()
        };
        Ok(self.peek(find).await)
    }
}
