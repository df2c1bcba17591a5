//! Validators that vote twice, and proposers of evidence that proves nothing.

use std::time::Duration;

use super::stage::{MINUTE, Stage, ms, until};
use crate::{broken::Broken, liar::Behaviour, setup::Setup, world::World};

/// Runs a liar that votes twice, then cuts it off until no evidence waits, and returns the world.
///
/// Errors: [`Broken`] with the violated condition.
pub fn with_a_liar(stage: &Stage) -> Result<World, Broken> {
    let mut c = stage.world(Setup::validators(4).with_full_nodes(1).with_byzantine(0, Behaviour::Equivocator));
    c.run_until_height(12, MINUTE)?;
    c.partition(&[&[1, 2, 3, 4]]);
    let correct = [1, 2, 3, 4];
    c.run_until("no evidence waits", ms(8000), |c| correct.iter().all(|node| c.status(*node).evidence_waiting == 0))?;
    let tip = correct.iter().map(|node| c.tip(*node).0).max().unwrap_or(0);
    until(&mut c, &correct, tip + 2)?;
    Ok(c)
}

/// A liar votes twice, and is then cut off: its evidence is in a block.
pub(super) fn liar(stage: &Stage) -> Result<(), Broken> {
    let mut c = with_a_liar(stage)?;
    c.expect_evidence(MINUTE)?;
    match c.evidence().is_empty() {
        true => Err(Broken("EV7: a validator voted twice, and no block has evidence of it".to_owned())),
        false => Ok(()),
    }
}

/// Runs a proposer that puts evidence into its blocks that proves nothing there, and returns the world.
///
/// Errors: [`Broken`] with the violated condition.
pub fn with_an_accuser(stage: &Stage, seed: u64) -> Result<World, Broken> {
    let setup = Setup { seed, ..Setup::validators(4) };
    let setup = setup.with_byzantine(1, Behaviour::Accuser).with_evidence_of(5, Duration::from_secs(2)).forgiving();
    let mut c = stage.world(setup);
    c.run_until_height(60, Duration::from_secs(300))?;
    Ok(c)
}

/// Runs a coalition of half of the validators that follows the protocol, but proposes evidence of its attacks on light
/// clients: some of it true, most of it proving nothing there. Returns the world.
///
/// Errors: [`Broken`] with the violated condition.
pub fn with_a_coalition(stage: &Stage, seed: u64) -> Result<World, Broken> {
    let setup = Setup { seed, ..Setup::validators(4) };
    let setup = setup.with_byzantine(0, Behaviour::Coalition).with_byzantine(1, Behaviour::Coalition);
    let mut c = stage.world(setup.with_evidence_of(5, Duration::from_secs(2)).forgiving());
    c.run_until_height(60, Duration::from_secs(600))?;
    Ok(c)
}

/// None of the blocks of a false accuser is decided.
pub(super) fn accuser(stage: &Stage) -> Result<(), Broken> {
    (1..=10).try_for_each(|seed| with_an_accuser(stage, seed).map(drop))
}

/// None of the blocks of a coalition that proves nothing is decided.
pub(super) fn coalition(stage: &Stage) -> Result<(), Broken> {
    (1..=10).try_for_each(|seed| with_a_coalition(stage, seed).map(drop))
}
