//! The consensus thread's inbox: bounded, in two classes, drained in batches, without polling.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard},
    time::Instant,
};

use host::{Checked, Input};
use types::{PeerMessage, limits::PART_MESSAGE_BYTES_MAX};

/// Urgent inputs that may wait: votes of a few rounds of the largest validator set. When full, senders wait.
const URGENT_MAX: usize = 8192;

/// Bytes of bulk inputs that may wait: the parts of two of the largest blocks, or two answers of block sync. When full, senders wait.
const BULK_BYTES_MAX: usize = 40 << 20;

/// Inputs of one batch: one batch is one sync at most, and one turn in which nothing else is heard.
const BATCH_MAX: usize = 1024;

/// Votes in the urgent inputs of one batch, in certificates or not, but for the last one: a new vote costs up to 2 µs. Any other input
/// counts as one.
const BATCH_VOTES_MAX: usize = 2048;

/// Bulk inputs of one batch: votes should not wait for many.
const BATCH_BULK_MAX: usize = 64;

/// What waits for the consensus thread.
#[derive(Debug, Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    drained: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    urgent: VecDeque<Input>,
    bulk: VecDeque<(Input, usize)>,
    bulk_bytes: usize,
    is_closed: bool,
    /// Who sleeps, so that nobody is woken who does not: a wake is a system call, whether somebody sleeps or not.
    taker_sleeps: bool,
    senders_sleep: usize,
}

/// What taking from the inbox gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Inputs, or none because the deadline passed.
    Batch,
    /// Nobody listens any more: stop.
    Closed,
}

impl Inbox {
    /// Adds an input. Waits while its class is full; never call it from the consensus thread or the network's.
    ///
    /// False when the inbox is closed.
    pub fn push(&self, input: Input) -> bool {
        let bytes = bulk_bytes(&input);
        let mut waiting = self.lock();
        while !waiting.is_closed && waiting.is_full(bytes) {
            waiting.senders_sleep += 1;
            waiting = self.drained.wait(waiting).expect("a thread that panics stops the process");
            waiting.senders_sleep -= 1;
        }
        self.put(waiting, input, bytes)
    }

    /// Adds an input, or gives up at once when its class is full: for what its sender asks for again.
    ///
    /// False when it was not added.
    pub fn try_push(&self, input: Input) -> bool {
        let bytes = bulk_bytes(&input);
        let waiting = self.lock();
        !waiting.is_full(bytes) && self.put(waiting, input, bytes)
    }

    /// Adds an input that must not be lost and whose number is bounded elsewhere: peers that come and go, answers to our own
    /// questions. Never waits.
    pub fn push_now(&self, input: Input) -> bool {
        let bytes = bulk_bytes(&input);
        let waiting = self.lock();
        self.put(waiting, input, bytes)
    }

    fn put(&self, mut waiting: MutexGuard<'_, Waiting>, input: Input, bytes: Option<usize>) -> bool {
        if waiting.is_closed {
            return false;
        }
        match bytes {
            None => waiting.urgent.push_back(input),
            Some(bytes) => {
                waiting.bulk_bytes += bytes;
                waiting.bulk.push_back((input, bytes));
            }
        }
        let wakes = std::mem::take(&mut waiting.taker_sleeps);
        drop(waiting);
        if wakes {
            self.filled.notify_one();
        }
        true
    }

    /// Waits for an input, at most until `deadline`, then moves what is there to `batch`: urgent first.
    pub fn take(&self, deadline: Option<Instant>, batch: &mut Vec<Input>) -> Taken {
        let mut waiting = self.lock();
        while waiting.urgent.is_empty() && waiting.bulk.is_empty() {
            if waiting.is_closed {
                return Taken::Closed;
            }
            waiting.taker_sleeps = true;
            waiting = match deadline {
                None => self.filled.wait(waiting).expect("a thread that panics stops the process"),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        waiting.taker_sleeps = false;
                        return Taken::Batch;
                    }
                    self.filled.wait_timeout(waiting, left).expect("a thread that panics stops the process").0
                }
            };
        }
        if waiting.is_closed {
            return Taken::Closed;
        }
        let mut votes = 0;
        for _ in 0..BATCH_MAX {
            if votes >= BATCH_VOTES_MAX {
                break;
            }
            let Some(input) = waiting.urgent.pop_front() else { break };
            votes += votes_in(&input);
            batch.push(input);
        }
        let bulk = waiting.bulk.len().min(BATCH_BULK_MAX);
        for (input, bytes) in waiting.bulk.drain(..bulk).collect::<Vec<_>>() {
            waiting.bulk_bytes -= bytes;
            batch.push(input);
        }
        waiting.taker_sleeps = false;
        let wakes = waiting.senders_sleep > 0;
        drop(waiting);
        if wakes {
            self.drained.notify_all();
        }
        Taken::Batch
    }

    /// Ends it: what waits is dropped, senders and the taker are told.
    pub fn close(&self) {
        let mut waiting = self.lock();
        let senders_sleep = waiting.senders_sleep;
        *waiting = Waiting { is_closed: true, senders_sleep, ..Waiting::default() };
        drop(waiting);
        self.filled.notify_all();
        self.drained.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("a thread that panics stops the process")
    }
}

