//! Rules of downtime.

use app::{Answer, JailReason, UptimeOf, View, misplaced_row, query};
use types::{Deadline, Event, Height, Params, Power, StakingParams};

use super::{
    common::{
        net::{Net, kinds, seconds, text},
        stake::*,
    },
    stake::{check_supply, pools, stake_pools},
};

const WINDOW: u64 = 20;

/// A chain with a short window, on which a validator is silent for too long after this number of seconds.
fn net_of(downtime: u64) -> Net {
    let staking = StakingParams {
        downtime_window: WINDOW,
        downtime: seconds(downtime),
        jail: seconds(30),
        slash_downtime_bps: 100,
        ..params(5).staking
    };
    Net::with(&Params { staking, ..params(5) })
}

fn missed(net: &Net, seed: u8) -> u64 {
    let path = format!("/staking/validator/{}", of(seed));
    let Ok(Answer::Validator(found)) = query(&net.chain.rows, &path, b"") else { panic!() };
    found.missed
}

fn uptime(net: &Net, seed: u8) -> UptimeOf {
    let Ok(Answer::Uptime(found)) = query(&net.chain.rows, &format!("/staking/uptime/{}", of(seed)), b"") else {
        panic!()
    };
    found
}

/// Executes blocks without the signatures of these validators until one has events.
fn until_jailed(net: &mut Net, silent: &[u8]) -> Vec<Event> {
    (0..200).map(|_| net.without(silent)).find(|events| !events.is_empty()).expect("one is jailed")
}

#[test]
pub fn a_silent_validator_is_jailed_after_half_of_the_window_and_the_time() {
    // The first miss is that of height 1, which block 2 reports at 2 s.
    let mut net = net_of(15);
    net.empty();
    until_jailed(&mut net, &[51]);
    assert_eq!(net.height(), 17, "after 15 s");
    let mut net = net_of(5);
    net.empty();
    let events = until_jailed(&mut net, &[51]);
    assert_eq!(net.height(), 12, "after 11 misses");
    let operator = of(51);
    let slashed = format!(
        "staking.slashed validator={operator} infraction=downtime height=11 fraction_bps=100 burned=100 tombstoned=false"
    );
    let jailed = format!("staking.jailed validator={operator} why=downtime until=42000");
    assert_eq!(events.iter().map(text).collect::<Vec<_>>(), [slashed, jailed]);
    let validator = net.validator(51);
    assert_eq!((validator.tokens, validator.power, validator.is_tombstoned), (9900, Power(0), false));
    assert_eq!(validator.jail.map(|jail| jail.why), Some(JailReason::Downtime));
    assert_eq!((net.changes(), pools(&net)), (vec![(51, 0)], stake_pools(39_900, 0)));
    check_supply(&net);
    net.fails(51, vec![unjail()], "E_JAILED");
    net.chain.time = net.chain.time.saturating_add(seconds(30));
    net.ok(51, vec![unjail()]);
    assert_eq!(net.changes(), [(51, 9)]);
    assert_eq!(misplaced_row(&net.chain.rows), None);
}

#[test]
pub fn a_signature_ends_the_silence() {
    let mut net = net_of(8);
    net.empty();
    (0..5).for_each(|_| assert_eq!(net.without(&[51]), []));
    let silent_since = |net: &Net| uptime(net, 51).misses.unwrap().silent_since.unix_millis();
    assert_eq!((silent_since(&net), net.height()), (2000, 6));
    net.empty();
    net.without(&[51]);
    assert_eq!((silent_since(&net), missed(&net, 51)), (8000, 6), "the misses stay");
    until_jailed(&mut net, &[51]);
    assert_eq!(net.height(), 16, "8 s after the first miss since it signed");
}

