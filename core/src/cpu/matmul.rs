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
    /// The same for tiles that are cut off.
    static ASIDE: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Computes `C = scale·A·B`, added to the bias of its columns, or to what `C` holds where `job.accumulate`
/// is set.
///
/// # Safety
/// `c` must be valid for reads and writes of `job.m` rows of `job.n` elements, `stride` apart, that
/// nobody else touches meanwhile; the factors and the bias must hold what the product reads.
pub unsafe fn run(job: &Job<f32>, c: *mut f32, stride: usize, [a, b]: [Mat<f32>; 2], bias: Option<&[f32]>) {
    if job.m == 0 || job.n == 0 {
        return;
    }
    let [mut panel, mut block] = BUFFERS.take();
    let mut product = Product { job: *job, c, stride, a, bias, aside: ASIDE.take() };
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
    ASIDE.set(product.aside);
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
    bias: Option<&'a [f32]>,
    /// Room for tiles that are cut off by the result's edge, `[ROWS][columns]`.
    aside: Vec<f32>,
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
    /// [`ROWS`] rows of `scale·A` from `row` on, `[depth][ROWS]`.
    fn pack_rows<'a>(&self, buffer: &'a mut Vec<f32>, row: usize, place: &Place) -> &'a [f32] {
        let packed = room(buffer, ROWS * place.depth);
        let count = ROWS.min(self.job.m - row);
        if place.depth > 0 {
            let from = &self.a.data[row * self.a.row_stride + place.begin * self.a.col_stride..];
            pack_strided::<ROWS>(from, [self.a.col_stride, self.a.row_stride], count, packed);
        }
        if self.job.scale != 1.0 {
            packed.iter_mut().for_each(|x| *x *= self.job.scale);
        }
        packed
    }

    /// # Safety
    /// As [`run`].
    unsafe fn row_of_tiles(&mut self, row: usize, place: &Place, a: &[f32], b: &[f32]) {
        let columns = BLOCK_COLUMNS.min(self.job.n - place.column);
        let whole = if self.job.m - row < ROWS { 0 } else { columns / COLUMNS };
        // SAFETY: the caller's promise; the panels of `b` have `depth` steps each, one after the other.
        unsafe {
            let c = self.c.add(row * self.stride + place.column);
            self.whole_tiles(whole, place, [a, b], c);
            if whole * COLUMNS < columns {
                let first = whole * COLUMNS;
                let (b, c) = (&b[first * place.depth..], c.add(first));
                self.cut_tiles([ROWS.min(self.job.m - row), columns - first], place, first, [a, b], c);
            }
        }
    }

    /// Tiles that lie inside the result, in place.
    ///
    /// # Safety
    /// As [`run`], with `count` tiles from `c` on.
    unsafe fn whole_tiles(&self, count: usize, place: &Place, [a, b]: [&[f32]; 2], c: *mut f32) {
        let (row, step) = (self.stride * FLOAT, COLUMNS * FLOAT);
        let (from, from_row, from_step) = match self.begins(place) {
            Begin::Result => (c.cast_const(), row, step),
            Begin::Bias(bias) => (bias[place.column..].as_ptr(), 0, step),
            Begin::Zero => (ZEROS.as_ptr(), 0, 0),
        };
        // SAFETY: the caller's promise; what the sums begin with is read as far as tiles go.
        unsafe {
            kernel()(count, place.depth, a.as_ptr(), b.as_ptr(), c, row, from, from_row, from_step);
        }
    }

    /// Tiles of which `rows` and `columns` are inside the result, by way of memory beside it. They begin
    /// `first` columns into the block.
    ///
    /// # Safety
    /// As [`run`], with so many rows and columns from `c` on.
    unsafe fn cut_tiles(
        &mut self, [rows, columns]: [usize; 2], place: &Place, first: usize, [a, b]: [&[f32]; 2], c: *mut f32,
    ) {
        let width = columns.next_multiple_of(COLUMNS);
        let mut aside = std::mem::take(&mut self.aside);
        let tiles = room(&mut aside, ROWS * width);
        tiles.fill(0.0);
        for (i, tile_row) in tiles.chunks_exact_mut(width).take(rows).enumerate() {
            // SAFETY: the caller's promise.
            let in_result = unsafe { std::slice::from_raw_parts(c.add(i * self.stride), columns) };
            match self.begins(place) {
                Begin::Result => tile_row[..columns].copy_from_slice(in_result),
                Begin::Bias(bias) => {
                    tile_row[..columns].copy_from_slice(&bias[place.column + first..][..columns]);
                }
                Begin::Zero => {}
            }
        }
        let (row, step) = (width * FLOAT, COLUMNS * FLOAT);
        let to = tiles.as_mut_ptr();
        // SAFETY: `tiles` has room for whole tiles; the rest is the caller's promise.
        unsafe {
            kernel()(width / COLUMNS, place.depth, a.as_ptr(), b.as_ptr(), to, row, to, row, step);
            for (i, tile_row) in tiles.chunks_exact(width).take(rows).enumerate() {
                std::ptr::copy_nonoverlapping(tile_row.as_ptr(), c.add(i * self.stride), columns);
            }
        }
        self.aside = aside;
    }

    /// What the sums of a block begin with.
    fn begins(&self, place: &Place) -> Begin<'_> {
        match self.bias {
            _ if self.job.accumulate || place.begin > 0 => Begin::Result,
            Some(bias) => Begin::Bias(bias),
            None => Begin::Zero,
        }
    }
}

