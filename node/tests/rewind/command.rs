//! The command on the home of a real node.

use std::{fs, time::Duration};

use serde_json::Value;
use storage::{Batch, BlocksAbove, Cf, Durability, Kv, View};
use types::Height;

use crate::{
    cairn,
    chain::dump,
    database, fails,
    processes::{Homes, Validator},
    store_of, succeeds, tip_of,
};

fn node_with(heights: u64) -> (Homes, Validator) {
    let homes = Homes::new(1, Duration::from_millis(20));
    let mut node = homes.start(0);
    node.wait_for_height(heights);
    let send = ["tx", "send", "--from", "alice", "--to", "bob", "--amount", "5", "--node", &node.rpc.clone()];
    succeeds(&send, &homes.home(0));
    (homes, node)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_rewind_is_planned_carried_out_and_reported_and_the_node_goes_on() {
    let (homes, node) = node_with(12);
    let home = homes.home(0);
    let text = fails(69, &["rewind", "--to", "5"], &home);
    assert!(text.contains("R_LOCKED: ") && text.contains(&format!("process {}", node.pid())), "{text}");
    assert_eq!(node.terminate().0, Some(0));
    let tip = tip_of(&home);
    let before = dump(store_of(&home).kv());
    let signing = fs::read(home.join("data/priv_validator_state.json")).unwrap();

    let last = format!("the network is still at height {tip} or above.");
    let text = succeeds(&["rewind", "--to", "5", "--dry-run"], &home);
    for part in ["nothing was changed", "kept, and executed again", "This would change only this machine", &last] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let report = json(&succeeds(&["rewind", "--to", "5", "--dry-run", "--json", "--drop-blocks"], &home));
    assert_eq!((&report["heights"], &report["blocks"]), (&Value::from(tip - 5), &Value::from("dropped")), "{report}");
    assert!(report["changed_keys"].as_u64().unwrap() > 0 && report["tip"].is_null(), "{report}");
    assert!(dump(store_of(&home).kv()) == before);

    let text = succeeds(&["rewind", "--to", "5"], &home);
    for part in ["every app hash and results hash is as the chain agreed", "This changed only this machine", &last] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(dump(store_of(&home).kv()) == before);

    let report = json(&succeeds(&["rewind", "--to", "5", "--drop-blocks", "--json"], &home));
    assert_eq!((&report["tip"], &report["from"]), (&Value::from("5"), &Value::from(tip.to_string())));
    let store = store_of(&home);
    assert_eq!((store.tip().unwrap().height, store.verification().finish().findings), (Height(5), vec![]));
    assert!(store.hard_state().unwrap().unwrap().height.0 >= tip, "the hard state never goes back");
    drop(store);
    assert_eq!(fs::read(home.join("data/priv_validator_state.json")).unwrap(), signing, "nor does the signing state");
    assert!(succeeds(&["verify", "store"], &home).contains("are whole"));
}

#[test]
fn wrong_heights_and_flags_are_refused_with_a_sentence() {
    let (homes, node) = node_with(4);
    let home = homes.home(0);
    assert_eq!(node.terminate().0, Some(0));
    let tip = tip_of(&home);
    for to in [tip, tip + 1, u64::MAX] {
        let text = fails(1, &["rewind", "--to", &to.to_string()], &home);
        assert!(text.contains("R_FUTURE: ") && text.contains(&format!("the tip of this node, {tip}")), "{text}");
    }
    let text = fails(1, &["rewind", "--to", "0", "--drop-blocks"], &home);
    assert!(text.contains("R_BELOW_BASE: ") && text.contains("Give 1 or a higher height"), "{text}");
    for wrong in ["18446744073709551616", "-1", "x", ""] {
        fails(2, &["rewind", &format!("--to={wrong}")], &home);
    }
    fails(2, &["rewind", "--to", "2", "--keep-blocks", "--drop-blocks"], &home);
    fails(2, &["rewind"], &home);
    assert_eq!(tip_of(&home), tip);
    for code in [
        "R_LOCKED",
        "R_EMPTY",
        "R_FUTURE",
        "R_BELOW_BASE",
        "R_WINDOW",
        "R_NO_STATE",
        "R_UNFINISHED",
        "R_BAD_BLOCK",
        "R_DIFFERS",
    ] {
        assert!(succeeds(&["explain", code], &home).contains(code));
    }
}

#[test]
fn a_home_without_a_chain_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("new");
    succeeds(&["init"], &home);
    for command in [&["rewind", "--to", "5"][..], &["rewind", "--to", "5", "--dry-run"], &["verify", "store"]] {
        let text = fails(1, command, &home);
        assert!(text.contains("there is no database: `cairn start` makes one"), "{text}");
        assert_eq!(text.contains("R_EMPTY: "), command[0] == "rewind", "{text}");
    }
    let copy = folder.path().join("copy");
    let text = fails(1, &["backup", copy.to_str().unwrap()], &home);
    assert!(text.contains("there is no database"), "{text}");
    assert!(!database(&home).exists() && !copy.exists(), "a copy can still be restored into the home");
}

