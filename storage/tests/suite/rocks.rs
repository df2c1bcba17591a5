//! Proves the behavior that depends on files: foreign folders, damage, locks, killed processes, truncated logs, and
//! freed space.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use storage::{Batch, Cf, Durability, FORGET_STEP, Kv, RocksKv, Store, StoreError, View};
use types::{Height, Reader, WriteSet};

use crate::chain::{Chain, Rig, RocksRig, chain_id, open, writes};

fn error(path: &Path) -> StoreError {
    RocksKv::open(path).err().expect("refused")
}

/// Checks that the error message contains the path and says what to do.
fn names_the_path(error: &StoreError, path: &Path) {
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    let ways_out = ["Restore", "Stop", "Create", "Make", "Give", "Check"];
    assert!(ways_out.iter().any(|way| text.contains(way)), "{text}");
}

/// Creates a store with 50 heights and closes it; `compact` moves its rows into table files.
fn made(compact: bool) -> (RocksRig, PathBuf) {
    let rig = RocksRig::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, WriteSet::default());
    for n in 0..50u64 {
        chain.commit(&store, WriteSet((0..50).map(|i| (vec![i], Some(n.to_be_bytes().to_vec()))).collect()));
    }
    store.sync().unwrap();
    if compact {
        store.kv().compact().unwrap();
    }
    drop(store);
    let path = rig.0.path().join("store");
    (rig, path)
}

fn files(path: &Path, part: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.file_name().unwrap().to_str().unwrap().contains(part)).collect();
    files.sort();
    files
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0xFF;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_second_process_is_refused_by_the_lock() {
    let (_rig, path) = made(false);
    let _first = RocksKv::open(&path).unwrap();
    let error = error(&path);
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    names_the_path(&error, &path);
}

#[test]
fn a_missing_parent_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no/such/store");
    let error = error(&path);
    assert!(matches!(error, StoreError::NoParent { .. }), "{error}");
    names_the_path(&error, &path);
    assert!(!folder.path().join("no").exists(), "nothing was created");
}

#[test]
fn a_foreign_folder_is_refused_and_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
    let refused = error(folder.path());
    assert!(matches!(&refused, StoreError::NotOurs { found, .. } if found.contains("thesis.tex")), "{refused}");
    names_the_path(&refused, folder.path());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written");

    let file = folder.path().join("thesis.tex");
    let refused = error(&file);
    assert!(matches!(refused, StoreError::NotOurs { .. }), "{refused}");
}

#[test]
fn a_foreign_database_is_refused_and_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("named");
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    drop(rocksdb::DB::open_cf(&options, &named, ["utxo"]).unwrap());
    let refused = error(&named);
    assert!(matches!(&refused, StoreError::NotOurs { found, .. } if found.contains("utxo")), "{refused}");

    let plain = folder.path().join("plain");
    rocksdb::DB::open(&options, &plain).unwrap().put("key", "value").unwrap();
    let refused = error(&plain);
    assert!(matches!(refused, StoreError::NotOurs { .. }), "{refused}");
}

#[test]
fn an_interrupted_creation_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["LOCK", "LOG", "IDENTITY", "MANIFEST-000001", "000001.dbtmp"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    Store::open(RocksKv::open(folder.path()).unwrap(), &chain_id()).unwrap();
}

#[test]
fn missing_permission_is_reported() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(closed.join("probe"), "").is_ok() {
        return; // This user may write to every folder, so the test cannot run.
    }
    let error = error(&closed);
    assert!(matches!(error, StoreError::NoPermission { .. }), "{error}");
    names_the_path(&error, &closed);
}

#[test]
fn damage_is_found_when_opening_or_reading_and_never_hidden() {
    type Damage = fn(&Path);
    let cases: [(&str, bool, Damage); 8] = [
        ("CURRENT is garbage", false, |path| fs::write(path.join("CURRENT"), "garbage").unwrap()),
        ("CURRENT is empty", false, |path| fs::write(path.join("CURRENT"), "").unwrap()),
        ("CURRENT is missing", false, |path| fs::remove_file(path.join("CURRENT")).unwrap()),
        ("the manifest is missing", false, |path| fs::remove_file(&files(path, "MANIFEST")[0]).unwrap()),
        ("the manifest has a flipped byte", true, |path| flip(&files(path, "MANIFEST")[0], 30)),
        ("a table file is missing", true, |path| fs::remove_file(&files(path, ".sst")[0]).unwrap()),
        ("the log has a flipped byte in its middle", false, |path| {
            let log = files(path, ".log").pop().unwrap();
            let written = fs::read(&log).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
            flip(&log, written / 2);
        }),
        ("the log is missing", false, |path| fs::remove_file(files(path, ".log").pop().unwrap()).unwrap()),
    ];
    for (what, compact, damage) in cases {
        let (_rig, path) = made(compact);
        damage(&path);
        let error = error(&path);
        assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error}");
        names_the_path(&error, &path);
    }
}

