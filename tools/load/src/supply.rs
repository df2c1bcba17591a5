//! Source of the transactions of a stage: a file that was signed before, or a thread that signs shortly ahead of the
//! load.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use client::AccountState;
use types::Deadline;

use crate::{
    LoadError, Plan,
    clock::ChainTime,
    file::{Header, Presigned},
    progress::{Event, Watch},
    recipe::Recipe,
    records::{CHUNK_RECORDS_MAX, Chunk, Record},
    senders::cores,
};

/// Number of chunks that a signing thread may be ahead of the thread that writes them to the file.
const CHUNKS_AHEAD: usize = 4;

/// A source of signed transactions in ascending order of their numbers.
pub enum Supply {
    /// Transactions ordered by nonce, from a file.
    File(Presigned),
    /// Unordered transactions, from a thread that signs them.
    Signing(Signing),
}

impl Supply {
    /// Returns the next transaction and its number, or `None` if there is none left.
    ///
    /// Errors: [`LoadError::File`] when the file is damaged or cannot be read.
    pub fn next(&mut self) -> Result<Option<(u64, Record<'_>)>, LoadError> {
        match self {
            Self::File(file) => file.next(),
            Self::Signing(signing) => Ok(signing.next()),
        }
    }

    /// Returns the number of the next transaction.
    pub fn position(&self) -> u64 {
        match self {
            Self::File(file) => file.position(),
            Self::Signing(signing) => signing.position,
        }
    }

    /// Signs until the file has `count` transactions from the current position on. Does nothing for unordered
    /// transactions.
    ///
    /// Errors: [`LoadError::File`] when the file cannot be written; [`LoadError::Stopped`] when the run is stopped.
    pub fn ensure(&mut self, recipe: &Recipe, count: u64, watch: &mut Watch<'_>) -> Result<(), LoadError> {
        let Self::File(file) = self else { return Ok(()) };
        let wanted = file.position().saturating_add(count);
        if file.total() < wanted {
            sign_into(file, recipe, wanted, watch)?;
        }
        Ok(())
    }
}

/// Opens the file of transactions: the existing one if it fits the chain and has `wanted` transactions, otherwise a new
/// one.
///
/// Errors: [`LoadError::File`] when the file is damaged, or cannot be read or written.
pub fn open_file(
    plan: &Plan,
    recipe: &Recipe,
    states: &[AccountState],
    wanted: u64,
    watch: &mut Watch<'_>,
) -> Result<Presigned, LoadError> {
    let path = &plan.file;
    let header = Header::of(recipe, plan.sender_seed.as_deref());
    let nonces: Vec<u64> = states.iter().map(|state| state.nonce).collect();
    if let Some(mut file) = Presigned::open(path)?.filter(|file| file.is_of(&header))
        && let Some(number) = file.position_at(&nonces)
        && file.total().saturating_sub(number) >= wanted
    {
        file.seek(number)?;
        // The file is checked now, so that damage cannot interrupt the load.
        file.check()?;
        let left = file.total() - number;
        watch.note(format!(
            "{} can be used: {left} of its {} signed transactions are unused",
            path.display(),
            file.total()
        ));
        return Ok(file);
    }
    Presigned::create(path, header, &nonces)
}

/// Signs up to number `to`, on all cores, and appends in order. The file's own first nonces count, not the recipe's: those
/// are of now, and the file may have been begun by an earlier run.
fn sign_into(file: &mut Presigned, recipe: &Recipe, to: u64, watch: &mut Watch<'_>) -> Result<(), LoadError> {
    let recipe = &Recipe { nonces: file.nonces().into(), ..recipe.clone() };
    let from = file.total();
    let chunk = u64::from(CHUNK_RECORDS_MAX);
    let workers = cores();
    thread::scope(|scope| {
        let worker = |index: usize| {
            let (done, chunks) = sync_channel(CHUNKS_AHEAD);
            let begins = (from..to).step_by(chunk as usize).skip(index).step_by(workers);
            scope.spawn(move || {
                for begin in begins {
                    if done.send(signed(recipe, begin..to.min(begin + chunk), None)).is_err() {
                        return; // stopped, or the disk is full
                    }
                }
            });
            chunks
        };
        let chunks: Vec<Receiver<Chunk>> = (0..workers).map(worker).collect();
        for chunks in chunks.iter().cycle() {
            let Ok(chunk) = chunks.recv() else { break };
            file.append(&chunk)?;
            watch.see(&Event::Signing { done: file.total() - from, of: to - from, bytes: file.bytes() });
            if watch.is_stopped() {
                return Err(LoadError::Stopped);
            }
        }
        Ok(())
    })
}

fn signed(recipe: &Recipe, numbers: Range<u64>, expires: Option<Deadline>) -> Chunk {
    let mut chunk = Chunk::default();
    numbers.for_each(|number| recipe.make(number, expires, &mut chunk));
    chunk
}

/// A thread that signs unordered transactions, ahead of the load by as many as its channel holds.
pub struct Signing {
    chunks: Receiver<Chunk>,
    current: Option<(Chunk, usize)>,
    position: u64,
    stop: Arc<AtomicBool>,
}

