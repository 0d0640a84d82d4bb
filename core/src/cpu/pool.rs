//! Memory of values that nobody reads any more, kept for the next values.
//!
//! A fresh large allocation costs a page fault for every 4 KiB, which the values of a training step
//! pay over and over; a program therefore keeps what it has freed, up to a limit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor};

use super::math::Real;

/// Shorter vectors are left to the allocator, which has them at hand.
const LEAST: usize = 1 << 12;

/// Freed vectors by length.
#[derive(Debug)]
pub struct Shelf<T> {
    free: BTreeMap<usize, Vec<Vec<T>>>,
    elements: usize,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { free: BTreeMap::new(), elements: 0 }
    }
}

impl<T: Real> Shelf<T> {
    /// A vector of `len` elements with whatever was in it; none where no freed one fits well.
    fn take(&mut self, len: usize) -> Option<Vec<T>> {
        // A much longer one is cut for good, and would be missed when its length is asked for.
        let (&have, _) = self.free.range(len..=len + len / 8).next()?;
        let vectors = self.free.get_mut(&have)?;
        let mut vector = vectors.pop()?;
        if vectors.is_empty() {
            self.free.remove(&have);
        }
        self.elements -= have;
        vector.truncate(len);
        Some(vector)
    }

    /// Keeps a vector, unless that would be more than `limit` elements.
    fn put(&mut self, vector: Vec<T>, limit: usize) {
        let len = vector.len();
        if len >= LEAST && self.elements + len <= limit {
            self.elements += len;
            self.free.entry(len).or_default().push(vector);
        }
    }
}

/// The freed memory of a program.
#[derive(Debug, Default)]
pub struct Pool {
    pub f32: Shelf<f32>,
    pub f64: Shelf<f64>,
    /// Most elements to keep.
    limit: usize,
}

thread_local! {
    /// The pool of the program that runs on this thread.
    static CURRENT: RefCell<Option<Pool>> = const { RefCell::new(None) };
}

impl Pool {
    /// A pool that keeps at most `limit` elements.
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Makes this the pool of the thread while `f` runs.
    pub fn during<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let before = CURRENT.replace(Some(std::mem::take(self)));
        let result = f();
        *self = CURRENT.replace(before).unwrap_or_default();
        result
    }
}

/// A vector of `len` elements whose values are not specified: the caller writes all of them.
pub fn unspecified<T: Real>(len: usize) -> Vec<T> {
    let taken = CURRENT.with_borrow_mut(|pool| T::shelf(pool.as_mut()?).take(len));
    taken.unwrap_or_else(|| vec![T::ZERO; len])
}

/// Most elements that a thread keeps of what it worked in.
const SCRATCH: usize = 1 << 19;

/// Calls `f` with `len` elements to work in, whose values are not specified. The thread keeps them for the
/// next call: blocks of this size go back to the system and come anew each time otherwise, at a page fault
/// for every 4 KiB, on all threads at once.
pub fn with_scratch<T: Real, R>(len: usize, f: impl FnOnce(&mut [T]) -> R) -> R {
    thread_local! {
        static OWN: RefCell<Pool> = RefCell::new(Pool::new(SCRATCH));
    }
    let taken = OWN.with_borrow_mut(|own| T::shelf(own).take(len));
    let mut scratch = taken.unwrap_or_else(|| vec![T::ZERO; len]);
    let result = f(&mut scratch);
    OWN.with_borrow_mut(|own| T::shelf(own).put(scratch, SCRATCH));
    result
}

/// A vector of `len` zeros.
pub fn zeros<T: Real>(len: usize) -> Vec<T> {
    let taken = CURRENT.with_borrow_mut(|pool| T::shelf(pool.as_mut()?).take(len));
    match taken {
        Some(mut vector) => {
            vector.fill(T::ZERO);
            vector
        }
        None => vec![T::ZERO; len],
    }
}

/// Puts the memory of a tensor into the pool. Whoever else holds it finds it empty.
pub fn recycle(tensor: &Tensor) {
    // A tensor that is not on the CPU cannot be here; one that fails is freed as usual.
    let storage = take(tensor);
    CURRENT.with_borrow_mut(|pool| {
        let Some(pool) = pool else { return };
        let limit = pool.limit;
        match storage {
            Ok(CpuStorage::F32(vector)) => pool.f32.put(vector, limit),
            Ok(CpuStorage::F64(vector)) => pool.f64.put(vector, limit),
            _ => {}
        }
    });
}

/// The memory of a tensor. Whoever else holds it finds it empty.
///
/// # Errors
/// When the tensor is not on the CPU.
pub fn take(tensor: &Tensor) -> candle_core::Result<CpuStorage> {
    let taken = Take(Mutex::new(None));
    tensor.inplace_op1(&taken)?;
    let storage = taken.0.into_inner().unwrap_or_default();
    storage.ok_or_else(|| candle_core::Error::Msg("the tensor has no memory".into()).bt())
}

/// Takes the storage out of a tensor.
struct Take(Mutex<Option<CpuStorage>>);

impl InplaceOp1 for Take {
    fn name(&self) -> &'static str {
        "recycle"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        if let Ok(mut place) = self.0.lock() {
            *place = Some(std::mem::replace(storage, CpuStorage::F32(vec![])));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_up_to_the_limit() -> candle_core::Result<()> {
        let mut pool = Pool::new(3 * LEAST);
        let address = |v: &[f32]| v.as_ptr() as usize;
        pool.during(|| {
            let first = unspecified::<f32>(2 * LEAST);
            let place = address(&first);
            recycle(&Tensor::from_vec(first, 2 * LEAST, &candle_core::Device::Cpu)?);
            recycle(&Tensor::from_vec(vec![7f32; 2 * LEAST], 2 * LEAST, &candle_core::Device::Cpu)?);
            let second = zeros::<f32>(2 * LEAST - 100);
            assert_eq!(address(&second), place);
            assert!(second.len() == 2 * LEAST - 100 && second.iter().all(|&x| x == 0.0));
            assert!(unspecified::<f32>(2 * LEAST).iter().all(|&x| x == 0.0), "the limit was passed");
            candle_core::Result::Ok(())
        })?;
        Ok(())
    }

    #[test]
    fn without_a_program_vectors_are_new() {
        assert_eq!(unspecified::<f64>(5), vec![0.0; 5]);
    }
}
