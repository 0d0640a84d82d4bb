//! The guided filter (He, Sun and Tang 2013): the smoothed logits become a locally linear function
//! of brightness, and so change where the image does.

use super::RefineInput;
use super::field::Field;

/// Squared contrast (brightness from 0 to 1) below which edges are not followed.
const EPSILON: f32 = 1e-3;
/// Half the window, as a part of the longer side.
const REACH: f32 = 0.02;

/// The mask of the filtered probabilities.
pub(super) fn filter(input: &RefineInput<'_>, field: &Field) -> Vec<u8> {
    let (width, height) = (input.cache.width, input.cache.height);
    let (pixels, _) = input.image.data().as_chunks::<3>();
    let grey = |at: usize| {
        let [r, g, b] = pixels.get(at).copied().unwrap_or_default().map(f32::from);
        (0.299 * r + 0.587 * g + 0.114 * b) / 255.0
    };
    let guide: Vec<f32> = (0..width * height).map(grey).collect();
    let bias = input.granularity();
    let probability = |logit: f32| 1.0 / (1.0 + (-logit - bias).exp());
    let value: Vec<f32> = field.everywhere(width, height).into_iter().map(probability).collect();
    let reach = ((REACH * width.max(height) as f32) as usize).max(2);
    let filtered = guided(&guide, &value, width, height, reach);
    filtered.iter().map(|&value| u8::from(value > 0.5 + 1e-5)).collect()
}

fn guided(guide: &[f32], value: &[f32], width: usize, height: usize, reach: usize) -> Vec<f32> {
    let mean = |values: Vec<f32>| box_mean(&box_mean_rows(values, width, reach), width, height, reach);
    let products = |a: &[f32], b: &[f32]| mean(a.iter().zip(b).map(|(a, b)| a * b).collect());
    let (mean_guide, mean_value) = (mean(guide.to_vec()), mean(value.to_vec()));
    let (square, product) = (products(guide, guide), products(guide, value));
    let slope = |at: usize| {
        let variance = square[at] - mean_guide[at] * mean_guide[at];
        (product[at] - mean_guide[at] * mean_value[at]) / (variance.max(0.0) + EPSILON)
    };
    let slopes: Vec<f32> = (0..guide.len()).map(slope).collect();
    let offsets = (0..guide.len()).map(|at| mean_value[at] - slopes[at] * mean_guide[at]).collect();
    let (slopes, offsets) = (mean(slopes), mean(offsets));
    guide.iter().zip(slopes).zip(offsets).map(|((guide, slope), offset)| guide * slope + offset).collect()
}

/// Mean over a window along the rows, cut off at the border.
fn box_mean_rows(mut values: Vec<f32>, width: usize, reach: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; width + 1];
    for line in values.chunks_exact_mut(width.max(1)) {
        for (at, &value) in line.iter().enumerate() {
            sums[at + 1] = sums[at] + f64::from(value);
        }
        for (at, value) in line.iter_mut().enumerate() {
            let (start, end) = (at.saturating_sub(reach), (at + reach + 1).min(width));
            *value = ((sums[end] - sums[start]) / (end - start) as f64) as f32;
        }
    }
    values
}

/// Mean over a window along the columns, by a sum a column that moves down.
fn box_mean(values: &[f32], width: usize, height: usize, reach: usize) -> Vec<f32> {
    let line = |row: usize| &values[row * width..(row + 1) * width];
    let mut sums = vec![0.0f64; width];
    let mut means = Vec::with_capacity(values.len());
    for row in 0..reach.min(height) {
        sums.iter_mut().zip(line(row)).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    for row in 0..height {
        if row + reach < height {
            sums.iter_mut().zip(line(row + reach)).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        if row > reach {
            sums.iter_mut().zip(line(row - reach - 1)).for_each(|(sum, &value)| *sum -= f64::from(value));
        }
        let count = (row + reach + 1).min(height) - row.saturating_sub(reach);
        means.extend(sums.iter().map(|sum| (sum / count as f64) as f32));
    }
    means
}
