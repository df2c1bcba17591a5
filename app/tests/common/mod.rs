//! A chain with one node: accounts with known keys; blocks are executed and stored in memory.
#![allow(dead_code, missing_docs)]

pub mod counting;
pub mod net;
pub mod rewards;
pub mod stake;

use std::{collections::BTreeMap, time::Duration};

use app::{Account, App, BlockContext, FirstValidator, Outcome, Rules, View, genesis_writes};
use types::{
    Address, ChainId, Deadline, Event, Height, History, Misbehavior, Msg, Params, Power, Reader, SecretKey, Time,
    Transaction, TxBody, TxOrder, TxResult, ValidatorUpdate, VerifiedTx, Version, Versions, WriteSet,
};

pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

pub fn chain_id() -> ChainId {
    ChainId::new("cairn-test").unwrap()
}

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

pub fn address(seed: u8) -> Address {
    key(seed).public_key().address()
}

pub fn store(rows: &mut Rows, writes: &WriteSet) {
    for (row, value) in &writes.0 {
        match value {
            Some(value) => rows.insert(row.clone(), value.clone()),
            None => rows.remove(row),
        };
    }
}

pub fn transfer(to: u8, amount: u64) -> Msg {
    Msg::Transfer { to: address(to), amount }
}

/// The order of an unordered transaction that expires at this time, in milliseconds.
pub fn expires(ms: u64) -> TxOrder {
    TxOrder::Expires(Deadline::from_unix_millis(ms).unwrap())
}

/// The order of an unordered transaction whose last block may have the time `second`, and not a millisecond more.
pub fn until(second: u64) -> TxOrder {
    expires(1000 * second + 1)
}

pub fn body(from: u8, order: TxOrder, messages: Vec<Msg>) -> TxBody {
    TxBody { chain_id: chain_id(), signer: key(from).public_key(), order, fee: 2, messages }
}

pub fn sign(from: u8, order: TxOrder, messages: Vec<Msg>) -> Transaction {
    body(from, order, messages).sign(&key(from))
}

/// Marks a transaction as verified without a check, because these tests are not about signatures.
pub fn trusted(tx: Transaction) -> VerifiedTx {
    VerifiedTx::verified_before(tx)
}

pub fn tx(from: u8, order: TxOrder, messages: Vec<Msg>) -> VerifiedTx {
    trusted(sign(from, order, messages))
}

pub struct Chain {
    pub app: App,
    pub rows: Rows,
    /// Time of the next block: without a change, block h has the time of h seconds.
    pub time: Time,
    /// Height of the last change of each row, deletions included.
    pub changed: BTreeMap<Vec<u8>, Height>,
    /// The rows at all heights.
    pub versions: Versions,
    /// Events of the last block, outside of transactions.
    pub events: Vec<Event>,
    /// Changes of the validator set by the last block.
    pub updates: Vec<ValidatorUpdate>,
    /// What the evidence of the next block proves.
    pub misbehavior: Vec<Misbehavior>,
    /// Validators that are absent in the last commit of the next block.
    pub absent: Vec<Address>,
    /// Parameters of the next height, if the last block changed them.
    pub params_update: Option<Params>,
}

/// The rows of a chain, with the heights at which they changed.
pub struct Tip<'a>(&'a Chain);

impl Reader for Tip<'_> {
    fn version(&self, key: &[u8]) -> Option<Version> {
        let value = Reader::get(&self.0.rows, key);
        let changed = self.0.changed.get(key).copied();
        changed.or(value.is_some().then_some(Height::GENESIS)).map(|at| (at, value))
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.0.rows.scan_from(prefix, from, visit);
    }

    fn unreadable(&self, key: &[u8], reason: &str) {
        self.0.rows.unreadable(key, reason);
    }
}

impl History for Tip<'_> {
    fn get_at(&self, height: Height, key: &[u8]) -> Option<Vec<u8>> {
        self.0.versions.get_at(height, key)
    }

    fn changed_since(&self, height: Height, prefix: &[u8], visit: &mut dyn FnMut(&[u8]) -> bool) {
        self.0.versions.changed_since(height, prefix, visit);
    }
}

