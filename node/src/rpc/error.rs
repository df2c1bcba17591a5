//! Errors as clients see them: a JSON-RPC code, and one sentence that names the value and the way out.

use std::fmt;

use serde_json::{Value, json};
use storage::StoreError;

/// A call that has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// JSON-RPC's code.
    pub kind: Kind,
    /// One sentence: the value, and the way out. Internal errors begin with "internal error", what is not there says "not found",
    /// what this node's disk does not give back says "not available".
    pub data: String,
    /// What the disk did, for the log: none of the client's business.
    pub unreadable: Option<String>,
}

/// JSON-RPC's codes. All that a method itself refuses is `Internal`, as CometBFT's clients expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not JSON.
    Parse = -32700,
    /// JSON, but not a call.
    InvalidRequest = -32600,
    /// No such method, or not over this transport.
    MethodNotFound = -32601,
    /// An argument that cannot be read.
    InvalidParams = -32602,
    /// The method refuses or failed.
    Internal = -32603,
    /// The server itself: too much to do, or the client is too slow.
    Server = -32000,
}

impl Kind {
    /// CometBFT's text for the code.
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
            Self { kind: Kind::$kind, data: data.to_string(), unreadable: None }
        }
    )*};
}

impl Error {
    constructors! {
        /// Not JSON.
        parse Parse;
        /// JSON, but not a call.
        invalid_request InvalidRequest;
        /// No such method, or not over this transport.
        method_not_found MethodNotFound;
        /// An argument that cannot be read.
        invalid_params InvalidParams;
        /// The method refuses.
        refused Internal;
        /// Too much to do, or too slow a client.
        server Server;
    }

    /// We are wrong, or the disk is.
    pub fn internal(reason: impl fmt::Display) -> Self {
        Self::refused(format_args!("internal error: {reason}"))
    }

    /// As JSON-RPC has it.
    pub fn to_json(&self) -> Value {
        json!({ "code": self.kind as i32, "message": self.kind.message(), "data": self.data })
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Pruned { got, earliest } => Self::refused(format_args!(
                "height {got} is not available: it was pruned, the earliest kept height is {earliest}: ask for that or a later \
                 one, or ask a node that keeps more"
            )),
            // Light clients read the two numbers out of this very sentence.
            StoreError::Future { got, tip } => Self::refused(format_args!(
                "height {got} must be less than or equal to the current blockchain height {tip}: wait for it, or leave the \
                 height out for the latest"
            )),
            StoreError::NoGenesis { .. } => {
                Self::refused("no block yet: the chain stands before its first height, ask again")
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
    fn errors_say_what_to_do() {
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
