//! The waiting transactions, in the orders in which they are needed.
//!
//! | index | order | for |
//! |---|---|---|
//! | `txs` | arrival | time to live, listing |
//! | `senders` → `ordered` | nonce | what can be executed, replacement |
//! | `ready` | fee down, arrival up | reaping: each sender's heads, the next nonce and the first of its unordered ones |
//! | `ready_until` | expiry of heads that expire | whether any head can go into a block |
//! | `evictable` | not ready first, fee up, arrival down | eviction: each sender's last nonce, every unordered one |
//! | `expiries` | expiry | unordered ones that expired |
//!
//! Invariants, checked after each step of the model test:
//!
//! - **M1** The indexes agree with `txs`.
//! - **M2** There are never more transactions or bytes than configured.
//! - **M3** `spent` is the sum of the costs of a sender's transactions.
//! - **M4** Only a sender's last nonce is evicted, so no remaining transaction loses its predecessor.
//! - **M5** A sender that cannot pay for all of its transactions has no heads, until enough of them are dropped.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    ops::Bound,
};

use app::{
    Account, Admission, Pending, Refusal, Rules, View, check_tx,
    state::{NEVER_REVERTED, key},
    tree::rows::{path_of, row_key},
};
use types::{Address, Block, ChainId, Deadline, Hash, Height, Params, Reader, Time, TxId, TxOrder, VerifiedTx};

use crate::{
    config::{ANNOUNCE_INTERVAL, Config, Stats},
    error::MempoolError,
    mutation::{Mutation, mutated},
    recent::Recent,
};

/// Maximum number of transactions that do not fit before a reap ends: the space left in a block is not worth a longer
/// search.
const REAP_MISFITS_MAX: usize = 64;

/// Maximum number of transactions that one block drops because their senders cannot pay for them any more, and the same
/// number because they expired. Further ones are dropped after the next blocks, at the calls of
/// [`Pool::drop_outdated`], and, the expired ones, when a block is filled; no block contains them, and no height starts for them. A client can make all waiting
/// transactions invalid with one block. Dropping 1,024 takes 2 to 3 ms.
const DROPS_MAX: usize = 1024;

/// Position in the order of arrival.
type Arrival = u64;

/// Key of an account's row, by which a block identifies the accounts that it changed.
type Row = Vec<u8>;

/// Order of transactions in a block: the highest fee first, then the earliest arrival.
type Place = (Reverse<u64>, Arrival);

/// Place of a transaction that can be its sender's next in a block, and its expiry; `None` if it never expires.
type Head = (Place, Option<Deadline>);

/// Order of eviction: first transactions that cannot be executed yet, then the lowest fee, then the latest arrival.
type Rank = (bool, u64, Reverse<Arrival>);

#[derive(Debug)]
pub(super) struct Entry {
    pub tx: VerifiedTx,
    sender: Row,
    fee: u64,
    cost: u128,
    added: Time,
    announced: Time,
}

/// A sender with at least one waiting transaction.
#[derive(Debug)]
struct Sender {
    account: Account,
    ordered: BTreeMap<u64, (Arrival, u64 /* fee */)>,
    /// The unordered ones, with the expiry of each.
    unordered: BTreeMap<Place, Deadline>,
    spent: u128,
    /// The first nonce, from the account's nonce on, that is not held.
    ready_end: u64,
}

impl Sender {
    fn len(&self) -> usize {
        self.ordered.len() + self.unordered.len()
    }

    /// Returns the next transactions that a block can contain: the one with the next nonce, and the first unordered
    /// one. There are none while some of the transactions cannot be paid for and have to be dropped.
    fn heads(&self) -> [Option<Head>; 2] {
        if self.is_poor() {
            return [None; 2];
        }
        let unordered = self.unordered.first_key_value();
        [
            self.place(self.account.nonce).map(|place| (place, None)),
            unordered.map(|(place, expires)| (*place, Some(*expires))),
        ]
    }

