//! The signals that ask a command to stop: Ctrl-C, SIGTERM, SIGHUP.

use node::signals;
use tokio::signal::unix::SignalKind;

use super::failure::Failure;

/// Calls `handler` at each signal, with the number of signals so far.
///
/// Errors: the system does not let us wait for signals.
pub fn on_each(mut handler: impl FnMut(u32) + Send + 'static) -> Result<(), Failure> {
    let mut count = 0;
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    signals::on_each(&kinds, move |_| {
        count += 1;
        handler(count);
    })
    .map_err(|error| Failure::new(error.to_string()))
}
