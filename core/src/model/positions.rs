//! Position tables: the fixed sine-cosine one, and tables of another grid.

use crate::config::ModelConfig;
use crate::error::Result;
use crate::exec::Tensors;
use crate::resample::taps;
use crate::tensor::HostTensor;

/// Names of the tables that a model may have.
pub(crate) const TABLES: [&str; 4] =
    ["pos_embed", "decoder_pos_embed", "region_pos_embed", "region_cross_pos_embed"];
/// A table that differs from the computed one by less than this is the computed one, rounded (f16).
const SAME_TABLE: f32 = 2e-3;
/// Largest grid of which a table is recognised on another grid.
const MAX_GRID: usize = 64;

/// The fixed 2-D sine-cosine table `[1, grid²+1, width]`; row 0, for the class token, is zero.
///
/// The first half of the channels encodes the column, the second the row; each half is
/// `[sin(x·ω), cos(x·ω)]` with `ω_i = 10000^(−i/(width/4))`.
#[must_use]
pub fn position_table(grid: usize, width: usize) -> Vec<f32> {
    let places: Vec<f64> = (0..grid).map(|i| i as f64).collect();
    table_at(&places, width)
}

/// The same at any places along a side.
fn table_at(places: &[f64], width: usize) -> Vec<f32> {
    let quarter = width / 4;
    let mut table = vec![0.0; width];
    for &row in places {
        for &column in places {
            for x in [column, row] {
                let angles = (0..quarter).map(|i| x / 10000f64.powf(i as f64 / quarter as f64));
                let angles: Vec<f64> = angles.collect();
                table.extend(angles.iter().map(|a| a.sin() as f32));
                table.extend(angles.iter().map(|a| a.cos() as f32));
            }
        }
    }
    table
}

/// The weights of a model of `from.grid()` for the same model on another grid: its position tables
/// are replaced, everything else is kept. A sine-cosine table is computed at the patches' places on
/// the grid that it was first made for, which are fractions; any other is resampled (bicubic).
///
/// # Errors
/// [`crate::Error::Tensor`] never in practice: the tables have the length that they are given.
pub fn tables_at(from: &ModelConfig, grid: usize, weights: &Tensors) -> Result<Tensors> {
    let mut out = weights.clone();
    for name in TABLES {
        let Some(&[1, rows, width]) = weights.get(name).map(HostTensor::shape) else { continue };
        if rows != from.num_patches() + 1 || grid == from.grid() {
            continue;
        }
        let table = weights.get(name).map(HostTensor::to_f32).unwrap_or_default();
        let table = moved(&table, from.grid(), grid, width);
        out.insert(name.into(), HostTensor::f32(&[1, grid * grid + 1, width], table)?);
    }
    Ok(out)
}

fn moved(table: &[f32], from: usize, to: usize, width: usize) -> Vec<f32> {
    match first_grid(table, from, width) {
        Some(grid) => table_at(&places(grid, to), width),
        None => resampled(table, from, to, width),
    }
}

/// Where the middles of `count` patches lie on the same side of `grid` patches.
fn places(grid: usize, count: usize) -> Vec<f64> {
    let scale = grid as f64 / count as f64;
    (0..count).map(|i| (i as f64 + 0.5) * scale - 0.5).collect()
}

/// The grid whose sine-cosine table this is, on `count` patches a side: `count` itself, or another
/// one from which the table was moved before.
fn first_grid(table: &[f32], count: usize, width: usize) -> Option<usize> {
    let same = |grid: &usize| {
        let places = places(*grid, count);
        // The first patches tell most grids apart; the whole table is computed for few.
        let like = |places: &[f64], table: &[f32]| {
            let computed = table_at(places, width);
            computed[width..].iter().zip(table).all(|(a, b)| (a - b).abs() < SAME_TABLE)
        };
        let patches = table.get(width..).unwrap_or_default();
        like(&places[..places.len().min(1)], patches) && like(&places, patches)
    };
    std::iter::once(count).chain(1..=MAX_GRID).find(same)
}

/// Rows 1.. as an image of `width` channels.
fn resampled(table: &[f32], from: usize, to: usize, width: usize) -> Vec<f32> {
    let taps = taps(from, to);
    let mut out = table[..width].to_vec();
    let patches = &table[width..];
    for row in &taps {
        for column in &taps {
            let mut sum = vec![0.0; width];
            for (j, &down) in row.weights.iter().enumerate() {
                for (i, &across) in column.weights.iter().enumerate() {
                    let at = ((row.first + j) * from + column.first + i) * width;
                    let values = &patches[at..at + width];
                    sum.iter_mut().zip(values).for_each(|(s, v)| *s += down * across * v);
                }
            }
            out.extend(sum);
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Preset;

    fn config(grid: usize) -> ModelConfig {
        ModelConfig { img_size: 16 * grid, ..ModelConfig::preset(Preset::Ti) }
    }

    fn weights(table: Vec<f32>, grid: usize) -> Tensors {
        let width = table.len() / (grid * grid + 1);
        Tensors::from([("pos_embed".into(), HostTensor::f32(&[1, grid * grid + 1, width], table).unwrap())])
    }

    #[test]
    fn a_coarser_grid_of_places_meets_the_finer_one() {
        // Three patches where there was one: the middle one of the three lies where that was.
        let fine = tables_at(&config(4), 12, &weights(position_table(4, 16), 4)).unwrap();
        let fine = fine["pos_embed"].to_f32();
        let coarse = position_table(4, 16);
        for (row, column) in [(0, 0), (1, 3), (3, 2)] {
            let at = |t: &[f32], i: usize| t[16 * (1 + i)..16 * (2 + i)].to_vec();
            let (a, b) = (at(&fine, (3 * row + 1) * 12 + 3 * column + 1), at(&coarse, row * 4 + column));
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6), "{row},{column}");
        }
    }

    #[test]
    fn there_and_back_is_the_first_table() {
        let first = weights(position_table(14, 192), 14);
        for between in [7, 20, 28] {
            let moved = tables_at(&config(14), between, &first).unwrap();
            assert_ne!(moved["pos_embed"].to_f32(), position_table(between, 192));
            let back = tables_at(&config(between), 14, &moved).unwrap();
            let pairs = back["pos_embed"].to_f32().into_iter().zip(position_table(14, 192));
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-6, "by way of {between}: {worst}");
        }
    }

    #[test]
    fn a_learnt_table_is_resampled() {
        // Linear in column and row: so is the result, away from the border.
        let mut table = vec![7.0, 7.0, 7.0, 7.0];
        for row in 0..6 {
            for column in 0..6 {
                table.extend([column as f32, row as f32, 1.0, -1.0]);
            }
        }
        let out = tables_at(&config(6), 12, &weights(table, 6)).unwrap()["pos_embed"].to_f32();
        assert_eq!(out[..4], [7.0; 4]);
        let at = &out[4 * (1 + 5 * 12 + 6)..][..4];
        for (have, want) in at.iter().zip([2.75, 2.25, 1.0, -1.0]) {
            assert!((have - want).abs() < 1e-5, "{at:?}");
        }
    }

    #[test]
    fn the_same_grid_keeps_the_table() {
        let table: Vec<f32> = (0..17 * 4).map(|i| i as f32).collect();
        let out = tables_at(&config(4), 4, &weights(table.clone(), 4)).unwrap();
        assert_eq!(out["pos_embed"].to_f32(), table);
    }
}
