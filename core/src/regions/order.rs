//! Sorting edges by weight.
//!
//! A weight's key is its bits as an f32. A counting pass by the key's upper part, counted from
//! 2^-15, makes buckets that fit the processor's cache; in a bucket, a second one by a lower part
//! puts edges nearly in order, and insertion does the rest. The few edges of equal key are then
//! ordered exactly, by their f64 weights.

use super::edges::{Edge, Joint, edge_id, edge_key};
use super::smoothing::{Weights, resize};

const HIGH_BITS: u32 = 11;
pub(super) const HIGH_DIGITS: usize = 1 << HIGH_BITS;
const LOW_BITS: u32 = 8;
const LOW_DIGITS: usize = 1 << LOW_BITS;
/// What is left of the 27 bits that f32s between 2^-15 and 2 take.
const HIGH_SHIFT: u32 = 2 * LOW_BITS;
const KEY_FLOOR: u32 = 0x3800_0000; // 2^-15
/// Buckets up to this size are sorted by comparing.
const SMALL_BUCKET: usize = 32;

/// Monotone in the weight; uses all digits for weights below 2 (they reach √3).
#[inline]
pub(super) fn high_digit(key: u32) -> usize {
    (key.saturating_sub(KEY_FLOOR) >> HIGH_SHIFT) as usize % HIGH_DIGITS
}

#[inline]
fn middle_digit(key: u32) -> usize {
    (key.saturating_sub(KEY_FLOOR) >> LOW_BITS) as usize % LOW_DIGITS
}

#[inline]
fn low_digit(key: u32) -> usize {
    key.saturating_sub(KEY_FLOOR) as usize % LOW_DIGITS
}

/// The edges of a tile in buckets of ascending weight, each bucket in order of direction and
/// pixel: where each bucket ends.
///
/// Sorting is left to [`Sorter`]: by the time that the heavier buckets come up, many of
/// their edges lie within a segment and need no order.
#[derive(Debug)]
pub(super) struct Buckets<'a, E> {
    edges: &'a [E],
    ends: [u32; HIGH_DIGITS],
}

impl<'a, E: Joint> Buckets<'a, E> {
    /// Sorts `lists`, one after the other, into `to`.
    pub(super) fn sort(lists: &[Vec<E>], to: &'a mut Vec<E>) -> Self {
        let mut ends = [0; HIGH_DIGITS];
        for list in lists {
            list.iter().for_each(|&edge| ends[high_digit(edge.key())] += 1);
        }
        resize(to, lists.iter().map(Vec::len).sum());
        sums_before(&mut ends);
        for list in lists {
            scatter(list, to, &mut ends, high_digit);
        }
        // Scattering has moved each bucket's place to its end.
        Self { edges: to, ends }
    }

    /// The buckets, lightest first; some are empty.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[E]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(&start, &end)| &self.edges[start as usize..end as usize])
    }
}

/// Sorts buckets.
#[derive(Debug, Default)]
pub(super) struct Sorter<E> {
    between: Vec<E>,
    pub(super) ordered: Vec<E>,
    exact: Exact<E>,
}

impl<E: Joint> Sorter<E> {
    /// Sorts the edges of one bucket into `ordered` by weight; equal weights by direction and
    /// pixel. Returns how many there are; what is behind them is of other buckets.
    pub(super) fn sort(&mut self, bucket: &[E], weights: &Weights) -> usize {
        let count = self.sort_keys(bucket);
        self.exact.sort(&mut self.ordered[..count], E::edge, weights);
        count
    }

    /// As [`Self::sort`], but those of equal key are left to [`Exact`].
    pub(super) fn sort_keys(&mut self, bucket: &[E]) -> usize {
        let count = bucket.len();
        for list in [&mut self.between, &mut self.ordered] {
            resize(list, count.max(list.len()));
        }
        let ordered = &mut self.ordered[..count];
        if count <= SMALL_BUCKET {
            ordered.copy_from_slice(bucket);
            ordered.sort_unstable_by_key(|edge| edge.edge());
        } else {
            sort_by_digits(bucket, &mut self.between[..count], ordered);
        }
        count
    }
}

