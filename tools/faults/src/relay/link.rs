//! A link of a relay, with its counters and the lines of its connections, and the limit of connections of all links.

use std::{
    io,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::line::{Line, Shared};

/// Maximum number of connections and pairs of UDP addresses, over all links. Further ones are closed at once.
pub const CONNECTIONS_MAX: usize = 128;
/// Timeout for connecting to one address of a target.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// State that all links share.
#[derive(Default)]
pub struct Common {
    /// True if the relay stops.
    pub stop: AtomicBool,
    connections: Arc<AtomicUsize>,
    seed: AtomicU64,
}

/// One of the [`CONNECTIONS_MAX`] connections; its place becomes free when it is dropped.
pub struct Place(Arc<AtomicUsize>);

impl Common {
    /// Returns true if the relay stops.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Takes a place for one connection, if one is free.
    pub fn place(&self) -> Option<Place> {
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

/// A link from a port of the relay to a port of a target.
pub struct Link {
    /// Name of the link.
    pub name: String,
    /// Address where the link listens, with the port that the system chose.
    pub listen: SocketAddr,
    /// Address of the target, whose name is resolved for each connection.
    pub target: String,
    /// Delay, rate and cut of the link.
    pub settings: Arc<Shared>,
    /// Lines of all connections, to wake them when the settings change.
    pub lines: Mutex<Vec<Weak<Line>>>,
    /// Number of connections that were opened.
    pub opened: AtomicU64,
    /// Number of bytes that were forwarded.
    pub passed_bytes: AtomicU64,
    /// Number of datagrams that were lost.
    pub lost_datagrams: AtomicU64,
}

impl Link {
    fn lines(&self) -> MutexGuard<'_, Vec<Weak<Line>>> {
        self.lines.lock().expect("nothing panics while it holds the lock")
    }

    /// Creates a line of this link.
    pub fn line(&self, common: &Common) -> Arc<Line> {
        // The golden ratio as a factor makes the seeds differ in many bits.
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

    /// Calls a function with the line of each open connection.
    pub fn each_line(&self, act: impl Fn(&Line)) {
        self.lines().iter().filter_map(Weak::upgrade).for_each(|line| act(&line));
    }

    /// Counts bytes that the link has forwarded.
    pub fn passed(&self, bytes: usize) {
        self.passed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a datagram that the link has lost.
    pub fn lost(&self) {
        self.lost_datagrams.fetch_add(1, Ordering::Relaxed);
    }

    /// Resolves the target's name now, because its address may change.
    ///
    /// Errors: the I/O error when the name cannot be resolved.
    pub fn target(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(self.target.to_socket_addrs()?.collect())
    }

    /// Connects to the target, at the first of its addresses that accepts.
    ///
    /// Errors: the I/O error of the last address.
    pub fn connect(&self) -> io::Result<TcpStream> {
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

/// Starts a thread with this name.
///
/// Errors: the I/O error when the system refuses a thread.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map(|_| ())
}
