//! AVX2: tiles of 6 × 16, of whose 16 registers 12 hold sums.

use std::arch::x86_64::{
    __m256, __m256i, _MM_HINT_T0, _mm_prefetch, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_maskload_ps, _mm256_maskstore_ps, _mm256_permute2f128_ps, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps,
};

use super::{Kernels, Rows, Strided, Tile};

/// Elements of a vector.
const LANES: usize = 8;
const ROWS: usize = 6;
const COLUMNS: usize = 2 * LANES;

/// The instructions of AVX2 and FMA.
pub(super) enum Avx2 {}

impl Kernels for Avx2 {
    const ROWS: usize = ROWS;
    const COLUMNS: usize = COLUMNS;
    /// A quarter of a megabyte.
    const BLOCK_COLUMNS: usize = 256;

    fn available() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }

    unsafe fn tile([rows, columns, depth]: [usize; 3], tile: Tile, a: Rows, b: *const f32) {
        macro_rules! kernels {
            ($($rows:literal)*) => { [$([kernel::<$rows, 1> as Kernel, kernel::<$rows, 2>]),*] };
        }
        const KERNELS: [[Kernel; 2]; ROWS] = kernels!(1 2 3 4 5 6);
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
#[target_feature(enable = "avx2,fma")]
unsafe fn kernel<const M: usize, const N: usize>(
    columns: usize, depth: usize, tile: Tile, a: Rows, b: *const f32,
) {
    let mut sums = [[_mm256_setzero_ps(); N]; M];
    let (mut x, mut y) = (a.at, b);
    for _ in 0..depth {
        // SAFETY: the caller's promise: the factors have `depth` steps.
        unsafe {
            let right: [_; N] = std::array::from_fn(|j| _mm256_loadu_ps(y.add(j * LANES)));
            for (i, sums) in sums.iter_mut().enumerate() {
                let left = _mm256_broadcast_ss(&*x.add(i * a.row));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = _mm256_fmadd_ps(left, right, *sum);
                }
            }
            x = x.add(a.step);
            y = y.add(COLUMNS);
        }
    }
    let scale = _mm256_set1_ps(tile.scale);
    for (i, sums) in sums.iter().enumerate() {
        for (j, &sum) in sums.iter().enumerate() {
            let inside = columns - j * LANES;
            // SAFETY: the caller's promise; nothing is touched beyond `columns`.
            unsafe {
                let added = if tile.added.is_null() {
                    _mm256_setzero_ps()
                } else {
                    load(tile.added.add(i * tile.added_stride + j * LANES), inside)
                };
                store(tile.c.add(i * tile.stride + j * LANES), inside, _mm256_fmadd_ps(sum, scale, added));
            }
        }
    }
}

/// The first `count` elements at `from`; zeros for the others.
///
/// # Safety
/// So many elements must be readable.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load(from: *const f32, count: usize) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe { if count >= LANES { _mm256_loadu_ps(from) } else { _mm256_maskload_ps(from, lanes(count)) } }
}

/// Writes the first `count` elements. Masked stores take many times as long as others.
///
/// # Safety
/// So many elements must be writable.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store(to: *mut f32, count: usize, x: __m256) {
    // SAFETY: the caller's promise.
    unsafe {
        if count >= LANES {
            _mm256_storeu_ps(to, x);
        } else {
            _mm256_maskstore_ps(to, lanes(count), x);
        }
    }
}

/// A mask of the first `count` lanes, fewer than all.
#[inline]
#[target_feature(enable = "avx2")]
fn lanes(count: usize) -> __m256i {
    static MASKS: [i32; 2 * LANES] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    let mask = &MASKS[LANES - count.min(LANES)..][..LANES];
    // SAFETY: the slice has so many elements.
    unsafe { _mm256_loadu_si256(mask.as_ptr().cast()) }
}

/// `to[p][i] = from[p·along + i·across]` for `i < count`, zero up to `WIDTH`.
///
/// # Safety
/// As [`Kernels::pack_columns`].
#[target_feature(enable = "avx2")]
unsafe fn pack<const WIDTH: usize>(from: Strided, count: usize, to: &mut [f32]) {
    let Strided { at, along, across } = from;
    if across == 1 && count == WIDTH {
        for (p, to) in to.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *to = unsafe { at.add(p * along).cast::<[f32; WIDTH]>().read_unaligned() };
        }
    } else if along == 1 && WIDTH.is_multiple_of(LANES) {
        for first in (0..WIDTH).step_by(LANES) {
            let count = count.saturating_sub(first).min(LANES);
            let from = Strided { at: at.wrapping_add(first * across), ..from };
            // SAFETY: the caller's promise.
            unsafe { transpose_all::<WIDTH>(from, count, &mut to[first..]) };
        }
    } else {
        for (p, to) in to.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
            for (i, to) in to.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *to = if i < count { unsafe { *at.add(p * along + i * across) } } else { 0.0 };
            }
        }
    }
}

/// [`LANES`] of the columns of a panel that starts before `to`, whose terms lie next to each other.
///
/// # Safety
/// As [`Kernels::pack_columns`].
#[target_feature(enable = "avx2")]
unsafe fn transpose_all<const WIDTH: usize>(
    Strided { at, across, .. }: Strided, count: usize, to: &mut [f32],
) {
    let steps = to.len().div_ceil(WIDTH);
    for (block, to) in to.chunks_mut(LANES * WIDTH).enumerate() {
        let p = block * LANES;
        // SAFETY: the caller's promise.
        let columns = unsafe { transposed(at.wrapping_add(p), across, [count, LANES.min(steps - p)]) };
        for (to, column) in to.chunks_mut(WIDTH).zip(columns) {
            // SAFETY: each term's part has room for a vector.
            unsafe { _mm256_storeu_ps(to[..LANES].as_mut_ptr(), column) };
        }
    }
}

/// Rows `across` apart, of which `count` with `steps` elements are there, become columns.
///
/// # Safety
/// What is there must be readable.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn transposed(from: *const f32, across: usize, [count, steps]: [usize; 2]) -> [__m256; LANES] {
    let x: [__m256; LANES] = std::array::from_fn(|i| {
        // Weights come from far away, in runs too short for the processor to notice: the next vector's
        // rows are asked for now. An address that does not exist is ignored.
        _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add((LANES + i) * across).cast());
        // SAFETY: the caller's promise; nothing of a row beyond the last is read.
        unsafe { if i < count { load(from.wrapping_add(i * across), steps) } else { _mm256_setzero_ps() } }
    });
    // Columns of four rows in the halves of vectors, then both halves of each column.
    let quarters = |a: __m256, b: __m256, c: __m256, d: __m256| {
        let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (low2, high2) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0x44>(low, low2),
            _mm256_shuffle_ps::<0xee>(low, low2),
            _mm256_shuffle_ps::<0x44>(high, high2),
            _mm256_shuffle_ps::<0xee>(high, high2),
        ]
    };
    let (top, bottom) = (quarters(x[0], x[1], x[2], x[3]), quarters(x[4], x[5], x[6], x[7]));
    let half = |i: usize| match i {
        0..4 => _mm256_permute2f128_ps::<0x20>(top[i], bottom[i]),
        _ => _mm256_permute2f128_ps::<0x31>(top[i - 4], bottom[i - 4]),
    };
    std::array::from_fn(half)
}
