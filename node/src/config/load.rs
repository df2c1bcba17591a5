//! Loads the configuration: defaults < file < environment < flags. Each error names the place of the setting, the
//! setting, and what to do.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;
use toml::Value;
use types::is_plain;

use super::{Config, Section, Setting, foreign};

/// Maximum bytes of a configuration file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The source of a setting's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The default, because no source sets it.
    Default,
    /// The configuration file at this path.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// The command line flag of this name.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// Maximum characters of a name, a value or a reason that an error repeats: a file can have anything in it.
const SHOWN_CHARS: usize = 400;

/// Returns the beginning of a text of the file, without what would control a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|c| is_plain(*c)).take(SHOWN_CHARS).collect()
}

/// The reason why the configuration is refused: a sentence with the place, the setting and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("{}: {}", path.display(), shown(reason))]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The cause, and what to do.
        reason: String,
    },
    /// There is no setting of this name.
    #[error("{origin}: there is no setting {}{}", shown(key), nearest.as_ref().map(|n| format!("; did you mean {n}?")).unwrap_or_default())]
    Unknown {
        /// The source that contains it.
        origin: Origin,
        /// The unknown name as written.
        key: String,
        /// The most similar known setting.
        nearest: Option<String>,
    },
    /// A setting of CometBFT that has no meaning here.
    #[error("{origin}: {} is a setting of CometBFT: {advice}", shown(key))]
    Foreign {
        /// The source that contains it.
        origin: Origin,
        /// The name of the setting.
        key: String,
        /// The advice to the operator.
        advice: &'static str,
    },
    /// The value has the wrong type.
    #[error("{origin}: {} is {}, which is not {expected}", shown(key), shown(got))]
    WrongType {
        /// The source that contains it.
        origin: Origin,
        /// The name of the setting.
        key: String,
        /// The value as written.
        got: String,
        /// A description of valid values.
        expected: &'static str,
    },
    /// The value has the right type but is not usable.
    #[error("{origin}: {key} is {}: {}", shown(got), shown(reason))]
    Invalid {
        /// The source that contains it.
        origin: Origin,
        /// The name of the setting.
        key: String,
        /// The value as written.
        got: String,
        /// The cause, and what to do.
        reason: String,
    },
}

/// CometBFT's two settings that `empty_block_interval` replaces; both forms are accepted.
#[derive(Default)]
struct EmptyBlocks {
    ours: Option<Origin>,
    create: Option<(bool, Origin)>,
    interval: Option<(Duration, Origin)>,
}

impl Origin {
    /// Returns the rank of the source: of two settings that exclude each other, the one with the higher rank applies.
    fn layer(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File(_) => 1,
            Self::Environment(_) => 2,
            Self::Flag(_) => 3,
        }
    }
}

impl EmptyBlocks {
    /// Returns the source of highest rank that uses CometBFT's form.
    fn theirs(&self) -> Option<&Origin> {
        let create = self.create.as_ref().map(|(_, origin)| origin);
        let interval = self.interval.as_ref().map(|(_, origin)| origin);
        create.into_iter().chain(interval).max_by_key(|origin| origin.layer())
    }
}

impl ConfigError {
    fn unread(path: &Path, error: &io::Error) -> Self {
        let way_out = match error.kind() {
            io::ErrorKind::PermissionDenied => ": run this as the node's user",
            _ => "",
        };
        Self::Unreadable { path: path.to_owned(), reason: format!("cannot be read: {error}{way_out}") }
    }
}

impl Config {
    /// Loads the configuration of a home: its file if there is one, this process's environment, and `flags` as
    /// (setting, text): `("rpc.laddr", "tcp://127.0.0.1:26657")`, `("log_level", "debug")`.
    ///
    /// Errors: the file cannot be read, or one of the sources has an unknown or wrong setting.
    pub fn load(home: &Path, flags: &[(String, String)]) -> Result<Self, ConfigError> {
        let path = Self::path_in(home);
        let file = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
                let reason = format!("has {} bytes; a configuration has at most {FILE_BYTES_MAX}", metadata.len());
                return Err(ConfigError::Unreadable { path, reason });
            }
            Ok(_) => std::fs::read_to_string(&path).map_err(|error| ConfigError::unread(&path, &error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(ConfigError::unread(&path, &error)),
        };
        // An environment variable that is not UTF-8 cannot be a setting.
        let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self::read(home, &file, environment, flags)
    }

