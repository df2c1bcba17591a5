//! What a rewind will do or has done, as text and as JSON.

use std::time::Duration;

use app::{area::Area, tree::rows::split_row};
use data_encoding::HEXLOWER;
use replica::{Difference, Effect, KeyDifference, RewindPlan, Rewound};
use serde_json::{Value, json};
use storage::BlocksAbove;
use types::{Height, TxResult};

use crate::cli::{output, show::Facts};

/// The facts of a rewind that are printed.
pub struct Report {
    /// Height that the rewind goes back to.
    pub to: Height,
    /// The tip before the rewind.
    pub from: Height,
    is_resumed: bool,
    blocks: BlocksAbove,
    app_hash: String,
    txs: u64,
    block_bytes: u64,
    changed_keys: Option<u64>,
    /// Time that the checks took.
    pub checked: Duration,
    /// The result and its time; `None` for a dry run.
    pub done: Option<(Rewound, Duration)>,
    /// Description of the validator's signing state, which a rewind never changes.
    pub signing: String,
}

impl Report {
    /// Creates the report of a plan.
    pub fn of(plan: &RewindPlan, checked: Duration, signing: String) -> Self {
        Self {
            to: plan.to,
            from: plan.from.height,
            is_resumed: plan.is_resumed,
            blocks: plan.blocks,
            app_hash: plan.app_hash.to_string(),
            txs: plan.txs,
            block_bytes: plan.block_bytes,
            changed_keys: plan.changed_keys,
            checked,
            done: None,
            signing,
        }
    }

    fn heights(&self) -> u64 {
        self.from.0.saturating_sub(self.to.0)
    }

    /// Prints the report as text, or as JSON.
    pub fn print(&self, is_json: bool) {
        if is_json {
            return output::json(&self.to_json());
        }
        let (to, from) = (self.to, self.from);
        let mut facts = Facts::default();
        let resumed = if self.is_resumed { "; continues an interrupted rewind" } else { "" };
        facts.add("rewind", format_args!("from height {from} to height {to}{resumed}"));
        facts.add("state", format_args!("{} at height {to}, as block {} says", self.app_hash, to.next()));
        facts.add(
            "above it",
            format_args!("{} blocks with {} transactions, {} bytes", self.heights(), self.txs, self.block_bytes),
        );
        let changed =
            self.changed_keys.map_or_else(|| "not counted".to_owned(), |keys| format!("{keys} distinct rows"));
        facts.add("changed", changed);
        match (self.blocks, &self.done) {
            (BlocksAbove::Kept, None) => facts.add("blocks", "kept, and executed again"),
            (BlocksAbove::Dropped, None) => facts.add("blocks", "deleted; the node fetches them from its peers"),
            (BlocksAbove::Dropped, Some(_)) => {
                facts.add("blocks", format_args!("deleted; the node fetches {} and above from its peers", to.next()))
            }
            (BlocksAbove::Kept, Some((done, _))) => {
                let again = format!("{} blocks: every app hash and results hash is as the chain agreed", done.replayed);
                facts.add("executed again", again);
                let repaired = match done.repaired {
                    0 => "nothing: all stored rows were as executed".to_owned(),
                    heights => format!("rows of {heights} heights that were not as executed"),
                };
                facts.add("repaired", repaired)
            }
        };
        let ms = |time: Duration| time.as_millis();
        match &self.done {
            None => facts.add("time", format_args!("{} ms for the checks; nothing was changed", ms(self.checked))),
            Some((_, took)) => facts
                .add("time", format_args!("{} ms for the checks, {} ms for the rewind", ms(self.checked), ms(*took))),
        };
        facts.add("signing state", &self.signing);
        facts.print();
        output::line(match &self.done {
            None => format!("This would change only this machine; the network is still at height {from} or above."),
            Some(_) => format!("This changed only this machine; the network is still at height {from} or above."),
        });
    }

    fn to_json(&self) -> Value {
        json!({
            "to": self.to.to_string(),
            "from": self.from.to_string(),
            "is_dry_run": self.done.is_none(),
            "is_resumed": self.is_resumed,
            "blocks": if self.blocks == BlocksAbove::Kept { "kept" } else { "dropped" },
            "app_hash": self.app_hash,
            "heights": self.heights(),
            "txs": self.txs,
            "block_bytes": self.block_bytes,
            "changed_keys": self.changed_keys,
            "tip": self.done.as_ref().map(|(done, _)| done.tip.height.to_string()),
            "replayed": self.done.as_ref().map(|(done, _)| done.replayed),
            "repaired": self.done.as_ref().map(|(done, _)| done.repaired),
            "check_ms": self.checked.as_millis() as u64,
            "rewind_ms": self.done.as_ref().map(|(_, took)| took.as_millis() as u64),
        })
    }
}

