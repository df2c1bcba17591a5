//! The text form of responses for people: aligned facts, and names for the addresses that the keyring knows.

use std::collections::BTreeMap;

use client::fields;
use data_encoding::{BASE64, HEXUPPER_PERMISSIVE};
use node::exit::Failure;
use serde_json::{Value, json};
use types::{
    Act, Address, Choice, Description, KvOp, Msg, NsOwner, ParamChange, ProposalKind, Propose, Revert, RevertScope,
    StakeMsg, Time, Transaction, TxOrder, Wire, is_plain,
};

use super::{keyring::Keyring, output};

/// A list of labels with values, which is printed in two aligned columns.
#[derive(Default)]
pub struct Facts(Vec<Vec<String>>);

impl Facts {
    /// Adds a line with a label and a value.
    pub fn add(&mut self, label: &str, value: impl ToString) -> &mut Self {
        self.0.push(vec![label.to_owned(), value.to_string()]);
        self
    }

    /// Prints all lines to standard output.
    pub fn print(&self) {
        output::table(&self.0, &[]).iter().for_each(output::line);
    }
}

/// The names of addresses, for display.
pub struct Names(BTreeMap<Address, String>);

impl Names {
    /// Creates the names of all keys of a keyring.
    pub fn of(keyring: &Keyring) -> Self {
        Self(keyring.known().into_iter().map(|(address, name)| (address, name.to_string())).collect())
    }

    /// Returns the address, followed by its name in parentheses if it has one.
    pub fn of_address(&self, address: &Address) -> String {
        match self.0.get(address) {
            Some(name) => format!("{address} ({name})"),
            None => address.to_string(),
        }
    }

    /// Returns the text, followed by a name in parentheses if it is an address with a name.
    pub fn of_text(&self, text: &str) -> String {
        text.parse().map_or_else(|_| text.to_owned(), |address| self.of_address(&address))
    }

    /// Returns the name of an address, or the text if it is no address or has no name.
    pub fn name_of(&self, text: &str) -> String {
        text.parse().map_or_else(|_| text.to_owned(), |address| self.short(&address))
    }

    /// Returns the name of an address, or the address if it has no name.
    fn short(&self, address: &Address) -> String {
        self.0.get(address).cloned().unwrap_or_else(|| address.to_string())
    }

    /// Returns a transaction in one line: its signer and its messages.
    pub fn summary(&self, tx: &Transaction) -> String {
        let messages: Vec<String> = tx.body().messages.iter().map(|message| self.message(message)).collect();
        format!("{}: {}", self.short(&tx.body().signer.address()), messages.join(", "))
    }

    fn message(&self, message: &Msg) -> String {
        match message {
            Msg::Transfer { to, amount } => format!("transfer {amount} to {}", self.short(to)),
            Msg::NsCreate { ns, .. } => format!("create namespace {ns}"),
            Msg::KvWrite { ns, ops, .. } => format!("write {} of {ns}", count(ops.len() as u64, "key")),
            Msg::Propose(propose) => self.propose(&propose.kind),
            Msg::Vote { id, choice: Choice::Yes } => format!("vote yes on proposal {id}"),
            Msg::Vote { id, choice: Choice::No } => format!("vote no on proposal {id}"),
            Msg::Vote { id, choice: Choice::Veto } => format!("vote no with veto on proposal {id}"),
            Msg::Freeze { id } => format!("freeze the namespaces of proposal {id}"),
            Msg::Cancel { id } => format!("cancel proposal {id}"),
            Msg::Stake(stake) => self.stake(stake),
        }
    }

    fn propose(&self, kind: &ProposalKind) -> String {
        match kind {
            ProposalKind::Revert(revert) => {
                format!("propose to revert {} to height {}", names(revert), revert.target)
            }
            ProposalKind::Act(act) => format!("propose to {}", self.act(act)),
        }
    }

