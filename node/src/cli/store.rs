//! Commands for a node's store: verify it, copy it, begin with a copy.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use app::App;
use clap::Args;
use files::{Access, Existing, load_genesis};
use node::{
    admin,
    config::Config,
    exit::{self, Failure},
    home::Lock,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::{Cf, Kv, Report, RocksKv, StateReader, Store, StoreError, Tip};
use types::{ChainId, Hash, Height, SignState};

use super::{home::Home, output, progress::Progress, show::Facts};

/// Name of the store's folder in the folder of a copy.
const COPY_STORE: &str = "store";

/// Name of the file that describes the copy.
const COPY_FACTS: &str = "backup.json";

/// Version of the layout of a copy's folder.
const COPY_FORMAT: u32 = 1;

/// Maximum size of [`COPY_FACTS`] in bytes.
const COPY_FACTS_BYTES_MAX: usize = 64 * 1024;

const VERIFY_HELP: &str = "\
Examples:
  cairn verify store                            the store of the home; its node must not run
  cairn verify store --path ./copy/store        the store of a copy that `cairn backup ./copy` made

Reads every row, and checks: the database's checksums; for each kept height the header, block,
commit, results, changes, validators and parameters, their hashes, and the links between heights;
each index; and that the state's tree has the root on which the chain agreed, at the tip and at the
earliest kept height. Writes nothing. Exit code 0: no damage; 74: damage was found.

A running node checks its own store in the background (storage.scrub_bytes_per_second) and exports
the result as cometbft_storage_scrub_damaged_rows.";

/// Read a whole store and report all damage, by height and column family
#[derive(Debug, Args)]
#[command(after_help = VERIFY_HELP)]
pub struct VerifyStore {
    /// Folder of the database [default: the home's]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

impl VerifyStore {
    /// Reads a whole store and prints a report.
    ///
    /// Errors: the home has no valid configuration, its node runs, the database cannot be opened or has no chain, or
    /// rows are missing or damaged (exit code 74).
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        let (path, _lock) = match self.path {
            Some(path) => (path, None),
            None => {
                home.must_exist()?;
                let config = Config::load(home.path(), &[])?;
                let lock = Lock::take(&config.data_dir()).map_err(|failure| match failure.code {
                    exit::Code::InUse => Failure::new(
                        exit::Code::InUse,
                        format!(
                            "{}; or make a copy with `cairn backup DIR` and give --path DIR/{COPY_STORE}",
                            failure.sentence
                        ),
                    ),
                    _ => failure,
                })?;
                (config.store_dir(), Some(lock))
            }
        };
        must_exist(&path)?;
        let kv = RocksKv::open_read_only(&path)?;
        kv.warnings().iter().for_each(|warning| output::note(format_args!("warning: {warning}")));
        let chain_id = chain_of(&kv)?;
        let store = Store::open(kv, &chain_id)?;
        let report = verify(&store);
        print(&path, &store, &report, self.json);
        match report.findings_total() {
            0 => Ok(()),
            total => Err(Failure::new(
                exit::Code::Disk,
                format!(
                    "{}: {total} rows are missing or damaged. Move the folder away and `cairn restore` a copy of another node's \
                     store; keep priv_validator_state.json",
                    path.display()
                ),
            )),
        }
    }
}

/// Checks that there is a database, because to open it would create one.
///
/// Errors: there is none.
pub(super) fn must_exist(store: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(store) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::refused(format!(
            "{}: there is no database: `cairn start` makes one, and `cairn restore` installs a copy of another one",
            store.display()
        ))),
        _ => Ok(()),
    }
}

pub(super) fn chain_of(kv: &RocksKv) -> Result<ChainId, Failure> {
    let id = storage::chain_of(kv)?;
    id.ok_or_else(|| Failure::refused(format!("{}: the database holds no chain yet", kv.place())))
}

/// Reads the whole store, shows the progress, and returns the report.
fn verify<K: Kv>(store: &Store<K>) -> Report {
    let mut progress = Progress::new("verifying");
    let mut verification = store.verification();
    while verification.step(4 << 20) {
        progress.show(&verification.progress());
    }
    let mut report = verification.report().clone();
    progress.show("the state's tree");
    verify_trees(store, &mut report);
    progress.end();
    report
}

