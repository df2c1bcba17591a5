//! Proves docs/revert-walkthrough.md: four validators run each command of the page, and each output is the page's.
//!
//! What a run cannot choose is different in each: hashes, addresses, times and heights. The test learns from the
//! outputs what stands for each of them, and a word of the page stands for the same in all its places. So the root of a preview
//! is the root that the revert reached, on the page and in the test.

mod processes;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use processes::{Homes, Validator};
use serde_json::{Value, json};
use types::{Height, Time};

/// First height of the chain: heights have five digits, so that they are told from counts.
const FIRST_HEIGHT: u64 = 88_000;

/// Maximum time between the end of a notice and the time of the block that executes the revert. It is about 20 ms; the machine may
/// be busy.
const LATE_MAX: Duration = Duration::from_secs(5);

struct Net {
    homes: Homes,
    nodes: Vec<Validator>,
}

impl Net {
    /// Starts four validators that make no empty blocks.
    fn new() -> Self {
        let homes = Homes::with(4, Duration::from_secs(1), |options| {
            options.initial_height = Height(FIRST_HEIGHT);
            options.params.proposals.notice_min = Duration::from_secs(2);
            options.params.proposals.cooldown = Duration::from_millis(10);
            options.params.retain_blocks = 6_500;
        });
        for node in 0..4 {
            let file = homes.home(node).join("config/config.toml");
            let config = fs::read_to_string(&file).unwrap();
            let off = config.replace("empty_block_interval = \"1s\"", "empty_block_interval = \"off\"");
            assert_ne!(off, config, "{config}");
            fs::write(&file, off).unwrap();
        }
        let mut nodes = homes.start_all();
        nodes.iter_mut().for_each(|node| node.wait_for_height(FIRST_HEIGHT));
        Self { homes, nodes }
    }

    /// Runs a command of the page, and returns its standard output, followed by its standard error. The output goes to a
    /// file if the command ends in `> FILE`.
    fn run(&self, words: &[String]) -> Vec<String> {
        assert_eq!(words[0], "cairn");
        let (words, file) = match words {
            [words @ .., to, file] if to == ">" => (words, Some(self.homes.folder.path().join(file))),
            words => (words, None),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        command.args(&words[1..]).env("CAIRN_NODE", &self.nodes[0].rpc).env("CAIRN_HOME", self.homes.home(0));
        let mut output = command.current_dir(self.homes.folder.path()).output().unwrap();
        if let Some(file) = file {
            fs::write(file, std::mem::take(&mut output.stdout)).unwrap();
        }
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let lines = [text(output.stdout), text(output.stderr)].concat();
        lines.lines().map(str::to_owned).collect()
    }
}

/// A command of the page with its output.
struct Entry {
    command: String,
    output: Vec<String>,
}

/// Returns the commands in the console blocks of the page.
fn entries(page: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut is_inside = false;
    for line in page.lines() {
        match (line, line.strip_prefix("$ ")) {
            ("```console", _) => is_inside = true,
            ("```", _) => is_inside = false,
            (_, Some(command)) if is_inside => entries.push(Entry { command: command.into(), output: Vec::new() }),
            _ if is_inside => entries.last_mut().expect("a command is first").output.push(line.into()),
            _ => {}
        }
    }
    entries
}

/// Splits a command at spaces, except inside double quotes.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('"').enumerate();
    let split = |(index, part): (usize, &str)| -> Vec<String> {
        if index % 2 == 1 { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() }
    };
    parts.flat_map(split).collect()
}

/// True for the separators of the words that a run replaces.
fn is_separator(c: char) -> bool {
    c.is_whitespace() || "=,;()".contains(c)
}

/// Returns what kind of a word differs from run to run, if it is one.
fn kind(word: &str) -> Option<&'static str> {
    let is_digits = word.bytes().all(|byte| byte.is_ascii_digit());
    match word.len() {
        5 if is_digits && word.starts_with('8') => Some("height"),
        13 if is_digits => Some("milliseconds"),
        40 | 64 if word.bytes().all(|byte| byte.is_ascii_hexdigit()) => Some("hash"),
        _ => Time::parse(word).is_ok().then_some("time"),
    }
}