    /// Returns what an act does, as the rest of a sentence that begins with "to".
    fn act(&self, act: &Act) -> String {
        match act {
            Act::Params(changes) => {
                let change = |change: &ParamChange| format!("{} to {}", change.name, change.value);
                format!("set {}", changes.iter().map(change).collect::<Vec<_>>().join(", "))
            }
            Act::Upgrade(plan) => format!("upgrade the chain to {} at height {}", plan.name, plan.height),
            Act::UpgradeCancel => "cancel the planned upgrade".to_owned(),
            Act::Spend { to, amount } => format!("pay {amount} of the community pool to {}", self.of_address(to)),
            Act::Text { title, .. } => format!("decide: {title}"),
        }
    }

    fn stake(&self, message: &StakeMsg) -> String {
        match message {
            StakeMsg::Create(create) => {
                format!("create validator {} with a stake of {}", create.description.moniker, create.amount)
            }
            StakeMsg::Edit(_) => "change the signer's validator".to_owned(),
            StakeMsg::Delegate { validator, amount } => format!("delegate {amount} to {}", self.short(validator)),
            StakeMsg::Undelegate { validator, amount: Some(amount) } => {
                format!("undelegate {amount} from {}", self.short(validator))
            }
            StakeMsg::Undelegate { validator, amount: None } => {
                format!("undelegate all from {}", self.short(validator))
            }
            StakeMsg::Cancel { validator, id, amount } => {
                format!("return {amount} of unbonding {id} to {}", self.short(validator))
            }
            StakeMsg::Redelegate { from, to, amount } => {
                format!("redelegate {amount} from {} to {}", self.short(from), self.short(to))
            }
            StakeMsg::Unjail => "end the jail of the signer's validator".to_owned(),
            StakeMsg::WithdrawRewards { validator } => format!("withdraw the rewards of {}", self.short(validator)),
            StakeMsg::WithdrawCommission => "withdraw the commission of the signer's validator".to_owned(),
            StakeMsg::RotateKey(rotate) => {
                format!("give the signer's validator the consensus key {}", rotate.public_key.address())
            }
        }
    }

    /// Returns the lines of a message: what it does, and each operation of a write.
    fn lines(&self, message: &Msg) -> Vec<String> {
        match message {
            Msg::Transfer { to, amount } => vec![format!("transfer {amount} to {}", self.of_address(to))],
            Msg::NsCreate { ns, owner, quota_keys, quota_bytes } => {
                let owner = match owner {
                    NsOwner::Signer => "the signer writes",
                    NsOwner::Shared => "every account writes",
                };
                vec![format!("create namespace {ns}: {owner}, at most {quota_keys} keys and {quota_bytes} bytes")]
            }
            Msg::KvWrite { ns, data_epoch, ops } => {
                let op = |op: &KvOp| {
                    let what = match &op.value {
                        Some(value) => format!("  put {} = {}", text(&op.key), text(value)),
                        None => format!("  del {}", text(&op.key)),
                    };
                    match op.if_height {
                        Some(height) => format!("{what}, if it did not change after height {height}"),
                        None => what,
                    }
                };
                let title = format!("write to {ns}, data epoch {data_epoch}");
                std::iter::once(title).chain(ops.iter().map(op)).collect()
            }
            Msg::Propose(propose) => {
                let mut lines = vec![self.propose(&propose.kind)];
                lines.extend(lines_of(propose));
                lines
            }
            Msg::Vote { .. } | Msg::Freeze { .. } | Msg::Cancel { .. } | Msg::Stake(_) => vec![self.message(message)],
        }
    }

    /// Adds the complete content of a transaction's body to `facts`.
    pub fn transaction(&self, tx: &Transaction, facts: &mut Facts) {
        let body = tx.body();
        facts.add("chain", &body.chain_id).add("signer", self.of_address(&body.signer.address()));
        match body.order {
            TxOrder::Nonce(nonce) => facts.add("nonce", nonce),
            TxOrder::Expires(deadline) => facts.add("unordered", format_args!("expires at {deadline}")),
        };
        facts.add("fee", body.fee);
        for line in body.messages.iter().flat_map(|message| self.lines(message)) {
            facts.add("message", line);
        }
    }

    /// Adds the events of a result to `facts`, one line per event.
    pub fn events(&self, events: &[Value], facts: &mut Facts) {
        for event in events {
            let kind = event.get("type").and_then(Value::as_str).unwrap_or("event");
            let attributes = fields::list(event, "/attributes").unwrap_or(&[]).iter().map(|attribute| {
                let field = |name: &str| attribute.get(name).and_then(Value::as_str).unwrap_or_default();
                format!("{}={}", field("key"), self.of_text(field("value")))
            });
            let attributes: Vec<String> = attributes.collect();
            facts.add("event", format_args!("{kind}: {}", attributes.join(", ")));
        }
    }
}

