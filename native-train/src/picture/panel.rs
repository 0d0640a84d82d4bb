//! The paper's figure 5: what the model saw, what it made of it, what was there.

use image::{Rgb, RgbImage};

use super::{Canvas, glyph_size};
use crate::data::denormalise;
use crate::predict::{Prediction, RegionPrediction};

const GAP: u32 = 4;
const LABEL: u32 = 2;
const PAPER: [u8; 3] = [255, 255, 255];
const INK: [u8; 3] = [40, 40, 40];
/// Colour of a patch that was removed.
const REMOVED: [u8; 3] = [128, 128, 128];

/// One row an image: masked image, reconstruction, original; and, with regions, masked region,
/// predicted region, true region. In the reconstruction, visible patches are the image's own.
#[must_use]
pub fn panel(predictions: &[Prediction]) -> RgbImage {
    let rows: Vec<Vec<(&str, RgbImage)>> = predictions.iter().map(row).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let side = predictions.first().map_or(1, |p| p.side as u32);
    let header = glyph_size("", LABEL).1 + 2 * GAP;
    let (width, height) = (columns * (side + GAP) + GAP, rows.len() as u32 * (side + GAP) + header);
    let mut canvas = Canvas::new(width.max(1), height, PAPER);
    for (column, (title, _)) in rows.first().into_iter().flatten().enumerate() {
        let left = GAP + column as u32 * (side + GAP);
        canvas.text(fitting(title, side), (i64::from(left), i64::from(GAP)), LABEL, INK);
    }
    for (r, row) in rows.iter().enumerate() {
        for (c, (_, image)) in row.iter().enumerate() {
            canvas.paste(image, GAP + c as u32 * (side + GAP), header + r as u32 * (side + GAP));
        }
    }
    canvas.into_image()
}

/// The title, if it fits over a picture.
fn fitting(title: &str, side: u32) -> &str {
    if glyph_size(title, LABEL).0 <= side { title } else { "" }
}

fn row(p: &Prediction) -> Vec<(&'static str, RgbImage)> {
    let mut row = vec![];
    let original = denormalise(&p.image, p.side);
    if let Some(pixels) = &p.pixels {
        let filled = choose(p, &p.visible, &original, &denormalise(pixels, p.side));
        row.push(("masked", choose(p, &p.visible, &original, &flat(p, REMOVED))));
        row.push(("reconstruction", filled));
    }
    row.push(("original", original));
    if let Some(region) = telling(&p.regions) {
        let truth = grey(p, &region.map);
        row.push(("masked region", choose(p, &region.visible, &truth, &flat(p, REMOVED))));
        row.push(("predicted", choose(p, &region.visible, &truth, &grey(p, &region.probability))));
        row.push(("true region", truth));
    }
    row
}

/// The region that says most: the one whose share of the image is nearest to a quarter.
fn telling(regions: &[RegionPrediction]) -> Option<&RegionPrediction> {
    let distance = |r: &RegionPrediction| (r.map.iter().sum::<f32>() / r.map.len() as f32 - 0.25).abs();
    regions.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

/// `seen` where a patch is visible, `other` where it was removed.
fn choose(p: &Prediction, visible: &[bool], seen: &RgbImage, other: &RgbImage) -> RgbImage {
    let grid = p.side / p.patch;
    RgbImage::from_fn(p.side as u32, p.side as u32, |x, y| {
        let patch = y as usize / p.patch * grid + x as usize / p.patch;
        *if visible[patch] { seen } else { other }.get_pixel(x, y)
    })
}

fn flat(p: &Prediction, colour: [u8; 3]) -> RgbImage {
    RgbImage::from_pixel(p.side as u32, p.side as u32, Rgb(colour))
}

fn grey(p: &Prediction, map: &[f32]) -> RgbImage {
    RgbImage::from_fn(p.side as u32, p.side as u32, |x, y| {
        let value = map[y as usize * p.side + x as usize].clamp(0.0, 1.0);
        Rgb([(255.0 * value).round() as u8; 3])
    })
}
