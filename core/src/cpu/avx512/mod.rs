//! Matrix products in f32 by AVX-512: packed blocks of `B`, tiles of up to 12 × 32 in registers.
//!
//! The layers are the usual ones (Goto and van de Geijn, "Anatomy of high-performance matrix
//! multiplication"), but for `A`, whose elements are broadcast from where they lie; only a transposed
//! `A` is packed. A thread packs what it needs itself, so that a product is one parallel region without
//! barriers. Every element is summed in the same order, wherever it stands in its tile.

mod pack;
mod tile;

use std::cell::Cell;
use std::ops::Range;

use rayon::prelude::*;

use super::gemm::{Job, Mat};
use tile::{COLUMNS, ROWS, Tile};

/// Terms of a block: a panel of `B`, 32 KB, stays in the first-level cache.
const DEPTH: usize = 256;
/// Columns of a block of `B`: half a megabyte, for the second-level cache.
const BLOCK_COLUMNS: usize = 512;
/// Tiles above each other that a panel of `B` serves before the next one comes.
const BLOCK_TILES: usize = 8;
/// Rows of a task, where there are more: each task packs its block of `B` itself.
const TASK_ROWS: usize = 192;
/// Multiply-adds of a task at least: below, to hand it to another thread costs more than it saves.
const TASK_TERMS: usize = 1 << 18;

/// Whether this processor has the instructions.
pub fn available() -> bool {
    is_x86_feature_detected!("avx512f")
}

thread_local! {
    /// Memory for packed blocks of `B` and of `A`, kept from one product to the next.
    static BUFFERS: Cell<[Vec<f32>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
}

/// Computes `C = scale·A·B`, plus what `C` holds where `job.accumulate` is set, else plus `bias`, if
/// there is one, in each row.
///
/// # Safety
/// The processor must have AVX-512 ([`available`]). `c` must be valid for reads and writes of `job.m`
/// rows of `job.n` elements, `stride` apart, that nobody else touches meanwhile; the factors and the
/// bias must hold what the product reads.
pub unsafe fn run(
    job: &Job<f32>, c: *mut f32, stride: usize, a: Mat<f32>, b: Mat<f32>, bias: Option<&[f32]>,
) {
    let product = Product { job: *job, c, stride, a, b, bias };
    let most = job.m * job.n * job.k / TASK_TERMS;
    let threads = if job.parallel { rayon::current_num_threads().min(most).max(1) } else { 1 };
    let [across, down] = grid(job.m, job.n, threads);
    let task = |i: usize| {
        let rows = part(job.m, ROWS, i / across, down);
        let columns = part(job.n, COLUMNS, i % across, across);
        // SAFETY: the caller's promises; no two tasks have the same part of the result.
        unsafe { product.task(&rows, &columns) };
    };
    if threads == 1 {
        (0..across * down).for_each(task);
    } else {
        (0..across * down).into_par_iter().with_max_len(1).for_each(task);
    }
}

/// The `k × n` factor `B` as tiles read it, for products that [`run`] is given it with.
///
/// # Panics
/// When the processor has no AVX-512 ([`available`]), or the factor is smaller.
pub fn pack(b: Mat<f32>, k: usize, n: usize) -> Vec<f32> {
    assert!(available(), "AVX-512 kernels without AVX-512");
    let columns: Vec<Range<usize>> = (0..n).step_by(COLUMNS).map(|i| i..n.min(i + COLUMNS)).collect();
    let mut packed = pack::room_for(k, n);
    let mut to = pack::aligned_mut(&mut packed, k, n);
    for terms in parts(k) {
        let (part, rest) = to.split_at_mut(pack::size(&terms, n));
        to = rest;
        let panel = (terms.len() * COLUMNS).max(1);
        part.par_chunks_mut(panel).zip(&columns).for_each(|(to, columns)| {
            // SAFETY: the processor has the instructions, which `pack` checks the factor with.
            unsafe { pack::panel(b, &terms, columns, to) };
        });
    }
    packed
}

/// The ranges of terms that are summed one after the other.
fn parts(k: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = k.div_ceil(DEPTH).max(1);
    (0..parts).map(move |i| k * i / parts..k * (i + 1) / parts)
}

/// Tasks beside and below each other: blocks of columns, and with many rows several for each thread.
fn grid(m: usize, n: usize, threads: usize) -> [usize; 2] {
    let panels = n.div_ceil(COLUMNS).max(1);
    let across = n.div_ceil(BLOCK_COLUMNS).max(1).next_multiple_of(threads).min(panels);
    let down = if threads == 1 { 1 } else { (m / TASK_ROWS).clamp(threads.div_ceil(across), 4 * threads) };
    [across, down.min(m.div_ceil(ROWS)).max(1)]
}

/// The `i`-th of `parts` ranges of `0..len` that begin at multiples of `unit` and are about equally long.
fn part(len: usize, unit: usize, i: usize, parts: usize) -> Range<usize> {
    let edge = |i: usize| (len.div_ceil(unit) * i / parts * unit).min(len);
    edge(i)..edge(i + 1)
}

struct Product<'a> {
    job: Job<f32>,
    c: *mut f32,
    stride: usize,
    a: Mat<'a, f32>,
    b: Mat<'a, f32>,
    bias: Option<&'a [f32]>,
}