impl Chain {
    /// Creates a chain with accounts of keys 1, 2, … that have these balances.
    pub fn new(balances: &[u64]) -> Self {
        Self::with_params(balances, &Params::default())
    }

    pub fn with_params(balances: &[u64], params: &Params) -> Self {
        Self::with_validators(balances, params, &[])
    }

    /// Creates a chain with validators of these powers. Their consensus keys are those of the seeds 101, 102, …; their
    /// operators are the accounts of the seeds 51, 52, …
    pub fn with_validators(balances: &[u64], params: &Params, powers: &[u64]) -> Self {
        let accounts = (1_u8..).map(address).zip(balances.iter().copied());
        let operators = (51_u8..).map(address).zip(powers.iter().map(|_| 1 << 30));
        let validator = |(seed, power): (u8, &u64)| FirstValidator {
            public_key: key(100 + seed).public_key().into(),
            power: Power(*power),
            operator: Some(address(50 + seed)),
        };
        let validators: Vec<FirstValidator> = (1_u8..).zip(powers).map(validator).collect();
        let first = genesis_writes(params, &validators, accounts.chain(operators)).unwrap();
        let rows: Rows = first.rows().collect();
        let app = App::open(&rows, chain_id(), Height(0));
        assert_eq!(app.app_hash(), first.app_hash);
        let (changed, versions) = (BTreeMap::new(), Versions::genesis(rows.clone()));
        Self {
            app,
            rows,
            changed,
            versions,
            events: Vec::new(),
            updates: Vec::new(),
            misbehavior: Vec::new(),
            absent: Vec::new(),
            params_update: None,
            time: Time::from_unix_millis(1000),
        }
    }

    /// Returns the state at the tip, with its history.
    pub fn tip(&self) -> Tip<'_> {
        Tip(self)
    }

    pub fn next_height(&self) -> Height {
        self.app.height().next()
    }

    pub fn rules(&self) -> Rules {
        Rules::new(&self.rows, chain_id(), self.next_height(), self.time)
    }

    pub fn context(&self) -> BlockContext {
        let (misbehavior, absent) = (self.misbehavior.clone(), self.absent.clone());
        BlockContext { height: self.next_height(), time: self.time, proposer: address(1), misbehavior, absent }
    }

    pub fn execute(&self, txs: &[VerifiedTx]) -> Outcome {
        self.app.execute(&Tip(self), &self.context(), txs)
    }

    /// Executes a block, stores its rows and commits it.
    pub fn block(&mut self, txs: &[VerifiedTx]) -> Vec<TxResult> {
        let outcome = self.execute(txs);
        (self.misbehavior, self.absent) = (Vec::new(), Vec::new());
        store(&mut self.rows, &outcome.writes);
        let height = self.next_height();
        self.versions.write(height, &outcome.writes);
        self.events = outcome.results.events;
        self.updates = outcome.results.validator_updates;
        self.params_update = outcome.results.params_update;
        self.changed.extend(outcome.writes.0.keys().map(|row| (row.clone(), height)));
        self.app.commit(outcome.update);
        self.time = self.time.saturating_add(Duration::from_secs(1));
        assert_eq!(self.app.app_hash(), outcome.results.app_hash);
        outcome.results.txs
    }

    pub fn account(&self, seed: u8) -> Account {
        View::of_state(&self.rows).account(&address(seed))
    }

    pub fn balance(&self, seed: u8) -> u64 {
        self.account(seed).balance
    }

    /// Returns the sum of the balances of all accounts, read from the rows.
    pub fn balances(&self) -> u128 {
        let rows = self.rows.iter().filter(|(row, _)| row.starts_with(app::area::NEVER_REVERTED));
        let accounts = rows.filter_map(|(_, row)| {
            let (key, _) = app::tree::rows::split_row(row).unwrap();
            (key[0] == b'a').then(|| Address(key[1..].try_into().unwrap()))
        });
        let mut view = View::of_state(&self.rows);
        accounts.map(|address| u128::from(view.account(&address).balance)).sum()
    }
}
