//! Layer normalisation over the last dimension.

use candle_core::Tensor;
use rayon::prelude::*;

use super::kernel::Slot::{Input, Output, Scratch};
use super::kernel::{COLUMNS_A_GROUP, Dispatch, Kernel, Lowering, Scalar, Slot, fields, kernel};
use super::reduce::{ROWS_A_CHUNK, SumAxis};
use super::{Op, ShapeProblem, Uses, Vjp, arity, ensure, numel, rows_of};
use crate::cpu::math::Real;
use crate::cpu::pool::unspecified;
use crate::cpu::rows;
use crate::cpu::slices::{Read, for_row_blocks, new_tensor, per_dtype};
use crate::error::Result;
use crate::graph::NodeId;

type Shapes<'a> = &'a [&'a [usize]];

/// `y = (x − mean)/√(var + eps)·γ + β` over the last dimension; biased variance. Inputs `x`, `γ`, `β`.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: f64,
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 3)?;
        let (_, width) = rows_of(inputs[0]);
        let fits = numel(inputs[1]) == width && numel(inputs[2]) == width;
        ensure(fits, || format!("gamma and beta must have {width} elements"))?;
        Ok(inputs[0].to_vec())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let (x, gamma, dy, eps) = (cx.inputs[0], cx.inputs[1], cx.grad, self.eps);
        let (rows, width) = rows_of(cx.graph.shape(x));
        let dx = cx.when(0, |cx| cx.graph.apply(LayerNormGradInput { eps }, &[x, gamma, dy]))?;
        let dgamma = cx.when(1, |cx| {
            let shape = cx.shape(1);
            cx.graph.apply(LayerNormGradGamma { eps, shape }, &[x, dy])
        })?;
        let dbeta = cx.when(2, |cx| {
            let shape = cx.shape(2);
            cx.graph.apply(SumAxis { outer: 1, n: rows, inner: width, scale: 1.0, shape }, &[dy])
        })?;
        Ok(vec![dx, dgamma, dbeta])
    }

    fn vjp_uses(&self) -> Uses {
        Uses { inputs: &[0, 1], output: false }
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let normal = normalise(&inputs[0], self.eps)?;
        normal.broadcast_mul(&inputs[1].flatten_all()?)?.broadcast_add(&inputs[2].flatten_all()?)
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (x, gamma) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let beta = Read::<T>::new(&inputs[2])?;
            let width = gamma.len();
            let mut y = unspecified::<T>(x.len());
            for_row_blocks(&mut y, width, |first, y| {
                rows::layer_norm(&x[first * width..][..y.len()], &gamma, &beta, self.eps, y);
            });
            new_tensor(y, inputs[0].dims().to_vec())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (rows, cols) = rows_of(&io.output);
        let bindings = [Input(0), Input(1), Input(2), Output];
        vec![by_rows(io, [&LAYER_NORM, &LAYER_NORM_DIRECT], fields![rows, cols, self.eps], &bindings)]
    }

    fn flops(&self, _: Shapes, output: &[usize]) -> u64 {
        8 * numel(output) as u64
    }
}

/// `(x − mean)/√(var + eps)` in candle's differentiable ops.
fn normalise(x: &Tensor, eps: f64) -> candle_core::Result<Tensor> {
    let last = x.rank() - 1;
    let centred = x.broadcast_sub(&x.mean_keepdim(last)?)?;
    let std = (centred.sqr()?.mean_keepdim(last)? + eps)?.sqrt()?;
    centred.broadcast_div(&std)
}

/// The gradient of [`LayerNorm`] with respect to `x`; inputs `x`, `γ`, `dy`.
#[derive(Clone, Debug)]
pub struct LayerNormGradInput {
    /// Added to the variance.
    pub eps: f64,
}

impl Op for LayerNormGradInput {
    fn name(&self) -> &'static str {
        "layer_norm_grad_input"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 3)?;
        let (_, width) = rows_of(inputs[0]);
        let fits = numel(inputs[1]) == width && numel(inputs[2]) == numel(inputs[0]);
        ensure(fits, || "x, gamma and dy disagree".into())?;
        Ok(inputs[0].to_vec())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, _: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        Ok(vec![None, None, None])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let x = &inputs[0];
        let last = x.rank() - 1;
        let centred = x.broadcast_sub(&x.mean_keepdim(last)?)?;
        let std = (centred.sqr()?.mean_keepdim(last)? + self.eps)?.sqrt()?;
        let normal = centred.broadcast_div(&std)?;
        let g = inputs[2].reshape(x.dims())?.broadcast_mul(&inputs[1].flatten_all()?)?;
        let along = normal.broadcast_mul(&(&g * &normal)?.mean_keepdim(last)?)?;
        (g.broadcast_sub(&g.mean_keepdim(last)?)? - along)?.broadcast_div(&std)
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (x, gamma) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let dy = Read::<T>::new(&inputs[2])?;
            let width = gamma.len();
            let mut dx = unspecified::<T>(x.len());
            for_row_blocks(&mut dx, width, |first, dx| {
                let range = first * width..first * width + dx.len();
                rows::layer_norm_grad(&x[range.clone()], &gamma, &dy[range], self.eps, dx);
            });
            new_tensor(dx, inputs[0].dims().to_vec())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (rows, cols) = rows_of(&io.output);
        let bindings = [Input(0), Input(1), Input(2), Output];
        let kernels = [&LAYER_NORM_GRAD_INPUT, &LAYER_NORM_GRAD_INPUT_DIRECT];
        vec![by_rows(io, kernels, fields![rows, cols, self.eps], &bindings)]
    }

    fn flops(&self, _: Shapes, output: &[usize]) -> u64 {
        16 * numel(output) as u64
    }
}

