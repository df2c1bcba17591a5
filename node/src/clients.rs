//! What clients may cost, whatever they send: connections, bytes that wait in memory, and work. Each is bounded in all, and each
//! address has a share of it, so that one client cannot take what the others need.
//!
//! | what | in all | one address | beyond it |
//! |---|---|---|---|
//! | connections | [`Limits::connections_max`] | [`Limits::address_connections_max`] | an idle one is closed for the newcomer; else 503 |
//! | bytes of requests not answered yet | [`REQUEST_BYTES_MAX`] | half | 503, or the connection is closed |
//! | bytes of answers not read yet | [`ANSWER_BYTES_MAX`] | half | the call is answered with an error |
//! | bytes and processor time, a second | – | [`Limits`] | a request waits up to [`WAIT_MAX`], then 429; events wait |
//! | places that are held for long: [`Places`] | as given | half | the call is answered with an error |
//! | calls that run of those that cost much: [`Turns`] | as given | addresses take turns | the call waits, then is answered with an error |
//!
//! An address is an IPv4 address or an IPv6 network of 64 bits. What it owes outlives its connections.

use std::{
    collections::HashMap,
    future::poll_fn,
    net::IpAddr,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::os;

mod places;
mod turns;

pub use places::{Place, Places};
pub use turns::{Turn, Turns};

/// Bytes of requests that were read from sockets and not answered yet: 64 of the largest bodies.
pub const REQUEST_BYTES_MAX: usize = 64 << 20;

/// Bytes of answers that clients have not read yet: ten of the largest blocks as JSON.
pub const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Bytes of one connection that may wait although all of [`REQUEST_BYTES_MAX`], or the address' half, is in use: a small request is served
/// beside large ones that wait.
const SMALL_REQUEST_BYTES_MAX: usize = 16 << 10;

/// Longest time that a request of a client over its budget waits before it is refused. A client that sends one request after the
/// other is slowed down by it and sees no error.
pub const WAIT_MAX: Duration = Duration::from_secs(2);

/// An address may spend bytes that it saved, up to the budget of this many seconds.
const BYTES_BURST_SECONDS: f64 = 8.0;

/// An address may spend processor time that it saved, up to the budget of this many seconds: while it does, consensus has less.
const CPU_BURST_SECONDS: f64 = 2.0;

/// An idle connection that was of use before is closed for a newcomer only after this long without a request.
const IDLE_GRACE: Duration = Duration::from_secs(5);

/// Addresses without a connection whose debt is remembered. When there are more, the debts of those without a connection are forgiven.
const DEBTORS_MAX: usize = 4096;

/// The bounds that an operator chooses.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at one time.
    pub connections_max: usize,
    /// Connections of one address at one time.
    pub address_connections_max: usize,
    /// Bytes of requests and events of one address, a second; 0: any number.
    pub bytes_per_second: usize,
    /// Processor time for one address, in percent of one core; 0: any.
    pub cpu_percent: usize,
}

/// Who is connected, and what each address has used.
#[derive(Debug)]
pub struct Clients {
    limits: Limits,
    began: Instant,
    open: Mutex<Open>,
    request_bytes: AtomicUsize,
    answer_bytes: AtomicUsize,
    subscriptions: AtomicUsize,
}

#[derive(Debug, Default)]
struct Open {
    next_id: u64,
    clients: HashMap<u64, Weak<Client>>,
    accounts: HashMap<IpAddr, Arc<Account>>,
}

/// What one address uses.
#[derive(Debug)]
struct Account {
    /// Changed under the lock of [`Open`] only.
    connections: AtomicUsize,
    request_bytes: AtomicUsize,
    answer_bytes: AtomicUsize,
    debt: Mutex<Debt>,
}

/// Leaky buckets: what was used and is not paid by the passing of time.
#[derive(Debug)]
struct Debt {
    bytes: f64,
    cpu_seconds: f64,
    at: Instant,
}

/// One connection. Its place is free again when the last part of the node that serves it has dropped it.
#[derive(Debug)]
pub struct Client {
    clients: Arc<Clients>,
    account: Arc<Account>,
    address: IpAddr,
    id: u64,
    /// Milliseconds from the server's start to the last request, or sign of life on a WebSocket.
    heard_ms: AtomicU64,
    /// Whether a request has come completely.
    is_proven: AtomicBool,
    is_websocket: AtomicBool,
    /// Requests that run, answers that are being read, subscriptions.
    working: AtomicUsize,
    /// Bytes read from the socket and not taken yet.
    unread: AtomicUsize,
    leave: Notify,
}

