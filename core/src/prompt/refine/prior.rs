//! How likely a superpixel is inside, from what prompts and colours say of it: a small network, and
//! what it takes to train it.

use super::super::ObjectPrompts;
use super::super::simulate::Judged;
use super::RefineCache;
use super::constraints::Constraints;
use super::evidence::Evidence;
pub use super::evidence::FEATURES;
use super::solve::{Seed, Seeds};

/// Hidden units.
pub const HIDDEN: usize = 16;

/// A network of one hidden layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Prior {
    /// The last of each row is added.
    pub hidden: [[f32; FEATURES + 1]; HIDDEN],
    /// The last one is added.
    pub output: [f32; HIDDEN + 1],
}

impl Prior {
    /// Log odds.
    #[must_use]
    pub fn odds(&self, features: &[f32; FEATURES]) -> f32 {
        let activations = self.hidden.iter().map(|row| unit(row, features).max(0.0));
        let sum: f32 = activations.zip(&self.output).map(|(value, weight)| value * weight).sum();
        sum + self.output[HIDDEN]
    }
}

/// One hidden unit before its rectifier.
#[must_use]
pub fn unit(row: &[f32; FEATURES + 1], features: &[f32; FEATURES]) -> f32 {
    row[FEATURES] + row.iter().zip(features).map(|(weight, value)| weight * value).sum::<f32>()
}

/// One superpixel to learn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// What prompts and colours say.
    pub features: [f32; FEATURES],
    /// Which part of it is inside.
    pub inside: f32,
    /// Its pixels, 1 for a superpixel of the average size.
    pub weight: f32,
}

/// The superpixels of an image that the prompts alone do not decide.
///
/// `truth` has the image's size, in raster order.
#[must_use]
pub fn samples(cache: &RefineCache, prompts: &ObjectPrompts, truth: &[Judged]) -> Vec<Sample> {
    let constraints = Constraints::new(prompts, cache.width, cache.height);
    let seeds = Seeds::new(cache, &constraints);
    let evidence = Evidence::new(cache, &seeds, constraints.boxed);
    let mut counts = vec![(0.0f32, 0.0f32); cache.superpixels.len()];
    for (at, judged) in truth.iter().enumerate().take(cache.width * cache.height) {
        let (inside, all) = &mut counts[cache.patch_at(at % cache.width, at / cache.width)];
        *inside += f32::from(u8::from(*judged == Judged::Inside));
        *all += f32::from(u8::from(*judged != Judged::Ignored));
    }
    let mean = truth.len() as f32 / counts.len().max(1) as f32;
    let free = (0..counts.len()).filter(|&at| seeds.known[at] == Seed::Free && counts[at].1 > 0.0);
    free.map(|at| {
        let (inside, all) = counts[at];
        Sample { features: evidence.features[at], inside: inside / all, weight: all / mean }
    })
    .collect()
}
