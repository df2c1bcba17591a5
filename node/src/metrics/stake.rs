//! Metrics of stake, which are read from the state at each scrape.

use app::StakeReport;
use prometheus::proto::MetricType::GAUGE;
use types::{Height, Time};

use super::family::{Families, Known, known, label};

const POOLS: Known = known(
    GAUGE,
    "state_stake_tokens",
    &["pool"],
    "Money that is no account's, by pool: `bonded`, `unbonding`, `rewards`, `community`.",
);
const WINDOW: Known = known(
    GAUGE,
    "state_downtime_window_heights",
    &[],
    "Number of the last heights of which a validator may miss half.",
);
const LIMIT: Known = known(
    GAUGE,
    "state_downtime_limit_seconds",
    &[],
    "Block time without a signature after which a validator that missed half of the window is jailed.",
);
const TOKENS: Known =
    known(GAUGE, "state_own_stake_tokens", &[], "Stake of this node's validator; 0 if no validator has its key.");
const RANK: Known = known(
    GAUGE,
    "state_own_stake_rank",
    &[],
    "Place of this node's validator in the set, from 1 for the most stake; 0 if it is not in the set.",
);
const JAILED: Known = known(
    GAUGE,
    "state_own_stake_jailed",
    &[],
    "1 while this node's validator is in jail, 2 if it is for ever, else 0.",
);
const JAIL_END: Known = known(
    GAUGE,
    "state_own_stake_jail_end_timestamp_seconds",
    &[],
    "Unix time from which the operator may take this node's validator out of jail; 0 if it is not in jail.",
);
const MISSED: Known = known(
    GAUGE,
    "state_own_stake_missed_heights",
    &[],
    "Heights that this node's validator missed, of the window that ends with the last of them.",
);
const SILENT: Known = known(
    GAUGE,
    "state_own_stake_silent_seconds",
    &[],
    "Block time since this node's validator signed nothing more; 0 if it signed the last height.",
);

/// The metrics that are collected here.
pub(super) const ALL: &[&Known] = &[&POOLS, &WINDOW, &LIMIT, &TOKENS, &RANK, &JAILED, &JAIL_END, &MISSED, &SILENT];

/// Adds what a node reports about stake. `tip` is the height and the time of the last block.
pub(super) fn put(report: &StakeReport, tip: Option<(Height, Time)>, out: &mut Families) {
    let StakeReport { pools, params, own, rank, misses } = report;
    let pools = [
        ("bonded", pools.bonded),
        ("unbonding", pools.unbonding),
        ("rewards", pools.rewards),
        ("community", pools.community),
    ];
    out.many(&POOLS, pools.map(|(pool, tokens)| (vec![label("pool", pool)], tokens as f64)).to_vec());
    out.put(&WINDOW, params.downtime_window as f64);
    out.put(&LIMIT, params.downtime.as_secs_f64());
    let own = own.as_ref();
    out.put(&TOKENS, own.map_or(0, |own| own.tokens) as f64);
    out.put(&RANK, rank.unwrap_or_default().into());
    let jail = own.and_then(|own| own.jail.map(|jail| (if own.is_tombstoned { 2.0 } else { 1.0 }, jail.until)));
    let (jailed, end) = jail.map_or((0.0, 0), |(jailed, until)| (jailed, until.unix_millis()));
    out.put(&JAILED, jailed);
    out.put(&JAIL_END, end as f64 / 1000.0);
    out.put(&MISSED, misses.as_ref().map_or(0, |misses| misses.missed) as f64);
    // A block says who missed the height before.
    let silent = misses.as_ref().zip(tip).filter(|(misses, (height, _))| misses.last_missed.next() == *height);
    out.put(&SILENT, silent.map_or(0.0, |(misses, (_, time))| time.since(misses.silent_since.time()).as_secs_f64()));
}