    /// Returns true if the balance does not cover all transactions.
    fn is_poor(&self) -> bool {
        self.spent > u128::from(self.account.balance)
    }

    /// Returns the transaction to drop first when the balance does not cover all: the last nonce, then the last
    /// unordered one.
    fn last(&self) -> Option<Arrival> {
        let ordered = self.ordered.last_key_value().map(|(_, (arrival, _))| *arrival);
        ordered.or(self.unordered.last_key_value().map(|((_, arrival), _)| *arrival))
    }

    /// Returns any transaction.
    fn any(&self) -> Option<Arrival> {
        let ordered = self.ordered.first_key_value().map(|(_, (arrival, _))| *arrival);
        ordered.or(self.unordered.first_key_value().map(|((_, arrival), _)| *arrival))
    }

    fn place(&self, nonce: u64) -> Option<Place> {
        let (arrival, fee) = self.ordered.get(&nonce)?;
        Some((Reverse(*fee), *arrival))
    }

    /// Returns the transaction of this sender that a block can contain after the one with `order` and `place`.
    fn follower(&self, order: TxOrder, place: Place) -> Option<Place> {
        match order {
            TxOrder::Nonce(nonce) => self.place(nonce.checked_add(1)?),
            TxOrder::Expires(_) => {
                self.unordered.range((Bound::Excluded(place), Bound::Unbounded)).next().map(|(place, _)| *place)
            }
        }
    }

    /// Returns the rank of the transaction with the last nonce, which no other transaction depends on.
    fn tail(&self) -> Option<Rank> {
        self.rank(*self.ordered.last_key_value()?.0)
    }

    fn rank(&self, nonce: u64) -> Option<Rank> {
        let (arrival, fee) = self.ordered.get(&nonce)?;
        Some((nonce < self.ready_end, *fee, Reverse(*arrival)))
    }

    fn extend_ready(&mut self) {
        self.ready_end = self.ready_end.max(self.account.nonce);
        while self.ordered.contains_key(&self.ready_end) {
            self.ready_end += 1;
        }
    }
}

/// The steps to add a transaction that can be accepted.
#[derive(Debug)]
pub(super) struct Plan {
    admission: Admission,
    sender: Row,
    replaces: Option<Arrival>,
    victims: Vec<Arrival>,
}

pub(super) struct Pool {
    config: Config,
    rules: Rules,
    arrivals: Arrival,
    txs: BTreeMap<Arrival, Entry>,
    /// The hash maps are only used for lookups and never iterated, so their order has no effect.
    ids: HashMap<TxId, Arrival>,
    senders: HashMap<Row, Sender>,
    digests: HashMap<Hash, Arrival>,
    ready: BTreeSet<Place>,
    ready_until: BTreeSet<(Deadline, Arrival)>,
    evictable: BTreeSet<Rank>,
    expiries: BTreeSet<(Deadline, Arrival)>,
    committed: Recent,
    expired: Recent,
    /// Senders that were checked against an older state than the pool's.
    doubtful: BTreeSet<Row>,
    /// Senders that cannot pay for all of their transactions, of which some still have to be dropped.
    poor: BTreeSet<Row>,
    bytes: usize,
    pub stats: Stats,
}

fn account_row(address: &Address) -> Row {
    row_key(NEVER_REVERTED, &path_of(&key::account(address)))
}

/// Returns the gas of a transaction: 1 for each message.
pub(super) fn gas(tx: &VerifiedTx) -> i64 {
    Rules::gas(tx.body())
}

impl Pool {
    pub fn new(config: Config, chain_id: ChainId) -> Self {
        Self {
            committed: Recent::new(config.committed_max),
            expired: Recent::new(config.committed_max),
            config,
            rules: Rules { chain_id, height: Height(1), time: Time::UNIX_EPOCH, params: Default::default() },
            arrivals: 0,
            txs: BTreeMap::new(),
            ids: HashMap::new(),
            senders: HashMap::new(),
            digests: HashMap::new(),
            ready: BTreeSet::new(),
            ready_until: BTreeSet::new(),
            evictable: BTreeSet::new(),
            expiries: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            poor: BTreeSet::new(),
            bytes: 0,
            stats: Stats::default(),
        }
    }

