//! Proves that `docs/transactions.md` says what the program does. `python.rs` runs the program of this page.

mod program;

use std::{collections::BTreeSet, fs, path::Path};

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
    assert_eq!(messages.len(), 4);
    for message in messages {
        assert!(proto.contains(message), "cairn.proto does not have this message:\n{message}");
    }
}

#[test]
fn the_page_has_every_code_of_the_application() {
    let page = page();
    for app::Code { number, name, when, way_out } in app::CODES {
        let row = format!("| {number} | `{name}` | {when} | {way_out} |\n");
        assert!(page.contains(&row), "docs/transactions.md lacks this row:\n{row}");
    }
}

/// Reads the numbers and names of codes from the sources, because not all of them are in a table: the mempool makes its
/// own one by one.
#[test]
fn the_page_has_every_code_of_the_sources_and_no_other() {
    let mut in_sources = BTreeSet::new();
    add_codes_under(&sources(), &mut in_sources);
    assert!(in_sources.contains(&(64, "E_MEMPOOL_FULL".to_owned())) && in_sources.len() > 20, "{in_sources:?}");
    let page = page();
    let in_page: BTreeSet<(u32, String)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | `E_"))
        .map(|(number, rest)| (number.parse().unwrap(), format!("E_{}", rest.split('`').next().unwrap())))
        .collect();
    assert_eq!(in_page, in_sources);
}

/// Adds the codes in all sources under a folder: a number, and after it a string that begins with `E_`.
fn add_codes_under(folder: &Path, codes: &mut BTreeSet<(u32, String)>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && !["target", "tests", "docs", "testnet"].contains(&name.as_str()) {
                add_codes_under(&path, codes);
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut pieces = text.split("\"E_");
            let mut before = pieces.next().unwrap_or_default();
            for piece in pieces {
                let code: String = piece.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
                let is_whole = piece[code.len()..].starts_with('"');
                let digits = before.trim_end().trim_end_matches(',');
                let start = digits.trim_end_matches(|c: char| c.is_ascii_digit()).len();
                if let (true, Ok(number)) = (is_whole, digits[start..].parse()) {
                    codes.insert((number, format!("E_{code}")));
                }
                before = piece;
            }
        }
    }
}
