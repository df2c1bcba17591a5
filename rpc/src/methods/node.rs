//! Methods about the node itself: its status, its peers, its genesis document, its consensus state.

use std::sync::LazyLock;

use serde_json::json;
use storage::Head;
use types::{ConsensusPublicKey, ConsensusSecretKey, KeyType, Power};

use super::shared::{Answer, Outcome, Server};
use crate::{args::Args, error::Error, json};

/// Maximum bytes of one piece of the genesis document, as in CometBFT.
const GENESIS_CHUNK_BYTES: u64 = 16 * 1024 * 1024;

/// The key that a node without a validator key shows, with power 0. Clients require a key, and all of them know the
/// type Ed25519.
static NOBODY: LazyLock<ConsensusPublicKey> = LazyLock::new(|| {
    ConsensusSecretKey::from_bytes(KeyType::Ed25519, &[1; 32]).expect("any 32 bytes are a seed").public_key()
});

/// Returns an empty object, because the process works. [`ready`] reports if the node is useful.
///
/// Errors: none.
pub fn health(_: &Server, _: &Args) -> Outcome {
    Ok(json!({}).into())
}

/// Returns true in `ready` if the node is useful, else the reasons.
///
/// Errors: none.
pub fn ready(server: &Server, _: &Args) -> Outcome {
    let reasons = (server.context.not_ready)();
    Ok(json!({ "ready": reasons.is_empty(), "reasons": reasons }).into())
}

/// Returns the status of the node. Reads one small row that is cached; without it if it cannot be read.
///
/// Errors: the store is empty.
pub fn status(server: &Server, _: &Args) -> Outcome {
    let context = &server.context;
    let (tip, consensus) = (server.tip()?, (context.status)());
    let store = &context.store;
    // The first kept height may change between looking it up and reading its header, so a failed read is repeated once.
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
    let key = consensus.own.unwrap_or(*NOBODY);
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
            "earliest_state_height": store.earliest_state().to_string(),
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

/// Returns the connected peers.
///
/// Errors: the store is empty.
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

/// Returns the genesis document.
///
/// Errors: the document is too large for one answer.
pub fn genesis(server: &Server, _: &Args) -> Outcome {
    let bytes = server.context.genesis.bytes();
    if bytes > GENESIS_CHUNK_BYTES || server.genesis.is_null() {
        return Err(Error::refused(format_args!(
            "the genesis document has {bytes} bytes, which is too large for one answer: ask for it in pieces with genesis_chunked"
        )));
    }
    Ok(Answer::new(json!({ "genesis": server.genesis }), true))
}

/// Returns one piece of the genesis document's text.
///
/// Errors: there is no such piece, or the file cannot be read.
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
    Ok(Answer::new(answer, true))
}

/// Returns a summary of the application.
///
/// Errors: the store is empty.
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

/// Returns the state of consensus, in brief.
///
/// Errors: none.
pub fn consensus_state(server: &Server, _: &Args) -> Outcome {
    Ok(json!({ "round_state": json::consensus_state(&(server.context.status)()) }).into())
}

/// Returns the state of consensus, in full.
///
/// Errors: none.
pub fn dump_consensus_state(server: &Server, _: &Args) -> Outcome {
    Ok(json::dump_consensus_state(&(server.context.status)()).into())
}

/// Dials each given peer once.
///
/// Errors: no address is given, or one is malformed.
pub fn dial_peers(server: &Server, args: &Args) -> Outcome {
    dial(server, "peers", args.texts("peers")?)
}

/// Dials seeds once, like [`dial_peers`].
///
/// Errors: those of [`dial_peers`].
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
