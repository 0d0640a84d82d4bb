//! The border of the mask, pixel by pixel: a second minimum cut in a narrow band around the border
//! that the superpixels gave.

use super::RefineCache;
use super::colour::{Converter, Lab, distance2};
use super::constraints::{Constraints, Known};
use super::maxflow::Network;
use super::weights::RefineWeights;

/// Capacity of a cost of 1.
const UNIT: f32 = 200.0;
/// Cost that no other can outweigh.
const CERTAIN: i32 = 1_000_000;

/// Steps to the neighbours, with the inverse of their length.
const NEIGHBOURS: [(isize, isize, f32); 8] = [
    (-1, -1, 0.707),
    (0, -1, 1.0),
    (1, -1, 0.707),
    (-1, 0, 1.0),
    (1, 0, 1.0),
    (-1, 1, 0.707),
    (0, 1, 1.0),
    (1, 1, 0.707),
];

/// What the cut of the superpixels found.
pub(super) struct Coarse<'a> {
    pub(super) labels: &'a [bool],
    pub(super) mixed: &'a [bool],
    /// Log odds of the palette's colours.
    pub(super) colours: &'a [f32],
}

/// One image, one object.
pub(super) struct Band<'a> {
    pub(super) cache: &'a RefineCache,
    pub(super) rgb: &'a [[u8; 3]],
    pub(super) constraints: &'a Constraints,
    pub(super) coarse: Coarse<'a>,
    pub(super) weights: &'a RefineWeights,
}

/// Pixels of the band, in raster order, and where each pixel of the image stands among them.
struct Pixels {
    list: Vec<u32>,
    number: Vec<u32>,
}

const NOT_IN_BAND: u32 = u32::MAX;

impl Band<'_> {
    /// The mask, 0 and 1.
    pub(super) fn refine(&self) -> Vec<u8> {
        let mut mask = self.enlarge();
        let pixels = self.pixels(&mask);
        let lab = self.convert(&pixels);
        let mut network = Network::default();
        network.reset(pixels.list.len());
        self.add_terminals(&mut network, &mask, &pixels, &lab);
        self.add_edges(&mut network, &mask, &pixels, &lab);
        network.solve();
        for (number, &at) in pixels.list.iter().enumerate() {
            mask[at as usize] = u8::from(network.at_source(number));
        }
        mask
    }

    /// The superpixels' labels at the image's size.
    fn enlarge(&self) -> Vec<u8> {
        let (cache, width) = (self.cache, self.cache.width);
        let mut mask = Vec::with_capacity(width * cache.height);
        for y in 0..cache.height {
            let start = y / cache.factor * cache.columns;
            let line = &cache.superpixels.labels[start..start + cache.columns];
            let before = mask.len();
            for &label in line {
                let inside = u8::from(self.coarse.labels[label as usize]);
                mask.extend(std::iter::repeat_n(inside, cache.factor));
            }
            mask.truncate(before + width);
        }
        mask
    }

    fn pixels(&self, mask: &[u8]) -> Pixels {
        let (width, height) = (self.cache.width, self.cache.height);
        let reach = self.weights.edge_reach * self.cache.factor;
        let mut number = vec![NOT_IN_BAND; mask.len()];
        let mut mark = |x: usize, y: usize| {
            let (left, right) = (x.saturating_sub(reach), (x + reach + 1).min(width));
            for row in y.saturating_sub(reach)..(y + reach + 1).min(height) {
                number[row * width + left..row * width + right].fill(0);
            }
        };
        for y in 0..height {
            let line = &mask[y * width..(y + 1) * width];
            let below = &mask[(y + 1).min(height - 1) * width..][..width];
            for x in 0..width {
                if line[x] != below[x] || x + 1 < width && line[x] != line[x + 1] {
                    mark(x, y);
                }
            }
        }
        if self.coarse.mixed.contains(&true) {
            for (at, number) in number.iter_mut().enumerate() {
                if self.coarse.mixed[self.cache.patch_at(at % width, at / width)] {
                    *number = 0;
                }
            }
        }
        let mut list = Vec::new();
        for (at, number) in number.iter_mut().enumerate() {
            if *number != NOT_IN_BAND {
                *number = list.len() as u32;
                list.push(at as u32);
            }
        }
        Pixels { list, number }
    }

    fn convert(&self, pixels: &Pixels) -> Vec<Lab> {
        let converter = Converter::new();
        let rgb = |at: u32| self.rgb.get(at as usize).copied().unwrap_or_default();
        pixels.list.iter().map(|&at| converter.lab(rgb(at))).collect()
    }

    fn add_terminals(&self, network: &mut Network, mask: &[u8], pixels: &Pixels, lab: &[Lab]) {
        let width = self.cache.width;
        let mut ring = Ring::default();
        for (number, (&at, &colour)) in pixels.list.iter().zip(lab).enumerate() {
            let at = at as usize;
            let capacity = match self.constraints.map[at] {
                Known::Inside => CERTAIN,
                Known::Outside => -CERTAIN,
                Known::Free => {
                    let patch = self.cache.patch_at(at % width, at / width);
                    ring.visit(self.cache, self.coarse.labels, patch);
                    let rgb = self.rgb.get(at).copied().unwrap_or_default();
                    let global = self.coarse.colours[self.cache.palette.index(rgb)];
                    let stay = if mask[at] != 0 { self.weights.edge_stay } else { -self.weights.edge_stay };
                    let cost = self.weights.edge_local * ring.odds(colour)
                        + self.weights.edge_global * global
                        + stay;
                    (UNIT * cost) as i32
                }
            };
            network.add_terminal(number, capacity);
        }
    }

    fn add_edges(&self, network: &mut Network, mask: &[u8], pixels: &Pixels, lab: &[Lab]) {
        let (width, height) = (self.cache.width, self.cache.height);
        let scale = -0.5 / mean_difference(pixels, lab, width).max(1.0);
        for (number, &at) in pixels.list.iter().enumerate() {
            let (x, y) = (at as usize % width, at as usize / width);
            for (right, down, nearness) in NEIGHBOURS {
                let (column, row) = (x.wrapping_add_signed(right), y.wrapping_add_signed(down));
                if column >= width || row >= height {
                    continue;
                }
                let other = row * width + column;
                let to = pixels.number[other];
                if to == NOT_IN_BAND {
                    // A pixel that keeps its label draws its neighbours towards it.
                    let pull = (UNIT * self.weights.edge_smooth * nearness) as i32;
                    network.add_terminal(number, if mask[other] != 0 { pull } else { -pull });
                    continue;
                }
                if to as usize <= number {
                    continue;
                }
                let alike = (scale * distance2(lab[number], lab[to as usize])).exp();
                let capacity = (UNIT * self.weights.edge_smooth * nearness * (alike + 0.02)) as i32;
                network.add_edge(number, to as usize, capacity, capacity);
            }
        }
    }
}

