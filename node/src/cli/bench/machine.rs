//! The machine, and what it takes for what a validator does most.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use genesis::testnet::sender_key;
use serde::Serialize;
use types::{Address, ChainId, Msg, TxBody, TxOrder, verify_batch};

use crate::cli::failure::Failure;

/// How often each is tried.
const TRIES: usize = 200;
/// Signatures of a batch.
const BATCH: u64 = 64;

/// A machine, measured.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Its processor, as the system calls it.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Its operating system.
    pub system: String,
    /// The kind of file system that the data is on.
    pub file_system: String,
    /// The median time to append 256 bytes to a file and sync it.
    pub sync_us: f64,
    /// The median time to check one signature of a transaction.
    pub check_us: f64,
    /// The same for each of 64 together.
    pub check_in_batch_us: f64,
    /// The median round trip of a byte over loopback.
    pub round_trip_us: f64,
}

impl Machine {
    /// Looks at this machine; the disk is that of `folder`.
    ///
    /// Errors: a file cannot be written there, or nothing can listen at loopback.
    pub fn look(folder: &Path) -> Result<Self, Failure> {
        let (check_us, check_in_batch_us) = checks();
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
        Ok(Self {
            processor: model.map_or(std::env::consts::ARCH, |(_, model)| model.trim()).to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()).trim().to_owned(),
            file_system: file_system(&read("/proc/mounts"), folder),
            sync_us: sync(folder).map_err(|error| Failure::file("written", folder, &error))?,
            check_us,
            check_in_batch_us,
            round_trip_us: round_trip()
                .map_err(|error| Failure::new(format!("nothing can be sent over loopback: {error}")))?,
        })
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let Self { processor, cores, system, file_system, .. } = self;
        vec![
            format!("machine  {processor}, {cores} cores, {system}, {file_system}"),
            format!(
                "units    sync of a file {:.0} µs, signature check {:.0} µs ({:.0} µs in a batch), loopback round trip {:.0} µs",
                self.sync_us, self.check_us, self.check_in_batch_us, self.round_trip_us
            ),
        ]
    }
}

/// The type of the mount that is nearest above `folder`.
fn file_system(mounts: &str, folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        folder.starts_with(at).then(|| (at.len(), kind.to_owned()))
    };
    // Of two at one place, the later one is seen.
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map_or("unknown".to_owned(), |(_, kind)| kind)
}

fn checks() -> (f64, f64) {
    let chain_id = ChainId::new("bench").expect("a name of letters is one");
    let tx = |nonce: u64| {
        let key = sender_key(&chain_id, nonce as u32);
        let body = TxBody {
            chain_id: chain_id.clone(),
            signer: key.public_key(),
            order: TxOrder::Nonce(nonce),
            fee: 1,
            messages: vec![Msg::Transfer { to: Address([1; 20]), amount: 1 }],
        };
        body.sign(&key)
    };
    let txs: Vec<_> = (0..BATCH).map(tx).collect();
    let mut next = txs.iter().cycle();
    let one = median(TRIES, || assert!(next.next().is_some_and(types::Transaction::holds), "signed a moment ago"));
    let many = median(TRIES / 10, || assert!(verify_batch(&txs).iter().all(|holds| *holds), "signed a moment ago"));
    (one, many / BATCH as f64)
}

fn sync(folder: &Path) -> io::Result<f64> {
    let path = folder.join("sync");
    let mut file = File::create(&path)?;
    let mut result = Ok(());
    let time = median(TRIES, || {
        if let Err(error) = file.write_all(&[7; 256]).and_then(|()| file.sync_data()) {
            result = Err(error);
        }
    });
    fs::remove_file(path)?;
    result.map(|()| time)
}

fn round_trip() -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let mut far = listener.accept()?.0;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let echo = thread::spawn(move || {
        let mut byte = [0];
        while far.read_exact(&mut byte).and_then(|()| far.write_all(&byte)).is_ok() {}
    });
    let (mut byte, mut result) = ([0], Ok(()));
    let time = median(TRIES, || {
        if let Err(error) = near.write_all(&byte).and_then(|()| near.read_exact(&mut byte)) {
            result = Err(error);
        }
    });
    drop(near);
    let _ = echo.join(); // its end of the connection has gone
    result.map(|()| time)
}

/// In µs.
fn median(tries: usize, mut work: impl FnMut()) -> f64 {
    let mut times: Vec<Duration> = (0..tries)
        .map(|_| {
            let begun = Instant::now();
            work();
            begun.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_tells_the_file_system() {
        let mounts =
            "none / overlay rw 0 0\n/dev/a /data ext4 rw 0 0\ntmpfs /data tmpfs rw 0 0\n/dev/b /da xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/data/x")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/home")), "overlay");
        assert_eq!(file_system("", Path::new("/home")), "unknown");
    }

    #[test]
    fn a_machine_takes_time_for_everything() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::look(dir.path()).unwrap();
        assert!(
            [machine.sync_us, machine.check_us, machine.check_in_batch_us, machine.round_trip_us]
                .iter()
                .all(|time| *time > 0.0)
        );
        assert!(!dir.path().join("sync").exists() && machine.lines()[0].contains("cores"));
    }
}
