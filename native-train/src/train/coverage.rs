//! What a region loss has to beat: predictions that know nothing of the image.
//!
//! Two constant predictions are scored with the model's own loss over the same removed patches:
//! the mean coverage of each patch position over all regions so far, and, far harder, the true
//! coverage of that very patch of that very region (an oracle that knows how much of a patch is
//! inside, only not where).

use rmae_core::config::ModelConfig;

/// Keeps probabilities off 0 and 1, where their logarithm ends.
const CLAMP: f64 = 1e-6;

/// Running mean of the coverage of each patch position.
#[derive(Clone, Debug)]
pub struct Coverage {
    sums: Vec<f64>,
    count: u64,
    side: usize,
    patch: usize,
    regions: usize,
    /// Leading ids of a permutation whose patches the model sees.
    visible: usize,
    background_weight: f64,
}

/// The losses of the two constant predictions over one batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baselines {
    /// Of the mean coverage of the patch position over all earlier regions.
    pub mean_coverage: f64,
    /// Of the true coverage of each patch.
    pub patch_entropy: f64,
}

impl Coverage {
    /// Starts at nothing known; none for a model without regions.
    #[must_use]
    pub fn new(model: &ModelConfig) -> Option<Self> {
        (model.num_region > 0).then(|| Self {
            sums: vec![0.0; model.num_patches()],
            count: 0,
            side: model.img_size,
            patch: model.patch_size,
            regions: model.num_region,
            visible: model.visible_region_patches(),
            background_weight: model.bg_loss_weight,
        })
    }

    /// Goes on from what [`Coverage::state`] gave; another length is ignored.
    pub fn restore(&mut self, sums: &[f64], count: u64) {
        if sums.len() == self.sums.len() {
            self.sums.copy_from_slice(sums);
            self.count = count;
        }
    }

    /// Sums `[L]` and how many region maps they cover.
    #[must_use]
    pub fn state(&self) -> (&[f64], u64) {
        (&self.sums, self.count)
    }

    /// Scores a batch (`regions` `[B,k,S,S]`, `ids_shuffle` `[B,L]`), then learns from it.
    pub fn score(&mut self, regions: &[f32], ids_shuffle: &[u32]) -> Baselines {
        let patches = self.sums.len();
        let maps: Vec<Vec<f64>> = regions.chunks(self.side * self.side).map(|map| self.of_map(map)).collect();
        let (mut mean, mut oracle, mut terms) = (0.0, 0.0, 0);
        for (index, map) in maps.iter().enumerate() {
            let image = index / self.regions;
            let ids = &ids_shuffle[image * patches..(image + 1) * patches];
            for &id in &ids[self.visible..] {
                let covered = map[id as usize];
                mean += self.cross_entropy(covered, self.expected(id as usize));
                oracle += self.cross_entropy(covered, covered);
                terms += 1;
            }
        }
        for map in &maps {
            self.sums.iter_mut().zip(map).for_each(|(sum, covered)| *sum += covered);
        }
        self.count += maps.len() as u64;
        let terms = f64::from(terms.max(1));
        Baselines { mean_coverage: mean / terms, patch_entropy: oracle / terms }
    }

    /// Mean coverage of a position so far; even odds before the first batch.
    fn expected(&self, position: usize) -> f64 {
        if self.count == 0 { 0.5 } else { self.sums[position] / self.count as f64 }
    }

    /// Share of each patch that one region covers, `[L]`.
    fn of_map(&self, map: &[f32]) -> Vec<f64> {
        let grid = self.side / self.patch;
        let mut covered = vec![0.0; grid * grid];
        for (y, row) in map.chunks(self.side).enumerate() {
            for (column, pixels) in row.chunks(self.patch).enumerate() {
                covered[y / self.patch * grid + column] += f64::from(pixels.iter().sum::<f32>());
            }
        }
        let area = (self.patch * self.patch) as f64;
        covered.iter().map(|sum| sum / area).collect()
    }

    /// Mean loss over a patch of which a share is covered, at one predicted probability.
    fn cross_entropy(&self, covered: f64, predicted: f64) -> f64 {
        let p = predicted.clamp(CLAMP, 1.0 - CLAMP);
        -covered * p.ln() - self.background_weight * (1.0 - covered) * (1.0 - p).ln()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn model() -> ModelConfig {
        ModelConfig {
            img_size: 4,
            patch_size: 2,
            num_region: 1,
            region_mask_ratio: 0.5,
            ..Default::default()
        }
    }

    #[test]
    fn a_half_covered_patch_costs_a_bit_even_for_the_oracle() {
        let mut coverage = Coverage::new(&model()).unwrap();
        // Patches: full, half, empty, half; patches 1 and 2 are removed.
        #[rustfmt::skip]
        let map = [
            1.0, 1.0, 1.0, 0.0,
            1.0, 1.0, 1.0, 0.0,
            0.0, 0.0, 0.0, 1.0,
            0.0, 0.0, 0.0, 1.0,
        ];
        let first = coverage.score(&map, &[0, 3, 1, 2]);
        let bit = std::f64::consts::LN_2;
        assert!((first.patch_entropy - bit / 2.0).abs() < 1e-4, "{first:?}");
        assert!((first.mean_coverage - bit).abs() < 1e-12, "nothing known yet: {first:?}");
        assert_eq!(coverage.state(), (&[1.0, 0.5, 0.0, 0.5][..], 1));
        let second = coverage.score(&map, &[0, 3, 1, 2]);
        assert!((second.mean_coverage - bit / 2.0).abs() < 1e-4, "{second:?}");
    }
}
