//! `cairn verify`: of a proof that someone handed over, and of a node's store.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use light::{FILE_BYTES_MAX, TRUST_BYTES_MAX, Trust, verify_file};
use node::exit::Failure;
use types::ChainId;

use super::{args, home::Home, output, store::VerifyStore};

const HELP: &str = "\
Examples:
  cairn verify proof.json --trust validators.json
  cairn proof account bob | cairn verify --trust genesis.json
  cairn verify store                                  a node's store, see `cairn verify store --help`

The trusted validators are the answer of /validators at some height, the output of
`cairn query validators --json`, or a genesis document. The header in the proof is believed if its
validators are the trusted ones and more than 2/3 of their power signed it, or, if they have
changed, if more than 1/3 of the trusted power signed it too. Trust only validators that still have
their stake. Exit code 0: the sentences that are printed are proven; 1: nothing is.";

/// Check a proof without a node, or that stored data is complete and undamaged
#[derive(Debug, Args)]
#[command(after_help = HELP, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Verify {
    #[command(subcommand)]
    what: Option<What>,
    /// File with a proof, made by `cairn proof`; `-` is standard input
    #[arg(default_value = "-", value_name = "FILE")]
    file: PathBuf,
    /// File with the validators that you trust
    #[arg(long, required = true, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Chain that the proof must be of [default: the one in the file with the validators, if it names one]
    #[arg(long, value_name = "ID")]
    chain_id: Option<ChainId>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read a whole store and report all damage, by height and column family
    Store(VerifyStore),
}

impl Verify {
    /// Verifies a proof and prints what it proves, or verifies a store.
    ///
    /// Errors: a file cannot be read or is of another kind, the proof does not hold, or those of [`VerifyStore::run`].
    pub fn run(self, home: impl FnOnce() -> Result<Home, Failure>) -> Result<(), Failure> {
        if let Some(What::Store(store)) = self.what {
            return store.run(&home()?);
        }
        let Some(trust_file) = self.trust else { return Err(Failure::refused("--trust is missing")) };
        let bad = |file: &Path, reason: String| Failure::refused(format!("{}: {reason}", file.display()));
        let trust = Trust::from_json(&files::read(&trust_file, TRUST_BYTES_MAX)?);
        let mut trust = trust.map_err(|error| bad(&trust_file, error.to_string()))?;
        trust.chain_id = self.chain_id.or(trust.chain_id);
        let proven = verify_file(&args::read(&self.file, FILE_BYTES_MAX)?, &trust);
        let proven = proven.map_err(|error| bad(&self.file, format!("this proves nothing: {error}")))?;
        output::line(proven);
        Ok(())
    }
}
