//! Memory, processor time and open files of a process, read from `/proc`: this costs the process nothing and works while it
//! answers no request.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Interval between two looks at a process.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a process uses now, or used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory in bytes.
    pub resident: u64,
    /// Processor time since its start.
    pub cpu: Duration,
    /// Number of open files and sockets.
    pub files: usize,
}

impl Usage {
    /// Reads what a process uses; it must be running.
    pub fn of(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
        Self {
            resident: field(&stat, 21) * node::os::page_bytes() as u64,
            cpu: cpu(&stat),
            files: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count),
        }
    }
}

/// Returns the processor time that a process has used so far in threads of this name.
pub fn cpu_of_threads(pid: u32, name: &str) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let stats = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("stat")).ok()); // others have ended
    stats.filter(|stat| stat.contains(&format!("({name})"))).map(|stat| cpu(&stat)).sum()
}

/// Returns the processor time in a file `stat`: utime and stime.
fn cpu(stat: &str) -> Duration {
    Duration::from_secs_f64((field(stat, 11) + field(stat, 12)) as f64 / node::os::ticks_per_second() as f64)
}

/// Returns a field of a file `stat`, counted after the name in brackets: utime is field 11, stime 12, rss 21.
fn field(stat: &str, index: usize) -> u64 {
    let fields = stat.rsplit(')').next().expect("text has a last part");
    fields.split_whitespace().nth(index).and_then(|field| field.parse().ok()).expect("Linux has this field")
}

/// Looks at a process until it is dropped.
pub struct Watch {
    most: Arc<Mutex<Usage>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to look at a process.
    pub fn start(pid: u32) -> Self {
        let (most, ends) = (Arc::new(Mutex::new(Usage::of(pid))), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (most, ends) = (most.clone(), ends.clone());
            move || {
                while !ends.load(Relaxed) && fs::exists(format!("/proc/{pid}/stat")).unwrap_or(false) {
                    let now = Usage::of(pid);
                    let mut most = most.lock().unwrap();
                    (most.resident, most.files) = (most.resident.max(now.resident), most.files.max(now.files));
                    drop(most);
                    thread::sleep(LOOK_EVERY);
                }
            }
        });
        Self { most, ends, thread: Some(thread) }
    }

    /// Returns the greatest memory and number of files so far.
    pub fn most(&self) -> Usage {
        *self.most.lock().unwrap()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ends.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic there has been printed
        }
    }
}
