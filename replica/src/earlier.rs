//! Computes the trees of the state after an earlier height from the application at the tip and from the store.

use app::EarlierTrees;
use storage::{Kv, StateReader, Store, StoreError};

use crate::live::LiveApp;

/// Maximum number of changes above the earlier height that are looked at, each in 0.1 µs. If there are more, the trees are computed
/// from all rows.
const CHANGES_MAX: usize = 1 << 20;

/// Computes the trees that proofs need, as long as `may_go_on` returns true; it is asked before each scan of some adjacent
/// rows. Returns true when they are complete; if not, another call continues. `reader` is the state after the height of
/// `trees`, and `number` is that of the namespace whose keys are to be proven.
///
/// Locks the application for some 50 µs at a time. Cost, once per height: some 10 ms, a look at each change since the height, and a
/// scan of some adjacent rows for each changed key; at most a scan of the whole state.
///
/// Errors: `Pruned` if the height is no longer kept; `Damaged` or `Io` when a read fails. The caller must drop `trees` then.
pub fn prepare<K: Kv>(
    trees: &mut EarlierTrees,
    number: Option<u32>,
    store: &Store<K>,
    app: &LiveApp,
    reader: &StateReader<'_, K>,
    may_go_on: &mut dyn FnMut() -> bool,
) -> Result<bool, StoreError> {
    if trees.begin(number) {
        // The heights at which nodes are copied, and the earlier one.
        let (mut lowest, mut highest, mut is_copied) = (trees.height(), trees.height(), false);
        while !is_copied {
            let app = app.read();
            (lowest, highest) = (lowest.min(app.height()), highest.max(app.height()));
            is_copied = trees.copy(&app);
        }
        let after = store.reader_at(highest)?;
        let is_marked = after.try_each_change(lowest, CHANGES_MAX, &mut |key| trees.mark(key))?;
        trees.end_copy(is_marked);
    }
    let is_complete = trees.read(reader, may_go_on);
    reader.check()?;
    Ok(is_complete)
}
