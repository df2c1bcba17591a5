//! Runs all work that needs signature checks beside the consensus thread: the messages of peers on a thread of their own
//! (`messages`), so that no vote waits for transactions, and everything else on a pool of threads.
//!
//! | queue, by urgency | items | bound | beyond the bound |
//! |---|---|---|---|
//! | responses | block sync responses of peers | one for each open request | – |
//! | commits | of synced blocks, when the validators have changed since | one that the replica asked for | – |
//! | blocks | slices of a proposed block, see below | those that the replica asked for | – |
//! | submissions | transactions of clients; fair between addresses | bytes per address, in total | refused: busy |
//! | batches | gossiped transactions; fair between peers | bytes per peer, in total | not forwarded, counted |
//!
//! Of a proposed block, its transactions, the precommits of its last commit and its evidence are checked as far as they
//! are new here. Long work is done in slices of [`SLICE`] signatures; between two slices a thread looks for more urgent
//! work. What a peer sent before it disconnected is dropped.

mod bucket;
mod fair;
mod messages;

use std::{
    collections::{BTreeSet, VecDeque},
    net::IpAddr,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Instant, SystemTime},
};

use mempool::{Source, TxVerifier};
use p2p::{GossipId, Network, NodeId, Verdict};
use replica::{Input, Offence, UnverifiedEvidence, Verifier};
use rpc::clients::Client;
use tokio::sync::oneshot;
use types::{BlockId, BlockResponse, Commit, SignedVote, Transaction, TxBatch, Wire};

use self::{fair::FairQueue, messages::Messages};
use crate::{
    inbox::Inbox,
    intake::{Answer, FromPeer, Intake, Submission, Taken},
    metrics::Metrics,
    os,
    penalty::penalize,
};

pub use self::messages::{SIGNATURES_BURST, SIGNATURES_PER_SECOND};

/// Number of signatures that a thread checks together before it looks for more urgent work: about 1 ms.
pub const SLICE: usize = 64;

/// Number of bytes of waiting gossip that is checked together, if as much waits: about [`SLICE`] transfers, in small
/// batches of several peers. A batch that is longer by itself is checked alone, so that no other one waits for it.
const JOINED_BYTES: usize = 16 << 10;

/// Maximum bytes of queued submissions of one address: one second's work of one thread, if they are transfers.
const SUBMISSION_BYTES_PER_ADDRESS_MAX: usize = 8 << 20;
/// Maximum bytes of all queued submissions.
const SUBMISSION_BYTES_MAX: usize = 16 << 20;

/// Maximum bytes of one peer's queued transaction batches.
const BATCH_BYTES_PER_PEER_MAX: usize = 4 << 20;
/// Maximum bytes of all peers' queued transaction batches.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// The handles of other parts that the pool uses.
pub struct Deps {
    /// Checks signatures in consensus messages of peers.
    pub verifier: Verifier,
    /// Checks signatures of the transactions of proposed blocks.
    pub txs: Arc<TxVerifier>,
    /// Adds the transactions of clients and peers to the mempool, and publishes them.
    pub intake: Intake,
    /// Network that receives verdicts and penalties.
    pub network: Network,
    /// Inbox of the consensus thread, which receives the results.
    pub inbox: Arc<Inbox>,
    /// Metrics that the pool updates.
    pub metrics: Arc<Metrics>,
}

/// The pool: the queues, and the threads that work on them.
pub struct VerifyPool {
    deps: Deps,
    messages: Arc<Messages>,
    queues: Mutex<Queues>,
    work: Condvar,
}

struct Queues {
    responses: VecDeque<(NodeId, u64, Vec<u8>)>,
    commits: VecDeque<Arc<Commit>>,
    blocks: VecDeque<BlockSlice>,
    submissions: FairQueue<IpAddr, Submission>,
    batches: FairQueue<NodeId, Batch>,
    /// The connected peers.
    peers: BTreeSet<NodeId>,
    /// True if the mempool may have transactions to publish.
    is_outgoing: bool,
    is_closed: bool,
    /// Number of sleeping threads; a notification is a system call, so none is sent while no thread sleeps.
    sleeping: usize,
}

struct Batch {
    from: BatchFrom,
    bytes: Vec<u8>,
    since: Instant,
}

enum BatchFrom {
    Gossip(GossipId),
    /// A response to a request of this node, which waits until the transactions are processed.
    Fetched(oneshot::Sender<()>),
}