    /// Builds the configuration from values: the text of the file, the environment and the flags.
    ///
    /// Errors: the text is not TOML, or one of the sources has an unknown or wrong setting.
    pub fn read(
        home: &Path,
        file: &str,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let mut config = Self { home: home.to_owned(), ..Self::default() };
        let mut empty_blocks = EmptyBlocks::default();
        config.read_file(file, &mut empty_blocks)?;
        let mut variables: Vec<_> = environment.into_iter().collect();
        variables.sort();
        for (name, text) in variables {
            if let Some(key) = config.key_of_variable(&name, &text)? {
                config.set(&key, &Raw::Text(&text), Origin::Environment(name), &mut empty_blocks)?;
            }
        }
        for (key, text) in flags {
            config.set(key, &Raw::Text(text), Origin::Flag(key.clone()), &mut empty_blocks)?;
        }
        config.settle_empty_blocks(empty_blocks)?;
        config.check()?;
        Ok(config)
    }

    fn read_file(&mut self, text: &str, empty_blocks: &mut EmptyBlocks) -> Result<(), ConfigError> {
        let path = Self::path_in(&self.home);
        let origin = Origin::File(path.clone());
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            ConfigError::Unreadable { path: path.clone(), reason: format!("line {line}: {}", error.message()) }
        })?;
        for (name, value) in &table {
            let Value::Table(section) = value else {
                self.set(name, &Raw::Value(value), origin.clone(), empty_blocks)?;
                continue;
            };
            if let Some(advice) = foreign::advice(name) {
                return Err(ConfigError::Foreign { origin, key: format!("[{name}]"), advice });
            }
            if !Self::sections().contains(&name.as_str()) {
                let nearest = nearest(name, Self::sections().into_iter()).map(|near| format!("[{near}]"));
                return Err(ConfigError::Unknown { origin, key: format!("[{name}]"), nearest });
            }
            for (key, value) in section {
                self.set(&format!("{name}.{key}"), &Raw::Value(value), origin.clone(), empty_blocks)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, raw: &Raw<'_>, origin: Origin, empty: &mut EmptyBlocks) -> Result<(), ConfigError> {
        let wrong = |expected| ConfigError::WrongType {
            origin: origin.clone(),
            key: key.to_owned(),
            got: raw.to_string(),
            expected,
        };
        match key {
            "consensus.create_empty_blocks" => {
                empty.create = Some((raw.read().ok_or_else(|| wrong(bool::EXPECTED))?, origin));
                return Ok(());
            }
            "consensus.create_empty_blocks_interval" => {
                empty.interval = Some((raw.read().ok_or_else(|| wrong(Duration::EXPECTED))?, origin));
                return Ok(());
            }
            "consensus.empty_block_interval" => empty.ours = Some(origin.clone()),
            _ => {}
        }
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        let set = match section {
            "" => raw.set(&mut self.base, name),
            "rpc" => raw.set(&mut self.rpc, name),
            "p2p" => raw.set(&mut self.p2p, name),
            "mempool" => raw.set(&mut self.mempool, name),
            "consensus" => raw.set(&mut self.consensus, name),
            "blocksync" => raw.set(&mut self.blocksync, name),
            "storage" => raw.set(&mut self.storage, name),
            "instrumentation" => raw.set(&mut self.instrumentation, name),
            _ => None,
        };
        match set {
            Some(Ok(())) => {
                self.origins.insert(key.to_owned(), origin);
                Ok(())
            }
            Some(Err(expected)) => Err(wrong(expected)),
            None => Err(match foreign::advice(key) {
                Some(advice) => ConfigError::Foreign { origin, key: key.to_owned(), advice },
                None => {
                    let known = Self::known_keys();
                    let nearest = nearest(key, known.iter().map(String::as_str)).map(str::to_owned);
                    ConfigError::Unknown { origin, key: key.to_owned(), nearest }
                }
            }),
        }
    }

    /// Returns the setting that an environment variable names; `None` if it is not about settings.
    fn key_of_variable(&mut self, name: &str, text: &str) -> Result<Option<String>, ConfigError> {
        let Some(rest) = name.strip_prefix("CAIRN_") else { return Ok(None) };
        let lower = rest.to_ascii_lowercase();
        let mut known = Self::known_keys();
        known.extend(["consensus.create_empty_blocks", "consensus.create_empty_blocks_interval"].map(str::to_owned));
        if let Some(key) = known.iter().find(|key| key.replace('.', "_") == lower) {
            return Ok(Some(key.clone()));
        }
        if is_service_link(&lower, text) {
            self.passed_over.push(name.to_owned());
            return Ok(None);
        }
        // Other variables such as CAIRN_HOME are ignored; CAIRN_RPC_LADR is a typing error.
        let section = Self::sections().into_iter().find(|section| lower.starts_with(&format!("{section}_")));
        let Some(section) = section else { return Ok(None) };
        let key = format!("{section}.{}", &lower[section.len() + 1..]);
        let origin = Origin::Environment(name.to_owned());
        if let Some(advice) = foreign::advice(&key) {
            return Err(ConfigError::Foreign { origin, key, advice });
        }
        let nearest = nearest(&key, known.iter().map(String::as_str))
            .map(|near| format!("CAIRN_{}", near.replace('.', "_").to_ascii_uppercase()));
        Err(ConfigError::Unknown { origin, key: name.to_owned(), nearest })
    }

    fn settle_empty_blocks(&mut self, empty: EmptyBlocks) -> Result<(), ConfigError> {
        let Some(theirs) = empty.theirs().cloned() else { return Ok(()) };
        if let Some(origin) = empty.ours.filter(|ours| ours.layer() >= theirs.layer()) {
            if origin.layer() > theirs.layer() {
                return Ok(());
            }
            return Err(ConfigError::Invalid {
                origin,
                key: "consensus.empty_block_interval".to_owned(),
                got: "set together with CometBFT's create_empty_blocks".to_owned(),
                reason: "use one of the two".to_owned(),
            });
        }
        self.consensus.empty_block_interval = match (empty.create, empty.interval) {
            (Some((false, _)), _) => None,
            (_, Some((interval, _))) => Some(interval),
            (_, None) => Some(Duration::ZERO), // as in CometBFT: create_empty_blocks alone means at once
        };
        self.origins.insert("consensus.empty_block_interval".to_owned(), theirs);
        Ok(())
    }

    /// Returns the names of environment variables that begin with `CAIRN_` and were passed over as service links.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// Returns the source of a setting's value.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Returns the names of the sections.
    fn sections() -> [&'static str; 7] {
        ["rpc", "p2p", "mempool", "consensus", "blocksync", "storage", "instrumentation"]
    }

    /// Returns all settings as `section.key`: flags and the environment can set these.
    pub fn known_keys() -> Vec<String> {
        fn names<S: Section>(section: &S) -> Vec<String> {
            let dot = if S::NAME.is_empty() { "" } else { "." };
            section.keys().iter().map(|key| format!("{}{dot}{}", S::NAME, key.name)).collect()
        }
        let config = Self::default();
        [
            names(&config.base),
            names(&config.rpc),
            names(&config.p2p),
            names(&config.mempool),
            names(&config.consensus),
            names(&config.blocksync),
            names(&config.storage),
            names(&config.instrumentation),
        ]
        .concat()
    }
}

