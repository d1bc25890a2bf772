//! How much memory the server takes, looked at every second.

use std::time::Duration;

use serde_json::{Value, json};

/// Share of the time after which a server that grows has no more reason to: minute 3 of 10.
const SETTLED: f64 = 0.3;

/// Samples around a moment whose median stands for it.
const AROUND: usize = 30;

/// KiB of resident memory, second by second, and the most there ever was.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    resident: Vec<u64>,
    peak: u64,
}

impl Memory {
    /// Looks every second until it is dropped.
    pub(crate) async fn watch(pid: u32, memory: &tokio::sync::Mutex<Self>) {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        loop {
            every.tick().await;
            let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return };
            let mut memory = memory.lock().await;
            memory.resident.extend(field(&status, "VmRSS:"));
            memory.peak = field(&status, "VmHWM:").unwrap_or_default().max(memory.peak);
        }
    }

    /// Returns the peak and the growth, in MiB.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub(crate) fn report(&self) -> Value {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let (Some(settled), Some(end)) = (self.at(SETTLED), self.at(1.0)) else {
            return Value::Null;
        };
        json!({
            "peak_mib": mib(self.peak), "settled_mib": mib(settled), "end_mib": mib(end),
            "growth_percent": (end as f64 / settled as f64 - 1.0) * 100.0,
        })
    }

    /// Returns the median around a moment.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a number of seconds"
    )]
    fn at(&self, share: f64) -> Option<u64> {
        let at = (self.resident.len() as f64 * share) as usize;
        let from = at.saturating_sub(AROUND);
        let mut some = self.resident.get(from..(at + AROUND).min(self.resident.len()))?.to_vec();
        some.sort_unstable();
        some.get(some.len() / 2).copied()
    }
}

/// Reads the number of a line such as `VmRSS: 1234 kB`.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_what_comes_after_the_start() {
        let mut memory = Memory { resident: vec![1024; 100], peak: 4096 };
        memory.resident.extend(vec![2048; 800]);
        memory.resident.extend(vec![2151; 100]);
        let report = memory.report();
        assert_eq!((&report["peak_mib"], &report["settled_mib"]), (&json!(4.0), &json!(2.0)));
        let growth = report["growth_percent"].as_f64().expect("a number");
        assert!((growth - 5.03).abs() < 0.01, "{growth}");
        assert_eq!(Memory::default().report(), Value::Null);
        assert_eq!(field("VmHWM:\t  77 kB\nVmRSS:\t    1234 kB\n", "VmRSS:"), Some(1234));
    }
}
