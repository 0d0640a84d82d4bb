//! A look at the whole photo, once: a small convolutional network (residual blocks on four scales and
//! back up, as in a U-Net) says of every cell of a coarse grid what may be a thing there, and which
//! cells may be of the same one. It was trained on masks of other photos (docs/refinement.md).

use std::sync::{Arc, LazyLock};

use super::super::WorkingImage;
use crate::cpu::gemm::{Job, Mat, run};
use crate::cpu::math::Real;
use crate::resample::{Window, each_pixel, normalised};

/// Pixels along a side of what the network sees.
const SIDE: usize = 160;
/// Cells along a side of what it says.
const GRID: usize = 40;
/// Numbers for the [prior](super::prior): what kind of place a cell is, and the log odds of a thing
/// that catches the eye.
pub(super) const SEEN: usize = 25;
/// Numbers of which the squared distance is small between cells of one thing.
pub(super) const KIN: usize = 12;
const OUT: usize = SEEN + KIN;

/// Channels from fine to coarse.
const WIDTHS: [usize; 5] = [16, 32, 64, 96, 128];
/// Residual blocks on each scale but the first.
const BLOCKS: [usize; 4] = [2, 2, 3, 2];

/// One convolution: normalisation is folded into it.
#[derive(Clone, Debug, PartialEq)]
struct Layer {
    kernel: usize,
    stride: usize,
    inputs: usize,
    /// `[kernel, kernel, inputs, outputs]`.
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// `[side, side, channels]`.
#[derive(Default)]
struct Plane {
    side: usize,
    channels: usize,
    values: Vec<f32>,
}

/// The network.
#[derive(Clone, Debug, PartialEq)]
pub struct Glance {
    layers: Vec<Layer>,
}

/// Kernel, stride, inputs and outputs of all layers, in their order.
fn shapes() -> Vec<[usize; 4]> {
    let [w0, w1, ..] = WIDTHS;
    let mut shapes = vec![[3, 2, 3, w0], [3, 2, w0, w1]];
    for (at, blocks) in BLOCKS.into_iter().enumerate() {
        let width = WIDTHS[at + 1];
        if at > 0 {
            shapes.push([3, 2, WIDTHS[at], width]);
        }
        shapes.extend([[3, 1, width, width]].repeat(2 * blocks));
    }
    shapes.push([1, 1, WIDTHS[4], WIDTHS[4]]);
    for at in [3, 2, 1] {
        shapes.extend([[1, 1, WIDTHS[at + 1], WIDTHS[at]], [3, 1, WIDTHS[at], WIDTHS[at]]]);
    }
    shapes.push([1, 1, w1, OUT]);
    shapes
}

/// What `glance.bin` was written for; none where it is not part of the library.
static SHIPPED: LazyLock<Option<Arc<Glance>>> = LazyLock::new(|| {
    #[cfg(feature = "glance")]
    let bytes: &[u8] = include_bytes!("glance.bin");
    #[cfg(not(feature = "glance"))]
    let bytes: &[u8] = &[];
    Glance::read(bytes).map(Arc::new)
});

impl Glance {
    /// The one that comes with the library; none without the feature `glance`.
    #[must_use]
    pub fn shipped() -> Option<Arc<Self>> {
        SHIPPED.clone()
    }

    /// From bytes: for each layer its biases (floats, little-endian), a scale for each output (upper
    /// halves of floats), and signed bytes `[kernel, kernel, inputs, outputs]`. None where the
    /// length is another.
    #[must_use]
    pub fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut take = |count: usize| {
            let (taken, rest) = bytes.split_at_checked(count)?;
            bytes = rest;
            Some(taken)
        };
        let mut layers = Vec::new();
        for [kernel, stride, inputs, outputs] in shapes() {
            let bias = take(4 * outputs)?.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            let scale = |&b: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16);
            let scales: Vec<f32> = take(2 * outputs)?.as_chunks().0.iter().map(scale).collect();
            let levels = take(kernel * kernel * inputs * outputs)?;
            let weight = |(&level, scale): (&u8, &f32)| f32::from(level as i8) * scale;
            let weights = levels.iter().zip(scales.iter().cycle()).map(weight).collect();
            layers.push(Layer { kernel, stride, inputs, weights, bias });
        }
        bytes.is_empty().then_some(Self { layers })
    }

    /// Looks at a photo.
    pub(super) fn look(&self, image: &WorkingImage) -> Seen {
        let mut layers = self.layers.iter();
        let mut next = |x: &Plane| layers.next().map_or_else(Plane::default, |layer| layer.run(x));
        let mut scales = vec![next(&photo(image)).relu()];
        for blocks in BLOCKS {
            let mut x = next(&scales[scales.len() - 1]).relu();
            for _ in 0..blocks {
                let inner = next(&x).relu();
                x = next(&inner).plus(&x).relu();
            }
            scales.push(x);
        }
        let mut x = scales.pop().unwrap_or_default();
        let everywhere = next(&x.mean());
        x = x.plus(&everywhere);
        for finer in scales[1..].iter().rev() {
            let coarse = next(&x);
            x = next(&coarse.twice().plus(finer).relu()).relu();
        }
        Seen { cells: next(&x).values }
    }
}

