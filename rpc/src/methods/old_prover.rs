//! Builds the trees for proofs about states below the tip, and keeps the last one, because such requests come in bursts.

use std::sync::{Arc, Mutex};

use app::App;
use storage::{RocksKv, StateReader};
use types::{ChainId, Height, Reader};

use crate::error::Error;

/// Maximum number of rows of a state below the tip with which a proof is made: its tree is built from all of them,
/// about 1 µs each. At the tip the tree is in memory, so any size works.
const OLD_ROWS_MAX: usize = 20_000;

/// The tree of the last height below the tip that was asked for. One tree is built at a time.
#[derive(Default)]
pub struct OldProver(Mutex<Option<Arc<App>>>);

impl OldProver {
    /// Returns the application with the tree of the reader's height.
    ///
    /// Errors: the state has too many rows, or a row is unreadable.
    pub fn app(&self, chain_id: &ChainId, reader: &StateReader<'_, RocksKv>) -> Result<Arc<App>, Error> {
        let height: Height = reader.height();
        let mut kept = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(app) = kept.as_ref().filter(|app| app.height() == height) {
            return Ok(app.clone());
        }
        let mut rows = 0;
        for prefix in [app::area::NEVER_REVERTED, app::area::REVERTIBLE] {
            reader.scan(prefix, &mut |_, _| {
                rows += 1;
                rows <= OLD_ROWS_MAX
            });
        }
        reader.check()?;
        if rows > OLD_ROWS_MAX {
            return Err(Error::refused(format_args!(
                "height {height} is below the tip, and its state has more than {OLD_ROWS_MAX} rows, too many to rebuild its \
                 tree: leave the height out for a proof at the tip, or ask without prove"
            )));
        }
        let app = Arc::new(App::open(reader, chain_id.clone(), height));
        reader.check()?;
        *kept = Some(app.clone());
        Ok(app)
    }
}