/// The gradient of [`LayerNorm`] with respect to `γ`, `Σ dy·x̂` over rows; inputs `x`, `dy`.
#[derive(Clone, Debug)]
pub struct LayerNormGradGamma {
    /// Added to the variance.
    pub eps: f64,
    /// Shape of `γ`.
    pub shape: Vec<usize>,
}

/// Rows of one partial sum, whatever the number of threads.
const ROWS_A_BLOCK: usize = 256;

impl Op for LayerNormGradGamma {
    fn name(&self) -> &'static str {
        "layer_norm_grad_gamma"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 2)?;
        let (_, width) = rows_of(inputs[0]);
        let fits = numel(&self.shape) == width && numel(inputs[0]) == numel(inputs[1]);
        ensure(fits, || "x, dy and gamma disagree".into())?;
        Ok(self.shape.clone())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, _: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        Ok(vec![None, None])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (rows, width) = rows_of(inputs[0].dims());
        let normal = normalise(&inputs[0].reshape((rows, width))?, self.eps)?;
        (inputs[1].reshape((rows, width))? * normal)?.sum(0)?.reshape(self.shape.clone())
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (x, dy) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let width = numel(&self.shape);
            let block = ROWS_A_BLOCK * width;
            let parts: Vec<Vec<T>> = x
                .par_chunks(block)
                .zip(dy.par_chunks(block))
                .map(|(x, dy)| gamma_block(x, dy, width, self.eps))
                .collect();
            let mut total = vec![T::ZERO; width];
            for part in &parts {
                rows::add_assign(&mut total, part);
            }
            new_tensor(total, self.shape.clone())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (rows, cols) = rows_of(&io.inputs[0]);
        let chunks = rows.div_ceil(ROWS_A_CHUNK);
        let stats = Scratch(0, 2 * rows);
        let sums = if chunks == 1 { Output } else { Scratch(1, chunks * cols) };
        let groups = (chunks * cols).div_ceil(COLUMNS_A_GROUP);
        let params = fields![rows, cols, ROWS_A_CHUNK, chunks];
        let kernels = [&LAYER_NORM_STATS, &LAYER_NORM_STATS_DIRECT];
        let mut all = vec![
            by_rows(io, kernels, fields![rows, cols, self.eps], &[Input(0), stats]),
            Dispatch::new(&LAYER_NORM_GRAD_GAMMA, params, &[Input(0), Input(1), stats, sums], groups),
        ];
        if chunks > 1 {
            let total = SumAxis { outer: 1, n: chunks, inner: cols, scale: 1.0, shape: self.shape.clone() };
            all.extend(total.dispatches(sums, 2));
        }
        all
    }

    fn flops(&self, inputs: Shapes, _: &[usize]) -> u64 {
        8 * numel(inputs[0]) as u64
    }
}

fn gamma_block<T: Real>(x: &[T], dy: &[T], width: usize, eps: f64) -> Vec<T> {
    let mut sum = vec![T::ZERO; width];
    rows::layer_norm_grad_gamma(x, dy, eps, &mut sum);
    sum
}

/// One of two kernels over rows of the first input: that with a workgroup a row, or, on
/// the processor, that with a thread a row.
fn by_rows(
    io: &Lowering, [kernel, direct]: [&'static Kernel; 2], params: Vec<Scalar>, bindings: &[Slot],
) -> Dispatch {
    let (rows, _) = rows_of(&io.inputs[0]);
    if io.machine.is_processor() {
        Dispatch::new(direct, params, bindings, rows.div_ceil(DIRECT_ROWS_A_GROUP))
    } else {
        Dispatch::new(kernel, params, bindings, rows)
    }
}

/// Rows of a workgroup of the kernels with a thread a row.
const DIRECT_ROWS_A_GROUP: usize = 16;

pub(super) static LAYER_NORM: Kernel = kernel!("layer_norm");
pub(super) static LAYER_NORM_DIRECT: Kernel = kernel!("layer_norm_direct" after "layer_norm_row");
pub(super) static LAYER_NORM_GRAD_INPUT: Kernel = kernel!("layer_norm_grad_input");
pub(super) static LAYER_NORM_GRAD_INPUT_DIRECT: Kernel =
    kernel!("layer_norm_grad_input_direct" after "layer_norm_row");
pub(super) static LAYER_NORM_STATS: Kernel = kernel!("layer_norm_stats");
pub(super) static LAYER_NORM_STATS_DIRECT: Kernel = kernel!("layer_norm_stats_direct" after "layer_norm_row");
pub(super) static LAYER_NORM_GRAD_GAMMA: Kernel = kernel!("layer_norm_grad_gamma");
