//! Element-by-element ops: constants, sums, GELU.

use candle_core::Tensor;

use super::kernel::Slot::{Input, Output};
use super::kernel::{Dispatch, Kernel, Lowering, fields, kernel};
use super::reduce::SumAxis;
use super::{Op, ShapeProblem, Uses, Vjp, arity, ensure, numel};
use crate::cpu::pool::unspecified;
use crate::cpu::rows;
use crate::cpu::slices::{Read, for_row_blocks, new_tensor, per_dtype};
use crate::error::Result;
use crate::graph::NodeId;

type Shapes<'a> = &'a [&'a [usize]];

/// A tensor with the same value everywhere.
#[derive(Clone, Debug)]
pub struct Fill {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its value.
    pub value: f64,
}

impl Op for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 0)?;
        Ok(self.shape.clone())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, _: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        Ok(vec![])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        self.cpu(inputs)
    }

    /// In f64: the executor converts, as there is no input to take the type from.
    fn cpu(&self, _: &[Tensor]) -> candle_core::Result<Tensor> {
        new_tensor(vec![self.value; numel(&self.shape)], self.shape.clone())
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let len = numel(&io.output);
        vec![Dispatch::elements(&FILL, fields![len, self.value], &[Output], len)]
    }
}

/// `a + b`, where `a` is `[outer, n, inner]` and `b` is `[outer, inner]`: `b` is repeated `n` times.
///
/// `outer = 1` adds a table to every image of a batch; `n = 1` adds two tensors of one shape.
#[derive(Clone, Debug)]
pub struct Add {
    /// How often `b` is repeated between its outer and inner parts.
    pub n: usize,
    /// Number of outer parts of `b`.
    pub outer: usize,
}

impl Add {
    /// Adds two tensors of the same number of elements.
    #[must_use]
    pub fn same() -> Self {
        Self { n: 1, outer: 1 }
    }

    /// Adds `b` to each of `n` equal leading parts of `a`.
    #[must_use]
    pub fn leading(n: usize) -> Self {
        Self { n, outer: 1 }
    }
}

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 2)?;
        let (a, b) = (numel(inputs[0]), numel(inputs[1]));
        ensure(self.outer > 0 && b.is_multiple_of(self.outer) && a == b * self.n, || {
            format!("the first has {a} elements, {} times the second has {}", self.n, b * self.n)
        })?;
        Ok(inputs[0].to_vec())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let dy = cx.grad;
        let da = cx.needs[0].then_some(dy);
        let db = cx.when(1, |cx| {
            let shape = cx.shape(1);
            if self.n == 1 && cx.graph.shape(dy) == shape {
                return Ok(dy);
            }
            let inner = numel(&shape) / self.outer;
            cx.graph.apply(SumAxis { outer: self.outer, n: self.n, inner, scale: 1.0, shape }, &[dy])
        })?;
        Ok(vec![da, db])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let inner = inputs[1].elem_count() / self.outer;
        let a = inputs[0].reshape((self.outer, self.n, inner))?;
        let b = inputs[1].reshape((self.outer, 1, inner))?;
        a.broadcast_add(&b)?.reshape(inputs[0].dims())
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (a, b) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let inner = b.len() / self.outer;
            let mut y = unspecified::<T>(a.len());
            // One part: rows of any length will do, to share the work out.
            let width = if self.n == 1 { 1 } else { inner };
            for_row_blocks(&mut y, width, |first, block| {
                let a = &a[first * width..][..block.len()];
                if self.n == 1 {
                    return rows::add(a, &b[first..][..block.len()], block);
                }
                for (i, (row, a)) in block.chunks_exact_mut(inner).zip(a.chunks_exact(inner)).enumerate() {
                    let part = (first + i) / self.n * inner;
                    rows::add(a, &b[part..part + inner], row);
                }
            });
            new_tensor(y, inputs[0].dims().to_vec())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (len, inner) = (numel(&io.output), numel(&io.inputs[1]) / self.outer);
        vec![Dispatch::elements(&ADD, fields![len, self.n, inner], &[Input(0), Input(1), Output], len)]
    }
}

/// `factor · x`.
#[derive(Clone, Debug)]
pub struct Scale {
    /// The factor.
    pub factor: f64,
}

