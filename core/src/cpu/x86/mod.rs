//! Matrix products in f32 by AVX-512 or AVX2: packed blocks of `B`, tiles of up to 12 × 32 or 6 × 16 in
//! registers.
//!
//! The layers are the usual ones (Goto and van de Geijn, "Anatomy of high-performance matrix
//! multiplication"), but for `A`, whose elements are broadcast from where they lie; only a transposed
//! `A` is packed. A thread packs what it needs itself, so that a product is one parallel region without
//! barriers. Every element is summed in the same order, wherever it stands in its tile.

mod avx2;
mod avx512;
mod pack;

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::gemm::{Job, Mat};
use avx2::Avx2;
use avx512::Avx512;

/// Terms of a block: a panel of `B`, 16 or 32 KB, stays in the first-level cache.
const DEPTH: usize = 256;
/// Tiles above each other that a panel of `B` serves before the next one comes.
const BLOCK_TILES: usize = 8;
/// Rows of a task, where there are more: each task packs its block of `B` itself.
const TASK_ROWS: usize = 192;
/// Multiply-adds of a task at least: below, to hand it to another thread costs more than it saves.
const TASK_TERMS: usize = 1 << 18;

/// What products need of a set of vector instructions.
trait Kernels {
    /// Rows of a tile at most.
    const ROWS: usize;
    /// Columns of a tile at most: those of a panel of `B`.
    const COLUMNS: usize;
    /// Columns of a block of `B`, for the second-level cache.
    const BLOCK_COLUMNS: usize;

    /// Whether this processor has the instructions.
    fn available() -> bool;

    /// Computes a tile of up to `ROWS` × `COLUMNS` over `depth` terms; `b` is a panel, `[depth][COLUMNS]`.
    ///
    /// # Safety
    /// The processor must have the instructions; the tile, what is added and the factors must be as large
    /// as `rows`, `columns` and `depth` say, and nobody else may touch the tile meanwhile.
    unsafe fn tile(size: [usize; 3], tile: Tile, a: Rows, b: *const f32);

    /// Lays out terms of `count` columns of `B` as a panel, with zeros after the last.
    ///
    /// # Safety
    /// The processor must have the instructions; `from` must hold what is read, `to` whole panels.
    unsafe fn pack_columns(from: Strided, count: usize, to: &mut [f32]);

    /// The same of `count` rows of `A`, `[depth][ROWS]`.
    ///
    /// # Safety
    /// As [`Kernels::pack_columns`].
    unsafe fn pack_rows(from: Strided, count: usize, to: &mut [f32]);
}

/// Rows of `A`: element `p` of row `i` lies at `at + i·row + p·step`.
#[derive(Clone, Copy)]
struct Rows {
    at: *const f32,
    row: usize,
    step: usize,
}

/// A tile of the result, `scale·A·B` plus what `added` points to.
#[derive(Clone, Copy)]
struct Tile {
    /// Where it lies, and the distance of its rows.
    c: *mut f32,
    stride: usize,
    /// What is added: rows at this distance, which is 0 for a bias. Null where nothing is.
    added: *const f32,
    added_stride: usize,
    scale: f32,
}

/// A factor to be packed: element `i` of term `p` lies at `at + p·along + i·across`.
#[derive(Clone, Copy)]
struct Strided {
    at: *const f32,
    along: usize,
    across: usize,
}

