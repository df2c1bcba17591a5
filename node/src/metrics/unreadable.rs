//! Counts failed reads for peers and clients, and logs them at a limited rate.

use std::{
    fmt::Display,
    sync::Mutex,
    time::{Duration, Instant},
};

use prometheus::{IntCounter, IntCounterVec, IntGauge};
use storage::Finding;

use super::register::Subsystem;

/// Minimum interval between two log lines: repeated requests for a damaged row must not fill the log.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Reads for peers and clients that failed because of the disk. Their answer is "not available"; the node continues.
pub struct Unreadable {
    counts: IntCounterVec,
    logged: Mutex<Logged>,
}

#[derive(Default)]
struct Logged {
    last: Option<Instant>,
    since: u64,
}

impl Unreadable {
    pub(super) fn new(on: &Subsystem<'_>) -> Self {
        let help = "Reads that failed because a row is damaged or the disk failed, by reader: peer or client.";
        Self { counts: on.counters("unreadable_total", help, &["reader"]), logged: Mutex::default() }
    }

    /// Counts and logs a failed read. `reader` is `peer` or `client`; `error` names the column family, the key and what
    /// to do.
    pub fn note(&self, reader: &'static str, error: &dyn Display) {
        self.counts.with_label_values(&[reader]).inc();
        let mut logged = self.logged.lock().expect("a thread that panics stops the process");
        logged.since += 1;
        if logged.last.is_some_and(|last| last.elapsed() < LOG_EVERY) {
            return;
        }
        tracing::error!(
            target: "state", reader, failures = logged.since, reason = %error,
            "a row could not be read from the store; the peer or client that asked for it got the answer that it is not available \
             here"
        );
        *logged = Logged { last: Some(Instant::now()), since: 0 };
    }
}

/// Metrics of the background reading of the whole store; subsystem `storage`.
pub struct Scrub {
    /// Bytes that were read in the background.
    pub(crate) bytes_total: IntCounter,
    /// Completed passes over the whole store.
    pub(crate) passes_total: IntCounter,
    /// Damaged rows that the last pass found, or the current one if it has found more.
    pub(crate) damaged_rows: IntGauge,
    /// End of the last pass, in seconds since 1970.
    pub(crate) last_pass_time: IntGauge,
}

impl Scrub {
    pub(super) fn new(on: &Subsystem<'_>) -> Self {
        let damaged = "Damaged or missing rows that the background check of the store found. If above 0, run `cairn verify store`.";
        Self {
            bytes_total: on.counter("scrub_bytes_total", "Bytes that the background check of the store has read."),
            passes_total: on.counter("scrub_passes_total", "Completed background checks of the whole store."),
            damaged_rows: on.gauge("scrub_damaged_rows", damaged),
            last_pass_time: on.gauge(
                "scrub_last_pass_timestamp_seconds",
                "Time of the last completed background check of the store, in seconds since 1970; 0: none yet.",
            ),
        }
    }

    /// Logs a damaged row of the store.
    pub fn report(&self, finding: &Finding) {
        let height = finding.height.map_or_else(|| "none".to_owned(), |height| height.to_string());
        tracing::error!(
            target: "state", family = finding.cf.name(), height, key = finding.key, reason = finding.reason,
            "the store has a damaged row; peers and clients that ask for it get the answer that it is not available here. Stop \
             the node; then `cairn verify store` lists all damage, and `cairn restore` installs a copy of another node's store"
        );
    }
}
