//! Proves in which order a prune does its work, and that the heights above it read as before.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
};

use storage::{Batch, Cf, Durability, FORGET_STEP, Kv, MemDisk, MemKv, MemView, Result, Stats, Store, StoreError};
use types::{Height, Reader, WriteSet};

use crate::chain::{Chain, chain_id, revertible, writes};

type State = BTreeMap<Vec<u8>, Vec<u8>>;
type OnForget = Box<dyn Fn(Cf, Height) + Send + Sync>;

/// A database that calls a function before it deletes the rows below a height.
struct Watched {
    kv: MemKv,
    on_forget: Arc<Mutex<Option<OnForget>>>,
}

impl Kv for Watched {
    type View<'a> = MemView;

    fn place(&self) -> String {
        self.kv.place()
    }

    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.kv.get(cf, key)
    }

    fn multi_get(&self, cf: Cf, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.kv.multi_get(cf, keys)
    }

    fn view(&self) -> MemView {
        self.kv.view()
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<()> {
        self.kv.write(batch, durability)
    }

    fn forget_below(&self, cf: Cf, height: Height) -> Result<()> {
        if let Some(on_forget) = &*self.on_forget.lock().unwrap() {
            on_forget(cf, height);
        }
        self.kv.forget_below(cf, height)
    }

    fn stats(&self) -> Stats {
        self.kv.stats()
    }

    fn sizes(&self) -> Vec<(Cf, u64)> {
        self.kv.sizes()
    }
}

/// A row of a namespace that comes and goes, one of its kind that changes always, and one of each height.
fn state(n: u64) -> WriteSet {
    let value = n.to_be_bytes();
    let [rare, often] = [revertible(b"rare"), revertible(b"often")];
    let rare_value = (n % 50 < 25).then_some(&value[..]);
    let plain = (n % 40 != 39).then_some(&value[..]);
    writes([(&rare, rare_value), (&often, Some(&value)), (b"plain", plain), (&value, Some(b"x"))])
}

/// When the first row below the window is deleted, the window has moved: for readers of this process, and durably.
#[test]
pub fn the_window_moves_before_rows_are_deleted() {
    let (disk, on_forget) = (MemDisk::new(), Arc::default());
    let kv = Watched { kv: disk.open(), on_forget: Arc::clone(&on_forget) };
    let store = Arc::new(Store::open(kv, &chain_id()).unwrap());
    let mut chain = Chain::start(&store, 1, state(0));
    for n in 1..=2 * FORGET_STEP {
        chain.commit(&store, state(n));
    }
    let seen = Arc::new(Mutex::new(0));
    let watch: OnForget = Box::new({
        let (store, disk, seen): (Weak<Store<Watched>>, _, _) = (Arc::downgrade(&store), disk.clone(), seen.clone());
        move |cf, below| {
            let store = store.upgrade().unwrap();
            assert!(
                store.earliest() >= below,
                "{} is deleted below {below}, announced: {}",
                cf.name(),
                store.earliest()
            );
            // The state under the earliest block is kept.
            let refused = store.reader_at(Height(below.0.saturating_sub(2)));
            assert!(
                below.0 < 2 || matches!(refused, Err(StoreError::Pruned { .. })),
                "a height that is being deleted is read"
            );
            let durable = Store::open(disk.durable().open(), &chain_id()).unwrap().earliest();
            assert!(durable >= below, "{} is deleted below {below}, durable: {durable}", cf.name());
            *seen.lock().unwrap() += 1;
        }
    });
    *on_forget.lock().unwrap() = Some(watch);
    store.prune(Height(FORGET_STEP + 5)).unwrap();
    assert!(*seen.lock().unwrap() > 10, "families");
}

/// A reader of a height that leaves the window needs the rows above it, and the versions that they replaced.
#[test]
pub fn rows_that_a_reader_needs_are_not_deleted() {
    let (disk, on_forget) = (MemDisk::new(), Arc::default());
    let kv = Watched { kv: disk.open(), on_forget: Arc::clone(&on_forget) };
    let store = Store::open(kv, &chain_id()).unwrap();
    let mut chain = Chain::start(&store, 1, state(0));
    for n in 1..=2 * FORGET_STEP {
        chain.commit(&store, state(n));
    }
    let held = store.reader_at(Height(5)).unwrap();
    let watch: OnForget = Box::new(|cf, below| {
        assert!(below <= Height(6), "{} is deleted below {below}, and height 5 is read", cf.name());
    });
    *on_forget.lock().unwrap() = Some(watch);
    store.prune(Height(FORGET_STEP + 5)).unwrap();
    drop(held);
}

/// Also those of rows that were deleted below the window and came back above it.
#[test]
pub fn heights_above_a_prune_read_as_before() {
    let disk = MemDisk::new();
    let store = Store::open(disk.open(), &chain_id()).unwrap();
    let mut chain = Chain::start(&store, 1, state(0));
    for n in 1..=4 * FORGET_STEP {
        chain.commit(&store, state(n));
    }
    for retain in [80, 145, 240] {
        store.prune(Height(retain)).unwrap();
        assert_eq!(store.earliest(), Height(retain));
        for height in (retain - 1..=chain.height.0).map(Height) {
            let (reader, mut rows) = (store.reader_at(height).unwrap(), State::new());
            reader.scan(b"", &mut |key, value| rows.insert(key.to_vec(), value.to_vec()).is_none());
            assert!(rows == chain.states[&height], "the state at {height} is another one, from {retain} on");
        }
        assert_eq!(store.verification().finish().findings, []);
    }
}
