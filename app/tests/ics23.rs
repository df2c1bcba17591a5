//! Proves that an unmodified verifier of ICS-23 accepts our proofs, and no others.

mod common;
#[path = "common/stock.rs"]
mod stock;

use app::{
    App, ProofOp, REVERTIBLE, StateProof, app_hash,
    tree::{
        EMPTY_ROOT, Existence, Proof, Tree,
        rows::{path_of, rows_of},
    },
};
use common::{Chain, address, chain_id, transfer, tx};
use ics23::{
    BatchEntry, BatchProof, CommitmentProof, CompressedBatchEntry, CompressedBatchProof, InnerOp, batch_entry,
    commitment_proof, compress, compressed_batch_entry, decompress,
};
use proptest::prelude::*;
use prost_of_ics23::Message;
use stock::{accepts, theirs};
use types::{Hash, Height, KvOp, Msg, NsName, NsOwner, TxOrder, Wire};

#[test]
fn a_chain_of_proofs_leads_from_an_account_to_the_app_hash() {
    let mut chain = Chain::new(&[100, 7]);
    chain.block(&[tx(1, TxOrder::Nonce(0), vec![transfer(2, 30)])]);
    let app_hash = chain.app.app_hash();
    for seed in [1, 2, 3] {
        let key = app::state::key::account(&address(seed));
        let proof = chain.app.prove(&chain.rows, &key).unwrap();
        assert_eq!(proof.value().is_some(), seed < 3);
        let ops = proof.to_ops();
        let [own, part] = &ops[..] else { panic!("{ops:?}") };
        assert_eq!((own.key.as_slice(), part.key.as_slice()), (&key[..], &b"n"[..]));
        let root = Tree::open(b"n", &chain.rows).root();
        assert!(accepts(&theirs(&own.data), &root, &key, proof.value()));
        assert!(accepts(&theirs(&part.data), &app_hash, b"n", Some(&root.0)));
        assert!(!accepts(&theirs(&part.data), &app_hash, b"r", Some(&root.0)));
        assert!(!accepts(&theirs(&own.data), &app_hash, &key, proof.value()));
    }
    assert_eq!(App::open(&chain.rows, chain_id(), Height(1)).app_hash(), app_hash);
}

/// Returns a chain with the namespace `a/b`, whose keys are `k0` to `k8`, and an empty namespace.
fn with_namespaces() -> Chain {
    let mut chain = Chain::new(&[100_000]);
    let create = |ns: &str| Msg::NsCreate { ns: ns.into(), owner: NsOwner::Shared, quota_keys: 99, quota_bytes: 9999 };
    let put = |i| KvOp { key: format!("k{i}").into(), value: Some(vec![i; 40]), if_height: None };
    let write = Msg::KvWrite { ns: "a/b".into(), data_epoch: 1, ops: (0..9).map(put).collect() };
    chain.block(&[tx(1, TxOrder::Nonce(0), vec![create("a/b"), create("empty"), write])]);
    chain
}

