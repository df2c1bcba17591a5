//! The faults that are injected into a chain.

use std::{fmt, str::FromStr, time::Duration};

/// A kind of fault, with its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// No fault: shows how much the figures vary by themselves.
    Baseline,
    /// The last validator is killed, and later started again.
    Kill,
    /// The last validator is paused: it is silent, but its connections stay open.
    Pause,
    /// The last validator is cut off from the others; clients still reach it.
    CutOne,
    /// Two halves are cut off from each other, so that no side has more than 2/3 of the power.
    CutHalf,
    /// All data between validators takes longer.
    Delay,
}

impl Scenario {
    /// All scenarios, in the order in which they are executed by default.
    pub const ALL: [Self; 6] = [Self::Baseline, Self::Kill, Self::Pause, Self::CutOne, Self::CutHalf, Self::Delay];

    /// Returns the name as it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::CutOne => "cut-one",
            Self::CutHalf => "cut-half",
            Self::Delay => "delay",
        }
    }

    /// Returns those of `nodes` validators that can continue, whose commits count; all of them if all or none can
    /// continue.
    pub fn counted(self, nodes: usize) -> Vec<usize> {
        match self {
            Self::Kill | Self::Pause | Self::CutOne => (0..nodes - 1).collect(),
            Self::Baseline | Self::CutHalf | Self::Delay => (0..nodes).collect(),
        }
    }

    /// Returns the validators that must catch up after the fault.
    pub fn behind(self, nodes: usize) -> Vec<usize> {
        match self {
            Self::Kill | Self::Pause | Self::CutOne => vec![nodes - 1],
            Self::CutHalf => (0..nodes).collect(),
            Self::Baseline | Self::Delay => Vec::new(),
        }
    }

    /// Returns the orders to the relay that start and end the fault; `None` if the relay takes no part in it.
    pub fn orders(self, nodes: usize, delay: Duration, jitter: Duration) -> Option<(String, String)> {
        let between = |one: &[usize], other: &[usize]| {
            let pairs = one.iter().flat_map(|i| other.iter().flat_map(move |j| [link_name(*i, *j), link_name(*j, *i)]));
            pairs.collect::<Vec<String>>().join(",")
        };
        let all: Vec<usize> = (0..nodes).collect();
        let cut = |from: usize| {
            let links = between(&all[..from], &all[from..]);
            Some((format!("{links} cut"), format!("{links} heal")))
        };
        match self {
            Self::CutOne => cut(nodes - 1),
            Self::CutHalf => cut(nodes / 2),
            Self::Delay => {
                let (delay, jitter) = (delay.as_micros(), jitter.as_micros());
                Some((format!("* delay={delay}us jitter={jitter}us"), "* open".to_owned()))
            }
            Self::Baseline | Self::Kill | Self::Pause => None,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scenario| scenario.name() == text);
        found.ok_or_else(|| format!("there is no such scenario: use {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// Returns the relay's name of the link on which validator `from` dials validator `to`.
pub fn link_name(from: usize, to: usize) -> String {
    format!("{from}-{to}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Order;

    #[test]
    fn a_cut_names_every_way_between_the_sides_and_no_other() {
        let orders = |scenario: Scenario| scenario.orders(4, Duration::from_millis(50), Duration::from_micros(500));
        let (cut, heal) = orders(Scenario::CutOne).unwrap();
        assert_eq!((cut.as_str(), heal.as_str()), ("0-3,3-0,1-3,3-1,2-3,3-2 cut", "0-3,3-0,1-3,3-1,2-3,3-2 heal"));
        assert_eq!(orders(Scenario::CutHalf).unwrap().0, "0-2,2-0,0-3,3-0,1-2,2-1,1-3,3-1 cut");
        assert_eq!(orders(Scenario::Delay).unwrap().0, "* delay=50000us jitter=500us");
        for scenario in Scenario::ALL {
            assert_eq!(scenario.name().parse(), Ok(scenario));
            for order in orders(scenario).into_iter().flat_map(|(begin, end)| [begin, end]) {
                assert!(order.parse::<Order>().is_ok(), "the relay understands {order:?}");
            }
        }
        assert!("x".parse::<Scenario>().unwrap_err().contains("cut-half"));
    }
}
