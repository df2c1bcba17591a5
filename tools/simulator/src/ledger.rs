//! What a world's chain says about namespaces and reverts, recomputed from the rows that the nodes store.
//!
//! | check | condition |
//! |---|---|
//! | determinism | all correct nodes have the same rows at each height, also nodes that restarted, were rewound or fetched the blocks, and the app hash is that of these rows |
//! | I-KV1 | the logged root of a namespace is the root of its keys and values, and its sizes are exact |
//! | I-KV2 | the rows of a kept height never change |
//! | I-RV1 | a revert gives a namespace the content and the root that it had at the target |
//! | I-RV2 | a revert changes nothing else: no other namespace, and in N only epochs and the records of proposals; nonces never decrease, and closed proposals stay as they are |
//! | I-RV3 | more than 2/3 of the power voted yes when a proposal was scheduled and when it was executed; for a revert, its notice was over, and its target was in the window; more than 1/3 demanded each freeze, and none of them freezes for another proposal |
//! | I-RV5 | the digest that a proposal shows, and that of a preview just before the execution, are those of the changes |
//! | I-RV6 | a revert to a height that an earlier revert took back returns to what was there |
//! | lists | the lists of names and keys are those of the namespaces |
//! | ST5 | no validator that follows the protocol is slashed for a double sign |
//! | fence | no write succeeds with another epoch, in a frozen namespace, or in the block that reverts its namespace |
//! | effects | a failed transaction leaves its fee and its nonce, and nothing else ([`effects`]) |
//!
//! Votes, freezes and contents are followed here from transactions and rows; of the events, the ledger takes the numbers of proposals
//! and the claims that it checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use app::{
    Account, Answer, App, Namespace, OperatorVote, Proposal, ProposalState, SlashReason, View,
    area::{Area, NAMES, NEVER_REVERTED},
    misplaced_row, preview, query,
    state::key,
    tree::{Tree, rows::split_row},
};
use consensus::Timeout;
use replica::Committed;
use storage::{Kv, Store};
use types::{
    Address, Block, BlockResults, ChainId, Choice, Event, Hash, Header, Height, Msg, Params, Time, Transaction, Wire,
    blake3,
};

use crate::{
    broken::{Broken, ensure},
    effects::{self, Content},
    node::Node,
    rows::{Rows, attribute, number, of_kind},
    stakes::StakeRecord,
    story::Counts,
};

/// First bytes of the raw keys about stake.
const STAKE_KINDS: &[u8] = b"BDIKMNPQSVWt";

/// The state of the chain at one height.
struct State {
    rows: Rows,
    namespaces: BTreeMap<String, Known>,
}

/// A namespace at one height.
struct Known {
    namespace: Namespace,
    content: Content,
    root: Hash,
}

/// What is known about a proposal, apart from its record in the state.
#[derive(Default)]
struct Followed {
    /// Yes or no of each operator that voted.
    votes: BTreeMap<Address, Choice>,
    /// Operators that demanded a freeze.
    freezes: BTreeSet<Address>,
    /// True while its namespaces are frozen.
    is_frozen: bool,
    /// Time of the block that scheduled it.
    scheduled: Option<Time>,
}

/// The states and decisions of a world's chain.
pub struct Ledger {
    chain_id: ChainId,
    params: Params,
    /// Consensus addresses of the validators that follow the protocol; `None` if double signs cost nothing.
    correct: Option<BTreeSet<Address>>,
    accounts: Vec<Address>,
    states: BTreeMap<Height, State>,
    /// App hash of each height.
    app_hashes: BTreeMap<Height, Hash>,
    proposals: BTreeMap<u64, Followed>,
    /// Namespaces that are frozen.
    frozen: BTreeSet<String>,
    /// Executed reverts: namespace, target, height.
    executed: Vec<(String, Height, Height)>,
    stakes: StakeRecord,
}

