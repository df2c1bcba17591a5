//! How long a healed world may need until all correct nodes have decided some heights, as a function of its parameters.
//!
//! | term | reason |
//! |---|---|
//! | flight | the last message that was sent before healing arrives, the last slow sync and check end |
//! | connect | each node notices that a connection is gone, and pairs are connected again |
//! | exchange | two round states and the answers to them: after that, each correct node has what the others have of its height, and all are in the greatest round of any (L55) |
//! | catch up | a node that is behind asks for blocks; each liar may waste one request, and each answer has a limited number of blocks |
//! | abstain | validators that caught up, or whose database is older than their signing state, sign nothing for some gossip intervals (`replica::guard`, G1 and G2) |
//! | first height | the pause between blocks, and the timeouts of two rounds: of the greatest round of a correct node, which may have lost messages, and of the next one, whose proposer may not know the newest polka; liars that propose meanwhile cost a round each; then a good round |
//! | next heights | for each, the pause between blocks, the timeouts of a round for each liar that proposes before a correct validator, and a good round |
//! | stakes | an upgrade may stop nodes until their operators install it |
//!
//! A round that fails lasts as long as its three timeouts with the delays of the links; a good round needs the delays of a proposal,
//! its parts, prevotes and precommits only.

use std::time::Duration;

use types::{Height, Round, ValidatorSet};

use super::{DIAL_INTERVAL, World};
use crate::{broken::Broken, liar::Behaviour, node::Node};

/// Maximum time until a node notices that a connection is gone.
const NOTICE: Duration = Duration::from_millis(400);

/// Maximum time of the check of a block's transactions.
const CHECK: Duration = Duration::from_millis(5);

/// Number of gossip intervals in which the guard of a validator that caught up waits for other ways, with two to exchange.
const ABSTAIN_INTERVALS: u32 = 12;

/// Number of blocks that one answer of block sync has at least.
const BLOCKS_PER_ANSWER: u64 = 8;

/// Number of one-way delays of a round: proposal, parts, prevotes, precommits.
const DELAYS_PER_ROUND: u32 = 4;

/// Maximum number of rounds that are counted.
const ROUNDS_MAX: u32 = 1000;

/// The bound with its terms, for the message of a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealingBound {
    /// Time until all that was sent before has arrived.
    pub flight: Duration,
    /// Time until all pairs are connected.
    pub connect: Duration,
    /// Time until correct nodes have exchanged what they have.
    pub exchange: Duration,
    /// Time until nodes that are behind have the newest block.
    pub catch_up: Duration,
    /// Time for which validators abstain.
    pub abstain: Duration,
    /// Duration of the rounds of the first height.
    pub first_height: Duration,
    /// Duration of the other heights.
    pub next_heights: Duration,
    /// Time for which upgrades stop nodes.
    pub stakes: Duration,
}

impl HealingBound {
    /// Returns the sum of all terms.
    pub fn total(&self) -> Duration {
        let Self { flight, connect, exchange, catch_up, abstain, first_height, next_heights, stakes } = *self;
        flight + connect + exchange + catch_up + abstain + first_height + next_heights + stakes
    }
}

