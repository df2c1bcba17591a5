//! Typed access to the rows of the part of the state that is never reverted.
//!
//! The documentation of the crate has the table of keys.

use std::collections::BTreeMap;

use prost::Message;
use types::{Address, ConsensusPublicKey, Deadline, Hash, Height, Params, Power, Reader, Wire, pb};

pub use crate::area::NEVER_REVERTED;
use crate::{
    area::{DELEGATION, VALIDATOR},
    error::Refusal,
    view::View,
};

/// Maximum number of digests in one list row.
const DIGESTS_PER_ROW: usize = 1024;

/// Returns the second since the Unix epoch in which a deadline lies. Executed unordered transactions are listed by the
/// second in which they expire, so that few lists are visited to delete them.
pub(crate) fn second_of(deadline: Deadline) -> u64 {
    deadline.unix_millis() / 1000
}

/// Checks the parts of a payment that do not depend on who pays.
///
/// Errors: the [`Refusal`] for the all-zero address or a zero amount.
pub(crate) fn check_payment(to: &Address, amount: u64) -> Result<(), Refusal> {
    if *to == Address::default() {
        return Err(Refusal::BadRecipient { address: *to });
    }
    if amount == 0 {
        return Err(Refusal::ZeroAmount);
    }
    Ok(())
}

/// Balance and nonce of an address. An account of all zeros is not stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Amount of money that the address owns.
    pub balance: u64,
    /// Number of executed ordered transactions, which is the nonce of the next one.
    pub nonce: u64,
}

impl Account {
    /// Reads the value under an account's key, for example from a proof; `None` if it is no account.
    pub fn from_value(value: &[u8]) -> Option<Self> {
        pb::Account::decode(value).ok().map(Self::from_pb)
    }

    fn from_pb(pb: pb::Account) -> Self {
        Self { balance: pb.balance, nonce: pb.nonce }
    }
}

/// The validator for which an account votes on proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Consensus key of the validator.
    pub public_key: ConsensusPublicKey,
    /// Voting power of the validator.
    pub power: Power,
}

impl Operator {
    /// Returns the operator of no validator, for a vote that should be refused (`Mutation::AnyVoter`).
    #[inline] // so that a build that never asks has no code of it
    pub(crate) fn nobody() -> Self {
        let key = types::SecretKey::from_bytes(&[1; 32]).expect("a small number is a key");
        Self { public_key: key.public_key().into(), power: Power::ZERO }
    }
}

/// Functions that create raw keys.
pub mod key {
    use super::*;

    /// Returns the key of an account.
    pub fn account(address: &Address) -> Vec<u8> {
        [b"a", &address.0[..]].concat()
    }

    /// Returns the key of an executed unordered transaction.
    pub fn executed(digest: &Hash) -> Vec<u8> {
        [b"d", &digest.0[..]].concat()
    }

    /// Returns the key of the counts of transactions that expire in a second.
    pub fn expiry(second: u64) -> Vec<u8> {
        [b"e", &second.to_be_bytes()[..]].concat()
    }

    /// Returns the key of one row of the list of transactions that expire in a second.
    pub fn expiry_row(second: u64, row: u32) -> Vec<u8> {
        [b"e", &second.to_be_bytes()[..], &row.to_be_bytes()].concat()
    }

    /// Key of the seconds that have a list.
    pub const EXPIRY_SPAN: &[u8] = b"o";
    /// Returns the key of a namespace.
    pub fn namespace(name: &str) -> Vec<u8> {
        [NAMESPACE, name.as_bytes()].concat()
    }

    /// Returns the key of the root that a namespace has since a height.
    pub fn logged_root(number: u32, height: Height) -> Vec<u8> {
        [b"l", &number.to_be_bytes()[..], &height.0.to_be_bytes()].concat()
    }

    /// Returns the key of a list of changed roots, by its place in the queue.
    pub fn changed_roots(place: u64) -> Vec<u8> {
        [b"u", &place.to_be_bytes()[..]].concat()
    }

    /// First byte of the key of a namespace.
    pub const NAMESPACE: &[u8] = b"w";
    /// Key of the number of namespaces that were created.
    pub const NAMESPACES: &[u8] = b"c";
    /// Key of the places of the lists of changed roots that wait.
    pub const CHANGED_ROOTS: &[u8] = b"q";
    /// Key of the collected fees.
    pub const FEE_POOL: &[u8] = b"f";
    /// Returns the key of a proposal to the validators.
    pub fn proposal(id: u64) -> Vec<u8> {
        [b"h", &id.to_be_bytes()[..]].concat()
    }

