//! Proves what clusters do with proposals to revert namespaces, and with nodes whose operators rewind or prune them.
#![allow(missing_docs)]

use std::{collections::BTreeMap, time::Duration};

use app::{Answer, View, query};
use simulator::{Cut, RewindRun, Setup, World};
use storage::{BlocksAbove, Fault};
use support::{Checked, MINUTE, SOON, idle, ms, until};
use types::{
    Act, ChainId, Choice, Event, Height, KvOp, Msg, NsOwner, ParamChange, ProposalKind, Propose, Revert, RevertScope,
    SecretKey, TxBody, TxOrder, TxResult, Wire,
};

mod support;

/// The account that creates namespaces, writes to them, and proposes.
const AGENT: u8 = 100;

/// A world and the transactions that its accounts sent.
struct Town {
    c: World,
    /// Number of transactions by the seed of the account's key.
    sent: BTreeMap<u8, u64>,
}

fn create(ns: &str) -> Msg {
    Msg::NsCreate { ns: ns.into(), owner: NsOwner::Shared, quota_keys: 100, quota_bytes: 10_000 }
}

fn write(ns: &str, data_epoch: u64, key: &str, value: &str) -> Msg {
    let op = KvOp { key: key.into(), value: Some(value.into()), if_height: None };
    Msg::KvWrite { ns: ns.into(), data_epoch, ops: vec![op] }
}

fn propose(target: Height, scope: &[&str]) -> Msg {
    let scope = scope.iter().map(|ns| RevertScope { ns: (*ns).into(), expect_root: None }).collect();
    let kind = ProposalKind::Revert(Revert { target, scope, notice: None, dirty_after: None });
    Msg::Propose(Box::new(Propose { kind, reason: "bad data".into(), uri: String::new() }))
}

fn key_of(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).expect("a small number is a key")
}

fn text(event: &Event) -> String {
    let attributes = event.attributes.iter().map(|attribute| format!(" {}={}", attribute.key, attribute.value));
    event.kind.clone() + &attributes.collect::<String>()
}

impl Town {
    /// Creates a world of four validators with ten heights per second, short times of proposals, and two namespaces.
    fn new(setup: Setup) -> Result<Self, simulator::Broken> {
        let mut town = Self { c: World::new(setup.with_reverts()), sent: BTreeMap::new() };
        town.c.run_until_height(2, SOON)?;
        town.ok(AGENT, create("shared/a"))?;
        town.ok(AGENT, create("shared/b"))?;
        Ok(town)
    }

    /// Sends a transaction to all nodes that run, and waits for its result.
    fn run(&mut self, from: u8, message: Msg) -> Result<TxResult, simulator::Broken> {
        let bytes = self.send(from, message);
        let find = |c: &World| {
            let blocks = c.nodes()[0].committed.values();
            let place = |committed: &&std::sync::Arc<replica::Committed>| committed.block.txs.contains(&bytes);
            let committed = blocks.rev().find(place)?;
            let index = committed.block.txs.iter().position(|tx| *tx == bytes)?;
            Some(committed.results.txs[index].clone())
        };
        self.c.run_until("the transaction", SOON, |c| find(c).is_some())?;
        let height = self.c.tip(0).0;
        let running: Vec<usize> = (0..4).filter(|node| self.c.nodes()[*node].alive.is_some()).collect();
        until(&mut self.c, &running, height)?;
        Ok(find(&self.c).expect("it was found"))
    }

    fn send(&mut self, from: u8, message: Msg) -> Vec<u8> {
        let (key, nonce) = (key_of(from), self.sent.entry(from).or_default());
        let chain_id = ChainId::new("cairn-simulated").expect("a name");
        let body = TxBody {
            chain_id,
            signer: key.public_key(),
            order: TxOrder::Nonce(*nonce),
            fee: 1000,
            messages: vec![message],
        };
        *nonce += 1;
        let bytes = body.sign(&key).encode();
        (0..self.c.nodes().len()).for_each(|node| _ = self.c.submit(node, &bytes));
        bytes
    }

