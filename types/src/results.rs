//! Results of the execution of a block.

use prost::Message;

use crate::{
    Hash, Params, ValidatorUpdate,
    limits::{BLOCK_TXS_MAX, EVENTS_MAX, VALIDATORS_MAX},
    merkle, pb,
    wire::{self, DecodeError, Wire},
};

/// A named value of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Name of the attribute.
    pub key: String,
    /// Value of the attribute.
    pub value: String,
    /// True if searches can find the event by this attribute.
    pub index: bool,
}

/// An event of the execution, for observers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Name of the event, such as `transfer`.
    pub kind: String,
    /// Attributes of the event, in order.
    pub attributes: Vec<Attribute>,
}

impl Event {
    /// Creates an event with attributes; each has a key, a value, and a flag that is true if it is marked for indexing.
    pub fn new<V: Into<String>>(kind: &str, attributes: impl IntoIterator<Item = (&'static str, V, bool)>) -> Self {
        let attribute =
            |(key, value, index): (&str, V, bool)| Attribute { key: key.into(), value: value.into(), index };
        Self { kind: kind.into(), attributes: attributes.into_iter().map(attribute).collect() }
    }
}

/// Result of the execution of one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxResult {
    /// Result code: 0 is success, others are stable numbers of the codespace.
    pub code: u32,
    /// Codespace that defines the meaning of `code`.
    pub codespace: String,
    /// Result data for programs.
    pub data: Vec<u8>,
    /// Message for people, in one sentence.
    pub log: String,
    /// Amount of gas that the transaction requested.
    pub gas_wanted: i64,
    /// Amount of gas that the transaction used.
    pub gas_used: i64,
    /// Events of the transaction.
    pub events: Vec<Event>,
}

impl TxResult {
    /// Returns true if the transaction was executed: it succeeded, or it failed and used gas.
    ///
    /// An application executes the same bytes once at most. A block can contain them besides, for example because an
    /// earlier block has executed them: that result is a failure without gas, and the state is unchanged.
    pub fn is_executed(&self) -> bool {
        self.code == 0 || self.gas_used > 0
    }
}

/// Results of the execution of one block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockResults {
    /// One result for each transaction.
    pub txs: Vec<TxResult>,
    /// Events outside of transactions.
    pub events: Vec<Event>,
    /// Changes of the validator set, which take effect two heights later.
    pub validator_updates: Vec<ValidatorUpdate>,
    /// New parameters, which take effect at the next height.
    pub params_update: Option<Params>,
    /// Root of the state after the block.
    pub app_hash: Hash,
}

/// Returns the next header's `last_results_hash`: the Merkle root (SHA-256) over code, data and gas of each result. It
/// does not cover logs and events, which are only for observers.
pub fn results_hash(results: &[TxResult]) -> Hash {
    let leaves: Vec<Vec<u8>> = results
        .iter()
        .map(|result| {
            pb::TxResult {
                code: result.code,
                data: result.data.clone(),
                gas_wanted: result.gas_wanted,
                gas_used: result.gas_used,
                ..Default::default()
            }
            .encode_to_vec()
        })
        .collect();
    merkle::root(merkle::Hasher::Sha256, &leaves)
}

fn event_to_pb(event: &Event) -> pb::Event {
    let attribute = |a: &Attribute| pb::EventAttribute { key: a.key.clone(), value: a.value.clone(), index: a.index };
    pb::Event { r#type: event.kind.clone(), attributes: event.attributes.iter().map(attribute).collect() }
}

fn event_from_pb(pb: pb::Event) -> Event {
    let attribute = |a: pb::EventAttribute| Attribute { key: a.key, value: a.value, index: a.index };
    Event { kind: pb.r#type, attributes: pb.attributes.into_iter().map(attribute).collect() }
}

impl Wire for TxResult {
    type Pb = pb::TxResult;
    const NAME: &'static str = "transaction result";
    const BYTES_MAX: usize = 1024 * 1024;

    fn to_pb(&self) -> pb::TxResult {
        pb::TxResult {
            code: self.code,
            data: self.data.clone(),
            log: self.log.clone(),
            gas_wanted: self.gas_wanted,
            gas_used: self.gas_used,
            events: self.events.iter().map(event_to_pb).collect(),
            codespace: self.codespace.clone(),
        }
    }

    fn from_pb(pb: pb::TxResult) -> Result<Self, DecodeError> {
        wire::at_most("tx_result.events", pb.events.len(), EVENTS_MAX)?;
        Ok(Self {
            code: pb.code,
            codespace: pb.codespace,
            data: pb.data,
            log: pb.log,
            gas_wanted: pb.gas_wanted,
            gas_used: pb.gas_used,
            events: pb.events.into_iter().map(event_from_pb).collect(),
        })
    }
}

impl Wire for BlockResults {
    type Pb = pb::BlockResults;
    const NAME: &'static str = "block results";
    const BYTES_MAX: usize = 256 * 1024 * 1024;

    fn to_pb(&self) -> pb::BlockResults {
        pb::BlockResults {
            txs: self.txs.iter().map(Wire::to_pb).collect(),
            events: self.events.iter().map(event_to_pb).collect(),
            validator_updates: self.validator_updates.iter().map(Wire::to_pb).collect(),
            params_update: self.params_update.as_ref().map(Wire::to_pb),
            app_hash: self.app_hash.0.to_vec(),
        }
    }

    fn from_pb(pb: pb::BlockResults) -> Result<Self, DecodeError> {
        wire::at_most("block_results.txs", pb.txs.len(), BLOCK_TXS_MAX)?;
        wire::at_most("block_results.events", pb.events.len(), EVENTS_MAX)?;
        wire::at_most("block_results.validator_updates", pb.validator_updates.len(), 2 * VALIDATORS_MAX)?;
        Ok(Self {
            txs: pb.txs.into_iter().map(TxResult::from_pb).collect::<Result<_, _>>()?,
            events: pb.events.into_iter().map(event_from_pb).collect(),
            validator_updates: pb
                .validator_updates
                .into_iter()
                .map(ValidatorUpdate::from_pb)
                .collect::<Result<_, _>>()?,
            params_update: pb.params_update.map(Params::from_pb).transpose()?,
            app_hash: wire::hash("block_results.app_hash", &pb.app_hash)?,
        })
    }
}
