//! Runs all work that needs signature checks on a pool of threads, beside the consensus thread.
//!
//! | queue, by urgency | items | bound | beyond the bound |
//! |---|---|---|---|
//! | messages | consensus messages; fair between peers | bytes per peer, in total | dropped, counted; peers repair it |
//! | responses | block sync responses of peers | one for each open request | – |
//! | commits | of synced blocks, when the validators have changed since | one that the replica asked for | – |
//! | blocks | slices of a proposed block, see below | those that the replica asked for | – |
//! | submissions | transactions of clients; fair between addresses | bytes per address, in total | refused: busy |
//! | batches | gossiped transactions; fair between peers | bytes per peer, in total | not forwarded, counted |
//!
//! Messages are votes, proposals, certificates, parts, round states and evidence. Of a proposed block, its transactions,
//! the precommits of its last commit and its evidence are checked as far as they are new here.
//!
//! Long work is done in slices of [`SLICE`] signatures; between two slices a thread looks for more urgent work.
//! Messages are also rated by their signatures, and one without a signature as one: messages of a peer beyond
//! [`SIGNATURES_PER_SECOND`] are dropped, and the peer gets a penalty. What a peer sent before it disconnected is dropped.

mod bucket;
mod fair;

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use mempool::{Source, TxVerifier};
use p2p::{GossipId, Network, NodeId, Verdict};
use replica::{Checked, Input, Offence, UnverifiedEvidence, Verifier};
use rpc::clients::Client;
use tokio::sync::oneshot;
use types::{BlockId, BlockResponse, Commit, PeerMessage, SignedVote, Transaction, TxBatch, Wire};

use self::{bucket::Bucket, fair::FairQueue};
use crate::{
    clock::time_of,
    inbox::Inbox,
    intake::{Answer, Intake, Submission},
    metrics::{Metrics, message_type},
    os,
    penalty::penalize,
};

/// Number of signatures that a thread checks before it looks for more urgent work: about 1 ms.
pub const SLICE: usize = 16;

/// Maximum bytes of queued submissions of one address: one second's work of one thread, if they are transfers.
const SUBMISSION_BYTES_PER_ADDRESS_MAX: usize = 8 << 20;
/// Maximum bytes of all queued submissions.
const SUBMISSION_BYTES_MAX: usize = 16 << 20;

/// Maximum bytes of one peer's queued messages: the parts of the largest block, with a reserve.
const MESSAGE_BYTES_PER_PEER_MAX: usize = 20 << 20;
/// Maximum bytes of all peers' queued messages.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Maximum bytes of one peer's queued transaction batches.
const BATCH_BYTES_PER_PEER_MAX: usize = 4 << 20;
/// Maximum bytes of all peers' queued transaction batches.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// Maximum rate of signature checks for the messages of one peer, per second: the votes of 5,000 / (2 · n) heights with
/// n validators. A message without a signature counts as one: the hash of a part takes half as long as a check, and each round
/// state is work for the consensus thread.
pub const SIGNATURES_PER_SECOND: u32 = 5_000;
/// Maximum signature checks that a peer may save up for a burst: certificates of a few rounds of the largest set.
pub const SIGNATURES_BURST: u32 = 10_000;

/// Minimum interval between two flood penalties for one peer.
const FLOOD_PENALTY_INTERVAL: Duration = Duration::from_secs(1);

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
    queues: Mutex<Queues>,
    work: Condvar,
}

struct Queues {
    messages: FairQueue<NodeId, Message>,
    responses: VecDeque<(NodeId, u64, Vec<u8>)>,
    commits: VecDeque<Arc<Commit>>,
    blocks: VecDeque<BlockSlice>,
    submissions: FairQueue<IpAddr, Submission>,
    batches: FairQueue<NodeId, Batch>,
    /// The rate of each connected peer.
    rates: BTreeMap<NodeId, Rate>,
    /// True if the mempool may have transactions to publish.
    is_outgoing: bool,
    is_closed: bool,
    /// Number of sleeping threads; a notification is a system call, so none is sent while no thread sleeps.
    sleeping: usize,
}