impl Ledger {
    /// Creates the ledger of a chain without blocks. `correct` are the consensus addresses of the validators that follow the
    /// protocol, `None` if double signs cost nothing. The accounts, with all other money, have the `supply`.
    pub fn new(
        chain_id: ChainId,
        params: Params,
        correct: Option<BTreeSet<Address>>,
        (accounts, supply): (Vec<Address>, u64),
    ) -> Self {
        Self {
            chain_id,
            stakes: StakeRecord::new(supply, correct.is_none()),
            params,
            correct,
            accounts,
            states: BTreeMap::new(),
            app_hashes: BTreeMap::new(),
            proposals: BTreeMap::new(),
            frozen: BTreeSet::new(),
            executed: Vec::new(),
        }
    }

    /// Checks a height that a correct node has just committed, and one that it committed earlier.
    ///
    /// Errors: [`Broken`] with the violated condition.
    pub fn on_committed(&mut self, node: &Node, committed: &Committed, counts: &mut Counts) -> Result<(), Broken> {
        let Some(alive) = node.alive.as_ref().filter(|_| !node.is_damaged) else { return Ok(()) };
        let (who, store, height) = (node.index, &alive.store, committed.block.header.height);
        let first = || lowest_kept(store).min(height.prev().unwrap_or_default());
        let before = self.states.last_key_value().map_or_else(first, |(last, _)| *last);
        if self.states.is_empty() {
            self.states.insert(before, State::of(rows_at(store, before)?));
        }
        // A node whose write took effect and was reported as failed never announces this height.
        for height in (before.next().0..height.0).map(Height) {
            let broken = |error: storage::StoreError| Broken(error.to_string());
            let (block, results) = (store.block(height).map_err(broken)?, store.results(height).map_err(broken)?);
            self.follow(store, &block, &results, counts)?;
        }
        self.stakes.check_program(node, height)?;
        match self.states.get(&height) {
            Some(state) => check_rows("determinism", who, height, &rows_at(store, height)?, state)?,
            None => self.follow(store, &committed.block, &committed.results, counts)?,
        }
        let lowest = lowest_kept(store);
        let old = Height(lowest.0 + (31 * height.0 + 17 * who as u64) % (height.0 + 1 - lowest.0));
        self.check_old(who, store, old)
    }

    /// Checks all heights that a store keeps.
    ///
    /// Errors: [`Broken`] if a height reads differently than when it was committed, or the state's root is not that of the
    /// tip.
    pub fn check_store<K: Kv>(&self, who: usize, store: &Store<K>) -> Result<(), Broken> {
        let Some(tip) = store.tip() else { return Ok(()) };
        if self.states.contains_key(&tip.height) {
            self.check_hash(tip.height, tip.app_hash, &rows_at(store, tip.height)?)?;
        }
        for height in (store.earliest().0..=tip.height.0).map(Height) {
            let (Some(expected), Ok(results)) = (self.app_hashes.get(&height), store.results(height)) else { continue };
            let got = results.app_hash;
            ensure!(got == *expected, "determinism: n{who} has the app hash {got} at height {height}, not {expected}");
        }
        (lowest_kept(store).0..=tip.height.0).try_for_each(|height| self.check_old(who, store, Height(height)))
    }

    fn check_old<K: Kv>(&self, who: usize, store: &Store<K>, height: Height) -> Result<(), Broken> {
        // A block that one node alone has decided and that a crash took back was not recorded if the node was damaged.
        let Some(state) = self.states.get(&height) else { return Ok(()) };
        check_rows("I-KV2", who, height, &rows_at(store, height)?, state)
    }

    fn check_hash(&self, height: Height, app_hash: Hash, rows: &Rows) -> Result<(), Broken> {
        let computed = App::open(rows, self.chain_id.clone(), height).app_hash();
        ensure!(computed == app_hash, "determinism: the rows of height {height} have hash {computed}, not {app_hash}");
        Ok(())
    }

