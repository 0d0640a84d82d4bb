//! Matrix products on slices: through the `gemm` crate, in WebAssembly through [`super::matmul`].

use gemm::Parallelism;

use super::math::Real;

/// A matrix inside a slice, by its strides.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a, T> {
    pub(super) data: &'a [T],
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// Row-major: rows lie `stride` elements apart.
    pub fn rows(data: &'a [T], stride: usize) -> Self {
        Self { data, row_stride: stride, col_stride: 1 }
    }

    /// Column-major: columns lie `stride` elements apart (a transposed row-major matrix).
    pub fn cols(data: &'a [T], stride: usize) -> Self {
        Self { data, row_stride: 1, col_stride: stride }
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
    if unsafe { T::own_product(job, c, c_stride, a, b) } {
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
