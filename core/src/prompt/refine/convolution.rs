//! Convolutions over square planes, for the [glance](super::glance).
//!
//! A plane is worked off in strips of rows that stay in the cache: what the kernel sees is laid out, the
//! sums are taken as matrix products, and what comes after them (a rectifier, another plane to add) is
//! done before the strip is left. Kernels of 3 × 3 go by fewer products (`winograd`).

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::winograd::Spread;
use crate::cpu::gemm::{Job, Mat, run};
use crate::cpu::math::Real;

/// What a layer is, besides its weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Every output sees its own input only.
    pub(super) by_channel: bool,
}

impl Shape {
    /// Every output sees all inputs.
    pub(super) fn dense(kernel: usize, stride: usize, inputs: usize, outputs: usize) -> Self {
        Self { kernel, stride, inputs, outputs, by_channel: false }
    }

    pub(super) fn by_channel(kernel: usize, stride: usize, channels: usize) -> Self {
        Self { by_channel: true, ..Self::dense(kernel, stride, channels, channels) }
    }

    /// Weights that each output has.
    pub(super) fn terms(&self) -> usize {
        self.kernel * self.kernel * if self.by_channel { 1 } else { self.inputs }
    }

    /// Rows and columns before the first one that the kernel sees: what is left of the padding lies
    /// behind the last (TensorFlow's way, in which the trunk was trained).
    fn before(&self) -> usize {
        (self.kernel - self.stride) / 2
    }

    /// The row or column of the input under a tap of the kernel; none beyond the edge.
    fn under(&self, place: usize, tap: usize, side: usize) -> Option<usize> {
        (place * self.stride + tap).checked_sub(self.before()).filter(|&at| at < side)
    }

    /// The taps that lie within the input, and the row or column under the first of them.
    fn within(&self, place: usize, side: usize) -> (Range<usize>, usize) {
        let (start, before) = (place * self.stride, self.before());
        let first = before.saturating_sub(start);
        let end = self.kernel.min((side + before).saturating_sub(start)).max(first);
        (first..end, (start + first).saturating_sub(before))
    }
}

/// One convolution: normalisation is folded into it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layer {
    shape: Shape,
    /// `[kernel, kernel, inputs, outputs]`; without inputs where every channel is on its own.
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// The weights once more, where fewer products do.
    spread: Option<Spread>,
}

/// `[side, side, channels]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Plane {
    pub(super) side: usize,
    pub(super) channels: usize,
    pub(super) values: Vec<f32>,
}

/// What becomes of a layer's sums.
#[derive(Clone, Copy)]
pub(super) enum Then<'a> {
    Keep,
    /// At least 0.
    Relu,
    /// At least 0 and at most 6.
    Relu6,
    /// A plane of the same size is added.
    Add(&'a Plane),
    /// The same, and at least 0.
    AddRelu(&'a Plane),
}

impl Then<'_> {
    /// Does it to a stretch of the sums that begins with the element `first`.
    pub(super) fn finish(self, sums: &mut [f32], first: usize) {
        let both = |sums: &mut [f32], other: &Plane, each: fn(f32) -> f32| {
            sums.iter_mut().zip(&other.values[first..]).for_each(|(sum, other)| *sum = each(*sum + other));
        };
        match self {
            Self::Keep => {}
            Self::Relu => sums.iter_mut().for_each(|sum| *sum = sum.larger(0.0)),
            Self::Relu6 => sums.iter_mut().for_each(|sum| *sum = sum.larger(0.0).smaller(6.0)),
            Self::Add(other) => both(sums, other, |sum| sum),
            Self::AddRelu(other) => both(sums, other, |sum| sum.larger(0.0)),
        }
    }
}

/// Numbers of a strip at most, about.
const STRIP: usize = 1 << 16;

impl Layer {
    pub(super) fn new(shape: Shape, weights: Vec<f32>, bias: Vec<f32>) -> Self {
        let spread = Spread::new(shape, &weights);
        Self { shape, weights, bias, spread }
    }

    pub(super) fn run(&self, x: &Plane, then: Then<'_>) -> Plane {
        let Shape { stride, outputs, by_channel, .. } = self.shape;
        let side = x.side.div_ceil(stride);
        let mut values = vec![0.0; side * side * outputs];
        match &self.spread {
            Some(spread) => spread.run(x, &self.bias, then, &mut values),
            None if by_channel => self.by_channel(x, then, &mut values),
            None => self.dense(x, then, &mut values),
        }
        Plane { side, channels: outputs, values }
    }

