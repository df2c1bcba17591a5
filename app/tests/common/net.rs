//! A chain with validators whose operators vote on proposals, for the tests of reverts.
#![allow(dead_code, missing_docs)]

use std::{collections::BTreeMap, time::Duration};

use app::{
    Answer, App, Namespace, Preview, Proposal, ProposalState, Tally, View, area,
    tree::{
        Tree,
        rows::{path_of, row_key, row_value, split_row},
    },
};
use types::{
    Event, Hash, Height, History, KvOp, Msg, NsName, NsOwner, Params, ProposalKind, ProposalParams, Propose, Revert,
    RevertScope, TxOrder, TxResult, VerifiedTx, Wire, WriteSet,
};

use super::*;

/// Operators of the four validators, which have the power 10 each.
pub const OPERATORS: [u8; 4] = [51, 52, 53, 54];

pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Parameters with short times: block h has the time of h seconds.
pub fn params() -> Params {
    let proposals = ProposalParams {
        deposit: 500,
        open_max: 3,
        voting: seconds(10),
        notice_min: seconds(3),
        freeze_max: seconds(6),
        cooldown: seconds(5),
        revert_keys_max: 20,
        revert_bytes_max: 2000,
    };
    Params { retain_blocks: 100, proposals, ..Params::default() }
}

pub struct Net {
    pub chain: Chain,
    nonces: BTreeMap<u8, u64>,
    /// The transactions of each block.
    pub blocks: Vec<Vec<VerifiedTx>>,
}

pub fn create(ns: &str) -> Msg {
    Msg::NsCreate { ns: ns.into(), owner: NsOwner::Shared, quota_keys: 1000, quota_bytes: 10_000_000 }
}

pub fn put(key: &str, value: &str) -> KvOp {
    KvOp { key: key.into(), value: Some(value.into()), if_height: None }
}

pub fn del(key: &str) -> KvOp {
    KvOp { key: key.into(), value: None, if_height: None }
}

pub fn write(ns: &str, data_epoch: u64, ops: &[KvOp]) -> Msg {
    Msg::KvWrite { ns: ns.into(), data_epoch, ops: ops.to_vec() }
}

/// A revert with the chain's notice and without conditions.
pub fn revert(target: u64, scope: &[&str]) -> Revert {
    let scope = scope.iter().map(|ns| RevertScope { ns: (*ns).into(), expect_root: None }).collect();
    Revert { target: Height(target), scope, notice: None, dirty_after: None }
}

pub fn propose_of(revert: Revert) -> Propose {
    Propose { kind: ProposalKind::Revert(revert), reason: "a test".into(), uri: String::new() }
}

pub fn propose(revert: Revert) -> Msg {
    Msg::Propose(Box::new(propose_of(revert)))
}

pub fn vote(id: u64, yes: bool) -> Msg {
    Msg::Vote { id, choice: yes.into() }
}

impl Net {
    pub fn new() -> Self {
        Self::with(&params())
    }

    pub fn with(params: &Params) -> Self {
        Self::of_powers(params, &[10; 4])
    }

    /// Creates a chain whose validators have these powers.
    pub fn of_powers(params: &Params, powers: &[u64]) -> Self {
        let chain = Chain::with_validators(&[1 << 40, 1 << 40, 1 << 40], params, powers);
        Self { chain, nonces: BTreeMap::new(), blocks: Vec::new() }
    }

    /// Creates a chain with the namespace `ns`, whose key `k` had the value `good` at height 3 and has `bad` now, at height 5.
    pub fn poisoned() -> Self {
        let mut net = Self::new();
        net.ok(1, vec![create("ns"), create("other")]);
        net.ok(1, vec![write("ns", 1, &[put("k", "good"), put("kept", "same")]), write("other", 1, &[put("k", "1")])]);
        net.empty();
        net.ok(2, vec![write("ns", 1, &[put("k", "bad"), put("new", "bad")])]);
        net.ok(2, vec![write("other", 1, &[put("k", "2")])]);
        net
    }

    pub fn tx(&mut self, from: u8, messages: Vec<Msg>) -> VerifiedTx {
        let nonce = self.nonces.entry(from).or_default();
        let mut body = body(from, TxOrder::Nonce(*nonce), messages);
        *nonce += 1;
        body.fee = 1000;
        trusted(body.sign(&key(from)))
    }

    pub fn block(&mut self, txs: Vec<VerifiedTx>) -> Vec<TxResult> {
        let results = self.chain.block(&txs);
        self.blocks.push(txs);
        results
    }

    /// Executes an empty block and returns its events.
    pub fn empty(&mut self) -> Vec<Event> {
        self.block(Vec::new());
        self.chain.events.clone()
    }

    pub fn run(&mut self, from: u8, messages: Vec<Msg>) -> TxResult {
        let tx = self.tx(from, messages);
        self.block(vec![tx]).remove(0)
    }

    pub fn ok(&mut self, from: u8, messages: Vec<Msg>) -> TxResult {
        let result = self.run(from, messages);
        assert_eq!(result.code, 0, "{}", result.log);
        result
    }

