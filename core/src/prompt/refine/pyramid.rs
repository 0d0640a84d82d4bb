//! Superpixels joined to ever larger regions, and who touches whom on every level: what the
//! [prior](super::prior) passes its messages along.

use super::colour::{Lab, distance2};
use super::superpixels::{Superpixels, find};

/// Levels, superpixels first.
pub(super) const LEVELS: usize = 3;
/// Rounds of joining from level to level; each leaves about two fifths of the regions.
const ROUNDS: usize = 2;
/// Difference of colours at which a neighbour says little.
const DIFFERENCE: f32 = 10.0;

/// A neighbour, with its part of all that a region hears.
#[derive(Clone, Copy)]
pub(super) struct Edge {
    pub(super) other: u32,
    /// By the length of the common border.
    pub(super) plain: f32,
    /// By how alike the colours are, too.
    pub(super) alike: f32,
}

/// Regions of one size.
pub(super) struct Level {
    edges: Vec<Edge>,
    starts: Vec<u32>,
    /// Part of the image that each covers.
    pub(super) share: Vec<f32>,
    /// The region of the next level that holds each, and the part of that it is.
    pub(super) up: Vec<(u32, f32)>,
}

impl Level {
    pub(super) fn len(&self) -> usize {
        self.share.len()
    }

    pub(super) fn around(&self, region: usize) -> &[Edge] {
        &self.edges[self.starts[region] as usize..self.starts[region + 1] as usize]
    }
}

/// All levels of one image.
pub(super) fn levels(superpixels: &Superpixels) -> [Level; LEVELS] {
    let mut regions = Regions::new(superpixels);
    std::array::from_fn(|_| {
        let mut up: Vec<u32> = (0..regions.area.len() as u32).collect();
        let mut larger = regions.clone();
        for _ in 0..ROUNDS {
            let joined = larger.join();
            up.iter_mut().for_each(|region| *region = joined[*region as usize]);
            larger = larger.merge(&joined);
        }
        let share = |(&up, &area): (&u32, &f32)| (up, area / larger.area[up as usize]);
        let up = up.iter().zip(&regions.area).map(share).collect();
        let level = regions.level(up);
        regions = std::mem::take(&mut larger);
        level
    })
}

#[derive(Clone, Default)]
struct Regions {
    area: Vec<f32>,
    colour: Vec<Lab>,
    /// Both ways, sorted: from, to, length of the common border.
    borders: Vec<(u32, u32, f32)>,
}

impl Regions {
    fn new(superpixels: &Superpixels) -> Self {
        let around = |at: u32| superpixels.around(at as usize).iter().map(move |t| (at, t.other, t.length));
        Self {
            area: superpixels.patches.iter().map(|patch| patch.area.max(1.0)).collect(),
            colour: superpixels.patches.iter().map(|patch| patch.colour).collect(),
            borders: (0..superpixels.len() as u32).flat_map(around).collect(),
        }
    }

    /// The number of the region that each becomes part of when it joins the neighbour that changes
    /// the colours least (Ward's criterion; Borůvka's way of taking all at once).
    fn join(&self) -> Vec<u32> {
        let mut nearest = vec![(f32::INFINITY, 0u32); self.area.len()];
        for &(a, b, _) in &self.borders {
            let (x, y) = (a as usize, b as usize);
            let areas = self.area[x] * self.area[y] / (self.area[x] + self.area[y]);
            let cost = areas * (1.0 + distance2(self.colour[x], self.colour[y]));
            if cost < nearest[x].0 {
                nearest[x] = (cost, b);
            }
        }
        let mut group: Vec<u32> = (0..self.area.len() as u32).collect();
        for (at, (cost, to)) in (0u32..).zip(nearest) {
            let (root, to) = (find(&mut group, at), find(&mut group, to));
            if cost.is_finite() {
                group[root as usize] = to;
            }
        }
        let mut numbers = vec![u32::MAX; self.area.len()];
        let mut next = 0;
        let number = |at: u32| {
            let root = find(&mut group, at) as usize;
            if numbers[root] == u32::MAX {
                numbers[root] = next;
                next += 1;
            }
            numbers[root]
        };
        (0..self.area.len() as u32).map(number).collect()
    }

    fn merge(&self, joined: &[u32]) -> Self {
        let count = joined.iter().max().map_or(0, |&most| most as usize + 1);
        let (mut area, mut colour) = (vec![0.0f32; count], vec![[0.0f32; 3]; count]);
        for ((&to, &part), own) in joined.iter().zip(&self.area).zip(&self.colour) {
            area[to as usize] += part;
            colour[to as usize].iter_mut().zip(own).for_each(|(sum, value)| *sum += part * value);
        }
        colour.iter_mut().zip(&area).for_each(|(colour, area)| *colour = colour.map(|sum| sum / area));
        let mapped = self.borders.iter().map(|&(a, b, l)| (joined[a as usize], joined[b as usize], l));
        let mut pieces: Vec<_> = mapped.filter(|(a, b, _)| a != b).collect();
        pieces.sort_by_key(|&(a, b, _)| (a, b));
        let mut borders: Vec<(u32, u32, f32)> = Vec::new();
        for (a, b, length) in pieces {
            match borders.last_mut() {
                Some(last) if (last.0, last.1) == (a, b) => last.2 += length,
                _ => borders.push((a, b, length)),
            }
        }
        Self { area, colour, borders }
    }

    fn level(&self, up: Vec<(u32, f32)>) -> Level {
        let all: f32 = self.area.iter().sum();
        let (mut starts, mut sums) = (vec![0u32; self.area.len() + 1], vec![[0.0f32; 2]; self.area.len()]);
        let mut edges = Vec::with_capacity(self.borders.len());
        for &(from, other, length) in &self.borders {
            let difference = distance2(self.colour[from as usize], self.colour[other as usize]).sqrt();
            let edge = Edge { other, plain: length, alike: length * (-difference / DIFFERENCE).exp() };
            starts[from as usize + 1] += 1;
            sums[from as usize][0] += edge.plain;
            sums[from as usize][1] += edge.alike;
            edges.push(edge);
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        for (edge, &(from, ..)) in edges.iter_mut().zip(&self.borders) {
            let [plain, alike] = sums[from as usize];
            edge.plain /= plain.max(1e-12);
            edge.alike /= alike.max(1e-12);
        }
        Level { edges, starts, share: self.area.iter().map(|area| area / all).collect(), up }
    }
}