/// Returns the names of the namespaces that a revert returns.
fn names(revert: &Revert) -> String {
    revert.scope.iter().map(|scope| scope.ns.as_str()).collect::<Vec<_>>().join(", ")
}

/// Returns the further lines of a proposal: its conditions, its text and its reason.
fn lines_of(propose: &Propose) -> Vec<String> {
    let mut lines = Vec::new();
    match &propose.kind {
        ProposalKind::Revert(revert) => {
            for RevertScope { ns, expect_root } in &revert.scope {
                lines.extend(expect_root.map(|root| format!("  if {ns} had the root {root} at that height")));
            }
            lines.extend(revert.dirty_after.map(|height| format!("  if nothing changes after height {height}")));
            lines.extend(revert.notice.map(|notice| format!("  {} ms after the decision", notice.as_millis())));
        }
        ProposalKind::Act(Act::Upgrade(plan)) if !plan.info.is_empty() => lines.push(format!("  from {}", plan.info)),
        ProposalKind::Act(Act::Text { body, .. }) => lines.extend(body.lines().map(|line| format!("  {line}"))),
        ProposalKind::Act(_) => {}
    }
    for (label, text) in [("reason", &propose.reason), ("read more", &propose.uri)] {
        if !text.is_empty() {
            lines.push(format!("  {label}: {text}"));
        }
    }
    lines
}

/// Returns the bytes that a text encodes in hexadecimal digits (with or without `0x`) or in base64.
///
/// Errors: the text is neither of them.
pub fn bytes(text: &str) -> Result<Vec<u8>, Failure> {
    let text = text.trim();
    let hex = text.strip_prefix("0x").unwrap_or(text);
    let decoded = HEXUPPER_PERMISSIVE.decode(hex.as_bytes()).or_else(|_| BASE64.decode(text.as_bytes()));
    decoded.map_err(|_| Failure::refused("this is neither hexadecimal nor base64"))
}

/// Returns the transaction that the bytes encode. Its signature is not checked.
///
/// Errors: the bytes are not the encoding of a transaction.
pub fn decode(bytes: &[u8]) -> Result<Transaction, Failure> {
    Transaction::decode(bytes).map_err(|error| Failure::refused(format!("these bytes are not a transaction: {error}")))
}

/// Returns a transaction as JSON, which includes whether its signature is valid.
pub fn transaction_json(tx: &Transaction) -> Value {
    let body = tx.body();
    let order = match body.order {
        TxOrder::Nonce(nonce) => json!({ "nonce": nonce.to_string() }),
        TxOrder::Expires(deadline) => json!({ "expires_ms": deadline.unix_millis().to_string() }),
    };
    json!({
        "hash": tx.id().to_string(),
        "chain_id": body.chain_id.as_str(),
        "signer": body.signer.address().to_string(),
        "signer_pub_key": BASE64.encode(body.signer.bytes()),
        "order": order,
        "fee": body.fee.to_string(),
        "messages": body.messages.iter().map(message_json).collect::<Vec<_>>(),
        "signature": BASE64.encode(&tx.signature().0),
        "signature_valid": tx.clone().verify().is_ok(),
    })
}

