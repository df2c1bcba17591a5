//! Bounds what clients of the RPC can cost, whatever they send: connections, bytes in memory, and work. Each resource
//! has a total bound, and each address has a share of it, so that one client cannot take what the others need.
//!
//! | resource | total | one address | beyond it |
//! |---|---|---|---|
//! | connections | [`Limits::connections_max`] | [`Limits::address_connections_max`] | evicts an idle one, else 503 |
//! | bytes of requests without an answer yet | [`REQUEST_BYTES_MAX`] | half | 503, or the connection is closed |
//! | bytes of answers not read yet | [`ANSWER_BYTES_MAX`] | half | the call is answered with an error |
//! | bytes per second | – | [`Limits::bytes_per_second`] | a request waits up to [`WAIT_MAX`], then 429; events wait |
//! | processor time per second | [`Limits::all_cpu_percent`] | [`Limits::cpu_percent`] | the same |
//! | places that are held for long: [`Places`] | `max` | half | the call is answered with an error |
//! | concurrent calls of high cost: [`Turns`] | `running_max` | take turns | the call waits, then gets an error |
//!
//! While all addresses together are over the total of processor time, each has an equal share of it.
//!
//! An address is an IPv4 address or an IPv6 network of 64 bits. The debt of an address outlives its connections.

use std::{
    collections::HashMap,
    future::{pending, poll_fn},
    net::IpAddr,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep};

use crate::{cpu, socket::Presence};

mod budget;
mod places;
mod turns;

pub use budget::Limits;
use budget::{Debt, Total};
pub use places::{Place, Places};
pub use turns::{Turn, Turns};

/// Maximum bytes of requests that were read from sockets and have no answer yet: 64 of the largest bodies.
pub const REQUEST_BYTES_MAX: usize = 64 << 20;

/// Maximum bytes of answers that clients have not read yet: ten of the largest blocks as JSON.
pub const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Bytes of one connection that may wait even when all of [`REQUEST_BYTES_MAX`], or the address's half, is in use. A
/// small request is thus served beside large ones that wait.
const SMALL_REQUEST_BYTES_MAX: usize = 16 << 10;

/// Maximum time that a request waits when its client is over budget; then it is refused. A client that sends its
/// requests one after the other is slowed down by it and sees no error.
pub const WAIT_MAX: Duration = Duration::from_secs(2);

/// Minimum silence before an idle connection that has carried a request may be closed in favour of a new connection.
const IDLE_GRACE: Duration = Duration::from_secs(5);

/// Maximum number of addresses without a connection whose debt is remembered. Beyond it, all debts of addresses without
/// a connection are dropped.
const DEBTORS_MAX: usize = 4096;

/// Minimum time between two searches for addresses that owe nothing any more.
const FORGIVE_INTERVAL: Duration = Duration::from_millis(500);

/// What was refused to clients, because of a bound on what they may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A new connection: no place was free.
    Connection,
    /// An idle connection was closed in favour of a new one.
    Idle,
    /// A request or a message: its address was over its budget.
    Budget,
    /// A connection was closed: too many bytes of requests waited.
    RequestBytes,
    /// An answer or an event: too many bytes waited to be read.
    AnswerBytes,
    /// A body: too large, too many values, too deep, too many calls, or not JSON. None of its calls was run.
    Body,
    /// A connection was closed: its client did not complete a request in time, or did not read.
    Slow,
    /// A call or a subscription: the places that are held for long were taken, or its share of them.
    NoPlace,
    /// A call: its turn did not come in time, or too many calls waited for theirs.
    NoTurn,
}

impl Refused {
    /// Names of what is refused, in labels of metrics, in the order of the enum.
    pub const NAMES: [&str; 9] =
        ["connection", "idle", "budget", "request_bytes", "answer_bytes", "body", "slow", "place", "turn"];
}

/// All connected clients and the resources that each address has used.
#[derive(Debug)]
pub struct Clients {
    limits: Limits,
    began: Instant,
    open: Mutex<Open>,
    cpu: Mutex<Total>,
    /// Number of addresses that have connections or owe something. Changes only under the lock of [`Open`].
    addresses: AtomicUsize,
    request_bytes: AtomicUsize,
    answer_bytes: AtomicUsize,
    subscriptions: AtomicUsize,
    refused: [AtomicU64; Refused::NAMES.len()],
}

