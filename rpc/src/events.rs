//! Committed heights as events. A bounded number is kept for slow clients, and none while no client is subscribed.
//!
//! All clients share one [`Hub`]. A height is converted to JSON once, for the first client that needs it. A client
//! holds a [`Cursor`] and gets an error when it falls behind the kept heights; nothing waits for it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};

use replica::Committed;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{broadcast, watch};
use types::TxId;

use crate::{
    json,
    query::{Query, Tags},
};

/// Maximum bytes of blocks that are kept for slow clients, in addition to the last one. Their JSON may take a few times
/// as much.
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The names of the events of a committed height.
pub const NAMES: [&str; 5] = ["NewBlock", "NewBlockEvents", "NewBlockHeader", "Tx", "ValidatorSetUpdates"];

/// Those of [`NAMES`] whose only tag is their name: a query on a height's block or transactions does not match them.
const NAMES_ALONE: [&str; 2] = ["NewBlockHeader", "ValidatorSetUpdates"];

/// Returns true if a committed height can produce an event of this name that matches the query.
pub fn may_match(query: &Query, name: &str) -> bool {
    match NAMES_ALONE.contains(&name) {
        true => query.matches(&named(name)),
        false => query.may_match("tm.event", name),
    }
}

fn named(name: &str) -> Tags {
    Tags::from([("tm.event".to_owned(), vec![name.to_owned()])])
}

/// One event in the form that subscribers receive.
pub struct Event {
    /// The values that queries are compared with.
    pub tags: Tags,
    /// The same values as JSON.
    tags_json: String,
    /// The event `{"type":…,"value":…}` as JSON.
    data: String,
}

impl Event {
    /// Creates an event from the values for queries and its data.
    pub fn new(tags: Tags, data: &impl Serialize) -> Self {
        let data = serde_json::to_string(data).expect("all keys of our documents are texts");
        Self { tags_json: json!(tags).to_string(), tags, data }
    }

    /// Returns the approximate bytes of a message to a subscriber, without the query.
    pub fn bytes(&self) -> usize {
        self.data.len() + self.tags_json.len()
    }

    /// Returns the result of a message to a subscriber, as JSON.
    pub fn result(&self, query: &str) -> String {
        let query = json!(query);
        format!(r#"{{"query":{query},"data":{},"events":{}}}"#, self.data, self.tags_json)
    }
}

/// A committed height with its events, which are built when needed.
pub struct CommittedHeight {
    /// The committed block with its results.
    pub committed: Arc<Committed>,
    ids: OnceLock<BTreeMap<TxId, u32>>,
    header: OnceLock<Event>,
    block: OnceLock<Event>,
    block_events: OnceLock<Event>,
    validator_updates: OnceLock<Event>,
    txs: OnceLock<Vec<Event>>,
}

impl CommittedHeight {
    fn new(committed: Arc<Committed>) -> Self {
        let (ids, header, block, block_events, validator_updates, txs) = Default::default();
        Self { committed, ids, header, block, block_events, validator_updates, txs }
    }

    /// Returns the index of a transaction in the block.
    pub fn index_of(&self, id: &TxId) -> Option<u32> {
        let ids = || self.committed.block.tx_ids().zip(0..).collect();
        self.ids.get_or_init(ids).get(id).copied()
    }

    /// Returns the event `NewBlockHeader`. It is small for any block, and cheap to build.
    pub fn header(&self) -> &Event {
        self.header.get_or_init(|| {
            let block = &self.committed.block;
            Event::new(named("NewBlockHeader"), &json::new_block_header_event(&block.header, block.txs.len()))
        })
    }

    /// Returns the event `ValidatorSetUpdates`, if the set changes.
    pub fn validator_updates(&self) -> Option<&Event> {
        let updates = &self.committed.results.validator_updates;
        let event = || Event::new(named("ValidatorSetUpdates"), &json::validator_set_updates_event(updates));
        (!updates.is_empty()).then(|| self.validator_updates.get_or_init(event))
    }

    /// Returns the event `NewBlockEvents`.
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

    /// Returns the event `NewBlock`. The first call is expensive and must not run on an async thread.
    pub fn block(&self) -> &Event {
        self.block.get_or_init(|| Event::new(self.block_tags("NewBlock"), &json::new_block_event(&self.committed)))
    }