    /// Follows a block that is decided for the first time.
    fn follow<K: Kv>(
        &mut self,
        store: &Store<K>,
        block: &Block,
        results: &BlockResults,
        counts: &mut Counts,
    ) -> Result<(), Broken> {
        let (height, time) = (block.header.height, block.header.time);
        let state = State::of(rows_at(store, height)?);
        let now = &state;
        self.check_hash(height, results.app_hash, &now.rows)?;
        let executed = self.executions(store, &block.header, &results.events, now)?;
        let mut changed: BTreeSet<String> = executed.iter().map(|(ns, ..)| ns.clone()).collect();
        // The events of the end of a block come after those of its begin.
        let is_of_end = |event: &Event| matches!(event.kind.as_str(), "revert.scheduled" | "revert.rejected");
        let begin = results.events.iter().position(is_of_end).unwrap_or(results.events.len());
        let (begin, end) = results.events.split_at(begin);
        self.follow_freezes(height, begin)?;
        for (bytes, result) in block.txs.iter().zip(&results.txs).filter(|(_, result)| result.code == 0) {
            let tx = Transaction::decode(bytes).expect("the checker has decoded it");
            self.follow_tx(height, &tx, &result.events, &executed, &mut changed)?;
        }
        let of_topics = |what: &str| {
            let kinds = ["revert", "proposal"].map(|topic| format!("{topic}.{what}"));
            results.events.iter().filter(move |event| kinds.contains(&event.kind))
        };
        for event in of_topics("scheduled") {
            let id = number(event, "id");
            let (yes, total) = (self.yes_power(height, id), self.total(height));
            ensure!(3 * yes > 2 * total, "I-RV3: proposal {id} is scheduled with {yes} of {total}");
            self.proposals.entry(id).or_default().scheduled = Some(time);
        }
        for id in of_kind(&results.events, "proposal.executed").map(|event| number(event, "id")) {
            let (yes, total) = (self.yes_power(height, id), self.total(height));
            ensure!(3 * yes > 2 * total, "I-RV3: proposal {id} is executed with {yes} of {total}");
        }
        self.follow_freezes(height, end)?;
        self.check_slashes(height, now)?;
        self.check_rest(height, now, &executed, &changed)?;
        self.check_records(height, now)?;
        self.check_effects(block, results, now, &executed)?;
        if results.txs.iter().all(|result| result.code != 0) {
            self.check_quiet(block, now, &changed, results)?;
        }
        now.check_namespaces(height)?;
        let rows = (&self.states[&height.prev().unwrap_or_default()].rows, &now.rows);
        self.stakes.on_decided(block, results, rows, counts)?;
        let misplaced = misplaced_row(&now.rows);
        ensure!(misplaced.is_none(), "lists: height {height}: {}", misplaced.unwrap_or_default());
        counts.reverts += executed.len() as u64;
        counts.undone += executed.iter().filter(|(ns, target, _)| self.is_taken_back(ns, *target)).count() as u64;
        let count = |kind: &str| of_kind(&results.events, kind).count() as u64;
        counts.refused_reverts += count("revert.failed");
        counts.superseded += count("revert.superseded");
        counts.expired += of_topics("expired").count() as u64;
        self.executed.extend(executed);
        self.app_hashes.insert(height, results.app_hash);
        self.states.insert(height, state);
        Ok(())
    }

    /// Checks the reverts that a block executed before its first transaction.
    fn executions<K: Kv>(
        &self,
        store: &Store<K>,
        header: &Header,
        events: &[Event],
        now: &State,
    ) -> Result<Vec<(String, Height, Height)>, Broken> {
        let (height, mut all) = (header.height, Vec::new());
        let events: Vec<&Event> = of_kind(events, "revert.executed").collect();
        for event in &events {
            let (id, ns, target) = (number(event, "id"), attribute(event, "ns"), Height(number(event, "target")));
            self.check_decision(id, header, target)?;
            let (before, after) = (&self.before(height).namespaces[ns], &now.namespaces[ns]);
            let then = self.states.get(&target).and_then(|state| state.namespaces.get(ns));
            let rule = if self.is_taken_back(ns, target) { "I-RV6" } else { "I-RV1" };
            ensure!(then.is_some(), "{rule}: height {height} reverts {ns} to {target}, when it did not exist");
            let then = then.expect("just checked");
            ensure!(
                (&after.content, after.root) == (&then.content, then.root),
                "{rule}: after the revert of height {height}, {ns} is not what it was at {target}"
            );
            let claimed = (attribute(event, "from_root"), attribute(event, "to_root"));
            let roots = (before.root.to_string(), then.root.to_string());
            ensure!(claimed == (&roots.0, &roots.1), "{rule}: the event of height {height} claims {claimed:?}");
            let (epoch, expected) = (after.namespace.data_epoch, before.namespace.data_epoch + 1);
            let shown = number(event, "data_epoch");
            ensure!(
                (epoch, shown) == (expected, expected),
                "I-RV2: {ns} has epoch {epoch}, shown as {shown}, after the revert of height {height}: {expected} is expected"
            );
            all.push((ns.to_owned(), target, height));
        }
        if let Some(first) = events.first() {
            self.check_preview(store, header, number(first, "id"), &all)?;
        }
        Ok(all)
    }

