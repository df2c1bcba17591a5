//! The files that are handed over: a chain of proofs, the header whose app hash it leads to, the commit of that header
//! and the validators of its height; or two of these, which prove that a namespace had the same content at two heights.
//! `revert_file` has the third kind.

use std::fmt;

use app::{Account, PROOF_OP_TYPE, ProofOp, REVERTIBLE, StateProof, state::NEVER_REVERTED, tree::ProofError};
use data_encoding::HEXUPPER;
use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;
use types::{Address, ChainId, DecodeError, Hash, Height, LightBlock, Time, ValidatorSet};

use crate::{
    Trust,
    header::{HeaderError, Link, Signed, verify_header},
    json::{Bytes, SignedHeader, plainly, validators},
};

/// First field of a file, with the version of its layout.
pub const FORMAT: &str = "cairn proof 1";

/// First field of a file with two proofs, with the version of its layout.
pub const EQUAL_FORMAT: &str = "cairn proof of equal content 1";

/// Maximum bytes of a file, of any kind. A proof with 200 validators has about 0.2 MB.
pub const FILE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A proof to hand over. [`ProofFile::verify`] decides whether it proves anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofFile {
    proof: StateProof,
    block: LightBlock,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileJson {
    format: String,
    proof_ops: Vec<OpJson>,
    signed_header: SignedHeader,
    #[serde(deserialize_with = "validators")]
    validators: ValidatorSet,
}

/// Two proofs of the root of one namespace. [`EqualFile::verify`] decides whether they prove anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EqualFile([ProofFile; 2]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EqualJson {
    format: String,
    proofs: [FileJson; 2],
}

/// One proof of a chain.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpJson {
    r#type: String,
    key: Bytes,
    data: Bytes,
}

/// The reason why a file proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProofFileError {
    /// The file is too large.
    #[error("the file has {got} bytes or more, at most {FILE_BYTES_MAX} are read")]
    TooLarge {
        /// Bytes of the file.
        got: usize,
    },
    /// The file has another shape.
    #[error("the file is not a proof that `cairn proof` wrote: {0}")]
    Shape(String),
    /// A proof of the chain cannot be read.
    #[error("the chain of proofs: {0}")]
    Ops(DecodeError),
    /// The header is not believed.
    #[error("{0}")]
    Header(HeaderError),
    /// The chain of proofs begins in no tree of the state.
    #[error("the chain of proofs is not about a row of the state, a key of a namespace or the root of one")]
    Place,
    /// The chain of proofs does not lead to the app hash of the header.
    #[error("the chain of proofs does not lead to the app hash of the header: {0}")]
    Proof(ProofError),
    /// The two proofs of a file are not about the root of one existing namespace of one chain.
    #[error("the two proofs are not about the root of one namespace of one chain")]
    Pair,
    /// The namespace had different content at the two heights.
    #[error("the namespace had root {} at height {} and root {} at height {}", .0[0].1, .0[0].0, .0[1].1, .0[1].0)]
    Different([(Height, Hash); 2]),
    /// The record in the file is not that of a revert that the block executed.
    #[error("the record is not that of a revert that was executed at height {executed}")]
    Record {
        /// Height of the block after which the record was so.
        executed: Height,
    },
    /// The record names another target or other namespaces than the proofs.
    #[error("the proofs are not about the namespaces of the revert, at its target and at its execution")]
    Scope,
}

/// The place of what is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A raw key of the part of the state that is never reverted.
    State,
    /// A key of the namespace with this name.
    Namespace(Vec<u8>),
    /// The map of namespaces: the key is the name of one, and its root is the value.
    Roots,
}

/// What a file proves. Its text says so in sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Where the key is.
    pub place: Place,
    /// The raw key, the key in the namespace, or the name of the namespace.
    pub key: Vec<u8>,
    /// Its value; `None` if it has none.
    pub value: Option<Vec<u8>>,
    /// Chain to which the state belongs.
    pub chain_id: ChainId,
    /// Height of the block after which the state was so. The header is that of the next height.
    pub height: Height,
    /// Time of the header.
    pub time: Time,
    /// Hash of the header.
    pub block: Hash,
    /// Who signed the header.
    pub signed: Signed,
}

