//! Randomness of the operating system.

use crate::error::FileError;

/// Returns random bytes of the operating system, suitable for secrets.
///
/// Errors: [`FileError::Randomness`] if the operating system returns none.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], FileError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| FileError::Randomness(error.to_string()))?;
    Ok(bytes)
}
