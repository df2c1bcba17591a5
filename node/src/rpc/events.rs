//! What happened: committed heights, kept until those who watch have seen them.
//!
//! One [`Hub`] for all clients. A height is turned into JSON once, by the first who wants it. A client holds a [`Cursor`] and is told
//! when it fell behind what is kept; nothing waits for it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};

use host::Committed;
use serde_json::json;
use tokio::sync::{broadcast, watch};
use types::TxId;

use super::{
    json,
    query::{Query, Tags},
};

/// Bytes of blocks that wait for slow clients, beyond the last one. Their JSON may take a few times as much.
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The names of the events of a committed height.
pub const NAMES: [&str; 5] = ["NewBlock", "NewBlockEvents", "NewBlockHeader", "Tx", "ValidatorSetUpdates"];

/// Those of [`NAMES`] that carry one tag, their name: who asks for a height's block or transactions does not ask for these.
const NAMES_ALONE: [&str; 2] = ["NewBlockHeader", "ValidatorSetUpdates"];

/// Whether a committed height can bring about an event that a query asks for.
pub fn may_match(query: &Query, name: &str) -> bool {
    match NAMES_ALONE.contains(&name) {
        true => query.matches(&named(name)),
        false => query.may_match("tm.event", name),
    }
}

fn named(name: &str) -> Tags {
    Tags::from([("tm.event".to_owned(), vec![name.to_owned()])])
}

/// One event for subscribers.
pub struct Event {
    /// What queries look at.
    pub tags: Tags,
    /// The same, as JSON.
    tags_json: String,
    /// `{"type":…,"value":…}`, as JSON.
    data: String,
}

impl Event {
    /// From what queries look at, and what is told.
    pub fn new(tags: Tags, data: &serde_json::Value) -> Self {
        Self { tags_json: json!(tags).to_string(), tags, data: data.to_string() }
    }

    /// Bytes of a message to a subscriber, about, beside the query's.
    pub fn bytes(&self) -> usize {
        self.data.len() + self.tags_json.len()
    }

    /// The result of a message to a subscriber, as JSON.
    pub fn result(&self, query: &str) -> String {
        let query = json!(query);
        format!(r#"{{"query":{query},"data":{},"events":{}}}"#, self.data, self.tags_json)
    }
}

/// A committed height.
pub struct Happening {
    /// What was committed.
    pub committed: Arc<Committed>,
    ids: OnceLock<BTreeMap<TxId, u32>>,
    header: OnceLock<Event>,
    block: OnceLock<Event>,
    block_events: OnceLock<Event>,
    validator_updates: OnceLock<Event>,
    txs: OnceLock<Vec<Event>>,
}

impl Happening {
    fn new(committed: Arc<Committed>) -> Self {
        let (ids, header, block, block_events, validator_updates, txs) = Default::default();
        Self { committed, ids, header, block, block_events, validator_updates, txs }
    }

    /// The place of a transaction in the block.
    pub fn index_of(&self, id: &TxId) -> Option<u32> {
        let ids = || self.committed.block.tx_ids().zip(0..).collect();
        self.ids.get_or_init(ids).get(id).copied()
    }

    /// The event `NewBlockHeader`: small however large the block is, and made at once.
    pub fn header(&self) -> &Event {
        self.header.get_or_init(|| {
            let block = &self.committed.block;
            Event::new(named("NewBlockHeader"), &json::new_block_header_event(&block.header, block.txs.len()))
        })
    }

    /// The event `ValidatorSetUpdates`, if the set changes.
    pub fn validator_updates(&self) -> Option<&Event> {
        let updates = &self.committed.results.validator_updates;
        let event = || Event::new(named("ValidatorSetUpdates"), &json::validator_set_updates_event(updates));
        (!updates.is_empty()).then(|| self.validator_updates.get_or_init(event))
    }

