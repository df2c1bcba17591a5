//! Writes logs to standard output, one line per event, for people (`plain`) or programs (`json`).
//!
//! `plain`: `2026-11-23T02:14:47.123Z INFO  consensus  committed height=7 round=0 txs=3`. `json`: the same as one
//! object with `time`, `level`, `module`, `message` and the fields.
//!
//! A separate thread writes the lines from a bounded queue. If a terminal or disk is slow, lines are dropped, reported
//! in the output and counted ([`dropped_lines`]); consensus is never delayed.

use std::{
    fmt::{self, Write as _},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value};
use tracing::{Event, Level, Subscriber, field::Field, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    layer::{Context, SubscriberExt},
    reload,
    util::SubscriberInitExt,
};
use types::{Time, is_plain};

/// Maximum number of lines that wait to be written; further ones are dropped and counted.
const LINES_MAX: usize = 8192;

/// Maximum characters of one line, or of one string in JSON; it also bounds text from peers.
const LINE_CHARS_MAX: usize = 2048;

/// Maximum characters of a wrong level or module that an error repeats.
const SHOWN_CHARS: usize = 80;

/// Modules for which a level can be set, with the crates and targets that belong to each.
const MODULES: [(&str, &[&str]); 7] = [
    ("main", &["main", "node", "cairn"]),
    ("consensus", &["consensus", "replica"]),
    ("p2p", &["p2p"]),
    ("mempool", &["mempool"]),
    ("rpc", &["rpc"]),
    ("state", &["state", "storage", "app"]),
    ("metrics", &["metrics"]),
];

/// Parses levels such as `info` or `consensus:debug,p2p:none,*:info`. `*` is `info` when it is not named.
///
/// Errors: an unknown level or module. The text completes a sentence that begins with the setting and its value.
pub fn parse_levels(text: &str) -> Result<Targets, String> {
    let shown = |text: &str| text.chars().take(SHOWN_CHARS).collect::<String>();
    let level = |name: &str| {
        Ok(match name {
            "trace" => LevelFilter::TRACE,
            "debug" => LevelFilter::DEBUG,
            "info" => LevelFilter::INFO,
            "warn" => LevelFilter::WARN,
            "error" => LevelFilter::ERROR,
            "none" => LevelFilter::OFF,
            other => {
                return Err(format!("{:?} is not a level: use trace, debug, info, warn, error or none", shown(other)));
            }
        })
    };
    let mut all = LevelFilter::INFO;
    let mut single = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match item.split_once(':') {
            None => all = level(item)?,
            Some(("*", name)) => all = level(name)?,
            Some((module, name)) => {
                let Some((_, targets)) = MODULES.iter().find(|(known, _)| *known == module) else {
                    let known: Vec<_> = MODULES.iter().map(|(known, _)| *known).collect();
                    return Err(format!("{:?} is not a module: use * or one of {}", shown(module), known.join(", ")));
                };
                single.push((targets, level(name)?));
            }
        }
    }
    // Libraries log warnings and errors at most, because the rest is for their developers; `trace` for all shows it.
    let libraries = if all == LevelFilter::TRACE { all } else { all.min(LevelFilter::WARN) };
    let ours = MODULES.iter().flat_map(|(_, targets)| targets.iter().map(|target| (*target, all)));
    let single = single.into_iter().flat_map(|(targets, level)| targets.iter().map(move |target| (*target, level)));
    Ok(Targets::new().with_default(libraries).with_targets(ours).with_targets(single))
}

/// Starts logging in this process; a second call has no effect.
///
/// `levels` as in [`parse_levels`]; `format` is `plain` or `json`.
///
/// Errors: those of [`parse_levels`].
pub fn start(levels: &str, format: &str) -> Result<(), String> {
    let (targets, handle) = reload::Layer::new(parse_levels(levels)?);
    let lines = LINES.get_or_init(Lines::start);
    let layer = LogLayer { is_json: format == "json", lines: lines.clone() };
    if tracing_subscriber::registry().with(layer.with_filter(targets)).try_init().is_ok() {
        let _ = LEVELS.set(handle); // only the first call gets here, as a process has one subscriber
    }
    Ok(())
}

/// Changes the log levels of this process.
///
/// Errors: those of [`parse_levels`], or the subscriber is gone; the levels do not change then.
pub fn set_levels(levels: &str) -> Result<(), String> {
    let targets = parse_levels(levels)?;
    if let Some(handle) = LEVELS.get() {
        handle.reload(targets).map_err(|error| error.to_string())?;
    }
    Ok(())
}

