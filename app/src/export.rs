//! The state of a chain as the start of another one.
//!
//! | state | start of the new chain |
//! |---|---|
//! | balances | the same; nonces begin again, because the new chain has another id |
//! | validators with stake | the same, with their keys, terms and delegations; the first set is computed again |
//! | validators in jail for ever | left out; their stake returns to its owners |
//! | stake that unbonds, deposits of open proposals | returns to its owners |
//! | rewards and commissions that are due | return to their owners |
//! | what rounding left of a validator's tokens and of rewards | collected fees |
//! | collected fees, money of the community | the same |
//! | namespaces, proposals, parameters of reverts in progress | left out |
//!
//! The supply stays the same (`nothing_is_lost_or_created`).

use std::collections::BTreeMap;

use prost::Message;
use thiserror::Error;
use types::{Address, Params, Power, Reader, pb};

use crate::{
    area::NAMES,
    first_state::{FirstDelegation, FirstStake, FirstTerms, FirstValidator},
    proposals,
    staking::{Delegation, Departure, StakedValidator},
    state::{Account, NEVER_REVERTED},
    tree::rows::split_row,
    view::View,
};

/// The start of a chain that continues another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Consensus parameters of the height.
    pub params: Params,
    /// Validators of the first height, the strongest first.
    pub validators: Vec<FirstValidator>,
    /// Balances of accounts, in the order of their addresses.
    pub accounts: Vec<(Address, u64)>,
    /// Stake, and money that is no account's.
    pub stake: FirstStake,
    /// Operators of the validators that are left out, because they are in jail for ever.
    pub left_out: Vec<Address>,
    /// True if there are namespaces, which are left out.
    pub has_namespaces: bool,
}

/// The reason why a state is not the start of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExportError {
    /// The amounts do not add up to the supply.
    #[error("the amounts of the state add up to {got}, and the supply is {supply}: the state is damaged")]
    Supply {
        /// Sum of all amounts.
        got: u128,
        /// Total supply according to the state.
        supply: u64,
    },
    /// No validator would be in the first set.
    #[error("no validator has stake for a unit of power and is not in jail, so the new chain could not start")]
    NoValidators,
}

/// What the rows of a state hold.
#[derive(Default)]
struct Found {
    accounts: Vec<(Address, u64)>,
    validators: BTreeMap<Address, StakedValidator>,
    /// Delegator, validator, and what the one has at the other.
    delegations: Vec<(Address, Address, Delegation)>,
    /// Amounts that return to their owners: rewards, unbondings and deposits.
    owed: BTreeMap<Address, u64>,
}

impl Found {
    fn owe(&mut self, owner: Address, amount: u64) {
        let owed = self.owed.entry(owner).or_default();
        *owed = owed.saturating_add(amount);
    }

    /// Takes a row; one that is not about money is passed over.
    fn take(&mut self, key: &[u8], value: &[u8]) {
        let Some((kind, rest)) = key.split_first() else { return };
        let mut addresses = rest.chunks(20).map(|bytes| bytes.try_into().ok().map(Address));
        let mut address = || addresses.next().flatten();
        match (kind, rest.len()) {
            (b'a', 20) => {
                if let (Some(address), Some(account)) = (address(), Account::from_value(value)) {
                    self.accounts.push((address, account.balance));
                }
            }
            (b'V', 20) => {
                if let (Some(operator), Some(validator)) = (address(), StakedValidator::from_value(value)) {
                    self.validators.insert(operator, validator);
                }
            }
            (b'D', 40) => {
                let pair = (address(), address());
                if let ((Some(delegator), Some(operator)), Some(delegation)) = (pair, Delegation::from_value(value)) {
                    self.delegations.push((delegator, operator, delegation));
                }
            }
            (b'B', 28) => {
                let departure = pb::Departure::decode(value).ok().and_then(Departure::from_pb);
                if let Some(departure) = departure.filter(|departure| departure.to.is_none()) {
                    self.owe(departure.delegator, departure.tokens);
                }
            }
            _ => {}
        }
    }

    /// Moves what is owed to the accounts, in the order of the addresses.
    fn balances(self) -> Vec<(Address, u64)> {
        let Self { mut accounts, mut owed, .. } = self;
        for (address, balance) in &mut accounts {
            *balance = balance.saturating_add(owed.remove(address).unwrap_or(0));
        }
        accounts.extend(owed);
        accounts.retain(|(_, balance)| *balance > 0);
        accounts.sort_unstable();
        accounts
    }
}