    /// Returns the rules for a transaction at the time `wall` of this node's clock, if the tip has this height and
    /// these parameters for the next.
    ///
    /// The next block has a time after the last one's and about that of the clocks. The last block's time alone would
    /// be too early on an idle chain: a transaction that expires soon would seem to expire too far ahead.
    pub fn rules_at(&self, height: Height, params: &Params, wall: Time) -> Rules {
        let time = self.rules.time.max(wall);
        Rules { chain_id: self.rules.chain_id.clone(), height: height.next(), time, params: params.clone() }
    }

    pub fn get(&self, id: &TxId) -> Option<&Entry> {
        self.ids.get(id).map(|arrival| &self.txs[arrival])
    }

    /// Returns a transaction whose last announcement is at least [`ANNOUNCE_INTERVAL`] ago, and notes a new one.
    pub fn announce(&mut self, id: &TxId, now: Time) -> Option<&Entry> {
        let entry = self.txs.get_mut(self.ids.get(id)?)?;
        if now.since(entry.announced) < ANNOUNCE_INTERVAL {
            return None;
        }
        entry.announced = now;
        Some(entry)
    }

    pub fn is_committed(&self, id: &TxId) -> bool {
        self.committed.contains(id)
    }

    pub fn has_expired(&self, id: &TxId) -> bool {
        self.expired.contains(id) && !self.ids.contains_key(id)
    }

    /// Returns true if the next block could contain a transaction.
    pub fn has_ready(&self) -> bool {
        // The heads that are in `ready` alone never expire.
        let never_expires = self.ready.len() > self.ready_until.len();
        never_expires || self.ready_until.last().is_some_and(|(expires, _)| !expires.has_passed(self.rules.time))
    }

    pub fn in_order_of_arrival(&self) -> impl Iterator<Item = &Entry> {
        self.txs.values()
    }

    /// Returns the nonce after the sender's last waiting one before a gap; `None` if no transaction with the next nonce
    /// waits.
    pub fn next_nonce(&self, sender: &Address) -> Option<u64> {
        let sender = self.senders.get(&account_row(sender))?;
        sender.ordered.range(..sender.ready_end).next().map(|_| sender.ready_end)
    }

    pub fn stats(&self) -> Stats {
        Stats { txs: self.txs.len(), bytes: self.bytes, ..self.stats }
    }

    /// Returns the steps to add a transaction. Changes nothing.
    ///
    /// Errors: [`MempoolError`], the first reason why the transaction is refused.
    pub fn plan<R: Reader + ?Sized>(&self, reader: &R, rules: &Rules, tx: &VerifiedTx) -> Result<Plan, MempoolError> {
        let (body, id, bytes) = (tx.body(), &tx.id(), tx.bytes().len());
        if bytes > self.config.tx_bytes_max {
            return Err(Refusal::TooLarge { got: bytes, max: self.config.tx_bytes_max }.into());
        }
        if self.ids.contains_key(id) {
            return Err(MempoolError::held());
        }
        if self.committed.contains(id) {
            return Err(MempoolError::committed());
        }
        let row = account_row(&body.signer.address());
        let sender = self.senders.get(&row);
        let mut pending = Pending::default();
        let mut replaces = None;
        if let Some(sender) = sender {
            pending.spent = sender.spent;
            pending.next_nonce = Some(sender.ready_end);
        }
        match body.order {
            TxOrder::Nonce(nonce) => {
                if let Some((arrival, _)) = sender.and_then(|sender| sender.ordered.get(&nonce)) {
                    let held = &self.txs[arrival];
                    let needed = replacement_fee(held.fee, self.config.replace_percent);
                    if body.fee < needed {
                        return Err(MempoolError::replace_fee(body.fee, held.fee, needed));
                    }
                    pending = Pending { next_nonce: Some(nonce), spent: pending.spent - held.cost };
                    replaces = Some(*arrival);
                }
            }
            // One body is executed once, even if it is signed several times.
            TxOrder::Expires(_) if self.digests.contains_key(&tx.digest()) => return Err(MempoolError::held()),
            TxOrder::Expires(_) => {}
        }
        if replaces.is_none() && sender.is_some_and(|sender| sender.len() >= self.config.sender_txs_max) {
            return Err(MempoolError::sender_full(self.config.sender_txs_max));
        }
        let admission = check_tx(reader, rules, tx, pending)?;
        let victims = self.victims(&row, &admission, bytes, replaces)?;
        Ok(Plan { admission, sender: row, replaces, victims })
    }

