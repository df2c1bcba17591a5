//! Execution of transactions.
//!
//! | error | includable | effect in a block |
//! |---|---|---|
//! | not decodable, invalid signature, another chain | no | the block is invalid ([`crate::validate_block_txs`]) |
//! | nonce, expiry, duplicate, minimum fee, fee above balance | no | a failed result; the state is unchanged |
//! | a message fails | yes | a failed result; the fee is paid, the nonce or digest is consumed, nothing else |
//! | none | yes | all messages are executed |

use std::collections::BTreeMap;

use types::{
    Address, ChainId, Deadline, Event, Hash, Height, History, Msg, Params, Reader, Time, Transaction, TxBody, TxOrder,
    TxResult, ValidatorUpdate, VerifiedTx, limits::TX_MESSAGES_MAX, pb,
};

use crate::{
    context::BlockContext,
    error::{CODESPACE, Refusal},
    event::event,
    evidence,
    kv::{At, check_create, check_write},
    mutation::{Mutation, mutated},
    namespaces::Trees,
    proposals::{self, Decisions, check_propose},
    staking::{self, Staked, check_stake},
    state::{Account, check_payment, second_of},
    upgrade::{self, Upgrades},
    view::View,
};

/// Maximum number of executed unordered transactions that expire in one second; it bounds the rows of the second's
/// list. No chain executes more in a second.
pub const EXPIRING_MAX: u32 = 1 << 20;

/// Number of rows of expired unordered transactions that any block may delete; the rest waits for later blocks.
pub const FORGOTTEN_MIN: u64 = 1024;

/// Number of further rows that a block may delete, per unordered transaction that it executes. A transaction adds at
/// most three rows (its digest, a row of a list, and the counts of a second), so the backlog of expired rows shrinks
/// whatever the blocks contain.
pub const FORGOTTEN_PER_TX: u64 = 3;

/// The conditions that a transaction is checked against, apart from accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Id of this chain.
    pub chain_id: ChainId,
    /// Height of the block that contains, or would contain, the transaction.
    pub height: Height,
    /// Time in the header of that block; for a block that does not exist yet, about the current time.
    pub time: Time,
    /// Consensus parameters of that height.
    pub params: Params,
}

impl Rules {
    /// Reads the rules for the block at `height` from the state. They are valid as long as the state stays the same.
    pub fn new<R: Reader + ?Sized>(reader: &R, chain_id: ChainId, height: Height, time: Time) -> Self {
        Self { chain_id, height, time, params: View::of_state(reader).params() }
    }

    /// Returns the gas of a transaction: 1 per message, and 1 per operation of a write to a namespace.
    pub fn gas(body: &TxBody) -> i64 {
        let gas = |message: &Msg| match message {
            Msg::KvWrite { ops, .. } => ops.len() as i64,
            Msg::Transfer { .. } | Msg::NsCreate { .. } => 1,
            Msg::Propose(_) | Msg::Vote { .. } | Msg::Freeze { .. } | Msg::Cancel { .. } | Msg::Stake(_) => 1,
        };
        body.messages.iter().map(gas).sum()
    }

    /// Checks everything that needs no read of the state, except the messages.
    ///
    /// Errors: the [`Refusal`] for a wrong chain, too many bytes, too many messages, or a fee below the minimum.
    pub(crate) fn check_tx(&self, tx: &Transaction) -> Result<(), Refusal> {
        let (body, bytes) = (tx.body(), tx.bytes().len());
        if body.chain_id != self.chain_id {
            let (got, expected) = (body.chain_id.to_string(), self.chain_id.to_string());
            return Err(Refusal::WrongChain { got, expected });
        }
        let max = self.params.tx_bytes_max();
        if bytes > max && !mutated(Mutation::AnyTxSize) {
            return Err(Refusal::TooLarge { got: bytes, max });
        }
        let gas_max = u64::try_from(self.params.block.gas_max).unwrap_or(u64::MAX);
        let gas = Self::gas(body).unsigned_abs();
        if gas > gas_max {
            return Err(Refusal::TooManyMessages { got: gas as usize, max: gas_max });
        }
        if body.messages.len() > TX_MESSAGES_MAX {
            return Err(Refusal::TooManyMessages { got: body.messages.len(), max: TX_MESSAGES_MAX as u64 });
        }
        let min = self.params.fee_min_of(bytes);
        if body.fee < min {
            return Err(Refusal::Fee { got: body.fee, min });
        }
        Ok(())
    }