/// Why a connection has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// The address has its share, and all of them are in use.
    Address(usize),
    /// All are taken, and all of them are in use.
    All(usize),
}

impl NoPlace {
    /// `100 calls`, or `50 calls of your address`.
    pub fn of(self, what: &str) -> String {
        match self {
            Self::Address(share) => format!("{share} {what} of your address"),
            Self::All(all) => format!("{all} {what}"),
        }
    }
}

impl Clients {
    /// Nobody is connected yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            began: Instant::now(),
            open: Mutex::default(),
            request_bytes: AtomicUsize::new(0),
            answer_bytes: AtomicUsize::new(0),
            subscriptions: AtomicUsize::new(0),
        })
    }

    /// How many are connected.
    pub fn connections(&self) -> usize {
        self.lock().clients.len()
    }

    /// How many subscriptions they have.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.load(Relaxed)
    }

    /// Gives a connection a place. When there is none, the connection that has been idle for longest gives way: one of the same
    /// address when that has its share, else one of the address with most connections. O(connections) then, else O(1).
    pub fn enter(self: &Arc<Self>, from: IpAddr) -> Result<Arc<Client>, NoPlace> {
        let address = account_of(from);
        // Declared before the lock, so that it is dropped after it: the last owner of a client takes the lock too.
        let mut seen = Vec::new();
        let mut open = self.lock();
        open.forgive();
        let account = open.accounts.entry(address).or_insert_with(|| Arc::new(Account::new())).clone();
        let share = self.limits.address_connections_max.min(self.limits.connections_max);
        let is_full = open.clients.len() >= self.limits.connections_max;
        let has_share = account.connections.load(Relaxed) >= share;
        if (has_share || is_full) && !open.evict(&mut seen, has_share.then_some(address), self.elapsed_ms()) {
            return Err(if is_full { NoPlace::All(self.limits.connections_max) } else { NoPlace::Address(share) });
        }
        open.next_id += 1;
        account.connections.fetch_add(1, Relaxed);
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
        });
        open.clients.insert(client.id, Arc::downgrade(&client));
        Ok(client)
    }

    /// Closes the connection that has been idle for longest, if any: the process has no file handle left.
    pub fn make_room(&self) {
        let mut seen = Vec::new(); // dropped after the lock, as in `enter`
        self.lock().evict(&mut seen, None, self.elapsed_ms());
    }

    fn elapsed_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("a thread that panics stops the process")
    }
}

impl Open {
    /// Asks an idle connection to leave, and counts it no more. False when there is none.
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

    /// Counts a connection no more. Again is fine.
    fn forget(&mut self, client: &Client) {
        if self.clients.remove(&client.id).is_none() {
            return;
        }
        let account = &client.account;
        if account.connections.fetch_sub(1, Relaxed) == 1
            && account.lock().is_paid(Instant::now(), &client.clients.limits)
        {
            self.accounts.remove(&client.address);
        }
    }

    fn forgive(&mut self) {
        if self.accounts.len() >= self.clients.len() + DEBTORS_MAX {
            self.accounts.retain(|_, account| account.connections.load(Relaxed) > 0);
        }
    }
}

impl Account {
    fn new() -> Self {
        let debt = Mutex::new(Debt { bytes: 0.0, cpu_seconds: 0.0, at: Instant::now() });
        Self {
            connections: AtomicUsize::new(0),
            request_bytes: AtomicUsize::new(0),
            answer_bytes: AtomicUsize::new(0),
            debt,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Debt> {
        self.debt.lock().expect("a thread that panics stops the process")
    }
}

impl Debt {
    /// Lets the time since the last look pay.
    fn pay(&mut self, now: Instant, limits: &Limits) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.bytes = (self.bytes - seconds * limits.bytes_per_second as f64).max(0.0);
        self.cpu_seconds = (self.cpu_seconds - seconds * limits.cpu_percent as f64 / 100.0).max(0.0);
    }

    /// How long until the debt is within the burst again.
    fn wait(&mut self, now: Instant, limits: &Limits) -> Duration {
        self.pay(now, limits);
        let over = |used: f64, rate: f64, burst: f64| if rate > 0.0 { used / rate - burst } else { 0.0 };
        let bytes = over(self.bytes, limits.bytes_per_second as f64, BYTES_BURST_SECONDS);
        let cpu = over(self.cpu_seconds, limits.cpu_percent as f64 / 100.0, CPU_BURST_SECONDS);
        Duration::from_secs_f64(bytes.max(cpu).clamp(0.0, 3600.0))
    }

    fn is_paid(&mut self, now: Instant, limits: &Limits) -> bool {
        self.pay(now, limits);
        let is_settled = |used: f64, rate: usize| rate == 0 || used <= 0.0;
        is_settled(self.bytes, limits.bytes_per_second) && is_settled(self.cpu_seconds, limits.cpu_percent)
    }
}

impl Client {
    /// Until it has to give its place to another.
    pub async fn has_to_leave(&self) {
        self.leave.notified().await;
    }

