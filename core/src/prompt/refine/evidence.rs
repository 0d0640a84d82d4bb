//! What prompts and colours say of each superpixel, as numbers for the [prior](super::prior).

use std::sync::Arc;

use super::RefineCache;
use super::closer::{Closer, Part};
use super::colour::{Lab, distance2};
use super::decoder::{Asked, Place};
use super::geodesic::Ways;
use super::glance::{KIN, Seen};
use super::scene::{Grain, SCENE, odds};
use super::solve::{Earlier, Seed, Seeds};
use super::superpixels::Patch;
use crate::cpu::math::Real;

/// Numbers that depend on the prompts.
const SAID: usize = 46;
/// Numbers for each superpixel.
pub const FEATURES: usize = SCENE + SAID;
/// The last ones are what the logits say: 0 without logits.
pub const LOGIT_FEATURES: usize = 2;

/// Prompts of which the features look at the nearest, at most.
const MOST_MARKS: usize = 40;

/// What is said of an object besides clicks and scribbles.
pub(super) struct Said<'a> {
    pub(super) boxed: bool,
    /// The model's log odds of every superpixel, or none.
    pub(super) logits: &'a [f32],
    /// How much they are to be trusted, 0 to 1.
    pub(super) trust: f32,
    /// What came of the prompts before the newest.
    pub(super) earlier: Option<&'a Earlier>,
    /// What the decoder makes of the whole image, for each superpixel; empty without a glance.
    pub(super) whole: &'a [f32],
    /// A closer look at where the object seems to lie.
    pub(super) closer: Option<&'a Closer>,
}

/// The features of every superpixel, and the ways from the positive seeds.
pub(super) struct Evidence {
    pub(super) features: Vec<[f32; FEATURES]>,
    /// None without a positive seed.
    pub(super) ways: Option<Ways>,
    frame: Frame,
}

/// Where what came before begins among the features, and what the decoder makes of it.
const EARLIER: usize = SCENE + 26;
const DECODED: usize = SCENE + 41;

/// What the newest prompt and the mask that it corrects say of each superpixel.
struct Correction {
    /// Ways from the newest prompt; none where it is not of that sign, or corrects nothing.
    ways: [Option<Ways>; 2],
    marks: [Vec<Mark>; 2],
    /// Odds of the colours that are inside the earlier mask.
    colours: Vec<f32>,
    /// How far the earlier mask reaches: lowest and highest column and row.
    reach: Option<[[f32; 2]; 2]>,
}

impl Correction {
    fn new(cache: &RefineCache, seeds: &Seeds, earlier: Option<&Earlier>) -> Self {
        let newest = earlier.map_or([&[][..]; 2], |_| seeds.newest());
        let ways = newest.map(|seeds| {
            let seeds = seeds.iter().map(|&seed| seed as usize);
            (seeds.len() > 0).then(|| Ways::shortest(&cache.superpixels, seeds))
        });
        let within = |earlier: &Earlier| odds(cache, cache.palette_odds(|at| earlier.share(at)));
        let colours = earlier.map(within).unwrap_or_default();
        let reach = earlier.and_then(|earlier| reach(cache, earlier));
        Self { ways, marks: newest.map(|seeds| marks(cache, seeds)), colours, reach }
    }

    /// How far a superpixel lies beyond what the earlier mask reaches, and how far the frame does
    /// there, in parts of the frame: people draw boxes tight, so that something should lie there.
    fn beyond(&self, patch: &Patch, frame: &Frame) -> [f32; 2] {
        let Some(reach) = self.reach else { return [0.0; 2] };
        let mut most = [0.0f32; 2];
        for (side, [low, high]) in reach.into_iter().enumerate() {
            let (middle, half) = (frame.middle[side], frame.half[side]);
            let place = patch.centre[side];
            let short = [(low - place, low - (middle - half)), (place - high, middle + half - high)];
            for (here, all) in short.map(|(here, all)| (0.5 * here / half, 0.5 * all / half)) {
                if here > most[0] {
                    most = [here, all];
                }
            }
        }
        most.map(|part| 2.0 * part.min(1.0))
    }

    fn at(&self, at: usize, patch: &Patch, scale: f32) -> [f32; 7] {
        let [near, far] = [0, 1].map(|sign: usize| nearest(&self.marks[sign], patch, [0.0; 3], scale));
        let way = |sign: usize| log(self.ways[sign].as_ref().map_or(f32::INFINITY, |ways| ways.distance[at]));
        let colour = self.colours.get(at).copied().unwrap_or(0.0);
        [way(0), way(1), near.place, far.place, near.colour, far.colour, colour]
    }
}

/// The lowest and the highest column and row of what is inside; none where nothing is.
fn reach(cache: &RefineCache, earlier: &Earlier) -> Option<[[f32; 2]; 2]> {
    let ends = cache.extent(|at| earlier.share(at) > 0.0);
    ends[0][0].is_finite().then_some(ends)
}

