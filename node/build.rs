//! Finds the commit that the program is built from and passes it to the compiler as `CAIRN_COMMIT`.
//!
//! The sources, in this order: the variable `CAIRN_COMMIT` of the build environment, then git for this checkout, then
//! the text that `git archive` wrote into `commit.txt`. Without any of them the program reports no commit.

use std::{env, fs, path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-env-changed=CAIRN_COMMIT");
    println!("cargo:rerun-if-changed=commit.txt");
    let given = env::var("CAIRN_COMMIT").ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = given.or_else(of_git).or_else(of_archive) {
        println!("cargo:rustc-env=CAIRN_COMMIT={commit}");
    }
}

/// Returns the commit that is checked out here, with the suffix `-dirty` when a tracked file differs from it.
fn of_git() -> Option<String> {
    // An unpacked archive may be inside the checkout of another repository, whose commit would be wrong here.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    let folder = git(&["rev-parse", "--absolute-git-dir"])?;
    let of_head = ["HEAD", "logs/HEAD"].map(|file| Path::new(&folder).join(file));
    // A change in any of these sources can change the suffix `-dirty`. It rebuilds this crate in any case.
    let sources = fs::read_dir("..").ok()?.flatten().map(|entry| entry.path().join("src"));
    for path in of_head.into_iter().chain(sources).filter(|path| path.exists()) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    git(&["describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"])
}

/// Returns the trimmed output of a git command, or `None` if it fails or prints nothing.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Returns the commit in `commit.txt` of a source archive. In a checkout this file holds a placeholder, which is
/// ignored.
fn of_archive() -> Option<String> {
    let text = fs::read_to_string("commit.txt").ok()?;
    let commit = text.trim().to_owned();
    (!commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(commit)
}
