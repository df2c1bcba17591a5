//! The stream of transfers and of operations on stake during a run.
//!
//! | sender | sends |
//! |---|---|
//! | half of the accounts | transfers with nonces, one after the other |
//! | the other half | transfers without order, which expire |
//! | one account for each validator but the liar | delegates, redelegates, undelegates, and withdraws rewards |
//!
//! No validator gets so much stake that it has 1/3 of the power: a chain does not survive the loss of its memory then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use client::fields;
use files::AccountKey;
use serde_json::Value;
use types::{Address, ChainId, Deadline, Msg, SecretKey, StakeMsg, Transaction, TxBody, TxOrder, blake3};

use crate::{
    ChaosError,
    deliver::{Courier, Outcome, now_ms, wait},
    ledger::{Ledger, Why},
    net::{CHAIN, Net},
};

/// Number of accounts that send transfers.
const SENDERS: usize = 8;
/// Money that each account gets at the beginning.
const FUNDS: u64 = 20_000_000;
/// Stake for a power of 1.
const UNIT: u64 = 1_000_000;
/// Maximum stake of one account at one validator.
const STAKE_MAX: u64 = 2 * UNIT;
/// Time for which a transfer without order is valid.
const VALID_MS: u64 = 60_000;
/// Mean pause between two operations of one account on stake.
const STAKE_PAUSE: Duration = Duration::from_millis(1_500);
/// Time limit for the first transactions, which fund the accounts.
const FUND_TIME_MAX: Duration = Duration::from_secs(60);

/// An account of a run.
#[derive(Clone)]
struct Account {
    key: SecretKey,
    address: Address,
}

impl Account {
    fn derive(seed: u64, what: &str, index: usize) -> Self {
        let key = (0..)
            .find_map(|attempt| {
                SecretKey::from_bytes(&blake3(format!("{seed} {what} {index} {attempt}").as_bytes()).0).ok()
            })
            .expect("nearly all hashes are keys");
        Self { address: key.public_key().address(), key }
    }

    fn sign(&self, order: TxOrder, fee: u64, messages: Vec<Msg>) -> Transaction {
        let chain_id = ChainId::new(CHAIN).expect("the name is valid");
        TxBody { chain_id, signer: self.key.public_key(), order, fee, messages }.sign(&self.key)
    }
}

/// The running stream. Its threads end when it is dropped.
pub struct Traffic {
    threads: Vec<JoinHandle<()>>,
    /// No new transactions are begun.
    stop: Arc<AtomicBool>,
    /// Unfinished transactions are given up.
    given_up: Arc<AtomicBool>,
    /// What was sent until now.
    pub ledger: Arc<Ledger>,
}

impl Traffic {
    /// Funds the accounts and starts the stream at a rate of transfers per second. Validators are named by their
    /// operators; the liar gets no stake.
    ///
    /// Errors: [`ChaosError::Machine`] if a key file cannot be read; [`ChaosError::Violation`] if the accounts cannot be
    /// funded, although all validators run.
    pub fn start(net: &Net, seed: u64, rate: f64, liar: usize) -> Result<Self, ChaosError> {
        let urls: Vec<String> = net.nodes.iter().map(|node| node.client.url()).collect();
        let key = |name: String| {
            let file = net.folder().join(format!("keys/{name}.json"));
            AccountKey::load(&name, &file).map_err(|error| ChaosError::machine("a key of the testnet", error))
        };
        let operators: Vec<Address> = (0..net.nodes.len())
            .map(|index| key(format!("validator-{index}")).map(|key| key.address()))
            .collect::<Result<_, _>>()?;
        let alice = key("alice".to_owned())?;
        let senders: Vec<Account> = (0..SENDERS).map(|index| Account::derive(seed, "sender", index)).collect();
        let stakers: Vec<Account> = (0..operators.len()).map(|index| Account::derive(seed, "staker", index)).collect();
        let (stop, given_up, ledger) = (Arc::default(), Arc::default(), Arc::<Ledger>::default());
        let courier = |index: usize| {
            Courier::new(&urls, seed.wrapping_add(1 + index as u64), ledger.clone(), Arc::clone(&given_up))
        };
        let mut traffic = Self { threads: Vec::new(), stop, given_up: given_up.clone(), ledger: ledger.clone() };
        let to = |account: &Account| Msg::Transfer { to: account.address, amount: FUNDS };
        let funder = Account { address: alice.address(), key: alice.secret };
        let messages = senders.iter().chain(&stakers).map(to).collect();
        traffic.fund(courier(0), funder.sign(TxOrder::Nonce(0), 1_000, messages))?;
        let addresses: Arc<[Address]> = senders.iter().map(|sender| sender.address).collect();
        addresses.iter().for_each(|address| ledger.account(*address));
        let pause = Duration::from_secs_f64(SENDERS as f64 / rate);
        for (index, account) in senders.into_iter().enumerate() {
            let sender = Sender { account, to: addresses.clone(), is_ordered: index % 2 == 0, pause };
            let (courier, ledger, stop) = (courier(1 + index), ledger.clone(), traffic.stop.clone());
            traffic.spawn(move || sender.run(courier, &ledger, &stop));
        }
        for (index, account) in stakers.into_iter().enumerate().filter(|(index, _)| *index != liar) {
            let next = (1..).map(|step| (index + step) % operators.len()).find(|next| *next != liar);
            let validators = [operators[index], operators[next.expect("there is another one")]];
            let staker = Staker { account, validators, held: [0, 0] };
            let (courier, ledger, stop) = (courier(1 + SENDERS + index), ledger.clone(), traffic.stop.clone());
            traffic.spawn(move || staker.run(courier, &ledger, &stop));
        }
        Ok(traffic)
    }

