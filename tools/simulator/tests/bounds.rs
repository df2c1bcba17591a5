//! Proves figures: how fast a network without faults decides, how soon one continues after faults, and what a flood of invalid
//! votes costs its receiver.
#![allow(missing_docs)]

use std::time::Duration;

use simulator::{Behaviour, Parcel, Setup, World, network::LinkSetup, node::validator_key};
use support::{Checked, MINUTE, SOON, idle, ms};
use types::{Hash, Height, KeyType, PeerMessage, Round, SignedVote, Time, Vote, VoteType};

mod support;

/// A message takes 100 to 200 ms. A height is a proposal, prevotes and precommits: three delays. A quorum waits for the slower of
/// its messages, so it takes a little longer than three mean delays.
#[test]
fn a_hundred_validators_decide_within_one_fifth_more_than_three_delays() -> Checked {
    let _memo = types::Memo::new();
    let (delay, heights) = (ms(100), 2);
    let mut setup = idle(100);
    setup.links = LinkSetup { delay_min: delay, delay_max: delay, ..LinkSetup::quiet() };
    setup.config.empty_block_interval = Some(Duration::ZERO);
    let mut c = World::new(setup);
    c.run_until("some heights", MINUTE, |c| c.committed(0, 1 + heights).is_some())?;
    let time = |height| c.committed(0, height).expect("it is decided").block.header.time;
    let of_one = time(1 + heights).since(time(1)) / heights as u32;
    let mean = delay * 3 / 2;
    assert!(of_one <= mean * 3 * 6 / 5, "a height takes {of_one:?}, a message {mean:?}");
    assert_eq!(c.counts.later_rounds, 0, "{}", c.counts);
    Ok(())
}

/// Proposals are lost until round 4, then the network is in halves. Once it is whole again, it decides within the timeouts of two
/// rounds and the time in which nodes connect again.
#[test]
fn a_network_that_heals_in_a_late_round_decides_within_the_timeouts_of_two_rounds() -> Checked {
    let setup = Setup { tx_interval: None, ..Setup::validators(4) };
    let timeouts = setup.params.timeouts;
    let mut c = World::new(setup);
    c.run_until_height(3, SOON)?;
    c.hold(|parcel| matches!(*parcel.message, PeerMessage::Proposal(_) | PeerMessage::Part { .. }));
    c.run_until("round 4", MINUTE, |c| (0..4).all(|node| c.round(node) >= Round(4)))?;
    c.partition(&[&[0, 1], &[2, 3]]);
    c.run_for(ms(5000))?;
    c.stop_holding();
    let (before, late) = (c.checker_height(), (0..4).map(|node| c.round(node).0).max().unwrap_or(0));
    c.heal();
    let base = timeouts.propose + timeouts.prevote + timeouts.precommit;
    let delta = timeouts.propose_delta + timeouts.prevote_delta + timeouts.precommit_delta;
    let two_rounds = (base + delta * late) + (base + delta * (late + 1));
    let connect = ms(200);
    c.run_until("a decision", two_rounds + connect, |c| c.checker_height() > before)
}

/// A stranger sends 10,000 votes in a second: with signatures that do not hold, in the names of validators, of rounds and heights
/// near and far.
#[test]
fn a_flood_of_invalid_votes_takes_no_memory_and_one_signature_check_for_each() -> Checked {
    let _memo = types::Memo::new();
    let mut c = World::new(idle(4).with_strangers(1, Behaviour::Silent));
    c.restart(4);
    c.run_until_height(5, SOON)?;
    // The signatures of valid votes are remembered up to a number that this chain does not reach so soon.
    let held = |c: &World| -> usize {
        let held = c.nodes()[0].alive.as_ref().expect("it runs").replica.held();
        held.iter().filter(|held| held.what != "signatures").map(|held| held.bytes).sum()
    };
    let checks = |c: &World| c.nodes()[0].alive.as_ref().expect("it runs").verifier.checks();
    let second = |c: &mut World, votes: u64| {
        let (mut peak, from) = (0, checks(c));
        for millisecond in 0..1000 {
            for n in 0..votes {
                let message = PeerMessage::Vote(forged(c, millisecond * votes + n)).into();
                c.hand(&Parcel { from: 4, to: 0, message });
            }
            c.run_for(ms(1))?;
            peak = peak.max(held(c));
        }
        Ok::<(usize, u64), simulator::Broken>((peak, checks(c) - from))
    };
    let (quiet, of_others) = second(&mut c, 0)?;
    let (height, penalties) = (c.tip(0).0, c.counts.penalties);
    let (flooded, all) = second(&mut c, 10)?;
    assert!(flooded <= quiet + 4096, "{flooded} bytes are held, {quiet} without the flood");
    assert!(all - of_others <= 10_000 + 20, "{all} checks, {of_others} without the flood");
    assert!(c.counts.penalties >= penalties + 5_000, "{}", c.counts);
    let heights = c.tip(0).0 - height;
    assert!((9..=11).contains(&heights), "{heights} heights in the second, ten are expected");
    assert_eq!(c.counts.later_rounds, 0, "{}", c.counts);
    Ok(())
}

/// Returns vote `n` of the flood.
fn forged(c: &World, n: u64) -> SignedVote {
    let engine = c.nodes()[0].alive.as_ref().expect("it runs").replica.engine();
    let validator_index = (n % 4) as u32;
    let validator = engine.validators().get(validator_index).expect("one of four").address();
    let height = Height(engine.height().0 + [0, 1, 0, 1, 1_000_000][n as usize % 5]);
    let round = Round([0, 1, 100, 1_000_000][n as usize / 5 % 4]);
    let vote_type = [VoteType::Prevote, VoteType::Precommit][n as usize % 2];
    let hash = Hash(std::array::from_fn(|at| n.to_be_bytes()[at % 8]));
    let block_id = Some(types::BlockId { hash, parts: types::PartSetHeader { total: 1, hash } });
    let timestamp = Time::from_unix_millis(1_780_000_001_000 + n);
    let vote = Vote { vote_type, height, round, block_id, timestamp, validator, validator_index };
    let key = validator_key(50, KeyType::Secp256k1, 0);
    let mut signed = vote.sign(&types::ChainId::new("cairn-simulated").expect("a name"), &key);
    signed.signature.0[..8].iter_mut().zip(n.to_be_bytes()).for_each(|(byte, of_n)| *byte ^= of_n);
    signed
}