    /// Checks whether an unordered transaction may be in this block. `others` counts the transactions of this block
    /// that expire in the same second and are not listed in the state yet.
    ///
    /// Errors: the [`Refusal`] for a passed or too distant expiry, a duplicate, or too many transactions that expire in
    /// the same second.
    pub(crate) fn check_expiry<R: Reader + ?Sized>(
        &self,
        view: &mut View<'_, R>,
        expires: Deadline,
        digest: &Hash,
        others: usize,
    ) -> Result<(), Refusal> {
        if expires.has_passed(self.time) {
            return Err(Refusal::Expired { expires, time: self.time });
        }
        let max = Deadline::at(self.time.saturating_add(self.params.tx_ttl_max));
        if expires > max {
            return Err(Refusal::ExpiresTooFar { expires, max });
        }
        if let Some(height) = view.executed(digest).filter(|_| !mutated(Mutation::AnyDigest)) {
            return Err(Refusal::Duplicate { height });
        }
        if u64::from(view.expiring(second_of(expires))) + others as u64 >= u64::from(EXPIRING_MAX) {
            return Err(Refusal::ExpiryFull { expires, max: EXPIRING_MAX });
        }
        Ok(())
    }
}

/// State of a block that is being executed.
pub(crate) struct Execution<'a, R: ?Sized> {
    /// State with the writes of the block so far.
    pub view: View<'a, R>,
    /// Rules of the height of the block.
    pub rules: Rules,
    /// Fees of this block that are not in the pool yet.
    fees: u64,
    /// Unordered transactions of this block by the second in which they expire, not listed in the state yet.
    expiring: BTreeMap<u64, Vec<Hash>>,
    /// Number of unordered transactions of this block.
    unordered: u64,
    /// What this block decides about proposals.
    decisions: Decisions,
    /// Numbers of what this block executed.
    counters: pb::Counters,
    /// What this block changed about stake.
    staked: Staked,
}

/// What a block leaves after its last transaction.
pub(crate) struct Finished<'a, R: ?Sized> {
    /// State with the writes of the block.
    pub view: View<'a, R>,
    /// What the block decided about proposals, with all events outside of transactions.
    pub decisions: Decisions,
    /// Changes of the validator set.
    pub validator_updates: Vec<ValidatorUpdate>,
    /// Parameters of the next height, if the block changed them.
    pub params_update: Option<Params>,
}

impl<'a, R: History + ?Sized> Execution<'a, R> {
    /// Starts a block on the state of `view`: upgrades it, decides what is due, handles the block's evidence and the misses
    /// of the height before, and distributes the income of that height. `trees` are those of the state; the program has
    /// `upgrades`.
    ///
    /// Panics if an upgrade is due that the program does not have.
    pub fn begin(
        mut view: View<'a, R>,
        chain_id: ChainId,
        context: &BlockContext,
        trees: Trees<'_>,
        upgrades: Upgrades,
    ) -> Self {
        // Whatever changes parameters, they act in the next block: the header of this one has a hash of its own.
        let (params, height, time) = (view.params(), context.height, context.time);
        let upgraded = upgrade::begin(&mut view, height, upgrades);
        let at = At { height, time, params: &params };
        let matured = staking::begin(&mut view, &at);
        let mut decisions = proposals::begin(&mut view, &at, trees);
        decisions.events.splice(..0, upgraded.into_iter().chain(matured));
        let (mut staked, events) = (Staked::default(), &mut decisions.events);
        for misbehavior in &context.misbehavior {
            evidence::on_misbehavior(&mut view, &at, misbehavior, &mut staked, events);
        }
        staking::on_commit(&mut view, &at, &context.absent, &mut staked, events);
        staking::distribute(&mut view, &at, events);
        let params = if mutated(Mutation::ParamsAtOnce) { view.params() } else { params };
        let rules = Rules { chain_id, height, time, params };
        let (expiring, counters) = (BTreeMap::new(), pb::Counters::default());
        Self { view, rules, fees: 0, expiring, unordered: 0, decisions, counters, staked }
    }

