//! Scenarios in which one validator or a stranger is directed by hand. The table in `tests/scenarios.rs` names them.
#![allow(missing_docs)]

use std::{collections::BTreeSet, time::Duration};

use simulator::{
    Backup, Behaviour, Broken, Parcel, Setup, SigningState, Story, World,
    directed::{stage::Stage, sync::restarted_among_strangers},
    node::validator_key,
};
use storage::MemDisk;
use support::{Checked, MINUTE, SOON, idle, ms, tx};
use types::{
    Block, BlockId, Certificate, ChainId, DuplicateVoteEvidence, Evidence, Hash, Header, Height, KeyType, Msg, Part,
    PartSet, PeerMessage, Proposal, Round, SignState, SignedVote, Step, Time, TxOrder, Vote, VoteType,
};

mod support;

fn chain() -> ChainId {
    ChainId::new("cairn-simulated").expect("a name")
}

fn key(who: usize) -> types::ConsensusSecretKey {
    validator_key(who, KeyType::Secp256k1, 0)
}

/// Returns a vote of validator `who`, signed with the key of `signer`, for the height and round of `at`.
fn vote_by(
    c: &World,
    (who, signer): (usize, usize),
    at: usize,
    vote_type: VoteType,
    block_id: Option<BlockId>,
) -> SignedVote {
    let engine = c.nodes()[at].alive.as_ref().expect("it runs").replica.engine();
    let validator = key(who).public_key().address();
    let (validator_index, _) = engine.validators().by_address(&validator).expect("a validator");
    let (height, round, timestamp) = (engine.height(), engine.round(), Time::from_unix_millis(1_780_000_001_000));
    let vote = Vote { vote_type, height, round, block_id, timestamp, validator, validator_index };
    vote.sign(&chain(), &key(signer))
}

fn hand(c: &mut World, from: usize, to: usize, message: PeerMessage) {
    c.hand(&Parcel { from, to, message: message.into() });
}

/// Lets no message of a node through, in either direction. Its connections stay.
fn isolate(c: &mut World, who: usize) {
    for other in (0..c.nodes().len()).filter(|other| *other != who) {
        c.cut(who, other, true);
        c.cut(other, who, true);
    }
}

/// A validator that sends nothing of its own: it votes in each round for what it is directed to.
struct Puppet {
    who: usize,
    /// What it has voted on: receiver, height, round.
    done: BTreeSet<(usize, Height, Round)>,
}

impl Puppet {
    fn new(who: usize) -> Self {
        Self { who, done: BTreeSet::new() }
    }

    /// Sends both votes of the current round to each of these nodes that has prevoted: for what `value` says.
    fn vote(&mut self, c: &mut World, to: &[usize], value: impl Fn(&World, usize) -> Option<BlockId>) {
        for node in to.iter().copied() {
            let place = (node, c.height(node), c.round(node));
            if c.tip(node) >= place.1 || c.step(node) < Step::Prevote || !self.done.insert(place) {
                continue;
            }
            let value = value(c, node);
            for vote_type in [VoteType::Prevote, VoteType::Precommit] {
                let vote = vote_by(c, (self.who, self.who), node, vote_type, value);
                hand(c, self.who, node, PeerMessage::Vote(vote));
            }
        }
    }

    /// Votes and runs the world, until `done` returns true.
    fn until(
        &mut self,
        c: &mut World,
        to: &[usize],
        (value, done): (impl Fn(&World, usize) -> Option<BlockId>, impl Fn(&World) -> bool),
        within: Duration,
    ) -> Checked {
        for _ in 0..within.as_millis() / 5 {
            if done(c) {
                return Ok(());
            }
            self.vote(c, to, &value);
            c.run_for(ms(5))?;
        }
        Err(Broken(format!("liveness: not within {within:?}: {}", c.standing())))
    }
}

/// Returns the block that a node knows as proposed in its round.
fn proposed(c: &World, node: usize) -> Option<BlockId> {
    let engine = c.nodes()[node].alive.as_ref().expect("it runs").replica.engine();
    engine.proposal(engine.round()).map(|signed| signed.proposal.block_id)
}

