//! A chain of one validator without consensus, in memory, executed by the real application.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::time::Duration;

use app::{App, Outcome};
use genesis::{Document, Genesis, GenesisAccount, GenesisValidator};
use replica::Replica;
use storage::{Batch, Durability, Kv, MemDisk, MemKv, Store, View};
use types::{
    ChainId, Choice, Height, KvOp, Msg, NsOwner, Params, Power, ProposalKind, ProposalParams, Propose, Revert,
    RevertScope, SecretKey, Time, TxBody, TxOrder, Wire,
};

use crate::blocks::Blocks;

pub type Rows = Vec<(storage::Cf, Vec<u8>, Vec<u8>)>;

/// Height whose content a revert of the test chain brings back, and the height that executes it.
pub const REVERTED_TO: u64 = 2;
pub const REVERTED_AT: u64 = 7;

pub fn chain_id() -> ChainId {
    ChainId::new("cairn-rewind-test").unwrap()
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn genesis(retain_blocks: u64) -> Genesis {
    let account = GenesisAccount { address: key(50).public_key().address(), balance: 1_000_000, name: "alice".into() };
    Genesis::new(Document {
        genesis_time: Time::from_unix_millis(1_700_000_000_000),
        chain_id: chain_id(),
        initial_height: Height(1),
        params: Params {
            proposals: ProposalParams { notice_min: Duration::from_secs(1), ..ProposalParams::default() },
            retain_blocks,
            ..Params::default()
        },
        validators: vec![GenesisValidator {
            public_key: key(1).public_key().into(),
            power: Power(10),
            name: String::new(),
            operator: Some(key(50).public_key().address()),
        }],
        app_hash: None,
        stake: genesis::FirstStake::default(),
        accounts: vec![account],
    })
    .unwrap()
}

/// Changes what the first execution of a block did, as another version of the program would.
pub type Change = fn(&mut Outcome);

pub struct Chain {
    pub disk: MemDisk,
    store: Store<MemKv>,
    app: App,
    blocks: Blocks,
    nonce: u64,
    /// Number of empty blocks before the first one with transactions.
    lead: u64,
}

impl Chain {
    /// Makes a chain with `heights` blocks, each with a transfer and a write to a namespace. The block at height `.0` was executed first by a program
    /// that does `.1` besides.
    pub fn with(heights: u64, changed: Option<(u64, Change)>) -> Self {
        let mut chain = Self::begin(Params::default().retain_blocks);
        for height in 1..=heights {
            chain.next_block(changed.filter(|(at, _)| *at == height).map(|(_, change)| change));
        }
        chain.store.sync().unwrap();
        chain
    }

    /// Makes a chain without a block, whose nodes keep the last `retain_blocks`.
    pub fn begin(retain_blocks: u64) -> Self {
        let disk = MemDisk::new();
        let store = Store::open(disk.open(), &chain_id()).unwrap();
        let genesis = genesis(retain_blocks);
        Replica::begin(&store, &genesis).unwrap();
        let app = App::open(&store.reader().unwrap(), chain_id(), Height(0));
        let blocks = Blocks::new(chain_id(), genesis.first_state().validators);
        Self { disk, store, app, blocks, nonce: 0, lead: 0 }
    }

    /// Makes empty blocks. The heights in what follows are counted from their end.
    pub fn empty_blocks(&mut self, count: u64) {
        (0..count).for_each(|_| self.commit(Vec::new(), None));
        self.lead += count;
    }

    /// Makes the next block with transactions; its first execution does `change` besides.
    pub fn next_block(&mut self, change: Option<Change>) {
        let height = self.store.tip().unwrap().height.next().0 - self.lead;
        let txs = vec![self.transfer(), self.in_namespace(height)];
        self.commit(txs, change);
    }

    /// Returns the store of the chain.
    pub fn store(&self) -> &Store<MemKv> {
        &self.store
    }

    fn transfer(&mut self) -> Vec<u8> {
        let to = key(51 + (self.nonce % 3) as u8).public_key().address();
        self.signed(Msg::Transfer { to, amount: 7 })
    }

    /// Creates a namespace, writes one of three keys of it, or has it reverted to [`REVERTED_TO`].
    fn in_namespace(&mut self, height: u64) -> Vec<u8> {
        let ns = "board".to_owned();
        let (key, value) = (vec![b'k', (height % 3) as u8 + b'0'], self.nonce.to_be_bytes().to_vec());
        let value = Some(value).filter(|_| height != 8); // this height deletes its key
        let op = KvOp { key, value, if_height: None };
        self.signed(match height {
            1 => Msg::NsCreate { ns, owner: NsOwner::Signer, quota_keys: 10, quota_bytes: 1000 },
            5 => {
                let scope = vec![RevertScope { ns, expect_root: None }];
                let revert = Revert { target: Height(self.lead + REVERTED_TO), scope, notice: None, dirty_after: None };
                let (kind, reason, uri) = (ProposalKind::Revert(revert), String::new(), String::new());
                Msg::Propose(Box::new(Propose { kind, reason, uri }))
            }
            6 => Msg::Vote { id: 1, choice: Choice::Yes },
            _ => Msg::KvWrite { ns, data_epoch: if height <= REVERTED_AT { 1 } else { 2 }, ops: vec![op] },
        })
    }

    fn signed(&mut self, message: Msg) -> Vec<u8> {
        let body = TxBody {
            chain_id: chain_id(),
            signer: key(50).public_key(),
            order: TxOrder::Nonce(self.nonce),
            fee: 2,
            messages: vec![message],
        };
        self.nonce += 1;
        body.sign(&key(50)).encode()
    }

    fn commit(&mut self, txs: Vec<Vec<u8>>, change: Option<Change>) {
        let tip = self.store.tip().unwrap();
        let params = self.store.params(tip.height.next()).unwrap();
        let next = self.blocks.next(&tip, &params, txs, Vec::new(), &[key(1).into()]);
        let (context, txs) = next.execution();
        let mut outcome = self.app.execute(&self.store.reader().unwrap(), &context, &txs);
        let batch = |outcome: &Outcome, store: &Store<MemKv>| {
            store.commit_block(&next.batch(outcome, &params)).unwrap();
            App::open(&store.reader().unwrap(), chain_id(), context.height)
        };
        if let Some(change) = change {
            change(&mut outcome);
            let scratch = self.disk.copy();
            let changed = batch(&outcome, &Store::open(scratch.open(), &chain_id()).unwrap());
            outcome.results.app_hash = changed.app_hash();
        }
        self.app = batch(&outcome, &self.store);
        self.blocks.advance(&next);
    }
}

/// Writes rows into an empty database.
pub fn fill(kv: &impl Kv, rows: &Rows) {
    let mut batch = Batch::new();
    rows.iter().for_each(|(cf, key, value)| batch.put(*cf, key.clone(), value.clone()));
    kv.write(batch, Durability::Synced).unwrap();
}

/// Returns every row of a database, except the stored hashes of the application's trees: a rewind forgets them, and the next
/// start computes them again.
pub fn dump(kv: &impl Kv) -> Rows {
    let view = kv.view();
    let rows = |cf: storage::Cf| {
        let rows: Vec<_> = view.rows(cf, &[], &[]).map(Result::unwrap).collect();
        rows.into_iter().map(move |(key, value)| (cf, key.into_vec(), value.into_vec()))
    };
    let is_of_trees =
        |cf: storage::Cf, key: &[u8]| cf == storage::Cf::Trees || (cf == storage::Cf::Meta && key == b"trees");
    storage::Cf::ALL.into_iter().flat_map(rows).filter(|(cf, key, _)| !is_of_trees(*cf, key)).collect()
}
