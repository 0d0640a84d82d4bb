//! What an image alone says of each superpixel, as numbers for the [prior](super::prior): worked out
//! once.

use super::RefineCache;
use super::colour::{Lab, distance2};
use super::evidence::{log, step};
use super::geodesic::Ways;
use super::glance::SEEN;
use super::superpixels::Superpixels;

/// Numbers for each superpixel: of colours and places, whether there was a glance, and what it saw.
pub(super) const SCENE: usize = PLAIN + 1 + SEEN;
const PLAIN: usize = 20;

/// How much lightness changes across and down, and colour either way, as logarithms of means.
pub(super) type Grain = [f32; 3];

/// Which of the image's sides each superpixel touches.
fn sides(cache: &RefineCache) -> Vec<[bool; 4]> {
    let labels = &cache.superpixels.labels;
    let (columns, rows) = (cache.columns.max(1), labels.len() / cache.columns.max(1));
    let mut sides = vec![[false; 4]; cache.superpixels.len()];
    for (at, &label) in labels.iter().enumerate() {
        let (x, y) = (at % columns, at / columns);
        let touched = [x == 0, y == 0, x + 1 == columns, y + 1 == rows];
        sides[label as usize].iter_mut().zip(touched).for_each(|(side, touched)| *side |= touched);
    }
    sides
}

/// How far every superpixel is from the nearest, the second nearest and the farthest side.
fn ways_from_sides(cache: &RefineCache) -> Vec<[f32; 3]> {
    let on = sides(cache);
    let from = |side: usize| on.iter().enumerate().filter(move |(_, on)| on[side]).map(|(at, _)| at);
    let away = [0, 1, 2, 3].map(|side| Ways::shortest(&cache.superpixels, from(side)).distance);
    let sorted = |at: usize| {
        let mut four = [0, 1, 2, 3].map(|side: usize| away[side][at]);
        four.sort_by(f32::total_cmp);
        [four[0], four[1], four[3]]
    };
    (0..on.len()).map(sorted).collect()
}

/// Mean squared difference of the pixels to their superpixel's colour.
fn textures(cache: &RefineCache, lab: &[Lab]) -> Vec<f32> {
    let patches = &cache.superpixels.patches;
    let mut sums = vec![0.0f32; patches.len()];
    for (&label, &lab) in cache.superpixels.labels.iter().zip(lab) {
        sums[label as usize] += distance2(lab, patches[label as usize].colour);
    }
    sums.iter().zip(patches).map(|(sum, patch)| sum / patch.area.max(1.0)).collect()
}

/// The grain of every superpixel.
pub(super) fn grain(superpixels: &Superpixels, lab: &[Lab], columns: usize) -> Vec<Grain> {
    let mut sums = vec![([0.0f32; 3], 0.0f32); superpixels.len()];
    for (at, &label) in superpixels.labels.iter().enumerate() {
        let (right, below) = (at + 1, at + columns);
        if right % columns.max(1) == 0 || below >= lab.len() {
            continue;
        }
        let ([l, a, b], right, below) = (lab[at], lab[right], lab[below]);
        let colour = |other: Lab| (other[1] - a).abs() + (other[2] - b).abs();
        let (sum, count) = &mut sums[label as usize];
        let steps = [(right[0] - l).abs(), (below[0] - l).abs(), colour(right) + colour(below)];
        sum.iter_mut().zip(steps).for_each(|(sum, step)| *sum += step);
        *count += 1.0;
    }
    let level = |(sum, count): ([f32; 3], f32)| sum.map(|sum| 0.5 * (sum / count.max(1.0) + 0.2).ln());
    sums.into_iter().map(level).collect()
}

/// The numbers of every superpixel; `lab` are the reduced image's colours.
pub(super) fn describe(cache: &RefineCache, lab: &[Lab]) -> Vec<[f32; SCENE]> {
    let patches = &cache.superpixels.patches;
    let border = || (0..patches.len()).filter(|&at| patches[at].border > 0.0);
    let lowest = Ways::lowest(&cache.superpixels, border()).distance;
    let (from_sides, textures) = (ways_from_sides(cache), textures(cache, lab));
    let border_odds = odds(cache, cache.palette_odds(|at| f32::from(u8::from(patches[at].border > 0.0))));
    let middle_odds = odds(
        cache,
        cache.palette_odds(|at| {
            let [u, v] = place(cache, at);
            (1.0 - u * u - v * v).max(0.0)
        }),
    );
    let count = patches.len().max(1) as f32;
    let mean: Lab = std::array::from_fn(|c| patches.iter().map(|patch| patch.colour[c]).sum::<f32>() / count);
    let numbers = |at: usize| {
        let patch = &patches[at];
        let [l, a, b] = patch.colour;
        let [u, v] = place(cache, at);
        let around = cache.superpixels.around(at);
        let length: f32 = around.iter().map(|touch| touch.length).sum();
        let contrast: f32 = around.iter().map(|touch| touch.length * touch.difference).sum();
        let [first, second, last] = from_sides[at].map(log);
        let plain: [f32; PLAIN] = [
            first,
            second,
            last,
            step(lowest[at]),
            border_odds[at],
            middle_odds[at],
            l * 0.02 - 1.0,
            a * 0.025,
            b * 0.025,
            u.abs(),
            v.abs(),
            v,
            if patch.border > 0.0 { 1.0 } else { 0.0 },
            0.3 * (textures[at] + 0.5).ln() - 0.5,
            0.5 * (contrast / length.max(1.0) + 1.0).ln() - 1.0,
            0.5 * (distance2(patch.colour, mean) + 4.0).ln() - 2.5,
            (patch.area / (cache.step * cache.step)).min(4.0) - 1.0,
            cache.grain[at][0],
            cache.grain[at][1],
            cache.grain[at][2],
        ];
        let mut all = [0.0; SCENE];
        all[..PLAIN].copy_from_slice(&plain);
        if let Some((seen, _)) = cache.glance.get(at) {
            all[PLAIN] = 1.0;
            all[PLAIN + 1..].copy_from_slice(seen);
        }
        all
    };
    (0..patches.len()).map(numbers).collect()
}

/// Place in the image, -1 to 1.
fn place(cache: &RefineCache, at: usize) -> [f32; 2] {
    let [x, y] = cache.superpixels.patches[at].centre;
    let rows = cache.superpixels.labels.len() / cache.columns.max(1);
    [2.0 * x / cache.columns.max(1) as f32 - 1.0, 2.0 * y / rows.max(1) as f32 - 1.0]
}

/// Means over superpixels of what the palette's colours say.
pub(super) fn odds(cache: &RefineCache, mut odds: Vec<f32>) -> Vec<f32> {
    odds.iter_mut().for_each(|odds| *odds = odds.clamp(-3.0, 3.0));
    (0..cache.superpixels.len()).map(|at| cache.mean_odds(at, &odds)).collect()
}