/// A seed's place and colour.
struct Mark {
    place: [f32; 2],
    colour: Lab,
    grain: Grain,
    kin: [f32; KIN],
}

/// Squared distance beyond which nothing is kin.
const FARTHEST: f32 = 16.0;

/// How much a superpixel is kin to the most similar of marks: 1 to -3; 0 where nobody looked.
fn kin(cache: &RefineCache, marks: &[Mark], at: usize) -> f32 {
    let Some((_, here)) = cache.glance.get(at) else { return 0.0 };
    let away = |mark: &Mark| here.iter().zip(&mark.kin).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    1.0 - 4.0 / FARTHEST * marks.iter().map(away).fold(FARTHEST, |least, away| away.smaller(least))
}

/// Log odds of the decoder that count at most.
const MOST_ODDS: f32 = 8.0;

/// What the glance's decoder makes of prompts.
pub(super) struct Question<'a> {
    pub(super) cache: &'a RefineCache,
    pub(super) seeds: &'a Seeds,
    pub(super) boxed: bool,
    pub(super) earlier: Option<&'a Earlier>,
}

impl Question<'_> {
    /// Log odds of each superpixel, from what was seen of a part, or of the whole.
    fn ask(&self, seen: &Seen, part: Option<Part>) -> Vec<f32> {
        let cache = self.cache;
        // The frame reaches half a superpixel farther than the box.
        let sides = |frame: Frame| [frame.middle, frame.half.map(|half| half - 0.5 * cache.step)];
        let frame = self.boxed.then(|| sides(Frame::new(cache, self.seeds, true)));
        let marks = [&self.seeds.positive[..], &self.seeds.negative[..]];
        let place = Place::new(cache, part);
        let asked = Asked::new(cache, &place, marks, frame, self.earlier);
        seen.answer(&asked, place.patches(cache))
    }

    /// The same of the whole; empty without a glance.
    pub(super) fn whole(&self) -> Arc<[f32]> {
        self.cache.seen.as_ref().map(|seen| self.ask(seen, None).into()).unwrap_or_default()
    }

    /// What is known of the whole, and better where there was a closer look, and whether there was.
    fn closely(&self, whole: &[f32], closer: Option<&Closer>) -> Vec<(f32, bool)> {
        let mut odds: Vec<(f32, bool)> = whole.iter().map(|&odds| (odds, false)).collect();
        let Some(closer) = closer else { return odds };
        let place = Place::new(self.cache, Some(closer.part));
        let closely = self.ask(&closer.seen, Some(closer.part));
        for ((odds, closely), place) in odds.iter_mut().zip(closely).zip(place.patches(self.cache)) {
            if place.iter().all(|part| (0.0..=1.0).contains(part)) {
                *odds = (closely, true);
            }
        }
        odds
    }
}

/// Logarithm of a way's length.
pub(super) fn log(distance: f32) -> f32 {
    (distance.min(400.0) + 2.0).ln() - 3.0
}

/// Height of a step.
pub(super) fn step(height: f32) -> f32 {
    height.min(40.0) * 0.1 - 1.0
}

impl Evidence {
    pub(super) fn new(cache: &RefineCache, seeds: &Seeds, said: &Said<'_>) -> Self {
        let mut evidence = Self::of_prompts(cache, seeds, said);
        evidence.correct(cache, seeds, said);
        evidence
    }

