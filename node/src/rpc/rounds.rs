//! What happens inside heights, for the clients that subscribed to it.
//!
//! The consensus thread notes it only while [`Rounds`] listens, and [`Rounds`] listens only while a client does. Each happening is
//! turned into JSON once for all clients. A client that falls [`KEPT_MAX`] behind is told so.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
};

use consensus::What;
use tokio::sync::{Notify, broadcast};

use super::{
    events::Event,
    json,
    query::{Query, Tags},
};
use crate::board::Happened;

/// Happenings kept for a client that is behind.
const KEPT_MAX: usize = 1024;

/// The names of these events. Each carries one tag, its name.
pub const NAMES: [&str; 11] = [
    "CompleteProposal",
    "Lock",
    "NewEvidence",
    "NewRound",
    "NewRoundStep",
    "Polka",
    "Relock",
    "TimeoutPropose",
    "TimeoutWait",
    "ValidBlock",
    "Vote",
];

/// Whether a query asks for one of [`NAMES`].
pub fn may_match(query: &Query) -> bool {
    NAMES.iter().any(|name| query.matches(&tags(name)))
}

fn tags(name: &str) -> Tags {
    BTreeMap::from([("tm.event".to_owned(), vec![name.to_owned()])])
}

fn name_of(happened: &Happened) -> &'static str {
    match happened {
        Happened::Evidence(_) => "NewEvidence",
        Happened::Round(note) => match note.what {
            What::NewRound { .. } => "NewRound",
            What::NewStep(_) => "NewRoundStep",
            What::CompleteProposal(_) => "CompleteProposal",
            What::Polka => "Polka",
            What::Lock(_) => "Lock",
            What::Relock(_) => "Relock",
            What::ValidBlock(_) => "ValidBlock",
            What::TimeoutPropose => "TimeoutPropose",
            What::TimeoutWait => "TimeoutWait",
            What::Vote(_) => "Vote",
        },
    }
}

/// Something that happened, for any number of clients.
pub struct Shown {
    happened: Arc<Happened>,
    event: OnceLock<Event>,
}

impl Shown {
    /// As clients see it. Small, and made once.
    pub fn event(&self) -> &Event {
        self.event.get_or_init(|| {
            let data = match &*self.happened {
                Happened::Round(note) => json::round_event(note),
                Happened::Evidence(evidence) => json::new_evidence_event(evidence),
            };
            Event::new(tags(name_of(&self.happened)), &data)
        })
    }
}

type Source = broadcast::Receiver<Arc<Happened>>;

/// Hands what happened to clients.
pub struct Rounds {
    shown: broadcast::Sender<Arc<Shown>>,
    /// What the next client listens to, unless the source of an earlier one is still being passed on.
    next: Mutex<Option<Source>>,
    wanted: Notify,
}

impl Rounds {
    /// Nobody listens yet.
    pub fn new() -> Self {
        Self { shown: broadcast::Sender::new(KEPT_MAX), next: Mutex::default(), wanted: Notify::new() }
    }

    /// All that happens from now on.
    pub fn watch(&self, source: impl FnOnce() -> Source) -> broadcast::Receiver<Arc<Shown>> {
        let mut next = self.next.lock().expect("nothing panics while it holds the lock");
        *next = Some(source());
        self.wanted.notify_one();
        self.shown.subscribe()
    }

    /// Passes things on until the server stops. It lets go of a source with the first thing that no client wants.
    pub async fn run(&self) {
        loop {
            self.wanted.notified().await;
            let Some(mut source) = self.next.lock().expect("nothing panics while it holds the lock").take() else {
                continue;
            };
            loop {
                match source.recv().await {
                    Ok(happened) => {
                        let shown = Shown { happened, event: OnceLock::new() };
                        let mut next = self.next.lock().expect("nothing panics while it holds the lock");
                        if self.shown.send(Arc::new(shown)).is_err() {
                            *next = None;
                            break;
                        }
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {} // clients miss some, as when they are slow
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        }
    }
}
