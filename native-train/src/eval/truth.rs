//! What an object really is, and how near a mask comes to it.

use rmae_core::prompt::distance::squared_distances;
use rmae_core::prompt::simulate::{Judged, next_click};
use rmae_core::prompt::{BoxPrompt, Click, Mask};

/// Tolerance of the boundary F-measure, as a share of the image's diagonal; at least one pixel.
const TOLERANCE: f32 = 0.0075;

/// The true mask of one object, `[height, width]`; some pixels may not be judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    width: usize,
    height: usize,
    judged: Vec<Judged>,
}

impl Truth {
    /// From one judgement a pixel, in raster order; none when their number does not fit the sides.
    #[must_use]
    pub fn new(width: usize, height: usize, judged: Vec<Judged>) -> Option<Self> {
        (width.checked_mul(height) == Some(judged.len()) && !judged.is_empty()).then_some(Self {
            width,
            height,
            judged,
        })
    }

    /// Columns and rows.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The pixels that belong to the object.
    #[must_use]
    pub fn mask(&self) -> Mask {
        Mask::from_fn(self.width, self.height, |x, y| self.inside(y * self.width + x))
    }

    /// Pixels that belong to the object.
    #[must_use]
    pub fn area(&self) -> usize {
        self.judged.iter().filter(|&&judged| judged == Judged::Inside).count()
    }

    fn inside(&self, at: usize) -> bool {
        self.judged[at] == Judged::Inside
    }

    /// The smallest box around the object; none around nothing.
    #[must_use]
    pub fn bounding_box(&self) -> Option<BoxPrompt> {
        let b = self.mask().bounding_box()?;
        let (x0, y0) = (b.x as f32, b.y as f32);
        Some(BoxPrompt { x0, y0, x1: x0 + b.width as f32, y1: y0 + b.height as f32 })
    }

    /// Intersection over union among the judged pixels; 0 for a mask of another size.
    #[must_use]
    pub fn iou(&self, mask: &Mask) -> f64 {
        if (mask.width(), mask.height()) != self.size() {
            return 0.0;
        }
        let (mut both, mut either) = (0usize, 0usize);
        for (&judged, &found) in self.judged.iter().zip(mask.data()) {
            let inside = judged == Judged::Inside;
            if judged != Judged::Ignored {
                both += usize::from(inside && found != 0);
                either += usize::from(inside || found != 0);
            }
        }
        both as f64 / either.max(1) as f64
    }

    /// The next click of the protocol ([`next_click`]); none when no judged pixel is wrong.
    #[must_use]
    pub fn next_click(&self, mask: &Mask) -> Option<Click> {
        next_click(&self.judged, mask.data(), self.width, self.height)
    }

