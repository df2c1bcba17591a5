//! The node itself: where it stands, whom it knows, and what its chain began with.

use std::sync::LazyLock;

use serde_json::{Value, json};
use storage::Head;
use types::{ConsensusPublicKey, ConsensusSecretKey, KeyType, Power};

use super::{Outcome, Server};
use crate::rpc::{GenesisText, args::Args, error::Error, json};

/// Bytes of a piece of the genesis document, as in CometBFT.
const GENESIS_CHUNK_BYTES: u64 = 16 * 1024 * 1024;

/// What a node without a validator's key shows: clients insist on one, and Ed25519 is the type that all of them know. Its power
/// is 0.
static NOBODY: LazyLock<ConsensusPublicKey> = LazyLock::new(|| {
    ConsensusSecretKey::from_bytes(KeyType::Ed25519, &[1; 32]).expect("any 32 bytes are a seed").public_key()
});

/// The process answers. Whether the node is of use, [`ready`] says.
pub fn health(_: &Server, _: &Args) -> Outcome {
    Ok(json!({}).into())
}

/// Whether the node is of use, and if not, why.
pub fn ready(server: &Server, _: &Args) -> Outcome {
    let reasons = (server.context.not_ready)();
    Ok(json!({ "ready": reasons.is_empty(), "reasons": reasons }).into())
}

/// Where the node stands. Reads one small row that is in the cache; answers without it when it cannot be read.
pub fn status(server: &Server, _: &Args) -> Outcome {
    let context = &server.context;
    let (tip, consensus) = (server.tip()?, (context.status)());
    let store = &context.store;
    // The window may move between asking where it begins and reading there.
    let first = || store.head(store.earliest());
    let first = if tip.block_id.is_some() { first().or_else(|_| first()).map(Some) } else { Ok(None) };
    let first = first.unwrap_or_else(|error| {
        (context.unreadable)(&error.to_string());
        None
    });
    let (first_hash, first_app_hash, first_height, first_time) = match &first {
        Some(Head { block_id, header, .. }) => {
            (block_id.hash.to_string(), header.app_hash.to_string(), header.height, header.time)
        }
        None => (String::new(), String::new(), store.earliest(), tip.time),
    };
    let key = context.identity.validator.unwrap_or(*NOBODY);
    let power = consensus.validators.by_address(&key.address()).map_or(Power::ZERO, |(_, validator)| validator.power);
    Ok(json!({
        "node_info": json::node_info(&context.identity, &context.chain_id, server.version_app()?),
        "sync_info": {
            "latest_block_hash": tip.block_id.map(|id| id.hash.to_string()).unwrap_or_default(),
            "latest_app_hash": tip.app_hash.to_string(),
            "latest_block_height": tip.height.to_string(),
            "latest_block_time": tip.time.to_string(),
            "earliest_block_hash": first_hash,
            "earliest_app_hash": first_app_hash,
            "earliest_block_height": first_height.to_string(),
            "earliest_block_time": first_time.to_string(),
            "catching_up": consensus.catching_up,
        },
        "validator_info": {
            "address": key.address().to_string(),
            "pub_key": json::public_key(&key),
            "voting_power": power.to_string(),
        },
    })
    .into())
}

/// The peers.
pub fn net_info(server: &Server, _: &Args) -> Outcome {
    let context = &server.context;
    let (peers, version_app) = (context.network.peers(), server.version_app()?);
    Ok(json!({
        "listening": true,
        "listeners": context.network.listeners(),
        "n_peers": peers.len().to_string(),
        "peers": peers.iter().map(|peer| json::peer(peer, &context.chain_id, version_app)).collect::<Vec<_>>(),
    })
    .into())
}

/// The document as JSON; null if it is too large for one answer.
pub fn genesis_document(text: &GenesisText) -> Value {
    match text {
        GenesisText::Whole(text) => serde_json::from_str(text).unwrap_or_default(),
        GenesisText::File { .. } => Value::Null,
    }
}

/// The genesis document.
pub fn genesis(server: &Server, _: &Args) -> Outcome {
    let bytes = server.context.genesis.bytes();
    if bytes > GENESIS_CHUNK_BYTES || server.genesis.is_null() {
        return Err(Error::refused(format_args!(
            "the genesis document has {bytes} bytes, which is too large for one answer: ask for it in pieces with genesis_chunked"
        )));
    }
    Ok(super::Answer::new(json!({ "genesis": server.genesis }), true))
}

/// A piece of the genesis document's text.
pub fn genesis_chunked(server: &Server, args: &Args) -> Outcome {
    let genesis = &server.context.genesis;
    let total = genesis.bytes().div_ceil(GENESIS_CHUNK_BYTES).max(1);
    let wanted = args.number("chunk")?.unwrap_or(0);
    let Some(index) = u64::try_from(wanted).ok().filter(|index| *index < total) else {
        return Err(Error::refused(format_args!(
            "chunk {wanted} of the genesis document: there are 0 to {}",
            total - 1
        )));
    };
    let chunk = genesis.piece(index * GENESIS_CHUNK_BYTES, GENESIS_CHUNK_BYTES).map_err(|error| {
        (server.context.unreadable)(&format!("the genesis file, which was changed or cannot be read: {error}"));
        Error::refused("not available: this node cannot read its genesis file any more: ask another node")
    })?;
    let answer = json!({ "chunk": wanted.to_string(), "total": total.to_string(), "data": json::base64(chunk) });
    Ok(super::Answer::new(answer, true))
}

/// The application in brief.
pub fn abci_info(server: &Server, _: &Args) -> Outcome {
    let tip = server.tip()?;
    Ok(json!({
        "response": {
            "data": "cairn",
            "version": env!("CARGO_PKG_VERSION"),
            "app_version": server.version_app()?.to_string(),
            "last_block_height": tip.height.to_string(),
            "last_block_app_hash": json::base64(tip.app_hash),
        },
    })
    .into())
}

/// Where consensus stands, in brief.
pub fn consensus_state(server: &Server, _: &Args) -> Outcome {
    Ok(json!({ "round_state": json::consensus_state(&(server.context.status)()) }).into())
}

/// Where consensus stands, in full.
pub fn dump_consensus_state(server: &Server, _: &Args) -> Outcome {
    Ok(json::dump_consensus_state(&(server.context.status)()).into())
}

/// Dials peers once.
pub fn dial_peers(server: &Server, args: &Args) -> Outcome {
    dial(server, "peers", args.texts("peers")?)
}

/// As [`dial_peers`].
pub fn dial_seeds(server: &Server, args: &Args) -> Outcome {
    dial(server, "seeds", args.texts("seeds")?)
}

fn dial(server: &Server, name: &str, addresses: Vec<String>) -> Outcome {
    if addresses.is_empty() {
        return Err(Error::invalid_params(format_args!("parameter {name} names none: give id@host:port")));
    }
    for address in addresses {
        server.context.network.dial(&address).map_err(Error::invalid_params)?;
    }
    Ok(json!({ "log": format!("dialing {name}; see /net_info") }).into())
}
