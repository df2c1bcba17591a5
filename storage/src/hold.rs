//! Heights that are being read: while one is held, the rows that its state needs stay in the store.

use std::sync::Mutex;

use types::Height;

use crate::{
    error::Result,
    kv::Kv,
    store::{Store, lock},
    window::Window,
};

/// A height that is being read, until this is dropped.
pub(crate) struct Hold<'a> {
    window: &'a Mutex<Window>,
    height: Height,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        lock(self.window).release(self.height);
    }
}

impl<K: Kv> Store<K> {
    /// Registers a reader of the state at `height`.
    ///
    /// Errors: `Pruned` when the state of `height` is no longer kept.
    pub(crate) fn hold(&self, height: Height) -> Result<Hold<'_>> {
        lock(&self.window).hold(height)?;
        Ok(Hold { window: &self.window, height })
    }

    /// Registers a reader of the lowest height that can be read, and returns that height.
    pub(crate) fn hold_earliest(&self) -> (Hold<'_>, Height) {
        let height = lock(&self.window).hold_earliest();
        (Hold { window: &self.window, height }, height)
    }

    /// Registers a reader of the state at the tip.
    ///
    /// Errors: `NoGenesis` before there is a state.
    pub(crate) fn hold_tip(&self) -> Result<Hold<'_>> {
        // The window cannot pass the tip while it is locked.
        let mut window = lock(&self.window);
        let height = self.tip_or_error()?.height;
        window.hold(height)?;
        Ok(Hold { window: &self.window, height })
    }
}
