//! Proves the rules of what the validators decide beside reverts: parameters, upgrades, payments and texts; and what
//! votes with veto do.

use app::{
    Answer, App, Barrier, Ending, Migration, Pools, ProposalState, Upgrade, UpgradeStop, Upgrades, View, query,
    state::key,
};
use prost::Message;
use types::{
    Act, Address, Block, Choice, Height, KvOp, Msg, ParamChange, Params, ProposalKind, Propose, Reader, StakeMsg,
    StakingParams, UpgradePlan, limits::VALIDATORS_MAX, pb,
};

use crate::common::{net::*, *};

fn decide(act: Act) -> Msg {
    Msg::Propose(Box::new(Propose { kind: ProposalKind::Act(act), reason: "a test".into(), uri: String::new() }))
}

fn params_of(changes: &[(&str, i64)]) -> Msg {
    let change = |(name, value): &(&str, i64)| ParamChange { name: (*name).into(), value: *value };
    decide(Act::Params(changes.iter().map(change).collect()))
}

fn plan(name: &str, height: u64) -> UpgradePlan {
    UpgradePlan { name: name.into(), height: Height(height), info: "https://example.org/v2".into() }
}

fn upgrade(name: &str, height: u64) -> Msg {
    decide(Act::Upgrade(plan(name, height)))
}

fn spend(to: Address, amount: u64) -> Msg {
    decide(Act::Spend { to, amount })
}

fn text_of(title: &str) -> Msg {
    decide(Act::Text { title: title.into(), body: "a\nb".into() })
}

fn texts(events: &[types::Event]) -> Vec<String> {
    events.iter().map(text).collect()
}

/// Proposes, and lets more than 2/3 vote yes. Returns the events of the block in which it acts.
fn pass(net: &mut Net, message: Msg) -> Vec<String> {
    let proposed = net.ok(3, vec![message]);
    let id = attribute(&proposed.events[1], "id").parse().unwrap();
    net.pass(id);
    texts(&net.empty())
}

/// Lets more than 2/3 vote yes on several proposals in one block. Returns the events of the next block.
fn pass_all(net: &mut Net, ids: &[u64]) -> Vec<String> {
    let votes: Vec<Msg> = ids.iter().map(|id| vote(*id, true)).collect();
    let txs = OPERATORS[..3].iter().map(|from| net.tx(*from, votes.clone())).collect();
    assert!(net.block(txs).iter().all(|result| result.code == 0));
    texts(&net.empty())
}

fn now(net: &Net) -> Params {
    View::of_state(&net.chain.rows).params()
}

fn community(net: &Net) -> u64 {
    View::of_state(&net.chain.rows).pools().community
}

/// Puts an amount into the community pool, and into the supply.
fn fund(net: &mut Net, community: u64) {
    let pools = View::of_state(&net.chain.rows).pools();
    let Pools { bonded, unbonding, rewards, .. } = pools;
    let row = pb::StakePools { bonded, unbonding, rewards, community };
    net.tamper(key::STAKE_POOLS, &row.encode_to_vec());
    let amount = View::of_state(&net.chain.rows).supply() + community;
    net.tamper(key::SUPPLY, &pb::Amount { amount }.encode_to_vec());
}

fn check_supply(net: &Net) {
    let Ok(Answer::Supply { total, fee_pool, deposits, stake }) = query(&net.chain.rows, "/supply", b"") else {
        panic!()
    };
    assert_eq!(net.chain.balances() + u128::from(fee_pool + deposits + stake.sum()), u128::from(total), "the supply");
}

/// The upgrades of a program that has `v2`.
const V2: Upgrades = Upgrades(&[Upgrade { name: "v2", migrate }]);

fn migrate(migration: &mut Migration<'_>) {
    let mut params = migration.params();
    params.ns_deposit += 7;
    migration.set_params(&params);
    let before = migration.get(b"z").map_or(0, |value| value.len());
    migration.set(b"z", Some(vec![b'm'; before + 1]));
}

/// Lets the program with `v2` go on with the chain.
fn swap(net: &mut Net) {
    net.chain.app = App::open(&net.chain.rows, chain_id(), net.chain.app.height()).with_upgrades(V2);
}

