//! Reasons why a rewind is refused or stops, with stable names.

use std::path::Path;

use node::exit::{Code as ExitCode, Failure};
use replica::RewindError as Error;
use storage::StoreError;

/// A reason with a stable name, for `cairn explain`.
pub struct Code {
    /// Stable name; each error message of the command begins with one.
    pub name: &'static str,
    /// Condition under which it occurs.
    pub when: &'static str,
    /// What the operator can do about it.
    pub way_out: &'static str,
}

/// All reasons, for `cairn explain`.
pub const CODES: &[Code] = &[
    Code {
        name: "R_LOCKED",
        when: "a process works in this home",
        way_out: "stop the node first; a rewind never works on a running node",
    },
    Code {
        name: "R_EMPTY",
        when: "this home has no chain yet",
        way_out: "`cairn start` fetches the chain from its peers, `cairn restore` installs a copy of a store",
    },
    Code {
        name: "R_FUTURE",
        when: "the height is not below the tip of this node",
        way_out: "give a height below the one that the message names",
    },
    Code {
        name: "R_BELOW_BASE",
        when: "the height is below the earliest block that this node keeps, or with which its store began",
        way_out: "give a height from the one that the message names, or `cairn restore` an older copy",
    },
    Code {
        name: "R_WINDOW",
        when: "a block above the height reverts namespaces to a height that this node no longer keeps",
        way_out: "give a height at or above the block that the message names, or `cairn restore` an older copy",
    },
    Code {
        name: "R_UPGRADE",
        when: "the blocks above the height were executed by another program, before or after an upgrade of the chain",
        way_out: "rewind with --drop-blocks, and start the program that the chain had at that height; or give a height from that of the upgrade on",
    },
    Code {
        name: "R_NO_STATE",
        when: "the state of the height is not the one that the next block commits to: rows of the store are damaged",
        way_out: "try a lower height, or `cairn restore` a copy of another node's store",
    },
    Code {
        name: "R_UNFINISHED",
        when: "an earlier rewind was interrupted, and this one would not finish it",
        way_out: "run one of the commands that the message names",
    },
    Code {
        name: "R_BAD_BLOCK",
        when: "a block above the height is damaged, or is not valid on the state before it, so it cannot be executed again",
        way_out: "rewind with --drop-blocks, so that the node fetches the blocks from its peers",
    },
    Code {
        name: "R_DIFFERS",
        when: "this program gives a block another result than the chain agreed on",
        way_out: "install the version that the other validators run, then run the same command again; it continues there",
    },
    Code {
        name: "R_DISK",
        when: "the store could not be read or written, or is damaged",
        way_out: "check the disk and its free space, then run the same command again; or `cairn restore` a copy",
    },
];

/// Returns the failure of a rewind as a sentence that begins with its code. `tip` is the height of the store now.
pub fn failure(error: &Error, store: &Path, tip: Option<types::Height>) -> Failure {
    let at = store.display();
    let tip = tip.map_or_else(|| "?".to_owned(), |tip| tip.to_string());
    let (exit, name, rest) = match error {
        Error::Future { .. } => (
            ExitCode::Refused,
            "R_FUTURE",
            format!("{error}. Give a lower height; a node that is behind catches up by itself when it runs"),
        ),
        Error::BelowBase { base, .. } => (
            ExitCode::Refused,
            "R_BELOW_BASE",
            format!("{error}. Give {base} or a higher height, or `cairn restore` an older copy"),
        ),
        Error::Window { height, .. } => (
            ExitCode::Refused,
            "R_WINDOW",
            format!(
                "{error}. Nothing was changed. Give a height from {height} on, or `cairn restore` an older copy of a store"
            ),
        ),
        Error::CrossesUpgrade { .. } | Error::Upgrade(_) => (
            ExitCode::Refused,
            "R_UPGRADE",
            format!(
                "{error}. Rewind with --drop-blocks, then start the program that the chain had at that height; or give a height \
                 from that of the upgrade on"
            ),
        ),
        Error::NotAgreed { height, .. } => (
            ExitCode::Disk,
            "R_NO_STATE",
            format!(
                "{at}: {error}. Nothing was changed. Try a height below {height}, or `cairn restore` a copy of another node's store; \
                 keep priv_validator_state.json"
            ),
        ),
        Error::Unfinished { to, tip, .. } => (
            ExitCode::Refused,
            "R_UNFINISHED",
            format!(
                "{error}. Run `cairn rewind --to {to}` to continue, or `cairn rewind --to {tip} --drop-blocks` to delete them"
            ),
        ),
        Error::Block { .. } => (
            ExitCode::Disk,
            "R_BAD_BLOCK",
            format!(
                "{at}: {error}. The store is at height {tip}. `cairn rewind --to {tip} --drop-blocks` deletes the blocks above, and the \
                 node then fetches them from its peers"
            ),
        ),
        Error::Differs(_) => (
            ExitCode::Invariant,
            "R_DIFFERS",
            format!(
                "{error}. The store is at height {tip}, and nothing of the blocks above was lost. Compare the version of this program with \
                 the other validators', then run the same command again; or `cairn rewind --to {tip} --drop-blocks`"
            ),
        ),
        Error::Store(StoreError::Io { .. } | StoreError::Damaged { .. }) => {
            let sentence = format!(
                "{error}. If free space or the disk was the cause, run the same `cairn rewind` again: it continues"
            );
            (ExitCode::Disk, "R_DISK", sentence)
        }
        Error::Store(_) => {
            return Failure::new(ExitCode::Refused, error);
        }
    };
    Failure::new(exit, format!("{name}: {rest}"))
}