/// Runs the world until all nodes rest after a height at which `is_wanted` holds for the proposer of the next one.
fn rest_before(c: &mut World, is_wanted: impl Fn(usize) -> bool) -> Result<u64, Broken> {
    c.run_until("a turn, and rest", SOON, |c| {
        let tip = c.checker_height();
        tip >= 3
            && c.correct().all(|node| node.tip().0 == tip && c.height(node.index).0 == tip)
            && c.correct().all(|node| c.committed(node.index, tip).is_some())
            && is_wanted(c.next_proposer(c.correct().next().expect("a node").index, Round(0)))
    })?;
    Ok(c.checker_height() + 1)
}

/// Of four validators, one votes nil in each round, and one that is locked on the block of round 0 is cut off: the two others
/// never see a polka. When the locked one is back, its block is decided against the votes of the fourth.
#[test]
fn one_byzantine_of_four_keeps_rounds_failing_while_the_locked_one_is_cut_off() -> Checked {
    let setup = Setup { tx_interval: None, ..Setup::validators(4) };
    let mut c = World::new(setup.with_byzantine(3, Behaviour::Silent));
    let (locked, others, mut liar) = (2, [0, 1], Puppet::new(3));
    let height = rest_before(&mut c, |proposer| others.contains(&proposer))?;
    isolate(&mut c, 3);
    others.iter().for_each(|to| c.cut(locked, *to, true));
    c.run_until("it locks alone", SOON, |c| c.locked(locked).is_some())?;
    let block = c.locked(locked);
    others.iter().for_each(|from| c.cut(*from, locked, true));
    let late = |c: &World| others.iter().all(|node| c.round(*node) >= Round(5));
    liar.until(&mut c, &others, (|_: &World, _| None, late), MINUTE)?;
    assert!(others.iter().all(|node| c.locked(*node).is_none()), "no polka is complete there");
    assert_eq!(c.checker_height(), height - 1);
    others.iter().for_each(|other| {
        c.cut(locked, *other, false);
        c.cut(*other, locked, false);
    });
    let decided = |c: &World| [0, 1, 2].iter().all(|node| c.tip(*node).0 >= height);
    liar.until(&mut c, &others, (|_: &World, _| None, decided), MINUTE)?;
    assert_eq!(c.block_id(height), block, "the block that was locked");
    Ok(())
}

/// Runs two correct validators that cannot reach each other, and a third one that tells each of them what it wants to hear.
fn split(powers: [u64; 3]) -> (World, Checked) {
    let setup = Setup { powers: powers.to_vec(), tx_interval: None, ..Setup::validators(3) };
    let mut c = World::new(setup.with_byzantine(2, Behaviour::Silent));
    [(0, 1), (1, 0)].into_iter().for_each(|(from, to)| c.cut(from, to, true));
    isolate(&mut c, 2);
    let both = |c: &World| [0, 1].iter().all(|node| c.tip(*node) >= Height(1));
    let told = Puppet::new(2).until(&mut c, &[0, 1], (proposed, both), MINUTE);
    (c, told)
}

/// Two quorums have more than a third of the power in common. With four tenths a liar is all of it, and two blocks are decided;
/// with three elevenths, or exactly a third, the two correct validators decide nothing, and go on when they reach each other.
#[test]
fn safety_breaks_above_one_third_and_only_there() -> Checked {
    let (_, told) = split([3, 3, 4]);
    let broken = told.expect_err("two blocks are decided").0;
    assert!(broken.starts_with("agreement (I5): "), "{broken}");
    for powers in [[1, 1, 1], [4, 4, 3]] {
        let (mut c, told) = split(powers);
        let broken = told.expect_err("nothing is decided").0;
        assert!(broken.starts_with("liveness: "), "{powers:?}: {broken}");
        assert_eq!(c.checker_height(), 0, "{powers:?}");
        [(0, 1), (1, 0)].into_iter().for_each(|(from, to)| c.cut(from, to, false));
        let both = |c: &World| [0, 1].iter().all(|node| c.tip(*node) >= Height(1));
        Puppet::new(2).until(&mut c, &[0, 1], (|_: &World, _| None, both), ms(1)).unwrap_err();
        if powers != [1, 1, 1] {
            c.run_until("two decide without it", MINUTE, both)?;
        }
    }
    Ok(())
}

