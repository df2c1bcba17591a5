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
        // Fields after the name in brackets: utime is field 11, stime 12, rss 21.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let field = |index: usize| fields[index].parse::<u64>().unwrap();
        Self {
            resident: field(21) * node::os::page_bytes() as u64,
            cpu: Duration::from_secs_f64((field(11) + field(12)) as f64 / node::os::ticks_per_second() as f64),
            files: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count),
        }
    }
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
