//! What goes on in a server besides requests.

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{Core, dialects};

/// Tasks that work until they are told to stop.
pub(crate) struct Background {
    told: watch::Sender<bool>,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
}

impl Background {
    /// Starts them.
    pub(crate) fn start(core: &Core) -> Self {
        let (told, stopping) = watch::channel(false);
        let stopped = || {
            let mut stopping = stopping.clone();
            async move {
                // An error says that nobody can tell any more, which comes to the same.
                drop(stopping.wait_for(|stop| *stop).await);
            }
        };
        let executor = tokio::spawn(core.executor.clone().work(stopped()));
        let keeper = tokio::spawn(core.keeper.clone().work(stopped()));
        let scheduler = tokio::spawn(core.scheduler.clone().work(stopped()));
        let mut tasks = vec![("executor", executor), ("keeper", keeper), ("scheduler", scheduler)];
        for (name, work) in dialects::works(core) {
            let stop = stopped();
            let work = async move {
                tokio::select! {
                    biased;
                    () = stop => {}
                    () = work => {}
                }
            };
            tasks.push((name, tokio::spawn(work)));
        }
        Self { told, tasks }
    }

    /// Tells them to stop.
    pub(crate) fn stop(&self) {
        self.told.send_replace(true);
    }

    /// Stops them, and returns when they have let go of what they held.
    pub(crate) async fn end(self) {
        self.stop();
        for (what, task) in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, what, "work in the background broke off");
            }
        }
    }
}
