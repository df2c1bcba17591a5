//! What must hold of every decoder, and a switch that makes decoders wrong, to prove that these checks notice.
//!
//! | check | source |
//! |---|---|
//! | a value survives its own bytes: `decode(encode(x)) == x`, and its bytes are the same again | `types::Wire` |
//! | the reason of a refusal is short, one line, and nothing in it controls a terminal | STYLE.md, Errors |
//! | decoding holds at most a small multiple of the input in memory | `types::Wire` |
//! | nothing panics | STYLE.md, Errors |

use std::{
    cell::Cell,
    fmt::{Debug, Display},
};

use types::{Wire, is_plain};

use crate::memory;

/// Maximum number of characters of the reason why an input is refused.
pub const REASON_CHARS_MAX: usize = 1000;

/// Bytes that a decoder may hold whatever the size of its input.
pub const MEMORY_BASE: usize = 256 * 1024;

/// Bytes that a decoder may hold for each byte of its input, beside [`MEMORY_BASE`].
pub const MEMORY_PER_BYTE: usize = 64;

/// The same for values that a node decodes only from its own disk: their lists have no bound of their own.
pub const MEMORY_PER_OWN_BYTE: usize = 512;

/// A way in which a decoder can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A value changes on its way through its bytes.
    Value,
    /// The reason of a refusal is as long as the input wants.
    Reason,
    /// Decoding takes memory that the input does not justify.
    Memory,
}

impl Wrong {
    /// Each way to be wrong.
    pub const ALL: [Self; 3] = [Self::Value, Self::Reason, Self::Memory];
}

thread_local! {
    static WRONG: Cell<Option<Wrong>> = const { Cell::new(None) };
}

/// Runs `act` while every decoder that this module calls on this thread is wrong in this way.
pub fn while_wrong<T>(wrong: Wrong, act: impl FnOnce() -> T) -> T {
    struct Right;
    impl Drop for Right {
        fn drop(&mut self) {
            WRONG.set(None);
        }
    }
    let _right = Right;
    WRONG.set(Some(wrong));
    act()
}

fn is_wrong(wrong: Wrong) -> bool {
    WRONG.get() == Some(wrong)
}

/// Decodes the input and checks memory and reason. Returns `None` if the input is refused.
///
/// Panics if a check fails.
pub fn decoded<T, E: Display>(bytes: &[u8], decode: impl FnOnce(&[u8]) -> Result<T, E>) -> Option<T> {
    decoded_within(bytes, MEMORY_BASE + MEMORY_PER_BYTE * bytes.len(), decode)
}

/// As [`decoded`], for a decoder that may hold other amounts of memory.
///
/// Panics if a check fails.
pub fn decoded_within<T, E: Display>(
    bytes: &[u8],
    memory_max: usize,
    decode: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Option<T> {
    let (result, most) = memory::most_of(|| {
        let spare = is_wrong(Wrong::Memory).then(|| vec![0_u8; memory_max + 1]);
        let result = decode(bytes);
        drop(spare);
        result
    });
    assert!(most <= memory_max, "{} bytes of input took {most} bytes of memory, at most {memory_max} may", bytes.len());
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            check_reason(&error.to_string());
            None
        }
    }
}

/// Checks the reason why an input was refused.
///
/// Panics if it is empty, too long, or not plain text.
pub fn check_reason(reason: &str) {
    let long = is_wrong(Wrong::Reason).then(|| reason.repeat(REASON_CHARS_MAX));
    let reason = long.as_deref().unwrap_or(reason);
    let chars = reason.chars().count();
    assert!(
        chars <= REASON_CHARS_MAX,
        "a reason of {chars} characters: {}",
        reason.chars().take(200).collect::<String>()
    );
    assert!(!reason.is_empty() && reason.chars().all(is_plain), "a reason is one line of plain text: {reason:?}");
}

/// Checks that a value survives its bytes, and that these are the same again.
///
/// Panics if not.
pub fn survives<T: PartialEq + Debug, E: Debug>(
    value: &T,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, E>,
) {
    let mut bytes = encode(value);
    if is_wrong(Wrong::Value) {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }
    let again = decode(&bytes).expect("what was encoded can be decoded");
    assert_eq!(&again, value, "decode(encode(x)) is x");
    assert!(encode(&again) == bytes, "a value has one encoding");
}

/// Checks that two things that must be the same are: of two ways to one answer, or of two runs.
///
/// Panics if not.
pub fn same<T: PartialEq + Debug>(first: T, second: T, what: &str) {
    assert!(!is_wrong(Wrong::Value), "a changed value is not the same: {what}");
    assert_eq!(first, second, "{what}");
}

/// Decodes a type of the wire and checks everything that [`Wire`] promises. Returns `None` if the input is refused.
///
/// Panics if a check fails.
pub fn wire<T: Wire + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    wire_within(bytes, MEMORY_BASE + MEMORY_PER_BYTE * bytes.len())
}

/// As [`wire`], for a type of which a node decodes only what it has encoded itself, with another bound of its memory.
///
/// Panics if a check fails.
pub fn wire_within<T: Wire + PartialEq + Debug>(bytes: &[u8], memory_max: usize) -> Option<T> {
    let value = decoded_within(bytes, memory_max, T::decode)?;
    assert!(bytes.len() <= T::BYTES_MAX, "{}: {} bytes were decoded", T::NAME, bytes.len());
    survives(&value, T::encode, T::decode);
    Some(value)
}