/// What is added to sums.
enum Begin<'a> {
    /// What the result holds.
    Result,
    /// A number for each of its columns.
    Bias(&'a [f32]),
    /// Nothing.
    Zero,
}

static ZEROS: [f32; COLUMNS] = [0.0; COLUMNS];

/// Bytes of an element.
const FLOAT: usize = size_of::<f32>();

/// A function like [`tiles`].
type Kernel =
    unsafe extern "C" fn(usize, usize, *const f32, *const f32, *mut f32, usize, *const f32, usize, usize);

/// The kernel: where the browser lets us, the function that took the place of [`tiles`] in the table
/// of functions.
fn kernel() -> Kernel {
    #[cfg(target_arch = "wasm32")]
    {
        static INSTALLED: std::sync::Once = std::sync::Once::new();
        // Without it, the plain kernel stays.
        INSTALLED.call_once(|| {
            let _ = super::assembled::install(tiles as Kernel as usize as u32);
        });
    }
    // The compiler must not know which function this is.
    std::hint::black_box(tiles as Kernel)
}

/// `count` tiles side by side: sums over `depth` steps, of one panel of `A` and one of `B` after the other,
/// that begin with what stands at `from` and end at `to`. Distances are in bytes: from a row of a tile to
/// the next, and from a tile to the next (in the result, [`COLUMNS`] elements).
///
/// # Safety
/// The panels must have `depth` steps, `from` must be readable and `to` writable for all tiles.
#[allow(clippy::too_many_arguments, reason = "the assembled kernel's, which takes numbers only")]
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
unsafe extern "C" fn tiles(
    count: usize, depth: usize, a: *const f32, mut b: *const f32, mut to: *mut f32, to_row: usize,
    mut from: *const f32, from_row: usize, from_step: usize,
) {
    for _ in 0..count {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums: [[Lanes; 2]; ROWS] = [[splat(0.0); 2]; ROWS];
            for (i, [x, y]) in sums.iter_mut().enumerate() {
                let row = from.byte_add(i * from_row);
                (*x, *y) = (load(row), load(row.add(4)));
            }
            b = add_products(&mut sums, depth, a, b);
            for (i, &[x, y]) in sums.iter().enumerate() {
                let row = to.byte_add(i * to_row);
                store(row, x);
                store(row.add(4), y);
            }
            to = to.add(COLUMNS);
            from = from.byte_add(from_step);
        }
    }
}

/// Adds the products of two panels to the sums of a tile; where the next panel of `B` begins.
///
/// # Safety
/// The panels must have `depth` steps.
#[inline]
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
unsafe fn add_products(
    sums: &mut [[Lanes; 2]; ROWS], depth: usize, mut a: *const f32, mut b: *const f32,
) -> *const f32 {
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
    b
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
        for (packed, with_bias) in [(false, false), (true, false), (false, true), (true, true)] {
            agrees_with_the_definition(with_bias, &|job, c, stride, [a, b], bias| {
                let blocks = packed.then(|| super::pack(b, job.k, job.n));
                let factors = [a, b.with_packed(blocks.as_deref())];
                // SAFETY: the slices have the sizes of the matrices.
                unsafe { super::run(job, c.as_mut_ptr(), stride, factors, bias) };
            });
        }
    }
}
