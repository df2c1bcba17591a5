//! Proves that the workspace's crates depend on each other in one direction only, and that the pure crates stay free of
//! I/O, clocks, threads, locks and randomness: of libraries, and of the parts of `std` that offer these.
//!
//! | crate | may use, of this workspace |
//! |---|---|
//! | `types` | nothing |
//! | `consensus`, `app`, `storage` | `types` |
//! | `genesis`; its tests `mempool` | `types`, `app` |
//! | `files` | `types`, `genesis` |
//! | `p2p` | `types`, `files` |
//! | `replica` | `types`, `consensus`, `app`, `storage`, `genesis`; its tests `mempool` |
//! | `light` | `types`, `app` |
//! | `rpc` | `types`, `consensus`, `app`, `storage`, `genesis`, `replica` |
//! | `client` | `types` |
//! | `load` | `types`, `genesis`, `client` |
//! | `faults` | `types`, `client`, `load` |
//! | `chaos` | `types`, `files`, `client`, `faults` |
//! | `simulator` | all but `files`, `light`, `p2p`, `rpc`, `client`, `load`, `faults`, `chaos`, `node`, `properties` |
//! | `properties` | all but `mempool`, `client`, `load`, `faults`, `chaos`, `simulator` |
//! | `node` | all but `simulator`, `properties` |
//!
//! Direct dependencies of every kind (normal, build, dev) come from `cargo metadata`. All transitive dependencies of a
//! crate come from `cargo tree`, which resolves features for this crate alone. `cargo metadata` would unite the
//! features of the whole workspace, in which `node` enables RocksDB for all crates. The names of `std` come from the sources:
//! each `use` and each path is written out in full, without comments, texts and tests.

use cargo_metadata::MetadataCommand;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each crate of the workspace, with the workspace crates on which it may depend. A crate that is not listed is not
/// allowed.
const MAY_USE: [(&str, &str); 19] = [
    ("curve", ""),
    ("types", "curve"),
    ("consensus", "types"),
    ("app", "types"),
    ("storage", "types"),
    ("genesis", "types app"),
    ("files", "types genesis"),
    ("p2p", "types files"),
    ("mempool", "types app"),
    ("replica", "types consensus app storage genesis mempool"),
    ("light", "types app"),
    ("rpc", "types consensus app storage genesis replica"),
    ("client", "types"),
    ("load", "types genesis client"),
    ("faults", "types client load"),
    ("chaos", "types files client faults"),
    ("simulator", "types consensus app storage genesis mempool replica"),
    ("properties", "types consensus app storage genesis files light replica p2p rpc node"),
    ("node", "types consensus app storage genesis files mempool replica light p2p rpc client load faults chaos"),
];

/// Crates that must run under a virtual clock. Neither these crates nor their dependencies use the disk, the network or
/// threads.
const SANS_IO: [&str; 9] =
    ["curve", "types", "consensus", "app", "genesis", "mempool", "replica", "light", "simulator"];

/// Families of packages that do I/O. Each name stands for the package itself and for all packages `name-…`.
const IO_PACKAGES: [&str; 4] = ["tokio", "libp2p", "rocksdb", "librocksdb"];

/// Packages that draw randomness. No sans-IO crate depends on one of them directly.
const RANDOM_PACKAGES: [&str; 5] = ["getrandom", "rand", "rand_core", "rand_chacha", "fastrand"];

/// Crates in which clippy forbids clocks, floats, threads, locks, hash maps and I/O. All of them must have the same
/// `clippy.toml`.
const PURE: [&str; 4] = ["types", "consensus", "app", "genesis"];

/// Crates whose `clippy.toml` forbids a part of what the pure crates forbid, and says what is allowed and why.
const PARTLY_PURE: [&str; 3] = ["mempool", "replica", "storage"];

