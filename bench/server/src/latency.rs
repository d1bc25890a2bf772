//! How long answers took.

use std::time::Duration;

use serde_json::{Value, json};

/// Times of answers, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    times: Vec<Duration>,
    errors: u64,
    first_error: Option<String>,
}

impl Latencies {
    /// Counts a good answer.
    pub(crate) fn add(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// Counts one that was not.
    pub(crate) fn fail(&mut self, why: &impl ToString) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| why.to_string());
    }

    /// Returns how many were good.
    pub(crate) fn count(&self) -> usize {
        self.times.len()
    }

    /// Returns how many were not.
    pub(crate) fn errors(&self) -> u64 {
        self.errors
    }

    /// Returns percentiles in milliseconds.
    pub(crate) fn report(mut self) -> Value {
        self.times.sort_unstable();
        let at = |percent: usize| {
            // The least time that so many of a hundred answers did not exceed.
            let rank = (self.times.len() * percent).div_ceil(100).max(1);
            self.times.get(rank - 1).map(|time| time.as_secs_f64() * 1000.0)
        };
        json!({
            "answers": self.times.len(), "errors": self.errors, "first_error": self.first_error,
            "p50_ms": at(50), "p95_ms": at(95), "p99_ms": at(99), "max_ms": at(100),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let mut latencies = Latencies::default();
        for time in (1..=200).rev() {
            latencies.add(Duration::from_millis(time));
        }
        latencies.fail(&"first");
        latencies.fail(&"second");
        let report = latencies.report();
        let times = ["p50_ms", "p95_ms", "p99_ms", "max_ms"].map(|key| report[key].as_f64());
        assert_eq!(times, [100.0, 190.0, 198.0, 200.0].map(Some));
        assert_eq!((&report["errors"], &report["first_error"]), (&json!(2), &json!("first")));
        assert_eq!(Latencies::default().report()["p99_ms"], Value::Null);
    }
}
