//! The reasons why a connection is denied before the handshake.

/// Number of reasons to deny a connection.
pub(crate) const DENIALS: usize = 6;

/// The reason why a connection was denied before the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("too many connections")]
    TooMany,
    #[error("too many connections from one address")]
    TooManyFromIp,
    #[error("too many connections from one address in a short time")]
    TooOftenFromIp,
    #[error("the key is not Ed25519")]
    WrongKey,
    #[error("banned")]
    Banned,
    #[error("not dialled by us")]
    NotDialled,
}

impl Denied {
    /// Names of the reasons in labels of metrics, in the order of the enum.
    pub(crate) const NAMES: [&str; DENIALS] =
        ["too_many", "too_many_from_address", "too_often_from_address", "wrong_key", "banned", "not_dialled"];
}