/// A peer's batch whose transactions are being taken in.
struct TakenBatch {
    peer: NodeId,
    from: BatchFrom,
    since: Instant,
    txs: Vec<Vec<u8>>,
    /// Number of its transactions that were new here.
    new: u64,
    /// One of its transactions is malformed or not signed by its signer.
    is_bad: bool,
}

impl TakenBatch {
    fn tx(&self, index: usize) -> FromPeer<'_> {
        let source = match self.from {
            BatchFrom::Gossip(_) => Source::Peer(self.peer),
            BatchFrom::Fetched(_) => Source::Fetched(self.peer),
        };
        FromPeer { bytes: &self.txs[index], source, since: self.since }
    }
}

/// A slice of the list of a block's transactions followed by its precommits and its evidence.
struct BlockSlice {
    block: Arc<BlockCheck>,
    from: usize,
}

/// A block whose transactions, precommits and evidence are being checked.
struct BlockCheck {
    block_id: BlockId,
    txs: Arc<Vec<Transaction>>,
    precommits: Vec<SignedVote>,
    evidence: Vec<UnverifiedEvidence>,
    left: AtomicUsize,
    is_valid: AtomicBool,
    since: Instant,
}

enum Job {
    Response(NodeId, u64, Vec<u8>),
    Commit(Arc<Commit>),
    Block(BlockSlice),
    Submissions(Vec<Submission>),
    Batches(Vec<(NodeId, Batch)>),
}

impl VerifyPool {
    /// Creates a pool that has no threads yet.
    pub fn new(deps: Deps) -> Arc<Self> {
        let queues = Queues {
            responses: VecDeque::new(),
            commits: VecDeque::new(),
            blocks: VecDeque::new(),
            submissions: FairQueue::new(SUBMISSION_BYTES_PER_ADDRESS_MAX, SUBMISSION_BYTES_MAX),
            batches: FairQueue::new(BATCH_BYTES_PER_PEER_MAX, BATCH_BYTES_MAX),
            peers: BTreeSet::new(),
            is_outgoing: false,
            is_closed: false,
            sleeping: 0,
        };
        let Deps { verifier, network, inbox, metrics, .. } = &deps;
        let messages = Messages::new(verifier.clone(), network.clone(), inbox.clone(), metrics.clone());
        Arc::new(Self { deps, messages: Arc::new(messages), queues: Mutex::new(queues), work: Condvar::new() })
    }

