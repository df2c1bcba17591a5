//! The signals that ask a command to stop: Ctrl-C, SIGTERM, SIGHUP.

use node::{exit::Failure, signals};
use tokio::signal::unix::SignalKind;

/// Calls `handler` for each signal, on a separate thread, with the number of signals so far.
///
/// Errors: the system refuses to deliver signals to this process.
pub fn on_each(mut handler: impl FnMut(u32) + Send + 'static) -> Result<(), Failure> {
    let mut count = 0;
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    signals::on_each(&kinds, move |_| {
        count += 1;
        handler(count);
    })
    .map_err(|error| Failure::refused(error.to_string()))
}
