//! What must hold of every input from outside: of messages, files, requests, transactions and rows of the database.
//!
//! Each property is a function that takes bytes, returns whether they were accepted, and panics if the property does not
//! hold. The fuzz targets in `fuzz/` call them with inputs that a fuzzer searches for; the tests of this crate call them
//! with the seeds and with damaged seeds. `docs/decisions/051-fuzzing.md` says why there are two callers of one property.
//!
//! | file | inputs |
//! |---|---|
//! | `votes` | votes, proposals, certificates, commits, evidence, the hard state |
//! | `blocks` | headers, parts, blocks, results, validator sets, parameters |
//! | `messages` | messages, requests and answers of peers |
//! | `transactions` | signed transactions, and their execution on a chain |
//! | `documents` | genesis, keys, signing state, trusted validators, proofs to hand over, times |
//! | `state` | rows, queries, proofs and stored trees of the state |
//! | `store` | rows of the database |
//! | `nodes`, with the feature `node` | configuration, addresses, handshake, address book, requests of clients |

mod blocks;
mod chain;
mod documents;
pub mod judge;
pub mod memory;
mod messages;
#[cfg(feature = "node")]
mod nodes;
pub mod noise;
mod property;
mod samples;
#[cfg(feature = "node")]
mod served;
mod state;
mod store;
mod transactions;
mod votes;

pub use blocks::{block, header, params, part, results, validator_set};
pub use documents::{genesis_document, key_file, proof_file, signing_state_file, time_text, trust_file};
pub use messages::{block_response, peer_message, peer_request, round_state, tx_batch, waiting_txs};
#[cfg(feature = "node")]
pub use nodes::{address_book, config_file, event_query, handshake, peer_address, rpc_body, rpc_uri, setting_text};
pub use property::Property;
pub use state::{query_of_state, state_proof, state_row, stored_trees};
pub use store::store_rows;
pub use transactions::{execution, transaction};
pub use votes::{certificate, commit, evidence, hard_state, proposal, vote};

/// Returns all properties, each with the name of its function.
pub fn all() -> Vec<Property> {
    macro_rules! list {
        ($($file:ident: $($name:ident $seeds:ident),+;)+) => {
            vec![$($(Property { name: stringify!($name), check: $file::$name, seeds: $file::$seeds }),+),+]
        };
    }
    #[cfg(feature = "node")]
    let of_node = nodes::all();
    #[cfg(not(feature = "node"))]
    let of_node: Vec<Property> = Vec::new();
    let mut all = list! {
        votes: vote vote_seeds, proposal proposal_seeds, certificate certificate_seeds, commit commit_seeds,
            evidence evidence_seeds, hard_state hard_state_seeds;
        blocks: header header_seeds, part part_seeds, block block_seeds, results results_seeds,
            validator_set validator_set_seeds, params params_seeds;
        messages: peer_message peer_message_seeds, round_state round_state_seeds, peer_request peer_request_seeds,
            block_response block_response_seeds, tx_batch tx_batch_seeds, waiting_txs waiting_txs_seeds;
        transactions: transaction transaction_seeds, execution execution_seeds;
        documents: genesis_document genesis_document_seeds, key_file key_file_seeds,
            signing_state_file signing_state_file_seeds, trust_file trust_file_seeds, proof_file proof_file_seeds,
            time_text time_text_seeds;
        state: state_row state_row_seeds, query_of_state query_of_state_seeds, state_proof state_proof_seeds,
            stored_trees stored_trees_seeds;
        store: store_rows store_rows_seeds;
    };
    all.extend(of_node);
    all
}
