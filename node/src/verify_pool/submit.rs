//! Transactions on their way into the mempool: from clients and from peers.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use app::{Refusal, Rules};
use host::{Added, Peer, Source};
use storage::{RocksKv, StateReader};
use tokio::sync::oneshot;
use types::{Height, Params, TxId, VerifiedTx};

use super::{Parts, SUBMISSIONS_MAX, VerifyPool};
use crate::consensus_thread::time_of;

/// What becomes of a submitted transaction: the gas that it asks for, or why it is not taken.
pub type Answer = Result<i64, Rejection>;

/// A transaction that is not taken: code, codespace and a sentence with the way out.
pub use host::MempoolError as Rejection;

/// A client's transaction that waits for a thread.
pub(super) struct Submission {
    bytes: Vec<u8>,
    since: Instant,
    adds: bool,
    answer: oneshot::Sender<Answer>,
}

/// The way into the mempool for clients.
#[derive(Clone)]
pub struct Submitter(pub Arc<VerifyPool>);

impl Submitter {
    /// Takes a transaction in and tells peers. Refused at once when too many wait; never waits itself.
    pub fn submit(&self, bytes: Vec<u8>) -> oneshot::Receiver<Answer> {
        self.0.submit(bytes, true)
    }

    /// Whether it would be taken in; changes nothing.
    pub fn check(&self, bytes: Vec<u8>) -> oneshot::Receiver<Answer> {
        self.0.submit(bytes, false)
    }
}

impl VerifyPool {
    fn submit(&self, bytes: Vec<u8>, adds: bool) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let mut queues = self.lock();
        if queues.is_closed || queues.submissions.len() >= SUBMISSIONS_MAX {
            let _ = answer.send(Err(Rejection::busy()));
            return receiver;
        }
        queues.submissions.push_back(Submission { bytes, since: Instant::now(), adds, answer });
        drop(queues);
        self.work.notify_one();
        receiver
    }
}

impl VerifyPool {
    /// Up to [`super::SLICE`] submissions.
    pub(super) fn take_submissions(&self, submissions: Vec<Submission>) {
        let metrics = &self.parts.metrics;
        for submission in submissions {
            let Submission { bytes, since, adds, answer } = submission;
            metrics.verify.wait_seconds.with_label_values(&["submission"]).observe(since.elapsed().as_secs_f64());
            if answer.is_closed() && !adds {
                continue; // the client is gone
            }
            let taken = self.verify(&bytes).and_then(|tx| match adds {
                true => self.add(tx, bytes, Source::Local, since),
                false => self.check(&tx, &bytes),
            });
            let _ = answer.send(taken.map(|added| added.gas_wanted)); // the client may be gone
        }
        self.publish(false);
        self.yield_to_urgent();
    }

    /// Some transactions of a gossiped batch. Tells whether one was new and taken.
    ///
    /// Errors: one is malformed or not signed by its signer.
    pub(super) fn take_gossiped(&self, peer: Peer, txs: &[Vec<u8>], since: Instant) -> Result<bool, ()> {
        let mut is_new = false;
        for bytes in txs {
            match self.verify(bytes) {
                // Refused by the state as it is here: no fault of the peer's, whose state may be another.
                Ok(tx) => is_new |= self.add(tx, bytes.clone(), Source::Peer(peer), since).is_ok(),
                Err(error) if is_known(&error) => {}
                Err(_) => return Err(()),
            }
        }
        Ok(is_new)
    }

    /// Decodes and checks the signature, unless the bytes are known.
    fn verify(&self, bytes: &[u8]) -> Result<VerifiedTx, Rejection> {
        let Parts { txs, mempool, metrics, .. } = &self.parts;
        metrics.mempool.tx_size_bytes.observe(bytes.len() as f64);
        if let Some(known) = mempool.known(&TxId(types::blake3(bytes).0)) {
            metrics.mempool.already_received_txs.inc();
            return Err(known);
        }
        let verified = txs.verify(bytes).map(|(tx, _)| tx);
        verified.map_err(|error| {
            metrics.mempool.failed_txs.inc();
            Refusal::from(error).into()
        })
    }

    /// Adds a verified transaction to the mempool.
    fn add(&self, tx: VerifiedTx, bytes: Vec<u8>, source: Source, since: Instant) -> Result<Added, Rejection> {
        let Parts { mempool, metrics, .. } = &self.parts;
        let added = self.at_tip(|reader, height, params| {
            mempool.add(reader, height, params, tx, bytes, time_of(SystemTime::now()), source)
        });
        match &added {
            Ok(added) => metrics.waiting.note(added.id, since, source == Source::Local),
            Err(_) => metrics.mempool.rejected_txs.inc(),
        }
        added
    }

    /// Whether the mempool would take it.
    fn check(&self, tx: &VerifiedTx, bytes: &[u8]) -> Result<Added, Rejection> {
        self.at_tip(|reader, height, params| self.parts.mempool.check(reader, height, params, tx, bytes))
    }

    /// Looks at a transaction against the state after the last block.
    fn at_tip<T>(&self, look: impl FnOnce(&StateReader<'_, RocksKv>, Height, &Params) -> T) -> T {
        // A disk that cannot be read stops the process. The parameters are read with the state: the store may be a height further.
        let reader = self.parts.store.reader().expect("the store can be read");
        let height = reader.height();
        let params = Rules::new(&reader, self.parts.store.chain_id().clone(), height.next()).params;
        look(&reader, height, &params)
    }
}

/// Whether the bytes were looked at before, and nothing is wrong with who brings them again.
fn is_known(error: &Rejection) -> bool {
    matches!(error.name, "E_IN_MEMPOOL" | "E_COMMITTED")
}
