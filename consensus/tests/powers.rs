//! Proves the thresholds of Algorithm 1 with unequal powers, for every set of voters: more than 2/3 and more than 1/3
//! of the power count, exactly 2/3 and exactly 1/3 do not. L34, L36, L44, L47 and L49 need a quorum, L55 needs one
//! honest validator.

mod support;

use consensus::TimeoutKind::{Precommit, Prevote, Propose};
use support::*;
use types::{Round, Step, limits::POWER_TOTAL_MAX};

/// Returns lists of powers by validator. In the fourth and fifth, some sets of voters have exactly 1/3 or exactly 2/3
/// of the power.
fn all_powers() -> Vec<Vec<u64>> {
    let third = POWER_TOTAL_MAX / 3;
    vec![
        vec![1, 1, 1],
        vec![1, 2, 1],
        vec![2, 3, 2],
        vec![2, 3, 1],
        vec![1, 1, 1, 3],
        vec![1, 2, 3, 4, 5],
        vec![third, third, third],
        vec![third + 1, third, third - 1],
    ]
}

/// Calls `check` for each list of powers, each validator that is not the first proposer, and each set of the other
/// validators, with the power of that set and the total power.
fn for_all_voters(mut check: impl FnMut(&Cast, u32, &[u32], u128, u128)) {
    for powers in all_powers() {
        let cast = Cast::with_powers(&powers);
        let power = |index: u32| u128::from(cast.set.get(index).unwrap().power.0);
        let all: Vec<u32> = (0..cast.set.len() as u32).collect();
        let total = all.iter().map(|index| power(*index)).sum();
        for me in all.iter().copied().filter(|index| *index != cast.proposer(0)) {
            let others: Vec<u32> = all.iter().copied().filter(|index| *index != me).collect();
            for chosen in 0..1_u32 << others.len() {
                let voters: Vec<u32> =
                    (0..others.len()).filter(|at| chosen >> at & 1 == 1).map(|at| others[at]).collect();
                check(&cast, me, &voters, voters.iter().map(|index| power(*index)).sum(), total);
            }
        }
    }
}

/// Returns the power of one validator.
fn own_power(cast: &Cast, me: u32) -> u128 {
    u128::from(cast.set.get(me).unwrap().power.0)
}

#[test]
fn exact_thirds_occur_among_the_sets_of_voters() {
    let (mut third, mut two_thirds, mut two_thirds_with_own) = (0, 0, 0);
    for_all_voters(|cast, me, _, power, total| {
        third += u32::from(3 * power == total);
        two_thirds += u32::from(3 * power == 2 * total);
        two_thirds_with_own += u32::from(3 * (power + own_power(cast, me)) == 2 * total);
    });
    assert!(third >= 10 && two_thirds >= 5 && two_thirds_with_own >= 5, "{third} {two_thirds} {two_thirds_with_own}");
}

#[test]
fn line_34_starts_the_timer_with_more_than_two_thirds_of_any_prevotes() {
    for_all_voters(|cast, me, voters, power, total| {
        let mut engine = cast.started(me);
        let mut outputs = engine.step(now(), timeout(Propose, 0));
        for voter in voters {
            outputs.extend(engine.step(now(), cast.prevote(*voter, 0, Some(numbered(*voter)))));
        }
        let is_started = outputs.contains(&timer(Prevote, 0, ms(1000)));
        assert_eq!(is_started, 3 * (power + own_power(cast, me)) > 2 * total, "{voters:?} of {:?}", cast.set);
    });
}

#[test]
fn line_36_locks_with_more_than_two_thirds_of_prevotes_for_the_block() {
    for_all_voters(|cast, me, voters, power, total| {
        let mut engine = cast.started(me);
        engine.step(now(), proposal(cast.proposal(0, None, block('a'))));
        engine.step(now(), checked(block('a'), true));
        for voter in voters {
            engine.step(now(), cast.prevote(*voter, 0, Some(block('a'))));
        }
        let is_polka = 3 * (power + own_power(cast, me)) > 2 * total;
        assert_eq!(engine.locked().is_some(), is_polka, "{voters:?} of {:?}", cast.set);
        assert_eq!(engine.valid(), engine.locked());
    });
}

#[test]
fn line_44_precommits_nil_with_more_than_two_thirds_of_nil_prevotes() {
    for_all_voters(|cast, me, voters, power, total| {
        let mut engine = cast.started(me);
        engine.step(now(), timeout(Propose, 0));
        for voter in voters {
            engine.step(now(), cast.prevote(*voter, 0, None));
        }
        let is_nil = 3 * (power + own_power(cast, me)) > 2 * total;
        assert_eq!(engine.current_step() == Step::Precommit, is_nil, "{voters:?} of {:?}", cast.set);
    });
}

#[test]
fn line_47_starts_the_timer_with_more_than_two_thirds_of_any_precommits() {
    for_all_voters(|cast, me, voters, power, total| {
        let mut engine = cast.started(me);
        let mut outputs = Vec::new();
        for voter in voters {
            outputs.extend(engine.step(now(), cast.precommit(*voter, 0, Some(numbered(*voter)))));
        }
        let is_started = outputs.contains(&timer(Precommit, 0, ms(1000)));
        assert_eq!(is_started, 3 * power > 2 * total, "{voters:?} of {:?}", cast.set);
    });
}

#[test]
fn line_49_decides_with_more_than_two_thirds_of_precommits_for_the_block() {
    for_all_voters(|cast, me, voters, power, total| {
        let mut engine = cast.started(me);
        engine.step(now(), proposal(cast.proposal(0, None, block('a'))));
        engine.step(now(), checked(block('a'), true));
        for voter in voters {
            engine.step(now(), cast.precommit(*voter, 0, Some(block('a'))));
        }
        assert_eq!(engine.is_decided(), 3 * power > 2 * total, "{voters:?} of {:?}", cast.set);
    });
}

#[test]
fn line_55_skips_with_more_than_one_third_of_the_power_in_a_later_round() {
    for_all_voters(|cast, me, voters, power, total| {
        let mut engine = cast.started(me);
        for voter in voters {
            engine.step(now(), cast.prevote(*voter, 5, None));
        }
        assert_eq!(engine.round() == Round(5), 3 * power > total, "{voters:?} of {:?}", cast.set);
    });
}
