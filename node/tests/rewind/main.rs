//! Proves that `cairn rewind` takes one node back without a loss, whatever interrupts it, and that the network does not
//! notice; and that pruning loses nothing that is kept, whatever interrupts it.
#![allow(missing_docs)]

#[path = "../../../replica/tests/blocks/mod.rs"]
mod blocks;
#[path = "../../../replica/tests/ways_back/chain.rs"]
mod chain;
mod command;
mod disk;
mod dying;
mod network;
mod offline;
#[path = "../processes/mod.rs"]
mod processes;
mod prune;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use storage::{RocksKv, Store};
use types::ChainId;

/// Runs the program on a home; returns the exit code and the whole output.
fn cairn(args: &[&str], home: &Path) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cairn")).args(args).arg("--home").arg(home).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    (output.status.code().unwrap_or(-1), text)
}

#[track_caller]
fn succeeds(args: &[&str], home: &Path) -> String {
    let (code, text) = cairn(args, home);
    assert_eq!(code, 0, "{args:?}: {text}");
    text
}

/// Runs the program, which must fail with this exit code; returns its output.
#[track_caller]
fn fails(code: i32, args: &[&str], home: &Path) -> String {
    let (got, text) = cairn(args, home);
    assert_eq!(got, code, "{args:?}: {text}");
    text
}

fn database(home: &Path) -> PathBuf {
    home.join("data/cairn.db")
}

/// Opens the store of a stopped node of the test network.
fn store_of(home: &Path) -> Store<RocksKv> {
    Store::open(RocksKv::open(&database(home)).unwrap(), &ChainId::new("processes").unwrap()).unwrap()
}

fn tip_of(home: &Path) -> u64 {
    store_of(home).tip().unwrap().height.0
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(file.file_name());
        let kind = file.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&file.path(), &to);
        } else if kind.is_file() {
            fs::copy(file.path(), to).unwrap(); // the operator's socket is left out
        }
    }
}
