//! Proves the rules of proposals and reverts: each transition, each refusal, and what a revert changes.

use app::{
    Answer, App, Ending, Frozen, NotUndone, ProposalState, View, earliest_deadline, misplaced_row, query, state::key,
};
use types::{Deadline, Hash, Height, Msg, Params, ProposalParams, Revert, RevertScope, Time, pb};

use crate::common::{net::*, *};

fn deadline(second: u64) -> Deadline {
    Deadline::from_unix_millis(1000 * second).unwrap()
}

fn closed(state: ProposalState) -> (u64, Ending) {
    match state {
        ProposalState::Closed { height, ending, .. } => (height.0, ending),
        open => panic!("{open}"),
    }
}

#[test]
pub fn a_revert_returns_the_old_content_and_nothing_else() {
    let mut net = Net::poisoned();
    let (good, bad) = (net.logged("ns", 3), net.root("ns"));
    let money = net.chain.balance(3);
    let proposed = net.ok(3, vec![propose(revert(3, &["ns", "other"]))]);
    let digest = net.proposal(1).0.revert().unwrap().diff_digest;
    assert_eq!(
        text(&proposed.events[1]),
        format!(
            "revert.proposed id=1 proposer={} target=3 scope=ns,other keys=3 bytes=19 diff_digest={digest} deadline=16000",
            address(3)
        )
    );
    assert_eq!(net.chain.balance(3), money - 1000 - 500, "fee and deposit");
    for (operator, power) in [(51, 10), (52, 20)] {
        let result = net.ok(operator, vec![vote(1, true)]);
        let validator = key(operator + 50).public_key().address();
        assert_eq!(
            text(&result.events[1]),
            format!("revert.vote id=1 validator={validator} vote=yes yes_power={power} total=40")
        );
        assert_eq!(net.chain.events, [], "no decision without more than 2/3");
    }
    net.ok(53, vec![vote(1, true)]);
    let events: Vec<String> = net.chain.events.iter().map(text).collect();
    assert_eq!(events, ["revert.scheduled id=1 at=12000 yes_power=30"]);
    net.empty();
    net.empty();
    assert_eq!(net.root("ns"), bad, "the notice is kept");
    // The block that executes it: writes to the namespace are refused, with any epoch.
    let (old, new, free) = (
        net.tx(1, vec![write("ns", 1, &[put("k", "x")])]),
        net.tx(2, vec![write("ns", 2, &[put("k", "x")])]),
        net.tx(1, vec![create("third")]),
    );
    let results = net.block(vec![old, new, free]);
    let codes: Vec<u32> = results.iter().map(|result| result.code).collect();
    assert_eq!((net.height(), codes), (12, vec![113, 113, 0]), "{}", results[0].log);
    let other = (net.logged("other", 11), net.logged("other", 3));
    let events: Vec<String> = net.chain.events.iter().map(text).collect();
    assert_eq!(
        events,
        [
            format!("revert.executed id=1 ns=ns target=3 from_root={bad} to_root={good} keys=2 data_epoch=2"),
            format!(
                "revert.executed id=1 ns=other target=3 from_root={} to_root={} keys=1 data_epoch=2",
                other.0, other.1
            ),
        ]
    );
    assert_eq!(net.root("ns"), good);
    assert_eq!(net.content("ns"), [("k", "good"), ("kept", "same")].map(|(k, v)| (k.into(), v.into())).into());
    let namespace = net.namespace("ns");
    assert_eq!((namespace.keys, namespace.bytes, namespace.writes), (2, 13, 2), "writes are not undone");
    assert_eq!((namespace.reverted, namespace.changed), (Some(Height(12)), Height(12)));
    assert_eq!(misplaced_row(&net.chain.rows), None, "the list of keys fits");
    assert_eq!(App::open(&net.chain.rows, chain_id(), Height(12)).app_hash(), net.chain.app.app_hash());
    assert_eq!(closed(net.state(1)), (12, Ending::Executed));
    assert_eq!(net.chain.balance(3), money - 1000, "the deposit came back");
    net.fails(1, vec![write("ns", 1, &[put("k", "x")])], "E_STALE_EPOCH");
    net.ok(1, vec![write("ns", 2, &[put("k", "x")])]);
    let by = |height| net.reverted_by("ns", height);
    assert_eq!([by(3), by(4), by(11), by(12), by(13)], [None, Some(1), Some(1), None, None]);
}

