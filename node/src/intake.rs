//! Takes transactions of clients and peers in: checks their signatures, adds them to the mempool, and gossips the new
//! ones. Threads of the [`verify_pool`](crate::verify_pool) call this, between more urgent work.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use app::{Refusal, View};
use mempool::{Added, Cause, Mempool, Source, TxVerifier};
use p2p::Network;
use rpc::clients::Client;
use storage::{RocksKv, StateReader, Store, StoreError};
use tokio::sync::oneshot;
use types::{Height, Params, TxBatch, TxId, VerifiedTx, Wire};

use crate::{clock, metrics::Metrics};

/// The result of a submitted transaction: the gas that it requests, or the reason for its rejection.
pub type Answer = Result<i64, Rejection>;

/// A rejection: code, codespace, and a sentence that says what the client can do.
pub use mempool::MempoolError as Rejection;

/// Cost of a transaction's check in addition to its bytes, in bytes: checking a signature takes as long as hashing,
/// decoding and validating this many.
const CHECK_BYTES: usize = 8 << 10;

/// Size in bytes at which a batch of outgoing transactions is published at once.
const GOSSIP_BYTES: usize = 256 << 10;
/// Minimum interval between two batches that are not full. A transaction after a quiet time is published at once; when
/// many come in close succession, one message to each peer per transaction would cost more than the transaction.
const GOSSIP_INTERVAL: Duration = Duration::from_millis(2);

const _: () = assert!(GOSSIP_BYTES + types::limits::TX_BYTES_MAX <= types::limits::TX_BATCH_BYTES_MAX);

/// A client's transaction that waits for its check.
pub(crate) struct Submission {
    bytes: Vec<u8>,
    since: Instant,
    adds: bool,
    answer: oneshot::Sender<Answer>,
    /// The client whose address is charged for the check.
    payer: Arc<Client>,
}

impl Submission {
    /// Creates a submission and the receiver of its answer. With `adds` = false the mempool does not change.
    pub(crate) fn new(bytes: Vec<u8>, payer: Arc<Client>, adds: bool) -> (Self, oneshot::Receiver<Answer>) {
        let (answer, receiver) = oneshot::channel();
        (Self { bytes, since: Instant::now(), adds, answer, payer }, receiver)
    }
}

/// A peer's transaction that waits for its check.
pub(crate) struct FromPeer<'b> {
    /// Bytes of the transaction.
    pub(crate) bytes: &'b [u8],
    /// The peer, and how the transaction came.
    pub(crate) source: Source,
    /// When it came.
    pub(crate) since: Instant,
}

/// What became of a peer's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was new here, and the mempool has it now.
    New,
    /// It was known, or this node's state refuses it: the peer, whose state may be another one, is not at fault.
    NotNew,
    /// It is malformed or not signed by its signer.
    Bad,
}

/// The handles of other parts that the intake uses.
pub struct Handles {
    /// Checks signatures of transactions, once per node.
    pub txs: Arc<TxVerifier>,
    /// Mempool that receives the verified transactions.
    pub mempool: Arc<Mempool>,
    /// Store with the state against which transactions are checked.
    pub store: Arc<Store<RocksKv>>,
    /// Network that receives batches for peers.
    pub network: Network,
    /// Metrics of what is taken in and refused.
    pub metrics: Arc<Metrics>,
    /// True if new transactions are gossiped to peers.
    pub is_broadcasting: bool,
}

/// The way of a transaction into the mempool, and on to peers.
pub struct Intake {
    handles: Handles,
    /// When the last batch was published.
    published: Mutex<Instant>,
}

impl Intake {
    /// Creates an intake that has published nothing yet.
    pub fn new(handles: Handles) -> Self {
        Self { handles, published: Mutex::new(Instant::now()) }
    }

    /// Checks submissions of clients and answers each.
    pub(crate) fn take_submissions(&self, mut submissions: Vec<Submission>) {
        let waited = self.handles.metrics.verify.wait_seconds.with_label_values(&["submission"]);
        submissions.iter().for_each(|submission| waited.observe(submission.since.elapsed().as_secs_f64()));
        submissions.retain(|submission| submission.adds || !submission.answer.is_closed()); // else its client left
        let begun = rpc::thread_cpu();
        let payers: Vec<_> = submissions.iter().map(|one| (one.payer.clone(), CHECK_BYTES + one.bytes.len())).collect();
        let verified = self.verify(submissions.iter().map(|submission| submission.bytes.as_slice()));
        let tip = self.tip();
        for (Submission { bytes, since, adds, answer, payer: _ }, verified) in submissions.into_iter().zip(verified) {
            let taken = verified.and_then(|tx| match (&tip, adds) {
                (None, _) => Err(Rejection::not_available()),
                (Some(tip), true) => self.add(tip, tx, Source::Local, since),
                (Some(tip), false) => self.check(tip, &tx),
            });
            if let Err(Rejection { name: "E_IN_MEMPOOL", .. }) = &taken
                && adds
            {
                self.announce_again(&bytes);
            }
            let _ = answer.send(taken.map(|added| added.gas_wanted)); // fails when the client has left
        }
        drop(tip);
        charge(&payers, rpc::thread_cpu().saturating_sub(begun));
        self.publish();
    }

    /// Gossips a transaction again that waits here. Its client submitted it again because it seems to be lost, which
    /// may be true.
    fn announce_again(&self, bytes: &[u8]) {
        let now = clock::steady();
        if !self.handles.is_broadcasting {
            return;
        }
        if let Some(tx) = self.handles.mempool.announce_again(&TxId::of(bytes), now) {
            let salt = now.unix_nanos() as u64;
            self.handles.network.publish(TxBatch { txs: vec![tx], salt }.encode());
        }
    }

