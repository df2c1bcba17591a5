//! The format of written documents.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;
use types::{KeyType, Params};

use crate::{
    document::{Document, GenesisAccount},
    json::KeyShape,
};

#[derive(Serialize)]
struct DocumentShape<'a> {
    genesis_time: String,
    chain_id: &'a str,
    initial_height: String,
    consensus_params: ParamsShape,
    validators: Vec<ValidatorShape<'a>>,
    app_hash: String,
    app_state: AppStateShape<'a>,
}

#[derive(Serialize)]
struct ValidatorShape<'a> {
    address: String,
    pub_key: KeyShape,
    power: String,
    name: &'a str,
}

#[derive(Serialize)]
struct AppStateShape<'a> {
    accounts: Accounts<'a>,
}

/// Accounts that are serialized one at a time.
pub(crate) struct Accounts<'a> {
    pub all: &'a [GenesisAccount],
    /// Indices of the accounts in output order; `None`: the order of `all`.
    pub order: Option<Vec<u32>>,
    /// True if the names of the accounts are part of the output.
    pub are_named: bool,
}

impl Serialize for Accounts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let account = |index: usize| {
            let GenesisAccount { address, balance, name } =
                &self.all[self.order.as_ref().map_or(index, |order| order[index] as usize)];
            let name = if self.are_named { name.as_str() } else { "" };
            AccountShape { address: address.to_string(), balance: balance.to_string(), name }
        };
        serializer.collect_seq((0..self.all.len()).map(account))
    }
}

#[derive(Serialize)]
struct AccountShape<'a> {
    address: String,
    balance: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

#[derive(Serialize)]
struct ParamsShape {
    block: BlockShape,
    evidence: EvidenceShape,
    validator: PubKeyTypesShape,
    version: VersionShape,
    abci: AbciShape,
    timeouts: TimeoutsShape,
    synchrony: SynchronyShape,
    retain_blocks: String,
    tx_ttl_heights_max: String,
    fee_min: String,
    fee_per_kib: String,
    ns_deposit: String,
}

#[derive(Serialize)]
struct BlockShape {
    max_bytes: String,
    max_gas: String,
}

#[derive(Serialize)]
struct EvidenceShape {
    max_age_num_blocks: String,
    max_age_duration: String,
    max_bytes: String,
}

#[derive(Serialize)]
struct PubKeyTypesShape {
    pub_key_types: [&'static str; 2],
}

#[derive(Serialize)]
struct VersionShape {
    app: String,
}

#[derive(Serialize)]
struct AbciShape {
    vote_extensions_enable_height: &'static str,
}

#[derive(Serialize)]
struct TimeoutsShape {
    propose_ms: String,
    propose_delta_ms: String,
    prevote_ms: String,
    prevote_delta_ms: String,
    precommit_ms: String,
    precommit_delta_ms: String,
}

#[derive(Serialize)]
struct SynchronyShape {
    precision_ms: String,
    message_delay_ms: String,
}

/// Returns `consensus_params`, as in the document and in CometBFT's RPC.
pub fn params_json(params: &Params) -> Value {
    serde_json::to_value(params_shape(params)).expect("shapes have text keys")
}

fn params_shape(params: &Params) -> ParamsShape {
    let ms = |duration: Duration| duration.as_millis().to_string();
    ParamsShape {
        block: BlockShape { max_bytes: params.block.bytes_max.to_string(), max_gas: params.block.gas_max.to_string() },
        evidence: EvidenceShape {
            max_age_num_blocks: params.evidence.age_heights_max.to_string(),
            max_age_duration: params.evidence.age_max.as_nanos().to_string(),
            max_bytes: params.evidence.bytes_max.to_string(),
        },
        validator: PubKeyTypesShape { pub_key_types: KeyType::ALL.map(KeyType::name) },
        version: VersionShape { app: params.version_app.to_string() },
        abci: AbciShape { vote_extensions_enable_height: "0" },
        timeouts: TimeoutsShape {
            propose_ms: ms(params.timeouts.propose),
            propose_delta_ms: ms(params.timeouts.propose_delta),
            prevote_ms: ms(params.timeouts.prevote),
            prevote_delta_ms: ms(params.timeouts.prevote_delta),
            precommit_ms: ms(params.timeouts.precommit),
            precommit_delta_ms: ms(params.timeouts.precommit_delta),
        },
        synchrony: SynchronyShape {
            precision_ms: ms(params.synchrony.precision),
            message_delay_ms: ms(params.synchrony.message_delay),
        },
        retain_blocks: params.retain_blocks.to_string(),
        tx_ttl_heights_max: params.tx_ttl_heights_max.to_string(),
        fee_min: params.fee_min.to_string(),
        fee_per_kib: params.fee_per_kib.to_string(),
        ns_deposit: params.ns_deposit.to_string(),
    }
}

/// Returns the document in the form in which it is written, with these accounts.
pub(crate) fn shape<'a>(document: &'a Document, accounts: Accounts<'a>) -> impl Serialize + 'a {
    let validators = document.validators.iter().map(|validator| ValidatorShape {
        address: validator.public_key.address().to_string(),
        pub_key: KeyShape::public(&validator.public_key),
        power: validator.power.to_string(),
        name: &validator.name,
    });
    DocumentShape {
        genesis_time: document.genesis_time.to_string(),
        chain_id: document.chain_id.as_str(),
        initial_height: document.initial_height.to_string(),
        consensus_params: params_shape(&document.params),
        validators: validators.collect(),
        app_hash: document.app_hash.map(|hash| hash.to_string()).unwrap_or_default(),
        app_state: AppStateShape { accounts },
    }
}