/// Compares the root of the state's tree with the app hash that the chain agreed on, at the tip and at the height
/// before the earliest kept block. Adds what is wrong to `report`.
fn verify_trees<K: Kv>(store: &Store<K>, report: &mut Report) {
    let Some(tip) = store.tip() else { return };
    let at_tip = store.reader().and_then(|reader| check_root(store, &reader, tip.app_hash));
    let earliest = store.earliest();
    let below = earliest.prev().filter(|below| *below < tip.height);
    let at_earliest = below.map(|below| {
        let expected = store.header(earliest)?.app_hash;
        check_root(store, &store.reader_at(below)?, expected)
    });
    for (cf, height, checked) in [(Cf::State, Some(tip.height), Some(at_tip)), (Cf::State, below, at_earliest)] {
        match checked {
            None | Some(Ok(None)) => {}
            Some(Ok(Some(reason))) => report.find(cf, height, &[], reason),
            Some(Err(error)) => report.find(cf, height, &[], error),
        }
    }
}

/// Returns what is wrong with the state at the height of `reader`, or `None`: the hash of its trees must be `expected`,
/// and each row must be stored and listed under its own key.
fn check_root<K: Kv>(
    store: &Store<K>,
    reader: &StateReader<'_, K>,
    expected: Hash,
) -> Result<Option<String>, StoreError> {
    let app = App::open(reader, store.chain_id().clone(), reader.height());
    reader.check()?;
    if app.app_hash() != expected {
        let reason = format!("the hash of the state is {}, but the chain agreed on {expected}", app.app_hash());
        return Ok(Some(reason));
    }
    let misplaced = app::misplaced_row(reader);
    reader.check()?;
    Ok(misplaced)
}

fn print<K: Kv>(path: &Path, store: &Store<K>, report: &Report, is_json: bool) {
    let height = |height: Option<Height>| height.map_or_else(|| "-".to_owned(), |height| height.to_string());
    if is_json {
        let families = report.families.iter().map(|family| {
            json!({
                "family": family.cf.name(),
                "rows": family.rows,
                "bytes": family.bytes,
                "damaged": family.findings,
            })
        });
        let findings = report.findings.iter().map(|finding| {
            json!({
                "family": finding.cf.name(),
                "height": finding.height.map(|height| height.to_string()),
                "key": finding.key,
                "reason": finding.reason,
            })
        });
        output::json(&json!({
            "path": path,
            "chain_id": store.chain_id().as_str(),
            "earliest": report.earliest.to_string(),
            "tip": report.tip.to_string(),
            "damaged": report.findings_total(),
            "families": families.collect::<Vec<_>>(),
            "findings": findings.collect::<Vec<_>>(),
        }));
        return;
    }
    let mut rows = vec![["family", "rows", "bytes", "damaged"].map(str::to_owned).to_vec()];
    rows.extend(report.families.iter().map(|family| {
        let numbers = [family.rows, family.bytes, family.findings].map(|number| number.to_string());
        [vec![family.cf.name().to_owned()], numbers.to_vec()].concat()
    }));
    output::table(&rows, &[1, 2, 3]).iter().for_each(output::line);
    if !report.findings.is_empty() {
        let mut rows = vec![["height", "family", "key", "what is wrong"].map(str::to_owned).to_vec()];
        rows.extend(report.findings.iter().map(|finding| {
            vec![height(finding.height), finding.cf.name().to_owned(), finding.key.clone(), finding.reason.clone()]
        }));
        output::line("");
        output::table(&rows, &[0]).iter().for_each(output::line);
    }
    let more = report.findings_total() - report.findings.len() as u64;
    if more > 0 {
        output::line(format_args!("and {more} more"));
    }
    if report.findings_total() == 0 {
        let (chain, earliest, tip) = (store.chain_id(), report.earliest, report.tip);
        output::line(format_args!("\nheights {earliest} to {tip} of {chain} are whole"));
    }
}

/// The description of a copy, stored in the file [`COPY_FACTS`].
#[derive(Debug, Serialize, Deserialize)]
struct CopyFacts {
    format: u32,
    chain_id: String,
    /// Hash of the genesis document of the copy's chain.
    genesis_hash: String,
    height: u64,
    app_hash: String,
    earliest: u64,
    block_time: String,
    made_by: String,
}

