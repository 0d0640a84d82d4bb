//! Masks in forms that other programs read: polygons, COCO JSON, SVG, label maps.

mod coco;
mod polygon;
mod simplify;
mod svg;

pub use coco::{CocoImage, CocoObject, coco_json};
pub use polygon::{Polygon, polygons};
pub use svg::{SvgObject, svg};

use super::Mask;
use crate::error::{Error, Result};

/// One number a pixel, `[height, width]` in raster order: 0 where no mask is, else the place of the
/// mask in the list, from 1. Where masks overlap the later one is seen.
///
/// # Errors
/// [`Error::Image`] for a mask of another size, or more masks than 16 bits can number.
pub fn label_map(width: usize, height: usize, masks: &[&Mask]) -> Result<Vec<u16>> {
    let mut labels = vec![0; width * height];
    for (at, mask) in masks.iter().enumerate() {
        check_size(width, height, mask, at)?;
        let label = u16::try_from(at + 1)
            .map_err(|_| Error::Image(format!("{} masks: a label map numbers 65535", masks.len())))?;
        for (pixel, _) in labels.iter_mut().zip(mask.data()).filter(|(_, inside)| **inside != 0) {
            *pixel = label;
        }
    }
    Ok(labels)
}

fn check_size(width: usize, height: usize, mask: &Mask, at: usize) -> Result<()> {
    if (mask.width(), mask.height()) == (width, height) {
        return Ok(());
    }
    Err(Error::Image(format!(
        "mask {} is {}x{} pixels, but the image is {width}x{height}",
        at + 1,
        mask.width(),
        mask.height()
    )))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
