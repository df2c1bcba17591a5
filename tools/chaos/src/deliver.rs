//! Delivery of a transaction to validators that fail: the same bytes are sent until a node says where they are committed.
//!
//! One transaction is often submitted to several nodes, which must execute it once: that is a check, not an accident.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use client::{Client, ClientError, fields};
use data_encoding::BASE64;
use serde_json::{Value, json};
use types::{Transaction, TxOrder};

use crate::{ledger::Ledger, random::Random};

/// Time limit of a request: a node waits 5 s for the commit.
const ASK_TIME_MAX: Duration = Duration::from_secs(7);
/// Time after the end of a transaction's validity after which no block may contain it: clocks differ, and shifts are over.
const EXPIRY_MARGIN_MS: u64 = 10_000;
/// Number of refusals by a rule of the chain that are tried again.
const REFUSALS: u32 = 20;
/// Code of the refusal of a transaction whose nonce is not its signer's next one.
const E_NONCE: u64 = 5;

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the block of this height. The value has its result.
    Committed(u64, Value),
    /// The nodes refuse it by a rule of the chain, with this code.
    Refused(u64),
    /// Its time is over, and no node has it.
    Expired,
    /// The run ended before.
    Unfinished,
}

/// The nodes to which transactions are delivered. Each thread has its own.
pub struct Courier {
    clients: Vec<Client>,
    random: Random,
    ledger: Arc<Ledger>,
    /// True when no more time is left.
    given_up: Arc<AtomicBool>,
}

impl Courier {
    /// Creates a courier to the RPC addresses of nodes.
    pub fn new(urls: &[String], seed: u64, ledger: Arc<Ledger>, given_up: Arc<AtomicBool>) -> Self {
        let client = |url: &String| Client::with_timeout(url, None, ASK_TIME_MAX).expect("a layout has addresses");
        Self { clients: urls.iter().map(client).collect(), random: Random::new(seed), ledger, given_up }
    }

    /// Returns random numbers for the sender.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Returns a client of a random node.
    fn any(&mut self) -> Client {
        let index = self.random.below(self.clients.len());
        self.clients[index].clone()
    }

    /// Sends a transaction until its outcome is known.
    pub fn deliver(&mut self, tx: &Transaction) -> Outcome {
        let params = json!({ "tx": BASE64.encode(tx.bytes()) });
        let mut refusals = 0;
        for attempt in 0.. {
            if self.given_up.load(Ordering::Relaxed) {
                return Outcome::Unfinished;
            }
            if attempt > 0 {
                Ledger::count(&self.ledger.repeated);
                thread::sleep(Duration::from_millis(self.random.between(50, 400)));
                if let Some(outcome) = self.find(tx) {
                    return outcome;
                }
            }
            let client = self.any();
            let Ok(answer) = client.call("broadcast_tx_commit", params.clone()) else { continue };
            let code = fields::number(&answer, "/check_tx/code").unwrap_or_default();
            let height = fields::number(&answer, "/height").unwrap_or_default();
            match code {
                0 if height > 0 => return Outcome::Committed(height, answer["tx_result"].clone()),
                E_NONCE if self.is_passed(&client, tx) => return Outcome::Refused(code),
                // Refusals for now (nonce, duplicate, full, busy, waiting, committed), and those that the time decides.
                0..=9 | 64..=70 => {}
                // A node that has lost its data refuses by an old state, until it has caught up.
                _ if refusals < REFUSALS => refusals += 1,
                code => return self.find(tx).unwrap_or(Outcome::Refused(code)),
            }
            if let TxOrder::Expires(deadline) = tx.body().order
                && now_ms() > deadline.unix_millis() + EXPIRY_MARGIN_MS
            {
                return self.find(tx).unwrap_or(Outcome::Expired);
            }
        }
        unreachable!("the attempts have no end")
    }

    /// Returns true if a node has executed another transaction with this nonce.
    fn is_passed(&self, client: &Client, tx: &Transaction) -> bool {
        let address = tx.body().signer.address();
        let account = client.call("account", json!({ "address": address.to_string() }));
        let next = account.ok().and_then(|account| fields::number(&account, "/committed_nonce").ok());
        let TxOrder::Nonce(nonce) = tx.body().order else { return false };
        // Only the answer of a node counts: it may have ended in this moment.
        let is_unknown =
            || matches!(client.call("tx", json!({ "hash": tx.id().to_string() })), Err(ClientError::Node { .. }));
        next.is_some_and(|next| next > nonce) && is_unknown()
    }

    /// Searches a transaction in the blocks of a random node.
    fn find(&mut self, tx: &Transaction) -> Option<Outcome> {
        let found = self.any().call("tx", json!({ "hash": tx.id().to_string() })).ok()?;
        Some(Outcome::Committed(fields::number(&found, "/height").ok()?, found["tx_result"].clone()))
    }

    /// Returns the next nonce of an account after the committed transactions; asks until a node answers, or no more
    /// time is left.
    pub fn nonce(&mut self, address: &types::Address) -> Option<u64> {
        while !self.given_up.load(Ordering::Relaxed) {
            let answer = self.any().call("account", json!({ "address": address.to_string() }));
            if let Some(nonce) = answer.ok().and_then(|answer| fields::number(&answer, "/committed_nonce").ok()) {
                return Some(nonce);
            }
            thread::sleep(Duration::from_millis(100));
        }
        None
    }
}

/// Returns the time of this process's clock in milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// Waits for a duration, or until a flag is set.
pub fn wait(time: Duration, flag: &AtomicBool) {
    let until = Instant::now() + time;
    while !flag.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}
