//! A relay: forwards TCP and UDP from ports of its own to others' ports, and does to what passes what a bad network does.
//!
//! ```text
//!                 link `0-1`
//!   node0 ---> [ 7001 ]   line   [ node1:26656 ]        each connection has a line for each direction: first a bottleneck
//!         <---            line                  <---     of `rate`, then `delay` and `jitter`; order is kept
//! ```
//! It needs nothing of the kernel, no rights, and runs wherever Rust does. What it promises, each with the test that holds it:
//! - **R1** Nothing arrives earlier than `delay` after it came, and streams keep their order (`tests/relay.rs`: delay).
//! - **R2** Settings change while it runs, also for what is connected (`tests/relay.rs`: cut and heal).
//! - **R3** Memory is bounded: [`LINE_BYTES_MAX`] for each direction of at most [`CONNECTIONS_MAX`] connections. Full, a stream's sender
//!   waits and a datagram is lost (`line`: a full line).
//! - **R4** Whatever comes in, at a port or at the control, it goes on (`tests/relay.rs`: garbage).
//!
//! Where it differs from a network: a connection is accepted before the target is asked, so a dialer learns by silence or by a close
//! that nobody is there; while a link is cut, streams wait and lose nothing, as TCP does below them. Datagrams keep their order.
//!
//! Threads, no async runtime: a thread that waits for a moment wakes within some 0.1 ms of it, a timer wheel within 1 to 2 ms.

mod control;
mod line;
mod settings;
mod tcp;
mod udp;

