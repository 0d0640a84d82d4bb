//! The pixel and the region loss, both over removed patches only.

use candle_core::Tensor;

use super::kernel::Slot::{Input, Output, Scratch};
use super::kernel::{Dispatch, Kernel, Lowering, fields, kernel};
use super::reduce::SumAxis;
use super::{Op, ShapeProblem, Uses, Vjp, arity, ensure, numel, rows_of};
use crate::cpu::math::Real;
use crate::cpu::pool::zeros;
use crate::cpu::rows;
use crate::cpu::slices::{Read, for_rows, indices, new_tensor, per_dtype, sum_blocks};
use crate::error::Result;
use crate::graph::NodeId;

type Shapes<'a> = &'a [&'a [usize]];

/// Rows of one partial sum, whatever the number of threads.
const ROWS_A_BLOCK: usize = 64;

/// Which rows of `[B, k, L]` belong to removed patches.
#[derive(Clone, Copy, Debug)]
struct Removed {
    /// Regions an image; 1 for pixels.
    k: usize,
    l: usize,
    visible: usize,
}

impl Removed {
    fn of(ids: &Tensor, k: usize, visible: usize) -> candle_core::Result<Self> {
        Ok(Self { k, l: ids.dim(1)?, visible })
    }

    fn holds(self, ids: &[u32], row: usize) -> bool {
        ids[row / (self.k * self.l) * self.l + row % self.l] as usize >= self.visible
    }

    /// One over the number of elements that a loss averages: removed patches × k × elements of a patch.
    fn factor(self, images: usize, patch_len: usize) -> f64 {
        1.0 / (images * self.k * (self.l - self.visible) * patch_len) as f64
    }

    /// 1 at removed patches and 0 elsewhere, `[B, 1.., L, 1]` to broadcast against `rank` dimensions.
    fn mask(self, ids: &Tensor, like: &Tensor) -> candle_core::Result<Tensor> {
        let rank = like.rank();
        let (b, l) = ids.dims2()?;
        let keep: Vec<f64> = ids
            .flatten_all()?
            .to_vec1::<u32>()?
            .iter()
            .map(|&r| f64::from(u8::from(r as usize >= self.visible)))
            .collect();
        let mut shape = vec![1; rank];
        (shape[0], shape[rank - 2]) = (b, l);
        Tensor::from_vec(keep, shape, like.device())?.to_dtype(like.dtype())
    }
}

fn check(
    visible: usize, pred: &[usize], target: &[usize], ids: &[usize], rank: usize,
) -> std::result::Result<(), ShapeProblem> {
    ensure(pred.len() == rank && pred == target, || "prediction and target differ".into())?;
    let fits = ids.len() == 2 && ids[0] == pred[0] && ids[1] == pred[rank - 2];
    ensure(fits, || "ids_restore must be [B, L]".into())?;
    ensure(visible < ids[1], || "no patch was removed".into())
}

/// Mean squared error over a patch, averaged over the removed patches of the batch (MAE).
///
/// Inputs `pred [B, L, P]`, `target [B, L, P]`, `ids_restore [B, L]`; result `[1]`.
#[derive(Clone, Debug)]
pub struct MaskedMse {
    /// Patches that were visible.
    pub visible: usize,
}

impl Op for MaskedMse {
    fn name(&self) -> &'static str {
        "masked_mse"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 3)?;
        check(self.visible, inputs[0], inputs[1], inputs[2], 3)?;
        Ok(vec![1])
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let inputs = [cx.inputs[0], cx.inputs[1], cx.inputs[2], cx.grad];
        let op = MaskedMseGrad { visible: self.visible };
        Ok(vec![cx.when(0, |cx| cx.graph.apply(op, &inputs))?, None, None])
    }

    fn vjp_uses(&self) -> Uses {
        Uses { inputs: &[0, 1], output: false }
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let removed = Removed::of(&inputs[2], 1, self.visible)?;
        let (b, _, p) = inputs[0].dims3()?;
        let squares = (&inputs[0] - &inputs[1])?.sqr()?;
        let sum = squares.broadcast_mul(&removed.mask(&inputs[2], &squares)?)?.sum_all()?;
        sum.affine(removed.factor(b, p), 0.0)?.reshape(1)
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (pred, target) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let (ids, removed) = (indices(&inputs[2])?, Removed::of(&inputs[2], 1, self.visible)?);
            let (b, l, p) = inputs[0].dims3()?;
            let sum = sum_blocks(b * l, ROWS_A_BLOCK, |first, count| {
                (first..first + count)
                    .filter(|&r| removed.holds(&ids, r))
                    .map(|r| squared_distance(&pred[r * p..(r + 1) * p], &target[r * p..(r + 1) * p]))
                    .sum()
            });
            new_tensor(vec![T::from_real(sum * removed.factor(b, p))], vec![1])
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (rows, cols) = rows_of(&io.inputs[0]);
        let [images, l] = [io.inputs[2][0], io.inputs[2][1]];
        let scale = Removed { k: 1, l, visible: self.visible }.factor(images, cols);
        let bindings = [Input(0), Input(1), Input(2), Scratch(0, rows)];
        let mut all = vec![Dispatch::new(&MASKED_MSE, fields![rows, cols, self.visible], &bindings, rows)];
        all.extend(total(rows, scale));
        all
    }

    fn flops(&self, inputs: Shapes, _: &[usize]) -> u64 {
        3 * numel(inputs[0]) as u64
    }

    fn index_inputs(&self) -> &'static [usize] {
        &[2]
    }
}

