//! Bounds of what a correct node holds and sends, in bytes (I6).

use replica::Held;
use types::{
    Height,
    limits::{ATTACK_BYTES_MAX, BLOCK_BYTES_MAX, CERTIFICATE_BYTES_MAX, PARTS_MAX},
};

use crate::{
    broken::{Broken, ensure},
    checker::step::Step,
};

/// Maximum bytes of a step's answers to round states: 1 MiB, and one answer that may exceed it by its own maximum.
const ANSWERS_BYTES_MAX: usize = 1024 * 1024 + 4 * 1024 * 1024 + 256 * 1024;

/// Maximum bytes of a step's other messages: a block in parts, certificates, votes and round states of its own, and evidence
/// that is sent again.
const OWN_BYTES_MAX: usize =
    BLOCK_BYTES_MAX + PARTS_MAX as usize * 1024 + 16 * CERTIFICATE_BYTES_MAX + 16 * ATTACK_BYTES_MAX;

/// Checks what a node holds after a step, and what it sends. What it forwards is bounded by what it was given.
///
/// Errors: [`Broken`] if one is above its maximum.
pub fn check(step: &Step<'_>) -> Result<(), Broken> {
    let Some(alive) = &step.node.alive else { return Ok(()) };
    check_held(step.node.index, alive.replica.engine().height(), &alive.replica.held())?;
    let (bytes, bytes_max) = (step.bytes(), ANSWERS_BYTES_MAX + OWN_BYTES_MAX + step.given.bytes);
    ensure!(
        bytes <= bytes_max,
        "I6: n{} sends {bytes} bytes in a step, at most {bytes_max} are allowed",
        step.node.index
    );
    Ok(())
}

fn check_held(node: usize, height: Height, held: &[Held]) -> Result<(), Broken> {
    for Held { what, bytes, bytes_max } in held {
        ensure!(
            bytes <= bytes_max,
            "I6: n{node} holds {bytes} bytes of {what} at height {height}, at most {bytes_max} are allowed"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use replica::Output;
    use types::{Part, PeerMessage, Round, merkle::Proof};

    use super::*;
    use crate::{
        checker::step::Given,
        node::{Node, peer},
    };

    #[test]
    fn each_part_of_a_replica_that_holds_too_much_is_noticed() {
        let held = |bytes| Held { what: "peers", bytes, bytes_max: 10 };
        assert_eq!(check_held(1, Height(5), &[held(10)]), Ok(()));
        let broken = check_held(1, Height(5), &[held(10), held(11)]).unwrap_err().0;
        assert!(broken.starts_with("I6: n1 holds 11 bytes of peers"), "{broken}");
    }

    #[test]
    fn a_message_counts_once_however_many_peers_receive_it() {
        let proof = Proof { total: 1, index: 0, leaf_hash: types::blake3(b""), aunts: Vec::new() };
        let part = Arc::new(Part { index: 0, bytes: vec![0; 1000], proof });
        let message =
            |round| Arc::new(PeerMessage::Part { height: Height(1), round: Round(round), part: part.clone() });
        let (one, other) = (message(0), message(1));
        let send = |to, message: &Arc<PeerMessage>| Output::Send { to: peer(to), message: message.clone() };
        let outputs = [send(1, &one), send(2, &one), send(3, &other)];
        let (node, given) = (Node::new(0, None, None), Given::default());
        assert_eq!(Step { node: &node, given: &given, outputs: &outputs }.bytes(), 2 * 2024);
    }
}
