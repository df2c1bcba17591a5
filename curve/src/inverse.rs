//! Computes inverses modulo odd 256-bit integers, in variable time.
//!
//! The greatest common divisor of the modulus f and the element g is computed by division steps from the lowest bit: if
//! g is even, it is halved; if it is odd, f is added to it or g and f change places first, as a counter decides. The
//! next 62 steps depend on the lowest 62 bits of f and g only, so they are computed on single words, as a matrix of
//! four numbers. The matrix is then applied to f and g, and modulo the modulus to d and e, which keep
//! f = d · element and g = e · element.
//!
//! At most 741 steps, which are 12 matrices, make g zero for 256-bit integers. Then f is 1 or -1.
//!
//! Source: D. Bernstein, B.-Y. Yang, "Fast constant-time gcd computation and modular inversion", 2019.

/// Number of division steps per matrix, and of bits per limb.
const STEPS: u32 = 62;

/// The low 62 bits of a word.
const MASK: u64 = (1 << STEPS) - 1;

/// Maximum number of matrices until g is zero, by theorem 11.2 of the source: (49 · 256 + 57) / 17 = 741 steps.
const MATRICES_MAX: u32 = 12;
const _: () = assert!(MATRICES_MAX * STEPS >= (49 * 256 + 57) / 17);

/// A signed integer: the sum of limb i · 2^(62 i). All limbs but the last are from 0 to below 2^62.
type Limbs = [i64; 5];

/// An odd modulus from 2^255 to below 2^256.
pub(crate) struct Modulus {
    limbs: Limbs,
    /// The inverse of the modulus, modulo 2^62.
    inverse: u64,
}

/// Sixty-two division steps: they change (f, g) to (u f + v g, q f + r g) / 2^62.
struct Matrix {
    u: i64,
    v: i64,
    q: i64,
    r: i64,
}

impl Modulus {
    pub(crate) const fn new(words: [u64; 4]) -> Self {
        // Each step of Newton's iteration doubles the number of right bits; an odd number is its own inverse modulo 8.
        let mut inverse = words[0];
        let mut bits = 3;
        while bits < STEPS {
            inverse = inverse.wrapping_mul(2_u64.wrapping_sub(words[0].wrapping_mul(inverse)));
            bits *= 2;
        }
        Self { limbs: limbs(&words), inverse: inverse & MASK }
    }
}

/// Returns the inverse of an element below the modulus to which it is coprime, and zero for zero. Cost: about 1.5 µs.
pub(crate) fn inverse(element: &[u64; 4], modulus: &Modulus) -> [u64; 4] {
    let (mut f, mut g) = (modulus.limbs, limbs(element));
    let (mut d, mut e): (Limbs, Limbs) = ([0; 5], [1, 0, 0, 0, 0]);
    let mut delta = 1;
    for _ in 0..MATRICES_MAX {
        if g == [0; 5] {
            break;
        }
        let matrix = steps(&mut delta, f[0] as u64, g[0] as u64);
        (f, g) = matrix.applied(&f, &g);
        (d, e) = matrix.applied_modulo(&d, &e, modulus);
    }
    // d is from -2 moduli to 1 modulus, and f is 1 or -1.
    if d[4] < 0 {
        d = sum(&d, &modulus.limbs, 1);
    }
    if f[4] < 0 {
        d = sum(&[0; 5], &d, -1);
    }
    if d[4] < 0 {
        d = sum(&d, &modulus.limbs, 1);
    }
    let word = |at: usize| d[at] as u64 >> (2 * at) | (d[at + 1] as u64) << (STEPS - 2 * at as u32);
    [word(0), word(1), word(2), word(3)]
}