#[test]
pub fn every_impossible_proposal_is_refused() {
    let mut net = Net::with(&Params { retain_blocks: 7, ..params() });
    net.ok(1, vec![create("a"), create("b")]);
    net.ok(1, vec![write("a", 1, &[put("k", "1")]), write("b", 1, &[put("k", "1")])]);
    for _ in 0..6 {
        net.empty();
    }
    net.ok(1, vec![write("a", 1, &[put("k", "2")])]);
    net.ok(1, vec![create("new")]);
    let try_it = |net: &mut Net, revert: Revert, name: &str| net.fails(2, vec![propose(revert)], name);
    // The block of each of these is one higher than the last one.
    assert!(try_it(&mut net, revert(11, &["a"]), "E_HEIGHT_FUTURE").contains("10 is the latest"));
    assert!(try_it(&mut net, revert(u64::MAX >> 1, &["a"]), "E_HEIGHT_FUTURE").contains("11 is the latest"));
    assert!(try_it(&mut net, revert(5, &["a"]), "E_HEIGHT_PRUNED").contains("6 is the earliest"));
    assert!(try_it(&mut net, revert(0, &["a"]), "E_HEIGHT_PRUNED").contains("7 is the earliest"));
    try_it(&mut net, revert(9, &["none"]), "E_NS_UNKNOWN");
    try_it(&mut net, revert(9, &["a", "B"]), "E_BAD_NAME");
    assert!(try_it(&mut net, revert(10, &["a", "new"]), "E_NS_NEWER").contains("created at height 10"));
    try_it(&mut net, revert(12, &["a", "b"]), "E_NOOP");
    let notice = |ms: u64| Revert { notice: Some(std::time::Duration::from_millis(ms)), ..revert(12, &["a"]) };
    assert!(try_it(&mut net, notice(2_999), "E_NOTICE").contains("2999 ms, 3000 to 2592000000 are allowed"));
    try_it(&mut net, notice(2_592_000_001), "E_NOTICE");
    let poor = net.tx(2, vec![transfer(9, 1499)]);
    net.block(vec![poor]);
    assert!(net.fails(9, vec![propose(revert(19, &["a"]))], "E_DEPOSIT").contains("500 is needed"));
}

#[test]
pub fn conditions_of_a_proposal_are_checked_when_it_is_opened() {
    let mut net = Net::poisoned();
    let expect = |root| {
        let scope = vec![RevertScope { ns: "ns".into(), expect_root: Some(root) }];
        propose(Revert { scope, ..revert(3, &[]) })
    };
    let good = net.logged("ns", 3);
    let log = net.fails(1, vec![expect(Hash([7; 32]))], "E_ROOT_MISMATCH");
    assert!(log.contains(&format!("had the root {good} at the target")), "{log}");
    let dirty = |height| propose(Revert { dirty_after: Some(Height(height)), ..revert(3, &["ns"]) });
    assert!(net.fails(1, vec![dirty(3)], "E_DIRTY").contains("changed at height 4, after 3"));
    net.ok(1, vec![expect(good)]);
    net.ok(1, vec![dirty(4)]);
}

#[test]
pub fn a_namespace_with_its_old_content_is_left_out() {
    let mut net = Net::poisoned();
    net.ok(1, vec![propose(revert(4, &["other", "ns"]))]);
    let scope: Vec<_> = net.proposal(1).0.names().map(|name| name.to_string()).collect();
    assert_eq!(scope, ["other"], "ns did not change since height 4");
}

#[test]
pub fn a_revert_that_is_too_large_is_refused() {
    let mut net = Net::poisoned();
    let many: Vec<_> = (0..21).map(|key| put(&format!("many{key}"), "v")).collect();
    net.ok(1, vec![write("ns", 1, &many)]);
    let log = net.fails(1, vec![propose(revert(3, &["ns"]))], "E_TOO_LARGE");
    assert!(log.contains("more than 20 keys or 2000 bytes changed in the namespaces since height 3"), "{log}");
    net.ok(1, vec![write("other", 1, &[put("k", &"v".repeat(2000))])]);
    net.fails(1, vec![propose(revert(5, &["other"]))], "E_TOO_LARGE");
    // What has its old value again counts too: all nodes do the same work.
    let none: Vec<_> = (0..21).map(|key| del(&format!("many{key}"))).collect();
    net.ok(1, vec![write("ns", 1, &none)]);
    net.fails(1, vec![propose(revert(3, &["ns"]))], "E_TOO_LARGE");
}

