//! Accepts evidence from clients, in CometBFT's JSON: two votes of one validator that contradict each other, or an attack on
//! light clients (`attack.rs` parses it).
//!
//! Valid evidence is handled like a peer's: it is reported to the operator, in the metrics, and to subscribers of
//! `NewEvidence`, sent to peers, and put into a block.

use std::fmt::Display;

use data_encoding::BASE64;
use replica::{EvidenceRefusal, check_evidence};
use serde_json::{Value, json};
use types::{
    Address, BlockId, DuplicateVoteEvidence, Evidence, Hash, Height, PartSetHeader, Power, Round, Signature,
    SignedVote, Vote, VoteType,
};

use super::{
    attack,
    fields::{number, time, unreadable},
    shared::{Outcome, Server},
};
use crate::{args::Args, error::Error, json};

/// Checks evidence, passes it on to be put into a block, and returns its hash.
///
/// Errors: the evidence is malformed, has expired, is of a height that is not decided, repeated or not valid; the node is
/// busy, or its store cannot read what is needed.
pub fn broadcast_evidence(server: &Server, args: &Args) -> Outcome {
    let evidence = parse(&args.json("evidence")?)?;
    let invalid = |reason: &dyn Display| Error::refused(format_args!("evidence was not added: {reason}"));
    let verified = check_evidence(&server.context.store, evidence).map_err(|refusal| match refusal {
        EvidenceRefusal::Store(error) => error.into(),
        refusal => invalid(&refusal),
    })?;
    let answer = json!({ "hash": json::base64(verified.hash()) });
    match (server.context.evidence)(verified) {
        true => Ok(answer.into()),
        false => Err(invalid(&"this node is busy: send it again, or to another node")),
    }
}

fn parse(evidence: &Value) -> Result<Evidence, Error> {
    let kind = evidence["type"].as_str().unwrap_or_default();
    let value = &evidence["value"];
    if kind == json::LIGHT_CLIENT_ATTACK {
        return attack::parse(value);
    }
    if kind != json::DUPLICATE_VOTE {
        let expected = format!("\"{}\" or \"{}\"", json::DUPLICATE_VOTE, json::LIGHT_CLIENT_ATTACK);
        return Err(unreadable("type", &evidence["type"], &expected));
    }
    let field = |names: [&str; 2]| {
        names.into_iter().map(|name| &value[name]).find(|field| !field.is_null()).unwrap_or(&Value::Null)
    };
    let power = |name, names| number(name, field(names)).map(Power);
    Ok(Evidence::DuplicateVote(DuplicateVoteEvidence {
        vote_a: vote("vote_a", &value["vote_a"])?,
        vote_b: vote("vote_b", &value["vote_b"])?,
        total_power: power("TotalVotingPower", ["TotalVotingPower", "total_voting_power"])?,
        validator_power: power("ValidatorPower", ["ValidatorPower", "validator_power"])?,
        timestamp: time("Timestamp", field(["Timestamp", "timestamp"]))?,
    }))
}