    fn spawn(&mut self, run: impl FnOnce() + Send + 'static) {
        self.threads.push(thread::spawn(run));
    }

    fn fund(&self, mut courier: Courier, tx: Transaction) -> Result<(), ChaosError> {
        let given_up = self.given_up.clone();
        let funding = thread::spawn(move || courier.deliver(&tx));
        let until = Instant::now() + FUND_TIME_MAX;
        while !funding.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        if !funding.is_finished() {
            given_up.store(true, Ordering::Relaxed);
        }
        match funding.join().expect("delivering does not panic") {
            Outcome::Committed(_, result) if code(&result) == 0 => Ok(()),
            outcome => Err(ChaosError::Violation(format!("the accounts cannot be funded: {outcome:?}"))),
        }
    }

    /// Begins no new transactions, and waits until all that were begun are committed, at most for a time. What is not
    /// committed then is in the ledger.
    pub fn finish(&mut self, time_max: Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let until = Instant::now() + time_max;
        while self.threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        self.given_up.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("a sender does not panic"));
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.finish(Duration::ZERO);
    }
}

fn code(result: &Value) -> u64 {
    fields::number(result, "/code").unwrap_or_default()
}

/// An account that sends transfers.
struct Sender {
    account: Account,
    to: Arc<[Address]>,
    is_ordered: bool,
    pause: Duration,
}

impl Sender {
    fn run(self, mut courier: Courier, ledger: &Ledger, stop: &AtomicBool) {
        let mut nonce = 0;
        while !stop.load(Ordering::Relaxed) {
            let random = courier.random();
            let to = self.to[random.below(self.to.len())];
            let (amount, fee) = (random.between(1, 1_000), random.between(1, 3));
            // Independent random pauses, whose mean is the wanted one.
            let pause = self.pause.mul_f64(random.between(0, 2_000) as f64 / 1_000.0);
            let order = match (self.is_ordered, Deadline::from_unix_millis(now_ms() + VALID_MS)) {
                (false, Some(deadline)) => TxOrder::Expires(deadline),
                _ => TxOrder::Nonce(nonce),
            };
            let tx = self.account.sign(order, fee, vec![Msg::Transfer { to, amount }]);
            Ledger::count(&ledger.transfers);
            match courier.deliver(&tx) {
                Outcome::Committed(height, _) => {
                    ledger.committed(tx.id(), height);
                    nonce += u64::from(self.is_ordered);
                }
                Outcome::Expired => ledger.unfinished(tx.id(), Why::Expired),
                // A sender has money and its nonce, so no rule of the chain refuses a transfer.
                Outcome::Refused(code) => return ledger.unfinished(tx.id(), Why::Refused(code)),
                Outcome::Unfinished => return ledger.unfinished(tx.id(), Why::Late),
            }
            wait(pause, stop);
        }
    }
}

/// An account that moves stake between two validators.
struct Staker {
    account: Account,
    /// Operators of the validators.
    validators: [Address; 2],
    /// Stake at each of them.
    held: [u64; 2],
}

impl Staker {
    fn run(mut self, mut courier: Courier, ledger: &Ledger, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let Some(nonce) = courier.nonce(&self.account.address) else { return };
            let choice = courier.random().below(6);
            if let Some((message, after)) = self.choose(choice) {
                let tx = self.account.sign(TxOrder::Nonce(nonce), 5, vec![Msg::Stake(message)]);
                Ledger::count(&ledger.stakes);
                match courier.deliver(&tx) {
                    Outcome::Committed(height, result) => {
                        ledger.committed(tx.id(), height);
                        if code(&result) == 0 {
                            self.held = after;
                        } else {
                            Ledger::count(&ledger.refused);
                        }
                    }
                    Outcome::Refused(_) => Ledger::count(&ledger.refused),
                    Outcome::Expired => unreachable!("an ordered transaction does not expire"),
                    Outcome::Unfinished => return ledger.unfinished(tx.id(), Why::Late),
                }
            }
            let pause = STAKE_PAUSE.mul_f64(courier.random().between(0, 2_000) as f64 / 1_000.0);
            wait(pause, stop);
        }
    }

    /// Returns an operation, and what the account holds after it; `None` if the operation is not possible now.
    fn choose(&self, choice: usize) -> Option<(StakeMsg, [u64; 2])> {
        let ([own, next], [at_own, at_next]) = (self.validators, self.held);
        match choice {
            0 | 1 if at_own + at_next < STAKE_MAX => {
                Some((StakeMsg::Delegate { validator: own, amount: UNIT }, [at_own + UNIT, at_next]))
            }
            2 if at_own >= UNIT => {
                Some((StakeMsg::Redelegate { from: own, to: next, amount: UNIT }, [at_own - UNIT, at_next + UNIT]))
            }
            3 if at_own > 0 => Some((StakeMsg::Undelegate { validator: own, amount: None }, [0, at_next])),
            4 if at_next > 0 => {
                Some((StakeMsg::Undelegate { validator: next, amount: Some(UNIT) }, [at_own, at_next - UNIT]))
            }
            5 if at_own > 0 => Some((StakeMsg::WithdrawRewards { validator: own }, self.held)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_never_holds_more_than_two_units_of_stake() {
        let account = Account::derive(1, "staker", 0);
        let mut staker = Staker { account, validators: [Address([1; 20]), Address([2; 20])], held: [0, 0] };
        let mut random = crate::random::Random::new(1);
        let mut done = [false; 6];
        for _ in 0..1_000 {
            let choice = random.below(6);
            if let Some((_, after)) = staker.choose(choice) {
                staker.held = after;
                done[choice] = true;
            }
            assert!(staker.held.iter().sum::<u64>() <= STAKE_MAX, "{:?}", staker.held);
        }
        assert_eq!(done, [true; 6]);
    }
}
