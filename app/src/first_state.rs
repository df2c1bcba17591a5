//! The state before the first block.
//!
//! A chain may start with millions of accounts, so their rows are not held in memory: only the data to create them,
//! sorted by path.

use std::collections::BTreeMap;

use prost::Message;
use thiserror::Error;
use types::{
    Address, Commission, ConsensusPublicKey, Deadline, Description, Hash, Height, Params, Power, Reader, StakingParams,
    Time, Version, pb,
};

use crate::{
    app::app_hash,
    kv::At,
    staking::{self, Delegation, Pools, Staked, StakedValidator},
    state::{NEVER_REVERTED, key},
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
    /// Account that operates the validator and owns its stake; `None` for the address of the consensus key.
    pub operator: Option<Address>,
}

/// The reason why accounts and validators are not a valid first state.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FirstStateError {
    /// The same account is the operator of two validators.
    #[error("account {0} is the operator of two validators")]
    Operator(Address),
    /// The same consensus key occurs twice.
    #[error("the key of {0} is that of two validators")]
    Key(Address),
    /// There are more validators than a set may have.
    #[error("{got} validators, the parameters allow {max}")]
    TooMany {
        /// Number of the validators that were given.
        got: usize,
        /// Maximum number of validators in a set.
        max: u64,
    },
    /// The total power is too large.
    #[error("the powers exceed {max}", max = types::limits::POWER_TOTAL_MAX)]
    PowerOverflow,
    /// The same address occurs twice.
    #[error("account {0} is listed twice")]
    Duplicate(Address),
    /// The all-zero address, which belongs to no key.
    #[error("account {0}: this address can belong to no key")]
    BadAddress(Address),
    /// The sum of the balances and the stake does not fit into 64 bits.
    #[error("with account {0} the balances and the stake exceed {max}", max = u64::MAX)]
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
    let stake = set_validators(&mut view, params, validators, supply)?;
    view.set_supply(supply + stake);
    view.set_fee_pool(0);
    let rows = view.writes().0.into_iter().chain(view.list_writes());
    let others = rows.filter_map(|(row, value)| Some((row, value?))).collect();
    let mut state = FirstState { accounts: first, others, app_hash: EMPTY_ROOT };
    let root = Tree::open(NEVER_REVERTED, &Scanned(&state)).root();
    state.app_hash = app_hash(&root, &EMPTY_ROOT);
    Ok(state)
}

/// Creates the validators, each with its power in stake of its operator, and returns the stake of all. `supply` is that of the
/// accounts.
fn set_validators(
    view: &mut View<'_, BTreeMap<Vec<u8>, Vec<u8>>>,
    params: &Params,
    validators: &[FirstValidator],
    supply: u64,
) -> Result<u64, FirstStateError> {
    let (staking, max) = (&params.staking, params.staking.validators_max);
    if validators.len() as u64 > max {
        return Err(FirstStateError::TooMany { got: validators.len(), max });
    }
    let (mut total, mut stake) = (Power::ZERO, 0_u64);
    let mut staked = Staked::default();
    for first in validators {
        let (operator, consensus) = (first.operator(), first.public_key.address());
        total = total.checked_add(first.power).ok_or(FirstStateError::PowerOverflow)?;
        let tokens = first.power.0.checked_mul(staking.power_unit);
        let with = tokens.and_then(|tokens| stake.checked_add(tokens));
        stake = with
            .filter(|stake| supply.checked_add(*stake).is_some())
            .ok_or(FirstStateError::SupplyOverflow(operator))?;
        if view.validator(&operator).is_some() {
            return Err(FirstStateError::Operator(operator));
        }
        if view.key_owner(&consensus).is_some() {
            return Err(FirstStateError::Key(consensus));
        }
        create_first(view, first, staking);
        staked.changed.insert(operator);
    }
    // No block has closed a batch before, and no time counts: the first set has all of them.
    let at = At { height: Height::GENESIS, time: Time::UNIX_EPOCH, params };
    staking::end(view, &at, staked, &mut Vec::new());
    staking::start(view);
    Ok(stake)
}

fn create_first(view: &mut View<'_, BTreeMap<Vec<u8>, Vec<u8>>>, first: &FirstValidator, staking: &StakingParams) {
    let (operator, tokens) = (first.operator(), first.power.0 * staking.power_unit);
    let bps = |bps: u64| u32::try_from(bps).unwrap_or(u32::MAX);
    let commission = Commission {
        rate_bps: bps(staking.commission_bps_min),
        max_bps: bps(staking.commission_bps_max),
        rise_max_bps: bps(staking.commission_bps_max),
    };
    let start = Deadline::at(Time::UNIX_EPOCH);
    let (key, own_min) = (first.public_key, staking.own_stake_min);
    let mut validator = StakedValidator::new(key, Description::default(), commission, own_min, start);
    let shares = validator.add(tokens).expect("a new validator takes stake");
    view.set_validator(&operator, Some(&validator));
    view.set_key_owner(&key.address(), Some(&operator));
    view.set_delegation(&operator, &operator, &Delegation { shares, ..Delegation::default() });
    let pools = view.pools();
    view.set_pools(Pools { bonded: pools.bonded + tokens, ..pools });
}

impl FirstValidator {
    /// Returns the account that operates the validator.
    pub fn operator(&self) -> Address {
        self.operator.unwrap_or_else(|| self.public_key.address())
    }
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