// SAFETY: tasks on other threads write parts of the result that do not overlap.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
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
                    Some(packed) => pack::of_columns(packed, &terms, columns, self.job.n),
                    None => pack::panels(&mut panels, self.b, &terms, columns),
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
        let count = rows.len().div_ceil(ROWS);
        let edge = |i: usize| rows.start + rows.len() * i / count;
        for first in (0..count).step_by(BLOCK_TILES) {
            let tiles = first..count.min(first + BLOCK_TILES);
            // SAFETY: the caller's promises.
            let factors =
                unsafe { pack::rows(buffer, self.a, tiles.clone().map(|i| edge(i)..edge(i + 1)), terms) };
            for (panel, column) in columns.clone().step_by(COLUMNS).enumerate() {
                let b = &panels[panel * COLUMNS * terms.len()..][..COLUMNS * terms.len()];
                let width = COLUMNS.min(columns.end - column);
                for i in tiles.clone() {
                    let (top, a) = (edge(i), factors.of(i - first, edge(i)));
                    // SAFETY: the tile lies inside the result; the factors hold its terms.
                    unsafe {
                        let tile = self.tile(top, column, terms.start > 0);
                        tile::run([edge(i + 1) - top, width, terms.len()], tile, a, b.as_ptr());
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
    use super::super::gemm::tests::agrees_with_the_definition;
    use super::*;

    #[test]
    fn products_of_every_shape_agree_with_the_definition() {
        if !available() {
            println!("skipped: this processor has no AVX-512");
            return;
        }
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for packed in [false, true] {
                pool.install(|| {
                    agrees_with_the_definition(true, &|job, c, stride, [a, b], bias| {
                        let panels = packed.then(|| pack(b, job.k, job.n));
                        let b = b.with_packed(panels.as_deref());
                        // SAFETY: the processor has the instructions, the slices the sizes of the matrices.
                        unsafe { run(job, c.as_mut_ptr(), stride, a, b, bias) };
                    });
                });
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn tasks_cover_the_result_once(m in 0..3000_usize, n in 0..3000_usize, threads in 1..40_usize) {
            let [across, down] = grid(m, n, threads);
            for (len, unit, parts) in [(m, ROWS, down), (n, COLUMNS, across)] {
                let parts: Vec<_> = (0..parts).map(|i| part(len, unit, i, parts)).collect();
                assert_eq!((parts[0].start, parts[parts.len() - 1].end), (0, len));
                assert!(parts.windows(2).all(|two| two[0].end == two[1].start));
            }
        }
    }
}
