//! Judges whether the node is useful now. Liveness (`/health`) reports that the process works; readiness reports that
//! its answers are current.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use p2p::Network;
use prometheus::Gauge;
use replica::{Silence, Status};
use types::{Height, Power, Round, Step, Time};

use crate::{
    board::Board,
    heard::{self, Heard},
};

/// The reason why the node is not ready.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// The node is fetching blocks from peers.
    CatchingUp {
        /// The last committed height.
        height: Height,
        /// The highest height that is proven to be decided.
        decided: Height,
    },
    /// This machine's clock is behind the last block's time, or the genesis time has not come yet.
    WaitsForTime {
        /// The height that cannot start yet.
        height: Height,
        /// The time at which the height may start.
        until: Time,
    },
    /// No peer that is ahead keeps the next block, so the node cannot catch up from its peers.
    NotKept {
        /// The height that this node needs next.
        height: Height,
        /// The lowest height that a peer keeps.
        earliest: Height,
    },
    /// No peer is connected, and this node cannot decide alone.
    NoPeers,
    /// The clocks of the other validators differ from ours, so proposals are rejected for their time.
    ClockSkew {
        /// Seconds by which this clock is ahead; negative when it is behind.
        seconds: f64,
    },
    /// The validators whose votes have arrived have too little power to decide.
    NoQuorum {
        /// The height that is not decided yet.
        height: Height,
        /// The round of that height.
        round: Round,
        /// The step of that round.
        step: Step,
        /// The time spent in this step.
        since: Duration,
        /// The votes that have arrived in this step, and the missing validators.
        heard: Heard,
    },
    /// This node is a validator but signs nothing, for this reason.
    Silent(Silence),
    /// This node is a validator but signs nothing, and its clock differs from the other validators' clocks, which may be
    /// the cause.
    SilentBesideSkew {
        /// The reason why nothing is signed.
        why: Silence,
        /// Seconds by which this clock is ahead; negative when it is behind.
        seconds: f64,
    },
    /// No block was committed for longer than the configured time.
    Stalled {
        /// The height that is not decided yet.
        height: Height,
        /// The round of that height.
        round: Round,
        /// The time since the last block.
        since: Duration,
        /// The votes that have arrived in this step, and the missing validators.
        heard: Heard,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CatchingUp { height, decided } => {
                write!(f, "catching up: this node is at height {height}, and height {decided} is decided")
            }
            Self::WaitsForTime { height, until } => {
                write!(
                    f,
                    "height {height} does not start before {until}, the time of the block before it; check this machine's clock"
                )
            }
            Self::NotKept { height, earliest } => write!(
                f,
                "no connected peer keeps height {height}: the lowest height that a peer keeps is {earliest}. This node cannot \
                 catch up. Either stop it and restore a copy of a running node's store (`cairn backup` there, `cairn restore` \
                 here), or connect it to an archive node (storage.keep_all = true)"
            ),
            Self::NoPeers => f.write_str("no peer is connected; check p2p.persistent_peers and the network"),
            Self::ClockSkew { seconds } => write_skew(f, *seconds),
            Self::Silent(why) => write!(f, "the validator signs nothing: {why}"),
            Self::SilentBesideSkew { why, seconds } => {
                write_skew(f, *seconds)?;
                write!(f, ". The validator signs nothing, possibly for this reason: {why}")
            }
            Self::NoQuorum { height, round, step, since, heard } => write!(
                f,
                "only validators with {} of {} power are heard, but a block needs more than 2/3: height {height} has waited in \
                 round {round}, step {step:?}, for {} s; missing: {}",
                heard.power,
                heard.total,
                since.as_secs(),
                heard.names
            ),
            Self::Stalled { height, round, since, heard } => write!(
                f,
                "no block for {} s: height {height} is in round {round}; in its current step, votes of validators with {} of {} \
                 power have arrived; missing: {}",
                since.as_secs(),
                heard.power,
                heard.total,
                heard.names
            ),
        }
    }
}

fn write_skew(f: &mut fmt::Formatter<'_>, seconds: f64) -> fmt::Result {
    write!(
        f,
        "this machine's clock is {:.1} s {} the clocks of the other validators; check NTP on this machine first, then on theirs",
        seconds.abs(),
        if seconds > 0.0 { "ahead of" } else { "behind" }
    )
}

/// Judges whether the node is ready, from its current state.
#[derive(Clone)]
pub struct Readiness {
    board: Arc<Board>,
    network: Network,
    clock_skew: Gauge,
    stall_after: Duration,
    /// Normal time without a block; `None`: unlimited while no block is needed.
    empty_block_interval: Option<Duration>,
    started: Instant,
}

