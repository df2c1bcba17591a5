//! Waits that end early when the run is stopped.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::FaultsError;

/// Interval between two checks of a condition.
pub const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// Waits until a flag is set.
///
/// Errors: [`FaultsError::LoadEnded`] when the load has ended before; [`FaultsError::Stopped`] when the run is stopped.
pub fn wait_for(flag: &AtomicBool, has_ended: impl Fn() -> bool, stop: &AtomicBool) -> Result<(), FaultsError> {
    while !flag.load(Ordering::Relaxed) {
        if has_ended() {
            return Err(FaultsError::LoadEnded);
        }
        sleep(LOOK_PERIOD, stop)?;
    }
    Ok(())
}

/// Sleeps for a duration.
///
/// Errors: [`FaultsError::Stopped`] when the run is stopped before.
pub fn sleep(duration: Duration, stop: &AtomicBool) -> Result<(), FaultsError> {
    let until = Instant::now() + duration;
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(FaultsError::Stopped);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(LOOK_PERIOD));
    }
}
