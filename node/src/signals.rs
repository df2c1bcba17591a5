//! Handles signals of the operating system on a thread of its own.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex},
    task::Poll,
    thread,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    exit::{Code, Failure},
    logging, os,
    stop::Stopper,
};

/// The system error for which signals cannot be handled.
#[derive(Debug)]
pub struct SignalError(io::Error);

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the system refuses to deliver signals to this process: {}", self.0)
    }
}

/// Calls `handler` for each signal of these kinds. When this returns, these signals no longer end the process.
///
/// Errors: the system has no memory, file handle or thread left.
pub fn on_each(kinds: &[SignalKind], mut handler: impl FnMut(SignalKind) + Send + 'static) -> Result<(), SignalError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(SignalError)?;
    let mut signals: Vec<(SignalKind, Signal)> = {
        let _context = runtime.enter();
        kinds.iter().map(|kind| Ok((*kind, signal(*kind)?))).collect::<io::Result<_>>().map_err(SignalError)?
    };
    let wait = move || {
        runtime.block_on(async {
            loop {
                let next = std::future::poll_fn(|context| {
                    let came = signals
                        .iter_mut()
                        .find_map(|(kind, signal)| signal.poll_recv(context).is_ready().then_some(*kind));
                    came.map_or(Poll::Pending, Poll::Ready)
                });
                handler(next.await);
            }
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map(|_| ()).map_err(SignalError)
}

/// Signals of a node's process: SIGINT and SIGTERM stop it, SIGUSR1 makes it read new log levels.
///
/// While the node starts, SIGINT or SIGTERM ends the process at once. Nothing is lost, because whatever matters is
/// durable before it is sent. Once it runs, the first one stops it gracefully and the second one ends it at once.
#[derive(Clone)]
pub struct NodeSignals(Arc<Mutex<Option<Running>>>);

struct Running {
    stopper: Stopper,
    data_dir: PathBuf,
    is_stopping: bool,
}

impl NodeSignals {
    /// Starts handling signals. A node's process must do this first: as process 1 of a container it would ignore a
    /// signal without a handler.
    ///
    /// Errors: those of [`on_each`].
    pub fn handle() -> Result<Self, Failure> {
        let signals = Self(Arc::default());
        let handler = signals.clone();
        on_each(&[SignalKind::interrupt(), SignalKind::terminate(), SignalKind::user_defined1()], move |kind| {
            handler.on_signal(kind);
        })
        .map_err(Failure::config)?;
        Ok(signals)
    }

    /// Registers the running node: from now on, signals stop it gracefully.
    pub fn node_runs(&self, stopper: Stopper, data_dir: PathBuf) {
        *self.running() = Some(Running { stopper, data_dir, is_stopping: false });
    }

    fn on_signal(&self, kind: SignalKind) {
        let mut running = self.running();
        if kind == SignalKind::user_defined1() {
            return running.iter().for_each(|running| logging::follow_levels(&running.data_dir));
        }
        let signal = if kind == SignalKind::interrupt() { "SIGINT" } else { "SIGTERM" };
        match running.as_mut() {
            None => {
                tracing::info!(target: "main", signal, "stopped before the start was complete");
                logging::flush();
                os::exit_now(Code::Clean as u8);
            }
            Some(running) if running.is_stopping => os::exit_now(Code::Refused as u8),
            Some(running) => {
                tracing::info!(target: "main", signal, "stopping; a second signal ends the process at once");
                running.is_stopping = true;
                running.stopper.stop();
            }
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.0.lock().expect("a thread that panics stops the process")
    }
}
