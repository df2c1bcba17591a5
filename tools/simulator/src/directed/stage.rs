//! What directed scenarios share: the world with its broken rule, times, transactions, and a world without clients.

use std::{cell::RefCell, time::Duration};

use replica::Config;
use types::{Address, ChainId, Msg, Params, SecretKey, TxBody, TxOrder, Wire};

use crate::{
    broken::Broken, liar::Behaviour, mutation::Mutation, network::LinkSetup, setup::Setup, story::Story, world::World,
};

/// Time within which a world without faults reaches what a scenario waits for.
pub const SOON: Duration = Duration::from_secs(20);

/// Maximum time that a scenario with restarts waits for anything.
pub const MINUTE: Duration = Duration::from_secs(60);

/// The broken rule of a scenario, and the receiver of the events of its first world.
pub struct Stage {
    mutation: Option<Mutation>,
    story: RefCell<Option<Story>>,
}

impl Stage {
    /// Creates a stage for a scenario.
    pub fn new(mutation: Option<Mutation>, story: Story) -> Self {
        Self { mutation, story: RefCell::new(Some(story)) }
    }

    /// Creates a world in which the rule is broken.
    pub fn world(&self, setup: Setup) -> World {
        let mut world = World::new(setup.with_mutation(self.mutation));
        world.story = self.story.take().unwrap_or_default();
        world
    }

    /// Creates four correct validators, and a node without stake with this behaviour, which does not run yet.
    pub fn four_and(&self, stranger: Behaviour) -> World {
        self.world(idle(4).with_strangers(1, stranger))
    }
}

/// Returns a number of milliseconds.
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

/// Returns true if these nodes have decided a height.
pub fn reached(c: &World, nodes: &[usize], height: u64) -> bool {
    nodes.iter().all(|node| c.tip(*node).0 >= height)
}

/// Runs the world until these nodes have decided `height`; the others do not count.
///
/// Errors: [`Broken`] with the violated condition, or if it takes longer than a minute.
pub fn until(c: &mut World, nodes: &[usize], height: u64) -> Result<(), Broken> {
    c.run_until(&format!("height {height} at {nodes:?}"), MINUTE, |c| reached(c, nodes, height))
}

/// Returns the address of a funded account of a world.
pub fn account(number: u8) -> Address {
    SecretKey::from_bytes(&[100 + number; 32]).expect("a small number is a key").public_key().address()
}

/// Returns a transaction from the first account of a world.
pub fn tx(order: TxOrder, messages: Vec<Msg>) -> Vec<u8> {
    let key = SecretKey::from_bytes(&[100; 32]).expect("a small number is a key");
    let chain_id = ChainId::new("cairn-simulated").expect("a name");
    TxBody { chain_id, signer: key.public_key(), order, fee: 1, messages }.sign(&key).encode()
}