    fn ok(&mut self, from: u8, message: Msg) -> Result<TxResult, simulator::Broken> {
        let result = self.run(from, message)?;
        assert_eq!(result.code, 0, "{}", result.log);
        Ok(result)
    }

    fn fails(&mut self, from: u8, message: Msg, name: &str) -> Checked {
        let result = self.run(from, message)?;
        assert!(result.log.contains(name), "{name} is expected: code {}, {:?}", result.code, result.log);
        Ok(())
    }

    /// Lets the operators of some validators send the same message.
    fn operators(&mut self, validators: &[usize], message: &Msg) {
        for validator in validators {
            let seed = 150 + *validator as u8;
            self.send(seed, message.clone());
        }
    }

    /// Proposes a revert and lets three validators vote for it.
    fn pass(&mut self, target: Height, scope: &[&str]) -> Result<u64, simulator::Broken> {
        let id = self.proposed(target, scope)?;
        self.operators(&[0, 1, 2], &Msg::Vote { id, choice: Choice::Yes });
        Ok(id)
    }

    fn proposed(&mut self, target: Height, scope: &[&str]) -> Result<u64, simulator::Broken> {
        let result = self.ok(AGENT, propose(target, scope))?;
        let event = result.events.iter().find(|event| event.kind == "revert.proposed").expect("it is proposed");
        Ok(event.attributes[0].value.parse().expect("a number"))
    }

    /// Returns the events of blocks and of transactions with this text at their start, with their heights.
    fn events(&self, start: &str) -> Vec<(Height, String)> {
        let mut found = Vec::new();
        for (height, committed) in &self.c.nodes()[0].committed {
            let of_txs = committed.results.txs.iter().flat_map(|result| &result.events);
            let all = committed.results.events.iter().chain(of_txs).map(text);
            found.extend(all.filter(|text| text.starts_with(start)).map(|text| (*height, text)));
        }
        found
    }

    /// Runs the world until there is an event with this text at its start, and returns its height.
    fn wait(&mut self, start: &str) -> Result<Height, simulator::Broken> {
        let deadline = self.c.tip(0).0 + 200;
        while self.events(start).is_empty() {
            self.c.run_for(ms(50))?;
            assert!(self.c.tip(0).0 < deadline, "no event {start:?}: {:?}", self.events("revert."));
        }
        Ok(self.events(start)[0].0)
    }

    /// Returns the value of a key at a node.
    fn value(&self, node: usize, ns: &str, key: &str) -> Option<String> {
        let store = &self.c.nodes()[node].alive.as_ref().expect("it runs").store;
        let reader = store.reader().expect("a disk in memory answers");
        match query(&reader, &format!("/kv/get/{ns}"), key.as_bytes()) {
            Ok(Answer::Value { value, .. }) => value.map(|value| String::from_utf8(value).expect("text")),
            other => panic!("{other:?}"),
        }
    }

    fn epoch(&self, ns: &str) -> u64 {
        let store = &self.c.nodes()[0].alive.as_ref().expect("it runs").store;
        let reader = store.reader().expect("a disk in memory answers");
        View::of_state(&reader).namespace(ns).expect("it exists").data_epoch
    }

    /// Writes a good value, and then a bad one to it and to a new key. Returns the height with the good value.
    fn poison(&mut self, ns: &str) -> Result<Height, simulator::Broken> {
        self.ok(AGENT, write(ns, self.epoch(ns), "plan", "good"))?;
        let good = self.c.tip(0);
        self.c.expect_progress(1, SOON)?;
        self.ok(AGENT, write(ns, self.epoch(ns), "plan", "bad"))?;
        self.ok(AGENT, write(ns, self.epoch(ns), "new", "bad"))?;
        Ok(good)
    }

    /// Waits until all nodes are at the same height or above, and checks that all have the same values.
    fn expect_everywhere(&mut self, ns: &str, plan: Option<&str>, new: Option<&str>) -> Checked {
        self.c.expect_progress(2, MINUTE)?;
        for node in 0..4 {
            assert_eq!(self.value(node, ns, "plan").as_deref(), plan, "n{node}");
            assert_eq!(self.value(node, ns, "new").as_deref(), new, "n{node}");
        }
        Ok(())
    }
}

