//! Measures the processor time that this process and the nodes use.
//!
//! Std lacks the system call for this, so this module has the only unsafe code of the crate.
#![allow(unsafe_code)]

use std::time::Duration;

use client::{Client, metrics};

use crate::{LoadError, Node};

/// Returns the processor time that all threads of this process have used so far, in user and kernel mode.
pub fn own_cpu() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is to a structure of the type that the call fills; it is read only if the call succeeded.
    let usage = unsafe {
        if libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) != 0 {
            return Duration::ZERO;
        }
        usage.assume_init()
    };
    let time = |time: libc::timeval| {
        let (seconds, micros) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_usec));
        Duration::from_secs(seconds.unwrap_or(0)) + Duration::from_micros(micros.unwrap_or(0))
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Clients that query the nodes for their processor time.
pub struct Meters(Vec<Option<Client>>);

/// Processor time used up to one moment.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Time of the reading on the run's clock, in nanoseconds.
    pub at: u64,
    /// Processor time of this process.
    pub own: Duration,
    /// Processor time of each node in seconds; `None` if the node does not report it.
    pub nodes: Vec<Option<f64>>,
}

impl Meters {
    /// Creates the clients for these nodes.
    ///
    /// Errors: [`LoadError::Client`] when a metrics address is not valid.
    pub fn of(nodes: &[Node]) -> Result<Self, LoadError> {
        let meter = |node: &Node| node.metrics.as_deref().map(|url| Client::new(url, Some("--metrics"))).transpose();
        Ok(Self(nodes.iter().map(meter).collect::<Result<_, _>>()?))
    }

    /// Reads the processor times now. `at` is the current time of the run's clock, in nanoseconds.
    pub fn read(&self, at: u64) -> Reading {
        let own = own_cpu();
        let cpu_seconds = |meter: &Client| metrics::sum(&meter.page("/metrics").ok()?, "process_cpu_seconds_total");
        let nodes = self.0.iter().map(|meter| cpu_seconds(meter.as_ref()?)).collect();
        Reading { at, own, nodes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_of_this_process_is_counted() {
        let before = own_cpu();
        while own_cpu() < before + Duration::from_millis(20) {
            std::hint::black_box((0..10_000).sum::<u64>());
        }
        let meters = Meters::of(&[Node { rpc: "h:1".into(), metrics: None }]).unwrap();
        assert_eq!(meters.read(7).nodes, [None]);
    }
}
