//! Tables of multiples of a point that many multiplications share: of keys that sign often, and of the generator.
//!
//! Row j of a table has the multiples 1 to 2^(width - 1) of 2^(width · j) times the point. A product with a half of
//! a scalar is then a sum of one entry per row, without a doubling. λ times the point needs no table of its own: the
//! products with all second halves are added up apart, and their sum is multiplied by λ.
//!
//! Source: E. Brickell, D. Gordon, K. McCurley, D. Wilson, "Fast Exponentiation with Precomputation", 1992.

use std::sync::OnceLock;

use k256::Scalar;

use crate::{
    lists::pair_sums,
    point::{Jacobian, Point},
    split::{split, windows},
};

/// Width of the digits for a key: 19 rows of 64 points are 78 KB.
const KEY_WIDTH: u32 = 7;

/// Width of the digits for the generator: 13 rows of 512 points are 426 KB.
const GENERATOR_WIDTH: u32 = 10;

/// Multiples of a point.
struct Table {
    width: u32,
    entries: Vec<Point>,
}

/// A sum of products: the sum of the products with first halves, and of those with second halves, which is still to be
/// multiplied by λ.
pub(crate) struct Sums {
    first: Jacobian,
    second: Jacobian,
}

/// A public key with a table of its multiples, 78 KB. With it, a check has less than half of the cost. It costs
/// as much to make as about seven checks without it.
pub struct KnownKey {
    point: Point,
    table: Table,
}

impl KnownKey {
    /// Makes the table of a key. Cost: about 250 µs.
    pub fn new(key: &Point) -> Self {
        Self { point: *key, table: Table::new(key, KEY_WIDTH) }
    }

    /// Returns the key as a point.
    pub fn point(&self) -> &Point {
        &self.point
    }

    /// Returns u1 · G + u2 · Q, where G is the generator and Q this key.
    pub(crate) fn combination(&self, u1: &Scalar, u2: &Scalar) -> Jacobian {
        let mut sums = Sums::new();
        self.table.add_product(u2, &mut sums);
        sums.add_generator(u1);
        sums.total()
    }
}

impl std::fmt::Debug for KnownKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownKey").field("point", &self.point).finish_non_exhaustive()
    }
}

impl Table {
    fn new(point: &Point, width: u32) -> Self {
        let size = 1 << (width - 1);
        let mut power = Jacobian::from(*point);
        let mut powers = Vec::with_capacity(windows(width));
        for _ in 0..windows(width) {
            powers.push(power);
            power = (0..width).fold(power, |power, _| power.double());
        }
        let mut rows: Vec<Vec<Point>> =
            Jacobian::to_points(&powers).into_iter().flatten().map(|power| vec![power]).collect();
        while rows.first().is_some_and(|row| row.len() < size) {
            // From the multiples 1 to m of each row follow m + 1 to 2 m.
            let pairs = rows.iter().flat_map(|row| row.iter().map(|entry| [*entry, row[row.len() - 1]]));
            let mut sums = pair_sums(pairs).into_iter().flatten();
            for row in &mut rows {
                row.extend(sums.by_ref().take(row.len()));
            }
        }
        Self { width, entries: rows.concat() }
    }

    /// Adds the product of a scalar with the point. Cost: two additions for each row.
    fn add_product(&self, scalar: &Scalar, sums: &mut Sums) {
        let [first, second] = split(scalar);
        let rows = self.entries.chunks_exact(1 << (self.width - 1));
        for ((row, first), second) in rows.zip(first.window_digits(self.width)).zip(second.window_digits(self.width)) {
            add_multiple(&mut sums.first, row, first);
            add_multiple(&mut sums.second, row, second);
        }
    }
}

/// Adds the multiple of a row for a digit.
#[inline]
fn add_multiple(sum: &mut Jacobian, row: &[Point], digit: i32) {
    if digit != 0 {
        *sum = sum.plus_point(&row[digit.unsigned_abs() as usize - 1].negated_if(digit < 0));
    }
}

impl Sums {
    /// Creates an empty sum.
    pub(crate) fn new() -> Self {
        Self { first: Jacobian::IDENTITY, second: Jacobian::IDENTITY }
    }

    /// Adds the product of a scalar with the generator. Cost: 26 additions; about 1.5 ms in the first call.
    pub(crate) fn add_generator(&mut self, scalar: &Scalar) {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| Table::new(&Point::GENERATOR, GENERATOR_WIDTH)).add_product(scalar, self);
    }

    /// Returns the sum of all products.
    pub(crate) fn total(&self) -> Jacobian {
        self.first.plus(&self.second.times_lambda())
    }
}