#[test]
fn a_freeze_stops_writes_until_the_vote_has_taken_effect() -> Checked {
    let mut town = Town::new(idle(4))?;
    let good = town.poison("shared/a")?;
    let id = town.proposed(good, &["shared/a"])?;
    town.operators(&[3], &Msg::Freeze { id });
    town.ok(AGENT, write("shared/a", 1, "new", "worse"))?;
    assert!(town.events("revert.frozen").is_empty(), "a quarter of the power freezes nothing");
    town.operators(&[2], &Msg::Freeze { id });
    town.wait("revert.frozen")?;
    town.fails(AGENT, write("shared/a", 1, "plan", "late"), "E_NS_FROZEN")?;
    town.ok(AGENT, write("shared/b", 1, "plan", "free"))?;
    town.operators(&[0, 1, 2], &Msg::Vote { id, choice: Choice::Yes });
    let executed = town.wait("revert.executed")?;
    let scheduled = town.wait("revert.scheduled")?;
    let time = |height: Height| town.c.committed(0, height.0).expect("it is decided").block.header.time;
    assert!(time(executed).since(time(scheduled)) >= ms(200), "the notice is kept");
    town.expect_everywhere("shared/a", Some("good"), None)?;
    town.fails(AGENT, write("shared/a", 1, "plan", "old"), "E_STALE_EPOCH")?;
    town.ok(AGENT, write("shared/a", 2, "plan", "better"))?;
    town.expect_everywhere("shared/a", Some("better"), None)?;
    assert_eq!(town.value(0, "shared/b", "plan").as_deref(), Some("free"), "the other namespace stays");
    Ok(())
}

#[test]
fn of_two_overlapping_proposals_the_second_is_superseded() -> Checked {
    let mut town = Town::new(idle(4))?;
    let good = town.poison("shared/a")?;
    town.poison("shared/b")?;
    let second = town.proposed(good, &["shared/a", "shared/b"])?;
    let first = town.proposed(good, &["shared/a"])?;
    town.operators(&[0, 1, 2], &Msg::Vote { id: first, choice: Choice::Yes });
    town.wait(&format!("revert.scheduled id={first}"))?;
    town.operators(&[0, 1, 2], &Msg::Vote { id: second, choice: Choice::Yes });
    town.wait(&format!("revert.superseded id={second} by={first}"))?;
    assert_eq!(town.events("revert.executed").len(), 1);
    assert_eq!(town.events("revert.scheduled").len(), 1, "one proposal of a namespace is scheduled at a time");
    town.expect_everywhere("shared/a", Some("good"), None)?;
    town.expect_everywhere("shared/b", Some("bad"), Some("bad"))
}

#[test]
fn a_revert_is_undone_by_a_revert_to_the_height_before_it() -> Checked {
    let mut town = Town::new(idle(4))?;
    let good = town.poison("shared/a")?;
    town.pass(good, &["shared/a"])?;
    let executed = town.wait("revert.executed")?;
    town.expect_everywhere("shared/a", Some("good"), None)?;
    town.c.run_for(ms(500))?;
    let before = executed.prev().expect("it is not the first height");
    let id = town.pass(before, &["shared/a"])?;
    town.wait(&format!("revert.executed id={id}"))?;
    town.expect_everywhere("shared/a", Some("bad"), Some("bad"))?;
    assert_eq!((town.epoch("shared/a"), town.c.counts.undone), (3, 1));
    Ok(())
}