impl Layer {
    fn run(&self, x: &Plane) -> Plane {
        let side = x.side.div_ceil(self.stride);
        let outputs = self.bias.len();
        let columns;
        let from = if self.kernel == 1 {
            &x.values
        } else {
            columns = self.windows(x, side);
            &columns
        };
        let mut values: Vec<f32> = self.bias.repeat(side * side);
        let k = self.kernel * self.kernel * self.inputs;
        let job = Job { m: side * side, n: outputs, k, accumulate: true, scale: 1.0, parallel: true };
        run(&job, &mut values, Mat::rows(from, k), Mat::rows(&self.weights, outputs));
        Plane { side, channels: outputs, values }
    }

    /// What the kernel sees at every place, `[side, side, kernel, kernel, inputs]`; 0 beyond the edge.
    fn windows(&self, x: &Plane, side: usize) -> Vec<f32> {
        let (kernel, inputs, reach) = (self.kernel, self.inputs, self.kernel / 2);
        let mut windows = vec![0.0; side * side * kernel * kernel * inputs];
        let rows = windows.chunks_exact_mut((kernel * inputs).max(1));
        for (at, to) in rows.enumerate() {
            let (place, line) = (at / kernel, at % kernel);
            let row = (place / side * self.stride + line).wrapping_sub(reach);
            if row >= x.side {
                continue;
            }
            for (column, to) in to.chunks_exact_mut(inputs).enumerate() {
                let column = (place % side * self.stride + column).wrapping_sub(reach);
                if column < x.side {
                    to.copy_from_slice(&x.values[(row * x.side + column) * inputs..][..inputs]);
                }
            }
        }
        windows
    }
}

impl Plane {
    fn relu(mut self) -> Self {
        self.values.iter_mut().for_each(|value| *value = value.larger(0.0));
        self
    }

    /// Adds another of the same size, or one place to all.
    fn plus(mut self, other: &Self) -> Self {
        for places in self.values.chunks_exact_mut(other.values.len().max(1)) {
            places.iter_mut().zip(&other.values).for_each(|(sum, value)| *sum += value);
        }
        self
    }

    /// The mean over all places.
    fn mean(&self) -> Self {
        let mut values = vec![0.0; self.channels];
        for place in self.values.chunks_exact(self.channels.max(1)) {
            values.iter_mut().zip(place).for_each(|(sum, value)| *sum += value);
        }
        let count = (self.side * self.side).max(1) as f32;
        values.iter_mut().for_each(|sum| *sum /= count);
        Self { side: 1, channels: self.channels, values }
    }

    /// Every place twice along both sides.
    fn twice(&self) -> Self {
        let (side, channels) = (2 * self.side, self.channels);
        let from = |at: usize| (at / side / 2 * self.side + at % side / 2) * channels;
        let values = (0..side * side).flat_map(|at| self.values[from(at)..][..channels].iter().copied());
        Self { side, channels, values: values.collect() }
    }
}

/// The photo, drawn to a square.
fn photo(image: &WorkingImage) -> Plane {
    let (width, height) = (image.width(), image.height());
    let window = Window { rgb: image.data(), image_width: width, x: 0, y: 0, width, height };
    let mut values = vec![0.0; SIDE * SIDE * 3];
    each_pixel(&window, (SIDE, SIDE), |x, y, rgb| {
        values[3 * (y * SIDE + x)..][..3].copy_from_slice(&normalised(rgb));
    });
    Plane { side: SIDE, channels: 3, values }
}

/// What the network says of every cell.
pub(super) struct Seen {
    /// `[GRID, GRID, OUT]`.
    cells: Vec<f32>,
}

impl Seen {
    /// At a place of the image, in parts of its sides: between the four cells around.
    pub(super) fn at(&self, place: [f32; 2]) -> ([f32; SEEN], [f32; KIN]) {
        let mut all = [0.0; OUT];
        let [(x, u), (y, v)] = place.map(|part| {
            let at = (part * GRID as f32 - 0.5).clamp(0.0, (GRID - 1) as f32);
            (at as usize, at.fract())
        });
        for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let share = (if dx == 1 { u } else { 1.0 - u }) * (if dy == 1 { v } else { 1.0 - v });
            let cell = (y + dy).min(GRID - 1) * GRID + (x + dx).min(GRID - 1);
            let values = &self.cells[cell * OUT..][..OUT];
            all.iter_mut().zip(values).for_each(|(sum, value)| *sum += share * value);
        }
        (std::array::from_fn(|at| all[at]), std::array::from_fn(|at| all[SEEN + at]))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::RgbView;
    use super::super::RefineCache;
    use super::super::scene::SCENE;
    use super::*;

