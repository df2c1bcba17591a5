//! Metrics of subsystem `consensus` about the messages of peers, and the clock skew that their times show.

use std::sync::Mutex;

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec};
use replica::{Checked, Offence, Status};
use types::{Header, Height, NodeId, PeerMessage, Time, VoteType};

use super::{
    register::{Subsystem, long_seconds},
    skew::Skew,
};

/// Metrics of received proposals, votes and block parts.
pub(super) struct Messages {
    pub(super) proposal_receive_count: IntCounterVec,
    pub(super) proposal_timestamp_difference: Histogram,
    pub(super) clock_skew_seconds: Gauge,
    pub(super) late_votes: IntCounterVec,
    pub(super) bad_signatures_total: IntCounter,
    pub(super) block_parts: IntCounterVec,
    pub(super) block_gossip_parts_received: IntCounterVec,
    pub(super) block_gossip_seconds: Histogram,
    skew: Mutex<Skew>,
    /// Height and arrival time of the block part that arrived last.
    last_part: Mutex<Option<(Height, Time)>>,
}

impl Messages {
    /// Creates and registers the metrics.
    pub fn new(on: &Subsystem<'_>) -> Self {
        Self {
            proposal_receive_count: on.counters(
                "proposal_receive_count",
                "Correctly signed proposals received from other validators.",
                &["status"],
            ),
            proposal_timestamp_difference: on.histogram(
                "proposal_timestamp_difference",
                "Seconds from a proposal's time to its arrival; negative if this machine's clock is behind.",
                [-10.0, -1.0, -0.1, 0.0].into_iter().chain(long_seconds()).collect(),
            ),
            clock_skew_seconds: on.float(
                "clock_skew_seconds",
                "Seconds by which this machine's clock is ahead of the others': the median over the validators' last proposals, \
                    which includes their network delay.",
            ),
            late_votes: on.counters("late_votes", "Votes of an earlier round or height.", &["vote_type"]),
            bad_signatures_total: on
                .counter("bad_signatures_total", "Messages of peers with an invalid signature."),
            block_parts: on.counters("block_parts", "Block parts that a connected peer sent.", &["peer_id"]),
            block_gossip_parts_received: on.counters(
                "block_gossip_parts_received",
                "Block parts received, by whether they belong to the current height.",
                &["matches_current"],
            ),
            block_gossip_seconds: on.histogram(
                "block_gossip_seconds",
                "Time from the block's timestamp to the arrival of its last part.",
                long_seconds(),
            ),
            skew: Mutex::default(),
            last_part: Mutex::default(),
        }
    }

    /// Counts a message of a peer.
    pub fn on_message(&self, peer: NodeId, message: &Checked, received: Time, status: &Status) {
        match message {
            Checked::Proposal(proposal) => {
                let proposal = &proposal.proposal;
                self.proposal_receive_count.with_label_values(&["accepted"]).inc();
                if proposal.pol_round.is_some() || proposal.height != status.height {
                    return; // the time is of an earlier round, or the proposer is unknown
                }
                let difference = (received.unix_nanos() - proposal.timestamp.unix_nanos()) as f64 / 1e9;
                self.proposal_timestamp_difference.observe(difference);
                let proposer = status.validators.proposer_of_round(proposal.round).address();
                let at = (proposal.height, proposal.round);
                let mut skew = self.skew.lock().expect("a thread that panics stops the process");
                self.clock_skew_seconds.set(skew.note(&status.validators, proposer, at, proposal.timestamp, received));
            }
            Checked::Bad(Offence::BadSignature(_)) => self.bad_signatures_total.inc(),
            Checked::Vote(vote) if (vote.vote.height, vote.vote.round) < (status.height, status.round) => {
                self.late_votes.with_label_values(&[vote_name(vote.vote.vote_type)]).inc();
            }
            Checked::Part { height, .. } | Checked::Unchecked(PeerMessage::Part { height, .. }) => {
                let is_current = *height == status.height;
                let matches = if is_current { "true" } else { "false" };
                self.block_gossip_parts_received.with_label_values(&[matches]).inc();
                self.block_parts.with_label_values(&[&peer.to_string()]).inc();
                *self.last_part.lock().expect("a thread that panics stops the process") = Some((*height, received));
            }
            _ => {}
        }
    }

    /// Removes the series of a peer that has disconnected.
    pub fn forget(&self, peer: NodeId) {
        let _ = self.block_parts.remove_label_values(&[&peer.to_string()]); // the peer may have no series
    }

    /// Records the arrival of the last part of a decided block.
    pub fn on_decided(&self, header: &Header) {
        let last_part = self.last_part.lock().expect("a thread that panics stops the process");
        if let Some((_, received)) = last_part.filter(|(height, _)| *height == header.height) {
            self.block_gossip_seconds.observe(received.since(header.time).as_secs_f64());
        }
    }
}

/// Returns the name of a vote's type for labels.
pub(super) fn vote_name(vote_type: VoteType) -> &'static str {
    match vote_type {
        VoteType::Prevote => "prevote",
        VoteType::Precommit => "precommit",
    }
}
