//! Computes with integers of 256 and 512 bits, as arrays of 64-bit words. The least significant word is the first.

/// Returns the low 256 bits of a sum, and true if the sum has a 257th bit.
#[inline(always)]
pub(crate) fn add(a: &[u64; 4], b: &[u64; 4]) -> ([u64; 4], bool) {
    let (w0, carry) = a[0].overflowing_add(b[0]);
    let (w1, carry) = a[1].carrying_add(b[1], carry);
    let (w2, carry) = a[2].carrying_add(b[2], carry);
    let (w3, carry) = a[3].carrying_add(b[3], carry);
    ([w0, w1, w2, w3], carry)
}

/// Returns a difference modulo 2^256, and true if it is negative.
#[inline(always)]
pub(crate) fn sub(a: &[u64; 4], b: &[u64; 4]) -> ([u64; 4], bool) {
    let (w0, borrow) = a[0].overflowing_sub(b[0]);
    let (w1, borrow) = a[1].borrowing_sub(b[1], borrow);
    let (w2, borrow) = a[2].borrowing_sub(b[2], borrow);
    let (w3, borrow) = a[3].borrowing_sub(b[3], borrow);
    ([w0, w1, w2, w3], borrow)
}

/// Returns the 320 bits of a product with one word.
#[inline(always)]
pub(crate) fn product_with_word(a: &[u64; 4], b: u64) -> [u64; 5] {
    let (w0, h0) = a[0].carrying_mul(b, 0);
    let (l1, h1) = a[1].carrying_mul(b, 0);
    let (l2, h2) = a[2].carrying_mul(b, 0);
    let (l3, h3) = a[3].carrying_mul(b, 0);
    let (w1, carry) = l1.overflowing_add(h0);
    let (w2, carry) = l2.carrying_add(h1, carry);
    let (w3, carry) = l3.carrying_add(h2, carry);
    [w0, w1, w2, w3, h3.wrapping_add(carry.into())]
}

/// Returns a product with one word, plus 256 bits: the sum has at most 320 bits.
#[inline(always)]
pub(crate) fn product_with_word_plus(a: &[u64; 4], b: u64, c: &[u64; 4]) -> [u64; 5] {
    let [w0, w1, w2, w3, w4] = product_with_word(a, b);
    let (sum, carry) = add(&[w0, w1, w2, w3], c);
    [sum[0], sum[1], sum[2], sum[3], w4.wrapping_add(carry.into())]
}

/// Returns the 512 bits of a product.
///
/// The products of a row are added up in one chain of carries. This needs fewer instructions than a carry of a whole
/// word from each product to the next.
#[inline(always)]
pub(crate) fn product(a: &[u64; 4], b: &[u64; 4]) -> [u64; 8] {
    let [r0, w1, w2, w3, w4] = product_with_word(b, a[0]);
    let [r1, w2, w3, w4, w5] = product_with_word_plus(b, a[1], &[w1, w2, w3, w4]);
    let [r2, w3, w4, w5, w6] = product_with_word_plus(b, a[2], &[w2, w3, w4, w5]);
    let [r3, r4, r5, r6, r7] = product_with_word_plus(b, a[3], &[w3, w4, w5, w6]);
    [r0, r1, r2, r3, r4, r5, r6, r7]
}

/// Returns the 512 bits of a square, with 10 multiplications of words instead of 16.
#[inline(always)]
pub(crate) fn square(a: &[u64; 4]) -> [u64; 8] {
    // The products of two different words, each once.
    let (w1, carry) = a[0].carrying_mul(a[1], 0);
    let (w2, carry) = a[0].carrying_mul(a[2], carry);
    let (w3, w4) = a[0].carrying_mul(a[3], carry);
    let (w3, carry) = a[1].carrying_mul_add(a[2], w3, 0);
    let (w4, w5) = a[1].carrying_mul_add(a[3], w4, carry);
    let (w5, w6) = a[2].carrying_mul(a[3], w5);
    // Twice these products. The top bit of each word moves to the next word.
    let [d1, d2, d3] = [w1 << 1, w2 << 1 | w1 >> 63, w3 << 1 | w2 >> 63];
    let [d4, d5, d6, d7] = [w4 << 1 | w3 >> 63, w5 << 1 | w4 >> 63, w6 << 1 | w5 >> 63, w6 >> 63];
    // The squares of the words.
    let (s0, s1) = a[0].carrying_mul(a[0], 0);
    let (s2, s3) = a[1].carrying_mul(a[1], 0);
    let (s4, s5) = a[2].carrying_mul(a[2], 0);
    let (s6, s7) = a[3].carrying_mul(a[3], 0);
    let (r1, carry) = d1.overflowing_add(s1);
    let (r2, carry) = d2.carrying_add(s2, carry);
    let (r3, carry) = d3.carrying_add(s3, carry);
    let (r4, carry) = d4.carrying_add(s4, carry);
    let (r5, carry) = d5.carrying_add(s5, carry);
    let (r6, carry) = d6.carrying_add(s6, carry);
    let (r7, _) = d7.carrying_add(s7, carry);
    [s0, r1, r2, r3, r4, r5, r6, r7]
}

/// Reads 32 big-endian bytes.
#[inline]
pub(crate) fn from_bytes(bytes: &[u8; 32]) -> [u64; 4] {
    let (words, _) = bytes.as_chunks::<8>();
    [3, 2, 1, 0].map(|at| u64::from_be_bytes(words[at]))
}

/// Writes 32 big-endian bytes.
#[inline]
pub(crate) fn to_bytes(words: &[u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let (chunks, _) = bytes.as_chunks_mut::<8>();
    for (chunk, word) in chunks.iter_mut().zip(words.iter().rev()) {
        *chunk = word.to_be_bytes();
    }
    bytes
}
