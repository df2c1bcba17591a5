//! What other parts count, read when somebody asks.

use std::sync::Arc;

use host::{Mempool, TxVerifier};
use p2p::{Channel, Network};
use prometheus::{
    core::{Collector, Desc},
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};
use storage::{Kv, Latency, RocksKv, Store};

use crate::{board::Board, verify_pool::VerifyPool};

/// Who counts.
pub struct Sources {
    /// Syncs, batches, sizes.
    pub store: Arc<Store<RocksKv>>,
    /// Peers, bytes, gossip.
    pub network: Network,
    /// What peers say of themselves.
    pub board: Arc<Board>,
    /// Transactions that wait.
    pub mempool: Arc<Mempool>,
    /// Signature checks of transactions.
    pub txs: Arc<TxVerifier>,
    /// Queues.
    pub pool: Arc<VerifyPool>,
}

/// Reads the sources when asked.
pub(super) struct Snapshot {
    desc: Desc,
    sources: Sources,
}

impl Snapshot {
    pub(super) fn new(sources: Sources) -> Self {
        let desc = Desc::new("p2p_peers".into(), "of all sources".into(), vec![], Default::default());
        Self { desc: desc.expect("a fixed name"), sources }
    }
}

impl Collector for Snapshot {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut out = Families::default();
        self.sources.store(&mut out);
        self.sources.network(&mut out);
        self.sources.mempool(&mut out);
        self.sources.pool(&mut out);
        out.0
    }
}

/// Families gathered so far.
#[derive(Default)]
struct Families(Vec<MetricFamily>);

