//! Tensors on the host: what goes into an executor and what comes back.

use crate::error::{Error, Result};

/// Element type of a tensor in a graph. Real numbers are f32 or f64 as the executor chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// A real number.
    Real,
    /// An index, such as a patch id.
    Index,
}

/// The elements of a [`HostTensor`].
#[derive(Clone, Debug, PartialEq)]
pub enum HostData {
    /// 32-bit reals.
    F32(Vec<f32>),
    /// 64-bit reals.
    F64(Vec<f64>),
    /// Indices.
    U32(Vec<u32>),
}

/// A dense row-major tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    shape: Vec<usize>,
    data: HostData,
}

impl HostTensor {
    /// Wraps elements and a shape.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the number of elements is not the product of the shape.
    pub fn new(shape: &[usize], data: HostData) -> Result<Self> {
        let want: usize = shape.iter().product();
        let have = data.len();
        if want != have {
            let problem = format!("shape {shape:?} holds {want} elements, {have} were given");
            return Err(Error::Tensor { name: "(host)".into(), problem });
        }
        Ok(Self { shape: shape.to_vec(), data })
    }

    /// 32-bit reals of a shape; see [`HostTensor::new`].
    ///
    /// # Errors
    /// As [`HostTensor::new`].
    pub fn f32(shape: &[usize], data: Vec<f32>) -> Result<Self> {
        Self::new(shape, HostData::F32(data))
    }

    /// Indices of a shape; see [`HostTensor::new`].
    ///
    /// # Errors
    /// As [`HostTensor::new`].
    pub fn u32(shape: &[usize], data: Vec<u32>) -> Result<Self> {
        Self::new(shape, HostData::U32(data))
    }

    /// A tensor of zeros, 32-bit.
    #[must_use]
    pub fn zeros(shape: &[usize]) -> Self {
        let n = shape.iter().product();
        Self { shape: shape.to_vec(), data: HostData::F32(vec![0.0; n]) }
    }

    /// The shape, outermost dimension first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    #[must_use]
    pub fn data(&self) -> &HostData {
        &self.data
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as f32 (rounded from f64; indices converted).
    #[must_use]
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            HostData::F32(v) => v.clone(),
            HostData::F64(v) => v.iter().map(|&x| x as f32).collect(),
            HostData::U32(v) => v.iter().map(|&x| x as f32).collect(),
        }
    }

    /// The elements as f64.
    #[must_use]
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            HostData::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            HostData::F64(v) => v.clone(),
            HostData::U32(v) => v.iter().map(|&x| f64::from(x)).collect(),
        }
    }

    /// The only element of a scalar, or the first of a larger tensor; NaN when empty.
    #[must_use]
    pub fn scalar(&self) -> f64 {
        match &self.data {
            HostData::F32(v) => v.first().map_or(f64::NAN, |&x| f64::from(x)),
            HostData::F64(v) => v.first().copied().unwrap_or(f64::NAN),
            HostData::U32(v) => v.first().map_or(f64::NAN, |&x| f64::from(x)),
        }
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the number of elements differs.
    pub fn reshaped(self, shape: &[usize]) -> Result<Self> {
        Self::new(shape, self.data)
    }

    /// Relative error `‖a−b‖/‖b‖` against a reference (absolute where the reference is all zero).
    /// NaN anywhere gives NaN or infinity, never a small number.
    #[must_use]
    pub fn relative_error(&self, reference: &Self) -> f64 {
        if self.shape != reference.shape {
            return f64::INFINITY;
        }
        let (a, b) = (self.to_f64(), reference.to_f64());
        let diff: f64 = a.iter().zip(&b).map(|(x, y)| (x - y) * (x - y)).sum();
        let norm: f64 = b.iter().map(|y| y * y).sum();
        if norm == 0.0 { diff.sqrt() } else { (diff / norm).sqrt() }
    }
}

impl HostData {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::U32(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