#[test]
fn a_proposal_without_enough_votes_expires() -> Checked {
    let mut town = Town::new(idle(4))?;
    let good = town.poison("shared/a")?;
    let id = town.proposed(good, &["shared/a"])?;
    town.operators(&[0, 1], &Msg::Vote { id, choice: Choice::Yes });
    town.wait("revert.vote")?;
    let opened = town.events("revert.proposed")[0].0;
    let expired = town.wait(&format!("revert.expired id={id}"))?;
    let time = |height: Height| town.c.committed(0, height.0).expect("it is decided").block.header.time;
    assert!(time(expired).since(time(opened)) >= ms(2000));
    assert!(town.events("revert.executed").is_empty());
    town.expect_everywhere("shared/a", Some("bad"), Some("bad"))
}

#[test]
fn a_node_that_is_down_during_a_revert_catches_up() -> Checked {
    let mut town = Town::new(idle(4))?;
    let good = town.poison("shared/a")?;
    let id = town.proposed(good, &["shared/a"])?;
    town.c.crash(3, 0);
    town.operators(&[0, 1, 2], &Msg::Vote { id, choice: Choice::Yes });
    let executed = town.wait("revert.executed")?;
    until(&mut town.c, &[0, 1, 2], executed.0 + 10)?;
    town.c.restart(3);
    town.expect_everywhere("shared/a", Some("good"), None)?;
    assert!(town.c.committed(3, executed.0).expect("it has the height").synced);
    Ok(())
}

#[test]
fn new_parameters_reach_a_node_that_was_down_and_one_that_executes_again() -> Checked {
    let mut town = Town::new(idle(4))?;
    let change = |(name, value): (&str, i64)| ParamChange { name: name.into(), value };
    let changes = [("block.max_bytes", 100_000), ("timeouts.propose_ms", 700)].map(change);
    let kind = ProposalKind::Act(Act::Params(changes.into()));
    town.ok(AGENT, Msg::Propose(Box::new(Propose { kind, reason: String::new(), uri: String::new() })))?;
    town.c.crash(3, 0);
    town.operators(&[0, 1, 2], &Msg::Vote { id: 1, choice: Choice::Yes });
    let acted = town.wait("params.changed")?;
    until(&mut town.c, &[0, 1, 2], acted.0 + 5)?;
    town.c.restart(3);
    until(&mut town.c, &[0, 1, 2, 3], acted.0 + 10)?;
    let tip = town.c.tip(2).0;
    town.c.rewind(2, &[RewindRun::whole(Height(acted.0 - 1), BlocksAbove::Kept)])?;
    town.c.restart(2);
    until(&mut town.c, &[0, 1, 2, 3], tip + 10)?;
    for node in 0..4 {
        let store = &town.c.nodes()[node].alive.as_ref().expect("it runs").store;
        let params = [acted, acted.next()].map(|height| store.params(height).expect("it has the height"));
        assert_eq!(params[1].block.bytes_max, 100_000, "n{node}");
        assert_eq!(params[1].timeouts.propose, ms(700), "n{node}");
        assert!(params[0].block.bytes_max > 100_000 && params[0].timeouts != params[1].timeouts, "n{node}");
        let hash = |height| store.header(height).expect("it has the height").consensus_hash;
        assert_eq!([acted, acted.next()].map(hash), params.map(|params| params.hash()), "n{node}");
    }
    Ok(())
}

#[test]
fn a_node_that_is_rewound_across_a_revert_executes_it_again() -> Checked {
    let mut town = Town::new(idle(4))?;
    let good = town.poison("shared/a")?;
    town.pass(good, &["shared/a"])?;
    let executed = town.wait("revert.executed")?.0;
    town.ok(AGENT, write("shared/a", 2, "new", "again"))?;
    for height in [executed + 1, executed, executed - 1, good.0, 1, 0] {
        let tip = town.c.tip(3).0;
        town.c.rewind(3, &[RewindRun::whole(Height(height), BlocksAbove::Dropped)])?;
        town.c.restart(3);
        assert_eq!(town.c.tip(3), Height(height));
        until(&mut town.c, &[0, 1, 2, 3], tip + 5)?;
        assert!(town.c.committed(3, executed).expect("it has the height").synced || height >= executed);
        let tip = town.c.tip(0).0;
        town.c.run_until("it signs again", MINUTE, |c| {
            (tip..c.nodes()[0].announced().0).any(|height| c.signed(3, height))
        })?;
    }
    town.expect_everywhere("shared/a", Some("good"), Some("again"))
}

