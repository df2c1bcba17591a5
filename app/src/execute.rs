//! Executing transactions.
//!
//! | what is wrong | includable | effect in a block |
//! |---|---|---|
//! | not decodable, badly signed, of another chain | no | the block is invalid ([`crate::validate_block_txs`]) |
//! | nonce, expiry, duplicate, least fee, cannot pay the fee | no | a failed result; the state is untouched |
//! | a message fails | yes | a failed result; fee paid, nonce or digest used up, nothing else |
//! | nothing | yes | all messages done |

use std::collections::BTreeMap;

use types::{
    Address, ChainId, Event, Hash, Height, Msg, Params, Reader, Transaction, TxBody, TxOrder, TxResult, VerifiedTx,
    limits::TX_MESSAGES_MAX,
};

use crate::{
    error::{CODESPACE, Refusal},
    state::Account,
    view::View,
};

/// Executed unordered transactions that may expire at one height: bounds the rows of one height's list.
pub const EXPIRING_MAX: u32 = 65_536;

/// Rows of expired unordered transactions that any block forgets; more wait for the blocks after it.
pub const FORGOTTEN_MIN: u64 = 1024;

/// Rows that a block forgets besides, for each unordered transaction that it executes. A transaction adds at most two (its digest, and a
/// row of a list), so what waits to be forgotten shrinks whatever blocks hold.
pub const FORGOTTEN_PER_TX: u64 = 2;

/// What a transaction is held against, apart from accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// This chain.
    pub chain_id: ChainId,
    /// The block that the transaction is, or would be, in.
    pub height: Height,
    /// The parameters of that height.
    pub params: Params,
}

impl Rules {
    /// The rules of the block at `height` on this state. Keep them while the state stays the same.
    pub fn new<R: Reader + ?Sized>(reader: &R, chain_id: ChainId, height: Height) -> Self {
        Self { chain_id, height, params: View::of_state(reader).params() }
    }

    /// Gas that the messages of a body cost: 1 each.
    pub(crate) fn gas(body: &TxBody) -> i64 {
        body.messages.len() as i64
    }

    /// What can be said without looking at an account.
    pub(crate) fn check_body(&self, body: &TxBody) -> Result<(), Refusal> {
        if body.chain_id != self.chain_id {
            let (got, expected) = (body.chain_id.to_string(), self.chain_id.to_string());
            return Err(Refusal::WrongChain { got, expected });
        }
        let gas_max = u64::try_from(self.params.block.gas_max).unwrap_or(u64::MAX);
        let max = gas_max.min(TX_MESSAGES_MAX as u64);
        if body.messages.len() as u64 > max {
            return Err(Refusal::TooManyMessages { got: body.messages.len(), max });
        }
        if body.fee < self.params.fee_min {
            return Err(Refusal::Fee { got: body.fee, min: self.params.fee_min });
        }
        Ok(())
    }

    /// Whether an unordered transaction may be in this block. `others` expire with it and are not listed in the state yet.
    pub(crate) fn check_expiry<R: Reader + ?Sized>(
        &self,
        view: &mut View<'_, R>,
        expires: Height,
        digest: &Hash,
        others: usize,
    ) -> Result<(), Refusal> {
        if expires < self.height {
            return Err(Refusal::Expired { expires, height: self.height });
        }
        let max = Height(self.height.0.saturating_add(self.params.tx_ttl_heights_max));
        if expires > max {
            return Err(Refusal::ExpiresTooFar { expires, max });
        }
        if let Some(height) = view.executed(digest) {
            return Err(Refusal::Duplicate { height });
        }
        if u64::from(view.expiring(expires)) + others as u64 >= u64::from(EXPIRING_MAX) {
            return Err(Refusal::ExpiryFull { expires, max: EXPIRING_MAX });
        }
        Ok(())
    }
}

/// A block being executed.
pub(crate) struct Execution<'a, R: ?Sized> {
    pub view: View<'a, R>,
    pub rules: Rules,
    /// Fees of this block, not yet in the pool.
    fees: u64,
    /// Unordered transactions of this block by the height they expire at, not yet listed in the state.
    expiring: BTreeMap<Height, Vec<Hash>>,
    /// How many they are.
    unordered: u64,
}

impl<'a, R: Reader + ?Sized> Execution<'a, R> {
    pub fn new(reader: &'a R, chain_id: ChainId, height: Height) -> Self {
        let mut view = View::of_state(reader);
        let rules = Rules { chain_id, height, params: view.params() };
        Self { view, rules, fees: 0, expiring: BTreeMap::new(), unordered: 0 }
    }

    pub fn transaction(&mut self, tx: &VerifiedTx) -> TxResult {
        let body = tx.body();
        let mut result = TxResult { gas_wanted: Rules::gas(body), ..TxResult::default() };
        let Err(refusal) = self.take_fee(tx) else {
            result.gas_used = result.gas_wanted;
            result.events.push(tx_event(body));
            match self.messages(body) {
                Ok(events) => result.events.extend(events),
                Err((index, refusal)) => fail(&mut result, &refusal, format!("message {index}: {refusal}")),
            }
            return result;
        };
        fail(&mut result, &refusal, refusal.to_string());
        result
    }