/// Parts of `std` that do I/O, read a clock, start a thread or wait.
const IMPURE: [&str; 8] = [
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::env",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// Parts of `std` with which threads wait for each other.
const BLOCKING: [&str; 7] = [
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::Condvar",
    "std::sync::Barrier",
    "std::sync::OnceLock",
    "std::sync::LazyLock",
    "std::sync::mpsc",
];

/// Sans-IO crates that use locks: `curve` makes the table of the generator once for all threads, the mempool, and the verifiers of `replica`, are shared with other threads, and a disk of the
/// simulator is shared by two lives of a node.
const WITH_LOCKS: [&str; 4] = ["curve", "mempool", "replica", "simulator"];

/// Files of sans-IO crates that are programs: they read arguments, measure real time and start threads.
const PROGRAMS: [&str; 1] = ["tools/simulator/src/main.rs"];

#[test]
fn workspace_crates_import_one_way() {
    let found = violations(&workspace_edges());
    assert!(found.is_empty(), "ARCHITECTURE.md says otherwise:\n{}", found.join("\n"));
}

#[test]
fn every_workspace_crate_has_a_rule() {
    let listed: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    let existing = workspace_crates();
    let existing: BTreeSet<&str> = existing.iter().map(String::as_str).collect();
    assert_eq!(existing, listed, "add the crate to MAY_USE and to ARCHITECTURE.md");
}

#[test]
fn sans_io_crates_pull_in_no_io() {
    for name in SANS_IO {
        let closure = closure(name, &[]);
        let found = io_packages(&closure);
        assert!(found.is_empty(), "{name} pulls in {found:?}; `cargo tree -p cairn-{name} -e normal` shows how");
    }
}

#[test]
fn tools_pull_in_no_node() {
    for name in ["client", "load", "faults", "chaos"] {
        let closure = closure(name, &[]);
        let found = io_packages(&closure);
        assert!(found.is_empty(), "{name} pulls in {found:?}; `cargo tree -p cairn-{name} -e normal` shows how");
    }
}

#[test]
fn a_node_without_tools_has_none_of_their_crates() {
    let with = closure("node", &[]);
    let without = closure("node", &["--no-default-features"]);
    for name in ["cairn-load", "cairn-faults", "cairn-chaos", "plotters"] {
        assert!(with.contains(name) && !without.contains(name), "{name} belongs to the feature `tools`");
    }
}

/// The tests build the workspace with rules that can be broken; the program is built without them.
#[test]
fn no_rule_can_be_broken_in_the_program() {
    let is_on = |name: &str, features: &[&str]| -> Vec<String> {
        let lines = tree(name, "{p} {f}", features);
        lines.into_iter().filter(|line| line.contains("mutations")).collect()
    };
    assert_eq!(is_on("node", &[]), [""; 0]);
    assert_eq!(is_on("node", &["--no-default-features"]), [""; 0]);
    for (name, enabled) in [("storage", 1), ("replica", 5)] {
        assert_eq!(is_on(name, &["--features", "mutations"]).len(), enabled, "{name} has the feature");
    }
}

#[test]
fn sans_io_crates_draw_no_randomness() {
    for package in metadata().workspace_packages() {
        let name = short(&package.name);
        let drawn = |dependency: &&cargo_metadata::Dependency| {
            dependency.kind == cargo_metadata::DependencyKind::Normal
                && RANDOM_PACKAGES.contains(&dependency.name.as_str())
        };
        let found: Vec<_> = package.dependencies.iter().filter(drawn).map(|dependency| &dependency.name).collect();
        assert!(!SANS_IO.contains(&name.as_str()) || found.is_empty(), "{name} depends on {found:?}: use `files`");
    }
}

/// The fuzz targets are a workspace of their own. If their lock file lacks a dependency of our crates, cargo writes it anew with
/// versions that no commit names.
#[test]
fn the_lock_file_of_the_fuzz_targets_has_the_dependencies_of_our_crates() {
    let text = std::fs::read_to_string(root().join("fuzz/Cargo.lock")).expect("it is there");
    let lock: toml::Table = text.parse().expect("cargo wrote it");
    let locked = lock["package"].as_array().expect("a list of packages").iter().map(|package| {
        let names = package.get("dependencies").and_then(toml::Value::as_array).into_iter().flatten();
        let names = names.filter_map(|name| name.as_str()?.split(' ').next());
        (package["name"].as_str().expect("a name"), names.collect::<BTreeSet<&str>>())
    });
    let locked: BTreeMap<&str, BTreeSet<&str>> = locked.collect();
    let mut missing = Vec::new();
    for package in metadata().workspace_packages() {
        let Some(has) = locked.get(package.name.as_str()) else { continue };
        let needed = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == cargo_metadata::DependencyKind::Normal && !dependency.optional);
        let lacking = needed.filter(|dependency| !has.contains(dependency.name.as_str()));
        missing.extend(lacking.map(|dependency| format!("{} of {}", dependency.name, package.name)));
    }
    assert!(locked.contains_key("cairn-types"), "it names our crates");
    assert!(missing.is_empty(), "run `cargo metadata` in fuzz/ and commit fuzz/Cargo.lock: {missing:?}");
}

