//! Convolutions of 3 × 3 by fewer products: 16 for each four outputs instead of 36 (Winograd's
//! F(2 × 2, 3 × 3); Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016).
//!
//! Weights, and what the kernel sees of 4 × 4 places, are brought to a form in which they are multiplied
//! number by number; sums over inputs are matrix products there, one for each of the 16 numbers.

use multiversion::multiversion;
use rayon::prelude::*;

use super::convolution::{Plane, Shape, Then, strip_rows};
use crate::cpu::gemm::{Job, Mat, run};

/// Numbers of a tile's form.
const FORM: usize = 16;
/// Channels that are brought to the form together.
const LANES: usize = 8;
/// Tiles of a strip at most, about: what is made of them stays in the cache.
const TILES: usize = 48;

type Lanes = [f32; LANES];

/// Weights in their form, `[FORM, inputs, outputs]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spread {
    weights: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

/// Room for one strip, `[FORM, tiles, channels]`.
#[derive(Default)]
struct Room {
    seen: Vec<f32>,
    sums: Vec<f32>,
}

impl Spread {
    /// Of `[3, 3, inputs, outputs]`; none for other kernels and strides, or odd numbers of channels.
    pub(super) fn new(shape: Shape, weights: &[f32]) -> Option<Self> {
        let Shape { kernel, stride, inputs, outputs, by_channel } = shape;
        let fits = inputs.is_multiple_of(LANES) && outputs.is_multiple_of(LANES);
        if by_channel || (kernel, stride) != (3, 1) || !fits {
            return None;
        }
        let each = inputs * outputs;
        let mut spread = vec![0.0; FORM * each];
        for at in 0..each {
            let rows: [[f32; 4]; 3] = std::array::from_fn(|row| {
                form(std::array::from_fn(|tap| weights[(3 * row + tap) * each + at]))
            });
            for column in 0..4 {
                let down = form(rows.map(|row| row[column]));
                (0..4).for_each(|row| spread[(4 * row + column) * each + at] = down[row]);
            }
        }
        Some(Self { weights: spread, inputs, outputs })
    }

    /// `values` are `[side, side, outputs]`.
    pub(super) fn run(&self, x: &Plane, bias: &[f32], then: Then<'_>, values: &mut [f32]) {
        let across = x.side.div_ceil(2);
        let line = (x.side * self.outputs).max(1);
        let rows = strip_rows(across, TILES / across.max(1));
        values.par_chunks_mut(2 * rows * line).enumerate().for_each_init(
            Room::default,
            |room, (at, values)| {
                let down = (values.len() / line).div_ceil(2);
                let tiles = down * across;
                room.seen.resize(FORM * tiles * self.inputs, 0.0);
                room.sums.resize(FORM * tiles * self.outputs, 0.0);
                bring(x, at * rows, [across, down], &mut room.seen);
                self.multiply(tiles, room);
                bring_back(&room.sums, bias, x.side, values);
                then.finish(values, at * 2 * rows * line);
            },
        );
    }

    fn multiply(&self, tiles: usize, room: &mut Room) {
        let (n, k) = (self.outputs, self.inputs);
        let job = Job { m: tiles, n, k, accumulate: false, scale: 1.0, parallel: false };
        let factors = room.seen.chunks_exact(tiles * k).zip(self.weights.chunks_exact(k * n));
        for (sums, (seen, weights)) in room.sums.chunks_exact_mut(tiles * n).zip(factors) {
            run(&job, sums, Mat::rows(seen, k), Mat::rows(weights, n));
        }
    }
}

/// Three weights in a row in their form.
fn form([a, b, c]: [f32; 3]) -> [f32; 4] {
    [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c]
}

/// Brings what the kernel sees of some rows of tiles, from the row `first` on, to its form.
#[multiversion(targets("x86_64+avx+avx2"))]
fn bring(x: &Plane, first: usize, [across, down]: [usize; 2], seen: &mut [f32]) {
    let nothing = vec![0.0; x.channels];
    let each = across * down * x.channels;
    for tile in 0..across * down {
        let (top, left) = (2 * (first + tile / across), 2 * (tile % across));
        let place = |at: usize| {
            // The tile's first row and column lie one before its outputs.
            let (row, column) = ((top + at / 4).wrapping_sub(1), (left + at % 4).wrapping_sub(1));
            if row < x.side && column < x.side { x.at(row, column) } else { &nothing[..] }
        };
        let places: [&[f32]; FORM] = std::array::from_fn(place);
        for lanes in (0..x.channels).step_by(LANES) {
            let mut half = [[0.0; LANES]; FORM];
            for row in 0..4 {
                let at = 4 * row;
                let (a, b) = (load(places[at], lanes), load(places[at + 1], lanes));
                let (c, d) = (load(places[at + 2], lanes), load(places[at + 3], lanes));
                half[at] = less(a, c);
                half[at + 1] = more(b, c);
                half[at + 2] = less(c, b);
                half[at + 3] = less(b, d);
            }
            for column in 0..4 {
                let (a, b, c, d) = (half[column], half[4 + column], half[8 + column], half[12 + column]);
                let to = tile * x.channels + lanes + column * each;
                store(seen, to, less(a, c));
                store(seen, to + 4 * each, more(b, c));
                store(seen, to + 8 * each, less(c, b));
                store(seen, to + 12 * each, less(b, d));
            }
        }
    }
}

/// Brings sums back from their form, and adds the bias; `values` are rows of `[side, outputs]`.
#[multiversion(targets("x86_64+avx+avx2"))]
fn bring_back(sums: &[f32], bias: &[f32], side: usize, values: &mut [f32]) {
    let (outputs, across) = (bias.len(), side.div_ceil(2));
    let (rows, each) = (values.len() / (side * outputs).max(1), sums.len() / FORM);
    for tile in 0..rows.div_ceil(2) * across {
        let (top, left) = (2 * (tile / across), 2 * (tile % across));
        for lanes in (0..outputs).step_by(LANES) {
            let from = tile * outputs + lanes;
            let mut half = [[0.0; LANES]; 8];
            for row in 0..4 {
                let at = from + 4 * row * each;
                let (a, b) = (load(sums, at), load(sums, at + each));
                let (c, d) = (load(sums, at + 2 * each), load(sums, at + 3 * each));
                half[2 * row] = more(more(a, b), c);
                half[2 * row + 1] = less(less(b, c), d);
            }
            let bias = load(bias, lanes);
            for column in 0..2.min(side - left) {
                let (a, b, c, d) = (half[column], half[2 + column], half[4 + column], half[6 + column]);
                let to = (top * side + left + column) * outputs + lanes;
                store(values, to, more(more(more(a, b), c), bias));
                if top + 1 < rows {
                    store(values, to + side * outputs, more(less(less(b, c), d), bias));
                }
            }
        }
    }
}

#[inline(always)]
fn load(from: &[f32], at: usize) -> Lanes {
    let mut lanes = [0.0; LANES];
    lanes.copy_from_slice(&from[at..][..LANES]);
    lanes
}

#[inline(always)]
fn store(to: &mut [f32], at: usize, lanes: Lanes) {
    to[at..][..LANES].copy_from_slice(&lanes);
}

#[inline(always)]
fn more(a: Lanes, b: Lanes) -> Lanes {
    let mut sums = a;
    for lane in 0..LANES {
        sums[lane] += b[lane];
    }
    sums
}

#[inline(always)]
fn less(a: Lanes, b: Lanes) -> Lanes {
    let mut differences = a;
    for lane in 0..LANES {
        differences[lane] -= b[lane];
    }
    differences
}
