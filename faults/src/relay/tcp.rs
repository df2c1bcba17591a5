//! Streams: each connection has two lines, and four threads, of which each waits for one thing.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use super::{Common, Link, Place, line::Line, spawn};

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Pause when the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes connections until the relay stops.
pub fn listen(link: &Arc<Link>, listener: &TcpListener, common: &Arc<Common>) {
    loop {
        let accepted = listener.accept();
        if common.is_stopped() {
            return;
        }
        let Ok((client, _)) = accepted else {
            thread::sleep(PAUSE); // out of descriptors, or the client has gone already
            continue;
        };
        // Without a place, or a thread, the connection is closed.
        if let Some(place) = common.place() {
            let (link, common) = (link.clone(), common.clone());
            let _ = spawn("relay-stream", move || carry(&link, &client, &common, place));
        }
    }
}

/// Carries one connection to its end.
fn carry(link: &Link, client: &TcpStream, common: &Common, _place: Place) {
    let (to, back) = (link.line(common), link.line(common));
    // Nothing gets through a cut, neither does the wish to connect.
    if !to.wait_until_healed() {
        return;
    }
    let Ok(target) = link.connect() else { return };
    link.opened.fetch_add(1, Ordering::Relaxed);
    let target = &target;
    let _ = client.set_nodelay(true).and_then(|()| target.set_nodelay(true)); // slower otherwise, not wrong
    // Where there is no thread for a direction, both end.
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

/// From a socket into a line, until one of them ends.
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
            Err(_) => break, // the other side learns of it as of an end
        }
    }
    line.end();
}

/// From a line into a socket. At the line's end the socket is told of it; when the socket breaks, so does the whole connection.
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
        let _ = into.shutdown(Shutdown::Write); // it may be closed already
    }
}

fn close(one: &TcpStream, other: &TcpStream) {
    let _ = one.shutdown(Shutdown::Both); // closed already, if it fails
    let _ = other.shutdown(Shutdown::Both);
}
