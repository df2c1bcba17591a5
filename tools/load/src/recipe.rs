//! Defines the content of each transaction as a function of its number.
//!
//! | kind | what is wrong with it | code that refuses it |
//! |---|---|---|
//! | valid | nothing: a transfer from one sender to the next | |
//! | bad signature | signed by another key | 4 `E_BAD_SIGNATURE` |
//! | wrong nonce | a nonce that its signer never reaches | 5 `E_NONCE` |
//! | unaffordable | its signer has no money | 11 `E_INSUFFICIENT_FUNDS` |
//! | wrong chain | signed for another chain | 3 `E_WRONG_CHAIN` |
//! | expired | it expired in 1970 | 6 `E_EXPIRED` |
//! | garbage | bytes that are no transaction | 1 `E_DECODE` |
//!
//! Valid transaction `v` belongs to sender `v mod senders`, so each sender's transactions are in order, however many
//! are sent. Each transfer pays the next sender, so only fees are spent. Invalid transactions are spread evenly, their
//! kinds in rotation. They are signed by accounts that never have money, so that they cannot disturb a sender's nonces.

use std::{io::Write, sync::Arc};

use data_encoding::BASE64;
use types::{ChainId, Deadline, Msg, Time, TxBody, TxOrder, Wire};

use crate::{
    kind::Kind,
    pacing::Random,
    records::{Chunk, TxKey},
    senders::{Keys, Sender, UNFUNDED},
};

/// One million: the share of invalid transactions is given in millionths.
const MILLION: u64 = 1_000_000;
/// Number of different amounts of unordered transfers, which keep two bodies of one sender from being equal.
const AMOUNTS: u64 = 1_000;
/// Size of a garbage transaction in bytes: the size of a transfer.
const GARBAGE_BYTES: usize = 148;

/// Returns the kind of transaction `number`, and how many transactions before it are valid (if it is valid) or invalid.
pub fn place(number: u64, invalid_ppm: u32) -> (Kind, u64) {
    let invalid_before = invalid_before(number, invalid_ppm);
    if self::invalid_before(number + 1, invalid_ppm) == invalid_before {
        return (Kind::Valid, number - invalid_before);
    }
    (Kind::INVALID[(invalid_before % Kind::INVALID.len() as u64) as usize], invalid_before)
}

/// Returns how many of the first `numbers` transactions are invalid.
fn invalid_before(numbers: u64, invalid_ppm: u32) -> u64 {
    (u128::from(numbers) * u128::from(invalid_ppm) / u128::from(MILLION)) as u64
}

