//! A mask of the working image at the size of the image itself, with smooth edges.

use super::super::Mask;

/// The mask at another size: softened by one pixel, read by bilinear interpolation, and cut where
/// it is one half, so that steps become lines. The same size gives the same mask.
#[must_use]
pub fn upscale(mask: &Mask, width: usize, height: usize) -> Mask {
    if (mask.width(), mask.height()) == (width, height) || width == 0 || height == 0 {
        return mask.clone();
    }
    let soft = soften(mask);
    let (from_width, from_height) = (mask.width(), mask.height());
    let mut data = vec![0; width * height];
    let mut line = vec![0.0f32; from_width];
    for (row, out) in data.chunks_exact_mut(width).enumerate() {
        let place = (row as f32 + 0.5) * from_height as f32 / height as f32 - 0.5;
        let place = place.clamp(0.0, (from_height - 1) as f32);
        let top = place as usize;
        let bottom = (top + 1).min(from_height - 1);
        let (above, below) =
            (&soft[top * from_width..][..from_width], &soft[bottom * from_width..][..from_width]);
        for ((value, &a), &b) in line.iter_mut().zip(above).zip(below) {
            *value = a + (b - a) * (place - top as f32);
        }
        fill_line(&line, out);
    }
    Mask::new(width, height, data).unwrap_or_else(|_| Mask::empty(width, height))
}

/// Weighs every pixel with its neighbours, 1 : 2 : 1 along both sides.
fn soften(mask: &Mask) -> Vec<f32> {
    let (width, height, data) = (mask.width(), mask.height(), mask.data());
    let mut across = Vec::with_capacity(data.len());
    for line in data.chunks_exact(width) {
        let at = |x: usize| f32::from(line[x]);
        across.extend((0..width).map(|x| at(x.saturating_sub(1)) + 2.0 * at(x) + at((x + 1).min(width - 1))));
    }
    let mut both = Vec::with_capacity(data.len());
    for y in 0..height {
        let line = |y: usize| &across[y * width..(y + 1) * width];
        let (above, below) = (line(y.saturating_sub(1)), line((y + 1).min(height - 1)));
        both.extend(line(y).iter().zip(above).zip(below).map(|((here, a), b)| (a + 2.0 * here + b) / 16.0));
    }
    both
}

/// Sets the pixels of `out` where `line`, stretched over it, is one half or more: run by run, as
/// between two values there is one crossing at most.
fn fill_line(line: &[f32], out: &mut [u8]) {
    let stretch = out.len() as f32 / line.len() as f32;
    // First pixel whose centre is at `place` (in values) or after.
    let pixel = |place: f32| (((place + 0.5) * stretch - 0.5).ceil().max(0.0) as usize).min(out.len());
    let mut runs: Vec<(usize, usize)> = Vec::new();
    if line[0] >= 0.5 {
        runs.push((0, pixel(0.0)));
    }
    for (at, pair) in line.windows(2).enumerate() {
        let (a, b) = (pair[0], pair[1]);
        let (mut start, mut end) = (at as f32, (at + 1) as f32);
        match (a >= 0.5, b >= 0.5) {
            (false, false) => continue,
            (false, true) => start += (0.5 - a) / (b - a),
            (true, false) => end = start + (a - 0.5) / (a - b),
            (true, true) => {}
        }
        runs.push((pixel(start), pixel(end)));
    }
    if line[line.len() - 1] >= 0.5 {
        runs.push((pixel((line.len() - 1) as f32), out.len()));
    }
    for (start, end) in runs {
        out[start..end.max(start)].fill(1);
    }
}
