//! The model's logits as a function of a place in the image.

use super::super::Rect;

/// What counts where the logits do not reach.
const BEYOND: f32 = -3.0;
/// Logits beyond this say no more than this.
const MOST: f32 = 8.0;

/// `[side, side]` logits stretched over a rectangle of the image, read by bilinear interpolation.
pub(super) struct Field<'a> {
    logits: &'a [f32],
    side: usize,
    area: Rect,
    scale: [f32; 2],
}

impl<'a> Field<'a> {
    /// Logits that are not numbers, or too few, count as 0.
    pub(super) fn new(logits: &'a [f32], side: usize, area: Rect) -> Self {
        let side = if side.checked_mul(side) == Some(logits.len()) { side } else { 0 };
        let scale = |from: f32, to: f32| if to > from { side as f32 / (to - from) } else { 0.0 };
        let scale = [scale(area.x0, area.x1), scale(area.y0, area.y1)];
        Self { logits, side, area, scale }
    }

    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        if self.side == 0 {
            return 0.0;
        }
        if x < self.area.x0 || y < self.area.y0 || x > self.area.x1 || y > self.area.y1 {
            return BEYOND;
        }
        let (left, right, across) = self.taps((x - self.area.x0) * self.scale[0]);
        let (top, bottom, down) = self.taps((y - self.area.y0) * self.scale[1]);
        let line = |row: usize| {
            let (a, b) = (self.logit(row, left), self.logit(row, right));
            a + (b - a) * across
        };
        let (above, below) = (line(top), line(bottom));
        above + (below - above) * down
    }

    fn taps(&self, place: f32) -> (usize, usize, f32) {
        let last = self.side - 1;
        let place = (place - 0.5).clamp(0.0, last as f32);
        let low = (place as usize).min(last);
        (low, (low + 1).min(last), place - low as f32)
    }

    fn logit(&self, row: usize, column: usize) -> f32 {
        let logit = self.logits[row * self.side + column];
        if logit.is_nan() { 0.0 } else { logit.clamp(-MOST, MOST) }
    }
}
