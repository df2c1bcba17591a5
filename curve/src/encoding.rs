//! The form of a compressed point, the same for both kinds of arithmetic.
//!
//! Source: SEC 1, version 2.0, section 2.3.4.

/// Returns the x-coordinate of a compressed point and whether its y is odd: the first byte is 2 for an even y or 3 for
/// an odd one, then comes x. Returns `None` for other first bytes. x may be any 32 bytes.
pub(crate) fn x_and_parity(bytes: &[u8; 33]) -> Option<(&[u8; 32], bool)> {
    let ([first], x) = bytes.split_first_chunk::<1>()?;
    matches!(first, 2 | 3).then_some((x.try_into().ok()?, *first == 3))
}
