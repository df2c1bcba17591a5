//! Results of signature checks, and parsed keys, that one thread remembers, so that a simulated cluster checks each foreign signature
//! and decompresses each key once for all its nodes. It does not check what a key of the cluster has signed: that holds for exactly this
//! key, signature and message. A node never does this: it needs the feature `memo` and a [`Memo`] that lives.

use curve::Point;
#[cfg(feature = "memo")]
pub use remembered::Memo;
#[cfg(feature = "memo")]
pub(crate) use remembered::{lives, made, once, parsed};

use crate::Address;

/// A parsed key and its address.
type Parsed = (Point, Address);

/// Returns true while a memo lives.
#[cfg(not(feature = "memo"))]
pub(crate) const fn lives() -> bool {
    false
}

/// Remembers that a signature holds, because the key has just made it. `parts` are those of [`once`].
#[cfg(not(feature = "memo"))]
pub(crate) fn made(_: [&[u8]; 4]) {}

/// Returns the key of a compressed point, or `None` if there is no such point. `parse` decompresses it.
#[cfg(not(feature = "memo"))]
pub(crate) fn parsed(_: &[u8; 33], parse: impl FnOnce() -> Option<Parsed>) -> Option<Parsed> {
    parse()
}

/// Returns true if a signature holds. `parts` are the kind of the check, the key, the signature and the message.
#[cfg(not(feature = "memo"))]
pub(crate) fn once(_: [&[u8]; 4], check: impl FnOnce() -> bool) -> bool {
    check()
}

#[cfg(feature = "memo")]
mod remembered {
    use std::{cell::RefCell, collections::BTreeMap};

    use super::Parsed;
    use crate::{Hash, blake3_parts};

    thread_local! {
        static RESULTS: RefCell<Option<BTreeMap<Hash, bool>>> = const { RefCell::new(None) };
        static KEYS: RefCell<Option<BTreeMap<[u8; 33], Option<Parsed>>>> = const { RefCell::new(None) };
    }

    /// A time in which this thread checks each signature, and decompresses each key, at most once. It ends, and the results are
    /// forgotten, when this is dropped.
    #[derive(Debug)]
    pub struct Memo(());

    impl Memo {
        /// Forgets earlier results, and remembers those from now on.
        pub fn new() -> Self {
            RESULTS.set(Some(BTreeMap::new()));
            KEYS.set(Some(BTreeMap::new()));
            Self(())
        }
    }

    impl Default for Memo {
        fn default() -> Self {
            Self::new()
        }
    }

    impl Drop for Memo {
        fn drop(&mut self) {
            RESULTS.set(None);
            KEYS.set(None);
        }
    }

    /// Returns true while a [`Memo`] lives in this thread.
    pub(crate) fn lives() -> bool {
        RESULTS.with_borrow(Option::is_some)
    }

    /// Remembers that a signature holds, because the key has just made it. `parts` are those of [`once`].
    pub(crate) fn made(parts: [&[u8]; 4]) {
        RESULTS.with_borrow_mut(|results| results.as_mut().map(|results| results.insert(blake3_parts(&parts), true)));
    }

    /// Returns the result of this check, which is made unless the same `parts` were checked before while a [`Memo`] lives.
    pub(crate) fn once(parts: [&[u8]; 4], check: impl FnOnce() -> bool) -> bool {
        if !lives() {
            return check();
        }
        let name = blake3_parts(&parts);
        let known = RESULTS.with_borrow(|results| results.as_ref()?.get(&name).copied());
        known.unwrap_or_else(|| {
            let result = check();
            RESULTS.with_borrow_mut(|results| results.as_mut().map(|results| results.insert(name, result)));
            result
        })
    }

    /// Returns the key of a compressed point, which `parse` decompresses unless it did so before while a [`Memo`] lives.
    pub(crate) fn parsed(bytes: &[u8; 33], parse: impl FnOnce() -> Option<Parsed>) -> Option<Parsed> {
        let known = KEYS.with_borrow(|keys| keys.as_ref()?.get(bytes).copied());
        known.unwrap_or_else(|| {
            let key = parse();
            KEYS.with_borrow_mut(|keys| keys.as_mut().map(|keys| keys.insert(*bytes, key)));
            key
        })
    }

    #[cfg(test)]
    mod tests {
        use curve::Point;

        use super::*;

        #[test]
        fn each_check_is_made_once_while_a_memo_lives() {
            let checks = std::cell::Cell::new(0);
            let check = |kind: &[u8], result: bool| {
                once([kind, &[1; 33], &[2; 64], &[3; 32]], || {
                    checks.set(checks.get() + 1);
                    result
                })
            };
            let made = |expected| assert_eq!(checks.replace(0), expected);
            for _ in 0..2 {
                assert!(check(b"a", true));
            }
            made(2);
            let memo = Memo::new();
            for _ in 0..3 {
                assert!(check(b"a", true));
                assert!(!check(b"b", false));
            }
            made(2);
            drop(memo);
            assert!(check(b"a", true));
            made(1);
        }

        #[test]
        fn what_a_key_has_just_signed_is_known_to_hold_for_this_key_and_message_only() {
            let never = || panic!("it is known");
            let part = |byte: u8| [byte; 32];
            let (kind, key, signature, message) = (part(1), part(2), part(3), part(4));
            made([&kind, &key, &signature, &message]);
            assert!(!once([&kind, &key, &signature, &message], || false), "no memo lives");
            let _memo = Memo::new();
            made([&kind, &key, &signature, &message]);
            assert!(once([&kind, &key, &signature, &message], never));
            let other = part(5);
            assert!(!once([&other, &key, &signature, &message], || false));
            assert!(!once([&kind, &other, &signature, &message], || false));
            assert!(!once([&kind, &key, &other, &message], || false));
            assert!(!once([&kind, &key, &signature, &other], || false));
        }

        #[test]
        fn each_key_is_decompressed_once_while_a_memo_lives() {
            let key = crate::SecretKey::from_bytes(&[7; 32]).expect("a scalar").public_key();
            let bytes = *key.bytes();
            let parse = || Point::from_compressed(&bytes).map(|point| (point, key.address()));
            let never = || panic!("it was decompressed before");
            let memo = Memo::new();
            assert!(parsed(&bytes, parse).is_some());
            assert_eq!(parsed(&bytes, never), parse());
            assert_eq!((parsed(&[9; 33], || None), parsed(&[9; 33], never)), (None, None));
            drop(memo);
            assert_eq!(parsed(&bytes, || None), None);
        }
    }
}
