//! Forwards streams. Each connection has two lines and four threads, and each thread waits for one thing only.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use super::{
    line::Line,
    link::{Common, Link, Place, spawn},
};

/// Maximum number of bytes of one read.
const READ_BYTES: usize = 64 * 1024;
/// Pause after the system could not accept a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until the relay stops.
pub fn listen(link: &Arc<Link>, listener: &TcpListener, common: &Arc<Common>) {
    loop {
        let accepted = listener.accept();
        if common.is_stopped() {
            return;
        }
        let Ok((client, _)) = accepted else {
            // The process has no free descriptors, or the client has already disconnected.
            thread::sleep(PAUSE);
            continue;
        };
        // If there is no free place or thread, the connection is closed here.
        if let Some(place) = common.place() {
            let (link, common) = (link.clone(), common.clone());
            let _ = spawn("relay-stream", move || carry(&link, &client, &common, place));
        }
    }
}

/// Forwards one connection until its end.
fn carry(link: &Link, client: &TcpStream, common: &Common, _place: Place) {
    let (to, back) = (link.line(common), link.line(common));
    // The relay does not connect to the target while the link is cut, as no packet would pass.
    if !to.wait_until_healed() {
        return;
    }
    let Ok(target) = link.connect() else { return };
    link.opened.fetch_add(1, Ordering::Relaxed);
    let target = &target;
    let _ = client.set_nodelay(true).and_then(|()| target.set_nodelay(true)); // an error here makes it slower, not wrong
    // If a thread for one direction cannot be started, both directions end.
    let end = || {
        to.break_off();
        back.break_off();
        close(client, target);
    };
    let read_back = || read(target, &back);
    let write_to = || write(link, &to, target, client);
    let write_back = || write(link, &back, client, target);
    let threads: [(&str, &(dyn Fn() + Sync)); 3] =
        [("relay-read", &read_back), ("relay-write", &write_to), ("relay-write", &write_back)];
    thread::scope(|scope| {
        for (name, run) in threads {
            if thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, run).is_err() {
                end();
            }
        }
        read(client, &to);
    });
}

/// Reads from a socket into a line, until one of them ends.
fn read(mut from: &TcpStream, line: &Line) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => {
                if !line.push(buffer[..bytes].to_vec()) {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break, // the other side sees this as the end of the stream
        }
    }
    line.end();
}

/// Writes from a line into a socket. At the end of the line it closes the socket's write side. If the socket breaks,
/// the whole connection is closed.
fn write(link: &Link, line: &Line, mut into: &TcpStream, from: &TcpStream) {
    while let Some(bytes) = line.take() {
        if into.write_all(&bytes).is_err() {
            line.break_off();
            break;
        }
        link.passed(bytes.len());
    }
    if line.is_broken() {
        close(into, from);
    } else {
        let _ = into.shutdown(Shutdown::Write); // the socket may already be closed
    }
}

fn close(one: &TcpStream, other: &TcpStream) {
    let _ = one.shutdown(Shutdown::Both); // an error means that it is closed already
    let _ = other.shutdown(Shutdown::Both);
}
