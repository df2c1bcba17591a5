//! Blocks that a late node fetches from liars, and claims to be ahead.

use types::{BlockResponse, CommitSig};

use super::stage::{MINUTE, SOON, Stage, idle, ms};
use crate::{broken::Broken, liar::Behaviour, setup::Setup, world::World};

/// Number of liars among which a late node finds the chain.
const LIARS: usize = 8;

/// A late node fetches the chain from three validators and eight liars that change what they serve.
fn among_liars(stage: &Stage, lie: impl Fn(&mut BlockResponse) + 'static) -> Result<(), Broken> {
    let mut c = stage.world(Setup { late: vec![3], ..idle(4) }.with_strangers(LIARS, Behaviour::Silent));
    (4..4 + LIARS).for_each(|node| c.restart(node));
    c.falsify(lie);
    c.run_until("thirty heights without it", SOON, |c| (0..12).all(|node| node == 3 || c.tip(node).0 >= 30))?;
    // It reaches the liars only, and then the others too.
    c.partition(&[&[0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11], &[3, 4, 5, 6, 7, 8, 9, 10, 11]]);
    c.restart(3);
    c.run_for(SOON)?;
    c.heal();
    c.run_until("it catches up", MINUTE, |c| c.tip(3) >= c.tip(0))
}

/// The liars put a false signature into each commit.
pub(super) fn false_signature(stage: &Stage) -> Result<(), Broken> {
    among_liars(stage, |response| {
        for served in &mut response.blocks {
            let signed = served.commit.signatures.iter_mut().find_map(|entry| match entry {
                CommitSig::Commit { signature, .. } => Some(signature),
                _ => None,
            });
            signed.into_iter().for_each(|signature| signature.0[9] ^= 1);
        }
    })
}

/// The liars name the validator of the next entry in an entry of each commit. The signature does not cover the name, so it still
/// holds.
pub(super) fn moved_entry(stage: &Stage) -> Result<(), Broken> {
    among_liars(stage, |response| {
        for served in &mut response.blocks {
            let signers: Vec<_> = served
                .commit
                .signatures
                .iter_mut()
                .filter_map(|entry| match entry {
                    CommitSig::Commit { validator, .. } => Some(validator),
                    _ => None,
                })
                .collect();
            if let [first, second, ..] = &mut signers.into_iter().collect::<Vec<_>>()[..] {
                std::mem::swap(*first, *second);
            }
        }
    })
}

/// The liars leave one entry in each commit.
pub(super) fn short_commit(stage: &Stage) -> Result<(), Broken> {
    among_liars(stage, |response| {
        for served in &mut response.blocks {
            served.commit.signatures.iter_mut().skip(1).for_each(|entry| *entry = CommitSig::Absent);
        }
    })
}

/// The liars change the bytes of each block, and not its commit.
pub(super) fn false_bytes(stage: &Stage) -> Result<(), Broken> {
    among_liars(stage, |response| {
        for served in &mut response.blocks {
            let last = served.block.len() - 1;
            served.block[last] ^= 1;
        }
    })
}

/// Restarts all validators among strangers that claim to be far ahead, or to lack everything, waits until they decide on, and
/// returns the world.
///
/// Errors: [`Broken`] with the violated condition, or if the next three heights take longer than three seconds.
pub fn restarted_among_strangers(stage: &Stage) -> Result<World, Broken> {
    let mut c = stage.world(idle(4).with_strangers(3, Behaviour::Claimant));
    c.run_until_height(5, SOON)?;
    (4..7).for_each(|node| c.restart(node));
    c.run_for(ms(1000))?;
    (0..4).for_each(|node| c.crash(node, 0));
    (0..4).for_each(|node| c.restart(node));
    let tip = c.checker_height();
    c.run_until("the next heights", ms(3000), |c| (0..4).all(|node| c.tip(node).0 >= tip + 3))?;
    Ok(c)
}

/// Claims of strangers do not stop validators that restart.
pub(super) fn strangers_far_ahead(stage: &Stage) -> Result<(), Broken> {
    restarted_among_strangers(stage).map(drop)
}
