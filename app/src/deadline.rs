//! The time at which the next block is needed, whatever its transactions are.

use types::{Reader, Time};

use crate::{proposals, staking, view::View};

/// Returns the earliest time at which a block decides something about proposals or stake, whatever its transactions are. It
/// may have passed: then the next block decides.
///
/// Cost: three reads, and one for each open proposal.
pub fn earliest_deadline<R: Reader + ?Sized>(reader: &R) -> Option<Time> {
    let mut view = View::of_state(reader);
    let [proposals, stake] = [proposals::earliest_deadline(&mut view), staking::earliest_deadline(&mut view)];
    [proposals, stake].into_iter().flatten().min()
}
