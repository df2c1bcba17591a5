//! Rules of a crate that can be broken on purpose, to prove that its tests hold them.

/// Defines the type `Mutation` with these names, the function `mutated`, which returns true for the rule that is broken in
/// this thread, and the type `BrokenRule`, which breaks one while it lives.
///
/// A name with `: both` is detected by a test of the crate and by the simulator, one with `: simulated` by the simulator only,
/// and one without either by a test of the crate only.
///
/// The crate that uses it has the feature `mutations`. Without the feature, `mutated` is the constant `false`, so that the
/// compiler removes every question and what depends on it.
#[macro_export]
macro_rules! mutations {
    ($($(#[doc = $doc:literal])+ $name:ident $(: $by:ident)?,)*) => {
        /// A rule that is switched off or broken, to prove that a test or a checker notices it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(dead_code, reason = "without the feature, no rule is broken")]
        pub enum Mutation {
            $($(#[doc = $doc])+ $name,)*
        }

        #[cfg(feature = "mutations")]
        impl Mutation {
            /// All mutations, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What each mutation does, and who detects it: in the order of [`Mutation::ALL`].
            const ABOUT: &[(&str, &str)] = &[$((concat!($($doc),+), concat!($(stringify!($by))?)),)*];

            /// Returns what the mutation does: its documentation.
            pub fn effect(self) -> &'static str {
                Self::ABOUT[self as usize].0.trim()
            }

            /// Returns true if the simulator detects the mutation.
            pub fn is_simulated(self) -> bool {
                !Self::ABOUT[self as usize].1.is_empty()
            }

            /// Returns true if a test of this crate detects the mutation.
            pub fn is_tested_here(self) -> bool {
                Self::ABOUT[self as usize].1 != "simulated"
            }
        }

        #[cfg(not(feature = "mutations"))]
        pub(crate) const fn mutated(_: Mutation) -> bool {
            false
        }

        #[cfg(feature = "mutations")]
        pub use broken::BrokenRule;
        #[cfg(feature = "mutations")]
        pub(crate) use broken::mutated;

        #[cfg(feature = "mutations")]
        mod broken {
            use std::cell::Cell;

            use super::Mutation;

            thread_local! {
                static BROKEN: Cell<Option<Mutation>> = const { Cell::new(None) };
            }

            /// Returns true if this rule is broken in this thread.
            pub(crate) fn mutated(mutation: Mutation) -> bool {
                BROKEN.get() == Some(mutation)
            }

            /// A time in which a rule is broken in this thread. It ends when this is dropped.
            pub struct BrokenRule {
                before: Option<Mutation>,
            }

            impl BrokenRule {
                /// Breaks a rule instead of the one that is broken now, if any.
                pub fn new(mutation: Mutation) -> Self {
                    Self { before: BROKEN.replace(Some(mutation)) }
                }

                /// Returns the rule that is broken in this thread.
                pub fn now() -> Option<Mutation> {
                    BROKEN.get()
                }
            }

            impl Drop for BrokenRule {
                fn drop(&mut self) {
                    BROKEN.set(self.before);
                }
            }
        }
    };
}

/// Defines the tests that prove that each rule is held by a test: with the rule broken, the named test fails, and its failure
/// contains the text of the table; with all rules in force the same tests pass.
///
/// A line is `Rule: module::test "part of the failure", module::test "part of the failure";`. `Mutation` and `BrokenRule` are
/// those of the crate under test.
#[macro_export]
macro_rules! detections {
    ($($mutation:ident: $($($part:ident)::+ $says:literal),+;)*) => {
        /// A test that detects a mutation.
        struct Detection {
            mutation: Mutation,
            name: &'static str,
            test: fn(),
            /// Part of the failure of the test.
            says: &'static str,
        }

        const TABLE: &[Detection] = &[$($(Detection {
            mutation: Mutation::$mutation,
            name: stringify!($($part)::+),
            test: $($part)::+,
            says: $says,
        },)+)*];

        /// Runs a test; returns the text of its failure, if it fails.
        fn failure_of(test: fn()) -> Option<String> {
            let panic = std::panic::catch_unwind(test).err()?;
            let text = panic.downcast_ref::<String>().cloned();
            Some(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
        }

        #[test]
        fn each_broken_rule_is_detected_by_the_test_that_holds_it() {
            let is_held = |mutation: &&Mutation| TABLE.iter().any(|line| line.mutation == **mutation);
            let missing: Vec<&Mutation> =
                Mutation::ALL.iter().filter(|mutation| mutation.is_tested_here() && !is_held(mutation)).collect();
            assert!(missing.is_empty(), "no test of the table holds these rules: {missing:?}");
            let mut faults = Vec::new();
            for Detection { mutation, name, test, says } in TABLE {
                let broken = BrokenRule::new(*mutation);
                match failure_of(*test) {
                    None => faults.push(format!("{mutation:?} is not detected by {name}")),
                    Some(failure) if !failure.contains(says) => {
                        faults.push(format!("{mutation:?} is detected by {name}, which does not say {says:?}: {failure}"));
                    }
                    Some(_) => {}
                }
                drop(broken);
            }
            assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), TABLE.len(), faults.join("\n"));
        }

        #[test]
        fn with_all_rules_in_force_the_tests_of_the_table_pass() {
            let tests: std::collections::BTreeMap<&str, fn()> = TABLE.iter().map(|line| (line.name, line.test)).collect();
            let failed: Vec<String> =
                tests.iter().filter_map(|(name, test)| Some(format!("{name}: {}", failure_of(*test)?))).collect();
            assert!(failed.is_empty(), "{failed:?}");
        }
    };
}