impl Readiness {
    /// Creates the judge. `clock_skew` holds the seconds by which this clock is ahead of the other validators' clocks.
    pub fn new(
        board: Arc<Board>,
        network: Network,
        clock_skew: Gauge,
        stall_after: Duration,
        empty_block_interval: Option<Duration>,
    ) -> Self {
        Self { board, network, clock_skew, stall_after, empty_block_interval, started: Instant::now() }
    }

    /// Judges whether the node is ready now.
    ///
    /// Errors: the first [`Reason`] that applies when it is not ready.
    pub fn ready(&self) -> Result<(), Reason> {
        let since = self.board.last_block().unwrap_or(self.started).elapsed();
        let rules = Rules { stall_after: self.stall_after, empty_block_interval: self.empty_block_interval };
        let (status, in_step) = self.board.status_since();
        let judged = rules.judge(&status, self.network.peer_ids().len(), since, in_step);
        with_clock(judged, self.clock_skew.get())
    }
}

/// Maximum difference in seconds between this clock and the other validators' clocks. Twice the default precision of
/// proposal times; the estimate includes the transit time of a proposal, which is far shorter.
const CLOCK_SKEW_SECONDS_MAX: f64 = 1.0;

/// Adds the judgement of the clock. A wrong clock is also named when the validator is silent, because it can be the cause.
fn with_clock(judged: Result<(), Reason>, seconds: f64) -> Result<(), Reason> {
    match judged {
        judged if seconds.abs() <= CLOCK_SKEW_SECONDS_MAX => judged,
        Ok(()) => Err(Reason::ClockSkew { seconds }),
        Err(Reason::Silent(why)) => Err(Reason::SilentBesideSkew { why, seconds }),
        Err(other) => Err(other),
    }
}

struct Rules {
    stall_after: Duration,
    empty_block_interval: Option<Duration>,
}

