//! Proves that every event of CometBFT v0.38 reaches its subscribers.

use std::sync::Arc;

use consensus::{RoundNote, RoundStep, What};
use rpc::{Happened, Limits};
use serde_json::{Value, json};
use types::{Height, Round};

use crate::{
    chain::{Chain, key, transfer},
    limits,
};

fn error(answer: &Value) -> &str {
    answer["error"]["data"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn round_events_are_sent_to_their_subscribers() {
    let chain = Chain::new();
    let id = chain.grow(vec![]).block_id;
    let served = chain.serve(Limits { subscriptions_per_client_max: 20, ..Limits::default() }).await;
    let mut socket = limits::open(&served).await;
    assert_eq!(chain.happened.receiver_count(), 0, "nobody watches, so nothing is noted");
    let address = key(1).public_key().address();
    let vote = types::Vote {
        vote_type: types::VoteType::Prevote,
        height: Height(2),
        round: Round(1),
        block_id: None,
        timestamp: types::Time::from_unix_millis(1),
        validator: address,
        validator_index: 0,
    }
    .sign(&crate::chain::chain_id(), &key(1));
    let place = json!({ "height": "2", "round": 1, "step": "RoundStepPrevote" });
    let state = |name| (name, "RoundState", place.clone());
    let with = |field: &str, value: Value| {
        let mut with = place.clone();
        with[field] = value;
        with
    };
    let block_id = json!({ "hash": id.hash.to_string(), "parts": { "total": 1, "hash": id.parts.hash.to_string() } });
    let mut round = with("proposer", json!({ "address": address.to_string(), "index": 3 }));
    round["step"] = json!("RoundStepNewRound");
    let table = [
        (What::NewRound { proposer: address, index: 3 }, ("NewRound", "NewRound", round)),
        (What::NewStep(RoundStep::Prevote), state("NewRoundStep")),
        (What::CompleteProposal(id), ("CompleteProposal", "CompleteProposal", with("block_id", block_id))),
        (What::Polka, state("Polka")),
        (What::Lock(id), state("Lock")),
        (What::Relock(id), state("Relock")),
        (What::ValidBlock(id), state("ValidBlock")),
        (What::TimeoutPropose, state("TimeoutPropose")),
        (What::TimeoutWait, state("TimeoutWait")),
        (What::Vote(Box::new(vote)), ("Vote", "Vote", Value::Null)),
    ];
    for (number, (_, (name, ..))) in (0..).zip(&table) {
        let query = format!("tm.event{}='{name}'", if number % 2 == 0 { "" } else { "s.type" });
        let answer = limits::call(&mut socket, number, "subscribe", json!({ "query": query })).await;
        assert_eq!(answer["result"], json!({}), "{answer}");
    }
    assert_eq!(chain.happened.receiver_count(), 1);
    for (number, (what, (name, kind, value))) in (0..).zip(table) {
        let note = RoundNote { height: Height(2), round: Round(1), step: RoundStep::Prevote, what };
        chain.happened.send(Arc::new(Happened::Round(note))).unwrap();
        let event = limits::hear(&mut socket).await.unwrap();
        assert_eq!(event["id"], number);
        assert_eq!(event["result"]["events"], json!({ "tm.event": [name] }));
        assert_eq!(event["result"]["data"]["type"], format!("tendermint/event/{kind}"));
        let got = &event["result"]["data"]["value"];
        match name {
            "Vote" => assert_eq!(got["Vote"]["validator_address"], address.to_string()),
            _ => assert_eq!(*got, value, "{name}"),
        }
    }
    // A subscriber to all events gets all of them in their order.
    limits::call(&mut socket, 50, "unsubscribe_all", json!({})).await;
    limits::call(&mut socket, 51, "subscribe", json!({ "query": "tm.event EXISTS" })).await;
    chain.grow(vec![transfer(0, 1)]);
    let mut kinds = Vec::new();
    for _ in 0..4 {
        let event = limits::hear(&mut socket).await.unwrap();
        kinds.push(event["result"]["events"]["tm.event"][0].as_str().unwrap().to_owned());
        if kinds.last().is_some_and(|kind| kind == "NewBlockEvents") {
            let value = json!({ "height": "2", "events": [], "num_txs": "1" });
            assert_eq!(event["result"]["data"]["value"], value);
            assert_eq!(event["result"]["events"]["block.height"], json!(["2"]));
        }
    }
    assert_eq!(kinds, ["NewBlockHeader", "NewBlock", "NewBlockEvents", "Tx"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_to_unknown_events_are_refused() {
    let chain = Chain::new();
    let served = chain.serve(Limits::default()).await;
    let mut socket = limits::open(&served).await;
    for (query, says) in [
        ("tm.event = 'NewBlok'", "no event has this name"),
        ("tm.events.type = 'Unlock'", "ValidatorSetUpdates"),
        ("tm.event = 'Tx' AND tm.event = 'NewBlock'", "no event has this name"),
        ("tm.event = 'NewRound' AND tx.height > 5", "have only the tag tm.event"),
        ("tm.event = 'NewBlockHeader' AND block.height > 5", "have only the tag tm.event"),
    ] {
        let answer = limits::call(&mut socket, 1, "subscribe", json!({ "query": query })).await;
        assert!(error(&answer).contains(says), "{query}: {answer}");
    }
    for query in ["tm.event = 'ValidatorSetUpdates'", "tm.event='NewEvidence'", "transfer.sender EXISTS"] {
        let answer = limits::call(&mut socket, 1, "subscribe", json!({ "query": query })).await;
        assert_eq!(answer["result"], json!({}), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_events_blocks_neither_senders_nor_other_clients() {
    let chain = Chain::new();
    let served = chain.serve(Limits::default()).await;
    let mut slow = limits::open(&served).await;
    limits::call(&mut slow, 1, "subscribe", json!({ "query": "tm.event = 'Vote'" })).await;
    let note = RoundNote { height: Height(1), round: Round(0), step: RoundStep::Propose, what: What::Polka };
    // These are far more events than any queue holds. Sending must never block.
    for _ in 0..10_000 {
        let _ = chain.happened.send(Arc::new(Happened::Round(note.clone())));
    }
    let mut other = limits::open(&served).await;
    let answer = limits::call(&mut other, 2, "health", json!({})).await;
    assert_eq!(answer["result"], json!({}));
}