    /// Returns the events `Tx`, in order. The first call is expensive and must not run on an async thread.
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

/// Distributes committed heights to any number of clients.
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

struct Shared {
    kept: Mutex<Kept>,
    /// Number of heights so far; a change wakes the waiting clients.
    count: watch::Sender<u64>,
    heights_max: usize,
}

#[derive(Default)]
struct Kept {
    /// Number of the first kept height, counted from the start of the server.
    first: u64,
    heights: VecDeque<Arc<CommittedHeight>>,
    bytes: usize,
}

impl Hub {
    /// Creates a hub that keeps up to `heights_max` heights for slow clients.
    pub fn new(heights_max: usize) -> Self {
        let shared = Shared { kept: Mutex::default(), count: watch::Sender::new(0), heights_max: heights_max.max(1) };
        Self(Arc::new(shared))
    }

    /// Receives heights until their source ends.
    pub async fn run(self, mut source: broadcast::Receiver<Arc<Committed>>) {
        loop {
            match source.recv().await {
                Ok(committed) => self.push(committed),
                Err(broadcast::error::RecvError::Lagged(missed)) => self.skip(missed),
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// Creates a cursor at the end of the stream of heights.
    pub fn cursor(&self) -> Cursor {
        let count = self.0.count.subscribe();
        let next = *count.borrow();
        Cursor { hub: self.clone(), count, next }
    }

    fn push(&self, committed: Arc<Committed>) {
        let mut kept = self.kept();
        if self.0.count.receiver_count() == 0 {
            kept.forget_all(); // no client watches
            kept.first += 1;
        } else {
            kept.bytes += committed.block_bytes;
            kept.heights.push_back(Arc::new(CommittedHeight::new(committed)));
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

/// The position of one client in the stream of heights.
pub struct Cursor {
    hub: Hub,
    count: watch::Receiver<u64>,
    next: u64,
}

/// Error of a client that has missed heights, because it or the node was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The number of heights that the client will not see.
    pub heights: u64,
}

impl Cursor {
    /// Returns the next height. It can be dropped before it is ready without losing a height.
    ///
    /// Errors: [`Missed`], once per gap; then the cursor continues with the oldest kept height.
    pub async fn next(&mut self) -> Result<Arc<CommittedHeight>, Missed> {
        loop {
            {
                let kept = self.hub.kept();
                if self.next < kept.first {
                    let heights = kept.first - self.next;
                    self.next = kept.first;
                    return Err(Missed { heights });
                }
                if let Some(height) = kept.heights.get((self.next - kept.first) as usize) {
                    self.next += 1;
                    return Ok(height.clone());
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
    use crate::samples::committed;

    #[tokio::test]
    async fn each_client_sees_each_height_once_and_in_order() {
        let hub = Hub::new(3);
        hub.push(committed(1, &[]));
        let mut early = hub.cursor();
        hub.push(committed(2, &[]));
        let mut late = hub.cursor();
        hub.push(committed(3, &[]));
        let height = |height: Arc<CommittedHeight>| height.committed.block.header.height.0;
        assert_eq!(height(early.next().await.unwrap_or_else(|_| panic!())), 2);
        assert_eq!(height(early.next().await.unwrap_or_else(|_| panic!())), 3);
        assert_eq!(height(late.next().await.unwrap_or_else(|_| panic!())), 3);
        assert!(futures::FutureExt::now_or_never(late.next()).is_none());
    }

    #[tokio::test]
    async fn a_cursor_that_is_behind_gets_the_number_of_missed_heights() {
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
        let height = CommittedHeight::new(committed(7, &[b"a", b"b"]));
        let ids: Vec<TxId> = height.committed.block.tx_ids().collect();
        assert_eq!((height.index_of(&ids[1]), height.index_of(&TxId([0; 32]))), (Some(1), None));
        assert_eq!(height.block().tags["block.height"], ["7"]);
        assert_eq!(height.header().tags, Tags::from([("tm.event".to_owned(), vec!["NewBlockHeader".to_owned()])]));
        let tx = &height.txs()[1];
        assert_eq!(tx.tags["tx.hash"], [ids[1].to_string()]);
        assert_eq!(tx.tags["transfer.amount"], ["5"]);
        let result: serde_json::Value = serde_json::from_str(&tx.result("tm.event = 'Tx'")).unwrap();
        assert_eq!(result["query"], "tm.event = 'Tx'");
        assert_eq!(result["data"]["type"], "tendermint/event/Tx");
        assert_eq!(result["events"]["tx.height"][0], "7");
    }
}