struct Message {
    bytes: Vec<u8>,
    received: SystemTime,
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

struct Rate {
    bucket: Bucket,
    penalized: Option<Instant>,
}

enum Job {
    Message(NodeId, Message),
    Response(NodeId, u64, Vec<u8>),
    Commit(Arc<Commit>),
    Block(BlockSlice),
    Submissions(Vec<Submission>),
    Batch(NodeId, Batch),
}

impl VerifyPool {
    /// Creates a pool that has no threads yet.
    pub fn new(deps: Deps) -> Arc<Self> {
        let queues = Queues {
            messages: FairQueue::new(MESSAGE_BYTES_PER_PEER_MAX, MESSAGE_BYTES_MAX),
            responses: VecDeque::new(),
            commits: VecDeque::new(),
            blocks: VecDeque::new(),
            submissions: FairQueue::new(SUBMISSION_BYTES_PER_ADDRESS_MAX, SUBMISSION_BYTES_MAX),
            batches: FairQueue::new(BATCH_BYTES_PER_PEER_MAX, BATCH_BYTES_MAX),
            rates: BTreeMap::new(),
            is_outgoing: false,
            is_closed: false,
            sleeping: 0,
        };
        Arc::new(Self { deps, queues: Mutex::new(queues), work: Condvar::new() })
    }

    /// Starts the threads of the pool. With `threads` = 0 it starts two, or one on a single core.
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
        (0..threads).map(start).collect()
    }

    /// Closes the pool: each thread ends after its current job, and queued work is dropped.
    pub fn close(&self) {
        let mut queues = self.lock();
        queues.is_closed = true;
        while queues.submissions.pop().is_some() {} // their callers get an error at once
        drop(queues);
        self.work.notify_all();
    }

    /// Prepares for the messages of a peer that has connected.
    pub fn expect(&self, peer: NodeId) {
        let bucket = Bucket::new(SIGNATURES_PER_SECOND, SIGNATURES_BURST, Instant::now());
        self.lock().rates.insert(peer, Rate { bucket, penalized: None });
    }

