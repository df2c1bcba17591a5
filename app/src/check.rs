//! Checks of transactions before they are in a block, and of a block's transactions before they are executed.

use std::ops::Deref;

use thiserror::Error;
use types::{Address, ChainId, Msg, Params, Reader, StakeMsg, Transaction, TxOrder, VerifiedTx, Wire};

use crate::{
    error::Refusal,
    execute::{Rules, check_message},
    state::{NEVER_REVERTED, key},
    tree::rows::{path_of, row_key},
    view::View,
};

/// Maximum distance between the nonce of a waiting transaction and the next expected nonce.
pub const NONCES_AHEAD_MAX: u64 = 1024;

/// The transactions of one sender that a mempool already holds, in summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// The nonce after the last one held without a gap; `None` if no ordered transaction is held.
    pub next_nonce: Option<u64>,
    /// Sum of [`Admission::cost`] of the held transactions.
    pub spent: u128,
}

/// A transaction that a mempool may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Address of the signer, who pays the fee.
    pub sender: Address,
    /// Nonce or expiry of the transaction.
    pub order: TxOrder,
    /// Fee that is paid when the transaction is included.
    pub fee: u64,
    /// Sum of the fee, the amounts and the deposits: the balance that the sender needs.
    pub cost: u128,
    /// Number of the sender's nonces that are missing before it can be executed; 0 means ready.
    pub ahead: u64,
    /// Rows that the result depends on: check again if a block writes one of them, or if the parameters change.
    /// (Execution alone checks how many transactions expire at the same height.)
    pub rows: Vec<Vec<u8>>,
}

/// Checks whether a transaction could be executed in the block of `rules`, after the pending ones. Signatures are not
/// checked.
///
/// `reader` is the state at the tip. Cost: two or three reads. Of a message that concerns a namespace or a
/// proposal, names, sizes, notice and deposit are checked. Whether the namespace or the proposal exists, epochs, quotas,
/// conditions and who may vote are known only when the block is executed, because a transaction before this one may change
/// them: such a transaction may wait, fail, and pay its fee.
///
/// Errors: the [`Refusal`] of executing it, and `E_NONCE` for a nonce that is already pending or more than
/// [`NONCES_AHEAD_MAX`] ahead.
pub fn check_tx<R: Reader + ?Sized>(
    reader: &R,
    rules: &Rules,
    tx: &Transaction,
    pending: Pending,
) -> Result<Admission, Refusal> {
    let body = tx.body();
    rules.check_tx(tx)?;
    let (mut cost, mut deposits) = (u128::from(body.fee), 0);
    for message in &body.messages {
        let amount = u128::from(check_message(&rules.params, message)?);
        cost += amount;
        if matches!(message, Msg::NsCreate { .. } | Msg::Propose(_)) {
            deposits += amount;
        }
    }
    let sender = body.signer.address();
    let mut view = View::of_state(reader);
    let account = view.account(&sender);
    let row = |key: &[u8]| row_key(NEVER_REVERTED, &path_of(key));
    let mut rows = vec![row(&key::account(&sender))];
    let ahead = match body.order {
        TxOrder::Nonce(nonce) => {
            let expected = account.nonce.max(pending.next_nonce.unwrap_or(0));
            match nonce.checked_sub(expected) {
                Some(ahead) if ahead <= NONCES_AHEAD_MAX => ahead,
                _ => return Err(Refusal::Nonce { got: nonce, expected }),
            }
        }
        TxOrder::Expires(expires) => {
            let digest = tx.digest();
            rules.check_expiry(&mut view, expires, &digest, 0)?;
            rows.push(row(&key::executed(&digest)));
            0
        }
    };
    let need = pending.spent + cost;
    let balance = u128::from(account.balance);
    if balance < need - deposits || (balance < need && deposits == 0) {
        // An earlier transaction that created this validator has spent the amount: that is the reason to name.
        let creates = |message: &Msg| matches!(message, Msg::Stake(StakeMsg::Create(_)));
        if body.messages.iter().any(creates) && view.validator(&sender).is_some() {
            return Err(Refusal::ValidatorExists { operator: sender });
        }
        return Err(Refusal::InsufficientFunds { have: account.balance, need });
    }
    if balance < need {
        return Err(Refusal::Deposit { have: balance - (need - deposits), need: deposits });
    }
    Ok(Admission { sender, order: body.order, fee: body.fee, cost, ahead, rows })
}

/// A transaction that makes its block invalid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("transaction {index}: {reason}")]
pub struct InvalidTx {
    /// Index of the transaction in the block, from 0.
    pub index: usize,
    /// Why the transaction is invalid.
    pub reason: Refusal,
}

/// A transaction of a block whose signature may still have to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockTx {
    /// A transaction whose exact bytes this node has verified before.
    Known(VerifiedTx),
    /// A transaction whose signature this node has not checked yet.
    Unverified(Transaction),
}

/// Decodes the transactions of a block and checks all but the signatures. `known` returns a transaction that this node
/// has verified before, found by its exact bytes.
///
/// Errors: [`InvalidTx`] with the first transaction that no correct proposer includes: it does not decode, belongs to
/// another chain, or exceeds the block's gas.
pub fn decode_block_txs(
    chain_id: &ChainId,
    params: &Params,
    txs: &[Vec<u8>],
    mut known: impl FnMut(&[u8]) -> Option<VerifiedTx>,
) -> Result<Vec<BlockTx>, InvalidTx> {
    let gas_max = u64::try_from(params.block.gas_max).unwrap_or(u64::MAX);
    let mut gas = 0;
    let mut decode = |bytes: &[u8]| {
        let tx = match known(bytes) {
            Some(tx) => BlockTx::Known(tx),
            None => BlockTx::Unverified(Transaction::decode(bytes)?),
        };
        let body = tx.body();
        if body.chain_id != *chain_id {
            let (got, expected) = (body.chain_id.to_string(), chain_id.to_string());
            return Err(Refusal::WrongChain { got, expected });
        }
        gas += Rules::gas(body).unsigned_abs();
        if gas > gas_max {
            return Err(Refusal::TooManyMessages { got: gas as usize, max: gas_max });
        }
        Ok(tx)
    };
    let decoded =
        txs.iter().enumerate().map(|(index, bytes)| decode(bytes).map_err(|reason| InvalidTx { index, reason }));
    decoded.collect()
}

/// Decodes and verifies the transactions of a block. `known` is the same as in [`decode_block_txs`]; the other
/// transactions are verified here, one after the other. Cost: 39 µs per signature.
///
/// Errors: those of [`decode_block_txs`], and the first transaction with an invalid signature.
pub fn validate_block_txs(
    chain_id: &ChainId,
    params: &Params,
    txs: &[Vec<u8>],
    known: impl FnMut(&[u8]) -> Option<VerifiedTx>,
) -> Result<Vec<VerifiedTx>, InvalidTx> {
    let verify = |(index, tx)| match tx {
        BlockTx::Known(tx) => Ok(tx),
        BlockTx::Unverified(tx) => tx.verify().map_err(|error| InvalidTx { index, reason: error.into() }),
    };
    decode_block_txs(chain_id, params, txs, known)?.into_iter().enumerate().map(verify).collect()
}

impl Deref for BlockTx {
    type Target = Transaction;
    fn deref(&self) -> &Transaction {
        match self {
            Self::Known(tx) => tx,
            Self::Unverified(tx) => tx,
        }
    }
}
