//! The inner loop: one tile of a product, its sums in registers.

use std::arch::x86_64::{
    __mmask16, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
    _mm512_set1_ps, _mm512_setzero_ps,
};

/// Elements of a vector.
pub(super) const LANES: usize = 16;
/// Rows of a tile at most: with two vectors of columns, 24 of the 32 registers hold sums.
pub(super) const ROWS: usize = 12;
/// Columns of a tile at most.
pub(super) const COLUMNS: usize = 2 * LANES;

/// Rows of `A`: element `p` of row `i` lies at `at + i·row + p·step`.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) at: *const f32,
    pub(super) row: usize,
    pub(super) step: usize,
}

/// A tile of the result, `scale·A·B` plus what `added` points to.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Where it lies, and the distance of its rows.
    pub(super) c: *mut f32,
    pub(super) stride: usize,
    /// What is added: rows at this distance, which is 0 for a bias. Null where nothing is.
    pub(super) added: *const f32,
    pub(super) added_stride: usize,
    pub(super) scale: f32,
}

/// Computes a tile of up to [`ROWS`] × [`COLUMNS`] over `depth` terms; `b` is a panel, `[depth][COLUMNS]`.
///
/// # Safety
/// The processor must have AVX-512; the tile, what is added and the factors must be as large as `rows`,
/// `columns` and `depth` say, and nobody else may touch the tile meanwhile.
pub(super) unsafe fn run([rows, columns, depth]: [usize; 3], tile: Tile, a: Rows, b: *const f32) {
    macro_rules! kernels {
        ($($rows:literal)*) => { [$([kernel::<$rows, 1> as Kernel, kernel::<$rows, 2>]),*] };
    }
    const KERNELS: [[Kernel; 2]; ROWS] = kernels!(1 2 3 4 5 6 7 8 9 10 11 12);
    // SAFETY: the caller's promises.
    unsafe { KERNELS[rows - 1][usize::from(columns > LANES)](columns, depth, tile, a, b) }
}

type Kernel = unsafe fn(usize, usize, Tile, Rows, *const f32);

/// A tile of `M` rows and `N` vectors, the last of which may be cut off.
///
/// # Safety
/// As [`run`].
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
pub(super) fn lanes(count: usize) -> __mmask16 {
    if count >= LANES { !0 } else { (1 << count) - 1 }
}