/// Prints the block whose repeated execution differs: height, transaction and keys.
pub fn print_difference(difference: &Difference, is_json: bool) {
    let Difference { height, what, got, expected, tx, keys, keys_total } = difference;
    if is_json {
        let keys = keys.iter().map(|key| {
            json!({
                "row": HEXLOWER.encode(&key.key), "name": name_of(key),
                "stored": effect_json(&key.stored), "got": effect_json(&key.got),
            })
        });
        let tx = tx.as_ref().map(|tx| {
            json!({ "index": tx.index, "stored": tx.stored.as_ref().map(shown), "got": tx.got.as_ref().map(shown) })
        });
        return output::json(&json!({
            "height": height.to_string(),
            "what": what,
            "got": got.to_string(),
            "expected": expected.to_string(),
            "tx": tx,
            "keys": keys.collect::<Vec<_>>(),
            "keys_total": keys_total,
        }));
    }
    let mut facts = Facts::default();
    facts.add("height", height).add("differs", format_args!("{what}: {got}, the chain agreed on {expected}"));
    let result = |result: &Option<TxResult>| result.as_ref().map_or_else(|| "none".to_owned(), shown);
    match tx {
        None => facts.add("transactions", "all have the stored results"),
        Some(tx) => {
            facts.add("transaction", format_args!("{}: {}, was {}", tx.index, result(&tx.got), result(&tx.stored)))
        }
    };
    facts.add("rows", format_args!("{keys_total} differ from the stored ones"));
    facts.print();
    let rows = keys.iter().map(|key| vec![name_of(key), effect_text(&key.got), effect_text(&key.stored)]);
    let head = ["row", "executed again", "stored"].map(str::to_owned).to_vec();
    if !keys.is_empty() {
        output::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), &[]).iter().for_each(output::line);
    }
    if keys_total > &keys.len() {
        output::line(format_args!("and {} more", keys_total - keys.len()));
    }
}

fn shown(result: &TxResult) -> String {
    match result.code {
        0 => format!("code 0, gas {}, {} events", result.gas_used, result.events.len()),
        code => format!("code {code}, {}", result.log),
    }
}

/// Returns the key that a row is about: the raw key of its part of the state, as text if it is text.
fn name_of(difference: &KeyDifference) -> String {
    let values = [&difference.stored, &difference.got];
    let row = values.into_iter().find_map(|effect| match effect {
        Effect::Set(row) => split_row(row),
        _ => None,
    });
    match Area::of_row(&difference.key).zip(row) {
        Some(((Area::NeverReverted, _), (key, _))) => readable(key),
        Some(((Area::Namespace(number), _), (key, _))) => format!("namespace {number}: {}", readable(key)),
        None => format!("row {}", HEXLOWER.encode(&difference.key)),
    }
}

/// Returns bytes as text if they are printable ASCII, otherwise in hexadecimal after the first byte if that is a letter.
fn readable(bytes: &[u8]) -> String {
    match bytes {
        _ if bytes.iter().all(u8::is_ascii_graphic) => String::from_utf8_lossy(bytes).into_owned(),
        [letter @ b'a'..=b'z', rest @ ..] => format!("{}/{}", char::from(*letter), HEXLOWER.encode(rest)),
        _ => HEXLOWER.encode(bytes),
    }
}

/// Maximum bytes of a value that the text shows.
const VALUE_BYTES_MAX: usize = 32;

fn effect_text(effect: &Effect) -> String {
    match effect {
        Effect::Nothing => "not written".to_owned(),
        Effect::Deleted => "deleted".to_owned(),
        Effect::Set(row) => {
            let value = split_row(row).map_or(row.as_slice(), |(_, value)| value);
            let more = if value.len() > VALUE_BYTES_MAX { "…" } else { "" };
            format!("{}{more}", HEXLOWER.encode(&value[..value.len().min(VALUE_BYTES_MAX)]))
        }
    }
}

fn effect_json(effect: &Effect) -> Value {
    match effect {
        Effect::Nothing => json!({ "effect": "nothing" }),
        Effect::Deleted => json!({ "effect": "deleted" }),
        Effect::Set(row) => json!({ "effect": "set", "value": HEXLOWER.encode(row) }),
    }
}
