//! Factors laid out for the tiles: `B` in panels, a transposed `A` row by row.

use std::arch::x86_64::{
    __m512, _MM_HINT_T0, _mm_prefetch, _mm512_castpd_ps, _mm512_castps_pd, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps,
    _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};
use std::ops::Range;

use super::tile::{COLUMNS, LANES, ROWS, Rows, lanes};
use crate::cpu::gemm::Mat;

/// Terms and columns of `B` in panels, `[panels][terms][COLUMNS]`, with zeros after the last column.
///
/// # Safety
/// The processor must have AVX-512, and `b` must hold the terms and columns.
pub(super) unsafe fn panels<'a>(
    buffer: &'a mut Vec<f32>, b: Mat<f32>, terms: &Range<usize>, columns: &Range<usize>,
) -> &'a [f32] {
    let panel = terms.len() * COLUMNS;
    let to = room(buffer, columns.len().div_ceil(COLUMNS) * panel);
    for (i, first) in columns.clone().step_by(COLUMNS).enumerate().filter(|_| panel > 0) {
        let (columns, to) = (first..columns.end.min(first + COLUMNS), &mut to[i * panel..][..panel]);
        // SAFETY: the caller's promises.
        unsafe { self::panel(b, terms, &columns, to) };
    }
    to
}

/// One panel: terms of up to [`COLUMNS`] columns.
///
/// # Safety
/// As [`panels`].
pub(super) unsafe fn panel(b: Mat<f32>, terms: &Range<usize>, columns: &Range<usize>, to: &mut [f32]) {
    let start = terms.start * b.row_stride + columns.start * b.col_stride;
    // SAFETY: the caller's promises.
    unsafe { pack::<COLUMNS>(&b.data[start..], [b.row_stride, b.col_stride], columns.len(), to) };
}

/// Elements of the panels of these terms of `n` columns.
pub(super) fn size(terms: &Range<usize>, n: usize) -> usize {
    terms.len() * n.next_multiple_of(COLUMNS)
}

/// Room for all panels of a `k × n` factor, from wherever a cache line begins in it.
pub(super) fn room_for(k: usize, n: usize) -> Vec<f32> {
    vec![0.0; size(&(0..k), n) + LANES]
}

/// The panels in what [`room_for`] made.
pub(super) fn aligned_mut(packed: &mut [f32], k: usize, n: usize) -> &mut [f32] {
    let start = line(packed);
    &mut packed[start..][..size(&(0..k), n)]
}

/// The panels of these terms and columns among those of a whole factor of `n` columns. The columns begin
/// at a multiple of [`COLUMNS`].
pub(super) fn of_columns<'a>(
    packed: &'a [f32], terms: &Range<usize>, columns: &Range<usize>, n: usize,
) -> &'a [f32] {
    &packed[line(packed) + size(&(0..terms.start), n) + columns.start * terms.len()..]
        [..size(terms, columns.len())]
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
/// The processor must have AVX-512, and `a` must hold the rows and terms.
pub(super) unsafe fn rows<'a>(
    buffer: &'a mut Vec<f32>, a: Mat<'a, f32>, tiles: impl ExactSizeIterator<Item = Range<usize>>,
    terms: &Range<usize>,
) -> Factors<'a> {
    let tile = ROWS * terms.len();
    if a.col_stride == 1 || tile == 0 {
        let start = (terms.start * a.col_stride).min(a.data.len());
        return Factors { data: &a.data[start..], strides: [a.row_stride, a.col_stride], tile: None };
    }
    let to = room(buffer, tiles.len() * tile);
    for (to, rows) in to.chunks_exact_mut(tile).zip(tiles) {
        let start = rows.start * a.row_stride + terms.start * a.col_stride;
        // SAFETY: the caller's promises.
        unsafe { pack::<ROWS>(&a.data[start..], [a.col_stride, a.row_stride], rows.len(), to) };
    }
    Factors { data: to, strides: [1, ROWS], tile: Some(tile) }
}

