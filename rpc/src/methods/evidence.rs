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
    BlockId, DuplicateVoteEvidence, Evidence, Hash, Height, PartSetHeader, Power, Round, Signature, SignedVote, Vote,
    VoteType, Wire,
};

use super::{
    attack,
    fields::Field,
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

/// Parses evidence, with the bounds that hold for bytes of a peer.
///
/// Errors: a field that is absent, is malformed or breaks a bound.
fn parse(evidence: &Value) -> Result<Evidence, Error> {
    let root = Field::root(evidence);
    let (kind, value) = (root.get("type"), Field::root(&evidence["value"]));
    match kind.text() {
        json::LIGHT_CLIENT_ATTACK => attack::parse(value.value),
        // A validator can sign votes that no peer decodes, for example for a block without parts. A block with such evidence
        // would be refused by everyone.
        json::DUPLICATE_VOTE => Evidence::from_pb(Evidence::DuplicateVote(duplicate_vote(&value)?).to_pb())
            .map_err(|error| Error::invalid_params(format_args!("parameter evidence: {error}"))),
        _ => Err(kind.unreadable(&format!("\"{}\" or \"{}\"", json::DUPLICATE_VOTE, json::LIGHT_CLIENT_ATTACK))),
    }
}

fn duplicate_vote(field: &Field<'_>) -> Result<DuplicateVoteEvidence, Error> {
    Ok(DuplicateVoteEvidence {
        vote_a: vote(&field.get("vote_a"))?,
        vote_b: vote(&field.get("vote_b"))?,
        total_power: field.either("TotalVotingPower", "total_voting_power").unsigned().map(Power)?,
        validator_power: field.either("ValidatorPower", "validator_power").unsigned().map(Power)?,
        timestamp: field.either("Timestamp", "timestamp").time()?,
    })
}

fn vote(field: &Field<'_>) -> Result<SignedVote, Error> {
    let kind = field.get("type");
    let vote_type = match kind.unsigned()? {
        1 => VoteType::Prevote,
        2 => VoteType::Precommit,
        _ => return Err(kind.unreadable("1 for a prevote or 2 for a precommit")),
    };
    let small = |name: &str| {
        let field = field.get(name);
        u32::try_from(field.small()?).map_err(|_| field.unreadable("a number that is not negative"))
    };
    let height = field.get("height");
    let number = height.unsigned()?;
    if number > i64::MAX as u64 {
        return Err(height.unreadable("a number below 2^63"));
    }
    let (validator, signature) = (field.get("validator_address"), field.get("signature"));
    let bytes = BASE64.decode(signature.text().as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    Ok(SignedVote {
        vote: Vote {
            vote_type,
            height: Height(number),
            round: Round(small("round")?),
            block_id: block_id(&field.get("block_id"))?,
            timestamp: field.get("timestamp").time()?,
            validator: validator.text().parse().map_err(|_| validator.unreadable("40 hexadecimal digits"))?,
            validator_index: small("validator_index")?,
        },
        signature: Signature(bytes.ok_or_else(|| signature.unreadable("64 bytes in base64"))?),
    })
}

/// Parses a block id; null, or an id with an empty hash, is nil.
fn block_id(field: &Field<'_>) -> Result<Option<BlockId>, Error> {
    if field.value.is_null() || field.value["hash"] == "" {
        return Ok(None);
    }
    let hash = |field: Field<'_>| field.text().parse::<Hash>().map_err(|_| field.unreadable("64 hexadecimal digits"));
    let parts = field.either("parts", "part_set_header");
    Ok(Some(BlockId {
        hash: hash(field.get("hash"))?,
        parts: PartSetHeader { total: parts.get("total").count()?, hash: hash(parts.get("hash"))? },
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
            ("/value/vote_b/block_id/parts/total", json!(0), "0 parts, 1 to 256 are allowed"),
            ("/value/vote_b/block_id/parts/total", json!(257), "257 parts, 1 to 256 are allowed"),
            ("/value/TotalVotingPower", json!(u64::MAX.to_string()), "evidence.total_voting_power"),
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
