//! Verification of transaction signatures: each once for the whole node, many together.
//!
//! A transaction reaches a node several times: from a client, from peers' gossip, in a block. Its signature is checked
//! the first time; afterwards its id, a hash of all its bytes, identifies the same bytes as verified.
//!
//! Invariants:
//!
//! - **T1** The same bytes are checked at most once while they are remembered, even if several threads submit them at
//!   the same time (`threads_with_one_transaction_check_it_once`).
//! - **T2** Only a successful check marks bytes as verified (`an_invalid_signature_is_never_cached_as_valid`).

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use types::{DecodeError, SignatureError, Transaction, TxError, TxId, VerifiedTx, Wire, verify_batch};

use crate::recent::Recent;

/// Minimum number of verified ids that are remembered: more than a mempool and the block in progress hold. 40 bytes
/// each, twice.
pub const VERIFIED_MAX: usize = 262_144;

/// Minimum number of ids of badly signed bytes that are remembered, so that repeating them causes no further check.
const REFUSED_MAX: usize = 4_096;

/// Verifies transaction signatures, once per node. For any number of threads.
#[derive(Debug)]
pub struct TxVerifier {
    memory: Mutex<Memory>,
    checks: AtomicU64,
    batches: AtomicU64,
    hits: AtomicU64,
}

#[derive(Debug)]
struct Memory {
    verified: Recent,
    refused: Recent,
    /// Ids that are being checked, at most one entry for each transaction of each thread that is checking.
    in_flight: BTreeMap<TxId, Arc<OnceLock<bool>>>,
}

/// What is known about the signature of a transaction.
enum Known {
    Holds(bool),
    /// Another thread is checking the signature.
    InFlight(Arc<OnceLock<bool>>),
    /// Nothing is known; this thread must check the signature and publish the result here.
    Ours(Arc<OnceLock<bool>>),
}

impl Default for TxVerifier {
    fn default() -> Self {
        Self::new(VERIFIED_MAX)
    }
}

impl TxVerifier {
    /// Creates a verifier that remembers at least the last `verified_max` verified transactions.
    pub fn new(verified_max: usize) -> Self {
        let memory = Memory {
            verified: Recent::new(verified_max),
            refused: Recent::new(REFUSED_MAX),
            in_flight: BTreeMap::new(),
        };
        Self {
            memory: Mutex::new(memory),
            checks: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            hits: AtomicU64::new(0),
        }
    }

    /// Decodes a transaction and checks its signature, unless the same bytes were checked before. Cost: 39 µs for
    /// the check, and 4 µs to parse the key.
    ///
    /// Errors: `Decode` for bytes that are no transaction, `Signature` for one that its signer did not sign.
    pub fn verify(&self, bytes: &[u8]) -> Result<VerifiedTx, TxError> {
        self.verify_each([bytes]).remove(0)
    }

    /// As [`TxVerifier::verify`] for several transactions, whose signatures are checked together. Cost: about 17 µs
    /// for each check of 64.
    pub fn verify_each<'b>(&self, bytes: impl IntoIterator<Item = &'b [u8]>) -> Vec<Result<VerifiedTx, TxError>> {
        let decoded: Vec<Result<Transaction, DecodeError>> = bytes.into_iter().map(Transaction::decode).collect();
        let txs: Vec<Transaction> = decoded.iter().flatten().cloned().collect();
        let mut holds = self.hold(&txs).into_iter();
        let mut verified = |tx| match holds.next().expect("an answer for each") {
            // T2: the signature was checked, by this call or an earlier one.
            true => Ok(VerifiedTx::verified_before(tx)),
            false => Err(SignatureError::Mismatch.into()),
        };
        decoded.into_iter().map(|tx| verified(tx?)).collect()
    }

    /// Returns true if every signature is valid.
    pub fn verify_all(&self, txs: &[Transaction]) -> bool {
        self.hold(txs).into_iter().all(|holds| holds)
    }

    /// Returns true if the bytes with this id were checked and are valid.
    pub fn is_verified(&self, id: &TxId) -> bool {
        self.memory().verified.contains(id)
    }

    /// Returns the transaction of these bytes if they were checked before and are valid. Checks nothing.
    pub fn known(&self, bytes: &[u8]) -> Option<VerifiedTx> {
        if !self.is_verified(&TxId::of(bytes)) {
            return None;
        }
        self.note_hit();
        Some(VerifiedTx::verified_before(Transaction::decode(bytes).ok()?))
    }

    /// Counts a signature that was not checked, because a caller knows that it was verified before.
    pub fn note_hit(&self) {
        self.hits.fetch_add(1, Relaxed);
    }

    /// Returns the number of signatures checked since the start.
    pub fn checks(&self) -> u64 {
        self.checks.load(Relaxed)
    }

    /// Returns the number of signatures that were not checked, because they had been before.
    pub fn hits(&self) -> u64 {
        self.hits.load(Relaxed)
    }

    /// Returns the number of checks, of one signature or of several together.
    pub fn batches(&self) -> u64 {
        self.batches.load(Relaxed)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("a thread that panics stops the process")
    }

    /// Returns which signatures are valid. No lock is held during the checks. Results of other threads are awaited only
    /// after our own are published, so that two threads never wait for each other.
    fn hold(&self, txs: &[Transaction]) -> Vec<bool> {
        let known = self.known_or_claim(txs);
        let is_ours = |(tx, known): (&Transaction, &Known)| matches!(known, Known::Ours(_)).then(|| tx.clone());
        let ours: Vec<Transaction> = txs.iter().zip(&known).filter_map(is_ours).collect();
        let checked = verify_batch(&ours);
        if !ours.is_empty() {
            self.checks.fetch_add(ours.len() as u64, Relaxed);
            self.batches.fetch_add(1, Relaxed);
            let mut memory = self.memory();
            for (tx, holds) in ours.iter().zip(&checked) {
                let id = tx.id();
                if *holds {
                    memory.verified.insert(id)
                } else {
                    memory.refused.insert(id)
                }
                memory.in_flight.remove(&id);
            }
        }
        self.hits.fetch_add((txs.len() - ours.len()) as u64, Relaxed);
        let mut checked = checked.into_iter();
        let answer = |known| match known {
            Known::Holds(holds) => Answer::Known(holds),
            Known::InFlight(in_flight) => Answer::Awaited(in_flight),
            Known::Ours(in_flight) => {
                let holds = checked.next().expect("an answer for each");
                in_flight.set(holds).expect("only the thread that claimed it sets the answer");
                Answer::Known(holds)
            }
        };
        let answers: Vec<Answer> = known.into_iter().map(answer).collect();
        answers.into_iter().map(Answer::wait).collect()
    }

    /// Looks up each transaction and claims the unknown ones. A transaction that occurs twice is claimed once.
    fn known_or_claim(&self, txs: &[Transaction]) -> Vec<Known> {
        let mut memory = self.memory();
        let mut look = |tx: &Transaction| {
            let id = tx.id();
            if memory.verified.contains(&id) {
                return Known::Holds(true);
            }
            if memory.refused.contains(&id) {
                return Known::Holds(false);
            }
            match memory.in_flight.entry(id) {
                Entry::Occupied(claimed) => Known::InFlight(claimed.get().clone()),
                Entry::Vacant(free) => Known::Ours(free.insert(Arc::default()).clone()),
            }
        };
        txs.iter().map(&mut look).collect()
    }
}

