//! A heat map over a photo, for attention (paper, figure 3).

use image::{Rgb, RgbImage};

use super::Canvas;

/// Control colours of the map, cold to hot.
const HEAT: [[f32; 3]; 5] = [
    [13.0, 8.0, 60.0],
    [84.0, 15.0, 130.0],
    [190.0, 54.0, 90.0],
    [245.0, 140.0, 30.0],
    [250.0, 250.0, 150.0],
];
/// Weight of the heat over the photo.
const WEIGHT: f32 = 0.65;
const MARK: [u8; 3] = [60, 255, 90];

/// Lays `attention` (`[grid, grid]`, any scale) over a photo and frames the query's patch.
#[must_use]
pub fn attention_overlay(
    photo: &RgbImage, attention: &[f32], grid: usize, query: (usize, usize),
) -> RgbImage {
    let (low, high) = attention.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    let range = (high - low).max(f32::MIN_POSITIVE);
    let (width, height) = photo.dimensions();
    let image = RgbImage::from_fn(width, height, |x, y| {
        let place = |at: u32, len: u32| (at as f32 + 0.5) / len as f32 * grid as f32 - 0.5;
        let value = (bilinear(attention, grid, place(x, width), place(y, height)) - low) / range;
        let (heat, photo) = (heat_colour(value), photo.get_pixel(x, y).0);
        Rgb([0, 1, 2].map(|c| (WEIGHT * heat[c] + (1.0 - WEIGHT) * f32::from(photo[c])) as u8))
    });
    let mut canvas = Canvas::from_image(image);
    let edge = |at: usize, len: u32| (at as u64 * u64::from(len) / grid as u64) as i64;
    let (x, y) = (edge(query.0, width), edge(query.1, height));
    let (right, bottom) = (edge(query.0 + 1, width), edge(query.1 + 1, height));
    canvas.frame((x, y, right - x, bottom - y), 2, MARK);
    canvas.into_image()
}

fn bilinear(map: &[f32], grid: usize, x: f32, y: f32) -> f32 {
    let last = (grid - 1) as f32;
    let (x, y) = (x.clamp(0.0, last), y.clamp(0.0, last));
    let (x0, y0) = (x as usize, y as usize);
    let (x1, y1) = ((x0 + 1).min(grid - 1), (y0 + 1).min(grid - 1));
    let (u, v) = (x - x0 as f32, y - y0 as f32);
    let row = |y: usize| map[y * grid + x0] * (1.0 - u) + map[y * grid + x1] * u;
    row(y0) * (1.0 - v) + row(y1) * v
}

fn heat_colour(value: f32) -> [f32; 3] {
    let place = value.clamp(0.0, 1.0) * (HEAT.len() - 1) as f32;
    let below = (place as usize).min(HEAT.len() - 2);
    let t = place - below as f32;
    [0, 1, 2].map(|c| HEAT[below][c] * (1.0 - t) + HEAT[below + 1][c] * t)
}
