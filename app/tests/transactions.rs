//! Proves the effects and refusals of transactions, rule by rule.
#![allow(missing_docs)]

mod common;

use std::time::Duration;

use app::{
    Answer, App, EXPIRING_MAX, FORGOTTEN_MIN, Pending, Pools, Refusal, StateProof, check_tx, decode_block_txs, query,
    state::{NEVER_REVERTED, key},
    tree::rows::{path_of, row_key, row_value},
    validate_block_txs,
};
use common::*;
use prost::Message;
use types::{Address, ChainId, Deadline, Event, Height, Msg, Params, SecretKey, Time, TxOrder, TxResult, Wire, pb};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn codes(results: &[TxResult]) -> Vec<u32> {
    results.iter().map(|result| result.code).collect()
}

/// The attributes that are marked for indexing.
const ADDRESSES: [&str; 3] = ["signer", "sender", "recipient"];

fn event(kind: &str, attributes: &[(&'static str, String)]) -> Event {
    Event::new(kind, attributes.iter().map(|(key, value)| (*key, value, ADDRESSES.contains(key))))
}

#[test]
fn a_transfer_moves_money_and_pays_its_fee() {
    let mut chain = Chain::new(&[100, 10]);
    let results = chain.block(&[tx(1, TxOrder::Nonce(0), vec![transfer(2, 30), transfer(3, 5)])]);
    assert_eq!(codes(&results), [0]);
    assert_eq!((results[0].gas_wanted, results[0].gas_used), (2, 2));
    let (one, two, three) = (address(1).to_string(), address(2).to_string(), address(3).to_string());
    let moved = |to: &str, amount: &str| {
        event("transfer", &[("sender", one.clone()), ("recipient", to.into()), ("amount", amount.into())])
    };
    assert_eq!(
        results[0].events,
        [
            event("tx", &[("signer", one.clone()), ("fee", "2".into()), ("nonce", "0".into())]),
            moved(&two, "30"),
            moved(&three, "5")
        ]
    );
    assert_eq!((chain.balance(1), chain.balance(2), chain.balance(3)), (63, 40, 5));
    assert_eq!(chain.account(1).nonce, 1);
    assert_eq!(
        query(&chain.rows, "/supply", b""),
        Ok(Answer::Supply { total: 110, fee_pool: 2, deposits: 0, stake: Pools::default() })
    );
}

#[test]
fn a_transfer_to_oneself_changes_nothing_but_the_fee() {
    let mut chain = Chain::new(&[100]);
    assert_eq!(codes(&chain.block(&[tx(1, TxOrder::Nonce(0), vec![transfer(1, 98)])])), [0]);
    assert_eq!(chain.balance(1), 98);
}

#[test]
fn messages_succeed_all_or_none() {
    let mut chain = Chain::new(&[100]);
    let results = chain.block(&[tx(1, TxOrder::Nonce(0), vec![transfer(2, 90), transfer(2, 9)])]);
    assert_eq!(codes(&results), [11]);
    assert_eq!(results[0].codespace, "cairn");
    assert_eq!(results[0].log, "message 1: E_INSUFFICIENT_FUNDS: the account has 8 to spend, 9 is needed");
    assert_eq!(results[0].events.len(), 1, "only the fee happened");
    assert_eq!((chain.balance(1), chain.balance(2), chain.account(1).nonce), (98, 0, 1));
}

#[test]
fn a_failed_message_has_the_code_of_its_reason() {
    let nobody = Msg::Transfer { to: Address::default(), amount: 1 };
    for (message, code) in [(nobody, 12), (transfer(2, 0), 13), (transfer(2, u64::MAX), 11)] {
        let mut chain = Chain::new(&[100]);
        assert_eq!(codes(&chain.block(&[tx(1, TxOrder::Nonce(0), vec![message])])), [code]);
        assert_eq!(chain.balance(1), 98);
    }
}

#[test]
fn a_transaction_that_cannot_be_included_changes_nothing() {
    let params = Params { fee_min: 2, tx_ttl_max: seconds(10), ..Params::default() };
    let chain = Chain::with_params(&[100, 1], &params);
    let one = vec![transfer(2, 1)];
    let mut cheap = body(1, TxOrder::Nonce(0), one.clone());
    cheap.fee = 1;
    let mut elsewhere = body(1, TxOrder::Nonce(0), one.clone());
    elsewhere.chain_id = ChainId::new("elsewhere").unwrap();
    let cases = [
        (
            tx(1, TxOrder::Nonce(1), one.clone()),
            5,
            "E_NONCE: nonce is 1, expected 0: send 0 first or query the account",
        ),
        (trusted(cheap.sign(&common::key(1))), 10, "E_FEE: the fee is 1, at least 2 is needed"),
        (tx(2, TxOrder::Nonce(0), one.clone()), 11, "E_INSUFFICIENT_FUNDS: the account has 1 to spend, 2 is needed"),
        (tx(3, TxOrder::Nonce(0), one.clone()), 11, "E_INSUFFICIENT_FUNDS: the account has 0 to spend, 2 is needed"),
        (trusted(elsewhere.sign(&common::key(1))), 3, "E_WRONG_CHAIN: signed for elsewhere"),
        (
            tx(1, expires(1_000), one.clone()),
            6,
            "E_EXPIRED: expired at 1970-01-01T00:00:01Z, the block's time is 1970-01-01T00:00:01Z: sign it again",
        ),
        (
            tx(1, expires(11_001), one),
            7,
            "E_EXPIRES_TOO_FAR: expires at 1970-01-01T00:00:11.001Z, at most 1970-01-01T00:00:11Z is allowed now",
        ),
    ];
    for (tx, code, log) in cases {
        let outcome = chain.execute(&[tx]);
        assert_eq!(codes(&outcome.results.txs), [code]);
        let result = &outcome.results.txs[0];
        assert!(result.log.starts_with(log), "{}", result.log);
        assert!(result.events.is_empty() && result.gas_used == 0);
        assert!(outcome.writes.0.is_empty());
        assert_eq!(outcome.results.app_hash, chain.app.app_hash());
    }
}

#[test]
fn a_transaction_may_be_in_blocks_before_its_expiry_and_not_too_long_before() {
    let params = Params { tx_ttl_max: seconds(10), ..Params::default() };
    let mut chain = Chain::with_params(&[100], &params);
    let code_at = |chain: &mut Chain, nanos: i64| {
        chain.time = Time::from_unix_nanos(nanos);
        codes(&chain.execute(&[tx(1, expires(20_000), vec![transfer(2, 1)])]).results.txs)[0]
    };
    assert_eq!([9_999_999_999, 10_000_000_000].map(|nanos| code_at(&mut chain, nanos)), [7, 0], "ten seconds before");
    assert_eq!([19_999_999_999, 20_000_000_000].map(|nanos| code_at(&mut chain, nanos)), [0, 6]);
}

#[test]
fn nonces_are_used_in_order_within_and_across_blocks() {
    let mut chain = Chain::new(&[100]);
    let nonce = |nonce| tx(1, TxOrder::Nonce(nonce), vec![transfer(2, 1)]);
    assert_eq!(codes(&chain.block(&[nonce(0), nonce(1), nonce(1), nonce(3), nonce(2)])), [0, 0, 5, 5, 0]);
    assert_eq!(codes(&chain.block(&[nonce(2), nonce(3)])), [5, 0]);
}

#[test]
fn nothing_is_executed_twice() {
    let params = Params { tx_ttl_max: seconds(5), ..Params::default() };
    let mut chain = Chain::with_params(&[100], &params);
    let empty = chain.rows.len() + 2; // the collected fees and the counters have rows once there are some
    let until = |second| tx(1, until(second), vec![transfer(2, 1)]);
    assert_eq!(codes(&chain.block(&[until(4), until(4), until(3), until(1)])), [0, 8, 0, 0]);
    let results = chain.block(&[until(4), until(1)]);
    assert_eq!(codes(&results), [8, 6]);
    assert_eq!(results[0].log, "E_DUPLICATE: executed already at height 1");
    assert_eq!(codes(&chain.block(&[until(3), until(4)])), [8, 8]);
    assert_eq!(codes(&chain.block(&[until(3), until(4)])), [6, 8]);
    assert_eq!(codes(&chain.block(&[until(4)])), [6]);
    assert_eq!(chain.rows.len(), empty + 1, "expired digests are removed; account 2 is new");
    assert_eq!(chain.balance(2), 3);
    assert_eq!(chain.account(1).nonce, 0);
}

#[test]
fn an_unordered_transaction_whose_message_fails_is_used_up() {
    let mut chain = Chain::new(&[10]);
    let rich = tx(1, until(9), vec![transfer(2, 50)]);
    assert_eq!(codes(&chain.block(std::slice::from_ref(&rich))), [11]);
    assert_eq!(chain.balance(1), 8);
    assert_eq!(codes(&chain.block(&[rich])), [8]);
}

#[test]
fn many_digests_expiring_in_one_second_are_stored_in_rows_and_all_removed() {
    let mut chain = Chain::new(&[1_000_000]);
    let empty = chain.rows.len() + 2; // the collected fees and the counters have rows once there are some
    for height in 1..=3 {
        let many: Vec<_> = (0..1500).map(|i| tx(1, until(3), vec![transfer(1, height * 2000 + i)])).collect();
        assert!(codes(&chain.block(&many)).iter().all(|code| *code == 0));
        assert_eq!(chain.rows.len() as u64, empty as u64 + height * (1500 + 2) + 2);
    }
    (0..5).for_each(|_| drop(chain.block(&[])));
    assert_eq!(chain.rows.len(), empty);
}

#[test]
fn a_long_pause_leaves_no_digests_behind() {
    let mut chain = Chain::new(&[1_000_000]);
    let empty = chain.rows.len() + 2; // the collected fees and the counters have rows once there are some
    let txs = [3, 600, 1, 250].map(|second| tx(1, until(second), vec![transfer(1, second)]));
    assert_eq!(codes(&chain.block(&txs)), [0, 0, 0, 0]);
    chain.block(&[]);
    assert_eq!(chain.rows.len(), empty + 3 * 3 + 1, "three seconds with one digest each, and their span");
    chain.time = chain.time.saturating_add(seconds(365 * 24 * 3600));
    assert_eq!(codes(&chain.block(&txs[..1])), [6]);
    assert_eq!(chain.rows.len(), empty, "the visited seconds are those that have lists, not those of the pause");
}

#[test]
fn the_transactions_that_expire_in_one_second_are_bounded() {
    let mut chain = Chain::new(&[100]);
    let (key, counts) = (key::expiry(9), pb::Expiry { count: EXPIRING_MAX - 1, rows: 1024 });
    let row = row_value(&key, &counts.encode_to_vec());
    chain.rows.insert(row_key(NEVER_REVERTED, &path_of(&key)), row);
    chain.app = App::open(&chain.rows, chain_id(), Height(0));
    let in_second_9 = |ms: u64, amount| tx(1, expires(9_000 + ms), vec![transfer(2, amount)]);
    let results = chain.execute(&[in_second_9(0, 1), in_second_9(999, 2), in_second_9(1000, 3)]).results.txs;
    assert_eq!(codes(&results), [0, 9, 0]);
    let full = format!("E_EXPIRY_FULL: {EXPIRING_MAX} transactions expire in the second of 1970-01-01T00:00:09.999Z");
    assert!(results[1].log.starts_with(&full), "{}", results[1].log);
}

#[test]
fn expired_digests_are_removed_over_several_blocks_without_visible_effect() {
    let mut chain = Chain::new(&[1_000_000]);
    let empty = chain.rows.len() + 2; // the collected fees and the counters have rows once there are some
    let until = |second, i: u64| tx(1, until(second), vec![transfer(1, 1 + i)]);
    // As many lists with one digest as fit, in addition to large ones.
    for block in 0..5 {
        let many: Vec<_> = (0..1500).map(|i| until(8, block * 2000 + i)).collect();
        assert!(codes(&chain.block(&many)).iter().all(|code| *code == 0));
    }
    chain.block(&[until(8, 90_000), until(9, 90_001), until(12, 90_002)]);
    chain.block(&[]);
    chain.block(&[]);
    let before = chain.rows.len();
    chain.block(&[]);
    let mut sizes = vec![chain.rows.len()];
    while chain.rows.len() > empty {
        let height = chain.next_height();
        assert_eq!(
            codes(&chain.block(&[until(8, 1), until(8, 7001)]))[..],
            [6, 6],
            "it expired, whether its digest is removed or not"
        );
        sizes.push(chain.rows.len());
        assert!(height < Height(30), "{sizes:?}");
    }
    let most = 2 * FORGOTTEN_MIN as usize + 2;
    let steps = std::iter::once(&before).chain(&sizes).zip(&sizes).map(|(before, after)| before - after.min(before));
    assert!(steps.max().unwrap() <= most, "{before} rows, then {sizes:?}");
    assert!(sizes.len() > 4);
    assert_eq!(chain.app.app_hash(), App::open(&chain.rows, chain_id(), chain.app.height()).app_hash());
}

#[test]
fn expired_digests_do_not_accumulate_under_load() {
    let params = Params { tx_ttl_max: seconds(3), ..Params::default() };
    let mut chain = Chain::with_params(&[10_000_000], &params);
    let mut most = 0;
    for height in 1..=30_u64 {
        let many: Vec<_> = (0..1200).map(|i| tx(1, until(height + 2), vec![transfer(1, height * 2000 + i)])).collect();
        assert!(codes(&chain.block(&many)).iter().all(|code| *code == 0));
        most = most.max(chain.rows.len());
    }
    assert!(most < 4 * 1200, "{most} rows, three seconds' worth");
}

#[test]
fn a_block_names_the_transaction_that_makes_it_invalid() {
    let params = Params::default();
    let good = sign(1, TxOrder::Nonce(0), vec![transfer(2, 1)]).encode();
    let mut elsewhere = body(1, TxOrder::Nonce(0), vec![transfer(2, 1)]);
    elsewhere.chain_id = ChainId::new("elsewhere").unwrap();
    let elsewhere = elsewhere.sign(&common::key(1)).encode();
    let forged = body(1, TxOrder::Nonce(0), vec![transfer(2, 1)]).sign(&common::key(2)).encode();
    let check = |txs: &[&[u8]], params: &Params| {
        let txs: Vec<Vec<u8>> = txs.iter().map(|tx| tx.to_vec()).collect();
        validate_block_txs(&chain_id(), params, &txs, |_| None).map(|txs| txs.len())
    };
    assert_eq!(check(&[&good, &good], &params), Ok(2));
    for (bad, code) in [(&b"rubbish"[..], 1), (&forged, 4), (&elsewhere, 3), (&vec![0; 300_000], 2)] {
        let invalid = check(&[&good, bad], &params).unwrap_err();
        assert_eq!((invalid.index, invalid.reason.code().number), (1, code));
    }
    let mut narrow = params.clone();
    narrow.block.gas_max = 2;
    assert_eq!(check(&[&good, &good], &narrow), Ok(2));
    let invalid = check(&[&good, &good, &good], &narrow).unwrap_err();
    assert_eq!((invalid.index, invalid.reason.code().number), (2, 14));
    let forged = vec![forged];
    assert_eq!(decode_block_txs(&chain_id(), &params, &forged, |_| None).unwrap().len(), 1);
}

#[test]
fn a_verified_transaction_is_not_verified_again() {
    let txs = vec![sign(1, TxOrder::Nonce(0), vec![transfer(2, 1)]).encode(); 2];
    let mut asked = 0;
    let known = |bytes: &[u8]| {
        asked += 1;
        (asked == 1).then(|| types::VerifiedTx::from_bytes(bytes).unwrap())
    };
    let decoded = decode_block_txs(&chain_id(), &Params::default(), &txs, known).unwrap();
    assert!(matches!(decoded[..], [app::BlockTx::Known(_), app::BlockTx::Unverified(_)]));
}

#[test]
fn a_mempool_may_hold_the_next_nonces_that_are_paid_for() {
    let chain = Chain::new(&[100]);
    let check = |nonce, amount, pending| {
        let tx = sign(1, TxOrder::Nonce(nonce), vec![transfer(2, amount)]);
        check_tx(&chain.rows, &chain.rules(), &tx, pending).map(|admission| (admission.ahead, admission.cost))
    };
    let none = Pending::default();
    let some = Pending { next_nonce: Some(3), spent: 60 };
    assert_eq!(check(0, 98, none), Ok((0, 100)));
    assert_eq!(check(0, 99, none), Err(Refusal::InsufficientFunds { have: 100, need: 101 }));
    assert_eq!(check(2, 1, none), Ok((2, 3)));
    assert_eq!(check(2, 1, some), Err(Refusal::Nonce { got: 2, expected: 3 }));
    assert_eq!(check(3, 38, some), Ok((0, 40)));
    assert_eq!(check(3, 39, some), Err(Refusal::InsufficientFunds { have: 100, need: 101 }));
    assert_eq!(check(3 + 1024, 1, some), Ok((1024, 3)));
    assert_eq!(check(3 + 1025, 1, some), Err(Refusal::Nonce { got: 1028, expected: 3 }));
    assert_eq!(check(0, 0, none), Err(Refusal::ZeroAmount));
}

#[test]
fn a_mempool_learns_which_rows_a_transaction_depends_on() {
    let mut chain = Chain::new(&[100]);
    let until = sign(1, until(2), vec![transfer(2, 1)]);
    let admission = check_tx(&chain.rows, &chain.rules(), &until, Pending::default()).unwrap();
    let outcome = chain.execute(&[trusted(until.clone())]);
    assert!(admission.rows.iter().all(|row| outcome.writes.0.contains_key(row)), "sender and digest are written");
    chain.block(&[trusted(until.clone())]);
    let refused = check_tx(&chain.rows, &chain.rules(), &until, Pending::default());
    assert_eq!(refused, Err(Refusal::Duplicate { height: Height(1) }));
    chain.block(&[]);
    let refused = check_tx(&chain.rows, &chain.rules(), &until, Pending::default());
    let expires = Deadline::from_unix_millis(2001).unwrap();
    assert_eq!(refused, Err(Refusal::Expired { expires, time: Time::from_unix_millis(3000) }));
}

#[test]
fn queries_answer_or_name_the_paths_that_exist() {
    let chain = Chain::new(&[100]);
    let expected = Answer::Account { address: address(1), account: chain.account(1) };
    assert_eq!(query(&chain.rows, "/account", &address(1).0), Ok(expected.clone()));
    assert_eq!(query(&chain.rows, "/account", address(1).to_string().as_bytes()), Ok(expected));
    assert_eq!(query(&chain.rows, "/params", b""), Ok(Answer::Params(Box::default())));
    let error = query(&chain.rows, "/nothing", b"").unwrap_err();
    assert!(error.to_string().contains("/account (address") && error.code().number == 32);
    assert_eq!(query(&chain.rows, "/account", b"me").unwrap_err().code().number, 33);
    assert_eq!(query(&chain.rows, "/store", &[0; 2000]).unwrap_err().code().number, 33);
    assert!(matches!(query(&chain.rows, "/store", b"s"), Ok(Answer::Store { value: Some(_), .. })));
    assert!(matches!(query(&chain.rows, "/store", b"x"), Ok(Answer::Store { value: None, .. })));
}

#[test]
fn the_app_hash_proves_what_an_account_has() {
    let mut chain = Chain::new(&[100, 7]);
    chain.block(&[tx(1, TxOrder::Nonce(0), vec![transfer(2, 30)])]);
    let app_hash = chain.app.app_hash();
    for seed in [1, 2, 3] {
        let key = key::account(&address(seed));
        let Ok(Answer::Store { value, .. }) = query(&chain.rows, "/store", &key) else { panic!() };
        let ops = chain.app.prove(&chain.rows, &key).unwrap().to_ops();
        let proof = StateProof::from_ops(&ops).unwrap();
        assert_eq!(proof.value(), value.as_deref());
        let names = [NEVER_REVERTED];
        assert_eq!(proof.verify(&app_hash, &names, &key, value.as_deref()), Ok(()));
        assert!(proof.verify(&app_hash, &names, &key, Some(b"much")).is_err());
        assert!(proof.verify(&app_hash, &names, &key::account(&address(9)), value.as_deref()).is_err());
        assert!(proof.verify(&app_hash, &[b"r"], &key, value.as_deref()).is_err());
        assert!(proof.verify(&app_hash, &[], &key, value.as_deref()).is_err());
        assert!(StateProof::from_ops(&ops[..1]).unwrap().verify(&app_hash, &names, &key, value.as_deref()).is_err());
    }
}

#[test]
fn genesis_accounts_that_make_no_valid_state_are_refused() {
    let params = Params::default();
    let one = address(1);
    assert!(app::genesis_writes(&params, &[], [(one, 1), (one, 2)]).unwrap_err().to_string().contains("twice"));
    assert!(
        app::genesis_writes(&params, &[], [(one, u64::MAX), (address(2), 1)])
            .unwrap_err()
            .to_string()
            .contains("exceed")
    );
    assert!(
        app::genesis_writes(&params, &[], [(Address::default(), 1)])
            .unwrap_err()
            .to_string()
            .contains("belong to no key")
    );
    assert!(app::genesis_writes(&params, &[], [(one, u64::MAX)]).is_ok());
}

#[test]
#[should_panic(expected = "one after the other")]
fn executing_a_height_that_is_not_next_panics() {
    let chain = Chain::new(&[1]);
    let mut context = chain.context();
    context.height = Height(2);
    chain.app.execute(&chain.rows, &context, &[]);
}

#[test]
fn golden_app_hashes() {
    let mut chain = Chain::new(&[1000, 50]);
    assert_eq!(chain.app.app_hash().to_string(), "683FF104762FC4B2ED10F47168238AC8BFD8BB53E0EEC9DF18887F6C73B8078F");
    chain.block(&[
        tx(1, TxOrder::Nonce(0), vec![transfer(2, 30), transfer(3, 5)]),
        tx(2, until(9), vec![transfer(1, 8)]),
        tx(2, TxOrder::Nonce(4), vec![transfer(1, 8)]),
    ]);
    assert_eq!(chain.app.app_hash().to_string(), "BB8D4892D6CE37240FF0CA4CEB6BC9EC6ABE2C52A9F3576E23A8A9483954DF34");
    let secret = SecretKey::from_bytes(&[1; 32]).unwrap();
    assert_eq!(secret.public_key().address(), address(1));
}
