//! Proves the guarantees of the relay with real sockets on loopback: order, delay, rate, cuts, bounds and robustness.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use faults::relay::{CONNECTIONS_MAX, Control, LINE_BYTES_MAX, LinkSpec, Relay, Settings, serve};

/// Time limit for every expected event, long enough for a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A relay in front of a server, with its control.
struct Setup {
    relay: Arc<Relay>,
    control: Control,
    control_at: SocketAddr,
    at: SocketAddr,
}

/// Starts a relay in front of the server at `target`.
fn relay_to(target: SocketAddr, settings: Settings) -> Setup {
    let link: LinkSpec = format!("a=127.0.0.1:0/{target}").parse().unwrap();
    let relay = Arc::new(Relay::start(&[link], settings).unwrap());
    let control_at = serve(relay.clone(), "127.0.0.1:0").unwrap();
    let at = relay.addresses()[0];
    Setup { relay, control: Control::at(control_at), control_at, at }
}

/// Starts a server that sends back all bytes of each connection and each datagram.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 65_536];
                while let Ok(bytes) = stream.read(&mut buffer) {
                    if bytes == 0 || stream.write_all(&buffer[..bytes]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((bytes, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..bytes], from);
        }
    });
    address
}

fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Returns the time that one byte takes to the server and back.
fn round_trip(stream: &mut TcpStream) -> Duration {
    let sent = Instant::now();
    stream.write_all(&[7]).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    sent.elapsed()
}

fn datagrams(at: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(at).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

#[track_caller]
fn eventually(what: &str, happened: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !happened() {
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        thread::sleep(ms(2));
    }
}

#[test]
fn streams_arrive_whole_in_order_and_no_earlier_than_the_delay() {
    let setup = relay_to(echo(), Settings { delay: ms(30), jitter: ms(20), ..Settings::default() });
    let mut stream = connect(setup.at);
    let took = round_trip(&mut stream);
    assert!(took >= ms(60), "{took:?}");
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let writing = {
        let (mut stream, sent) = (stream.try_clone().unwrap(), sent.clone());
        thread::spawn(move || sent.chunks(1_000).for_each(|chunk| stream.write_all(chunk).unwrap()))
    };
    let mut got = vec![0; sent.len()];
    stream.read_exact(&mut got).unwrap();
    writing.join().unwrap();
    assert!(got == sent, "the bytes differ");
}

#[test]
fn datagrams_arrive_no_earlier_than_the_delay() {
    let setup = relay_to(echo(), Settings { delay: ms(30), ..Settings::default() });
    let socket = datagrams(setup.at);
    let sent = Instant::now();
    for n in 0..50u8 {
        socket.send(&[n; 1_200]).unwrap();
    }
    let mut buffer = [0; 2_000];
    for n in 0..50 {
        assert_eq!(socket.recv(&mut buffer).unwrap(), 1_200);
        assert_eq!(buffer[0], n, "in order");
        assert!(sent.elapsed() >= ms(60));
    }
    // A datagram from another address starts another flow.
    let other = datagrams(setup.at);
    other.send(b"other").unwrap();
    assert_eq!(other.recv(&mut buffer).unwrap(), 5);
    assert!(setup.relay.status().contains("opened=2"), "{}", setup.relay.status());
}

#[test]
fn settings_change_for_existing_connections() {
    let setup = relay_to(echo(), Settings::default());
    let mut stream = connect(setup.at);
    round_trip(&mut stream);
    let said = setup.control.order("a delay=40ms\n").unwrap();
    assert!(said.starts_with("a 127.0.0.1:") && said.contains("delay=40ms"), "{said}");
    assert!(round_trip(&mut stream) >= ms(80));
    setup.control.order("* open").unwrap();
    let fastest = (0..20).map(|_| round_trip(&mut stream)).min().unwrap();
    assert!(fastest < ms(40), "{fastest:?}");
}

#[test]
fn cut_streams_wait_and_continue_when_healed() {
    let setup = relay_to(echo(), Settings::default());
    let mut stream = connect(setup.at);
    round_trip(&mut stream);
    setup.control.order("a cut").unwrap();
    stream.write_all(b"held").unwrap();
    // A client that connects while the link is cut waits, too.
    let mut late = connect(setup.at);
    late.write_all(b"late").unwrap();
    for stream in [&mut stream, &mut late] {
        stream.set_read_timeout(Some(ms(100))).unwrap();
        assert!(stream.read(&mut [0; 4]).is_err(), "nothing passes");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
    }
    assert!(setup.relay.status().contains("opened=1"), "its wish to connect does not pass, either");
    setup.control.order("a heal").unwrap();
    let mut got = [0; 4];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"held");
    late.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"late");
}

#[test]
fn cut_datagrams_are_lost_and_counted() {
    let setup = relay_to(echo(), Settings::default());
    let socket = datagrams(setup.at);
    let mut buffer = [0; 10];
    socket.send(b"before").unwrap();
    assert_eq!(socket.recv(&mut buffer).unwrap(), 6);
    setup.control.order("a cut").unwrap();
    socket.send(b"lost").unwrap();
    eventually("the loss is counted", || setup.relay.status().contains("lost_datagrams=1"));
    setup.control.order("a heal").unwrap();
    socket.send(b"after!!").unwrap();
    assert_eq!(socket.recv(&mut buffer).unwrap(), 7, "and nothing of before the cut");
}