    /// Executes one transaction and returns its result, which may be a failure.
    pub fn transaction(&mut self, tx: &VerifiedTx) -> TxResult {
        let body = tx.body();
        let mut result = TxResult { gas_wanted: Rules::gas(body), ..TxResult::default() };
        let Err(refusal) = self.take_fee(tx) else {
            result.gas_used = result.gas_wanted;
            self.counters.txs += 1;
            result.events.push(tx_event(body));
            match self.messages(body) {
                Ok(events) => {
                    result.events.extend(events);
                    self.count(body);
                }
                Err((index, refusal)) => {
                    #[cfg(feature = "mutations")]
                    if mutated(Mutation::RefundFailed) {
                        self.refund(body);
                    }
                    fail(&mut result, &refusal, format!("message {index}: {refusal}"));
                }
            }
            return result;
        };
        fail(&mut result, &refusal, refusal.to_string());
        result
    }

    /// Checks that the transaction is includable; takes its fee, and its nonce or digest.
    ///
    /// Errors: the [`Refusal`] of a transaction that is not includable; then nothing has changed.
    fn take_fee(&mut self, tx: &Transaction) -> Result<(), Refusal> {
        let body = tx.body();
        self.rules.check_tx(tx)?;
        let sender = body.signer.address();
        let account = self.view.account(&sender);
        let mut used_up = None;
        let nonce = match body.order {
            TxOrder::Nonce(_) if mutated(Mutation::KeepNonce) => account.nonce,
            TxOrder::Nonce(nonce) if nonce != account.nonce => {
                return Err(Refusal::Nonce { got: nonce, expected: account.nonce });
            }
            TxOrder::Nonce(_) => account.nonce.checked_add(1).expect("an account has fewer than 2^64 transactions"),
            TxOrder::Expires(expires) => {
                let digest = tx.digest();
                let others = self.expiring.get(&second_of(expires)).map_or(0, Vec::len);
                self.rules.check_expiry(&mut self.view, expires, &digest, others)?;
                used_up = Some((expires, digest));
                account.nonce
            }
        };
        let Some(balance) = account.balance.checked_sub(body.fee) else {
            return Err(Refusal::InsufficientFunds { have: account.balance, need: body.fee.into() });
        };
        let balance = if mutated(Mutation::FreeFees) { account.balance } else { balance };
        self.view.set_account(&sender, Account { balance, nonce });
        self.fees = self.fees.checked_add(body.fee).expect("fees are part of the supply");
        if let Some((expires, digest)) = used_up {
            self.view.set_executed(&digest, self.rules.height);
            self.expiring.entry(second_of(expires)).or_default().push(digest);
            self.unordered += 1;
        }
        Ok(())
    }

    /// Gives the fee and the nonce of a transaction back, as no correct node does.
    #[cfg(feature = "mutations")]
    fn refund(&mut self, body: &TxBody) {
        let (sender, is_ordered) = (body.signer.address(), matches!(body.order, TxOrder::Nonce(_)));
        let Account { balance, nonce } = self.view.account(&sender);
        self.view.set_account(&sender, Account { balance: balance + body.fee, nonce: nonce - u64::from(is_ordered) });
        self.fees -= body.fee;
    }

    /// Executes all messages, or none if one fails.
    ///
    /// Errors: the index of the failed message and its [`Refusal`].
    fn messages(&mut self, body: &TxBody) -> Result<Vec<Event>, (usize, Refusal)> {
        let at = At { height: self.rules.height, time: self.rules.time, params: &self.rules.params };
        let by = By { chain_id: &self.rules.chain_id, signer: body.signer.address() };
        let block = (&mut self.decisions, &mut self.staked);
        self.view.all_or_nothing(|view| {
            let mut events = Vec::with_capacity(body.messages.len());
            for (index, message) in body.messages.iter().enumerate() {
                let done = execute(view, &at, &by, message, (&mut *block.0, &mut *block.1));
                events.extend(done.map_err(|refusal| (index, refusal))?);
            }
            Ok(events)
        })
    }

    /// Counts the messages of a transaction that succeeded.
    fn count(&mut self, body: &TxBody) {
        let number = |is_it: fn(&Msg) -> bool| body.messages.iter().filter(|message| is_it(message)).count() as u64;
        self.counters.transfers += number(|message| matches!(message, Msg::Transfer { .. }));
        self.counters.writes += number(|message| matches!(message, Msg::KvWrite { .. }));
    }

