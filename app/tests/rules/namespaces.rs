//! Proves the rules of namespaces: each refusal, compare-and-set, quotas, the log of roots, and a simple model.

use std::collections::BTreeMap;

use app::{
    Answer, App, Namespace, Owner, Pending, Pools, Refusal, TRIMMED_MIN, View, area, check_tx, misplaced_row, query,
    state::key,
    tree::{
        EMPTY_ROOT, Tree,
        rows::{rows_of, split_row},
    },
};
use proptest::prelude::*;
use types::{
    Event, Hash, Height, KvOp, Msg, NsOwner, Params, TxOrder, TxResult, VerifiedTx,
    limits::{KV_OLD_BYTES_MAX, KV_OPS_MAX, KV_VALUE_BYTES_MAX},
};

use crate::common::*;

fn create(ns: &str, owner: NsOwner, quota_keys: u64, quota_bytes: u64) -> Msg {
    Msg::NsCreate { ns: ns.into(), owner, quota_keys, quota_bytes }
}

fn shared(ns: &str) -> Msg {
    create(ns, NsOwner::Shared, 1000, 10_000_000)
}

fn put(key: &str, value: &str) -> KvOp {
    KvOp { key: key.into(), value: Some(value.into()), if_height: None }
}

fn del(key: &str) -> KvOp {
    KvOp { key: key.into(), value: None, if_height: None }
}

fn at(height: u64, op: KvOp) -> KvOp {
    KvOp { if_height: Some(Height(height)), ..op }
}

fn write(ns: &str, ops: &[KvOp]) -> Msg {
    Msg::KvWrite { ns: ns.into(), data_epoch: 1, ops: ops.to_vec() }
}

/// Creates a transaction with a fee that is enough for any size.
fn of(from: u8, nonce: u64, messages: Vec<Msg>) -> VerifiedTx {
    let mut body = body(from, TxOrder::Nonce(nonce), messages);
    body.fee = 1000;
    trusted(body.sign(&key(from)))
}

struct Test {
    chain: Chain,
    nonces: BTreeMap<u8, u64>,
}

impl Test {
    fn new() -> Self {
        Self::with(&Params::default())
    }

    fn with(params: &Params) -> Self {
        Self { chain: Chain::with_params(&[1 << 40, 1 << 40, 1050], params), nonces: BTreeMap::new() }
    }

    fn tx(&mut self, from: u8, messages: Vec<Msg>) -> VerifiedTx {
        let nonce = self.nonces.entry(from).or_default();
        *nonce += 1;
        of(from, *nonce - 1, messages)
    }

    /// Executes a block with one transaction of account 1.
    fn run(&mut self, messages: Vec<Msg>) -> TxResult {
        self.run_of(1, messages)
    }

    fn run_of(&mut self, from: u8, messages: Vec<Msg>) -> TxResult {
        let tx = self.tx(from, messages);
        self.chain.block(&[tx]).remove(0)
    }

    fn ok(&mut self, messages: Vec<Msg>) -> TxResult {
        let result = self.run(messages);
        assert_eq!(result.code, 0, "{}", result.log);
        result
    }

    /// Executes a block with a transaction whose last message fails with a text that begins with `expected`, and checks
    /// that it differs from an empty block only in fee and nonce.
    fn fails(&mut self, from: u8, messages: Vec<Msg>, expected: &str) -> (u32, String) {
        let mut alone = self.chain.rows.clone();
        store(&mut alone, &self.chain.execute(&[]).writes);
        let last = messages.len() - 1;
        let result = self.run_of(from, messages);
        let sentence = result.log.strip_prefix(&format!("message {last}: ")).unwrap_or_default();
        assert!(sentence.starts_with(expected), "{expected:?} is expected: code {}, {:?}", result.code, result.log);
        assert!(content(&self.chain.rows) == content(&alone), "a failed transaction leaves no trace: {}", result.log);
        assert_eq!(result.events.len(), 1, "the event of the transaction alone");
        (result.code, result.log)
    }

    fn namespace(&self, ns: &str) -> Namespace {
        View::of_state(&self.chain.rows).namespace(ns).unwrap()
    }

    fn root(&self, ns: &str) -> Hash {
        View::of_state(&self.chain.rows).root_of(&self.namespace(ns))
    }