impl Families {
    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.0.push(family(name, help, MetricType::COUNTER, one(value as f64)));
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.0.push(family(name, help, MetricType::GAUGE, one(value)));
    }

    fn many(&mut self, kind: MetricType, name: &str, help: &str, values: Vec<(Vec<LabelPair>, f64)>) {
        self.0.push(family(name, help, kind, values));
    }

    fn latency(&mut self, name: &str, help: &str, latency: &Latency) {
        let mut histogram = Histogram::default();
        let mut count = 0;
        let buckets = latency.buckets.iter().enumerate().map(|(power, counted)| {
            count += counted;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound((1u64 << power) as f64 / 1e6);
            bucket.set_cumulative_count(count);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(latency.count);
        histogram.set_sample_sum(latency.sum_us as f64 / 1e6);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        let mut family = family(name, help, MetricType::HISTOGRAM, Vec::new());
        family.set_metric(vec![metric]);
        self.0.push(family);
    }
}

/// A family of plain numbers.
pub(super) fn family(name: &str, help: &str, kind: MetricType, values: Vec<(Vec<LabelPair>, f64)>) -> MetricFamily {
    let metrics = values.into_iter().map(|(labels, value)| {
        let mut metric = Metric::default();
        metric.set_label(labels);
        // The text format takes the value by the family's kind.
        match kind {
            MetricType::COUNTER => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            _ => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics.collect());
    family
}

/// One value without labels.
pub(super) fn one(value: f64) -> Vec<(Vec<LabelPair>, f64)> {
    vec![(Vec::new(), value)]
}

fn label(name: &str, value: impl ToString) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_string());
    pair
}

impl Sources {
    fn store(&self, out: &mut Families) {
        let stats = self.store.kv().stats();
        out.counter("state_store_batches_total", "Batches written to the database.", stats.batches);
        out.counter("state_store_syncs_total", "Of these, the synced ones: two a height.", stats.syncs);
        out.counter("state_store_batch_bytes_total", "Bytes of keys and values written.", stats.bytes);
        out.latency("state_store_sync_seconds", "Time of a synced batch.", &stats.synced);
        out.latency("state_store_write_seconds", "Time of a batch without sync.", &stats.buffered);
        let sizes = self.store.kv().sizes().into_iter().map(|(cf, bytes)| (vec![label("cf", cf.name())], bytes as f64));
        out.many(MetricType::GAUGE, "state_store_size_bytes", "Bytes on disk by column family.", sizes.collect());
        let earliest = self.store.earliest().0 as f64;
        out.gauge("state_block_store_base_height", "The earliest kept height.", earliest);
        out.gauge("state_pruning_service_block_retain_height", "The height below which nothing is kept.", earliest);
    }

    fn network(&self, out: &mut Families) {
        let peers = self.network.peers();
        let stats = self.network.stats();
        out.gauge("p2p_peers", "Connected peers.", peers.len() as f64);
        out.gauge("p2p_peers_outbound", "Of these, those that we dialled.", stats.peers_outbound as f64);
        let channels = |number: fn(&p2p::ChannelInfo) -> u64| {
            let of_peer = |peer: &p2p::PeerInfo| {
                let id = peer.id;
                let values = Channel::ALL.iter().zip(&peer.channels);
                values
                    .map(move |(channel, info)| {
                        (vec![label("peer_id", id), label("chID", channel.name())], number(info) as f64)
                    })
                    .collect::<Vec<_>>()
            };
            peers.iter().flat_map(of_peer).collect::<Vec<_>>()
        };
        let each = |number: &dyn Fn(&p2p::PeerInfo) -> f64| {
            peers.iter().map(|peer| (vec![label("peer_id", peer.id)], number(peer))).collect::<Vec<_>>()
        };
        out.many(
            MetricType::COUNTER,
            "p2p_peer_receive_bytes_total",
            "Bytes received from a peer.",
            channels(|info| info.bytes_in),
        );
        out.many(
            MetricType::COUNTER,
            "p2p_peer_send_bytes_total",
            "Bytes sent to a peer.",
            channels(|info| info.bytes_out),
        );
        let queued = |number: fn(&p2p::ChannelInfo) -> u64| {
            move |peer: &p2p::PeerInfo| peer.channels.iter().map(number).sum::<u64>() as f64
        };
        out.many(
            MetricType::GAUGE,
            "p2p_peer_send_queue_size",
            "Messages that wait to be sent to a peer.",
            each(&queued(|info| info.queued_messages)),
        );
        out.many(
            MetricType::GAUGE,
            "p2p_peer_pending_send_bytes",
            "Their bytes.",
            each(&queued(|info| info.queued_bytes)),
        );
        let rtts = peers.iter().filter_map(|peer| Some((vec![label("peer_id", peer.id)], peer.rtt?.as_secs_f64())));
        out.many(MetricType::GAUGE, "p2p_peer_round_trip_seconds", "Round trip of the last ping.", rtts.collect());
        out.many(MetricType::GAUGE, "p2p_peer_penalty", "Penalty of a peer: 100 is a ban.", each(&|peer| peer.penalty));
        let heights = &self.board.status().peer_heights;
        let heights = heights.iter().map(|(peer, height)| (vec![label("peer_id", peer)], height.0 as f64));
        out.many(MetricType::GAUGE, "consensus_peer_height", "Where a peer stands, as it says.", heights.collect());
        out.counter("p2p_bans_total", "Bans begun.", stats.bans);
        out.counter("p2p_penalties_total", "Offences noted.", stats.penalties);
        out.counter("p2p_sends_dropped_total", "Messages not sent because a peer is slow.", stats.sends_dropped);
        out.counter("p2p_dial_failures_total", "Dials that gave no connection.", stats.dial_failures);
        out.gauge("p2p_events_queued", "Events of the network that wait for us.", stats.events_queued as f64);
        let gossip = [
            ("published", stats.gossip_published),
            ("accepted", stats.gossip_accepted),
            ("ignored", stats.gossip_ignored),
            ("rejected", stats.gossip_rejected),
            ("dropped", stats.gossip_dropped + stats.gossip_publish_refused),
        ];
        let gossip = gossip.map(|(kind, count)| (vec![label("kind", kind)], count as f64));
        out.many(MetricType::COUNTER, "p2p_gossip_batches_total", "Batches of transactions gossiped.", gossip.to_vec());
    }

    fn mempool(&self, out: &mut Families) {
        let stats = self.mempool.stats();
        out.gauge("mempool_size", "Transactions that wait for a block.", stats.txs as f64);
        out.gauge("mempool_size_bytes", "Their bytes.", stats.bytes as f64);
        out.counter("mempool_evicted_txs", "Transactions that made room for better ones.", stats.evicted);
        out.counter("mempool_expired_txs", "Transactions that waited too long.", stats.expired);
        out.counter("mempool_recheck_times", "Transactions checked again after a block.", stats.rechecked);
        out.counter("mempool_reaped_txs", "Transactions put into proposals.", stats.reaped);
        let (checks, hits) = (self.txs.checks(), self.txs.hits());
        out.counter("mempool_signature_checks_total", "Signatures of transactions checked: one a transaction.", checks);
        out.counter(
            "mempool_signature_cache_hits_total",
            "Signatures not checked, because they had been before.",
            hits,
        );
    }

    fn pool(&self, out: &mut Families) {
        let queued = self.pool.queued().map(|(kind, length)| (vec![label("kind", kind)], length as f64));
        out.many(MetricType::GAUGE, "verify_queued", "What waits for a thread of the pool.", queued.to_vec());
    }
}
