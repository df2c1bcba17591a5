//! Simulated clients that send transfers and writes to namespaces, with correct and incorrect nonces, and some invalid
//! transactions.

use std::time::Duration;

use types::{Address, ChainId, Deadline, Height, KvOp, Msg, NsOwner, SecretKey, Time, TxBody, TxOrder, Wire};

use crate::random::Random;

/// Number of funded accounts.
pub const ACCOUNTS: usize = 6;

/// Initial balance of each account.
pub const BALANCE: u64 = 1_000_000;

/// The owners of all accounts.
pub struct Clients {
    chain_id: ChainId,
    keys: Vec<SecretKey>,
    /// Transactions that were sent before and may be sent again.
    sent: Vec<Vec<u8>>,
}

impl Clients {
    /// Creates the owners of all accounts.
    pub fn new(chain_id: ChainId) -> Self {
        let key = |index: usize| SecretKey::from_bytes(&[100 + index as u8; 32]).expect("a small number is a key");
        Self { chain_id, keys: (0..ACCOUNTS).map(key).collect(), sent: Vec::new() }
    }

    /// Returns the addresses of all accounts.
    pub fn addresses(&self) -> Vec<Address> {
        self.keys.iter().map(|key| key.public_key().address()).collect()
    }

    /// Creates a random transaction for a node at height `tip` whose clock shows `now`. `nonce_of` returns the next nonce of an account.
    pub fn transaction(
        &mut self,
        random: &mut Random,
        now: Time,
        tip: Height,
        nonce_of: impl Fn(&Address) -> u64,
    ) -> Vec<u8> {
        if !self.sent.is_empty() && random.chance(100) {
            return self.sent[random.index(self.sent.len())].clone();
        }
        let from = random.index(ACCOUNTS);
        let key = &self.keys[from];
        let to = self.keys[random.index(ACCOUNTS)].public_key().address();
        let nonce = nonce_of(&key.public_key().address());
        let order = match random.below(10) {
            0..4 => TxOrder::Nonce(nonce),
            4..6 => TxOrder::Nonce(nonce + random.below(4)),
            6 => TxOrder::Nonce(nonce.saturating_sub(1)),
            7 => TxOrder::Expires(Deadline::at(now.saturating_sub(Duration::from_millis(random.below(1000))))),
            _ => TxOrder::Expires(Deadline::at(now.saturating_add(Duration::from_millis(random.within(1, 20_000))))),
        };
        let chain_id =
            if random.chance(30) { ChainId::new("elsewhere").expect("a name") } else { self.chain_id.clone() };
        let messages = (0..random.within(1, 3)).map(|_| message(random, to, tip)).collect();
        let body = TxBody { chain_id, signer: key.public_key(), order, fee: random.within(0, 20), messages };
        let mut bytes = body.sign(key).encode();
        if random.chance(50) {
            let at = random.index(bytes.len());
            bytes[at] ^= 1;
        }
        if self.sent.len() < 64 {
            self.sent.push(bytes.clone());
        }
        bytes
    }
}

/// Creates a random message: a transfer, or one that concerns one of a few namespaces, where it may conflict with others.
fn message(random: &mut Random, to: Address, tip: Height) -> Msg {
    let ns = ["shared/a", "shared/b", "own"][random.index(3)].to_owned();
    match random.below(10) {
        0 => Msg::NsCreate {
            owner: if ns == "own" { NsOwner::Signer } else { NsOwner::Shared },
            ns,
            quota_keys: 6,
            quota_bytes: 200,
        },
        1..5 => Msg::KvWrite {
            ns,
            data_epoch: if random.chance(30) { 2 } else { 1 },
            ops: (0..random.within(1, 3)).map(|_| op(random, tip)).collect(),
        },
        _ => {
            let amount = if random.chance(50) { 2 * BALANCE } else { random.within(1, 1000) };
            Msg::Transfer { to, amount }
        }
    }
}

fn op(random: &mut Random, tip: Height) -> KvOp {
    let if_height = match random.below(4) {
        0 => Some(Height(tip.0.saturating_sub(random.below(3)))),
        1 => Some(Height(0)),
        _ => None,
    };
    let value = (!random.chance(250)).then(|| vec![b'v'; random.within(0, 40) as usize]);
    KvOp { key: vec![b'a' + random.below(8) as u8], value, if_height }
}