/// What stands for the words of the page in this run: another word for each.
#[derive(Default)]
struct Learned {
    runs: BTreeMap<String, String>,
    pages: BTreeMap<String, String>,
}

impl Learned {
    /// Compares a line of the page with that of the run, and learns.
    fn agree(&mut self, page: &str, run: &str) -> bool {
        let words = |line: &str| -> Vec<String> {
            let line = line.replace("(now)", "(in 0 s)");
            line.split(is_separator)
                .map(|word| word.trim_end_matches([':', '.']).to_owned())
                .filter(|word| !word.is_empty())
                .collect()
        };
        // The latest height may be one higher or lower, because a block with the new state follows each transaction.
        let is_latest = ["now ", "earliest ", "at height "].iter().any(|label| page.starts_with(label));
        // A header has the signatures of three or of four validators.
        let all = "4 of 4 validators with 100.0 % of the power";
        let run = run.replace("3 of 4 validators with 75.0 % of the power", all);
        let (page, run) = (words(page), words(&run));
        let mut before = "";
        page.len() == run.len()
            && page.iter().zip(&run).all(|(page, run)| {
                // How many seconds are left is of no interest.
                let is_left = std::mem::replace(&mut before, page) == "in";
                match kind(page) {
                    _ if is_left => true,
                    Some("height") if is_latest => kind(run) == Some("height"),
                    Some(of) if kind(run) == Some(of) => {
                        let known = self.runs.entry(page.clone()).or_insert_with(|| run.clone());
                        known == run && self.pages.entry(run.clone()).or_insert_with(|| page.clone()) == page
                    }
                    _ => page == run,
                }
            })
    }

    /// Returns a word of a command with what stands for its parts in this run.
    fn replaced(&self, word: &str) -> String {
        let parts = word.split_inclusive(is_separator).map(|part| {
            let end = part.trim_end_matches(is_separator).len();
            let (word, rest) = part.split_at(end);
            format!("{}{rest}", self.runs.get(word).map_or(word, String::as_str))
        });
        parts.collect()
    }
}

#[test]
fn the_walkthrough_is_what_four_validators_do() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/revert-walkthrough.md");
    let entries = entries(&fs::read_to_string(page).unwrap());
    assert!(entries.len() > 20, "{} commands", entries.len());
    let (net, mut learned, mut transcript) = (Net::new(), Learned::default(), String::new());
    for Entry { command, output } in &entries {
        let words: Vec<String> = words(command).iter().map(|word| learned.replaced(word)).collect();
        let lines = net.run(&words);
        transcript.push_str(&format!("$ {}\n{}\n", words.join(" "), lines.join("\n")));
        let agree = if command.contains(" watch ") {
            // How many changes there are to watch, and the heights at which they are seen, depends on the machine.
            let last = |lines: &[String]| lines.last().and_then(|line| Some(line.split_once(' ')?.1.to_owned()));
            let (page, run) = (last(output).expect("its output"), last(&lines).unwrap_or_default());
            lines.len() <= output.len() && learned.agree(&page, &run)
        } else {
            output.len() == lines.len() && output.iter().zip(&lines).all(|(page, run)| learned.agree(page, run))
        };
        assert!(agree, "`{command}` has another output now; the run so far:\n{transcript}");
    }
    on_time(&net);
    all_agree(&net);
    only_executed_reverts_are_proven(&net, &learned.replaced("88005"));
}

fn only_executed_reverts_are_proven(net: &Net, target: &str) {
    let run = |command: &str| net.run(&words(command)).join("\n");
    let proposed = run(&format!("cairn revert propose --to {target} --ns shared/policy --from alice"));
    assert!(proposed.contains("revert.proposed: id=3"), "{proposed}");
    for (command, reason) in [
        (
            "cairn proof revert 3",
            "revert 3 is voting, and only an executed one restored something: `cairn revert show 3`",
        ),
        ("cairn proof revert 4", "E_UNKNOWN"),
        ("cairn proof revert 1 --height 88005", "--height is not for `equal` and `revert`"),
    ] {
        let refused = run(command);
        assert!(refused.starts_with("error: ") && refused.contains(reason), "{command}: {refused}");
    }
}

