//! Reasons for the refusal of a transaction or a query: one table of stable codes.
//!
//! Numbers and names never change their meaning. A message contains the values and a remedy. Numbers from 64 to 99 are
//! reserved for refusals before the application receives a transaction, for example when the mempool is full. Numbers
//! from 100 up are those of namespaces, from 120 up those of proposals to the validators and of reverts, from 140 up those of
//! stake, and from 170 up those of other decisions of the validators.

use std::fmt;

use thiserror::Error;
use types::{
    Deadline, DecodeError, Height, NsName, NsNameError, SignatureError, Time, TxError,
    limits::{KV_KEY_BYTES_MAX, KV_OLD_BYTES_MAX, KV_OPS_MAX, KV_VALUE_BYTES_MAX},
};

/// Namespace of the codes in results.
pub const CODESPACE: &str = "cairn";

/// One line of the table of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Number in results; 0 means success and is not in the table.
    pub number: u32,
    /// Stable name of the code.
    pub name: &'static str,
    /// Condition under which the code is returned.
    pub when: &'static str,
    /// What the sender can do about it.
    pub way_out: &'static str,
}

macro_rules! codes {
    ($($($variant:ident)|+ = $number:literal $name:literal, $when:literal, $way_out:literal;)*) => {
        /// All codes in ascending order.
        pub const CODES: &[Code] =
            &[$(Code { number: $number, name: $name, when: $when, way_out: $way_out },)*];

        impl Refusal {
            /// Returns the line of the table of codes for this refusal.
            pub fn code(&self) -> &'static Code {
                let number = match self { $($(Self::$variant { .. })|+ => $number,)* };
                CODES.iter().find(|code| code.number == number).expect("the match and the table have the same codes")
            }
        }
    };
}

