//! Metrics of the process as the operating system reports them, under the names that every Prometheus client uses.

use std::{fs, time::SystemTime};

use prometheus::{
    core::{Collector, Desc},
    proto::{MetricFamily, MetricType},
};

use super::family::{family, one};
use crate::os;

/// Collector that reads `/proc/self` at each scrape; on systems without it, its series are missing.
pub struct Process {
    desc: Desc,
    started: f64,
}

impl Process {
    /// Creates the collector, with the current time as the start of the process.
    pub fn new() -> Self {
        let desc = Desc::new("process_cpu_seconds_total".into(), "of the process".into(), vec![], Default::default());
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self { desc: desc.expect("a fixed name"), started }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = vec![family(
            "process_start_time_seconds",
            "Start time of the process, in seconds since 1970.",
            MetricType::GAUGE,
            one(self.started),
        )];
        // Fields after the name in brackets: state is field 0, utime 11, stime 12, threads 17, vsize 20, rss 21.
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields: Vec<f64> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split(' ')
            .skip(1)
            .map(|field| field.parse().unwrap_or(0.0))
            .collect();
        if fields.len() > 21 {
            let cpu = (fields[11] + fields[12]) / os::ticks_per_second() as f64;
            let resident = fields[21] * os::page_bytes() as f64;
            families.push(family(
                "process_cpu_seconds_total",
                "Processor time of the process, in seconds.",
                MetricType::COUNTER,
                one(cpu),
            ));
            families.push(family(
                "process_resident_memory_bytes",
                "Resident memory of the process, in \
                bytes.",
                MetricType::GAUGE,
                one(resident),
            ));
            families.push(family(
                "process_virtual_memory_bytes",
                "Virtual memory of the process, in bytes.",
                MetricType::GAUGE,
                one(fields[20]),
            ));
            families.push(family("process_threads", "Threads.", MetricType::GAUGE, one(fields[17])));
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            families.push(family(
                "process_open_fds",
                "Open file descriptors of the process: files and sockets.",
                MetricType::GAUGE,
                one(files.count() as f64),
            ));
        }
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_files() {
        let value = |name: &str| {
            let families = Process::new().collect();
            families
                .iter()
                .find(|family| family.name() == name)
                .map(|family| family.get_metric()[0].get_gauge().get_value())
        };
        assert!(value("process_resident_memory_bytes").unwrap() > 1e6);
        assert!(value("process_open_fds").unwrap() > 2.0);
    }
}
