//! From coefficients to samples: the inverse cosine transform, at 8, 4, 2 or 1 samples a side.
//!
//! In fixed point, with the roundings of the usual decoders, so that the results are theirs.

use super::NotMine;
use super::bits::Bits;
use super::huffman::{self, Codes};
use super::layout::SIDE;

/// Eight numbers in a row.
type Lanes = [i32; SIDE];

/// Bits after the point of the cosines.
const POINT: u32 = 12;
/// Bits that are left after the point between columns and rows.
const BETWEEN: u32 = 2;
/// `√2·cos((2x+1)uπ/16)` for each frequency `u`, 1 for 0; in the low bits as sums of the rounded constants
/// of the factorisation by Loeffler, Ligtenberg and Moshovitz, which other decoders use.
const COSINES: [Lanes; SIDE] = [
    [4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096],
    [5683, 4816, 3219, 1131, -1131, -3219, -4816, -5683],
    [5352, 2217, -2217, -5352, -5352, -2217, 2217, 5352],
    [4816, -1129, -5681, -3218, 3218, 5681, 1129, -4816],
    [4096, -4096, -4096, 4096, 4096, -4096, -4096, 4096],
    [3219, -5681, 1132, 4816, -4816, -1132, 5681, -3219],
    [2217, -5350, 5350, -2217, -2217, 5350, -5350, 2217],
    [1131, -3218, 4816, -5680, 5680, -4816, 3218, -1131],
];
/// Places of the order of the file, with room for those that a damaged one goes on to.
const PLACES: usize = 128;

/// What makes samples of a component's coefficients.
#[derive(Debug)]
pub(super) struct Transform {
    /// For each place in the order of the file: the step of its coefficient, and where that is in a block.
    places: [(i32, u8); PLACES],
    /// For each frequency, what it adds to the samples of a row.
    across: [Lanes; SIDE],
    /// And to those of a column.
    down: [Lanes; SIDE],
    /// Samples of a block, across and down.
    side: (usize, usize),
    /// The last place in the order of the file whose coefficient matters.
    last: usize,
}

impl Transform {
    /// For coefficients in `steps`, to blocks of `side` samples.
    pub(super) fn new(steps: &[u8; 64], side: (usize, usize)) -> Self {
        let mut places = [(0, 0); PLACES];
        let mut last = 0;
        for (place, (row, column)) in zigzag().into_iter().enumerate() {
            places[place] = (i32::from(steps[place]), (SIDE * row + column) as u8);
            if row < side.1 && column < side.0 {
                last = place;
            }
        }
        Self { places, across: cosines(side.0), down: cosines(side.1), side, last }
    }

    /// Reads the coefficients of a block, of which the first is `mean`, and writes its samples.
    #[inline(always)]
    pub(super) fn block(
        &self, bits: &mut Bits<'_>, codes: &Codes, mean: i32, out: &mut [u8], stride: usize,
    ) -> Result<(), NotMine> {
        let mut block = [[0; SIDE]; SIDE];
        let coefficients = block.as_flattened_mut();
        // Only a damaged file can go beyond 32 bits, here and below.
        coefficients[0] = mean.wrapping_mul(self.places[0].0);
        let last = huffman::others(bits, codes, self.last, |place, value| {
            let (step, at) = self.places[place % PLACES];
            coefficients[usize::from(at) % (SIDE * SIDE)] = value.wrapping_mul(step);
        })?;
        if last == 0 {
            let level = sample(block[0][0].wrapping_mul(1 << (POINT + BETWEEN)));
            out.chunks_mut(stride).take(self.side.1).for_each(|row| row[..self.side.0].fill(level));
        } else if self.side == (SIDE, SIDE) {
            // Up to here are the first four frequencies; most blocks, those of chroma, have no others.
            const CORNER: usize = 9;
            if last <= CORNER {
                write_whole(&block, 4, out, stride);
            } else {
                write_whole(&block, SIDE, out, stride);
            }
        } else {
            self.write_reduced(&block, out, stride);
        }
        Ok(())
    }

    /// Writes the samples of a block that comes out smaller.
    #[inline(always)]
    fn write_reduced(&self, block: &[Lanes; SIDE], out: &mut [u8], stride: usize) {
        let (width, height) = self.side;
        for (y, out) in out.chunks_mut(stride).take(height).enumerate() {
            let mut row = [0i32; SIDE];
            for (frequencies, cosines) in block.iter().zip(&self.down).take(height) {
                for x in 0..SIDE {
                    row[x] = row[x].wrapping_add(frequencies[x].wrapping_mul(cosines[y]));
                }
            }
            for value in &mut row {
                *value = between(*value);
            }
            let levels = levels(&row, &self.across, width);
            out.iter_mut().zip(levels).take(width).for_each(|(out, level)| *out = sample(level));
        }
    }
}