#[test]
pub fn parameters_act_in_the_next_block() {
    let mut net = Net::new();
    let money = net.chain.balance(3);
    let proposed = net.ok(3, vec![params_of(&[("fee_min", 2000), ("block.max_bytes", 70_000)])]);
    let expected = format!("proposal.proposed id=1 proposer={} kind=params deadline=11000", address(3));
    assert_eq!(text(&proposed.events[1]), expected);
    let voted = net.ok(51, vec![vote(1, true)]);
    let validator = key(101).public_key().address();
    let expected = format!("proposal.vote id=1 validator={validator} vote=yes yes_power=10 total=40");
    assert_eq!(text(&voted.events[1]), expected);
    assert_eq!(texts(&net.pass(1)), ["proposal.scheduled id=1 at=3000 yes_power=30"]);
    assert_eq!((now(&net), net.chain.params_update.clone()), (params(), None));
    let cheap = net.tx(1, vec![transfer(2, 1)]);
    assert_eq!(net.block(vec![cheap])[0].code, 0, "the block that changes them has the old ones");
    let changed = "params.changed id=1 changes=fee_min=2000,block.max_bytes=70000 from_height=5";
    assert_eq!(texts(&net.chain.events), [changed, "proposal.executed id=1 kind=params"]);
    let mut new = Params { fee_min: 2000, ..params() };
    new.block.bytes_max = 70_000;
    assert_eq!((now(&net), net.chain.params_update.clone()), (new.clone(), Some(new)));
    assert_eq!(net.chain.balance(3), money - 1000, "the deposit came back");
    let cheap = net.tx(1, vec![transfer(2, 1)]);
    assert_eq!(net.block(vec![cheap])[0].code, 10, "the next block has the new ones");
    assert_eq!(net.chain.params_update, None);
    let ProposalState::Closed { height, ending, tally } = net.state(1) else { panic!() };
    assert_eq!((height, ending, tally.yes.0), (Height(4), Ending::Executed, 30));
}

#[test]
pub fn parameters_that_would_stop_the_chain_are_refused() {
    let mut net = Net::new();
    let day = 24 * 3600 * 1000;
    let supply = View::of_state(&net.chain.rows).supply() as i64;
    for (changes, reason) in [
        (&[("block.max_bytes", 0)][..], "block.max_bytes: 0 is out of range, use 65536"),
        (&[("evidence.max_age_duration", 22 * day * 1_000_000)], "staking.unbonding_ms: 1814400000 is out of range"),
        (&[("evidence.max_bytes", 80_000), ("block.max_bytes", 70_000)], "evidence.max_bytes: 80000"),
        (&[("ns_deposit", -1)], "use no negative number"),
        (&[("proposals.voting_ms", 9_999)], "use 10000 and more"),
        (&[("timeouts.prevote_delta_ms", 0)], "use 10 to 60000 in a proposal"),
        (&[("staking.downtime_window", 1)], "use 100 and more in a proposal"),
        (&[("version.app", 2)], "version.app cannot be changed"),
        (&[("staking.power_unit", 1)], "staking.power_unit cannot be changed"),
        (&[("retain_blocks", 101)], "at most its present value, 100"),
        (&[("gas", 1)], "there is no parameter gas"),
        (&[("fee_min", supply / 1000 + 1)], "a thousandth of the supply"),
    ] {
        let log = net.fails(1, vec![params_of(changes)], "E_BAD_PARAMS");
        assert!(log.contains(reason), "{log}");
    }
    // Each of two may be possible, and the second one not any more when it acts.
    net.ok(1, vec![params_of(&[("staking.unbonding_ms", 3 * day)])]);
    net.ok(1, vec![params_of(&[("evidence.max_age_duration", 4 * day * 1_000_000)])]);
    let events = pass_all(&mut net, &[1, 2]);
    let changed = format!("params.changed id=1 changes=staking.unbonding_ms={} from_height=17", 3 * day);
    assert_eq!(events, [&changed[..], "proposal.executed id=1 kind=params", "proposal.failed id=2 code=E_BAD_PARAMS"]);
    assert_eq!(now(&net).evidence, params().evidence);
    // Those for different parameters both act.
    net.ok(1, vec![params_of(&[("ns_deposit", 5)])]);
    net.ok(1, vec![params_of(&[("fee_per_kib", 3)])]);
    pass_all(&mut net, &[3, 4]);
    assert_eq!((now(&net).ns_deposit, now(&net).fee_per_kib), (5, 3));
}

