//! Ways over the superpixels.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::superpixels::{Superpixels, Touch};
use crate::cpu::math::Real;

/// Differences of colour up to this are noise.
const NOISE: f32 = 1.0;
/// What a step costs without any difference.
const STEP: f32 = 1.0;

/// How far it is from some seeds.
pub(super) struct Ways {
    /// To the nearest seed; infinite where none can be reached.
    pub(super) distance: Vec<f32>,
    /// The next superpixel on the way to the seed; itself at a seed.
    pub(super) parent: Vec<u32>,
}

impl Ways {
    /// Shortest ways, where a step costs as much as the colours differ.
    pub(super) fn shortest(superpixels: &Superpixels, seeds: impl Iterator<Item = usize>) -> Self {
        Self::grow(superpixels, seeds, |here, touch| here + (touch.difference - NOISE).max(0.0) + STEP)
    }

    /// Ways whose highest step is lowest; `distance` is that step.
    pub(super) fn lowest(superpixels: &Superpixels, seeds: impl Iterator<Item = usize>) -> Self {
        Self::grow(superpixels, seeds, |here, touch| here.larger(touch.difference))
    }

    fn grow(
        superpixels: &Superpixels, seeds: impl Iterator<Item = usize>, step: impl Fn(f32, &Touch) -> f32,
    ) -> Self {
        let mut distance = vec![f32::INFINITY; superpixels.len()];
        let mut parent: Vec<u32> = (0..superpixels.len() as u32).collect();
        let mut queue = BinaryHeap::new();
        for seed in seeds {
            distance[seed] = 0.0;
            queue.push(Reverse((0, seed as u32)));
        }
        // Bits of floats that are not negative sort as the floats do.
        while let Some(Reverse((bits, at))) = queue.pop() {
            let here = f32::from_bits(bits);
            if here > distance[at as usize] {
                continue;
            }
            for touch in superpixels.around(at as usize) {
                let there = step(here, touch);
                if there < distance[touch.other as usize] {
                    distance[touch.other as usize] = there;
                    parent[touch.other as usize] = at;
                    queue.push(Reverse((there.to_bits(), touch.other)));
                }
            }
        }
        Self { distance, parent }
    }
}
