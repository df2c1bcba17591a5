//! Ends a node: by request, or by force.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use crate::{
    exit::{Code, Failure},
    logging, os,
};

/// The result of a part that ended; `Ok` if it was asked to.
pub(crate) type End = Result<(), Failure>;

/// Maximum number of ends that wait. The first one ends the node; further ones are dropped.
const ENDS_MAX: usize = 1;

/// Handle that stops a node, from any thread.
#[derive(Clone)]
pub struct Stopper(SyncSender<End>);

impl Stopper {
    /// Creates the handle of a node, and the receiver of what ends it: a request, or the failure of a part.
    pub(crate) fn new() -> (Self, Receiver<End>) {
        let (ends, ended) = sync_channel(ENDS_MAX);
        (Self(ends), ended)
    }

    /// Asks the node to stop gracefully. Further calls have no effect.
    pub fn stop(&self) {
        let _ = self.0.try_send(Ok(())); // full: the node is ending already
    }

    /// Ends the node with this failure of a part. A part that ended without error was asked to by this node.
    pub(crate) fn on_end(&self, end: End) {
        if end.is_err() {
            let _ = self.0.try_send(end); // full: the node is ending already
        }
    }
}

/// Installs a hook that ends the process on a panic. A stopped validator is safe; one that lost a thread is not.
pub(crate) fn end_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        let thread = thread::current();
        let place = info.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
        let reason = info.payload_as_str().unwrap_or("no reason given");
        tracing::error!(
            target: "main", thread = thread.name().unwrap_or("unnamed"), place, reason,
            "an invariant is broken; the node stops, so that it cannot sign a wrong message. Keep the log and the home, and report \
             this as a bug"
        );
        logging::flush();
        os::exit_now(Code::Invariant as u8);
    }));
}

/// Ends the process if a graceful stop takes longer than `time`.
pub(crate) fn end_after(time: Duration) {
    let watch = move || {
        thread::sleep(time);
        tracing::error!(target: "main", "the node did not stop in time; ending the process");
        logging::flush();
        os::exit_now(Code::Invariant as u8);
    };
    // The thread is detached and ends with the process. In a test it would outlive its node, so it runs only when logs
    // run.
    if logging::is_started() {
        let _ = thread::Builder::new().name("stop".to_owned()).spawn(watch);
    }
}