/// A setting's value in the form in which its source gives it.
enum Raw<'a> {
    Value(&'a Value),
    Text(&'a str),
}

impl Raw<'_> {
    fn read<T: Setting>(&self) -> Option<T> {
        match self {
            Self::Value(value) => T::from_value(value),
            Self::Text(text) => T::from_text(text),
        }
    }

    fn set<S: Section>(&self, section: &mut S, key: &str) -> Option<Result<(), &'static str>> {
        match self {
            Self::Value(value) => section.set_value(key, value),
            Self::Text(text) => section.set_text(key, text),
        }
    }
}

impl fmt::Display for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Value(value) => value.to_string(),
            Self::Text(text) => format!("{text:?}"),
        };
        f.write_str(&text.chars().take(80).collect::<String>())
    }
}

/// Returns true if `rest`, the lower-case name after `CAIRN_`, is a variable that Kubernetes or Docker links set for a
/// service whose name begins with "cairn", such as `CAIRN_RPC_PORT=tcp://10.0.0.7:26657` and
/// `CAIRN_P2P_SERVICE_HOST=10.0.0.7`.
///
/// Source: Kubernetes, "Accessing the Service", environment variables; Docker, "Legacy container links".
fn is_service_link(rest: &str, text: &str) -> bool {
    const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];
    if rest.ends_with("_service_host") || rest.ends_with("_service_port") || rest.contains("_service_port_") {
        return true;
    }
    let is_url = PROTOCOLS.iter().any(|protocol| text.starts_with(&format!("{protocol}://")));
    if rest.ends_with("_port") && is_url {
        return true;
    }
    // The form is _PORT_<number>_<protocol>, alone or with _ADDR, _PORT or _PROTO.
    let Some((_, link)) = rest.split_once("_port_") else { return false };
    let mut words = link.split('_');
    words.next().is_some_and(|number| number.parse::<u16>().is_ok())
        && words.next().is_some_and(|protocol| PROTOCOLS.contains(&protocol))
        && matches!((words.next(), words.next()), (None | Some("addr" | "port" | "proto"), None))
}

