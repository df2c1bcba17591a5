//! The JSON of headers, commits and validators as a node writes it, read in the only form that is accepted.
//!
//! The same value in another form (a digit in lower case, a leading zero, an unknown field) is refused, so that a file
//! cannot be changed without a change of its content.

use std::{fmt::Display, str::FromStr};

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, de::Error};
use types::{
    Address, BLOCK_PROTOCOL, BlockId, ChainId, Commit, CommitSig, ConsensusPublicKey, Hash, Header, Height, KeyType,
    LightBlock, PartSetHeader, Power, Round, Signature, Time, ValidatorSet, is_plain,
    limits::{PARTS_MAX, VALIDATORS_MAX},
};

/// Maximum number of characters of an error that repeats a part of a file.
const SHOWN_CHARS: usize = 300;

/// Returns a text that may repeat a part of a file, such that the author of the file can neither control a terminal nor fill it.
pub fn plainly(text: impl Display) -> String {
    text.to_string().chars().filter(|c| is_plain(*c)).take(SHOWN_CHARS).collect()
}

/// The time in the commit entry of an absent validator.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// A value that is written as text in exactly one way.
struct Exact<T>(T);

impl<'de, T: FromStr<Err: Display> + Display> Deserialize<'de> for Exact<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        exact(&text, text.parse::<T>()).map(Self)
    }
}

/// Returns the value that was read from a text, if the text is the value's own form.
fn exact<T: Display, E: Error>(text: &str, read: Result<T, impl Display>) -> Result<T, E> {
    let value = read.map_err(E::custom)?;
    if value.to_string() == text { Ok(value) } else { Err(E::custom(format_args!("{text:?} is written {value}"))) }
}

struct ExactTime(Time);

impl<'de> Deserialize<'de> for ExactTime {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        exact(&text, Time::parse(&text)).map(Self)
    }
}

/// Bytes that are written in base64.
pub struct Bytes(pub Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        BASE64.decode(String::deserialize(from)?.as_bytes()).map(Self).map_err(D::Error::custom)
    }
}

/// A header and the commit of its block, as the method `commit` returns them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedHeader {
    #[serde(deserialize_with = "header")]
    pub header: Header,
    #[serde(deserialize_with = "commit")]
    pub commit: Commit,
}

