//! What only a node reads: its configuration, addresses of peers, the handshake, the address book, and requests of clients.

use std::path::Path;

use node::config::{Config, duration_text, parse_duration};
use p2p::{HostPort, PeerAddress};
use serde_json::{Value, json};

use crate::{
    judge::{check_reason, decoded, same, survives},
    property::Property,
    served::{get, post},
};

/// Reads the input as text.
fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| error.to_string())
}

/// Checks a configuration file: what is read is the same again when it is written.
pub fn config_file(bytes: &[u8]) -> bool {
    let read = |bytes: &[u8]| Config::read(Path::new("home"), text(bytes)?, [], &[]).map_err(|error| error.to_string());
    let Some(config) = decoded(bytes, |bytes| read(bytes)) else { return false };
    let written = config.to_commented_toml();
    survives(
        &written,
        |written| written.clone().into_bytes(),
        |bytes| read(bytes).map(|config| config.to_commented_toml()),
    );
    true
}

/// Returns the seeds of [`config_file`].
pub fn config_file_seeds() -> Vec<Vec<u8>> {
    let whole = Config::default().to_commented_toml();
    // One setting in each section, as people write them.
    let short = "moniker = \"a\"\n[rpc]\nladdr = \"tcp://127.0.0.1:1\"\nmax_open_connections = 5\n[p2p]\npex = false\n\
                 persistent_peers = \"0011223344556677889900112233445566778899@10.0.0.1:26656\"\n[consensus]\n\
                 create_empty_blocks = false\n";
    let settings = whole.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    [settings, short.to_owned(), String::new(), whole].map(String::into_bytes).to_vec()
}

/// Checks texts of single settings: durations, log levels, addresses to listen on.
pub fn setting_text(bytes: &[u8]) -> bool {
    let Ok(text) = text(bytes) else { return false };
    let duration = parse_duration(text);
    if let Some(duration) = duration {
        survives(
            &duration,
            |duration| duration_text(*duration).into_bytes(),
            |bytes| std::str::from_utf8(bytes).ok().and_then(parse_duration).ok_or("no duration"),
        );
    }
    let levels = decoded(bytes, |_| node::logging::parse_levels(text)).is_some();
    let address = node::config::listen_address(text);
    if let Some(address) = address {
        same(node::config::listen_address(&format!("tcp://{address}")), Some(address), "an address is the same again");
    }
    duration.is_some() || levels || address.is_some()
}

/// Returns the seeds of [`setting_text`].
pub fn setting_text_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "1s",
        "100ms",
        "1h30m",
        "0s",
        "info",
        "consensus:debug,p2p:none,*:info",
        "tcp://127.0.0.1:26657",
        "tcp://[::1]:5",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// Checks the address of a peer: it is the same again when it is written.
pub fn peer_address(bytes: &[u8]) -> bool {
    fn parse<T: std::str::FromStr<Err: ToString>>(bytes: &[u8]) -> Result<T, String> {
        text(bytes)?.parse::<T>().map_err(|error| error.to_string())
    }
    let address = decoded(bytes, parse::<PeerAddress>);
    if let Some(address) = &address {
        assert!(address.port != 0 && !address.host.is_empty(), "it can be dialled: {address}");
        survives(address, |address| address.to_string().into_bytes(), parse::<PeerAddress>);
    }
    let place = decoded(bytes, parse::<HostPort>);
    if let Some(place) = &place {
        survives(place, |place| place.to_string().into_bytes(), parse::<HostPort>);
    }
    address.is_some() || place.is_some()
}

/// Returns the seeds of [`peer_address`].
pub fn peer_address_seeds() -> Vec<Vec<u8>> {
    const ID: &str = "00112233445566778899aabbccddeeff00112233";
    let places = ["10.0.0.1:26656", "tcp://[::1]:26656", "quic://[2001:db8::1]:7", "node0.example.org:1"];
    let mut seeds: Vec<Vec<u8>> = places.iter().map(|place| format!("{ID}@{place}").into_bytes()).collect();
    seeds.push(b"[::1]:5".to_vec());
    seeds
}

