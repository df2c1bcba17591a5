//! Collects the counters of other parts at each scrape.

use std::{path::PathBuf, sync::Arc};

use app::{Answer, Proposal, ProposalState};
use mempool::{Mempool, TxVerifier};
use p2p::{Channel, Network};
use prometheus::{
    core::{Collector, Desc},
    proto::{MetricFamily, MetricType},
};
use replica::LiveApp;
use storage::{Kv, RocksKv, StateReader, Store};

use super::{
    family::{Families, Known, known, label},
    register::Fact,
    stake,
};
use crate::{board::Board, logging, os, readiness::Readiness, verify_pool::VerifyPool};

/// The parts of the node whose counters are collected.
pub struct Sources {
    /// Store: syncs, batches, sizes.
    pub store: Arc<Store<RocksKv>>,
    /// Application: the trees of the state.
    pub app: LiveApp,
    /// Network: peers, bytes, gossip.
    pub network: Network,
    /// Board: the heights that peers report.
    pub board: Arc<Board>,
    /// Mempool: the transactions that wait.
    pub mempool: Arc<Mempool>,
    /// Verifier: signature checks of transactions.
    pub txs: Arc<TxVerifier>,
    /// Verification pool: lengths of its queues.
    pub pool: Arc<VerifyPool>,
    /// Judge of whether the node is ready.
    pub readiness: Readiness,
    /// Folder on the disk whose free space is reported.
    pub data_dir: PathBuf,
    /// Maximum number of waiting transactions, and maximum of their bytes.
    pub mempool_max: (usize, usize),
}

use MetricType::{COUNTER, GAUGE, HISTOGRAM};

const BATCHES: Known = known(COUNTER, "storage_batches_total", &[], "Batches written to the database.");
const SYNCS: Known = known(COUNTER, "storage_syncs_total", &[], "Batches written with a disk sync: two per height.");
const BATCH_BYTES: Known = known(HISTOGRAM, "storage_batch_bytes", &[], "Bytes of keys and values in a batch.");
const SYNC_SECONDS: Known = known(HISTOGRAM, "storage_sync_seconds", &[], "Time to write a batch with a disk sync.");
const BATCH_SECONDS: Known =
    known(HISTOGRAM, "storage_batch_seconds", &[], "Time to write a batch without a disk sync.");
const SIZE: Known = known(GAUGE, "storage_size_bytes", &["column_family"], "Bytes on disk by column family.");
const DISK_FREE: Known = known(GAUGE, "storage_disk_free_bytes", &[], "Free space of the disk that holds the data.");
const DISK_TOTAL: Known =
    known(GAUGE, "storage_disk_total_bytes", &[], "Size of the disk that holds the data, in bytes.");
const BASE: Known = known(GAUGE, "state_block_store_base_height", &[], "The earliest kept height.");
const RETAIN: Known =
    known(GAUGE, "state_pruning_service_block_retain_height", &[], "The height below which nothing is kept.");
const TREE_CACHE: Known =
    known(GAUGE, "state_tree_cache_bytes", &[], "Bytes of leaves of the state's trees in memory.");
const TREE_HITS: Known = known(
    COUNTER,
    "state_tree_cache_hits_total",
    &[],
    "Buckets of the state's trees that changed and whose leaves were in memory.",
);
const TREE_MISSES: Known = known(
    COUNTER,
    "state_tree_cache_misses_total",
    &[],
    "Buckets of the state's trees that changed and whose leaves were read from the store.",
);
const TREES_STORED: Known = known(
    GAUGE,
    "state_trees_stored_height",
    &[],
    "Height of the stored hashes of the state's trees: the next start reads what changed since.",
);
const PROPOSALS: Known = known(
    GAUGE,
    "state_proposals_open",
    &["state"],
    "Open proposals to the validators, by state: `voting`, `scheduled`.",
);
const UPGRADE: Known = known(
    GAUGE,
    "state_upgrade_height",
    &[],
    "Height from which on the chain needs another program, by a decision of the validators; 0 if no upgrade is planned.",
);
const FROZEN: Known = known(
    GAUGE,
    "state_proposals_frozen",
    &[],
    "Open proposals whose namespaces take no writes, because validators froze them.",
);
const NEXT_REVERT: Known = known(
    GAUGE,
    "state_next_revert_timestamp_seconds",
    &[],
    "Unix time at which the next scheduled revert is executed; 0 if none is scheduled.",
);
const READY: Known =
    known(GAUGE, "consensus_ready", &[], "1 while the node is ready, else 0; /ready gives the reasons.");
