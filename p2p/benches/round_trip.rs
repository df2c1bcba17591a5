//! Measures the round trip of a message between two plain threads through two nodes on loopback, and compares it with
//! the same round trip over a bare TCP socket. Run: `cargo bench -p cairn-p2p`.
#![allow(clippy::print_stdout)] // a benchmark prints its results

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use p2p::{Bytes, Channel, Config, Event, Events, Network, NodeId, NodeKey, PeerAddress, start};

const MESSAGE_BYTES: usize = 200; // size of a vote
const ROUNDS: usize = 5000;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let ((network, mut events), (other, mut other_events), id, other_id) = runtime.block_on(connected());
    let echo = std::thread::spawn(move || {
        while let Some(event) = other_events.blocking_recv() {
            if let Event::Message { peer, channel, bytes, .. } = event {
                other.send(peer, channel, bytes);
            }
        }
    });
    let message = Bytes::from(vec![7; MESSAGE_BYTES]);
    let ours = median(|| {
        network.send(other_id, Channel::Consensus, message.clone());
        while !matches!(events.blocking_recv(), Some(Event::Message { peer, .. }) if peer == other_id) {}
    });
    let bare = bare_tcp();
    println!(
        "round trip of {MESSAGE_BYTES} bytes, median of {ROUNDS}: {ours:?} through two nodes, {bare:?} over bare TCP"
    );
    println!("ratio {:.1}", ours.as_secs_f64() / bare.as_secs_f64());
    assert_ne!(id, other_id);
    network.shutdown_and_join();
    drop(runtime);
    echo.join().expect("the echo ends with its network");
}

type Node = (Network, Events);

async fn connected() -> (Node, Node, NodeId, NodeId) {
    let config = || Config { laddr: "127.0.0.1:0".into(), quic: false, ..Config::new("bench", "bench") };
    let (key, other_key) = (NodeKey::from_seed([1; 32]), NodeKey::from_seed([2; 32]));
    let (id, other_id) = (key.id(), other_key.id());
    let (network, mut events) = start(config(), key).await.expect("starts");
    let (transport, socket) = network.listening()[0];
    let address = PeerAddress::new(id, socket, transport);
    let other = start(Config { persistent_peers: vec![address], ..config() }, other_key).await.expect("starts");
    while !matches!(events.recv().await, Some(Event::Up { .. })) {}
    ((network, events), other, id, other_id)
}

fn bare_tcp() -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let mut client = TcpStream::connect(listener.local_addr().expect("is bound")).expect("connects");
    let (mut server, _) = listener.accept().expect("accepts");
    client.set_nodelay(true).and(server.set_nodelay(true)).expect("a socket option");
    std::thread::spawn(move || {
        let mut buffer = [0; MESSAGE_BYTES];
        while server.read_exact(&mut buffer).and_then(|()| server.write_all(&buffer)).is_ok() {}
    });
    let mut buffer = [7; MESSAGE_BYTES];
    median(|| client.write_all(&buffer).and_then(|()| client.read_exact(&mut buffer)).expect("the echo answers"))
}

fn median(mut round: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            round();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}
