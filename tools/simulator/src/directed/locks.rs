//! One validator alone is locked on the block of round 0.

use std::time::Duration;

use super::stage::{SOON, Stage, ms};
use crate::{broken::Broken, setup::Setup, world::World};
use types::{Height, PeerMessage, Round, Step};

/// A height in which one validator alone has locked the block of round 0: it received all messages, but none of its
/// messages arrived. Two others are in round 1 and know no polka. The late one has precommitted nil in round 0 and
/// receives no messages.
pub struct HiddenLock {
    /// The world at this point of the height.
    pub c: World,
    /// The height that is being decided.
    pub height: u64,
    /// The node that is locked.
    pub locked: usize,
    /// The node that is still in round 0.
    pub late: usize,
    /// The nodes in round 1.
    pub others: [usize; 2],
}

/// Creates the situation; the validator that locks alone is the proposer of round `turn`. `before` sees the world before the
/// height starts.
///
/// Errors: [`Broken`] with the violated condition.
pub fn hidden_lock(
    stage: &Stage,
    setup: Setup,
    turn: usize,
    before: impl FnOnce(&mut World, usize),
) -> Result<HiddenLock, Broken> {
    let mut c = stage.world(Setup { tx_interval: Some(SOON), ..setup });
    c.run_until_height(3, SOON)?;
    let tip = c.checker_height();
    c.run_until("all rest between two heights", SOON, |c| (0..4).all(|node| c.tip(node) == Height(tip)))?;
    let mut turns: Vec<usize> = (0..4).map(|round| c.next_proposer(0, Round(round))).collect();
    let locked = turns.remove(turn);
    let [proposer, late, other] = turns[..] else { unreachable!("three are left") };
    let others = [proposer, other];
    before(&mut c, locked);
    // No message of the locked node arrives. The late node receives nothing from the two others, so it misses the
    // proposal, and its messages do not arrive yet.
    [proposer, late, other].iter().for_each(|to| c.cut(locked, *to, true));
    others.iter().for_each(|peer| c.cut(*peer, late, true));
    others.iter().for_each(|peer| c.cut(late, *peer, true));
    c.run_until("it precommits alone, and the late one prevotes nil", SOON, |c| {
        let is_at = |node: usize, step: Step| c.height(node) == Height(tip + 1) && c.step(node) == step;
        is_at(locked, Step::Precommit) && is_at(late, Step::Prevote)
    })?;
    // The late node receives two prevotes and gives the round up; then the others receive its precommit.
    others.iter().for_each(|peer| c.cut(*peer, late, false));
    c.run_until("the late one precommits nil", SOON, |c| c.step(late) == Step::Precommit)?;
    others.iter().for_each(|peer| c.cut(*peer, late, true));
    others.iter().for_each(|peer| c.cut(late, *peer, false));
    c.run_until("the round fails", SOON, |c| others.iter().all(|node| c.round(*node) == Round(1)))?;
    Ok(HiddenLock { c, height: tip + 1, locked, late, others })
}

/// Without the late node, no block is decided without the locked one. The locked node shows the polka from the first
/// failed round on, so the next running proposer proposes its block in round 2, before its own turn in round 3 (D4, D6).
pub(super) fn hidden_lock_is_shown(stage: &Stage) -> Result<(), Broken> {
    let HiddenLock { mut c, height, locked, late, others } = hidden_lock(stage, Setup::validators(4), 3, |_, _| {})?;
    c.crash(late, 0);
    others.iter().for_each(|to| c.cut(locked, *to, false));
    c.run_until("the height is decided", SOON, |c| c.checker_height() >= height)?;
    let round = (0..4).map(|node| c.round(node)).max();
    match round <= Some(Round(2)) {
        true => Ok(()),
        false => Err(Broken(format!("liveness: a hidden lock is shown in round {round:?}, and not in round 2"))),
    }
}

/// The others prevote nil in round 1 and propose another block in round 2: the lock stays, despite a quorum of nil
/// votes (L44).
pub(super) fn quorum_of_nils(stage: &Stage) -> Result<(), Broken> {
    let HiddenLock { mut c, height, locked, late, others } = hidden_lock(stage, Setup::validators(4), 1, |_, _| {})?;
    others.iter().for_each(|from| c.cut(*from, late, false));
    let reached = |c: &World, node: usize| (c.round(node), c.step(node)) >= (Round(2), Step::Prevote);
    c.run_until("votes of round 2", SOON, |c| (0..4).all(|node| reached(c, node)))?;
    [others[0], others[1], late].iter().for_each(|to| c.cut(locked, *to, false));
    c.run_until_height(height, SOON)
}

/// The locked validator loses power and starts again. The others know no polka and propose another block: it keeps its lock.
pub(super) fn lock_after_a_restart(stage: &Stage) -> Result<(), Broken> {
    let HiddenLock { mut c, height, locked, late, others } = hidden_lock(stage, Setup::validators(4), 3, |_, _| {})?;
    c.crash(locked, 0);
    c.restart(locked);
    // The others would have the polka with its prevote of round 0, and then no reason to propose another block.
    c.hold(move |parcel| {
        let is_of_round_0 = match &*parcel.message {
            PeerMessage::Vote(signed) => signed.vote.round == Round(0),
            PeerMessage::Certificate(certificate) => certificate.round() == Round(0),
            _ => false,
        };
        parcel.from == locked && is_of_round_0
    });
    c.heal();
    let decided = |c: &World| [others[0], others[1], late].iter().all(|node| c.tip(*node).0 >= height);
    c.run_until("another block is decided", SOON, decided)
}

/// Three validators have gone through forty rounds without one that received nothing, and that is needed when it is back: it joins
/// their round, although they have forgotten round 0 (L55).
pub(super) fn forty_rounds_behind(stage: &Stage) -> Result<(), Broken> {
    let mut c = stage.world(Setup { tx_interval: None, ..Setup::validators(4) });
    c.run_until_height(3, SOON)?;
    for peer in 0..3 {
        c.cut(peer, 3, true);
        c.cut(3, peer, true);
    }
    c.hold(|parcel| matches!(*parcel.message, PeerMessage::Proposal(_)));
    c.run_until("round 40", Duration::from_secs(3600), |c| (0..3).all(|node| c.round(node) >= Round(40)))?;
    c.stop_holding();
    c.kill(2);
    for peer in 0..3 {
        c.cut(peer, 3, false);
        c.cut(3, peer, false);
    }
    let tip = c.checker_height();
    c.run_until("a decision with it", Duration::from_secs(60), |c| c.checker_height() > tip)
}

/// A block gets a polka in round 0, and later rounds name so many other blocks that its bytes are evicted. When it is
/// proposed again with its polka, a validator must fetch it again before it precommits it (I4).
pub(super) fn evicted_block(stage: &Stage) -> Result<(), Broken> {
    let mut setup = Setup::validators(4);
    setup.params.synchrony.message_delay = ms(1000);
    let HiddenLock { mut c, height, locked, late, others } = hidden_lock(stage, setup, 3, |_, _| {})?;
    // Three validators are enough for a round, and two of them find no proposal timely: each round fails with its
    // own block.
    c.set_clock(late, 10_000);
    others.iter().for_each(|peer| c.cut(*peer, late, false));
    let three = [others[0], others[1], late];
    c.run_until("round 16", Duration::from_secs(300), |c| three.iter().all(|node| c.round(*node) >= Round(16)))?;
    three.iter().for_each(|to| c.cut(locked, *to, false));
    c.run_until("the height is decided", Duration::from_secs(300), |c| c.checker_height() >= height)
}
