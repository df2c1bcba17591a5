//! Proves that unmodified CometBFT clients work with the program itself: one validator, started as an operator starts
//! it.

#[path = "rpc_server/drive.rs"]
mod drive;
mod program;

use std::{
    collections::BTreeSet,
    process::{Child, Stdio},
    time::Duration,
};

use files::ValidatorKey;
use futures::{SinkExt, StreamExt};
use program::{Cairn, free_ports};
use tendermint::{block, evidence::DuplicateVoteEvidence};
use tendermint_rpc::{
    Client, HttpClient, Paging, SubscriptionClient, WebSocketClient, event::EventData, query::EventType,
};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use types::{
    BlockId, ChainId, Hash, Height, KeyType, Msg, PartSetHeader, Round, SecretKey, TxBody, TxOrder, Vote, VoteType,
    Wire,
};

/// A process that is killed when the value is dropped, so that it does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn transfer(alice: &SecretKey, nonce: u64) -> Vec<u8> {
    let to = SecretKey::from_bytes(&[51; 32]).unwrap().public_key().address();
    let body = TxBody {
        chain_id: ChainId::new("clients-1").unwrap(),
        signer: alice.public_key(),
        order: TxOrder::Nonce(nonce),
        fee: 2,
        messages: vec![Msg::Transfer { to, amount: 5 }],
    };
    body.sign(alice).encode()
}

/// Waits until the node answers its health check, and returns a client for it.
async fn healthy(url: &str) -> HttpClient {
    let client = HttpClient::new(url).unwrap();
    client.wait_until_healthy(Duration::from_secs(60)).await.unwrap();
    client
}

