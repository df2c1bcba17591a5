//! The state before the first block.
//!
//! A chain may start with millions of accounts, so their rows are not held in memory: only the data to create them,
//! sorted by path.

use std::collections::BTreeMap;

use prost::Message;
use thiserror::Error;
use types::{Address, ConsensusPublicKey, Hash, Height, Params, Power, Reader, Version, pb};

use crate::{
    app::app_hash,
    state::{NEVER_REVERTED, Operator, key},
    tree::{
        EMPTY_ROOT, Tree,
        rows::{Path, path_of, row_key, row_value},
    },
    view::View,
};

/// The rows of the first state, and its app hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstState {
    /// Accounts with a balance, in ascending order of their paths.
    accounts: Vec<FirstAccount>,
    /// All rows except those of accounts.
    others: BTreeMap<Vec<u8>, Vec<u8>>,
    /// App hash of the first state, which is part of the first header.
    pub app_hash: Hash,
}

/// Data of 64 bytes from which the row of an account is created on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FirstAccount {
    path: Path,
    address: Address,
    balance: u64,
}

/// A validator of the first height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstValidator {
    /// Consensus key of the validator.
    pub public_key: ConsensusPublicKey,
    /// Voting power of the validator.
    pub power: Power,
    /// Account that votes with this power on proposals, if there is one.
    pub operator: Option<Address>,
}

/// The reason why accounts and validators are not a valid first state.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FirstStateError {
    /// The same account is the operator of two validators.
    #[error("account {0} is the operator of two validators")]
    Operator(Address),
    /// The total power is too large.
    #[error("the powers exceed {max}", max = types::limits::POWER_TOTAL_MAX)]
    PowerOverflow,
    /// The same address occurs twice.
    #[error("account {0} is listed twice")]
    Duplicate(Address),
    /// The all-zero address, which belongs to no key.
    #[error("account {0}: this address can belong to no key")]
    BadAddress(Address),
    /// The sum of the balances does not fit into 64 bits.
    #[error("with account {0} the balances exceed {max}", max = u64::MAX)]
    SupplyOverflow(Address),
}

/// Creates the first state from the parameters, the validators and the balances.
///
/// Cost: 64 bytes and about three hashes per account, and during the call the 41 bytes per account of the tree.
///
/// Errors: [`FirstStateError`] with what is invalid.
pub fn genesis_writes(
    params: &Params,
    validators: &[FirstValidator],
    accounts: impl IntoIterator<Item = (Address, u64)>,
) -> Result<FirstState, FirstStateError> {
    let mut supply = 0_u64;
    let mut first = Vec::new();
    for (address, balance) in accounts {
        if address == Address::default() {
            return Err(FirstStateError::BadAddress(address));
        }
        supply = supply.checked_add(balance).ok_or(FirstStateError::SupplyOverflow(address))?;
        first.push(FirstAccount { path: path_of(&key::account(&address)), address, balance });
    }
    first.sort_unstable_by_key(|account| account.path);
    if let Some(pair) = first.windows(2).find(|pair| pair[0].path == pair[1].path) {
        return Err(FirstStateError::Duplicate(pair[0].address));
    }
    // An account of all zeros is never stored.
    first.retain(|account| account.balance > 0);
    let nothing: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut view = View::of_state(&nothing);
    view.set_params(params);
    view.set_supply(supply);
    view.set_fee_pool(0);
    set_validators(&mut view, validators)?;
    let others = view.writes().0.into_iter().filter_map(|(row, value)| Some((row, value?))).collect();
    let mut state = FirstState { accounts: first, others, app_hash: EMPTY_ROOT };
    let root = Tree::open(NEVER_REVERTED, &Scanned(&state)).root();
    state.app_hash = app_hash(&root, &EMPTY_ROOT);
    Ok(state)
}

fn set_validators(
    view: &mut View<'_, BTreeMap<Vec<u8>, Vec<u8>>>,
    validators: &[FirstValidator],
) -> Result<(), FirstStateError> {
    let mut total = Power::ZERO;
    for FirstValidator { public_key, power, operator } in validators {
        total = total.checked_add(*power).ok_or(FirstStateError::PowerOverflow)?;
        let Some(operator) = operator else { continue };
        if view.operator(operator).is_some() {
            return Err(FirstStateError::Operator(*operator));
        }
        view.set_operator(operator, &Operator { public_key: *public_key, power: *power });
    }
    view.set_power_total(total);
    Ok(())
}

impl FirstState {
    /// Returns the rows to store in an empty store, in ascending order.
    pub fn rows(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let mut accounts = self.accounts.iter().map(FirstAccount::row).peekable();
        let mut others = self.others.iter().map(|(row, value)| (row.clone(), value.clone())).peekable();
        std::iter::from_fn(move || match (accounts.peek(), others.peek()) {
            (Some((account, _)), Some((other, _))) if account > other => others.next(),
            (Some(_), _) => accounts.next(),
            (None, _) => others.next(),
        })
    }
}

impl FirstAccount {
    fn row(&self) -> (Vec<u8>, Vec<u8>) {
        let value = pb::Account { balance: self.balance, nonce: 0 }.encode_to_vec();
        (row_key(NEVER_REVERTED, &self.path), row_value(&key::account(&self.address), &value))
    }
}

/// A reader for opening the tree, which scans the rows and gets none by key.
struct Scanned<'a>(&'a FirstState);

impl Reader for Scanned<'_> {
    fn version(&self, key: &[u8]) -> Option<Version> {
        self.0.rows().find(|(row, _)| row == key).map(|(_, value)| (Height::GENESIS, Some(value)))
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        for (row, value) in self.0.rows().filter(|(row, _)| row.starts_with(prefix) && &row[..] >= from) {
            if !visit(&row, &value) {
                return;
            }
        }
    }

    fn unreadable(&self, _: &[u8], reason: &str) {
        unreachable!("rows that were just made: {reason}")
    }
}
