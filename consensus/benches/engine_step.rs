//! Measures the engine: nanoseconds per step, and the cost of a decided height in units of one signature check.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a bench reads a clock and prints"
)]

use std::time::Instant;

use consensus::{Engine, Input, Signer};
use types::*;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn main() {
    let chain = ChainId::new("bench").unwrap();
    let (public, digest) = (key(1).public_key(), sha256(b"x"));
    let signature = key(1).sign(&digest);
    let started = Instant::now();
    for _ in 0..2_000 {
        public.verify(&digest, &signature).unwrap();
    }
    let check_ns = started.elapsed().as_nanos() / 2_000;
    println!("one signature check: {check_ns} ns");
    for validators in [4_u8, 100] {
        let set = ValidatorSet::new((1..=validators).map(|s| (key(s).public_key(), Power(1))).collect()).unwrap();
        let id = BlockId { hash: Hash([7; 32]), parts: PartSetHeader { total: 1, hash: Hash([8; 32]) } };
        let (now, me) = (Time::from_unix_millis(1_800_000_000_000), set.proposer().public_key);
        let seed = (1..=validators).find(|s| key(*s).public_key() == me).unwrap();
        let vote = |index: usize, vote_type| {
            let vote = Vote {
                vote_type,
                height: Height(1),
                round: Round(0),
                block_id: Some(id),
                timestamp: now,
                validator: set.get(index as u32).unwrap().address(),
                validator_index: index as u32,
            };
            Input::Vote(VerifiedVote::of_own(SignedVote { vote, signature }, &set))
        };
        let mut inputs = vec![
            Input::StartHeight {
                height: Height(1),
                validators: set.clone(),
                timeouts: Timeouts::default(),
                synchrony: Params::default().synchrony,
                hard_state: None,
                abstain: false,
            },
            Input::BlockBuilt { round: Round(0), block_id: id, time: now },
        ];
        inputs.extend((0..set.len()).map(|index| vote(index, VoteType::Prevote)));
        inputs.extend((0..set.len()).map(|index| vote(index, VoteType::Precommit)));
        let mut heights: Vec<u128> = (0..200)
            .map(|_| {
                let signer = Signer::new(key(seed), SignState::default());
                let mut engine = Engine::new(chain.clone(), Some(signer), set.clone());
                let inputs = inputs.clone();
                let started = Instant::now();
                for input in inputs {
                    std::hint::black_box(engine.step(now, input));
                }
                assert!(engine.is_decided());
                started.elapsed().as_nanos()
            })
            .collect();
        heights.sort_unstable();
        let (median, low, high) = (heights[100], heights[20], heights[180]);
        println!(
            "{validators:>3} validators: {:>6} ns a step, {:>5} µs a height as its proposer ({} to {}), three signatures of its \
             own included: {:.1} signature checks",
            median / inputs.len() as u128,
            median / 1000,
            low / 1000,
            high / 1000,
            median as f64 / check_ns as f64,
        );
    }
}