impl Signing {
    /// Starts the thread. `tx_ttl_max` is the chain's limit for the expiry of a transaction. At most about `ahead`
    /// transactions are signed and not sent yet.
    ///
    /// Errors: [`LoadError::System`] when no thread can be started.
    pub fn start(recipe: Recipe, time: ChainTime, tx_ttl_max: Duration, ahead: u64) -> Result<Self, LoadError> {
        let records = ahead.div_ceil(CHUNKS_AHEAD as u64).clamp(1, u64::from(CHUNK_RECORDS_MAX));
        let (done, chunks) = sync_channel(ahead.div_ceil(records).max(1) as usize);
        let stop = Arc::new(AtomicBool::new(false));
        let sign = Sign { recipe, time, tx_ttl_max, records, stop: stop.clone() };
        let thread = thread::Builder::new().name("load-sign".to_owned()).spawn(move || sign.run(&done));
        thread.map_err(|error| LoadError::System { what: "a thread", error })?;
        Ok(Self { chunks, current: None, position: 0, stop })
    }

    fn next(&mut self) -> Option<(u64, Record<'_>)> {
        if self.current.as_ref().is_none_or(|(chunk, cursor)| *cursor >= chunk.bytes().len()) {
            self.current = Some((self.chunks.recv().ok()?, 0));
        }
        let (chunk, cursor) = self.current.as_mut()?;
        let record = chunk.record(cursor).expect("it was made a moment ago")?;
        self.position += 1;
        Some((self.position - 1, record))
    }
}

impl Drop for Signing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Sign {
    recipe: Recipe,
    time: ChainTime,
    tx_ttl_max: Duration,
    records: u64,
    stop: Arc<AtomicBool>,
}

impl Sign {
    fn run(self, done: &SyncSender<Chunk>) {
        for begin in (0..).step_by(self.records as usize) {
            let expires = self.time.deadline(self.tx_ttl_max);
            let chunk = signed(&self.recipe, begin..begin + self.records, Some(expires));
            if self.stop.load(Ordering::Relaxed) || done.send(chunk).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{recipe::tests::recipe, run::tests::unwatched};

    #[test]
    fn all_cores_sign_and_the_order_holds() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = recipe(5, 0);
        let path = dir.path().join("load.txs");
        let node = crate::Node { rpc: "h:1".into(), metrics: None };
        let plan = Plan::new(vec![node], crate::Mode::Closed, std::time::Duration::from_secs(1), path);
        let states: Vec<_> =
            recipe.nonces.iter().map(|nonce| AccountState { nonce: *nonce, ..AccountState::default() }).collect();
        let open = |wanted| unwatched(|watch| open_file(&plan, &recipe, &states, wanted, watch)).unwrap();
        let mut supply = Supply::File(open(700));
        unwatched(|watch| supply.ensure(&recipe, 700, watch)).unwrap();
        let expected = signed(&recipe, 0..700, None);
        let mut cursor = 0;
        for number in 0..700 {
            let expected = expected.record(&mut cursor).unwrap().unwrap();
            assert_eq!(supply.next().unwrap(), Some((number, expected)));
        }
        assert_eq!(supply.next().unwrap(), None);
        // As much again is there already; more is not.
        assert_eq!(open(700).total(), 700);
        assert_eq!(open(701).total(), 0);
    }

    #[test]
    fn a_file_that_an_earlier_run_began_is_continued_without_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let first = recipe(5, 0);
        let node = crate::Node { rpc: "h:1".into(), metrics: None };
        let path = dir.path().join("load.txs");
        let plan = Plan::new(vec![node], crate::Mode::Closed, std::time::Duration::from_secs(1), path);
        let states = |nonces: &[u64]| -> Vec<_> {
            nonces.iter().map(|nonce| AccountState { nonce: *nonce, ..AccountState::default() }).collect()
        };
        unwatched(|watch| {
            let mut supply = Supply::File(open_file(&plan, &first, &states(&first.nonces), 11, watch)?);
            supply.ensure(&first, 11, watch)
        })
        .unwrap();
        // Ten of its eleven were committed, two of each sender; a run without a known number of transactions reuses it.
        let second = Recipe { nonces: first.nonces.iter().map(|nonce| nonce + 2).collect(), ..first.clone() };
        let file = unwatched(|watch| open_file(&plan, &second, &states(&second.nonces), 1, watch)).unwrap();
        let mut supply = Supply::File(file);
        unwatched(|watch| supply.ensure(&second, 20, watch)).unwrap();
        let expected = signed(&second, 0..20, None);
        let mut cursor = 0;
        for number in 10..30 {
            let expected = expected.record(&mut cursor).unwrap().unwrap();
            let (at, record) = supply.next().unwrap().unwrap();
            assert_eq!((at, record.sender, record.key), (number, expected.sender, expected.key), "number {number}");
        }
    }

    #[test]
    fn a_thread_signs_ahead_and_no_further() {
        let time = ChainTime::after(types::Time::UNIX_EPOCH);
        let mut supply = Supply::Signing(Signing::start(recipe(5, 0), time, Duration::from_secs(600), 8).unwrap());
        for number in 0..20 {
            assert_eq!(supply.next().unwrap().unwrap().0, number);
        }
        assert_eq!(supply.position(), 20);
    }
}