    /// Returns the transactions to evict for a new one: as few as make enough room, each of lower rank, and never its
    /// own predecessors.
    ///
    /// Errors: `E_MEMPOOL_FULL` when lower ranks do not make enough room.
    fn victims(
        &self,
        newcomer: &Row,
        admission: &Admission,
        bytes: usize,
        replaces: Option<Arrival>,
    ) -> Result<Vec<Arrival>, MempoolError> {
        let replaced = replaces.map_or(0, |arrival| self.txs[&arrival].tx.bytes().len());
        let mut txs = (self.txs.len() + 1 - usize::from(replaces.is_some())).saturating_sub(self.config.txs_max);
        let mut bytes = (self.bytes + bytes - replaced).saturating_sub(self.config.bytes_max);
        let is_ordered = matches!(admission.order, TxOrder::Nonce(_));
        let mut tails = self.evictable.iter().copied().peekable();
        // Transactions that become the last nonce of their sender once those after them are evicted.
        let mut exposed: BTreeSet<Rank> = BTreeSet::new();
        let (mut victims, mut highest) = (Vec::new(), None);
        while txs > 0 || bytes > 0 {
            let of_exposed = exposed.first().copied();
            let rank = match (tails.peek().copied(), of_exposed) {
                (Some(tail), of_exposed) if of_exposed.is_none_or(|rank| tail < rank) => tails.next(),
                (_, Some(_)) => exposed.pop_first(),
                (_, None) => None,
            };
            // Only its own predecessors are left, so no fee helps.
            let Some(rank) = rank else { return Err(MempoolError::full(None, admission.fee)) };
            let victim = &self.txs[&rank.2.0];
            if let TxOrder::Nonce(nonce) = victim.tx.body().order {
                if victim.sender == *newcomer && is_ordered {
                    continue;
                }
                let sender = &self.senders[&victim.sender];
                let before = sender.ordered.range(..nonce).next_back();
                exposed.extend(before.and_then(|(nonce, _)| sender.rank(*nonce)));
            }
            txs = txs.saturating_sub(1);
            bytes = bytes.saturating_sub(victim.tx.bytes().len());
            victims.push(rank.2.0);
            highest = highest.max(Some((rank.0, rank.1)));
        }
        let is_ready = admission.ahead == 0;
        match highest {
            Some(highest) if highest >= (is_ready, admission.fee) => {
                let fee_needed = (is_ready || !highest.0).then(|| highest.1.saturating_add(1));
                Err(MempoolError::full(fee_needed, admission.fee))
            }
            _ => Ok(victims),
        }
    }