/// Computes the next division steps from the lowest words of f and g. `delta` is the counter of the source.
fn steps(delta: &mut i64, mut f: u64, mut g: u64) -> Matrix {
    let mut matrix = Matrix { u: 1, v: 0, q: 0, r: 1 };
    let mut left = STEPS;
    loop {
        // Steps with an even g. The added bit ends them after the last step.
        let zeros = (g | u64::MAX << left).trailing_zeros();
        g >>= zeros;
        matrix.u <<= zeros;
        matrix.v <<= zeros;
        *delta += i64::from(zeros);
        left -= zeros;
        if left == 0 {
            return matrix;
        }
        if *delta > 0 {
            *delta = -*delta;
            (f, g) = (g, f.wrapping_neg());
            matrix = Matrix { u: matrix.q, v: matrix.r, q: -matrix.u, r: -matrix.v };
        }
        // As long as delta is at most 0, f stays and is added to g where g is odd. These additions together make up to
        // six low bits of g zero: f times the negative of g/f is added. The inverse of f is f (2 - f²) modulo 64.
        let bits = left.min(6).min((1 - *delta).min(6) as u32);
        let inverse = f.wrapping_mul(2_u64.wrapping_sub(f.wrapping_mul(f)));
        let factor = g.wrapping_mul(inverse).wrapping_neg() & ((1 << bits) - 1);
        g = g.wrapping_add(f.wrapping_mul(factor));
        matrix.q += matrix.u * factor as i64;
        matrix.r += matrix.v * factor as i64;
    }
}

impl Matrix {
    /// Returns the next f and g. Both quotients by 2^62 are exact.
    fn applied(&self, f: &Limbs, g: &Limbs) -> (Limbs, Limbs) {
        (combination(self.u, f, self.v, g, 0, &[0; 5]), combination(self.q, f, self.r, g, 0, &[0; 5]))
    }

    /// Returns the next d and e. A multiple of the modulus is added, so that the quotients by 2^62 are exact, and so
    /// that the results are from -2 moduli to 1 modulus if d and e are.
    fn applied_modulo(&self, d: &Limbs, e: &Limbs, modulus: &Modulus) -> (Limbs, Limbs) {
        let row = |u: i64, v: i64| {
            let raised = (d[4] >> 63 & u) + (e[4] >> 63 & v);
            let lowest = (u as u64).wrapping_mul(d[0] as u64).wrapping_add((v as u64).wrapping_mul(e[0] as u64));
            let surplus = modulus.inverse.wrapping_mul(lowest).wrapping_add(raised as u64) & MASK;
            combination(u, d, v, e, raised - surplus as i64, &modulus.limbs)
        };
        (row(self.u, self.v), row(self.q, self.r))
    }
}

/// Returns (u a + v b + w c) / 2^62, which is exact. |u| + |v| is at most 2^62, and |w| is below 2^63.
#[inline(always)]
fn combination(u: i64, a: &Limbs, v: i64, b: &Limbs, w: i64, c: &Limbs) -> Limbs {
    let at = |i: usize| {
        i128::from(u) * i128::from(a[i]) + i128::from(v) * i128::from(b[i]) + i128::from(w) * i128::from(c[i])
    };
    let mut carry = at(0) >> STEPS;
    let mut quotient = [0; 5];
    for i in 1..5 {
        carry += at(i);
        quotient[i - 1] = carry as i64 & MASK as i64;
        carry >>= STEPS;
    }
    quotient[4] = carry as i64;
    quotient
}

/// Returns a + factor · b, for a factor of 1 or -1.
fn sum(a: &Limbs, b: &Limbs, factor: i64) -> Limbs {
    let mut carry = 0;
    let mut sum = [0; 5];
    for i in 0..5 {
        carry += a[i] + factor * b[i];
        sum[i] = if i < 4 { carry & MASK as i64 } else { carry };
        carry >>= STEPS;
    }
    sum
}

const fn limbs(words: &[u64; 4]) -> Limbs {
    let mask = MASK as u128;
    let [a, b, c, d] = [words[0] as u128, words[1] as u128, words[2] as u128, words[3] as u128];
    [
        (a & mask) as i64,
        ((a >> 62 | b << 2) & mask) as i64,
        ((b >> 60 | c << 4) & mask) as i64,
        ((c >> 58 | d << 6) & mask) as i64,
        (d >> 56) as i64,
    ]
}
