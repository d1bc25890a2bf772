//! The threads of heavy work: queries, and reading the rows of exports.
//!
//! They are apart from the threads of callers, which answer somebody: a query that never yields holds up none of
//! those, and the system may give these threads less of a busy processor, which [`on_start`] is for.

use std::sync::{LazyLock, OnceLock};

use tokio::runtime::Runtime;
use tokio::task::{AbortHandle, JoinHandle};

/// Bytes of stack of a thread: planning a chain of thousands of operators is that many calls deep.
/// Only what is used is taken from the system.
const STACK_BYTES: usize = 256 << 20;

static BEGIN: OnceLock<fn()> = OnceLock::new();

/// Plans: who asks waits for that, and it is soon done.
static PLANNERS: LazyLock<Runtime> = LazyLock::new(|| start("sluice-plan", || {}));

static THREADS: LazyLock<Runtime> =
    LazyLock::new(|| start("sluice-sql", || BEGIN.get().map_or((), |begin| begin())));

fn start(name: &str, begin: fn()) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name(name)
        .thread_stack_size(STACK_BYTES)
        .on_thread_start(begin)
        .enable_all()
        .build()
        .expect("the system gives threads to a process that just started")
}

/// Has every thread of heavy work call `begin` when it starts. For the whole process; the first call counts, and only
/// if nothing was read before.
pub fn on_start(begin: fn()) {
    BEGIN.get_or_init(|| begin);
}

/// Starts a task; it ends when it is done or aborted.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    THREADS.spawn(task).abort_handle()
}

/// Starts planning, which may never yield, on a thread of its own.
pub(crate) fn spawn_planning<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    PLANNERS.spawn_blocking(move || PLANNERS.block_on(task))
}
