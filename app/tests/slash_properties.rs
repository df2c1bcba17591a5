//! Proves that what a slash and a miss cost does not depend on the number of delegators, and that misses are counted exactly.
#![allow(missing_docs)]

mod common;

use std::collections::BTreeSet;

use app::{Answer, query};
use common::{
    counting::Counting,
    net::{Net, kinds, seconds},
    stake::*,
    *,
};
use proptest::prelude::*;
use types::{Msg, Params, SecretKey, StakeMsg, StakingParams, TxBody, TxOrder};

/// Returns the numbers of rows that the next block reads and writes without a transaction.
fn cost(net: &Net) -> (usize, usize) {
    let mut writes = 0;
    let context = net.chain.context();
    let execute = |rows: &Counting<'_>| writes = net.chain.app.execute(rows, &context, []).writes.0.len();
    let reads = Counting::of(&net.chain.tip(), execute);
    (reads, writes)
}

/// Delegates to the validator 51 from this number of accounts.
fn with_delegators(count: u16) -> Net {
    let mut net = net(5);
    let key = |number: u16| {
        let mut bytes = [9; 32];
        bytes[30..].copy_from_slice(&number.to_be_bytes());
        SecretKey::from_bytes(&bytes).unwrap()
    };
    let keys: Vec<SecretKey> = (0..count).map(key).collect();
    for some in keys.chunks(10) {
        let pay = |key: &SecretKey| Msg::Transfer { to: key.public_key().address(), amount: 100_000 };
        net.ok(1, some.iter().map(pay).collect());
        let delegate = |key: &SecretKey| {
            let messages = vec![Msg::Stake(StakeMsg::Delegate { validator: of(51), amount: 10 })];
            let (signer, order) = (key.public_key(), TxOrder::Nonce(0));
            trusted(TxBody { chain_id: chain_id(), signer, order, fee: 1000, messages }.sign(key))
        };
        let results = net.block(some.iter().map(delegate).collect());
        assert!(results.iter().all(|result| result.code == 0));
    }
    net
}

/// ST9.
#[test]
fn a_slash_costs_the_same_with_many_delegators() {
    let costs = [10, 500].map(|count| {
        let mut net = with_delegators(count);
        net.chain.misbehavior = vec![double_sign(51, net.height(), 10)];
        let slash = cost(&net);
        net.chain.misbehavior = Vec::new();
        net.chain.absent = vec![address(101)];
        (slash, cost(&net))
    });
    assert_eq!(costs[0], costs[1]);
}

/// A block in which all validators signed reads what a block without last commit reads.
#[test]
fn a_block_that_all_signed_costs_nothing_more() {
    let mut net = net(5);
    net.empty();
    let before = cost(&net);
    net.without(&[51]);
    assert_eq!(cost(&net), before, "also after a miss");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn misses_are_counted_exactly(runs in proptest::collection::vec((0_u64..40, 1_u64..30), 1..12), window in 1_u64..60) {
        let staking = StakingParams { downtime_window: window, downtime: seconds(100_000), ..params(5).staking };
        let mut net = Net::with(&Params { staking, ..params(5) });
        // The heights are around the boundary of two chunks.
        (0..900).for_each(|_| drop(net.empty()));
        let mut missed = BTreeSet::new();
        for (signed, silent) in runs {
            (0..signed).for_each(|_| drop(net.empty()));
            for _ in 0..silent {
                let height = net.height();
                let events = net.without(&[51]);
                missed.insert(height);
                let expected = missed.range((height + 1).saturating_sub(window)..).count() as u64;
                let path = format!("/staking/uptime/{}", of(51));
                let Ok(Answer::Uptime(found)) = query(&net.chain.rows, &path, b"") else { panic!() };
                let misses = found.misses.unwrap();
                prop_assert_eq!((misses.missed, misses.last_missed.0), (expected, height));
                let first = (0..).map(|back| height - back).take_while(|height| missed.contains(height)).last();
                prop_assert_eq!(misses.silent_since.unix_millis(), 1000 * (first.unwrap() + 1));
                prop_assert_eq!(kinds(&events), "");
            }
        }
    }
}
