//! Matrix products on slices: in WebAssembly and where there is AVX-512 or AVX2 by kernels of our own
//! ([`super::matmul`], `super::x86`), elsewhere through the `gemm` crate.

use gemm::Parallelism;

use super::math::Real;
use super::slices::for_blocks;

/// A matrix inside a slice, by its strides.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a, T> {
    pub(super) data: &'a [T],
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
    /// The same elements as [`Real::pack`] lays them out, where somebody keeps them.
    pub(super) packed: Option<&'a [T]>,
}

impl<'a, T> Mat<'a, T> {
    /// Row-major: rows lie `stride` elements apart.
    pub fn rows(data: &'a [T], stride: usize) -> Self {
        Self { data, row_stride: stride, col_stride: 1, packed: None }
    }

    /// Column-major: columns lie `stride` elements apart (a transposed row-major matrix).
    pub fn cols(data: &'a [T], stride: usize) -> Self {
        Self { data, row_stride: 1, col_stride: stride, packed: None }
    }

    /// The same matrix, of which [`Real::pack`] made `packed`.
    pub fn with_packed(self, packed: Option<&'a [T]>) -> Self {
        Self { packed, ..self }
    }

    /// Whether an `m × n` matrix fits into the slice.
    fn holds(&self, m: usize, n: usize) -> bool {
        m == 0 || n == 0 || (m - 1) * self.row_stride + (n - 1) * self.col_stride < self.data.len()
    }
}

/// `C[m,n] = scale·A[m,k]·B[k,n]`, added to what `C` holds where `accumulate` is set.
#[derive(Clone, Copy, Debug)]
pub struct Job<T> {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// Whether the result is added to.
    pub accumulate: bool,
    /// Factor on the product.
    pub scale: T,
    /// Whether to use all threads of the current pool.
    pub parallel: bool,
}

/// Runs a product into a dense row-major `c`.
pub fn run<T: Real>(job: &Job<T>, c: &mut [T], a: Mat<T>, b: Mat<T>) {
    run_strided(job, c, job.n, a, b);
}

/// Runs a product, plus `bias` in each row, into a dense row-major `c`.
///
/// # Panics
/// When a matrix or the bias does not fit into its slice: a defect of the caller, never of data.
pub fn run_with_bias<T: Real>(job: &Job<T>, c: &mut [T], a: Mat<T>, b: Mat<T>, bias: &[T]) {
    assert!(c.len() == job.m * job.n && bias.len() == job.n, "the result or the bias has another size");
    assert!(a.holds(job.m, job.k) && b.holds(job.k, job.n), "a factor is smaller than the product needs");
    let job = Job { accumulate: false, ..*job };
    // SAFETY: checked above; `c` is borrowed exclusively.
    if job.m * job.n == 0 || unsafe { T::own_product(&job, c.as_mut_ptr(), job.n, [a, b], Some(bias)) } {
        return;
    }
    // The product adds to what it finds: block by block, while the block is in the cache.
    let block = block_rows(job.m, job.n);
    let parallel = job.parallel && block == job.m;
    for_blocks(c, job.n, block, |first, c| {
        c.chunks_exact_mut(job.n).for_each(|row| row.copy_from_slice(bias));
        let a = Mat { data: &a.data[first * a.row_stride..], ..a };
        run(&Job { m: c.len() / job.n, accumulate: true, parallel, ..job }, c, a, b);
    });
}

/// Elements of a result that stay in a core's cache from the moment that the bias is written to them.
const BLOCK: usize = 1 << 17;
/// Rows of a block at least: the weights are packed anew for each.
const BLOCK_ROWS: usize = 96;

/// Rows that are worked on together; all of them where there are few.
fn block_rows(rows: usize, out: usize) -> usize {
    let block = (BLOCK / out.max(1)).max(BLOCK_ROWS);
    if rows < 4 * block { rows } else { block }
}

/// Runs a product into rows that lie `c_stride` elements apart.
///
/// # Panics
/// When a matrix does not fit into its slice: a defect of the caller, never of data.
pub fn run_strided<T: Real>(job: &Job<T>, c: &mut [T], c_stride: usize, a: Mat<T>, b: Mat<T>) {
    assert!(Mat::rows(&*c, c_stride).holds(job.m, job.n), "the result is smaller than the product");
    // SAFETY: the assertions above keep every access inside the slices; `c` is borrowed exclusively.
    unsafe { run_raw(job, c.as_mut_ptr(), c_stride, a, b) }
}

