//! Antialiased bicubic resampling of a crop, straight into a normalised
//! `[3, S, S]` tensor.

use image::RgbImage;
use rmae_core::resample::{self, Window};

use super::augment::Crop;

pub use rmae_core::resample::{IMAGENET_MEAN, IMAGENET_STD};

/// Resamples `crop` of `image` to `side`×`side`, mirrored if the crop says so,
/// with ImageNet's mean and deviation normalised away: `[3, side, side]`.
///
/// Only pixels of the crop contribute, as if it had been cut out first. Values
/// are clamped to 0..255 before the normalisation, as 8-bit results would be.
#[must_use]
pub fn resample(image: &RgbImage, crop: &Crop, side: usize) -> Vec<f32> {
    let mut out = vec![0.0f32; 3 * side * side];
    each_pixel(image, crop, (side, side), |x, y, rgb| {
        for (c, value) in resample::normalised(rgb).into_iter().enumerate() {
            out[(c * side + y) * side + x] = value;
        }
    });
    out
}

/// The whole image at `width`×`height`, 8-bit.
#[must_use]
pub fn resize(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let mut out = RgbImage::new(width, height);
    let whole = Crop::whole(image.width(), image.height());
    each_pixel(image, &whole, (width as usize, height as usize), |x, y, rgb| {
        let rgb = rgb.map(|value| (value + 0.5) as u8);
        out.put_pixel(x as u32, y as u32, image::Rgb(rgb));
    });
    out
}

/// Calls `put(x, y, [r, g, b])` with every resampled pixel, in 0..255.
fn each_pixel(
    image: &RgbImage, crop: &Crop, (width, height): (usize, usize),
    mut put: impl FnMut(usize, usize, [f32; 3]),
) {
    let window = Window {
        rgb: image.as_raw(),
        image_width: image.width() as usize,
        x: crop.x as usize,
        y: crop.y as usize,
        width: crop.width as usize,
        height: crop.height as usize,
    };
    resample::each_pixel(&window, (width, height), |x, y, rgb| {
        put(if crop.flip { width - 1 - x } else { x }, y, rgb);
    });
}

/// The inverse of the normalisation, to 8-bit RGB: `[3, side, side]` to an image.
/// A slice that is too short leaves the rest grey.
#[must_use]
pub fn denormalise(chw: &[f32], side: usize) -> RgbImage {
    let pixels = resample::denormalised(chw, side);
    RgbImage::from_raw(side as u32, side as u32, pixels).unwrap_or_default()
}

#[cfg(test)]
#[path = "resample_tests.rs"]
mod tests;
