//! Rules of a crate that can be broken on purpose, to prove that its tests hold them.

/// Defines the type `Mutation` with these names, the function `mutated`, which returns true for the rule that is broken in
/// this thread, and the type `BrokenRule`, which breaks one while it lives.
///
/// The crate that uses it has the feature `mutations`. Without the feature, `mutated` is the constant `false`, so that the
/// compiler removes every question and what depends on it.
#[macro_export]
macro_rules! mutations {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// A rule that is switched off or broken, to prove that a test or a checker notices it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutation {
            $($(#[doc = $doc])+ $name,)*
        }

        #[cfg(feature = "mutations")]
        impl Mutation {
            /// All mutations, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
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
            }

            impl Drop for BrokenRule {
                fn drop(&mut self) {
                    BROKEN.set(self.before);
                }
            }
        }
    };
}
