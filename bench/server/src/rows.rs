//! Rows over several connections, and whether each that was acknowledged is there, once.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::Failed;
use crate::client::{Asked, Connection, Target};
use crate::events::{Events, id_of};
use crate::latency::Latencies;
use crate::memory::Memory;

/// Rows whose ids are counted by one question: what it may hold in memory is limited.
const COUNTED_AT_ONCE: u64 = 500_000;

/// How rows are sent.
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// The dataset, which must be new.
    #[arg(long)]
    dataset: String,
    /// Events of `bench-generate`, as JSON Lines.
    #[arg(long)]
    lines: PathBuf,
    /// Connections at the same time.
    #[arg(long, default_value_t = 16)]
    connections: u64,
    /// Rows of a request.
    #[arg(long, default_value_t = 500)]
    batch: u64,
    /// Seconds after which no request is begun.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Rows after which none is begun.
    #[arg(long, default_value_t = u64::MAX)]
    rows: u64,
    /// Rows a second at most.
    #[arg(long)]
    rate: Option<u64>,
    /// The server's process, whose memory is watched.
    #[arg(long)]
    pid: Option<u32>,
}

/// What the connections share.
struct Job {
    target: Arc<Target>,
    load: Load,
    events: Events,
    begin: Instant,
    /// The number of the next row.
    next: AtomicU64,
    latencies: Mutex<Latencies>,
}

/// Sends rows; returns what to print and whether the server has kept them.
pub(crate) async fn run(
    target: Arc<Target>,
    load: Load,
) -> Result<(Value, Result<(), Failed>), Failed> {
    let events = Events::read(&load.lines)?;
    let (latencies, next) = (Mutex::default(), AtomicU64::new(0));
    let job = Arc::new(Job { target, load, events, begin: Instant::now(), next, latencies });
    let memory = Arc::new(Mutex::new(Memory::default()));
    let watch = job.load.pid.map(|pid| {
        let memory = memory.clone();
        tokio::spawn(async move { Memory::watch(pid, &memory).await })
    });
    let tasks: Vec<_> =
        (0..job.load.connections).map(|_| tokio::spawn(job.clone().work())).collect();
    for task in tasks {
        task.await??;
    }
    let seconds = job.begin.elapsed().as_secs_f64();
    if let Some(watch) = watch {
        watch.abort();
    }
    let latencies = std::mem::take(&mut *job.latencies.lock().await);
    let acknowledged = latencies.count() as u64 * job.load.batch;
    let errors = latencies.errors();
    let (rows, ids) = job.count().await?;
    let per_second = |count: u64| {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let count = count as f64;
        count / seconds
    };
    let report = json!({
        "connections": job.load.connections, "rows_a_request": job.load.batch,
        "bytes_a_row": job.events.line_bytes(), "seconds": seconds, "rows": acknowledged,
        "rows_per_second": per_second(acknowledged),
        "requests_per_second": per_second(latencies.count() as u64),
        "rows_there": rows, "ids_there": ids, "memory": memory.lock().await.report(),
        "acknowledgements": latencies.report(),
    });
    Ok((report, kept(acknowledged, errors * job.load.batch, (rows, ids))))
}

/// Says whether what is there is what was acknowledged; of a request without an answer nobody knows.
fn kept(acknowledged: u64, unknown: u64, (rows, ids): (u64, u64)) -> Result<(), Failed> {
    if rows != ids {
        return Err(format!("{rows} rows are there, but {ids} ids").into());
    }
    if !(acknowledged..=acknowledged + unknown).contains(&rows) {
        return Err(format!("{acknowledged} rows were acknowledged, {rows} are there").into());
    }
    Ok(())
}

impl Job {
    /// Sends rows over one connection until there is no more time, or no more rows.
    async fn work(self: Arc<Self>) -> Result<(), Failed> {
        let batch = self.load.batch;
        let mut connection = Connection::open(self.target.clone()).await?;
        loop {
            let first = self.next.fetch_add(batch, Ordering::Relaxed);
            if first + batch > self.load.rows || !self.wait(first).await {
                return Ok(());
            }
            let asked = Asked {
                method: Method::POST,
                path: format!("/v1/datasets/{}/rows", self.load.dataset),
                kind: "application/x-ndjson",
                body: self.events.body(first, batch),
            };
            let begin = Instant::now();
            let answer = connection.send(asked).await;
            let broken = answer.is_err();
            let answer = answer.and_then(|answer| said(&answer.good()?.body, batch));
            let mut latencies = self.latencies.lock().await;
            match answer {
                Ok(()) => latencies.add(begin.elapsed()),
                Err(error) => latencies.fail(&error),
            }
            drop(latencies);
            if broken {
                connection = Connection::open(self.target.clone()).await?;
            }
        }
    }

    /// Waits until a row is due; returns whether there is time for it.
    async fn wait(&self, first: u64) -> bool {
        let end = self.begin + Duration::from_secs(self.load.seconds);
        if let Some(rate) = self.load.rate {
            let due = self.begin + Duration::from_micros(first.saturating_mul(1_000_000) / rate);
            tokio::time::sleep_until(due.min(end).into()).await;
        }
        Instant::now() < end
    }

    /// Returns how many rows the dataset has, and how many ids.
    async fn count(&self) -> Result<(u64, u64), Failed> {
        let mut connection = Connection::open(self.target.clone()).await?;
        let (mut rows, mut ids) = (0, 0);
        let end = self.next.load(Ordering::Relaxed);
        for first in (0..end).step_by(usize::try_from(COUNTED_AT_ONCE)?) {
            let sql = format!(
                "SELECT count(*) AS n, count(DISTINCT event_id) AS ids FROM {} \
                 WHERE event_id >= '{}' AND event_id < '{}'",
                self.load.dataset,
                id_of(first),
                id_of(first + COUNTED_AT_ONCE)
            );
            let asked = Asked {
                method: Method::POST,
                path: "/v1/sql".into(),
                kind: "application/json",
                body: json!({ "sql": sql }).to_string().into(),
            };
            let body = connection.send(asked).await?.good()?.body;
            let counted: Value = serde_json::from_slice(&body)?;
            rows += counted["n"].as_u64().ok_or("no count was answered")?;
            ids += counted["ids"].as_u64().ok_or("no count was answered")?;
        }
        Ok((rows, ids))
    }
}

/// Checks that an answer speaks of all rows.
fn said(body: &[u8], rows: u64) -> Result<(), Failed> {
    let body: Value = serde_json::from_slice(body)?;
    match body["rows"].as_u64() {
        Some(said) if said == rows => Ok(()),
        _ => Err(format!("the answer does not speak of {rows} rows: {body}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_too_few_or_too_many_is_noticed() {
        assert!(kept(1000, 0, (1000, 1000)).is_ok());
        assert!(kept(1000, 500, (1500, 1500)).is_ok());
        for wrong in
            [kept(1000, 0, (999, 999)), kept(1000, 0, (1001, 1001)), kept(1000, 0, (1000, 999))]
        {
            assert!(wrong.is_err());
        }
        assert!(said(br#"{"rows":500}"#, 500).is_ok());
        assert!(said(br#"{"rows":499}"#, 500).is_err());
    }
}
