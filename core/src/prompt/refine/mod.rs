//! From the model's coarse logits, the image and the prompts to the best mask.
//!
//! 1. Prompts become constraints: pixels that are inside or outside for certain.
//! 2. A minimum cut over superpixels (`solve`) finds the object: logits, ways over the image from
//!    the prompts and the image's border, and colours learnt from a first guess decide.
//! 3. A minimum cut over the pixels of a narrow band around its border (`band`) finds the edge.
//! 4. Parts that were not clicked go, pin-holes are filled (`tidy`).
//!
//! Pure functions on one thread; everything that does not depend on the prompts is in
//! [`RefineCache`]. docs/refinement.md tells what was tried and measured.

mod band;
mod cache;
mod closer;
mod colour;
mod constraints;
mod convolution;
mod decoder;
mod evidence;
mod field;
mod geodesic;
mod glance;
mod grid;
mod guided;
mod learn;
mod maxflow;
mod network;
pub mod prior;
mod pyramid;
mod scene;
mod solve;
mod superpixels;
mod tidy;
mod tight;
mod upscale;
mod weights;
mod winograd;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use cache::RefineCache;
pub use closer::Closer;
pub use glance::Glance;
pub use solve::Earlier;
pub use upscale::upscale;
pub use weights::RefineWeights;

use super::{Mask, ObjectPrompts, Rect, WorkingImage};
use band::{Band, Coarse};
use constraints::{Constraints, Known};
use field::Field;
use solve::{Seeds, Solution, Solver};
use superpixels::Patch;

/// How the edges of a mask are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Edges {
    /// Where the enlarged logits change their sign.
    Off,
    /// The same, after a guided filter has drawn the logits to the edges of the image.
    Guided,
    /// By minimum cuts over superpixels and pixels.
    #[default]
    GraphCut,
}

/// What [`refine`] does; all of it by default.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RefineOptions {
    /// How edges are found.
    pub edges: Edges,
    /// Keep only the connected parts that were clicked.
    pub connected: bool,
    /// Fill pin-holes.
    pub holes: bool,
}

impl Default for RefineOptions {
    fn default() -> Self {
        Self { edges: Edges::default(), connected: true, holes: true }
    }
}

/// What a mask is made from.
pub struct RefineInput<'a> {
    /// The working image.
    pub image: &'a WorkingImage,
    /// What was worked out of the same image.
    pub cache: &'a RefineCache,
    /// The model's logits, `[side, side]`.
    pub logits: &'a [f32],
    /// Side of the logits.
    pub side: usize,
    /// Where in the image the logits lie.
    pub area: Rect,
    /// In coordinates of the working image.
    pub prompts: &'a ObjectPrompts,
    /// -1 (a part) to 1 (the whole thing).
    pub granularity: f32,
    /// What came of the same prompts without the newest click (or, without clicks, the newest
    /// scribble), which corrects it.
    pub earlier: Option<&'a Earlier>,
}

impl RefineInput<'_> {
    fn granularity(&self) -> f32 {
        if self.granularity.is_nan() { 0.0 } else { self.granularity.clamp(-1.0, 1.0) }
    }
}

/// What became of prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct Refined {
    /// The object at the size of the working image.
    pub mask: Mask,
    /// Overlap with what is meant (intersection over union) that is to be expected, 0 to 1; none where
    /// nothing is cut.
    pub score: Option<f32>,
    /// What a further prompt will correct; none where nothing is cut.
    pub earlier: Option<Earlier>,
}

/// The mask of one object at the size of the working image.
///
/// Pixels under positive clicks and scribbles are inside, those under negative ones outside, pixels
/// outside all boxes too. Nothing is an error: logits that are not numbers count as 0.
#[must_use]
pub fn refine(input: &RefineInput<'_>, options: &RefineOptions) -> Refined {
    refine_with(input, options, &RefineWeights::default())
}