impl ProofFile {
    /// Reads a file. Nothing is verified.
    ///
    /// Errors: [`ProofFileError::TooLarge`], [`ProofFileError::Shape`], [`ProofFileError::Ops`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ProofFileError> {
        Self::from_parts(parse(bytes)?)
    }

    fn from_parts(json: FileJson) -> Result<Self, ProofFileError> {
        expect_format(&json.format, FORMAT)?;
        Ok(Self { proof: chain(json.proof_ops)?, block: json.signed_header.with(json.validators) })
    }

    /// Returns what the file proves to a verifier with this trust.
    ///
    /// Cost: about 100 hashes, and the signatures of the commit.
    ///
    /// Errors: [`ProofFileError::Header`] if the header is not believed, [`ProofFileError::Place`] if the chain of proofs
    /// begins in no tree of the state, [`ProofFileError::Proof`] if it does not lead to the app hash of the header.
    pub fn verify(&self, trust: &Trust) -> Result<Proven, ProofFileError> {
        let signed = verify(&self.block, trust)?;
        prove(&self.block, signed, &self.proof)
    }
}

/// Reads a chain of proofs.
///
/// Errors: [`ProofFileError::Shape`], [`ProofFileError::Ops`].
pub(crate) fn chain(ops: Vec<OpJson>) -> Result<StateProof, ProofFileError> {
    if ops.iter().any(|op| op.r#type != PROOF_OP_TYPE) {
        return Err(ProofFileError::Shape(format!("a proof is not of type {PROOF_OP_TYPE:?}")));
    }
    let ops = ops.into_iter().map(|op| ProofOp { key: op.key.0, data: op.data.0 });
    StateProof::from_ops(&ops.collect::<Vec<_>>()).map_err(ProofFileError::Ops)
}

/// Decides whether a verifier with this trust believes the header of a block.
///
/// Errors: [`ProofFileError::Header`] if not.
pub(crate) fn verify(block: &LightBlock, trust: &Trust) -> Result<Signed, ProofFileError> {
    let LightBlock { header, commit, validators } = block;
    verify_header(trust.chain_id.as_ref(), &trust.validators, header, commit, validators)
        .map_err(ProofFileError::Header)
}

/// Returns what a chain of proofs proves under the header of a block, which is believed: `signed` is what [`verify`]
/// returned.
///
/// Errors: [`ProofFileError::Place`], [`ProofFileError::Proof`].
pub(crate) fn prove(block: &LightBlock, signed: Signed, proof: &StateProof) -> Result<Proven, ProofFileError> {
    let LightBlock { header, commit, .. } = block;
    let names = proof.names();
    let place = match names[..] {
        [NEVER_REVERTED] => Place::State,
        [REVERTIBLE] => Place::Roots,
        [name, REVERTIBLE] => Place::Namespace(name.to_vec()),
        _ => return Err(ProofFileError::Place),
    };
    let (key, value) = (proof.key(), proof.value());
    proof.verify(&header.app_hash, &names, key, value).map_err(ProofFileError::Proof)?;
    Ok(Proven {
        place,
        key: key.to_vec(),
        value: value.map(<[u8]>::to_vec),
        chain_id: header.chain_id.clone(),
        height: header.height.prev().unwrap_or_default(),
        time: header.time,
        block: commit.block_id.hash,
        signed,
    })
}

/// Reads the JSON of a file.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ProofFileError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(ProofFileError::TooLarge { got: bytes.len() });
    }
    serde_json::from_slice(bytes).map_err(|error| ProofFileError::Shape(plainly(error)))
}

pub(crate) fn expect_format(got: &str, expected: &str) -> Result<(), ProofFileError> {
    if got == expected {
        return Ok(());
    }
    Err(ProofFileError::Shape(plainly(format_args!("its format is {got:?}, expected {expected:?}"))))
}

impl EqualFile {
    /// Reads a file. Nothing is verified.
    ///
    /// Errors: [`ProofFileError::TooLarge`], [`ProofFileError::Shape`], [`ProofFileError::Ops`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ProofFileError> {
        let EqualJson { format, proofs: [first, second] } = parse(bytes)?;
        expect_format(&format, EQUAL_FORMAT)?;
        Ok(Self([ProofFile::from_parts(first)?, ProofFile::from_parts(second)?]))
    }

    /// Returns what the file proves to a verifier with this trust. Cost: twice that of [`ProofFile::verify`].
    ///
    /// Errors: those of [`ProofFile::verify`] for either proof, [`ProofFileError::Pair`] if they are not about the root of
    /// one namespace of one chain, [`ProofFileError::Different`] if its roots are not equal.
    pub fn verify(&self, trust: &Trust) -> Result<Equal, ProofFileError> {
        Self::compare([self.0[0].verify(trust)?, self.0[1].verify(trust)?])
    }

    /// Compares two proven roots.
    ///
    /// Errors: [`ProofFileError::Pair`], [`ProofFileError::Different`].
    pub(crate) fn compare([first, second]: [Proven; 2]) -> Result<Equal, ProofFileError> {
        let is_of_one = (&first.place, &first.key, &first.chain_id) == (&second.place, &second.key, &second.chain_id);
        match (first.root(), second.root()) {
            (Some(a), Some(b)) if is_of_one && a == b => Ok(Equal { root: a, at: [first, second] }),
            (Some(a), Some(b)) if is_of_one => Err(ProofFileError::Different([(first.height, a), (second.height, b)])),
            _ => Err(ProofFileError::Pair),
        }
    }
}

