//! Proves that a node that cannot start reports the reason, the file, setting or port, and a remedy, and that it ends
//! with the right exit code. Also proves that signing state survives restarts and losses.

mod processes;

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use node::{config::Config, start::Node};
use processes::{Homes, Validator, write};
use rpc::clients::{Clients, Limits};
use types::{ChainId, Msg, SecretKey, TxBody, TxOrder, Wire};

fn one() -> Homes {
    Homes::new(1, Duration::from_millis(100))
}

/// Starts a node that must refuse to start; returns its exit code and output.
fn refused(home: &Path, args: &[&str]) -> (i32, String) {
    let (code, output) = Validator::spawn(home, args).ended();
    (code.expect("it ended by itself"), output)
}

#[test]
fn a_single_validator_decides_alone_and_stops_cleanly() {
    let homes = one();
    let mut node = homes.start(0);
    node.wait_for_height(3);
    let (code, log) = node.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains(" committed height=1 "), "{log}");
    let state = fs::read_to_string(homes.home(0).join("data/priv_validator_state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert!(state["height"].as_str().unwrap().parse::<u64>().unwrap() >= 3, "{state}");
    assert!(state["signature"].is_string(), "what was signed last travels with the key");
}

#[test]
fn a_second_process_in_the_same_home_is_refused_and_the_first_continues() {
    let homes = one();
    let mut node = homes.start(0);
    let (code, output) = refused(&homes.home(0), &[]);
    assert_eq!(code, 69, "{output}");
    assert!(output.contains(&format!("process {} works in this home", node.pid())), "{output}");
    let height = node.height();
    node.wait_for_height(height + 2);
}

#[test]
fn a_port_in_use_names_the_setting() {
    let homes = one();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for setting in ["rpc.laddr", "p2p.laddr", "instrumentation.prometheus_listen_addr"] {
        let (code, output) = refused(&homes.home(0), &[&format!("--{setting}"), &address]);
        assert_eq!(code, 69, "{setting}: {output}");
        assert!(output.contains(&address) && output.contains(setting), "{setting}: {output}");
    }
}

/// The genesis document is a named pipe in this test, so that the start blocks until the pipe has a writer.
#[test]
fn a_signal_during_the_start_ends_the_node_cleanly() {
    let homes = one();
    let genesis = homes.home(0).join("config/genesis.json");
    fs::remove_file(&genesis).unwrap();
    assert!(Command::new("mkfifo").arg(&genesis).status().unwrap().success());
    let node = Validator::spawn(&homes.home(0), &["--log_level", "debug"]);
    // Opening the pipe for writing succeeds when the node opens it for reading, so from here on the node is starting.
    let writer = fs::OpenOptions::new().write(true).open(&genesis).unwrap();
    let (code, log) = node.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopped before the start was complete"), "{log}");
    drop(writer);
}

#[test]
fn a_home_without_a_node_is_a_configuration_error() {
    let folder = tempfile::tempdir().unwrap();
    let (code, output) = refused(&folder.path().join("nowhere"), &[]);
    assert_eq!(code, 78, "{output}");
    assert!(output.contains("there is no node in") && output.contains("cairn init"), "{output}");
}

#[test]
fn garbage_files_are_named_with_the_field() {
    for (file, text, part) in [
        ("config/config.toml", "moniker = ", "line 1"),
        ("config/config.toml", "[rpc]\nladdress = \"x\"", "did you mean rpc.laddr?"),
        ("config/genesis.json", "{}", "genesis_time"),
        ("config/genesis.json", "nonsense", "JSON"),
        ("config/node_key.json", "{\"priv_key\": 7}", "priv_key"),
        ("config/priv_validator_key.json", "", "JSON"),
        ("data/priv_validator_state.json", "{\"height\": \"x\", \"round\": 0, \"step\": 0}", "height"),
        ("data/priv_validator_state.json", "", "it is empty"),
        (
            "data/priv_validator_state.json",
            "{\"height\": \"1\", \"round\": 0, \"step\": 0, \"x\": 1}",
            "It may be absent",
        ),
    ] {
        let homes = one();
        let path = homes.home(0).join(file);
        write(&path, text);
        let (code, output) = refused(&homes.home(0), &[]);
        assert_eq!(code, 78, "{file}: {output}");
        assert!(output.contains(&path.display().to_string()) && output.contains(part), "{file}: {output}");
    }
}

/// A user to whom file permissions apply: the user who runs the test or, if that is root, the user `nobody` (65534).
struct OrdinaryUser {
    program: PathBuf,
    id: Option<u32>,
}

impl OrdinaryUser {
    /// Returns the user who owns a folder, after giving the folder to `nobody` if its owner is root.
    fn of(folder: &Path) -> Self {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_cairn"));
        if fs::metadata(folder).unwrap().uid() != 0 {
            return Self { program, id: None };
        }
        let id = 65534;
        give(folder, id);
        // The program may be in a folder that only root can access.
        let copy = folder.join("cairn");
        fs::hard_link(&program, &copy).or_else(|_| fs::copy(&program, &copy).map(|_| ())).unwrap();
        Self { program: copy, id: Some(id) }
    }

    /// Runs the program as this user on a home; returns the exit code and the whole output.
    fn run(&self, args: &[&str], home: &Path) -> (i32, String) {
        let folder = home.parent().unwrap();
        let mut command = Command::new("timeout");
        command
            .arg("60")
            .arg(&self.program)
            .args(args)
            .arg("--home")
            .arg(home)
            .current_dir(folder)
            .env("HOME", folder)
            .env_remove("CAIRN_NODE");
        if let Some(id) = self.id {
            command.uid(id).gid(id);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap_or(-1), text)
    }
}

fn give(path: &Path, to: u32) {
    chown(path, Some(to), Some(to)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), to));
    }
}