/// The validity of a signature, or the cell in which another thread will publish it.
enum Answer {
    Known(bool),
    Awaited(Arc<OnceLock<bool>>),
}

impl Answer {
    fn wait(self) -> bool {
        match self {
            Self::Known(holds) => holds,
            Self::Awaited(in_flight) => *in_flight.wait(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use types::{Address, ChainId, Msg, SecretKey, TxBody, TxOrder};

    use super::*;

    fn tx(nonce: u64) -> Transaction {
        let key = SecretKey::from_bytes(&[7; 32]).unwrap();
        TxBody {
            chain_id: ChainId::new("cairn-test").unwrap(),
            signer: key.public_key(),
            order: TxOrder::Nonce(nonce),
            fee: 1,
            messages: vec![Msg::Transfer { to: Address([9; 20]), amount: 1 }],
        }
        .sign(&key)
    }

    fn badly_signed(nonce: u64) -> Vec<u8> {
        let mut bytes = tx(nonce).encode();
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    }

    #[test]
    fn a_transaction_is_checked_once_wherever_it_comes_from() {
        let verifier = TxVerifier::default();
        let bytes = tx(1).encode();
        assert!(verifier.known(&bytes).is_none());
        let verified = verifier.verify(&bytes).unwrap();
        assert!(verifier.is_verified(&verified.id()));
        assert_eq!(verifier.verify(&bytes).unwrap(), verified);
        assert_eq!(verifier.known(&bytes), Some(verified));
        assert!(verifier.verify_all(&[tx(1), tx(2), tx(1)]));
        assert_eq!((verifier.checks(), verifier.hits()), (2, 4));
    }

    #[test]
    fn an_invalid_signature_is_never_cached_as_valid() {
        let verifier = TxVerifier::default();
        let bytes = badly_signed(1);
        for _ in 0..3 {
            assert_eq!(verifier.verify(&bytes), Err(SignatureError::Mismatch.into()));
            assert!(verifier.known(&bytes).is_none());
        }
        assert_eq!(verifier.checks(), 1, "bad bytes cost one check");
        assert!(!verifier.verify_all(&[tx(1), Transaction::decode(&bytes).unwrap(), tx(2)]));
        assert!(verifier.is_verified(&tx(2).id()), "the others are known from now on");
        assert!(verifier.verify(&tx(1).encode()).is_ok(), "the same body, well signed");
        let good = tx(5).encode();
        let each = verifier.verify_each([b"nonsense", good.as_slice(), &bytes, &good]);
        assert!(matches!(each[0], Err(TxError::Decode(_))) && matches!(each[2], Err(TxError::Signature(_))));
        assert!(each[1].is_ok() && each[1] == each[3]);
        assert_eq!((verifier.checks(), verifier.batches()), (4, 3));
    }

    #[test]
    fn memory_is_bounded() {
        let verifier = TxVerifier::new(2);
        for nonce in 0..7 {
            verifier.verify(&tx(nonce).encode()).unwrap();
        }
        assert!(verifier.is_verified(&tx(6).id()));
        assert!(!verifier.is_verified(&tx(0).id()));
        assert!(verifier.memory().in_flight.is_empty());
    }

    #[test]
    fn threads_with_one_transaction_check_it_once() {
        let verifier = TxVerifier::default();
        let txs: Vec<Vec<u8>> = (0..8).map(|nonce| tx(nonce).encode()).chain([badly_signed(9)]).collect();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| txs.iter().for_each(|bytes| drop(verifier.verify(bytes))));
            }
        });
        assert_eq!((verifier.checks(), verifier.hits()), (9, 8 * 9 - 9));
        assert!(verifier.memory().in_flight.is_empty());
    }
}