    /// Completes the block after its last transaction: decides what has the votes, computes the validator set, adds the fees
    /// to the pool and deletes some expired digests.
    pub fn finish(self) -> Finished<'a, R> {
        let Self { mut view, mut decisions, mut staked, .. } = self;
        let at = At { height: self.rules.height, time: self.rules.time, params: &self.rules.params };
        proposals::end(&mut view, &at, &mut decisions);
        let next = view.params();
        let params_update = (next != self.rules.params).then_some(&next);
        staked.has_new_params = params_update.is_some() && !mutated(Mutation::KeepSet);
        // The set acts after the parameters.
        let validator_updates = staking::end(&mut view, &At { params: &next, ..at }, staked, &mut decisions.events);
        let params_update = params_update.cloned();
        view.add_to_fee_pool(if mutated(Mutation::LoseFees) { 0 } else { self.fees });
        view.count(&self.counters);
        view.list_expiring(&self.expiring);
        let now = second_of(Deadline::at(self.rules.time));
        view.forget_expired(now, FORGOTTEN_MIN + FORGOTTEN_PER_TX * self.unordered);
        Finished { view, decisions, validator_updates, params_update }
    }
}

fn fail(result: &mut TxResult, refusal: &Refusal, log: String) {
    result.code = refusal.code().number;
    result.codespace = CODESPACE.to_owned();
    result.log = log;
}

/// Checks the parts of a message that do not depend on the state, and returns the amount that the signer needs for it.
///
/// Errors: the [`Refusal`] of executing it.
pub(crate) fn check_message(params: &Params, message: &Msg) -> Result<u64, Refusal> {
    match message {
        Msg::Transfer { to, amount } => check_payment(to, *amount).map(|()| *amount),
        Msg::NsCreate { ns, .. } => check_create(ns).map(|_| params.ns_deposit),
        Msg::KvWrite { ns, ops, .. } => check_write(ns, ops).map(|_| 0),
        Msg::Propose(propose) => check_propose(params, propose),
        Msg::Vote { .. } | Msg::Freeze { .. } | Msg::Cancel { .. } => Ok(0),
        Msg::Stake(stake) => check_stake(params, stake),
    }
}

/// The chain and the signer of a transaction.
struct By<'t> {
    chain_id: &'t ChainId,
    signer: Address,
}

fn execute<R: History + ?Sized>(
    view: &mut View<'_, R>,
    at: &At<'_>,
    By { chain_id, signer }: &By<'_>,
    message: &Msg,
    (decisions, staked): (&mut Decisions, &mut Staked),
) -> Result<Vec<Event>, Refusal> {
    let event = match message {
        Msg::Transfer { to, amount } => transfer(view, signer, to, *amount),
        Msg::NsCreate { ns, owner, quota_keys, quota_bytes } => {
            view.create_namespace(at, signer, ns, *owner, (*quota_keys, *quota_bytes))
        }
        Msg::KvWrite { ns, data_epoch, ops } => view.write_keys(at, signer, ns, *data_epoch, ops),
        Msg::Propose(propose) => return proposals::propose(view, at, signer, propose, decisions),
        Msg::Vote { id, choice } => return proposals::vote(view, signer, *id, *choice, decisions),
        Msg::Freeze { id } => return proposals::freeze(view, at, signer, *id),
        Msg::Cancel { id } => return proposals::cancel(view, at, signer, *id),
        Msg::Stake(message) => return staking::execute(view, at, chain_id, signer, message, staked),
    };
    Ok(vec![event?])
}

fn transfer<R: Reader + ?Sized>(
    view: &mut View<'_, R>,
    from: &Address,
    to: &Address,
    amount: u64,
) -> Result<Event, Refusal> {
    check_payment(to, amount)?;
    if !mutated(Mutation::FreeTransfer) {
        view.take(from, amount)?;
    }
    view.pay(to, amount);
    let (sender, recipient) = ((from.to_string(), true), (to.to_string(), true));
    Ok(event("transfer", [("sender", sender), ("recipient", recipient), ("amount", (amount.to_string(), false))]))
}

fn tx_event(body: &TxBody) -> Event {
    let order = match body.order {
        TxOrder::Nonce(nonce) => ("nonce", (nonce.to_string(), false)),
        TxOrder::Expires(deadline) => ("expires_ms", (deadline.unix_millis().to_string(), false)),
    };
    event("tx", [("signer", (body.signer.address().to_string(), true)), ("fee", (body.fee.to_string(), false)), order])
}