/// Mean squared difference of neighbours in a row.
fn mean_difference(pixels: &Pixels, lab: &[Lab], width: usize) -> f32 {
    let (mut sum, mut count) = (0.0, 1.0);
    for (at, pair) in pixels.list.windows(2).enumerate() {
        if pair[1] == pair[0] + 1 && !(pair[1] as usize).is_multiple_of(width) {
            sum += distance2(lab[at], lab[at + 1]);
            count += 1.0;
        }
    }
    sum / count
}

/// The colours inside and outside near a superpixel.
#[derive(Default)]
struct Ring {
    patch: Option<usize>,
    inside: Vec<Lab>,
    outside: Vec<Lab>,
}

/// Squared width of a local colour.
const SPREAD: f32 = 60.0;
/// Local odds at most.
const MOST: f32 = 3.0;

impl Ring {
    fn visit(&mut self, cache: &RefineCache, labels: &[bool], patch: usize) {
        if self.patch == Some(patch) {
            return;
        }
        self.patch = Some(patch);
        self.inside.clear();
        self.outside.clear();
        self.add(cache, labels, patch);
        for touch in cache.superpixels.around(patch) {
            self.add(cache, labels, touch.other as usize);
        }
    }

    fn add(&mut self, cache: &RefineCache, labels: &[bool], patch: usize) {
        let colours = if labels[patch] { &mut self.inside } else { &mut self.outside };
        colours.push(cache.superpixels.patches[patch].colour);
    }

    /// Log odds that a colour belongs to those inside.
    fn odds(&self, colour: Lab) -> f32 {
        let least = |colours: &[Lab]| {
            colours.iter().map(|&other| distance2(colour, other)).fold(f32::INFINITY, f32::min)
        };
        let (inside, outside) = (least(&self.inside), least(&self.outside));
        if !inside.is_finite() || !outside.is_finite() {
            return 0.0;
        }
        ((outside - inside) / SPREAD).clamp(-MOST, MOST)
    }
}