    /// Checks that the transaction is includable; takes its fee, and its nonce or digest.
    ///
    /// Errors: why it is not; then nothing has changed.
    fn take_fee(&mut self, tx: &Transaction) -> Result<(), Refusal> {
        let body = tx.body();
        self.rules.check_body(body)?;
        let sender = body.signer.address();
        let account = self.view.account(&sender);
        let mut used_up = None;
        let nonce = match body.order {
            TxOrder::Nonce(nonce) if nonce != account.nonce => {
                return Err(Refusal::Nonce { got: nonce, expected: account.nonce });
            }
            TxOrder::Nonce(_) => account.nonce.checked_add(1).expect("nobody signs 2^64 transactions"),
            TxOrder::Expires(expires) => {
                let digest = tx.digest();
                let others = self.expiring.get(&expires).map_or(0, Vec::len);
                self.rules.check_expiry(&mut self.view, expires, &digest, others)?;
                used_up = Some((expires, digest));
                account.nonce
            }
        };
        let Some(balance) = account.balance.checked_sub(body.fee) else {
            return Err(Refusal::InsufficientFunds { have: account.balance, need: body.fee.into() });
        };
        self.view.set_account(&sender, Account { balance, nonce });
        self.fees = self.fees.checked_add(body.fee).expect("fees are part of the supply");
        if let Some((expires, digest)) = used_up {
            self.view.set_executed(&digest, self.rules.height);
            self.expiring.entry(expires).or_default().push(digest);
            self.unordered += 1;
        }
        Ok(())
    }

    /// All messages, or none.
    fn messages(&mut self, body: &TxBody) -> Result<Vec<Event>, (usize, Refusal)> {
        let sender = body.signer.address();
        self.view.all_or_nothing(|view| {
            let each = body.messages.iter().enumerate();
            each.map(|(index, Msg::Transfer { to, amount })| {
                transfer(view, &sender, to, *amount).map_err(|refusal| (index, refusal))
            })
            .collect()
        })
    }

    /// What happens after the last transaction: fees reach the pool, some expired digests are forgotten.
    pub fn finish(mut self) -> View<'a, R> {
        let mut view = self.view;
        if self.fees > 0 {
            let pool = view.fee_pool().checked_add(self.fees).expect("fees are part of the supply");
            view.set_fee_pool(pool);
        }
        let height = self.rules.height;
        for digest in self.expiring.remove(&height).unwrap_or_default() {
            view.set(&crate::state::key::executed(&digest), None);
        }
        for (expires, digests) in self.expiring {
            view.list_expiring(expires, &digests);
        }
        view.forget_expired(height, FORGOTTEN_MIN + FORGOTTEN_PER_TX * self.unordered);
        view
    }
}

fn fail(result: &mut TxResult, refusal: &Refusal, log: String) {
    result.code = refusal.code().number;
    result.codespace = CODESPACE.to_owned();
    result.log = log;
}

/// What is wrong with a transfer whoever sends it.
pub(crate) fn check_transfer(to: &Address, amount: u64) -> Result<(), Refusal> {
    if *to == Address::default() {
        return Err(Refusal::BadRecipient { address: *to });
    }
    if amount == 0 {
        return Err(Refusal::ZeroAmount);
    }
    Ok(())
}

fn transfer<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    from: &Address,
    to: &Address,
    amount: u64,
) -> Result<Event, Refusal> {
    check_transfer(to, amount)?;
    let mut sender = view.account(from);
    let Some(rest) = sender.balance.checked_sub(amount) else {
        return Err(Refusal::InsufficientFunds { have: sender.balance, need: amount.into() });
    };
    sender.balance = rest;
    view.set_account(from, sender);
    let mut recipient = view.account(to);
    recipient.balance = recipient.balance.checked_add(amount).expect("a balance is part of the supply");
    view.set_account(to, recipient);
    let (sender, recipient) = ((from.to_string(), true), (to.to_string(), true));
    Ok(event("transfer", [("sender", sender), ("recipient", recipient), ("amount", (amount.to_string(), false))]))
}

fn tx_event(body: &TxBody) -> Event {
    let order = match body.order {
        TxOrder::Nonce(nonce) => ("nonce", (nonce.to_string(), false)),
        TxOrder::Expires(height) => ("expires", (height.to_string(), false)),
    };
    event("tx", [("signer", (body.signer.address().to_string(), true)), ("fee", (body.fee.to_string(), false)), order])
}

/// An event. Attributes marked for indexing cost a row of every node's store each, so only addresses are: people search by them.
fn event<const N: usize>(kind: &str, attributes: [(&'static str, (String, bool)); N]) -> Event {
    Event::new(kind, attributes.map(|(key, (value, index))| (key, value, index)))
}
