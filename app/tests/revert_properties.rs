//! Proves the invariants of reverts with arbitrary writes, proposals, votes and freezes, against a simple model that keeps
//! the content of each namespace at each height.
#![allow(missing_docs)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use app::{
    Answer, App, area, misplaced_row, query,
    tree::{
        EMPTY_ROOT, Tree,
        rows::{rows_of, split_row},
    },
};
use common::{net::*, *};
use proptest::prelude::*;
use types::{Choice, Event, Hash, Msg, Params, ProposalParams, Revert, VerifiedTx, WriteSet, blake3};

const NAMES: [&str; 3] = ["a", "b", "c"];

type Content = BTreeMap<String, String>;

/// What an account does.
#[derive(Clone, Debug)]
enum Step {
    /// Writes a key, or deletes it, with the current epoch or a stale one.
    Write {
        ns: usize,
        key: u8,
        value: Option<u8>,
        is_stale: bool,
    },
    /// Proposes to revert namespaces to a number of heights ago.
    Propose {
        scope: BTreeSet<usize>,
        back: u64,
        is_cautious: bool,
    },
    /// Votes of one validator on one of the last proposals.
    Vote {
        who: usize,
        back: u64,
        yes: bool,
    },
    /// Three validators vote yes on one of the last proposals.
    Pass {
        back: u64,
    },
    /// Two validators vote no.
    Reject {
        back: u64,
    },
    /// One validator demands a freeze, or two do.
    Freeze {
        who: usize,
        count: usize,
        back: u64,
    },
    Cancel {
        back: u64,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    let scope = proptest::collection::btree_set(0_usize..3, 1..4);
    prop_oneof![
        8 => (0_usize..3, 0_u8..6, proptest::option::of(1_u8..4), prop::bool::weighted(0.1))
            .prop_map(|(ns, key, value, is_stale)| Step::Write { ns, key, value, is_stale }),
        4 => (scope, 0_u64..16, prop::bool::weighted(0.1))
            .prop_map(|(scope, back, is_cautious)| Step::Propose { scope, back, is_cautious }),
        2 => (0_usize..5, 0_u64..4, any::<bool>()).prop_map(|(who, back, yes)| Step::Vote { who, back, yes }),
        5 => (1_u64..4).prop_map(|back| Step::Pass { back }),
        1 => (1_u64..3).prop_map(|back| Step::Reject { back }),
        2 => (0_usize..4, 1_usize..3, 0_u64..3).prop_map(|(who, count, back)| Step::Freeze { who, count, back }),
        1 => (0_u64..3).prop_map(|back| Step::Cancel { back }),
    ]
}

fn any_blocks() -> impl Strategy<Value = Vec<Vec<Step>>> {
    proptest::collection::vec(proptest::collection::vec(any_step(), 0..4), 10..50)
}

/// The model: what a reader of the documentation expects.
struct Model {
    /// Content of the namespaces at each height from 1.
    contents: Vec<[Content; 3]>,
    epochs: [u64; 3],
    /// Yes votes by proposal.
    votes: BTreeMap<u64, BTreeSet<usize>>,
    /// Height at whose block time a proposal was scheduled.
    scheduled: BTreeMap<u64, u64>,
    /// Namespaces that are frozen.
    frozen: BTreeSet<usize>,
    /// Heights from which proposals returned content, with the heights that did.
    executed: Vec<(usize, u64, u64)>,
}

fn number(ns: &str) -> usize {
    NAMES.iter().position(|name| *name == ns).unwrap()
}

fn root_of(content: &Content) -> Hash {
    if content.is_empty() { EMPTY_ROOT } else { Tree::open(b"x", &rows_of(b"x", content)).root() }
}

/// The digest of changes as the documentation defines it.
fn digest(changes: &[(&str, &Content, &Content)]) -> Hash {
    let mut bytes = b"cairn revert diff v1".to_vec();
    for (ns, now, then) in changes {
        for key in now.keys().chain(then.keys()).collect::<BTreeSet<_>>() {
            if now.get(key) != then.get(key) {
                bytes.extend([&[ns.len() as u8], ns.as_bytes(), &[0, key.len() as u8], key.as_bytes()].concat());
                for side in [now, then] {
                    bytes.extend(side.get(key).map_or([0; 32], |value| blake3(value.as_bytes()).0));
                }
            }
        }
    }
    blake3(&bytes)
}

fn start() -> (Net, Model) {
    let proposals = ProposalParams {
        deposit: 500,
        open_max: 3,
        voting: seconds(6),
        notice_min: seconds(2),
        freeze_max: seconds(3),
        cooldown: seconds(2),
        revert_keys_max: 12,
        revert_bytes_max: 1000,
    };
    let mut net = Net::with(&Params { retain_blocks: 12, proposals, ..Params::default() });
    net.ok(1, NAMES.map(create).into());
    let model = Model {
        contents: vec![Default::default(), Default::default()],
        epochs: [1; 3],
        votes: BTreeMap::new(),
        scheduled: BTreeMap::new(),
        frozen: BTreeSet::new(),
        executed: Vec::new(),
    };
    (net, model)
}

fn txs_of(net: &mut Net, model: &Model, steps: &[Step]) -> Vec<VerifiedTx> {
    let next = match query(&net.chain.rows, "/proposals", b"") {
        Ok(Answer::Proposals { list, .. }) => list.len() as u64 + 1,
        other => panic!("{other:?}"),
    };
    let id = |back: &u64| next.saturating_sub(*back).max(1);
    let mut txs = Vec::new();
    for step in steps {
        match step {
            Step::Write { ns, key, value, is_stale } => {
                let epoch = model.epochs[*ns] - u64::from(*is_stale);
                let key = format!("k{key}");
                let op = value.map_or_else(|| del(&key), |value| put(&key, &"v".repeat(value.into())));
                txs.push(net.tx(1, vec![write(NAMES[*ns], epoch, &[op])]));
            }
            Step::Propose { scope, back, is_cautious } => {
                let names: Vec<&str> = scope.iter().map(|ns| NAMES[*ns]).collect();
                let tip = net.height();
                let dirty_after = is_cautious.then_some(types::Height(tip));
                txs.push(net.tx(2, vec![propose(Revert { dirty_after, ..revert(tip.saturating_sub(*back), &names) })]));
            }
            Step::Vote { who, back, yes } => {
                let from = OPERATORS.get(*who).copied().unwrap_or(3);
                txs.push(net.tx(from, vec![vote(id(back), *yes)]));
            }
            Step::Pass { back } => {
                for from in &OPERATORS[..3] {
                    txs.push(net.tx(*from, vec![vote(id(back), true)]));
                }
            }
            Step::Reject { back } => {
                for from in &OPERATORS[2..] {
                    txs.push(net.tx(*from, vec![vote(id(back), false)]));
                }
            }
            Step::Freeze { who, count, back } => {
                for who in *who..who + count {
                    let from = OPERATORS.get(who).copied().unwrap_or(3);
                    txs.push(net.tx(from, vec![Msg::Freeze { id: id(back) }]));
                }
            }
            Step::Cancel { back } => txs.push(net.tx(2, vec![Msg::Cancel { id: id(back) }])),
        }
    }
    txs
}

/// Returns the first bytes of the raw keys in N that a block writes.
fn kinds_in_n(writes: &WriteSet) -> BTreeSet<char> {
    let rows = writes.0.iter().filter(|(key, _)| key.starts_with(area::NEVER_REVERTED));
    rows.filter_map(|(_, row)| Some(split_row(row.as_ref()?)?.0[0] as char)).collect()
}

/// Checks what a block may do without transactions, before it is executed.
fn check_quiet_block(net: &Net, model: &Model) -> Result<(), TestCaseError> {
    let outcome = net.chain.execute(&[]);
    let executed: Vec<&Event> = outcome.results.events.iter().filter(|event| event.kind == "revert.executed").collect();
    let Some(first) = executed.first() else {
        let rows = outcome.writes.0.keys();
        prop_assert_eq!(rows.filter(|key| key.starts_with(area::REVERTIBLE)).count(), 0, "nothing was executed");
        return Ok(());
    };
    // I-RV2: of N, only namespaces, proposals, taints, the log of roots and the deposit change; and the votes, if a freeze
    // ends at the same time; and the fees of the last block, which are distributed.
    let allowed: BTreeSet<char> = "waghiljuqfIS".chars().collect();
    let kinds = kinds_in_n(&outcome.writes);
    prop_assert!(kinds.is_subset(&allowed), "{:?}", kinds);
    // I-RV5: the preview on this state is what the block does.
    let (proposal, _) = net.proposal(attribute(first, "id").parse().unwrap());
    let revert = &proposal.revert().unwrap().revert;
    let preview = net.preview(revert.clone()).map_err(|refusal| TestCaseError::fail(refusal.to_string()))?;
    let (now, then) = (model.contents.last().unwrap(), &model.contents[revert.target.0 as usize]);
    let mut names: Vec<&str> = executed.iter().map(|event| attribute(event, "ns")).collect();
    names.sort_unstable();
    let changes: Vec<_> = names.iter().map(|ns| (*ns, &now[number(ns)], &then[number(ns)])).collect();
    prop_assert_eq!(preview.diff_digest, digest(&changes));
    let shown: Vec<_> = preview.namespaces.iter().map(|one| (one.from, one.to, one.keys)).collect();
    let done: Vec<_> = executed
        .iter()
        .map(|event| {
            let root = |key: &str| attribute(event, key).parse::<Hash>().unwrap();
            (root("from_root"), root("to_root"), attribute(event, "keys").parse().unwrap())
        })
        .collect();
    prop_assert_eq!(shown, done);
    Ok(())
}

impl Model {
    /// Follows a block, and checks what the chain did.
    fn follow(&mut self, net: &Net, steps: &[VerifiedTx], results: &[types::TxResult]) -> Result<(), TestCaseError> {
        let height = net.height();
        let mut contents = self.contents.last().unwrap().clone();
        let mut quiet = BTreeSet::new();
        // What a block decides after its transactions begins with one of these events.
        let is_late = |event: &Event| ["revert.scheduled", "revert.rejected"].contains(&event.kind.as_str());
        let end = net.chain.events.iter().position(is_late).unwrap_or(net.chain.events.len());
        let (begin, end) = net.chain.events.split_at(end);
        for event in begin {
            let id: u64 = attribute(event, "id").parse().unwrap();
            match event.kind.as_str() {
                "revert.executed" => {
                    let (ns, target) =
                        (number(attribute(event, "ns")), attribute(event, "target").parse::<u64>().unwrap());
                    // I-RV3: more than 2/3 of 40, notice, window.
                    prop_assert!(10 * self.votes[&id].len() as u64 * 3 > 80, "{:?}", self.votes[&id]);
                    prop_assert!(height >= self.scheduled[&id] + 2, "the notice was kept");
                    prop_assert!(target + 12 >= height);
                    contents[ns] = self.contents[target as usize][ns].clone();
                    self.epochs[ns] += 1;
                    quiet.insert(ns);
                    self.frozen.remove(&ns);
                    self.executed.push((ns, target, height));
                }
                "revert.unfrozen" => drop(self.frozen.remove(&number(attribute(event, "ns")))),
                _ => {}
            }
        }
        for (tx, result) in steps.iter().zip(results) {
            for event in &result.events {
                match event.kind.as_str() {
                    "revert.frozen" => drop(self.frozen.insert(number(attribute(event, "ns")))),
                    "revert.unfrozen" => drop(self.frozen.remove(&number(attribute(event, "ns")))),
                    _ => {}
                }
            }
            match &tx.body().messages[0] {
                Msg::KvWrite { ns, data_epoch, ops } => {
                    let ns = number(ns);
                    let is_allowed = !quiet.contains(&ns) && !self.frozen.contains(&ns);
                    prop_assert_eq!(result.code == 0, is_allowed && *data_epoch == self.epochs[ns], "{}", result.log);
                    if result.code == 0 {
                        let key = String::from_utf8(ops[0].key.clone()).unwrap();
                        match &ops[0].value {
                            Some(value) => drop(contents[ns].insert(key, String::from_utf8(value.clone()).unwrap())),
                            None => drop(contents[ns].remove(&key)),
                        }
                    }
                }
                Msg::Vote { id, choice } if result.code == 0 => {
                    let who = OPERATORS.iter().position(|seed| key(*seed).public_key() == tx.body().signer).unwrap();
                    let votes = self.votes.entry(*id).or_default();
                    if *choice == Choice::Yes {
                        votes.insert(who)
                    } else {
                        votes.remove(&who)
                    };
                }
                _ => {}
            }
        }
        for event in end {
            match event.kind.as_str() {
                "revert.scheduled" => drop(self.scheduled.insert(attribute(event, "id").parse().unwrap(), height)),
                "revert.unfrozen" => drop(self.frozen.remove(&number(attribute(event, "ns")))),
                _ => {}
            }
        }
        self.contents.push(contents);
        Ok(())
    }

