//! Parses evidence of an attack on light clients in CometBFT's JSON. What the parts mean, and their bounds, is checked as for
//! bytes of a peer.

use serde_json::Value;
use types::{Evidence, KeyType, Wire, pb};

use super::fields::Field;
use crate::error::Error;

/// Parses the value of evidence of an attack on light clients.
///
/// Errors: the field that is absent, is malformed or breaks a bound.
pub(super) fn parse(value: &Value) -> Result<Evidence, Error> {
    let root = Field::root(value);
    let block = root.either("ConflictingBlock", "conflicting_block");
    let (signed, set) = (block.get("signed_header"), block.get("validator_set"));
    let validators = |field: Field<'_>| field.items()?.iter().map(validator).collect::<Result<Vec<_>, Error>>();
    let signed_header =
        pb::SignedHeader { header: Some(header(&signed.get("header"))?), commit: Some(commit(&signed.get("commit"))?) };
    let validator_set = pb::ValidatorSet {
        validators: validators(set.get("validators"))?,
        proposer: Some(validator(&set.get("proposer"))?),
        total_voting_power: 0,
    };
    let attack = pb::LightClientAttackEvidence {
        conflicting_block: Some(pb::LightBlock {
            signed_header: Some(signed_header),
            validator_set: Some(validator_set),
        }),
        common_height: root.either("CommonHeight", "common_height").signed()?,
        byzantine_validators: validators(root.either("ByzantineValidators", "byzantine_validators"))?,
        total_voting_power: root.either("TotalVotingPower", "total_voting_power").signed()?,
        timestamp: timestamp(&root.either("Timestamp", "timestamp"))?,
    };
    let sum = Some(pb::evidence::Sum::LightClientAttackEvidence(attack));
    Evidence::from_pb(pb::Evidence { sum })
        .map_err(|error| Error::invalid_params(format_args!("parameter evidence: {error}")))
}

fn header(field: &Field<'_>) -> Result<pb::Header, Error> {
    let hash = |name: &str| field.get(name).hex();
    let version = field.get("version");
    // CometBFT leaves out the application's version if it is 0.
    let app = match version.get("app") {
        app if app.value.is_null() && version.value.is_object() => 0,
        app => app.unsigned()?,
    };
    Ok(pb::Header {
        version: Some(pb::ConsensusVersion { block: version.get("block").unsigned()?, app }),
        chain_id: field.get("chain_id").text().to_owned(),
        height: field.get("height").signed()?,
        time: timestamp(&field.get("time"))?,
        last_block_id: Some(block_id(&field.get("last_block_id"))?),
        last_commit_hash: hash("last_commit_hash")?,
        data_hash: hash("data_hash")?,
        validators_hash: hash("validators_hash")?,
        next_validators_hash: hash("next_validators_hash")?,
        consensus_hash: hash("consensus_hash")?,
        app_hash: hash("app_hash")?,
        last_results_hash: hash("last_results_hash")?,
        evidence_hash: hash("evidence_hash")?,
        proposer_address: hash("proposer_address")?,
    })
}

fn timestamp(field: &Field<'_>) -> Result<Option<pb::Timestamp>, Error> {
    const SECOND: i64 = 1_000_000_000;
    let nanos = field.time()?.unix_nanos();
    Ok(Some(pb::Timestamp { seconds: nanos.div_euclid(SECOND), nanos: nanos.rem_euclid(SECOND) as i32 }))
}

/// Parses a block id; null is the empty one.
fn block_id(field: &Field<'_>) -> Result<pb::BlockId, Error> {
    let parts = field.either("parts", "part_set_header");
    let total = parts.get("total");
    let total = if total.value.is_null() { 0 } else { total.count()? };
    let part_set_header = Some(pb::PartSetHeader { total, hash: parts.get("hash").hex()? });
    Ok(pb::BlockId { hash: field.get("hash").hex()?, part_set_header })
}

fn commit(field: &Field<'_>) -> Result<pb::Commit, Error> {
    let entry = |entry: &Field<'_>| {
        let flag = entry.get("block_id_flag").small()?;
        Ok(match flag {
            // The time of an absent validator is before all times that a block can have.
            1 => pb::CommitSig { block_id_flag: flag, ..pb::CommitSig::default() },
            _ => pb::CommitSig {
                block_id_flag: flag,
                validator_address: entry.get("validator_address").hex()?,
                timestamp: timestamp(&entry.get("timestamp"))?,
                signature: entry.get("signature").base64()?,
            },
        })
    };
    Ok(pb::Commit {
        height: field.get("height").signed()?,
        round: field.get("round").small()?,
        block_id: Some(block_id(&field.get("block_id"))?),
        signatures: field.get("signatures").items()?.iter().map(entry).collect::<Result<_, Error>>()?,
    })
}

fn validator(field: &Field<'_>) -> Result<pb::Validator, Error> {
    let (key, kind) = (field.get("pub_key"), field.get("pub_key").get("type"));
    let bytes = key.get("value").base64()?;
    let Some(key_type) = KeyType::ALL.into_iter().find(|key_type| key_type.public_tag() == kind.text()) else {
        let known = KeyType::ALL.map(|key_type| format!("\"{}\"", key_type.public_tag())).join(" or ");
        return Err(kind.unreadable(&known));
    };
    let sum = match key_type {
        KeyType::Secp256k1 => pb::public_key::Sum::Secp256k1(bytes),
        KeyType::Ed25519 => pb::public_key::Sum::Ed25519(bytes),
    };
    // Light clients in Rust leave out a priority of 0.
    let priority = field.get("proposer_priority");
    Ok(pb::Validator {
        address: field.get("address").hex()?,
        pub_key: Some(pb::PublicKey { sum: Some(sum) }),
        voting_power: field.either("voting_power", "power").signed()?,
        proposer_priority: if priority.value.is_null() { 0 } else { priority.signed()? },
    })
}
