//! Proves with real validators that hostile clients of the RPC do no harm: what they send and what they do not read costs the
//! victim bounded memory, files and processor time; blocks and transactions go on; honest clients of other addresses are
//! answered; and a metric says why something was refused. SECURITY.md has the list of attacks.
//!
//! The attackers share the processor with the validators. So that the long form compares what the validator's own bounds do, and not
//! the scheduler's fairness, the attackers' threads have the lowest priority there (nice 19): they get what the validators leave. The
//! short form bounds what the victim uses, and its attackers have the usual priority, so that a busy machine does not stop them.
#![allow(clippy::print_stdout, reason = "it prints what each attack cost")]

mod hostile;
mod processes;

#[path = "hostile_client/floods.rs"]
mod floods;
#[path = "hostile_client/http.rs"]
mod http;
#[path = "hostile_client/requests.rs"]
mod requests;

use std::{
    net::SocketAddr,
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use hostile::{Bounds, Siege, metric_of, usage};
use processes::WAIT_MAX;
use tokio::runtime::Runtime;

/// Bounds of the victim for an attack from one address, whose budget is half of a core: `rpc.max_client_cpu_percent`. What it may
/// save up, and the honest client, are in the seconds.
const ONE_ADDRESS: Bounds = Bounds { resident_mb: 160, files: 560, cpu_seconds: 5.0, cores: 0.5 };

/// Bounds of the victim when the attack comes from many addresses, which have one core together.
const ADDRESSES: Bounds = Bounds { resident_mb: 192, cores: 1.0, ..ONE_ADDRESS };

/// Bounds of the victim when answers are not read: those of one address may have 128 MiB, and half of a core.
const UNREAD: Bounds = Bounds { resident_mb: 320, ..ONE_ADDRESS };

/// Pause of the honest client between two requests.
const HONEST_PAUSE: Duration = Duration::from_millis(50);

/// Number of transactions of the flood of unfunded ones.
const UNFUNDED_TXS: u32 = 20_000;

/// What an attack needs to know.
pub struct Field {
    /// Socket of the victim's RPC.
    pub rpc: SocketAddr,
    /// URL of the victim's metrics.
    metrics: String,
    /// The height with the largest block.
    pub largest: u64,
    /// Minimum duration of a flood.
    pub time: Duration,
}

impl Field {
    /// Returns a counter or a gauge of the victim: the sum of the series whose labels contain this text.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let page = ureq::get(&self.metrics).call().expect("the metrics are served").into_body().read_to_string();
        metric_of(&page.expect("a text"), name, label)
    }

    /// Returns how often the victim has refused something for this reason.
    pub fn refused(&self, reason: &str) -> f64 {
        self.metric("rpc_refused_total", &format!("reason=\"{reason}\""))
    }

    /// Returns true when a flood that began then has lasted long enough, and `has_shown` what it has to show; panics if that takes
    /// too long.
    pub fn is_over(&self, begun: Instant, has_shown: impl Fn() -> bool) -> bool {
        let shows = begun.elapsed() >= self.time && has_shown();
        assert!(shows || begun.elapsed() < self.time + WAIT_MAX, "the attack does not show what it has to");
        shows
    }
}

/// What an honest client saw during an attack, and what consensus cost.
#[derive(Debug)]
struct Seen {
    /// Latencies of the honest client's requests, sorted.
    latencies: Vec<Duration>,
    /// Heights per second.
    pace: f64,
    /// Processor time of the consensus thread for one height.
    consensus: Duration,
}

impl Seen {
    fn median(&self) -> Duration {
        self.latencies[self.latencies.len() / 2]
    }

    fn late(&self) -> Duration {
        self.latencies[self.latencies.len() * 95 / 100]
    }
}

/// The testnet, the attackers' runtime, and what is measured while nothing attacks.
struct Battle {
    siege: Siege,
    attackers: Runtime,
    field: Field,
    /// True if the attackers get only the processor time that the validators leave.
    give_way: bool,
}

impl Battle {
    /// Starts the validators, the victim with one core for all clients and with these flags, and commits large blocks.
    fn begin(time: Duration, give_way: bool, flags: &[&str]) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let one_core = format!("--rpc.max_cpu_percent={}", 100 / cores);
        let mut siege = Siege::start(&[&["--rpc.max_request_batch_size=10", &one_core], flags].concat());
        siege.through = 0;
        siege.make_blocks();
        let rpc = siege.victim().rpc.trim_start_matches("http://").parse().expect("the log has its address");
        let txs = |height: &u64| siege.victim().call(&format!("block?height={height}"))["block"]["data"]["txs"].clone();
        let largest = (1..=siege.victim().height()).max_by_key(|height| txs(height).as_array().map_or(0, Vec::len));
        let attackers = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_start(move || {
                if give_way {
                    lowest_priority()
                }
            })
            .enable_all()
            .build()
            .unwrap();
        let (largest, metrics) = (largest.expect("blocks were committed"), siege.victim().metrics.clone());
        Self { attackers, field: Field { rpc, metrics, largest, time }, siege, give_way }
    }

    /// Runs an attack, checks its bounds, and that an honest client of another address is answered meanwhile.
    fn endure(&mut self, name: &str, bounds: Bounds, attack: impl AsyncFn(&Field) + Sync) -> Seen {
        let Self { siege, attackers, field, give_way } = self;
        let run = || {
            if *give_way {
                lowest_priority();
            }
            attackers.block_on(attack(field));
        };
        siege.endure(name, bounds, |siege| {
            measured(siege, || {
                thread::scope(|scope| scope.spawn(run).join()).expect("the attack shows what it has to");
            })
        })
    }
}

