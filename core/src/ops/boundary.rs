//! The boundary loss: what is predicted wrong, weighed by how far it lies from the true border.

use candle_core::Tensor;

use super::kernel::Slot::{Input, Output, Scratch};
use super::kernel::{Dispatch, Kernel, Lowering, Slot, fields, kernel};
use super::losses::{probability, regions_of, sigmoid};
use super::reduce::SumAxis;
use super::{Op, ShapeProblem, Uses, Vjp, arity, ensure, numel};
use crate::cpu::math::Real;
use crate::cpu::pool::zeros;
use crate::cpu::slices::{Read, for_rows, new_tensor, per_dtype, sum_blocks};
use crate::error::Result;
use crate::graph::NodeId;

type Shapes<'a> = &'a [&'a [usize]];

fn check(logits: &[usize], distance: &[usize]) -> std::result::Result<(), ShapeProblem> {
    ensure(logits.len() == 4 && logits == distance, || "logits and distance must both be [B, k, L, P]".into())
}

/// Mean of `|φ|·|p − t|`, where `p` is the sigmoid of the logits, `φ` the signed distance to the border of
/// the true region, negative inside, and `t` whether a pixel is inside (Kervadec and others, "Boundary loss
/// for highly unbalanced segmentation", less its least value, so that it is 0 where all is right).
///
/// Inputs `logits [B, k, L, P]` and `distance [B, k, L, P]`; result `[1]`.
#[derive(Clone, Debug)]
pub struct RegionBoundary;

impl Op for RegionBoundary {
    fn name(&self) -> &'static str {
        "region_boundary"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 2)?;
        check(inputs[0], inputs[1])?;
        Ok(vec![1])
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let inputs = [cx.inputs[0], cx.inputs[1], cx.grad];
        Ok(vec![cx.when(0, |cx| cx.graph.apply(RegionBoundaryGrad, &inputs))?, None])
    }

    fn vjp_uses(&self) -> Uses {
        Uses { inputs: &[0, 1], output: false }
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (p, distance) = (sigmoid(&inputs[0])?, &inputs[1]);
        // φ·(p − t), as t is 1 where φ is negative.
        ((p * distance)? + distance.neg()?.relu()?)?.mean_all()?.reshape(1)
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (x, distance) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let (regions, n) = regions_of(inputs[0].dims());
            let sum = sum_blocks(regions, 1, |region, _| {
                let at = region * n..(region + 1) * n;
                x[at.clone()].iter().zip(&distance[at]).map(|(x, d)| wrong(x.to_real(), d.to_real())).sum()
            });
            new_tensor(vec![T::from_real(sum / x.len().max(1) as f64)], vec![1])
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (regions, n) = regions_of(&io.inputs[0]);
        let bindings = [Input(0), Input(1), sums(regions)];
        let mut all = vec![Dispatch::new(&REGION_BOUNDARY, fields![regions, n], &bindings, regions)];
        let scale = 1.0 / (regions * n).max(1) as f64;
        let mean = SumAxis { outer: 1, n: regions, inner: 1, scale, shape: vec![1] };
        all.extend(mean.dispatches(sums(regions), 1));
        all
    }

    fn flops(&self, inputs: Shapes, _: &[usize]) -> u64 {
        8 * numel(inputs[0]) as u64
    }
}

/// The gradient of [`RegionBoundary`] with respect to the logits; inputs `logits`, `distance`, `dloss [1]`.
#[derive(Clone, Debug)]
pub struct RegionBoundaryGrad;

impl Op for RegionBoundaryGrad {
    fn name(&self) -> &'static str {
        "region_boundary_grad"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 3)?;
        check(inputs[0], inputs[1])?;
        Ok(inputs[0].to_vec())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, _: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        Ok(vec![None; 3])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let p = sigmoid(&inputs[0])?;
        let slope = (&p * p.affine(-1.0, 1.0)?)?;
        let d = (slope * &inputs[1])?.affine(1.0 / inputs[0].elem_count().max(1) as f64, 0.0)?;
        d.broadcast_mul(&inputs[2])
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (x, distance) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let n = regions_of(inputs[0].dims()).1;
            let factor = Read::<T>::new(&inputs[2])?[0].to_real() / x.len().max(1) as f64;
            let mut out = zeros::<T>(x.len());
            for_rows(&mut out, n, |region, out| {
                let at = region * n..(region + 1) * n;
                for ((out, x), distance) in out.iter_mut().zip(&x[at.clone()]).zip(&distance[at]) {
                    let x = x.to_real();
                    *out = T::from_real(factor * distance.to_real() * probability(x) * probability(-x));
                }
            });
            new_tensor(out, inputs[0].dims().to_vec())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let len = numel(&io.output);
        let params = fields![len, 1.0 / len.max(1) as f64];
        let bindings = [Input(0), Input(1), Input(2), Output];
        vec![Dispatch::elements(&REGION_BOUNDARY_GRAD, params, &bindings, len)]
    }

    fn flops(&self, _: Shapes, output: &[usize]) -> u64 {
        8 * numel(output) as u64
    }
}

/// `|φ|` times the share of a pixel that is predicted wrong. Inside, that share is the sigmoid of `−x`,
/// which keeps its digits where the sigmoid of `x` rounds to 1.
fn wrong(x: f64, distance: f64) -> f64 {
    if distance < 0.0 { -distance * probability(-x) } else { distance * probability(x) }
}

/// The scratch of the sum over each region.
fn sums(regions: usize) -> Slot {
    Scratch(0, regions)
}

pub(super) static REGION_BOUNDARY: Kernel = kernel!("region_boundary");
pub(super) static REGION_BOUNDARY_GRAD: Kernel = kernel!("region_boundary_grad");