#[test]
fn sans_io_sources_name_no_impure_part_of_std() {
    let mut found = Vec::new();
    for name in SANS_IO {
        let forbidden: Vec<&str> = match WITH_LOCKS.contains(&name) {
            true => IMPURE.to_vec(),
            false => IMPURE.into_iter().chain(BLOCKING).collect(),
        };
        let files = sources(&folder(name).join("src"));
        assert!(!files.is_empty(), "{name} has sources");
        for file in files {
            let path = file.strip_prefix(root()).expect("it lies in the workspace").display().to_string();
            if !PROGRAMS.contains(&path.as_str()) {
                let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
                found.extend(impure_names(&text, &forbidden).into_iter().map(|name| format!("{path}: {name}")));
            }
        }
    }
    assert!(found.is_empty(), "these crates get such things as values or outputs:\n{}", found.join("\n"));
}

#[test]
fn pure_crates_forbid_the_same_things_in_clippy() {
    let read = |name: &str| {
        let path = folder(name).join("clippy.toml");
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    for name in PURE {
        assert_eq!(read(name), read(PURE[0]), "{name}/clippy.toml and {}/clippy.toml differ", PURE[0]);
    }
    let all = read(PURE[0]);
    for path in IMPURE.into_iter().chain(BLOCKING) {
        assert!(all.contains(&format!("path = \"{path}")), "{}/clippy.toml does not forbid {path}", PURE[0]);
    }
    for name in PARTLY_PURE {
        for line in read(name).lines().filter(|line| line.contains("path = ")) {
            assert!(all.lines().any(|known| known == line), "{name}/clippy.toml: {}/clippy.toml lacks {line}", PURE[0]);
        }
    }
}

#[test]
fn a_wrong_edge_is_caught() {
    let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let right = [edge("node", "p2p"), edge("replica", "storage"), edge("genesis", "app")];
    assert_eq!(violations(&right), Vec::<String>::new());

    for (from, to) in [
        ("curve", "types"),
        ("types", "app"),
        ("consensus", "app"),
        ("consensus", "storage"),
        ("app", "consensus"),
        ("p2p", "consensus"),
        ("genesis", "storage"),
        ("genesis", "files"),
        ("files", "p2p"),
        ("mempool", "replica"),
        ("mempool", "p2p"),
        ("replica", "files"),
        ("replica", "p2p"),
        ("rpc", "mempool"),
        ("rpc", "node"),
        ("p2p", "rpc"),
        ("load", "rpc"),
        ("simulator", "rpc"),
        ("simulator", "p2p"),
        ("simulator", "node"),
        ("simulator", "load"),
        ("load", "replica"),
        ("load", "faults"),
        ("faults", "genesis"),
        ("faults", "chaos"),
        ("chaos", "node"),
        ("node", "simulator"),
        ("node", "properties"),
        ("properties", "simulator"),
        ("helpers", "types"),
    ] {
        let mut edges = right.to_vec();
        edges.push(edge(from, to));
        assert_eq!(violations(&edges), [format!("{from} may not use {to}")]);
    }
}

#[test]
fn an_io_package_is_caught() {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(io_packages(&names(&["prost", "k256", "tokio-free", "serde"])), ["tokio-free"]);
    assert_eq!(io_packages(&names(&["librocksdb-sys", "libp2p-core"])), ["libp2p-core", "librocksdb-sys"]);
    assert!(io_packages(&names(&["prost", "k256", "tracing", "libc"])).is_empty());
}

#[test]
fn an_impure_name_is_caught() {
    let forbidden: Vec<&str> = IMPURE.into_iter().chain(BLOCKING).collect();
    for (text, expected) in [
        ("use std::fs;", "std::fs"),
        ("use std::{collections::BTreeMap, fs::{self, File}};", "std::fs std::fs::File"),
        ("use std::{\n    io::{self, Read},\n    time::{Duration, Instant},\n};", "std::time::Instant"),
        ("fn f() { let now = std::time::SystemTime::now(); }", "std::time::SystemTime::now"),
        ("use ::std::net::TcpStream as Stream;", "std::net::TcpStream"),
        ("use std::sync::{Arc, Mutex};", "std::sync::Mutex"),
        ("use std::time::*;", "std::time::*"),
        ("use std::time; fn f() { time::Instant::now(); }", "std::time"),
        ("use std as s;", "std"),
        ("#[cfg(test)]\nmod tests { use std::fs; }\nuse std::thread::spawn;", "std::thread::spawn"),
        ("#[cfg(test)]\nuse std::thread;\nuse std::env::var;", "std::env::var"),
        ("const A: char = '\"'; use std::env; const B: char = '\"';", "std::env"),
        ("const A: char = '\\''; use std::env; const B: char = '\\'';", "std::env"),
        ("fn f<'a>(_: &'a str) { \"// std::fs\"; std::process::exit(1) }", "std::process::exit"),
    ] {
        assert_eq!(impure_names(text, &forbidden).join(" "), expected, "{text}");
    }
    for text in [
        "use std::{collections::BTreeMap, sync::{Arc, atomic::AtomicBool}, time::Duration};",
        "// std::fs\n/* use std::net; */ /// std::env\nfn f() -> &'static str { \"std::fs \\\" std::net\" }",
        "const T: &str = r#\"use std::fs; \"std::net\" \"#;",
        "#[cfg(test)]\nmod tests { use std::fs; fn f() { if true { fs::read(\"{\"); } } }",
        "#[cfg(test)]\nmod tests;",
        "use mystd::fs; use other::std::fs;",
    ] {
        assert!(impure_names(text, &forbidden).is_empty(), "{text}");
    }
}

/// Returns the Rust sources in a folder and its subfolders, without files and folders of tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.expect("the folder can be read").path()) {
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        match path.is_dir() {
            _ if is_test => {}
            true => files.extend(sources(&path)),
            false => files.extend(path.extension().is_some_and(|extension| extension == "rs").then_some(path)),
        }
    }
    files.sort();
    files
}