impl Op for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 1)?;
        Ok(inputs[0].to_vec())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let dy = cx.grad;
        Ok(vec![cx.when(0, |cx| cx.graph.apply(self.clone(), &[dy]))?])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        inputs[0].affine(self.factor, 0.0)
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let x = Read::<T>::new(&inputs[0])?;
            let mut y = unspecified::<T>(x.len());
            let factor = <T as crate::cpu::math::Real>::from_real(self.factor);
            for_row_blocks(&mut y, 1, |first, block| rows::scale(&x[first..][..block.len()], factor, block));
            new_tensor(y, inputs[0].dims().to_vec())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let len = numel(&io.output);
        vec![Dispatch::elements(&SCALE, fields![len, self.factor], &[Input(0), Output], len)]
    }
}

/// The exact Gaussian error linear unit, `x·Φ(x)`.
#[derive(Clone, Debug)]
pub struct Gelu;

impl Op for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 1)?;
        Ok(inputs[0].to_vec())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let (x, dy) = (cx.inputs[0], cx.grad);
        Ok(vec![cx.when(0, |cx| cx.graph.apply(GeluGrad, &[x, dy]))?])
    }

    fn vjp_uses(&self) -> Uses {
        Uses { inputs: &[0], output: false }
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let phi = (&inputs[0] * std::f64::consts::FRAC_1_SQRT_2)?.erf()?.affine(0.5, 0.5)?;
        &inputs[0] * phi
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let x = Read::<T>::new(&inputs[0])?;
            let mut y = unspecified::<T>(x.len());
            for_row_blocks(&mut y, 1, |first, block| rows::gelu(&x[first..][..block.len()], block));
            new_tensor(y, inputs[0].dims().to_vec())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let len = numel(&io.output);
        vec![Dispatch::elements(&GELU, fields![len], &[Input(0), Output], len)]
    }

    fn flops(&self, _: Shapes, output: &[usize]) -> u64 {
        12 * numel(output) as u64
    }
}

/// `dy·(Φ(x) + x·φ(x))`, the gradient of [`Gelu`]; inputs `x`, `dy`.
#[derive(Clone, Debug)]
pub struct GeluGrad;

impl Op for GeluGrad {
    fn name(&self) -> &'static str {
        "gelu_grad"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 2)?;
        ensure(numel(inputs[0]) == numel(inputs[1]), || "x and dy differ".into())?;
        Ok(inputs[0].to_vec())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, _: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        Ok(vec![None, None])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let x = &inputs[0];
        let cdf = (x * std::f64::consts::FRAC_1_SQRT_2)?.erf()?.affine(0.5, 0.5)?;
        let pdf = (x.sqr()? * -0.5)?.exp()?.affine(INV_SQRT_2PI, 0.0)?;
        inputs[1].reshape(x.dims())? * (cdf + (x * pdf)?)?
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (x, dy) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let mut dx = unspecified::<T>(x.len());
            for_row_blocks(&mut dx, 1, |first, block| {
                let range = first..first + block.len();
                rows::gelu_grad(&x[range.clone()], &dy[range], block);
            });
            new_tensor(dx, inputs[0].dims().to_vec())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let len = numel(&io.output);
        vec![Dispatch::elements(&GELU_GRAD, fields![len], &[Input(0), Input(1), Output], len)]
    }

    fn flops(&self, _: Shapes, output: &[usize]) -> u64 {
        20 * numel(output) as u64
    }
}

/// `1/√(2π)`.
const INV_SQRT_2PI: f64 = 0.398_942_280_401_432_7;

/// The same elements under another shape; shares storage.
#[derive(Clone, Debug)]
pub struct Reshape {
    /// The new shape.
    pub shape: Vec<usize>,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 1)?;
        let (have, want) = (numel(inputs[0]), numel(&self.shape));
        ensure(have == want, || format!("{have} elements cannot become {:?}", self.shape))?;
        Ok(self.shape.clone())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let dy = cx.grad;
        let shape = cx.shape(0);
        Ok(vec![cx.when(0, |cx| cx.graph.apply(Reshape { shape }, &[dy]))?])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        self.cpu(inputs)
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        inputs[0].reshape(self.shape.clone())
    }

    fn lower(&self, _: &Lowering) -> Vec<Dispatch> {
        vec![]
    }

    fn flops(&self, _: Shapes, _: &[usize]) -> u64 {
        0
    }

    fn is_view(&self) -> bool {
        true
    }
}

pub(super) static FILL: Kernel = kernel!("fill");
pub(super) static ADD: Kernel = kernel!("add");
pub(crate) static SCALE: Kernel = kernel!("scale");
pub(super) static GELU: Kernel = kernel!("gelu" after "erf");
pub(super) static GELU_GRAD: Kernel = kernel!("gelu_grad" after "erf");
