//! The memory that a thread takes while it decodes, counted by an allocator.
//!
//! A program that wants it counted makes [`Counting`] its global allocator, as the tests and the fuzz targets do. In any
//! other program every measurement is 0.
#![allow(unsafe_code, reason = "an allocator is one")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The allocator of the system, which also counts for each thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

fn count(change: isize) {
    // A thread that ends has no counters any more, and no property runs on it.
    let _ = HELD.try_with(|held| {
        held.set(held.get().wrapping_add(change));
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: each call goes to the allocator of the system, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // The old and the new block exist together while the content is moved.
        count(bytes as isize);
        count(-(layout.size() as isize));
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

/// Returns what `act` returns, and the most bytes that this thread held meanwhile beside those that it held before.
pub fn most_of<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let result = act();
    (result, usize::try_from(MOST.get().wrapping_sub(before)).unwrap_or(0))
}
