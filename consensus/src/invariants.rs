//! Assertions of the invariants that concern the whole engine. The documentation of the crate states I1 to I6; here is
//! where each is asserted.
//!
//! | invariant | asserted in |
//! |---|---|
//! | I1 | `Signer` (`record` and `raise_to`), `keep_own`, `Engine::propose` and `Engine::vote` |
//! | I2 | here after each step, and in `driver::Batch` |
//! | I3 | here after each step, and in `Engine::lock` |
//! | I4 | `Engine::propose`, `vote`, `decide`, `remember_valid` and `needed_blocks`, and in the replica |
//! | I5 | here, called by each function by which rules change the state |
//! | I6 | here after each step, where blocks and proposals are added, and where old votes are removed |
//!
//! No input of a peer can make an assertion fail: each concerns only what this node computed itself.

use crate::{
    engine::Engine,
    io::{Message, Output},
    mutation::is_any_rule_broken,
};

impl Engine {
    /// Asserts I2, I3 and I6 after a step with these outputs.
    ///
    /// Cost: O(outputs + rounds with votes), less than the search for a rule that can fire.
    pub(crate) fn assert_invariants(&self, outputs: &[Output]) {
        assert!(self.locked_round() <= self.valid.map(|valid| valid.round), "I3: locked round ≤ valid round");
        assert!(self.valid.is_none_or(|valid| valid.round <= self.round), "I3: valid round ≤ round");
        // A mutated engine breaks invariants on purpose, and the checkers outside it must notice.
        if is_any_rule_broken() {
            return;
        }
        self.assert_written_before_sent(outputs);
        let (held, max) = (self.held_bytes(), self.held_bytes_max());
        assert!(held <= max, "I6: {held} bytes are held for a height, at most {max} are allowed");
    }

    /// Asserts that each of our messages among the outputs follows a write-ahead of this step, or is one of those that
    /// the hard state contains; and that the write-ahead contains the message that was signed last.
    ///
    /// This does not notice a message that was signed in this step and has no write-ahead: `keep_own` has recorded it.
    /// `Engine::take_outputs` inserts the write-ahead, and if it does not (`Mutation::SkipWriteAhead`), the checkers
    /// outside the engine notice.
    fn assert_written_before_sent(&self, outputs: &[Output]) {
        let mut is_written = false;
        for output in outputs {
            match output {
                Output::WriteAhead(_) => {
                    is_written = true;
                    let signed = self.signer.as_ref().map(|signer| signer.state().hrs());
                    let last_vote = self.own_votes.last().map(|signed| signed.vote.hrs());
                    let last_proposal = self.own_proposals.last().map(|signed| signed.proposal.hrs());
                    assert_eq!(
                        signed,
                        last_vote.max(last_proposal),
                        "I2: the hard state contains what was signed last"
                    );
                }
                Output::Broadcast(Message::Proposal(signed)) => {
                    assert!(is_written || self.own_proposals.contains(signed), "I2: written before it is sent");
                }
                Output::Broadcast(Message::Vote(signed)) => {
                    assert!(is_written || self.own_votes.contains(signed), "I2: written before it is sent");
                }
                _ => {}
            }
        }
    }

    /// Asserts that a rule may change the state: no rule fires between the decision and the start of the next height.
    pub(crate) fn assert_undecided(&self) {
        assert!(self.decided.is_none(), "I5: height {} is decided, so no rule fires", self.height);
    }
}