#[test]
fn a_chain_of_proofs_leads_from_a_key_of_a_namespace_to_the_app_hash() {
    let chain = with_namespaces();
    let (app, rows) = (&chain.app, &chain.rows);
    let app_hash = app.app_hash();
    let name = NsName::new("a/b").unwrap();
    for (key, value) in [(&b"k3"[..], Some(&[3; 40][..])), (b"none", None)] {
        let proof = app.way_in(0, key).unwrap().prove(rows).unwrap();
        assert_eq!((proof.value(), proof.names()), (value, vec![&b"a/b"[..], REVERTIBLE]));
        assert_eq!(proof.verify(&app_hash, &[b"a/b", REVERTIBLE], key, value), Ok(()));
        assert!(proof.verify(&app_hash, &[b"empty", REVERTIBLE], key, value).is_err());
        let ops = proof.to_ops();
        let [own, namespace, part] = &ops[..] else { panic!("{ops:?}") };
        // Another implementation computes each root from the proof below it, from the app hash down.
        let value_of = |op: &ProofOp| match Proof::decode(&op.data).unwrap() {
            Proof::Existence(leaf) => Hash(leaf.value.try_into().unwrap()),
            absence => panic!("{absence:?}"),
        };
        let (root_r, root) = (value_of(part), value_of(namespace));
        assert!(accepts(&theirs(&part.data), &app_hash, REVERTIBLE, Some(&root_r.0)));
        assert!(accepts(&theirs(&namespace.data), &root_r, b"a/b", Some(&root.0)));
        assert!(accepts(&theirs(&own.data), &root, key, value));
        assert!(!accepts(&theirs(&own.data), &root_r, key, value));
        let otherwise = value.is_none().then_some(&[1; 40][..]);
        assert!(!accepts(&theirs(&own.data), &root, key, otherwise));
        let of_root = app.way_to_root(&name).prove(rows).unwrap();
        assert_eq!((of_root.to_ops(), of_root.value()), (ops[1..].to_vec(), Some(&root.0[..])));
    }
    let none = app.way_to_root(&NsName::new("none").unwrap()).prove(rows).unwrap();
    assert_eq!(none.verify(&app_hash, &[REVERTIBLE], b"none", None), Ok(()));
    assert!(app.way_in(2, b"k").is_none(), "there is no third namespace");
    let empty = app.way_in(1, b"k").unwrap().prove(rows).unwrap();
    assert_eq!(empty.verify(&app_hash, &[b"empty", REVERTIBLE], b"k", None), Ok(()));
    assert!(empty.verify(&app_hash, &[b"a/b", REVERTIBLE], b"k3", None).is_err());
}

/// A client that searches for keys whose paths begin with the same bits gets the same proofs as others.
#[test]
fn keys_whose_paths_begin_with_the_same_bits_are_proven() {
    let mut chain = Chain::new(&[100_000]);
    let create = Msg::NsCreate { ns: "a/b".into(), owner: NsOwner::Shared, quota_keys: 999, quota_bytes: 99_999 };
    let begins = |key: &[u8; 4]| path_of(key)[0] == 0x5A && path_of(key)[1] < 0x10;
    let keys: Vec<[u8; 4]> = (0_u32..).map(u32::to_be_bytes).filter(begins).take(300).collect();
    let put = |key: &[u8; 4]| KvOp { key: key.to_vec(), value: Some(b"value".to_vec()), if_height: None };
    let write =
        |keys: &[[u8; 4]]| Msg::KvWrite { ns: "a/b".into(), data_epoch: 1, ops: keys.iter().map(put).collect() };
    let messages = std::iter::once(create).chain(keys[..250].chunks(50).map(write));
    for (nonce, message) in messages.enumerate() {
        chain.block(&[tx(1, TxOrder::Nonce(nonce as u64), vec![message])]);
    }
    let app_hash = chain.app.app_hash();
    assert_eq!(App::open(&chain.rows, chain_id(), chain.app.height()).app_hash(), app_hash);
    for (nth, key) in keys.iter().enumerate() {
        let value = (nth < 250).then_some(&b"value"[..]);
        let proof = chain.app.way_in(0, key).unwrap().prove(&chain.rows).unwrap();
        assert_eq!(proof.verify(&app_hash, &[b"a/b", REVERTIBLE], key, value), Ok(()));
        let [own, namespace, _] = &proof.to_ops()[..] else { panic!("three trees are proven") };
        let Proof::Existence(root) = Proof::decode(&namespace.data).unwrap() else { panic!("the namespace exists") };
        let root = Hash(root.value.try_into().unwrap());
        assert!(accepts(&theirs(&own.data), &root, key, value), "{nth}");
        let otherwise = value.is_none().then_some(&b"value"[..]);
        assert!(!accepts(&theirs(&own.data), &root, key, otherwise), "{nth}");
    }
}

#[test]
fn the_app_hash_is_the_root_of_a_tree_of_two_roots() {
    for root in [EMPTY_ROOT, Hash([7; 32])] {
        let rows = rows_of(b"x", [(b"n", root.0), (b"r", EMPTY_ROOT.0)]);
        assert_eq!(app_hash(&root, &EMPTY_ROOT), Tree::open(b"x", &rows).root());
    }
}