#[test]
pub fn a_transaction_fits_into_a_block_of_the_largest_set() {
    let mut small = params();
    (small.block.bytes_max, small.evidence.bytes_max) = (65_536, 1024);
    let mut net = Net::with(&small);
    let mut run = |bytes: usize| {
        let op = KvOp { key: b"k".to_vec(), value: Some(vec![1; bytes]), if_height: None };
        let tx = net.tx(1, vec![Msg::KvWrite { ns: "ns".into(), data_epoch: 1, ops: vec![op] }]);
        (tx.bytes().len(), net.block(vec![tx]).remove(0).log)
    };
    let most = 65_536 - Block::overhead_bytes_max(VALIDATORS_MAX) - 5;
    let around = run(30_000).0 - 30_000;
    let (bytes, log) = run(most - around);
    assert!(bytes == most && log.contains("E_NS_UNKNOWN"), "{bytes} {log}");
    let (bytes, log) = run(most - around + 1);
    assert_eq!((bytes, &log[..]), (most + 1, "E_TOO_LARGE: 38908 bytes, at most 38907 are allowed: split it"));
}

#[test]
pub fn stake_that_leaves_after_the_time_was_shortened_waits_for_what_left_before() {
    let mut net = Net::new();
    let leave = |of: u8| Msg::Stake(StakeMsg::Undelegate { validator: address(of), amount: Some(5) });
    let [long, short] = [OPERATORS[0], OPERATORS[1]];
    net.ok(long, vec![leave(long)]);
    net.empty();
    pass(&mut net, params_of(&[("staking.unbonding_ms", 3 * 24 * 3600 * 1000)]));
    net.ok(short, vec![leave(short)]);
    net.empty();
    let completes = |net: &Net, of: u8| {
        let answer = query(&net.chain.rows, &format!("/staking/unbonding/{}", address(of)), b"").unwrap();
        let Answer::Departures { list, .. } = answer else { panic!() };
        list[0].completes_at.unwrap()
    };
    let time = completes(&net, long);
    assert_eq!(completes(&net, short), time);
    net.chain.time = net.chain.time.saturating_add(seconds(4 * 24 * 3600));
    let (validator, amount) = (address(short), 5);
    net.ok(short, vec![Msg::Stake(StakeMsg::Cancel { validator, id: 1, amount })]);
}

#[test]
pub fn the_set_follows_its_maximum_size() {
    let staking = StakingParams { power_unit: 1000, own_stake_min: 500, ..StakingParams::default() };
    let mut net = Net::of_powers(&Params { staking, ..params() }, &[10, 10, 10, 5, 3]);
    pass(&mut net, params_of(&[("staking.validators_max", 4)]));
    let powers: Vec<u64> = net.chain.updates.iter().map(|update| update.power.0).collect();
    assert_eq!(powers, [0], "one leaves the set");
    assert_eq!(View::of_state(&net.chain.rows).power_total().0, 35);
    net.ok(3, vec![params_of(&[("staking.validators_max", 5)])]);
    let votes: Vec<_> = (51..=55).map(|from| net.tx(from, vec![vote(2, true)])).collect();
    let outside = net.block(votes).iter().filter(|result| result.code == 122).count();
    assert_eq!(outside, 1, "who is not in the set has no vote");
    net.empty();
    let powers: Vec<u64> = net.chain.updates.iter().map(|update| update.power.0).collect();
    assert_eq!((powers, View::of_state(&net.chain.rows).power_total().0), (vec![3], 38));
}

#[test]
pub fn the_community_pool_pays_what_it_has() {
    let mut net = Net::new();
    fund(&mut net, 1000);
    check_supply(&net);
    net.fails(1, vec![spend(Address::default(), 1)], "E_BAD_RECIPIENT");
    net.fails(1, vec![spend(address(9), 0)], "E_ZERO_AMOUNT");
    let paid = format!("community.spent id=1 recipient={} amount=400", address(9));
    assert_eq!(pass(&mut net, spend(address(9), 400)), [&paid[..], "proposal.executed id=1 kind=spend"]);
    check_supply(&net);
    assert_eq!((net.chain.balance(9), community(&net)), (400, 600));
    assert_eq!(pass(&mut net, spend(address(9), 601)), ["proposal.failed id=2 code=E_POOL"]);
    check_supply(&net);
    assert_eq!((net.chain.balance(9), community(&net)), (400, 600));
    pass(&mut net, spend(address(9), 600));
    check_supply(&net);
    assert_eq!((net.chain.balance(9), community(&net)), (1000, 0));
}

