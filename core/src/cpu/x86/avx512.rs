//! AVX-512: tiles of 12 × 32, of whose 32 registers 24 hold sums.

use std::arch::x86_64::{
    __m512, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm512_castpd_ps, _mm512_castps_pd, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
    _mm512_unpacklo_ps,
};

use super::{Kernels, Rows, Strided, Tile};

/// Elements of a vector.
const LANES: usize = 16;
const ROWS: usize = 12;
const COLUMNS: usize = 2 * LANES;

/// The instructions of AVX-512F.
pub(super) enum Avx512 {}

impl Kernels for Avx512 {
    const ROWS: usize = ROWS;
    const COLUMNS: usize = COLUMNS;
    /// Half a megabyte.
    const BLOCK_COLUMNS: usize = 512;

    fn available() -> bool {
        is_x86_feature_detected!("avx512f")
    }

    unsafe fn tile([rows, columns, depth]: [usize; 3], tile: Tile, a: Rows, b: *const f32) {
        macro_rules! kernels {
            ($($rows:literal)*) => { [$([kernel::<$rows, 1> as Kernel, kernel::<$rows, 2>]),*] };
        }
        const KERNELS: [[Kernel; 2]; ROWS] = kernels!(1 2 3 4 5 6 7 8 9 10 11 12);
        // SAFETY: the caller's promises.
        unsafe { KERNELS[rows - 1][usize::from(columns > LANES)](columns, depth, tile, a, b) }
    }

    unsafe fn pack_columns(from: Strided, count: usize, to: &mut [f32]) {
        // SAFETY: the caller's promises.
        unsafe { pack::<COLUMNS>(from, count, to) }
    }

    unsafe fn pack_rows(from: Strided, count: usize, to: &mut [f32]) {
        // SAFETY: the caller's promises.
        unsafe { pack::<ROWS>(from, count, to) }
    }
}

type Kernel = unsafe fn(usize, usize, Tile, Rows, *const f32);

/// A tile of `M` rows and `N` vectors, the last of which may be cut off.
///
/// # Safety
/// As [`Kernels::tile`].
#[target_feature(enable = "avx512f")]
unsafe fn kernel<const M: usize, const N: usize>(
    columns: usize, depth: usize, tile: Tile, a: Rows, b: *const f32,
) {
    let mut sums = [[_mm512_setzero_ps(); N]; M];
    let (mut x, mut y) = (a.at, b);
    for _ in 0..depth {
        // SAFETY: the caller's promise: the factors have `depth` steps.
        unsafe {
            let right: [_; N] = std::array::from_fn(|j| _mm512_loadu_ps(y.add(j * LANES)));
            for (i, sums) in sums.iter_mut().enumerate() {
                let left = _mm512_set1_ps(*x.add(i * a.row));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = _mm512_fmadd_ps(left, right, *sum);
                }
            }
            x = x.add(a.step);
            y = y.add(COLUMNS);
        }
    }
    let scale = _mm512_set1_ps(tile.scale);
    for (i, sums) in sums.iter().enumerate() {
        for (j, &sum) in sums.iter().enumerate() {
            let mask = lanes(columns - j * LANES);
            // SAFETY: the caller's promise; nothing is touched beyond `columns`.
            unsafe {
                let added = if tile.added.is_null() {
                    _mm512_setzero_ps()
                } else {
                    _mm512_maskz_loadu_ps(mask, tile.added.add(i * tile.added_stride + j * LANES))
                };
                let to = tile.c.add(i * tile.stride + j * LANES);
                _mm512_mask_storeu_ps(to, mask, _mm512_fmadd_ps(sum, scale, added));
            }
        }
    }
}

/// The first `count` lanes.
#[inline]
fn lanes(count: usize) -> __mmask16 {
    if count >= LANES { !0 } else { (1 << count) - 1 }
}

/// `to[p][i] = from[p·along + i·across]` for `i < count`, zero up to `WIDTH`.
///
/// # Safety
/// As [`Kernels::pack_columns`].
#[target_feature(enable = "avx512f")]
unsafe fn pack<const WIDTH: usize>(Strided { at, along, across }: Strided, count: usize, to: &mut [f32]) {
    let steps = to.len() / WIDTH;
    for first in (0..WIDTH).step_by(LANES) {
        let inside = lanes(count.saturating_sub(first).min(WIDTH - first));
        let width = lanes(WIDTH - first);
        // SAFETY: the caller's promise, and `WIDTH` elements a step.
        unsafe {
            let (from, to) = (at.wrapping_add(first * across), to.as_mut_ptr().add(first));
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
