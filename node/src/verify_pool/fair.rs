//! A queue that is fair between senders (peers, or addresses of clients): each gets its turn, however much another one
//! sends.

use std::collections::{BTreeMap, VecDeque};

/// One queue per sender, served in turns; bounded in bytes per sender and in total.
#[derive(Debug)]
pub(super) struct FairQueue<S, T> {
    senders: BTreeMap<S, Waiting<T>>,
    /// The senders with queued items, in the order of their turns.
    turns: VecDeque<S>,
    bytes: usize,
    bytes_per_sender_max: usize,
    bytes_max: usize,
    length: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
}

/// Bytes that an item counts in addition to its own.
const OVERHEAD_BYTES: usize = 128;

impl<S: Copy + Ord, T> FairQueue<S, T> {
    pub(super) fn new(bytes_per_sender_max: usize, bytes_max: usize) -> Self {
        Self { senders: BTreeMap::new(), turns: VecDeque::new(), bytes: 0, bytes_per_sender_max, bytes_max, length: 0 }
    }

    /// Adds an item of `bytes`. Returns false if it does not fit and was dropped.
    pub(super) fn push(&mut self, sender: S, bytes: usize, item: T) -> bool {
        let bytes = bytes + OVERHEAD_BYTES;
        let waiting_bytes = self.senders.get(&sender).map_or(0, |waiting| waiting.bytes);
        if waiting_bytes + bytes > self.bytes_per_sender_max || self.bytes + bytes > self.bytes_max {
            return false;
        }
        let waiting = self.senders.entry(sender).or_insert_with(|| {
            self.turns.push_back(sender);
            Waiting { items: VecDeque::new(), bytes: 0 }
        });
        waiting.items.push_back((bytes, item));
        waiting.bytes += bytes;
        self.bytes += bytes;
        self.length += 1;
        true
    }

    /// Removes and returns the oldest item of the sender whose turn it is.
    pub(super) fn pop(&mut self) -> Option<(S, T)> {
        let sender = self.turns.pop_front()?;
        let waiting = self.senders.get_mut(&sender).expect("a sender with a turn has something waiting");
        let (bytes, item) = waiting.items.pop_front().expect("a sender with a turn has something waiting");
        waiting.bytes -= bytes;
        self.bytes -= bytes;
        self.length -= 1;
        if waiting.items.is_empty() {
            self.senders.remove(&sender);
        } else {
            self.turns.push_back(sender);
        }
        Some((sender, item))
    }

    /// Drops all queued items of a sender.
    pub(super) fn forget(&mut self, sender: &S) {
        if let Some(waiting) = self.senders.remove(sender) {
            self.bytes -= waiting.bytes;
            self.length -= waiting.items.len();
            self.turns.retain(|turn| turn != sender);
        }
    }

    /// Returns the number of queued items.
    pub(super) fn len(&self) -> usize {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use types::NodeId;

    use super::*;

    const A: NodeId = NodeId([1; 20]);
    const B: NodeId = NodeId([2; 20]);

    fn queue() -> FairQueue<NodeId, u32> {
        FairQueue::new(10 * OVERHEAD_BYTES, 15 * OVERHEAD_BYTES)
    }

    #[test]
    fn peers_take_turns_and_keep_their_own_order() {
        let mut queue = queue();
        for item in [1, 2, 3] {
            assert!(queue.push(A, 0, item));
        }
        assert!(queue.push(B, 0, 9));
        let order: Vec<u32> = std::iter::from_fn(|| queue.pop()).map(|(_, item)| item).collect();
        assert_eq!(order, [1, 9, 2, 3]);
        assert_eq!((queue.len(), queue.bytes, queue.senders.len()), (0, 0, 0));
    }

    #[test]
    fn a_flooding_peer_fills_its_own_share_only() {
        let mut queue = queue();
        let taken = (0..100).filter(|item| queue.push(A, 0, *item)).count();
        assert_eq!(taken, 10);
        let taken = (0..100).filter(|item| queue.push(B, 0, *item)).count();
        assert_eq!(taken, 5, "the bound of all");
        queue.forget(&A);
        assert_eq!(queue.len(), 5);
        assert!(queue.push(B, 0, 7));
        assert!(std::iter::from_fn(|| queue.pop()).all(|(peer, _)| peer == B));
    }
}