/// What `kill -9` leaves behind, by the steps of the library.
#[test]
fn an_interrupted_rewind_stops_the_start_until_the_same_command_has_finished_it() {
    let (homes, node) = node_with(12);
    let home = homes.home(0);
    assert_eq!(node.terminate().0, Some(0));
    let (tip, before) = (tip_of(&home), dump(store_of(&home).kv()));
    let store = store_of(&home);
    store.begin_rewind(Height(5), BlocksAbove::Kept).unwrap();
    store.sync().unwrap();
    drop(store);
    let (code, output) = Validator::spawn(&home, &[]).ended();
    assert_eq!(code, Some(78), "{output}");
    assert!(output.contains("Run `cairn rewind --to 5` to finish it"), "{output}");
    let copy = homes.folder.path().join("copy");
    let text = fails(1, &["backup", copy.to_str().unwrap()], &home);
    assert!(text.contains("is not finished") && !copy.exists(), "{text}");
    assert!(text.contains(&format!("{}: ", database(&home).display())) && !text.contains(".part"), "{text}");
    let text = fails(1, &["rewind", "--to", "7"], &home);
    assert!(text.contains("R_UNFINISHED: ") && text.contains("cairn rewind --to 5`"), "{text}");
    let text = succeeds(&["rewind", "--to", "5", "--dry-run"], &home);
    assert!(text.contains("continues an interrupted rewind"), "{text}");
    succeeds(&["rewind", "--to", "5"], &home);
    assert!(dump(store_of(&home).kv()) == before);

    let store = store_of(&home);
    store.begin_rewind(Height(5), BlocksAbove::Dropped).unwrap();
    store.sync().unwrap();
    drop(store);
    let (code, output) = Validator::spawn(&home, &[]).ended();
    assert!(code == Some(78) && output.contains("`cairn rewind --to 5 --drop-blocks`"), "{code:?}: {output}");
    // The other flag finishes it too: the blocks are already being deleted.
    assert!(succeeds(&["rewind", "--to", "5"], &home).contains("deleted; the node fetches 6 and above"));
    assert_eq!(tip_of(&home), 5);
    let (code, text) = cairn(&["rewind", "--to", "5"], &home);
    assert!(code == 1 && text.contains("R_FUTURE"), "the height is the tip now, was {tip}: {text}");
}

/// A row that was changed on the disk, with a right checksum, at the height and above it.
#[test]
fn a_changed_row_of_the_state_is_found_and_repaired_by_executing_again() {
    let (homes, mut node) = node_with(3);
    let home = homes.home(0);
    let at = node.height();
    node.wait_for_height(at + 4);
    assert_eq!(node.terminate().0, Some(0));
    let store = store_of(&home);
    let before = dump(store.kv());
    let changed = store.kv().view().rows(Cf::State, b"n", &[]).map(Result::unwrap).find(|(key, _)| {
        let height = !u64::from_be_bytes(*key.last_chunk().unwrap());
        (1..=at).contains(&height)
    });
    let (key, mut value) = changed.map(|(key, value)| (key.into_vec(), value.into_vec())).expect("a transfer");
    let height = !u64::from_be_bytes(*key.last_chunk().unwrap());
    *value.last_mut().unwrap() ^= 1;
    let mut batch = Batch::new();
    batch.put(Cf::State, key, value);
    store.kv().write(batch, Durability::Synced).unwrap();
    drop(store);
    let text = fails(74, &["rewind", "--to", &height.to_string()], &home);
    assert!(text.contains("R_NO_STATE: ") && text.contains("Nothing was changed"), "{text}");
    let text = succeeds(&["rewind", "--to", &(height - 1).to_string()], &home);
    assert!(text.contains("rows of 1 heights that were not as executed"), "{text}");
    assert!(dump(store_of(&home).kv()) == before);
    assert!(succeeds(&["verify", "store"], &home).contains("are whole"));
}

/// The tip's own results are changed, as if another version of the program had executed its block.
#[test]
fn a_block_with_another_result_is_printed_with_its_transaction_and_rows() {
    let (homes, node) = node_with(6);
    let home = homes.home(0);
    assert_eq!(node.terminate().0, Some(0));
    let (tip, store) = (tip_of(&home), store_of(&home));
    // The app hash ends the tip's row together with the results hash, each with two bytes before it.
    let mut row = store.kv().get(Cf::Meta, b"tip").unwrap().unwrap();
    let at = row.len() - 2 - 32 - 32;
    row[at] ^= 1;
    let mut batch = Batch::new();
    batch.put(Cf::Meta, *b"tip", row);
    store.kv().write(batch, Durability::Synced).unwrap();
    drop(store);
    let text = fails(70, &["rewind", "--to", "3"], &home);
    for part in ["R_DIFFERS: ", "the app hash", &format!("executing block {tip} again"), "all have the stored results"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = fails(70, &["rewind", "--to", "3", "--json"], &home);
    assert!(text.contains(&format!("\"height\": \"{tip}\"")) && text.contains("\"keys_total\": 0"), "{text}");
    succeeds(&["rewind", "--to", &(tip - 1).to_string(), "--drop-blocks"], &home);
    assert!(succeeds(&["verify", "store"], &home).contains("are whole"));
}
