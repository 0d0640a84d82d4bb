//! What a partly visible region could be completed to without a model.

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
