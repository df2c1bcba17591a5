//! What a block changed about stake so far, from which its end computes the set.

use std::collections::{BTreeMap, BTreeSet};

use types::{Address, ConsensusPublicKey};

/// What the transactions of a block changed about stake.
#[derive(Default)]
pub(crate) struct Staked {
    /// Operators of the validators whose tokens or jail changed, or may have: a failed transaction leaves its own here.
    pub changed: BTreeSet<Address>,
    /// The consensus keys of the last block of validators that replaced theirs. A failed transaction leaves its own here:
    /// then the key is still that of the validator.
    pub rotated: BTreeMap<Address, ConsensusPublicKey>,
    /// True if the block changed parameters, on which the set may depend.
    pub has_new_params: bool,
}
