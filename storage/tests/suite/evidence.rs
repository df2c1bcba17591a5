//! Proves that evidence is found in its block until it expires, waits for a block until it is in one, and that what is
//! needed to check it outlives the window.

use storage::{Cf, FORGET_STEP, Kv, Store, StoreError, View};
use types::{
    Address, BlockId, DuplicateVoteEvidence, Evidence, Hash, Height, PartSetHeader, Power, Round, Signature,
    SignedVote, Time, Vote, VoteType, WriteSet,
};

use crate::chain::{Chain, Rig, open};

on_both!(
    evidence_in_a_block_is_found_and_waits_no_more,
    evidence_that_waits_survives_and_is_replaced,
    a_rewind_forgets_the_evidence_of_the_blocks_that_it_drops,
    what_checks_evidence_outlives_the_window,
);

/// Returns evidence against validator `n` at a height; the store checks no signature.
fn evidence(n: u8, height: u64) -> Evidence {
    let vote = |byte| {
        let hash = Hash([byte; 32]);
        let vote = Vote {
            vote_type: VoteType::Precommit,
            height: Height(height),
            round: Round(0),
            block_id: Some(BlockId { hash, parts: PartSetHeader { total: 1, hash } }),
            timestamp: Time::from_unix_nanos(1),
            validator: Address([n; 20]),
            validator_index: 0,
        };
        SignedVote { vote, signature: Signature([byte; 64]) }
    };
    Evidence::DuplicateVote(DuplicateVoteEvidence {
        vote_a: vote(1),
        vote_b: vote(2),
        total_power: Power(4),
        validator_power: Power(1),
        timestamp: Time::from_unix_nanos(1),
    })
}

fn commit<K: Kv>(store: &Store<K>, chain: &mut Chain, evidence: Vec<Evidence>, floor: u64) {
    let mut made = chain.next_with(WriteSet::default(), vec![chain.height.0.to_be_bytes().to_vec()], evidence);
    made.evidence_floor = Height(floor);
    store.commit_block(&made.batch()).unwrap();
}

fn evidence_in_a_block_is_found_and_waits_no_more<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, WriteSet::default());
    assert_eq!(store.evidence_floor().unwrap(), Height(1), "before the first block");
    commit(&store, &mut chain, vec![], 1);
    let (one, two) = (evidence(1, 1), evidence(2, 1));
    for waiting in [&one, &two] {
        store.put_waiting_evidence(waiting).unwrap();
        assert_eq!(store.committed_evidence(&waiting.infraction()).unwrap(), None);
    }
    commit(&store, &mut chain, vec![one.clone()], 1);
    let check = |store: &Store<R::Kv>| {
        assert_eq!(store.committed_evidence(&one.infraction()).unwrap(), Some((Height(2), one.hash())));
        assert_eq!(store.committed_evidence(&two.infraction()).unwrap(), None);
        assert_eq!(store.waiting_evidence().unwrap(), std::slice::from_ref(&two));
        assert_eq!(store.waiting_evidence_of(&one.infraction()).unwrap(), None);
        assert_eq!(store.verification().finish().findings, []);
    };
    check(&store);
    drop(store);
    check(&open(&rig));
}

fn evidence_that_waits_survives_and_is_replaced<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, WriteSet::default());
    commit(&store, &mut chain, vec![], 1);
    let mut found = evidence(1, 2); // of the height that is being decided
    store.put_waiting_evidence(&found).unwrap();
    store.put_waiting_evidence(&evidence(3, 1)).unwrap();
    found.set_time(Time::from_unix_nanos(7));
    store.put_waiting_evidence(&found).unwrap();
    assert_eq!(store.verification().finish().findings, [], "its height may be above the tip");
    drop(store);
    let store = open(&rig);
    assert_eq!(store.waiting_evidence().unwrap(), [evidence(3, 1), found.clone()]);
    store.remove_waiting_evidence(&[found.infraction()]).unwrap();
    assert_eq!(store.waiting_evidence_of(&found.infraction()).unwrap(), None);
    assert_eq!(store.waiting_evidence_of(&evidence(3, 1).infraction()).unwrap(), Some(evidence(3, 1)));
}

fn a_rewind_forgets_the_evidence_of_the_blocks_that_it_drops<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, WriteSet::default());
    commit(&store, &mut chain, vec![], 1);
    commit(&store, &mut chain, vec![evidence(1, 1)], 1);
    commit(&store, &mut chain, vec![evidence(2, 1), evidence(2, 2)], 2);
    let placed = |n, height| store.committed_evidence(&(Height(height), Address([n; 20]))).unwrap().map(|(at, _)| at);
    assert_eq!([placed(1, 1), placed(2, 1), placed(2, 2)], [2, 3, 3].map(|at| Some(Height(at))));
    assert_eq!(store.evidence_floor().unwrap(), Height(2));
    store.rewind(Height(2)).unwrap();
    assert_eq!([placed(1, 1), placed(2, 1), placed(2, 2)], [Some(Height(2)), None, None]);
    assert_eq!(store.evidence_floor().unwrap(), Height(1), "as it was then");
    assert!(matches!(store.block_time(Height(3)), Err(StoreError::Future { .. })));
    store.rewind(Height(1)).unwrap();
    assert_eq!(placed(1, 1), None);
    let rows =
        store.kv().view().rows(Cf::Evidence, &[], &[]).count() + store.kv().view().rows(Cf::Times, &[], &[]).count();
    assert_eq!(rows, 1, "the time of the first block");
}

/// Height 10 is the lowest whose evidence has not expired for the block after the start of the window. Its set, its time
/// and where its evidence is are kept; what is below is deleted.
fn what_checks_evidence_outlives_the_window<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, WriteSet::default());
    let last = 3 * FORGET_STEP;
    for height in 1..=last {
        let in_block = (height % 5 == 1 && height > 1).then(|| evidence(1, height - 1)).into_iter().collect();
        commit(&store, &mut chain, in_block, height.saturating_sub(2 * FORGET_STEP - 10).max(1));
    }
    store.prune(Height(2 * FORGET_STEP)).unwrap();
    let floor = 10;
    for height in [floor, floor + 1, FORGET_STEP, last] {
        let height = Height(height);
        assert_eq!(store.block_time(height).unwrap(), chain.made[&height].block.header.time);
        assert_eq!(store.validators_for_evidence(height).unwrap(), chain.validators[&height]);
    }
    assert!(matches!(store.validators(Height(floor)), Err(StoreError::Pruned { .. })), "it is below the window");
    let committed = |height| store.committed_evidence(&evidence(1, height).infraction()).unwrap();
    assert_eq!(committed(floor).map(|(at, _)| at), Some(Height(floor + 1)));
    let lowest = store.kv().view().rows(Cf::Times, &[], &[]).next().unwrap().unwrap().0;
    assert_eq!(lowest[..], floor.to_be_bytes());
    assert_eq!(committed(floor - 5), None, "deleted");
    assert_eq!(store.verification().finish().findings, []);
    drop(store);
    let store = open(&rig);
    assert_eq!(store.block_time(Height(floor)).unwrap(), chain.made[&Height(floor)].block.header.time);
}
