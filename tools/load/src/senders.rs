//! The accounts that send: their keys, and their states on the chain.

use std::{num::NonZero, thread};

use client::AccountState;
use genesis::sender_key;
use types::{Address, ChainId, SecretKey, blake3_parts};

use crate::{
    LoadError, Plan, plan,
    progress::{Event, Watch},
};

/// Number of accounts that sign invalid transactions. They never have money, so they cannot disturb a sender's nonces.
pub const UNFUNDED: u32 = 64;

/// Derives the keys of all accounts of a run.
#[derive(Clone, Debug)]
pub struct Keys {
    chain_id: ChainId,
    seed: Option<String>,
}

impl Keys {
    /// Creates the keys of a chain's senders. With a seed, only those who know it can derive them.
    pub fn new(chain_id: ChainId, seed: Option<String>) -> Self {
        Self { chain_id, seed }
    }

    /// Returns the key of the sender with this index.
    pub fn sender(&self, index: u32) -> SecretKey {
        match &self.seed {
            None => sender_key(&self.chain_id, index),
            Some(seed) => derived(b"cairn load seed v1", seed, index),
        }
    }

    /// Returns the key of an account that is never funded.
    pub fn unfunded(&self, index: u32) -> SecretKey {
        let seed = format!("{} {}", self.chain_id, self.seed.as_deref().unwrap_or_default());
        derived(b"cairn load unfunded v1", &seed, index)
    }
}

fn derived(context: &[u8], seed: &str, index: u32) -> SecretKey {
    let hash = |attempt: u32| {
        let seed = blake3_parts(&[seed.as_bytes()]);
        blake3_parts(&[context, &seed.0, &index.to_be_bytes(), &attempt.to_be_bytes()])
    };
    (0..).find_map(|attempt| SecretKey::from_bytes(&hash(attempt).0).ok()).expect("nearly all hashes are keys")
}

/// An account that can sign transactions.
#[derive(Clone)]
pub struct Sender {
    /// Secret key of the account.
    pub key: SecretKey,
    /// Address of the account on the chain.
    pub address: Address,
}

impl Sender {
    /// Creates the account that has this key.
    pub fn new(key: SecretKey) -> Self {
        Self { address: key.public_key().address(), key }
    }
}

/// Derives the accounts of `count` senders. Cost: 50 µs each, spread over all cores.
pub fn derive(keys: &Keys, count: u32) -> Vec<Sender> {
    let workers = cores();
    let part = count.div_ceil(workers as u32).max(1);
    thread::scope(|scope| {
        let derive = |from: u32| move || (from..count.min(from + part)).map(|i| Sender::new(keys.sender(i))).collect();
        let parts: Vec<_> = (0..count).step_by(part as usize).map(|from| scope.spawn(derive(from))).collect();
        parts
            .into_iter()
            .flat_map(|part| -> Vec<Sender> { part.join().expect("deriving keys does not panic") })
            .collect()
    })
}

/// Returns the number of cores of this machine.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Queries the states of all senders, in equal parts from all nodes.
///
/// Errors: [`LoadError::Client`] when a node does not answer; [`LoadError::Stopped`] when the run is stopped.
pub fn states(
    plan: &Plan,
    senders: &[Sender],
    batch: usize,
    watch: &mut Watch<'_>,
) -> Result<Vec<AccountState>, LoadError> {
    let addresses: Vec<Address> = senders.iter().map(|sender| sender.address).collect();
    let part = addresses.len().div_ceil(plan.nodes.len()).max(1);
    let (counted, progress) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let ask = |(node, part): (&crate::Node, &[Address])| {
            let (url, part, counted) = (node.rpc.clone(), part.to_vec(), counted.clone());
            scope.spawn(move || {
                let client = plan::client(&url)?;
                let mut states = Vec::with_capacity(part.len());
                for some in part.chunks(batch) {
                    states.extend(client.accounts(some)?);
                    if counted.send(some.len()).is_err() {
                        return Err(LoadError::Stopped);
                    }
                }
                Ok(states)
            })
        };
        let asked: Vec<_> = plan.nodes.iter().zip(addresses.chunks(part)).map(ask).collect();
        drop(counted);
        let mut done = 0;
        while let Ok(some) = progress.recv() {
            done += some as u64;
            watch.see(&Event::Asking { done, of: addresses.len() as u64 });
            if watch.is_stopped() {
                drop(progress);
                break;
            }
        }
        let mut states = Vec::with_capacity(addresses.len());
        for part in asked {
            states.extend(part.join().expect("asking does not panic")?);
        }
        Ok(states)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_the_testnet_or_a_seed_and_all_differ() {
        let chain_id = ChainId::new("c").unwrap();
        let (public, secret) = (Keys::new(chain_id.clone(), None), Keys::new(chain_id.clone(), Some("s".into())));
        assert_eq!(public.sender(7).bytes(), sender_key(&chain_id, 7).bytes());
        let keys = [public.sender(0), public.sender(1), secret.sender(0), public.unfunded(0), secret.unfunded(0)];
        let distinct: std::collections::BTreeSet<_> = keys.iter().map(SecretKey::bytes).collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn senders_are_in_the_order_of_their_numbers() {
        let keys = Keys::new(ChainId::new("c").unwrap(), None);
        let senders = derive(&keys, 9);
        let expected: Vec<Address> = (0..9).map(|i| keys.sender(i).public_key().address()).collect();
        assert_eq!(senders.iter().map(|sender| sender.address).collect::<Vec<_>>(), expected);
        assert!(derive(&keys, 0).is_empty());
    }
}
