//! The pixel graph of a tile: 8-neighbour edges and their weights.

use multiversion::multiversion;

use super::order::Buckets;
use super::smoothing::{Colours, resize};
use super::tiles::Area;

const PIXEL_BITS: u32 = 30;
const PIXEL_MASK: u32 = (1 << PIXEL_BITS) - 1;

/// An edge: its weight as the bits of an f32, then direction (2 bits) and the pixel that it
/// starts from (30 bits). Ordered as numbers they are in order of weight but for rounding.
pub(super) type Edge = u64;

/// An edge as a forest's lists hold it.
pub(super) trait Joint: Copy + Default {
    /// Of `nodes`, the two that the edge joins, or any below the same roots.
    fn new(edge: Edge, nodes: (u32, u32)) -> Self;

    fn edge(self) -> Edge;

    /// The nodes that the edge joins; `steps` from [`neighbour_steps`].
    fn nodes(self, steps: &[u32; 4]) -> (u32, u32);

    #[inline]
    fn key(self) -> u32 {
        edge_key(self.edge())
    }

    #[inline]
    fn id(self) -> u32 {
        edge_id(self.edge())
    }
}

/// Where pixels are the nodes, an edge's number says what it joins.
impl Joint for Edge {
    #[inline]
    fn new(edge: Edge, _: (u32, u32)) -> Self {
        edge
    }

    #[inline]
    fn edge(self) -> Edge {
        self
    }

    #[inline]
    fn nodes(self, steps: &[u32; 4]) -> (u32, u32) {
        ends(edge_id(self), steps)
    }
}

/// An edge between segments, whose nodes are at hand: looked up by pixel, each is a cache miss.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Link {
    edge: Edge,
    nodes: (u32, u32),
}

impl Joint for Link {
    #[inline]
    fn new(edge: Edge, nodes: (u32, u32)) -> Self {
        Self { edge, nodes }
    }

    #[inline]
    fn edge(self) -> Edge {
        self.edge
    }

    #[inline]
    fn nodes(self, _: &[u32; 4]) -> (u32, u32) {
        self.nodes
    }
}

/// Monotone in the weight; weights that differ by less than rounding share a key.
#[inline]
pub(super) fn key(weight: f64) -> u32 {
    (weight as f32).to_bits()
}

#[inline]
pub(super) fn edge(key: u32, id: u32) -> Edge {
    u64::from(key) << 32 | u64::from(id)
}

pub(super) fn edge_key(edge: Edge) -> u32 {
    (edge >> 32) as u32
}

/// Direction and start of an edge.
#[inline]
pub(super) fn edge_id(edge: Edge) -> u32 {
    edge as u32
}

pub(super) fn new_id(direction: usize, pixel: usize) -> u32 {
    (direction as u32) << PIXEL_BITS | pixel as u32
}

#[inline]
pub(super) fn direction(id: u32) -> usize {
    (id >> PIXEL_BITS) as usize
}

#[inline]
pub(super) fn start(id: u32) -> u32 {
    id & PIXEL_MASK
}

/// The two pixels that an edge joins; `steps` from [`neighbour_steps`].
#[inline]
pub(super) fn ends(id: u32, steps: &[u32; 4]) -> (u32, u32) {
    (start(id), start(id) + steps[direction(id)])
}

/// From a pixel's index to its right, lower, lower right, lower left neighbour's.
#[inline]
pub(super) fn neighbour_steps(width: usize) -> [u32; 4] {
    let w = width as u32;
    [1, w, w + 1, w.wrapping_sub(1)]
}

/// The edges of one tile.
#[derive(Debug, Default)]
pub(super) struct TileEdges {
    /// Colours of the row above and of the row at hand, `[3, width]`.
    planes: [[Vec<f64>; 3]; 2],
    /// Keys of the row's edges by direction; rightward edges of the row below last.
    keys: [Vec<u32>; 5],
    /// Dominated edges of the blocks of the row above, and of this one; see [`dominated`].
    blocks: [Vec<u8>; 2],
    /// A bit for each direction's edge from the pixel: whether it sleeps.
    asleep: Vec<u8>,
    awake: [Vec<Edge>; 4],
    bucketed: Vec<Edge>,
}

impl TileEdges {
    /// Makes the edges within a tile, and sorts those into buckets that are awake.
    pub(super) fn build(&mut self, colours: &Colours, tile: &Area) -> (Buckets<'_, Edge>, &[u8]) {
        self.reset(tile);
        self.read(0, colours, tile);
        self.weigh(0);
        for y in 0..tile.height {
            self.keys.swap(0, 4);
            if y + 1 < tile.height {
                self.read(y + 1, colours, tile);
                (0..4).for_each(|direction| self.weigh(direction));
            }
            self.finish_row(y, tile);
        }
        (Buckets::sort(&self.awake, &mut self.bucketed), &self.asleep)
    }

