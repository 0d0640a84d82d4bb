//! The pixel graph of an image: smoothed colours, 8-neighbour edges, sorted.
//!
//! The order of the edges decides the segmentation, so everything is computed
//! in f64 and in one fixed order of additions: rounding differently flips
//! near-ties, and one flipped merge can join two large segments.

use std::cmp::Ordering;

use multiversion::multiversion;

const CHANNELS: usize = 3;
const PIXEL_BITS: u32 = 30;
const PIXEL_MASK: u32 = (1 << PIXEL_BITS) - 1;
/// Kernel reach in standard deviations.
const TRUNCATE: f64 = 4.0;

/// One edge of the graph.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Edge {
    /// Euclidean distance of the two smoothed colours, each channel in `[0, 1]`.
    pub(crate) weight: f64,
    /// Direction (2 bits) and the pixel that it starts from (30 bits).
    id: u32,
}

impl Edge {
    fn order(a: &Self, b: &Self) -> Ordering {
        a.weight.total_cmp(&b.weight).then(a.id.cmp(&b.id))
    }

    /// The two pixels that the edge joins; `steps` from [`neighbour_steps`].
    pub(crate) fn ends(self, steps: &[u32; 4]) -> (u32, u32) {
        let from = self.id & PIXEL_MASK;
        (from, from + steps[(self.id >> PIXEL_BITS) as usize])
    }
}

/// From a pixel's index to its right, lower, lower right, lower left neighbour's.
pub(crate) fn neighbour_steps(width: usize) -> [u32; 4] {
    let w = width as u32;
    [1, w, w + 1, w.wrapping_sub(1)]
}

/// Buffers for building the sorted edge list, reused between images.
#[derive(Debug, Default)]
pub(crate) struct EdgeBuilder {
    planes: Vec<f64>,
    rows: [Vec<f64>; 2],
    padded: Vec<f64>,
    column: Vec<f64>,
    distances: Vec<f64>,
    unsorted: Vec<Edge>,
    bucketed: Vec<Edge>,
}

impl EdgeBuilder {
    /// All edges of the image, in buckets.
    ///
    /// `rgb` is `[height, width, 3]`, checked by the caller.
    pub(crate) fn build(&mut self, rgb: &[u8], width: usize, height: usize, sigma: f64) -> Buckets<'_> {
        to_planes(rgb, width, &mut self.planes);
        let kernel = half_kernel(sigma);
        let starts = direction_starts(width, height);
        resize(&mut self.unsorted, starts[4]);
        resize(&mut self.distances, width);
        let mut next = [starts[0], starts[1], starts[2], starts[3]];
        let mut buckets = [0; HIGH_DIGITS];
        for y in 0..height {
            self.rows.swap(0, 1);
            self.smooth_row(y, width, height, &kernel);
            for (direction, next) in next.iter_mut().enumerate() {
                let made = self.row_edges(direction, y, width, *next, &mut buckets);
                *next += made;
            }
        }
        resize(&mut self.bucketed, starts[4]);
        scatter(&self.unsorted, &mut self.bucketed, &mut buckets, high_digit);
        // Scattering has moved each bucket's place to its end.
        Buckets { edges: &self.bucketed, ends: buckets }
    }

    /// Smooths row `y` into `rows[1]`: `[3, width]`, columns first, then rows.
    fn smooth_row(&mut self, y: usize, width: usize, height: usize, kernel: &[f64]) {
        let stride = CHANNELS * width;
        let radius = kernel.len() - 1;
        let row = |at: isize| {
            let start = reflect(at, height) * stride;
            &self.planes[start..start + stride]
        };
        let y = y as isize;
        resize(&mut self.column, stride);
        centre_tap(&mut self.column, row(y), kernel[0]);
        for reach in (1..=radius).rev() {
            let (above, below) = (row(y - reach as isize), row(y + reach as isize));
            add_pair(&mut self.column, above, below, kernel[reach]);
        }
        resize(&mut self.rows[1], stride);
        for channel in 0..CHANNELS {
            let span = channel * width..(channel + 1) * width;
            pad(&self.column[span.clone()], radius, &mut self.padded);
            let out = &mut self.rows[1][span];
            centre_tap(out, &self.padded[radius..radius + width], kernel[0]);
            for reach in (1..=radius).rev() {
                let left = &self.padded[radius - reach..radius - reach + width];
                let right = &self.padded[radius + reach..radius + reach + width];
                add_pair(out, left, right, kernel[reach]);
            }
        }
    }

    /// Makes the edges of one direction that end in row `y`, from `unsorted[first]`
    /// on; returns how many.
    fn row_edges(
        &mut self, direction: usize, y: usize, width: usize, first: usize, buckets: &mut [u32; HIGH_DIGITS],
    ) -> usize {
        if direction > 0 && y == 0 {
            return 0;
        }
        let [above, here] = &self.rows;
        // Columns of the first pixel (in the row above, but for rightward edges) and of the second.
        let (from_row, from, to) = match direction {
            0 => (here, 0, 1),
            1 => (above, 0, 0),
            2 => (above, 0, 1),
            _ => (above, 1, 0),
        };
        let count = width - from.max(to);
        let distances = &mut self.distances[..count];
        colour_distances(
            distances,
            [0, 1, 2].map(|c| &from_row[c * width + from..][..count]),
            [0, 1, 2].map(|c| &here[c * width + to..][..count]),
        );
        let start_row = if direction == 0 { y } else { y - 1 };
        let tag = (direction as u32) << PIXEL_BITS | (start_row * width + from) as u32;
        let edges = &mut self.unsorted[first..first + count];
        for (x, (edge, &weight)) in edges.iter_mut().zip(distances.iter()).enumerate() {
            *edge = Edge { weight, id: tag + x as u32 };
            buckets[high_digit(weight)] += 1;
        }
        count
    }
}

