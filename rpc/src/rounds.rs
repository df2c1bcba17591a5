//! Events inside heights, for the clients that subscribed to them.
//!
//! The consensus thread records them only while [`Rounds`] has a subscription, and [`Rounds`] has one only while a
//! client needs it. Each event is converted to JSON once for all clients. A client that falls [`KEPT_MAX`] events
//! behind gets an error.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
};

use consensus::What;
use tokio::sync::{Notify, broadcast};

use crate::{
    context::Happened,
    events::Event,
    json,
    query::{Query, Tags},
};

/// Maximum number of events kept for a slow client.
const KEPT_MAX: usize = 1024;

/// The names of these events. The only tag of each is its name.
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

/// Returns true if a query matches one of [`NAMES`].
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

/// An event inside a height, shared by any number of clients.
pub struct Shown {
    happened: Arc<Happened>,
    event: OnceLock<Event>,
}

impl Shown {
    /// Returns the event as clients see it. It is small, and built once.
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

/// An item that a client receives: an event, or the number of events that were lost for all clients.
type Published = Result<Arc<Shown>, u64>;

/// Distributes events inside heights to clients.
pub struct Rounds {
    published: broadcast::Sender<Published>,
    /// The source for the next client, unless the source of an earlier one is still forwarded.
    next: Mutex<Option<Source>>,
    wanted: Notify,
}

impl Rounds {
    /// Creates the distributor without clients.
    pub fn new() -> Self {
        Self { published: broadcast::Sender::new(KEPT_MAX), next: Mutex::default(), wanted: Notify::new() }
    }

    /// Subscribes to all events from now on.
    pub fn watch(&self, source: impl FnOnce() -> Source) -> Watching {
        let mut next = self.next.lock().expect("nothing panics while it holds the lock");
        *next = Some(source());
        self.wanted.notify_one();
        Watching(self.published.subscribe())
    }

    /// Forwards events until the server stops. It drops a source at the first event that no client receives.
    pub async fn run(&self) {
        loop {
            self.wanted.notified().await;
            let Some(mut source) = self.next.lock().expect("nothing panics while it holds the lock").take() else {
                continue;
            };
            loop {
                let published = match source.recv().await {
                    Ok(happened) => Ok(Arc::new(Shown { happened, event: OnceLock::new() })),
                    Err(broadcast::error::RecvError::Lagged(missed)) => Err(missed),
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                let mut next = self.next.lock().expect("nothing panics while it holds the lock");
                if self.published.send(published).is_err() {
                    *next = None;
                    break;
                }
            }
        }
    }
}

/// The position of one client in the events inside heights.
pub struct Watching(broadcast::Receiver<Published>);

impl Watching {
    /// Returns the next event. It can be dropped before it is ready without losing an event.
    ///
    /// Errors: the number of events that are lost, because this client, or the node itself, was too slow.
    pub async fn next(&mut self) -> Result<Arc<Shown>, u64> {
        match self.0.recv().await {
            Ok(published) => published,
            Err(broadcast::error::RecvError::Lagged(missed)) => Err(missed),
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await, // the server stops
        }
    }
}

#[cfg(test)]
mod tests {
    use consensus::{RoundNote, RoundStep};
    use types::{Height, Round};

    use super::*;

    fn happened() -> Arc<Happened> {
        let (height, round, step) = (Height(1), Round(0), RoundStep::Prevote);
        Arc::new(Happened::Round(RoundNote { height, round, step, what: What::Polka }))
    }

    #[tokio::test]
    async fn the_source_is_subscribed_only_while_watched_and_gaps_are_reported() {
        let (source, rounds) = (broadcast::Sender::new(4), Arc::new(Rounds::new()));
        let run = tokio::spawn({
            let rounds = rounds.clone();
            async move { rounds.run().await }
        });
        let mut watching = rounds.watch(|| source.subscribe());
        for _ in 0..6 {
            source.send(happened()).unwrap();
        }
        // No task ran meanwhile, so two of six events are lost in the ring of four, and the loss is reported.
        assert_eq!(watching.next().await.err(), Some(2));
        for _ in 0..4 {
            assert_eq!(watching.next().await.unwrap().event().tags["tm.event"], ["Polka"]);
        }
        drop(watching);
        source.send(happened()).unwrap();
        while source.receiver_count() > 0 {
            tokio::task::yield_now().await;
        }
        let mut again = rounds.watch(|| source.subscribe());
        source.send(happened()).unwrap();
        assert!(again.next().await.is_ok());
        run.abort();
    }
}