    /// Checks that a revert was decided when a block executed it.
    fn check_decision(&self, id: u64, header: &Header, target: Height) -> Result<(), Broken> {
        let (yes, total) = (self.yes_power(header.height, id), self.total(header.height));
        ensure!(3 * yes > 2 * total, "I-RV3: proposal {id} is executed with {yes} of {total}");
        let notice = self.proposal(header.height, id)?.notice.max(self.params.proposals.notice_min);
        let scheduled = self.proposals.get(&id).and_then(|proposal| proposal.scheduled);
        ensure!(
            scheduled.is_some_and(|at| header.time >= at.saturating_add(notice)),
            "I-RV3: proposal {id} is executed at {}, it was scheduled at {scheduled:?} with a notice of {notice:?}",
            header.time
        );
        ensure!(
            target < header.height && target.0 + self.params.retain_blocks >= header.height.0,
            "I-RV3: proposal {id} is executed at height {}, its target {target} is not in the window",
            header.height
        );
        Ok(())
    }

    /// Checks that a preview on the state before a block is what the block did.
    fn check_preview<K: Kv>(
        &self,
        store: &Store<K>,
        header: &Header,
        id: u64,
        executed: &[(String, Height, Height)],
    ) -> Result<(), Broken> {
        let before = header.height.prev().unwrap_or_default();
        let proposal = self.proposal(header.height, id)?;
        let names: Vec<&str> = executed.iter().map(|(ns, ..)| ns.as_str()).collect();
        let digest = self.digest(before, executed[0].1, &names);
        let reader = store.reader_at(before).map_err(|e| Broken(e.to_string()))?;
        let shown = preview(&reader, before, header.time, &proposal.propose().encode());
        reader.check().map_err(|e| Broken(e.to_string()))?;
        let shown = shown.map_err(|refusal| Broken(format!("I-RV5: no preview of proposal {id}: {refusal}")))?;
        ensure!(
            shown.diff_digest == digest,
            "I-RV5: the preview of proposal {id} has digest {}, its execution {digest}",
            shown.diff_digest
        );
        Ok(())
    }

    /// Follows a transaction that succeeded. `executed` are the reverts of its block; its writes are added to `changed`.
    fn follow_tx(
        &mut self,
        height: Height,
        tx: &Transaction,
        events: &[Event],
        executed: &[(String, Height, Height)],
        changed: &mut BTreeSet<String>,
    ) -> Result<(), Broken> {
        let signer = tx.body().signer.address();
        for message in &tx.body().messages {
            match message {
                Msg::Vote { id, choice } => drop(self.proposals.entry(*id).or_default().votes.insert(signer, *choice)),
                Msg::Freeze { id } => self.follow_demand(height, signer, *id)?,
                Msg::KvWrite { ns, data_epoch, .. } => {
                    let is_quiet = executed.iter().any(|(quiet, ..)| quiet == ns);
                    ensure!(!is_quiet, "fence: {ns} is written in the block of height {height}, which reverts it");
                    ensure!(!self.frozen.contains(ns), "fence: {ns} is written at height {height}, while it is frozen");
                    let known = self.before(height).namespaces.get(ns);
                    let epoch = known.map_or(1, |known| known.namespace.data_epoch);
                    ensure!(*data_epoch == epoch, "fence: {ns} has epoch {epoch}, a write with {data_epoch} succeeds");
                    changed.insert(ns.clone());
                }
                Msg::NsCreate { ns, .. } => drop(changed.insert(ns.clone())),
                Msg::Transfer { .. } | Msg::Propose(_) | Msg::Cancel { .. } | Msg::Stake(_) => {}
            }
        }
        for event in of_kind(events, "revert.proposed") {
            let names: Vec<&str> = attribute(event, "scope").split(',').collect();
            let before = height.prev().unwrap_or_default();
            let digest = self.digest(before, Height(number(event, "target")), &names).to_string();
            let shown = attribute(event, "diff_digest");
            ensure!(shown == digest, "I-RV5: height {height}: a proposal shows digest {shown}, {digest} is expected");
        }
        self.follow_freezes(height, events)
    }