    /// Returns the number of the proposal that has this key, if it is the key of one.
    pub fn proposal_id(key: &[u8]) -> Option<u64> {
        key.strip_prefix(b"h")?.try_into().ok().map(u64::from_be_bytes)
    }

    /// Returns the key of the votes on a proposal.
    pub fn votes(id: u64) -> Vec<u8> {
        [b"i", &id.to_be_bytes()[..]].concat()
    }

    /// Returns the key of the heights of a namespace whose content was taken back.
    pub fn taints(number: u32) -> Vec<u8> {
        [b"j", &number.to_be_bytes()[..]].concat()
    }

    /// Key of the list of proposals.
    pub const PROPOSALS: &[u8] = b"g";
    /// Key of the last change of rules across which no revert goes.
    pub const BARRIER: &[u8] = b"k";
    /// Key of the numbers of what was executed.
    pub const COUNTERS: &[u8] = b"m";
    /// Key of the plan of the next upgrade.
    pub const UPGRADE_PLAN: &[u8] = b"Y";

    /// Returns the key of an upgrade that was executed.
    pub fn upgrade_done(name: &str) -> Vec<u8> {
        [UPGRADE_PLAN, name.as_bytes()].concat()
    }

    /// Key of the consensus parameters.
    pub const PARAMS: &[u8] = b"p";
    /// Key of the total supply.
    pub const SUPPLY: &[u8] = b"s";
    /// Key of the total voting power.
    pub const POWER_TOTAL: &[u8] = b"t";

    /// Key of the amounts of stake.
    pub const STAKE_POOLS: &[u8] = b"S";
    /// Key of the income of the set.
    pub const INCOME: &[u8] = b"I";
    /// Key of the sizes of the heaps of validators.
    pub const STAKE_SET: &[u8] = b"N";
    /// Key of the places of the batches of stake that wait.
    pub const STAKE_QUEUE: &[u8] = b"Q";

    /// Key of the log of the validators that were jailed for downtime.
    pub const DOWNTIME_LOG: &[u8] = b"U";

    /// Returns the key of what is known about the misses of a validator.
    pub fn uptime(operator: &Address) -> Vec<u8> {
        [DOWNTIME_LOG, &operator.0].concat()
    }

    /// Returns the key of a chunk of the heights that a validator missed.
    pub fn uptime_bits(operator: &Address, index: u64) -> Vec<u8> {
        [DOWNTIME_LOG, &operator.0, &index.to_be_bytes()].concat()
    }

    /// Returns the key of the number of slashes of a validator.
    pub fn slashes(operator: &Address) -> Vec<u8> {
        [b"X", &operator.0[..]].concat()
    }

    /// Returns the key of a slash of a validator, by its number.
    pub fn slash(operator: &Address, number: u64) -> Vec<u8> {
        [b"X", &operator.0[..], &number.to_be_bytes()].concat()
    }

    /// Returns the key of the validator with this operator.
    pub fn validator(operator: &Address) -> Vec<u8> {
        [VALIDATOR, &operator.0].concat()
    }

    /// Returns the key of the operator of the validator whose consensus key has this address.
    pub fn key_owner(consensus: &Address) -> Vec<u8> {
        [b"K", &consensus.0[..]].concat()
    }

    /// Returns the key of what a delegator has at a validator.
    pub fn delegation(delegator: &Address, operator: &Address) -> Vec<u8> {
        [DELEGATION, &delegator.0, &operator.0].concat()
    }

    /// Returns the key of stake that left a validator.
    pub fn departure(operator: &Address, id: u64) -> Vec<u8> {
        [b"B", &operator.0[..], &id.to_be_bytes()].concat()
    }

    /// Returns the key of a batch of stake that matures at one time.
    pub fn stake_batch(batch: u64) -> Vec<u8> {
        [STAKE_QUEUE, &batch.to_be_bytes()].concat()
    }

    /// Returns the key of an item of a batch, by its place.
    pub fn stake_item(batch: u64, place: u32) -> Vec<u8> {
        [STAKE_QUEUE, &batch.to_be_bytes(), &place.to_be_bytes()].concat()
    }

