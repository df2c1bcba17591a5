//! Observes the validators while faults happen: their votes, and the records of what they signed last.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use client::Client;
use files::signing_state;
use serde_json::json;

use crate::{deliver::wait, net::Net, votes::Votes};

/// Interval between two observations of a validator.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// What was observed at the validators.
#[derive(Default)]
pub struct Seen {
    /// Votes at all validators.
    pub votes: Mutex<Votes>,
    /// Records of signatures that went back, one sentence each.
    pub records: Mutex<Vec<String>>,
    /// Number of observations of votes that a validator answered.
    pub answers: AtomicU64,
}

/// The threads that observe, one for each validator. They end when the value is dropped.
pub struct Watch {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    lost: Vec<Arc<AtomicU64>>,
    /// What was observed until now.
    pub seen: Arc<Seen>,
}

impl Watch {
    /// Starts to observe all validators.
    pub fn start(net: &Net) -> Self {
        let (stop, seen) = (Arc::<AtomicBool>::default(), Arc::<Seen>::default());
        let mut watch = Self { threads: Vec::new(), stop, lost: Vec::new(), seen };
        for node in &net.nodes {
            let (stop, seen, lost) = (watch.stop.clone(), watch.seen.clone(), Arc::<AtomicU64>::default());
            let (name, client, record) = (node.name.clone(), node.client.clone(), node.record());
            watch.lost.push(lost.clone());
            watch.threads.push(thread::spawn(move || observe(&name, &client, &record, &lost, &seen, &stop)));
        }
        watch
    }

    /// Notes that a validator has lost its record on purpose: the next one may be lower.
    pub fn record_lost(&self, index: usize) {
        self.lost[index].fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("observing does not panic"));
    }
}

fn observe(name: &str, client: &Client, record: &Path, lost: &AtomicU64, seen: &Seen, stop: &AtomicBool) {
    let mut last = (0, 0, 0);
    let mut losses = 0;
    while !stop.load(Ordering::Relaxed) {
        if let Ok(dump) = client.call("dump_consensus_state", json!({})) {
            seen.answers.fetch_add(1, Ordering::Relaxed);
            seen.votes.lock().expect("nothing panics while it holds the lock").add(&dump);
        }
        // The number of losses is read before and after, so that a loss in between is noticed.
        let before = lost.load(Ordering::SeqCst);
        if let Ok(state) = signing_state::load(record) {
            let now = (state.height.0, state.round.0, state.step);
            if before == losses && now < last && lost.load(Ordering::SeqCst) == losses {
                let sentence = format!("the signing state of {name} went back from {last:?} to {now:?}");
                seen.records.lock().expect("nothing panics while it holds the lock").push(sentence);
            }
            if before == lost.load(Ordering::SeqCst) {
                (last, losses) = (now, before);
            }
        }
        wait(LOOK_PERIOD, stop);
    }
}