/// The same with other weights, to find out what they do.
#[must_use]
pub fn refine_with(input: &RefineInput<'_>, options: &RefineOptions, weights: &RefineWeights) -> Refined {
    let (width, height) = (input.cache.width, input.cache.height);
    let constraints = Constraints::new(input.prompts, width, height);
    let field = Field::new(input.logits, input.side, input.area);
    let (mut earlier, mut score) = (None, None);
    let mut mask = match options.edges {
        _ if !says_something(input, &constraints) => vec![0; width * height],
        Edges::Off => threshold(input, &field),
        Edges::Guided => guided::filter(input, &field),
        Edges::GraphCut => {
            let found = cut(input, &field, &constraints, options, weights);
            let mask = found.edge(input, &constraints, weights);
            score = Some(found.solution.expected);
            earlier = Some(found.corrected);
            mask
        }
    };
    impose(&mut mask, &constraints);
    if options.connected {
        tidy::keep_clicked(&mut mask, width, &constraints);
    }
    if options.holes {
        tidy::fill_holes(&mut mask, width, height, &constraints);
    }
    let mask = Mask::new(width, height, mask).unwrap_or_else(|_| Mask::empty(width, height));
    Refined { mask, score, earlier }
}

/// What a further prompt would correct, without the mask itself: cheaper than [`refine`].
#[must_use]
pub fn outline(input: &RefineInput<'_>, options: &RefineOptions) -> Option<Earlier> {
    let constraints = Constraints::new(input.prompts, input.cache.width, input.cache.height);
    if options.edges != Edges::GraphCut || !says_something(input, &constraints) {
        return None;
    }
    let field = Field::new(input.logits, input.side, input.area);
    let found = cut(input, &field, &constraints, options, &RefineWeights::default());
    Some(found.corrected)
}

/// Whether anything speaks for any pixel.
fn says_something(input: &RefineInput<'_>, constraints: &Constraints) -> bool {
    let logits = input.logits.iter().any(|&logit| logit > 0.0);
    let mask = input.prompts.mask.as_ref().is_some_and(|mask| mask.area() > 0);
    logits || mask || constraints.boxed || constraints.marked()
}

/// Where the enlarged logits are positive.
fn threshold(input: &RefineInput<'_>, field: &Field) -> Vec<u8> {
    let bias = input.granularity();
    let logits = field.everywhere(input.cache.width, input.cache.height);
    logits.into_iter().map(|logit| u8::from(logit + bias > 0.0)).collect()
}

/// What was found over superpixels.
struct Found {
    seeds: Seeds,
    solution: Solution,
    /// What the next prompt corrects.
    corrected: Earlier,
}

fn cut(
    input: &RefineInput<'_>, field: &Field, constraints: &Constraints, options: &RefineOptions,
    weights: &RefineWeights,
) -> Found {
    let seeds = Seeds::new(input.cache, constraints);
    let logits = logits(input, field);
    let weight = if constraints.boxed { weights.boxed_logit } else { weights.logit };
    let given = given(input, &logits, weight, weights.mask);
    let (cache, boxed, earlier) = (input.cache, constraints.boxed, input.earlier);
    let solver = Solver {
        cache,
        seeds: &seeds,
        boxed,
        given,
        logits,
        weights,
        earlier,
        whole: Arc::default(),
        closer: None,
        star: options.connected,
    };
    let (solution, corrected) = solved(input, solver);
    Found { seeds, solution, corrected }
}

