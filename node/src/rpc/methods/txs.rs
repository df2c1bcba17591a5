//! Transactions: into the mempool, in it, and in blocks.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use types::{Block, Hash, Height, TxId, merkle};

use super::{Outcome, Server};
use crate::{
    clients::Client,
    rpc::{
        Rejection,
        args::Args,
        error::Error,
        events::{Cursor, Missed},
        json,
    },
};

/// Waiting transactions in one answer, if nothing is said.
const UNCONFIRMED: i64 = 30;

/// Waiting transactions in one answer at most.
const UNCONFIRMED_MAX: i64 = 100;

fn wanted(args: &Args) -> Result<TxId, Error> {
    args.hash("hash").map(TxId)
}

/// A committed transaction, with its results, and on demand the proof that it is in its block.
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
    Ok(super::Answer::new(answer, true))
}

/// Where each transaction of a block stands in it, provably: the root, and a proof for each.
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
    Error::internal(format_args!("transaction {id} is not where the index says"))
}

/// What this node knows of a transaction: committed, pending, expired or unknown.
pub fn tx_status(server: &Server, args: &Args) -> Outcome {
    let id = wanted(args)?;
    let store = &server.context.store;
    // The mempool first: a transaction leaves it only after its block is in the store.
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

/// Refuses while the node cannot judge transactions yet.
fn open_for_txs(server: &Server) -> Result<(), Error> {
    if (server.context.status)().catching_up {
        return Err(Error::refused(
            "endpoint is closed while node is catching up: send it to another node, or wait until status says so",
        ));
    }
    Ok(())
}

fn taken(id: &TxId, outcome: &Result<super::super::Accepted, Rejection>) -> Value {
    let (code, log, codespace) = match outcome {
        Ok(_) => (0, "", ""),
        Err(rejection) => (rejection.code, rejection.log.as_str(), rejection.codespace.as_str()),
    };
    json!({ "code": code, "data": "", "log": log, "codespace": codespace, "hash": id.to_string() })
}

/// Hands a transaction in and does not wait for its check.
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
            let _ = submitted.await; // the caller did not want to know
        });
        Ok(taken(&id, &Ok(Default::default())).into())
    }
    .boxed()
}

/// Hands a transaction in, and says what its check said.
pub fn broadcast_tx_sync(server: Arc<Server>, client: Arc<Client>, args: Args) -> BoxFuture<'static, Outcome> {
    async move {
        let tx = args.bytes("tx")?;
        open_for_txs(&server)?;
        let id = TxId::of(&tx);
        Ok(taken(&id, &server.context.submitter.submit(tx, client).await).into())
    }
    .boxed()
}

/// Hands a transaction in, and waits until it is committed.
pub fn broadcast_tx_commit(server: Arc<Server>, client: Arc<Client>, args: Args) -> BoxFuture<'static, Outcome> {
    async move {
        let tx = args.bytes("tx")?;
        open_for_txs(&server)?;
        let _place = server.commit_waits.take(&client).map_err(|why| {
            Error::server(format_args!(
                "busy: {} wait for a commit, no more may (rpc.max_subscription_clients): use broadcast_tx_sync and tx_status",
                why.of("calls")
            ))
        })?;
        let id = TxId::of(&tx);
        let heights = server.hub.cursor(); // before the transaction can be committed
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

/// Waits for the commit of a transaction.
async fn commit_of(server: &Arc<Server>, id: &TxId, mut heights: Cursor) -> Result<(Height, Value), Error> {
    loop {
        match heights.next().await {
            Ok(happening) => {
                let Some(index) = happening.index_of(id) else { continue };
                let results = &happening.committed.results;
                let result = results.txs.get(index as usize).ok_or_else(|| misplaced(id))?;
                return Ok((happening.committed.block.header.height, json::tx_result(result)));
            }
            // Some heights were missed; the store knows them.
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

/// What the check says, without handing the transaction in.
pub fn check_tx(server: Arc<Server>, client: Arc<Client>, args: Args) -> BoxFuture<'static, Outcome> {
    async move {
        let tx = args.bytes("tx")?;
        open_for_txs(&server)?;
        Ok(json::check_tx(&server.context.submitter.check(tx, client).await).into())
    }
    .boxed()
}

/// How much waits.
pub fn num_unconfirmed_txs(server: &Server, _: &Args) -> Outcome {
    let size = server.context.pool.size();
    Ok(waiting(size.txs, size, Value::Null).into())
}

/// The first that wait.
pub fn unconfirmed_txs(server: &Server, args: &Args) -> Outcome {
    let limit = match args.number("limit")? {
        Some(given) if given > 0 => given.min(UNCONFIRMED_MAX),
        _ => UNCONFIRMED,
    };
    let txs = server.context.pool.list(limit as usize);
    let list = txs.iter().map(json::base64).collect::<Vec<_>>();
    Ok(waiting(txs.len(), server.context.pool.size(), json!(list)).into())
}

fn waiting(count: usize, size: super::super::PoolSize, txs: Value) -> Value {
    json!({
        "n_txs": count.to_string(),
        "total": size.txs.to_string(),
        "total_bytes": size.bytes.to_string(),
        "txs": txs,
    })
}

/// One that waits.
pub fn unconfirmed_tx(server: &Server, args: &Args) -> Outcome {
    let id = wanted(args)?;
    match server.context.pool.get(&id) {
        Some(tx) => Ok(json!({ "tx": json::base64(tx) }).into()),
        None => Err(Error::refused(format_args!(
            "tx ({id}) not found in the mempool: ask tx_status whether it is committed"
        ))),
    }
}

/// Drops all that wait.
pub fn flush(server: &Server, _: &Args) -> Outcome {
    server.context.pool.flush();
    Ok(json!({}).into())
}
