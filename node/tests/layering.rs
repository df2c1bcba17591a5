//! Proves that the workspace's crates depend on each other in one direction only, and that the pure crates stay free of
//! I/O.
//!
//! | crate | may use, of this workspace |
//! |---|---|
//! | `types` | nothing |
//! | `consensus`, `app`, `storage`, `p2p` | `types` |
//! | `genesis`; its tests `mempool` | `types`, `app` |
//! | `replica` | `types`, `consensus`, `app`, `storage`, `genesis`; its tests `mempool` |
//! | `load` | `types`, `genesis` |
//! | `faults` | `types`, `load` |
//! | `simulator` | all but `p2p`, `load`, `faults`, `node` |
//! | `node` | all but `simulator` |
//!
//! Direct dependencies of every kind (normal, build, dev) come from `cargo metadata`. All transitive dependencies of a
//! crate come from `cargo tree`, which resolves features for this crate alone. `cargo metadata` would unite the
//! features of the whole workspace, in which `node` enables RocksDB for all crates.

use cargo_metadata::MetadataCommand;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each crate of the workspace, with the workspace crates on which it may depend. A crate that is not listed is not
/// allowed.
const MAY_USE: [(&str, &str); 12] = [
    ("types", ""),
    ("consensus", "types"),
    ("app", "types"),
    ("storage", "types"),
    ("p2p", "types"),
    ("genesis", "types app"),
    ("mempool", "types app"),
    ("replica", "types consensus app storage genesis mempool"),
    ("load", "types genesis"),
    ("faults", "types load"),
    ("simulator", "types consensus app storage genesis mempool replica"),
    ("node", "types consensus app storage genesis mempool replica p2p load faults"),
];

/// Crates that must run under a virtual clock. Neither these crates nor their dependencies use the disk, the network or
/// threads.
const SANS_IO: [&str; 7] = ["types", "consensus", "app", "genesis", "mempool", "replica", "simulator"];

/// Families of packages that do I/O. Each name stands for the package itself and for all packages `name-…`.
const IO_PACKAGES: [&str; 4] = ["tokio", "libp2p", "rocksdb", "librocksdb"];

/// Crates in which clippy forbids clocks, floats, threads, hash maps and I/O. All of them must have the same
/// `clippy.toml`.
const PURE: [&str; 3] = ["types", "consensus", "app"];

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
        let closure = closure(name);
        let found = io_packages(&closure);
        assert!(found.is_empty(), "{name} pulls in {found:?}; `cargo tree -p cairn-{name} -e normal` shows how");
    }
}

#[test]
fn tools_pull_in_no_node() {
    for name in ["load", "faults"] {
        let closure = closure(name);
        let found = io_packages(&closure);
        assert!(found.is_empty(), "{name} pulls in {found:?}; `cargo tree -p cairn-{name} -e normal` shows how");
    }
}

#[test]
fn pure_crates_forbid_the_same_things_in_clippy() {
    let read = |name: &str| {
        let path = root().join(name).join("clippy.toml");
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    for name in PURE {
        assert_eq!(read(name), read(PURE[0]), "{name}/clippy.toml and {}/clippy.toml differ", PURE[0]);
    }
}

#[test]
fn a_wrong_edge_is_caught() {
    let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let right = [edge("node", "p2p"), edge("replica", "storage"), edge("genesis", "app")];
    assert_eq!(violations(&right), Vec::<String>::new());

    for (from, to) in [
        ("types", "app"),
        ("consensus", "app"),
        ("consensus", "storage"),
        ("app", "consensus"),
        ("p2p", "consensus"),
        ("genesis", "storage"),
        ("mempool", "replica"),
        ("mempool", "p2p"),
        ("replica", "p2p"),
        ("simulator", "p2p"),
        ("simulator", "node"),
        ("simulator", "load"),
        ("load", "replica"),
        ("load", "faults"),
        ("faults", "genesis"),
        ("node", "simulator"),
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

/// Returns all direct and transitive normal dependencies of a crate, with its default features on this platform.
fn closure(name: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["tree", "--package", &format!("cairn-{name}"), "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}", "--offline", "--locked"])
        .output()
        .expect("cargo, which runs this test, can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree for {name}: {errors}");
    let packages: BTreeSet<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    assert!(packages.contains(&format!("cairn-{name}")), "cargo tree for {name} lists the crate itself");
    packages
}

/// Returns the short name of a package, without `cairn-`: the name that is used here and in every import.
fn short(package: &str) -> String {
    package.strip_prefix("cairn-").unwrap_or(package).to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("node lies in the workspace").to_owned()
}
