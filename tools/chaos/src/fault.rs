//! The faults that are injected.

use std::{fmt, time::Duration};

/// What happens to the record of what a validator signed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// The file stays as it is.
    Kept,
    /// The file is lost.
    Lost,
}

/// A fault with the validators that it affects. Validators are named by their index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Kills a validator (SIGKILL), and starts it again after a time.
    Kill {
        /// The validator that is killed.
        node: usize,
        /// Time until it is started again.
        down: Duration,
    },
    /// Stops a validator for a time (SIGSTOP, SIGCONT): it is silent, and its connections stay open.
    Pause {
        /// The validator that is paused.
        node: usize,
        /// Duration of the pause.
        time: Duration,
    },
    /// Kills all validators at once, and starts them again after a time.
    RestartAll {
        /// Time until they are started again.
        down: Duration,
    },
    /// Kills a validator and deletes its database, or all of its data.
    Wipe {
        /// The validator that loses its data.
        node: usize,
        /// Whether its record of what it signed is deleted too. If so, it is started with `--signed-up-to`.
        record: Record,
    },
    /// Kills a validator and deletes its record of what it signed; the database stays.
    Forget {
        /// The validator that loses the record.
        node: usize,
    },
    /// Kills a validator and replaces its database by a backup that is at least a round old.
    Restore {
        /// The validator whose database becomes older.
        node: usize,
        /// Whether its record of what it signed is deleted too.
        record: Record,
    },
    /// Fills the disk of a validator for a time.
    Fill {
        /// The validator whose disk is full.
        node: usize,
        /// Time until there is space again.
        time: Duration,
    },
    /// Shifts the clock of a validator for a time.
    Clock {
        /// The validator whose clock is wrong.
        node: usize,
        /// What is added to its clock, in milliseconds.
        offset_ms: i64,
        /// Time until the clock is right again.
        time: Duration,
    },
    /// Stops a validator and starts it with the other version of the program.
    Swap {
        /// The validator that changes its program.
        node: usize,
    },
    /// Cuts some validators off from the others for a time.
    Cut {
        /// The validators on one side; all others are on the other side.
        side: Vec<usize>,
        /// Duration of the partition.
        time: Duration,
    },
    /// Loses all that the other validators send to one, which itself is heard, for a time.
    Deaf {
        /// The validator that hears nothing.
        node: usize,
        /// Duration of the fault.
        time: Duration,
    },
    /// Delays everything between all validators for a time.
    Delay {
        /// Delay in each direction, in milliseconds.
        delay_ms: u64,
        /// Maximum random addition, in milliseconds.
        jitter_ms: u64,
        /// Duration of the fault.
        time: Duration,
    },
    /// Loses a share of the packets that come to a validator for a time.
    Lose {
        /// The validator that loses packets.
        node: usize,
        /// Share of the packets in percent.
        percent: u64,
        /// Duration of the fault.
        time: Duration,
    },
    /// Limits the rate of each connection of a validator for a time.
    Narrow {
        /// The validator with slow connections.
        node: usize,
        /// Bytes per second in each direction.
        rate: u64,
        /// Duration of the fault.
        time: Duration,
    },
}

impl Fault {
    /// Returns the name of this kind of fault.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "kill",
            Self::Pause { .. } => "pause",
            Self::RestartAll { .. } => "restart-all",
            Self::Wipe { record: Record::Kept, .. } => "wipe-database",
            Self::Wipe { record: Record::Lost, .. } => "wipe-all",
            Self::Forget { .. } => "lose-record",
            Self::Restore { record: Record::Kept, .. } => "restore-old",
            Self::Restore { record: Record::Lost, .. } => "restore-old-lose-record",
            Self::Fill { .. } => "full-disk",
            Self::Clock { .. } => "clock",
            Self::Swap { .. } => "swap-program",
            Self::Cut { side, .. } if side.len() == 1 => "cut-one",
            Self::Cut { .. } => "cut-half",
            Self::Deaf { .. } => "one-way",
            Self::Delay { .. } => "delay",
            Self::Lose { .. } => "loss",
            Self::Narrow { .. } => "narrow",
        }
    }

    /// Returns the time from the start of the fault to its end.
    pub fn time(&self) -> Duration {
        match self {
            Self::Kill { down: time, .. }
            | Self::RestartAll { down: time }
            | Self::Pause { time, .. }
            | Self::Fill { time, .. }
            | Self::Clock { time, .. }
            | Self::Cut { time, .. }
            | Self::Deaf { time, .. }
            | Self::Delay { time, .. }
            | Self::Lose { time, .. }
            | Self::Narrow { time, .. } => *time,
            Self::Wipe { .. } | Self::Forget { .. } | Self::Restore { .. } | Self::Swap { .. } => Duration::ZERO,
        }
    }

    /// Returns the validator whose process or disk the fault changes; `None` if the fault is one of the network, or of all.
    pub fn process_of(&self) -> Option<usize> {
        match self {
            Self::Kill { node, .. }
            | Self::Pause { node, .. }
            | Self::Wipe { node, .. }
            | Self::Forget { node }
            | Self::Restore { node, .. }
            | Self::Fill { node, .. }
            | Self::Clock { node, .. }
            | Self::Swap { node } => Some(*node),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.time().as_millis();
        match self {
            Self::Kill { node, .. } => write!(f, "kill -9 node{node}, start it again after {ms} ms"),
            Self::Pause { node, .. } => write!(f, "pause node{node} for {ms} ms"),
            Self::RestartAll { .. } => write!(f, "kill -9 all, start them again after {ms} ms"),
            Self::Wipe { node, record: Record::Kept } => {
                write!(f, "kill -9 node{node}, delete its database, keep its signing state, start it")
            }
            Self::Wipe { node, record: Record::Lost } => {
                write!(f, "kill -9 node{node}, delete all of its data, start it with --signed-up-to")
            }
            Self::Forget { node } => write!(f, "kill -9 node{node}, delete its signing state, start it"),
            Self::Restore { node, record: Record::Kept } => {
                write!(f, "kill -9 node{node}, restore an old backup, keep its signing state, start it")
            }
            Self::Restore { node, record: Record::Lost } => {
                write!(f, "kill -9 node{node}, restore an old backup, delete its signing state, start it")
            }
            Self::Fill { node, .. } => write!(f, "fill the disk of node{node} for {ms} ms, kill -9 it in the middle"),
            Self::Clock { node, offset_ms, .. } => {
                write!(f, "shift the clock of node{node} by {offset_ms} ms for {ms} ms")
            }
            Self::Swap { node } => write!(f, "stop node{node}, start it with the other program"),
            Self::Cut { side, .. } => {
                let names: Vec<String> = side.iter().map(|node| format!("node{node}")).collect();
                write!(f, "cut {} off from the others for {ms} ms", names.join(", "))
            }
            Self::Deaf { node, .. } => write!(f, "lose all that comes to node{node} for {ms} ms"),
            Self::Delay { delay_ms, jitter_ms, .. } => {
                write!(f, "delay everything by {delay_ms} ms and up to {jitter_ms} ms more for {ms} ms")
            }
            Self::Lose { node, percent, .. } => write!(f, "lose {percent} % of what comes to node{node} for {ms} ms"),
            Self::Narrow { node, rate, .. } => write!(f, "limit node{node} to {rate} bytes per second for {ms} ms"),
        }
    }
}
