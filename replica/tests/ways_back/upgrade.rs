//! Which heights a program may execute, before and after an upgrade: at a start, and again in a rewind.

use std::sync::Arc;

use app::{
    Migration, Outcome, Upgrade, UpgradeStop, Upgrades,
    area::NEVER_REVERTED,
    state::key,
    tree::rows::{path_of, row_key, row_value},
};
use mempool::{Mempool, SharedPool};
use replica::{Config, Halt, Input, Output, Replica, RewindError};
use storage::BlocksAbove;
use types::{Height, Time};

use crate::{
    chain::{Chain, Change, chain_id, dump},
    plan::{TIP, TO, config, open, rewind},
};

const V2: Upgrades = Upgrades(&[Upgrade { name: "v2", migrate }]);

fn migrate(_: &mut Migration<'_>) {}

fn set(outcome: &mut Outcome, key: &[u8], value: &[u8]) {
    outcome.writes.0.insert(row_key(NEVER_REVERTED, &path_of(key)), Some(row_value(key, value)));
}

/// The block upgraded the chain.
fn upgrades(outcome: &mut Outcome) {
    set(outcome, key::BARRIER, b"\x08\x06\x12\x02v2"); // height 6, name v2
}

/// The block plans an upgrade for the height after the next one.
fn plans(outcome: &mut Outcome) {
    set(outcome, key::UPGRADE_PLAN, b"\x0A\x02v2\x10\x08"); // name v2, height 8
}

#[test]
pub fn blocks_before_an_upgrade_are_not_executed_again_after_it() {
    let chain = Chain::with(TIP, Some((6, upgrades)));
    let before = chain.disk.dump();
    match rewind(&open(&chain.disk), TO, BlocksAbove::Kept) {
        Err(RewindError::CrossesUpgrade { height: Height(6), name }) => assert_eq!(name, "v2"),
        other => panic!("executed across an upgrade: {other:?}"),
    }
    match rewind(&open(&chain.disk), Height(7), BlocksAbove::Kept) {
        Err(RewindError::Upgrade(UpgradeStop::Outdated { height: Height(6), .. })) => {}
        other => panic!("a program without the upgrade executes blocks after it: {other:?}"),
    }
    assert!(chain.disk.dump() == before, "nothing was changed");
    rewind(&open(&chain.disk), TO, BlocksAbove::Dropped).unwrap();
}

/// Starts a replica with these upgrades on a chain whose block 6 did `change`; returns why it halts.
fn start(tip: u64, change: Change, upgrades: Upgrades) -> Option<UpgradeStop> {
    let chain = Chain::with(tip, Some((6, change)));
    let before = dump(&chain.disk.open());
    let (mempool, verifier) = (Arc::new(Mempool::new(mempool::Config::default(), chain_id())), Arc::default());
    let pool = SharedPool { mempool, verifier };
    let store = Arc::new(open(&chain.disk));
    let (mut replica, _) = Replica::resume(Config { upgrades, ..config() }, store, None).unwrap();
    let outputs = replica.step(Time::from_unix_millis(1_800_000_000_000), vec![Input::Start], &pool);
    assert!(dump(&chain.disk.open()) == before, "it writes nothing");
    outputs.into_iter().find_map(|output| match output {
        Output::Halt(Halt::Upgrade(stop)) => Some(stop),
        Output::Halt(other) => panic!("{other}"),
        _ => None,
    })
}

#[test]
pub fn a_replica_stops_at_the_first_height_that_its_program_may_not_execute() {
    let next = |stop: Option<UpgradeStop>| match stop {
        Some(UpgradeStop::Needed(plan)) => Some(("needed", plan.height.0)),
        Some(UpgradeStop::Early { next, .. }) => Some(("early", next.0)),
        Some(UpgradeStop::Outdated { height, .. }) => Some(("outdated", height.0)),
        None => None,
    };
    let old = app::UPGRADES;
    assert_eq!([old, V2].map(|upgrades| next(start(6, plans, upgrades))), [None, Some(("early", 7))]);
    assert_eq!([old, V2].map(|upgrades| next(start(7, plans, upgrades))), [Some(("needed", 8)), None]);
    assert_eq!([old, V2].map(|program| next(start(7, upgrades, program))), [Some(("outdated", 6)), None]);
}
