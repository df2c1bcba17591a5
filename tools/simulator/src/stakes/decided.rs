//! What the checks of stake look at.

use types::{Block, BlockResults, Params};

use crate::rows::Rows;

/// A height that is decided for the first time.
#[derive(Clone, Copy)]
pub(super) struct Decided<'d> {
    /// The block with its transactions and evidence.
    pub block: &'d Block,
    /// The results of its execution.
    pub results: &'d BlockResults,
    /// The state before the block.
    pub before: &'d Rows,
    /// The state after it.
    pub now: &'d Rows,
    /// The parameters of the height.
    pub params: &'d Params,
}
