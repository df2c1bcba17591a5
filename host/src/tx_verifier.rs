//! Checks transactions' signatures, each once for the whole node.
//!
//! A transaction comes to a node several times: from a client, from peers' gossip, in a block. Its signature is checked the first
//! time; afterwards its id, a hash of all its bytes, says that these very bytes are signed.
//!
//! Invariants:
//! **T1** bytes are checked at most once while they are remembered, also when several threads bring them at the same time
//! (`threads_with_one_transaction_check_it_once`);
//! **T2** only a check that held makes bytes verified (`a_bad_signature_is_never_good`).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use types::{SignatureError, Transaction, TxError, TxId, VerifiedTx, Wire, blake3};

use crate::recent::Recent;

/// Verified ids remembered at least: more than a mempool and the block in progress hold. 40 bytes each, twice.
pub const VERIFIED_MAX: usize = 262_144;

/// Ids of badly signed bytes remembered at least: who repeats them costs no further check.
const REFUSED_MAX: usize = 4_096;

/// Checks transactions' signatures, once a node. For any number of threads.
#[derive(Debug)]
pub struct TxVerifier {
    memory: Mutex<Memory>,
    checks: AtomicU64,
    hits: AtomicU64,
}

#[derive(Debug)]
struct Memory {
    verified: Recent,
    refused: Recent,
    /// What is being checked: one entry for each thread in here at most.
    in_flight: BTreeMap<TxId, Arc<OnceLock<bool>>>,
}

/// What is known of bytes.
enum Known {
    Holds(bool),
    InFlight(Arc<OnceLock<bool>>),
}

impl Default for TxVerifier {
    fn default() -> Self {
        Self::new(VERIFIED_MAX)
    }
}

impl TxVerifier {
    /// Remembers at least the last `verified_max` verified transactions.
    pub fn new(verified_max: usize) -> Self {
        let memory = Memory {
            verified: Recent::new(verified_max),
            refused: Recent::new(REFUSED_MAX),
            in_flight: BTreeMap::new(),
        };
        Self { memory: Mutex::new(memory), checks: AtomicU64::new(0), hits: AtomicU64::new(0) }
    }

    /// Decodes a transaction and checks its signature, unless these very bytes were checked before. Cost: 70 µs, or 10.
    ///
    /// Errors: `Decode` for bytes that are no transaction, `Signature` for one that its signer did not sign.
    pub fn verify(&self, bytes: &[u8]) -> Result<(VerifiedTx, TxId), TxError> {
        let tx = Transaction::decode(bytes)?;
        let id = TxId(blake3(bytes).0);
        if self.holds(id, &tx) {
            // T2: it was, by this call or an earlier one.
            Ok((VerifiedTx::verified_before(tx), id))
        } else {
            Err(SignatureError::Mismatch.into())
        }
    }

    /// Whether every signature holds; stops at the first that does not.
    pub fn verify_all(&self, txs: &[Transaction]) -> bool {
        txs.iter().all(|tx| self.holds(tx.id(), tx))
    }

    /// Whether the bytes with this id were checked, and held.
    pub fn is_verified(&self, id: &TxId) -> bool {
        self.memory().verified.contains(id)
    }

    /// The transaction of these bytes, if they were checked before and held. Checks nothing.
    pub fn known(&self, bytes: &[u8]) -> Option<VerifiedTx> {
        if !self.is_verified(&TxId(blake3(bytes).0)) {
            return None;
        }
        self.hits.fetch_add(1, Relaxed);
        Some(VerifiedTx::verified_before(Transaction::decode(bytes).ok()?))
    }

    /// Signatures checked since the start.
    pub fn checks(&self) -> u64 {
        self.checks.load(Relaxed)
    }

    /// Signatures not checked, because they had been before.
    pub fn hits(&self) -> u64 {
        self.hits.load(Relaxed)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("a thread that panics stops the process")
    }

    /// Whether the signature of `tx`, whose bytes have this id, holds. No lock is held while it is checked; a second thread
    /// with the same bytes waits for the first one's answer.
    fn holds(&self, id: TxId, tx: &Transaction) -> bool {
        let in_flight = match self.known_or_claim(id) {
            Known::Holds(holds) => {
                self.hits.fetch_add(1, Relaxed);
                return holds;
            }
            Known::InFlight(in_flight) => in_flight,
        };
        let mut checked = false;
        let holds = *in_flight.get_or_init(|| {
            checked = true;
            self.checks.fetch_add(1, Relaxed);
            tx.body().signer.verify_recoverable(&tx.digest(), tx.signature()).is_ok()
        });
        if checked {
            let mut memory = self.memory();
            if holds {
                memory.verified.insert(id)
            } else {
                memory.refused.insert(id)
            }
            memory.in_flight.remove(&id);
        } else {
            self.hits.fetch_add(1, Relaxed);
        }
        holds
    }

    fn known_or_claim(&self, id: TxId) -> Known {
        let mut memory = self.memory();
        if memory.verified.contains(&id) {
            return Known::Holds(true);
        }
        if memory.refused.contains(&id) {
            return Known::Holds(false);
        }
        Known::InFlight(memory.in_flight.entry(id).or_default().clone())
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
        let (verified, id) = verifier.verify(&bytes).unwrap();
        assert_eq!((verified.id(), verifier.is_verified(&id)), (id, true));
        assert_eq!(verifier.verify(&bytes).unwrap().0, verified);
        assert_eq!(verifier.known(&bytes), Some(verified));
        assert!(verifier.verify_all(&[tx(1), tx(2), tx(1)]));
        assert_eq!((verifier.checks(), verifier.hits()), (2, 4));
    }

    #[test]
    fn a_bad_signature_is_never_good() {
        let verifier = TxVerifier::default();
        let bytes = badly_signed(1);
        for _ in 0..3 {
            assert_eq!(verifier.verify(&bytes), Err(SignatureError::Mismatch.into()));
            assert!(verifier.known(&bytes).is_none());
        }
        assert_eq!(verifier.checks(), 1, "bad bytes cost one check");
        assert!(!verifier.verify_all(&[tx(1), Transaction::decode(&bytes).unwrap(), tx(2)]));
        assert!(!verifier.is_verified(&tx(2).id()), "it stops at the first bad one");
        assert!(verifier.verify(&tx(1).encode()).is_ok(), "the same body, well signed");
        assert!(matches!(verifier.verify(b"nonsense"), Err(TxError::Decode(_))));
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
