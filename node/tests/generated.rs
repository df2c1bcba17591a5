//! Proves that each page in `docs/` that the program writes is the one that it writes now.

mod program;

use std::fs;

use program::{Cairn, sources};

/// Each generated file of `docs/`, with the arguments of the command that writes it.
const PAGES: [(&str, &[&str]); 5] = [
    ("cli.md", &["manual"]),
    ("config.md", &["manual", "config"]),
    ("metrics.md", &["manual", "metrics"]),
    ("openapi.json", &["manual", "openapi"]),
    ("rpc.md", &["manual", "rpc"]),
];

#[test]
fn every_generated_page_is_up_to_date() {
    let cairn = Cairn::new();
    let stale: Vec<String> = PAGES
        .iter()
        .filter(|(page, args)| {
            let path = sources().join("docs").join(page);
            let there = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            there.trim() != cairn.run(args).succeeds().trim()
        })
        .map(|(page, args)| format!("`cairn {} > docs/{page}` writes docs/{page} again", args.join(" ")))
        .collect();
    assert!(stale.is_empty(), "{}", stale.join("\n"));
}
