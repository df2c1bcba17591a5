//! The state before the first block.
//!
//! A chain may start with millions of accounts, so their rows are not held in memory: only the data to create them,
//! sorted by path.

use std::collections::BTreeMap;

use prost::Message;
use thiserror::Error;
use types::{
    Address, Commission, ConsensusPublicKey, Deadline, Description, Hash, Height, Params, Power, Reader, StakingParams,
    Time, Version, limits::POWER_TOTAL_MAX, pb,
};

use crate::{
    app::app_hash,
    kv::At,
    staking::{self, Delegation, Jail, JailReason, Staked, StakedValidator},
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

/// The stake of a chain at its start, apart from that of the validators of [`FirstValidator`]; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstStake {
    /// Terms of validators: of those of the first height, and of all others.
    pub terms: Vec<FirstTerms>,
    /// What accounts have at validators. The stake of a validator is the sum of its delegations; without any, it is its
    /// power times `staking.power_unit`, of its operator.
    pub delegations: Vec<FirstDelegation>,
    /// Money of the community.
    pub community: u64,
    /// Fees that were collected before the first block.
    pub fee_pool: u64,
}

/// What a validator is beside its key and its power.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstTerms {
    /// Account that operates the validator.
    pub operator: Address,
    /// Consensus key of a validator that is not one of the first height; `None` for one that is.
    pub public_key: Option<ConsensusPublicKey>,
    /// Share of the rewards that the operator keeps; `None` for the bounds of the parameters.
    pub commission: Option<Commission>,
    /// Minimum of the operator's own stake; `None` for that of the parameters.
    pub own_min: Option<u64>,
    /// Description of the validator for people.
    pub description: Description,
    /// Why it is in jail, if it is. Its operator can end the jail at once, if the own stake is sufficient.
    pub jailed: Option<JailReason>,
}

/// What an account has at a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstDelegation {
    /// Owner of the stake.
    pub delegator: Address,
    /// Operator of the validator.
    pub validator: Address,
    /// Amount of the stake, at least 1.
    pub amount: u64,
}

/// A validator whose stake gives it another power in the first set than it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherPower {
    /// Account that operates the validator.
    pub operator: Address,
    /// Power that was given; 0 for a validator that is not one of the first height.
    pub given: Power,
    /// Power that follows from the stake of all validators.
    pub computed: Power,
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
    /// A validator has stake or terms, but no consensus key.
    #[error("account {0} is not the operator of a validator")]
    NoValidator(Address),
    /// A delegation is one of nothing, or the same account delegates to a validator twice.
    #[error("account {0} delegates nothing to a validator, or delegates to it twice")]
    Delegation(Address),
    /// The powers are not those that follow from the stake.
    #[error("the stake of {n} validators gives them another power than they have in the first set", n = .0.len())]
    Powers(Vec<OtherPower>),
    /// The total power is too large.
    #[error("the powers exceed {max}", max = POWER_TOTAL_MAX)]
    PowerOverflow,
    /// The same address occurs twice.
    #[error("account {0} is listed twice")]
    Duplicate(Address),
    /// The all-zero address, which belongs to no key.
    #[error("account {0}: this address can belong to no key")]
    BadAddress(Address),
    /// With the money that is no account's, the supply does not fit into 64 bits.
    #[error("with the collected fees and the community's money the supply exceeds {max}", max = u64::MAX)]
    PoolOverflow,
    /// The sum of the balances and the stake does not fit into 64 bits.
    #[error("with account {0} the balances and the stake exceed {max}", max = u64::MAX)]
    SupplyOverflow(Address),
}

/// Creates the first state from the parameters, the validators and the balances; the validators have no other stake than
/// their own.
///
/// Cost: that of [`first_state`].
///
/// Errors: those of [`first_state`].
pub fn genesis_writes(
    params: &Params,
    validators: &[FirstValidator],
    accounts: impl IntoIterator<Item = (Address, u64)>,
) -> Result<FirstState, FirstStateError> {
    first_state(params, validators, accounts, &FirstStake::default())
}

/// Creates the first state from the parameters, the validators, the balances and the stake.
///
/// Cost: 64 bytes and about three hashes per account, about 1 KiB per delegation, and during the call the 41 bytes per
/// account of the tree.
///
/// Errors: [`FirstStateError`] with what is invalid.
pub fn first_state(
    params: &Params,
    validators: &[FirstValidator],
    accounts: impl IntoIterator<Item = (Address, u64)>,
    stake: &FirstStake,
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
    set_stake(&mut view, params, validators, stake)?;
    let pools = view.pools();
    for amount in [pools.bonded, stake.community, stake.fee_pool] {
        supply = supply.checked_add(amount).ok_or(FirstStateError::PoolOverflow)?;
    }
    view.set_pools(staking::Pools { community: stake.community, ..pools });
    view.set_supply(supply);
    view.set_fee_pool(stake.fee_pool);
    let rows = view.writes().0.into_iter().chain(view.list_writes());
    let others = rows.filter_map(|(row, value)| Some((row, value?))).collect();
    let mut state = FirstState { accounts: first, others, app_hash: EMPTY_ROOT };
    let root = Tree::open(NEVER_REVERTED, &Scanned(&state)).root();
    state.app_hash = app_hash(&root, &EMPTY_ROOT);
    Ok(state)
}

