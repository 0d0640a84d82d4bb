//! A closer look: the [glance](super::glance) at the part of the photo in which the object seems to
//! lie, drawn as large as the whole photo is otherwise, so that small things are seen as well as large
//! ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::WorkingImage;
use super::RefineCache;
use super::glance::{Glance, Seen};

/// How far the part reaches beyond what is looked for, in parts of the longer side.
const MARGIN: f32 = 0.25;
/// Pixels of a side of the part at least.
const LEAST_SIDE: f32 = 48.0;
/// Share of the image from which on a closer look is none.
const MOST_SHARE: f32 = 0.7;
/// A part is looked at again as long as what is looked for fills so much of its longer side.
const LEAST_FILLED: f32 = 0.4;
/// Parts that are remembered of an image.
const KEPT: usize = 4;

/// A part of the image, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Lowest and highest column, and row.
pub(super) type Extent = [[f32; 2]; 2];

impl Part {
    pub(super) fn whole(image: &WorkingImage) -> Self {
        Self { x: 0, y: 0, width: image.width(), height: image.height() }
    }

    /// The part around what lies between columns and rows of the image; none where that is nearly all
    /// of it, or nothing.
    fn around(extent: Extent, width: usize, height: usize) -> Option<Self> {
        let [across, down] = extent.map(|[low, high]| high - low);
        if !(across >= 0.0 && down >= 0.0) {
            return None;
        }
        let margin = MARGIN * across.max(down);
        let span = |[low, high]: [f32; 2], side: usize| {
            let more = margin.max(0.5 * (LEAST_SIDE - (high - low)));
            let low = (low - more).clamp(0.0, side as f32);
            let high = (high + more).clamp(low, side as f32);
            (low as usize, (high.ceil() as usize).min(side) - low as usize)
        };
        let ((x, w), (y, h)) = (span(extent[0], width), span(extent[1], height));
        let part = Self { x, y, width: w, height: h };
        let share = (w * h) as f32 / (width * height).max(1) as f32;
        (w > 0 && h > 0 && share < MOST_SHARE).then_some(part)
    }

    /// Whether what lies between columns and rows can be seen well in it.
    fn suits(&self, extent: Extent) -> bool {
        let [[x0, x1], [y0, y1]] = extent;
        let within = x0 >= self.x as f32
            && y0 >= self.y as f32
            && x1 <= (self.x + self.width) as f32
            && y1 <= (self.y + self.height) as f32;
        within && (x1 - x0).max(y1 - y0) >= LEAST_FILLED * self.width.max(self.height) as f32
    }
}

/// What was seen of a part of the image.
#[derive(Clone)]
pub struct Closer {
    pub(super) part: Part,
    pub(super) seen: Arc<Seen>,
}

/// The glance, and the parts that it looked at last.
pub(super) struct Looks {
    glance: Glance,
    latest: Mutex<VecDeque<Closer>>,
}

impl Looks {
    pub(super) fn new(glance: &Glance) -> Self {
        Self { glance: glance.clone(), latest: Mutex::default() }
    }

    fn at(&self, image: &WorkingImage, part: Part) -> Closer {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = latest.iter().position(|closer| closer.part == part);
        let closer = known.and_then(|at| latest.remove(at)).unwrap_or_else(|| {
            let seen = Arc::new(self.glance.look(image, part));
            Closer { part, seen }
        });
        if latest.len() >= KEPT {
            latest.pop_front();
        }
        latest.push_back(closer.clone());
        closer
    }
}

impl Closer {
    /// A closer look at what lies between columns and rows of the image, or another one at `known`, if
    /// that suits. None without a glance, and where the part would be nearly the whole.
    pub(super) fn at(
        cache: &RefineCache, image: &WorkingImage, extent: Extent, known: Option<Part>,
    ) -> Option<Self> {
        let looks = cache.looks.as_ref()?;
        let known = known.filter(|part| part.suits(extent));
        let part = known.or_else(|| Part::around(extent, cache.width, cache.height))?;
        Some(looks.at(image, part))
    }

    /// The same for who trains: columns and rows from low to high; nothing is remembered.
    #[must_use]
    pub fn alone(
        cache: &RefineCache, image: &WorkingImage, columns: [f32; 2], rows: [f32; 2],
    ) -> Option<Self> {
        let looks = cache.looks.as_ref()?;
        let part = Part::around([columns, rows], cache.width, cache.height)?;
        Some(Self { part, seen: Arc::new(looks.glance.look(image, part)) })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_part_reaches_beyond_what_is_looked_for() {
        let part = Part::around([[100.0, 200.0], [50.0, 90.0]], 400, 300).unwrap();
        assert_eq!(part, Part { x: 75, y: 25, width: 150, height: 90 });
        assert!(part.suits([[80.0, 190.0], [30.0, 100.0]]));
        assert!(!part.suits([[70.0, 190.0], [30.0, 100.0]]), "it lies outside");
        assert!(!part.suits([[80.0, 120.0], [30.0, 60.0]]), "it is small");
    }

    #[test]
    fn small_things_get_a_part_of_some_size_and_large_ones_none() {
        let part = Part::around([[2.0, 4.0], [298.0, 300.0]], 400, 300).unwrap();
        assert_eq!(part, Part { x: 0, y: 275, width: 27, height: 25 });
        assert_eq!(Part::around([[50.0, 350.0], [20.0, 280.0]], 400, 300), None);
        assert_eq!(Part::around([[f32::INFINITY, f32::NEG_INFINITY]; 2], 400, 300), None);
        assert_eq!(Part::around([[0.0, 1.0]; 2], 1, 1), None);
    }
}
