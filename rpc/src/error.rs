//! Errors as clients see them: a JSON-RPC code, and one sentence that names the value and what to do.

use std::fmt;

use serde_json::{Value, json};
use storage::StoreError;
use types::is_plain;

/// Start of the error of a proof that another call for the same height finishes.
pub const PROOF_UNFINISHED: &str = "E_PROOF_UNFINISHED";

/// The error of a call that has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The JSON-RPC error code.
    pub kind: Kind,
    /// One sentence with the value and what to do. Internal errors begin with "internal error"; data that does not
    /// exist is "not found"; data that this node cannot read from its disk is "not available".
    pub data: String,
    /// The disk error, for the log only: clients do not receive it.
    pub unreadable: Option<String>,
}

/// The error codes of JSON-RPC. A refusal by a method itself is always `Internal`, as CometBFT's clients expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The body is not JSON.
    Parse = -32700,
    /// The body is JSON, but not a call.
    InvalidRequest = -32600,
    /// The method does not exist, or not over this transport.
    MethodNotFound = -32601,
    /// An argument cannot be parsed.
    InvalidParams = -32602,
    /// The method refuses the call or failed.
    Internal = -32603,
    /// The server is overloaded, or the client is too slow.
    Server = -32000,
}

impl Kind {
    /// All codes, in the order in which a call meets them.
    pub const ALL: [Self; 6] =
        [Self::Parse, Self::InvalidRequest, Self::MethodNotFound, Self::InvalidParams, Self::Internal, Self::Server];

    /// Returns the condition under which a call gets the code.
    pub fn when(self) -> &'static str {
        match self {
            Self::Parse => "The body is not JSON.",
            Self::InvalidRequest => "The body is JSON, but not a call; or it is too large or incomplete.",
            Self::MethodNotFound => "There is no such method, it is not offered, or it needs a WebSocket.",
            Self::InvalidParams => "An argument is missing or cannot be parsed.",
            Self::Internal => "The method refuses the call; or it failed, then `data` begins with \"internal error\".",
            Self::Server => "The server is busy, the client is over its budget, or reads its answers too slowly.",
        }
    }

    /// Returns CometBFT's message for the code.
    pub fn message(self) -> &'static str {
        match self {
            Self::Parse => "Parse error. Invalid JSON",
            Self::InvalidRequest => "Invalid Request",
            Self::MethodNotFound => "Method not found",
            Self::InvalidParams => "Invalid params",
            Self::Internal => "Internal error",
            Self::Server => "Server error",
        }
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident $kind:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(data: impl fmt::Display) -> Self {
            Self { kind: Kind::$kind, data: plain(data.to_string()), unreadable: None }
        }
    )*};
}

/// Writes characters that would control a terminal or break a line of a log as their codes: an error can repeat a part of the call.
fn plain(text: String) -> String {
    if text.chars().all(is_plain) {
        return text;
    }
    let shown = |c: char| if is_plain(c) { String::from(c) } else { c.escape_unicode().to_string() };
    text.chars().map(shown).collect()
}

impl Error {
    constructors! {
        /// Creates an error for a body that is not JSON.
        parse Parse;
        /// Creates an error for JSON that is not a call.
        invalid_request InvalidRequest;
        /// Creates an error for an unknown method, or one of another transport.
        method_not_found MethodNotFound;
        /// Creates an error for an argument that cannot be parsed.
        invalid_params InvalidParams;
        /// Creates an error for a call that the method refuses.
        refused Internal;
        /// Creates an error for an overloaded server or a slow client.
        server Server;
    }

    /// Creates an error for a bug of this program or an unexpected failure.
    pub fn internal(reason: impl fmt::Display) -> Self {
        Self::refused(format_args!("internal error: {reason}"))
    }

    /// Returns the error object of JSON-RPC.
    pub fn to_json(&self) -> Value {
        json!({ "code": self.kind as i32, "message": self.kind.message(), "data": self.data })
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Pruned { got, earliest } => Self::refused(format_args!(
                "E_HEIGHT_PRUNED: height {got} is not available: it was pruned, the earliest kept height is {earliest}: ask for that or a later \
                 one, or ask a node that keeps more"
            )),
            // Light clients parse the two numbers out of exactly this sentence.
            StoreError::Future { got, tip } => Self::refused(format_args!(
                "E_HEIGHT_FUTURE: height {got} must be less than or equal to the current blockchain height {tip}: wait for it, or leave the \
                 height out for the latest"
            )),
            StoreError::NoGenesis { .. } => {
                Self::refused("no block yet: the first height is not decided, ask again later")
            }
            other if other.is_of_the_disk() => {
                let data = "not available: this node cannot read it from its disk, as its log says: ask another node";
                Self { unreadable: Some(other.to_string()), ..Self::refused(data) }
            }
            other => Self::internal(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use types::Height;

    use super::*;

    #[test]
    fn errors_are_plain_text() {
        let (end, direction) = ('\u{9c}', '\u{202e}');
        let error = Error::invalid_params(format_args!("parameter page is é\u{1b}[2J\n\u{7f}{end}{direction}"));
        assert!(error.data.chars().all(is_plain), "{error:?}");
        assert!(error.data.starts_with("parameter page is é\\u{1b}[2J\\u{a}\\u{7f}\\u{9c}"), "{error:?}");
    }

    #[test]
    fn errors_contain_the_remedy() {
        let future = Error::from(StoreError::Future { got: Height(9), tip: Height(7) });
        assert!(future.data.contains("height 9 must be less than or equal to the current blockchain height 7"));
        let pruned = Error::from(StoreError::Pruned { got: Height(1), earliest: Height(5) });
        assert!(pruned.data.contains("earliest kept height is 5"));
        let damaged = StoreError::Damaged { place: "data".into(), reason: "a row is unreadable".into() };
        let not_available = Error::from(damaged);
        assert!(not_available.data.starts_with("not available: "), "{not_available:?}");
        assert!(not_available.unreadable.is_some_and(|reason| reason.contains("a row is unreadable")), "for the log");
        assert_eq!(future.to_json()["code"], -32603);
        assert_eq!(future.to_json()["message"], "Internal error");
    }
}
