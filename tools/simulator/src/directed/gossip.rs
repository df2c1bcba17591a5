//! Messages that reach a node only through another one, or in a second attempt.

use super::stage::{MINUTE, SOON, Stage, account, idle, ms, tx, until};
use crate::{broken::Broken, setup::Setup, world::World};
use types::{Msg, PeerMessage, Round, Step, TxOrder};

/// Four validators on a quiet network decide ten heights per second: no block waits for a gossip interval.
pub(super) fn quiet(stage: &Stage) -> Result<(), Broken> {
    let mut c = stage.world(idle(4));
    c.run_until_height(20, ms(4000))
}

/// A validator whose only link leads to its sentry signs each height, although three others are enough.
pub(super) fn behind_a_sentry(stage: &Stage) -> Result<(), Broken> {
    let mut setup = Setup { behind: [(0, 4)].into(), ..idle(4).with_full_nodes(1) };
    setup.config.empty_block_interval = Some(ms(50));
    let mut c = stage.world(setup);
    c.run_until_height(10, MINUTE)?;
    let from = c.tip(1).0;
    c.run_until_height(from + 40, MINUTE)?;
    let missed: Vec<u64> = (from..from + 40).filter(|height| !c.signed(0, *height)).collect();
    match missed.is_empty() {
        true => Ok(()),
        false => Err(Broken(format!("liveness: a validator behind a sentry misses the heights {missed:?}"))),
    }
}

/// The proposer of a block of several parts sends it to one node and stops: the others have it from there, in round 0.
pub(super) fn one_holder(stage: &Stage) -> Result<(), Broken> {
    let mut setup = idle(4);
    setup.config.block_interval_min = ms(300);
    setup.config.empty_block_interval = Some(ms(300));
    let mut c = stage.world(setup);
    c.run_until("rest", SOON, |c| {
        let tip = c.checker_height();
        tip >= 3 && (0..4).all(|node| c.tip(node).0 == tip && c.height(node).0 == tip)
    })?;
    let (height, proposer) = (c.checker_height() + 1, c.next_proposer(0, Round(0)));
    let to = account(1);
    let large = |n| tx(TxOrder::Nonce(n), vec![Msg::Transfer { to, amount: 1 }; 16]);
    (0..4).for_each(|node| assert!((0..300).all(|n| c.submit(node, &large(n)))));
    let holder = (proposer + 1) % 4;
    c.hold(move |parcel| {
        let is_part = matches!(*parcel.message, PeerMessage::Part { .. });
        is_part && parcel.from == proposer && parcel.to != holder
    });
    let has_it = |c: &World| c.height(holder).0 == height && c.step(holder) >= Step::Prevote;
    c.run_until("the holder has it", SOON, has_it)?;
    c.kill(proposer);
    let others: Vec<usize> = (0..4).filter(|node| *node != proposer).collect();
    until(&mut c, &others, height)?;
    c.run_until("the holder announces it", SOON, |c| c.committed(holder, height).is_some())?;
    match c.committed(holder, height).expect("it is decided").commit.round {
        Round::ZERO => Ok(()),
        round => {
            Err(Broken(format!("liveness: a block that one node holds is decided in round {round}, not in round 0")))
        }
    }
}
