//! Forwards datagrams. The datagrams from one client address are a flow, which has its own socket towards the target.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    line::Line,
    link::{Common, Link, Place, spawn},
};

/// Maximum size of a datagram in bytes.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Time without datagrams after which a flow ends.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Interval at which a flow that waits for its target checks whether it must end.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

struct Flow {
    to: Arc<Line>,
    back: Arc<Line>,
    last_used: Mutex<Instant>,
    is_over: AtomicBool,
}

impl Flow {
    fn touch(&self) {
        *self.last_used.lock().expect("nothing panics while it holds the lock") = Instant::now();
    }

    fn is_idle(&self) -> bool {
        self.last_used.lock().expect("nothing panics while it holds the lock").elapsed() > IDLE_MAX
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.to.break_off();
        self.back.break_off();
    }
}

/// Receives datagrams until the relay stops.
pub fn listen(link: &Arc<Link>, socket: &Arc<UdpSocket>, common: &Arc<Common>) {
    let mut flows: HashMap<SocketAddr, Arc<Flow>> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let received = socket.recv_from(&mut buffer);
        if common.is_stopped() {
            return;
        }
        // An error here is about a datagram that was sent earlier, so it is ignored.
        let Ok((bytes, client)) = received else { continue };
        flows.retain(|_, flow| !flow.is_over.load(Ordering::Relaxed));
        if !flows.contains_key(&client)
            && let Some(flow) = begin(link, socket, common, client)
        {
            flows.insert(client, flow);
        }
        let Some(flow) = flows.get(&client) else {
            link.lost();
            continue;
        };
        flow.touch();
        if !flow.to.offer(buffer[..bytes].to_vec()) {
            link.lost();
        }
    }
}

/// Starts a new flow. Returns `None` if there is no free place or thread for it.
fn begin(link: &Arc<Link>, socket: &Arc<UdpSocket>, common: &Arc<Common>, client: SocketAddr) -> Option<Arc<Flow>> {
    let place = common.place()?;
    let (to, back) = (link.line(common), link.line(common));
    let flow = Arc::new(Flow { to, back, last_used: Mutex::new(Instant::now()), is_over: AtomicBool::new(false) });
    let (link, socket, of_thread) = (link.clone(), socket.clone(), flow.clone());
    let run = move || {
        let _: Place = place;
        // Without a connection to the target, the datagrams of the flow are lost.
        if let Ok(target) = connect(&link) {
            link.opened.fetch_add(1, Ordering::Relaxed);
            carry(&link, &of_thread, &socket, client, &target);
        }
        of_thread.end();
    };
    spawn("relay-flow", run).ok().map(|()| flow)
}

/// Opens a socket that exchanges datagrams with the target only.
fn connect(link: &Link) -> io::Result<UdpSocket> {
    let target = link.target()?.into_iter().next();
    let target = target.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let any = if target.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(LOOK_PERIOD))?;
    Ok(socket)
}

/// Forwards the datagrams of a flow until its end.
fn carry(link: &Link, flow: &Flow, socket: &UdpSocket, client: SocketAddr, target: &UdpSocket) {
    let send_to = || send(link, flow, &flow.to, |bytes| target.send(bytes));
    let send_back = || send(link, flow, &flow.back, |bytes| socket.send_to(bytes, client));
    let threads: [&(dyn Fn() + Sync); 2] = [&send_to, &send_back];
    thread::scope(|scope| {
        for run in threads {
            if thread::Builder::new().name("relay-send".to_owned()).spawn_scoped(scope, run).is_err() {
                flow.end();
            }
        }
        receive(link, flow, target);
    });
}

fn send(link: &Link, flow: &Flow, line: &Line, send: impl Fn(&[u8]) -> io::Result<usize>) {
    while let Some(bytes) = line.take_datagram() {
        match send(&bytes) {
            Ok(_) => link.passed(bytes.len()),
            // No program listens there. The flow ends, so that the next datagram resolves the target again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => flow.end(),
            Err(_) => link.lost(),
        }
    }
}

fn receive(link: &Link, flow: &Flow, target: &UdpSocket) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while !flow.is_over.load(Ordering::Relaxed) && !flow.to.is_broken() {
        match target.recv(&mut buffer) {
            Ok(bytes) => {
                flow.touch();
                if !flow.back.offer(buffer[..bytes].to_vec()) {
                    link.lost();
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if flow.is_idle() {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    flow.end();
}
