//! The state before the first block.

use std::collections::BTreeMap;

use thiserror::Error;
use types::{Address, Hash, Params, WriteSet};

use crate::{
    app::app_hash,
    state::{Account, NEVER_REVERTED},
    tree::{EMPTY_ROOT, Tree},
    view::View,
};

/// The rows of the first state, and what it hashes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstState {
    /// Rows to store in an empty store.
    pub writes: WriteSet,
    /// Stands in the first header.
    pub app_hash: Hash,
}

/// Why accounts do not make a first state.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FirstStateError {
    /// One address twice.
    #[error("account {0} is there twice")]
    Duplicate(Address),
    /// The all-zero address, which nobody can own.
    #[error("account {0}: nobody can own this address")]
    BadAddress(Address),
    /// The sum does not fit.
    #[error("with account {0} the balances exceed {max}", max = u64::MAX)]
    SupplyOverflow(Address),
}

/// The first state: these parameters and these balances.
///
/// Errors: [`FirstStateError`] with the account.
pub fn genesis_writes(
    params: &Params,
    accounts: impl IntoIterator<Item = (Address, u64)>,
) -> Result<FirstState, FirstStateError> {
    let nothing: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut balances = BTreeMap::new();
    let mut supply = 0_u64;
    for (address, balance) in accounts {
        if address == Address::default() {
            return Err(FirstStateError::BadAddress(address));
        }
        if balances.insert(address, balance).is_some() {
            return Err(FirstStateError::Duplicate(address));
        }
        supply = supply.checked_add(balance).ok_or(FirstStateError::SupplyOverflow(address))?;
    }
    let mut view = View::of_state(&nothing);
    for (address, balance) in balances {
        view.set_account(&address, Account { balance, nonce: 0 });
    }
    view.set_params(params);
    view.set_supply(supply);
    view.set_fee_pool(0);
    let writes = view.writes();
    let root = Tree::new(NEVER_REVERTED).update(&nothing, &writes).root();
    Ok(FirstState { writes, app_hash: app_hash(&root, &EMPTY_ROOT) })
}
