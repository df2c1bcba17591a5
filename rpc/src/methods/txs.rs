//! Methods about transactions: submission, the mempool, and committed ones.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use types::{Block, Hash, Height, TxId, merkle};

use super::shared::{Answer, Outcome, Server};
use crate::{
    args::Args,
    clients::Client,
    context::{Accepted, PoolSize, Rejection},
    error::Error,
    events::{Cursor, Missed},
    json,
};

/// Default number of waiting transactions in one answer.
pub const UNCONFIRMED: i64 = 30;

/// Maximum number of waiting transactions in one answer.
pub const UNCONFIRMED_MAX: i64 = 100;

fn wanted(args: &Args) -> Result<TxId, Error> {
    args.hash("hash").map(TxId)
}

/// Returns a committed transaction with its result, and on request the proof that it is in its block.
///
/// Errors: a bad argument, no block with the transaction, an unreadable row.
pub fn tx(server: &Server, args: &Args) -> Outcome {
    let (id, prove) = (wanted(args)?, args.truth("prove")?);
    let store = &server.context.store;
    let Some((height, index)) = store.tx(&id)? else {
        let why = match server.context.pool.get(&id) {
            Some(_) => "it waits in the mempool: ask again after the next blocks, or ask tx_status".to_owned(),
            None => format!("no block kept here (heights {} to {}) has it", store.earliest(), server.tip()?.height),
        };
        return Err(Error::refused(format_args!("tx ({id}) not found: {why}")));
    };
    let block = store.block(height)?;
    let mut answer = committed(server, &id, height, index, &block)?;
    if prove {
        let (root, proofs) = proofs_of(&block);
        let proof = proofs.get(index as usize).ok_or_else(|| misplaced(&id))?;
        answer["proof"] = json::tx_proof(root, &block.txs[index as usize], proof);
    }
    Ok(Answer::new(answer, true))
}

/// Returns the root of a block's transactions, and for each the proof of its place.
pub fn proofs_of(block: &Block) -> (Hash, Vec<merkle::Proof>) {
    let leaves: Vec<_> = block.tx_ids().collect();
    merkle::proofs(merkle::Hasher::Sha256, &leaves)
}

fn committed(server: &Server, id: &TxId, height: Height, index: u32, block: &Block) -> Result<Value, Error> {
    let results = server.context.store.results(height)?;
    let (tx, result) = (block.txs.get(index as usize), results.txs.get(index as usize));
    let (Some(tx), Some(result)) = (tx, result) else { return Err(misplaced(id)) };
    Ok(json!({
        "hash": id.to_string(),
        "height": height.to_string(),
        "index": index,
        "tx_result": json::tx_result(result),
        "tx": json::base64(tx),
    }))
}

fn misplaced(id: &TxId) -> Error {
    Error::internal(format_args!("the index gives a wrong position for transaction {id}"))
}

/// Returns what this node knows of a transaction: committed, pending, expired or unknown.
///
/// Errors: a bad argument or an unreadable row.
pub fn tx_status(server: &Server, args: &Args) -> Outcome {
    let id = wanted(args)?;
    let store = &server.context.store;
    // The mempool is read first: a transaction leaves it only after its block is in the store.
    let pending = server.context.pool.get(&id);
    if let Some((height, index)) = store.tx(&id)? {
        let mut answer = committed(server, &id, height, index, &store.block(height)?)?;
        answer["status"] = json!("committed");
        return Ok(answer.into());
    }
    let status = match pending {
        Some(_) => "pending",
        None if server.context.pool.has_expired(&id) => "expired",
        None => "unknown",
    };
    Ok(json!({ "status": status, "hash": id.to_string(), "height": "0" }).into())
}

/// Checks that the node is not catching up, because it cannot check transactions before.
///
/// Errors: the node is catching up.
fn open_for_txs(server: &Server) -> Result<(), Error> {
    if (server.context.status)().catching_up {
        return Err(Error::refused(
            "endpoint is closed while node is catching up: send it to another node, or wait until status reports catching_up as \
             false",
        ));
    }
    Ok(())
}

fn taken(id: &TxId, outcome: &Result<Accepted, Rejection>) -> Value {
    let (code, log, codespace) = match outcome {
        Ok(_) => (0, "", ""),
        Err(rejection) => (rejection.code, rejection.log.as_str(), rejection.codespace.as_str()),
    };
    json!({ "code": code, "data": "", "log": log, "codespace": codespace, "hash": id.to_string() })
}

/// Submits a transaction without waiting for its check.
///
/// Errors: a bad argument, the node is catching up, or too many transactions are being checked.
pub fn broadcast_tx_async(server: Arc<Server>, client: Arc<Client>, args: Args) -> BoxFuture<'static, Outcome> {
    async move {
        let tx = args.bytes("tx")?;
        open_for_txs(&server)?;
        let place = server.async_txs.take(&client).map_err(|_| {
            Error::server(
                "busy: too many transactions are being checked: send it again later, or with broadcast_tx_sync",
            )
        })?;
        let id = TxId::of(&tx);
        let submitted = server.context.submitter.submit(tx, client);
        tokio::spawn(async move {
            let _place = place;
            let _ = submitted.await; // the caller does not wait for the result
        });
        Ok(taken(&id, &Ok(Default::default())).into())
    }
    .boxed()
}

