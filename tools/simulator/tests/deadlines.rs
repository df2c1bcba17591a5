//! Proves that a chain without empty blocks meets a deadline of the application, with few heights whatever a clock shows.
#![allow(missing_docs)]

use std::time::Duration;

use simulator::{Broken, Setup, World};
use support::{Checked, MINUTE, idle, ms, tx};
use types::{KvOp, Msg, NsOwner, ProposalKind, Propose, Revert, RevertScope, Time, TxOrder};

mod support;

/// Returns a world of four validators without empty blocks, whose clocks differ from the world's by these milliseconds.
fn world(clocks: [i64; 4]) -> World {
    let mut setup: Setup = idle(4);
    setup.config.empty_block_interval = None;
    let mut c = World::new(setup);
    (0..4).for_each(|node| c.set_clock(node, clocks[node]));
    c
}

fn deadline(c: &World, node: usize) -> Option<Time> {
    let store = &c.nodes()[node].alive.as_ref().expect("it runs").store;
    app::earliest_deadline(&store.reader().expect("a disk in memory answers"))
}

/// Opens a proposal. Returns the end of its voting, and the height that opened it.
fn propose(c: &mut World) -> Result<(Time, u64), Broken> {
    let ns = "shared/policy".to_owned();
    let create = Msg::NsCreate { ns: ns.clone(), owner: NsOwner::Shared, quota_keys: 9, quota_bytes: 99 };
    let op = KvOp { key: b"rules".to_vec(), value: Some(b"poison".to_vec()), if_height: None };
    let write = Msg::KvWrite { ns: ns.clone(), data_epoch: 1, ops: vec![op] };
    let submit = |c: &mut World, nonce: u64, message: Msg| {
        assert!(c.submit(0, &tx(TxOrder::Nonce(nonce), vec![message])));
        c.run_for(MINUTE)
    };
    c.run_for(ms(1000))?;
    submit(c, 0, create)?;
    let target = c.tip(0);
    submit(c, 1, write)?;
    let scope = vec![RevertScope { ns, expect_root: None }];
    let kind = ProposalKind::Revert(Revert { target, scope, notice: None, dirty_after: None });
    let propose = Propose { kind, reason: String::new(), uri: String::new() };
    let before = c.tip(0).0;
    submit(c, 2, Msg::Propose(Box::new(propose)))?;
    let is_open = |c: &World, height: u64| {
        let committed = c.committed(0, height).expect("it is committed");
        committed.results.txs.iter().any(|tx| tx.code == 0)
    };
    let opened = (before + 1..=c.tip(0).0).find(|height| is_open(c, *height)).expect("the proposal is open");
    Ok((deadline(c, 0).expect("the end of the voting"), opened))
}

/// Waits until the deadline is decided. Returns how late the header's time is, and the number of heights until then.
fn met(c: &mut World) -> Result<(Duration, u64), Broken> {
    let (due, opened) = propose(c)?;
    c.run_until("the deadline", 4 * MINUTE, |c| deadline(c, 0).is_none())?;
    c.run_for(MINUTE)?;
    let decided = (opened..=c.checker_height())
        .find(|height| c.committed(0, *height).is_some_and(|block| block.block.header.time >= due))
        .expect("a block at or after the deadline");
    let committed = c.committed(0, decided).expect("it is committed");
    let kinds: Vec<&str> = committed.results.events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["revert.expired"], "the first such block decides it");
    let late = committed.block.header.time.since(due);
    assert!(c.checker_height() <= decided + 1, "the chain rests again");
    Ok((late, decided - opened))
}

#[test]
fn an_idle_chain_meets_a_deadline_within_milliseconds() -> Checked {
    let (late, heights) = met(&mut world([0; 4]))?;
    assert!(late <= ms(50), "{late:?}");
    assert_eq!(heights, 2, "one with the state after the proposal, and the one that decides");
    Ok(())
}

#[test]
fn clocks_that_differ_cost_few_heights() -> Checked {
    for clocks in [[-200, 200, -200, 200], [200, 100, -100, -200], [-200, 0, 0, 0], [200, 0, 0, 0], [0, 0, 0, -10_000]]
    {
        let (late, heights) = met(&mut world(clocks))?;
        assert!(late <= ms(5_000), "{clocks:?}: {late:?}");
        assert!(heights <= 4, "{clocks:?}: {heights} heights");
    }
    Ok(())
}

/// Its clock is past the deadline for the whole time in which the others wait for it.
#[test]
fn a_clock_that_jumps_ahead_costs_few_heights() -> Checked {
    for node in 0..4 {
        let mut c = world([0; 4]);
        c.jump_clock(node, Duration::from_secs(3600));
        let (late, heights) = met(&mut c)?;
        assert!(late <= ms(5_000), "n{node}: {late:?}");
        assert!(heights <= 4, "n{node}: {heights} heights");
    }
    Ok(())
}
