//! Reading of the fields of a genesis document, so that an error names the field.

use std::time::Duration;

use serde_json::{Map, Value};
use types::{
    Address, BlockParams, EvidenceParams, Height, KeyType, Params, Power, Synchrony, Time, Timeouts,
    limits::VALIDATORS_MAX,
};

use crate::{
    document::{Document, GenesisAccount, GenesisValidator},
    json::{At, FieldError, read_public_key},
};

/// Names of the top-level fields of the document.
pub(crate) const FIELDS: &[&str] =
    &["genesis_time", "chain_id", "initial_height", "consensus_params", "validators", "app_hash", "app_state"];

/// Maximum number of characters in the name of a validator or an account.
const NAME_CHARS_MAX: usize = 70;

/// Creates a document from its fields except `app_state`, and its accounts.
///
/// Errors: [`FieldError`] with the path of the invalid field.
pub(crate) fn read(head: Map<String, Value>, accounts: Vec<GenesisAccount>) -> Result<Document, FieldError> {
    let head = Value::Object(head);
    let root = At::root(&head);
    let time = root.need("genesis_time")?;
    let validators = root.need("validators")?;
    let members = validators.list()?;
    if members.len() > VALIDATORS_MAX {
        return validators.error(format!("{} of them, at most {VALIDATORS_MAX} are allowed", members.len()));
    }
    let app_hash = match root.get("app_hash")? {
        Some(hash) if !hash.text()?.is_empty() => Some(hash.parse()?),
        _ => None,
    };
    Ok(Document {
        genesis_time: Time::parse(time.text()?).or_else(|error| time.error(error))?,
        chain_id: root.need("chain_id")?.parse()?,
        initial_height: Height(root.get("initial_height")?.map_or(Ok(1), |height| height.number())?),
        params: root.get("consensus_params")?.map_or_else(|| Ok(Params::default()), |params| read_params(&params))?,
        validators: members.iter().map(read_validator).collect::<Result<_, _>>()?,
        app_hash,
        accounts,
    })
}

fn read_validator(at: &At<'_>) -> Result<GenesisValidator, FieldError> {
    at.only(&["address", "pub_key", "power", "name"])?;
    let key = at.need("pub_key")?;
    let public_key = read_public_key(&key, &KeyType::ALL)?;
    if let Some(address) = at.get("address")? {
        let (got, expected) = (address.parse::<Address>()?, public_key.address());
        if got != expected {
            return address.error(format!("is {got}, but pub_key has address {expected}: correct it or leave it out"));
        }
    }
    let power = Power(at.need("power")?.number()?);
    let name = at.get("name")?.map_or_else(|| Ok(String::new()), |name| name.name(NAME_CHARS_MAX))?;
    Ok(GenesisValidator { public_key, power, name })
}

pub(crate) fn read_account(at: &At<'_>) -> Result<GenesisAccount, FieldError> {
    at.only(&["address", "balance", "name"])?;
    Ok(GenesisAccount {
        address: at.need("address")?.parse()?,
        balance: at.need("balance")?.number()?,
        name: at.get("name")?.map_or_else(|| Ok(String::new()), |name| name.name(NAME_CHARS_MAX))?,
    })
}

/// Reads a number field, or returns its default.
fn number_or<T: std::str::FromStr<Err: std::fmt::Display>>(
    at: &At<'_>,
    key: &str,
    default: T,
) -> Result<T, FieldError> {
    at.get(key)?.map_or(Ok(default), |number| number.number())
}

fn millis_or(at: &At<'_>, key: &str, default: Duration) -> Result<Duration, FieldError> {
    Ok(Duration::from_millis(number_or(at, key, default.as_millis() as u64)?))
}