    /// The event `NewBlockEvents`.
    pub fn block_events(&self) -> &Event {
        self.block_events.get_or_init(|| {
            Event::new(self.block_tags("NewBlockEvents"), &json::new_block_events_event(&self.committed))
        })
    }

    fn block_tags(&self, name: &str) -> Tags {
        let mut tags = json::tags_of(&self.committed.results.events);
        tags.insert("tm.event".to_owned(), vec![name.to_owned()]);
        tags.insert("block.height".to_owned(), vec![self.committed.block.header.height.to_string()]);
        tags
    }

    /// The event `NewBlock`. Costs something the first time: not for an async thread.
    pub fn block(&self) -> &Event {
        self.block.get_or_init(|| Event::new(self.block_tags("NewBlock"), &json::new_block_event(&self.committed)))
    }

    /// The events `Tx`, in order. Costs something the first time: not for an async thread.
    pub fn txs(&self) -> &[Event] {
        self.txs.get_or_init(|| {
            let Committed { block, results, .. } = &*self.committed;
            let height = block.header.height;
            let event = |(index, ((tx, id), result)): (usize, ((&Vec<u8>, TxId), _))| {
                let result: &types::TxResult = result;
                let tags = json::tx_tags(height, id, result);
                Event::new(tags, &json::tx_event(height, index, tx, result))
            };
            block.txs.iter().zip(block.tx_ids()).zip(&results.txs).enumerate().map(event).collect()
        })
    }
}

/// Hands committed heights to any number of clients.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

struct Shared {
    kept: Mutex<Kept>,
    /// How many heights there have been; wakes who waits.
    count: watch::Sender<u64>,
    heights_max: usize,
}

#[derive(Default)]
struct Kept {
    /// Number of the first one kept.
    first: u64,
    heights: VecDeque<Arc<Happening>>,
    bytes: usize,
}

impl Hub {
    /// Keeps up to `heights_max` heights for who is behind.
    pub fn new(heights_max: usize) -> Self {
        let shared = Shared { kept: Mutex::default(), count: watch::Sender::new(0), heights_max: heights_max.max(1) };
        Self(Arc::new(shared))
    }