#[test]
fn a_file_without_read_permission_is_not_treated_as_absent() {
    let homes = one();
    let home = homes.home(0);
    let mut node = homes.start(0);
    node.wait_for_height(2);
    assert_eq!(node.terminate().0, Some(0));
    let user = OrdinaryUser::of(homes.folder.path());
    let copy = homes.folder.path().join("copy");
    let backup = ["backup", copy.to_str().unwrap()];
    let (start, verify, reset) = (["start"], ["verify", "store"], ["unsafe-reset-all"]);
    let (query, validator) = (["query", "status"], ["show-validator"]);
    let all: [&[&str]; 6] = [&start, &backup, &verify, &reset, &query, &validator];
    let as_user = "run this as the node's user";
    let as_owner = "run this as the user who owns the home";
    let cases: [(&str, &[&[&str]], &str); 10] = [
        ("", &all, as_user),
        ("config", &all, as_user),
        ("config/config.toml", &all, as_user),
        ("config/genesis.json", &[&start], as_owner),
        ("config/node_key.json", &[&start], as_owner),
        ("config/priv_validator_key.json", &[&start], as_owner),
        ("config/priv_validator_key.json", &[&validator], as_owner),
        ("data", &[&start, &backup, &verify, &reset], as_owner),
        ("data/priv_validator_state.json", &[&start], as_owner),
        ("data/cairn.db", &[&start, &backup, &verify], "Permission denied"),
    ];
    for (file, commands, way_out) in cases {
        let path = home.join(file);
        let mode = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        for command in commands {
            let (code, text) = user.run(command, &home);
            assert_eq!(code, 78, "{command:?} without {file:?}: {text}");
            assert!(text.contains(&*path.to_string_lossy()), "{command:?}: {file:?} is not named: {text}");
            assert!(text.contains(way_out), "{command:?} without {file:?}: {text}");
            assert!(!text.contains("there is no node") && !text.contains("absent"), "{command:?}: {text}");
        }
        fs::set_permissions(&path, mode).unwrap();
    }
    // A reset that lacks permissions must neither remove the store nor change the signing state.
    let state = home.join("data/priv_validator_state.json");
    let signed = fs::read(&state).unwrap();
    for file in ["data/priv_validator_state.json", "data/cairn.db"] {
        let path = home.join(file);
        let mode = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        let (code, text) = user.run(&reset, &home);
        assert!(code != 0 && text.contains(&*path.to_string_lossy()), "{file}: {code}: {text}");
        fs::set_permissions(&path, mode).unwrap();
        assert_eq!(fs::read(&state).unwrap(), signed);
        let (code, text) = user.run(&verify, &home);
        assert_eq!(code, 0, "the store is still there: {text}");
    }
    let (code, text) = user.run(&backup, &home);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn the_store_of_another_chain_is_refused_and_left_as_it_is() {
    let homes = one();
    let mut node = homes.start(0);
    node.wait_for_height(2);
    assert_eq!(node.terminate().0, Some(0));
    let genesis = homes.home(0).join("config/genesis.json");
    let ours = fs::read_to_string(&genesis).unwrap();
    write(&genesis, &ours.replace("\"processes\"", "\"another-chain\""));
    let (code, output) = refused(&homes.home(0), &[]);
    assert_eq!(code, 78, "{output}");
    assert!(output.contains("processes") && output.contains("another-chain"), "{output}");
    write(&genesis, &ours.replace("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"));
    let (code, output) = refused(&homes.home(0), &[]);
    assert_eq!(code, 78, "{output}");
    assert!(output.contains("genesis document"), "{output}");
    write(&genesis, &ours);
    let mut node = homes.start(0);
    node.wait_for_height(3);

    // A reset reads what was signed from the store of the other chain.
    assert_eq!(node.terminate().0, Some(0));
    write(&genesis, &ours.replace("\"processes\"", "\"another-chain\""));
    let mut reset = Command::new(env!("CARGO_BIN_EXE_cairn"));
    let output = reset.args(["unsafe-reset-all", "--home"]).arg(homes.home(0)).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && text.contains("kept: up to height "), "{text}");
    assert!(text.contains("the database was of processes, the genesis document is of another-chain"), "{text}");
    assert!(!text.contains("does not have it") && !text.contains("not read"), "{text}");
}

