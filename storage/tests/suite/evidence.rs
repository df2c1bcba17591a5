//! Proves that evidence is found in its block until it expires, waits for a block until it is in one, and that what is
//! needed to check it outlives the window.

use storage::{BlocksAbove, Cf, FORGET_STEP, Kv, Store, StoreError, View};
use types::{
    Address, BlockId, Commit, ConsensusPublicKey, ConsensusSecretKey, DuplicateVoteEvidence, Evidence, Hash, Height,
    KeyType, LightBlock, LightClientAttackEvidence, PartSetHeader, Power, Round, Signature, SignedVote, Signers, Time,
    TrustedBlock, ValidatorSet, Vote, VoteType, WriteSet,
};

use crate::chain::{Chain, Rig, open};

on_both!(
    evidence_in_a_block_is_found_and_waits_no_more,
    evidence_that_waits_survives_and_is_replaced,
    a_rewind_forgets_the_evidence_of_the_blocks_that_it_drops,
    what_checks_evidence_outlives_the_window,
    an_infraction_leads_to_the_first_block_with_evidence_of_it,
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
        assert_eq!(store.committed_evidence(&waiting.key()).unwrap(), None);
    }
    commit(&store, &mut chain, vec![one.clone()], 1);
    let check = |store: &Store<R::Kv>| {
        assert_eq!(store.committed_evidence(&one.key()).unwrap(), Some((Height(2), one.hash())));
        assert_eq!(store.committed_evidence(&two.key()).unwrap(), None);
        assert_eq!(store.waiting_evidence().unwrap(), std::slice::from_ref(&two));
        assert_eq!(store.waiting_evidence_of(&one.key()).unwrap(), None);
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
    store.remove_waiting_evidence(&[found.key()]).unwrap();
    assert_eq!(store.waiting_evidence_of(&found.key()).unwrap(), None);
    assert_eq!(store.waiting_evidence_of(&evidence(3, 1).key()).unwrap(), Some(evidence(3, 1)));
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
    store.begin_rewind(Height(2), BlocksAbove::Kept).unwrap();
    assert_eq!([placed(1, 1), placed(2, 1)], [Some(Height(2)), None], "the row is there, above the tip");
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
        let header = &chain.made[&height].block.header;
        let next = chain.made.get(&height.next()).and_then(|next| next.block.last_commit.as_ref());
        let trusted =
            TrustedBlock { hash: header.hash(), derived: header.derived_hash(), commit: next.map(Signers::of) };
        assert_eq!(store.trusted_block(height).unwrap(), trusted);
    }
    assert!(matches!(store.validators(Height(floor)), Err(StoreError::Pruned { .. })), "it is below the window");
    let committed = |height| store.committed_evidence(&evidence(1, height).key()).unwrap();
    assert_eq!(committed(floor).map(|(at, _)| at), Some(Height(floor + 1)));
    let lowest = store.kv().view().rows(Cf::Times, &[], &[]).next().unwrap().unwrap().0;
    assert_eq!(lowest[..], floor.to_be_bytes());
    assert_eq!(committed(floor - 5), None, "deleted");
    assert_eq!(store.verification().finish().findings, []);
    drop(store);
    let store = open(&rig);
    assert_eq!(store.block_time(Height(floor)).unwrap(), chain.made[&Height(floor)].block.header.time);
}

fn public_key(seed: u8) -> ConsensusPublicKey {
    ConsensusSecretKey::from_bytes(KeyType::Secp256k1, &[seed; 32]).unwrap().public_key()
}

/// Returns evidence that these validators attacked light clients; the store checks nothing.
fn attack<K: Kv>(store: &Store<K>, seeds: &[u8], height: u64, byte: u8) -> Evidence {
    let validators = ValidatorSet::new(seeds.iter().map(|seed| (public_key(*seed), Power(1))).collect()).unwrap();
    let header = types::Header { data_hash: Hash([byte; 32]), ..store.header(Height(height)).unwrap() };
    let block_id = BlockId { hash: header.hash(), parts: PartSetHeader { total: 1, hash: header.hash() } };
    let commit = Commit::from_votes(Height(height), Round(0), block_id, &validators, &[]);
    let byzantine = validators.iter().cloned().collect();
    let conflicting = LightBlock { header, commit, validators };
    let (common_height, total_power, timestamp) = (Height(height), Power(4), Time::from_unix_nanos(1));
    let attack = LightClientAttackEvidence { conflicting, common_height, byzantine, total_power, timestamp };
    Evidence::LightClientAttack(Box::new(attack))
}

fn an_infraction_leads_to_the_first_block_with_evidence_of_it<R: Rig>() {
    let rig = R::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, WriteSet::default());
    commit(&store, &mut chain, vec![], 1);
    let (first, second) = (attack(&store, &[1, 2], 1, 7), attack(&store, &[2, 3], 1, 8));
    let votes = {
        let Evidence::DuplicateVote(mut pair) = evidence(9, 1) else { panic!() };
        (pair.vote_a.vote.validator, pair.vote_b.vote.validator) = (public_key(3).address(), public_key(3).address());
        Evidence::DuplicateVote(pair)
    };
    for waiting in [&first, &second, &votes] {
        store.put_waiting_evidence(waiting).unwrap();
    }
    assert_eq!(store.waiting_evidence_of(&first.key()).unwrap(), Some(first.clone()));
    commit(&store, &mut chain, vec![first.clone()], 1);
    commit(&store, &mut chain, vec![second.clone()], 1);
    assert_eq!(store.waiting_evidence().unwrap(), [], "the attack names the voter");
    let placed = |seed| store.committed_evidence(&(Height(1), public_key(seed).address())).unwrap();
    let (in_first, in_second) = (Some((Height(2), first.hash())), Some((Height(3), second.hash())));
    assert_eq!([placed(1), placed(2), placed(3)], [in_first, in_first, in_second]);
    assert_eq!(store.verification().finish().findings, []);
    store.rewind(Height(2)).unwrap();
    assert_eq!([placed(1), placed(2), placed(3)], [in_first, in_first, None]);
    assert_eq!(store.verification().finish().findings, []);
    store.rewind(Height(1)).unwrap();
    assert_eq!([placed(1), placed(2), placed(3)], [None; 3]);
    let tip = store.trusted_block(Height(1)).unwrap();
    assert_eq!((tip.commit, tip.hash), (None, chain.made[&Height(1)].block.header.hash()), "no block has its commit");
}