/// Proves by deliberate violations that the assertions notice something.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Input, Signer, Timeout, TimeoutKind};
    use types::*;

    const BLOCK: BlockId = BlockId { hash: Hash([1; 32]), parts: PartSetHeader { total: 1, hash: Hash([2; 32]) } };

    fn chain() -> ChainId {
        ChainId::new("invariants").unwrap()
    }

    /// Returns the engine of a validator that waits for the proposal of round 0.
    fn started() -> Engine {
        let keys = [1, 2, 3, 4].map(|seed| SecretKey::from_bytes(&[seed; 32]).unwrap());
        let validators = keys.iter().map(|key| (key.public_key(), Power(1))).collect();
        let validators = ValidatorSet::new(validators).unwrap();
        let key = keys.iter().find(|key| validators.proposer().public_key != key.public_key()).unwrap();
        let signer = Signer::new(key.clone(), SignState::default());
        let mut engine = Engine::new(chain(), Some(signer), validators.clone());
        let start = Input::StartHeight {
            height: Height(1),
            validators,
            timeouts: Timeouts::default(),
            synchrony: Params::default().synchrony,
            hard_state: None,
            abstain: false,
        };
        engine.step(Time::UNIX_EPOCH, start);
        engine
    }

    fn expire(engine: &mut Engine, kind: TimeoutKind) -> Vec<Output> {
        let (height, round) = (engine.height(), engine.round());
        engine.step(Time::UNIX_EPOCH, Input::Timeout(Timeout { kind, height, round }))
    }

    /// Returns the vote of validator 0 in `round`, with a signature that does not hold.
    fn vote(round: u32) -> SignedVote {
        let (vote_type, height, round) = (VoteType::Prevote, Height(1), Round(round));
        let (validator, validator_index, timestamp) = (Address([1; 20]), 0, Time::UNIX_EPOCH);
        let vote = Vote { vote_type, height, round, block_id: None, timestamp, validator, validator_index };
        SignedVote { vote, signature: Signature([0; 64]) }
    }

    #[test]
    fn the_invariants_hold_in_a_round_without_a_proposal() {
        let mut engine = started();
        assert_eq!(expire(&mut engine, TimeoutKind::Propose).len(), 2);
        assert_eq!(expire(&mut engine, TimeoutKind::Prevote).len(), 2);
    }

    #[test]
    #[should_panic(expected = "I1: one message for each height, round and type")]
    fn i1_an_own_vote_after_a_later_one_is_noticed() {
        let mut engine = started();
        engine.own_votes.push(vote(7));
        expire(&mut engine, TimeoutKind::Propose);
    }

    #[test]
    #[should_panic(expected = "I1: a node votes once in each step")]
    fn i1_a_second_vote_in_one_step_is_noticed() {
        let mut engine = started();
        engine.vote(VoteType::Prevote, None);
        engine.vote(VoteType::Prevote, None);
    }

    #[test]
    #[should_panic(expected = "I2: written before it is sent")]
    fn i2_a_message_that_was_not_written_is_noticed() {
        started().assert_invariants(&[Output::Broadcast(Message::Vote(vote(0)))]);
    }

    #[test]
    #[should_panic(expected = "I2: the hard state contains what was signed last")]
    fn i2_a_hard_state_without_the_last_message_is_noticed() {
        let mut engine = started();
        engine.vote(VoteType::Prevote, None);
        engine.own_votes.clear();
        engine.step(Time::UNIX_EPOCH, Input::SignAgain);
    }

    #[test]
    #[should_panic(expected = "I3: locked round ≤ valid round")]
    fn i3_a_lock_without_a_valid_block_is_noticed() {
        let mut engine = started();
        engine.locked = Some(Lock { round: Round(0), block_id: BLOCK });
        engine.step(Time::UNIX_EPOCH, Input::SignAgain);
    }

    #[test]
    #[should_panic(expected = "I3: valid round ≤ round")]
    fn i3_a_valid_block_of_a_later_round_is_noticed() {
        let mut engine = started();
        engine.valid = Some(Lock { round: Round(1), block_id: BLOCK });
        engine.step(Time::UNIX_EPOCH, Input::SignAgain);
    }

    #[test]
    #[should_panic(expected = "I4: the block of a vote is valid")]
    fn i4_a_vote_for_a_block_that_is_not_here_is_noticed() {
        started().vote(VoteType::Prevote, Some(BLOCK));
    }

    #[test]
    #[should_panic(expected = "I4: a decided block is valid")]
    fn i4_a_decision_for_a_block_that_is_not_here_is_noticed() {
        started().decide(Round(0), BLOCK);
    }

    #[test]
    #[should_panic(expected = "I5: height 1 is decided")]
    fn i5_a_round_that_starts_after_the_decision_is_noticed() {
        let mut engine = started();
        engine.decided = Some((Round(0), BLOCK));
        engine.line_11_start_round(Round(1));
    }

    #[test]
    #[should_panic(expected = "I6: ")]
    fn i6_messages_without_a_bound_are_noticed() {
        let mut engine = started();
        engine.own_votes = (0..10_000).map(vote).collect();
        engine.step(Time::UNIX_EPOCH, Input::SignAgain);
    }
}
