//! Proves that each property notices a decoder that is wrong: one that changes a value, that repeats its input in its
//! reason, or that takes memory.
#![allow(missing_docs)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use properties::{
    Property, all,
    judge::{self, Wrong},
    memory::Counting,
    noise::Noise,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Properties whose decoders give no reason: a row is a row or it is none.
const WITHOUT_REASON: [&str; 2] = ["state_row", "stored_trees"];

/// Properties that decode nothing with the checks of memory.
const WITHOUT_MEMORY: [&str; 6] = ["state_row", "stored_trees", "query_of_state", "rpc_body", "rpc_uri", "event_query"];

fn fails(property: &Property, wrong: Wrong, inputs: &[Vec<u8>]) -> bool {
    let fails = |input: &Vec<u8>| {
        catch_unwind(AssertUnwindSafe(|| judge::while_wrong(wrong, || (property.check)(input)))).is_err()
    };
    inputs.iter().any(fails)
}

#[test]
fn each_property_notices_a_wrong_decoder() {
    // Each failure here is expected.
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for property in all() {
        let seeds = (property.seeds)();
        let mut noise = Noise::new(3);
        let mut inputs = seeds.clone();
        inputs.extend((0..40).map(|_| noise.damaged(&seeds)));
        for wrong in Wrong::ALL {
            let has_none = match wrong {
                Wrong::Value => false,
                Wrong::Reason => WITHOUT_REASON.contains(&property.name),
                Wrong::Memory => WITHOUT_MEMORY.contains(&property.name),
            };
            if fails(&property, wrong, &inputs) == has_none {
                missed.push(format!("{} {wrong:?}", property.name));
            }
        }
        let is_right = inputs.iter().all(|input| catch_unwind(|| (property.check)(input)).is_ok());
        if !is_right {
            missed.push(format!("{} fails when nothing is wrong", property.name));
        }
    }
    let _ = std::panic::take_hook();
    assert_eq!(missed, [""; 0]);
}

#[test]
fn the_checks_themselves_notice_what_they_are_for() {
    let panics = |act: &dyn Fn()| catch_unwind(AssertUnwindSafe(act)).is_err();
    assert!(panics(&|| judge::check_reason("")));
    assert!(panics(&|| judge::check_reason("two\nlines")));
    assert!(panics(&|| judge::check_reason(&"x".repeat(judge::REASON_CHARS_MAX + 1))));
    assert!(!panics(&|| judge::check_reason(&"x".repeat(judge::REASON_CHARS_MAX))));
    // A decoder that forgets a byte, one that accepts two forms of a value, and one that takes memory.
    let encode = |value: &u16| value.to_be_bytes().to_vec();
    let decode = |bytes: &[u8]| bytes.try_into().map(u16::from_be_bytes).map_err(|_| "not two bytes");
    assert!(!panics(&|| judge::survives(&0x1234, encode, decode)));
    assert!(panics(&|| judge::survives(&0x1234, encode, |bytes: &[u8]| decode(bytes).map(|value| value & 0xFF))));
    assert!(panics(&|| judge::survives(&0x1234, |value| vec![*value as u8], decode)));
    let greedy = |bytes: &[u8]| Ok::<_, String>(vec![0_u8; 1000 * judge::MEMORY_BASE + bytes.len()]);
    assert!(panics(&|| drop(judge::decoded(b"x", greedy))));
    assert!(panics(&|| assert!(judge::decoded(b"x", |_| Err::<(), _>("a\u{1b}[31mb")).is_none())));
}