/// Checks a request by POST: it is answered, no answer says that something went wrong inside, and the answer has the id of the
/// call.
pub fn rpc_body(bytes: &[u8]) -> bool {
    let answer = post(bytes);
    let Ok(call) = serde_json::from_slice::<Value>(bytes) else {
        assert!(answer.body.get("error").is_some(), "what is no JSON is refused: {:?}", answer.body);
        check_answer(&answer.body);
        return false;
    };
    let answers = match &answer.body {
        Value::Array(answers) => answers.as_slice(),
        Value::Null => &[],
        one => std::slice::from_ref(one),
    };
    if let (Value::Object(call), [one]) = (&call, answers)
        && one.get("result").is_some()
    {
        same(&one["id"], &call["id"], "an answer has the id of its call");
    }
    answers.iter().filter(|answer| check_answer(answer)).count() > 0
}

/// Checks one answer, and returns true if it is a result.
fn check_answer(answer: &Value) -> bool {
    if answer["error"].is_null() {
        assert!(answer.get("result").is_some(), "an answer is a result or an error: {answer}");
        return true;
    }
    let data = answer["error"]["data"].as_str().expect("an error has a reason");
    assert!(!data.starts_with("internal error"), "{data}");
    // An error of a query repeats it twice, with escapes.
    check_reason(&data.chars().take(crate::judge::REASON_CHARS_MAX).collect::<String>());
    assert!(data.len() <= 8 * 1024, "a reason is bounded");
    false
}

/// Calls with every kind of argument, of methods that do not change the chain.
fn calls() -> Vec<(&'static str, Value)> {
    let tx = data_encoding::BASE64.encode(&crate::transactions::transaction_seeds()[0]);
    let account = crate::chain::address(1).to_string();
    let hash = "AB".repeat(32);
    vec![
        ("health", json!({})),
        ("status", json!(null)),
        ("genesis", json!([])),
        ("genesis_chunked", json!({ "chunk": "0" })),
        ("net_info", json!({})),
        ("blockchain", json!({ "minHeight": "1", "maxHeight": "3" })),
        ("block", json!({ "height": "2" })),
        ("block_by_hash", json!({ "hash": hash })),
        ("block_results", json!({ "height": 2 })),
        ("header", json!(["1"])),
        ("commit", json!({ "height": "1" })),
        ("validators", json!({ "height": "2", "page": "1", "per_page": "2" })),
        ("consensus_params", json!({ "height": "1" })),
        ("consensus_state", json!({})),
        ("dump_consensus_state", json!({})),
        ("unconfirmed_txs", json!({ "limit": "3" })),
        ("num_unconfirmed_txs", json!({})),
        ("abci_info", json!({})),
        (
            "abci_query",
            json!({ "path": "/account", "data": data_encoding::HEXLOWER.encode(account.as_bytes()), "prove": true }),
        ),
        ("abci_query", json!({ "path": "/supply", "data": "", "height": "2" })),
        ("check_tx", json!({ "tx": tx })),
        ("broadcast_tx_sync", json!({ "tx": tx })),
        ("tx", json!({ "hash": hash, "prove": true })),
        ("tx_search", json!({ "query": "tx.height > 0 AND transfer.amount >= 1", "per_page": "5", "order_by": "asc" })),
        ("block_search", json!({ "query": "block.height <= 2", "page": "1" })),
        ("broadcast_evidence", json!({ "evidence": { "type": "tendermint/DuplicateVoteEvidence", "value": {} } })),
    ]
}

/// Returns the seeds of [`rpc_body`]: calls of methods, one by one and in a batch.
pub fn rpc_body_seeds() -> Vec<Vec<u8>> {
    let call = |(id, (method, params)): (usize, (&str, Value))| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let calls: Vec<Value> = calls().into_iter().enumerate().map(call).collect();
    let batch = Value::Array(calls[..4].to_vec());
    calls.into_iter().chain([batch]).map(|call| call.to_string().into_bytes()).collect()
}

/// Checks a request by URI, whose path and query the input is: it is answered with the id of such calls.
pub fn rpc_uri(bytes: &[u8]) -> bool {
    if bytes.is_empty() || bytes.iter().any(|byte| b"\r\n".contains(byte)) || bytes.len() > 4096 {
        return false;
    }
    let answer = get(bytes);
    if answer.body.is_null() {
        // No call: the list of methods, a request line that is none, or a page that may not ask.
        return answer.status == 200;
    }
    same(&answer.body["id"], &json!(-1), "an answer has the id of calls by URI");
    check_answer(&answer.body)
}

