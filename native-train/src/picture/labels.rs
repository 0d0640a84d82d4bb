//! A label map in colours over its photo.

use image::{Rgb, RgbImage, imageops};
use rmae_core::regions::LabelMap;

/// Paints every label in a colour of its own, half transparent, with dark borders.
#[must_use]
pub fn overlay(photo: &RgbImage, map: &LabelMap) -> RgbImage {
    let (width, height) = (map.width() as u32, map.height() as u32);
    let photo = if photo.dimensions() == (width, height) {
        photo.clone()
    } else {
        imageops::resize(photo, width, height, imageops::FilterType::Triangle)
    };
    let label = |x: u32, y: u32| map.labels()[y as usize * map.width() + x as usize];
    RgbImage::from_fn(width, height, |x, y| {
        let here = label(x, y);
        let border =
            (x + 1 < width && label(x + 1, y) != here) || (y + 1 < height && label(x, y + 1) != here);
        let (tint, below) = (colour(here), photo.get_pixel(x, y).0);
        if border { Rgb([20, 20, 20]) } else { Rgb([0, 1, 2].map(|c| tint[c] / 2 + below[c] / 2)) }
    })
}

/// A bright colour for a label: hues by the golden ratio, so that neighbours differ.
fn colour(label: u32) -> [u8; 3] {
    let hue = (f64::from(label) * 0.618_033_988_75).fract() * 6.0;
    let channel = |shift: f64| {
        let distance = ((hue + shift) % 6.0 - 3.0).abs() - 1.0;
        (60.0 + 195.0 * distance.clamp(0.0, 1.0)) as u8
    };
    [channel(0.0), channel(4.0), channel(2.0)]
}