codes! {
    Decode = 1 "E_DECODE", "the bytes are not a transaction", "encode it as types/proto/cairn.proto says";
    TooLarge | RevertTooLarge = 2 "E_TOO_LARGE", "the transaction has more bytes than allowed, or more keys or bytes changed in the scope of a revert since its target", "split it; revert fewer namespaces, or to a later height";
    WrongChain = 3 "E_WRONG_CHAIN", "it was signed for another chain", "sign it for the chain that the node names in its status";
    BadSignature = 4 "E_BAD_SIGNATURE", "the signature is not a valid signature of this body by the signer", "sign the exact body bytes with the signer's key";
    Nonce = 5 "E_NONCE", "the nonce is not the signer's next", "query the account and use its nonce";
    Expired = 6 "E_EXPIRED", "the time of the block is not before it expires", "sign it again with a later expiry";
    ExpiresTooFar = 7 "E_EXPIRES_TOO_FAR", "it expires later than the chain allows", "sign it again with an earlier expiry";
    Duplicate = 8 "E_DUPLICATE", "a transaction with the same body was already executed", "do not send it again; look up its result";
    ExpiryFull = 9 "E_EXPIRY_FULL", "too many unordered transactions expire in that second", "choose another expiry, or use a nonce";
    Fee = 10 "E_FEE", "the fee is below the chain's least fee", "offer the least fee or more";
    InsufficientFunds = 11 "E_INSUFFICIENT_FUNDS", "the account has less than the transaction spends", "fund the account or spend less";
    BadRecipient = 12 "E_BAD_RECIPIENT", "the recipient's address belongs to no key", "check the address";
    ZeroAmount = 13 "E_ZERO_AMOUNT", "an amount is 0", "use 1 or more";
    TooManyMessages = 14 "E_TOO_MANY_MESSAGES", "it has more messages than a transaction or a block may have", "split it";
    UnknownPath = 32 "E_UNKNOWN_PATH", "there is no such query", "use one of the paths listed";
    BadQuery = 33 "E_BAD_QUERY", "the query's data is not what the path expects", "see the path's line in the list";
    NsExists = 100 "E_NS_EXISTS", "there is a namespace of that name already", "choose another name";
    BadName = 101 "E_BAD_NAME", "the name of a namespace has a length or a character that is not allowed", "use 1 to 64 lower-case letters, digits, '-', '_' and '/', and no empty segment";
    NsUnknown = 102 "E_NS_UNKNOWN", "there is no namespace of that name", "list the namespaces, or create it";
    NotWriter = 103 "E_NOT_WRITER", "the signer may not write to the namespace", "sign with the key of its owner";
    StaleEpoch = 104 "E_STALE_EPOCH", "the write names another data epoch than that of the namespace, whose data was reverted since", "read the data again, and write with the current epoch";
    Cas = 105 "E_CAS", "the key is not as the condition of the operation requires", "read the key again, and decide anew";
    HeightPruned = 106 "E_HEIGHT_PRUNED", "the height of a condition or a query, or the target of a revert, is below those that are kept", "use a later height";
    Quota = 107 "E_QUOTA", "the namespace would have more keys or bytes than its quota", "delete keys, or use another namespace";
    KeySize = 108 "E_KEY_SIZE", "a key is empty or too long", "use a key of 1 to 256 bytes";
    ValueSize = 109 "E_VALUE_SIZE", "a value is empty or too long", "use a value of 1 to 65536 bytes; delete a key instead of emptying it";
    Deposit = 110 "E_DEPOSIT", "the signer cannot pay the price of a namespace, or the deposit of a proposal", "fund the account";
    TooManyOps = 111 "E_TOO_MANY_OPS", "a write has more than 64 operations", "split it into several writes";
    OldValues = 112 "E_OLD_VALUES", "the writes of its block replace too many bytes of old values", "send it again: a later block has room";
    NsFrozen = 113 "E_NS_FROZEN", "the namespace takes no writes, because validators froze it or this block reverted it", "read it and write again after the time that the message names";
    UnknownProposal | UnknownUnbonding = 120 "E_UNKNOWN", "there is no proposal of that number, or no unbonding of the signer", "list the proposals, or the unbondings";
    Closed = 121 "E_CLOSED", "the proposal is closed, or is scheduled and cannot be cancelled any more", "make a new proposal";
    NotValidator = 122 "E_NOT_VALIDATOR", "the signer is not the operator of a validator", "sign with the key of the validator's operator";
    NotProposer = 123 "E_NOT_PROPOSER", "the signer did not make the proposal", "sign with the key of its proposer";
    FreezeCooldown = 124 "E_FREEZE_COOLDOWN", "a namespace of the proposal is frozen, or was until recently", "freeze it after the time that the message names";
    TooManyOpen = 125 "E_TOO_MANY_OPEN", "as many proposals are open, or were tried in this block, as may be", "send it again when one of them is closed";
    Cooldown = 126 "E_COOLDOWN", "a namespace of the proposal was reverted recently", "propose it after the time that the message names";
    Notice = 127 "E_NOTICE", "the notice of a proposal is shorter than that of the chain, or longer than 30 days", "use a notice within these bounds, or none";
    OneFreeze = 128 "E_ONE_FREEZE", "the validator freezes the namespaces of another proposal, and may freeze those of one at a time", "freeze it when that freeze is over, or let other validators freeze it";
    HeightFuture = 130 "E_HEIGHT_FUTURE", "the target of a revert is not a height of the past, or the height of a query is above the latest", "use an earlier height";
    CrossesBarrier = 131 "E_CROSSES_BARRIER", "the rules of the chain changed after the target of a revert", "use the height that the message names, or a later one";
    NsNewer = 132 "E_NS_NEWER", "a namespace was created at or after the target of a revert", "use a height after its creation";
    RootMismatch = 133 "E_ROOT_MISMATCH", "a namespace had another root at the target than the proposal expects", "preview the revert, and look for the height with the content that you mean";
    NoOp = 134 "E_NOOP", "all namespaces have the content that they had at the target of the revert", "preview the revert with another target";
    Dirty = 135 "E_DIRTY", "a namespace changed after the height that the proposal names in dirty_after", "preview the revert again, and decide anew";
    PowerLost = 136 "E_POWER_LOST", "more than 2/3 of the power voted yes when the proposal was scheduled, but not when it was to be executed", "make a new proposal";
    ValidatorExists = 140 "E_VALIDATOR_EXISTS", "the signer operates a validator already", "change it, or sign with another account";
    KeyInUse = 141 "E_KEY_IN_USE", "a validator has this consensus key, or had it until recently", "create another consensus key";
    BadPossession = 142 "E_BAD_POSSESSION", "the consensus key did not sign for this chain and operator", "sign with the consensus key of the new validator, as docs/staking.md says";
    BadCommission = 143 "E_COMMISSION", "the commission is out of bounds, or changes too soon", "use one within the bounds that the message names, after the time that it names";
    TooLittle = 144 "E_TOO_LITTLE", "the operator's own stake, or its minimum, is too low", "use the amount that the message names or more, or delegate to the own validator first";
    BadDescription = 145 "E_DESCRIPTION", "a text about a validator has a length or a character that is not allowed", "use printable text within the bounds that the message names";
    UnknownValidator = 146 "E_UNKNOWN_VALIDATOR", "no validator has that operator", "list the validators";
    NoValue = 147 "E_NO_VALUE", "the shares of the validator are worth nothing, so no more can be bought", "choose another validator";
    NoDelegation = 148 "E_NO_DELEGATION", "the signer has less stake there than the amount", "use at most what the message names";
    TooManyDepartures = 149 "E_TOO_MANY", "as much of the signer's stake leaves or has arrived in parts as may at once", "wait until a part has matured";
    Matured = 150 "E_MATURED", "the unbonding has matured, or was cancelled as a whole", "delegate the amount again";
    Transitive = 151 "E_TRANSITIVE", "the stake arrived by a redelegation that has not matured", "move it on after the time that the message names";
    SameValidator = 152 "E_SAME", "a redelegation goes back to its validator", "name another validator";
    NotJailed = 153 "E_NOT_JAILED", "the validator is not in jail", "nothing is to be done";
    Jailed = 154 "E_JAILED", "the validator stays in jail longer", "send it again after the time that the message names";
    Tombstoned = 155 "E_TOMBSTONED", "the validator signed twice and stays in jail for ever", "create another validator, with another account and key, or delegate to another one";
    TooMuchPower = 156 "E_TOO_MUCH_POWER", "all stake together would have more power than a validator set may have", "delegate less";
    NothingDue = 160 "E_NOTHING", "the signer's stake or validator has earned less than 1 since the last payment", "wait for more income";
    BadParams = 170 "E_BAD_PARAMS", "a parameter is unknown, cannot be changed, or the set of all would be out of range", "use the names of consensus_params in genesis, and values within the range that the message names";
    UpgradePlanned = 171 "E_UPGRADE_PLANNED", "an upgrade is planned already", "wait for its height, or cancel it by a proposal";
    UpgradeHeight = 172 "E_UPGRADE_HEIGHT", "the height of an upgrade is too near", "use the height that the message names, or a later one";
    NoUpgrade = 173 "E_NO_UPGRADE", "no upgrade is planned", "nothing is to be done";
    Pool = 174 "E_POOL", "the community pool has less than a proposal would pay", "propose a smaller amount, or wait until the pool has it";
    NotRevert = 175 "E_NOT_REVERT", "a freeze is demanded for a proposal that is no revert", "vote against the proposal";
    UpgradeDone = 176 "E_UPGRADE_DONE", "the chain has the upgrade of this name", "use the name of another upgrade";
    Rotated = 180 "E_ROTATED", "the validator replaced its consensus key less than an unbonding time ago", "replace it after the time that the message names";
}

