//! The common shape of all behaviours that change messages.

use std::sync::Arc;

use types::{BlockResponse, PeerMessage};

use super::said::Said;
use crate::{liar::Liar, random::Random};

/// What a node does instead of what the protocol says.
pub(super) trait Conduct {
    /// Returns the messages that are sent instead of `said`. It is called after each step of the node, also when the node
    /// says nothing.
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, said: Vec<Said>) -> Vec<Said>;

    /// Notes a message that arrives from the node `from`. The node itself receives it too.
    fn hear(&mut self, _from: usize, _message: &Arc<PeerMessage>) {}

    /// Returns what is sent in answer to a request for blocks instead of `response`, or `None` for no answer.
    fn serve(&mut self, _liar: &Liar<'_>, _random: &mut Random, response: BlockResponse) -> Option<BlockResponse> {
        Some(response)
    }
}
