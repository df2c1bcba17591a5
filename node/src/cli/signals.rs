//! Being asked to stop: Ctrl-C, SIGTERM, SIGHUP.

use std::thread;

use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;

/// Calls `told` at each signal, with how many there have been.
///
/// Errors: the system does not let us wait for signals.
pub fn on_each(mut told: impl FnMut(u32) + Send + 'static) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("signals cannot be waited for: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    // Registered here, so that no signal after this kills us.
    let _context = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    drop(_context);
    let wait = move || {
        runtime.block_on(async {
            for count in 1.. {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                told(count);
            }
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map(|_| ()).map_err(failed)
}