/// The reason why a transaction or a query is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "each variant is a line of the table above, its fields are in its message")]
pub enum Refusal {
    #[error("E_DECODE: {reason}")]
    Decode { reason: String },
    #[error("E_TOO_LARGE: {got} bytes, at most {max} are allowed: split it")]
    TooLarge { got: usize, max: usize },
    #[error(
        "E_TOO_LARGE: more than {keys_max} keys or {bytes_max} bytes changed in the namespaces since height {target}: revert fewer namespaces, or to a later height"
    )]
    RevertTooLarge { target: Height, keys_max: u64, bytes_max: u64 },
    #[error("E_WRONG_CHAIN: signed for {got}, this chain is {expected}: sign it for {expected}")]
    WrongChain { got: String, expected: String },
    #[error("E_BAD_SIGNATURE: the signature is not a valid signature of this body by the signer")]
    BadSignature,
    #[error("E_NONCE: nonce is {got}, expected {expected}: {}", nonce_way_out(*.got, *.expected))]
    Nonce { got: u64, expected: u64 },
    #[error("E_EXPIRED: expired at {expires}, the block's time is {time}: sign it again with a later expiry")]
    Expired { expires: Deadline, time: Time },
    #[error(
        "E_EXPIRES_TOO_FAR: expires at {expires}, at most {max} is allowed now: sign it again with an earlier expiry"
    )]
    ExpiresTooFar { expires: Deadline, max: Deadline },
    #[error("E_DUPLICATE: executed already at height {height}")]
    Duplicate { height: Height },
    #[error(
        "E_EXPIRY_FULL: {max} transactions expire in the second of {expires} already, which is the limit: choose another expiry, or use a nonce"
    )]
    ExpiryFull { expires: Deadline, max: u32 },
    #[error("E_FEE: the fee is {got}, at least {min} is needed")]
    Fee { got: u64, min: u64 },
    #[error("E_INSUFFICIENT_FUNDS: the account has {have} to spend, {need} is needed")]
    InsufficientFunds { have: u64, need: u128 },
    #[error("E_BAD_RECIPIENT: address {address} can belong to no key: check it")]
    BadRecipient { address: types::Address },
    #[error("E_ZERO_AMOUNT: the amount is 0: use 1 or more")]
    ZeroAmount,
    #[error("E_TOO_MANY_MESSAGES: {got} messages, at most {max} are allowed: split it")]
    TooManyMessages { got: usize, max: u64 },
    #[error("E_UNKNOWN_PATH: there is no query {path:?}: use one of {paths}")]
    UnknownPath { path: String, paths: String },
    #[error("E_BAD_QUERY: {path}: {reason}")]
    BadQuery { path: &'static str, reason: String },
    #[error("E_NS_EXISTS: there is a namespace {ns} already: choose another name")]
    NsExists { ns: NsName },
    #[error("E_BAD_NAME: {reason}")]
    BadName { reason: NsNameError },
    #[error("E_NS_UNKNOWN: there is no namespace {ns}: `cairn ns list` lists them, `cairn ns create` creates one")]
    NsUnknown { ns: NsName },
    #[error("E_NOT_WRITER: only {owner} writes to {ns}: sign with the key of that account")]
    NotWriter { ns: NsName, owner: types::Address },
    #[error(
        "E_STALE_EPOCH: the write names data epoch {got} of {ns}, which is {current} now: read again, then write with {current}"
    )]
    StaleEpoch { ns: NsName, got: u64, current: u64 },
    #[error("E_CAS: key {key} {found}, the operation requires {}: read it again, and decide anew", required(*.if_height))]
    Cas { key: String, if_height: Height, found: Found },
    #[error(
        "E_HEIGHT_PRUNED: height {got} is older than those that every node keeps, {earliest} is the earliest: use a later one"
    )]
    HeightPruned { got: Height, earliest: Height },
    #[error("E_QUOTA: {ns} would have {} of {} keys and {} of {} bytes: delete keys, or use another namespace",
        .usage.keys, .usage.quota_keys, .usage.bytes, .usage.quota_bytes)]
    Quota { ns: NsName, usage: Usage },
    #[error("E_KEY_SIZE: a key of {got} bytes, 1 to {KV_KEY_BYTES_MAX} are allowed")]
    KeySize { got: usize },
    #[error("E_VALUE_SIZE: key {key} has a value of {got} bytes: use 1 to {KV_VALUE_BYTES_MAX}, or delete the key")]
    ValueSize { key: String, got: usize },
    #[error("E_DEPOSIT: {need} is needed for deposits, the account has {have} left for them: fund the account")]
    Deposit { have: u128, need: u128 },
    #[error("E_TOO_MANY_OPS: a write of {got} operations, at most {KV_OPS_MAX} are allowed: split it")]
    TooManyOps { got: usize },
    #[error(
        "E_OLD_VALUES: the block replaces {KV_OLD_BYTES_MAX} bytes of old values already, which is the limit: send it again, a later block has room"
    )]
    OldValues,
    #[error("E_NS_FROZEN: {ns} takes no writes until {until}: read it and write again after that time")]
    NsFrozen { ns: NsName, until: Deadline },
    #[error("E_UNKNOWN: there is no proposal {id}: `cairn proposal list` lists them")]
    UnknownProposal { id: u64 },
    #[error("E_UNKNOWN: the signer has no unbonding {id} at this validator: `cairn query unbonding` lists them")]
    UnknownUnbonding { id: u64 },
    #[error("E_CLOSED: proposal {id} is {state}: make a new one")]
    Closed { id: u64, state: String },
    #[error("E_NOT_VALIDATOR: {signer} is not the operator of a validator: sign with the key of one")]
    NotValidator { signer: types::Address },
    #[error("E_NOT_PROPOSER: {proposer} made proposal {id}: sign with the key of that account")]
    NotProposer { id: u64, proposer: types::Address },
    #[error("E_FREEZE_COOLDOWN: {ns} is frozen or was until recently: freeze it after {until}")]
    FreezeCooldown { ns: NsName, until: Deadline },
    #[error(
        "E_TOO_MANY_OPEN: {max} proposals are open, or were tried in this block, which is the limit: send it again when one is closed"
    )]
    TooManyOpen { max: u64 },
    #[error("E_COOLDOWN: {ns} was reverted recently: propose it after {until}")]
    Cooldown { ns: NsName, until: Deadline },
    #[error("E_NOTICE: the notice is {got} ms, {min} to {max} are allowed: use one of these, or none for {min}")]
    Notice { got: u128, min: u128, max: u128 },
    #[error(
        "E_ONE_FREEZE: this validator freezes the namespaces of proposal {by} until {until}: freeze others after that time"
    )]
    OneFreeze { by: u64, until: Deadline },
    #[error("E_HEIGHT_FUTURE: height {got} is not one of the past, {latest} is the latest: use an earlier one")]
    HeightFuture { got: Height, latest: Height },
    #[error("E_CROSSES_BARRIER: {kind} at height {height}: no revert goes back before it, use {height} or a later one")]
    CrossesBarrier { height: Height, kind: String },
    #[error("E_NS_NEWER: {ns} was created at height {created}: use a later height, or leave it out")]
    NsNewer { ns: NsName, created: Height },
    #[error("E_ROOT_MISMATCH: {ns} had the root {actual} at the target, not {expected}: preview the revert")]
    RootMismatch { ns: NsName, expected: types::Hash, actual: types::Hash },
    #[error("E_NOOP: all namespaces have the content of height {target}: preview the revert with another target")]
    NoOp { target: Height },
    #[error(
        "E_DIRTY: {ns} changed at height {changed}, after {dirty_after}: preview the revert again, and decide anew"
    )]
    Dirty { ns: NsName, changed: Height, dirty_after: Height },
    #[error("E_POWER_LOST: {yes} of {total} vote yes, more than 2/3 are needed: make a new proposal")]
    PowerLost { yes: types::Power, total: types::Power },
    #[error("E_VALIDATOR_EXISTS: {operator} operates a validator already: change it with `cairn stake edit`")]
    ValidatorExists { operator: types::Address },
    #[error(
        "E_KEY_IN_USE: the consensus key {consensus} is, or was until recently, that of the validator of {operator}: create another key"
    )]
    KeyInUse { consensus: types::Address, operator: types::Address },
    #[error("E_BAD_POSSESSION: the consensus key {consensus} did not sign for operator {operator} on this chain")]
    BadPossession { consensus: types::Address, operator: types::Address },
    #[error("E_COMMISSION: {}", commission_bounds(*.got, *.min, *.max, *.next_change))]
    BadCommission { got: u64, min: u64, max: u64, next_change: Option<Deadline> },
    #[error(
        "E_TOO_LITTLE: {got} is less than {min}, the minimum of the own stake: use {min} or more, or delegate to the own validator first"
    )]
    TooLittle { got: u64, min: u64 },
    #[error("E_DESCRIPTION: {part} has {got} bytes, {min} to {max} of printable text are allowed")]
    BadDescription { part: &'static str, got: usize, min: usize, max: usize },
    #[error("E_UNKNOWN_VALIDATOR: {validator} operates no validator: `cairn query validators --all` lists them")]
    UnknownValidator { validator: types::Address },
    #[error("E_NO_VALUE: the shares of {validator} are worth nothing: choose another validator")]
    NoValue { validator: types::Address },
    #[error("E_NO_DELEGATION: the signer has {have} at {validator}: use at most that")]
    NoDelegation { validator: types::Address, have: u64 },
    #[error("E_TOO_MANY: {max} unbondings or redelegations wait at {validator}, which is the limit: wait for one")]
    TooManyDepartures { validator: types::Address, max: usize },
    #[error("E_MATURED: unbonding {id} has matured or was cancelled: delegate the amount again")]
    Matured { id: u64 },
    #[error("E_TRANSITIVE: stake that arrived at {validator} by redelegation stays until {until}: move it on later")]
    Transitive { validator: types::Address, until: Deadline },
    #[error("E_SAME: the stake is at {validator} already: name another validator")]
    SameValidator { validator: types::Address },
    #[error("E_NOT_JAILED: the validator of {operator} is not in jail")]
    NotJailed { operator: types::Address },
    #[error("E_JAILED: the validator stays in jail until {until}: send it again after that time")]
    Jailed { until: Deadline },
    #[error("E_TOMBSTONED: the validator of {operator} signed twice and stays in jail for ever: use another validator")]
    Tombstoned { operator: types::Address },
    #[error(
        "E_ROTATED: evidence against the last key, {old}, can come until {next_at}: replace the key after that time"
    )]
    Rotated { old: types::Address, next_at: Deadline },
    #[error("E_TOO_MUCH_POWER: all stake together may be {max} at most: delegate less")]
    TooMuchPower { max: u64 },
    #[error("E_NOTHING: validator {validator} owes the signer less than 1: wait for more income")]
    NothingDue { validator: types::Address },
    #[error("E_BAD_PARAMS: {reason}")]
    BadParams { reason: String },
    #[error(
        "E_UPGRADE_PLANNED: the upgrade {name} is planned for height {height}: propose to cancel it, or wait for it"
    )]
    UpgradePlanned { name: String, height: Height },
    #[error("E_UPGRADE_HEIGHT: height {got} is too near: use {min} or a later one")]
    UpgradeHeight { got: Height, min: Height },
    #[error("E_NO_UPGRADE: no upgrade is planned: `cairn query upgrade` shows it")]
    NoUpgrade,
    #[error("E_POOL: the community pool has {have}, {need} would be paid: propose a smaller amount")]
    Pool { have: u64, need: u64 },
    #[error("E_NOT_REVERT: proposal {id} is of the kind {kind}, which has no namespaces to freeze: vote against it")]
    NotRevert { id: u64, kind: &'static str },
    #[error("E_UPGRADE_DONE: the chain has the upgrade {name} since height {height}: use the name of another one")]
    UpgradeDone { name: String, height: Height },
}

