//! Runs one stage: load at one rate, or with one number of transactions in flight.
//!
//! ```text
//!   begin         from                         to              end
//!     |-- warm-up --|--------- measured ---------|-- cool-down --|- - - until nothing is open, or timed out - - >
//! ```
//! In an open loop the pacer knows when each transaction is due, and never waits for an answer. When it sends late, the
//! delay is part of the latency and is also reported on its own. Transactions that are due within one [`TICK`] may
//! share a request. Then the senders in one request have consecutive numbers. Each sender always uses the same
//! connection while that is open, so that its nonces keep their order.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use crate::{
    LoadError, Plan,
    kind::Kind,
    pacing::Times,
    plan::Load,
    progress::{Event, Watch},
    report::Outcome,
    submit::Lane,
    supply::Supply,
    tracker::{Due, Tracker},
    usage::{Meters, Reading},
};

/// Interval in which due transactions share a request. This bounds the number of requests at any rate, because a
/// request costs more than the transactions in it, here and at the node. The wait for the last transaction is part of
/// the latency.
pub const TICK: Duration = Duration::from_millis(4);
/// Time from the start of a stage to its first transaction.
const RUN_UP: Duration = Duration::from_millis(20);
/// Maximum sleep of the pacer before it checks whether it must stop.
const NAP_MAX: Duration = Duration::from_millis(50);
/// Interval at which the live figures are reported and timeouts are checked.
const LOOK_PERIOD: Duration = Duration::from_millis(200);
/// Interval at which a stage checks whether all transactions are finished, after the last was sent.
const DRAIN_PERIOD: Duration = Duration::from_millis(10);
/// Maximum number of transactions that the pacer takes before it sends, when it is late.
const BURST_MAX: u64 = 10_000;

/// References to everything that a stage needs.
pub struct Stage<'a> {
    /// The plan of the run.
    pub plan: &'a Plan,
    /// Source of the signed transactions.
    pub supply: &'a mut Supply,
    /// Connections to the nodes.
    pub lanes: &'a mut [Lane],
    /// Receiver of everything that is seen of the transactions.
    pub tracker: &'a Tracker,
    /// Maximum number of calls in one request that every node accepts.
    pub batch: usize,
    /// Meters of the processor time of this process and of the nodes.
    pub meters: &'a Meters,
}

impl Stage<'_> {
    /// Runs the stage to its end, or until it is stopped, and then until every transaction is committed, failed or
    /// timed out.
    ///
    /// Errors: [`LoadError::System`] when no thread can be started; [`LoadError::File`] when the file of signed
    /// transactions cannot be read.
    pub fn run(self, load: Load, watch: &mut Watch<'_>) -> Result<Outcome, LoadError> {
        let Self { plan, supply, lanes, tracker, batch, meters } = self;
        let clock = tracker.clock();
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let begin = clock.now() + nanos(RUN_UP);
        let from = begin.saturating_add(nanos(plan.warm_up));
        let to = plan.duration.map_or(u64::MAX, |duration| from.saturating_add(nanos(duration)));
        let end = to.saturating_add(nanos(plan.cool_down));
        tracker.begin(begin, from, to);
        let base = tracker.next_number().wrapping_sub(supply.position());
        let stop = watch.stop;
        let nodes = plan.nodes.len();
        let pacer = Pacer { supply, lanes, nodes, tracker, batch, base, due: Vec::new(), begin, end, stop };
        let (mut first, mut second): (Option<Reading>, Option<Reading>) = (None, None);
        let paced = thread::scope(|scope| {
            let pacing = thread::Builder::new().name("load-pace".to_owned()).spawn_scoped(scope, || match load {
                Load::Open { rate } => pacer.open(Times::new(plan.arrivals, rate, plan.seed), rate),
                Load::Closed { window } => pacer.closed(window),
            });
            let pacing = pacing.map_err(|error| LoadError::System { what: "a thread", error })?;
            let mut look_at = 0;
            loop {
                let now = clock.now();
                if first.is_none() && now >= from {
                    first = Some(meters.read(now));
                }
                let is_over = pacing.is_finished();
                if second.is_none() && (now >= to || is_over) {
                    tracker.end_measuring();
                    second = Some(meters.read(now.min(clock.now())));
                }
                if now >= look_at {
                    let open = tracker.expire();
                    tracker.news().iter().for_each(|news| watch.note(news));
                    watch.see(&Event::Live(tracker.live()));
                    look_at = now + nanos(LOOK_PERIOD);
                    if is_over && open == 0 {
                        break;
                    }
                }
                if is_over {
                    if tracker.expire() == 0 {
                        break;
                    }
                    thread::sleep(DRAIN_PERIOD);
                    continue;
                }
                let edge = if first.is_none() { from } else { to };
                let until = look_at.min(if second.is_none() { edge } else { u64::MAX });
                thread::sleep(
                    Duration::from_nanos(until.saturating_sub(now)).clamp(Duration::from_millis(1), LOOK_PERIOD),
                );
            }
            pacing.join().expect("the pacer does not panic")
        });
        let ran_out = paced?;
        tracker.with_tally(|tally| tally.close_seconds(u64::MAX));
        let tally = tracker.begin(u64::MAX, u64::MAX, u64::MAX);
        let first = first.unwrap_or_default();
        let second = second.unwrap_or_else(|| first.clone());
        Ok(Outcome { tally, usage: [first, second], ran_out })
    }
}

