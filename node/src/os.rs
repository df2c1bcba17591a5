//! Wraps the few system calls that std lacks: the only unsafe code of this crate.
//!
//! Scheduling is best effort: where the kernel does not support a request, the call has no effect and reports no error.
#![allow(unsafe_code)]

/// Requested slice of processor time for threads that need low latency, in nanoseconds. The consensus thread mostly
/// waits for the disk and for peers, and has to run as soon as they answer, even beside threads that compute.
#[cfg(target_os = "linux")]
const SLICE_NS: u64 = 500_000;

/// Requests short slices for this thread: it is scheduled sooner and preempted sooner (Linux ≥ 6.12 supports it).
pub fn prefer_latency() {
    #[cfg(target_os = "linux")]
    {
        // The layout is that of linux/sched/types.h, version 0.
        #[repr(C)]
        #[derive(Default)]
        struct SchedAttr {
            size: u32,
            policy: u32,
            flags: u64,
            nice: i32,
            priority: u32,
            runtime: u64,
            deadline: u64,
            period: u64,
        }
        let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, runtime: SLICE_NS, ..SchedAttr::default() };
        // SAFETY: the pointer is to a live structure of the size that it names; the call concerns this thread only.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    }
}

/// Marks this thread as a batch thread for the scheduler: it computes at length and is not urgent.
pub fn compute_at_length() {
    #[cfg(target_os = "linux")]
    {
        let param = libc::sched_param { sched_priority: 0 };
        // SAFETY: the pointer is to a live structure; the call concerns this thread only.
        unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const param) };
    }
}

/// Makes this thread background work: batch scheduling with nice 10.
pub fn work_in_background() {
    compute_at_length();
    #[cfg(target_os = "linux")]
    // SAFETY: plain numbers; on Linux the call concerns the calling thread only.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 10);
    }
}

/// Gives this thread a lower priority than consensus and network (nice 5), so that clients are still served soon.
pub fn serve_clients() {
    #[cfg(target_os = "linux")]
    // SAFETY: plain numbers; on Linux the call concerns the calling thread only.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 5);
    }
}

/// Raises the limit of open files of this process as far as the system allows; returns the resulting limit.
pub fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a live structure, which the first call fills and the second reads.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return OPEN_FILES_UNKNOWN;
        }
        let soft = limit.rlim_cur;
        // A higher limit has no use here, and macOS refuses "unlimited".
        limit.rlim_cur = limit.rlim_max.min(OPEN_FILES_WANTED).max(soft);
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
            limit.rlim_cur = soft;
        }
    }
    limit.rlim_cur
}

/// Number of open files that a node requests; it suffices for the largest reasonable values of all its limits.
const OPEN_FILES_WANTED: u64 = 65_536;

/// Assumed limit of open files where the system reports none: the old POSIX default.
const OPEN_FILES_UNKNOWN: u64 = 256;

/// Ends the process at once, without destructors or hooks, and stops all threads. For broken invariants.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: never returns, and accesses no memory of this program.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Returns the effective user id of this process.
pub fn user() -> u32 {
    // SAFETY: takes no argument and cannot fail.
    unsafe { libc::geteuid() }
}

/// Sends SIGUSR1 to a node process, which then reads its new log levels.
///
/// Errors: the process id is out of range, or the system cannot deliver the signal.
pub fn signal_log_levels(pid: u32) -> std::io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(std::io::Error::other)?;
    // SAFETY: passes and returns plain numbers.
    if unsafe { libc::kill(pid, libc::SIGUSR1) } == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Returns the free bytes for an unprivileged process on the disk that holds `path`, and the size of that disk in
/// bytes.
pub fn disk_space(path: &std::path::Path) -> Option<(u64, u64)> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: all zero is a valid statvfs; the pointers are to live memory, and the path ends with a zero.
    let stat = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &raw mut stat) == 0).then_some(stat)?
    };
    #[allow(clippy::unnecessary_cast, reason = "the types differ between systems")]
    let bytes = |blocks: libc::fsblkcnt_t| (blocks as u64).saturating_mul(stat.f_frsize as u64);
    Some((bytes(stat.f_bavail), bytes(stat.f_blocks)))
}

/// Returns the number of clock ticks per second in `/proc/self/stat`.
pub fn ticks_per_second() -> u64 {
    // SAFETY: passes and returns plain numbers.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100)
}

/// Returns the bytes per page in `/proc/self/statm`.
pub fn page_bytes() -> u64 {
    // SAFETY: passes and returns plain numbers.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheduler_settings_never_panic() {
        let wishes = [prefer_latency, compute_at_length, work_in_background, serve_clients];
        wishes.into_iter().for_each(|wish| std::thread::spawn(wish).join().unwrap());
        assert!(ticks_per_second() > 0 && page_bytes() >= 4096);
    }

    #[test]
    fn some_files_may_be_open() {
        assert!(raise_open_files() >= 64);
    }

    #[test]
    fn a_disk_has_at_most_its_size_free() {
        let (free, total) = disk_space(std::path::Path::new("/")).unwrap();
        assert!(0 < total && free <= total);
        assert_eq!(disk_space(std::path::Path::new("/no/such/place")), None);
    }
}
