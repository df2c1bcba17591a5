//! `cairn export` writes the state of a height as the genesis document of a new chain.

use std::io::{self, BufWriter, Write};

use clap::Args;
use genesis::{Document, Genesis, GenesisAccount, GenesisValidator};
use node::{config::Config, exit::Failure, home::Lock};
use storage::{Kv, RocksKv, Store, Tip};
use types::{ChainId, Height, Time};

use super::{args, home::Home, output, store};

const HELP: &str = "\
Examples:
  cairn export --chain-id cairn-2 > genesis.json
  cairn export --chain-id cairn-2 --height 9000 --without-namespaces > genesis.json

The node of the home must not run. All nodes write the same document for the same height: its genesis
time is that of the block. The new chain starts at height 1 with the balances, validators, stake and
parameters of this height; nonces begin again. Stake that unbonds and deposits of open proposals
return to their owners; validators in jail for ever are left out, and their stake returns too.
Namespaces are not exported: with namespaces in the state, --without-namespaces is needed.

Start the new chain with a new home or an empty data/: the record of what a validator signed is of the
old chain, whose heights are higher.";

/// Write the state of this home's stopped node as the genesis document of a new chain
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Export {
    /// Id of the new chain; it must be another one than that of this chain
    #[arg(long, value_name = "ID")]
    chain_id: ChainId,
    /// Height whose state is written; it must be kept [default: the latest]
    #[arg(long, value_name = "H", value_parser = args::height)]
    height: Option<Height>,
    /// Leave out namespaces, whose keys and values are lost for the new chain
    #[arg(long)]
    without_namespaces: bool,
}

impl Export {
    /// Reads the state, checks the document and writes it to standard output.
    ///
    /// Errors: the home has no valid configuration, its node runs, the height is not kept, the store is damaged, or the
    /// state cannot be the start of a chain.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        home.must_exist()?;
        let config = Config::load(home.path(), &[])?;
        let _lock = Lock::take(&config.data_dir())?;
        store::must_exist(&config.store_dir())?;
        let kv = RocksKv::open_read_only(&config.store_dir())?;
        let chain_id = store::chain_of(&kv)?;
        if chain_id == self.chain_id {
            return Err(Failure::refused(format!(
                "--chain-id: {chain_id} is the chain of this home; the new chain needs another id, because transactions and \
                 votes are signed for an id"
            )));
        }
        let store = Store::open(kv, &chain_id)?;
        let genesis = self.document(&store)?;
        let mut out = BufWriter::new(io::stdout().lock());
        let written = genesis.write_json(&mut out).and_then(|()| out.flush());
        written.map_err(|error| Failure::disk(format!("the document cannot be written to standard output: {error}")))
    }

    fn document<K: Kv>(self, store: &Store<K>) -> Result<Genesis, Failure> {
        let tip = store.tip().ok_or_else(|| Failure::refused("the database holds no chain yet"))?;
        let height = self.height.unwrap_or(tip.height);
        must_be_kept(store, height, tip)?;
        let reader = store.reader_at(height)?;
        let exported = app::export(&reader);
        reader.check()?;
        drop(reader);
        let exported = exported.map_err(|error| Failure::refused(format!("height {height}: {error}")))?;
        if exported.has_namespaces && !self.without_namespaces {
            return Err(Failure::refused(
                "the state has namespaces, which a genesis document cannot hold: say --without-namespaces to leave them out, \
                 and write their keys again on the new chain",
            ));
        }
        for operator in &exported.left_out {
            output::note(format_args!("left out: the validator of {operator}, which is in jail for ever"));
        }
        let genesis_time = time_of(store, height, tip)?;
        let moniker = |operator| {
            let terms = exported.stake.terms.iter().find(|terms| Some(terms.operator) == operator);
            terms.map(|terms| terms.description.moniker.clone()).unwrap_or_default()
        };
        let validator = |first: &app::FirstValidator| GenesisValidator {
            public_key: first.public_key,
            power: first.power,
            name: moniker(first.operator),
            operator: first.operator,
        };
        let account = |(address, balance)| GenesisAccount { address, balance, name: String::new() };
        let document = Document {
            genesis_time,
            chain_id: self.chain_id,
            initial_height: Height(1),
            validators: exported.validators.iter().map(validator).collect(),
            params: exported.params,
            app_hash: None,
            accounts: exported.accounts.into_iter().map(account).collect(),
            stake: exported.stake,
        };
        Genesis::new(document).map_err(|fault| {
            Failure::refused(format!("the state of height {height} is not the start of a chain: {fault}"))
        })
    }
}

/// Checks that the state of a height is kept, and the block with its time.
///
/// Errors: it is not; the failure has the heights that are.
fn must_be_kept<K: Kv>(store: &Store<K>, height: Height, tip: Tip) -> Result<(), Failure> {
    let (earliest, next) = (store.earliest(), height.next());
    let is_first_state = next >= earliest && store.genesis().is_some_and(|genesis| genesis.initial_height == next);
    if height == tip.height || (earliest..=tip.height).contains(&height) || is_first_state {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "--height: the state of height {height} is not kept: use a height from {earliest} to {}",
        tip.height
    )))
}

/// Returns the time of the block at a height; of the state before the first block, the genesis time.
fn time_of<K: Kv>(store: &Store<K>, height: Height, tip: Tip) -> Result<Time, Failure> {
    let genesis = store.genesis().filter(|genesis| genesis.initial_height == height.next());
    match genesis {
        Some(genesis) => Ok(genesis.time),
        None if height == tip.height => Ok(tip.time),
        None => Ok(store.header(height)?.time),
    }
}