/// Where each direction's edges start in the list, and their total.
fn direction_starts(width: usize, height: usize) -> [usize; 5] {
    let right = (width - 1) * height;
    let down = right + width * (height - 1);
    let diagonal = (width - 1) * (height - 1);
    [0, right, down, down + diagonal, down + 2 * diagonal]
}

/// Sets the length; what was in the vector may stay there.
pub(crate) fn resize<T: Clone + Default>(vector: &mut Vec<T>, length: usize) {
    vector.resize(length, T::default());
}

/// `[height, width, 3]` bytes to `[height, 3, width]` in `[0, 1]`.
fn to_planes(rgb: &[u8], width: usize, planes: &mut Vec<f64>) {
    let levels: [f64; 256] = std::array::from_fn(|level| level as f64 * (1.0 / 255.0));
    resize(planes, rgb.len());
    let stride = CHANNELS * width;
    for (out, row) in planes.chunks_exact_mut(stride).zip(rgb.chunks_exact(stride)) {
        let (red, rest) = out.split_at_mut(width);
        let (green, blue) = rest.split_at_mut(width);
        let planes = red.iter_mut().zip(green).zip(blue);
        for (((r, g), b), pixel) in planes.zip(row.as_chunks::<CHANNELS>().0) {
            *r = levels[pixel[0] as usize];
            *g = levels[pixel[1] as usize];
            *b = levels[pixel[2] as usize];
        }
    }
}

/// The centre and one side of the normalised Gaussian, `[radius + 1]`.
fn half_kernel(sigma: f64) -> Vec<f64> {
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

/// `line` with `radius` mirrored elements at each end.
fn pad(line: &[f64], radius: usize, padded: &mut Vec<f64>) {
    padded.clear();
    let (reach, width) = (radius as isize, line.len());
    padded.extend((-reach..0).map(|x| line[reflect(x, width)]));
    padded.extend_from_slice(line);
    padded.extend((0..reach).map(|x| line[reflect(width as isize + x, width)]));
}

/// `out = row · tap`.
#[multiversion(targets("x86_64+avx+avx2"))]
fn centre_tap(out: &mut [f64], row: &[f64], tap: f64) {
    for (out, value) in out.iter_mut().zip(row) {
        *out = value * tap;
    }
}

/// `out += (a + b) · tap`: the two taps at the same distance from the centre.
#[multiversion(targets("x86_64+avx+avx2"))]
fn add_pair(out: &mut [f64], a: &[f64], b: &[f64], tap: f64) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out += (a + b) * tap;
    }
}

