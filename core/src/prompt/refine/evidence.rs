//! What prompts and colours say of each superpixel, as numbers for the [prior](super::prior).

use super::RefineCache;
use super::colour::{Lab, distance2};
use super::geodesic::Ways;
use super::solve::{Seed, Seeds};

/// Numbers for each superpixel.
pub const FEATURES: usize = 18;

/// Prompts of which the features look at the nearest, at most.
const MOST_MARKS: usize = 40;

/// The features of every superpixel, and the ways from the positive seeds.
pub(super) struct Evidence {
    pub(super) features: Vec<[f32; FEATURES]>,
    /// None without a positive seed.
    pub(super) ways: Option<Ways>,
}

/// A seed's place and colour.
struct Mark {
    place: [f32; 2],
    colour: Lab,
}

impl Evidence {
    pub(super) fn new(cache: &RefineCache, seeds: &Seeds, boxed: bool) -> Self {
        let superpixels = &cache.superpixels;
        let inside = || seeds.of(Seed::Inside);
        let outside = || seeds.of(Seed::Outside);
        let border = || (0..superpixels.len()).filter(|&at| superpixels.patches[at].border > 0.0);
        let from_inside = Ways::shortest(superpixels, inside());
        let distances = [
            &from_inside.distance,
            &Ways::shortest(superpixels, outside()).distance,
            &Ways::shortest(superpixels, border()).distance,
        ];
        let steps = [inside().collect::<Vec<_>>(), outside().collect(), border().collect()]
            .map(|seeds: Vec<usize>| Ways::lowest(superpixels, seeds.into_iter()).distance);
        let (positive, negative) = (marks(cache, &seeds.positive), marks(cache, &seeds.negative));
        let border_odds = border_odds(cache);
        let frame = Frame::new(cache, seeds, boxed);
        let scale = 1.0 / (superpixels.labels.len() as f32).sqrt();
        let features = (0..superpixels.len()).map(|at| {
            let patch = &superpixels.patches[at];
            let near = |marks: &[Mark]| nearest(marks, patch.centre, patch.colour, scale);
            let ((place_in, colour_in), (place_out, colour_out)) = (near(&positive), near(&negative));
            let log = |distance: f32| (distance.min(400.0) + 2.0).ln() - 3.0;
            let step = |distance: f32| distance.min(40.0) * 0.1 - 1.0;
            let [u, v] = frame.at(patch.centre);
            [
                log(distances[0][at]),
                log(distances[1][at]),
                log(distances[2][at]),
                step(steps[0][at]),
                step(steps[1][at]),
                step(steps[2][at]),
                place_in,
                place_out,
                colour_in,
                colour_out,
                border_odds[at],
                if boxed { 1.0 } else { 0.0 },
                if positive.is_empty() { 0.0 } else { 1.0 },
                if negative.is_empty() { 0.0 } else { 1.0 },
                (positive.len() as f32).ln_1p() * 0.5,
                u,
                v,
                u.max(v),
            ]
        });
        let features = features.collect();
        Self { features, ways: inside().next().is_some().then_some(from_inside) }
    }
}

fn marks(cache: &RefineCache, patches: &[u32]) -> Vec<Mark> {
    let every = patches.len().div_ceil(MOST_MARKS).max(1);
    let mark = |&at: &u32| {
        let patch = &cache.superpixels.patches[at as usize];
        Mark { place: patch.centre, colour: patch.colour }
    };
    patches.iter().step_by(every).map(mark).collect()
}

/// How near the nearest mark is, and how alike the most similar one, both as logarithms.
fn nearest(marks: &[Mark], place: [f32; 2], colour: Lab, scale: f32) -> (f32, f32) {
    let (mut least, mut alike) = (4.0f32, 10_000.0f32);
    for mark in marks {
        let [dx, dy] = [(mark.place[0] - place[0]) * scale, (mark.place[1] - place[1]) * scale];
        least = least.min(dx * dx + dy * dy);
        alike = alike.min(distance2(mark.colour, colour));
    }
    (0.5 * (least + 1e-3).ln() + 1.5, 0.5 * (alike + 4.0).ln() - 2.5)
}

/// How much more often the colours of a superpixel come at the image's border than elsewhere.
fn border_odds(cache: &RefineCache) -> Vec<f32> {
    let patches = &cache.superpixels.patches;
    let mut odds = cache.palette_odds(|at| if patches[at].border > 0.0 { 1.0 } else { 0.0 });
    odds.iter_mut().for_each(|odds| *odds = odds.clamp(-3.0, 3.0));
    (0..patches.len()).map(|at| cache.mean_odds(at, &odds)).collect()
}

/// The rectangle in which the object is known to lie.
struct Frame {
    middle: [f32; 2],
    half: [f32; 2],
}

impl Frame {
    fn new(cache: &RefineCache, seeds: &Seeds, boxed: bool) -> Self {
        let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
        let patches = &cache.superpixels.patches;
        for (patch, seed) in patches.iter().zip(&seeds.known) {
            if !boxed || *seed != Seed::Outside {
                for side in 0..2 {
                    low[side] = low[side].min(patch.centre[side]);
                    high[side] = high[side].max(patch.centre[side]);
                }
            }
        }
        let middle = std::array::from_fn(|side| 0.5 * (low[side] + high[side]));
        let half = std::array::from_fn(|side| 0.5 * (high[side] - low[side]) + cache.step);
        Self { middle, half }
    }

    /// Distance from the middle, 1 at the sides.
    fn at(&self, place: [f32; 2]) -> [f32; 2] {
        std::array::from_fn(|side| {
            let away = (place[side] - self.middle[side]).abs() / self.half[side];
            if away.is_finite() { away.min(3.0) } else { 3.0 }
        })
    }
}