/// What a write would make of the size of a namespace, and its quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Number of keys after the write.
    pub keys: u64,
    /// Maximum number of keys.
    pub quota_keys: u64,
    /// Bytes of all keys and values after the write.
    pub bytes: u64,
    /// Maximum bytes of all keys and values.
    pub quota_bytes: u64,
}

/// The state of a key that contradicts the condition of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The key has no value.
    Absent,
    /// The key has a value.
    Present,
    /// The key changed at this height.
    ChangedAt(Height),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("is absent"),
            Self::Present => f.write_str("exists"),
            Self::ChangedAt(height) => write!(f, "changed at height {height}"),
        }
    }
}

fn required(if_height: Height) -> String {
    match if_height {
        Height::GENESIS => "that it is absent".into(),
        height => format!("no change after height {height}"),
    }
}

/// Returns the bounds of a commission in percent, as flags of commands have it, and in bps, as messages have it.
fn commission_bounds(got: u64, min: u64, max: u64, next_change: Option<Deadline>) -> String {
    let of = |bps: u64| format!("{}.{:02} % ({bps} bps)", bps / 100, bps % 100);
    let from = next_change.map_or_else(String::new, |next| format!(", from {next} on"));
    if next_change.is_none() && (min..=max).contains(&got) {
        return format!("the maximum of the commission, and its rise in a day, may be {} at most", of(max));
    }
    format!("the commission would be {}, {} to {} are allowed{from}", of(got), of(min), of(max))
}