/// Two of four are down. A stranger sends the two others what they lack, in the names of those: as votes, in certificates beside
/// true votes, and as evidence.
#[test]
fn a_forged_vote_counts_nowhere() -> Checked {
    let mut c = World::new(idle(4).with_strangers(1, Behaviour::Silent));
    let (up, down, stranger) = ([0, 1], [2, 3], 4);
    c.restart(stranger);
    let height = rest_before(&mut c, |proposer| up.contains(&proposer))?;
    down.iter().for_each(|node| c.kill(*node));
    let is_proposed = |c: &World, node: usize| c.height(node).0 == height && proposed(c, node).is_some();
    c.run_until("a proposal and two prevotes", SOON, |c| up.iter().all(|node| is_proposed(c, *node)))?;
    c.run_for(ms(20))?;
    let penalties = c.counts.penalties;
    for to in up {
        let block = proposed(&c, to);
        for value in [block, None] {
            for vote_type in [VoteType::Prevote, VoteType::Precommit] {
                let forged = |c: &World, who| vote_by(c, (who, 77), to, vote_type, value);
                for who in down {
                    let vote = forged(&c, who);
                    hand(&mut c, stranger, to, PeerMessage::Vote(vote));
                }
                let mut votes: Vec<SignedVote> = up.map(|who| vote_by(&c, (who, who), to, vote_type, value)).into();
                votes.extend(down.map(|who| forged(&c, who)));
                votes.sort_by_key(|signed| signed.vote.validator_index);
                let certificate = Certificate::new(votes).expect("votes of one round");
                hand(&mut c, stranger, to, PeerMessage::Certificate(certificate));
            }
        }
        let time = c.committed(to, height - 1).expect("it is decided").block.header.time;
        let validators = c.nodes()[to].alive.as_ref().expect("it runs").replica.engine().validators().clone();
        let of_last = |value| {
            let signed = vote_by(&c, (2, 2), to, VoteType::Precommit, value);
            Vote { height: Height(height - 1), ..signed.vote }.sign(&chain(), &key(77))
        };
        let pair = DuplicateVoteEvidence::new(of_last(block), of_last(None), &validators, time);
        let evidence = Evidence::DuplicateVote(pair.expect("the votes contradict each other"));
        hand(&mut c, stranger, to, PeerMessage::Evidence(Box::new(evidence)));
    }
    c.run_for(MINUTE)?;
    for node in up {
        assert_eq!((c.tip(node).0, c.locked(node)), (height - 1, None), "nothing is locked or decided");
        assert_eq!(c.status(node).evidence_waiting, 0);
    }
    let penalties = c.counts.penalties - penalties;
    assert!(penalties >= 2 * (8 + 4 + 1), "each costs its sender: {penalties}");
    c.restart_all();
    c.expect_progress(3, MINUTE)
}

/// Returns transaction `n` of an account of the world, of about a kilobyte.
fn large_tx(n: u64) -> Vec<u8> {
    let to = types::SecretKey::from_bytes(&[101; 32]).expect("a small number is a key").public_key().address();
    tx(TxOrder::Nonce(n), vec![Msg::Transfer { to, amount: 1 }; 16])
}

/// Creates four validators that rest before a height whose block has several parts, and a stranger, which is node 4.
fn before_a_large_block() -> Result<(World, u64, usize), Broken> {
    let mut setup = idle(4).with_strangers(1, Behaviour::Silent);
    setup.config.block_interval_min = ms(300);
    setup.config.empty_block_interval = Some(ms(300));
    let mut c = World::new(setup);
    c.restart(4);
    let height = rest_before(&mut c, |_| true)?;
    (0..4).for_each(|node| assert!((0..300).all(|n| c.submit(node, &large_tx(n)))));
    assert!((0..4).all(|node| c.height(node).0 == height - 1), "{}", c.standing());
    let proposer = c.next_proposer(0, Round(0));
    Ok((c, height, proposer))
}

