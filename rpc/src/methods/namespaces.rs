//! The JSON of the application's answers about namespaces. `docs/namespaces.md` describes it.

use app::{Namespace, Owner};
use serde_json::{Value, json};
use types::{Hash, NsName};

use crate::json;

/// Returns a namespace, and its root if it is known.
pub fn shown(name: &NsName, namespace: &Namespace, root: Option<&Hash>) -> Value {
    let owner = match namespace.owner {
        Owner::Account(address) => json!({ "type": "account", "address": address.to_string() }),
        Owner::Shared => json!({ "type": "shared" }),
    };
    let mut value = json!({
        "ns": name.as_str(),
        "number": namespace.number,
        "owner": owner,
        "data_epoch": namespace.data_epoch.to_string(),
        "quota_keys": namespace.quota_keys.to_string(),
        "quota_bytes": namespace.quota_bytes.to_string(),
        "keys": namespace.keys.to_string(),
        "bytes": namespace.bytes.to_string(),
        "created_height": namespace.created.to_string(),
        "changed_height": namespace.changed.to_string(),
        "writes": namespace.writes.to_string(),
        "reverted_height": namespace.reverted.map(|height| height.to_string()),
        "frozen": namespace.frozen.map(|frozen| {
            json!({ "until_ms": frozen.until.unix_millis().to_string(), "by": frozen.by.to_string() })
        }),
    });
    if let Some(root) = root {
        value["root"] = json!(root.to_string());
    }
    value
}

/// Returns the root of a namespace, and the height that changed it.
pub fn root(name: &NsName, namespace: &Namespace, root: &Hash) -> Value {
    json!({ "ns": name.as_str(), "root": root.to_string(), "changed_height": namespace.changed.to_string() })
}

/// Returns namespaces, and the name that continues the list.
pub fn list(list: &[(NsName, Namespace)], next: Option<&NsName>) -> Value {
    let list: Vec<Value> = list.iter().map(|(name, namespace)| shown(name, namespace, None)).collect();
    json!({ "namespaces": list, "next": next.map(NsName::as_str) })
}

/// Returns a key with its value.
pub fn row(key: &[u8], value: Option<&[u8]>) -> Value {
    json!({ "key": json::base64(key), "value": value.map(json::base64) })
}

/// Returns a key with its values at two heights.
pub fn difference(key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Value {
    json!({ "key": json::base64(key), "old": old.map(json::base64), "new": new.map(json::base64) })
}

/// Returns keys and values, and the key that continues the range.
pub fn range(rows: &[(Vec<u8>, Vec<u8>)], next: Option<&[u8]>) -> Value {
    let rows: Vec<Value> = rows.iter().map(|(key, value)| row(key, Some(value))).collect();
    json!({ "rows": rows, "next": next.map(json::base64) })
}