thread_local! {
    /// Memory for packed blocks of `B` and of `A`, kept from one product to the next.
    static BUFFERS: Cell<[Vec<f32>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
}

/// Computes `C = scale·A·B`, plus what `C` holds where `job.accumulate` is set, else plus `bias`, if
/// there is one, in each row; false where this processor has none of the instructions.
///
/// # Safety
/// `c` must be valid for reads and writes of `job.m` rows of `job.n` elements, `stride` apart, that nobody
/// else touches meanwhile; the factors and the bias must hold what the product reads.
pub unsafe fn run(
    job: &Job<f32>, c: *mut f32, stride: usize, [a, b]: [Mat<f32>; 2], bias: Option<&[f32]>,
) -> bool {
    // SAFETY: the processor has the instructions; the rest are the caller's promises.
    unsafe {
        if Avx512::available() {
            Product::<Avx512>::new(job, c, stride, [a, b], bias).run();
        } else if Avx2::available() {
            Product::<Avx2>::new(job, c, stride, [a, b], bias).run();
        } else {
            return false;
        }
    }
    true
}

/// The `k × n` factor `B` as tiles read it, for products that [`run`] is given it with; none where this
/// processor has none of the instructions.
///
/// # Panics
/// When the factor is smaller: a defect of the caller.
pub fn pack(b: Mat<f32>, k: usize, n: usize) -> Option<Vec<f32>> {
    if Avx512::available() {
        Some(pack::whole::<Avx512>(b, k, n))
    } else if Avx2::available() {
        Some(pack::whole::<Avx2>(b, k, n))
    } else {
        None
    }
}

/// The ranges of terms that are summed one after the other.
fn parts(k: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = k.div_ceil(DEPTH).max(1);
    (0..parts).map(move |i| k * i / parts..k * (i + 1) / parts)
}

/// Tasks beside and below each other: blocks of columns, and with many rows several for each thread.
fn grid<K: Kernels>(m: usize, n: usize, threads: usize) -> [usize; 2] {
    let panels = n.div_ceil(K::COLUMNS).max(1);
    let across = n.div_ceil(K::BLOCK_COLUMNS).max(1).next_multiple_of(threads).min(panels);
    let down = if threads == 1 { 1 } else { (m / TASK_ROWS).clamp(threads.div_ceil(across), 4 * threads) };
    [across, down.min(m.div_ceil(K::ROWS)).max(1)]
}

/// The `i`-th of `parts` ranges of `0..len` that begin at multiples of `unit` and are about equally long.
fn part(len: usize, unit: usize, i: usize, parts: usize) -> Range<usize> {
    let edge = |i: usize| (len.div_ceil(unit) * i / parts * unit).min(len);
    edge(i)..edge(i + 1)
}

struct Product<'a, K> {
    job: Job<f32>,
    c: *mut f32,
    stride: usize,
    a: Mat<'a, f32>,
    b: Mat<'a, f32>,
    bias: Option<&'a [f32]>,
    kernels: PhantomData<K>,
}

// SAFETY: tasks on other threads write parts of the result that do not overlap.
unsafe impl<K> Sync for Product<'_, K> {}