use std::{
    fmt::Write,
    io,
    net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use thiserror::Error;

pub use control::{Control, serve};
pub use line::LINE_BYTES_MAX;
pub use settings::{Change, LinkSpec, Order, Settings};

use line::{Line, Shared};

/// Connections, and pairs of UDP addresses, of all links together. More are closed at once.
pub const CONNECTIONS_MAX: usize = 128;
/// Links of a relay.
pub const LINKS_MAX: usize = 4_096;
/// Time for a connection to a target.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Why a relay does not start: a sentence with the way out.
#[derive(Debug, Error)]
pub enum RelayError {
    /// Nobody can listen there.
    #[error("link {name}: cannot listen at {listen} ({what}): {error}: choose another address")]
    Listen {
        /// The link.
        name: String,
        /// Where.
        listen: String,
        /// TCP or UDP.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Two links have one name, or there are none or too many.
    #[error("{0}")]
    Links(String),
    /// The system gave no thread.
    #[error("the system refuses a thread: {0}")]
    Thread(#[from] io::Error),
}

/// A running relay; it stops when dropped.
pub struct Relay {
    links: Vec<Arc<Link>>,
    common: Arc<Common>,
}

/// What all links share.
#[derive(Default)]
struct Common {
    stop: AtomicBool,
    connections: Arc<AtomicUsize>,
    seed: AtomicU64,
}

/// A place among [`CONNECTIONS_MAX`].
struct Place(Arc<AtomicUsize>);

impl Common {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn place(&self) -> Option<Place> {
        if self.connections.fetch_add(1, Ordering::Relaxed) < CONNECTIONS_MAX {
            return Some(Place(self.connections.clone()));
        }
        self.connections.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A way from a port of ours to somebody's.
struct Link {
    name: String,
    /// Where it listens, with the port that it got.
    listen: SocketAddr,
    target: String,
    settings: Arc<Shared>,
    /// Of all connections, to wake them when settings change.
    lines: Mutex<Vec<Weak<Line>>>,
    opened: AtomicU64,
    passed_bytes: AtomicU64,
    lost_datagrams: AtomicU64,
}

impl Link {
    fn lines(&self) -> MutexGuard<'_, Vec<Weak<Line>>> {
        self.lines.lock().expect("nothing panics while it holds the lock")
    }

    /// A new line of this link.
    fn line(&self, common: &Common) -> Arc<Line> {
        // Golden ratio: seeds far apart.
        let seed = common.seed.fetch_add(1, Ordering::Relaxed).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let line = Arc::new(Line::new(self.settings.clone(), seed));
        let mut lines = self.lines();
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(&line));
        if common.is_stopped() {
            line.break_off();
        }
        line
    }

    fn each_line(&self, act: impl Fn(&Line)) {
        self.lines().iter().filter_map(Weak::upgrade).for_each(|line| act(&line));
    }

    fn passed(&self, bytes: usize) {
        self.passed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn lost(&self) {
        self.lost_datagrams.fetch_add(1, Ordering::Relaxed);
    }

    /// Where the target is now: names may move.
    fn target(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(self.target.to_socket_addrs()?.collect())
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.target()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIME_MAX) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Relay {
    /// Listens for each link, TCP and UDP, and begins to forward with these settings. A port of 0 picks a free one.
    ///
    /// Errors: somebody listens there already, or links cannot be told apart.
    pub fn start(specs: &[LinkSpec], settings: Settings) -> Result<Self, RelayError> {
        if !(1..=LINKS_MAX).contains(&specs.len()) {
            return Err(RelayError::Links(format!("{} links: a relay has 1 to {LINKS_MAX}", specs.len())));
        }
        let mut relay = Self { links: Vec::new(), common: Arc::default() };
        for spec in specs {
            if relay.links.iter().any(|link| link.name == spec.name) {
                return Err(RelayError::Links(format!("two links are called {}: give each a name", spec.name)));
            }
            let (tcp, udp) = listen(spec)?;
            let link = Arc::new(Link {
                name: spec.name.clone(),
                listen: tcp.local_addr()?,
                target: spec.target.clone(),
                settings: Arc::new(Shared::new(settings)),
                lines: Mutex::default(),
                opened: AtomicU64::new(0),
                passed_bytes: AtomicU64::new(0),
                lost_datagrams: AtomicU64::new(0),
            });
            relay.links.push(link.clone());
            let (of_tcp, common) = (link.clone(), relay.common.clone());
            spawn("relay-tcp", move || tcp::listen(&of_tcp, &tcp, &common))?;
            let common = relay.common.clone();
            spawn("relay-udp", move || udp::listen(&link, &Arc::new(udp), &common))?;
        }
        Ok(relay)
    }

    /// Where each link listens, in the order given.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.links.iter().map(|link| link.listen).collect()
    }

    /// Changes links, all that the orders name or, if one of them is wrong, none.
    ///
    /// Errors: there is no link of this name.
    pub fn obey(&self, orders: &[Order]) -> Result<(), String> {
        for name in orders.iter().filter_map(|order| order.links.as_ref()).flatten() {
            if !self.links.iter().any(|link| link.name == *name) {
                return Err(format!("there is no link {name}: ask with GET which there are"));
            }
        }
        for order in orders {
            let is_meant = |link: &&Arc<Link>| order.links.as_ref().is_none_or(|names| names.contains(&link.name));
            for link in self.links.iter().filter(is_meant) {
                link.settings.set(link.settings.get().with(&order.changes));
                link.each_line(Line::wake);
            }
        }
        Ok(())
    }

    /// A line for each link: its settings and what has passed.
    pub fn status(&self) -> String {
        let mut text = String::new();
        for link in &self.links {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let (opened, passed, lost) = (count(&link.opened), count(&link.passed_bytes), count(&link.lost_datagrams));
            let _ = writeln!(
                text,
                "{} {} to {}: {} opened={opened} passed_bytes={passed} lost_datagrams={lost}",
                link.name,
                link.listen,
                link.target,
                link.settings.get()
            ); // a String takes all
        }
        text
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.common.stop.store(true, Ordering::Relaxed);
        for link in &self.links {
            link.each_line(Line::break_off);
            // Their threads wait for somebody to come.
            let mut here = link.listen;
            if here.ip().is_unspecified() {
                here.set_ip(if here.is_ipv4() { [127, 0, 0, 1].into() } else { [0u16, 0, 0, 0, 0, 0, 0, 1].into() });
            }
            let _ = TcpStream::connect_timeout(&here, Duration::from_secs(1));
            let _ = UdpSocket::bind(SocketAddr::new(here.ip(), 0)).and_then(|socket| socket.send_to(&[], here));
        }
    }
}

/// Both sockets of a link, at one port.
fn listen(spec: &LinkSpec) -> Result<(TcpListener, UdpSocket), RelayError> {
    let failed = |what, error| RelayError::Listen { name: spec.name.clone(), listen: spec.listen.clone(), what, error };
    let tcp = TcpListener::bind(&spec.listen).map_err(|error| failed("TCP", error))?;
    let address = tcp.local_addr().map_err(|error| failed("TCP", error))?;
    let udp = UdpSocket::bind(address).map_err(|error| failed("UDP", error))?;
    Ok((tcp, udp))
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map(|_| ())
}