    /// Adds a transaction as planned for this state of the pool.
    pub fn add<R: Reader + ?Sized>(&mut self, reader: &R, rules: &Rules, plan: Plan, tx: VerifiedTx, now: Time) {
        let Plan { admission, sender: row, replaces, victims } = plan;
        let is_doubtful = rules.height < self.rules.height;
        if is_doubtful {
            self.doubtful.insert(row.clone());
        }
        self.stats.evicted += victims.len() as u64;
        victims.into_iter().for_each(|victim| drop(self.remove(victim)));
        let arrival = self.arrivals;
        self.arrivals += 1;
        let (fee, cost) = (admission.fee, admission.cost);
        if !self.senders.contains_key(&row) {
            let account = View::of_state(reader).account(&admission.sender);
            let (ordered, unordered) = (BTreeMap::new(), BTreeMap::new());
            let ready_end = account.nonce;
            self.senders.insert(row.clone(), Sender { account, ordered, unordered, spent: 0, ready_end });
        }
        let replaced = replaces.and_then(|arrival| self.forget(arrival));
        let of_replaced = replaced.map_or(0, |entry| entry.cost);
        match admission.order {
            TxOrder::Nonce(nonce) => self.change(&row, |sender| {
                sender.ordered.insert(nonce, (arrival, fee));
                sender.spent = sender.spent - of_replaced + cost;
                sender.extend_ready();
            }),
            TxOrder::Expires(expires) => {
                self.digests.insert(tx.digest(), arrival);
                self.expiries.insert((expires, arrival));
                self.evictable.insert((true, fee, Reverse(arrival)));
                self.change(&row, |sender| {
                    sender.unordered.insert((Reverse(fee), arrival), expires);
                    sender.spent += cost;
                });
            }
        }
        if is_doubtful && self.senders.get(&row).is_some_and(Sender::is_poor) {
            self.poor.insert(row.clone());
        }
        self.ids.insert(tx.id(), arrival);
        self.bytes += tx.bytes().len();
        self.txs.insert(arrival, Entry { tx, sender: row, fee, cost, added: now, announced: now });
    }

    /// Changes a sender, and updates its heads in `ready` and `ready_until`, and its tail in `evictable`.
    fn change<T: Default>(&mut self, row: &Row, change: impl FnOnce(&mut Sender) -> T) -> T {
        let Some(sender) = self.senders.get_mut(row) else { return T::default() };
        let (heads, tail) = (sender.heads(), sender.tail());
        let changed = change(sender);
        let (new_heads, new_tail, is_gone) = (sender.heads(), sender.tail(), sender.len() == 0);
        for (head, new_head) in heads.into_iter().zip(new_heads).filter(|(head, new_head)| head != new_head) {
            if let Some((place, expires)) = head {
                self.ready.remove(&place);
                expires.map(|expires| self.ready_until.remove(&(expires, place.1)));
            }
            if let Some((place, expires)) = new_head {
                self.ready.insert(place);
                self.ready_until.extend(expires.map(|expires| (expires, place.1)));
            }
        }
        if tail != new_tail {
            tail.map(|tail| self.evictable.remove(&tail));
            self.evictable.extend(new_tail);
        }
        if is_gone {
            self.senders.remove(row);
        }
        changed
    }

    /// Removes a transaction; later nonces of its sender stay and wait.
    fn remove(&mut self, arrival: Arrival) -> Option<Entry> {
        let entry = self.forget(arrival)?;
        let (order, cost, fee) = (entry.tx.body().order, entry.cost, entry.fee);
        if let TxOrder::Expires(expires) = order {
            self.digests.remove(&entry.tx.digest());
            self.expiries.remove(&(expires, arrival));
            self.evictable.remove(&(true, fee, Reverse(arrival)));
        }
        self.change(&entry.sender, |sender| {
            sender.spent -= cost;
            match order {
                TxOrder::Nonce(nonce) => {
                    sender.ordered.remove(&nonce);
                    if nonce >= sender.account.nonce {
                        sender.ready_end = sender.ready_end.min(nonce);
                    }
                }
                TxOrder::Expires(_) => drop(sender.unordered.remove(&(Reverse(fee), arrival))),
            }
        });
        Some(entry)
    }

    /// Removes a transaction from `txs`, `ids` and `bytes`, but not from the indexes of its sender.
    fn forget(&mut self, arrival: Arrival) -> Option<Entry> {
        let entry = self.txs.remove(&arrival)?;
        self.ids.remove(&entry.tx.id());
        self.bytes -= entry.tx.bytes().len();
        Some(entry)
    }

