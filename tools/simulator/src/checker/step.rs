//! One step of a node: what it was given, and what it wants to do.

use std::{collections::BTreeSet, sync::Arc};

use consensus::{Timeout, TimeoutKind};
use replica::{Checked, Committed, Input, Output, Timer};
use types::{
    Address, BlockId, Height, NodeId, PeerMessage, Round, RoundState, Vote, VoteType, Wire,
    limits::{ATTACK_BYTES_MAX, VOTE_BYTES_MAX},
};

use crate::node::Node;

/// Bytes counted for the proof of a part.
const PROOF_BYTES: usize = 1024;

/// Where a vote counts: one validator signs one value there.
pub type Place = (Round, VoteType, Address);

/// A proposal, or votes, that a peer sent and whose signatures hold.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The peer that sent it.
    pub peer: NodeId,
    /// The height of the proposal or of the votes.
    pub height: Height,
    /// True for a certificate.
    pub is_certificate: bool,
    /// The votes in it; none in a proposal.
    pub votes: Vec<(Place, Option<BlockId>)>,
}

/// What a node was given in a step, as far as a check needs it.
#[derive(Debug, Default)]
pub struct Given {
    /// Timers of the engine that expired.
    timeouts: Vec<Timeout>,
    /// True if the gossip timer expired.
    pub has_gossip_expired: bool,
    /// Bytes of the messages of peers.
    pub bytes: usize,
    /// Number of all inputs.
    pub inputs: usize,
    /// Votes and proposals of peers, in their order.
    pub heard: Vec<Heard>,
    /// Peers that went away.
    pub gone: BTreeSet<NodeId>,
}

impl Given {
    /// Notes the inputs of a step.
    pub fn of(inputs: &[Input]) -> Self {
        let mut given = Self { inputs: inputs.len(), ..Self::default() };
        for input in inputs {
            match input {
                Input::Timer(Timer::Consensus(timeout)) => given.timeouts.push(*timeout),
                Input::Timer(Timer::Gossip) => given.has_gossip_expired = true,
                Input::Message { peer, message, .. } => {
                    given.bytes += bytes_of_checked(message);
                    given.heard.extend(Heard::of(*peer, message));
                }
                Input::PeerDown(peer) => drop(given.gone.insert(*peer)),
                _ => {}
            }
        }
        given
    }

    /// Returns the timers of the engine that expired.
    pub fn timeouts(&self) -> impl Iterator<Item = &Timeout> {
        self.timeouts.iter()
    }

    /// Returns true if a timer expired.
    pub fn has_expired(&self, kind: TimeoutKind, height: Height, round: Round) -> bool {
        self.timeouts.contains(&Timeout { kind, height, round })
    }
}

impl Heard {
    fn of(peer: NodeId, message: &Checked) -> Option<Self> {
        let said = |vote: &Vote| ((vote.round, vote.vote_type, vote.validator), vote.block_id);
        let (height, is_certificate, votes) = match message {
            Checked::Vote(vote) => (vote.vote.height, false, vec![said(&vote.vote)]),
            Checked::Certificate(certificate) => {
                let votes = certificate.votes().iter().map(|vote| said(&vote.vote)).collect();
                (certificate.height(), true, votes)
            }
            Checked::Proposal(proposal) => (proposal.proposal.height, false, Vec::new()),
            _ => return None,
        };
        Some(Self { peer, height, is_certificate, votes })
    }
}

/// A step of a node, before anything leaves it.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// The node after the step.
    pub node: &'a Node,
    /// What it was given.
    pub given: &'a Given,
    /// What it asks for, in its order.
    pub outputs: &'a [Output],
}

impl<'a> Step<'a> {
    /// Returns the messages of the step, in their order; one that goes to several peers is listed several times.
    pub fn messages(&self) -> impl Iterator<Item = &'a Arc<PeerMessage>> {
        self.outputs.iter().filter_map(|output| match output {
            Output::Broadcast(message) | Output::Send { message, .. } => Some(message),
            _ => None,
        })
    }

    /// Returns the decisions that the step announces, in their order.
    pub fn committed(&self) -> impl Iterator<Item = &'a Arc<Committed>> {
        self.outputs.iter().filter_map(|output| match output {
            Output::Committed(committed) => Some(committed),
            _ => None,
        })
    }

    /// Returns the bytes of the messages of the step, of which each counts once, however many peers receive it.
    pub fn bytes(&self) -> usize {
        let mut seen = BTreeSet::new();
        self.messages().filter(|message| seen.insert(Arc::as_ptr(message))).map(|message| bytes_of(message)).sum()
    }
}

/// Returns at most the bytes of a message, without encoding it.
fn bytes_of(message: &PeerMessage) -> usize {
    match message {
        PeerMessage::Part { part, .. } => part.bytes.len() + PROOF_BYTES,
        PeerMessage::Certificate(certificate) => certificate.votes().len() * VOTE_BYTES_MAX,
        PeerMessage::Vote(_) | PeerMessage::Proposal(_) => VOTE_BYTES_MAX,
        PeerMessage::RoundState(_) => RoundState::BYTES_MAX,
        PeerMessage::Evidence(_) => ATTACK_BYTES_MAX,
    }
}

fn bytes_of_checked(message: &Checked) -> usize {
    match message {
        Checked::Part { part, .. } => part.part().bytes.len() + PROOF_BYTES,
        Checked::Certificate(certificate) => certificate.votes().len() * VOTE_BYTES_MAX,
        Checked::Vote(_) | Checked::Proposal(_) => VOTE_BYTES_MAX,
        Checked::Evidence(_) => ATTACK_BYTES_MAX,
        Checked::Unchecked(message) => bytes_of(message),
        Checked::Bad(_) => 0,
    }
}