/// What a file with two proofs proves: a namespace had the same keys and values at two heights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equal {
    /// Root of the namespace at both heights.
    pub root: Hash,
    /// The two proofs of it.
    pub at: [Proven; 2],
}

impl fmt::Display for Equal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, at: [first, second] } = self;
        let name = shown(&first.key);
        let (a, b) = (first.height, second.height);
        writeln!(f, "Namespace {name} had the same keys and values at heights {a} and {b}: its root was {root}.")?;
        first.write_header(f)?;
        writeln!(f)?;
        second.write_header(f)
    }
}

impl Proven {
    /// Returns the root of the namespace, if this is a proof of one.
    pub fn root(&self) -> Option<Hash> {
        if self.place != Place::Roots {
            return None;
        }
        self.value.as_deref()?.try_into().ok().map(Hash)
    }

    /// Returns the address and the state of the account, if the key is that of an account.
    pub fn account(&self) -> Option<(Address, Account)> {
        if self.place != Place::State {
            return None;
        }
        let address = Address(self.key.strip_prefix(b"a")?.try_into().ok()?);
        match &self.value {
            None => Some((address, Account::default())),
            Some(value) => Some((address, Account::from_value(value)?)),
        }
    }
}

/// Returns bytes for people: text in quotation marks, with escapes for what is not printable, or hexadecimal digits after
/// `0x`. The quotation marks tell a value from the words around it, whatever it contains.
pub(crate) fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("0x{}", HEXUPPER.encode(bytes)),
    }
}

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_statement(f)?;
        self.write_header(f)
    }
}

impl Proven {
    /// Writes the sentence about the state.
    fn write_statement(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, height) = (shown(&self.key), self.height);
        match (&self.place, &self.value, self.account()) {
            (Place::Namespace(name), Some(value), _) => {
                let (name, value) = (shown(name), shown(value));
                writeln!(f, "Key {key} of namespace {name} had the value {value} at height {height}.")
            }
            (Place::Namespace(name), None, _) => {
                writeln!(f, "Key {key} of namespace {} had no value at height {height}.", shown(name))
            }
            (Place::Roots, Some(root), _) => {
                writeln!(f, "Namespace {key} had the root {} at height {height}.", HEXUPPER.encode(root))
            }
            (Place::Roots, None, _) => writeln!(f, "There was no namespace {key} at height {height}."),
            (Place::State, Some(_), Some((address, account))) => writeln!(
                f,
                "Account {address} had balance {} and next nonce {} at height {height}.",
                account.balance, account.nonce
            ),
            (Place::State, None, Some((address, _))) => {
                writeln!(f, "Account {address} was unused at height {height}: balance 0 and next nonce 0.")
            }
            (Place::State, Some(value), None) => {
                let (key, value) = (HEXUPPER.encode(&self.key), HEXUPPER.encode(value));
                writeln!(f, "Key {key} had the value {value} at height {height}.")
            }
            (Place::State, None, None) => {
                writeln!(f, "Key {} had no value at height {height}.", HEXUPPER.encode(&self.key))
            }
        }
    }

    /// Writes the sentences about the header and its signers.
    pub(crate) fn write_header(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Signed { signers, validators, power, total, link } = self.signed;
        let permille = u128::from(power.0) * 1000 / u128::from(total.0.max(1));
        writeln!(
            f,
            "The header of height {} of chain {} commits to it; its hash is {}, its time {}.",
            self.height.next(),
            self.chain_id.as_str(),
            self.block,
            self.time
        )?;
        write!(
            f,
            "{signers} of {validators} validators with {}.{} % of the power signed that header.\n{}",
            permille / 10,
            permille % 10,
            match link {
                Link::Same => "They are of the trusted set.",
                Link::Overlap => "More than a third of the trusted power signed it; the other validators are new.",
            }
        )
    }
}