fn message_json(message: &Msg) -> Value {
    match message {
        Msg::Transfer { to, amount } => {
            json!({ "transfer": { "to": to.to_string(), "amount": amount.to_string() } })
        }
        Msg::NsCreate { ns, owner, quota_keys, quota_bytes } => json!({ "ns_create": {
            "ns": ns,
            "owner": match owner {
                NsOwner::Signer => "signer",
                NsOwner::Shared => "shared",
            },
            "quota_keys": quota_keys.to_string(),
            "quota_bytes": quota_bytes.to_string(),
        } }),
        Msg::KvWrite { ns, data_epoch, ops } => {
            let op = |op: &KvOp| {
                let mut value = json!({ "key": BASE64.encode(&op.key) });
                if let Some(height) = op.if_height {
                    value["if_height"] = json!(height.to_string());
                }
                match &op.value {
                    Some(new) => {
                        value["value"] = json!(BASE64.encode(new));
                        json!({ "put": value })
                    }
                    None => json!({ "del": value }),
                }
            };
            let ops: Vec<Value> = ops.iter().map(op).collect();
            json!({ "kv_write": { "ns": ns, "data_epoch": data_epoch.to_string(), "ops": ops } })
        }
        Msg::Propose(propose) => propose_json(propose),
        Msg::Vote { id, choice } => json!({ "vote": { "id": id.to_string(), "vote": choice.name() } }),
        Msg::Freeze { id } => json!({ "freeze": { "id": id.to_string() } }),
        Msg::Cancel { id } => json!({ "cancel": { "id": id.to_string() } }),
        Msg::Stake(stake) => stake_json(stake),
    }
}

/// Returns a message about stake as JSON.
fn stake_json(message: &StakeMsg) -> Value {
    match message {
        StakeMsg::Create(create) => json!({ "validator_create": {
            "consensus_address": create.public_key.address().to_string(),
            "amount": create.amount.to_string(),
            "commission_bps": create.commission.rate_bps,
            "commission_bps_max": create.commission.max_bps,
            "commission_rise_bps_max": create.commission.rise_max_bps,
            "own_min": create.own_min.to_string(),
            "description": description_json(&create.description),
        } }),
        StakeMsg::Edit(edit) => json!({ "validator_edit": {
            "description": edit.description.as_ref().map(description_json),
            "commission_bps": edit.commission_bps,
            "own_min": edit.own_min.map(|min| min.to_string()),
        } }),
        StakeMsg::Delegate { validator, amount } => {
            json!({ "delegate": { "validator": validator.to_string(), "amount": amount.to_string() } })
        }
        StakeMsg::Undelegate { validator, amount } => json!({ "undelegate": {
            "validator": validator.to_string(),
            "amount": amount.map(|amount| amount.to_string()),
        } }),
        StakeMsg::Cancel { validator, id, amount } => json!({ "undelegate_cancel": {
            "validator": validator.to_string(),
            "id": id.to_string(),
            "amount": amount.to_string(),
        } }),
        StakeMsg::Redelegate { from, to, amount } => json!({ "redelegate": {
            "from": from.to_string(),
            "to": to.to_string(),
            "amount": amount.to_string(),
        } }),
        StakeMsg::Unjail => json!({ "unjail": {} }),
        StakeMsg::WithdrawRewards { validator } => {
            json!({ "rewards_withdraw": { "validator": validator.to_string() } })
        }
        StakeMsg::WithdrawCommission => json!({ "commission_withdraw": {} }),
        StakeMsg::RotateKey(rotate) => {
            json!({ "key_rotate": { "consensus_address": rotate.public_key.address().to_string() } })
        }
    }
}

fn description_json(description: &Description) -> Value {
    let Description { moniker, website, details } = description;
    json!({ "moniker": moniker, "website": website, "details": details })
}

fn propose_json(propose: &Propose) -> Value {
    let (name, value) = match &propose.kind {
        ProposalKind::Revert(revert) => ("revert", revert_json(revert)),
        ProposalKind::Act(act) => (act.name(), act_json(act)),
    };
    json!({ "propose": { name: value, "reason": propose.reason, "uri": propose.uri } })
}

fn act_json(act: &Act) -> Value {
    match act {
        Act::Params(changes) => {
            let change = |change: &ParamChange| json!({ "name": change.name, "value": change.value.to_string() });
            json!({ "changes": changes.iter().map(change).collect::<Vec<_>>() })
        }
        Act::Upgrade(plan) => {
            json!({ "name": plan.name, "height": plan.height.to_string(), "info": plan.info })
        }
        Act::UpgradeCancel => json!({}),
        Act::Spend { to, amount } => json!({ "to": to.to_string(), "amount": amount.to_string() }),
        Act::Text { title, body } => json!({ "title": title, "body": body }),
    }
}