impl World {
    /// Returns the time within which all correct nodes must decide this number of heights above the greatest tip of any node, if
    /// no fault occurs from now on.
    pub fn healing_bound(&self, heights: u64) -> HealingBound {
        let tip = self.greatest_tip();
        let correct: Vec<&Node> = self.correct().collect();
        let behind = correct.iter().map(|node| tip.0 - node.tip().0.min(tip.0)).max().unwrap_or(0);
        let engines = || correct.iter().filter_map(|node| node.alive.as_ref()).map(|alive| alive.replica.engine());
        let round = engines().filter(|engine| engine.height() > tip).map(|engine| engine.round().0).max().unwrap_or(0);
        let set = engines().max_by_key(|engine| engine.height()).map(|engine| engine.validators().clone());
        let gossip = self.late_timer(self.setup.config.gossip_interval);
        let busy = correct.iter().filter_map(|node| node.alive.as_ref()).map(|alive| alive.busy_until).max();
        let pause =
            self.setup.config.empty_block_interval.unwrap_or_default().max(self.setup.config.block_interval_min);
        let liars = self.nodes.len() - correct.len();
        let answers = 1 + behind.div_ceil(BLOCKS_PER_ANSWER) as u32;
        let last = set.as_ref().map_or(round + 2, |set| self.good_round(set, round, 2));
        let failing = |rounds: std::ops::Range<u32>| -> Duration { rounds.map(|round| self.round_time(round)).sum() };
        let good = DELAYS_PER_ROUND * self.delay() + CHECK;
        // Round 0 of a height has the proposer that round 1 of the height before had.
        let next = |nth: u32| {
            let good_round = set.as_ref().map_or(nth, |set| self.good_round(set, nth, 0));
            self.late_timer(pause) + failing(0..good_round - nth) + good
        };
        HealingBound {
            flight: self.last_arrival.max(busy.unwrap_or_default()).saturating_sub(self.now),
            connect: NOTICE + DIAL_INTERVAL + self.delay(),
            exchange: 2 * gossip + 4 * self.delay(),
            catch_up: if behind > 1 {
                (self.late_timer(self.setup.config.sync_timeout)) * liars.min(3) as u32
                    + (gossip + 2 * self.delay()) * answers
            } else {
                Duration::ZERO
            },
            abstain: if self.someone_abstains(tip, &correct) { gossip * ABSTAIN_INTERVALS } else { Duration::ZERO },
            first_height: self.late_timer(pause) + failing(round..last) + good,
            next_heights: (1..heights.max(1) as u32).map(next).sum(),
            stakes: if self.setup.stakes { 2 * self.setup.fault_max } else { Duration::ZERO },
        }
    }

    /// Runs the world until all correct nodes have decided this number of heights, within the bound.
    ///
    /// Errors: those of [`World::run_until`].
    pub fn expect_healing(&mut self, heights: u64) -> Result<(), Broken> {
        let bound = self.healing_bound(heights);
        let begin = self.now;
        let done = self.expect_progress(heights, bound.total());
        let took = self.now - begin;
        self.counts.healing_ms += took.as_millis() as u64;
        self.counts.healing_max_ms += bound.total().as_millis() as u64;
        let share = took.as_nanos() * 1000 / bound.total().as_nanos().max(1);
        self.counts.healing_worst = self.counts.healing_worst.max(share as u64);
        done.map_err(|Broken(why)| Broken(format!("{why}; the bound is {bound:?}")))
    }

    pub(super) fn greatest_tip(&self) -> Height {
        self.nodes.iter().map(Node::tip).max().unwrap_or_default()
    }

    /// Returns the time after which the latest timer of any node ends.
    fn late_timer(&self, after: Duration) -> Duration {
        self.nodes.iter().map(|node| node.machine.timer(after)).max().unwrap_or(after)
    }

    /// Returns the maximum delay of a message without faults, with its checks.
    fn delay(&self) -> Duration {
        let check = self.nodes.iter().map(|node| node.machine.check_time).max().unwrap_or_default();
        2 * self.setup.links.delay_max + self.setup.parts_delay + check * self.nodes.len() as u32
    }

    /// Returns the maximum duration of a round.
    fn round_time(&self, round: u32) -> Duration {
        let t = &self.setup.params.timeouts;
        let timeouts = t.propose + t.prevote + t.precommit;
        let deltas = t.propose_delta + t.prevote_delta + t.precommit_delta;
        self.late_timer(timeouts + deltas * round) + DELAYS_PER_ROUND * self.delay() + CHECK
    }

    /// Returns the round with the `nth` proposer from a round on that proposes as the protocol says. A traitor does so too: it only
    /// signs more than it should, and the set of a world in which stake moves may consist of it alone.
    fn good_round(&self, set: &ValidatorSet, from: u32, nth: u32) -> u32 {
        let proposes = |node: &&Node| node.is_correct() || node.behaviour == Some(Behaviour::Traitor);
        let is_correct = |round: u32| {
            let proposer = set.proposer_of_round(Round(round)).address();
            self.nodes.iter().filter(proposes).any(|node| node.is_own(&proposer))
        };
        (from..from + ROUNDS_MAX).filter(|round| is_correct(*round)).nth(nth as usize).unwrap_or(from + ROUNDS_MAX)
    }

    /// Returns true if a correct validator abstains for some time: it has a reason to, or it is behind.
    fn someone_abstains(&self, tip: Height, correct: &[&Node]) -> bool {
        correct.iter().any(|node| node.address().is_some() && (node.tip() < tip || self.silence(node.index).is_some()))
    }
}