    /// Follows the demand of an operator for a freeze. It moves from another proposal, unless that one is frozen.
    fn follow_demand(&mut self, height: Height, signer: Address, id: u64) -> Result<(), Broken> {
        for (other, proposal) in self.proposals.iter_mut().filter(|(other, _)| **other != id) {
            let is_held = proposal.freezes.remove(&signer) && proposal.is_frozen;
            ensure!(
                !is_held,
                "I-RV3: at height {height} {signer} demands a freeze for proposal {id}, while it freezes for {other}"
            );
        }
        self.proposals.entry(id).or_default().freezes.insert(signer);
        Ok(())
    }

    /// Follows freezes and their ends.
    fn follow_freezes(&mut self, height: Height, events: &[Event]) -> Result<(), Broken> {
        for event in events {
            let ns = attribute(event, "ns");
            match event.kind.as_str() {
                "revert.frozen" => {
                    let id = number(event, "id");
                    let demands = self.proposals.get(&id).into_iter().flat_map(|proposal| &proposal.freezes);
                    let power = demands.map(|operator| self.power_of(height, operator)).sum::<u64>();
                    let total = self.total(height);
                    ensure!(3 * power > total, "I-RV3: {ns} is frozen by {power} of {total}");
                    self.frozen.insert(ns.to_owned());
                    self.proposals.entry(id).or_default().is_frozen = true;
                }
                "revert.unfrozen" => {
                    self.frozen.remove(ns);
                    let proposal = self.proposals.entry(number(event, "id")).or_default();
                    (proposal.is_frozen, proposal.freezes) = (false, BTreeSet::new());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks that a block changed no more than it should have.
    fn check_rest(
        &self,
        height: Height,
        now: &State,
        executed: &[(String, Height, Height)],
        changed: &BTreeSet<String>,
    ) -> Result<(), Broken> {
        for (ns, before) in &self.before(height).namespaces {
            let after = now.namespaces.get(ns);
            ensure!(after.is_some(), "I-RV2: {ns} is gone at height {height}");
            let Known { namespace: new, content, .. } = after.expect("just checked");
            ensure!(
                changed.contains(ns) || *content == before.content,
                "I-RV2: height {height} changes {ns}, which it neither writes nor reverts"
            );
            let old = &before.namespace;
            ensure!(
                (new.number, new.owner, new.created) == (old.number, old.owner, old.created)
                    && new.writes >= old.writes,
                "I-RV2: height {height} changes what {ns} is"
            );
            let is_reverted = executed.iter().any(|(reverted, ..)| reverted == ns);
            ensure!(
                new.data_epoch == old.data_epoch + u64::from(is_reverted),
                "I-RV2: the epoch of {ns} goes from {} to {} at height {height}",
                old.data_epoch,
                new.data_epoch
            );
        }
        let (mut before, mut after) = (View::of_state(&self.before(height).rows), View::of_state(&now.rows));
        for address in &self.accounts {
            let (old, new) = (before.account(address), after.account(address));
            ensure!(new.nonce >= old.nonce, "I-RV2: the nonce of {address} decreases at height {height}");
        }
        Ok(())
    }

    /// Checks that closed proposals stay as they are, and that no proposal disappears.
    fn check_records(&self, height: Height, now: &State) -> Result<(), Broken> {
        for id in self.proposals.keys() {
            let Ok(before) = self.proposal(height, *id) else { continue };
            let after = proposal_in(&now.rows, *id);
            ensure!(after.is_some(), "I-RV2: proposal {id} is gone at height {height}");
            let is_closed = matches!(before.state, ProposalState::Closed { .. });
            ensure!(!is_closed || after.as_ref() == Some(&before), "I-RV2: closed proposal {id} changes at {height}");
        }
        Ok(())
    }

    /// Checks that a block changed accounts and namespaces as its transactions say.
    fn check_effects(
        &self,
        block: &Block,
        results: &BlockResults,
        now: &State,
        executed: &[(String, Height, Height)],
    ) -> Result<(), Broken> {
        let (before, nothing) = (self.before(block.header.height), Content::new());
        effects::check_accounts(block, results, (&before.rows, &now.rows))?;
        for (ns, known) in now.namespaces.iter().filter(|(ns, _)| executed.iter().all(|(reverted, ..)| reverted != *ns))
        {
            let old = before.namespaces.get(ns).map_or(&nothing, |known| &known.content);
            effects::check_content(ns, block, results, (old, &known.content))?;
        }
        Ok(())
    }

    /// Checks what a block in which no transaction succeeds changed in N: what decisions and the ends of proposals may change,
    /// and what is taken of a transaction that fails.
    fn check_quiet(
        &self,
        block: &Block,
        now: &State,
        changed: &BTreeSet<String>,
        results: &BlockResults,
    ) -> Result<(), Broken> {
        let (height, has_txs) = (block.header.height, !block.txs.is_empty());
        let rule = if has_txs { "effects" } else { "I-RV2" };
        let before = &self.before(height).rows;
        let (has_slashes, issues) =
            (now.has_slashes(), View::of_state(before).params().staking.issuance_bps_per_year > 0);
        let has = |kind: &str| of_kind(&results.events, kind).next().is_some();
        for (row, value) in now.rows.iter().filter(|(row, _)| row.starts_with(NEVER_REVERTED)) {
            let old = before.get(row);
            if old == Some(value) {
                continue;
            }
            let (key, value) = split_row(value).expect("rows of trees were split before");
            let is_allowed = match key[0] {
                // `effects` checks accounts. Of unordered transactions the digests are kept.
                b'a' | b'd' | b'm' if has_txs => true,
                // A deposit comes back.
                b'a' => {
                    let account = |value: &[u8]| Account::from_value(value).unwrap_or_default();
                    let old = old.and_then(|old| split_row(old)).map(|(_, old)| account(old)).unwrap_or_default();
                    let new = account(value);
                    new.nonce == old.nonce && new.balance > old.balance
                }
                // What is known about a namespace: reverted, or no longer frozen. The other fields are checked elsewhere.
                b'w' => true,
                // The list and the records of proposals, the heights that were taken back, deposits that were lost.
                b'g' | b'h' | b'j' | b'f' => true,
                // Parameters that the validators decided.
                b'p' => has("params.changed") || has("upgrade.applied"),
                // The plan of an upgrade, and the barrier.
                b'Y' => has("upgrade.planned") || has("upgrade.applied"),
                b'k' => has("upgrade.applied"),
                // The log of roots.
                b'l' | b'q' | b'u' => true,
                // Lists of transactions that have expired.
                b'e' | b'o' => true,
                // Who missed the height before.
                b'U' => true,
                // Stake that matures or is slashed, and the set without what left it: `stakes` checks it.
                kind if STAKE_KINDS.contains(&kind) => true,
                b's' | b'X' => has_slashes || issues,
                // The end of a freeze takes back the demands for it, and no vote.
                b'i' => keeps_votes(before, &now.rows, key),
                _ => false,
            };
            ensure!(
                is_allowed,
                "{rule}: at height {height} no transaction succeeds, it reverts {changed:?}, and it changes the row {}",
                String::from_utf8_lossy(key).escape_debug()
            );
        }
        let gone = before.iter().filter(|(row, _)| row.starts_with(NEVER_REVERTED) && !now.rows.contains_key(*row));
        for (raw, _) in gone.filter_map(|(_, value)| split_row(value)) {
            // Lists of transactions that have expired, the log of roots, fees, misses, and stake.
            let is_allowed = b"defoluqU".contains(&raw[0])
                || STAKE_KINDS.contains(&raw[0])
                || (raw == key::UPGRADE_PLAN && (has("upgrade.applied") || has("upgrade.cancelled")))
                || (raw[0] == b'i' && keeps_votes(before, &now.rows, raw));
            ensure!(
                is_allowed,
                "{rule}: a row is gone at height {height}: {}",
                String::from_utf8_lossy(raw).escape_debug()
            );
        }
        Ok(())
    }

    /// Returns true if a revert took back the content that a namespace had at a height.
    fn is_taken_back(&self, ns: &str, height: Height) -> bool {
        self.executed.iter().any(|(one, target, done)| one == ns && *target < height && height < *done)
    }

    fn before(&self, height: Height) -> &State {
        &self.states[&height.prev().unwrap_or_default()]
    }

    /// Returns a proposal as it was before a height.
    fn proposal(&self, height: Height, id: u64) -> Result<Proposal, Broken> {
        let found = proposal_in(&self.before(height).rows, id);
        found.ok_or_else(|| Broken(format!("I-RV3: there is no proposal {id} before height {height}")))
    }

    /// Returns the power for which an operator votes in the block of a height.
    fn power_of(&self, height: Height, operator: &Address) -> u64 {
        View::of_state(&self.before(height).rows).operator(operator).map_or(0, |operator| operator.power.0)
    }

    fn total(&self, height: Height) -> u64 {
        View::of_state(&self.before(height).rows).power_total().0
    }

    fn yes_power(&self, height: Height, id: u64) -> u64 {
        let votes = self.proposals.get(&id).into_iter().flat_map(|proposal| &proposal.votes);
        votes.filter(|(_, choice)| **choice == Choice::Yes).map(|(operator, _)| self.power_of(height, operator)).sum()
    }

    /// Checks that no validator that follows the protocol is slashed for a double sign.
    fn check_slashes(&self, height: Height, now: &State) -> Result<(), Broken> {
        let Some(correct) = self.correct.as_ref().filter(|_| now.has_slashes()) else { return Ok(()) };
        let mut view = View::of_state(&now.rows);
        for consensus in correct {
            let Some(operator) = view.key_owner(consensus) else { continue };
            for number in 1..=view.slashes(&operator) {
                let is_downtime = view.slash(&operator, number).is_some_and(|slash| slash.why == SlashReason::Downtime);
                ensure!(
                    is_downtime,
                    "ST5: {consensus} is correct, and was slashed for a double sign at height {height}"
                );
            }
        }
        Ok(())
    }

    /// Checks that an engine waits as long as the parameters of its height say.
    ///
    /// Errors: [`Broken`] if it does not.
    pub fn check_wait(&self, node: usize, timeout: &Timeout, after: Duration) -> Result<(), Broken> {
        self.stakes.check_wait(node, timeout, after)
    }

    /// Returns the digest of the changes that lead from one height to another, as the documentation of reverts defines it.
    fn digest(&self, from: Height, to: Height, names: &[&str]) -> Hash {
        let mut bytes = b"cairn revert diff v1".to_vec();
        let nothing = Content::new();
        let content = |height: Height, ns: &str| {
            let state = self.states.get(&height);
            state.and_then(|state| state.namespaces.get(ns)).map_or(&nothing, |known| &known.content)
        };
        for ns in names.iter().copied().collect::<BTreeSet<_>>() {
            let (now, then) = (content(from, ns), content(to, ns));
            for key in now.keys().chain(then.keys()).collect::<BTreeSet<_>>() {
                if now.get(key) != then.get(key) {
                    let lengths = [(ns.len() as u8).to_be_bytes().to_vec(), (key.len() as u16).to_be_bytes().to_vec()];
                    bytes.extend([&lengths[0], ns.as_bytes(), &lengths[1], key].concat());
                    bytes.extend(now.get(key).map_or([0; 32], |value| blake3(value).0));
                    bytes.extend(then.get(key).map_or([0; 32], |value| blake3(value).0));
                }
            }
        }
        blake3(&bytes)
    }
}

impl State {
    fn of(rows: Rows) -> Self {
        let mut namespaces = BTreeMap::new();
        let mut view = View::of_state(&rows);
        for (row, _) in rows.range(NAMES.to_vec()..).take_while(|(row, _)| row.starts_with(NAMES)) {
            let name = String::from_utf8_lossy(&row[NAMES.len()..]).into_owned();
            let Some(namespace) = view.namespace(&name) else { continue };
            let prefix = Area::Namespace(namespace.number).prefix();
            let stored = rows.range(prefix.clone()..).take_while(|(row, _)| row.starts_with(&prefix));
            let pairs = stored.filter_map(|(_, row)| split_row(row));
            let content = pairs.map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
            let root = Tree::open(&prefix, &rows).root();
            namespaces.insert(name, Known { namespace, content, root });
        }
        Self { rows, namespaces }
    }

    /// Returns true if a validator was slashed.
    fn has_slashes(&self) -> bool {
        let rows = self.rows.iter().filter(|(row, _)| row.starts_with(NEVER_REVERTED));
        rows.filter_map(|(_, value)| split_row(value)).any(|(key, _)| key[0] == b'X')
    }

    /// Checks what N says about the namespaces against their rows.
    fn check_namespaces(&self, height: Height) -> Result<(), Broken> {
        let mut view = View::of_state(&self.rows);
        for (ns, Known { namespace, content, root }) in &self.namespaces {
            let logged = view.root_of(namespace);
            ensure!(logged == *root, "I-KV1: the logged root of {ns} at height {height} is {logged}, not {root}");
            let bytes: usize = content.iter().map(|(key, value)| key.len() + value.len()).sum();
            ensure!(
                (namespace.keys, namespace.bytes) == (content.len() as u64, bytes as u64),
                "I-KV1: {ns} has {} keys and {bytes} bytes at height {height}, not {} and {}",
                content.len(),
                namespace.keys,
                namespace.bytes
            );
        }
        Ok(())
    }
}

/// Returns the lowest height whose state a store keeps.
fn lowest_kept<K: Kv>(store: &Store<K>) -> Height {
    store.earliest().prev().unwrap_or_default()
}

/// Returns all rows of a kept height.
fn rows_at<K: Kv>(store: &Store<K>, height: Height) -> Result<Rows, Broken> {
    let broken = |error: storage::StoreError| Broken(format!("I-KV2: height {height} cannot be read: {error}"));
    let mut rows = Rows::new();
    let reader = store.reader_at(height).map_err(broken)?;
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.insert(key.to_vec(), value.to_vec());
        true
    };
    reader.try_scan(&[], &mut visit).map_err(broken)?;
    Ok(rows)
}

fn check_rows(rule: &str, who: usize, height: Height, rows: &Rows, state: &State) -> Result<(), Broken> {
    ensure!(*rows == state.rows, "{rule}: the rows of height {height} differ at n{who}");
    Ok(())
}

/// Returns true if the votes for and against a proposal, whose row has this key, are the same in both states, and no demand
/// for a freeze was added.
fn keeps_votes(before: &Rows, after: &Rows, key: &[u8]) -> bool {
    let Some(id) = key[1..].try_into().ok().map(u64::from_be_bytes) else { return false };
    let votes = |rows| match query(rows, &format!("/proposal/{id}"), b"") {
        Ok(Answer::Proposal { votes, .. }) => votes.into_iter().map(|(vote, _)| vote).collect(),
        _ => Vec::new(),
    };
    let (before, after): (Vec<OperatorVote>, Vec<OperatorVote>) = (votes(before), votes(after));
    let cast = |votes: &[OperatorVote]| -> BTreeMap<Address, Choice> {
        votes.iter().filter_map(|vote| Some((vote.operator, vote.choice?))).collect()
    };
    let demands = |votes: &[OperatorVote]| -> BTreeSet<Address> {
        votes.iter().filter(|vote| vote.freeze).map(|vote| vote.operator).collect()
    };
    cast(&before) == cast(&after) && demands(&after).is_subset(&demands(&before))
}

fn proposal_in(rows: &Rows, id: u64) -> Option<Proposal> {
    match query(rows, &format!("/proposal/{id}"), b"") {
        Ok(Answer::Proposal { proposal, .. }) => Some(*proposal),
        _ => None,
    }
}
