//! Matrix products in f32 for WebAssembly: blocks packed for the caches, tiles in registers.
//!
//! The layers are the usual ones (Goto and van de Geijn, "Anatomy of high-performance matrix
//! multiplication"). A tile of 5 × 8 keeps ten sums in vector registers, which is what browsers'
//! compilers hold without spilling; larger ones are slower. Every element is summed in the same
//! order, wherever it stands in its tile. Elsewhere than in WebAssembly this runs on plain arrays,
//! for the tests.

use std::cell::Cell;

use super::gemm::{Job, Mat};

/// Rows and columns of a tile.
pub(super) const ROWS: usize = 5;
pub(super) const COLUMNS: usize = 8;

/// Depth of a block: a panel of `A` and one of `B` stay in the first-level cache.
const DEPTH: usize = 256;

/// Columns of a block of `B`: with [`DEPTH`] it stays in the second- or third-level cache.
const BLOCK_COLUMNS: usize = 1024;

/// Four lanes.
#[cfg(target_arch = "wasm32")]
mod lanes {
    use std::arch::wasm32::{
        f32x4_add, f32x4_mul, f32x4_splat, i32x4_shuffle, i64x2_shuffle, v128, v128_load, v128_store,
    };

    pub(super) type Lanes = v128;

    #[inline]
    #[target_feature(enable = "simd128")]
    pub(super) fn splat(x: f32) -> Lanes {
        f32x4_splat(x)
    }

    /// # Safety
    /// Four elements must be readable.
    #[inline]
    #[target_feature(enable = "simd128")]
    pub(super) unsafe fn load(from: *const f32) -> Lanes {
        // SAFETY: the caller's promise.
        unsafe { v128_load(from.cast()) }
    }

    /// # Safety
    /// Four elements must be writable.
    #[inline]
    #[target_feature(enable = "simd128")]
    pub(super) unsafe fn store(to: *mut f32, x: Lanes) {
        // SAFETY: the caller's promise.
        unsafe { v128_store(to.cast(), x) }
    }

    #[inline]
    #[target_feature(enable = "simd128")]
    pub(super) fn mul(x: Lanes, y: Lanes) -> Lanes {
        f32x4_mul(x, y)
    }

    #[inline]
    #[target_feature(enable = "simd128")]
    pub(super) fn add(x: Lanes, y: Lanes) -> Lanes {
        f32x4_add(x, y)
    }

    /// Rows become columns.
    #[inline]
    #[target_feature(enable = "simd128")]
    pub(super) fn transpose([a, b, c, d]: [Lanes; 4]) -> [Lanes; 4] {
        let (ab, cd) = (i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<0, 4, 1, 5>(c, d));
        let (ab2, cd2) = (i32x4_shuffle::<2, 6, 3, 7>(a, b), i32x4_shuffle::<2, 6, 3, 7>(c, d));
        [
            i64x2_shuffle::<0, 2>(ab, cd),
            i64x2_shuffle::<1, 3>(ab, cd),
            i64x2_shuffle::<0, 2>(ab2, cd2),
            i64x2_shuffle::<1, 3>(ab2, cd2),
        ]
    }
}

/// Four lanes as an array.
#[cfg(not(target_arch = "wasm32"))]
mod lanes {
    pub(super) type Lanes = [f32; 4];

    pub(super) fn splat(x: f32) -> Lanes {
        [x; 4]
    }

    /// # Safety
    /// Four elements must be readable.
    pub(super) unsafe fn load(from: *const f32) -> Lanes {
        // SAFETY: the caller's promise; reading unaligned makes no demand on the address.
        unsafe { from.cast::<Lanes>().read_unaligned() }
    }

    /// # Safety
    /// Four elements must be writable.
    pub(super) unsafe fn store(to: *mut f32, x: Lanes) {
        // SAFETY: the caller's promise; writing unaligned makes no demand on the address.
        unsafe { to.cast::<Lanes>().write_unaligned(x) }
    }

