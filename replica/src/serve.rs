//! Serves decided blocks to peers, from the store alone.

use storage::{Kv, Store, StoreError};
use types::{BlockAndCommit, BlockRequest, BlockResponse, Height, limits::SYNC_BLOCKS_MAX};

use crate::mutation::{Mutation, mutated};

/// Maximum bytes of blocks in one response to a sync request, unless one block is larger.
const SERVE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Returns the response to a peer's request for blocks; on any thread.
///
/// It contains at most 4 MiB of blocks, or one block if that is larger. It is shorter than requested where the kept
/// blocks end, and before a height that cannot be read; the error of that read is returned too, for the log.
pub fn serve<K: Kv>(store: &Store<K>, request: BlockRequest) -> (BlockResponse, Option<StoreError>) {
    let latest = store.tip().filter(|tip| tip.block_id.is_some()).map_or(Height::GENESIS, |tip| tip.height);
    let mut response = BlockResponse { earliest: store.earliest(), latest, latest_commit: None, blocks: Vec::new() };
    match store.commit(latest) {
        Ok(commit) => response.latest_commit = Some(commit),
        // There is no block yet, or the window moved in the meantime.
        Err(StoreError::Pruned { .. } | StoreError::Future { .. }) => {}
        Err(error) => return (response, Some(error)),
    }
    let mut bytes = 0;
    for offset in 0..u64::from(request.count.min(SYNC_BLOCKS_MAX)) {
        let height = Height(request.from.0.saturating_add(offset));
        if height > latest || height < response.earliest || mutated(Mutation::ServeNothing) {
            break;
        }
        let read =
            store.block_bytes(height).and_then(|block| Ok(BlockAndCommit { block, commit: store.commit(height)? }));
        let block = match read {
            Ok(block) => block,
            // The window moved in the meantime.
            Err(StoreError::Pruned { .. } | StoreError::Future { .. }) => break,
            Err(error) => return (response, Some(error)),
        };
        bytes += block.block.len();
        if bytes > SERVE_BYTES_MAX && offset > 0 {
            break;
        }
        response.blocks.push(block);
    }
    (response, None)
}
