//! The inbox of the consensus thread: bounded, in two classes, taken in batches, without polling.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard},
    time::Instant,
};

use replica::{Checked, Input};
use types::{PeerMessage, limits::PART_MESSAGE_BYTES_MAX};

/// Maximum number of urgent inputs that wait: votes of a few rounds of the largest validator set. When full, senders
/// wait.
const URGENT_MAX: usize = 8192;

/// Maximum bytes of bulk inputs that wait: the parts of two of the largest blocks, or two block sync responses. When
/// full, senders wait.
const BULK_BYTES_MAX: usize = 40 << 20;

/// Maximum number of urgent inputs per batch. A batch needs one sync at most, and no other input is processed during
/// its step.
const BATCH_MAX: usize = 1024;

/// Number of votes in urgent inputs at which a batch ends; certificates count with all their votes, any other input as
/// one. The last input may exceed it. A new vote costs up to 2 µs.
const BATCH_VOTES_MAX: usize = 2048;

/// Maximum number of bulk inputs per batch, so that votes do not wait long.
const BATCH_BULK_MAX: usize = 64;

/// The queues of inputs that wait for the consensus thread.
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
    /// Sleeping threads, so that no notification is sent in vain: each one is a system call even if no thread sleeps.
    taker_sleeps: bool,
    senders_sleep: usize,
}

/// The result of taking inputs from the inbox.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// The inputs are in `batch`; none if the deadline passed.
    Batch,
    /// The inbox is closed, and the taker must stop.
    Closed,
}

impl Inbox {
    /// Adds an input and waits while its class is full. The threads of consensus and of the network must not call it.
    ///
    /// Returns false if the inbox is closed.
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

    /// Adds an input, or drops it when its class is full: for inputs that their sender can request again.
    ///
    /// Returns false if the input was not added.
    pub fn try_push(&self, input: Input) -> bool {
        let bytes = bulk_bytes(&input);
        let waiting = self.lock();
        !waiting.is_full(bytes) && self.put(waiting, input, bytes)
    }

    /// Adds an input without waiting, even when its class is full. For inputs that must not be lost and whose number is
    /// bounded elsewhere: peers that connect and disconnect, responses to own requests.
    ///
    /// Returns false if the inbox is closed.
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

    /// Waits for an input, at most until `deadline`, then moves the available inputs to `batch`, urgent ones first.
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

    /// Closes the inbox: drops the queued inputs and wakes the senders and the taker.
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
            // The first input always fits, however large it is.
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

/// Returns the size in bytes of an input of the bulk class; `None` for an urgent one.
fn bulk_bytes(input: &Input) -> Option<usize> {
    match input {
        // A part that could not be checked is useless, but still occupies memory.
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

    use types::NodeId;
    use types::{Address, Certificate, Height, Part, Round, Signature, SignedVote, Time, Vote, VoteType, merkle};

    use super::*;

    const PEER: NodeId = NodeId([1; 20]);

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

    /// The work of one step is bounded in votes, whether peers send them in certificates of 200 or one by one.
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
    fn a_full_inbox_blocks_only_the_senders_that_may_wait() {
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
    fn closing_the_inbox_ends_waiting_and_refuses_inputs() {
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
