//! Scenarios with validators that vote twice or attack light clients: their evidence is in a block, once, on every node.
#![allow(missing_docs)]

use std::{sync::Arc, time::Duration};

use simulator::{
    Behaviour, Broken, Mutation, Parcel, Story, World,
    directed::{
        evidence::{self as directed, report, show},
        stage::Stage,
    },
};
use types::{
    BlockId, ChainId, ConsensusSecretKey, DuplicateVoteEvidence, Evidence, Hash, Height, KeyType, PartSetHeader,
    PeerMessage, Round, Vote, VoteType,
};

mod support;
use support::{Checked, MINUTE, SOON, idle, until};

/// Runs a liar that votes twice, then cuts it off, and returns the world.
fn with_a_liar(mutation: Option<Mutation>) -> Result<World, Broken> {
    directed::with_a_liar(&Stage::new(mutation, Story::default()))
}

#[test]
fn a_liar_that_votes_twice_is_in_a_block_exactly_once_on_all_nodes() -> Checked {
    let c = with_a_liar(None)?;
    assert!(c.counts.equivocations > 0 && !c.evidence().is_empty(), "{}", c.counts);
    let liar = c.nodes()[0].address().expect("it is a validator");
    for ((height, validator), block) in c.evidence() {
        assert!(*validator == liar && height < block, "{height} {block}");
        let store = &c.nodes()[1].alive.as_ref().expect("it runs").store;
        let set = |height: u64| store.validators(Height(height)).expect("it is kept");
        assert!(set(c.tip(1).0 + 1).by_address(&liar).is_none(), "it is out of the set");
        for node in 1..=4 {
            let store = &c.nodes()[node].alive.as_ref().expect("it runs").store;
            let of_infraction = |at: u64| {
                let block = store.block(Height(at)).expect("it is kept");
                block.evidence.iter().filter(|evidence| evidence.infractions().contains(&(*height, *validator))).count()
            };
            let blocks: Vec<u64> = (1..=c.tip(node).0).filter(|at| of_infraction(*at) > 0).collect();
            assert_eq!(blocks, [block.0], "n{node}, evidence of height {height}");
            assert_eq!(of_infraction(block.0), 1);
        }
    }
    Ok(())
}

#[test]
fn evidence_that_no_proposer_uses_is_noticed() {
    let withheld = with_a_liar(Mutation::named("withhold_evidence"));
    let Err(broken) = withheld else { panic!("evidence is never in a block, and nothing notices it") };
    assert!(broken.0.contains("no evidence waits"), "{}", broken.0);
}

#[test]
fn a_double_sign_that_costs_nothing_is_noticed() {
    let forgiven = with_a_liar(Mutation::named("forgive_double_sign"));
    let Err(broken) = forgiven else { panic!("a liar loses nothing, and nothing notices it") };
    assert!(broken.0.contains("ST5"), "{}", broken.0);
}

/// Runs a proposer that puts evidence into its blocks that proves nothing there.
fn with_an_accuser(seed: u64, mutation: Option<Mutation>) -> Result<World, Broken> {
    directed::with_an_accuser(&Stage::new(mutation, Story::default()), seed)
}

#[test]
fn a_block_with_evidence_that_proves_nothing_is_not_decided() -> Checked {
    for seed in 1..=3 {
        let c = with_an_accuser(seed, None)?;
        assert!(c.counts.later_rounds > 0 && c.counts.evidence > 0, "{}", c.counts);
    }
    Ok(())
}

#[test]
fn accepting_evidence_without_its_signatures_is_detected() {
    detected("accept_unverified_evidence", "EV1");
}

#[test]
fn accepting_evidence_again_is_detected() {
    detected("accept_repeated_evidence", "EV2");
}

#[test]
fn accepting_expired_evidence_is_detected() {
    detected("accept_expired_evidence", "EV3");
}

fn detected(mutation: &str, by: &str) {
    let mutation = Mutation::named(mutation).expect("a mutation of this name");
    let broken = (1..=20).find_map(|seed| with_an_accuser(seed, Some(mutation)).err());
    let broken = broken.expect("it is detected within 20 seeds").0;
    assert!(broken.contains(by), "{broken}");
}

/// Returns evidence that validator `who` signed two precommits at a height, with the time of that block.
fn double_vote(c: &World, who: usize, height: u64) -> Evidence {
    let key = ConsensusSecretKey::from_bytes(KeyType::Secp256k1, &[1 + who as u8; 32]).expect("a key");
    let committed = c.committed(1, height).expect("it is decided");
    let (time, validator) = (committed.block.header.time, key.public_key().address());
    let (validator_index, _) = committed.validators.by_address(&validator).expect("a validator");
    let vote = |byte| {
        let hash = Hash([byte; 32]);
        let block_id = Some(BlockId { hash, parts: PartSetHeader { total: 1, hash } });
        let (vote_type, height, round, timestamp) = (VoteType::Precommit, Height(height), Round(5), time);
        Vote { vote_type, height, round, block_id, timestamp, validator, validator_index }
            .sign(&ChainId::new("cairn-simulated").expect("a name"), &key)
    };
    let pair = DuplicateVoteEvidence::new(vote(1), vote(2), &committed.validators, time);
    Evidence::DuplicateVote(pair.expect("the votes contradict each other"))
}