fn sort_by_digits<E: Joint>(from: &[E], between: &mut [E], to: &mut [E]) {
    let mut places = [[0; LOW_DIGITS]; 2];
    for &edge in from {
        places[0][low_digit(edge.key())] += 1;
        places[1][middle_digit(edge.key())] += 1;
    }
    places.iter_mut().for_each(sums_before);
    scatter(from, between, &mut places[0], low_digit);
    scatter(between, to, &mut places[1], middle_digit);
}

fn sums_before<const DIGITS: usize>(counts: &mut [u32; DIGITS]) {
    let mut start = 0;
    for count in counts {
        start += std::mem::replace(count, start);
    }
}

/// One stable counting pass from `from` to `to`. `places` says where each digit's edges start,
/// and afterwards where they end.
fn scatter<E: Joint, const DIGITS: usize>(
    from: &[E], to: &mut [E], places: &mut [u32; DIGITS], digit: impl Fn(u32) -> usize,
) {
    for &edge in from {
        let place = &mut places[digit(edge.key())];
        to[*place as usize] = edge;
        *place += 1;
    }
}

/// Scratch for putting things in exact order.
#[derive(Debug)]
pub(super) struct Exact<T> {
    /// Exact places in the order, and which of the things it is.
    places: Vec<(u64, u32, u32)>,
    things: Vec<T>,
}

impl<T> Default for Exact<T> {
    fn default() -> Self {
        Self { places: Vec::new(), things: Vec::new() }
    }
}

impl<T: Copy> Exact<T> {
    /// Puts what has edges of equal key in exact order.
    pub(super) fn sort(&mut self, ordered: &mut [T], edge: impl Fn(T) -> Edge, weights: &Weights) {
        for run in ordered.chunk_by_mut(|&a, &b| edge_key(edge(a)) == edge_key(edge(b))) {
            match run {
                [_] => (),
                // Colours that differ do so by more than what rounds to 0.
                [first, ..] if edge_key(edge(*first)) == 0 => run.sort_unstable_by_key(|&at| edge(at)),
                _ => self.sort_run(run, &edge, weights),
            }
        }
    }

    fn sort_run(&mut self, run: &mut [T], edge: impl Fn(T) -> Edge, weights: &Weights) {
        self.places.clear();
        self.things.clear();
        self.places.extend(run.iter().zip(0..).map(|(&at, which)| {
            let (weight, id) = weights.exact(edge_id(edge(at)));
            (weight, id, which)
        }));
        self.things.extend_from_slice(run);
        self.places.sort_unstable();
        for (to, &(.., which)) in run.iter_mut().zip(&self.places) {
            *to = self.things[which as usize];
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::regions::edges::{edge, key, new_id};
    use crate::regions::smoothing::Colours;
    use crate::regions::tiles::Area;

    #[test]
    fn digits_are_monotone_and_tell_all_keys_apart() {
        let weights = [0.0, 1e-300, 1e-9, 3.0e-5, 3.1e-5, 0.1, 0.100_001, 1.0, 3f64.sqrt()];
        let digits = weights.map(|weight| {
            let key = key(weight);
            (high_digit(key), middle_digit(key), low_digit(key))
        });
        assert!(digits.is_sorted());
        assert!(digits[3] < digits[4] && digits[5] < digits[6]);
    }

    /// Weights that are equal as f32 but not as f64, few and many of them.
    #[test]
    fn equal_keys_are_ordered_exactly() {
        for width in [9, 300] {
            let (mut colours, height) = (Colours::default(), 3);
            let rgb: Vec<u8> = (0..width * height).flat_map(|at| [(at % width % 256) as u8; 3]).collect();
            colours.smooth(&rgb, (width, height), 0.8);
            let weights = colours.weights(Area { x: 0, y: 0, width, height });
            let ids = (0..width * height).filter(|at| at % width < width - 1).map(|at| new_id(0, at));
            let edges: Vec<Edge> = ids.map(|id| edge(key(weights.weight(id)), id)).collect();
            let middle = edges.iter().filter(|&&edge| edge_key(edge) == edge_key(edges[4])).copied();
            let middle: Vec<Edge> = middle.collect();
            let exact = |&edge: &Edge| weights.exact(edge_id(edge));
            assert!(middle.len() > 4 && !middle.is_sorted_by_key(exact));
            let mut sorter = Sorter::default();
            let count = sorter.sort(&middle, &weights);
            assert_eq!(count, middle.len());
            assert!(sorter.ordered[..count].is_sorted_by_key(exact));
        }
    }
}
