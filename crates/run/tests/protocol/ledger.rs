//! A ledger in memory that keeps the contract of the trait to the letter.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use model::dataset::NewCommit;
use model::export::{Advance, Export, NewRun, Rerun};
use model::part::{Part, PartId, Receipt};
use model::ports::{Lease, Ledger, LedgerError, Opened};
use model::run::{FrozenManifest, Intent, Plan, Run, RunState};
use model::{CommitNumber, RunId, WorkspaceId};

use crate::books::{Books, Row, refused};
use crate::process::{Handle, Injected};

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

    async fn seal_into(
        &self,
        lease: &Lease,
        manifest: &FrozenManifest,
        commits: &[NewCommit],
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        self.note("seal_into", |books| books.seal_into(lease, (manifest, commits), now)).await
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

    async fn cleaned(
        &self,
        _: &WorkspaceId,
        run: &RunId,
        _: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let clean = |books: &mut Books| {
            books.row(run)?.cleaned = true;
            Ok(())
        };
        self.note("cleaned", clean).await
    }

    async fn uncleaned(
        &self,
        _: &WorkspaceId,
        _: DateTime<Utc>,
        _: u32,
    ) -> Result<Vec<RunId>, LedgerError> {
        let list = |books: &mut Books| {
            let to_clean = |row: &&Row| {
                let state = row.run.state;
                matches!(state, RunState::Failed | RunState::Cancelled) && !row.cleaned
            };
            books.runs.values().filter(to_clean).map(|row| row.run.id.clone()).collect()
        };
        Ok(self.peek(list).await)
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