    fn reset(&mut self, tile: &Area) {
        self.keys.iter_mut().for_each(|keys| resize(keys, tile.width));
        self.planes.as_flattened_mut().iter_mut().for_each(|plane| resize(plane, tile.width));
        for blocks in &mut self.blocks {
            blocks.clear();
            resize(blocks, tile.width + 1);
        }
        resize(&mut self.asleep, tile.width * tile.height);
        self.awake.iter_mut().for_each(Vec::clear);
    }

    /// Reads the colours of row `y`.
    fn read(&mut self, y: usize, colours: &Colours, tile: &Area) {
        self.planes.swap(0, 1);
        to_planes(colours.row(tile.x, tile.y + y, tile.width), self.planes[1].each_mut());
    }

    /// Weighs the edges of one direction that end in the row at hand.
    fn weigh(&mut self, direction: usize) {
        // Columns of the first pixel (in the row above, but for rightward edges) and of the second.
        let (row, from, to) = [(1, 0, 1), (0, 0, 0), (0, 0, 1), (0, 1, 0)][direction];
        let keys = if direction == 0 { &mut self.keys[4] } else { &mut self.keys[direction] };
        let count = keys.len() - from.max(to);
        weigh(
            &mut keys[from..from + count],
            self.planes[row].each_ref().map(|plane| &plane[from..]),
            self.planes[1].each_ref().map(|plane| &plane[to..]),
        );
    }

    /// All edges that start in row `y` are known: those that are awake are listed.
    fn finish_row(&mut self, y: usize, tile: &Area) {
        self.blocks.swap(0, 1);
        let (width, row) = (tile.width, y * tile.width);
        let below = y + 1 < tile.height;
        self.blocks[1].fill(0);
        if below {
            let last = width - 1;
            let [h, v, d, e, h1] = &self.keys;
            let sides = [&h[..last], &h1[..last], &v[..last], &v[1..]];
            dominated(&mut self.blocks[1][1..width], sides, [&d[..last], &e[1..]]);
        }
        mark_asleep(&mut self.asleep[row..row + width], &self.blocks[0], &self.blocks[1]);
        let spans = [(0, width - 1), (0, width), (0, width - 1), (1, width)];
        for (direction, &(from, to)) in spans[..if below { 4 } else { 1 }].iter().enumerate() {
            let first = new_id(direction, row + from);
            let asleep = &self.asleep[row + from..row + to];
            list_awake(&mut self.awake[direction], &self.keys[direction][from..to], asleep, direction, first);
        }
    }
}

/// `[width, 3]` to `[3, width]`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx+avx2"))]
fn to_planes(row: &[f64], [red, green, blue]: [&mut Vec<f64>; 3]) {
    for (((r, g), b), pixel) in red.iter_mut().zip(green).zip(blue).zip(row.as_chunks::<3>().0) {
        (*r, *g, *b) = (pixel[0], pixel[1], pixel[2]);
    }
}

/// Keys of the edges between the pixels of two rows given as planes.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx+avx2"))]
fn weigh(keys: &mut [u32], from: [&[f64]; 3], to: [&[f64]; 3]) {
    let n = keys.len();
    let (r0, g0, b0) = (&from[0][..n], &from[1][..n], &from[2][..n]);
    let (r1, g1, b1) = (&to[0][..n], &to[1][..n], &to[2][..n]);
    for i in 0..n {
        let (r, g, b) = (r1[i] - r0[i], g1[i] - g0[i], b1[i] - b0[i]);
        let weight = (r * r + g * g + b * b).sqrt();
        keys[i] = key(weight);
    }
}

/// For each block of 2 × 2 pixels, which of its six edges are heavier than all edges of another
/// way between their ends within the block: a bit for the upper, lower, left and right side,
/// the falling and the rising diagonal.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx+avx2"))]
fn dominated(out: &mut [u8], sides: [&[u32]; 4], diagonals: [&[u32]; 2]) {
    let n = out.len();
    let [upper, lower, left, right] = sides.map(|keys| &keys[..n]);
    let [falling, rising] = diagonals.map(|keys| &keys[..n]);
    for i in 0..n {
        // Edges of weight 0 are in order of direction and pixel.
        let (t, b, l, r) = (upper[i], lower[i].max(1), left[i].max(2), right[i].max(3));
        let (d, e) = (falling[i].max(4), rising[i].max(5));
        // The two ways over the first given edge, the two over the second.
        let way = |a: u32, a1: u32, b: u32, b1: u32, across: u32| {
            let over_a = a.max(a1.min(across.max(b1)));
            let over_b = b.max(b1.min(across.max(a1)));
            over_a.min(over_b)
        };
        let bits = u8::from(t > way(l, e, d, r, b))
            | u8::from(b > way(l, d, e, r, t)) << 1
            | u8::from(l > way(t, e, d, b, r)) << 2
            | u8::from(r > way(t, d, e, b, l)) << 3
            | u8::from(d > way(t, r, l, b, e)) << 4
            | u8::from(e > way(t, l, r, b, d)) << 5;
        out[i] = bits;
    }
}

