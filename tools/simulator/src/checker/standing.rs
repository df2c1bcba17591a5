//! Correct nodes treat each other well: none penalizes another one, and none stops without a reason of its own.

use replica::{Halt, Offence};
use storage::StoreError;

use crate::{
    broken::{Broken, ensure},
    node::Node,
};

/// Checks a penalty that a node gives to a peer.
///
/// A request or an answer may be lost with a link, some time before the node is informed that the link is down; and a damaged
/// node may lack blocks that it claims to have.
///
/// Errors: [`Broken`] if both are correct, and the peer is not only slow.
pub fn on_penalty(from: &Node, of: &Node, offence: &Offence) -> Result<(), Broken> {
    let may_be_lost = match offence {
        Offence::Unserved(why) => why.starts_with("it did not answer") || of.is_damaged,
        _ => false,
    };
    ensure!(
        !from.is_correct() || !of.is_correct() || may_be_lost,
        "standing: n{} penalizes n{}, which is correct: {offence}",
        from.index,
        of.index
    );
    Ok(())
}

/// Checks that a node that stops is not correct, or its disk failed or was damaged.
///
/// Errors: [`Broken`] if it has no such reason.
pub fn on_halt(node: &Node, why: &Halt) -> Result<(), Broken> {
    let disk_failed = matches!(why, Halt::Store(error) if matches!(**error, StoreError::Io { .. }));
    ensure!(
        !node.is_correct() || disk_failed || node.is_damaged,
        "standing: n{} halts, and is correct: {why}",
        node.index
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use types::Height;

    use super::*;
    use crate::liar::Behaviour;

    #[test]
    fn only_a_penalty_between_correct_nodes_is_noticed() {
        let (one, liar) = (Node::new(0, None, None), Node::new(1, None, Some(Behaviour::Garbage)));
        let offence = Offence::BadSignature("the vote's signature is wrong".to_owned());
        assert!(on_penalty(&one, &one, &offence).unwrap_err().0.starts_with("standing: n0 penalizes n0"));
        assert_eq!(on_penalty(&one, &liar, &offence), Ok(()));
        assert_eq!(on_penalty(&liar, &one, &offence), Ok(()));
        let unserved = |why: &str| Offence::Unserved(why.to_owned());
        assert_eq!(on_penalty(&one, &one, &unserved("it did not answer a request")), Ok(()));
        assert!(on_penalty(&one, &one, &unserved("it sent no block")).is_err());
        let mut damaged = Node::new(2, None, None);
        damaged.is_damaged = true;
        assert_eq!(on_penalty(&one, &damaged, &unserved("it sent no block")), Ok(()));
    }

    #[test]
    fn a_correct_node_that_halts_is_noticed() {
        let why = Halt::AnotherSigner { height: Height(3) };
        assert!(on_halt(&Node::new(0, None, None), &why).unwrap_err().0.starts_with("standing: n0 halts"));
        assert_eq!(on_halt(&Node::new(0, None, Some(Behaviour::Twin)), &why), Ok(()));
    }
}