#[test]
fn a_state_file_ahead_of_the_chain_is_one_clear_line_not_ready_and_a_metric() {
    let homes = one();
    let state = homes.home(0).join("data/priv_validator_state.json");
    write(&state, r#"{"height": "2", "round": 0, "step": 3}"#);
    let mut node = homes.start(0);
    // The only validator signs nothing up to height 2, so height 1 cannot be decided.
    let (status, why) = node.ready();
    assert!(status == 503 && why.contains("signed at height 2") && why.contains("ends at height 0"), "{status} {why}");
    assert_eq!(node.metric("cometbft_consensus_ready"), 0.0);
    node.wait_until("the metric says why", |node| {
        let text = node.metrics_text();
        let silent = text.lines().filter(|line| line.starts_with("cometbft_consensus_silent{") && line.ends_with(" 1"));
        silent.map(|line| line.contains("reason=\"signed_ahead\"")).eq([true])
    });
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(node.height(), 0);
    let (code, log) = node.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("the validator signs nothing: its signing state").count(), 1, "{log}");
    let state: serde_json::Value = serde_json::from_str(&fs::read_to_string(&state).unwrap()).unwrap();
    assert_eq!(state["height"], "2", "it is not taken back");
}

/// A signature is recorded in the state file before it is sent, so the record survives `kill -9` and the loss of the
/// database.
#[test]
fn the_state_file_is_never_behind_what_was_sent() {
    let homes = Homes::new(1, Duration::from_millis(20));
    let file = homes.home(0).join("data/priv_validator_state.json");
    let signed = || -> u64 {
        let state: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        state["height"].as_str().unwrap().parse().unwrap()
    };
    for _ in 0..3 {
        let mut node = homes.start(0);
        let goal = node.height() + 5;
        node.wait_for_height(goal);
        let seen = node.height();
        node.kill();
        assert!(signed() >= seen, "height {seen} was decided, the file says {}", signed());
    }
    // Without the database, the state file still prevents the key from signing anything again.
    let up_to = signed();
    let data = homes.home(0).join("data");
    fs::rename(data.join("cairn.db"), data.join("away")).unwrap();
    let node = homes.start(0);
    let (status, why) = node.ready();
    assert!(status == 503 && why.contains(&format!("signed at height {up_to}")), "{status} {why}");
    let (code, log) = node.terminate();
    assert_eq!((code, signed()), (Some(0), up_to), "{log}");
}

#[test]
fn without_database_and_signing_state_the_node_starts_with_signed_up_to() {
    let homes = Homes::new(2, Duration::from_millis(50));
    let mut nodes = homes.start_all();
    nodes.iter_mut().for_each(|node| node.wait_for_height(3));
    nodes.pop().unwrap().kill();
    let node = nodes.pop().unwrap();
    let tip = node.height();
    let data = homes.home(1).join("data");
    fs::remove_dir_all(data.join("cairn.db")).unwrap();
    fs::remove_file(data.join("priv_validator_state.json")).unwrap();
    // The other validator may be at the next height already, and have a vote of the killed one for it.
    let last = (tip + 1).to_string();
    for claimed in [last.clone(), "1".to_owned()] {
        let mut lost = Validator::spawn(&homes.home(1), &["--signed-up-to", &claimed]).listening();
        lost.wait_for_height(tip);
        lost.wait_until("it says why it does not sign", |node| {
            node.ready().1.contains(&format!("signed at height {last}"))
        });
        std::thread::sleep(Duration::from_millis(500));
        assert!(node.height() <= tip + 1 && lost.height() <= tip + 1, "two of two are needed");
        let (code, log) = lost.terminate();
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(claimed == "1", log.contains("it stays as it is"), "a lower height lowers nothing: {log}");
        let state = fs::read_to_string(data.join("priv_validator_state.json")).unwrap();
        assert!(state.contains(&format!("\"height\": \"{last}\"")), "{state}");
    }
}

