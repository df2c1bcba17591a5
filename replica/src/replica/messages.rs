//! Messages of peers, and what is forwarded to other peers.

use std::sync::Arc;

use consensus::Input as EngineInput;
use storage::Kv;
use types::{
    CheckedPart, Height, NodeId, PeerMessage, Round, SignedVote, Time, VerifiedCertificate, VerifiedProposal,
    VerifiedVote, Wire,
};

use super::{Replica, Turn};
use crate::{
    mutation::{Mutation, mutated},
    {Checked, Offence, Output, blocks::Added, peers::PeerView},
};

impl<K: Kv> Replica<K> {
    pub(super) fn on_message(&mut self, turn: &mut Turn<'_>, peer: NodeId, message: Checked, received: Time) {
        if self.halted || !self.peers.has(peer) {
            return;
        }
        match &message {
            Checked::Vote(vote) => self.note_height(peer, vote.vote.height),
            Checked::Proposal(proposal) => self.note_height(peer, proposal.proposal.height),
            Checked::Certificate(certificate) => self.note_height(peer, certificate.height()),
            Checked::Part { height, .. } => self.note_height(peer, *height),
            Checked::Evidence(_) | Checked::Unchecked(_) | Checked::Bad(_) => {}
        }
        match message {
            Checked::Bad(offence) => self.penalize(peer, offence),
            Checked::Unchecked(message) => self.on_unchecked(turn, peer, message, received),
            Checked::Vote(vote) => self.on_vote(turn, peer, vote, received),
            Checked::Proposal(proposal) => self.on_proposal(turn, peer, proposal, received),
            Checked::Certificate(certificate) => self.on_certificate(turn, peer, certificate, received),
            Checked::Part { height, round, part } => self.on_part(turn, peer, height, round, part),
            Checked::Evidence(evidence) => self.on_evidence(&evidence),
        }
    }

    /// Raises the height that the peer claims, because its message is of this height.
    fn note_height(&mut self, peer: NodeId, height: Height) {
        if self.peers.raise_height(peer, height) {
            self.catch_up.look_at_end |= height > self.chain.height();
        }
    }

    /// Handles a message that its verifier could not check: of another height, or a peer's round state.
    fn on_unchecked(&mut self, turn: &mut Turn<'_>, peer: NodeId, message: PeerMessage, received: Time) {
        let (height, checks) = match &message {
            PeerMessage::RoundState(state) => (state.height, 0),
            PeerMessage::Part { height, .. } => (*height, 1),
            PeerMessage::Vote(vote) => (vote.vote.height, 1),
            PeerMessage::Proposal(proposal) => (proposal.proposal.height, 1),
            PeerMessage::Certificate(certificate) => (certificate.height(), certificate.votes().len()),
            PeerMessage::Evidence(_) => return, // it is of no use now, and is sent again
        };
        let ours = self.chain.height();
        if let PeerMessage::RoundState(state) = message {
            return self.on_round_state(peer, state);
        }
        self.note_height(peer, height);
        // The replica has moved since the verifier saw the message. If it cannot be checked now either, its round is too
        // far ahead.
        if (height == ours || height == ours.next()) && checks <= turn.checks_left {
            turn.checks_left -= checks;
            match self.verifier.check(message) {
                Checked::Unchecked(_) => {}
                checked => self.on_message(turn, peer, checked, received),
            }
        }
    }

    /// Returns true if a message of this height must wait for the height to start.
    fn is_early(&self, height: Height) -> bool {
        let ours = self.chain.height();
        height == ours.next() || height == ours && !self.is_live()
    }

    fn on_vote(&mut self, turn: &mut Turn<'_>, peer: NodeId, vote: VerifiedVote, received: Time) {
        let height = vote.vote.height;
        if self.is_early(height) {
            let bytes = vote.encode().len();
            return self.keep(peer, height, Checked::Vote(vote), bytes, received);
        }
        // The engine handles the rest: late votes of the height before, and useless votes. It receives no votes of a
        // height that block sync took over.
        let is_heard = self.is_live() || self.engine.is_decided();
        if is_heard && (height == self.engine.height() || height.next() == self.engine.height()) {
            if self.is_live() && height == self.engine.height() && !self.check_own(&vote) {
                return;
            }
            let (new, is_late) = (self.lacks(&vote).then(|| (*vote).clone()), height != self.engine.height());
            if new.is_none() && !is_late {
                self.duplicate_votes += 1;
                return;
            }
            if new.is_some() && !is_late {
                self.sync.was_useful(peer);
            }
            self.drive(turn, EngineInput::Vote(vote));
            self.relay_votes(peer, new);
        }
    }

