//! The border of the mask, pixel by pixel: a second minimum cut in a narrow band around the border
//! that the superpixels gave.

use super::RefineCache;
use super::colour::{Converter, Lab, distance2};
use super::constraints::{Constraints, Known};
use super::grid::{AFTER, Grid, Links, STEPS, link};
use super::weights::RefineWeights;
use crate::cpu::math::{Real, exp_negative_f32};

/// Capacity of a cost of 1.
const UNIT: f32 = 200.0;
/// Cost that no other can outweigh.
const CERTAIN: i32 = 1_000_000;

/// Pixels whose costs are worked out together, so that the exponential is one of vectors.
const BLOCK: usize = 64;

/// Inverse lengths of the steps to the neighbours.
const NEARNESS: [f32; STEPS.len()] = [1.0, 0.707, 1.0, 0.707, 1.0, 0.707, 1.0, 0.707];

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

impl Band<'_> {
    /// The mask, 0 and 1.
    pub(super) fn refine(&self) -> Vec<u8> {
        let mut mask = self.enlarge();
        let list = self.pixels(&mask);
        let lab = self.convert(&list);
        let links = link(&list, self.cache.width);
        let mut terminal = self.terminals(&mask, &list, &lab);
        self.add_rim(&mut terminal, &mask, &list, &links);
        let capacity = self.capacities(&list, &links, &lab);
        let inside = Grid { links, capacity }.solve(terminal);
        for (&at, inside) in list.iter().zip(inside) {
            mask[at as usize] = u8::from(inside);
        }
        mask
    }

    /// The superpixels' labels at the image's size.
    fn enlarge(&self) -> Vec<u8> {
        let (cache, width) = (self.cache, self.cache.width);
        let mut mask = Vec::with_capacity(width * cache.height);
        for y in 0..cache.height {
            let before = mask.len();
            if !y.is_multiple_of(cache.factor) {
                mask.extend_from_within(before - width..);
                continue;
            }
            let start = y / cache.factor * cache.columns;
            let line = &cache.superpixels.labels[start..start + cache.columns];
            let inside = |label: u32| self.coarse.labels[label as usize];
            for run in line.chunk_by(|&a, &b| inside(a) == inside(b)) {
                mask.resize(mask.len() + run.len() * cache.factor, u8::from(inside(run[0])));
            }
            mask.truncate(before + width);
        }
        mask
    }

    /// Places of the pixels of the band, in raster order.
    fn pixels(&self, mask: &[u8]) -> Vec<u32> {
        let width = self.cache.width;
        let mut near = near_border(mask, width, self.weights.edge_reach + self.cache.factor);
        if self.coarse.mixed.contains(&true) {
            add_patches(&mut near, self.cache, self.coarse.mixed);
        }
        let mut list = Vec::new();
        each_set(&near, |at| list.push(at as u32));
        list
    }

    fn convert(&self, list: &[u32]) -> Vec<Lab> {
        let converter = Converter::new();
        let rgb = |at: u32| self.rgb.get(at as usize).copied().unwrap_or_default();
        list.iter().map(|&at| converter.lab(rgb(at))).collect()
    }

    /// What prompts, colours and superpixels say of each pixel.
    fn terminals(&self, mask: &[u8], list: &[u32], lab: &[Lab]) -> Vec<i32> {
        let mut ring = Ring::default();
        let mut patches = PatchesAt::new(self.cache);
        let terminal = |(&at, &colour): (&u32, &Lab)| {
            let at = at as usize;
            match self.constraints.map[at] {
                Known::Inside => CERTAIN,
                Known::Outside => -CERTAIN,
                Known::Free => {
                    ring.visit(self.cache, self.coarse.labels, patches.at(at));
                    let rgb = self.rgb.get(at).copied().unwrap_or_default();
                    let global = self.coarse.colours[self.cache.palette.index(rgb)];
                    let stay = if mask[at] != 0 { self.weights.edge_stay } else { -self.weights.edge_stay };
                    let cost = self.weights.edge_local * ring.odds(colour)
                        + self.weights.edge_global * global
                        + stay;
                    (UNIT * cost) as i32
                }
            }
        };
        list.iter().zip(lab).map(terminal).collect()
    }

    /// What a step in each direction costs between pixels of one colour.
    fn smooth(&self) -> [f32; STEPS.len()] {
        NEARNESS.map(|nearness| UNIT * self.weights.edge_smooth * nearness)
    }

    /// Pixels beside the band keep their label and draw their neighbours towards it.
    fn add_rim(&self, terminal: &mut [i32], mask: &[u8], list: &[u32], links: &[Links]) {
        let (width, height) = (self.cache.width, self.cache.height);
        let smooth = self.smooth();
        let rim = (list.iter().zip(terminal).zip(links)).filter(|(_, links)| !links.all());
        for ((&at, terminal), links) in rim {
            let (x, y) = (at as usize % width, at as usize / width);
            for (direction, &(right, down)) in STEPS.iter().enumerate().filter(|&(d, _)| !links.has(d)) {
                let (x, y) = (x.wrapping_add_signed(right), y.wrapping_add_signed(down));
                if x < width && y < height {
                    let pull = smooth[direction] as i32;
                    *terminal = terminal.saturating_add(if mask[y * width + x] != 0 { pull } else { -pull });
                }
            }
        }
    }

    /// What it costs to part each pixel from those after it: less where colours differ.
    fn capacities(&self, list: &[u32], links: &[Links], lab: &[Lab]) -> Vec<[i32; AFTER]> {
        let scale = -0.5 / mean_difference(list, lab, self.cache.width).max(1.0);
        let smooth = self.smooth();
        let mut capacity = vec![[0; AFTER]; list.len()];
        let mut alike = [[0.0; AFTER]; BLOCK];
        for (block, capacity) in capacity.chunks_mut(BLOCK).enumerate() {
            for (number, alike) in (block * BLOCK..).zip(&mut alike[..capacity.len()]) {
                for (direction, alike) in alike.iter_mut().enumerate() {
                    // Whether or not it is there: nobody asks for those that are not.
                    let other = lab.get(links[number].to(number, direction));
                    *alike = other.map_or(0.0, |&other| scale * distance2(lab[number], other));
                }
            }
            alike.as_flattened_mut().iter_mut().for_each(|alike| *alike = exp_negative_f32(*alike));
            for (capacity, alike) in capacity.iter_mut().zip(&alike) {
                *capacity = std::array::from_fn(|d| (smooth[d] * (alike[d] + 0.02)) as i32);
            }
        }
        capacity
    }
}

