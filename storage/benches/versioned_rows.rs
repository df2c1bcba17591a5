//! Comparison of three layouts for the state of all kept heights, as ratios in one run; decision 31 has the figures.
//!
//! `cargo bench --workspace --bench versioned_rows --profile dev -- [accounts] [heights]`. Each height changes 2,000 random
//! accounts and three hot keys. CPU time is that of the whole process, so it contains flushes and compactions.
#![allow(missing_docs, clippy::print_stdout)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

#[path = "common/cpu.rs"]
mod cpu;
#[path = "common/random.rs"]
mod random;

use cpu::cpu;
use random::Random;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRawIterator, Options, ReadOptions,
    SliceTransform, WriteBatch, WriteOptions,
};

const TRANSFERS: u64 = 1000;
const HOT: u64 = 3;
const READS: u64 = 40_000;
const FAMILIES: [&str; 5] = ["state", "history", "changes", "rows", "recent"];

#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// Value at the tip, the value before each change, and the changed keys of each height.
    Before,
    /// Versions, newest first, and the changed keys of each height.
    Lists,
    /// Versions, newest first, and one row per key, ordered by the height of its last change.
    Recent,
}

fn key(number: u64) -> Vec<u8> {
    [b"n".as_slice(), &types::blake3(&number.to_be_bytes()).0].concat()
}

fn value(number: u64, height: u64) -> Vec<u8> {
    let key = types::blake3(&number.to_be_bytes());
    [&[25], b"acct/".as_slice(), &key.0[..20], &[8], &(number ^ (height << 20)).to_be_bytes()[2..], &[16, 1]].concat()
}

fn end(key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 12);
    for byte in key {
        bytes.push(*byte);
        if *byte == 0 {
            bytes.push(0xFF);
        }
    }
    bytes.extend([0, 0]);
    bytes
}

fn version(key: &[u8], height: u64) -> Vec<u8> {
    let mut bytes = end(key);
    bytes.extend((!height).to_be_bytes());
    bytes
}

fn prefix(bytes: &[u8]) -> &[u8] {
    let end = bytes.windows(2).position(|pair| pair == [0, 0]);
    end.map_or(bytes, |end| &bytes[..end + 2])
}

fn options(family: &str, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_write_buffer_size(8 << 20);
    options.set_max_write_buffer_number(2);
    options.set_target_file_size_base(16 << 20);
    options.set_max_bytes_for_level_base(64 << 20);
    options.set_compression_type(DBCompressionType::Lz4);
    match family {
        "state" => table.set_bloom_filter(10.0, false),
        "history" | "rows" => {
            table.set_bloom_filter(10.0, false);
            table.set_whole_key_filtering(false);
            options.set_prefix_extractor(SliceTransform::create(
                "key",
                prefix,
                Some(|key| prefix(key).ends_with(&[0, 0])),
            ));
            options.set_memtable_prefix_bloom_ratio(0.05);
        }
        _ => {}
    }
    options.set_block_based_table_factory(&table);
    options
}

fn open(path: &Path) -> DB {
    let mut all = Options::default();
    all.create_if_missing(true);
    all.create_missing_column_families(true);
    all.set_db_write_buffer_size(16 << 20);
    all.set_max_open_files(256);
    all.set_max_background_jobs(2);
    let cache = Cache::new_lru_cache(32 << 20);
    DB::open_cf_descriptors(&all, path, FAMILIES.map(|name| ColumnFamilyDescriptor::new(name, options(name, &cache))))
        .expect("opens")
}

struct Run {
    layout: Layout,
    db: DB,
    folder: tempfile::TempDir,
    /// The height of the last change of each key, which the application would know from the read before its write.
    last: BTreeMap<u64, u64>,
    commit: Duration,
    bytes: usize,
}

impl Run {
    fn new(layout: Layout, accounts: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let db = open(folder.path());
        let family = |name| db.cf_handle(name).expect("opened");
        let mut without_log = WriteOptions::default();
        without_log.disable_wal(true);
        for first in (0..accounts + HOT).step_by(10_000) {
            let mut batch = WriteBatch::default();
            for number in first..(first + 10_000).min(accounts + HOT) {
                match layout {
                    Layout::Before => batch.put_cf(family("state"), key(number), value(number, 0)),
                    _ => {
                        batch.put_cf(family("rows"), version(&key(number), 0), [&[1], &value(number, 0)[..]].concat());
                    }
                }
            }
            db.write_opt(batch, &without_log).expect("writes");
        }
        let mut run = Self { layout, db, folder, last: BTreeMap::new(), commit: Duration::ZERO, bytes: 0 };
        run.compact();
        run
    }

