//! Rounds without end, each with a block of its own.

use std::time::Duration;

use super::stage::{Stage, ms, tx};
use crate::{broken::Broken, setup::Setup, world::World};
use types::{Address, Msg, Round, TxOrder};

/// Creates four validators whose clocks differ by more than the chain allows: none finds the proposal of another one timely, so
/// each round ends in nil.
pub fn four_clocks(stage: &Stage, mut setup: Setup) -> World {
    // The message delay grows with the rounds, up to 14 s in round 100.
    setup.params.synchrony.message_delay = ms(1);
    let mut c = stage.world(setup);
    (0..4).for_each(|node| c.set_clock(node, 100_000 * node as i64));
    c
}

/// The memory of a height does not grow with its rounds (I6).
pub(super) fn rounds_without_end(stage: &Stage) -> Result<(), Broken> {
    let mut c = four_clocks(stage, Setup::validators(4));
    c.run_until("round 150", Duration::from_secs(3600), |c| c.round(0) >= Round(150))
}

/// The memory for blocks does not grow either: each round names its own full block, and none is decided (I6).
pub(super) fn full_blocks_without_end(stage: &Stage) -> Result<(), Broken> {
    let mut setup = Setup { tx_interval: None, ..Setup::validators(4) };
    setup.params.block.bytes_max = 65_536;
    let mut c = four_clocks(stage, setup);
    (0..4).for_each(|node| assert!((0..90).all(|n| c.submit(node, &large_tx(n)))));
    c.run_until("round 120", Duration::from_secs(3600), |c| c.round(0) >= Round(120))
}

/// Returns transaction `n` of an account of the world, of maximum size.
pub(super) fn large_tx(n: u64) -> Vec<u8> {
    let messages = (0..16).map(|to| Msg::Transfer { to: Address([1 + to; 20]), amount: 1 + n }).collect();
    tx(TxOrder::Nonce(n), messages)
}