/// Superpixels under pixels in raster order, without the divisions that any order would take.
struct PatchesAt<'a> {
    cache: &'a RefineCache,
    /// The first pixel of a row and of the next.
    row: std::ops::Range<usize>,
    /// The superpixels under that row.
    labels: &'a [u32],
    /// For each column of the image that of the superpixels.
    columns: Vec<u32>,
}

impl<'a> PatchesAt<'a> {
    fn new(cache: &'a RefineCache) -> Self {
        let columns = (0..cache.width).map(|x| (x / cache.factor) as u32).collect();
        Self { cache, row: 0..0, labels: &[], columns }
    }

    /// That of a pixel, which comes after the one asked for before.
    fn at(&mut self, pixel: usize) -> usize {
        if pixel >= self.row.end {
            let (width, y) = (self.cache.width, pixel / self.cache.width);
            self.row = y * width..(y + 1) * width;
            self.labels = &self.cache.superpixels.labels[y / self.cache.factor * self.cache.columns..];
        }
        self.labels[self.columns[pixel - self.row.start] as usize] as usize
    }
}

/// Calls `each` with the place of every element that is not 0; eight that are 0 are passed over at once.
fn each_set(of: &[u8], mut each: impl FnMut(usize)) {
    let (eights, rest) = of.as_chunks::<8>();
    for (first, eight) in (0..).step_by(8).zip(eights).filter(|(_, eight)| u64::from_ne_bytes(**eight) != 0) {
        (first..).zip(eight).filter(|(_, value)| **value != 0).for_each(|(at, _)| each(at));
    }
    let first = of.len() - rest.len();
    (first..).zip(rest).filter(|(_, value)| **value != 0).for_each(|(at, _)| each(at));
}

/// 1 within `reach` columns and rows of a pixel that differs from the one to its right or below it.
fn near_border(mask: &[u8], width: usize, reach: usize) -> Vec<u8> {
    let mut near = vec![0; mask.len()];
    let (mut differs, mut wide) = (vec![0; width], vec![0; width]);
    for (y, line) in mask.chunks_exact(width.max(1)).enumerate() {
        let below = mask[y * width..].chunks_exact(width.max(1)).nth(1).unwrap_or(line);
        differs.iter_mut().zip(line).zip(below).for_each(|((differs, a), b)| *differs = a ^ b);
        differs.iter_mut().zip(line.windows(2)).for_each(|(differs, pair)| *differs |= pair[0] ^ pair[1]);
        wide.fill(0);
        let mut any = false;
        each_set(&differs, |x| {
            wide[x.saturating_sub(reach)..(x + reach + 1).min(width)].fill(1);
            any = true;
        });
        if any {
            let rows = near.chunks_exact_mut(width).take(y + reach + 1).skip(y.saturating_sub(reach));
            rows.for_each(|row| row.iter_mut().zip(&wide).for_each(|(near, wide)| *near |= wide));
        }
    }
    near
}