#[derive(Debug, Default)]
struct Open {
    next_id: u64,
    /// When paid debts were forgotten for the last time.
    forgiven: Option<Instant>,
    clients: HashMap<u64, Weak<Client>>,
    accounts: HashMap<IpAddr, Arc<Account>>,
}

/// The resources that one address uses.
#[derive(Debug)]
struct Account {
    /// Changes only under the lock of [`Open`].
    connections: AtomicUsize,
    request_bytes: AtomicUsize,
    answer_bytes: AtomicUsize,
    debt: Mutex<Debt>,
}

/// One connection. Its place becomes free when the last owner of this value drops it.
#[derive(Debug)]
pub struct Client {
    clients: Arc<Clients>,
    account: Arc<Account>,
    address: IpAddr,
    id: u64,
    /// Milliseconds from the start of the server to the last request, or to the last activity on a WebSocket.
    heard_ms: AtomicU64,
    /// True when at least one request has arrived completely.
    is_proven: AtomicBool,
    is_websocket: AtomicBool,
    /// Number of running requests, answers that are being read, and subscriptions.
    working: AtomicUsize,
    /// Bytes that were read from the socket and not yet taken as a request.
    unread: AtomicUsize,
    leave: Notify,
    presence: OnceLock<Presence>,
}

/// The reason why there is no free place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// The address holds its share of places (the number), and none of them can be evicted.
    Address(usize),
    /// All places (the number) are taken, and none of them can be evicted.
    All(usize),
}

impl NoPlace {
    /// Returns a phrase for the error message: `100 calls`, or `50 calls of your address`.
    pub fn of(self, what: &str) -> String {
        match self {
            Self::Address(share) => format!("{share} {what} of your address"),
            Self::All(all) => format!("{all} {what}"),
        }
    }
}

impl Clients {
    /// Creates the registry without clients.
    pub fn new(limits: Limits) -> Arc<Self> {
        let began = Instant::now();
        Arc::new(Self {
            limits,
            began,
            open: Mutex::default(),
            cpu: Mutex::new(Total::none(began)),
            addresses: AtomicUsize::new(0),
            request_bytes: AtomicUsize::new(0),
            answer_bytes: AtomicUsize::new(0),
            subscriptions: AtomicUsize::new(0),
            refused: Default::default(),
        })
    }

    /// Returns how often each kind of refusal happened, in the order of [`Refused::NAMES`].
    pub fn refused(&self) -> [u64; Refused::NAMES.len()] {
        std::array::from_fn(|kind| self.refused[kind].load(Relaxed))
    }

    fn count(&self, refused: Refused) {
        self.refused[refused as usize].fetch_add(1, Relaxed);
    }

    /// Returns the number of open connections.
    pub fn connections(&self) -> usize {
        self.lock().clients.len()
    }

    /// Returns the number of active subscriptions of all clients.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.load(Relaxed)
    }

    /// Registers a new connection. When there is no free place, the connection that has been idle for longest is
    /// evicted: one of the same address if that address has its share, else one of the address with most connections.
    ///
    /// Errors: [`NoPlace::All`] or [`NoPlace::Address`] when no connection can be evicted.
    ///
    /// Cost: O(1); O(connections) when one has to be evicted.
    pub fn enter(self: &Arc<Self>, from: IpAddr) -> Result<Arc<Client>, NoPlace> {
        let address = account_of(from);
        // Declared before the lock, so that it is dropped after it: dropping the last owner of a client takes the lock
        // too.
        let mut seen = Vec::new();
        let mut open = self.lock();
        open.forgive(self);
        let account = open.accounts.entry(address).or_insert_with(|| Arc::new(Account::new())).clone();
        let share = self.limits.address_connections_max.min(self.limits.connections_max);
        let is_full = open.clients.len() >= self.limits.connections_max;
        let has_share = account.connections.load(Relaxed) >= share;
        if has_share || is_full {
            let has_evicted = open.evict(&mut seen, has_share.then_some(address), self.elapsed_ms());
            self.count(if has_evicted { Refused::Idle } else { Refused::Connection });
            if !has_evicted {
                return Err(if is_full { NoPlace::All(self.limits.connections_max) } else { NoPlace::Address(share) });
            }
        }
        open.next_id += 1;
        account.connections.fetch_add(1, Relaxed);
        self.addresses.store(open.accounts.len(), Relaxed);
        let client = Arc::new(Client {
            clients: self.clone(),
            account,
            address,
            id: open.next_id,
            heard_ms: AtomicU64::new(self.elapsed_ms()),
            is_proven: AtomicBool::new(false),
            is_websocket: AtomicBool::new(false),
            working: AtomicUsize::new(0),
            unread: AtomicUsize::new(0),
            leave: Notify::new(),
            presence: OnceLock::new(),
        });
        open.clients.insert(client.id, Arc::downgrade(&client));
        Ok(client)
    }

    /// Evicts the connection that has been idle for longest, if any. For a process that has no file handle left.
    pub fn make_room(&self) {
        let mut seen = Vec::new(); // dropped after the lock, as in `enter`
        self.lock().evict(&mut seen, None, self.elapsed_ms());
    }

    /// Returns the number of cores that one address may use now; 0 means no limit.
    fn cpu_rate(&self, now: Instant) -> f64 {
        self.total().cpu_rate(now, &self.limits, self.addresses.load(Relaxed))
    }

    fn elapsed_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn total(&self) -> MutexGuard<'_, Total> {
        self.cpu.lock().expect("a thread that panics stops the process")
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("a thread that panics stops the process")
    }
}

