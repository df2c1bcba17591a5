//! A reader that counts the rows that it returns.

use std::cell::Cell;

use types::{Height, History, Reader, Version};

pub struct Counting<'a>(&'a dyn History, Cell<usize>);

impl<'a> Counting<'a> {
    /// Returns the number of rows that `act` reads, apart from those of earlier heights.
    pub fn of(reader: &'a dyn History, act: impl FnOnce(&Self)) -> usize {
        let counting = Self(reader, Cell::new(0));
        act(&counting);
        counting.1.get()
    }
}

impl Reader for Counting<'_> {
    fn version(&self, key: &[u8]) -> Option<Version> {
        self.1.set(self.1.get() + 1);
        self.0.version(key)
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.0.scan_from(prefix, from, &mut |key, value| {
            self.1.set(self.1.get() + 1);
            visit(key, value)
        });
    }

    fn unreadable(&self, key: &[u8], reason: &str) {
        self.0.unreadable(key, reason);
    }
}

impl History for Counting<'_> {
    fn get_at(&self, height: Height, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get_at(height, key)
    }

    fn changed_since(&self, height: Height, prefix: &[u8], visit: &mut dyn FnMut(&[u8]) -> bool) {
        self.0.changed_since(height, prefix, visit);
    }
}