    /// Returns the transactions for a block with the time `time`: the highest fees first, each sender's nonces in
    /// order. Bytes are counted as in a block. Drops transactions that expired by then.
    pub fn reap(&mut self, time: Time, bytes_max: usize, gas_max: i64) -> Vec<VerifiedTx> {
        self.drop_expired(time, DROPS_MAX);
        let mut gas_left = u64::try_from(gas_max).unwrap_or(u64::MAX);
        let (mut bytes_left, mut misfits, mut reaped) = (bytes_max, 0, Vec::new());
        let mut heads = self.ready.iter().map(|(Reverse(fee), arrival)| (*fee, Reverse(*arrival))).peekable();
        let mut followers = BinaryHeap::new();
        while misfits < REAP_MISFITS_MAX {
            let next = if followers.peek() > heads.peek() { followers.pop() } else { heads.next() };
            let Some((_, Reverse(arrival))) = next else { break };
            let entry = &self.txs[&arrival];
            let order = entry.tx.body().order;
            if matches!(order, TxOrder::Expires(expires) if expires.has_passed(time)) {
                continue; // it has to be dropped; those after it have to wait, so that this is checked once per sender
            }
            let (gas, bytes) = (gas(&entry.tx).unsigned_abs(), Block::tx_bytes_in_block(entry.tx.bytes().len()));
            let fits = gas <= gas_left && bytes <= bytes_left;
            if fits {
                (gas_left, bytes_left) = (gas_left - gas, bytes_left - bytes);
                reaped.push(entry.tx.clone());
            } else {
                misfits += 1;
            }
            // An unordered transaction needs no predecessor in the block, so the next one follows even if this one does
            // not fit.
            if fits || matches!(order, TxOrder::Expires(_)) {
                let follower = self.senders[&entry.sender].follower(order, (Reverse(entry.fee), arrival));
                followers.extend(follower.map(|(Reverse(fee), arrival)| (fee, Reverse(arrival))));
            }
        }
        self.stats.reaped += reaped.len() as u64;
        reaped
    }

