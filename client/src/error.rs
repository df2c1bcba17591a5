//! The reasons why a request has no result.

use thiserror::Error;

use crate::FieldError;

/// The reason why a request has no result: a sentence that says what to do. `option` is the option of the command line
/// that names the node, if one does.
#[derive(Clone, Debug, Error)]
pub enum ClientError {
    /// The text that names the node is not an address.
    #[error("{}{reason}", .option.map(|option| format!("{option}: ")).unwrap_or_default())]
    Address {
        /// Option that has this text.
        option: Option<&'static str>,
        /// What is wrong with the text, and the right form.
        reason: String,
    },
    /// No process listens at the address.
    #[error("no node answers at {url}: is a node running there? Start one with `cairn testnet`{}", or_choose(*.option))]
    Refused {
        /// Address of the node.
        url: String,
        /// Option that names the node.
        option: Option<&'static str>,
    },
    /// The request failed otherwise, or the answer is not one of JSON-RPC.
    #[error(
        "{url} does not respond like a node ({reason}): is it the RPC address of a Cairn node? Look at its log{}",
        or_choose(*.option)
    )]
    NoAnswer {
        /// Address of the node.
        url: String,
        /// Option that names the node.
        option: Option<&'static str>,
        /// What happened instead of an answer.
        reason: String,
    },
    /// The node answered the call with an error.
    #[error("{url} refuses the call of `{method}`: {said}")]
    Node {
        /// Address of the node.
        url: String,
        /// Method that was called.
        method: String,
        /// The error in the node's words, of a bounded length.
        said: String,
    },
    /// The answer lacks a field that every answer to this query has.
    #[error("{url}: {error}")]
    Field {
        /// Address of the node.
        url: String,
        /// The field that is missing.
        error: FieldError,
    },
}

/// Returns the end of a sentence about another node.
fn or_choose(option: Option<&'static str>) -> String {
    option.map(|option| format!(", or choose another with {option}")).unwrap_or_default()
}
