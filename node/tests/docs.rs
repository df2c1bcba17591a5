//! Proves that the commands in the documents work exactly as written.
//!
//! One shell runs all ```` ```sh ```` blocks of a document in their order, in an empty folder and with `cairn` on its
//! path. A comment before a block marks an exception:
//! `<!-- keeps running -->` (until the end of the document) or `<!-- not tried: why -->`.
//! A comment `<!-- runs: COMMAND -->` anywhere starts a command that the reader has started before. `curl` runs with
//! `-f`, and also fails if the response is empty or a JSON-RPC error.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Maximum run time of one document's script.
const WAIT_MAX: Duration = Duration::from_secs(240);

#[test]
fn the_documents_commands_work() {
    // The documents run one after the other, because they use the same ports.
    for (document, blocks) in
        [("README.md", 3), ("docs/quick-start.md", 4), ("docs/proofs.md", 1), ("docs/operate.md", 13)]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
        let (script, tried) = script(&fs::read_to_string(&path).unwrap());
        assert!(tried >= blocks, "{document}: {tried} blocks are tried");
        run(document, &script);
    }
}

/// Returns the blocks of a document as one script, and the number of blocks that it runs.
fn script(text: &str) -> (String, usize) {
    let mut script = String::from(
        "set -euo pipefail\n\
         in_background() { ( eval \"$1\" ) > background.log 2>&1 & }\n\
         until_ready() { until cairn query block 8 > /dev/null 2>&1; do sleep 0.1; done; }\n\
         curl() {\n\
           local answer\n\
           answer=$(command curl -f \"$@\") || return\n\
           case $answer in\n\
             ''|*'\"error\":{'*) echo \"curl $*: no result: $answer\" >&2; return 1;;\n\
           esac\n\
           printf '%s\\n' \"$answer\"\n\
         }\n\
         trap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT\n",
    );
    let (mut note, mut tried) = ("", 0);
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(comment) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
            match comment.strip_prefix("runs: ") {
                Some(command) => script.push_str(&background(command)),
                None => note = comment,
            }
        }
        if line == "```sh" {
            let block: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            let block = block.join("\n");
            script.push_str(&format!("echo '--- line {}'\n", number + 2));
            match note {
                "keeps running" => script.push_str(&background(&block)),
                "" => script.push_str(&format!("{block}\n")),
                note if note.starts_with("not tried: ") => {}
                other => panic!("line {number}: what does {other:?} mean?"),
            }
            tried += usize::from(!note.starts_with("not tried: "));
            note = "";
        }
    }
    (script, tried)
}

/// Returns the lines of a script that start a command in the background, and wait for a testnet until it is ready.
fn background(command: &str) -> String {
    let wait = if command.contains("cairn testnet") { "until_ready\n" } else { "" };
    format!("in_background '{}'\n{wait}", command.replace('\'', "'\\''"))
}

/// Runs a script and panics if it fails. Where the system allows it, the script has its own process and network
/// namespaces: then `pkill` finds no other processes, the default ports are free, and no process outlives the script.
fn run(document: &str, script: &str) {
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_cairn")).parent().unwrap();
    let path = env::join_paths([program.to_owned()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap())));
    let apart = ["--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let loopback = "ip link set lo up\n";
    let is_possible = Command::new("unshare").args(apart).args(["sh", "-ec", loopback]).stderr(Stdio::null()).status();
    let (mut command, script) = match is_possible.is_ok_and(|status| status.success()) {
        true => {
            let mut command = Command::new("unshare");
            command.args(apart).arg("bash");
            (command, format!("{loopback}{script}"))
        }
        false => (Command::new("bash"), script.to_owned()),
    };
    let output = folder.path().join("output");
    let file = fs::File::create(&output).unwrap();
    let mut child = command
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", path.unwrap())
        .env_remove("CAIRN_HOME")
        .env_remove("CAIRN_NODE")
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + WAIT_MAX;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut lines: Vec<String> = fs::read_to_string(&output).unwrap().lines().map(str::to_owned).collect();
    lines.dedup(); // commands that wait for something repeat the same line
    let text = lines.join("\n");
    let behind = fs::read_to_string(folder.path().join("background.log")).unwrap_or_default();
    assert!(
        status.is_some_and(|status| status.success()),
        "{document}: {status:?}\n{text}\nin the background:\n{behind}"
    );
}

#[test]
fn a_failing_command_in_a_document_fails_the_check() {
    let document = "<!-- runs: sleep 100 -->\n```sh\ntrue\n```\n<!-- not tried: it is wrong -->\n```sh\nfalse\n```\n";
    let (right, tried) = script(document);
    assert_eq!(tried, 1);
    run("right", &right);
    // Port 9 has no listener. The other cases use a file to provide a response that a node should never give.
    let error = "curl -s \"file://$PWD/error\"";
    for wrong in [
        "false | true",
        "curl -s http://127.0.0.1:9/",
        &format!("echo '{{\"error\":{{}}}}' > error\n{error}"),
        &format!("> error\n{error}"),
    ] {
        let (script, _) = script(&format!("```sh\n{wrong}\n```\n"));
        assert!(std::panic::catch_unwind(|| run("wrong", &script)).is_err(), "{wrong}");
    }
}