impl<'a, K: Kernels> Product<'a, K> {
    fn new(
        job: &Job<f32>, c: *mut f32, stride: usize, [a, b]: [Mat<'a, f32>; 2], bias: Option<&'a [f32]>,
    ) -> Self {
        Self { job: *job, c, stride, a, b, bias, kernels: PhantomData }
    }

    /// Computes it, on the threads of the pool where they are wanted.
    ///
    /// # Safety
    /// As [`run`], on a processor that has the instructions.
    unsafe fn run(&self) {
        let Job { m, n, k, parallel, .. } = self.job;
        let most = m * n * k / TASK_TERMS;
        let threads = if parallel { rayon::current_num_threads().min(most).max(1) } else { 1 };
        let [across, down] = grid::<K>(m, n, threads);
        let task = |i: usize| {
            let rows = part(m, K::ROWS, i / across, down);
            let columns = part(n, K::COLUMNS, i % across, across);
            // SAFETY: the caller's promises; no two tasks have the same part of the result.
            unsafe { self.task(&rows, &columns) };
        };
        if threads == 1 {
            (0..across * down).for_each(task);
        } else {
            (0..across * down).into_par_iter().with_max_len(1).for_each(task);
        }
    }

    /// These rows and columns of the result.
    ///
    /// # Safety
    /// As [`run`]; no other task may have one of these elements.
    unsafe fn task(&self, rows: &Range<usize>, columns: &Range<usize>) {
        if rows.is_empty() || columns.is_empty() {
            return;
        }
        let [mut panels, mut tiles] = BUFFERS.take();
        for terms in parts(self.job.k) {
            // SAFETY: the caller's promises.
            unsafe {
                let panels = match self.b.packed {
                    Some(packed) => pack::of_columns::<K>(packed, &terms, columns, self.job.n),
                    None => pack::panels::<K>(&mut panels, self.b, &terms, columns),
                };
                self.block(rows, columns, &terms, panels, &mut tiles);
            }
        }
        BUFFERS.set([panels, tiles]);
    }

    /// Adds these terms of the sums.
    ///
    /// # Safety
    /// As [`Self::task`]; `panels` are those of the terms and columns.
    unsafe fn block(
        &self, rows: &Range<usize>, columns: &Range<usize>, terms: &Range<usize>, panels: &[f32],
        buffer: &mut Vec<f32>,
    ) {
        let count = rows.len().div_ceil(K::ROWS);
        let edge = |i: usize| rows.start + rows.len() * i / count;
        for first in (0..count).step_by(BLOCK_TILES) {
            let tiles = first..count.min(first + BLOCK_TILES);
            // SAFETY: the caller's promises.
            let factors = unsafe {
                pack::rows::<K>(buffer, self.a, tiles.clone().map(|i| edge(i)..edge(i + 1)), terms)
            };
            for (panel, column) in columns.clone().step_by(K::COLUMNS).enumerate() {
                let b = &panels[panel * K::COLUMNS * terms.len()..][..K::COLUMNS * terms.len()];
                let width = K::COLUMNS.min(columns.end - column);
                for i in tiles.clone() {
                    let (top, a) = (edge(i), factors.of(i - first, edge(i)));
                    // SAFETY: the tile lies inside the result; the factors hold its terms.
                    unsafe {
                        let tile = self.tile(top, column, terms.start > 0);
                        K::tile([edge(i + 1) - top, width, terms.len()], tile, a, b.as_ptr());
                    }
                }
            }
        }
    }

    /// The tile at this place of the result.
    ///
    /// # Safety
    /// The place must lie inside the result.
    unsafe fn tile(&self, row: usize, column: usize, further: bool) -> Tile {
        // SAFETY: the caller's promise.
        let c = unsafe { self.c.add(row * self.stride + column) };
        let (added, added_stride) = match self.bias {
            _ if further || self.job.accumulate => (c.cast_const(), self.stride),
            Some(bias) => (bias[column..].as_ptr(), 0),
            None => (std::ptr::null(), 0),
        };
        Tile { c, stride: self.stride, added, added_stride, scale: self.job.scale }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::super::gemm::tests::agrees_with_the_definition;
    use super::*;

    fn agree<K: Kernels>(name: &str) {
        if !K::available() {
            // On the stream itself, as what tests print by macros is shown only where they fail.
            let _ = writeln!(std::io::stderr(), "skipped: this processor has no {name}");
            return;
        }
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for packed in [false, true] {
                pool.install(|| {
                    agrees_with_the_definition(true, &|job, c, stride, [a, b], bias| {
                        let panels = packed.then(|| pack::whole::<K>(b, job.k, job.n));
                        let b = b.with_packed(panels.as_deref());
                        let product = Product::<K>::new(job, c.as_mut_ptr(), stride, [a, b], bias);
                        // SAFETY: the processor has the instructions, the slices the sizes of the matrices.
                        unsafe { product.run() };
                    });
                });
            }
        }
    }

    #[test]
    fn products_of_every_shape_agree_with_the_definition() {
        agree::<Avx512>("AVX-512");
        agree::<Avx2>("AVX2");
    }

    fn covered_once<K: Kernels>(m: usize, n: usize, threads: usize) {
        let [across, down] = grid::<K>(m, n, threads);
        for (len, unit, parts) in [(m, K::ROWS, down), (n, K::COLUMNS, across)] {
            let parts: Vec<_> = (0..parts).map(|i| part(len, unit, i, parts)).collect();
            assert_eq!((parts[0].start, parts[parts.len() - 1].end), (0, len));
            assert!(parts.windows(2).all(|two| two[0].end == two[1].start));
        }
    }

    proptest::proptest! {
        #[test]
        fn tasks_cover_the_result_once(m in 0..3000_usize, n in 0..3000_usize, threads in 1..40_usize) {
            covered_once::<Avx512>(m, n, threads);
            covered_once::<Avx2>(m, n, threads);
        }
    }
}