#[test]
fn log_levels_change_while_the_node_runs_and_are_the_configured_ones_after_a_restart() {
    let homes = Homes::new(1, Duration::from_millis(50));
    let mut node = homes.start(0);
    let cairn = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_cairn")).args(args).arg("--home").arg(homes.home(0)).output();
        let output = output.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    node.wait_for_line("committed height=2");
    assert!(cairn(&["log-level", "consensus:none,*:warn"]).0);
    node.wait_for_line("log levels changed");
    // Lines that were in progress may still appear; the following heights must not be logged.
    let goal = node.height() + 3;
    node.wait_for_height(goal);
    node.log.clear();
    assert!(cairn(&["log-level", "info"]).0);
    node.wait_for_line("log levels changed");
    let told = node.log.iter().filter(|line| line.contains(&format!("committed height={goal} "))).count();
    assert_eq!(told, 0, "{:?}", node.log);
    node.wait_for_line("committed height=");
    let (ok, text) = cairn(&["log-level", "loud"]);
    assert!(!ok && text.contains("use trace"), "{text}");
    assert!(cairn(&["log-level", "none"]).0);
    node.kill();
    let (ok, text) = cairn(&["log-level", "info"]);
    assert!(!ok && text.contains("no node runs in"), "{text}");
    let mut node = homes.start(0);
    node.wait_for_line("committed height=");
}

#[test]
fn a_key_file_that_others_may_read_is_one_warning_with_a_remedy() {
    let homes = one();
    let key = homes.home(0).join("config/priv_validator_key.json");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let mut node = homes.start(0);
    node.wait_for_height(1);
    let (code, log) = node.terminate();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("chmod 600")).collect();
    assert_eq!((code, warnings.len()), (Some(0), 1), "{log}");
    assert!(warnings[0].contains(" WARN ") && warnings[0].contains(&format!("file={}", key.display())), "{log}");
}

/// Returns a transfer from an account that does not exist.
fn unpayable(nonce: u64) -> Vec<u8> {
    let key = SecretKey::from_bytes(&[7; 32]).unwrap();
    let body = TxBody {
        chain_id: ChainId::new("processes").unwrap(),
        signer: key.public_key(),
        order: TxOrder::Nonce(nonce),
        fee: 2,
        messages: vec![Msg::Transfer { to: key.public_key().address(), amount: 1 }],
    };
    body.sign(&key).encode()
}

#[test]
fn a_refused_check_of_a_transaction_is_counted_like_a_refused_submission() {
    let homes = one();
    let node = Node::start(Config::load(&homes.home(0), &[]).unwrap()).unwrap();
    let limits = Limits::of_connections(9, 9);
    let payer = Clients::new(limits).enter([127, 0, 0, 1].into()).unwrap();
    let counted = |count| {
        let text = node.metrics().text();
        let line = format!("cometbft_mempool_failed_txs{{chain_id=\"processes\"}} {count}");
        assert!(text.lines().any(|there| there == line), "{line} is missing in\n{text}");
    };
    counted(0);
    node.submitter().check(unpayable(0), payer.clone()).blocking_recv().unwrap().unwrap_err();
    counted(1);
    node.submitter().submit(unpayable(0), payer.clone()).blocking_recv().unwrap().unwrap_err();
    counted(2);
    node.submitter().check(b"no transaction".to_vec(), payer).blocking_recv().unwrap().unwrap_err();
    counted(3);
    node.stop().unwrap();
}

#[test]
fn a_client_pays_for_the_checks_of_its_transactions() {
    let homes = one();
    let node = Node::start(Config::load(&homes.home(0), &[]).unwrap()).unwrap();
    let limits = Limits { cpu_percent: 1, ..Limits::of_connections(9, 9) };
    let clients = Clients::new(limits);
    let [payer, other] = [1, 2].map(|last| clients.enter([127, 0, 0, last].into()).unwrap());
    let check = |number| node.submitter().check(unpayable(number), payer.clone());
    // The burst is 2 s of one percent of a core, that is 20 ms. These checks take much longer, at tens of µs each.
    let checks: Vec<_> = (0..10_000).map(check).collect();
    for check in checks {
        assert!(check.blocking_recv().unwrap().is_err(), "the account is empty");
    }
    let begun = Instant::now();
    while payer.wait().is_zero() {
        assert!(begun.elapsed() < processes::WAIT_MAX, "nobody paid");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(other.wait().is_zero());
    node.stop().unwrap();
}