impl CopyFacts {
    /// Returns the description of a store, and the store's tip.
    fn of<K: Kv>(store: &Store<K>) -> Result<(Self, Tip), Failure> {
        let empty = || Failure::refused(format!("{}: the store holds no chain yet", store.kv().place()));
        let (tip, genesis) = store.tip().zip(store.genesis()).ok_or_else(empty)?;
        let facts = Self {
            format: COPY_FORMAT,
            chain_id: store.chain_id().to_string(),
            genesis_hash: genesis.document_hash.to_string(),
            height: tip.height.0,
            app_hash: tip.app_hash.to_string(),
            earliest: store.earliest().0,
            block_time: tip.time.to_string(),
            made_by: format!("cairn {}", env!("CARGO_PKG_VERSION")),
        };
        Ok((facts, tip))
    }

    fn load(file: &Path) -> Result<Self, Failure> {
        let bytes = files::read(file, COPY_FACTS_BYTES_MAX)?;
        let wrong = |reason: String| {
            Failure::refused(format!("{}: {reason}: give a folder that `cairn backup` made", file.display()))
        };
        let facts: Self = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        match facts.format {
            COPY_FORMAT => Ok(facts),
            other => Err(wrong(format!("this copy has format {other}, this program reads {COPY_FORMAT}"))),
        }
    }
}

/// Names the folder that the operator gave in a failure about the temporary one beside it, which is gone when the operator
/// reads the sentence.
fn naming(failure: Failure, temporary: &Path, given: &Path) -> Failure {
    let [temporary, given] = [temporary, given].map(|path| path.display().to_string());
    Failure::new(failure.code, failure.sentence.replace(&temporary, &given))
}

/// Opens the store of a copy, removes the record of what its validator's key has signed, and checks the state against
/// the chain. A refusal because of what it contains names the store `of` which it is a copy.
fn open_copy(path: &Path, of: &Path) -> Result<Store<RocksKv>, Failure> {
    let kv = RocksKv::open(path)?;
    let chain_id = chain_of(&kv)?;
    let store = Store::open(kv, &chain_id)?;
    if let Some(rewind) = store.unfinished_rewind() {
        let sentence = format!(
            "{}: a rewind of this store to height {} is not finished: finish it with `cairn rewind` before a copy is made",
            of.display(),
            rewind.to
        );
        return Err(Failure::refused(sentence));
    }
    store.strip_signing_state()?;
    if let Some(tip) = store.tip() {
        let wrong = store.reader().and_then(|reader| check_root(&store, &reader, tip.app_hash))?;
        if let Some(reason) = wrong {
            let sentence =
                format!("{}: {reason}. The copy cannot be used: `cairn verify store` shows the damage", of.display());
            return Err(Failure::new(exit::Code::Disk, sentence));
        }
    }
    Ok(store)
}

const BACKUP_HELP: &str = "\
Examples:
  cairn backup ./copy                           of the home's node, whether it runs or not
  cairn backup /mnt/backups/2026-11-28 --home testnet/node2
  cairn restore ./copy --home ./new             install it in another home

Writes DIR/store, a consistent copy of the database at one height, and DIR/backup.json, which
describes it. DIR must not exist. On the database's own disk the copy shares files with the database
and takes no space at first; move it to another disk to protect it from a failure of this one. Keys
and the record of what the validator's key has signed are left out, so a copy can be given to
anyone. A running node is asked through a socket in its data folder: run this as the node's user.";

/// Copy the store of this home's node, also while it runs, without keys and signing record
#[derive(Debug, Args)]
#[command(after_help = BACKUP_HELP)]
pub struct Backup {
    /// Folder to create
    #[arg(value_name = "DIR")]
    to: PathBuf,
}

impl Backup {
    /// Makes a consistent copy of the store, with or without a running node, and prints what it contains.
    ///
    /// Errors: the home has no valid configuration, the folder `to` exists, the running node refuses or cannot be
    /// asked, the store cannot be read or its state is wrong, or a file cannot be written.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        home.must_exist()?;
        let config = Config::load(home.path(), &[])?;
        let to = std::path::absolute(&self.to).map_err(|error| Failure::file("found", &self.to, &error))?;
        let part = beside(&to)?;
        let made = make_copy(&config, &part);
        if made.is_err() {
            let _ = fs::remove_dir_all(&part); // this call created the folder, and a partial copy is useless
        }
        let facts = made.map_err(|failure| naming(failure, &part, &to))?;
        move_to_place(&part, &to)?;
        let mut lines = Facts::default();
        lines.add("copy", to.display());
        lines.add("chain", &facts.chain_id);
        lines
            .add("heights", format_args!("{} to {}, last block at {}", facts.earliest, facts.height, facts.block_time));
        lines.add("left out", "keys, and what the validator's key has signed");
        lines.add("install it", format_args!("cairn restore {} --home …", to.display()));
        lines.print();
        Ok(())
    }
}