/// Returns the start of a chain that continues the state of `reader`.
///
/// Cost: one scan of the state. Memory: 32 bytes per account, and about 150 bytes per delegation.
///
/// Errors: [`ExportError`]. Rows that cannot be decoded are missing in the sum.
pub fn export<R: Reader + ?Sized>(reader: &R) -> Result<Exported, ExportError> {
    let mut found = Found::default();
    reader.scan(NEVER_REVERTED, &mut |_, row| {
        if let Some((key, value)) = split_row(row) {
            found.take(key, value);
        }
        true
    });
    let mut view = View::of_state(reader);
    for proposal in proposals::open(&mut view) {
        found.owe(proposal.proposer, proposal.deposit);
    }
    let (params, supply) = (view.params(), view.supply());
    let mut stake =
        FirstStake { community: view.pools().community, fee_pool: view.fee_pool(), ..FirstStake::default() };
    let mut tokens: BTreeMap<Address, u64> = BTreeMap::new();
    for (operator, validator) in &mut found.validators {
        *validator = view.settled_validator(operator).unwrap_or_else(|| validator.clone());
    }
    let mut paid = 0_u64;
    for (delegator, operator, delegation) in std::mem::take(&mut found.delegations) {
        let Some(validator) = found.validators.get(&operator) else { continue };
        let (amount, due) = (validator.worth(delegation.shares), validator.due_amount(&delegation));
        let is_gone = validator.is_tombstoned;
        paid = paid.saturating_add(due);
        found.owe(delegator, due);
        let sum = tokens.entry(operator).or_default();
        *sum = sum.saturating_add(amount);
        match is_gone {
            true => found.owe(delegator, amount),
            false if amount == 0 => {}
            false => stake.delegations.push(FirstDelegation { delegator, validator: operator, amount }),
        }
    }
    for (operator, validator) in found.validators.clone() {
        let delegated = tokens.get(&operator).copied().unwrap_or(0);
        stake.fee_pool = stake.fee_pool.saturating_add(validator.tokens.saturating_sub(delegated));
        let due = validator.earnings.commission_due();
        paid = paid.saturating_add(due);
        found.owe(operator, due);
    }
    stake.fee_pool = stake.fee_pool.saturating_add(view.pools().rewards.saturating_sub(paid));
    stake.delegations.sort_unstable_by_key(|delegation| (delegation.delegator, delegation.validator));
    let is_gone = |validator: &StakedValidator| validator.is_tombstoned;
    let left_out = found.validators.iter().filter(|(_, one)| is_gone(one)).map(|(operator, _)| *operator).collect();
    found.validators.retain(|operator, one| !is_gone(one) && tokens.get(operator).is_some_and(|sum| *sum > 0));
    let validators = first_set(&params, &found.validators, &tokens);
    if validators.is_empty() {
        return Err(ExportError::NoValidators);
    }
    let is_member = |operator: &Address| validators.iter().any(|member| member.operator == Some(*operator));
    let terms = |(operator, validator): (&Address, &StakedValidator)| FirstTerms {
        operator: *operator,
        public_key: (!is_member(operator)).then_some(validator.public_key),
        commission: Some(validator.commission),
        own_min: Some(validator.own_min),
        description: validator.description.clone(),
        jailed: validator.jail.map(|jail| jail.why),
    };
    stake.terms = found.validators.iter().map(terms).collect();
    let accounts = found.balances();
    let delegated = stake.delegations.iter().map(|delegation| delegation.amount);
    let amounts = accounts.iter().map(|(_, balance)| *balance).chain(delegated);
    let got = amounts.chain([stake.community, stake.fee_pool]).map(u128::from).sum();
    if got != u128::from(supply) {
        return Err(ExportError::Supply { got, supply });
    }
    let mut has_namespaces = false;
    reader.scan(NAMES, &mut |_, _| {
        has_namespaces = true;
        false
    });
    Ok(Exported { params, validators, accounts, stake, left_out, has_namespaces })
}

/// Returns the first set: the strongest validators that are not in jail, by tokens, then by operator.
fn first_set(
    params: &Params,
    validators: &BTreeMap<Address, StakedValidator>,
    tokens: &BTreeMap<Address, u64>,
) -> Vec<FirstValidator> {
    let power = |operator: &Address| tokens.get(operator).copied().unwrap_or(0) / params.staking.power_unit;
    let is_free =
        |(operator, validator): &(&Address, &StakedValidator)| validator.jail.is_none() && power(operator) > 0;
    let mut free: Vec<_> = validators.iter().filter(is_free).collect();
    free.sort_by_key(|(operator, _)| (std::cmp::Reverse(tokens.get(*operator)), **operator));
    free.truncate(usize::try_from(params.staking.validators_max).unwrap_or(usize::MAX));
    let first = |(operator, validator): (&Address, &StakedValidator)| FirstValidator {
        public_key: validator.public_key,
        power: Power(power(operator)),
        operator: Some(*operator),
    };
    free.into_iter().map(first).collect()
}
