//! Proves what a proof file proves, and that damaged or forged files prove nothing.

mod common;

use app::Account;
use common::{MEMBERS, address, equal, file, in_namespace, record, restored, root_of, set, validators_json};
use data_encoding::HEXUPPER;
use light::{
    EqualFile, FILE_BYTES_MAX, Link, Place, ProofFile, ProofFileError, Proven, RevertFile, Trust, TrustError,
    verify_file,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use types::{ChainId, Hash, Height, Power, pb};

fn trust(members: &[(u8, u64)]) -> Trust {
    Trust::from_json(json!({ "validators": validators_json(&set(members)) }).to_string().as_bytes()).unwrap()
}

fn verify(file: &[u8], trust: &Trust) -> Result<Proven, ProofFileError> {
    ProofFile::from_json(file)?.verify(trust)
}

#[test]
fn a_file_proves_what_an_account_has() {
    let proven = verify(file(1).to_string().as_bytes(), &trust(&MEMBERS)).unwrap();
    assert_eq!(proven.account(), Some((address(1), Account { balance: 100, nonce: 0 })));
    assert_eq!((proven.height, proven.signed.signers, proven.signed.validators), (Height(41), 3, 4));
    assert_eq!((proven.signed.power, proven.signed.total, proven.signed.link), (Power(30), Power(40), Link::Same));
    let text = proven.to_string();
    let account = format!("Account {} had balance 100 and next nonce 0 at height 41.", address(1));
    for part in [account.as_str(), "height 42 of chain light-test", "3 of 4 validators with 75.0 % of the power signed"]
    {
        assert!(text.contains(part), "{text}");
    }
    let proven = verify(file(9).to_string().as_bytes(), &trust(&MEMBERS)).unwrap();
    assert_eq!((proven.account(), proven.value), (Some((address(9), Account::default())), None));
}

#[test]
fn a_file_proves_a_key_of_a_namespace_and_its_root() {
    let proven = |key| verify(in_namespace(key).to_string().as_bytes(), &trust(&MEMBERS)).unwrap();
    let (rules, none, root) = (proven(Some(&b"rules"[..])), proven(Some(b"none")), proven(None));
    assert_eq!(
        (rules.place.clone(), rules.value.as_deref()),
        (Place::Namespace(b"a/b".to_vec()), Some(&b"ask first"[..]))
    );
    assert_eq!((none.place.clone(), none.value.as_deref()), (Place::Namespace(b"a/b".to_vec()), None));
    assert_eq!((root.place.clone(), &root.key[..], root.account()), (Place::Roots, &b"a/b"[..], None));
    for (proven, sentence) in [
        (&rules, "Key \"rules\" of namespace \"a/b\" had the value \"ask first\" at height 41.\n".to_owned()),
        (&none, "Key \"none\" of namespace \"a/b\" had no value at height 41.\n".to_owned()),
        (
            &root,
            format!("Namespace \"a/b\" had the root {} at height 41.\n", HEXUPPER.encode(root.value.as_ref().unwrap())),
        ),
    ] {
        assert!(proven.to_string().starts_with(&sentence), "{proven}");
        assert!(proven.to_string().contains("height 42 of chain light-test"), "{proven}");
    }
}

/// Returns a file that proves that the namespace had the same content at two heights, between which it had another one.
fn equal_file() -> Value {
    equal(root_of("a/b", 41, &["ask first"]), root_of("a/b", 57, &["ask first", "never", "ask first"]))
}

#[test]
fn a_file_proves_that_a_namespace_had_the_same_content_at_two_heights() {
    let file = equal_file();
    let [first, second] = [0, 1].map(|at| file["proofs"][at]["signed_header"]["header"]["app_hash"].clone());
    assert_ne!(first, second, "the rest of the state differs");
    let text = verify_file(file.to_string().as_bytes(), &trust(&MEMBERS)).unwrap();
    let start = "Namespace \"a/b\" had the same keys and values at heights 41 and 57: its root was ";
    assert!(text.starts_with(start), "{text}");
    for height in ["header of height 42 of chain", "header of height 58 of chain"] {
        assert!(text.contains(height), "{text}");
    }
    assert_eq!(verify_file(file["proofs"][1].to_string().as_bytes(), &trust(&MEMBERS)).unwrap().lines().count(), 4);
}

fn root_value(file: &Value) -> Option<Hash> {
    verify(file.to_string().as_bytes(), &trust(&MEMBERS)).unwrap().root()
}

#[test]
fn two_proofs_of_different_things_do_not_prove_that_they_are_equal() {
    let verdict = |first, second, members: &[(u8, u64)]| {
        EqualFile::from_json(equal(first, second).to_string().as_bytes())?.verify(&trust(members))
    };
    let root = || root_of("a/b", 41, &["ask first"]);
    let other = verdict(root(), root_of("a/b", 57, &["never"]), &MEMBERS);
    assert!(matches!(other, Err(ProofFileError::Different([(Height(41), _), (Height(57), _)]))), "{other:?}");
    let key = |key: &[u8]| in_namespace(Some(key));
    let of_other = || root_of("c", 41, &["ask first"]);
    assert_eq!(root_value(&root()), root_value(&of_other()), "the namespaces have the same content");
    for (first, second) in [
        (root(), of_other()),
        (root(), key(b"rules")),
        (key(b"rules"), key(b"rules")),
        (key(b"none"), key(b"none")),
        (file(9), file(9)),
    ] {
        assert_eq!(verdict(first, second, &MEMBERS), Err(ProofFileError::Pair));
    }
    assert!(matches!(verdict(root(), root(), &[(7, 10)]), Err(ProofFileError::Header(_))));
    let nested = verdict(equal_file(), equal_file(), &MEMBERS);
    assert!(matches!(nested, Err(ProofFileError::Shape(_))), "{nested:?}");
}

#[test]
fn a_file_proves_what_a_revert_restored() {
    let scope = ["a/b", "c"];
    let text = verify_file(restored(&record(57, &scope), &scope).to_string().as_bytes(), &trust(&MEMBERS)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "Revert 4 was executed at height 57, with 30 of 40 voting power for it.");
    for (line, ns) in lines[1..3].iter().zip(scope) {
        let start = format!("After it, namespace {ns:?} had the keys and values of height 41: its root was ");
        assert!(line.starts_with(&start), "{text}");
    }
    let headers = ["header of height 42 of chain", "header of height 58 of chain"];
    assert!(headers.iter().all(|header| text.contains(header)), "{text}");
}

#[test]
fn a_file_about_a_revert_proves_nothing_unless_all_of_it_fits() {
    let verdict = |record: &pb::ProposalRecord, ns: &[&str], change: &dyn Fn(&mut Value)| {
        let mut file = restored(record, ns);
        change(&mut file);
        RevertFile::from_json(file.to_string().as_bytes())?.verify(&trust(&MEMBERS))
    };
    let (scope, same) = (["a/b", "c"], |_: &mut Value| {});
    let good = record(57, &scope);
    let with = |change: &dyn Fn(&mut pb::ProposalRecord)| {
        let mut record = good.clone();
        change(&mut record);
        record
    };
    let no_record = Err(ProofFileError::Record { executed: Height(57) });
    let voting = with(&|record| record.state = None);
    assert_eq!(verdict(&voting, &scope, &same), no_record, "it is voted on");
    assert_eq!(verdict(&record(56, &scope), &scope, &same), no_record, "it was executed earlier");
    let failed = with(&|record| {
        let Some(pb::proposal_record::State::Closed(closed)) = &mut record.state else { panic!("it is closed") };
        closed.ending = Some(pb::proposal_closed::Ending::FailedCode(7));
    });
    assert_eq!(verdict(&failed, &scope, &same), no_record, "it failed");
    let of_a_key = |file: &mut Value| file["record"] = in_namespace(Some(b"rules"))["proof_ops"].clone();
    assert!(verdict(&good, &scope, &of_a_key).is_err(), "another state's row");
    let of_a_root = |file: &mut Value| file["record"] = file["namespaces"][0]["after"].clone();
    assert_eq!(verdict(&good, &scope, &of_a_root), no_record, "a root is no record");
    for ns in [&["a/b"][..], &["c", "a/b"], &["a/b", "c", "c"], &[]] {
        assert_eq!(verdict(&good, ns, &same), Err(ProofFileError::Scope), "{ns:?}");
    }
    let target = with(&|record| {
        let Some(pb::propose::Kind::Revert(revert)) = &mut record.propose.as_mut().unwrap().kind else {
            panic!("it is a revert")
        };
        revert.target_height = 40;
    });
    assert_eq!(verdict(&target, &scope, &same), Err(ProofFileError::Scope), "another target");
    let swapped = |file: &mut Value| {
        let pair = &mut file["namespaces"][0];
        *pair = json!({ "before": pair["after"], "after": pair["before"] });
    };
    assert!(matches!(verdict(&good, &scope, &swapped), Err(ProofFileError::Proof(_))));
    let mut changed = restored(&good, &scope);
    let then = root_of("c", 41, &["never"]);
    changed["before"] = json!({ "signed_header": then["signed_header"], "validators": then["validators"] });
    changed["namespaces"][0]["before"] = root_of("a/b", 41, &["never"])["proof_ops"].clone();
    let verdict = RevertFile::from_json(changed.to_string().as_bytes()).unwrap().verify(&trust(&MEMBERS));
    assert!(matches!(verdict, Err(ProofFileError::Different([(Height(41), _), (Height(57), _)]))), "{verdict:?}");
}

#[test]
fn trust_decides() {
    let file = file(1).to_string().into_bytes();
    let by = |members: &[(u8, u64)]| verify(&file, &trust(members));
    assert_eq!(by(&[(1, 10), (2, 10), (7, 10)]).unwrap().signed.link, Link::Overlap);
    assert!(matches!(by(&[(1, 10), (7, 10), (8, 10)]), Err(ProofFileError::Header(_))));
    assert!(matches!(by(&[(7, 10)]), Err(ProofFileError::Header(_))));
    let chain_id = Some(ChainId::new("another").unwrap());
    let error = verify(&file, &Trust { chain_id, ..trust(&MEMBERS) }).unwrap_err().to_string();
    assert_eq!(error, "the header is of chain light-test, expected another");
}

#[test]
fn trust_is_read_from_answers_and_from_genesis_documents() {
    let validators = validators_json(&set(&MEMBERS));
    let answer = json!({ "block_height": "1", "validators": validators, "count": "4", "total": "4" });
    let members = validators.as_array().unwrap().iter().map(|member| {
        json!({ "address": member["address"], "pub_key": member["pub_key"], "power": member["voting_power"], "name": "v" })
    });
    let genesis = json!({
        "chain_id": "light-test", "validators": members.collect::<Vec<_>>(), "app_state": { "accounts": [] },
    });
    let read = |json: &Value| Trust::from_json(json.to_string().as_bytes());
    let expected = Trust { chain_id: None, validators: set(&MEMBERS) };
    assert_eq!(read(&answer), Ok(expected.clone()));
    assert_eq!(read(&json!({ "jsonrpc": "2.0", "id": 1, "result": answer })), Ok(expected.clone()));
    let expected = Trust { chain_id: Some(common::chain_id()), ..expected };
    assert_eq!(read(&genesis), Ok(expected.clone()));
    assert_eq!(read(&json!({ "result": { "genesis": genesis } })), Ok(expected));

    let mut page = answer.clone();
    page["total"] = json!("5");
    assert_eq!(read(&page), Err(TrustError::Page { got: 4, total: 5 }));
    let mut nobody = answer.clone();
    nobody["validators"] = json!([]);
    nobody["total"] = json!("0");
    assert!(matches!(read(&nobody), Err(TrustError::Content(_))));
    assert!(matches!(Trust::from_json(b"[1]"), Err(TrustError::Shape(_))));
    assert_eq!(read(&file(1)), Err(TrustError::Proof), "a proof names validators of its own");
    let deep = "{\"result\":".repeat(100_000);
    assert!(matches!(Trust::from_json(deep.as_bytes()), Err(TrustError::Shape(_))));
}

/// Each single bit of each byte is flipped, and all bits of it at once.
#[test]
fn a_changed_byte_is_never_accepted() {
    let namespace = [in_namespace(Some(b"rules")), in_namespace(Some(b"none")), in_namespace(None), equal_file()];
    let revert = restored(&record(57, &["c"]), &["c"]);
    let files = [file(1), file(9), revert].into_iter().chain(namespace);
    for file in files {
        let trust = trust(&MEMBERS);
        let file = format!("{file:#}").into_bytes();
        verify_file(&file, &trust).unwrap();
        for at in 0..file.len() {
            for change in [1, 2, 4, 8, 16, 32, 64, 128, 0xFF] {
                let mut changed = file.clone();
                changed[at] ^= change;
                let verdict = verify_file(&changed, &trust);
                let around = String::from_utf8_lossy(&file[at.saturating_sub(20)..(at + 20).min(file.len())]);
                assert!(verdict.is_err(), "byte {at} ^ {change} near {around}: {verdict:?}");
            }
        }
        for cut in 0..file.len() {
            assert!(verify_file(&file[..cut], &trust).is_err(), "the first {cut} bytes");
        }
    }
}

#[test]
fn files_are_bounded() {
    let large = vec![b' '; FILE_BYTES_MAX + 1];
    assert_eq!(ProofFile::from_json(&large), Err(ProofFileError::TooLarge { got: FILE_BYTES_MAX + 1 }));
    let deep = "[".repeat(1_000_000);
    assert!(matches!(ProofFile::from_json(deep.as_bytes()), Err(ProofFileError::Shape(_))));
    let mut many = file(1);
    many["proof_ops"] = json!(vec![many["proof_ops"][0].clone(); 1000]);
    assert!(matches!(ProofFile::from_json(many.to_string().as_bytes()), Err(ProofFileError::Ops(_))));
}

/// The author of a file cannot control the terminal of the person who verifies it.
#[test]
fn errors_about_a_file_are_short_and_plain() {
    let name = format!("\u{1b}[2J\u{202E}{}", "x".repeat(100_000));
    let mut unknown = file(1);
    unknown[&name] = json!(1);
    let mut shape = file(1);
    shape["format"] = json!(name);
    let trusted = [json!({ "validators": [], "total": name }), json!({ "validators": [{ "pub_key": { &name: 1 } }] })];
    let proofs =
        [unknown, shape].map(|file| ProofFile::from_json(file.to_string().as_bytes()).unwrap_err().to_string());
    let trusted = trusted.map(|file| Trust::from_json(file.to_string().as_bytes()).unwrap_err().to_string());
    for error in proofs.into_iter().chain(trusted) {
        assert!(error.len() < 1000 && error.chars().all(types::is_plain), "{error:?}");
    }
}

#[test]
fn parts_of_different_files_prove_nothing() {
    let (a, b) = (file(1), file(9));
    let mut mixed = a.clone();
    mixed["proof_ops"][0] = b["proof_ops"][0].clone();
    // Both accounts are in one state, so each chain holds; the key of the first proof names the account.
    assert_eq!(verify(mixed.to_string().as_bytes(), &trust(&MEMBERS)).unwrap().account().unwrap().0, address(9));
    mixed["proof_ops"][0]["key"] = a["proof_ops"][0]["key"].clone();
    assert!(verify(mixed.to_string().as_bytes(), &trust(&MEMBERS)).is_err());
    let mut short = a.clone();
    short["proof_ops"].as_array_mut().unwrap().pop();
    assert!(matches!(verify(short.to_string().as_bytes(), &trust(&MEMBERS)), Err(ProofFileError::Place)));
    let mut moved = in_namespace(Some(b"rules"));
    moved["proof_ops"].as_array_mut().unwrap().remove(0);
    let proven = verify(moved.to_string().as_bytes(), &trust(&MEMBERS)).unwrap();
    assert_eq!((proven.place, &proven.key[..]), (Place::Roots, &b"a/b"[..]), "the rest proves the root alone");
    moved["proof_ops"].as_array_mut().unwrap().remove(0);
    assert!(matches!(verify(moved.to_string().as_bytes(), &trust(&MEMBERS)), Err(ProofFileError::Place)));
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = (ProofFile::from_json(&bytes), EqualFile::from_json(&bytes), RevertFile::from_json(&bytes));
        let _ = Trust::from_json(&bytes);
    }

    /// Any value anywhere in a file: it is refused or proves the same.
    #[test]
    fn any_value_in_a_file_is_refused_or_equal(at in any::<prop::sample::Index>(), value in 0..6_usize) {
        let original = file(1);
        let mut pointers = Vec::new();
        collect(&original, String::new(), &mut pointers);
        let mut changed = original.clone();
        let pointer = &pointers[at.index(pointers.len())];
        *changed.pointer_mut(pointer).unwrap() =
            [json!(null), json!(""), json!(-1), json!([]), json!({}), json!("18446744073709551616")][value].clone();
        prop_assert!(changed == original || verify(changed.to_string().as_bytes(), &trust(&MEMBERS)).is_err(), "{}", pointer);
    }
}

fn collect(value: &Value, path: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| collect(field, format!("{path}/{name}"), pointers))
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, one)| collect(one, format!("{path}/{index}"), pointers));
        }
        _ => {}
    }
    pointers.push(path);
}
