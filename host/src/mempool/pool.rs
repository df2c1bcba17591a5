//! The transactions that wait, in the orders in which they are needed.
//!
//! | index | order | for |
//! |---|---|---|
//! | `txs` | arrival | time to live, listing |
//! | `senders` → `ordered` | nonce | what can be executed, replacement |
//! | `ready` | fee down, arrival up | reaping: each sender's next nonce, and the first of its unordered ones |
//! | `evictable` | not ready first, fee up, arrival down | making room: each sender's last nonce, and every unordered one |
//! | `expiries` | height | unordered ones whose last height passed |
//!
//! Invariants, checked after each step of the model test:
//! **M1** the indexes agree with `txs`; **M2** never more transactions or bytes than configured; **M3** `spent` is the sum of what
//! a sender's transactions cost; **M4** only a sender's last nonce is evicted, so nothing that stays loses its predecessor.

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
use types::{Address, Block, ChainId, Hash, Height, Reader, Time, TxId, TxOrder, VerifiedTx};

use super::{ANNOUNCE_INTERVAL, Config, MempoolError, Stats};
use crate::recent::Recent;

/// Transactions passed over for lack of room before a reap ends: what is left of a block is not worth a longer search.
const REAP_MISFITS_MAX: usize = 64;

/// Transactions that one block drops because their senders cannot pay for them any more, and as many because their time is over. More are
/// dropped after the next blocks, and no block takes them: a client can aim all that waits at one block. 1,024 cost 2 to 3 ms.
const DROPS_MAX: usize = 1024;

/// Position in the order of arrival.
type Arrival = u64;

/// The key of an account's row: blocks tell what they touched by it.
type Row = Vec<u8>;

/// Who comes first in a block: the highest fee, then the first to come.
type Place = (Reverse<u64>, Arrival);

/// Who gives way first: whatever cannot be executed yet, then the lowest fee, then the latest.
type Rank = (bool, u64, Reverse<Arrival>);

#[derive(Debug)]
pub(super) struct Entry {
    pub tx: VerifiedTx,
    sender: Row,
    fee: u64,
    cost: u128,
    added_height: Height,
    added: Time,
    announced: Time,
}

/// A sender with at least one transaction here.
#[derive(Debug)]
struct Sender {
    account: Account,
    ordered: BTreeMap<u64, (Arrival, u64 /* fee */)>,
    unordered: BTreeSet<Place>,
    spent: u128,
    /// The first nonce from the account's on that is not held.
    ready_end: u64,
}

impl Sender {
    fn len(&self) -> usize {
        self.ordered.len() + self.unordered.len()
    }

    /// The next ones that a block can take: the one with the next nonce, and the first without one.
    fn heads(&self) -> [Option<Place>; 2] {
        [self.place(self.account.nonce), self.unordered.first().copied()]
    }

    fn place(&self, nonce: u64) -> Option<Place> {
        let (arrival, fee) = self.ordered.get(&nonce)?;
        Some((Reverse(*fee), *arrival))
    }

    /// The one that a block can take after this one of it.
    fn follower(&self, order: TxOrder, place: Place) -> Option<Place> {
        match order {
            TxOrder::Nonce(nonce) => self.place(nonce.checked_add(1)?),
            TxOrder::Expires(_) => self.unordered.range((Bound::Excluded(place), Bound::Unbounded)).next().copied(),
        }
    }

    /// The one that nothing waits for.
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

/// A transaction that fits in: what to do to take it.
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
    /// The hash maps are looked up in, never walked: their order cannot matter.
    ids: HashMap<TxId, Arrival>,
    senders: HashMap<Row, Sender>,
    digests: HashMap<Hash, Arrival>,
    ready: BTreeSet<Place>,
    evictable: BTreeSet<Rank>,
    expiries: BTreeSet<(Height, Arrival)>,
    committed: Recent,
    expired: Recent,
    /// Senders that were looked at on an older state than the pool's.
    doubtful: BTreeSet<Row>,
    /// Senders that cannot pay for all that waits of them, and of whom some is still to be dropped.
    poor: BTreeSet<Row>,
    bytes: usize,
    pub stats: Stats,
}

fn account_row(address: &Address) -> Row {
    row_key(NEVER_REVERTED, &path_of(&key::account(address)))
}

/// Gas that a transaction costs: 1 for each message.
pub(super) fn gas(tx: &VerifiedTx) -> i64 {
    tx.body().messages.len() as i64
}

impl Pool {
    pub fn new(config: Config, chain_id: ChainId) -> Self {
        Self {
            committed: Recent::new(config.committed_max),
            expired: Recent::new(config.committed_max),
            config,
            rules: Rules { chain_id, height: Height(1), params: Default::default() },
            arrivals: 0,
            txs: BTreeMap::new(),
            ids: HashMap::new(),
            senders: HashMap::new(),
            digests: HashMap::new(),
            ready: BTreeSet::new(),
            evictable: BTreeSet::new(),
            expiries: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            poor: BTreeSet::new(),
            bytes: 0,
            stats: Stats::default(),
        }
    }

