//! Prepared forms of the keys of validators: a table per key, with which a check of a vote costs half as much.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};

use types::{PreparedKey, PublicKey, ValidatorSet};

/// Number of checks with a key before its table is made. A table costs as much as about 15 checks, and saves half of
/// each later one.
const CHECKS_MIN: u32 = 32;

/// Maximum number of keys with a table: 20 MB. The keys beyond it are checked without one.
const KEYS_MAX: usize = 256;

/// The prepared keys of validators, for any number of threads.
#[derive(Debug, Default)]
pub(crate) struct PreparedKeys(Mutex<BTreeMap<[u8; 33], Key>>);

#[derive(Debug, Default)]
struct Key {
    /// Number of checks so far, until there is a table.
    checks: u32,
    table: Option<Arc<PreparedKey>>,
}

impl PreparedKeys {
    /// Returns the prepared form of a validator's key; `None` for the first checks with it, and if there is no room. The
    /// check that makes the table is delayed by it once, by about 250 µs.
    pub fn get(&self, key: &PublicKey) -> Option<Arc<PreparedKey>> {
        let mut keys = self.lock();
        if !keys.contains_key(key.bytes()) && keys.len() >= KEYS_MAX {
            return None;
        }
        let entry = keys.entry(*key.bytes()).or_default();
        entry.checks = entry.checks.saturating_add(1);
        if entry.checks != CHECKS_MIN {
            return entry.table.clone();
        }
        drop(keys); // no other thread waits for the table
        let table = Arc::new(PreparedKey::new(key));
        if let Some(entry) = self.lock().get_mut(key.bytes()) {
            entry.table = Some(table.clone());
        }
        Some(table)
    }

    /// Makes room if there is none: forgets all keys but those of these validators.
    pub fn make_room(&self, validators: &ValidatorSet) {
        let mut keys = self.lock();
        if keys.len() < KEYS_MAX {
            return;
        }
        let kept: BTreeSet<&[u8]> = validators.iter().map(|validator| validator.public_key.bytes()).collect();
        keys.retain(|bytes, _| kept.contains(bytes.as_slice()));
    }

    /// Returns the memory of the tables, in bytes.
    pub fn bytes(&self) -> usize {
        self.lock().values().filter(|key| key.table.is_some()).count() * PreparedKey::BYTES
    }

    /// Returns the maximum of [`Self::bytes`].
    pub const fn bytes_max() -> usize {
        KEYS_MAX * PreparedKey::BYTES
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<[u8; 33], Key>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use types::{Power, SecretKey, sha256};

    use super::*;

    fn key(n: u16) -> SecretKey {
        let mut bytes = [1; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        SecretKey::from_bytes(&bytes).unwrap()
    }

    #[test]
    fn a_key_that_is_used_often_gets_a_table_that_checks_the_same() {
        let (keys, ours, other) = (PreparedKeys::default(), key(1), key(2));
        for _ in 1..CHECKS_MIN {
            assert!(keys.get(&ours.public_key()).is_none());
        }
        assert_eq!(keys.bytes(), 0);
        let table = keys.get(&ours.public_key()).unwrap();
        assert!(Arc::ptr_eq(&table, &keys.get(&ours.public_key()).unwrap()), "one table");
        assert!(keys.get(&other.public_key()).is_none(), "each key has its own");
        assert_eq!(keys.bytes(), PreparedKey::BYTES);
        let digest = sha256(b"message");
        assert_eq!(table.verify(&digest, &ours.sign(&digest)), Ok(()));
        assert!(table.verify(&digest, &other.sign(&digest)).is_err());
        assert!(table.verify(&sha256(b"another"), &ours.sign(&digest)).is_err());
    }

    #[test]
    fn the_number_of_keys_is_bounded_and_those_of_validators_are_kept() {
        let keys = PreparedKeys::default();
        let use_some = |range: std::ops::Range<u16>| range.for_each(|n| drop(keys.get(&key(n).public_key())));
        let length = || keys.lock().len();
        let validators = ValidatorSet::new([3, 900].map(|n| (key(n).public_key(), Power(1))).to_vec()).unwrap();
        use_some(0..KEYS_MAX as u16 - 1);
        keys.make_room(&validators);
        assert_eq!(length(), KEYS_MAX - 1, "there is room");
        use_some(0..KEYS_MAX as u16 + 10);
        assert_eq!(length(), KEYS_MAX);
        keys.make_room(&validators);
        assert!(length() == 1 && keys.lock().contains_key(key(3).public_key().bytes()));
    }
}
