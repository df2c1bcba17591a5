//! Rows of the state, queries of the state, and proofs of it.

use std::sync::OnceLock;

use app::{
    Account, Delegation, ProofOp, Proposal, StakedValidator, StateProof, query,
    state::{NEVER_REVERTED, key},
    tree::{self, rows::split_row},
};
use types::{Hash, Height, NsName, Reader, TxOrder, VerifiedTx, Wire};

use crate::{
    chain::{ACCOUNTS, Chain, address, body, messages},
    judge::{check_reason, decoded, same, survives},
    samples,
};

/// The chain after a block for each kind of message.
fn chain() -> &'static Chain {
    static CHAIN: OnceLock<Chain> = OnceLock::new();
    CHAIN.get_or_init(|| {
        let mut chain = Chain::new();
        for (seed, message) in messages() {
            let order = TxOrder::Nonce(chain.account(seed).nonce);
            let tx = VerifiedTx::verified_before(body(seed, order, vec![message]).sign(&samples::key(seed)));
            let outcome = chain.execute(&[tx]);
            chain.commit(outcome);
        }
        chain
    })
}

/// Checks a row of the state: what is read from it is the same again, and a row is its key and its value.
pub fn state_row(bytes: &[u8]) -> bool {
    let Some((key, value)) = split_row(bytes) else { return false };
    assert_eq!(tree::rows::row_value(key, value), bytes, "a row is its key and its value");
    let account = Account::from_value(value);
    same(Account::from_value(value), account, "an account is read in one way");
    let validator = StakedValidator::from_value(value);
    if let Some(validator) = &validator {
        assert!(validator.worth(validator.shares) <= validator.tokens, "shares are worth what is there at most");
    }
    let delegation = Delegation::from_value(value);
    let proposal = Proposal::from_row(key, value);
    if let Some(proposal) = &proposal {
        let propose = proposal.propose();
        survives(&propose, Wire::encode, types::Propose::decode);
        assert!(proposal.names().count() <= types::limits::REVERT_SCOPE_MAX, "a scope is bounded");
    }
    account.is_some() || validator.is_some() || delegation.is_some() || proposal.is_some()
}

/// Returns the seeds of [`state_row`]: the rows of accounts, validators, delegations and proposals of a chain.
pub fn state_row_seeds() -> Vec<Vec<u8>> {
    let mut rows = Vec::new();
    chain().rows.scan(app::area::NEVER_REVERTED, &mut |_, row| {
        let is_read = split_row(row).is_some_and(|(key, _)| key.len() > 8 || key.first() == Some(&b'h'));
        rows.extend(is_read.then(|| row.to_vec()));
        true
    });
    rows
}

/// Checks a query of the state: an input is the path, a zero byte and the data. The answer is bounded and does not depend on
/// earlier queries.
pub fn query_of_state(bytes: &[u8]) -> bool {
    let (path, data) = bytes.split_at(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    let Ok(path) = std::str::from_utf8(path) else { return false };
    let data = data.get(1..).unwrap_or_default();
    let ask = || query(&chain().rows, path, data);
    match ask() {
        Ok(answer) => {
            same(ask(), Ok(answer.clone()), "a query changes nothing");
            if let app::Answer::Range { rows, .. } = &answer {
                assert!(rows.len() <= app::ROWS_MAX, "an answer is bounded");
            }
            true
        }
        Err(refusal) => {
            // A path that does not exist is answered with all that do.
            if !matches!(refusal, app::Refusal::UnknownPath { .. }) {
                check_reason(&refusal.to_string());
            }
            false
        }
    }
}

/// Returns the seeds of [`query_of_state`]: each path that there is.
pub fn query_of_state_seeds() -> Vec<Vec<u8>> {
    let (one, text) =
        (address(1).to_string(), |path: &str, data: &str| [path.as_bytes(), b"\0", data.as_bytes()].concat());
    let mut seeds = vec![
        text("/account", &one),
        text("/params", ""),
        text("/supply", ""),
        text("/upgrade", ""),
        text("/store", "s"),
        text("/kv/ns/a/b", ""),
        text("/kv/root/a/b", ""),
        text("/kv/list?limit=5", ""),
        text("/kv/get/a/b", "k"),
        text("/kv/range/a/b?limit=3", ""),
        text("/proposals?limit=2", "1"),
        text("/proposal/1", ""),
        text("/no/such/path", ""),
    ];
    for kind in ["validators", "pool", "params"] {
        seeds.push(text(&format!("/staking/{kind}"), ""));
    }
    let of = ["validator", "delegations", "delegators", "unbonding", "redelegations", "slashes", "uptime", "rewards"];
    for (kind, seed) in of.into_iter().zip((1..=ACCOUNTS).cycle()) {
        seeds.push(text(&format!("/staking/{kind}/{}", address(seed)), ""));
    }
    seeds
}

/// Checks a chain of proofs: it has one form, and if it proves a key under the app hash of the chain, the key has this value
/// there.
pub fn state_proof(bytes: &[u8]) -> bool {
    let ops = decoded(bytes, |bytes| {
        let ops = split_ops(bytes).ok_or_else(|| "the input is no list of proofs".to_owned())?;
        StateProof::from_ops(&ops).map(|proof| (ops, proof)).map_err(|error| error.to_string())
    });
    let Some((ops, proof)) = ops else { return false };
    same(join_ops(&proof.to_ops()), join_ops(&ops), "a chain of proofs has one form");
    let names: Vec<Vec<u8>> = proof.names().into_iter().map(<[u8]>::to_vec).collect();
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let (key, value) = (proof.key(), proof.value());
    let app_hash = chain().app.app_hash();
    match proof.verify(&app_hash, &names, key, value) {
        Ok(()) => {
            if names == [NEVER_REVERTED] {
                same(app::View::of_state(&chain().rows).get(key), value, "what is proven is so");
            }
            assert!(proof.verify(&Hash([0; 32]), &names, key, value).is_err(), "a proof is of one state");
            assert!(proof.verify(&app_hash, &names, b"\0other", value).is_err(), "a proof is of one key");
        }
        Err(error) => check_reason(&error.to_string()),
    }
    true
}

/// Reads a list of proofs: for each, the length of the key (1 byte), that of the data (2 bytes, big-endian), key and data.
fn split_ops(mut bytes: &[u8]) -> Option<Vec<ProofOp>> {
    let mut ops = Vec::new();
    while let Some((&[key, high, low], rest)) = bytes.split_first_chunk::<3>() {
        let (key, rest) = rest.split_at_checked(key.into())?;
        let (data, rest) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())?;
        ops.push(ProofOp { key: key.to_vec(), data: data.to_vec() });
        bytes = rest;
    }
    bytes.is_empty().then_some(ops)
}

