//! Selective sending: a node sends its messages to some of the peers only.

use super::{conduct::Conduct, said::Said};
use crate::{liar::Liar, random::Random};

/// A node that sends each message to each peer with a probability of one half.
#[derive(Debug)]
pub(super) struct Selective;

impl Conduct for Selective {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        let mut some = |said: Said| {
            let all = said.to.len();
            let to: Vec<usize> = said.to.into_iter().filter(|_| random.chance(500)).collect();
            (to.len()..all).for_each(|_| liar.tally.add("withheld message"));
            Said { to, ..said }
        };
        said.into_iter().map(&mut some).collect()
    }
}

/// A node that sends all its messages to the same half of the peers, those whose index is even or those whose index is
/// odd, and nothing to the others.
#[derive(Debug)]
pub(super) struct OneSided;

impl Conduct for OneSided {
    fn twist(&mut self, liar: &Liar<'_>, _random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        let half = |said: Said| {
            let all = said.to.len();
            let said = said.only(|to| (to + liar.index) % 2 == 1);
            (said.to.len()..all).for_each(|_| liar.tally.add("withheld message"));
            said
        };
        said.into_iter().map(half).collect()
    }
}