/// Returns the seeds of [`rpc_uri`].
pub fn rpc_uri_seeds() -> Vec<Vec<u8>> {
    let argument = |(name, value): (&String, &Value)| match value {
        Value::String(text) => {
            format!("{name}=%22{}%22", text.replace(' ', "%20").replace('>', "%3E").replace('=', "%3D"))
        }
        other => format!("{name}={other}"),
    };
    let uri = |(method, params): (&str, Value)| {
        let arguments: Vec<String> = params.as_object().into_iter().flatten().map(argument).collect();
        format!("/{method}?{}", arguments.join("&")).into_bytes()
    };
    let mut seeds: Vec<Vec<u8>> = calls().into_iter().map(uri).collect();
    seeds.extend([b"/".to_vec(), b"/block?height=%110%22".to_vec()]);
    seeds
}

/// Checks a query of events, by searches that it runs: it is answered or refused, by both searches in the same way.
pub fn event_query(bytes: &[u8]) -> bool {
    let Ok(query) = text(bytes) else { return false };
    let search = |method: &str| {
        let call =
            json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "query": query, "per_page": "2" } });
        post(call.to_string().as_bytes()).body
    };
    let (txs, blocks) = (search("tx_search"), search("block_search"));
    let accepted = [check_answer(&txs), check_answer(&blocks)];
    if accepted[0] {
        same(search("tx_search"), txs, "a search finds the same again");
    }
    accepted.contains(&true)
}

/// Returns the seeds of [`event_query`].
pub fn event_query_seeds() -> Vec<Vec<u8>> {
    let queries = [
        "tx.height = 1",
        "tx.height >= 1 AND tx.height < 5",
        "transfer.amount >= 1 AND transfer.to EXISTS",
        "tx.signer CONTAINS 'A'",
        "block.height > 0",
        "tx.hash = 'AB'",
        "transfer.amount = 5.5",
        "tm.event = 'Tx' AND tx.height <= 2",
        "a.b > TIME 2026-01-31T12:00:00Z",
        "a.b = DATE 2026-01-31",
    ];
    queries.map(|query| query.as_bytes().to_vec()).to_vec()
}

/// Checks a frame of the control stream, with which a connection begins: its texts are short and plain when they are shown, and
/// an address that it announces can be dialled.
pub fn handshake(bytes: &[u8]) -> bool {
    let Some(read) = decoded(bytes, p2p::read_control) else { return false };
    read.texts.iter().filter(|text| !text.is_empty()).for_each(|text| check_reason(text));
    for address in &read.addresses {
        survives(
            address,
            |address| address.to_string().into_bytes(),
            |bytes| text(bytes)?.parse::<PeerAddress>().map_err(|error| error.to_string()),
        );
    }
    same(p2p::read_control(&read.bytes), Ok(read), "a frame is the same again");
    true
}

/// Returns the seeds of [`handshake`]: one of each kind of frame.
pub fn handshake_seeds() -> Vec<Vec<u8>> {
    p2p::control_samples()
}

/// Checks the file of the address book: its addresses are bounded, and are the same again.
pub fn address_book(bytes: &[u8]) -> bool {
    let Some(addresses) = decoded(bytes, p2p::addresses_of_file) else { return false };
    let write = |addresses: &Vec<PeerAddress>| p2p::addresses_to_file(addresses).into_bytes();
    survives(&addresses, write, p2p::addresses_of_file);
    true
}

/// Returns the seeds of [`address_book`].
pub fn address_book_seeds() -> Vec<Vec<u8>> {
    let addresses: Vec<String> =
        peer_address_seeds().into_iter().take(4).map(|seed| String::from_utf8(seed).expect("it is text")).collect();
    [json!({ "addresses": addresses }), json!({ "addresses": [] }), json!({ "addresses": ["no address"] })]
        .map(|file| file.to_string().into_bytes())
        .to_vec()
}

/// Returns the properties of this file.
pub fn all() -> Vec<Property> {
    macro_rules! list {
        ($($name:ident $seeds:ident),+;) => { vec![$(Property { name: stringify!($name), check: $name, seeds: $seeds }),+] };
    }
    list! {
        config_file config_file_seeds, setting_text setting_text_seeds, peer_address peer_address_seeds,
            handshake handshake_seeds, address_book address_book_seeds, rpc_body rpc_body_seeds, rpc_uri rpc_uri_seeds,
            event_query event_query_seeds;
    }
}