/// Checks that a client receives every event of a round that decides.
async fn every_event_of_a_round(url: &str) {
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let mut missing = BTreeSet::from([
        "CompleteProposal",
        "Lock",
        "NewBlock",
        "NewBlockEvents",
        "NewBlockHeader",
        "NewRound",
        "NewRoundStep",
        "Polka",
        "ValidBlock",
        "Vote",
    ]);
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"query":"tm.event EXISTS"}}"#;
    socket.send(Message::text(call)).await.unwrap();
    while !missing.is_empty() {
        let said = timeout(Duration::from_secs(60), socket.next()).await;
        let Message::Text(text) = said.unwrap_or_else(|_| panic!("{missing:?} never came")).unwrap().unwrap() else {
            continue;
        };
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(event["error"].is_null(), "{event}");
        missing.remove(event["result"]["events"]["tm.event"][0].as_str().unwrap_or_default());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_clients_use_a_node_as_they_use_cometbft() {
    use_a_node(KeyType::Secp256k1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_clients_use_a_node_with_an_ed25519_key() {
    use_a_node(KeyType::Ed25519).await;
}

/// Returns evidence of two precommits of the chain's only validator at a height, in the types of an unmodified client.
async fn double_vote(client: &HttpClient, key: &ValidatorKey, height: u32) -> DuplicateVoteEvidence {
    let time = client.block(height).await.unwrap().block.header.time;
    let of_block = |byte| {
        let hash = tendermint::Hash::Sha256([byte; 32]);
        block::Id { hash, part_set_header: block::parts::Header::new(1, hash).unwrap() }
    };
    let vote = |byte| {
        let id = BlockId { hash: Hash([byte; 32]), parts: PartSetHeader { total: 1, hash: Hash([byte; 32]) } };
        let (vote_type, height, round) = (VoteType::Precommit, Height(height.into()), Round(7));
        let (timestamp, validator) = (types::Time::parse(&time.to_rfc3339()).unwrap(), key.address());
        let vote = Vote { vote_type, height, round, block_id: Some(id), timestamp, validator, validator_index: 0 };
        let signature = vote.sign(&ChainId::new("clients-1").unwrap(), &key.secret).signature;
        tendermint::Vote {
            vote_type: tendermint::vote::Type::Precommit,
            height: u32::try_from(height.0).unwrap().into(),
            round: 7_u16.into(),
            block_id: Some(of_block(byte)),
            timestamp: Some(time),
            validator_address: tendermint::account::Id::new(validator.0),
            validator_index: 0_u32.try_into().unwrap(),
            signature: tendermint::Signature::new(signature.0).unwrap(),
            extension: Vec::new(),
            extension_signature: None,
        }
    };
    // The client library writes the total power as the power of this validator; on this chain they are equal.
    let power = client.validators(height, Paging::All).await.unwrap().validators[0].power;
    DuplicateVoteEvidence {
        vote_a: vote(1),
        vote_b: vote(2),
        total_voting_power: power,
        validator_power: power,
        timestamp: time,
    }
}

/// Submits evidence against the chain's only validator through an unmodified client, and checks that it is in a block once, which
/// the client understands and a light client verifies.
async fn evidence_is_taken(client: &HttpClient, websocket: &WebSocketClient, key: &ValidatorKey, metrics: &str) {
    let evidence = double_vote(client, key, 2).await;
    let harmless = DuplicateVoteEvidence { vote_b: evidence.vote_a.clone(), ..evidence.clone() };
    let refused = client.broadcast_evidence(harmless.into()).await.unwrap_err().to_string();
    assert!(refused.contains("evidence was not added"), "{refused}");

    let mut blocks = websocket.subscribe(EventType::NewBlock.into()).await.unwrap();
    client.broadcast_evidence(evidence.clone().into()).await.unwrap();
    let found = async {
        loop {
            let event = blocks.next().await.unwrap().unwrap();
            let EventData::NewBlock { block: Some(block), .. } = event.data else { continue };
            if let Some(found) = block.evidence.iter().next() {
                return (u32::try_from(block.header.height.value()).unwrap(), found.clone());
            }
        }
    };
    let (height, found) = timeout(Duration::from_secs(60), found).await.expect("the evidence is in a block");
    assert_eq!(found, evidence.clone().into());
    assert_eq!(client.block(height).await.unwrap().block.evidence.into_vec(), [found]);
    let event = &client.block_results(height).await.unwrap().finalize_block_events[0];
    assert_eq!((event.kind.as_str(), event.attributes[1].value_str().unwrap()), ("evidence", "2"));
    let again = client.broadcast_evidence(evidence.into()).await.unwrap_err().to_string();
    assert!(again.contains("it is repeated"), "{again}");
    while client.status().await.unwrap().sync_info.latest_block_height.value() <= u64::from(height) {
        blocks.next().await.unwrap().unwrap();
    }
    drive::light_client(client, height - 1, height).await;
    drive::light_client(client, 1, height).await;
    let url = format!("http://{metrics}/metrics");
    let config = ureq::Agent::config_builder().proxy(None).build();
    let get = move || config.new_agent().get(&url).call().unwrap().body_mut().read_to_string().unwrap();
    let text = tokio::task::spawn_blocking(get).await.unwrap();
    for (name, value) in [("evidence_total", 1), ("evidence_committed_total", 1), ("evidence_waiting", 0)] {
        let line = format!("cometbft_consensus_{name}{{chain_id=\"clients-1\"}} {value}\n");
        assert!(text.contains(&line), "{line}: {text}");
    }
}

/// Starts a node whose validator key has this type, and runs all client checks on it.
async fn use_a_node(key_type: KeyType) {
    let cairn = Cairn::new();
    cairn.run(&["init", "--home", "home", "--chain-id", "clients-1", "--key-type", key_type.name()]).succeeds();
    let shown = cairn.run(&["show-validator", "--home", "home"]).succeeds();
    assert!(shown.contains(key_type.public_tag()), "{shown}");
    let alice = files::Keyring::new(cairn.folder().join("home/keys")).load("alice").unwrap().secret;
    let port = free_ports(3);
    let (p2p, rpc) = (format!("tcp://127.0.0.1:{port}"), format!("tcp://127.0.0.1:{}", port + 1));
    let metrics = format!("127.0.0.1:{}", port + 2);
    let args = [
        "start",
        "--home",
        "home",
        "--p2p.laddr",
        &p2p,
        "--rpc.laddr",
        &rpc,
        "--instrumentation.prometheus",
        "true",
        "--instrumentation.prometheus_listen_addr",
        &metrics,
        "--consensus.empty_block_interval",
        "100ms",
    ];
    let start = |log: &str| {
        let log = std::fs::File::create(cairn.folder().join(log)).unwrap();
        Running(cairn.command(&args).stdout(log.try_clone().unwrap()).stderr(Stdio::from(log)).spawn().unwrap())
    };
    let running = start("log");

    let http = format!("http://127.0.0.1:{}", port + 1);
    let client = healthy(&http).await;
    let (websocket, driver) =
        WebSocketClient::new(format!("ws://127.0.0.1:{}/websocket", port + 1).as_str()).await.unwrap();
    let driver = tokio::spawn(driver.run());
    let mut blocks = websocket.subscribe(EventType::NewBlock.into()).await.unwrap();
    blocks.next().await.unwrap().unwrap();

    every_event_of_a_round(&format!("ws://127.0.0.1:{}/websocket", port + 1)).await;

    let address = alice.public_key().address();
    drive::every_method(&client, [0, 1, 2].map(|nonce| transfer(&alice, nonce)), address).await;
    drive::subscriptions(&websocket, transfer(&alice, 3)).await;
    drive::every_method(&websocket, [4, 5, 6].map(|nonce| transfer(&alice, nonce)), address).await;
    let tip = client.status().await.unwrap().sync_info.latest_block_height.value() as u32;
    drive::light_client(&client, 1, 2).await;
    drive::light_client(&client, 2, tip - 1).await;
    drive::light_client(&client, tip - 2, tip - 1).await;
    drive::meets_keys_of(&client, &http, key_type).await;
    let key = ValidatorKey::load(&cairn.folder().join("home/config/priv_validator_key.json")).unwrap();
    websocket.close().unwrap();
    driver.await.unwrap().unwrap();

    // Evidence against its own key of an earlier height is used like any other; of a height since its start, it stops the node.
    drop(running);
    let mut running = start("second-log");
    let client = healthy(&http).await;
    let (websocket, driver) =
        WebSocketClient::new(format!("ws://127.0.0.1:{}/websocket", port + 1).as_str()).await.unwrap();
    let driver = tokio::spawn(driver.run());
    evidence_is_taken(&client, &websocket, &key, &metrics).await;
    let latest = client.status().await.unwrap().sync_info.latest_block_height.value() as u32;
    let evidence = double_vote(&client, &key, latest).await;
    let _ = client.broadcast_evidence(evidence.into()).await; // the node may end before it answers
    let ended = tokio::task::spawn_blocking(move || running.0.wait().unwrap()).await.unwrap();
    assert_eq!(ended.code(), Some(76));
    let log = std::fs::read_to_string(cairn.folder().join("second-log")).unwrap();
    assert!(log.contains("a validator signed two votes that contradict each other"), "{log}");
    let _ = driver.await; // the connection has ended with the node
}
