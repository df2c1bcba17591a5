//! One of four validators is rewound while the others go on.

use std::{path::Path, time::Duration};

use files::signing_state;
use types::SignState;

use crate::{
    processes::{Homes, Validator, eventually},
    succeeds, tip_of,
};

/// Returns the height, round and step of the last signature of a home's key.
fn signed(home: &Path) -> (u64, u32, u8) {
    let SignState { height, round, step, .. } =
        signing_state::load(&home.join("data/priv_validator_state.json")).unwrap();
    (height.0, round.0, step)
}

fn has_signed(node: &Validator, address: &str, height: u64) -> bool {
    let commit = node.call(&format!("commit?height={height}"));
    let signatures = commit["signed_header"]["commit"]["signatures"].as_array().unwrap();
    signatures.iter().any(|signature| signature["validator_address"] == address)
}

#[test]
fn a_rewound_validator_rejoins_and_signs_only_above_what_it_signed_before() {
    let homes = Homes::new(4, Duration::from_millis(50));
    let mut nodes = homes.start_all();
    let address = nodes[3].call("status")["validator_info"]["address"].as_str().unwrap().to_owned();
    nodes[3].wait_for_height(56);
    for blocks in ["--drop-blocks", "--keep-blocks"] {
        let home = homes.home(3);
        let (code, log) = nodes.pop().unwrap().terminate();
        assert_eq!(code, Some(0), "{log}");
        let (tip, before) = (tip_of(&home), signed(&home));
        let text = succeeds(&["rewind", "--to", &(tip - 50).to_string(), blocks], &home);
        assert!(text.contains(&format!("the network is still at height {tip}")), "{text}");
        assert!(text.contains(&format!("up to height {}", before.0)), "{text}");
        assert_eq!(tip_of(&home), if blocks == "--drop-blocks" { tip - 50 } else { tip });
        assert_eq!(signed(&home), before, "the record of what the key signed never goes back");
        nodes[0].wait_for_height(tip + 10); // the others go on without it

        let node = Validator::spawn(&home, &[]);
        eventually("it signs", || signed(&home) != before);
        let after = signed(&home);
        assert!(after.0 > before.0, "it signed at {after:?}, and at {before:?} before");
        let mut node = node.listening();
        let goal = nodes[0].height() + 1;
        node.wait_for_height(goal);
        nodes[0].wait_until("its signature is in a commit again", |first| {
            (goal..=first.height()).any(|height| has_signed(first, &address, height))
        });
        for height in [tip - 49, tip, goal] {
            assert_eq!(node.block_hash(height), nodes[0].block_hash(height));
        }
        nodes.push(node);
    }
    for node in nodes {
        let (code, log) = node.terminate();
        assert_eq!(code, Some(0), "{log}");
        assert!(!log.to_lowercase().contains("equivocation") && !log.contains("evidence"), "{log}");
    }
}
