//! The messages of peers.

use types::{
    BitSet, BlockAndCommit, BlockRequest, BlockResponse, Height, PartSet, PeerMessage, PeerRequest, Round, RoundState,
    RoundVotes, Step, TxBatch, TxId, VoteType, WaitingTxs, Wire, limits,
};

use crate::{judge::wire, samples};

/// Checks a message on a direct stream: it is bounded by the limit of its own kind, not only by that of all messages.
pub fn peer_message(bytes: &[u8]) -> bool {
    let Some(message) = wire::<PeerMessage>(bytes) else { return false };
    match message {
        PeerMessage::Vote(vote) => assert!(vote.encode().len() <= limits::VOTE_BYTES_MAX, "a vote is bounded"),
        PeerMessage::Certificate(all) => assert!(all.votes().len() <= limits::VALIDATORS_MAX, "votes are bounded"),
        PeerMessage::Part { part, .. } => assert!(part.bytes.len() <= limits::PART_BYTES, "a part is bounded"),
        PeerMessage::RoundState(state) => check_round_state(&state),
        PeerMessage::Evidence(evidence) => assert!(evidence.named() <= limits::VALIDATORS_MAX, "names are bounded"),
        PeerMessage::Proposal(_) => {}
    }
    true
}

/// Returns the seeds of [`peer_message`].
pub fn peer_message_seeds() -> Vec<Vec<u8>> {
    let part = PartSet::from_bytes(b"a block").get(0).expect("the set is complete").clone();
    let messages = [
        PeerMessage::Proposal(samples::proposal(None)),
        PeerMessage::Vote(samples::vote(VoteType::Precommit, 1, Some(samples::id(1)))),
        PeerMessage::Certificate(samples::certificate()),
        PeerMessage::Part { height: Height(3), round: Round(1), part },
        PeerMessage::RoundState(state()),
        PeerMessage::Evidence(Box::new(samples::double_sign())),
        PeerMessage::Evidence(Box::new(samples::attack())),
    ];
    messages.iter().map(Wire::encode).collect()
}

/// Checks a round state: no set of bits is larger than a set of validators or parts, and no bit is beyond its end.
pub fn round_state(bytes: &[u8]) -> bool {
    let Some(state) = wire::<RoundState>(bytes) else { return false };
    check_round_state(&state);
    true
}

fn check_round_state(state: &RoundState) {
    let of = |votes: &RoundVotes| [votes.prevotes.clone(), votes.precommits.clone()];
    let mut sets = vec![state.parts.clone()];
    sets.extend(of(&state.current));
    sets.extend(state.previous.iter().flat_map(of));
    let bits_max = limits::PARTS_MAX.max(limits::VALIDATORS_MAX as u32);
    for set in sets {
        assert!(set.len() <= bits_max, "{} bits", set.len());
        assert_eq!(set.iter().count(), set.count() as usize, "each set bit is inside");
        assert!(set.iter().all(|bit| bit < set.len()), "no bit is beyond the end");
    }
}

fn state() -> RoundState {
    let mut held = BitSet::new(4);
    held.set(2);
    let votes = |round| RoundVotes { round: Round(round), prevotes: held.clone(), precommits: BitSet::new(4) };
    RoundState {
        step: Step::Prevote,
        has_proposal: true,
        parts_header: Some(samples::id(1).parts),
        parts: BitSet::new(2),
        current: votes(2),
        previous: Some(votes(1)),
        ..RoundState::empty(Height(3), Round(2), 4, Height(1))
    }
}

/// Returns the seeds of [`round_state`].
pub fn round_state_seeds() -> Vec<Vec<u8>> {
    vec![state().encode(), RoundState::empty(Height(1), Round(0), 4, Height(1)).encode()]
}

/// Checks a request to a peer: what it asks for is bounded.
pub fn peer_request(bytes: &[u8]) -> bool {
    let Some(request) = wire::<PeerRequest>(bytes) else { return false };
    match request {
        PeerRequest::Blocks(request) => assert!(request.count <= limits::SYNC_BLOCKS_MAX, "blocks are bounded"),
        PeerRequest::Txs(ids) => assert!(ids.len() <= limits::TXS_PER_REQUEST_MAX, "transactions are bounded"),
        PeerRequest::WaitingTxs => {}
    }
    true
}

/// Returns the seeds of [`peer_request`].
pub fn peer_request_seeds() -> Vec<Vec<u8>> {
    let requests = [
        PeerRequest::Blocks(BlockRequest { from: Height(5), count: 64 }),
        PeerRequest::WaitingTxs,
        PeerRequest::Txs(vec![TxId([1; 32]), TxId([2; 32])]),
    ];
    requests.iter().map(Wire::encode).collect()
}

/// Checks the answer to a request for blocks: it has at most as many blocks as a request may ask for.
pub fn block_response(bytes: &[u8]) -> bool {
    let Some(response) = wire::<BlockResponse>(bytes) else { return false };
    assert!(response.blocks.len() <= limits::SYNC_BLOCKS_MAX as usize, "blocks are bounded");
    for block in &response.blocks {
        assert!(block.commit.signatures.len() <= limits::VALIDATORS_MAX, "commits are bounded");
    }
    true
}

/// Returns the seeds of [`block_response`].
pub fn block_response_seeds() -> Vec<Vec<u8>> {
    let commit = samples::commit_of(Height(2), samples::id(1));
    let block = samples::block(2, vec![vec![1]]).encode();
    let response = BlockResponse {
        earliest: Height(1),
        latest: Height(2),
        latest_commit: Some(commit.clone()),
        blocks: vec![BlockAndCommit { block, commit }],
    };
    let none = BlockResponse { earliest: Height(0), latest: Height(0), latest_commit: None, blocks: Vec::new() };
    vec![response.encode(), none.encode()]
}

/// Checks a batch of transactions of the mempool's gossip: number and sizes are bounded, and none is empty.
pub fn tx_batch(bytes: &[u8]) -> bool {
    let Some(batch) = wire::<TxBatch>(bytes) else { return false };
    assert!(batch.txs.len() <= limits::TX_BATCH_MAX, "a batch is bounded");
    assert!(batch.txs.iter().all(|tx| (1..=limits::TX_BYTES_MAX).contains(&tx.len())), "transactions are bounded");
    true
}

/// Returns the seeds of [`tx_batch`].
pub fn tx_batch_seeds() -> Vec<Vec<u8>> {
    let txs = crate::transactions::transaction_seeds();
    vec![TxBatch { txs, salt: 7 }.encode(), TxBatch { txs: Vec::new(), salt: 0 }.encode()]
}

/// Checks a list of the transactions that wait at a peer.
pub fn waiting_txs(bytes: &[u8]) -> bool {
    let Some(WaitingTxs(ids)) = wire::<WaitingTxs>(bytes) else { return false };
    assert!(ids.len() <= limits::WAITING_TXS_MAX, "a list is bounded");
    true
}

/// Returns the seeds of [`waiting_txs`].
pub fn waiting_txs_seeds() -> Vec<Vec<u8>> {
    vec![WaitingTxs(vec![(TxId([1; 32]), 200), (TxId([2; 32]), 0)]).encode(), WaitingTxs(Vec::new()).encode()]
}
