//! Proves that commands that need no running node work as documented: help, files, keys, and refusals.

mod program;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use program::{Cairn, json};

/// Returns the permission bits of a file or folder.
fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

#[test]
fn the_help_of_every_command_names_what_matters() {
    let cairn = Cairn::new();
    for (command, teaches) in [
        ("", "cairn testnet"),
        ("init", "keys/alice.json"),
        ("start", "CAIRN_LOG_LEVEL"),
        ("testnet", "26656"),
        ("keys", "not encrypted"),
        ("keys add", "--recover-hex"),
        ("keys export", "--file"),
        ("tx send", "--amount 5"),
        ("tx decode", "base64"),
        ("query", "cairn query block 7"),
        ("query account", "name of its key"),
        ("query tx", "expired"),
        ("query ready", "exit code 0"),
        ("config", "rpc.laddr"),
        ("show-validator", "public key"),
        ("show-node-id", "peers"),
        ("unsafe-reset-all", "sign twice"),
        ("version", "--json"),
        ("relay", "curl"),
        ("faults", "--scenarios kill"),
    ] {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = cairn.run(&args).succeeds();
        assert!(help.contains(teaches), "`cairn {command} --help` should say {teaches:?}:\n{help}");
        assert!(help.contains("--home"), "{command}");
    }
    let long = "--rpc.max_body_bytes";
    assert!(cairn.run(&["start", "--help"]).succeeds().contains(long));
    assert!(!cairn.run(&["start", "-h"]).succeeds().contains(long), "-h is the short one");
}

#[test]
fn wrong_command_lines_end_with_code_2() {
    let cairn = Cairn::new();
    for args in [
        &["no-such-command"][..],
        &["tx", "send", "--from", "alice"],
        &["tx", "send", "--from", "alice", "--to", "bob", "--amount", "0"],
        &["tx", "send", "--from", "alice", "--to", "bob", "--amount", "1", "--expires", "30s"],
        &["tx", "send", "--from", "alice", "--to", "bob", "--amount", "1", "--unordered", "--expires", "soon"],
        &["keys", "add", "Not A Name"],
        &["query", "tx", "beef"],
        &["testnet", "--empty-block-interval", "soon"],
        &["testnet", "--hostname-prefix", "node"],
        &["testnet", "--compose", "--init-only"],
        &["start", "--no.such.setting", "1"],
    ] {
        assert_eq!(cairn.run(args).code, 2, "{args:?}");
    }
}

#[test]
fn the_version_is_the_programs() {
    let cairn = Cairn::new();
    assert!(cairn.run(&["version"]).succeeds().starts_with(concat!("cairn ", env!("CARGO_PKG_VERSION"))));
    let version = json(&cairn.run(&["version", "--json"]).succeeds());
    assert_eq!((&version["name"], &version["version"]), (&"cairn".into(), &env!("CARGO_PKG_VERSION").into()));
    assert!(cairn.run(&["--version"]).succeeds().contains(env!("CARGO_PKG_VERSION")));
    // A program that is built in a git checkout or from an archive of `git archive` reports its commit.
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    if git(&["ls-files", "--error-unmatch", "build.rs"]).is_some() {
        let head = git(&["rev-parse", "HEAD"]).unwrap();
        let commit = version["commit"].as_str().unwrap();
        assert!(head.starts_with(commit.trim_end_matches("-dirty")) && commit.len() >= 12, "{commit} {head}");
        let archive = git(&["archive", "--format=tar", "HEAD", "commit.txt"]).unwrap();
        assert!(archive.contains(&head[..7]) && !archive.contains("$Format"), "{archive}");
    }
}

