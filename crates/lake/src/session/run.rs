//! Runs a plan with a time limit, away from the caller's threads.
//!
//! A query that never yields cannot be stopped from outside, but it can be left alone: queries have
//! threads of their own, and who waits for rows waits no longer than the limit. Dropping [`Running`]
//! stops the query at its next batch.

use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{Stream, StreamExt};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::AbortHandle;
use tokio::time::{Sleep, sleep_until};

use super::{Error, Limits, Session};

/// Batches that wait for who reads them.
const BATCHES_WAITING: usize = 2;

/// The threads of all queries.
static THREADS: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name("sluice-sql")
        .enable_all()
        .build()
        .expect("the system gives threads to a process that just started")
});

/// The rows of a running query.
pub(crate) struct Running {
    rows: Receiver<Result<Option<RecordBatch>, Error>>,
    task: AbortHandle,
    deadline: Pin<Box<Sleep>>,
    seconds: f64,
    done: bool,
}

/// Starts a plan.
pub(crate) fn run(session: &Session, plan: Arc<dyn ExecutionPlan>) -> Running {
    let limits = session.limits().clone();
    let context = session.state().task_ctx();
    let (send, rows) = channel(BATCHES_WAITING);
    let seconds = limits.seconds;
    let task = THREADS.spawn(pump(plan, context, limits, send)).abort_handle();
    let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(1));
    let deadline = Box::pin(sleep_until(tokio::time::Instant::now() + limit));
    Running { rows, task, deadline, seconds, done: false }
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
        if self.deadline.as_mut().poll(context).is_ready() {
            self.done = true;
            self.task.abort();
            return Poll::Ready(Some(Err(Error::Time { seconds: self.seconds })));
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