    /// The boundary F-measure: the harmonic mean of precision (share of the found border that lies
    /// near the true one) and recall (share of the true border that lies near the found one).
    ///
    /// A border is the object's own pixels that have a neighbour, of four, within the image that is
    /// not the object's; near is within 0.75 % of the image's diagonal (Euclidean, at least one
    /// pixel). None where parts of the image are not judged, as these hide the true border, and where
    /// the object fills the image. 0 for a mask of another size.
    #[must_use]
    pub fn boundary_f(&self, mask: &Mask) -> Option<f64> {
        if self.judged.contains(&Judged::Ignored) {
            return None;
        }
        let right = self.border(|at| self.inside(at));
        if !right.contains(&true) {
            return None;
        }
        if (mask.width(), mask.height()) != self.size() {
            return Some(0.0);
        }
        let found = self.border(|at| mask.data()[at] != 0);
        let (precision, recall) = (self.share_near(&found, &right), self.share_near(&right, &found));
        let sum = precision + recall;
        Some(if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 })
    }

    fn border(&self, inside: impl Fn(usize) -> bool) -> Vec<bool> {
        let (w, h) = self.size();
        let open = |within: bool, at: usize| within && !inside(at);
        let pixel = |at: usize| {
            let (x, y) = (at % w, at / w);
            inside(at)
                && (open(x > 0, at.wrapping_sub(1))
                    || open(x + 1 < w, at + 1)
                    || open(y > 0, at.wrapping_sub(w))
                    || open(y + 1 < h, at + w))
        };
        (0..w * h).map(pixel).collect()
    }

    /// Share of the pixels `of` with one of `near` within the tolerance; 0 without any.
    fn share_near(&self, of: &[bool], near: &[bool]) -> f64 {
        let diagonal = (self.width as f32).hypot(self.height as f32);
        let reach = (TOLERANCE * diagonal).max(1.0);
        let distances = self.distances(near, reach.ceil() as usize + 1);
        let border = || of.iter().zip(&distances).filter(|(border, _)| **border);
        let hits = border().filter(|(_, distance)| **distance <= reach * reach).count();
        hits as f64 / border().count().max(1) as f64
    }

    /// Squared distances to the pixels of `near`. The transform counts the outside of the picture as
    /// such a pixel, so a margin keeps that out of reach.
    fn distances(&self, near: &[bool], margin: usize) -> Vec<f32> {
        let (width, height) = (self.width + 2 * margin, self.height + 2 * margin);
        let start = |row: usize| (row + margin) * width + margin;
        let mut away = vec![true; width * height];
        for (row, line) in near.chunks_exact(self.width).enumerate() {
            let places = &mut away[start(row)..][..self.width];
            places.iter_mut().zip(line).for_each(|(away, near)| *away = !near);
        }
        let distances = squared_distances(&away, width, height);
        (0..self.height).flat_map(|row| distances[start(row)..][..self.width].iter().copied()).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SIDE: usize = 100;

    fn square(from: usize, to: usize) -> Mask {
        Mask::from_fn(SIDE, SIDE, |x, y| (from..to).contains(&x) && (from..to).contains(&y))
    }

    fn truth(mask: &Mask) -> Truth {
        let judge = |&v: &u8| if v == 1 { Judged::Inside } else { Judged::Outside };
        Truth::new(mask.width(), mask.height(), mask.data().iter().map(judge).collect()).unwrap()
    }

    #[test]
    fn overlap_counts_judged_pixels_only() {
        let mut half = truth(&square(20, 60));
        assert!((half.iou(&square(20, 60)) - 1.0).abs() < 1e-12);
        assert!((half.iou(&square(20, 40)) - 0.25).abs() < 1e-12);
        for y in 40..SIDE {
            half.judged[y * SIDE..(y + 1) * SIDE].fill(Judged::Ignored);
        }
        // Rows 20 to 40 are left: 800 pixels, of which the smaller square has 400.
        assert!((half.iou(&square(20, 40)) - 0.5).abs() < 1e-12);
        assert_eq!(half.iou(&Mask::empty(3, 3)), 0.0);
    }

    #[test]
    fn a_border_off_by_one_pixel_is_right_and_off_by_two_is_wrong() {
        // The diagonal is 141 pixels, of which 0.75 % are 1.06.
        let truth = truth(&square(20, 60));
        assert_eq!(truth.boundary_f(&square(20, 60)), Some(1.0));
        let near = truth.boundary_f(&square(21, 59)).unwrap();
        assert!(near > 0.95, "{near}");
        let far = truth.boundary_f(&square(22, 58)).unwrap();
        assert!(far < 0.05, "{far}");
        assert_eq!(truth.boundary_f(&Mask::empty(SIDE, SIDE)), Some(0.0));
    }

    #[test]
    fn precision_and_recall_of_a_border_are_mixed() {
        // Half of the found border is invented: precision 1/2 and recall 1.
        let twice = Mask::from_fn(SIDE, SIDE, |x, y| {
            (10..30).contains(&y) && ((10..30).contains(&x) || (60..80).contains(&x))
        });
        let truth = truth(&square(10, 30));
        let f = truth.boundary_f(&twice).unwrap();
        assert!((f - 2.0 / 3.0).abs() < 1e-9, "{f}");
    }

    #[test]
    fn the_image_s_edge_is_no_border_and_hidden_borders_are_not_measured() {
        assert_eq!(truth(&square(0, SIDE)).boundary_f(&square(0, SIDE)), None);
        let mut hidden = truth(&square(20, 60));
        hidden.judged[0] = Judged::Ignored;
        assert_eq!(hidden.boundary_f(&square(20, 60)), None);
    }
}
