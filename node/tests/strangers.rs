//! Proves that peers without stake, which complete the handshake and then send nothing or only requests, do not harm
//! validators and clients. The printed figures are of one run without and one run with such peers.
#![allow(clippy::print_stdout, reason = "it tells what it measured")]

mod processes;

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use files::load_genesis;
use genesis::sender_key;
use node::config::Config;
use p2p::{Events, Network, NodeId, NodeKey, PeerAddress, Transport};
use processes::{Homes, Validator, eventually};
use serde_json::json;
use tokio::runtime::Runtime;
use types::{
    Address, BlockRequest, ChainId, Height, Msg, PeerRequest, TxBody, TxOrder, Wire,
    limits::{SYNC_BLOCKS_MAX, TX_MESSAGES_MAX},
};

fn chain() -> ChainId {
    ChainId::new("processes").unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Returns the peer address of the node of a home.
fn place(home: &Path) -> PeerAddress {
    let config = Config::load(home, &[]).unwrap();
    let id = NodeKey::load(&config.node_key_file()).unwrap().id();
    PeerAddress::new(id, config.p2p.laddr.trim_start_matches("tcp://").parse().unwrap(), Transport::Tcp)
}

/// Starts a peer without stake that connects to the node of a home with an honest handshake; returns also the id of
/// that node.
async fn stranger(seed: u8, home: &Path) -> (Network, Events, NodeId) {
    let genesis = load_genesis(&home.join("config/genesis.json")).unwrap();
    let (to, key) = (place(home), NodeKey::from_seed([seed; 32]));
    let id = to.id;
    let config = p2p::Config {
        genesis_hash: genesis.hash().0,
        laddr: "tcp://127.0.0.1:0".into(),
        allow_private: true,
        quic: false,
        pex: false,
        persistent_peers: vec![to],
        ..p2p::Config::new(genesis.chain_id().as_str(), format!("stranger{seed}"))
    };
    let (network, events) = p2p::start(config, key).await.unwrap();
    (network, events, id)
}

/// Returns a transaction of a sender with this number of transfers, in base64.
fn transaction(sender: u32, nonce: u64, transfers: usize) -> String {
    let key = sender_key(&chain(), sender);
    let body = TxBody {
        chain_id: chain(),
        signer: key.public_key(),
        order: TxOrder::Nonce(nonce),
        fee: 1_000,
        messages: vec![Msg::Transfer { to: Address([7; 20]), amount: 1 }; transfers],
    };
    BASE64.encode(&body.sign(&key).encode())
}

/// Sends transfers one after the other, to all nodes in turn; returns the sorted times from sending to commit.
fn transfer_times(nodes: &[Validator], first: u64, count: u64) -> Vec<Duration> {
    let send = |nonce: u64| {
        let tx = transaction(0, nonce, 1);
        let node = &nodes[nonce as usize % nodes.len()];
        let began = Instant::now();
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "broadcast_tx_commit", "params": { "tx": tx } });
        let mut answer = ureq::post(&node.rpc).send_json(call).unwrap();
        let answer: serde_json::Value = answer.body_mut().read_json().unwrap();
        assert_eq!(answer["result"]["tx_result"]["code"], 0, "{answer}");
        began.elapsed()
    };
    let mut times: Vec<Duration> = (first..first + count).map(send).collect();
    times.sort_unstable();
    times
}

#[test]
fn silent_unproven_peers_at_every_node_do_not_slow_transfers() {
    const TRANSFERS: u64 = 40;
    let homes = Homes::with(4, Duration::from_secs(2), |options| options.senders = 1);
    let mut nodes = homes.start_all();
    nodes.iter_mut().for_each(|node| node.wait_for_height(3));
    let without = transfer_times(&nodes, 0, TRANSFERS);
    let runtime = runtime();
    let _strangers: Vec<_> = runtime.block_on(async {
        let mut strangers = Vec::new();
        for (node, home) in (0..4).map(|index| homes.home(index)).enumerate() {
            for n in 0..40 {
                strangers.push(stranger(1 + 40 * node as u8 + n, &home).await);
            }
        }
        strangers
    });
    // A quarter of the peer slots is reserved for peers that have sent useful data.
    eventually("strangers have all places that they can have", || {
        nodes.iter().all(|node| node.metric("cometbft_p2p_peers") >= 33.0)
    });
    std::thread::sleep(Duration::from_secs(2)); // some gossip heartbeats, in which the meshes are repaired
    let with = transfer_times(&nodes, TRANSFERS, TRANSFERS);
    let ms = |times: &[Duration], share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
    for (what, times) in [("without", &without), ("with", &with)] {
        let (median, most, last) = (ms(times, 50), ms(times, 95), ms(times, 100));
        println!("{what} strangers: median {median:.0} ms, 95 % {most:.0} ms, longest {last:.0} ms");
    }
    let mesh: Vec<f64> = nodes.iter().map(|node| node.metric("cometbft_p2p_mesh_peers")).collect();
    println!("peers in the mesh of each node: {mesh:?}");
    // A message that reaches validators only through a gossip heartbeat takes about 1 s, which this bound would reveal.
    assert!(ms(&with, 95) < 3.0 * ms(&without, 95) + 250.0);
    let banned: f64 = nodes.iter().map(|node| node.metric("cometbft_p2p_bans_total")).sum();
    assert_eq!(banned, 0.0, "silence is no offence");
}