#[test]
fn init_writes_a_home_once() {
    let cairn = Cairn::new();
    let home = cairn.folder().join("home");
    let args = ["init", "--home", "home", "--chain-id", "mine-1", "--moniker", "me"];
    let said = cairn.run(&args).succeeds();
    assert!(said.contains("mine-1") && said.contains("alice has 1000000000"), "{said}");
    for (file, expected) in [
        ("config/config.toml", 0o644),
        ("config/genesis.json", 0o644),
        ("config/node_key.json", 0o600),
        ("config/priv_validator_key.json", 0o600),
        ("data/priv_validator_state.json", 0o600),
        ("keys/alice.json", 0o600),
    ] {
        assert_eq!(mode(&home.join(file)), expected, "{file}");
    }
    let before = fs::read(home.join("config/priv_validator_key.json")).unwrap();
    let refused = cairn.run(&args).fails();
    assert!(refused.contains("home/config/config.toml is there already"), "{refused}");
    assert_eq!(fs::read(home.join("config/priv_validator_key.json")).unwrap(), before);

    let validator = json(&cairn.run(&["show-validator", "--home", "home"]).succeeds());
    let genesis = json(&fs::read_to_string(home.join("config/genesis.json")).unwrap());
    assert_eq!(validator, genesis["validators"][0]["pub_key"]);
    let id = cairn.run(&["show-node-id", "--home", "home"]).succeeds();
    assert!(id.trim().len() == 40 && id.trim().bytes().all(|c| c.is_ascii_hexdigit()), "{id}");
    assert!(cairn.run(&["config", "--home", "home", "moniker"]).succeeds().starts_with("moniker = \"me\""));
    let from_env =
        cairn.run_with(&["config", "--home", "home", "rpc.laddr"], &[("CAIRN_RPC_LADDR", "tcp://127.0.0.1:1")]);
    assert!(from_env.succeeds().contains("tcp://127.0.0.1:1\"  # environment variable CAIRN_RPC_LADDR"));
}

#[test]
fn the_home_is_the_flag_then_the_environment_then_the_testnet_here_then_the_users() {
    let cairn = Cairn::new();
    let keys =
        |args: &[&str], env: &[(&str, &str)]| cairn.run_with(&[&["keys", "list"], args].concat(), env).succeeds();
    assert!(keys(&[], &[]).contains(&format!("{}/.cairn/keys", cairn.folder().display())));
    cairn.run(&["testnet", "--init-only", "--validators", "1"]).succeeds();
    assert!(keys(&[], &[]).contains("alice"));
    assert!(keys(&[], &[("CAIRN_HOME", "elsewhere")]).contains("elsewhere/keys"));
    assert!(keys(&["--home", "flag"], &[("CAIRN_HOME", "elsewhere")]).contains("flag/keys"));
    let lost = cairn.run(&["show-node-id", "--home", "nowhere"]).fails();
    assert!(lost.contains("nowhere (--home or CAIRN_HOME)") && lost.contains("cairn init"), "{lost}");
}

#[test]
fn commands_that_write_or_remove_never_guess_the_testnet_here() {
    let cairn = Cairn::new();
    cairn.run(&["testnet", "--init-only", "--validators", "1"]).succeeds();
    let refused = cairn.run(&["unsafe-reset-all"]).fails();
    assert!(refused.contains("/.cairn (the default"), "{refused}");
    assert!(refused.contains("--home ./testnet/node0") && !refused.contains("there is no ./testnet"), "{refused}");
    cairn.run(&["init"]).succeeds();
    assert!(cairn.folder().join(".cairn/config/genesis.json").exists());
}

#[test]
fn an_interrupted_init_can_be_repeated() {
    let cairn = Cairn::new();
    let home = cairn.folder().join("home");
    cairn.run(&["init", "--home", "home"]).succeeds();
    // This is the state after a kill between two written files.
    fs::write(home.join(".unfinished"), "").unwrap();
    fs::remove_file(home.join("config/priv_validator_key.json")).unwrap();
    cairn.run(&["init", "--home", "home"]).succeeds();
    assert!(!home.join(".unfinished").exists());
    let genesis = json(&fs::read_to_string(home.join("config/genesis.json")).unwrap());
    let validator = json(&cairn.run(&["show-validator", "--home", "home"]).succeeds());
    assert_eq!(validator, genesis["validators"][0]["pub_key"], "the files are of one run");
    assert!(cairn.run(&["init", "--home", "home"]).fails().contains("is there already"));
}

#[test]
fn a_secret_key_is_not_exported_into_a_folder_that_is_not_there() {
    let cairn = Cairn::new();
    cairn.run(&["init"]).succeeds();
    let refused = cairn.run(&["keys", "export", "alice", "--file", "no/such/alice.json"]).fails();
    assert!(refused.contains("there is no folder no/such"), "{refused}");
    assert!(!cairn.folder().join("no").exists());
    cairn.run(&["keys", "export", "alice", "--file", "alice.json"]).succeeds();
    let again = cairn.run(&["keys", "export", "alice", "--file", "alice.json"]).fails();
    assert!(again.contains("is there already and was left as it is: move it away first"), "{again}");
}

