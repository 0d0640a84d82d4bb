//! Antialiased bicubic resampling of a crop, straight into a normalised
//! `[3, S, S]` tensor.

use image::RgbImage;
use multiversion::multiversion;
use rmae_core::resample::{self, Taps, Window, taps_of};

use super::augment::Crop;

pub use rmae_core::resample::{IMAGENET_MEAN, IMAGENET_STD};

/// Rows, and columns, that are made together: the numbers of a vector or two.
const GROUP: usize = 16;
/// Old columns that are summed together.
const WIDTH: usize = 32;
/// One number of each row of a group.
type Lanes = [f32; GROUP];
/// A group of new rows with all columns of the old ones; memory that is used again.
pub(super) type Sums = Vec<Lanes>;

/// Pixels to be resampled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pixels<'a> {
    /// One slice of interleaved colours, or three of one colour each.
    pub(super) planes: &'a [&'a [u8]],
    /// Values in a row of a slice.
    pub(super) stride: usize,
    /// Columns of a row that count, from its first one on.
    pub(super) width: usize,
    /// Rows.
    pub(super) height: usize,
    /// Left end and length of what is shown, in columns.
    pub(super) across: (f64, f64),
    /// Top and length of what is shown, in rows.
    pub(super) down: (f64, f64),
}

/// How a square is turned after it was resampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Turn {
    /// Whether columns become rows; before the rest.
    pub(super) is_transposed: bool,
    /// Whether it is mirrored left to right.
    pub(super) is_mirrored: bool,
    /// Whether it is turned upside down.
    pub(super) is_upended: bool,
}

/// Resamples `crop` of `image` to `side`×`side`, mirrored if the crop says so,
/// with ImageNet's mean and deviation normalised away: `[3, side, side]`.
///
/// Only pixels of the crop contribute, as if it had been cut out first. Values
/// are clamped to 0..255 before the normalisation, as 8-bit results would be.
#[must_use]
pub fn resample(image: &RgbImage, crop: &Crop, side: usize) -> Vec<f32> {
    let stride = 3 * image.width() as usize;
    let start = crop.y as usize * stride + 3 * crop.x as usize;
    let pixels = Pixels {
        planes: &[&image.as_raw()[start..]],
        stride,
        width: crop.width as usize,
        height: crop.height as usize,
        across: (0.0, f64::from(crop.width)),
        down: (0.0, f64::from(crop.height)),
    };
    let turn = Turn { is_mirrored: crop.flip, ..Turn::default() };
    let mut out = Vec::new();
    resample_pixels(&pixels, side, turn, &mut Sums::new(), &mut out);
    out
}

/// As [`resample`], of pixels that lie in one of two ways, and turned, into `out`, whatever it held.
pub(super) fn resample_pixels(
    pixels: &Pixels<'_>, side: usize, turn: Turn, sums: &mut Sums, out: &mut Vec<f32>,
) {
    out.resize(3 * side * side, 0.0);
    let mut across = taps_of(pixels.width, pixels.across, side);
    let mut down = taps_of(pixels.height, pixels.down, side);
    let (is_across, is_down) = if turn.is_transposed {
        (turn.is_upended, turn.is_mirrored)
    } else {
        (turn.is_mirrored, turn.is_upended)
    };
    if is_across {
        across.reverse();
    }
    if is_down {
        down.reverse();
    }
    let colours = if pixels.planes.len() == 1 { 3 } else { 1 };
    sums.resize(3 * pixels.width, [0.0; GROUP]);
    let (mut made, mut turned) = ([[0.0; GROUP]; GROUP], [[0.0; GROUP]; GROUP]);
    for (y, down) in (0..side).step_by(GROUP).zip(down.chunks(GROUP)) {
        let mut from = 0;
        for plane in pixels.planes {
            let length = pixels.width * colours;
            sum_rows(plane, pixels.stride, length, down, &mut sums[from..]);
            from += length;
        }
        for (colour, out) in out.chunks_exact_mut(side * side).enumerate() {
            let start = if colours == 3 { colour } else { colour * pixels.width };
            for (x, across) in (0..side).step_by(GROUP).zip(across.chunks(GROUP)) {
                sum_columns(&sums[start..], colours, across, colour, &mut made);
                let size = (across.len(), down.len());
                if turn.is_transposed {
                    put(&made, &mut out[x * side + y..], side, (size.1, size.0));
                } else {
                    transpose(&made, &mut turned);
                    put(&turned, &mut out[y * side + x..], side, size);
                }
            }
        }
    }
}

