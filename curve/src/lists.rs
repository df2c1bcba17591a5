//! Adds up many lists of affine points together.
//!
//! An addition of affine points costs a division in the field, and three multiplications instead if many divisions
//! share one inversion. So the points of each list are added in pairs, in all lists at the same time, until each
//! list has one point at most.

use crate::{field::Field, point::Point};

/// Lists of points, one behind the other.
pub(crate) struct Lists {
    /// The points of all lists are from `start` on.
    points: Vec<Point>,
    start: usize,
    lengths: Vec<usize>,
    denominators: Vec<Field>,
    scratch: Vec<Field>,
}

impl Lists {
    /// Creates lists with these lengths; `points` are their points, list by list.
    pub(crate) fn new(points: Vec<Point>, lengths: Vec<usize>) -> Self {
        Self { points, start: 0, lengths, denominators: Vec::new(), scratch: Vec::new() }
    }

    /// Returns the sum of each list, `None` for the point at infinity. Any points may be equal or opposite.
    ///
    /// Cost: 5 multiplications and a squaring for each addition, and one inversion for each halving of the longest
    /// list.
    pub(crate) fn sums(mut self) -> Vec<Option<Point>> {
        while self.lengths.iter().any(|length| *length > 1) {
            self.halve();
        }
        let mut points = self.points[self.start..].iter();
        self.lengths.iter().map(|length| if *length == 1 { points.next().copied() } else { None }).collect()
    }

    /// Adds the points of each list in pairs, so that the sum of each list stays the same.
    fn halve(&mut self) {
        self.denominators.clear();
        let mut from = self.start;
        for length in &self.lengths {
            let (pairs, _) = self.points[from..from + length].as_chunks::<2>();
            self.denominators.extend(pairs.iter().map(|[a, b]| denominator(a, b)));
            from += length;
        }
        Field::invert_all(&mut self.denominators, &mut self.scratch);
        // The sums are written from the end of the vector on, where the pairs have been read already.
        let (mut from, mut to) = (self.points.len(), self.points.len());
        let mut inverses = self.denominators.iter().rev();
        for length in self.lengths.iter_mut().rev() {
            let end = to;
            if *length % 2 == 1 {
                (from, to) = (from - 1, to - 1);
                self.points[to] = self.points[from];
            }
            for inverse in inverses.by_ref().take(*length / 2) {
                from -= 2;
                if let Some(sum) = sum(&self.points[from], &self.points[from + 1], *inverse) {
                    to -= 1;
                    self.points[to] = sum;
                }
            }
            *length = end - to;
        }
        self.start = to;
    }
}

/// Adds the points of each pair. `None` is the point at infinity.
pub(crate) fn pair_sums(pairs: impl Iterator<Item = [Point; 2]>) -> Vec<Option<Point>> {
    let points: Vec<Point> = pairs.flatten().collect();
    let lengths = vec![2; points.len() / 2];
    Lists::new(points, lengths).sums()
}

/// Returns the denominator of the slope of the line through two points. It is zero for opposite points.
#[inline]
fn denominator(a: &Point, b: &Point) -> Field {
    let difference = b.x - a.x;
    if difference.is_zero() { a.y + b.y } else { difference }
}

/// Returns the sum of two points, for the inverse of the denominator of their slope.
#[inline]
fn sum(a: &Point, b: &Point, inverse: Field) -> Option<Point> {
    let difference = b.x - a.x;
    let numerator = match difference.is_zero() {
        false => b.y - a.y,
        // The slope of the tangent is 3 x² / 2 y, and y + y is the denominator of a point and itself.
        true if a.y == b.y => a.x.square().times(3),
        true => return None,
    };
    let slope = numerator * inverse;
    let x = slope.square() - a.x - b.x;
    Some(Point { x, y: slope * (a.x - x) - a.y })
}

#[cfg(test)]
mod tests {
    use k256::{ProjectivePoint, Scalar};

    use super::*;
    use crate::samples::Random;

    fn point(factor: i64) -> ProjectivePoint {
        let product = ProjectivePoint::GENERATOR * Scalar::from(factor.unsigned_abs());
        if factor < 0 { -product } else { product }
    }

    /// Compares the sums of lists of small multiples of the generator, none of which is zero.
    fn check(lists: &[Vec<i64>]) {
        let points = lists.iter().flatten().map(|factor| Point::from_k256(&point(*factor).to_affine()).unwrap());
        let sums = Lists::new(points.collect(), lists.iter().map(Vec::len).collect()).sums();
        let expected: Vec<Option<Point>> =
            lists.iter().map(|list| Point::from_k256(&point(list.iter().sum()).to_affine())).collect();
        assert_eq!(sums, expected, "{lists:?}");
    }

    #[test]
    fn lists_of_equal_and_opposite_points_are_added_up() {
        check(&[]);
        check(&[vec![], vec![]]);
        // All lists of up to four points with these factors.
        let factors = [1, -1, 2, -2, 3];
        let longer = |lists: &[Vec<i64>]| -> Vec<Vec<i64>> {
            lists.iter().flat_map(|list| factors.map(|factor| [list.as_slice(), &[factor]].concat())).collect()
        };
        let mut lists = vec![vec![]];
        let mut all = lists.clone();
        for _ in 0..4 {
            lists = longer(&lists);
            all.extend_from_slice(&lists);
        }
        check(&all);
        all.iter().take(156).for_each(|list| check(std::slice::from_ref(list)));
        check(&[vec![5; 64], vec![], vec![7], vec![1, -1], vec![4; 33]]);
    }

    #[test]
    fn random_lists_are_added_up() {
        let mut random = Random(1);
        for _ in 0..200 {
            let mut factor = || match random.below(9) as i64 - 4 {
                0 => 1000,
                small => small,
            };
            let lengths: Vec<i64> = (0..6).map(|_| factor()).collect();
            let lists: Vec<Vec<i64>> =
                lengths.iter().map(|length| (0..length.rem_euclid(17)).map(|_| factor()).collect()).collect();
            check(&lists);
        }
    }
}