/// Returns the smallest number before which there are `valid` valid transactions.
pub fn number_after(valid: u64, invalid_ppm: u32) -> u64 {
    let (mut low, mut high) = (valid, valid.saturating_mul(MILLION).max(1));
    while low < high {
        let middle = low + (high - low) / 2;
        if middle - invalid_before(middle, invalid_ppm) >= valid {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// All parameters that determine the transactions.
#[derive(Clone)]
pub struct Recipe {
    /// Name of the chain that they are for.
    pub chain_id: ChainId,
    /// The accounts that send valid transactions.
    pub senders: Arc<[Sender]>,
    /// Nonce of each sender's first transaction.
    pub nonces: Arc<[u64]>,
    /// Fee of each transaction.
    pub fee: u64,
    /// Number of invalid transactions per million.
    pub invalid_ppm: u32,
    /// Seed of the random bytes of garbage transactions.
    pub seed: u64,
    /// Accounts that never have money, which sign invalid transactions.
    pub unfunded: Arc<[Sender]>,
}

impl Recipe {
    /// Returns the accounts that never have money.
    pub fn unfunded(keys: &Keys) -> Arc<[Sender]> {
        (0..UNFUNDED).map(|index| Sender::new(keys.unfunded(index))).collect()
    }

    /// Appends transaction `number` to a chunk, ready to be sent. With `expires` it is unordered and valid before
    /// this deadline.
    ///
    /// Cost: one signature, 35 µs.
    pub fn make(&self, number: u64, expires: Option<Deadline>, into: &mut Chunk) {
        let (kind, index) = place(number, self.invalid_ppm);
        let (sender, bytes) = match kind {
            Kind::Valid => self.valid(index, expires),
            kind => (0, self.invalid(kind, number)),
        };
        let mut call = Vec::with_capacity(80 + bytes.len() * 4 / 3);
        let head = format_args!(r#"{{"jsonrpc":"2.0","id":{number},"method":"broadcast_tx_sync","params":{{"tx":""#);
        call.write_fmt(head).expect("memory takes what is written");
        call.extend_from_slice(BASE64.encode(&bytes).as_bytes());
        call.extend_from_slice(br#""}}"#);
        into.push(kind, sender, TxKey::of(&bytes), &call);
    }

    fn valid(&self, index: u64, expires: Option<Deadline>) -> (u32, Vec<u8>) {
        let count = self.senders.len() as u64;
        let (turn, sender) = (index / count, (index % count) as usize);
        let (order, amount) = match expires {
            Some(deadline) => (TxOrder::Expires(deadline), 1 + turn % AMOUNTS),
            None => (TxOrder::Nonce(self.nonces[sender] + turn), 1),
        };
        let Sender { key, .. } = &self.senders[sender];
        let to = self.senders[(sender + 1) % self.senders.len()].address;
        let body = TxBody {
            chain_id: self.chain_id.clone(),
            signer: key.public_key(),
            order,
            fee: self.fee,
            messages: vec![Msg::Transfer { to, amount }],
        };
        (sender as u32, body.sign(key).encode())
    }

    fn invalid(&self, kind: Kind, number: u64) -> Vec<u8> {
        if kind == Kind::Garbage {
            let mut random = Random::new(self.seed ^ number);
            // Protobuf has no wire type 7, so no decoder accepts these bytes.
            return std::iter::once(7)
                .chain(std::iter::repeat_with(|| random.next() as u8))
                .take(GARBAGE_BYTES)
                .collect();
        }
        let signer = &self.unfunded[(number % u64::from(UNFUNDED)) as usize];
        let other = &self.unfunded[((number + 1) % u64::from(UNFUNDED)) as usize];
        let elsewhere = ChainId::new("another-chain").expect("letters and a dash make a chain id");
        let body = TxBody {
            chain_id: if kind == Kind::WrongChain { elsewhere } else { self.chain_id.clone() },
            signer: signer.key.public_key(),
            order: match kind {
                Kind::WrongNonce => TxOrder::Nonce(u64::MAX / 2),
                Kind::Expired => TxOrder::Expires(Deadline::at(Time::UNIX_EPOCH)),
                _ => TxOrder::Nonce(0),
            },
            fee: self.fee,
            // The amount differs each time, so that no two transactions are equal.
            messages: vec![Msg::Transfer { to: other.address, amount: 1 + number }],
        };
        let key = if kind == Kind::BadSignature { &other.key } else { &signer.key };
        body.sign(key).encode()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use types::{Transaction, VerifiedTx};

    /// Returns a recipe with the public keys, in which sender i begins with nonce 10 i.
    pub fn recipe(senders: u32, invalid_ppm: u32) -> Recipe {
        let chain_id = ChainId::new("recipe").unwrap();
        let keys = Keys::new(chain_id.clone(), None);
        Recipe {
            chain_id,
            senders: crate::senders::derive(&keys, senders).into(),
            nonces: (0..u64::from(senders)).map(|sender| 10 * sender).collect(),
            fee: 2,
            invalid_ppm,
            seed: 3,
            unfunded: Recipe::unfunded(&keys),
        }
    }

    /// Returns the transactions with these numbers, and their kinds.
    fn made(recipe: &Recipe, numbers: std::ops::Range<u64>, expires: Option<Deadline>) -> Vec<(Kind, Vec<u8>)> {
        let mut chunk = Chunk::default();
        numbers.clone().for_each(|number| recipe.make(number, expires, &mut chunk));
        let mut cursor = 0;
        numbers
            .map(|number| {
                let record = chunk.record(&mut cursor).unwrap().unwrap();
                let call: serde_json::Value = serde_json::from_slice(record.call).unwrap();
                assert_eq!((&call["id"], &call["method"]), (&number.into(), &"broadcast_tx_sync".into()));
                let bytes = BASE64.decode(call["params"]["tx"].as_str().unwrap().as_bytes()).unwrap();
                assert_eq!(record.key, TxKey::of(&bytes));
                (record.kind, bytes)
            })
            .collect()
    }

    #[test]
    fn invalid_transactions_are_spread_evenly_in_equal_parts() {
        let kinds: Vec<Kind> = (0..600).map(|number| place(number, 100_000).0).collect();
        for kind in Kind::INVALID {
            assert_eq!(kinds.iter().filter(|found| **found == kind).count(), 10, "{kind:?}");
        }
        assert!(kinds.chunks(10).all(|ten| ten.iter().filter(|kind| **kind == Kind::Valid).count() == 9));
        assert!((0..100).all(|number| place(number, 0) == (Kind::Valid, number)));
        assert!((0..100).all(|number| place(number, 1_000_000).0 != Kind::Valid));
    }

    #[test]
    fn the_number_after_a_count_of_valid_transactions_is_found() {
        for ppm in [0, 1, 100_000, 333_333, 999_999] {
            for valid in [0, 1, 7, 1000] {
                let number = number_after(valid, ppm);
                let before = (0..number).filter(|number| place(*number, ppm).0 == Kind::Valid).count();
                assert_eq!(before as u64, valid, "{ppm}");
            }
        }
    }

    #[test]
    fn valid_transactions_use_each_senders_next_nonce() {
        let recipe = recipe(3, 0);
        let txs = made(&recipe, 0..6, None);
        let orders: Vec<TxOrder> = txs
            .iter()
            .map(|(kind, bytes)| {
                assert_eq!(*kind, Kind::Valid);
                VerifiedTx::from_bytes(bytes).unwrap().body().order
            })
            .collect();
        assert_eq!(orders, [0, 10, 20, 1, 11, 21].map(TxOrder::Nonce));
        let unordered = made(&recipe, 0..9, Deadline::from_unix_millis(70));
        let distinct: std::collections::BTreeSet<_> = unordered.iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(distinct.len(), 9, "no two bodies are equal, though senders and expiry recur");
    }

    #[test]
    fn each_invalid_transaction_has_exactly_one_defect() {
        for (kind, bytes) in made(&recipe(3, 1_000_000), 0..12, None) {
            let tx = Transaction::decode(&bytes);
            match kind {
                Kind::Garbage => assert!(tx.is_err()),
                Kind::BadSignature => assert!(tx.unwrap().verify().is_err()),
                kind => {
                    let tx = tx.unwrap().verify().unwrap();
                    assert_eq!(tx.body().chain_id.as_str() != "recipe", kind == Kind::WrongChain);
                    let has_expired =
                        matches!(tx.body().order, TxOrder::Expires(deadline) if deadline.unix_millis() == 0);
                    assert_eq!(has_expired, kind == Kind::Expired);
                }
            }
        }
    }
}
