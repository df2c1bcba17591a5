//! Proves that each property has a fuzz target and each fuzz target a property, and that each target is its three lines.
#![cfg(feature = "node")]
#![allow(missing_docs)]

use std::{collections::BTreeSet, fs, path::PathBuf};

fn fuzz() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz"))
}

fn names() -> BTreeSet<String> {
    properties::all().iter().map(|property| property.name.to_owned()).collect()
}

#[test]
fn each_property_has_a_target_and_the_other_way_round() {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(fuzz().join("targets")).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("names of targets are text").to_owned();
        let text = fs::read_to_string(&path).expect("the target can be read");
        assert_eq!(text, target(&name), "{name}");
        found.insert(name);
    }
    assert_eq!(found, names());
}

fn target(name: &str) -> String {
    format!("//! Searches for an input that breaks the property `{name}`.\n#![no_main]\ncairn_fuzz::target!({name});\n")
}

#[test]
fn the_manifest_lists_each_target() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("the manifest can be read");
    let listed = manifest.lines().filter_map(|line| line.strip_prefix("path = \"targets/")?.strip_suffix(".rs\""));
    assert_eq!(listed.map(str::to_owned).collect::<BTreeSet<_>>(), names());
}

/// What only fuzzing needs is built by no command of CI.
#[test]
fn the_workspace_does_not_build_the_targets() {
    let root = fs::read_to_string(fuzz().join("../Cargo.toml")).expect("the manifest can be read");
    let (_, members) = root.split_once("members = [").expect("the workspace lists its members");
    let (members, _) = members.split_once(']').expect("the list ends");
    assert!(!members.contains("\"fuzz\""), "{members}");
}