fn revert_json(revert: &Revert) -> Value {
    let scope = |scope: &RevertScope| {
        let mut value = json!({ "ns": scope.ns });
        if let Some(root) = scope.expect_root {
            value["expect_root"] = json!(root.to_string());
        }
        value
    };
    let mut value = json!({
        "target_height": revert.target.to_string(),
        "scope": revert.scope.iter().map(scope).collect::<Vec<_>>(),
    });
    if let Some(notice) = revert.notice {
        value["notice_ms"] = json!(notice.as_millis().to_string());
    }
    if let Some(height) = revert.dirty_after {
        value["dirty_after"] = json!(height.to_string());
    }
    value
}

/// Returns bytes for people: as text if they are printable, otherwise `0x` and hexadecimal digits, as commands take
/// them.
pub fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with("0x") && text.chars().all(is_plain) => text.to_owned(),
        _ => format!("0x{}", HEXUPPER_PERMISSIVE.encode(bytes)),
    }
}

/// Returns how long before `now` the time was, in seconds, minutes, hours or days; "never" for the Unix epoch.
pub fn ago(time: Time, now: Time) -> String {
    if time == Time::UNIX_EPOCH {
        return "never".into();
    }
    let seconds = now.since(time).as_secs_f64();
    match seconds {
        0.0..60.0 => format!("{seconds:.1} s ago"),
        60.0..3600.0 => format!("{:.0} min ago", (seconds / 60.0).floor()),
        3600.0..172_800.0 => format!("{:.0} h ago", (seconds / 3600.0).floor()),
        _ => format!("{:.0} days ago", (seconds / 86_400.0).floor()),
    }
}

/// Says so if `content`, which was read, is not valid any more, because a revert took it back. The node's answer then has its number
/// in `field`.
pub fn note_reverted(answer: &Value, field: &str, content: &str) {
    if let Ok(id) = fields::text(answer, field) {
        output::note(format_args!("reverted by {id}: {content} was taken back, `cairn revert show {id}` says why"));
    }
}

/// Returns a number with a noun in singular or plural: `1 transaction`, `2 transactions`.
pub fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{ChainId, SecretKey, TxBody};

    fn transfer() -> Transaction {
        let key = SecretKey::from_bytes(&[1; 32]).unwrap();
        let messages = vec![Msg::Transfer { to: Address([2; 20]), amount: 5 }];
        let chain_id = ChainId::new("c").unwrap();
        TxBody { chain_id, signer: key.public_key(), order: TxOrder::Nonce(3), fee: 1, messages }.sign(&key)
    }

    #[test]
    fn a_transaction_is_shown_with_names() {
        let names = Names(BTreeMap::from([(Address([2; 20]), "bob".to_owned())]));
        assert!(names.summary(&transfer()).ends_with(": transfer 5 to bob"));
        assert_eq!(transaction_json(&transfer())["order"]["nonce"], "3");
        assert_eq!(transaction_json(&transfer())["signature_valid"], true);
        assert_eq!(names.of_text("x"), "x");
        assert!(names.of_text(&Address([2; 20]).to_string()).ends_with("(bob)"));
    }

    #[test]
    fn bytes_are_hexadecimal_or_base64() {
        assert_eq!(bytes("0A0b").unwrap(), [10, 11]);
        assert_eq!(bytes(" 0x0a ").unwrap(), [10]);
        assert_eq!(bytes("Cgs=").unwrap(), [10, 11]);
        assert_eq!(text("שאל קודם".as_bytes()), "שאל קודם");
        assert_eq!(text("a\u{202E}b".as_bytes()), "0x61E280AE62", "what would move the text around it");
        assert!(bytes("no!").is_err());
        assert!(decode(&[1, 2, 3]).is_err());
    }

    #[test]
    fn past_times_are_shown_in_the_largest_unit_that_fits() {
        let now = Time::parse("2026-01-10T00:00:00Z").unwrap();
        for (then, text) in [
            ("2026-01-09T23:59:59.5Z", "0.5 s ago"),
            ("2026-01-09T23:57:30Z", "2 min ago"),
            ("2026-01-09T20:00:00Z", "4 h ago"),
            ("2026-01-01T00:00:00Z", "9 days ago"),
            ("1970-01-01T00:00:00Z", "never"),
        ] {
            assert_eq!(ago(Time::parse(then).unwrap(), now), text);
        }
    }
}