#[test]
pub fn no_more_proposals_are_open_or_tried_in_a_block_than_allowed() {
    let mut net = Net::poisoned();
    let huge: Vec<_> = (0..21).map(|key| put(&format!("many{key}"), "v")).collect();
    net.ok(1, vec![write("ns", 1, &huge)]);
    let txs = (0..4).map(|_| net.tx(1, vec![propose(revert(3, &["ns"]))])).collect();
    let codes: Vec<u32> = net.block(txs).iter().map(|result| result.code).collect();
    assert_eq!(codes, [2, 2, 2, 125], "a block compares three times");
    let txs = (0..4).map(|_| net.tx(1, vec![propose(revert(6, &["ns", "other"]))])).collect();
    let codes: Vec<u32> = net.block(txs).iter().map(|result| result.code).collect();
    assert_eq!(codes, [134, 134, 134, 125], "those without a change included");
    for _ in 0..3 {
        net.ok(1, vec![propose(revert(3, &["other"]))]);
    }
    net.fails(1, vec![propose(revert(3, &["other"]))], "E_TOO_MANY_OPEN");
    net.ok(1, vec![Msg::Cancel { id: 2 }]);
    net.ok(1, vec![propose(revert(3, &["other"]))]);
    let Ok(Answer::Proposals { list, open, next }) = query(&net.chain.rows, "/proposals?limit=2", b"2") else {
        panic!()
    };
    let ids: Vec<u64> = list.iter().map(|(proposal, _)| proposal.id).collect();
    assert_eq!((ids, open, next), (vec![2, 3], vec![1, 3, 4], Some(4)));
    let Ok(Answer::Supply { deposits, .. }) = query(&net.chain.rows, "/supply", b"") else { panic!() };
    assert_eq!(deposits, 1500);
    for (path, data, name) in [
        ("/proposals", "x", "E_BAD_QUERY"),
        ("/proposals?limit=0", "", "E_BAD_QUERY"),
        ("/proposal/", "", "E_BAD_QUERY"),
        ("/proposal/+1", "", "E_BAD_QUERY"),
        ("/proposal/9", "", "E_UNKNOWN"),
    ] {
        assert_eq!(query(&net.chain.rows, path, data.as_bytes()).unwrap_err().code().name, name, "{path}");
    }
}

#[test]
pub fn only_operators_vote_and_only_until_a_proposal_is_closed() {
    let mut net = Net::poisoned();
    net.ok(1, vec![propose(revert(3, &["ns"]))]);
    for message in [vote(2, true), Msg::Freeze { id: 2 }, Msg::Cancel { id: 2 }] {
        net.fails(51, vec![message], "E_UNKNOWN");
    }
    net.fails(1, vec![vote(1, true)], "E_NOT_VALIDATOR");
    net.fails(1, vec![Msg::Freeze { id: 1 }], "E_NOT_VALIDATOR");
    net.fails(2, vec![Msg::Cancel { id: 1 }], "E_NOT_PROPOSER");
    net.ok(1, vec![Msg::Cancel { id: 1 }]);
    assert_eq!(closed(net.state(1)).1, Ending::Cancelled);
    for message in [vote(1, true), Msg::Freeze { id: 1 }] {
        assert!(net.fails(51, vec![message], "E_CLOSED").contains("proposal 1 is cancelled"));
    }
    net.fails(1, vec![Msg::Cancel { id: 1 }], "E_CLOSED");
    let id = net.schedule(revert(3, &["ns"]));
    assert!(net.fails(3, vec![Msg::Cancel { id }], "E_CLOSED").contains("is scheduled"));
}

#[test]
pub fn a_vote_replaces_the_earlier_one() {
    let mut net = Net::poisoned();
    net.ok(1, vec![propose(revert(3, &["ns"]))]);
    for yes in [true, false, true] {
        net.ok(51, vec![vote(1, yes)]);
        let (_, tally) = net.proposal(1);
        assert_eq!((tally.yes.0, tally.no.0, tally.total.0), if yes { (10, 0, 40) } else { (0, 10, 40) });
    }
}

/// As [`Net::poisoned`], with three validators of the power 10, and an open proposal.
fn three() -> Net {
    let mut net = Net::poisoned();
    let mut chain = Chain::with_validators(&[1 << 40, 1 << 40, 1 << 40], &params(), &[10, 10, 10]);
    net.blocks.iter().for_each(|block| drop(chain.block(block)));
    net.chain = chain;
    net.ok(1, vec![propose(revert(3, &["ns"]))]);
    net
}

#[test]
pub fn exactly_two_thirds_decide_nothing() {
    let mut net = three();
    net.ok(51, vec![vote(1, true)]);
    net.ok(52, vec![vote(1, true)]);
    assert_eq!(net.state(1), ProposalState::Voting, "20 of 30");
    net.ok(53, vec![vote(1, true)]);
    assert!(matches!(net.state(1), ProposalState::Scheduled { .. }));
}

#[test]
pub fn exactly_a_third_neither_freezes_nor_rejects() {
    let mut net = three();
    let frozen = net.ok(51, vec![Msg::Freeze { id: 1 }]);
    assert_eq!((kinds(&frozen.events).as_str(), net.namespace("ns").frozen), ("tx", None), "10 of 30 demand a freeze");
    net.ok(51, vec![vote(1, false)]);
    assert_eq!(net.state(1), ProposalState::Voting, "10 of 30 vote no");
    let frozen = net.ok(52, vec![Msg::Freeze { id: 1 }]);
    assert_eq!(kinds(&frozen.events), "tx revert.frozen");
    net.ok(52, vec![vote(1, false)]);
    assert_eq!(closed(net.state(1)).1, Ending::Rejected);
}