#[test]
pub fn misses_are_counted_in_the_window_and_forgotten_after_it() {
    let mut net = net_of(5);
    net.empty();
    // Half of the window is not more than half of it.
    for height in 2_u64..1300 {
        let events = if height % 2 == 0 { net.without(&[51]) } else { net.empty() };
        assert_eq!(events, []);
        if height > 2 * WINDOW && height % 2 == 0 {
            assert_eq!(missed(&net, 51), 10);
        }
    }
    let rows =
        |net: &Net, index| View::of_state(&net.chain.rows).get(&app::state::key::uptime_bits(&of(51), index)).is_some();
    assert_eq!([rows(&net, 0), rows(&net, 1), rows(&net, 2)], [false, true, false]);
    // A long time without a miss ends all of them.
    while net.height() < 2100 {
        net.empty();
    }
    net.without(&[51]);
    assert_eq!(missed(&net, 51), 1);
    assert_eq!([rows(&net, 0), rows(&net, 1), rows(&net, 2)], [false, false, true]);
}

#[test]
pub fn a_block_that_all_signed_writes_nothing_about_it() {
    let mut net = net_of(5);
    net.empty();
    net.without(&[51]);
    let before = net.chain.rows.clone();
    net.empty();
    assert!(net.chain.rows == before);
}

#[test]
pub fn those_that_are_jailed_in_a_window_have_a_third_of_the_power() {
    let mut net = net_of(5);
    net.empty();
    let silent = [51, 52, 53];
    let mut jailed = Vec::new();
    let mut ends = Vec::new();
    while net.height() < 60 {
        let events = net.without(&silent);
        if !events.is_empty() {
            assert_eq!(kinds(&events), "staking.slashed staking.jailed", "one of four");
            jailed.extend(net.changes());
            ends.push(net.height());
        }
    }
    // Each has its turn: 10 of 40, then 10 of 30; 10 of 20 are more than a third.
    assert_eq!((jailed, ends), (vec![(51, 0), (52, 0)], vec![12, 32]));
    assert_eq!(net.power_total(), Power(20));
    check_supply(&net);
}

#[test]
pub fn the_window_starts_empty_when_a_validator_leaves_jail() {
    let mut net = net_of(5);
    net.empty();
    until_jailed(&mut net, &[51]);
    assert_eq!((uptime(&net, 51).misses, missed(&net, 51)), (None, 0));
    // In jail, and on its way into the set, it misses nothing.
    net.without(&[51]);
    net.chain.time = net.chain.time.saturating_add(seconds(30));
    net.ok(51, vec![unjail()]);
    let since = net.height() + 2;
    assert_eq!(net.validator(51).member_since, Height(since));
    while net.height() < since {
        net.without(&[51]);
        assert_eq!(missed(&net, 51), 0);
    }
    net.without(&[51]);
    assert_eq!(missed(&net, 51), 1);
    let found = uptime(&net, 51);
    assert_eq!((found.since, found.window, found.jailed_from), (Height(since), WINDOW, None));
    until_jailed(&mut net, &[51]);
    assert_eq!(net.height(), since + 11);
}

#[test]
pub fn the_window_starts_empty_when_a_validator_enters_the_set() {
    let mut net = net_of(60);
    net.empty();
    (0..8).for_each(|_| drop(net.without(&[51])));
    assert_eq!(missed(&net, 51), 8);
    net.ok(51, vec![undelegate(51, 9500)]);
    net.without(&[51]);
    net.ok(51, vec![delegate(51, 5000)]);
    let since = net.validator(51).member_since;
    assert_eq!((since, missed(&net, 51)), (Height(net.height() + 2), 0));
    while net.height() < since.0 {
        net.without(&[51]);
    }
    net.without(&[51]);
    let found = uptime(&net, 51).misses.unwrap();
    assert_eq!((found.since, found.missed, found.last_missed), (since, 1, since));
    // More than half of the window, but not yet the time.
    (0..10).for_each(|_| drop(net.without(&[51])));
    let from = found.silent_since.unix_millis() + 60_000;
    assert_eq!(uptime(&net, 51).jailed_from, Deadline::from_unix_millis(from));
}
