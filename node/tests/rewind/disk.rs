//! A rewind on a disk that is full or damaged: an error sentence, and no loss.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    cairn,
    chain::{Rows, dump},
    copy_folder, database,
    processes::Homes,
    store_of, succeeds, tip_of,
};

/// Makes the home of a stopped node with some heights and transfers; returns it with the rows of its store.
fn stopped_node() -> (Homes, PathBuf, Rows) {
    let homes = Homes::new(1, Duration::from_millis(20));
    let home = homes.home(0);
    let mut node = homes.start(0);
    let send = ["tx", "send", "--from", "alice", "--to", "bob", "--amount", "5", "--node", &node.rpc.clone()];
    succeeds(&send, &home);
    node.wait_for_height(60);
    assert_eq!(node.terminate().0, Some(0));
    let rows = dump(store_of(&home).kv());
    (homes, home, rows)
}

/// A small file system in memory, which is unmounted when the value is dropped.
pub struct Small(PathBuf);

impl Small {
    /// Mounts it; `None` if this user may not.
    pub fn mount(at: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Writes to a file until the disk is full, then shortens it, so that `free` bytes are free.
pub fn fill(file: &Path, free: u64) {
    let mut file = fs::File::create(file).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let written = file.metadata().unwrap().len();
    file.set_len(written.saturating_sub(free)).unwrap();
}

/// Returns the files of a home's database that hold rows.
pub fn tables(home: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(database(home)).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|kind| kind == "sst" || kind == "blob")).collect()
}

#[test]
#[expect(clippy::print_stderr, reason = "the test runner shows why the test did nothing")]
fn a_full_disk_is_a_sentence_and_the_same_command_finishes_when_there_is_space() {
    let (homes, home, rows) = stopped_node();
    let tip = tip_of(&home);
    let to = (tip - 50).to_string();
    let plain = homes.folder.path().join("plain");
    copy_folder(&home, &plain);
    succeeds(&["rewind", "--to", &to, "--drop-blocks"], &plain);
    let dropped = dump(store_of(&plain).kv());
    let mount = homes.folder.path().join("small");
    let mut refused = 0;
    for (blocks, expected) in [("--keep-blocks", &rows), ("--drop-blocks", &dropped)] {
        for free in [0, 16, 64, 200, 400].map(|kib: u64| kib * 1024) {
            let Some(small) = Small::mount(&mount, 64 << 20) else {
                return eprintln!("skipped: mounting a tmpfs needs root");
            };
            let full = mount.join("home");
            copy_folder(&home, &full);
            let filler = mount.join("filler");
            fill(&filler, free);
            let args = ["rewind", "--to", &to, blocks];
            let (code, text) = cairn(&args, &full);
            if code != 0 {
                assert!(text.lines().last().unwrap().starts_with("error: "), "{text}");
                assert!(code == 74 && text.to_lowercase().contains("space"), "{free} free: {code}: {text}");
                refused += 1;
            }
            fs::remove_file(&filler).unwrap();
            let store = store_of(&full);
            let is_done =
                store.unfinished_rewind().is_none() && (code == 0 || store.tip().unwrap().height.to_string() == to);
            drop(store);
            if !is_done {
                succeeds(&args, &full);
            }
            assert!(dump(store_of(&full).kv()) == *expected, "{free} free, {blocks}");
            drop(small);
        }
    }
    assert!(refused > 1, "the disk was never full");
}

#[test]
fn a_flipped_byte_in_a_file_is_a_sentence_and_nothing_is_lost() {
    let (homes, home, rows) = stopped_node();
    store_of(&home).kv().compact().unwrap();
    let to = (tip_of(&home) - 50).to_string();
    let mut refused = 0;
    for (nth, file) in tables(&home).into_iter().enumerate() {
        let damaged = homes.folder.path().join(format!("damaged{nth}"));
        copy_folder(&home, &damaged);
        let copy = database(&damaged).join(file.file_name().unwrap());
        let whole = fs::read(&copy).unwrap();
        let mut bytes = whole.clone();
        bytes[whole.len() / 3] ^= 1;
        fs::write(&copy, &bytes).unwrap();
        let (code, text) = cairn(&["rewind", "--to", &to], &damaged);
        if code != 0 {
            assert!(code == 74 && text.contains("error: ") && text.contains("damaged"), "{code}: {text}");
            refused += 1;
        }
        // A rewind that succeeded has not read the damaged part.
        assert!(copy.exists(), "no file was given up");
        fs::write(&copy, &whole).unwrap();
        succeeds(&["rewind", "--to", &to], &damaged);
        assert!(dump(store_of(&damaged).kv()) == rows, "{}", copy.display());
    }
    assert!(refused > 2, "{refused} files");
}