    fn dense(&self, x: &Plane, then: Then<'_>, values: &mut [f32]) {
        let (n, k) = (self.shape.outputs, self.shape.terms());
        let side = x.side.div_ceil(self.shape.stride);
        let line = (side * n).max(1);
        let rows = strip_rows(side, STRIP / (side * k.max(n)).max(1));
        values.par_chunks_mut(rows * line).enumerate().for_each_init(Vec::new, |columns, (strip, values)| {
            let (first, rows) = (strip * rows, values.len() / line);
            let from = if self.shape.kernel == 1 {
                &x.values[first * side * k..]
            } else {
                self.windows(x, first..first + rows, columns);
                &columns[..]
            };
            values.chunks_exact_mut(n.max(1)).for_each(|place| place.copy_from_slice(&self.bias));
            let job = Job { m: rows * side, n, k, accumulate: true, scale: 1.0, parallel: false };
            run(&job, values, Mat::rows(from, k), Mat::rows(&self.weights, n));
            then.finish(values, first * line);
        });
    }

    /// What the kernel sees at the places of some rows, `[rows, side, kernel, kernel, inputs]`; 0 beyond
    /// the edge.
    fn windows(&self, x: &Plane, rows: Range<usize>, windows: &mut Vec<f32>) {
        let Shape { kernel, stride, inputs, .. } = self.shape;
        let side = x.side.div_ceil(stride);
        windows.clear();
        windows.reserve(rows.len() * side * self.shape.terms());
        let nothing =
            |windows: &mut Vec<f32>, taps: usize| windows.resize(windows.len() + taps * inputs, 0.0);
        for place in rows.start * side..rows.end * side {
            let (taps, left) = self.shape.within(place % side, x.side);
            for tap in 0..kernel {
                let Some(row) = self.shape.under(place / side, tap, x.side) else {
                    nothing(windows, kernel);
                    continue;
                };
                nothing(windows, taps.start);
                let from = (row * x.side + left) * inputs;
                windows.extend_from_slice(&x.values[from..from + taps.len() * inputs]);
                nothing(windows, kernel - taps.end);
            }
        }
    }

    fn by_channel(&self, x: &Plane, then: Then<'_>, values: &mut [f32]) {
        let outputs = self.shape.outputs;
        let line = (x.side.div_ceil(self.shape.stride) * outputs).max(1);
        values.par_chunks_exact_mut(line).enumerate().for_each(|(row, values)| {
            around(self, x, row, values);
            then.finish(values, row * line);
        });
    }
}

/// Rows of a strip: those that stay in the cache, and so few that every thread has some.
pub(super) fn strip_rows(side: usize, cached: usize) -> usize {
    cached.min(side.div_ceil(rayon::current_num_threads())).max(1)
}

/// One row of the sums of a layer whose channels are on their own, `[side, channels]`.
#[multiversion(targets("x86_64+avx+avx2"))]
fn around(layer: &Layer, x: &Plane, row: usize, values: &mut [f32]) {
    let Shape { kernel, outputs: channels, .. } = layer.shape;
    let (rows, top) = layer.shape.within(row, x.side);
    let mut seen: Vec<(&[f32], &[f32])> = Vec::with_capacity(kernel);
    for (column, sums) in values.chunks_exact_mut(channels).enumerate() {
        let (columns, left) = layer.shape.within(column, x.side);
        seen.clear();
        seen.extend(rows.clone().map(|tap| {
            let from = (top + tap - rows.start) * x.side + left;
            let weights = tap * kernel + columns.start;
            let part = |first: usize| first * channels..(first + columns.len()) * channels;
            (&x.values[part(from)], &layer.weights[part(weights)])
        }));
        add_products(sums, &layer.bias, &seen);
    }
}

/// Channels whose sums stay in registers.
const TOGETHER: usize = 16;

/// The bias and the products of values and weights, channel by channel; `seen` are some places each.
#[inline(always)]
fn add_products(sums: &mut [f32], bias: &[f32], seen: &[(&[f32], &[f32])]) {
    let channels = sums.len();
    let (blocks, rest) = sums.as_chunks_mut::<TOGETHER>();
    let (starts, bias_rest) = bias.as_chunks::<TOGETHER>();
    for (at, (sums, bias)) in blocks.iter_mut().zip(starts).enumerate() {
        let mut kept = *bias;
        for (values, weights) in seen {
            for from in (at * TOGETHER..values.len()).step_by(channels) {
                let (values, weights) = (&values[from..][..TOGETHER], &weights[from..][..TOGETHER]);
                for lane in 0..TOGETHER {
                    kept[lane] += values[lane] * weights[lane];
                }
            }
        }
        *sums = kept;
    }
    rest.copy_from_slice(bias_rest);
    let start = channels - rest.len();
    for (values, weights) in seen
        .iter()
        .flat_map(|(values, weights)| values.chunks_exact(channels).zip(weights.chunks_exact(channels)))
    {
        let pairs = values[start..].iter().zip(&weights[start..]);
        rest.iter_mut().zip(pairs).for_each(|(sum, (value, weight))| *sum += value * weight);
    }
}

impl Plane {
    pub(super) fn at(&self, row: usize, column: usize) -> &[f32] {
        &self.values[(row * self.side + column) * self.channels..][..self.channels]
    }

    /// At least 0.
    pub(super) fn relu(mut self) -> Self {
        Then::Relu.finish(&mut self.values, 0);
        self
    }