/// Sets all pixels of the superpixels that are among `those`.
fn add_patches(near: &mut [u8], cache: &RefineCache, those: &[bool]) {
    let labels = cache.superpixels.labels.chunks_exact(cache.columns.max(1));
    let rows = near.chunks_mut((cache.factor * cache.width).max(1));
    for (labels, lines) in labels.zip(rows) {
        for line in lines.chunks_exact_mut(cache.width) {
            let pixels = line.chunks_mut(cache.factor).zip(labels);
            pixels.filter(|&(_, &label)| those[label as usize]).for_each(|(pixels, _)| pixels.fill(1));
        }
    }
}

/// Mean squared difference of neighbours in a row.
fn mean_difference(list: &[u32], lab: &[Lab], width: usize) -> f32 {
    let (mut sum, mut count) = (0.0, 1.0);
    for (at, pair) in list.windows(2).enumerate() {
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
            let distances = colours.iter().map(|&other| distance2(colour, other));
            distances.fold(f32::INFINITY, |least, away| away.smaller(least))
        };
        let (inside, outside) = (least(&self.inside), least(&self.outside));
        if !inside.is_finite() || !outside.is_finite() {
            return 0.0;
        }
        ((outside - inside) / SPREAD).clamp(-MOST, MOST)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::{RgbView, WorkingImage};
    use super::*;

    /// 0 and 1 by a rule of thumb that leaves runs of all lengths.
    fn blots(width: usize, height: usize) -> Vec<u8> {
        (0..width * height).map(|at| u8::from((at % width * 7 + at / width * 5) % 61 < at % 29)).collect()
    }

    #[test]
    fn near_a_border_is_within_reach_of_a_pixel_unlike_the_next() {
        for (width, height) in [(1, 1), (1, 9), (9, 1), (40, 23)] {
            let mut masks = vec![blots(width, height), vec![1; width * height]];
            masks.push((0..width * height).map(|at| u8::from(at % width > 3 && at / width > 17)).collect());
            for mask in masks {
                let at = |x: usize, y: usize| mask[y * width + x];
                let differs = |x: usize, y: usize| {
                    x + 1 < width && at(x, y) != at(x + 1, y) || y + 1 < height && at(x, y) != at(x, y + 1)
                };
                for reach in [0, 1, 6] {
                    let around =
                        |at: usize, side: usize| at.saturating_sub(reach)..(at + reach + 1).min(side);
                    let near = near_border(&mask, width, reach);
                    for (place, &found) in near.iter().enumerate() {
                        let (x, y) = (place % width, place / width);
                        let right =
                            around(y, height).any(|row| around(x, width).any(|column| differs(column, row)));
                        assert_eq!(found, u8::from(right), "{width} x {height}, reach {reach}: {x}, {y}");
                    }
                }
            }
        }
    }

    #[test]
    fn superpixels_are_added_whole() {
        for (width, height) in [(1, 1), (61, 40), (1201, 833)] {
            let rgb: Vec<u8> = (0..width * height * 3).map(|at| (at * at % 255) as u8).collect();
            let image = WorkingImage::from_rgb(RgbView::new(width, height, &rgb).unwrap()).unwrap();
            let cache = RefineCache::new(&image, None);
            let those: Vec<bool> = (0..cache.superpixels.patches.len()).map(|at| at % 3 == 0).collect();
            let before = blots(width, height);
            let mut near = before.clone();
            add_patches(&mut near, &cache, &those);
            for (at, (&after, &before)) in near.iter().zip(&before).enumerate() {
                let there = those[cache.patch_at(at % width, at / width)];
                assert_eq!(after, before | u8::from(there), "{width} x {height}: {at}");
            }
        }
    }

    #[test]
    fn every_element_that_is_set_is_met_in_order() {
        for length in [0, 1, 7, 8, 9, 200] {
            let of = blots(length.max(1), 1);
            let mut met = vec![];
            each_set(&of[..length], |at| met.push(at));
            let set: Vec<usize> = (0..length).filter(|&at| of[at] != 0).collect();
            assert_eq!(met, set);
        }
    }
}
