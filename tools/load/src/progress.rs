//! Progress of a run: what it reports while it lasts, and the flag that stops it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{plan::Load, report::StageReport};

/// Progress of a run, as reported to an [`Observer`].
pub enum Event<'a> {
    /// The states of the senders' accounts are being queried.
    Asking {
        /// Number of accounts queried so far.
        done: u64,
        /// Total number of accounts to query.
        of: u64,
    },
    /// The senders are being funded.
    Funding {
        /// Number of accounts funded so far.
        done: u64,
        /// Total number of accounts to fund.
        of: u64,
    },
    /// Transactions are being signed into the file.
    Signing {
        /// Number of transactions signed so far.
        done: u64,
        /// Total number of transactions to sign.
        of: u64,
        /// Current size of the file in bytes.
        bytes: u64,
    },
    /// A stage of the run begins.
    StageBegins {
        /// Number of the stage, counted from 1.
        number: usize,
        /// Kind and amount of its load.
        load: Load,
    },
    /// Current figures of the stage, sent several times per second.
    Live(Live),
    /// A stage has ended, with this result.
    StageEnds(&'a StageReport),
    /// A sentence that the user should know.
    Note(&'a str),
}

/// Current figures of a stage, for the screen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// Time since the stage began, in seconds.
    pub seconds: f64,
    /// Valid transactions that were due in the last complete second.
    pub due_per_s: u64,
    /// Transactions that every validator committed in the last complete second.
    pub committed_per_s: u64,
    /// Median latency of the transactions committed in the last 5 seconds, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99th percentile of these latencies in milliseconds.
    pub p99_ms: Option<f64>,
    /// Valid transactions that were sent and are neither in a block nor failed.
    pub waiting: u64,
    /// Measured valid transactions that were refused, not sent or not committed in time so far.
    pub failed: u64,
    /// Highest height that any validator has reported.
    pub height: u64,
}

/// Receiver of the progress of a run.
pub trait Observer {
    /// Receives one event. It is called on the thread that controls the run, so it should return quickly.
    fn see(&mut self, event: &Event<'_>);
}

/// The observer of a run, and the flag that stops it.
pub struct Watch<'a> {
    /// Receiver of the events.
    pub observer: &'a mut dyn Observer,
    /// Flag that is set from outside to end the run.
    pub stop: &'a AtomicBool,
}

impl Watch<'_> {
    /// Reports an event to the observer.
    pub fn see(&mut self, event: &Event<'_>) {
        self.observer.see(event);
    }

    /// Reports a sentence to the observer.
    pub fn note(&mut self, sentence: impl AsRef<str>) {
        self.see(&Event::Note(sentence.as_ref()));
    }

    /// Returns true if the run was asked to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
