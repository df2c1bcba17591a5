//! What validators decide in worlds in which stake moves, and the keys that they replace.

use std::time::Duration;

use app::{Answer, View, query};
use types::{
    Act, ConsensusKey, ConsensusSecretKey, Height, KeyRotate, Msg, ParamChange, Params, ProposalKind, Propose, Reader,
    StakeMsg, Time, UpgradePlan, possession_message,
};

use super::{ACCOUNTS, Clients, open_proposals};
use crate::{
    program::{NAMES, place},
    random::Random,
    setup::StakeEvents,
};

impl Clients {
    /// Creates a proposal to the validators, or the votes of several operators on one. `state` is that of a node at height `tip`
    /// whose clock shows `now`.
    pub fn decide<R: Reader>(
        &self,
        random: &mut Random,
        now: Time,
        tip: Height,
        state: &R,
        events: StakeEvents,
    ) -> Vec<Vec<u8>> {
        let open = open_proposals(state);
        if open.is_empty() || random.chance(100) {
            let signer = self.keys[random.index(ACCOUNTS)].clone();
            let kind = ProposalKind::Act(self.act(random, tip, state, events));
            let propose = Propose { kind, reason: String::new(), uri: String::new() };
            return self.sign(random, now, &[signer], &Msg::Propose(Box::new(propose)));
        }
        let (id, choice) = (random.pick(&open), random.chance(900).into());
        let voters = self.some_operators(random, 900);
        self.sign(random, now, &voters, &Msg::Vote { id, choice })
    }

    fn act<R: Reader>(&self, random: &mut Random, tip: Height, state: &R, events: StakeEvents) -> Act {
        let upgrade = if events.upgrades && (!events.params || random.chance(500)) {
            self.upgrade(random, tip, state)
        } else {
            None
        };
        if random.chance(100) {
            let to = self.keys[random.index(ACCOUNTS)].public_key().address();
            return Act::Spend { to, amount: random.within(1, 50) };
        }
        upgrade.unwrap_or_else(|| Act::Params(vec![change(random, &View::of_state(state).params())]))
    }

    /// Plans the next upgrade some heights ahead, or cancels the plan.
    fn upgrade<R: Reader>(&self, random: &mut Random, tip: Height, state: &R) -> Option<Act> {
        let Ok(Answer::Upgrade { plan, last }) = query(state, "/upgrade", b"") else { return None };
        if plan.is_some() {
            return random.chance(200).then_some(Act::UpgradeCancel);
        }
        let next = last.and_then(|last| place(&last.kind)).map_or(0, |last| last + 1);
        // Some are planned again, which is refused.
        let next = if random.chance(100) { next.saturating_sub(1) } else { next };
        let height = Height(tip.0 + random.within(3, 12));
        Some(Act::Upgrade(UpgradePlan { name: (*NAMES.get(next)?).to_owned(), height, info: String::new() }))
    }

    /// Replaces the consensus key of the validator whose operator has this index.
    pub fn rotate(&self, random: &mut Random, now: Time, operator: usize, key: &ConsensusSecretKey) -> Vec<Vec<u8>> {
        let signer = self.operators[operator].clone();
        let possession = key.sign_message(&possession_message(&self.chain_id, &signer.public_key().address()));
        let rotate = KeyRotate { public_key: key.public_key(), possession };
        self.sign(random, now, &[signer], &Msg::Stake(StakeMsg::RotateKey(Box::new(rotate))))
    }
}

/// Changes a parameter. Some changes are impossible, and are refused.
fn change(random: &mut Random, params: &Params) -> ParamChange {
    let (staking, t) = (&params.staking, &params.timeouts);
    let mut ms_of = |duration: Duration| {
        let ms = duration.as_millis() as u64 * random.pick(&[1, 2, 4]) / 2;
        ms.clamp(20, 2_000)
    };
    let timeouts = [ms_of(t.propose), ms_of(t.prevote), ms_of(t.precommit), ms_of(t.prevote_delta)];
    let (name, value) = match random.below(16) {
        0 => ("timeouts.propose_ms", timeouts[0]),
        1 => ("timeouts.prevote_ms", timeouts[1]),
        2 => ("timeouts.precommit_ms", timeouts[2]),
        3 => ("timeouts.prevote_delta_ms", timeouts[3]),
        4 | 5 => ("block.max_bytes", random.within(65_536, 1 << 20)),
        6..9 => {
            let most = staking.validators_max;
            ("staking.validators_max", random.within((most - 1).max(4), most.max(4) + 1))
        }
        9..11 => ("staking.unbonding_ms", random.within(1_001, 2_500)),
        11 => ("staking.issuance_bps_per_year", random.pick(&[0, 500, 10_000])),
        12 => ("staking.community_bps", random.pick(&[0, 1_000, 5_000])),
        13 => ("staking.slash_downtime_bps", random.within(0, 100)),
        14 => ("fee_min", random.within(0, 5)),
        _ => random.pick(&[
            ("block.max_bytes", 0),
            ("staking.unbonding_ms", 1_000),
            ("staking.validators_max", 0),
            ("staking.power_unit", 1),
        ]),
    };
    ParamChange { name: name.to_owned(), value: value as i64 }
}