/// Returns the names of `std` in a source file that are, contain or hide one of the forbidden parts, in their order. Tests
/// in the file are left out.
fn impure_names(text: &str, forbidden: &[&str]) -> Vec<String> {
    let words = without_tests(words(text));
    let mut names = Vec::new();
    for at in 0..words.len() {
        let is_root = match at.checked_sub(1).map(|before| words[before].as_str()) {
            // `other::std` is not the standard library; `::std` after anything but a name is.
            Some("::") => !at.checked_sub(2).is_some_and(|before| is_name(&words[before]) && words[before] != "use"),
            _ => true,
        };
        if words[at] == "std" && is_root {
            paths(&words, at, "", &mut names);
        }
    }
    let is_part = |inner: &str, outer: &str| inner == outer || inner.starts_with(&format!("{outer}::"));
    names.retain(|name| {
        let named = name.strip_suffix("::*").unwrap_or(name);
        forbidden.iter().any(|forbidden| is_part(named, forbidden) || is_part(forbidden, named))
    });
    names
}

/// Adds the full paths that begin at a word, `prefix` in front, and returns the index of the word behind them.
fn paths(words: &[String], mut at: usize, prefix: &str, found: &mut Vec<String>) -> usize {
    let mut path = prefix.to_owned();
    loop {
        match words.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while words.get(at).is_some_and(|word| word != "}") {
                    // A renamed path ends in `as NAME`, which is passed over here like a comma.
                    let is_path =
                        words[at] == "*" || (is_name(&words[at]) && words[at] != "as" && words[at - 1] != "as");
                    at = if is_path { paths(words, at, &path, found) } else { at + 1 };
                }
                return at + 1;
            }
            Some("self") => {
                found.push(path);
                return at + 1;
            }
            Some(word) if word == "*" || is_name(word) => {
                path = if path.is_empty() { word.to_owned() } else { format!("{path}::{word}") };
                at += 1;
                let goes_on = words.get(at).is_some_and(|word| word == "::")
                    && words.get(at + 1).is_some_and(|word| word == "{" || word == "*" || is_name(word));
                if !goes_on {
                    found.push(path);
                    return at;
                }
                at += 1;
            }
            _ => return at + 1,
        }
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Removes each item behind `#[cfg(test)]`, up to its closing brace or semicolon.
fn without_tests(words: Vec<String>) -> Vec<String> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < words.len() {
        if !words[at..].iter().take(7).eq(["#", "[", "cfg", "(", "test", ")", "]"].iter()) {
            kept.push(words[at].clone());
            at += 1;
            continue;
        }
        let mut depth = 0;
        while let Some(word) = words.get(at) {
            at += 1;
            depth += i32::from(word == "{") - i32::from(word == "}");
            if depth == 0 && (word == ";" || word == "}") {
                break;
            }
        }
    }
    kept
}