    /// Takes in heights until their source ends.
    pub async fn run(self, mut source: broadcast::Receiver<Arc<Committed>>) {
        loop {
            match source.recv().await {
                Ok(committed) => self.push(committed),
                Err(broadcast::error::RecvError::Lagged(missed)) => self.skip(missed),
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// A place in the stream of heights, at its end.
    pub fn cursor(&self) -> Cursor {
        let count = self.0.count.subscribe();
        let next = *count.borrow();
        Cursor { hub: self.clone(), count, next }
    }

    fn push(&self, committed: Arc<Committed>) {
        let mut kept = self.kept();
        if self.0.count.receiver_count() == 0 {
            kept.forget_all(); // nobody watches: keep nothing
            kept.first += 1;
        } else {
            kept.bytes += committed.block_bytes;
            kept.heights.push_back(Arc::new(Happening::new(committed)));
            while kept.heights.len() > self.0.heights_max || (kept.bytes > KEPT_BYTES_MAX && kept.heights.len() > 1) {
                kept.forget_first();
            }
        }
        self.0.count.send_replace(kept.end());
    }

    fn skip(&self, missed: u64) {
        let mut kept = self.kept();
        kept.forget_all();
        kept.first += missed;
        self.0.count.send_replace(kept.end());
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().expect("nothing panics while it holds the lock")
    }
}

impl Kept {
    fn end(&self) -> u64 {
        self.first + self.heights.len() as u64
    }

    fn forget_first(&mut self) {
        if let Some(oldest) = self.heights.pop_front() {
            self.bytes -= oldest.committed.block_bytes;
            self.first += 1;
        }
    }

    fn forget_all(&mut self) {
        self.first = self.end();
        self.heights.clear();
        self.bytes = 0;
    }
}

/// One client's place in the stream of heights.
pub struct Cursor {
    hub: Hub,
    count: watch::Receiver<u64>,
    next: u64,
}

/// The client was too slow, or the node too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Heights that it will not see.
    pub heights: u64,
}

impl Cursor {
    /// The next height. Loses nothing when dropped before it is ready.
    ///
    /// Errors: [`Missed`], once; then it goes on with the oldest height kept.
    pub async fn next(&mut self) -> Result<Arc<Happening>, Missed> {
        loop {
            {
                let kept = self.hub.kept();
                if self.next < kept.first {
                    let heights = kept.first - self.next;
                    self.next = kept.first;
                    return Err(Missed { heights });
                }
                if let Some(happening) = kept.heights.get((self.next - kept.first) as usize) {
                    self.next += 1;
                    return Ok(happening.clone());
                }
            }
            let next = self.next;
            if self.count.wait_for(|count| *count > next).await.is_err() {
                std::future::pending::<()>().await; // unreachable while `self.hub` holds the sender
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::json::tests::committed;

    #[tokio::test]
    async fn each_client_sees_each_height_once_and_in_order() {
        let hub = Hub::new(3);
        hub.push(committed(1, &[]));
        let mut early = hub.cursor();
        hub.push(committed(2, &[]));
        let mut late = hub.cursor();
        hub.push(committed(3, &[]));
        let height = |happening: Arc<Happening>| happening.committed.block.header.height.0;
        assert_eq!(height(early.next().await.unwrap_or_else(|_| panic!())), 2);
        assert_eq!(height(early.next().await.unwrap_or_else(|_| panic!())), 3);
        assert_eq!(height(late.next().await.unwrap_or_else(|_| panic!())), 3);
        assert!(futures::FutureExt::now_or_never(late.next()).is_none());
    }

    #[tokio::test]
    async fn who_is_behind_is_told_so() {
        let hub = Hub::new(2);
        let mut slow = hub.cursor();
        for height in 1..=5 {
            hub.push(committed(height, &[]));
        }
        assert_eq!(slow.next().await.err(), Some(Missed { heights: 3 }));
        assert_eq!(slow.next().await.map(|h| h.committed.block.header.height.0).ok(), Some(4));
        hub.skip(7);
        assert_eq!(slow.next().await.err(), Some(Missed { heights: 8 }));
    }

    #[tokio::test]
    async fn large_blocks_are_not_kept_for_long() {
        let hub = Hub::new(100);
        let watcher = hub.cursor();
        for height in 1..=10 {
            let mut large = Arc::unwrap_or_clone(committed(height, &[]));
            large.block_bytes = KEPT_BYTES_MAX / 2;
            hub.push(Arc::new(large));
        }
        assert_eq!(hub.kept().heights.len(), 2);
        drop(watcher);
        hub.push(committed(11, &[]));
        let kept = hub.kept();
        assert_eq!((kept.heights.len(), kept.bytes), (0, 0));
    }

    #[test]
    fn events_carry_the_tags_that_queries_look_at() {
        let happening = Happening::new(committed(7, &[b"a", b"b"]));
        let ids: Vec<TxId> = happening.committed.block.tx_ids().collect();
        assert_eq!((happening.index_of(&ids[1]), happening.index_of(&TxId([0; 32]))), (Some(1), None));
        assert_eq!(happening.block().tags["block.height"], ["7"]);
        assert_eq!(happening.header().tags, Tags::from([("tm.event".to_owned(), vec!["NewBlockHeader".to_owned()])]));
        let tx = &happening.txs()[1];
        assert_eq!(tx.tags["tx.hash"], [ids[1].to_string()]);
        assert_eq!(tx.tags["transfer.amount"], ["5"]);
        let result: serde_json::Value = serde_json::from_str(&tx.result("tm.event = 'Tx'")).unwrap();
        assert_eq!(result["query"], "tm.event = 'Tx'");
        assert_eq!(result["data"]["type"], "tendermint/event/Tx");
        assert_eq!(result["events"]["tx.height"][0], "7");
    }
}