#[test]
fn peers_that_ask_for_large_blocks_without_end_do_not_fill_the_memory() {
    const SENDERS: u32 = 512;
    const PEERS: u8 = 8;
    let homes = Homes::with(1, Duration::from_secs(1), |options| options.senders = SENDERS);
    let mut node = homes.start(0);
    node.wait_for_height(1);
    // These transactions make several megabytes of blocks.
    for nonce in 0..24 {
        let txs: Vec<String> = (0..SENDERS).map(|sender| transaction(sender, nonce, TX_MESSAGES_MAX)).collect();
        for txs in txs.chunks(64) {
            let answers = node.batch("broadcast_tx_sync", txs.iter().map(|tx| json!({ "tx": tx })));
            assert!(answers.iter().all(|answer| answer["result"]["code"] == 0), "{:?}", answers.first());
        }
    }
    eventually("all are committed", || node.metric("cometbft_mempool_size") == 0.0);
    let tip = node.height();
    let sizes: u64 = node.metric("cometbft_consensus_chain_size_bytes") as u64;
    let resident = |node: &Validator| node.usage().1 / 1_000_000;
    let before = resident(&node);
    let (runtime, ends) = (runtime(), AtomicBool::new(false));
    let strangers = runtime.block_on(async {
        let mut strangers = Vec::new();
        for n in 0..PEERS {
            strangers.push(stranger(100 + n, &homes.home(0)).await);
        }
        strangers
    });
    eventually("they are connected", || node.metric("cometbft_p2p_peers") == f64::from(PEERS));
    let (mut most, mut in_flight, mut pace) = (0, 0.0_f64, 0.0);
    let (answered, bytes) = std::thread::scope(|scope| {
        let asking: Vec<_> = strangers
            .iter()
            .map(|(network, _, id)| {
                let (ends, runtime) = (&ends, &runtime);
                scope.spawn(move || {
                    let (mut answered, mut bytes) = (0, 0);
                    while !ends.load(Ordering::Relaxed) {
                        let request = PeerRequest::Blocks(BlockRequest { from: Height(1), count: SYNC_BLOCKS_MAX });
                        let replies: Vec<_> = (0..32).map(|_| network.request(*id, request.encode())).collect();
                        for reply in replies {
                            if let Ok(answer) = runtime.block_on(reply) {
                                (answered, bytes) = (answered + 1, bytes + answer.len() as u64);
                            }
                        }
                    }
                    (answered, bytes)
                })
            })
            .collect();
        let (began, height) = (Instant::now(), node.height());
        while began.elapsed() < Duration::from_secs(15) {
            most = most.max(resident(&node));
            in_flight = in_flight.max(node.metric("cometbft_p2p_response_bytes"));
            std::thread::sleep(Duration::from_millis(100));
        }
        pace = (node.height() - height) as f64 / began.elapsed().as_secs_f64();
        ends.store(true, Ordering::Relaxed);
        let sums = asking.into_iter().map(|asks| asks.join().unwrap());
        sums.fold((0, 0), |(answered, bytes), (more, more_bytes)| (answered + more, bytes + more_bytes))
    });
    println!(
        "{tip} heights, {sizes} bytes of blocks; resident {before} MB without, at most {most} MB with {PEERS} peers that loop; \
         {answered} answers, {:.0} MB; at most {:.1} MB in flight; {pace:.2} heights a second",
        bytes as f64 / 1e6,
        in_flight / 1e6
    );
    assert!(answered > 0, "they are served all the same");
    assert!(in_flight <= p2p::limits::RESPONSE_BYTES_ALL_MAX as f64);
    // The bound has three equal parts: responses in flight, responses that are created and copied, and the store's
    // caches.
    assert!(most <= before + 3 * p2p::limits::RESPONSE_BYTES_ALL_MAX as u64 / 1_000_000, "{before} -> {most} MB");
}
