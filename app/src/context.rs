//! The properties of a block, apart from its transactions.

use types::{Address, Height, Misbehavior, Time};

/// The properties of a block on which its execution depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockContext {
    /// Height of the block: the one after the state's height.
    pub height: Height,
    /// Time in the header of the block.
    pub time: Time,
    /// Address of the validator that proposed the block.
    pub proposer: Address,
    /// What validators did according to the evidence in the block, in its order. All nodes have verified it, and no
    /// earlier block had the same.
    pub misbehavior: Vec<Misbehavior>,
    /// Addresses of the validators that signed nothing in the last commit, in the order of their set, which is that of the
    /// height before.
    pub absent: Vec<Address>,
}
