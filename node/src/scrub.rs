//! Reads the whole store in the background, slowly, again and again: a row that rots is told while other nodes still have it.

use std::{
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use storage::{RocksKv, Store};

use crate::{metrics::Metrics, os};

/// Bytes read before others have their turn.
const SLICE_BYTES: u64 = 256 * 1024;

/// Damaged rows of one pass that the log names; all are counted.
const TOLD_MAX: usize = 20;

/// Pause after a pass.
const PAUSE: Duration = Duration::from_secs(6 * 3600);

/// Starts it at `bytes_per_second`; 0 makes it do nothing. It ends when the sender is dropped.
pub fn start(
    store: Arc<Store<RocksKv>>,
    metrics: Arc<Metrics>,
    bytes_per_second: usize,
) -> (SyncSender<()>, JoinHandle<()>) {
    let (alive, ended) = sync_channel::<()>(0);
    // True once the node stops.
    let wait = move |time: Duration| ended.recv_timeout(time) != Err(RecvTimeoutError::Timeout);
    let run = move || {
        os::work_in_background();
        if bytes_per_second == 0 {
            return;
        }
        while !pass(&store, &metrics, bytes_per_second as u64, &wait) && !wait(PAUSE) {}
    };
    (alive, std::thread::Builder::new().name("scrub".to_owned()).spawn(run).expect("a thread can be started"))
}

/// Reads everything once. True when the node stops meanwhile.
fn pass(store: &Store<RocksKv>, metrics: &Metrics, bytes_per_second: u64, wait: &impl Fn(Duration) -> bool) -> bool {
    let mut verification = store.verification();
    let (mut bytes, mut told, before) = (0, 0, metrics.scrub.damaged_rows.get());
    loop {
        let has_more = verification.step(SLICE_BYTES);
        let report = verification.report();
        let read = report.bytes() - bytes;
        bytes += read;
        metrics.scrub.bytes_total.inc_by(read);
        for finding in report.findings.iter().take(TOLD_MAX).skip(told) {
            metrics.scrub.tell(finding);
        }
        told = report.findings.len();
        metrics.scrub.damaged_rows.set(before.max(report.findings_total() as i64));
        if !has_more {
            metrics.scrub.damaged_rows.set(report.findings_total() as i64);
            metrics.scrub.passes_total.inc();
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            metrics.scrub.last_pass_time.set(now.as_secs() as i64);
            tracing::debug!(target: "state", bytes, found = report.findings_total(), "the whole store was read");
            return false;
        }
        if wait(Duration::from_secs_f64(read as f64 / bytes_per_second as f64)) {
            return true;
        }
    }
}
