//! Scenarios with validators that vote twice: their evidence is in a block, once, on every node.
#![allow(missing_docs)]

use std::{sync::Arc, time::Duration};

use simulator::{Behaviour, Broken, Mutation, Parcel, Setup, World};
use types::{
    BlockId, ChainId, ConsensusSecretKey, DuplicateVoteEvidence, Evidence, Hash, Height, KeyType, PartSetHeader,
    PeerMessage, Round, Vote, VoteType,
};

mod support;
use support::{Checked, MINUTE, SOON, idle, ms, until};

/// Runs a liar that votes twice, then cuts it off, and returns the world.
fn with_a_liar(mutation: Option<Mutation>) -> Result<World, Broken> {
    let setup = Setup::validators(4).with_full_nodes(1).with_byzantine(0, Behaviour::Equivocator);
    let mut c = World::new(setup.with_mutation(mutation));
    c.run_until_height(12, MINUTE)?;
    c.partition(&[&[1, 2, 3, 4]]);
    let correct = [1, 2, 3, 4];
    c.run_until("no evidence waits", ms(8000), |c| correct.iter().all(|node| c.status(*node).evidence_waiting == 0))?;
    let tip = correct.iter().map(|node| c.tip(*node).0).max().unwrap_or(0);
    until(&mut c, &correct, tip + 2)?;
    Ok(c)
}

#[test]
fn a_liar_that_votes_twice_is_in_a_block_exactly_once_on_all_nodes() -> Checked {
    let c = with_a_liar(None)?;
    assert!(c.counts.equivocations > 0 && !c.evidence().is_empty(), "{}", c.counts);
    let liar = c.nodes()[0].address().expect("it is a validator");
    for ((height, validator), block) in c.evidence() {
        assert!(*validator == liar && height < block, "{height} {block}");
        for node in 1..=4 {
            let store = &c.nodes()[node].alive.as_ref().expect("it runs").store;
            let of_infraction = |at: u64| {
                let block = store.block(Height(at)).expect("it is kept");
                block.evidence.iter().filter(|evidence| evidence.infraction() == (*height, *validator)).count()
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

/// Runs a proposer that puts evidence into its blocks that proves nothing there.
fn with_an_accuser(seed: u64, mutation: Option<Mutation>) -> Result<World, Broken> {
    let setup = Setup { seed, ..Setup::validators(4) };
    let setup = setup.with_byzantine(1, Behaviour::Accuser).with_evidence_of(5, Duration::from_secs(2));
    let mut c = World::new(setup.with_mutation(mutation));
    c.run_until_height(60, Duration::from_secs(300))?;
    Ok(c)
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
    let block = c.evidence()[&evidence.infraction()];
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