/// Runs the world until the large block is decided, and checks that it is the first one that was proposed, in round 0.
fn decides_the_large_block(c: &mut World, height: u64) -> Checked {
    c.run_until("all announce it", SOON, |c| (0..4).all(|node| c.committed(node, height).is_some()))?;
    let committed = c.committed(0, height).expect("it is decided");
    assert!(committed.block_bytes > 2 * 65_536, "{} bytes", committed.block_bytes);
    assert_eq!(committed.commit.round, Round(0));
    Ok(())
}

#[test]
fn a_block_of_several_parts_that_one_node_received_reaches_the_others_from_there() -> Checked {
    let (mut c, height, proposer) = before_a_large_block()?;
    let holder = (proposer + 1) % 4;
    c.hold(move |parcel| {
        let is_part = matches!(*parcel.message, PeerMessage::Part { .. });
        is_part && parcel.from == proposer && parcel.to != holder
    });
    let step = |c: &World, node| (c.height(node).0 == height, c.step(node));
    c.run_until("the holder has it", SOON, |c| step(c, holder) == (true, Step::Prevote))?;
    c.kill(proposer);
    let others: Vec<usize> = (0..4).filter(|node| *node != proposer).collect();
    support::until(&mut c, &others, height)?;
    c.stop_holding();
    c.restart(proposer);
    let committed = c.committed(holder, height).expect("it is decided");
    assert!(committed.block_bytes > 2 * 65_536, "{} bytes", committed.block_bytes);
    assert_eq!(committed.commit.round, Round(0), "the proposer sent it to one node, and stopped");
    c.expect_progress(2, SOON)
}

#[test]
fn parts_that_come_before_their_proposal_wait_for_it() -> Checked {
    let (mut c, height, proposer) = before_a_large_block()?;
    c.hold(move |parcel| parcel.from == proposer && matches!(*parcel.message, PeerMessage::Proposal(_)));
    c.run_until("it is proposed", SOON, |c| c.height(proposer).0 == height)?;
    c.run_for(ms(20))?;
    let held = c.take_held();
    assert!(held.len() >= 3 && (0..4).all(|node| c.tip(node).0 < height));
    c.stop_holding();
    held.iter().for_each(|parcel| c.hand(parcel));
    decides_the_large_block(&mut c, height)
}

/// Before the proposal, a stranger sends parts of a block that is never proposed, under the height and round of the proposal, and
/// a part whose proof does not fit.
#[test]
fn parts_of_another_block_do_not_delay_the_block() -> Checked {
    let (mut c, height, proposer) = before_a_large_block()?;
    let others: Vec<usize> = (0..4).filter(|node| *node != proposer).collect();
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n / 7) as u8).collect();
    let parts = PartSet::from_bytes(&bytes);
    for to in &others {
        for index in 0..parts.header().total {
            let part = parts.get(index).expect("a whole set").clone();
            let (height, round) = (Height(height), Round(0));
            hand(&mut c, 4, *to, PeerMessage::Part { height, round, part: part.clone() });
            let mut bytes = part.bytes.clone();
            bytes[0] ^= 1;
            let part = Part { bytes, ..Part::clone(&part) }.into();
            hand(&mut c, 4, *to, PeerMessage::Part { height, round, part });
        }
    }
    decides_the_large_block(&mut c, height)?;
    assert!(c.counts.penalties >= u64::from(parts.header().total) * 3, "bad proofs cost: {}", c.counts);
    Ok(())
}