fn squared_distance<T: Real>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a.to_real() - b.to_real()).powi(2)).sum()
}

/// The gradient of [`MaskedMse`] with respect to the prediction; inputs `pred`, `target`,
/// `ids_restore`, `dloss [1]`.
#[derive(Clone, Debug)]
pub struct MaskedMseGrad {
    /// Patches that were visible.
    pub visible: usize,
}

impl Op for MaskedMseGrad {
    fn name(&self) -> &'static str {
        "masked_mse_grad"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 4)?;
        check(self.visible, inputs[0], inputs[1], inputs[2], 3)?;
        Ok(inputs[0].to_vec())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, _: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        Ok(vec![None; 4])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let removed = Removed::of(&inputs[2], 1, self.visible)?;
        let (b, _, p) = inputs[0].dims3()?;
        let diff = (&inputs[0] - &inputs[1])?.affine(2.0 * removed.factor(b, p), 0.0)?;
        diff.broadcast_mul(&removed.mask(&inputs[2], &diff)?)?.broadcast_mul(&inputs[3])
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (pred, target) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let (ids, removed) = (indices(&inputs[2])?, Removed::of(&inputs[2], 1, self.visible)?);
            let (b, _, p) = inputs[0].dims3()?;
            let factor = Read::<T>::new(&inputs[3])?[0] * T::from_real(2.0 * removed.factor(b, p));
            let mut d = zeros::<T>(pred.len());
            for_rows(&mut d, p, |r, d| {
                if removed.holds(&ids, r) {
                    for (i, d) in d.iter_mut().enumerate() {
                        *d = factor * (pred[r * p + i] - target[r * p + i]);
                    }
                }
            });
            new_tensor(d, inputs[0].dims().to_vec())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (len, cols) = (numel(&io.output), io.output[2]);
        let [images, l] = [io.inputs[2][0], io.inputs[2][1]];
        let factor = 2.0 * Removed { k: 1, l, visible: self.visible }.factor(images, cols);
        let bindings = [Input(0), Input(1), Input(2), Input(3), Output];
        vec![Dispatch::elements(&MASKED_MSE_GRAD, fields![len, cols, self.visible, factor], &bindings, len)]
    }

    fn flops(&self, _: Shapes, output: &[usize]) -> u64 {
        2 * numel(output) as u64
    }

    fn index_inputs(&self) -> &'static [usize] {
        &[2]
    }
}

/// Binary cross-entropy with logits; mean over a patch, mean over regions, averaged over the removed
/// patches of the batch (R-MAE, section 3.1).
///
/// Inputs `logits [B, k, L, P]`, `target [B, k, L, P]` of 0 and 1, `ids_restore [B, L]`; result `[1]`.
#[derive(Clone, Debug)]
pub struct RegionBce {
    /// Patches that were visible.
    pub visible: usize,
    /// Weight of elements whose target is 0.
    pub background_weight: f64,
}

impl Op for RegionBce {
    fn name(&self) -> &'static str {
        "region_bce"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 3)?;
        check(self.visible, inputs[0], inputs[1], inputs[2], 4)?;
        Ok(vec![1])
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let inputs = [cx.inputs[0], cx.inputs[1], cx.inputs[2], cx.grad];
        let op = RegionBceGrad { visible: self.visible, background_weight: self.background_weight };
        Ok(vec![cx.when(0, |cx| cx.graph.apply(op, &inputs))?, None, None])
    }

    fn vjp_uses(&self) -> Uses {
        Uses { inputs: &[0, 1], output: false }
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (b, k, _, p) = inputs[0].dims4()?;
        let removed = Removed::of(&inputs[2], k, self.visible)?;
        let (x, y) = (&inputs[0], &inputs[1]);
        // max(x, 0) − x·y + ln(1 + e^(−|x|)) never overflows.
        let softplus = (x.abs()?.neg()?.exp()? + 1.0)?.log()?;
        let loss = ((x.relu()? - (x * y)?)? + softplus)?;
        let weight = y.affine(1.0 - self.background_weight, self.background_weight)?;
        let loss = (loss * weight)?.broadcast_mul(&removed.mask(&inputs[2], x)?)?;
        loss.sum_all()?.affine(removed.factor(b, p), 0.0)?.reshape(1)
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (x, y) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let (b, k, l, p) = inputs[0].dims4()?;
            let background = T::from_real(self.background_weight);
            let (ids, removed) = (indices(&inputs[2])?, Removed::of(&inputs[2], k, self.visible)?);
            let sum = sum_blocks(b * k * l, ROWS_A_BLOCK, |first, count| {
                (first..first + count)
                    .filter(|&r| removed.holds(&ids, r))
                    .map(|r| {
                        rows::cross_entropy(&x[r * p..(r + 1) * p], &y[r * p..(r + 1) * p], background).to_real()
                    })
                    .sum()
            });
            new_tensor(vec![T::from_real(sum * removed.factor(b, p))], vec![1])
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (rows, cols) = rows_of(&io.inputs[0]);
        let [images, k, l] = [io.inputs[0][0], io.inputs[0][1], io.inputs[0][2]];
        let scale = Removed { k, l, visible: self.visible }.factor(images, cols);
        let params = fields![rows, cols, k, l, self.visible, self.background_weight];
        let bindings = [Input(0), Input(1), Input(2), Scratch(0, rows)];
        let mut all = vec![Dispatch::new(&REGION_BCE, params, &bindings, rows)];
        all.extend(total(rows, scale));
        all
    }

    fn flops(&self, inputs: Shapes, _: &[usize]) -> u64 {
        12 * numel(inputs[0]) as u64
    }

    fn index_inputs(&self) -> &'static [usize] {
        &[2]
    }
}

