//! The methods of the RPC, and how each of them is run.
//!
//! ```text
//!   find, call ──▶ table ──▶ blocks, evidence ──▶ attack, node, search, state, txs, validators ──▶ shared
//!                    └─────▶ method ──▶ describe
//! ```
//! `table` lists and describes the methods. `shared` has the state that they read and the type of their results.

mod attack;
mod blocks;
mod describe;
mod earlier;
mod evidence;
mod fields;
mod history;
mod method;
mod namespaces;
mod node;
mod proposals;
mod search;
mod shared;
mod staking;
mod state;
mod table;
mod txs;
mod validators;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use method::Run::{Now, Store, Unsafe, Wait, WebSocket};

use crate::{
    args::Args,
    clients::{Client, Turns},
    error::Error,
};

pub use describe::{Absent, Field, Form, Param, Shape};
pub use method::Method;
pub use shared::{Answer, Server};
pub use table::METHODS;

/// Maximum time that a call waits for its turn.
const STORE_WAIT: Duration = Duration::from_secs(5);

/// Classes of calls that cost more than a few reads. Each class has few turns of its own, so that its calls wait for
/// each other and do not delay other calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Reads an index and many blocks, or many rows of the state.
    Search,
    /// Hashes a block, or reads the tree of the tip.
    Proof,
    /// Reads, or first computes, the trees of a state below the tip.
    EarlierProof,
    /// Copies the whole genesis document.
    Genesis,
}

impl Class {
    /// Returns the class of a call, if it has one. A call with bad arguments costs nothing and has none.
    fn of(server: &Server, method: &Method, args: &Args) -> Option<Self> {
        let below_tip = |height: Option<i64>| {
            let tip = server.context.store.tip().map_or(0, |tip| tip.height.0);
            height.is_some_and(|height| height > 0 && (height as u64) < tip)
        };
        match method.name {
            "tx_search" | "block_search" => Some(Self::Search),
            "genesis" | "genesis_chunked" => Some(Self::Genesis),
            "abci_query" if args.truth("prove") == Ok(true) => {
                Some(if args.number("height").is_ok_and(below_tip) { Self::EarlierProof } else { Self::Proof })
            }
            "abci_query"
                if args.text("path").is_ok_and(|path| path.is_some_and(|path| state::reads_many_rows(&path))) =>
            {
                Some(Self::Search)
            }
            "tx" if args.truth("prove") == Ok(true) => Some(Self::Proof),
            _ => None,
        }
    }

    /// Returns the scheduler in which calls of this class wait for each other.
    fn turns(self, server: &Server) -> &Turns {
        match self {
            Self::Search => &server.searches,
            Self::Proof => &server.proofs,
            Self::EarlierProof => &server.earlier_proofs,
            Self::Genesis => &server.geneses,
        }
    }
}

/// Returns the method with this name.
///
/// Errors: there is no such method.
pub fn find(name: &str) -> Result<&'static Method, Error> {
    METHODS.binary_search_by(|method| method.name.cmp(name)).map(|index| &METHODS[index]).map_err(|_| {
        let name: String = name.chars().take(80).collect();
        Error::method_not_found(format_args!("there is no method {name:?}: GET / lists them"))
    })
}

/// Runs a method that needs no WebSocket, and records its duration.
///
/// Errors: those of the method; it is not offered or needs a WebSocket; the server is busy.
pub async fn call(
    server: &Arc<Server>,
    client: &Arc<Client>,
    method: &'static Method,
    args: Args,
) -> Result<Answer, Error> {
    let started = Instant::now();
    let reply = run(server, client, method, args).await;
    (server.context.observe)(method.name, started.elapsed(), reply.is_ok());
    if let Err(Error { unreadable: Some(reason), .. }) = &reply {
        (server.context.unreadable)(reason);
    }
    reply
}

async fn run(server: &Arc<Server>, client: &Arc<Client>, method: &'static Method, args: Args) -> Result<Answer, Error> {
    match method.run {
        Now(run) => run(server, &args),
        Store(run) => {
            let of_class = match Class::of(server, method, &args) {
                Some(class) => Some(class.turns(server).next(client, STORE_WAIT).await.ok_or_else(|| {
                    Error::server(format_args!(
                        "busy: other calls of {} are running, and few run at one time: try again later, or ask another node",
                        method.name
                    ))
                })?),
                None => None,
            };
            let turn = server.store_calls.next(client, STORE_WAIT).await.ok_or_else(|| {
                Error::server("busy: too many calls read the store: try again later, or ask another node")
            })?;
            let (server, client) = (server.clone(), client.clone());
            let work = move || {
                let (_of_class, _turn) = (of_class, turn);
                client.charged(|| run(&server, &args))
            };
            tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(Error::internal(e)))
        }
        Wait(run) => run(server.clone(), client.clone(), args).await,
        Unsafe(run) if server.context.limits.offer_unsafe => run(server, &args),
        Unsafe(_) => Err(Error::method_not_found(format_args!(
            "{} changes the node and is not offered here: the operator can allow it with rpc.unsafe = true",
            method.name
        ))),
        WebSocket => Err(Error::method_not_found(format_args!(
            "{} needs a connection that stays open: call it over the WebSocket at /websocket, not in a batch",
            method.name
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_name() {
        assert!(METHODS.is_sorted_by(|a, b| a.name < b.name));
        assert!(METHODS.iter().all(|method| find(method.name).is_ok_and(|found| found.name == method.name)));
        assert!(find("no_such").err().is_some_and(|error| error.data.contains("no_such")));
        assert!(find("").is_err());
    }
}
