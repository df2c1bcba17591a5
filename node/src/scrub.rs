//! Reads the whole store slowly in the background, again and again, so that a damaged row is reported while other nodes
//! still have it.
//!
//! A pass first checks each row by itself and the heights ([`storage::Verification`]). Then it compares the rows of the
//! state with the trees in memory, a few ends at a time: a row with a good checksum and a wrong value is found, up to
//! the few rows beside it.

use std::{
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use app::{PartsFrom, tree::Compared};
use replica::LiveApp;
use storage::{Cf, Kv, Report, RocksKv, Store};

use crate::{metrics::Metrics, os};

/// Bytes read before the scrub pauses to respect its rate.
const SLICE_BYTES: u64 = 256 * 1024;

/// Maximum number of damaged rows per pass that the log names; all are counted.
const LOGGED_MAX: usize = 20;

/// Number of ends of trees, of about 10 rows each and 63 at most, that are compared before a pause.
const SLICE_ENDS: usize = 64;

/// Pause between two passes.
const PAUSE: Duration = Duration::from_secs(6 * 3600);

/// Pause before a comparison is repeated because a block was committed meanwhile, and the maximum number of attempts.
const LOOK_AGAIN: (Duration, usize) = (Duration::from_millis(2), 100);

/// The inputs and settings of the scrub.
pub struct Scrub {
    /// The store, which is read completely.
    pub store: Arc<Store<RocksKv>>,
    /// The application with the state tree, whose root the chain agrees on; the rows of the state are compared with it.
    pub app: LiveApp,
    /// Counters of rows, bytes and passes.
    pub metrics: Arc<Metrics>,
    /// Read rate in bytes per second; 0 disables the scrub.
    pub bytes_per_second: usize,
}

/// Starts the scrub thread. It ends when the sender is dropped.
pub fn start(scrub: Scrub) -> (SyncSender<()>, JoinHandle<()>) {
    let (alive, ended) = sync_channel::<()>(0);
    // Returns true when the node stops.
    let wait = move |time: Duration| ended.recv_timeout(time) != Err(RecvTimeoutError::Timeout);
    let run = move || {
        os::work_in_background();
        if scrub.bytes_per_second == 0 {
            return;
        }
        while !scrub.pass(&wait) && !wait(PAUSE) {}
    };
    (alive, std::thread::Builder::new().name("scrub".to_owned()).spawn(run).expect("a thread can be started"))
}

/// The part of a report that was already published.
struct Published {
    bytes: u64,
    findings: usize,
    /// Number of damaged rows that the previous pass found: shown until this pass finds more, or ends.
    before: i64,
}

impl Scrub {
    /// Reads everything once. Returns true if the node stops meanwhile.
    fn pass(&self, wait: &impl Fn(Duration) -> bool) -> bool {
        let metrics = &self.metrics.scrub;
        let mut published = Published { bytes: 0, findings: 0, before: metrics.damaged_rows.get() };
        let mut verification = self.store.verification();
        while verification.step(SLICE_BYTES) {
            if wait(self.publish(verification.report(), &mut published)) {
                return true;
            }
        }
        let mut report = verification.finish();
        let mut next = Some(PartsFrom::FIRST);
        while let Some(from) = next {
            next = compare_parts(&self.store, &self.app, from, &mut report, wait);
            if wait(self.publish(&report, &mut published)) {
                return true;
            }
        }
        metrics.damaged_rows.set(report.findings_total() as i64);
        metrics.passes_total.inc();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        metrics.last_pass_time.set(now.as_secs() as i64);
        tracing::debug!(
            target: "state", bytes = published.bytes, found = report.findings_total(),
            "the background check has read the whole store"
        );
        false
    }

    /// Publishes the progress since the last call. Returns the pause that keeps the configured rate.
    fn publish(&self, report: &Report, published: &mut Published) -> Duration {
        let metrics = &self.metrics.scrub;
        let read = report.bytes() - published.bytes;
        metrics.bytes_total.inc_by(read);
        for finding in report.findings.iter().take(LOGGED_MAX).skip(published.findings) {
            metrics.report(finding);
        }
        metrics.damaged_rows.set(published.before.max(report.findings_total() as i64));
        (published.bytes, published.findings) = (report.bytes(), report.findings.len());
        Duration::from_secs_f64(read as f64 / self.bytes_per_second as f64)
    }
}

/// Compares the rows of some ends at the tip with the trees in memory. Unreadable rows are skipped, because the first
/// part of the pass has found them. Returns where to continue, if there is more.
fn compare_parts<K: Kv>(
    store: &Store<K>,
    app: &LiveApp,
    from: PartsFrom,
    report: &mut Report,
    wait: &impl Fn(Duration) -> bool,
) -> Option<PartsFrom> {
    let (pause, looks_max) = LOOK_AGAIN;
    for _ in 0..looks_max {
        let (height, (parts, next)) = {
            let app = app.read();
            (app.height(), app.parts(from, SLICE_ENDS))
        };
        let reader = match store.reader() {
            Ok(reader) if reader.height() == height => reader,
            // A block is being committed: either the store or the tree has it already, the other not yet.
            Ok(_) if !wait(pause) => continue,
            _ => return None,
        };
        let compared: Vec<Compared> = parts.iter().map(|part| part.compare(&reader)).collect();
        let failed = reader.check();
        compared.iter().for_each(|compared| report.count(Cf::State, compared.rows, compared.bytes));
        match failed {
            Ok(()) => {
                for (key, what) in compared.into_iter().flat_map(|compared| compared.different) {
                    report.find(Cf::State, Some(height), &key, what);
                }
            }
            Err(error) if report.families[Cf::State as usize].findings == 0 => {
                report.find(Cf::State, Some(height), &[], error);
            }
            Err(_) => {}
        }
        return next;
    }
    None
}

#[cfg(test)]
mod tests {
    use app::{App, state::NEVER_REVERTED, tree::rows::split_row};
    use genesis::{Document, Genesis, GenesisAccount, GenesisValidator};
    use replica::Replica;
    use storage::{Batch, Durability, MemDisk, MemKv, View};
    use types::{ChainId, Height, Params, Power, SecretKey, Time};

    use super::*;

    fn begun() -> (Store<MemKv>, LiveApp) {
        let chain = ChainId::new("scrub").unwrap();
        let key = SecretKey::from_bytes(&[1; 32]).unwrap().public_key();
        let account = |seed: u8| {
            let key = SecretKey::from_bytes(&[seed; 32]).unwrap().public_key();
            GenesisAccount { address: key.address(), balance: 1 << 40, name: String::new() }
        };
        let genesis = Genesis::new(Document {
            genesis_time: Time::from_unix_millis(1_700_000_000_000),
            chain_id: chain.clone(),
            initial_height: Height(1),
            params: Params::default(),
            validators: vec![GenesisValidator {
                public_key: key.into(),
                power: Power(10),
                name: String::new(),
                operator: None,
            }],
            app_hash: None,
            stake: genesis::FirstStake::default(),
            accounts: (2..50).map(account).collect(),
        });
        let store = Store::open(MemDisk::new().open(), &chain).unwrap();
        Replica::begin(&store, &genesis.unwrap()).unwrap();
        let reader = store.reader().unwrap();
        let app = App::open(&reader, chain, reader.height());
        reader.check().unwrap();
        drop(reader);
        (store, LiveApp::new(app))
    }

    fn found(store: &Store<MemKv>, app: &LiveApp) -> Vec<storage::Finding> {
        let mut report = store.verification().finish();
        assert_eq!(report.findings, [], "each row by itself is fine");
        let before = report.families[Cf::State as usize].rows;
        let mut next = Some(PartsFrom::FIRST);
        while let Some(from) = next {
            next = compare_parts(store, app, from, &mut report, &|_| false);
        }
        // The lists of validators and delegations are in no tree.
        let in_trees = store.kv().view().rows(Cf::State, NEVER_REVERTED, &[]).count() as u64;
        assert!(report.families[Cf::State as usize].rows + 1 >= before + in_trees);
        report.findings
    }

    #[test]
    fn a_row_of_the_state_with_another_value_is_found_up_to_the_few_beside_it() {
        let (store, app) = begun();
        assert_eq!(found(&store, &app), []);
        // The balance of an account is changed: the row is complete and has a good checksum.
        let rows = store.kv().view().rows(Cf::State, NEVER_REVERTED, &[]).map(Result::unwrap).collect::<Vec<_>>();
        // In a key without zero bytes nothing is escaped.
        let mut rows = rows.into_iter().filter(|(key, _)| !key[..NEVER_REVERTED.len() + 32].contains(&0));
        let (key, row) = rows.nth(30).expect("there are fifty rows");
        let (raw, value) = split_row(&row[1..]).unwrap();
        let mut changed = row[..row.len() - value.len()].to_vec();
        changed.extend(value.iter().map(|byte| byte ^ 1));
        let mut batch = Batch::new();
        batch.put(Cf::State, key.clone(), changed);
        store.kv().write(batch, Durability::Synced).unwrap();
        let findings = found(&store, &app);
        let [finding] = &findings[..] else { panic!("{findings:?} of {raw:?}") };
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(finding.key <= hex && finding.key.len() == 2 * (NEVER_REVERTED.len() + 32), "{finding:?}");
        assert_eq!((finding.cf, finding.height), (Cf::State, store.tip().map(|tip| tip.height)));
        assert!(finding.reason.contains("rows from this key on is not what the chain agreed on"), "{finding:?}");
    }

    #[test]
    fn a_tree_of_another_height_is_not_compared() {
        let (store, _) = begun();
        let reader = store.reader().unwrap();
        let ahead = LiveApp::new(App::open(&reader, ChainId::new("scrub").unwrap(), Height(7)));
        drop(reader);
        let mut report = store.verification().finish();
        let before = report.clone();
        assert_eq!(compare_parts(&store, &ahead, PartsFrom::FIRST, &mut report, &|_| false), None);
        assert_eq!(report, before);
    }
}
