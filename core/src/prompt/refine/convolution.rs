//! Convolutions over square planes, for the [glance](super::glance).

use rayon::prelude::*;

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
}

/// One convolution: normalisation is folded into it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layer {
    pub(super) shape: Shape,
    /// `[kernel, kernel, inputs, outputs]`; without inputs where every channel is on its own.
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// `[side, side, channels]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Plane {
    pub(super) side: usize,
    pub(super) channels: usize,
    pub(super) values: Vec<f32>,
}

impl Layer {
    pub(super) fn run(&self, x: &Plane) -> Plane {
        let side = x.side.div_ceil(self.shape.stride);
        let values = if self.shape.by_channel { self.by_channel(x, side) } else { self.dense(x, side) };
        Plane { side, channels: self.shape.outputs, values }
    }

    fn dense(&self, x: &Plane, side: usize) -> Vec<f32> {
        let columns;
        let from = if self.shape.kernel == 1 {
            &x.values
        } else {
            columns = self.windows(x, side);
            &columns
        };
        let (n, k) = (self.shape.outputs, self.shape.terms());
        let mut values: Vec<f32> = self.bias.repeat(side * side);
        let job = Job { m: side * side, n, k, accumulate: true, scale: 1.0, parallel: true };
        run(&job, &mut values, Mat::rows(from, k), Mat::rows(&self.weights, n));
        values
    }

    /// The row or column of the input under a tap of the kernel; none beyond the edge.
    fn under(&self, place: usize, tap: usize, side: usize) -> Option<usize> {
        (place * self.shape.stride + tap).checked_sub(self.shape.before()).filter(|&at| at < side)
    }

    /// What the kernel sees at every place, `[side, side, kernel, kernel, inputs]`; 0 beyond the edge.
    fn windows(&self, x: &Plane, side: usize) -> Vec<f32> {
        let Shape { kernel, inputs, .. } = self.shape;
        let line = (kernel * inputs).max(1);
        let mut windows = vec![0.0; side * side * kernel * line];
        windows.par_chunks_exact_mut(side * kernel * line).enumerate().for_each(|(row, windows)| {
            for (at, to) in windows.chunks_exact_mut(line).enumerate() {
                let Some(from) = self.under(row, at % kernel, x.side) else { continue };
                for (tap, to) in to.chunks_exact_mut(inputs).enumerate() {
                    if let Some(column) = self.under(at / kernel, tap, x.side) {
                        to.copy_from_slice(x.at(from, column));
                    }
                }
            }
        });
        windows
    }

    fn by_channel(&self, x: &Plane, side: usize) -> Vec<f32> {
        let Shape { kernel, outputs, .. } = self.shape;
        let mut values = self.bias.repeat(side * side);
        values.par_chunks_exact_mut((side * outputs).max(1)).enumerate().for_each(|(row, values)| {
            let mut seen: Vec<(&[f32], &[f32])> = Vec::with_capacity(kernel * kernel);
            for (column, sums) in values.chunks_exact_mut(outputs).enumerate() {
                let taps = self.weights.chunks_exact(outputs).enumerate();
                seen.clear();
                seen.extend(taps.filter_map(|(tap, weights)| {
                    let row = self.under(row, tap / kernel, x.side)?;
                    let column = self.under(column, tap % kernel, x.side)?;
                    Some((x.at(row, column), weights))
                }));
                add_products(sums, &seen);
            }
        });
        values
    }
}

/// Channels whose sums stay in registers.
const TOGETHER: usize = 16;

/// Adds the products of values and weights, channel by channel.
fn add_products(sums: &mut [f32], seen: &[(&[f32], &[f32])]) {
    let (blocks, rest) = sums.as_chunks_mut::<TOGETHER>();
    let start = blocks.len() * TOGETHER;
    for (at, sums) in blocks.iter_mut().enumerate() {
        let mut kept = *sums;
        for (values, weights) in seen {
            let values = &values[at * TOGETHER..][..TOGETHER];
            let weights = &weights[at * TOGETHER..][..TOGETHER];
            for lane in 0..TOGETHER {
                kept[lane] += values[lane] * weights[lane];
            }
        }
        *sums = kept;
    }
    for (values, weights) in seen {
        let pairs = values[start..].iter().zip(&weights[start..]);
        rest.iter_mut().zip(pairs).for_each(|(sum, (value, weight))| *sum += value * weight);
    }
}

impl Plane {
    fn at(&self, row: usize, column: usize) -> &[f32] {
        &self.values[(row * self.side + column) * self.channels..][..self.channels]
    }

    pub(super) fn relu(mut self) -> Self {
        self.values.iter_mut().for_each(|value| *value = value.larger(0.0));
        self
    }

    /// At least 0 and at most 6.
    pub(super) fn relu6(mut self) -> Self {
        self.values.iter_mut().for_each(|value| *value = value.larger(0.0).smaller(6.0));
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
        let side = 2 * self.side;
        let values = (0..side * side).flat_map(|at| self.at(at / side / 2, at % side / 2).iter().copied());
        Self { side, channels: self.channels, values: values.collect() }
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
            [Shape::dense(kernel, stride, 5, 7), Shape::by_channel(kernel, stride, 37)]
        });
        for shape in shapes {
            let (weights, bias) = (numbers(shape.terms() * shape.outputs, 29), numbers(shape.outputs, 13));
            let layer = Layer { shape, weights, bias };
            for side in [1, 2, 5, 8] {
                let values = numbers(side * side * shape.inputs, 37);
                let x = Plane { side, channels: shape.inputs, values };
                let (made, right) = (layer.run(&x), plain(&layer, &x));
                assert_eq!(made.values.len(), right.len());
                let error = made.values.iter().zip(&right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(error < 1e-4, "{shape:?} on {side}: off by {error}");
            }
        }
    }
}