    pub(super) fn mul(x: Lanes, y: Lanes) -> Lanes {
        std::array::from_fn(|i| x[i] * y[i])
    }

    pub(super) fn add(x: Lanes, y: Lanes) -> Lanes {
        std::array::from_fn(|i| x[i] + y[i])
    }

    /// Rows become columns.
    pub(super) fn transpose(rows: [Lanes; 4]) -> [Lanes; 4] {
        std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
    }
}

use lanes::{Lanes, add, load, mul, splat, store, transpose};

thread_local! {
    /// Memory for packed blocks, kept from one product to the next.
    static BUFFERS: Cell<[Vec<f32>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
}

/// Computes `C = scale·A·B`, added to what `C` holds where `job.accumulate` is set.
///
/// # Safety
/// `c` must be valid for reads and writes of `job.m` rows of `job.n` elements, `stride` apart, that
/// nobody else touches meanwhile; the factors must hold what the product reads.
pub unsafe fn run(job: &Job<f32>, c: *mut f32, stride: usize, a: Mat<f32>, b: Mat<f32>) {
    if job.m == 0 || job.n == 0 {
        return;
    }
    let [mut panel, mut block] = BUFFERS.take();
    let product = Product { job: *job, c, stride, a };
    for place in places(job.k, job.n) {
        let b = match b.packed {
            Some(packed) => &packed[place.start(job.k, job.n)..][..place.size(job.n)],
            None => pack_columns(room(&mut block, place.size(job.n)), b, &place, job.n),
        };
        for row in (0..job.m).step_by(ROWS) {
            let a = product.pack_rows(&mut panel, row, &place);
            // SAFETY: the caller's promises.
            unsafe { product.row_of_tiles(row, &place, a, b) };
        }
    }
    BUFFERS.set([panel, block]);
}

/// All blocks of the `k × n` factor `B`, for products that [`run`] is given it with.
#[cfg(any(target_arch = "wasm32", test))]
pub fn pack(b: Mat<f32>, k: usize, n: usize) -> Vec<f32> {
    let mut packed = vec![0.0; k * n.next_multiple_of(COLUMNS)];
    for place in places(k, n) {
        pack_columns(&mut packed[place.start(k, n)..][..place.size(n)], b, &place, n);
    }
    packed
}

/// The blocks of `B` in the order in which they are used.
fn places(k: usize, n: usize) -> impl Iterator<Item = Place> {
    let parts = k.div_ceil(DEPTH).max(1);
    let depth = k.div_ceil(parts);
    let blocks =
        (0..n).step_by(BLOCK_COLUMNS).flat_map(move |column| (0..parts).map(move |i| (column, i * depth)));
    blocks.map(move |(column, begin)| Place { column, begin, depth: depth.min(k - begin) })
}

struct Product<'a> {
    job: Job<f32>,
    c: *mut f32,
    stride: usize,
    a: Mat<'a, f32>,
}

/// A block of `B`: columns from `column` on, terms of the sums from `begin` on.
struct Place {
    column: usize,
    begin: usize,
    depth: usize,
}

impl Place {
    /// Columns of the block, of `n` in all, in whole panels.
    fn columns(&self, n: usize) -> usize {
        BLOCK_COLUMNS.min(n - self.column).next_multiple_of(COLUMNS)
    }

    /// Elements of the block.
    fn size(&self, n: usize) -> usize {
        self.columns(n) * self.depth
    }

    /// Elements of the blocks before it.
    fn start(&self, k: usize, n: usize) -> usize {
        self.column * k + self.begin * self.columns(n)
    }
}

/// A block of `B` of `n` columns in panels of [`COLUMNS`], `[panels][depth][COLUMNS]`.
fn pack_columns<'a>(packed: &'a mut [f32], b: Mat<f32>, place: &Place, n: usize) -> &'a [f32] {
    for (i, to) in packed.chunks_exact_mut((COLUMNS * place.depth).max(1)).enumerate() {
        let first = place.column + i * COLUMNS;
        let from = &b.data[place.begin * b.row_stride + first * b.col_stride..];
        pack_strided::<COLUMNS>(from, [b.row_stride, b.col_stride], COLUMNS.min(n - first), to);
    }
    packed
}