    /// Updates the pool after a committed block of this height and header time. Cost: the transactions and changed rows of the block, and
    /// [`DROPS_MAX`]; nothing else is checked, unless parameters changed.
    pub fn update<'a, R: Reader + ?Sized>(
        &mut self,
        reader: &R,
        height: Height,
        time: Time,
        block_txs: &[TxId],
        touched: impl Iterator<Item = &'a [u8]>,
        now: Time,
    ) {
        let rules = Rules::new(reader, self.rules.chain_id.clone(), height.next(), time);
        let params_changed = rules.params != self.rules.params;
        self.rules = rules;
        block_txs.iter().for_each(|id| self.committed.insert(*id));
        let mut rows: BTreeSet<Row> = std::mem::take(&mut self.doubtful);
        rows.extend(touched.filter(|row| self.senders.contains_key(*row)).map(<[u8]>::to_vec));
        if !mutated(Mutation::SkipRecheck) {
            rows.iter().for_each(|row| self.recheck(reader, row));
        }
        if mutated(Mutation::ForgetWaiting) {
            self.flush();
        }
        for id in block_txs.iter().filter(|_| !mutated(Mutation::KeepCommitted)) {
            if let Some(arrival) = self.ids.get(id) {
                self.remove(*arrival);
            }
        }
        if params_changed {
            self.recheck_all(reader);
        }
        self.drop_outdated(now);
    }

    /// Drops the executed transactions of one sender, and notes the sender if its balance does not cover the others.
    fn recheck<R: Reader + ?Sized>(&mut self, reader: &R, row: &Row) {
        let Some(sender) = self.senders.get(row) else { return };
        let any = sender.any().expect("a sender has transactions");
        let account = View::of_state(reader).account(&self.txs[&any].tx.body().signer.address());
        self.stats.rechecked += sender.len() as u64;
        let executed = self.change(row, |sender| {
            sender.account = account;
            sender.extend_ready();
            sender.ordered.range(..account.nonce).map(|(_, (arrival, _))| *arrival).collect::<Vec<_>>()
        });
        executed.into_iter().for_each(|arrival| drop(self.remove(arrival)));
        if self.senders.get(row).is_some_and(Sender::is_poor) {
            self.poor.insert(row.clone());
        }
    }

    /// Checks every transaction against changed parameters.
    fn recheck_all<R: Reader + ?Sized>(&mut self, reader: &R) {
        let mut refused = Vec::new();
        for (arrival, entry) in &self.txs {
            let next_nonce = match entry.tx.body().order {
                TxOrder::Nonce(nonce) => Some(nonce),
                TxOrder::Expires(_) => None,
            };
            if check_tx(reader, &self.rules, &entry.tx, Pending { next_nonce, spent: 0 }).is_err() {
                refused.push(*arrival);
            }
        }
        self.stats.rechecked += self.txs.len() as u64;
        self.stats.dropped += refused.len() as u64;
        refused.into_iter().for_each(|arrival| drop(self.remove(arrival)));
    }

    /// Drops transactions that no later block may contain, and those that waited too long: at most [`DROPS_MAX`] that
    /// their senders cannot pay for, and as many that are too old.
    pub fn drop_outdated(&mut self, now: Time) {
        self.drop_unpaid();
        let drops_left = DROPS_MAX - self.drop_expired(self.rules.time, DROPS_MAX);
        self.drop_old(now, drops_left);
    }

    /// Drops transactions that the balances of their senders do not cover: of each sender the last nonces first, then
    /// the last unordered ones.
    fn drop_unpaid(&mut self) {
        let mut drops_left = DROPS_MAX;
        while let Some(row) = self.poor.first().cloned() {
            while let Some(sender) = self.senders.get(&row).filter(|sender| sender.is_poor()) {
                if drops_left == 0 {
                    return;
                }
                drops_left -= 1;
                let last = sender.last().expect("a sender has transactions");
                self.remove(last);
                self.stats.dropped += 1;
            }
            self.poor.remove(&row);
        }
    }

    /// Drops transactions that waited too long, at most `drops_left`.
    fn drop_old(&mut self, now: Time, mut drops_left: usize) {
        while drops_left > 0
            && let Some((arrival, entry)) = self.txs.first_key_value()
        {
            if now.since(entry.added) <= self.config.ttl {
                break;
            }
            let arrival = *arrival;
            self.remove_expired(arrival);
            drops_left -= 1;
        }
    }

    /// Drops unordered transactions that no block with the time `time` or a later one may contain, at most `max`.
    /// Returns their number.
    fn drop_expired(&mut self, time: Time, max: usize) -> usize {
        let first = self.expiries.iter().take(max).take_while(|(expires, _)| expires.has_passed(time));
        let expired: Vec<Arrival> = first.map(|(_, arrival)| *arrival).collect();
        expired.iter().for_each(|arrival| self.remove_expired(*arrival));
        expired.len()
    }

    fn remove_expired(&mut self, arrival: Arrival) {
        let entry = self.remove(arrival).expect("what expires waits");
        self.expired.insert(entry.tx.id());
        self.stats.expired += 1;
    }

    pub fn flush(&mut self) {
        let Self { config, rules, arrivals, stats, .. } = self;
        let mut empty = Self::new(config.clone(), rules.chain_id.clone());
        (empty.rules, empty.arrivals, empty.stats) = (rules.clone(), *arrivals, *stats);
        std::mem::swap(&mut empty.committed, &mut self.committed);
        std::mem::swap(&mut empty.expired, &mut self.expired);
        *self = empty;
    }
}

/// Returns the minimum fee that replaces `fee`: `percent` more, and at least 1 more.
fn replacement_fee(fee: u64, percent: u64) -> u64 {
    let more = (u128::from(fee) * u128::from(percent)).div_ceil(100).max(1);
    u64::try_from(u128::from(fee) + more).unwrap_or(u64::MAX)
}
