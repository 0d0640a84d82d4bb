//! Factors laid out for the tiles: `B` in panels, a transposed `A` row by row.

use std::ops::Range;

use rayon::prelude::*;

use super::{Kernels, Rows, Strided, parts};
use crate::cpu::gemm::Mat;

/// Elements of a cache line.
const LINE: usize = 16;

/// Terms and columns of `B` in panels, `[panels][terms][COLUMNS]`, with zeros after the last column.
///
/// # Safety
/// The processor must have the instructions, and `b` must hold the terms and columns.
pub(super) unsafe fn panels<'a, K: Kernels>(
    buffer: &'a mut Vec<f32>, b: Mat<f32>, terms: &Range<usize>, columns: &Range<usize>,
) -> &'a [f32] {
    let panel = terms.len() * K::COLUMNS;
    let to = room(buffer, columns.len().div_ceil(K::COLUMNS) * panel);
    for (i, first) in columns.clone().step_by(K::COLUMNS).enumerate().filter(|_| panel > 0) {
        let (columns, to) = (first..columns.end.min(first + K::COLUMNS), &mut to[i * panel..][..panel]);
        // SAFETY: the caller's promises.
        unsafe { self::panel::<K>(b, terms, &columns, to) };
    }
    to
}

/// One panel: terms of up to `COLUMNS` columns.
///
/// # Safety
/// As [`panels`].
unsafe fn panel<K: Kernels>(b: Mat<f32>, terms: &Range<usize>, columns: &Range<usize>, to: &mut [f32]) {
    let start = terms.start * b.row_stride + columns.start * b.col_stride;
    let from = strided(&b.data[start..], [b.row_stride, b.col_stride], [terms.len(), columns.len()]);
    // SAFETY: the caller's promises.
    unsafe { K::pack_columns(from, columns.len(), to) };
}

/// What a block of a factor is packed from.
///
/// # Panics
/// When `data` is too short: a defect of the caller.
fn strided(data: &[f32], [along, across]: [usize; 2], [steps, count]: [usize; 2]) -> Strided {
    assert!((steps - 1) * along + (count - 1) * across < data.len(), "a factor is smaller than its block");
    Strided { at: data.as_ptr(), along, across }
}

/// All panels of a `k × n` factor, from wherever a cache line begins in what is returned.
///
/// # Panics
/// When the processor does not have the instructions, or the factor is smaller.
pub(super) fn whole<K: Kernels>(b: Mat<f32>, k: usize, n: usize) -> Vec<f32> {
    assert!(K::available(), "kernels for another processor");
    let columns: Vec<Range<usize>> = (0..n).step_by(K::COLUMNS).map(|i| i..n.min(i + K::COLUMNS)).collect();
    let mut packed = vec![0.0; size::<K>(&(0..k), n) + LINE];
    let start = line(&packed);
    let mut to = &mut packed[start..];
    for terms in parts(k).filter(|terms| !terms.is_empty()) {
        let (part, rest) = to.split_at_mut(size::<K>(&terms, n));
        to = rest;
        part.par_chunks_mut(terms.len() * K::COLUMNS).zip(&columns).for_each(|(to, columns)| {
            // SAFETY: the processor has the instructions; the size of the factor is looked at.
            unsafe { panel::<K>(b, &terms, columns, to) };
        });
    }
    packed
}

/// Elements of the panels of these terms of `n` columns.
fn size<K: Kernels>(terms: &Range<usize>, n: usize) -> usize {
    terms.len() * n.next_multiple_of(K::COLUMNS)
}

/// The panels of these terms and columns among those of a whole factor of `n` columns. The columns begin
/// at a multiple of `COLUMNS`.
pub(super) fn of_columns<'a, K: Kernels>(
    packed: &'a [f32], terms: &Range<usize>, columns: &Range<usize>, n: usize,
) -> &'a [f32] {
    &packed[line(packed) + size::<K>(&(0..terms.start), n) + columns.start * terms.len()..]
        [..size::<K>(terms, columns.len())]
}

/// Rows of `A` for the tiles of a block: where they lie, or packed.
#[derive(Clone, Copy)]
pub(super) struct Factors<'a> {
    data: &'a [f32],
    strides: [usize; 2],
    /// From one tile to the next, where they are packed.
    tile: Option<usize>,
}

impl Factors<'_> {
    /// Those of the block's `i`-th tile, which begins at this row of `A`.
    pub(super) fn of(&self, i: usize, row: usize) -> Rows {
        let [row_stride, step] = self.strides;
        let start = self.tile.map_or(row * row_stride, |tile| i * tile);
        Rows { at: self.data[start..].as_ptr(), row: row_stride, step }
    }
}

/// The factors of tiles with these rows. A transposed `A` is packed, `[tiles][terms][ROWS]`: where it
/// lies, each term of a tile is on a page of its own, and many of them compete for one set of the cache.
///
/// # Safety
/// The processor must have the instructions, and `a` must hold the rows and terms.
pub(super) unsafe fn rows<'a, K: Kernels>(
    buffer: &'a mut Vec<f32>, a: Mat<'a, f32>, tiles: impl ExactSizeIterator<Item = Range<usize>>,
    terms: &Range<usize>,
) -> Factors<'a> {
    let tile = K::ROWS * terms.len();
    if a.col_stride == 1 || tile == 0 {
        let start = (terms.start * a.col_stride).min(a.data.len());
        return Factors { data: &a.data[start..], strides: [a.row_stride, a.col_stride], tile: None };
    }
    let to = room(buffer, tiles.len() * tile);
    for (to, rows) in to.chunks_exact_mut(tile).zip(tiles) {
        let start = rows.start * a.row_stride + terms.start * a.col_stride;
        let from = strided(&a.data[start..], [a.col_stride, a.row_stride], [terms.len(), rows.len()]);
        // SAFETY: the caller's promises.
        unsafe { K::pack_rows(from, rows.len(), to) };
    }
    Factors { data: to, strides: [1, K::ROWS], tile: Some(tile) }
}

/// Where the first cache line of a buffer begins.
fn line(buffer: &[f32]) -> usize {
    buffer.as_ptr().align_offset(64).min(LINE)
}

/// The first `len` elements of a buffer that grows as needed, from the beginning of a cache line.
fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len + LINE {
        buffer.resize(len + LINE, 0.0);
    }
    let start = line(buffer);
    &mut buffer[start..start + len]
}
