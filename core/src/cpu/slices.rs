//! Reading candle tensors as slices, and filling rows on all threads.

use std::marker::PhantomData;
use std::ops::Deref;

use candle_core::{Device, Error, Storage, Tensor};
use parking_lot::RwLockReadGuard;
use rayon::prelude::*;

use super::math::Real;
use super::pool;

/// Runs an expression with `T` bound to the Rust type of a candle real type.
macro_rules! per_dtype {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            #[cfg(feature = "training")]
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            other => Err(candle_core::Error::UnsupportedDTypeForOp(other, "rmae").bt()),
        }
    };
}
pub(crate) use per_dtype;

/// The elements of a contiguous CPU tensor, borrowed.
pub struct Read<'a, T> {
    /// Keeps the elements from being changed.
    _storage: RwLockReadGuard<'a, Storage>,
    data: *const T,
    len: usize,
    element: PhantomData<&'a [T]>,
}

// SAFETY: a `Read` is a shared slice with the guard that keeps it valid, which stays on its thread:
// other threads only ever see `&Read`.
unsafe impl<T: Sync> Sync for Read<'_, T> {}

impl<'a, T: candle_core::WithDType> Read<'a, T> {
    /// Borrows the elements.
    ///
    /// # Errors
    /// When the tensor is of another type, not on the CPU, or not contiguous.
    pub fn new(tensor: &'a Tensor) -> candle_core::Result<Self> {
        if tensor.dtype() != T::DTYPE {
            return Err(Error::UnexpectedDType { msg: "rmae", expected: T::DTYPE, got: tensor.dtype() }.bt());
        }
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Err(Error::RequiresContiguous { op: "rmae" }.bt());
        };
        let Storage::Cpu(cpu) = &*storage else {
            return Err(Error::Msg("rmae: the tensor is not on the CPU".into()).bt());
        };
        let Some(elements) = T::cpu_storage_as_slice(cpu)?.get(start..end) else {
            return Err(Error::Msg("rmae: the memory of the tensor was given away".into()).bt());
        };
        let (data, len) = (elements.as_ptr(), elements.len());
        Ok(Self { _storage: storage, data, len, element: PhantomData })
    }
}

impl<T> Deref for Read<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the slice that `new` borrowed; the guard keeps it in place.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

/// Indices of a tensor.
///
/// # Errors
/// When it does not hold contiguous u32.
pub fn indices(tensor: &Tensor) -> candle_core::Result<Read<'_, u32>> {
    Read::new(tensor)
}

/// The elements of a tensor, without a copy where they fill its memory: whoever else holds it finds
/// it empty.
///
/// # Errors
/// When it is not a contiguous CPU tensor of this type.
pub fn into_vec<T: Real>(tensor: &Tensor) -> candle_core::Result<Vec<T>> {
    let whole = Read::<T>::new(tensor)?.len();
    let storage = pool::take(tensor)?;
    let vector = T::cpu_storage_data(storage)?;
    if vector.len() == whole {
        return Ok(vector);
    }
    Err(Error::Msg("rmae: a part of a tensor has no memory of its own".into()).bt())
}

/// A tensor that takes over a vector.
///
/// # Errors
/// When the number of elements is not that of the shape.
pub fn new_tensor<T: candle_core::WithDType>(data: Vec<T>, shape: Vec<usize>) -> candle_core::Result<Tensor> {
    Tensor::from_vec(data, shape, &Device::Cpu)
}

/// Elements that one task should have at least, so that splitting pays.
const TASK_ELEMENTS: usize = 1 << 14;

/// Calls `f(index, row)` for every row of `out`, on all threads.
pub fn for_rows<T: Real>(out: &mut [T], row_len: usize, f: impl Fn(usize, &mut [T]) + Sync + Send) {
    for_row_blocks(out, row_len, |first, block| {
        for (i, row) in block.chunks_exact_mut(row_len).enumerate() {
            f(first + i, row);
        }
    });
}

/// Calls `f(first_row, rows)` for blocks of whole rows of `out`, on all threads.
pub fn for_row_blocks<T: Real>(out: &mut [T], row_len: usize, f: impl Fn(usize, &mut [T]) + Sync + Send) {
    let alone = out.len() <= TASK_ELEMENTS || rayon::current_num_threads() == 1;
    let elements = if alone { out.len() } else { TASK_ELEMENTS };
    for_blocks(out, row_len, (elements / row_len.max(1)).max(1), f);
}

/// Calls `f(first_row, rows)` for every `rows` rows of `out` and the rest, on all threads.
pub fn for_blocks<T: Real>(
    out: &mut [T], row_len: usize, rows: usize, f: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    if row_len == 0 || out.is_empty() {
        return;
    }
    let block = rows.max(1) * row_len;
    if out.len() <= block {
        f(0, out);
    } else if rayon::current_num_threads() == 1 {
        out.chunks_mut(block).enumerate().for_each(|(task, part)| f(task * rows, part));
    } else {
        out.par_chunks_mut(block).enumerate().for_each(|(task, part)| f(task * rows, part));
    }
}

/// Sums `f(first, count)` over blocks of `rows` rows; the same blocks whatever the number of threads,
/// so that the sum is the same to the last bit.
pub fn sum_blocks(rows: usize, rows_a_block: usize, f: impl Fn(usize, usize) -> f64 + Sync + Send) -> f64 {
    let blocks = rows.div_ceil(rows_a_block.max(1));
    let parts: Vec<f64> = (0..blocks)
        .into_par_iter()
        .map(|b| f(b * rows_a_block, rows_a_block.min(rows - b * rows_a_block)))
        .collect();
    parts.iter().sum()
}
