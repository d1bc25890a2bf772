//! Runs a plan with a time limit, away from the caller's threads.
//!
//! A query that never yields cannot be stopped from outside, but it can be left alone: queries have
//! threads of their own, and who waits for rows waits no longer than the limit. Dropping [`Running`]
//! stops the query at its next batch. Planning is the same, except that it stops only where it waits: it
//! has threads apart, so that queries run while a planner is still at a text that everyone gave up on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::{Error, Limits, Session};
use crate::threads;

/// Batches that wait for who reads them.
const BATCHES_WAITING: usize = 2;

/// The rows of a running query.
pub(crate) struct Running {
    rows: Receiver<Result<Option<RecordBatch>, Error>>,
    task: AbortHandle,
    sleep: Pin<Box<Sleep>>,
    deadline: Deadline,
    done: bool,
}

/// Lets planning work on its own thread, and waits for it until the deadline of its session.
pub(crate) async fn within<T: Send + 'static>(
    deadline: Deadline,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    if deadline.is_over() {
        return Err(deadline.error());
    }
    let task = threads::spawn_planning(async move {
        // What only waits, for an object say, is not worked on for nobody.
        timeout_at(deadline.at, work).await.unwrap_or(Err(deadline.error()))
    });
    match timeout_at(deadline.at, task).await {
        Ok(Ok(planned)) => planned,
        Ok(Err(_)) => Err(Error::Died),
        Err(_) => Err(deadline.error()),
    }
}

/// When a query's time is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    seconds: f64,
    error: fn(f64) -> Error,
}

impl Deadline {
    /// Starts the time of a query.
    pub(crate) fn start(seconds: f64) -> Self {
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(1));
        Self { at: Instant::now() + limit, seconds, error: |seconds| Error::Time { seconds } }
    }

    /// Starts the time of planning, which is over with the query's at the latest.
    pub(crate) fn or_planning(self, seconds: f64) -> Self {
        let planning = Self::start(seconds);
        if planning.at < self.at {
            return Self { error: |seconds| Error::PlanningTime { seconds }, ..planning };
        }
        self
    }

    fn is_over(self) -> bool {
        Instant::now() >= self.at
    }

    fn error(self) -> Error {
        (self.error)(self.seconds)
    }
}

/// Starts a plan.
pub(crate) fn run(session: &Session, plan: Arc<dyn ExecutionPlan>) -> Running {
    let limits = session.limits().clone();
    let context = session.state().task_ctx();
    let (send, rows) = channel(BATCHES_WAITING);
    let deadline = session.deadline();
    let task = threads::spawn(pump(plan, context, limits, send));
    let sleep = Box::pin(sleep_until(deadline.at));
    Running { rows, task, sleep, deadline, done: false }
}

async fn pump(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    limits: Limits,
    send: Sender<Result<Option<RecordBatch>, Error>>,
) {
    let mut stream = match execute_stream(plan, context) {
        Ok(stream) => stream,
        Err(error) => {
            let _ = send.send(Err(Error::running(error, &limits))).await;
            return;
        }
    };
    while let Some(batch) = stream.next().await {
        let batch = batch.map(Some).map_err(|error| Error::running(error, &limits));
        let failed = batch.is_err();
        if send.send(batch).await.is_err() || failed {
            return;
        }
    }
    // Says that the stream ended by itself: a task that dies closes the channel without it.
    let _ = send.send(Ok(None)).await;
}

impl Stream for Running {
    type Item = Result<RecordBatch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        // The timer is some milliseconds late, and wakes whoever waits.
        if self.deadline.is_over() || self.sleep.as_mut().poll(context).is_ready() {
            self.done = true;
            self.task.abort();
            return Poll::Ready(Some(Err(self.deadline.error())));
        }
        let next = std::task::ready!(self.rows.poll_recv(context));
        let next = match next {
            Some(Ok(Some(batch))) => return Poll::Ready(Some(Ok(batch))),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some(Err(error)),
            None => Some(Err(Error::Died)),
        };
        self.done = true;
        Poll::Ready(next)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
