//! Verifies transactions from clients and peers, and adds them to the mempool.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use app::{Refusal, View};
use mempool::{Added, Cause, Mempool, Source};
use replica::Peer;
use storage::{RocksKv, StateReader, StoreError};
use tokio::sync::oneshot;
use types::{Height, Params, TxBatch, TxId, VerifiedTx, Wire};

use super::{Deps, VerifyPool};
use crate::{clients::Client, clock, os};

/// The result of a submitted transaction: the gas that it requests, or the reason for its rejection.
pub type Answer = Result<i64, Rejection>;

/// A rejection: code, codespace, and a sentence that says what the client can do.
pub use mempool::MempoolError as Rejection;

/// A client's transaction that waits for a thread of the pool.
pub(super) struct Submission {
    bytes: Vec<u8>,
    since: Instant,
    adds: bool,
    answer: oneshot::Sender<Answer>,
    /// The client whose address is charged for the check.
    payer: Arc<Client>,
}

/// Cost of a transaction's check in addition to its bytes, in bytes: checking a signature takes as long as hashing,
/// decoding and validating this many.
const CHECK_BYTES: usize = 8 << 10;

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

impl VerifyPool {
    fn submit(&self, bytes: Vec<u8>, payer: Arc<Client>, adds: bool) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let (address, size) = (payer.address(), bytes.len());
        let submission = Submission { bytes, since: Instant::now(), adds, answer, payer };
        let mut queues = self.lock();
        if !queues.is_closed {
            queues.submissions.push(address, size, submission); // if full, it is dropped with its answer: busy
        }
        self.wake(queues);
        receiver
    }
}

impl VerifyPool {
    /// Processes up to [`super::SLICE`] submissions.
    pub(super) fn take_submissions(&self, mut submissions: Vec<Submission>) {
        let waited = self.deps.metrics.verify.wait_seconds.with_label_values(&["submission"]);
        submissions.iter().for_each(|submission| waited.observe(submission.since.elapsed().as_secs_f64()));
        submissions.retain(|submission| submission.adds || !submission.answer.is_closed()); // else its client left
        let begun = os::thread_cpu();
        let payers: Vec<_> = submissions.iter().map(|one| (one.payer.clone(), CHECK_BYTES + one.bytes.len())).collect();
        let verified = self.verify(submissions.iter().map(|submission| submission.bytes.as_slice()));
        let tip = self.tip();
        for (Submission { bytes, since, adds, answer, payer: _ }, verified) in submissions.into_iter().zip(verified) {
            let taken = verified.and_then(|tx| match (&tip, adds) {
                (None, _) => Err(Rejection::not_available()),
                (Some(tip), true) => self.add(tip, tx, Source::Local, since),
                (Some(tip), false) => self.sound(tip, tip.check(&self.deps.mempool, &tx)),
            });
            if let Err(Rejection { name: "E_IN_MEMPOOL", .. }) = &taken
                && adds
            {
                self.announce_again(&bytes);
            }
            let _ = answer.send(taken.map(|added| added.gas_wanted)); // fails when the client has left
        }
        drop(tip);
        charge(&payers, os::thread_cpu().saturating_sub(begun));
        self.publish();
        self.yield_to_urgent();
    }

    /// Gossips a transaction again that waits here. Its client submitted it again because it seems to be lost, which
    /// may be true.
    fn announce_again(&self, bytes: &[u8]) {
        let now = clock::steady();
        if !self.deps.is_broadcasting {
            return;
        }
        if let Some(tx) = self.deps.mempool.announce_again(&TxId::of(bytes), now) {
            let salt = now.unix_nanos() as u64;
            self.deps.network.publish(TxBatch { txs: vec![tx], salt }.encode());
        }
    }

    /// Processes some transactions of a peer's batch. Returns true if one was new and accepted.
    ///
    /// Errors: one is malformed or not signed by its signer.
    pub(super) fn take_from_peer(
        &self,
        peer: Peer,
        txs: &[Vec<u8>],
        source: Source,
        since: Instant,
    ) -> Result<bool, ()> {
        let verified = self.verify(txs.iter().map(Vec::as_slice));
        let Some(tip) = self.tip() else { return Ok(false) };
        let mut new = 0;
        for verified in verified {
            match verified {
                // If the local state rejects it, the peer is not at fault: its state may be another one.
                Ok(tx) => new += u64::from(self.add(&tip, tx, source, since).is_ok()),
                Err(error) if error.cause == Cause::Known => {} // the peer is not at fault
                Err(_) => return Err(()),
            }
        }
        if new > 0 {
            self.deps.metrics.p2p.num_txs.with_label_values(&[&peer.to_string()]).inc_by(new);
        }
        Ok(new > 0)
    }

    /// Decodes transactions and checks the signatures of the unknown ones together.
    fn verify<'b>(&self, all: impl Iterator<Item = &'b [u8]> + Clone) -> Vec<Result<VerifiedTx, Rejection>> {
        let Deps { txs, mempool, metrics, .. } = &self.deps;
        let known: Vec<Option<Rejection>> = all.clone().map(|bytes| mempool.known(&TxId::of(bytes))).collect();
        let new = all.clone().zip(&known).filter_map(|(bytes, known)| known.is_none().then_some(bytes));
        let mut verified = txs.verify_each(new).into_iter();
        let answer = |known: Option<Rejection>| match known {
            Some(known) => {
                metrics.mempool.already_received_txs.inc();
                Err(known)
            }
            None => verified.next().expect("an answer for each").map_err(|error| {
                metrics.mempool.failed_txs.inc();
                Refusal::from(error).into()
            }),
        };
        all.for_each(|bytes| metrics.mempool.tx_size_bytes.observe(bytes.len() as f64));
        known.into_iter().map(answer).collect()
    }

    /// Adds a verified transaction to the mempool and measures its wait from `since`.
    fn add(&self, tip: &TipState<'_>, tx: VerifiedTx, source: Source, since: Instant) -> Result<Added, Rejection> {
        let Deps { mempool, metrics, .. } = &self.deps;
        let TipState { reader, height, params } = tip;
        let added = mempool.add(reader, *height, params, tx, clock::now(), source);
        let added = self.sound(tip, added);
        match &added {
            Ok(added) => metrics.waiting.note(added.id, since, source == Source::Local),
            Err(error) => metrics.mempool.refused(error.cause),
        }
        added
    }

    /// Returns the state after the last block; `None` when it cannot be read, which is logged and counted.
    fn tip(&self) -> Option<TipState<'_>> {
        let read = || {
            let reader = self.deps.store.reader()?;
            let height = reader.height();
            // The parameters are read from the same snapshot: the store may have committed another height meanwhile.
            let params = View::of_state(&reader).params();
            reader.check()?;
            Ok(TipState { reader, height, params })
        };
        read().inspect_err(|error: &StoreError| self.deps.metrics.unreadable.note("client", error)).ok()
    }

    /// Returns the mempool's result, or an error if it used rows that cannot be read.
    fn sound(&self, tip: &TipState<'_>, said: Result<Added, Rejection>) -> Result<Added, Rejection> {
        let Err(error) = tip.reader.check() else { return said };
        self.deps.metrics.unreadable.note("client", &error);
        Err(Rejection::not_available())
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

impl TipState<'_> {
    /// Checks if the mempool would accept a transaction.
    fn check(&self, mempool: &Mempool, tx: &VerifiedTx) -> Result<Added, Rejection> {
        mempool.check(&self.reader, self.height, &self.params, tx, clock::now())
    }
}