    /// Bytes of a network with weights by chance, small enough that nothing overflows.
    fn bytes() -> Vec<u8> {
        let mut level = 1u32;
        let mut next = move || {
            level = level.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (level >> 24) as u8
        };
        let mut bytes = Vec::new();
        for [kernel, _, inputs, outputs] in shapes() {
            let terms = (kernel * kernel * inputs) as f32;
            let scale = 0.02 / terms.sqrt();
            (0..outputs).for_each(|at| bytes.extend((0.01 * at as f32).to_le_bytes()));
            (0..outputs).for_each(|_| bytes.extend(((scale.to_bits() >> 16) as u16).to_le_bytes()));
            bytes.extend((0..kernel * kernel * inputs * outputs).map(|_| next()));
        }
        bytes
    }

    fn image(width: usize, height: usize) -> WorkingImage {
        let pixel = |at: usize| {
            [(at % width * 255 / width) as u8, (at / width * 255 / height) as u8, (at * 7 % 251) as u8]
        };
        let data: Vec<u8> = (0..width * height).flat_map(pixel).collect();
        WorkingImage::from_rgb(RgbView::new(width, height, &data).unwrap()).unwrap()
    }

    /// A layer by its definition.
    fn plain(layer: &Layer, x: &Plane) -> Vec<f32> {
        let (side, outputs) = (x.side.div_ceil(layer.stride), layer.bias.len());
        let reach = layer.kernel as isize / 2;
        let at = |row: isize, column: isize, channel: usize| {
            let inside = |v: isize| (0..x.side as isize).contains(&v);
            if inside(row) && inside(column) {
                x.values[(row as usize * x.side + column as usize) * x.channels + channel]
            } else {
                0.0
            }
        };
        let one = |place: usize, output: usize| {
            let mut sum = layer.bias[output];
            for (tap, weights) in layer.weights.chunks_exact(layer.inputs * outputs).enumerate() {
                let row = (place / side * layer.stride) as isize + (tap / layer.kernel) as isize - reach;
                let column = (place % side * layer.stride) as isize + (tap % layer.kernel) as isize - reach;
                for channel in 0..layer.inputs {
                    sum += weights[channel * outputs + output] * at(row, column, channel);
                }
            }
            sum
        };
        (0..side * side * outputs).map(|at| one(at / outputs, at % outputs)).collect()
    }

    #[test]
    fn layers_are_convolutions() {
        let glance = Glance::read(&bytes()).unwrap();
        for layer in glance.layers.iter().filter(|layer| layer.inputs <= 64) {
            for side in [1, 5, 8] {
                let values = (0..side * side * layer.inputs).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0);
                let x = Plane { side, channels: layer.inputs, values: values.collect() };
                let (made, right) = (layer.run(&x), plain(layer, &x));
                assert_eq!(made.values.len(), right.len());
                let error = made.values.iter().zip(&right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(error < 1e-4, "{} by {}: off by {error}", layer.kernel, layer.inputs);
            }
        }
    }

    #[test]
    fn any_photo_can_be_looked_at() {
        let glance = Glance::read(&bytes()).unwrap();
        for (width, height) in [(1, 1), (3, 400), (200, 150)] {
            let seen = glance.look(&image(width, height));
            assert_eq!(seen.cells.len(), GRID * GRID * OUT);
            assert!(seen.cells.iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn between_cells_lies_what_is_between() {
        let cells =
            (0..GRID * GRID * OUT).map(|at| (at / OUT % GRID) as f32 + 100.0 * (at / OUT / GRID) as f32);
        let seen = Seen { cells: cells.collect() };
        let at = |x: f32, y: f32| seen.at([(x + 0.5) / GRID as f32, (y + 0.5) / GRID as f32]).0[0];
        assert!((at(3.0, 7.0) - 703.0).abs() < 1e-2 && (at(3.25, 7.5) - 753.25).abs() < 1e-2);
        assert_eq!((seen.at([-1.0, 0.0]).0[0], seen.at([2.0, 2.0]).1[0]), (0.0, 3939.0));
    }

    #[test]
    fn bytes_of_another_length_are_refused() {
        let mut bytes = bytes();
        bytes.push(0);
        assert_eq!(Glance::read(&bytes), None);
        assert_eq!(Glance::read(&bytes[..bytes.len() - 2]), None);
        assert_eq!(Glance::read(&[]), None);
    }

    #[test]
    #[cfg(feature = "glance")]
    fn what_the_shipped_one_sees_reaches_the_prior() {
        let image = image(120, 90);
        let [with, without] =
            [Glance::shipped(), None].map(|glance| RefineCache::new(&image, glance.as_deref()));
        assert!(without.glance.is_empty() && with.glance.len() == with.superpixels.len());
        let seen = |cache: &RefineCache, at: usize| cache.scene[at][SCENE - SEEN - 1..].to_vec();
        for at in 0..with.superpixels.len() {
            assert_eq!(seen(&without, at), [0.0; SEEN + 1]);
            let there = seen(&with, at);
            assert_eq!((there[0], &there[1..]), (1.0, &with.glance[at].0[..]));
        }
        assert!(with.glance.windows(2).any(|pair| pair[0] != pair[1]), "all is seen alike");
    }
}