impl Rules {
    /// Judges a status. `since` is the time since the last block, `in_step` the time spent in the current step.
    fn judge(&self, status: &Status, peers: usize, since: Duration, in_step: Duration) -> Result<(), Reason> {
        if let Some(earliest) = status.not_kept {
            return Err(Reason::NotKept { height: status.tip.next(), earliest });
        }
        if status.catching_up {
            return Err(Reason::CatchingUp { height: status.tip, decided: status.proven_height });
        }
        if let Some(until) = status.waits_until {
            return Err(Reason::WaitsForTime { height: status.height, until });
        }
        let total = status.validators.total_power();
        let ours = status
            .own
            .and_then(|own| status.validators.by_address(&own.address()))
            .map_or(Power::ZERO, |(_, validator)| validator.power);
        if peers == 0 && !ours.is_quorum_of(total) {
            return Err(Reason::NoPeers);
        }
        if let Some(why) = &status.silence {
            return Err(Reason::Silent(why.clone()));
        }
        if in_step >= heard::MISSING_AFTER
            && let Some(heard) = Heard::now(status).filter(|heard| !heard.is_quorum())
        {
            let (height, round, step) = (status.height, status.round, status.step);
            return Err(Reason::NoQuorum { height, round, step, since: in_step, heard });
        }
        // A round above 0 means that a block is needed and not decided, whatever the interval is.
        let patience = match self.empty_block_interval {
            _ if status.round > Round::ZERO => self.stall_after,
            Some(interval) => self.stall_after + interval,
            None => return Ok(()),
        };
        if since > patience {
            let (height, round) = (status.height, status.round);
            return Err(Reason::Stalled { height, round, since, heard: Heard::of(status) });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use types::{Hash, SecretKey, ValidatorSet};

    use super::*;

    fn status(powers: &[u64]) -> Status {
        let key = |i: usize| SecretKey::from_bytes(&[i as u8 + 1; 32]).unwrap().public_key();
        let validators = powers.iter().enumerate().map(|(i, power)| (key(i), Power(*power))).collect();
        let validators = Arc::new(ValidatorSet::new(validators).unwrap());
        let at_rest = Status::at_rest(Height(7), Hash([0; 32]), Time::UNIX_EPOCH, validators);
        Status { own: Some(key(0).into()), hard_state_height: Height(7), ..at_rest }
    }

    fn rules() -> Rules {
        Rules { stall_after: Duration::from_secs(30), empty_block_interval: Some(Duration::from_secs(1)) }
    }

    #[test]
    fn a_node_is_ready_unless_it_syncs_has_no_peers_or_stalls() {
        let secs = Duration::from_secs;
        let mut status = status(&[1, 1, 1, 1]);
        let rules = rules();
        assert_eq!(rules.judge(&status, 3, secs(1), Duration::ZERO), Ok(()));
        assert_eq!(rules.judge(&status, 0, secs(1), Duration::ZERO), Err(Reason::NoPeers));
        assert!(matches!(
            rules.judge(&status, 3, secs(32), Duration::ZERO),
            Err(Reason::Stalled { heard: Heard { power: Power(0), total: Power(4), missing: 4, .. }, .. })
        ));
        status.catching_up = true;
        status.proven_height = Height(90);
        let catching_up = rules.judge(&status, 3, secs(1), Duration::ZERO).unwrap_err();
        assert_eq!(catching_up.to_string(), "catching up: this node is at height 7, and height 90 is decided");
        status.catching_up = false;
        status.waits_until = Some(Time::from_unix_millis(1_800_000_000_000));
        let waits = rules.judge(&status, 3, secs(1), Duration::ZERO).unwrap_err().to_string();
        assert!(
            waits.starts_with("height 8 does not start before 2027-01-15T08:00:00Z, the time of the block before it"),
            "{waits}"
        );
        status.not_kept = Some(Height(40));
        let not_kept = rules.judge(&status, 3, secs(1), Duration::ZERO).unwrap_err().to_string();
        assert!(
            not_kept.starts_with("no connected peer keeps height 8: the lowest height that a peer keeps is 40."),
            "{not_kept}"
        );
    }

    #[test]
    fn a_clock_that_differs_from_the_peers_clocks_is_not_ready() {
        assert_eq!(with_clock(Ok(()), 0.9), Ok(()));
        let reason = |seconds| with_clock(Ok(()), seconds).unwrap_err().to_string();
        assert!(
            reason(3600.0).starts_with("this machine's clock is 3600.0 s ahead of the clocks"),
            "{}",
            reason(3600.0)
        );
        assert!(reason(-2.0).starts_with("this machine's clock is 2.0 s behind the clocks"), "{}", reason(-2.0));
        // After catching up, a validator signs once a block is later than its start: not for 30 s if its clock was 30 s ahead.
        let silent = with_clock(Err(Reason::Silent(Silence::CaughtUp)), 30.0).unwrap_err().to_string();
        assert!(silent.contains("30.0 s ahead") && silent.contains("just caught up"), "{silent}");
        assert_eq!(with_clock(Err(Reason::NoPeers), 30.0), Err(Reason::NoPeers));
    }

    #[test]
    fn a_validator_that_signs_nothing_is_not_ready_and_says_why() {
        let mut status = status(&[1, 1, 1, 1]);
        status.silence = Some(Silence::SignedAhead { signed: Height(90), tip: Height(7) });
        let why = rules().judge(&status, 3, Duration::ZERO, Duration::ZERO).unwrap_err().to_string();
        assert!(
            why.starts_with("the validator signs nothing: its signing state") && why.contains("height 90"),
            "{why}"
        );
    }

    #[test]
    fn too_little_power_is_reported_at_once_with_the_missing_validators() {
        let secs = Duration::from_secs;
        let mut status = status(&[1, 1, 1, 1]);
        let rules = rules();
        assert_eq!(rules.judge(&status, 3, secs(2), secs(2)), Ok(()), "the proposal is awaited: no votes are due");
        status.step = Step::Prevote;
        assert_eq!(rules.judge(&status, 3, secs(2), Duration::from_millis(500)), Ok(()), "votes may be on their way");
        let reason = rules.judge(&status, 3, secs(2), secs(2)).unwrap_err().to_string();
        assert!(reason.starts_with("only validators with 0 of 4 power are heard"), "{reason}");
        let first = status.validators.get(0).unwrap().address().to_string();
        assert!(reason.contains(&format!("missing: {} (1), ", &first[..10])), "{reason}");
    }

    #[test]
    fn a_validator_that_can_decide_alone_needs_no_peers() {
        let status = status(&[10]);
        assert_eq!(rules().judge(&status, 0, Duration::ZERO, Duration::ZERO), Ok(()));
    }

    #[test]
    fn without_empty_blocks_silence_is_normal_until_a_round_fails() {
        let mut status = status(&[1, 1, 1, 1]);
        let rules = Rules { empty_block_interval: None, ..rules() };
        assert_eq!(rules.judge(&status, 3, Duration::from_secs(9999), Duration::ZERO), Ok(()));
        status.round = Round(2);
        assert!(matches!(
            rules.judge(&status, 3, Duration::from_secs(31), Duration::ZERO),
            Err(Reason::Stalled { .. })
        ));
    }
}
