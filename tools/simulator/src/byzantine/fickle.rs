//! A validator with many behaviours.

use std::sync::Arc;

use types::{BlockResponse, PeerMessage};

use super::{conduct::Conduct, said::Said};
use crate::{liar::Liar, random::Random};

/// A validator that has another behaviour at each height. At every third height it has two: the second one changes what the
/// first one sends.
pub(super) struct Fickle {
    behaviours: Vec<Box<dyn Conduct>>,
}

impl Fickle {
    /// Creates a node that has these behaviours.
    pub fn new(behaviours: Vec<Box<dyn Conduct>>) -> Self {
        Self { behaviours }
    }

    /// Returns the behaviours of the present height; they depend on the height and the node only.
    fn present(&self, liar: &Liar<'_>) -> Vec<usize> {
        let mut random = Random::new(liar.height.0 * 1000 + liar.index as u64);
        let count = if liar.height.0.is_multiple_of(3) { 2 } else { 1 };
        (0..count).map(|_| random.index(self.behaviours.len())).collect()
    }
}

impl Conduct for Fickle {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        let present = self.present(liar);
        present.into_iter().fold(said, |said, index| self.behaviours[index].twist(liar, random, said))
    }

    fn hear(&mut self, from: usize, message: &Arc<PeerMessage>) {
        self.behaviours.iter_mut().for_each(|behaviour| behaviour.hear(from, message));
    }

    fn serve(&mut self, liar: &Liar<'_>, random: &mut Random, response: BlockResponse) -> Option<BlockResponse> {
        let mut present = self.present(liar).into_iter();
        present.try_fold(response, |response, index| self.behaviours[index].serve(liar, random, response))
    }
}