/// Returns the proof of each key around the leaves of a tree with `count` leaves.
fn proofs(count: u32) -> (Hash, Vec<(Vec<u8>, Proof)>) {
    let rows = rows_of(b"n", (0..count).map(|i| (i.to_be_bytes(), [1; 40])));
    let tree = Tree::open(b"n", &rows);
    let keys = (0..50).chain(1_000_000..1_000_050_u32).map(|i| i.to_be_bytes().to_vec());
    let proofs = keys.map(|key| (key.clone(), tree.prove(&rows, &key).unwrap()));
    (tree.root(), proofs.collect())
}

#[test]
fn trees_of_any_size_are_proven() {
    for count in [1, 2, 3, 10, 1000] {
        let (root, proofs) = proofs(count);
        for (key, proof) in proofs {
            assert_eq!(proof.verify(&root, &key, proof.value()), Ok(()));
            let theirs = theirs(&proof.encode());
            assert!(accepts(&theirs, &root, &key, proof.value()), "{key:?} of {count}: {proof:?}");
            let otherwise = proof.value().is_none().then_some(&[1_u8; 40][..]);
            assert!(!accepts(&theirs, &root, &key, otherwise));
        }
    }
}

/// A proof of 10 million keys has 24 siblings or a few more: the sizes of longer ones are computed from these.
/// `--bench state_trees` measures them.
#[test]
fn proofs_are_small() {
    let (_, proofs) = proofs(100_000);
    let largest = |is_absent: bool| {
        let some = proofs.iter().filter(|(_, proof)| proof.value().is_none() == is_absent);
        some.map(|(_, proof)| proof.encode().len()).max().unwrap()
    };
    // Each doubling adds one sibling of 38 bytes to a way; 10 million are 7 doublings more.
    let more = 7 * 38;
    assert!(largest(false) + more < 1400, "{}", largest(false));
    // The two ways of an absence share it, and each has its index.
    assert!(largest(true) + more + 2 * 7 < 1700, "{}", largest(true));
}