#[test]
pub fn a_text_changes_nothing() {
    let mut net = Net::new();
    let proposed = net.ok(3, vec![text_of("peace")]);
    assert_eq!(kinds(&proposed.events), "tx proposal.proposed");
    net.pass(1);
    let before = net.chain.rows.clone();
    let events = texts(&net.empty());
    assert_eq!(events, ["proposal.executed id=1 kind=text"]);
    let changed = net.chain.rows.iter().filter(|(row, value)| before.get(*row) != Some(*value));
    let keys: std::collections::BTreeSet<char> =
        changed.filter_map(|(_, row)| Some(app::tree::rows::split_row(row)?.0[0] as char)).collect();
    assert_eq!(
        keys.into_iter().collect::<String>(),
        "ISagh",
        "the deposit, the list, the record, and the income of the last block"
    );
}

#[test]
pub fn only_a_revert_can_freeze() {
    let mut net = Net::new();
    net.ok(1, vec![text_of("a")]);
    let log = net.fails(51, vec![Msg::Freeze { id: 1 }], "E_NOT_REVERT");
    assert!(log.contains("proposal 1 is of the kind text"), "{log}");
}

fn veto(id: u64) -> Msg {
    Msg::Vote { id, choice: Choice::Veto }
}

#[test]
pub fn more_than_a_third_with_veto_takes_the_deposit() {
    let mut net = Net::new();
    let money = net.chain.balance(1);
    net.ok(1, vec![text_of("a")]);
    let voted = net.ok(51, vec![veto(1)]);
    assert_eq!(attribute(&voted.events[1], "vote"), "no_with_veto");
    let (_, tally) = net.proposal(1);
    assert_eq!((tally.yes.0, tally.no.0, tally.veto.0, tally.total.0), (0, 10, 10, 40));
    net.ok(52, vec![veto(1)]);
    assert_eq!(texts(&net.chain.events), ["proposal.rejected id=1 no_power=20 total=40"]);
    assert_eq!(net.chain.balance(1), money - 1500, "the deposit is lost");
    check_supply(&net);
    let (_, tally) = net.proposal(1);
    assert_eq!((tally.no.0, tally.veto.0), (20, 20));
    // Also that of a revert.
    let mut net = Net::poisoned();
    let money = net.chain.balance(1);
    net.ok(1, vec![propose(revert(3, &["ns"]))]);
    net.ok(51, vec![veto(1)]);
    net.ok(52, vec![veto(1)]);
    assert_eq!(net.chain.balance(1), money - 1500, "the deposit is lost");
}

#[test]
pub fn exactly_a_third_with_veto_takes_nothing() {
    let mut net = Net::new();
    net.chain = Chain::with_validators(&[1 << 40], &params(), &[10, 10, 10]);
    let money = net.chain.balance(1);
    net.ok(1, vec![text_of("a")]);
    net.ok(51, vec![veto(1)]);
    assert_eq!(net.state(1), ProposalState::Voting, "10 of 30");
    net.ok(52, vec![vote(1, false)]);
    assert_eq!(texts(&net.chain.events), ["proposal.rejected id=1 no_power=20 total=30"]);
    assert_eq!(net.chain.balance(1), money - 1000, "it comes back");
}

#[test]
pub fn the_votes_are_counted_again_when_an_act_acts() {
    let mut net = Net::new();
    net.ok(1, vec![params_of(&[("ns_deposit", 5)])]);
    // The deadline is the next whole millisecond, and the next block is not there yet.
    net.chain.time = net.chain.time.saturating_add(std::time::Duration::from_micros(100));
    let at = net.chain.time;
    assert_eq!(texts(&net.pass(1)), ["proposal.scheduled id=1 at=2001 yes_power=30"]);
    net.chain.time = at.saturating_add(std::time::Duration::from_micros(100));
    net.ok(51, vec![vote(1, false)]);
    assert_eq!(texts(&net.empty()), ["proposal.failed id=1 code=E_POWER_LOST"]);
    assert_eq!(now(&net), params());
}

