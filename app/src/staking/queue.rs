//! What matures, in batches: all that one height added matures at the same time.

use prost::Message;
use types::{Address, Deadline, Reader, Time, pb};

use crate::{
    kv::At,
    mutation::{Mutation, mutated},
    state::key,
    view::View,
};

/// Something that matures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub validator: Address,
    pub what: What,
}

/// What of a validator matures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The validator itself, which ends to unbond.
    Validator,
    /// The departure with this number.
    Departure(u64),
    /// The consensus key with this address, which the validator replaced.
    OldKey(Address),
}

impl Item {
    fn to_pb(self) -> pb::StakeItem {
        let (departure, old_key) = match self.what {
            What::Validator => (None, None),
            What::Departure(id) => (Some(id), None),
            What::OldKey(address) => (None, Some(address.0.to_vec())),
        };
        pb::StakeItem { validator: self.validator.0.to_vec(), departure, old_key }
    }

    fn from_pb(pb: pb::StakeItem) -> Option<Self> {
        let what = match (pb.departure, pb.old_key) {
            (None, None) => What::Validator,
            (Some(id), _) => What::Departure(id),
            (None, Some(address)) => What::OldKey(Address(address.try_into().ok()?)),
        };
        Some(Self { validator: Address(pb.validator.try_into().ok()?), what })
    }
}

fn queue<R: Reader + ?Sized>(view: &mut View<'_, R>) -> pb::StakeQueue {
    view.message(key::STAKE_QUEUE).unwrap_or_default()
}

fn set_queue<R: Reader + ?Sized>(view: &mut View<'_, R>, queue: pb::StakeQueue) {
    view.set(key::STAKE_QUEUE, Some(queue.encode_to_vec()).filter(|value| !value.is_empty()));
}

/// Adds an item to the batch of this block, and returns the number of the batch.
pub(super) fn add<R: Reader + ?Sized>(view: &mut View<'_, R>, item: Item) -> u64 {
    let mut queue = queue(view);
    view.set(&key::stake_item(queue.next, queue.open_items), Some(item.to_pb().encode_to_vec()));
    queue.open_items += 1;
    set_queue(view, queue);
    queue.next
}

/// Returns the time at which a batch matures; `None` while it is open, and when it has matured.
pub(super) fn completes<R: Reader + ?Sized>(view: &mut View<'_, R>, batch: u64) -> Option<Deadline> {
    let key = key::stake_batch(batch);
    let pb: pb::StakeBatch = view.message(&key)?;
    Deadline::from_unix_millis(pb.completes_ms).or_else(|| view.unreadable(&key, "its time is after the year 2262"))
}

/// Gives the batch of the last block its time: the stake in it still counted at this height. It is not before that of the
/// batch before, because batches mature in their order.
pub(super) fn close<R: Reader + ?Sized>(view: &mut View<'_, R>, at: &At<'_>) {
    let mut queue = queue(view);
    if queue.open_items == 0 {
        return;
    }
    let unbonding = at.params.staking.unbonding;
    let own = if mutated(Mutation::UnbondEarly) { at.after(unbonding / 2) } else { at.after(unbonding) };
    // After a decision that shortens the time, the batches before this one still have the longer one.
    let before = (queue.first < queue.next).then(|| completes(view, queue.next - 1)).flatten();
    let completes = before.filter(|_| !mutated(Mutation::ForgetBatchBefore)).map_or(own, |before| before.max(own));
    let batch = pb::StakeBatch { completes_ms: completes.unix_millis(), items: queue.open_items };
    view.set(&key::stake_batch(queue.next), Some(batch.encode_to_vec()));
    (queue.next, queue.open_items) = (queue.next + 1, 0);
    set_queue(view, queue);
}

/// Removes the items that are due at the time of a block, at most `items_max`, and returns each with the number of its batch.
pub(super) fn take_due<R: Reader + ?Sized>(view: &mut View<'_, R>, now: Time, items_max: usize) -> Vec<(u64, Item)> {
    let before = queue(view);
    let (mut queue, mut due) = (before, Vec::new());
    while queue.first < queue.next && due.len() < items_max {
        let (number, row) = (queue.first, key::stake_batch(queue.first));
        let Some(batch) = view.message::<pb::StakeBatch>(&row) else {
            view.unreadable::<()>(&row, "a batch of the queue is missing");
            break;
        };
        let completes = Deadline::from_unix_millis(batch.completes_ms);
        if !completes.is_some_and(|completes| completes.has_passed(now)) {
            break;
        }
        while queue.place < batch.items && due.len() < items_max {
            let key = key::stake_item(number, queue.place);
            match view.message(&key).and_then(Item::from_pb) {
                Some(item) => due.push((number, item)),
                None => _ = view.unreadable::<()>(&key, "an item of the queue is missing"),
            }
            view.set(&key, None);
            queue.place += 1;
        }
        if queue.place >= batch.items {
            view.set(&row, None);
            (queue.first, queue.place) = (queue.first + 1, 0);
        }
    }
    if queue != before {
        set_queue(view, queue);
    }
    due
}

/// Returns the time of the next block that the queue needs; a time that has passed if there is an open batch.
pub(super) fn deadline<R: Reader + ?Sized>(view: &mut View<'_, R>) -> Option<Time> {
    let queue = queue(view);
    if queue.open_items > 0 {
        return Some(Time::UNIX_EPOCH);
    }
    (queue.first < queue.next).then(|| completes(view, queue.first))?.map(Deadline::time)
}