type FirstView<'a> = View<'a, BTreeMap<Vec<u8>, Vec<u8>>>;

/// Creates the validators with their stake, and computes the first set.
fn set_stake(
    view: &mut FirstView<'_>,
    params: &Params,
    validators: &[FirstValidator],
    stake: &FirstStake,
) -> Result<(), FirstStateError> {
    let max = params.staking.validators_max;
    if validators.len() as u64 > max {
        return Err(FirstStateError::TooMany { got: validators.len(), max });
    }
    let terms: BTreeMap<Address, &FirstTerms> = stake.terms.iter().map(|terms| (terms.operator, terms)).collect();
    let mut given = BTreeMap::new();
    let mut total = Power::ZERO;
    for first in validators {
        let operator = first.operator();
        total = total.checked_add(first.power).ok_or(FirstStateError::PowerOverflow)?;
        create(view, &params.staking, operator, first.public_key, terms.get(&operator).copied())?;
        given.insert(operator, first.power);
    }
    for terms in &stake.terms {
        match terms.public_key {
            Some(key) if !given.contains_key(&terms.operator) => {
                create(view, &params.staking, terms.operator, key, Some(terms))?;
                given.insert(terms.operator, Power::ZERO);
            }
            Some(_) => return Err(FirstStateError::Operator(terms.operator)),
            None if !given.contains_key(&terms.operator) => return Err(FirstStateError::NoValidator(terms.operator)),
            None => {}
        }
    }
    for FirstDelegation { delegator, validator, amount } in &stake.delegations {
        delegate(view, delegator, validator, *amount)?;
    }
    for (operator, power) in &given {
        let has_none = view.validator(operator).is_some_and(|validator| validator.shares == 0);
        if has_none {
            let tokens = power.0.checked_mul(params.staking.power_unit);
            delegate(view, operator, operator, tokens.ok_or(FirstStateError::SupplyOverflow(*operator))?)?;
        }
    }
    if view.pools().bonded / params.staking.power_unit > POWER_TOTAL_MAX {
        return Err(FirstStateError::PowerOverflow);
    }
    // No block has closed a batch before, and no time counts: the first set has all of them.
    let at = At { height: Height::GENESIS, time: Time::UNIX_EPOCH, params };
    let staked = Staked { changed: given.keys().copied().collect(), ..Staked::default() };
    staking::end(view, &at, staked, &mut Vec::new());
    staking::start(view);
    let other = |(operator, given): (Address, Power)| {
        let computed = view.validator(&operator).map_or(Power::ZERO, |validator| validator.power);
        (computed != given).then_some(OtherPower { operator, given, computed })
    };
    let others: Vec<OtherPower> = given.into_iter().filter_map(other).collect();
    if others.is_empty() { Ok(()) } else { Err(FirstStateError::Powers(others)) }
}

/// Creates a validator without stake.
fn create(
    view: &mut FirstView<'_>,
    staking: &StakingParams,
    operator: Address,
    key: ConsensusPublicKey,
    terms: Option<&FirstTerms>,
) -> Result<(), FirstStateError> {
    if view.validator(&operator).is_some() {
        return Err(FirstStateError::Operator(operator));
    }
    if view.key_owner(&key.address()).is_some() {
        return Err(FirstStateError::Key(key.address()));
    }
    let bps = |bps: u64| u32::try_from(bps).unwrap_or(u32::MAX);
    let commission = terms.and_then(|terms| terms.commission).unwrap_or_else(|| Commission {
        rate_bps: bps(staking.commission_bps_min),
        max_bps: bps(staking.commission_bps_max),
        rise_max_bps: bps(staking.commission_bps_max),
    });
    let start = Deadline::at(Time::UNIX_EPOCH);
    let own_min = terms.and_then(|terms| terms.own_min).unwrap_or(staking.own_stake_min);
    let description = terms.map(|terms| terms.description.clone()).unwrap_or_default();
    let mut validator = StakedValidator::new(key, description, commission, own_min, start);
    validator.jail = terms.and_then(|terms| terms.jailed).map(|why| Jail { until: start, why });
    view.set_validator(&operator, Some(&validator));
    view.set_key_owner(&key.address(), Some(&operator));
    Ok(())
}

/// Adds a delegation to a validator.
fn delegate(
    view: &mut FirstView<'_>,
    delegator: &Address,
    operator: &Address,
    amount: u64,
) -> Result<(), FirstStateError> {
    let mut validator = view.validator(operator).ok_or(FirstStateError::NoValidator(*operator))?;
    if amount == 0 || view.delegation(delegator, operator).shares > 0 {
        return Err(FirstStateError::Delegation(*delegator));
    }
    let mut pools = view.pools();
    pools.bonded = pools.bonded.checked_add(amount).ok_or(FirstStateError::SupplyOverflow(*delegator))?;
    view.set_pools(pools);
    let shares = validator.add(amount).expect("a validator that was never slashed takes stake");
    view.set_validator(operator, Some(&validator));
    view.set_delegation(delegator, operator, &Delegation { shares, ..Delegation::default() });
    Ok(())
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
