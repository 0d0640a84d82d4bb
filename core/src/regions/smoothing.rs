//! Smoothed colours of an image, and the weights of edges between them.
//!
//! The order of the edges decides the segmentation, so everything is computed
//! in f64 and in one fixed order of additions: rounding differently flips
//! near-ties, and one flipped merge can join two large segments.

use multiversion::multiversion;

use super::edges::{direction, neighbour_steps, start};
use super::tiles::Area;

const CHANNELS: usize = 3;
/// Kernel reach in standard deviations.
const TRUNCATE: f64 = 4.0;
/// Rows that are smoothed at a time: a band's colours stay in the processor's cache.
const BAND: usize = 16;

/// The smoothed colours of an image, each channel in `[0, 1]`.
#[derive(Debug, Default)]
pub(super) struct Colours {
    /// `[height, width, 3]`: what an edge's exact weight needs is in two places, not in six.
    pixels: Vec<f64>,
    pub(super) width: usize,
    pub(super) height: usize,
    /// The colours of some rows and of as many around them as the kernel reaches.
    source: Vec<f64>,
    column: Vec<f64>,
}

impl Colours {
    /// Smooths an image: `rgb` is `[height, width, 3]`, checked by the caller.
    pub(super) fn smooth(&mut self, rgb: &[u8], (width, height): (usize, usize), sigma: f64) {
        (self.width, self.height) = (width, height);
        let kernel = half_kernel(sigma);
        resize(&mut self.pixels, rgb.len());
        let band = BAND.max(2 * kernel.len());
        for top in (0..height).step_by(band) {
            let rows = band.min(height - top);
            self.load(rgb, top, rows, kernel.len() - 1);
            (0..rows).for_each(|y| self.smooth_row(y, top + y, &kernel));
        }
    }

    /// Reads `rows` rows from `top` on, and what is around them.
    fn load(&mut self, rgb: &[u8], top: usize, rows: usize, radius: usize) {
        let stride = CHANNELS * (self.width + 2 * radius);
        resize(&mut self.source, stride * (rows + 2 * radius));
        for (y, out) in self.source.chunks_exact_mut(stride).enumerate() {
            let row = reflect((top + y) as isize - radius as isize, self.height) * self.width;
            load_row(&rgb[CHANNELS * row..CHANNELS * (row + self.width)], radius, out);
        }
    }

    /// Smooths row `from` of what was read into row `to`: columns first, then rows.
    fn smooth_row(&mut self, from: usize, to: usize, kernel: &[f64]) {
        let stride = CHANNELS * (self.width + 2 * (kernel.len() - 1));
        resize(&mut self.column, stride);
        convolve(&mut self.column, &self.source[from * stride..], stride, kernel);
        let row = CHANNELS * to * self.width..CHANNELS * (to + 1) * self.width;
        convolve(&mut self.pixels[row], &self.column, CHANNELS, kernel);
    }

    /// The colours of `count` pixels from (`x`, `y`) on.
    pub(super) fn row(&self, x: usize, y: usize, count: usize) -> &[f64] {
        &self.pixels[CHANNELS * (y * self.width + x)..][..CHANNELS * count]
    }

    #[inline]
    fn distance(&self, a: usize, b: usize) -> f64 {
        let pixels = self.pixels.as_chunks::<CHANNELS>().0;
        let (a, b) = (&pixels[a], &pixels[b]);
        let (r, g, b) = (b[0] - a[0], b[1] - a[1], b[2] - a[2]);
        (r * r + g * g + b * b).sqrt()
    }

    /// Exact weights of the edges of an area.
    pub(super) fn weights(&self, area: Area) -> Weights<'_> {
        Weights { colours: self, area, steps: neighbour_steps(self.width) }
    }

    pub(super) fn weights_of_image(&self) -> Weights<'_> {
        self.weights(Area { x: 0, y: 0, width: self.width, height: self.height })
    }
}

/// Exact weights of edges: Euclidean distances of the smoothed colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights<'a> {
    colours: &'a Colours,
    /// What the edges' pixels are counted in.
    pub(super) area: Area,
    steps: [u32; 4],
}

impl Weights<'_> {
    /// Those of the edges of the whole image.
    pub(super) fn of_image(&self) -> Self {
        self.colours.weights_of_image()
    }

    /// The edge's number in the whole image.
    pub(super) fn in_image(&self, id: u32) -> u32 {
        id - start(id) + self.area.in_image(start(id), self.colours.width)
    }

    pub(super) fn weight(&self, id: u32) -> f64 {
        let from = self.area.in_image(start(id), self.colours.width);
        self.colours.distance(from as usize, (from + self.steps[direction(id)]) as usize)
    }

    /// What edges are ordered by exactly: weight, then direction, then pixel.
    pub(super) fn exact(&self, id: u32) -> (u64, u32) {
        (self.weight(id).to_bits(), id)
    }
}