/// Submits a transaction and returns the result of its check.
///
/// Errors: a bad argument, or the node is catching up.
pub fn broadcast_tx_sync(server: Arc<Server>, client: Arc<Client>, args: Args) -> BoxFuture<'static, Outcome> {
    async move {
        let tx = args.bytes("tx")?;
        open_for_txs(&server)?;
        let id = TxId::of(&tx);
        Ok(taken(&id, &server.context.submitter.submit(tx, client).await).into())
    }
    .boxed()
}

/// Submits a transaction and waits until it is committed.
///
/// Errors: a bad argument, the node is catching up, too many calls wait, or the commit did not come in time.
pub fn broadcast_tx_commit(server: Arc<Server>, client: Arc<Client>, args: Args) -> BoxFuture<'static, Outcome> {
    async move {
        let tx = args.bytes("tx")?;
        open_for_txs(&server)?;
        let _place = server.commit_waits.take(&client).map_err(|why| {
            Error::server(format_args!(
                "busy: {} wait for a commit, no more are allowed (rpc.max_subscription_clients): use broadcast_tx_sync and tx_status",
                why.of("calls")
            ))
        })?;
        let id = TxId::of(&tx);
        let heights = server.hub.cursor(); // created before the transaction can be committed
        let checked = server.context.submitter.submit(tx, client).await;
        let mut answer = json!({
            "check_tx": json::check_tx(&checked),
            "tx_result": json::tx_result(&Default::default()),
            "hash": id.to_string(),
            "height": "0",
        });
        if checked.is_err() {
            return Ok(answer.into());
        }
        let patience = server.context.limits.broadcast_tx_commit_time;
        match timeout_at(Instant::now() + patience, commit_of(&server, &id, heights)).await {
            Ok(found) => {
                let (height, result) = found?;
                answer["height"] = json!(height.to_string());
                answer["tx_result"] = result;
                Ok(answer.into())
            }
            Err(_) => Err(Error::refused(format_args!(
                "timed out waiting for tx to be included in a block: {id} was not committed within {} s but may still be: ask \
                 tx_status, do not send it again",
                patience.as_secs()
            ))),
        }
    }
    .boxed()
}

/// Waits until a transaction is committed; returns its height and result.
///
/// Errors: the store cannot read a missed height, or has another transaction there.
async fn commit_of(server: &Arc<Server>, id: &TxId, mut heights: Cursor) -> Result<(Height, Value), Error> {
    loop {
        match heights.next().await {
            Ok(happening) => {
                let Some(index) = happening.index_of(id) else { continue };
                let results = &happening.committed.results;
                let result = results.txs.get(index as usize).ok_or_else(|| misplaced(id))?;
                return Ok((happening.committed.block.header.height, json::tx_result(result)));
            }
            // Some heights were missed; the store has them.
            Err(Missed { .. }) => {
                let (server, id) = (server.clone(), *id);
                let look = move || -> Result<Option<(Height, Value)>, Error> {
                    let Some((height, index)) = server.context.store.tx(&id)? else { return Ok(None) };
                    let results = server.context.store.results(height)?;
                    let result = results.txs.get(index as usize).ok_or_else(|| misplaced(&id))?;
                    Ok(Some((height, json::tx_result(result))))
                };
                if let Some(found) = tokio::task::spawn_blocking(look).await.map_err(Error::internal)?? {
                    return Ok(found);
                }
            }
        }
    }
}

/// Returns the result of a transaction's check, without submitting it.
///
/// Errors: a bad argument, or the node is catching up.
pub fn check_tx(server: Arc<Server>, client: Arc<Client>, args: Args) -> BoxFuture<'static, Outcome> {
    async move {
        let tx = args.bytes("tx")?;
        open_for_txs(&server)?;
        Ok(json::check_tx(&server.context.submitter.check(tx, client).await).into())
    }
    .boxed()
}

/// Returns the number of waiting transactions and their bytes.
///
/// Errors: none.
pub fn num_unconfirmed_txs(server: &Server, _: &Args) -> Outcome {
    let size = server.context.pool.size();
    Ok(waiting(size.txs, size, Value::Null).into())
}

/// Returns the first waiting transactions.
///
/// Errors: a limit that is not an integer.
pub fn unconfirmed_txs(server: &Server, args: &Args) -> Outcome {
    let limit = match args.number("limit")? {
        Some(given) if given > 0 => given.min(UNCONFIRMED_MAX),
        _ => UNCONFIRMED,
    };
    let txs = server.context.pool.list(limit as usize);
    let list = txs.iter().map(json::base64).collect::<Vec<_>>();
    Ok(waiting(txs.len(), server.context.pool.size(), json!(list)).into())
}

fn waiting(count: usize, size: PoolSize, txs: Value) -> Value {
    json!({
        "n_txs": count.to_string(),
        "total": size.txs.to_string(),
        "total_bytes": size.bytes.to_string(),
        "txs": txs,
    })
}

/// Returns one waiting transaction by its id.
///
/// Errors: a bad argument, or the mempool does not have it.
pub fn unconfirmed_tx(server: &Server, args: &Args) -> Outcome {
    let id = wanted(args)?;
    match server.context.pool.get(&id) {
        Some(tx) => Ok(json!({ "tx": json::base64(tx) }).into()),
        None => Err(Error::refused(format_args!(
            "tx ({id}) not found in the mempool: ask tx_status whether it is committed"
        ))),
    }
}

/// Drops all waiting transactions.
///
/// Errors: none.
pub fn flush(server: &Server, _: &Args) -> Outcome {
    server.context.pool.flush();
    Ok(json!({}).into())
}