const PEER_HEIGHT: Known = known(GAUGE, "consensus_peer_height", &["peer_id"], "Height that a peer claims to be at.");
const STATESYNC: Known =
    known(GAUGE, "statesync_syncing", &[], "Always 0: a new node fetches blocks instead, see blocksync_syncing.");
const PEERS: Known = known(GAUGE, "p2p_peers", &[], "Connected peers.");
const PEERS_OUTBOUND: Known = known(GAUGE, "p2p_peers_outbound", &[], "Connected peers that this node dialled.");
const PEER_RECEIVED: Known =
    known(COUNTER, "p2p_peer_receive_bytes_total", &["peer_id", "chID"], "Bytes received from a peer.");
const PEER_SENT: Known = known(COUNTER, "p2p_peer_send_bytes_total", &["peer_id", "chID"], "Bytes sent to a peer.");
const PEER_QUEUE: Known =
    known(GAUGE, "p2p_peer_send_queue_size", &["peer_id"], "Messages that wait to be sent to a peer.");
const PEER_PENDING: Known =
    known(GAUGE, "p2p_peer_pending_send_bytes", &["peer_id"], "Bytes that wait to be sent to a peer.");
const PEER_RTT: Known =
    known(GAUGE, "p2p_peer_rtt_seconds", &["peer_id"], "Round-trip time of the last ping to a peer.");
const PEER_PENALTY: Known = known(GAUGE, "p2p_peer_penalty", &["peer_id"], "Penalty of a peer; it is banned at 100.");
const BANS: Known =
    known(COUNTER, "p2p_bans_total", &["reason"], "Bans of peers since the start, by the offence that caused the ban.");
const BANNED_PEERS: Known = known(GAUGE, "p2p_banned_peers", &[], "Peers that are banned now.");
const BANNED_RANGES: Known = known(
    GAUGE,
    "p2p_banned_ranges",
    &[],
    "Ranges of addresses that are banned now, because peers there misbehaved under several keys.",
);
const DENIED: Known = known(
    COUNTER,
    "p2p_connections_denied_total",
    &["reason"],
    "Connections that this node closed before the handshake because of a limit or a ban.",
);
const PENALTIES: Known =
    known(COUNTER, "p2p_penalties_total", &["reason"], "Offences of peers since the start, by kind.");
const SENDS_DROPPED: Known = known(
    COUNTER,
    "p2p_sends_dropped_total",
    &[],
    "Messages not sent because the peer's queue was full, the peer had disconnected, \
        or the message was too large.",
);
const DIAL_FAILURES: Known = known(COUNTER, "p2p_dial_failures_total", &[], "Dials that resulted in no connection.");
const DIALS_REFUSED: Known = known(
    COUNTER,
    "p2p_dials_refused_total",
    &[],
    "Dials not tried because of the address: it is banned, the peer that reported it is not in the same network, or too many \
        dials to its range failed recently.",
);
const RESPONSE_BYTES: Known =
    known(GAUGE, "p2p_response_bytes", &[], "Bytes of responses to peers' requests that are not sent yet.");
const REQUESTS_BUSY: Known = known(
    COUNTER,
    "p2p_requests_busy_total",
    &[],
    "Requests of peers answered with \"busy\", because too many were in progress.",
);
const MESH: Known = known(
    GAUGE,
    "p2p_mesh_peers",
    &["kind"],
    "Peers in the gossip mesh: `kept` are configured, dialled by this node or proven useful; `stranger` are all others.",
);
const EVENTS_QUEUED: Known =
    known(GAUGE, "p2p_events_queued", &[], "Network events that this node has not processed yet.");
const GOSSIP: Known =
    known(COUNTER, "p2p_gossip_batches_total", &["kind"], "Batches of transactions in gossip, by result.");
const TXS: Known = known(GAUGE, "mempool_size", &[], "Transactions that wait for a block.");
const TXS_MAX: Known = known(GAUGE, "mempool_size_max", &[], "Maximum number of transactions in the mempool.");
const TX_BYTES: Known = known(GAUGE, "mempool_size_bytes", &[], "Bytes of the transactions that wait for a block.");
const TX_BYTES_MAX: Known =
    known(GAUGE, "mempool_size_bytes_max", &[], "Maximum bytes of the transactions in the mempool.");