/// The object, and what the next prompt corrects. A box says little of what is in it: a second look
/// starts from what the first one found.
fn solved(input: &RefineInput<'_>, mut solver: Solver<'_>) -> (Solution, Earlier) {
    if solver.earlier.is_none() {
        solver.whole = solver.question().whole();
    }
    let known = input.earlier.and_then(|earlier| earlier.part);
    let closer = solver.extent().and_then(|extent| Closer::at(input.cache, input.image, extent, known));
    if let Some(earlier) = solver.earlier {
        // Beside a part that is looked at closely, what was made of the whole before will do.
        solver.whole = if closer.is_some() { Arc::clone(&earlier.whole) } else { solver.question().whole() };
    }
    let solver = Solver { closer: closer.as_ref(), ..solver };
    let mut evidence = None;
    let mut solution = solver.solve(&mut evidence, input.granularity());
    let corrected = |solution: &Solution| Earlier {
        labels: solution.labels.clone(),
        part: closer.as_ref().map(|closer| closer.part),
        whole: Arc::clone(&solver.whole),
    };
    if solver.boxed && input.earlier.is_none() {
        for _ in 0..solver.weights.again {
            let earlier = corrected(&solution);
            let again = Solver { earlier: Some(&earlier), ..solver.clone() };
            solution = again.solve(&mut evidence, input.granularity());
        }
    }
    let corrected = corrected(&solution);
    (solution, corrected)
}

impl Found {
    /// The mask at the resolution of the image.
    fn edge(&self, input: &RefineInput<'_>, constraints: &Constraints, weights: &RefineWeights) -> Vec<u8> {
        let Self { seeds, solution: Solution { labels, colours, .. }, .. } = self;
        let rgb = input.image.data().as_chunks::<3>().0;
        let coarse = Coarse { labels, mixed: &seeds.mixed, colours };
        Band { cache: input.cache, rgb, constraints, coarse, weights }.refine()
    }
}

/// Spread of the logits from which on they are trusted fully.
const CERTAIN_SPREAD: f32 = 2.0;

/// The logits at the middle of every superpixel; none where there are none.
fn logits(input: &RefineInput<'_>, field: &Field) -> Vec<f32> {
    let at = |patch: &Patch| field.at(centre(input.cache, patch)[0], centre(input.cache, patch)[1]);
    let patches = if input.logits.is_empty() { &[][..] } else { &input.cache.superpixels.patches };
    patches.iter().map(at).collect()
}

/// The middle of a superpixel, in pixels of the image.
fn centre(cache: &RefineCache, patch: &Patch) -> [f32; 2] {
    patch.centre.map(|place| place * cache.factor as f32)
}

/// What logits and an earlier mask say of every superpixel, and how much it is to be trusted: logits
/// that hardly differ over the image are those of a model that does not know.
fn given(input: &RefineInput<'_>, logits: &[f32], weight: f32, mask_weight: f32) -> (Vec<f32>, f32) {
    let cache = input.cache;
    let count = logits.len().max(1) as f32;
    let mean = logits.iter().sum::<f32>() / count;
    let variance = logits.iter().map(|logit| (logit - mean).powi(2)).sum::<f32>() / count;
    let trust = (variance.sqrt() / CERTAIN_SPREAD).min(1.0);
    let earlier = |patch: &Patch| {
        let Some(mask) = &input.prompts.mask else { return 0.0 };
        let [x, y] = centre(cache, patch);
        let column = x * mask.width() as f32 / cache.width as f32;
        let row = y * mask.height() as f32 / cache.height as f32;
        if mask.get(column as usize, row as usize) { mask_weight } else { -mask_weight }
    };
    let logit = |at: usize| logits.get(at).copied().unwrap_or(0.0);
    let odds = (0..).zip(&cache.superpixels.patches);
    let odds = odds.map(|(at, patch)| weight * trust * logit(at) + earlier(patch));
    (odds.collect(), trust)
}

fn impose(mask: &mut [u8], constraints: &Constraints) {
    let set = |pixel: &mut u8, known| match known {
        Known::Free => {}
        Known::Inside => *pixel = 1,
        Known::Outside => *pixel = 0,
    };
    if constraints.boxed {
        mask.iter_mut().zip(&constraints.map).for_each(|(pixel, &known)| set(pixel, known));
        return;
    }
    for at in constraints.painted.iter().map(|&at| at as usize) {
        set(&mut mask[at], constraints.map[at]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
