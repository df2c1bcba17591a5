//! May we sign? A validator that was restored from an old backup must not sign again what it signed and forgot.
//!
//! A node knows what it signed from its hard state, and cannot see that the hard state is old. The network can: it is ahead, or
//! it holds votes of ours that we do not know. So from the start of the process until the first live height (the first one at
//! which nobody we know of is ahead) has been asked about, nothing new is signed:
//!
//! - **G1** While peers are ahead, we catch up and sign nothing.
//! - **G2** At the first live height we sign as soon as so many peers have told where they stand that with us they could be a
//!   quorum, and none of them is ahead or holds a vote of ours that our hard state does not have. A node id says nothing about
//!   whose validator it is, so peers are counted, not weighed; with few peers (behind sentries) one is enough after
//!   [`INTERVALS_MAX`] gossip intervals.
//! - **G3** If one does hold such a vote, we sign nothing at that whole height.
//! - **G4** Afterwards a vote of ours that we did not make stops the node: another process signs with our key.
//!
//! A network that restarts as a whole goes on as soon as its nodes are connected. A validator that is a quorum alone asks nobody.

use std::time::Duration;

use types::{Address, HardState, Height, Power, RoundState, SignedVote, Time, ValidatorSet, VoteType};

use crate::gossip::bits;

/// Gossip intervals after which fewer peers are enough.
const INTERVALS_MAX: u32 = 2;

/// Whether we may sign at the height being decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Yes.
    Open,
    /// Not before others have told what they know.
    Asking { since: Time },
    /// Not at this height: somebody knows votes of ours that we do not.
    Silent,
}

impl Guard {
    /// At the start of the process.
    pub fn new(own: Option<Address>, validators: &ValidatorSet, now: Time) -> Self {
        let power =
            own.and_then(|own| validators.by_address(&own)).map_or(Power::ZERO, |(_, validator)| validator.power);
        if own.is_none() || power.is_quorum_of(validators.total_power()) {
            Self::Open
        } else {
            Self::Asking { since: now }
        }
    }

    /// A height was committed here; `synced` if others told us of it.
    pub fn on_committed(&mut self, now: Time, synced: bool) {
        *self = match self {
            Self::Asking { .. } if synced => Self::Asking { since: now },
            _ => Self::Open,
        };
    }

    /// A vote of ours came that we do not know of. True if that must stop the node (G4).
    pub fn on_unknown_vote(&mut self) -> bool {
        if *self == Self::Open {
            return true;
        }
        *self = Self::Silent;
        false
    }

    /// Whether enough is known to sign (G2); `heard` peers have told that they stand at this height.
    pub fn may_open(
        &self,
        now: Time,
        own: Address,
        validators: &ValidatorSet,
        heard: usize,
        interval: Duration,
    ) -> bool {
        let Self::Asking { since } = self else { return false };
        heard >= peers_needed(own, validators) || heard > 0 && now.since(*since) >= interval * INTERVALS_MAX
    }
}

/// How many of the most powerful others make a quorum with us.
fn peers_needed(own: Address, validators: &ValidatorSet) -> usize {
    let total = validators.total_power();
    let mut power = validators.by_address(&own).map_or(0, |(_, validator)| validator.power.0);
    let others = validators.iter().filter(|validator| validator.address() != own);
    let mut needed = 0;
    for other in others {
        if Power(power).is_quorum_of(total) {
            break;
        }
        power += other.power.0;
        needed += 1;
    }
    needed
}

/// Whether a peer holds a vote of ours at `height` that is not in the hard state.
pub(crate) fn shows_unknown_vote(state: &RoundState, height: Height, own_index: u32, hard_state: &HardState) -> bool {
    state.height == height
        && [Some(&state.current), state.previous.as_ref()].into_iter().flatten().any(|votes| {
            [VoteType::Prevote, VoteType::Precommit].into_iter().any(|vote_type| {
                bits(votes, vote_type).get(own_index) && !is_ours(hard_state, height, votes.round, vote_type, |_| true)
            })
        })
}

/// Whether we made this vote, as far as the hard state goes back.
pub(crate) fn is_known(vote: &SignedVote, hard_state: &HardState) -> bool {
    let v = &vote.vote;
    is_ours(hard_state, v.height, v.round, v.vote_type, |ours| ours == vote)
}