impl Open {
    /// Notifies an idle connection that it has to close, and stops counting it. Returns false if there is none.
    fn evict(&mut self, seen: &mut Vec<Arc<Client>>, of: Option<IpAddr>, now_ms: u64) -> bool {
        seen.extend(self.clients.values().filter_map(Weak::upgrade));
        let idle = seen.iter().filter(|client| of.is_none_or(|of| of == client.address) && client.may_go(now_ms));
        let weight = |client: &&Arc<Client>| {
            let silent_ms = now_ms.saturating_sub(client.heard_ms.load(Relaxed));
            (client.account.connections.load(Relaxed), !client.is_proven.load(Relaxed), silent_ms)
        };
        let Some(client) = idle.max_by_key(weight) else { return false };
        self.forget(client);
        client.leave.notify_one();
        true
    }

    /// Stops counting a connection. Calling it again for the same connection has no effect.
    fn forget(&mut self, client: &Client) {
        if self.clients.remove(&client.id).is_some() {
            client.account.connections.fetch_sub(1, Relaxed);
        }
    }

    /// Forgets the addresses without a connection that owe nothing, or more of them when there are too many. It looks at them once in
    /// a while, and then takes O(addresses).
    fn forgive(&mut self, clients: &Clients) {
        let now = Instant::now();
        if self.forgiven.is_some_and(|last| now.duration_since(last) < FORGIVE_INTERVAL) && !self.has_many_debtors() {
            return;
        }
        self.forgiven = Some(now);
        let cpu_rate = clients.cpu_rate(now);
        let is_here = |account: &Account| account.connections.load(Relaxed) > 0;
        self.accounts.retain(|_, account| is_here(account) || !account.lock().is_paid(now, &clients.limits, cpu_rate));
        if self.has_many_debtors() {
            self.accounts.retain(|_, account| is_here(account));
        }
        clients.addresses.store(self.accounts.len(), Relaxed);
    }

    fn has_many_debtors(&self) -> bool {
        self.accounts.len() >= self.clients.len() + DEBTORS_MAX
    }
}

