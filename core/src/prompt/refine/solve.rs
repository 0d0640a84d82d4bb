//! Which superpixels belong to the object: a minimum cut between what prompts, logits, colours and
//! ways over the image say of each, and how alike neighbours are.

use super::RefineCache;
use super::constraints::{Constraints, Known};
use super::evidence::{Evidence, Said};
use super::geodesic::Ways;
use super::maxflow::Network;
use super::prior;
use super::weights::RefineWeights;

/// Capacity of a cost of 1.
const UNIT: f32 = 1000.0;
/// Cost that no other can outweigh.
const CERTAIN: f32 = 50_000.0;

/// What is known of a superpixel.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Seed {
    Free,
    Inside,
    Outside,
}

/// Superpixels that the prompts decide, and those that they divide.
pub(super) struct Seeds {
    pub(super) known: Vec<Seed>,
    pub(super) mixed: Vec<bool>,
    /// Those under positive and negative clicks and scribbles.
    pub(super) positive: Vec<u32>,
    pub(super) negative: Vec<u32>,
}

impl Seeds {
    pub(super) fn new(cache: &RefineCache, constraints: &Constraints) -> Self {
        let patches = cache.superpixels.len();
        let (mut inside, mut outside) = (vec![0u32; patches], vec![0u32; patches]);
        for &pixel in &constraints.painted {
            let (x, y) = (pixel as usize % cache.width, pixel as usize / cache.width);
            let counts = match constraints.map[pixel as usize] {
                Known::Inside => &mut inside,
                Known::Outside => &mut outside,
                Known::Free => continue,
            };
            counts[cache.patch_at(x, y)] += 1;
        }
        let beyond = beyond_boxes(cache, constraints);
        let decide = |at: usize| match (inside[at], outside[at]) {
            (0, 0) if beyond[at] > 0.5 => Seed::Outside,
            (0, 0) => Seed::Free,
            (i, o) if i >= o => Seed::Inside,
            _ => Seed::Outside,
        };
        let mixed = |at: usize| inside[at] > 0 && (outside[at] > 0 || beyond[at] > 0.0);
        let marked = |counts: &[u32]| (0..patches as u32).filter(|&at| counts[at as usize] > 0).collect();
        Self {
            known: (0..patches).map(decide).collect(),
            mixed: (0..patches).map(mixed).collect(),
            positive: marked(&inside),
            negative: marked(&outside),
        }
    }

    pub(super) fn of(&self, kind: Seed) -> impl Iterator<Item = usize> {
        let all = self.known.iter().enumerate();
        all.filter(move |&(_, &seed)| seed == kind).map(|(at, _)| at)
    }
}

/// Which part of every superpixel the boxes exclude.
fn beyond_boxes(cache: &RefineCache, constraints: &Constraints) -> Vec<f32> {
    let patches = &cache.superpixels.patches;
    let mut beyond = vec![0.0f32; patches.len()];
    if !constraints.boxed {
        return beyond;
    }
    for (at, &label) in cache.superpixels.labels.iter().enumerate() {
        let middle = |cell: usize, side: usize| (cell * cache.factor + cache.factor / 2).min(side - 1);
        let x = middle(at % cache.columns, cache.width);
        let y = middle(at / cache.columns, cache.height);
        if constraints.map[y * cache.width + x] == Known::Outside {
            beyond[label as usize] += 1.0;
        }
    }
    beyond.iter_mut().zip(patches).for_each(|(sum, patch)| *sum /= patch.area.max(1.0));
    beyond
}

/// The problem for one object.
pub(super) struct Solver<'a> {
    pub(super) cache: &'a RefineCache,
    pub(super) seeds: &'a Seeds,
    pub(super) boxed: bool,
    /// Log odds that logits and an earlier mask give each superpixel, and how much they are to be
    /// trusted (0 to 1).
    pub(super) given: (Vec<f32>, f32),
    /// The model's log odds as they are, or none.
    pub(super) logits: Vec<f32>,
    pub(super) weights: &'a RefineWeights,
    /// Only what hangs together with a positive seed.
    pub(super) star: bool,
}

