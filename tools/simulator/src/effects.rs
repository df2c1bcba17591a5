//! What a block changed is what its transactions say: a failed one leaves its fee and its nonce, and nothing else.
//!
//! | condition | of |
//! |---|---|
//! | the nonce of an account grows by the number of its ordered transactions that were taken, whether they failed or not | each account |
//! | its balance changes by the fees of those that were taken, and by the transfers of those that succeeded | each account of which nothing else in the block says that it pays or is paid |
//! | the content of a namespace is that before the block, after the writes of those that succeeded, in their order | each namespace that the block does not revert |
//!
//! A transaction was taken if its result has events: one that cannot be in a block, for example for its nonce, has none. What deposits,
//! stake and proposals pay is left to [`stakes`](crate::stakes) and to the sum of all money (`supply`).

use std::collections::{BTreeMap, BTreeSet};

use app::{Account, area::NEVER_REVERTED, tree::rows::split_row};
use types::{Address, Block, BlockResults, Event, Msg, Transaction, TxOrder, TxResult, Wire};

use crate::{
    broken::{Broken, ensure},
    rows::Rows,
};

/// Keys and values of a namespace.
pub type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// First byte of the raw key of an account.
const ACCOUNT: u8 = b'a';

/// Topics of the events of a block that move money of accounts that they do not name.
const PAYING_TOPICS: [&str; 3] = ["proposal.", "revert.", "community."];

/// What the transactions of a block do to an account.
#[derive(Clone, Copy, Debug, Default)]
struct Effect {
    nonces: u64,
    paid: u64,
    received: u64,
    /// True if something else may change its balance.
    is_open: bool,
}

/// Returns true if the fee of a transaction was taken, and its nonce or digest.
pub fn is_taken(result: &TxResult) -> bool {
    !result.events.is_empty()
}