impl Account {
    fn new() -> Self {
        Self {
            connections: AtomicUsize::new(0),
            request_bytes: AtomicUsize::new(0),
            answer_bytes: AtomicUsize::new(0),
            debt: Mutex::new(Debt::none(Instant::now())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Debt> {
        self.debt.lock().expect("a thread that panics stops the process")
    }
}

impl Client {
    /// Takes the second owner of the connection's socket.
    pub(crate) fn connected(&self, presence: Presence) {
        let _ = self.presence.set(presence); // a client has one socket
    }

    /// Completes when the client has closed its end of the connection: nothing more is done for it then.
    pub async fn has_left(&self) {
        match self.presence.get() {
            Some(presence) => presence.ended().await,
            None => pending().await,
        }
    }

    /// Completes when this connection has to give its place to another one.
    pub async fn has_to_leave(&self) {
        self.leave.notified().await;
    }

    /// Records that a complete request arrived, or that a WebSocket showed activity.
    pub fn hear(&self) {
        self.is_proven.store(true, Relaxed);
        self.heard_ms.store(self.clients.elapsed_ms(), Relaxed);
    }

    /// Marks this connection as a WebSocket from now on.
    pub fn becomes_websocket(&self) {
        self.is_websocket.store(true, Relaxed);
    }

    /// Protects the connection from eviction until the guard is dropped.
    pub fn work(self: &Arc<Self>) -> Work {
        self.working.fetch_add(1, Relaxed);
        Work(self.clone())
    }

    /// Counts a subscription until the guard is dropped.
    pub fn subscribed(&self) -> Subscribed {
        self.clients.subscriptions.fetch_add(1, Relaxed);
        Subscribed(self.clients.clone())
    }

    /// Returns the time until the address is within its budget again.
    pub fn wait(&self) -> Duration {
        let now = Instant::now();
        let cpu_rate = self.clients.cpu_rate(now);
        self.account.lock().wait(now, &self.clients.limits, cpu_rate)
    }

    /// Waits until the address is within its budget. Returns false if it takes longer than [`WAIT_MAX`], and counts a refusal.
    pub async fn is_within_budget(&self) -> bool {
        let wait = self.wait();
        if !wait.is_zero() {
            sleep(wait.min(WAIT_MAX)).await;
        }
        let is_within = self.wait().is_zero();
        if !is_within {
            self.count(Refused::Budget);
        }
        is_within
    }

    /// Counts a refusal, for the metrics.
    pub(crate) fn count(&self, refused: Refused) {
        self.clients.count(refused);
    }

    /// Charges bytes to the address: of requests that it sent, or of events that it received.
    pub fn charge_bytes(&self, bytes: usize) {
        self.account.lock().add_bytes(bytes);
    }

    /// Runs `work` on the calling thread and charges the processor time that it takes to the address.
    pub fn charged<T>(&self, work: impl FnOnce() -> T) -> T {
        let begun = cpu::thread_cpu();
        let done = work();
        self.charge_cpu(cpu::thread_cpu().saturating_sub(begun));
        done
    }

    /// Drives a future and charges the processor time of each poll to the address: for work on the async threads.
    pub async fn paying<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|context| self.charged(|| work.as_mut().poll(context))).await
    }

    /// Charges processor time to the address; for a thread that works for several clients.
    pub fn charge_cpu(&self, used: Duration) {
        self.account.lock().add_cpu(used);
        self.clients.total().add_cpu(used);
    }

    /// Returns the address that is charged. All clients with this address share one account.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Counts bytes that arrived from the socket; those of a WebSocket are charged to the address too.
    ///
    /// Returns false if the connection must be closed, because no error answer can be sent that bounds them: too many
    /// bytes wait, or a large WebSocket message arrives from an address that is over budget. A request that is being
    /// served gets an error answer instead.
    pub fn read(&self, bytes: usize) -> bool {
        let unread = self.unread.fetch_add(bytes, Relaxed) + bytes;
        self.account.request_bytes.fetch_add(bytes, Relaxed);
        self.clients.request_bytes.fetch_add(bytes, Relaxed);
        let is_websocket = self.is_websocket.load(Relaxed);
        if is_websocket {
            self.charge_bytes(bytes); // charged now: the message may never be complete, or be a ping
        }
        let can_be_told = !is_websocket && self.working.load(Relaxed) > 0;
        let may_go_on = || self.has_room_to_read() && !(is_websocket && self.wait() > WAIT_MAX);
        let goes_on = can_be_told || unread <= SMALL_REQUEST_BYTES_MAX || may_go_on();
        if !goes_on {
            self.count(Refused::RequestBytes);
        }
        goes_on
    }

    /// Returns true if a part of a request has arrived, and not the rest.
    pub(crate) fn is_in_a_request(&self) -> bool {
        self.unread.load(Relaxed) > 0
    }

    /// Returns true if more bytes of a request may be read: those of a small request always, others while there is room.
    pub fn has_room_to_read(&self) -> bool {
        self.unread.load(Relaxed) <= SMALL_REQUEST_BYTES_MAX
            || self.clients.request_bytes.load(Relaxed) <= REQUEST_BYTES_MAX
                && self.account.request_bytes.load(Relaxed) <= REQUEST_BYTES_MAX / 2
    }

    /// Takes the bytes that were read as one request: the next bytes belong to another one. They count until the guard
    /// is dropped.
    pub fn take_read(self: &Arc<Self>) -> Taken {
        Taken { client: self.clone(), bytes: self.unread.swap(0, Relaxed) }
    }

    fn release_read(&self, bytes: usize) {
        self.account.request_bytes.fetch_sub(bytes, Relaxed);
        self.clients.request_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Reserves memory for an answer until the guard is dropped. Returns `None` when too many bytes of answers wait
    /// already; a first answer always fits.
    pub fn room_for_answer(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let in_all = self.clients.answer_bytes.fetch_add(bytes, Relaxed);
        let of_address = self.account.answer_bytes.fetch_add(bytes, Relaxed);
        let room = Room { client: self.clone(), bytes };
        let fits = |before: usize, max: usize| before == 0 || before + bytes <= max;
        let fits = fits(in_all, ANSWER_BYTES_MAX) && fits(of_address, ANSWER_BYTES_MAX / 2);
        if !fits {
            self.count(Refused::AnswerBytes);
        }
        fits.then_some(room)
    }

    /// Returns true if this connection may be evicted.
    fn may_go(&self, now_ms: u64) -> bool {
        let silent = Duration::from_millis(now_ms.saturating_sub(self.heard_ms.load(Relaxed)));
        self.working.load(Relaxed) == 0 && (!self.is_proven.load(Relaxed) || silent >= IDLE_GRACE)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.release_read(self.unread.load(Relaxed));
        let clients = self.clients.clone();
        let mut open = clients.lock();
        open.forget(self);
        open.forgive(&clients);
    }
}

/// Guard of a running request, an answer that is being read, or a subscription: prevents eviction.
#[derive(Debug)]
pub struct Work(Arc<Client>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.hear();
        self.0.working.fetch_sub(1, Relaxed);
    }
}

/// Guard of a subscription that is counted.
#[derive(Debug)]
pub struct Subscribed(Arc<Clients>);

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.0.subscriptions.fetch_sub(1, Relaxed);
    }
}

