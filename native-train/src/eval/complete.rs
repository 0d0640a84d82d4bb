//! What a partly visible region could be completed to without a model, and regions that mean nothing.

use rand::Rng;
use rmae_core::prompt::Mask;

/// A square map of patches, some of which are visible.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partial<'a> {
    /// The whole region.
    pub(super) truth: &'a Mask,
    /// Side of a patch, pixels.
    pub(super) patch: usize,
    /// Whether each patch is visible.
    pub(super) visible: &'a [bool],
}

impl Partial<'_> {
    fn grid(&self) -> usize {
        self.truth.width() / self.patch
    }

    fn patch_of(&self, x: usize, y: usize) -> usize {
        y / self.patch * self.grid() + x / self.patch
    }

    /// The truth where it is visible, `masked(x, y)` elsewhere.
    pub(super) fn completed(&self, mut masked: impl FnMut(usize, usize) -> bool) -> Mask {
        let side = self.truth.width();
        Mask::from_fn(side, side, |x, y| {
            if self.visible[self.patch_of(x, y)] { self.truth.get(x, y) } else { masked(x, y) }
        })
    }

    /// Nothing beyond what is visible.
    pub(super) fn copied(&self) -> Mask {
        self.completed(|_, _| false)
    }

    /// Each masked patch as the nearest visible one: of equally near ones the first.
    pub(super) fn nearest(&self) -> Mask {
        let nearest: Vec<usize> = (0..self.visible.len()).map(|at| self.nearest_visible(at)).collect();
        let (patch, grid) = (self.patch, self.grid());
        self.completed(|x, y| {
            let from = nearest[self.patch_of(x, y)];
            self.truth.get(from % grid * patch + x % patch, from / grid * patch + y % patch)
        })
    }

    fn nearest_visible(&self, at: usize) -> usize {
        let grid = self.grid();
        let distance = |other: usize| {
            let (across, down) = ((at % grid).abs_diff(other % grid), (at / grid).abs_diff(other / grid));
            across * across + down * down
        };
        let visible = (0..self.visible.len()).filter(|&other| self.visible[other]);
        visible.min_by_key(|&other| distance(other)).unwrap_or(at)
    }
}

/// A round thing without a meaning: a few discs that melt into one another.
pub(super) fn blob(side: usize, rng: &mut impl Rng) -> Mask {
    let length = side as f32;
    let mut at = [rng.random_range(0.25..0.75) * length, rng.random_range(0.25..0.75) * length];
    let mut discs = vec![];
    for _ in 0..rng.random_range(2..=4) {
        let radius = rng.random_range(0.07..0.18) * length;
        discs.push((at, radius));
        let angle = rng.random_range(0.0..std::f32::consts::TAU);
        at = [at[0] + 1.2 * radius * angle.cos(), at[1] + 1.2 * radius * angle.sin()];
    }
    Mask::from_fn(side, side, |x, y| {
        let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
        let pull =
            |&([cx, cy], r): &([f32; 2], f32)| (-((x - cx).powi(2) + (y - cy).powi(2)) / (r * r)).exp();
        discs.iter().map(pull).sum::<f32>() > 0.5
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn baselines_know_what_is_visible_and_no_more() {
        // A grid of 3 by 3 patches of 2 pixels; the left two columns are the region.
        let truth = Mask::from_fn(6, 6, |x, _| x < 4);
        let mut visible = [false; 9];
        (visible[3], visible[5]) = (true, true);
        let partial = Partial { truth: &truth, patch: 2, visible: &visible };
        assert_eq!(partial.copied().area(), 4);
        // The middle column is as near to either side: the first decides.
        assert_eq!(partial.nearest(), truth);
        visible = [true; 9];
        let all = Partial { truth: &truth, patch: 2, visible: &visible };
        assert_eq!((all.copied(), all.nearest()), (truth.clone(), truth.clone()));
        visible = [false; 9];
        visible[0] = true;
        let one = Partial { truth: &truth, patch: 2, visible: &visible };
        assert_eq!(one.nearest().area(), 36);
    }

    #[test]
    fn blobs_are_of_one_piece_s_size_and_differ() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let blobs: Vec<Mask> = (0..50).map(|_| blob(64, &mut rng)).collect();
        for blob in &blobs {
            let share = blob.area() as f64 / 4096.0;
            assert!((0.005..0.6).contains(&share), "{share}");
        }
        assert_ne!(blobs[0], blobs[1]);
    }
}
