//! Writes `docs/config.md` from the sections of the configuration.

use std::fmt::Write;

use super::{Config, Section, duration_text};

const INTRODUCTION: &str = "\
# Settings

`cairn manual config` generates this page from the definitions that the program reads its settings by; a test checks that both agree.

A node reads `config/config.toml` in its home. `cairn init` and `cairn testnet` write this file with every setting and its meaning.
An environment variable overrides the file, and a flag of `cairn start` overrides both. `cairn config` prints the result, and with the
name of one setting its value and its source. Parameters on which all nodes of a chain must agree are in the genesis document instead.

- A duration is a string of numbers with units: `500ms`, `1s`, `1m30s`, `1h`.
- A list is a string of items separated by commas, or in the file also a list of strings.
- Paths are relative to the home.
- An unknown setting, and one of CometBFT's that has no meaning here, is refused with advice (exit code 78).
  `consensus.create_empty_blocks` and `consensus.create_empty_blocks_interval` are accepted; they set `consensus.empty_block_interval`.
";

/// Returns the whole page as Markdown.
pub fn manual() -> String {
    let config = Config::default();
    let mut page = INTRODUCTION.to_owned();
    add(&mut page, &config, &config.base);
    add(&mut page, &config, &config.rpc);
    add(&mut page, &config, &config.p2p);
    add(&mut page, &config, &config.mempool);
    add(&mut page, &config, &config.consensus);
    add(&mut page, &config, &config.blocksync);
    add(&mut page, &config, &config.storage);
    add(&mut page, &config, &config.instrumentation);
    page
}

fn add<S: Section>(page: &mut String, config: &Config, section: &S) {
    let title = if S::NAME.is_empty() { "Above all sections".to_owned() } else { format!("[{}]", S::NAME) };
    let _ = write!(page, "\n## {title}\n\n{}\n\n", joined(S::DOC));
    page.push_str("| key | type | default | meaning | environment variable | flag |\n|---|---|---|---|---|---|\n");
    for key in section.keys() {
        let dot = if S::NAME.is_empty() { "" } else { "." };
        let full = format!("{}{dot}{}", S::NAME, key.name);
        let variable = format!("CAIRN_{}", full.replace('.', "_").to_ascii_uppercase());
        let bounds = bounds(config, &full).map(|bounds| format!(", {bounds}")).unwrap_or_default();
        let _ = writeln!(
            page,
            "| `{}` | {}{bounds} | `{}` | {} | `{variable}` | `--{full}` |",
            key.name,
            key.of,
            key.value,
            joined(key.doc),
        );
    }
}

/// Returns the smallest and the greatest value of a setting, if it has them.
fn bounds(config: &Config, key: &str) -> Option<String> {
    let number = config.numbers().into_iter().find(|(name, ..)| *name == key);
    let duration = config.durations().into_iter().find(|(name, ..)| *name == key);
    number
        .map(|(_, _, low, high)| format!("{low} to {high}"))
        .or_else(|| duration.map(|(_, _, low, high)| format!("{} to {}", duration_text(low), duration_text(high))))
}

/// Returns lines of text as one, with the characters escaped that mean something in a table.
fn joined(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join(" ").replace('<', "&lt;").replace('*', "\\*").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_row_with_its_meaning_and_bounds_of_existing_settings() {
        let (page, config) = (manual(), Config::default());
        for key in Config::known_keys() {
            let row = page.lines().find(|line| line.contains(&format!("| `--{key}` |")));
            let row = row.unwrap_or_else(|| panic!("{key} has no row"));
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            assert_eq!(cells.len(), 6, "{row}");
            assert!(cells.iter().all(|cell| !cell.is_empty()) && cells[3].ends_with('.'), "{row}");
        }
        let bounded = config.numbers().into_iter().map(|(key, ..)| key);
        for key in bounded.chain(config.durations().into_iter().map(|(key, ..)| key)) {
            assert!(Config::known_keys().iter().any(|known| known == key), "{key}");
        }
    }
}