    fn on_proposal(&mut self, turn: &mut Turn<'_>, peer: NodeId, proposal: VerifiedProposal, received: Time) {
        let height = proposal.proposal.height;
        if self.is_early(height) {
            let bytes = proposal.encode().len();
            return self.keep(peer, height, Checked::Proposal(proposal), bytes, received);
        }
        if height != self.chain.height() {
            return;
        }
        let known = |replica: &Self| replica.engine.proposals(proposal.proposal.round).any(|known| *known == *proposal);
        let new = !known(self);
        self.drive(turn, EngineInput::Proposal { proposal: proposal.clone(), received });
        if new && known(self) {
            self.relay(peer, height, |_| true, PeerMessage::Proposal(proposal.into_signed()));
        }
        self.judge_ready(turn);
    }

    fn on_certificate(&mut self, turn: &mut Turn<'_>, peer: NodeId, certificate: VerifiedCertificate, received: Time) {
        let height = certificate.height();
        if self.is_early(height) {
            let bytes = certificate.votes().iter().map(|vote| vote.encode().len()).sum();
            return self.keep(peer, height, Checked::Certificate(certificate), bytes, received);
        }
        if height != self.chain.height() {
            return;
        }
        if certificate.votes().iter().all(|vote| self.check_own(vote)) {
            let new: Vec<SignedVote> =
                certificate.votes().iter().filter(|vote| self.lacks(vote)).map(|vote| (**vote).clone()).collect();
            if new.is_empty() && self.is_live() {
                return;
            }
            self.drive(turn, EngineInput::Certificate(certificate));
            self.relay_votes(peer, new);
        }
    }

    fn on_part(&mut self, turn: &mut Turn<'_>, peer: NodeId, height: Height, round: Round, part: CheckedPart) {
        let ours = self.chain.height();
        let added = match height {
            at if at == ours => self.blocks.add_part(peer, height, round, part.clone()),
            at if at == ours.next() => self.blocks.keep_early(peer, height, round, part.clone()),
            _ => return,
        };
        match added {
            Added::New(_) => {
                let part = part.part().clone();
                self.relay(peer, height, |_| true, PeerMessage::Part { height, round, part });
                self.judge_ready(turn);
            }
            Added::Known => self.duplicate_parts += 1,
            Added::Early | Added::Dropped => {}
        }
    }

    pub(super) fn penalize(&mut self, peer: NodeId, offence: Offence) {
        self.outputs.push(Output::Penalize { peer, offence });
    }

    fn keep(&mut self, peer: NodeId, height: Height, message: Checked, bytes: usize, received: Time) {
        if !mutated(Mutation::ForgetEarly) {
            self.peers.keep(peer, height, message, bytes, received);
        }
    }

    /// Returns true if a vote of the height being decided, or of the one before, is not held yet.
    fn lacks(&self, vote: &SignedVote) -> bool {
        let (height, round) = (vote.vote.height, vote.vote.round);
        let votes = self.engine.votes_at(height, round).map(|votes| votes.of(vote.vote.vote_type));
        let may_hold = height == self.engine.height() || height.next() == self.engine.height();
        may_hold && !votes.is_some_and(|votes| votes.has(vote))
    }

    /// Forwards votes that were new here and are now held to peers that do not receive them from others. Late votes of the
    /// height before are among them: they say in the next block that their validator signed.
    fn relay_votes(&mut self, from: NodeId, votes: impl IntoIterator<Item = SignedVote>) {
        for vote in votes {
            if !self.lacks(&vote) {
                self.relay(from, vote.vote.height, |view| !view.holds(&vote), PeerMessage::Vote(vote.clone()));
            }
        }
    }

    fn relay(&mut self, from: NodeId, height: Height, wants: impl Fn(&PeerView) -> bool, message: PeerMessage) {
        if mutated(Mutation::NoRelay) {
            return;
        }
        let (message, hidden) = (Arc::new(message), &self.config.hidden_peers);
        let is_hidden = hidden.contains(&from);
        let at_once = |peer: &NodeId| is_hidden || hidden.contains(peer);
        let to = self.peers.relayed(height, !hidden.is_empty(), at_once);
        let to = to.filter(|(peer, view)| *peer != from && wants(view));
        let sends: Vec<Output> = to.map(|(to, _)| Output::Send { to, message: message.clone() }).collect();
        self.outputs.extend(sends);
    }
}