impl Product<'_> {
    /// [`ROWS`] rows of `A` from `row` on, `[depth][ROWS]`.
    fn pack_rows<'a>(&self, buffer: &'a mut Vec<f32>, row: usize, place: &Place) -> &'a [f32] {
        let packed = room(buffer, ROWS * place.depth);
        let count = ROWS.min(self.job.m - row);
        if place.depth > 0 {
            let from = &self.a.data[row * self.a.row_stride + place.begin * self.a.col_stride..];
            pack_strided::<ROWS>(from, [self.a.col_stride, self.a.row_stride], count, packed);
        }
        packed
    }

    /// # Safety
    /// As [`run`].
    unsafe fn row_of_tiles(&self, row: usize, place: &Place, a: &[f32], b: &[f32]) {
        let kernel = kernel();
        let rows = ROWS.min(self.job.m - row);
        let end = self.job.n.min(place.column + BLOCK_COLUMNS);
        for (i, first) in (place.column..end).step_by(COLUMNS).enumerate() {
            let b = &b[i * COLUMNS * place.depth..(i + 1) * COLUMNS * place.depth];
            let columns = COLUMNS.min(self.job.n - first);
            // SAFETY: the panels have `depth` steps; the tile lies inside the result.
            unsafe {
                let mut sums = [[0.0; COLUMNS]; ROWS];
                kernel(place.depth, a.as_ptr(), b.as_ptr(), sums.as_mut_ptr().cast());
                let c = self.c.add(row * self.stride + first);
                self.write(&sums, [rows, columns], c, self.job.accumulate || place.begin > 0);
            }
        }
    }

    /// # Safety
    /// `c` must be valid for a tile of the given size.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    unsafe fn write(
        &self, sums: &[[f32; COLUMNS]; ROWS], [rows, columns]: [usize; 2], c: *mut f32, accumulate: bool,
    ) {
        let scale = splat(self.job.scale);
        for (i, sums) in sums.iter().enumerate().take(rows) {
            // A row of a whole tile is written in place, one that is cut off by way of `whole`.
            let mut whole = [0.0; COLUMNS];
            // SAFETY: the caller's promise, and the bounds of `whole`.
            unsafe {
                let to = c.add(i * self.stride);
                let cut = columns < COLUMNS;
                if cut && accumulate {
                    std::ptr::copy_nonoverlapping(to, whole.as_mut_ptr(), columns);
                }
                let target = if cut { whole.as_mut_ptr() } else { to };
                for (j, sum) in sums.chunks_exact(4).enumerate() {
                    let mut y = mul(load(sum.as_ptr()), scale);
                    if accumulate {
                        y = add(y, load(target.add(4 * j)));
                    }
                    store(target.add(4 * j), y);
                }
                if cut {
                    std::ptr::copy_nonoverlapping(whole.as_ptr(), to, columns);
                }
            }
        }
    }
}

/// A function like [`tile`].
type Kernel = unsafe extern "C" fn(usize, *const f32, *const f32, *mut f32);

/// The kernel: where the browser lets us, the function that took the place of [`tile`] in the table
/// of functions.
fn kernel() -> Kernel {
    #[cfg(target_arch = "wasm32")]
    {
        static INSTALLED: std::sync::Once = std::sync::Once::new();
        // Without it, the plain kernel stays.
        INSTALLED.call_once(|| {
            let _ = super::assembled::install(tile as Kernel as usize as u32);
        });
    }
    // The compiler must not know which function this is.
    std::hint::black_box(tile as Kernel)
}