    /// Starts the threads of the pool, and the one for messages. With `threads` = 0 the pool has two, or one on a single
    /// core.
    pub fn start(self: &Arc<Self>, threads: usize) -> Vec<JoinHandle<()>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { cores.min(2) } else { threads };
        let start = |index| {
            let pool = self.clone();
            let work = move || {
                os::compute_at_length();
                pool.run();
            };
            std::thread::Builder::new().name(format!("verify-{index}")).spawn(work).expect("a thread can be started")
        };
        std::iter::once(self.messages.start()).chain((0..threads).map(start)).collect()
    }

    /// Closes the pool: each thread ends after its current job, and queued work is dropped.
    pub fn close(&self) {
        let mut queues = self.lock();
        queues.is_closed = true;
        while queues.submissions.pop().is_some() {} // their callers get an error at once
        drop(queues);
        self.work.notify_all();
        self.messages.close();
    }

    /// Prepares for the messages of a peer that has connected.
    pub fn expect(&self, peer: NodeId) {
        self.messages.expect(peer);
        self.lock().peers.insert(peer);
    }

    /// Queues a message of a connected peer; it is checked, then passed to the replica. A full queue drops it. Never blocks.
    pub fn message(&self, peer: NodeId, bytes: Vec<u8>, received: SystemTime) {
        let fits = self.messages.push(peer, bytes, received);
        self.count_dropped(fits);
    }

    /// Queues a gossiped batch of transactions; a full queue drops it. Never blocks.
    pub fn batch(&self, peer: NodeId, id: GossipId, bytes: Vec<u8>) {
        let size = bytes.len();
        let batch = Batch { from: BatchFrom::Gossip(id.clone()), bytes, since: Instant::now() };
        let mut queues = self.lock();
        let fits = queues.batches.push(peer, size, batch);
        self.wake(queues);
        self.count_dropped(fits);
        if !fits {
            self.deps.network.verdict(id, Verdict::Ignore);
        }
    }

    /// Releases the queues and wakes one thread, if any sleeps.
    fn wake(&self, queues: MutexGuard<'_, Queues>) {
        let sleeps = queues.sleeping > 0;
        drop(queues);
        if sleeps {
            self.work.notify_one();
        }
    }

    fn count_dropped(&self, fits: bool) {
        if !fits {
            self.deps.metrics.verify.dropped_total.with_label_values(&["full"]).inc();
        }
    }

    /// Queues a check of the transactions of a proposed block, the precommits of its last commit and its evidence, as far
    /// as this node has not checked them before. The replica receives one result for all of them. Never blocks.
    pub fn verify_block(
        &self,
        block_id: BlockId,
        txs: Arc<Vec<Transaction>>,
        precommits: Vec<SignedVote>,
        evidence: Vec<UnverifiedEvidence>,
    ) {
        let slices = (txs.len() + precommits.len() + evidence.len()).div_ceil(SLICE).max(1);
        let check = BlockCheck {
            block_id,
            txs,
            precommits,
            evidence,
            left: AtomicUsize::new(slices),
            is_valid: AtomicBool::new(true),
            since: Instant::now(),
        };
        let block = Arc::new(check);
        self.lock().blocks.extend((0..slices).map(|i| BlockSlice { block: block.clone(), from: i * SLICE }));
        self.work.notify_all();
    }

    /// Queues a peer's response to a request for blocks; it is decoded, checked and passed to the replica. Never blocks.
    pub fn decode_response(&self, peer: NodeId, request: u64, bytes: Vec<u8>) {
        let mut queues = self.lock();
        queues.responses.push_back((peer, request, bytes));
        self.wake(queues);
    }

    /// Queues a check of the commit of a synced block; the replica receives the result. Never blocks.
    pub fn verify_commit(&self, commit: Arc<Commit>) {
        let mut queues = self.lock();
        queues.commits.push_back(commit);
        self.wake(queues);
    }

    /// Reports to the replica that a request for blocks failed. Never blocks.
    pub fn no_response(&self, request: u64) {
        self.deps.inbox.push_now(Input::Blocks { request, response: None });
    }

    /// Notifies the pool that the mempool has transactions for peers. Never blocks.
    pub fn on_outgoing(&self) {
        let mut queues = self.lock();
        queues.is_outgoing = true;
        self.wake(queues);
    }

    /// Queues transactions that this node fetched from a peer; they are processed like a gossiped batch. Never blocks.
    ///
    /// The receiver completes when they are processed. It fails when they were dropped, or are malformed or not signed.
    pub fn fetched(&self, peer: NodeId, bytes: Vec<u8>) -> oneshot::Receiver<()> {
        let (done, taken) = oneshot::channel();
        let size = bytes.len();
        let batch = Batch { from: BatchFrom::Fetched(done), bytes, since: Instant::now() };
        let mut queues = self.lock();
        let fits = queues.batches.push(peer, size, batch);
        self.wake(queues);
        self.count_dropped(fits);
        taken
    }

    /// Queues a transaction of a client. Never blocks. A full queue drops it with the sender of its answer.
    fn submit(&self, bytes: Vec<u8>, payer: Arc<Client>, adds: bool) -> oneshot::Receiver<Answer> {
        let (address, size) = (payer.address(), bytes.len());
        let (submission, receiver) = Submission::new(bytes, payer, adds);
        let mut queues = self.lock();
        if !queues.is_closed {
            queues.submissions.push(address, size, submission);
        }
        self.wake(queues);
        receiver
    }

    /// Drops the messages and the batches of a peer that has disconnected: the replica would take none of them.
    pub fn forget(&self, peer: NodeId) {
        self.messages.forget(peer);
        let mut queues = self.lock();
        queues.peers.remove(&peer);
        queues.batches.forget(&peer);
        let _ = self.deps.metrics.p2p.num_txs.remove_label_values(&[&peer.to_string()]); // the peer may have no series
    }

    /// Returns the number of signatures of consensus messages that were checked, and of those that were known to be
    /// valid.
    pub fn signatures(&self) -> (u64, u64) {
        (self.deps.verifier.checks(), self.deps.verifier.hits())
    }

    /// Returns the number of queued items by kind.
    pub fn queued(&self) -> [(&'static str, usize); 4] {
        let messages = self.messages.queued();
        let queues = self.lock();
        [
            ("message", messages),
            ("block", queues.blocks.len()),
            ("submission", queues.submissions.len()),
            ("batch", queues.batches.len()),
        ]
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().expect("a thread that panics stops the process")
    }

    fn run(&self) {
        while let Some(job) = self.next() {
            self.work_on(job);
        }
    }

    /// Waits for a job and returns the most urgent one; `None` when the pool is closed.
    fn next(&self) -> Option<Job> {
        let mut queues = self.lock();
        loop {
            if queues.is_closed {
                return None;
            }
            if let Some(job) = queues.urgent().or_else(|| queues.patient()) {
                return Some(job);
            }
            queues.is_outgoing = false;
            drop(queues);
            let due = self.deps.intake.publish();
            queues = self.lock();
            if !queues.is_empty() {
                continue;
            }
            let panicked = "a thread that panics stops the process";
            queues.sleeping += 1;
            queues = match due {
                None => self.work.wait(queues).expect(panicked),
                Some(after) => self.work.wait_timeout(queues, after).expect(panicked).0,
            };
            queues.sleeping -= 1;
        }
    }

    fn work_on(&self, job: Job) {
        match job {
            Job::Response(peer, request, bytes) => self.take_response(peer, request, &bytes),
            Job::Commit(commit) => {
                let verified = self.deps.verifier.verify_commit(commit);
                self.deps.inbox.push_now(Input::CommitVerified(verified));
            }
            Job::Block(slice) => self.check_slice(&slice),
            Job::Submissions(submissions) => {
                self.deps.intake.take_submissions(submissions);
                self.yield_to_urgent();
            }
            Job::Batches(batches) => {
                let is_long = |(_, batch): &(NodeId, Batch)| batch.bytes.len() > JOINED_BYTES;
                let (long, short): (Vec<_>, Vec<_>) = batches.into_iter().partition(is_long);
                self.take_batches(short);
                long.into_iter().for_each(|batch| self.take_batches(vec![batch]));
            }
        }
    }

    /// Does all urgent work, between two slices of long work.
    fn yield_to_urgent(&self) {
        loop {
            let Some(job) = self.lock().urgent() else { return };
            self.work_on(job);
        }
    }

    fn take_response(&self, peer: NodeId, request: u64, bytes: &[u8]) {
        let response = match BlockResponse::decode(bytes) {
            Ok(response) => Some(self.deps.verifier.check_blocks(response)),
            Err(error) => {
                penalize(&self.deps.network, peer, &Offence::BadResponse(error.to_string()));
                None
            }
        };
        self.deps.inbox.push_now(Input::Blocks { request, response });
    }

    fn check_slice(&self, slice: &BlockSlice) {
        let BlockSlice { block, from } = slice;
        if block.is_valid.load(Ordering::Acquire) {
            let BlockCheck { txs, precommits, evidence, .. } = &**block;
            // The part of this slice in a list of `len` items after `before` others.
            let part = |before: usize, len: usize| {
                let at = |end: usize| end.saturating_sub(before).min(len);
                at(*from)..at(from + SLICE)
            };
            let holds = self.deps.txs.verify_all(&txs[part(0, txs.len())])
                && self.deps.verifier.hold(&precommits[part(txs.len(), precommits.len())])
                && self.deps.verifier.hold_evidence(&evidence[part(txs.len() + precommits.len(), evidence.len())]);
            if !holds {
                block.is_valid.store(false, Ordering::Release);
            }
        }
        if block.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.deps.metrics.verify.block_seconds.observe(block.since.elapsed().as_secs_f64());
            let (block_id, valid) = (block.block_id, block.is_valid.load(Ordering::Acquire));
            self.deps.inbox.push_now(Input::TxsVerified { block_id, valid });
        }
    }

    /// Takes the transactions of some batches in, whose signatures are checked together: the cost of a check falls with
    /// their number.
    fn take_batches(&self, batches: Vec<(NodeId, Batch)>) {
        let metrics = &self.deps.metrics;
        let waited = metrics.verify.wait_seconds.with_label_values(&["batch"]);
        let mut taken: Vec<TakenBatch> = Vec::with_capacity(batches.len());
        for (peer, Batch { from, bytes, since }) in batches {
            waited.observe(since.elapsed().as_secs_f64());
            let Ok(TxBatch { txs, .. }) = TxBatch::decode(&bytes) else {
                self.reject(peer, from);
                continue;
            };
            metrics.mempool.batch_size.with_label_values(&["in"]).observe(txs.len() as f64);
            taken.push(TakenBatch { peer, from, since, txs, new: 0, is_bad: false });
        }
        let all: Vec<(usize, usize)> =
            (0..taken.len()).flat_map(|at| (0..taken[at].txs.len()).map(move |tx| (at, tx))).collect();
        for slice in all.chunks(SLICE) {
            // The rest of a batch with a bad transaction is not looked at.
            let slice: Vec<(usize, usize)> = slice.iter().copied().filter(|(at, _)| !taken[*at].is_bad).collect();
            let txs: Vec<FromPeer<'_>> = slice.iter().map(|(at, tx)| taken[*at].tx(*tx)).collect();
            let results = self.deps.intake.take_from_peers(&txs);
            for ((at, _), result) in slice.into_iter().zip(results) {
                taken[at].new += u64::from(result == Taken::New);
                taken[at].is_bad |= result == Taken::Bad;
            }
            self.yield_to_urgent();
        }
        for TakenBatch { peer, from, new, is_bad, .. } in taken {
            self.count_new(peer, new);
            match from {
                // An honest node forwards only transactions that decode and are correctly signed.
                from if is_bad => self.reject(peer, from),
                // A batch without a new valid transaction is not forwarded.
                BatchFrom::Gossip(id) => {
                    self.deps.network.verdict(id, if new > 0 { Verdict::Accept } else { Verdict::Ignore });
                }
                BatchFrom::Fetched(done) => drop(done.send(())), // fails when the peer has disconnected
            }
        }
        self.deps.intake.publish();
    }

    /// Counts transactions that a peer was the first to send, if it is still connected: the series of others are removed.
    fn count_new(&self, peer: NodeId, txs: u64) {
        let queues = self.lock();
        if txs > 0 && queues.peers.contains(&peer) {
            self.deps.metrics.p2p.num_txs.with_label_values(&[&peer.to_string()]).inc_by(txs);
        }
    }

    /// Rejects a batch that no honest peer sends.
    fn reject(&self, peer: NodeId, from: BatchFrom) {
        match from {
            BatchFrom::Gossip(id) => self.deps.network.verdict(id, Verdict::Reject),
            BatchFrom::Fetched(_) => {
                let offence = Offence::BadResponse("transactions that are malformed or not signed".to_owned());
                penalize(&self.deps.network, peer, &offence);
            }
        }
    }
}

