//! Proves that each Byzantine behaviour really occurs, and that neither safety nor progress suffers below a third of the power;
//! and that agreement breaks above a third, and only there.
#![allow(missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use simulator::{Behaviour, Broken, Setup, World, network::LinkSetup};
use types::{BlockId, Round, Step};

mod support;
use support::{Checked, MINUTE, SOON, ms};

/// Time within which four validators, one of them a liar, decide the heights of a test: thirty times what four correct ones
/// need for the idle intervals.
const LONG: Duration = Duration::from_secs(400);

/// Returns a busy world of four validators, of which the last one lies. Double signs cost nothing, so it stays in the set.
fn four(behaviour: Behaviour) -> Setup {
    let mut setup = Setup::validators(4).with_byzantine(3, behaviour).forgiving();
    setup.config.empty_block_interval = Some(ms(50));
    setup.tx_interval = Some(ms(100));
    setup
}

/// Adds what makes later rounds and re-proposals common: two messages of five are lost.
fn lossy(setup: Setup) -> Setup {
    Setup { links: LinkSetup { loss: 400, ..LinkSetup::quiet() }, ..setup }
}

/// Returns a world of seven validators, of which two lie. The one proposes nothing, and the other one proposes a round later.
fn in_round_1(behaviour: Behaviour) -> Setup {
    let c = World::new(Setup::validators(7));
    let [silent, liar] = [0, 1].map(|round| c.next_proposer(0, Round(round)));
    let setup = Setup::validators(7).with_byzantine(silent, Behaviour::SilentIn(Step::Propose));
    Setup { tx_interval: Some(ms(100)), ..setup.with_byzantine(liar, behaviour).forgiving() }
}

/// Returns the lies of all nodes that violate the protocol.
fn lies(c: &World) -> BTreeMap<&'static str, u64> {
    let mut all = BTreeMap::new();
    for (lie, count) in c.nodes().iter().flat_map(|node| node.twister.tally().counts()) {
        *all.entry(lie).or_default() += count;
    }
    all
}

/// Runs a world until its correct nodes have decided a height, and checks that each of these lies occurred.
fn occurs(setup: Setup, height: u64, expected: &[&str]) -> Result<World, Broken> {
    let mut c = World::new(setup);
    c.run_until_height(height, LONG)?;
    let lies = lies(&c);
    for lie in expected {
        assert!(lies.contains_key(lie), "no {lie:?} in {height} heights, only {lies:?}");
    }
    Ok(c)
}

/// As [`occurs`], in one of the first 64 seeds.
fn occurs_in_some_seed(setup: &Setup, height: u64, lie: &str) -> Checked {
    for seed in 1..=64 {
        let c = occurs(Setup { seed, ..setup.clone() }, height, &[])?;
        if lies(&c).contains_key(lie) {
            return Ok(());
        }
    }
    panic!("no {lie:?} in 64 seeds");
}

/// Returns the blocks that were decided.
fn decided(c: &World) -> BTreeSet<BlockId> {
    (1..=c.checker_height()).filter_map(|height| c.block_id(height)).collect()
}

#[test]
fn a_silent_validator_delays_only_its_own_turns() -> Checked {
    for behaviour in [
        Behaviour::Silent,
        Behaviour::SilentIn(Step::Propose),
        Behaviour::SilentIn(Step::Prevote),
        Behaviour::SilentIn(Step::Precommit),
    ] {
        let c = occurs(four(behaviour), 12, &["withheld message"])?;
        let fails = matches!(behaviour, Behaviour::Silent | Behaviour::SilentIn(Step::Propose));
        assert_eq!(c.counts.later_rounds > 0, fails, "{behaviour:?}: {}", c.counts);
    }
    Ok(())
}

#[test]
fn messages_to_some_peers_reach_the_others_through_them() -> Checked {
    for behaviour in [Behaviour::Selective, Behaviour::OneSided] {
        occurs(four(behaviour), 12, &["withheld message"])?;
    }
    Ok(())
}

#[test]
fn equivocation_in_proposals_and_votes_changes_nothing() -> Checked {
    occurs(four(Behaviour::Equivocator), 16, &["second block", "second vote"])?;
    occurs(four(Behaviour::TwoBlocks), 16, &["second block"])?;
    occurs(four(Behaviour::TwoVotes), 16, &["second vote"])?;
    occurs(in_round_1(Behaviour::LateEquivocator), 40, &["second block", "second vote"])?;
    Ok(())
}

#[test]
fn a_validator_that_forgets_its_lock_changes_nothing() -> Checked {
    let expected = ["prevote without regard to the lock", "precommit without a polka"];
    occurs(lossy(four(Behaviour::Amnesiac)), 60, &expected)?;
    occurs_in_some_seed(&lossy(four(Behaviour::Amnesiac)), 60, "valid block as a new one")
}

#[test]
fn a_withheld_polka_is_found_elsewhere() -> Checked {
    let setup = lossy(four(Behaviour::PolkaWithholder));
    occurs(setup.clone(), 60, &["withheld prevotes"])?;
    occurs_in_some_seed(&setup, 60, "re-proposal without its polka")
}

