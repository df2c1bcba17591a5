//! Validators that vote twice, coalitions that attack light clients, and proposers of evidence that proves nothing.

use std::{sync::Arc, time::Duration};

use super::stage::{MINUTE, SOON, Stage, idle, ms, until};
use crate::{
    accusation::signed_by,
    broken::Broken,
    liar::Behaviour,
    node::validator_key,
    setup::Setup,
    world::{Parcel, World},
};
use types::{
    ChainId, Evidence, Hash, Header, Height, KeyType, LightClientAttackEvidence, PeerMessage, Power, ValidatorSet,
};

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

/// Returns what a light client reports that trusts the set of the `common` height, and that half of the validators, 0 and 1, showed a
/// false state of `height`.
pub fn report(c: &World, common: u64, height: u64) -> Evidence {
    let keys = [0, 1].map(|who| validator_key(who, KeyType::Secp256k1, 0));
    let members = keys.iter().map(|key| (key.public_key(), Power(7))).collect();
    let validators = ValidatorSet::new(members).expect("two validators");
    let header = c.committed(2, height).expect("it is decided").block.header.clone();
    let header = Header { app_hash: Hash([7; 32]), validators_hash: validators.hash(), ..header };
    let conflicting = signed_by(&ChainId::new("cairn-simulated").expect("a name"), header, validators, &keys);
    let at_common = c.committed(2, common).expect("it is decided");
    let time = at_common.block.header.time;
    let attack = LightClientAttackEvidence::new(conflicting, Height(common), None, &at_common.validators, time);
    Evidence::LightClientAttack(Box::new(attack.expect("it is an attack")))
}

/// Delivers evidence to a node, as a message of node 0.
pub fn show(c: &mut World, to: usize, evidence: &Evidence) {
    let message = Arc::new(PeerMessage::Evidence(Box::new(evidence.clone())));
    c.hand(&Parcel { from: 0, to, message });
}

/// Only one node has evidence, it cannot send it to the others, and its process is killed. After its restart and with its links back,
/// a block has the evidence.
pub(super) fn only_holder(stage: &Stage) -> Result<(), Broken> {
    let setup = idle(4).with_full_nodes(1);
    let mut c = stage.world(setup.with_byzantine(0, Behaviour::Traitor).with_byzantine(1, Behaviour::Traitor));
    c.run_until_height(6, SOON)?;
    (0..4).for_each(|other| c.cut(4, other, true));
    let evidence = report(&c, 2, 4);
    show(&mut c, 4, &evidence);
    c.run_for(ms(1000))?;
    c.kill(4);
    c.restart(4);
    (0..4).for_each(|other| c.cut(4, other, false));
    c.expect_evidence(SOON)?;
    match c.evidence().is_empty() {
        true => Err(Broken("EV7: a node was killed after a report, and no block has its evidence".to_owned())),
        false => Ok(()),
    }
}

/// Half of the validators attack a light client, which reports it to one node: a block has it within its window, once, against exactly
/// these two. A second report of them at the same height is nothing new.
pub(super) fn attack(stage: &Stage) -> Result<(), Broken> {
    let setup = idle(4).with_full_nodes(1);
    let mut c = stage.world(setup.with_byzantine(0, Behaviour::Traitor).with_byzantine(1, Behaviour::Traitor));
    c.run_until_height(6, SOON)?;
    let evidence = report(&c, 2, 4);
    let again = report(&c, 2, 5);
    show(&mut c, 4, &evidence);
    c.run_for(ms(5000))?;
    let guilty: Vec<_> =
        [0, 1].iter().filter_map(|who| c.nodes()[*who].address()).map(|one| (Height(2), one)).collect();
    if !guilty.iter().all(|one| c.evidence().contains_key(one)) {
        return Err(Broken("EV7: an attack on light clients was reported, and no block has evidence of it".to_owned()));
    }
    show(&mut c, 3, &again);
    c.run_for(ms(5000))?;
    match c.evidence().len() {
        2 => c.expect_evidence(SOON),
        count => Err(Broken(format!("EV7: two validators attacked a light client, and blocks name {count}"))),
    }
}