    fn family(&self, name: &str) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(name).expect("opened")
    }

    fn compact(&mut self) {
        for name in FAMILIES {
            self.db.flush_cf(self.family(name)).expect("flushes");
            self.db.compact_range_cf(self.family(name), None::<&[u8]>, None::<&[u8]>);
        }
    }

    fn commit(&mut self, height: u64, numbers: &[u64]) {
        let start = cpu();
        let mut batch = WriteBatch::default();
        let mut keys: Vec<_> = numbers.iter().map(|number| (key(*number), *number)).collect();
        keys.sort_unstable();
        let mut list = Vec::new();
        match self.layout {
            Layout::Before => {
                let family = self.family("state");
                let olds = self.db.batched_multi_get_cf(family, keys.iter().map(|(key, _)| key), true);
                for ((key, number), old) in keys.iter().zip(olds) {
                    let old = old.expect("reads").expect("every account exists");
                    batch.put_cf(
                        self.family("history"),
                        end(key).into_iter().chain(height.to_be_bytes()).collect::<Vec<_>>(),
                        [&[1], &old[..]].concat(),
                    );
                    batch.put_cf(family, key, value(*number, height));
                    list.extend([&[10, 33], &key[..]].concat());
                }
                batch.put_cf(self.family("changes"), height.to_be_bytes(), &list);
            }
            Layout::Lists | Layout::Recent => {
                for (key, number) in &keys {
                    batch.put_cf(
                        self.family("rows"),
                        version(key, height),
                        [&[1], &value(*number, height)[..]].concat(),
                    );
                    if self.layout == Layout::Lists {
                        list.push(66);
                        list.extend(key);
                        continue;
                    }
                    let recent = |height: u64| [b"n", &height.to_be_bytes()[..], &key[1..]].concat();
                    if let Some(last) = self.last.insert(*number, height) {
                        batch.delete_cf(self.family("recent"), recent(last));
                    }
                    batch.put_cf(self.family("recent"), recent(height), []);
                }
                if self.layout == Layout::Lists {
                    batch.put_cf(self.family("changes"), height.to_be_bytes(), &list);
                }
            }
        }
        self.bytes += batch.size_in_bytes();
        self.db.write(batch).expect("writes");
        self.commit += cpu() - start;
    }

    /// Returns the CPU time of reads at the tip.
    fn read(&self, number: impl Fn(&mut Random) -> u64, fresh: bool) -> Duration {
        let mut random = Random(5);
        let start = cpu();
        match self.layout {
            Layout::Before => {
                let family = self.family("state");
                (0..READS).for_each(|_| {
                    drop(self.db.get_cf(family, key(number(&mut random))).expect("reads").expect("exists"))
                });
            }
            _ => {
                let make = || {
                    let mut options = ReadOptions::default();
                    options.set_prefix_same_as_start(true);
                    self.db.raw_iterator_cf_opt(self.family("rows"), options)
                };
                let mut rows: DBRawIterator<'_> = make();
                for _ in 0..READS {
                    if fresh {
                        rows = make();
                    }
                    rows.seek(version(&key(number(&mut random)), u64::MAX - 1));
                    assert!(rows.value().is_some_and(|value| value[0] == 1));
                }
            }
        }
        cpu() - start
    }

    /// Returns the CPU time of undoing the last `heights`, and the numbers of changes and of distinct keys.
    fn rewind(&mut self, tip: u64, heights: u64) -> (Duration, u64, usize) {
        let start = cpu();
        let (mut changes, mut distinct) = (0, BTreeSet::new());
        let mut batch = WriteBatch::default();
        let write = |batch: &mut WriteBatch, max: usize| {
            if batch.size_in_bytes() > max {
                self.db.write(std::mem::take(batch)).expect("writes");
            }
        };
        match self.layout {
            Layout::Before | Layout::Lists => {
                for height in (tip - heights + 1..=tip).rev() {
                    let list =
                        self.db.get_cf(self.family("changes"), height.to_be_bytes()).expect("reads").expect("exists");
                    let width = if self.layout == Layout::Before { 35 } else { 34 };
                    for key in list.chunks(width).map(|entry| &entry[width - 33..]) {
                        changes += 1;
                        distinct.insert(key.to_vec());
                        if self.layout == Layout::Before {
                            let row: Vec<u8> = end(key).into_iter().chain(height.to_be_bytes()).collect();
                            let old = self.db.get_cf(self.family("history"), &row).expect("reads").expect("exists");
                            batch.put_cf(self.family("state"), key, &old[1..]);
                            batch.delete_cf(self.family("history"), row);
                        } else {
                            batch.delete_cf(self.family("rows"), version(key, height));
                        }
                    }
                    batch.delete_cf(self.family("changes"), height.to_be_bytes());
                    write(&mut batch, 4 << 20);
                }
            }
            Layout::Recent => {
                let mut recent = self.db.raw_iterator_cf(self.family("recent"));
                let mut options = ReadOptions::default();
                options.set_prefix_same_as_start(true);
                let mut rows = self.db.raw_iterator_cf_opt(self.family("rows"), options);
                recent.seek([b"n".as_slice(), &(tip - heights + 1).to_be_bytes()].concat());
                while let Some(entry) = recent.key() {
                    let key = [b"n", &entry[9..]].concat();
                    distinct.insert(key.clone());
                    rows.seek(version(&key, u64::MAX - 1));
                    while let Some(row) = rows.key() {
                        let at = !u64::from_be_bytes(*row.last_chunk().expect("a version ends with its height"));
                        if at <= tip - heights {
                            batch.put_cf(self.family("recent"), [b"n", &at.to_be_bytes()[..], &key[1..]].concat(), []);
                            break;
                        }
                        changes += 1;
                        batch.delete_cf(self.family("rows"), row);
                        rows.next();
                    }
                    batch.delete_cf(self.family("recent"), entry);
                    write(&mut batch, 4 << 20);
                    recent.next();
                }
            }
        }
        write(&mut batch, 0);
        (cpu() - start, changes, distinct.len())
    }

    fn disk(&self) -> u64 {
        let size =
            |name| self.db.property_int_value_cf(self.family(name), "rocksdb.live-sst-files-size").ok().flatten();
        FAMILIES.into_iter().filter_map(size).sum()
    }
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let accounts = numbers.next().unwrap_or(1_000_000);
    let heights = numbers.next().unwrap_or(300);
    let mut runs = [Layout::Before, Layout::Lists, Layout::Recent].map(|layout| Run::new(layout, accounts));
    let empty = runs.each_ref().map(Run::disk);
    let mut random = Random(7);
    for height in 1..=heights {
        let hot = accounts..accounts + HOT;
        let mut numbers: Vec<u64> = (0..2 * TRANSFERS).map(|_| random.next() % accounts).chain(hot).collect();
        numbers.sort_unstable();
        numbers.dedup();
        // The order of the layouts alternates, so that none has the quieter half of the run.
        match height % 2 {
            0 => runs.iter_mut().for_each(|run| run.commit(height, &numbers)),
            _ => runs.iter_mut().rev().for_each(|run| run.commit(height, &numbers)),
        }
    }
    let transfers = (heights * TRANSFERS) as f64;
    let us = |time: Duration, count: f64| time.as_secs_f64() * 1e6 / count;
    println!("{accounts} accounts, {heights} heights of {TRANSFERS} transfers; CPU time in µs");
    for (run, empty) in runs.iter_mut().zip(empty) {
        let name = ["before", "lists", "recent"][run.layout as usize];
        let start = cpu();
        let commit = us(run.commit, transfers);
        println!(
            "{name}: commit {commit:.2} per transfer, {:.0} B per transfer in the batch",
            run.bytes as f64 / transfers
        );
        let any = |random: &mut Random| random.next() % accounts;
        let hot = |random: &mut Random| accounts + random.next() % HOT;
        for (what, fresh) in [("reused", false), ("fresh", true)] {
            let (random, hot) = (run.read(any, fresh), run.read(hot, fresh));
            println!(
                "  {what} iterator: random read {:.2}, hot read {:.2}",
                us(random, READS as f64),
                us(hot, READS as f64)
            );
        }
        run.compact();
        let disk = (run.disk() - empty) as f64 / transfers;
        println!(
            "  disk {disk:.0} B per transfer beyond {:.0} B per account; compaction and reads {:.2} per transfer",
            empty as f64 / accounts as f64,
            us(cpu() - start, transfers)
        );
        println!(
            "  compacted: random read {:.2}, hot read {:.2}",
            us(run.read(any, false), READS as f64),
            us(run.read(hot, false), READS as f64)
        );
        let (time, changes, distinct) = run.rewind(heights, heights / 3);
        println!(
            "  rewind {:.2} per distinct key, {:.2} per change ({changes} changes, {distinct} keys)",
            us(time, distinct as f64),
            us(time, changes as f64)
        );
        let _ = &run.folder;
    }
}
