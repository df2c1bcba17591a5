//! The report of a violated condition.

/// A violated condition, with a description of the violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

/// Returns [`Broken`] with a formatted description from the current function if a condition does not hold.
macro_rules! ensure {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(Broken(format!($($what)*)));
        }
    };
}
pub(crate) use ensure;