#[test]
pub fn an_upgrade_is_planned_once_and_ahead_of_its_height() {
    let mut net = Net::new();
    assert!(net.fails(1, vec![upgrade("v2", 2)], "E_UPGRADE_HEIGHT").contains("use 3 or a later one"));
    net.fails(1, vec![decide(Act::UpgradeCancel)], "E_NO_UPGRADE");
    net.ok(1, vec![upgrade("v2", 9)]);
    net.ok(1, vec![upgrade("v3", 50)]);
    net.ok(1, vec![decide(Act::Text { title: "a".into(), body: String::new() })]);
    let planned = "upgrade.planned id=1 name=v2 height=9 info=https://example.org/v2";
    let events = pass_all(&mut net, &[1, 2]);
    assert_eq!(events, [planned, "proposal.executed id=1 kind=upgrade", "proposal.failed id=2 code=E_UPGRADE_PLANNED"]);
    let log = net.fails(1, vec![upgrade("v3", 50)], "E_UPGRADE_PLANNED");
    assert!(log.contains("v2 is planned for height 9"), "{log}");
    let answer = |net: &Net| match query(&net.chain.rows, "/upgrade", b"") {
        Ok(Answer::Upgrade { plan, last }) => (plan, last),
        other => panic!("{other:?}"),
    };
    assert_eq!(answer(&net), (Some(plan("v2", 9)), None));
    assert_eq!(net.height(), 8);
    // It is cancelled, and planned again, too late for its height.
    let mut net = Net::new();
    pass(&mut net, upgrade("v2", 20));
    let cancelled = "upgrade.cancelled id=2 name=v2 height=20 info=https://example.org/v2";
    let events = pass(&mut net, decide(Act::UpgradeCancel));
    assert_eq!(events, [cancelled, "proposal.executed id=2 kind=upgrade_cancel"]);
    assert_eq!(answer(&net), (None, None));
    let near = net.height() + 3;
    assert_eq!(pass(&mut net, upgrade("v2", near)), ["proposal.failed id=3 code=E_UPGRADE_HEIGHT"]);
    net.ok(1, vec![upgrade("v2", near + 40)]);
    net.ok(1, vec![decide(Act::Text { title: "a".into(), body: String::new() })]);
    pass_all(&mut net, &[4, 5]);
    net.ok(1, vec![decide(Act::UpgradeCancel)]);
    net.ok(1, vec![decide(Act::UpgradeCancel)]);
    let events = pass_all(&mut net, &[6, 7]);
    assert_eq!(events[2], "proposal.failed id=7 code=E_NO_UPGRADE");
}

#[test]
pub fn an_upgrade_migrates_the_state_before_the_first_transaction() {
    let mut net = Net::new();
    pass(&mut net, upgrade("v2", 6));
    while net.height() < 5 {
        net.empty();
    }
    swap(&mut net);
    let old_deposit = net.tx(1, vec![create("ns")]);
    let money = net.chain.balance(1);
    assert_eq!(net.block(vec![old_deposit])[0].code, 0);
    assert_eq!(texts(&net.chain.events), ["upgrade.applied name=v2 height=6 version_app=2"]);
    assert_eq!(money - net.chain.balance(1), 1000 + 100, "the parameters act in the next block");
    let new = net.chain.params_update.clone().unwrap();
    assert_eq!((new.version_app, new.ns_deposit), (2, 107));
    let Ok(Answer::Upgrade { plan, last }) = query(&net.chain.rows, "/upgrade", b"") else { panic!() };
    assert_eq!(plan, None, "no plan is left");
    assert_eq!(last, Some(Barrier { height: Height(6), kind: "v2".into() }));
    net.empty();
    let migrated = View::of_state(&net.chain.rows).get(b"z").map(<[u8]>::to_vec);
    assert_eq!((net.chain.events.len(), migrated), (0, Some(b"m".to_vec())), "once");
    let log = net.fails(1, vec![upgrade("v2", 50)], "E_UPGRADE_DONE");
    assert!(log.contains("has the upgrade v2 since height 6"), "{log}");
    net.ok(1, vec![upgrade("v3", 50)]);
}