    /// Checks that all that can be read is what the model has.
    fn check(&self, net: &Net) -> Result<(), TestCaseError> {
        let height = net.height();
        for (place, ns) in NAMES.iter().enumerate() {
            let content = &self.contents[height as usize][place];
            prop_assert_eq!(&net.content(ns), content, "{} at {}", ns, height);
            let namespace = net.namespace(ns);
            let bytes: usize = content.iter().map(|(key, value)| key.len() + value.len()).sum();
            prop_assert_eq!((namespace.keys, namespace.bytes), (content.len() as u64, bytes as u64));
            prop_assert_eq!(namespace.data_epoch, self.epochs[place]);
            for at in height.saturating_sub(12).max(1)..=height {
                // I-KV1, and I-RV1: the root at each height is that of the content, also after reverts.
                prop_assert_eq!(net.logged(ns, at), root_of(&self.contents[at as usize][place]), "{} at {}", ns, at);
                let first =
                    self.executed.iter().find(|(one, target, done)| *one == place && *target < at && at < *done);
                let is_kept = first.is_none_or(|(_, _, done)| *done > height.saturating_sub(12));
                if is_kept {
                    prop_assert_eq!(net.reverted_by(ns, at).is_some(), first.is_some(), "{} at {}", ns, at);
                }
            }
        }
        prop_assert_eq!(misplaced_row(&net.chain.rows), None);
        let Ok(Answer::Supply { total, fee_pool, deposits, stake }) = query(&net.chain.rows, "/supply", b"") else {
            panic!()
        };
        prop_assert_eq!(net.chain.balances() + u128::from(fee_pool + deposits + stake.sum()), u128::from(total));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reverts_follow_a_simple_model(blocks in any_blocks()) {
        let (mut net, mut model) = start();
        for steps in &blocks {
            check_quiet_block(&net, &model)?;
            let txs = txs_of(&mut net, &model, steps);
            // A node that was started anew at this height does the same.
            let reopened = App::open(&net.chain.rows, chain_id(), net.chain.app.height());
            let anew = reopened.execute(&net.chain.tip(), &net.chain.context(), &txs);
            let here = net.chain.execute(&txs);
            prop_assert_eq!(&here.writes, &anew.writes);
            prop_assert_eq!(&here.results, &anew.results);
            let results = net.block(txs.clone());
            model.follow(&net, &txs, &results)?;
            model.check(&net)?;
        }
        // I-KV2: nothing was rewritten, at any height.
        for (height, contents) in model.contents.iter().enumerate().skip(1) {
            let rows = net.chain.versions.at(types::Height(height as u64));
            for (place, content) in contents.iter().enumerate() {
                prop_assert_eq!(&common::net::content(&rows, place as u32), content);
            }
        }
    }
}

/// The random runs execute reverts, fail some and freeze: otherwise they prove nothing.
#[test]
fn the_random_runs_reach_every_ending() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeMap::new();
    for _ in 0..60 {
        let blocks = any_blocks().new_tree(&mut runner).unwrap().current();
        let (mut net, mut model) = start();
        for steps in &blocks {
            let txs = txs_of(&mut net, &model, steps);
            let results = net.block(txs.clone());
            model.follow(&net, &txs, &results).unwrap();
            let events = results.iter().flat_map(|result| &result.events).chain(&net.chain.events);
            for event in events {
                *seen.entry(event.kind.clone()).or_insert(0) += 1;
            }
        }
    }
    let kinds = ["proposed", "vote", "scheduled", "executed", "failed", "expired", "cancelled", "superseded", "frozen"];
    for kind in kinds.into_iter().chain(["unfrozen", "rejected"]) {
        assert!(seen.contains_key(&format!("revert.{kind}")), "{kind}: {seen:?}");
    }
}
