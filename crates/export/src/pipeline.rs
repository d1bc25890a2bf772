//! The machine that encodes on every core and keeps the order.
//!
//! Rows come in as a stream, are grouped into tasks, encoded by a pool of threads that all encodes of a
//! process share, and put back in order. What waits is bounded in bytes over the process and in tasks per
//! file. Dropping a file's stream stops its work. What the bytes are is decided by formats; this module
//! only guarantees that neither threads nor the cut of incoming batches can show in them.

mod join;
pub(crate) mod limit;
mod text;

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use model::{Code, Failure, Fault, PortError, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;

pub(crate) use text::{RowFormat, RowWriter, TextJob, deliver};

type Job = Box<dyn FnOnce() + Send>;

/// Threads and memory that all encodes share.
pub(crate) struct Machine {
    queue: Arc<Queue>,
    budget: Arc<Semaphore>,
    threads: usize,
}

impl Machine {
    /// Starts `threads` threads, at least one; each calls `begin` first. They end when the machine is dropped.
    pub(crate) fn new(threads: usize, begin: fn()) -> Self {
        let threads = threads.max(1);
        let queue = Arc::new(Queue::default());
        for index in 0..threads {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new()
                .name(format!("encode-{index}"))
                .spawn(move || {
                    begin();
                    queue.work();
                })
                .expect("the system can start a thread");
        }
        Self { queue, budget: Arc::new(Semaphore::new(limits::IN_FLIGHT_BYTES)), threads }
    }

    /// Returns how many tasks one file may have waiting: enough to keep every thread busy.
    pub(crate) fn window(&self) -> usize {
        self.threads * 2
    }

    /// Runs a function on the pool. It is left out if nobody waits for the answer any more.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Answer<T> {
        let (answer, wait) = oneshot::channel();
        self.queue.push(Box::new(move || {
            if !answer.is_closed() {
                let done = catch_unwind(AssertUnwindSafe(work)).map_err(Crashed::of);
                // Who asked may have gone meanwhile; then the answer is not wanted.
                drop(answer.send(done));
            }
        }));
        Answer(wait)
    }

    /// Makes the share of the memory budget that one file draws from.
    pub(crate) fn share(&self) -> Share {
        Share { budget: Arc::clone(&self.budget), own: Arc::new(Semaphore::new(1)) }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// A file's share of the memory budget.
///
/// A file always may have one task in flight without asking, so that files cannot wait for each other in
/// a circle: whatever the others hold, each can end.
#[derive(Clone)]
pub(crate) struct Share {
    budget: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// Memory that is in use until this is dropped.
pub(crate) struct Permit {
    _held: OwnedSemaphorePermit,
}

impl Share {
    /// Waits until `bytes` may be in flight.
    pub(crate) async fn take(&self, bytes: u64) -> Permit {
        let most = limits::IN_FLIGHT_BYTES as u64;
        let bytes = u32::try_from(bytes.min(most)).expect("the budget fits 32 bits");
        let held = tokio::select! {
            biased;
            held = Arc::clone(&self.budget).acquire_many_owned(bytes) => held,
            held = Arc::clone(&self.own).acquire_owned() => held,
        };
        Permit { _held: held.expect("the budget is never closed") }
    }
}

/// The answer of a task on the pool, to be awaited.
pub(crate) struct Answer<T>(oneshot::Receiver<Result<T, Crashed>>);

impl<T> Answer<T> {
    /// Waits for the answer.
    pub(crate) async fn get(self) -> Result<T, Crashed> {
        self.0.await.unwrap_or_else(|_| Err(Crashed("it was dropped".into())))
    }
}

/// Tasks of a stream, ended when it is dropped.
pub(crate) type Tasks = JoinSet<()>;

/// A task of the pool panicked: a bug, contained to the file it worked on.
#[derive(Debug)]
pub(crate) struct Crashed(String);

impl Crashed {
    #[expect(clippy::needless_pass_by_value, reason = "the shape of a caught panic")]
    fn of(panic: Box<dyn Any + Send>) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self(text.unwrap_or_else(|| "it gave no reason".into()))
    }
}

impl fmt::Display for Crashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the encoder crashed, which is a bug: {}", self.0)
    }
}

impl std::error::Error for Crashed {}

impl Failure for Crashed {
    fn code(&self) -> Code {
        Code::Internal
    }

    fn fault(&self) -> Fault {
        Fault::Own
    }
}

/// Returns the error of a stream whose tasks ended without a word.
pub(crate) fn broke_off() -> PortError {
    Crashed("it ended before the file did".into()).into()
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    news: Condvar,
}

/// Waiting jobs; every file bounds its own by [`Machine::window`].
#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    fn push(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.news.notify_one();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.news.notify_all();
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.news.wait(state).expect("jobs do not panic under the lock");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("jobs do not panic under the lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer_and_the_thread_lives_on() {
        let machine = Machine::new(1, || {});
        let error =
            machine.run(|| -> u8 { panic!("oh {}", "no") }).get().await.expect_err("panics");
        assert_eq!(error.to_string(), "the encoder crashed, which is a bug: oh no");
        assert_eq!(machine.run(|| 7).get().await.expect("works"), 7);
    }

    #[tokio::test]
    async fn a_file_goes_on_when_others_hold_the_whole_budget() {
        let machine = Machine::new(1, || {});
        let (greedy, other) = (machine.share(), machine.share());
        let _all = greedy.take(u64::MAX).await;
        let first = other.take(1 << 20).await;
        let waits = tokio::time::timeout(std::time::Duration::ZERO, other.take(1)).await;
        assert!(waits.is_err(), "a second task waits");
        drop(first);
        other.take(1).await;
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_left_out() {
        let machine = Machine::new(1, || {});
        let (go, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let blocked = machine.run(move || wait.recv().is_ok());
        let ran = Arc::new(Mutex::new(false));
        let mark = Arc::clone(&ran);
        drop(machine.run(move || *mark.lock().expect("free") = true));
        go.send(()).expect("the job waits");
        assert!(blocked.get().await.expect("works"));
        machine.run(|| ()).get().await.expect("works");
        assert!(!*ran.lock().expect("free"));
    }
}