#[test]
pub fn no_revert_goes_back_before_an_upgrade() {
    let mut net = Net::poisoned();
    pass(&mut net, upgrade("v2", 12));
    let id = net.schedule(revert(3, &["ns"]));
    swap(&mut net);
    while net.height() < 12 {
        net.empty();
    }
    assert_eq!(kinds(&net.chain.events), "upgrade.applied");
    let failed = format!("revert.failed id={id} code=E_CROSSES_BARRIER");
    assert_eq!(texts(&net.wait()), [failed]);
    let log = net.fails(1, vec![propose(revert(11, &["other"]))], "E_CROSSES_BARRIER");
    assert!(log.contains("v2 at height 12"), "{log}");
    net.ok(1, vec![write("other", 1, &[put("k", "3")])]);
    net.ok(1, vec![propose(revert(12, &["other"]))]);
}

#[test]
pub fn a_program_executes_only_the_heights_whose_rules_it_has() {
    let old = Upgrades::default();
    let both = |rows: &dyn Reader, next: u64| [old, V2].map(|program| program.check(rows, Height(next)).err());
    let mut net = Net::new();
    assert_eq!(both(&net.chain.rows, 1), [None, None], "nothing is planned");
    pass(&mut net, upgrade("v2", 6));
    let early = |next| Some(UpgradeStop::Early { plan: plan("v2", 6), next: Height(next) });
    assert_eq!(both(&net.chain.rows, 4), [None, early(4)]);
    net.empty();
    assert_eq!(both(&net.chain.rows, 5), [None, early(5)]);
    net.empty();
    let needed = UpgradeStop::Needed(plan("v2", 6));
    assert_eq!(both(&net.chain.rows, 6), [Some(needed.clone()), None]);
    swap(&mut net);
    net.empty();
    let outdated = UpgradeStop::Outdated { name: "v2".into(), height: Height(6) };
    assert_eq!(both(&net.chain.rows, 7), [Some(outdated.clone()), None]);
    assert_eq!(
        [needed, early(4).unwrap(), outdated].map(|stop| stop.to_string()),
        [
            "height 6 needs the upgrade v2, which this program does not have: install the program that has it from \
             https://example.org/v2, then start it with `cairn start`",
            "this program has the upgrade v2, which is planned for height 6, and the next height is 4: run the program without \
             it up to height 5, and this one from then on",
            "the chain has the upgrade v2 since height 6, and this program does not have it: install a program that has it, \
             then start it with `cairn start`",
        ]
    );
}

#[test]
pub fn votes_of_validators_that_left_make_room() {
    let voters = |net: &Net| -> Vec<Address> {
        let Ok(Answer::Proposal { votes, .. }) = query(&net.chain.rows, "/proposal/1", b"") else { panic!() };
        votes.iter().map(|(vote, _)| vote.operator).collect()
    };
    for (gone, left) in [(VALIDATORS_MAX - 2, VALIDATORS_MAX), (VALIDATORS_MAX - 1, 2)] {
        let mut net = Net::new();
        net.ok(3, vec![text_of("peace")]);
        net.ok(51, vec![vote(1, true)]);
        let row = View::of_state(&net.chain.rows).get(&key::votes(1)).unwrap().to_vec();
        let mut votes = pb::ProposalVotes::decode(&row[..]).unwrap().votes;
        let of = |byte: usize| pb::OperatorVote { operator: vec![byte as u8; 20], ..votes[0].clone() };
        let others: Vec<pb::OperatorVote> = (0..gone).map(of).collect();
        votes.extend(others);
        votes.sort_by(|a, b| a.operator.cmp(&b.operator));
        net.tamper(&key::votes(1), &pb::ProposalVotes { votes }.encode_to_vec());
        net.ok(52, vec![vote(1, true)]);
        assert_eq!(voters(&net).len(), left, "{gone} votes are of validators that left");
        assert_eq!((net.proposal(1).1.yes.0, net.proposal(1).1.total.0), (20, 40));
        assert!([51, 52].iter().all(|seed| voters(&net).contains(&address(*seed))), "those of the set stay");
    }
}
