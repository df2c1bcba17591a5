//! What the scenarios share: times, transactions, and a world without clients.
#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use replica::Config;
use simulator::{Broken, Setup, World, network::LinkSetup};
use types::{ChainId, Msg, Params, SecretKey, TxBody, TxOrder, Wire};

pub type Checked = Result<(), Broken>;

/// Time within which a world without faults reaches what a scenario waits for.
pub const SOON: Duration = Duration::from_secs(20);

/// Maximum time that a scenario with restarts waits for anything.
pub const MINUTE: Duration = Duration::from_secs(60);

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Creates a world without clients, whose validators decide ten heights per second. All other settings of the nodes and
/// of the chain are the defaults. A message takes 0.5 to 1 ms.
pub fn idle(validators: usize) -> Setup {
    let delay = Duration::from_micros(500);
    Setup {
        tx_interval: None,
        params: Params::default(),
        links: LinkSetup { delay_min: delay, delay_max: delay, ..LinkSetup::quiet() },
        config: Config { empty_block_interval: Some(ms(100)), ..Config::default() },
        ..Setup::validators(validators)
    }
}

pub fn reached(c: &World, nodes: &[usize], height: u64) -> bool {
    nodes.iter().all(|node| c.tip(*node).0 >= height)
}

/// Runs the world until these nodes have decided `height`; the others do not count.
pub fn until(c: &mut World, nodes: &[usize], height: u64) -> Checked {
    c.run_until(&format!("height {height} at {nodes:?}"), MINUTE, |c| reached(c, nodes, height))
}

/// Returns a transaction from the first account of a world.
pub fn tx(order: TxOrder, messages: Vec<Msg>) -> Vec<u8> {
    let key = SecretKey::from_bytes(&[100; 32]).expect("a small number is a key");
    let chain_id = ChainId::new("cairn-simulated").expect("a name");
    TxBody { chain_id, signer: key.public_key(), order, fee: 1, messages }.sign(&key).encode()
}