static LEVELS: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Returns the file in which `cairn log-level` leaves new levels for a running node, see [`follow_levels`].
pub fn levels_file(data_dir: &Path) -> PathBuf {
    data_dir.join("log_level")
}

/// Maximum bytes that are read from the levels file.
const LEVELS_BYTES_MAX: u64 = 1024;

/// Applies the levels in [`levels_file`] and logs the change, or the reason why they did not change.
pub fn follow_levels(data_dir: &Path) {
    let path = levels_file(data_dir);
    let read = || -> io::Result<String> {
        let mut text = String::new();
        File::open(&path)?.take(LEVELS_BYTES_MAX).read_to_string(&mut text)?;
        Ok(text)
    };
    let changed = read().map_err(|error| error.to_string()).and_then(|text| {
        let levels = text.trim().to_owned();
        set_levels(&levels).map(|()| levels)
    });
    match changed {
        Ok(levels) => tracing::warn!(target: "main", levels, "log levels changed; they last until the next start"),
        Err(reason) => {
            let file = path.display();
            tracing::warn!(
                target: "main", %file, reason,
                "log levels not changed, because this file cannot be used; `cairn log-level` writes a valid one"
            );
        }
    }
}

/// Returns true if this process has started to log.
pub fn is_started() -> bool {
    LINES.get().is_some()
}

/// Waits until all logged lines are written, at most one second.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        let (done, wait) = sync_channel(1);
        if lines.queue.try_send(Line::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(1)); // a writer that hangs must not delay the end
        }
    }
}

/// Returns the number of lines that were dropped since the start because the output was too slow.
pub fn dropped_lines() -> u64 {
    LINES.get().map_or(0, |lines| lines.dropped.load(Ordering::Relaxed))
}

static LINES: OnceLock<Lines> = OnceLock::new();

enum Line {
    Text(String),
    Flush(SyncSender<()>),
}

/// The queue to the thread that writes lines.
#[derive(Clone)]
struct Lines {
    queue: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

impl Lines {
    fn start() -> Self {
        let (queue, lines) = sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_lines(&lines, &counted, io::stdout().lock()))
            .expect("a thread can be started");
        Self { queue, dropped }
    }

