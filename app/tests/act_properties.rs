//! Proves with arbitrary acts and votes that a decision conserves the supply, leaves a valid set of parameters, and changes
//! nothing if it fails.
#![allow(missing_docs)]

mod common;

use std::collections::BTreeMap;

use app::{Answer, View, area, query, state::key, tree::rows::split_row};
use common::{net::*, *};
use proptest::prelude::*;
use types::{Act, Choice, Height, Msg, ParamChange, ParamField, ProposalKind, Propose, UpgradePlan, VerifiedTx, pb};

/// What an account does.
#[derive(Clone, Debug)]
enum Step {
    /// Proposes an act.
    Propose(Act),
    /// Three validators vote yes on one of the last proposals.
    Pass { back: u64 },
    /// One validator votes.
    Vote { who: usize, back: u64, choice: Choice },
    /// The proposer withdraws one of the last proposals.
    Cancel { back: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    let change = (0..ParamField::ALL.len(), prop_oneof![-2_i64..40, 60_000_i64..400_000, any::<i64>()])
        .prop_map(|(field, value)| ParamChange { name: ParamField::ALL[field].name.into(), value });
    let plan = (0_u8..3, 0_u64..30).prop_map(|(name, height)| UpgradePlan {
        name: format!("v{name}"),
        height: Height(1000 + height),
        info: String::new(),
    });
    prop_oneof![
        4 => prop::collection::btree_map(0..ParamField::ALL.len(), any::<i16>(), 1..3).prop_map(|changes| {
            let change = |(field, value): (usize, i16)| ParamChange {
                name: ParamField::ALL[field].name.into(),
                value: value.into(),
            };
            Act::Params(changes.into_iter().map(change).collect())
        }),
        4 => change.prop_map(|change| Act::Params(vec![change])),
        2 => plan.prop_map(Act::Upgrade),
        1 => Just(Act::UpgradeCancel),
        3 => (1_u8..12, 1_u64..900).prop_map(|(to, amount)| Act::Spend { to: address(to), amount }),
        1 => Just(Act::Text { title: "t".into(), body: String::new() }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let choice = prop_oneof![Just(Choice::Yes), Just(Choice::No), Just(Choice::Veto)];
    prop_oneof![
        4 => act().prop_map(Step::Propose),
        4 => (0_u64..3).prop_map(|back| Step::Pass { back }),
        2 => (0_usize..4, 0_u64..3, choice).prop_map(|(who, back, choice)| Step::Vote { who, back, choice }),
        1 => (0_u64..3).prop_map(|back| Step::Cancel { back }),
    ]
}

fn txs_of(net: &mut Net, steps: &[Step]) -> Vec<VerifiedTx> {
    let next = match query(&net.chain.rows, "/proposals", b"") {
        Ok(Answer::Proposals { list, .. }) => list.last().map_or(1, |(proposal, _)| proposal.id + 1),
        other => panic!("{other:?}"),
    };
    let id = |back: &u64| next.saturating_sub(*back).max(1);
    let mut txs = Vec::new();
    for step in steps {
        match step {
            Step::Propose(act) => {
                let kind = ProposalKind::Act(act.clone());
                let propose = Propose { kind, reason: String::new(), uri: String::new() };
                txs.push(net.tx(2, vec![Msg::Propose(Box::new(propose))]));
            }
            Step::Pass { back } => {
                let passed = vote(id(back), true);
                txs.extend(OPERATORS[..3].iter().map(|from| net.tx(*from, vec![passed.clone()])).collect::<Vec<_>>());
            }
            Step::Vote { who, back, choice } => {
                txs.push(net.tx(OPERATORS[*who], vec![Msg::Vote { id: id(back), choice: *choice }]));
            }
            Step::Cancel { back } => txs.push(net.tx(2, vec![Msg::Cancel { id: id(back) }])),
        }
    }
    txs
}

/// Returns the rows that acts change: parameters, amounts of stake, and the plan of an upgrade; without rewards, and without
/// what each block issues, and gives to the community, if a parameter says so.
fn of_acts(state: &Rows) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let rows = state.iter().filter(|(row, _)| row.starts_with(area::NEVER_REVERTED));
    let parts = rows.filter_map(|(_, row)| split_row(row)).filter(|(key, _)| b"pSYst".contains(&key[0]));
    let mut parts: BTreeMap<_, _> = parts.map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    let pools: pb::StakePools = prost::Message::decode(&parts[key::STAKE_POOLS][..]).unwrap();
    let staking = View::of_state(state).params().staking;
    let community = if staking.community_bps == 0 { pools.community } else { 0 };
    let without = pb::StakePools { rewards: 0, community, ..pools };
    if staking.issuance_bps_per_year > 0 {
        parts.remove(key::SUPPLY);
    }
    parts.insert(key::STAKE_POOLS.to_vec(), prost::Message::encode_to_vec(&without));
    parts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_decision_conserves_the_supply_and_a_failed_one_changes_nothing(
        blocks in prop::collection::vec(prop::collection::vec(step(), 0..5), 1..14),
    ) {
        let mut net = Net::new();
        let pools = View::of_state(&net.chain.rows).pools();
        let row = pb::StakePools { bonded: pools.bonded, community: 1000, ..pb::StakePools::default() };
        net.tamper(key::STAKE_POOLS, &prost::Message::encode_to_vec(&row));
        let amount = View::of_state(&net.chain.rows).supply() + 1000;
        net.tamper(key::SUPPLY, &prost::Message::encode_to_vec(&pb::Amount { amount }));
        for steps in &blocks {
            let txs = txs_of(&mut net, steps);
            let (before, params) = (of_acts(&net.chain.rows), View::of_state(&net.chain.rows).params());
            net.block(txs);
            let kinds = kinds(&net.chain.events);
            let acted = ["params.changed", "upgrade.planned", "upgrade.cancelled", "community.spent"];
            if !acted.iter().any(|kind| kinds.contains(kind)) {
                prop_assert_eq!(of_acts(&net.chain.rows), before, "{}", kinds);
            }
            let new = View::of_state(&net.chain.rows).params();
            prop_assert_eq!(new.check(), Ok(()));
            prop_assert_eq!(net.chain.params_update.clone(), (new != params).then_some(new));
            let Ok(Answer::Supply { total, fee_pool, deposits, stake }) = query(&net.chain.rows, "/supply", b"") else {
                panic!()
            };
            let others = fee_pool + deposits + stake.sum();
            prop_assert_eq!(net.chain.balances() + u128::from(others), u128::from(total), "ST1");
        }
    }
}
