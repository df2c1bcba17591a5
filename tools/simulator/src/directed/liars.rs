//! Four validators, of which the last one lies in all ways of one behaviour, in turn.

use std::time::Duration;

use super::stage::{Stage, idle, ms};
use crate::{broken::Broken, liar::Behaviour, network::LinkSetup, setup::Setup, world::World};
use types::{Round, Step};

/// Time within which four validators, one of them a liar, decide the heights of a scenario.
const LONG: Duration = Duration::from_secs(400);

/// Returns a busy world of four validators, of which the last one lies. Double signs cost nothing, so it stays in the set.
pub(super) fn four(behaviour: Behaviour) -> Setup {
    let mut setup = Setup::validators(4).with_byzantine(3, behaviour).forgiving();
    setup.config.empty_block_interval = Some(ms(50));
    setup.tx_interval = Some(ms(100));
    setup
}

/// Adds what makes later rounds and re-proposals common: two messages of five are lost.
pub(super) fn lossy(setup: Setup) -> Setup {
    Setup { links: LinkSetup { loss: 400, ..LinkSetup::quiet() }, ..setup }
}

/// Returns a world of seven validators, of which two lie. The one proposes nothing, and the other one proposes a round later.
pub(super) fn in_round_1(behaviour: Behaviour) -> Setup {
    let c = World::new(Setup::validators(7));
    let [silent, liar] = [0, 1].map(|round| c.next_proposer(0, Round(round)));
    let setup = Setup::validators(7).with_byzantine(silent, Behaviour::SilentIn(Step::Propose));
    Setup { tx_interval: Some(ms(100)), ..setup.with_byzantine(liar, behaviour).forgiving() }
}

/// A proposer has each flaw of a block in turn: none of these blocks is decided.
pub(super) fn bad_blocks(stage: &Stage) -> Result<(), Broken> {
    let mut setup = four(Behaviour::BadBlocks);
    setup.params.block.bytes_max = 65_536;
    setup.tx_interval = Some(ms(20));
    stage.world(setup).run_until_height(160, LONG)
}

/// A proposer dates its blocks in each wrong way in turn.
pub(super) fn bad_times(stage: &Stage) -> Result<(), Broken> {
    let mut setup = four(Behaviour::BadTimes);
    setup.params.synchrony.message_delay = ms(300);
    stage.world(setup).run_until_height(60, LONG)
}

/// A proposer sends false parts of its blocks before the true ones.
pub(super) fn bad_parts(stage: &Stage) -> Result<(), Broken> {
    stage.world(four(Behaviour::BadParts)).run_until_height(24, LONG)
}

/// A proposer names POL rounds without a polka.
pub(super) fn false_pol_rounds(stage: &Stage) -> Result<(), Broken> {
    stage.world(in_round_1(Behaviour::PolLiar)).run_until_height(40, LONG)?;
    stage.world(lossy(four(Behaviour::PolLiar))).run_until_height(60, LONG)
}

/// A validator signs in the name of others: votes, certificates, and the commits of the blocks that it serves.
pub(super) fn forger(stage: &Stage) -> Result<(), Broken> {
    stage.world(four(Behaviour::Forger)).run_until_height(40, LONG)?;
    stage.world(lossy(four(Behaviour::Forger))).run_until_height(40, LONG)
}

/// Nodes without stake send votes, certificates and proposals that no validator signed.
pub(super) fn unsigned(stage: &Stage) -> Result<(), Broken> {
    let mut c = stage.world(idle(4).with_strangers(3, Behaviour::Unsigned));
    (4..7).for_each(|node| c.restart(node));
    c.run_until_height(40, LONG)
}

/// A validator floods the others with messages of later rounds, which cost no round.
pub(super) fn round_flood(stage: &Stage) -> Result<(), Broken> {
    let mut c = stage.world(four(Behaviour::RoundFlood));
    c.run_until_height(24, LONG)?;
    match c.counts.later_rounds {
        0 => Ok(()),
        rounds => Err(Broken(format!("liveness: messages of a liar cost {rounds} of 24 heights a round"))),
    }
}

/// A validator votes twice, and one that forgets its lock votes for whatever is proposed.
pub(super) fn equivocators(stage: &Stage) -> Result<(), Broken> {
    for behaviour in [Behaviour::Equivocator, Behaviour::TwoVotes, Behaviour::TwoBlocks, Behaviour::Amnesiac] {
        stage.world(four(behaviour)).run_until_height(24, LONG)?;
        stage.world(lossy(four(behaviour))).run_until_height(24, LONG)?;
    }
    Ok(())
}

/// Two messages of five are lost between four correct validators: each height takes several rounds, and each is decided soon.
pub(super) fn much_is_lost(stage: &Stage) -> Result<(), Broken> {
    for seed in 1..=4 {
        let mut c = stage.world(Setup { seed, ..lossy(Setup::validators(4)) });
        c.run_until_height(30, Duration::from_secs(90))?;
    }
    Ok(())
}

/// All validators lose power again and again while many messages are lost.
pub(super) fn power_fails_often(stage: &Stage) -> Result<(), Broken> {
    for seed in 1..=4 {
        let mut c = stage.world(Setup { seed, ..lossy(Setup::validators(4)) });
        for turn in 0..40 {
            c.run_for(ms(150 + 37 * turn % 400))?;
            let node = turn as usize % 4;
            c.crash(node, 0);
            c.restart(node);
        }
        c.expect_progress(3, Duration::from_secs(60))?;
    }
    Ok(())
}