#[test]
pub fn a_proposal_expires_and_its_deposit_comes_back() {
    let mut net = Net::poisoned();
    let money = net.chain.balance(1);
    net.ok(1, vec![propose(revert(3, &["ns"]))]);
    let ends = net.proposal(1).0.voting_ends;
    assert_eq!(ends, deadline(16));
    net.ok(51, vec![vote(1, false)]);
    while net.height() < 15 {
        assert_eq!(net.empty(), []);
    }
    // The deadline is decided before the transactions of its block.
    let late = net.tx(52, vec![vote(1, true)]);
    assert_eq!(net.block(vec![late])[0].code, 121);
    assert_eq!(net.chain.events.iter().map(text).collect::<Vec<_>>(), ["revert.expired id=1"]);
    assert_eq!((closed(net.state(1)), net.chain.balance(1)), ((16, Ending::Expired), money - 1000));
    assert_eq!(net.proposal(1).1.no.0, 10, "the votes are kept");
}

#[test]
pub fn more_than_a_third_rejects_and_the_deposit_comes_back() {
    let mut net = Net::poisoned();
    let money = net.chain.balance(1);
    net.ok(1, vec![propose(revert(3, &["ns"]))]);
    net.ok(51, vec![vote(1, false)]);
    assert_eq!(net.state(1), ProposalState::Voting, "10 of 40 cannot prevent more than 2/3");
    net.ok(52, vec![vote(1, false)]);
    assert_eq!(net.chain.events.iter().map(text).collect::<Vec<_>>(), ["revert.rejected id=1 no_power=20 total=40"]);
    assert_eq!((closed(net.state(1)).1, net.chain.balance(1)), (Ending::Rejected, money - 1000));
    let Ok(Answer::Supply { total, fee_pool, deposits, stake }) = query(&net.chain.rows, "/supply", b"") else {
        panic!()
    };
    let others = u128::from(fee_pool) + u128::from(stake.sum());
    assert_eq!((net.chain.balances() + others, deposits), (u128::from(total), 0));
}

#[test]
pub fn more_than_a_third_freezes_until_the_proposal_ends_or_the_time_is_over() {
    let mut net = Net::poisoned();
    net.ok(1, vec![propose(revert(3, &["ns"]))]);
    assert_eq!(kinds(&net.ok(51, vec![Msg::Freeze { id: 1 }]).events), "tx", "10 of 40");
    let frozen = net.ok(52, vec![Msg::Freeze { id: 1 }]);
    assert_eq!(text(&frozen.events[1]), "revert.frozen id=1 ns=ns until=14000 power=20");
    assert_eq!(net.namespace("ns").frozen, Some(Frozen { until: deadline(14), by: 1 }));
    assert!(net.fails(1, vec![write("ns", 1, &[put("k", "x")])], "E_NS_FROZEN").contains("until 1970-01-01T00:00:14Z"));
    net.ok(1, vec![write("other", 1, &[put("k", "x")])]);
    net.fails(53, vec![Msg::Freeze { id: 1 }], "E_FREEZE_COOLDOWN");
    while net.height() < 13 {
        net.empty();
    }
    let write_now = net.tx(1, vec![write("ns", 1, &[put("k", "x")])]);
    assert_eq!(net.block(vec![write_now])[0].code, 0, "the first block at the end of the freeze");
    assert_eq!(net.chain.events.iter().map(text).collect::<Vec<_>>(), ["revert.unfrozen id=1 ns=ns"]);
    assert!(net.fails(53, vec![Msg::Freeze { id: 1 }], "E_FREEZE_COOLDOWN").contains("after 1970-01-01T00:00:19Z"));
    assert_eq!(kinds(&net.empty()), "revert.expired");
    // A freeze ends with its proposal, and the pause begins then.
    net.ok(1, vec![propose(revert(3, &["ns"]))]);
    net.empty();
    for operator in [51, 52] {
        net.ok(operator, vec![Msg::Freeze { id: 2 }]);
    }
    assert!(net.namespace("ns").frozen.is_some());
    let cancelled = net.ok(1, vec![Msg::Cancel { id: 2 }]);
    assert_eq!(kinds(&cancelled.events), "tx revert.cancelled revert.unfrozen");
    assert_eq!(net.namespace("ns").freeze_after, Some(deadline(26)));
    net.ok(1, vec![write("ns", 1, &[put("k", "y")])]);
}

