//! Proves that `docs/transactions.md` says what the program does. `python.rs` runs the program of this page.

mod program;

use std::{collections::BTreeSet, fs};

use data_encoding::HEXUPPER;
use program::sources;
use types::{Address, ChainId, Msg, SecretKey, TxBody, TxOrder, Wire};

fn page() -> String {
    fs::read_to_string(sources().join("docs/transactions.md")).unwrap()
}

/// The values in the page were made with other implementations of BLAKE3 and ECDSA: the Python packages `blake3` and
/// `coincurve`.
#[test]
fn the_example_has_the_bytes_that_the_program_makes() {
    let key = SecretKey::from_bytes(&[3; 32]).unwrap();
    let body = TxBody {
        chain_id: ChainId::new("cairn-test").unwrap(),
        signer: key.public_key(),
        order: TxOrder::Nonce(1),
        fee: 2,
        messages: vec![Msg::Transfer { to: Address([9; 20]), amount: 5 }],
    };
    let (bytes, tx) = (body.encode(), body.sign(&key));
    let page = page();
    for (name, value) in [
        ("`body`", HEXUPPER.encode(&bytes)),
        ("digest", tx.digest().to_string()),
        ("`signature`", HEXUPPER.encode(&tx.signature().0)),
        ("hash of the transaction", tx.id().to_string()),
    ] {
        let row = format!("| {name} | `{value}` |\n");
        assert!(page.contains(&row), "{row}");
    }
}

#[test]
fn the_messages_are_those_of_the_encoding() {
    let page = page();
    let shown = page.split("```proto\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let proto = fs::read_to_string(sources().join("types/proto/cairn.proto")).unwrap();
    let messages: Vec<&str> = shown.trim().split("\n\n").collect();
    assert_eq!(messages.len(), 35);
    for message in messages {
        assert!(proto.contains(message), "cairn.proto does not have this message:\n{message}");
    }
}

#[test]
fn the_page_has_every_code_and_no_other() {
    let page = page();
    let codes = app::CODES.iter().chain(mempool::CODES);
    let rows: BTreeSet<String> = codes
        .map(|app::Code { number, name, when, way_out }| format!("| {number} | `{name}` | {when} | {way_out} |"))
        .collect();
    let in_page: BTreeSet<String> =
        page.lines().filter(|line| line.starts_with("| ") && line.contains(" | `E_")).map(str::to_owned).collect();
    assert_eq!(in_page, rows);
}
