//! A validator whose disk was put back from an old copy.

use std::time::Duration;

use super::{
    locks::{HiddenLock, hidden_lock},
    stage::{MINUTE, SOON, Stage, ms},
};
use crate::{
    broken::Broken,
    setup::Setup,
    world::{Backup, SigningState, World},
};
use types::{PeerMessage, Step};

/// A validator is locked, and its disk is put back from a copy of the time before. Its signing state says that it signed at this
/// height, and not what it locked: it signs nothing at this height (G5).
pub(super) fn forgotten_lock(stage: &Stage) -> Result<(), Broken> {
    let copy = std::cell::RefCell::new(None);
    let keep = |c: &mut World, node: usize| drop(copy.replace(Some(c.backup(node))));
    let HiddenLock { mut c, height, locked, late, others } = hidden_lock(stage, Setup::validators(4), 3, keep)?;
    c.kill(locked);
    c.restore(locked, &copy.take().expect("it was copied"), SigningState::Kept);
    // The late one stays away, so that the others need the restored one.
    others.iter().for_each(|peer| c.cut(late, *peer, true));
    c.restart(locked);
    others.iter().for_each(|peer| c.cut(locked, *peer, false));
    c.run_for(Duration::from_secs(20))?;
    others.iter().for_each(|peer| (c.cut(late, *peer, false), c.cut(*peer, late, false)).0);
    c.cut(locked, late, false);
    c.run_until("the height is decided", MINUTE, |c| c.checker_height() >= height)
}

/// A validator has voted at a height that waits for another one. Its disk is put back from an old copy, and its signing state is
/// lost: it signs nothing at this height (G1).
pub(super) fn lost_state(stage: &Stage) -> Result<(), Broken> {
    let mut c = stage.world(super::stage::idle(4));
    c.run_until_height(10, MINUTE)?;
    let copy: Backup = c.backup(3);
    c.run_until_height(13, MINUTE)?;
    c.kill(2);
    c.kill(1);
    c.run_until("it has prevoted", SOON, |c| c.step(3) >= Step::Prevote && c.height(3) > c.tip(3))?;
    c.kill(3);
    c.restore(3, &copy, SigningState::Lost);
    // It receives no proposal in its second life, so it would prevote nil.
    c.hold(|parcel| {
        parcel.to == 3 && matches!(*parcel.message, PeerMessage::Proposal(_) | PeerMessage::Certificate(_))
    });
    c.restart(3);
    c.run_for(Duration::from_secs(20))?;
    c.stop_holding();
    c.run_for(ms(1000))?;
    c.restart_all();
    c.expect_progress(5, MINUTE)
}
