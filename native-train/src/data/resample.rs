//! Antialiased bicubic resampling of a crop, straight into a normalised
//! `[3, S, S]` tensor.

use image::RgbImage;

use super::augment::Crop;

/// Mean of ImageNet's red, green and blue, of values in 0..1.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's red, green and blue, of values in 0..1.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The weights with which input pixels `first..first + weights.len()` make one
/// output pixel.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// Bicubic convolution kernel with a = -0.5, as Pillow and torchvision use it.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
    } else {
        0.0
    }
}

/// Taps that take `input` pixels to `output` ones. When shrinking, the kernel
/// is widened by the ratio, which is what keeps the result free of aliases.
fn taps(input: usize, output: usize) -> Vec<Taps> {
    let scale = input as f64 / output as f64;
    let stretch = scale.max(1.0);
    (0..output)
        .map(|o| {
            let centre = (o as f64 + 0.5) * scale;
            let first = (centre - 2.0 * stretch + 0.5).max(0.0) as usize;
            let end = ((centre + 2.0 * stretch + 0.5) as usize).min(input);
            let raw: Vec<f64> = (first..end).map(|i| cubic((i as f64 + 0.5 - centre) / stretch)).collect();
            let sum: f64 = raw.iter().sum();
            let weights = raw.iter().map(|w| (w / sum) as f32).collect();
            Taps { first, weights }
        })
        .collect()
}

/// Resamples `crop` of `image` to `side`×`side`, mirrored if the crop says so,
/// with ImageNet's mean and deviation normalised away: `[3, side, side]`.
///
/// Only pixels of the crop contribute, as if it had been cut out first. Values
/// are clamped to 0..255 before the normalisation, as 8-bit results would be.
#[must_use]
pub fn resample(image: &RgbImage, crop: &Crop, side: usize) -> Vec<f32> {
    let mut out = vec![0.0f32; 3 * side * side];
    each_pixel(image, crop, (side, side), |x, y, rgb| {
        for c in 0..3 {
            let value = (rgb[c] / 255.0 - IMAGENET_MEAN[c]) / IMAGENET_STD[c];
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
    let row_len = crop.width as usize * 3;
    let stride = image.width() as usize * 3;
    let start = crop.y as usize * stride + crop.x as usize * 3;
    let across = taps(crop.width as usize, width);
    let down = taps(crop.height as usize, height);
    // Vertical first: whole interleaved rows are summed, which the compiler
    // turns into vector code, and only `height` rows are left for the rest.
    let mut row = vec![0.0f32; row_len];
    for (y, column) in down.iter().enumerate() {
        row.fill(0.0);
        for (i, &weight) in column.weights.iter().enumerate() {
            let from = start + (column.first + i) * stride;
            add_scaled(&mut row, &image.as_raw()[from..from + row_len], weight);
        }
        for (x, taps) in across.iter().enumerate() {
            let x = if crop.flip { width - 1 - x } else { x };
            put(x, y, weighted(&row, taps));
        }
    }
}

fn add_scaled(sum: &mut [f32], pixels: &[u8], weight: f32) {
    for (sum, &pixel) in sum.iter_mut().zip(pixels) {
        *sum += weight * f32::from(pixel);
    }
}

/// One output pixel of the horizontal pass.
fn weighted(row: &[f32], taps: &Taps) -> [f32; 3] {
    let mut rgb = [0.0f32; 3];
    let pixels = row[taps.first * 3..].chunks_exact(3);
    for (&weight, pixel) in taps.weights.iter().zip(pixels) {
        for c in 0..3 {
            rgb[c] += weight * pixel[c];
        }
    }
    rgb.map(|value| value.clamp(0.0, 255.0))
}

/// The inverse of the normalisation, to 8-bit RGB: `[3, side, side]` to an image.
/// A slice that is too short leaves the rest grey.
#[must_use]
pub fn denormalise(chw: &[f32], side: usize) -> RgbImage {
    let mut image = RgbImage::new(side as u32, side as u32);
    for (i, pixel) in image.pixels_mut().enumerate() {
        for c in 0..3 {
            let value = chw.get(c * side * side + i).copied().unwrap_or(0.0);
            let value = (value * IMAGENET_STD[c] + IMAGENET_MEAN[c]) * 255.0;
            pixel.0[c] = value.round().clamp(0.0, 255.0) as u8;
        }
    }
    image
}

#[cfg(test)]
#[path = "resample_tests.rs"]
mod tests;