    fn value(&self, ns: &str, key: &str) -> Option<String> {
        let mut view = View::of_state(&self.chain.rows);
        let value = view.value(&self.namespace(ns), key.as_bytes()).map(<[u8]>::to_vec);
        value.map(|value| String::from_utf8(value).unwrap())
    }

    fn height(&self) -> u64 {
        self.chain.app.height().0
    }

    /// Returns the entries of the log of a namespace's roots by height.
    fn log(&self, number: u32) -> BTreeMap<u64, Hash> {
        let entry = |row: &Vec<u8>| {
            let (key, value) = split_row(row)?;
            let height = key.strip_prefix(&[b"l", &number.to_be_bytes()[..]].concat()[..])?.try_into().ok()?;
            // The root is the first field of the message: a tag, a length, 32 bytes.
            Some((u64::from_be_bytes(height), Hash(value[2..34].try_into().unwrap())))
        };
        let rows = self.chain.rows.iter().filter(|(key, _)| key.starts_with(area::NEVER_REVERTED));
        rows.filter_map(|(_, row)| entry(row)).collect()
    }
}

/// Returns all rows except those of accounts, of the collected fees and of the counters.
fn content(rows: &Rows) -> Vec<(&Vec<u8>, &Vec<u8>)> {
    let changes = |row: &[u8]| {
        split_row(row).is_some_and(|(key, _)| key[0] == b'a' || key == key::FEE_POOL || key == key::COUNTERS)
    };
    rows.iter().filter(|(key, row)| !key.starts_with(area::NEVER_REVERTED) || !changes(row)).collect()
}

fn root_of(content: &BTreeMap<String, String>) -> Hash {
    Tree::open(b"x", &rows_of(b"x", content)).root()
}

