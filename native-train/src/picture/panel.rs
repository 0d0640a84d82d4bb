//! The paper's figure 5: what the model saw, what it made of it, what was there.

use image::RgbImage;
use rmae_core::reconstruct::{CompletedRegion, Reconstruction};

use super::{Canvas, glyph_size};

const GAP: u32 = 4;
const LABEL: u32 = 2;
const PAPER: [u8; 3] = [255, 255, 255];
const INK: [u8; 3] = [40, 40, 40];

/// One row an image: masked image, reconstruction, original; and, with regions, masked region,
/// predicted region, true region. In the reconstruction, visible patches are the image's own.
#[must_use]
pub fn panel(predictions: &[Reconstruction]) -> RgbImage {
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

fn row(p: &Reconstruction) -> Vec<(&'static str, RgbImage)> {
    let picture = |rgb: Vec<u8>| {
        let side = p.side as u32;
        RgbImage::from_raw(side, side, rgb).unwrap_or_else(|| RgbImage::new(side, side))
    };
    let mut row = vec![];
    if let Some(filled) = p.filled() {
        row.push(("masked", picture(p.masked())));
        row.push(("reconstruction", picture(filled)));
    }
    row.push(("original", picture(p.original())));
    if let Some(region) = telling(&p.regions) {
        row.push(("masked region", picture(p.region_shown(region))));
        row.push(("predicted", picture(p.region_completed(region))));
        row.push(("true region", picture(p.region_truth(region))));
    }
    row
}

/// The region that says most: the one whose share of the image is nearest to a quarter.
fn telling(regions: &[CompletedRegion]) -> Option<&CompletedRegion> {
    let distance = |r: &CompletedRegion| (r.map.iter().sum::<f32>() / r.map.len() as f32 - 0.25).abs();
    regions.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
}