#[test]
fn an_interrupted_rewind_continues() -> Checked {
    for (nth, fault) in [(0, Fault::Lost), (0, Fault::Kept), (1, Fault::Lost), (1, Fault::Kept)] {
        let mut town = Town::new(idle(4))?;
        town.poison("shared/a")?;
        let tip = town.c.tip(2);
        let cut = Some(Cut { write: nth, fault, keep: 0 });
        let again = RewindRun::whole(Height(2), BlocksAbove::Dropped);
        town.c.rewind(2, &[RewindRun { cut, ..again }, again])?;
        town.c.restart(2);
        assert_eq!(town.c.tip(2), Height(2));
        until(&mut town.c, &[2], tip.0 + 5)?;
    }
    Ok(())
}

#[test]
fn blocks_that_are_executed_again_across_a_revert_give_the_same_rows() -> Checked {
    let mut town = Town::new(idle(4))?;
    let good = town.poison("shared/a")?;
    town.pass(good, &["shared/a"])?;
    let executed = town.wait("revert.executed")?.0;
    town.ok(AGENT, write("shared/a", 2, "new", "again"))?;
    for height in [executed, executed - 1, good.0, 1] {
        let tip = town.c.tip(3).0;
        let whole = RewindRun::whole(Height(height), BlocksAbove::Kept);
        // The second run continues; the third one goes lower and is interrupted too.
        let cut = |write, keep| Some(Cut { write, fault: Fault::Lost, keep });
        let lower = RewindRun { height: Height(1), ..whole };
        let runs = [RewindRun { cut: cut(4, 3), ..whole }, RewindRun { cut: cut(2, 1), ..whole }];
        town.c.rewind(3, &[&runs[..], &[RewindRun { cut: cut(5, 4), ..lower }, lower]].concat())?;
        town.c.restart(3);
        assert_eq!(town.c.tip(3).0, tip, "nothing was lost");
        until(&mut town.c, &[0, 1, 2, 3], tip + 5)?;
    }
    assert!(town.c.counts.cut_rewinds >= 4 && town.c.counts.replayed > 40, "{}", town.c.counts);
    town.expect_everywhere("shared/a", Some("good"), Some("again"))
}

/// The window of this chain is 20 heights; a node may keep more.
#[test]
fn a_pruned_node_reverts_and_refuses_like_the_others() -> Checked {
    let mut town = Town::new(idle(4))?;
    let old = town.poison("shared/a")?;
    town.c.run_until_height(150, MINUTE)?;
    let tip = town.c.tip(1).0;
    town.c.prune(1, Height(tip - 19))?;
    town.fails(AGENT, propose(old, &["shared/a"]), "E_HEIGHT_PRUNED")?;
    let good = town.c.tip(0);
    town.ok(AGENT, write("shared/a", 1, "plan", "worst"))?;
    town.pass(good, &["shared/a"])?;
    let executed = town.wait("revert.executed")?;
    town.c.prune(2, Height(executed.0 - 19))?;
    town.expect_everywhere("shared/a", Some("bad"), Some("bad"))?;
    assert!(town.c.counts.pruned > 200, "{}", town.c.counts);
    Ok(())
}

#[test]
fn with_no_validators_vote_there_is_no_decision() -> Checked {
    let mut town = Town::new(idle(4))?;
    let good = town.poison("shared/a")?;
    let id = town.proposed(good, &["shared/a"])?;
    town.fails(AGENT, Msg::Vote { id, choice: Choice::Yes }, "E_NOT_VALIDATOR")?;
    town.fails(AGENT, Msg::Freeze { id }, "E_NOT_VALIDATOR")?;
    town.ok(AGENT, Msg::Cancel { id })?;
    town.c.run_for(Duration::from_secs(1))?;
    assert!(town.events("revert.scheduled").is_empty());
    town.expect_everywhere("shared/a", Some("bad"), Some("bad"))
}
