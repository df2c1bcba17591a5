//! Keys of the accounts that a test network funds for load tests.

use types::{ChainId, SecretKey};

/// Returns the key of a sender of load tests. It is publicly computable: use it in test networks only.
pub fn sender_key(chain_id: &ChainId, index: u32) -> SecretKey {
    let seed = |attempt: u32| {
        let input = [chain_id.as_bytes(), &index.to_be_bytes(), &attempt.to_be_bytes()];
        types::blake3_parts(&[&[&b"cairn load sender v1"[..]], &input[..]].concat())
    };
    (0..).find_map(|attempt| SecretKey::from_bytes(&seed(attempt).0).ok()).expect("nearly all hashes are keys")
}