/// Only node 1 has the evidence, and it is killed, before it can propose it.
#[test]
fn evidence_survives_the_only_node_that_has_it() -> Checked {
    let mut c = World::new(idle(4).with_byzantine(0, Behaviour::Silent));
    c.run_until_height(5, SOON)?;
    c.hold(|parcel| matches!(*parcel.message, PeerMessage::Evidence(_)));
    let evidence = double_vote(&c, 0, 3);
    let message = Arc::new(PeerMessage::Evidence(Box::new(evidence.clone())));
    c.hand(&Parcel { from: 0, to: 1, message });
    c.run_until("the evidence waits", SOON, |c| c.status(1).evidence_waiting == 1)?;
    c.kill(1);
    c.restart(1);
    assert_eq!(c.status(1).evidence_waiting, 1);
    c.run_until("the evidence is in a block", MINUTE, |c| !c.evidence().is_empty())?;
    let block = c.evidence()[&evidence.infractions()[0]];
    until(&mut c, &[1, 2, 3], block.0 + 10)?;
    assert_eq!(c.committed(1, block.0).map(|committed| committed.block.evidence.len()), Some(1));
    assert_eq!(c.status(1).evidence_waiting, 0);
    Ok(())
}

/// A chain without transactions that makes blocks only when there is a reason.
#[test]
fn evidence_is_a_reason_to_start_a_height() -> Checked {
    let mut setup = idle(4);
    setup.config.empty_block_interval = None;
    let mut c = World::new(setup.with_byzantine(0, Behaviour::Silent));
    c.run_for(Duration::from_secs(10))?;
    let tip = c.tip(1).0;
    c.run_for(Duration::from_secs(10))?;
    assert_eq!(c.tip(1).0, tip, "nothing happens");
    let message = Arc::new(PeerMessage::Evidence(Box::new(double_vote(&c, 0, tip))));
    c.hand(&Parcel { from: 0, to: 2, message });
    c.run_for(Duration::from_secs(5))?;
    assert_eq!(c.evidence().values().map(|block| block.0).collect::<Vec<_>>(), [tip + 1]);
    Ok(())
}

/// A coalition of more than 1/3 of the power signs a false header for a light client, which reports it to one node.
#[test]
fn a_coalition_that_attacks_a_light_client_is_in_a_block_exactly_once_on_all_nodes() -> Checked {
    let setup = idle(4).with_full_nodes(1);
    let setup = setup.with_byzantine(0, Behaviour::Twin).with_byzantine(1, Behaviour::Twin);
    let mut c = World::new(setup);
    c.run_until_height(6, SOON)?;
    let evidence = report(&c, 2, 4);
    show(&mut c, 4, &evidence);
    let is_in_a_block = |c: &World| evidence.infractions().iter().all(|one| c.evidence().contains_key(one));
    c.run_until("the attack is in a block", MINUTE, is_in_a_block)?;
    let blocks: Vec<Height> = evidence.infractions().iter().map(|one| c.evidence()[one]).collect();
    assert_eq!((blocks.len(), blocks[0]), (2, blocks[1]), "one piece names both");
    until(&mut c, &[2, 3, 4], blocks[0].0 + 10)?;
    for node in 2..=4 {
        let pieces = |at: u64| c.committed(node, at).map_or(0, |committed| committed.block.evidence.len());
        let with_evidence: Vec<u64> = (1..=c.tip(node).0).filter(|at| pieces(*at) > 0).collect();
        assert_eq!((with_evidence, pieces(blocks[0].0)), (vec![blocks[0].0], 1), "n{node}");
        assert_eq!(c.status(node).evidence_waiting, 0);
    }
    // The same coalition again, at the same common height, is nothing new.
    let again = report(&c, 2, 5);
    show(&mut c, 3, &again);
    let tip = c.tip(3).0;
    until(&mut c, &[2, 3, 4], tip + 5)?;
    assert_eq!(c.evidence().len(), 2);
    Ok(())
}

/// Runs a coalition that proposes evidence of its attacks on light clients, most of it proving nothing there.
fn with_a_coalition(seed: u64, mutation: Option<Mutation>) -> Result<World, Broken> {
    directed::with_a_coalition(&Stage::new(mutation, Story::default()), seed)
}

#[test]
fn a_block_with_an_attack_that_proves_nothing_is_not_decided() -> Checked {
    for seed in 1..=3 {
        let c = with_a_coalition(seed, None)?;
        assert!(c.counts.later_rounds > 0 && c.counts.evidence > 0, "{}", c.counts);
    }
    Ok(())
}

fn detected_in_a_coalition(mutation: &str, by: &str) {
    let mutation = Mutation::named(mutation).expect("a mutation of this name");
    let broken = (1..=20).find_map(|seed| with_a_coalition(seed, Some(mutation)).err());
    let broken = broken.expect("it is detected within 20 seeds").0;
    assert!(broken.contains(by), "{broken}");
}

#[test]
fn accepting_an_attack_without_its_signatures_is_detected() {
    detected_in_a_coalition("accept_unverified_evidence", "EV1");
}

#[test]
fn accepting_an_attack_that_names_the_innocent_is_detected() {
    detected_in_a_coalition("accept_named_evidence", "EV1");
}

#[test]
fn accepting_an_attack_again_is_detected() {
    detected_in_a_coalition("accept_repeated_evidence", "EV2");
}

#[test]
fn accepting_an_expired_attack_is_detected() {
    detected_in_a_coalition("accept_expired_evidence", "EV3");
}
