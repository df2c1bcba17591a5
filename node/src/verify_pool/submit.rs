//! Transactions on their way into the mempool: from clients and from peers.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use app::{Refusal, Rules};
use host::{Peer, Source};
use tokio::sync::oneshot;
use types::{TxId, VerifiedTx};

use super::{Parts, SUBMISSIONS_MAX, VerifyPool};
use crate::consensus_thread::time_of;

/// What becomes of a submitted transaction: the gas that it asks for, or why it is not taken.
pub type Answer = Result<i64, Rejection>;

/// The code, in codespace `node`, of a refusal that says nothing about the transaction.
pub const BUSY_CODE: u32 = 1;

/// A transaction that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// A stable number, not 0.
    pub code: u32,
    /// Whose number.
    pub codespace: String,
    /// A sentence with the way out.
    pub log: String,
}

impl Rejection {
    /// Too many wait to be checked; the transaction itself may be fine.
    pub(crate) fn busy() -> Self {
        Self::of_node("the node has too many transactions to check: try again in a second")
    }

    /// The node stops; the transaction itself may be fine.
    pub(crate) fn stopping() -> Self {
        Self::of_node("the node is stopping: send it to another node")
    }

    fn of_node(log: &str) -> Self {
        Self { code: BUSY_CODE, codespace: "node".to_owned(), log: log.to_owned() }
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code().number, codespace: app::CODESPACE.to_owned(), log: refusal.to_string() }
    }
}

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
            let taken = self.verify(&bytes).and_then(|(tx, id)| match adds {
                true => self.add(tx, id, bytes, Source::Local, since),
                false => self.check(&tx),
            });
            let _ = answer.send(taken); // the client may be gone
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
            if self.parts.mempool.contains(&TxId(types::blake3(bytes).0)) {
                self.parts.metrics.mempool.already_received_txs.inc();
                continue;
            }
            let (tx, id) = self.verify(bytes).map_err(|_| ())?;
            // Refused by the state as it is here: no fault of the peer's, whose state may be another.
            is_new |= self.add(tx, id, bytes.clone(), Source::Peer(peer), since).is_ok();
        }
        Ok(is_new)
    }

    fn verify(&self, bytes: &[u8]) -> Result<(VerifiedTx, TxId), Rejection> {
        self.parts.metrics.mempool.tx_size_bytes.observe(bytes.len() as f64);
        self.parts.txs.verify(bytes).map_err(|error| {
            self.parts.metrics.mempool.failed_txs.inc();
            Refusal::from(error).into()
        })
    }

    /// Adds a verified transaction to the mempool.
    fn add(&self, tx: VerifiedTx, id: TxId, bytes: Vec<u8>, source: Source, since: Instant) -> Answer {
        let Parts { store, mempool, metrics, .. } = &self.parts;
        let is_local = matches!(source, Source::Local);
        let gas_wanted = tx.body().messages.len() as i64;
        let tip = store.tip().expect("a started node has a chain").height;
        let reader = store.reader().expect("the store can be read");
        let params = store.params(tip.next()).expect("the store has the parameters of the next height");
        match mempool.add(&reader, tip, &params, tx, bytes, time_of(SystemTime::now()), source) {
            Ok(_) => {
                metrics.waiting.note(id, since, is_local);
                Ok(gas_wanted)
            }
            Err(error) => {
                metrics.mempool.rejected_txs.inc();
                Err(Rejection { code: error.code, codespace: error.codespace.to_owned(), log: error.log })
            }
        }
    }

    /// Whether a transaction would be taken by the state as it is.
    fn check(&self, tx: &VerifiedTx) -> Answer {
        let store = &self.parts.store;
        let reader = store.reader().expect("the store can be read");
        let rules = Rules::new(&reader, store.chain_id().clone(), reader.height().next());
        let next_nonce = self.parts.mempool.next_nonce(&tx.body().signer.address());
        app::check_tx(&reader, &rules, tx, app::Pending { next_nonce, spent: 0 })?;
        Ok(tx.body().messages.len() as i64)
    }
}