    /// Queues a message of a connected peer; it is checked, then passed to the replica. A full queue drops it. Never blocks.
    pub fn message(&self, peer: NodeId, bytes: Vec<u8>, received: SystemTime) {
        let size = bytes.len();
        let mut queues = self.lock();
        let fits = queues.messages.push(peer, size, Message { bytes, received });
        self.wake(queues);
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

    /// Drops the rate, the messages and the batches of a peer that has disconnected: the replica would take none of them.
    pub fn forget(&self, peer: NodeId) {
        let mut queues = self.lock();
        queues.rates.remove(&peer);
        queues.messages.forget(&peer);
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
        let queues = self.lock();
        [
            ("message", queues.messages.len()),
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
            Job::Message(peer, message) => self.check_message(peer, message),
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
            Job::Batch(peer, batch) => self.take_batch(peer, batch),
        }
    }

    /// Does all urgent work, between two slices of long work.
    fn yield_to_urgent(&self) {
        loop {
            let Some(job) = self.lock().urgent() else { return };
            self.work_on(job);
        }
    }

    fn check_message(&self, peer: NodeId, message: Message) {
        let metrics = &self.deps.metrics;
        let begun = Instant::now();
        let waited = message.received.elapsed().unwrap_or_default();
        metrics.verify.wait_seconds.with_label_values(&["message"]).observe(waited.as_secs_f64());
        let checked = match PeerMessage::decode(&message.bytes) {
            Ok(decoded) => {
                let kind = message_type(&decoded);
                metrics.p2p.messages_received.with_label_values(&[kind, "consensus"]).inc();
                metrics.p2p.message_receive_bytes_total.with_label_values(&[kind]).inc_by(message.bytes.len() as u64);
                if !self.may_check(peer, signatures_in(&decoded)) {
                    return;
                }
                metrics.verify.messages_total.with_label_values(&[kind]).inc();
                let checked = self.deps.verifier.check(decoded);
                if matches!(checked, Checked::Vote(_) | Checked::Proposal(_)) {
                    // A validator signed it, so the peer is a validator or is connected to one.
                    self.deps.network.prove(NodeId(peer.0));
                }
                checked
            }
            Err(error) => Checked::Bad(Offence::Malformed(error.to_string())),
        };
        metrics.verify.message_seconds.observe(begun.elapsed().as_secs_f64());
        let received = time_of(message.received);
        self.deps.inbox.push(Input::Message { peer, message: checked, received });
    }

    /// Takes signature checks from the peer's budget; returns false if the budget is used up, or the peer has disconnected.
    fn may_check(&self, peer: NodeId, signatures: usize) -> bool {
        let now = Instant::now();
        let mut queues = self.lock();
        let Some(rate) = queues.rates.get_mut(&peer) else { return false };
        if rate.bucket.take(now, signatures as u32) {
            return true;
        }
        let is_first = rate.penalized.is_none_or(|at| now - at >= FLOOD_PENALTY_INTERVAL);
        if is_first {
            rate.penalized = Some(now);
        }
        drop(queues);
        self.deps.metrics.verify.dropped_total.with_label_values(&["flood"]).inc();
        if is_first {
            let offence =
                Offence::Flood(format!("more than {SIGNATURES_PER_SECOND} signatures and other messages per second"));
            penalize(&self.deps.network, peer, &offence);
        }
        false
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

    fn take_batch(&self, peer: NodeId, batch: Batch) {
        let metrics = &self.deps.metrics;
        metrics.verify.wait_seconds.with_label_values(&["batch"]).observe(batch.since.elapsed().as_secs_f64());
        let Ok(TxBatch { txs, .. }) = TxBatch::decode(&batch.bytes) else { return self.reject(peer, batch.from) };
        let source = match batch.from {
            BatchFrom::Gossip(_) => Source::Peer(peer),
            BatchFrom::Fetched(_) => Source::Fetched(peer),
        };
        metrics.mempool.batch_size.with_label_values(&["in"]).observe(txs.len() as f64);
        let mut is_new = false;
        for slice in txs.chunks(SLICE) {
            match self.deps.intake.take_from_peer(slice, source, batch.since) {
                Ok(0) => {}
                Ok(new) => {
                    is_new = true;
                    self.count_new(peer, new);
                }
                // An honest node forwards only transactions that decode and are correctly signed.
                Err(()) => return self.reject(peer, batch.from),
            }
            self.yield_to_urgent();
        }
        match batch.from {
            // A batch without a new valid transaction is not forwarded.
            BatchFrom::Gossip(id) => {
                self.deps.network.verdict(id, if is_new { Verdict::Accept } else { Verdict::Ignore });
            }
            BatchFrom::Fetched(done) => drop(done.send(())), // fails when the peer has disconnected
        }
        self.deps.intake.publish();
    }

    /// Counts transactions that a peer was the first to send, if it is still connected: the series of others are removed.
    fn count_new(&self, peer: NodeId, txs: u64) {
        let queues = self.lock();
        if queues.rates.contains_key(&peer) {
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
        if let Some((peer, message)) = self.messages.pop() {
            return Some(Job::Message(peer, message));
        }
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
        self.batches.pop().map(|(peer, batch)| Job::Batch(peer, batch))
    }

    fn is_empty(&self) -> bool {
        let Self {
            messages,
            responses,
            commits,
            blocks,
            submissions,
            batches,
            rates: _,
            is_outgoing,
            is_closed,
            sleeping: _,
        } = self;
        !is_closed
            && !is_outgoing
            && messages.len() == 0
            && responses.is_empty()
            && commits.is_empty()
            && blocks.is_empty()
            && submissions.len() == 0
            && batches.len() == 0
    }
}

/// Returns the number of signatures in a message that have to be checked, or 1 if there are none.
fn signatures_in(message: &PeerMessage) -> usize {
    match message {
        PeerMessage::Certificate(certificate) => certificate.votes().len(),
        PeerMessage::Evidence(evidence) => evidence.signatures().max(1),
        PeerMessage::Proposal(_) | PeerMessage::Vote(_) | PeerMessage::Part { .. } | PeerMessage::RoundState(_) => 1,
    }
}
