//! Transactions: their bytes, and what a chain does with them.

use app::{Answer, App, query};
use types::{Deadline, Msg, Reader, Transaction, TxBody, TxId, TxOrder, TxResult, VerifiedTx, Wire, limits};

use crate::{
    chain::{ACCOUNTS, Chain, address, body, messages},
    judge::{check_reason, decoded, same, survives, wire},
    samples::{chain_id, key},
};

/// Checks a signed transaction: it has one encoding, its id is that of its bytes, and a signature is of one body.
pub fn transaction(bytes: &[u8]) -> bool {
    let Some(tx) = decoded(bytes, Transaction::decode) else { return false };
    assert!(bytes.len() <= limits::TX_BYTES_MAX, "a transaction is bounded");
    assert_eq!(tx.bytes(), bytes, "a transaction has one encoding");
    survives(&tx, Transaction::encode, Transaction::decode);
    same(tx.id(), TxId::of(bytes), "the id is that of the bytes");
    assert!((1..=limits::TX_MESSAGES_MAX).contains(&tx.body().messages.len()), "messages are bounded");
    wire::<TxBody>(&tx.body().encode());
    if tx.holds() {
        let mut other = tx.body().clone();
        other.fee ^= 1;
        let forged = types::pb::Transaction { body: other.encode(), signature: tx.signature().0.to_vec() };
        let forged = Transaction::decode(&prost::Message::encode_to_vec(&forged)).expect("it is a transaction");
        assert!(!forged.holds(), "a signature is of one body");
    }
    true
}

/// Returns the seeds of [`transaction`]: one of each kind of message.
pub fn transaction_seeds() -> Vec<Vec<u8>> {
    let signed = |(seed, message)| body(seed, TxOrder::Nonce(0), vec![message]).sign(&key(seed)).encode();
    let mut seeds: Vec<Vec<u8>> = messages().into_iter().map(signed).collect();
    let expires = TxOrder::Expires(Deadline::from_unix_millis(9000).expect("it is a time"));
    let transfer = |amount| Msg::Transfer { to: address(2), amount };
    seeds.push(body(1, expires, vec![transfer(1), transfer(2)]).sign(&key(1)).encode());
    seeds
}

/// Bit of the first byte of a piece: the block ends before this transaction.
const NEXT_BLOCK: u8 = 0x40;
/// Bit of the first byte of a piece: the transaction keeps the nonce that its bytes have.
const OWN_NONCE: u8 = 0x80;

/// Maximum number of transactions and blocks that one input executes.
const PIECES_MAX: usize = 64;

/// Executes what decodes on a chain: an input is a list of pieces, each a byte of options, the length of a body (2 bytes,
/// big-endian) and the body of a transaction, which one of the accounts sends.
///
/// It checks that nothing panics, that a failed transaction changes only fee and nonce, that the supply is constant and is
/// all the money that there is, that each row is where it belongs, that the application says the same again when it is
/// opened anew, and that the mempool's check lets nothing pass that could not be in a block.
pub fn execution(bytes: &[u8]) -> bool {
    let (mut chain, mut block, mut nonces) = (Chain::new(), Vec::new(), [0_u64; ACCOUNTS as usize]);
    let (mut rest, mut has_executed) = (bytes, false);
    for _ in 0..PIECES_MAX {
        let Some((options, content)) = next_piece(&mut rest) else { break };
        if options & NEXT_BLOCK != 0 {
            run(&mut chain, &std::mem::take(&mut block));
            nonces = std::array::from_fn(|index| chain.account(index as u8 + 1).nonce);
        }
        let Some(mut body) = decoded(content, TxBody::decode) else { continue };
        let account = usize::from(options & 0x3F) % usize::from(ACCOUNTS);
        (body.chain_id, body.signer) = (chain_id(), key(account as u8 + 1).public_key());
        if let TxOrder::Nonce(nonce) = &mut body.order
            && options & OWN_NONCE == 0
        {
            *nonce = nonces[account];
            nonces[account] += 1;
        }
        let Some(tx) = unsigned(&body) else { continue };
        if block.is_empty() {
            check_admission(&chain, &tx);
        }
        has_executed = true;
        block.push(tx);
    }
    run(&mut chain, &block);
    run(&mut chain, &[]);
    has_executed
}

/// Returns a transaction without its signature, which execution does not check; `None` if it is too long with the names of this chain.
fn unsigned(body: &TxBody) -> Option<VerifiedTx> {
    let bytes = types::pb::Transaction { body: body.encode(), signature: vec![0; 65] };
    Transaction::decode(&prost::Message::encode_to_vec(&bytes)).ok().map(VerifiedTx::verified_before)
}

/// Splits the next piece from the input: its options, and the bytes of a body. Returns `None` at the end.
fn next_piece<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[options, high, low], behind) = rest.split_first_chunk::<3>()?;
    let bytes = usize::from(u16::from_be_bytes([high, low])).min(behind.len());
    let (content, behind) = behind.split_at(bytes);
    *rest = behind;
    Some((options, content))
}