/// Checks that the idle chain executed each revert when its notice was over.
fn on_time(net: &Net) {
    let mut late = Vec::new();
    for height in found(net, "revert.executed.ns = 'shared/policy'") {
        let id = attribute(&events(net, height), "revert.executed", "id");
        let scheduled = found(net, &format!("revert.scheduled.id = '{id}'"));
        let due: u64 = attribute(&events(net, scheduled[0]), "revert.scheduled", "at").parse().unwrap();
        let block = net.nodes[3].post("block", &json!({ "height": height.to_string() }))["result"].take();
        let time = Time::parse(block["block"]["header"]["time"].as_str().unwrap()).unwrap();
        assert!(time >= Time::from_unix_millis(due), "the notice is kept");
        assert_eq!(block["block"]["data"]["txs"], json!([]), "nobody sent anything");
        late.push(time.since(Time::from_unix_millis(due)));
    }
    assert!(late.len() == 2 && late.iter().all(|late| *late < LATE_MAX), "{late:?}");
}

/// Checks that all nodes come to the same state.
fn all_agree(net: &Net) {
    let end = Instant::now() + Duration::from_secs(30);
    let hash = |node: &Validator| -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "status", "params": {} });
        let answer: Value = ureq::post(&node.rpc).send_json(call).unwrap().body_mut().read_json().unwrap();
        let info = &answer["result"]["sync_info"];
        json!([info["latest_block_height"], info["latest_app_hash"]])
    };
    while !net.nodes.iter().all(|node| hash(node) == hash(&net.nodes[0])) {
        assert!(Instant::now() < end, "the nodes differ");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns the heights of the blocks that a search finds, ascending.
fn found(net: &Net, query: &str) -> Vec<u64> {
    let answer = net.nodes[3].post("block_search", &json!({ "query": query, "order_by": "asc" }))["result"].take();
    let height = |block: &Value| block["block"]["header"]["height"].as_str().unwrap().parse().unwrap();
    answer["blocks"].as_array().unwrap().iter().map(height).collect()
}

fn events(net: &Net, height: u64) -> Vec<Value> {
    let results = net.nodes[3].post("block_results", &json!({ "height": height.to_string() }))["result"].take();
    results["finalize_block_events"].as_array().unwrap().clone()
}

fn attribute(events: &[Value], kind: &str, key: &str) -> String {
    let event = events.iter().find(|event| event["type"] == kind).unwrap_or_else(|| panic!("{kind} in {events:?}"));
    let attributes = event["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == key).unwrap();
    found["value"].as_str().unwrap().to_owned()
}

#[test]
fn a_word_of_the_page_stands_for_the_same_in_all_its_places() {
    let mut learned = Learned::default();
    let (a, b) = ("AB".repeat(32), "CD".repeat(32));
    assert!(learned.agree(&format!("root now   {a}, height 88007"), &format!("root now {b}, height 88009")));
    assert!(!learned.agree(&format!("root {a}"), &format!("root {a}")), "it stands for another hash");
    assert!(!learned.agree(&format!("root {}", "EF".repeat(32)), &format!("root {b}")), "another word stands for it");
    assert!(learned.agree("closed at height 88007: frozen (in 42 s)", "closed at height 88009: frozen (now)"));
    assert!(!learned.agree("3 keys", "4 keys") && !learned.agree("yes", "no") && !learned.agree("a", "a b"));
    assert!(!learned.agree("88012", "7"), "a height stands for a height");
    assert!(learned.agree("at height  88007", "at height  88011"), "the latest height is that of a moment");
    assert!(!learned.agree("height  88007", "height  88011"));
    assert_eq!(learned.replaced(&format!("88007,{a},x")), format!("88009,{b},x"));
    assert_eq!(words("cairn kv put ns k \"a b\" --from x"), ["cairn", "kv", "put", "ns", "k", "a b", "--from", "x"]);
    assert_eq!(entries("text\n```console\n$ cairn a\nout\n\n```\n$ cairn b\n").len(), 1);
}
