//! Proves at one replica that a validator with two keys signs with the one that is in the set of the height.

use std::time::Duration;

use consensus::Signer;
use replica::{Input, Output, Timer};
use types::*;

mod one;
use one::{One, chain, key};

const NEW: u8 = 9;

fn address(seed: u8) -> Address {
    key(seed).public_key().address()
}

/// Lets time pass until a height is decided. A new key enters the rotation behind all others, so the other validator, which
/// says nothing, proposes first: the timeouts of its rounds pass too.
fn decide(one: &mut One, height: u64) {
    let mut due = Vec::new();
    while one.tip().0 < height {
        due.push(Timer::EmptyBlock(one.tip().next()));
        due = pass(one, due);
    }
}

/// Lets a second pass, in which these timers expire. Returns the timers of consensus that were started.
fn pass(one: &mut One, due: Vec<Timer>) -> Vec<Timer> {
    one.now = one.now.saturating_add(Duration::from_secs(1));
    let outputs = one.step(due.into_iter().map(Input::Timer).collect());
    let timer = |output: &Output| match output {
        Output::StartTimer { timer: timer @ Timer::Consensus(_), .. } => Some(*timer),
        _ => None,
    };
    outputs.iter().filter_map(timer).collect()
}

/// A validator in whose block 3 its key is replaced.
fn rotated(is_held: bool) -> One {
    let mut one = One::new();
    decide(&mut one, 2);
    if is_held {
        one.replica.hold(key(NEW).into());
    }
    let possession = key(NEW).sign_message(&possession_message(&chain(), &address(1)));
    let rotate = KeyRotate { public_key: key(NEW).public_key().into(), possession };
    one.submit(Msg::Stake(StakeMsg::RotateKey(Box::new(rotate))));
    decide(&mut one, 3);
    let results = &one.committed.last().unwrap().results;
    assert_eq!((results.txs[0].code, results.validator_updates.len()), (0, 2));
    one
}

/// Returns the proposer of a height, and who signed its commit.
fn signers(one: &One, height: u64) -> (Address, Vec<Address>) {
    let committed = one.committed.iter().find(|committed| committed.block.header.height.0 == height).unwrap();
    let signed = committed.commit.signatures.iter().filter_map(|signature| match signature {
        CommitSig::Commit { validator, .. } => Some(*validator),
        _ => None,
    });
    (committed.block.header.proposer, signed.collect())
}

#[test]
fn each_of_two_keys_signs_at_the_heights_whose_set_has_it() {
    let mut one = rotated(true);
    assert_eq!(one.replica.status().own, Some(key(1).public_key().into()));
    decide(&mut one, 4);
    assert_eq!(one.replica.status().own, Some(key(NEW).public_key().into()), "at height 5");
    decide(&mut one, 8);
    for height in 3..=4 {
        assert_eq!(signers(&one, height), (address(1), vec![address(1)]), "height {height}");
    }
    for height in 5..=8 {
        assert_eq!(signers(&one, height), (address(NEW), vec![address(NEW)]), "height {height}");
    }
    // One record covers both keys.
    let signer = one.replica.signer().unwrap();
    assert_eq!((signer.state().height, signer.address()), (Height(8), address(NEW)));
    // After a restart with the new key alone, which has signed, it goes on.
    let (disk, now, signed) = (one.disk.clone(), one.now, signer.state().clone());
    drop(one);
    let mut again = One::with(disk, now, Signer::new(key(NEW), signed));
    decide(&mut again, 10);
    assert_eq!(signers(&again, 10), (address(NEW), vec![address(NEW)]));
}

#[test]
fn without_the_new_key_nothing_is_signed_until_a_start_with_it() {
    let mut one = rotated(false);
    decide(&mut one, 4);
    let mut due = vec![Timer::EmptyBlock(Height(5))];
    for _ in 0..9 {
        due = pass(&mut one, due);
    }
    assert_eq!(one.tip(), Height(4));
    let mut signer = one.replica.signer().unwrap().clone();
    signer.hold(key(NEW).into());
    let (disk, now) = (one.disk.clone(), one.now);
    drop(one);
    let mut again = One::with(disk, now, signer);
    decide(&mut again, 6);
    assert_eq!(signers(&again, 5), (address(NEW), vec![address(NEW)]));
}
