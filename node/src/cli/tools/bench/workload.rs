//! The names of the workloads of a benchmark.

use clap::ValueEnum;
use serde::Serialize;

/// A workload, in the order in which they run. The help of the command describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    Empty,
    Idle,
    Single,
    Saturate,
    Half,
}