    pub fn chain_id(&self) -> &ChainId {
        &self.rules.chain_id
    }

    pub fn get(&self, id: &TxId) -> Option<&Entry> {
        self.ids.get(id).map(|arrival| &self.txs[arrival])
    }

    /// A transaction whose last announcement is long enough ago; notes a new one.
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

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn in_order_of_arrival(&self) -> impl Iterator<Item = &Entry> {
        self.txs.values()
    }

    /// The nonce after the last one of a sender that waits without a gap; `None` when none does.
    pub fn next_nonce(&self, sender: &Address) -> Option<u64> {
        let sender = self.senders.get(&account_row(sender))?;
        sender.ordered.range(..sender.ready_end).next().map(|_| sender.ready_end)
    }

    pub fn stats(&self) -> Stats {
        Stats { txs: self.txs.len(), bytes: self.bytes, ..self.stats }
    }

    /// Whether and how a transaction fits in. Changes nothing.
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
            // One body acts once, however often it is signed.
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

    /// Whom to evict for a newcomer: as few as give it room, each ranking below it; never its own predecessors.
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
        // Tails once those behind them are gone.
        let mut exposed: BTreeSet<Rank> = BTreeSet::new();
        let (mut victims, mut highest) = (Vec::new(), None);
        while txs > 0 || bytes > 0 {
            let of_exposed = exposed.first().copied();
            let rank = match (tails.peek().copied(), of_exposed) {
                (Some(tail), of_exposed) if of_exposed.is_none_or(|rank| tail < rank) => tails.next(),
                (_, Some(_)) => exposed.pop_first(),
                (_, None) => None,
            };
            // Its own predecessors are all that is left: no fee helps.
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

    /// Takes a transaction as planned on this very pool.
    pub fn add<R: Reader + ?Sized>(&mut self, reader: &R, rules: &Rules, plan: Plan, tx: VerifiedTx, now: Time) {
        let Plan { admission, sender: row, replaces, victims } = plan;
        if rules.height < self.rules.height {
            self.doubtful.insert(row.clone());
        }
        self.stats.evicted += victims.len() as u64;
        victims.into_iter().for_each(|victim| drop(self.remove(victim)));
        let arrival = self.arrivals;
        self.arrivals += 1;
        let (fee, cost) = (admission.fee, admission.cost);
        if !self.senders.contains_key(&row) {
            let account = View::of_state(reader).account(&admission.sender);
            let (ordered, unordered) = (BTreeMap::new(), BTreeSet::new());
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
                    sender.unordered.insert((Reverse(fee), arrival));
                    sender.spent += cost;
                });
            }
        }
        self.ids.insert(tx.id(), arrival);
        self.bytes += tx.bytes().len();
        let added_height = self.rules.height;
        self.txs.insert(arrival, Entry { tx, sender: row, fee, cost, added_height, added: now, announced: now });
    }

    /// Changes a sender and keeps its head in `ready` and its tail in `evictable`.
    fn change<T: Default>(&mut self, row: &Row, change: impl FnOnce(&mut Sender) -> T) -> T {
        let Some(sender) = self.senders.get_mut(row) else { return T::default() };
        let (heads, tail) = (sender.heads(), sender.tail());
        let changed = change(sender);
        let (new_heads, new_tail, is_gone) = (sender.heads(), sender.tail(), sender.len() == 0);
        for (head, new_head) in heads.into_iter().zip(new_heads).filter(|(head, new_head)| head != new_head) {
            head.map(|head| self.ready.remove(&head));
            self.ready.extend(new_head);
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

    /// Removes a transaction; those of its sender that needed it stay and wait.
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

    /// Removes a transaction from what is not its sender's.
    fn forget(&mut self, arrival: Arrival) -> Option<Entry> {
        let entry = self.txs.remove(&arrival)?;
        self.ids.remove(&entry.tx.id());
        self.bytes -= entry.tx.bytes().len();
        Some(entry)
    }

    /// What a block can take: the highest fees first, each sender's nonces in order. Bytes as they count in a block.
    pub fn reap(&mut self, bytes_max: usize, gas_max: i64) -> Vec<VerifiedTx> {
        let mut gas_left = u64::try_from(gas_max).unwrap_or(u64::MAX);
        let (mut bytes_left, mut misfits, mut reaped) = (bytes_max, 0, Vec::new());
        let mut heads = self.ready.iter().map(|(Reverse(fee), arrival)| (*fee, Reverse(*arrival))).peekable();
        let mut followers = BinaryHeap::new();
        while misfits < REAP_MISFITS_MAX {
            let next = if followers.peek() > heads.peek() { followers.pop() } else { heads.next() };
            let Some((_, Reverse(arrival))) = next else { break };
            let entry = &self.txs[&arrival];
            if self.is_to_be_dropped(entry) {
                continue;
            }
            let order = entry.tx.body().order;
            let (gas, bytes) = (gas(&entry.tx).unsigned_abs(), Block::tx_bytes_in_block(entry.tx.bytes().len()));
            let fits = gas <= gas_left && bytes <= bytes_left;
            if fits {
                (gas_left, bytes_left) = (gas_left - gas, bytes_left - bytes);
                reaped.push(entry.tx.clone());
            } else {
                misfits += 1;
            }
            // Without a nonce before it, one need not be in a block either.
            if fits || matches!(order, TxOrder::Expires(_)) {
                let follower = self.senders[&entry.sender].follower(order, (Reverse(entry.fee), arrival));
                followers.extend(follower.map(|(Reverse(fee), arrival)| (fee, Reverse(arrival))));
            }
        }
        self.stats.reaped += reaped.len() as u64;
        reaped
    }

    /// Whether it waits for its turn to be dropped. Then none of what follows it of its sender is taken either, so that this is asked
    /// once for each sender and not for all that waits.
    fn is_to_be_dropped(&self, entry: &Entry) -> bool {
        let is_over = matches!(entry.tx.body().order, TxOrder::Expires(expires) if expires < self.rules.height);
        is_over || !self.poor.is_empty() && self.poor.contains(&entry.sender)
    }

    /// A block was committed. Cost: what the block holds and touched, and [`DROPS_MAX`]; nothing else is looked at, unless parameters
    /// changed.
    pub fn update<'a, R: Reader + ?Sized>(
        &mut self,
        reader: &R,
        height: Height,
        block_txs: &[TxId],
        touched: impl Iterator<Item = &'a [u8]>,
        now: Time,
    ) {
        let rules = Rules::new(reader, self.rules.chain_id.clone(), height.next());
        let params_changed = rules.params != self.rules.params;
        self.rules = rules;
        block_txs.iter().for_each(|id| self.committed.insert(*id));
        let mut rows: BTreeSet<Row> = std::mem::take(&mut self.doubtful);
        rows.extend(touched.filter(|row| self.senders.contains_key(*row)).map(<[u8]>::to_vec));
        rows.append(&mut self.poor);
        let mut drops_left = DROPS_MAX;
        rows.iter().for_each(|row| self.recheck(reader, row, &mut drops_left));
        for id in block_txs {
            if let Some(arrival) = self.ids.get(id) {
                self.remove(*arrival);
            }
        }
        if params_changed {
            self.recheck_all(reader);
        }
        self.expire(now);
    }

    /// Drops of one sender what was executed, and what its balance does not suffice for any more: the last nonces first, then
    /// the unordered ones that come last, as many as may be.
    fn recheck<R: Reader + ?Sized>(&mut self, reader: &R, row: &Row, drops_left: &mut usize) {
        let Some(sender) = self.senders.get(row) else { return };
        let any = sender
            .ordered
            .first_key_value()
            .map(|(_, (arrival, _))| *arrival)
            .or(sender.unordered.first().map(|(_, arrival)| *arrival));
        let address =
            any.map(|arrival| self.txs[&arrival].tx.body().signer.address()).expect("a sender has transactions");
        let account = View::of_state(reader).account(&address);
        self.stats.rechecked += sender.len() as u64;
        let executed = self.change(row, |sender| {
            sender.account = account;
            sender.extend_ready();
            sender.ordered.range(..account.nonce).map(|(_, (arrival, _))| *arrival).collect::<Vec<_>>()
        });
        executed.into_iter().for_each(|arrival| drop(self.remove(arrival)));
        while let Some(sender) = self.senders.get(row).filter(|sender| sender.spent > u128::from(account.balance)) {
            if *drops_left == 0 {
                self.poor.insert(row.clone());
                return;
            }
            *drops_left -= 1;
            let last = sender
                .ordered
                .last_key_value()
                .map(|(_, (arrival, _))| *arrival)
                .or(sender.unordered.last().map(|(_, arrival)| *arrival));
            self.remove(last.expect("a sender has transactions"));
            self.stats.dropped += 1;
        }
    }

    /// Parameters changed: every transaction is held against them.
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

    /// Drops what no later block may hold, and what waited too long: [`DROPS_MAX`] at a time.
    pub fn expire(&mut self, now: Time) {
        let mut drops_left = DROPS_MAX;
        while drops_left > 0
            && let Some((_, arrival)) =
                self.expiries.first().copied().filter(|(expires, _)| *expires < self.rules.height)
        {
            self.remove_expired(arrival);
            drops_left -= 1;
        }
        while drops_left > 0
            && let Some((arrival, entry)) = self.txs.first_key_value()
        {
            let waited = now.since(entry.added);
            let heights = self.rules.height.0.saturating_sub(entry.added_height.0);
            if waited <= self.config.ttl && self.config.ttl_heights.is_none_or(|max| heights <= max) {
                break;
            }
            let arrival = *arrival;
            self.remove_expired(arrival);
            drops_left -= 1;
        }
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

/// The least fee that takes the place of `fee`: `percent` more, and at least 1 more.
fn replacement_fee(fee: u64, percent: u64) -> u64 {
    let more = (u128::from(fee) * u128::from(percent)).div_ceil(100).max(1);
    u64::try_from(u128::from(fee) + more).unwrap_or(u64::MAX)
}
