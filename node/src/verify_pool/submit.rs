//! Transactions on their way into the mempool: from clients and from peers.

use std::{sync::Arc, time::Instant};

use app::{Refusal, Rules};
use host::{Added, MempoolError, Peer, Source};
use tokio::sync::oneshot;
use types::{Transaction, TxId, VerifiedTx, Wire};

use super::{SUBMISSIONS_MAX, VerifyPool};
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