const EVICTED: Known =
    known(COUNTER, "mempool_evicted_txs", &[], "Transactions evicted in favour of others with higher fees.");
const EXPIRED: Known =
    known(COUNTER, "mempool_expired_txs", &[], "Transactions removed because they expired or waited too long.");
const RECHECKED: Known = known(COUNTER, "mempool_recheck_times", &[], "Transactions checked again after a block.");
const REAPED: Known = known(COUNTER, "mempool_reaped_txs", &[], "Transactions put into proposals.");
const CHECKS: Known =
    known(COUNTER, "mempool_signature_checks_total", &[], "Signatures of transactions checked: one per transaction.");
const CHECK_BATCHES: Known = known(
    COUNTER,
    "mempool_signature_batches_total",
    &[],
    "Batch checks: one checks the signatures of several transactions together.",
);
const CACHE_HITS: Known = known(
    COUNTER,
    "mempool_signature_cache_hits_total",
    &[],
    "Signatures of transactions not checked again, because the result was \
        cached.",
);
const VOTE_CHECKS: Known =
    known(COUNTER, "verify_signature_checks_total", &[], "Signatures of consensus messages checked.");
const VOTE_CACHE_HITS: Known = known(
    COUNTER,
    "verify_signature_cache_hits_total",
    &[],
    "Signatures of consensus messages not checked again, because the result was cached.",
);
const QUEUED: Known =
    known(GAUGE, "verify_queued", &["kind"], "Items that wait for a thread of the verification pool.");

const LINES_DROPPED: Known = known(
    COUNTER,
    "log_lines_dropped_total",
    &[],
    "Log lines dropped because the reader of standard output was too slow.",
);

const ALL: &[&Known] = &[
    &BATCHES,
    &SYNCS,
    &BATCH_BYTES,
    &SYNC_SECONDS,
    &BATCH_SECONDS,
    &SIZE,
    &DISK_FREE,
    &DISK_TOTAL,
    &BASE,
    &RETAIN,
    &TREE_CACHE,
    &TREE_HITS,
    &TREE_MISSES,
    &TREES_STORED,
    &PROPOSALS,
    &FROZEN,
    &NEXT_REVERT,
    &UPGRADE,
    &READY,
    &PEER_HEIGHT,
    &STATESYNC,
    &PEERS,
    &PEERS_OUTBOUND,
    &PEER_RECEIVED,
    &PEER_SENT,
    &PEER_QUEUE,
    &PEER_PENDING,
    &PEER_RTT,
    &PEER_PENALTY,
    &BANS,
    &BANNED_PEERS,
    &BANNED_RANGES,
    &DENIED,
    &PENALTIES,
    &SENDS_DROPPED,
    &DIAL_FAILURES,
    &DIALS_REFUSED,
    &RESPONSE_BYTES,
    &REQUESTS_BUSY,
    &MESH,
    &EVENTS_QUEUED,
    &GOSSIP,
    &TXS,
    &TXS_MAX,
    &TX_BYTES,
    &TX_BYTES_MAX,
    &EVICTED,
    &EXPIRED,
    &RECHECKED,
    &REAPED,
    &CHECKS,
    &CHECK_BATCHES,
    &CACHE_HITS,
    &VOTE_CHECKS,
    &VOTE_CACHE_HITS,
    &QUEUED,
    &LINES_DROPPED,
];

/// Returns the descriptions of the metrics that are collected here.
pub(super) fn facts() -> impl Iterator<Item = Fact> {
    ALL.iter().chain(stake::ALL).map(|known| {
        let kind = match known.kind {
            COUNTER => "counter",
            HISTOGRAM => "histogram",
            _ => "gauge",
        };
        Fact { name: known.name.to_owned(), kind, labels: known.labels.to_vec(), help: known.help.to_owned() }
    })
}

/// Collector that reads the sources at each scrape.
pub struct Snapshot {
    desc: Desc,
    sources: Sources,
}

impl Snapshot {
    /// Creates the collector of these parts.
    pub fn new(sources: Sources) -> Self {
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
        self.sources.consensus(&mut out);
        self.sources.store(&mut out);
        proposals(&self.sources.open_proposals(), &mut out);
        out.put(&UPGRADE, self.sources.upgrade_height() as f64);
        self.sources.stake(&mut out);
        self.sources.network(&mut out);
        self.sources.mempool(&mut out);
        self.sources.pool(&mut out);
        out.put(&LINES_DROPPED, logging::dropped_lines() as f64);
        out.0
    }
}