/// [`run_strided`] into memory that others may hold pointers into.
///
/// # Safety
/// `c` must be valid for writes of `job.m` rows of `job.n` elements, `c_stride` apart, that nobody
/// else reads or writes meanwhile.
///
/// # Panics
/// When a factor does not fit into its slice.
pub unsafe fn run_raw<T: Real>(job: &Job<T>, c: *mut T, c_stride: usize, a: Mat<T>, b: Mat<T>) {
    assert!(a.holds(job.m, job.k) && b.holds(job.k, job.n), "a factor is smaller than the product needs");
    // SAFETY: the factors were checked above; the caller vouches for `c`.
    if unsafe { T::own_product(job, c, c_stride, [a, b], None) } {
        return;
    }
    // Below this many multiply-adds, waking the other threads costs more than it saves.
    let parallel = job.parallel && job.m * job.n * job.k > 1 << 18;
    let parallelism = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
    // SAFETY: the factors were checked above; the caller vouches for `c`.
    unsafe {
        gemm::gemm(
            job.m,
            job.n,
            job.k,
            c,
            1,
            c_stride as isize,
            job.accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            T::from_real(1.0),
            job.scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The product by its definition, in f64.
    fn plain(job: &Job<f32>, c: &[f32], a: Mat<f32>, b: Mat<f32>, bias: Option<&[f32]>) -> Vec<f64> {
        let term = |i: usize, j: usize, p: usize| {
            f64::from(a.data[i * a.row_stride + p * a.col_stride])
                * f64::from(b.data[p * b.row_stride + j * b.col_stride])
        };
        (0..job.m * job.n)
            .map(|at| {
                let sum: f64 = (0..job.k).map(|p| term(at / job.n, at % job.n, p)).sum();
                let bias = bias.map_or(0.0, |bias| f64::from(bias[at % job.n]));
                f64::from(job.scale) * sum + if job.accumulate { f64::from(c[at]) } else { bias }
            })
            .collect()
    }

    fn numbers(len: usize, step: usize) -> Vec<f32> {
        (0..len).map(|i| (i * step % 1013) as f32 / 506.0 - 1.0).collect()
    }

    /// What computes a product into rows at a distance.
    type Run<'a> = &'a dyn Fn(&Job<f32>, &mut [f32], usize, [Mat<f32>; 2], Option<&[f32]>);

    /// Compares a way to compute products with the definition: sizes about those of tiles and blocks,
    /// all layouts of the factors, into rows that are further apart than they are long.
    pub(in crate::cpu) fn agrees_with_the_definition(with_bias: bool, run: Run) {
        let small = [(1, 1, 1), (4, 8, 3), (5, 9, 0), (12, 32, 16), (13, 33, 17), (7, 13, 257), (3, 1030, 5)];
        for (m, n, k) in small.into_iter().chain([(66, 31, 600), (500, 70, 30), (25, 48, 513)]) {
            let (a, b, bias) = (numbers(m * k, 7919), numbers(k * n, 104_729), numbers(n, 41));
            for (a, b, accumulate) in [
                (Mat::rows(&a, k), Mat::cols(&b, k), false),
                (Mat::rows(&a, k), Mat::rows(&b, n), true),
                (Mat::cols(&a, m), Mat::rows(&b, n), false),
                (Mat::cols(&a, m), Mat::cols(&b, k), true),
            ] {
                let job = Job { m, n, k, accumulate, scale: 0.5, parallel: n % 2 == 0 };
                let bias = (with_bias && !accumulate).then_some(&bias[..]);
                let stride = n + 3;
                let before = numbers(m * stride, 31);
                let inside: Vec<f32> = before.chunks(stride).flat_map(|row| row[..n].to_vec()).collect();
                let mut c = before.clone();
                run(&job, &mut c, stride, [a, b], bias);
                let want = plain(&job, &inside, a, b, bias);
                for (at, (have, before)) in c.iter().zip(&before).enumerate() {
                    let [row, column] = [at / stride, at % stride];
                    if column >= n {
                        assert_eq!(have, before, "{m}×{n}×{k}: {row}, {column} is not the result's");
                        continue;
                    }
                    let error = (f64::from(*have) - want[row * n + column]).abs();
                    assert!(
                        error < 2e-5 * (k as f64).sqrt().max(1.0),
                        "{m}×{n}×{k}: {row}, {column}: {error}"
                    );
                }
            }
        }
    }

    #[test]
    fn products_of_every_shape_agree_with_the_definition() {
        agrees_with_the_definition(false, &|job, c, stride, [a, b], _| run_strided(job, c, stride, a, b));
    }

    /// In f64, which has no kernels of our own, the bias and the product go block by block, the last of
    /// which is smaller.
    #[test]
    fn a_bias_is_added_to_every_row() {
        let (m, k, n) = (5 * BLOCK_ROWS + 7, 3, BLOCK / BLOCK_ROWS + 3);
        assert!(block_rows(m, n) < m && !m.is_multiple_of(block_rows(m, n)));
        with_bias::<f32>([m, k, n]);
        with_bias::<f64>([m, k, n]);
        with_bias::<f32>([2, 0, 5]);
        with_bias::<f64>([2, 0, 5]);
    }

    fn with_bias<T: Real + std::fmt::Debug>([m, k, n]: [usize; 3]) {
        let integers = |len: usize, step: usize| -> Vec<T> {
            (0..len).map(|i| T::from_real((i * step % 101) as f64 - 50.0)).collect()
        };
        let (a, b, bias) = (integers(m * k, 37), integers(k * n, 53), integers(n, 1));
        let job = Job { m, n, k, accumulate: false, scale: T::from_real(1.0), parallel: true };
        let mut c = vec![T::from_real(f64::NAN); m * n];
        run_with_bias(&job, &mut c, Mat::rows(&a, k), Mat::cols(&b, k), &bias);
        for (at, &found) in c.iter().enumerate() {
            let (row, column) = (at / n, at % n);
            // Integers: exact in any order.
            let sum: T = (0..k).map(|i| a[row * k + i] * b[column * k + i]).sum();
            assert_eq!(found, sum + bias[column], "{row}, {column}");
        }
    }
}