    /// A complete request came, or a sign of life on a WebSocket.
    pub fn hear(&self) {
        self.is_proven.store(true, Relaxed);
        self.heard_ms.store(self.clients.elapsed_ms(), Relaxed);
    }

    /// From now on it is a WebSocket.
    pub fn becomes_websocket(&self) {
        self.is_websocket.store(true, Relaxed);
    }

    /// Keeps its place while the guard lives.
    pub fn work(self: &Arc<Self>) -> Work {
        self.working.fetch_add(1, Relaxed);
        Work(self.clone())
    }

    /// Counts a subscription while the guard lives.
    pub fn subscribed(&self) -> Subscribed {
        self.clients.subscriptions.fetch_add(1, Relaxed);
        Subscribed(self.clients.clone())
    }

    /// How long its address has to wait until it is within its budget again.
    pub fn wait(&self) -> Duration {
        self.account.lock().wait(Instant::now(), &self.clients.limits)
    }

    /// Its address sent bytes of requests, or was sent bytes of events.
    pub fn charge_bytes(&self, bytes: usize) {
        self.account.lock().bytes += bytes as f64;
    }

    /// Does some work on a thread that blocks, and charges the processor time that it takes to the address.
    pub fn charged<T>(&self, work: impl FnOnce() -> T) -> T {
        let begun = os::thread_cpu();
        let done = work();
        self.charge_cpu(os::thread_cpu().saturating_sub(begun));
        done
    }

    /// Drives a future, and charges the processor time that its steps take to the address: for all that is done on the async threads.
    pub async fn paying<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|context| self.charged(|| work.as_mut().poll(context))).await
    }

    /// Its address used processor time of a thread that works for several.
    pub fn charge_cpu(&self, used: Duration) {
        self.account.lock().cpu_seconds += used.as_secs_f64();
    }

    /// Who pays: all clients with this address have one account.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Bytes came from the socket; those of a WebSocket are charged. False when too many wait, or those of a large message whose address
    /// is over its budget, and nothing but closing the connection can bound them: a request that is being served can be told instead.
    pub fn read(&self, bytes: usize) -> bool {
        let unread = self.unread.fetch_add(bytes, Relaxed) + bytes;
        self.account.request_bytes.fetch_add(bytes, Relaxed);
        self.clients.request_bytes.fetch_add(bytes, Relaxed);
        let is_websocket = self.is_websocket.load(Relaxed);
        if is_websocket {
            self.charge_bytes(bytes); // now: the message may never be complete, or be a ping
        }
        let can_be_told = !is_websocket && self.working.load(Relaxed) > 0;
        let may_go_on = || self.has_room_to_read() && !(is_websocket && self.wait() > WAIT_MAX);
        can_be_told || unread <= SMALL_REQUEST_BYTES_MAX || may_go_on()
    }

    /// Whether more of a request may be read.
    pub fn has_room_to_read(&self) -> bool {
        self.clients.request_bytes.load(Relaxed) <= REQUEST_BYTES_MAX
            && self.account.request_bytes.load(Relaxed) <= REQUEST_BYTES_MAX / 2
    }

    /// Takes what was read: the next bytes are of another request. These count until the guard is dropped.
    pub fn take_read(self: &Arc<Self>) -> Taken {
        Taken { client: self.clone(), bytes: self.unread.swap(0, Relaxed) }
    }

    fn release_read(&self, bytes: usize) {
        self.account.request_bytes.fetch_sub(bytes, Relaxed);
        self.clients.request_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Room for an answer, until the guard is dropped; `None` when too many bytes of answers wait already. One always fits.
    pub fn room_for_answer(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let in_all = self.clients.answer_bytes.fetch_add(bytes, Relaxed);
        let of_address = self.account.answer_bytes.fetch_add(bytes, Relaxed);
        let room = Room { client: self.clone(), bytes };
        let fits = |before: usize, max: usize| before == 0 || before + bytes <= max;
        (fits(in_all, ANSWER_BYTES_MAX) && fits(of_address, ANSWER_BYTES_MAX / 2)).then_some(room)
    }

    /// Whether it may be closed for a newcomer.
    fn may_go(&self, now_ms: u64) -> bool {
        let silent = Duration::from_millis(now_ms.saturating_sub(self.heard_ms.load(Relaxed)));
        self.working.load(Relaxed) == 0 && (!self.is_proven.load(Relaxed) || silent >= IDLE_GRACE)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.release_read(self.unread.load(Relaxed));
        let clients = self.clients.clone();
        clients.lock().forget(self);
    }
}

