//! Which superpixels belong to the object: a minimum cut between what prompts, logits, colours and
//! ways over the image say of each, and how alike neighbours are.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::RefineCache;
use super::closer::{Closer, Extent, Part};
use super::constraints::{Constraints, Known};
use super::evidence::{Evidence, Question, Said};
use super::geodesic::Ways;
use super::maxflow::Network;
use super::prior;
use super::tight::Tight;
use super::weights::RefineWeights;
use crate::cpu::math::{exp_f32, exp_negative_f32};

/// Capacity of a cost of 1.
const UNIT: f32 = 1000.0;
/// Cost that no other can outweigh.
const CERTAIN: f32 = 50_000.0;
/// Log odds that granularity adds or takes at most.
const MOST_BIAS: f32 = 16.0;
/// Steps to find them.
const BISECTIONS: usize = 12;
/// A box of which less than this share is found was drawn around something that is not found: things reach
/// all four sides of their boxes.
const LEAST_OF_BOX: f32 = 0.05;
/// Shares of such a box that are then to be expected inside, one after the other.
const FILLING: [f32; 3] = [0.7, 0.9, 1.0];

/// What is known of a superpixel.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Seed {
    Free,
    Inside,
    Outside,
}

/// Which superpixels were inside before the newest prompt, which corrects that.
#[derive(Clone, Debug, PartialEq)]
pub struct Earlier {
    pub(super) labels: Vec<bool>,
    /// The part of the image that was looked at more closely.
    pub(super) part: Option<Part>,
    /// What the glance's decoder made of the whole image.
    pub(super) whole: Arc<[f32]>,
}

impl Earlier {
    /// 1 inside, 0 outside.
    pub(super) fn share(&self, at: usize) -> f32 {
        f32::from(u8::from(self.labels.get(at).copied().unwrap_or(false)))
    }
}

/// Superpixels that the prompts decide, and those that they divide.
pub(super) struct Seeds {
    pub(super) known: Vec<Seed>,
    pub(super) mixed: Vec<bool>,
    /// Those under positive and negative clicks and scribbles.
    pub(super) positive: Vec<u32>,
    pub(super) negative: Vec<u32>,
    /// Those under the newest click or scribble, and whether it is negative.
    newest: (Vec<u32>, bool),
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
        let newest = &constraints.painted[constraints.newest..];
        let patch =
            |&pixel: &u32| cache.patch_at(pixel as usize % cache.width, pixel as usize / cache.width) as u32;
        let under: BTreeSet<u32> = newest.iter().map(patch).collect();
        let last = newest.last().map(|&pixel| constraints.map[pixel as usize]);
        let newest = (under.into_iter().collect(), last == Some(Known::Outside));
        Self {
            known: (0..patches).map(decide).collect(),
            mixed: (0..patches).map(mixed).collect(),
            positive: marked(&inside),
            negative: marked(&outside),
            newest,
        }
    }

    /// Superpixels under the newest prompt if it is positive, and if it is negative.
    pub(super) fn newest(&self) -> [&[u32]; 2] {
        let (patches, negative) = &self.newest;
        if *negative { [&[], patches] } else { [patches, &[]] }
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

fn sigmoid(odds: f32) -> f32 {
    1.0 / (1.0 + exp_f32(-odds))
}

/// The problem for one object.
#[derive(Clone)]
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
    /// What came of the prompts before the newest.
    pub(super) earlier: Option<&'a Earlier>,
    /// What the glance's decoder makes of the whole image, for each superpixel.
    pub(super) whole: Arc<[f32]>,
    /// A closer look at where the object seems to lie.
    pub(super) closer: Option<&'a Closer>,
    /// Only what hangs together with a positive seed.
    pub(super) star: bool,
}

/// What is inside.
pub(super) struct Solution {
    pub(super) labels: Vec<bool>,
    /// How much the colours of the palette speak for it.
    pub(super) colours: Vec<f32>,
    /// Overlap with the truth (intersection over union) that is to be expected.
    pub(super) expected: f32,
}

/// What is known between two cuts.
struct Guess {
    odds: Vec<f32>,
    /// How likely every superpixel is inside.
    inside: Vec<f32>,
    /// How much the colours of the palette speak for it.
    colours: Vec<f32>,
    labels: Vec<bool>,
}