impl Sources {
    fn store(&self, out: &mut Families) {
        const MICROS: f64 = 1e6;
        let stats = self.store.kv().stats();
        out.put(&BATCHES, stats.batches as f64);
        out.put(&SYNCS, stats.syncs as f64);
        out.histogram(&BATCH_BYTES, &stats.batch_bytes, 1.0);
        out.histogram(&SYNC_SECONDS, &stats.synced_us, MICROS);
        out.histogram(&BATCH_SECONDS, &stats.buffered_us, MICROS);
        let sizes = self.store.kv().sizes().into_iter();
        out.many(&SIZE, sizes.map(|(cf, bytes)| (vec![label("column_family", cf.name())], bytes as f64)).collect());
        if let Some((free, total)) = os::disk_space(&self.data_dir) {
            out.put(&DISK_FREE, free as f64);
            out.put(&DISK_TOTAL, total as f64);
        }
        let earliest = self.store.earliest().0 as f64;
        out.put(&BASE, earliest);
        out.put(&RETAIN, earliest);
        let cache = self.app.read().cache_stats();
        out.put(&TREE_CACHE, cache.bytes as f64);
        out.put(&TREE_HITS, cache.hits as f64);
        out.put(&TREE_MISSES, cache.misses as f64);
        // A failed read is reported by the part of the node that must stop for it.
        if let Ok(Some(height)) = self.store.trees_height() {
            out.put(&TREES_STORED, height.0 as f64);
        }
    }