fn vote(name: &str, value: &Value) -> Result<SignedVote, Error> {
    let of = |field: &str| format!("{name}.{field}");
    let vote_type = match number(&of("type"), &value["type"])? {
        1 => VoteType::Prevote,
        2 => VoteType::Precommit,
        _ => return Err(unreadable(&of("type"), &value["type"], "1 for a prevote or 2 for a precommit")),
    };
    let small = |field: &str| {
        let number = number(&of(field), &value[field])?;
        let number = u32::try_from(number).ok().filter(|number| *number <= i32::MAX as u32);
        number.ok_or_else(|| unreadable(&of(field), &value[field], "a number below 2^31"))
    };
    let height = number(&of("height"), &value["height"])?;
    if height > i64::MAX as u64 {
        return Err(unreadable(&of("height"), &value["height"], "a number below 2^63"));
    }
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let signature = BASE64.decode(text("signature").as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    let validator = text("validator_address").parse::<Address>();
    Ok(SignedVote {
        vote: Vote {
            vote_type,
            height: Height(height),
            round: Round(small("round")?),
            block_id: block_id(&of("block_id"), &value["block_id"])?,
            timestamp: time(&of("timestamp"), &value["timestamp"])?,
            validator: validator.map_err(|_| {
                unreadable(&of("validator_address"), &value["validator_address"], "40 hexadecimal digits")
            })?,
            validator_index: small("validator_index")?,
        },
        signature: Signature(
            signature.ok_or_else(|| unreadable(&of("signature"), &value["signature"], "64 bytes in base64"))?,
        ),
    })
}

/// Parses a block id; null, or an id with an empty hash, is nil.
fn block_id(name: &str, value: &Value) -> Result<Option<BlockId>, Error> {
    let hash = |name: String, value: &Value| {
        let hash = value.as_str().unwrap_or_default().parse::<Hash>();
        hash.map_err(|_| unreadable(&name, value, "64 hexadecimal digits"))
    };
    if value.is_null() || value["hash"] == "" {
        return Ok(None);
    }
    let parts = if value["parts"].is_null() { &value["part_set_header"] } else { &value["parts"] };
    let total = number(&format!("{name}.parts.total"), &parts["total"])?;
    Ok(Some(BlockId {
        hash: hash(format!("{name}.hash"), &value["hash"])?,
        parts: PartSetHeader {
            total: u32::try_from(total)
                .map_err(|_| unreadable(&format!("{name}.parts.total"), &parts["total"], "a number below 2^32"))?,
            hash: hash(format!("{name}.parts.hash"), &parts["hash"])?,
        },
    }))
}

#[cfg(test)]
mod tests {
    use types::{Commit, Header, LightBlock, LightClientAttackEvidence, ValidatorSet};

    use super::*;

    #[test]
    fn evidence_that_is_shown_reads_back_the_same() {
        let committed = crate::samples::committed(7, &[]);
        let shown = json::block(&committed.block)["evidence"]["evidence"][0].clone();
        assert_eq!(parse(&shown), Ok(committed.block.evidence[0].clone()));
        for (pointer, wrong, says) in [
            ("/type", json!("x"), "type is \"x\""),
            ("/value/vote_a/height", json!("x"), "vote_a.height is \"x\""),
            ("/value/vote_b/signature", json!("AA=="), "vote_b.signature"),
            ("/value/vote_a/type", json!(3), "vote_a.type is 3"),
            ("/value/vote_b/round", json!(1_u64 << 31), "below 2^31"),
            ("/value/vote_b/height", json!(u64::MAX), "below 2^63"),
            (
                "/type",
                json!("tendermint/LightClientAttackEvidence"),
                "ConflictingBlock.signed_header.header.version.app",
            ),
            ("/value/vote_b/block_id/hash", json!("12"), "vote_b.block_id.hash"),
            ("/value/Timestamp", Value::Null, "Timestamp"),
        ] {
            let mut evidence = shown.clone();
            *evidence.pointer_mut(pointer).unwrap() = wrong;
            let error = parse(&evidence).unwrap_err();
            assert!(error.data.contains(says), "{pointer}: {error:?}");
        }
        assert!(parse(&json!([1])).is_err());
    }

    /// Returns an attack on light clients by this set, without signatures that hold.
    fn attack(committed: &replica::Committed, validators: &ValidatorSet, commit: Commit) -> Evidence {
        let header = Header { validators_hash: validators.hash(), ..committed.block.header.clone() };
        let timestamp = header.time;
        Evidence::LightClientAttack(Box::new(LightClientAttackEvidence {
            conflicting: LightBlock { header, commit, validators: validators.clone() },
            common_height: Height(5),
            byzantine: validators.iter().cloned().collect(),
            total_power: validators.total_power(),
            timestamp,
        }))
    }

    fn shown(committed: &replica::Committed, evidence: &Evidence) -> Value {
        let block = types::Block { evidence: vec![evidence.clone()], ..committed.block.clone() };
        json::block(&block)["evidence"]["evidence"][0].clone()
    }

    /// The commit has an entry of each kind: for the block, for nil, and none.
    #[test]
    fn an_attack_that_is_shown_reads_back_the_same() {
        let committed = crate::samples::committed(7, &[]);
        let commit = committed.block.last_commit.clone().unwrap();
        let evidence = attack(&committed, &committed.validators, commit);
        let shown = shown(&committed, &evidence);
        assert_eq!(shown["type"], "tendermint/LightClientAttackEvidence");
        assert_eq!(parse(&shown), Ok(evidence));
    }

    #[test]
    fn an_attack_by_the_largest_set_fits_into_a_request() {
        let committed = crate::samples::committed(7, &[]);
        let members = (1..=types::limits::VALIDATORS_MAX as u8).map(|seed| {
            let key = types::SecretKey::from_bytes(&[seed; 32]).unwrap();
            (key.public_key(), Power(1 << 50))
        });
        let validators = ValidatorSet::new(members.collect()).unwrap();
        let entry = |validator: &types::Validator| types::CommitSig::Commit {
            validator: validator.address(),
            timestamp: committed.block.header.time,
            signature: Signature([255; 64]),
        };
        let commit = Commit {
            signatures: validators.iter().map(entry).collect(),
            ..committed.block.last_commit.clone().unwrap()
        };
        let evidence = attack(&committed, &validators, commit);
        let shown = shown(&committed, &evidence);
        let body =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "broadcast_evidence", "params": { "evidence": shown } });
        let body = body.to_string();
        assert!(body.len() < crate::Limits::default().body_bytes_max, "{} bytes", body.len());
        assert_eq!(crate::parsers::Values::of_calls(1).count(body.as_bytes()), Ok(()));
        assert_eq!(parse(&shown), Ok(evidence));
    }
}
