//! Measures the cost of checks: a vote, a transaction, and commits of 4 and of 100 validators, as multiples of a vote
//! check.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a bench reads a clock and prints"
)]

use std::time::Instant;

use types::*;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

/// Returns the median and the 10th and 90th percentiles of one call, in nanoseconds.
fn measure<T>(times: usize, mut call: impl FnMut() -> T) -> (u128, u128, u128) {
    let mut nanos: Vec<u128> = (0..times)
        .map(|_| {
            let started = Instant::now();
            std::hint::black_box(call());
            started.elapsed().as_nanos()
        })
        .collect();
    nanos.sort_unstable();
    (nanos[times / 2], nanos[times / 10], nanos[times * 9 / 10])
}

fn main() {
    let chain = ChainId::new("bench").unwrap();
    let now = Time::from_unix_millis(1_800_000_000_000);
    let id = BlockId { hash: Hash([7; 32]), parts: PartSetHeader { total: 1, hash: Hash([8; 32]) } };
    let set_of = |n: u8| ValidatorSet::new((1..=n).map(|s| (key(s).public_key(), Power(1))).collect()).unwrap();
    let vote = |set: &ValidatorSet, index: usize| {
        let validator = set.get(index as u32).unwrap().address();
        let seed = (1..=set.len() as u8).find(|s| key(*s).public_key().address() == validator).unwrap();
        let (height, round, validator_index) = (Height(1), Round(0), index as u32);
        let vote_type = VoteType::Precommit;
        Vote { vote_type, height, round, block_id: Some(id), timestamp: now, validator, validator_index }
            .sign(&chain, &key(seed))
    };
    let commit_of = |set: &ValidatorSet| {
        let votes: Vec<SignedVote> = (0..set.len()).map(|index| vote(set, index)).collect();
        Commit::from_votes(Height(1), Round(0), id, set, &votes)
    };
    let (four, hundred) = (set_of(4), set_of(100));
    let (commit4, commit100) = (commit_of(&four), commit_of(&hundred));
    let signed = vote(&four, 0);
    let transfer = TxBody {
        chain_id: chain.clone(),
        signer: key(1).public_key(),
        order: TxOrder::Nonce(0),
        fee: 1,
        messages: vec![Msg::Transfer { to: Address([9; 20]), amount: 5 }],
    }
    .sign(&key(1))
    .encode();

    let (unit, ..) = measure(2_000, || signed.clone().verify(&chain, &four).unwrap());
    let report = |what: &str, (median, low, high): (u128, u128, u128)| {
        let ratio = median as f64 / unit as f64;
        println!(
            "{what:<34} {:>9.1} µs ({:.1} to {:.1}) {ratio:>7.3} vote checks",
            median as f64 / 1e3,
            low as f64 / 1e3,
            high as f64 / 1e3
        );
    };
    report("check a vote", measure(2_000, || signed.clone().verify(&chain, &four).unwrap()));
    report("sign a vote", measure(2_000, || signed.vote.clone().sign(&chain, &key(1))));
    report("decode a vote", measure(2_000, || SignedVote::decode(&signed.encode()).unwrap()));
    report("check a transfer, decoding included", measure(2_000, || VerifiedTx::from_bytes(&transfer).unwrap()));
    for count in [4, 16, 32, 64] {
        let txs = vec![Transaction::decode(&transfer).unwrap(); count];
        let (median, low, high) = measure(2_000 / count, || assert!(verify_batch(&txs).iter().all(|holds| *holds)));
        let each = |nanos: u128| nanos / count as u128;
        report(&format!("check one of {count} transfers together"), (each(median), each(low), each(high)));
    }
    report("check a commit of 4", measure(500, || commit4.verify(&chain, &four).unwrap()));
    report("check a commit of 100", measure(50, || commit100.verify(&chain, &hundred).unwrap()));
    report("hash a set of 100", measure(500, || hundred.hash()));
}
