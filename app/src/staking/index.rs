//! The order of the validators by their tokens: two heaps, whose places are rows of N.
//!
//! The members of the set are a heap with the weakest on top, the validators that wait for a place in it one with the
//! strongest on top. A validator whose tokens change moves by one level per comparison, and the tops are compared to
//! exchange members: each change costs O(log n) rows. The rows depend on the order of the changes, which is the same on all
//! nodes.

use std::{cmp::Reverse, collections::BTreeSet};

use prost::Message;
use types::{Address, Reader, pb};

use crate::{
    mutation::{Mutation, mutated},
    state::key,
    view::View,
};

/// A heap of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heap {
    Members,
    Waiting,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    operator: Address,
    tokens: u64,
}

impl Entry {
    /// Orders validators: the stronger one is the greater one.
    fn strength(&self) -> (u64, Reverse<Address>) {
        (self.tokens, Reverse(self.operator))
    }
}

/// The index while a block changes it.
pub(super) struct Index<'i, 'a, R: ?Sized> {
    view: &'i mut View<'a, R>,
    /// Sizes of the heaps, and the validators that kept their power.
    pub set: pb::StakeSet,
}

impl<'i, 'a, R: Reader + ?Sized> Index<'i, 'a, R> {
    pub fn load(view: &'i mut View<'a, R>) -> Self {
        let set = view.message(key::STAKE_SET).unwrap_or_default();
        Self { view, set }
    }

    /// Stores the sizes of the heaps.
    pub fn store(self) {
        let value = self.set.encode_to_vec();
        self.view.set(key::STAKE_SET, Some(value).filter(|value| !value.is_empty()));
    }

    /// Returns true if the validator is a member of the set.
    pub fn is_member(&mut self, operator: &Address) -> bool {
        self.place(operator).is_some_and(|(heap, _)| heap == Heap::Members)
    }

    /// Returns the place of a member in the order of the set, from 1; `None` if it is no member. Cost: one read per member.
    pub fn rank(&mut self, operator: &Address) -> Option<u32> {
        let entries: Vec<Entry> = (0..self.set.members).map(|position| self.entry(Heap::Members, position)).collect();
        let own = entries.iter().find(|entry| entry.operator == *operator)?.strength();
        Some(1 + entries.iter().filter(|entry| entry.strength() > own).count() as u32)
    }

    /// Changes the tokens of a validator, or removes it if they are `None`.
    pub fn change(&mut self, operator: Address, tokens: Option<u64>) {
        match (self.place(&operator), tokens) {
            (None, None) => {}
            (None, Some(tokens)) => self.insert(Heap::Waiting, Entry { operator, tokens }),
            (Some((heap, position)), None) => self.remove(heap, position),
            (Some((heap, position)), Some(tokens)) => {
                self.put(heap, position, Entry { operator, tokens });
                let position = self.rise(heap, position);
                self.sink(heap, position);
            }
        }
    }

    /// Moves validators until the members are the `members_max` strongest ones. Adds those that it moves to `moved`.
    pub fn balance(&mut self, members_max: u64, moved: &mut BTreeSet<Address>) {
        loop {
            let weakest = (self.set.members > 0).then(|| self.entry(Heap::Members, 0));
            let strongest = (self.set.waiting > 0).then(|| self.entry(Heap::Waiting, 0));
            let members = u64::from(self.set.members);
            let (rises, falls) = match (weakest, strongest) {
                (Some(weak), _) if members > members_max && !mutated(Mutation::AnySetSize) => (None, Some(weak)),
                (_, Some(strong)) if members < members_max || mutated(Mutation::AnySetSize) => (Some(strong), None),
                (Some(weak), Some(strong)) if strong.strength() > weak.strength() => (Some(strong), Some(weak)),
                _ => return,
            };
            if let Some(entry) = falls {
                self.remove(Heap::Members, 0);
                moved.insert(entry.operator);
            }
            if let Some(entry) = rises {
                self.remove(Heap::Waiting, 0);
                self.insert(Heap::Members, entry);
                moved.insert(entry.operator);
            }
            if let Some(entry) = falls {
                self.insert(Heap::Waiting, entry);
            }
        }
    }