/// Sets the length; what was in the vector may stay there.
pub(super) fn resize<T: Clone + Default>(vector: &mut Vec<T>, length: usize) {
    vector.resize(length, T::default());
}

/// The centre and one side of the normalised Gaussian, `[radius + 1]`.
pub(super) fn half_kernel(sigma: f64) -> Vec<f64> {
    let radius = (TRUNCATE * sigma + 0.5) as usize;
    if radius == 0 {
        return vec![1.0];
    }
    let slope = -0.5 / (sigma * sigma);
    let raw: Vec<f64> = (0..=radius).map(|i| libm::exp(slope * (i * i) as f64)).collect();
    // From the left end to the right, as a plain sum over the whole kernel adds.
    let sum = raw.iter().rev().chain(&raw[1..]).fold(0.0, |sum, tap| sum + tap);
    raw.iter().map(|tap| tap / sum).collect()
}

/// Mirrors an index at the borders, border elements included: `c b a | a b c | c b a`.
fn reflect(index: isize, length: usize) -> usize {
    let length = length as isize;
    let folded = index.rem_euclid(2 * length);
    (if folded < length { folded } else { 2 * length - 1 - folded }) as usize
}

/// The colours of a row and, mirrored, `radius` pixels at each end.
fn load_row(row: &[u8], radius: usize, out: &mut [f64]) {
    let width = row.len() / CHANNELS;
    let inside = CHANNELS * radius..CHANNELS * (radius + width);
    levels(row, &mut out[inside.clone()]);
    for at in (0..inside.start).chain(inside.end..out.len()) {
        let x = reflect((at / CHANNELS) as isize - radius as isize, width);
        out[at] = out[CHANNELS * (radius + x) + at % CHANNELS];
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx+avx2"))]
fn levels(row: &[u8], out: &mut [f64]) {
    for (out, &byte) in out.iter_mut().zip(row) {
        *out = f64::from(byte) * (1.0 / 255.0);
    }
}

/// Elements whose sums stay in registers while all taps are added.
const LANES: usize = 32;

/// A symmetric kernel over elements `step` apart: `from` starts at the first output's first tap.
/// Each pair of taps at the same distance is added up before it is weighted, the furthest first.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx+avx2"))]
fn convolve(out: &mut [f64], from: &[f64], step: usize, kernel: &[f64]) {
    let centre = (kernel.len() - 1) * step;
    let (blocks, rest) = out.as_chunks_mut::<LANES>();
    let tail = blocks.len() * LANES;
    for (block, out) in blocks.iter_mut().enumerate() {
        let at = centre + block * LANES;
        let middle = &from[at..][..LANES];
        for i in 0..LANES {
            out[i] = middle[i] * kernel[0];
        }
        for reach in (1..kernel.len()).rev() {
            let (left, right) = (&from[at - reach * step..][..LANES], &from[at + reach * step..][..LANES]);
            for i in 0..LANES {
                out[i] += (left[i] + right[i]) * kernel[reach];
            }
        }
    }
    for (i, out) in rest.iter_mut().enumerate() {
        let at = centre + tail + i;
        *out = from[at] * kernel[0];
        for reach in (1..kernel.len()).rev() {
            *out += (from[at - reach * step] + from[at + reach * step]) * kernel[reach];
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_as_often_as_needed() {
        let mirrored: Vec<usize> = (-5..6).map(|at| reflect(at, 2)).collect();
        assert_eq!(mirrored, [0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1]);
        let mut padded = [0.0; 21];
        load_row(&[255, 0, 0, 0, 255, 0, 0, 0, 255], 2, &mut padded);
        let which: Vec<_> =
            padded.chunks(3).map(|pixel| pixel.iter().position(|&level| level == 1.0)).collect();
        assert_eq!(which, [1, 0, 0, 1, 2, 2, 1].map(Some));
    }

    /// An impulse comes back as the outer product of the kernel, which sums to 1.
    #[test]
    fn smooths_separably() {
        let (side, sigma) = (45, 0.8);
        let mut rgb = vec![0; 3 * side * side];
        rgb[3 * (17 * side + 7) + 1] = 255;
        let mut colours = Colours::default();
        colours.smooth(&rgb, (side, side), sigma);
        let kernel = half_kernel(sigma);
        assert_eq!(kernel.len(), 4);
        assert!((kernel[0] + 2.0 * kernel[1..].iter().sum::<f64>() - 1.0).abs() < 1e-15);
        for y in 0..side {
            let (pixels, _) = colours.row(0, y, side).as_chunks::<3>();
            for (x, &[red, green, _]) in pixels.iter().enumerate() {
                let tap = |at: usize, centre| kernel.get(at.abs_diff(centre)).copied().unwrap_or(0.0);
                assert!((green - tap(x, 7) * tap(y, 17)).abs() < 1e-16);
                assert_eq!(red, 0.0);
            }
        }
    }
}