impl Waiting {
    fn is_full(&self, bulk_bytes: Option<usize>) -> bool {
        match bulk_bytes {
            None => self.urgent.len() >= URGENT_MAX,
            // One input always fits, however large.
            Some(bytes) => !self.bulk.is_empty() && self.bulk_bytes + bytes > BULK_BYTES_MAX,
        }
    }
}

fn votes_in(input: &Input) -> usize {
    match input {
        Input::Message { message: Checked::Certificate(certificate), .. } => certificate.votes().len(),
        Input::Message { message: Checked::Unchecked(PeerMessage::Certificate(certificate)), .. } => {
            certificate.votes().len()
        }
        _ => 1,
    }
}

/// The bytes of an input of the bulk class; `None` for an urgent one.
fn bulk_bytes(input: &Input) -> Option<usize> {
    match input {
        // One that could not be checked is of no use, and still has its bytes.
        Input::Message { message: Checked::Part { .. } | Checked::Unchecked(PeerMessage::Part { .. }), .. } => {
            Some(PART_MESSAGE_BYTES_MAX / 2)
        }
        Input::Blocks { response: Some(response), .. } => {
            Some(response.blocks.iter().map(|block| block.bytes).sum::<usize>() + 1024)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread, time::Duration};

    use host::Peer;
    use types::{Address, Certificate, Height, Part, Round, Signature, SignedVote, Time, Vote, VoteType, merkle};

    use super::*;

    const PEER: Peer = Peer([1; 20]);

    fn part() -> Input {
        let proof = merkle::Proof { total: 1, index: 0, leaf_hash: types::blake3(b""), aunts: Vec::new() };
        let part = Part { index: 0, bytes: Vec::new(), proof };
        let message = Checked::Unchecked(PeerMessage::Part { height: Height(1), round: Round(0), part: part.into() });
        Input::Message { peer: PEER, message, received: Time::UNIX_EPOCH }
    }

    #[test]
    fn urgent_inputs_overtake_bulk_and_keep_their_order() {
        let inbox = Inbox::default();
        assert!(inbox.push(part()) && inbox.push(Input::PeerUp(PEER)) && inbox.push(Input::PeerDown(PEER)));
        let mut batch = Vec::new();
        assert_eq!(inbox.take(None, &mut batch), Taken::Batch);
        assert!(matches!(batch[..], [Input::PeerUp(_), Input::PeerDown(_), Input::Message { .. }]));
    }

    /// What one step has to do is bounded in votes, however peers pack them: 200 in a certificate, or one by one.
    #[test]
    fn the_votes_of_a_batch_are_bounded() {
        let vote = |index| SignedVote {
            vote: Vote {
                vote_type: VoteType::Prevote,
                height: Height(1),
                round: Round(0),
                block_id: None,
                timestamp: Time::UNIX_EPOCH,
                validator: Address([index as u8; 20]),
                validator_index: index,
            },
            signature: Signature([0; 64]),
        };
        let certificate = PeerMessage::Certificate(Certificate::new((0..200).map(vote).collect()).unwrap());
        let inbox = Inbox::default();
        let message = || Checked::Unchecked(certificate.clone());
        for _ in 0..2 * BATCH_MAX {
            inbox.push(Input::Message { peer: PEER, message: message(), received: Time::UNIX_EPOCH });
        }
        let mut batch = Vec::new();
        inbox.take(None, &mut batch);
        assert_eq!(batch.len(), BATCH_VOTES_MAX.div_ceil(200));
        assert!(inbox.push(Input::TxsAvailable), "there is room again");
    }

    #[test]
    fn a_deadline_ends_the_wait_without_inputs() {
        let mut batch = Vec::new();
        let deadline = Instant::now() + Duration::from_millis(5);
        assert_eq!(Inbox::default().take(Some(deadline), &mut batch), Taken::Batch);
        assert!(batch.is_empty() && Instant::now() >= deadline);
    }

    #[test]
    fn a_full_inbox_makes_senders_wait_and_never_those_who_must_not() {
        let inbox = Arc::new(Inbox::default());
        while inbox.try_push(part()) {}
        assert!(inbox.push_now(part()) && inbox.try_push(Input::TxsAvailable), "the other class has room");
        let sender = thread::spawn({
            let inbox = inbox.clone();
            move || inbox.push(part())
        });
        let mut batch = Vec::new();
        while !sender.is_finished() {
            inbox.take(Some(Instant::now() + Duration::from_millis(1)), &mut batch);
        }
        assert!(sender.join().unwrap());
    }

    #[test]
    fn closing_tells_everybody() {
        let inbox = Arc::new(Inbox::default());
        let taker = thread::spawn({
            let inbox = inbox.clone();
            move || inbox.take(None, &mut Vec::new())
        });
        inbox.close();
        assert_eq!(taker.join().unwrap(), Taken::Closed);
        assert!(!inbox.push(Input::TxsAvailable) && !inbox.push_now(Input::TxsAvailable));
    }
}