impl Solver<'_> {
    /// What is inside, and how much the colours of the palette speak for it.
    pub(super) fn solve(&self, granularity: f32) -> (Vec<bool>, Vec<f32>) {
        let (mut odds, ways) = self.odds();
        let bias = self.weights.bias + granularity * self.weights.granularity;
        odds.iter_mut().for_each(|odds| *odds += bias);
        let mut inside: Vec<f32> = odds.iter().map(|&odds| 1.0 / (1.0 + (-odds).exp())).collect();
        self.fix(&mut inside);
        let mut colours = self.cache.palette_odds(|at| inside[at]);
        let mut labels = self.cut(&odds, &colours, ways.as_ref());
        for _ in 1..self.weights.rounds {
            for (value, &label) in inside.iter_mut().zip(&labels) {
                *value = if label { 0.5 + 0.5 * *value } else { 0.5 * *value };
            }
            colours = self.cache.palette_odds(|at| inside[at]);
            labels = self.cut(&odds, &colours, ways.as_ref());
        }
        (labels, colours)
    }

    fn fix(&self, inside: &mut [f32]) {
        for (value, seed) in inside.iter_mut().zip(&self.seeds.known) {
            match seed {
                Seed::Free => {}
                Seed::Inside => *value = 1.0,
                Seed::Outside => *value = 0.0,
            }
        }
    }

    /// Log odds of every superpixel, and the shortest ways from the positive seeds.
    fn odds(&self) -> (Vec<f32>, Option<Ways>) {
        let (given, trust) = &self.given;
        if !self.boxed && self.seeds.positive.is_empty() {
            return (given.clone(), None);
        }
        let said = Said { boxed: self.boxed, logits: &self.logits, trust: *trust };
        let evidence = Evidence::new(self.cache, self.seeds, said);
        let prior = prior::odds(self.cache, self.seeds, &evidence.features);
        let weight = self.weights.prior * (1.0 - self.weights.doubt * trust);
        let odds = prior.iter().zip(given).map(|(prior, given)| given + weight * prior).collect();
        (odds, evidence.ways)
    }

    fn cut(&self, odds: &[f32], colours: &[f32], tree: Option<&Ways>) -> Vec<bool> {
        let superpixels = &self.cache.superpixels;
        let mut network = Network::default();
        network.reset(superpixels.len());
        let scale = UNIT / (self.cache.step * self.cache.step);
        for (at, patch) in superpixels.patches.iter().enumerate() {
            let cost = patch.area * (odds[at] + self.weights.colour * self.cache.mean_odds(at, colours));
            let cost = match self.seeds.known[at] {
                Seed::Free => (cost * scale).clamp(-0.5 * CERTAIN, 0.5 * CERTAIN),
                Seed::Inside => UNIT * CERTAIN,
                Seed::Outside => -UNIT * CERTAIN,
            };
            network.add_terminal(at, cost as i32);
            self.join(&mut network, at);
            if let Some(parent) = tree.map(|tree| tree.parent[at] as usize)
                && self.star
                && parent != at
            {
                network.add_edge(at, parent, (UNIT * self.weights.star) as i32, 0);
            }
        }
        network.solve();
        (0..superpixels.len()).map(|at| network.at_source(at)).collect()
    }

    fn join(&self, network: &mut Network, at: usize) {
        for touch in self.cache.superpixels.around(at) {
            if (touch.other as usize) < at {
                let alike = (-touch.difference / self.weights.difference).exp();
                let cost = self.weights.smooth
                    * (0.5 * touch.smooth + 0.5 * touch.length * alike + 0.02 * touch.length);
                let capacity = (UNIT * cost / self.cache.step) as i32;
                network.add_edge(at, touch.other as usize, capacity, capacity);
            }
        }
    }
}
