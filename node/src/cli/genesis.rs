//! `cairn genesis` checks the document with which a chain starts.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use genesis::{FAULTS_MAX, Genesis};
use node::{config::Config, exit::Failure};

use super::{home::Home, output, show::Facts};

const HELP: &str = "\
Examples:
  cairn genesis validate                    the document of the home
  cairn genesis validate new-genesis.json
  cairn export --chain-id next | cairn genesis validate -

Prints every fault with the path of its field, and fails if there is one. Faults of the form, such as
a text in place of a number, come first: those of the content, such as stake that does not add up,
are found when the form is right. docs/genesis.md describes the document.";

/// Check the document with which a chain starts
#[derive(Debug, Args)]
pub struct GenesisArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Name every fault of a genesis document
    #[command(after_help = HELP)]
    Validate {
        /// File to check; `-` is standard input [default: the document of the home]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

impl GenesisArgs {
    /// Checks a document and prints its faults, or what it says.
    ///
    /// Errors: the home has no valid configuration, the file cannot be read, or the document has a fault.
    pub fn run(self, home: impl FnOnce() -> Result<Home, Failure>) -> Result<(), Failure> {
        let Command::Validate { file } = self.command;
        let file = match file {
            Some(file) => file,
            None => {
                let home = home()?;
                home.must_exist()?;
                Config::load(home.path(), &[])?.genesis_file()
            }
        };
        let source: Box<dyn Read> = match file == Path::new("-") {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(&file).map_err(|error| Failure::file("read", &file, &error))?),
        };
        match Genesis::read_all(BufReader::new(source)) {
            Ok(genesis) => {
                print(&genesis);
                Ok(())
            }
            Err(faults) => {
                faults.iter().for_each(output::line);
                let more = if faults.len() < FAULTS_MAX { "" } else { ", and there may be more" };
                let count = if faults.len() == 1 { "1 fault".to_owned() } else { format!("{} faults", faults.len()) };
                Err(Failure::refused(format!("{}: {count}{more}: correct the document", file.display())))
            }
        }
    }
}

fn print(genesis: &Genesis) {
    let document = genesis.document();
    let mut facts = Facts::default();
    facts.add("chain", genesis.chain_id()).add("genesis time", document.genesis_time);
    facts.add("first height", document.initial_height);
    facts.add("validators of it", genesis.validators().len()).add("their power", genesis.validators().total_power());
    facts.add("accounts", document.accounts.len()).add("delegations", document.stake.delegations.len());
    facts.add("app hash", genesis.app_hash()).add("hash", genesis.hash()).print();
}
