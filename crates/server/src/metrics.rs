//! What the server counts, as Prometheus reads it.
//!
//! Contract: labels are operation ids, methods and classes of status: sets that do not grow with what is asked. No name
//! or id of a tenant's is in any of them. A new counter is a field, and a line where it is made.

mod process;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

/// The media type of [`Metrics::text`].
pub(crate) const MEDIA_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Seconds: what a status read takes, up to what a question in SQL may take.
const SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0];

/// Which requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Answered {
    /// The operation's id; `none` where there is none.
    pub(crate) operation: String,
    /// The method; `other` for what no operation has.
    pub(crate) method: &'static str,
    /// `2xx` and so on; `none` without an answer.
    pub(crate) status: &'static str,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Operation {
    /// Its id; `none` where there is none.
    pub(crate) operation: String,
}

/// What is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(crate) requests: Family<Answered, Counter>,
    pub(crate) duration: Family<Operation, Histogram>,
    pub(crate) in_flight: Gauge,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) unauthenticated: Counter,
    pub(crate) rate_limited: Counter,
    pub(crate) refused: Counter,
    pub(crate) connections: Gauge,
    pub(crate) rows_added: Counter,
    pub(crate) commits: Counter,
    pub(crate) questions: Gauge,
    pub(crate) questions_refused: Counter,
}

impl Metrics {
    /// Begins to count; the process started at `started`.
    pub fn new(started: DateTime<Utc>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::Process { started }));
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        let all = registry.sub_registry_with_prefix("sluice");
        all.register("build", "The version that runs", version);
        let duration = Family::new_with_constructor(histogram as fn() -> Histogram);
        Self {
            requests: add(all, "http_requests", "Requests that ended"),
            duration: {
                let help = "Time from a request's head to the end of its answer";
                all.register("http_request_duration_seconds", help, duration.clone());
                duration
            },
            in_flight: add(all, "http_requests_in_flight", "Requests that are worked on"),
            received: add(all, "http_received_bytes", "Bytes of bodies of requests"),
            sent: add(all, "http_sent_bytes", "Bytes of bodies of answers"),
            unauthenticated: add(all, "authentication_failures", "Requests without a valid token"),
            rate_limited: add(all, "rate_limited", "Requests refused because too many came"),
            refused: add(all, "requests_refused", "Requests refused because the server was full"),
            connections: add(all, "connections", "Open connections of clients"),
            rows_added: add(all, "rows_added", "Rows added over HTTP"),
            commits: add(all, "commits", "Commits of rows added over HTTP"),
            questions: add(all, "questions_in_flight", "Questions in SQL that are answered"),
            questions_refused: add(all, "questions_refused", "Questions refused as too many"),
            registry,
        }
    }

    /// Returns the text that Prometheus reads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry).expect("a text takes all");
        text
    }
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

/// Makes a metric that is written under this name.
fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_prometheus_expects() {
        let metrics = Metrics::new(DateTime::from_timestamp(1_700_000_000, 0).expect("in range"));
        let one = |status| Answered { operation: "sql.query".into(), method: "POST", status };
        metrics.requests.get_or_create(&one("2xx")).inc();
        metrics.requests.get_or_create(&one("5xx")).inc_by(2);
        let operation = Operation { operation: "sql.query".into() };
        metrics.duration.get_or_create(&operation).observe(0.02);
        metrics.rows_added.inc_by(7);
        let text = metrics.text();
        for line in [
            "sluice_build_info{version=\"0.1.0\"} 1",
            "sluice_http_requests_total{operation=\"sql.query\",method=\"POST\",status=\"2xx\"} 1",
            "sluice_http_requests_total{operation=\"sql.query\",method=\"POST\",status=\"5xx\"} 2",
            "sluice_http_request_duration_seconds_bucket{operation=\"sql.query\",le=\"0.01\"} 0",
            "sluice_http_request_duration_seconds_bucket{operation=\"sql.query\",le=\"0.025\"} 1",
            "sluice_http_request_duration_seconds_count{operation=\"sql.query\"} 1",
            "sluice_rows_added_total 7",
            "sluice_connections 0",
            "process_start_time_seconds 1700000000.0",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_tells_of_itself() {
        let text = Metrics::new(DateTime::UNIX_EPOCH).text();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name}: {text}"))
                .trim()
                .parse::<f64>()
                .expect("a number")
        };
        assert!(value("process_resident_memory_bytes ") > 100_000.0, "{text}");
        assert!(value("process_open_fds ") >= 3.0, "{text}");
        assert!(value("process_cpu_seconds_total ") >= 0.0, "{text}");
    }
}
