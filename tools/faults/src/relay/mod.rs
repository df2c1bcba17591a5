//! A relay: forwards TCP and UDP from its own ports to other ports, and imitates a bad network on the way.
//!
//! ```text
//!                 link `0-1`
//!   node0 ---> [ 7001 ]   line   [ node1:26656 ]        each connection has a line per direction: first a bottleneck
//!         <---            line                  <---     of `rate`, then `delay` and `jitter`; order is kept
//! ```
//! It needs nothing from the kernel and no privileges, and runs wherever Rust does. Its guarantees, each with the test
//! that proves it:
//! - **R1** No data arrives earlier than `delay` after it came, and streams keep their order (`tests/relay.rs`: delay).
//! - **R2** Settings change while the relay runs, also for existing connections (`tests/relay.rs`: cut and heal).
//! - **R3** Memory is bounded: [`LINE_BYTES_MAX`] for each direction of at most [`CONNECTIONS_MAX`] connections. When a
//!   line is full, the sender of a stream waits and a datagram is lost (`line`: a full line).
//! - **R4** The relay keeps running, whatever it receives at a port or at the control (`tests/relay.rs`: garbage).
//!
//! It differs from a network in three ways: it accepts a connection before it connects to the target, so a client
//! learns that the target is down only by silence or by a close; while a link is cut, streams wait and lose nothing, as
//! TCP retransmits in a real network; datagrams keep their order.
//!
//! The relay uses threads and no async runtime: a thread that waits for a time wakes within about 0.1 ms of it, a timer
//! wheel within 1 to 2 ms.

mod control;
mod line;
mod link;
mod settings;
mod tcp;
mod udp;

use std::{
    fmt::Write,
    io,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use thiserror::Error;

pub use control::{Control, serve};
pub use line::LINE_BYTES_MAX;
pub use link::CONNECTIONS_MAX;
pub use settings::{Change, LinkSpec, Order, Settings};

use line::{Line, Shared};
use link::{Common, Link, spawn};

/// Maximum number of links of a relay.
pub const LINKS_MAX: usize = 4_096;

/// Reason why a relay does not start: a sentence that names the cause and the remedy.
#[derive(Debug, Error)]
pub enum RelayError {
    /// The relay cannot listen at this address.
    #[error("link {name}: cannot listen at {listen} ({what}): {error}: choose another address")]
    Listen {
        /// Name of the link, or `control`.
        name: String,
        /// The address with its port.
        listen: String,
        /// The protocol: TCP or UDP.
        what: &'static str,
        /// The error that the system returned.
        error: io::Error,
    },
    /// Two links have the same name, or the number of links is not allowed.
    #[error("{0}")]
    Links(String),
    /// The system refused to start a thread.
    #[error("the system refuses a thread: {0}")]
    Thread(#[from] io::Error),
}

/// A running relay, which stops when it is dropped.
pub struct Relay {
    links: Vec<Arc<Link>>,
    common: Arc<Common>,
}

impl Relay {
    /// Listens at TCP and UDP for each link, and starts to forward with these settings. Port 0 chooses a free port.
    ///
    /// Errors: [`RelayError::Listen`] when an address is in use or not allowed; [`RelayError::Links`] when names are
    /// equal or the number of links is not from 1 to [`LINKS_MAX`]; [`RelayError::Thread`] when no thread can be
    /// started.
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

    /// Returns the address where each link listens, in the order of the links.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.links.iter().map(|link| link.listen).collect()
    }

    /// Executes orders: changes all links that they name. If one name is unknown, no link is changed.
    ///
    /// Errors: a sentence that names the unknown link.
    pub fn obey(&self, orders: &[Order]) -> Result<(), String> {
        for name in orders.iter().filter_map(|order| order.links.as_ref()).flatten() {
            if !self.links.iter().any(|link| link.name == *name) {
                return Err(format!("there is no link {name}: GET lists all links"));
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

    /// Returns one line per link: its settings and its counters.
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
            ); // a `String` accepts every write
        }
        text
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.common.stop.store(true, Ordering::Relaxed);
        for link in &self.links {
            link.each_line(Line::break_off);
            // The threads of the link block until data comes, so a connection and a datagram wake them.
            let mut here = link.listen;
            if here.ip().is_unspecified() {
                here.set_ip(if here.is_ipv4() { [127, 0, 0, 1].into() } else { [0u16, 0, 0, 0, 0, 0, 0, 1].into() });
            }
            let _ = TcpStream::connect_timeout(&here, Duration::from_secs(1));
            let _ = UdpSocket::bind(SocketAddr::new(here.ip(), 0)).and_then(|socket| socket.send_to(&[], here));
        }
    }
}

/// Opens both sockets of a link at the same port.
fn listen(spec: &LinkSpec) -> Result<(TcpListener, UdpSocket), RelayError> {
    let failed = |what, error| RelayError::Listen { name: spec.name.clone(), listen: spec.listen.clone(), what, error };
    let tcp = TcpListener::bind(&spec.listen).map_err(|error| failed("TCP", error))?;
    let address = tcp.local_addr().map_err(|error| failed("TCP", error))?;
    let udp = UdpSocket::bind(address).map_err(|error| failed("UDP", error))?;
    Ok((tcp, udp))
}