    /// Adds another of the same size, or one place to all.
    pub(super) fn plus(mut self, other: &Self) -> Self {
        for places in self.values.chunks_exact_mut(other.values.len().max(1)) {
            places.iter_mut().zip(&other.values).for_each(|(sum, value)| *sum += value);
        }
        self
    }

    /// The mean over all places.
    pub(super) fn mean(&self) -> Self {
        let mut values = vec![0.0; self.channels];
        for place in self.values.chunks_exact(self.channels.max(1)) {
            values.iter_mut().zip(place).for_each(|(sum, value)| *sum += value);
        }
        let count = (self.side * self.side).max(1) as f32;
        values.iter_mut().for_each(|sum| *sum /= count);
        Self { side: 1, channels: self.channels, values }
    }

    /// Every place twice along both sides.
    pub(super) fn twice(&self) -> Self {
        let mut values = Vec::with_capacity(4 * self.values.len());
        for line in self.values.chunks_exact((self.side * self.channels).max(1)) {
            let start = values.len();
            for place in line.chunks_exact(self.channels) {
                values.extend_from_slice(place);
                values.extend_from_slice(place);
            }
            values.extend_from_within(start..);
        }
        Self { side: 2 * self.side, channels: self.channels, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layer by its definition.
    fn plain(layer: &Layer, x: &Plane) -> Vec<f32> {
        let Shape { kernel, stride, inputs, outputs, by_channel } = layer.shape;
        let side = x.side.div_ceil(stride);
        let all = ((side - 1) * stride + kernel).saturating_sub(x.side);
        // Even padding, but for a row and column more at the far side; the trunk's sides are even.
        let before = if x.side.is_multiple_of(stride) { all / 2 } else { (kernel - stride) / 2 };
        let value = |row: usize, column: usize, channel: usize| {
            let inside = |at: usize| at >= before && at < x.side + before;
            let there = inside(row) && inside(column);
            if there { x.at(row - before, column - before)[channel] } else { 0.0 }
        };
        let one = |place: usize, output: usize| {
            let mut sum = layer.bias[output];
            for tap in 0..kernel * kernel {
                let row = place / side * stride + tap / kernel;
                let column = place % side * stride + tap % kernel;
                if by_channel {
                    sum += layer.weights[tap * outputs + output] * value(row, column, output);
                    continue;
                }
                for channel in 0..inputs {
                    let weight = layer.weights[(tap * inputs + channel) * outputs + output];
                    sum += weight * value(row, column, channel);
                }
            }
            sum
        };
        (0..side * side * outputs).map(|at| one(at / outputs, at % outputs)).collect()
    }

    fn numbers(count: usize, step: usize) -> Vec<f32> {
        (0..count).map(|at| (at * step % 101) as f32 / 50.0 - 1.0).collect()
    }

    #[test]
    fn layers_are_convolutions() {
        let shapes = [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2)].into_iter().flat_map(|(kernel, stride)| {
            [
                Shape::dense(kernel, stride, 5, 7),
                Shape::dense(kernel, stride, 16, 8),
                Shape::by_channel(kernel, stride, 37),
            ]
        });
        for shape in shapes {
            let (weights, bias) = (numbers(shape.terms() * shape.outputs, 29), numbers(shape.outputs, 13));
            let layer = Layer::new(shape, weights, bias);
            for side in [1, 2, 5, 8] {
                let values = numbers(side * side * shape.inputs, 37);
                let x = Plane { side, channels: shape.inputs, values };
                let (made, right) = (layer.run(&x, Then::Keep), plain(&layer, &x));
                assert_eq!(made.values.len(), right.len());
                let error = made.values.iter().zip(&right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(error < 1e-4, "{shape:?} on {side}: off by {error}");
            }
        }
    }

    #[test]
    fn what_becomes_of_the_sums_is_what_is_asked_for() {
        for shape in [Shape::dense(1, 1, 8, 8), Shape::dense(3, 1, 8, 8), Shape::by_channel(3, 1, 8)] {
            let mut weights = numbers(shape.terms() * shape.outputs, 29);
            weights.iter_mut().for_each(|weight| *weight *= 9.0);
            let layer = Layer::new(shape, weights, numbers(shape.outputs, 13));
            let x = Plane { side: 6, channels: 8, values: numbers(6 * 6 * 8, 37) };
            let sums = layer.run(&x, Then::Keep).values;
            let check = |then: Then<'_>, right: fn(f32, f32) -> f32| {
                let right: Vec<f32> =
                    sums.iter().zip(&x.values).map(|(&sum, &other)| right(sum, other)).collect();
                assert_eq!(layer.run(&x, then).values, right, "{shape:?}");
            };
            assert!(sums.iter().any(|&sum| sum < 0.0) && sums.iter().any(|&sum| sum > 6.0));
            check(Then::Relu, |sum, _| sum.max(0.0));
            check(Then::Relu6, |sum, _| sum.clamp(0.0, 6.0));
            check(Then::Add(&x), |sum, other| sum + other);
            check(Then::AddRelu(&x), |sum, other| (sum + other).max(0.0));
        }
    }
}
