//! Unmodified clients against the program itself: one validator, started as an operator starts it.

#[path = "rpc_server/drive.rs"]
mod drive;
mod program;

use std::{
    collections::BTreeSet,
    process::{Child, Stdio},
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use program::{Cairn, free_ports};
use tendermint_rpc::{Client, HttpClient, SubscriptionClient, WebSocketClient, query::EventType};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use types::{ChainId, KeyType, Msg, SecretKey, TxBody, TxOrder, Wire};

/// Ends with the test, however that ends.
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

/// Until the node answers: a process that starts gives no other sign.
async fn healthy(url: &str) -> HttpClient {
    let client = HttpClient::new(url).unwrap();
    client.wait_until_healthy(Duration::from_secs(60)).await.unwrap();
    client
}

/// What a round that decides brings about, from the consensus thread to a client.
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

async fn use_a_node(key_type: KeyType) {
    let cairn = Cairn::new();
    cairn.run(&["init", "--home", "home", "--chain-id", "clients-1", "--key-type", key_type.name()]).succeeds();
    let shown = cairn.run(&["show-validator", "--home", "home"]).succeeds();
    assert!(shown.contains(key_type.public_tag()), "{shown}");
    let alice = genesis::Keyring::new(cairn.folder().join("home/keys")).load("alice").unwrap().secret;
    let port = free_ports(2);
    let (p2p, rpc) = (format!("tcp://127.0.0.1:{port}"), format!("tcp://127.0.0.1:{}", port + 1));
    let args = [
        "start",
        "--home",
        "home",
        "--p2p.laddr",
        &p2p,
        "--rpc.laddr",
        &rpc,
        "--consensus.empty_block_interval",
        "100ms",
    ];
    let log = std::fs::File::create(cairn.folder().join("log")).unwrap();
    let child = cairn.command(&args).stdout(log.try_clone().unwrap()).stderr(Stdio::from(log)).spawn().unwrap();
    let _running = Running(child);

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
    websocket.close().unwrap();
    driver.await.unwrap().unwrap();
}