    /// Checks transactions of peers together, and adds them to the mempool. Returns what became of each.
    pub(crate) fn take_from_peers(&self, txs: &[FromPeer<'_>]) -> Vec<Taken> {
        let verified = self.verify(txs.iter().map(|tx| tx.bytes));
        let tip = self.tip();
        let take = |(FromPeer { source, since, .. }, verified): (&FromPeer<'_>, Result<VerifiedTx, Rejection>)| {
            let added = match (verified, &tip) {
                (Ok(tx), Some(tip)) => self.add(tip, tx, *source, *since).is_ok(),
                (Ok(_), None) => false,
                (Err(error), _) if error.cause == Cause::Known => false,
                (Err(_), _) => return Taken::Bad,
            };
            if added { Taken::New } else { Taken::NotNew }
        };
        txs.iter().zip(verified).map(take).collect()
    }

    /// Publishes new outgoing transactions if they are due; else returns the time until they are.
    pub(crate) fn publish(&self) -> Option<Duration> {
        if !self.handles.is_broadcasting {
            return None;
        }
        let mut published = self.published.lock().expect("a thread that panics stops the process");
        loop {
            let waiting = self.handles.mempool.outgoing_bytes();
            let early = GOSSIP_INTERVAL.saturating_sub(published.elapsed());
            if waiting == 0 {
                return None;
            }
            if waiting < GOSSIP_BYTES && !early.is_zero() {
                return Some(early);
            }
            let txs = self.handles.mempool.take_outgoing(GOSSIP_BYTES);
            if txs.is_empty() {
                return None; // they were removed meanwhile
            }
            *published = Instant::now();
            self.handles.metrics.mempool.batch_size.with_label_values(&["out"]).observe(txs.len() as f64);
            if !self.handles.network.publish(TxBatch { txs, salt: 0 }.encode()) {
                tracing::debug!(target: "mempool", "a batch of transactions was not gossiped: a queue of the network is full");
            }
        }
    }

    /// Decodes transactions and checks the signatures of the unknown ones together. Counts those that it refuses.
    fn verify<'b>(&self, all: impl Iterator<Item = &'b [u8]> + Clone) -> Vec<Result<VerifiedTx, Rejection>> {
        let Handles { txs, mempool, metrics, .. } = &self.handles;
        let known: Vec<Option<Rejection>> = all.clone().map(|bytes| mempool.known(&TxId::of(bytes))).collect();
        let new = all.clone().zip(&known).filter_map(|(bytes, known)| known.is_none().then_some(bytes));
        let mut verified = txs.verify_each(new).into_iter();
        let answer = |known: Option<Rejection>| match known {
            Some(known) => Err(known),
            None => verified.next().expect("an answer for each").map_err(|error| Refusal::from(error).into()),
        };
        all.for_each(|bytes| metrics.mempool.tx_size_bytes.observe(bytes.len() as f64));
        known.into_iter().map(answer).inspect(|answer| self.count_refusal(answer)).collect()
    }

    /// Adds a verified transaction to the mempool and measures its wait from `since`.
    fn add(&self, tip: &TipState<'_>, tx: VerifiedTx, source: Source, since: Instant) -> Result<Added, Rejection> {
        let Handles { mempool, metrics, .. } = &self.handles;
        let TipState { reader, height, params } = tip;
        let added = mempool.add(reader, *height, params, tx, clock::now(), source);
        let added = self.sound(tip, added)?;
        metrics.waiting.note(added.id, since, source == Source::Local);
        Ok(added)
    }

    /// Checks if the mempool would accept a verified transaction.
    fn check(&self, tip: &TipState<'_>, tx: &VerifiedTx) -> Result<Added, Rejection> {
        self.sound(tip, self.handles.mempool.check(&tip.reader, tip.height, &tip.params, tx, clock::now()))
    }

    /// Returns the mempool's result, or an error if it used rows that cannot be read. Counts a refusal.
    fn sound(&self, tip: &TipState<'_>, result: Result<Added, Rejection>) -> Result<Added, Rejection> {
        let result = match tip.reader.check() {
            Ok(()) => result,
            Err(error) => {
                self.handles.metrics.unreadable.note("client", &error);
                Err(Rejection::not_available())
            }
        };
        self.count_refusal(&result);
        result
    }

    fn count_refusal<T>(&self, result: &Result<T, Rejection>) {
        if let Err(rejection) = result {
            self.handles.metrics.mempool.refused(rejection.cause);
        }
    }

    /// Returns the state after the last block; `None` when it cannot be read, which is logged and counted.
    fn tip(&self) -> Option<TipState<'_>> {
        let read = || {
            let reader = self.handles.store.reader()?;
            let height = reader.height();
            // The parameters are read from the same snapshot: the store may have committed another height meanwhile.
            let params = View::of_state(&reader).params();
            reader.check()?;
            Ok(TipState { reader, height, params })
        };
        read().inspect_err(|error: &StoreError| self.handles.metrics.unreadable.note("client", error)).ok()
    }
}

/// Charges the processor time of joint checks to the payers, in proportion to their bytes.
fn charge(payers: &[(Arc<Client>, usize)], used: Duration) {
    let all: usize = payers.iter().map(|(_, bytes)| bytes).sum();
    for (payer, bytes) in payers {
        payer.charge_cpu(used.mul_f64(*bytes as f64 / all as f64));
    }
}

/// The state against which transactions are checked: held for one slice, so that it is read once for all of it.
struct TipState<'s> {
    reader: StateReader<'s, RocksKv>,
    height: Height,
    params: Params,
}