#[test]
fn the_end_of_a_stream_is_forwarded_after_all_its_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = relay_to(listener.local_addr().unwrap(), Settings { delay: ms(20), ..Settings::default() });
    let mut client = connect(setup.at);
    client.write_all(b"last words").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut server = listener.accept().unwrap().0;
    let mut got = String::new();
    server.read_to_string(&mut got).unwrap();
    assert_eq!(got, "last words");
    // The other direction stays open until it ends as well.
    server.write_all(b"answer").unwrap();
    drop(server);
    got.clear();
    client.read_to_string(&mut got).unwrap();
    assert_eq!(got, "answer");
}

#[test]
fn without_a_listener_at_the_target_the_connection_is_closed() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let setup = relay_to(nobody, Settings::default());
    let mut client = connect(setup.at);
    assert!(matches!(client.read(&mut [0; 1]), Ok(0) | Err(_)), "closed");
    // A server that starts to listen there later is found.
    let listener = TcpListener::bind(nobody).unwrap();
    let _client = connect(setup.at);
    listener.accept().unwrap();
}

#[test]
fn the_rate_of_a_link_bounds_the_bytes() {
    let setup = relay_to(echo(), Settings { rate: Some(1_000_000), ..Settings::default() });
    let mut stream = connect(setup.at);
    let sent = Instant::now();
    let writing = {
        let mut stream = stream.try_clone().unwrap();
        thread::spawn(move || stream.write_all(&vec![1; 300_000]).unwrap())
    };
    stream.read_exact(&mut vec![0; 300_000]).unwrap();
    writing.join().unwrap();
    let took = sent.elapsed();
    assert!(took >= ms(300), "{took:?}");
}

#[test]
fn an_unread_stream_fills_its_line_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = relay_to(listener.local_addr().unwrap(), Settings::default());
    let mut client = connect(setup.at);
    let _server = listener.accept().unwrap().0;
    setup.control.order("a delay=60s").unwrap();
    client.set_write_timeout(Some(ms(500))).unwrap();
    let mut taken = 0;
    while let Ok(bytes) = client.write(&[0; 65_536]) {
        taken += bytes;
        // The kernel's own buffers on both sides hold only a few MiB.
        assert!(taken < LINE_BYTES_MAX + 16 * 1024 * 1024, "{taken} bytes and no end");
    }
    assert!(taken >= LINE_BYTES_MAX / 2, "{taken} bytes");
}

#[test]
fn connections_are_bounded_and_places_come_free() {
    let setup = relay_to(echo(), Settings::default());
    let mut held: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| connect(setup.at)).collect();
    for stream in &mut held {
        round_trip(stream);
    }
    let mut one_more = connect(setup.at);
    assert!(matches!(one_more.read(&mut [0; 1]), Ok(0) | Err(_)), "closed at once");
    held.clear();
    eventually("a place comes free", || {
        let mut stream = connect(setup.at);
        stream.write_all(&[1]).is_ok() && matches!(stream.read(&mut [0; 1]), Ok(1))
    });
}

#[test]
fn garbage_at_the_control_changes_nothing_and_ends_nothing() {
    let setup = relay_to(echo(), Settings::default());
    let requests: [&[u8]; 8] = [
        b"",
        b"\0\xff\r\n\r\n",
        b"GET",
        b"DELETE / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 2000000\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\n\xff\xff\xff",
        &[b'x'; 100_000],
    ];
    for request in requests {
        let mut stream = connect(setup.control_at);
        let _ = stream.write_all(request); // the connection may already be closed
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(!said.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&said));
    }
    for (orders, reason) in
        [("", "no lines"), ("b cut", "no link b"), ("a cut\nb cut", "no link b"), ("a x=1", "no setting")]
    {
        let error = setup.control.order(orders).unwrap_err();
        assert!(error.contains(reason), "{orders}: {error}");
    }
    assert!(!setup.control.status().unwrap().contains("cut"), "several orders are executed all or not at all");
    round_trip(&mut connect(setup.at));
}

#[test]
fn garbage_through_a_link_ends_nothing() {
    let setup = relay_to(echo(), Settings { delay: ms(1), ..Settings::default() });
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for seed in 0..4u64 {
            let (stop, rounds, at) = (&stop, &rounds, setup.at);
            scope.spawn(move || {
                let socket = datagrams(at);
                while !stop.load(Ordering::Relaxed) {
                    let mut stream = connect(at);
                    let _ = stream.write_all(&vec![seed as u8; 1_000 * seed as usize]);
                    let _ = socket.send(&vec![seed as u8; 10_000 * seed as usize]); // for seed 0 the datagram is empty
                    rounds.fetch_add(1, Ordering::Relaxed);
                    // The stream is dropped with unread bytes in flight, which causes a reset most of the time.
                }
            });
        }
        eventually("hundreds of connections come and go", || rounds.load(Ordering::Relaxed) > 300);
        stop.store(true, Ordering::Relaxed);
    });
    eventually("an honest one passes", || {
        let mut stream = connect(setup.at);
        stream.write_all(&[1]).is_ok() && matches!(stream.read(&mut [0; 1]), Ok(1))
    });
}

#[test]
fn a_dropped_relay_frees_its_ports() {
    let Setup { relay, at, .. } = relay_to(echo(), Settings::default());
    let mut stream = connect(at);
    round_trip(&mut stream);
    // The control thread holds the relay until the process ends, so the next relay has no control.
    drop(relay);
    let link: LinkSpec = format!("b=127.0.0.1:0/{at}").parse().unwrap();
    let alone = Relay::start(&[link], Settings::default()).unwrap();
    let at = alone.addresses()[0];
    let mut stream = connect(at);
    round_trip(&mut stream);
    drop(alone);
    assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)), "what was connected is closed");
    eventually("the port is free", || UdpSocket::bind(at).is_ok());
}