#[test]
fn a_flipped_byte_in_a_table_is_found_by_its_checksum() {
    let (_rig, path) = made(true);
    for table in files(&path, ".sst") {
        flip(&table, 10);
    }
    let found = RocksKv::open(&path).and_then(|kv| {
        let store = Store::open(kv, &chain_id())?;
        let reader = store.reader()?;
        reader.try_scan(b"", &mut |_, _| true)
    });
    let error = found.expect_err("a checksum fails");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    names_the_path(&error, &path);
}

const FAMILIES: [Cf; 3] = [Cf::State, Cf::Blocks, Cf::Txs];

/// Returns batch `n`: a row with the key `n` in three families, and `n` as the newest number.
fn numbered(n: u64) -> Batch {
    let mut batch = Batch::new();
    for cf in FAMILIES {
        batch.put(cf, n.to_be_bytes(), vec![n as u8; 1 + 700 * (n as usize % 9)]);
    }
    batch.put(Cf::Meta, "newest", n.to_be_bytes());
    batch
}

/// Checks that every family holds exactly the batches 0 to some n, and returns n + 1.
fn prefix_length(kv: &RocksKv) -> u64 {
    let newest = kv.get(Cf::Meta, b"newest").unwrap().map(|bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
    let length = newest.map_or(0, |newest| newest + 1);
    for cf in FAMILIES {
        let view = kv.view();
        let keys: Vec<u64> =
            view.rows(cf, b"", b"").map(|row| u64::from_be_bytes((*row.unwrap().0).try_into().unwrap())).collect();
        assert_eq!(keys, (0..length).collect::<Vec<_>>(), "{}", cf.name());
    }
    length
}

/// The writing process of the next test. Without the environment variable it does nothing.
#[test]
fn child_that_is_killed() {
    let Ok(path) = std::env::var("CAIRN_STORAGE_TEST_KILL") else { return };
    let kv = RocksKv::open(Path::new(&path)).unwrap();
    for n in 0.. {
        let synced = n % 5 == 4;
        kv.write(numbered(n), if synced { Durability::Synced } else { Durability::Buffered }).unwrap();
        if synced {
            use std::io::Write;
            writeln!(std::io::stdout(), "\nsynced {n}").unwrap();
        }
    }
}

#[test]
fn after_kill_9_there_is_a_prefix_with_everything_synced() {
    for enough in [1, 200, 3000] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "rocks::child_that_is_killed", "--nocapture"])
            .env("CAIRN_STORAGE_TEST_KILL", &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut synced = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            if let Some(n) = line.unwrap().strip_prefix("synced ") {
                synced = n.parse().unwrap();
                if synced >= enough {
                    break;
                }
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let kv = RocksKv::open(&path).unwrap();
        let length = prefix_length(&kv);
        assert!(length > synced, "{length} batches, {synced} was synced");
        kv.write(numbered(length), Durability::Synced).unwrap();
        assert_eq!(prefix_length(&kv), length + 1);
    }
}

/// Simulates a power loss that cuts the log at any place. If synced batches are missing, opening reports damage.
#[test]
fn a_torn_log_leaves_a_prefix_and_a_lost_sync_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let kv = RocksKv::open(&path).unwrap();
    let log_bytes = || fs::metadata(files(&path, ".log").pop().unwrap()).unwrap().len();
    let mut ends = Vec::new();
    for n in 0..60 {
        kv.write(numbered(n), if n == 19 { Durability::Synced } else { Durability::Buffered }).unwrap();
        ends.push(log_bytes());
    }
    let copy = folder.path().join("copy");
    let log = files(&path, ".log").pop().unwrap();
    for cut in (0..ends[59]).step_by(4099).chain([ends[19], ends[19] - 1, ends[59]]) {
        let _ = fs::remove_dir_all(&copy);
        fs::create_dir(&copy).unwrap();
        for file in fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()) {
            fs::copy(&file, copy.join(file.file_name().unwrap())).unwrap();
        }
        let torn = fs::OpenOptions::new().write(true).open(copy.join(log.file_name().unwrap())).unwrap();
        torn.set_len(cut).unwrap();
        match RocksKv::open(&copy) {
            Ok(kv) => {
                assert!(cut >= ends[19], "batch 19 was synced, the log ends before it");
                assert_eq!(prefix_length(&kv), ends.partition_point(|end| *end <= cut) as u64);
            }
            Err(error) => {
                assert!(cut < ends[19], "{cut}: {error}");
                assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
            }
        }
    }
}