/// A request that runs, an answer that is being read, or a subscription.
#[derive(Debug)]
pub struct Work(Arc<Client>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.hear();
        self.0.working.fetch_sub(1, Relaxed);
    }
}

/// A subscription that is counted.
#[derive(Debug)]
pub struct Subscribed(Arc<Clients>);

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.0.subscriptions.fetch_sub(1, Relaxed);
    }
}

/// The bytes of a request that waits for its answer.
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

/// The bytes of an answer that waits for its client.
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

/// The address that pays: all of an IPv6 network of 64 bits belongs to one customer.
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
        Limits { connections_max: 8, address_connections_max: 4, bytes_per_second: 1000, cpu_percent: 50 };

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    /// Three clients of three addresses.
    pub fn connected() -> [Arc<Client>; 3] {
        let clients = Clients::new(LIMITS);
        [1, 2, 3].map(|last| clients.enter(ip(last)).unwrap())
    }

    #[test]
    fn mute_connections_give_way_and_those_at_work_do_not() {
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
    fn a_full_server_takes_the_place_from_the_address_with_most_connections() {
        let clients = Clients::new(LIMITS);
        let few: Vec<_> = (2..6).map(|last| clients.enter(ip(last)).unwrap()).collect();
        let many: Vec<_> = (0..4).map(|_| clients.enter(ip(1)).unwrap()).collect();
        let _newcomer = clients.enter(ip(9)).unwrap();
        assert_eq!(many[0].account.connections.load(Relaxed), 3);
        assert!(few.iter().all(|client| client.account.connections.load(Relaxed) == 1));
    }

    #[test]
    fn work_is_paid_by_time_and_outlives_the_connection() {
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
        let mut debt = Debt { bytes: 0.0, cpu_seconds: 10.0, at: Instant::now() };
        let (at, second) = (debt.at, Duration::from_secs(1));
        assert_eq!(debt.wait(at, &LIMITS), 18 * second);
        assert_eq!(debt.wait(at + 5 * second, &LIMITS), 13 * second);
        assert!(debt.is_paid(at + 20 * second, &LIMITS));
    }

    #[tokio::test]
    async fn a_future_is_paid_for_step_by_step() {
        let [one, two, _] = connected();
        let spin = || {
            let begun = os::thread_cpu();
            while os::thread_cpu() - begun < Duration::from_millis(20) {}
        };
        let work = async {
            spin();
            tokio::time::sleep(Duration::from_millis(300)).await; // costs nothing
            spin();
        };
        one.paying(work).await;
        let paid = one.account.lock().cpu_seconds;
        assert!((0.04..0.2).contains(&paid), "{paid}");
        assert!(two.account.lock().cpu_seconds < 1e-9);
    }

    #[test]
    fn bytes_that_wait_are_bounded_in_all_and_for_each_address() {
        let clients = Clients::new(LIMITS);
        let (one, two) = (clients.enter(ip(1)).unwrap(), clients.enter(ip(2)).unwrap());
        let work = one.work();
        assert!(one.read(REQUEST_BYTES_MAX / 2 + 1), "a request that is served is told, not cut off");
        assert!(!one.has_room_to_read() && two.has_room_to_read());
        let taken = one.take_read();
        assert!(!one.has_room_to_read(), "it waits in memory until it is answered");
        assert!(one.read(SMALL_REQUEST_BYTES_MAX), "small ones go on");
        drop(work);
        assert!(!one.read(1), "a head that is not complete cannot be told");
        let _work = one.work();
        assert!(one.read(1));
        one.becomes_websocket();
        assert!(!one.read(1), "a message of a WebSocket cannot be told");
        drop((taken, one.take_read()));
        assert_eq!(clients.request_bytes.load(Relaxed), 0);
        assert!(one.read(SMALL_REQUEST_BYTES_MAX) && one.has_room_to_read(), "a small message can be told");
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
