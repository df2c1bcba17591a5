//! Locks the home of a node, so that only one process works in it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::exit::{Code, Failure};

/// Maximum time to wait for a killed process to end: the system has to write back and free what it used.
const ENDING_TIME_MAX: Duration = Duration::from_secs(2);

/// Exclusive lock of a home; a second process is refused. It is released when this value is dropped or the process ends
/// in any way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a data folder, and creates the folder when it is absent. Waits up to 2 seconds for a process
    /// that is ending: after killing a node, an operator starts the next command at once.
    ///
    /// Errors: `Code::InUse` when another process holds the lock, with its process id; `Code::Config` or `Code::Disk`
    /// when the folder cannot be used.
    pub fn take(data_dir: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(data_dir).map_err(|error| Failure::home_io(data_dir, "create the folder", &error))?;
        let path = Self::path(data_dir);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| Failure::home_io(&path, "open the lock file", &error))?;
        let deadline = Instant::now() + ENDING_TIME_MAX;
        let locked = loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                locked => break locked,
            }
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.take(20).read_to_string(&mut pid); // the message is useful without the id too
                let pid: String = pid.chars().filter(char::is_ascii_digit).collect();
                let who = if pid.is_empty() { "another process".to_owned() } else { format!("process {pid}") };
                let sentence =
                    format!("{}: {who} works in this home. Stop it first, or use another --home", data_dir.display());
                return Err(Failure::new(Code::InUse, sentence));
            }
            Err(TryLockError::Error(error)) => {
                return Err(Failure::home_io(&path, "lock the file", &error));
            }
        }
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }

    /// Returns the id of the process that holds the lock of a data folder; `None` if no process does.
    pub fn holder(data_dir: &Path) -> Option<u32> {
        let mut file = File::open(Self::path(data_dir)).ok()?;
        if file.try_lock_shared().is_ok() {
            return None; // the id in the file is of a process that has ended
        }
        let mut pid = String::new();
        (&mut file).take(20).read_to_string(&mut pid).ok()?;
        pid.trim().parse().ok()
    }

    fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("cairn.lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused_with_the_pid_of_the_first() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let lock = Lock::take(&data).unwrap();
        let refused = Lock::take(&data).unwrap_err();
        assert_eq!(refused.code, Code::InUse);
        assert!(refused.sentence.contains(&format!("process {} works in this home", std::process::id())), "{refused}");
        assert_eq!(Lock::holder(&data), Some(std::process::id()));
        drop(lock);
        assert_eq!(Lock::holder(&data), None);
        Lock::take(&data).unwrap();
    }

    #[test]
    fn a_process_that_is_ending_is_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let lock = Lock::take(home.path()).unwrap();
        let ending = std::thread::spawn(move || {
            std::thread::sleep(ENDING_TIME_MAX / 10);
            drop(lock);
        });
        Lock::take(home.path()).unwrap();
        ending.join().unwrap();
    }

    #[test]
    fn a_disk_error_is_not_reported_as_a_configuration_error() {
        let code =
            |kind: std::io::ErrorKind| Failure::home_io(Path::new("data"), "open the lock file", &kind.into()).code;
        assert_eq!(code(std::io::ErrorKind::ReadOnlyFilesystem), Code::Disk);
        assert_eq!(code(std::io::ErrorKind::StorageFull), Code::Disk);
        assert_eq!(code(std::io::ErrorKind::PermissionDenied), Code::Config);
    }

    #[test]
    fn a_home_that_is_a_file_is_a_clear_error() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("data");
        std::fs::write(&file, "x").unwrap();
        assert!(Lock::take(&file).unwrap_err().sentence.starts_with(&format!("{}: cannot create", file.display())));
    }
}
