//! The soft Dice loss: how little a predicted region and the true one overlap, whatever their size.

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

/// Added to both sides of the fraction, in pixels: an empty region that is predicted empty is right.
const SMOOTH: f64 = 1.0;

fn check(logits: &[usize], target: &[usize]) -> std::result::Result<(), ShapeProblem> {
    ensure(logits.len() == 4 && logits == target, || "logits and target must both be [B, k, L, P]".into())
}

/// Mean over the regions of `1 − (2·Σ p·t + 1) / (Σ p + Σ t + 1)`, where `p` is the sigmoid of the logits
/// (Milletari and others, "V-Net", with the sums of the parts unsquared).
///
/// Inputs `logits [B, k, L, P]` and `target [B, k, L, P]` of 0 and 1; result `[1]`.
#[derive(Clone, Debug)]
pub struct RegionDice;

impl Op for RegionDice {
    fn name(&self) -> &'static str {
        "region_dice"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 2)?;
        check(inputs[0], inputs[1])?;
        Ok(vec![1])
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let inputs = [cx.inputs[0], cx.inputs[1], cx.grad];
        Ok(vec![cx.when(0, |cx| cx.graph.apply(RegionDiceGrad, &inputs))?, None])
    }

    fn vjp_uses(&self) -> Uses {
        Uses { inputs: &[0, 1], output: false }
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (p, t) = (sigmoid(&inputs[0])?, &inputs[1]);
        let sum = |x: &Tensor| x.flatten_from(2)?.sum(2);
        let both = sum(&(&p * t)?)?.affine(2.0, SMOOTH)?;
        let all = (sum(&p)? + sum(t)?)?.affine(1.0, SMOOTH)?;
        (both / all)?.mean_all()?.affine(-1.0, 1.0)?.reshape(1)
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (x, t) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let (regions, n) = regions_of(inputs[0].dims());
            let sum = sum_blocks(regions, 1, |region, _| {
                let at = region * n..(region + 1) * n;
                let [both, all] = sums(&x[at.clone()], &t[at]);
                1.0 - both / all
            });
            new_tensor(vec![T::from_real(sum / regions as f64)], vec![1])
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (regions, n) = regions_of(&io.inputs[0]);
        let mut all = vec![sums_dispatch(regions, n)];
        let mean = SumAxis { outer: 1, n: regions, inner: 1, scale: 1.0 / regions as f64, shape: vec![1] };
        all.extend(mean.dispatches(facts(regions), 1));
        all
    }

    fn flops(&self, inputs: Shapes, _: &[usize]) -> u64 {
        8 * numel(inputs[0]) as u64
    }
}

/// The gradient of [`RegionDice`] with respect to the logits; inputs `logits`, `target`, `dloss [1]`.
#[derive(Clone, Debug)]
pub struct RegionDiceGrad;

impl Op for RegionDiceGrad {
    fn name(&self) -> &'static str {
        "region_dice_grad"
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
        let (b, k, ..) = inputs[0].dims4()?;
        let (p, t) = (sigmoid(&inputs[0])?, &inputs[1]);
        let sum = |x: &Tensor| x.flatten_from(2)?.sum_keepdim(2)?.reshape((b, k, 1, 1));
        let both = sum(&(&p * t)?)?.affine(2.0, SMOOTH)?;
        let all = (sum(&p)? + sum(t)?)?.affine(1.0, SMOOTH)?;
        // d(−both / all) = (both / all − 2t) / all, and dp/dx = p (1 − p).
        let slope = t.affine(-2.0, 0.0)?.broadcast_add(&(both / &all)?)?.broadcast_div(&all)?;
        let d = (slope * (&p * p.affine(-1.0, 1.0)?)?)?;
        d.affine(1.0 / (b * k) as f64, 0.0)?.broadcast_mul(&inputs[2])
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (x, t) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let (regions, n) = regions_of(inputs[0].dims());
            let factor = Read::<T>::new(&inputs[2])?[0].to_real() / regions as f64;
            let mut d = zeros::<T>(x.len());
            for_rows(&mut d, n, |region, d| {
                let at = region * n..(region + 1) * n;
                let (x, t) = (&x[at.clone()], &t[at]);
                let [both, all] = sums(x, t);
                for ((d, x), t) in d.iter_mut().zip(x).zip(t) {
                    let p = probability(x.to_real());
                    *d = T::from_real(factor * (both / all - 2.0 * t.to_real()) / all * p * (1.0 - p));
                }
            });
            new_tensor(d, inputs[0].dims().to_vec())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (regions, n) = regions_of(&io.output);
        let len = numel(&io.output);
        let params = fields![len, n, 1.0 / regions as f64];
        let bindings = [Input(0), Input(1), Input(2), facts(regions), Output];
        vec![sums_dispatch(regions, n), Dispatch::elements(&REGION_DICE_GRAD, params, &bindings, len)]
    }

    fn flops(&self, _: Shapes, output: &[usize]) -> u64 {
        16 * numel(output) as u64
    }
}

/// The scratch of what is known of every region: `[regions]` losses, then `[regions, 2]` both sides of
/// the fraction.
fn facts(regions: usize) -> Slot {
    Scratch(0, 3 * regions)
}

fn sums_dispatch(regions: usize, n: usize) -> Dispatch {
    let bindings = [Input(0), Input(1), facts(regions)];
    Dispatch::new(&REGION_DICE, fields![regions, n, SMOOTH], &bindings, regions)
}

/// `2·Σ p·t + 1` and `Σ p + Σ t + 1` of one region.
fn sums<T: Real>(x: &[T], t: &[T]) -> [f64; 2] {
    let start = [SMOOTH, SMOOTH];
    x.iter().zip(t).fold(start, |[both, all], (x, t)| {
        let (p, t) = (probability(x.to_real()), t.to_real());
        [both + 2.0 * p * t, all + p + t]
    })
}

pub(super) static REGION_DICE: Kernel = kernel!("region_dice");
pub(super) static REGION_DICE_GRAD: Kernel = kernel!("region_dice_grad");