fn join_ops(ops: &[ProofOp]) -> Vec<u8> {
    let op =
        |op: &ProofOp| [&[op.key.len() as u8], &(op.data.len() as u16).to_be_bytes()[..], &op.key, &op.data].concat();
    ops.iter().flat_map(op).collect()
}

/// Returns the seeds of [`state_proof`]: of values, of absence, of the root of a namespace and of a key in it.
pub fn state_proof_seeds() -> Vec<Vec<u8>> {
    proofs().iter().map(|proof| join_ops(&proof.to_ops())).collect()
}

fn proofs() -> Vec<StateProof> {
    let Chain { app, rows, .. } = chain();
    let mut proofs: Vec<StateProof> = Vec::new();
    for seed in [1, 2, 77] {
        proofs.push(app.prove(rows, &key::account(&address(seed))).expect("the rows are those of the tip"));
    }
    let ways =
        [app.way_in(0, b"k"), app.way_in(0, b"none"), Some(app.way_to_root(&NsName::new("a/b").expect("a name")))];
    proofs.extend(ways.into_iter().flatten().map(|way| way.prove(rows).expect("the rows are those of the tip")));
    proofs
}

/// Checks the nodes of the state's trees as a store returns them: an input is a list of rows, each the length of the key
/// (1 byte), of the value (1 byte), key and value. A value of 33 bytes gets its checksum here, so that damage reaches what
/// is behind it. Damaged nodes are refused, or lead to another app hash.
pub fn stored_trees(bytes: &[u8]) -> bool {
    let Some(rows) = split_rows(bytes) else { return false };
    let whole = join_rows(&stored_rows()) == bytes;
    let mut stored = tree::load::StoredTrees::default();
    let is_taken = rows.iter().all(|(key, value)| stored.push(key, value));
    let Chain { app, rows, .. } = chain();
    let at = app.height();
    let loaded = is_taken.then(|| app::App::load(stored, at, rows, samples::chain_id(), at, Vec::new())).flatten();
    match loaded {
        Some(loaded) if whole => same(loaded.app_hash(), app.app_hash(), "whole nodes lead to the app hash"),
        Some(loaded) => drop(loaded.app_hash()),
        None => assert!(!whole, "whole nodes are taken"),
    }
    is_taken
}

/// Bytes of a stored node without its checksum.
const CONTENT_BYTES: usize = 33;

fn split_rows(mut bytes: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut rows = Vec::new();
    while let Some((&[key, value], rest)) = bytes.split_first_chunk::<2>() {
        let (key, rest) = rest.split_at_checked(key.into())?;
        let (value, rest) = rest.split_at_checked(value.into())?;
        let checksum = types::blake3(&[key, value].concat()).0;
        let checksum = if value.len() == CONTENT_BYTES { &checksum[..4] } else { &[] };
        rows.push((key.to_vec(), [value, checksum].concat()));
        bytes = rest;
    }
    bytes.is_empty().then_some(rows)
}

fn join_rows(rows: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let row = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let content = &value[..CONTENT_BYTES];
        [&[key.len() as u8, content.len() as u8], &key[..], content].concat()
    };
    rows.iter().flat_map(row).collect()
}

fn stored_rows() -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = chain().app.stored().map(tree::stored::StoredNode::row);
    rows.filter_map(|(key, value)| Some((key, value?))).collect()
}

/// Returns the seeds of [`stored_trees`]: the nodes of a chain, and some of them.
pub fn stored_trees_seeds() -> Vec<Vec<u8>> {
    let rows = stored_rows();
    vec![join_rows(&rows), join_rows(&rows[..rows.len() / 2]), join_rows(&rows[..1])]
}

/// A proof to hand over, with the height of its header and the app hash in it.
pub(crate) struct HandedOver {
    pub(crate) ops: Vec<ProofOp>,
    pub(crate) height: Height,
    pub(crate) app_hash: Hash,
}

/// Returns the proofs of [`state_proof_seeds`] for files.
pub(crate) fn handed_over() -> Vec<HandedOver> {
    let (height, app_hash) = (chain().app.height().next(), chain().app.app_hash());
    proofs().iter().map(|proof| HandedOver { ops: proof.to_ops(), height, app_hash }).collect()
}