/// Reads the `fields` of an optional object, or returns the default.
fn section<T>(
    at: &At<'_>,
    key: &str,
    known: &[&str],
    default: T,
    fields: impl FnOnce(&At<'_>) -> Result<T, FieldError>,
) -> Result<T, FieldError> {
    let Some(section) = at.get(key)? else { return Ok(default) };
    section.only(known)?;
    fields(&section)
}

fn read_params(at: &At<'_>) -> Result<Params, FieldError> {
    at.only(&[
        "block",
        "evidence",
        "validator",
        "version",
        "abci",
        "timeouts",
        "synchrony",
        "retain_blocks",
        "tx_ttl_heights_max",
        "fee_min",
        "fee_per_kib",
        "ns_deposit",
    ])?;
    let defaults = Params::default();
    section(at, "validator", &["pub_key_types"], (), |at| {
        let Some(kinds) = at.get("pub_key_types")? else { return Ok(()) };
        for kind in kinds.list()? {
            if kind.text()?.parse::<KeyType>().is_err() {
                return kind.error("validators use secp256k1 or ed25519: leave other types out");
            }
        }
        Ok(())
    })?;
    section(at, "abci", &["vote_extensions_enable_height"], (), |at| {
        match at.get("vote_extensions_enable_height")? {
            Some(height) if height.number::<u64>()? != 0 => {
                height.error("this chain has no vote extensions: use \"0\"")
            }
            _ => Ok(()),
        }
    })?;
    let block = section(at, "block", &["max_bytes", "max_gas"], defaults.block, |at| {
        Ok(BlockParams {
            bytes_max: number_or(at, "max_bytes", defaults.block.bytes_max)?,
            gas_max: number_or(at, "max_gas", defaults.block.gas_max)?,
        })
    })?;
    let known = ["max_age_num_blocks", "max_age_duration", "max_bytes"];
    let evidence = section(at, "evidence", &known, defaults.evidence, |at| {
        let age_max = match at.get("max_age_duration")? {
            None => defaults.evidence.age_max,
            Some(nanos) => match Duration::from_nanos(nanos.number()?) {
                whole if whole.subsec_nanos().is_multiple_of(1_000_000) => whole,
                _ => return nanos.error("is in nanoseconds and must be whole milliseconds: end it with 000000"),
            },
        };
        Ok(EvidenceParams {
            age_heights_max: number_or(at, "max_age_num_blocks", defaults.evidence.age_heights_max)?,
            age_max,
            bytes_max: number_or(at, "max_bytes", defaults.evidence.bytes_max)?,
        })
    })?;
    let known =
        ["propose_ms", "propose_delta_ms", "prevote_ms", "prevote_delta_ms", "precommit_ms", "precommit_delta_ms"];
    let timeouts = section(at, "timeouts", &known, defaults.timeouts, |at| {
        Ok(Timeouts {
            propose: millis_or(at, "propose_ms", defaults.timeouts.propose)?,
            propose_delta: millis_or(at, "propose_delta_ms", defaults.timeouts.propose_delta)?,
            prevote: millis_or(at, "prevote_ms", defaults.timeouts.prevote)?,
            prevote_delta: millis_or(at, "prevote_delta_ms", defaults.timeouts.prevote_delta)?,
            precommit: millis_or(at, "precommit_ms", defaults.timeouts.precommit)?,
            precommit_delta: millis_or(at, "precommit_delta_ms", defaults.timeouts.precommit_delta)?,
        })
    })?;
    let synchrony = section(at, "synchrony", &["precision_ms", "message_delay_ms"], defaults.synchrony, |at| {
        Ok(Synchrony {
            precision: millis_or(at, "precision_ms", defaults.synchrony.precision)?,
            message_delay: millis_or(at, "message_delay_ms", defaults.synchrony.message_delay)?,
        })
    })?;
    Ok(Params {
        block,
        evidence,
        version_app: section(at, "version", &["app"], defaults.version_app, |at| {
            number_or(at, "app", defaults.version_app)
        })?,
        timeouts,
        synchrony,
        retain_blocks: number_or(at, "retain_blocks", defaults.retain_blocks)?,
        tx_ttl_heights_max: number_or(at, "tx_ttl_heights_max", defaults.tx_ttl_heights_max)?,
        fee_min: number_or(at, "fee_min", defaults.fee_min)?,
        fee_per_kib: number_or(at, "fee_per_kib", defaults.fee_per_kib)?,
        ns_deposit: number_or(at, "ns_deposit", defaults.ns_deposit)?,
    })
}