#[test]
pub fn each_freeze_needs_the_demands_of_more_than_a_third() {
    let mut net = Net::poisoned();
    net.schedule(Revert { notice: Some(seconds(60)), ..revert(3, &["ns"]) });
    for operator in [51, 52] {
        net.ok(operator, vec![Msg::Freeze { id: 1 }]);
    }
    let after = net.namespace("ns").freeze_after.unwrap();
    while !after.has_passed(net.chain.time) {
        net.empty();
    }
    assert_eq!(net.namespace("ns").frozen, None);
    assert_eq!(
        (net.proposal(1).1.freeze.0, net.proposal(1).1.yes.0),
        (0, 30),
        "the demands are over, the votes are not"
    );
    net.ok(53, vec![Msg::Freeze { id: 1 }]);
    assert_eq!(net.namespace("ns").frozen, None, "10 of 40 repeat no freeze");
    net.ok(51, vec![Msg::Freeze { id: 1 }]);
    assert!(net.namespace("ns").frozen.is_some());
}

#[test]
pub fn a_validator_freezes_for_one_proposal_at_a_time() {
    let mut net = Net::poisoned();
    net.ok(1, vec![propose(revert(3, &["ns"]))]);
    net.ok(1, vec![propose(revert(3, &["other"]))]);
    net.ok(51, vec![vote(1, true)]);
    net.ok(51, vec![Msg::Freeze { id: 1 }]);
    // Until there is a freeze, the demand moves, and the vote stays.
    let moved = net.ok(51, vec![Msg::Freeze { id: 2 }]);
    let validator = key(101).public_key();
    assert_eq!(kinds(&moved.events), "tx revert.demand_moved");
    assert_eq!(text(&moved.events[1]), format!("revert.demand_moved id=1 validator={} to=2", validator.address()));
    let sums = |net: &Net| [1, 2].map(|id| (net.proposal(id).1.freeze.0, net.proposal(id).1.yes.0));
    assert_eq!(sums(&net), [(0, 10), (10, 0)]);
    net.ok(52, vec![Msg::Freeze { id: 2 }]);
    assert!(net.namespace("other").frozen.is_some());
    // A freeze holds the demands that led to it.
    net.ok(53, vec![Msg::Freeze { id: 1 }]);
    let log = net.fails(52, vec![Msg::Freeze { id: 1 }], "E_ONE_FREEZE");
    let until = net.namespace("other").frozen.unwrap().until;
    assert!(log.contains(&format!("proposal 2 until {until}")), "{log}");
    assert_eq!(sums(&net), [(10, 10), (20, 0)]);
    assert_eq!(net.namespace("ns").frozen, None);
    // It is over with its proposal.
    net.ok(1, vec![Msg::Cancel { id: 2 }]);
    net.ok(52, vec![Msg::Freeze { id: 1 }]);
    assert!(net.namespace("ns").frozen.is_some());
}

#[test]
pub fn a_freeze_lasts_no_longer_than_its_proposal_can() {
    let long = Params { proposals: ProposalParams { freeze_max: seconds(60), ..params().proposals }, ..params() };
    let mut net = Net::with(&long);
    net.ok(1, vec![create("ns")]);
    net.ok(1, vec![write("ns", 1, &[put("k", "1")])]);
    net.ok(1, vec![write("ns", 1, &[put("k", "2")])]);
    net.ok(1, vec![propose(revert(2, &["ns"]))]);
    let freeze = |net: &mut Net| {
        let txs = [51, 52].map(|operator| net.tx(operator, vec![Msg::Freeze { id: 1 }]));
        net.block(txs.into());
    };
    freeze(&mut net);
    assert_eq!(net.namespace("ns").frozen.unwrap().until, deadline(4 + 10 + 3), "the voting and the notice");
    // A scheduled proposal ends when it is executed.
    let mut net = Net::poisoned();
    assert_eq!(net.schedule(revert(3, &["ns"])), 1);
    freeze(&mut net);
    assert_eq!(net.namespace("ns").frozen.unwrap().until, deadline(10));
    assert_eq!(kinds(&net.wait()), "revert.unfrozen revert.executed");
}

