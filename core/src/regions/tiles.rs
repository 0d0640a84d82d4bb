//! Tiles of an image: parts whose working set fits the processor's cache.

/// A rectangle of pixels of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Area {
    /// From a pixel's index in the area to that in the image, which is `width` pixels wide.
    pub(super) fn in_image(&self, pixel: u32, width: usize) -> u32 {
        if self.width == width {
            return pixel + (self.y * width) as u32;
        }
        let (x, y) = (pixel % self.width as u32, pixel / self.width as u32);
        (y + self.y as u32) * width as u32 + x + self.x as u32
    }

    fn holds(&self, x: usize, y: usize) -> bool {
        (self.x..self.x + self.width).contains(&x) && (self.y..self.y + self.height).contains(&y)
    }

    /// Calls `edge` for every pair of neighbours of which the first is in the area and the second
    /// elsewhere in the image of `sides`; with the places (x, y).
    pub(super) fn for_each_crossing(
        &self, sides: (usize, usize), mut edge: impl FnMut((usize, usize), (usize, usize)),
    ) {
        let (right, bottom) = (self.x + self.width, self.y + self.height);
        for y in self.y..bottom {
            let whole = y == self.y || y + 1 == bottom || self.width == 1;
            let step = if whole { 1 } else { self.width - 1 };
            for x in (self.x..right).step_by(step) {
                for (x1, y1) in neighbours(x, y).filter(|&(x, y)| x < sides.0 && y < sides.1) {
                    if !self.holds(x1, y1) {
                        edge((x, y), (x1, y1));
                    }
                }
            }
        }
    }
}

/// The eight places around one, those above or left of the image wrapped.
fn neighbours(x: usize, y: usize) -> impl Iterator<Item = (usize, usize)> {
    let around = [(1, 0), (0, 1), (1, 1), (-1, 1), (-1, 0), (0, -1), (-1, -1), (1, -1)];
    around.into_iter().map(move |(dx, dy)| (x.wrapping_add_signed(dx), y.wrapping_add_signed(dy)))
}

/// How an image is cut into tiles, tiles are put together to parts, those to larger parts, and so
/// on to the image: what is undecided in a part is looked at again in one that still fits a cache,
/// and what is left after that, in the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiling {
    /// Of a tile, in pixels.
    pub(super) side: usize,
    /// How many times as long the side of a part is as those it consists of. At least 2.
    pub(super) factor: usize,
}

impl Tiling {
    /// Side of the parts of a level, of which 0 are the tiles.
    fn side(&self, level: usize) -> usize {
        (0..level).fold(self.side, |side, _| side.saturating_mul(self.factor))
    }

    /// The level at which the image is one part.
    pub(super) fn top(&self, (width, height): (usize, usize)) -> usize {
        self.level_between((0, 0), (width - 1, height - 1))
    }

    /// The first level at which two pixels are of one part.
    pub(super) fn level_between(&self, (x, y): (usize, usize), (x1, y1): (usize, usize)) -> usize {
        let (mut side, mut level) = (self.side, 0);
        while x / side != x1 / side || y / side != y1 / side {
            side = side.saturating_mul(self.factor);
            level += 1;
        }
        level
    }

    /// The parts of a level that an area consists of, row by row.
    pub(super) fn parts(&self, area: Area, level: usize) -> impl Iterator<Item = Area> + use<> {
        let side = self.side(level);
        let (right, bottom) = (area.x + area.width, area.y + area.height);
        let part = move |x, y| Area { x, y, width: side.min(right - x), height: side.min(bottom - y) };
        let rows = (area.y..bottom).step_by(side);
        rows.flat_map(move |y| (area.x..right).step_by(side).map(move |x| part(x, y)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every level's parts cover the image once, and pixels share a part from the level on
        /// that lies between them.
        #[test]
        fn parts_of_all_levels_cover_the_image(
            (width, height) in (1..40usize, 1..40usize),
            (side, factor) in (1..7usize, 2..5usize),
            at in (0..1600usize, 0..1600usize),
        ) {
            let tiling = Tiling { side, factor };
            let image = Area { x: 0, y: 0, width, height };
            let pixel = |at: usize| (at % width, at / width % height);
            let (a, b) = (pixel(at.0), pixel(at.1));
            let top = tiling.top((width, height));
            prop_assert_eq!(tiling.parts(image, top).collect::<Vec<_>>(), [image]);
            for level in 0..top {
                let inner = tiling.parts(image, level + 1).flat_map(|part| tiling.parts(part, level));
                let parts: Vec<Area> = inner.collect();
                prop_assert_eq!(parts.iter().map(|part| part.width * part.height).sum::<usize>(), width * height);
                let of = |(x, y): (usize, usize)| parts.iter().filter(|part| part.holds(x, y)).collect::<Vec<_>>();
                prop_assert_eq!(of(a).len(), 1);
                prop_assert_eq!(of(a) == of(b), level >= tiling.level_between(a, b));
            }
        }
    }
}