    /// All but what depends on what came before.
    fn of_prompts(cache: &RefineCache, seeds: &Seeds, said: &Said<'_>) -> Self {
        let superpixels = &cache.superpixels;
        let boxed = said.boxed;
        let inside = || seeds.of(Seed::Inside);
        let outside = || seeds.of(Seed::Outside);
        let from_inside = Ways::shortest(superpixels, inside());
        let from_outside = Ways::shortest(superpixels, outside()).distance;
        let steps = [inside().collect::<Vec<_>>(), outside().collect()]
            .map(|seeds: Vec<usize>| Ways::lowest(superpixels, seeds.into_iter()).distance);
        let (positive, negative) = (marks(cache, &seeds.positive), marks(cache, &seeds.negative));
        let beyond: Vec<u32> = outside().filter(|_| boxed).map(|at| at as u32).collect();
        let beyond = marks(cache, &beyond);
        let colours = colours(cache, seeds, &from_inside.distance, &from_outside);
        let frame = Frame::new(cache, seeds, boxed);
        let scale = scale(cache);
        let features = (0..superpixels.len()).map(|at| {
            let (patch, grain) = (&superpixels.patches[at], cache.grain[at]);
            let (near, far) =
                (nearest(&positive, patch, grain, scale), nearest(&negative, patch, grain, scale));
            let [u, v] = frame.at(patch.centre);
            let [l, a, b] = near.difference;
            let (way_in, way_out) = (log(from_inside.distance[at]), log(from_outside[at]));
            let said: [f32; SAID] = [
                way_in,
                way_out,
                way_in - way_out.min(cache.scene[at][0]),
                step(steps[0][at]),
                step(steps[1][at]),
                near.place,
                far.place,
                near.colour,
                far.colour,
                near.offset[0],
                near.offset[1],
                l,
                a,
                b,
                colours[0][at],
                colours[1][at],
                colours[2][at],
                flag(boxed),
                flag(!positive.is_empty()),
                flag(!negative.is_empty()),
                (positive.len() as f32).ln_1p() * 0.5,
                flag(seeds.known[at] == Seed::Inside),
                flag(seeds.known[at] == Seed::Outside),
                u,
                v,
                u.max(v),
                // Ten numbers of what came before: `correct` tells them.
                0.0,
                0.0,
                0.0,
                0.0,
                0.0,
                0.0,
                0.0,
                0.0,
                0.0,
                0.0,
                near.grain,
                far.grain,
                kin(cache, &positive, at),
                kin(cache, &negative, at),
                if boxed { kin(cache, &beyond, at) } else { 0.0 },
                // Three of what the decoder makes of it: likewise.
                0.0,
                0.0,
                0.0,
                said.logits.get(at).map_or(0.0, |logit| 0.4 * said.trust * logit),
                if said.logits.is_empty() { 0.0 } else { said.trust },
            ];
            let mut all = [0.0; FEATURES];
            all[..SCENE].copy_from_slice(&cache.scene[at]);
            all[SCENE..].copy_from_slice(&said);
            all
        });
        let features = features.collect();
        Self { features, ways: inside().next().is_some().then_some(from_inside), frame }
    }

    /// Tells anew what depends on what came before, of the same prompts.
    pub(super) fn correct(&mut self, cache: &RefineCache, seeds: &Seeds, said: &Said<'_>) {
        let correction = Correction::new(cache, seeds, said.earlier);
        let question = Question { cache, seeds, boxed: said.boxed, earlier: said.earlier };
        let decoded = question.closely(said.whole, said.closer);
        let scale = scale(cache);
        for (at, features) in self.features.iter_mut().enumerate() {
            let patch = &cache.superpixels.patches[at];
            let of_before = &mut features[EARLIER..];
            of_before[0] = said.earlier.map_or(0.0, |earlier| 2.0 * earlier.share(at) - 1.0);
            of_before[1..8].copy_from_slice(&correction.at(at, patch, scale));
            let beyond = if said.boxed { correction.beyond(patch, &self.frame) } else { [0.0; 2] };
            of_before[8..10].copy_from_slice(&beyond);
            let odds = decoded.get(at).map_or(0.0, |(odds, _)| 0.4 * odds.clamp(-MOST_ODDS, MOST_ODDS));
            let closely = decoded.get(at).is_some_and(|(_, closely)| *closely);
            features[DECODED..][..3].copy_from_slice(&[odds, flag(!decoded.is_empty()), flag(closely)]);
        }
    }
}

/// What makes lengths in reduced pixels parts of the image.
fn scale(cache: &RefineCache) -> f32 {
    1.0 / (cache.superpixels.labels.len() as f32).sqrt()
}

fn flag(on: bool) -> f32 {
    f32::from(u8::from(on))
}

/// How much more often colours come under positive prompts than elsewhere, under negative prompts
/// and beyond boxes, and where the way to a positive prompt is shorter than those to others and to
/// the image's border.
fn colours(cache: &RefineCache, seeds: &Seeds, way_in: &[f32], way_out: &[f32]) -> [Vec<f32>; 3] {
    let among = |kind: Seed| {
        let share = |at: usize| f32::from(u8::from(seeds.known[at] == kind));
        odds(cache, cache.palette_odds(share))
    };
    let nearer = |at: usize| {
        let near = way_in[at].min(400.0) + 2.0;
        let far = (way_out[at].min(400.0) + 2.0).min((cache.scene[at][0] + 3.0).exp());
        far * far / (far * far + near * near)
    };
    [among(Seed::Inside), among(Seed::Outside), odds(cache, cache.palette_odds(nearer))]
}

fn marks(cache: &RefineCache, patches: &[u32]) -> Vec<Mark> {
    let every = patches.len().div_ceil(MOST_MARKS).max(1);
    let mark = |&at: &u32| {
        let patch = &cache.superpixels.patches[at as usize];
        let kin = cache.glance.get(at as usize).map_or([0.0; KIN], |(_, kin)| *kin);
        Mark { place: patch.centre, colour: patch.colour, grain: cache.grain[at as usize], kin }
    };
    patches.iter().step_by(every).map(mark).collect()
}