#[test]
pub fn a_revert_that_is_not_possible_any_more_fails_and_changes_nothing() {
    let check = |name: &str, mut net: Net, revert: Revert, spoil: &dyn Fn(&mut Net)| {
        let money = net.chain.balance(3);
        let id = net.schedule(revert);
        spoil(&mut net);
        let before = (net.content("ns"), net.root("ns"), net.namespace("ns"));
        let events = net.wait();
        assert_eq!(events.iter().map(text).collect::<Vec<_>>(), [format!("revert.failed id={id} code={name}")]);
        assert_eq!((net.content("ns"), net.root("ns"), net.namespace("ns")), before, "{name}");
        let code = app::CODES.iter().find(|line| line.name == name).unwrap().number;
        assert_eq!(closed(net.state(id)).1, Ending::Failed { code });
        assert_eq!(net.chain.balance(3), money - 1000, "the deposit came back");
        assert_eq!(net.reverted_by("ns", 4), None);
        net.ok(1, vec![write("ns", 1, &[put("k", "next")])]);
    };
    check("E_POWER_LOST", Net::poisoned(), revert(3, &["ns"]), &|net| drop(net.ok(51, vec![vote(1, false)])));
    let dirty = Revert { dirty_after: Some(Height(4)), ..revert(3, &["ns"]) };
    check("E_DIRTY", Net::poisoned(), dirty, &|net| drop(net.ok(1, vec![write("ns", 1, &[put("k", "worse")])])));
    let many: Vec<_> = (0..20).map(|key| put(&format!("many{key}"), "v")).collect();
    check("E_TOO_LARGE", Net::poisoned(), revert(3, &["ns"]), &|net| drop(net.ok(1, vec![write("ns", 1, &many)])));
    let barrier = [b"\x08\x04\x12\x07upgrade".to_vec()].concat();
    check("E_CROSSES_BARRIER", Net::poisoned(), revert(3, &["ns"]), &|net| net.tamper(key::BARRIER, &barrier));
    let wrong = [b"\x0A\x20".to_vec(), vec![9; 32]].concat();
    let log = key::logged_root(0, Height(2));
    check("E_ROOT_MISMATCH", Net::poisoned(), revert(3, &["ns"]), &|net| net.tamper(&log, &wrong));
    let mut short = Net::with(&Params { retain_blocks: 6, ..params() });
    short.ok(1, vec![create("ns")]);
    short.ok(1, vec![write("ns", 1, &[put("k", "1")])]);
    short.ok(1, vec![write("ns", 1, &[put("k", "2")])]);
    short.empty();
    check("E_HEIGHT_PRUNED", short, revert(2, &["ns"]), &|_| {});
}

#[test]
pub fn no_revert_goes_back_before_a_barrier() {
    let mut net = Net::poisoned();
    net.tamper(key::BARRIER, &[b"\x08\x04\x12\x07upgrade".to_vec()].concat());
    let log = net.fails(1, vec![propose(revert(3, &["ns"]))], "E_CROSSES_BARRIER");
    assert!(log.contains("upgrade at height 4"), "{log}");
    net.ok(1, vec![propose(revert(4, &["other"]))]);
}

#[test]
pub fn after_a_revert_a_namespace_is_not_proposed_again_for_a_while() {
    let mut net = Net::poisoned();
    net.schedule(revert(3, &["ns"]));
    assert_eq!(kinds(&net.wait()), "revert.executed");
    let executed = net.height();
    assert!(net.fails(1, vec![propose(revert(5, &["ns"]))], "E_COOLDOWN").contains("1970-01-01T00:00:15Z"));
    while net.height() < executed + 4 {
        net.empty();
    }
    net.ok(1, vec![propose(revert(5, &["ns"]))]);
}

#[test]
pub fn one_of_two_overlapping_proposals_is_scheduled_and_supersedes_the_other() {
    let mut net = Net::poisoned();
    net.ok(1, vec![propose(revert(3, &["ns", "other"]))]);
    net.ok(2, vec![propose(revert(4, &["other"]))]);
    let votes =
        |net: &mut Net, id| OPERATORS[..3].iter().map(|from| net.tx(*from, vec![vote(id, true)])).collect::<Vec<_>>();
    let mut txs = votes(&mut net, 2);
    txs.extend(votes(&mut net, 1));
    net.block(txs);
    assert_eq!(kinds(&net.chain.events), "revert.scheduled");
    assert!(matches!(net.state(1), ProposalState::Scheduled { .. }) && net.state(2) == ProposalState::Voting);
    let events = net.wait();
    assert_eq!(kinds(&events), "revert.executed revert.executed revert.superseded");
    assert_eq!(text(&events[2]), "revert.superseded id=2 by=1");
    assert_eq!(closed(net.state(2)).1, Ending::Superseded { by: 1 });
    // One that waits is scheduled when the other one fails.
    let mut net = Net::poisoned();
    net.ok(1, vec![propose(revert(3, &["ns", "other"]))]);
    net.ok(2, vec![propose(revert(4, &["other"]))]);
    let mut txs = votes(&mut net, 2);
    txs.extend(votes(&mut net, 1));
    net.block(txs);
    net.ok(51, vec![vote(1, false)]);
    assert_eq!(kinds(&net.wait()), "revert.failed revert.scheduled");
    assert_eq!(kinds(&net.wait()), "revert.executed");
}