/// Gives the calling thread the lowest priority.
fn lowest_priority() {
    let thread = std::fs::read_link("/proc/thread-self").expect("Linux has it");
    let id = thread.file_name().expect("the id of the thread").to_string_lossy().into_owned();
    let done = Command::new("renice").args(["-n", "19", "-p", &id]).output();
    assert!(done.is_ok_and(|output| output.status.success()), "the program renice is missing: install it (bsdutils)");
}

/// Runs an action beside an honest client, which asks the victim for its status again and again.
fn measured(siege: &Siege, action: impl FnOnce()) -> Seen {
    let (ends, victim) = (AtomicBool::new(false), siege.victim());
    let (pid, url) = (victim.pid(), format!("{}/status", victim.rpc));
    let consensus = || usage::cpu_of_threads(pid, "consensus");
    let (begun, height, before) = (Instant::now(), victim.height(), consensus());
    let mut latencies = thread::scope(|scope| {
        let _end = hostile::End(&ends);
        let honest = scope.spawn(|| {
            let (agent, mut latencies) = (ureq::Agent::new_with_defaults(), Vec::new());
            while !ends.load(Relaxed) {
                let begun = Instant::now();
                let answer = agent.get(&url).call().expect("an honest client is answered");
                answer.into_body().read_to_vec().expect("the answer is whole");
                latencies.push(begun.elapsed());
                thread::sleep(HONEST_PAUSE);
            }
            latencies
        });
        action();
        ends.store(true, Relaxed);
        honest.join().expect("an honest client is answered")
    });
    latencies.sort_unstable();
    let (took, heights) = (begun.elapsed(), victim.height() - height);
    let seen = Seen {
        pace: heights as f64 / took.as_secs_f64(),
        consensus: (consensus() - before) / (heights as u32).max(1),
        latencies,
    };
    println!(
        "  {:.2} heights per second, {:?} of the consensus thread for one; {} honest requests, median {:?}, 95 % within {:?}",
        seen.pace,
        seen.consensus,
        seen.latencies.len(),
        seen.median(),
        seen.late()
    );
    seen
}

/// Runs all attacks; returns their names with what was seen.
fn attack(battle: &mut Battle) -> Vec<(&'static str, Seen)> {
    let txs = floods::unfunded(UNFUNDED_TXS);
    let mut all = Vec::new();
    let mut endures = |name, seen| all.push((name, seen));
    macro_rules! endures {
        ($bounds:expr, $attack:path) => {{
            let name = stringify!($attack);
            endures(name, battle.endure(name, $bounds, async |field| $attack(field).await));
        }};
    }
    endures!(ADDRESSES, requests::departed_clients);
    endures!(ONE_ADDRESS, requests::slow_requests);
    endures!(ONE_ADDRESS, requests::request_floods);
    endures!(ADDRESSES, requests::malformed_bodies);
    endures!(UNREAD, requests::huge_arguments);
    endures!(ADDRESSES, requests::expensive_calls);
    endures!(Bounds { files: 720, ..ADDRESSES }, floods::ten_thousand_subscriptions);
    endures!(UNREAD, floods::unread_answers);
    let name = "floods::unfunded_transactions";
    endures(name, battle.endure(name, ONE_ADDRESS, async |field| floods::unfunded_transactions(field, &txs).await));
    all
}

#[test]
fn hostile_clients_do_no_harm() {
    // A quarter of the usual budget of bytes, so that it is soon used up.
    let mut battle = Battle::begin(Duration::from_secs(2), false, &["--rpc.max_client_bytes_per_second=4194304"]);
    let quiet = measured(&battle.siege, || thread::sleep(Duration::from_secs(2)));
    for (name, seen) in attack(&mut battle) {
        assert!(
            seen.consensus <= 3 * quiet.consensus + Duration::from_millis(10),
            "{name}: the consensus thread needs {:?} for a height, and {:?} without the attack",
            seen.consensus,
            quiet.consensus
        );
    }
    battle.siege.ends_well();
}

/// Compares the pace of consensus and the latency of an honest client during each attack with those before and after it.
#[test]
#[ignore = "takes minutes, and needs a machine that does nothing else"]
fn hostile_clients_do_not_slow_others_down() {
    let mut battle = Battle::begin(Duration::from_secs(20), true, &[]);
    let rest = |battle: &mut Battle| {
        battle.endure("nothing", ONE_ADDRESS, async |_| tokio::time::sleep(Duration::from_secs(20)).await)
    };
    let first = rest(&mut battle);
    let seen = attack(&mut battle);
    let last = rest(&mut battle);
    println!("\n| attack | heights per second | median latency | 95 % within |\n|---|---|---|---|");
    let rows = [("nothing, before", &first), ("nothing, after", &last)];
    for (name, seen) in rows.into_iter().chain(seen.iter().map(|(name, seen)| (*name, seen))) {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        println!("| {name} | {:.2} | {:.1} ms | {:.1} ms |", seen.pace, ms(seen.median()), ms(seen.late()));
    }
    let (pace, median) = (first.pace.min(last.pace), first.median().max(last.median()));
    for (name, seen) in &seen {
        assert!(seen.pace >= 0.9 * pace, "{name}: {} heights per second, without it {pace}", seen.pace);
        assert!(seen.median() <= 2 * median, "{name}: an honest client waits {:?}, else {median:?}", seen.median());
    }
    battle.siege.ends_well();
}
