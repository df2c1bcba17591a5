//! Proves each property on its seeds, on a bounded number of damaged seeds and on inputs that cost much memory. The inputs
//! are the same in each run.
#![allow(missing_docs)]

use properties::{
    all,
    memory::{Counting, most_of},
    noise,
};
use prost::Message;
use types::{Block, Wire, pb};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Number of damaged seeds for each property whose check takes microseconds.
const DAMAGED: usize = 3000;

/// Number of damaged seeds for properties that execute a chain or read a store: a check takes milliseconds.
const DAMAGED_SLOW: usize = 60;

const SLOW: [&str; 5] = ["execution", "store_rows", "rpc_body", "rpc_uri", "event_query"];

/// Bytes of an input that costs much memory.
const FLOOD_BYTES: usize = 48 * 1024;

#[test]
fn seeds_hold_and_more_than_a_quarter_of_them_is_accepted() {
    for property in all() {
        let seeds = (property.seeds)();
        let accepted = seeds.iter().filter(|seed| (property.check)(seed)).count();
        assert!(accepted * 4 > seeds.len(), "{}: {accepted} of {} seeds are accepted", property.name, seeds.len());
    }
}

#[test]
fn damaged_seeds_hold_and_some_of_them_are_refused() {
    for property in all() {
        let seeds = (property.seeds)();
        let mut noise = noise::Noise::new(7);
        let count = if SLOW.contains(&property.name) { DAMAGED_SLOW } else { DAMAGED };
        let accepted = (0..count).filter(|_| (property.check)(&noise.damaged(&seeds))).count();
        assert!(accepted < count, "{}: no damage is noticed", property.name);
    }
}

#[test]
fn floods_of_empty_messages_take_little_memory() {
    let floods = noise::floods(FLOOD_BYTES);
    for property in all().into_iter().filter(|property| !SLOW.contains(&property.name)) {
        for flood in &floods {
            (property.check)(flood);
        }
    }
}

/// Why a type of the wire counts the elements of its lists first: the decoder of protobuf takes hundreds of bytes for each of
/// these pieces of evidence of two bytes, and a block has up to 16 MiB of them.
#[test]
fn elements_are_counted_before_they_take_memory() {
    let evidence = [0x0A, 0].repeat(256 * 1024);
    let mut flood = vec![0x1A];
    prost::encoding::encode_varint(evidence.len() as u64, &mut flood);
    flood.extend(evidence);
    let (decoded, unchecked) = most_of(|| pb::Block::decode(&flood[..]).is_ok());
    let (refused, checked) = most_of(|| Block::decode(&flood).is_err());
    assert!(decoded && refused);
    assert!(unchecked > 100 * flood.len(), "{unchecked} bytes for {}", flood.len());
    assert!(checked < 1024, "{checked} bytes");
}