/// Guard that counts the bytes of a request until it is answered.
#[derive(Debug)]
pub struct Taken {
    client: Arc<Client>,
    bytes: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.client.release_read(self.bytes);
    }
}

/// Guard that counts the bytes of an answer until its client has read it.
#[derive(Debug)]
pub struct Room {
    client: Arc<Client>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.client.account.answer_bytes.fetch_sub(self.bytes, Relaxed);
        self.client.clients.answer_bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// Returns the address that is charged. All addresses of an IPv6 network of 64 bits are charged as one, as they belong
/// to one customer.
fn account_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { bytes_per_second: 1000, cpu_percent: 50, all_cpu_percent: 100, ..Limits::of_connections(8, 4) };

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    /// Returns three clients with three different addresses.
    pub fn connected() -> [Arc<Client>; 3] {
        let clients = Clients::new(LIMITS);
        [1, 2, 3].map(|last| clients.enter(ip(last)).unwrap())
    }

    #[test]
    fn idle_connections_are_evicted_and_busy_ones_are_not() {
        let clients = Clients::new(LIMITS);
        let mute: Vec<_> = (0..4).map(|_| clients.enter(ip(1)).unwrap()).collect();
        let other = clients.enter(ip(2)).unwrap();
        let newcomer = clients.enter(ip(1)).unwrap();
        assert_eq!(clients.connections(), 5, "one of the same address gave way");
        let works: Vec<_> = mute.iter().chain([&newcomer, &other]).map(Client::work).collect();
        assert_eq!(clients.enter(ip(1)).unwrap_err(), NoPlace::Address(4));
        let rest: Vec<_> = (0..3).map(|_| clients.enter(ip(3)).unwrap()).collect();
        let rest_works: Vec<_> = rest.iter().map(Client::work).collect();
        assert_eq!(clients.enter(ip(4)).unwrap_err(), NoPlace::All(8));
        drop(works);
        assert_eq!(clients.enter(ip(4)).unwrap_err(), NoPlace::All(8), "they were of use a moment ago");
        drop((rest_works, mute));
        assert_eq!(clients.connections(), 5, "the last owner frees a place, once");
        clients.enter(ip(4)).unwrap();
    }

    #[test]
    fn a_full_server_evicts_a_connection_of_the_address_with_the_most() {
        let clients = Clients::new(LIMITS);
        let few: Vec<_> = (2..6).map(|last| clients.enter(ip(last)).unwrap()).collect();
        let many: Vec<_> = (0..4).map(|_| clients.enter(ip(1)).unwrap()).collect();
        let _newcomer = clients.enter(ip(9)).unwrap();
        assert_eq!(many[0].account.connections.load(Relaxed), 3);
        assert!(few.iter().all(|client| client.account.connections.load(Relaxed) == 1));
    }