#[test]
pub fn a_block_executes_one_revert_and_the_next_block_the_next() {
    let mut net = Net::poisoned();
    net.ok(1, vec![propose(revert(3, &["ns"]))]);
    net.ok(2, vec![propose(revert(4, &["other"]))]);
    let both = OPERATORS[..3].iter().map(|from| net.tx(*from, vec![vote(1, true), vote(2, true)])).collect();
    net.block(both);
    assert_eq!(kinds(&net.chain.events), "revert.scheduled revert.scheduled");
    let first = net.wait();
    assert_eq!((kinds(&first).as_str(), attribute(&first[0], "id")), ("revert.executed", "1"));
    let due = earliest_deadline(&net.chain.rows).unwrap();
    assert!(due < net.chain.time, "the second one is due, so that the host starts a height for it at once");
    let second = net.empty();
    assert_eq!((kinds(&second).as_str(), attribute(&second[0], "id")), ("revert.executed", "2"));
}

#[test]
pub fn a_revert_to_the_height_before_a_revert_undoes_it() {
    let mut net = Net::poisoned();
    let (bad, content) = (net.root("ns"), net.content("ns"));
    net.schedule(revert(3, &["ns"]));
    net.wait();
    let executed = net.height();
    for _ in 0..5 {
        net.empty();
    }
    net.schedule(revert(executed - 1, &["ns"]));
    assert_eq!(kinds(&net.wait()), "revert.executed");
    assert_eq!((net.root("ns"), net.content("ns"), net.namespace("ns").data_epoch), (bad, content, 3));
    assert_eq!(net.reverted_by("ns", executed), Some(2), "what the first revert wrote was taken back");
    assert_eq!(net.reverted_by("ns", executed - 1), Some(1));
    assert_eq!(misplaced_row(&net.chain.rows), None);
}

/// Reverts the namespace of [`quick`] this many times, each time to what it was before its last write.
fn revert_often(net: &mut Net, times: u64) {
    for id in 1..=times {
        net.ok(1, vec![write("ns", net.namespace("ns").data_epoch, &[put("k", &id.to_string())])]);
        let proposed = net.tx(1, vec![propose(revert(net.height() - 1, &["ns"]))]);
        let votes = OPERATORS[..3].iter().map(|from| net.tx(*from, vec![vote(id, true)]));
        let txs: Vec<_> = [proposed].into_iter().chain(votes.collect::<Vec<_>>()).collect();
        let results = net.block(txs);
        assert!(results.iter().all(|result| result.code == 0), "{results:?}");
        assert_eq!(kinds(&net.empty()), "revert.executed");
    }
}

/// Returns the recorded reverts of the first namespace: target and height of execution.
fn taints(net: &Net) -> Vec<(i64, i64)> {
    let mut view = View::of_state(&net.chain.rows);
    let row = view.get(&key::taints(0)).expect("it was reverted");
    let taints = <pb::Taints as prost::Message>::decode(row).unwrap().taints;
    taints.iter().map(|taint| (taint.target_height, taint.executed_height)).collect()
}

/// A chain without notice and pauses, whose namespace `ns` has a key.
fn quick(retain_blocks: u64) -> Net {
    let proposals = ProposalParams { notice_min: seconds(0), cooldown: seconds(0), ..params().proposals };
    let mut net = Net::with(&Params { retain_blocks, proposals, ..params() });
    net.ok(1, vec![create("ns")]);
    net.ok(1, vec![write("ns", 1, &[put("k", "first")])]);
    net
}

#[test]
pub fn the_heights_that_reverts_took_back_are_recorded_for_the_window() {
    let mut net = quick(9);
    revert_often(&mut net, 5);
    // Rounds of three blocks: the revert of block 17 went back to height 14.
    assert_eq!((net.height(), taints(&net)), (17, vec![(8, 11), (11, 14), (14, 17)]));
    assert_eq!(
        [13, 14, 15, 16, 17].map(|height| net.reverted_by("ns", height)),
        [Some(4), None, Some(5), Some(5), None]
    );
}

#[test]
pub fn the_oldest_of_many_reverts_in_a_window_share_a_record() {
    let mut net = quick(1000);
    revert_often(&mut net, 67);
    let taints = taints(&net);
    assert_eq!((taints.len(), taints[0]), (64, (2, 14)), "the first four became one");
    assert_eq!(
        [2, 3, 4, 13, 14].map(|height| net.reverted_by("ns", height).is_some()),
        [false, true, true, true, false]
    );
}