/// Writes the samples of a whole block, in which the first `count` frequencies matter.
#[inline(always)]
fn write_whole(block: &[Lanes; SIDE], count: usize, out: &mut [u8], stride: usize) {
    let mut columns = [[0; SIDE]; SIDE];
    for y in 0..SIDE / 2 {
        // Even frequencies are the same from the other end, odd ones opposite.
        let even = products(block, (0, count), y);
        let odd = products(block, (1, count), y);
        for x in 0..SIDE {
            columns[y][x] = between(even[x].wrapping_add(odd[x]));
            columns[SIDE - 1 - y][x] = between(even[x].wrapping_sub(odd[x]));
        }
    }
    for (out, row) in out.chunks_mut(stride).zip(&columns) {
        if let Some(out) = out.first_chunk_mut::<SIDE>() {
            let levels = levels(row, &COSINES, count);
            for x in 0..SIDE {
                out[x] = sample(levels[x]);
            }
        }
    }
}

/// What every other frequency of some adds to row `y` of all columns.
#[inline(always)]
fn products(block: &[Lanes; SIDE], (first, end): (usize, usize), y: usize) -> Lanes {
    let mut sums = [0i32; SIDE];
    for u in (first..end).step_by(2) {
        for x in 0..SIDE {
            sums[x] = sums[x].wrapping_add(block[u][x].wrapping_mul(COSINES[u][y]));
        }
    }
    sums
}

/// The sums of a row whose first `count` frequencies matter.
#[inline(always)]
fn levels(row: &Lanes, cosines: &[Lanes; SIDE], count: usize) -> Lanes {
    let mut levels = [0i32; SIDE];
    for u in 0..count {
        for x in 0..SIDE {
            levels[x] = levels[x].wrapping_add(row[u].wrapping_mul(cosines[u][x]));
        }
    }
    levels
}

/// A sum of a column, rounded to what rows start from.
#[inline(always)]
fn between(sum: i32) -> i32 {
    const DROPPED: u32 = POINT - BETWEEN;
    sum.wrapping_add(1 << (DROPPED - 1)) >> DROPPED
}

/// A sum of a row as a sample, 128 for 0.
#[inline(always)]
fn sample(sum: i32) -> u8 {
    // Two transforms of eight make everything 8 times as large.
    const DROPPED: u32 = POINT + BETWEEN + 3;
    // A little more than a half, as `zune-jpeg` has it.
    const HALF: i32 = (1 << (DROPPED - 1)) + (1 << (POINT - BETWEEN - 1));
    let level = sum.wrapping_add(HALF + (128 << DROPPED)) >> DROPPED;
    level.clamp(0, 255) as u8
}

/// The cosines for `side` samples: of the frequencies that so few can show, the others being 0.
fn cosines(side: usize) -> [Lanes; SIDE] {
    if side == SIDE {
        return COSINES;
    }
    let mut cosines = [[0; SIDE]; SIDE];
    for (u, row) in cosines.iter_mut().enumerate() {
        for (y, cosine) in row.iter_mut().enumerate().take(side) {
            *cosine = reduced(u, y, side);
        }
    }
    cosines
}

/// `√2·cos((2y+1)uπ/2N)` of `N` samples.
fn reduced(u: usize, y: usize, side: usize) -> i32 {
    if u >= side {
        return 0;
    }
    let angle = ((2 * y + 1) * u) as f64 * std::f64::consts::PI / (2 * side) as f64;
    let factor = if u == 0 { 1.0 } else { std::f64::consts::SQRT_2 };
    (f64::from(1 << POINT) * factor * angle.cos()).round() as i32
}

/// Row and column of each coefficient in the order of the file: along the diagonals, to and fro.
fn zigzag() -> [(usize, usize); SIDE * SIDE] {
    let mut order = [(0, 0); SIDE * SIDE];
    let places = (0..2 * SIDE - 1).flat_map(|sum| {
        let along = (0..=sum).filter(move |&i| i < SIDE && sum - i < SIDE);
        along.map(move |i| if sum % 2 == 0 { (sum - i, i) } else { (i, sum - i) })
    });
    order.iter_mut().zip(places).for_each(|(entry, place)| *entry = place);
    order
}
