//! Describes the machine and measures the time of the basic operations of a validator on it.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use genesis::sender_key;
use node::exit::Failure;
use serde::Serialize;
use types::{Address, ChainId, Msg, TxBody, TxOrder, verify_batch};

/// Number of measurements of each operation; a tenth of it for a batch of signature checks.
const TRIES: usize = 200;
/// Number of signatures in a batch.
const BATCH: u64 = 64;

/// The description and the measured times of a machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the processor, or its architecture if the system does not name the model.
    pub processor: String,
    /// Number of cores that this process may use.
    pub cores: usize,
    /// Operating system and kernel release.
    pub system: String,
    /// Type of the file system that holds the data.
    pub file_system: String,
    /// Median time to append 256 bytes to a file and sync it, in µs.
    pub sync_us: f64,
    /// Median time to check one transaction's signature alone, in µs.
    pub check_us: f64,
    /// Median time per signature when 64 signatures are checked in one batch, in µs.
    pub check_in_batch_us: f64,
    /// Median round trip time of one byte over loopback TCP, in µs.
    pub round_trip_us: f64,
}

impl Machine {
    /// Measures this machine; the measured disk is that of `folder`.
    ///
    /// Errors: a file cannot be written in `folder`, or no data can be sent over loopback.
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
                .map_err(|error| Failure::refused(format!("nothing can be sent over loopback: {error}")))?,
        })
    }

    /// Returns the description as lines of text for people.
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

/// Returns the type of the file system that is mounted nearest above `folder`, from the text of `/proc/mounts`.
fn file_system(mounts: &str, folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        folder.starts_with(at).then(|| (at.len(), kind.to_owned()))
    };
    // If two file systems are mounted at one place, the later one is visible; `max_by_key` returns the last maximum.
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map_or("unknown".to_owned(), |(_, kind)| kind)
}

/// Returns the median times in µs of one signature check alone, and of one in a batch of 64.
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

/// Returns the median time in µs to append 256 bytes to a file in `folder` and sync it.
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

/// Returns the median round trip time in µs of one byte over loopback.
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
    let _ = echo.join(); // this thread ends because its connection was just closed
    result.map(|()| time)
}

/// Runs `work` the given number of times and returns its median duration in µs.
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
    fn the_file_system_is_that_of_the_nearest_mount() {
        let mounts =
            "none / overlay rw 0 0\n/dev/a /data ext4 rw 0 0\ntmpfs /data tmpfs rw 0 0\n/dev/b /da xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/data/x")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/home")), "overlay");
        assert_eq!(file_system("", Path::new("/home")), "unknown");
    }

    #[test]
    fn every_measured_time_of_a_machine_is_above_zero() {
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
