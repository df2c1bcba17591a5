//! What executing a block brought about.

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
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Whether searches find it.
    pub index: bool,
}

/// Something that happened, for those who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name, such as `transfer`.
    pub kind: String,
    /// Its values, in order.
    pub attributes: Vec<Attribute>,
}

impl Event {
    /// An event with attributes: key, value, and whether it is marked for indexing.
    pub fn new<V: Into<String>>(kind: &str, attributes: impl IntoIterator<Item = (&'static str, V, bool)>) -> Self {
        let attribute =
            |(key, value, index): (&str, V, bool)| Attribute { key: key.into(), value: value.into(), index };
        Self { kind: kind.into(), attributes: attributes.into_iter().map(attribute).collect() }
    }
}

/// What one transaction brought about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxResult {
    /// 0 is success; others are stable numbers of the codespace.
    pub code: u32,
    /// Whose numbers `code` are.
    pub codespace: String,
    /// Bytes for programs.
    pub data: Vec<u8>,
    /// A sentence for people.
    pub log: String,
    /// Gas asked for.
    pub gas_wanted: i64,
    /// Gas taken.
    pub gas_used: i64,
    /// What happened.
    pub events: Vec<Event>,
}

/// What a block brought about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockResults {
    /// One for each transaction.
    pub txs: Vec<TxResult>,
    /// What happened outside of transactions.
    pub events: Vec<Event>,
    /// Changes of the validator set, acting two heights later.
    pub validator_updates: Vec<ValidatorUpdate>,
    /// New parameters, acting at the next height.
    pub params_update: Option<Params>,
    /// The state after the block.
    pub app_hash: Hash,
}

/// The next header's `last_results_hash`: Merkle root (SHA-256) over code, data and gas of each result. Logs and events are for
/// people and programs that watch; they are not in it.
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
