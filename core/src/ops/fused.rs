//! Linear layers with what comes after them, for GPUs: the product's kernel does it before it stores.
//!
//! The model's code never builds them; where a graph is compiled for a GPU they take the place of a layer
//! and the op after it, once the gradient is there.

use candle_core::Tensor;

use super::elementwise::{Add, Gelu};
use super::kernel::Slot::Input;
use super::kernel::{Dispatch, Lowering};
use super::linear::{Epilogue, Linear, Then, dispatches};
use super::variant::Product;
use super::{Op, ShapeProblem, Uses, ensure, numel};
#[cfg(feature = "training")]
use super::{Vjp, elementwise::GeluGrad};
#[cfg(feature = "training")]
use crate::{error::Result, graph::NodeId};

type Shapes<'a> = &'a [&'a [usize]];

/// Inputs of the layer: `x`, `W`, `b`.
const LAYER: usize = 3;

/// `GELU(x·Wᵀ + b)`.
#[derive(Clone, Debug)]
pub struct LinearGelu;

/// `x·Wᵀ + b + r`; the residual `r` is the last input.
#[derive(Clone, Debug)]
pub struct LinearAdd;

impl Op for LinearGelu {
    fn name(&self) -> &'static str {
        "linear_gelu"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        ensure(inputs.len() == LAYER, || "takes x, W and b".into())?;
        Linear.infer(inputs)
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let output = cx.graph.apply(Linear, cx.inputs)?;
        let grad = cx.graph.apply(GeluGrad, &[output, cx.grad])?;
        Linear.vjp(&mut Vjp { graph: cx.graph, inputs: cx.inputs, output, grad, needs: cx.needs })
    }

    fn vjp_uses(&self) -> Uses {
        Uses { inputs: &[0, 1, 2], output: false }
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        Gelu.reference(&[Linear.reference(inputs)?])
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        Gelu.cpu(&[Linear.cpu(inputs)?])
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        dispatches(self, io, Epilogue { bias: Some(Input(2)), then: Then::Gelu })
    }

    fn product(&self, inputs: Shapes, output: &[usize]) -> Option<Product> {
        Linear.product(inputs, output)
    }

    fn flops(&self, inputs: Shapes, output: &[usize]) -> u64 {
        Linear.flops(inputs, output) + Gelu.flops(inputs, output)
    }
}

impl Op for LinearAdd {
    fn name(&self) -> &'static str {
        "linear_add"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        ensure(inputs.len() == LAYER + 1, || "takes x, W, b and a residual".into())?;
        let shape = Linear.infer(&inputs[..LAYER])?;
        ensure(shape == inputs[LAYER], || format!("{shape:?} cannot be added to {:?}", inputs[LAYER]))?;
        Ok(shape)
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let residual = cx.needs[LAYER].then_some(cx.grad);
        let (inputs, needs) = (&cx.inputs[..LAYER], &cx.needs[..LAYER]);
        let (output, grad) = (cx.output, cx.grad);
        let mut all = Linear.vjp(&mut Vjp { graph: cx.graph, inputs, output, grad, needs })?;
        all.push(residual);
        Ok(all)
    }

    fn vjp_uses(&self) -> Uses {
        Linear.vjp_uses()
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        Linear.reference(&inputs[..LAYER])? + &inputs[LAYER]
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        Add::same().cpu(&[Linear.cpu(&inputs[..LAYER])?, inputs[LAYER].clone()])
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        dispatches(self, io, Epilogue { bias: Some(Input(2)), then: Then::Add(Input(LAYER)) })
    }

    fn product(&self, inputs: Shapes, output: &[usize]) -> Option<Product> {
        Linear.product(&inputs[..LAYER], output)
    }

    fn flops(&self, inputs: Shapes, output: &[usize]) -> u64 {
        Linear.flops(&inputs[..LAYER], output) + numel(output) as u64
    }
}