/// `to[p][i] = from[p·along + i·across]` for `i < count`, zero up to `WIDTH`.
///
/// # Safety
/// The processor must have AVX-512.
///
/// # Panics
/// When `from` is too short: a defect of the caller.
#[target_feature(enable = "avx512f")]
unsafe fn pack<const WIDTH: usize>(from: &[f32], [along, across]: [usize; 2], count: usize, to: &mut [f32]) {
    let steps = to.len() / WIDTH;
    assert!((steps - 1) * along + (count - 1) * across < from.len(), "a factor is smaller than its block");
    for first in (0..WIDTH).step_by(LANES) {
        let inside = lanes(count.saturating_sub(first).min(WIDTH - first));
        let width = lanes(WIDTH - first);
        // SAFETY: the assertion above, and `WIDTH` elements a step.
        unsafe {
            let (from, to) = (from.as_ptr().wrapping_add(first * across), to.as_mut_ptr().add(first));
            if across == 1 {
                for p in 0..steps {
                    let x = _mm512_maskz_loadu_ps(inside, from.wrapping_add(p * along));
                    _mm512_mask_storeu_ps(to.add(p * WIDTH), width, x);
                }
            } else if along == 1 && width == !0 {
                let count = count.saturating_sub(first).min(LANES);
                for p in (0..steps).step_by(LANES) {
                    let count = [count, LANES.min(steps - p)];
                    transpose(from.wrapping_add(p), across, count, to.add(p * WIDTH), WIDTH);
                }
            } else {
                for (p, i) in (0..steps).flat_map(|p| (0..LANES.min(WIDTH - first)).map(move |i| (p, i))) {
                    let x = if first + i < count { *from.wrapping_add(p * along + i * across) } else { 0.0 };
                    *to.add(p * WIDTH + i) = x;
                }
            }
        }
    }
}

/// `to[p·width + i] = from[p + i·across]` for `i` and `p` below `count`; zero for further `i` below
/// [`LANES`].
///
/// # Safety
/// What is read must be readable, and `LANES` elements for each `p` writable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn transpose(from: *const f32, across: usize, [count, steps]: [usize; 2], to: *mut f32, width: usize) {
    // Nothing of a row beyond the last is read; a constant number of loads and stores keeps all of it in
    // registers.
    let mask = |i: usize| if i < count { lanes(steps) } else { 0 };
    // SAFETY: the caller's promise.
    let rows =
        std::array::from_fn(|i| unsafe { _mm512_maskz_loadu_ps(mask(i), from.wrapping_add(i * across)) });
    for i in 0..LANES {
        // Weights come from far away, in runs too short for the processor to notice: the next vector's rows
        // are asked for now. An address that does not exist is ignored.
        _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add((LANES + i) * across).cast());
    }
    let columns = transposed(rows);
    for (p, &column) in columns.iter().enumerate() {
        if p < steps {
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(to.wrapping_add(p * width), column) };
        }
    }
}

/// Rows become columns: by pairs within quarters of vectors, then quarters.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512; LANES]) -> [__m512; LANES] {
    let mut x = rows;
    for i in (0..LANES).step_by(4) {
        let [a, b, c, d] = [x[i], x[i + 1], x[i + 2], x[i + 3]];
        let (low, high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (low2, high2) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        x[i] = pairs_low(low, low2);
        x[i + 1] = pairs_high(low, low2);
        x[i + 2] = pairs_low(high, high2);
        x[i + 3] = pairs_high(high, high2);
    }
    // Quarter `q` of `x[4·g + r]` now is column `4·q + r` of rows `4·g..`.
    let mut y = x;
    for r in 0..4 {
        let [a, b, c, d] = [x[r], x[4 + r], x[8 + r], x[12 + r]];
        let (low, high) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
        let (low2, high2) = (_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
        y[r] = _mm512_shuffle_f32x4::<0x88>(low, low2);
        y[4 + r] = _mm512_shuffle_f32x4::<0xdd>(low, low2);
        y[8 + r] = _mm512_shuffle_f32x4::<0x88>(high, high2);
        y[12 + r] = _mm512_shuffle_f32x4::<0xdd>(high, high2);
    }
    y
}

#[inline]
#[target_feature(enable = "avx512f")]
fn pairs_low(a: __m512, b: __m512) -> __m512 {
    _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn pairs_high(a: __m512, b: __m512) -> __m512 {
    _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)))
}

/// Where the first cache line of a buffer begins.
fn line(buffer: &[f32]) -> usize {
    buffer.as_ptr().align_offset(64).min(LANES)
}

/// The first `len` elements of a buffer that grows as needed, from the beginning of a cache line.
fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len + LANES {
        buffer.resize(len + LANES, 0.0);
    }
    let start = line(buffer);
    &mut buffer[start..start + len]
}
