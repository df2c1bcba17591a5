//! Proves the invariants of the application with arbitrary blocks.
#![allow(missing_docs)]

mod common;

use std::time::Duration;

use app::{Answer, App, query};
use common::*;
use proptest::prelude::*;
use types::{Msg, Params, TxOrder, VerifiedTx};

fn any_tx() -> impl Strategy<Value = VerifiedTx> {
    let order = prop_oneof![
        4 => (0_u64..6).prop_map(TxOrder::Nonce),
        2 => (0_u64..16).prop_map(|n| expires(500 * n)),
    ];
    let amount = prop_oneof![6 => 0_u64..40, 1 => any::<u64>()];
    let message = (1_u8..7, amount).prop_map(|(to, amount)| transfer(to, amount));
    let zero = Just(Msg::Transfer { to: types::Address::default(), amount: 1 });
    let messages = proptest::collection::vec(prop_oneof![9 => message, 1 => zero], 1..4);
    (1_u8..5, order, messages, 0_u64..4).prop_map(|(from, order, messages, fee)| {
        let mut body = body(from, order, messages);
        body.fee = fee;
        trusted(body.sign(&key(from)))
    })
}

fn any_blocks() -> impl Strategy<Value = Vec<Vec<VerifiedTx>>> {
    proptest::collection::vec(proptest::collection::vec(any_tx(), 0..8), 1..8)
}

fn chain() -> Chain {
    Chain::with_params(&[60, 100, 30], &Params { tx_ttl_max: Duration::from_secs(3), ..Params::default() })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_supply_is_conserved(blocks in any_blocks()) {
        let mut chain = chain();
        for block in &blocks {
            chain.block(block);
            let Ok(Answer::Supply { total, fee_pool, .. }) = query(&chain.rows, "/supply", b"") else { panic!() };
            prop_assert_eq!(total, 190);
            prop_assert_eq!(chain.balances() + u128::from(fee_pool), 190);
        }
    }

    #[test]
    fn the_same_block_gives_the_same_outcome(blocks in any_blocks()) {
        let mut chain = chain();
        for block in &blocks {
            let first = chain.execute(block);
            let again = chain.execute(block);
            let reopened = App::open(&chain.rows, chain_id(), chain.app.height());
            let anew = reopened.execute(&chain.rows, &chain.context(), block);
            prop_assert_eq!(&first.writes, &again.writes);
            prop_assert_eq!(&first.results, &again.results);
            prop_assert_eq!(&first.writes, &anew.writes);
            prop_assert_eq!(&first.results, &anew.results);
            chain.block(block);
        }
    }

    #[test]
    fn a_failed_transaction_changes_only_fee_and_nonce(before in any_blocks(), tx in any_tx()) {
        let mut chain = chain();
        for block in &before {
            chain.block(block);
        }
        let (sender, account) = (tx.body().signer.address(), app::View::of_state(&chain.rows).account(&tx.body().signer.address()));
        let outcome = chain.execute(std::slice::from_ref(&tx));
        let result = &outcome.results.txs[0];
        let alone = chain.execute(&[]);
        if result.code != 0 && result.events.is_empty() {
            prop_assert_eq!(outcome.writes, alone.writes, "not includable");
        } else if result.code != 0 {
            let mut after = chain.rows.clone();
            store(&mut after, &outcome.writes);
            let ordered = matches!(tx.body().order, TxOrder::Nonce(_));
            let mut view = app::View::of_state(&after);
            let expected = app::Account {
                balance: account.balance - tx.body().fee,
                nonce: account.nonce + u64::from(ordered),
            };
            prop_assert_eq!(view.account(&sender), expected);
            let others = |rows: &Rows| -> Vec<u64> {
                let mut view = app::View::of_state(rows);
                (1..7).map(address).filter(|other| *other != sender).map(|other| view.account(&other).balance).collect()
            };
            prop_assert_eq!(others(&after), others(&chain.rows));
        }
    }

    #[test]
    fn blocks_that_were_not_decided_leave_no_trace(blocks in any_blocks()) {
        let (mut chain, mut straight) = (chain(), chain());
        for block in &blocks {
            chain.execute(&block[..block.len() / 2]);
            chain.execute(&[]);
            chain.block(block);
            straight.block(block);
            prop_assert_eq!(chain.app.app_hash(), straight.app.app_hash());
        }
        prop_assert_eq!(chain.rows, straight.rows);
    }
}
