//! Ways to violate the protocol, and what a node that does so knows.

use std::{collections::BTreeMap, sync::Arc};

use replica::Committed;
use types::{ChainId, ConsensusSecretKey, Height, Time, ValidatorSet};

use crate::random::Random;

/// The way in which a node violates the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Follows the chain and sends nothing but its round state.
    Silent,
    /// Sends each message to each peer with a probability of one half.
    Selective,
    /// Proposes two blocks and votes for two values, each to half of the peers.
    Equivocator,
    /// Proposes blocks that are invalid in some way.
    BadBlocks,
    /// Proposes blocks with evidence that proves nothing there, and signs some votes twice.
    Accuser,
    /// Follows the protocol, but signs blocks for light clients that contradict the chain together with the others of this
    /// behaviour, and proposes blocks with evidence of that, of which most proves nothing there.
    Coalition,
    /// Follows the protocol, and additionally sends meaningless messages.
    Garbage,
    /// Follows the protocol with a key that another process has too, so that the two contradict each other.
    Twin,
    /// Follows the protocol. Outside of it, its operator shows votes with which its key contradicts what it signed.
    Traitor,
    /// Claims to be far ahead, or to lack everything in ever new rounds, and serves nothing. Needs no stake.
    Claimant,
    /// Sends votes, certificates and proposals of this height and the next that no validator signed. Needs no stake.
    Unsigned,
}

impl Behaviour {
    /// Draws a behaviour of a validator.
    pub fn random(random: &mut Random) -> Self {
        random.pick(&[
            Self::Silent,
            Self::Selective,
            Self::Equivocator,
            Self::Equivocator,
            Self::BadBlocks,
            Self::Accuser,
            Self::Garbage,
        ])
    }

    /// Draws a behaviour of a node without stake.
    pub fn random_stranger(random: &mut Random) -> Self {
        random.pick(&[Self::Claimant, Self::Claimant, Self::Unsigned, Self::Unsigned, Self::Garbage, Self::Silent])
    }
}

/// The node whose messages are changed.
pub struct Liar<'a> {
    /// How it violates the protocol.
    pub behaviour: Behaviour,
    /// Secret key that it signs with.
    pub key: &'a ConsensusSecretKey,
    /// Secret keys of the nodes of behaviour [`Behaviour::Coalition`].
    pub coalition: &'a [ConsensusSecretKey],
    /// Id of the chain.
    pub chain_id: &'a ChainId,
    /// Validators of the node's current height.
    pub validators: &'a ValidatorSet,
    /// Current height of the node.
    pub height: Height,
    /// Indices of all other nodes.
    pub others: &'a [usize],
    /// Time of the node's clock.
    pub now: Time,
    /// Heights that the node has decided.
    pub decided: &'a BTreeMap<Height, Arc<Committed>>,
}