    /// Returns what `read` reads of the state; `None` if a read fails, which the part of the node reports that must stop
    /// for it.
    fn of_state<T>(&self, read: impl FnOnce(&StateReader<'_, RocksKv>) -> T) -> Option<T> {
        let reader = self.store.reader().ok()?;
        let value = read(&reader);
        reader.check().is_ok().then_some(value)
    }

    /// Returns the open proposals, which are few; none if they cannot be read.
    fn open_proposals(&self) -> Vec<Proposal> {
        let proposals = self.of_state(|reader| {
            let Ok(Answer::Proposals { open, .. }) = app::query(reader, "/proposals?limit=1", &[]) else {
                return Vec::new();
            };
            let proposal = |id: u64| match app::query(reader, &format!("/proposal/{id}"), &[]) {
                Ok(Answer::Proposal { proposal, .. }) => Some(*proposal),
                _ => None,
            };
            open.into_iter().filter_map(proposal).collect()
        });
        proposals.unwrap_or_default()
    }

    /// Adds what the state says about stake, unless it cannot be read.
    fn stake(&self, out: &mut Families) {
        let own = self.board.status().own.map(|key| key.address());
        if let Some(report) = self.of_state(|reader| app::stake_report(reader, own.as_ref())) {
            stake::put(&report, self.store.tip().map(|tip| (tip.height, tip.time)), out);
        }
    }

    /// Returns the height of the planned upgrade; 0 without one, or if it cannot be read.
    fn upgrade_height(&self) -> u64 {
        let planned = self.of_state(|reader| match app::query(reader, "/upgrade", &[]) {
            Ok(Answer::Upgrade { plan: Some(plan), .. }) => plan.height.0,
            _ => 0,
        });
        planned.unwrap_or_default()
    }

    fn consensus(&self, out: &mut Families) {
        out.put(&READY, if self.readiness.ready().is_ok() { 1.0 } else { 0.0 });
        out.put(&STATESYNC, 0.0);
        let heights = &self.board.status().peer_heights;
        let heights = heights.iter().map(|(peer, height)| (vec![label("peer_id", peer)], height.0 as f64));
        out.many(&PEER_HEIGHT, heights.collect());
    }

    fn network(&self, out: &mut Families) {
        let peers = self.network.peers();
        out.put(&PEERS, peers.len() as f64);
        network_totals(&self.network.stats(), out);
        let channels = |number: fn(&p2p::ChannelInfo) -> u64| {
            let of_peer = |peer: &p2p::PeerInfo| {
                let id = peer.id;
                let of_channel = move |(channel, info): (&Channel, &p2p::ChannelInfo)| {
                    (vec![label("peer_id", id), label("chID", channel.name())], number(info) as f64)
                };
                Channel::ALL.iter().zip(&peer.channels).map(of_channel).collect::<Vec<_>>()
            };
            peers.iter().flat_map(of_peer).collect::<Vec<_>>()
        };
        out.many(&PEER_RECEIVED, channels(|info| info.bytes_in));
        out.many(&PEER_SENT, channels(|info| info.bytes_out));
        let each = |number: &dyn Fn(&p2p::PeerInfo) -> f64| {
            peers.iter().map(|peer| (vec![label("peer_id", peer.id)], number(peer))).collect::<Vec<_>>()
        };
        let queued = |number: fn(&p2p::ChannelInfo) -> u64| {
            move |peer: &p2p::PeerInfo| peer.channels.iter().map(number).sum::<u64>() as f64
        };
        out.many(&PEER_QUEUE, each(&queued(|info| info.queued_messages)));
        out.many(&PEER_PENDING, each(&queued(|info| info.queued_bytes)));
        let rtts = peers.iter().filter_map(|peer| Some((vec![label("peer_id", peer.id)], peer.rtt?.as_secs_f64())));
        out.many(&PEER_RTT, rtts.collect());
        out.many(&PEER_PENALTY, each(&|peer| peer.penalties));
    }

    fn mempool(&self, out: &mut Families) {
        let stats = self.mempool.stats();
        let (txs_max, bytes_max) = self.mempool_max;
        out.put(&TXS, stats.txs as f64);
        out.put(&TXS_MAX, txs_max as f64);
        out.put(&TX_BYTES, stats.bytes as f64);
        out.put(&TX_BYTES_MAX, bytes_max as f64);
        out.put(&EVICTED, stats.evicted as f64);
        out.put(&EXPIRED, stats.expired as f64);
        out.put(&RECHECKED, stats.rechecked as f64);
        out.put(&REAPED, stats.reaped as f64);
        out.put(&CHECKS, self.txs.checks() as f64);
        out.put(&CHECK_BATCHES, self.txs.batches() as f64);
        out.put(&CACHE_HITS, self.txs.hits() as f64);
    }

    fn pool(&self, out: &mut Families) {
        let (checks, hits) = self.pool.signatures();
        out.put(&VOTE_CHECKS, checks as f64);
        out.put(&VOTE_CACHE_HITS, hits as f64);
        let queued = self.pool.queued().map(|(kind, length)| (vec![label("kind", kind)], length as f64));
        out.many(&QUEUED, queued.to_vec());
    }
}

/// Adds what is known about the open proposals.
fn proposals(open: &[Proposal], out: &mut Families) {
    let due = |proposal: &Proposal| match proposal.state {
        ProposalState::Scheduled { at } => Some(at.unix_millis()),
        _ => None,
    };
    let scheduled = open.iter().filter_map(due).count();
    let reverts = open.iter().filter(|proposal| proposal.revert().is_some()).filter_map(due);
    let counts = [("voting", open.len() - scheduled), ("scheduled", scheduled)];
    out.many(&PROPOSALS, counts.map(|(state, count)| (vec![label("state", state)], count as f64)).to_vec());
    out.put(&FROZEN, open.iter().filter(|proposal| proposal.frozen_until().is_some()).count() as f64);
    out.put(&NEXT_REVERT, reverts.min().unwrap_or(0) as f64 / 1000.0);
}

/// Adds the counters that the network keeps over all peers.
fn network_totals(stats: &p2p::Stats, out: &mut Families) {
    out.put(&PEERS_OUTBOUND, stats.peers_outbound as f64);
    let offences = |number: fn(&p2p::Offences) -> u64| {
        let named = p2p::Penalty::ALL.iter().zip(&stats.offences);
        named.map(|(penalty, of)| (vec![label("reason", penalty.name)], number(of) as f64)).collect::<Vec<_>>()
    };
    out.many(&BANS, offences(|of| of.bans));
    out.put(&BANNED_PEERS, stats.banned as f64);
    out.put(&BANNED_RANGES, stats.banned_ranges as f64);
    let denials = p2p::Stats::DENIALS.iter().zip(stats.denials);
    out.many(&DENIED, denials.map(|(reason, count)| (vec![label("reason", reason)], count as f64)).collect());
    out.many(&PENALTIES, offences(|of| of.penalties));
    out.put(&SENDS_DROPPED, stats.sends_dropped as f64);
    out.put(&DIAL_FAILURES, stats.dial_failures as f64);
    out.put(&DIALS_REFUSED, stats.dials_refused as f64);
    out.put(&RESPONSE_BYTES, stats.response_bytes as f64);
    out.put(&REQUESTS_BUSY, stats.requests_busy as f64);
    let mesh = [("kept", stats.mesh_peers), ("stranger", stats.mesh_unproven)];
    out.many(&MESH, mesh.map(|(kind, count)| (vec![label("kind", kind)], count as f64)).to_vec());
    out.put(&EVENTS_QUEUED, stats.events_queued as f64);
    let gossip = [
        ("published", stats.gossip_published),
        ("accepted", stats.gossip_accepted),
        ("ignored", stats.gossip_ignored),
        ("rejected", stats.gossip_rejected),
        ("dropped", stats.gossip_dropped + stats.gossip_publish_refused),
    ];
    out.many(&GOSSIP, gossip.map(|(kind, count)| (vec![label("kind", kind)], count as f64)).to_vec());
}

#[cfg(test)]
mod tests {
    use app::{ProposedRevert, Subject};
    use types::Deadline;

