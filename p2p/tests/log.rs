//! Proves that each configuration error of another node is logged once, with the expected and the actual value.

mod common;

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use common::*;
use p2p::{PeerAddress, Transport};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Collected log lines of level info and above.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO && metadata.target().starts_with("p2p")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Lines {
    fn with(&self, parts: &[&str]) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).cloned().collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operator_mistake_is_one_log_line_on_each_side() {
    let lines = Lines::default();
    tracing::subscriber::set_global_default(lines.clone()).expect("the only test of this file");
    let a = Node::start(1, |_| ()).await;
    let port = a.address().port.to_string();

    // Another genesis document: both sides log the expected and the actual hash with the address, once, although the
    // dialler retries again and again.
    let other = Node::start(2, |config| {
        (config.genesis_hash, config.persistent_peers) = ([0xab; 32], vec![a.address()]);
    })
    .await;
    eventually(|| a.network.stats().refused_by_us + other.network.stats().refused_by_us >= 4).await;
    let (zeros, others) = ("00".repeat(32), "AB".repeat(32));
    let of_a =
        lines.with(&["WARN", "wrong genesis", &format!("expected the genesis hash {zeros}, got {others}"), "address="]);
    let of_other = lines.with(&["WARN", "wrong genesis", &format!("{others}, got {zeros}"), &port, &a.id.to_string()]);
    assert_eq!((of_a.len(), of_other.len()), (1, 1), "{:?}", lines.0.lock().unwrap());
    other.stop().await;

    // Another chain id, and another node id.
    let (chain, address) = (Node::start(3, |config| config.chain_id = "elsewhere".into()).await, a.address());
    chain.network.dial(address.clone());
    eventually(|| lines.with(&["WARN", "wrong chain", "expected \"test-chain\", got \"elsewhere\""]).len() == 1).await;
    eventually(|| lines.with(&["WARN", "wrong chain", "expected \"elsewhere\", got \"test-chain\"", &port]).len() == 1)
        .await;
    let stray = Node::start(4, |config| config.persistent_peers = vec![PeerAddress { id: id(9), ..address }]).await;
    eventually(|| stray.network.stats().refused_by_us >= 3).await;
    let wrong_id = format!("expected {}, got {}", id(9), a.id);
    eventually(|| lines.with(&["WARN", "wrong node id", &wrong_id]).len() == 2).await;

    // A copied node key: both sides log the address and the known node, once, although the copy retries again and
    // again.
    let first = Node::start(6, |config| config.persistent_peers = vec![a.address()]).await;
    eventually(|| a.network.peer_ids().contains(&first.id)).await;
    let known = a.network.peers().iter().find(|peer| peer.id == first.id).unwrap().remote.clone();
    let copy = Node::start(6, |config| config.persistent_peers = vec![a.address()]).await;
    eventually(|| copy.network.stats().refused_by_peer >= 4).await;
    let used = format!("the node key of {} still has a connection from {known}", first.id);
    let said = |by: &str, address: &str| lines.with(&["WARN", &used, "wait", "new node_key.json", by, address]);
    let (of_a, of_copy) =
        (said("by=\"us\"", "address=\"/ip4/127.0.0.1/tcp/"), said("by=\"the peer\"", &a.address().to_string()));
    assert_eq!((of_a.len(), of_copy.len()), (1, 1), "{:?}", lines.0.lock().unwrap());
    assert_eq!(lines.with(&["peer down", &first.id.to_string()]), [""; 0], "the first one stays");

    // No node listens at this address. The log line comes with a delay, because nodes that start together connect soon.
    let nowhere = PeerAddress::new(id(8), socket(free_port()), Transport::Tcp);
    let _lost = Node::start(5, |config| config.persistent_peers = vec![nowhere.clone()]).await;
    // Only the dialler can report this: its line names the address and says what to check.
    let way_out = "check its host and port, and that it runs";
    eventually(|| lines.with(&["WARN", "cannot be reached", &nowhere.to_string(), "refused", way_out]).len() == 1)
        .await;
}