impl SignedHeader {
    /// Adds the validators of the header's height.
    pub fn with(self, validators: ValidatorSet) -> LightBlock {
        LightBlock { header: self.header, commit: self.commit, validators }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionJson {
    block: Exact<u64>,
    app: Exact<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockIdJson {
    hash: String,
    parts: PartsJson,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartsJson {
    total: u32,
    hash: String,
}

impl BlockIdJson {
    fn read<E: Error>(self) -> Result<Option<BlockId>, E> {
        if self.hash.is_empty() && self.parts.total == 0 && self.parts.hash.is_empty() {
            return Ok(None);
        }
        if self.parts.total == 0 || self.parts.total > PARTS_MAX {
            return Err(E::custom(format_args!("{} parts of a block, at most {PARTS_MAX} exist", self.parts.total)));
        }
        let hash = |text: &str| exact::<Hash, E>(text, text.parse());
        let parts = PartSetHeader { total: self.parts.total, hash: hash(&self.parts.hash)? };
        Ok(Some(BlockId { hash: hash(&self.hash)?, parts }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderJson {
    version: VersionJson,
    chain_id: String,
    height: Exact<u64>,
    time: ExactTime,
    last_block_id: BlockIdJson,
    last_commit_hash: Exact<Hash>,
    data_hash: Exact<Hash>,
    validators_hash: Exact<Hash>,
    next_validators_hash: Exact<Hash>,
    consensus_hash: Exact<Hash>,
    app_hash: Exact<Hash>,
    last_results_hash: Exact<Hash>,
    evidence_hash: Exact<Hash>,
    proposer_address: Exact<Address>,
}

fn header<'de, D: Deserializer<'de>>(from: D) -> Result<Header, D::Error> {
    let json = HeaderJson::deserialize(from)?;
    if json.version.block.0 != BLOCK_PROTOCOL {
        return Err(D::Error::custom(format_args!("version {} of the block format", json.version.block.0)));
    }
    Ok(Header {
        version_app: json.version.app.0,
        chain_id: ChainId::new(&json.chain_id).map_err(D::Error::custom)?,
        height: height::<D::Error>(json.height.0)?,
        time: json.time.0,
        last_block_id: json.last_block_id.read::<D::Error>()?,
        last_commit_hash: json.last_commit_hash.0,
        data_hash: json.data_hash.0,
        validators_hash: json.validators_hash.0,
        next_validators_hash: json.next_validators_hash.0,
        consensus_hash: json.consensus_hash.0,
        app_hash: json.app_hash.0,
        last_results_hash: json.last_results_hash.0,
        evidence_hash: json.evidence_hash.0,
        proposer: json.proposer_address.0,
    })
}

/// Heights above the largest signed number have no encoding.
fn height<E: Error>(number: u64) -> Result<Height, E> {
    if i64::try_from(number).is_err() {
        return Err(E::custom(format_args!("{number} is no height")));
    }
    Ok(Height(number))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitJson {
    height: Exact<u64>,
    round: i32,
    block_id: BlockIdJson,
    signatures: Vec<CommitSigJson>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitSigJson {
    block_id_flag: u8,
    validator_address: String,
    timestamp: String,
    signature: Option<Bytes>,
}

fn commit<'de, D: Deserializer<'de>>(from: D) -> Result<Commit, D::Error> {
    let json = CommitJson::deserialize(from)?;
    let of_nothing = || D::Error::custom("the commit is for no block");
    if json.signatures.len() > VALIDATORS_MAX {
        return Err(D::Error::custom(format_args!("{} signatures of a commit", json.signatures.len())));
    }
    Ok(Commit {
        height: height::<D::Error>(json.height.0)?,
        round: u32::try_from(json.round).map(Round).map_err(D::Error::custom)?,
        block_id: json.block_id.read::<D::Error>()?.ok_or_else(of_nothing)?,
        signatures: json.signatures.into_iter().map(commit_sig).collect::<Result<_, D::Error>>()?,
    })
}

fn commit_sig<E: Error>(json: CommitSigJson) -> Result<CommitSig, E> {
    let is_absent = json.validator_address.is_empty() && json.timestamp == ZERO_TIME && json.signature.is_none();
    match (json.block_id_flag, json.signature) {
        (1, _) if is_absent => Ok(CommitSig::Absent),
        (flag @ (2 | 3), Some(signature)) => {
            let validator = exact::<Address, E>(&json.validator_address, json.validator_address.parse())?;
            let timestamp = exact::<Time, E>(&json.timestamp, Time::parse(&json.timestamp))?;
            let signature = <[u8; 64]>::try_from(signature.0).map(Signature);
            let signature =
                signature.map_err(|bytes| E::custom(format_args!("a signature of {} bytes", bytes.len())))?;
            Ok(match flag {
                2 => CommitSig::Commit { validator, timestamp, signature },
                _ => CommitSig::Nil { validator, timestamp, signature },
            })
        }
        (flag, _) => Err(E::custom(format_args!("an entry of a commit with flag {flag} and other fields"))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidatorJson {
    address: Exact<Address>,
    pub_key: PublicKeyJson,
    voting_power: Exact<u64>,
}

/// A public key with its type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKeyJson {
    r#type: String,
    value: Bytes,
}

impl PublicKeyJson {
    /// Returns the key that type and bytes describe.
    ///
    /// Errors: a sentence, if the type is unknown or the bytes are no key of it.
    pub fn read(self) -> Result<ConsensusPublicKey, String> {
        let kind = KeyType::ALL.into_iter().find(|kind| kind.public_tag() == self.r#type);
        let kind = kind.ok_or_else(|| format!("{:?} is no type of a validator's key", self.r#type))?;
        ConsensusPublicKey::from_bytes(kind, &self.value.0).map_err(|error| error.to_string())
    }
}

/// Reads a validator set, whose members are written in the set's order.
///
/// Errors: a sentence, if a member is malformed, the members are no set, or they are in another order.
pub fn validators<'de, D: Deserializer<'de>>(from: D) -> Result<ValidatorSet, D::Error> {
    let list = Vec::<ValidatorJson>::deserialize(from)?;
    let (mut members, mut order) = (Vec::new(), Vec::new());
    for json in list {
        let key = json.pub_key.read().map_err(D::Error::custom)?;
        if key.address() != json.address.0 {
            return Err(D::Error::custom(format_args!("{} is not the address of its key", json.address.0)));
        }
        order.push(json.address.0);
        members.push((key, Power(json.voting_power.0)));
    }
    let set = ValidatorSet::new(members).map_err(D::Error::custom)?;
    if !set.iter().map(|validator| validator.address()).eq(order) {
        return Err(D::Error::custom("the validators are not in the order of their set"));
    }
    Ok(set)
}