impl Solver<'_> {
    /// What prior, logits and colours say together. `evidence` is kept for another look at the same
    /// prompts, of which only what came before is told anew.
    pub(super) fn solve(&self, evidence: &mut Option<Evidence>, granularity: f32) -> Solution {
        let odds = self.odds(evidence);
        let ways = evidence.as_ref().and_then(|evidence| evidence.ways.as_ref());
        self.decide(&odds, ways, granularity)
    }

    /// The cut from log odds.
    pub(super) fn decide(&self, odds: &[f32], ways: Option<&Ways>, granularity: f32) -> Solution {
        let mut guess = self.cuts(odds, self.bias(odds, granularity), ways);
        for share in FILLING {
            if self.misses(&guess) {
                guess = self.cuts(odds, self.filling(odds, share), ways);
            }
        }
        let expected = self.expected(&self.likely(odds), &guess.labels);
        Solution { labels: guess.labels, colours: guess.colours, expected }
    }

    /// Cuts from log odds and what is added to all of them, with colours learnt again from each.
    fn cuts(&self, odds: &[f32], bias: f32, ways: Option<&Ways>) -> Guess {
        let mut guess = self.first_guess(odds.iter().map(|odds| odds + bias).collect());
        guess.labels = self.cut(&guess, ways);
        if self.misses(&guess) {
            return guess;
        }
        for _ in 1..self.weights.rounds {
            self.learn(&mut guess);
            guess.labels = self.cut(&guess, ways);
        }
        for _ in 0..self.weights.tight_rounds {
            self.learn(&mut guess);
            if !self.boxed || !self.reach(&mut guess) {
                break;
            }
            guess.labels = self.cut(&guess, ways);
        }
        guess
    }

    /// Whether next to nothing was found in a box.
    fn misses(&self, guess: &Guess) -> bool {
        self.boxed && self.area_of(|at| guess.labels[at]) < LEAST_OF_BOX * self.area_in_box()
    }

    /// What the glance's decoder can be asked.
    pub(super) fn question(&self) -> Question<'_> {
        Question { cache: self.cache, seeds: self.seeds, boxed: self.boxed, earlier: self.earlier }
    }

    /// Between which columns and rows of the image the object seems to lie: what came before and what
    /// is marked, or the box, or what the decoder makes of a first click.
    pub(super) fn extent(&self) -> Option<Extent> {
        let found = if self.earlier.is_none() && !self.boxed { self.clicked() } else { vec![] };
        let among = |at: usize| match self.earlier {
            Some(earlier) => earlier.share(at) > 0.0 || self.seeds.known[at] == Seed::Inside,
            None if self.boxed => self.seeds.known[at] != Seed::Outside,
            None => found[at],
        };
        let [columns, rows] = self.cache.extent(among);
        // From the middles of superpixels to their sides.
        let (more, factor) = (0.5 * self.cache.step, self.cache.factor as f32);
        let sides = |[low, high]: [f32; 2]| [(low - more) * factor, (high + more) * factor];
        columns[0].is_finite().then(|| [columns, rows].map(sides))
    }

    /// Which superpixels hang together with positive ones among those that the decoder takes to be
    /// inside.
    fn clicked(&self) -> Vec<bool> {
        let mut found = vec![false; self.cache.superpixels.len()];
        let mut next: Vec<usize> = self.seeds.of(Seed::Inside).collect();
        while let Some(at) = next.pop() {
            if !std::mem::replace(&mut found[at], true) {
                let around = self.cache.superpixels.around(at).iter().map(|touch| touch.other as usize);
                next.extend(around.filter(|&other| self.whole.get(other).is_some_and(|&odds| odds > 0.0)));
            }
        }
        found
    }

    fn first_guess(&self, odds: Vec<f32>) -> Guess {
        let mut inside: Vec<f32> = odds.iter().map(|&odds| sigmoid(odds)).collect();
        self.fix(&mut inside);
        let colours = self.cache.palette_odds(|at| inside[at]);
        Guess { odds, inside, colours, labels: vec![] }
    }

    /// Learns the colours of what the last cut found.
    fn learn(&self, guess: &mut Guess) {
        for (value, &label) in guess.inside.iter_mut().zip(&guess.labels) {
            *value = if label { 0.5 + 0.5 * *value } else { 0.5 * *value };
        }
        guess.colours = self.cache.palette_odds(|at| guess.inside[at]);
    }

    /// What to add to log odds so that the area that is to be expected grows as granularity asks: a
    /// part that the prior is sure belongs to the whole needs more than one that it doubts.
    fn bias(&self, odds: &[f32], granularity: f32) -> f32 {
        if granularity == 0.0 {
            return 0.0;
        }
        let wanted = self.likely_area(odds, 0.0) * self.weights.granularity.powf(granularity);
        let range = if granularity < 0.0 { [-MOST_BIAS, 0.0] } else { [0.0, MOST_BIAS] };
        self.bias_to(odds, wanted, range)
    }

    /// What to add to log odds so that a share of the box is to be expected inside: for odds that leave it
    /// empty, as a box is drawn around something.
    fn filling(&self, odds: &[f32], share: f32) -> f32 {
        self.bias_to(odds, share * self.area_in_box(), [0.0, MOST_BIAS])
    }

    fn area_in_box(&self) -> f32 {
        self.area_of(|at| self.seeds.known[at] != Seed::Outside)
    }

    fn area_of(&self, among: impl Fn(usize) -> bool) -> f32 {
        let patches = self.cache.superpixels.patches.iter().enumerate();
        patches.filter(|&(at, _)| among(at)).map(|(_, patch)| patch.area).sum()
    }

    fn bias_to(&self, odds: &[f32], wanted: f32, [mut low, mut high]: [f32; 2]) -> f32 {
        for _ in 0..BISECTIONS {
            let middle = 0.5 * (low + high);
            *if self.likely_area(odds, middle) < wanted { &mut low } else { &mut high } = middle;
        }
        0.5 * (low + high)
    }

    /// The area that is to be expected inside when `bias` is added to all log odds.
    fn likely_area(&self, odds: &[f32], bias: f32) -> f32 {
        let mut inside: Vec<f32> = odds.iter().map(|&odds| sigmoid(odds + bias)).collect();
        self.fix(&mut inside);
        let patches = self.cache.superpixels.patches.iter();
        patches.zip(&inside).map(|(patch, inside)| patch.area * inside).sum()
    }

    /// How likely every superpixel is inside, as the prior was trained to tell.
    fn likely(&self, odds: &[f32]) -> Vec<f32> {
        let mut likely: Vec<f32> = odds.iter().map(|&odds| sigmoid(odds / self.weights.prior)).collect();
        self.fix(&mut likely);
        likely
    }

    fn expected(&self, likely: &[f32], labels: &[bool]) -> f32 {
        let (mut both, mut either) = (0.0f32, 1e-6f32);
        for ((patch, &likely), &label) in self.cache.superpixels.patches.iter().zip(likely).zip(labels) {
            both += if label { patch.area * likely } else { 0.0 };
            either += patch.area * if label { 1.0 } else { likely };
        }
        both / either
    }

    /// Makes the ways to sides of the box that are not reached likely; whether there are any.
    fn reach(&self, guess: &mut Guess) -> bool {
        let all = (0..).zip(&guess.odds);
        let all: Vec<f32> = all
            .map(|(at, odds)| odds + self.weights.colour * self.cache.mean_odds(at, &guess.colours))
            .collect();
        let tight = Tight { cache: self.cache, seeds: self.seeds, limit: self.weights.tight };
        let missing = tight.missing(&guess.labels, &all);
        for &at in &missing {
            guess.odds[at] += self.weights.tight_odds;
            guess.inside[at] = 1.0;
        }
        guess.colours = self.cache.palette_odds(|at| guess.inside[at]);
        !missing.is_empty()
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

    /// Log odds of every superpixel.
    fn odds(&self, evidence: &mut Option<Evidence>) -> Vec<f32> {
        let (given, trust) = &self.given;
        if !self.boxed && self.seeds.positive.is_empty() {
            return given.clone();
        }
        let said = Said {
            boxed: self.boxed,
            logits: &self.logits,
            trust: *trust,
            earlier: self.earlier,
            whole: &self.whole,
            closer: self.closer,
        };
        let evidence = match evidence {
            Some(evidence) => {
                evidence.correct(self.cache, self.seeds, &said);
                evidence
            }
            None => evidence.insert(Evidence::new(self.cache, self.seeds, &said)),
        };
        let prior = prior::odds(self.cache, self.seeds, &evidence.features);
        let weight = self.weights.prior * (1.0 - self.weights.doubt * trust);
        prior.iter().zip(given).map(|(prior, given)| given + weight * prior).collect()
    }

    fn cut(&self, guess: &Guess, tree: Option<&Ways>) -> Vec<bool> {
        let count = self.cache.superpixels.len();
        let mut network = Network::new(count);
        self.build(&mut network, guess, tree);
        network.solve();
        (0..count).map(|at| network.at_source(at)).collect()
    }

    fn build(&self, network: &mut Network, guess: &Guess, tree: Option<&Ways>) {
        let superpixels = &self.cache.superpixels;
        let scale = UNIT / (self.cache.step * self.cache.step);
        for (at, patch) in superpixels.patches.iter().enumerate() {
            let cost = patch.area
                * (guess.odds[at] + self.weights.colour * self.cache.mean_odds(at, &guess.colours));
            let cost = match self.seeds.known[at] {
                Seed::Free => (cost * scale).clamp(-0.5 * CERTAIN, 0.5 * CERTAIN),
                Seed::Inside => UNIT * CERTAIN,
                Seed::Outside => -UNIT * CERTAIN,
            };
            network.add_terminal(at, cost as i32);
            self.join(network, at);
            if let Some(parent) = tree.map(|tree| tree.parent[at] as usize)
                && self.star
                && parent != at
            {
                network.add_edge(at, parent, (UNIT * self.weights.star) as i32, 0);
            }
        }
    }

    fn join(&self, network: &mut Network, at: usize) {
        for touch in self.cache.superpixels.around(at) {
            if (touch.other as usize) < at {
                let alike = exp_negative_f32(-touch.difference / self.weights.difference);
                let cost = self.weights.smooth
                    * (0.5 * touch.smooth + 0.5 * touch.length * alike + 0.02 * touch.length);
                let capacity = (UNIT * cost / self.cache.step) as i32;
                network.add_edge(at, touch.other as usize, capacity, capacity);
            }
        }
    }
}
