//! One of four validators is rewound while the others go on.

use std::time::Duration;

use crate::{
    processes::{Homes, Validator, eventually, has_signed, signed},
    succeeds, tip_of,
};

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
        let (tip, before) = (tip_of(&home), signed(&home).unwrap());
        let text = succeeds(&["rewind", "--to", &(tip - 50).to_string(), blocks], &home);
        assert!(text.contains(&format!("the network is still at height {tip}")), "{text}");
        assert!(text.contains(&format!("up to height {}", before.0)), "{text}");
        assert_eq!(tip_of(&home), if blocks == "--drop-blocks" { tip - 50 } else { tip });
        assert_eq!(signed(&home).unwrap(), before, "the record of what the key signed never goes back");
        nodes[0].wait_for_height(tip + 10); // the others go on without it

        let node = Validator::spawn(&home, &[]);
        eventually("it signs", || signed(&home).unwrap() != before);
        let after = signed(&home).unwrap();
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
