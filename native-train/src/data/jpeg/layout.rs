//! Which blocks a crop needs, and how large they come out.

use std::ops::Range;

use super::super::augment::Crop;
use super::NotMine;
use super::header::Header;

/// Samples a side of a block at full size.
pub(super) const SIDE: usize = 8;
/// Pixels beside a pixel that doubled chroma depends on.
const MARGIN: usize = 2;

/// Where the samples of a crop lie. A unit is what is interleaved: a block of each component, or several.
#[derive(Debug)]
pub(super) struct Layout {
    /// Units in a row of the whole picture.
    pub(super) units_across: usize,
    /// Those wanted of a row.
    pub(super) columns: Range<usize>,
    /// Rows of units that are wanted.
    pub(super) rows: Range<usize>,
    /// For each component.
    pub(super) blocks: Vec<Blocks>,
    /// Whether chroma has half the columns, and half the rows, of the pixels.
    pub(super) is_halved: (bool, bool),
    /// Columns of the crop, counted from the first wanted unit.
    pub(super) x: Range<usize>,
    /// Its rows.
    pub(super) y: Range<usize>,
}

/// The blocks of a component.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocks {
    /// Blocks of a unit, across and down.
    pub(super) of_unit: (usize, usize),
    /// Samples of a block, across and down: 1, 2, 4 or 8.
    pub(super) side: (usize, usize),
    /// Samples wanted in all, across and down.
    pub(super) size: (usize, usize),
}

/// One direction of a layout.
struct Span {
    units: Range<usize>,
    pixels: Range<usize>,
}

impl Layout {
    /// The layout of a crop at a `scale`th of its size.
    pub(super) fn new(header: &Header<'_>, crop: &Crop, scale: usize) -> Result<Self, NotMine> {
        let luma = header.components.first().ok_or(NotMine)?;
        let (w, h) = (header.width, header.height);
        let [x, width, y, height] = [crop.x, crop.width, crop.y, crop.height].map(|value| value as usize);
        let is_inside = width > 0 && height > 0 && x + width <= w && y + height <= h;
        if !is_inside || ![1, 2, 4, 8].contains(&scale) {
            return Err(NotMine);
        }
        let is_colour = header.components.len() > 1;
        let is_halved = |of_unit: usize| is_colour && of_unit == 2 && scale == 1;
        let is_halved = (is_halved(luma.across), is_halved(luma.down));
        let columns = Span::new(x..x + width, scale, w, luma.across, is_halved.0);
        let rows = Span::new(y..y + height, scale, h, luma.down, is_halved.1);
        let units = (columns.units.len(), rows.units.len());
        let side = |of_unit: usize, most: usize| (SIDE * most / of_unit / scale).min(SIDE);
        let blocks = header.components.iter().map(|c| {
            let side = (side(c.across, luma.across), side(c.down, luma.down));
            let size = (units.0 * c.across * side.0, units.1 * c.down * side.1);
            Blocks { of_unit: (c.across, c.down), side, size }
        });
        Ok(Self {
            units_across: w.div_ceil(SIDE * luma.across),
            blocks: blocks.collect(),
            columns: columns.units,
            rows: rows.units,
            is_halved,
            x: columns.pixels,
            y: rows.pixels,
        })
    }
}

impl Span {
    /// Where `crop`, of `length` pixels, lies in units of `of_unit` blocks.
    fn new(crop: Range<usize>, scale: usize, length: usize, of_unit: usize, is_halved: bool) -> Self {
        let unit = SIDE * of_unit;
        let margin = if is_halved { MARGIN } else { 0 };
        let first = crop.start.saturating_sub(margin) / unit;
        let end = (crop.end + margin).min(length).div_ceil(unit);
        let start = first * unit / scale;
        let pixels = crop.start / scale - start..crop.end.div_ceil(scale) - start;
        Self { units: first..end, pixels }
    }
}
