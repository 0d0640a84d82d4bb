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

/// The tiles of an image, row by row.
pub(super) fn tiles((width, height): (usize, usize), side: usize) -> impl Iterator<Item = Area> {
    let tile = move |x, y| Area { x, y, width: side.min(width - x), height: side.min(height - y) };
    (0..height).step_by(side).flat_map(move |y| (0..width).step_by(side).map(move |x| tile(x, y)))
}
