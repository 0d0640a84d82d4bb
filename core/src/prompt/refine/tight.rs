//! People draw boxes tight: an object reaches all four sides of its box. Where what was found does
//! not, the likeliest way from it to that side belongs to it, too.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::RefineCache;
use super::solve::{Seed, Seeds};

/// Part of the box's length that may be missing at a side: boxes are drawn by hand.
const SLACK: f32 = 0.04;
/// What a superpixel costs on a way at least.
const STEP: f32 = 0.05;

/// A problem with a box.
pub(super) struct Tight<'a> {
    pub(super) cache: &'a RefineCache,
    pub(super) seeds: &'a Seeds,
    /// Highest mean cost of a way that is taken.
    pub(super) limit: f32,
}

impl Tight<'_> {
    /// Superpixels on the ways to sides that are not reached. `odds` are those of being inside.
    pub(super) fn missing(&self, labels: &[bool], odds: &[f32]) -> Vec<usize> {
        let cost: Vec<f32> = odds.iter().map(|odds| (-odds).exp().ln_1p() + STEP).collect();
        let frame = self.cache.extent(|at| self.seeds.known[at] != Seed::Outside);
        let found = self.cache.extent(|at| labels[at]);
        if !found[0][0].is_finite() {
            return vec![];
        }
        let mut missing = vec![];
        for (axis, ([low, high], [first, last])) in frame.into_iter().zip(found).enumerate() {
            let slack = SLACK * (high - low) + self.cache.step;
            let place = |at: usize| self.cache.superpixels.patches[at].centre[axis];
            if first - low > slack {
                missing.extend(self.way(labels, &cost, |at| place(at) < low + 0.75 * self.cache.step));
            }
            if high - last > slack {
                missing.extend(self.way(labels, &cost, |at| place(at) > high - 0.75 * self.cache.step));
            }
        }
        missing
    }

    /// The cheapest way from what is inside to where `goal` holds; empty when it is too dear.
    fn way(&self, labels: &[bool], cost: &[f32], goal: impl Fn(usize) -> bool) -> Vec<usize> {
        let count = labels.len();
        let mut parent: Vec<usize> = (0..count).collect();
        let mut spent = vec![f32::INFINITY; count];
        let mut queue = BinaryHeap::new();
        for at in (0..count).filter(|&at| labels[at]) {
            spent[at] = 0.0;
            queue.push(Reverse((0, at)));
        }
        // Bits of floats that are not negative sort as the floats do.
        while let Some(Reverse((bits, at))) = queue.pop() {
            let here = f32::from_bits(bits);
            if here > spent[at] {
                continue;
            }
            if goal(at) {
                let way: Vec<usize> = std::iter::successors(Some(at), |&at| Some(parent[at]))
                    .take_while(|&at| !labels[at])
                    .collect();
                return if here <= self.limit * way.len() as f32 { way } else { vec![] };
            }
            for touch in self.cache.superpixels.around(at) {
                let other = touch.other as usize;
                let there = here + cost[other];
                if self.seeds.known[other] == Seed::Free && there < spent[other] {
                    (spent[other], parent[other]) = (there, at);
                    queue.push(Reverse((there.to_bits(), other)));
                }
            }
        }
        vec![]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::{BoxPrompt, ObjectPrompts, RgbView, WorkingImage};
    use super::super::constraints::Constraints;
    use super::*;

    const SIDE: usize = 120;

    /// The middle of the box was found: ways to its four sides, with `odds` everywhere but on a
    /// likely path upwards.
    fn missing(odds: f32, limit: f32) -> (RefineCache, Vec<usize>) {
        let data: Vec<u8> = (0..SIDE * SIDE).flat_map(|at| [(at % 7) as u8 * 5; 3]).collect();
        let image = WorkingImage::from_rgb(RgbView::new(SIDE, SIDE, &data).unwrap()).unwrap();
        let cache = RefineCache::new(&image, None);
        let boxes = vec![BoxPrompt { x0: 20.0, y0: 20.0, x1: 100.0, y1: 100.0 }];
        let prompts = ObjectPrompts { boxes, ..ObjectPrompts::default() };
        let seeds = Seeds::new(&cache, &Constraints::new(&prompts, SIDE, SIDE));
        let centre = |at: usize| cache.superpixels.patches[at].centre;
        let within = |at: usize| centre(at).iter().all(|place| (45.0..75.0).contains(place));
        let up = |at: usize| centre(at)[1] < 45.0 && (55.0..65.0).contains(&centre(at)[0]);
        let count = cache.superpixels.len();
        let labels: Vec<bool> = (0..count).map(within).collect();
        let odds: Vec<f32> = (0..count).map(|at| if up(at) { 2.0 } else { odds }).collect();
        let missing = Tight { cache: &cache, seeds: &seeds, limit }.missing(&labels, &odds);
        (cache, missing)
    }

    #[test]
    fn the_likeliest_ways_lead_to_all_sides() {
        let (cache, missing) = missing(-2.0, 5.0);
        let places: Vec<[f32; 2]> = missing.iter().map(|&at| cache.superpixels.patches[at].centre).collect();
        for (axis, end) in [(0, 20.0), (0, 100.0), (1, 20.0), (1, 100.0)] {
            assert!(places.iter().any(|place| (place[axis] - end).abs() < 6.0), "{axis} {end}: {places:?}");
        }
        let up = |place: &&[f32; 2]| place[1] < 45.0 && (45.0..75.0).contains(&place[0]);
        let likely = places.iter().filter(up).filter(|place| (52.0..68.0).contains(&place[0])).count();
        assert!(likely > 4 && places.iter().filter(up).count() == likely, "{places:?}");
        assert!(places.iter().flatten().all(|place| (18.0..102.0).contains(place)), "{places:?}");
    }

    #[test]
    fn what_is_too_unlikely_is_not_taken() {
        let (cache, missing) = missing(-6.0, 3.0);
        let places = missing.iter().map(|&at| cache.superpixels.patches[at].centre);
        assert!(!missing.is_empty() && places.clone().all(|place| place[1] < 45.0), "{places:?}");
    }
}