#[test]
pub fn a_namespace_is_created_written_and_read() {
    let mut test = Test::new();
    let created = test.ok(vec![create("shared/policy", NsOwner::Signer, 10, 1000)]);
    let event = |kind: &str, attributes: &[(&'static str, String)]| {
        Event::new(kind, attributes.iter().map(|(key, value)| (*key, value.clone(), *key == "ns")))
    };
    let (ns, one) = (("ns", "shared/policy".to_owned()), address(1).to_string());
    let expected = event(
        "kv.ns_created",
        &[ns.clone(), ("owner", one.clone()), ("quota_keys", "10".into()), ("quota_bytes", "1000".into())],
    );
    assert_eq!(created.events[1], expected);
    assert_eq!(test.root("shared/policy"), EMPTY_ROOT);
    let written = test.ok(vec![write("shared/policy", &[put("a", "1"), put("\n", "22"), del("none")])]);
    let expected = event(
        "kv.write",
        &[ns, ("data_epoch", "1".into()), ("signer", one), ("keys", "61,0A,6E6F6E65".into()), ("n", "3".into())],
    );
    assert_eq!(written.events[1], expected);
    assert_eq!(written.gas_used, 3);
    let namespace = test.namespace("shared/policy");
    let expected = Namespace {
        number: 0,
        owner: Owner::Account(address(1)),
        data_epoch: 1,
        quota_keys: 10,
        quota_bytes: 1000,
        keys: 2,
        bytes: 5,
        created: Height(1),
        changed: Height(2),
        writes: 1,
        frozen: None,
        freeze_after: None,
        propose_after: None,
        reverted: None,
    };
    assert_eq!(namespace, expected);
    assert_eq!(test.value("shared/policy", "a").as_deref(), Some("1"));
    let rows = &test.chain.rows;
    let root = test.root("shared/policy");
    assert_ne!(root, EMPTY_ROOT);
    let name = "shared/policy".parse().unwrap();
    let answer = Answer::Namespace { name, namespace, root, is_root: true };
    assert_eq!(query(rows, "/kv/root/shared/policy", b""), Ok(answer));
    assert_eq!(
        query(rows, "/kv/get/shared/policy", b"a"),
        Ok(Answer::Value { key: b"a".into(), value: Some(b"1".into()) })
    );
    assert_eq!(query(rows, "/kv/get/shared/policy", b"b"), Ok(Answer::Value { key: b"b".into(), value: None }));
}

#[test]
pub fn each_refusal_leaves_the_state_unchanged() {
    let mut test = Test::new();
    test.ok(vec![create("mine", NsOwner::Signer, 2, 12), shared("all")]);
    test.ok(vec![write("all", &[put("k", "1")])]);
    let refusals: Vec<(u8, Vec<Msg>, &str)> = vec![
        (1, vec![shared("all")], "E_NS_EXISTS: there is a namespace all already"),
        (1, vec![shared("All")], "E_BAD_NAME: \"All\" is not a name"),
        (1, vec![write("a//b", &[del("k")])], "E_BAD_NAME"),
        (1, vec![write("none", &[del("k")])], "E_NS_UNKNOWN: there is no namespace none"),
        (2, vec![write("mine", &[put("k", "1")])], "E_NOT_WRITER: only "),
        (
            1,
            vec![Msg::KvWrite { ns: "all".into(), data_epoch: 2, ops: vec![del("k")] }],
            "E_STALE_EPOCH: the write names data epoch 2 of all, which is 1 now",
        ),
        (
            1,
            vec![write("all", &[at(0, put("k", "2"))])],
            "E_CAS: key k exists, the operation requires that it is absent",
        ),
        (1, vec![write("all", &[at(1, put("k", "2"))])], "E_CAS: key k changed at height 2, the operation requires no"),
        (1, vec![write("all", &[at(9, put("x", "2"))])], "E_CAS: key x is absent"),
        (
            1,
            vec![write("mine", &[put("a", "1"), put("b", "1"), put("c", "1")])],
            "E_QUOTA: mine would have 3 of 2 keys",
        ),
        (
            1,
            vec![write("mine", &[put("a", "12345678901234")])],
            "E_QUOTA: mine would have 1 of 2 keys and 15 of 12 bytes",
        ),
        (1, vec![write("all", &[put("", "1")])], "E_KEY_SIZE: a key of 0 bytes"),
        (1, vec![write("all", &[put(&"k".repeat(257), "1")])], "E_KEY_SIZE: a key of 257 bytes"),
        (1, vec![write("all", &[put("k", &"v".repeat(65_537))])], "E_VALUE_SIZE: key k has a value of 65537 bytes"),
        (1, vec![write("all", &[put("k", "")])], "E_VALUE_SIZE: key k has a value of 0 bytes"),
        (3, vec![shared("poor")], "E_DEPOSIT: 100 is needed for deposits, the account has 50 left"),
        (1, vec![write("all", &vec![del("k"); 65])], "E_TOO_MANY_OPS: a write of 65 operations"),
        // What the messages before it did is undone.
        (
            1,
            vec![shared("new"), write("all", &[put("n", "1")]), write("new", &[put("n", "1")]), shared("all")],
            "E_NS_EXISTS",
        ),
    ];
    for (from, messages, expected) in refusals {
        let (code, log) = test.fails(from, messages, expected);
        let name = expected.split(':').next().unwrap();
        assert!(app::CODES.iter().any(|line| (line.number, line.name) == (code, name)), "{log}");
    }
}

#[test]
pub fn the_largest_key_and_value_and_as_many_operations_as_allowed_pass() {
    let mut test = Test::new();
    test.ok(vec![shared("a")]);
    test.ok(vec![write("a", &[put(&"k".repeat(256), &"v".repeat(65_536)), put("x", "1"), put("y", "1")])]);
    let many: Vec<KvOp> = (0..64).map(|i| put(&format!("many{i}"), "v")).collect();
    test.ok(vec![write("a", &many)]);
    assert_eq!(test.namespace("a").keys, 3 + 64);
}

#[test]
pub fn the_old_values_that_a_block_replaces_are_bounded() {
    let mut test = Test::new();
    test.ok(vec![create("big", NsOwner::Shared, 5000, 1 << 30)]);
    let (value, count) = ("v".repeat(KV_VALUE_BYTES_MAX), KV_OLD_BYTES_MAX / KV_VALUE_BYTES_MAX + KV_OPS_MAX);
    let keys: Vec<String> = (0..count).map(|key| format!("k{key}")).collect();
    for some in keys.chunks(3) {
        test.ok(vec![write("big", &some.iter().map(|key| put(key, &value)).collect::<Vec<_>>())]);
    }
    let delete = |some: &[String]| vec![write("big", &some.iter().map(|key| del(key)).collect::<Vec<_>>())];
    let txs: Vec<VerifiedTx> = keys.chunks(KV_OPS_MAX).map(|some| test.tx(1, delete(some))).collect();
    let results = test.chain.block(&txs);
    let (last, first) = results.split_last().unwrap();
    assert!(first.iter().all(|result| result.code == 0), "{first:?}");
    assert_eq!(last.code, 112, "{}", last.log);
    assert_eq!(test.namespace("big").keys, KV_OPS_MAX as u64, "the refused write changed nothing");
    test.ok(delete(&keys[count - KV_OPS_MAX..]));
    assert_eq!((test.namespace("big").keys, test.namespace("big").bytes), (0, 0));
}

#[test]
pub fn a_namespace_costs_its_deposit_and_a_large_transaction_a_higher_fee() {
    let mut test = Test::new();
    let before = test.chain.balance(1);
    test.ok(vec![shared("a"), shared("b")]);
    assert_eq!(before - test.chain.balance(1), 1000 + 2 * 100);
    assert_eq!(query(&test.chain.rows, "/supply", b"").unwrap(), {
        let total = (2 << 40) + 1050;
        Answer::Supply { total, fee_pool: 1200, deposits: 0, stake: Pools::default() }
    });
    let mut cheap = body(1, TxOrder::Nonce(1), vec![write("a", &[put("k", &"v".repeat(3000))])]);
    cheap.fee = 2;
    let result = test.chain.block(&[trusted(cheap.clone().sign(&crate::common::key(1)))]).remove(0);
    assert_eq!(result.log, "E_FEE: the fee is 2, at least 4 is needed");
    cheap.fee = 4;
    assert_eq!(test.chain.block(&[trusted(cheap.sign(&crate::common::key(1)))])[0].code, 0);
}

#[test]
pub fn the_size_of_a_namespace_is_that_of_what_it_holds() {
    let mut test = Test::new();
    test.ok(vec![shared("a")]);
    let mut size_after = |ops: &[KvOp]| {
        test.ok(vec![write("a", ops)]);
        (test.namespace("a").keys, test.namespace("a").bytes)
    };
    assert_eq!(size_after(&[put("k", "1")]), (1, 2));
    assert_eq!(size_after(&[put("k", "22"), put("l", "1")]), (2, 5));
    assert_eq!(size_after(&[put("k", "1"), put("k", "333")]), (2, 6));
    assert_eq!(size_after(&[del("k"), del("none")]), (1, 2));
    assert_eq!(size_after(&[del("l")]), (0, 0));
}

#[test]
pub fn a_condition_sees_changes_of_its_own_block_and_transaction() {
    let mut test = Test::new();
    test.ok(vec![shared("a")]);
    test.ok(vec![write("a", &[put("k", "1")])]);
    let height = test.height();
    let pass = |test: &mut Test, ops: &[KvOp]| test.run(vec![write("a", ops)]).code == 0;
    assert!(pass(&mut test, &[at(height, put("k", "2"))]), "it did not change after it was read");
    assert!(!pass(&mut test, &[at(height, put("k", "3"))]), "it changed");
    let height = test.height();
    assert!(!pass(&mut test, &[put("k", "4"), at(height, put("k", "5"))]), "this transaction changed it");
    assert_eq!(test.value("a", "k").as_deref(), Some("2"));
    assert!(pass(&mut test, &[put("k", "2"), at(height, put("k", "3"))]), "the value it had is no change");
    assert!(pass(&mut test, &[del("k"), at(0, put("k", "6"))]), "absent now");
    let height = test.height();
    assert!(pass(&mut test, &[del("k")]));
    assert!(!pass(&mut test, &[at(height + 1, put("k", "7"))]), "a deleted key has no height");
    assert!(pass(&mut test, &[at(0, put("k", "7"))]));
    let height = test.height();
    let (first, second) = (
        test.tx(1, vec![write("a", &[at(height, put("k", "8"))])]),
        test.tx(2, vec![write("a", &[at(height, put("k", "9"))])]),
    );
    let codes: Vec<u32> = test.chain.block(&[first, second]).iter().map(|result| result.code).collect();
    assert_eq!(codes, [0, 105], "the first of two in one block");
}

#[test]
pub fn a_condition_below_the_window_is_refused() {
    let mut test = Test::with(&Params { retain_blocks: 3, ..Params::default() });
    test.ok(vec![shared("a")]);
    test.ok(vec![write("a", &[put("k", "1")])]);
    let read = test.height();
    test.chain.block(&[]);
    test.chain.block(&[]);
    assert_eq!(test.run(vec![write("a", &[at(read, put("k", "2"))])]).code, 0, "height 2 of block 5");
    for _ in 0..2 {
        test.chain.block(&[]);
    }
    let (code, log) = test.fails(1, vec![write("a", &[at(4, put("k", "2"))])], "E_HEIGHT_PRUNED");
    assert_eq!(
        (code, log.contains("height 4 is older than those that every node keeps, 5 is the earliest")),
        (106, true),
        "{log}"
    );
}

#[test]
pub fn numbers_are_in_the_order_of_creation_and_lists_in_the_order_of_names() {
    let mut test = Test::new();
    test.ok(vec![shared("b"), shared("a/x"), shared("c")]);
    let numbers: Vec<u32> = ["b", "a/x", "c"].map(|ns| test.namespace(ns).number).into();
    assert_eq!(numbers, [0, 1, 2]);
    let names = |path: &str, from: &str| match query(&test.chain.rows, path, from.as_bytes()) {
        Ok(Answer::Namespaces { list, next }) => {
            (list.into_iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>(), next.map(|next| next.to_string()))
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(names("/kv/list", ""), (vec!["a/x".into(), "b".into(), "c".into()], None));
    assert_eq!(names("/kv/list?limit=1", "a/y"), (vec!["b".into()], Some("c".into())));
    for bad in ["/kv/list?limit=0", "/kv/list?limit=101", "/kv/range/b?limit=x"] {
        assert_eq!(query(&test.chain.rows, bad, b"").unwrap_err().code().name, "E_BAD_QUERY");
    }
    for (bad, name) in [("/kv/get/none", "E_NS_UNKNOWN"), ("/kv/get/", "E_BAD_NAME"), ("/kv/x/b", "E_UNKNOWN_PATH")] {
        assert_eq!(query(&test.chain.rows, bad, b"k").unwrap_err().code().name, name);
    }
}

#[test]
pub fn a_range_is_in_the_order_of_the_keys_and_bounded() {
    let mut test = Test::new();
    test.ok(vec![shared("a"), shared("b")]);
    for page in 0..3 {
        let ops: Vec<KvOp> = (0..50).rev().map(|i| put(&format!("{:03}", page * 50 + i), "v")).collect();
        test.ok(vec![write("a", &ops), write("b", &ops)]);
    }
    test.ok(vec![write("a", &[del("001")])]);
    let range = |path: &str, from: &str| match query(&test.chain.rows, path, from.as_bytes()) {
        Ok(Answer::Range { rows, next }) => {
            let text = |key: Vec<u8>| String::from_utf8(key).unwrap();
            (rows.into_iter().map(|(key, _)| text(key)).collect::<Vec<_>>(), next.map(text))
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(range("/kv/range/a?limit=3", ""), (vec!["000".into(), "002".into(), "003".into()], Some("004".into())));
    let (rows, next) = range("/kv/range/a", "010");
    assert_eq!((rows.len(), rows[0].as_str(), next.as_deref()), (100, "010", Some("110")));
    let (rows, next) = range("/kv/range/a", "110");
    assert_eq!((rows.len(), next), (40, None));
    let large = "v".repeat(65_536);
    for key in 0..20 {
        test.ok(vec![write("b", &[put(&format!("x{key:02}"), &large)])]);
    }
    let Ok(Answer::Range { rows, next }) = query(&test.chain.rows, "/kv/range/b", b"x") else { panic!() };
    assert_eq!((rows.len(), next.as_deref()), (15, Some(&b"x15"[..])), "1 MiB");
    assert_eq!(misplaced_row(&test.chain.rows), None);
}

#[test]
pub fn a_row_that_is_missing_in_a_list_is_found() {
    let mut test = Test::new();
    test.ok(vec![shared("a"), shared("b")]);
    test.ok(vec![write("a", &[put("k", "1"), put("l", "1")])]);
    assert_eq!(misplaced_row(&test.chain.rows), None);
    let with = |change: &dyn Fn(&mut Rows)| {
        let mut rows = test.chain.rows.clone();
        change(&mut rows);
        misplaced_row(&rows).unwrap_or_default()
    };
    assert!(with(&|rows| drop(rows.remove(&area::key_row(0, b"k")))).contains("is missing"));
    assert!(with(&|rows| drop(rows.insert(area::key_row(0, b"z"), vec![]))).contains("the list of keys of a has 3"));
    assert!(with(&|rows| drop(rows.remove(&area::name_row("b")))).contains("is missing"));
    assert!(with(&|rows| drop(rows.insert(area::name_row("z"), vec![0; 4]))).contains("does not exist"));
    let row = test.chain.rows.keys().find(|key| key.starts_with(area::REVERTIBLE)).unwrap().clone();
    assert!(
        with(&|rows| drop(rows.insert(row.clone(), app::tree::rows::row_value(b"y", b"1")))).contains("another key")
    );
}

#[test]
pub fn the_log_keeps_the_roots_of_the_window_and_no_others() {
    let mut test = Test::with(&Params { retain_blocks: 5, ..Params::default() });
    test.ok(vec![shared("a"), shared("b")]);
    let mut roots = BTreeMap::new();
    for height in 2..=40_u64 {
        if height % 3 == 0 {
            test.ok(vec![write("a", &[put("k", &height.to_string())])]);
        } else {
            test.chain.block(&[]);
        }
        let content = (height >= 3).then(|| ("k".to_owned(), (height / 3 * 3).to_string())).into_iter().collect();
        roots.insert(height, root_of(&content));
        assert_eq!(test.root("a"), roots[&height], "the root at height {height}");
        let log = test.log(0);
        for at in height.saturating_sub(5).max(2)..=height {
            let logged = log.range(..=at).next_back().map_or(EMPTY_ROOT, |(_, root)| *root);
            assert_eq!(logged, roots[&at], "the root of height {at} at height {height}");
        }
        assert!(log.range(..height.saturating_sub(5)).count() <= 1, "older than the window: {log:?}");
    }
    let rows = test.chain.rows.len();
    for _ in 0..10 {
        test.chain.block(&[]);
    }
    assert_eq!(test.log(0).len(), 1, "an idle namespace keeps its last root");
    assert!(test.chain.rows.len() < rows);
    let idle = test.chain.app.app_hash();
    test.chain.block(&[]);
    assert_eq!(test.chain.app.app_hash(), idle, "an empty block changes nothing");
}

#[test]
pub fn what_a_block_deletes_from_the_log_is_bounded() {
    let count = TRIMMED_MIN + 500;
    let mut test = Test::with(&Params { retain_blocks: 3, ns_deposit: 0, ..Params::default() });
    let names: Vec<String> = (0..count).map(|i| format!("n{i}")).collect();
    for names in names.chunks(16) {
        test.ok(names.iter().map(|ns| shared(ns)).collect());
    }
    let all = |test: &mut Test, value: &str| {
        let txs: Vec<VerifiedTx> = names
            .chunks(16)
            .map(|names| test.tx(1, names.iter().map(|ns| write(ns, &[put("k", value)])).collect()))
            .collect();
        assert!(test.chain.block(&txs).iter().all(|result| result.code == 0));
    };
    all(&mut test, "1");
    all(&mut test, "2");
    let entries = |test: &Test| {
        let rows = test.chain.rows.iter().filter(|(key, _)| key.starts_with(area::NEVER_REVERTED));
        rows.filter(|(_, row)| split_row(row).unwrap().0[0] == b'l').count()
    };
    let mut counts = vec![entries(&test)];
    for _ in 0..6 {
        test.chain.block(&[]);
        counts.push(entries(&test));
    }
    assert_eq!((counts[0], counts[6]), (2 * count, count));
    let steps: Vec<usize> = counts.windows(2).map(|pair| pair[0] - pair[1]).collect();
    assert_eq!(steps.iter().filter(|step| **step > 0).count(), 2, "{steps:?}");
}

#[test]
pub fn a_mempool_checks_what_needs_no_state_and_the_deposit() {
    let test = Test::new();
    let check = |from: u8, message: Msg| {
        let tx = of(from, 0, vec![message]);
        let admission = check_tx(&test.chain.rows, &test.chain.rules(), &tx, Pending::default())?;
        Ok(admission.cost)
    };
    assert_eq!(check(1, shared("a")), Ok(1100));
    assert_eq!(check(1, write("unknown", &[put("k", "1")])), Ok(1000), "it may be created before");
    assert_eq!(check(3, shared("a")), Err(Refusal::Deposit { have: 50, need: 100 }));
    assert_eq!(check(4, shared("a")), Err(Refusal::InsufficientFunds { have: 0, need: 1100 }));
    for (message, name) in [
        (shared("A"), "E_BAD_NAME"),
        (write("a", &[put("", "1")]), "E_KEY_SIZE"),
        (write("a", &vec![del("k"); 65]), "E_TOO_MANY_OPS"),
    ] {
        assert_eq!(check(1, message).unwrap_err().code().name, name);
    }
}

#[test]
pub fn golden_app_hash_with_a_namespace() {
    let mut test = Test::new();
    test.ok(vec![shared("shared/policy"), create("mine", NsOwner::Signer, 10, 100)]);
    test.ok(vec![write("shared/policy", &[put("rules", "none"), put("tools", "all")])]);
    assert_eq!(
        test.root("shared/policy").to_string(),
        "301DD86F7CF740171898B59414FFEAC24AC33E62DB688E922118553881F88355"
    );
    assert_eq!(
        test.chain.app.app_hash().to_string(),
        "2F3804A83F5CF9FF2EC1E0D3B055C23AD8C3DBB9FDEF2BB0E222DD09496CCF2B"
    );
}

/// An operation of the model: namespace, key, value or deletion, and how the condition relates to the present.
type Step = (usize, usize, Option<u8>, Option<u64>);

fn any_blocks() -> impl Strategy<Value = Vec<Vec<(u8, u64, Vec<Step>)>>> {
    let step = (0_usize..3, 0_usize..5, proptest::option::of(1_u8..4), proptest::option::weighted(0.3, 0_u64..8));
    let tx = (1_u8..3, prop_oneof![9 => Just(1_u64), 1 => Just(2_u64)], proptest::collection::vec(step, 1..5));
    proptest::collection::vec(proptest::collection::vec(tx, 0..4), 1..15)
}

const NAMES: [&str; 3] = ["shared", "mine", "small"];

/// A namespace of the model: keys with their values and the heights that changed them.
type Model = BTreeMap<String, (String, u64)>;

fn start() -> Test {
    let mut test = Test::with(&Params { retain_blocks: 4, ..Params::default() });
    test.ok(vec![shared("shared"), create("mine", NsOwner::Signer, 9, 999), create("small", NsOwner::Shared, 2, 5)]);
    test
}

fn op((_, key, value, before): &Step, height: u64) -> KvOp {
    let key = format!("k{key}");
    let if_height = before.map(|before| if before == 7 { Height(0) } else { Height(height.saturating_sub(before)) });
    KvOp { key: key.into(), value: value.map(|value| vec![b'v'; value.into()]), if_height }
}

/// Applies a transaction to the models, by the rules as a reader of the documentation understands them. `before` is the
/// content before the block: a key that a block changes and changes back did not change.
fn model(models: &mut [Model; 3], before: &[Model; 3], from: u8, epoch: u64, steps: &[Step], height: u64) -> bool {
    let mut after = models.clone();
    for step in steps {
        let op = op(step, height);
        let (key, model) = (String::from_utf8(op.key).unwrap(), &mut after[step.0]);
        if epoch != 1 || (step.0 == 1 && from != 1) {
            return false;
        }
        let passes = match (op.if_height, model.get(&key)) {
            (None, _) => true,
            (Some(Height(0)), found) => found.is_none(),
            (Some(at), found) => at.0 + 4 >= height && found.is_some_and(|(_, changed)| *changed <= at.0),
        };
        if !passes {
            return false;
        }
        match op.value.map(|value| String::from_utf8(value).unwrap()) {
            Some(value) => {
                let same = before[step.0].get(&key).filter(|(old, _)| *old == value);
                let changed = same.map_or(height, |(_, changed)| *changed);
                model.insert(key, (value, changed));
            }
            None => drop(model.remove(&key)),
        }
        let bytes: usize = model.iter().map(|(key, (value, _))| key.len() + value.len()).sum();
        if step.0 == 2 && (model.len() > 2 || bytes > 5) {
            return false;
        }
    }
    *models = after;
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn namespaces_follow_a_simple_model(blocks in any_blocks()) {
        let (mut test, mut forgetful) = (start(), start());
        let mut models: [Model; 3] = Default::default();
        for block in &blocks {
            let height = test.height() + 1;
            let before = models.clone();
            let mut expected = Vec::new();
            let mut txs = Vec::new();
            for (from, epoch, steps) in block {
                expected.push(model(&mut models, &before, *from, *epoch, steps, height));
                let message = |step: &Step| Msg::KvWrite {
                    ns: NAMES[step.0].into(),
                    data_epoch: *epoch,
                    ops: vec![op(step, height)],
                };
                txs.push(test.tx(*from, steps.iter().map(message).collect()));
            }
            let results = test.chain.block(&txs);
            let passed: Vec<bool> = results.iter().map(|result| result.code == 0).collect();
            prop_assert_eq!(passed, expected, "{:?}", results);
            // A node that keeps less history agrees: it forgot deletions, and heights below the window.
            prop_assert_eq!(&forgetful.chain.block(&txs), &results);
            prop_assert_eq!(forgetful.chain.app.app_hash(), test.chain.app.app_hash());
            let (rows, start) = (forgetful.chain.rows.clone(), Height(height.saturating_sub(4)));
            forgetful.chain.changed.retain(|row, at| rows.contains_key(row) && *at > start);
            for (name, model) in NAMES.iter().zip(&models) {
                let namespace = test.namespace(name);
                let bytes: usize = model.iter().map(|(key, (value, _))| key.len() + value.len()).sum();
                prop_assert_eq!((namespace.keys, namespace.bytes), (model.len() as u64, bytes as u64));
                let content = model.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect();
                prop_assert_eq!(test.root(name), root_of(&content), "the logged root is that of the content");
                let path = format!("/kv/range/{name}");
                let Ok(Answer::Range { rows, next: None }) = query(&test.chain.rows, &path, b"") else { panic!() };
                let rows = rows.into_iter().map(|(k, v)| (String::from_utf8(k).unwrap(), String::from_utf8(v).unwrap()));
                prop_assert_eq!(rows.collect::<BTreeMap<_, _>>(), content);
            }
            let reopened = App::open(&test.chain.rows, chain_id(), test.chain.app.height());
            prop_assert_eq!(reopened.app_hash(), test.chain.app.app_hash());
            prop_assert_eq!(misplaced_row(&test.chain.rows), None);
        }
    }

    #[test]
    fn equal_content_has_an_equal_root(
        keys in proptest::collection::btree_map(0_u8..40, 0_u8..4, 1..30),
        noise in proptest::collection::vec((0_u8..40, proptest::option::of(0_u8..4)), 0..40),
        cut in 0_usize..30,
    ) {
        let op = |key: &u8, value: Option<u8>| match value {
            Some(value) => put(&format!("k{key}"), &value.to_string()),
            None => del(&format!("k{key}")),
        };
        let mut straight = start();
        straight.ok(keys.iter().map(|(key, value)| write("shared", &[op(key, Some(*value))])).take(15).collect());
        let rest: Vec<Msg> = keys.iter().map(|(key, value)| write("shared", &[op(key, Some(*value))])).skip(15).collect();
        if !rest.is_empty() {
            straight.ok(rest);
        }
        let mut winding = start();
        for (key, value) in &noise {
            winding.ok(vec![write("shared", &[op(key, *value)])]);
        }
        let mut last: Vec<KvOp> = (0..40).map(|key| op(&key, keys.get(&key).copied())).collect();
        last.rotate_left(cut);
        winding.ok(vec![write("shared", &last)]);
        prop_assert_eq!(winding.root("shared"), straight.root("shared"));
    }
}