#[test]
pub fn the_deadline_of_the_host_is_the_earliest_one() {
    let mut net = Net::poisoned();
    let due = |net: &Net| earliest_deadline(&net.chain.rows).map(|time: Time| time.unix_nanos() / 1_000_000_000);
    assert_eq!(due(&net), None);
    net.ok(1, vec![propose(revert(3, &["ns"]))]);
    assert_eq!(due(&net), Some(16), "the voting ends");
    let txs = [51, 52].map(|from| net.tx(from, vec![Msg::Freeze { id: 1 }]));
    net.block(txs.into());
    assert_eq!(due(&net), Some(13), "the freeze ends");
    net.pass(1);
    assert_eq!(due(&net), Some(11), "it is executed");
    assert_eq!(kinds(&net.wait()), "revert.executed revert.unfrozen");
    assert_eq!((net.height(), due(&net)), (11, None));
}

#[test]
pub fn a_preview_shows_what_a_proposal_would_do_and_what_it_would_not_undo() {
    let mut net = Net::poisoned();
    net.ok(1, vec![transfer(2, 5), transfer(2, 6)]);
    let preview = net.preview(revert(4, &["other", "ns"])).unwrap();
    assert_eq!((preview.target, preview.earliest, preview.barrier.clone()), (Height(4), Height(0), None));
    let namespaces: Vec<_> =
        preview.namespaces.iter().map(|one| (one.name.to_string(), one.keys, one.bytes, one.writes)).collect();
    assert_eq!(namespaces, [("ns".into(), 0, 0, 0), ("other".into(), 1, 4, 1)]);
    assert_eq!((preview.keys, preview.bytes), (1, 4));
    assert_eq!(preview.not_undone, NotUndone { txs: 2, transfers: 2, writes: 0 });
    assert_eq!(preview.refusals, []);
    net.ok(3, vec![propose(revert(4, &["other", "ns"]))]);
    assert_eq!(net.proposal(1).0.revert().unwrap().diff_digest, preview.diff_digest);
    let names = |revert: Revert| match net.preview(revert) {
        Ok(preview) => preview.refusals.iter().map(|refusal| refusal.code().name).collect::<Vec<_>>().join(" "),
        Err(refusal) => refusal.code().name.to_owned(),
    };
    let wrong = vec![RevertScope { ns: "ns".into(), expect_root: Some(Hash([1; 32])) }];
    assert_eq!(names(Revert { scope: wrong, ..revert(3, &[]) }), "E_ROOT_MISMATCH");
    assert_eq!(names(revert(5, &["ns"])), "E_NOOP");
    assert_eq!(names(Revert { dirty_after: Some(Height(3)), ..revert(3, &["ns"]) }), "E_DIRTY");
    assert_eq!(names(revert(99, &["ns"])), "E_HEIGHT_FUTURE");
    assert_eq!(names(revert(3, &["none"])), "E_NS_UNKNOWN");
    assert_eq!(names(revert(3, &["ns", "ns"])), "E_DECODE");
    let rows = net.chain.rows.clone();
    net.preview(revert(3, &["ns"])).unwrap();
    assert!(net.chain.rows == rows);
    for _ in 0..2 {
        net.ok(3, vec![propose(revert(4, &["other"]))]);
    }
    let names = |net: &Net, revert: Revert| {
        let refusals = net.preview(revert).unwrap().refusals;
        refusals.iter().map(|refusal| refusal.code().name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&net, revert(3, &["ns"])), "E_TOO_MANY_OPEN");
    net.ok(3, vec![Msg::Cancel { id: 2 }]);
    net.pass(1);
    assert_eq!(kinds(&net.wait()), "revert.executed revert.superseded");
    let before = net.height() - 1;
    assert_eq!(names(&net, revert(before, &["other"])), "E_COOLDOWN");
}

#[test]
pub fn golden_hashes_of_a_revert() {
    let mut net = Net::poisoned();
    net.ok(1, vec![propose(revert(3, &["ns", "other"]))]);
    assert_eq!(
        net.proposal(1).0.revert().unwrap().diff_digest.to_string(),
        "AED993BF9063E3C96DD5136188D08F83CA6DC34A607B538768234D8A7D1621AC"
    );
    let mut hashes = vec![net.chain.app.app_hash().to_string()];
    let txs = [51, 52].map(|from| net.tx(from, vec![Msg::Freeze { id: 1 }]));
    net.block(txs.into());
    hashes.push(net.chain.app.app_hash().to_string());
    net.pass(1);
    hashes.push(net.chain.app.app_hash().to_string());
    net.wait();
    hashes.push(net.chain.app.app_hash().to_string());
    let expected = [
        "2A5494D14354EE534042B6B0CCD78808860162DE817C02766B9240FC94E9010A",
        "7CB7459F47341881310D04FE7F407612BE6ED6E8C55598185CAE2128BCC67FAE",
        "81410904D16C54A904ED7E2573C847BE6F3B97CE23CE4F64213B89E86481EA38",
        "F1C23D48ADA9C926996345E257982FDD3A6DD922B3480F45DBA5F1561E8742D0",
    ];
    assert_eq!(hashes, expected, "proposed, frozen, scheduled, executed");
}