/// The marks nearest to a superpixel.
struct Nearest {
    /// How near the nearest mark is, as a logarithm.
    place: f32,
    /// How alike the most similar one is, as a logarithm.
    colour: f32,
    /// How far the nearest one is across and down, in parts of the image.
    offset: [f32; 2],
    /// Difference to the colour of the nearest one.
    difference: Lab,
    /// Difference to the grain of the nearest one.
    grain: f32,
}

fn nearest(marks: &[Mark], patch: &Patch, grain: Grain, scale: f32) -> Nearest {
    let (mut least, mut alike, mut first) = (4.0f32, 10_000.0f32, None);
    for mark in marks {
        let [dx, dy] = [0, 1].map(|side: usize| (mark.place[side] - patch.centre[side]) * scale);
        let away = dx * dx + dy * dy;
        if away < least {
            (least, first) = (away, Some(mark));
        }
        alike = distance2(mark.colour, patch.colour).smaller(alike);
    }
    let offset =
        |mark: &Mark| [0, 1].map(|side: usize| 2.0 * scale * (patch.centre[side] - mark.place[side]).abs());
    let difference = |mark: &Mark| std::array::from_fn(|c| 0.04 * (patch.colour[c] - mark.colour[c]));
    Nearest {
        place: 0.5 * (least + 1e-3).ln() + 1.5,
        colour: 0.5 * (alike + 4.0).ln() - 2.5,
        offset: first.map_or([0.0; 2], offset),
        difference: first.map_or([0.0; 3], difference),
        grain: first.map_or(0.0, |mark| distance2(mark.grain, grain).sqrt()),
    }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::{RgbView, WorkingImage};
    use super::super::glance::SEEN;
    use super::*;

    #[test]
    #[cfg(feature = "glance")]
    fn what_the_decoder_makes_of_prompts_reaches_the_prior() {
        use super::super::super::{Click, ObjectPrompts};
        use super::super::constraints::Constraints;
        use super::super::glance::Glance;

        let data: Vec<u8> = (0..90 * 90 * 3).map(|at| (at * 7 % 251) as u8).collect();
        let image = WorkingImage::from_rgb(RgbView::new(90, 90, &data).unwrap()).unwrap();
        let cache = RefineCache::new(&image, Glance::shipped().as_deref());
        let clicks = vec![Click { x: 20.0, y: 20.0, positive: true, radius: None }];
        let prompts = ObjectPrompts { clicks, ..ObjectPrompts::default() };
        let seeds = Seeds::new(&cache, &Constraints::new(&prompts, 90, 90));
        let whole = Question { cache: &cache, seeds: &seeds, boxed: false, earlier: None }.whole();
        let closer = Closer::alone(&cache, &image, [10.0, 30.0], [10.0, 30.0]).unwrap();
        let numbers = |closer: Option<&Closer>| {
            let said = Said { boxed: false, logits: &[], trust: 0.0, earlier: None, whole: &whole, closer };
            let features = Evidence::new(&cache, &seeds, &said).features;
            let last = FEATURES - LOGIT_FEATURES;
            features.iter().map(|all| [all[last - 3], all[last - 2], all[last - 1]]).collect::<Vec<_>>()
        };
        let (plain, closely) = (numbers(None), numbers(Some(&closer)));
        let far = cache.patch_at(80, 80);
        for (at, odds) in whole.iter().enumerate() {
            assert_eq!(plain[at], [0.4 * odds.clamp(-MOST_ODDS, MOST_ODDS), 1.0, 0.0]);
        }
        let near = cache.patch_at(20, 20);
        assert_eq!((closely[near][2], closely[far]), (1.0, plain[far]));
        assert_ne!(closely[near][0], plain[near][0], "the closer look says something else");
    }

    #[test]
    fn kin_is_who_lies_near_a_mark() {
        let data: Vec<u8> = (0..60 * 60 * 3).map(|at| (at * 7 % 251) as u8).collect();
        let image = WorkingImage::from_rgb(RgbView::new(60, 60, &data).unwrap()).unwrap();
        let mut cache = RefineCache::new(&image, None);
        assert_eq!(kin(&cache, &marks(&cache, &[0]), 0), 0.0, "nobody looked");
        cache.glance = vec![([0.0; SEEN], [0.0; KIN]); cache.superpixels.len()];
        cache.glance[5].1[0] = 2.0;
        cache.glance[6].1[0] = 9.0;
        let near = marks(&cache, &[0]);
        assert_eq!([0, 5, 6].map(|at| kin(&cache, &near, at)), [1.0, 0.0, -3.0]);
        assert_eq!(kin(&cache, &marks(&cache, &[0, 6]), 6), 1.0, "the most similar mark counts");
        assert_eq!(kin(&cache, &[], 0), -3.0);
    }
}