/// Creates the folder beside `to`, with the suffix `.part`, in which the copy is made, and returns its path.
///
/// Errors: `to` has no name or exists, the folder exists because a copy is being made or was interrupted, or it cannot
/// be created.
fn beside(to: &Path) -> Result<PathBuf, Failure> {
    let Some(name) = to.file_name() else {
        return Err(Failure::refused(format!("{}: give the path of a folder to create", to.display())));
    };
    if fs::symlink_metadata(to).is_ok() {
        return Err(Failure::refused(format!(
            "{} is there already and was left as it is: give the path of a new folder",
            to.display()
        )));
    }
    let part = to.with_file_name(format!("{}.part", name.to_string_lossy()));
    match DirBuilder::new().mode(0o700).create(&part) {
        Ok(()) => Ok(part),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Failure::refused(format!(
            "{} exists: another backup is running, or one was interrupted. If none is running, remove the folder",
            part.display()
        ))),
        Err(error) => Err(Failure::file("created", &part, &error)),
    }
}

/// Makes the copy and its description in the folder `part`. Asks the running node for the copy, or makes it if no node
/// runs.
fn make_copy(config: &Config, part: &Path) -> Result<CopyFacts, Failure> {
    let copy = part.join(COPY_STORE);
    let data = config.data_dir();
    match Lock::holder(&data).map(|_| admin::ask_for_backup(&data, &copy)) {
        Some(Ok(())) => {}
        asked => {
            // No process runs there, or one is ending and cannot be asked any more. If the lock is still held, the
            // failed request is the better explanation.
            let lock = Lock::take(&data);
            if let (Err(_), Some(Err(failure))) = (&lock, asked) {
                return Err(failure);
            }
            let _lock = lock?;
            let store = config.store_dir();
            must_exist(&store)?;
            RocksKv::open(&store)?.checkpoint(&copy)?;
        }
    }
    let (facts, _) = CopyFacts::of(&open_copy(&copy, &config.store_dir())?)?;
    let text = serde_json::to_string_pretty(&facts).expect("numbers and texts are JSON");
    files::write(&part.join(COPY_FACTS), format!("{text}\n").as_bytes(), Access::Public, Existing::Refuse)?;
    sync_folder(&copy)?;
    sync_folder(part)?;
    Ok(facts)
}

fn sync_folder(folder: &Path) -> Result<(), Failure> {
    files::sync_folder(folder).map_err(|error| Failure::file("synced", folder, &error))
}

/// Renames a folder and syncs the parent folder, so that the rename is durable.
fn move_to_place(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::rename(from, to).map_err(|error| Failure::file("written", to, &error))?;
    to.parent().map_or(Ok(()), sync_folder)
}

const RESTORE_HELP: &str = "\
Examples:
  cairn restore ./copy --home ./new             then: cairn start --home ./new
  mv testnet/node3/data/cairn.db /tmp && cairn restore ./copy --home testnet/node3

Installs a copy that `cairn backup` made as the home's database, which must not exist yet. The
home's genesis document must be that of the copy's chain. The copy is not changed. The node
continues from the copy's height and fetches the rest from its peers. Keys and
priv_validator_state.json of the home are not changed: a validator that lost its database keeps its
record of what it has signed.";

/// Install a copy of another node's store, made by `cairn backup`
#[derive(Debug, Args)]
#[command(after_help = RESTORE_HELP)]
pub struct Restore {
    /// Folder that `cairn backup` made
    #[arg(value_name = "DIR")]
    from: PathBuf,
}