#[test]
fn pruned_heights_free_their_disk_space() {
    let rig = RocksRig::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, WriteSet::default());
    chain.remember = false;
    let heights = 4 * FORGET_STEP;
    let mut seed = 1u64;
    let mut noise = |bytes: usize| -> Vec<u8> {
        let step = |_| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 56) as u8
        };
        (0..bytes).map(step).collect()
    };
    for n in 1..=heights {
        let rows = (0..20u8).map(|key| (vec![key], Some(noise(100)))).collect();
        let made = chain.next(WriteSet(rows), vec![noise(40_000)]);
        store.commit_block(&made.batch()).unwrap();
        if n % FORGET_STEP == 0 {
            store.kv().compact().unwrap();
        }
    }
    let sizes =
        |store: &Store<RocksKv>| store.kv().sizes().into_iter().map(|(cf, size)| (cf.name(), size)).collect::<Vec<_>>();
    let before = sizes(&store);
    store.prune(Height(3 * FORGET_STEP + 2)).unwrap();
    store.kv().compact().unwrap();
    let after = sizes(&store);
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        if ["blocks", "state", "txs", "block_hash"].contains(name) {
            assert!(after * 2 < *before, "{name}: {before} bytes before, {after} after");
        }
    }
    assert_eq!(store.reader_at(store.earliest()).unwrap().get(&[3]).map(|value| value.len()), Some(100));
    for height in store.earliest().0..=heights {
        store.block(Height(height)).unwrap();
    }
}

/// The compaction filter must keep the rows that a reader below the new window needs, even without a snapshot.
#[test]
fn compaction_spares_the_rows_of_a_held_reader() {
    let rig = RocksRig::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, writes([(b"a", Some(b"0"))]));
    for n in 1..=2 * FORGET_STEP {
        chain.commit(&store, writes([(b"a", Some(&n.to_be_bytes()))]));
    }
    let held = store.reader_at(Height(7)).unwrap();
    store.prune(Height(FORGET_STEP + 8)).unwrap();
    store.kv().compact().unwrap();
    assert_eq!(held.get(b"a"), Some(7u64.to_be_bytes().to_vec()));
    let rows = || store.kv().view().rows(Cf::State, b"", b"").count() as u64;
    assert_eq!(rows(), 2 * FORGET_STEP - 6, "and deletes versions that are not needed");
    assert_eq!(held.changed_at(b"a"), Some(Height(7)));
    drop(held);
    let tip = store.reader().unwrap();
    store.prune(Height(2 * FORGET_STEP)).unwrap();
    chain.commit(&store, writes([(b"a", None)]));
    for n in 0..3 * FORGET_STEP {
        chain.commit(&store, writes([(b"b", Some(&n.to_be_bytes()))]));
        store.prune(chain.height).unwrap();
    }
    store.kv().compact().unwrap();
    assert_eq!(tip.get(b"a"), Some((2 * FORGET_STEP).to_be_bytes().to_vec()), "a reader of the tip is held too");
    drop(tip);
    for _ in 0..2 * FORGET_STEP {
        chain.commit(&store, WriteSet::default());
        store.prune(chain.height).unwrap();
    }
    store.kv().compact().unwrap();
    assert_eq!(rows(), 1, "the deleted key has no row, the other one version");
}

/// Files are rewritten while readers on other threads read and the window moves.
#[test]
fn compactions_do_not_disturb_readers() {
    let rig = RocksRig::new();
    let store = open(&rig);
    let all = |n: u64| WriteSet((0u8..20).map(|key| (vec![key], Some(n.to_be_bytes().to_vec()))).collect());
    let mut chain = Chain::start(&store, 1, all(0));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                store.kv().compact().unwrap();
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let Ok(reader) = store.reader_at(store.earliest()) else { continue };
                let expected = Some(reader.height().0.to_be_bytes().to_vec());
                for key in 0u8..20 {
                    assert_eq!(reader.get(&[key]), expected, "at height {}", reader.height());
                }
            }
        });
        for n in 1..=6 * FORGET_STEP {
            chain.commit(&store, all(n));
            store.prune(Height(n.saturating_sub(5))).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// A home of a version of Cairn that had more families is refused for its format, not as another program's.
#[test]
fn a_store_with_other_families_is_refused_for_its_format() {
    let (_rig, path) = made(false);
    let families = Cf::ALL.map(Cf::name).into_iter().chain(["default"]);
    let mut db = rocksdb::DB::open_cf(&rocksdb::Options::default(), &path, families).unwrap();
    db.create_cf("history", &rocksdb::Options::default()).unwrap();
    drop(db);
    assert!(matches!(RocksKv::open(&path), Err(StoreError::NotOurs { .. })), "our format has no such family");
    let families = Cf::ALL.map(Cf::name).into_iter().chain(["default", "history"]);
    let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), &path, families).unwrap();
    db.put_cf(db.cf_handle("meta").unwrap(), "format", 2u32.to_be_bytes()).unwrap();
    drop(db);
    let error = RocksKv::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::OtherFormat { got: 2, .. }), "{error}");
}

