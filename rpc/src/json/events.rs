//! Converts events to JSON: those of a committed height and those inside heights.

use consensus::{RoundNote, RoundStep, What};
use genesis::params_json;
use replica::Committed;
use serde::Serialize;
use serde_json::{Value, json};
use types::{Evidence, Header, Height, TxResult, ValidatorUpdate};

use super::{
    TxResults, base64, block, block_id, events, evidence, header, public_key, text, tx_result, validator_update, vote,
};

/// Returns the event of a new block.
pub fn new_block_event(committed: &Committed) -> impl Serialize {
    #[derive(Serialize)]
    struct NewBlock<'a> {
        r#type: &'static str,
        value: Decided<'a>,
    }
    #[derive(Serialize)]
    struct Decided<'a> {
        block: Value,
        block_id: Value,
        result_finalize_block: Finalized<'a>,
    }
    #[derive(Serialize)]
    struct Finalized<'a> {
        events: Vec<Value>,
        tx_results: TxResults<'a>,
        validator_updates: Vec<Value>,
        consensus_param_updates: Option<Value>,
        app_hash: String,
    }
    let results = &committed.results;
    let finalized = Finalized {
        events: events(&results.events),
        tx_results: TxResults(&results.txs),
        validator_updates: results.validator_updates.iter().map(validator_update).collect(),
        consensus_param_updates: results.params_update.as_ref().map(params_json),
        app_hash: base64(results.app_hash),
    };
    let (block, block_id) = (block(&committed.block), block_id(Some(committed.block_id)));
    NewBlock {
        r#type: "tendermint/event/NewBlock",
        value: Decided { block, block_id, result_finalize_block: finalized },
    }
}

/// Returns the event of a new header. v0.38 sends the header alone. The number of transactions is added, as in earlier
/// versions, so that a client that watches many blocks need not read empty ones.
pub fn new_block_header_event(of: &Header, txs: usize) -> Value {
    json!({
        "type": "tendermint/event/NewBlockHeader",
        "value": { "header": header(of), "num_txs": text(txs) },
    })
}

/// Returns the event with what a block did outside of its transactions.
pub fn new_block_events_event(committed: &Committed) -> Value {
    json!({
        "type": "tendermint/event/NewBlockEvents",
        "value": {
            "height": text(committed.block.header.height),
            "events": events(&committed.results.events),
            "num_txs": text(committed.block.txs.len()),
        },
    })
}

/// Returns the event of changes of the validator set.
pub fn validator_set_updates_event(updates: &[ValidatorUpdate]) -> Value {
    let update = |update: &ValidatorUpdate| {
        json!({
            "address": text(update.public_key.address()),
            "pub_key": public_key(&update.public_key),
            "voting_power": text(update.power),
            "proposer_priority": "0",
        })
    };
    json!({
        "type": "tendermint/event/ValidatorSetUpdates",
        "value": { "validator_updates": updates.iter().map(update).collect::<Vec<_>>() },
    })
}

/// Returns the event of a double sign.
pub fn new_evidence_event(of: &Evidence) -> Value {
    json!({
        "type": "tendermint/event/NewEvidence",
        "value": { "evidence": evidence(of), "height": text(of.height()) },
    })
}

/// Returns the event of a note about a round.
pub fn round_event(note: &RoundNote) -> Value {
    let step = match (&note.what, note.step) {
        (What::NewRound { .. }, _) => "RoundStepNewRound",
        (_, RoundStep::Propose) => "RoundStepPropose",
        (_, RoundStep::Prevote) => "RoundStepPrevote",
        (_, RoundStep::PrevoteWait) => "RoundStepPrevoteWait",
        (_, RoundStep::Precommit) => "RoundStepPrecommit",
        (_, RoundStep::PrecommitWait) => "RoundStepPrecommitWait",
        (_, RoundStep::Commit) => "RoundStepCommit",
    };
    let mut value = json!({ "height": text(note.height), "round": note.round.0, "step": step });
    let kind = match &note.what {
        What::NewRound { proposer, index } => {
            value["proposer"] = json!({ "address": text(proposer), "index": index });
            "NewRound"
        }
        What::CompleteProposal(id) => {
            value["block_id"] = block_id(Some(*id));
            "CompleteProposal"
        }
        What::Vote(signed) => {
            value = json!({ "Vote": vote(signed) });
            "Vote"
        }
        _ => "RoundState",
    };
    json!({ "type": format!("tendermint/event/{kind}"), "value": value })
}

/// Returns the event of a committed transaction.
pub fn tx_event(height: Height, index: usize, tx: &[u8], result: &TxResult) -> Value {
    json!({
        "type": "tendermint/event/Tx",
        "value": {
            "TxResult": { "height": text(height), "index": index, "tx": base64(tx), "result": tx_result(result) },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::parsed, *};
    use crate::{json::tags_of, samples::committed};

    #[test]
    fn events_are_understood() {
        let committed = committed(7, &[b"a"]);
        let event =
            |data| json!({ "query": "tm.event = 'X'", "data": data, "events": tags_of(&committed.results.events) });
        let block: tendermint_rpc::event::v0_38::DeEvent =
            parsed(&event(serde_json::to_value(new_block_event(&committed)).unwrap()));
        let tendermint_rpc::event::EventData::NewBlock {
            block: Some(block), result_finalize_block: Some(results), ..
        } = tendermint_rpc::event::Event::from(block).data
        else {
            panic!("another event")
        };
        assert_eq!((block.header.height.value(), results.tx_results.len()), (7, 1));
        let tx = tx_event(Height(7), 0, b"a", &committed.results.txs[0]);
        let tx: tendermint_rpc::event::v0_38::DeEvent = parsed(&event(tx));
        let tendermint_rpc::event::EventData::Tx { tx_result } = tendermint_rpc::event::Event::from(tx).data else {
            panic!("another event")
        };
        assert_eq!((tx_result.height, tx_result.index, &tx_result.tx[..]), (7, Some(0), &b"a"[..]));
    }
}