fn nonce_way_out(got: u64, expected: u64) -> String {
    if got < expected {
        "it was used before: query the account for the next nonce".into()
    } else {
        format!("send {expected} first or query the account")
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooLarge { got, max, .. } => Self::TooLarge { got, max },
            DecodeError::TooManyOps { got } => Self::TooManyOps { got },
            other => Self::Decode { reason: other.to_string() },
        }
    }
}

impl From<SignatureError> for Refusal {
    fn from(_: SignatureError) -> Self {
        Self::BadSignature
    }
}

impl From<TxError> for Refusal {
    fn from(error: TxError) -> Self {
        match error {
            TxError::Decode(error) => error.into(),
            TxError::Signature(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_ascending() {
        assert!(CODES.is_sorted_by(|a, b| a.number < b.number));
        assert!(
            CODES
                .iter()
                .all(|code| code.number != 0 && !(64..100).contains(&code.number) && code.name.starts_with("E_"))
        );
    }

    #[test]
    fn messages_begin_with_the_name_and_carry_the_values() {
        let refusals = [
            Refusal::Nonce { got: 7, expected: 5 },
            Refusal::BadSignature,
            Refusal::Fee { got: 0, min: 1 },
            Refusal::InsufficientFunds { have: 1, need: 2 },
            Refusal::UnknownPath { path: "/x".into(), paths: "/account".into() },
        ];
        for refusal in refusals {
            assert!(refusal.to_string().starts_with(&format!("{}: ", refusal.code().name)), "{refusal}");
        }
        assert_eq!(
            Refusal::Nonce { got: 7, expected: 5 }.to_string(),
            "E_NONCE: nonce is 7, expected 5: send 5 first or query the account"
        );
        assert!(Refusal::Nonce { got: 4, expected: 5 }.to_string().contains("used before"));
        let commission = |got, max, next_change| Refusal::BadCommission { got, min: 0, max, next_change }.to_string();
        assert_eq!(
            commission(2105, 2000, Some(Deadline::at(Time::UNIX_EPOCH))),
            "E_COMMISSION: the commission would be 21.05 % (2105 bps), 0.00 % (0 bps) to 20.00 % (2000 bps) are allowed, from \
             1970-01-01T00:00:00Z on"
        );
        assert_eq!(
            commission(500, 600, None),
            "E_COMMISSION: the maximum of the commission, and its rise in a day, may be 6.00 % (600 bps) at most"
        );
    }

    #[test]
    fn golden_table() {
        let lines: Vec<String> = CODES.iter().map(|code| format!("{} {}", code.number, code.name)).collect();
        assert_eq!(
            lines.join(", "),
            "1 E_DECODE, 2 E_TOO_LARGE, 3 E_WRONG_CHAIN, 4 E_BAD_SIGNATURE, 5 E_NONCE, 6 E_EXPIRED, 7 E_EXPIRES_TOO_FAR, \
             8 E_DUPLICATE, 9 E_EXPIRY_FULL, 10 E_FEE, 11 E_INSUFFICIENT_FUNDS, 12 E_BAD_RECIPIENT, 13 E_ZERO_AMOUNT, \
             14 E_TOO_MANY_MESSAGES, 32 E_UNKNOWN_PATH, 33 E_BAD_QUERY, 100 E_NS_EXISTS, 101 E_BAD_NAME, 102 E_NS_UNKNOWN, \
             103 E_NOT_WRITER, 104 E_STALE_EPOCH, 105 E_CAS, 106 E_HEIGHT_PRUNED, 107 E_QUOTA, 108 E_KEY_SIZE, \
             109 E_VALUE_SIZE, 110 E_DEPOSIT, 111 E_TOO_MANY_OPS, 112 E_OLD_VALUES, 113 E_NS_FROZEN, 120 E_UNKNOWN, \
             121 E_CLOSED, 122 E_NOT_VALIDATOR, 123 E_NOT_PROPOSER, 124 E_FREEZE_COOLDOWN, 125 E_TOO_MANY_OPEN, \
             126 E_COOLDOWN, 127 E_NOTICE, 128 E_ONE_FREEZE, 130 E_HEIGHT_FUTURE, 131 E_CROSSES_BARRIER, 132 E_NS_NEWER, \
             133 E_ROOT_MISMATCH, 134 E_NOOP, 135 E_DIRTY, 136 E_POWER_LOST, 140 E_VALIDATOR_EXISTS, 141 E_KEY_IN_USE, \
             142 E_BAD_POSSESSION, 143 E_COMMISSION, 144 E_TOO_LITTLE, 145 E_DESCRIPTION, 146 E_UNKNOWN_VALIDATOR, \
             147 E_NO_VALUE, 148 E_NO_DELEGATION, 149 E_TOO_MANY, 150 E_MATURED, 151 E_TRANSITIVE, 152 E_SAME, \
             153 E_NOT_JAILED, 154 E_JAILED, 155 E_TOMBSTONED, 156 E_TOO_MUCH_POWER, 160 E_NOTHING, 170 E_BAD_PARAMS, \
             171 E_UPGRADE_PLANNED, 172 E_UPGRADE_HEIGHT, 173 E_NO_UPGRADE, 174 E_POOL, 175 E_NOT_REVERT, 176 E_UPGRADE_DONE, 180 E_ROTATED"
        );
    }
}