/// Returns the transactions of a block with their results.
fn transactions<'b>(
    block: &'b Block,
    results: &'b BlockResults,
) -> impl Iterator<Item = (Transaction, &'b TxResult)> + 'b {
    let decoded = |bytes: &Vec<u8>| Transaction::decode(bytes).expect("the checker has decoded it");
    block.txs.iter().map(decoded).zip(&results.txs)
}

/// Checks the accounts after a block. `before` and `now` are the states before and after it.
///
/// Errors: [`Broken`] if a nonce or a balance is not what the transactions of the block make of it.
pub fn check_accounts(block: &Block, results: &BlockResults, (before, now): (&Rows, &Rows)) -> Result<(), Broken> {
    let height = block.header.height;
    let effects = effects_of(block, results);
    let named: String =
        others(results).flat_map(|event| &event.attributes).map(|one| format!("{} ", one.value)).collect();
    let pays_unnamed =
        results.events.iter().any(|event| PAYING_TOPICS.iter().any(|topic| event.kind.starts_with(topic)));
    let (before, now) = (accounts(before), accounts(now));
    for address in before.keys().chain(now.keys()).collect::<BTreeSet<_>>() {
        let of = |state: &BTreeMap<Address, Account>| state.get(address).copied().unwrap_or_default();
        let (old, new, effect) = (of(&before), of(&now), effects.get(address).copied().unwrap_or_default());
        let nonce = old.nonce + effect.nonces;
        ensure!(
            new.nonce == nonce,
            "effects: the nonce of {address} is {} after height {height}, its transactions make it {nonce}",
            new.nonce
        );
        if effect.is_open || pays_unnamed || named.contains(&address.to_string()) {
            continue;
        }
        let balance = (old.balance + effect.received).checked_sub(effect.paid);
        ensure!(
            Some(new.balance) == balance,
            "effects: {address} has {} after height {height}, fees and transfers that succeeded make it {balance:?}",
            new.balance
        );
    }
    Ok(())
}

/// Returns the events of a block that are about more than fees, transfers and writes.
fn others(results: &BlockResults) -> impl Iterator<Item = &Event> {
    let of_txs = results.txs.iter().flat_map(|result| &result.events);
    results.events.iter().chain(of_txs).filter(|event| !matches!(event.kind.as_str(), "tx" | "transfer" | "kv.write"))
}

fn effects_of(block: &Block, results: &BlockResults) -> BTreeMap<Address, Effect> {
    let mut effects: BTreeMap<Address, Effect> = BTreeMap::new();
    for (tx, result) in transactions(block, results).filter(|(_, result)| is_taken(result)) {
        let (body, signer) = (tx.body(), tx.body().signer.address());
        let of_signer = effects.entry(signer).or_default();
        of_signer.nonces += u64::from(matches!(body.order, TxOrder::Nonce(_)));
        of_signer.paid += body.fee;
        if result.code != 0 {
            continue;
        }
        for message in &body.messages {
            match message {
                Msg::Transfer { to, amount } => {
                    effects.entry(signer).or_default().paid += amount;
                    effects.entry(*to).or_default().received += amount;
                }
                Msg::KvWrite { .. } => {}
                _ => effects.entry(signer).or_default().is_open = true,
            }
        }
    }
    effects
}

fn accounts(rows: &Rows) -> BTreeMap<Address, Account> {
    let rows = rows.range(NEVER_REVERTED.to_vec()..).take_while(|(row, _)| row.starts_with(NEVER_REVERTED));
    let of_row = |(_, row): (_, &Vec<u8>)| {
        let (key, value) = split_row(row)?;
        let address = key.strip_prefix(&[ACCOUNT])?.try_into().ok().map(Address)?;
        Some((address, Account::from_value(value)?))
    };
    rows.filter_map(of_row).collect()
}

/// Checks the content of a namespace after a block that does not revert it.
///
/// Errors: [`Broken`] if it is not what the writes of the transactions that succeeded make of the content before.
pub fn check_content(
    ns: &str,
    block: &Block,
    results: &BlockResults,
    (before, now): (&Content, &Content),
) -> Result<(), Broken> {
    let mut expected = before.clone();
    for (tx, _) in transactions(block, results).filter(|(_, result)| result.code == 0) {
        for message in &tx.body().messages {
            let Msg::KvWrite { ns: written, ops, .. } = message else { continue };
            for op in ops.iter().filter(|_| written == ns) {
                match &op.value {
                    Some(value) => expected.insert(op.key.clone(), value.clone()),
                    None => expected.remove(&op.key),
                };
            }
        }
    }
    let height = block.header.height;
    ensure!(expected == *now, "effects: the writes of height {height} that succeeded do not lead to what {ns} holds");
    Ok(())
}

#[cfg(test)]
mod tests {
    use types::{ChainId, Header, KvOp, SecretKey, TxBody};

    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_bytes(&[seed; 32]).unwrap()
    }

    fn address(seed: u8) -> Address {
        key(seed).public_key().address()
    }

    /// Returns a block of one transaction of account 1, which pays 5 to account 2 for a fee of 3 and writes to `a`, and the results of
    /// it.
    fn block(code: u32) -> (Block, BlockResults) {
        let write = KvOp { key: b"k".to_vec(), value: Some(b"v".to_vec()), if_height: None };
        let messages = vec![
            Msg::Transfer { to: address(2), amount: 5 },
            Msg::KvWrite { ns: "a".into(), data_epoch: 1, ops: vec![write] },
        ];
        let (chain_id, signer) = (ChainId::new("cairn-simulated").unwrap(), key(1).public_key());
        let body = TxBody { chain_id, signer, order: TxOrder::Nonce(7), fee: 3, messages };
        let event = Event { kind: "tx".into(), attributes: Vec::new() };
        let result = TxResult { code, events: vec![event], ..TxResult::default() };
        let header = Header { height: types::Height(4), ..header() };
        let txs = vec![body.sign(&key(1)).encode()];
        let results = BlockResults { txs: vec![result], ..BlockResults::default() };
        (Block { header, txs, evidence: Vec::new(), last_commit: None }, results)
    }

    fn header() -> Header {
        let hash = types::Hash::default();
        Header {
            version_app: 1,
            chain_id: ChainId::new("cairn-simulated").unwrap(),
            height: types::Height(1),
            time: types::Time::UNIX_EPOCH,
            last_block_id: None,
            last_commit_hash: hash,
            data_hash: hash,
            validators_hash: hash,
            next_validators_hash: hash,
            consensus_hash: hash,
            app_hash: hash,
            last_results_hash: hash,
            evidence_hash: hash,
            proposer: Address::default(),
        }
    }

    /// Returns the rows of a state in which accounts 1 and 2 have these balances and nonces.
    fn rows(of: [(u64, u64); 2]) -> Rows {
        let rows = (1..).zip(of).map(|(seed, (balance, nonce))| {
            let value = prost::Message::encode_to_vec(&types::pb::Account { balance, nonce });
            (app::state::key::account(&address(seed)), value)
        });
        app::tree::rows::rows_of(NEVER_REVERTED, rows).into_iter().collect()
    }

    #[test]
    fn what_a_failed_transaction_leaves_beside_its_fee_and_nonce_is_noticed() {
        let before = rows([(100, 7), (100, 0)]);
        let check = |code, after| {
            let (block, results) = block(code);
            check_accounts(&block, &results, (&before, &rows(after))).err().map(|broken| broken.0).unwrap_or_default()
        };
        assert_eq!((check(0, [(92, 8), (105, 0)]), check(1, [(97, 8), (100, 0)])), (String::new(), String::new()));
        for (code, after, what) in [
            (1, [(92, 8), (105, 0)], "fees and transfers"),
            (1, [(100, 8), (100, 0)], "fees and transfers"),
            (1, [(97, 7), (100, 0)], "its transactions make it 8"),
            (1, [(97, 8), (105, 0)], "fees and transfers"),
            (0, [(97, 8), (105, 0)], "fees and transfers"),
        ] {
            assert!(check(code, after).contains(what), "{code} {after:?}: {}", check(code, after));
        }
    }

    #[test]
    fn what_a_failed_transaction_writes_to_a_namespace_is_noticed() {
        let (empty, written) = (Content::new(), Content::from([(b"k".to_vec(), b"v".to_vec())]));
        for (code, now, holds) in [(0, &written, true), (1, &empty, true), (0, &empty, false), (1, &written, false)] {
            let (block, results) = block(code);
            assert_eq!(check_content("a", &block, &results, (&empty, now)).is_ok(), holds, "{code}");
        }
    }
}