/// The store of a version of Cairn that had fewer families is refused without adding them: that version can still use it.
#[test]
fn a_store_with_fewer_families_is_refused_and_stays_as_it_is() {
    let rig = RocksRig::new();
    let path = rig.0.path().join("store");
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    let names = Cf::ALL.map(Cf::name).into_iter().filter(|name| *name != "recent").chain(["default"]);
    let db = rocksdb::DB::open_cf(&options, &path, names).unwrap();
    db.put_cf(db.cf_handle("meta").unwrap(), "format", 3u32.to_be_bytes()).unwrap();
    drop(db);
    let error = RocksKv::open(&path).err().unwrap();
    assert!(matches!(error, StoreError::OtherFormat { got: 3, .. }), "{error}");
    let families = rocksdb::DB::list_cf(&options, &path).unwrap();
    assert!(!families.iter().any(|name| name == "recent"), "{families:?}");
}

/// Whole files are dropped when the window moves. A file that ends with the row at the bound must stay.
#[test]
fn deleting_whole_files_keeps_the_row_at_the_bound() {
    let rig = RocksRig::new();
    let kv = RocksKv::open(&rig.0.path().join("store")).unwrap();
    for height in 1..=3u64 {
        let mut batch = Batch::new();
        batch.put(Cf::Params, height.to_be_bytes(), [1]);
        batch.put(Cf::Blocks, [height.to_be_bytes().as_slice(), &[0xFF; 32]].concat(), [1]);
        kv.write(batch, Durability::Synced).unwrap();
        kv.compact().unwrap();
        for cf in [Cf::Params, Cf::Blocks] {
            kv.forget_below(cf, Height(height)).unwrap();
            let rows: Vec<_> = kv.view().rows(cf, b"", b"").map(|row| row.unwrap().0[..8].to_vec()).collect();
            assert_eq!(rows, [height.to_be_bytes()], "{}", cf.name());
        }
    }
}

/// The parameters in force at the start of the window can be the only row of their file.
#[test]
fn a_store_opens_again_after_compaction_moved_parameters_and_validators() {
    let rig = RocksRig::new();
    let store = open(&rig);
    Chain::start(&store, 1, WriteSet::default()).commit(&store, WriteSet::default());
    store.kv().compact().unwrap();
    drop(store);
    for _ in 0..2 {
        let store = open(&rig);
        store.params(Height(2)).unwrap();
        store.validators(Height(2)).unwrap();
    }
}

/// Creates a store whose blocks are large enough for blob files, with all data in files.
fn with_blobs() -> (RocksRig, PathBuf) {
    let rig = RocksRig::new();
    let store = open(&rig);
    let mut chain = Chain::start(&store, 1, WriteSet::default());
    for n in 0..20u8 {
        let made = chain.next(writes([(b"k", Some(&[n]))]), vec![vec![n; 5000]]);
        store.commit_block(&made.batch()).unwrap();
    }
    store.sync().unwrap();
    store.kv().compact().unwrap();
    drop(store);
    let path = rig.0.path().join("store");
    assert!(!files(&path, ".blob").is_empty());
    (rig, path)
}

#[test]
fn a_missing_or_cut_off_blob_file_is_reported_when_opening() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 2] = [
        ("missing", |path| fs::remove_file(&files(path, ".blob")[0]).unwrap()),
        ("cut off", |path| {
            let file = fs::OpenOptions::new().write(true).open(&files(path, ".blob")[0]).unwrap();
            file.set_len(file.metadata().unwrap().len() - 100).unwrap();
        }),
    ];
    for (what, damage) in cases {
        let (_rig, path) = with_blobs();
        damage(&path);
        let error = error(&path);
        assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error}");
        assert!(error.to_string().contains("*.blob"), "{what}: {error}");
        names_the_path(&error, &path);
    }
}