/// From the dominated edges of the blocks above and below a row of pixels to those of the pixels.
/// `blocks[x + 1]` is the one whose left column is `x`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx+avx2"))]
fn mark_asleep(asleep: &mut [u8], above: &[u8], below: &[u8]) {
    let n = asleep.len();
    let (above, left, right) = (&above[1..n + 1], &below[..n], &below[1..n + 1]);
    for x in 0..n {
        let rightward = (above[x] >> 1 | right[x]) & 1;
        let down = (right[x] >> 2 | left[x] >> 3) & 1;
        asleep[x] = rightward | down << 1 | (right[x] >> 4 & 1) << 2 | (left[x] >> 5 & 1) << 3;
    }
}

/// Appends those edges of a row that are awake. Without a branch, which could not be predicted.
fn list_awake(list: &mut Vec<Edge>, keys: &[u32], asleep: &[u8], direction: usize, first: u32) {
    let start = list.len();
    list.resize(start + keys.len(), 0);
    let out = &mut list[start..];
    let mut count = 0;
    for ((&key, &asleep), id) in keys.iter().zip(asleep).zip(first..) {
        out[count] = edge(key, id);
        count += usize::from(!asleep >> direction & 1);
    }
    list.truncate(start + count);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::regions::order::Sorter;

    /// Checks the order, and that every pair of neighbours is joined once, awake or asleep.
    fn check(rgb: &[u8], width: usize, height: usize, sigma: f64) {
        let tile = Area { x: 0, y: 0, width, height };
        let (mut colours, mut edges) = (Colours::default(), TileEdges::default());
        colours.smooth(rgb, (width, height), sigma);
        let weights = colours.weights(tile);
        let (buckets, asleep) = edges.build(&colours, &tile);
        let (mut sorter, mut ids) = (Sorter::default(), Vec::new());
        for bucket in buckets.iter() {
            let count = sorter.sort(bucket, &weights);
            ids.extend(sorter.ordered[..count].iter().map(|&edge| edge_id(edge)));
        }
        assert!(ids.windows(2).all(|pair| weights.exact(pair[0]) < weights.exact(pair[1])));
        let sleeping = (0..4).flat_map(|direction| {
            let sleeps = move |&pixel: &usize| asleep[pixel] >> direction & 1 == 1;
            (0..width * height).filter(sleeps).map(move |pixel| new_id(direction, pixel))
        });
        let all: Vec<u32> = ids.into_iter().chain(sleeping).collect();
        let steps = neighbour_steps(width);
        let joined: HashSet<(u32, u32)> = all.iter().map(|&id| ends(id, &steps)).collect();
        assert_eq!(joined.len(), all.len());
        let (w, h) = (width, height);
        assert_eq!(all.len(), (w - 1) * h + w * (h - 1) + 2 * (w - 1) * (h - 1));
        for (a, b) in joined {
            let (a, b) = (a as usize, b as usize);
            assert!(b < w * h && (a % w).abs_diff(b % w) <= 1 && (b / w - a / w) <= 1);
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

    /// Of the six edges of one block, three join its pixels; the others sleep.
    #[test]
    fn only_a_tree_of_each_block_is_awake() {
        let dominated = |[t, b, l, r, d, e]: [u32; 6]| {
            let mut bits = [0];
            super::dominated(&mut bits, [&[t], &[b], &[l], &[r]], [&[d], &[e]]);
            bits[0]
        };
        assert_eq!(dominated([10, 20, 30, 40, 50, 60]), 0b11_1000);
        assert_eq!(dominated([60, 50, 40, 30, 20, 10]), 0b00_0111);
        // Around the block: the sides' heaviest, though both diagonals are heavier.
        assert_eq!(dominated([10, 20, 30, 25, 50, 60]), 0b11_0100);
        // Of equal edges none is heavier, but of equal colours one way is enough.
        assert_eq!(dominated([10; 6]), 0);
        assert_eq!(dominated([0; 6]), 0b11_1000);
    }
}
