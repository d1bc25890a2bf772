//! What the system knows about this process, under the names that Prometheus' own libraries give it.
//!
//! Source: proc(5). Where there is no `/proc`, only the start is told.

use std::fmt::Error;
use std::fs;

use chrono::{DateTime, Utc};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Ticks of a second in `/proc/self/stat`: the same on every Linux, whatever the kernel uses inside.
const TICKS: f64 = 100.0;

/// This process.
#[derive(Debug)]
pub(super) struct Process {
    /// When it started.
    pub(super) started: DateTime<Utc>,
}

impl Collector for Process {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result<(), Error> {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of an age fit 52 bits")]
        let started = self.started.timestamp_millis() as f64 / 1000.0;
        tell(&mut to, "process_start_time_seconds", "When it started", &ConstGauge::new(started))?;
        if let Some(bytes) = resident() {
            let help = "Memory that is in use";
            tell(&mut to, "process_resident_memory_bytes", help, &ConstGauge::new(bytes))?;
        }
        if let Some(files) = open_files() {
            tell(&mut to, "process_open_fds", "Files that are open", &ConstGauge::new(files))?;
        }
        if let Some(seconds) = cpu() {
            let help = "Time that processors spent on it";
            tell(&mut to, "process_cpu_seconds", help, &ConstCounter::new(seconds))?;
        }
        Ok(())
    }
}

fn tell(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> Result<(), Error> {
    metric.encode(to.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn resident() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn open_files() -> Option<i64> {
    i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

fn cpu() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets, which may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS)
}