    fn push(&self, line: String) {
        if self.queue.try_send(Line::Text(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes lines until all senders are gone. Errors of the output are ignored: the node continues.
fn write_lines(lines: &Receiver<Line>, dropped: &AtomicU64, mut out: impl io::Write) {
    let (mut text, mut reported) = (Vec::new(), 0);
    while let Ok(first) = lines.recv() {
        let mut next = Ok(first);
        let mut done = Vec::new();
        text.clear();
        while let Ok(line) = next {
            match line {
                Line::Text(line) => {
                    text.extend_from_slice(line.as_bytes());
                    text.push(b'\n');
                }
                Line::Flush(sender) => done.push(sender),
            }
            next = if text.len() < 1 << 16 { lines.try_recv() } else { Err(TryRecvError::Empty) };
        }
        let lost = dropped.load(Ordering::Relaxed) - reported;
        if lost > 0 {
            reported += lost;
            text.extend_from_slice(format!("... {lost} lines were dropped: the output is too slow\n").as_bytes());
        }
        let _ = out.write_all(&text).and_then(|()| out.flush());
        for sender in done {
            let _ = sender.try_send(());
        }
    }
}

/// Subscriber layer that turns events into lines.
struct LogLayer {
    is_json: bool,
    lines: Lines,
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = Time::from_unix_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let metadata = event.metadata();
        let module = module_of(metadata.target());
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.lines.push(if self.is_json {
            fields.json(now, metadata.level(), module)
        } else {
            fields.plain(now, metadata.level(), module)
        });
    }
}

/// Returns the module of a target; `p2p::task` belongs to module `p2p`.
fn module_of(target: &str) -> &str {
    let top = target.split("::").next().unwrap_or(target);
    MODULES.iter().find(|(_, targets)| targets.contains(&top)).map_or(top, |(module, _)| *module)
}

#[derive(Default)]
struct Fields {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        } else {
            self.fields.push((field.name(), value));
        }
    }

    fn plain(&self, now: Time, level: &Level, module: &str) -> String {
        let mut line = String::with_capacity(128);
        let _ = write!(line, "{:24} {level:5} {module:9}  ", millis(now));
        line.extend(self.message.chars().map(|c| if is_plain(c) { c } else { ' ' }));
        for (name, value) in &self.fields {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let is_bare = !text.is_empty() && text.chars().all(|c| is_plain(c) && !c.is_whitespace() && c != '"');
            let _ = if is_bare { write!(line, " {name}={text}") } else { write!(line, " {name}={text:?}") };
        }
        cut(line)
    }

    fn json(self, now: Time, level: &Level, module: &str) -> String {
        let mut object = Map::new();
        object.insert("time".to_owned(), millis(now).into());
        object.insert("level".to_owned(), level.to_string().to_ascii_lowercase().into());
        object.insert("module".to_owned(), module.into());
        object.insert("message".to_owned(), cut(self.message).into());
        for (name, value) in self.fields {
            let value = match value {
                Value::String(text) => cut(text).into(),
                other => other,
            };
            object.insert(name.to_owned(), value);
        }
        Value::Object(object).to_string()
    }
}

/// Formats a time as RFC 3339 with three decimals of the second, so that columns are aligned.
fn millis(time: Time) -> String {
    let text = time.to_string();
    let (whole, rest) = text.split_at(text.len().min(19));
    let digits: String = rest.trim_matches(|c| c == '.' || c == 'Z').chars().chain("000".chars()).take(3).collect();
    format!("{whole}.{digits}Z")
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LINE_CHARS_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(targets: &Targets, target: &str) -> LevelFilter {
        let levels = [
            (LevelFilter::TRACE, Level::TRACE),
            (LevelFilter::DEBUG, Level::DEBUG),
            (LevelFilter::INFO, Level::INFO),
            (LevelFilter::WARN, Level::WARN),
            (LevelFilter::ERROR, Level::ERROR),
        ];
        levels
            .into_iter()
            .find(|(_, level)| targets.would_enable(target, level))
            .map_or(LevelFilter::OFF, |(filter, _)| filter)
    }

    #[test]
    fn levels_by_module_in_cometbfts_form() {
        let targets = parse_levels("consensus:debug,p2p:none,*:error").unwrap();
        assert_eq!(level(&targets, "consensus"), LevelFilter::DEBUG);
        assert_eq!(level(&targets, "replica::sync"), LevelFilter::DEBUG);
        assert_eq!(level(&targets, "p2p::task"), LevelFilter::OFF);
        assert_eq!(level(&targets, "rpc"), LevelFilter::ERROR);
        let targets = parse_levels("debug").unwrap();
        assert_eq!((level(&targets, "rpc"), level(&targets, "libp2p_swarm")), (LevelFilter::DEBUG, LevelFilter::WARN));
        assert!(parse_levels("consensus:loud").unwrap_err().contains("use trace"));
        assert!(parse_levels("konsensus:info").unwrap_err().contains("one of main, consensus"));
        // The author of a file of levels may have put anything there.
        for long in ["x".repeat(10_000), format!("{}:info", "x".repeat(10_000))] {
            assert!(parse_levels(&long).unwrap_err().len() < 300);
        }
    }

    fn fields() -> Fields {
        Fields {
            message: "committed\nline".to_owned(),
            fields: vec![("height", 7.into()), ("reason", "two words".into()), ("peer", "ab".into())],
        }
    }

    #[test]
    fn log_lines_are_written_as_text_or_json() {
        let time = Time::parse("2026-11-23T01:02:03.5Z").unwrap();
        assert_eq!(
            fields().plain(time, &Level::INFO, "consensus"),
            "2026-11-23T01:02:03.500Z INFO  consensus  committed line height=7 reason=\"two words\" peer=ab"
        );
        let json: Value = serde_json::from_str(&fields().json(time, &Level::INFO, "consensus")).unwrap();
        assert_eq!(
            (&json["height"], &json["level"], &json["module"]),
            (&7.into(), &"info".into(), &"consensus".into())
        );
    }

    #[test]
    fn lines_dropped_by_a_slow_output_are_counted() {
        let (queue, lines) = sync_channel(2);
        let dropped = Arc::new(AtomicU64::new(0));
        let log = Lines { queue, dropped: dropped.clone() };
        (0..5).for_each(|i| log.push(format!("line {i}")));
        drop(log);
        let mut out = Vec::new();
        write_lines(&lines, &dropped, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "line 0\nline 1\n... 3 lines were dropped: the output is too slow\n");
        assert_eq!(dropped.load(Ordering::Relaxed), 3, "the metric is a total since the start");
    }

    #[test]
    fn a_line_is_bounded() {
        let fields = Fields { message: "x".repeat(10_000), fields: Vec::new() };
        assert!(fields.plain(Time::UNIX_EPOCH, &Level::INFO, "p2p").chars().count() <= LINE_CHARS_MAX + 1);
    }
}