/// The sums of a tile over `depth` steps, into `[ROWS][COLUMNS]` at `to`.
///
/// # Safety
/// The panels must have `depth` steps, and `to` room for a tile.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
unsafe extern "C" fn tile(depth: usize, mut a: *const f32, mut b: *const f32, to: *mut f32) {
    let mut sums: [[Lanes; 2]; ROWS] = [[splat(0.0); 2]; ROWS];
    for _ in 0..depth {
        // SAFETY: the caller's promise.
        unsafe {
            let (left, right) = (load(b), load(b.add(4)));
            for (i, [x, y]) in sums.iter_mut().enumerate() {
                let factor = splat(*a.add(i));
                *x = add(mul(factor, left), *x);
                *y = add(mul(factor, right), *y);
            }
            a = a.add(ROWS);
            b = b.add(COLUMNS);
        }
    }
    for (i, &sum) in sums.iter().flatten().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { store(to.add(4 * i), sum) };
    }
}

/// The first `len` elements of a buffer that grows as needed.
fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// `to[p][i] = from[p·along + i·across]` for `i < count`, zero up to `WIDTH`.
fn pack_strided<const WIDTH: usize>(from: &[f32], [along, across]: [usize; 2], count: usize, to: &mut [f32]) {
    if count == WIDTH && along == 1 {
        return pack_transposed::<WIDTH>(from, across, to);
    }
    for (p, to) in to.chunks_exact_mut(WIDTH).enumerate() {
        let from = &from[p * along..];
        if count == WIDTH && across == 1 {
            to.copy_from_slice(&from[..WIDTH]);
            continue;
        }
        to.fill(0.0);
        for (i, to) in to.iter_mut().enumerate().take(count) {
            *to = from[i * across];
        }
    }
}

/// `to[p][i] = from[p + i·across]`, four steps of `p` at a time.
///
/// # Panics
/// When `from` is too short: a defect of the caller.
fn pack_transposed<const WIDTH: usize>(from: &[f32], across: usize, to: &mut [f32]) {
    let depth = to.len() / WIDTH;
    assert!((WIDTH - 1) * across + depth <= from.len(), "a factor is smaller than its block");
    let whole = depth - depth % 4;
    // SAFETY: what is read ends at `(WIDTH − 1)·across + depth`, what is written at `depth·WIDTH`.
    unsafe { transpose_steps::<WIDTH>(from.as_ptr(), across, whole, to.as_mut_ptr()) };
    for (p, to) in to.chunks_exact_mut(WIDTH).enumerate().skip(whole) {
        for (i, to) in to.iter_mut().enumerate() {
            *to = from[p + i * across];
        }
    }
}

/// # Safety
/// `from` must be readable at `p + i·across`, and `to` writable at `p·WIDTH + i`, for `p` below
/// `depth`, a multiple of four, and `i` below `WIDTH`.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
unsafe fn transpose_steps<const WIDTH: usize>(from: *const f32, across: usize, depth: usize, to: *mut f32) {
    for p in (0..depth).step_by(4) {
        for first in (0..WIDTH / 4).map(|i| 4 * i) {
            // SAFETY: the caller's promise.
            unsafe {
                let row = |i: usize| load(from.add((first + i) * across + p));
                let steps = transpose([row(0), row(1), row(2), row(3)]);
                for (q, &step) in steps.iter().enumerate() {
                    store(to.add((p + q) * WIDTH + first), step);
                }
            }
        }
        for i in WIDTH / 4 * 4..WIDTH {
            for q in 0..4 {
                // SAFETY: the caller's promise.
                unsafe { *to.add((p + q) * WIDTH + i) = *from.add(i * across + p + q) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gemm::tests::agrees_with_the_definition;

    #[test]
    fn products_of_every_shape_agree_with_the_definition() {
        for packed in [false, true] {
            agrees_with_the_definition(false, &|job, c, stride, [a, b], _| {
                let blocks = packed.then(|| super::pack(b, job.k, job.n));
                // SAFETY: the slices have the sizes of the matrices.
                unsafe { super::run(job, c.as_mut_ptr(), stride, a, b.with_packed(blocks.as_deref())) };
            });
        }
    }
}