/// Sends each transaction when it is due.
struct Pacer<'a> {
    supply: &'a mut Supply,
    lanes: &'a mut [Lane],
    /// Number of nodes to which the lanes lead in rotation.
    nodes: usize,
    tracker: &'a Tracker,
    batch: usize,
    /// Difference (modulo 2^64) from a transaction's number in the supply to its number in the tracker.
    base: u64,
    /// Transactions that were taken from the supply and are not known to the tracker yet.
    due: Vec<Due>,
    begin: u64,
    end: u64,
    stop: &'a AtomicBool,
}

impl Pacer<'_> {
    /// Sends at a rate, and returns true if the supply was used up.
    fn open(mut self, mut times: Times, rate: f64) -> Result<bool, LoadError> {
        let run = ((rate * TICK.as_secs_f64()) as u64).clamp(1, self.batch as u64);
        // The pacer waits until `run` transactions are due, so that they share one request.
        let patience = ((run - 1) as f64 / rate * 1e9) as u64;
        let mut next = self.begin + times.next();
        while next < self.end && !self.is_stopped() {
            if !self.sleep_until(next + patience) {
                break;
            }
            let now = self.tracker.clock().now();
            let mut burst = 0;
            while next <= now && next < self.end && burst < BURST_MAX {
                if self.take(next, run)?.is_none() {
                    self.send_all();
                    return Ok(true);
                }
                next = self.begin + times.next();
                burst += 1;
            }
            self.send_all();
        }
        Ok(false)
    }

    /// Sends with `window` transactions in flight, and returns true if the supply was used up.
    fn closed(mut self, window: u64) -> Result<bool, LoadError> {
        let run = (window / 8).clamp(1, self.batch as u64);
        self.sleep_until(self.begin);
        loop {
            let now = self.tracker.clock().now();
            if now >= self.end || self.is_stopped() {
                return Ok(false);
            }
            let mut room = self.tracker.wait_for_room(window + 1 - run, NAP_MAX).saturating_add(run - 1);
            if room < run {
                // The sockets may now take what they did not take before.
                self.send_all();
                continue;
            }
            let now = self.tracker.clock().now();
            while room > 0 {
                let Some(kind) = self.take(now, run)? else {
                    self.send_all();
                    return Ok(true);
                };
                room -= u64::from(kind == Kind::Valid);
            }
            self.send_all();
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sleeps until a time. Returns false if the run was stopped before.
    fn sleep_until(&self, at: u64) -> bool {
        loop {
            let now = self.tracker.clock().now();
            if now >= at {
                return true;
            }
            if self.is_stopped() {
                return false;
            }
            thread::sleep(Duration::from_nanos(at - now).min(NAP_MAX));
        }
    }

    /// Takes the next transaction, which is due at `at`, into a request. Returns `None` if there is none left.
    fn take(&mut self, at: u64, run: u64) -> Result<Option<Kind>, LoadError> {
        let Some((number, record)) = self.supply.next()? else { return Ok(None) };
        let kind = record.kind;
        let turn = if kind == Kind::Valid { u64::from(record.sender) } else { number };
        let lane = (turn / run % self.lanes.len() as u64) as usize;
        let number = number.wrapping_add(self.base);
        // Another lane is used while this one has no connection.
        let lanes = self.lanes.len();
        let open = (0..lanes)
            .map(|next| (lane + next) % lanes)
            .find(|lane| self.lanes[*lane].len() > 0 || self.lanes[*lane].is_open());
        let lane = open.unwrap_or(lane);
        // Neighbours in the list are connections to different nodes.
        let node = lane % self.nodes;
        self.due.push(Due { at, key: record.key, kind, node });
        self.lanes[lane].push(number, record.call);
        if self.lanes[lane].len() >= self.batch {
            self.register_due();
            self.send(lane);
        }
        Ok(Some(kind))
    }

    /// Reports the due transactions to the tracker, which must know of each before a node does.
    fn register_due(&mut self) {
        if !self.due.is_empty() {
            self.tracker.add(&self.due);
            self.due.clear();
        }
    }

    fn send(&mut self, lane: usize) {
        if let Err(numbers) = self.lanes[lane].send(self.base) {
            self.tracker.unsent(&numbers);
        }
    }

    fn send_all(&mut self) {
        self.register_due();
        (0..self.lanes.len()).for_each(|lane| self.send(lane));
    }
}