/// Splits a Rust source into names, `::` and other single characters, without comments, texts and white space.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let hashes = rest.strip_prefix('r').map_or(0, |raw| raw.len() - raw.trim_start_matches('#').len());
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with(&format!("r{}\"", "#".repeat(hashes))) {
            let (begin, end) = (hashes + 2, format!("\"{}", "#".repeat(hashes)));
            rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len())
        } else if first == '"' {
            end_of_text(rest)
        } else if first == '\'' {
            // A character, `'x'` or `'\n'`; otherwise the quote of a lifetime.
            let is_escaped = rest[1..].starts_with('\\');
            let is_character = is_escaped || rest.chars().nth(2) == Some('\'');
            let mut behind = rest.char_indices().skip(if is_escaped { 3 } else { 2 }).take(10);
            let end = behind.find(|(_, c)| *c == '\'').map(|(at, _)| at + 1);
            end.filter(|_| is_character).unwrap_or(1)
        } else if first.is_alphanumeric() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            words.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("::") {
            words.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                words.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    words
}

/// Returns the length of a text in quotes at the beginning of a source.
fn end_of_text(source: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in source.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return at + 1,
            _ => is_escaped = c == '\\' && !is_escaped,
        }
    }
    source.len()
}

/// Returns the edges `from -> to` that `MAY_USE` does not allow, as sentences, in their given order.
fn violations(edges: &[(String, String)]) -> Vec<String> {
    let allowed = |from: &str, to: &str| {
        let mut rules = MAY_USE.iter();
        rules.any(|(name, uses)| *name == from && uses.split(' ').any(|used| used == to))
    };
    edges.iter().filter(|(from, to)| !allowed(from, to)).map(|(from, to)| format!("{from} may not use {to}")).collect()
}

/// Returns the packages of `closure` that belong to a family in `IO_PACKAGES`.
fn io_packages(closure: &BTreeSet<String>) -> Vec<&str> {
    let of_family = |name: &str, family: &str| {
        name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    closure.iter().map(String::as_str).filter(|name| IO_PACKAGES.iter().any(|family| of_family(name, family))).collect()
}

/// Returns the direct dependencies of every kind between different workspace crates, by short name.
fn workspace_edges() -> Vec<(String, String)> {
    let members = workspace_crates();
    let mut edges = BTreeSet::new();
    for package in metadata().workspace_packages() {
        let from = short(&package.name);
        for dependency in &package.dependencies {
            let to = short(&dependency.name);
            if dependency.path.is_some() && members.contains(&to) && from != to {
                edges.insert((from.clone(), to));
            }
        }
    }
    edges.into_iter().collect()
}

/// Returns the folder of a crate of the workspace.
fn folder(name: &str) -> PathBuf {
    let metadata = metadata();
    let package = metadata.workspace_packages().into_iter().find(|package| short(&package.name) == name);
    let manifest = &package.unwrap_or_else(|| panic!("{name} is a crate of the workspace")).manifest_path;
    manifest.parent().expect("a manifest lies in a folder").as_std_path().to_owned()
}

/// Returns the short names of the workspace's crates.
fn workspace_crates() -> BTreeSet<String> {
    metadata().workspace_packages().iter().map(|package| short(&package.name)).collect()
}

/// Returns the content of the manifests without resolved dependencies, so that the test needs no network.
fn metadata() -> cargo_metadata::Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata reads our own manifests")
}

/// Returns all direct and transitive normal dependencies of a crate on this platform, with its default features or with
/// what the arguments `features` of cargo say.
fn closure(name: &str, features: &[&str]) -> BTreeSet<String> {
    let lines = tree(name, "{p}", features);
    let packages: BTreeSet<String> =
        lines.iter().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert!(packages.contains(&format!("cairn-{name}")), "cargo tree for {name} lists the crate itself");
    packages
}

/// Returns the lines of `cargo tree` for a crate and its normal dependencies, each in this format and once.
fn tree(name: &str, format: &str, features: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--package", &format!("cairn-{name}"), "--edges", "normal"])
        .args(["--prefix", "none", "--format", format, "--offline", "--locked"])
        .args(features)
        .output()
        .expect("cargo, which runs this test, can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree for {name}: {errors}");
    // A package that was listed before is marked with an asterisk.
    let once = |line: &str| line.trim_end_matches(" (*)").trim_end().to_owned();
    String::from_utf8_lossy(&output.stdout).lines().map(once).collect()
}

/// Returns the short name of a package, without `cairn-`: the name that is used here and in every import.
fn short(package: &str) -> String {
    package.strip_prefix("cairn-").unwrap_or(package).to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("node lies in the workspace").to_owned()
}