    use super::*;

    #[test]
    fn the_next_revert_is_the_earliest_scheduled_one() {
        let revert = types::Revert { target: types::Height(3), scope: Vec::new(), notice: None, dirty_after: None };
        let at = |millis| Deadline::from_unix_millis(millis).unwrap();
        let subject = |frozen_until| {
            let (revert, diff_digest) = (revert.clone(), types::Hash([0; 32]));
            Subject::Revert(ProposedRevert { revert, keys: 0, bytes: 0, diff_digest, frozen_until })
        };
        let proposal = |state, frozen_until| Proposal {
            id: 1,
            subject: subject(frozen_until),
            reason: String::new(),
            uri: String::new(),
            proposer: types::Address([1; 20]),
            deposit: 0,
            opened: types::Height(4),
            voting_ends: at(1_000),
            notice: std::time::Duration::ZERO,
            state,
        };
        let act =
            Proposal { subject: Subject::Act(types::Act::UpgradeCancel), ..proposal(ProposalState::Voting, None) };
        let text = |open: &[Proposal]| {
            let mut out = Families::default();
            proposals(open, &mut out);
            let mut text = String::new();
            prometheus::TextEncoder::new().encode_utf8(&out.0, &mut text).unwrap();
            text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("; ")
        };
        let scheduled = |millis| ProposalState::Scheduled { at: at(millis) };
        assert_eq!(
            text(&[
                proposal(ProposalState::Voting, Some(at(500))),
                proposal(scheduled(9_000), None),
                proposal(scheduled(7_500), None),
                Proposal { state: scheduled(1_000), ..act }
            ]),
            "state_proposals_open{state=\"voting\"} 1; state_proposals_open{state=\"scheduled\"} 3; \
             state_proposals_frozen 1; state_next_revert_timestamp_seconds 7.5"
        );
        assert!(text(&[]).ends_with("state_proposals_frozen 0; state_next_revert_timestamp_seconds 0"));
    }

    #[test]
    fn metrics_show_what_peers_make_this_node_hold_and_refuse() {
        let stats = p2p::Stats {
            banned: 1,
            banned_ranges: 2,
            denials: [0, 3, 0, 0, 0, 0],
            offences: std::array::from_fn(|of| p2p::Offences { penalties: 20 + of as u64, bans: of as u64 }),
            dials_refused: 4,
            response_bytes: 5,
            requests_busy: 6,
            mesh_peers: 7,
            mesh_unproven: 8,
            ..p2p::Stats::default()
        };
        let mut out = Families::default();
        network_totals(&stats, &mut out);
        let mut text = String::new();
        prometheus::TextEncoder::new().encode_utf8(&out.0, &mut text).unwrap();
        let series = [
            "p2p_banned_peers 1",
            "p2p_banned_ranges 2",
            "p2p_connections_denied_total{reason=\"too_many_from_address\"} 3",
            "p2p_penalties_total{reason=\"garbage\"} 20",
            "p2p_bans_total{reason=\"bad_signature\"} 3",
            "p2p_dials_refused_total 4",
            "p2p_response_bytes 5",
            "p2p_requests_busy_total 6",
            "p2p_mesh_peers{kind=\"kept\"} 7",
            "p2p_mesh_peers{kind=\"stranger\"} 8",
        ];
        for line in series {
            assert!(text.lines().any(|there| there == line), "{line} is missing in\n{text}");
        }
    }
}
