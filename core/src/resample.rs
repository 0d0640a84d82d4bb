//! Antialiased bicubic resampling, as training sees its photos.

/// Mean of ImageNet's red, green and blue, of values in 0..1.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's red, green and blue, of values in 0..1.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The weights with which input pixels `first..first + weights.len()` make one
/// output pixel.
#[derive(Clone, Debug)]
pub struct Taps {
    /// The first input pixel.
    pub first: usize,
    /// Weights of it and those after it; their sum is 1.
    pub weights: Vec<f32>,
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
pub(crate) fn taps(input: usize, output: usize) -> Vec<Taps> {
    taps_of(input, (0.0, input as f64), output)
}

/// Taps that take a part of `input` pixels, from a place on and of a length in pixels, to `output` ones.
#[must_use]
pub fn taps_of(input: usize, (from, length): (f64, f64), output: usize) -> Vec<Taps> {
    let scale = length / output as f64;
    let stretch = scale.max(1.0);
    (0..output)
        .map(|o| {
            let centre = from + (o as f64 + 0.5) * scale;
            let first = (centre - 2.0 * stretch + 0.5).max(0.0) as usize;
            let end = ((centre + 2.0 * stretch + 0.5) as usize).min(input);
            let raw: Vec<f64> = (first..end).map(|i| cubic((i as f64 + 0.5 - centre) / stretch)).collect();
            let sum: f64 = raw.iter().sum();
            let weights = raw.iter().map(|w| (w / sum) as f32).collect();
            Taps { first, weights }
        })
        .collect()
}

/// A rectangle of whole pixels of an 8-bit RGB image `[height, width, 3]`.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// The image's pixels.
    pub rgb: &'a [u8],
    /// Columns of the image.
    pub image_width: usize,
    /// Leftmost column of the window.
    pub x: usize,
    /// Topmost row of the window.
    pub y: usize,
    /// Columns of the window.
    pub width: usize,
    /// Rows of the window.
    pub height: usize,
}

/// Calls `put(x, y, [r, g, b])` with every pixel of the window at `width`×`height`, in 0..255. Only
/// pixels of the window contribute, as if it had been cut out first.
pub fn each_pixel(
    window: &Window<'_>, (width, height): (usize, usize), mut put: impl FnMut(usize, usize, [f32; 3]),
) {
    let row_len = window.width * 3;
    let stride = window.image_width * 3;
    let start = window.y * stride + window.x * 3;
    let across = taps(window.width, width);
    let down = taps(window.height, height);
    // Vertical first: whole interleaved rows are summed, which the compiler
    // turns into vector code, and only `height` rows are left for the rest.
    let mut row = vec![0.0f32; row_len];
    for (y, column) in down.iter().enumerate() {
        row.fill(0.0);
        for (i, &weight) in column.weights.iter().enumerate() {
            let from = start + (column.first + i) * stride;
            add_scaled(&mut row, &window.rgb[from..from + row_len], weight);
        }
        for (x, taps) in across.iter().enumerate() {
            put(x, y, weighted(&row, taps));
        }
    }
}

/// ImageNet's mean and deviation taken out of a colour in 0..255.
#[must_use]
pub fn normalised(rgb: [f32; 3]) -> [f32; 3] {
    std::array::from_fn(|c| (rgb[c] / 255.0 - IMAGENET_MEAN[c]) / IMAGENET_STD[c])
}

/// The inverse of the normalisation, to 8-bit RGB: `[3, side, side]` to `[side, side, 3]`. A slice
/// that is too short leaves the rest grey.
#[must_use]
pub fn denormalised(chw: &[f32], side: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(3 * side * side);
    for i in 0..side * side {
        for c in 0..3 {
            let value = chw.get(c * side * side + i).copied().unwrap_or(0.0);
            let value = (value * IMAGENET_STD[c] + IMAGENET_MEAN[c]) * 255.0;
            out.push(value.round().clamp(0.0, 255.0) as u8);
        }
    }
    out
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