#[test]
fn a_lock_that_a_liar_hides_is_shown() -> Checked {
    let expected = ["proposal to some", "prevote to the victim only", "nil instead of the locked block"];
    occurs(four(Behaviour::HiddenLock), 24, &expected)?;
    Ok(())
}

#[test]
fn withheld_blocks_cost_a_round() -> Checked {
    let expected = ["block without parts", "block without one part", "block to one node"];
    let c = occurs(four(Behaviour::PartWithholder), 40, &expected)?;
    assert!(c.counts.later_rounds > 0, "{}", c.counts);
    Ok(())
}

#[test]
fn false_parts_are_penalized_and_the_true_ones_are_taken() -> Checked {
    let expected = [
        "part with an index that is not in its proof",
        "part with more bytes",
        "part with other bytes",
        "parts of another block",
        "parts before the proposal",
    ];
    let c = occurs(four(Behaviour::BadParts), 16, &expected)?;
    assert_eq!(c.counts.later_rounds, 0, "{}", c.counts);
    assert!(c.counts.penalties > 0, "{}", c.counts);
    Ok(())
}

#[test]
fn a_pol_round_needs_its_polka() -> Checked {
    occurs(four(Behaviour::PolLiar), 24, &["POL round that is not below the round"])?;
    let expected = ["POL round without a polka", "votes that are no polka of the block"];
    occurs(in_round_1(Behaviour::PolLiar), 40, &expected)?;
    occurs(lossy(four(Behaviour::PolLiar)), 60, &["re-proposal without a POL round"])?;
    Ok(())
}

/// Each flaw of a block occurs, and none of these blocks is decided.
#[test]
fn no_invalid_block_is_decided() -> Checked {
    let mut setup = four(Behaviour::BadBlocks);
    setup.params.block.bytes_max = 65_536;
    setup.tx_interval = Some(ms(20));
    let c = occurs(setup, 160, &[])?;
    let lies = lies(&c);
    let missing: Vec<&str> = simulator::byzantine::flaws().filter(|flaw| !lies.contains_key(flaw)).collect();
    assert!(missing.is_empty(), "these flaws did not occur: {missing:?}");
    let invalid = c.nodes()[3].twister.tally().invalid();
    assert_eq!(invalid.intersection(&decided(&c)).count(), 0);
    Ok(())
}

#[test]
fn forged_evidence_is_not_decided() -> Checked {
    let setup = four(Behaviour::Accuser).with_evidence_of(5, Duration::from_secs(2));
    occurs(setup, 24, &["block with evidence", "second vote"])?;
    Ok(())
}

#[test]
fn a_flood_of_later_rounds_changes_nothing() -> Checked {
    let c = occurs(four(Behaviour::RoundFlood), 24, &["vote of a later round", "proposal of a later round"])?;
    assert_eq!(c.counts.later_rounds, 0, "{}", c.counts);
    Ok(())
}

#[test]
fn replayed_messages_change_nothing() -> Checked {
    let expected = ["commit of an earlier height", "certificate of all votes of a round", "message of another node"];
    let c = occurs(four(Behaviour::Replayer), 30, &expected)?;
    assert_eq!(c.counts.later_rounds, 0, "{}", c.counts);
    occurs(lossy(four(Behaviour::Replayer)), 30, &expected)?;
    Ok(())
}

#[test]
fn forged_votes_count_nowhere_and_forged_commits_deliver_no_block() -> Checked {
    let expected = [
        "vote in the name of another",
        "vote with another value under a true signature",
        "vote of another round under a true signature",
        "vote with a second signature",
        "certificate with a false vote",
        "evidence with a false signature",
    ];
    let setup = Setup { ed25519: vec![1], late: vec![4], ..four(Behaviour::Forger).with_full_nodes(1) };
    let mut c = World::new(setup);
    c.run_until("ten heights", MINUTE, |c| c.tip(0).0 >= 10)?;
    for node in [1, 2, 4] {
        c.crash(node, 0);
        c.run_until("five heights without it", MINUTE, |c| c.tip(0).0.max(c.tip(1).0) >= c.checker_height())?;
        c.restart(node);
        c.run_for(ms(2000))?;
    }
    c.run_until_height(40, LONG)?;
    let lies = lies(&c);
    for lie in expected.iter().chain(&["commit with a false signature"]) {
        assert!(lies.contains_key(lie), "no {lie:?}, only {lies:?}");
    }
    assert!(c.counts.penalties > 0, "{}", c.counts);
    Ok(())
}

#[test]
fn wrong_times_cost_a_round_at_most() -> Checked {
    let mut setup = four(Behaviour::BadTimes);
    setup.params.synchrony.message_delay = ms(300);
    let c = occurs(setup, 60, &["vote with a wrong time"])?;
    let lies = lies(&c);
    let missing: Vec<&str> = simulator::byzantine::wrong_times().filter(|time| !lies.contains_key(time)).collect();
    assert!(missing.is_empty(), "these times did not occur: {missing:?}");
    Ok(())
}

