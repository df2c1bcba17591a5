//! Ways to violate the protocol, and what a node that does so knows.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use replica::Committed;
use types::{BlockId, ChainId, ConsensusSecretKey, Height, Round, Step, Synchrony, Time, ValidatorSet};

use crate::random::Random;

/// The way in which a node violates the protocol. `byzantine.rs` has the table of what each sends, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Follows the chain and sends nothing but its round state.
    Silent,
    /// Never sends what it signs in one step: no proposals, no prevotes or no precommits.
    SilentIn(Step),
    /// Sends each message to each peer with a probability of one half.
    Selective,
    /// Sends all its messages to the same half of the peers, and nothing to the others.
    OneSided,
    /// Proposes two blocks and votes for two values, each to half of the peers.
    Equivocator,
    /// Proposes two blocks, each to half of the peers, and votes for one of them.
    TwoBlocks,
    /// Proposes one block, and votes for two values, each to half of the peers.
    TwoVotes,
    /// Equivocates as [`Behaviour::Equivocator`] does, from round 1 on only.
    LateEquivocator,
    /// Forgets its lock: prevotes and precommits whatever is proposed, and proposes its valid block as a new one.
    Amnesiac,
    /// Sends no polka: neither with a re-proposal nor in answer to a peer that lacks it.
    PolkaWithholder,
    /// Proposes to some and prevotes to one peer only, so that this peer locks alone, and lets later rounds end in nil.
    HiddenLock,
    /// Proposes blocks and sends no part of them, all but one, or all to one peer only.
    PartWithholder,
    /// Sends false parts: other bytes with the proof of a real part, parts of another block, parts before the proposal.
    BadParts,
    /// Proposes with a POL round that has no polka, that has one for another block, or that is not below the round.
    PolLiar,
    /// Proposes blocks that are invalid, each time in another way.
    BadBlocks,
    /// Proposes blocks with evidence that proves nothing there, and signs some votes twice.
    Accuser,
    /// Votes and proposes in rounds far ahead.
    RoundFlood,
    /// Sends messages of others again: of earlier rounds and heights, in another order, and whole certificates.
    Replayer,
    /// Sends votes, certificates, commits and evidence in the name of others, whose signatures are false.
    Forger,
    /// Gives its blocks, its proposals and its votes wrong times.
    BadTimes,
    /// Follows the protocol, but its round states and its answers to requests for blocks are lies that could be true.
    Plausible,
    /// Has another behaviour at each height, at some heights two at once.
    Fickle,
    /// Follows the protocol, but signs blocks for light clients that contradict the chain together with the others of this
    /// behaviour, and proposes blocks with evidence of that, of which most proves nothing there.
    Coalition,
    /// Together with the others of this behaviour, proposes two blocks and votes for both: for one to one half of the
    /// power, for the other one to the rest.
    Splitter,
    /// Votes in each round for whatever is proposed in it, also at heights that it has decided, and sends nothing else: a
    /// third of the power that does so lets two halves that are cut off from each other decide two blocks.
    Forgetful,
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
    /// The behaviours of a single validator with less than a third of the power.
    pub const SINGLE: [Self; 23] = [
        Self::Silent,
        Self::SilentIn(Step::Propose),
        Self::SilentIn(Step::Prevote),
        Self::SilentIn(Step::Precommit),
        Self::Selective,
        Self::OneSided,
        Self::Equivocator,
        Self::TwoBlocks,
        Self::TwoVotes,
        Self::LateEquivocator,
        Self::Amnesiac,
        Self::PolkaWithholder,
        Self::HiddenLock,
        Self::PartWithholder,
        Self::BadParts,
        Self::PolLiar,
        Self::BadBlocks,
        Self::Accuser,
        Self::RoundFlood,
        Self::Replayer,
        Self::Forger,
        Self::BadTimes,
        Self::Plausible,
    ];

    /// Draws a behaviour of a validator.
    pub fn random(random: &mut Random) -> Self {
        match random.below(8) {
            0 | 1 => Self::Fickle,
            2 => Self::Equivocator,
            3 => Self::Garbage,
            _ => random.pick(&Self::SINGLE),
        }
    }

    /// Draws a behaviour of a node without stake.
    pub fn random_stranger(random: &mut Random) -> Self {
        random.pick(&[
            Self::Claimant,
            Self::Claimant,
            Self::Unsigned,
            Self::Unsigned,
            Self::Plausible,
            Self::Plausible,
            Self::Replayer,
            Self::Forger,
            Self::Garbage,
            Self::Silent,
        ])
    }

    /// Returns true if the nodes of this behaviour act together.
    pub fn is_coordinated(self) -> bool {
        matches!(self, Self::Coalition | Self::Splitter | Self::Forgetful)
    }
}

/// Numbers of lies, by what was said or withheld.
#[derive(Debug, Default)]
pub struct Tally {
    counts: RefCell<BTreeMap<&'static str, u64>>,
    invalid: RefCell<BTreeSet<BlockId>>,
}

impl Tally {
    /// Counts one more lie of this kind.
    pub fn add(&self, lie: &'static str) {
        *self.counts.borrow_mut().entry(lie).or_default() += 1;
    }

    /// Notes that a block was proposed that no correct node accepts.
    pub fn add_invalid(&self, id: BlockId) {
        self.invalid.borrow_mut().insert(id);
    }

    /// Returns the number of lies of each kind.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.borrow().clone()
    }

    /// Returns the proposed blocks that no correct node accepts.
    pub fn invalid(&self) -> BTreeSet<BlockId> {
        self.invalid.borrow().clone()
    }
}

/// The node whose messages are changed.
pub struct Liar<'a> {
    /// How it violates the protocol.
    pub behaviour: Behaviour,
    /// Index of the node.
    pub index: usize,
    /// Secret key that it signs with.
    pub key: &'a ConsensusSecretKey,
    /// Secret keys of the nodes of behaviour [`Behaviour::Coalition`].
    pub coalition: &'a [ConsensusSecretKey],
    /// Indices of the other nodes of the same behaviour, if it is a coordinated one.
    pub allies: &'a [usize],
    /// Id of the chain.
    pub chain_id: &'a ChainId,
    /// Bounds of the times of blocks.
    pub synchrony: Synchrony,
    /// Maximum bytes of a block.
    pub block_bytes_max: u64,
    /// Validators of the node's current height.
    pub validators: &'a ValidatorSet,
    /// Current height of the node.
    pub height: Height,
    /// Current round of the node.
    pub round: Round,
    /// Indices of all other nodes.
    pub others: &'a [usize],
    /// Returns the power of each other node that is a validator of the current height. Cost: it compares all addresses.
    pub powers: &'a dyn Fn() -> Vec<(usize, u64)>,
    /// Time of the node's clock.
    pub now: Time,
    /// Heights that the node has decided.
    pub decided: &'a BTreeMap<Height, Arc<Committed>>,
    /// What it lied so far.
    pub tally: &'a Tally,
}
