//! Proves that the Python program in `docs/transactions.md` builds, signs and sends a transfer to a testnet.
//!
//! The test needs `python3` with `venv`, and the packages `blake3` and `coincurve`, which pip installs into a temporary
//! folder.

mod optional;
mod program;

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use data_encoding::{BASE64, HEXLOWER};
use program::{Cairn, free_ports, json, ok, sources, within};

/// Timeout of each expected event; it holds on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(90);

fn main() -> ExitCode {
    optional::main(
        Python::find,
        &[("the_program_in_the_documents_sends_a_transfer", the_program_in_the_documents_sends_a_transfer)],
    )
}

/// A Python with the packages that the program imports.
struct Python {
    _folder: tempfile::TempDir,
    python: PathBuf,
}

impl Python {
    /// Creates a virtual environment in a temporary folder and installs the packages into it.
    ///
    /// Errors: the reason why this machine cannot do that.
    fn find() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let environment = folder.path().join("venv");
        let python = environment.join("bin/python3");
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment), "python3 with venv is not available")?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "blake3", "coincurve"];
        run(Command::new(&python).args(pip), "pip cannot install blake3 and coincurve")?;
        Ok(Self { _folder: folder, python })
    }
}

/// Runs a command.
///
/// Errors: `what`, and the last line that the command wrote to standard error.
fn run(command: &mut Command, what: &str) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{what}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{what}: {}", text.trim().lines().last().unwrap_or_default())),
    }
}

/// A running process, which is ended when the value is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // The validators of a testnet end with its process, because their standard input closes.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn the_program_in_the_documents_sends_a_transfer(python: &Python) {
    let page = fs::read_to_string(sources().join("docs/transactions.md")).unwrap();
    let program = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let cairn = Cairn::new();
    let file = cairn.folder().join("send.py");
    fs::write(&file, program).unwrap();

    let base = free_ports(40).to_string();
    cairn.run(&["testnet", "--init-only", "--base-port", &base]).succeeds();
    let mut testnet = cairn.command(&["testnet", "--no-view"]);
    let log = File::create(cairn.folder().join("testnet.log")).unwrap();
    let testnet = testnet.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let _testnet = Process(testnet);
    within(DEADLINE, "the testnet makes blocks", || (cairn.run(&["query", "block", "2"]).code == 0).then_some(()));

    let key = json(&cairn.run(&["keys", "export", "alice"]).succeeds());
    let secret = BASE64.decode(key["priv_key"]["value"].as_str().unwrap().as_bytes()).unwrap();
    let node = format!("http://127.0.0.1:{}", base.parse::<u16>().unwrap() + 1);
    let bob = cairn.run(&["keys", "show", "bob", "--address"]).succeeds().trim().to_owned();
    let balance = || json(&cairn.run(&["query", "account", "bob", "--json"]).succeeds())["balance"].clone();
    let before: u64 = balance().as_str().unwrap().parse().unwrap();
    let send = |secret: &[u8]| {
        let mut command = Command::new(&python.python);
        command.arg(&file).args([&node, &HEXLOWER.encode(secret), &bob, "7"]);
        json(&ok(&mut command))
    };
    let answer = send(&secret);
    assert_eq!((&answer["check_tx"]["code"], &answer["tx_result"]["code"]), (&0.into(), &0.into()), "{answer}");
    assert!(answer["height"].as_str().unwrap().parse::<u64>().unwrap() > 0, "{answer}");
    assert_eq!(balance(), (before + 7).to_string());

    // A key without money is refused with the code that the page lists.
    let refused = send(&[1; 32]);
    assert_eq!(refused["check_tx"]["code"], 11, "{refused}");
    assert!(refused["check_tx"]["log"].as_str().unwrap().starts_with("E_INSUFFICIENT_FUNDS: "), "{refused}");
}
