//! Reads the processor time of a thread, which std does not offer: the only unsafe code of this crate.
#![allow(unsafe_code)]

use std::time::Duration;

/// Returns the processor time that this thread has used.
pub fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live structure, which the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_of_a_thread_only_grows_with_work() {
        let begun = thread_cpu();
        std::thread::sleep(Duration::from_millis(20));
        assert!(thread_cpu() - begun < Duration::from_millis(20), "sleeping is no work");
        while thread_cpu() == begun {}
    }
}