#[test]
fn a_damaged_block_is_found_with_its_height_and_affects_no_other() {
    let (_rig, path) = with_blobs();
    let blob = &files(&path, ".blob")[0];
    let at = fs::read(blob).unwrap().windows(100).position(|bytes| bytes == [7; 100]).unwrap();
    flip(blob, at + 50);
    for read_only in [true, false] {
        let kv = if read_only { RocksKv::open_read_only(&path) } else { RocksKv::open(&path) }.unwrap();
        let store = Store::open(kv, &chain_id()).unwrap();
        let report = store.verification().finish();
        let found: Vec<_> = report.findings.iter().map(|finding| (finding.cf, finding.height)).collect();
        assert_eq!(found, [(Cf::Blocks, Some(Height(8)))], "{:?}", report.findings);
        assert_eq!(report.heights, 20);
        let error = store.block(Height(8)).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("reading blocks from key 0000000000000008"), "{error}");
        store.block(Height(9)).unwrap();
    }
}

#[test]
fn verifying_continues_after_rows_that_cannot_be_read() {
    let rig = RocksRig::new();
    let store = open(&rig);
    let rows = (0..4000u32).map(|n| (types::blake3(&n.to_be_bytes()).0.to_vec(), Some(vec![7; 100]))).collect();
    Chain::start(&store, 1, WriteSet(rows));
    store.kv().compact().unwrap();
    drop(store);
    let path = rig.0.path().join("store");
    let largest = files(&path, ".sst").into_iter().max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
    let middle = fs::metadata(&largest).unwrap().len() as usize / 2;
    flip(&largest, middle);
    let store = Store::open(RocksKv::open_read_only(&path).unwrap(), &chain_id()).unwrap();
    let report = store.verification().finish();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    let (finding, state) = (&report.findings[0], report.families.iter().find(|family| family.cf == Cf::State).unwrap());
    assert!(finding.cf == Cf::State && finding.reason.contains("cannot be read"), "{finding:?}");
    assert!((3500..4000).contains(&state.rows), "{state:?}: nearly all the others were read");
}

#[test]
fn a_missing_sync_note_is_reported_and_a_new_store_needs_none() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(RocksKv::open(&folder.path().join("new")).unwrap().warnings(), [""; 0]);
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 3] = [
        ("is missing", |file| fs::remove_file(file).unwrap()),
        ("is not readable", |file| fs::write(file, "").unwrap()),
        ("is not readable", |file| fs::write(file, "sixteen bytes of").unwrap()),
    ];
    for (what, damage) in cases {
        let (_rig, path) = made(false);
        assert_eq!(RocksKv::open(&path).unwrap().warnings(), [""; 0]);
        damage(&path.join("SYNCED"));
        let kv = RocksKv::open(&path).unwrap();
        assert!(kv.warnings().len() == 1 && kv.warnings()[0].contains(what), "{:?}", kv.warnings());
        assert!(kv.warnings()[0].contains(path.to_str().unwrap()), "{:?}", kv.warnings());
    }
}

#[test]
fn a_checkpoint_is_a_store_of_its_own() {
    let (rig, path) = with_blobs();
    let copy = rig.0.path().join("copy");
    let store = Store::open(RocksKv::open(&path).unwrap(), &chain_id()).unwrap();
    store.kv().checkpoint(&copy).unwrap();
    let error = store.kv().checkpoint(&copy).unwrap_err();
    assert!(error.to_string().contains(copy.to_str().unwrap()), "{error}");
    let copied = Store::open(RocksKv::open(&copy).unwrap(), &chain_id()).unwrap();
    copied.strip_signing_state().unwrap();
    copied.prune(Height(10)).unwrap();
    assert_eq!(copied.tip(), store.tip());
    assert_eq!((copied.earliest(), store.earliest()), (Height(10), Height(1)));
    drop(store);
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(copied.verification().finish().findings, []);
    drop(copied);
    assert_eq!(RocksKv::open(&copy).unwrap().warnings(), [""; 0]);
}

#[test]
fn opening_for_reading_changes_no_file() {
    let (_rig, path) = made(false);
    let listing = || {
        let all = files(&path, "").into_iter();
        all.filter(|file| !file.ends_with("LOG"))
            .map(|file| (file.clone(), fs::read(&file).unwrap()))
            .collect::<Vec<_>>()
    };
    let before = listing();
    let store = Store::open(RocksKv::open_read_only(&path).unwrap(), &chain_id()).unwrap();
    assert_eq!(store.verification().finish().findings, []);
    assert!(store.sync().is_err() && store.strip_signing_state().is_err());
    drop(store);
    let after = listing();
    assert!(before.iter().all(|file| after.contains(file)), "no file has changed");
}