/// Handle with which clients submit transactions to the mempool.
#[derive(Clone)]
pub struct Submitter(pub Arc<VerifyPool>);

impl Submitter {
    /// Submits a transaction to the mempool and for gossip. Never blocks. The receiver gets the result; it fails at
    /// once when too many submissions are queued, in total or of this address.
    pub fn submit(&self, bytes: Vec<u8>, payer: Arc<Client>) -> oneshot::Receiver<Answer> {
        self.0.submit(bytes, payer, true)
    }

    /// Checks if a transaction would be accepted, without a change of the mempool.
    pub fn check(&self, bytes: Vec<u8>, payer: Arc<Client>) -> oneshot::Receiver<Answer> {
        self.0.submit(bytes, payer, false)
    }
}

impl Queues {
    fn urgent(&mut self) -> Option<Job> {
        if let Some((peer, request, bytes)) = self.responses.pop_front() {
            return Some(Job::Response(peer, request, bytes));
        }
        self.commits.pop_front().map(Job::Commit).or_else(|| self.blocks.pop_front().map(Job::Block))
    }

    fn patient(&mut self) -> Option<Job> {
        let submissions = std::iter::from_fn(|| self.submissions.pop()).map(|(_, submission)| submission);
        let submissions: Vec<Submission> = submissions.take(SLICE).collect();
        if !submissions.is_empty() {
            return Some(Job::Submissions(submissions));
        }
        let mut bytes = 0;
        let batches: Vec<_> = std::iter::from_fn(|| {
            let next = if bytes < JOINED_BYTES { self.batches.pop() } else { None };
            next.inspect(|(_, batch)| bytes += batch.bytes.len())
        })
        .collect();
        (!batches.is_empty()).then_some(Job::Batches(batches))
    }

    fn is_empty(&self) -> bool {
        let Self { responses, commits, blocks, submissions, batches, peers: _, is_outgoing, is_closed, sleeping: _ } =
            self;
        !is_closed
            && !is_outgoing
            && responses.is_empty()
            && commits.is_empty()
            && blocks.is_empty()
            && submissions.len() == 0
            && batches.len() == 0
    }
}