/// Returns the proof of an absence that this proof compresses.
fn decompressed(proof: &CommitmentProof) -> ics23::NonExistenceProof {
    match decompress(proof).unwrap().proof {
        Some(commitment_proof::Proof::Batch(BatchProof { entries })) => match <[BatchEntry; 1]>::try_from(entries) {
            Ok([BatchEntry { proof: Some(batch_entry::Proof::Nonexist(absence)) }]) => absence,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_absence_is_compressed_as_the_other_implementation_does_it() {
    for count in [0, 1, 2, 10, 1000] {
        let (root, proofs) = proofs(count);
        for (key, proof) in proofs.into_iter().filter(|(_, proof)| proof.value().is_none()) {
            let ours = theirs(&proof.encode());
            let absence = decompressed(&ours);
            let entry = BatchEntry { proof: Some(batch_entry::Proof::Nonexist(absence.clone())) };
            let batch =
                CommitmentProof { proof: Some(commitment_proof::Proof::Batch(BatchProof { entries: vec![entry] })) };
            assert_eq!(compress(&batch).unwrap().encode_to_vec(), proof.encode());
            // A verifier that knows no batches is given the entry.
            let plain = CommitmentProof { proof: Some(commitment_proof::Proof::Nonexist(absence)) };
            assert_eq!(accepts(&plain, &root, &key, None), count > 0);
            assert!(Proof::decode(&plain.encode_to_vec()).is_err(), "there is one form of a proof");
        }
    }
}

#[test]
fn a_compressed_proof_is_bounded_before_it_is_copied() {
    let (_, proofs) = proofs(1000);
    let (_, proof) = proofs.iter().find(|(_, proof)| proof.value().is_none()).unwrap();
    let refused = |change: &dyn Fn(&mut CompressedBatchProof, &mut Vec<i32>), reason: &str| {
        let mut pb = theirs(&proof.encode());
        let Some(commitment_proof::Proof::Compressed(batch)) = &mut pb.proof else { panic!("{pb:?}") };
        let mut path = Vec::new();
        change(batch, &mut path);
        let Some(compressed_batch_entry::Proof::Nonexist(absence)) = &mut batch.entries[0].proof else {
            panic!("{pb:?}")
        };
        if !path.is_empty() {
            absence.left.as_mut().unwrap().path = path;
        }
        let error = Proof::decode(&pb.encode_to_vec()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    // Each element of a way would be a copy of 100 KiB.
    let large = |batch: &mut CompressedBatchProof, path: &mut Vec<i32>| {
        batch.lookup_inners[0] = InnerOp { prefix: vec![7; 100 << 10], ..batch.lookup_inners[0].clone() };
        *path = vec![0; 256];
    };
    refused(&large, "are not siblings");
    let many = |batch: &mut CompressedBatchProof, _: &mut Vec<i32>| {
        batch.lookup_inners = vec![batch.lookup_inners[0].clone(); 513];
    };
    refused(&many, "more than two ways have");
    refused(&|_, path| *path = vec![0; 257], "more elements than a path has bits");
    for index in [-1, 1000, i32::MIN, i32::MAX] {
        refused(&|_, path| *path = vec![index], "an index without an operation");
    }
    let again = |batch: &mut CompressedBatchProof, _: &mut Vec<i32>| batch.entries.push(batch.entries[0].clone());
    refused(&again, "are not one proof of an absence");
    let empty = |batch: &mut CompressedBatchProof, _: &mut Vec<i32>| {
        batch.entries.insert(0, CompressedBatchEntry { proof: None });
        batch.entries.swap(0, 1);
    };
    refused(&empty, "are not one proof of an absence");
}

#[test]
fn a_changed_byte_is_never_accepted() {
    let chain = with_namespaces();
    let (app, app_hash) = (&chain.app, chain.app.app_hash());
    let account = |seed| app.way_to(&app::state::key::account(&address(seed)));
    let ways = [account(1), account(3)].into_iter().chain([b"k3", b"k9"].map(|key| app.way_in(0, key).unwrap()));
    for way in ways {
        let proof = way.prove(&chain.rows).unwrap();
        let (names, key, ops) = (proof.names(), proof.key(), proof.to_ops());
        proof.verify(&app_hash, &names, key, proof.value()).unwrap();
        for (at, op) in ops.iter().enumerate() {
            for byte in 0..op.data.len() {
                for change in 1..=u8::MAX {
                    let mut changed = ops.clone();
                    changed[at].data[byte] ^= change;
                    let Ok(changed) = StateProof::from_ops(&changed) else { continue };
                    let verdict = changed.verify(&app_hash, &names, key, changed.value());
                    assert!(verdict.is_err(), "op {at}, byte {byte} ^ {change}");
                }
            }
        }
    }
}

proptest! {
    /// What we accept, the other implementation accepts too: ours is the stricter one.
    #[test]
    fn ours_accepts_no_more_than_theirs(
        count in 1..40_u32,
        key in 0..60_u32,
        pick in (0..40_u32, 0..40_u32),
        cut in 0..3_usize,
    ) {
        let rows = rows_of(b"n", (0..count).map(|i| (i.to_be_bytes(), [1; 8])));
        let tree = Tree::open(b"n", &rows);
        let root = tree.root();
        let leaf = |i: u32| -> Option<Existence> {
            match tree.prove(&rows, &i.to_be_bytes()).unwrap() {
                Proof::Existence(mut leaf) => {
                    leaf.siblings.truncate(leaf.siblings.len() - cut.min(leaf.siblings.len()));
                    Some(leaf)
                }
                Proof::Absence { .. } => None,
            }
        };
        let key = key.to_be_bytes().to_vec();
        let proof = Proof::Absence { key: key.clone(), left: leaf(pick.0), right: leaf(pick.1) };
        let ours = proof.verify(&root, &key, None).is_ok();
        // The other implementation panics on two leaves without a way that differs.
        if ours {
            prop_assert!(accepts(&theirs(&proof.encode()), &root, &key, None));
        }
    }
}