/// Each plausible lie occurs, from a validator and from nodes without stake, and costs no round and hardly any time.
#[test]
fn plausible_lies_change_nothing() -> Checked {
    let mut setup = four(Behaviour::Plausible).with_strangers(3, Behaviour::Plausible);
    setup.late.clear();
    setup.tx_interval = None;
    setup.config.empty_block_interval = Some(ms(200));
    let mut c = World::new(setup);
    c.run_for(Duration::from_secs(12))?;
    let lies = lies(&c);
    let missing: Vec<&str> = simulator::byzantine::plausible_lies().filter(|lie| !lies.contains_key(lie)).collect();
    assert!(missing.is_empty(), "these lies did not occur: {missing:?}");
    assert_eq!(c.counts.later_rounds, 0, "{}", c.counts);
    let heights = c.checker_height();
    assert!((50..=60).contains(&heights), "{heights} heights in 12 s, about five per second are expected");
    Ok(())
}

#[test]
fn a_validator_with_a_new_behaviour_at_each_height_changes_nothing() -> Checked {
    for seed in 1..=3 {
        let c = occurs(Setup { seed, ..four(Behaviour::Fickle) }, 40, &[])?;
        assert!(lies(&c).len() >= 12, "{:?}", lies(&c));
    }
    Ok(())
}

/// Runs a world of liars until it has decided a height.
fn decides(setup: Setup, height: u64) -> Checked {
    let mut c = World::new(setup.forgiving());
    c.run_until_height(height, LONG)
}

/// Returns the number of the first seeds with which liars break agreement within some time.
fn broken_by(seeds: u64, within: Duration, setup: &Setup) -> usize {
    let breaks = |seed: &u64| {
        let mut c = World::new(Setup { seed: *seed, ..setup.clone() }.forgiving());
        let broken = c.run_for(within).err();
        if let Some(broken) = &broken {
            assert!(broken.0.starts_with("agreement"), "seed {seed}: {broken:?}");
        }
        broken.is_some()
    };
    (1..=seeds).filter(breaks).count()
}

/// Of a power of 10, 4 is more than a third and 3 is less. Each half of the correct validators is a quorum together with 4.
#[test]
fn equivocators_break_agreement_above_a_third_and_not_below() -> Checked {
    assert_eq!(broken_by(5, MINUTE, &Setup::with_coalition(&[1; 6], &[2, 2], Behaviour::Splitter)), 5);
    decides(Setup::with_coalition(&[1; 7], &[2, 1], Behaviour::Splitter), 20)
}

/// Of a power of 9, exactly a third is 3. Two quorums of 7 have 5 in common, so agreement breaks from 5 on, and with 3 or
/// 4 the liars can only stop the chain.
#[test]
fn exactly_a_third_stops_the_chain_and_breaks_nothing() -> Checked {
    assert_eq!(broken_by(5, MINUTE, &Setup::with_coalition(&[1; 4], &[3, 2], Behaviour::Splitter)), 5);
    for coalition in [[2, 1], [2, 2]] {
        let correct = vec![1; 9 - coalition.iter().sum::<u64>() as usize];
        assert_eq!(broken_by(1, ms(5000), &Setup::with_coalition(&correct, &coalition, Behaviour::Splitter)), 0);
        let mut c = World::new(Setup::with_coalition(&correct, &coalition, Behaviour::Silent));
        c.run_for(SOON)?;
        assert_eq!(c.checker_height(), 0, "{coalition:?} are missing");
    }
    decides(Setup::with_coalition(&[1; 7], &[1, 1], Behaviour::Splitter), 20)?;
    decides(Setup::with_coalition(&[1; 7], &[1, 1], Behaviour::Silent), 20)
}

/// Runs a world whose correct validators are cut off from each other in two halves, with liars that reach both.
fn divided(correct: &[u64], coalition: &[u64], seed: u64) -> Result<World, Broken> {
    let setup = Setup::with_coalition(correct, coalition, Behaviour::Forgetful).forgiving();
    let mut c = World::new(Setup { seed, ..setup });
    let half = correct.len() / 2;
    for (a, b) in (0..half).flat_map(|a| (half..correct.len()).map(move |b| (a, b))) {
        c.cut(a, b, true);
        c.cut(b, a, true);
    }
    c.run_for(SOON)?;
    Ok(c)
}

/// No vote contradicts another one of its round, so no evidence proves what these liars do.
#[test]
fn validators_without_memory_break_agreement_above_a_third_and_not_below() -> Checked {
    for seed in 1..=3 {
        let Err(broken) = divided(&[1; 6], &[2, 2], seed) else { panic!("seed {seed}: agreement holds") };
        assert!(broken.0.starts_with("agreement"), "{broken:?}");
    }
    let exactly_a_third = divided(&[1; 6], &[2, 1], 1)?;
    let mut less = divided(&[1; 7], &[2, 1], 1)?;
    for c in [&exactly_a_third, &less] {
        assert_eq!(c.counts.equivocations, 0, "{}", c.counts);
    }
    less.heal();
    less.expect_progress(3, MINUTE)
}
