//! Proves that searches return exactly the matching transactions and blocks, and that submitted evidence is checked and
//! published once.

use rpc::{Happened, Limits};
use serde_json::{Value, json};
use tendermint_rpc::{Client, HttpClient, Order, query::Query};
use types::{
    BlockId, ChainId, DuplicateVoteEvidence, Evidence, Hash, Height, PartSetHeader, Round, SecretKey, Time, Vote,
    VoteType,
};

use crate::{
    chain::{Chain, alice, chain_id, key, transfer},
    drive, limits, post,
};

/// Creates a chain of twelve heights, of which each even one has two transfers.
fn grown() -> std::sync::Arc<Chain> {
    let chain = Chain::new();
    let mut nonce = 0;
    for height in 1..=12_u64 {
        let txs = if height.is_multiple_of(2) { vec![transfer(nonce, height), transfer(nonce + 1, 1)] } else { vec![] };
        nonce += txs.len() as u64;
        chain.grow(txs);
    }
    chain
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_client_searches() {
    let chain = grown();
    let served = chain.serve(Limits::default()).await;
    let client = HttpClient::new(served.http().as_str()).unwrap();
    let recipient = key(51).public_key().address().to_string();
    let to = Query::eq("transfer.recipient", recipient.as_str());
    let page = client.tx_search(to.clone(), true, 1, 5, Order::Ascending).await.unwrap();
    assert_eq!((page.total_count, page.txs.len()), (12, 5));
    let places: Vec<(u64, u32)> = page.txs.iter().map(|tx| (tx.height.value(), tx.index)).collect();
    assert_eq!(places, [(2, 0), (2, 1), (4, 0), (4, 1), (6, 0)]);
    assert_eq!(page.txs[1].tx, transfer(1, 1));
    assert_eq!(page.txs[1].hash, drive::id(&transfer(1, 1)));
    let block = client.block(2_u32).await.unwrap().block;
    let root = page.txs[1].proof.as_ref().unwrap().root_hash;
    assert_eq!(Some(root), block.header.data_hash);
    let last = client.tx_search(to.clone(), false, 3, 5, Order::Descending).await.unwrap();
    assert_eq!(last.txs.iter().map(|tx| tx.height.value()).collect::<Vec<_>>(), [2, 2]);
    assert!(last.txs[0].proof.is_none());
    let some = to.and_gt("tx.height", 9_u64);
    assert_eq!(client.tx_search(some, false, 1, 30, Order::Ascending).await.unwrap().total_count, 4);

    let blocks = client
        .block_search(Query::gt("block.height", 3_u64).and_lte("block.height", 8_u64), 1, 2, Order::Descending)
        .await
        .unwrap();
    assert_eq!(blocks.total_count, 5);
    let heights: Vec<_> = blocks.blocks.iter().map(|block| block.block.header.height.value()).collect();
    assert_eq!(heights, [8, 7]);

    // A transaction must be found as soon as its height is committed.
    chain.grow(vec![transfer(12, 7)]);
    let all = client.tx_search(Query::eq("tx.height", 13_u64), false, 1, 30, Order::Ascending).await.unwrap();
    assert_eq!((all.total_count, &all.txs[0].tx), (1, &transfer(12, 7)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_find_matches_and_refuse_unsupported_conditions() {
    let chain = grown();
    let served = chain.serve(Limits::default()).await;
    let url = served.http();
    let (recipient, sender) = (key(51).public_key().address(), alice().public_key().address());
    let hash = drive::id(&transfer(3, 1)).to_string();
    for (query, total) in [
        ("tx.height = 2".to_owned(), "2"),
        ("tx.height >= 2 AND tx.height < 7".to_owned(), "6"),
        ("tx.height = 3".to_owned(), "0"),
        ("tx.height > 99".to_owned(), "0"),
        ("tm.event = 'Tx'".to_owned(), "12"),
        ("tm.event = 'NewBlock'".to_owned(), "0"),
        (format!("tx.hash = '{hash}'"), "1"),
        (format!("tx.hash = '{hash}' AND tx.height = 2"), "0"),
        (format!("transfer.recipient = '{recipient}' AND transfer.sender = '{sender}'"), "12"),
        (format!("transfer.recipient = '{sender}'"), "0"),
        (format!("transfer.recipient = '{recipient}' AND tx.signer = '{recipient}'"), "0"),
        (format!("transfer.recipient = '{recipient}' AND transfer.amount > 5"), "4"),
        ("transfer.recipient EXISTS".to_owned(), "12"),
        ("transfer.recipient EXISTS AND tx.height < 5".to_owned(), "4"),
        (format!("transfer.recipient CONTAINS '{}'", &recipient.to_string()[..10]), "12"),
        // These attributes have no index, so the search reads the results of the blocks.
        ("transfer.amount = 1".to_owned(), "6"),
        ("transfer.amount = 4 AND tx.height > 2".to_owned(), "1"),
        ("nothing.like = 'this'".to_owned(), "0"),
    ] {
        let answer = post(&url, "tx_search", json!({ "query": query })).await;
        assert_eq!(answer.json()["result"]["total_count"], total, "{query}: {}", answer.text);
        assert!(answer.json()["result"]["txs"].is_array());
    }
    for (method, params, says) in [
        ("tx_search", json!({}), "query is missing"),
        ("tx_search", json!({ "query": "tx.height" }), "expected"),
        ("tx_search", json!({ "query": "tx.height>0", "order_by": "up" }), "order_by"),
        ("tx_search", json!({ "query": "tx.height>0", "page": "9" }), "page should be within [1, 1] range"),
        ("tx_search", json!({ "query": "tx.hash='5'" }), "64 hexadecimal digits"),
        ("tx_search", json!({ "query": "tx.hash EXISTS" }), "whole value"),
        ("tx_search", json!({ "query": "block.height = 1" }), "use tx.height"),
        ("block_search", json!({ "query": "tx.height = 1" }), "use block.height"),
        ("block_search", json!({ "query": "" }), "expected"),
    ] {
        let answer = post(&url, method, params.clone()).await;
        assert!(answer.error().contains(says), "{method} {params}: {}", answer.text);
    }
    chain.store.prune(Height(8)).unwrap();
    for query in ["tx.height > 0", "transfer.recipient EXISTS"] {
        let answer = post(&url, "tx_search", json!({ "query": query })).await;
        assert_eq!(answer.json()["result"]["total_count"], "6", "what is pruned is not found: {}", answer.text);
    }
}

/// Returns evidence of two contradictory precommits of one validator at a height.
fn evidence(height: u64, timestamp: Time) -> Evidence {
    signed_evidence(&chain_id(), &key(1), height, timestamp)
}

/// As [`evidence`], signed with this key for this chain. The votes name the place of validator 1 in the set.
fn signed_evidence(chain_id: &ChainId, signer: &SecretKey, height: u64, timestamp: Time) -> Evidence {
    let validators = Chain::new().store.validators(Height(1)).unwrap();
    let (validator_index, _) = validators.by_address(&key(1).public_key().address()).unwrap();
    let vote = |byte| {
        let (vote_type, round, validator) = (VoteType::Precommit, Round(3), signer.public_key().address());
        let hash = Hash([byte; 32]);
        let block_id = Some(BlockId { hash, parts: PartSetHeader { total: 1, hash } });
        Vote { vote_type, height: Height(height), round, block_id, timestamp, validator, validator_index }
            .sign(chain_id, signer)
    };
    Evidence::DuplicateVote(DuplicateVoteEvidence::new(vote(1), vote(2), &validators, timestamp).unwrap())
}

fn as_json(evidence: &Evidence) -> Value {
    let Evidence::DuplicateVote(pair) = evidence else { panic!("it is a double vote") };
    let vote = |signed: &types::SignedVote| {
        let vote = &signed.vote;
        let id = vote.block_id.map(|id| {
            json!({ "hash": id.hash.to_string(), "parts": { "total": id.parts.total, "hash": id.parts.hash.to_string() } })
        });
        json!({
            "type": vote.vote_type as u8, "height": vote.height.to_string(), "round": vote.round.0, "block_id": id,
            "timestamp": vote.timestamp.to_string(), "validator_address": vote.validator.to_string(),
            "validator_index": vote.validator_index, "signature": data_encoding::BASE64.encode(&signed.signature.0),
        })
    };
    json!({ "type": "tendermint/DuplicateVoteEvidence", "value": {
        "vote_a": vote(&pair.vote_a), "vote_b": vote(&pair.vote_b), "TotalVotingPower": pair.total_power.to_string(),
        "ValidatorPower": pair.validator_power.to_string(), "Timestamp": pair.timestamp.to_string(),
    }})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valid_evidence_is_accepted_and_published_once() {
    let chain = Chain::new();
    let time = chain.grow(vec![]).block.header.time;
    let mut told = chain.happened.subscribe();
    let served = chain.serve(Limits::default()).await;
    let mut socket = limits::open(&served).await;
    let query = json!({ "query": "tm.event = 'NewEvidence'" });
    assert_eq!(limits::call(&mut socket, 1, "subscribe", query).await["result"], json!({}));

    let evidence = evidence(1, time);
    for _ in 0..2 {
        let answer = post(&served.http(), "broadcast_evidence", json!({ "evidence": as_json(&evidence) })).await;
        let hash = data_encoding::BASE64.encode(&evidence.hash().0);
        assert_eq!(answer.json()["result"]["hash"], hash, "{}", answer.text);
    }
    let Happened::Evidence(first) = &*told.recv().await.unwrap() else { panic!("no evidence") };
    assert_eq!(**first, evidence);
    assert!(told.try_recv().is_err(), "told once");
    let event = limits::hear(&mut socket).await.unwrap();
    assert_eq!(event["result"]["data"]["type"], "tendermint/event/NewEvidence");
    assert_eq!(event["result"]["data"]["value"]["height"], "1");
    assert_eq!(event["result"]["data"]["value"]["evidence"]["value"]["vote_a"]["height"], "1");

    let with = |pointer: &str, value: Value| {
        let mut json = as_json(&evidence);
        *json.pointer_mut(pointer).unwrap() = value;
        json
    };
    for (wrong, says) in [
        (with("/type", json!("tendermint/LightClientAttackEvidence")), "ConflictingBlock.signed_header.header"),
        (with("/type", json!("tendermint/Other")), "DuplicateVoteEvidence"),
        (with("/value/vote_a/round", json!(4)), "do not contradict"),
        (with("/value/vote_a/signature", json!(data_encoding::BASE64.encode(&[1; 64]))), "not added"),
        (with("/value/ValidatorPower", json!("11")), "powers"),
        (with("/value/Timestamp", json!("2026-01-31T12:00:00Z")), "the time of block 1 is"),
        (with("/value/vote_b/height", json!("x")), "vote_b.height"),
        (with("/value/vote_a/round", json!(i64::from(i32::MAX) + 1)), "below 2^31"),
        (as_json(&self::evidence(9, time)), "its height 9 is not decided yet, the last decided one is 1"),
        (as_json(&self::evidence(2, time)), "its height 2 is not decided yet"),
        (as_json(&signed_evidence(&chain_id(), &key(77), 1, time)), "is not at index"),
        (as_json(&signed_evidence(&ChainId::new("other-chain").unwrap(), &key(1), 1, time)), "signature is wrong"),
    ] {
        let answer = post(&served.http(), "broadcast_evidence", json!({ "evidence": wrong })).await;
        assert!(answer.error().contains(says), "{says}: {}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_in_a_block_is_shown_and_refused_afterwards_and_so_is_expired_evidence() {
    let chain = Chain::new();
    let times = [1, 2, 3].map(|_| chain.grow(vec![]).block.header.time);
    let evidence = evidence(1, times[0]);
    let block = chain.grow_with(vec![], vec![evidence.clone()]);
    let served = chain.serve(Limits::default()).await;
    let url = served.http();

    let shown = post(&url, "block", json!({ "height": "4" })).await;
    assert_eq!(shown.json()["result"]["block"]["evidence"]["evidence"].as_array().unwrap().len(), 1);
    let client = HttpClient::new(url.as_str()).unwrap();
    let stock = client.block(4_u32).await.unwrap().block;
    assert_eq!(stock.evidence.iter().count(), 1, "an unmodified client understands it");
    assert_eq!(stock.header.evidence_hash.unwrap().as_bytes(), block.block.header.evidence_hash.0);
    let results = post(&url, "block_results", json!({ "height": "4" })).await;
    let event = &results.json()["result"]["finalize_block_events"][0];
    assert_eq!(event["type"], "evidence");
    assert_eq!(event["attributes"][0]["value"], key(1).public_key().address().to_string());
    assert_eq!(event["attributes"][1]["value"], "1");
    let query = format!("evidence.validator = '{}'", key(1).public_key().address());
    let found = post(&url, "block_search", json!({ "query": query })).await;
    assert_eq!(found.json()["result"]["blocks"][0]["block"]["header"]["height"], "4", "{}", found.text);

    let send =
        async |evidence: &Evidence| post(&url, "broadcast_evidence", json!({ "evidence": as_json(evidence) })).await;
    let again = send(&evidence).await;
    assert!(again.error().contains("it is repeated: block 4 has evidence"), "{}", again.text);
    let late = self::evidence(2, times[1]);
    assert_eq!(send(&late).await.json()["result"]["hash"], data_encoding::BASE64.encode(&late.hash().0));
    chain.expire_evidence_below(3);
    chain.grow(vec![]);
    let expired = send(&late).await;
    assert!(expired.error().contains("it is of height 2 and has expired"), "{}", expired.text);
    assert!(send(&self::evidence(3, times[2])).await.json()["result"]["hash"].is_string());
}