fn is_ours(
    hard_state: &HardState,
    height: Height,
    round: types::Round,
    vote_type: VoteType,
    same: impl Fn(&SignedVote) -> bool,
) -> bool {
    if hard_state.height != height {
        return false;
    }
    let rounds = hard_state.votes.iter().map(|ours| ours.vote.round);
    // What we signed in rounds long past is no longer remembered.
    rounds.clone().min().is_some_and(|oldest| round < oldest)
        || hard_state
            .votes
            .iter()
            .any(|ours| (ours.vote.round, ours.vote.vote_type) == (round, vote_type) && same(ours))
}

#[cfg(test)]
mod tests {
    use types::{BitSet, ChainId, Round, SecretKey, Vote};

    use super::*;
    use crate::gossip::waiting_state;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_bytes(&[seed; 32]).unwrap()
    }

    fn set(powers: &[u64]) -> ValidatorSet {
        let members = powers.iter().zip(1..).map(|(power, seed)| (key(seed).public_key(), Power(*power)));
        ValidatorSet::new(members.collect()).unwrap()
    }

    fn own(seed: u8) -> Option<Address> {
        Some(key(seed).public_key().address())
    }

    fn now(ms: u64) -> Time {
        Time::from_unix_millis(ms)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn two_peers_of_three_are_enough_or_one_after_a_while() {
        let set = set(&[10, 10, 10, 10]);
        let me = own(1).unwrap();
        let guard = Guard::new(Some(me), &set, now(0));
        assert!(!guard.may_open(now(0), me, &set, 1, SECOND));
        assert!(guard.may_open(now(0), me, &set, 2, SECOND));
        assert!(!guard.may_open(now(1999), me, &set, 1, SECOND));
        assert!(guard.may_open(now(2000), me, &set, 1, SECOND));
        assert!(!guard.may_open(now(9000), me, &set, 0, SECOND));
    }

    #[test]
    fn who_is_a_quorum_alone_or_no_validator_asks_nobody() {
        assert_eq!(Guard::new(own(1), &set(&[10]), now(0)), Guard::Open);
        assert_eq!(Guard::new(own(1), &set(&[100, 10, 10]), now(0)), Guard::Open);
        assert_eq!(Guard::new(None, &set(&[10, 10]), now(0)), Guard::Open);
        assert_eq!(peers_needed(own(1).unwrap(), &set(&[1, 10, 10, 10])), 2);
    }

    #[test]
    fn catching_up_asks_again_and_a_live_height_opens() {
        let mut guard = Guard::Asking { since: now(0) };
        guard.on_committed(now(7), true);
        assert_eq!(guard, Guard::Asking { since: now(7) });
        assert!(!guard.on_unknown_vote());
        assert_eq!(guard, Guard::Silent);
        assert!(!guard.may_open(now(90_000), own(1).unwrap(), &set(&[1, 1]), 9, SECOND));
        guard.on_committed(now(8), false);
        assert_eq!(guard, Guard::Open);
        assert!(guard.on_unknown_vote(), "now it stops the node");
    }

    #[test]
    fn a_vote_that_we_know_is_no_surprise() {
        let chain = ChainId::new("cairn-test").unwrap();
        let vote = |round, ms| {
            Vote {
                vote_type: VoteType::Prevote,
                height: Height(5),
                round: Round(round),
                block_id: None,
                timestamp: now(ms),
                validator: own(1).unwrap(),
                validator_index: 2,
            }
            .sign(&chain, &key(1))
        };
        let hard_state = HardState { height: Height(5), votes: vec![vote(3, 1)], ..HardState::default() };
        assert!(is_known(&vote(3, 1), &hard_state) && is_known(&vote(2, 1), &hard_state));
        assert!(!is_known(&vote(3, 2), &hard_state), "another process, at another time");
        assert!(!is_known(&vote(4, 1), &hard_state));
        let mut state = waiting_state(Height(5), 4, Height(1));
        state.current.round = Round(3);
        state.current.prevotes.set(2);
        assert!(!shows_unknown_vote(&state, Height(5), 2, &hard_state));
        state.current.precommits = BitSet::new(4);
        state.current.precommits.set(2);
        assert!(shows_unknown_vote(&state, Height(5), 2, &hard_state));
        assert!(!shows_unknown_vote(&state, Height(6), 2, &hard_state));
    }
}