/// Checks that a transaction that could be next, as the mempool says, is includable if it is the only one.
fn check_admission(chain: &Chain, tx: &VerifiedTx) {
    let rules = app::Rules::new(&chain.rows, chain_id(), chain.app.height().next(), chain.time);
    match app::check_tx(&chain.rows, &rules, tx, app::Pending::default()) {
        Ok(admission) if admission.ahead == 0 => {
            let outcome = chain.execute(std::slice::from_ref(tx));
            assert!(outcome.results.txs[0].is_executed(), "what may wait may be in a block: {:?}", outcome.results.txs);
        }
        Ok(_) => {}
        Err(refusal) => check_reason(&refusal.to_string()),
    }
}

/// Executes a block and checks what it did.
fn run(chain: &mut Chain, txs: &[VerifiedTx]) {
    let supply = chain.balances() + others(chain);
    if let [tx] = txs {
        check_alone(chain, tx);
    }
    let outcome = chain.execute(txs);
    let anew = App::open(&chain.rows, chain_id(), chain.app.height());
    same(anew.app_hash(), chain.app.app_hash(), "the state has one hash");
    for result in &outcome.results.txs {
        check_result(result);
    }
    wire::<types::BlockResults>(&outcome.results.encode()).expect("results can be stored");
    chain.commit(outcome);
    same(chain.balances() + others(chain), supply, "no money is made or lost");
    assert_eq!(app::misplaced_row(&chain.rows), None, "each row is where it belongs");
}

/// Checks that a transaction that fails alone in a block changes only the fee and the nonce of its sender.
fn check_alone(chain: &Chain, tx: &VerifiedTx) {
    let (with, without) = (chain.execute(std::slice::from_ref(tx)), chain.execute(&[]));
    let result = &with.results.txs[0];
    if result.code == 0 {
        return;
    }
    if !result.is_executed() {
        same(&with.writes, &without.writes, "a transaction that is not includable changes nothing");
        return;
    }
    let sender = tx.body().signer.address();
    let mut after = chain.rows.clone();
    after.write(chain.app.height().next(), &with.writes);
    let mut before = chain.rows.clone();
    before.write(chain.app.height().next(), &without.writes);
    let seeds = 1..=ACCOUNTS;
    for seed in seeds {
        let account = |rows: &types::Versions| app::View::of_state(rows).account(&address(seed));
        let (was, is) = (account(&before), account(&after));
        if address(seed) == sender {
            let nonce = was.nonce + u64::from(matches!(tx.body().order, TxOrder::Nonce(_)));
            let expected = app::Account { balance: was.balance - tx.body().fee, nonce };
            same(is, expected, "a failed transaction costs its fee and its nonce");
        } else {
            same(is, was, "a failed transaction is no other account's loss");
        }
    }
    let changed = |rows: &types::Versions, prefix: &[u8]| {
        let mut all = Vec::new();
        rows.scan(prefix, &mut |key, value| {
            all.push((key.to_vec(), value.to_vec()));
            true
        });
        all
    };
    let area = app::area::REVERTIBLE;
    same(changed(&after, area), changed(&before, area), "a failed transaction writes nothing to a namespace");
}

fn check_result(result: &TxResult) {
    if result.code != 0 {
        check_reason(&result.log);
    }
    assert!(result.gas_used <= result.gas_wanted && result.gas_used >= 0, "gas is bounded: {result:?}");
}

/// Returns the money that is no account's. It must be the rest of the supply.
fn others(chain: &Chain) -> u128 {
    let Ok(Answer::Supply { total, fee_pool, deposits, stake }) = query(&chain.rows, "/supply", b"") else {
        panic!("the supply is known")
    };
    let others = u128::from(fee_pool) + u128::from(deposits) + u128::from(stake.sum());
    assert_eq!(chain.balances() + others, u128::from(total), "the supply is all the money that there is");
    others
}

/// Returns the seeds of [`execution`]: all messages in one chain, a block for each; some of them in one block; and
/// transactions that fail.
pub fn execution_seeds() -> Vec<Vec<u8>> {
    let piece = |options: u8, body: TxBody| {
        let bytes = body.encode();
        let length = u16::try_from(bytes.len()).expect("bodies of seeds are short");
        [&[options], &length.to_be_bytes()[..], &bytes].concat()
    };
    let sent = |options, seed: u8, message| piece(options | (seed - 1), body(seed, TxOrder::Nonce(0), vec![message]));
    let all =
        |options: u8| messages().into_iter().map(|(seed, message)| sent(options, seed, message)).collect::<Vec<_>>();
    let mut seeds = vec![all(NEXT_BLOCK).concat(), all(0).concat()];
    seeds.extend(all(0));
    let waiting = [NEXT_BLOCK, 0, 0].repeat(8);
    seeds.push([all(NEXT_BLOCK).concat(), waiting].concat());
    seeds.push(piece(OWN_NONCE, body(1, TxOrder::Nonce(7), vec![Msg::Transfer { to: address(2), amount: 1 }])));
    seeds.push(piece(0, body(1, TxOrder::Nonce(0), vec![Msg::Transfer { to: address(2), amount: u64::MAX }])));
    let expires = TxOrder::Expires(Deadline::from_unix_millis(9000).expect("it is a time"));
    seeds.push(piece(0, body(2, expires, vec![Msg::Transfer { to: address(3), amount: 3 }])));
    seeds
}
