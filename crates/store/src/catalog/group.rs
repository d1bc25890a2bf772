//! Commits that wait for the same database are made in one transaction, so that they share its fsync.
//!
//! A commit starts as soon as none of its workspace is in flight in this process; those that come meanwhile go
//! together next, each with its own number and its own answer: one that is refused is undone alone. The work
//! is done by a task of its own, so a caller who stops waiting harms nobody.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use model::WorkspaceId;
use model::dataset::{Committed, NewCommit, NewFile};
use model::ports::CatalogError;
use tokio::sync::oneshot;

use super::commits::{self, Made};
use crate::database::{Database, Error, Transaction, transact};

/// Commits of one transaction at most.
const COMMITS_MAX: usize = 64;

/// Bytes of small commits in one transaction, beyond which no more join.
const BYTES_MAX: u64 = 16 << 20;

/// Commits that may wait; their rows are in memory.
const WAITING_MAX: usize = 4096;

/// The commits that wait, by workspace.
#[derive(Debug, Default)]
pub(crate) struct Queues(Mutex<HashMap<WorkspaceId, Arc<Queue>>>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<VecDeque<Waiting>>,
    /// Held by whoever commits.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Waiting {
    new: NewCommit,
    now: DateTime<Utc>,
    answer: oneshot::Sender<Result<Committed, CatalogError>>,
}

/// The answers of a transaction, one for each commit.
type Answers = Vec<Result<Committed, CatalogError>>;

impl Queues {
    /// Makes a commit, together with others that wait.
    pub(super) async fn commit(
        &self,
        database: &Database,
        new: &NewCommit,
        now: DateTime<Utc>,
    ) -> Result<Committed, CatalogError> {
        let (answer, answered) = oneshot::channel();
        let queue = self.of(&new.workspace);
        let waiting = Waiting { new: new.clone(), now, answer };
        {
            let mut queued = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if queued.len() >= WAITING_MAX {
                return Err(told("too many commits wait for it", true));
            }
            queued.push_back(waiting);
        }
        // As many tasks as commits: some find nothing left to do.
        let database = database.clone();
        tokio::spawn(async move { queue.work(&database).await });
        answered.await.unwrap_or_else(|_| Err(told("the commit was given up", true)))
    }

    fn of(&self, workspace: &WorkspaceId) -> Arc<Queue> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(queues.entry(workspace.clone()).or_default())
    }
}

impl Queue {
    async fn work(&self, database: &Database) {
        let _turn = self.turn.lock().await;
        let some: Vec<Waiting> = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let (mut count, mut bytes) = (0, 0);
            while count < waiting.len().min(COMMITS_MAX) && bytes < BYTES_MAX {
                bytes += waiting[count].new.files.iter().map(tail_bytes).sum::<u64>();
                count += 1;
            }
            waiting.drain(..count).collect()
        };
        let answers = match &some[..] {
            [] => return,
            [one] => vec![alone(database, one).await],
            some => together(database, some).await,
        };
        for (waiting, answer) in some.into_iter().zip(answers) {
            // Nobody may be waiting any more; the commit is made all the same.
            drop(waiting.answer.send(answer));
        }
    }
}

fn tail_bytes(file: &NewFile) -> u64 {
    file.tail.as_ref().map_or(0, |body| body.len() as u64)
}

async fn alone(database: &Database, one: &Waiting) -> Result<Committed, CatalogError> {
    transact!(database, CatalogError, |tx| only(tx, one)).map(Made::told)
}

async fn only(tx: &mut Transaction, one: &Waiting) -> Result<Made, CatalogError> {
    let made = commits::commit(tx, &one.new, one.now).await?;
    if let Made::Before(_) = &made {
        tx.undo();
    }
    Ok(made)
}

async fn together(database: &Database, some: &[Waiting]) -> Answers {
    let answers: Result<Answers, CatalogError> =
        transact!(database, CatalogError, |tx| each(tx, some));
    match answers {
        Ok(answers) => answers,
        // It may have been made: each asks again.
        Err(CatalogError::Database { reason, retry: true, .. }) => {
            some.iter().map(|_| Err(told(&reason, true))).collect()
        }
        // One of them is beyond what the database takes; the others are not to blame.
        Err(_) => {
            let mut answers = Vec::with_capacity(some.len());
            for one in some {
                answers.push(alone(database, one).await);
            }
            answers
        }
    }
}

/// Makes the commits together where they are plain, else one after another. What is refused is undone; where the database fails, all is.
async fn each(tx: &mut Transaction, some: &[Waiting]) -> Result<Answers, CatalogError> {
    let news: Vec<&NewCommit> = some.iter().map(|one| &one.new).collect();
    let now = some.iter().map(|one| one.now).max().unwrap_or_default();
    tx.execute("SAVEPOINT all_of_them", &[]).await?;
    match commits::appends(tx, &news, now).await {
        Ok(Some(commits)) => {
            return Ok(commits.into_iter().map(|commit| Ok(Committed::New(commit))).collect());
        }
        Err(error @ CatalogError::Database { .. }) => return Err(error),
        // Something is not plain about one of them.
        Ok(None) | Err(_) => tx.execute("ROLLBACK TO SAVEPOINT all_of_them", &[]).await?,
    };
    let mut answers = Vec::with_capacity(some.len());
    for one in some {
        tx.execute("SAVEPOINT one", &[]).await?;
        let made = match commits::commit(tx, &one.new, one.now).await {
            Err(error @ CatalogError::Database { .. }) => return Err(error),
            made => made,
        };
        if !matches!(made, Ok(Made::Now(_))) {
            tx.execute("ROLLBACK TO SAVEPOINT one", &[]).await?;
        }
        tx.execute("RELEASE SAVEPOINT one", &[]).await?;
        answers.push(made.map(Made::told));
    }
    Ok(answers)
}

fn told(reason: &str, retry: bool) -> CatalogError {
    let source = Box::new(Error::Told(reason.to_owned()));
    CatalogError::Database { reason: reason.into(), retry, source }
}