/// The gradient of [`RegionBce`] with respect to the logits; inputs `logits`, `target`,
/// `ids_restore`, `dloss [1]`.
#[derive(Clone, Debug)]
pub struct RegionBceGrad {
    /// Patches that were visible.
    pub visible: usize,
    /// Weight of elements whose target is 0.
    pub background_weight: f64,
}

impl Op for RegionBceGrad {
    fn name(&self) -> &'static str {
        "region_bce_grad"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 4)?;
        check(self.visible, inputs[0], inputs[1], inputs[2], 4)?;
        Ok(inputs[0].to_vec())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, _: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        Ok(vec![None; 4])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (b, k, _, p) = inputs[0].dims4()?;
        let removed = Removed::of(&inputs[2], k, self.visible)?;
        let (x, y) = (&inputs[0], &inputs[1]);
        let weight = y.affine(1.0 - self.background_weight, self.background_weight)?;
        let d = ((sigmoid(x)? - y)? * weight)?.affine(removed.factor(b, p), 0.0)?;
        d.broadcast_mul(&removed.mask(&inputs[2], x)?)?.broadcast_mul(&inputs[3])
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (x, y) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let (b, k, _, p) = inputs[0].dims4()?;
            let (ids, removed) = (indices(&inputs[2])?, Removed::of(&inputs[2], k, self.visible)?);
            let inside = Read::<T>::new(&inputs[3])?[0] * T::from_real(removed.factor(b, p));
            let outside = inside * T::from_real(self.background_weight);
            let mut d = zeros::<T>(x.len());
            for_rows(&mut d, p, |r, d| {
                if removed.holds(&ids, r) {
                    let range = r * p..(r + 1) * p;
                    rows::cross_entropy_grad(&x[range.clone()], &y[range], inside, outside, d);
                }
            });
            new_tensor(d, inputs[0].dims().to_vec())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (len, cols) = (numel(&io.output), io.output[3]);
        let [images, k, l] = [io.output[0], io.output[1], io.output[2]];
        let factor = Removed { k, l, visible: self.visible }.factor(images, cols);
        let params = fields![len, cols, k, l, self.visible, self.background_weight, factor];
        let bindings = [Input(0), Input(1), Input(2), Input(3), Output];
        vec![Dispatch::elements(&REGION_BCE_GRAD, params, &bindings, len)]
    }

    fn flops(&self, _: Shapes, output: &[usize]) -> u64 {
        8 * numel(output) as u64
    }

    fn index_inputs(&self) -> &'static [usize] {
        &[2]
    }
}

/// The sum of the losses of all rows, times `scale`, into the output.
fn total(rows: usize, scale: f64) -> Vec<Dispatch> {
    SumAxis { outer: 1, n: rows, inner: 1, scale, shape: vec![1] }.dispatches(Scratch(0, rows), 1)
}

/// The sigmoid, without overflow.
pub(super) fn probability(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

/// Of region maps as patches, `[B, k, L, P]`: the number of regions, and elements of each.
pub(super) fn regions_of(shape: &[usize]) -> (usize, usize) {
    let regions = shape.iter().take(2).product();
    (regions, numel(shape).checked_div(regions).unwrap_or(0))
}

/// Probabilities of logits, as the references of the region losses have them.
pub(super) fn sigmoid(x: &Tensor) -> candle_core::Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}

pub(super) static MASKED_MSE: Kernel = kernel!("masked_mse");
pub(super) static MASKED_MSE_GRAD: Kernel = kernel!("masked_mse_grad");
pub(super) static REGION_BCE: Kernel = kernel!("region_bce");
pub(super) static REGION_BCE_GRAD: Kernel = kernel!("region_bce_grad");