    /// Returns the key of a place in the heap of the members, or of the validators that wait.
    pub fn heap(is_member: bool, position: u32) -> Vec<u8> {
        let kind: &[u8] = if is_member { b"M" } else { b"W" };
        [kind, &position.to_be_bytes()].concat()
    }

    /// Returns the key of the place of a validator in a heap.
    pub fn heap_place(operator: &Address) -> Vec<u8> {
        [b"P", &operator.0[..]].concat()
    }
}

impl<R: Reader + ?Sized> View<'_, R> {
    /// Returns the balance and nonce of an address.
    pub fn account(&mut self, address: &Address) -> Account {
        self.message(&key::account(address)).map(Account::from_pb).unwrap_or_default()
    }

    /// Sets the balance and nonce of an address; an account of all zeros is removed.
    pub fn set_account(&mut self, address: &Address, account: Account) {
        let pb = pb::Account { balance: account.balance, nonce: account.nonce };
        let value = (account != Account::default()).then(|| pb.encode_to_vec());
        self.set(&key::account(address), value);
    }

    /// Returns the voting power of all validators in the set.
    pub fn power_total(&mut self) -> Power {
        Power(self.amount(key::POWER_TOTAL))
    }

    pub(crate) fn set_power_total(&mut self, total: Power) {
        self.set_amount(key::POWER_TOTAL, total.0);
    }

    pub(crate) fn amount(&mut self, key: &[u8]) -> u64 {
        self.message::<pb::Amount>(key).unwrap_or_default().amount
    }

    /// Sets an amount; an amount of 0 is removed, because its encoding is empty and the tree holds no empty values.
    pub(crate) fn set_amount(&mut self, key: &[u8], amount: u64) {
        self.set(key, (amount > 0).then(|| pb::Amount { amount }.encode_to_vec()));
    }

    /// Returns the total supply.
    pub fn supply(&mut self) -> u64 {
        self.amount(key::SUPPLY)
    }

    pub(crate) fn set_supply(&mut self, amount: u64) {
        self.set_amount(key::SUPPLY, amount);
    }

    /// Returns the collected fees.
    pub fn fee_pool(&mut self) -> u64 {
        self.amount(key::FEE_POOL)
    }

    pub(crate) fn set_fee_pool(&mut self, amount: u64) {
        self.set_amount(key::FEE_POOL, amount);
    }

    pub(crate) fn add_to_fee_pool(&mut self, amount: u64) {
        if amount > 0 {
            let pool = self.fee_pool().checked_add(amount).expect("amounts are part of the supply");
            self.set_fee_pool(pool);
        }
    }

    /// Takes a deposit from an account.
    ///
    /// Errors: `E_DEPOSIT` if the account has less; then nothing has changed.
    pub(crate) fn take_deposit(&mut self, from: &Address, amount: u64) -> Result<(), Refusal> {
        let account = self.account(from);
        let Some(balance) = account.balance.checked_sub(amount) else {
            return Err(Refusal::Deposit { have: account.balance.into(), need: amount.into() });
        };
        self.set_account(from, Account { balance, ..account });
        Ok(())
    }

    /// Adds an amount to an account.
    pub(crate) fn pay(&mut self, to: &Address, amount: u64) {
        let account = self.account(to);
        let balance = account.balance.checked_add(amount).expect("a balance is part of the supply");
        self.set_account(to, Account { balance, ..account });
    }

    /// Returns the numbers of what was executed since genesis.
    pub(crate) fn counters(&mut self) -> pb::Counters {
        self.message(key::COUNTERS).unwrap_or_default()
    }

    /// Adds to the numbers of what was executed since genesis.
    pub(crate) fn count(&mut self, executed: &pb::Counters) {
        if *executed != pb::Counters::default() {
            let before = self.counters();
            let after = pb::Counters {
                txs: before.txs + executed.txs,
                transfers: before.transfers + executed.transfers,
                writes: before.writes + executed.writes,
            };
            self.set(key::COUNTERS, Some(after.encode_to_vec()));
        }
    }

    /// Returns the parameters of the next height. If they are unreadable, the reader is informed and the defaults are
    /// returned.
    pub fn params(&mut self) -> Params {
        let read = self.get(key::PARAMS).and_then(|bytes| Params::decode(bytes).ok());
        read.or_else(|| self.unreadable(key::PARAMS, "there are no parameters in it")).unwrap_or_default()
    }

    pub(crate) fn set_params(&mut self, params: &Params) {
        self.set(key::PARAMS, Some(params.encode()));
    }

    /// Returns the height that executed the unordered transaction with this digest, unless its row has been deleted
    /// after it expired.
    pub fn executed(&mut self, digest: &Hash) -> Option<Height> {
        let key = key::executed(digest);
        let executed: pb::Executed = self.message(&key)?;
        let height = u64::try_from(executed.height).ok().map(Height);
        height.or_else(|| self.unreadable(&key, "its height is negative"))
    }

    pub(crate) fn set_executed(&mut self, digest: &Hash, height: Height) {
        let height = i64::try_from(height.0).expect("heights stay below i64::MAX");
        self.set(&key::executed(digest), Some(pb::Executed { height }.encode_to_vec()));
    }

    fn expiry(&mut self, second: u64) -> pb::Expiry {
        self.message(&key::expiry(second)).unwrap_or_default()
    }

    /// Returns the number of executed unordered transactions that expire in this second.
    pub fn expiring(&mut self, second: u64) -> u32 {
        self.expiry(second).count
    }

    /// Lists digests by the second in which they expire.
    pub(crate) fn list_expiring(&mut self, expiring: &BTreeMap<u64, Vec<Hash>>) {
        let Some((first, last)) = expiring.keys().next().zip(expiring.keys().next_back()) else { return };
        let span = self.message::<pb::ExpirySpan>(key::EXPIRY_SPAN);
        let span = span.map_or(pb::ExpirySpan { first: *first, end: last + 1 }, |span| pb::ExpirySpan {
            first: span.first.min(*first),
            end: span.end.max(last + 1),
        });
        self.set(key::EXPIRY_SPAN, Some(span.encode_to_vec()));
        for (second, digests) in expiring {
            let mut expiry = self.expiry(*second);
            for some in digests.chunks(DIGESTS_PER_ROW) {
                let list = pb::Digests { digests: some.iter().map(|digest| digest.0.to_vec()).collect() };
                self.set(&key::expiry_row(*second, expiry.rows), Some(list.encode_to_vec()));
                expiry.rows += 1;
                expiry.count += some.len() as u32;
            }
            self.set(&key::expiry(*second), Some(expiry.encode_to_vec()));
        }
    }

    /// Deletes unordered transactions that expired before the second `now`: at most `rows_max` rows, plus the rest of
    /// the last list row; a second without a list counts as a row. The remaining rows are left for later blocks; this
    /// is not observable, because an expired transaction is refused in any case.
    pub(crate) fn forget_expired(&mut self, now: u64, rows_max: u64) {
        let Some(mut span) = self.message::<pb::ExpirySpan>(key::EXPIRY_SPAN) else { return };
        let (begun, mut rows_left) = (span.first, rows_max);
        while span.first < now && span.first < span.end && rows_left > 0 {
            match self.forget_row(span.first) {
                Some(rows) => rows_left = rows_left.saturating_sub(rows),
                None => {
                    span.first += 1;
                    rows_left -= 1;
                }
            }
        }
        if span.first > begun {
            self.set(key::EXPIRY_SPAN, (span.first < span.end).then(|| span.encode_to_vec()));
        }
    }

    /// Deletes the last row of a second's list and the transactions in it. Returns the number of deleted rows; `None`
    /// if there was none.
    fn forget_row(&mut self, second: u64) -> Option<u64> {
        let mut expiry = self.expiry(second);
        expiry.rows = expiry.rows.checked_sub(1)?;
        let key = key::expiry_row(second, expiry.rows);
        let list = self.message::<pb::Digests>(&key).or_else(|| self.unreadable(&key, "a list of digests is missing"));
        let digests = list.unwrap_or_default().digests;
        let rows = digests.len() as u64 + 1;
        expiry.count = expiry.count.saturating_sub(digests.len() as u32);
        for digest in digests {
            match digest.try_into() {
                Ok(digest) => self.set(&key::executed(&Hash(digest)), None),
                Err(_) => self.unreadable(&key, "a digest has not 32 bytes").unwrap_or_default(),
            }
        }
        self.set(&key, None);
        self.set(&key::expiry(second), (expiry.rows > 0).then(|| expiry.encode_to_vec()));
        Some(rows)
    }
}