/// Euclidean distances between the colours of two rows given as planes.
#[multiversion(targets("x86_64+avx+avx2"))]
fn colour_distances(out: &mut [f64], from: [&[f64]; 3], to: [&[f64]; 3]) {
    let n = out.len();
    let (r0, g0, b0) = (&from[0][..n], &from[1][..n], &from[2][..n]);
    let (r1, g1, b1) = (&to[0][..n], &to[1][..n], &to[2][..n]);
    for i in 0..n {
        let (r, g, b) = (r1[i] - r0[i], g1[i] - g0[i], b1[i] - b0[i]);
        out[i] = (r * r + g * g + b * b).sqrt();
    }
}

// Sorting. A weight's key is its upper bits as an f32, counted from those of 2^-15, so that
// nearly every weight is alone with its key. A counting pass by the key's upper half makes
// buckets that fit the processor's cache; in a bucket, a second one by the lower half puts the
// keys in order, and the few equal keys are then ordered exactly, by their f64 weights.

const HIGH_BITS: u32 = 11;
const HIGH_DIGITS: usize = 1 << HIGH_BITS;
const LOW_BITS: u32 = 11;
const LOW_DIGITS: usize = 1 << LOW_BITS;
/// What is left of the 27 bits that f32s between 2^-15 and 2 take.
const DROPPED_BITS: u32 = 27 - HIGH_BITS - LOW_BITS;
const KEY_FLOOR: u32 = 0x3800_0000; // 2^-15
/// Buckets up to this size are sorted by comparing.
const SMALL_BUCKET: usize = 48;

/// Monotone in the weight; uses all of the two digits for weights below 2 (they reach √3).
fn key(weight: f64) -> usize {
    ((weight as f32).to_bits().saturating_sub(KEY_FLOOR) >> DROPPED_BITS) as usize
}

fn high_digit(weight: f64) -> usize {
    (key(weight) >> LOW_BITS) % HIGH_DIGITS
}

fn low_digit(weight: f64) -> usize {
    key(weight) % LOW_DIGITS
}

/// The edges of an image in buckets of ascending weight, each bucket in order of `id`.
///
/// Sorting is left to [`sort_bucket`]: by the time that the heavier buckets come up, most of
/// their edges lie within a segment and need no order.
#[derive(Debug)]
pub(crate) struct Buckets<'a> {
    edges: &'a [Edge],
    ends: [u32; HIGH_DIGITS],
}

impl Buckets<'_> {
    /// The buckets, lightest first; some are empty.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[Edge]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(move |(&start, &end)| &self.edges[start as usize..end as usize])
    }
}

/// Writes edges of one bucket, which must be in order of `id`, into `to` in ascending order of
/// weight. Of equal weights, all rightward edges come first, then downward, then the two
/// diagonals, each in raster order.
pub(crate) fn sort_bucket(from: &[Edge], to: &mut [Edge]) {
    if from.len() <= SMALL_BUCKET {
        to.copy_from_slice(from);
        to.sort_unstable_by(Edge::order);
    } else {
        let mut counts = [0; LOW_DIGITS];
        from.iter().for_each(|edge| counts[low_digit(edge.weight)] += 1);
        scatter(from, to, &mut counts, low_digit);
        sort_equal_keys(to);
    }
}

/// One stable counting pass from `from` to `to`. `counts` says how often each digit occurs, and
/// afterwards where its edges end.
fn scatter<const DIGITS: usize>(
    from: &[Edge], to: &mut [Edge], counts: &mut [u32; DIGITS], digit: impl Fn(f64) -> usize,
) {
    let mut start = 0;
    for count in counts.iter_mut() {
        start += std::mem::replace(count, start);
    }
    for edge in from {
        let place = &mut counts[digit(edge.weight)];
        to[*place as usize] = *edge;
        *place += 1;
    }
}

/// Longest way that an edge is moved by insertion; beyond it, its run is sorted as a whole.
const INSERTION_REACH: usize = 12;

/// Puts edges of equal key, which are in order of `id`, in order of weight first.
fn sort_equal_keys(edges: &mut [Edge]) {
    let mut at = 1;
    while at < edges.len() {
        let edge = edges[at];
        if edges[at - 1].weight <= edge.weight {
            at += 1;
            continue;
        }
        let stop = at.saturating_sub(INSERTION_REACH);
        let mut to = at - 1;
        while to > stop && edges[to - 1].weight > edge.weight {
            to -= 1;
        }
        if to > stop {
            edges.copy_within(to..at, to + 1);
            edges[to] = edge;
            at += 1;
        } else {
            at = sort_run(edges, at);
        }
    }
}