/// Puts the first columns and rows of a group into a square.
fn put(made: &[Lanes; GROUP], out: &mut [f32], side: usize, (width, height): (usize, usize)) {
    for (out, row) in out.chunks_mut(side).zip(made).take(height) {
        match out.first_chunk_mut() {
            Some(out) if width == GROUP => *out = *row,
            _ => out[..width].copy_from_slice(&row[..width]),
        }
    }
}

/// Rows for columns.
#[multiversion(targets("x86_64+avx+avx2"))]
fn transpose(from: &[Lanes; GROUP], to: &mut [Lanes; GROUP]) {
    for i in 0..GROUP {
        for j in 0..GROUP {
            to[i][j] = from[j][i];
        }
    }
}

/// Sums rows of a plane, each by the taps of one of a group of new rows: `[length, GROUP]`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx+avx2"))]
fn sum_rows(plane: &[u8], stride: usize, length: usize, down: &[Taps], out: &mut [Lanes]) {
    let mut block = [[0.0; WIDTH]; GROUP];
    for (first, out) in (0..length).step_by(WIDTH).zip(out[..length].chunks_mut(WIDTH)) {
        for (sums, taps) in block.iter_mut().zip(down) {
            let from = taps.first * stride + first;
            let end = from + (taps.weights.len() - 1) * stride + WIDTH;
            match plane.get(from..end) {
                Some(rows) => *sums = sum(rows, stride, &taps.weights),
                // At the end of the last row.
                None => {
                    *sums = [0.0; WIDTH];
                    sum_few(&plane[from..], stride, &taps.weights, &mut sums[..out.len()]);
                }
            }
        }
        for (i, out) in out.iter_mut().enumerate() {
            for (lane, row) in out.iter_mut().zip(&block) {
                *lane = row[i];
            }
        }
    }
}

/// The weighted sum of the beginnings of rows.
#[inline(always)]
fn sum(rows: &[u8], stride: usize, weights: &[f32]) -> [f32; WIDTH] {
    let mut sums = [0.0; WIDTH];
    for (row, &weight) in weights.iter().enumerate() {
        let Some(row) = rows.get(row * stride..).and_then(<[u8]>::first_chunk::<WIDTH>) else { break };
        for i in 0..WIDTH {
            sums[i] += weight * f32::from(row[i]);
        }
    }
    sums
}

/// As [`sum`], of fewer values.
fn sum_few(rows: &[u8], stride: usize, weights: &[f32], sums: &mut [f32]) {
    for (row, &weight) in rows.chunks(stride).zip(weights) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += weight * f32::from(value);
        }
    }
}

/// New pixels of each row of a group, normalised.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx+avx2"))]
fn sum_columns(sums: &[Lanes], step: usize, across: &[Taps], colour: usize, made: &mut [Lanes; GROUP]) {
    let factor = 1.0 / (255.0 * IMAGENET_STD[colour]);
    let less = IMAGENET_MEAN[colour] / IMAGENET_STD[colour];
    for (out, taps) in made.iter_mut().zip(across) {
        let mut lanes = [0.0; GROUP];
        let columns = sums[taps.first * step..].iter().step_by(step);
        for (&weight, column) in taps.weights.iter().zip(columns) {
            for i in 0..GROUP {
                lanes[i] += weight * column[i];
            }
        }
        for (out, lane) in out.iter_mut().zip(lanes) {
            *out = lane.clamp(0.0, 255.0) * factor - less;
        }
    }
}

/// The whole image at `width`×`height`, 8-bit.
#[must_use]
pub fn resize(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let mut out = RgbImage::new(width, height);
    let window = Window {
        rgb: image.as_raw(),
        image_width: image.width() as usize,
        x: 0,
        y: 0,
        width: image.width() as usize,
        height: image.height() as usize,
    };
    resample::each_pixel(&window, (width as usize, height as usize), |x, y, rgb| {
        let rgb = rgb.map(|value| (value + 0.5) as u8);
        out.put_pixel(x as u32, y as u32, image::Rgb(rgb));
    });
    out
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
