//! Proves that the server does what `docs/openapi.json` says: it calls every method that the file describes, without an
//! argument, with a wrong one, and with good ones.

use std::collections::BTreeSet;

use rpc::Limits;
use serde_json::Value;

use crate::{
    chain::{Chain, alice, transfer},
    raw,
};

/// A value that no parameter of this type takes; strings take any value.
fn wrong(parameter: &Value) -> Option<&'static str> {
    match parameter["schema"]["type"].as_str().unwrap() {
        "integer" => Some("x"),
        "boolean" => Some("7"),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_takes_the_arguments_and_returns_the_fields_that_the_description_names() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let chain = Chain::new();
    let (committed, waiting, last) = (transfer(0, 5), transfer(1, 5), transfer(2, 5));
    let block = chain.grow(vec![committed.clone()]);
    chain.grow(vec![]);
    let served = chain.serve(Limits { offer_unsafe: true, ..Limits::default() }).await;
    let hex = |bytes: &[u8]| format!("0x{}", data_encoding::HEXUPPER.encode(bytes));
    let url = |method: &str, pairs: &[(String, String)]| {
        let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{}/{method}?{}", served.http(), pairs.join("&"))
    };
    raw(url("broadcast_tx_sync", &[("tx".into(), hex(&waiting))]), None).await;
    *chain.commits_at_once.lock().unwrap() = true;

    // The methods that change what others see come last.
    let paths = document["paths"].as_object().unwrap();
    let mut methods: Vec<&str> = paths.keys().filter_map(|path| path.strip_prefix('/')).collect();
    methods.retain(|method| !["", "websocket"].contains(method));
    methods.sort_by_key(|method| method.starts_with("broadcast") || method.starts_with("unsafe"));
    let mut without_result = BTreeSet::new();
    for method in methods {
        let operation = &paths[&format!("/{method}")]["get"];
        let parameters = operation["parameters"].as_array().unwrap();
        let good = |parameter: &Value| {
            let value = match (method, parameter["name"].as_str().unwrap()) {
                ("block_by_hash" | "header_by_hash", "hash") => block.block_id.hash.to_string(),
                ("unconfirmed_tx", "hash") => types::sha256(&waiting).to_string(),
                (_, "hash") => types::sha256(&committed).to_string(),
                (_, "address") => alice().public_key().address().to_string(),
                (_, "tx") => hex(&last),
                ("block_search", "query") => "%22block.height=1%22".to_owned(),
                (_, "query") => "%22tx.height=1%22".to_owned(),
                (_, "peers" | "seeds") => "a@b".to_owned(),
                (_, "path") => "%22/supply%22".to_owned(),
                (_, "order_by") => "asc".to_owned(),
                (_, "data") => return None,
                ("abci_query", "prove") => return None,
                (_, "prove") => "true".to_owned(),
                (_, "chunk") => "0".to_owned(),
                (_, "evidence") => "%7B%7D".to_owned(),
                _ => "1".to_owned(),
            };
            Some((parameter["name"].as_str().unwrap().to_owned(), value))
        };
        let all: Vec<(String, String)> = parameters.iter().filter_map(good).collect();
        for parameter in parameters {
            let name = parameter["name"].as_str().unwrap();
            let mut others = all.clone();
            others.retain(|(other, _)| other != name);
            if parameter["required"] == true {
                let error = raw(url(method, &others), None).await.error();
                let names_it = error.contains(name) || error.contains("40 hexadecimal digits");
                assert!(names_it, "{method} without {name}: {error}");
            }
            if let Some(value) = wrong(parameter) {
                others.push((name.to_owned(), value.to_owned()));
                let error = raw(url(method, &others), None).await.error();
                assert!(error.starts_with(&format!("parameter {name} is {value}: expected ")), "{method}: {error}");
            }
        }
        let answer = raw(url(method, &all), None).await;
        let json = answer.json();
        if json["result"].is_null() {
            without_result.insert(method);
            continue;
        }
        assert_eq!(answer.status, 200, "{method}");
        let result = json["result"].as_object().unwrap();
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["result"];
        let described: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(result.keys().collect::<BTreeSet<_>>(), described, "{method}: {}", answer.text);
        for (name, value) in result {
            let field = &schema["properties"][name];
            let is_right = match field["type"].as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64(),
                "boolean" => value.is_boolean(),
                other => panic!("{method}: {name} has the type {other}"),
            };
            assert!(is_right || field["nullable"] == true && value.is_null(), "{method}: {name} is {value}");
        }
    }
    // A test of evidence needs two votes that a validator signed; `events.rs` has one.
    assert_eq!(without_result, BTreeSet::from(["broadcast_evidence"]));
}