/// Maximum bytes of a name for which a similar one is searched: the cost grows with the square, and no setting has as
/// many.
const NEAREST_BYTES_MAX: usize = 80;

/// Returns the name most similar to `name`, if it is close: at most a third of the letters, or two, differ.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NEAREST_BYTES_MAX {
        return None;
    }
    // A key in the wrong section counts as close, however long the names of the sections are.
    let bare = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    known
        .map(|candidate| {
            let whole = strsim::levenshtein(name, candidate);
            let misplaced = if bare(name) == bare(candidate) { 1 } else { usize::MAX };
            // Among equally near candidates, the one with the same first letter is preferred.
            (whole.min(misplaced), name.chars().next() != candidate.chars().next(), candidate)
        })
        .min()
        .filter(|(distance, _, candidate)| *distance <= candidate.len().min(name.len()).div_ceil(3).max(2))
        .map(|(_, _, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        Config::read(Path::new("/home"), file, own(env), &own(flags))
    }

    fn error(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
        read(file, env, flags).unwrap_err().to_string()
    }

    #[test]
    fn an_error_repeats_only_the_beginning_of_what_is_in_the_file_and_nothing_that_controls_a_terminal() {
        let long = "x".repeat(5_000);
        for file in [
            format!("{long} = 1"),
            format!("[{long}]"),
            format!("moniker = [\"{long}\"]"),
            format!("log_level = \"{long}\""),
            format!("\"a\\u001b[2J{long}\" = 1"),
            format!("a = 1\n\"{long}\" = 2\n\"{long}\" = 3"),
        ] {
            let error = error(&file, &[], &[]);
            assert!(error.len() < 1500 && !error.contains('\u{1b}'), "{error}");
        }
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let file = "moniker = \"file\"\n[rpc]\nmax_body_bytes = 7\n[consensus]\nmin_block_interval = \"5ms\"";
        let config = read(file, &[], &[]).unwrap();
        assert_eq!((config.base.moniker.as_str(), config.rpc.max_body_bytes), ("file", 7));
        assert_eq!(config.rpc.max_open_connections, 900, "default");
        let env = [("CAIRN_MONIKER", "env"), ("CAIRN_RPC_MAX_BODY_BYTES", "8"), ("CAIRN_HOME", "/x"), ("PATH", "/bin")];
        let config = read(file, &env, &[("rpc.max_body_bytes", "9")]).unwrap();
        assert_eq!((config.base.moniker.as_str(), config.rpc.max_body_bytes), ("env", 9));
        assert_eq!(config.consensus.min_block_interval, Duration::from_millis(5));
        assert_eq!(config.origin("rpc.max_body_bytes"), Origin::Flag("rpc.max_body_bytes".into()));
        assert_eq!(config.origin("moniker"), Origin::Environment("CAIRN_MONIKER".into()));
        assert_eq!(config.origin("p2p.laddr"), Origin::Default);
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        assert_eq!(
            error("[rpc]\nladdress = \"x\"", &[], &[]),
            "/home/config/config.toml: there is no setting rpc.laddress; did you mean rpc.laddr?"
        );
        assert!(error("[rcp]\nladdr = \"x\"", &[], &[]).ends_with("there is no setting [rcp]; did you mean [rpc]?"));
        assert!(error("[rpc]\nmoniker = \"x\"", &[], &[]).ends_with("did you mean moniker?"));
        assert!(error("zzzzzz = 1", &[], &[]).ends_with("there is no setting zzzzzz"));
        assert_eq!(
            error("", &[("CAIRN_RPC_LADR", "x")], &[]),
            "environment variable CAIRN_RPC_LADR: there is no setting CAIRN_RPC_LADR; did you mean CAIRN_RPC_LADDR?"
        );
        assert!(error("", &[], &[("p2p.sedes", "x")]).starts_with("flag --p2p.sedes: there is no setting p2p.sedes"));
    }

    #[test]
    fn an_unsupported_cometbft_setting_is_refused_with_the_remedy() {
        assert!(error("[consensus]\ntimeout_propose = \"3s\"", &[], &[]).contains("genesis document"));
        assert!(error("[statesync]\nenable = false", &[], &[]).contains("[statesync] is a setting of CometBFT"));
        assert!(error("priv_validator_laddr = \"\"", &[], &[]).contains("remote signers"));
    }

    #[test]
    fn a_wrong_type_names_place_key_value_and_expectation() {
        assert_eq!(
            error("[rpc]\nmax_body_bytes = \"many\"", &[], &[]),
            "/home/config/config.toml: rpc.max_body_bytes is \"many\", which is not a whole number, 0 or more"
        );
        assert!(error("[p2p]\npex = 1", &[], &[]).contains("true or false"));
        assert!(error("[p2p]\ndial_timeout = 3", &[], &[]).contains("a duration"));
        assert!(
            error("", &[("CAIRN_P2P_PEX", "maybe")], &[]).starts_with("environment variable CAIRN_P2P_PEX: p2p.pex")
        );
    }

    #[test]
    fn broken_toml_names_the_line() {
        let text = error("moniker = \"a\"\n[rpc\nladdr = 1", &[], &[]);
        assert!(text.starts_with("/home/config/config.toml: line 2: "), "{text}");
    }

    #[test]
    fn empty_blocks_in_both_dialects() {
        let interval = |file: &str| read(file, &[], &[]).unwrap().consensus.empty_block_interval;
        assert_eq!(interval(""), Some(Duration::from_secs(1)));
        assert_eq!(interval("[consensus]\nempty_block_interval = \"off\""), None);
        assert_eq!(interval("[consensus]\nempty_block_interval = \"0s\""), Some(Duration::ZERO));
        assert_eq!(interval("[consensus]\ncreate_empty_blocks = false"), None);
        assert_eq!(interval("[consensus]\ncreate_empty_blocks = true"), Some(Duration::ZERO));
        assert_eq!(interval("[consensus]\ncreate_empty_blocks_interval = \"5s\""), Some(Duration::from_secs(5)));
        let both = "[consensus]\nempty_block_interval = \"1s\"\ncreate_empty_blocks = true";
        assert!(error(both, &[], &[]).ends_with("use one of the two"));
    }

    #[test]
    fn the_higher_layer_decides_between_the_two_dialects_of_empty_blocks() {
        let interval = |file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]| {
            read(file, env, flags).unwrap().consensus.empty_block_interval
        };
        let written = Config::default().to_commented_toml();
        assert_eq!(interval(&written, &[("CAIRN_CONSENSUS_CREATE_EMPTY_BLOCKS", "false")], &[]), None);
        let seconds = [("CAIRN_CONSENSUS_CREATE_EMPTY_BLOCKS_INTERVAL", "7s")];
        assert_eq!(interval(&written, &seconds, &[]), Some(Duration::from_secs(7)));
        assert_eq!(interval(&written, &seconds, &[("consensus.empty_block_interval", "off")]), None);
        let theirs = "[consensus]\ncreate_empty_blocks = false";
        assert_eq!(
            interval(theirs, &[("CAIRN_CONSENSUS_EMPTY_BLOCK_INTERVAL", "3s")], &[]),
            Some(Duration::from_secs(3))
        );
        let both = [("CAIRN_CONSENSUS_EMPTY_BLOCK_INTERVAL", "3s"), ("CAIRN_CONSENSUS_CREATE_EMPTY_BLOCKS", "false")];
        assert!(error("", &both, &[]).ends_with("use one of the two"));
    }

    #[test]
    fn each_setting_can_be_set_by_its_environment_variable() {
        let toml: toml::Table = Config::default().to_commented_toml().parse().unwrap();
        for key in Config::known_keys() {
            let value = key.split('.').fold(Value::Table(toml.clone()), |value, part| value[part].clone());
            let text = match &value {
                Value::String(text) => text.clone(),
                Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
                other => other.to_string(),
            };
            let name = format!("CAIRN_{}", key.replace('.', "_").to_ascii_uppercase());
            let config = read("", &[(&name, &text)], &[]).unwrap_or_else(|error| panic!("{name}={text}: {error}"));
            assert_eq!(config.origin(&key), Origin::Environment(name.clone()), "{name}");
            assert_eq!(config.to_commented_toml(), Config::default().to_commented_toml(), "{name}={text}");
        }
    }

    #[test]
    fn variables_of_service_links_are_passed_over_and_named() {
        let links = [
            ("CAIRN_P2P_SERVICE_HOST", "10.0.0.7"),
            ("CAIRN_P2P_SERVICE_PORT", "26656"),
            ("CAIRN_P2P_SERVICE_PORT_GOSSIP", "26656"),
            ("CAIRN_RPC_PORT", "tcp://10.0.0.7:26657"),
            ("CAIRN_RPC_PORT_26657_TCP", "tcp://10.0.0.7:26657"),
            ("CAIRN_RPC_PORT_26657_TCP_ADDR", "10.0.0.7"),
            ("CAIRN_RPC_PORT_26657_TCP_PORT", "26657"),
            ("CAIRN_RPC_PORT_26657_TCP_PROTO", "tcp"),
        ];
        let config = read("", &links, &[]).unwrap();
        assert_eq!(config.passed_over().len(), links.len(), "{:?}", config.passed_over());
        assert_eq!(config.rpc, super::super::Rpc::default());
        for (name, text) in [("CAIRN_RPC_PORT", "26657"), ("CAIRN_RPC_PORT_HTTP", "x"), ("CAIRN_RPC_LADR", "tcp://a:1")]
        {
            assert!(error("", &[(name, text)], &[]).contains("there is no setting"), "{name}");
        }
    }

    #[test]
    fn the_written_file_reads_back_as_the_defaults() {
        let text = Config::default().to_commented_toml();
        let config = read(&text, &[], &[]).unwrap();
        assert_eq!(config.to_commented_toml(), text);
        assert_eq!((config.base, config.p2p), (super::super::Base::default(), super::super::P2p::default()));
        assert!(
            text.contains("\n# Address on which this node listens for peers.\nladdr = \"tcp://0.0.0.0:26656\"\n"),
            "{text}"
        );
        assert!(text.contains("\nunsafe = false\n"));
    }
}
