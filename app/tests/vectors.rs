//! Compares roots, app hashes and proofs of state trees with `vectors/tree.json`, which an independent program made from
//! the specifications (`vectors/generate.py`).

use std::collections::BTreeMap;

use app::{
    app_hash,
    tree::{EMPTY_ROOT, Proof, Tree, rows::rows_of},
};
use serde_json::Value;
use types::Wire;

fn bytes(value: &Value) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

#[test]
fn roots_and_proofs_are_those_of_the_vectors() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("vectors/tree.json")).unwrap();
    assert!(cases.len() >= 6);
    let (mut present, mut absent) = (0, 0);
    for case in cases {
        let content: BTreeMap<Vec<u8>, Vec<u8>> =
            case["content"].as_array().unwrap().iter().map(|entry| (bytes(&entry[0]), bytes(&entry[1]))).collect();
        let rows = rows_of(b"n", &content);
        let tree = Tree::open(b"n", &rows);
        assert_eq!(tree.root().0.to_vec(), bytes(&case["root"]), "{} keys", content.len());
        assert_eq!(app_hash(&tree.root(), &EMPTY_ROOT).0.to_vec(), bytes(&case["app_hash"]));
        for expected in case["proofs"].as_array().unwrap() {
            let (key, expected) = (bytes(&expected["key"]), bytes(&expected["bytes"]));
            let proof = tree.prove(&rows, &key).unwrap();
            assert_eq!(proof.encode(), expected, "{key:?}");
            assert_eq!(Proof::decode(&expected), Ok(proof.clone()));
            assert_eq!(proof.value(), content.get(&key).map(Vec::as_slice));
            *if proof.value().is_some() { &mut present } else { &mut absent } += 1;
        }
    }
    assert!(present >= 15 && absent >= 40, "{present} present, {absent} absent");
}