/// Sorts the whole run of edges with the key of `edges[at]`; returns its end.
fn sort_run(edges: &mut [Edge], at: usize) -> usize {
    let run_key = key(edges[at].weight);
    let in_run = |edge: &&Edge| key(edge.weight) == run_key;
    let start = at - edges[..at].iter().rev().take_while(in_run).count();
    let end = at + edges[at..].iter().take_while(in_run).count();
    edges[start..end].sort_unstable_by(Edge::order);
    end
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Checks the order and that every pair of neighbours is joined once.
    fn check(rgb: &[u8], width: usize, height: usize, sigma: f64) {
        let mut builder = EdgeBuilder::default();
        let buckets = builder.build(rgb, width, height, sigma);
        let mut edges = Vec::new();
        for bucket in buckets.iter() {
            let start = edges.len();
            edges.resize(start + bucket.len(), Edge::default());
            sort_bucket(bucket, &mut edges[start..]);
        }
        assert!(edges.windows(2).all(|pair| {
            let order = pair[0].weight.total_cmp(&pair[1].weight);
            order.then(pair[0].id.cmp(&pair[1].id)).is_lt()
        }));
        let steps = neighbour_steps(width);
        let joined: HashSet<(u32, u32)> = edges.iter().map(|edge| edge.ends(&steps)).collect();
        assert_eq!(joined.len(), edges.len());
        assert_eq!(edges.len(), direction_starts(width, height)[4]);
        for (a, b) in joined {
            let (a, b) = (a as usize, b as usize);
            assert!(b < width * height);
            assert!((a % width).abs_diff(b % width) <= 1 && (b / width - a / width) <= 1);
        }
    }

    #[test]
    fn edges_come_in_exact_order() {
        let noise = |n: usize| (0..n).map(|at| (at * at * 31 % 251) as u8).collect::<Vec<_>>();
        for (width, height) in [(1, 1), (1, 7), (7, 1), (2, 3), (31, 17), (64, 64)] {
            for sigma in [0.0, 0.8, 4.0] {
                check(&noise(3 * width * height), width, height, sigma);
                // Weights that differ by rounding only, or not at all.
                let ramp: Vec<u8> = (0..width * height).flat_map(|at| [(at % width) as u8; 3]).collect();
                check(&ramp, width, height, sigma);
                check(&vec![77; 3 * width * height], width, height, sigma);
            }
        }
    }

    #[test]
    fn keys_are_monotone_and_fit_two_digits() {
        let weights = [0.0, 1e-300, 1e-9, 3.0e-5, 3.1e-5, 0.1, 0.100_001, 1.0, 3f64.sqrt()];
        let keys = weights.map(key);
        assert!(keys.is_sorted());
        assert!(keys[8] < HIGH_DIGITS * LOW_DIGITS);
        assert!(keys[5] < keys[6]);
    }

    #[test]
    fn mirrors_as_often_as_needed() {
        let mirrored: Vec<usize> = (-5..6).map(|at| reflect(at, 2)).collect();
        assert_eq!(mirrored, [0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1]);
        let mut padded = Vec::new();
        pad(&[1.0, 2.0, 3.0], 2, &mut padded);
        assert_eq!(padded, [2.0, 1.0, 1.0, 2.0, 3.0, 3.0, 2.0]);
    }

    /// An impulse comes back as the outer product of the kernel, which sums to 1.
    #[test]
    fn smooths_separably() {
        let (side, sigma) = (15, 0.8);
        let mut rgb = vec![0; 3 * side * side];
        rgb[3 * (7 * side + 7) + 1] = 255;
        let mut builder = EdgeBuilder::default();
        to_planes(&rgb, side, &mut builder.planes);
        let kernel = half_kernel(sigma);
        assert_eq!(kernel.len(), 4);
        assert!((kernel[0] + 2.0 * kernel[1..].iter().sum::<f64>() - 1.0).abs() < 1e-15);
        for y in 0..side {
            builder.smooth_row(y, side, side, &kernel);
            for x in 0..side {
                let tap = |at: usize| kernel.get(at.abs_diff(7)).copied().unwrap_or(0.0);
                assert!((builder.rows[1][side + x] - tap(x) * tap(y)).abs() < 1e-16);
                assert_eq!(builder.rows[1][x], 0.0);
            }
        }
    }
}