    fn size(&mut self, heap: Heap) -> &mut u32 {
        match heap {
            Heap::Members => &mut self.set.members,
            Heap::Waiting => &mut self.set.waiting,
        }
    }

    fn place(&mut self, operator: &Address) -> Option<(Heap, u32)> {
        let pb: pb::HeapPlace = self.view.message(&key::heap_place(operator))?;
        Some((if pb.is_member { Heap::Members } else { Heap::Waiting }, pb.place.saturating_sub(1)))
    }

    fn entry(&mut self, heap: Heap, position: u32) -> Entry {
        let key = key::heap(heap == Heap::Members, position);
        let pb: Option<pb::HeapEntry> = self.view.message(&key);
        let entry =
            pb.and_then(|pb| Some(Entry { operator: Address(pb.validator.try_into().ok()?), tokens: pb.tokens }));
        entry.or_else(|| self.view.unreadable(&key, "a place of the order of validators is empty")).unwrap_or_default()
    }

    fn put(&mut self, heap: Heap, position: u32, entry: Entry) {
        let is_member = heap == Heap::Members;
        let value = pb::HeapEntry { validator: entry.operator.0.to_vec(), tokens: entry.tokens };
        self.view.set(&key::heap(is_member, position), Some(value.encode_to_vec()));
        let place = pb::HeapPlace { is_member, place: position + 1 };
        self.view.set(&key::heap_place(&entry.operator), Some(place.encode_to_vec()));
    }

    fn insert(&mut self, heap: Heap, entry: Entry) {
        let position = *self.size(heap);
        *self.size(heap) += 1;
        self.put(heap, position, entry);
        self.rise(heap, position);
    }

    fn remove(&mut self, heap: Heap, position: u32) {
        let removed = self.entry(heap, position);
        let last = self.size(heap).saturating_sub(1);
        *self.size(heap) = last;
        let moved = self.entry(heap, last);
        self.view.set(&key::heap(heap == Heap::Members, last), None);
        self.view.set(&key::heap_place(&removed.operator), None);
        if position != last {
            self.put(heap, position, moved);
            let position = self.rise(heap, position);
            self.sink(heap, position);
        }
    }

    /// Returns true if `a` belongs nearer to the top than `b`.
    fn is_above(heap: Heap, a: &Entry, b: &Entry) -> bool {
        match heap {
            Heap::Members => a.strength() < b.strength(),
            Heap::Waiting => a.strength() > b.strength(),
        }
    }

    /// Exchanges the entry with those above it, as far as it belongs. Returns its position.
    fn rise(&mut self, heap: Heap, mut position: u32) -> u32 {
        let entry = self.entry(heap, position);
        while position > 0 {
            let up = (position - 1) / 2;
            let above = self.entry(heap, up);
            if !Self::is_above(heap, &entry, &above) {
                break;
            }
            self.put(heap, position, above);
            self.put(heap, up, entry);
            position = up;
        }
        position
    }

    /// Exchanges the entry with those below it, as far as it belongs.
    fn sink(&mut self, heap: Heap, mut position: u32) {
        let (entry, size) = (self.entry(heap, position), *self.size(heap));
        loop {
            let (left, right) = (2 * position + 1, 2 * position + 2);
            if left >= size {
                return;
            }
            let mut below = (left, self.entry(heap, left));
            if right < size {
                let other = self.entry(heap, right);
                if Self::is_above(heap, &other, &below.1) {
                    below = (right, other);
                }
            }
            if !Self::is_above(heap, &below.1, &entry) {
                return;
            }
            self.put(heap, position, below.1);
            self.put(heap, below.0, entry);
            position = below.0;
        }
    }
}
