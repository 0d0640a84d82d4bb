//! Which superpixels belong to the object: a minimum cut between what prompts, logits, colours and
//! ways over the image say of each, and how alike neighbours are.

use super::RefineCache;
use super::constraints::{Constraints, Known};
use super::field::Field;
use super::geodesic::Ways;
use super::maxflow::Network;
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
        let mixed = |at: usize| {
            let part = beyond[at] > 0.0 && beyond[at] < 1.0;
            inside[at] > 0 && (outside[at] > 0 || beyond[at] > 0.0) || part
        };
        Self { known: (0..patches).map(decide).collect(), mixed: (0..patches).map(mixed).collect() }
    }

    fn of(&self, kind: Seed) -> impl Iterator<Item = usize> {
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
    pub(super) weights: &'a RefineWeights,
    /// Only what hangs together with a positive seed.
    pub(super) star: bool,
}

impl Solver<'_> {
    /// What is inside, and how much the colours of the palette speak for it.
    pub(super) fn solve(&self, field: &Field, granularity: f32) -> (Vec<bool>, Vec<f32>) {
        let (prior, tree) = self.prior(field);
        let mut inside: Vec<f32> = prior.iter().map(|&p| 1.0 / (1.0 + (-p).exp())).collect();
        self.fix(&mut inside);
        let mut colours = self.colour_model(&inside);
        let mut labels = vec![];
        let bias = self.weights.bias + granularity * self.weights.granularity;
        for round in 0..self.weights.rounds {
            let last = round + 1 == self.weights.rounds;
            labels = self.cut(&prior, &colours, bias, tree.as_ref());
            if !last {
                for (value, &label) in inside.iter_mut().zip(&labels) {
                    *value = if label { 0.5 + 0.5 * *value } else { 0.5 * *value };
                }
                colours = self.colour_model(&inside);
            }
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

    /// Log odds of every superpixel from logits and ways over the image, and the ways from the
    /// positive seeds.
    fn prior(&self, field: &Field) -> (Vec<f32>, Option<Ways>) {
        let superpixels = &self.cache.superpixels;
        let factor = self.cache.factor as f32;
        let inside = Ways::shortest(superpixels, self.seeds.of(Seed::Inside));
        let outside = Ways::shortest(superpixels, self.seeds.of(Seed::Outside));
        let at_border = |&at: &usize| !self.boxed && superpixels.patches[at].border > 0.0;
        let border = Ways::shortest(superpixels, (0..superpixels.len()).filter(at_border));
        let clicked = self.seeds.of(Seed::Inside).next().is_some();
        let prior = (0..superpixels.len()).map(|at| {
            let [x, y] = superpixels.patches[at].centre.map(|place| place * factor);
            let mut value = self.weights.logit * field.at(x, y);
            let (near, far) =
                (inside.distance[at], outside.distance[at].min(border.distance[at] + self.weights.border));
            if clicked && far.is_finite() {
                value += self.weights.geodesic * ((far + 2.0) / (near + 2.0)).ln().clamp(-4.0, 4.0);
            } else if far.is_finite() {
                value += self.weights.geodesic * ((far + 2.0) / (20.0)).ln().clamp(-4.0, 4.0);
            }
            value
        });
        (prior.collect(), clicked.then_some(inside))
    }

    /// Log odds of every colour of the palette.
    fn colour_model(&self, inside: &[f32]) -> Vec<f32> {
        let len = self.cache.palette.len();
        let (mut object, mut rest) = (vec![0.0f32; len], vec![0.0f32; len]);
        for (at, &share) in inside.iter().enumerate() {
            for &(colour, count) in self.cache.colours_of(at) {
                object[usize::from(colour)] += share * count;
                rest[usize::from(colour)] += (1.0 - share) * count;
            }
        }
        let (object, rest) = (self.cache.palette.smooth(&object), self.cache.palette.smooth(&rest));
        let sums = (object.iter().sum::<f32>().max(1.0), rest.iter().sum::<f32>().max(1.0));
        let odds = |(o, r): (&f32, &f32)| ((o / sums.0 + 1e-3) / (r / sums.1 + 1e-3)).ln();
        object.iter().zip(&rest).map(odds).collect()
    }

    fn cut(&self, prior: &[f32], colours: &[f32], bias: f32, tree: Option<&Ways>) -> Vec<bool> {
        let superpixels = &self.cache.superpixels;
        let mut network = Network::default();
        network.reset(superpixels.len());
        let scale = UNIT / (self.cache.step * self.cache.step);
        for (at, patch) in superpixels.patches.iter().enumerate() {
            let odds: f32 = self.cache.colours_of(at).iter().map(|&(c, n)| n * colours[usize::from(c)]).sum();
            let cost = patch.area * (prior[at] + bias) + self.weights.colour * odds;
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