#[test]
fn a_testnets_targets_can_be_read_by_the_user_of_prometheus() {
    let cairn = Cairn::new();
    let made = cairn.command(&["testnet", "--init-only", "--validators", "1"]).output().unwrap();
    assert!(made.status.success());
    let testnet = cairn.folder().join("testnet");
    for (path, expected) in [(".", 0o755), ("prometheus", 0o755), ("prometheus/targets.json", 0o644), ("keys", 0o700)] {
        assert_eq!(mode(&testnet.join(path)), expected, "{path}");
    }
}

#[test]
fn keys_are_made_listed_moved_and_deleted() {
    let cairn = Cairn::new();
    let run = |args: &[&str]| cairn.run(&[&["--home", "h", "keys"], args].concat());
    let made = json(&run(&["add", "dave", "--json"]).succeeds());
    assert_eq!(mode(&cairn.folder().join("h/keys/dave.json")), 0o600);
    assert_eq!(mode(&cairn.folder().join("h/keys")), 0o700);
    assert!(run(&["add", "dave"]).fails().contains("there is a key dave already"));
    run(&["export", "dave", "--file", "moved.json"]).succeeds();
    assert_eq!(mode(&cairn.folder().join("moved.json")), 0o600);
    assert!(run(&["export", "dave", "--file", "moved.json"]).fails().contains("is there already"));
    run(&["import", "erin", "--file", "moved.json"]).succeeds();
    let erin = json(&run(&["show", "erin", "--json"]).succeeds());
    assert_eq!((&erin["address"], &erin["pub_key"]), (&made["address"], &made["pub_key"]));
    assert_eq!(run(&["show", "erin", "--address"]).succeeds().trim(), made["address"].as_str().unwrap());
    let exported = run(&["export", "erin"]).succeeds();
    assert!(json(&exported)["priv_key"]["value"].is_string());
    let piped = cairn.run_with_input(&["--home", "h", "keys", "import", "frank", "--file", "-"], &exported);
    assert!(piped.succeeds().contains(made["address"].as_str().unwrap()));
    let hex = "01".repeat(32);
    let recovered = cairn.run_with_input(&["--home", "h", "keys", "add", "old", "--recover-hex", "-"], &hex).succeeds();
    assert!(recovered.contains("secp256k1"), "{recovered}");
    assert!(run(&["add", "bad", "--recover-hex", "00"]).fails().contains("64 hexadecimal digits"));
    assert_eq!(json(&run(&["list", "--json"]).succeeds()).as_array().unwrap().len(), 4);
    assert!(run(&["delete", "erin"]).fails().contains("say --yes"));
    run(&["delete", "erin", "--yes"]).succeeds();
    let unknown = run(&["show", "erin"]).fails();
    assert!(unknown.contains("no key is called erin in h/keys, there are dave, frank, old"), "{unknown}");
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_a_reader_that_left_is_not() {
    let cairn = Cairn::new();
    cairn.run(&["--home", "h", "keys", "add", "dave"]).succeeds();
    let list = ["--home", "h", "keys", "list"];
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let said: program::Said = cairn.command(&list).stdout(full).stderr(Stdio::piped()).output().unwrap().into();
    assert_eq!(said.code, 74, "{}", said.err);
    assert!(said.err.contains("cannot be written to standard output: No space left"), "{}", said.err);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let said: program::Said = cairn.command(&list).stdout(writer).stderr(Stdio::piped()).output().unwrap().into();
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}

#[test]
fn a_transaction_can_be_read_without_a_node() {
    let cairn = Cairn::new();
    let key = types::SecretKey::from_bytes(&[1; 32]).unwrap();
    let body = types::TxBody {
        chain_id: types::ChainId::new("c-1").unwrap(),
        signer: key.public_key(),
        order: types::TxOrder::Nonce(7),
        fee: 2,
        messages: vec![types::Msg::Transfer { to: types::Address([2; 20]), amount: 5 }],
    };
    let tx = body.sign(&key);
    let hex = data_encoding::HEXUPPER.encode(&types::Wire::encode(&tx));
    let said = cairn.run(&["tx", "decode", &hex]).succeeds();
    assert!(said.contains("transfer 5 to 0202") && said.contains("is the signer's"), "{said}");
    let said = json(&cairn.run(&["tx", "decode", "--json", &hex]).succeeds());
    assert_eq!((&said["hash"], &said["order"]["nonce"]), (&tx.id().to_string().into(), &"7".into()));
    assert!(cairn.run(&["tx", "decode", "zz"]).fails().contains("neither hexadecimal nor base64"));
    assert!(cairn.run(&["tx", "decode", "beef"]).fails().contains("not a transaction"));
}

#[test]
fn commands_without_a_running_node_fail_with_the_remedy() {
    let cairn = Cairn::new();
    cairn.run(&["testnet", "--init-only", "--validators", "1"]).succeeds();
    let free = program::free_ports(1);
    let node = format!("http://127.0.0.1:{free}");
    for args in [
        &["query", "status"][..],
        &["query", "account", "alice"],
        &["query", "block", "7"],
        &["tx", "send", "--from", "alice", "--to", "bob", "--amount", "5"],
    ] {
        let refused = cairn.run(&[args, &["--node", &node]].concat()).fails();
        assert!(
            refused.contains(&node) && refused.contains("cairn testnet") && refused.contains("--node"),
            "{refused}"
        );
    }
    assert!(cairn.run(&["query", "status", "--node", "https://x:1"]).fails().contains("only http"));
    let missing = cairn.run(&["tx", "send", "--from", "zoe", "--to", "bob", "--amount", "5"]).fails();
    assert!(missing.contains("no key is called zoe in ./testnet/keys, there are alice, bob, carol"), "{missing}");
}

#[test]
fn a_testnets_files_are_those_of_a_cometbft_testnet() {
    let cairn = Cairn::new();
    let said = cairn.run(&["testnet", "--validators", "7", "--dir", "./seven", "--init-only"]).succeeds();
    assert!(said.contains("7 validators of chain cairn-testnet in ./seven: written"), "{said}");
    let seven = cairn.folder().join("seven");
    let genesis = fs::read(seven.join("node0/config/genesis.json")).unwrap();
    for index in 0..7 {
        let home = seven.join(format!("node{index}"));
        assert_eq!(fs::read(home.join("config/genesis.json")).unwrap(), genesis, "the same on every node");
        for (file, expected) in [
            ("config/config.toml", 0o644),
            ("config/node_key.json", 0o600),
            ("config/priv_validator_key.json", 0o600),
            ("data/priv_validator_state.json", 0o600),
        ] {
            assert_eq!(mode(&home.join(file)), expected, "{file}");
        }
        let config = fs::read_to_string(home.join("config/config.toml")).unwrap();
        for port in [26656, 26657, 26660] {
            assert!(config.contains(&format!("127.0.0.1:{}\"", port + 10 * index)), "{config}");
        }
    }
    assert!(!seven.join("node7").exists());
    for name in ["alice", "bob", "carol", "validator-0", "validator-6"] {
        assert_eq!(mode(&seven.join(format!("keys/{name}.json"))), 0o600);
    }
    let accounts = json(&String::from_utf8(genesis).unwrap())["app_state"]["accounts"].clone();
    assert_eq!(accounts.as_array().unwrap().len(), 3 + 7);

    let again = cairn.run(&["testnet", "--dir", "./seven", "--init-only"]).succeeds();
    assert!(again.contains("nothing was changed"), "{again}");
    let other = cairn.run(&["testnet", "--validators", "4", "--dir", "./seven", "--init-only"]).fails();
    assert!(other.contains("./seven is there already and has 7 validators, not 4"), "{other}");
}

#[test]
fn a_missing_configuration_is_said_and_keys_are_never_moved_for_it() {
    let cairn = Cairn::new();
    cairn.run(&["init", "--home", "n"]).succeeds();
    fs::remove_file(cairn.folder().join("n/config/config.toml")).unwrap();
    let said = cairn.run(&["start", "--home", "n"]);
    assert_eq!(said.code, 78, "{}", said.err);
    assert!(said.err.contains("n/config/config.toml is missing, but n/config/genesis.json is there"), "{}", said.err);
    cairn.run(&["init", "--home", "new"]).succeeds();
    fs::copy(cairn.folder().join("new/config/config.toml"), cairn.folder().join("n/config/config.toml")).unwrap();
    cairn.run(&["show-node-id", "--home", "n"]).succeeds();
}

/// Breaks one file of a home, runs a command, and expects the file and the field in its error.
#[test]
fn a_broken_file_is_named_with_its_field() {
    let cairn = Cairn::new();
    cairn.run(&["init", "--home", "good"]).succeeds();
    let replace = |from: &'static str, to: &'static str| move |text: String| text.replacen(from, to, 1);
    type Break = Box<dyn Fn(String) -> String>;
    let cases: [(&str, Break, &[&str], &str); 9] = [
        (
            "config/config.toml",
            Box::new(replace("moniker", "monicker")),
            &["show-node-id"],
            "monicker; did you mean moniker?",
        ),
        ("config/config.toml", Box::new(replace("quic = true", "quic = 3")), &["start"], "p2p.quic"),
        ("config/config.toml", Box::new(replace("[rpc]", "[rpc")), &["start"], "line "),
        (
            "config/genesis.json",
            Box::new(replace("\"power\": \"10\"", "\"power\": \"x\"")),
            &["start"],
            "validators[0].power",
        ),
        ("config/genesis.json", Box::new(|_| "{".to_owned()), &["start"], "not JSON"),
        (
            "config/node_key.json",
            Box::new(replace("\"value\": \"", "\"value\": \"A")),
            &["show-node-id"],
            "priv_key.value",
        ),
        (
            "config/priv_validator_key.json",
            Box::new(replace("PubKeySecp256k1", "PubKeyEd25519")),
            &["show-validator"],
            "pub_key.type",
        ),
        ("config/priv_validator_key.json", Box::new(|_| String::new()), &["show-validator"], "not JSON"),
        ("keys/alice.json", Box::new(replace("\"address\": \"", "\"address\": \"00")), &["keys", "list"], "address"),
    ];
    for (file, broken, command, field) in cases {
        let path = cairn.folder().join("good").join(file);
        let good = fs::read_to_string(&path).unwrap();
        let bad = broken(good.clone());
        assert_ne!(good, bad, "{file} was broken");
        fs::write(&path, bad).unwrap();
        let result = cairn.run(&[&["--home", "good"], command].concat());
        let (code, said) = (result.code, result.fails());
        assert!(said.contains(file) && said.contains(field), "{command:?} should name {file} and {field}: {said}");
        assert_eq!(code, 78, "{said}");
        fs::write(&path, good).unwrap();
    }
}

#[test]
fn a_reset_keeps_keys_and_what_they_signed() {
    let cairn = Cairn::new();
    cairn.run(&["init", "--home", "h"]).succeeds();
    let data = cairn.folder().join("h/data");
    let signed = r#"{"height": "41", "round": 1, "step": 2}"#;
    fs::write(data.join("priv_validator_state.json"), signed).unwrap();
    fs::write(cairn.folder().join("h/config/addrbook.json"), "{}").unwrap();
    let key = fs::read(cairn.folder().join("h/config/priv_validator_key.json")).unwrap();
    let said = cairn.run(&["unsafe-reset-all", "--home", "h", "--keep-addr-book"]).succeeds();
    assert!(said.contains("kept: up to height 41, round 1, step 2"), "{said}");
    assert!(cairn.folder().join("h/config/addrbook.json").exists());
    cairn.run(&["unsafe-reset-all", "--home", "h"]).succeeds();
    assert!(!cairn.folder().join("h/config/addrbook.json").exists());
    assert_eq!(fs::read(cairn.folder().join("h/config/priv_validator_key.json")).unwrap(), key);

    // An unreadable database does not prevent a reset if the signing state file records what was signed.
    let damage = || {
        fs::create_dir(data.join("cairn.db")).unwrap();
        fs::write(data.join("cairn.db/CURRENT"), "garbage").unwrap();
    };
    damage();
    let said = cairn.run(&["unsafe-reset-all", "--home", "h"]).succeeds();
    assert!(said.contains("not read") && said.contains("kept: up to height 41, round 1, step 2"), "{said}");
    assert!(!data.join("cairn.db").exists());

    // Without a record in that file, the database may hold the only record, so the reset is refused.
    for state in [None, Some(r#"{"height": "0", "round": 0, "step": 0}"#)] {
        let file = data.join("priv_validator_state.json");
        match state {
            Some(text) => fs::write(file, text).unwrap(),
            None => fs::remove_file(file).unwrap(),
        }
        if !data.join("cairn.db").exists() {
            damage();
        }
        let refused = cairn.run(&["unsafe-reset-all", "--home", "h"]).fails();
        assert!(refused.contains("--forget-what-was-signed"), "{refused}");
        assert!(data.join("cairn.db").exists());
    }
    let said = cairn.run(&["unsafe-reset-all", "--home", "h", "--forget-what-was-signed"]).succeeds();
    assert!(said.contains("deleted, as requested"), "{said}");
    assert!(!data.join("cairn.db").exists());
}

#[test]
fn testnets_for_other_machines_and_for_containers_are_only_written() {
    let cairn = Cairn::new();
    let made = ["testnet", "--init-only", "--validators", "2", "--hostname-prefix", "val-"];
    assert!(cairn.run(&made).succeeds().contains("on its machine"));
    assert!(cairn.run(&made).succeeds().contains("nothing was changed"));
    let laddr = cairn.run(&["config", "p2p.laddr", "--home", "testnet/node1"]).succeeds();
    assert!(laddr.contains("0.0.0.0:26656"), "{laddr}");
    assert!(cairn.run(&["testnet"]).fails().contains("machines of their own"));
    assert!(cairn.run(&["testnet", "--compose"]).fails().contains("the folder of Cairn's sources"));
    let many = cairn.run(&["testnet", "--compose", "--validators", "101"]).fails();
    assert!(many.contains("1 to 100"), "{many}");
}

#[test]
fn a_node_that_is_not_there_is_not_ready() {
    let cairn = Cairn::new();
    let said = cairn.run(&["query", "ready", "--node", "127.0.0.1:1"]);
    assert_eq!(said.code, 1);
    assert!(said.fails().contains("no node answers"));
}

#[test]
fn a_relay_forwards_and_executes_orders_until_it_is_stopped() {
    let echo = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = format!("a=127.0.0.1:0/{}", echo.local_addr().unwrap());
    let cairn = Cairn::new();
    let mut relay = cairn.command(&["relay", &link, "--delay", "20ms", "--control", "127.0.0.1:0"]);
    let mut relay = relay.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(relay.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let control = lines.next().unwrap();
    let control = control.strip_prefix("control at ").unwrap().to_owned();
    let said = lines.next().unwrap();
    assert!(said.starts_with("a 127.0.0.1:") && said.contains("delay=20ms"), "{said}");
    let at = said.split(' ').nth(1).unwrap();

    let sent = Instant::now();
    let mut client = TcpStream::connect(at).unwrap();
    client.write_all(b"there").unwrap();
    let mut server = echo.accept().unwrap().0;
    let mut got = [0; 5];
    server.read_exact(&mut got).unwrap();
    assert!(&got == b"there" && sent.elapsed() >= Duration::from_millis(20));
    let mut answer = ureq::post(&control).send("* open").unwrap();
    assert!(answer.body_mut().read_to_string().unwrap().contains("delay=0ms"));
    assert!(ureq::post(&control).send("b cut").is_err());

    assert!(Command::new("kill").arg(relay.id().to_string()).status().unwrap().success());
    assert!(relay.wait().unwrap().success());
}

#[test]
fn a_wrong_relay_or_run_of_faults_is_refused_before_it_begins() {
    let cairn = Cairn::new();
    assert_eq!(cairn.run(&["relay", "a=127.0.0.1:0"]).code, 2);
    let error = cairn.run(&["relay", "a=127.0.0.1:0/b:1", "a=127.0.0.1:0/c:1"]).fails();
    assert!(error.contains("two links are called a"), "{error}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = cairn.run(&["relay", &format!("a={}/b:1", taken.local_addr().unwrap())]).fails();
    assert!(error.contains("link a: cannot listen at 127.0.0.1:"), "{error}");
    let error = cairn.run(&["relay", "a=127.0.0.1:0/b:1", "--rate", "1"]).fails();
    assert!(error.contains("at least 1000"), "{error}");

    assert_eq!(cairn.run(&["faults", "--scenarios", "x"]).code, 2);
    for (flags, reason) in [
        (["--validators", "3"], "4 to 16"),
        (["--rate", "0"], "use 1 to"),
        (["--rate", "NaN"], "use 1 to"),
        (["--duration", "0"], "1s to 600s"),
        (["--delay", "11s"], "10 s together"),
    ] {
        let error = cairn.run(&[&["faults"][..], &flags].concat()).fails();
        assert!(error.contains(reason), "{error}");
    }
}