impl Restore {
    /// Puts a copy in the place of the home's store and prints what the home now has.
    ///
    /// Errors: the home has no valid configuration, the copy is invalid, damaged or of another chain, the home's node
    /// runs, the home has a store already, or a file cannot be read or written.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        home.must_exist()?;
        let config = Config::load(home.path(), &[])?;
        let facts = CopyFacts::load(&self.from.join(COPY_FACTS))?;
        let genesis_file = config.genesis_file();
        let genesis = load_genesis(&genesis_file)?;
        if (genesis.chain_id().as_str(), genesis.hash().to_string())
            != (facts.chain_id.as_str(), facts.genesis_hash.clone())
        {
            return Err(Failure::new(
                exit::Code::Config,
                format!(
                    "{}: the copy is of chain {} with genesis {}, but this home is of chain {} with genesis {}: install that \
                     chain's genesis document here, or use another copy",
                    genesis_file.display(),
                    facts.chain_id,
                    facts.genesis_hash,
                    genesis.chain_id(),
                    genesis.hash()
                ),
            ));
        }
        let _lock = Lock::take(&config.data_dir())?;
        let store = config.store_dir();
        if fs::symlink_metadata(&store).is_ok() {
            return Err(Failure::refused(format!(
                "{} is there already and was left as it is: move it away first, or use another home",
                store.display()
            )));
        }
        let part = store.with_extension("part");
        // Such a folder is left over from an interrupted restore: the lock guarantees that no other process uses it.
        match fs::remove_dir_all(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::file("removed", &part, &error));
            }
            _ => {}
        }
        let put = put_copy(&self.from.join(COPY_STORE), &part, &facts);
        if put.is_err() {
            let _ = fs::remove_dir_all(&part); // this call created the folder, and a partial store is useless
        }
        put.map_err(|failure| naming(failure, &part, &store))?;
        move_to_place(&part, &store)?;
        let mut lines = Facts::default();
        lines.add("store", store.display());
        lines
            .add("heights", format_args!("{} to {}, last block at {}", facts.earliest, facts.height, facts.block_time));
        lines.add("signing state", signing_state(&config)?);
        lines.add("start it", format_args!("cairn start --home {}", home.path().display()));
        lines.print();
        Ok(())
    }
}

/// Copies the store in `from` to the new folder `to`, durably, and checks that it is the one that `facts` describe.
fn put_copy(from: &Path, to: &Path, facts: &CopyFacts) -> Result<(), Failure> {
    DirBuilder::new().mode(0o700).create(to).map_err(|error| Failure::file("created", to, &error))?;
    let files = fs::read_dir(from).map_err(|error| Failure::file("read", from, &error))?;
    for file in files {
        let file = file.map_err(|error| Failure::file("read", from, &error))?.path();
        let Some(name) = file.file_name().filter(|name| *name != "LOCK") else { continue };
        let copy = to.join(name);
        fs::copy(&file, &copy).map_err(|error| Failure::file("copied", &file, &error))?;
        let synced = File::open(&copy).and_then(|copy| copy.sync_all());
        synced.map_err(|error| Failure::file("synced", &copy, &error))?;
    }
    let (got, _) = CopyFacts::of(&open_copy(to, from)?)?;
    if (got.height, &got.app_hash) != (facts.height, &facts.app_hash) {
        return Err(Failure::refused(format!(
            "{}: the store is at height {}, {COPY_FACTS} says {}: the copy is incomplete, make a new one",
            from.display(),
            got.height,
            facts.height
        )));
    }
    sync_folder(to)
}

/// Returns advice for an operator whose home has no record of what the key signed.
fn if_it_signed(key: &Path) -> String {
    format!(
        "If the key {} has ever signed, put its own file there before the start; if that file is lost, use `cairn start \
         --signed-up-to H`, where H is the last height at which the key may have signed",
        key.display()
    )
}

/// Returns a description of the home's record of what its validator's key has signed.
pub(super) fn signing_state(config: &Config) -> Result<String, Failure> {
    let (key, file) = (config.priv_validator_key_file(), config.priv_validator_state_file());
    let is_there = |file: &Path| fs::symlink_metadata(file).is_ok();
    Ok(match (is_there(&key), is_there(&file)) {
        (false, _) => "none: this node has no validator key".to_owned(),
        (true, true) => {
            let SignState { height, round, step, .. } = files::signing_state::load(&file)?;
            let nothing = if height == Height::GENESIS { format!(". {}", if_it_signed(&key)) } else { String::new() };
            format!("not changed, {}: up to height {height}, round {round}, step {step}{nothing}", file.display())
        }
        (true, false) => format!("there is none, {}. {}", file.display(), if_it_signed(&key)),
    })
}
