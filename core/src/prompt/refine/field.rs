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

    /// [`Field::at`] the middle of every pixel, row by row; along each row of logits once.
    pub(super) fn everywhere(&self, width: usize, height: usize) -> Vec<f32> {
        if self.side == 0 {
            return vec![0.0; width * height];
        }
        let middle = |at: usize| at as f32 + 0.5;
        let Rect { x0, y0, x1, y1 } = self.area;
        let columns: Vec<Option<_>> = (0..width)
            .map(|x| (x0..=x1).contains(&middle(x)).then(|| self.taps((middle(x) - x0) * self.scale[0])))
            .collect();
        let mut lines = Vec::with_capacity(self.side * width);
        let mut logits = vec![0.0; self.side];
        for row in 0..self.side {
            logits.iter_mut().enumerate().for_each(|(column, logit)| *logit = self.logit(row, column));
            lines.extend(columns.iter().map(|column| {
                let Some((left, right, across)) = *column else { return BEYOND };
                logits[left] + (logits[right] - logits[left]) * across
            }));
        }
        let mut all = Vec::with_capacity(width * height);
        for y in 0..height {
            if !(y0..=y1).contains(&middle(y)) {
                all.resize(all.len() + width, BEYOND);
                continue;
            }
            let (top, bottom, down) = self.taps((middle(y) - y0) * self.scale[1]);
            let line = |row: usize| &lines[row * width..(row + 1) * width];
            all.extend(
                line(top).iter().zip(line(bottom)).map(|(above, below)| above + (below - above) * down),
            );
        }
        all
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everywhere_is_at_every_pixel() {
        let mut logits: Vec<f32> = (0..25).map(|i| ((i * 7) % 11) as f32 - 5.0).collect();
        (logits[3], logits[8]) = (f32::NAN, 20.0);
        for area in
            [Rect { x0: 0.0, y0: 0.0, x1: 23.0, y1: 17.0 }, Rect { x0: 4.2, y0: -3.0, x1: 15.7, y1: 9.0 }]
        {
            let field = Field::new(&logits, 5, area);
            let want: Vec<f32> =
                (0..23 * 17).map(|at| field.at((at % 23) as f32 + 0.5, (at / 23) as f32 + 0.5)).collect();
            assert_eq!(field.everywhere(23, 17), want);
            assert!(want.iter().any(|&x| x != want[0]));
        }
        assert_eq!(
            Field::new(&logits, 4, Rect { x0: 0.0, y0: 0.0, x1: 2.0, y1: 1.0 }).everywhere(2, 1),
            [0.0; 2]
        );
    }
}
