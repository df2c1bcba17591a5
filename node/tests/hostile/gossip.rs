//! Attacks through the gossip of transactions: frames of gossipsub that an honest library does not make.

use std::time::Duration;

use futures::AsyncWriteExt;
use prost::Message;
use tokio::time::timeout;
use types::{TxBatch, Wire};

use crate::{
    hostile::{CHAIN, Siege, transfers},
    liar::{Liar, Target},
    processes::eventually,
    raw,
};

#[derive(Clone, PartialEq, Message)]
struct Rpc {
    #[prost(message, repeated, tag = "1")]
    subscriptions: Vec<Subscription>,
    #[prost(message, repeated, tag = "2")]
    publish: Vec<Published>,
    #[prost(message, optional, tag = "3")]
    control: Option<Control>,
}

#[derive(Clone, PartialEq, Message)]
struct Subscription {
    #[prost(bool, tag = "1")]
    subscribe: bool,
    #[prost(string, tag = "2")]
    topic: String,
}

#[derive(Clone, PartialEq, Message)]
struct Published {
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
    #[prost(string, tag = "4")]
    topic: String,
}

#[derive(Clone, PartialEq, Message)]
struct Control {
    #[prost(message, repeated, tag = "1")]
    have: Vec<Ids>,
    #[prost(message, repeated, tag = "2")]
    want: Vec<Wanted>,
    #[prost(message, repeated, tag = "3")]
    graft: Vec<Topic>,
}

#[derive(Clone, PartialEq, Message)]
struct Ids {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(bytes = "vec", repeated, tag = "2")]
    ids: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Wanted {
    #[prost(bytes = "vec", repeated, tag = "1")]
    ids: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Topic {
    #[prost(string, tag = "1")]
    topic: String,
}

fn topic() -> String {
    format!("txs/{CHAIN}")
}

fn batch(data: Vec<u8>) -> Vec<u8> {
    let publish = vec![Published { data, topic: topic() }];
    Rpc { publish, ..Rpc::default() }.encode_length_delimited_to_vec()
}

/// Batches that are no batches, and batches of transactions with false signatures: the peers that send them are banned.
pub async fn garbage_gossip(siege: &Siege, target: &Target) {
    let bans = siege.metric("p2p_bans_total", "bad_gossip");
    let unsigned = |n: u8| {
        let mut tx = transfers(&types::SecretKey::from_bytes(&[9; 32]).unwrap(), n.into(), 1);
        *tx.last_mut().unwrap() ^= 1;
        TxBatch { txs: vec![tx], salt: n.into() }.encode()
    };
    let garbage = |n: u8| vec![0xff, n];
    for (n, make) in [(100, &unsigned as &dyn Fn(u8) -> Vec<u8>), (101, &garbage)] {
        let mut liar = Liar::connect(target, n).await;
        let bytes: Vec<u8> = (0..30).flat_map(|n| batch(make(n))).collect();
        let _stream = liar.open(raw::gossip(CHAIN), &bytes).await;
        liar.is_disconnected("garbage in gossip").await;
    }
    assert_eq!(siege.metric("p2p_bans_total", "bad_gossip") - bans, 2.0);
}

/// Subscriptions to unknown topics, offers of and requests for unknown batches, and wishes to be in the mesh, without end.
pub async fn gossip_flood(siege: &Siege, target: &Target) {
    let accepted = siege.metric("p2p_gossip_batches_total", "accepted");
    let ids = |n: u32| (0..500).map(|k: u32| [n.to_be_bytes(), k.to_be_bytes()].concat().repeat(4)).collect::<Vec<_>>();
    let control = |control| Rpc { control: Some(control), ..Rpc::default() };
    let subscribe = |n: u32| {
        let unknown = |k| Subscription { subscribe: true, topic: format!("topic {n} {k}") };
        Rpc { subscriptions: (0..100).map(unknown).collect(), ..Rpc::default() }
    };
    let have = |n| control(Control { have: vec![Ids { topic: topic(), ids: ids(n) }], ..Control::default() });
    let want = |n| control(Control { want: vec![Wanted { ids: ids(n) }], ..Control::default() });
    let graft = |_| control(Control { graft: vec![Topic { topic: topic() }; 500], ..Control::default() });
    let kinds: [(&str, &dyn Fn(u32) -> Rpc); 4] =
        [("subscriptions", &subscribe), ("offers", &have), ("requests", &want), ("wishes", &graft)];
    for (n, (kind, make)) in (110..).zip(kinds) {
        let mut liar = Liar::connect(target, n).await;
        let mut stream = liar.open(raw::gossip(CHAIN), &[]).await.expect("the node takes gossip");
        let mut sent = 0;
        // The node may read slowly, or close the stream.
        let flood = async {
            while sent < 1_000 && stream.write_all(&make(sent).encode_length_delimited_to_vec()).await.is_ok() {
                sent += 1;
            }
            stream.flush().await
        };
        let _ = timeout(Duration::from_secs(2), flood).await;
        println!("  {kind} of gossip: {sent} frames");
    }
    eventually("a transaction of an honest peer is accepted", || {
        siege.metric("p2p_gossip_batches_total", "accepted") > accepted
    });
}
