//! Serves requests that only this machine's operator may send to a running node. They arrive on a Unix socket in the
//! data folder, not by the RPC.
//!
//! Each connection carries one request and one answer, each a line of JSON: `{"do":"backup","to":"/path"}`, then
//! `{"done":true}` or `{"error":"…"}`. The socket file has mode 0600. The kernel reports the user of the peer process:
//! only the node's own user and root are served.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use storage::{RocksKv, Store};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
    time::timeout,
};

use crate::{exit::Failure, os};

/// Maximum size of a request in bytes.
const REQUEST_BYTES_MAX: u64 = 16 * 1024;

/// Maximum time that a client may take to write its request.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);

/// Maximum number of concurrent connections; further connections wait.
const CONNECTIONS_MAX: usize = 4;

/// Maximum length of a socket path in bytes that every system accepts. A longer path is reached through a handle of its
/// folder.
const PATH_BYTES_MAX: usize = 100;

/// A request that the operator can send.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Request {
    /// Writes a copy of the store into a folder that does not exist yet.
    Backup { to: PathBuf },
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Answer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    done: bool,
}

fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("cairn.sock")
}

/// Calls `act` with a path to the socket that is not longer than [`PATH_BYTES_MAX`].
///
/// Errors: the data folder cannot be opened, or `act` fails.
fn at_socket<T>(data_dir: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = socket(data_dir);
    if path.as_os_str().as_bytes().len() <= PATH_BYTES_MAX {
        return act(&path);
    }
    let folder = File::open(data_dir)?;
    act(&socket(Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd()))))
}

/// Starts a task on the current runtime that answers requests until the runtime ends. Each request runs on a blocking
/// thread.
///
/// Some network file systems cannot hold a socket. The node then logs a warning and continues without this service.
pub fn serve(data_dir: &Path, store: Arc<Store<RocksKv>>) {
    let bind = |path: &Path| {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {} // a stale file: this process holds the home's lock
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    let listener = match at_socket(data_dir, bind).and_then(tokio::net::UnixListener::from_std) {
        Ok(listener) => listener,
        Err(error) => {
            let file = socket(data_dir);
            tracing::warn!(
                target: "main", file = %file.display(), reason = %error,
                "the socket for local commands cannot be created: `cairn backup` works only while the node is stopped"
            );
            return;
        }
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        loop {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(REQUEST_TIME_MAX).await; // no file handle is left
                continue;
            };
            let store = store.clone();
            tokio::spawn(async move {
                let _place = place;
                if let Err(error) = serve_one(stream, store).await {
                    tracing::debug!(target: "main", reason = %error, "a request on the socket for local commands ended early");
                }
            });
        }
    });
}

async fn serve_one(mut stream: tokio::net::UnixStream, store: Arc<Store<RocksKv>>) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut read = tokio::io::BufReader::new(read.take(REQUEST_BYTES_MAX));
    timeout(REQUEST_TIME_MAX, read.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        _ if user != 0 && user != os::user() => {
            Err("only the node's own user and root may send this request".to_owned())
        }
        Ok(request) => tokio::task::spawn_blocking(move || perform(request, &store)).await.map_err(io::Error::other)?,
        Err(error) => Err(format!("this is not a request: {error}")),
    };
    let answer = Answer { done: answer.is_ok(), error: answer.err() };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}

fn perform(request: Request, store: &Store<RocksKv>) -> Result<(), String> {
    let Request::Backup { to } = request;
    if !to.is_absolute() {
        return Err(format!("{}: give an absolute path", to.display()));
    }
    store.kv().checkpoint(&to).map_err(|error| error.to_string())?;
    tracing::info!(target: "main", to = %to.display(), "a copy of the store was made for `cairn backup`");
    Ok(())
}

/// Asks the node that runs with this data folder to copy its store into the folder `to`, which must not exist.
///
/// Errors: `Code::Refused` when the node cannot be reached or refuses the request, with its reason.
pub fn ask_for_backup(data_dir: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        let socket = socket(data_dir);
        let sentence = format!(
            "{}: the running node cannot be asked for a copy: {error}. Run this command as the node's user, or stop the node first",
            socket.display()
        );
        Failure::new(crate::exit::Code::Refused, sentence)
    };
    let ask = || {
        let mut stream = at_socket(data_dir, |path| UnixStream::connect(path))?;
        let mut line = serde_json::to_vec(&Request::Backup { to: to.to_owned() })?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(serde_json::from_str::<Answer>(&answer)?)
    };
    match ask().map_err(|error: io::Error| failed(&error))? {
        Answer { done: true, .. } => Ok(()),
        Answer { error, .. } => Err(failed(&error.unwrap_or_else(|| "the node gave no reason".to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use types::ChainId;

    use super::*;

    #[test]
    fn the_nodes_user_gets_a_backup_and_malformed_requests_get_an_error() {
        let home = tempfile::tempdir().unwrap();
        for folder in ["data".to_owned(), "x".repeat(120)] {
            let data = home.path().join(folder);
            fs::create_dir(&data).unwrap();
            let kv = RocksKv::open(&data.join("cairn.db")).unwrap();
            let store = Arc::new(Store::open(kv, &ChainId::new("c").unwrap()).unwrap());
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async { serve(&data, store.clone()) });
            assert_eq!(fs::metadata(socket(&data)).unwrap().permissions().mode() & 0o777, 0o600);
            let to = data.join("copy");
            ask_for_backup(&data, &to).unwrap();
            Store::open(RocksKv::open(&to).unwrap(), &ChainId::new("c").unwrap()).unwrap();
            let again = ask_for_backup(&data, &to).unwrap_err();
            assert!(again.sentence.contains(&to.display().to_string()), "{again}");
            let relative = ask_for_backup(&data, Path::new("copy")).unwrap_err();
            assert!(relative.sentence.contains("absolute path"), "{relative}");
            let mut stream = at_socket(&data, |path| UnixStream::connect(path)).unwrap();
            stream.write_all(b"{\"do\":\"dance\"}\n").unwrap();
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer).unwrap();
            assert!(answer.contains("not a request"), "{answer}");
        }
        let unanswered = ask_for_backup(home.path(), Path::new("/tmp/x")).unwrap_err();
        assert!(unanswered.sentence.contains("cannot be asked"), "{unanswered}");
    }
}