/// A proposer names the header of one block and the parts of another one, which it sends.
#[test]
fn a_proposal_with_the_parts_of_another_block_fails_its_round_only() -> Checked {
    let mut c = World::new(idle(4).with_byzantine(3, Behaviour::Silent));
    let height = rest_before(&mut c, |proposer| proposer == 3)?;
    let last = c.committed(0, height - 1).expect("it is decided");
    let time = last.block.header.time.saturating_add(ms(150));
    let block =
        Block { header: Header { time, height: Height(height), ..last.block.header.clone() }, ..last.block.clone() };
    let parts = block.part_set();
    let block_id = BlockId { hash: Hash([9; 32]), parts: parts.header() };
    let proposal = Proposal { height: Height(height), round: Round(0), pol_round: None, block_id, timestamp: time };
    let proposal = PeerMessage::Proposal(proposal.sign(&chain(), &key(3)));
    for to in 0..3 {
        hand(&mut c, 3, to, proposal.clone());
        let part = parts.get(0).expect("a whole set").clone();
        hand(&mut c, 3, to, PeerMessage::Part { height: Height(height), round: Round(0), part });
    }
    c.run_until_height(height + 2, MINUTE)?;
    let committed = c.committed(0, height).expect("it is decided");
    assert!(committed.commit.round == Round(1) && committed.block_id != block_id, "{:?}", committed.commit.round);
    Ok(())
}

/// All validators lose power among strangers that claim to be far ahead, or to lack everything.
#[test]
fn claims_of_strangers_do_not_stop_a_restarted_network() -> Checked {
    let mut c = restarted_among_strangers(&Stage::new(None, Story::default()))?;
    assert!((0..4).all(|node| !c.catching_up(node)));
    c.run_until("all sign", SOON, |c| (0..4).all(|node| c.signed(node, c.checker_height() - 2)))
}

#[test]
fn a_late_node_catches_up_among_eight_liars() -> Checked {
    let setup = Setup { late: vec![3], ..idle(4) }.with_strangers(8, Behaviour::Claimant);
    let mut c = World::new(setup);
    (4..12).for_each(|node| c.restart(node));
    c.run_until("thirty heights without it", SOON, |c| c.tip(0).0 >= 30)?;
    c.restart(3);
    c.run_until("it catches up", ms(10_000), |c| c.tip(3) >= c.tip(0))?;
    c.crash(0, 0);
    c.run_until("it is needed, and there", MINUTE, |c| c.tip(3).0 >= c.tip(0).0 + 4)
}

/// Two of four lose what was not synced, just after a node announced a decision.
#[test]
fn two_of_four_lose_their_unsynced_writes_after_a_decision() -> Checked {
    for seed in 0..12 {
        let mut c = World::new(Setup { seed, ..Setup::validators(4) });
        c.run_until_height(3, SOON)?;
        let height = (0..4).map(|node| c.tip(node).0).max().expect("four nodes") + 1;
        c.run_until("the decision", SOON, |c| (0..4).any(|node| c.tip(node).0 == height))?;
        let announced = c.block_id(height);
        let two = [[0, 1], [1, 2], [2, 3]][seed as usize % 3];
        two.iter().for_each(|node| c.crash(*node, 0));
        c.run_for(ms(100))?;
        two.iter().for_each(|node| c.restart(*node));
        c.expect_progress(3, SOON)?;
        assert_eq!(c.block_id(height), announced);
    }
    Ok(())
}

/// Two of four lose their whole databases, just after a decision, and keep the file with their signing state. They fetch the chain
/// and sign again; the checker verifies that they contradict nothing (I1).
#[test]
fn two_of_four_lose_everything_after_a_decision() -> Checked {
    let mut c = World::new(idle(4));
    c.run_until_height(10, MINUTE)?;
    let height = c.checker_height() + 1;
    c.run_until("the decision", SOON, |c| (0..4).any(|node| c.tip(node).0 == height))?;
    let announced = c.block_id(height);
    let nothing = Backup { disk: MemDisk::new(), signed: SignState::default() };
    for node in [2, 3] {
        c.kill(node);
        c.restore(node, &nothing, SigningState::Kept);
        c.restart(node);
    }
    c.run_until("they have fetched the chain", SOON, |c| c.tip(2) >= c.tip(0) && c.tip(3) >= c.tip(0))?;
    assert_eq!(c.block_id(height), announced);
    c.expect_progress(5, MINUTE)?;
    c.run_until("both sign again", MINUTE, |c| [2, 3].iter().all(|node| c.signed(*node, c.checker_height() - 2)))
}
