//! `cairn rewind`: takes the store of a stopped node back to an earlier height.
//!
//! | file | content |
//! |---|---|
//! | `rewind.rs` | the command |
//! | `rewind/codes.rs` | reasons why it is refused or stops |
//! | `rewind/report.rs` | what it prints |
//!
//! `replica/src/rewind.rs` does the work.

mod codes;
mod report;

use std::{path::Path, time::Instant};

use clap::Args;
use node::{
    config::Config,
    exit::{Code, Failure},
    home::Lock,
};
use replica::{RewindError, RewindPlan};
use storage::{BlocksAbove, RocksKv, Store, StoreError};
use types::Height;

use super::{
    home::Home,
    output,
    progress::Progress,
    store::{chain_of, must_exist, signing_state},
};
pub use codes::CODES;
use report::{Report, print_difference};

const HELP: &str = "\
Examples:
  cairn rewind --to 88000 --dry-run             check it, and show what it would do
  cairn rewind --to 88000                       go back, and execute the blocks above 88000 again
  cairn rewind --to 88000 --drop-blocks         go back; the node fetches the blocks from its peers

Takes state, results, indexes and blocks of one stopped node back to a height that it still keeps.
First it computes the hash of the state at that height, which must be the one that the next block
commits to. The blocks above it are kept and executed again at once, and every app hash and results
hash is compared with what the chain agreed on: at the first difference the command stops, and prints
height, transaction and rows. Nothing changes in the network, and the record of what the validator's
key has signed never goes back: it signs nothing until the chain is above that record.

The same command continues an interrupted rewind; until then the node does not start. `cairn explain
R_FUTURE` explains the code in a refusal. Exit code 70: a block has another result than the chain
agreed on; 74: the disk failed, or rows are damaged.";

/// Take the store of this home's stopped node back to an earlier height; the network is not affected
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Rewind {
    /// Height to go back to: at least the earliest kept block, and below the tip
    #[arg(long, value_name = "HEIGHT")]
    to: u64,
    /// Keep the blocks above the height, and execute them again (default)
    #[arg(long, conflicts_with = "drop_blocks")]
    keep_blocks: bool,
    /// Delete the blocks above the height
    #[arg(long)]
    drop_blocks: bool,
    /// Check and show everything, change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl Rewind {
    /// Rewinds the store of the home, or shows what that would do, and prints a report.
    ///
    /// Errors: the home has no valid configuration; its node runs; the height is not below the tip, or no longer kept;
    /// the state at the height is not the one that the chain agreed on; a block cannot be executed again or has another
    /// result; the store cannot be read or written. Each sentence begins with one of [`CODES`].
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        home.must_exist()?;
        let config = Config::load(home.path(), &[])?;
        let _lock = Lock::take(&config.data_dir()).map_err(|failure| match failure.code {
            Code::InUse => Failure::new(Code::InUse, format!("R_LOCKED: {}", failure.sentence)),
            _ => failure,
        })?;
        let path = config.store_dir();
        let store = self.open(&path)?;
        let mut progress = Progress::new("rewinding");
        let done = self.rewind(&store, &config, &mut progress);
        progress.end();
        let tip = store.tip().map(|tip| tip.height);
        done.map_err(|error| match error {
            Stopped::Failed(failure) => failure,
            Stopped::Rewind(error) => {
                if let RewindError::Differs(difference) = &error {
                    print_difference(difference, self.json);
                }
                codes::failure(&error, &path, tip)
            }
        })
    }

    /// Opens the store of a home that has a chain.
    fn open(&self, path: &Path) -> Result<Store<RocksKv>, Failure> {
        let empty = |failure: Failure| Failure::new(failure.code, format!("R_EMPTY: {}", failure.sentence));
        let failed = |error: StoreError| match error {
            StoreError::Io { .. } | StoreError::Damaged { .. } => codes::failure(&error.into(), path, None),
            error => error.into(),
        };
        must_exist(path).map_err(empty)?;
        let kv = if self.dry_run { RocksKv::open_read_only(path) } else { RocksKv::open(path) }.map_err(failed)?;
        kv.warnings().iter().for_each(|warning| output::note(format_args!("warning: {warning}")));
        let chain_id = chain_of(&kv).map_err(empty)?;
        Store::open(kv, &chain_id).map_err(failed)
    }

    fn rewind(&self, store: &Store<RocksKv>, config: &Config, progress: &mut Progress) -> Result<(), Stopped> {
        let start = Instant::now();
        let drops = self.drop_blocks && !self.keep_blocks;
        let asked = if drops { BlocksAbove::Dropped } else { BlocksAbove::Kept };
        let plan = RewindPlan::new(store, app::UPGRADES, Height(self.to), asked, &mut |step| progress.show(step))?;
        let mut report = Report::of(&plan, start.elapsed(), signing_state(config)?);
        if !self.dry_run {
            let start = Instant::now();
            let from = plan.from.height;
            let done = plan.run(store, &mut |height| progress.show(&format!("height {height} of {from}")))?;
            report.done = Some((done, start.elapsed()));
        }
        progress.end();
        report.print(self.json);
        Ok(())
    }
}

/// Reason why the command ends early.
enum Stopped {
    Failed(Failure),
    Rewind(RewindError),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<RewindError> for Stopped {
    fn from(error: RewindError) -> Self {
        Self::Rewind(error)
    }
}
