//! One process: everything that a coordinator does to the world goes through here, step by step.
//!
//! A write is a step with a number. At a chosen step the process dies (it never goes on, nor does
//! anything it has spawned), freezes (until told otherwise), or gets an error (nothing was done, or all
//! was done and the reply was lost).

use std::fmt;
use std::future::{Future, pending};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use model::into::IntoDataset;
use model::ports::Objects;
use model::{CommitNumber, PortError, RunId, WorkspaceId};
use run::{Coordinator, Destinations, Guard, Head, Liveness, Pauses, Ports, Settings};

use crate::objects::Faults;
use crate::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Before,
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Crash,
    Freeze,
    Error,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Trouble {
    pub(crate) step: u64,
    pub(crate) at: At,
    pub(crate) what: What,
}

/// The error that a step gets by the plan.
#[derive(Debug, thiserror::Error)]
#[error("injected")]
pub(crate) struct Injected;

pub(crate) struct Process {
    pub(crate) world: Arc<World>,
    pub(crate) faults: Option<Faults>,
    trouble: Option<Trouble>,
    steps: AtomicU64,
    dead: AtomicBool,
    hit: Notify,
    frozen: watch::Sender<bool>,
    beat: Notify,
    pauses: AtomicU64,
    pub(crate) log: Mutex<Vec<String>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("trouble", &self.trouble).finish_non_exhaustive()
    }
}

pub(crate) enum Life<T> {
    Done(T),
    Crashed,
}

impl Process {
    pub(crate) fn new(world: &Arc<World>, trouble: Option<Trouble>) -> Arc<Self> {
        Self::faulty(world, trouble, None)
    }

    pub(crate) fn faulty(
        world: &Arc<World>,
        trouble: Option<Trouble>,
        faults: Option<Faults>,
    ) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            faults,
            trouble,
            steps: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            hit: Notify::new(),
            frozen: watch::Sender::new(false),
            beat: Notify::new(),
            pauses: AtomicU64::new(0),
            log: Mutex::default(),
        })
    }

    pub(crate) fn coordinator(self: &Arc<Self>) -> Coordinator {
        let clock = Arc::clone(&self.world.clock) as Arc<dyn model::Clock>;
        let scenario = &self.world.scenario;
        let ports = Ports {
            ledger: Arc::new(Handle(Arc::clone(self))),
            head: Arc::new(Handle(Arc::clone(self))),
            relations: Arc::new(Handle(Arc::clone(self))),
            encoder: Arc::new(Handle(Arc::clone(self))),
            destinations: Arc::new(Handle(Arc::clone(self))),
            intake: Arc::new(Handle(Arc::clone(self))),
            pauses: Arc::new(Handle(Arc::clone(self))),
            liveness: Arc::new(Handle(Arc::clone(self))),
            clock,
        };
        let mut settings = Settings::new("test", scenario.parallel);
        settings.put_bytes_max = scenario.put_bytes_max;
        settings.manifest_files_max = scenario.manifest_files_max;
        Coordinator::new(ports, settings)
    }

    /// Returns how many steps were done so far.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(SeqCst)
    }

    /// Returns how often a pause was made before another try.
    pub(crate) fn pauses(&self) -> u64 {
        self.pauses.load(SeqCst)
    }

    /// Does something that changes the world.
    pub(crate) async fn write<T>(&self, name: &str, op: impl FnOnce() -> T) -> Result<T, Injected> {
        self.gate().await;
        let step = self.steps.fetch_add(1, SeqCst);
        self.log.lock().unwrap().push(format!("{step} {name}"));
        self.trouble(step, At::Before).await?;
        let done = op();
        self.trouble(step, At::After).await?;
        // Parts that run side by side take turns.
        tokio::task::yield_now().await;
        self.gate().await;
        Ok(done)
    }

    /// Does something that only looks.
    pub(crate) async fn look<T>(&self, op: impl FnOnce() -> T) -> T {
        self.gate().await;
        op()
    }

    async fn trouble(&self, step: u64, at: At) -> Result<(), Injected> {
        let Some(trouble) = self.trouble else { return Ok(()) };
        if (trouble.step, trouble.at) != (step, at) {
            return Ok(());
        }
        match trouble.what {
            What::Error => return Err(Injected),
            What::Crash => self.dead.store(true, SeqCst),
            What::Freeze => {
                self.frozen.send_replace(true);
            }
        }
        self.hit.notify_one();
        self.gate().await;
        Ok(())
    }

    async fn gate(&self) {
        if self.dead.load(SeqCst) {
            pending::<()>().await;
        }
        if *self.frozen.borrow() {
            let mut frozen = self.frozen.subscribe();
            frozen.wait_for(|frozen| !frozen).await.unwrap();
        }
    }

    /// Waits until the trouble has come.
    pub(crate) async fn hit(&self) {
        self.hit.notified().await;
    }

    pub(crate) fn thaw(&self) {
        self.frozen.send_replace(false);
    }

    /// Lets the time to the next heartbeat pass.
    pub(crate) fn beat(&self) {
        self.beat.notify_one();
    }

    /// Runs work until it ends or the process dies; then nothing of it goes on.
    pub(crate) async fn live<T>(&self, work: impl Future<Output = T>) -> Life<T> {
        tokio::select! {
            biased;
            done = work => Life::Done(done),
            () = self.hit() => Life::Crashed,
        }
    }
}

/// A process as a coordinator sees it.
#[derive(Clone, Debug)]
pub(crate) struct Handle(pub(crate) Arc<Process>);

#[async_trait]
impl Pauses for Handle {
    /// Pauses between tries pass at once; heartbeats come when the test says so.
    async fn pause(&self, time: Duration) {
        if time >= Duration::from_secs(5) {
            self.0.beat.notified().await;
        } else {
            self.0.pauses.fetch_add(1, SeqCst);
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait]
impl Head for Handle {
    async fn head(&self, _: &WorkspaceId) -> Result<CommitNumber, PortError> {
        Ok(self.0.look(|| self.0.world.lake.lock().unwrap().head()).await)
    }
}

#[async_trait]
impl Destinations for Handle {
    async fn resolve(&self, _: &WorkspaceId, named: &str) -> Result<String, PortError> {
        Ok(named.to_owned())
    }

    fn is_managed(&self, _: &str) -> bool {
        false
    }

    async fn open(&self, _: &WorkspaceId, url: &str) -> Result<Arc<dyn Objects>, PortError> {
        if url == "test://place" || IntoDataset::of(url).is_some() {
            return Ok(Arc::new(self.clone()));
        }
        let (code, fault) = (model::Code::Invalid, model::Fault::Request);
        Err(PortError::new(code, fault, format!("no scheme of `{url}`")))
    }
}

impl Liveness for Handle {
    fn hold(&self, run: &RunId, epoch: u64) -> Result<Option<Guard>, PortError> {
        Ok(self.0.world.hold(run, epoch).map(|hold| Box::new(hold) as Guard))
    }

    fn is_dead(&self, run: &RunId, epoch: u64) -> bool {
        self.0.world.is_dead(run, epoch)
    }
}