    /// Executes a block with a transaction that fails with a code of this name and changes nothing else.
    pub fn fails(&mut self, from: u8, messages: Vec<Msg>, name: &str) -> String {
        let alone = self.chain.execute(&[]);
        let mut expected = self.chain.rows.clone();
        store(&mut expected, &alone.writes);
        let result = self.run(from, messages);
        let line = app::CODES.iter().find(|line| line.number == result.code);
        assert_eq!(line.map(|line| line.name), Some(name), "{}", result.log);
        assert!(result.log.starts_with(&format!("message 0: {name}: ")), "{}", result.log);
        assert!(
            lasting(&self.chain.rows) == lasting(&expected),
            "a failed transaction leaves no trace: {}",
            result.log
        );
        result.log
    }

    /// Votes yes with the first three validators, in one block.
    pub fn pass(&mut self, id: u64) -> Vec<Event> {
        let txs = OPERATORS[..3].iter().map(|operator| self.tx(*operator, vec![vote(id, true)])).collect();
        assert!(self.block(txs).iter().all(|result| result.code == 0));
        self.chain.events.clone()
    }

    /// Proposes a revert and schedules it.
    pub fn schedule(&mut self, revert: Revert) -> u64 {
        let result = self.ok(3, vec![propose(revert)]);
        let id = attribute(&result.events[1], "id").parse().unwrap();
        assert_eq!(kinds(&self.pass(id)), "revert.scheduled");
        id
    }

    /// Executes empty blocks until one has events of its own, and returns these.
    pub fn wait(&mut self) -> Vec<Event> {
        (0..60).map(|_| self.empty()).find(|events| !events.is_empty()).expect("something is due")
    }

    pub fn height(&self) -> u64 {
        self.chain.app.height().0
    }

    pub fn namespace(&self, ns: &str) -> Namespace {
        View::of_state(&self.chain.rows).namespace(ns).unwrap()
    }

    pub fn root(&self, ns: &str) -> Hash {
        View::of_state(&self.chain.rows).root_of(&self.namespace(ns))
    }

    /// Returns the keys and values of a namespace.
    pub fn content(&self, ns: &str) -> BTreeMap<String, String> {
        content(&self.chain.rows, self.namespace(ns).number)
    }

    pub fn proposal(&self, id: u64) -> (Proposal, Tally) {
        match app::query(&self.chain.rows, &format!("/proposal/{id}"), b"") {
            Ok(Answer::Proposal { proposal, tally, .. }) => (*proposal, tally),
            other => panic!("{other:?}"),
        }
    }

    pub fn state(&self, id: u64) -> ProposalState {
        self.proposal(id).0.state
    }

    pub fn preview(&self, revert: Revert) -> Result<Preview, app::Refusal> {
        app::preview(&self.chain.tip(), self.chain.app.height(), self.chain.time, &propose_of(revert).encode())
    }

    pub fn reverted_by(&self, ns: &str, height: u64) -> Option<u64> {
        app::Taints::of(&self.chain.rows, &NsName::new(ns).unwrap()).reverted_by(Height(height))
    }

    /// Changes a row of N as no block does, and opens the application again.
    pub fn tamper(&mut self, key: &[u8], value: &[u8]) {
        let row = row_key(area::NEVER_REVERTED, &path_of(key));
        let writes = WriteSet([(row, Some(row_value(key, value)))].into());
        store(&mut self.chain.rows, &writes);
        self.chain.versions.write(self.chain.app.height(), &writes);
        self.chain.app = App::open(&self.chain.rows, chain_id(), self.chain.app.height());
    }

    /// Returns the root of a namespace as recomputed from its rows at a height.
    pub fn recomputed(&self, ns: &str, height: u64) -> Hash {
        let prefix = area::Area::Namespace(self.namespace(ns).number).prefix();
        Tree::open(&prefix, &self.chain.versions.at(Height(height))).root()
    }

    /// Returns the root of a namespace at a height, from the log of roots.
    pub fn logged(&self, ns: &str, height: u64) -> Hash {
        let row = row_key(area::NEVER_REVERTED, &path_of(&app::state::key::namespace(ns)));
        let then = self.chain.versions.get_at(Height(height), &row).expect("the namespace exists");
        let then: Rows = [(row, then)].into();
        let then = View::of_state(&then).namespace(ns).unwrap();
        View::of_state(&self.chain.rows).root_of(&then)
    }
}

/// Returns the keys and values of a namespace.
pub fn content(rows: &Rows, number: u32) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let prefix = area::Area::Namespace(number).prefix();
    let rows = rows.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
    rows.map(|(_, row)| split_row(row).unwrap()).map(|(key, value)| (text(key), text(value))).collect()
}

/// Returns all rows except those of accounts, collected fees and counters.
fn lasting(rows: &Rows) -> Vec<(&Vec<u8>, &Vec<u8>)> {
    let passes = |row: &[u8]| split_row(row).is_some_and(|(key, _)| !b"afm".contains(&key[0]));
    rows.iter().filter(|(key, row)| !key.starts_with(area::NEVER_REVERTED) || passes(row)).collect()
}

pub fn attribute<'e>(event: &'e Event, key: &str) -> &'e str {
    event.attributes.iter().find(|attribute| attribute.key == key).map_or("", |attribute| &attribute.value)
}

pub fn kinds(events: &[Event]) -> String {
    events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>().join(" ")
}

/// Returns an event as text: its kind, and its attributes in order.
pub fn text(event: &Event) -> String {
    let attributes = event.attributes.iter().map(|attribute| format!(" {}={}", attribute.key, attribute.value));
    event.kind.clone() + &attributes.collect::<String>()
}
