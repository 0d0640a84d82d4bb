//! What connected parts and holes of a mask stay.

use super::super::mask::count;
use super::super::parts::Parts;
use super::constraints::{Constraints, Known};

/// Without a positive mark, parts smaller than this share of the largest go.
const LEAST_PART: f32 = 0.05;
/// Holes smaller than this share of the mask are filled.
const PIN_HOLE: f32 = 0.005;
/// Holes of up to this many pixels are filled in any mask that is larger.
const PIN_HOLE_PIXELS: usize = 12;

/// Drops what does not hang together with a positive mark; without one, small crumbs.
pub(super) fn keep_clicked(mask: &mut [u8], width: usize, constraints: &Constraints) {
    let mut parts = Parts::new(mask, width, 1, true);
    if constraints.marked() {
        let holding = parts.holding(|row, start, end| constraints.any(row, start, end, Known::Inside));
        parts.paint(mask, width, 0, |group| !holding[group]);
    } else {
        let areas = parts.areas();
        let least = LEAST_PART * areas.iter().copied().max().unwrap_or(0) as f32;
        parts.paint(mask, width, 0, |group| (areas[group] as f32) < least);
    }
}

/// Fills small holes in which nothing is known to be outside.
pub(super) fn fill_holes(mask: &mut [u8], width: usize, height: usize, constraints: &Constraints) {
    let area = count(mask);
    let largest = ((PIN_HOLE * area as f32) as usize).max(PIN_HOLE_PIXELS.min(area / 2));
    let mut parts = Parts::new(mask, width, 0, false);
    let areas = parts.areas();
    let open = parts.holding(|row, start, end| {
        let at_border = row == 0 || row + 1 == height || start == 0 || end == width;
        at_border || constraints.any(row, start, end, Known::Outside)
    });
    parts.paint(mask, width, 1, |group| !open[group] && areas[group] <= largest);
}