    #[test]
    fn work_is_charged_by_time_and_the_charge_outlives_the_connection() {
        let clients = Clients::new(LIMITS);
        let one = clients.enter(ip(1)).unwrap();
        assert_eq!(one.wait(), Duration::ZERO);
        one.charge_bytes(8_000);
        assert!(one.wait() < Duration::from_millis(1), "what was saved may be spent at once");
        one.charge_bytes(60_000);
        let wait = one.wait();
        assert!(Duration::from_secs(50) < wait && wait <= Duration::from_secs(60), "{wait:?}");
        drop(one);
        assert!(clients.enter(ip(1)).unwrap().wait() > Duration::from_secs(40));
        assert_eq!(clients.enter(ip(2)).unwrap().wait(), Duration::ZERO, "others do not pay for it");
    }

    #[test]
    fn addresses_that_left_still_share_what_all_may_use() {
        let clients = Clients::new(LIMITS);
        for last in 1..=4 {
            clients.enter(ip(last)).unwrap().charge_cpu(Duration::from_secs(1));
        }
        let fifth = clients.enter(ip(5)).unwrap();
        assert_eq!(fifth.wait(), Duration::ZERO, "it has used nothing");
        fifth.charge_cpu(Duration::from_millis(900));
        let wait = fifth.wait();
        assert!((2.0..2.5).contains(&wait.as_secs_f64()), "a fifth of a core, with a burst of 0.4 s: {wait:?}");
    }

    #[tokio::test]
    async fn a_future_is_charged_at_each_poll() {
        let [one, two, _] = connected();
        let spin = || {
            let begun = cpu::thread_cpu();
            while cpu::thread_cpu() - begun < Duration::from_millis(20) {}
        };
        let work = async {
            spin();
            tokio::time::sleep(Duration::from_millis(300)).await; // waiting costs no processor time
            spin();
        };
        one.paying(work).await;
        let paid = one.account.lock().cpu();
        assert!((0.04..0.2).contains(&paid.as_secs_f64()), "{paid:?}");
        assert_eq!(two.account.lock().cpu(), Duration::ZERO);
    }

    #[test]
    fn waiting_bytes_are_bounded_in_total_and_for_each_address() {
        let clients = Clients::new(LIMITS);
        let (one, two) = (clients.enter(ip(1)).unwrap(), clients.enter(ip(2)).unwrap());
        let work = one.work();
        assert!(
            one.read(REQUEST_BYTES_MAX / 2 + 1),
            "a client whose request is served gets an answer and is not cut off"
        );
        assert!(!one.has_room_to_read() && two.has_room_to_read());
        let taken = one.take_read();
        assert!(one.read(SMALL_REQUEST_BYTES_MAX) && one.has_room_to_read(), "small ones go on");
        assert!(one.read(1) && !one.has_room_to_read(), "what was taken waits in memory until it is answered");
        drop(work);
        assert!(!one.read(1), "a request whose head is not complete can get no answer");
        let _work = one.work();
        assert!(one.read(1));
        one.becomes_websocket();
        assert!(!one.read(1), "a message of a WebSocket can get no answer");
        drop((taken, one.take_read()));
        assert_eq!(clients.request_bytes.load(Relaxed), 0);
        assert!(one.read(SMALL_REQUEST_BYTES_MAX) && one.has_room_to_read(), "a small message can get an answer");
        assert!(one.wait() > WAIT_MAX, "bytes of a WebSocket are charged when they come");
        assert!(!one.read(1), "a large one, in many pieces perhaps, can not");

        let held = one.room_for_answer(ANSWER_BYTES_MAX).unwrap();
        assert!(one.room_for_answer(1).is_none() && two.room_for_answer(1).is_none());
        drop(held);
        let rooms = (one.room_for_answer(ANSWER_BYTES_MAX / 2).unwrap(), two.room_for_answer(7).unwrap());
        assert!(one.room_for_answer(1).is_none() && two.room_for_answer(1).is_some());
        drop(rooms);
        assert_eq!(clients.answer_bytes.load(Relaxed), 0);
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let parse = |text: &str| account_of(text.parse().unwrap());
        assert_eq!(parse("2001:db8::1"), parse("2001:db8::2:3:4:5"));
        assert_ne!(parse("2001:db8::1"), parse("2001:db8:0:1::1"));
        assert_eq!(parse("::ffff:10.0.0.1"), parse("10.0.0.1"));
    }
}
